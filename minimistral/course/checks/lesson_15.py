"""Checks of lesson 15: errors, differences, intervals, sizes, an entry, and four published bugs."""

import functools
import math
import zlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np

from minimistral import paper
from minimistral.course.checks.museum import guilty_line
from minimistral.course.checks.report import (
    Wrong,
    array,
    call,
    diagnose_arrays,
    diagnose_values,
    exercise,
    expect,
)
from minimistral.evaluation import errors
from minimistral.evaluation.answers import interval
from minimistral.ledger import CLAIMS, TRUE, Claim, Finding, judge

Array = np.ndarray
Mistakes = Iterable[tuple[Callable[..., Any], str]]
Rows = Mapping[str, Mapping[str, float]]


def _share_error(share: float, n: int) -> Any:
    return errors.share(share, n).error


def _difference(a: float, n_a: int, b: float, n_b: int) -> tuple[float, float]:
    found = errors.difference(errors.share(a, n_a), errors.share(b, n_b))
    return found.value, found.error


def _standing(p_values: Mapping[str, float], level: float = 0.05) -> list[str]:
    return [name for name, stands in errors.survives(p_values, level).items() if stands]


def _equivalent_size(score: float, small: tuple[float, float], large: tuple[float, float]) -> Any:
    exact = [errors.Estimate(value, 0.0) for value in (score, small[1], large[1])]
    return errors.equivalent_size(exact[0], (small[0], exact[1]), (large[0], exact[2])).value


def _entry(rows: Rows) -> Claim:
    """An entry that a learner could write."""

    def evidence() -> Finding:
        codes = {model: scores["HumanEval"] for model, scores in rows.items()}
        best = max(codes, key=lambda model: codes[model])
        return Finding(judge(best == "Code-Llama 7B"), {"best": best, "score": codes[best]})

    return Claim(
        "best-on-human-eval", "Of the four models of Table 2, Code-Llama 7B is best on HumanEval.",
        ("reader",), "", TRUE, "computed", "{best} has the highest score, {score:.1f} %.", evidence,
    )  # fmt: skip


@exercise("The error of a share", course=_share_error, hints=(
    "Each question is right or wrong, 1 or 0, and 1 comes with the chance p. The variance of one "
    "such number is p (1 - p).",
    "The variance of an average of n of them is n times smaller. The standard error is the root "
    "of that variance.",
    "`return math.sqrt(share * (1 - share) / n)`",
))  # fmt: skip
def share_error(answer: Any) -> str:
    """answer(share, n) -> the standard error."""
    cases = [(0.5, 100), (0.601, 14042), (0.305, 164), (0.9, 16), (0.131, 5000), (0.02, 50)]
    results = [(case, _number(call(answer, *case))) for case in cases]
    mistakes: Mistakes = [
        (lambda p, n: p * (1 - p) / n, "that is the variance. The error is its root."),
        (lambda p, n: p * (1 - p), "that is the variance of a single question."),
        (lambda p, n: math.sqrt(p * (1 - p)), "that is the deviation of a single question; an "
                                              "average of n questions scatters less."),
        (lambda p, n: math.sqrt(p * (1 - p)) / n, "n belongs under the root: four times as many "
                                                  "questions halve the error."),
        (lambda p, n: p * (1 - p) / math.sqrt(n), "p (1 - p) belongs under the root, too."),
        (lambda p, n: math.sqrt(p / n), "the factor 1 - p is missing: a share near 1 scatters as "
                                        "little as one near 0."),
        (lambda p, n: math.sqrt((1 - p) / n), "the factor p is missing: a share near 0 scatters "
                                              "as little as one near 1."),
        (lambda p, n: math.sqrt(p * (1 + p) / n), "it is 1 - p, the chance of a wrong answer."),
        (lambda p, n: math.sqrt(p**2 * (1 - p) ** 2 / n), "p (1 - p) is a variance already; do "
                                                          "not square it."),
        (lambda p, n: math.sqrt(p * (1 - p) / (n - 1)), "divide by n: the variance p (1 - p) is "
                                                        "not estimated from single values here."),
        (lambda p, n: 1 / math.sqrt(n), "that does not depend on the share at all."),
        (lambda p, n: 0.5 / math.sqrt(n), "that is the largest error, which a share of a half "
                                          "has."),
        (lambda p, n: math.sqrt(p * (1 - p) * n), "that is the error of the count. The share is "
                                                  "the count divided by n."),
        (lambda p, n: 1.96 * _share_error(p, n), "that is half of the 95 % interval. Return one "
                                                 "standard error."),
        (lambda p, n: 2 * _share_error(p, n), "that is twice the standard error."),
        (lambda p, n: math.sqrt(p - p / n), "put 1 - share in brackets; otherwise only 1 is "
                                            "multiplied and only share is divided."),
        (lambda p, n: p * (1 - p) / n / 2, "`** 1 / 2` takes the power 1 and halves it. Write "
                                           "`** 0.5` or `math.sqrt`."),
        (lambda p, n: math.sqrt(p * (100 - p) / n), "the share goes from 0 to 1, not to 100: a "
                                                    "wrong answer has the chance 1 - share."),
        (lambda p, n: p / math.sqrt(n), "a share of 1 would scatter most, although every exam "
                                        "gives 1 then. Take the root of p (1 - p)."),
        (lambda p, n: 100 * _share_error(p, n), "that is in per cent; the share is given as a "
                                                "number from 0 to 1, and so is its error."),
    ]  # fmt: skip
    diagnose_arrays(results, _share_error, mistakes, lambda case, got: (
        f"for a share of {case[0]} of {case[1]:,} questions the error is "
        f"{_share_error(*case):.4f}, not {float(got):.4f}."))  # fmt: skip
    return f"right for {len(cases)} shares, from 16 questions to 14,042."


@exercise("The difference of two shares", course=_difference, hints=(
    "The difference is a - b. Of two independent errors neither the sum nor the difference is the "
    "error of a - b: their *variances* add up.",
    "A variance is the square of an error. Add the squares of `share_error(a, n_a)` and "
    "`share_error(b, n_b)`, and take the root.",
    "`return a - b, math.hypot(share_error(a, n_a), share_error(b, n_b))`",
))  # fmt: skip
def difference(answer: Any) -> str:
    """answer(a, n_a, b, n_b) -> (difference, its standard error)."""
    cases = [
        (0.5, 100, 0.4, 50), (0.601, 14042, 0.556, 14042), (0.288, 3610, 0.29, 3610),
        (0.305, 164, 0.189, 164), (0.1, 40, 0.7, 900),
    ]  # fmt: skip
    hints = {"math domain": "Is the number under a root negative? A difference of two shares is "
                            "no share; each of the two has an error of its own."}  # fmt: skip
    results = [(case, _pair(call(answer, *case, hints=hints))) for case in cases]
    e = _share_error

    def made(error: Callable[..., float], value: Callable[..., float] = lambda a, b: a - b) -> Any:
        return lambda a, n, b, m: np.array([value(a, b), error(a, n, b, m)])

    def both(a: float, n: int, b: float, m: int) -> float:
        return math.hypot(e(a, n), e(b, m))

    right = made(both)
    mistakes: Mistakes = [
        (made(both, lambda a, b: b - a), "that is b - a."),
        (made(both, lambda a, b: abs(a - b)), "keep the sign of the difference: it says who is "
                                              "ahead."),
        (made(lambda a, n, b, m: e(a, n) + e(b, m)), "the two errors do not add up: they often "
                                                     "point in opposite directions. Their squares "
                                                     "add up."),
        (made(lambda a, n, b, m: abs(e(a, n) - e(b, m))), "errors are not subtracted, although "
                                                          "the shares are: the second one "
                                                          "scatters, too."),
        (made(lambda a, n, b, m: e(a, n) ** 2 + e(b, m) ** 2), "that is the variance of the "
                                                               "difference. Take the root."),
        (made(lambda a, n, b, m: math.sqrt(abs(e(a, n) ** 2 - e(b, m) ** 2))),
         "the squares of the errors add up, also for a difference."),
        (made(lambda a, n, b, m: e(a, n)), "that is the error of a alone."),
        (made(lambda a, n, b, m: e(b, m)), "that is the error of b alone."),
        (made(lambda a, n, b, m: max(e(a, n), e(b, m))), "that is the larger of the two errors; "
                                                         "the other one counts, too."),
        (made(lambda a, n, b, m: (e(a, n) + e(b, m)) / 2), "that is the mean of the two errors, "
                                                           "less than the larger one."),
        (made(lambda a, n, b, m: math.sqrt(e(a, n) + e(b, m))), "square the errors before you "
                                                                "add them."),
        (made(lambda a, n, b, m: math.hypot(e(a, n), e(b, n))), "b has a number of questions of "
                                                                "its own, n_b."),
        (made(lambda a, n, b, m: both(a, n, b, m) / math.sqrt(2)),
         "that is too small by the root of 2: the variances are added, not averaged."),
        (made(lambda a, n, b, m: math.hypot(e(a, m), e(b, n))), "n_a belongs to a, and n_b to b."),
        (made(lambda a, n, b, m: math.hypot(e(a, n) ** 2, e(b, m) ** 2)),
         "`math.hypot` squares already. Give it the errors."),
        (made(lambda a, n, b, m: e(abs(a - b), n + m)), "a difference of two shares is no share "
                                                        "of n_a + n_b questions. Each of the two "
                                                        "has an error of its own."),
        (made(lambda a, n, b, m: e((a + b) / 2, n + m)), "that is the error of a common share of "
                                                         "all questions. Let each share have its "
                                                         "own."),
        (made(lambda a, n, b, m: math.sqrt((a * (1 - a) + b * (1 - b)) / (n + m))),
         "divide each p (1 - p) by its own number of questions before you add."),
        (made(lambda a, n, b, m: _pooled(a, n, b, m)), "that takes both shares as one. Let each "
                                                       "have its own error."),
        (made(lambda a, n, b, m: (a - b) / both(a, n, b, m)), "that is how many "
                                                                          "errors a - b is from "
                                                                          "0. Return the error."),
        (made(lambda a, n, b, m: 1.96 * both(a, n, b, m)), "that is half of the 95 % "
                                                                       "interval. Return one "
                                                                       "standard error."),
        (lambda a, n, b, m: right(a, n, b, m)[::-1], "the difference comes first, then its "
                                                     "error."),
        (lambda a, n, b, m: 100 * right(a, n, b, m), "those are per cent; return numbers from 0 "
                                                     "to 1."),
    ]  # fmt: skip

    def fault(case: tuple, got: Array) -> str:
        value, error = right(*case)
        if not math.isclose(got[0], value, abs_tol=1e-6):
            return f"the difference of {case[0]} and {case[2]} is {value:+.3f}, not {got[0]:+.3f}."
        return f"the error of {case[0]} - {case[2]} is {error:.4f} here, not {got[1]:.4f}."

    diagnose_arrays(results, right, mistakes, fault)
    return f"right for {len(cases)} pairs of models."


def _pooled(a: float, n: int, b: float, m: int) -> float:
    p = (a * n + b * m) / (n + m)
    return math.sqrt(p * (1 - p) * (1 / n + 1 / m))


@exercise("What stands together", course=_standing, hints=(
    "Go through the names from the smallest p to the largest: "
    "`sorted(p_values, key=p_values.get)`. Of m names, the first is compared with level / m.",
    "The second is compared with level / (m - 1), the third with level / (m - 2), and so on: what "
    "already stands is no longer counted. Stop at the first that fails.",
    "In the loop `for k, name in enumerate(ordered)`: `if p_values[name] > level / (m - k): "
    "break`, and else append the name. Return the list.",
))  # fmt: skip
def standing(answer: Any) -> str:
    """answer(p_values, level) -> the names of the differences that stand (Holm)."""
    cases: list[tuple] = [
        ({"a": 0.04, "b": 0.03, "c": 0.01}, 0.05),
        ({"a": 0.0125, "b": 0.3, "c": 0.9, "d": 0.6}, 0.05),
        ({"a": 0.03, "b": 0.024, "c": 0.001, "d": 0.04}, 0.05),
        ({"a": 0.03, "b": 0.04}, 0.05),
        ({"a": 0.02, "b": 0.024, "c": 0.001}, 0.05),
        ({"a": 0.04, "b": 0.3}, 0.05),
        ({"a": 0.03, "b": 0.06, "c": 0.2}, 0.1),
        ({"a": 0.2, "b": 0.7}, 0.05),
        ({"NQ": 0.85, "Arc-c": 0.0011, "MBPP": 0.005, "MATH": 1e-9, "PIQA": 0.083}, 0.01),
    ]
    hints = {"division by zero": "The first place is k = 0, with the bound level / m. Does your "
                                 "count begin at 1?"}  # fmt: skip
    results = [(case, _names(call(answer, *case, hints=hints))) for case in cases]
    mistakes: Mistakes = [
        (lambda p, level: _kept(p, lambda p, k, m: p <= level),
         "each is compared with the level as if it were the only one. Of 20 that are nothing but "
         "chance, one stands then."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= level / m),
         "that is stricter than needed (Bonferroni): only the smallest p is compared with "
         "level / m, the next with level / (m - 1)."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= level / (m - k)),
         "after the first that fails, none stands, even if its own comparison holds."),
        (lambda p, level: _kept(p, lambda p, k, m: p < level / (m - k), stop=True),
         "a p equal to its bound stands: at most level / m."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= level / (k + 1), stop=True),
         "the bounds run the wrong way: the smallest p has the strictest one, level / m."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= level * (k + 1) / m, step_up=True),
         "that is the rule of Benjamini and Hochberg, which allows a share of false ones. Here "
         "none may be chance."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= level * (k + 1) / m, stop=True),
         "the bounds are level / m, level / (m - 1) and so on, not level times 1 / m, 2 / m, ..."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= level / (m - k), step_up=True),
         "begin with the smallest p and stop at the first that fails. You begin with the "
         "largest."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= level / (m - k + 1), stop=True),
         "the first bound is level / m, without the 1."),
        (lambda p, level: _kept(p, lambda p, k, m: p <= 0.05 / (m - k), stop=True),
         "the level is always 0.05; use the argument."),
        (lambda p, level: sorted(set(p) - set(_standing(p, level))),
         "those are the ones that do not stand."),
        (lambda p, level: _in_order_of_the_dict(p, level),
         "go through the names from the smallest p to the largest, not in the order of the dict."),
        (lambda p, level: _in_order_of_the_dict({name: p[name] for name in sorted(p)}, level),
         "that is the order of the names. Sort by p: `sorted(p_values, key=p_values.get)`."),
        (lambda p, level: _and_the_first_that_fails(p, level),
         "the first that fails does not stand either: ask before you append."),
        (lambda p, level: sorted(p), "that is all of them."),
        (lambda p, level: [], "none stands, whatever its p. Do you begin with the smallest p?"),
    ]  # fmt: skip

    def fault(case: tuple, got: list[str]) -> str:
        right = _standing(*case)
        for name in sorted(set(got) ^ set(right)):
            place = sorted(case[0], key=case[0].__getitem__).index(name)
            bound = f"{case[1]:g} / {len(case[0]) - place}"
            word = "stands" if name in right else "does not stand"
            return (f"{name}, with p = {case[0][name]:g} at place {place + 1} of {len(case[0])} "
                    f"(bound {bound}), {word}.")  # fmt: skip
        return "name each once."

    diagnose_values(results, lambda p, level: sorted(_standing(p, level)), mistakes, fault)
    return f"right for {len(cases)} tables of p."


def _kept(
    p_values: Mapping[str, float],
    passes: Callable[[float, int, int], bool],
    stop: bool = False,
    step_up: bool = False,
) -> list[str]:
    """The names that pass. stop: none after the first that fails. step_up: all before the last."""
    ordered = sorted(p_values, key=p_values.__getitem__)
    passed = [passes(p_values[name], k, len(ordered)) for k, name in enumerate(ordered)]
    if stop and False in passed:
        ordered = ordered[: passed.index(False)]
    elif step_up:
        ordered = ordered[: max((k + 1 for k, passing in enumerate(passed) if passing), default=0)]
    else:
        ordered = [name for name, passing in zip(ordered, passed, strict=True) if passing]
    return sorted(ordered)


def _in_order_of_the_dict(p_values: Mapping[str, float], level: float) -> list[str]:
    found: list[str] = []
    for k, (name, p) in enumerate(p_values.items()):
        if p > level / (len(p_values) - k):
            break
        found.append(name)
    return sorted(found)


def _and_the_first_that_fails(p_values: Mapping[str, float], level: float) -> list[str]:
    ordered = sorted(p_values, key=p_values.__getitem__)
    return sorted(ordered[: len(_standing(p_values, level)) + 1])


@exercise("The interval of a count", course=interval, hints=(
    "At the ends of the interval, the distance is exactly z errors: (x - p)² = z² p (1 - p) / n. "
    "Multiply this out and sort it by powers of p.",
    "(1 + z²/n) p² - (2x + z²/n) p + x² = 0. Its two solutions are the ends; `np.roots([a, b, c])` "
    "solves a p² + b p + c = 0, or use the formula.",
    "With `x, t = successes / n, z**2 / n`: the centre is `(x + t / 2) / (1 + t)`, and half the "
    "width `z * math.sqrt(x * (1 - x) / n + t / (4 * n)) / (1 + t)`.",
))  # fmt: skip
def wilson(answer: Any) -> str:
    """answer(successes, n, z) -> (low, high)."""
    cases = [
        (5, 10, 1.96), (5020, 9163, 1.96), (0, 175, 1.96), (1, 20, 2.576), (19, 20, 1.0),
        (30, 40, 1.96), (12, 12, 1.96),
    ]  # fmt: skip
    hints = {
        "math domain": "Is the number under a root negative? Check the signs of the quadratic.",
        "positional argument": "It takes three: successes, n and z.",
    }
    results = [(case, _pair(call(answer, *case, hints=hints))) for case in cases]

    def ends(center: Callable[..., float], half: Callable[..., float]) -> Any:
        def made(s: int, n: int, z: float) -> Array:
            x, t = s / n, z**2 / n
            return np.array([center(x, t) - half(x, n, z, t), center(x, t) + half(x, n, z, t)])

        return made

    def center(x: float, t: float) -> float:
        return (x + t / 2) / (1 + t)

    def half(x: float, n: int, z: float, t: float) -> float:
        return z * math.sqrt(x * (1 - x) / n + t / (4 * n)) / (1 + t)

    def wald(x: float, n: int, z: float, t: float) -> float:
        return z * math.sqrt(x * (1 - x) / n)

    right = ends(center, half)
    mistakes: Mistakes = [
        (ends(lambda x, t: x, wald), "that is share ± z errors, with the error at the share that "
                                     "was seen. For 0 of 175 it is a single point. The error must "
                                     "be that of p, the end itself."),
        (lambda s, n, z: np.clip(ends(lambda x, t: x, wald)(s, n, z), 0, 1),
         "that is share ± z errors, cut off at 0 and 1. For 0 of 175 it is still a single "
         "point."),
        (ends(center, lambda x, n, z, t: wald(x, n, z, t) / (1 + t)),
         "under the root z² / (4 n²) is missing."),
        (ends(center, wald), "the centre is right, but the width is still that of share ± z "
                             "errors."),
        (ends(lambda x, t: x, half), "the width is right, but the centre is not the share: it "
                                     "lies nearer to one half."),
        (ends(lambda x, t: x + t / 2, lambda x, n, z, t: half(x, n, z, t) * (1 + t)),
         "divide both by 1 + z²/n, the coefficient of p²."),
        (ends(center, lambda x, n, z, t: half(x, n, z, t) * (1 + t)),
         "half the width must be divided by 1 + z²/n, too."),
        (ends(center, lambda x, n, z, t: half(x, n, z, t) / z), "half the width lacks its factor "
                                                                "z."),
        (ends(center, lambda x, n, z, t: z * math.sqrt(x * (1 - x) / n + t / 4) / (1 + t)),
         "under the root it is z² / (4 n²): t / (4 n), not t / 4."),
        (ends(lambda x, t: (x + t) / (1 + t), half), "the centre is (x + z²/(2n)) / (1 + z²/n): a "
                                                     "half of t."),
        (lambda s, n, z: right(s, n, 1.96), "z is always 1.96; use the argument."),
        (lambda s, n, z: right(s, n, z)[::-1], "the lower end comes first. `np.roots` gives them "
                                               "in no order that you can rely on: sort them."),
        (lambda s, n, z: n * right(s, n, z), "those are counts; return shares."),
        (lambda s, n, z: 100 * right(s, n, z), "those are per cent; return numbers from 0 to 1."),
        (lambda s, n, z: np.array([center(s / n, z**2 / n), half(s / n, n, z, z**2 / n)]),
         "that is the centre and half the width. Return both ends."),
        (lambda s, n, z: right(n - s, n, z), "those are the shares of the failures."),
        (lambda s, n, z: _around((s + z**2 / 2) / (n + z**2), n + z**2, z),
         "that is centre ± z errors at the centre (Agresti and Coull). The centre is right; the "
         "error must be that of p, the end itself."),
        (lambda s, n, z: _around((s + 2) / (n + 4), n + 4, z),
         "that adds two right and two wrong answers, an approximation. Solve the quadratic."),
        (lambda s, n, z: np.array([center(s / n, z / n) + side * half(s / n, n, z, z / n)
                                   for side in (-1, 1)]), "t is z² / n; you have z / n."),
        (lambda s, n, z: -right(s, n, z)[::-1], "the sign of the middle term of the quadratic is "
                                                "minus: -(2x + z²/n) p."),
    ]  # fmt: skip

    def fault(case: tuple, got: Array) -> str:
        low, high = right(*case)
        if not got[0] <= got[1]:
            return f"the lower end, {got[0]:.3f}, lies above the upper one, {got[1]:.3f}."
        if got[0] < -1e-6 or got[1] > 1 + 1e-6:
            return f"no share lies below 0 or above 1, but yours end at {got[0]:.3f}, {got[1]:.3f}."
        return (
            f"for {case[0]:,} of {case[1]:,} with z = {case[2]:g} the ends are {low:.4f} and "
            f"{high:.4f}, not {got[0]:.4f} and {got[1]:.4f}."
        )

    diagnose_arrays(results, right, mistakes, fault)
    return f"right for {len(cases)} counts, 0 of 175 and all of 12 among them."


def _around(share: float, n: float, z: float) -> Array:
    half = z * math.sqrt(share * (1 - share) / n)
    return np.array([share - half, share + half])


@exercise("The equivalent size", course=_equivalent_size, hints=(
    "On the line, how much of the way from the score of the small model to that of the large one "
    "is the score? That part of the way it also is from log(small size) to log(large size).",
    "`way = (score - small[1]) / (large[1] - small[1])`. It may be above 1 or below 0: the line "
    "goes on.",
    "`return small[0] * (large[0] / small[0]) ** way`: adding way times the difference of two "
    "logarithms is multiplying by the ratio of the sizes to the power way.",
))  # fmt: skip
def equivalent_size(answer: Any) -> str:
    """answer(score, (size, score), (size, score)) -> a size."""
    cases: list[tuple] = [
        (0.55, (10.0, 0.5), (40.0, 0.6)), (0.601, (7.0, 0.444), (13.0, 0.556)),
        (0.3, (7.0, 0.4), (13.0, 0.5)), (0.6, (13.0, 0.548), (34.0, 0.626)),
        (0.5, (2.0, 0.5), (5.0, 0.9)),
    ]  # fmt: skip
    hints = {"math range": "Is a size where its logarithm should be?"}
    results = [(case, _number(call(answer, *case, hints=hints))) for case in cases]

    def way(score: float, small: tuple, large: tuple) -> float:
        return (score - small[1]) / (large[1] - small[1])

    mistakes: Mistakes = [
        (lambda s, a, b: a[0] + way(s, a, b) * (b[0] - a[0]), "that is a line in the size itself. "
                                                              "Take the logarithms of the sizes."),
        (lambda s, a, b: math.log(_equivalent_size(s, a, b)), "that is the logarithm of the size. "
                                                              "Take exp of it."),
        (lambda s, a, b: math.log10(_equivalent_size(s, a, b)), "that is the logarithm of the "
                                                                "size, to base 10."),
        (lambda s, a, b: math.log2(_equivalent_size(s, a, b)), "that is the logarithm of the "
                                                               "size, to base 2."),
        (lambda s, a, b: math.exp(np.interp(s, [a[1], b[1]], np.log([a[0], b[0]]))),
         "`np.interp` stops at the two models. Beyond them the line goes on."),
        (lambda s, a, b: a[0] * (b[0] / a[0]) ** min(1, max(0, way(s, a, b))),
         "the line goes on beyond the two models; do not cut it off."),
        (lambda s, a, b: b[0] * (b[0] / a[0]) ** way(s, a, b), "the way begins at the small "
                                                               "model."),
        (lambda s, a, b: a[0] * (a[0] / b[0]) ** way(s, a, b), "the line falls: the ratio is "
                                                               "large size / small size."),
        (lambda s, a, b: b[0] * (a[0] / b[0]) ** way(s, a, b), "small and large are exchanged on "
                                                               "one of the two scales."),
        (lambda s, a, b: a[0] * way(s, a, b), "that multiplies the small size by the way."),
        (lambda s, a, b: way(s, a, b), "that is the part of the way, not a size."),
        (lambda s, a, b: (b[0] / a[0]) ** way(s, a, b), "that is the multiple of the small size. "
                                                        "Multiply by it."),
        (lambda s, a, b: a[0] * math.exp(way(s, a, b)), "one way is a factor of large size / "
                                                        "small size, not of e."),
        (lambda s, a, b: a[0] * 2 ** way(s, a, b), "one way is a factor of large size / small "
                                                   "size, not of 2."),
        (lambda s, a, b: a[0] * (b[0] / a[0]) ** (
            math.log(s / a[1]) / math.log(b[1] / a[1])), "the logarithm belongs to the sizes. The "
                                                         "scores stay as they are."),
        (lambda s, a, b: a[1] * (b[1] / a[1]) ** ((s - a[0]) / (b[0] - a[0])),
         "a pair is (size, score): small[0] is a size and small[1] a score."),
        (lambda s, a, b: b[0] * way(s, a, b), "the ratio of the sizes is raised to the power way, "
                                              "not multiplied by it."),
        (lambda s, a, b: np.exp(a[0] + way(s, a, b) * (b[0] - a[0])),
         "take the logarithms of the sizes before you go along the line."),
        (lambda s, a, b: 10 ** math.log(_equivalent_size(s, a, b)),
         "`math.log` is undone by `math.exp`, and `math.log10` by 10 ** x."),
        (lambda s, a, b: a[0] * (b[0] / a[0]) ** ((s - a[1]) / b[1]),
         "divide the rise by that of the whole line, large score - small score."),
        (lambda s, a, b: a[0] * s / a[1], "that takes size and score as proportional."),
    ]  # fmt: skip
    diagnose_arrays(results, _equivalent_size, mistakes, lambda case, got: (
        f"a score of {case[0]} between {case[1]} and {case[2]} (size, score) belongs to a size of "
        f"{_equivalent_size(*case):.2f}, not {float(got):.2f}."))  # fmt: skip
    return f"right for {len(cases)} lines, also beyond their ends."


@exercise("An entry of your own", course=_entry, hints=(
    "Inside my_entry, write a function `evidence()` that computes from rows and returns "
    "`Finding(judge(...), {\"name\": figure})`. judge gives \"true\" or \"false\" for a condition.",
    "`Claim(slug, claim, (\"reader\",), \"\", TRUE, \"computed\", because, evidence)`: claim and "
    "because are sentences, and because shows a figure by its name, such as {score:.1f}.",
    "The condition could be `rows[\"Mistral 7B\"][\"GSM8K\"] > 50`, and the figure `{\"score\": "
    "rows[\"Mistral 7B\"][\"GSM8K\"]}`. Then find a claim of your own.",
))  # fmt: skip
def entry(answer: Any) -> str:
    """answer(rows of a table like Table 2) -> a Claim whose evidence is computed from them."""
    real = paper.TABLE_2.rows
    hints = {
        "missing": "Claim takes slug, claim, said_by, where, verdict, how, because and evidence.",
        "evidence must be a function": "Give it the function, such as evidence=evidence.",
        "not callable": "Give the function itself, without brackets.",
        "said_by": "For a claim of yours it is (\"reader\",), with a comma.",
        "verdict of what is": "A claim that is false is \"corrected\", one that is true "
                              "\"computed\".",
    }  # fmt: skip
    mine = _claim_of(answer, real, hints)
    known = [claim.slug for claim in CLAIMS]
    expect(mine.slug not in known, f"the ledger has an entry {mine.slug!r} already; take another "
                                   "slug.")  # fmt: skip
    expect(mine.verdict != "cannot be decided here",
           "choose a claim that Table 2 can decide.")  # fmt: skip
    expect(mine.evidence is not None, "there is no evidence. Give the entry a function that is "
                                      "run.")  # fmt: skip
    found = _found(mine)
    if found.verdict != mine.verdict:
        raise Wrong(
            f"the entry says {mine.verdict!r}, but on Table 2 its evidence finds {found.verdict!r}."
        )
    expect(bool(found.figures), "the evidence finds no figure. Give those that decide, so that "
                                "the reason can show them.")  # fmt: skip
    expect(_reason(mine) != mine.because, "the reason shows no figure of the evidence. Put its "
                                          "name in braces, such as {score:.1f}.")  # fmt: skip
    others = [_claim_of(answer, rows, hints | _TAKEN) for rows in _other_tables()]
    if any(other.verdict != mine.verdict for other in others):
        raise Wrong(_TAKEN["verdict of what is"])
    verdicts = [_found(other).verdict for other in others]
    figures = [repr(_found(other).figures) for other in others]
    if all(figure == repr(found.figures) for figure in figures):
        raise Wrong(
            f"on {len(others)} other tables the evidence finds the same figures. Does it compute "
            "from rows, or from a table or numbers of its own?"
        )
    n_flips = sum(verdict != found.verdict for verdict in verdicts)
    if not n_flips:
        raise Wrong(
            f"on {len(others)} other tables, with each model best and worst in turn, the evidence "
            f"always finds {found.verdict!r}. What would have to be different for it to find "
            "something else?"
        )
    return (
        f"{mine.reason()} On {n_flips} of {len(others)} other tables the evidence finds something "
        "else, so it is evidence."
    )


_TAKEN = {
    "verdict of what is": "the entry's verdict changes with the table. Write down what you say, "
                          "so that the evidence can contradict it; a verdict taken from the "
                          "evidence always holds.",
}  # fmt: skip


def _claim_of(answer: Any, rows: Rows, hints: Mapping[str, str]) -> Claim:
    mine = call(answer, {model: dict(scores) for model, scores in rows.items()}, hints=hints)
    expect(isinstance(mine, Claim), f"return a Claim, not a value of type {type(mine).__name__}.")
    return mine


def _found(mine: Claim) -> Finding:
    expect(callable(mine.evidence), "evidence is the function itself: write evidence, not "
                                    "evidence().")  # fmt: skip
    try:
        found = mine.finding()
    except Exception as error:
        raise Wrong(f"the evidence raised {type(error).__name__}: {error}.") from None
    is_finding = isinstance(found, Finding)
    expect(is_finding, f"the evidence must return a Finding, not a {type(found).__name__}.")
    expect(isinstance(found.verdict, str), "a Finding begins with a verdict, which is a text. Let "
                                           "judge make it of your condition.")  # fmt: skip
    expect(
        isinstance(found.figures, Mapping),
        "the figures of a Finding are a dict, name -> "
        f"figure, not a {type(found.figures).__name__}.",
    )
    return found


def _reason(mine: Claim) -> str:
    try:
        return mine.reason()
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise Wrong(
            f"the figures {sorted(mine.finding().figures)} do not fit the reason "
            f"({type(error).__name__}: {error})."
        ) from None


@functools.cache
def _other_tables() -> list[dict[str, dict[str, float]]]:
    """Tables of the form of Table 2: its rows exchanged, each model best and worst, and chance."""
    rng = np.random.default_rng(15)
    real = {model: dict(scores) for model, scores in paper.TABLE_2.rows.items()}
    models, names = list(real), list(paper.BENCHMARKS)
    tables = []
    for shift in range(1, len(models)):
        moved = models[shift:] + models[:shift]
        tables.append({model: real[other] for model, other in zip(models, moved, strict=True)})
    for model in models:
        for score in (1.5, 98.5):
            tables.append(real | {model: dict.fromkeys(names, score)})
    for low, high in ((2, 98), (2, 20), (40, 60), (80, 98)):
        for _ in range(10):
            tables.append({
                model: dict(zip(names, rng.uniform(low, high, len(names)).round(1).tolist(),
                                strict=True))
                for model in models
            })  # fmt: skip
    return tables


# The museum


@exercise("Museum, one model and three scores", hints=(
    "What does the prompt ask for: the text of an answer, or its letter? And which of them does "
    "`log_p` get?",
    "The texts of the four answers differ in length, and a longer text is less probable, whether "
    "it is right or not.",
    "Line 4 must be `scores[letter] = log_p(prompt, letter)`.",
))  # fmt: skip
def bug_letters(line: Any, fixed: Any) -> str:
    """A test of multiple choice that compares the texts where the letters are asked for."""
    guilty_line(line, 4, {
        1: "It is given the question, the choices, the right letter and the model.",
        2: "An empty dict is a right beginning.",
        3: "It pairs each letter with its text. That is right.",
        5: "The most probable one is the model's answer. That is right.",
        6: "It compares two letters. That is right.",
    }, 6)  # fmt: skip
    results = []
    for case in _choices():
        got = call(fixed, *case, name="fixed")
        expect(isinstance(got, bool | np.bool_), f"return True or False, not {got!r:.40}.")
        results.append((case, bool(got)))
    diagnose_values(results, _by_letter, [
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, text)),
         "that still compares the texts."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, text) / len(text)),
         "per character, long texts are no longer worse off, but it is still the text. The prompt "
         "asks for a letter."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, text) / len(text.split())),
         "per word, long texts are no longer worse off, but it is still the text. The prompt asks "
         "for a letter."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, f"{letter}. {text}")),
         "the text still counts, and with it its length. Give it the letter alone."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, letter + text)),
         "the text still counts, and with it its length. Give it the letter alone."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, letter) + log_p(prompt, text)),
         "the text still counts, and with it its length. Give it the letter alone."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt + text, letter)),
         "leave the prompt as it is; it lists all four texts already."),
        (_by(lambda log_p, prompt, letter, text: log_p(letter, prompt)),
         "`log_p` takes the prompt first, and then the text after it."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, f"({letter})")),
         "the prompt asks for the letter as it is, without brackets."),
        (_by(lambda log_p, prompt, letter, text: log_p(prompt, letter.lower())),
         "the prompt lists capital letters."),
        (_by(lambda log_p, prompt, letter, text: -log_p(prompt, letter)),
         "that takes the least probable letter."),
        (lambda prompt, choices, answer, log_p: True, "every answer is right then."),
        (lambda prompt, choices, answer, log_p: False, "no answer is right then. Do you compare "
                                                        "a letter with a letter?"),
    ], lambda case, got: (
        f"{case[0]!r} with the right letter {case[2]} is {_by_letter(*case)}, not {got}."
    ))  # fmt: skip
    return (
        "it asks for what the prompt asks for. Published: EleutherAI/lm-evaluation-harness#475 and "
        "huggingface/blog#1258 (three ways to score, three MMLUs of one model)."
    )


def _by(score: Callable[..., float]) -> Callable[..., bool]:
    def function(prompt: str, choices: list[str], answer: str, log_p: Any) -> bool:
        scores = [score(log_p, prompt, letter, text)
                  for letter, text in zip("ABCD", choices, strict=False)]  # fmt: skip
        return "ABCD"[scores.index(max(scores))] == answer

    return function


_by_letter = _by(lambda log_p, prompt, letter, text: log_p(prompt, letter))


def _choices() -> list[tuple]:
    """Questions whose answer is most probable by its letter, by its text, or by neither."""
    texts = ["four", "five or six", "a number that nobody knows", "none of these three"]
    return [
        (f"Question {n}. Answer:", texts[n % 4 :] + texts[: n % 4], "ABCD"[n % 3], _log_p)
        for n in range(20)
    ]


def _log_p(prompt: str, text: str) -> float:
    """A made-up model: the same number for the same two texts, and less for longer ones."""
    drawn = zlib.crc32(f"{prompt} {text.strip()}".encode()) % 1000
    return -drawn / 200 - 0.5 * len(text.split())


@exercise("Museum, the best of several runs", hints=(
    "Run it on grades that are the same but for chance. Does the first number stay the same when "
    "there are more runs?",
    "The largest of several numbers that scatter grows with how many there are. And the error on "
    "line 5 is that of another number.",
    "Line 6 must be `return np.mean(scores), error`.",
))  # fmt: skip
def bug_runs(line: Any, fixed: Any) -> str:
    """A score that is the best of several runs, with the error of their mean."""
    guilty_line(line, 6, {
        1: "The grades of several runs are what it needs.",
        2: "An empty list is a right beginning.",
        3: "Each run has its own grades. That is right.",
        4: "It is the mean grade of a run. That is right.",
        5: "It is the standard error of the mean of the runs. That is right; of what is line 6?",
    }, 6)  # fmt: skip
    cases = [([[3.0, 6.0], [1.0, 2.0], [5.0, 5.0], [4.0, 4.0]],),
             ([[6.0, 7.0, 9.0], [8.0, 8.0, 9.0]],),
             ([[2.0], [4.0], [9.0], [3.0], [2.5]],)]  # fmt: skip
    results = [(case, _pair(call(fixed, *case, name="fixed"))) for case in cases]

    def made(pick: Callable[[Array], float], error: Callable[[Array], float]) -> Any:
        def function(runs: list[list[float]]) -> Array:
            scores = np.array([sum(grades) / len(grades) for grades in runs])
            return np.array([pick(scores), error(scores)])

        return function

    def error(scores: Array) -> float:
        return float(np.std(scores, ddof=1) / math.sqrt(len(scores)))

    def fault(case: tuple, got: Array) -> str:
        mean, right_error = made(np.mean, error)(*case)
        if not math.isclose(got[0], mean, rel_tol=1e-4):
            return f"the mean of the {len(case[0])} runs is {mean:.3f}, not {got[0]:.3f}."
        return f"the error of line 5 was right: {right_error:.3f} here, not {got[1]:.3f}."

    diagnose_arrays(results, made(np.mean, error), [
        (made(np.max, error), "that is still the best of the runs."),
        (made(np.min, error), "that is the worst of the runs, which is no better than the best."),
        (made(np.median, error), "the median is a good choice, too, but the error is that of the "
                                 "mean."),
        (made(lambda s: s[0], error), "that is the first run; the others were run as well."),
        (made(lambda s: s[-1], error), "that is the last run; the others were run as well."),
        (made(np.mean, lambda s: np.std(s, ddof=1)), "the mean is right. The error of a mean of n "
                                                     "runs is smaller than their deviation by "
                                                     "the root of n."),
        (made(np.mean, lambda s: np.std(s) / math.sqrt(len(s))), "the error was right: divide by "
                                                                 "n - 1 (ddof=1), as it did."),
        (made(np.mean, np.std), "the error was right as it stood."),
        (made(np.mean, lambda s: np.max(s) - np.min(s)), "the range grows with the number of "
                                                         "runs. Keep the error."),
        (lambda runs: _over_all_grades(runs), "that takes every grade as a run of its own. Line 5 "
                                              "had the error right: that of the scores of runs."),
        (lambda runs: made(np.mean, error)(runs)[::-1], "the mean comes first, then its error."),
        (made(np.sum, error), "that is the sum of the scores."),
        (made(np.mean, lambda s: np.std(s, ddof=1) / len(s)), "the error was right: divide by the "
                                                              "root of the number of runs."),
        (made(np.mean, lambda s: error(s) ** 2), "that is the square of the error, which was "
                                                 "right."),
        (made(np.max, np.std), "that is still the best of the runs, and line 5 was right."),
    ], fault)  # fmt: skip
    return (
        "the number and its error belong together. Published: lm-sys/FastChat#3018 (0.16 between 5 "
        "runs of the judge on the same answers) and lm-sys/FastChat#2969."
    )


def _over_all_grades(runs: list[list[float]]) -> Array:
    grades = np.concatenate(runs)
    spread = np.std(grades, ddof=1)
    return np.array([np.mean(grades), spread / math.sqrt(len(grades))])


@exercise("Museum, references that are wrong", hints=(
    "Let a model answer everything right. Which questions does it lose, and whose mistake is "
    "that?",
    "A reference that nobody has verified says nothing about the answer. Such a question must "
    "count neither as right nor as wrong.",
    "After line 3: `if question not in verified: continue`.",
))  # fmt: skip
def bug_references(line: Any, fixed: Any) -> str:
    """A score against references of which some are wrong."""
    guilty_line(line, 3, {
        1: "It is given the answers, the references, and which of them a person has verified.",
        2: "Both counts begin at 0. That is right.",
        4: "It counts each question that line 3 hands over. Should it hand over all?",
        5: "It compares the answer with the reference. That is right, if the reference is.",
        6: "It counts a match. That is right.",
        7: "It is the share of those that were counted. That is right.",
    }, 7)  # fmt: skip
    cases: list[tuple] = [
        ({"a": 1, "b": 2, "c": 3}, {"a": 1, "b": 5, "c": 3}, {"a", "c"}),
        ({"a": 1, "b": 2, "c": 3, "d": 4}, {"a": 1, "b": 2, "c": 9, "d": 5}, {"b", "c", "d"}),
        ({"a": 1, "b": 2}, {"a": 1, "b": 2}, {"a", "b"}),
        (
            {"a": 1, "b": 2, "c": 0, "d": 0, "e": 7},
            {"a": 1, "b": 2, "c": 3, "d": 4, "e": 7},
            {"a", "d"},
        ),
    ]
    hints = {"division by zero": "At least one reference is verified in each test. "
                                 "`break` ends the loop at the first that is not; `continue` goes "
                                 "on."}  # fmt: skip
    results = [(case, _number(call(fixed, *case, hints=hints, name="fixed"))) for case in cases]

    def made(count: Callable[..., bool], match: Callable[..., bool]) -> Any:
        def function(answers: dict, references: dict, verified: set) -> float:
            asked = [q for q in references if count(q, verified)]
            right = [q for q in references if match(answers[q] == references[q], q in verified)]
            return len(right) / len(asked) if asked else 0.0

        return function

    right = made(lambda q, v: q in v, lambda same, ok: same and ok)
    mistakes: Mistakes = [
        (made(lambda q, v: True, lambda same, ok: same), "that still trusts every reference."),
        (made(lambda q, v: True, lambda same, ok: same and ok), "what is not verified still counts "
                                                                "as asked, and so as wrong."),
        (made(lambda q, v: True, lambda same, ok: same or not ok), "what is not verified counts "
                                                                   "as right now. It must not "
                                                                   "count at all."),
        (made(lambda q, v: q in v, lambda same, ok: same), "what is not verified is not asked, but "
                                                           "it still counts when it matches."),
        (made(lambda q, v: q not in v, lambda same, ok: same and not ok),
         "that is the score on the references that nobody has verified."),
        (lambda a, r, v: float(sum(a[q] == r[q] for q in v)), "that is a count. Return the share "
                                                              "of those that were counted."),
        (lambda a, r, v: 100 * right(a, r, v), "that is in per cent. Return a number from 0 to 1."),
        (lambda a, r, v: 1 - right(a, r, v), "that is the share of wrong answers."),
        (lambda a, r, v: len(v) / len(r), "that is the share of verified references, whatever the "
                                          "answers."),
        (lambda a, r, v: 1.0, "every score is 1 then."),
    ]  # fmt: skip
    diagnose_arrays(results, right, mistakes, lambda case, got: (
        f"with {sorted(case[2])} verified of {sorted(case[1])}, the score is not {float(got):.3f}."
    ))  # fmt: skip
    return (
        "only verified references count. Published: lm-sys/FastChat#3158 (13 of 30 references of "
        "MT-Bench were wrong in at least one of two turns)."
    )


@exercise("Museum, the better of two metrics", hints=(
    "Two models are compared. By which of the two metrics is each judged, and who decided that?",
    "The larger of two numbers that scatter is larger than either of them on average, and two "
    "models may end up with different metrics on one task.",
    "Line 4 must be `row[task] = scores[metric[task]]`.",
))  # fmt: skip
def bug_metric(line: Any, fixed: Any) -> str:
    """A table that takes for each task the metric with the higher score."""
    guilty_line(line, 4, {
        1: "It is given the results and the metric of each task, fixed before the run.",
        2: "An empty dict is a right beginning.",
        3: "It goes through all tasks. That is right.",
        5: "It returns the row of the table. That is right.",
    }, 5)  # fmt: skip
    cases: list[tuple] = [
        (
            {"x": {"acc": 0.5, "acc_norm": 0.6}, "y": {"acc": 0.4, "acc_norm": 0.3}},
            {"x": "acc", "y": "acc_norm"},
        ),
        (
            {"x": {"acc": 0.7, "acc_norm": 0.1}, "y": {"acc": 0.2, "acc_norm": 0.9}},
            {"x": "acc", "y": "acc_norm"},
        ),
        ({"z": {"acc": 0.1, "acc_norm": 0.2, "f1": 0.15}}, {"z": "f1"}),
        ({}, {}),
    ]
    told = "metric is a dict, task -> name of the metric: scores[metric[task]]."
    hints = {"unhashable": told, "'acc": told}
    results = []
    for case in cases:
        got = call(fixed, *case, hints=hints, name="fixed")
        expect(isinstance(got, dict), f"return a dict, not a value of type {type(got).__name__}.")
        results.append((case, {str(k): v for k, v in got.items()}))

    def each(pick: Callable[..., float]) -> Callable[..., dict]:
        return lambda results, metric: {
            task: pick(scores, metric[task]) for task, scores in results.items()
        }

    diagnose_values(results, each(lambda s, m: s[m]), [
        (each(lambda s, m: max(s.values())), "that still takes the higher of the scores."),
        (each(lambda s, m: min(s.values())), "the lower one is chosen after the run, too."),
        (each(lambda s, m: sum(s.values()) / len(s)), "a mean of two metrics is a third one. Take "
                                                      "the one that was fixed."),
        (each(lambda s, m: s["acc"]), "it is always acc. Each task has a metric of its own."),
        (each(lambda s, m: s.get("acc_norm", 0)), "it is always acc_norm. Each task has a metric "
                                                  "of its own."),
        (each(lambda s, m: max(s, key=s.get)), "that is the metric with the higher score. Return "
                                               "the score of the one that was fixed."),
        (lambda results, metric: {
            t: s.get(next(iter(metric.values()))) for t, s in results.items()},
         "every task is judged by the metric of the first. Each has one of its own."),
        (lambda results, metric: {metric[t]: s[metric[t]] for t, s in results.items()},
         "the keys of the row are the tasks, not the metrics."),
        (each(lambda s, m: m), "that is the metric's name. Return its score."),
        (lambda results, metric: {}, "the row is empty."),
    ], _metric_fault)  # fmt: skip
    return (
        "the metric was fixed before the run. Published: kingoflolz/mesh-transformer-jax#257 (the "
        "better metric gave 66.1 on HellaSwag, where others had 51.8)."
    )


def _metric_fault(case: tuple, got: dict) -> str:
    results, metric = case
    for task, scores in results.items():
        if task not in got:
            return f"the task {task!r} is missing."
        if got[task] != scores[metric[task]]:
            return f"the metric of {task!r} is {metric[task]}, whose score is another one."
    return "there is a task that nobody asked for."


def _number(result: Any) -> Array:
    """A single number as an array without axes."""
    if isinstance(result, np.ndarray | list | tuple) and np.size(result) != 1:
        raise Wrong(f"return one number, not {np.size(result)}.")
    is_number = isinstance(result, int | float | np.number) or getattr(result, "shape", None) == ()
    expect(is_number and not isinstance(result, bool),
           f"return a number, not a value of type {type(result).__name__}.")  # fmt: skip
    expect(not np.iscomplexobj(result), "that is a complex number, from the root of a negative "
                                        "one. Check the signs of the quadratic.")  # fmt: skip
    return array(np.asarray(float(result)), ())


def _pair(result: Any) -> Array:
    """Two numbers, in a tuple, a list or an array."""
    two = isinstance(result, tuple | list) and len(result) == 2
    two = two or getattr(result, "shape", None) == (2,)
    expect(two, f"return two numbers, not {result!r:.60}.")
    return np.array([_number(value) for value in result])


def _names(result: Any) -> list[str]:
    is_list = isinstance(result, list | tuple | set | frozenset)
    expect(is_list, f"return a list of names, not a value of type {type(result).__name__}.")
    expect(all(isinstance(name, str) for name in result), "return names, which are texts.")
    return sorted(result)
