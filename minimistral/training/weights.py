"""The weights in training: how they start, and what each step drops from them."""

import math
from typing import Any

import torch

from minimistral import pt as mm
from minimistral.config import ModelConfig
from minimistral.training.settings import Settings

VOCABULARY_MATRICES = ("tok_embeddings.weight", "output.weight")  # one row per token id


def initial_model(config: ModelConfig, seed: int, device: Any = None) -> mm.Mistral:
    """A random model to train; what each layer adds is small at first (Radford et al. 2019)."""
    model = mm.Mistral(config, seed=seed, device=device)
    for name, weight in model.weights.items():
        if name.endswith(("attention.wo.weight", "feed_forward.w2.weight")):
            weight.div_(math.sqrt(2 * config.n_layers))
    return model.requires_grad_()


def drop_weights(
    weights: dict[str, torch.Tensor], step: int, settings: Settings
) -> dict[str, torch.Tensor]:
    """DropConnect (Wan et al. 2013): set random numbers of each matrix to 0, scale up the rest.

    The model learns not to rely on any single weight. The embedding and the output matrix lose
    half as large a share, because each of their rows belongs to one token id. The seed and the
    step alone decide which numbers are dropped.
    """
    if settings.dropout == 0:
        return weights
    device = weights["norm.weight"].device
    generator = torch.Generator(device).manual_seed(settings.seed * 2**32 + step)

    def drop(name: str, weight: torch.Tensor) -> torch.Tensor:
        if weight.ndim == 1:
            return weight
        keep = 1 - settings.dropout / (2 if name in VOCABULARY_MATRICES else 1)
        return weight * torch.empty_like(weight).bernoulli_(keep, generator=generator) / keep

    return {name: drop(name, weight) for name, weight in weights.items()}
