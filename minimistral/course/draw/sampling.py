"""The likeliest next tokens as bars: what a model gives each, and what is left of it."""

from collections.abc import Sequence
from typing import Any

from minimistral.course.draw.svg import BLUE, FAINT, INK, PAPER, QUIET, RULE, picture, tag, text
from minimistral.course.draw.tokens import MONO, readable

WIDTH, LEFT, TOP, ROW, SCALE, N_BARS, COLUMNS = 760, 130, 24, 19, 480, 20, 14


def sampling_svg(before: Any, after: Any, tokens: Sequence[str], title: str) -> str:
    """The 20 likeliest tokens before and after, and all others together, as SVG text.

    before (V,), after (V,): probabilities; tokens: V pieces. Of the two bars of a token the upper
    one is `before`: a token with nothing left has it hollow and dashed, and no lower one.
    Raises ValueError when the sizes do not match.
    """
    for name, values in {"before": before, "after": after}.items():
        if len(values) != len(tokens):
            raise ValueError(f"{name} must be ({len(tokens)},), not ({len(values)},)")
    order = sorted(range(len(tokens)), key=lambda n: -float(before[n]))
    rows = [
        (readable(tokens[n], COLUMNS), float(before[n]), float(after[n]), "")
        for n in order[:N_BARS]
    ]
    if rest := order[N_BARS:]:
        shares = [[float(values[n]) for n in rest] for values in (before, after)]
        drawn = f" ({sum(map(bool, shares[1]))} of {len(rest)} left)"
        rows.append((_others(len(rest)), sum(shares[0]), sum(shares[1]), drawn))
    bottom = TOP + ROW * len(rows)
    shapes = "".join(_row(TOP + n * ROW, *row) for n, row in enumerate(rows))
    return picture(WIDTH, bottom + 28, title, _axis(bottom), shapes, _legend(bottom + 20))


def _others(n: int) -> str:
    return f"{n} other{'' if n == 1 else 's'}"


def _row(y: int, name: str, before: float, after: float, more: str) -> str:
    """more: what is said behind the two numbers."""
    width, left = round(before * SCALE, 1), round(after * SCALE, 1)
    style: dict[str, object] = {"fill": FAINT, "stroke": QUIET}
    if not after:
        style = {"fill": PAPER, "stroke": INK, "stroke_dasharray": "3 2"}
    bars = tag("path", d=f"M{LEFT} {y + 3}h{width}v6h-{width}z", **style)
    if after:
        bars += tag("path", d=f"M{LEFT} {y + 10}h{left}v6h-{left}z", fill=BLUE, stroke=BLUE)
    told = f"{before:.3f} → {f'{after:.3f}{more}' if after else 0}"
    label = text(LEFT - 8, y + 14, name, text_anchor="end", font_family=MONO, font_size=13)
    return tag(
        "g",
        tag("rect", y=y, width=WIDTH, height=ROW, fill="none", pointer_events="all"),
        label,
        bars,
        text(LEFT + max(width, left) + 8, y + 14, told, font_size=12),
        class_="mm-row",
        tabindex=-1,
        role="img",
        aria_label=_row_words(name, before, after),
    )


def _row_words(name: str, before: float, after: float) -> str:
    left = f"{after:.3f} after" if after else "nothing left"
    return f"{name}: {before:.3f} before, {left}."


def _axis(bottom: int) -> str:
    shapes = ""
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + share * SCALE
        shapes += tag("path", d=f"M{x} {TOP - 4}V{bottom}", stroke=RULE, fill="none")
        shapes += text(x, TOP - 9, f"{share:g}", text_anchor="middle", font_size=12, fill=QUIET)
    return shapes


def _legend(y: int) -> str:
    x1, x2, x3 = LEFT, LEFT + 150, LEFT + 372

    def bar(x: int, **style: object) -> str:
        return tag("rect", x=x, y=y - 9, width=26, height=8, **style)

    shapes = bar(x1, fill=FAINT, stroke=QUIET) + bar(x3, fill=BLUE)
    shapes += bar(x2, fill=PAPER, stroke=INK, stroke_dasharray="3 2")
    names = ((x1, "before"), (x2, "before, nothing is left"), (x3, "after"))
    return shapes + "".join(text(x + 34, y, words, font_size=12) for x, words in names)
