"""The steps of the model from ids to logits, with their shapes."""

from collections.abc import Sequence
from typing import Any

from minimistral.draw.svg import BLUE, FAINT, ORANGE, PAPER, QUIET, picture, tag, text

WIDTH, ROW, TOP, LEFT, HALF = 760, 40, 44, 12, 380


def flow_svg(steps: Sequence[Any], chosen: int, n_layers: int) -> str:
    """steps: with name, letters, shape, weights and in_layer. chosen: the one that is marked.

    Two columns, read downwards, the left one first. Steps of a layer stand on grey, and are
    run n_layers times.
    """
    per_column = (len(steps) + 1) // 2
    height = TOP + per_column * ROW + 40
    shapes = ""
    for n, step in enumerate(steps):
        shapes += _step(n, step, n == chosen, per_column)
    heading = text(LEFT, 24, "read downwards, left column first", font_size=13, fill=QUIET)
    told = f"grey: a layer, run {n_layers} times, one after the other; underlined: has weights"
    note = text(LEFT, height - 12, told, font_size=13, fill=QUIET)
    title = f"{len(steps)} steps from ids to logits; {steps[chosen].name} is marked"
    return picture(WIDTH, height, title, heading, shapes, note)


def _step(n: int, step: Any, chosen: bool, per_column: int) -> str:
    x, y = LEFT + n // per_column * HALF, TOP + n % per_column * ROW
    width, height = HALF - 2 * LEFT, ROW - 8
    frame = {"stroke": ORANGE, "stroke_width": 4} if chosen else {"stroke": QUIET}
    shapes = tag("rect", x=x, y=y, width=width, height=height, rx=3,
                 fill=FAINT if step.in_layer else PAPER, **frame)  # fmt: skip
    bold = {"font_weight": "bold"} if chosen else {}
    marker = "▶ " if chosen else ""
    shapes += text(x + 8, y + 21, marker + step.name, font_size=14, **bold)
    shapes += text(x + 118, y + 21, ", ".join(step.letters), font_size=13, fill=QUIET)
    has_weights = {"fill": BLUE, "text_decoration": "underline"} if step.weights else {}
    shapes += text(x + width - 8, y + 21, str(step.shape), text_anchor="end", font_size=13,
                   **has_weights, **bold)  # fmt: skip
    if n % per_column:
        middle = x + 20
        shapes += tag("path", d=f"M{middle} {y - 8}v8", stroke=QUIET, fill="none")
    return shapes
