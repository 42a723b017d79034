"""What several test files need: random configs, the oracle, and the model as slow loops."""

import math
import os
import shutil
import sys
import sysconfig
from pathlib import Path

import numpy as np
import pytest
import torch

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp

HF_NAMES = {  # what transformers calls each weight of a layer
    "attention.wq": "self_attn.q_proj", "attention.wk": "self_attn.k_proj",
    "attention.wv": "self_attn.v_proj", "attention.wo": "self_attn.o_proj",
    "feed_forward.w1": "mlp.gate_proj", "feed_forward.w2": "mlp.down_proj",
    "feed_forward.w3": "mlp.up_proj",
    "attention_norm": "input_layernorm", "ffn_norm": "post_attention_layernorm",
}  # fmt: skip

# torch.compile on a CPU calls this compiler and no other, even where another is installed.
CXX = os.environ.get("CXX") or {"darwin": "clang++", "win32": "cl"}.get(sys.platform, "g++")
HEADERS = Path(sysconfig.get_path("include"), "Python.h")  # Debian: in a package of their own
needs_compiler = pytest.mark.skipif(
    shutil.which(CXX) is None or not HEADERS.is_file(),
    reason=f"torch.compile needs {CXX} and Python.h on a CPU",
)


def small(**changes):
    """A model small enough for loops: two layers, four heads in two groups, W = 4."""
    sizes = dict(
        dim=8, n_layers=2, head_dim=4, hidden_dim=12, n_heads=4, n_kv_heads=2,
        window_size=4, context_len=64, vocab_size=11,
    )  # fmt: skip
    return ModelConfig(**{**sizes, **changes})


def random_config(rng, n_tokens):
    """Any sizes; a window from 1 to beyond the prompt, or none."""
    n_kv_heads = int(rng.integers(1, 5))
    return ModelConfig(
        dim=int(rng.integers(8, 33)),  # a norm over a few values is ill-conditioned
        n_layers=int(rng.integers(1, 4)),
        head_dim=2 * int(rng.integers(1, 9)),
        hidden_dim=int(rng.integers(1, 65)),
        n_heads=n_kv_heads * int(rng.choice([1, 2, 3, 4])),
        n_kv_heads=n_kv_heads,
        window_size=None if rng.random() < 0.1 else int(rng.integers(1, n_tokens + 6)),
        context_len=64,
        vocab_size=int(rng.integers(2, 60)),
        norm_eps=float(rng.choice([1e-6, 1e-5, 0.1])),
        rope_theta=float(rng.choice([1e2, 1e4, 1e6])),
    )


def random_model(config, seed=0, dtype="float32"):
    """A NumPy model whose norms are not 1, so that a norm left out shows."""
    rng = np.random.default_rng(seed)
    weights = dict(mn.Mistral(config, seed=seed, dtype=dtype).weights)
    for name, weight in weights.items():
        if weight.ndim == 1:
            weights[name] = rng.uniform(0.5, 1.5, weight.shape).astype(dtype)
    return mn.Mistral(config, weights)


def twins(config, seed=0, dtype="float32"):
    """The same weights in NumPy and in torch."""
    model = random_model(config, seed, dtype)
    return model, mp.Mistral(config, model.weights)


def random_tokens(rng, config, batch_size, n_tokens):
    return rng.integers(0, config.vocab_size, (batch_size, n_tokens))


def transformers_model(model, attention):
    """The oracle: transformers' own model with the weights of a NumPy one."""
    from transformers import MistralConfig, MistralForCausalLM

    config = model.config
    oracle = MistralForCausalLM(
        MistralConfig(
            hidden_size=config.dim, num_hidden_layers=config.n_layers, head_dim=config.head_dim,
            intermediate_size=config.hidden_dim, num_attention_heads=config.n_heads,
            num_key_value_heads=config.n_kv_heads, sliding_window=config.window_size,
            max_position_embeddings=config.context_len, vocab_size=config.vocab_size,
            rms_norm_eps=config.norm_eps, tie_word_embeddings=False,
            rope_parameters={"rope_type": "default", "rope_theta": config.rope_theta},
            attn_implementation=attention, bos_token_id=None, eos_token_id=None,
            pad_token_id=None,
        )
    ).eval()  # fmt: skip
    state = {
        "model.embed_tokens.weight": model.weights["tok_embeddings.weight"],
        "model.norm.weight": model.weights["norm.weight"],
        "lm_head.weight": model.weights["output.weight"],
    }
    # transformers rotates value j with value j + D / 2, Mistral 2j with 2j + 1
    half = np.arange(config.head_dim).reshape(-1, 2).T.ravel()
    for n in range(config.n_layers):
        for ours, theirs in HF_NAMES.items():
            weight = model.weights[f"layers.{n}.{ours}.weight"]
            if ours in ("attention.wq", "attention.wk"):
                heads = weight.reshape(-1, config.head_dim, config.dim)
                weight = heads[:, half].reshape(weight.shape)
            state[f"model.layers.{n}.{theirs}.weight"] = weight
    oracle.load_state_dict({name: torch.from_numpy(weight) for name, weight in state.items()})
    return oracle


def model_as_loops(model, tokens):
    """The specification: the logits of one prompt, one token and one head at a time."""
    config = model.config
    w = {name: weight.astype(np.float64) for name, weight in model.weights.items()}

    def norm(x, weight):
        return x / math.sqrt(sum(value**2 for value in x) / len(x) + config.norm_eps) * weight

    def turned(head, position):
        out = np.zeros(config.head_dim)
        for j in range(0, config.head_dim, 2):
            angle = position * config.rope_theta ** (-j / config.head_dim)
            turn = complex(head[j], head[j + 1]) * complex(math.cos(angle), math.sin(angle))
            out[j], out[j + 1] = turn.real, turn.imag
        return out

    xs = [w["tok_embeddings.weight"][token] for token in tokens]
    for n in range(config.n_layers):
        layer = {name: w[f"layers.{n}.{name}.weight"] for name in HF_NAMES}
        hs = [norm(x, layer["attention_norm"]) for x in xs]
        qs, ks, vs = (
            [(layer[f"attention.w{which}"] @ h).reshape(-1, config.head_dim) for h in hs]
            for which in "qkv"
        )
        for i in range(len(tokens)):
            heads = []
            for head in range(config.n_heads):
                g = head // (config.n_heads // config.n_kv_heads)
                first = 0 if config.window_size is None else max(0, i - config.window_size + 1)
                seen = range(first, i + 1)
                q = turned(qs[i][head], i)
                scores = [q @ turned(ks[j][g], j) / math.sqrt(config.head_dim) for j in seen]
                parts = [math.exp(score - max(scores)) for score in scores]
                heads.append(
                    sum(part * vs[j][g] for part, j in zip(parts, seen, strict=True)) / sum(parts)
                )
            xs[i] = xs[i] + layer["attention.wo"] @ np.concatenate(heads)
        for i, x in enumerate(xs):
            h = norm(x, layer["ffn_norm"])
            gate = layer["feed_forward.w1"] @ h
            gate = np.array([value / (1 + math.exp(-value)) for value in gate])
            xs[i] = x + layer["feed_forward.w2"] @ (gate * (layer["feed_forward.w3"] @ h))
    return np.array([w["output.weight"] @ norm(x, w["norm.weight"]) for x in xs])


def in_chunks(model, tokens, sizes, cache):
    """Logits of tokens (B, T), read in chunks of these sizes in turn."""
    logits, start = [], 0
    while start < tokens.shape[1]:
        size = sizes[len(logits) % len(sizes)]
        logits.append(np.asarray(model(tokens[:, start : start + size], cache)))
        start += size
    return np.concatenate(logits, axis=1)
