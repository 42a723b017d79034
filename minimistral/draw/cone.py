"""What one token depends on, layer by layer: a cone that opens downwards."""

from collections.abc import Sequence
from typing import Any

from minimistral.draw.svg import BLUE, INK, ORANGE, PAPER, QUIET, RULE, boxes, picture, tag, text

CELL, BOX, LEFT, TOP, ROW, FOOT = 25, 19, 128, 26, 50, 104


def cone_svg(reached: Any, tokens: Sequence[str], path: Sequence[int]) -> str:
    """reached bool (K + 1, T): row k is what lies k layers below the top and counts.

    path: the K + 1 positions of the longest way down, from the top; it is drawn as a line.
    The row at the bottom are the tokens themselves. Counted places are filled.
    """
    n_layers, T = len(reached) - 1, len(tokens)
    width = max(LEFT + T * CELL + 16, 420)
    height = TOP + (n_layers + 1) * ROW + FOOT
    rows = "".join(_row(k, row, n_layers) for k, row in enumerate(reached))
    words = "".join(_token(j, word, n_layers) for j, word in enumerate(tokens))
    places = [_middle(k, j) for k, j in enumerate(path)]
    line = tag("path", d="M" + "L".join(f"{x} {y}" for x, y in places), stroke=INK,
               stroke_width=2.5, fill="none")  # fmt: skip
    dots = "".join(tag("circle", cx=x, cy=y, r=4, fill=ORANGE, stroke=INK) for x, y in places)
    x, y = places[0]
    frame = tag("rect", x=x - BOX / 2 - 3, y=y - BOX / 2 - 3, width=BOX + 6, height=BOX + 6,
                fill="none", stroke=ORANGE, stroke_width=3)  # fmt: skip
    title = f"What token {path[0]} depends on, through {n_layers} layers"
    return picture(width, height, title, rows, words, line, dots, frame)


def _middle(k: int, j: int) -> tuple[float, float]:
    """The middle of position j, k layers below the top."""
    return LEFT + (j + 0.5) * CELL, TOP + k * ROW + BOX / 2


def _row(k: int, row: Any, n_layers: int) -> str:
    y = TOP + k * ROW
    name = f"after layer {n_layers - k}" if k < n_layers else "tokens"
    count = sum(map(bool, row))
    shapes = text(8, y + BOX / 2 - 1, name, font_size=13)
    shapes += text(8, y + BOX / 2 + 15, f"{count} place{'' if count == 1 else 's'}",
                   font_size=12, fill=QUIET)  # fmt: skip
    for filled, style in ((False, {"fill": PAPER, "stroke": RULE}), (True, {"fill": BLUE})):
        places = [j for j, on in enumerate(row) if bool(on) == filled]
        corners = [(LEFT + j * CELL + (CELL - BOX) / 2, float(y)) for j in places]
        if corners:
            shapes += tag("path", d=boxes(corners, BOX, BOX), **style)
    return shapes


def _token(j: int, word: str, n_layers: int) -> str:
    x, y = LEFT + (j + 0.5) * CELL, TOP + n_layers * ROW + BOX
    number = text(x, y + 15, str(j), text_anchor="middle", font_size=12, fill=QUIET)
    x, y = x + 4, y + 28
    short = word if len(word) <= 11 else word[:10] + "…"
    return number + text(
        x, y, short, text_anchor="end", font_size=13, transform=f"rotate(-45 {x} {y})"
    )
