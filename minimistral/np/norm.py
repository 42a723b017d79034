"""RMSNorm: scale a vector to length sqrt(E), then by a weight (Zhang and Sennrich 2019)."""

import numpy as np


def rms_norm(x, weight, eps):
    """x divided by the root of its mean square, times weight.

    x (..., E) float, weight (E,), eps > 0 -> (..., E), in x's dtype. The mean square is
    taken in float32 at least.

    The root mean square of 3 and 4 is sqrt(12.5):

    >>> rms_norm(np.array([3.0, 4.0]), np.array([1.0, 10.0]), eps=1e-12).round(3)
    array([ 0.849, 11.314])
    """
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    mean_square = np.vecdot(wide, wide)[..., None] / np.float32(wide.shape[-1])
    return (wide / np.sqrt(mean_square + eps)).astype(x.dtype) * weight
