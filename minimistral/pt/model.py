"""Mistral: the whole model, from token ids to logits (paper section 2)."""

import math
from collections.abc import Mapping
from functools import partial

import torch
from torch import nn

from minimistral._arguments import as_array, require_count, require_dtype
from minimistral.config import require_config
from minimistral.pt.cache import DTYPES, NoCache, RollingCache
from minimistral.pt.checked import as_inputs, require_cache
from minimistral.pt.compiled_prefill import compiled_layer, worth_compiling
from minimistral.pt.layer import Layer, project_qkv
from minimistral.pt.linear import Matrix, linear
from minimistral.pt.mask import BLOCK, query_blocks, window_mask
from minimistral.pt.norm import rms_norm
from minimistral.pt.rope import rope_tables
from minimistral.pt.tensors import as_device, as_tensor


class Mistral(nn.Module):
    """A Mistral model: its config and its weights.

    weights: arrays (out, in) under Mistral's own names, as in config.weight_shapes(), all of
    one float dtype. They are not copied. None draws random ones from `seed`. They are then in
    model.weights, and those of layer n by their short names in model.layers[n].
    dtype: a name; what the weights are if None, and float32 for random ones.
    Raises TypeError or ValueError, naming the weight, when one is missing, unknown, of another
    shape or dtype, or not finite.

    It is a torch module whose parameters have the same names. They take no gradient until
    model.requires_grad_(), because most models are only run, unless given weights do.
    device: where the weights go. On "meta" they have shapes and no values.
    block_sparse: read prompts with FlexAttention, which skips blocks hidden from every query; meant
    for a GPU, where chunks of 4,096 tokens are read by a compiled layer. It may also be set
    later, as model.block_sparse.

    >>> from minimistral import ModelConfig
    >>> model = Mistral(ModelConfig.tiny())
    >>> model([[1, 2, 3]]).shape                            # (B, T, V)
    torch.Size([1, 3, 768])
    """

    def __init__(
        self, config, weights=None, *, seed=0, dtype=None, device=None, block_sparse=False
    ):
        super().__init__()
        self.config, self.block_sparse = require_config(config), block_sparse
        dtype = None if dtype is None else require_dtype(dtype, DTYPES)
        device = device if device is None else as_device(device)
        if weights is None:
            weights = random_weights(config, seed, dtype or "float32", device)
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a dict of arrays, not {type(weights).__name__}")
        make = partial(as_weight, dtype=dtype, device=device)  # copies only to change these
        weights = {name: as_array(name, make, w) for name, w in weights.items()}
        config.require_weights(weights)
        with torch.device("meta"):  # without memory: the weights take these places
            # nn.Embedding() draws a table, and on meta that loads torch's compiler, which takes 2 s
            table = torch.empty(config.vocab_size, config.dim)
            self.tok_embeddings = nn.Embedding.from_pretrained(table)
            self.layers = nn.ModuleList(Layer(config) for _ in range(config.n_layers))
            self.norm = nn.RMSNorm(config.dim, config.norm_eps)
            self.output = nn.Linear(config.dim, config.vocab_size, bias=False)
        for name, weight in weights.items():
            module_name = name.removesuffix(".weight")
            if isinstance(weight, Matrix):
                self.set_submodule(module_name, weight)
            else:
                own = nn.Parameter(weight.detach(), requires_grad=weight.requires_grad)
                self.get_submodule(module_name).weight = own

    def extra_repr(self):
        return f"{self.config}, {self.dtype}"

    @property
    def weights(self):
        """The weights by Mistral's own names; what is no tensor is the module in its place."""
        modules = dict(self.named_modules())
        places = {n: modules[n.removesuffix(".weight")] for n in self.config.weight_shapes()}
        return {n: m if isinstance(m, Matrix) else m.weight for n, m in places.items()}

    @property
    def dtype(self):
        return self.norm.weight.dtype

    @property
    def device(self):
        return self.norm.weight.device

    def new_cache(self, batch_size, max_tokens=None, *, spare=0):
        """An empty RollingCache that fits this model."""
        options = {"spare": spare, "dtype": self.dtype, "device": self.device}
        return RollingCache(self.config, batch_size, max_tokens, **options)

    def forward(self, tokens, cache=None, last_only=False, *, lengths=None):
        """After each token, the logits of the next.

        tokens (B, T) integers from 0 to V - 1 -> logits (B, T, V), float32 (float64 when the
        weights are). last_only: only those after each row's last token, (B, 1, V).
        cache: a RollingCache of the same config, batch and dtype. The tokens continue the
        cached text and are appended to it. lengths (B,): how many tokens of each row are
        real; what stands behind them is padding, and its logits are 0.
        Raises TypeError or ValueError, naming the argument, before anything changes.
        """
        config, device = self.config, self.device
        tokens, lengths = as_inputs(tokens, lengths, config.vocab_size)
        B, index = len(tokens), torch.arange(tokens.shape[1], device="cpu")
        cache = NoCache(B) if cache is None else require_cache(cache, self, B)
        positions = torch.where(index < lengths[:, None], cache.seen[:, None] + index, -1)
        plan = cache.plan(positions)
        if self.block_sparse and len(index) >= BLOCK:
            places = positions.to(device), plan.k_pos.to(device)
            mask = window_mask(*places, config.window_size, block_sparse=True)
        else:
            mask = query_blocks(positions, plan.k_pos, config.window_size, device=device)
        positions = positions.to(device)
        rope = rope_tables(positions, config.head_dim, config.rope_theta, self.dtype)

        x = self.embed(tokens.to(device), positions)
        compile_it = self.block_sparse and worth_compiling(x)
        run = compiled_layer if compile_it else Layer.__call__
        for n, layer in enumerate(self.layers):
            x = run(layer, x, rope, mask, partial(cache.update, n, plan=plan))
        cache.commit(plan)
        if last_only and len(index) > 1:
            x = x[torch.arange(B, device=device), (lengths - 1).clip(0).to(device)][:, None]
        return self.unembed(x)

    def embed(self, tokens, positions):
        """tokens and positions (B, T) -> x (B, T, E). Padding is zeros, and stays so throughout."""
        x = self.tok_embeddings(tokens)
        return torch.where(positions[:, :, None] >= 0, x, 0)

    def unembed(self, x):
        """x (B, T, E) from the last layer -> logits (B, T, V), float32 at least."""
        x = rms_norm(x, self.norm.weight, self.config.norm_eps)
        logits = linear(x, self.output)
        return logits.float() if logits.dtype.itemsize < 4 else logits

    def project_qkv(self, n, x, positions):
        """What tokens ask, offer and pass on in layer n; q and k are rotated.

        x (B, T, E), positions (B, T) -> q (B, H, T, D), k and v (B, G, T, D).
        """
        config, layer = self.config, self.layers[n]
        positions = as_tensor(positions, device=x.device)
        rope = rope_tables(positions, config.head_dim, config.rope_theta, x.dtype)
        h = rms_norm(x, layer.attention_norm.weight, config.norm_eps)
        return project_qkv(config, layer.attention, h, rope)


def as_weight(weight, dtype=None, device=None):
    """A weight as a tensor, copied only to change dtype or device; a `Matrix` stays."""
    if isinstance(weight, Matrix):
        return weight
    return as_tensor(weight, device).to(dtype=dtype and getattr(torch, dtype))


def random_weights(config, seed, dtype, device):
    """Norms of 1, and matrices that neither grow nor shrink what they multiply."""
    config.require_weights_size(dtype)
    device = as_device(device)
    options = {"dtype": getattr(torch, dtype), "device": device}
    seed = require_count("seed", seed, minimum=0)
    rng = None if device.type == "meta" else torch.Generator(device).manual_seed(seed % 2**64)
    weights = {}
    for name, shape in config.weight_shapes().items():
        # A row of the embedding is looked up, not summed.
        scale = 1 if name == "tok_embeddings.weight" else 1 / math.sqrt(shape[-1])
        weights[name] = weight = torch.empty(shape, **options)
        if len(shape) == 1:
            weight.fill_(1)
        elif device.type != "meta":
            weight.normal_(0, scale, generator=rng)
    return weights
