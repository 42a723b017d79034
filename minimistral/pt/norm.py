"""RMSNorm: scale a vector to length sqrt(E), then by a weight (Zhang and Sennrich 2019)."""

import torch


def rms_norm(x, weight, eps):
    """x divided by the root of its mean square, times weight.

    x (..., E) float, weight (E,), eps > 0 -> (..., E), in x's dtype. The mean square is
    taken in float32 at least.

    The root mean square of 3 and 4 is sqrt(12.5):

    >>> rms_norm(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 10.0]), eps=1e-12)
    tensor([ 0.8485, 11.3137])
    """
    if x.dtype.itemsize < 4:
        return rms_norm(x.float(), None, eps).to(x.dtype) * weight
    return torch.nn.functional.rms_norm(x, x.shape[-1:], weight, eps)
