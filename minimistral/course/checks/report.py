"""How a check reports: one line, ☐ ✗ or ✓, and never an exception."""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np

MISSING = "not written yet."


class NotWritten(NotImplementedError):
    """A part of an answer that is not written yet; its text says which."""


class Wrong(Exception):
    """An answer that is not right; its text says why."""


def exercise(name: str) -> Callable[[Callable[..., str]], Callable[..., None]]:
    """Turn a function that returns praise or raises Wrong into a check.

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
            except NotImplementedError as missing:
                print(f"☐ {name}: {missing if isinstance(missing, NotWritten) else MISSING}")
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


def call(
    function: Any, *arguments: Any, hints: Mapping[str, str] | None = None, name: str = ""
) -> Any:
    """What the learner's function returns for copies of the arguments.

    Raises Wrong when it is not a function, raises, changes an argument or returns nothing.
    NotImplementedError passes through: the exercise is not written yet. name: the function's
    name, which that error then states. hints: text of an error message -> what to add to it.

    >>> call(lambda x: x[9], [1], hints={"out of range": "Count from 0."})  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    minimistral.course.checks.report.Wrong: your code raised IndexError: ... range. Count from 0.
    """
    missing = NotWritten(f"{name} is not written yet.") if name else NotImplementedError()
    if function is None:
        raise missing
    expect(callable(function), f"pass the function itself, not a value {_type(function)}.")
    given = [a.copy() if isinstance(a, np.ndarray) else a for a in arguments]
    try:
        result = function(*given)
    except NotImplementedError:
        raise missing from None
    except Wrong:
        raise
    except (Exception, SystemExit) as error:
        more = [f". {hint}" for piece, hint in (hints or {}).items() if piece in str(error)]
        raise Wrong(_told(error) + "".join(more)) from None
    for before, after in zip(arguments, given, strict=True):
        if isinstance(before, np.ndarray):
            expect(np.array_equal(before, after), "your code changes its input; work on a copy.")
    expect(result is not None, "your function returns nothing; is `return` missing?")
    return result


def whole_number(name: str, value: Any) -> int:
    """The answer as an int. None means not written yet; raises Wrong for anything else."""
    if value is None:
        raise NotWritten(f"{name} is not written yet.")
    if getattr(value, "shape", None) == ():  # a number of NumPy or torch
        value = value.item()
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    expect(not isinstance(value, float), f"{name} must be a whole number, not {value}.")
    is_whole = isinstance(value, int) and not isinstance(value, bool)
    expect(is_whole, f"{name} must be a whole number, not a value {_type(value)}.")
    return value


def diagnose_number(
    name: str, answer: int, right: int, mistakes: Iterable[tuple[int, str]]
) -> None:
    """Raise Wrong unless the answer is right, with the hint of the mistake that explains it.

    mistakes: wrong numbers, each with its hint. Any other gets "too large" or "too small".
    """
    if answer == right:
        return
    for value, hint in mistakes:
        expect(answer != value, f"{name} is not {answer:,}. {hint}")
    raise Wrong(f"{name} is not {answer:,}; that is {_side(answer, right)}.")


def diagnose_numbers(
    name: str,
    answer: Callable[..., Any],
    right: Callable[..., int],
    cases: Sequence[tuple],
    mistakes: Iterable[tuple[Callable[..., int], str]],
    describe: Callable[..., str],
) -> None:
    """Call `answer` on each case. Raise Wrong with the one mistake that explains all results.

    A mistake is a function like `right`. Many mistakes can give the same number once; very few
    give the same numbers on every case. describe(*case) names a case.
    """
    results = [whole_number(name, call(answer, *case)) for case in cases]
    rights = [right(*case) for case in cases]
    if results == rights:
        return
    n = next(n for n, pair in enumerate(zip(results, rights, strict=True)) if pair[0] != pair[1])
    wrong = f"for {describe(*cases[n])} the result is not {results[n]:,}"
    for mistaken, hint in mistakes:
        expect(results != [mistaken(*case) for case in cases], f"{wrong}. {hint}")
    raise Wrong(f"{wrong}; that is {_side(results[n], rights[n])}.")


def diagnose_truths(
    answer: Callable[..., Any],
    right: Callable[..., bool],
    cases: Sequence[tuple],
    mistakes: Iterable[tuple[Callable[..., bool], str]],
    describe: Callable[..., str],
) -> None:
    """Like `diagnose_numbers`, for a function that answers True or False."""
    results = [_truth(call(answer, *case)) for case in cases]
    rights = [right(*case) for case in cases]
    if results == rights:
        return
    for mistaken, hint in mistakes:
        expect(results != [mistaken(*case) for case in cases], hint)
    n = next(n for n, pair in enumerate(zip(results, rights, strict=True)) if pair[0] != pair[1])
    raise Wrong(f"for {describe(*cases[n])} the answer is {rights[n]}, not {results[n]}.")


def _truth(value: Any) -> bool:
    value = value.item() if getattr(value, "shape", None) == () else value
    expect(isinstance(value, bool), f"return True or False, not a value {_type(value)}.")
    return bool(value)


def array(result: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The answer as a real array of this shape; raises Wrong for anything else."""
    is_array = hasattr(result, "shape") and hasattr(result, "dtype")
    expect(is_array, f"return a NumPy array, not a value {_type(result)}.")
    expect(not np.iscomplexobj(result), "return real numbers, not complex ones.")
    expect(result.shape == shape, f"the shape must be {shape}, not {tuple(result.shape)}.")
    return np.asarray(result, dtype=float)


def bools(result: Any, shape: tuple[int, ...], more: str = "Comparisons give bool.") -> np.ndarray:
    """Like `array`, for an array of True and False. more: what to say about other entries."""
    entries = array(result, shape)
    expect(
        str(result.dtype).endswith("bool"),  # torch.bool, too
        f"the entries must be True or False (bool), not {result.dtype}. {more}",
    )
    return entries


def diagnose_arrays(
    results: Sequence[tuple[tuple, np.ndarray]],
    right: Callable[..., np.ndarray],
    mistakes: Iterable[tuple[Callable[..., np.ndarray], str]],
) -> None:
    """Raise Wrong with the one mistake that explains all results, or with the first wrong number.

    results: pairs of a case, the arguments of `right`, and what the learner's function returned.
    """
    if _explains(right, results):
        return
    for mistaken, hint in mistakes:
        with np.errstate(all="ignore"):
            expect(not _explains(mistaken, results), hint)
    for n, (case, result) in enumerate(results, 1):
        wanted = right(*case)
        wrong = ~np.isclose(result, wanted, rtol=1e-4, atol=1e-6)
        if wrong.any():
            entry = tuple(int(index) for index in np.argwhere(wrong)[0])
            shapes = [str(part.shape) for part in case if isinstance(part, np.ndarray)]
            given = f" (given shapes {', '.join(shapes)})" if shapes else ""
            yours, right_one = float(result[entry]), float(wanted[entry])
            digits = 3 if f"{yours:.3f}" != f"{right_one:.3f}" else 6
            raise Wrong(
                f"case {n}{given}: entry {entry} of the result is {yours:.{digits}f},"
                f" but the rule gives {right_one:.{digits}f}."
            )


def _explains(function: Callable[..., np.ndarray], results: Sequence[tuple]) -> bool:
    return all(
        np.allclose(result, function(*case), rtol=1e-4, atol=1e-6, equal_nan=True)
        for case, result in results
    )


def _side(answer: int, right: int) -> str:
    return "too large" if answer > right else "too small"


def _told(error: BaseException) -> str:
    if "truth value of an array" in str(error):
        return (
            "your code asks whether a whole array is true, as `and`, `if` and a < b < c do. "
            "Join two comparisons with &, each in brackets."
        )
    return f"your code raised {type(error).__name__}: {error}"


def _type(value: Any) -> str:
    return f"of type {type(value).__name__}"
