"""Which keys a query may see: the one rule of this project (paper section 2, Figure 1).

A key at position j is visible to a query at position i iff 0 <= i - j < W.
"""

import numpy as np

from minimistral._arguments import require_integers, require_window


def visible(q_pos, k_pos, window):
    """The rule itself, element by element. No other place states it.

    q_pos, k_pos: positions, any shapes that broadcast; -1 marks an empty cache slot.
    window: W >= 1, or None for full causal attention.

    A query at 5 with W = 3 sees the keys 3, 4 and 5:

    >>> [j for j in range(-1, 8) if visible(5, j, window=3)]
    [3, 4, 5]
    """
    distance = q_pos - k_pos
    seen = (k_pos >= 0) & (distance >= 0)
    return seen if window is None else seen & (distance < window)


def window_mask(q_pos, k_pos, window):
    """Mask from absolute positions: True where the query may see the key.

    q_pos (B, T), k_pos (B, S) integers -> bool (B, T, S); also (T,), (S,) -> (T, S).
    window: W >= 1, or None for full causal attention.
    Raises TypeError when positions are not integers, ValueError when shapes do not match
    or window is below 1.

    The order of the keys does not matter, so the slots of a rolling cache can be given
    as they lie. Slots that hold the positions 4, 5, 2 and 3, seen from position 5, W = 3:

    >>> window_mask([5], [4, 5, 2, 3], window=3).astype(int)
    array([[1, 1, 0, 1]])
    """
    window = require_window(window)
    q_pos, k_pos = as_positions("q_pos", q_pos), as_positions("k_pos", k_pos)
    if q_pos.shape[:-1] != k_pos.shape[:-1]:
        raise ValueError(
            f"q_pos and k_pos must have the same batch, not {q_pos.shape} and {k_pos.shape}"
        )
    return visible(q_pos[..., :, None], k_pos[..., None, :], window)


def window_blocks(q_pos, k_pos, window, block=128):
    """Cut the queries into blocks, each with only the keys that it may see.

    q_pos (B, T), k_pos (B, S) integers; in a row of q_pos each position is one more than the
    last, and -1 behind them is padding. block: queries in a block, 1 or more.
    Returns a list of (queries, keys, mask): a slice of T, a slice of S and the `window_mask`
    of that part. No query of the block sees a key outside its slice, so a prompt of T tokens
    costs T * (W + block) pairs and not T * T.

    Six tokens, W = 2, blocks of three: the second block starts at key 2.

    >>> positions = np.arange(6)[None]
    >>> for queries, keys, mask in window_blocks(positions, positions, window=2, block=3):
    ...     print(queries.start, queries.stop, keys.start, keys.stop, mask.shape)
    0 3 0 3 (1, 3, 3)
    3 6 2 6 (1, 3, 4)
    """
    T = q_pos.shape[1]
    blocks = []
    for start in range(0, T, block):
        queries = slice(start, min(start + block, T))
        own = q_pos[:, queries]
        # If any query of the block sees a key, then the one nearest to the key does.
        nearest = k_pos.clip(own[:, :1], own.max(axis=1, keepdims=True))
        (near,) = np.nonzero(visible(nearest, k_pos, window).any(axis=0))
        keys = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 1)
        blocks.append((queries, keys, window_mask(own, k_pos[:, keys], window)))
    return blocks


def as_positions(name, values):
    """Positions as int64, so that a difference can be negative."""
    values = np.asarray(values)
    require_integers(name, values)
    if values.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (T,) or (B, T), not {values.shape}")
    return values.astype(np.int64)
