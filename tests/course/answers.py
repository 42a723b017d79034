"""Answers to the exercises of lessons 05 to 08, right and wrong; test_checks.py gives them."""

import math

import numpy as np
import torch

from minimistral.course.checks import lesson_05, lesson_06, lesson_07, lesson_08


def gap(q, k):
    return q[:, None] - k[None, :]


def rule(q, k, W):
    return (gap(q, k) >= 0) & (gap(q, k) < W)


def walked(i, n_layers, W):
    """The loop of lesson 05."""
    reached = {i}
    for _ in range(n_layers):
        reached = {j for token in reached for j in range(token + 1) if 0 <= token - j < W}
    return reached


def entry_by_entry(join):
    """A loop over the layers that joins masks without a product of matrices."""

    def depends(mask, n_layers):
        reached = np.eye(len(mask), dtype=bool)
        for _ in range(n_layers):
            reached = join(reached, mask)
        return reached

    return depends


def power(mask, n_layers, extra=0, least=0, count=False, begin=True):
    """The boolean power, with ways to get it wrong."""
    reached = np.eye(len(mask), dtype=bool if not count else np.int64)
    for _ in range(max(least, n_layers + extra)):
        reached = reached @ mask
    return reached if begin or n_layers else mask


def stored(keys, positions, key, i, slot=lambda i, W: i % W, mark=True, write=True):
    """A cache after a token, with ways to get it wrong."""
    keys, positions, at = keys.copy(), positions.copy(), slot(i, len(keys))
    if write:
        keys[at] = key
    if mark:
        positions[at] = i if mark is True else mark(i, len(keys))
    return keys, positions


def shifted(keys, positions, key, i):
    return np.vstack([keys[1:], key]), np.append(positions[1:], i)


def sorted_by_position(keys, positions, key, i):
    keys, positions = stored(keys, positions, key, i)
    order = np.argsort(positions, kind="stable")
    return keys[order], positions[order]


def in_place(keys, positions, key, i):
    keys[i % len(keys)], positions[i % len(keys)] = key, i
    return keys, positions


def seen(positions, i, W, empty=True, ahead=True, old=True):
    visible = np.ones(len(positions), dtype=bool)
    visible &= (positions >= 0) | (not empty)
    visible &= (positions <= i) | (not ahead)
    return visible & ((i - positions < W) | (not old))


def rewinds(seen, n, W):
    """A list says what is still there, and what the next token needs."""
    kept = {j for j in range(seen) if j >= seen - W and j < seen - n}
    needed = {j for j in range(seen - n) if seen - n - j < W}
    return n <= seen and needed <= kept


def of_chunk(held, chunk, W, own=True, cache=True):
    """The mask of a chunk: the rule over the slots, then over the chunk."""
    slots = rule(chunk, held, W) & (held >= 0) & cache
    return np.hstack([slots, rule(chunk, chunk, W) & own])


def halves(slots, own):
    """A mask laid together from one of the slots and one of the chunk."""
    return np.hstack([np.broadcast_to(slots, (len(own), slots.shape[-1])), own])


def one_head(q, k, v, mask):
    """Attention of one head, written without attend_one."""
    scores = np.where(mask, q @ k.T / np.sqrt(q.shape[1]), -np.inf)
    weights = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return weights / weights.sum(axis=-1, keepdims=True) @ v


def all_keys(held, chunk):
    return np.concatenate([held, chunk])


def in_chunks(
    q, k, v, W, size, attend_one, see=rule, first=False, keep=lambda c, t, W: (c + t)[-W:]
):
    """Prefill with Python lists as the cache, and ways to get it wrong."""
    cache, parts = [], []
    for start in range(0, len(q), size):
        chunk = list(range(len(q)))[start : start + size]
        keys = keep(cache, chunk, W) if first else cache + chunk
        mask = see(np.array(chunk), np.array(keys, dtype=int), W)
        parts.append(attend_one(q[chunk], k[keys], v[keys], mask))
        cache = keep(cache, chunk, W)
    return np.concatenate(parts)


def prefilled(**changes):
    return lambda *arguments: in_chunks(*arguments, **changes)


def sliced_anew(q, k, v, W, size, attend_one):
    """Without a cache: each chunk takes the last W keys from the prompt again."""
    parts = []
    for start in range(0, len(q), size):
        chunk = np.arange(start, min(start + size, len(q)))
        keys = np.arange(max(0, start - W), chunk[-1] + 1)
        parts.append(attend_one(q[chunk], k[keys], v[keys], rule(chunk, keys, W)))
    return np.concatenate(parts)


def at_once(q, k, v, W, size, attend_one):
    positions = np.arange(len(q))
    return attend_one(q, k, v, rule(positions, positions, W))


def one_by_one(q, k, v, W, size, attend_one):
    """Right, but no chunk is read: each token attends alone."""
    return in_chunks(q, k, v, W, 1, attend_one)


def held_too_early(n_tokens, W):
    """What the shifting buffer of lesson 07 holds after each token."""
    held, after = ["empty"] * W, []
    for token in range(n_tokens):
        if token >= W - 1:
            held = [*held[1:], "empty"]
        held[min(token, W - 1)] = token
        after.append(list(held))
    return after


def norm(x, weight, eps, axis=-1, root=np.sqrt, mean=np.mean, shift=False):
    """RMSNorm, with ways to get it wrong."""
    x = x - x.mean(axis=-1, keepdims=True) if shift else x
    return x / root(mean(x * x, axis=axis, keepdims=True) + eps) * weight


def swish(z):
    return z / (1 + np.exp(-z))


def network(join):
    return lambda x, w1, w2, w3: join(x @ w1.T, x @ w3.T) @ w2.T


def one_layer(x, a, f, n1, n2):
    h = x + a(n1(x))
    return h + f(n2(h))


def norm_of_the_sum(x, a, f, n1, n2):
    h = n1(x + a(x))
    return n2(h + f(h))


def norm_of_the_work(x, a, f, n1, n2):
    h = x + n1(a(x))
    return h + n2(f(h))


def stream_is_normed(x, a, f, n1, n2):
    x = n1(x)
    h = n2(x + a(x))
    return h + f(h)


gated = network(lambda gate, value: swish(gate) * value)
NORM, SWIGLU, LAYER, GATE = (
    lesson_08.rms_norm, lesson_08.feed_forward, lesson_08.layer, lesson_08.gate,
)  # fmt: skip
ANSWER = (-1.762, -0.538, ["a", "b", "e"])
CHUNK, PREFILL, RING, EARLY = (
    lesson_07.chunk_mask, lesson_07.prefill, lesson_07.ring, lesson_07.too_early,
)  # fmt: skip
PLACED, STORE, SLOTS, REWIND = (
    lesson_06.slot_and_evicted, lesson_06.store, lesson_06.slots_seen, lesson_06.rewinding,
)  # fmt: skip
EARLIEST, POWER, OUTSIDE = lesson_05.earliest, lesson_05.depends_on, lesson_05.library_mask

RIGHT = [
    (NORM, (norm,)),
    (NORM, (lambda x, w, eps: w * x * (np.square(x).mean(-1)[..., None] + eps) ** -0.5,)),
    (
        NORM,
        (
            lambda x, w, eps: torch.nn.functional.rms_norm(
                torch.from_numpy(x), (x.shape[-1],), torch.from_numpy(w), eps
            ),
        ),
    ),
    (SWIGLU, (gated,)),
    (SWIGLU, (network(lambda a, b: a * (1 + np.tanh(a / 2)) / 2 * b),)),
    (LAYER, (one_layer,)),
    (GATE, (*ANSWER, gated)),
    (GATE, (np.float64(-1.7616), -0.5379, "abe", gated)),
    (GATE, (-1.762, -0.538, np.array(["e", "a", "b"]), gated)),
    (CHUNK, (of_chunk,)),
    (CHUNK, (lambda h, c, W: torch.from_numpy(of_chunk(h, c, W)),)),
    (PREFILL, (in_chunks,)),
    (PREFILL, (sliced_anew,)),
    (PREFILL, (prefilled(keep=lambda c, t, W: (c + t)[max(0, len(c + t) - W + 1) :]),)),
    (RING, (4, [5], 4)),
    (RING, (4, np.array([5]), 4)),
    (EARLY, (3, 6, lambda seen, W: seen >= W)),
    (EARLY, (3, 6, lambda seen, W: np.bool_(seen > W - 1))),
    (PLACED, (lambda i, W: (i % W, max(-1, i - W)),)),
    (PLACED, (lambda i, W: [np.int64(i % W), i - W if i >= W else -1],)),
    (STORE, (stored,)),
    (STORE, (lambda k, p, key, i: stored(k, p, key, i, slot=lambda i, W: p.argmin()),)),
    (STORE, (lambda k, p, key, i: list(map(torch.from_numpy, stored(k, p, key, i))),)),
    (SLOTS, (seen,)),
    (SLOTS, (lambda p, i, W: np.isin(p, np.arange(max(0, i - W + 1), i + 1)),)),
    (SLOTS, (lambda p, i, W: np.array([0 <= j <= i < j + W for j in p]),)),
    (REWIND, (5, 1, rewinds)),
    (REWIND, (5, 1, lambda seen, n, W: n < seen and rewinds(seen, n, W))),
    (REWIND, (5, 1, lambda seen, n, W: np.bool_(n <= seen and (seen <= W or n <= 1)))),
    (EARLIEST, (lambda i, K, W: max(0, i - K * (W - 1)),)),
    (EARLIEST, (lambda i, K, W: np.int64(max(i - K * W + K, 0)),)),
    (EARLIEST, (lambda i, K, W: min(walked(i, K, W)),)),
    (POWER, (power,)),
    (POWER, (lambda m, K: np.linalg.matrix_power(m.astype(float), K) > 0,)),
    (POWER, (lambda m, K: torch.from_numpy(power(m, K)),)),
    (POWER, (np.linalg.matrix_power,)),
    (OUTSIDE, (12, 5, rule)),
    (OUTSIDE, (np.int64(12), 5.0, lambda q, k, W: (gap(q, k) >= 0) & (gap(q, k) <= W - 1))),
]
WRONG = [
    (NORM, (lambda x, w, eps: norm(x, 1, eps),), "the weight is missing"),
    (NORM, (np.errstate(all="ignore")(lambda x, w, eps: x / x * norm(x, w, eps)),), "is nan"),
    (EARLIEST, (lambda i, K, W: max(0, i - (K + W - 1)),), "multiplied, not added"),
    (NORM, (lambda x, w, eps: x / (np.sqrt((x * x).mean(-1, keepdims=True)) + eps) * w,),
     "belongs under the root"),
    (NORM, (np.errstate(all="ignore")(lambda x, w, eps: norm(x, w, 0)),), "eps is missing"),
    (NORM, (lambda x, w, eps: norm(x, w, eps, root=lambda m: m),), "the root is missing"),
    (NORM, (lambda x, w, eps: norm(x, w, eps, mean=np.sum),), "root of the sum"),
    (NORM, (lambda x, w, eps: norm(x, w, eps, shift=True),), "LayerNorm"),
    (NORM, (lambda x, w, eps: norm(x, w, eps, axis=None),), "over all axes"),
    (NORM, (lambda x, w, eps: norm(x, w, eps, axis=0),), "the first axis"),
    (NORM, (lambda x, w, eps: x / (abs(x.mean(-1, keepdims=True)) + eps) * w,), "mean of the sq"),
    (NORM, (lambda x, w, eps: norm(x, w, eps, axis=1),), "axis 1; with three axes"),
    (NORM, (lambda x, w, eps: x / np.sqrt(x.mean(-1, keepdims=True) ** 2 + eps) * w,),
     "the square of the mean"),
    (NORM, (lambda x, w, eps: norm(x, w, 1e-5),), "always 1e-5"),
    (NORM, (lambda x, w, eps: norm(x, w, 1e-6),), "always 1e-6"),
    (NORM, (lambda x, w, eps: norm(x, 1 / w, eps),), "divides by the weight"),
    (NORM, (lambda x, w, eps: norm(x * w, 1, eps),), "the weight comes last"),
    (NORM, (lambda x, w, eps: norm(x, w, eps).sum(-1),), "the shape must be"),
    (SWIGLU, (lambda x, w1, w2, w3: gated(x, w3, w2, w1),), "are swapped"),
    (SWIGLU, (lambda x, w1, w2, w3: (swish(x @ w1.T) * (x @ w2)) @ w3,), "w2 and w3 are"),
    (SWIGLU, (network(lambda a, b: swish(a * b)),), "of the product"),
    (SWIGLU, (network(lambda a, b: b / (1 + np.exp(-a))),), "silu is z times that"),
    (SWIGLU, (network(lambda a, b: a.clip(0) * b),), "max(z, 0)"),
    (SWIGLU, (network(lambda a, b: a * b),), "silu is missing"),
    (SWIGLU, (lambda x, a, b, c: swish(x @ a.T) * (x @ c.T @ b.T),), "w2 is applied to the value"),
    (SWIGLU, (lambda x, a, b, c: swish(x @ a.T) * x @ c.T @ b.T,), "brackets around x @ w3.T"),
    (SWIGLU, (network(lambda a, b: swish(a) + b),), "not added"),
    (SWIGLU, (network(lambda a, b: swish(a)),), "w3 is missing"),
    (SWIGLU, (network(lambda a, b: swish(a) * swish(b)),), "of both"),
    (SWIGLU, (network(lambda a, b: a / (1 + np.exp(a)) * b),), "mind the sign"),
    (SWIGLU, (network(lambda a, b: swish(-a) * b),), "mind the sign"),
    (SWIGLU, (lambda x, w1, w2, w3: (swish(x @ w1) * (x @ w3)) @ w2,), "Weights are (out, in)"),
    (SWIGLU, (lambda x, w1, w2, w3: (swish(x @ w1.T) * (x @ w3.T)) @ w2,), "write x @ w.T"),
    (SWIGLU, (lambda x, w1, w2, w3: w2 @ (swish(w1 @ x) * (w3 @ x)),), "write x @ w.T"),
    (SWIGLU, (lambda x, w1, w2, w3: w2.dot(swish(w1.dot(x)) * w3.dot(x)),), "write x @ w.T"),
    (SWIGLU, (lambda x, w1, w2, w3: w2 * (swish(w1 * x) * (w3 * x)),), "write x @ w.T"),
    (SWIGLU, (network(lambda a, b: a / (1 + math.exp(-a)) * b),), "math takes one number"),
    (SWIGLU, (network(lambda a, b: a * (1 / 1 + np.exp(-a)) * b),), "needs brackets"),
    (SWIGLU, (lambda x, w1, w2, w3: (swish(x @ w2) * (x @ w3.T)) @ w1,), "w1 and w2 are"),
    (NORM, (lambda x, w, eps: x / np.sqrt((x * x).mean(-1) + eps) * w,), "keepdims=True"),
    (NORM, (lambda x, w, eps: x / math.sqrt((x * x).mean(-1, keepdims=True) + eps) * w,),
     "math takes one number"),
    (NORM, (lambda x, w, eps: x / (abs(x).mean(-1, keepdims=True) + eps) * w,), "absolute values"),
    (NORM, (lambda x, w, eps: (x - x.mean(-1, keepdims=True)) / (x.std(-1, keepdims=True) + eps)
                              * w,), "LayerNorm"),
    (NORM, (lambda x, w, eps: x / (np.linalg.norm(x, axis=-1, keepdims=True) + eps) * w,),
     "length of the vector"),
    (LAYER, (norm_of_the_sum,), "before each half"),
    (LAYER, (lambda x, a, f, n1, n2: x + a(n1(x)) + f(n2(x)),), "both halves start from x"),
    (LAYER, (lambda x, a, f, n1, n2: f(n2(a(n1(x)))),), "nothing is added"),
    (LAYER, (lambda x, a, f, n1, n2: f(n2(x + a(n1(x)))),), "second half is not added"),
    (LAYER, (lambda x, a, f, n1, n2: a(n1(x)) + f(n2(a(n1(x)))),), "first half is not added"),
    (LAYER, (lambda x, a, f, n1, n2: x + f(n2(x + a(n1(x)))),), "or the first half is lost"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, a, f, n2, n1),), "norms are swapped"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, a, f, n1, n1),), "norm1 is used twice"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, a, f, n2, n2),), "norm2 is used twice"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, f, a, n1, n2),), "attention comes first"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, f, a, n2, n1),), "attention comes first"),
    (LAYER, (lambda x, a, f, n1, n2: x + a(n1(x)),), "second half is missing"),
    (LAYER, (stream_is_normed,), "x and h themselves"),
    (LAYER, (lambda x, a, f, n1, n2: n1(x) + a(n1(x)) + f(n2(n1(x) + a(n1(x)))),), "is normed"),
    (LAYER, (lambda x, a, f, n1, n2: x + a(x) + f(x + a(x)),), "the norms are missing"),
    (LAYER, (norm_of_the_work,), "Norm what goes in"),
    (LAYER, (lambda x, a, f, n1, n2: x,), "case 1 (given shapes (1, 4)): entry (0, 0)"),
    (GATE, (-0.538, -1.762, "abe", gated), "the two are swapped"),
    (GATE, (1.762, -0.538, "abe", gated), "mind the sign of w3"),
    (GATE, (-2, -0.538, "abe", gated), "silu is missing"),
    (GATE, (-0.881, -0.538, "abe", gated), "silu(2) is 2 times as much"),
    (GATE, (-0.88, -0.538, "abe", gated), "silu(2) is 2 times as much"),
    (GATE, (-0.54, -1.76, "abe", gated), "the two are swapped"),
    (GATE, (-0.238, -0.538, "abe", gated), "of the product"),
    (GATE, (-1.76, -0.538, "abe", gated), "to three decimals"),
    (GATE, (-0.538, -0.538, "abe", gated), "what their code gives"),
    (GATE, (0.538, -0.538, "abe", gated), "w1 · x = 2 is the gate"),
    (GATE, (-0.269, -0.538, "abe", gated), "w1 · x = 2 is the gate"),
    (GATE, (1.462, -0.538, "abe", gated), "2 times silu(1)"),
    (GATE, (-0.474, -0.538, "abe", gated), "of both"),
    (GATE, (-1.762, -1.762, "abe", gated), "what should come out"),
    (GATE, (-1.762, 1.762, "abe", gated), "they take silu of w3"),
    (GATE, (-1.762, 1.462, "abe", gated), "2 times silu(1); their gate is -1"),
    (GATE, (-1.762, 1.731, "abe", gated), "multiplied, not added"),
    (GATE, (3, -0.538, "abe", gated), "right_value is not 3"),
    (GATE, ("2", -0.538, "abe", gated), "must be a number"),
    (GATE, (None, -0.538, "abe", gated), "right_value is not written yet"),
    (GATE, (-1.762, 0.538, "abe", gated), "silu(-1) is negative"),
    (GATE, (-1.762, -0.269, "abe", gated), "multiplied by the other"),
    (GATE, (-1.762, -0.538, ["a", "b"], gated), "everything gives 0"),
    (GATE, (-1.762, -0.538, ["a", "b", "c", "e"], gated), "All ones"),
    (GATE, (-1.762, -0.538, ["a", "b", "d", "e"], gated), "One hidden value"),
    (GATE, (-1.762, -0.538, ["b", "e"], gated), "does not matter which"),
    (GATE, (-1.762, -0.538, ["a", "e"], gated), "both give 0"),
    (GATE, (-1.762, -0.538, ["a", "f"], gated), "a to e"),
    (GATE, (-1.762, -0.538, ["A", "B", "E"], gated), "small"),
    (GATE, (-1.762, -0.538, 3, gated), "a list of letters"),
    (GATE, (-1.762, -0.538, None, gated), "hidden_for is not written yet"),
    (GATE, (*ANSWER, lambda x, w1, w2, w3: gated(x, w3, w2, w1)), "the gate is still w3"),
    (GATE, (*ANSWER, network(lambda a, b: swish(a * b))), "of the product"),
    (GATE, (*ANSWER, lambda x, w1, w2, w3: (swish(x @ w1) * (x @ w3)) @ w2), "write x @ w.T"),
    (CHUNK, (lambda h, c, W: rule(c, all_keys(h, c), W),), "an empty slot, -1"),
    (CHUNK, (lambda h, c, W: (gap(c, all_keys(h, c)) < W) & (all_keys(h, c) >= 0),), "look ahead"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, 10**6),), "without a window"),
    (CHUNK, (lambda h, c, W: (abs(gap(c, all_keys(h, c))) < W) & (all_keys(h, c) >= 0),),
     "looks both ways"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W) & (all_keys(h, c) > 0),), "position 0 is a token"),
    (CHUNK, (lambda h, c, W: of_chunk(np.sort(h), c, W),), "were sorted"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W - 1),), "W - 1 keys"),
    (CHUNK, (lambda h, c, W: ~of_chunk(h, c, W),), "True means visible"),
    (CHUNK, (lambda h, c, W: rule(-c, -all_keys(h, c), W) & (all_keys(h, c) >= 0),),
     "i and j are swapped"),
    (CHUNK, (lambda h, c, W: gap(c, all_keys(h, c)) < W,), "look ahead inside the chunk."),
    (CHUNK, (lambda h, c, W: abs(gap(c, all_keys(h, c))) < W,), "looks both ways"),
    (CHUNK, (lambda h, c, W: rule(c, all_keys(h, c), W + 1),), "W + 1 keys"),
    (CHUNK, (lambda h, c, W: halves(rule(c, h, W), gap(c, c) >= 0),), "an empty slot, -1"),
    (PREFILL, (prefilled(see=lambda q, k, W: rule(q - q[0], k, W)),), "begin at 0 again"),
    (PREFILL, (prefilled(see=lambda q, k, W: rule(q, k, W - 1)),), "only W - 1 keys"),
    (PREFILL, (prefilled(see=lambda q, k, W: rule(q, k, W) & (gap(q, k) > 0)),), "must see it"),
    (PREFILL, (lambda q, k, v, *rest: in_chunks(q, k, k, *rest),), "k stands where v belongs"),
    (PREFILL, (prefilled(see=lambda q, k, W: abs(gap(q, k)) < W),), "looks both ways"),
    (PREFILL, (one_by_one,), "was called 5 times for 3 chunks"),
    (NORM, (np.errstate(all="ignore")(lambda x, w, eps: norm(x, w, 0, mean=np.sum)),),
     "length of the vector"),
    (NORM, (lambda x, w, eps: norm(x, w, eps / x.shape[-1]),), "eps is added to the sum"),
    (NORM, (lambda x, w, eps: x / np.sqrt(x.var(-1, keepdims=True) + eps) * w,), "deviation"),
    (SWIGLU, (lambda x, w1, w2, w3: x + gated(x, w1, w2, w3),), "x is added"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, a, f, n1, lambda y: y),), "norm2 is missing"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, a, f, lambda y: y, n2),), "norm1 is missing"),
    (LAYER, (lambda x, a, f, n1, n2: x + one_layer(x, a, f, n1, n2),), "added twice"),
    (LAYER, (lambda x, a, f, n1, n2: n2(x + a(n1(x))) + f(n2(x + a(n1(x)))),), "is normed. Only"),
    (GATE, (0.762, -0.538, "abe", gated), "multiplied, not added"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W + 1),), "W + 1 keys"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W) & (gap(c, all_keys(h, c)) > 0),), "must see itself"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W, own=False),), "does not look at itself"),
    (CHUNK, (lambda h, c, W: of_chunk(h, c, W, cache=False),), "does not look at the cache"),
    (CHUNK, (lambda h, c, W: np.roll(of_chunk(h, c, W), len(c), axis=1),), "first the slots"),
    (CHUNK, (lambda h, c, W: rule(np.arange(len(h), len(h) + len(c)),
                                  np.arange(len(h) + len(c)), W),), "counts slots and rows"),
    (CHUNK, (lambda h, c, W: rule(c, h, W),), "the shape must be"),
    (CHUNK, (lambda h, c, W: halves(h >= -1, gap(c, c) >= 0),), "not every slot is visible"),
    (CHUNK, (lambda h, c, W: halves(h >= -1, rule(c, c, W)),), "not every slot is visible"),
    (CHUNK, (lambda h, c, W: halves(h >= 0, rule(c, c, W)),), "not every slot is visible"),
    (CHUNK, (lambda h, c, W: halves(rule(c, h, W) & (h >= 0), gap(c, c) >= 0),),
     "inside a chunk longer than W"),
    (PREFILL, (prefilled(first=True),), "writes first"),
    (PREFILL, (prefilled(keep=lambda c, t, W: []),), "no chunk looks at the cache"),
    (PREFILL, (prefilled(keep=lambda c, t, W: t[-W:]),), "the older tokens are lost"),
    (PREFILL, (prefilled(see=lambda q, k, W: gap(q, k) >= 0),), "only causal"),
    (PREFILL, (prefilled(see=lambda q, k, W: gap(q, k) < W),), "look ahead inside"),
    (PREFILL, (prefilled(see=lambda q, k, W: np.ones((len(q), len(k)), bool)),), "no mask"),
    (PREFILL, (prefilled(see=lambda q, k, W: rule(q, k, W + 1)),), "W + 1 keys through"),
    (PREFILL, (prefilled(see=lambda q, k, W: rule(np.arange(len(q)), np.arange(len(k)), W)),),
     "counts rows and columns"),
    (PREFILL, (prefilled(keep=lambda c, t, W: (c + t)[:W]),), "keep the last"),
    (PREFILL, (prefilled(keep=lambda c, t, W: c + t),), "more keys than a cache of W"),
    (PREFILL, (at_once,), "more keys than a cache of W"),
    (PREFILL, (lambda *a: at_once(*a[:5], one_head),), "was called 0 times for 3 chunks"),
    (PREFILL, (lambda q, k, v, W, size, one: in_chunks(
        *(x[: len(q) // size * size] for x in (q, k, v)), W, size, one),),
     "is the last, shorter chunk read?"),
    (PREFILL, (prefilled(see=lambda q, k, W: np.tril(np.ones((len(q), len(k)), bool))),),
     "that triangle counts rows and columns"),
    (PREFILL, (lambda q, k, v, W, size, one: in_chunks(q, k, v, W, size, one)[:-1],), "the shape"),
    (RING, (0, [5], 4), "What does it hold at the end"),
    (RING, (5, [5], 4), "lies in slot 1"),
    (RING, (3, [5], 4), "lies in slot 3"),
    (RING, (1, [5], 4), "overwritten by token 5"),
    (RING, (None, [5], 4), "leak is not written yet"),
    (RING, (4, [3, 5], 4), "query 3 sees 4 and 5, which lie ahead"),
    (RING, (4, [4, 5], 4), "query 4 sees 5, which lies ahead"),
    (RING, (4, [], 4), "one is right"),
    (RING, (4, [6], 4), "the queries are 0 to 5"),
    (RING, (4, 5, 4), "must be a list"),
    (RING, (4, None, 4), "right_queries is not written yet"),
    (RING, (4, [5], 5), "query 0 reads it"),
    (RING, (4, [5], 3), "while it fits"),
    (RING, (4, [5], 6), "most of its results"),
    (RING, (4, [5], 8), "4 slots"),
    (EARLY, (4, 6, lambda seen, W: seen >= W), "It goes wrong earlier"),
    (EARLY, (2, 6, lambda seen, W: seen >= W), "as it should"),
    (EARLY, (1, 6, lambda seen, W: seen >= W), "Token 1 sees 0 and 1"),
    (EARLY, (0, 6, lambda seen, W: seen >= W), "sees itself"),
    (EARLY, (3, 4, lambda seen, W: seen >= W), "2, an empty place, 3 and 4"),
    (EARLY, (3, 5, lambda seen, W: seen >= W), "an empty place, 3, 4 and 5"),
    (EARLY, (3, 7, lambda seen, W: seen >= W), "There is an earlier one"),
    (EARLY, (3, 6, lambda seen, W: seen >= W - 1), "one slot is still free"),
    (EARLY, (3, 6, lambda seen, W: seen > W), "one token too late"),
    (EARLY, (3, 6, lambda seen, W: seen == W), "keep making room"),
    (EARLY, (3, 6, lambda seen, W: seen % W == 0), "every token from W on"),
    (EARLY, (3, 6, lambda seen, W: seen > 0 and seen % W == 0), "every token from W on"),
    (EARLY, (3, 6, lambda seen, W: seen <= W), "seen and W are swapped"),
    (EARLY, (3, 6, lambda seen, W: seen >= 4), "not always 4"),
    (EARLY, (3, 6, lambda seen, W: True), "there are free slots"),
    (EARLY, (3, 6, lambda seen, W: False), "never makes room"),
    (EARLY, (3, 6, lambda seen, W: seen < W), "are swapped"),
    (EARLY, (3, 6, lambda seen, W: seen >= 2), "the answer is"),
    (EARLY, (3, 6, lambda seen, W: seen), "True or False"),
    (PLACED, (lambda i, W: (i % W, i - W),), "while the first W tokens come in"),
    (PLACED, (lambda i, W: (i % W, max(0, i - W)),), "0 is a token"),
    (PLACED, (lambda i, W: (i % W, max(-1, i - W + 1)),), "is evicted a token later"),
    (PLACED, (lambda i, W: (i % W, max(-1, i - W - 1)),), "was evicted a token earlier"),
    (PLACED, (lambda i, W: (i % W, i % W if i >= W else -1),), "that is the slot"),
    (PLACED, (lambda i, W: (i // W, max(-1, i - W)),), "% is the remainder"),
    (PLACED, (lambda i, W: (min(i, W - 1), max(-1, i - W)),), "a shifting buffer"),
    (PLACED, (lambda i, W: (max(-1, i - W), i % W),), "the slot comes first"),
    (PLACED, (lambda i, W: (i % W, i - W if i > W else -1),), "token W is the first that evicts"),
    (PLACED, (lambda i, W: (i % W, -1),), "each new token evicts one"),
    (PLACED, (lambda i, W: (i % W, i % W),), "the slot twice"),
    (PLACED, (lambda i, W: (i % W, i - 1 if i >= W else -1),), "the token just before"),
    (PLACED, (lambda i, W: (i % W + 1, max(-1, i - W)),), "counted from 0"),
    (PLACED, (lambda i, W: (i % (W + 1), max(-1, i - W)),), "would be W + 1 slots"),
    (PLACED, (lambda i, W: (i % 4, max(-1, i - W)),), "4 was an example"),
    (PLACED, (lambda i, W: (i & (W - 1), max(-1, i - W)),), "for powers of 2 only"),
    (PLACED, (lambda i, W: (0, 0),), "the evicted position is not 0"),
    (PLACED, (lambda i, W: (i % W + 7, -1),), "the slot is not 7"),
    (PLACED, (lambda i, W: (i % W, None),), "not None"),
    (PLACED, (lambda i, W: i % W,), "return a pair"),
    (PLACED, (lambda i, W: (i % W, 0.5),), "whole number"),
    (STORE, (shifted,), "shifts the buffer"),
    (STORE, (lambda *a: stored(*a, mark=False),), "must also remember"),
    (STORE, (lambda *a: stored(*a, mark=lambda i, W: i % W),), "not the slot's number"),
    (STORE, (lambda *a: stored(*a, write=False),), "the key is not stored"),
    (STORE, (lambda *a: stored(*a, slot=lambda i, W: min(i, W - 1)),), "again and again"),
    (STORE, (lambda *a: stored(*a, slot=lambda i, W: (i - 1) % W),), "the slot before"),
    (STORE, (lambda *a: stored(*a, slot=lambda i, W: (i + 1) % W),), "the slot after"),
    (STORE, (lambda k, p, key, i: (k, p),), "nothing was stored"),
    (STORE, (in_place,), "changes its input"),
    (STORE, (lambda *a: stored(*a)[0],), "return both"),
    (STORE, (lambda *a: stored(*a, slot=lambda i, W: i),), "IndexError"),
    (STORE, (lambda *a: stored(*a, slot=lambda i, W: i % 4),), "The slots are 0 to len(keys) - 1"),
    (STORE, (lambda *a: stored(*a, slot=lambda i, W: 0),), "always the first slot"),
    (STORE, (lambda k, p, key, i: stored(k, p, key, i, slot=lambda i, W: p.argmax()),),
     "the slot of the newest token"),
    (STORE, (lambda *a: stored(*a, mark=lambda i, W: i - W),), "the evicted token"),
    (STORE, (lambda *a: stored(*a, mark=lambda i, W: i + 1),), "the next position"),
    (STORE, (lambda k, p, key, i: stored(k, p, k[i % len(k)] + key, i),), "added to the old one"),
    (STORE, (sorted_by_position,), "were sorted"),
    (SLOTS, (lambda p, i, W: seen(p, i, W, empty=False),), "position -1; hide it"),
    (SLOTS, (lambda p, i, W: seen(p, i, W, ahead=False),), "lies ahead must be hidden"),
    (SLOTS, (lambda p, i, W: seen(p, i, W, empty=False, ahead=False),), "hide empty slots, and"),
    (SLOTS, (lambda p, i, W: seen(p, i, W, old=False),), "more slots than W"),
    (SLOTS, (lambda p, i, W: p >= 0,), "every slot in use"),
    (SLOTS, (lambda p, i, W: seen(p, i, W + 1),), "W + 1 keys"),
    (SLOTS, (lambda p, i, W: seen(p, i, W) & (p < i),), "a query sees itself"),
    (SLOTS, (lambda p, i, W: seen(p, i, W) & (p > 0),), "position 0 is a token"),
    (SLOTS, (lambda p, i, W: np.arange(len(p)) <= i,), "it counts slots"),
    (SLOTS, (lambda p, i, W: p[seen(p, i, W)],), "the shape must be"),
    (SLOTS, (lambda p, i, W: seen(p, i, W).astype(int),), "True or False (bool), not int"),
    (SLOTS, (lambda p, i, W: seen(p, i, W - 1),), "W - 1 keys"),
    (SLOTS, (lambda p, i, W: seen(p, i, 4),), "4 was an example"),
    (SLOTS, (lambda p, i, W: (p >= 0) & (abs(i - p) < W),), "lies ahead must be hidden"),
    (SLOTS, (lambda p, i, W: p <= i,), "tokens that are too old"),
    (SLOTS, (lambda p, i, W: (p >= 0) | (p <= i) | (i - p < W),), "with &: all of them must hold"),
    (SLOTS, (lambda p, i, W: ~seen(p, i, W),), "are swapped"),
    (SLOTS, (lambda p, i, W: np.zeros(len(p), bool),), "every slot is hidden"),
    (SLOTS, (lambda p, i, W: seen(np.arange(len(p)), i, W),), "it counts slots"),
    (REWIND, (4, 1, rewinds), "written again"),
    (REWIND, (1, 1, rewinds), "token 5 lies in its slot"),
    (REWIND, (0, 1, rewinds), "overwritten by token 4"),
    (REWIND, (3, 1, rewinds), "may see 1 to 4"),
    (REWIND, (6, 1, rewinds), "Only tokens 0 to 5"),
    (REWIND, (None, 1, rewinds), "stale is not written yet"),
    (REWIND, (5, 0, rewinds), "nobody needs it"),
    (REWIND, (5, 5, rewinds), "Which one did it overwrite"),
    (REWIND, (5, 4, rewinds), "just added"),
    (REWIND, (5, 2, rewinds), "in slot 2 all the time"),
    (REWIND, (5, 1, lambda s, n, W: n <= s), "do not come back"),
    (REWIND, (5, 1, lambda s, n, W: n <= min(1, s)), "can take back more"),
    (REWIND, (5, 1, lambda s, n, W: n <= 1), "has not wrapped yet"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and (s < W or n <= 1)), "with seen = W nothing was"),
    (REWIND, (5, 1, lambda s, n, W: s < W or n <= 1), "nobody takes back more than was seen"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and (s <= W or n == 0)), "a wrapped cache can take"),
    (REWIND, (5, 1, lambda s, n, W: s - n >= W), "counts the tokens that are left"),
    (REWIND, (5, 1, lambda s, n, W: s - n >= W - 1), "counts the tokens that are left"),
    (REWIND, (5, 1, lambda s, n, W: s <= W or n < W), "the second token back needs a key"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and max(0, s - n - W + 1) > max(0, s - W)),
     "take >=, not >"),
    (REWIND, (5, 1, lambda s, n, W: 0 < n <= s <= W), "taking back nothing"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and (s <= W or n == 1)), "taking back nothing"),
    (REWIND, (5, 1, lambda s, n, W: n <= s <= W), "taking back nothing always works. And a"),
    (REWIND, (5, 1, lambda s, n, W: n <= s and (s <= W or n <= 2)), "the second token back"),
    (REWIND, (5, 1, lambda s, n, W: n < W and n <= s), "tokens to spare"),
    (REWIND, (5, 1, lambda s, n, W: n <= W and n <= s), "tokens to spare"),
    (REWIND, (5, 1, lambda s, n, W: max(0, s - n - W + 1) >= max(0, s - W)), "than it has seen"),
    (REWIND, (5, 1, lambda s, n, W: not rewinds(s, n, W)), "are swapped"),
    (REWIND, (5, 1, lambda s, n, W: True), "the answer is False, not True"),
    (REWIND, (5, 1, lambda s, n, W: False), "the answer is True, not False"),
    (REWIND, (5, 1, lambda s, n, W: n), "True or False"),
    (EARLIEST, (lambda i, K, W: max(0, i - K * W),), "A hop is W - 1 long: of"),
    (EARLIEST, (lambda i, K, W: i - K * (W - 1),), "No token lies before position 0."),
    (EARLIEST, (lambda i, K, W: i - K * W,), "And no token lies before"),
    (EARLIEST, (lambda i, K, W: abs(i - K * (W - 1)),), "abs mirrors it"),
    (EARLIEST, (lambda i, K, W: max(1, i - K * (W - 1)),), "begin at 0, not at 1"),
    (EARLIEST, (lambda i, K, W: K * (W - 1),), "the exercise asks for the position"),
    (EARLIEST, (lambda i, K, W: K * W,),
     "the exercise asks for the position. And a hop is W - 1 long"),
    (EARLIEST, (lambda i, K, W: K * (W - 1) + 1,), "how many tokens count"),
    (EARLIEST, (lambda i, K, W: i + K * (W - 1),), "leads back"),
    (EARLIEST, (lambda i, K, W: max(0, i - (K - 1) * (W - 1)),), "as many hops as layers"),
    (EARLIEST, (lambda i, K, W: i - (K - 1) * (W - 1),), "as many hops as layers. And no token"),
    (EARLIEST, (lambda i, K, W: i - W**K,), "does not multiply them. And no token"),
    (EARLIEST, (lambda i, K, W: max(0, i - W**K),), "does not multiply them"),
    (EARLIEST, (lambda i, K, W: max(0, i - K * W + 1),), "W - 1 long, every time"),
    (EARLIEST, (lambda i, K, W: max(0, i - K * (W - 1) - 1),), "one too early"),
    (EARLIEST, (lambda i, K, W: [max(0, i - K * (W - 1))],), "a whole number, not a value"),
    (EARLIEST, (lambda i, K, W: max(0, i - K * (W - 1) + 1),), "one too late"),
    (EARLIEST, (lambda i, K, W: max(0, i - W + 1),), "one layer; there is a hop for each."),
    (EARLIEST, (lambda i, K, W: max(0, i - (W - 1) - (K - 1)),), "multiplied, not added"),
    (EARLIEST, (lambda i, K, W: max(0, i - (W - 1) ** K),), "does not multiply them"),
    (EARLIEST, (lambda i, K, W: min(i, K * (W - 1)),), "the exercise asks for the position"),
    (EARLIEST, (lambda i, K, W: max(0, i - (K + 1) * (W - 1)),), "as many hops as layers"),
    (EARLIEST, (lambda i, K, W: i,), "too large"),
    (EARLIEST, (lambda i, K, W: i / 2 + 0.25,), "whole number"),
    (EARLIEST, (3,), "pass the function itself"),
    (POWER, (lambda m, K: m,), "multiply once for each"),
    (POWER, (lambda m, K: power(m * m, 1) if K else power(m, 0),), "of matrices is `@`"),
    (POWER, (entry_by_entry(lambda reached, m: reached | m),), "of matrices is `@`"),
    (POWER, (entry_by_entry(lambda reached, m: reached * m),),
     "each still depends on itself alone"),
    (POWER, (entry_by_entry(lambda reached, m: reached & m),),
     "each still depends on itself alone"),
    (POWER, (lambda m, K: m.astype(int) ** K > 0,), "of matrices is `@`"),
    (POWER, (entry_by_entry(lambda reached, m: m @ m),), "is two hops each time"),
    (POWER, (lambda m, K: power(m, 2 ** min(K, 8)),), "squaring doubles"),
    (POWER, (lambda m, K: power(m, 2 ** min(max(0, K - 1), 8)),), "squaring doubles"),
    (POWER, (lambda m, K: np.zeros(m.shape, bool),), "an empty start"),
    (POWER, (lambda m, K: np.ones(m.shape, bool),), "every token depends on every other"),
    (POWER, (lambda m, K: np.linalg.matrix_power(m.astype(np.int64), K).astype(bool),),
     "too large for an"),
    (POWER, (lambda m, K: power(m, K, extra=1),), "one layer too many"),
    (POWER, (lambda m, K: power(m, K, extra=-1),), "one layer too few"),
    (POWER, (lambda m, K: power(m, K, least=1),), "begin with the identity matrix"),
    (POWER, (lambda m, K: power(m, K, begin=False),), "begin with the identity matrix"),
    (POWER, (lambda m, K: power(m, K).T,), "swapped"),
    (POWER, (lambda m, K: np.linalg.matrix_power(m.astype(np.int64), K) > 0,), "too large for an"),
    (POWER, (lambda m, K: power(m, K, count=True),), "True or False"),
    (POWER, (lambda m, K: power(m, K) & ~np.eye(len(m), dtype=bool),), "on itself too"),
    (POWER, (lambda m, K: np.tril(np.ones(m.shape, dtype=bool)),), "hides old tokens too"),
    (POWER, (lambda m, K: power(m, K)[-1],), "the shape must be"),
    (POWER, (lambda m, K: power(m, K).tolist(),), "return a NumPy array"),
    (OUTSIDE, (9, 5, rule), "edge of the right mask"),
    (OUTSIDE, (13, 5, rule), "the oldest lies 12 back"),
    (OUTSIDE, (4, 5, rule), "There are three"),
    (OUTSIDE, (15, 5, rule), "a hop is 4 long"),
    (OUTSIDE, (8, 5, rule), "two layers"),
    (OUTSIDE, (11, 5, rule), "Each of the 3 hops"),
    (OUTSIDE, (10, 5, rule), "one past the edge of the right mask"),
    (OUTSIDE, (16, 5, rule), "a hop is 4 long"),
    (OUTSIDE, (5, 5, rule), "how many keys a query sees"),
    (OUTSIDE, (3, 5, rule), "a hop of the right mask"),
    (OUTSIDE, (None, 5, rule), "edge is not written yet"),
    (OUTSIDE, (12, 4, rule), "all masks agree"),
    (OUTSIDE, (12, 6, rule), "There is a shorter one"),
    (OUTSIDE, (12, 13, rule), "in the first layer"),
    (OUTSIDE, (12, 8, rule), "in the first layer"),
    (OUTSIDE, (12, 5, lambda q, k, W: rule(q, k, W).astype(int)), "True or False (bool), not int"),
    (OUTSIDE, (12, 5, lambda q, k, W: rule(q, k, W) & (gap(q, k) > 0)), ">=, not >"),
    (OUTSIDE, (12, 5, lambda q, k, W: (gap(q, k) >= 0) | (gap(q, k) < W)), "& needs both"),
    (OUTSIDE, (12, 5, lambda q, k, W: rule(q, k, 4)), "4 was an example"),
    (OUTSIDE, (12, None, rule), "first_seen_at is not written yet"),
    (OUTSIDE, (12, 5, lambda q, k, W: (gap(q, k) >= 0) & (gap(q, k) <= W)), "still sees W + 1"),
    (OUTSIDE, (12, 5, lambda q, k, W: rule(q, k, W - 1)), "only W - 1"),
    (OUTSIDE, (12, 5, lambda q, k, W: rule(q - 1, k, W)), "A query sees itself"),
    (OUTSIDE, (12, 5, lambda q, k, W: gap(q, k) < W), "keep 0 <= i - j"),
    (OUTSIDE, (12, 5, lambda q, k, W: abs(gap(q, k)) < W), "ahead too"),
    (OUTSIDE, (12, 5, lambda q, k, W: gap(q, k) >= 0), "without a window"),
    (OUTSIDE, (12, 5, lambda q, k, W: rule(-q, -k, W)), "i and j are swapped"),
    (OUTSIDE, (12, 5, lambda q, k, W: rule(np.arange(len(q)), np.arange(len(k)), W)),
     "it counts rows"),
]  # fmt: skip
FIRST = {
    OUTSIDE: (12, 5),
    REWIND: (5, 1),
    EARLY: (3, 6),
    GATE: ANSWER,
}  # right answers before the function
CHECKS = [
    EARLIEST,
    POWER,
    OUTSIDE,
    PLACED,
    STORE,
    SLOTS,
    REWIND,
    CHUNK,
    PREFILL,
    RING,
    EARLY,
    NORM,
    SWIGLU,
    LAYER,
    GATE,
]
N_ANSWERS = {OUTSIDE: 3, REWIND: 3, RING: 3, EARLY: 3, GATE: 4}
