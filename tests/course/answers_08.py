"""Further answers to the exercises of lesson 08: right in unusual ways, and wrong."""

import math

import numpy as np
import torch

from minimistral.course.checks import cached, lesson_08
from minimistral.np.feedforward import silu

NORM, SWIGLU, LAYER, GATE, CACHED = (
    lesson_08.rms_norm, lesson_08.feed_forward, lesson_08.layer, lesson_08.gate,
    lesson_08.attend_cached,
)  # fmt: skip


quiet = np.errstate(all="ignore")


def norm(x, w, eps):
    return x / np.sqrt(np.mean(x * x, axis=-1, keepdims=True) + eps) * w


def norm_by_loop(x, w, eps):
    rows = []
    for row in x.reshape(-1, x.shape[-1]):
        size = math.sqrt(sum(value * value for value in row) / len(row) + eps)
        rows.append([value / size * weight for value, weight in zip(row, w, strict=True)])
    return np.array(rows).reshape(x.shape)


def norm_in_place(x, w, eps):
    x = x.copy()
    x /= np.sqrt(np.einsum("...e,...e->...", x, x)[..., None] / x.shape[-1] + eps)
    x *= w
    return x


def norm_in_torch(x, w, eps):
    x = torch.tensor(x, requires_grad=True)
    return x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + eps) * torch.tensor(w)


def norm_of_float32(x, w, eps):
    return norm(x.astype(np.float32), w.astype(np.float32), np.float32(eps))


def network(x, w1, w2, w3):
    return (silu(x @ w1.T) * (x @ w3.T)) @ w2.T


def network_in_torch(x, w1, w2, w3):
    x, w1, w2, w3 = (torch.tensor(a, requires_grad=True) for a in (x, w1, w2, w3))
    return torch.nn.functional.silu(x @ w1.T).mul(x @ w3.T) @ w2.T


def network_by_einsum(x, w1, w2, w3):
    gate, value = np.einsum("...e,fe->...f", x, w1), np.einsum("...e,fe->...f", x, w3)
    return np.einsum("ef,...f->...e", w2, gate * value / (np.exp(-gate) + 1))


def one_layer(x, a, f, n1, n2):
    h = x + a(n1(x))
    return h + f(n2(h))


def layer_in_place(x, a, f, n1, n2):
    out = np.array(x)
    out += a(n1(out))
    out += f(n2(out))
    return out


def attend_cached(parts, q, k, v, cache, positions):
    keys, values = (np.concatenate(two, axis=1) for two in ((cache.keys, k), (cache.values, v)))
    mask = parts.chunk_mask(cache.positions, positions, cache.config.window_size)
    heads = parts.grouped(q, keys, values, mask)
    cache.write(k, v, positions)
    return heads


def one_token_after_another(parts, q, k, v, cache, positions):
    heads = []
    for t in range(len(positions)):
        one = slice(t, t + 1)
        heads.append(attend_cached(parts, q[:, one], k[:, one], v[:, one], cache, positions[one]))
    return np.concatenate(heads, axis=1)


def written_first_for_one_token(parts, q, k, v, cache, positions):
    if len(positions) > 1:
        return attend_cached(parts, q, k, v, cache, positions)
    cache.write(k, v, positions)
    mask = parts.mask(positions, cache.positions, cache.config.window_size)
    return parts.grouped(q, cache.keys, cache.values, mask & (cache.positions >= 0))


def with_numbers(before=None, **changed):
    """The right answer, with something else given to one of its steps."""

    def wrong(parts, q, k, v, cache, positions):
        given = {"q": q, "k": k, "v": v, "positions": positions} | (
            before(q, k, v, cache, positions) if before else {}
        )
        q, k, v, positions = given["q"], given["k"], given["v"], given["positions"]
        keys, values = np.hstack([cache.keys, k]), np.hstack([cache.values, v])
        mask = parts.chunk_mask(cache.positions, positions, cache.config.window_size)
        if "mask" in changed:
            mask = changed["mask"](mask, cache, positions)
        heads = parts.grouped(q, keys, values, mask)
        if "write" in changed:
            changed["write"](cache, k, v, positions)
        else:
            cache.write(k, v, positions)
        return changed.get("heads", lambda heads: heads)(heads)

    return wrong


def only_the_last(cache, k, v, positions):
    cache.write(k[:, -1:], v[:, -1:], positions[-1:])


def only_the_first_of_a_window(cache, k, v, positions):
    W = cache.config.window_size
    cache.write(k[:, :W], v[:, :W], positions[:W])


def without_positions(cache, k, v, positions):
    before = cache.positions.copy()
    cache.write(k, v, positions)
    cache.positions[:] = np.where(before < 0, before, cache.positions)


RIGHT = [
    (NORM, (norm_by_loop,)),
    (NORM, (norm_in_place,)),
    (NORM, (norm_in_torch,)),
    (NORM, (norm_of_float32,)),
    (NORM, (lambda x, w, eps: (x.T / np.sqrt((x * x).mean(-1) + eps).T).T * w,)),
    (
        NORM,
        (lambda x, w, eps: np.multiply(w, x) * (np.mean(x**2, -1, keepdims=True) + eps) ** -0.5,),
    ),
    (SWIGLU, (network_in_torch,)),
    (SWIGLU, (network_by_einsum,)),
    (SWIGLU, (lambda x, a, b, c: network(*(m.astype(np.float32) for m in (x, a, b, c))),)),
    (LAYER, (layer_in_place,)),
    (LAYER, (lambda x, a, f, n1, n2: torch.from_numpy(one_layer(x, a, f, n1, n2)),)),
    (GATE, (-1.7616, -0.53788, {"a", "b", "e"}, network_in_torch)),
    (GATE, (np.float32(-1.762), torch.tensor(-0.538), ("e", "b", "a"), network_by_einsum)),
    (CACHED, (attend_cached,)),
    (CACHED, (one_token_after_another,)),
    (CACHED, (written_first_for_one_token,)),
    (CACHED, (lambda *given: torch.from_numpy(attend_cached(*given)),)),
    (CACHED, (lambda *given: attend_cached(*given).astype(np.float64),)),
]
WRONG = [
    (NORM, (quiet(lambda x, w, eps: x / np.sqrt(np.mean(x, -1, keepdims=True) + eps) * w),), "nan"),
    (NORM, (lambda x, w, eps: x / np.sqrt(np.median(x * x, -1, keepdims=True) + eps) * w,), "size"),
    (NORM, (lambda x, w, eps: x / np.sqrt((x * x).max(-1, keepdims=True) + eps) * w,), "size"),
    (NORM, (lambda x, w, eps: x * np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w,), "size"),
    (NORM, (lambda x, w, eps: norm(x, w, eps) + w,), None),
    (NORM, (lambda x, w, eps: norm(x, w + 1, eps),), "factor of its own"),
    (NORM, (quiet(lambda x, w, eps: norm(x, w, -eps)),), "nan"),
    (NORM, (lambda x, w, eps: norm(x, w, eps**2),), "eps"),
    (NORM, (lambda x, w, eps: norm(x, w, eps) * len(w),), "size"),
    (NORM, (lambda x, w, eps: x / np.sqrt((x * x).mean(-1, keepdims=True) + eps) @ w,), "shape"),
    (NORM, (lambda x, w, eps: norm(x[..., :-1], w[:-1], eps),), "shape"),
    (NORM, (lambda x, w, eps: np.sqrt((x * x).mean(-1, keepdims=True) + eps) * w,), None),
    (NORM, (lambda x, w, eps: norm(x, np.sqrt(w), eps),), "factor of its own"),
    (SWIGLU, (lambda x, a, b, c: silu(x @ a.T) * (x @ b.T) @ c.T,), "w2 comes last"),
    (SWIGLU, (lambda x, a, b, c: np.tanh(x @ a.T) * (x @ c.T) @ b.T,), "tanh"),
    (SWIGLU, (lambda x, a, b, c: (x @ c.T) / (1 + np.exp(-(x @ a.T))) @ b.T,), "z times that"),
    (SWIGLU, (lambda x, a, b, c: silu(silu(x @ a.T)) * (x @ c.T) @ b.T,), "twice"),
    (SWIGLU, (lambda x, a, b, c: silu(silu(x @ a.T) * (x @ c.T)) @ b.T,), "silu"),
    (SWIGLU, (lambda x, a, b, c: silu((silu(x @ a.T) * (x @ c.T)) @ b.T),), "silu"),
    (SWIGLU, (lambda x, a, b, c: (silu(x) @ a.T) * (x @ c.T) @ b.T,), "silu"),
    (SWIGLU, (lambda x, a, b, c: (silu(x @ a.T) - (x @ c.T)) @ b.T,), "multiplied"),
    (SWIGLU, (lambda x, a, b, c: (silu(x @ a.T) / (x @ c.T)) @ b.T,), "multiplied"),
    (SWIGLU, (lambda x, a, b, c: (x @ c.T) @ b.T,), "gate"),
    (SWIGLU, (lambda x, a, b, c: silu(x @ a.T) * (x @ c.T),), "w2"),
    (SWIGLU, (lambda x, a, b, c: silu(x @ c.T) * (x @ c.T) @ b.T,), "w1"),
    (SWIGLU, (lambda x, a, b, c: silu(x @ a.T) * (x @ a.T) @ b.T,), "w3"),
    (SWIGLU, (lambda x, a, b, c: (silu(x @ a.T) * silu(x @ c.T)) @ b.T,), "of both"),
    (SWIGLU, (lambda x, a, b, c: ((x @ a.T) * (1 + np.tanh(x @ a.T)) * (x @ c.T)) @ b.T,), None),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(n1(x), a, f, n1, n2),), "is normed"),
    (LAYER, (lambda x, a, f, n1, n2: x + a(n1(x)) + f(n2(a(n1(x)))),), "h"),
    (LAYER, (lambda x, a, f, n1, n2: 2 * x + a(n1(x)) + f(n2(x + a(n1(x)))),), "twice"),
    (LAYER, (lambda x, a, f, n1, n2: (x + a(n1(x))) * f(n2(x + a(n1(x)))),), "added"),
    (LAYER, (lambda x, a, f, n1, n2: x + f(n2(x)),), "missing"),
    (LAYER, (lambda x, a, f, n1, n2: one_layer(x, lambda y: a(a(y)), f, n1, n2),), None),
    (LAYER, (lambda x, a, f, n1, n2: x - a(n1(x)) - f(n2(x - a(n1(x)))),), "added"),
    (GATE, (-1.762, -0.537, "abe", network), "three decimals"),
    (GATE, (-1.762, -0.538, "abce", network), "hidden_for, c"),
    (GATE, (-1.762, -0.538, "ab", network), "hidden_for, e"),
    (GATE, (-1.762, -0.538, "abe", lambda x, a, b, c: network(x, c, b, a)), "the gate is still w3"),
    (CACHED, (with_numbers(write=only_the_last),), "Write all tokens"),
    (CACHED, (with_numbers(write=only_the_first_of_a_window),), "Write all tokens"),
    (CACHED, (with_numbers(mask=lambda m, c, p: m.T),), "mask"),
    (CACHED, (with_numbers(mask=lambda m, c, p: ~m),), "swapped"),
    (CACHED, (lambda *given: cached.attend_cached(*given, "from zero"),), "positions from 0"),
    (CACHED, (lambda *given: cached.attend_cached(*given, "slots for positions"),), "slots' numb"),
    (CACHED, (with_numbers(mask=lambda m, c, p: m & (np.arange(m.shape[1]) > 0)),), None),
    (CACHED, (with_numbers(heads=lambda h: h.swapaxes(0, 1)),), "shape"),
    (CACHED, (with_numbers(heads=lambda h: None),), "nothing"),
    (CACHED, (with_numbers(write=without_positions),), "never"),
    (CACHED, (with_numbers(write=lambda c, k, v, p: c.write(k, v, p - p[0])),), "positions"),
    (CACHED, (with_numbers(write=lambda c, k, v, p: c.write(k, v, p + 1)),), "positions"),
    (CACHED, (with_numbers(before=lambda q, k, v, c, p: {"positions": p - p[0]}),), "positions"),
    (CACHED, (with_numbers(before=lambda q, k, v, c, p: {"q": q * q.shape[-1] ** -0.5}),), "scale"),
    (CACHED, (lambda parts, q, k, v, cache, p: parts.grouped(q, k, v, np.tri(len(p), dtype=bool)),),
     "never gets into the cache"),
    (CACHED, (lambda parts, q, k, v, cache, p: cache.write(k, v, p),), "nothing"),
    (CACHED, (lambda parts, q, k, v, c, p: cached.attend_cached(parts, q, k, v, c, p, "one more"),),
     "W + 1"),
    (CACHED, (lambda parts, q, k, v, c, p: parts.grouped(q, np.vstack([c.keys, k]), v, None),),
     "along"),
]  # fmt: skip
CHECKS = [CACHED]
FIRST = {}
N_ANSWERS = {CACHED: 1}
