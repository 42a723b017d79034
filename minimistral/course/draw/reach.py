"""How far back a model looks: two curves over the distance, on scales of their own."""

import math
from collections.abc import Sequence

from minimistral.course.draw.svg import BLUE, FAINT, INK, ORANGE, QUIET, RULE, picture, tag, text

WIDTH, HEIGHT, LEFT, RIGHT = 760, 560, 84, 20
PANEL, TOPS = 180, (64, 322)


def reach_svg(
    influence: Sequence[tuple[int, float]],
    loss: Sequence[tuple[int, float]],
    window: int,
    reach: int,
) -> str:
    """Influence against distance above, loss against distance below.

    influence: (distance, bits), drawn on a logarithmic scale; 0, which such a scale cannot show,
    has a line of its own below it. loss: (farthest token given, bits per token). window W and
    reach K(W − 1) are drawn as lines.
    """
    end = max(d for d, _ in [*influence, *loss])
    shares = [_log_share(bits) for _, bits in influence]
    above = _panel(
        0, "bits that one changed token, so many positions back, moves the prediction by",
        _log_ticks(), [(d, s) for (d, _), s in zip(influence, shares, strict=True)],
        end, BLUE, "positions back",
    )  # fmt: skip
    values = [bits for _, bits in loss]
    low, high = math.floor(min(values)), math.ceil(max(values))
    ticks = [((v - low) / (high - low), f"{v}") for v in range(low, high + 1)]
    curve = [(d, (bits - low) / (high - low)) for d, bits in loss]
    below = _panel(
        1, "bits per token, when nothing farther back is given", ticks, curve,
        end, ORANGE, "positions back",
    )  # fmt: skip
    marks = "".join(_mark(panel, window, reach, end) for panel in (0, 1))
    title = "What the tiny model makes of far tokens, by perturbation and by loss"
    return picture(WIDTH, HEIGHT, title, marks, above, below)


def reach_words(
    influence: Sequence[tuple[int, float]],
    loss: Sequence[tuple[int, float]],
    window: int,
    reach: int,
) -> str:
    """What the picture shows, in words.

    >>> influence, loss = [(0, 2.0), (3, 0.5), (9, 1e-9), (10, 0.0)], [(0, 4.0), (10, 2.0)]
    >>> print(reach_words(influence, loss, window=4, reach=9).replace("; ", ";\\n"))
    One changed token moves the prediction by 2 bits at distance 0, by 0.5 at 3, by 1e-09 at 9;
    beyond 9 not at all;
    the loss is 4.00 bits per token when only the last token is given, 2.00 when all are.
    """
    marked = [(d, bits) for d, bits in influence if d in (0, window - 1, window, reach)]
    first, *others = (f"by {bits:.2g}{' bits' if d == 0 else ''} at {d}" for d, bits in marked)
    largest = max((bits for d, bits in influence if d > reach), default=0.0)
    beyond = f"by {largest:g} at most" if largest else "not at all"
    moves = ", ".join([first.replace("at 0", "at distance 0"), *others])
    return (
        f"One changed token moves the prediction {moves}; beyond {reach} {beyond};"
        f" the loss is {loss[0][1]:.2f} bits per token when only the last token is given,"
        f" {loss[-1][1]:.2f} when all are."
    )


FLOOR, CEILING, FOOT = -16, 1, 0.15  # powers of ten; where the scale begins, above the line of 0


def _log_share(bits: float) -> float:
    if bits <= 0:
        return 0.0
    share = (math.log10(bits) - FLOOR) / (CEILING - FLOOR)
    return FOOT + (1 - FOOT) * min(1.0, max(0.0, share))


def _log_ticks() -> list[tuple[float, str]]:
    powers = {0: "1", -4: "10⁻⁴", -8: "10⁻⁸", -12: "10⁻¹²"}
    scale = [(_log_share(10.0**power), words) for power, words in powers.items()]
    return [(0.0, "not at all"), *scale]


def _x(position: float, end: int) -> float:
    return round(LEFT + position / end * (WIDTH - LEFT - RIGHT), 1)


def _panel(n: int, title: str, ticks: list[tuple[float, str]], points: list[tuple[int, float]],
           end: int, colour: str, axis: str) -> str:  # fmt: skip
    top, bottom = TOPS[n], TOPS[n] + PANEL
    shapes = text(LEFT, top - 32, title, font_size=15, font_weight="bold")
    for share, label in ticks:
        y = round(bottom - share * PANEL, 1)
        shapes += tag("path", d=f"M{LEFT} {y}H{WIDTH - RIGHT}", stroke=RULE, fill="none")
        shapes += text(LEFT - 8, y + 5, label, text_anchor="end", font_size=13, fill=QUIET)
    for position in range(0, end + 1, 20):
        x = _x(position, end)
        words = str(position)
        shapes += text(x, bottom + 18, words, text_anchor="middle", font_size=13, fill=QUIET)
    shapes += text(WIDTH - RIGHT, bottom + 36, axis, text_anchor="end", font_size=13, fill=QUIET)
    dots = [(_x(d, end), round(bottom - share * PANEL, 1)) for d, share in points]
    line = "M" + "L".join(f"{x} {y}" for x, y in dots)
    shapes += tag("path", d=line, stroke=colour, stroke_width=2, fill="none")
    for x, y in dots:
        shapes += tag("circle", cx=x, cy=y, r=3, fill=colour, stroke=INK, stroke_width=0.5)
    return shapes


def _mark(n: int, window: int, reach: int, end: int) -> str:
    top, left, right = TOPS[n], _x(window - 1, end), _x(reach, end)
    shapes = tag("rect", x=LEFT, y=top, width=round(left - LEFT, 1), height=PANEL, fill=FAINT)
    for x, words in ((left, f"W − 1 = {window - 1}"), (right, f"K(W − 1) = {reach}")):
        d = f"M{x} {top - 8}V{top + PANEL}"
        shapes += tag("path", d=d, stroke=INK, stroke_dasharray="5 4", fill="none")
        shapes += text(x, top - 12, words, text_anchor="middle", font_size=13)
    return shapes
