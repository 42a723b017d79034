"""A stack of layers as a grid: what one token depends on at each level, and the farthest path."""

import itertools
import math
from collections.abc import Sequence
from typing import Any

from minimistral.course.draw.svg import (
    BLUE,
    INK,
    ORANGE,
    PAPER,
    QUIET,
    RULE,
    boxes,
    picture,
    tag,
    text,
)

WIDTH, LEFT, TOP, ROW, BOX, FOOT = 760, 176, 20, 54, 30, 142
SMALLEST, LARGEST, INSET = 24, 44, 2  # a column's width in pixels, and its cells' margin


def stack_svg(
    reached: Any, tokens: Sequence[str], path: Sequence[int], room: int | None = None
) -> str:
    """What the token path[0] depends on after the top layer, as SVG text.

    reached bool (L + 1, T): row k is what counts k layers below the top, so the last row are the
    embeddings. path: L + 1 positions, one for each row; information travels up along it.
    `room`: leave space for this many layers, so that smaller stacks do not jump.
    Raises ValueError, naming the argument, when the sizes do not match.
    """
    _check(reached, tokens, path)
    n_layers = len(reached) - 1
    room = max(room or 0, n_layers)
    levels = "".join(
        _level(n_layers - k, row, _top(room, n_layers - k), len(tokens))
        for k, row in enumerate(reached)
    )
    floor = _top(room, 0) + BOX
    words = "".join(_token(j, word, floor, len(tokens)) for j, word in enumerate(tokens))
    dots = [
        (_middle(j, len(tokens)), _top(room, n_layers - k) + BOX / 2) for k, j in enumerate(path)
    ]
    shapes = levels + words + _frame(dots[0], len(tokens)) + _path(dots) + _legend(floor + 124)
    title = f'What "{tokens[path[0]]}" at position {path[0]} depends on, through {n_layers} layers'
    return picture(WIDTH, floor + FOOT, title, shapes)


def cell_width(n_tokens: int) -> int:
    """A column's width: as wide as fits, within reason.

    >>> [cell_width(n) for n in (1, 18, 24)]
    [44, 32, 24]
    """
    return max(SMALLEST, min(LARGEST, SMALLEST * 24 // n_tokens))


def _top(room: int, level: int) -> int:
    return TOP + (room - level) * ROW


def _middle(j: int, n_tokens: int) -> float:
    return LEFT + (j + 0.5) * cell_width(n_tokens)


def _level(level: int, row: Any, y: float, n_tokens: int) -> str:
    cell, count = cell_width(n_tokens), sum(map(bool, row))
    name = f"layer {level}" if level else "embeddings"
    label = f"{name}: {count} token{'' if count == 1 else 's'}"
    shapes = text(LEFT - 12, y + BOX / 2 + 5, label, text_anchor="end", font_size=13)
    for filled, style in ((False, {"fill": PAPER, "stroke": RULE}), (True, {"fill": BLUE})):
        columns = [j for j, on in enumerate(row) if bool(on) == filled]
        corners: list[tuple[float, float]] = [(LEFT + j * cell + INSET, y) for j in columns]
        if corners:
            shapes += tag("path", d=boxes(corners, cell - 2 * INSET, BOX), **style)
    return shapes


def _token(j: int, word: str, floor: int, n_tokens: int) -> str:
    x = _middle(j, n_tokens)
    number = text(x, floor + 18, str(j), text_anchor="middle", font_size=12, fill=QUIET)
    short = word if len(word) <= 11 else word[:10] + "…"
    x, y = x + 4, floor + 32
    turned = f"rotate(-45 {x} {y})"
    return number + text(x, y, short, text_anchor="end", font_size=13, transform=turned)


def _frame(middle: tuple[float, float], n_tokens: int) -> str:
    x, y = middle
    width = cell_width(n_tokens) - 2 * INSET
    return tag("rect", x=x - width / 2 - 1, y=y - BOX / 2 - 1, width=width + 2, height=BOX + 2,
               fill="none", stroke=ORANGE, stroke_width=4)  # fmt: skip


def _path(dots: list[tuple[float, float]]) -> str:
    """dots: from the top down. The arrows point up, the way that information travels."""
    line = "M" + "L".join(f"{x} {y}" for x, y in dots)
    shapes = tag("path", d=line, stroke=PAPER, stroke_width=6, fill="none")
    shapes += tag("path", d=line, stroke=INK, stroke_width=2.5, fill="none", class_="mm-path")
    heads = "".join(_head(low, high) for high, low in itertools.pairwise(dots))
    if heads:
        shapes += tag("path", d=heads, fill=INK, stroke=PAPER)
    circles = (tag("circle", cx=x, cy=y, r=4.5, fill=PAPER, stroke=INK, stroke_width=2)
               for x, y in dots)  # fmt: skip
    return shapes + "".join(circles)


def _head(low: tuple[float, float], high: tuple[float, float]) -> str:
    """An arrow's head that points from `low` to `high` and ends before the dot there."""
    length = math.dist(low, high)
    dx, dy = (high[0] - low[0]) / length, (high[1] - low[1]) / length
    tip = high[0] - 6 * dx, high[1] - 6 * dy
    back = tip[0] - 11 * dx, tip[1] - 11 * dy
    corners = [tip, (back[0] - 5 * dy, back[1] + 5 * dx), (back[0] + 5 * dy, back[1] - 5 * dx)]
    return "M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in corners) + "z"


def _legend(y: int) -> str:
    x1, x2, x3, x4 = 12, 144, 310, 466

    def square(x: int, **style: object) -> str:
        return tag("rect", x=x, y=y - 12, width=14, height=14, **style)

    shapes = square(x1, fill=BLUE) + square(x2, fill=PAPER, stroke=RULE)
    shapes += square(x3, fill="none", stroke=ORANGE, stroke_width=4)
    shapes += tag("path", d=f"M{x4 - 10} {y - 5}h24", stroke=INK, stroke_width=2.5)
    shapes += tag("path", d=_head((x4, y - 5), (x4 + 22, y - 5)), fill=INK)
    names = ((x1, "it depends on"), (x2, "makes no difference"), (x3, "the chosen token"),
             (x4, "the farthest way, one hop per layer"))  # fmt: skip
    return shapes + "".join(text(x + 22, y, words, font_size=13) for x, words in names)


def _check(reached: Any, tokens: Sequence[str], path: Sequence[int]) -> None:
    if not len(reached) or any(len(row) != len(tokens) for row in reached):
        shape = (len(reached), len(reached[0]) if len(reached) else 0)
        raise ValueError(f"reached must be (L + 1, {len(tokens)}), not {shape}")
    if len(path) != len(reached):
        raise ValueError(f"path must have {len(reached)} positions, not {len(path)}")
    for position in path:
        if not 0 <= position < len(tokens):
            raise ValueError(f"path must lie in 0 to {len(tokens) - 1}, not at {position}")
