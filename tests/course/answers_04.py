"""Further answers to the exercises of lesson 04: right ones in other styles, and wrong ones."""

import math

import numpy as np
import torch

from minimistral import np as mm
from minimistral import pt
from minimistral.config import visible_pairs
from minimistral.course.checks import lesson_04

MASK, SUSPECT = lesson_04.mask, lesson_04.suspect
PAIRS, BLOCK = lesson_04.pairs, lesson_04.block_keys


def rule(q, k, W):
    d = np.subtract.outer(q, k)
    return (d >= 0) & (d < W)


def in_place(q, k, W):
    q, k = q[:, np.newaxis].copy(), k[np.newaxis]
    shown = np.ones(np.broadcast_shapes(q.shape, k.shape), dtype=bool)
    shown[q < k] = False
    shown[q - k >= W] = False
    return shown


def row_by_row(q, k, W):
    return np.stack([np.array([j in range(i - W + 1, i + 1) for j in k.tolist()]) for i in q])


def by_torch(q, k, W):
    d = torch.as_tensor(q)[:, None] - torch.as_tensor(k)
    return (d >= 0).logical_and(d.lt(W))


def by_meshgrid(q, k, W):
    i, j = np.meshgrid(q, k, indexing="ij")
    return np.asfortranarray(~((i < j) | (j <= i - W)))


def by_floats(q, k, W):
    d = q.astype(np.float32)[:, None] - k.astype(np.float32)
    return np.logical_and(d > -0.5, d < W - 0.5)


def by_set(q, k, W):
    return np.vectorize(lambda i, j: 0 <= i - j < W)(q[:, None], k[None])


def tri(T, W):
    return np.tri(T, dtype=bool) & ~np.tri(T, k=-W, dtype=bool)


def by_loop(n_tokens, window):
    total = 0
    for i in range(n_tokens):
        seen = i + 1
        if seen > window:
            seen = window
        total += seen
    return total


def outside(T, W):
    old = max(0, T - W)
    return T * (T + 1) / 2 - old * (old + 1) / 2


RIGHT = [
    *[(MASK, (f,)) for f in (rule, in_place, row_by_row, by_torch, by_meshgrid, by_floats, by_set)],
    (MASK, (lambda q, k, W: (q[:, None] - k).__floordiv__(W) == 0,)),
    (SUSPECT, (4097.0, np.int32(4096), tri)),
    (SUSPECT, (np.array(4097), torch.tensor(4096), lambda T, W: torch.from_numpy(tri(T, W)))),
    (PAIRS, (by_loop,)),
    (PAIRS, (outside,)),
    (PAIRS, (lambda T, W: math.comb(T + 1, 2) - math.comb(max(T - W, 0) + 1, 2),)),
    (PAIRS, (lambda T, W: torch.arange(1, T + 1).clamp(max=W).sum(),)),
    (PAIRS, (lambda T, W: np.array(np.clip(np.arange(1, T + 1), None, W).sum()),)),
    (BLOCK, (lambda start, stop, window: [max(start - window, -1) + 1, stop],)),
    (BLOCK, (lambda start, stop, window: (np.maximum(0, start + 1 - window), np.int64(stop)),)),
    (BLOCK, (lambda start, stop, window: torch.tensor([max(0, start - window + 1), stop]),)),
]


def window_mask(q, k, W):
    """Named as the course's own, and wrong."""
    return rule(q, k, W + 1)


def calls_the_other_twin(q, k, W):
    return pt.window_mask(torch.as_tensor(q), torch.as_tensor(k), W).numpy()


def from_the_end(q, k, W):
    return rule(np.arange(len(k) - len(q), len(k)), np.arange(len(k)), W)


def from_first_to_last(q, k, W):
    """A slice of columns, which is right where the keys are sorted."""
    shown = np.zeros((len(q), len(k)), dtype=bool)
    for t, i in enumerate(q):
        shown[t, np.searchsorted(k, i - W + 1) : np.searchsorted(k, i, side="right")] = True
    return shown


def adjoining(q, k, W):
    return rule(q[0] + np.arange(len(q)), k, W)


def every_pair(T, W):
    return sum(0 <= i - j < W for i in range(T) for j in range(T))


def every_visible_pair(T, W):
    count = 0
    for i in range(T):
        for _ in range(max(0, i - W + 1), i + 1):
            count += 1
    return count


BOTH = 4097, 4096
WRONG = [
    (MASK, (mm.window_mask,), "the course's own window_mask"),
    (MASK, (pt.window_mask,), "the course's own window_mask"),
    (MASK, (lambda q, k, W: mm.window_mask(q, k, W),), "the course's own window_mask"),
    (MASK, (calls_the_other_twin,), "the course's own window_mask"),
    (MASK, (window_mask,), "W + 1 keys"),
    (MASK, (lambda q, k, W: window_mask(q, k, W),), "W + 1 keys"),
    (MASK, (lambda q, k, W: rule(q, np.sort(k), W),), "takes the keys as sorted"),
    (MASK, (lambda q, k, W: rule(np.sort(q), k, W),), "takes the queries as sorted"),
    (MASK, (lambda q, k, W: rule(np.sort(q), np.sort(k), W),), "takes the positions as sorted"),
    (MASK, (from_first_to_last,), "not in order"),
    (MASK, (adjoining,), "not in order"),
    (MASK, (from_the_end,), "the last row for the last column"),
    (MASK, (lambda q, k, W: rule(np.arange(len(q)), k, W),), "it counts the rows"),
    (MASK, (lambda q, k, W: rule(q, np.arange(len(k)), W),), "it counts the columns"),
    (MASK, (lambda q, k, W: abs(q[:, None] - k) <= W // 2,), "lies around the query"),
    (MASK, (lambda q, k, W: q[:, None] - k <= W,), "so is the key W back"),
    (MASK, (lambda q, k, W: q[:, None] > k,), "no key is ever too old"),
    (MASK, (lambda q, k, W: q[:, None] < k,), "shows the keys ahead and hides"),
    (MASK, (lambda q, k, W: (k <= q[:, None]) & (k > q.max() - W),), "window of the last query"),
    (MASK, (lambda q, k, W: (k <= q[:, None]) & (k < W),), "the first W keys of the text"),
    (MASK, (lambda q, k, W: rule(q, k, W) | (k <= q[:, None]) & (k == k.min()),), "oldest key"),
    (MASK, (lambda q, k, W: (k <= q[:, None]) & (k // W == q[:, None] // W),), "pieces of W"),
    (MASK, (lambda q, k, W: rule(q, k, 3),), "Your window is 3"),
    (MASK, (lambda q, k, W: rule(q, k, W).astype(object),), "not object"),
    (MASK, (lambda q, k, W: rule(q, k, W).ravel(),), "the shape must be (T, S)"),
    (MASK, (lambda q, k, W: np.where(rule(q, k, W)),), "of type tuple"),
    (MASK, (lambda q, k, W: 0 <= q[:, None] - k & q[:, None] - k < W,), "in brackets"),
    (MASK, (lambda q, k, W: (q >= k) & (q - k < W),), "can be subtracted"),
    (SUSPECT, (8193, 4096, tri), "long before 2 W"),
    (SUSPECT, ("4097", 4096, tri), "shortest must be a whole number"),
    (SUSPECT, (4097.5, 4096, tri), "not 4097.5"),
    (SUSPECT, (5000, 4096, tri), "too large"),
    (SUSPECT, (4097, 8192, tri), "too large"),
    (SUSPECT, (*BOTH, lambda T, W: np.tri(T, dtype=bool) & ~np.tri(T, k=-W - 1, dtype=bool)),
     "W + 1 keys"),
    (SUSPECT, (*BOTH, lambda T, W: np.tri(T, dtype=bool) & ~np.tri(T, k=1 - W, dtype=bool)),
     "W - 1 keys"),
    (SUSPECT, (*BOTH, lambda T, W: tri(T, W).T), "flipped"),
    (SUSPECT, (*BOTH, lambda T, W: tri(T, W)[:, :W]), "the shape must be"),
    (SUSPECT, (*BOTH, lambda T, W: np.tril(tri(T, W), -1)), "no query sees itself"),
    (SUSPECT, (*BOTH, tri(9, 3)), "pass the function itself"),
    (SUSPECT, (*BOTH, lambda T, W: print(end="")), "return"),
    (PAIRS, (every_pair,), "one by one"),
    (PAIRS, (every_visible_pair,), "one by one"),
    (PAIRS, (lambda T, W: np.tri(T)[:, :W].sum(),), "builds an array of T x T"),
    (PAIRS, (lambda T, W: T * (T + 1) // 2 - (T - W) * (T - W + 1) // 2,), "only T rows"),
    (PAIRS, (lambda T, W: T * W - W * W // 2,), "fall short by W(W - 1)/2"),
    (PAIRS, (lambda T, W: min(T * W, T * (T + 1) // 2),), "the smaller of two totals"),
    (PAIRS, (lambda T, W: T * (T - 1) // 2,), "without the diagonal"),
    (PAIRS, (lambda T, W: T**2 // 2,), "half of all pairs"),
    (PAIRS, (lambda T, W: visible_pairs(T + 1, W),), "one row too many"),
    (PAIRS, (lambda T, W: T * (T + 1) // 2 - max(0, T - W),), "form a triangle too"),
    (PAIRS, (lambda T, W: math.comb(T + 1, 2) - math.comb(max(T - W, 0), 2),), "W + 1 keys"),
    (PAIRS, (lambda T, W: T * (2 * W - 1) - W * (W - 1),), "W - 1 keys ahead"),
    (PAIRS, (lambda T, W: W * (W + 1) // 2 + (T - W) * W,), "only T rows"),
    (PAIRS, (lambda T, W: sum(min(i, W) for i in range(T)),), "i + 1 keys"),
    (PAIRS, (lambda T, W: (T, W),), "whole number"),
    (PAIRS, (lambda T, W: visible_pairs(T, W) * 128,), None),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), b - max(0, a - W + 1)),), "counts the keys"),
    (BLOCK, (lambda a, b, W: (max(0.0, a - W + 1.0), b),), "not float"),
    (BLOCK, (lambda a, b, W: np.array([max(0, a - W + 1), b / 1]),), "not float64"),
    (BLOCK, (lambda a, b, W: (a - W + 1 if a > W else 0, b),), "one too many"),
    (BLOCK, (lambda a, b, W: (abs(a - W + 1), b),), "is missing"),
    (BLOCK, (lambda a, b, W: (max(0, b - W), b),), "is missing"),
    (BLOCK, (lambda a, b, W: (max(1, a - W + 1), b),), "the key 0 is missing"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), b + W),), "lie ahead"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), a),), "the end must be"),
    (BLOCK, (lambda a, b, W: slice(max(0, a - W + 1), b),), "two numbers"),
    (BLOCK, (lambda a, b, W: {max(0, a - W + 1), b},), "two numbers"),
    (BLOCK, (lambda a, b, W: range(max(0, a - W + 1), b),), "two numbers"),
]  # fmt: skip
CHECKS, FIRST, N_ANSWERS = [], {}, {}
