"""RMSNorm: scale a vector to length sqrt(E), then by a weight (Zhang and Sennrich 2019)."""

import torch


def rms_norm(x, weight, eps):
    """x divided by the root of its mean square, times weight.

    x (..., E) float, weight (E,), eps > 0 -> (..., E), in x's dtype. The mean square is
    taken in float32 at least. Raises TypeError or ValueError, naming the argument.

    The root mean square of 3 and 4 is sqrt(12.5):

    >>> rms_norm(torch.tensor([3.0, 4.0]), torch.tensor([1.0, 10.0]), eps=1e-12)
    tensor([ 0.8485, 11.3137])
    """
    x, weight = torch.as_tensor(x), torch.as_tensor(weight)
    if not x.is_floating_point():
        raise TypeError(f"x must be float, not {x.dtype}")
    if x.ndim == 0 or weight.shape != x.shape[-1:]:
        raise ValueError(
            f"weight must be {tuple(x.shape[-1:])}, as x's last axis, not {tuple(weight.shape)}"
        )
    if not eps > 0:
        raise ValueError(f"eps must be above 0, not {eps}")
    wide = x.float() if x.dtype.itemsize < 4 else x
    mean_square = (wide * wide).mean(dim=-1, keepdim=True)
    return (wide / torch.sqrt(mean_square + eps)).to(x.dtype) * weight
