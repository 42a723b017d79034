"""A check for programs that mark: it raises where the check of a lesson prints ☐ or ✗."""

import importlib
from typing import Any

from minimistral.course.checks.report import MISSING, Wrong


def require(task: str, *answers: Any) -> None:
    """Raise AssertionError, with the line of the check, unless the answers are right.

    task: an exercise by its name in all lessons. Prints nothing and keeps nothing.

    >>> require("06.slot_and_evicted", lambda i, W: (i % W, max(-1, i - W)))
    >>> require("06.store", None)
    Traceback (most recent call last):
    AssertionError: ☐ Store a key: not written yet.
    """
    lesson, name = task.split(".")
    exercise = getattr(importlib.import_module(f"{__package__}.lesson_{lesson}"), name)
    try:
        exercise.check(*answers)
    except NotImplementedError as missing:
        raise AssertionError(f"☐ {exercise.name}: {missing if str(missing) else MISSING}") from None
    except Wrong as wrong:
        raise AssertionError(f"✗ {exercise.name}: {wrong}") from None
    except (Exception, SystemExit) as error:
        raise AssertionError(f"✗ {exercise.name}: {type(error).__name__}") from None
