"""Two small arrays side by side: an answer and what is right."""

from typing import Any

from minimistral.course.draw.svg import BLUE, INK, ORANGE, PAPER, RULE, picture, tag, text

CELL, GAP, LEFT, TOP = 42, 56, 16, 44


def pair_svg(mine: Any, right: Any) -> tuple[str, str]:
    """Two arrays (T, S) of the same shape as SVG text, and in words.

    True and False are filled and empty cells; numbers are written in their cells. A cell that
    differs has a thick frame and a cross in its corner, so that no one needs the colour.

    >>> pair_svg([[True, False]], [[True, True]])[1]
    'Yours beside the right one: 1 of 2 entries differs, the first in row 0, column 1.'
    """
    rows, columns = len(right), len(right[0])
    off = [(t, s) for t in range(rows) for s in range(columns) if differs(mine[t][s], right[t][s])]
    left = LEFT + columns * CELL + GAP
    width, height = left + columns * CELL + LEFT, TOP + rows * CELL + 16
    first = f", the first in row {off[0][0]}, column {off[0][1]}" if off else ""
    verb = "differs" if len(off) == 1 else "differ"
    words = f"Yours beside the right one: {len(off)} of {rows * columns} entries {verb}{first}."
    both = [_grid(mine, LEFT, "yours", off), _grid(right, left, "right", off)]
    return picture(width, height, words, *both), words


def differs(a: Any, b: Any) -> bool:
    """Whether two entries are apart; two NaN are not.

    >>> differs(1.0, 1.0 + 1e-9), differs(True, False), differs(float("nan"), 1.0)
    (False, True, True)
    """
    a, b = float(a), float(b)
    if a != a or b != b:
        return (a != a) != (b != b)
    return a != b and not abs(a - b) <= 1e-6 + 1e-4 * abs(b)


def _grid(values: Any, left: int, name: str, off: list[tuple[int, int]]) -> str:
    cells = [
        _cell(values[t][s], left + s * CELL, TOP + t * CELL, (t, s) in off)
        for t in range(len(values))
        for s in range(len(values[0]))
    ]
    return text(left, TOP - 14, name, font_weight="bold") + "".join(cells)


def _cell(value: Any, x: int, y: int, is_off: bool) -> str:
    is_truth = str(getattr(value, "dtype", type(value).__name__)).startswith("bool")
    filled = is_truth and bool(value)
    box = tag(
        "rect",
        x=x + 1,
        y=y + 1,
        width=CELL - 2,
        height=CELL - 2,
        fill=BLUE if filled else PAPER,
        stroke=ORANGE if is_off else RULE,
        stroke_width=4 if is_off else 1,
    )
    number = "" if is_truth else text(
        x + CELL // 2, y + 26, f"{float(value):.3g}", text_anchor="middle", font_size=11
    )  # fmt: skip
    ink = PAPER if filled else INK
    cross = tag("path", d=f"M{x + 6} {y + 6}l7 7m0 -7l-7 7", stroke=ink, stroke_width=2)
    return box + number + (cross if is_off else "")
