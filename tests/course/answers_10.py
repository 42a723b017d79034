"""Answers to the exercises of lesson 10, right and wrong; test_checks.py gives them."""

import numpy as np
import torch

from minimistral.course.checks import lesson_10
from minimistral.np import probabilities

LOOP, TEMPER, TOP_P, PENALISE, DRAFT, ACCEPT = (
    lesson_10.loop, lesson_10.temper, lesson_10.top_p, lesson_10.penalise, lesson_10.draft,
    lesson_10.accept,
)  # fmt: skip
CUTS, PAIR, PADDING = lesson_10.bug_cuts, lesson_10.bug_draw_and_penalty, lesson_10.bug_padding


def loop(read, choose, prompt, n_new, stop_ids, first=lambda prompt: prompt, again=None,
         choose_twice=False, read_last=False, keep=lambda prompt, new: new, stop=True, most=0,
         greedy=False):  # fmt: skip
    """The loop, with ways to get each of its steps wrong."""
    choose = (lambda logits: int(logits.argmax())) if greedy else choose
    logits, new = read(first(prompt)), []
    for _ in range(n_new + most):
        new.append(choose(logits))
        if choose_twice:
            choose(logits)
        if not read_last and (len(new) == n_new + most or (stop and new[-1] in stop_ids)):
            break
        logits = read((again or (lambda prompt, new: new[-1:]))(prompt, new))
        if stop and new[-1] in stop_ids:
            break
    return keep(prompt, new)


def variant(**how):
    return lambda *given: loop(*given, **how)


def by_recursion(read, choose, prompt, n_new, stop_ids):
    token = choose(read(prompt))
    if n_new == 1 or token in stop_ids:
        return [token]
    return [token, *by_recursion(read, choose, [token], n_new - 1, stop_ids)]


def with_while(read, choose, prompt, n_new, stop_ids):
    new, last = [], np.array(prompt)
    while len(new) < n_new and (not new or new[-1] not in set(stop_ids)):
        new.append(choose(read(last)))
        last = np.array(new[-1:])
    return np.array(new)


def one_by_one(read, choose, prompt, n_new, stop_ids):
    for token in prompt:
        logits = read([token])
    new = []
    while True:
        new.append(choose(logits))
        if len(new) == n_new or new[-1] in stop_ids:
            return new
        logits = read([new[-1]])


def lost_ids(read, choose, prompt, n_new, stop_ids):
    new = by_recursion(read, choose, prompt, n_new, stop_ids)
    return new[-1:]


def stops_in_prompt(read, choose, prompt, n_new, stop_ids):
    ids = list(prompt)
    logits = read(prompt)
    while True:
        ids.append(choose(logits))
        if len(ids) - len(prompt) == n_new or set(ids) & set(stop_ids):
            return ids[len(prompt) :]
        logits = read(ids[-1:])


def appends_to_prompt(read, choose, prompt, n_new, stop_ids):
    n, logits = len(prompt), read(list(prompt))
    while True:
        prompt.append(choose(logits))
        if len(prompt) == n + n_new or prompt[-1] in stop_ids:
            return prompt[n:]
        logits = read(prompt[-1:])


def endless(read, choose, prompt, n_new, stop_ids):
    logits = read(prompt)
    while True:
        logits = read([choose(logits)])


def endless_choice(read, choose, prompt, n_new, stop_ids):
    logits, new = read(prompt), []
    while not new or new[-1] not in (99,):
        new.append(choose(logits))
    return new


def as_it_chooses(read, choose, prompt, n_new, stop_ids):
    yield choose(read(prompt))


def without_stop_id(read, choose, prompt, n_new, stop_ids):
    new = loop(read, choose, prompt, n_new, stop_ids)
    return new[:-1] if new[-1] in stop_ids else new


def soft(x):
    exps = np.exp(x - x.max())
    return exps / exps.sum()


def temper(logits, temperature, of=None, cold=None):
    if temperature == 0:
        right = (np.arange(len(logits)) == logits.argmax()) * 1.0
        return right if cold is None else cold(logits)
    return soft(logits / temperature) if of is None else of(logits, temperature)


def heat(of=None, cold=None):
    return lambda logits, t: temper(logits, t, of, cold)


def by_powers(logits, temperature):
    if temperature == 0:
        return np.eye(len(logits))[logits.argmax()]
    with np.errstate(all="ignore"):
        log_p = np.log(soft(logits))
        return soft(log_p / temperature)


def in_torch(logits, temperature):
    if temperature == 0:
        hot = torch.zeros(len(logits))
        hot[int(logits.argmax())] = 1
        return hot
    return torch.softmax(torch.tensor(logits) / temperature, -1)


def top_p_loop(p, top_p):
    kept, total = np.zeros_like(p), 0.0
    for token in np.argsort(-p):
        kept[token] = p[token]
        total += p[token]
        if total >= top_p:
            break
    return kept / kept.sum()


def cut(keep, scale=True, order=lambda p: np.argsort(-p)):
    def function(p, top_p):
        by = order(p)
        kept, in_order = np.zeros_like(p), p[by]
        kept[by] = np.where(keep(in_order, np.cumsum(in_order), top_p), in_order, 0)
        return kept / kept.sum() if scale else kept

    return function


def from_below(p, top_p, always=True):
    """As the second function of the museum; with `always` it is repaired."""
    order = np.argsort(p)
    in_order = p[order]
    total = np.cumsum(in_order)
    keep = total > 1 - np.float32(top_p)
    if always:
        keep[-1] = True
    kept = np.zeros_like(p)
    kept[order[keep]] = in_order[keep]
    return kept / kept.sum()


def to_the_first(p, top_p):
    order = np.argsort(-p)
    n = np.argmax(np.cumsum(p[order]) > top_p) + 1
    kept = np.zeros_like(p)
    kept[order[:n]] = p[order[:n]]
    return kept / kept.sum()


def cut_searched(p, top_p):
    order = np.argsort(p)[::-1]
    total = np.cumsum(p[order])
    n = int(np.searchsorted(total, top_p)) + 1
    kept = np.zeros_like(p)
    kept[order[:n]] = p[order[:n]]
    return kept / kept.sum()


def with_mask(p, top_p):
    before = np.array([p[p > value].sum() for value in p])
    kept = np.where(before < top_p, p, 0)
    return kept / kept.sum()


def penalise(logits, seen, penalty, positive=lambda x, c: x / c, negative=lambda x, c: x * c):
    changed = logits.copy()
    for token in np.flatnonzero(seen):
        x = changed[token]
        changed[token] = positive(x, penalty) if x > 0 else negative(x, penalty)
    return changed


def at_seen(change):
    return lambda logits, seen, penalty: np.where(seen, change(logits, penalty), logits)


def draft(ids, n_draft, ngram, starts=None, begin=0, most=0):
    starts, text = starts or (lambda n: range(n - 1, -1, -1)), list(ids)
    for start in starts(len(ids) - ngram):
        if ids[start : start + ngram] == ids[-ngram:]:
            for i in range(n_draft + most):
                text.append(text[start + ngram + begin + i])
            break
    return text[len(ids) :]


def drafted(**how):
    return lambda *given: draft(*given, **how)


def not_overlapping(ids, n_draft, ngram):
    return draft(ids, n_draft, ngram, starts=lambda n: range(n - ngram, -1, -1))


def cut_off(ids, n_draft, ngram, starts=None):
    """Without the copy of the copy."""
    starts = starts or (lambda n: range(n - 1, -1, -1))
    for start in starts(len(ids) - ngram):
        if ids[start : start + ngram] == ids[-ngram:]:
            return ids[start + ngram : start + ngram + n_draft]
    return []


def draft_of_pairs(ids, n_draft, ngram):
    table = {}
    for at in range(ngram, len(ids)):
        table[tuple(ids[at - ngram : at])] = at
    at = table.get(tuple(ids[len(ids) - ngram :]))
    cycle = ids[at:] if at else []
    return tuple((cycle * n_draft)[:n_draft])


def accept_loop(drafts, chosen):
    new = []
    for draft_id, token in zip([*drafts, None], chosen, strict=True):
        new.append(token)
        if draft_id != token:
            break
    return new


def accept_cumprod(drafts, chosen):
    same = np.array(drafts, int) == np.array(chosen[:-1], int)
    return np.array(chosen)[: int(np.cumprod(same).sum()) + 1]


def draw(p, u, before=lambda mark, edge: mark < edge):
    edges = np.cumsum(p)
    mark = u * edges[-1]
    for token, edge in enumerate(edges):
        if before(mark, edge):
            return token
    return len(p) - 1


def draw_searched(p, u):
    edges = np.cumsum(p)
    return int(np.searchsorted(edges, u * edges[-1], side="right"))


def weaken(logits, ids, penalty, change=lambda x, c: x / c if x > 0 else x * c, once=True):
    changed = logits.copy()
    for token in set(ids) if once else ids:
        changed[token] = change(changed[token], penalty)
    return changed


def padded(prompts, own=lambda n, start, T: np.arange(n), pads=-1, side="left"):
    T = max(len(prompt) for prompt in prompts)
    tokens = np.zeros((len(prompts), T), int)
    positions = np.full((len(prompts), T), pads)
    for row, prompt in enumerate(prompts):
        start = T - len(prompt) if side == "left" else 0
        tokens[row, start : start + len(prompt)] = prompt
        positions[row, start : start + len(prompt)] = own(len(prompt), start, T)
    return tokens, positions


def padded_as_published(prompts):
    tokens, positions = padded(prompts)
    positions[:] = np.arange(positions.shape[1])
    return tokens, positions


def from_a_mask(prompts):
    T = max(map(len, prompts))
    tokens = [[0] * (T - len(prompt)) + prompt for prompt in prompts]
    real = [[0] * (T - len(prompt)) + [1] * len(prompt) for prompt in prompts]
    positions = np.cumsum(real, axis=1) - 1
    return torch.tensor(tokens), np.where(np.array(real) == 1, positions, -1)


RIGHT_CUT = cut(lambda p, total, t: total - p < t)
RIGHT = [
    (LOOP, (loop,)),
    (LOOP, (by_recursion,)),
    (LOOP, (with_while,)),
    (TEMPER, (temper,)),
    (TEMPER, (by_powers,)),
    (TEMPER, (in_torch,)),
    (TEMPER, (lambda logits, t: probabilities(logits, t),)),
    (TOP_P, (RIGHT_CUT,)),
    (TOP_P, (top_p_loop,)),
    (TOP_P, (cut_searched,)),
    (TOP_P, (with_mask,)),
    (TOP_P, (lambda p, t: torch.tensor(RIGHT_CUT(p, t)),)),
    (TOP_P, (lambda p, t: probabilities(np.log(np.maximum(p, 1e-300)), 1.0, t),)),
    (PENALISE, (penalise,)),
    (PENALISE, (at_seen(lambda x, c: np.where(x > 0, x / c, x * c)),)),
    (PENALISE, (at_seen(lambda x, c: np.minimum(x / c, x * c)),)),
    (PENALISE, (lambda x, seen, c: torch.tensor(penalise(x, seen, c)),)),
    (DRAFT, (draft,)),
    (DRAFT, (draft_of_pairs,)),
    (ACCEPT, (accept_loop,)),
    (ACCEPT, (accept_cumprod,)),
    (CUTS, (4, RIGHT_CUT, 4, from_below)),
    (CUTS, (4.0, cut_searched, np.int64(4), RIGHT_CUT)),
    (CUTS, (4, top_p_loop, 4, with_mask)),
    (PAIR, (4, draw, 3, weaken)),
    (PAIR, (4, draw_searched, 3, lambda *a: weaken(*a, change=lambda x, c: min(x * c, x / c)))),
    (PADDING, (7, padded)),
    (PADDING, (7, from_a_mask)),
]  # fmt: skip
WRONG = [
    (LOOP, (variant(read_last=True),), "is read, although nothing is chosen after it"),
    (LOOP, (variant(again=lambda prompt, new: prompt + new),), "the whole text is read again"),
    (LOOP, (variant(again=lambda prompt, new: prompt),), "the prompt is read again"),
    (LOOP, (variant(again=lambda prompt, new: new[-2:]),), "Read one id at a time"),
    (LOOP, (variant(again=lambda prompt, new: (prompt + new)[-2:-1]),), "That one was read before"),
    (LOOP, (variant(again=lambda prompt, new: new[-1]),), "takes a list, also for one id"),
    (LOOP, (variant(again=lambda prompt, new: []),), "an empty list"),
    (LOOP, (variant(first=lambda prompt: prompt[:1]),), "Read the prompt, all of it"),
    (LOOP, (variant(first=lambda prompt: prompt[-1:]),), "Read the prompt, all of it"),
    (LOOP, (variant(first=lambda prompt: prompt[::-1]),), "Read the prompt, all of it"),
    (LOOP, (one_by_one,), "the prompt is read one id at a time"),
    (LOOP, (variant(keep=lambda prompt, new: prompt + new),), "without the prompt"),
    (LOOP, (variant(stop=False),), "the text goes on behind a stop id"),
    (LOOP, (variant(most=1),), "there are too many ids"),
    (LOOP, (variant(most=-1),), "one new id is missing"),
    (LOOP, (variant(greedy=True),), "the largest logit is taken"),
    (LOOP, (variant(choose_twice=True),), "call it once per id"),
    (LOOP, (variant(keep=lambda prompt, new: new[1:]),), "the first new id is missing"),
    (LOOP, (variant(keep=lambda prompt, new: new[::-1]),), "not those that `choose` gave"),
    (LOOP, (variant(keep=lambda prompt, new: str(new)),), "the new ids, not a value of type str"),
    (LOOP, (as_it_chooses,), "not a value of type generator"),
    (LOOP, (lost_ids,), "only the last id is returned"),
    (LOOP, (stops_in_prompt,), "A stop id in the prompt does not count"),
    (LOOP, (appends_to_prompt,), "changes its input"),
    (LOOP, (without_stop_id,), "the stop id is missing"),
    (LOOP, (endless,), "the loop has no end"),
    (LOOP, (endless_choice,), "the loop has no end"),
    (LOOP, (lambda read, choose, prompt, n, stop: [choose(prompt)] * n,), "takes the logits"),
    (LOOP, (lambda read, choose, prompt, n, stop: [0] * n,), "`read` is never called"),
    (LOOP, (lambda read, choose, prompt, n, stop: None,), "returns nothing"),
    (TEMPER, (heat(of=lambda x, t: soft(x * t)),), "it multiplies"),
    (TEMPER, (lambda x, t: soft(x * t),), "it multiplies"),
    (TEMPER, (heat(of=lambda x, t: soft(x)),), "the temperature is not used"),
    (TEMPER, (heat(of=lambda x, t: soft(x) / t),), "softmax comes first"),
    (TEMPER, (heat(of=lambda x, t: soft(soft(x) / t)),), "softmax is taken twice"),
    (TEMPER, (heat(of=lambda x, t: soft(x) ** (1 / t)),), "divide by the sum"),
    (TEMPER, (heat(of=lambda x, t: np.exp((x - x.max()) / t)),), "divide by the sum"),
    (TEMPER, (heat(of=lambda x, t: np.exp(x / t) / np.exp(x / t).sum()),), "exp overflows"),
    (TEMPER, (lambda x, t: np.exp(x / t) / np.exp(x / t).sum(),), "and temperature 0 divides by 0"),
    (TEMPER, (lambda x, t: soft(x / t),), "temperature 0 divides by 0. It means"),
    (TEMPER, (lambda x, t: soft(x / (t + 1e-8)),), "a line of its own"),
    (TEMPER, (heat(cold=lambda x: soft(x)),), "That is temperature 1"),
    (TEMPER, (heat(cold=lambda x: np.full(len(x), 1 / len(x))),), "an even chance"),
    (TEMPER, (heat(cold=lambda x: np.zeros(len(x))),), "That is zeros"),
    (TEMPER, (heat(cold=lambda x: np.eye(len(x))[x.argmin()]),), "argmax, not argmin"),
    (TEMPER, (heat(cold=lambda x: x.argmax()),), "the shape must be"),
    (TEMPER, (heat(of=lambda x, t: x / t),), "softmax is missing"),
    (TEMPER, (heat(of=lambda x, t: soft(-x / t)),), "a larger logit is likelier"),
    (TEMPER, (heat(of=lambda x, t: soft(x - t)),), "the temperature is not used"),
    (TEMPER, (heat(of=lambda x, t: soft(x / t) * 2),), "sum to 2.000, not to 1"),
    (TEMPER, (lambda x, t: list(temper(x, t)),), "return a NumPy array"),
    (TOP_P, (cut(lambda p, total, t: total <= t),), "the token that crosses top_p is dropped"),
    (TOP_P, (cut(lambda p, total, t: total < t),), "the token that crosses top_p is dropped"),
    (
        TOP_P,
        (cut(lambda p, total, t: (total <= t) | (np.arange(len(p)) == 0)),),
        "the token that crosses top_p is dropped",
    ),
    (TOP_P, (cut(lambda p, total, t: total - p <= t),), "compare with <, not <="),
    (TOP_P, (to_the_first,), "argmax of an array without any True is 0"),
    (TOP_P, (cut(lambda p, total, t: p >= t),), "each probability is compared alone"),
    (TOP_P, (cut(lambda p, total, t: p >= t * p.max()),), "that is min-p"),
    (TOP_P, (cut(lambda p, total, t: total - p >= t),), "keeps the tail"),
    (TOP_P, (cut(lambda p, total, t: total - p < t, scale=False),), "must sum to 1"),
    (
        TOP_P,
        (cut(lambda p, total, t: total - p < t, order=lambda p: np.arange(len(p))),),
        "it is not sorted",
    ),
    (
        TOP_P,
        (cut(lambda p, total, t: total - p < t, order=np.argsort),),
        "begins with the least likely",
    ),
    (TOP_P, (lambda p, t: np.sort(RIGHT_CUT(p, t))[::-1],), "the result is sorted"),
    (TOP_P, (lambda p, t: p,), "nothing is cut"),
    (TOP_P, (lambda p, t: RIGHT_CUT(p, t)[RIGHT_CUT(p, t) > 0],), "the shape must be"),
    (TOP_P, (lambda p, t: RIGHT_CUT(p, t) > 0,), "sum to"),
    (TOP_P, (lambda p, t: cut(lambda p, c, t: c - p < t, scale=False)(p, t) / t,), "what is left"),
    (TOP_P, (cut(lambda p, total, t: np.arange(len(p)) == 0),), "only the likeliest"),
    (
        TOP_P,
        (cut(lambda p, total, t: np.arange(len(p)) < max(1, int(t * len(p)))),),
        "not of the tokens",
    ),
    (TOP_P, (lambda p, t: p.__imul__(0.5),), "changes its input"),
    (TOP_P, (lambda p, t: p[np.argsort(-p) / 2],), "Use places (integers)"),
    (PENALISE, (at_seen(lambda x, c: x / c),), "a negative logit divided"),
    (PENALISE, (at_seen(lambda x, c: x * c),), "a positive logit times"),
    (PENALISE, (at_seen(lambda x, c: np.where(x > 0, x * c, x / c)),), "swapped"),
    (PENALISE, (lambda x, s, c: penalise(x, ~s, c),), "seen and unseen"),
    (PENALISE, (lambda x, s, c: penalise(x, s | True, c),), "that were not seen"),
    (PENALISE, (lambda x, s, c: x,), "nothing changes"),
    (PENALISE, (at_seen(lambda x, c: x - c),), "it subtracts"),
    (PENALISE, (at_seen(lambda x, c: np.full_like(x, -np.inf)),), "forbidden"),
    (PENALISE, (at_seen(lambda x, c: -abs(x) * c),), "must stay positive"),
    (PENALISE, (lambda x, s, c: penalise(x, s, c, negative=lambda x, c: x),), "negative logits"),
    (PENALISE, (lambda x, s, c: penalise(x, s, c, positive=lambda x, c: x),), "positive logits"),
    (PENALISE, (lambda x, s, c: penalise(penalise(x, s, c), s, c),), "applied twice"),
    (PENALISE, (lambda x, s, c: soft(penalise(x, s, c)),), "softmax comes later"),
    (PENALISE, (lambda x, s, c: penalise(x, s, c)[s],), "the shape must be"),
    (PENALISE, (lambda x, s, c: penalise(x, s, c) + 0.01,), "but the rule gives"),
    (DRAFT, (cut_off,), "the copy stops at the end of the text"),
    (DRAFT, (lambda *a: cut_off(*a, starts=range),), "And take the latest"),
    (DRAFT, (drafted(starts=range),), "that is the first occurrence"),
    (DRAFT, (drafted(begin=-1),), "the last id of the match"),
    (DRAFT, (drafted(begin=1),), "IndexError"),
    (DRAFT, (drafted(most=1),), "one id too many"),
    (DRAFT, (drafted(most=-1),), "one id too few"),
    (DRAFT, (lambda ids, n, g: draft(ids, len(ids), g),), "and no more"),
    (DRAFT, (lambda ids, n, g: draft(ids, n, 1),), "only the last id is compared"),
    (DRAFT, (lambda ids, n, g: draft(ids, n, 2),), "2 was an example"),
    (DRAFT, (lambda ids, n, g: draft(ids, n, g) or ids[-1:] * n,), "return an empty list"),
    (DRAFT, (lambda ids, n, g: draft(ids, n, g) or None,), "returns nothing"),
    (DRAFT, (lambda ids, n, g: draft(ids, n, g)[::-1],), "reverse order"),
    (DRAFT, (lambda ids, n, g: ids + draft(ids, n, g),), "without the text"),
    (DRAFT, (lambda ids, n, g: ids[-n:],), "the last ids"),
    (DRAFT, (lambda ids, n, g: (cut_off(ids, n, g) + [0] * n)[:n],), "nothing is filled in"),
    (DRAFT, (not_overlapping,), "may overlap the end"),
    (DRAFT, (lambda ids, n, g: draft(ids[:-1], n, g),), "the result is not"),
    (DRAFT, (lambda ids, n, g: [],), "nothing is found"),
    (DRAFT, (lambda ids, n, g: "".join(map(str, ids)),), "ids, not a value of type str"),
    (ACCEPT, (lambda d, c: accept_loop(d, c)[:-1],), "only the drafts that are right"),
    (ACCEPT, (lambda d, c: accept_loop(d, c)[: len(d)],), "one more"),
    (ACCEPT, (lambda d, c: c,), "all choices are taken"),
    (ACCEPT, (lambda d, c: d,), "unchecked"),
    (ACCEPT, (lambda d, c: c[:1],), "only one token is taken"),
    (
        ACCEPT,
        (lambda d, c: [t for t, x in zip(d, c, strict=False) if t == x] + c[-1:],),
        "does not count",
    ),
    (
        ACCEPT,
        (lambda d, c: c[: sum(t == x for t, x in zip(d, c, strict=False)) + 1],),
        "Stop at the first",
    ),
    (ACCEPT, (lambda d, c: c if d == c[:-1] else c[:1],), "a later one wrong"),
    (ACCEPT, (lambda d, c: c[: len(accept_loop(d, c)) + 1],), "one too many"),
    (ACCEPT, (lambda d, c: accept_loop(d, c)[:-1] + c[-1:],), "not its last choice"),
    (ACCEPT, (lambda d, c: len(accept_loop(d, c)),), "ids, not a value of type int"),
    (ACCEPT, (lambda d, c: accept_loop(d, c)[::-1],), "the result is not"),
    (CUTS, (3, None, None, None), "line 3 is not the cause. The running total is right"),
    (CUTS, (7, None, None, None), "as long as something was kept"),
    (CUTS, (8, None, None, None), "from 1 to 7, not 8"),
    (CUTS, (4, None, 4, None), "drops_fixed is not written yet"),
    (CUTS, (4, cut(lambda p, c, t: c <= t), 4, None), "drops_fixed: the token that crosses"),
    (CUTS, (4, cut(lambda p, c, t: c - p <= t), 4, None), "drops_fixed: one token too many"),
    (CUTS, (4, cut(lambda p, c, t: c - p < t, scale=False), 4, None), "drops_fixed: what is left"),
    (CUTS, (4, RIGHT_CUT, 1, None), "another order, and a right one"),
    (CUTS, (4, RIGHT_CUT, 3, None), "up to rounding"),
    (CUTS, (4, RIGHT_CUT, 6, None), "what line 4 decided"),
    (CUTS, (4, RIGHT_CUT, None, None), "empties_line is not written yet"),
    (
        CUTS,
        (4, RIGHT_CUT, 4, lambda p, t: from_below(p, t, always=False)),
        "empties_fixed: for a tiny top_p nothing is kept",
    ),
    (CUTS, (4, RIGHT_CUT, 4, cut(lambda p, c, t: c <= t)), "empties_fixed: the token that crosses"),
    (CUTS, (4, RIGHT_CUT, 4, lambda p, t: p), "empties_fixed: nothing is cut"),
    (CUTS, ("4", RIGHT_CUT, 4, from_below), "drops_line must be a whole number"),
    (PAIR, (1, None, None, None), "ends where it begins"),
    (PAIR, (2, None, None, None), "a sum that is not quite 1"),
    (PAIR, (5, None, None, None), "that line 4 chose"),
    (PAIR, (4, lambda p, u: draw(p, u, lambda m, e: m <= e), 3, weaken), "still draws token 0"),
    (
        PAIR,
        (4, lambda p, u: draw(p, max(u, 1e-9), lambda m, e: m <= e), 3, weaken),
        "a token owns the marks",
    ),
    (PAIR, (4, lambda p, u: int(p.argmax()), 3, weaken), "belongs to token"),
    (PAIR, (4, lambda p, u: len(p), 3, weaken), "gives token 3, and there are 3"),
    (PAIR, (4, lambda p, u: 2 if u == 0 and p[2] else draw(p, u), 3, weaken), "u = 0 must give"),
    (PAIR, (4, draw, 1, weaken), "the caller's logits must not change"),
    (PAIR, (4, draw, 2, weaken), "no token is penalised twice"),
    (PAIR, (4, draw, 3, lambda x, i, c: weaken(x, i, c, lambda x, c: x / c)), "a negative logit"),
    (PAIR, (4, draw, 3, lambda x, i, c: weaken(x, i, c, lambda x, c: x * c)), "a positive logit"),
    (PAIR, (4, draw, 3, lambda x, i, c: weaken(x, i, c, once=False)), "applied twice"),
    (PAIR, (4, draw, 3, lambda x, i, c: x), "weaken_fixed: nothing changes"),
    (PAIR, (4, draw, 3, None), "weaken_fixed is not written yet"),
    (PADDING, (3, None), "as in an empty slot"),
    (PADDING, (6, None), "at the end of its row. That is right"),
    (PADDING, (5, None), "ends in its last token"),
    (PADDING, (7, padded_as_published), "Padding must keep position -1"),
    (PADDING, (7, lambda ps: padded(ps, pads=0)), "Padding must keep position -1"),
    (PADDING, (7, lambda ps: padded(ps, own=lambda n, s, T: np.arange(s, T))), "Only distances"),
    (PADDING, (7, lambda ps: padded(ps, own=lambda n, s, T: 0)), "are 0, 1, 2"),
    (PADDING, (7, lambda ps: padded(ps, own=lambda n, s, T: np.arange(n)[::-1])), "are 0, 1, 2"),
    (PADDING, (7, lambda ps: padded(ps, side="right")), "must stand at the end of its row"),
    (PADDING, (7, lambda ps: padded(ps)[1]), "return both"),
    (PADDING, (7, lambda ps: padded(ps)[::-1]), "must stand at the end of its row"),
    (PADDING, (9, padded), "from 1 to 8, not 9"),
]  # fmt: skip
CHECKS = [LOOP, TEMPER, TOP_P, PENALISE, DRAFT, ACCEPT, CUTS, PAIR, PADDING]
FIRST = {CUTS: (4, RIGHT_CUT, 4), PAIR: (4, draw, 3), PADDING: (7,)}
N_ANSWERS = {CUTS: 4, PAIR: 4, PADDING: 2}
