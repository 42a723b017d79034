"""Players of lessons 06 and 07: a rolling buffer step by step, and a prompt in chunks."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimistral.config import ModelConfig
from minimistral.draw import ChunkView, Moment, chunk_svg, slots_svg
from minimistral.np import RollingCache, window_mask
from minimistral.widgets.player import Player

ONE_LAYER = replace(ModelConfig.tiny(), n_layers=1)


def cache_player(tokens: Sequence[str], window: int = 8) -> Player:
    """A rolling buffer while a text goes through it; the slider is the number of tokens.

    tokens: 1 to 24 words; window: 1 to 12 slots. A real RollingCache of one small layer is
    stepped; its keys say which position they belong to. Raises ValueError for other sizes.

    >>> player = cache_player("a b c d e f".split(), window=4)
    >>> player.set(step=6)
    >>> player.words.split(". ")[0]
    'Step 6: f at 5 goes into slot 5 mod 4 = 1 and evicts b at 1'
    """
    _check(tokens, 24)
    if not 1 <= window <= 12:
        raise ValueError(f"window must be 1 to 12, not {window}")
    moments = _moments(len(tokens), window)

    def draw(step: int) -> tuple[str, str]:
        moment = moments[step]
        return slots_svg(moment, tokens), _told(step, moment, tokens)

    return Player("Rolling buffer cache", {"step": range(len(tokens) + 1)}, draw)


def _moments(n_tokens: int, window: int) -> list[Moment]:
    """The cache before the first token and after each, read back from a RollingCache."""
    config = replace(ONE_LAYER, window_size=window)
    cache = RollingCache(config, batch_size=1)
    one_token = cache.nbytes // window
    shape = (1, config.n_kv_heads, 1, config.head_dim)
    moments = [Moment([-1] * window, [False] * window, -1, -1, -1, cache.nbytes, 0, 0)]
    for i in range(n_tokens):
        before = cache.positions[0].tolist()
        plan = cache.begin(np.array([[i]]))
        key = np.full(shape, i, np.float32)
        k, _ = cache.extend(0, key, key, plan)
        cache.commit(plan)
        positions = cache.positions[0]
        slot = int(np.flatnonzero(positions == i)[0])
        assert k[0, 0, slot, 0] == i  # the key lies where its position says
        visible = window_mask([i], positions, window)[0].tolist()
        n_kept = int((positions >= 0).sum())
        moved = (n_kept - 1) * one_token if before[slot] >= 0 else 0
        bytes_now = cache.nbytes, (i + 1) * one_token, moved
        moments.append(Moment(positions.tolist(), visible, i, slot, before[slot], *bytes_now))
    return moments


def _told(step: int, moment: Moment, tokens: Sequence[str]) -> str:
    W = len(moment.positions)
    if step == 0:
        return f"Step 0: all {W} slots are empty; they take {moment.n_bytes:,} bytes already."
    i, slot, evicted = moment.newest, moment.slot, moment.evicted
    leaves = f" and evicts {tokens[evicted]} at {evicted}" if evicted >= 0 else ", which was empty"
    seen = sorted(p for p, on in zip(moment.positions, moment.visible, strict=True) if on)
    sees = f"positions {seen[0]} to {seen[-1]}" if len(seen) > 1 else f"position {seen[0]}"
    moved = f"{moment.moved:,} bytes" if moment.moved else "nothing"
    return (
        f"Step {step}: {tokens[i]} at {i} goes into slot {i} mod {W} = {slot}{leaves}. It sees"
        f" {sees}. This cache takes {moment.n_bytes:,} bytes, a growing one"
        f" {moment.growing_bytes:,}; one that shifts would have moved {moved}."
    )


def chunk_stepper(tokens: Sequence[str], window: int = 4) -> Player:
    """A prompt read in chunks, as in Figure 3; sliders for W, the size of a chunk and the step.

    tokens: 1 to 16 words; window: 1 to 6, where the sliders of W and chunk begin. The middle
    block is what a real RollingCache holds. A step behind the last chunk says that all is
    read. Raises ValueError for other sizes.
    """
    _check(tokens, 16)
    if not 1 <= window <= 6:
        raise ValueError(f"window must be 1 to 6, not {window}")
    n = len(tokens)
    views = {(W, size): _views(n, W, size) for W in range(1, 7) for size in range(1, n + 1)}

    def draw(W: int, chunk: int, step: int) -> tuple[str, str]:
        steps = views[W, chunk]
        view = steps[min(step, len(steps)) - 1]
        return chunk_svg(view, tokens), _said(W, step, len(steps) - 1, view)

    sliders = {"W": range(1, 7), "chunk": range(1, n + 1), "step": range(1, n + 2)}
    return Player("Prefill in chunks", sliders, draw, {"W": window, "chunk": min(window, n)})


def _views(n_tokens: int, window: int, size: int) -> list[ChunkView]:
    """What each chunk sees; the last view is the cache when all is read."""
    config = replace(ONE_LAYER, window_size=window)
    cache = RollingCache(config, batch_size=1)
    views = []
    for start in range(0, n_tokens, size):
        chunk = np.arange(start, min(start + size, n_tokens))
        held = sorted(p for p in cache.positions[0].tolist() if p >= 0)
        plan = cache.begin(chunk[None])
        mask = np.zeros((len(chunk), n_tokens), bool)
        seen = window_mask(chunk, plan.k_pos[0], window)
        for t, s in zip(*np.nonzero(seen), strict=True):
            mask[t, plan.k_pos[0, s]] = True
        views.append(ChunkView(chunk.tolist(), held, mask))
        zeros = np.zeros((1, config.n_kv_heads, len(chunk), config.head_dim), np.float32)
        cache.extend(0, zeros, zeros, plan)
        cache.commit(plan)
    held = sorted(p for p in cache.positions[0].tolist() if p >= 0)
    views.append(ChunkView([], held, np.zeros((0, n_tokens), bool)))
    return views


def _said(W: int, step: int, n_chunks: int, view: ChunkView) -> str:
    if not view.chunk:
        return (
            f"W = {W}: all tokens were read in {_many(n_chunks, 'chunk')}; the cache holds"
            f" {_span(view.held)}."
        )
    first = view.chunk[0]
    middle = int(view.mask[:, :first].sum())
    right = int(view.mask[:, first:].sum())
    computed = len(view.chunk) * (len(view.held) + len(view.chunk))
    return (
        f"W = {W}, chunk {step} of {n_chunks}: {_span(view.chunk)}."
        f" Left: {_many(first - len(view.held), 'token')} gone."
        f" Middle: {_many(len(view.held), 'key')} in the cache, {_many(middle, 'pair')} visible."
        f" Right: {_many(right, 'pair')} visible."
        f" As one rectangle: {computed} pairs, {middle + right} of them visible."
    )


def _many(n: int, word: str) -> str:
    return f"{n} {word}{'' if n == 1 else 's'}"


def _span(places: Sequence[int]) -> str:
    if len(places) == 1:
        return f"position {places[0]}"
    return f"positions {places[0]} to {places[-1]}"


def _check(tokens: Sequence[str], most: int) -> None:
    if not 1 <= len(tokens) <= most:
        raise ValueError(f"tokens must be 1 to {most} words, not {len(tokens)}")
