"""The feed-forward network: SwiGLU (Shazeer 2020), three matrices and a gate."""

import torch


def feed_forward(x, w1, w2, w3):
    """w2 (silu(w1 x) * w3 x): w1 opens or closes the gate through which w3 x passes.

    x (..., E), w1 and w3 (F, E), w2 (E, F) -> (..., E), all of one float dtype.
    Raises TypeError or ValueError, naming the argument, when dtypes or shapes do not fit.

    With weights of 1 and one value each: silu(2) * 2 = 2 / (1 + exp(-2)) * 2.

    >>> one = torch.ones(1, 1)
    >>> feed_forward(torch.tensor([2.0]), one, one, one)
    tensor([3.5232])
    """
    x, w1, w2, w3 = (
        torch.as_tensor(x),
        torch.as_tensor(w1),
        torch.as_tensor(w2),
        torch.as_tensor(w3),
    )
    if not x.is_floating_point() or not x.dtype == w1.dtype == w2.dtype == w3.dtype:
        raise TypeError(
            "x, w1, w2 and w3 must share a float dtype,"
            f" not {x.dtype}, {w1.dtype}, {w2.dtype}, {w3.dtype}"
        )
    if x.ndim == 0:
        raise ValueError("x must be (..., E), not a single number")
    if w1.ndim != 2 or w1.shape[1] != x.shape[-1]:
        raise ValueError(f"w1 must be (F, {x.shape[-1]}), not {tuple(w1.shape)}")
    if w3.shape != w1.shape or tuple(w2.shape) != tuple(w1.shape)[::-1]:
        raise ValueError(
            f"w3 must be {tuple(w1.shape)} and w2 {tuple(w1.shape)[::-1]},"
            f" not {tuple(w3.shape)} and {tuple(w2.shape)}"
        )
    return (silu(x @ w1.T) * (x @ w3.T)) @ w2.T


def silu(x):
    """x times the logistic function of x, written with tanh so that exp cannot overflow.

    >>> silu(torch.tensor([-1000.0, 0.0, 2.0])) + 0.0
    tensor([0.0000, 0.0000, 1.7616])
    """
    return x * (0.5 + 0.5 * torch.tanh(0.5 * x))
