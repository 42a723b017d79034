"""Checks of lesson 07: the mask of a chunk, prefill in chunks, and two bugs of known libraries."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
    NotWritten,
    array,
    call,
    diagnose_arrays,
    diagnose_number,
    diagnose_truths,
    exercise,
    expect,
    whole_number,
)
from minimistral.np import attend, window_mask
from minimistral.np.cache import slot_of

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]


@exercise("The mask of a chunk")
def chunk_mask(answer: Any) -> str:
    """answer(held (W,), chunk (T,), W) -> bool (T, W + T)."""
    cases = [
        (np.array([0, 1, 2, 3]), np.arange(4, 8), 4),
        (np.array([4, 5, 2, 3]), np.arange(6, 9), 4),
        (np.array([0, 1, -1, -1, -1]), np.arange(2, 4), 5),
        (np.full(3, -1), np.arange(5), 3),
        (np.array([9]), np.arange(10, 13), 1),
    ]
    shapes = [(len(chunk), len(held) + len(chunk)) for held, chunk, _ in cases]
    results = [
        (case, array(call(answer, *case), shape)) for case, shape in zip(cases, shapes, strict=True)
    ]
    diagnose_arrays(results, _mask, [*_mask_mistakes(), *_halves_mistakes()])
    return f"agrees with the rule on all {len(cases)} chunks."


@exercise("Prefill in chunks")
def prefill(answer: Any) -> str:
    """answer(q, k, v (T, D), W, size, attend_one) -> (T, D)."""
    rng = np.random.default_rng(7)
    cases = []
    for T, W, size in ((12, 4, 4), (11, 4, 3), (9, 3, 7), (6, 8, 2), (5, 2, 1), (10, 1, 5)):
        cases.append((*rng.standard_normal((3, T, 4)), W, size))
    results, most, calls = [], 0, []
    for q, k, v, W, size in cases:
        handed: list[int] = []
        result = call(answer, q, k, v, W, size, _counting(handed))
        _diagnose_missing_chunk(result, q.shape, size)
        results.append(((q, k, v, W, size), array(result, q.shape)))
        most = max([most, *(n - W - size for n in handed)])
        calls.append((len(handed), -(-len(q) // size)))
    diagnose_arrays(results, _prefill, _prefill_mistakes())
    expect(most <= 0, "right, but it hands over more keys than a cache of W and the chunk hold.")
    for n_calls, n_chunks in calls:
        expect(
            n_calls == n_chunks,
            f"right, but attend_one was called {n_calls} times for {n_chunks} chunks. Read in"
            " chunks, and call it once for each.",
        )
    return f"agrees with reading at once on all {len(cases)} prompts, with W keys in the cache."


@exercise("Written first")
def ring(leak: Any, right_queries: Any, hidden_up_to: Any) -> str:
    """What a prompt of 6 tokens sees in a ring of 4 slots that was written first."""
    diagnose_number("leak", whole_number("leak", leak), 4, [
        (0, "Slot 0 held token 0 until the ring wrapped around. What does it hold at the end?"),
        (5, "Token 5 lies in slot 1, which query 0 does not see."),
        (3, "Token 3 lies in slot 3. Query 0 sees slot 0 alone."),
        (2, "Token 2 lies in slot 2. Query 0 sees slot 0 alone."),
        (1, "Token 1 was overwritten by token 5."),
    ])  # fmt: skip
    _diagnose_queries(right_queries)
    diagnose_number("hidden_up_to", whole_number("hidden_up_to", hidden_up_to), 4, [
        (5, "With 5 tokens, token 4 lies in slot 0, and query 0 reads it."),
        (3, "A longer one works too: nothing is overwritten while it fits."),
        (6, "That is the prompt above, and most of its results are wrong."),
        (8, "The ring has 4 slots."),
    ])  # fmt: skip
    return "a prompt that fits hides the bug; with a longer one, queries read the future."


@exercise("One token too early")
def too_early(first_wrong: Any, right_again: Any, fixed: Any) -> str:
    """When a shifting buffer of 4 that shifts too early is wrong, and when it must shift."""
    diagnose_number("first_wrong", whole_number("first_wrong", first_wrong), 3, [
        (4, "It goes wrong earlier. What does the buffer hold after token 3?"),
        (2, "Token 2 sees 0, 1 and 2, as it should."),
        (1, "Token 1 sees 0 and 1, as it should."),
        (0, "Token 0 sees itself. That is all there is."),
        (5, "It goes wrong earlier. Write down what the buffer holds, from token 2 on."),
        (6, "It goes wrong earlier. Write down what the buffer holds, from token 2 on."),
    ])  # fmt: skip
    diagnose_number("right_again", whole_number("right_again", right_again), 6, [
        (4, "After token 4 the buffer holds 2, an empty slot, 3 and 4."),
        (5, "After token 5 the buffer holds an empty slot, 3, 4 and 5."),
        (7, "There is an earlier one. Where is the empty slot after token 6?"),
        (8, "There is an earlier one. Where is the empty slot after token 6?"),
    ])  # fmt: skip
    cases = [(seen, W) for W in (1, 4, 6) for seen in range(14)]
    diagnose_truths(fixed, _must_shift, cases, _shift_mistakes(), lambda seen, W:
           f"W = {W} and seen = {seen}")  # fmt: skip
    return "it shifts only when W tokens are held, so none is lost early."


def _mask(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
    return window_mask(chunk, np.concatenate([held, chunk]), W)


def _mask_mistakes() -> Mistakes:
    def by_rule(rule: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Callable:
        def mistaken(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
            k_pos = np.concatenate([held, chunk])
            return rule(chunk[:, None] - k_pos, k_pos >= 0, W)

        return mistaken

    def indices(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return window_mask(np.arange(len(chunk)) + len(held), np.arange(len(held) + len(chunk)), W)

    def first_is_empty(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return _mask(held, chunk, W) & (np.concatenate([held, chunk]) > 0)

    def in_order(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return _mask(np.sort(held), chunk, W)

    def part(slots: bool, own: bool) -> Callable[..., np.ndarray]:
        def mistaken(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
            mask = _mask(held, chunk, W)
            mask[:, : len(held)] &= slots
            mask[:, len(held) :] &= own
            return mask

        return mistaken

    return [
        (by_rule(lambda gap, used, W: (gap >= 0) & (gap < W)), "an empty slot, -1, is visible."),
        (by_rule(lambda gap, used, W: (gap < W) & used), "tokens look ahead inside the chunk."),
        (by_rule(lambda gap, used, W: gap < W), "tokens look ahead inside the chunk."),
        (by_rule(lambda gap, used, W: (gap >= 0) & used), "that is causal, without a window."),
        (by_rule(lambda gap, used, W: (gap >= 0) & (gap <= W) & used), "that is W + 1 keys."),
        (by_rule(lambda gap, used, W: (gap >= 0) & (gap <= W)), "that is W + 1 keys."),
        (by_rule(lambda gap, used, W: (gap >= 0) & (gap < W - 1) & used), "that is W - 1 keys."),
        (by_rule(lambda gap, used, W: (gap <= 0) & (gap > -W) & used),
         "i and j are swapped."),
        (by_rule(lambda gap, used, W: ~((gap >= 0) & (gap < W) & used)),
         "True and False are swapped: True means visible."),
        (by_rule(lambda gap, used, W: (gap > 0) & (gap < W) & used),
         "a query must see itself too."),
        (by_rule(lambda gap, used, W: (abs(gap) < W) & used),
         "tokens look ahead inside the chunk: |i - j| < W looks both ways."),
        (by_rule(lambda gap, used, W: abs(gap) < W),
         "tokens look ahead inside the chunk: |i - j| < W looks both ways."),
        (first_is_empty, "position 0 is a token; only -1 is an empty slot."),
        (in_order, "the slots were sorted. Leave them in their own order."),
        (indices, "it counts slots and rows. Only positions say how old a key is."),
        (part(slots=True, own=False), "the chunk does not look at itself."),
        (part(slots=False, own=True), "the chunk does not look at the cache."),
        (lambda held, chunk, W: window_mask(chunk, np.concatenate([chunk, held]), W),
         "first the slots, then the chunk."),
    ]  # fmt: skip


def _halves_mistakes() -> Mistakes:
    """Masks joined from two: one of the slots, one of the chunk's own keys."""

    def joined(
        slots: Callable[..., np.ndarray], own: Callable[..., np.ndarray]
    ) -> Callable[..., np.ndarray]:
        return lambda held, chunk, W: np.hstack([slots(held, chunk, W), own(chunk, chunk, W)])

    def everything(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return np.ones((len(chunk), len(keys)), bool)

    def in_use(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return everything(keys, chunk, W) & (keys >= 0)

    def causal(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return keys <= chunk[:, None]

    def by_rule(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return window_mask(chunk, keys, W)

    def window(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return causal(keys, chunk, W) & (chunk[:, None] - keys < W)

    asks = "not every slot is visible: the window applies to slots too."
    return [
        (joined(everything, causal), asks),
        (joined(everything, by_rule), asks),
        (joined(in_use, by_rule), asks),
        (joined(window, causal), "an empty slot, -1, is visible."),
        (joined(by_rule, causal), "inside a chunk longer than W the window applies as well."),
    ]


def _counting(handed: list[int]) -> Callable[..., np.ndarray]:
    """attend_one that notes how many keys it was given."""

    def attend_one(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        handed.append(len(k))
        q, k, v = (np.asarray(x)[None, None] for x in (q, k, v))
        return attend(q, k, v, np.asarray(mask))[0, 0]

    return attend_one


def _diagnose_missing_chunk(result: Any, shape: tuple[int, ...], size: int) -> None:
    """Raise Wrong when only the chunks of full size came back."""
    left = getattr(result, "shape", (0,))[0:1] == (shape[0] // size * size,)
    expect(
        not left or shape[0] % size == 0,
        f"the shape must be {shape}: is the last, shorter chunk read?",
    )


def _prefill(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    W: int,
    size: int,
    keep: Callable[..., np.ndarray] = lambda held, chunk, W: np.append(held, chunk)[-W:],
    see: Callable[..., np.ndarray] = window_mask,
    write_first: bool = False,
) -> np.ndarray:
    """Prefill in chunks, with ways to get it wrong: what is kept, what is seen, and when."""
    held, parts = np.arange(0), []
    for start in range(0, len(q), size):
        chunk = np.arange(start, min(start + size, len(q)))
        keys = keep(held, chunk, W) if write_first else np.append(held, chunk)
        parts.append(_counting([])(q[chunk], k[keys], v[keys], see(chunk, keys, W)))
        held = keep(held, chunk, W)
    return np.concatenate(parts)


def _prefill_mistakes() -> Mistakes:
    def wrong(**changes: Any) -> Callable[..., np.ndarray]:
        return lambda q, k, v, W, size: _prefill(q, k, v, W, size, **changes)

    def rows_and_columns(q: np.ndarray, k: np.ndarray, W: int) -> np.ndarray:
        return window_mask(np.arange(len(q)), np.arange(len(k)), W)

    return [
        (wrong(write_first=True),
         "it writes first, so the chunk's first tokens lose keys that they may see."),
        (wrong(keep=lambda held, chunk, W: chunk[:0]), "no chunk looks at the cache."),
        (wrong(keep=lambda held, chunk, W: chunk[-W:]),
         "after a chunk shorter than W the older tokens are lost. Keep the last W of cache and "
         "chunk."),
        (wrong(see=lambda q, k, W: q[:, None] >= k),
         "that is only causal: the window applies too."),
        (wrong(see=lambda q, k, W: q[:, None] - k < W), "tokens look ahead inside the chunk."),
        (wrong(see=lambda q, k, W: np.ones((len(q), len(k)), bool)),
         "there is no mask: tokens look ahead inside the chunk."),
        (wrong(see=lambda q, k, W: window_mask(q, k, W + 1)), "the mask lets W + 1 keys through."),
        (wrong(see=lambda q, k, W: (q[:, None] >= k) & (q[:, None] - k < W - 1)),
         "the mask lets only W - 1 keys through."),
        (wrong(see=lambda q, k, W: window_mask(q, k, W) & (q[:, None] > k)),
         "a query must see itself too."),
        (wrong(see=lambda q, k, W: abs(q[:, None] - k) < W),
         "tokens look ahead inside the chunk: |i - j| < W looks both ways."),
        (wrong(see=lambda q, k, W: window_mask(q - q[0], k, W)),
         "the chunk's positions begin at 0 again. They must continue the previous chunk's."),
        (wrong(see=lambda q, k, W: np.tril(np.ones((len(q), len(k)), bool))),
         "that triangle counts rows and columns. The chunk's own keys come after the cache's."),
        (wrong(see=rows_and_columns),
         "the mask counts rows and columns. Take the positions of chunk and keys."),
        (lambda q, k, v, W, size: _prefill(q, k, k, W, size), "k stands where v belongs."),
        (wrong(keep=lambda held, chunk, W: np.append(held, chunk)[:W]),
         "it keeps the first W tokens; keep the last."),
    ]  # fmt: skip


def _diagnose_queries(answer: Any) -> None:
    """Raise Wrong unless the answer names query 5 alone."""
    if answer is None:
        raise NotWritten("right_queries is not written yet.")
    is_list = isinstance(answer, list | tuple | set | np.ndarray)
    expect(is_list, "right_queries must be a list, as [0, 1].")
    queries = sorted({whole_number("Each of right_queries", query) for query in answer})
    expect(all(0 <= query < 6 for query in queries), "right_queries: the queries are 0 to 5.")
    W, T = 4, 6
    slots = [max(i for i in range(T) if slot_of(i, W) == slot) for slot in range(W)]
    for query in queries:
        sees = slots[: min(query + 1, W)]
        needs = list(range(max(0, query - W + 1), query + 1))
        ahead = [j for j in sees if j > query]
        lie = "lies" if len(ahead) == 1 else "lie"
        expect(not ahead, f"right_queries: query {query} sees {_listed(ahead)}, which {lie} ahead.")
        expect(sorted(sees) == needs, f"right_queries: query {query} needs {_listed(needs)}.")
    expect(queries == [5], "right_queries: one is right. Which query needs what the slots hold?")


def _listed(positions: Sequence[int]) -> str:
    return " and ".join(map(str, positions))


def _must_shift(seen: int, W: int) -> bool:
    return seen >= W


def _shift_mistakes() -> Iterable[tuple[Callable[[int, int], bool], str]]:
    return [
        (lambda seen, W: seen >= W - 1, "that is the line above: one slot is still free."),
        (lambda seen, W: seen > W, "one token too late: at seen = W no slot is free."),
        (lambda seen, W: seen == W, "after the first time it must keep making room."),
        (lambda seen, W: seen > 0 and seen % W == 0,
         "it must make room for every token from W on."),
        (lambda seen, W: seen % W == 0, "it must make room for every token from W on."),
        (lambda seen, W: seen <= W, "seen and W are swapped."),
        (lambda seen, W: True, "at first there are free slots."),
        (lambda seen, W: False, "then it never makes room."),
        (lambda seen, W: seen < W, "True and False are swapped."),
    ]  # fmt: skip
