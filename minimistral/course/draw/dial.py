"""The rotation of every pair of a head, as clock hands."""

import math
from collections.abc import Sequence

from minimistral.course.draw.svg import BLUE, INK, ORANGE, PAPER, QUIET, RULE, picture, tag, text

COLUMNS, CELL, TOP, LEFT = 8, 62, 40, 20


def dial_svg(hands: Sequence[tuple[float, float]], turns: Sequence[float]) -> str:
    """Hands (D / 2, 2), each the point (x, y) to which (1, 0) was turned; turns: how often
    each has gone round so far.

    Pair 0 is at the top left, and the rows follow. A hand that has gone round at least once has
    an orange dial with a thick rim; the number under a dial is its turns.
    """
    rows = math.ceil(len(hands) / COLUMNS)
    width, height = 2 * LEFT + COLUMNS * CELL, TOP + rows * CELL + 12
    dials = [_dial(n, x, y, turns[n]) for n, (x, y) in enumerate(hands)]
    heading = text(LEFT, 22, "pairs 0, 1, 2 … from the top left; below each: turns so far",
                   font_size=13, fill=QUIET)  # fmt: skip
    return picture(width, height, f"Rotation of {len(hands)} pairs", heading, *dials)


def _dial(n: int, x: float, y: float, turns: float) -> str:
    middle = LEFT + (n % COLUMNS + 0.5) * CELL
    centre = TOP + (n // COLUMNS) * CELL + 22
    radius, round_ = 19, turns >= 1
    # y grows downwards on the screen, and upwards in the plane
    tip = f"{round(middle + radius * x, 1)} {round(centre - radius * y, 1)}"
    rim = {"stroke": ORANGE, "stroke_width": 3.5} if round_ else {"stroke": QUIET}
    return tag(
        "g",
        tag("circle", cx=middle, cy=centre, r=radius, fill=PAPER, **rim),
        tag("path", d=f"M{middle} {centre}h{radius}", stroke=RULE, fill="none"),
        tag("path", d=f"M{middle} {centre}L{tip}", stroke=BLUE, stroke_width=3, fill="none"),
        tag("circle", cx=middle, cy=centre, r=2, fill=INK),
        text(middle, centre + 33, _short(turns), text_anchor="middle", font_size=12),
    )


def _short(turns: float) -> str:
    """A number of turns in few signs.

    >>> [_short(t) for t in (0.0, 0.0004, 0.25, 3.14, 6366.2)]
    ['0', '<0.01', '0.25', '3.1', '6,366']
    """
    if turns == 0:
        return "0"
    if turns < 0.01:
        return "<0.01"
    return f"{turns:.2f}" if turns < 1 else f"{turns:.1f}" if turns < 100 else f"{turns:,.0f}"
