"""Checks of lesson 04: the mask, the bug of one key too many, the cost."""

import sys
import tracemalloc
from collections.abc import Callable, Sequence
from operator import index
from types import FunctionType, ModuleType
from typing import Any

import numpy as np

from minimistral.config import visible_pairs
from minimistral.course.checks.report import (
    Example,
    Wrong,
    call,
    diagnose_number,
    diagnose_numbers,
    exercise,
    expect,
    measured,
    whole_number,
)
from minimistral.np import window_mask

# Positions of queries and keys, and W. The first has T != S, so that a transpose shows.
_CASES = [
    (np.arange(4, 8), np.arange(2, 8), 3),
    (np.arange(6), np.arange(6), 3),
    (np.arange(6), np.arange(6), 1),
    (np.arange(5), np.arange(5), 9),
    (np.array([5]), np.array([4, 5, 2, 3]), 3),
    (np.arange(10, 13), np.arange(3, 13), 4),
    (np.array([9, 2, 6]), np.array([7, 1, 9, 5, 2]), 4),
]


@exercise("Window mask", course=window_mask, hints=(
    "`q_pos[:, None]` has shape (T, 1) and `k_pos[None, :]` has shape (1, S), so their "
    "difference has shape (T, S). What is its entry in row t and column s?",
    "The rule is two comparisons of that difference. Join them with `&`, because `and` does not "
    "work on arrays, and put each comparison in brackets.",
    "With `i_minus_j = q_pos[:, None] - k_pos[None, :]`, the first comparison is "
    "`(i_minus_j >= 0)`. The second compares the same array with `window`.",
))  # fmt: skip
def mask(answer: Any) -> str:
    """answer(q_pos (T,), k_pos (S,), window) -> bool (T, S)."""
    own = "this is the course's own window_mask. Write the two comparisons yourself."
    expect(not measured(_is_the_course_s, answer), own)
    advice = {
        "could not be broadcast": "q_pos[:, None] and k_pos[None, :] can be subtracted.",
        "out of bounds": "Positions are no indices: row t belongs to the query at q_pos[t].",
    }
    results = [call(answer, *case, hints=advice) for case in _CASES]
    _diagnose_masks(_CASES, _CASES, results)
    return f"agrees with the rule on all {len(_CASES)} cases."


@exercise("One key too many", hints=(
    "Make it small: take W = 3, and print `suspect_mask(T, 3)` and `window_mask_loop(T, 3)` for "
    "T = 3, 4 and 5. At which T do they differ first, and in which entry?",
    "`np.triu(x, -n)` keeps the entries with i − j ≤ n. The largest i − j of a prompt is T − 1.",
    "The mask shows the key W back, which must be hidden. A prompt has such a key once it has "
    "W + 1 tokens, and `np.triu(x, -n)` is right when n is the largest visible distance, W − 1.",
))  # fmt: skip
def suspect(shortest: Any, distance: Any, fixed: Any) -> str:
    """The symptom and the cure of a mask made with triu(-W), for W = 4096."""
    small = [(n, "That is for a small W. Give it for W = 4096.") for n in range(2, 10)]
    diagnose_number("shortest", whole_number("shortest", shortest), 4097, [
        (4096, "At T = 4096 the last query is at 4095 and its oldest key 4095 back: "
               "both masks show it."),
        (4095, "All 4095 keys lie inside the window; both masks are plain causal."),
        (4098, "At T = 4097 there is already one row that differs."),
        (8192, "The masks differ long before 2 W."),
        (8193, "The masks differ long before 2 W."),
        (1, "On short prompts both masks are plain causal."),
        *small,
    ])  # fmt: skip
    diagnose_number("distance", whole_number("distance", distance), 4096, [
        (4095, "The key 4095 back is the oldest of the W keys; it is rightly visible."),
        (4097, "That counts the keys of a row. The question is how far back the extra one lies."),
        (0, "The key 0 back is the query's own; it is rightly visible."),
        (1, "The key 1 back is rightly visible for any W above 1."),
        (-4096, "Distances i - j of past keys are positive."),
        *small,
    ])  # fmt: skip
    sizes = [(9, 3), (6, 6), (7, 6), (4, 1)]
    results = [call(fixed, T, W, name="fixed_mask") for T, W in sizes]
    _diagnose_masks([(np.arange(T), np.arange(T), W) for T, W in sizes], sizes, results)
    return "the symptom is understood, and the repaired mask shows W keys."


@exercise("Visible pairs", course=visible_pairs, hints=(
    "Row i sees min(i + 1, W) keys. Write down these numbers for T = 6 and W = 3, and add them.",
    "The first rows form a triangle, 1 + 2 + … + n = n(n + 1)/2, and each row after it sees "
    "W keys. How many rows does the triangle have when W is larger than T?",
    "With `ramp = min(n_tokens, window)` the triangle has `ramp * (ramp + 1) // 2` pairs. "
    "The other `n_tokens - ramp` rows have `window` pairs each.",
))  # fmt: skip
def pairs(answer: Any) -> str:
    """answer(n_tokens, window) -> how many (query, key) pairs are visible."""
    frugal = answer if answer is None or not callable(answer) else _frugal(answer)
    shorter = [(9, 4), (5, 2), (100, 7), (40, 40), (1, 1), (2000, 256)]
    longer = [(3, 5), (12, 50), (7, 8)]  # W above T: a formula for W <= T is wrong here alone
    for cases in (shorter, longer):
        diagnose_numbers(
            "The count",
            frugal,
            visible_pairs,
            cases,
            _pair_mistakes() if cases is shorter else [(frugal, _ONLY_T_ROWS)],
            lambda T, W: f"T = {T}, W = {W}",
        )
    return f"agrees with the rule on all {len(shorter + longer)} cases."


def _block(start: int, stop: int, window: int) -> tuple[int, int]:
    """The keys of a block, read off the mask."""
    seen = window_mask(np.arange(start, stop), np.arange(stop), window).any(axis=0)
    return int(seen.argmax()), stop


@exercise("Keys of a block", course=_block, hints=(
    "All queries of the block look back equally far, so the first query reaches the oldest key. "
    "Which key does the last query need?",
    "The query at i sees the keys from i − W + 1 to i. What if i − W + 1 is below 0?",
    "The first key is `start - window + 1`, or 0 where that is negative, which `max` gives. One "
    "past the last is `stop`, because the last query, at stop − 1, sees itself.",
))  # fmt: skip
def block_keys(answer: Any) -> str:
    """answer(start, stop, window) -> (first, last + 1) of the keys that a block needs."""
    for start, stop, W in ((8, 12, 4), (8, 12, 1), (0, 4, 4), (4, 8, 4), (2, 4, 8), (100, 164, 30)):
        result = call(answer, start, stop, W)
        oldest, _ = right = _block(start, stop, W)
        first, end = got = _two_numbers(result)
        case = f"for queries {start} to {stop - 1} and W = {W}"
        need = f"the first query, at {start}, sees back to key {oldest}"
        faults = (
            (got == (stop, oldest), "the two numbers are swapped."),
            (got == (oldest, stop - oldest) != right,
             f"the second number counts the keys; one past the last key is {stop}."),
            (first < 0, f"the first key cannot be {first}: there is no key before 0."),
            (end == stop - 1, f"the end {end} leaves out the last query's own key."),
            (end < stop, f"the end must be {stop}, not {end}."),
            (end > stop, f"keys from {stop} on lie ahead; nobody may see them."),
            (first == oldest - 1, f"key {first} is one too many: {need}."),
            (first < oldest, f"keys {first} to {oldest - 1} are not needed: {need}."),
            (first > oldest, f"the key {oldest} is missing: {need}."),
        )  # fmt: skip
        for holds, why in faults:
            if holds:
                raise Wrong(f"{case} {why}", Example((start, stop, W), got, right))
        for value in result:
            try:
                index(value)
            except TypeError:
                given = value.dtype if hasattr(value, "dtype") else type(value).__name__
                told = f"the numbers must be whole, of type int, not {given}: they cut an array."
                raise Wrong(told) from None
    return "a block of n queries needs at most n + W - 1 keys, whatever T is."


def _two_numbers(result: Any) -> tuple[int, ...]:
    is_pair = hasattr(result, "__getitem__") and not isinstance(result, str | dict)
    told = "return two numbers: the first key, and one past the last."
    expect(is_pair and hasattr(result, "__len__") and len(result) == 2, told)
    return tuple(whole_number("Each of the two", value) for value in result)


def _is_the_course_s(answer: Any) -> bool:
    """Whether it is the engine's window_mask, of either twin, or a function that calls it."""
    name = window_mask.__name__
    if isinstance(answer, FunctionType) and name in answer.__code__.co_names:
        space = answer.__globals__
        modules = [space.get(word) for word in answer.__code__.co_names if word in space]
        own = [getattr(m, name, None) for m in modules if isinstance(m, ModuleType)]
        answer = next(filter(None, own), space.get(name, window_mask))  # mm.window_mask, or plain
    twins = "minimistral.np.mask", "minimistral.pt.mask"
    return isinstance(answer, FunctionType) and answer.__module__ in twins


def _mask_of(result: Any, case: tuple, arguments: tuple) -> np.ndarray:
    """The learner's result as a bool mask of the right shape; raises Wrong with a hint."""
    is_array = hasattr(result, "shape") and hasattr(result, "dtype")
    expect(is_array, f"return a NumPy array, not a value of type {type(result).__name__}.")
    right = window_mask(*case)
    example = Example(arguments, np.asarray(result), right)
    shape, wanted = tuple(result.shape), right.shape
    if shape != wanted and shape == wanted[::-1]:
        why = f"the shape is {shape}, transposed: rows are queries, columns are keys."
        raise Wrong(why, example)
    if shape != wanted:
        raise Wrong(f"the shape must be (T, S) = {wanted}, not {shape}.", example)
    if not str(result.dtype).endswith("bool"):  # torch.bool, too
        raise Wrong(
            f"the dtype must be bool, not {result.dtype}. Comparisons give bool; "
            "np.zeros and np.ones need dtype=bool."
        )
    return np.asarray(result)


def _diagnose_masks(cases: Sequence[tuple], calls: Sequence[tuple], results: Sequence) -> None:
    """Raise Wrong with the mistake that explains every result, or with the first wrong entry.

    cases: (q_pos, k_pos, window) of each mask. calls: the arguments that gave the results.
    """
    masks = [_mask_of(*given) for given in zip(results, cases, calls, strict=True)]
    rights = [window_mask(*case) for case in cases]
    wrong = [n for n, mask in enumerate(masks) if not np.array_equal(mask, rights[n])]
    if not wrong:
        return
    smallest = min(wrong, key=lambda n: masks[n].size)
    example = Example(calls[smallest], masks[smallest], rights[smallest])
    for mistaken, why in _MASK_MISTAKES:
        if all(np.array_equal(m, mistaken(*case)) for m, case in zip(masks, cases, strict=True)):
            raise Wrong(why, example)
    n = wrong[0]
    q_pos, k_pos, window = cases[n]
    t, s = np.argwhere(masks[n] != rights[n])[0]
    i, j = q_pos[t], k_pos[s]
    yours, rule = ("shows", "hides") if masks[n][t, s] else ("hides", "shows")
    sizes = {cases[m][2] for m in wrong}
    more = ""
    if all((np.diff(k_pos) != 1).any() or (np.diff(q_pos) != 1).any()
           for q_pos, k_pos, _ in (cases[m] for m in wrong)):  # fmt: skip
        more = " Only positions that are not in order go wrong: ask no index where a key lies."
    elif sizes == {cases[m][2] for m in range(len(cases))} - {3}:
        more = " Your window is 3, whatever W is."
    raise Wrong(
        f"query at {i}, key at {j}, W = {window}: the distance is {i - j}, "
        f"so the rule {rule} it, but your mask {yours} it.{more}",
        Example(calls[n], masks[n], rights[n]),
    )


def _from_zero(positions: np.ndarray) -> np.ndarray:
    return np.arange(len(positions))


def _ahead(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    return ~window_mask(q, k, None)


def _own(q: np.ndarray, k: np.ndarray) -> np.ndarray:
    return window_mask(q, k, 1)


# Well-known wrong masks, each made from the one right rule, and what to say of them.
_MASK_MISTAKES: list[tuple[Callable[..., np.ndarray], str]] = [
    (lambda q, k, W: window_mask(q, k, W + 1),
     "each row sees W + 1 keys. The key W back must be hidden: 0 <= i - j < W."),
    (lambda q, k, W: window_mask(q, k, W + 2),
     "each row sees W + 2 keys. The keys W and W + 1 back must be hidden: 0 <= i - j < W."),
    (lambda q, k, W: window_mask(q, k, W) & ~window_mask(q - W + 1, k, 1),
     "each row sees W - 1 keys. The key W - 1 back is the oldest of the W: it is visible."),
    (lambda q, k, W: window_mask(q, k, W) & ~_own(q, k),
     "no query sees itself. Distance 0 is visible: 0 <= i - j."),
    (lambda q, k, W: window_mask(q, k, W + 1) & ~_own(q, k),
     "each query sees the W keys before it, but not itself. The W keys include its own."),
    (lambda q, k, W: window_mask(q, k, None) & ~_own(q, k),
     "no query sees itself, and no key is ever too old. The rule is 0 <= i - j < W."),
    (lambda q, k, W: window_mask(k, q, W).T,
     "i and j are flipped: yours sees ahead. i - j is the query's position minus the key's."),
    (lambda q, k, W: window_mask(q, k, W) | window_mask(k, q, W).T,
     "it is not causal: it sees W - 1 keys ahead as well. i - j must be at least 0."),
    (lambda q, k, W: window_mask(q, k, W // 2 + 1) | window_mask(k, q, W // 2 + 1).T,
     "the window lies around the query, so it sees ahead. All W keys end at the query's own."),
    (lambda q, k, W: window_mask(q, k, W) | _ahead(q, k),
     "it is not causal: every key ahead is visible. i - j must be at least 0 as well."),
    (lambda q, k, W: window_mask(q, k, W + 1) | _ahead(q, k),
     "it is not causal: every key ahead is visible, and so is the key W back."),
    (lambda q, k, W: _ahead(q, k), "it shows the keys ahead and hides the others."),
    (lambda q, k, W: window_mask(q, k, None),
     "it is causal, but no key is ever too old. i - j must be below the argument W."),
    (lambda q, k, W: np.ones((len(q), len(k)), bool),
     "every key is visible. | needs one of the two conditions, and one always holds; & needs "
     "both."),
    (lambda q, k, W: _own(q, k) & (W == 1),
     "past keys are hidden. The sign: np.triu(x, -n) keeps i - j <= n."),
    (lambda q, k, W: np.zeros((len(q), len(k)), bool),
     "every key is hidden. Where np.triu is used, mind the sign: np.triu(x, -n) keeps i - j <= n."),
    (lambda q, k, W: ~window_mask(q, k, W), "True and False are swapped. True means visible."),
    (lambda q, k, W: window_mask(_from_zero(q), _from_zero(k), W),
     "it counts rows and columns. Use the positions in q_pos and k_pos."),
    (lambda q, k, W: window_mask(_from_zero(q), k, W),
     "it counts the rows. Use the positions of the queries, q_pos."),
    (lambda q, k, W: window_mask(q, _from_zero(k), W),
     "it counts the columns. Use the positions of the keys, k_pos."),
    (lambda q, k, W: window_mask(_from_zero(q) + len(k) - len(q), _from_zero(k), W),
     "it takes the last row for the last column's token. Use the positions in q_pos and k_pos."),
    (lambda q, k, W: window_mask(q, np.sort(k), W),
     "it takes the keys as sorted; they keep the order of k_pos."),
    (lambda q, k, W: window_mask(np.sort(q), k, W),
     "it takes the queries as sorted; they keep the order of q_pos."),
    (lambda q, k, W: window_mask(np.sort(q), np.sort(k), W),
     "it takes the positions as sorted; rows and columns keep the order of q_pos and k_pos."),
    (lambda q, k, W: window_mask(q, k, None) & (k > q.max() - W),
     "all rows have the window of the last query. Each query's own W keys end at itself."),
    (lambda q, k, W: window_mask(q, k, None) & (k < W),
     "it shows the first W keys of the text. The W keys are the query's nearest."),
    (lambda q, k, W: window_mask(q, k, W) | window_mask(q, k, None) & (k == k.min()),
     "the oldest key is visible to all rows. It is hidden like any key W or more back."),
    (lambda q, k, W: window_mask(q, k, None) & (q[:, None] // W == k // W),
     "it cuts the text into pieces of W tokens. The window moves by one key per query."),
]  # fmt: skip


def _frugal(answer: Callable) -> Callable:
    """The same function, but it may neither build the T x T mask nor visit each visible pair."""

    def watched(n_tokens: int, window: int) -> Any:
        return measured(_watched, answer, n_tokens, window)

    return watched


def _watched(answer: Callable, n_tokens: int, window: int) -> Any:
    steps = 0

    def count(*_event: Any) -> Callable:
        nonlocal steps
        steps += 1
        if steps > 10_000 + 100 * n_tokens:
            raise Wrong("that visits the pairs one by one. Count them row by row.")
        return count

    before = sys.gettrace()
    tracemalloc.start()
    sys.settrace(count)
    try:
        result = answer(n_tokens, window)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        sys.settrace(before)
        tracemalloc.stop()
    small = peak < max(n_tokens**2 // 2, 2**18)
    expect(small, "that builds an array of T x T to count it. Find the sum without the mask.")
    return result


_ONLY_T_ROWS = (
    "When W is larger than T there are only T rows: a smaller triangle, and no rows of W keys."
)
_TOO_OLD = "The keys that are too old form a triangle too: (T - W)(T - W + 1)/2 pairs."


def _pair_mistakes() -> list[tuple[Callable[[int, int], int], str]]:
    """Wrong sums where W is at most T."""
    full = lambda T: T * (T + 1) // 2  # noqa: E731
    return [
        (lambda T, W: T * W, "T x W is too much. The first rows see fewer keys: 1, 2, 3, …"),
        (lambda T, W: min(T * W, full(T)),
         "That is the smaller of two totals. Take the smaller number in each row."),
        (lambda T, W: T * T, "That is every pair. Keys ahead and keys too old are hidden."),
        (lambda T, W: T * T // 2, "That is half of all pairs. No window comes into it."),
        (lambda T, W: full(T), "That is full causal: no key is ever too old."),
        (lambda T, W: full(T - 1),
         "That is full causal without the diagonal. Each query sees itself, and W keys at most."),
        (lambda T, W: visible_pairs(T, W + 1), "That is W + 1 keys per row."),
        (lambda T, W: visible_pairs(T, W - 1) if W > 1 else 0, "That is W - 1 keys per row."),
        (lambda T, W: visible_pairs(T, W) - T, "The diagonal is missing: each query sees itself."),
        (lambda T, W: visible_pairs(T, W) - W,
         "That is W too few. Row i sees i + 1 keys, so the first W rows see 1 + 2 + … + W, which"
         " is W(W - 1)/2 less than W x W. Each of the other T - W rows sees W."),
        (lambda T, W: (T - W) * W, "That is only the full rows; the first W rows are missing."),
        (lambda T, W: T * W - W * W // 2,
         "The first W rows see 1, 2, …, W keys, so they fall short by W(W - 1)/2."),
        (lambda T, W: full(W), "That is the triangle. The rows after it, with W keys each, are"
         " missing."),
        (lambda T, W: visible_pairs(T, W) + W,
         "That is one row too many. The triangle ends with row W - 1, and T - W rows follow it."),
        (lambda T, W: W * W // 2 + (T - W) * W, "1 + 2 + … + n is n(n + 1)/2."),
        (lambda T, W: full(T) - (T - W) ** 2 // 2, _TOO_OLD),
        (lambda T, W: full(T) - (T - W), _TOO_OLD),
        (lambda T, W: 2 * visible_pairs(T, W) - T,
         "That sees W - 1 keys ahead as well. Only the query's own and the past are visible."),
    ]  # fmt: skip
