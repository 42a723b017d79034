"""A threshold as a picture: precision against recall, and what becomes of 1,000 requests."""

from collections.abc import Sequence

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

WIDTH, HEIGHT, LEFT, TOP, SIDE = 760, 330, 62, 26, 250
BARS, LONG, BAR = 400, 330, 26  # where the bars begin, how long and how high they are
Point = tuple[float, float]  # recall, precision


def decision_svg(
    curve: Sequence[Point],
    point: Point,
    paper: Point,
    counts: Sequence[float],
    names: tuple[str, str],
    verbs: tuple[str, str],
    title: str,
) -> str:
    """A precision-recall curve, the point of a threshold, the paper's, and four counts, as SVG.

    curve: (recall, precision) from the highest threshold to the lowest. point: the round mark;
    paper: the diamond. counts: how many of 1,000 are true positive, false positive, false negative
    and true negative. names: of the positive class and the other; verbs: what happens to a request
    that is said to be positive, and to another. Shares are from 0 to 1.
    Raises ValueError for a share outside, or unless there are four counts and a curve.
    """
    for recall, precision in (*curve, point, paper):
        if not (0 <= recall <= 1 and 0 <= precision <= 1):
            raise ValueError(f"recall and precision must be from 0 to 1, not {recall}, {precision}")
    if len(counts) != 4 or not curve:
        raise ValueError(
            f"there must be four counts and a curve, not {len(counts)} and {len(curve)}"
        )
    d = "M" + "L".join(f"{_x(recall)} {_y(precision)}" for recall, precision in curve)
    shapes = [
        _axes(),
        tag("path", d=d, stroke=BLUE, stroke_width=2, fill="none"),
        _diamond(*paper),
        tag("circle", cx=_x(point[0]), cy=_y(point[1]), r=7, fill=PAPER, stroke=INK,
            stroke_width=3),
        _bars(counts, names, verbs),
        _legend(),
    ]  # fmt: skip
    return picture(WIDTH, HEIGHT, title, *shapes)


def _x(recall: float) -> float:
    return round(LEFT + SIDE * recall, 1)


def _y(precision: float) -> float:
    return round(TOP + SIDE * (1 - precision), 1)


def _axes() -> str:
    shapes = ""
    for share in (0, 0.25, 0.5, 0.75, 1):
        shapes += tag("path", d=f"M{_x(share)} {TOP}v{SIDE}M{LEFT} {_y(share)}h{SIDE}", stroke=RULE)
        shapes += text(_x(share), TOP + SIDE + 17, f"{share:g}", text_anchor="middle", font_size=12,
                       fill=QUIET)  # fmt: skip
        shapes += text(LEFT - 8, _y(share) + 4, f"{share:g}", text_anchor="end", font_size=12,
                       fill=QUIET)  # fmt: skip
    shapes += text(LEFT + SIDE / 2, TOP + SIDE + 36, "recall", text_anchor="middle")
    turn = f"rotate(-90 16 {TOP + SIDE / 2})"
    middle = TOP + SIDE / 2
    return shapes + text(16, middle, "precision", text_anchor="middle", transform=turn)


def _diamond(recall: float, precision: float) -> str:
    d = f"M{_x(recall)} {_y(precision) - 8}l7 8l-7 8l-7 -8z"
    return tag("path", d=d, fill=INK, stroke=PAPER, stroke_width=1)


def _bars(counts: Sequence[float], names: tuple[str, str], verbs: tuple[str, str]) -> str:
    """A bar for each class, as long as its share of 1,000; what is said to be positive is dark."""
    true_positive, false_positive, false_negative, true_negative = counts
    rows = ((names[0], true_positive, false_negative), (names[1], false_positive, true_negative))
    shapes = text(BARS, TOP + 6, "Of 1,000 requests", font_weight="bold")
    for n, (name, said, not_said) in enumerate(rows):
        y = TOP + 34 + n * 92
        shapes += text(BARS, y, f"{name}: {_count(said + not_said)}", font_size=13)
        dark, light = (round(LONG * count / 1000, 1) for count in (said, not_said))
        shapes += tag("rect", x=BARS, y=y + 8, width=dark, height=BAR, fill=BLUE, stroke=INK)
        shapes += tag("rect", x=BARS + dark, y=y + 8, width=light, height=BAR, fill=FAINT,
                      stroke=INK, stroke_dasharray="4 3")  # fmt: skip
        marks = ("✓", "✗") if n == 0 else ("✗", "✓")
        words = f"{marks[0]} {_count(said)} {verbs[0]}"
        more = f"{marks[1]} {_count(not_said)} {verbs[1]}"
        shapes += text(BARS, y + 52, f"{words}, {more}", font_size=12)
    return shapes


def _count(number: float) -> str:
    """A count of 1,000: with a decimal where it is small.

    >>> _count(433.26), _count(4.34), _count(0)
    ('433', '4.3', '0')
    """
    return f"{number:.1f}" if 0 < number < 9.95 else f"{number:.0f}"


def _legend() -> str:
    y = TOP + 232
    shapes = tag("circle", cx=BARS + 8, cy=y, r=7, fill=PAPER, stroke=INK, stroke_width=3)
    shapes += tag("path", d=f"M{BARS + 8} {y + 18}l7 8l-7 8l-7 -8z", fill=INK)
    shapes += tag("path", d=f"M{BARS} {y + 52}h16", stroke=BLUE, stroke_width=2)
    names = ("this threshold", "Mistral 7B as the paper measured it, at this base rate",
             "every threshold")  # fmt: skip
    return shapes + "".join(
        text(BARS + 26, y + 5 + 26 * n, words, font_size=12) for n, words in enumerate(names)
    )
