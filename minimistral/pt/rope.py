"""Rotary position embedding: a position is an angle (Su et al. 2021, RoFormer)."""

import torch


def rope_tables(positions, head_dim, theta, dtype):
    """The cosine and sine of every angle position * theta ** (-2j / D), j = 0 … D / 2 - 1.

    positions (B, T) or (T,) integers, head_dim D even, theta > 0 (1e4 in v0.1, 1e6 since) ->
    two arrays (B, 1, T, D / 2) or (1, T, D / 2) of dtype, float32 at least. One pair of tables
    serves all heads and layers, because an angle depends on the position and the pair alone.

    At position 2 the first of two pairs turns by 2 radians, the second by 2 / 100:

    >>> cos, sin = rope_tables(torch.tensor([2]), head_dim=4, theta=1e4, dtype=torch.float64)
    >>> torch.atan2(sin, cos)
    tensor([[[2.0000, 0.0200]]], dtype=torch.float64)
    """
    dtype = torch.promote_types(dtype, torch.float32)
    pairs = torch.arange(0, head_dim, 2, dtype=dtype, device=positions.device)
    frequencies = 1 / theta ** (pairs / head_dim)
    angles = positions[..., None, :, None].to(dtype) * frequencies
    return torch.cos(angles), torch.sin(angles)


def apply_rope(x, cos, sin):
    """Turn each pair (x[2j], x[2j + 1]) of a head by the angle of its position.

    x (B, H, T, D) float, cos and sin from `rope_tables` -> (B, H, T, D), in x's dtype.
    Adjacent values form a pair, as in Mistral's own files; Hugging Face pairs x[j] with
    x[j + D / 2].

    The pair (1, 0) at position 2 becomes (cos 2, sin 2):

    >>> x = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> cos, sin = rope_tables(torch.tensor([2]), head_dim=2, theta=1e4, dtype=torch.float32)
    >>> apply_rope(x, cos, sin)
    tensor([[[[-0.4161,  0.9093]]]])
    """
    pairs = x.unflatten(-1, (-1, 2))
    crossed = pairs.flip(-1) * torch.stack([-sin, sin], dim=-1)
    return (pairs * cos[..., None] + crossed).flatten(-2).to(x.dtype)
