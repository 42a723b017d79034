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
    if is_plain(weight):
        weight = weight.weight  # calling the module would cost as much as a small product
    return weight(x) if isinstance(weight, nn.Module) else torch.nn.functional.linear(x, weight)


class Matrix(nn.Module):
    """A matrix (out, in) that is no plain tensor, in place of a torch.nn.Linear: matrix(x).

    shape, dtype, device: as a tensor has them.
    """

    opaque = True  # ModelConfig.require_weights does not look inside
    ndim = 2

    def __init__(self, shape):
        super().__init__()
        self.shape = tuple(shape)

    def extra_repr(self):
        return f"{self.shape}, {self.dtype}"


def is_plain(module):
    """Whether it is an nn.Linear, and nothing such as tensor parallelism acts when it is called."""
    return type(module) is nn.Linear and not (
        module._forward_pre_hooks or module._forward_hooks
        or module._backward_pre_hooks or module._backward_hooks
    )  # fmt: skip
