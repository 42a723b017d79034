"""RMSNorm: scale a vector to length sqrt(E), then by a weight (Zhang and Sennrich 2019)."""

import numpy as np


def rms_norm(x, weight, eps):
    """x divided by the root of its mean square, times weight.

    x (..., E) float, weight (E,), eps > 0 -> (..., E), in x's dtype. The mean square is
    taken in float32 at least. Raises TypeError or ValueError, naming the argument.

    The root mean square of 3 and 4 is sqrt(12.5):

    >>> rms_norm(np.array([3.0, 4.0]), np.array([1.0, 10.0]), eps=1e-12).round(3)
    array([ 0.849, 11.314])
    """
    x, weight = np.asarray(x), np.asarray(weight)
    if x.dtype.kind != "f":
        raise TypeError(f"x must be float, not {x.dtype}")
    if x.ndim == 0 or weight.shape != x.shape[-1:]:
        raise ValueError(f"weight must be {x.shape[-1:]}, as x's last axis, not {weight.shape}")
    if not eps > 0:
        raise ValueError(f"eps must be above 0, not {eps}")
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    mean_square = (wide * wide).mean(axis=-1, keepdims=True)
    return (wide / np.sqrt(mean_square + eps)).astype(x.dtype) * weight
