"""The map of the course: a row per lesson, a box per exercise, in the stages of the model."""

from collections.abc import Sequence
from typing import NamedTuple

from minimistral.course.draw.svg import BLUE, INK, PAPER, QUIET, picture, tag, text

COLUMN, LEFT, TOP, HEADING, ROW, FOOT = 424, 12, 10, 34, 26, 44
TITLE, BOXES, STEP, BOX, COUNT = 26, 202, 15, 12, 394  # in a row, from its left
STATES = {"☐": "open", "✗": "tried, not right yet", "✓": "done"}


class Row(NamedTuple):
    """A lesson: its number, its title, and for each exercise a title and ☐, ✗ or ✓."""

    number: str
    title: str
    exercises: Sequence[tuple[str, str]]

    @property
    def n_done(self) -> int:
        return sum(state == "✓" for _, state in self.exercises)


Stage = tuple[str, Sequence[Row]]


def course_map_svg(stages: Sequence[Stage], words: str) -> str:
    """The stages in two columns, as SVG text. `words` is the picture's name.

    A box is empty, crossed out, or filled with a tick, so that no one needs the colour; each
    names its exercise. Raises ValueError for a state other than ☐, ✗ and ✓.
    """
    for row in (row for _, rows in stages for row in rows):
        for title, state in row.exercises:
            if state not in STATES:
                raise ValueError(f"the state of {title!r} must be ☐, ✗ or ✓, not {state!r}")
    cut = _cut(stages)
    columns = [stages[:cut], stages[cut:]]
    shapes = [_column(column, LEFT + n * COLUMN) for n, column in enumerate(columns)]
    bottom = TOP + max(map(_height, columns))
    width = LEFT + 2 * COLUMN if columns[1] else LEFT + COLUMN
    return picture(width, bottom + FOOT, words, *shapes, _legend(bottom + 28))


def _cut(stages: Sequence[Stage]) -> int:
    """How many stages the left column has, so that the longer column is as short as can be."""
    cuts = range(1, max(2, len(stages)))
    return min(cuts, key=lambda cut: max(_height(stages[:cut]), _height(stages[cut:])))


def _height(stages: Sequence[Stage]) -> int:
    return sum(HEADING + len(rows) * ROW for _, rows in stages)


def _column(stages: Sequence[Stage], x: int) -> str:
    shapes, y = [], TOP
    for name, rows in stages:
        shapes.append(text(x, y + 22, name, font_weight="bold"))
        y += HEADING
        for row in rows:
            shapes.append(_row(row, x, y + 13))
            y += ROW
    return "".join(shapes)


def _row(row: Row, x: int, middle: int) -> str:
    total = len(row.exercises)
    name = f"Lesson {row.number}, {row.title}: {row.n_done} of {total} exercises done"
    boxes = (
        _box(x + BOXES + n * STEP, middle, state, f"Exercise {n + 1}, {title}: {STATES[state]}")
        for n, (title, state) in enumerate(row.exercises)
    )
    return tag(
        "g",
        tag("title", name),
        text(x, middle + 5, row.number, font_size=13, fill=QUIET),
        text(x + TITLE, middle + 5, row.title, font_size=13),
        *boxes,
        text(x + COUNT, middle + 5, f"{row.n_done}/{total}", font_size=13, text_anchor="end"),
        class_="mm-lesson",
    )


def _box(x: int, middle: int, state: str, name: str = "") -> str:
    y, done = middle - BOX // 2, state == "✓"
    square = tag(
        "rect", x=x, y=y, width=BOX, height=BOX, rx=2,
        fill=BLUE if done else PAPER, stroke=BLUE if done else QUIET,
    )  # fmt: skip
    path = {
        "☐": "",
        "✗": f"M{x + 3} {y + 3}l6 6m0 -6l-6 6",
        "✓": f"M{x + 2.5} {y + 6}l2.5 3l4.5 -6",
    }[state]
    style = {"fill": "none", "stroke": PAPER if done else INK, "stroke_width": 1.8}
    mark = tag("path", d=path, **style) if path else ""
    return tag("g", *([tag("title", name)] if name else []), square, mark)


def _legend(y: int) -> str:
    places = zip((LEFT, LEFT + 80, LEFT + 250), STATES.items(), strict=True)
    return "".join(
        _box(x, y, state) + text(x + BOX + 8, y + 5, words, font_size=13, fill=QUIET)
        for x, (state, words) in places
    )
