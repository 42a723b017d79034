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
ONLY_TORCH_FILES = {"compiled.py", "compiled_prefill.py", "join.py", "parallel.py", "quantize.py",
                    "tensors.py"}  # fmt: skip
ONLY_TORCH = {  # devices, what skips blocks, and what compiles
    "attention._compiled_flex", "attention.compiled", "attention.flex_options",
    "checked.as_matrix", "checked.as_tensors", "checkpoint.apart",
    "layer._matrices", "linear.is_plain", "lora.as_module", "mask._block_list", "mask._block_mask",
    "model.as_weight", "sampling.as_float64", "split.best_parts",
}  # fmt: skip
# In torch a layer is a module, a fused kernel does the softmax, and there is bfloat16.
ONLY_TORCH |= {"layer.Layer", "layer.Layer.__init__", "layer.Layer.forward"}
ONLY_TORCH |= {"model.Mistral.forward", "model.Mistral.extra_repr"}
# In torch, what stands for a matrix is a module, and called.
ONLY_TORCH |= {"linear.Matrix", "linear.Matrix.__init__", "linear.Matrix.extra_repr"}
ONLY_TORCH |= {"lora.Adapted.forward"}
ONLY_NUMPY = {"lora.Adapted.times", "lora.Adapted.__repr__", "lora.lora_backward"}
ONLY_NUMPY |= {"layer.layer", "model.Mistral.__call__", "model.Mistral.__repr__"}
ONLY_NUMPY |= {"attention.masked_softmax", "checked.as_arrays", "checkpoint.from_bfloat16"}
# torch computes in bfloat16, has autograd, and has an optimizer
ONLY_NUMPY_FILES = {"mapped.py", "backward.py", "optimizer.py"}
ONLY_NUMPY |= {name for name in OURS if f"{name.split('.')[0]}.py" in ONLY_NUMPY_FILES}
KEYWORDS_ONLY_NUMPY = {"checkpoint.load": ["mmap"], "checkpoint.read_weight": ["mmap"]}


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
        plain = name == "mask.window_mask" or name.split(".")[-1].startswith(("random_", "read_"))
        if not plain:
            assert theirs[key].kind is inspect.Parameter.KEYWORD_ONLY
            assert theirs[key].default is not inspect.Parameter.empty


def test_the_files_are_the_same():
    folders = [Path(module.__file__).parent for module in (mn, mp)]
    ours, theirs = ({path.name for path in folder.glob("*.py")} for folder in folders)
    assert (theirs - ours, ours - theirs) == (ONLY_TORCH_FILES, ONLY_NUMPY_FILES)


def test_the_reference_needs_no_torch():
    """In a fresh Python, importing np (or config) loads neither torch nor matplotlib."""
    code = "import sys, minimistral.np; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", mn.__all__)
def test_the_public_signatures_are_the_same(name):
    """Those that `mm.` shows: a check's. A model is called as a module is."""
    if name == "Mistral":
        ours, theirs = inspect.signature(mn.Mistral.__call__), inspect.signature(mp.Mistral.forward)
    else:
        ours, theirs = (inspect.signature(getattr(mm, name)) for mm in (mn, mp))
    common = [p for key, p in ours.parameters.items() if key != "mmap"]
    assert list(theirs.parameters.values())[: len(common)] == common
    for parameter in list(theirs.parameters.values())[len(common) :]:
        assert parameter.kind is inspect.Parameter.KEYWORD_ONLY
        assert parameter.default is not inspect.Parameter.empty


@pytest.mark.parametrize("name", mn.__all__)
def test_docstrings_say_the_same_until_torch_adds_something(name):
    ours, theirs = inspect.getdoc(getattr(mn, name)), inspect.getdoc(getattr(mp, name))
    assert ours.splitlines()[0] == theirs.splitlines()[0]
    for line in re.split(r">>>|^mmap: ", ours, flags=re.MULTILINE)[0].splitlines():
        assert line in theirs


@pytest.mark.parametrize("name", [name for name in mn.__all__ if name != "visible"])
@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_a_public_docstring_says_shapes_errors_and_source(mm, name):
    thing = getattr(mm, name)
    text = inspect.getdoc(thing)
    module = importlib.import_module(thing.__module__)
    shape = r"\((\.\.\., )?[A-Z](, [A-Z])*,?\)|\(r, in\)|ids|folder|as in `stream`"
    assert re.search(shape, text), "shapes"
    assert re.search("Raises", text), "errors"
    source = r"paper section|et al\.|PEFT|and Sennrich|Shazeer|Hugging Face|as in `stream`"
    assert re.search(source, text + module.__doc__), "source"
    if name not in ("generate", "stream", "load", "save", "load_adapter", "save_adapter"):
        assert ">>>" in text, "an example"


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_what_is_shown_is_the_same_on_every_machine(mm):
    """No addresses: a lesson may end a cell with a model or a cache."""
    model = mm.Mistral(ModelConfig.tiny())
    assert repr(model).replace("\n  ", "").startswith("Mistral(ModelConfig(dim=128, ")
    assert repr(model.new_cache(2)).startswith("RollingCache(k and v (4, 2, 2, 32, 32) ")
    assert "seen [0, 0]" in repr(model.new_cache(2)) and " at 0x" not in repr(model)
