"""Several matrices as one, so that a single product serves all that multiply the same x."""

import torch
from torch import nn

from minimistral.pt.linear import is_plain, linear


def join(modules):
    """Matrices of one width as one, row under row: a single product then serves them all.

    nn.Linear modules -> a matrix (sum of out, in), of which their weights become parts, so that
    nothing but what is being joined is ever in memory twice. None when one of them is no plain
    matrix: quantised, with an adapter, or divided over devices.

    >>> a, b = nn.Linear(3, 2, bias=False), nn.Linear(3, 4, bias=False)
    >>> both = join([a, b])
    >>> both.shape, both[2:].data_ptr() == b.weight.data_ptr()
    (torch.Size([6, 3]), True)
    """
    if not all(is_plain(module) and type(module.weight) is nn.Parameter for module in modules):
        return None
    weights = [module.weight.detach() for module in modules]
    if not joined_already(weights):
        joined = torch.cat(weights)
        weights = joined.split([len(weight) for weight in weights])
        for module, weight in zip(modules, weights, strict=True):
            module.weight.data = weight
    first, rows = weights[0], sum(map(len, weights))
    return first.as_strided((rows, first.shape[1]), first.stride(), first.storage_offset())


def joined_already(weights):
    """Whether the matrices lie one behind the other in the same memory."""
    first = weights[0]
    memory, offset = first.untyped_storage()._cdata, first.storage_offset()
    for weight in weights:
        here = weight.untyped_storage()._cdata == memory and weight.storage_offset() == offset
        if not (here and weight.is_contiguous()):
            return False
        offset += weight.numel()
    return True


def join_layer(layer):
    """The matrices that read the same x: of queries, keys and values, and the gate's two."""
    w, net = layer.attention, layer.feed_forward
    return join([w["wq"], w["wk"], w["wv"]]), join([net["w1"], net["w3"]])


def products(x, modules, joined):
    """x times each of several matrices: one product where they are joined."""
    if joined is None:
        return [linear(x, module) for module in modules]
    return linear(x, joined).split([len(module.weight) for module in modules], dim=-1)
