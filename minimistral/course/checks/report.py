"""How a check reports: a line with ☐, ✗ or ✓, and never an exception."""

import copy
import functools
import types
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from minimistral.course.draw import pair_svg, show_svg
from minimistral.course.mine.kept import NotKept, in_numpy, keep, work_folder
from minimistral.course.mine.progress import OPEN, RIGHT, WRONG, by_a_solution, record

MISSING = "not written yet."
_FROM_HERE = {
    OPEN: " The lesson uses its own until then.",
    WRONG: " The lesson uses its own until yours is right.",
    RIGHT: " From here on the lesson uses yours.",
}
SHOWN = 40  # an input of more numbers is not printed
MOST_TEXT = 400  # nor is a longer line of Python


class Example(NamedTuple):
    """A call that went wrong: its arguments, what it gave, and what is right."""

    arguments: tuple
    got: Any
    expected: Any
    part: str = ""  # "[0]" where only the first of several results is shown
    name: str = ""  # what was called, where it is not the last answer


class Verdict(NamedTuple):
    """What a check says of an answer."""

    mark: str  # ☐ ✗ ✓
    text: str
    example: Example | None = None
    readable: bool = True  # whether the check could make something of it


class NotWritten(NotImplementedError):
    """A part of an answer that is not written yet; its text says which."""


class Wrong(Exception):
    """An answer that is not right; its text says why, its example shows where."""

    def __init__(self, why: str, example: Example | None = None) -> None:
        super().__init__(why)
        self.example = example


class Exercise:
    """The check of one exercise: call it with the answers; `hint()` gives one hint after another.

    It prints a line that begins with ☐ (not written yet), ✗ (wrong) or ✓ (right), and never
    raises. After ✗ it prints the smallest call that went wrong, and in a notebook it draws the
    result beside the right one.

    An exercise whose function is used later in the lesson returns it: the learner's if it is
    right, else the course's own. A function whose name ends in "_solution" is the course's
    already, so nothing is returned for it.
    """

    def __init__(
        self, name: str, check: Callable[..., str], course: Any = None, hints: Sequence[str] = ()
    ) -> None:
        self.name, self.check, self.course, self.hints = name, check, course, tuple(hints)
        self.n_hints = 0  # how many were given
        lesson = check.__module__.removeprefix(f"{__package__}.lesson_")
        self.task = f"{lesson}.{check.__name__}"  # "06.store", as in exercises.py
        functools.update_wrapper(self, check)

    def judge(self, *answers: Any) -> "Verdict":
        """The verdict on the answers, without printing or keeping anything."""
        try:
            return Verdict(RIGHT, self.check(*answers))
        except NotImplementedError as missing:
            return Verdict(OPEN, str(missing) if isinstance(missing, NotWritten) else MISSING)
        except Wrong as wrong:
            return Verdict(WRONG, str(wrong), wrong.example)
        except (Exception, SystemExit) as error:  # a check must not raise, whatever it was given
            return Verdict(
                WRONG, f"this answer cannot be read ({type(error).__name__}).", None, False
            )

    def __call__(self, *answers: Any) -> Any:
        answer = answers[-1] if answers else None
        is_solution = _name(answer).endswith("_solution")
        returns = self.course is not None and not is_solution
        verdict = self.judge(*answers)
        more = _FROM_HERE[verdict.mark] * (returns and verdict.readable)
        self._say(verdict.mark, f"{verdict.text}{more}", answers)
        _show(verdict.example, answer)
        if verdict.mark != RIGHT:
            return self.course if returns else None
        if not (returns and callable(answer)):
            return None
        self._keep(answer)
        return in_numpy(answer)

    def _keep(self, answer: Callable[..., Any]) -> None:
        """Keep an accepted answer; where that fails, a learner in a notebook is told why."""
        try:
            keep(self.check.__name__, answer)
        except NotKept as why:
            if _in_notebook() and work_folder().exists() and not by_a_solution((answer,)):
                print(f"    Not kept for later lessons: {why}.")

    def _say(self, state: str, words: str, answers: tuple[Any, ...]) -> None:
        """Print the line, and record the state unless a solution of the course was checked."""
        print(f"{state} {self.name}: {words}")
        if not by_a_solution(answers):
            record(self.task, state)

    def hint(self) -> None:
        """Print the next hint; the last is nearly the answer.

        >>> double = exercise("Double", hints=["Add.", "Add it to itself."])(lambda answer: "")
        >>> double.hint()
        Hint 1 of 2: Add.
        >>> double.hint()
        Hint 2 of 2: Add it to itself.
        >>> double.hint()
        That was the last hint. If you were given a solution, it is folded below.
        """
        if self.n_hints == len(self.hints):
            print("That was the last hint. If you were given a solution, it is folded below.")
            return
        self.n_hints += 1
        print(f"Hint {self.n_hints} of {len(self.hints)}: {self.hints[self.n_hints - 1]}")
        record(self.task, hints=self.n_hints)


def exercise(
    name: str, course: Any = None, hints: Sequence[str] = ()
) -> Callable[[Callable[..., str]], Exercise]:
    """Turn a function that returns praise or raises Wrong into an Exercise.

    course: the course's own function, where the lesson uses the answer later on.

    >>> @exercise("Double")
    ... def double(answer):
    ...     expect(answer == 4, "2 + 2 is not 5.")
    ...     return "2 + 2 = 4."
    >>> double(4)
    ✓ Double: 2 + 2 = 4.
    >>> double(5)
    ✗ Double: 2 + 2 is not 5.
    """
    return lambda check: Exercise(name, check, course, hints)


def _show(example: Example | None, answer: Any) -> None:
    """The call that went wrong, so that it can be pasted; in a notebook also as a picture."""
    if example is None:
        return
    name = example.name or _name(answer) or "your_function"
    arguments = [_pasteable(argument) for argument in example.arguments]
    if None not in arguments:
        print(f"    {name}({', '.join(map(str, arguments))}){example.part}")
    lines = [_on_one_line(value) for value in (example.got, example.expected)]
    if None not in lines:
        print(f"    gives    {lines[0]}\n    expected {lines[1]}")
    if not (_is_array(example.got) and _is_array(example.expected)):
        return
    got, expected = np.asarray(example.got), np.asarray(example.expected)
    small = got.shape == expected.shape and 1 <= got.ndim <= 2 and max(got.shape) <= 12
    if small and got.size > 1 and _in_notebook():
        svg, alt = pair_svg(np.atleast_2d(got), np.atleast_2d(expected))
        show_svg(svg, alt)


def _pasteable(value: Any) -> str | None:
    """Python that makes this value, None where it would be too long.

    >>> _pasteable(np.array([[1.5, 2]])), _pasteable(np.arange(3)), _pasteable(4)
    ('np.array([[1.5, 2.0]])', 'np.array([0, 1, 2])', '4')
    """
    if isinstance(value, np.ndarray):
        dtype = "" if value.dtype in (float, int, bool) else f", np.{value.dtype}"
        return f"np.array({value.tolist()}{dtype})" if value.size <= SHOWN else None
    if callable(value):
        return _name(value) or None
    if type(value).__name__ == "Tokenizer":
        return str(value.version)  # the lessons call them v1, v2 and v3
    return repr(value) if len(repr(value)) <= MOST_TEXT else None


def _name(value: Any) -> str:
    """A function's name; "" for anything else, which may raise when it is asked."""
    return value.__name__ if isinstance(value, types.FunctionType) else ""


def _is_array(value: Any) -> bool:
    """Whether it is numbers, in an array or in lists that make one.

    >>> _is_array(4), _is_array([1, 2]), _is_array(["a"]), _is_array([[1], [2, 3]]), _is_array({})
    (True, True, False, False, False)
    """
    try:
        return np.asarray(value).dtype.kind in "biufc"
    except Exception:  # lists of different lengths, or an object that refuses
        return False


def _on_one_line(value: Any) -> str | None:
    """A result on one line: numbers as NumPy prints them, else Python; None if it is too long.

    >>> _on_one_line(np.array([0.5, 2])), _on_one_line(["a", "b"]), _on_one_line("IndexError")
    ('[0.5 2. ]', "['a', 'b']", 'IndexError')
    """
    if not _is_array(value):
        line = value if isinstance(value, str) else repr(value)
        return line if len(line) <= MOST_TEXT else None
    values = np.asarray(value)
    if values.size > SHOWN:
        return None
    return " ".join(np.array2string(values, precision=4, suppress_small=True).split())


def _in_notebook() -> bool:
    from IPython.core.getipython import get_ipython

    return get_ipython() is not None


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
    given = [_own(argument) for argument in arguments]
    try:
        result = function(*given)
    except NotImplementedError:
        raise missing from None
    except Wrong:
        raise
    except (Exception, SystemExit) as error:
        more = [f". {hint}" for piece, hint in (hints or {}).items() if piece in str(error)]
        raised = Example(arguments, f"{type(error).__name__}", "a result")
        raise Wrong(_told(error) + "".join(more), raised) from None
    for before, after in zip(arguments, given, strict=True):
        same = np.array_equal(before, after) if isinstance(before, np.ndarray) else True
        if isinstance(before, list | dict):
            same = repr(before) == repr(after)
        expect(same, "your code changes its input; work on a copy.")
    expect(result is not None, "your function returns nothing; is `return` missing?")
    return result


def quiet_call(function: Any, *arguments: Any, **how: Any) -> Any:
    """`call`; NumPy's warnings about 0 / 0 would stand between the lines of a lesson."""
    with np.errstate(all="ignore"):
        return call(function, *arguments, **how)


def measured(measure: Callable[..., Any], function: Any, *arguments: Any) -> Any:
    """measure(function, *arguments), in the process in which the function runs.

    That is this one in a notebook. `minimistral marks` runs answers elsewhere, and what Python can
    say about a function, as the memory that it takes, is known only there.
    """
    if hasattr(function, "measured"):
        return function.measured(measure, arguments)
    return measure(function, *arguments)


def _own(argument: Any) -> Any:
    """A copy of what a function could change: an array, a list, a dict."""
    if isinstance(argument, np.ndarray):
        return argument.copy()
    return copy.deepcopy(argument) if isinstance(argument, list | dict) else argument


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
    example = Example(cases[n], results[n], rights[n])
    for mistaken, hint in mistakes:
        if results == [mistaken(*case) for case in cases]:
            raise Wrong(f"{wrong}. {hint}", example)
    raise Wrong(f"{wrong}; that is {_side(results[n], rights[n])}.", example)


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
    n = next(n for n, pair in enumerate(zip(results, rights, strict=True)) if pair[0] != pair[1])
    example = Example(cases[n], results[n], rights[n])
    for mistaken, hint in mistakes:
        if results == [mistaken(*case) for case in cases]:
            raise Wrong(hint, example)
    why = f"for {describe(*cases[n])} the answer is {rights[n]}, not {results[n]}."
    raise Wrong(why, example)


def _truth(value: Any) -> bool:
    value = value.item() if getattr(value, "shape", None) == () else value
    expect(isinstance(value, bool), f"return True or False, not a value {_type(value)}.")
    return bool(value)


def array(result: Any, shape: tuple[int, ...]) -> np.ndarray:
    """The answer as a real array of this shape; raises Wrong for anything else."""
    is_array = hasattr(result, "shape") and hasattr(result, "dtype")
    expect(is_array, f"return a NumPy array, not a value {_type(result)}.")
    result = result.detach() if hasattr(result, "detach") else result  # torch, with a gradient
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
    fault: Callable[[tuple, np.ndarray], str] | None = None,
) -> None:
    """Raise Wrong with the one mistake that explains all results, or with the first wrong number.

    results: pairs of a case, the arguments of `right`, and what the learner's function returned.
    fault(case, result): where no mistake explains all results, what this wrong one violates, such
    as "a row sums to 2"; "" where it cannot say.
    """
    if _explains(right, results):
        return
    example = smallest_example(results, right)
    for mistaken, hint in mistakes:
        with np.errstate(all="ignore"):
            if _explains(mistaken, results):
                raise Wrong(hint, example)
    if fault and (why := fault(example.arguments, example.got)):
        raise Wrong(why, example)
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
                f" but the rule gives {right_one:.{digits}f}.",
                example,
            )


def diagnose_values(
    results: Sequence[tuple[tuple, Any]],
    right: Callable[..., Any],
    mistakes: Iterable[tuple[Callable[..., Any], str]],
    fault: Callable[[tuple, Any], str],
) -> None:
    """Like `diagnose_arrays`, for lists, dicts and texts, which are compared with ==.

    fault(case, result): what the wrong result of a case violates, if no mistake explains all.
    """
    failed = [(case, got) for case, got in results if got != right(*case)]
    if not failed:
        return
    case, got = min(failed, key=lambda pair: len(repr(pair[0])))
    example = Example(case, got, right(*case))
    for mistaken, hint in mistakes:
        if all(got == mistaken(*case) for case, got in results):
            raise Wrong(hint, example)
    raise Wrong(fault(case, got), example)


def smallest_example(
    results: Sequence[tuple[tuple, np.ndarray]], right: Callable[..., np.ndarray]
) -> Example:
    """Of the cases that went wrong, the one with the fewest numbers in its arguments."""
    failed = [
        Example(case, result, right(*case))
        for case, result in results
        if not _explains(right, [(case, result)])
    ]
    return min(failed, key=lambda e: sum(np.size(a) for a in e.arguments if not callable(a)))


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
