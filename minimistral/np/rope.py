"""Rotary position embedding: a position is an angle (Su et al. 2021, RoFormer)."""

import numpy as np


def rope_tables(positions, head_dim, theta, dtype):
    """The cosine and sine of every angle position * theta ** (-2j / D), j = 0 … D / 2 - 1.

    positions (B, T) or (T,) integers, head_dim D even, theta > 0 (1e4 in v0.1, 1e6 since) ->
    two arrays (B, 1, T, D / 2) or (1, T, D / 2) of dtype, float32 at least. One pair of tables
    serves all heads and layers, because an angle depends on the position and the pair alone.

    At position 2 the first of two pairs turns by 2 radians, the second by 2 / 100:

    >>> cos, sin = rope_tables(np.array([2]), head_dim=4, theta=1e4, dtype="float64")
    >>> np.arctan2(sin, cos).round(3)
    array([[[2.  , 0.02]]])
    """
    dtype = np.result_type(dtype, np.float32)
    frequencies = 1 / theta ** (np.arange(0, head_dim, 2, dtype=dtype) / head_dim)
    angles = positions[..., None, :, None].astype(dtype) * frequencies
    return np.cos(angles), np.sin(angles)


def apply_rope(x, cos, sin):
    """Turn each pair (x[2j], x[2j + 1]) of a head by the angle of its position.

    x (B, H, T, D) float, cos and sin from `rope_tables` -> (B, H, T, D), in x's dtype.
    Adjacent values form a pair, as in Mistral's own files; Hugging Face pairs x[j] with
    x[j + D / 2].

    The pair (1, 0) at position 2 becomes (cos 2, sin 2):

    >>> x = np.array([1.0, 0.0]).reshape(1, 1, 1, 2)
    >>> cos, sin = rope_tables(np.array([2]), head_dim=2, theta=1e4, dtype="float64")
    >>> apply_rope(x, cos, sin).round(3)
    array([[[[-0.416,  0.909]]]])
    """
    even, odd = x[..., 0::2], x[..., 1::2]
    rotated = np.empty(x.shape, np.result_type(x, cos))
    rotated[..., 0::2] = even * cos - odd * sin
    rotated[..., 1::2] = even * sin + odd * cos
    return rotated.astype(x.dtype, copy=False)
