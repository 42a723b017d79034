"""More answers to the exercises of lesson 06, right and wrong; test_checks.py gives them."""

import numpy as np
import torch

from minimistral.course.checks import lesson_06

PLACED, STORE, SLOTS, REWIND = (
    lesson_06.slot_and_evicted, lesson_06.store, lesson_06.slots_seen, lesson_06.rewinding,
)  # fmt: skip


def put(keys, positions, key, i, slot=None, mark=None):
    keys, positions = keys.copy(), positions.copy()
    slot = i % len(keys) if slot is None else slot
    keys[slot], positions[slot] = key, i if mark is None else mark
    return keys, positions


def seen(p, i, W):
    return (p >= 0) & (p <= i) & (i - p < W)


def from_a_queue(i, W):
    held = list(range(max(0, i - W), i))
    return i % W, held[0] if len(held) == W else -1


def written_first(i, W):
    slots = [-1] * W
    for token in range(i + 1):
        slots[token % W] = token
    return i % W, slots[i % W]


def slot_by_slot(keys, positions, key, i):
    rows = [(key, i) if s == i % len(keys) else (keys[s], positions[s]) for s in range(len(keys))]
    return np.array([row[0] for row in rows]), np.array([row[1] for row in rows])


def chosen(keys, positions, key, i):
    here = np.arange(len(keys)) == i % len(keys)
    return np.where(here[:, None], key, keys), np.where(here, i, positions)


def by_einsum(keys, positions, key, i):
    here = np.eye(len(keys))[i % len(keys)]
    return keys * (1 - here)[:, None] + np.einsum("w,d->wd", here, key), (
        positions * (1 - here) + here * i
    )


def pasted(keys, positions, key, i):
    s = i % len(keys)
    return (
        np.concatenate([keys[:s], key[None], keys[s + 1 :]]),
        np.concatenate([positions[:s], [i], positions[s + 1 :]]),
    )


def with_gradient(keys, positions, key, i):
    keys, positions = put(keys, positions, key, i)
    return torch.tensor(keys, requires_grad=True), torch.tensor(positions)


def in_float32(keys, positions, key, i):
    return tuple(part.astype(np.float32) for part in put(keys, positions, key, i))


def first_free(keys, positions, key, i, which=0, full=0):
    free = np.flatnonzero(positions < 0)
    return put(keys, positions, key, i, slot=free[which] if len(free) else full)


def last_free(keys, positions, key, i):
    return first_free(keys, positions, key, i, which=-1, full=i % len(keys))


def where_evicted(keys, positions, key, i, empty=False):
    keys, positions = keys.copy(), positions.copy()
    here = positions == i - len(keys)
    here |= (positions == -1) & empty
    keys[here], positions[here] = key, i
    return keys, positions


def everywhere(keys, positions, key, i):
    keys, positions = put(keys, positions, key, i)
    keys[:] = key
    return keys, positions


def inserted(keys, positions, key, i):
    s = i % len(keys)
    return np.insert(keys, s, key, axis=0)[:-1], np.insert(positions, s, i)[:-1]


def only_keys_shifted(keys, positions, key, i):
    return np.vstack([keys[1:], key]), put(keys, positions, key, i)[1]


def newest_first(keys, positions, key, i):
    return np.vstack([key, keys[:-1]]), np.append([i], positions[:-1])


def in_whole_numbers(keys, positions, key, i):
    rounded = np.zeros(keys.shape, int)
    rounded[:] = put(keys, positions, key, i)[0]
    return rounded, put(keys, positions, key, i)[1]


def in_a_column(keys, positions, key, i):
    keys = keys.copy()
    keys[:, i % len(keys)] = key
    return keys, positions


def through_a_view(keys, positions, key, i):
    keys, positions = keys[:], positions.copy()
    keys[i % len(keys)], positions[i % len(keys)] = key, i
    return keys, positions


RIGHT = [
    (PLACED, (lambda i, W: np.array([i % W, max(-1, i - W)]),)),
    (PLACED, (lambda i, W: torch.tensor([i % W, max(-1, i - W)]),)),
    (PLACED, (from_a_queue,)),
    (PLACED, (lambda i, W: (divmod(i, W)[1], [-1, i - W][i >= W]),)),
    (PLACED, (lambda i, W: [float(i % W), np.float32(max(-1, i - W))],)),
    (PLACED, (lambda i, W: (i - i // W * W, torch.tensor(i - W if i >= W else -1)),)),
    (PLACED, (lambda i, W: (torch.tensor(float(i % W), requires_grad=True), max(-1, i - W)),)),
    (STORE, (slot_by_slot,)),
    (STORE, (chosen,)),
    (STORE, (by_einsum,)),
    (STORE, (pasted,)),
    (STORE, (with_gradient,)),
    (STORE, (in_float32,)),
    (SLOTS, (lambda p, i, W: torch.tensor(seen(p, i, W)),)),
    (SLOTS, (lambda p, i, W: np.logical_and.reduce([p > -1, i >= p, p > i - W]),)),
    (SLOTS, (lambda p, i, W: np.clip(p, max(0, i - W + 1), i) == p,)),
    (SLOTS, (lambda p, i, W: np.array([j in range(max(0, i - W + 1), i + 1) for j in p]),)),
    (SLOTS, (lambda p, i, W: (p >= 0) * (p <= i) * (i - p < W),)),
    (REWIND, (5.0, np.int64(1), lambda s, n, W: n <= s and (s <= W or n <= 1))),
    (REWIND, (torch.tensor(5), 1, lambda s, n, W: torch.tensor(n <= s and (s <= W or n < 2)))),
    (REWIND, (5, 1, lambda s, n, W: n <= s and ((n < W and s <= W) or n <= 1))),
]
WRONG = [
    (PLACED, (lambda i, W: (i % W, i),), "token i itself"),
    (PLACED, (written_first,), "token i itself"),
    (PLACED, (lambda i, W: (i % W, i // W),), "counts the laps"),
    (PLACED, (lambda i, W: (i % W, i // W - 1),), "counts the laps"),
    (PLACED, (lambda i, W: (i % W, 0 if i >= W else -1),), "only token W evicts token 0"),
    (PLACED, (lambda i, W: (i % W, max(-1, W - i)),), "the wrong sign"),
    (PLACED, (lambda i, W: ((i + 1) % W, max(-1, i - W)),), "the slot of the next token"),
    (PLACED, (lambda i, W: ((i - 1) % W, max(-1, i - W)),), "counted from 0, so token 0"),
    (PLACED, (lambda i, W: (W % i if i else 0, max(-1, i - W)),), "swapped: it is i % W"),
    (PLACED, (lambda i, W: (i, max(-1, i - W)),), "they are reused"),
    (PLACED, (lambda i, W: (i % W, i - W + 1 if i >= W else -1),), "is evicted a token later"),
    (PLACED, (lambda i, W: ((i / W - i // W) * W, max(-1, i - W)),), "must be a whole number"),
    (PLACED, (lambda i, W: f"{i % W}",), "return a pair"),
    (PLACED, (lambda i, W: {i % W, max(-1, i - W)},), "return a pair"),
    (PLACED, (lambda i, W: (i % W, (i + 1) % W if i >= W else -1),), "position that was in this"),
    (PLACED, (lambda i, W: (W - 1 - i % W, max(-1, i - W)),), "the first token goes into slot 0"),
    (PLACED, (lambda i, W: (i % 4, max(-1, i - 4)),), "4 was an example"),
    (PLACED, (lambda i, W: (i % W, -1 if i < W else i - 2 * W),), "evicted position is not -4"),
    (STORE, (first_free,), "the first slot is written again"),
    (STORE, (last_free,), "token 0 and W = 4 slot 3 changed. The token goes into slot 0"),
    (STORE, (where_evicted,), "slot 0 must remember position 0, not -1"),
    (STORE, (lambda *case: where_evicted(*case, empty=True),), "slot 1 changed, too. Only slot 0"),
    (STORE, (everywhere,), "slot 0 changed, too. Only slot 1 may"),
    (STORE, (inserted,), "changed, too. Only slot"),
    (STORE, (only_keys_shifted,), "changed, too. Only slot"),
    (STORE, (newest_first,), "changed, too. Only slot"),
    (STORE, (in_whole_numbers,), "cut to whole numbers"),
    (STORE, (in_a_column,), "A key is one row"),
    (STORE, (through_a_view,), "changes its input"),
    (STORE, (lambda k, p, key, i: put(k, p, key / np.linalg.norm(key), i),), "as it was given"),
    (STORE, (lambda k, p, key, i: put(k, p, 0 * key, i),), "hold the key as it was given"),
    (STORE, (lambda k, p, key, i: put(k, p, key, i, slot=i % len(key) % len(k)),), "i mod D"),
    (STORE, (lambda k, p, key, i: (np.vstack([k, key]), np.append(p, i)),), "adds a slot"),
    (STORE, (lambda *case: put(*case)[::-1],), "the keys come first"),
    (STORE, (lambda k, p, key, i: put(k, p, key, i, slot=i & (len(k) - 1)),), "for powers of 2"),
    (STORE, (lambda k, p, key, i: put(k * 0, p * 0 - 1, key, i),), "other slots were emptied"),
    (STORE, (lambda k, p, key, i: put(k, p, key, i, mark=p[i % len(k)] + len(k)),), "W was added"),
    (STORE, (lambda k, p, key, i: put(k, p, key, i, mark=i // len(k)),), "position 7, not 2"),
    (
        STORE,
        (lambda k, p, key, i: (put(k, p, key, i)[0], np.arange(len(k))),),
        "not the slot's number",
    ),
    (STORE, (lambda *case: [part.tolist() for part in put(*case)],), "not a value of type list"),
    (SLOTS, (lambda p, i, W: seen(p, i, len(p)),), "takes the number of slots for the window"),
    (SLOTS, (lambda p, i, W: p % W <= i % W,), "slot 3 holds token 3, which must be visible"),
    (SLOTS, (lambda p, i, W: np.arange(len(p)) <= i % W,), "it counts slots"),
    (SLOTS, (lambda p, i, W: np.arange(len(p)) < W,), "it counts slots"),
    (SLOTS, (lambda p, i, W: p >= np.sort(p)[-min(W, len(p))],), "slot 1 is empty (-1)"),
    (SLOTS, (lambda p, i, W: np.flatnonzero(seen(p, i, W)),), "the shape must be"),
    (SLOTS, (lambda p, i, W: list(seen(p, i, W)),), "return a NumPy array"),
    (SLOTS, (lambda p, i, W: 0 <= i - p < W,), "Join two comparisons with &"),
    (SLOTS, (lambda p, i, W: seen(p, i, W)[None],), "must be (4,), not (1, 4)"),
    (SLOTS, (lambda p, i, W: np.where(seen(p, i, W), 0, -np.inf),), "True or False (bool)"),
    (SLOTS, (lambda p, i, W: (p >= i) & (p - i < W),), "the sign is wrong"),
    (SLOTS, (lambda p, i, W: (p >= 0) & (p < i) & (i - p <= W),), "and W - 1 keys before it"),
    (SLOTS, (lambda p, i, W: p == i,), "only the query's own token"),
    (SLOTS, (lambda p, i, W: np.arange(len(p)) != i % len(p),), "is empty (-1) and must"),
    (SLOTS, (lambda p, i, W: p <= i - W,), "slot 0 holds token 0, which must be visible"),
    (SLOTS, (lambda p, i, W: seen(p, i, W + 2),), "token 4, which is too old"),
    (SLOTS, (lambda p, i, W: seen(p, i, W // 2 + 1),), "which must be visible"),
    (REWIND, (5, 1, lambda s, n, W: n == 0), "And a wrapped one can take back one"),
    (REWIND, (5, 1, lambda s, n, W: n <= s % W), "where the last lap began"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and (s <= W or n <= s % W)), "where the last lap began"),
    (REWIND, (5, 1, lambda s, n, W: n < W), "tokens to spare"),
    (REWIND, (5, 1, lambda s, n, W: s - n - W + 1 >= max(0, s - W)), "no token lies before 0"),
    (REWIND, (5, 1, None), "can_rewind is not written yet"),
    (REWIND, (5, 1, lambda s, n, W: s - n <= W and n <= s), "counts the tokens that are left"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and s + n <= 2 * W), "(needed: 2 to 2; held: 2 to 2)"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and n <= W // 2), "(needed: 0 to 0; held: 0 to 0)"),
    (REWIND, (5, 1, lambda s, n, W: n <= max(1, W - s)), "(more than were seen)"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and (s <= W + 1 or n <= 1)), "held: none"),
    (REWIND, (5, 1, lambda s, n, W: int(n <= s)), "True or False, not a value of type int"),
    (REWIND, ("5", 1, lambda s, n, W: True), "stale must be a whole number"),
    (REWIND, (5, 1, True), "pass the function itself"),
    (REWIND, (5, -1, lambda s, n, W: True), None),
    (REWIND, (7, 1, lambda s, n, W: True), None),
]
CHECKS: list = []
FIRST: dict = {}
N_ANSWERS: dict = {}
