"""The measurements on a GPU: the full 7B config, random weights, bfloat16."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch.nn.functional import scaled_dot_product_attention
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral import pt as mp
from minimistral.bench.configs import CONFIGS, prefill_flops
from minimistral.bench.engines import Ours, Theirs, packed
from minimistral.bench.limits import gpu_limits
from minimistral.bench.suites import Row, limit_rows
from minimistral.bench.timing import in_turns
from minimistral.config import ModelConfig

CONTEXTS = (1, 4096, 32768)
BATCHES = (1, 32, 128)
PROMPT, CHUNK, ATTENTION = 32768, 4096, 16384


def measure(names: Sequence[str], quick: bool = False, device: str = "cuda") -> list[Row]:
    """All rows of these configs. A progress bar goes to stderr."""
    seconds = 1.0 if quick else 5.0
    machine = gpu_limits(seconds, device, 8192 if device == "cuda" else 256)
    rows = limit_rows(machine)
    parts = (decode, decode_batches, decode_kv_heads, prefill, attention, decode_packed)
    with tqdm(total=len(names) * len(parts), disable=None, leave=False) as bar:
        for name in names:
            for part in parts:
                bar.set_description(f"{name}: {part.__name__}")
                part_rows = part(CONFIGS[name], Bench(machine, seconds, device))
                rows += [{"config": name, **row} for row in part_rows]
                if device == "cuda":
                    torch.cuda.empty_cache()
                bar.update()
    return rows


class Bench:
    """Where and how long to measure, and the limits of the device."""

    def __init__(self, machine: dict[str, float], seconds: float, device: str):
        self.machine, self.seconds, self.device = machine, seconds, device

    def wait(self) -> None:
        if self.device == "cuda":
            torch.cuda.synchronize()

    def time(self, runs: Mapping[str, Callable[[], Any]]) -> dict[str, dict[str, float]]:
        return in_turns(runs, self.seconds, self.wait)

    def model(self, config: ModelConfig) -> mp.Mistral:
        return mp.Mistral(config, dtype="bfloat16", device=self.device)

    def peak(self) -> int:
        return torch.cuda.max_memory_allocated() if self.device == "cuda" else 0

    def reset_peak(self) -> None:
        if self.device == "cuda":
            torch.cuda.reset_peak_memory_stats()


def decode(config: ModelConfig, bench: Bench) -> list[Row]:
    """One sequence, at several contexts: compiled, plain, and transformers on the same card.

    "generate, greedy" chooses each token and reads it next; "decode" leaves both out. The peak
    memory is that of the compiled step: weights, cache, and a workspace.
    """
    rows, model = [], bench.model(config)
    weights = sum(weight.nbytes for weight in model.weights.values())
    for context in CONTEXTS:
        engine = Ours(model, compiled=True)
        for what, make in {"decode": engine.decode, "generate, greedy": engine.generate}.items():
            bench.reset_peak()
            times = bench.time({what: make(context)})[what]
            rows.append({
                "what": what, "engine": "pt compiled", **times, "context": context,
                "limit": _of_copy(config, context, times, bench), "weight_bytes": weights,
                "cache_bytes": engine.cache.nbytes, "peak_bytes": bench.peak(),
                "note": f"context {context}",
            })  # fmt: skip
        del engine
    peers: dict[str, Any] = {
        "pt": Ours(model),
        "transformers sdpa": Theirs(model.weights, config, "sdpa"),
    }
    peer_times = bench.time({name: peer.decode(CONTEXTS[1]) for name, peer in peers.items()})
    rows += [
        {"what": "decode", "engine": name, **times, "context": CONTEXTS[1],
         "limit": _of_copy(config, CONTEXTS[1], times, bench), "note": f"context {CONTEXTS[1]}"}
        for name, times in peer_times.items()
    ]  # fmt: skip
    return rows


def _of_copy(
    config: ModelConfig, context: int, times: dict, bench: Bench, batch_size: int = 1
) -> float:
    """The bytes per second of a decode step, as a share of what a copy reaches."""
    n_bytes = config.decode_bytes(context, batch_size=batch_size)
    return n_bytes / times["median"] / bench.machine["copy"]


def decode_batches(config: ModelConfig, bench: Bench) -> list[Row]:
    """Many sequences at once: each weight is read once for all of them."""
    rows, engine = [], Ours(bench.model(config), compiled=True)
    for batch_size in BATCHES:
        times = bench.time({"": engine.generate(1024, batch_size)})[""]
        rows.append({
            "what": f"generate, batch {batch_size}", "engine": "pt compiled", **times,
            "tokens": batch_size, "context": 1024, "batch": batch_size,
            "limit": _of_copy(config, 1024, times, bench, batch_size), "note": "context 1024",
        })  # fmt: skip
    return rows


def decode_kv_heads(config: ModelConfig, bench: Bench) -> list[Row]:
    """Decode with the config's KV heads, and with one KV head per query head."""
    rows = []
    for n_kv_heads in (config.n_kv_heads, config.n_heads):
        changed = replace(config, n_kv_heads=n_kv_heads)
        engine = Ours(bench.model(changed), compiled=True)
        times = bench.time({"": engine.decode(CONTEXTS[1])})[""]
        rows.append({
            "what": f"decode, {n_kv_heads} KV heads", "engine": "pt compiled", **times,
            "context": CONTEXTS[1], "cache_bytes": engine.cache.nbytes,
            "note": f"context {CONTEXTS[1]}",
        })  # fmt: skip
        del engine
    return rows


def prefill(config: ModelConfig, bench: Bench) -> list[Row]:
    """A long prompt in chunks, with block-sparse attention; and by transformers."""
    model = bench.model(config)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, PROMPT))
    engines: dict[str, Any] = {
        "pt compiled": Ours(model, compiled=True),
        "transformers sdpa": Theirs(model.weights, config, "sdpa"),
    }
    runs = {name: partial(engine.prefill, tokens, CHUNK) for name, engine in engines.items()}
    flops = prefill_flops(config, PROMPT)
    return [
        {"what": "prefill", "engine": name, **times, "tokens": PROMPT, "chunk": CHUNK,
         "limit": flops / times["median"] / bench.machine["matmul"],
         "note": f"{PROMPT} tokens in chunks of {CHUNK}"}
        for name, times in bench.time(runs).items()
    ]  # fmt: skip


@torch.no_grad()
def attention(config: ModelConfig, bench: Bench) -> list[Row]:
    """Attention of one layer alone: the paper claims twice the speed at 16K with W = 4096."""
    T, window = ATTENTION, min(config.window_size or ATTENTION, ATTENTION // 4)
    options: dict[str, Any] = {"dtype": torch.bfloat16, "device": bench.device}
    q = torch.randn(1, config.n_heads, T, config.head_dim, **options)
    k, v = (torch.randn(1, config.n_kv_heads, T, config.head_dim, **options) for _ in "kv")
    positions = torch.arange(T, device=bench.device)
    masks = {w: mp.window_mask(positions, positions, w, block_sparse=True) for w in (None, window)}
    results = bench.time({
        "full causal, torch's": lambda: scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True
        ),
        "full causal, block-sparse": lambda: mp.attend(q, k, v, masks[None]),
        "window, block-sparse": lambda: mp.attend(q, k, v, masks[window]),
    })  # fmt: skip
    return [
        {"what": "attention", "engine": name, **times, "tokens": T, "window": window,
         "note": f"T {T}, W {window}"}
        for name, times in results.items()
    ]  # fmt: skip


def decode_packed(config: ModelConfig, bench: Bench) -> list[Row]:
    """Decode with weights of 8 and 4 bits, and how far the logits of a prompt move."""
    model, rows = bench.model(config), []
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, 64))
    expected = Ours(model).prefill(tokens)
    for kind in ("int8", "int4"):
        small = packed(model, kind)
        error = float((Ours(small).prefill(tokens) - expected).std() / expected.std())
        engine = Ours(small, compiled=True)
        times = bench.time({"": engine.decode(CONTEXTS[0])})[""]
        rows.append({
            "what": f"decode {kind}", "engine": "pt compiled", **times, "context": CONTEXTS[0],
            "error": error, "note": f"logits {100 * error:.1f} % off",
            "weight_bytes": sum(weight.nbytes for weight in small.weights.values()),
        })  # fmt: skip
    return rows
