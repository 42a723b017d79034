"""Right answers, written as a learner writes them: in the place of the stubs, under their names.

A lesson's folded solution defines `store_solution` and passes it to the check. Here the same code
defines `my_store`, so it can stand in the answer cell, and the cells below run on it.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from minimistral.course.exercises import Task
from minimistral.course.mine.progress import SOLUTION

FIRST_LINE = f"{SOLUTION}\n"


class Answer(NamedTuple):
    """The right answer of one exercise, as code."""

    stub: str  # what a learner finds in the answer cell, without a call of the check
    given: str  # what stands there beside the stubs: an import, a function that is used
    code: str  # the right answer, under the learner's names
    names: tuple[str, ...]  # what the check is called with


def right_answers(tasks: Sequence[Task], sources: Mapping[str, str]) -> dict[str, Answer]:
    """The right answers of a lesson, by the names of its checks. sources: cell id -> its text."""
    renamed: dict[str, str] = {}  # a solution may use that of an earlier exercise
    answers = {}
    for task in tasks:
        names = tuple(_arguments(sources[task.checked], task.check))
        assert all(map(str.isidentifier, names)), f"{task.name}: {names} are not names"
        stub = without_check(sources[task.answer[-1]], task)
        code, new_names = _under_names(names, sources[task.solution], task)
        renamed |= new_names
        given = _without(stub, [node for node in ast.parse(stub).body if is_stub(node)])
        answers[task.check] = Answer(stub, given, rename(code, renamed), names)
    return answers


def is_stub(node: ast.stmt) -> bool:
    """Whether a statement is what a learner replaces: `name = None`, a function without a body.

    >>> code = "def f(x):\\n    raise NotImplementedError  # your code\\na = None\\nb = 1\\n"
    >>> [is_stub(node) for node in ast.parse(code).body]
    [True, True, False]
    """
    if isinstance(node, ast.FunctionDef):
        return len(node.body) == 1 and ast.unparse(node.body[0]) == "raise NotImplementedError"
    return isinstance(node, ast.Assign) and ast.unparse(node.value) == "None"


def rename(code: str, names: Mapping[str, str]) -> str:
    """Code with other names.

    >>> rename("def f_solution(f):\\n    return f_solution(f - 1)", {"f_solution": "my_f"})
    'def my_f(f):\\n    return my_f(f - 1)'
    """
    for old, new in names.items():
        code = re.sub(rf"\b{old}\b", new, code)
    return code


def without_check(source: str, task: Task) -> str:
    """The text of an answer cell without the call of the check, which may stand at its end."""
    calls = [node for node in ast.parse(source).body if _calls(node, task.check)]
    return _without(source, calls)


def _under_names(names: Sequence[str], solution: str, task: Task) -> tuple[str, dict[str, str]]:
    """The code of a solution without its check, and how its functions are called instead."""
    last = ast.parse(solution).body[-1]
    assert _calls(last, task.check), f"{task.name}: the solution does not end in its check"
    code = _without(solution, [last]).removeprefix(FIRST_LINE)
    defined = {n.name for n in ast.parse(code).body if isinstance(n, ast.FunctionDef)}
    pairs = list(zip(names, _arguments(solution, task.check), strict=True))
    values = [f"{name} = {value}\n" for name, value in pairs if value not in (name, *defined)]
    space = "\n\n" if defined and values else ""
    return code + space + "".join(values), {v: name for name, v in pairs if v in defined}


def _calls(node: ast.stmt, check: str) -> bool:
    return ast.unparse(node).startswith(f"check.{check}(")


def _arguments(source: str, check: str) -> list[str]:
    """What a cell passes to its check, as text."""
    nodes = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    (call,) = (node for node in nodes if ast.unparse(node.func) == f"check.{check}")
    return [ast.get_source_segment(source, argument) or "" for argument in call.args]


def _without(source: str, nodes: Sequence[ast.stmt]) -> str:
    """A cell's text without some of its statements; it ends in a line end, unless it is empty."""
    lines = source.splitlines()
    for node in reversed(nodes):
        del lines[node.lineno - 1 : node.end_lineno]
    text = re.sub(r"\n{4,}", "\n\n\n", "\n".join(lines)).strip("\n")
    return text + "\n" if text else ""
