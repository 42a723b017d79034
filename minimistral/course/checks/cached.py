"""Attention of one chunk over its cache, as lesson 08 builds it: right, and with one mistake."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np

from minimistral.config import ModelConfig
from minimistral.course.checks.lesson_07 import course_mask
from minimistral.course.checks.report import array, call, expect
from minimistral.course.mine.parts import attend
from minimistral.np.cache import slot_of
from minimistral.np.mask import window_mask

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]
CHUNKS = (3, 1, 8, 1, 2, 6)  # tokens; the window is 5
_CONFIG = replace(ModelConfig.tiny(), n_layers=1, window_size=5, norm_eps=1e-5)


class _Cache:
    """What the lesson's LayerCache does, written with the engine's slots."""

    def __init__(self, config: ModelConfig) -> None:
        W = config.window_size or 0
        shape = (config.n_kv_heads, W, config.head_dim)
        self.config, self.positions = config, np.full(W, -1)
        self.keys, self.values = np.zeros((2, *shape), np.float32)

    def write(self, k: np.ndarray, v: np.ndarray, positions: np.ndarray) -> None:
        shape = (self.config.n_kv_heads, len(positions), self.config.head_dim)
        for name, given in (("k", k), ("v", v)):
            expect(
                np.shape(given) == shape,
                f"cache.write takes the chunk's {name} {shape}, not an array {np.shape(given)}.",
            )
        for t, i in enumerate(np.asarray(positions)):
            slot = slot_of(int(i), len(self.positions))
            self.keys[:, slot], self.values[:, slot] = k[:, t], v[:, t]
            self.positions[slot] = i


def off(got: np.ndarray, wanted: np.ndarray) -> bool:
    """Whether two results differ by more than rounding."""
    return not np.allclose(got, wanted, atol=1e-5)


def read_in_chunks(attend_cached: Any) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """The heads of each chunk, and the positions in the cache after it."""
    H, G, D = _CONFIG.n_heads, _CONFIG.n_kv_heads, _CONFIG.head_dim
    rng = np.random.default_rng(11)
    q, k, v = (rng.standard_normal((n, sum(CHUNKS), D)).astype(np.float32) for n in (H, G, G))
    cache, start, results, held = _Cache(_CONFIG), 0, [], []
    for size in CHUNKS:
        positions = np.arange(start, start + size)
        chunk = [a[:, start : start + size] for a in (q, k, v)]
        result = call(attend_cached, _PARTS, *chunk, cache, positions, hints=_HINTS)
        results.append(array(result, chunk[0].shape))
        held.append(np.array(cache.positions))
        start += size
    return results, held


_HINTS = {
    "broadcast": "The mask has a column for each slot of the cache and each token of the chunk.",
    "core dimension": "Keys and values are the cache's and the chunk's together, along axis 1.",
    "concatenat": "Join along the axis of tokens: axis=1, since the heads stand in front.",
}


_PARTS = SimpleNamespace(chunk_mask=course_mask, grouped=attend, mask=window_mask)


def attend_cached(
    parts: Any, q: np.ndarray, k: np.ndarray, v: np.ndarray, cache: Any, positions: np.ndarray,
    variant: str = "",
) -> np.ndarray:  # fmt: skip
    """Attention of one chunk over its cache, (H, T, D); a variant makes one mistake."""
    W = cache.config.window_size
    if variant == "write first":
        cache.write(k, v, positions)
    keys = np.concatenate([cache.keys, k], axis=1)
    values = np.concatenate([cache.values, v], axis=1)
    mask = parts.chunk_mask(cache.positions, positions, W)
    gap = positions[:, None] - np.concatenate([cache.positions, positions])
    if variant == "chunk only":
        mask[:, :W] = False
    if variant == "cache only":
        mask[:, W:] = False
    if variant == "empty slots":
        mask = (gap >= 0) & (gap < W)
    if variant == "no window":
        mask = (gap >= 0) & (gap <= positions[:, None])
    if variant == "one more":
        mask = parts.chunk_mask(cache.positions, positions, W + 1)
    if variant == "swapped":
        mask = ~mask
    if variant == "from zero":
        mask = parts.chunk_mask(cache.positions, np.arange(len(positions)), W)
    if variant == "slots for positions":
        mask = parts.chunk_mask(np.arange(W), positions, W)
    if variant == "scaled twice":
        q = q * q.shape[-1] ** -0.5
    if variant == "no mask":
        mask = np.ones_like(mask)
    if variant == "chunk first":
        keys = np.concatenate([k, cache.keys], axis=1)
        values = np.concatenate([v, cache.values], axis=1)
    if variant == "values of keys":
        values = keys
    if variant == "written only":
        cache.write(k, v, positions)
        keys, values, held = cache.keys, cache.values, cache.positions
        mask = window_mask(positions, held, W)
    heads: np.ndarray = parts.grouped(q, keys, values, mask)
    if variant not in ("write first", "written only"):
        cache.write(v if variant == "v as k" else k, k if variant == "k as v" else v, positions)
    return heads


def cache_mistakes() -> Mistakes:
    whys = {
        "written only": "the chunk is written first, and only the cache is read. A chunk longer"
                        " than one token then overwrites keys that its first tokens still see.",
        "write first": "the chunk is written before it attends, so that keys are evicted which"
                       " its first tokens still see. Attend first, then write.",
        "chunk only": "the cache is not read: a chunk sees only its own tokens.",
        "cache only": "the chunk's own keys are missing beside those of the cache.",
        "empty slots": "an empty slot is seen; its position is −1, and chunk_mask hides it.",
        "no window": "the window is missing: keys that are too old are seen.",
        "one more": "W + 1 keys are seen. The window is cache.config.window_size, as it stands.",
        "swapped": "the mask is swapped: True means visible.",
        "from zero": "the mask counts the chunk's positions from 0. Give it the argument"
                     " positions.",
        "slots for positions": "the mask takes the slots' numbers for positions. Give it"
                               " cache.positions.",
        "scaled twice": "the queries are scaled twice: parts.grouped divides by √head_dim already.",
        "no mask": "the mask is missing: tokens see ahead, and empty slots.",
        "chunk first": "the keys of the chunk stand before those of the cache, while the columns"
                       " of the mask have the cache first.",
        "values of keys": "the values are the keys.",
        "v as k": "the cache gets values where it must get keys.",
        "k as v": "the cache gets keys where it must get values.",
    }  # fmt: skip
    return [(partial(attend_cached, variant=variant), why) for variant, why in whys.items()]
