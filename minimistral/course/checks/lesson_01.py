"""Checks of lesson 01: softmax, attention with a mask, and a mask of minus ten thousand."""

from collections.abc import Callable, Iterable, Sequence
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
    "could not be broadcast": "keepdims=True keeps the axis. Hints 1 and 2.",
}
Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]


@exercise("Softmax")
def softmax(answer: Any) -> str:
    """answer(scores (..., S)) -> weights (..., S) over the last axis."""
    rng = np.random.default_rng(1)
    cases: list[tuple[np.ndarray]] = [
        (np.log([1.0, 3.0, 4.0]),),
        (rng.standard_normal((3, 5)),),
        (rng.standard_normal((2, 3, 4)),),
        (np.array([[1000.0, 999.0, 998.0], [-1000.0, -1001.0, -1002.0]]),),
        (np.array([[100.0, 99.0], [0.0, -100.0]], np.float32),),
        (np.array([[3000.0, 0.0, 0.0], [0.0, 0.0, 1.0]]),),
    ]
    results = [(case, array(call(answer, *case, hints=_AXES), case[0].shape)) for case in cases]
    diagnose_arrays(results, _softmax, _softmax_mistakes())
    return "each row sums to 1, for scores of any size and arrays of any shape."


@exercise("Attention with a mask")
def attend(answer: Any) -> str:
    """answer(q (T, D), k (S, D), v (S, D), mask (T, S)) -> (T, D)."""
    cases = _attend_cases()
    results = [(case, array(call(answer, *case), case[0].shape)) for case in cases]
    _diagnose_attention(results)
    return f"agrees with the rule on all {len(cases)} cases, including the row that sees nothing."


@exercise("Minus ten thousand")
def ten_thousand(needed: Any, alone: Any, fixed: Any) -> str:
    """The two faults of adding -10,000 to hidden scores, and the repaired function."""
    diagnose_number("needed", whole_number("needed", needed), 10_000, [
        (0, "Then it is -10,000 after the masking, and has no weight at all."),
        (-10_000, "Then it is -20,000 after the masking. It must come out at 0."),
        (20_000, "Then it is 10,000 after the masking, and takes all the weight."),
        (5_000, "Then it is -5,000 after the masking, and has no weight at all."),
    ])  # fmt: skip
    share = _share(alone)
    expect(share != 0, "alone is not 0: the weights of a row always sum to 1 here. Hint 2.")
    expect(share != 1, "alone is not 1: there are three keys, and the weights sum to 1.")
    expect(abs(share - 1 / 2) > 1e-6, "alone is not 1/2: all three keys have the same score.")
    expect(abs(share - 1 / 3) < 1e-3, "alone is the weight of one of three keys that are alike.")
    expect(abs(share - 1 / 3) < 1e-7, "alone is only nearly right; write it as a fraction.")
    cases = _attend_cases()
    results = [(case, array(call(fixed, *case), case[0].shape)) for case in cases]
    _diagnose_attention(results)
    return "both faults are understood, and the repaired function has neither."


def _softmax(scores: np.ndarray) -> np.ndarray:
    return masked_softmax(scores, np.array(True))


def _attend(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np_attend(q[None, None], k[None, None], v[None, None], mask)[0, 0]


def _diagnose_attention(results: Sequence[tuple[tuple, np.ndarray]]) -> None:
    """Compare the cases in which every query sees a key first: a wrong answer usually makes one
    mistake there and another, 0 / 0, for a query that sees nothing."""
    seeing = [(case, result) for case, result in results if case[3].any(axis=1).all()]
    diagnose_arrays(seeing, _attend, _attend_mistakes())
    diagnose_arrays(results, _attend, _attend_mistakes())


def _attend_cases() -> list[tuple]:
    """T, S and D differ, so that a transpose or a wrong axis shows. The fifth case has a
    visible score of -20,000 and a hidden one of 0. The last has a query that sees nothing."""
    rng = np.random.default_rng(2)

    def case(T: int, S: int, D: int, mask: np.ndarray, size: float = 1.0) -> tuple:
        return (*(size * rng.standard_normal((n, D)) for n in (T, S, S)), mask)

    some = rng.random((3, 7)) < 0.5
    some[:, 0] = True
    nothing = some.copy()
    nothing[1] = False
    return [
        case(5, 5, 4, window_mask(np.arange(5), np.arange(5), None)),
        case(3, 7, 4, some),
        case(2, 6, 9, np.ones((2, 6), bool)),
        case(4, 4, 2, window_mask(np.arange(4), np.arange(4), None), size=60.0),
        (
            np.array([[1.0]]),
            np.array([[-20_000.0], [0.0]]),
            np.array([[8.0], [24.0]]),
            np.array([[True, False]]),
        ),
        case(3, 7, 4, nothing),
    ]


def _share(alone: Any) -> float:
    if alone is None:
        raise NotWritten("alone is not written yet.")
    is_number = isinstance(alone, Real | Fraction) and not isinstance(alone, bool)
    expect(is_number, f"alone must be a number, not a value of type {type(alone).__name__}.")
    expect(isfinite(alone), f"alone must be a number, not {alone}.")
    return float(alone)


def _softmax_mistakes() -> list[tuple[Callable[[np.ndarray], np.ndarray], str]]:
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
        return scores.max(axis=-1, keepdims=True)

    def less(take: Callable[..., np.ndarray]) -> Callable[[np.ndarray], np.ndarray]:
        def mistaken(scores: np.ndarray) -> np.ndarray:
            exps = np.exp(scores - take(scores))
            return exps / exps.sum(axis=-1, keepdims=True)

        return mistaken

    def sum_as_it_was(scores: np.ndarray) -> np.ndarray:
        return np.exp(scores - scores.max(**rows)) / np.exp(scores).sum(**rows)

    rows: Any = {"axis": -1, "keepdims": True}
    overflow = "large scores give nan: exp overflows. Subtract the row's largest score first."
    return [
        (less(lambda s: np.zeros_like(s)), overflow),
        (less(lambda s: s.min(**rows)), "subtract the largest score of a row, not the smallest."),
        (less(lambda s: abs(s).max(**rows)),
         "subtract the largest score of a row, not the largest absolute value."),
        (sum_as_it_was,
         "the largest score is subtracted in the numerator, but not in the sum below it."),
        (less(lambda s: s.mean(**rows)), "subtract the largest score of a row, not the mean."),
        (less(lambda s: s.max()), "a row far below the largest score of all gives 0 / 0. Subtract "
                                  "each row's own largest: axis=-1, keepdims=True."),
        *((over(None, take),
           "the whole array sums to 1. Each row must: sum over axis=-1, keepdims=True.")
          for take in (np.max, nothing, row)),
        *((over(0, take), "columns sum to 1, not rows. Sum over the last axis: axis=-1.")
          for take in (np.max, nothing, row)),
        (lambda s: np.exp(s - s.max(**rows)), "nothing sums to 1 yet: divide by the sum."),
        (lambda s: s / s.sum(**rows), "the exp is missing."),
        (lambda s: np.log(_softmax(s)), "that is the logarithm of the weights."),
    ]  # fmt: skip


def _attend_mistakes() -> list[tuple[Callable[..., np.ndarray], str]]:
    def spelled(
        scale: Callable[[np.ndarray], float] = lambda q: q.shape[1] ** -0.5,
        hide: Callable[..., np.ndarray] = lambda scores, mask: np.where(mask, scores, -np.inf),
        weigh: Callable[..., np.ndarray] = lambda scores, mask: _stable(scores),
    ) -> Callable[..., np.ndarray]:
        def mistaken(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
            scores = q @ k.T * scale(q)
            return weigh(hide(scores, mask), mask) @ v

        return mistaken

    def no_mask(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return scores

    def added(amount: float) -> Callable[..., np.ndarray]:
        return lambda scores, mask: scores + np.where(mask, 0.0, -amount)

    def after(guard: bool) -> Callable[..., np.ndarray]:
        def weigh(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
            weights = _stable(scores) * mask
            total = weights.sum(axis=1, keepdims=True)
            return weights / (np.where(total > 0, total, 1) if guard else total)

        return weigh

    def overflows(guard: bool) -> Callable[..., np.ndarray]:
        def weigh(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
            exps = np.exp(scores)
            total = exps.sum(axis=1, keepdims=True)
            return exps / (np.where(total > 0, total, 1) if guard else total)

        return weigh

    def zeros(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return masked_softmax(scores, mask)

    def over_keys(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        return _attend(q, k, k, mask)

    def root_of_s(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        scale = len(k) ** -0.5
        return spelled(hide=no_mask, weigh=zeros, scale=lambda q: scale)(q, k, v, mask)

    def no_sum(scores: np.ndarray, mask: np.ndarray) -> np.ndarray:
        return np.exp(scores - scores.max(axis=1, keepdims=True))

    nothing = (
        "right except for a query that sees nothing: with a finite number in place of hidden "
        "scores, "
        "it averages hidden values. It must get zeros."
    )
    not_low = "A hidden key whose score is 20,000 above a visible one must have weight 0 as well."
    swapped = "True and False are swapped. True means visible."
    return [
        (spelled(),
         "right except for a query that sees nothing: 0 / 0. It must get zeros. Hint 2."),
        *((spelled(weigh=overflows(guard)),
           "large scores give nan: use a softmax that subtracts the row's largest score.")
          for guard in (True, False)),
        (spelled(hide=added(1e4)),
         f"the number for hidden scores is not low enough. {not_low} Use -inf."),
        *((spelled(hide=added(amount)), nothing) for amount in (1e9, 1e10)),
        (spelled(hide=lambda s, m: np.where(m, s, np.finfo(float).min)), nothing),
        (spelled(hide=no_mask), "the mask is not used."),
        (spelled(hide=no_mask, weigh=lambda s, m: _stable(s) * m),
         "the mask comes after softmax, so hidden keys still take their share of the sum."),
        *((spelled(hide=no_mask, weigh=after(guard)),
           f"the mask comes after softmax. {not_low} There all visible weights are 0 before you "
           "divide by their sum.")
          for guard in (True, False)),
        (spelled(hide=lambda s, m: s * m),
         "hidden scores are 0, and exp(0) is 1. They must be -inf."),
        (spelled(hide=lambda s, m: np.where(m, s, 0)),
         "hidden scores are 0, and exp(0) is 1. They must be -inf."),
        (spelled(hide=lambda s, m: s + (1 - m) * -np.inf),
         "every number is nan: 0 times -inf is NaN. Use np.where."),
        (spelled(hide=no_mask, weigh=lambda s, m: zeros(s, ~m)), swapped),
        (spelled(hide=lambda s, m: np.where(m, -np.inf, s)), swapped),
        (spelled(hide=no_mask, weigh=zeros, scale=lambda q: 1.0),
         "the scores are not divided by sqrt(head_dim)."),
        (spelled(hide=no_mask, weigh=zeros, scale=lambda q: q.shape[1] ** 0.5),
         "the scores are multiplied by sqrt(head_dim); divide by it."),
        (root_of_s, "you divide by √S, the number of keys. It must be √D, and D is q.shape[1]."),
        (spelled(hide=no_mask, weigh=zeros, scale=lambda q: 128**-0.5),
         "the scores are always divided by √128. Take √D from q's shape."),
        (over_keys, "the weighted sum is of keys. It must be of values."),
        (spelled(hide=lambda s, m: np.where(m, s, 0), weigh=no_mask), "softmax is missing."),
        (spelled(weigh=no_sum), "the weights of a row do not sum to 1: divide by their sum."),
        (spelled(hide=no_mask, weigh=zeros, scale=lambda q: 1 / q.shape[1]),
         "the scores are divided by head_dim, not by its square root."),
        (spelled(hide=no_mask, weigh=zeros, scale=lambda q: 0.5),
         "the scores are always divided by 2. Take √D from q's shape."),
        (spelled(hide=no_mask, weigh=zeros, scale=lambda q: len(q) ** -0.5),
         "you divide by √T, the number of queries. It must be √D, and D is q.shape[1]."),
        (spelled(hide=no_mask, weigh=lambda s, m: zeros(s, np.tri(*s.shape, dtype=bool))),
         "it makes a causal mask of its own. Use the argument mask."),
        (spelled(weigh=lambda s, m: _stable(s.T).T),
         "softmax runs over the queries. Each row, over the keys, must sum to 1."),
    ]  # fmt: skip


def _stable(scores: np.ndarray) -> np.ndarray:
    exps = np.exp(scores - scores.max(axis=1, keepdims=True))
    return exps / exps.sum(axis=1, keepdims=True)
