"""What a learner has written and a check has accepted, kept for later lessons.

Every lesson is a program of its own, so an accepted function is kept as a file: its source and
what it needs of the notebook, in `my-work/parts/`. Lesson 08 puts these parts together. `my-work`
is the learner's: beside the parts it holds the copies of the lessons and the record of what is
done (progress.py), and it may be deleted.
"""

import ast
import builtins
import dis
import functools
import inspect
import os
import textwrap
import types
from collections.abc import Callable
from pathlib import Path
from typing import Any

FOLDER = "MINIMISTRAL_WORK"  # the environment variable that names another folder
SIMPLE = (bool, int, float, str, type(None))


def work_folder() -> Path:
    """`my-work` beside the folder `notebooks`, or in the current folder where there is none."""
    if folder := os.environ.get(FOLDER):
        return Path(folder)
    here = Path.cwd()
    home = next((f for f in (here, *here.parents) if (f / "notebooks").is_dir()), here)
    return here if home == here and here.name == "my-work" else home / "my-work"


class NotKept(Exception):
    """An accepted function is not kept; the text says why."""


def keep(name: str, function: Callable[..., Any]) -> None:
    """Write the source of an accepted function to `my-work/parts/NAME.py`.

    What it uses of its notebook goes with it: imports, helper functions, numbers and strings.
    Raises NotKept for a function without source or with something else, and where the folder
    cannot be written; what was kept under this name before then stays.
    """
    try:
        text = source_of(function)
    except (OSError, TypeError, SyntaxError):
        raise NotKept("its source cannot be read") from None
    except ValueError as why:
        raise NotKept(str(why)) from None
    try:
        part = work_folder() / "parts" / f"{name}.py"
        part.parent.mkdir(parents=True, exist_ok=True)
        draft = part.with_suffix(f".{os.getpid()}.tmp")
        draft.write_text(text, encoding="utf-8")
        draft.replace(part)  # whole or not at all
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or type(error).__name__
        raise NotKept(f"the folder cannot be written ({reason})") from None


def kept(name: str) -> Callable[..., Any] | None:
    """The function that `keep` wrote under this name; None if there is none that still runs."""
    part = work_folder() / "parts" / f"{name}.py"
    try:
        text = part.read_text(encoding="utf-8")
        space: dict[str, Any] = {"__name__": f"my_{name}"}
        exec(compile(text, str(part), "exec"), space)
        return in_numpy(space[_last_function(text)])
    except Exception:  # the learner's file: whatever it does, the course does without it
        return None


def source_of(function: Callable[..., Any]) -> str:
    """The Python text that makes a function again, in a file of its own.

    Raises TypeError for what has no source, ValueError when the function uses a value that
    cannot be written down.
    """
    pieces: dict[str, str] = {}
    names: dict[str, str] = {}  # other names by which the notebook calls these functions
    _collect(function, pieces, names)
    imports = [text for text in pieces.values() if text.startswith(("import ", "from "))]
    others = [text for text in pieces.values() if text not in imports]
    others += [f"{name} = {own}" for name, own in names.items()]
    return "\n".join(sorted(imports)) + "\n\n\n" + "\n\n\n".join(others) + "\n"


def _collect(function: Any, pieces: dict[str, str], names: dict[str, str]) -> None:
    """Add the source of a function to `pieces`, after that of everything it uses.

    A lesson calls an accepted `my_softmax` by the name `softmax`: such names go to `names`.
    """
    if not isinstance(function, types.FunctionType):
        raise TypeError(f"only a function has source, not a value of type {type(function)}")
    if function.__closure__:
        raise ValueError("it uses variables of a function around it")
    if function.__name__ == "<lambda>":
        raise ValueError("it is or uses a lambda; write a def")
    text = textwrap.dedent(inspect.getsource(function)).rstrip()
    pieces[function.__name__] = ""  # a function may call itself
    for name in sorted(_loaded(function.__code__)):
        if name in pieces or name not in function.__globals__:
            continue
        value = function.__globals__[name]
        if isinstance(value, types.ModuleType):
            pieces[name] = f"import {value.__name__} as {name}"
        elif isinstance(value, SIMPLE):
            pieces[name] = f"{name} = {value!r}"
        elif not hasattr(value, "__qualname__"):  # neither a function nor a class
            raise ValueError(f"it uses `{name}` of the notebook, of type {type(value).__name__}")
        elif getattr(value, "__module__", None) not in (None, "builtins", function.__module__):
            pieces[name] = f"from {value.__module__} import {value.__qualname__} as {name}"
        elif isinstance(value, types.FunctionType):
            if name != value.__name__:
                names[name] = value.__name__
            if value.__name__ not in pieces:
                _collect(value, pieces, names)
        else:
            raise ValueError(f"it uses `{name}` of the notebook, of type {type(value).__name__}")
    del pieces[function.__name__]
    pieces[function.__name__] = text


def _globals(code: types.CodeType) -> set[str]:
    """The global names that code may use, with those of functions inside it."""
    inner = [_globals(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    return set(code.co_names).union(*inner) - set(dir(builtins))


def _loaded(code: types.CodeType) -> set[str]:
    """The global names that code reads; an attribute, such as `cache.config`, is none."""
    inner = [_loaded(part) for part in code.co_consts if isinstance(part, types.CodeType)]
    loads = [i for i in dis.get_instructions(code) if i.opname in ("LOAD_GLOBAL", "LOAD_NAME")]
    return {load.argval for load in loads}.union(*inner) - set(dir(builtins))


def in_numpy(function: Callable[..., Any]) -> Callable[..., Any]:
    """The function, with NumPy arrays for results where it computes in torch.

    A check takes tensors, with a gradient or without, but the cells that use the function later
    are NumPy's. A function that does not use torch is returned as it is.
    """
    if not _uses_torch(function, set()):
        return function

    @functools.wraps(function)
    def with_arrays(*arguments: Any) -> Any:
        result = function(*arguments)
        if isinstance(result, tuple | list):
            return tuple(map(_array, result))
        return _array(result)

    return with_arrays


def _array(value: Any) -> Any:
    return value.detach().cpu().numpy() if hasattr(value, "detach") else value


def _uses_torch(function: Any, seen: set[Any]) -> bool:
    """Whether a function, or one that it calls, names torch or something of it."""
    if not isinstance(function, types.FunctionType) or function in seen:
        return False
    seen.add(function)
    closed = [cell.cell_contents for cell in function.__closure__ or ()]
    used = [function.__globals__.get(name) for name in _globals(function.__code__)]
    return any(
        getattr(value, "__module__", None) in ("torch", "torch.functional")
        or (isinstance(value, types.ModuleType) and value.__name__.split(".")[0] == "torch")
        or _uses_torch(value, seen)
        for value in [*used, *closed]
    )


def _last_function(text: str) -> str:
    return [node.name for node in ast.parse(text).body if isinstance(node, ast.FunctionDef)][-1]
