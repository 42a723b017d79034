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
    expect,
    measured,
    whole_number,
)
from minimistral.evaluation.reach import reachable
from minimistral.np import window_mask

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]


def _is_window_mask(answer: Any) -> bool:
    return answer is window_mask


def _earliest(i: int, n_layers: int, W: int) -> int:
    return max(0, i - n_layers * (W - 1))


def _depends(mask: np.ndarray, n_layers: int) -> np.ndarray:
    return reachable(mask, n_layers)[-1]


@exercise("How far back", course=_earliest, hints=(
    "Of the W keys that a token sees, one is its own. So how far back does one hop lead?",
    "Each layer adds a hop of the same length, so the hops multiply with the layers. Subtract "
    "their total from `i`, because the exercise asks for a position.",
    "No token lies before position 0, so return the larger of 0 and "
    "`i - n_layers * (W - 1)`.",
))  # fmt: skip
def earliest(answer: Any) -> str:
    """answer(i, n_layers, W) -> the first position that token i depends on."""
    cases = [(11, 3, 4), (100, 1, 8), (40, 5, 1), (20, 0, 6), (5, 9, 4), (10, 4, 4),
             (2000, 2, 64)]  # fmt: skip
    diagnose_numbers("The position", answer, _earliest, cases, _earliest_mistakes(), _described)
    return f"right on all {len(cases)} cases, also where the text begins."


@exercise("A boolean power", course=_depends, hints=(
    "Without a layer, each token depends on itself alone. So begin with the identity matrix, "
    "`np.eye(len(mask), dtype=bool)`.",
    "Each layer multiplies the result so far by the mask, as matrices. After each product, keep "
    "only whether an entry is above 0.",
    "`@` on two bool arrays gives bool again (an *or* of *and*s), so a loop over the layers with "
    "the single line `depends = depends @ mask` is enough.",
))  # fmt: skip
def depends_on(answer: Any) -> str:
    """answer(mask bool (T, T), n_layers) -> bool (T, T)."""
    cases = [(_mask(T, W), K) for T, W, K in ((4, 2, 2), (8, 3, 2), (9, 4, 1), (12, 3, 4))]
    cases += [(_mask(3, 2), 0), (_every_second(6), 2)]
    # Counts of paths that no integer holds; in the second all are 4 ** 39, which ends in 64 zeros.
    cases += [(_mask(40, 30), 40), (np.ones((4, 4), bool), 40)]
    more = "Ask whether they are > 0."
    results = [
        (case, bools(call(answer, *case), case[0].shape, more).astype(bool)) for case in cases
    ]
    diagnose_arrays(results, _depends, _power_mistakes(), _path_fault)
    return f"agrees with a walk along the mask on all {len(cases)} cases."


@exercise("A mask, seen from outside", hints=(
    "Count the keys that a query sees with this mask: `near` also holds for a key W back. "
    "A hop is one shorter than that count.",
    "K hops of that length give `edge`. For `first_seen_at`, look for the first query that has a "
    "key W back, and count the tokens of a text that ends with it.",
    "A hop is 4 long and there are 3; the first query with a key 4 back stands at position 4, so "
    "it is the fifth token. In `fixed`, `<=` becomes `<` in the second comparison.",
))  # fmt: skip
def library_mask(edge: Any, first_seen_at: Any, fixed: Any) -> str:
    """What a mask of W + 1 keys does to 3 layers with W = 4, and the right mask."""
    diagnose_number("edge", whole_number("edge", edge), 12, [
        (9, "That is the edge of the right mask. With this one a query sees W + 1 keys."),
        (13, "13 tokens count, but one is the token itself: the oldest lies 12 back."),
        (4, "That is one layer. There are three."),
        (15, "It sees 5 keys, but one of them is its own: a hop is 4 long."),
        (14, "It sees 5 keys, but one of them is its own: each of the 3 hops is 4 long."),
        (8, "That is two layers. There are three."),
        (11, "Each of the 3 hops is 4 long."),
        (10, "That is one past the edge of the right mask. With this one a query sees W + 1 keys."),
        (16, "That is four hops. There are three, one for each layer; a hop is 4 long."),
        (5, "That is how many keys a query sees in one layer. How long is a hop, and how many?"),
        (3, "That is a hop of the right mask. With this one a query sees W + 1 keys."),
        (-12, "A distance back is counted as a positive number."),
        (64, "Each layer adds the same 4 positions; it does not multiply them."),
    ])  # fmt: skip
    diagnose_number("first_seen_at", whole_number("first_seen_at", first_seen_at), 5, [
        (4, "A text of 4 tokens has no key that is 4 back: all masks agree."),
        (6, "There is a shorter one. Which query first sees a key that lies W back?"),
        *((n, "That is too short: up to W tokens, no key lies W back, and all masks agree.")
          for n in range(4)),
        *((n, "A shorter text is enough: one query with a key too many, in the first layer.")
          for n in range(7, 100)),
    ])  # fmt: skip
    own = "mm.window_mask is the course's own; write `fixed` yourself."
    expect(not measured(_is_window_mask, fixed), own)
    rng = np.random.default_rng(5)
    cases = [(np.arange(8), np.arange(8), 3), (np.array([7, 9]), rng.permutation(12), 4),
             (np.arange(3), np.arange(5), 1),
             (np.array([9, 2, 6]), np.array([7, 1, 9, 5, 2]), 4)]  # fmt: skip
    results = []
    for q_pos, k_pos, W in cases:
        mask = call(fixed, q_pos, k_pos, W, name="fixed")
        entries = bools(mask, (len(q_pos), len(k_pos)))
        results.append(((q_pos, k_pos, W), entries.astype(bool)))
    diagnose_arrays(results, window_mask, _mask_mistakes(), _key_fault)
    return "W keys for each query, so three layers reach 9 back again."


def _described(i: int, n_layers: int, W: int) -> str:
    return f"token {i:,}, {n_layers} layers and W = {W:,}"


def _mask(T: int, W: int) -> np.ndarray:
    return window_mask(np.arange(T), np.arange(T), W)


def _every_second(T: int) -> np.ndarray:
    """Each token sees itself and the one two back: no window, whatever its length."""
    return np.eye(T, dtype=bool) | np.eye(T, k=-2, dtype=bool)


def _earliest_mistakes() -> Iterable[tuple[Callable[..., int], str]]:
    """Ways to miscount how far back; each is also tried without the start of the text."""
    multiplied = "each layer adds the same W - 1 positions; it does not multiply them."
    hops = "there are as many hops as layers."
    far_back = "that is how far back; the exercise asks for the position."
    late = "that is one too late: i - K(W - 1) itself is reached."
    behind = "the whole window lies behind the token, so a hop is W - 1 long."
    wrong_reaches: list[tuple[Callable[[int, int], int], str]] = [
        (lambda K, W: K * W, "a hop is W - 1 long: of the W keys one is its own."),
        (lambda K, W: K * (W - 1) - 1, late),
        (lambda K, W: K * (W - 1) + 1,
         "that is one too early: K(W - 1) + 1 tokens count, but the token itself is one of them."),
        (lambda K, W: K * W - 1,
         "a hop is W - 1 long, every time: one of the W keys is the token's own."),
        (lambda K, W: K * W + 1, "a hop is W - 1 long: of the W keys one is its own."),
        (lambda K, W: W - 1, "that is one layer; there is a hop for each."),
        (lambda K, W: min(K, 1) * (W - 1), "that is one layer; there is a hop for each."),
        (lambda K, W: W, "that is one layer; there is a hop for each, W - 1 long."),
        (lambda K, W: K + W - 2, "the hops are multiplied, not added."),
        (lambda K, W: K + W - 1, "the hops are multiplied, not added."),
        (lambda K, W: K + W, "the hops are multiplied, not added."),
        (lambda K, W: (W - 1) ** K, multiplied),
        (lambda K, W: W**K, multiplied),
        (lambda K, W: (K + 1) * (W - 1), hops),
        (lambda K, W: (K - 1) * (W - 1), hops),
        (lambda K, W: K * (W + 1), "a hop is W - 1 long, not W + 1."),
        (lambda K, W: K * (W - 2), "a hop is W - 1 long, not W - 2: only one key is its own."),
        (lambda K, W: K * (W // 2), behind),
        (lambda K, W: K * ((W - 1) // 2), behind),
        (lambda K, W: (K - 1) * W, f"a hop is W - 1 long, and {hops}"),
        (lambda K, W: 3 * (W - 1), "the number of layers is an argument; 3 was an example."),
        (lambda K, W: K * 3, "W is an argument; 4 was an example."),
    ]  # fmt: skip
    mistakes: list[tuple[Callable[..., int], str]] = [
        (lambda i, K, W: K * W, f"{far_back} And a hop is W - 1 long."),
        (lambda i, K, W: K * (W - 1) + 1,
         "that is how many tokens count; the exercise asks for the position."),
        (lambda i, K, W: i - K * (W - 1), "no token lies before position 0."),
        (lambda i, K, W: abs(i - K * (W - 1)), "no token lies before position 0; abs mirrors it."),
        (lambda i, K, W: (i - K * (W - 1)) % (i + 1),
         "no token lies before position 0; % counts on from the end of the text."),
        (lambda i, K, W: max(1, i - K * (W - 1)), "positions begin at 0, not at 1."),
        (lambda i, K, W: min(i, K * (W - 1)), far_back),
        (lambda i, K, W: K * (W - 1), far_back),
        (lambda i, K, W: min(i, K * (W - 1)) + 1,
         "that is how many tokens count; the exercise asks for the position."),
        (lambda i, K, W: min(i, i - K * (W - 1)), "no token lies before position 0: take max."),
        (lambda i, K, W: min(0, i - K * (W - 1)), "that takes min; the larger of the two is max."),
        (lambda i, K, W: max(0, K * (W - 1) - i), "subtract the reach from i, not i from it."),
        (lambda i, K, W: i - min(i, K * (W - 1)) + 1, late),
        (lambda i, K, W: i + K * (W - 1), "that is ahead. Every hop leads back."),
        (lambda i, K, W: i - (W - 1) * min(K, i // (W - 1) if W > 1 else K),
         "a hop that would leave the text still leads back, to position 0."),
        (lambda i, K, W: 0 if W == 1 and K else _earliest(i, K, W),
         "with W = 1 a hop is 0 long, so the token stays where it is."),
        (lambda i, K, W: 0, "a window hides old tokens; without one, position 0 is always seen."),
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
    several = "several paths can lead to one token: ask whether their number is > 0."
    example = "the number of layers is an argument; this is always the same number of products."

    def counted(dtype: type) -> Callable[..., np.ndarray]:
        return lambda mask, K: np.linalg.matrix_power(mask.astype(dtype), K) > 0

    def kept(ask: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
        """What a test of the counts other than > 0 keeps, layer after layer."""

        def power(mask: np.ndarray, K: int) -> np.ndarray:
            depends = np.eye(len(mask), dtype=bool)
            for _ in range(K):
                depends = ask(depends.astype(int) @ mask)
            return depends

        return power

    return [
        (lambda mask, K: mask, "the number of layers changes nothing; multiply once for each."),
        (lambda mask, K: _depends(mask, K + 1), "that is one layer too many."),
        (lambda mask, K: _depends(mask, max(0, K - 1)), "that is one layer too few."),
        (lambda mask, K: _depends(mask, max(1, K)),
         "with no layer a token depends on itself alone: begin with the identity matrix."),
        (lambda mask, K: _depends(mask, K).T, "rows and columns are swapped."),
        (lambda mask, K: ~_depends(mask, K),
         "True and False are swapped: True means that the token depends on it."),
        *((counted(dtype), too_large)
          for dtype in (np.int64, np.int32, np.int16, np.int8, np.uint8)),
        (lambda mask, K: np.linalg.matrix_power(mask.astype(np.int64), K) != 0, too_large),
        (kept(lambda count: count == 1), several),
        (kept(lambda count: count > 1), several),
        (lambda mask, K: np.linalg.matrix_power(mask.astype(float), K) == 1, several),
        (lambda mask, K: np.linalg.matrix_power(mask.astype(float), K) > 1, several),
        (lambda mask, K: _depends(mask, K) & ~np.eye(len(mask), dtype=bool),
         "a token depends on itself too."),
        (lambda mask, K: _mask(len(mask), K * (int(mask[-1].sum()) - 1) + 1),
         "right for a window only: follow the mask that is given, entry by entry."),
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
        *((lambda mask, K, n=n: _depends(mask, n), example) for n in (2, 3)),
    ]  # fmt: skip


def _path_fault(case: tuple, got: np.ndarray) -> str:
    """The first entry that is wrong, told by the paths."""
    mask, K = case
    i, j = np.argwhere(got != _depends(mask, K))[0]
    is_path = "no path" if got[i, j] else "a path"
    return f"{is_path} of {K} hops leads from token {i} to token {j}, but yours is {got[i, j]}."


def _key_fault(case: tuple, got: np.ndarray) -> str:
    """The first entry that is wrong, told by its distance."""
    q_pos, k_pos, W = case
    n, m = np.argwhere(got != window_mask(q_pos, k_pos, W))[0]
    back = q_pos[n] - k_pos[m]
    return f"with W = {W}, a key {back} back (entry {n}, {m}) is {not got[n, m]}, not {got[n, m]}."


def _mask_mistakes() -> Mistakes:
    def gap(q: np.ndarray, k: np.ndarray) -> np.ndarray:
        return q[:, None] - k[None, :]

    by_index = "it counts rows and columns. Use the positions in q_pos and k_pos."
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
        (lambda q, k, W: ~window_mask(q, k, W), "True and False are swapped: True means visible."),
        (lambda q, k, W: gap(q, k) >= W, "that keeps only the keys that are too old."),
        (lambda q, k, W: np.zeros((len(q), len(k)), bool),
         "no query sees a key: look at the sign of W."),
        (lambda q, k, W: window_mask(np.arange(len(q)), np.arange(len(k)), W), by_index),
        (lambda q, k, W: window_mask(q[0] + np.arange(len(q)), k[0] + np.arange(len(k)), W),
         "it counts on from the first position. Positions can stand in any order."),
    ]  # fmt: skip
