"""Answers to the exercises of lesson 12, right and wrong; test_checks.py gives them."""

import itertools
import math

import numpy as np
import torch

from minimistral.course.checks import lesson_12
from minimistral.np.lora import lora_backward

COUNTED, APART, LOW, BACK = (
    lesson_12.counted, lesson_12.apart, lesson_12.low_rank, lesson_12.low_rank_backward,
)  # fmt: skip
RATES, BASE, ALLOWED = lesson_12.rates, lesson_12.at_base_rate, lesson_12.still_allowed
MASKS, PACKS = lesson_12.bug_masks, lesson_12.bug_packing_and_score


# What the loss counts


def counted(turns, end, learn=lambda p, a: [0] * len(p) + [1] * (len(a) + 1), ends=True,
            shift=1, hide=-1, last=None):  # fmt: skip
    """ids and targets, with ways to get them wrong. learn(prompt, answer) -> 1 where it counts."""
    ids = [i for p, a in turns for i in [*p, *a, *[end] * ends]]
    learned = [yes for p, a in turns for yes in learn(p, a)]
    kept = [i if yes else hide for i, yes in zip(ids, learned, strict=True)]
    targets = (kept + [hide] * shift)[shift:] if shift >= 0 else [hide, *kept[:-1]]
    return ids, targets if last is None else [*targets[:-1], last]


def count(**how):
    return lambda turns, end: counted(turns, end, **how)


def counted_flat(turns, end):
    """Written backwards, from the end."""
    ids, targets, following = [], [], -1
    for prompt, answer in reversed(turns):
        for token in reversed([*answer, end]):
            ids.append(token)
            targets.append(following)
            following = token
        for token in reversed(prompt):
            ids.append(token)
            targets.append(following)
            following = -1
    return ids[::-1], targets[::-1]


def counted_arrays(turns, end):
    ids = np.concatenate([np.array([*p, *a, end]) for p, a in turns])
    learned = np.concatenate([np.arange(len(p) + len(a) + 1) >= len(p) for p, a in turns])
    targets = np.full(len(ids), -1)
    targets[:-1][learned[1:]] = ids[1:][learned[1:]]
    return ids, targets


def own_mask(turns, end):
    ids, _ = counted(turns, end)
    learned = [yes for p, a in turns for yes in [0] * len(p) + [1] * (len(a) + 1)]
    return ids, [i if yes else -1 for i, yes in zip([*ids[1:], -1], learned, strict=True)]


def by_number(turns, end):
    asked = {i for p, _ in turns for i in p}
    ids, _ = counted(turns, end)
    return ids, [-1 if i in asked else i for i in ids[1:]] + [-1]


def only_last(turns, end, drop=False):
    ids, targets = counted(turns, end)
    n = len(turns[-1][0]) + len(turns[-1][1]) + 1
    start = len(ids) - n
    if drop:
        return ids, targets[:start] + [-1] * n
    return ids, [-1] * start + targets[start:]


def one_end(turns, end):
    ids = [i for p, a in turns for i in [*p, *a]] + [end]
    learned = [yes for p, a in turns for yes in [0] * len(p) + [1] * len(a)] + [1]
    return ids, [i if yes else -1 for i, yes in zip(ids[1:], learned[1:], strict=True)] + [-1]


# Positions


def apart(lengths, W, row_len, gap=lambda W: W, pad=-1, begin=0, step=1):
    positions, column, start = np.full(row_len, pad), 0, begin
    for n in lengths:
        positions[column : column + n] = start + step * np.arange(n)
        column, start = column + n, start + step * (n - 1) + gap(W)
    return positions


def place(**how):
    return lambda *case: apart(*case, **how)


def far_apart(lengths, W, row_len):
    row = [1000 * n + i for n, length in enumerate(lengths) for i in range(length)]
    return row + [-1] * (row_len - len(row))


def by_document(lengths, W, row_len):
    document = np.repeat(np.arange(len(lengths)), lengths)
    row = np.arange(len(document)) + document * (W - 1)
    return np.append(row, np.full(row_len - len(row), -1))


def downwards(lengths, W, row_len):
    """Later documents at earlier positions, also far enough."""
    row, top = np.full(row_len, -1), 10_000
    column = 0
    for n in lengths:
        row[column : column + n] = top + np.arange(n)
        column, top = column + n, top - 1000
    return row


def restarted(lengths, W, row_len):
    row = np.concatenate([np.arange(n) for n in lengths])
    return np.append(row, np.full(row_len - len(row), -1))


def in_slots(lengths, W, row_len):
    """From one document's begin to the next, not from its end."""
    row = np.concatenate([n * W + np.arange(length) for n, length in enumerate(lengths)])
    return np.append(row, np.full(row_len - len(row), -1))


# LoRA


def low(x, w, a, b, s, how=lambda y, d, s: y + s * d):
    return how(x @ w.T, x @ a.T @ b.T, s)


def bend(how):
    return lambda *case: low(*case, how=how)


def low_loop(x, w, a, b, s):
    return np.array([w @ row + s * (b @ (a @ row)) for row in x])


def low_merged(x, w, a, b, s):
    return x @ (w + s * b @ a).T


def low_torch(*case):
    x, w, a, b = map(torch.tensor, case[:4])
    return torch.nn.functional.linear(x, w) + case[4] * (x @ a.T) @ b.T


def back(*case, dx=lambda d, *_: d, da=lambda d, *_: d, db=lambda d, *_: d):
    """The gradients, each of which `dx`, `da` or `db` can change: change(right, *case)."""
    right = lora_backward(*case)
    return tuple(f(d, *case) for f, d in zip((dx, da, db), right, strict=True))


def bent(**how):
    return lambda *case: back(*case, **how)


def back_by_hand(x, w, a, b, s, dy):
    dlow = s * dy @ b
    return dy @ w + dlow @ a, dlow.T @ x, s * dy.T @ (x @ a.T)


def back_by_einsum(x, w, a, b, s, dy):
    return [
        np.einsum("to,oi->ti", dy, w + s * b @ a),
        s * np.einsum("to,or,ti->ri", dy, b, x),
        s * np.einsum("to,ti,ri->or", dy, x, a),
    ]


def back_by_torch(x, w, a, b, s, dy):
    x, a, b = (torch.tensor(each, requires_grad=True) for each in (x, a, b))
    (x @ torch.tensor(w).T + s * (x @ a.T) @ b.T).backward(torch.tensor(dy))
    return x.grad, a.grad, b.grad


# Decisions


def rates(scores, positive, threshold, say=lambda s, t: s > t, none=1.0, make=None):
    said = say(scores, threshold)
    right, n_said, n_positive = (said & positive).sum(), said.sum(), positive.sum()
    if make:
        return make(right, n_said, n_positive, said, positive)
    return (right / n_said if n_said else none), right / n_positive


def rated(**how):
    return lambda *case: rates(*case, **how)


def make(how):
    return rated(make=lambda r, n, p, said, pos: how(r, n, p, said, pos))


def safe(a, b):
    return a / b if b else 1.0


def rates_loop(scores, positive, threshold):
    counts = {(a, b): 0 for a in (0, 1) for b in (0, 1)}
    for score, is_positive in zip(scores, positive, strict=True):
        counts[int(score > threshold), int(is_positive)] += 1
    said = counts[1, 1] + counts[1, 0]
    return (counts[1, 1] / said if said else 1.0, counts[1, 1] / (counts[1, 1] + counts[0, 1]))


def base_by_counts(recall, false_rate, base_rate, n=1e6):
    said_right, said_wrong = n * base_rate * recall, n * (1 - base_rate) * false_rate
    return np.float64(said_right / (said_right + said_wrong))


def base_by_odds(recall, false_rate, base_rate):
    if false_rate == 0:
        return 1.0
    odds = recall / false_rate * base_rate / (1 - base_rate)
    return odds / (1 + odds)


def allowed_by_search(n, confidence):
    low_p, high_p = 0.0, 1.0
    for _ in range(100):
        middle = (low_p + high_p) / 2
        low_p, high_p = (middle, high_p) if (1 - middle) ** n > 1 - confidence else (low_p, middle)
    return low_p


# The museum


def pads(rows, end, mark=None):
    T = max(len(ids) for ids in rows)
    tokens = np.full((len(rows), T), end)
    for row, ids in zip(tokens, rows, strict=True):
        row[: len(ids)] = ids
    targets = np.full_like(tokens, -1)
    targets[:, :-1] = tokens[:, 1:]
    (mark or by_length)(targets, rows, end)
    return tokens, targets


def by_length(targets, rows, end):
    for row, ids in zip(targets, rows, strict=True):
        row[len(ids) - 1 :] = -1


def padded(mark):
    return lambda rows, end: pads(rows, end, mark)


def as_published(targets, rows, end):
    targets[targets == end] = -1


def pads_with_zeros(rows, end):
    T = max(map(len, rows))
    tokens = np.array([ids + [0] * (T - len(ids)) for ids in rows])
    targets = np.array([ids[1:] + [-1] * (T - len(ids) + 1) for ids in rows])
    return tokens, targets


def first_end_only(targets, rows, end):
    """Up to the first end, which a row may hold inside."""
    for row in targets:
        ends = np.flatnonzero(row == end)
        row[ends[0] + 1 if len(ends) else 0 :] = -1


def marked(ids, open_, close, missing="raise"):
    inside, learned = False, []
    for token in ids:
        learned.append(inside)
        inside = token == open_ or (inside and token != close)
    if not any(learned):
        if missing == "raise":
            raise ValueError("no answer is marked")
        learned = missing(learned)
    return np.array(learned)


def mark(missing):
    return lambda *case: marked(*case, missing=missing)


def raises(error):
    def missing(learned):
        raise error("nothing")

    return missing


def row_mask(lengths, W, own=lambda p, d: d[:, None] == d):
    positions = np.concatenate([np.arange(n) for n in lengths])
    document = np.repeat(np.arange(len(lengths)), lengths)
    gap = np.arange(len(document))[:, None] - np.arange(len(document))
    return (gap >= 0) & (gap < W) & own(positions, document)


def row(own):
    return lambda lengths, W: row_mask(lengths, W, own)


def row_loop(lengths, W):
    T = sum(lengths)
    mask, start = np.zeros((T, T), bool), 0
    for n in lengths:
        for i in range(start, start + n):
            mask[i, max(start, i - W + 1) : i + 1] = True
        start += n
    return mask


def score(said, truth, join=lambda a, b: (a + b) / 2):
    said, truth = np.array(said), np.array(truth)
    right = said == truth
    return join(right[truth].mean(), right[~truth].mean())


def scored(join):
    return lambda said, truth: score(said, truth, join)


def accuracy(said, truth):
    return float(np.mean([a == b for a, b in zip(said, truth, strict=True)]))


def score_loop(said, truth):
    of = {True: [], False: []}
    for a, b in zip(said, truth, strict=True):
        of[b].append(a == b)
    return sum(sum(each) / len(each) for each in of.values()) / 2


RIGHT = [
    (COUNTED, (counted,)),
    (COUNTED, (counted_flat,)),
    (COUNTED, (counted_arrays,)),
    (COUNTED, (lambda turns, end: [torch.tensor(part) for part in counted(turns, end)],)),
    (APART, (apart,)),
    (APART, (far_apart,)),
    (APART, (by_document,)),
    (APART, (downwards,)),
    (APART, (place(begin=7, gap=lambda W: 3 * W + 5),)),
    (APART, (lambda *case: torch.tensor(apart(*case)),)),
    (LOW, (low,)),
    (LOW, (low_loop,)),
    (LOW, (low_merged,)),
    (LOW, (low_torch,)),
    (BACK, (back,)),
    (BACK, (back_by_hand,)),
    (BACK, (back_by_einsum,)),
    (BACK, (back_by_torch,)),
    (RATES, (rates,)),
    (RATES, (rates_loop,)),
    (RATES, (lambda *case: np.array(rates(*case)),)),
    (RATES, (lambda *case: torch.tensor(rates(*case), dtype=torch.float64),)),
    (BASE, (lambda r, f, p: r * p / (r * p + f * (1 - p)),)),
    (BASE, (base_by_counts,)),
    (BASE, (base_by_odds,)),
    (ALLOWED, (lambda n, c: 1 - (1 - c) ** (1 / n),)),
    (ALLOWED, (lambda n, c: -math.expm1(math.log1p(-c) / n),)),
    (ALLOWED, (allowed_by_search,)),
    (MASKS, (7, pads, 6, marked)),
    (MASKS, (7.0, pads_with_zeros, np.int64(6), marked)),
    (PACKS, (6, row_mask, 3, score)),
    (PACKS, (6, row_loop, 3, score_loop)),
    (PACKS, (6, lambda *case: torch.tensor(row_mask(*case)), 3, score)),
]


def turned_off(mark=lambda token: None):
    """The right ids, and in place of each target what `mark` makes of it."""

    def function(turns, end):
        ids, targets = counted(turns, end)
        return ids, [mark(target) for target in targets]

    return function


def next_prompt(turns, end):
    """Every id but those of the prompts is a target's token: an end is followed by a prompt."""
    ids, targets = counted(turns, end)
    place = 0
    for (prompt, answer), (following, _) in itertools.pairwise(turns):
        place += len(prompt) + len(answer) + 1
        targets[place - 1] = following[0]
    return ids, targets


def input_is_end(targets, rows, end):
    for row, ids in zip(targets, rows, strict=True):
        padded_ids = [*ids, *[end] * (len(row) - len(ids))]
        row[np.array(padded_ids) == end] = -1


def both_are_ends(targets, rows, end):
    for row, ids in zip(targets, rows, strict=True):
        padded_ids = [*ids, *[end] * (len(row) - len(ids))]
        row[(np.array(padded_ids) == end) & (row == end)] = -1


def without_close(ids, open_, close):
    learned = marked(ids, open_, close)
    return learned & (np.array(ids) != close)


def window_lost(lengths, W):
    return row_mask(lengths, len(lengths) * sum(lengths))


def f1(said, truth):
    said, truth = np.array(said), np.array(truth)
    return 2 * (said & truth).sum() / max(said.sum() + truth.sum(), 1)


ALL = {"learn": lambda p, a: [1] * (len(p) + len(a) + 1)}
NO_END = {"learn": lambda p, a: [0] * len(p) + [1] * len(a) + [0]}
WRONG = [
    (COUNTED, (count(shift=0),), "each token is its own target"),
    (COUNTED, (count(shift=-1),), "shifted the wrong way"),
    (COUNTED, (count(shift=2),), "shifted twice"),
    (COUNTED, (own_mask,), "the mask belongs to the target"),
    (COUNTED, (count(**ALL),), "everything counts, the questions too"),
    (COUNTED, (count(learn=lambda p, a: [0] * (len(p) + len(a) + 1)),), "nothing counts"),
    (COUNTED, (count(**NO_END),), "never stops"),
    (COUNTED, (count(learn=lambda p, a: [0] * (len(p) + 1) + [1] * len(a)),), "one place too l"),
    (COUNTED, (count(learn=lambda p, a: [0] * (len(p) - 1) + [1] * (len(a) + 2)),), "too early"),
    (COUNTED, (count(learn=lambda p, a: [1] * len(p) + [0] * (len(a) + 1)),), "wrong way round"),
    (COUNTED, (count(learn=lambda p, a: [0] * len(p + a) + [1]),), "only the ends count"),
    (COUNTED, (count(ends=False, learn=lambda p, a: [0] * len(p) + [1] * len(a)),),
     "the end is missing from the ids"),
    (COUNTED, (one_end,), "one end for the whole conversation"),
    (COUNTED, (only_last,), "only the last answer counts"),
    (COUNTED, (lambda turns, end: only_last(turns, end, drop=True),), "the last answer does not"),
    (COUNTED, (count(hide=-100),), "write -100"),
    (COUNTED, (count(hide=0),), "0 is a token"),
    (COUNTED, (by_number,), "its place decides"),
    (COUNTED, (lambda turns, end: counted(turns, end, last=end),), "nothing follows the"),
    (COUNTED, (lambda turns, end: (counted(turns, end)[0], counted(turns, end)[1][:-1]),),
     "as many targets as ids"),
    (COUNTED, (lambda turns, end: counted(turns, end)[1],), "return both: ids, targets"),
    (COUNTED, (lambda turns, end: counted(turns, end)[::-1],), "the ids are not"),
    (COUNTED, (lambda turns, end: counted(turns[::-1], end),), "not in order"),
    (COUNTED, (lambda turns, end: (counted(turns, end)[0], "text"),), "must be a list of whole"),
    (COUNTED, (lambda turns, end: turns[0][0].append(1) or counted(turns, end),), "changes its"),
    (COUNTED, (turned_off(lambda t: None if t == -1 else t),), "is -1, not None"),
    (COUNTED, (turned_off(lambda t: t != -1),), "must be ids, not True and False"),
    (COUNTED, (turned_off(lambda t: int(t != -1)),), "those are only True and False"),
    (COUNTED, (lambda turns, end: [[p + a for p, a in turns], [a for _, a in turns]],),
     "one list for the whole conversation"),
    (COUNTED, (next_prompt,), "behind an end stands the next prompt"),
    (COUNTED, (lambda turns, end: [part[:-1] for part in counted(turns, end)],),
     "the last id is missing"),
    (APART, (place(gap=lambda W: 1),), "simply go on"),
    (APART, (restarted,), "begins at 0 again"),
    (APART, (place(gap=lambda W: W - 1),), "one too near"),
    (APART, (place(gap=lambda W: 2),), "which is less than W"),
    (APART, (in_slots,), "counted from the beginning of the document before"),
    (APART, (place(pad=0),), "what is left of the row must be -1"),
    (APART, (place(pad=-2),), "what is left of the row must be -1"),
    (APART, (place(begin=-3),), "a negative position is padding"),
    (APART, (place(step=2),), "They must go up by 1"),
    (APART, (place(step=0),), "They must go up by 1"),
    (APART, (lambda *case: apart(*case)[::-1],), "must be -1"),
    (APART, (lambda lengths, W, n: np.repeat(np.arange(len(lengths)), lengths),), "the shape must"),
    (APART, (lambda lengths, W, n: np.arange(n),), "what is left of the row must be -1"),
    (APART, (lambda *case: apart(*case) + 0.5,), "whole numbers"),
    (APART, (lambda lengths, W, n: apart(lengths, 4, n),), "which is less than W = 5"),
    (APART, (lambda lengths, W, n: np.where(apart(lengths, W, n) < 0, np.nan,
                                            apart(lengths, W, n)),), "whole numbers"),
    (LOW, (bend(lambda y, d, s: y),), "the detour is missing"),
    (LOW, (bend(lambda y, d, s: s * d),), "only the detour is there. It is added"),
    (LOW, (bend(lambda y, d, s: d),), "and without scale"),
    (LOW, (bend(lambda y, d, s: y + d),), "the detour must be times scale"),
    (LOW, (bend(lambda y, d, s: s * (y + d)),), "scale belongs to the detour alone"),
    (LOW, (bend(lambda y, d, s: s * y + d),), "on the wrong side"),
    (LOW, (bend(lambda y, d, s: y - s * d),), "is added"),
    (LOW, (bend(lambda y, d, s: y + d / s),), "it divides by scale"),
    (LOW, (bend(lambda y, d, s: y + s * s * d),), "scale is there twice"),
    (LOW, (bend(lambda y, d, s: y * s * d),), "the two ways add"),
    (LOW, (bend(lambda y, d, s: y + s + d),), "multiply by scale"),
    (LOW, (lambda x, w, a, b, s: low(x, w, a, b, s / len(a)),), "divides by the rank once more"),
    (LOW, (lambda x, w, a, b, s: low(x, w, a, b, s * len(a)),), "so that scale becomes alpha"),
    (LOW, (lambda x, w, a, b, s: x @ w.T + s * np.maximum(x @ a.T, 0) @ b.T,), "to be merged"),
    (LOW, (lambda x, w, a, b, s: x @ w + s * x @ a.T @ b.T,), "the last size of x"),
    (LOW, (lambda x, w, a, b, s: x @ w.T + s * x @ (a @ b).T,), "the last size of x"),
    (LOW, (lambda *case: low(*case).T,), "the shape must be"),
    (LOW, (lambda x, w, a, b, s: low(x, w, a, b, s) + 0.01,), "but the rule gives"),
    (BACK, (bent(dx=lambda d, x, w, a, b, s, dy: dy @ w),), "dx: the detour is missing"),
    (BACK, (bent(dx=lambda d, x, w, a, b, s, dy: s * dy @ b @ a),), "x also went through W"),
    (BACK, (bent(dx=lambda d, x, w, a, b, s, dy: dy @ w + dy @ b @ a),), "dx: the detour must be"),
    (BACK, (bent(dx=lambda d, x, w, a, b, s, dy: s * (dy @ w + dy @ b @ a)),), "dx: scale belongs"),
    (BACK, (bent(dx=lambda d, x, *_: np.zeros_like(x)),), "dx: x is not trained, but"),
    (BACK, (bent(da=lambda d, x, w, a, b, s, dy: (dy @ b).T @ x),), "da: scale is missing"),
    (BACK, (bent(da=lambda d, x, *_: d / len(x)),), "da: a gradient is a sum over the tokens"),
    (BACK, (bent(da=lambda d, x, w, a, *_: np.zeros_like(a)),), "da: a is trained"),
    (BACK, (bent(da=lambda d, *_: -d),), "da: the sign is wrong"),
    (BACK, (bent(da=lambda d, *_: d.T),), "da is turned round"),
    (BACK, (bent(db=lambda d, x, w, a, b, s, dy: dy.T @ (x @ a.T)),), "db: scale is missing"),
    (BACK, (bent(db=lambda d, x, w, a, b, s, dy: s * d),), "db: scale is there twice"),
    (BACK, (bent(db=lambda d, x, *_: d / len(x)),), "db: a gradient is a sum over the tokens"),
    (BACK, (bent(db=lambda d, x, w, a, b, s, dy: s * dy.T @ (dy @ b)),), "db: b's input is"),
    (BACK, (bent(db=lambda d, *_: d.T),), "db is turned round"),
    (BACK, (lambda *case: back(*case)[:2],), "return all three"),
    (BACK, (lambda *case: back(*case)[::-1],), "Return dx, da, db in this order"),
    (BACK, (lambda *case: [back(*case)[n] for n in (0, 2, 1)],), "Return dx, da, db in this order"),
    (BACK, (lambda x, w, a, b, s, dy: (dy @ w.T, 0, 0),), "the last size of x and the last size"),
    (BACK, (lambda *case: (*back(*case), 0),), "W has no gradient"),
    (BACK, (bent(da=lambda d, x, w, a, b, s, dy: d / s**2),), "da: multiply by scale"),
    (BACK, (bent(db=lambda d, x, w, a, b, s, dy: d / s**2),), "db: multiply by scale"),
    (BACK, (bent(da=lambda d, *_: d + 0.01),), "da: case 1"),
    (RATES, (lambda *case: rates(*case)[::-1],), "the two are exchanged"),
    (RATES, (rated(say=lambda s, t: s >= t),), "is not above it: use >"),
    (RATES, (rated(say=lambda s, t: s < t),), "positive is what is *above*"),
    (RATES, (rated(say=lambda s, t: s > 0),), "0 was an example"),
    (RATES, (rated(none=0.0),), "nothing is wrong either: return 1"),
    (RATES, (rated(none=np.nan),), "0 / 0"),
    (RATES, (make(lambda r, n, p, said, pos: ((said == pos).mean(), r / p)),), "is the accuracy"),
    (RATES, (make(lambda r, n, p, said, pos: (safe(r, n), (said == pos).mean())),),
     "the second is the accuracy"),
    (RATES, (make(lambda r, n, p, said, pos: (safe(r, n), safe(r, n))),), "precision is there twi"),
    (RATES, (make(lambda r, n, p, said, pos: (r / p, r / p)),), "recall is there twice"),
    (RATES, (make(lambda r, n, p, said, pos: (r / len(pos), r / p)),), "not by all"),
    (RATES, (make(lambda r, n, p, said, pos: (safe(r, n), r / len(pos))),), "not by all"),
    (RATES, (lambda s, pos, t: rates(-s, ~pos, -t, say=lambda s, t: s >= t),), "the other class"),
    (RATES, (make(lambda r, n, p, said, pos: (safe(r, n), safe(n - r, len(pos) - p))),),
     "the false rate"),
    (RATES, (make(lambda r, n, p, said, pos: (1 - safe(r, n), r / p)),), "the share that is wrong"),
    (RATES, (make(lambda r, n, p, said, pos: (safe(r, n), 1 - r / p)),), "share that is missed"),
    (RATES, (make(lambda r, n, p, said, pos: (100 * safe(r, n), 100 * r / p)),), "per cent"),
    (RATES, (make(lambda r, n, p, said, pos: (r, r)),), "divide the count"),
    (RATES, (make(lambda r, n, p, said, pos: (safe(r, n), r / p if n else 1.0)),), "none is found"),
    (RATES, (make(lambda r, n, p, said, pos: (
        safe((~said & ~pos).sum(), (~said).sum()), r / p)),), "precision of the other class"),
    (RATES, (make(lambda r, n, p, said, pos: (safe(r, n), safe(r, r + (~said & ~pos).sum()))),),
     "recall divides by how many are positive, found or not"),
    (RATES, (make(lambda r, n, p, said, pos: (2 * r / (n + p), r / p)),), "the first is F1"),
    (RATES, (make(lambda r, n, p, said, pos: (r, n - r)),), "those are counts"),
    (RATES, (make(lambda r, n, p, said, pos: (said.mean(), pos.mean())),), "What is both?"),
    (RATES, (lambda *case: rates(*case)[0],), "return both"),
    (RATES, (lambda *case: (rates(*case)[0], "text"),), "return a number"),
    (BASE, (lambda r, f, p: r / (r + f),), "the base rate is not used"),
    (BASE, (lambda r, f, p: r * p,), "Divide it by all that is said"),
    (BASE, (lambda r, f, p: r * p / (r * p + f),), "the others are 1 - base_rate"),
    (BASE, (lambda r, f, p: r * (1 - p) / (r * (1 - p) + f * p),), "here it is that of the others"),
    (BASE, (lambda r, f, p: f * (1 - p) / (r * p + f * (1 - p)),), "one minus the precision"),
    (BASE, (lambda r, f, p: r * p + f * (1 - p),), "Which part of it is right"),
    (BASE, (lambda r, f, p: r * p + (1 - f) * (1 - p),), "that is the accuracy"),
    (BASE, (lambda r, f, p: (1 - f) * (1 - p) / ((1 - f) * (1 - p) + (1 - r) * p),), "saying no"),
    (BASE, (lambda r, f, p: r * p / (r * p + (1 - f) * (1 - p)),), "as it stands"),
    (BASE, (lambda r, f, p: r,), "the result is the recall"),
    (BASE, (lambda r, f, p: p,), "saying yes to everything"),
    (BASE, (lambda r, f, p: 1 - f,), "one minus the false rate"),
    (BASE, (lambda r, f, p: 100 * r * p / (r * p + f * (1 - p)),), "per cent"),
    (BASE, (lambda r, f, p: r * p / (r * p + (1 - r) * (1 - p)),), "is missed. Of the others"),
    (BASE, (lambda r, f, p: r * p / (r + f),), "shares of a class"),
    (BASE, (lambda r, f, p: p / (p + f * (1 - p)),), "recall has no effect"),
    (BASE, (lambda r, f, p: r * p / (p + f * (1 - p)),), "of the positive only"),
    (BASE, (lambda r, f, p: 1 - f * (1 - p),), "by all that is said first"),
    (BASE, (lambda r, f, p: r * (1 - f),), "the base rate is not used"),
    (BASE, (lambda r, f, p: 1 - f / r,), "the base rate is not used"),
    (BASE, (lambda r, f, p: r * p / (r * p + f * r * (1 - p)),), "recall has no effect"),
    (BASE, (lambda r, f, p: (1 - f) * p / ((1 - f) * p + (1 - r) * (1 - p)),), "of saying no"),
    (BASE, (lambda r, f, p: r * p / (f * (1 - p)),), "ZeroDivisionError"),
    (BASE, (lambda r, f, p: [r],), "return a number"),
    (BASE, (lambda r, f, p: r * p / (r * p + f * (1 - p)) + 0.001,), "but must be"),
    (BASE, (lambda r, f, p: np.float64(r) / (f * 0),), "not finite"),
    (ALLOWED, (lambda n, c: 3 / n,), "the rule of three"),
    (ALLOWED, (lambda n, c: -math.log(1 - c) / n,), "Solve for p exactly"),
    (ALLOWED, (lambda n, c: 0.0,), "a small share can stay unseen"),
    (ALLOWED, (lambda n, c: 1 / n,), "does not use the confidence"),
    (ALLOWED, (lambda n, c: (1 - c) / n,), "a probability, not a number of failures"),
    (ALLOWED, (lambda n, c: (1 - c) ** (1 / n),), "the share of successes"),
    (ALLOWED, (lambda n, c: 1 - c ** (1 / n),), "rarer than 1 - confidence"),
    (ALLOWED, (lambda n, c: 1 - (1 - c) ** n,), "Take the n-th root"),
    (ALLOWED, (lambda n, c: 1 - ((1 - c) / 2) ** (1 / n),), "for two sides"),
    (ALLOWED, (lambda n, c: 1 - 0.05 ** (1 / n),), "0.95 was an example"),
    (ALLOWED, (lambda n, c: 1 - (1 - c) ** (1 / 175),), "175 was an example"),
    (ALLOWED, (lambda n, c: 100 * (1 - (1 - c) ** (1 / n)),), "per cent"),
    (ALLOWED, (lambda n, c: 1 - c,), "the number of tries does not matter"),
    (ALLOWED, (lambda n, c: 1 - (1 - c) ** 1 / n,), "** binds more strongly"),
    (ALLOWED, (lambda n, c: (1 - c) ** 1 / n,), "** binds more strongly"),
    (ALLOWED, (lambda n, c: 1 - (1 - c) ** (1 // n),), "// drops"),
    (ALLOWED, (lambda n, c: 1 - c**n,), "the chance of a failure in n tries"),
    (ALLOWED, (lambda n, c: math.log(1 - c) / n,), "which is negative"),
    (ALLOWED, (lambda n, c: c / n,), "confidence is a probability"),
    (ALLOWED, (lambda n, c: 1 / (n + 2),), "does not use the confidence"),
    (ALLOWED, (lambda n, c: round(1 - (1 - c) ** (1 / n), 4),), "do not round"),
    (ALLOWED, (lambda n, c: None,), "returns nothing"),
    (ALLOWED, (lambda n, c: 1 - (1 - c) ** (1 / (n + 2)),), "but must be"),
    (MASKS, (None, pads, 6, marked), "pads_line is not written yet"),
    (MASKS, (7, None, 6, marked), "not written yet"),
    (MASKS, (2, pads, 6, marked), "Ask who looks"),
    (MASKS, (6, pads, 6, marked), "Each target is the next token"),
    (MASKS, (9, pads, 6, marked), "from 1 to 8"),
    (MASKS, (7, padded(as_published), 6, marked), "The end of the text is still not learned"),
    (MASKS, (7, padded(lambda targets, rows, end: None), 6, marked), "Padding is learned now"),
    (MASKS, (7, padded(input_is_end), 6, marked), "go by the row's length"),
    (MASKS, (7, padded(both_are_ends), 6, marked), "go by the row's length"),
    (MASKS, (7, pads, 6, without_close), "up to the closing one and with it"),
    (MASKS, (7, padded(first_end_only), 6, marked), "row 0 has the targets"),
    (MASKS, (7, lambda rows, end: pads(rows, end)[1], 6, marked), "return both: tokens, targets"),
    (MASKS, (7, pads, 4, marked), "line 4 is not the cause"),
    (MASKS, (7, pads, 3, marked), "the closing mark counts"),
    (MASKS, (7, pads, None, marked), "marked_line is not written yet"),
    (MASKS, (7, pads, 6, mark(lambda learned: [True] * len(learned))), "still learns everything"),
    (MASKS, (7, pads, 6, mark(lambda learned: learned)), "the other published bug"),
    (MASKS, (7, pads, 6, mark(raises(RuntimeError))), "raise ValueError"),
    (MASKS, (7, pads, 6, mark(lambda learned: None)), "the shape must be"),
    (MASKS, (7, pads, 6, lambda *case: marked(*case) & False), "it must do what it did"),
    (PACKS, (4, row_mask, 3, score), "for rotary positions that is right"),
    (PACKS, (5, row_mask, 3, score), "at most W keys"),
    (PACKS, (6, row(lambda p, d: p[:, None] >= p), 3, score), "still shows a neighbour's"),
    (PACKS, (6, row(lambda p, d: p[:, None] > p), 3, score), "hides each token from itself"),
    (PACKS, (6, row(lambda p, d: True), 3, score), "nothing keeps the documents apart"),
    (PACKS, (6, row(lambda p, d: d[:, None] >= d), 3, score), "nothing keeps the documents apart"),
    (PACKS, (6, row(lambda p, d: d[:, None] != d), 3, score), "hides the own document"),
    (PACKS, (6, window_lost, 3, score), "the window is gone"),
    (PACKS, (6, lambda n, W: row_mask(n, 5), 3, score), "5 was an example"),
    (PACKS, (6, row(lambda p, d: p[:, None] <= p), 3, score), "either way round"),
    (PACKS, (6, lambda n, W: row_mask(n, W).T, 3, score), "mask_fixed: case"),
    (PACKS, (6, lambda n, W: row_mask(n, W)[:-1], 3, score), "the shape must be"),
    (PACKS, (6, row_mask, 2, score), "where it agrees with the truth"),
    (PACKS, (6, row_mask, 3, accuracy), "still the share of all"),
    (PACKS, (6, row_mask, 3, lambda s, t: np.mean(np.array(t)[s]) if any(s) else 0.0),
     "that is the precision"),
    (PACKS, (6, row_mask, 3, f1), "that is F1"),
    (PACKS, (6, row_mask, 3, lambda s, t: 0.5 if len(set(s)) == 1 else accuracy(s, t)),
     "all others still the share of all"),
    (PACKS, (6, row_mask, 3, lambda s, t: (
        np.array(s)[t].mean() + np.array(s)[~np.array(t)].mean()) / 2), "of the false ones, those"),
    (PACKS, (6, row_mask, 3, scored(lambda a, b: a)), "only the true ones"),
    (PACKS, (6, row_mask, 3, scored(lambda a, b: b)), "only the false ones"),
    (PACKS, (6, row_mask, 3, scored(lambda a, b: a + b)), "the sum of two shares"),
    (PACKS, (6, row_mask, 3, scored(lambda a, b: a * b)), "the product of two shares"),
    (PACKS, (6, row_mask, 3, scored(min)), "the smaller of two shares"),
    (PACKS, (6, row_mask, 3, scored(lambda a, b: a + b - 1)), "not 0"),
    (PACKS, (6, row_mask, 3, None), "not written yet"),
]  # fmt: skip
FIRST = {MASKS: (7, pads, 6), PACKS: (6, row_mask, 3)}  # right answers before the function
CHECKS = [COUNTED, APART, LOW, BACK, RATES, BASE, ALLOWED, MASKS, PACKS]
N_ANSWERS = {MASKS: 4, PACKS: 4}
