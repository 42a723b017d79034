"""Checks of lesson 03: which head, grouped attention without copies, tile for repeat."""

import tracemalloc
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
    NotWritten,
    array,
    call,
    diagnose_arrays,
    diagnose_number,
    diagnose_numbers,
    exercise,
    expect,
    whole_number,
)
from minimistral.np import attend as np_attend
from minimistral.np import window_mask

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]
_STACKING = {  # what NumPy says when a reshape is missing or has other sizes
    "cannot reshape": "Take H, T, D, G and S from the shapes of q and k, inside your function.",
    "matmul: Input operand 1": "For the scores swap the last two axes of k: (G, S, D) to"
    " (G, D, S). v stays as it is.",
    "remapped shapes": "Stack the weights again: (H, T, S) to (G, g * T, S).",
    "could not be broadcast together with shapes": "Unstack the scores before the mask: (H, T, S).",
}


@exercise("Which head")
def kv_head(answer: Any) -> str:
    """answer(h, n_heads, n_kv_heads) -> the KV head that query head h reads."""
    sizes = [(32, 8), (6, 2), (4, 4), (4, 1), (12, 3)]
    cases = [(h, n_heads, n_kv_heads) for n_heads, n_kv_heads in sizes for h in range(n_heads)]
    diagnose_numbers(
        "The head",
        answer,
        _head,
        cases,
        [
            (lambda h, H, G: h % G, "That deals the heads out like cards. Neighbours share one."),
            (lambda h, H, G: h // G, "Divide by the heads that share one, n_heads // n_kv_heads."),
            (lambda h, H, G: h // 4, "4 is Mistral 7B's group. Compute it: n_heads // n_kv_heads."),
            (lambda h, H, G: h // 8, "8 is how many KV heads Mistral 7B has, not how many share."),
            (lambda h, H, G: h // (H // G) + 1, "Count from 0: query head 0 reads KV head 0."),
            (lambda h, H, G: -(-h // (H // G)), "Divide without remainder: // rounds down."),
            (lambda h, H, G: h % (H // G), "That is the index within the group, not the group."),
            (lambda h, H, G: h, "There are only n_kv_heads of them."),
            (lambda h, H, G: 0, "That is right for one KV head only."),
        ],
        lambda h, H, G: f"h = {h}, n_heads = {H}, n_kv_heads = {G}",
    )
    return f"right for every head of {len(sizes)} models."


@exercise("Grouped attention")
def grouped(answer: Any) -> str:
    """answer(q (H, T, D), k (G, S, D), v (G, S, D), mask (T, S)) -> (H, T, D), without copies."""
    rng = np.random.default_rng(1)

    def case(H: int, G: int, T: int, S: int, D: int) -> tuple:
        mask = window_mask(np.arange(S - T, S), np.arange(S), 4)
        return (rng.standard_normal((H, T, D)), *rng.standard_normal((2, G, S, D)), mask)

    cases = [case(6, 2, 3, 7, 4), case(4, 4, 5, 5, 2), case(8, 1, 2, 6, 3), case(12, 3, 4, 4, 8)]
    results = [(c, array(call(answer, *c, hints=_STACKING), c[0].shape)) for c in cases]
    diagnose_arrays(results, _grouped, _grouped_mistakes())
    large = (*(np.ones((n, m, 64), np.float32) for n, m in ((32, 1), (1, 4096), (1, 4096))),
             np.ones((1, 4096), bool))  # fmt: skip
    expect(
        _peak(answer, large) < 8 * large[1].nbytes,
        "right, but it copies keys or values. Stack the queries of a group instead.",
    )
    return f"agrees with the loop on all {len(cases)} cases, and copies no key."


@exercise("Tile for repeat")
def tiled(reads: Any, hidden_at: Any, fixed: Any) -> str:
    """What np.tile makes the heads read, where nobody notices, and the repaired function."""
    diagnose_number("reads", whole_number("reads", reads), 5, [
        (1, "That is what it should read. np.tile puts heads 0 to 7 first, then 0 to 7 again."),
        (0, "np.tile puts KV heads 0 to 7 first, one for each query head."),
        (4, "Count from 0: query head 5 is the sixth."),
        (6, "Count from 0: query head 5 is the sixth."),
    ])  # fmt: skip
    groups = _list(hidden_at)
    expect(1 in groups, "1 is missing in hidden_at: copies of one head are all alike.")
    expect(32 in groups, "32 is missing in hidden_at: with g = 1 nothing is copied.")
    wrong = sorted(groups - {1, 32})
    expect(not wrong, f"hidden_at must not hold {wrong[0] if wrong else ''}: some head differs.")
    rng = np.random.default_rng(2)
    cases = [(rng.standard_normal((G, 3, 2)), H) for H, G in ((4, 2), (6, 3), (12, 3), (4, 4))]
    returned = [call(fixed, *case, name="fixed") for case in cases]
    flat = any(getattr(result, "ndim", 0) == 1 for result in returned)
    expect(not flat, "np.repeat without axis makes one long row. The heads are axis 0.")
    results = [(c, array(r, (c[1], 3, 2))) for c, r in zip(cases, returned, strict=True)]
    diagnose_arrays(results, lambda k, H: k[[_head(h, H, len(k)) for h in range(H)]], [
        (lambda k, H: k[np.arange(H) % len(k)], "that is np.tile still: heads are dealt out."),
        (lambda k, H: k[[_head(h, H, len(k)) for h in range(H)]][::-1], "the heads are reversed."),
        (lambda k, H: k[np.zeros(H, int)], "every head gets KV head 0."),
    ])  # fmt: skip
    return "neighbours share a KV head again."


def _head(h: int, n_heads: int, n_kv_heads: int) -> int:
    """The head whose value comes back from attend when each KV head passes on its number."""
    q, k = np.zeros((1, n_heads, 1, 2)), np.zeros((1, n_kv_heads, 1, 2))
    v = k + np.arange(n_kv_heads)[:, None, None]
    return int(np_attend(q, k, v, np.ones((1, 1), bool))[0, h, 0, 0])


def _grouped(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np_attend(q[None], k[None], v[None], mask)[0]


def _peak(answer: Callable, arguments: tuple) -> int:
    """The most bytes that it holds at a time, the arguments not counted."""
    tracemalloc.start()
    try:
        answer(*arguments)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def _list(hidden_at: Any) -> set[int]:
    if hidden_at is None:
        raise NotWritten("hidden_at is not written yet.")
    is_list = isinstance(hidden_at, list | tuple | set | np.ndarray)
    expect(is_list, f"hidden_at must be a list, not a value of type {type(hidden_at).__name__}.")
    return {whole_number("Each of hidden_at", value) for value in hidden_at}


def _grouped_mistakes() -> Mistakes:
    def order(index: Callable[[int, int], np.ndarray]) -> Callable[..., np.ndarray]:
        """Query head h reads KV head index(H, G)[h]."""

        def mistaken(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
            heads = index(len(q), len(k))
            return _grouped(q, k[heads], v[heads], mask)

        return mistaken

    def dealt(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        """Stacked as (g, G) in place of (G, g), and unstacked as (G, g)."""
        H, G = len(q), len(k)
        return _grouped(q[np.arange(H).reshape(H // G, G).T.ravel()], k, v, mask)

    def mask_of_rows(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        """The mask repeated row by row over the stacked queries, in place of head by head."""
        (H, T, D), G = q.shape, len(k)
        stacked = q.reshape(G, 1, -1, D)
        rows = np.repeat(mask, H // G, axis=0)
        parts = [_grouped(stacked[n], k[n : n + 1], v[n : n + 1], rows) for n in range(G)]
        return np.concatenate(parts).reshape(H, T, D)

    def only_values(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        H, G = len(q), len(k)
        return _grouped(q, k[np.arange(H) // (H // G)], v[np.arange(H) % G], mask)

    def scaled(by: Callable[..., float]) -> Callable[..., np.ndarray]:
        """The scores divided by by(H, T, D) in place of √D."""
        return lambda q, k, v, mask: _grouped(q * np.sqrt(q.shape[2]) / by(*q.shape), k, v, mask)

    def softmaxed(score: Callable, weigh: Callable, keys: Callable) -> Callable[..., np.ndarray]:
        """Each query head by itself, with other scores, weights or keys."""

        def mistaken(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
            heads = np.arange(len(q)) * len(k) // len(q)
            exps = np.exp(score(q @ keys(k)[heads] / np.sqrt(q.shape[2]), mask))
            return weigh(exps / exps.sum(axis=2, keepdims=True), mask) @ v[heads]

        return mistaken

    def plain(numbers: Any, mask: Any) -> Any:
        return numbers

    def swapped(k: Any) -> Any:
        return k.swapaxes(1, 2)

    def reshaped(k: Any) -> Any:
        return k.reshape(len(k), k.shape[2], k.shape[1])

    def hidden(scores: Any, mask: Any) -> Any:
        return np.where(mask, scores, -np.inf)

    def times(numbers: Any, mask: Any) -> Any:
        return numbers * mask

    def by_token(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        """Stacked with the tokens before the heads, and unstacked as if it were the other way."""
        return _grouped(q.swapaxes(0, 1).reshape(q.shape), k, v, mask)

    def everything(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        return _grouped(q, k, v, np.ones_like(mask))

    return [
        (order(lambda H, G: np.arange(H) % G),
         "query head h reads KV head h % G. It is h // g: neighbours share one."),
        (order(lambda H, G: np.zeros(H, int)), "all heads read KV head 0."),
        (order(lambda H, G: (np.arange(H) // (H // G))[::-1]), "the KV heads are reversed."),
        (dealt, "the queries are stacked as if every G-th shared a head; neighbours do."),
        (mask_of_rows, "the mask's rows do not fit: after stacking, each head's T rows follow one"
                       " another. Unstack the scores before the mask."),
        (only_values, "the scores are right, but the values come from the wrong heads."),
        (scaled(lambda H, T, D: 1), "the scores are not divided by sqrt(head_dim)."),
        (scaled(lambda H, T, D: 2), "the scores are divided by 2 for every head_dim: take it from"
         " q's shape."),
        (scaled(lambda H, T, D: D), "the scores are divided by head_dim, not by its square root."),
        (scaled(lambda H, T, D: T**0.5),
         "the scores are divided by sqrt(T). head_dim is the last axis: q.shape[2]."),
        (scaled(lambda H, T, D: H**0.5),
         "the scores are divided by sqrt(H). head_dim is the last axis: q.shape[2]."),
        (softmaxed(times, plain, swapped), "hidden keys have score 0, an ordinary score: exp(0) is"
         " 1. They need -inf before the softmax."),
        (softmaxed(plain, times, swapped), "the mask comes after the softmax: hidden keys still"
         " take their share of the sum. They need -inf before it."),
        (softmaxed(hidden, plain, reshaped), "the keys are cut in pieces: a reshape does not swap"
         " axes. k.swapaxes(1, 2) does."),
        (by_token, "heads and tokens are mixed. Reshape q as it lies, without swapping axes."),
        (everything, "the mask is not used."),
        (lambda q, k, v, mask: _grouped(q, k, k, mask), "it averages keys, not values."),
    ]  # fmt: skip
