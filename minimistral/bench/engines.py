"""The engines to compare, with the same weights: np, pt, and transformers as their peer."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.checkpoint import hf_name, rotated_heads, to_halves
from minimistral.config import ModelConfig
from minimistral.pt.compiled import CompiledStep
from minimistral.pt.quantize import quantized

PEER = "transformers sdpa"


class Ours:
    """np or pt: `prefill(tokens)` -> the last logits (V,); `decode(context)` -> a step to call.

    compiled: of pt, decode with a compiled step and prefill with block-sparse attention. Several
    engines may share a model.
    """

    def __init__(self, model: Any, compiled: bool = False):
        self.model, self.compiled = model, compiled

    @torch.no_grad()
    def prefill(self, tokens: np.ndarray, chunk_size: int | None = None) -> Any:
        model, (B, T) = self.model, tokens.shape
        if isinstance(model, mp.Mistral):
            model.block_sparse = self.compiled
        cache = model.new_cache(B, T)
        for start in range(0, T, chunk_size or T):
            chunk = tokens[:, start : start + (chunk_size or T)]
            logits = model(chunk, cache, last_only=True)
        return logits[0, -1]

    @torch.no_grad()
    def decode(self, context: int, batch_size: int = 1) -> Callable[[], Any]:
        """A step of one token per row; the first step has `context` tokens before it."""
        self.cache = self.model.new_cache(batch_size, context + 400)
        fill(self.cache, context)
        tokens, ones = [[7]] * batch_size, [1] * batch_size
        if self.compiled:
            step = CompiledStep(self.model, self.cache)
            return lambda: step(tokens, ones)

        @torch.no_grad()
        def plain() -> Any:
            return self.model(tokens, self.cache, last_only=True)

        return plain

    def generate(self, context: int, batch_size: int = 1) -> Callable[[], Any]:
        """As decode, but each step chooses the likeliest tokens, and the next one reads them."""
        self.cache = self.model.new_cache(batch_size, context + 400)
        fill(self.cache, context)
        step, ones = CompiledStep(self.model, self.cache), [1] * batch_size
        tokens = [7] * batch_size

        def choose() -> Any:
            tokens[:] = step.greedy([[token] for token in tokens], ones)

        return choose


def fill(cache: Any, context: int) -> None:
    """Put a cache in its state after `context` tokens, with random keys and values."""
    n_kept = min(context, cache.n_slots)
    kept = np.arange(context - n_kept, context)
    positions: Any = np.broadcast_to(kept, (cache.batch_size, n_kept)).copy()
    if isinstance(cache, mp.RollingCache):
        for values in (cache.k, cache.v):
            values.normal_()
        positions = torch.from_numpy(positions)
    else:
        rng = np.random.default_rng(0)
        for values in (cache.k, cache.v):
            values[:] = rng.standard_normal(values.shape, np.float32)
    cache.commit(cache.plan(positions))


class Theirs:
    """transformers' own Mistral, with its own cache."""

    def __init__(self, weights: dict[str, Any], config: ModelConfig, attention: str):
        from transformers import MistralConfig, MistralForCausalLM
        from transformers.utils import logging

        logging.set_verbosity_error()
        sizes: dict[str, Any] = dict(
            hidden_size=config.dim, num_hidden_layers=config.n_layers, head_dim=config.head_dim,
            intermediate_size=config.hidden_dim, num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads, sliding_window=config.window_size,
            max_position_embeddings=max(config.context_len, 32768),
            vocab_size=config.vocab_size,
            rms_norm_eps=config.norm_eps, tie_word_embeddings=False,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            attn_implementation=attention, bos_token_id=None, eos_token_id=None,
            pad_token_id=None,
        )  # fmt: skip
        self.config = MistralConfig(**sizes)
        first = weights["norm.weight"]
        with torch.device("meta"):
            model = MistralForCausalLM(self.config).to(first.dtype)
        state = {hf_name(name): to_peer(config, name, w) for name, w in weights.items()}
        model.load_state_dict(state, assign=True)
        rotary = type(model.model.rotary_emb)  # a table, not a weight: rebuilt off "meta"
        model.model.rotary_emb = rotary(self.config).to(first.device)
        self.model, self.device = model.eval(), first.device

    def _new_cache(self) -> Any:
        from transformers import DynamicCache

        return DynamicCache(config=self.config)

    @torch.no_grad()
    def prefill(self, tokens: np.ndarray, chunk_size: int | None = None) -> Any:
        ids = torch.from_numpy(tokens).to(self.device)
        self.cache = self._new_cache()
        for part in ids.split(chunk_size or ids.shape[1], dim=1):
            out = self.model(part, past_key_values=self.cache, logits_to_keep=1)
        return out.logits[0, -1].float()

    @torch.no_grad()
    def decode(self, context: int, batch_size: int = 1) -> Callable[[], Any]:
        rng = np.random.default_rng(1)
        tokens = rng.integers(0, self.config.vocab_size, (batch_size, context))
        self.prefill(tokens, chunk_size=4096)
        one = torch.full((batch_size, 1), 7, device=self.device)

        @torch.no_grad()
        def step() -> Any:
            return self.model(one, past_key_values=self.cache, logits_to_keep=1)

        return step


def to_peer(config: ModelConfig, name: str, weight: torch.Tensor) -> torch.Tensor:
    """A weight in the layout of transformers; Wq and Wk are copied, their rows reordered."""
    heads = rotated_heads(config, name)
    return to_halves(weight, heads).contiguous() if heads else weight


def cpu_engines(config: ModelConfig, compiled: bool) -> dict[str, Any]:
    """The engines in float32 on the CPU. They share the memory of their weights."""
    model = mn.Mistral(config)
    twin = mp.Mistral(config, model.weights)
    engines: dict[str, Any] = {"np": Ours(model), "pt": Ours(twin)}
    if compiled:
        engines["pt compiled"] = Ours(twin, compiled=True)
    for attention in ("sdpa", "eager"):
        engines[f"transformers {attention}"] = Theirs(twin.weights, config, attention)
    return engines


def packed(model: mp.Mistral, kind: str) -> mp.Mistral:
    """The same model with its matrices quantised to 8 or 4 bits."""
    weights = {name: quantized(name, weight, kind) for name, weight in model.weights.items()}
    return mp.Mistral(model.config, weights)
