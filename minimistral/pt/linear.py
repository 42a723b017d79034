"""A matrix times vectors: what a model mostly does."""

import torch


def linear(x, weight):
    """x (..., in) times weight (out, in) -> (..., out). No bias: Mistral has none.

    weight may also be a module: torch.nn.Linear, or what took its place, such as a quantised
    matrix, a LoRA adapter or a shard of it.

    >>> linear(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 1.0], [0.0, 10.0], [5.0, 0.0]]))
    tensor([ 3., 20.,  5.])
    """
    return weight(x) if isinstance(weight, torch.nn.Module) else x @ weight.T
