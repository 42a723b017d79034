"""Further answers to the exercises of lesson 01, right and wrong; test_checks.py gives them."""

import math
from fractions import Fraction

import numpy as np
import torch

from minimistral.course.checks import lesson_01

SOFTMAX, ATTEND, TEN = lesson_01.softmax, lesson_01.attend, lesson_01.ten_thousand


def quiet(function):
    """The function without NumPy's warnings."""
    return np.errstate(all="ignore")(function)


def soft(scores):
    exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def by_logarithm(scores):
    top = scores.max(axis=-1, keepdims=True)
    return np.exp(scores - top - np.log(np.exp(scores - top).sum(axis=-1, keepdims=True)))


def by_recursion(scores):
    if scores.ndim > 1:
        return np.stack([by_recursion(part) for part in scores])
    exps = [math.exp(score - max(scores)) for score in scores]
    return np.array([x / math.fsum(exps) for x in exps])


def sorted_first(scores):
    """The largest score is the last of a sorted row."""
    exps = np.exp(scores - np.sort(scores, axis=-1)[..., -1:])
    return exps / np.add.reduce(exps, -1, keepdims=True)


def in_place(scores):
    exps = scores.copy()
    exps -= exps.max(axis=-1, keepdims=True)
    np.exp(exps, out=exps)
    exps /= exps.sum(axis=-1, keepdims=True)
    return exps


def with_gradient(scores):
    return torch.tensor(scores, requires_grad=True).softmax(-1)


def in_float32(scores):
    return soft(scores.astype(np.float32))


def in_torch(q, k, v, mask):
    tensors = [torch.tensor(a, requires_grad=True)[None, None] for a in (q, k, v)]
    return torch.nn.functional.scaled_dot_product_attention(
        *tensors, attn_mask=torch.from_numpy(mask)
    )[0, 0]


def attention(q, k, v, mask):
    scores = np.where(mask, q @ k.T / np.sqrt(q.shape[1]), -np.inf)
    top = np.maximum(scores.max(axis=1, keepdims=True), -1e300)
    exps = np.exp(scores - top)
    return exps / np.maximum(exps.sum(axis=1, keepdims=True), 1e-300) @ v


def of_visible(q, k, v, mask):
    out = np.zeros((len(q), v.shape[1]))
    for i, see in enumerate(mask):
        if see.any():
            out[i] = soft(k[see] @ q[i] * k.shape[1] ** -0.5) @ v[see]
    return out


def by_einsum(q, k, v, mask):
    scores = np.einsum("td,sd->ts", q, k) / math.sqrt(q.shape[-1])
    scores[~mask] = -np.inf
    with np.errstate(all="ignore"):
        weights = soft(scores)
    weights[~mask.any(axis=1)] = 0
    return np.einsum("ts,sd->td", weights, v)


def by_masked_array(q, k, v, mask):
    scores = np.ma.array(q @ k.T / np.sqrt(q.shape[1]), mask=~mask)
    exps = np.ma.exp(scores - scores.max(axis=1, keepdims=True)).filled(0)
    return exps / np.maximum(exps.sum(axis=1, keepdims=True), 1) @ v


def attention_in_float32(q, k, v, mask):
    return attention(*(a.astype(np.float32) for a in (q, k, v)), mask)


def with_a_sink(q, k, v, mask):
    """A key of its own for rows that see nothing, whose value is zero."""
    lonely = ~mask.any(axis=1)[:, None]
    scores = np.where(np.hstack([mask, lonely]), np.hstack([q @ k.T, 0 * lonely]), -np.inf)
    return soft(scores / q.shape[1] ** 0.5) @ np.vstack([v, np.zeros((1, v.shape[1]))])


RIGHT = [
    *((SOFTMAX, (f,)) for f in (by_logarithm, by_recursion, sorted_first, in_place, with_gradient)),
    (SOFTMAX, (in_float32,)),
    (SOFTMAX, (lambda s: soft(s.astype(np.longdouble)),)),
    (SOFTMAX, (lambda s: soft(s) * (1 + 1e-9),)),  # a rounding error
    *((ATTEND, (f,)) for f in (in_torch, of_visible, by_einsum, by_masked_array, with_a_sink)),
    (ATTEND, (attention_in_float32,)),
    (ATTEND, (lambda q, k, v, mask: attention(q, k, v, mask.astype(float) > 0),)),
    (TEN, (np.array(10_000), np.array(1 / 3), of_visible)),
    (TEN, (torch.tensor(1e4), torch.tensor(1 / 3, dtype=torch.float64), in_torch)),
    (TEN, (10**4, 1 - Fraction(2, 3), by_einsum)),
]  # fmt: skip


# Wrong ones: what learners write


def flat(scores):
    """One loop over the first axis, so an array with three is not done row by row."""
    if scores.ndim == 1:
        return soft(scores)
    rows = [np.exp(row - row.max()) / np.exp(row - row.max()).sum() for row in scores]
    return np.stack(rows)


def column_top(scores):
    with np.errstate(all="ignore"):
        exps = np.exp(scores - scores.max(axis=0))
        return exps / exps.sum(axis=-1, keepdims=True)


def less(take):
    def function(scores):
        with np.errstate(all="ignore"):
            exps = np.exp(scores - take(scores))
            return exps / exps.sum(axis=-1, keepdims=True)

    return function


def safe(scores):
    return np.exp(scores - scores.max(axis=-1, keepdims=True))


def total(exps):
    return exps / exps.sum(axis=-1, keepdims=True)


def weighted(weigh, hide=lambda s, m: np.where(m, s, -np.inf), scale=lambda D: D**-0.5):
    """Attention whose weights are weigh(scores, mask); a query that sees nothing gets zeros."""

    def function(q, k, v, mask):
        with np.errstate(all="ignore"):
            weights = weigh(hide(q @ k.T * scale(q.shape[1]), mask), mask)
        return np.where(mask.any(axis=1, keepdims=True), weights, 0) @ v

    return function


def one_query(q, k, v, mask):
    """The mask of the last row for all rows."""
    return attention(q, k, v, np.broadcast_to(mask[-1], mask.shape))


def sees_nothing(instead):
    def function(q, k, v, mask):
        result = attention(q, k, v, mask)
        for i, see in enumerate(mask):
            if not see.any():
                result[i] = instead(q, k, v, i)
        return result

    return function


def rolled_values(q, k, v, mask):
    return attention(q, k, np.roll(v, 1, axis=0), mask)


def mask_of_values(q, k, v, mask):
    """Hidden values become zero, but their weight stays."""
    weights = soft(q @ k.T / np.sqrt(q.shape[1]))
    return np.stack([w @ np.where(m[:, None], v, 0) for w, m in zip(weights, mask, strict=True)])


def skips_a_row(q, k, v, mask):
    result = np.zeros((len(q), v.shape[1]))
    for i in range(len(q) - 1):
        result[i] = attention(q[i : i + 1], k, v, mask[i : i + 1])[0]
    return result


def normed(q, k, v, mask):
    """Cosines in place of dot products."""
    q, k = (a / np.linalg.norm(a, axis=1, keepdims=True) for a in (q, k))
    return attention(q * q.shape[1] ** 0.5, k, v, mask)


WRONG = [
    (SOFTMAX, (quiet(lambda s: total(np.exp(s.astype(np.longdouble)))),), "no number format"),
    (SOFTMAX, (quiet(lambda s: total(np.exp(np.clip(s, None, 700)))),), "cut off at a limit"),
    (SOFTMAX, (lambda s: total(np.exp(np.clip(s, -30, 30))),), "not in proportion"),
    (SOFTMAX, (less(lambda s: s[..., :1]),), "not the first"),
    (SOFTMAX, (less(lambda s: s[..., -1:]),), "not the last"),
    (SOFTMAX, (column_top,), "each column's largest"),
    (SOFTMAX, (less(lambda s: np.median(s, axis=-1, keepdims=True)),), "is nan or inf"),
    (SOFTMAX, (less(lambda s: s.max(axis=-1, keepdims=True) / 2),), "no number format"),
    (SOFTMAX, (flat,), "a row sums to 0."),
    (SOFTMAX, (quiet(lambda s: safe(s) / s.sum(axis=-1, keepdims=True)),), "sum of the scores"),
    (SOFTMAX, (lambda s: safe(s) / safe(s).mean(axis=-1, keepdims=True),), "by the mean"),
    (SOFTMAX, (lambda s: safe(s) / s.shape[-1],), "the number of scores in a row"),
    (SOFTMAX, (quiet(lambda s: np.exp(s) / safe(s).sum(axis=-1, keepdims=True)),),
     "in the sum, but not in the numerator"),
    (SOFTMAX, (lambda s: total(np.exp2(s - s.max(axis=-1, keepdims=True))),), "powers of 2"),
    (SOFTMAX, (quiet(lambda s: total(np.exp(s.min(axis=-1, keepdims=True) - s))),),
     "the sign is wrong"),
    (SOFTMAX, (lambda s: soft(s / np.sqrt(s.shape[-1])),), "belongs to attention"),
    (SOFTMAX, (quiet(lambda s: 1 / (1 + np.exp(-s))),), "sigmoid"),
    (SOFTMAX, (lambda s: total((s == s.max(axis=-1, keepdims=True)) * 1.0),), "all the weight"),
    (SOFTMAX, (lambda s: soft(s).round(3),), "rounded"),
    (SOFTMAX, (lambda s: safe(s) / (safe(s).sum(axis=-1, keepdims=True) + 1),), "a row sums to"),
    (SOFTMAX, (lambda s: safe(s) / (safe(s).sum(axis=-1, keepdims=True) + 1e-3),), "a row sums to"),
    (SOFTMAX, (quiet(lambda s: total(1 + s - s.min(axis=-1, keepdims=True))),), None),
    (SOFTMAX, (lambda s: total(safe(s) ** 2),), "not in proportion"),
    (SOFTMAX, (quiet(lambda s: total(safe(abs(s)))),), "larger score gets a smaller"),
    (SOFTMAX, (lambda s: np.zeros(s.shape, int) + soft(s).astype(int),), "a row sums to 0.000"),
    (SOFTMAX, (lambda s: soft(s)[..., ::-1].copy(),), "larger score gets a smaller weight"),
    (SOFTMAX, (lambda s: np.array([soft(row) for row in s]),), "a row sums to 3.000"),
    (SOFTMAX, (lambda s: soft(s).T,), "the shape must be"),
    (SOFTMAX, (lambda s: print(end=""),), "is `return` missing"),
    (SOFTMAX, (lambda s: soft(s) - 0.1 * np.eye(s.shape[-1])[0],), "a weight is negative"),
    (ATTEND, (lambda q, k, v, m: attention(q, k, v, m.T),), "Scores and mask have shape (T, S)"),
    (ATTEND, (lambda q, k, v, m: soft(q @ k) @ v,), "q @ k.T has shape (T, S)"),
    (ATTEND, (lambda q, k, v, m: attention(q, k, v, m) / np.sqrt(q.shape[1]),),
     "the result is divided by sqrt"),
    (ATTEND, (weighted(lambda s, m: soft(-s), hide=lambda s, m: np.where(m, s, np.inf)),),
     "the sign of the scores"),
    (ATTEND, (weighted(lambda s, m: total(np.exp(s - s.max()))),), 
     "Subtract each row's own largest"),
    (ATTEND, (weighted(lambda s, m: np.exp(s - s.max()) / np.exp(s - s.max()).sum()),),
     "the whole array of weights"),
    (ATTEND, (weighted(lambda s, m: m / np.maximum(m.sum(axis=1, keepdims=True), 1)),),
     "all visible keys have the same weight"),
    (ATTEND, (weighted(lambda s, m: (s == s.max(axis=1, keepdims=True)) * 1.0),),
     "takes all the weight"),
    (ATTEND, (weighted(lambda s, m: total(safe(s) * m), hide=lambda s, m: s),),
     "before you divide"),
    (ATTEND, (mask_of_values,), "share of the sum"),
    (ATTEND, (one_query,), "in how you use the mask"),
    (ATTEND, (rolled_values,), "when a value changes that no query may see"),
    (ATTEND, (skips_a_row,), "must be 1, not 0.000"),
    (ATTEND, (quiet(normed),), "with all scores 0"),
    (ATTEND, (weighted(lambda s, m: soft(s), scale=lambda D: D**-0.25),), "are not the softmax of"),
    (ATTEND, (weighted(lambda s, m: soft(s), scale=lambda D: 2**-0.5),), "always divided by √2"),
    (ATTEND, (weighted(lambda s, m: soft(s).round(2)),), "are not the softmax of"),
    (ATTEND, (sees_nothing(lambda q, k, v, i: v.mean(axis=0)),), "sees nothing"),
    (ATTEND, (sees_nothing(lambda q, k, v, i: q[i] * 0 + 1),), "must get zeros"),
    (ATTEND, (sees_nothing(lambda q, k, v, i: v[i]),), "must get zeros"),
    (ATTEND, (sees_nothing(lambda q, k, v, i: np.inf),), "must get zeros"),
    (ATTEND, (weighted(lambda s, m: soft(s), hide=lambda s, m: np.where(m, s, -1e4 * (s > 0))),),
     None),
    (ATTEND, (lambda q, k, v, m: soft(np.where(m, q @ k.T / np.sqrt(q.shape[1]), -np.inf)),),
     "the shape must be"),
    (TEN, (104, 1 / 3, attention), "Here −10,000 was added as well"),
    (TEN, (65_504, 1 / 3, attention), "Only the gap"),
    (TEN, (10_001, 1 / 3, attention), "more weight than the visible one"),
    (ATTEND, (lambda q, k, v, m: attention(q, k, v, m) * m.any(axis=1).all(),), "the others"),
    (TEN, (10_000, 1 / 3, None), "fixed is not written yet"),
    (TEN, (10_000, 1 / 4, attention), "no fourth"),
    (TEN, (10_000, 3, attention), "not the number of keys"),
    (TEN, (10_000, 33.3, attention), "lies between 0 and 1"),
    (TEN, (10_000, -1 / 3, attention), "lies between 0 and 1"),
    (TEN, (10_000, 1 / 3, sees_nothing(lambda q, k, v, i: v.mean(axis=0))), "sees nothing"),
    (TEN, (10_000, 1 / 3, lambda q, k, v, m: attention(q, k, v, m)[0]), "the shape must be"),
]  # fmt: skip
CHECKS: list = []
FIRST: dict = {}
N_ANSWERS: dict = {}
