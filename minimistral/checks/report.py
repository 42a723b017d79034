"""How a check reports: one line, ☐ ✗ or ✓, and never an exception."""

import functools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

MISSING = "not written yet."


class Wrong(Exception):
    """An answer that is not right; its text says why."""


def exercise(name: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Make a check of a function that returns praise or raises Wrong.

    >>> @exercise("Double")
    ... def double(answer):
    ...     expect(answer == 4, "2 + 2 is not 5.")
    ...     return "2 + 2 = 4."
    >>> double(4)
    ✓ Double: 2 + 2 = 4.
    >>> double(5)
    ✗ Double: 2 + 2 is not 5.
    """

    def decorate(check: Callable[..., str]) -> Callable[..., None]:
        @functools.wraps(check)
        def run(*answers: Any) -> None:
            try:
                print(f"✓ {name}: {check(*answers)}")
            except NotImplementedError:
                print(f"☐ {name}: {MISSING}")
            except Wrong as wrong:
                print(f"✗ {name}: {wrong}")
            except Exception as error:  # a check must not raise, whatever it was given
                print(f"✗ {name}: this answer cannot be read ({type(error).__name__}).")

        return run

    return decorate


def expect(holds: bool, why: str) -> None:
    """Raise Wrong with the reason unless it holds."""
    if not holds:
        raise Wrong(why)


def call(function: Any, *arguments: Any) -> Any:
    """What the learner's function returns for copies of the arguments.

    Raises Wrong when it is no function, raises, changes an argument or returns nothing.
    NotImplementedError passes: the exercise is not written yet.
    """
    if function is None:
        raise NotImplementedError
    expect(callable(function), f"pass the function itself, not {_type(function)}.")
    given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        result = function(*given)
    except NotImplementedError:
        raise
    except Exception as error:
        raise Wrong(f"your code raised {type(error).__name__}: {error}") from None
    for before, after in zip(arguments, given, strict=True):
        if isinstance(before, np.ndarray):
            expect(np.array_equal(before, after), "your code changes its input; work on a copy.")
    expect(result is not None, "your function returns nothing; is `return` missing?")
    return result


def whole_number(name: str, value: Any) -> int:
    """The answer as an int. None means not written yet; raises Wrong for anything else."""
    if value is None:
        raise NotImplementedError
    if isinstance(value, float | np.floating) and float(value).is_integer():
        raise Wrong(f"{name} must be a whole number; {value} is a float. Use // for division.")
    is_whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    expect(is_whole, f"{name} must be a whole number, not {_type(value)}.")
    return int(value)


def compare_with_mistakes(
    name: str, answer: int, right: int, mistakes: Iterable[tuple[Any, str]]
) -> None:
    """Raise Wrong, with the hint of the mistake that gives the same number, if there is one."""
    if answer == right:
        return
    for value, hint in mistakes:
        expect(answer != value, f"{name} is not {answer:,}. {hint}")
    side = "too many" if answer > right else "too few"
    raise Wrong(f"{name} is not {answer:,}; that is {side}.")


def _type(value: Any) -> str:
    return f"a {type(value).__name__}"
