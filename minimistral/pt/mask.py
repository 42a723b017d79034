"""Which keys a query may see: the one rule of this project (paper section 2, Figure 1).

A key at position j is visible to a query at position i iff 0 <= i - j < W.
"""

import torch
from torch.nn.attention.flex_attention import create_block_mask

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


def window_mask(q_pos, k_pos, window, *, block_sparse=False):
    """Mask from absolute positions: True where the query may see the key.

    q_pos (B, T), k_pos (B, S) integers -> bool (B, T, S); also (T,), (S,) -> (T, S).
    window: W >= 1, or None for full causal attention.
    block_sparse: return FlexAttention's BlockMask instead, made from the same rule. It lists
    the blocks of 128 x 128 that hold a visible pair, so that `attend` can skip the others.
    Raises TypeError when positions are not integers, ValueError when shapes do not match
    or window is below 1.

    The order of the keys does not matter, so the slots of a rolling cache can be given
    as they lie. Slots that hold the positions 4, 5, 2 and 3, seen from position 5, W = 3:

    >>> window_mask([5], [4, 5, 2, 3], window=3).int()
    tensor([[1, 1, 0, 1]], dtype=torch.int32)
    """
    window = require_window(window)
    q_pos, k_pos = as_positions("q_pos", q_pos), as_positions("k_pos", k_pos)
    if q_pos.shape[:-1] != k_pos.shape[:-1]:
        raise ValueError(
            "q_pos and k_pos must have the same batch,"
            f" not {tuple(q_pos.shape)} and {tuple(k_pos.shape)}"
        )
    if block_sparse:
        return _block_mask(q_pos, k_pos, window)
    return visible(q_pos[..., :, None], k_pos[..., None, :], window)


def window_blocks(q_pos, k_pos, window, block=128, *, device=None, block_sparse=False):
    """Cut the queries into blocks, each with only the keys that it may see.

    q_pos (B, T), k_pos (B, S) integers; in a row of q_pos each position is one more than the
    last, and -1 behind them is padding. block: queries in a block, 1 or more.
    Returns a list of (queries, keys, mask): a slice of T, a slice of S and the `window_mask`
    of that part. No query of the block sees a key outside its slice, so a prompt of T tokens
    costs T * (W + block) pairs and not T * T.

    device: where the masks go. Slices are plain numbers, so positions are best on the CPU.
    block_sparse: one block of all queries, with the block-sparse mask of `window_mask`.

    Six tokens, W = 2, blocks of three: the second block starts at key 2.

    >>> positions = torch.arange(6)[None]
    >>> for queries, keys, mask in window_blocks(positions, positions, window=2, block=3):
    ...     print(queries.start, queries.stop, keys.start, keys.stop, mask.shape)
    0 3 0 3 torch.Size([1, 3, 3])
    3 6 2 6 torch.Size([1, 3, 4])
    """
    T, S = q_pos.shape[1], k_pos.shape[1]
    if block_sparse:
        everywhere = q_pos.to(device), k_pos.to(device)
        mask = window_mask(*everywhere, window, block_sparse=True)
        return [(slice(0, T), slice(0, S), mask)]
    blocks = []
    for start in range(0, T, block):
        queries = slice(start, min(start + block, T))
        own = q_pos[:, queries]
        # If any query of the block sees a key, then the one nearest to the key does.
        nearest = k_pos.clip(own[:, :1], own.amax(dim=1, keepdim=True))
        (near,) = torch.nonzero(visible(nearest, k_pos, window).any(dim=0), as_tuple=True)
        keys = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 1)
        blocks.append(
            (queries, keys, window_mask(own.to(device), k_pos[:, keys].to(device), window))
        )
    return blocks


def _block_mask(q_pos, k_pos, window):
    """The same rule, asked for one pair at a time by FlexAttention."""
    q_pos, k_pos = torch.atleast_2d(q_pos), torch.atleast_2d(k_pos)

    def rule(b, _head, q_index, k_index):
        return visible(q_pos[b, q_index], k_pos[b, k_index], window)

    (B, T), S = q_pos.shape, k_pos.shape[1]
    return create_block_mask(rule, B, None, T, S, device=q_pos.device)


def as_tensor(values, device=None):
    """`values` as a tensor, on `device`; without one, what is a tensor stays where it is."""
    if isinstance(values, torch.Tensor):
        return values.to(device)
    strides, flags = getattr(values, "strides", ()), getattr(values, "flags", None)
    if flags is not None and (not flags.writeable or min(strides, default=0) < 0):
        values = values.copy()  # torch shares no array that is read-only or runs backwards
    return torch.as_tensor(values, device=device)


def as_positions(name, values):
    """Positions as int64, so that a difference can be negative."""
    values = as_tensor(values)
    require_integers(name, values)
    if values.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (T,) or (B, T), not {tuple(values.shape)}")
    return values.long()
