"""Answers to the exercises of lesson 14, right and wrong; test_checks.py gives them."""

import numpy as np
import torch

from minimistral.course.checks import lesson_14
from minimistral.course.checks.lesson_14 import unpack
from minimistral.pt.quantize import Int8Linear

BYTES, RIDGE, INT8, INT4, PLAN = (
    lesson_14.step_bytes, lesson_14.ridge_batch, lesson_14.int8, lesson_14.int4, lesson_14.plan,
)  # fmt: skip
CLOCK, PROGRAMS, SCALES, HEADS = (
    lesson_14.bug_clock,
    lesson_14.bug_recompiles,
    lesson_14.bug_scales,
    lesson_14.bug_heads,
)


def by_shapes(config, context, batch_size, n_bytes):
    """Adds up the matrices one by one."""
    read = 0
    for name, shape in config.weight_shapes().items():
        if name != "tok_embeddings.weight":
            read += int(np.prod(shape))
    return n_bytes * read + batch_size * config.cache_bytes(context, "int8") * n_bytes


def by_numbers(c, context, batch_size, n_bytes, heads=None, layers=None, k_and_v=2, window=True,
               rows=None, weights=1, embedding=0, cache=1, more=0):  # fmt: skip
    kept = (min(context, c.window_size) if window else context) + more
    per_token = k_and_v * (layers or c.n_layers) * (heads or c.n_kv_heads) * c.head_dim
    read = weights * (c.n_params - c.vocab_size * c.dim + embedding * c.vocab_size * c.dim)
    return n_bytes * (read + cache * (rows or batch_size) * kept * per_token)


def numbers(**how):
    return lambda *case: by_numbers(*case, **how)


def ridge(weights, cache, flops, rate, bandwidth, up=np.ceil):
    gain = flops / rate - cache / bandwidth
    return 0 if gain <= 1e-12 else int(up(weights / bandwidth / gain - 1e-9))


def ridge_loop(weights, cache, flops, rate, bandwidth):
    if flops * bandwidth <= cache * rate:
        return 0
    low, high = 1, 1
    while high * flops * bandwidth < (weights + high * cache) * rate:
        high *= 2
    while low < high:
        middle = (low + high) // 2
        if middle * flops * bandwidth < (weights + middle * cache) * rate:
            low = middle + 1
        else:
            high = middle
    return low


def ridge_exact(weights, cache, flops, rate, bandwidth):
    gain = flops * bandwidth - cache * rate
    return (weights * rate + gain - 1) // gain if gain > 0 else 0


def int8(w, scale=lambda w: np.abs(w).max(axis=1) / 127, how=np.rint,
         divide=lambda w, s: w / s, dtype=np.int8):  # fmt: skip
    scales = np.maximum(scale(w), 1e-30)
    return how(divide(w, scales[:, None])).astype(dtype), scales


def packed8(**how):
    return lambda w: int8(w, **how)


def int8_loop(w):
    values, scales = np.zeros(w.shape, np.int8), []
    for row, line in enumerate(w):
        scales.append(max(abs(line)) / 127 or 1.0)
        for column, x in enumerate(line):
            values[row, column] = round(x / scales[-1])
    return values, np.array(scales)


def int8_in_torch(w):
    matrix = Int8Linear(torch.tensor(w))
    return matrix.values, matrix.scales


def int8_keepdims(w):
    scales = np.abs(w).max(axis=1, keepdims=True) / 127
    scales[scales == 0] = 1
    return np.round(w / scales).astype(np.int8), scales


def int4(w, group, shape=lambda w, g: w.reshape(len(w), -1, g), low=lambda x: x.min(axis=2),
         scale=lambda x: np.ptp(x, axis=2) / 15, how=np.rint, top=15,
         pack=lambda s: s[:, 0::2] << 4 | s[:, 1::2], back=lambda s: s):  # fmt: skip
    x = shape(w, group)
    lows, scales = low(x), np.maximum(scale(x), 1e-30)
    steps = how((x - lows[:, :, None]) / scales[:, :, None]).clip(0, top).astype(int)
    steps = back(steps).astype(np.uint8).reshape(w.shape)
    return pack(steps).astype(np.uint8), scales, lows


def packed4(**how):
    return lambda w, group: int4(w, group, **how)


def int4_loop(w, group):
    rows, columns = w.shape
    packed = np.zeros((rows, columns // 2), np.uint8)
    scale, low = np.ones((rows, columns // group)), np.zeros((rows, columns // group))
    for row in range(rows):
        for n in range(columns // group):
            part = w[row, n * group : (n + 1) * group]
            low[row, n] = part.min()
            if part.max() > part.min():
                scale[row, n] = (part.max() - part.min()) / 15
        for column in range(columns):
            n = column // group
            step = round((w[row, column] - low[row, n]) / scale[row, n])
            packed[row, column // 2] += step * (1 if column % 2 else 16)
    return packed, scale, low


def int4_in_torch(w, group):
    return tuple(torch.from_numpy(part) for part in int4(w, group))


def plan(unread, chunk_size):
    lengths = []
    for n in unread:
        lengths.append(min(n, chunk_size) if n else 1)
        chunk_size -= lengths[-1] if n else 0
    return lengths


def plan_cumsum(unread, chunk_size):
    unread = np.array(unread, int)
    before = np.cumsum(unread) - unread
    return np.where(unread > 0, np.clip(chunk_size - before, 0, unread), 1)


def clock(device, work, before=True, after=True, each=False, warm=True, runs=10, divide=10):
    if warm:
        device.run(work)
    if before:
        device.wait()
    start = device.now()
    for _ in range(runs):
        device.run(work)
        if each:
            device.wait()
    if after:
        device.wait()
    return (device.now() - start) / divide


def timed(**how):
    return lambda device, work: clock(device, work, **how)


def filled(program, keys, max_tokens, size=lambda n, m: m, count=lambda n: n + 1, write=True,
           part=lambda cache, n: cache):  # fmt: skip
    cache, results = np.zeros((size(len(keys), max_tokens), keys.shape[1])), []
    for n, key in enumerate(keys):
        if write:
            cache[n] = key
        results.append(program(part(cache, n), count(n)))
    return np.array(results)


def decoded(**how):
    return lambda *given: filled(*given, **how)


def grown(program, keys, max_tokens):
    cache, results = keys[:0], []
    for n, key in enumerate(keys):
        cache = np.concatenate([cache, key[None]])
        results.append(program(cache, n + 1))
    return np.array(results)


def all_at_once(program, keys, max_tokens):
    cache = np.concatenate([keys, np.zeros((max_tokens - len(keys), keys.shape[1]))])
    return np.array([program(cache, n + 1) for n in range(len(keys))])


def unpack_repeated(packed, scale, low, group):
    steps = np.stack([packed >> 4, packed & 15], axis=-1).reshape(len(packed), -1)
    return steps * np.repeat(scale, group, axis=1) + np.repeat(low, group, axis=1)


def unpacked(of=lambda c, s, g: c // g, offset=1, upper=0):
    def function(packed, scale, low, group):
        steps = np.empty((len(packed), 2 * packed.shape[1]))
        steps[:, upper::2], steps[:, 1 - upper :: 2] = packed >> 4, packed & 15
        n = of(np.arange(steps.shape[1]), scale, group)
        return steps * scale[:, n] + offset * low[:, n]

    return function


def heads(process, n_processes, n_kv_heads, total=lambda per, n, G: G, more=0):
    per_process = max(1, n_kv_heads // n_processes)
    first = process * total(per_process, n_processes, n_kv_heads) // n_processes
    return list(range(first, first + per_process + more))


def heads_of_queries(process, n_processes, n_kv_heads):
    """Looks which KV heads the queries of a process read, 16 queries per KV head."""
    H = 16 * n_kv_heads
    queries = range(process * H // n_processes, (process + 1) * H // n_processes)
    return sorted({h // 16 for h in queries})


RIGHT = [
    (BYTES, (by_shapes,)), (BYTES, (by_numbers,)),
    (BYTES, (lambda c, n, b, s: c.decode_bytes(n, {2: "bfloat16", 4: "float32"}[s], b),)),
    (RIDGE, (ridge,)), (RIDGE, (ridge_loop,)), (RIDGE, (ridge_exact,)),
    (INT8, (int8,)), (INT8, (int8_loop,)), (INT8, (int8_in_torch,)), (INT8, (int8_keepdims,)),
    (INT4, (int4,)), (INT4, (int4_loop,)), (INT4, (int4_in_torch,)),
    (PLAN, (plan,)), (PLAN, (plan_cumsum,)), (PLAN, (lambda u, c: tuple(plan(u, c)),)),
    (CLOCK, (6, clock)), (CLOCK, (6.0, timed(after=True))),
    (PROGRAMS, (3, filled)), (PROGRAMS, (3, all_at_once)),
    (SCALES, (4, unpack)), (SCALES, (np.int64(4), unpack_repeated)), (SCALES, (4, unpacked())),
    (HEADS, (2, heads)), (HEADS, (2, heads_of_queries)),
]  # fmt: skip
WRONG = [
    (BYTES, (numbers(embedding=1),), "only looked up"),
    (BYTES, (numbers(window=False),), "window_size tokens at most"),
    (BYTES, (numbers(rows=1),), "a cache of its own"),
    (BYTES, (lambda c, n, b, s: by_numbers(c, n, b, s, weights=b),), "once for all rows"),
    (BYTES, (numbers(k_and_v=1),), "Keys and values"),
    (BYTES, (lambda c, n, b, s: by_numbers(c, n, b, s, heads=c.n_heads),), "not n_heads"),
    (BYTES, (numbers(layers=1),), "Every layer"),
    (BYTES, (numbers(cache=0),), "keys and values are read"),
    (BYTES, (lambda c, n, b, s: by_numbers(c, n, b, 1),), "not bytes"),
    (BYTES, (lambda c, n, b, s: by_numbers(c, n, b, 2),), "n_bytes is an argument"),
    (BYTES, (lambda c, n, b, s: 8 * by_numbers(c, n, b, s),), "bits"),
    (BYTES, (numbers(embedding=-1),), "The output matrix is read"),
    (BYTES, (numbers(more=1),), "not one more"),
    (BYTES, (lambda c, n, b, s: by_numbers(c, n, b, s) / 1e9,), "whole number"),
    (BYTES, (lambda c, n, b, s: c.n_params,), "too"),
    (BYTES, (lambda c, n, b, s: None,), "returns nothing"),
    (RIDGE, (lambda w, c, f, r, b: ridge(w, 0, f, r, b),), "The cache is left out"),
    (RIDGE, (lambda w, c, f, r, b: ridge(w + c, 0, f, r, b),), "not one for all"),
    (RIDGE, (lambda *case: ridge(*case, up=lambda x: np.floor(x + 1e-6)),), "rounded down"),
    (RIDGE, (lambda *case: int(ridge(*case, up=lambda x: round(x + 1e-6))),), "Round up"),
    (RIDGE, (lambda *case: ridge(*case, up=lambda x: np.floor(x + 1e-6) + 1),), "do not add 1"),
    (RIDGE, (lambda w, c, f, r, b: -(-r // b),), "the ridge in operations per byte"),
    (
        RIDGE,
        (lambda w, c, f, r, b: -(-w * r // (f * b - c * r)) if f * b != c * r else 0,),
        "no such batch: 0",
    ),
    (RIDGE, (lambda w, c, f, r, b: ridge(w, -c, f, r, b),), "more rows are needed"),
    (RIDGE, (lambda *case: max(1, ridge(*case)),), "return 0"),
    (RIDGE, (lambda w, c, f, r, b: ridge(w, 0, f, b, r),), "swapped"),
    (RIDGE, (lambda w, c, f, r, b: -(-w // f),), "speeds are not used"),
    (RIDGE, (lambda *case: ridge(*case) - 1,), "One row too few"),
    (RIDGE, (lambda *case: 0,), "Some of the cases"),
    (RIDGE, (lambda *case: float(ridge(*case)) + 0.5,), "whole number"),
    (INT8, (packed8(scale=lambda w: np.abs(w).max(axis=1) / 128),), "127"),
    (INT8, (packed8(scale=lambda w: np.abs(w).max(axis=1) / 255),), "127"),
    (INT8, (packed8(scale=lambda w: np.abs(w).max(axis=1)),), "divide by 127"),
    (INT8, (packed8(scale=lambda w: w.max(axis=1) / 127),), "np.abs"),
    (INT8, (packed8(scale=lambda w: np.ptp(w, axis=1) / 255),), "needs an offset"),
    (INT8, (packed8(scale=lambda w: np.ptp(w, axis=1) / 127),), "not the range"),
    (INT8, (packed8(scale=lambda w: np.full(len(w), np.abs(w).max() / 127)),), "whole matrix"),
    (INT8, (lambda w: (int8(w)[0], np.abs(w).max() / 127),), "one scale for the whole matrix"),
    (INT8, (lambda w: (int8(w)[0], np.abs(w).max(axis=0) / 127),), "a scale per column"),
    (INT8, (packed8(scale=lambda w: np.abs(w).mean(axis=1) / 127),), "not the mean"),
    (INT8, (packed8(scale=lambda w: np.abs(w).max(axis=1) / 127 + 1e-6),), "np.maximum"),
    (INT8, (packed8(scale=lambda w: np.abs(w).max(axis=1) / 127 + 1e-5),), "np.maximum"),
    (INT8, (lambda w: (int8(w)[0], 1 / int8(w)[1]),), "the inverse"),
    (INT8, (packed8(how=lambda x: x),), "np.rint"),
    (INT8, (packed8(how=np.floor),), "rounded down"),
    (INT8, (packed8(how=lambda x: np.rint(np.abs(x))),), "signs are lost"),
    (INT8, (packed8(divide=lambda w, s: w * s),), "it multiplies"),
    (INT8, (packed8(dtype=np.float32),), "must be int8"),
    (INT8, (packed8(dtype=np.uint8),), "must be int8"),
    (INT8, (lambda w: int8(w)[0],), "return both"),
    (INT8, (lambda w: (int8(w)[0].T, int8(w)[1]),), "the shape must be"),
    (
        INT8,
        (lambda w: ((w / (np.abs(w).max(axis=1) / 127)[:, None]).round().astype(np.int8),
                    np.abs(w).max(axis=1) / 0),),
        "scales",
    ),
    (INT4, (packed4(low=lambda x: x.max(axis=2)),), "That is the largest".lower()),
    (INT4, (packed4(low=lambda x: 0 * x.min(axis=2)),), "not 0"),
    (INT4, (packed4(low=lambda x: np.abs(x).min(axis=2)),), "smallest magnitude"),
    (INT4, (packed4(low=lambda x: -np.abs(x).max(axis=2)),), "minus the largest magnitude"),
    (
        INT4,
        (packed4(shape=lambda w, g: w.reshape(len(w), g, -1).swapaxes(1, 2)),),
        "dealt like cards",
    ),
    (INT4, (lambda w, g: (int4(w, g)[0], int4(w, g)[2], int4(w, g)[1]),), "swapped"),
    (INT4, (packed4(scale=lambda x: np.ptp(x, axis=2) / 16),), "15 gaps"),
    (INT4, (packed4(scale=lambda x: np.ptp(x, axis=2)),), "divide the range by 15"),
    (INT4, (packed4(scale=lambda x: x.max(axis=2) / 15),), "take the range"),
    (INT4, (packed4(scale=lambda x: np.abs(x).max(axis=2) / 7),), "not a magnitude"),
    (INT4, (lambda w, g: int4(w, w.shape[1]),), "Each group needs its own"),
    (INT4, (lambda w, g: (np.repeat(int4(w, g)[0], 2, axis=1), *int4(w, g)[1:]),), "one byte"),
    (INT4, (packed4(pack=lambda s: s[:, 1::2] << 4 | s[:, 0::2]),), "are swapped"),
    (INT4, (packed4(pack=lambda s: s[:, : s.shape[1] // 2] << 4 | s[:, s.shape[1] // 2 :]),),
     "Pack neighbours"),
    (INT4, (packed4(pack=lambda s: s[:, 0::2] | s[:, 1::2]),), "must move up"),
    (INT4, (packed4(pack=lambda s: s[:, 0::2] * 10 + s[:, 1::2]),), "counts to 16"),
    (INT4, (packed4(pack=lambda s: s[:, 0::2]),), "every second weight is lost"),
    (INT4, (packed4(how=np.trunc),), "np.rint"),
    (INT4, (packed4(back=lambda s: s - 8),), "from 0 to 15"),
    (INT4, (packed4(top=7),), "not 0 to 7"),
    (INT4, (packed4(back=lambda s: 15 - s),), "count down"),
    (INT4, (lambda w, g: int4(w, g)[:2],), "all three"),
    (INT4, (lambda w, g: (int4(w, g)[0].astype(int), *int4(w, g)[1:]),), "must be uint8"),
    (PLAN, (lambda u, c: [n and m for n, m in zip(u, plan(u, c), strict=True)],), "too: 1"),
    (PLAN, (lambda u, c: [m if n or not any(u) else 0
                          for n, m in zip(u, plan(u, c), strict=True)],), "wait for the prompts"),
    (PLAN, (lambda u, c: [min(n, c) if n else 1 for n in u],), "They share it"),
    (PLAN, (lambda u, c: [n or 1 for n in u],), "read whole"),
    (PLAN, (lambda u, c: plan(u[::-1], c)[::-1],), "served first"),
    (PLAN, (lambda u, c: [min(n, c // max(1, sum(map(bool, u)))) if n else 1 for n in u],),
     "equal shares"),
    (PLAN, (lambda u, c: [n for n in plan(u, c) if n],), "gets 0"),
    (PLAN, (lambda u, c: [min(n, c) for n in u],), "share chunk_size, and"),
    (PLAN, (lambda u, c: [c] * len(u),), "every text gets chunk_size"),
    (PLAN, (lambda u, c: [1] * len(u),), "more than one id"),
    (PLAN, (lambda u, c: [n - m if n else 1 for n, m in zip(u, plan(u, c), strict=True)],),
     "what is read"),
    (PLAN, (lambda u, c: sum(plan(u, c)),), "a list of numbers"),
    (PLAN, (lambda u, c: plan(u, c)[:1],), "as many numbers"),
    (PLAN, (lambda u, c: plan(u, c + 1),), "may read"),
    (CLOCK, (7, None), "Ask when"),
    (CLOCK, (3, None), "the device is idle"),
    (CLOCK, (9, None), "from 1 to 8"),
    (CLOCK, (6, timed(after=False)), "before the device is done"),
    (CLOCK, (6, timed(each=True)), "wait once, after the loop"),
    (CLOCK, (6, timed(divide=1)), "divide by the ten runs"),
    (CLOCK, (6, timed(before=False)), "the warm-up is counted"),
    (CLOCK, (6, timed(warm=False)), "first run is counted"),
    (CLOCK, (6, lambda device, work: work), "fixed gives"),
    (CLOCK, (6, lambda device, work: "fast"), "return a number"),
    (PROGRAMS, (1, None), "makes a new shape"),
    (PROGRAMS, (4, None), "hands on"),
    (PROGRAMS, (3, grown), "the shape changes"),
    (PROGRAMS, (3, decoded(part=lambda cache, n: cache[: n + 1])), "the shape changes"),
    (PROGRAMS, (3, decoded(count=lambda n: n)), "gives another result"),
    (PROGRAMS, (3, decoded(write=False)), "gives another result"),
    (PROGRAMS, (3, decoded(count=lambda n: 8)), "gives another result"),
    (PROGRAMS, (3, lambda program, keys, m: np.array([keys[: n + 1].mean(0)
                                                      for n in range(len(keys))])),
     "never calls program"),
    (SCALES, (5, None), "Ask whose scale"),
    (SCALES, (2, None), "the upper half"),
    (SCALES, (4, unpacked(lambda c, s, g: c % s.shape[1])), "dealt like cards"),
    (SCALES, (4, unpacked(lambda c, s, g: 0 * c)), "its first group"),
    (SCALES, (4, unpacked(lambda c, s, g: np.minimum(c // (2 * g), s.shape[1] - 1))), "two"),
    (SCALES, (4, unpacked(offset=0)), "low is not added"),
    (SCALES, (4, unpacked(upper=1)), "upper half"),
    (SCALES, (4, unpacked(lambda c, s, g: (c // g + 1) % s.shape[1])), "one group too far"),
    (HEADS, (1, None), "one KV head at least"),
    (HEADS, (3, None), "Is the total right"),
    (HEADS, (2, lambda p, n, G: heads(p, n, G, total=lambda per, n, G: per * n)), "do not exist"),
    (HEADS, (2, lambda p, n, G: [p % G] if n >= G else heads(p, n, G)), "dealt like cards"),
    (HEADS, (2, lambda p, n, G: list(range(G))), "saves no memory"),
    (HEADS, (2, lambda p, n, G: list(range(p * G // n, (p + 1) * G // n))), "get none"),
    (HEADS, (2, lambda p, n, G: list(range(max(1, G // n)))), "the first heads"),
    (HEADS, (2, lambda p, n, G: heads(p, n, G, more=1)), "one head too many"),
    (HEADS, (2, lambda p, n, G: heads(n - 1 - p, n, G)), "its queries read others"),
]  # fmt: skip
CHECKS = [BYTES, RIDGE, INT8, INT4, PLAN, CLOCK, PROGRAMS, SCALES, HEADS]
FIRST = {CLOCK: (6,), PROGRAMS: (3,), SCALES: (4,), HEADS: (2,)}
N_ANSWERS = {CLOCK: 2, PROGRAMS: 2, SCALES: 2, HEADS: 2}
