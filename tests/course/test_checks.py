"""Exercises: every solution is accepted, every known mistake gets its own hint."""

import importlib
import itertools
import re
import sys
from fractions import Fraction
from pathlib import Path

import answers as more
import numpy as np
import pytest
import torch
from checked import ODD, not_yet, said
from effort import times

from minimistral.config import ModelConfig, visible_pairs
from minimistral.course.checks import lesson_00, lesson_01, lesson_02, lesson_03, lesson_04, report


def rule(q, k, W):
    d = q[:, None] - k[None, :]
    return (d >= 0) & (d < W)


def distance(q, k):
    return q[:, None] - k[None, :]


def causal(T):
    return np.tril(np.ones((T, T), dtype=bool))


def layer(c, heads=None, ffn=3, norms=2, q=2, kv=2):
    heads = heads or c.n_kv_heads
    attention = q * c.n_heads * c.head_dim * c.dim + kv * heads * c.head_dim * c.dim
    return attention + ffn * c.dim * c.hidden_dim + norms * c.dim


def layer_by_shapes(c):
    shapes = c.weight_shapes().items()
    return sum(int(np.prod(shape)) for name, shape in shapes if name.startswith("layers.0."))


def cache(c, tokens, size, k_and_v=2, layers=None, heads=None, head_dim=None):
    kept = min(tokens, c.window_size)
    layers, heads = layers or c.n_layers, heads or c.n_kv_heads
    return k_and_v * layers * heads * (head_dim or c.head_dim) * kept * size


def looped(q, k, W):
    return np.array([[0 <= i - j < W for j in k] for i in q])


def in_place(q, k, W):
    q -= q.min()
    return rule(q, k, W)


def by_position(q, k, W):
    mask = np.zeros((len(q), len(k)), dtype=bool)
    for i in q:
        for j in k:
            mask[i, j] = 0 <= i - j < W
    return mask


def mask_count(T, W):
    return int(rule(np.arange(T), np.arange(T), W).sum())


def soft(s, axis=-1, top=lambda s: s.max(axis=-1, keepdims=True)):
    with np.errstate(all="ignore"):
        exps = np.exp(s - top(s))
        return exps / exps.sum(axis=axis, keepdims=True)


def sum_as_it_was(s):
    with np.errstate(all="ignore"):
        return np.exp(s - s.max(-1, keepdims=True)) / np.exp(s).sum(-1, keepdims=True)


def attention(scale=lambda D: D**-0.5, hide=None, weigh=None, empty=True):
    """Attention of lesson 01, spelled in other ways."""
    hide = hide or (lambda s, m: np.where(m, s, -np.inf))
    weigh = weigh or (
        lambda s, m: soft(s, top=lambda s: np.maximum(s.max(-1, keepdims=True), -1e300))
    )

    def function(q, k, v, mask):
        with np.errstate(all="ignore"):
            result = weigh(hide(q @ k.T * scale(q.shape[1]), mask), mask) @ v
        if empty:
            result[~mask.any(axis=1)] = 0
        return result

    return function


def attention_loop(q, k, v, mask):
    results = []
    for query, row in zip(q, mask, strict=True):
        scores = np.array([query @ key for key in k[row]]) / np.sqrt(len(query))
        results.append(soft(scores) @ v[row] if row.any() else np.zeros(v.shape[1]))
    return np.array(results)


def added(amount):
    return attention(hide=lambda s, m: s + np.where(m, 0, -amount), weigh=lambda s, m: soft(s),
                     empty=False)  # fmt: skip


def plain(scores, mask):
    return soft(scores)


def root_of_t(**how):
    """√T for √D, with the rest as in `attention`."""
    return lambda q, k, v, mask: attention(scale=lambda D: len(q) ** -0.5, **how)(q, k, v, mask)


def attend_added_times_any(q, k, v, mask):
    return added(1e4)(q, k, v, mask) * mask.any(axis=1, keepdims=True)


def mask_then_divide(q, k, v, mask, guard=True):
    with np.errstate(all="ignore"):
        weights = soft(q @ k.T / np.sqrt(q.shape[1])) * mask
        total = weights.sum(axis=1, keepdims=True)
        return weights / (np.where(total > 0, total, 1) if guard else total) @ v


def turn(x, positions, theta, exponent=lambda j, D: -2 * j / D, sign=1):
    """Rotation by complex numbers."""
    D = x.shape[1]
    angles = positions[:, None] * theta ** exponent(np.arange(D // 2), D)
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(sign * 1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)


def turn_halves(x, positions, theta):
    a, b = np.split(x, 2, axis=1)
    angles = positions[:, None] * theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)


def signs(x, positions, theta, first=-1, second=1, of=lambda p: p[:, None]):
    """Rotation by its two lines, with the sign of each."""
    angles = of(positions) * theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
    cos, sin = np.cos(angles), np.sin(angles)
    turned = np.empty_like(x)
    turned[:, 0::2] = x[:, 0::2] * cos + first * x[:, 1::2] * sin
    turned[:, 1::2] = x[:, 0::2] * sin + second * x[:, 1::2] * cos
    return turned


def sine_for_cosine(x, positions, theta):
    angles = positions[:, None] * theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
    cos, sin, a, b = np.cos(angles), np.sin(angles), x[:, 0::2], x[:, 1::2]
    return np.stack([a * sin - b * cos, a * cos + b * sin], axis=-1).reshape(x.shape)


def cos_in_halves(x, positions, theta):
    angles = positions[:, None] * theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
    cos, sin = (np.hstack([table(angles)] * 2) for table in (np.cos, np.sin))
    return x * cos + np.stack([-x[:, 1::2], x[:, 0::2]], axis=-1).reshape(x.shape) * sin


def swap_axes(weight, n_heads, axes):
    return weight.reshape(n_heads, 2, -1, weight.shape[1]).swapaxes(*axes).reshape(weight.shape)


def pairs_of(weight, n_heads):
    """Row by row."""
    D = len(weight) // n_heads
    rows = [h * D + j + half * D // 2
            for h in range(n_heads) for j in range(D // 2) for half in (0, 1)]  # fmt: skip
    return weight[rows]


def last_scores(q, k, W=4, number=lambda i, W: i):
    last = len(k) - 1
    turned = turn(q[last:], np.array([number(last, W)]), 1e4)[0]
    kept = range(max(0, last - W + 1), last + 1)
    return np.array([turned @ turn(k[j : j + 1], np.array([number(j, W)]), 1e4)[0] for j in kept])


def scores_in_slots(q, k, W=4):
    slots = np.zeros(min(W, len(k)))
    for n, score in zip(range(max(0, len(k) - W), len(k)), last_scores(q, k, W), strict=True):
        slots[n % W] = score
    return slots


def heads_loop(q, k, v, mask, head=lambda h, H, G: h // (H // G), scale=True, value=None):
    results = []
    for h in range(len(q)):
        g = head(h, len(q), len(k))
        chosen = v[g if value is None else value(h, len(q), len(k))]
        scores = q[h] @ k[g].T / (np.sqrt(q.shape[2]) if scale else 1)
        results.append(soft(np.where(mask, scores, -np.inf)) @ chosen)
    return np.array(results)


def turn_in_place(x, positions, theta):
    """Writes the first of each pair before it has used it for the second."""
    x = x.copy()
    angles = positions[:, None] * theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
    x[:, 0::2] = x[:, 0::2] * np.cos(angles) - x[:, 1::2] * np.sin(angles)
    x[:, 1::2] = x[:, 0::2] * np.sin(angles) + x[:, 1::2] * np.cos(angles)
    return x


def scores_at(q, k, W, query=lambda i, W: i, key=lambda i, W: i):
    kept = np.arange(max(0, len(k) - W), len(k))
    asked = turn(q[-1:], np.array([query(len(k) - 1, W)]), 1e4)[0]
    return turn(k[kept], key(kept, W), 1e4) @ asked


def stacked(q, k, v, mask, dealt=False, repeat=False):
    """Grouped attention without copies of keys, with two ways to get the stacking wrong."""
    (H, T, D), G = q.shape, len(k)
    g = H // G
    rows = q.reshape(g, G, T, D).swapaxes(0, 1) if dealt else q.reshape(G, g, T, D)
    scores = rows.reshape(G, g * T, D) @ k.swapaxes(1, 2) / np.sqrt(D)
    seen = np.repeat(mask, g, axis=0) if repeat else np.tile(mask, (g, 1))
    return (soft(np.where(seen, scores, -1e300)) @ v).reshape(H, T, D)


def grouped(scale=lambda H, T, D: D**0.5, hide=None, after=lambda w, m: w, stack=lambda q: q,
            keys=lambda k: k.swapaxes(1, 2), unstack=True, restack=True):  # fmt: skip
    """Grouped attention as lesson 03 asks for it, with ways to get each step wrong."""
    hide = hide or (lambda s, m: np.where(m, s, -np.inf))

    def function(q, k, v, mask):
        (H, T, D), (G, S, _) = q.shape, k.shape
        scores = stack(q).reshape(G, -1, D) @ keys(k) / scale(H, T, D)
        scores = scores.reshape(H, T, S) if unstack else scores
        weights = after(soft(hide(scores, mask)), mask)
        return ((weights.reshape(G, -1, S) if restack else weights) @ v).reshape(H, T, D)

    return function


def grouped_by_einsum(q, k, v, mask):
    (H, T, D), G = q.shape, len(k)
    scores = np.einsum("ghtd,gsd->ghts", q.reshape(G, H // G, T, D), k) / np.sqrt(D)
    weights = soft(np.where(mask, scores, -1e300))
    return np.einsum("ghts,gsd->ghtd", weights, v).reshape(H, T, D)


def in_masks(T, W):
    """Whole masks of one byte an entry: frugal, and still T x T."""
    return int((np.tri(T, dtype=bool) & ~np.tri(T, k=-W, dtype=bool)).sum())


def in_band(T, W):
    """T x W entries, which the rule's own band has."""
    return int((np.arange(T)[:, None] >= np.arange(min(T, W))).sum())


RIGHT = [
    (lesson_03.grouped, (grouped(),)),
    (lesson_03.grouped, (grouped_by_einsum,)),
    (
        lesson_03.tiled,
        (5, (32, 1), lambda k, n: np.stack([k] * (n // len(k)), 1).reshape(-1, 3, 2)),
    ),
    (lesson_04.mask, (lambda q, k, W: np.isin(distance(q, k), np.arange(W)),)),
    (lesson_04.pairs, (lambda T, W: int(np.minimum(np.arange(T) + 1, W).sum()),)),
    (lesson_03.grouped, (stacked,)),
    (lesson_03.kv_head, (lambda h, H, G: h // (H // G),)),
    (lesson_03.kv_head, (lambda h, H, G: h * G // H,)),
    (lesson_03.grouped, (heads_loop,)),
    (lesson_03.tiled, (5, [1, 32], lambda k, n: np.repeat(k, n // len(k), axis=0))),
    (lesson_03.tiled, (5, {32, 1}, lambda k, n: k[np.arange(n) * len(k) // n])),
    (lesson_02.rotate, (turn,)),
    (lesson_02.rotate, (lambda x, p, theta: torch.from_numpy(turn(x, p, theta)),)),
    (lesson_02.rotate, (signs,)),
    (lesson_02.to_pairs, (pairs_of,)),
    (lesson_02.to_pairs, (lambda w, n: swap_axes(w, n, (1, 2)),)),
    (lesson_02.by_slot, (4, -3, last_scores)),
    (lesson_01.softmax, (soft,)),
    (lesson_01.softmax, (lambda s: np.exp(s - np.logaddexp.reduce(s, axis=-1, keepdims=True)),)),
    (lesson_01.softmax, (lambda s: torch.softmax(torch.from_numpy(s), dim=-1),)),
    (lesson_01.attend, (attention(),)),
    (lesson_01.attend, (attention_loop,)),
    (lesson_01.ten_thousand, (10_000, 1 / 3, attention())),
    (lesson_01.ten_thousand, (1e4, Fraction(1, 3), attention_loop)),
    (lesson_01.ten_thousand, (10_000, np.float32(1) / 3, attention())),
    (
        lesson_01.attend,
        (lambda *given: np.nan_to_num(attention(weigh=plain, empty=False)(*given)),),
    ),
    (lesson_01.softmax, (lambda s: np.apply_along_axis(soft, -1, s),)),
    (lesson_00.layer_params, (layer,)),
    (lesson_00.cache_bytes, (cache,)),
    (lesson_00.wrong_budget, (4, 16)),
    (lesson_00.wrong_budget, (32 / 8, 65536 / 4096)),
    (lesson_00.wrong_budget, (np.int64(4), torch.tensor(16))),
    (lesson_04.block_keys, (lambda start, stop, W: np.array([max(0, start - W + 1), stop]),)),
    (lesson_04.mask, (rule,)),
    (lesson_04.mask, (looped,)),
    (lesson_04.mask, (lambda q, k, W: torch.from_numpy(rule(q, k, W)),)),
    (lesson_04.suspect, (4097, 4096, lambda T, W: np.triu(causal(T), 1 - W))),
    (lesson_04.pairs, (visible_pairs,)),
    (lesson_04.pairs, (lambda T, W: sum(min(i + 1, W) for i in range(T)),)),
    (lesson_04.pairs, (in_band,)),
    (lesson_04.block_keys, (lambda start, stop, W: (max(0, start - W + 1), stop),)),
]

SOFTMAX = lesson_01.softmax
ATTEND = lesson_01.attend
TEN = lesson_01.ten_thousand
TURN = lesson_02.rotate
TO_PAIRS = lesson_02.to_pairs
SLOT = lesson_02.by_slot
HEAD = lesson_03.kv_head
GROUPED = lesson_03.grouped
TILED = lesson_03.tiled
LAYER = lesson_00.layer_params
CACHE = lesson_00.cache_bytes
BUDGET = lesson_00.wrong_budget
MASK = lesson_04.mask
SUSPECT = lesson_04.suspect
PAIRS = lesson_04.pairs
BLOCK = lesson_04.block_keys
WRONG = [
    (PAIRS, (in_masks,), "builds an array of T x T"),
    (HEAD, (lambda h, H, G: h % G,), "like cards"),
    (HEAD, (lambda h, H, G: h // G,), "heads that share one"),
    (HEAD, (lambda h, H, G: h % (H // G),), "the index within the group"),
    (HEAD, (lambda h, H, G: h // 4,), "4 is Mistral 7B's group"),
    (HEAD, (lambda h, H, G: h // 8,), "8 is how many KV heads"),
    (HEAD, (lambda h, H, G: h // (H // G) + 1,), "Count from 0"),
    (HEAD, (lambda h, H, G: -(-h // (H // G)),), "rounds down"),
    (GROUPED, (grouped(scale=lambda H, T, D: T**0.5),), "divided by sqrt(T)"),
    (GROUPED, (grouped(scale=lambda H, T, D: H**0.5),), "divided by sqrt(H)"),
    (GROUPED, (grouped(scale=lambda H, T, D: D),), "not by its square root"),
    (GROUPED, (grouped(scale=lambda H, T, D: 2),), "take it from q's shape"),
    (GROUPED, (grouped(hide=lambda s, m: s * m),), "an ordinary score"),
    (GROUPED, (grouped(hide=lambda s, m: s, after=lambda w, m: w * m),), "share of the sum"),
    (GROUPED, (grouped(keys=lambda k: k.reshape(len(k), k.shape[2], -1)),), "does not swap"),
    (GROUPED, (grouped(keys=lambda k: k),), "swap the last two axes of k"),
    (GROUPED, (grouped(stack=lambda q: q.swapaxes(0, 1)),), "heads and tokens are mixed"),
    (GROUPED, (grouped(unstack=False),), "Unstack the scores before the mask"),
    (GROUPED, (grouped(restack=False),), "Stack the weights again"),
    (GROUPED, (lambda q, k, v, m: q.reshape(2, 15, 4),), "inside your function"),
    (ATTEND, (attention(scale=lambda D: 0.5),), "Take √D from q's shape"),
    (
        ATTEND,
        (lambda q, k, v, m: attention()(q, k, v, np.tri(*m.shape, dtype=bool)),),
        "a causal mask of its own",
    ),
    (TURN, (turn_in_place,), "already rotated"),
    (
        TURN,
        (lambda x, p, theta: np.hstack([turn(x, p, theta)[:, n::2] for n in (0, 1)]),),
        "numbers lie in halves",
    ),
    (
        SLOT,
        (4, -3, lambda q, k, W=4: scores_at(q, k, W, query=lambda i, W: i % W)),
        "the query still by its slot",
    ),
    (
        SLOT,
        (4, -3, lambda q, k, W=4: scores_at(q, k, W, key=lambda i, W: i % W)),
        "the keys still by their slots",
    ),
    (
        SLOT,
        (4, -3, lambda q, k, W=4: scores_at(q, k, W, key=lambda i, W: np.arange(len(i)))),
        "by their row numbers",
    ),
    (GROUPED, (lambda q, k, v, m: stacked(q, k, v, m, dealt=True),), "every G-th"),
    (GROUPED, (lambda q, k, v, m: stacked(q, k, v, m, repeat=True),), "Unstack the scores"),
    (HEAD, (lambda h, H, G: h,), "only n_kv_heads of them"),
    (HEAD, (lambda h, H, G: 0,), "one KV head only"),
    (HEAD, (lambda h, H, G: h / (H // G),), "whole number"),
    (GROUPED, (lambda q, k, v, m: heads_loop(q, k, v, m, lambda h, H, G: h % G),), "h % G"),
    (GROUPED, (lambda q, k, v, m: heads_loop(q, k, v, m, lambda h, H, G: 0),), "KV head 0"),
    (
        GROUPED,
        (lambda q, k, v, m: heads_loop(q, k, v, m, value=lambda h, H, G: h % G),),
        "values come from the wrong heads",
    ),
    (GROUPED, (lambda q, k, v, m: heads_loop(q, k, v, m, scale=False),), "not divided by sqrt"),
    (GROUPED, (lambda q, k, v, m: heads_loop(q, k, v, np.ones_like(m)),), "mask is not used"),
    (GROUPED, (lambda q, k, v, m: heads_loop(q, k, k, m),), "keys, not values"),
    (
        GROUPED,
        (
            lambda q, k, v, m: heads_loop(
                q, *(np.repeat(a, len(q) // len(k), axis=0) for a in (k, v)), m
            ),
        ),
        "it copies keys",
    ),
    (GROUPED, (lambda q, k, v, m: heads_loop(q, k, v, m).swapaxes(0, 1),), "the shape must be"),
    (
        GROUPED,
        (lambda q, k, v, m: heads_loop(q, k, v, m).reshape(len(k), -1, q.shape[2]),),
        "still stacked",
    ),
    (GROUPED, (lambda q, k, v, m: heads_loop(q, k, v, m) + 1,), "but the rule gives"),
    (TILED, (1, [1, 32], lambda k, n: k), "what it should read"),
    (TILED, (0, [1, 32], lambda k, n: k), "heads 0 to 7 first"),
    (TILED, (4, [1, 32], lambda k, n: k), "Count from 0"),
    (TILED, (5, [32], lambda k, n: k), "1 is missing"),
    (TILED, (5, [1], lambda k, n: k), "32 is missing"),
    (TILED, (5, [1, 2, 32], lambda k, n: k), "must not hold 2"),
    (TILED, (5, 32, lambda k, n: k), "must be a list"),
    (TILED, (5, None, lambda k, n: k), "hidden_at is not written yet"),
    (TILED, (5, [1, 32], None), "fixed is not written yet"),
    (TILED, (5, [1, 32], not_yet), "fixed is not written yet"),
    (TILED, (5, [1, 32], lambda k, n: np.repeat(k, n // len(k))), "The heads are axis 0"),
    (TILED, (5, [1, 32], lambda k, n: np.tile(k, (n // len(k), 1, 1))), "np.tile still"),
    (TILED, (5, [1, 32], lambda k, n: np.repeat(k, n // len(k), axis=1)), "copies lie on axis 1"),
    (TILED, (5, [1, 32], lambda k, n: np.repeat(k[::-1], n // len(k), axis=0)), "reversed"),
    (TURN, (lambda x, p, theta: turn(x, p, theta, sign=-1),), "turns the other way"),
    (TURN, (lambda x, p, theta: signs(x, p, theta, 1, 1),), "first number is a cos - b sin"),
    (TURN, (lambda x, p, theta: signs(x, p, theta, -1, -1),), "second number is a sin + b cos"),
    (
        TURN,
        (lambda x, p, theta: np.roll(signs(x, p, theta).reshape(-1, 2), 1, 1).reshape(x.shape),),
        "two numbers of a pair are swapped",
    ),
    (TURN, (lambda x, p, theta: turn(x, p, theta, lambda j, D: -2 * j / 8),), "D is always 8"),
    (TURN, (lambda x, p, theta: turn(x, p, theta, lambda j, D: -j / 64),), "D is always 128"),
    (TURN, (lambda x, p, theta: signs(x, p, theta, of=lambda p: p),), "positions[:, None]"),
    (TURN, (lambda x, p, theta: x[:, 0::2] + 1j * x[:, 1::2],), "real numbers"),
    (TURN, (turn_halves,), "they lie side by side"),
    (TURN, (lambda x, p, theta: turn(x, p, theta, lambda j, D: -j / D),), "is -j/D"),
    (TURN, (lambda x, p, theta: turn(x, p, theta, lambda j, D: -4 * j / D),), "is -4j/D"),
    (TURN, (lambda x, p, theta: turn(x, p, theta, lambda j, D: 2 * j / D),), "turn faster"),
    (TURN, (lambda x, p, theta: turn(x, p, theta, lambda j, D: 0 * j),), "equally fast"),
    (TURN, (lambda x, p, theta: turn(x, np.arange(len(p)), theta),), "counts rows"),
    (TURN, (lambda x, p, theta: turn(x, p, 1e4),), "theta is always 10,000"),
    (TURN, (lambda x, p, theta: x,), "nothing turns"),
    (TURN, (lambda x, p, theta: signs(x, p, theta, of=lambda p: p[:, None] + 1),), "too far"),
    (
        TURN,
        (lambda x, p, theta: turn(x, p, theta, lambda j, D: -2 * (j + 1) / D),),
        "count the pairs from 0",
    ),
    (
        TURN,
        (sine_for_cosine,),
        "sine and cosine are swapped",
    ),
    (TURN, (cos_in_halves,), "np.repeat gives each pair its own"),
    (TURN, (lambda x, p, theta: turn(x, p, theta) + 1,), "keeps the length"),
    (TURN, (lambda x, p, theta: turn(x, p, theta).T.copy(),), "the shape must be"),
    (TURN, (lambda x, p, theta: turn(x, p, theta) + 0j,), "real numbers"),
    (
        TO_PAIRS,
        (
            lambda w, n: np.concatenate(
                [p[[*range(0, len(p), 2), *range(1, len(p), 2)]] for p in np.split(w, n)]
            ),
        ),
        "the way back",
    ),
    (TO_PAIRS, (lambda w, n: pairs_of(w, 1),), "it mixes the heads"),
    (TO_PAIRS, (lambda w, n: pairs_of(w, len(w) // (2 * n)),), "are swapped"),
    (TO_PAIRS, (lambda w, n: w,), "nothing has moved"),
    (
        TURN,
        (lambda x, p, theta: signs(x, p, theta, of=lambda p: p[:, None].repeat(4, 1)),),
        "(T, D/2)",
    ),
    (TO_PAIRS, (lambda w, n: w[[0, 4, 1, 5, 2, 6, 3, 7]],), "D = len(weight) // n_heads"),
    (TO_PAIRS, (lambda w, n: w.reshape(n, 2, len(w) / n / 2, -1),), "divide with //"),
    (SLOT, (4, -3, lambda q, k, W: [k[n] @ q[-1] for n in range(10)]), "may be shorter than W"),
    *(
        (TO_PAIRS, (lambda w, n, axes=axes: swap_axes(w, n, axes),), "the wrong axes are swapped")
        for axes in ((0, 1), (0, 2), (2, 3))
    ),
    (TO_PAIRS, (lambda w, n: np.concatenate([p[::-1] for p in np.split(w, n)]),), "reversed"),
    (TO_PAIRS, (lambda w, n: w.reshape(n, 2, -1, w.shape[1]).swapaxes(1, 2),), "the shape must be"),
    (TO_PAIRS, (lambda w, n: -w,), "no row of the old"),
    (TO_PAIRS, (lambda w, n: pairs_of(w, n)[np.arange(len(w)) ^ 1],), "are swapped"),
    (SLOT, (3, -3, last_scores), "positions 0 to 3"),
    (SLOT, (5, -3, last_scores), "one position earlier"),
    (SLOT, (8, -3, last_scores), "first wrap around at position 4"),
    (SLOT, (4, 3, last_scores), "Mind the sign"),
    (SLOT, (4, 1, last_scores), "the true distance"),
    (SLOT, (4, -4, last_scores), "The last slot is 3"),
    (SLOT, (4, -3, lambda q, k, W: last_scores(q, k, W, lambda i, W: i % W)), "by the slots"),
    (SLOT, (4, -3, lambda q, k, W: last_scores(q, k, W, lambda i, W: 0)), "nothing is turned"),
    (SLOT, (4, -3, lambda q, k, W: last_scores(q, k, W)[::-1].copy()), "newest key comes first"),
    (SLOT, (4, -3, lambda q, k, W: last_scores(q, k, W) / q.shape[1] ** 0.5), "leave that out"),
    (SLOT, (4, -3, scores_in_slots), "in the order of the slots"),
    (SLOT, (4, -3, lambda q, k, W: last_scores(q, k, W + 1)), "one key too many"),
    (SOFTMAX, (lambda s: soft(s, top=lambda s: 0),), "exp overflows"),
    (SOFTMAX, (lambda s: soft(s, top=lambda s: s.min(-1, keepdims=True)),), "not the smallest"),
    (SOFTMAX, (lambda s: soft(s, top=lambda s: s.mean(-1, keepdims=True)),), "not the mean"),
    (
        SOFTMAX,
        (lambda s: soft(s, top=lambda s: abs(s).max(-1, keepdims=True)),),
        "largest absolute value",
    ),
    (
        SOFTMAX,
        (sum_as_it_was,),
        "not in the sum below",
    ),
    (SOFTMAX, (lambda s: soft(s, top=np.max),), "each row's own largest"),
    (SOFTMAX, (lambda s: soft(s, axis=None),), "the whole array sums to 1"),
    (SOFTMAX, (lambda s: soft(s, axis=0),), "columns sum to 1"),
    (SOFTMAX, (lambda s: soft(s, axis=None, top=np.max),), "the whole array sums to 1"),
    (SOFTMAX, (lambda s: soft(s, axis=None, top=lambda s: 0),), "the whole array sums to 1"),
    (SOFTMAX, (lambda s: soft(s, axis=0, top=lambda s: s.max(0, keepdims=True)),), "columns sum"),
    (SOFTMAX, (lambda s: soft(s, axis=0, top=lambda s: s.max(0)),), "columns sum to 1"),
    (SOFTMAX, (lambda s: soft(s, axis=0, top=lambda s: 0),), "columns sum to 1"),
    (SOFTMAX, (lambda s: soft(s, axis=1),), "for arrays of any shape"),
    (SOFTMAX, (lambda s: soft(s, top=lambda s: s.max(-1)),), "keepdims=True keeps the axis"),
    (
        SOFTMAX,
        (lambda s: np.exp(s - s.max(-1, keepdims=True)) / np.exp(s).sum(-1),),
        "keepdims=True keeps the axis",
    ),
    (SOFTMAX, (lambda s: np.exp(s - s.max(-1, keepdims=True)),), "divide by the sum"),
    (SOFTMAX, (np.errstate(all="ignore")(lambda s: np.log(soft(s))),), "logarithm"),
    (SOFTMAX, (lambda s: soft(s).sum(-1),), "the shape must be"),
    (SOFTMAX, (lambda s: soft(s) + 0.1,), "a row sums to 1.300"),
    (SOFTMAX, (lambda s: soft(s).tolist(),), "return a NumPy array"),
    (SOFTMAX, (lambda s: s.__isub__(s.max()),), "changes its input"),
    (ATTEND, (attention(empty=False, weigh=lambda s, m: soft(s)),), "0 / 0"),
    (
        ATTEND,
        (attention(weigh=lambda s, m: soft(s, top=lambda s: 0)),),
        "subtracts the row's largest score",
    ),
    (ATTEND, (lambda q, k, v, m: attention()(q, k, v, m) + 1,), "must be 1, not 2.000"),
    (
        ATTEND,
        (attention(empty=False, weigh=lambda s, m: soft(s, top=lambda s: 0)),),
        "subtracts the row's largest score",
    ),
    (ATTEND, (added(1e9),), "averages hidden values"),
    (
        ATTEND,
        (attention(hide=lambda s, m: np.where(m, s, -1e30), empty=False),),
        "averages hidden values",
    ),
    (ATTEND, (attention(hide=lambda s, m: s, empty=False),), "the mask is not used"),
    (
        ATTEND,
        (attention(hide=lambda s, m: s, weigh=lambda s, m: soft(s) * m),),
        "comes after softmax",
    ),
    (ATTEND, (attention(hide=lambda s, m: s * m, empty=False),), "exp(0) is 1"),
    (ATTEND, (attention(hide=lambda s, m: np.where(m, -np.inf, s)),), "are swapped"),
    (
        ATTEND,
        (attention(hide=lambda s, m: np.where(m, -np.inf, s), weigh=plain, empty=False),),
        "are swapped",
    ),
    (ATTEND, (attention(scale=lambda D: 1, weigh=plain, empty=False),), "not divided by sqrt"),
    (ATTEND, (root_of_t(),), "divide by √T"),
    (ATTEND, (root_of_t(weigh=plain, empty=False),), "divide by √T"),
    (
        ATTEND,
        (attention(hide=lambda s, m: s + (1 - m) * -np.inf, weigh=plain, empty=False),),
        "0 times -inf",
    ),
    (ATTEND, (added(1e4),), "is not low enough"),
    (ATTEND, (attend_added_times_any,), "is not low enough"),
    *(
        (
            ATTEND,
            (attention(hide=lambda s, m, n=n: np.where(m, s, n), weigh=plain, empty=empty),),
            "is not low enough",
        )
        for n in (-1e4, -100.0)
        for empty in (False, True)
    ),
    (ATTEND, (attention(scale=lambda D: D**0.5),), "multiplied by sqrt(head_dim)"),
    (ATTEND, (attention(scale=lambda D: 128**-0.5),), "always divided by √128"),
    (
        ATTEND,
        (lambda q, k, v, m: attention(scale=lambda D: len(k) ** -0.5)(q, k, v, m),),
        "divide by √S",
    ),
    (ATTEND, (lambda q, k, v, m: attention()(q, k, k, m),), "is of keys"),
    (
        ATTEND,
        (attention(hide=lambda s, m: np.where(m, s, 0), weigh=lambda s, m: s),),
        "softmax is missing",
    ),
    (
        ATTEND,
        (attention(weigh=lambda s, m: np.exp(s - s.max(-1, keepdims=True))),),
        "divide by their sum",
    ),
    (ATTEND, (mask_then_divide,), "before you divide"),
    (ATTEND, (lambda *given: mask_then_divide(*given, guard=False),), "before you divide"),
    (ATTEND, (attention(scale=lambda D: 1),), "not divided by sqrt"),
    (ATTEND, (attention(scale=lambda D: 1 / D),), "not by its square root"),
    (ATTEND, (lambda q, k, v, m: attention()(q, k, v, m).T,), "the shape must be"),
    (ATTEND, (lambda q, k, v: v,), "TypeError"),
    (TEN, (0, 1 / 3, attention()), "no weight at all"),
    (TEN, (-10_000, 1 / 3, attention()), "-20,000"),
    (TEN, (20_000, 1 / 3, attention()), "takes all the weight"),
    (TEN, (9_999, 1 / 3, attention()), "too small"),
    (TEN, (10_000, 0, attention()), "alone is not 0"),
    (TEN, (10_000, 1, attention()), "alone is not 1"),
    (TEN, (10_000, 0.5, attention()), "not 1/2"),
    (TEN, (10_000, 0.33, attention()), "one of three"),
    (TEN, (10_000, 0.3333, attention()), "as a fraction"),
    (TEN, (10_000, "1/3", attention()), "must be a number"),
    (TEN, (10_000, np.nan, attention()), "not nan"),
    (
        TEN,
        (10_000, 1 / 3, attention(hide=lambda s, m: np.where(m, s, -1e4), weigh=plain)),
        "is not low enough",
    ),
    (TEN, (10_000, 1 / 3, added(1e4)), "is not low enough"),
    (TEN, (10_000, 1 / 3, attend_added_times_any), "is not low enough"),
    (TEN, (10_000, 1 / 3, added(1e9)), "right except for a query that sees nothing"),
    (TEN, (10_000, 1 / 3, mask_then_divide), "before you divide"),
    (TEN, (10_000, 1 / 3, attention(weigh=lambda s, m: soft(s), empty=False)), "0 / 0"),
    (TEN, (10_000, None, attention()), "alone is not written yet"),
    (LAYER, (lambda c: layer(c, heads=c.n_heads),), "wk and wv have n_kv_heads heads"),
    (LAYER, (lambda c: layer(c, norms=0),), "two norms, dim values"),
    (LAYER, (lambda c: layer(c, norms=1),), "There are two norms"),
    (LAYER, (lambda c: layer(c, ffn=2),), "three matrices"),
    (LAYER, (lambda c: layer(c, q=1),), "wq or wo"),
    (LAYER, (lambda c: layer(c, kv=1),), "you count one"),
    (LAYER, (lambda c: layer(c, kv=0),), "wk and wv are missing"),
    (LAYER, (lambda c: layer(c) * c.n_layers,), "all layers"),
    (LAYER, (lambda c: c.n_params,), "the whole model"),
    (LAYER, (lambda c: c.n_params // c.n_layers,), "belong to no layer"),
    (LAYER, (lambda c: layer(c) + 0.5,), "whole number"),
    (LAYER, (lambda c: str(layer(c)),), "of type str"),
    (LAYER, (lambda c: 218_112_000,), "Mistral 7B only"),
    (LAYER, (lambda c: c.n_head,), "AttributeError"),
    (LAYER, (218_112_000,), "pass the function itself"),
    (CACHE, (lambda c, t, b: cache(c, t, b, heads=c.n_heads),), "n_kv_heads heads are kept"),
    (CACHE, (lambda c, t, b: 2 * c.n_layers * c.n_kv_heads * c.head_dim * t * b,), "window_size"),
    (CACHE, (lambda c, t, b: 2 * c.n_layers * c.n_heads * c.head_dim * t * b,), "n_kv_heads heads"),
    (CACHE, (lambda c, t, b: cache(c, t, b, k_and_v=1),), "Both K and V"),
    (CACHE, (lambda c, t, b: cache(c, t, b, layers=1),), "Every layer"),
    (CACHE, (lambda c, t, b: cache(c, t, b, head_dim=1),), "head_dim values"),
    (CACHE, (lambda c, t, b: cache(c, t, b, heads=1, head_dim=c.dim),), "That uses dim"),
    (CACHE, (lambda c, t, b: cache(c, t, b) / 2**30,), "in bytes, must be a whole number"),
    (CACHE, (lambda c, t, b: cache(c, t, b) + 1,), "too large"),
    (BUDGET, (32, 16), "share one key/value head"),
    (BUDGET, (8, 16), "That is n_kv_heads"),
    (BUDGET, (1, 16), "How many does the model keep"),
    (BUDGET, (2, 16), "K and V are both needed"),
    (BUDGET, (5, 16), "too large"),
    (BUDGET, (4, 4), "other factor"),
    (BUDGET, (4, 64), "both factors"),
    (BUDGET, (4, 4096), "the window itself"),
    (BUDGET, (4, 1), "lets the cache grow"),
    (BUDGET, (4, 2), "8,192 tokens"),
    (BUDGET, ("4", 16), "of type str"),
    (BUDGET, (0.25, 16), "how much is left"),
    (BUDGET, (4, 8), "right at 32,768"),
    (BUDGET, (4, 0), "would have 1"),
    (MASK, (lambda q, k, W: rule(q, k, W + 1),), "W + 1 keys"),
    (MASK, (lambda q, k, W: rule(q, k, W - 1),), "W - 1 keys"),
    (MASK, (lambda q, k, W: (distance(q, k) > 0) & (distance(q, k) < W),), "sees itself"),
    (MASK, (lambda q, k, W: (distance(q, k) > 0) & (distance(q, k) <= W),), "before it"),
    (MASK, (lambda q, k, W: rule(k, q, W).T,), "flipped"),
    (MASK, (lambda q, k, W: rule(k, q, W),), "transposed"),
    (MASK, (lambda q, k, W: rule(q, k, W).T,), "transposed"),
    (MASK, (lambda q, k, W: abs(distance(q, k)) < W,), "W - 1 keys ahead"),
    (MASK, (lambda q, k, W: distance(q, k) < W,), "every key ahead"),
    (MASK, (lambda q, k, W: distance(q, k) >= 0,), "too old"),
    (MASK, (lambda q, k, W: ~rule(q, k, W),), "swapped"),
    (MASK, (lambda q, k, W: rule(np.arange(len(q)), np.arange(len(k)), W),), "rows and columns"),
    (MASK, (lambda q, k, W: rule(q, k, W).astype(int),), "bool"),
    (MASK, (lambda q, k, W: rule(q, k, W) * 1.0,), "bool"),
    (MASK, (lambda q, k, W: np.where(rule(q, k, W), 0.0, -np.inf),), "bool"),
    (MASK, (lambda q, k, W: rule(q, k, W)[0],), "shape"),
    (MASK, (lambda q, k, W: rule(q, k, W)[None],), "shape"),
    (MASK, (lambda q, k, W: rule(q, k, W).tolist(),), "of type list"),
    (MASK, (lambda q, k, W: True,), "of type bool"),
    (MASK, (lambda q, k, W: None,), "return"),
    (MASK, (lambda q, k, W: rule(q, k, 3),), "the distance is"),
    (MASK, (lambda q, k, W: (distance(q, k) >= 0) | (distance(q, k) < W),), "& needs both"),
    (MASK, (lambda q, k, W: q - k < W,), "can be subtracted"),
    (MASK, (by_position,), "Positions are no indices"),
    (MASK, (lambda q, k, W: np.zeros((len(q), len(k)), bool),), "every key is hidden"),
    (MASK, (in_place,), "changes its input"),
    (MASK, (lambda q, k: rule(q, k, 3),), "TypeError"),
    (MASK, (rule(np.arange(3), np.arange(3), 2),), "pass the function itself"),
    (SUSPECT, (4096, 4096, None), "both masks show it"),
    (SUSPECT, (4095, 4096, None), "plain causal"),
    (SUSPECT, (4098, 4096, None), "already one row"),
    (SUSPECT, (8192, 4096, None), "long before"),
    (SUSPECT, (1, 4096, None), "short prompts"),
    (SUSPECT, (4097, 4095, None), "rightly visible"),
    (SUSPECT, (4097, 4097, None), "how far back"),
    (SUSPECT, (4097, 0, None), "own"),
    (SUSPECT, (4097, -4096, None), "positive"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), -W)), "W + 1 keys"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), 2 - W)), "W - 1 keys"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(np.ones((T, T), bool), 1 - W)), "every key ahead"),
    (SUSPECT, (4097, 4096, lambda T, W: causal(T)), "too old"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), W - 1)), "The sign"),
    (SUSPECT, (4097, 4096, None), "fixed_mask is not written yet"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(np.tril(np.ones((T, T))), 1 - W)), "bool"),
    (PAIRS, (lambda T, W: T * W,), "first rows see fewer"),
    (PAIRS, (lambda T, W: T * T,), "every pair"),
    (PAIRS, (lambda T, W: T * (T + 1) // 2,), "full causal"),
    (PAIRS, (lambda T, W: visible_pairs(T, W + 1),), "W + 1"),
    (PAIRS, (lambda T, W: sum(min(i + 1, W - 1) for i in range(T)),), "W - 1"),
    (PAIRS, (lambda T, W: visible_pairs(T, W) - T,), "diagonal"),
    (PAIRS, (lambda T, W: (T - W) * W,), "only the full rows"),
    (PAIRS, (lambda T, W: T * W - W * (W + 1) // 2,), "less than W x W"),
    (PAIRS, (lambda T, W: T * W - W * (W - 1) // 2,), "only T rows"),
    (PAIRS, (lambda T, W: T * min(T, W),), "The first rows see fewer keys"),
    (PAIRS, (lambda T, W: min(T, W) * (min(T, W) + 1) // 2,), "That is the triangle"),
    (PAIRS, (lambda T, W: visible_pairs(T, W) + W,), "T - W rows follow it"),
    (PAIRS, (lambda T, W: visible_pairs(T, W) - W,), "other T - W rows sees W"),
    (PAIRS, (lambda T, W: min(T, W) ** 2 // 2 + max(0, T - W) * W,), "n(n + 1)/2"),
    (PAIRS, (lambda T, W: W * (W + 1) // 2 + max(0, T - W) * W,), "smaller triangle"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), -W - 1)), "W + 2 keys"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), -4095)), "the argument W"),
    (PAIRS, (lambda T, W: visible_pairs(T, W) / 3,), "whole number"),
    (PAIRS, (mask_count,), "Visible pairs: that builds an array of T x T"),
    (BLOCK, (lambda a, b, W: (max(0, a - W), b),), "one too many"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 2), b),), "is missing"),
    (BLOCK, (lambda a, b, W: (a - W + 1, b),), "no key before 0"),
    (BLOCK, (lambda a, b, W: (0, b),), "not needed"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), b - 1),), "last query's own key"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), b + 1),), "lie ahead"),
    (BLOCK, (lambda a, b, W: (a, b),), "is missing"),
    (BLOCK, (lambda a, b, W: max(0, a - W + 1),), "two numbers"),
    (BLOCK, (lambda a, b, W: (b, max(0, a - W + 1)),), "swapped"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), None),), "not written yet"),
    (BUDGET, (4, None), "window_factor is not written yet"),
    (SUSPECT, (4097, None, None), "distance is not written yet"),
    (SUSPECT, (4, 4096, None), "for a small W"),
    (SUSPECT, (4097, 3, None), "for a small W"),
    (LAYER, (lambda c: layer(c) * 2,), "not bytes"),
    (LAYER, (lambda c: layer(c) - 2 * c.dim * (c.n_heads * c.head_dim - c.dim),), "need not"),
    (LAYER, (lambda c: exit(),), "SystemExit"),
    (LAYER, (layer_by_shapes,), "more than the config's nine numbers"),
    (
        LAYER,
        (lambda c: (c.n_params - (2 * c.vocab_size + 1) * c.dim) // c.n_layers,),
        "more than the config's nine numbers",
    ),
    (
        LAYER,
        (lambda c: 4 * c.dim**2 + 3 * c.dim * c.hidden_dim + 2 * c.dim,),
        "n_kv_heads * head_dim rows",
    ),
    (LAYER, (lambda c: layer(c, heads=1),), "not one"),
    (LAYER, (lambda c: layer(c, heads=c.n_groups),), "how many query heads share one"),
    (LAYER, (lambda c: layer(c, norms=2 * c.dim),), "not dim x dim"),
    (LAYER, (lambda c: layer(c, norms=0) + 2,), "dim values, not one"),
    (LAYER, (lambda c: layer(c) + c.vocab_size * c.dim,), "embedding belongs to no layer"),
    (CACHE, (lambda c, t, b: cache(c, t, b, heads=1),), "n_kv_heads heads"),
    (CACHE, (lambda c, t, b: cache(c, t, 1),), "counts values"),
    (CACHE, (lambda c, t, b: cache(c, t, 2),), "not always 2"),
    (CACHE, (lambda c, t, b: cache(c, t, b * b),), "twice"),
    (CACHE, (lambda c, t, b: cache(c, 10**9, b),), "fewer tokens"),
    (
        CACHE,
        (lambda c, t, b: 2 * c.n_layers * c.n_kv_heads * c.head_dim * min(t, c.context_len) * b,),
        "context_len is the length of a text",
    ),
    (CACHE, (lambda c, t, b: min(t, c.window_size) * 65_536 * b,), "Mistral 7B only"),
    (CACHE, (lambda c, t, b: min(t, 4096) * 65_536 * b,), "Mistral 7B only"),
    (
        CACHE,
        (lambda c, t, b: 2 * c.n_layers * c.n_kv_heads * c.head_dim * min(t, 4096) * b,),
        "Mistral 7B only",
    ),
    (CACHE, (lambda c, t, b: cache(c, t, b, heads=c.n_groups),), "how many query heads share one"),
    (CACHE, (lambda c, t, b: cache(c, t % c.window_size, b),), "starts again at 0"),
    *(
        (
            CACHE,
            (lambda c, t, b, n=n: min(t, c.window_size + n) * cache(c, 1, b),),
            "no more, and no fewer",
        )
        for n in (-1, 1)
    ),
    (CACHE, (lambda c, t, b: min(t, c.window_size) * 131_072,), "Mistral 7B only"),
    (BUDGET, (64, 16), "Give the heads' alone"),
    (BUDGET, (24, 16), "a difference"),
    (BUDGET, (4, 61_440), "a difference"),
    (BUDGET, (16, 4), "the window's factor"),
    (MASK, (lambda q, k, W: 0 <= distance(q, k) < W,), "Join two comparisons with &"),
    (MASK, (lambda q, k, W: rule(q, k[0] + np.arange(len(k)), W),), "so the rule"),  # rolled keys
    (BUDGET, (True, 16), "heads_factor must be a whole number, not a value of type bool"),
    (BUDGET, (1.0, 16), "How many does the model keep"),
    (PAIRS, (lambda T, W: sum(min(i, W) for i in range(T)),), "i + 1 keys"),
]
FIRST = {
    SUSPECT: (4097, 4096), TEN: (10_000, 1 / 3), SLOT: (4, -3), TILED: (5, [1, 32]),
}  # fmt: skip
N_ANSWERS = {BUDGET: 2, SUSPECT: 3, TEN: 3, SLOT: 3, TILED: 3}
CHECKS = [
    SOFTMAX, ATTEND, TEN, TURN, TO_PAIRS, SLOT, HEAD, GROUPED, TILED, LAYER, CACHE, BUDGET, MASK,
    SUSPECT, PAIRS, BLOCK, *more.CHECKS,
]  # fmt: skip
FILES = sorted(Path(__file__).parent.glob("answers_[0-9]*.py"))
LATER = [importlib.import_module(path.stem) for path in FILES]
FURTHER = [row for answers in LATER for row in answers.WRONG]
UNEXPLAINED = [row for row in FURTHER if not row[2]]  # without hint: only a number is told
CHECKS += [check for answers in LATER for check in answers.CHECKS]  # those of a new exercise
RIGHT += more.RIGHT + [row for answers in LATER for row in answers.RIGHT]
WRONG += more.WRONG + [row for row in FURTHER if row[2]]
FIRST |= more.FIRST  # right answers before the function
for answers in LATER:
    FIRST |= answers.FIRST
    N_ANSWERS |= answers.N_ANSWERS
N_ANSWERS |= more.N_ANSWERS  # where it is not one
NO_FUNCTION = {BUDGET, more.RING}  # only values are handed in
for answers in LATER:
    NO_FUNCTION |= getattr(answers, "NO_FUNCTION", set())


def name_of(check):
    """lesson_04.mask"""
    return f"{check.__module__.rpartition('.')[2]}.{check.__name__}"


def by_check(rows):
    """The rows of each check as one parameter that is named after it: thousands would take long."""
    found = {}
    for check, *row in rows:
        found.setdefault(check, []).append(row)
    return [pytest.param(check, rows, id=name_of(check)) for check, rows in found.items()]


@pytest.mark.parametrize(("check", "rows"), by_check(RIGHT))
def test_a_right_answer_is_accepted(check, rows):
    for n, (answers,) in enumerate(rows):
        line = said(check, *answers)
        assert line.startswith("✓"), f"{n}: {line}"


@pytest.mark.parametrize(("check", "rows"), by_check(WRONG))
def test_a_wrong_answer_gets_its_hint(check, rows):
    for n, (answers, hint) in enumerate(rows):
        line = said(check, *answers)
        assert not line.startswith("✓") and hint in line, f"{n}: {line}\nnot: {hint}"
        if n < times(1, len(rows)):
            assert line == said(check, *answers), f"{n}: the line must not change"


@pytest.mark.parametrize(("check", "rows"), by_check(UNEXPLAINED))
def test_a_wrong_answer_that_no_hint_explains_is_still_refused(check, rows):
    for n, (answers, _) in enumerate(rows):
        line = said(check, *answers)
        assert line.startswith("✗"), f"{n}: {line}"


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_at_least_five_wrong_answers_of_each_check_are_tried(check):
    assert sum(row[0] is check and "not written" not in row[2] for row in WRONG) >= 5


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_an_open_exercise_says_so(check):
    assert said(check, *[None] * N_ANSWERS.get(check, 1)).startswith("☐")
    if check not in NO_FUNCTION:
        answers = (*FIRST.get(check, ()), not_yet)
        assert said(check, *answers).startswith("☐")


@pytest.mark.parametrize("check", CHECKS, ids=name_of)
def test_a_check_never_raises(check):
    for n, make in enumerate(ODD):
        assert said(check, *[make()] * N_ANSWERS.get(check, 1))[0] == "✗", n
        if check not in NO_FUNCTION:
            answers = FIRST.get(check, ())
            assert said(check, *answers, lambda *_, make=make: make())[0] == "✗", n


# One right answer of each check: of a function, a check sees only what it returns.
CALLED = {check: answers for check, answers in reversed(RIGHT) if callable(answers[-1])}


@pytest.mark.parametrize("check", CALLED, ids=name_of)
def test_an_answer_that_ends_the_program_is_told(check):
    """Whichever call does it, a large one too."""
    *before, right = CALLED[check]
    for n_calls in range(6):
        calls = itertools.count()

        def leaves(*arguments, calls=calls, n_calls=n_calls):
            return sys.exit() if next(calls) >= n_calls else right(*arguments)

        line = said(check, *before, leaves)
        called = next(calls)
        assert called <= n_calls or (line[0] == "✗" and "cannot be read" not in line), line


def test_what_ends_the_program_while_an_answer_is_read_is_told():
    assert "SystemExit" in said(report.exercise("It")(lambda answer: sys.exit()), 1)


def test_too_few_answers_do_not_raise():
    assert said(lesson_04.mask)[0] == "✗"


def test_what_the_learner_raises_is_told():
    def division(q, k, W):
        return 1 / 0

    assert "ZeroDivisionError: division by zero" in said(MASK, division)


def test_the_hint_of_a_count_that_is_off_by_nothing_known():
    with pytest.raises(report.Wrong, match="too small"):
        report.diagnose_number("It", 3, 4, [])


@pytest.mark.parametrize(
    ("wrong", "told"),
    [(2.0, "is 2.000, but the rule gives 1.000."), (1.0003, "1.000300, but the rule gives 1.0000")],
)
def test_numbers_are_told_with_as_many_digits_as_show_the_difference(wrong, told):
    case = (np.ones(2),)
    with pytest.raises(report.Wrong, match=re.escape(told)):
        report.diagnose_arrays([(case, np.array([1.0, wrong]))], lambda x: x, [])


def test_the_right_layer_is_the_paper_s():
    assert layer(ModelConfig.mistral_7b()) == 218_112_000


def test_the_numbers_of_the_buffer_that_shifts_too_early():
    after = more.held_too_early(8, 4)
    misses = [t for t, held in enumerate(after) if set(range(max(0, t - 3), t + 1)) - set(held)]
    assert misses[0] == 3 and misses[-1] == 5 and after[6] == [3, 4, 5, 6]
