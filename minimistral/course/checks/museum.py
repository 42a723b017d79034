"""The bug museum: ten lines that were published, a symptom, and a line to find and to repair."""

from collections.abc import Mapping
from typing import Any

from minimistral.course.checks.report import Wrong, expect, whole_number


def guilty_line(
    line: Any, right: int, others: Mapping[int, str], n_lines: int, name: str = "line"
) -> None:
    """The number of the line that is at fault, as the learner found it: `right` or Wrong.

    others: line -> what that line does, and why it is not the cause. n_lines: of the code that
    is shown, counted from 1. None is not written yet.

    >>> guilty_line(2, right=3, others={2: "That line only sorts."}, n_lines=9)
    Traceback (most recent call last):
    minimistral.course.checks.report.Wrong: line 2 is not the cause. That line only sorts.
    """
    number = whole_number(name, line)
    expect(1 <= number <= n_lines, f"{name} must be from 1 to {n_lines}, not {number}.")
    if number != right:
        more = others.get(number, "Which line first holds a value that it should not hold?")
        raise Wrong(f"line {number} is not the cause. {more}")
