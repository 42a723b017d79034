"""A matrix times vectors: what a model mostly does."""

import torch
from torch import nn


def linear(x, weight):
    """x (..., in) times weight (out, in) -> (..., out). No bias: Mistral has none.

    weight may also be a module: torch.nn.Linear, or what took its place, such as a quantised
    matrix, a LoRA adapter or a shard of it.

    >>> linear(torch.tensor([1.0, 2.0]), torch.tensor([[1.0, 1.0], [0.0, 10.0], [5.0, 0.0]]))
    tensor([ 3., 20.,  5.])
    """
    if type(weight) is nn.Linear and not _has_hooks(weight):
        weight = weight.weight  # calling the module would cost as much as a small product
    return weight(x) if isinstance(weight, nn.Module) else torch.nn.functional.linear(x, weight)


def _has_hooks(module):
    """Whether something, such as tensor parallelism, acts when the module is called."""
    before, after = module._forward_pre_hooks, module._forward_hooks
    return before or after or module._backward_pre_hooks or module._backward_hooks
