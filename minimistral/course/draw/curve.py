"""A loss curve with one point marked, and below it what the model wrote there."""

import math
from collections.abc import Sequence

from minimistral.course.draw.svg import BLUE, FAINT, INK, ORANGE, QUIET, RULE, picture, tag, text
from minimistral.course.draw.tokens import MONO

WIDTH, LEFT, RIGHT, TOP, HEIGHT = 760, 64, 700, 20, 200
COLUMNS, LINES, LINE = 78, 9, 18  # of the text below


def curve_svg(
    steps: Sequence[int], losses: Sequence[float], marked: int, written: str, title: str
) -> str:
    """A loss against the logarithm of step + 1, as SVG text.

    steps and losses: of equal length. marked: the index of the point that is told; those after it
    are hollow. written: the text below, cut after 9 lines. Raises ValueError when the lengths
    differ, there are fewer than two points, or marked is none of them.
    """
    if len(steps) != len(losses) or len(steps) < 2:
        raise ValueError(f"losses must be {max(2, len(steps))}, one a step, not {len(losses)}")
    if not 0 <= marked < len(steps):
        raise ValueError(f"marked must be from 0 to {len(steps) - 1}, not {marked}")
    low = math.floor(min(losses))
    high = max(math.ceil(max(losses)), low + 1)
    points = [
        (_across(step, steps[0], steps[-1]), TOP + HEIGHT * (high - loss) / (high - low))
        for step, loss in zip(steps, losses, strict=True)
    ]
    line = tag("path", d=_through(points), stroke=RULE, stroke_width=2, fill="none")
    line += tag("path", d=_through(points[: marked + 1]), stroke=BLUE, stroke_width=3, fill="none")
    dots = "".join(
        _dot(x, y, n <= marked, n == marked, f"Step {steps[n]:,}: {losses[n]:.2f} bits per byte.")
        for n, (x, y) in enumerate(points)
    )
    lines = _wrapped(written)
    paper = TOP + HEIGHT + 62
    below = text(LEFT, paper - 10, f"written after step {steps[marked]:,}:", font_size=13)
    below += tag("rect", x=LEFT - 8, y=paper, width=RIGHT - LEFT + 24, height=LINES * LINE + 14,
                 fill="none", stroke=RULE)  # fmt: skip
    for n, words in enumerate(lines):
        y = paper + 18 + n * LINE
        below += text(LEFT, y, words, font_family=MONO, font_size=13, style="white-space: pre")
    axes = _axes(steps, low, high)
    return picture(WIDTH, paper + LINES * LINE + 22, title, axes, line, dots, below)


def _across(step: int, first: int, last: int) -> float:
    start, stop = math.log1p(first), math.log1p(last)
    return round(LEFT + (RIGHT - LEFT) * (math.log1p(step) - start) / (stop - start), 1)


def _through(points: Sequence[tuple[float, float]]) -> str:
    return "M" + "L".join(f"{x} {y:.1f}" for x, y in points)


def _dot(x: float, y: float, passed: bool, marked: bool, words: str) -> str:
    size = 8 if marked else 4
    style = {"fill": ORANGE if marked else BLUE if passed else FAINT,
             "stroke": INK if marked else QUIET}  # fmt: skip
    dot = tag("circle", cx=x, cy=round(y, 1), r=size, **style)
    area = tag("rect", x=x - 14, y=TOP, width=28, height=HEIGHT, fill="none", pointer_events="all")
    return tag("g", area, dot, class_="mm-row", tabindex=-1, role="img", aria_label=words)


def _axes(steps: Sequence[int], low: int, high: int) -> str:
    shapes, floor = "", TOP + HEIGHT
    for n in range(2 * (high - low) + 1):
        y = round(floor - HEIGHT * n / (2 * (high - low)), 1)
        shapes += tag("path", d=f"M{LEFT} {y}H{RIGHT}", stroke=FAINT, fill="none")
        if n % 2 == 0:  # whole numbers
            shapes += text(LEFT - 8, y + 4, f"{low + n // 2}", text_anchor="end", font_size=12)
    shapes += text(LEFT, TOP - 7, "bits per byte of held-out text", font_size=12, fill=QUIET)
    end = -99.0
    for step in steps:
        x = _across(step, steps[0], steps[-1])
        if x - end > 34:  # room for a number
            shapes += text(x, floor + 18, f"{step:,}", text_anchor="middle", font_size=12)
            end = x
    return shapes + text(RIGHT + 10, floor + 34, "step", text_anchor="end", font_size=12)


def _wrapped(written: str) -> list[str]:
    """The text in lines of at most COLUMNS characters; the last says if there is more.

    >>> _wrapped("a\\tb\\n" + "c" * 80)
    ['a b', 'cccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccccc', 'cc']
    """
    lines = []
    for line in written.replace("\t", " ").splitlines():
        lines += [line[n : n + COLUMNS] for n in range(0, max(1, len(line)), COLUMNS)]
    return lines if len(lines) <= LINES else [*lines[: LINES - 1], "…"]
