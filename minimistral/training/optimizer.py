"""AdamW, and the learning rate of each step."""

import math

import torch

from minimistral.training.settings import Settings


def make_optimizer(model: torch.nn.Module, settings: Settings) -> torch.optim.AdamW:
    """AdamW, with weight decay for the matrices and none for the norms."""
    matrices = [weight for weight in model.parameters() if weight.ndim > 1]
    norms = [weight for weight in model.parameters() if weight.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def learning_rate_at(step: int, settings: Settings) -> float:
    """A linear warm-up, then half a cosine down to 2 % (Loshchilov and Hutter 2017, SGDR).

    >>> s = Settings(steps=100, warmup=10, checkpoint_every=10, learning_rate=1.0)
    >>> [round(learning_rate_at(step, s), 2) for step in (0, 9, 10, 50, 99)]
    [0.1, 0.98, 0.98, 0.51, 0.02]
    """
    rise = min(1.0, (step + 1) / max(1, settings.warmup))
    fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * rise * (0.02 + 0.98 * fall)
