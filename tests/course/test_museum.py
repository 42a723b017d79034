"""The museum's question: which line is at fault."""

import numpy as np
import pytest
from checked import printed

from minimistral.course import check_10
from minimistral.course.checks.museum import guilty_line
from minimistral.course.checks.report import NotWritten, Wrong


@pytest.mark.parametrize("line", [3, 3.0, np.int64(3)])
def test_the_line_is_found(line):
    guilty_line(line, 3, {}, 9)


@pytest.mark.parametrize(
    ("line", "why"),
    [(2, "line 2 is not the cause. It sorts."), (4, "line 4 is not the cause. Which line"),
     (0, "from 1 to 9, not 0"), (10, "from 1 to 9, not 10"), ("3", "whole number")],
)  # fmt: skip
def test_another_line_is_told(line, why):
    with pytest.raises(Wrong, match=why):
        guilty_line(line, 3, {2: "It sorts."}, 9)


def test_no_line_is_not_written_yet():
    with pytest.raises(NotWritten, match="line is not written yet"):
        guilty_line(None, 3, {}, 9)


def always_first(p, u):
    return 0


def test_the_call_that_went_wrong_names_the_function_that_was_called():
    """Of several functions, not the last one that was given."""
    lines = printed(check_10.bug_draw_and_penalty, 4, always_first, 3, np.add)
    assert "draw_fixed still draws token 0" in lines[0]
    assert lines[1] == "    draw_fixed(np.array([0.0, 0.5, 0.5]), 0.0)"
