"""Masks, made from absolute positions by the one rule in rule.py (paper section 2, Figure 1)."""

import torch
from torch.nn.attention.flex_attention import BlockMask

from minimistral.rule import visible

BLOCK = 128  # queries, and keys, of one of FlexAttention's blocks
PAIRS = 2**24  # of a query and a key, looked at together


def window_mask(q_pos, k_pos, window, block_sparse=False):
    """Mask from absolute positions: True where the query may see the key.

    q_pos (B, T), k_pos (B, S) integers -> bool (B, T, S); also (T,), (S,) -> (T, S).
    window: W >= 1, or None for full causal attention.
    block_sparse: return FlexAttention's BlockMask instead, made from the same rule. It lists
    the blocks of 128 x 128 that hold a visible pair, so that `attend` can skip the others.

    The order of the keys does not matter, so the slots of a rolling cache can be given
    as they lie. Slots that hold the positions 4, 5, 2 and 3, seen from position 5, W = 3:

    >>> window_mask(torch.tensor([5]), torch.tensor([4, 5, 2, 3]), window=3).int()
    tensor([[1, 1, 0, 1]], dtype=torch.int32)
    """
    if block_sparse:
        return _block_mask(q_pos, k_pos, window)
    return visible(q_pos[..., :, None], k_pos[..., None, :], window)


def query_blocks(q_pos, k_pos, window, size=128, *, device=None):
    """Cut the queries into blocks, each with only the keys that it may see.

    q_pos (B, T), k_pos (B, S) integers; in a row of q_pos each position is one more than the
    last, and -1 behind them is padding. size: queries in a block, 1 or more.
    Returns a list of (queries, keys, mask): a slice of T, a slice of S and the `window_mask`
    of that part. No query of the block sees a key outside its slice, so a prompt of T tokens
    costs T * (W + size) pairs and not T * T.

    device: where the masks go. Slices are plain numbers, so positions are best on the CPU.

    Six tokens, W = 2, blocks of three: the second block starts at key 2.

    >>> positions = torch.arange(6)[None]
    >>> for queries, keys, mask in query_blocks(positions, positions, window=2, size=3):
    ...     print(queries.start, queries.stop, keys.start, keys.stop, mask.shape)
    0 3 0 3 torch.Size([1, 3, 3])
    3 6 2 6 torch.Size([1, 3, 4])
    """
    T = q_pos.shape[1]
    blocks = []
    for start in range(0, T, size):
        queries = slice(start, min(start + size, T))
        own = q_pos[:, queries]
        # If any query of the block sees a key, then the one nearest to the key does.
        nearest = k_pos.clip(own[:, :1], own.amax(dim=1, keepdim=True))
        (near,) = torch.nonzero(visible(nearest, k_pos, window).any(dim=0), as_tuple=True)
        keys = slice(int(near[0]), int(near[-1]) + 1) if len(near) else slice(0, 1)
        mask = window_mask(own.to(device), k_pos[:, keys].to(device), window)
        blocks.append((queries, keys, mask))
    return blocks


def _block_mask(q_pos, k_pos, window):
    """The same rule in blocks of 128 x 128: those that hold a visible pair, and the full ones."""
    q_pos, k_pos = torch.atleast_2d(q_pos), torch.atleast_2d(k_pos)

    def rule(b, _head, q_index, k_index):
        return visible(q_pos[b, q_index], k_pos[b, k_index], window)

    (B, T), S = q_pos.shape, k_pos.shape[1]
    n_blocks = -(-S // BLOCK)
    size = max(1, PAIRS // (B * n_blocks * BLOCK**2)) * BLOCK
    parts = []
    for start in range(0, T, size):  # all pairs at once would take 8 bytes each
        mask = window_mask(q_pos[:, start : start + size], k_pos, window)
        right, below = n_blocks * BLOCK - S, -mask.shape[1] % BLOCK
        mask = torch.nn.functional.pad(mask, (0, right, 0, below))
        mask = mask.reshape(B, 1, -1, BLOCK, n_blocks, BLOCK).swapaxes(3, 4).flatten(-2)
        parts.append(torch.stack([mask.any(dim=-1), mask.all(dim=-1)]))
    some, full = torch.cat(parts, dim=3)
    (n_some, where_some), (n_full, where_full) = _block_list(some & ~full), _block_list(full)
    return BlockMask.from_kv_blocks(
        n_some, where_some, n_full, where_full, BLOCK, rule, seq_lengths=(T, S)
    )


def _block_list(blocks):
    """bool (B, 1, queries, keys) -> for each block of queries, how many, and their numbers."""
    order = torch.argsort(blocks.int(), dim=-1, descending=True, stable=True)
    return blocks.sum(dim=-1, dtype=torch.int32), order.int()
