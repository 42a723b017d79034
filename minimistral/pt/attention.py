"""Attention with grouped key/value heads (paper section 2; GQA after Ainslie et al. 2023)."""

import functools

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

from minimistral._arguments import require_heads, require_mask, require_shape
from minimistral.pt.mask import as_tensor


def attend(q, k, v, mask):
    """Each query's weighted average of the values it may see.

    q (B, H, T, D), k and v (B, G, S, D), mask bool (B, T, S) or (T, S) -> (B, H, T, D).
    Query head h reads key/value head h // (H / G). A query that sees nothing gets zeros.
    mask may also be a block-sparse mask from `window_mask`: then whole blocks that nobody
    sees are never computed (FlexAttention, compiled at the first call).
    Raises TypeError or ValueError, naming the argument, when dtypes or shapes do not fit.

    One head, one query, two keys. Only the first is visible, so its value comes back:

    >>> q, k = torch.ones(1, 1, 1, 2), torch.ones(1, 1, 2, 2)
    >>> v = torch.tensor([[[[1.0, 2.0], [7.0, 7.0]]]])
    >>> attend(q, k, v, torch.tensor([[True, False]]))
    tensor([[[[1., 2.]]]])
    """
    q, k, v = as_tensor(q), as_tensor(k), as_tensor(v)
    require_heads(q, k, v)
    B, T, S = q.shape[0], q.shape[2], k.shape[2]
    if isinstance(mask, BlockMask):
        require_shape("mask", mask, (B, 1, T, S), (1, 1, T, S))
        return weigh_fused(q, k, v, mask)
    mask = as_tensor(mask)
    require_mask(mask, (B, T, S), (T, S))
    return weigh(q, k, v, torch.broadcast_to(mask, (B, T, S)))


def weigh(q, k, v, mask):
    """`attend` without its checks; mask (B, T, S)."""
    (B, H, T, D), (_, G, S, _) = q.shape, k.shape
    # The g = H / G query heads of a group lie next to each other, so one matrix product
    # serves them all and no key is copied: (B, G, g * T, D) @ (B, G, D, S).
    scores = q.reshape(B, G, -1, D) @ k.swapaxes(-1, -2) * D**-0.5
    weights = masked_softmax(scores.reshape(B, G, H // G, T, S), mask[:, None, None])
    return (weights.reshape(B, G, -1, S) @ v).reshape(B, H, T, D)


def weigh_fused(q, k, v, mask):
    """`weigh` by torch's own kernels, as the model calls it: no score reaches memory."""
    if isinstance(mask, BlockMask):
        return _compiled_flex(q.device.type)(q, k, v, block_mask=mask, enable_gqa=True)
    if q.shape[2] == 1:  # the g heads of a group become g queries, which see the same
        grouped = q.reshape(*k.shape[:2], -1, q.shape[3])
        return scaled_dot_product_attention(grouped, k, v, mask[:, None]).reshape(q.shape)
    return scaled_dot_product_attention(q, k, v, mask[:, None], enable_gqa=True)


def attend_blocks(q, k, v, blocks):
    """`attend`, one block of queries after the other, each with the keys in its reach.

    q (B, H, T, D), k and v (B, G, S, D), blocks from `window_blocks` -> (B, H, T, D).
    """
    parts = [
        weigh_fused(q[:, :, queries], k[:, :, keys], v[:, :, keys], mask)
        for queries, keys, mask in blocks
    ]
    return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)


def masked_softmax(scores, mask):
    """Softmax over the last axis where mask is True, 0 elsewhere.

    scores (..., S), mask bool, broadcast to scores -> weights (..., S). A row that sees
    nothing is all zeros, not 0 / 0.

    >>> masked_softmax(torch.tensor([1.0, 1.0, 9.0]), torch.tensor([True, True, False]))
    tensor([0.5000, 0.5000, 0.0000])
    """
    dtype = scores.dtype
    if dtype.itemsize < 4:  # half precision is too coarse for a sum over many keys
        scores = scores.float()
    scores = torch.where(mask, scores, -torch.inf)
    # Softmax does not change when a constant is taken off; with the largest, exp cannot overflow.
    # In a row that sees nothing it is kept above -inf, for -inf less -inf is no number.
    top = scores.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(scores.dtype).min)
    weights = torch.exp(scores - top)
    # The largest score gives 1, so the sum is 1 at least, but for a row that sees nothing.
    total = weights.sum(dim=-1, keepdim=True).clamp(min=1)
    return (weights / total).to(dtype)


@functools.cache
def _compiled_flex(device_type):
    """FlexAttention only skips blocks when it is compiled."""
    # On a CPU torch 2.13 writes a program for changing windows that no compiler takes: there
    # each window and shape gets its own.
    return compiled(flex_attention, dynamic=None if device_type == "cuda" else False)


def compiled(function, **settings):
    """torch.compile, for as many shapes and models as one process may meet."""
    config = torch._dynamo.config  # torch gives up after 8, and then is slow, or fails
    config.recompile_limit = max(config.recompile_limit, 64)
    return torch.compile(function, **settings)
