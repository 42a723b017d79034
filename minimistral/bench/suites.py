"""What is measured on a CPU."""

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
from minimistral.bench import limits
from minimistral.bench.configs import CONFIGS, decode_bytes, prefill_flops
from minimistral.bench.engines import PEER, Ours, on_cpu, packed
from minimistral.bench.timing import in_turns
from minimistral.config import ModelConfig
from minimistral.pt.attention import attend_blocks
from minimistral.pt.mask import window_blocks

Row = dict[str, Any]
STEPS = 8  # of decode a turn: a text is many, and the caches are warm after the first
PROMPT = {"small": 512, "medium": 1024, "7b-layer": 128}  # tokens of the prefill


def measure(names: Sequence[str], quick: bool = False) -> list[Row]:
    """All rows: the machine's limits, then each config. A progress bar goes to stderr."""
    seconds = 1.0 if quick else 10.0
    bar = tqdm(total=1 + 5 * len(names), disable=None, leave=False)

    def done(what: str) -> None:
        bar.set_description(what)
        bar.update()

    machine = limits.of_cpu(seconds)
    done("limits")
    rows = limit_rows(machine)
    for name in names:
        rows += of_config(name, CONFIGS[name], machine, quick, seconds, done)
    bar.close()
    return rows


def limit_rows(machine: dict[str, float]) -> list[Row]:
    units = {"read": "GB/s", "sgemv": "GB/s", "copy": "GB/s", "sgemm": "GFLOP/s"}
    return [
        {"config": "-", "what": "limit", "engine": name, "value": value,
         "note": f"{value / 1e9:.1f} {units.get(name, 'GFLOP/s')}"}
        for name, value in machine.items()
    ]  # fmt: skip


def of_config(
    name: str,
    config: ModelConfig,
    machine: dict[str, float],
    quick: bool,
    seconds: float,
    done: Callable[[str], None] = lambda what: None,
) -> list[Row]:
    """prefill, decode, decode far on, packed weights, and attention with blocks skipped."""
    W, T = config.window_size or config.context_len, PROMPT.get(name, 64)
    engines = on_cpu(config, compiled=not quick)
    tokens = np.random.default_rng(0).integers(0, config.vocab_size, (1, T))
    readers, rows = that_compile(name, engines, tokens)
    require_the_same(readers, tokens)

    runs = {e: partial(each.prefill, tokens) for e, each in readers.items()}
    found = in_turns(runs, 3 * seconds)
    flops = prefill_flops(config, T)
    work: Row = {"tokens": T, "flops": flops, "bytes": decode_bytes(config, 0, 4)}
    rows += compared(name, "prefill", found, lambda s: flops / s / machine["sgemm"], **work)
    done(f"{name}: prefill")

    found = in_turns({e: o.decode(W) for e, o in engines.items()}, 3 * seconds, calls=STEPS)
    read = decode_bytes(config, W, 4)
    work = {"context": W, "flops": config.decode_flops(W), "bytes": read}
    rows += compared(name, "decode", found, lambda s: read / s / machine["sgemv"], **work)
    done(f"{name}: decode")

    rows += far_on(name, config, engines["np"], seconds)
    done(f"{name}: decode at 16 W")
    if not quick:
        rows += bits(name, engines["pt"], tokens, W, seconds)
    done(f"{name}: packed weights")
    rows += blocks(name, config, seconds)
    if not quick and name != "7b-layer":
        rows += by_context(name, config, engines, seconds)
    done(f"{name}: attention")
    return rows


def that_compile(
    name: str, engines: dict[str, Any], tokens: np.ndarray
) -> tuple[dict[str, Any], list[Row]]:
    """The engines that can read this prompt, and a row for each for which torch fails.

    Where there is no C++ compiler, or torch writes what it does not take, the rest goes on.
    """
    able, rows = {}, list[Row]()
    for which, engine in engines.items():
        try:
            engine.prefill(tokens)
        except InductorError:
            note = f"torch {torch.__version__} cannot compile it"
            rows.append({"config": name, "what": "prefill", "engine": which, "note": note})
        else:
            able[which] = engine
    return able, rows


def require_the_same(engines: dict[str, Any], tokens: np.ndarray) -> None:
    """Raise ArithmeticError unless all give the same logits: a time says nothing otherwise."""
    reference = np.asarray(engines["np"].prefill(tokens))
    for name, engine in engines.items():
        off = float(np.abs(np.asarray(engine.prefill(tokens)) - reference).max())
        if not off < 2e-3 * float(reference.std()) + 1e-3:
            raise ArithmeticError(f"{name} gives other logits than np, {off:.2g} apart")


def compared(
    config: str, what: str, found: dict[str, dict], limit: Callable[[float], float], **more: Any
) -> list[Row]:
    """A row for each engine, with how many times as fast as transformers it is."""
    return [
        {
            "config": config,
            "what": what,
            "engine": engine,
            **times,
            "peer": found[PEER]["median"] / times["median"],
            "limit": limit(times["median"]),
            **more,
        }
        for engine, times in found.items()
    ]


def far_on(name: str, config: ModelConfig, engine: Ours, seconds: float) -> list[Row]:
    """np's decode with a window just full, and sixteen windows on."""
    if config.window_size is None:
        return []
    places, steps, held = {"W": config.window_size, "16 W": 16 * config.window_size}, {}, {}
    for place, context in places.items():
        steps[place] = engine.decode(context)
        held[place] = engine.cache.nbytes
    found = in_turns(steps, 2 * seconds, calls=STEPS)
    return [
        {"config": name, "what": f"decode at {place}", "engine": "np", **found[place],
         "context": places[place], "cache_bytes": held[place],
         "note": f"cache {held[place]:,} bytes"}
        for place in places
    ]  # fmt: skip


def bits(name: str, engine: Ours, tokens: np.ndarray, context: int, seconds: float) -> list[Row]:
    """pt's decode in bfloat16 with packed weights, and how far the logits move."""
    expected = engine.prefill(tokens)
    model = mp.Mistral(engine.model.config, engine.model.weights, dtype="bfloat16")
    models = {"bf16": model, "int8": packed(model, "int8"), "int4": packed(model, "int4")}
    every = {f"pt {kind}": Ours(mp, each) for kind, each in models.items()}
    steps = {e: each.decode(context) for e, each in every.items()}
    found = in_turns(steps, seconds, calls=STEPS)
    rows = []
    for which, each in every.items():
        off = float((each.prefill(tokens) - expected).std() / expected.std())
        read = [w.nbytes for n, w in each.model.weights.items() if n != "tok_embeddings.weight"]
        rows.append(
            {"config": name, "what": "decode bfloat16", "engine": which, **found[which],
             "context": context, "flops": each.model.config.decode_flops(context),
             "bytes": sum(read) + each.cache.nbytes, "error": off,
             "note": f"logits {100 * off:.1f} % off"}
        )  # fmt: skip
    return rows


def blocks(name: str, config: ModelConfig, seconds: float) -> list[Row]:
    """Attention alone over 8 windows: full causal, and the window with blocks skipped."""
    if config.window_size is None:
        return []
    T = min(8 * config.window_size, 4096)
    window = min(config.window_size, T // 8)
    found = in_turns(attention(config, T, window), seconds)
    ratio = found["full causal"]["median"] / found["window, by blocks"]["median"]
    return [
        {"config": name, "what": "attention", "engine": which, **times, "tokens": T,
         "window": window, "note": f"T {T}, W {window}"
         + f", {ratio:.2f} x as fast" * (which != "full causal")}
        for which, times in found.items()
    ]  # fmt: skip


@torch.no_grad()
def attention(config: ModelConfig, T: int, window: int) -> dict[str, Callable[[], Any]]:
    """torch's own causal attention, and ours, over the same queries and keys."""
    rng = np.random.default_rng(0)
    q, k, v = (
        torch.from_numpy(rng.standard_normal((1, heads, T, config.head_dim), np.float32))
        for heads in (config.n_heads, config.n_kv_heads, config.n_kv_heads)
    )
    positions = torch.arange(T)[None]
    cut = window_blocks(positions, positions, window)
    return {
        "full causal": lambda: scaled_dot_product_attention(
            q, k, v, is_causal=True, enable_gqa=True
        ),
        "window, by blocks": lambda: attend_blocks(q, k, v, cut),
    }


def by_context(
    name: str, config: ModelConfig, engines: dict[str, Any], seconds: float
) -> list[Row]:
    """Time and memory as the context grows: full attention, the window, the rolling cache."""
    W, rows = config.window_size or 1, list[Row]()
    full = replace(config, window_size=None)
    plain = Ours(mn, mn.Mistral(full, engines["np"].model.weights))
    for context in (W // 2, W, 2 * W, 4 * W, 8 * W, 16 * W):
        found = in_turns(attention(config, context, W), seconds / 5)
        rows += _points(name, "attention by context", found, context)
        found = in_turns(
            {"full cache": plain.decode(context), "rolling cache": engines["np"].decode(context)},
            seconds / 5,
            calls=STEPS,
        )
        sizes = {"full cache": full.cache_bytes(context, "float32"),
                 "rolling cache": config.cache_bytes(context, "float32")}  # fmt: skip
        rows += _points(name, "decode by context", found, context, sizes)
    return rows


def _points(
    name: str, what: str, found: dict[str, dict], context: int, sizes: dict[str, int] | None = None
) -> Iterable[Row]:
    for which, times in found.items():
        row = {"config": name, "what": what, "engine": which, **times, "context": context,
               "note": f"context {context}"}  # fmt: skip
        yield row | ({"cache_bytes": sizes[which]} if sizes else {})
