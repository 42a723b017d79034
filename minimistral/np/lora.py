"""LoRA: a matrix is adapted by the product of two thin ones (Hu et al. 2021).

The weight W (out, in) stays as it is. Beside it stand A (r, in) and B (out, r), whose rank r is
far below both sizes, and only these two are trained: r * (in + out) numbers instead of in * out.
A starts random and B at 0, so an adapted model starts as the model that it adapts.
"""

import numpy as np

from minimistral.np.backward import linear_backward
from minimistral.np.linear import linear


def lora(x, weight, a, b, scale):
    """x W^T + scale * (x A^T) B^T: what W does to x, and what the adapter adds to it.

    x (..., in), weight (out, in), a (r, in), b (out, r), scale: alpha / r -> (..., out). The
    product B A, as large as W, is never formed (Hu et al. 2021, section 4.1).

    A reads the second number of x, and B adds 10 times that to the first of the result:

    >>> a, b = np.array([[0.0, 1.0]]), np.array([[10.0], [0.0]])
    >>> lora(np.array([1.0, 2.0]), np.eye(2), a, b, scale=1.0)
    array([21.,  2.])
    """
    return linear(x, weight) + scale * linear(linear(x, a), b)


def lora_backward(x, weight, a, b, scale, dy):
    """x (..., in), dy (..., out), the rest as in `lora` -> dx (..., in), da (r, in), db (out, r).

    W is not trained, so it gets no gradient, which would be as large as W.

    While B is 0, only B learns, because whatever A is changes nothing:

    >>> a, b = np.array([[0.0, 1.0]]), np.zeros((2, 1))
    >>> dx, da, db = lora_backward(np.array([[1.0, 2.0]]), np.eye(2), a, b, 1.0, np.ones((1, 2)))
    >>> da, db
    (array([[0., 0.]]), array([[2.],
           [2.]]))
    """
    dlow, db = linear_backward(linear(x, a), b, scale * dy)
    more, da = linear_backward(x, a, dlow)
    return dy @ weight + more, da, db


def lora_gradients(adapter, gradients):
    """The gradients of A and B, from those of the merged weights W + scale * B A.

    adapter: an Adapter. gradients: a dict of those of the weights of `merge(model, adapter)`, as
    `loss_and_gradients` gives them -> arrays (r, in) and (out, r) by the names of adapter.weights.
    This is the chain rule for a product of two matrices (Hu et al. 2021). It needs a gradient as
    large as W, which the backward pass through A and B does without.
    Raises ValueError when the gradient of an adapted weight is missing.

    While B is 0, only B learns, because A changes nothing:

    >>> from minimistral import ModelConfig
    >>> from minimistral.np import Adapter, Mistral, loss_and_gradients, merge
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


class Adapted:
    """A matrix W with its A and B, for `linear(x, matrix)`, which then computes `lora`.

    weight (out, in): an array, or what takes its place, such as a `MappedMatrix`.
    """

    __array_ufunc__ = None  # x @ matrix is an error, not an array of objects
    opaque = True  # ModelConfig.require_weights does not look inside: what is there was checked
    ndim = 2

    def __init__(self, weight, a, b, scale):
        self.weight, self.a, self.b, self.scale = weight, a, b, scale
        self.shape, self.dtype = weight.shape, weight.dtype

    def __repr__(self):
        return f"Adapted({self.weight.shape}, rank {len(self.a)}, {self.dtype})"

    def times(self, x):
        """x (..., in) -> (..., out)."""
        return lora(x, self.weight, self.a, self.b, self.scale)


def adapted(name, weight, adapter):
    """A weight as it goes into an adapted model: with its A and B, if the adapter has them."""
    pair = None if adapter is None else adapter.pair(name)
    if pair is None:
        return weight
    if isinstance(weight, Adapted):
        raise ValueError(f"model must not be adapted already, but {name} is; merge that first")
    a, b = pair
    return Adapted(weight, a, b, adapter.scale)


def merged(name, weight, adapter, sign=1):
    """A weight as it goes into a merged model: computed in float32 at least, of its own dtype."""
    pair = None if adapter is None else adapter.pair(name)
    if pair is None:
        return weight
    if not isinstance(weight, np.ndarray):
        raise TypeError(f"model must have plain matrices to merge, but {name} is {weight!r}")
    a, b = (each.astype(np.promote_types(weight.dtype, np.float32)) for each in pair)
    with np.errstate(over="ignore"):  # the model names a weight that became infinite
        return (weight + sign * adapter.scale * (b @ a)).astype(weight.dtype, copy=False)
