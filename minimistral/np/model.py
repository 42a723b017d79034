"""Mistral: the whole model, from token ids to logits (paper section 2)."""

import math
from collections.abc import Mapping
from functools import partial
from types import MappingProxyType

import numpy as np

from minimistral._arguments import as_array, require_count, require_dtype
from minimistral.config import require_config
from minimistral.np.cache import DTYPES, NoCache, RollingCache
from minimistral.np.checked import as_inputs, require_cache
from minimistral.np.layer import LAYER, layer, project_qkv
from minimistral.np.linear import linear
from minimistral.np.mapped import as_weight
from minimistral.np.mask import query_blocks
from minimistral.np.norm import rms_norm
from minimistral.np.rope import rope_tables


class Mistral:
    """A Mistral model: its config and its weights.

    weights: arrays (out, in) under Mistral's own names, as in config.weight_shapes(), all of
    one float dtype. They are not copied. None draws random ones from `seed`. They are then in
    model.weights, and those of layer n by their short names in model.layers[n].
    dtype: a name; what the weights are if None, and float32 for random ones.
    Raises TypeError or ValueError, naming the weight, when one is missing, unknown, of another
    shape or dtype, or not finite.

    >>> from minimistral import ModelConfig
    >>> model = Mistral(ModelConfig.tiny())
    >>> model([[1, 2, 3]]).shape                            # (B, T, V)
    (1, 3, 768)
    """

    def __init__(self, config, weights=None, *, seed=0, dtype=None):
        self.config = require_config(config)
        dtype = None if dtype is None else require_dtype(dtype, DTYPES)
        if weights is None:
            weights = random_weights(config, seed, dtype or "float32")
        if not isinstance(weights, Mapping):
            raise TypeError(f"weights must be a dict of arrays, not {type(weights).__name__}")
        make = partial(as_weight, dtype=dtype)  # copies only to change the dtype
        with np.errstate(over="ignore"):  # require_weights names what became infinite
            weights = {name: as_array(name, make, w) for name, w in weights.items()}
        config.require_weights(weights)
        self.weights = MappingProxyType(weights)
        self.layers = [
            {name: weights[f"layers.{n}.{name}.weight"] for name in LAYER}
            for n in range(config.n_layers)
        ]
        self.dtype = self.weights["norm.weight"].dtype

    def __repr__(self):
        return f"Mistral({self.config}, {self.dtype})"

    def new_cache(self, batch_size, max_tokens=None, *, spare=0):
        """An empty RollingCache that fits this model."""
        return RollingCache(self.config, batch_size, max_tokens, spare=spare, dtype=self.dtype)

    def __call__(self, tokens, cache=None, last_only=False, *, lengths=None):
        """After each token, the logits of the next.

        tokens (B, T) integers from 0 to V - 1 -> logits (B, T, V), float32 (float64 when the
        weights are). last_only: only those after each row's last token, (B, 1, V).
        cache: a RollingCache of the same config, batch and dtype. The tokens continue the
        cached text and are appended to it. lengths (B,): how many tokens of each row are
        real; what stands behind them is padding, and its logits are 0.
        Raises TypeError or ValueError, naming the argument, before anything changes.
        """
        config = self.config
        tokens, lengths = as_inputs(tokens, lengths, config.vocab_size)
        B, index = len(tokens), np.arange(tokens.shape[1])
        cache = NoCache(B) if cache is None else require_cache(cache, self, B)
        positions = np.where(index < lengths[:, None], cache.seen[:, None] + index, -1)
        plan = cache.plan(positions)
        mask = query_blocks(positions, plan.k_pos, config.window_size)
        rope = rope_tables(positions, config.head_dim, config.rope_theta, self.dtype)

        x = self.embed(tokens, positions)
        for n, w in enumerate(self.layers):
            x = layer(config, w, x, rope, mask, partial(cache.update, n, plan=plan))
        cache.commit(plan)
        if last_only and len(index) > 1:
            x = x[np.arange(B), (lengths - 1).clip(0)][:, None]
        return self.unembed(x)

    def embed(self, tokens, positions):
        """tokens and positions (B, T) -> x (B, T, E). Padding is zeros, and stays so throughout."""
        x = self.weights["tok_embeddings.weight"][tokens]
        return np.where(positions[:, :, None] >= 0, x, 0)

    def unembed(self, x):
        """x (B, T, E) from the last layer -> logits (B, T, V), float32 at least."""
        x = rms_norm(x, self.weights["norm.weight"], self.config.norm_eps)
        logits = linear(x, self.weights["output.weight"])
        return logits.astype(np.float32) if logits.dtype.itemsize < 4 else logits

    def project_qkv(self, n, x, positions):
        """What tokens ask, offer and pass on in layer n; q and k are rotated.

        x (B, T, E), positions (B, T) -> q (B, H, T, D), k and v (B, G, T, D).
        """
        config, w = self.config, self.layers[n]
        rope = rope_tables(positions, config.head_dim, config.rope_theta, x.dtype)
        return project_qkv(config, w, rms_norm(x, w["attention_norm"], config.norm_eps), rope)


def random_weights(config, seed, dtype):
    """Norms of 1, and matrices that neither grow nor shrink what they multiply."""
    config.require_weights_size(dtype)
    rng = np.random.default_rng(require_count("seed", seed, minimum=0))
    weights = {}
    for name, shape in config.weight_shapes().items():
        # A row of the embedding is looked up, not summed.
        scale = 1 if name == "tok_embeddings.weight" else 1 / math.sqrt(shape[-1])
        normal = rng.standard_normal(shape, np.float32) * np.float32(scale)
        weights[name] = (np.ones(shape) if len(shape) == 1 else normal).astype(dtype)
    return weights
