"""Answers to the exercises of lesson 05, right and wrong; test_checks.py gives them."""

import itertools
from fractions import Fraction

import numpy as np
import torch

from minimistral.course.checks import lesson_05
from minimistral.evaluation.reach import reachable
from minimistral.np import window_mask

EARLIEST, POWER, OUTSIDE = lesson_05.earliest, lesson_05.depends_on, lesson_05.library_mask


def first(i, K, W):
    return max(0, i - K * (W - 1))


def hop_by_hop(i, K, W):
    for _ in range(K):
        i = max(0, i - W + 1)
    return i


def recursive(i, K, W):
    """Every path, one by one: right, and slow."""
    if K == 0:
        return i
    return min(recursive(j, K - 1, W) for j in range(max(0, i - W + 1), i + 1))


def from_the_mask(i, K, W):
    p = np.arange(i + 1)
    return reachable(window_mask(p, p, W), K)[-1][i].argmax()


def hops(i, K, W, hop=lambda W: W - 1, least=0):
    """One hop after another, with ways to get it wrong."""
    for _ in range(K):
        i = max(least, i - hop(W))
    return i


def early_stop(i, K, W):
    """Stops before a hop that would lead out of the text, not at its start."""
    for _ in range(K):
        if i - (W - 1) < 0:
            break
        i -= W - 1
    return i


def inclusive_range(i, K, W):
    reached = {i}
    for _ in range(K):
        reached = {j for t in reached for j in range(max(0, t - W), t + 1)}
    return min(reached)


def half_open(i, K, W):
    reached = {i}
    for _ in range(K):
        reached = {j for t in reached for j in range(max(0, t - W + 1), t)} or {0}
    return min(reached)


def power(m, K, step=lambda d, m: d @ m, start=lambda m: np.eye(len(m), dtype=bool)):
    """The boolean power, with ways to get it wrong."""
    depends = start(m)
    for _ in range(K):
        depends = step(depends, m)
    return depends


def rows(m, K):
    """Token by token, with sets."""
    result = np.zeros(m.shape, dtype=bool)
    for i in range(len(m)):
        reached = {i}
        for _ in range(K):
            reached = {j for t in reached for j in range(len(m)) if m[t, j]}
        result[i, list(reached)] = True
    return result


def three_loops(m, K):
    depends = np.eye(len(m), dtype=bool)
    for _ in range(K):
        after = np.zeros_like(depends)
        for i, n, j in itertools.product(range(len(m)), repeat=3):
            if depends[i, n] and m[n, j]:
                after[i, j] = True
        depends = after
    return depends


def by_squares(m, K):
    result, square = np.eye(len(m), dtype=bool), m
    while K:
        if K % 2:
            result = result @ square
        square, K = square @ square, K // 2
    return result


def by_torch(m, K):
    d, t = torch.eye(len(m)), torch.from_numpy(m).float()
    for _ in range(K):
        d = ((d @ t) > 0).float()
    return d > 0


def by_the_window(m, K):
    """Reads W off the last row and uses the formula: right for a window, not for other masks."""
    p = np.arange(len(m))
    return window_mask(p, p, K * (int(m[-1].sum()) - 1) + 1)


def counted(dtype):
    return lambda m, K: np.linalg.matrix_power(m.astype(dtype), K) > 0


def gap(q, k):
    return q[:, None] - k[None, :]


def rule(q, k, W):
    return (gap(q, k) >= 0) & (gap(q, k) < W)


def fix(find):
    """Exercise 3 with both numbers right."""
    return (12, 5, find)


def sorted_only(q, k, W):
    """Counts in the order of the arrays, from their first positions."""
    i = np.arange(len(q))[:, None] + q[0]
    j = np.arange(len(k))[None] + k[0]
    return (i >= j) & (i < j + W)


def looped(q, k, W):
    mask = np.zeros((len(q), len(k)), dtype=bool)
    for (a, i), (b, j) in itertools.product(enumerate(q), enumerate(k)):
        mask[a, b] = j <= i < j + W
    return mask


RIGHT = [
    (EARLIEST, (hop_by_hop,)),
    (EARLIEST, (recursive,)),
    (EARLIEST, (from_the_mask,)),
    (EARLIEST, (lambda i, K, W: torch.clamp(torch.tensor(i - K * (W - 1)), min=0),)),
    (EARLIEST, (lambda i, K, W: torch.relu(torch.tensor(i - K * (W - 1.0), requires_grad=True)),)),
    (EARLIEST, (lambda i, K, W: np.array(first(i, K, W)),)),
    (EARLIEST, (lambda i, K, W: np.clip(np.float32(i - K * (W - 1)), 0, None),)),
    (EARLIEST, (lambda i, K, W: float(first(i, K, W)),)),
    (EARLIEST, (lambda i, K, W: first(i, K, W) + 0 * i,)),
    (EARLIEST, (lambda i, K, W: range(i + 1)[-1 - min(i, K * (W - 1))],)),
    (EARLIEST, (lambda i, K, W: [0, i - K * (W - 1)][i > K * (W - 1)],)),
    (POWER, (rows,)),
    (POWER, (three_loops,)),
    (POWER, (by_squares,)),
    (POWER, (by_torch,)),
    (POWER, (lambda m, K: power(m, K, lambda d, m: m @ d),)),
    (POWER, (lambda m, K: power(m, K, lambda d, m: d | (d @ m)),)),
    (POWER, (lambda m, K: power(m, K, lambda d, m: np.einsum("ij,jk->ik", d, m)),)),
    (POWER, (lambda m, K: power(m, K, lambda d, m: np.dot(d, m).astype(bool)),)),
    (POWER, (lambda m, K: power(m, K, lambda d, m: (d[:, :, None] & m[None]).any(axis=1)),)),
    (POWER, (lambda m, K: np.linalg.matrix_power(m.astype(np.float32), K).astype(bool),)),
    (POWER, (lambda m, K: np.array([r.tolist() for r in rows(m, K)]),)),
    (OUTSIDE, (12, 5, looped)),
    (OUTSIDE, (torch.tensor(12), np.array(5), rule)),
    (OUTSIDE, (12.0, np.int8(5), lambda q, k, W: (gap(q, k) // W) == 0)),
    (OUTSIDE, (12, 5, lambda q, k, W: torch.from_numpy(rule(q, k, W)))),
    (OUTSIDE, (12, 5, lambda q, k, W: np.subtract.outer(q, k) % 10**6 < W)),
    (OUTSIDE, (12, 5, lambda q, k, W: ~((gap(q, k) < 0) | (gap(q, k) >= W)))),
]
WRONG = [
    (EARLIEST, (lambda i, K, W: max(0, i - (K - 1) * W - 1),), None),
    (EARLIEST, (lambda i, K, W: max(0, i - K * W - 1),), "A hop is W - 1 long"),
    (EARLIEST, (lambda i, K, W: hops(i, K, W, least=1),), "begin at 0, not at 1"),
    (EARLIEST, (early_stop,), "to position 0"),
    (EARLIEST, (inclusive_range,), "of the W keys one is its own"),
    (EARLIEST, (half_open,), "With W = 1 a hop is 0 long"),
    (EARLIEST, (lambda i, K, W: hops(i, K, W, hop=lambda W: W // 2),), "lies behind the token"),
    (EARLIEST, (lambda i, K, W: max(0, i - (W - 1)) if K else i,), "one layer; there is a hop"),
    (EARLIEST, (lambda i, K, W: max(0, i - K * (W - 2)),), "not W - 2"),
    (EARLIEST, (lambda i, K, W: (i - K * (W - 1)) % (i + 1),), "% counts on"),
    (EARLIEST, (lambda i, K, W: max(0, K * (W - 1) - i),), "Subtract the reach from i"),
    (EARLIEST, (lambda i, K, W: i - min(i, K * (W - 1)) + 1,), "one too late"),
    (EARLIEST, (lambda i, K, W: min(0, i - K * (W - 1)),), "That takes min"),
    (EARLIEST, (lambda i, K, W: max(0, i - 3 * (W - 1)),), "3 was an example"),
    (EARLIEST, (lambda i, K, W: max(0, i - K * 3),), "4 was an example"),
    (EARLIEST, (lambda i, K, W: None if i < K * (W - 1) else first(i, K, W),), "`return` missing"),
    (EARLIEST, (lambda i, K, W: list(range(first(i, K, W), i + 1)),), "not a value of type list"),
    (EARLIEST, (lambda i, K, W: max(0, i - K * (W - 1)) / 1.5,), "a whole number, not 1.3"),
    (EARLIEST, (lambda i, K, W: max(0, i + 1 - K * W),), "every time"),
    (EARLIEST, (lambda i, K, W: i - first(i, K, W) + 1,), "how many tokens count"),
    (EARLIEST, (lambda i, K, W: 0,), "without one, position 0"),
    (EARLIEST, (lambda i, K, W: max(i - K * (W - 1), W - 1),), None),
    (POWER, (by_the_window,), "right for a window only"),
    (POWER, (counted(np.uint8),), "too large for an integer"),
    (POWER, (counted(np.int32),), "too large for an integer"),
    (POWER, (lambda m, K: power(m, K, lambda d, m: d @ d, start=lambda m: m),), "squaring doubles"),
    (POWER, (lambda m, K: power(m, K, start=lambda m: m),), "one layer too many"),
    (POWER, (lambda m, K: power(m, K, start=lambda m: np.ones(m.shape, bool)),), "every other"),
    (POWER, (lambda m, K: power(m, K, lambda d, m: d ^ m),), "a path of 2 hops"),
    (POWER, (lambda m, K: power(m, K, lambda d, m: (d.astype(int) @ m) == 1),), "several paths"),
    (POWER, (lambda m, K: power(m, K, lambda d, m: (d.astype(int) @ m) > 1),), "several paths"),
    (POWER, (lambda m, K: power(m, K, lambda d, m: d @ m.T),), "rows and columns are swapped"),
    (POWER, (lambda m, K: power(m, K, start=lambda m: np.eye(len(m))),), "Ask whether"),
    (POWER, (lambda m, K: power(m, K, lambda d, m: (d.astype(int) @ m) > len(m) / 2),), "several"),
    (POWER, (lambda m, K: np.linalg.matrix_power(m, K - 1),), "not float64"),
    (POWER, (lambda m, K: np.array(reachable(m, K)),), "the shape must be (4, 4), not (3, 4, 4)"),
    (POWER, (lambda m, K: power(m, K).all(),), "not ()"),
    (POWER, (lambda m, K: power(m, 1),), "multiply once for each"),
    (POWER, (lambda m, K: power(m, K)[:, ::-1],), "a path of 0 hops"),
    (POWER, (lambda m, K: ~power(m, K),), "True and False are swapped"),
    (POWER, (lambda m, K: power(m, min(K, 3)),), "a path of 4 hops"),
    (POWER, (lambda m, K: m.__imatmul__(m) if K else power(m, 0),), "work on a copy"),
    (POWER, (lambda m, K: power(m, K, lambda d, m: d | m),), "of matrices is `@`"),
    (OUTSIDE, (7, 5, rule), None),
    (OUTSIDE, (64, 5, rule), "does not multiply them"),
    (OUTSIDE, (14, 5, rule), "each of the 3 hops is 4 long"),
    (OUTSIDE, (12, 2, rule), "all masks agree"),
    (OUTSIDE, (-12, 5, rule), "as a positive number"),
    (OUTSIDE, (Fraction(12), 5, rule), "of type Fraction"),
    (OUTSIDE, fix(window_mask), "write `fixed` yourself"),
    (OUTSIDE, fix(sorted_only), "any order"),
    (OUTSIDE, fix(lambda q, k, W: (gap(q, k) > 0) & (gap(q, k) <= W - 1)), ">=, not >"),
    (OUTSIDE, fix(lambda q, k, W: (q[:, None] >= k) & (q[:, None] < k - W)), "the sign of W"),
    (OUTSIDE, fix(lambda q, k, W: (q[:, None] >= k) & (q[:, None] + W > k)), "without a window"),
    (OUTSIDE, fix(lambda q, k, W: rule(q, k, W) | (gap(q, k) == 2 * W)), "a key 2 back"),
    (OUTSIDE, fix(lambda q, k, W: rule(q, k, W).T), "not (12, 2)"),
    (OUTSIDE, fix(lambda q, k, W: rule(q, k, W)[None]), "not (1, 8, 8)"),
    (OUTSIDE, fix(lambda q, k, W: np.where(rule(q, k, W), 0, -np.inf)), "Comparisons give bool"),
    (OUTSIDE, fix(lambda q, k, W: q - k < W), "not (8,)"),
    (OUTSIDE, fix(lambda q, k, W: 0 <= gap(q, k) < W), "Join two comparisons"),
    (OUTSIDE, fix(lambda q, k, W: ~rule(q, k, W)), "True means visible"),
    (OUTSIDE, fix(lambda q, k, W: np.tri(len(q), len(k), dtype=bool)
                  & ~np.tri(len(q), len(k), -W, dtype=bool)), "rows and columns"),
]  # fmt: skip
CHECKS: list = []
FIRST: dict = {}
N_ANSWERS: dict = {}
