"""Draw the pictures in figures/ again.

Each picture is made by a function of course/draw/ or by a player. With --check nothing is written:
the pictures that differ from what the code draws are listed, and if there are any the exit status
is 1. A saved picture says its licence, since pictures are often copied without their folder.
"""

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path

from minimistral import ModelConfig, tiny, tokenizer
from minimistral.course import draw
from minimistral.course.draw import plot, speed
from minimistral.course.widgets import (
    budget_explorer,
    cache_player,
    chunk_stepper,
    head_map,
    mask_explorer,
    shape_flow,
    stack_explorer,
)

# The sentence of the paper's Figure 3, which all lessons use
SENTENCE = "The cat sat on the mat and saw the dog go to".split()
FOLDER = Path(__file__).resolve().parents[2] / "figures"
DATA = Path(__file__).resolve().parents[2] / "benchmarks"
LICENCE = "<metadata>minimistral, SPDX-License-Identifier: Apache-2.0</metadata>"


def mask_window() -> str:
    """The mask over a real sentence, W = 4."""
    return mask_explorer(tokenizer.load("v1").pieces(" ".join(SENTENCE)), window=4).svg


def memory_budget() -> str:
    """Weights and cache of Mistral 7B v0.1 at 32,768 tokens in bfloat16."""
    return budget_explorer(ModelConfig.mistral_7b("v0.1")).svg


def window_use() -> str:
    """How far back the tiny model looks, as measured by minimistral/evaluation/window_use.py."""
    use = json.loads((tiny.FOLDER / "window_use.json").read_text(encoding="utf-8"))
    influence, loss = (
        [(row["distance"], row[key]) for row in use["rows"]] for key in ("influence_mean", "loss")
    )
    return draw.reach_svg(influence, loss, use["window"], use["reach"])


def head_groups() -> str:
    """Which of the 8 KV heads each of the 32 query heads of Mistral 7B reads."""
    return head_map(ModelConfig.mistral_7b()).svg


def receptive_field() -> str:
    """The cone of the last token through three layers, W = 4."""
    return stack_explorer(SENTENCE, window=4, n_layers=3).svg


def rolling_buffer() -> str:
    """A buffer of 8 slots after 11 tokens."""
    player = cache_player(SENTENCE, window=8)
    player.set(step=11)
    return player.svg


def third_chunk() -> str:
    """The third chunk of a prompt, as in the paper's Figure 3."""
    player = chunk_stepper(SENTENCE, window=4)
    player.set(step=3)
    return player.svg


def shapes() -> str:
    """Every step from ids to logits of Mistral 7B, for 5 tokens."""
    return shape_flow(ModelConfig.mistral_7b()).svg


def measured(name: str) -> list[dict]:
    """The rows of one run of the benchmark."""
    return json.loads((DATA / name).read_text(encoding="utf-8"))["rows"]


def roofline() -> str:
    """Points measured on a CPU, below its roof; as a line the limits in an H200's data sheet."""
    yardsticks = {"H200": (4.8e12, 989e12)}  # bytes/s of its memory, FLOP/s in bfloat16, dense
    record = json.loads((DATA / "hopper_prediction.json").read_text(encoding="utf-8"))
    config = ModelConfig(**record["config"])
    intensity = config.decode_flops(config.context_len) / record["decode"]["bytes"]
    hollow = {"7b decode there: predicted at best": ("H200", intensity)}
    fig = speed.roofline(measured("cpu.json"), yardsticks, hollow)
    return plot.svg(fig, "Roofline: operations per second against operations per byte")


def by_context() -> str:
    """Time and memory against the context: full, windowed, rolling."""
    fig = speed.by_context(measured("cpu.json"), "medium")
    return plot.svg(fig, "Time and memory against the context")


FIGURES: dict[str, Callable[[], str]] = {
    "by_context.svg": by_context,
    "head_groups.svg": head_groups,
    "mask_window.svg": mask_window,
    "memory_budget.svg": memory_budget,
    "receptive_field.svg": receptive_field,
    "rolling_buffer.svg": rolling_buffer,
    "roofline.svg": roofline,
    "shapes.svg": shapes,
    "third_chunk.svg": third_chunk,
    "window_use.svg": window_use,
}


def saved(name: str) -> str:
    """The text of a picture's file: what is drawn, with its licence behind its title."""
    before, title, after = FIGURES[name]().partition("</title>")
    return f"{before}{title}{LICENCE}{after}\n"


def main(arguments: list[str]) -> int:
    """Write every picture, or compare it with --check. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    args = parser.parse_args(arguments)
    stale = 0
    for name in FIGURES:
        path, text = FOLDER / name, saved(name)
        if path.exists() and path.read_text(encoding="utf-8") == text:
            print(f"{name}: as drawn")
        elif args.check:
            print(f"{name}: not as drawn; run `make figures`")
            stale += 1
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"{name}: written")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
