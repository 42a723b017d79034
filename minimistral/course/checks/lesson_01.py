"""Checks of lesson 01: softmax, attention with a mask, and a mask of minus ten thousand."""

from collections.abc import Callable
from fractions import Fraction
from math import isfinite
from numbers import Real
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
    NotWritten,
    array,
    call,
    diagnose_arrays,
    diagnose_number,
    exercise,
    expect,
    whole_number,
)
from minimistral.np import attend as np_attend
from minimistral.np import window_mask
from minimistral.np.attention import masked_softmax

# What NumPy says where an axis is wrong or lost, and the hint
_AXES = {
    "is out of bounds": "The last axis is axis=-1, for arrays of any shape.",
    "could not be broadcast": "keepdims=True keeps the axis. Hints 2 and 3.",
}
_SHAPES = {
    "could not be broadcast": "Scores and mask have shape (T, S): a row per query, a column per "
    "key. A number per row needs keepdims=True.",
    "core dimension": "q @ k.T has shape (T, S), and weights @ v has shape (T, D).",
}
_NOTHING = (
    "right where every query sees a key. A query that sees nothing must get zeros, and the "
    "others their results as always."
)


def _softmax(scores: np.ndarray) -> np.ndarray:
    return masked_softmax(scores, np.array(True))


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np_attend(q[None, None], k[None, None], v[None, None], mask)[0, 0]


@exercise(
    "Softmax",
    course=_softmax,
    hints=(
        "Subtract each row's largest score from the whole row first. The weights stay the same, "
        "and no `exp` is above 1.",
        "`scores.max(axis=-1, keepdims=True)` has one number for each row, in a shape that can "
        "be subtracted from `scores`.",
        "With `exps = np.exp(scores - scores.max(axis=-1, keepdims=True))`, divide `exps` by "
        "`exps.sum(axis=-1, keepdims=True)`.",
    ),
)
def softmax(answer: Any) -> str:
    """answer(scores (..., S)) -> weights (..., S) over the last axis."""
    rng = np.random.default_rng(1)
    cases: list[tuple[np.ndarray]] = [
        (np.array([0.0, 1.0, 3.0]),),
        (np.array([[0.0, 1.0], [2.0, 0.0]]),),
        (rng.standard_normal((3, 5)),),
        (rng.standard_normal((2, 3, 4)),),
        (np.array([[1000.0, 999.0, 998.0], [-1000.0, -1001.0, -1002.0]]),),
        (np.array([[100.0, 99.0], [0.0, -100.0]], np.float32),),
        (np.array([[30_000.0, 0.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 30_000.0]]),),
        (np.array([[1.0, -np.inf, 0.0], [-np.inf, -np.inf, 2.0]]),),
    ]
    results = [(case, array(call(answer, *case, hints=_AXES), case[0].shape)) for case in cases]
    diagnose_arrays(results, _softmax, _softmax_mistakes(), _softmax_fault)
    return "each row sums to 1, for scores of any size and arrays of any shape."


@exercise(
    "Attention with a mask",
    course=_attend,
    hints=(
        "There are four steps: the scores `q @ k.T / √D`, then −∞ where the mask is False, then "
        "softmax along each row, then the weights times `v`.",
        "In a row that sees nothing the largest score is −∞, and −∞ − (−∞) is NaN. Replace that "
        "largest score by 0: then every `exp` of the row is 0, and so is their sum.",
        "After `top = scores.max(axis=1, keepdims=True)`, take "
        "`exps = np.exp(scores - np.where(np.isfinite(top), top, 0))`. Divide `exps` by its row "
        "sums, or by 1 where a sum is 0, and multiply by `v`.",
    ),
)
def attend(answer: Any) -> str:
    """answer(q (T, D), k (S, D), v (S, D), mask (T, S)) -> (T, D)."""
    n = _diagnose_attention(answer)
    return f"agrees with the rule on all {n} cases, including the rows that see nothing."


@exercise(
    "Minus ten thousand",
    hints=(
        "Two keys have the same weight exactly when their scores after masking are the same.",
        "Softmax does not change when the same number is added to every score of a row. In a row "
        "that sees nothing, −10,000 is added to all of them.",
        "`needed − 10,000` must be 0, the visible key's score. For `alone`, softmax sees three "
        "equal scores. `fixed` is the function of exercise 2.",
    ),
)
def ten_thousand(needed: Any, alone: Any, fixed: Any) -> str:
    """The two faults of adding -10,000 to hidden scores, and the repaired function."""
    diagnose_number("needed", whole_number("needed", needed), 10_000, [
        (0, "Such a key is at -10,000 after the masking and has no weight at all."),
        (-10_000, "Such a key is at -20,000 after the masking. It must end at 0."),
        (20_000, "Such a key is at 10,000 after the masking and takes all the weight."),
        (5_000, "Such a key is at -5,000 after the masking and has no weight at all."),
        (10_001, "Such a key is at 1 after the masking and has more weight than the visible one."),
        (1, "Such a key is at -9,999 after the masking and has no weight at all."),
        (104, "That is where exp(-x) becomes 0 in float32. Here −10,000 was added as well."),
        (65_504, "That is the largest number of fp16. Only the gap of the two scores counts."),
    ])  # fmt: skip
    share = _share(alone)
    expect(share != 0, "alone is not 0: the weights of a row always sum to 1 here. Hint 2.")
    expect(share != 1, "alone is not 1: there are three keys, and the weights sum to 1.")
    expect(share != 1 / 4, "alone is not 1/4: there are three keys, and no fourth shares the row.")
    expect(share != 3, "alone is the weight of one key, not the number of keys.")
    expect(abs(share - 1 / 2) > 1e-6, "alone is not 1/2: all three keys have the same score.")
    expect(0 < share < 1, f"alone is not {share:g}: a weight lies between 0 and 1.")
    expect(abs(share - 1 / 3) < 1e-3, "alone is the weight of one of three keys that are alike.")
    expect(abs(share - 1 / 3) < 1e-7, "alone is only nearly right; write it as a fraction.")
    if fixed is None:
        raise NotWritten("fixed is not written yet.")
    _diagnose_attention(fixed)
    return "both faults are understood, and the repaired function has neither."


def _diagnose_attention(answer: Any) -> int:
    """Compare the cases in which every query sees a key first: a wrong answer usually makes one
    mistake there and another, 0 / 0, for a query that sees nothing. How many cases there are."""
    cases = _attend_cases()
    results = [(case, _result(answer, *case)) for case in cases]
    seeing = [(case, result) for case, result in results if case[3].any(axis=1).all()]
    mistakes = _attend_mistakes()
    diagnose_arrays(seeing, _attend, mistakes, lambda *_: _attend_fault(answer))
    diagnose_arrays(results, _attend, mistakes, lambda *_: _NOTHING)
    return len(cases)


def _attend_cases() -> list[tuple]:
    """T, S and D differ, so that a transpose or a wrong axis shows. The first two are small, to
    be shown; the third has scores of ±30,000, and the fourth a visible one of -20,000 and a
    hidden one of 0. In the last two a query sees nothing."""
    rng = np.random.default_rng(2)

    def case(T: int, S: int, D: int, mask: np.ndarray) -> tuple:
        return (*(rng.standard_normal((n, D)) for n in (T, S, S)), mask)

    def small(q: list, k: list, v: list, mask: list) -> tuple:
        return (*(np.array(a, float) for a in (q, k, v)), np.array(mask, bool))

    some = rng.random((3, 7)) < 0.5
    some[:, 0] = True
    nothing = some.copy()
    nothing[1] = False
    return [
        small([[1, 0], [0, 2]], [[1, 1], [2, 0], [0, 3]], [[8, 0], [16, 1], [24, 0]],
              [[1, 0, 0], [1, 1, 0]]),
        small([[1, 2]], [[2, 0], [0, 1], [3, 1]], [[1, 4], [2, 5], [3, 6]], [[1, 0, 1]]),
        small([[300, 0], [-1, 0]], [[142, 1], [0, 1], [-142, 1]], [[8, 0], [16, 1], [24, 0]],
              [[1, 1, 1], [1, 0, 1]]),
        small([[2, 0, 0, 0]], [[-20_000, 0, 0, 0], [0, 0, 0, 0]], [[8, 0, 0, 4], [24, 1, 2, 3]],
              [[1, 0]]),
        case(5, 5, 4, window_mask(np.arange(5), np.arange(5), None)),
        case(3, 7, 4, some),
        case(2, 6, 9, np.ones((2, 6), bool)),
        small([[1], [1]], [[1], [2]], [[8], [24]], [[0, 0], [1, 0]]),
        case(3, 7, 4, nothing),
    ]  # fmt: skip


def _share(alone: Any) -> float:
    if alone is None:
        raise NotWritten("alone is not written yet.")
    alone = alone.item() if getattr(alone, "shape", None) == () else alone  # NumPy or torch
    is_number = isinstance(alone, Real | Fraction) and not isinstance(alone, bool)
    expect(is_number, f"alone must be a number, not a value of type {type(alone).__name__}.")
    expect(isfinite(alone), f"alone must be a number, not {alone}.")
    return float(alone)


def _result(answer: Any, *case: np.ndarray) -> np.ndarray:
    return array(call(answer, *case, hints=_SHAPES), (len(case[0]), case[2].shape[1]))


def _softmax_fault(case: tuple, weights: np.ndarray) -> str:
    """The first property of softmax that wrong weights violate."""
    sums = weights.sum(axis=-1)
    off = sums[abs(sums - 1) > 1e-4]
    upward = np.argsort(case[0], axis=-1)
    if not np.isfinite(weights).all():
        return "a weight is nan or inf: exp overflows, or a row is 0 / 0. Hint 1."
    if (weights < 0).any():
        return "a weight is negative, which no exp is."
    if off.size:
        return f"a row sums to {off[0]:.3f}; each row must sum to 1."
    if (np.diff(np.take_along_axis(weights, upward, axis=-1), axis=-1) < -1e-6).any():
        return "a larger score gets a smaller weight than another of its row."
    return (
        "each row sums to 1, but its weights are not in proportion to the exp of the scores: "
        "where two scores differ by 1, one weight is e = 2.718 times the other."
    )


def _attend_fault(answer: Any) -> str:
    """The first property of attention that a wrong function violates, found by calling it."""
    q, k, v, mask = _attend_cases()[0]
    result, ones = _result(answer, q, k, v, mask), _result(answer, q, k, np.ones_like(v), mask)
    if not np.isfinite(result).all():
        return "the result is nan or inf even where every query sees a key and scores are small."
    if not np.allclose(ones, 1, atol=1e-5):
        return (
            f"with all values 1, each result must be 1, not {ones[abs(ones - 1) > 1e-5][0]:.3f}: "
            "the weights of a row do not sum to 1."
        )
    for changed, what in ((k, "key"), (v, "value")):
        other = changed.copy()
        other[2] += 1  # no query sees key 2
        moved = _result(answer, q, other if what == "key" else k, other if what == "value" else v,
                        mask)  # fmt: skip
        if not np.allclose(moved, result):
            return f"the result changes when a {what} changes that no query may see."
    order = [1, 0, 2]
    if not np.allclose(_result(answer, q, k[order], v[order], mask[:, order]), result):
        return "the result depends on the order of the keys; each must count at any place."
    if not np.allclose(_result(answer, q[1:], k, v, mask[1:]), result[1:]):
        return "a query's result changes when another query is left out: each row is on its own."
    if not np.allclose(_result(answer, 0 * q, k, v, mask)[1], v[:2].mean(axis=0)):
        return "with all scores 0 the result must be the plain average of the visible values."
    sees_all = np.ones_like(mask)
    if np.allclose(_result(answer, q, k, v, sees_all), _attend(q, k, v, sees_all)):
        return "right where every key is visible, so the fault is in how you use the mask."
    return (
        "the weights sum to 1 and leave hidden keys out, but they are not the softmax of "
        "q @ k.T / √D. Compare your weights with the rule on the case below."
    )


def _softmax_mistakes() -> list[tuple[Callable[[np.ndarray], np.ndarray], str]]:
    rows: Any = {"axis": -1, "keepdims": True}

    def over(
        axis: int | None, take: Callable[..., np.ndarray]
    ) -> Callable[[np.ndarray], np.ndarray]:
        def mistaken(scores: np.ndarray) -> np.ndarray:
            exps = np.exp(scores - take(scores, axis=axis, keepdims=True))
            return exps / exps.sum(axis=axis, keepdims=True)

        return mistaken

    def nothing(scores: np.ndarray, **_: Any) -> np.ndarray:
        return np.zeros_like(scores)

    def row(scores: np.ndarray, **_: Any) -> np.ndarray:
        return scores.max(**rows)

    def by_sum(exps: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        return lambda s: exps(s) / exps(s).sum(**rows)

    def less(take: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        return by_sum(lambda s: np.exp(s - take(s)))

    def safe(s: np.ndarray) -> np.ndarray:
        return np.exp(s - s.max(**rows))

    top = "subtract the largest score of a row, not"
    return [
        (less(nothing), "large scores give nan: exp overflows. Subtract the row's largest score."),
        (less(lambda s: s.min(**rows)), f"{top} the smallest."),
        (less(lambda s: abs(s).max(**rows)), f"{top} the largest absolute value."),
        (less(lambda s: s.mean(**rows)), f"{top} the mean."),
        (less(lambda s: s[..., :1]), f"{top} the first: a later one may be far above it."),
        (less(lambda s: s[..., -1:]), f"{top} the last: an earlier one may be far above it."),
        (less(lambda s: s.max(axis=0)),
         "you subtract each column's largest score. Subtract the same number from a whole row: "
         "its largest, axis=-1."),
        (less(lambda s: s.max()),
         "a row far below the largest score of all gives 0 / 0. Subtract each row's own largest: "
         "axis=-1, keepdims=True."),
        (lambda s: safe(s) / np.exp(s).sum(**rows),
         "the largest score is subtracted in the numerator, but not in the sum below it."),
        (lambda s: np.exp(s) / safe(s).sum(**rows),
         "the largest score is subtracted in the sum, but not in the numerator."),
        (by_sum(lambda s: np.exp(s.astype(np.longdouble))),
         "the largest scores give nan: no number format holds exp of every score. Subtract the "
         "row's largest score."),
        *((by_sum(lambda s, n=limit: np.exp(np.minimum(s, n))),
           "scores cut off at a limit become equal. Subtract the row's largest instead.")
          for limit in (50, 80, 88, 100, 500, 700, 709)),
        *((over(None, take),
           "the whole array sums to 1. Each row must: sum over axis=-1, keepdims=True.")
          for take in (np.max, nothing, row)),
        *((over(0, take), "columns sum to 1, not rows. Sum over the last axis: axis=-1.")
          for take in (np.max, nothing, row)),
        (safe, "nothing sums to 1 yet: divide by the sum."),
        (lambda s: safe(s) / s.sum(**rows),
         "you divide by the sum of the scores. It must be the sum of their exp."),
        (lambda s: safe(s) / safe(s).mean(**rows),
         "you divide by the mean, so a row sums to its length. Divide by the sum."),
        (lambda s: safe(s) / s.shape[-1],
         "you divide by the number of scores in a row. Divide by the sum of their exp."),
        (lambda s: s / s.sum(**rows), "the exp is missing."),
        (lambda s: (s - s.max(**rows)) / (s - s.max(**rows)).sum(**rows), "the exp is missing."),
        (by_sum(lambda s: 2.0 ** (s - s.max(**rows))), "those are powers of 2. Take np.exp."),
        (by_sum(lambda s: 10.0 ** (s - s.max(**rows))), "those are powers of 10. Take np.exp."),
        (by_sum(lambda s: np.exp(s.min(**rows) - s)),
         "the sign is wrong: the smallest score gets the largest weight."),
        (by_sum(lambda s: safe(s / s.shape[-1] ** 0.5)),
         "the scores are divided by a square root. That belongs to attention, not to softmax."),
        (lambda s: 1 / (1 + np.exp(-s)), "that is the sigmoid of each score. Use exp / sum."),
        (by_sum(lambda s: (s == s.max(**rows)) * 1.0),
         "the largest score takes all the weight; softmax leaves some for the others."),
        (lambda s: np.log(_softmax(s)), "that is the logarithm of the weights."),
        *((lambda s, n=digits: _softmax(s).round(n), "the weights are rounded. Leave them exact.")
          for digits in (1, 2, 3, 4)),
    ]  # fmt: skip


def _attend_mistakes() -> list[tuple[Callable[..., np.ndarray], str]]:
    def infinite(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.where(mask, scores, -np.inf)

    def no_mask(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return scores

    def zeros(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return masked_softmax(scores, mask)

    def spelled(
        scale: Callable[[np.ndarray], float] = lambda q: q.shape[1] ** -0.5,
        hide: Callable[..., np.ndarray] = infinite,
        weigh: Callable[..., np.ndarray] = lambda scores, mask: _stable(scores),
    ) -> Callable[..., np.ndarray]:
        def mistaken(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
            return weigh(hide(q @ k.T * scale(q), mask), mask) @ v

        return mistaken

    def weighed(weigh: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        return spelled(hide=no_mask, weigh=weigh)

    def scaled(scale: Callable[[np.ndarray], float]) -> Callable[..., np.ndarray]:
        return spelled(hide=no_mask, weigh=zeros, scale=scale)

    def root_of(n: int) -> Callable[..., np.ndarray]:
        return scaled(lambda q: n**-0.5)

    def root_of_s(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        return scaled(lambda q: len(k) ** -0.5)(q, k, v, mask)

    def added(amount: float) -> Callable[..., np.ndarray]:
        return spelled(hide=lambda scores, mask: scores + np.where(mask, 0.0, -amount))

    def total(exps: np.ndarray, guard: bool) -> np.ndarray:
        sums = exps.sum(axis=1, keepdims=True)
        return exps / (np.where(sums > 0, sums, 1) if guard else sums)

    def exps(scores: np.ndarray) -> np.ndarray:
        return np.exp(scores - scores.max(axis=1, keepdims=True))

    finite = (
        "right except for a query that sees nothing: with a finite number in place of hidden "
        "scores, it averages hidden values. It must get zeros."
    )
    not_low = "A hidden key whose score is 20,000 above a visible one must have weight 0 as well."
    ordinary = "hidden scores are 0, and exp(0) is 1. They must be -inf."
    swapped = "True and False are swapped. True means visible."
    guards = (True, False)
    return [
        (spelled(),
         "right except for a query that sees nothing: 0 / 0. It must get zeros. Hint 2 of "
         "exercise 2."),
        *((spelled(weigh=lambda s, m, g=guard: total(np.exp(s), g)),
           "large scores give nan: use a softmax that subtracts the row's largest score.")
          for guard in guards),
        *((spelled(weigh=lambda s, m, g=guard: total(np.exp(s - s.max()), g)),
           "a row far below the largest score of all gives 0 / 0. Subtract each row's own largest.")
          for guard in guards),
        *((weighed(lambda s, m, g=guard: total(exps(s) * m, g)),
           f"the mask comes after softmax. {not_low} There all visible weights are 0 before you "
           "divide by their sum.")
          for guard in guards),
        (added(1e4), f"the number for hidden scores is not low enough. {not_low} Use -inf."),
        *((added(amount), finite) for amount in (1e9, 1e10)),
        (spelled(hide=lambda s, m: np.where(m, s, np.finfo(float).min)), finite),
        (spelled(hide=no_mask), "the mask is not used."),
        (weighed(lambda s, m: _stable(s) * m),
         "the mask comes after softmax, so hidden keys still take their share of the sum."),
        (spelled(hide=lambda s, m: s * m), ordinary),
        (spelled(hide=lambda s, m: np.where(m, s, 0)), ordinary),
        (spelled(hide=lambda s, m: s + (1 - m) * -np.inf),
         "every number is nan: 0 times -inf is NaN. Use np.where."),
        (weighed(lambda s, m: zeros(s, ~m)), swapped),
        (spelled(hide=lambda s, m: infinite(s, ~m)), swapped),
        (scaled(lambda q: 1.0), "the scores are not divided by sqrt(head_dim)."),
        (scaled(lambda q: q.shape[1] ** 0.5),
         "the scores are multiplied by sqrt(head_dim); divide by it."),
        (scaled(lambda q: 1 / q.shape[1]),
         "the scores are divided by head_dim, not by its square root."),
        (root_of_s, "you divide by √S, the number of keys. It must be √D, and D is q.shape[1]."),
        (scaled(lambda q: len(q) ** -0.5),
         "you divide by √T, the number of queries. It must be √D, and D is q.shape[1]."),
        *((root_of(n),
           f"the scores are always divided by {name}. Take √D from q's shape.")
          for n, name in ((128, "√128"), (32, "√32"), (4, "2"), (2, "√2"))),
        (lambda q, k, v, m: _attend(q, k, v, m) / q.shape[1] ** 0.5,
         "the result is divided by sqrt(head_dim). Divide the scores, before softmax."),
        (lambda q, k, v, m: _attend(q, k, k, m),
         "the weighted sum is of keys. It must be of values."),
        (spelled(hide=lambda s, m: np.where(m, s, 0), weigh=no_mask), "softmax is missing."),
        (spelled(weigh=lambda s, m: exps(s)),
         "the weights of a row do not sum to 1: divide by their sum."),
        (weighed(lambda s, m: zeros(s, np.tri(*s.shape, dtype=bool))),
         "it makes a causal mask of its own. Use the argument mask."),
        (spelled(weigh=lambda s, m: _stable(s.T).T),
         "softmax runs over the queries. Each row, over the keys, must sum to 1."),
        (spelled(weigh=lambda s, m: np.exp(s - s.max()) / np.exp(s - s.max()).sum()),
         "the whole array of weights sums to 1. Each row must."),
        (weighed(lambda s, m: zeros(-s, m)),
         "the sign of the scores is wrong: the key that fits best gets the least weight."),
        (weighed(lambda s, m: m / np.maximum(m.sum(axis=1, keepdims=True), 1)),
         "all visible keys have the same weight: the scores are not used."),
        (spelled(weigh=lambda s, m: (s == s.max(axis=1, keepdims=True)) & m),
         "the key with the largest score takes all the weight. Use softmax."),
    ]  # fmt: skip


def _stable(scores: np.ndarray) -> np.ndarray:
    exps = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)
