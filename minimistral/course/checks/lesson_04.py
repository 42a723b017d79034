"""Checks of lesson 04: the mask, the bug of one key too many, the cost."""

import tracemalloc
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np

from minimistral.config import visible_pairs
from minimistral.course.checks.report import (
    Wrong,
    call,
    diagnose_number,
    diagnose_numbers,
    exercise,
    expect,
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
]


@exercise("Window mask")
def mask(answer: Any) -> str:
    """answer(q_pos (T,), k_pos (S,), window) -> bool (T, S)."""
    columns = {"could not be broadcast": "q_pos[:, None] and k_pos[None, :] can be subtracted."}
    results = [call(answer, *case, hints=columns) for case in _CASES]
    _diagnose_masks([(c, _mask_of(mask, *c)) for c, mask in zip(_CASES, results, strict=True)])
    return f"agrees with the rule on all {len(_CASES)} cases."


@exercise("One key too many")
def suspect(shortest: Any, distance: Any, fixed: Any) -> str:
    """The symptom and the cure of a mask made with triu(-W), for W = 4096."""
    small = [(n, "That is for a small W. Give it for W = 4096.") for n in range(2, 10)]
    diagnose_number("shortest", whole_number("shortest", shortest), 4097, [
        (4096, "At T = 4096 the last query is at 4095 and its oldest key 4095 back: "
               "both masks show it."),
        (4095, "All 4095 keys lie inside the window; both masks are plain causal."),
        (4098, "At T = 4097 there is already one row that differs."),
        (8192, "The masks differ long before 2 W."),
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
    cases = [(np.arange(T), np.arange(T), W) for T, W in ((9, 3), (6, 6), (7, 6), (4, 1))]
    returned = [call(fixed, len(case[0]), case[2], name="fixed_mask") for case in cases]
    _diagnose_masks([(c, _mask_of(mask, *c)) for c, mask in zip(cases, returned, strict=True)])
    return "the symptom is understood, and the repaired mask shows W keys."


@exercise("Visible pairs")
def pairs(answer: Any) -> str:
    """answer(n_tokens, window) -> how many (query, key) pairs are visible."""
    cases = [(9, 4), (100, 7), (40, 40), (12, 50), (1, 1), (2000, 256)]
    frugal = answer if answer is None or not callable(answer) else _frugal(answer)
    diagnose_numbers(
        "The count",
        frugal,
        visible_pairs,
        cases,
        _pair_mistakes(),
        lambda T, W: f"T = {T}, W = {W}",
    )
    return f"agrees with the rule on all {len(cases)} cases."


@exercise("Keys of a block")
def block_keys(answer: Any) -> str:
    """answer(start, stop, window) -> (first, last + 1) of the keys that a block needs."""
    for start, stop, W in ((8, 12, 4), (8, 12, 1), (0, 4, 4), (2, 4, 8), (100, 164, 30)):
        first, end = _two_numbers(call(answer, start, stop, W))
        seen = window_mask(np.arange(start, stop), np.arange(stop), W).any(axis=0)
        oldest = int(seen.argmax())
        case = f"for queries {start} to {stop - 1} and W = {W}"
        expect((first, end) != (stop, oldest), f"{case} the two numbers are swapped.")
        expect(first >= 0, f"{case} the first key cannot be {first}: there is no key before 0.")
        expect(end != stop - 1, f"{case} the end {end} leaves out the last query's own key.")
        expect(end >= stop, f"{case} the end must be {stop}, not {end}.")
        expect(end == stop, f"{case} keys from {stop} on lie ahead; nobody may see them.")
        need = f"the first query, at {start}, sees back to key {oldest}"
        expect(first != oldest - 1, f"{case} key {first} is one too many: {need}.")
        expect(first >= oldest, f"{case} keys {first} to {oldest - 1} are not needed: {need}.")
        expect(first <= oldest, f"{case} the key {oldest} is missing: {need}.")
    return "a block of n queries needs at most n + W - 1 keys, whatever T is."


def _two_numbers(result: Any) -> list[int]:
    is_pair = isinstance(result, tuple | list | np.ndarray) and len(result) == 2
    expect(is_pair, "return two numbers: the first key, and one past the last.")
    return [whole_number("Each of the two", value) for value in result]


def _mask_of(result: Any, q_pos: np.ndarray, k_pos: np.ndarray, _window: int) -> np.ndarray:
    """The learner's result as a bool mask of the right shape; raises Wrong with a hint."""
    is_array = hasattr(result, "shape") and hasattr(result, "dtype")
    expect(is_array, f"return a NumPy array, not a value of type {type(result).__name__}.")
    mask, shape = np.asarray(result), (len(q_pos), len(k_pos))
    if mask.shape != shape and mask.shape == shape[::-1]:
        raise Wrong(f"the shape is {mask.shape}, transposed: rows are queries, columns are keys.")
    expect(mask.shape == shape, f"the shape must be (T, S) = {shape}, not {mask.shape}.")
    if mask.dtype != bool:
        raise Wrong(
            f"the dtype must be bool, not {mask.dtype}. Comparisons give bool; "
            "np.zeros and np.ones need dtype=bool."
        )
    return mask


def _diagnose_masks(results: list[tuple[tuple, np.ndarray]]) -> None:
    """Raise Wrong with the mistake that explains every result, or with the first wrong entry."""
    if all(np.array_equal(mask, window_mask(*case)) for case, mask in results):
        return
    for mistaken, hint in _mistakes():
        explains = all(np.array_equal(mask, mistaken(*case)) for case, mask in results)
        expect(not explains, hint)
    for (q_pos, k_pos, window), mask in results:
        for t, s in np.argwhere(mask != window_mask(q_pos, k_pos, window)):
            i, j = q_pos[t], k_pos[s]
            yours, rule = ("shows", "hides") if mask[t, s] else ("hides", "shows")
            raise Wrong(
                f"query at {i}, key at {j}, W = {window}: the distance is {i - j}, "
                f"so the rule {rule} it, but your mask {yours} it."
            )


def _mistakes() -> Iterator[tuple[Callable, str]]:
    """Well-known wrong masks, each made from the one right rule, and what to say of them."""
    own = lambda q, k, W: window_mask(q, k, 1)  # noqa: E731
    yield (
        lambda q, k, W: window_mask(q, k, W + 1),
        "each row sees W + 1 keys. The key W back must be hidden: 0 <= i - j < W.",
    )
    yield (
        lambda q, k, W: window_mask(q, k, W + 2),
        "each row sees W + 2 keys. The keys W and W + 1 back must be hidden: 0 <= i - j < W.",
    )
    yield (
        lambda q, k, W: window_mask(q, k, W) & ~window_mask(q - W + 1, k, 1),
        "each row sees W - 1 keys. The key W - 1 back is the oldest of the W: it is visible.",
    )
    yield (
        lambda q, k, W: window_mask(q, k, W) & ~own(q, k, W),
        "no query sees itself. Distance 0 is visible: 0 <= i - j.",
    )
    yield (
        lambda q, k, W: window_mask(q, k, W + 1) & ~own(q, k, W),
        "each query sees the W keys before it, but not itself. The W keys include its own.",
    )
    yield (
        lambda q, k, W: window_mask(k, q, W).T,
        "i and j are flipped: yours sees ahead. i - j is the query's position minus the key's.",
    )
    yield (
        lambda q, k, W: window_mask(q, k, W) | window_mask(k, q, W).T,
        "it is not causal: it sees W - 1 keys ahead as well. i - j must be at least 0.",
    )
    yield (
        lambda q, k, W: window_mask(q, k, W) | ~window_mask(q, k, None),
        "it is not causal: every key ahead is visible. i - j must be at least 0 as well.",
    )
    yield (
        lambda q, k, W: window_mask(q, k, None),
        "it is causal, but no key is ever too old. i - j must be below the argument W.",
    )
    yield (
        lambda q, k, W: np.ones((len(q), len(k)), bool),
        "every key is visible. | needs one of the two conditions, and one always holds; & needs "
        "both.",
    )
    yield (
        lambda q, k, W: own(q, k, W) & (W == 1),
        "past keys are hidden. The sign: np.triu(x, -n) keeps i - j <= n.",
    )
    yield (
        lambda q, k, W: ~window_mask(q, k, W),
        "True and False are swapped. True means visible.",
    )
    yield (
        lambda q, k, W: window_mask(np.arange(len(q)), np.arange(len(k)), W),
        "it counts rows and columns. Use the positions in q_pos and k_pos.",
    )


def _frugal(answer: Callable) -> Callable:
    """The same function, but it may not build the whole T x T mask to count it."""

    def watched(n_tokens: int, window: int) -> Any:
        tracemalloc.start()
        try:
            result = answer(n_tokens, window)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        small = peak < max(n_tokens**2 // 2, 2**18)
        expect(small, "that builds an array of T x T to count it. Find the sum without the mask.")
        return result

    return watched


def _pair_mistakes() -> list[tuple[Callable[[int, int], int], str]]:
    return [
        (lambda T, W: T * W, "T x W forgets that the first rows see fewer than W keys."),
        (lambda T, W: T * min(T, W), "The first rows see fewer keys: 1, 2, 3, …"),
        (lambda T, W: T * T, "That is every pair. Keys ahead and keys too old are hidden."),
        (lambda T, W: visible_pairs(T, None), "That is full causal: no key is ever too old."),
        (lambda T, W: visible_pairs(T, W + 1), "That is W + 1 keys per row."),
        (lambda T, W: visible_pairs(T, W - 1) if W > 1 else 0, "That is W - 1 keys per row."),
        (lambda T, W: visible_pairs(T, W) - T, "The diagonal is missing: each query sees itself."),
        (lambda T, W: visible_pairs(T - 1, W),
         "Row i sees i + 1 keys, not i, until the window is full."),
        (lambda T, W: (T - W) * W, "That is only the full rows; the first W rows are missing."),
        (lambda T, W: T * W - W * (W + 1) // 2,
         "The first W rows see 1, 2, …, W keys: W(W + 1)/2. They fall short by W(W - 1)/2."),
        (lambda T, W: visible_pairs(min(T, W), None), "That is the triangle. The rows from W on,"
         " with W keys each, are missing."),
        (lambda T, W: visible_pairs(T, W) + W, "The band has T - W rows, from W to T - 1."),
        (lambda T, W: visible_pairs(T, W) - W, "The band has T - W rows, from W to T - 1."),
        (lambda T, W: min(T, W) ** 2 // 2 + max(0, T - W) * W, "1 + 2 + … + n is n(n + 1)/2."),
        (lambda T, W: T * W - W * (W - 1) // 2,
         "When W is larger than T there are only T rows: a smaller triangle, and no band."),
        (
            lambda T, W: W * (W + 1) // 2 + max(0, T - W) * W,
            "When W is larger than T there are only T rows: a smaller triangle.",
        ),
    ]  # fmt: skip
