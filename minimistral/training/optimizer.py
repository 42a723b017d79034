"""AdamW, and the learning rate of each step."""

import torch

from minimistral.np.optimizer import cosine_rate
from minimistral.training.settings import Settings


def make_optimizer(model: torch.nn.Module, settings: Settings) -> torch.optim.AdamW:
    """AdamW, with weight decay for the matrices and none for the norms."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    matrices = [weight for weight in weights if weight.ndim > 1]
    norms = [weight for weight in weights if weight.ndim == 1]
    groups = [
        {"params": matrices, "weight_decay": settings.weight_decay},
        {"params": norms, "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, betas=(0.9, 0.95))


def learning_rate_at(step: int, settings: Settings) -> float:
    """A linear warm-up, then half a cosine down to 2 %, as `cosine_rate` says."""
    return cosine_rate(step, settings.steps, settings.learning_rate, settings.warmup)
