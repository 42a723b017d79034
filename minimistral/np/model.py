"""Mistral: the whole model, from token ids to logits (paper section 2)."""

import math
from collections.abc import Mapping
from functools import partial

import numpy as np

from minimistral._arguments import (
    as_array,
    require_count,
    require_dtype,
    require_integers,
    require_lengths,
    require_tokens,
)
from minimistral.config import require_config
from minimistral.np.attention import attend_blocks
from minimistral.np.cache import DTYPES, RollingCache
from minimistral.np.feedforward import swiglu
from minimistral.np.mask import window_blocks
from minimistral.np.norm import normalise
from minimistral.np.rope import rotation, turn
from minimistral.np.streaming import as_weight


class Mistral:
    """A Mistral model: its config and its weights.

    weights: arrays (out, in) under Mistral's own names, as in config.weight_shapes(), all of
    one float dtype. They are not copied. None draws random ones from `seed`.
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
            self.weights = {name: as_array(name, make, w) for name, w in weights.items()}
        config.require_weights(self.weights)
        self.dtype = self.weights["norm.weight"].dtype

    def __repr__(self):
        return f"Mistral({self.config}, {self.dtype})"

    def new_cache(self, batch_size, max_tokens=None):
        """An empty RollingCache that fits this model."""
        return RollingCache(self.config, batch_size, max_tokens, dtype=self.dtype)

    def __call__(self, tokens, cache=None, last_only=False, *, lengths=None):
        """After each token, the logits of the next.

        tokens (B, T) integers from 0 to V - 1 -> logits (B, T, V), float32 (float64 when the
        weights are). last_only: only those after each row's last token, (B, 1, V).
        cache: a RollingCache of the same config, batch and dtype. The tokens go on from what
        it has seen, and are in it afterwards. lengths (B,): how many tokens of each row are
        real; what stands behind them is padding, and its logits are 0.
        Raises TypeError or ValueError, naming the argument, before anything changes.
        """
        config, (tokens, lengths) = self.config, self._inputs(tokens, lengths)
        B, T = tokens.shape
        if cache is not None:
            self.require_cache(cache, B)
        seen = np.zeros(B, int) if cache is None else cache.seen
        index = np.arange(T)
        positions = np.where(index < lengths[:, None], seen[:, None] + index, -1)
        plan = cache and cache.begin(positions)
        k_pos = plan.k_pos if cache else positions
        blocks = window_blocks(positions, k_pos, config.window_size)

        # Padding is a vector of zeros, and stays one through every layer.
        x = self.weights["tok_embeddings.weight"][tokens]
        x = np.where(positions[:, :, None] >= 0, x, 0)
        turns = rotation(positions, config.head_dim, config.rope_theta, self.dtype)
        for n in range(config.n_layers):
            extend = cache and partial(cache.extend, n, plan=plan)
            x = layer(config, self.weights_of(n), x, turns, blocks, extend)
        if cache is not None:
            cache.commit(plan)
        if last_only:
            x = x[np.arange(B), (lengths - 1).clip(0)][:, None]
        x = normalise(x, self.weights["norm.weight"], config.norm_eps)
        logits = x @ self.weights["output.weight"].T
        return logits.astype(np.float32) if logits.dtype.itemsize < 4 else logits

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
        tokens = as_array("tokens", np.asarray, tokens)
        require_integers("tokens", tokens)
        tokens = tokens.astype(np.int64)
        if lengths is None or tokens.ndim != 2 or 0 in tokens.shape:
            require_tokens(tokens, self.config.vocab_size)
            return tokens, np.full(len(tokens), tokens.shape[1])
        (B, T), lengths = tokens.shape, as_array("lengths", np.asarray, lengths)
        require_lengths(lengths, B, T)
        lengths = lengths.astype(np.int64)  # so that a length less one can be negative
        tokens = np.where(np.arange(T) < lengths[:, None], tokens, 0)
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
    turned = turn(np.concatenate([q, k], axis=1), *turns)  # both at once: half the calls
    return turned[:, : q.shape[1]], turned[:, q.shape[1] :], v


def split_heads(x, n_heads):
    """(B, T, n_heads * D) -> (B, n_heads, T, D)."""
    B, T, _ = x.shape
    return x.reshape(B, T, n_heads, -1).swapaxes(1, 2)


def merge_heads(x):
    """(B, H, T, D) -> (B, T, H * D)."""
    B, _, T, _ = x.shape
    return x.swapaxes(1, 2).reshape(B, T, -1)


def random_weights(config, seed, dtype):
    """Norms of 1, and matrices that neither grow nor shrink what they multiply."""
    rng = np.random.default_rng(require_count("seed", seed, minimum=0))
    weights = {}
    for name, shape in config.weight_shapes().items():
        # A row of the embedding is looked up, not summed.
        scale = 1 if name == "tok_embeddings.weight" else 1 / math.sqrt(shape[-1])
        normal = rng.standard_normal(shape, np.float32) * np.float32(scale)
        weights[name] = (np.ones(shape) if len(shape) == 1 else normal).astype(dtype)
    return weights
