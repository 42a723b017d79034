"""Lesson 08's model with its cache, as a function that reads: for lessons that let it speak."""

from collections.abc import Callable
from typing import Any

import numpy as np

Array = np.ndarray


class LayerCache:
    """Keys and values of the last W positions, (G, W, D); position -1: an empty slot. Lesson 08."""

    def __init__(self, config: Any, store: Callable[..., Any], dtype: Any) -> None:
        shape = (config.n_kv_heads, config.window_size, config.head_dim)
        self.config, self.store = config, store
        self.positions = np.full(config.window_size, -1)
        self.keys, self.values = np.zeros((2, *shape), dtype)

    def write(self, k: Array, v: Array, positions: Array) -> None:
        """k, v (G, T, D): put each token into its slot."""
        for t, i in enumerate(np.asarray(positions).tolist()):
            before = self.positions
            for held, new in ((self.keys, k), (self.values, v)):
                for g in range(len(held)):
                    held[g], self.positions = self.store(held[g], before, new[g, t], i)


class Reader:
    """One text, read chunk by chunk by a Mistral made of parts: ids -> the logits after the last.

    model: a Mistral of `minimistral.np` with a window, whose config and weights are used.
    parts: an object with the functions of the lessons by name: project, rotate, grouped, join,
    store, chunk_mask, rms_norm, feed_forward, layer and attend_cached.
    """

    def __init__(self, model: Any, parts: Any) -> None:
        self.model, self.parts, self.n_read = model, parts, 0
        self.caches = [LayerCache(model.config, parts.store, model.dtype) for _ in model.layers]

    def __call__(self, ids: list[int]) -> Array:
        """Read the next ids, a list -> logits (V,)."""
        positions = np.arange(self.n_read, self.n_read + len(ids))
        self.n_read += len(ids)
        x = self.model.weights["tok_embeddings.weight"][ids]
        for n in range(len(self.caches)):
            x = self._layer(n, x, positions)
        x = self.parts.rms_norm(x, self.model.weights["norm.weight"], self.model.config.norm_eps)
        logits: Array = x[-1] @ self.model.weights["output.weight"].T
        return logits

    def _layer(self, n: int, x: Array, positions: Array) -> Array:
        p, config, w = self.parts, self.model.config, self.model.layers[n]

        def norm(name: str) -> Callable[[Array], Array]:
            return lambda x: p.rms_norm(x, w[name], config.norm_eps)

        def attention(x: Array) -> Array:
            matrices = (w[f"attention.w{letter}"] for letter in "qkv")
            q, k, v = p.project(x, *matrices, config.n_heads, config.n_kv_heads)
            q, k = (
                np.stack([p.rotate(head, positions, config.rope_theta) for head in heads])
                for heads in (q, k)
            )
            heads = p.attend_cached(p, q, k, v, self.caches[n], positions)
            joined: Array = p.join(heads, w["attention.wo"])
            return joined

        w1, w2, w3 = (w[f"feed_forward.w{i}"] for i in (1, 2, 3))
        out: Array = p.layer(
            x, attention, lambda x: p.feed_forward(x, w1, w2, w3),
            norm("attention_norm"), norm("ffn_norm"),
        )  # fmt: skip
        return out
