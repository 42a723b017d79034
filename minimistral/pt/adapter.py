"""Adapters: A and B for each adapted matrix of a model, beside it or merged (Hu et al. 2021)."""

import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import torch
from torch import nn

from minimistral._arguments import (
    as_array,
    require_bytes,
    require_count,
    require_dtype,
    require_model,
    require_number,
)
from minimistral.config import (
    bytes_per_value,
    require_adaptable,
    require_arrays,
    require_config,
)
from minimistral.pt.cache import DTYPES
from minimistral.pt.lora import adapted, merged
from minimistral.pt.model import Mistral
from minimistral.pt.tensors import as_device, as_tensor


class Adapter:
    """A LoRA adapter: A and B for some matrices of each layer (Hu et al. 2021).

    config: of the model that it adapts. rank: r. alpha: what A and B add is multiplied by
    scale = alpha / rank; alpha is the rank if None. targets: out of wq, wk, wv, wo, w1, w2, w3.
    weights: arrays A (r, in) and B (out, r) under the names of config.adapter_shapes(rank,
    targets), all of one float dtype. They are not copied. None draws each A from `seed` and
    makes each B 0. They are then in adapter.weights, and n_params counts their numbers.
    dtype: a name; what the weights are if None, and float32 for random ones.
    Raises TypeError or ValueError, naming the argument or the weight.

    The weights are parameters that take a gradient, for an optimizer of torch:
    torch.optim.AdamW(adapter.weights.values()).
    device: where they go. On "meta" they have shapes and no values.

    >>> from minimistral import ModelConfig
    >>> adapter = Adapter(ModelConfig.tiny(), rank=4, alpha=8)
    >>> adapter.scale, adapter.n_params
    (2.0, 7168)
    """

    def __init__(
        self, config, rank, alpha=None, targets=("wq", "wv"), *, weights=None, seed=0, dtype=None,
        device=None,
    ):  # fmt: skip
        self.config, self.rank = require_config(config), require_count("rank", rank)
        self.alpha = require_number("alpha", self.rank if alpha is None else alpha, above=0)
        self.targets = require_adaptable(targets)
        dtype = None if dtype is None else require_dtype(dtype, DTYPES)
        device = device if device is None else as_device(device)
        shapes = config.adapter_shapes(self.rank, self.targets)
        if weights is None:
            n_bytes = self.n_params * bytes_per_value(dtype or "float32")
            require_bytes("the adapter", n_bytes, rank=self.rank)
            weights = random_adapter(shapes, seed, dtype or "float32", device)
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a dict of arrays, not {type(weights).__name__}")
        make = partial(as_tensor, device=device)
        weights = {name: as_array(name, make, w) for name, w in weights.items()}
        if dtype is not None:
            weights = {name: w.to(getattr(torch, dtype)) for name, w in weights.items()}
        require_arrays(weights, shapes)
        weights = {name: nn.Parameter(weights[name].detach()) for name in shapes}
        self.weights = MappingProxyType(weights)

    def __repr__(self):
        targets = ", ".join(self.targets)
        return f"Adapter({targets}: rank {self.rank}, alpha {self.alpha:g}, {self.dtype})"

    @property
    def dtype(self):
        return next(iter(self.weights.values())).dtype

    @property
    def device(self):
        return next(iter(self.weights.values())).device

    @property
    def scale(self):
        return self.alpha / self.rank

    @property
    def n_params(self):
        """Numbers that are trained: rank * (in + out) for each matrix."""
        return self.config.adapter_n_params(self.rank, self.targets)

    def pair(self, name):
        """A and B of the model's weight `name`, or None where it is not adapted."""
        a, b = (self.weights.get(f"{name.removesuffix('weight')}lora_{x}.weight") for x in "AB")
        return None if a is None else (a, b)


def adapt(model, adapter):
    """A model whose adapted matrices compute `lora`; the given model stays as it is.

    model: a Mistral. adapter: an Adapter of its config and dtype. Neither's weights are copied,
    so a change of adapter.weights in place, as by a training step, shows in the next logits.
    Raises TypeError or ValueError, naming the argument.

    Of the new model's parameters only A and B take a gradient. Beside quantised matrices they
    can be used but not trained, because torch has no gradient of a product with those.
    B starts at 0, so at first the logits (B, T, V) are the model's own (Hu et al. 2021):

    >>> from minimistral import ModelConfig
    >>> model = Mistral(ModelConfig.tiny())
    >>> adapter = Adapter(model.config, rank=4)
    >>> bool((adapt(model, adapter)([[1, 2, 3]]) == model([[1, 2, 3]])).all())
    True
    """
    require_adapter(model, adapter)
    if adapter.dtype != model.dtype:
        raise TypeError(f"adapter must be {model.dtype}, as the model, not {adapter.dtype}")
    if adapter.device != model.device:
        raise ValueError(f"adapter must be on {model.device}, as the model, not {adapter.device}")
    weights = {name: adapted(name, weight, adapter) for name, weight in model.weights.items()}
    return Mistral(model.config, weights, block_sparse=model.block_sparse)


def merge(model, adapter):
    """A model with the adapter added to its weights: W + scale * B A for each adapted matrix.

    model: a Mistral with plain matrices. adapter: an Adapter of its config. The weights that are
    not adapted are shared. Up to rounding it gives the logits (B, T, V) of `adapt`, at the speed
    of a model without an adapter. Raises TypeError or ValueError, naming the argument.

    >>> from minimistral import ModelConfig
    >>> model = Mistral(ModelConfig.tiny())
    >>> adapter = Adapter(model.config, rank=4)
    >>> bool((merge(model, adapter)([[1, 2, 3]]) == model([[1, 2, 3]])).all())  # B is still 0
    True
    """
    require_adapter(model, adapter)
    weights = {name: merged(name, weight, adapter) for name, weight in model.weights.items()}
    return Mistral(model.config, weights, block_sparse=model.block_sparse)


def unmerge(model, adapter):
    """What `merge` was given, up to rounding: W - scale * B A for each adapted matrix.

    model and adapter: as in `merge`, with logits (B, T, V). Raises TypeError or ValueError, naming
    the argument.

    >>> from minimistral import ModelConfig
    >>> model, adapter = Mistral(ModelConfig.tiny()), Adapter(ModelConfig.tiny(), rank=4)
    >>> bool((unmerge(merge(model, adapter), adapter)([[1]]) == model([[1]])).all())
    True
    """
    require_adapter(model, adapter)
    weights = {name: merged(name, weight, adapter, -1) for name, weight in model.weights.items()}
    return Mistral(model.config, weights, block_sparse=model.block_sparse)


def random_adapter(shapes, seed, dtype, device):
    """A from a normal distribution, such that x A^T is about as large as x; B is 0."""
    device = as_device(device)
    options = {"dtype": getattr(torch, dtype), "device": device}
    seed = require_count("seed", seed, minimum=0)
    rng = None if device.type == "meta" else torch.Generator(device).manual_seed(seed % 2**64)
    weights = {}
    for name, shape in shapes.items():
        is_a, size = name.endswith("lora_A.weight"), 1 / math.sqrt(shape[-1])
        weight = torch.empty(shape, **options)
        weights[name] = weight.normal_(0, size, generator=rng) if is_a else weight.zero_()
    return weights


def require_adapter(model, adapter):
    """Raise TypeError or ValueError unless the adapter is one for this model."""
    require_model(model, Mistral)
    if not isinstance(adapter, Adapter):
        raise TypeError(f"adapter must be a {Adapter.__module__}.Adapter, not {adapter!r}")
    if adapter.config != model.config:
        raise ValueError(f"adapter must be for {model.config}, not for {adapter.config}")
