"""The rolling buffer cache: keys and values of the last W tokens (paper section 2, Figure 2)."""

from types import SimpleNamespace

import numpy as np

from minimistral._arguments import require_count, require_dtype
from minimistral.config import require_config
from minimistral.np.mask import visible

DTYPES = ("float16", "float32", "float64")


def slot_of(position, n_slots):
    """The slot that holds a position: i mod W. No other place states it.

    >>> [slot_of(i, 4) for i in range(6)]
    [0, 1, 2, 3, 0, 1]
    """
    return position % n_slots


class RollingCache:
    """Keys and values of the last W tokens of each row of a batch.

    config: a ModelConfig. batch_size: rows. dtype: of keys and values, as the model's.
    max_tokens: the most tokens that a row will ever hold. It is needed when the window is
    None; with a window it only makes a smaller cache when it is below W. W below stands for
    the number of slots, `n_slots`.

    k, v (L, B, G, W, D), keys already rotated; positions (B, W): the position that each slot
    holds, -1 when empty; seen (B,): tokens of each row so far; nbytes: bytes of k and v.
    All memory is taken once, here. Raises TypeError or ValueError for bad arguments.

    A window of 4 after 6 tokens: positions 4 and 5 lie where 0 and 1 were.

    >>> from dataclasses import replace
    >>> from minimistral import ModelConfig
    >>> cache = RollingCache(replace(ModelConfig.tiny(), window_size=4), batch_size=1)
    >>> cache.commit(cache.begin(np.arange(6)[None]))
    >>> cache.positions, cache.seen
    (array([[4, 5, 2, 3]]), array([6]))
    """

    def __init__(self, config, batch_size, max_tokens=None, *, dtype="float32"):
        config = require_config(config)
        dtype = require_dtype(dtype, DTYPES)
        B, window = require_count("batch_size", batch_size), config.window_size
        if max_tokens is None and window is None:
            raise ValueError("max_tokens must be given, for the model's window is None")
        room = require_count("max_tokens", window if max_tokens is None else max_tokens)
        self.config = config
        self.n_slots = room if window is None else min(room, window)
        self.rolls = self.n_slots == window  # otherwise it is full after n_slots tokens
        shape = (config.n_layers, B, config.n_kv_heads, self.n_slots, config.head_dim)
        self.k, self.v = np.zeros(shape, dtype), np.zeros(shape, dtype)
        self.positions = np.full((B, self.n_slots), -1)

    def __repr__(self):
        shape, dtype = tuple(self.k.shape), self.k.dtype
        return f"RollingCache(k and v {shape} {dtype}, seen {self.seen.tolist()})"

    @property
    def batch_size(self):
        return len(self.positions)

    @property
    def seen(self):
        """Tokens of each row so far, (B,)."""
        return self.positions.max(axis=1) + 1

    @property
    def nbytes(self):
        """Bytes of keys and values: batch_size * config.cache_bytes(n_slots, dtype)."""
        return self.k.nbytes + self.v.nbytes

    def reset(self):
        """Forget everything. Old values go too: 0 times an infinity would be no number."""
        self.positions[:] = -1
        self.k[:] = 0
        self.v[:] = 0

    def require_room(self, lengths):
        """Raise ValueError when some row cannot take that many tokens more. lengths (B,)."""
        for row, (seen, more) in enumerate(zip(self.seen, lengths, strict=True)):
            if not self.rolls and seen + more > self.n_slots:
                raise ValueError(
                    f"cache is full: row {row} holds {seen} of max_tokens = {self.n_slots}"
                    f" and cannot take {more} more"
                )

    def begin(self, positions):
        """Plan where a chunk goes; nothing changes yet.

        positions (B, T), rising by one in each row, -1 behind them is padding -> a plan for
        `extend` and `commit`; plan.k_pos (B, S) are the positions of the keys that `extend`
        returns. Raises ValueError when there is no room.
        """
        self.require_room((positions >= 0).sum(axis=1))
        last = positions.max(axis=1, keepdims=True)
        # Of a chunk longer than W only what its last token sees is kept: one token a slot.
        rows, tokens = np.nonzero(visible(last, positions, self.n_slots))
        slots = slot_of(positions[rows, tokens], self.n_slots)
        after = self.positions.copy()
        after[rows, slots] = positions[rows, tokens]
        # Writing evicts keys which the first tokens of a chunk still see. So it comes last,
        # unless nothing in sight is evicted: there is room, or the chunk is one token.
        write_first = positions.shape[1] == 1 or bool((last < self.n_slots).all())
        k_pos = after if write_first else np.concatenate([self.positions, positions], axis=1)
        return SimpleNamespace(
            rows=rows, tokens=tokens, slots=slots, after=after,
            k_pos=k_pos, write_first=write_first, waiting=[],
        )  # fmt: skip

    def extend(self, layer, k, v, plan):
        """The keys and values that a chunk attends over in one layer.

        k, v (B, G, T, D) of the chunk -> k, v (B, G, S, D), at the positions plan.k_pos.
        """
        new_k, new_v = k[plan.rows, :, plan.tokens], v[plan.rows, :, plan.tokens]
        if plan.write_first:
            self._write(layer, new_k, new_v, plan)
            return self.k[layer], self.v[layer]
        plan.waiting.append((layer, new_k, new_v))
        k = np.concatenate([self.k[layer], k], axis=2)
        v = np.concatenate([self.v[layer], v], axis=2)
        return k, v

    def commit(self, plan):
        """Make the chunk part of the cache, when every layer is done.

        Up to here an error or an interruption leaves the cache as it was: what `extend` wrote
        lies in slots that are empty or that the next token does not see.
        """
        try:
            self._finish(plan)
        except BaseException:  # Ctrl-C between two lines: half a chunk is worse than all of it
            self._finish(plan)  # the same values to the same slots
            raise

    def _finish(self, plan):
        for layer, new_k, new_v in plan.waiting:
            self._write(layer, new_k, new_v, plan)
        self.positions[:] = plan.after

    def _write(self, layer, new_k, new_v, plan):
        self.k[layer][plan.rows, :, plan.slots] = new_k
        self.v[layer][plan.rows, :, plan.slots] = new_v
