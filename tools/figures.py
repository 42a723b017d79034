"""Draws the pictures of figures/ again: `python tools/figures.py [--check]`.

Each picture is made by a function of draw/ or a player. --check writes nothing, names the
pictures that are not as drawn, and exits with 1 if there is one.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

from minimistral import ModelConfig, draw, tiny, tokenizer
from minimistral.widgets import budget_explorer, mask_explorer

FOLDER = Path(__file__).parents[1] / "figures"


def mask_window() -> str:
    """The mask over a real sentence, W = 4."""
    sentence = "The cat that chased the mouse sat on the mat."
    return mask_explorer(tokenizer.load("v1").pieces(sentence), window=4).svg


def memory_budget() -> str:
    """Weights and cache of Mistral 7B v0.1 at 32,768 tokens in bfloat16."""
    return budget_explorer(ModelConfig.mistral_7b("v0.1")).svg


def window_use() -> str:
    """How far back the tiny model looks, as tools/window_use.py measured it."""
    use = json.loads((tiny.FOLDER / "window_use.json").read_text(encoding="utf-8"))
    influence, loss = (
        [(row["distance"], row[key]) for row in use["rows"]] for key in ("influence_mean", "loss")
    )
    return draw.reach_svg(influence, loss, use["window"], use["reach"])


FIGURES: dict[str, Callable[[], str]] = {
    "mask_window.svg": mask_window,
    "memory_budget.svg": memory_budget,
    "window_use.svg": window_use,
}


def main(arguments: list[str]) -> int:
    """Write every picture, or with --check compare; the exit code."""
    stale = 0
    for name, picture in FIGURES.items():
        path, text = FOLDER / name, picture() + "\n"
        if path.exists() and path.read_text(encoding="utf-8") == text:
            print(f"{name}: as drawn")
        elif "--check" in arguments:
            print(f"{name}: not as drawn; run `make figures`")
            stale += 1
        else:
            path.write_text(text, encoding="utf-8", newline="\n")
            print(f"{name}: written")
    return 1 if stale else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
