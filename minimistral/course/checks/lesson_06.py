"""Checks of lesson 06: slots, what they hold, who sees them, and a cache that goes back."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
    Example,
    Wrong,
    array,
    bools,
    call,
    diagnose_number,
    diagnose_truths,
    exercise,
    expect,
    smallest_example,
    whole_number,
)
from minimistral.np import window_mask
from minimistral.np.cache import slot_of

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]
Pair = tuple[np.ndarray, np.ndarray]
Results = list[tuple[tuple, np.ndarray]]


def _slot_and_evicted(i: int, W: int) -> tuple[int, int]:
    return slot_of(i, W), max(-1, i - W)


def _store(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> Pair:
    keys, positions = keys.copy(), positions.copy()
    slot = slot_of(i, len(keys))
    keys[slot], positions[slot] = key, i
    return keys, positions


def _seen(positions: np.ndarray, i: int, W: int) -> np.ndarray:
    return window_mask(np.array([i]), positions, W)[0]


@exercise("Where, and which token leaves", course=_slot_and_evicted, hints=(
    "Run the loop above in your head: the slot is a remainder, and the token that was there "
    "came one whole lap earlier.",
    "One lap is W tokens, so token i evicts token i - W. For the first W tokens that number is "
    "negative, and the slot was empty.",
    "Return i % W and the larger of -1 and i - W.",
))  # fmt: skip
def slot_and_evicted(answer: Any) -> str:
    """answer(i, W) -> (slot, evicted position or -1)."""
    cases = [(0, 4), (3, 4), (4, 4), (6, 4), (11, 4), (7, 3), (10, 1), (4096, 4096), (10_000, 4096)]
    results = [(case, _pair(call(answer, *case))) for case in cases]
    wrong = [(case, pair) for case, pair in results if pair != _slot_and_evicted(*case)]
    if not wrong:
        return f"right for all {len(cases)} tokens."
    case, (slot, evicted) = wrong[0]
    example = Example(case, (slot, evicted), _slot_and_evicted(*case))
    for mistaken, hint in _slot_mistakes():
        if all(pair == mistaken(*case) for case, pair in results):
            raise Wrong(hint, example)
    part = f"the evicted position is not {evicted:,}"
    if slot != _slot_and_evicted(*case)[0]:
        part = f"the slot is not {slot:,}"
    raise Wrong(f"for token {case[0]:,} and W = {case[1]:,} {part}.", example)


@exercise("Store a key", course=_store, hints=(
    "The cache has len(keys) slots. Copy both arrays first, because the originals must not "
    "change.",
    "Write one row of keys and one entry of positions, both at the slot i % len(keys), and leave "
    "every other slot alone.",
    "After keys = keys.copy() and positions = positions.copy(), set keys[i % len(keys)] = key and "
    "positions[i % len(keys)] = i, and return both.",
))  # fmt: skip
def store(answer: Any) -> str:
    """answer(keys (W, D), positions (W,), key (D,), i) -> keys, positions."""
    sizes = ((4, 3, 0), (4, 2, 3), (4, 3, 6), (3, 5, 11), (3, 2, 7), (1, 9, 9), (5, 2, 23))
    cases = [(*_filled(i, W, D), _key(i, D), i) for W, D, i in sizes]
    hints = {
        "out of bounds": "The slots are 0 to len(keys) - 1, and they are reused.",
        "broadcast": "A key is one row: keys[slot] has its D numbers, keys[:, slot] has W.",
    }
    results = [(case, _stored(call(answer, *case, hints=hints), case[0].shape)) for case in cases]
    _diagnose_stored(results)
    return f"right on all {len(cases)} cases, and nothing else moves."


@exercise("Which slots are visible", course=_seen, hints=(
    "Only the positions count, not the slots' numbers. Compare the whole array at once: each "
    "comparison gives an array of True and False.",
    "Three conditions must hold: the slot is in use, its token does not lie ahead, and it is not "
    "too old. The last alone would show an empty slot at the start of a text, because 2 - (-1) "
    "is 3.",
    "Join positions >= 0, positions <= i and i - positions < W with &, each in brackets.",
))  # fmt: skip
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
    rng = np.random.default_rng(6)
    for i, W, n_slots in ((5, 3, 6), (9, 4, 5), (20, 7, 9), (30, 12, 6)):  # in no order at all
        cases.append((rng.choice(np.arange(-1, i + 3), n_slots, replace=False), i, W))
    results = [(case, bools(call(answer, *case), case[0].shape) > 0) for case in cases]
    _diagnose_seen(results)
    return f"agrees with the rule on all {len(cases)} caches."


@exercise("A cache that goes back", hints=(
    "Write down the four slots after each step. Which of them are filled at the end, if the count "
    "is to be believed?",
    "The next token stands at p = seen - n_tokens and must see p - W + 1 to p - 1. The cache has "
    "lost every token older than seen - W.",
    "The first key that is needed, max(0, seen - n_tokens - W + 1), must not be older than the "
    "first that is held, max(0, seen - W). And n_tokens must not exceed seen.",
))  # fmt: skip
def rewinding(stale: Any, lost: Any, can_rewind: Any) -> str:
    """What a counting cache shows after a rewind, and when a rolling one can take tokens back."""
    diagnose_number("stale", whole_number("stale", stale), 5, [
        (4, "Position 4 was written again, over the old token in slot 0. Look at the other slots."),
        (1, "Token 1 is no longer there, because token 5 lies in its slot."),
        (0, "Token 0 was overwritten by token 4."),
        (3, "The newest token, at 4, may see 1 to 4."),
        (2, "The newest token, at 4, may see 1 to 4."),
        (6, "Only tokens 0 to 5 were added. Which of them lie ahead of position 4?"),
    ])  # fmt: skip
    diagnose_number("lost", whole_number("lost", lost), 1, [
        (0, "Token 0 lies 4 back, outside the window, so nobody needs it."),
        (5, "Token 5 is there, but must not be seen. Which one did it overwrite?"),
        (4, "Token 4 was just added."),
        (2, "Token 2 is in slot 2 all the time."),
        (3, "Token 3 is in slot 3 all the time."),
    ])  # fmt: skip
    cases = [(seen, n, W) for W in (2, 4, 7) for seen in range(13) for n in range(seen + 2)]
    cases = [(seen, n, W) for seen, n, W in cases if n != seen]  # taking back everything is a reset
    call(can_rewind, *cases[0], name="can_rewind")
    diagnose_truths(can_rewind, _rewinds, cases, _rewind_mistakes(), _told)
    return f"right in all {len(cases)} cases: once it has wrapped, one token and no more."


def _pair(value: Any) -> tuple[int, int]:
    is_pair = hasattr(value, "__len__") and len(value) == 2 and not isinstance(value, str | set)
    expect(is_pair, "return a pair: the slot, and the evicted position.")
    slot, evicted = value
    expect(evicted is not None, "an empty slot is -1 here, not None.")
    return whole_number("The slot", slot), whole_number("The evicted position", evicted)


def _slot_mistakes() -> Iterable[tuple[Callable[[int, int], tuple[int, int]], str]]:
    return [
        (lambda i, W: (i % W, i - W),
         "an empty slot is -1: while the first W tokens come in, nothing is evicted."),
        (lambda i, W: (i % W, max(0, i - W)),
         "at first the slots are empty, so nothing is evicted: that is -1. 0 is a token's "
         "position."),
        (lambda i, W: (i % W, max(-1, i - W + 1)),
         "that token is evicted a token later: token i evicts token i - W."),
        (lambda i, W: (i % W, i - W + 1 if i >= W else -1),
         "that token is evicted a token later: token i evicts token i - W."),
        (lambda i, W: (i % W, max(-1, i - W - 1)),
         "that token was evicted a token earlier: token i evicts token i - W."),
        (lambda i, W: (i % W, i % W if i >= W else -1),
         "that is the slot. Return the position of the token that was there."),
        (lambda i, W: (i % W, i - W if i > W else -1),
         "token W is the first that evicts: it overwrites token 0."),
        (lambda i, W: (i % W, -1), "once every slot is used, each new token evicts one."),
        (lambda i, W: (i % W, i % W),
         "that is the slot twice. Which token was there before, and when was there none?"),
        (lambda i, W: (i % W, i),
         "that is token i itself. Ask which token lay there before it was written."),
        (lambda i, W: (i % W, i - 1 if i >= W else -1),
         "that is the token just before. The oldest one is evicted."),
        (lambda i, W: (i % W, 0 if i >= W else -1),
         "only token W evicts token 0. Each later token evicts the one W before it."),
        (lambda i, W: (i % W, i // W),
         "i // W counts the laps. The evicted token came one lap earlier: i - W."),
        (lambda i, W: (i % W, i // W - 1),
         "i // W counts the laps. The evicted token came one lap earlier: i - W."),
        (lambda i, W: (i % W, max(-1, W - i)), "W - i has the wrong sign; it is i - W."),
        (lambda i, W: (i % W, (i + 1) % W if i >= W else -1),
         "that is the slot of the next token. Return the position that was in this one."),
        (lambda i, W: ((i - 1) % W, max(-1, i - W)),
         "that is the slot before. Positions are counted from 0, so token 0 goes into slot 0."),
        (lambda i, W: ((i + 1) % W, max(-1, i - W)),
         "that is the slot of the next token. Token 0 goes into slot 0."),
        (lambda i, W: (i % W + 1, max(-1, i - W)), "slots are counted from 0."),
        (lambda i, W: (i % (W + 1), max(-1, i - W)), "that would be W + 1 slots."),
        (lambda i, W: (i % max(1, W - 1), max(-1, i - W)), "that would be W - 1 slots."),
        (lambda i, W: (i % 4, max(-1, i - 4)), "W is an argument; 4 was an example."),
        (lambda i, W: (i % 4, max(-1, i - W)), "W is an argument; 4 was an example."),
        (lambda i, W: (i % W, max(-1, i - 4)), "W is an argument; 4 was an example."),
        (lambda i, W: (i & (W - 1), max(-1, i - W)), "that is i mod W for powers of 2 only."),
        (lambda i, W: (i // W, max(-1, i - W)), "// counts how often W fits; % is the remainder."),
        (lambda i, W: (W % max(i, 1), max(-1, i - W)), "the two are swapped: it is i % W."),
        (lambda i, W: (i, max(-1, i - W)), "there are only slots 0 to W - 1, and they are reused."),
        (lambda i, W: (W - 1 - i % W, max(-1, i - W)), "the first token goes into slot 0."),
        (lambda i, W: (min(i, W - 1), max(-1, i - W)),
         "that is a shifting buffer. Here the first slot is reused."),
        (lambda i, W: (max(-1, i - W), i % W), "the slot comes first, then the evicted position."),
    ]  # fmt: skip


def _key(i: int, D: int) -> np.ndarray:
    """The key of token i, easy to read: 3.1, 3.2, 3.3 for token 3."""
    return i + np.arange(1, D + 1) / 10


def _filled(i: int, W: int, D: int) -> Pair:
    """A cache before token i comes."""
    keys, positions = np.zeros((W, D)), np.full(W, -1)
    for j in range(i):
        keys[slot_of(j, W)], positions[slot_of(j, W)] = _key(j, D), j
    return keys, positions


def _stored(value: Any, shape: tuple[int, int]) -> np.ndarray:
    """Both arrays in one: (W, D + 1)."""
    is_pair = isinstance(value, tuple | list) and len(value) == 2
    expect(is_pair, "return both: keys, positions.")
    shapes = [getattr(part, "shape", None) for part in value]
    expect(shapes != [shape[:1], shape], "the keys come first, then the positions.")
    grown = shapes[0] == (shape[0] + 1, *shape[1:]) or shapes[1] == (shape[0] + 1,)
    expect(not grown, "that adds a slot. The cache keeps its W slots, and one is overwritten.")
    keys, positions = array(value[0], shape), array(value[1], shape[:1])
    return np.concatenate([keys, positions[:, None]], axis=1)


def _whole(values: np.ndarray) -> np.ndarray:
    """As integers, where that changes nothing; so positions are shown without a point."""
    with np.errstate(all="ignore"):
        whole = values.astype(int)
    return whole if np.array_equal(whole, values) else values


def _diagnose_stored(results: Results) -> None:
    """Raise Wrong with the known mistake, else with what became of the slots."""

    def right(*case: Any) -> np.ndarray:
        return np.column_stack(_store(*case))

    def explains(function: Callable[..., np.ndarray]) -> bool:
        return all(np.allclose(got, function(*case), equal_nan=True) for case, got in results)

    if explains(right):
        return
    case, got, wanted = smallest_example(results, right)[:3]
    keys, positions, _, i = case
    marked = np.array_equal(got[:, -1], wanted[:, -1])
    part, which = (slice(-1), "[0]") if marked else (-1, "[1]")
    example = Example(case, _whole(got[:, part]), _whole(wanted[:, part]), which)
    for mistaken, hint in _store_mistakes():
        if explains(mistaken):
            raise Wrong(hint, example)
    slot, before = slot_of(i, len(keys)), np.column_stack([keys, positions])
    moved = [s for s in range(len(keys)) if s != slot and not np.array_equal(got[s], before[s])]
    why = f"for token {i} and W = {len(keys)} "
    if moved and np.allclose(got[slot], before[slot]):
        why += f"slot {moved[0]} changed. The token goes into slot {slot}."
    elif moved:
        why += f"slot {moved[0]} changed, too. Only slot {slot} may."
    elif not marked:
        why += f"slot {slot} must remember position {i}, not {got[slot, -1]:g}."
    else:
        why += f"slot {slot} must hold the key as it was given."
    raise Wrong(why, example)


def _store_mistakes() -> Mistakes:
    def at(
        slot: Callable[[int, int], int], mark: Callable[[int, int], int] = lambda i, W: i
    ) -> Callable[..., np.ndarray]:
        def stored(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
            keys, positions, W = keys.copy(), positions.copy(), len(keys)
            keys[slot(i, W)], positions[slot(i, W)] = key, mark(i, W)
            return np.column_stack([keys, positions])

        return stored

    def shift(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return np.column_stack([np.vstack([keys[1:], key]), np.append(positions[1:], i)])

    def unmarked(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return np.column_stack([_store(keys, positions, key, i)[0], positions])

    def no_key(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return np.column_stack([keys, _store(keys, positions, key, i)[1]])

    def in_order(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        stored = np.column_stack(_store(keys, positions, key, i))
        return stored[np.argsort(stored[:, -1], kind="stable")]

    def added(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        old = keys[slot_of(i, len(keys))]
        return np.column_stack(_store(keys, positions, old + key, i))

    def newest(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return at(lambda i, W: int(positions.argmax()))(keys, positions, key, i)

    def emptied(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return np.column_stack(_store(keys * 0, positions * 0 - 1, key, i))

    def lap(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        old = int(positions[slot_of(i, len(keys))])
        return at(slot_of, lambda i, W: old + W)(keys, positions, key, i)

    def by_dim(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return at(lambda i, W: i % len(key) % W)(keys, positions, key, i)

    def rounded(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return np.trunc(np.column_stack(_store(keys, positions, key, i)))

    def numbered(keys: np.ndarray, positions: np.ndarray, key: np.ndarray, i: int) -> np.ndarray:
        return np.column_stack([_store(keys, positions, key, i)[0], np.arange(len(keys))])

    return [
        (rounded, "the keys were cut to whole numbers. Their array must hold floats."),
        (numbered, "positions holds the position, not the slot's number."),
        (by_dim, "that is i mod D. There are W slots, len(keys)."),
        (in_order, "the slots were sorted. Nothing may be moved."),
        (added, "the key was added to the old one. It must replace it."),
        (newest, "that is the slot of the newest token. The oldest one is replaced."),
        (emptied, "the other slots were emptied. They keep what they hold."),
        (lap, "W was added to the old position, which for an empty slot is -1. The slot now holds "
              "token i."),
        (at(lambda i, W: 0), "that is always the first slot."),
        (at(lambda i, W: i if i < W else 0),
         "once it is full, the first slot is written again and again."),
        (at(lambda i, W: min(i, W - 1)),
         "once it is full, the last slot is written again and again."),
        (at(slot_of, lambda i, W: i - W),
         "that is the position of the evicted token. The slot now holds token i."),
        (at(slot_of, lambda i, W: i + 1),
         "that is the next position. The key belongs to token i."),
        (shift, "that shifts the buffer. Here only one slot is written."),
        (unmarked, "the slot must also remember its new position."),
        (at(slot_of, slot_of), "positions holds the position, not the slot's number."),
        (no_key, "the position is marked, but the key is not stored."),
        (at(lambda i, W: (i - 1) % W), "that is the slot before the right one."),
        (at(lambda i, W: (i + 1) % W), "that is the slot after the right one."),
        (at(lambda i, W: i & (W - 1)), "that is i mod W for powers of 2 only."),
        (lambda keys, positions, key, i: np.column_stack([keys, positions]),
         "nothing was stored."),
    ]  # fmt: skip


def _diagnose_seen(results: Results) -> None:
    """Raise Wrong with the known mistake, else with what is wrong of the first slot."""
    if all(np.array_equal(seen, _seen(*case)) for case, seen in results):
        return
    example = smallest_example(results, _seen)
    for mistaken, hint in _seen_mistakes():
        if all(np.array_equal(seen, mistaken(*case)) for case, seen in results):
            raise Wrong(hint, example)
    (positions, i, W), seen, wanted = example[:3]
    slot = int(np.flatnonzero(seen != wanted)[0])
    j = int(positions[slot])
    if wanted[slot]:
        why = f"holds token {j}, which must be visible: 0 <= {i} - {j} < {W}"
    elif j < 0:
        why = "is empty (-1) and must be hidden"
    elif j > i:
        why = f"holds token {j}, which lies ahead and must be hidden"
    else:
        why = f"holds token {j}, which is too old and must be hidden: {i} - {j} is not below {W}"
    raise Wrong(f"for a query at {i} with W = {W} slot {slot} {why}.", example)


def _seen_mistakes() -> Mistakes:
    counts = "it counts slots. Ask what position each of them holds."
    return [
        (lambda p, i, W: (p <= i) & (i - p < W), "an empty slot has position -1; hide it."),
        (lambda p, i, W: (p >= 0) & (i - p < W),
         "a token that lies ahead must be hidden: 0 <= i - j."),
        (lambda p, i, W: i - p < W, "hide empty slots, and tokens that lie ahead."),
        (lambda p, i, W: (p >= 0) & (p <= i),
         "a slot can hold a token that is too old, because there may be more slots than W."),
        (lambda p, i, W: (p >= 0) & (p <= i) & (i - p < len(p)),
         "that takes the number of slots for the window. There may be more slots than W, or "
         "fewer."),
        (lambda p, i, W: p >= 0, "that is every slot in use. The window's rule applies too."),
        (lambda p, i, W: (p >= 0) & (p <= i) & (i - p <= W), "that is W + 1 keys."),
        (lambda p, i, W: (p >= 0) & (p < i) & (i - p < W), "a query sees itself."),
        (lambda p, i, W: (p >= 0) & (p < i) & (i - p <= W),
         "a query sees itself, and W - 1 keys before it."),
        (lambda p, i, W: (p > 0) & (p <= i) & (i - p < W), "position 0 is a token, too."),
        (lambda p, i, W: (p >= 0) & (p <= i) & (i - p < W - 1), "that is W - 1 keys."),
        (lambda p, i, W: (p >= 0) & (p <= i) & (i - p < 4), "W is an argument; 4 was an example."),
        (lambda p, i, W: (p >= 0) & (abs(i - p) < W),
         "a token that lies ahead must be hidden: 0 <= i - j."),
        (lambda p, i, W: (p >= i) & (p - i < W),
         "the sign is wrong: i - j must not be negative. A query looks back, not ahead."),
        (lambda p, i, W: p <= i, "hide empty slots, and tokens that are too old."),
        (lambda p, i, W: ~_seen(p, i, W), "True and False are swapped."),
        (lambda p, i, W: p == i, "only the query's own token is visible here. It sees W keys."),
        (lambda p, i, W: np.ones(len(p), bool),
         "every slot is visible here. Join the conditions with &: all of them must hold."),
        (lambda p, i, W: np.zeros(len(p), bool), "every slot is hidden here, the query's own too."),
        (lambda p, i, W: window_mask(np.array([i]), np.arange(len(p)), W)[0], counts),
        (lambda p, i, W: np.arange(len(p)) <= i, counts),
        (lambda p, i, W: np.arange(len(p)) < W, counts),
        (lambda p, i, W: np.arange(len(p)) <= i % W, counts),
        (lambda p, i, W: (p <= i) & (i - p < W) & (np.arange(len(p)) <= i), counts),
    ]  # fmt: skip


def _rewinds(seen: int, n: int, W: int) -> bool:
    return n <= seen and max(0, seen - n - W + 1) >= max(0, seen - W)


def _told(seen: int, n: int, W: int) -> str:
    """A case, with the tokens that the next one needs and those that are held.

    >>> _told(6, 2, 4)
    'W = 4, 6 tokens seen and 2 to take back (needed: 1 to 3; held: 2 to 3)'
    """

    def tokens(first: int) -> str:
        return f"{first} to {seen - n - 1}" if first < seen - n else "none"

    more = f"needed: {tokens(max(0, seen - n - W + 1))}; held: {tokens(max(0, seen - W))}"
    more = "more than were seen" if n > seen else more
    return f"W = {W}, {seen} tokens seen and {n} to take back ({more})"


def _rewind_mistakes() -> Iterable[tuple[Callable[[int, int, int], bool], str]]:
    unwrapped = "a cache that has not wrapped yet, seen <= W, can take back more."
    to_spare = "W slots do not mean W tokens to spare: the next token needs W - 1 of them."
    counted = "that counts the tokens that are left. Ask which of them are still in the slots."
    second = "once it has wrapped, the second token back needs a key that was overwritten."
    nothing = "taking back nothing always works."
    strict = "the first key that is needed may be the oldest that is held: take >=, not >."
    start = "no token lies before 0: the first that is needed is max(0, seen - n_tokens - W + 1)."
    laps = "where the last lap began does not matter. Ask which keys the next token needs."
    return [
        (lambda seen, n, W: n <= seen,
         "tokens that were overwritten do not come back. Which of them does the next one need?"),
        (lambda seen, n, W: n <= 1 and n <= seen, unwrapped),
        (lambda seen, n, W: n <= 1, unwrapped),
        (lambda seen, n, W: n == 0, f"{unwrapped} And a wrapped one can take back one."),
        (lambda seen, n, W: n <= seen and (seen < W or n <= 1),
         "with seen = W nothing was overwritten yet, so that cache can take back more."),
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
        (lambda seen, n, W: n < W, to_spare),
        (lambda seen, n, W: n <= W, to_spare),
        (lambda seen, n, W: n <= seen % W, laps),
        (lambda seen, n, W: n <= seen and n <= (seen - 1) % W + 1, laps),
        (lambda seen, n, W: n <= seen and (seen <= W or n <= seen % W), laps),
        (lambda seen, n, W: n <= seen and (seen <= W or n <= max(1, seen % W)), laps),
        (lambda seen, n, W: seen - n >= W, counted),
        (lambda seen, n, W: seen - n >= W - 1, counted),
        (lambda seen, n, W: seen >= n and seen - n <= W, counted),
        (lambda seen, n, W: seen <= W or n <= W - 1, second),
        (lambda seen, n, W: n <= seen and max(0, seen - n - W + 1) > max(0, seen - W), strict),
        (lambda seen, n, W: max(0, seen - n - W + 1) > max(0, seen - W), strict),
        (lambda seen, n, W: n <= seen and seen - n - W + 1 >= max(0, seen - W), start),
        (lambda seen, n, W: seen - n - W + 1 >= max(0, seen - W), start),
        (lambda seen, n, W: _rewinds(seen, min(n, seen), W),
         "it cannot take back more than it has seen."),
        (lambda seen, n, W: not _rewinds(seen, n, W), "True and False are swapped."),
    ]  # fmt: skip
