"""The player of lesson 11: a loss curve, and what the model writes at each checkpoint."""

import itertools
import json
from collections.abc import Mapping, Sequence
from typing import Any

from minimistral import tiny
from minimistral.course.draw import curve_svg
from minimistral.course.widgets.player import Player

FILE = "samples.json"  # written by training/samples.py


def loss_curve(checkpoints: Sequence[Mapping[str, Any]] | None = None, prompt: str = "") -> Player:
    """A loss curve with a text for every checkpoint; a slider for the step.

    checkpoints: each with "step", "held_out" in bits per byte, and "text", which continues the
    prompt; those of the tiny model's shorter training if None. Raises ValueError when there are
    fewer than two, or their steps do not grow.

    >>> lines = [{"step": 0, "held_out": 4.0, "text": "??"}, {"step": 9, "held_out": 2.5,
    ...                                                      "text": " cat"}]
    >>> player = loss_curve(lines, "The")
    >>> player.set(step=9)
    >>> player.words
    'Step 9: 2.50 bits per byte of held-out text, 1.50 fewer than at step 0.'
    """
    if checkpoints is None:
        record = json.loads((tiny.FOLDER / FILE).read_text(encoding="utf-8"))
        checkpoints, prompt = record["checkpoints"], record["prompt"]
    steps = [line["step"] for line in checkpoints]
    losses = [line["held_out"] for line in checkpoints]
    if len(steps) < 2 or any(a >= b for a, b in itertools.pairwise(steps)):
        raise ValueError(f"checkpoints must be two or more, with growing steps, not {steps}")

    def draw(step: int) -> tuple[str, str]:
        n = steps.index(step)
        words = f"Step {step:,}: {losses[n]:.2f} bits per byte of held-out text"
        if n:
            words += f", {losses[0] - losses[n]:.2f} fewer than at step {steps[0]:,}"
        return curve_svg(steps, losses, n, prompt + checkpoints[n]["text"], words), f"{words}."

    return Player("Loss curve", {"step": steps}, draw)
