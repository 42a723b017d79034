"""The roof of a machine, and where steps of a model lie under it."""

import math
from collections.abc import Sequence

from minimistral.course.draw.svg import (
    BLUE,
    INK,
    ORANGE,
    PAPER,
    QUIET,
    RULE,
    picture,
    tag,
    text,
)

WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM, LEGEND = 760, 330, 92, 700, 40, 264, 440
LEAST, MOST, DECADES = 0.5, 2e6, 4  # of the axes: operations per byte; decades below the rate
STYLES = ((BLUE, "M-7 0a7 7 0 1 0 14 0a7 7 0 1 0-14 0z"), (ORANGE, "M-7-7h14v14h-14z"))


def roof_svg(
    ridge: float, marks: Sequence[tuple[str, float]], title: str, machine: str = ""
) -> str:
    """Operations per second against operations per byte, both in logarithms, as SVG text.

    ridge: operations per byte at which reading takes as long as computing. marks: one or two
    names, each with its operations per byte; they are drawn on the roof, the first as a circle
    and the second as a square. machine: what is written at the roof.
    Raises ValueError for more marks, or a number that is not above 0.
    """
    if not 1 <= len(marks) <= len(STYLES):
        raise ValueError(f"marks must be 1 or {len(STYLES)}, not {len(marks)}")
    for name, value in [("ridge", ridge), *marks]:
        if not value > 0:
            raise ValueError(f"{name} must be above 0, not {value!r}")
    start, corner = _y(LEAST / ridge), _x(ridge)
    line = f"M{LEFT} {start}L{corner} {TOP}H{RIGHT}" if start < BOTTOM else (
        f"M{_x(ridge * 10.0**-DECADES)} {BOTTOM}L{corner} {TOP}H{RIGHT}"
    )  # fmt: skip
    roof = tag("path", d=line, fill="none", stroke=INK, stroke_width=3)
    roof += tag("path", d=f"M{corner} {TOP}V{BOTTOM}", stroke=QUIET, stroke_dasharray="4 4")
    roof += text(corner + 6, BOTTOM - 8, f"ridge: {ridge:.3g}", font_size=12, fill=QUIET)
    roof += text(RIGHT, TOP - 14, machine, text_anchor="end", font_size=13)
    legend = tag("rect", x=LEGEND, y=BOTTOM - 58, width=RIGHT - LEGEND, height=52, fill=PAPER,
                 stroke=RULE)  # fmt: skip
    shapes = "".join(_mark(*mark, ridge, n) for n, mark in enumerate(marks))
    return picture(WIDTH, HEIGHT, title, _axes(), roof, legend, shapes)


def _x(intensity: float) -> float:
    share = math.log(min(max(intensity, LEAST), MOST) / LEAST) / math.log(MOST / LEAST)
    return round(LEFT + share * (RIGHT - LEFT), 1)


def _y(share: float) -> float:
    """share: of the machine's operations per second."""
    below = min(-math.log10(share), DECADES)
    return round(TOP + below / DECADES * (BOTTOM - TOP), 1)


def _mark(name: str, intensity: float, ridge: float, n: int) -> str:
    """A mark on the roof, and its line in the legend below it, where the roof never is."""
    (colour, shape), share = STYLES[n], min(1.0, intensity / ridge)
    told = f"{name}: {_number(intensity)} per byte, {_percent(share)}"
    places = ((_x(intensity), _y(share)), (LEGEND + 14, BOTTOM - 42 + 24 * n))
    marks = "".join(
        tag("path", d=shape, transform=f"translate({x} {y})", fill=colour, stroke=INK)
        for x, y in places
    )
    label = text(LEGEND + 30, BOTTOM - 37 + 24 * n, told, font_size=13)
    return tag("g", marks, label, role="img", aria_label=told)


def _axes() -> str:
    shapes = ""
    for n in range(DECADES + 1):
        y, share = _y(10.0**-n), 10.0**-n
        shapes += tag("path", d=f"M{LEFT} {y}H{RIGHT}", stroke=RULE)
        shapes += text(LEFT - 8, y + 4, _percent(share), text_anchor="end", font_size=12)
    for exponent in range(7):
        x = _x(10.0**exponent)
        shapes += tag("path", d=f"M{x} {TOP}V{BOTTOM}", stroke=RULE)
        shapes += text(x, BOTTOM + 18, f"{10**exponent:,}", text_anchor="middle", font_size=12)
    shapes += text(LEFT, TOP - 14, "of all operations per second", font_size=12, fill=QUIET)
    words = "operations per byte that is read"
    return shapes + text((LEFT + RIGHT) / 2, BOTTOM + 44, words, text_anchor="middle")


def _percent(share: float) -> str:
    """
    >>> _percent(1), _percent(0.034), _percent(0.0034)
    ('100 %', '3.4 %', '0.34 %')
    """
    return f"{100 * share:.0f} %" if share >= 0.0995 else f"{100 * share:.2g} %"


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 10 else f"{value:.2g}"
