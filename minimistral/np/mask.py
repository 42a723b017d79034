"""Masks, made from absolute positions by the one rule in rule.py (paper section 2, Figure 1)."""

import numpy as np

from minimistral.rule import visible


def window_mask(q_pos, k_pos, window):
    """Mask from absolute positions: True where the query may see the key.

    q_pos (B, T), k_pos (B, S) integers -> bool (B, T, S); also (T,), (S,) -> (T, S).
    window: W >= 1, or None for full causal attention.

    The order of the keys does not matter, so the slots of a rolling cache can be given
    as they lie. Slots that hold the positions 4, 5, 2 and 3, seen from position 5, W = 3:

    >>> window_mask(np.array([5]), np.array([4, 5, 2, 3]), window=3).astype(int)
    array([[1, 1, 0, 1]])
    """
    return visible(q_pos[..., :, None], k_pos[..., None, :], window)


def query_blocks(q_pos, k_pos, window, size=128):
    """Cut the queries into blocks, each with only the keys that it may see.

    q_pos (B, T), k_pos (B, S) integers; in a row of q_pos each position is one more than the
    last, and -1 behind them is padding. size: queries in a block, 1 or more.
    Returns a list of (queries, keys, mask): a slice of T, a slice of S and the `window_mask`
    of that part. No query of the block sees a key outside its slice, so a prompt of T tokens
    costs T * (W + size) pairs and not T * T.

    Six tokens, W = 2, blocks of three: the second block starts at key 2.

    >>> positions = np.arange(6)[None]
    >>> for queries, keys, mask in query_blocks(positions, positions, window=2, size=3):
    ...     print(queries.start, queries.stop, keys.start, keys.stop, mask.shape)
    0 3 0 3 (1, 3, 3)
    3 6 2 6 (1, 3, 4)
    """
    T = q_pos.shape[1]
    blocks = []
    for start in range(0, T, size):
        queries = slice(start, min(start + size, T))
        own = q_pos[:, queries]
        # If any query of the block sees a key, then the one nearest to the key does.
        nearest = k_pos.clip(own[:, :1], own.max(axis=1, keepdims=True))
        (near,) = np.nonzero(visible(nearest, k_pos, window).any(axis=0))
        keys = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 1)
        blocks.append((queries, keys, window_mask(own, k_pos[:, keys], window)))
    return blocks
