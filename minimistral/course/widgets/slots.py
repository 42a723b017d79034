"""The player of lesson 06: a rolling buffer cache, token by token."""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from minimistral.config import ModelConfig
from minimistral.course.draw import SlotView, rolling_svg
from minimistral.course.widgets.player import Player
from minimistral.np import RollingCache, window_mask


def cache_player(tokens: Sequence[str], window: int = 8) -> Player:
    """A rolling buffer while a text goes through it; the slider is the number of tokens.

    tokens: 1 to 40 words; window: 1 to 12 slots. A real RollingCache of one small layer is
    stepped, and its slots, keys and bytes are read back. Raises ValueError for other sizes.

    >>> player = cache_player("a b c d e f".split(), window=4)
    >>> player.set(step=6)
    >>> player.words.split(". ")[0]
    'Step 6: "f" at position 5 goes into slot 5 mod 4 = 1 and evicts "b" at 1; it sees 4 tokens, \
positions 2 to 5'
    """
    if not 1 <= len(tokens) <= 40:
        raise ValueError(f"tokens must be 1 to 40 words, not {len(tokens)}")
    if not 1 <= window <= 12:
        raise ValueError(f"window must be 1 to 12, not {window}")
    views = _views(len(tokens), window)

    def draw(step: int) -> tuple[str, str]:
        return rolling_svg(views[step], tokens), _words(step, views[step], tokens)

    return Player("Rolling buffer cache", {"step": range(len(tokens) + 1)}, draw)


def _views(n_tokens: int, window: int) -> list[SlotView]:
    """The cache before the first token and after each of them."""
    config = replace(ModelConfig.tiny(), window_size=window, n_layers=1)
    cache = RollingCache(config, batch_size=1)
    none = [-1] * window
    views = [SlotView(none, none, [False] * window, -1, -1, -1, cache.nbytes, 0, 0, 0)]
    return views + [_step(cache, i) for i in range(n_tokens)]


def _step(cache: RollingCache, i: int) -> SlotView:
    """Put token i into the cache and read it back. Its key and value are all i + 1."""
    before, k, v = cache.positions[0].copy(), cache.k.copy(), cache.v.copy()
    config, window = cache.config, cache.n_slots
    token = np.full((1, config.n_kv_heads, 1, config.head_dim), i + 1, cache.k.dtype)
    plan = cache.plan(np.array([[i]]))
    cache.update(0, token, token, plan)
    cache.commit(plan)
    positions, marks = cache.positions[0], cache.k[0, 0, 0, :, 0].astype(int) - 1
    slot = int(np.flatnonzero(positions == i)[0])
    one, evicted = cache.nbytes // window, int(before[slot])
    changed = (cache.k != k).sum() + (cache.v != v).sum()
    return SlotView(
        marks=marks.tolist(),
        positions=positions.tolist(),
        visible=window_mask([i], positions, window)[0].tolist(),
        newest=i,
        slot=slot,
        evicted=evicted,
        n_bytes=cache.nbytes,
        growing=(i + 1) * one,
        wrote=int(changed) * cache.k.itemsize,
        moved=(window - 1) * one if evicted >= 0 else 0,
    )


def _words(step: int, view: SlotView, tokens: Sequence[str]) -> str:
    n_slots, i = len(view.positions), view.newest
    if step == 0:
        return (
            f"Step 0: {'the only slot is' if n_slots == 1 else f'all {n_slots} slots are'} empty."
        )
    old = f' and evicts "{tokens[view.evicted]}" at {view.evicted}' if view.evicted >= 0 else ""
    seen = sorted(j for j, on in zip(view.positions, view.visible, strict=True) if on)
    sees = f"{len(seen)} tokens, positions {seen[0]} to {seen[-1]}"
    sees = sees if len(seen) > 1 else f"1 token, position {seen[0]}"
    moves = f"move {view.moved:,} bytes" if view.moved else "move nothing"
    return (
        f'Step {step}: "{tokens[i]}" at position {i} goes into slot {i} mod {n_slots} = {view.slot}'
        f"{old or ', which was empty'}; it sees {sees}. In one layer of the tiny config, in"
        f" float32, the buffer takes {view.n_bytes:,} bytes, a growing cache {view.growing:,};"
        f" this step writes {view.wrote:,} and moves none, a shifting buffer would also {moves}."
    )
