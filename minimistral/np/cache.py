"""The rolling buffer cache: keys and values of the last W tokens (paper section 2, Figure 2)."""

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from minimistral._arguments import require_count, require_dtype
from minimistral.config import require_config
from minimistral.np.rewind import one_row, rewind, take
from minimistral.rule import slot_of, visible

DTYPES = ("float16", "float32", "float64")


@dataclass
class Plan:
    """Where one chunk of tokens goes. The chunk is (B, T); n of its tokens are kept."""

    k_pos: Any  # (B, S): positions of the keys that the chunk attends over, -1 for none
    rows: Any = None  # (n,): the row of the batch of each token that is kept,
    tokens: Any = None  # (n,): its place in the chunk,
    slots: Any = None  # (n,): and the slot that it goes into
    positions_after: Any = None  # (B, W): what the slots hold once the chunk is committed,
    seen_after: Any = None  # (B,): and how many tokens went through
    write_first: bool = False  # whether the chunk may be written before it attends
    waiting: list = field(default_factory=list)  # (layer, keys, values) that commit has to write


class RollingCache:
    """Keys and values of the last W tokens of each row of a batch.

    config: a ModelConfig. batch_size: rows. dtype: of keys and values, as the model's.
    max_tokens: the most tokens that a row will ever hold. It is needed when the window is
    None; with a window it only makes a smaller cache when it is below W. spare: slots beyond
    the window, so that `rewind` can take back any spare + 1 tokens. W below stands for the
    number of slots, `n_slots`.

    k, v (L, B, G, W, D), keys already rotated; positions (B, W): the position that each slot
    holds, -1 when empty; seen (B,): tokens of each row so far; nbytes: bytes of k and v.
    All memory is taken once, here. Raises TypeError or ValueError for bad arguments.

    A window of 4 after 6 tokens: positions 4 and 5 lie where 0 and 1 were.

    >>> from dataclasses import replace
    >>> from minimistral import ModelConfig
    >>> cache = RollingCache(replace(ModelConfig.tiny(), window_size=4), batch_size=1)
    >>> cache.commit(cache.plan(np.arange(6)[None]))
    >>> cache.positions, cache.seen
    (array([[4, 5, 2, 3]]), array([6]))
    """

    def __init__(self, config, batch_size, max_tokens=None, *, spare=0, dtype="float32"):
        config = require_config(config)
        dtype = require_dtype(dtype, DTYPES)
        B, window = require_count("batch_size", batch_size), config.window_size
        if max_tokens is None and window is None:
            raise ValueError("max_tokens must be given, because the model's window is None")
        room = require_count("max_tokens", window if max_tokens is None else max_tokens)
        spare = require_count("spare", spare, minimum=0)
        config.require_cache_size(dtype, B, spare=spare, max_tokens=room)
        self.config, self.spare = config, spare
        self.rolls = window is not None and room >= window  # else it is full after n_slots tokens
        self.n_slots = window + spare if self.rolls else room
        shape = (config.n_layers, B, config.n_kv_heads, self.n_slots, config.head_dim)
        self.k, self.v = np.zeros(shape, dtype), np.zeros(shape, dtype)
        self.positions, self.seen = np.full((B, self.n_slots), -1), np.zeros(B, int)

    def __repr__(self):
        shape, dtype = tuple(self.k.shape), self.k.dtype
        return f"RollingCache(k and v {shape} {dtype}, seen {self.seen.tolist()})"

    @property
    def batch_size(self):
        return len(self.positions)

    @property
    def nbytes(self):
        """Bytes of keys and values: 2 * L * B * G * W * D values."""
        return self.k.nbytes + self.v.nbytes

    def reset(self):
        """Forget everything. Old values go too, because 0 times infinity would be NaN."""
        self.positions[:], self.seen[:] = -1, 0
        self.k[:] = 0
        self.v[:] = 0

    def require_room(self, lengths):
        """Raise ValueError when some row cannot take that many more tokens. lengths (B,)."""
        for row, (seen, more) in enumerate(zip(self.seen, lengths, strict=True)):
            if not self.rolls and seen + more > self.n_slots:
                raise ValueError(
                    f"cache is full: row {row} holds {seen} of max_tokens = {self.n_slots}"
                    f" and cannot take {more} more"
                )

    def plan(self, positions):
        """Plan where a chunk goes; nothing changes yet.

        positions (B, T), rising by one in each row, -1 behind them is padding -> a Plan for
        `update` and `commit`. Raises ValueError when there is no room.
        """
        if not self.rolls:
            self.require_room((positions >= 0).sum(axis=1))
        last = positions.max(axis=1, keepdims=True)
        # Of a chunk longer than W only what its last token sees is kept: one token a slot.
        rows, tokens = np.nonzero(visible(last, positions, self.n_slots))
        kept = positions[rows, tokens]
        slots = slot_of(kept, self.n_slots)
        after = self.positions.copy()
        after[rows, slots] = kept
        # Writing evicts keys that the first tokens of a chunk still see, so it comes last,
        # unless nothing in sight is evicted: there is room, or one token and no more than the
        # spare slots take besides.
        write_first = positions.shape[1] <= self.spare + 1 or bool((last < self.n_slots).all())
        k_pos = after if write_first else np.concatenate([self.positions, positions], axis=1)
        seen = np.maximum(self.seen, last[:, 0] + 1)
        return Plan(k_pos, rows, tokens, slots, after, seen, write_first)

    def update(self, layer, k, v, plan):
        """Take in the chunk's keys and values in one layer; what it attends over comes back.

        k, v (B, G, T, D) of the chunk -> k, v (B, G, S, D), at the positions plan.k_pos.
        """
        new_k, new_v = k[plan.rows, :, plan.tokens], v[plan.rows, :, plan.tokens]
        if plan.write_first:
            if layer == 0:  # from now on these slots do not hold what they held
                self.positions[self.positions != plan.positions_after] = -1
            self.k[layer][plan.rows, :, plan.slots] = new_k
            self.v[layer][plan.rows, :, plan.slots] = new_v
            return self.k[layer], self.v[layer]
        plan.waiting.append((layer, new_k, new_v))
        k = np.concatenate([self.k[layer], k], axis=2)
        v = np.concatenate([self.v[layer], v], axis=2)
        return k, v

    def commit(self, plan):
        """Make the chunk part of the cache, when every layer is done.

        Until then an error or an interruption loses nothing that the next token sees, because
        what `update` wrote lies in slots that are empty or hidden from it.
        """
        interrupted = None
        for _ in range(2):
            try:
                for layer, new_k, new_v in plan.waiting:
                    self.k[layer][plan.rows, :, plan.slots] = new_k
                    self.v[layer][plan.rows, :, plan.slots] = new_v
                self.positions[:] = plan.positions_after
                self.seen[:] = plan.seen_after
                break
            except BaseException as error:  # Ctrl-C: half a chunk is worse than all of it, so
                interrupted = error  # the same values go to the same slots once more
        if interrupted is not None:
            raise interrupted

    one_row, rewind, take = one_row, rewind, take


class NoCache:
    """Stands in where there is no cache: a chunk attends over itself alone, and is not kept."""

    def __init__(self, batch_size):
        self.seen = np.zeros(batch_size, int)

    def plan(self, positions):
        return Plan(positions)

    def update(self, layer, k, v, plan):
        return k, v

    def commit(self, plan):
        pass
