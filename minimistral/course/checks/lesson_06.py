"""Checks of lesson 06: slots, what they hold, who sees them, and a cache that goes back."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
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
from minimistral.np import window_mask
from minimistral.np.cache import slot_of

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]
Pair = tuple[np.ndarray, np.ndarray]


@exercise("Where, and who leaves")
def slot_and_evicted(answer: Any) -> str:
    """answer(i, W) -> (slot, evicted position or -1)."""
    cases = [(0, 4), (3, 4), (4, 4), (6, 4), (11, 4), (7, 3), (10, 1), (4096, 4096), (10_000, 4096)]
    results = [(case, _pair(call(answer, *case))) for case in cases]
    if all(pair == _slot_and_evicted(*case) for case, pair in results):
        return f"right for all {len(cases)} tokens."
    for mistaken, hint in _slot_mistakes():
        expect(any(pair != mistaken(*case) for case, pair in results), hint)
    case, (slot, evicted) = next(
        (case, pair) for case, pair in results if pair != _slot_and_evicted(*case)
    )
    part = f"the evicted position is not {evicted:,}"
    if slot != _slot_and_evicted(*case)[0]:
        part = f"the slot is not {slot:,}"
    raise Wrong(f"for token {case[0]:,} and W = {case[1]:,} {part}.")


@exercise("Store a key")
def store(answer: Any) -> str:
    """answer(keys (W, D), positions (W,), key (D,), i) -> keys, positions."""
    rng = np.random.default_rng(6)
    cases = []
    for W, D, i in ((4, 3, 0), (4, 2, 3), (4, 3, 6), (3, 5, 11), (1, 2, 9)):
        cases.append((rng.standard_normal((W, D)), _held(i, W), rng.standard_normal(D), i))
    hints = {"out of bounds": "The slots are 0 to len(keys) - 1, and they are reused."}
    results = [(case, _stored(call(answer, *case, hints=hints), case[0].shape)) for case in cases]
    diagnose_arrays(results, _store, _store_mistakes())
    return f"right on all {len(cases)} cases, and nothing else moves."


@exercise("Which slots are visible")
def slots_seen(answer: Any) -> str:
    """answer(positions (S,), i, W) -> bool (S,)."""
    cases = [
        (np.array([0, 1, 2, -1]), 2, 4),
        (np.array([4, 5, 6, 3]), 6, 4),
        (np.array([-1, -1, -1]), 0, 3),
        (np.array([8, 9, 2, 3, 4, 5, 6, 7]), 9, 3),
        (np.array([8, 9, 6, 7]), 7, 4),
        (np.array([0, -1]), 1, 5),
        (np.array([8, 9, 10, 3, 4, 5, 6, 7]), 10, 6),
    ]
    results = [(case, bools(call(answer, *case), case[0].shape)) for case in cases]
    diagnose_arrays(results, _seen, _seen_mistakes())
    return f"agrees with the rule on all {len(cases)} caches."


@exercise("A cache that goes back")
def rewinding(stale: Any, lost: Any, can_rewind: Any) -> str:
    """What a counting cache shows after a rewind, and when a rolling one can take tokens back."""
    diagnose_number("stale", whole_number("stale", stale), 5, [
        (4, "Position 4 was written again, over the old one in slot 0. Look at the other slots."),
        (1, "Token 1 is no longer there: token 5 lies in its slot."),
        (0, "Token 0 was overwritten by token 4."),
        (3, "The newest token, at 4, may see 1 to 4."),
        (2, "The newest token, at 4, may see 1 to 4."),
        (6, "Only tokens 0 to 5 were added. Which of them lie ahead of position 4?"),
    ])  # fmt: skip
    diagnose_number("lost", whole_number("lost", lost), 1, [
        (0, "Token 0 lies 4 back, outside the window: nobody needs it."),
        (5, "Token 5 is there, but must not be seen. Which one did it overwrite?"),
        (4, "Token 4 was just added."),
        (2, "Token 2 is in slot 2 all the time."),
        (3, "Token 3 is in slot 3 all the time."),
    ])  # fmt: skip
    cases = [(seen, n, W) for W in (2, 4, 7) for seen in range(13) for n in range(seen + 2)]
    cases = [(seen, n, W) for seen, n, W in cases if n != seen]  # taking back everything is a reset
    diagnose_truths(can_rewind, _rewinds, cases, _rewind_mistakes(), lambda seen, n, W:
           f"W = {W}, {seen} tokens seen and {n} to take back")  # fmt: skip
    return f"right in all {len(cases)} cases: once it has wrapped, one token and no more."


def _pair(value: Any) -> tuple[int, int]:
    is_pair = hasattr(value, "__len__") and len(value) == 2
    expect(is_pair, "return a pair: the slot, and the evicted position.")
    slot, evicted = value
    expect(evicted is not None, "an empty slot is -1 here, not None.")
    return whole_number("The slot", slot), whole_number("The evicted position", evicted)


def _slot_and_evicted(i: int, W: int) -> tuple[int, int]:
    return slot_of(i, W), max(-1, i - W)


def _slot_mistakes() -> Iterable[tuple[Callable[[int, int], tuple[int, int]], str]]:
    return [
        (lambda i, W: (i % W, i - W),
         "an empty slot is -1: while the first W tokens come in, nothing is evicted."),
        (lambda i, W: (i % W, max(0, i - W)),
         "at first the slots are empty, so nothing is evicted: that is -1. 0 is a token's "
         "position."),
        (lambda i, W: (i % W, max(-1, i - W + 1)),
         "that one is evicted a token later: token i evicts token i - W."),
        (lambda i, W: (i % W, max(-1, i - W - 1)),
         "that one was evicted a token earlier: token i evicts token i - W."),
        (lambda i, W: (i % W, i % W if i >= W else -1),
         "that is the slot. Return the position of the token that was there."),
        (lambda i, W: (i % W, i - W if i > W else -1),
         "token W is the first that evicts: it overwrites token 0."),
        (lambda i, W: (i % W, -1), "once every slot is used, each new token evicts one."),
        (lambda i, W: (i % W, i % W),
         "that is the slot twice. Which token was there before, and when was there none?"),
        (lambda i, W: (i % W, i - 1 if i >= W else -1),
         "that is the token just before. The oldest one is evicted."),
        (lambda i, W: (i % W + 1, max(-1, i - W)), "slots are counted from 0."),
        (lambda i, W: (i % (W + 1), max(-1, i - W)), "that would be W + 1 slots."),
        (lambda i, W: (i % 4, max(-1, i - W)), "W is an argument; 4 was an example."),
        (lambda i, W: (i & (W - 1), max(-1, i - W)), "that is i mod W for powers of 2 only."),
        (lambda i, W: (i // W, max(-1, i - W)), "// counts how often W fits; % is the remainder."),
        (lambda i, W: (min(i, W - 1), max(-1, i - W)),
         "that is a shifting buffer. Here the first slot is reused."),
        (lambda i, W: (max(-1, i - W), i % W), "the slot comes first, then the evicted position."),
    ]  # fmt: skip


def _held(i: int, W: int) -> np.ndarray:
    """What the slots hold before token i comes."""
    held = np.full(W, -1)
    for j in range(i):
        held[slot_of(j, W)] = j
    return held


def _stored(value: Any, shape: tuple[int, int]) -> np.ndarray:
    """Both arrays in one: (W, D + 1)."""
    is_pair = isinstance(value, tuple | list) and len(value) == 2
    expect(is_pair, "return both: keys, positions.")
    keys, positions = array(value[0], shape), array(value[1], shape[:1])
    return np.concatenate([keys, positions[:, None]], axis=1)


def _store(
    keys: np.ndarray,
    positions: np.ndarray,
    key: np.ndarray,
    i: int,
    slot: Callable[[int, int], int] = slot_of,
    mark: Callable[[int, int], int] = lambda i, W: i,
) -> np.ndarray:
    keys, positions, W = keys.copy(), positions.copy(), len(keys)
    keys[slot(i, W)], positions[slot(i, W)] = key, mark(i, W)
    return np.concatenate([keys, positions[:, None]], axis=1)


def _store_mistakes() -> Mistakes:
    def at(slot: Callable[[int, int], int]) -> Callable[..., np.ndarray]:
        return lambda keys, positions, key, i: _store(keys, positions, key, i, slot)

    def shift(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        moved = np.roll(keys, -1, axis=0), np.roll(positions, -1)
        return _store(*moved, key, i, lambda i, W: W - 1)

    def unmarked(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        old = int(positions[slot_of(i, len(keys))])
        return _store(keys, positions, key, i, mark=lambda i, W: old)

    def no_key(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return _store(keys, positions, keys[slot_of(i, len(keys))], i)

    def in_order(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        stored = _store(keys, positions, key, i)
        return stored[np.argsort(stored[:, -1], kind="stable")]

    def added(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return _store(keys, positions, keys[slot_of(i, len(keys))] + key, i)

    def newest(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return _store(keys, positions, key, i, lambda i, W: int(positions.argmax()))

    return [
        (in_order, "the slots were sorted. Nothing may be moved."),
        (added, "the key was added to the old one. It must replace it."),
        (newest, "that is the slot of the newest token. The oldest one is replaced."),
        (at(lambda i, W: 0), "that is always the first slot."),
        (lambda keys, positions, key, i: _store(keys, positions, key, i, mark=lambda i, W: i - W),
         "that is the position of the evicted token. The slot now holds token i."),
        (lambda keys, positions, key, i: _store(keys, positions, key, i, mark=lambda i, W: i + 1),
         "that is the next position. The key belongs to token i."),
        (shift, "that shifts the buffer. Here only one slot is written."),
        (unmarked, "the slot must also remember its new position."),
        (lambda keys, positions, key, i: _store(keys, positions, key, i, mark=slot_of),
         "positions holds the position, not the slot's number."),
        (no_key, "the position is marked, but the key is not stored."),
        (at(lambda i, W: min(i, W - 1)),
         "once it is full, the last slot is written again and again."),
        (at(lambda i, W: (i - 1) % W), "that is the slot before the right one."),
        (at(lambda i, W: (i + 1) % W), "that is the slot after the right one."),
        (lambda keys, positions, key, i: np.concatenate([keys, positions[:, None]], axis=1),
         "nothing was stored."),
    ]  # fmt: skip


def _seen(positions: np.ndarray, i: int, W: int) -> np.ndarray:
    return window_mask(np.array([i]), positions, W)[0]


def _seen_mistakes() -> Mistakes:
    return [
        (lambda p, i, W: (p <= i) & (i - p < W), "an empty slot has position -1; hide it."),
        (lambda p, i, W: (p >= 0) & (i - p < W),
         "a token that lies ahead must be hidden: 0 <= i - j."),
        (lambda p, i, W: i - p < W, "hide empty slots, and tokens that lie ahead."),
        (lambda p, i, W: (p >= 0) & (p <= i),
         "a slot can hold a token that is too old: there may be more slots than W."),
        (lambda p, i, W: p >= 0, "that is every slot in use. The window's rule applies too."),
        (lambda p, i, W: (p >= 0) & (p <= i) & (i - p <= W), "that is W + 1 keys."),
        (lambda p, i, W: (p >= 0) & (p < i) & (i - p < W), "a query sees itself."),
        (lambda p, i, W: (p > 0) & (p <= i) & (i - p < W), "position 0 is a token, too."),
        (lambda p, i, W: (p >= 0) & (p <= i) & (i - p < W - 1), "that is W - 1 keys."),
        (lambda p, i, W: (p >= 0) & (p <= i) & (i - p < 4), "W is an argument; 4 was an example."),
        (lambda p, i, W: (p >= 0) & (abs(i - p) < W),
         "a token that lies ahead must be hidden: 0 <= i - j."),
        (lambda p, i, W: p <= i, "hide empty slots, and tokens that are too old."),
        (lambda p, i, W: ~_seen(p, i, W), "True and False are swapped."),
        (lambda p, i, W: np.ones(len(p), bool),
         "every slot is visible here. Join the conditions with &: all of them must hold."),
        (lambda p, i, W: np.zeros(len(p), bool), "every slot is hidden here, the query's own too."),
        (lambda p, i, W: window_mask(np.array([i]), np.arange(len(p)), W)[0],
         "it counts slots. Ask what position each of them holds."),
        (lambda p, i, W: np.arange(len(p)) <= i,
         "it counts slots. Ask what position each of them holds."),
        (lambda p, i, W: (p <= i) & (i - p < W) & (np.arange(len(p)) <= i),
         "it counts slots. Ask what position each of them holds."),
    ]  # fmt: skip


def _rewinds(seen: int, n: int, W: int) -> bool:
    return n <= seen and max(0, seen - n - W + 1) >= max(0, seen - W)


def _rewind_mistakes() -> Iterable[tuple[Callable[[int, int, int], bool], str]]:
    unwrapped = "a cache that has not wrapped yet, seen <= W, can take back more."
    to_spare = "W slots do not mean W tokens to spare: the next token needs W - 1 of them."
    counted = "that counts the tokens that are left. Ask which of them are still in the slots."
    second = "once it has wrapped, the second token back needs a key that was overwritten."
    nothing = "taking back nothing always works."
    strict = "the first key that is needed may be the oldest that is held: take >=, not >."
    return [
        (lambda seen, n, W: n <= seen,
         "tokens that were overwritten do not come back. Which does the next one need?"),
        (lambda seen, n, W: n <= 1 and n <= seen, unwrapped),
        (lambda seen, n, W: n <= 1, unwrapped),
        (lambda seen, n, W: n <= seen and (seen < W or n <= 1),
         "with seen = W nothing was overwritten yet: that cache can take back more."),
        (lambda seen, n, W: seen < W or n <= 1,
         "with seen = W nothing was overwritten yet, and nobody takes back more than was seen."),
        (lambda seen, n, W: n <= seen and (seen <= W or n == 0),
         "a wrapped cache can take back one token: the next goes into the same slot."),
        (lambda seen, n, W: n <= seen and seen <= W and n > 0, nothing),
        (lambda seen, n, W: n <= seen and (seen <= W or n == 1), nothing),
        (lambda seen, n, W: n <= seen and seen <= W,
         f"{nothing} And a wrapped cache can take back one token: the next goes into its slot."),
        (lambda seen, n, W: n <= seen and (seen <= W or n <= 2), second),
        (lambda seen, n, W: n < W and n <= seen, to_spare),
        (lambda seen, n, W: n <= W and n <= seen, to_spare),
        (lambda seen, n, W: seen - n >= W, counted),
        (lambda seen, n, W: seen - n >= W - 1, counted),
        (lambda seen, n, W: seen <= W or n <= W - 1, second),
        (lambda seen, n, W: max(0, seen - n - W + 1) > max(0, seen - W), strict),
        (lambda seen, n, W: _rewinds(seen, min(n, seen), W),
         "it cannot take back more than it has seen."),
        (lambda seen, n, W: not _rewinds(seen, n, W), "True and False are swapped."),
    ]  # fmt: skip
