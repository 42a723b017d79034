"""The feed-forward network: SwiGLU (Shazeer 2020), three matrices and a gate."""

import numpy as np

from minimistral.np.linear import linear


def feed_forward(x, w1, w2, w3):
    """w2 (silu(w1 x) * w3 x): w1 opens or closes the gate through which w3 x passes.

    x (..., E), w1 and w3 (F, E), w2 (E, F) -> (..., E), all of one float dtype.

    With weights of 1 and one value each: silu(2) * 2 = 2 / (1 + exp(-2)) * 2.

    >>> one = np.ones((1, 1))
    >>> feed_forward(np.array([2.0]), one, one, one).round(3)
    array([3.523])
    """
    return linear(silu(linear(x, w1)) * linear(x, w3), w2)


def silu(x):
    """x times the logistic function of x, written with tanh so that exp cannot overflow.

    >>> silu(np.array([-1000.0, 0.0, 2.0])).round(3) + 0.0
    array([0.   , 0.   , 1.762])
    """
    return x * (0.5 + 0.5 * np.tanh(0.5 * x))
