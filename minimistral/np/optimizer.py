"""From gradients to the next weights: clipping, the learning rate of a step, and AdamW."""

import math

import numpy as np


def clip_gradients(gradients, largest):
    """Scale all gradients, in place, so that together they are no longer than `largest`.

    gradients: a dict of arrays. -> the length before: the root of the sum of all squares
    (Pascanu et al. 2013). A length that is not finite leaves them as they are.

    >>> gradients = {"a": np.array([3.0]), "b": np.array([4.0])}
    >>> round(clip_gradients(gradients, 1.0), 3), gradients["a"].round(3)
    (5.0, array([0.6]))
    """
    length = math.sqrt(sum(float(np.vdot(g, g)) for g in gradients.values()))
    if largest < length < math.inf:
        for gradient in gradients.values():
            gradient *= largest / length
    return length


def cosine_rate(step, steps, peak, warmup=0, floor=0.02):
    """The learning rate of a step: a linear warm-up, then half a cosine down to floor * peak.

    step from 0 to steps - 1 (Loshchilov and Hutter 2017, SGDR).

    >>> [round(cosine_rate(step, 100, 1.0, warmup=10), 2) for step in (0, 9, 10, 50, 99)]
    [0.1, 0.98, 0.98, 0.51, 0.02]
    """
    rise = min(1.0, (step + 1) / max(1, warmup))
    fall = 0.5 * (1 + math.cos(math.pi * step / steps))
    return peak * rise * (floor + (1 - floor) * fall)


class AdamW:
    """AdamW (Kingma and Ba 2015; Loshchilov and Hutter 2019): each weight has its own step size.

    weights: a dict of arrays, changed in place by `update`. weight_decay: of the matrices; a norm
    has one axis and is not pulled to 0. It keeps two more numbers a weight, the moving averages
    `mean` of its gradient and `square` of its square, so it takes twice the weights' memory.

    The first step moves every weight by about the learning rate, whatever its gradient:

    >>> weights = {"w": np.array([1.0, 1.0])}
    >>> AdamW(weights).update({"w": np.array([0.001, -50.0])}, rate=0.1)
    >>> weights["w"].round(3)
    array([0.9, 1.1])
    """

    def __init__(self, weights, betas=(0.9, 0.95), eps=1e-8, weight_decay=0.1):
        self.weights, self.betas, self.eps, self.weight_decay = weights, betas, eps, weight_decay
        self.mean = {name: np.zeros_like(w) for name, w in weights.items()}
        self.square = {name: np.zeros_like(w) for name, w in weights.items()}
        self.step = 0

    def update(self, gradients, rate):
        """One step of size `rate` along the gradients, a dict like the weights."""
        self.step += 1
        slow, slower = self.betas
        for name, w in self.weights.items():
            g, mean, square = gradients[name], self.mean[name], self.square[name]
            mean += (1 - slow) * (g - mean)
            square += (1 - slower) * (g * g - square)
            # Both began at 0, so early on they are too small by a known factor.
            unbiased = mean / (1 - slow**self.step)
            size = np.sqrt(square / (1 - slower**self.step)) + self.eps
            if w.ndim > 1:
                w *= 1 - rate * self.weight_decay
            w -= rate * unbiased / size
