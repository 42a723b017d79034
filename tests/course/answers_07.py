"""Further answers to lesson 07."""

import numpy as np
import torch
from answers import CHUNK, EARLY, PREFILL, RING, gap, in_chunks, of_chunk, prefilled, rule

CHECKS, FIRST, N_ANSWERS = [], {}, {}


def positions_of(held, chunk):
    return np.concatenate([held, chunk])


def filled_in(held, chunk, W):
    """A loop that writes entry by entry."""
    mask = np.zeros((len(chunk), len(held) + len(chunk)), dtype=bool)
    for t, i in enumerate(chunk):
        for n, j in enumerate([*held, *chunk]):
            mask[t, n] = j >= 0 and 0 <= i - j < W
    return mask


def hidden_in_place(held, chunk, W):
    mask = gap(chunk, positions_of(held, chunk)) < W
    mask &= gap(chunk, positions_of(held, chunk)) >= 0
    mask[:, : len(held)][:, held == -1] = False
    return mask


def in_torch(held, chunk, W):
    held, chunk = torch.from_numpy(held), torch.from_numpy(chunk)
    k = torch.cat([held, chunk])
    d = chunk[:, None] - k[None]
    return (k >= 0) & (d >= 0) & (d < W)


def empty_far_away(held, chunk, W):
    """Empty slots get a position that no window reaches."""
    return rule(chunk, positions_of(np.where(held < 0, -(10**6), held), chunk), W)


def preallocated(q, k, v, W, size, attend_one):
    """A ring of W slots; the result is written in place."""
    out = np.zeros_like(q)
    ring_k, ring_v, held = np.zeros((W, q.shape[1])), np.zeros((W, q.shape[1])), np.full(W, -1)
    for start in range(0, len(q), size):
        chunk = np.arange(start, min(start + size, len(q)))
        keys, values = np.vstack([ring_k, k[chunk]]), np.vstack([ring_v, v[chunk]])
        out[chunk] = attend_one(q[chunk], keys, values, of_chunk(held, chunk, W))
        for i in chunk:
            ring_k[i % W], ring_v[i % W], held[i % W] = k[i], v[i], i
    return out


def with_grad(q, k, v, W, size, attend_one):
    q, k, v = (torch.tensor(x, requires_grad=True) for x in (q, k, v))
    parts = []
    for start in range(0, len(q), size):
        stop, first = min(start + size, len(q)), max(0, start - W + 1)
        mask = torch.from_numpy(rule(np.arange(start, stop), np.arange(first, stop), W))
        part = attend_one(q[start:stop], k[first:stop], v[first:stop], mask)
        parts.append(torch.as_tensor(part).requires_grad_())
    return torch.cat(parts)


def in_float32(q, k, v, W, size, attend_one):
    q, k, v = (x.astype(np.float32) for x in (q, k, v))
    return in_chunks(q, k, v, W, size, attend_one).astype(np.float32)


def cached_rows(q, k, v, W, size, attend_one):
    """Lists of rows as the cache."""
    rows, out = [], []
    for start in range(0, len(q), size):
        own = [(i, k[i], v[i]) for i in range(start, min(start + size, len(q)))]
        at, keys, values = zip(*rows, *own, strict=True)
        asked = np.arange(start, start + len(own))
        mask = rule(asked, np.array(at), W)
        out.extend(attend_one(q[asked], np.array(keys), np.array(values), mask))
        rows = (rows + own)[-W:]
    return np.array(out)


def recursive(q, k, v, W, size, attend_one, start=0, first=0):
    stop = min(start + size, len(q))
    mask = rule(np.arange(start, stop), np.arange(first, stop), W)
    part = attend_one(q[start:stop], k[first:stop], v[first:stop], mask)
    if stop == len(q):
        return part
    more = recursive(q, k, v, W, size, attend_one, stop, max(0, stop - W))
    return np.vstack([part, more])


def static_buffer(q, k, v, W, size, attend_one):
    """Always W + size keys, padded at the front with position -1."""
    out = []
    for start in range(0, len(q), size):
        stop = min(start + size, len(q))
        at = np.full(W + stop - start, -1)
        known = np.arange(max(0, start - W), stop)
        at[len(at) - len(known) :] = known
        mask = rule(np.arange(start, stop), at, W) & (at >= 0)
        out.append(attend_one(q[start:stop], k[at.clip(0)], v[at.clip(0)], mask))
    return np.concatenate(out, 0)


RIGHT = [
    (CHUNK, (filled_in,)),
    (CHUNK, (hidden_in_place,)),
    (CHUNK, (in_torch,)),
    (CHUNK, (empty_far_away,)),
    (CHUNK, (lambda h, c, W: np.logical_and.reduce([
        (d := c.reshape(-1, 1) - np.append(h, c)) >= 0, d < W, np.append(h, c) + 0 * d > -1]),)),
    (CHUNK, (lambda h, c, W: np.isin(gap(c, p := positions_of(h, c)), range(W)) * (p != -1),)),
    (CHUNK, (lambda h, c, W: np.array([[j >= 0 and i in range(j, j + W) for j in [*h, *c]]
                                       for i in c]),)),
    (PREFILL, (preallocated,)),
    (PREFILL, (with_grad,)),
    (PREFILL, (in_float32,)),
    (PREFILL, (cached_rows,)),
    (PREFILL, (recursive,)),
    (PREFILL, (static_buffer,)),
    (RING, (torch.tensor(4), torch.tensor([5]), np.float32(4))),
    (RING, (np.array(4), range(5, 6), 4.0)),
    (RING, (4, {5}, 4)),
    (EARLY, (np.int8(3), torch.tensor(6), lambda seen, W: not seen < W)),
    (EARLY, (3.0, 6, lambda seen, W: torch.tensor(seen) >= W)),
]  # fmt: skip


def padded_end(q, k, v, W, size, attend_one):
    """Pads the prompt to whole chunks and forgets to cut the result."""
    more = -len(q) % size
    q, k, v = (np.vstack([x, np.zeros((more, x.shape[1]))]) for x in (q, k, v))
    return in_chunks(q, k, v, W, size, attend_one)


def looks_on_twice(q, k, v, W, size, attend_one):
    """Appends to the cache, and then again for the look."""
    cache, parts = [], []
    for start in range(0, len(q), size):
        chunk = list(range(len(q)))[start : start + size]
        cache = (cache + chunk)[-W:]
        at = np.array(cache + chunk)
        parts.append(attend_one(q[chunk], k[at], v[at], rule(np.array(chunk), at, W)))
    return np.concatenate(parts)


def ring_and_text(q, k, v, W, size, attend_one):
    """Keys of the cache in order, values as they lie in slots."""
    ring, parts = np.zeros((W, v.shape[1])), []
    for start in range(0, len(q), size):
        chunk = np.arange(start, min(start + size, len(q)))
        at = np.arange(max(0, start - W), start)
        values = np.vstack([ring[: len(at)], v[chunk]])
        keys = np.append(at, chunk)
        parts.append(attend_one(q[chunk], k[keys], values, rule(chunk, keys, W)))
        for i in chunk:
            ring[i % W] = v[i]
    return np.concatenate(parts)


def keys_and_values(of_keys, of_values):
    """Caches of keys and of values that are cut in two ways."""

    def function(q, k, v, W, size, attend_one):
        keys, values, at, parts = k[:0], v[:0], np.arange(0), []
        for start in range(0, len(q), size):
            chunk = np.arange(start, min(start + size, len(q)))
            keys, values = np.vstack([keys, k[chunk]]), np.vstack([values, v[chunk]])
            at = np.append(at, chunk)
            parts.append(attend_one(q[chunk], keys, values, rule(chunk, at, W)))
            keys, values, at = of_keys(keys, W), of_values(values, W), at[-W:]
        return np.concatenate(parts)

    return function


def ignored(q, k, v, W, size, attend_one):
    """Calls attend_one for each chunk, and returns what it computed alone."""

    def own(q, k, v, mask):
        attend_one(q, k, v, mask)
        scores = np.where(mask, q @ k.T / np.sqrt(q.shape[1]), -np.inf)
        weights = np.exp(scores - scores.max(1, keepdims=True))
        return weights / weights.sum(1, keepdims=True) @ v

    return in_chunks(q, k, v, W, size, own)


def masked(change):
    return lambda q, k, v, W, size, one: in_chunks(
        q, k, v, W, size, lambda q, k, v, mask: one(q, k, v, change(mask))
    )


def only_cache(q, k, v, W, size, attend_one):
    parts = []
    for start in range(0, len(q), size):
        chunk = np.arange(start, min(start + size, len(q)))
        at = np.arange(max(0, start - W), start)
        parts.append(attend_one(q[chunk], k[at], v[at], rule(chunk, at, W)))
    return np.concatenate(parts)


def first_queries(q, k, v, W, size, attend_one):
    """q[:n] in place of the chunk's own queries."""
    asked = iter(range(0, len(q), size))
    return in_chunks(q, k, v, W, size, lambda _q, *more: attend_one(
        q[: min(size, len(q) - next(asked))], *more))  # fmt: skip


def in_reverse(q, k, v, W, size, attend_one):
    parts = []
    in_chunks(q, k, v, W, size, lambda *a: parts.insert(0, attend_one(*a)) or parts[0])
    return np.concatenate(parts)


def never_joined(q, k, v, W, size, attend_one):
    parts = []
    in_chunks(q, k, v, W, size, lambda *a: parts.append(attend_one(*a)) or parts[-1])
    return parts


def same_rows(q, k, v, W, size, attend_one):
    """Writes every chunk to the first rows of the result."""
    out = np.zeros_like(q)

    def one(*given):
        part = attend_one(*given)
        out[: len(part)] = part
        return part

    in_chunks(q, k, v, W, size, one)
    return out


def by_size(q, k, v, W, size, attend_one):
    return in_chunks(q, k, v, W, size, attend_one, keep=lambda c, t, W: (c + t)[-size:])


def zeros_in_front(q, k, v, W, size, attend_one):
    """A buffer of W zeros, whose positions count on from below 0 and are not hidden."""
    k, v = (np.vstack([np.zeros((W, x.shape[1])), x]) for x in (k, v))
    parts = []
    for start in range(0, len(q), size):
        chunk = np.arange(start, min(start + size, len(q)))
        at = np.arange(start - W, chunk[-1] + 1)
        parts.append(attend_one(q[chunk], k[at + W], v[at + W], rule(chunk, at, W)))
    return np.concatenate(parts)


SHIFT = lambda seen, W: seen >= W  # noqa: E731
WRONG = [
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W).astype(int),), "must be True or False (bool)"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W) * 1.0,), "must be True or False (bool)"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W).squeeze(),), "the shape must be (1, 5), not (5,)"),
    (CHUNK, (lambda h, c, W: np.where(of_chunk(h, c, W), 0, -np.inf),), "must be True or False"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W).T,), "the shape must be"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, 4),), "always 4"),
    (CHUNK, (lambda h, c, W: (p := positions_of(h, c)) * 0 + (c[0] - p < W) * (gap(c, p) >= 0)
             * (p >= 0) > 0,), "window of the chunk's first token"),
    (CHUNK, (lambda h, c, W: (gap(c, p := positions_of(h, c)) >= 0) & (c[-1] - p < W) & (p >= 0),),
     "window of the chunk's last token"),
    (CHUNK, (lambda h, c, W: np.hstack([np.triu(np.ones((len(c), W), bool), 1), rule(c, c, W)]),),
     "counts slots and rows"),
    (CHUNK, (lambda h, c, W: np.hstack([np.triu(np.ones((len(c), W)), 1), np.tri(len(c))]) > 0,),
     "triangle of Figure 3"),
    (CHUNK, (lambda h, c, W: of_chunk(np.arange(c[0] - W, c[0]), c, W),), "taken to be in order"),
    (CHUNK, (lambda h, c, W: np.hstack([np.tile((h >= 0) & (c[0] - h < W), (len(c), 1)),
                                        rule(c, c, W)]),), "that the chunk's first token sees"),
    (CHUNK, (lambda h, c, W: np.hstack([np.tile(h >= 0, (len(c), 1)), np.tri(len(c)) > 0]),),
     "without a window"),
    (CHUNK, (lambda h, c, W: np.hstack([of_chunk(h, c, W + 1)[:, :W], rule(c, c, W)]),),
     "must not see token"),
    (CHUNK, (lambda h, c, W: np.hstack([of_chunk(h, c, W - 1)[:, :W], rule(c, c, W)]),),
     "must see token"),
    (CHUNK, (lambda h, c, W: (gap(c, p := positions_of(h, c)) >= 0) | (gap(c, p) < W),),
     "join them with &"),
    (CHUNK, (lambda h, c, W: 0 <= gap(c, positions_of(h, c)) < W,), "Join two comparisons with &"),
    (CHUNK, (lambda h, c, W: rule(c - c[0], positions_of(h, c) - c[0], W),), "an empty slot, -1"),
    (CHUNK, (lambda h, c, W: rule(c, np.append(np.where(h < 0, 0, h), c), W),), "is empty, but"),
    (CHUNK, (lambda h, c, W: of_chunk(h[h >= 0], c, W),), "the shape must be"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W) & (np.append(h > c[-1] - W, c >= 0)),),
     "as if it was written first"),
    (PREFILL, (prefilled(see=lambda q, k, W: rule(q, np.arange(len(k)), W)),),
     "begin at 0 in every chunk"),
    (PREFILL, (ignored,), "what attend_one returns is not used"),
    (PREFILL, (looks_on_twice,), "the chunk's keys are there twice"),
    (PREFILL, (ring_and_text,), "one lies in slots"),
    (PREFILL, (keys_and_values(lambda k, W: k[-W:], lambda v, W: v[::-1][:W]),), "comes out wrong"),
    (PREFILL, (keys_and_values(lambda k, W: k[-W:], lambda v, W: v),), "of the same tokens"),
    (PREFILL, (prefilled(keep=lambda c, t, W: (c + t)[-(W - 1) :]),), "which is all of them"),
    (PREFILL, (prefilled(keep=lambda c, t, W: (c + t)[len(c + t) - max(0, min(W - 2,
                                                                         len(c + t))) :]),),
     "keeps W - 2 keys"),
    (PREFILL, (by_size,), "the older tokens are lost"),
    (PREFILL, (prefilled(keep=lambda c, t, W: t),), "the older tokens are lost"),
    (PREFILL, (padded_end,), "the shape must be"),
    (PREFILL, (masked(lambda m: m.T),), "the mask must be (T, S)"),
    (PREFILL, (masked(lambda m: np.where(m, 0, -np.inf)),), "the mask must be True and False"),
    (PREFILL, (masked(lambda m: m.astype(int)),), "the mask must be True and False"),
    (PREFILL, (masked(lambda m: ~m),), "True means visible"),
    (PREFILL, (only_cache,), "a chunk looks at itself"),
    (PREFILL, (first_queries,), "asks with the queries of the first"),
    (PREFILL, (in_reverse,), "reversed order"),
    (PREFILL, (never_joined,), "np.concatenate joins the chunks"),
    (PREFILL, (same_rows,), "comes out wrong, in chunk 1"),
    (PREFILL, (lambda q, k, v, W, size, one: in_chunks(q, k, v, W, W, one),), "in chunks of W"),
    (PREFILL, (prefilled(see=lambda q, k, W: rule(q + 1, k, W)),), "one too high"),
    (PREFILL, (lambda q, k, v, *more: in_chunks(q, v, v, *more),), "v stands where k belongs"),
    (PREFILL, (lambda q, k, v, *more: in_chunks(k, k, v, *more),), "k stands where q belongs"),
    (PREFILL, (zeros_in_front,), "comes out wrong, in chunk 1"),
    (PREFILL, (lambda q, k, v, W, size, one: in_chunks(q, k, v, W, size, one)[:size],),
     "a row for only 2 of 5 tokens"),
    (PREFILL, (lambda q, k, v, W, size, one: in_chunks(q, k, v, W, size, one) * 2,),
     "comes out wrong"),
    (PREFILL, (lambda q, k, v, W, size, one: exit(),), "SystemExit"),
    (RING, ([4], [5], 4), "leak must be a whole number"),
    (RING, (4, "5", 4), "must be a list"),
    (RING, (4, [2, 5], 4), "query 2 sees 4 and 5"),
    (RING, (4, [[5]], 4), "Each of right_queries must be a whole number"),
    (RING, (4, [5], 7), "too large"),
    (EARLY, (3, 3, SHIFT), "That is the first wrong one"),
    (EARLY, (3, 2, SHIFT), "must come after first_wrong"),
    (EARLY, (7, 6, SHIFT), "too large"),
    (EARLY, (3, 6, lambda seen, W: seen == W - 1), "one slot is then still free"),
    (EARLY, (3, 6, lambda seen, W: seen % W == W - 1), "every token from W on"),
    (EARLY, (3, 6, lambda seen, W: seen >= 2 * W), "a second time"),
    (EARLY, (3, 6, lambda seen, W: seen > 0), "until W tokens are held"),
    (EARLY, (3, 6, lambda seen, W: "yes"), "True or False"),
    (EARLY, (3, 6, True), "pass the function itself"),
]  # fmt: skip
