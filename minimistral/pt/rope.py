"""Rotary position embedding: a position is an angle (Su et al. 2021, RoFormer)."""

import torch

from minimistral._arguments import require_floats, require_number, require_shape
from minimistral.pt.mask import as_positions, as_tensor


def rotate(x, positions, theta):
    """Turn each pair (x[2j], x[2j + 1]) by the angle position * theta ** (-2j / D).

    x (B, H, T, D) float with D even, positions (B, T) or (T,) integers, theta > 0 (1e4 in v0.1,
    1e6 since) -> (B, H, T, D), in x's dtype. Adjacent values form a pair, as in Mistral's
    own files; Hugging Face pairs x[j] with x[j + D / 2]. Angles are float32 at least.
    Raises TypeError or ValueError, naming the argument, when dtypes or shapes do not fit.

    The first pair turns by one radian a position:

    >>> x = torch.tensor([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> rotate(x, [2], theta=1e4)                        # cos 2, sin 2
    tensor([[[[-0.4161,  0.9093]]]])
    """
    x, positions = as_tensor(x), as_positions("positions", positions)
    require_floats(x=x)
    if x.ndim != 4 or x.shape[-1] % 2:
        raise ValueError(f"x must be (B, H, T, D) with D even, not {tuple(x.shape)}")
    B, _, T, D = x.shape
    require_shape("positions", positions, (B, T), (T,))
    theta = require_number("theta", theta, above=0)  # a plain float cannot promote float32
    return turn(x, *rotation(positions.to(x.device), D, theta, x.dtype))


def rotation(positions, head_dim, theta, dtype):
    """The cosine and sine of every angle: one table, for all heads and all layers.

    positions (B, T) or (T,) -> two arrays (B, 1, T, D / 2) or (1, T, D / 2), float32 at least.
    """
    dtype = torch.float32 if dtype.itemsize < 4 else dtype
    pairs = torch.arange(0, head_dim, 2, dtype=dtype, device=positions.device)
    frequencies = 1 / theta ** (pairs / head_dim)
    angles = positions[..., None, :, None].to(dtype) * frequencies
    return torch.cos(angles), torch.sin(angles)


def turn(x, cos, sin):
    """Turn the pairs of x (B, H, T, D) by the angles of `rotation` -> (B, H, T, D)."""
    even, odd = x[..., 0::2], x[..., 1::2]
    turned = torch.stack([even * cos - odd * sin, even * sin + odd * cos], dim=-1)
    return turned.reshape(x.shape).to(x.dtype)
