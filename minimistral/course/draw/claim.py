"""A claim of the ledger: what is said about it in words, and its place among all the others."""

import textwrap
from collections.abc import Mapping, Sequence

from minimistral.course.draw.svg import BLUE, FAINT, INK, PAPER, QUIET, picture, tag, text

WIDTH, LEFT, TEXT, COLUMNS, LINE, GAP = 760, 16, 176, 76, 18, 6
PART = 3  # lines of words that can be pointed at together
MARK, STEP, STRIP, LEGEND = 7, 23, 40, 66  # radius and distance of the marks; heights
PER_ROW = (WIDTH - 2 * LEFT) // STEP


def claim_svg(
    title: str,
    lines: Mapping[str, str],
    verdicts: Sequence[str],
    marks: Sequence[int],
    current: int,
    height: int = 0,
) -> str:
    """One claim as SVG text: a strip of all claims, and below it the words about this one.

    lines: heading -> text. verdicts: the names of the four kinds of mark: a full circle, a half
    one, a cross, and an empty circle with a question mark. marks: the kind of each claim, 0 to 3.
    current: which claim has the frame. height: of the words, so that all pictures are alike.
    Raises ValueError for other numbers of verdicts, marks or claims.
    """
    if len(verdicts) != 4:
        raise ValueError(f"verdicts must be 4 names, not {len(verdicts)}")
    if not all(0 <= mark < 4 for mark in marks):
        raise ValueError(f"marks must be from 0 to 3, not {list(marks)}")
    if not 0 <= current < len(marks):
        raise ValueError(f"current must be below {len(marks)}, the number of marks, not {current}")
    rows = (len(marks) - 1) // PER_ROW
    floor = LEGEND + rows * STEP
    shapes = "".join(_mark(kind, *_place(n)) for n, kind in enumerate(marks))
    x, y = _place(current)
    frame = tag("rect", x=x - 11, y=y - 11, width=22, height=22, fill="none", stroke=INK,
                stroke_width=2)  # fmt: skip
    told, top = "", floor + 20
    for heading, words in lines.items():
        told += _told(heading, words, top)
        top += _height(words)
    bottom = floor + 20 + max(height, words_height(lines))
    return picture(WIDTH, bottom, title, shapes, frame, _legend(verdicts, floor), told)


def words_height(lines: Mapping[str, str]) -> int:
    """Pixels that the words about a claim take."""
    return sum(map(_height, lines.values()))


def _height(words: str) -> int:
    return LINE * len(_wrapped(words)) + GAP


def _wrapped(words: str) -> list[str]:
    return textwrap.wrap(words, COLUMNS, break_on_hyphens=False)


def _place(n: int) -> tuple[int, int]:
    return LEFT + 11 + n % PER_ROW * STEP, 24 + n // PER_ROW * STEP


def _mark(kind: int, x: int, y: int) -> str:
    """Kinds are told apart by their shapes."""
    if kind == 2:
        d = f"M{x - 5} {y - 5}l10 10m0 -10l-10 10"
        return tag("path", d=d, stroke=INK, stroke_width=2.5, fill="none")
    circle = tag("circle", cx=x, cy=y, r=MARK, fill=BLUE if kind == 0 else PAPER, stroke=QUIET)
    if kind == 1:
        circle += tag("path", d=f"M{x} {y - MARK}a{MARK} {MARK} 0 0 0 0 {2 * MARK}z", fill=BLUE)
    if kind == 3:
        circle += text(x, y + 4, "?", text_anchor="middle", font_size=11)
    return circle


def _legend(verdicts: Sequence[str], y: int) -> str:
    shapes, x = tag("rect", y=y - 15, width=WIDTH, height=1, fill=FAINT), LEFT + 11
    for kind, verdict in enumerate(verdicts):
        shapes += _mark(kind, x, y - 1) + text(x + 14, y + 4, verdict, font_size=13)
        x += 44 + 7 * len(verdict)
    return shapes


def _told(heading: str, words: str, top: int) -> str:
    """Lines of words, in parts that can be pointed at: a player has room for so much at a time."""
    shapes, lines = "", _wrapped(words)
    for start in range(0, len(lines), PART):
        part, y = lines[start : start + PART], top + start * LINE
        rect = tag("rect", y=y, width=WIDTH, height=LINE * len(part), fill="none",
                   pointer_events="all")  # fmt: skip
        head = "" if start else text(LEFT, y + 17, heading, font_size=13, fill=QUIET)
        # Not bold when it is pointed at, as bold would not fit.
        said = "".join(
            text(TEXT, y + 17 + n * LINE, line, style="font-weight: 400")
            for n, line in enumerate(part)
        )
        shapes += tag("g", rect, head, said, class_="mm-row", tabindex=-1, role="img",
                      aria_label=f"{heading}: {' '.join(part)}")  # fmt: skip
    return shapes
