"""np and pt are the same course twice: names, arguments, defaults, and what they import."""

import inspect
import subprocess
import sys

import pytest

from minimistral import np as mn
from minimistral import pt as mp


def test_the_public_names_are_the_same():
    assert mn.__all__ == mp.__all__ and mn.__all__ == sorted(mn.__all__)


@pytest.mark.parametrize("name", mn.__all__)
def test_the_signatures_are_the_same(name):
    """pt may add keyword-only arguments with defaults: what only a GPU has."""
    ours = inspect.signature(getattr(mn, name)).parameters
    theirs = inspect.signature(getattr(mp, name)).parameters
    assert list(theirs)[: len(ours)] == list(ours)
    for key, parameter in ours.items():
        assert (theirs[key].default, theirs[key].kind) == (parameter.default, parameter.kind)
    for key in list(theirs)[len(ours) :]:
        assert theirs[key].kind is inspect.Parameter.KEYWORD_ONLY
        assert theirs[key].default is not inspect.Parameter.empty


def test_the_files_are_the_same():
    from pathlib import Path

    folders = [Path(module.__file__).parent for module in (mn, mp)]
    ours, theirs = ({path.name for path in folder.glob("*.py")} for folder in folders)
    assert ours == theirs


def test_the_reference_needs_no_torch():
    """In a fresh Python, importing np (or config) loads neither torch nor matplotlib."""
    code = "import sys, minimistral.np; sys.exit(bool({'torch', 'matplotlib'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


@pytest.mark.parametrize("name", mn.__all__)
def test_docstrings_say_the_same_until_torch_adds_something(name):
    ours, theirs = inspect.getdoc(getattr(mn, name)), inspect.getdoc(getattr(mp, name))
    assert ours.splitlines()[0] == theirs.splitlines()[0]
    for line in ours.split(">>>")[0].splitlines():
        assert line in theirs
