"""LoRA: a matrix is adapted by the product of two thin ones (Hu et al. 2021).

The weight W (out, in) stays as it is. Beside it stand A (r, in) and B (out, r), whose rank r is
far below both sizes, and only these two are trained: r * (in + out) numbers instead of in * out.
A starts random and B at 0, so an adapted model starts as the model that it adapts.
"""

import torch
from torch import nn

from minimistral.pt.linear import Matrix, linear


def lora(x, weight, a, b, scale):
    """x W^T + scale * (x A^T) B^T: what W does to x, and what the adapter adds to it.

    x (..., in), weight (out, in), a (r, in), b (out, r), scale: alpha / r -> (..., out). The
    product B A, as large as W, is never formed (Hu et al. 2021, section 4.1).

    A reads the second number of x, and B adds 10 times that to the first of the result:

    >>> a, b = torch.tensor([[0.0, 1.0]]), torch.tensor([[10.0], [0.0]])
    >>> lora(torch.tensor([1.0, 2.0]), torch.eye(2), a, b, scale=1.0)
    tensor([21.,  2.])
    """
    return linear(x, weight) + scale * linear(linear(x, a), b)


@torch.no_grad()
def lora_gradients(adapter, gradients):
    """The gradients of A and B, from those of the merged weights W + scale * B A.

    adapter: an Adapter. gradients: a dict of those of the weights of `merge(model, adapter)`, as
    `loss_and_gradients` gives them -> arrays (r, in) and (out, r) by the names of adapter.weights.
    This is the chain rule for a product of two matrices (Hu et al. 2021). It needs a gradient as
    large as W, which the backward pass through A and B does without.
    Raises ValueError when the gradient of an adapted weight is missing.

    While B is 0, only B learns, because A changes nothing:

    >>> from minimistral import ModelConfig
    >>> from minimistral.pt import Adapter, Mistral, loss_and_gradients, merge
    >>> model, adapter = Mistral(ModelConfig.tiny()), Adapter(ModelConfig.tiny(), rank=4)
    >>> _, gradients = loss_and_gradients(merge(model, adapter), [[1, 2, 3]], [[2, 3, 1]])
    >>> found = lora_gradients(adapter, gradients)
    >>> [bool(abs(found[f"layers.0.attention.wq.lora_{x}.weight"]).max() > 0) for x in "AB"]
    [False, True]
    """
    found = {}
    for name in adapter.config.weight_shapes():
        if (pair := adapter.pair(name)) is not None:
            if name not in gradients:
                raise ValueError(f"gradients lack that of {name!r}")
            (a, b), gradient, stem = pair, gradients[name], name.removesuffix("weight")
            found[f"{stem}lora_A.weight"] = adapter.scale * (b.T @ gradient)
            found[f"{stem}lora_B.weight"] = adapter.scale * (gradient @ a.T)
    return found


class Adapted(Matrix):
    """A matrix W with its A and B, for `linear(x, matrix)`, which then computes `lora`.

    weight (out, in): a tensor, or what takes its place, such as a quantised matrix. It takes no
    gradient. Its parameters have mistral-finetune's names: linear, lora_A and lora_B.
    """

    def __init__(self, weight, a, b, scale):
        super().__init__(weight.shape)
        self.linear = weight if isinstance(weight, Matrix) else as_module(weight.detach())
        self.lora_A, self.lora_B, self.scale = as_module(a), as_module(b), scale

    @property
    def dtype(self):
        return self.lora_A.weight.dtype

    @property
    def device(self):
        return self.lora_A.weight.device

    def forward(self, x):
        """x (..., in) -> (..., out)."""
        return lora(x, self.linear, self.lora_A, self.lora_B, self.scale)


def as_module(weight):
    """A matrix as an nn.Linear that shares its memory; a parameter stays the same parameter."""
    module = nn.Linear(weight.shape[1], weight.shape[0], bias=False, device="meta")
    is_own = isinstance(weight, nn.Parameter)
    module.weight = weight if is_own else nn.Parameter(weight, requires_grad=False)
    return module


def adapted(name, weight, adapter):
    """A weight as it goes into an adapted model: with its A and B, if the adapter has them."""
    pair = None if adapter is None else adapter.pair(name)
    if pair is None:
        return weight if isinstance(weight, Matrix) else weight.detach()
    if isinstance(weight, Adapted):
        raise ValueError(f"model must not be adapted already, but {name} is; merge that first")
    a, b = pair
    return Adapted(weight, a, b, adapter.scale)


@torch.no_grad()
def merged(name, weight, adapter, sign=1):
    """A weight as it goes into a merged model: computed in float32 at least, of its own dtype."""
    pair = None if adapter is None else adapter.pair(name)
    if pair is None:
        return weight
    if isinstance(weight, Matrix):
        raise TypeError(f"model must have plain matrices to merge, but {name} is {weight!r}")
    wide = torch.promote_types(weight.dtype, torch.float32)
    a, b = (each.to(weight.device, wide) for each in pair)
    return (weight + sign * adapter.scale * (b @ a)).to(weight.dtype)
