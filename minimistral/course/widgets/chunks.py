"""The player of lesson 07: a prompt read in chunks (Figure 3 of the paper)."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimistral.config import ModelConfig
from minimistral.course.draw import ChunkView, chunk_svg
from minimistral.course.widgets.player import Player
from minimistral.np import RollingCache, window_mask

WINDOWS = range(1, 7)


def chunk_stepper(tokens: Sequence[str], window: int = 4) -> Player:
    """A prompt read in chunks; sliders for which chunk it is, its size and W.

    tokens: 1 to 16 words; window: 1 to 6, where the sliders of W and chunk begin. A real
    RollingCache is driven. The step after the last chunk shows the cache at the end.
    Raises ValueError for other sizes.

    >>> player = chunk_stepper("a b c d e f".split(), window=3)
    >>> player.set(step=2)
    >>> player.words.split(" Right")[0]
    'W = 3, chunk 2 of 2: tokens 3 to 5. Left: 0 tokens are gone. Middle: 3 keys of the cache, \
3 pairs visible.'
    """
    if not 1 <= len(tokens) <= 16:
        raise ValueError(f"tokens must be 1 to 16 words, not {len(tokens)}")
    if window not in WINDOWS:
        raise ValueError(f"window must be 1 to 6, not {window}")
    sizes = range(1, len(tokens) + 1)
    views = {(W, size): _views(len(tokens), W, size) for W in WINDOWS for size in sizes}

    def draw(W: int, chunk: int, step: int) -> tuple[str, str]:
        shown = views[W, chunk]
        step = min(step, len(shown))
        words = _words(shown[step - 1], W, step, len(shown) - 1, len(tokens))
        return chunk_svg(shown[step - 1], tokens), words

    steps = range(1, len(tokens) + 2)  # the last: all is read, in chunks of 1 as well
    sliders = {"step": steps, "chunk": sizes, "W": WINDOWS}
    start = {"W": window, "chunk": min(window, len(tokens))}
    return Player("Prefill in chunks", sliders, draw, start)


def _views(n_tokens: int, window: int, size: int) -> list[ChunkView]:
    """What each chunk sees, and last the cache once all is read."""
    config = replace(ModelConfig.tiny(), window_size=window, n_layers=1)
    cache = RollingCache(config, batch_size=1)
    starts = range(0, n_tokens, size)
    views = [_read(cache, range(n_tokens)[start : start + size], n_tokens) for start in starts]
    return [*views, ChunkView([], _held(cache), [])]


def _read(cache: RollingCache, chunk: range, n_tokens: int) -> ChunkView:
    """Put a chunk into the cache. Its mask is laid out by absolute position, (T, n_tokens)."""
    held, queries = _held(cache), np.array(chunk)
    plan = cache.plan(queries[None])
    keys = plan.k_pos[0]
    mask = np.zeros((len(chunk), n_tokens), bool)
    mask[:, keys[keys >= 0]] = window_mask(queries, keys, cache.n_slots)[:, keys >= 0]
    shape = (1, cache.config.n_kv_heads, len(chunk), cache.config.head_dim)
    cache.update(0, np.ones(shape), np.ones(shape), plan)
    cache.commit(plan)
    return ChunkView(list(chunk), held, mask.tolist())


def _held(cache: RollingCache) -> list[int]:
    return sorted(j for j in cache.positions[0].tolist() if j >= 0)


def _words(view: ChunkView, W: int, step: int, n_chunks: int, n_tokens: int) -> str:
    if not view.queries:
        read = f"All {n_tokens} tokens were" if n_tokens > 1 else "The token was"
        chunks = _many(n_chunks, "chunk")
        return f"{read} read in {chunks}; the cache holds {_span('position', view.held)}."
    first = view.queries[0]
    gone, seen = first - len(view.held), sum(map(sum, view.mask))
    middle = sum(sum(row[:first]) for row in view.mask)
    pairs = len(view.queries) * view.n_keys
    return (
        f"W = {W}, chunk {step} of {n_chunks}: {_span('token', view.queries)}."
        f" Left: {_many(gone, 'token')} {'is' if gone == 1 else 'are'} gone."
        f" Middle: {_many(len(view.held), 'key')} of the cache, {_many(middle, 'pair')} visible."
        f" Right: {_many(seen - middle, 'pair')} visible of the chunk's own."
        f" One rectangle computes {_many(pairs, 'pair')}, {seen} visible."
    )


def _many(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _span(word: str, numbers: Sequence[int]) -> str:
    if len(numbers) == 1:
        return f"{word} {numbers[0]}"
    return f"{word}s {numbers[0]} to {numbers[-1]}"
