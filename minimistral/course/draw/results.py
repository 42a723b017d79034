"""Results of a table with their errors: bars with whiskers, and differences beside zero."""

from collections.abc import Mapping, Sequence

from minimistral.course.draw.svg import (
    BLUE,
    FAINT,
    INK,
    PAPER,
    QUIET,
    RULE,
    picture,
    tag,
    text,
)

WIDTH, LEFT, SCALE, TOP, BAR, SPACE = 760, 170, 480, 46, 12, 10
# Series are told apart by their filling: full, hollow, light, hollow with a dashed outline.
STYLES: list[dict[str, object]] = [
    {"fill": BLUE, "stroke": BLUE},
    {"fill": PAPER, "stroke": INK},
    {"fill": RULE, "stroke": QUIET},
    {"fill": PAPER, "stroke": INK, "stroke_dasharray": "3 2"},
]
Value = tuple[float, float | None]  # a value, and half the length of its whisker (None: no whisker)


def results_svg(
    title: str,
    groups: Mapping[str, Mapping[str, Value]],
    ticks: Sequence[float],
    decimals: int = 1,
) -> str:
    """Bars in groups, as SVG text: a group for each benchmark, a bar in it for each series.

    groups: name -> series -> value and whisker. A group need not have every series. ticks: from 0
    on, of the axis; the last is as far as a bar can go.
    Raises ValueError for more series than can be told apart, or a value off the axis.
    """
    series = list(dict.fromkeys(name for group in groups.values() for name in group))
    if not 1 <= len(series) <= len(STYLES):
        raise ValueError(f"groups must have 1 to {len(STYLES)} series, not {len(series)}")
    for name, group in groups.items():
        for each, (value, _) in group.items():
            if not 0 <= value <= ticks[-1]:
                raise ValueError(f"{name} of {each} must be from 0 to {ticks[-1]}, not {value}")
    shapes, y = "", TOP
    for name, group in groups.items():
        bars = "".join(
            _bar(y + n * BAR, series.index(each), value, ticks[-1], decimals)
            for n, (each, value) in enumerate(group.items())
        )
        told = "; ".join(f"{each} {_told(value, decimals)}" for each, value in group.items())
        shapes += _row(name, f"{name}: {told}.", y, len(group) * BAR, bars)
        y += len(group) * BAR + SPACE
    axis = _axis(ticks, 0, ticks[-1], y)
    return picture(WIDTH, y + 4, title, _legend(series), axis, shapes)


def differences_svg(
    title: str,
    differences: Mapping[str, tuple[float, float]],
    stands: Mapping[str, bool],
    ticks: Sequence[float],
) -> str:
    """Differences with their intervals beside a line at 0, as SVG text.

    differences: name -> value, and half the length of its interval. stands: which of them is more
    than chance; it has a full dot, and the others have a hollow one. ticks: of the axis.
    Raises ValueError for an interval that leaves the axis.
    """
    low, high = ticks[0], ticks[-1]
    for name, (value, half) in differences.items():
        if not low <= value - half <= value + half <= high:
            raise ValueError(
                f"{name} must be from {low} to {high} with its interval, not {value} ± {half}"
            )
    shapes, row = "", 22
    for n, (name, (value, half)) in enumerate(differences.items()):
        y = TOP + n * row
        x, start, end = (_x(v, low, high) for v in (value, value - half, value + half))
        dot = tag("circle", cx=x, cy=y + row / 2, r=5, fill=BLUE if stands[name] else PAPER,
                  stroke=BLUE, stroke_width=2)  # fmt: skip
        more = "more than chance" if stands[name] else "may be chance"
        told = f"{value:+.1f} ± {half:.1f}".replace("-", "−")
        number = text(WIDTH - 8, y + 16, told, text_anchor="end", font_size=12)
        shapes += _row(
            name,
            f"{name}: {told}, {more}.",
            y,
            row,
            _whisker(start, end, y + row / 2) + dot + number,
        )
    bottom = TOP + len(differences) * row
    zero = _x(0, low, high)
    line = tag("path", d=f"M{zero} {TOP - 4}V{bottom}", stroke=INK, stroke_width=1.5, fill="none")
    legend = "".join(
        tag("circle", cx=x, cy=10, r=5, fill=fill, stroke=BLUE, stroke_width=2)
        + text(x + 12, 14, words, font_size=12)
        for x, fill, words in (
            (LEFT, BLUE, "more than chance"),
            (LEFT + 160, PAPER, "may be chance"),
        )
    )
    return picture(WIDTH, bottom + 8, title, legend, _axis(ticks, low, high, bottom), line, shapes)


def _x(value: float, low: float, high: float) -> float:
    return round(LEFT + (value - low) / (high - low) * SCALE, 1)


def _bar(y: int, style: int, value: Value, most: float, decimals: int) -> str:
    """A bar of BAR - 3 pixels, its whisker and its number."""
    mean, half = value
    end = _x(mean, 0, most)
    shapes = tag("rect", x=LEFT, y=y + 1, width=round(end - LEFT, 1), height=BAR - 3,
                 **STYLES[style])  # fmt: skip
    if half is not None:
        end = _x(mean + half, 0, most)
        shapes += _whisker(_x(mean - half, 0, most), end, y + BAR / 2)
    return shapes + text(max(end, LEFT) + 6, y + BAR - 2, _told(value, decimals), font_size=11)


def _whisker(start: float, end: float, y: float) -> str:
    """Dark on a light edge, so that it is seen on any bar."""
    d = f"M{start} {y}H{end}M{start} {y - 3}v6M{end} {y - 3}v6"
    edge = tag("path", d=d, stroke=PAPER, stroke_width=4, fill="none")
    return edge + tag("path", d=d, stroke=INK, stroke_width=1.5, fill="none")


def _told(value: Value, decimals: int) -> str:
    mean, half = value
    return f"{mean:.{decimals}f}" + ("" if half is None else f" ± {half:.{decimals}f}")


def _row(name: str, told: str, y: float, height: float, shapes: str) -> str:
    """A part that can be pointed at, with its name in the margin."""
    return tag(
        "g",
        tag("rect", y=y, width=WIDTH, height=height, fill="none", pointer_events="all"),
        text(LEFT - 10, y + height / 2 + 5, name, text_anchor="end", font_size=13),
        shapes,
        class_="mm-row",
        tabindex=-1,
        role="img",
        aria_label=told,
    )


def _axis(ticks: Sequence[float], low: float, high: float, bottom: float) -> str:
    shapes = ""
    for tick in ticks:
        x = _x(tick, low, high)
        shapes += tag("path", d=f"M{x} {TOP - 4}V{bottom}", stroke=FAINT, fill="none")
        shapes += text(
            x,
            TOP - 9,
            f"{tick:g}".replace("-", "−"),
            text_anchor="middle",
            font_size=12,
            fill=QUIET,
        )
    return shapes


def _legend(series: Sequence[str]) -> str:
    if len(series) == 1:
        return ""
    shapes, x = "", LEFT
    for n, name in enumerate(series):
        shapes += tag("rect", x=x, y=4, width=26, height=BAR - 3, **STYLES[n])
        shapes += text(x + 32, 13, name, font_size=12)
        x += 52 + 7 * len(name)
    return shapes
