"""What the tests of the exercises share: what a check says, and answers no one expects."""

import contextlib
import io

import numpy as np


def said(check, *answers):
    """The line that a check prints; what stands below it shows a call that went wrong."""
    return printed(check, *answers)[0]


def printed(check, *answers):
    """All that a check prints, in lines."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        returned = check(*answers)
    lines = out.getvalue().splitlines()
    assert lines[0][0] in "☐✗✓" and all(line.startswith("    ") for line in lines[1:]), lines
    assert lines[0][0] == "✗" or len(lines) == 1, lines
    if lines[0][0] != "✓":
        assert returned is check.course
    return lines


def not_yet(*_arguments):
    raise NotImplementedError


class Nasty:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError("nasty")

    def __array__(self, *_args, **_kwargs):
        raise RuntimeError("nasty")

    def __eq__(self, other):
        raise RuntimeError("nasty")

    __hash__ = None


ODD = [Nasty, lambda: "text", list, lambda: np.nan, dict, lambda: np.zeros(3), lambda: True,
       lambda: -1, lambda: 10**30]  # fmt: skip
