"""The feed-forward network: SwiGLU (Shazeer 2020), three matrices and a gate."""

import torch

from minimistral.pt.linear import linear


def feed_forward(x, w1, w2, w3):
    """w2 (silu(w1 x) * w3 x): w1 opens or closes the gate through which w3 x passes.

    x (..., E), w1 and w3 (F, E), w2 (E, F) -> (..., E), all of one float dtype.

    With weights of 1 and one value each: silu(2) * 2 = 2 / (1 + exp(-2)) * 2.

    >>> one = torch.ones(1, 1)
    >>> feed_forward(torch.tensor([2.0]), one, one, one)
    tensor([3.5232])
    """
    return linear(silu(linear(x, w1)) * linear(x, w3), w2)


def silu(x):
    """x times the logistic function of x: torch's own, because it makes one array and not four.

    >>> silu(torch.tensor([-1000.0, 0.0, 2.0])) + 0.0
    tensor([0.0000, 0.0000, 1.7616])
    """
    return torch.nn.functional.silu(x)
