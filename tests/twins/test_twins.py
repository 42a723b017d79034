"""np and pt are the same course twice: names, arguments, defaults, and what they import."""

import importlib
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp


def test_the_public_names_are_the_same():
    assert mn.__all__ == mp.__all__ and mn.__all__ == sorted(mn.__all__)


def defined_in(package):
    """Every function and class that a file of the package defines, and every method."""
    found = {}
    for path in sorted(Path(package.__file__).parent.glob("[a-z]*.py")):
        module = importlib.import_module(f"{package.__name__}.{path.stem}")
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            found[f"{path.stem}.{name}"] = value
            if inspect.isclass(value):
                methods = {key: each for key, each in vars(value).items() if callable(each)}
                found |= {f"{path.stem}.{name}.{key}": each for key, each in methods.items()}
    return {name: value for name, value in found.items() if callable(value)}


OURS, THEIRS = defined_in(mn), defined_in(mp)
ONLY_TORCH_FILES = {"compiled.py", "parallel.py", "quantize.py"}
ONLY_TORCH = {  # devices, what skips blocks, and what compiles
    "attention._compiled_flex", "attention.compiled", "attention.weigh_fused", "cache.as_device",
    "checkpoint.apart", "mask._block_mask", "mask.as_tensor",
}  # fmt: skip
ONLY_NUMPY = {"checkpoint.from_bfloat16"}  # torch has bfloat16
ONLY_NUMPY |= {name for name in OURS if name.startswith("streaming.")}  # torch computes in bfloat16
KEYWORDS_ONLY_NUMPY = {"checkpoint.load": ["stream"], "checkpoint.read_weight": ["stream"]}


def test_the_same_functions_in_the_same_files():
    assert len(OURS) > 30
    assert set(OURS) - set(THEIRS) == ONLY_NUMPY
    more = {name for name in THEIRS if f"{name.split('.')[0]}.py" not in ONLY_TORCH_FILES}
    assert more - set(OURS) == ONLY_TORCH


@pytest.mark.parametrize("name", sorted(set(OURS) & set(THEIRS)))
def test_the_signatures_are_the_same(name):
    """pt may add arguments with defaults, last and by keyword: what only torch has."""
    ours = inspect.signature(OURS[name]).parameters
    theirs = inspect.signature(THEIRS[name]).parameters
    common = [key for key in ours if key not in KEYWORDS_ONLY_NUMPY.get(name, [])]
    assert list(theirs)[: len(common)] == common
    assert all(ours[key].default is False for key in set(ours) - set(common))
    for key in common:
        assert (theirs[key].default, theirs[key].kind) == (ours[key].default, ours[key].kind)
    for key in list(theirs)[len(common) :]:
        assert key in ("block_sparse", "compiled", "device", "quantize")
        if not name.split(".")[-1].startswith(("_", "random_", "read_")) or "__" in name:
            assert theirs[key].kind is inspect.Parameter.KEYWORD_ONLY
            assert theirs[key].default is not inspect.Parameter.empty


def test_the_files_are_the_same():
    folders = [Path(module.__file__).parent for module in (mn, mp)]
    ours, theirs = ({path.name for path in folder.glob("*.py")} for folder in folders)
    assert theirs - ours == ONLY_TORCH_FILES and ours - theirs == {"streaming.py"}


def test_the_reference_needs_no_torch():
    """In a fresh Python, importing np (or config) loads neither torch nor matplotlib."""
    code = "import sys, minimistral.np; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", mn.__all__)
def test_docstrings_say_the_same_until_torch_adds_something(name):
    ours, theirs = inspect.getdoc(getattr(mn, name)), inspect.getdoc(getattr(mp, name))
    assert ours.splitlines()[0] == theirs.splitlines()[0]
    for line in re.split(r">>>|^stream: ", ours, flags=re.MULTILINE)[0].splitlines():
        assert line in theirs


@pytest.mark.parametrize("name", [name for name in mn.__all__ if name != "visible"])
@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_a_public_docstring_says_shapes_errors_and_source(mm, name):
    thing = getattr(mm, name)
    text = inspect.getdoc(thing)
    module = importlib.import_module(thing.__module__)
    shape = r"\((\.\.\., )?[A-Z](, [A-Z])*,?\)|ids|folder|(as|of) in `generate`"
    assert re.search(shape, text), "shapes"
    assert re.search(r"Raises|Arguments are as in", text), "errors"
    source = r"paper section|et al\.|and Sennrich|Shazeer|Hugging Face|as in `generate`"
    assert re.search(source, text + module.__doc__), "source"
    if name not in ("generate", "stream", "load", "save"):
        assert ">>>" in text, "an example"


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_what_is_shown_is_the_same_on_every_machine(mm):
    """No addresses: a lesson may end a cell with a model or a cache."""
    model = mm.Mistral(ModelConfig.tiny())
    assert repr(model).startswith("Mistral(ModelConfig(dim=128, ")
    assert repr(model.new_cache(2)).startswith("RollingCache(k and v (4, 2, 2, 32, 32) ")
    assert "seen [0, 0]" in repr(model.new_cache(2)) and " at 0x" not in repr(model)
