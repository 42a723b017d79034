"""Attention with grouped key/value heads (paper section 2; GQA after Ainslie et al. 2023)."""

import functools

import torch
from torch.nn.attention.flex_attention import BlockMask, flex_attention
from torch.nn.functional import scaled_dot_product_attention

# Where the heads of a group become queries of one head, whose mask is then copied for each: a GPU's
# fast kernels take either a mask or grouped heads.
GROUPED = ("cuda",)


def attend(q, k, v, mask):
    """Each query's weighted average of the values it may see.

    q (B, H, T, D), k and v (B, G, S, D), mask bool (B, T, S) -> (B, H, T, D).
    Query head h reads key/value head h // (H / G). A query that sees nothing gets zeros.
    mask may also be the list of `query_blocks`: then each block of queries is compared with
    the keys in its reach alone.
    Or it is a block-sparse mask from `window_mask`: then FlexAttention, compiled at the first
    call, never computes blocks that no query sees. torch's kernels keep the scores out of memory.

    One head, one query, two keys. Only the first is visible, so its value comes back:

    >>> q, k = torch.ones(1, 1, 1, 2), torch.ones(1, 1, 2, 2)
    >>> v = torch.tensor([[[[1.0, 2.0], [7.0, 7.0]]]])
    >>> attend(q, k, v, torch.tensor([[[True, False]]]))
    tensor([[[[1., 2.]]]])
    """
    if isinstance(mask, list):
        parts = [attend(q[:, :, i], k[:, :, j], v[:, :, j], part) for i, j, part in mask]
        return parts[0] if len(parts) == 1 else torch.cat(parts, dim=2)
    if isinstance(mask, BlockMask):
        flex = flex_attention if torch.compiler.is_compiling() else _compiled_flex(q.device.type)
        return flex(q, k, v, block_mask=mask, enable_gqa=True, kernel_options=flex_options(q))
    if q.shape[2] > 1 and q.device.type not in GROUPED:
        return scaled_dot_product_attention(q, k, v, mask[:, None], enable_gqa=True)
    grouped = q.reshape(*k.shape[:2], -1, q.shape[3])  # (B, G, H / G * T, D)
    if q.shape[2] > 1:
        mask = mask.repeat(1, grouped.shape[2] // q.shape[2], 1)
    out = scaled_dot_product_attention(grouped, k, v, mask[:, None])
    if q.is_cuda:  # its kernels leave what they like where a query sees nothing
        out = torch.where(mask[:, None].any(dim=-1, keepdim=True), out, 0)
    return out.reshape(q.shape)


def flex_options(q):
    """Below 128 queries torch 2.13 takes a kernel for decoding, and finds none for every number."""
    return {"FORCE_USE_FLEX_ATTENTION": True} if q.is_cuda and q.shape[2] < 128 else None


@functools.cache
def _compiled_flex(device_type):
    """FlexAttention only skips blocks when it is compiled."""
    # On a CPU torch 2.13 writes a program for changing windows that no compiler takes, so each
    # window and shape gets its own there.
    return compiled(flex_attention, dynamic=None if device_type == "cuda" else False)


def compiled(function, **settings):
    """torch.compile, for as many shapes and models as one process may meet."""
    config = torch._dynamo.config  # torch gives up after 8, and then is slow, or fails
    config.recompile_limit = max(config.recompile_limit, 64)
    return torch.compile(function, **settings)
