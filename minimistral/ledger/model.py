"""Evidence about the model: run on the engine, on the tiny model and on the sizes of the 7B.

Each function returns a Finding and takes no argument; together they take a few seconds.
"""

import functools
from dataclasses import replace

import numpy as np

from minimistral import np as mm
from minimistral import tiny, tokenizer
from minimistral.config import ModelConfig, visible_pairs
from minimistral.evaluation.reach import reachable
from minimistral.ledger.claim import FALSE, OPEN, Finding, judge

GIB, TERA = 2**30, 1e12
V01, V02, V03 = map(ModelConfig.mistral_7b, ("v0.1", "v0.2", "v0.3"))
FULL = replace(V01, window_size=None)  # v0.1 without its window
MHA = replace(V01, n_kv_heads=V01.n_heads)  # and with a KV head for each query head
W = 4096  # the window of v0.1
PAGE, PROMPT = 32 * 1024, 16 * 1024  # tokens
CHUNKS = (1, 7, 31, 32, 33, 100)


def parameters() -> Finding:
    n = V01.n_params
    whole = round(n / 1e9, 1) == 7.3
    return Finding(judge(round(n / 1e9) == 7, whole), {"n": n, "billion": n / 1e9})


def farthest(window: int, n_layers: int) -> int:
    """How many positions back the last token depends on, by following the mask of the engine.

    >>> farthest(window=4, n_layers=3)
    9
    """
    positions = np.arange(window * n_layers + 2)
    mask = mm.window_mask(positions, positions, window)
    return int(positions[-1] - np.flatnonzero(reachable(mask, n_layers)[-1][-1])[0])


def reach() -> Finding:
    """K(W - 1), where small masks of the engine agree with it, against the product k W."""
    exact, product = V01.n_layers * (W - 1), V01.n_layers * W
    small = [(window, n_layers) for window in (1, 2, 5) for n_layers in (1, 2, 4)]
    agrees = all(farthest(each, n) == n * (each - 1) for each, n in small)
    verdict = judge(agrees and round(exact / 1000) == 131, exact == product)
    return Finding(verdict, {"exact": exact, "product": product})


def context_of_16k() -> Finding:
    back = min(V01.n_layers * (W - 1), PROMPT - 1)  # of all tokens that there are
    return Finding(judge(back > 128_000), {"back": back, "tokens": PROMPT})


def speed_of_the_window() -> Finding:
    attention = FULL.attention_flops(PROMPT) / V01.attention_flops(PROMPT)
    prefill = FULL.prefill_flops(PROMPT) / V01.prefill_flops(PROMPT)
    return Finding(judge(attention >= 2, prefill >= 2),
                   {"attention": attention, "prefill": prefill})  # fmt: skip


def pairs() -> Finding:
    positions = np.arange(48)
    counted = int(mm.window_mask(positions, positions, 3).sum())
    windowed = visible_pairs(2 * PAGE, W) / visible_pairs(PAGE, W)
    causal = visible_pairs(2 * PAGE, None) / visible_pairs(PAGE, None)
    linear = counted == visible_pairs(48, 3) and windowed < 2.2 < 3.9 < causal
    return Finding(judge(linear), {"windowed": windowed, "causal": causal})


def plain_masking() -> Finding:
    """What is computed: with an array as mask all pairs, because nothing is known in advance."""
    array, causal, window = PROMPT**2, visible_pairs(PROMPT, None), visible_pairs(PROMPT, W)
    figures = {"array": array / 1e6, "causal": causal / 1e6, "window": window / 1e6}
    return Finding(judge(array <= causal), figures)


def theta() -> Finding:
    unscaled = V01.rope_theta == 1e4 and V01.context_len == 8192
    later = V02.rope_theta == V03.rope_theta == V01.rope_theta
    return Finding(judge(unscaled, later), {
        "theta": V01.rope_theta, "context": V01.context_len,
        "later_theta": V02.rope_theta, "later_context": V02.context_len,
    })  # fmt: skip


@functools.cache
def _tiny() -> tuple[mm.Mistral, list[list[int]], np.ndarray]:
    """The tiny model in float64, a text of more than 4 windows, and its logits read at once."""
    model = mm.load(tiny.FOLDER, dtype="float64")
    words = tokenizer.load(tiny.FOLDER)
    ids = words.encode("The cat sat on the mat and saw the dog go to the door. " * 12)[:140]
    return model, [ids], model([ids])


def _through_a_cache(chunk: int) -> tuple[float, mm.RollingCache]:
    """The largest change of any logit when the text is read in chunks, and the cache after it."""
    model, ids, at_once = _tiny()
    cache = model.new_cache(batch_size=1)
    starts = range(0, len(ids[0]), chunk)
    parts = [model([ids[0][start : start + chunk]], cache) for start in starts]
    return float(np.abs(np.concatenate(parts, axis=1) - at_once).max()), cache


def rolling_memory() -> Finding:
    growing, rolling = (each.cache_bytes(PAGE) for each in (FULL, V01))
    changed, _ = _through_a_cache(chunk=1)
    holds = growing == 8 * rolling and changed < 1e-9
    return Finding(judge(holds), {
        "growing": growing / GIB, "rolling": rolling / 2**20, "tokens": len(_tiny()[1][0]),
    })  # fmt: skip


def memory_of_32k() -> Finding:
    n_bytes = FULL.cache_bytes(PAGE)
    with_mha = replace(MHA, window_size=None).cache_bytes(PAGE)
    figures = {"gib": n_bytes / GIB, "mha": with_mha / GIB, "mib": V01.cache_bytes(PAGE) / 2**20}
    return Finding(judge(n_bytes < GIB), figures)


def decode_far_beyond() -> Finding:
    """A step at 16 W against one at W: operations, bytes of the cache, and where they lie."""
    small = replace(ModelConfig.tiny(), window_size=4, n_layers=1)
    caches = [mm.RollingCache(small, batch_size=1) for _ in range(2)]
    for cache, tokens in zip(caches, (4, 64), strict=True):
        cache.commit(cache.plan(np.arange(tokens)[None]))
    same_memory = caches[0].nbytes == caches[1].nbytes
    in_one_piece = all(cache.k.flags.c_contiguous for cache in caches)
    work = V01.decode_flops(16 * W) / V01.decode_flops(W)
    without = FULL.decode_flops(16 * W) / FULL.decode_flops(W)
    holds = same_memory and in_one_piece and work == 1
    return Finding(judge(holds), {"work": work, "without": without})


def first_overwritten() -> Finding:
    """The position whose token is the first to take another's slot, in a cache of the engine."""
    window, position = 4, 0
    cache = mm.RollingCache(replace(ModelConfig.tiny(), window_size=window, n_layers=1), 1)
    while 0 in cache.positions or position == 0:
        cache.commit(cache.plan(np.array([[position]])))
        position += 1
    first = position - 1
    return Finding(judge(first == window + 1), {"window": window, "first": first})


def keys_of_the_prose() -> Finding:
    query, window = 9, 4
    positions = np.arange(query + 1)
    prose = int(((positions >= query - window) & (positions <= query)).sum())
    rule = int(mm.window_mask(np.array([query]), positions, window).sum())
    return Finding(judge(prose == rule), {"window": window, "prose": prose, "rule": rule})


def _step_bytes(config: ModelConfig, texts: int = 1) -> int:
    """Read for one token of each text: the matrices once, and a full window of each cache."""
    matrices = config.n_params - config.params_by_part()["embedding"]
    return 2 * matrices + texts * config.cache_bytes(W)


def gqa_step() -> Finding:
    cache = MHA.cache_bytes(W) / V01.cache_bytes(W)
    step, many = (_step_bytes(MHA, texts) / _step_bytes(V01, texts) for texts in (1, 64))
    work = MHA.decode_flops(W) / V01.decode_flops(W)
    figures = {"cache": cache, "step": step, "many": many, "work": work}
    return Finding(judge(cache == V01.n_groups, min(step, work) > 3.5), figures)


def gqa_memory() -> Finding:
    """Weights and caches of 32K tokens without a window, where the caches weigh most."""
    mha, gqa = replace(MHA, window_size=None), FULL
    one, many = (
        (2 * mha.n_params + texts * mha.cache_bytes(PAGE))
        / (2 * gqa.n_params + texts * gqa.cache_bytes(PAGE))
        for texts in (1, 64)
    )
    # Speed and quality need the other model, so this alone can refute, but not confirm.
    return Finding(OPEN if many > 3.5 else FALSE, {"one": one, "many": many})


def prefill_of_32k() -> Finding:
    full, windowed = FULL.prefill_flops(PAGE), V01.prefill_flops(PAGE)
    ratio = full / windowed
    figures = {"full": full / TERA, "windowed": windowed / TERA, "ratio": ratio}
    return Finding(OPEN if ratio < 5 / 2 else judge(True), figures)


def chunk_sizes() -> Finding:
    holds = max(_through_a_cache(chunk)[0] for chunk in CHUNKS) < 1e-9
    sizes = ", ".join(map(str, CHUNKS[:-1])) + f" and {CHUNKS[-1]}"
    figures = {
        "sizes": sizes,
        "tokens": len(_tiny()[1][0]),
        "window": _tiny()[0].config.window_size,
    }
    return Finding(judge(holds), figures)


def versions() -> Finding:
    v1, v3 = tokenizer.load("v1"), tokenizer.load("v3")
    calls = {"[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "[TOOL_RESULTS]"}
    contexts = (V01.context_len, V02.context_len) == (8192, PAGE)
    windows = V01.window_size == W and V02.window_size is V03.window_size is None
    pieces = V03.vocab_size == len(v3) == 32768
    tools = calls <= v3.control_ids.keys() and not calls & v1.control_ids.keys()
    holds = contexts and windows and pieces and tools
    figures = {"v01": V01.context_len, "v02": V02.context_len, "pieces": V03.vocab_size}
    return Finding(judge(holds), figures)
