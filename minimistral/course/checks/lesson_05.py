"""Checks of lesson 05: the reach, the boolean power, and a mask seen from outside."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
    bools,
    call,
    diagnose_arrays,
    diagnose_number,
    diagnose_numbers,
    exercise,
    whole_number,
)
from minimistral.evaluation.reach import reachable
from minimistral.np import window_mask

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]


@exercise("How far back")
def earliest(answer: Any) -> str:
    """answer(i, n_layers, W) -> the first position that token i depends on."""
    cases = [(11, 3, 4), (100, 1, 8), (40, 5, 1), (20, 0, 6), (5, 9, 4), (2000, 8, 64)]
    diagnose_numbers("The position", answer, _earliest, cases, _earliest_mistakes(), _described)
    return f"right on all {len(cases)} cases, also where the text begins."


@exercise("A boolean power")
def depends_on(answer: Any) -> str:
    """answer(mask bool (T, T), n_layers) -> bool (T, T)."""
    cases = [(_mask(T, W), K) for T, W, K in ((8, 3, 2), (9, 4, 1), (12, 3, 4), (5, 2, 0))]
    # Counts of paths that no integer holds; in the second all are 4 ** 39, which ends in 64 zeros.
    cases += [(_mask(40, 30), 40), (np.ones((4, 4), bool), 40)]
    more = "Ask whether they are > 0."
    results = [(case, bools(call(answer, *case), case[0].shape, more)) for case in cases]
    diagnose_arrays(results, _depends, _power_mistakes())
    return f"agrees with a walk along the mask on all {len(cases)} cases."


@exercise("A mask, seen from outside")
def library_mask(edge: Any, first_seen_at: Any, fixed: Any) -> str:
    """What a mask of W + 1 keys does to 3 layers with W = 4, and the right mask."""
    diagnose_number("edge", whole_number("edge", edge), 12, [
        (9, "That is the edge of the right mask. With this one a query sees W + 1 keys."),
        (13, "13 tokens count, but one is the token itself: the oldest lies 12 back."),
        (4, "That is one layer. There are three."),
        (15, "It sees 5 keys, but one of them is its own: a hop is 4 long."),
        (8, "That is two layers. There are three."),
        (11, "Each of the 3 hops is 4 long."),
        (10, "That is one past the edge of the right mask. With this one a query sees W + 1 keys."),
        (16, "It sees 5 keys, but one of them is its own: a hop is 4 long."),
        (5, "That is how many keys a query sees in one layer. How long is a hop, and how many?"),
        (3, "That is a hop of the right mask. With this one a query sees W + 1 keys."),
    ])  # fmt: skip
    diagnose_number("first_seen_at", whole_number("first_seen_at", first_seen_at), 5, [
        (4, "A text of 4 tokens has no key that is 4 back: all masks agree."),
        (6, "There is a shorter one. Which query first sees a key that lies W back?"),
        *((n, "A single wrong weight in the first layer is enough.") for n in range(7, 100)),
    ])  # fmt: skip
    rng = np.random.default_rng(5)
    cases = [(np.arange(8), np.arange(8), 3), (np.array([7, 9]), rng.permutation(12), 4),
             (np.arange(3), np.arange(5), 1)]  # fmt: skip
    results = [(case, bools(call(fixed, *case), (len(case[0]), len(case[1])))) for case in cases]
    diagnose_arrays(results, window_mask, _mask_mistakes())
    return "W keys for each query, so three layers reach 9 back again."


def _described(i: int, n_layers: int, W: int) -> str:
    return f"token {i:,}, {n_layers} layers and W = {W:,}"


def _mask(T: int, W: int) -> np.ndarray:
    return window_mask(np.arange(T), np.arange(T), W)


def _depends(mask: np.ndarray, n_layers: int) -> np.ndarray:
    return reachable(mask, n_layers)[-1]


def _earliest(i: int, n_layers: int, W: int) -> int:
    return max(0, i - n_layers * (W - 1))


def _earliest_mistakes() -> Iterable[tuple[Callable[..., int], str]]:
    """Ways to miscount how far back; each is also tried without the start of the text."""
    multiplied = "each layer adds the same W - 1 positions; it does not multiply them."
    hops = "there are as many hops as layers."
    far_back = "that is how far back; the exercise asks for the position."
    wrong_reaches: list[tuple[Callable[[int, int], int], str]] = [
        (lambda K, W: K * W, "a hop is W - 1 long: of the W keys one is its own."),
        (lambda K, W: K * (W - 1) - 1, "that is one too late: i - K(W - 1) itself is reached."),
        (lambda K, W: K * (W - 1) + 1,
         "that is one too early: K(W - 1) + 1 tokens count, but the token itself is one of them."),
        (lambda K, W: K * W - 1,
         "a hop is W - 1 long, every time: one of the W keys is the token's own."),
        (lambda K, W: W - 1, "that is one layer; there is a hop for each."),
        (lambda K, W: W, "that is one layer; there is a hop for each, W - 1 long."),
        (lambda K, W: K + W - 2, "the hops are multiplied, not added."),
        (lambda K, W: K + W - 1, "the hops are multiplied, not added."),
        (lambda K, W: K + W, "the hops are multiplied, not added."),
        (lambda K, W: (W - 1) ** K, multiplied),
        (lambda K, W: W**K, multiplied),
        (lambda K, W: (K + 1) * (W - 1), hops),
        (lambda K, W: (K - 1) * (W - 1), hops),
        (lambda K, W: K * (W + 1), "a hop is W - 1 long, not W + 1."),
        (lambda K, W: (K - 1) * W, f"a hop is W - 1 long, and {hops}"),
    ]  # fmt: skip
    mistakes: list[tuple[Callable[..., int], str]] = [
        (lambda i, K, W: K * W, f"{far_back} And a hop is W - 1 long."),
        (lambda i, K, W: K * (W - 1) + 1,
         "that is how many tokens count; the exercise asks for the position."),
        (lambda i, K, W: i - K * (W - 1), "no token lies before position 0."),
        (lambda i, K, W: abs(i - K * (W - 1)), "no token lies before position 0; abs mirrors it."),
        (lambda i, K, W: max(1, i - K * (W - 1)), "positions begin at 0, not at 1."),
        (lambda i, K, W: min(i, K * (W - 1)), far_back),
        (lambda i, K, W: K * (W - 1), far_back),
        (lambda i, K, W: min(i, i - K * (W - 1)), "no token lies before position 0: take max."),
        (lambda i, K, W: i + K * (W - 1), "that is ahead. Every hop leads back."),
    ]  # fmt: skip
    for reach, hint in wrong_reaches:
        mistakes.append((lambda i, K, W, reach=reach: max(0, i - reach(K, W)), hint))
        mistakes.append((lambda i, K, W, reach=reach: i - reach(K, W),
                         f"{hint} And no token lies before position 0."))  # fmt: skip
    return [(mistaken, hint[0].upper() + hint[1:]) for mistaken, hint in mistakes]


def _power_mistakes() -> Mistakes:
    too_large = "the counts grew too large for an integer. Make them bool after each product."
    squared = "squaring doubles the hops each time. Multiply the result so far by the mask."
    by_entry = "`|`, `&`, `*` and `**` work entry by entry; the product of matrices is `@`."
    return [
        (lambda mask, K: mask, "the number of layers changes nothing; multiply once for each."),
        (lambda mask, K: _depends(mask, K + 1), "that is one layer too many."),
        (lambda mask, K: _depends(mask, max(0, K - 1)), "that is one layer too few."),
        (lambda mask, K: _depends(mask, max(1, K)),
         "with no layer a token depends on itself alone: begin with the identity matrix."),
        (lambda mask, K: _depends(mask, K).T, "rows and columns are swapped."),
        (lambda mask, K: np.linalg.matrix_power(mask.astype(np.int64), K) > 0, too_large),
        (lambda mask, K: np.linalg.matrix_power(mask.astype(np.int64), K) != 0, too_large),
        (lambda mask, K: _depends(mask, K) & ~np.eye(len(mask), dtype=bool),
         "a token depends on itself too."),
        (lambda mask, K: np.tril(np.ones(mask.shape, bool)),
         "only the future is hidden; the window hides old tokens too."),
        (lambda mask, K: mask if K else np.eye(len(mask), dtype=bool), by_entry),
        (lambda mask, K: mask if K else np.ones(mask.shape, bool), by_entry),
        (lambda mask, K: np.eye(len(mask), dtype=bool),
         f"each still depends on itself alone. {by_entry}"),
        (lambda mask, K: np.ones(mask.shape, bool), "every token depends on every other here."),
        (lambda mask, K: np.zeros(mask.shape, bool),
         "an empty start reaches nothing: begin with the identity matrix."),
        (lambda mask, K: _depends(mask, 2 if K else 0),
         "mask @ mask is two hops each time. Multiply the result so far by the mask."),
        (lambda mask, K: _depends(mask, 2 ** min(K, 6)), squared),
        (lambda mask, K: _depends(mask, 2 ** min(max(0, K - 1), 6)), squared),
    ]  # fmt: skip


def _mask_mistakes() -> Mistakes:
    def gap(q: np.ndarray, k: np.ndarray) -> np.ndarray:
        return q[:, None] - k[None, :]

    return [
        (lambda q, k, W: (gap(q, k) >= 0) & (gap(q, k) <= W), "a query still sees W + 1 keys."),
        (lambda q, k, W: (gap(q, k) >= 0) & (gap(q, k) < W - 1), "now it sees only W - 1 keys."),
        (lambda q, k, W: (gap(q, k) > 0) & (gap(q, k) < W), "a query sees itself, too: >=, not >."),
        (lambda q, k, W: (gap(q, k) >= 0) | (gap(q, k) < W),
         "| needs only one of the two; & needs both."),
        (lambda q, k, W: window_mask(q, k, 4), "W is an argument; 4 was an example."),
        (lambda q, k, W: (gap(q, k) > 0) & (gap(q, k) <= W),
         "W keys, but not its own. A query sees itself."),
        (lambda q, k, W: gap(q, k) < W, "it looks ahead: keep 0 <= i - j."),
        (lambda q, k, W: abs(gap(q, k)) < W, "it looks ahead too: keep 0 <= i - j."),
        (lambda q, k, W: gap(q, k) >= 0, "that is causal, without a window."),
        (lambda q, k, W: (-gap(q, k) >= 0) & (-gap(q, k) < W), "i and j are swapped."),
        (lambda q, k, W: window_mask(np.arange(len(q)), np.arange(len(k)), W),
         "it counts rows and columns. Use the positions in q_pos and k_pos."),
    ]  # fmt: skip
