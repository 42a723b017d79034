"""The player of lesson 14: where decode and prefill of a model lie under the roof of a machine."""

from typing import Any

from minimistral.config import ModelConfig
from minimistral.course.draw import roof_svg
from minimistral.course.widgets.player import Player

# Bytes and operations per second. The CPU's were measured (benchmarks/cpu.json, float32, one
# thread); the H100 SXM's stand in its data sheet (bfloat16, dense), and nothing was run on it.
MACHINES = {
    "CPU, measured": (14_687_879_329, 142_847_497_999),
    "H100, data sheet": (3_350_000_000_000, 989_000_000_000_000),
}
BITS = {"float32": 32, "bfloat16": 16, "int8": 8, "int4": 4.5}  # with a scale and a low per group
BATCHES = (1, 4, 16, 64, 256, 1024)
CONTEXTS = (16, 256, 1024, 4096, 32768)


def roofline_explorer(config: ModelConfig) -> Player:
    """Decode and prefill under the roof; sliders for machine, weights, batch and context.

    Decode is a step of one token for each of `batch` texts that have `context` tokens; prefill
    reads as many prompts of `context` tokens. Keys and values are bfloat16. Both marks lie on the
    roof, so no step is faster; how near one comes to it must be measured.

    >>> player = roofline_explorer(ModelConfig.mistral_7b())
    >>> player.set(batch=4)
    >>> print(player.words.replace(". ", ".\\n"))
    H100, data sheet; bfloat16 weights, batch 4, context 4,096.
    Decode: 4 operations per byte, at most 820 tokens/s, limited by reading.
    Prefill: 15,000 per byte, at least 0.25 s, limited by computing.
    """

    def draw(machine: str, weights: str, batch: int, context: int) -> tuple[str, str]:
        bandwidth, rate = MACHINES[machine]
        matrices = config.decode_bytes(0, "int8") * BITS[weights] / 8
        n_bytes = matrices + batch * config.cache_bytes(context)
        # Of a prompt only the last token needs logits.
        unused = 2 * (context - 1) * config.vocab_size * config.dim
        flops = {
            "decode": batch * config.decode_flops(context),
            "prefill": batch * (config.prefill_flops(context) - unused),
        }
        seconds = {what: max(n_bytes / bandwidth, n / rate) for what, n in flops.items()}
        by = {what: "reading" if n / rate < n_bytes / bandwidth else "computing"
              for what, n in flops.items()}  # fmt: skip
        title = f"{machine}; {weights} weights, batch {batch:,}, context {context:,}"
        words = (
            f"{title}. Decode: {_short(flops['decode'] / n_bytes)} operations per byte, at most"
            f" {_short(batch / seconds['decode'])} tokens/s, limited by {by['decode']}. Prefill:"
            f" {_short(flops['prefill'] / n_bytes)} per byte, at least"
            f" {_short(seconds['prefill'])} s, limited by {by['prefill']}."
        )
        marks = [(what, n / n_bytes) for what, n in flops.items()]
        return roof_svg(rate / bandwidth, marks, title, machine), words

    sliders: dict[str, Any] = {
        "machine": list(MACHINES), "weights": list(BITS), "batch": BATCHES, "context": CONTEXTS,
    }  # fmt: skip
    start = {"machine": "H100, data sheet", "weights": "bfloat16", "context": 4096}
    return Player("Roofline explorer", sliders, draw, start)


def _short(value: float) -> str:
    """Two digits.

    >>> _short(15234), _short(3.64), _short(0.0123), _short(99.6)
    ('15,000', '3.6', '0.012', '100')
    """
    rounded = float(f"{value:.2g}")
    return f"{rounded:,.0f}" if rounded >= 10 else f"{rounded:.2g}"
