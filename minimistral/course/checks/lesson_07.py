"""Checks of lesson 07: the mask of a chunk, prefill in chunks, and two bugs of known libraries."""

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
    Example,
    NotWritten,
    Wrong,
    array,
    bools,
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

Mask = Callable[[np.ndarray, np.ndarray, int], np.ndarray]
Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]

# What the W slots hold, the chunk, and W.
_CHUNKS = [
    (np.array([2, 1]), np.array([3, 4]), 2),
    (np.array([0, 1, 2, 3]), np.arange(4, 8), 4),
    (np.array([4, 5, 2, 3]), np.arange(6, 9), 4),
    (np.array([4, 5, 2, 3]), np.array([6]), 4),
    (np.array([0, 1, -1, -1, -1]), np.arange(2, 4), 5),
    (np.full(3, -1), np.arange(5), 3),
    (np.array([9]), np.arange(10, 13), 1),
]


def course_mask(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
    """The mask of a chunk: held (W,), chunk (T,) -> bool (T, W + T).

    >>> course_mask(np.array([2, 1]), np.array([3, 4]), 2).astype(int)
    array([[1, 0, 1, 0],
           [0, 0, 1, 1]])
    """
    return window_mask(chunk, np.concatenate([held, chunk]), W)


def attend_one(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
    """Attention of one head: (T, D), (S, D), (S, D), bool (T, S) -> (T, D)."""
    q, k, v, mask = (_plain(x) for x in (q, k, v, mask))
    return attend(q[None, None], k[None, None], v[None, None], mask)[0, 0]


def course_prefill(
    q: np.ndarray,
    k: np.ndarray,
    v: np.ndarray,
    W: int,
    size: int,
    attend_one: Callable[..., np.ndarray] = attend_one,
    keep: Callable[..., np.ndarray] = lambda held, chunk, W: np.append(held, chunk)[-W:],
    see: Mask = window_mask,
    at_hand: Callable[..., np.ndarray] = lambda held, chunk, kept: np.append(held, chunk),
    values: Callable[[np.ndarray, int], np.ndarray] = lambda keys, W: keys,
) -> np.ndarray:
    """Prefill in chunks; q, k, v (T, D) -> (T, D). The last four arguments get it wrong.

    keep: what the cache holds after a chunk; see: the mask; at_hand: the keys that a chunk
    meets; values: which token's value goes with each key.
    """
    held, parts = np.arange(0), []
    for start in range(0, len(q), size):
        chunk = np.arange(start, min(start + size, len(q)))
        kept = keep(held, chunk, W)
        keys = at_hand(held, chunk, kept)
        parts.append(attend_one(q[chunk], k[keys], v[values(keys, W)], see(chunk, keys, W)))
        held = kept
    return np.concatenate(parts)


@exercise(
    "The mask of a chunk",
    course=course_mask,
    hints=(
        "The keys at hand are those in the slots and those of the chunk. Put the positions of "
        "all of them into one array, the slots' first.",
        "With that array it is lesson 04's mask: a token at position i sees a key at position j "
        "if 0 ≤ i − j < W. An empty slot holds −1, which is no position, so hide it as well.",
        "`k_pos = np.concatenate([held, chunk])` and `d = chunk[:, None] - k_pos[None, :]`; "
        "return `(k_pos >= 0) & (d >= 0) & (d < W)`.",
    ),
)
def chunk_mask(answer: Any) -> str:
    """answer(held (W,), chunk (T,), W) -> bool (T, W + T)."""
    results = []
    for case in _CHUNKS:
        shape = (len(case[1]), len(case[0]) + len(case[1]))
        read = partial(bools, shape=shape)
        result = _with_example(case, course_mask, call(answer, *case), read)
        results.append((case, result.astype(bool)))
    diagnose_arrays(results, course_mask, [*_mask_mistakes(), *_halves_mistakes()], _mask_fault)
    return f"agrees with the rule on all {len(_CHUNKS)} chunks."


@exercise(
    "Prefill in chunks",
    course=course_prefill,
    hints=(
        "From one chunk to the next, keep three arrays: the keys, the values and the positions "
        "of what the cache holds. All three are empty at first. Their order does not matter, so "
        "you can keep them in the order of the text.",
        "For each chunk, append its keys, values and positions to those of the cache, make the "
        "mask from positions and attend. Only then cut all three arrays to their last W.",
        "In `for start in range(0, len(q), size)`: `chunk = np.arange(start, min(start + size, "
        "len(q)))`; `keys = np.concatenate([keys, k[chunk]])`, and likewise for values and "
        "positions; `parts.append(attend_one(q[chunk], keys, values, mm.window_mask(chunk, "
        "positions, W)))`; then `keys = keys[-W:]`, and likewise. After the loop, return "
        "`np.concatenate(parts)`.",
    ),
)
def prefill(answer: Any) -> str:
    """answer(q, k, v (T, D), W, size, attend_one) -> (T, D)."""
    rng = np.random.default_rng(7)
    results, most, calls = [], [], []
    for T, W, size in (
        (5, 2, 2), (4, 2, 1), (12, 4, 4), (11, 4, 3), (9, 3, 7), (6, 8, 2), (10, 1, 5),
    ):  # fmt: skip
        D = 2 if T < 6 else 4
        case = (*rng.integers(-9, 10, (3, T, D)) / 4, W, size, attend_one)
        handed: list[int] = []
        result = call(answer, *case[:5], _counting(handed))
        read = partial(_rows, q=case[0], size=size)
        result = _with_example(case, course_prefill, result, read)
        results.append((case, result))
        most.append((W, max(handed, default=0) - W - size))
        calls.append((len(handed), T, W, size))
    of_the_window = all(n == -(-T // W) for n, T, W, _ in calls)
    expect(not of_the_window, "it reads in chunks of W tokens; a chunk has `size` tokens.")
    diagnose_arrays(results, course_prefill, _prefill_mistakes(), _prefill_fault)
    too_many = [W for W, n in most if n > 0]
    expect(
        set(too_many) != {1},
        "right, but for W = 1 it keeps every key: [-(W - 1):] is then [0:], which is all of them.",
    )
    expect(not too_many, "right, but it hands over more keys than a cache of W and the chunk hold.")
    for n, T, _, size in calls:
        chunks = -(-T // size)
        expect(
            n == chunks,
            f"right, but attend_one was called {n} times for {chunks} chunks. Read in chunks, and "
            "call it once for each.",
        )
    _require_its_results(answer, results[0][0])
    return f"agrees with reading at once on all {len(results)} prompts, with W keys in the cache."


@exercise(
    "Written first",
    hints=(
        "Write down which token each of the four slots holds after the loop; a later token "
        "overwrites an earlier one.",
        "The slots end as 4, 5, 2, 3. The mask lets query i look at slots 0 to i, and at all four "
        "from i = 3 on. Compare what lies there with the tokens i − 3 to i, which it should see.",
        "Query 0 looks at slot 0, which holds token 4. Only query 5 needs the tokens 2, 3, 4 and "
        "5, and finds just these. A prompt of up to 4 tokens overwrites nothing.",
    ),
)
def ring(leak: Any, right_queries: Any, hidden_up_to: Any) -> str:
    """What a prompt of 6 tokens sees in a ring of 4 slots that was written first."""
    diagnose_number("leak", whole_number("leak", leak), 4, [
        (0, "Slot 0 held token 0 until the ring wrapped around. What does it hold at the end?"),
        (5, "Token 5 lies in slot 1, which query 0 does not see."),
        (3, "Token 3 lies in slot 3, whereas query 0 sees slot 0 alone."),
        (2, "Token 2 lies in slot 2, whereas query 0 sees slot 0 alone."),
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


@exercise(
    "One token too early",
    hints=(
        "Write down `held` after each of the tokens 0 to 7, and beside it the tokens that should "
        "be there: the last four, or all of them while there are fewer.",
        "When token 3 comes, `seen` is 3, so the buffer shifts although its last place is still "
        "empty. Token 0 is lost, and the buffer then holds 1, 2, an empty place and 3.",
        "The empty place moves one to the left with each token: 2, empty, 3, 4, then empty, 3, 4, "
        "5, and after token 6 it is gone. The buffer must shift only once it holds W tokens: "
        "`return seen >= W`.",
    ),
)
def too_early(first_wrong: Any, right_again: Any, fixed: Any) -> str:
    """When a shifting buffer of 4 that shifts too early is wrong, and when it must shift."""
    diagnose_number("first_wrong", whole_number("first_wrong", first_wrong), 3, [
        (4, "It goes wrong earlier. What does the buffer hold after token 3?"),
        (2, "Token 2 sees 0, 1 and 2, as it should."),
        (1, "Token 1 sees 0 and 1, as it should."),
        (0, "Token 0 sees itself, and there is nothing else to see."),
        (5, "It goes wrong earlier. Write down what the buffer holds, from token 2 on."),
        (6, "It goes wrong earlier. Write down what the buffer holds, from token 2 on."),
    ])  # fmt: skip
    diagnose_number("right_again", whole_number("right_again", right_again), 6, [
        (3, "That is the first wrong one; it holds 1, 2, an empty place and 3."),
        (4, "After token 4 the buffer holds 2, an empty place, 3 and 4."),
        (5, "After token 5 the buffer holds an empty place, 3, 4 and 5."),
        (7, "There is an earlier one. Where is the empty place after token 6?"),
        (8, "There is an earlier one. Where is the empty place after token 6?"),
        *((n, "It must come after first_wrong.") for n in range(3)),
    ])  # fmt: skip
    cases = [(seen, W) for W in (1, 4, 6) for seen in range(14)]
    diagnose_truths(fixed, _must_shift, cases, _shift_mistakes(), lambda seen, W:
           f"W = {W} and seen = {seen}")  # fmt: skip
    return "it shifts only when W tokens are held, so none is lost early."


def _plain(x: Any) -> np.ndarray:
    """An array of NumPy, also from a tensor that torch would differentiate."""
    return np.asarray(x.detach() if hasattr(x, "detach") else x)


def _with_example(
    case: tuple, right: Callable[..., np.ndarray], result: Any, read: Callable[[Any], np.ndarray]
) -> np.ndarray:
    """read(result); where it refuses an array, the call goes with what it says."""
    try:
        return read(result)
    except Wrong as wrong:
        shown = isinstance(result, np.ndarray) and result.dtype.kind in "biuf"
        example = Example(case, result, right(*case)) if shown else None
        raise Wrong(str(wrong), example) from None


def _mask_fault(case: tuple, mask: np.ndarray) -> str:
    """The first wrong entry of a mask, in terms of the rule."""
    (held, chunk, W), expected = case, course_mask(*case)
    t, n = (int(index) for index in np.argwhere(mask != expected)[0])
    i, j = int(chunk[t]), int(np.append(held, chunk)[n])
    place = f"slot {n}" if n < len(held) else "the chunk"
    if j < 0:
        return f"{place} is empty, but token {i} may see it."
    may = "must see" if expected[t, n] else "must not see"
    return f"token {i} {may} token {j} (in {place}): i - j = {i - j} and W = {W}."


def _mask_mistakes() -> list[tuple[Mask, str]]:
    def by_rule(rule: Callable[[np.ndarray, np.ndarray, int], np.ndarray]) -> Mask:
        def mistaken(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
            k_pos = np.concatenate([held, chunk])
            return rule(chunk[:, None] - k_pos, k_pos >= 0, W)

        return mistaken

    def indices(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return window_mask(np.arange(len(chunk)) + len(held), np.arange(len(held) + len(chunk)), W)

    def first_is_empty(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return course_mask(held, chunk, W) & (np.concatenate([held, chunk]) > 0)

    def in_order(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return course_mask(np.sort(held), chunk, W)

    def one_row(row: int) -> Mask:
        """The window of one row of the chunk in every row, cut at the query's own position."""

        def mistaken(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
            k_pos = np.concatenate([held, chunk])
            return (k_pos >= 0) & (chunk[:, None] >= k_pos) & (chunk[row] - k_pos < W)

        return mistaken

    def part(slots: bool, own: bool) -> Mask:
        def mistaken(held: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
            mask = course_mask(held, chunk, W)
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
        (by_rule(lambda gap, used, W: (gap >= 0) & (gap < 4) & used),
         "the window is always 4; take the argument W."),
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
        (by_rule(lambda gap, used, W: (gap >= 0) | (gap < W)),
         "or lets everything through: both conditions must hold, so join them with &."),
        (first_is_empty, "position 0 is a token; only -1 is an empty slot."),
        (in_order, "the slots were sorted, or taken to be in order. Leave them as they lie."),
        (one_row(0), "every row has the window of the chunk's first token."),
        (one_row(-1), "every row has the window of the chunk's last token."),
        (indices, "it counts slots and rows. Only positions say how old a key is."),
        (part(slots=True, own=False), "the chunk does not look at itself."),
        (part(slots=False, own=True), "the chunk does not look at the cache."),
        (lambda held, chunk, W: window_mask(chunk, np.concatenate([chunk, held]), W),
         "first the slots, then the chunk."),
    ]  # fmt: skip


def _halves_mistakes() -> list[tuple[Mask, str]]:
    """Masks joined from two: one of the slots, one of the chunk's own keys."""

    def joined(slots: Mask, own: Mask) -> Mask:
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

    def triangle(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return np.triu(everything(keys, chunk, W), 1)

    def first_row(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return everything(keys, chunk, W) & window_mask(chunk[:1], keys, W)

    def last_row(keys: np.ndarray, chunk: np.ndarray, W: int) -> np.ndarray:
        return everything(keys, chunk, W) & window_mask(chunk[-1:], keys, W)

    asks = "not every slot is visible: the window applies to slots too."
    drawn = "that is the triangle of Figure 3; slots do not lie in order, so compare positions."
    return [
        (joined(everything, causal), asks),
        (joined(everything, by_rule), asks),
        (joined(in_use, by_rule), asks),
        (joined(window, causal), "an empty slot, -1, is visible."),
        (joined(by_rule, causal), "inside a chunk longer than W the window applies as well."),
        (joined(triangle, causal), drawn),
        (joined(triangle, by_rule), drawn),
        (joined(first_row, by_rule), "every row sees the slots that the chunk's first token sees."),
        (joined(last_row, by_rule),
         "every row sees only the slots that the chunk's last token sees, as if it was written "
         "first."),
    ]  # fmt: skip


def _counting(handed: list[int]) -> Callable[..., np.ndarray]:
    """attend_one that notes how many keys it was given, and says what is wrong with them."""

    def counting(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        q, k, v, mask = (_plain(x) for x in (q, k, v, mask))
        given = f"attend_one was given q {q.shape}, k {k.shape}, v {v.shape}, mask {mask.shape}:"
        expect(len(k) > 0, "the first chunk has no keys: a chunk looks at itself, too.")
        expect(len(k) == len(v), f"{given} keys and values must be those of the same tokens.")
        expect(mask.shape == (len(q), len(k)), f"{given} the mask must be (T, S).")
        expect(mask.dtype == bool, "the mask must be True and False (bool): True means visible.")
        handed.append(len(k))
        return attend_one(q, k, v, mask)

    return counting


def _require_its_results(answer: Callable[..., Any], case: tuple) -> None:
    """Raise Wrong unless the answer is made of what attend_one returns, here twice as much."""
    double = call(answer, *case[:5], lambda *given: 2 * attend_one(*given))
    expect(
        np.allclose(_plain(double), 2 * course_prefill(*case), rtol=1e-4, atol=1e-6),
        "right, but what attend_one returns is not used. Return its results, chunk after chunk.",
    )


def _rows(result: Any, q: np.ndarray, size: int) -> np.ndarray:
    """The result as an array of one row a token; raises Wrong for anything else."""
    if isinstance(result, list | tuple):
        raise Wrong(
            f"return one array, not a {type(result).__name__}: np.concatenate joins the chunks."
        )
    shape = getattr(result, "shape", (0,))
    fewer = len(shape) == 2 and 0 < shape[0] < len(q)
    why = ""
    if fewer:
        left = shape[0] == len(q) // size * size
        why = f": a row for only {shape[0]} of {len(q)} tokens."
        why = ": is the last, shorter chunk read?" if left else why
    expect(not fewer, f"the shape must be {q.shape}, not {shape}{why}")
    return array(result, q.shape)


def _prefill_fault(case: tuple, result: np.ndarray) -> str:
    """The first token that comes out wrong, and its chunk."""
    size, right = case[4], abs(result - course_prefill(*case)).max(axis=1) < 1e-4
    t = int(np.argmin(right))
    first, last = t // size * size, min(t // size * size + size, len(right)) - 1
    span = f"token {first}" if first == last else f"tokens {first} to {last}"
    return f"token {t} is the first that comes out wrong, in chunk {t // size + 1} ({span})."


def _prefill_mistakes() -> Mistakes:
    def wrong(**changes: Any) -> Callable[..., np.ndarray]:
        return lambda *arguments: course_prefill(*arguments, **changes)

    def rows_and_columns(q: np.ndarray, k: np.ndarray, W: int) -> np.ndarray:
        return window_mask(np.arange(len(q)), np.arange(len(k)), W)

    def in_slots(keys: np.ndarray, W: int) -> np.ndarray:
        """The values of the cache as a ring holds them, beside keys in the order of the text."""
        return np.append(keys[:W][np.argsort(keys[:W] % W, kind="stable")], keys[W:])

    def first_queries(
        q: np.ndarray, k: np.ndarray, v: np.ndarray, W: int, size: int, one: Any
    ) -> np.ndarray:
        return course_prefill(q[np.arange(len(q)) % size], k, v, W, size)

    def backwards(*arguments: Any) -> np.ndarray:
        right, size = course_prefill(*arguments), arguments[4]
        return np.concatenate([right[n : n + size] for n in range(0, len(right), size)][::-1])

    return [
        (wrong(at_hand=lambda held, chunk, kept: kept),
         "it writes first, so the chunk's first tokens lose keys that they may see."),
        (wrong(at_hand=lambda held, chunk, kept: np.append(kept, chunk)),
         "the chunk's keys are there twice: attend to the cache as it was before the chunk."),
        (wrong(keep=lambda held, chunk, W: chunk[:0]), "no chunk looks at the cache."),
        (wrong(keep=lambda held, chunk, W: chunk[-W:]),
         "after a chunk shorter than W the older tokens are lost. Keep the last W of cache and "
         "chunk."),
        (wrong(keep=lambda held, chunk, W: np.append(held, chunk)[len(held) + len(chunk) -
               max(0, min(W - 2, len(held) + len(chunk))) :]),
         "it keeps W - 2 keys; the next token still sees the W - 1 before it."),
        (wrong(see=lambda q, k, W: q[:, None] >= k),
         "that is only causal: the window applies too."),
        (wrong(see=lambda q, k, W: q[:, None] - k < W), "tokens look ahead inside the chunk."),
        (wrong(see=lambda q, k, W: np.ones((len(q), len(k)), bool)),
         "there is no mask: tokens look ahead inside the chunk."),
        (wrong(see=lambda q, k, W: window_mask(q, k, W + 1)), "the mask lets W + 1 keys through."),
        (wrong(see=lambda q, k, W: (q[:, None] >= k) & (q[:, None] - k < W - 1)),
         "the mask lets only W - 1 keys through."),
        (wrong(see=lambda q, k, W: ~window_mask(q, k, W)),
         "True and False of the mask are swapped: True means visible."),
        (wrong(see=lambda q, k, W: window_mask(q, k, W) & (q[:, None] > k)),
         "a query must see itself too."),
        (wrong(see=lambda q, k, W: abs(q[:, None] - k) < W),
         "tokens look ahead inside the chunk: |i - j| < W looks both ways."),
        (wrong(see=lambda q, k, W: window_mask(q - q[0], k, W)),
         "the chunk's positions begin at 0 again. They must continue the previous chunk's."),
        (wrong(see=lambda q, k, W: window_mask(q + 1, k, W)),
         "the queries' positions are one too high."),
        (wrong(see=lambda q, k, W: np.tril(np.ones((len(q), len(k)), bool))),
         "that triangle counts rows and columns. The chunk's own keys come after the cache's."),
        (wrong(see=lambda q, k, W: window_mask(q, np.arange(len(k)), W)),
         "the keys' positions begin at 0 in every chunk. Keep each key's position beside it."),
        (wrong(see=rows_and_columns),
         "the mask counts rows and columns. Take the positions of chunk and keys."),
        (wrong(values=in_slots),
         "keys and values are not in the same order: one lies in slots, the other in the order of "
         "the text."),
        (wrong(values=lambda keys, W: keys[::-1]), "keys and values are not in the same order."),
        (lambda q, k, v, *more: course_prefill(q, k, k, *more), "k stands where v belongs."),
        (lambda q, k, v, *more: course_prefill(q, v, v, *more), "v stands where k belongs."),
        (lambda q, k, v, *more: course_prefill(k, k, v, *more), "k stands where q belongs."),
        (wrong(keep=lambda held, chunk, W: np.append(held, chunk)[:W]),
         "it keeps the first W tokens; keep the last."),
        (first_queries, "every chunk asks with the queries of the first."),
        (backwards, "the chunks are joined in reversed order."),
    ]  # fmt: skip


def _diagnose_queries(answer: Any) -> None:
    """Raise Wrong unless the answer names query 5 alone."""
    if answer is None:
        raise NotWritten("right_queries is not written yet.")
    answer = answer.tolist() if hasattr(answer, "tolist") else answer
    is_list = isinstance(answer, list | tuple | set | frozenset | range)
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
        (lambda seen, W: seen % W == W - 1, "it must make room for every token from W on."),
        (lambda seen, W: seen == W - 1,
         "one slot is then still free, and later it must keep making room."),
        (lambda seen, W: seen >= 2 * W, "that is when the buffer has been filled a second time."),
        (lambda seen, W: seen >= 4, "W is not always 4; take the argument."),
        (lambda seen, W: seen > 0, "there are free slots until W tokens are held."),
        (lambda seen, W: seen <= W, "seen and W are swapped."),
        (lambda seen, W: True, "at first there are free slots."),
        (lambda seen, W: False, "then it never makes room."),
        (lambda seen, W: seen < W, "True and False are swapped."),
    ]  # fmt: skip
