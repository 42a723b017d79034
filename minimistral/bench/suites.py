"""The measurements on a CPU."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

import numpy as np
import torch
from torch._inductor.exc import InductorError
from torch.nn.functional import scaled_dot_product_attention
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.bench.configs import CONFIGS, prefill_flops
from minimistral.bench.engines import PEER, Ours, cpu_engines, packed
from minimistral.bench.limits import cpu_limits
from minimistral.bench.timing import in_turns
from minimistral.config import ModelConfig
from minimistral.pt.attention import attend
from minimistral.pt.mask import query_blocks

Row = dict[str, Any]
STEPS = 8  # decode steps per turn: as in a long text, the caches are warm after the first
PROMPT = {"small": 512, "medium": 1024, "7b-layer": 128}  # tokens to prefill


def measure(names: Sequence[str], quick: bool = False) -> list[Row]:
    """All rows: the machine's limits, then each config. A progress bar goes to stderr."""
    seconds = 1.0 if quick else 10.0
    bar = tqdm(total=1 + 5 * len(names), disable=None, leave=False)

    def done(what: str) -> None:
        bar.set_description(what)
        bar.update()

    machine = cpu_limits(seconds)
    done("limits")
    rows = limit_rows(machine)
    for name in names:
        rows += measure_config(name, CONFIGS[name], machine, quick, seconds, done)
    bar.close()
    return rows


def limit_rows(machine: dict[str, float]) -> list[Row]:
    units = {"read": "GB/s", "sgemv": "GB/s", "copy": "GB/s", "sgemm": "GFLOP/s"}
    return [
        {"config": "-", "what": "limit", "engine": name, "value": value,
         "note": f"{value / 1e9:.1f} {units.get(name, 'GFLOP/s')}"}
        for name, value in machine.items()
    ]  # fmt: skip


def measure_config(
    name: str,
    config: ModelConfig,
    machine: dict[str, float],
    quick: bool,
    seconds: float,
    done: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """Prefill; decode, also far into a text and with packed weights; attention by blocks."""
    W, T = config.window_size or config.context_len, PROMPT.get(name, 64)
    engines = cpu_engines(config, compiled=not quick)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, T))
    able, rows = engines_that_compile(name, engines, tokens)
    require_same_logits(able, tokens)

    runs = {key: partial(engine.prefill, tokens) for key, engine in able.items()}
    times = in_turns(runs, 3 * seconds)
    flops = prefill_flops(config, T)
    work: Row = {"tokens": T, "flops": flops, "bytes": config.decode_bytes(0, "float32")}
    rows += comparison(name, "prefill", times, lambda s: flops / s / machine["sgemm"], **work)
    done(f"{name}: prefill")

    steps = {key: engine.decode(W) for key, engine in engines.items()}
    times = in_turns(steps, 3 * seconds, calls=STEPS)
    read = config.decode_bytes(W, "float32")
    work = {"context": W, "flops": config.decode_flops(W), "bytes": read}
    rows += comparison(name, "decode", times, lambda s: read / s / machine["sgemv"], **work)
    done(f"{name}: decode")

    rows += decode_far(name, config, engines["np"], seconds)
    done(f"{name}: decode at 16 W")
    if not quick:
        rows += decode_packed(name, engines["pt"], tokens, W, seconds)
    done(f"{name}: packed weights")
    rows += attention_by_blocks(name, config, seconds)
    if not quick and name != "7b-layer":
        rows += by_context(name, config, engines, seconds)
    done(f"{name}: attention")
    return rows


def engines_that_compile(
    name: str, engines: dict[str, Any], tokens: np.ndarray
) -> tuple[dict[str, Any], list[Row]]:
    """The engines that can read this prompt, and a row for each that torch cannot compile.

    Without a C++ compiler, or when it rejects what torch generates, the others are still measured.
    """
    able, rows = {}, list[Row]()
    for key, engine in engines.items():
        try:
            engine.prefill(tokens)
        except InductorError:
            note = f"torch {torch.__version__} cannot compile it"
            rows.append({"config": name, "what": "prefill", "engine": key, "note": note})
        else:
            able[key] = engine
    return able, rows


def require_same_logits(engines: dict[str, Any], tokens: np.ndarray) -> None:
    """Raise ArithmeticError unless all engines agree: the time of a wrong result means nothing."""
    reference = np.asarray(engines["np"].prefill(tokens))
    for name, engine in engines.items():
        error = float(np.abs(np.asarray(engine.prefill(tokens)) - reference).max())
        if not error < 2e-3 * float(reference.std()) + 1e-3:
            raise ArithmeticError(f"{name} and np give different logits, {error:.2g} apart")


def comparison(
    config: str, what: str, times: dict[str, dict], limit: Callable[[float], float], **more: Any
) -> list[Row]:
    """A row per engine, with its speed relative to transformers and to the limit."""
    return [
        {
            "config": config,
            "what": what,
            "engine": engine,
            **time,
            "peer": times[PEER]["median"] / time["median"],
            "limit": limit(time["median"]),
            **more,
        }
        for engine, time in times.items()
    ]


def decode_far(name: str, config: ModelConfig, engine: Ours, seconds: float) -> list[Row]:
    """np's decode when the window is just full, and sixteen windows into a text."""
    if config.window_size is None:
        return []
    contexts = {"W": config.window_size, "16 W": 16 * config.window_size}
    steps, cache_bytes = {}, {}
    for label, context in contexts.items():
        steps[label] = engine.decode(context)
        cache_bytes[label] = engine.cache.nbytes
    times = in_turns(steps, 2 * seconds, calls=STEPS)
    return [
        {"config": name, "what": f"decode at {label}", "engine": "np", **times[label],
         "context": context, "cache_bytes": cache_bytes[label],
         "note": f"cache {cache_bytes[label]:,} bytes"}
        for label, context in contexts.items()
    ]  # fmt: skip


def decode_packed(
    name: str, engine: Ours, tokens: np.ndarray, context: int, seconds: float
) -> list[Row]:
    """pt's decode in bfloat16 and with packed weights, and how far the logits move."""
    config, expected = engine.model.config, engine.prefill(tokens)
    model = mp.Mistral(config, engine.model.weights, dtype="bfloat16")
    models = {"bf16": model, "int8": packed(model, "int8"), "int4": packed(model, "int4")}
    engines = {f"pt {kind}": Ours(model) for kind, model in models.items()}
    steps = {key: engine.decode(context) for key, engine in engines.items()}
    times = in_turns(steps, seconds, calls=STEPS)
    rows = []
    for key, packed_engine in engines.items():
        error = float((packed_engine.prefill(tokens) - expected).std() / expected.std())
        weights = packed_engine.model.weights.items()
        weight_bytes = sum(w.nbytes for n, w in weights if n != "tok_embeddings.weight")
        rows.append(
            {"config": name, "what": "decode bfloat16", "engine": key, **times[key],
             "context": context, "flops": config.decode_flops(context),
             "bytes": weight_bytes + packed_engine.cache.nbytes, "error": error,
             "note": f"logits {100 * error:.1f} % off"}
        )  # fmt: skip
    return rows


def attention_by_blocks(name: str, config: ModelConfig, seconds: float) -> list[Row]:
    """Attention alone over 8 windows: full causal, and the window with blocks skipped."""
    if config.window_size is None:
        return []
    T = min(8 * config.window_size, 4096)
    window = min(config.window_size, T // 8)
    times = in_turns(attention(config, T, window), seconds)
    ratio = times["full causal"]["median"] / times["window, by blocks"]["median"]
    return [
        {"config": name, "what": "attention", "engine": key, **time, "tokens": T,
         "window": window, "note": f"T {T}, W {window}"
         + f", {ratio:.2f} x as fast" * (key != "full causal")}
        for key, time in times.items()
    ]  # fmt: skip


@torch.no_grad()
def attention(config: ModelConfig, T: int, window: int) -> dict[str, Callable[[], Any]]:
    """torch's own causal attention, and ours, on the same queries and keys."""
    rng = np.random.default_rng(0)
    q, k, v = (
        torch.from_numpy(rng.standard_normal((1, heads, T, config.head_dim), np.float32))
        for heads in (config.n_heads, config.n_kv_heads, config.n_kv_heads)
    )
    positions = torch.arange(T)[None]
    blocks = query_blocks(positions, positions, window)
    return {
        "full causal": lambda: scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True
        ),
        "window, by blocks": lambda: attend(q, k, v, blocks),
    }


def by_context(
    name: str, config: ModelConfig, engines: dict[str, Any], seconds: float
) -> list[Row]:
    """Time and memory as the context grows: full attention, the window, the rolling cache."""
    W, rows = config.window_size or 1, list[Row]()
    full = replace(config, window_size=None)
    without_window = Ours(mn.Mistral(full, engines["np"].model.weights))
    for context in (W // 2, W, 2 * W, 4 * W, 8 * W, 16 * W):
        times = in_turns(attention(config, context, W), seconds / 5)
        rows += _points(name, "attention by context", times, context)
        steps = {
            "full cache": without_window.decode(context),
            "rolling cache": engines["np"].decode(context),
        }
        times = in_turns(steps, seconds / 5, calls=STEPS)
        sizes = {"full cache": full.cache_bytes(context, "float32"),
                 "rolling cache": config.cache_bytes(context, "float32")}  # fmt: skip
        rows += _points(name, "decode by context", times, context, sizes)
    return rows


def _points(
    name: str, what: str, times: dict[str, dict], context: int, sizes: dict[str, int] | None = None
) -> Iterable[Row]:
    for key, time in times.items():
        row = {"config": name, "what": what, "engine": key, **time, "context": context,
               "note": f"context {context}"}  # fmt: skip
        yield row | ({"cache_bytes": sizes[key]} if sizes else {})
