"""Mistral: the whole model, from token ids to logits (paper section 2)."""

import math
from collections.abc import Mapping
from functools import partial

import torch

from minimistral._arguments import (
    as_array,
    require_count,
    require_dtype,
    require_integers,
    require_lengths,
    require_tokens,
)
from minimistral.config import require_config
from minimistral.pt.attention import attend_blocks
from minimistral.pt.cache import DTYPES, RollingCache, as_device
from minimistral.pt.feedforward import swiglu
from minimistral.pt.mask import as_tensor, window_blocks
from minimistral.pt.norm import normalise
from minimistral.pt.quantize import Packed
from minimistral.pt.rope import rotation, turn


class Mistral:
    """A Mistral model: its config and its weights.

    weights: arrays (out, in) under Mistral's own names, as in config.weight_shapes(), all of
    one float dtype. They are not copied. None draws random ones from `seed`.
    dtype: a name; what the weights are if None, and float32 for random ones.
    A matrix may also be one that `quantize.quantized` made; it stays as it is.
    device: where the weights go, one by one; random ones are drawn there. On "meta" there are
    only shapes.
    Raises TypeError or ValueError, naming the weight, when one is missing, unknown, of another
    shape or dtype, or not finite.

    >>> from minimistral import ModelConfig
    >>> model = Mistral(ModelConfig.tiny())
    >>> model([[1, 2, 3]]).shape                            # (B, T, V)
    torch.Size([1, 3, 768])
    """

    def __init__(self, config, weights=None, *, seed=0, dtype=None, device=None):
        self.config = require_config(config)
        dtype = None if dtype is None else require_dtype(dtype, DTYPES)
        device = device if device is None else as_device(device)
        if weights is None:
            weights = random_weights(config, seed, dtype or "float32", device)
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a dict of arrays, not {type(weights).__name__}")
        dtype = None if dtype is None else getattr(torch, dtype)

        def make(weight):  # copies only to change the dtype or the device
            if isinstance(weight, Packed):
                return weight
            return as_tensor(weight, device).to(dtype=dtype)

        self.weights = {name: as_array(name, make, w) for name, w in weights.items()}
        config.require_weights(self.weights)
        self.dtype = self.weights["norm.weight"].dtype
        self.device = self.weights["norm.weight"].device

    def __repr__(self):
        return f"Mistral({self.config}, {self.dtype})"

    def new_cache(self, batch_size, max_tokens=None):
        """An empty RollingCache that fits this model."""
        place = {"dtype": self.dtype, "device": self.device}
        return RollingCache(self.config, batch_size, max_tokens, **place)

    def __call__(self, tokens, cache=None, last_only=False, *, lengths=None, block_sparse=False):
        """After each token, the logits of the next.

        tokens (B, T) integers from 0 to V - 1 -> logits (B, T, V), float32 (float64 when the
        weights are). last_only: only those after each row's last token, (B, 1, V).
        cache: a RollingCache of the same config, batch and dtype. The tokens go on from what
        it has seen, and are in it afterwards. lengths (B,): how many tokens of each row are
        real; what stands behind them is padding, and its logits are 0.
        block_sparse: attention by FlexAttention, which skips blocks that nobody sees; worth
        it on a GPU.
        Raises TypeError or ValueError, naming the argument, before anything changes.
        """
        config, (tokens, lengths) = self.config, self._inputs(tokens, lengths)
        B, T = tokens.shape
        if cache is not None:
            self.require_cache(cache, B)
        seen = torch.zeros(B, dtype=torch.long, device="cpu") if cache is None else cache.seen
        index = torch.arange(T, device="cpu")
        positions = torch.where(index < lengths[:, None], seen[:, None] + index, -1)
        plan = cache and cache.begin(positions)
        k_pos = plan.k_pos if cache else positions
        blocks = window_blocks(
            positions, k_pos, config.window_size, device=self.device, block_sparse=block_sparse
        )
        positions = positions.to(self.device)

        # Padding is a vector of zeros, and stays one through every layer.
        x = self.weights["tok_embeddings.weight"][tokens.to(self.device)]
        x = torch.where(positions[:, :, None] >= 0, x, 0)
        turns = rotation(positions, config.head_dim, config.rope_theta, self.dtype)
        for n in range(config.n_layers):
            extend = cache and partial(cache.extend, n, plan=plan)
            x = layer(config, self.weights_of(n), x, turns, blocks, extend)
        if cache is not None:
            cache.commit(plan)
        if last_only:
            last = (lengths - 1).clip(0).to(self.device)
            x = x[torch.arange(B, device=self.device), last][:, None]
        x = normalise(x, self.weights["norm.weight"], config.norm_eps)
        logits = x @ self.weights["output.weight"].T
        return logits.float() if logits.dtype.itemsize < 4 else logits

    def heads(self, n, x, positions):
        """What tokens ask, offer and pass on in layer n; q and k are rotated.

        x (B, T, E), positions (B, T) -> q (B, H, T, D), k and v (B, G, T, D).
        """
        config = self.config
        turns = rotation(positions, config.head_dim, config.rope_theta, x.dtype)
        return heads(config, self.weights_of(n), x, turns)

    def weights_of(self, n):
        """The weights of layer n, by their names inside it."""
        return {name: self.weights[f"layers.{n}.{name}.weight"] for name in LAYER}

    def _inputs(self, tokens, lengths):
        """Both as arrays, checked. What stands in the padding does not matter."""
        on_cpu = partial(as_tensor, device="cpu")
        tokens = as_array("tokens", on_cpu, tokens)
        require_integers("tokens", tokens)
        tokens = tokens.long()
        if lengths is None or tokens.ndim != 2 or 0 in tokens.shape:
            require_tokens(tokens, self.config.vocab_size)
            return tokens, torch.full((len(tokens),), tokens.shape[1], device="cpu")
        (B, T), lengths = tokens.shape, as_array("lengths", on_cpu, lengths)
        require_lengths(lengths, B, T)
        lengths = lengths.long()  # so that a length less one can be negative
        tokens = torch.where(torch.arange(T, device="cpu") < lengths[:, None], tokens, 0)
        require_tokens(tokens, self.config.vocab_size)
        return tokens, lengths

    def require_cache(self, cache, batch_size):
        """Raise TypeError or ValueError unless this model can use the cache for these rows."""
        if not isinstance(cache, RollingCache):
            raise TypeError(
                f"cache must be a {RollingCache.__module__}.RollingCache, not {cache!r}"
            )
        if cache.config != self.config:
            raise ValueError(f"cache must be of {self.config}, not of {cache.config}")
        if cache.batch_size != batch_size:
            raise ValueError(f"cache must have {batch_size} rows, not {cache.batch_size}")
        if cache.k.dtype != self.dtype:
            raise TypeError(f"cache must be {self.dtype}, as the weights, not {cache.k.dtype}")
        if cache.k.device != self.device:
            raise ValueError(
                f"cache must be on {self.device}, as the weights, not {cache.k.device}"
            )


LAYER = (
    "attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo",
    "ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3",
)  # fmt: skip


def layer(config, w, x, turns, blocks, extend=None):
    """One layer: attention, then the feed-forward network, each added to x (B, T, E).

    w: the weights of the layer. turns: from `rotation`. blocks: from `window_blocks`.
    extend: k, v of these tokens -> k, v of all that they may see, as a cache keeps them.
    """
    q, k, v = heads(config, w, x, turns)
    if extend is not None:
        k, v = extend(k, v)
    x = x + merge_heads(attend_blocks(q, k, v, blocks)) @ w["attention.wo"].T
    h = normalise(x, w["ffn_norm"], config.norm_eps)
    return x + swiglu(h, *(w[f"feed_forward.w{i}"] for i in (1, 2, 3)))


def heads(config, w, x, turns):
    """x (B, T, E) -> q (B, H, T, D), k and v (B, G, T, D); q and k are turned."""
    h = normalise(x, w["attention_norm"], config.norm_eps)
    q = split_heads(h @ w["attention.wq"].T, config.n_heads)
    k = split_heads(h @ w["attention.wk"].T, config.n_kv_heads)
    v = split_heads(h @ w["attention.wv"].T, config.n_kv_heads)
    turned = turn(torch.cat([q, k], dim=1), *turns)  # both at once: half the calls
    return turned[:, : q.shape[1]], turned[:, q.shape[1] :], v


def split_heads(x, n_heads):
    """(B, T, n_heads * D) -> (B, n_heads, T, D)."""
    B, T, _ = x.shape
    return x.reshape(B, T, n_heads, -1).swapaxes(1, 2)


def merge_heads(x):
    """(B, H, T, D) -> (B, T, H * D)."""
    B, _, T, _ = x.shape
    return x.swapaxes(1, 2).reshape(B, T, -1)


def random_weights(config, seed, dtype, device):
    """Norms of 1, and matrices that neither grow nor shrink what they multiply."""
    device = as_device(device)
    place = {"dtype": getattr(torch, dtype), "device": device}
    seed = require_count("seed", seed, minimum=0)
    rng = None if device.type == "meta" else torch.Generator(device).manual_seed(seed % 2**64)
    weights = {}
    for name, shape in config.weight_shapes().items():
        # A row of the embedding is looked up, not summed.
        scale = 1 if name == "tok_embeddings.weight" else 1 / math.sqrt(shape[-1])
        weight = torch.empty(shape, **place)
        weights[name] = (
            weight.fill_(1) if len(shape) == 1 else weight.normal_(0, scale, generator=rng)
        )
    return weights
