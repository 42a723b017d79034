"""RMSNorm: scale a vector to length sqrt(E), then by a weight (Zhang and Sennrich 2019)."""

import numpy as np

from minimistral._arguments import require_floats, require_number, require_shape


def rms_norm(x, weight, eps):
    """x divided by the root of its mean square, times weight.

    x (..., E) float, weight (E,), eps > 0 -> (..., E), in x's dtype. The mean square is
    taken in float32 at least. Raises TypeError or ValueError, naming the argument.

    The root mean square of 3 and 4 is sqrt(12.5):

    >>> rms_norm(np.array([3.0, 4.0]), np.array([1.0, 10.0]), eps=1e-12).round(3)
    array([ 0.849, 11.314])
    """
    x, weight = np.asarray(x), np.asarray(weight)
    require_floats(x=x)
    if x.ndim == 0:
        raise ValueError("x must be (..., E), not a single number")
    require_shape("weight", weight, tuple(x.shape[-1:]))
    return normalise(x, weight, require_number("eps", eps, above=0))


def normalise(x, weight, eps):
    """`rms_norm` without its checks, as the model calls it."""
    wide = x.astype(np.float32) if x.dtype.itemsize < 4 else x
    mean_square = np.vecdot(wide, wide)[..., None] / np.float32(wide.shape[-1])
    return (wide / np.sqrt(mean_square + eps)).astype(x.dtype) * weight
