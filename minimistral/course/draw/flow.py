"""The steps of the model from ids to logits, with their shapes, in two columns."""

from collections.abc import Sequence
from typing import Any

from minimistral.course.draw.svg import FAINT, INK, ORANGE, PAPER, QUIET, RULE, picture, tag, text

_LETTERS = (
    "B texts, T tokens, S keys, H query heads, G KV heads,",
    "D head_dim, E dim, F hidden_dim, V vocab_size",
)
WIDTH, TOP, LEFT, COLUMN, CARD, ROW, HEIGHT = 760, 36, 38, 380, 334, 38, 33


def steps_svg(flow: Sequence[Any], chosen: int, n_layers: int) -> str:
    """The steps in two columns, read downwards, the left one first; step `chosen` is marked.

    flow: steps with name, by, letters, shape and in_layer. Steps of a layer stand on grey beside
    a bar that says how often they are run. Raises ValueError when chosen is not one of them.
    """
    if not 0 <= chosen < len(flow):
        raise ValueError(f"chosen must be 0 to {len(flow) - 1}, not {chosen}")
    half = (len(flow) + 1) // 2
    columns = [flow[:half], flow[half:]]
    shapes = text(8, 22, "read downwards, the left column first", font_size=13, fill=QUIET)
    for n, column in enumerate(columns):
        shapes += _bar(n * COLUMN, [step.in_layer for step in column], n_layers)
        for row, step in enumerate(column):
            shapes += _card(n * COLUMN + LEFT, TOP + row * ROW, step, n * half + row == chosen)
    for line, words in enumerate(_LETTERS):
        y = TOP + len(columns[1]) * ROW + 14 + 16 * line
        shapes += text(COLUMN + LEFT, y, words, font_size=12, fill=QUIET)
    title = f"{len(flow)} steps from ids to logits; {flow[chosen].name} is marked"
    return picture(WIDTH, TOP + half * ROW + 8, title, shapes)


def _card(x: int, y: int, step: Any, chosen: bool) -> str:
    frame = {"stroke": ORANGE, "stroke_width": 4} if chosen else {"stroke": RULE}
    bold = {"font_weight": "bold"} if chosen else {}
    card = tag("rect", x=x, y=y, width=CARD, height=HEIGHT, rx=3,
               fill=FAINT if step.in_layer else PAPER, **frame)  # fmt: skip
    marker, left, right = "▶ " * chosen, x + 8, x + CARD - 8
    card += text(left, y + 14, marker + step.name, font_size=13, **bold)
    card += text(right, y + 14, str(step.shape), text_anchor="end", font_size=13, **bold)
    card += text(left, y + 28, step.by, font_size=12, fill=QUIET)
    letters = f"({step.letters})"
    return card + text(right, y + 28, letters, text_anchor="end", font_size=12, fill=QUIET)


def _bar(x: int, in_layer: list[bool], n_layers: int) -> str:
    """A bar beside the rows that belong to a layer, with the number of layers written along it."""
    rows = [row for row, inside in enumerate(in_layer) if inside]
    if not rows:
        return ""
    top, bottom = TOP + rows[0] * ROW, TOP + rows[-1] * ROW + HEIGHT
    x, middle = x + LEFT - 8, (top + bottom) / 2
    bar = tag("path", d=f"M{x} {top}V{bottom}", stroke=INK, stroke_width=3)
    words = f"in a layer, × {n_layers}"
    return bar + text(x - 8, middle, words, text_anchor="middle", font_size=13,
                      transform=f"rotate(-90 {x - 8} {middle})")  # fmt: skip
