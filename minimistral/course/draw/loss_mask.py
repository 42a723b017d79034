"""The tokens of a conversation in lines: which of them the loss counts, and which only are read."""

from collections.abc import Sequence

from minimistral.course.draw.svg import BLUE, INK, PAPER, QUIET, picture, tag, text
from minimistral.course.draw.tokens import MONO, readable, text_width

WIDTH, TOP, LINE, BOX, GAP, LEAST = 760, 8, 46, 24, 4, 26


def loss_mask_svg(pieces: Sequence[str], counted: Sequence[bool], title: str) -> str:
    """The pieces in boxes, in lines, as SVG text.

    counted: for each piece, whether the loss counts how likely the model found it. Such a piece is
    in a dark box with a bar and a tick below; any other in a light one, dashed, with neither.
    Raises ValueError unless there are as many of both, and at least one.
    """
    if len(pieces) != len(counted) or not pieces:
        raise ValueError(
            f"counted must be as many as pieces, at least one: {len(counted)} for {len(pieces)}"
        )
    shapes, x, y = "", GAP, TOP
    for n, (piece, counts) in enumerate(zip(pieces, counted, strict=True)):
        width = max(LEAST, text_width(readable(piece)) + 10)
        if x + width > WIDTH - GAP and x > GAP:
            x, y = GAP, y + LINE
        shapes += _token(n, piece, counts, x, y, width)
        x += width + GAP
    bottom = y + LINE
    return picture(WIDTH, bottom + 30, title, shapes, _legend(bottom + 18))


def loss_mask_words(counted: Sequence[bool]) -> str:
    """What the picture shows, in one sentence.

    >>> loss_mask_words([False, False, True])
    '1 of 3 tokens counts in the loss.'
    """
    n = sum(map(bool, counted))
    return f"{n} of {len(counted)} tokens {'counts' if n == 1 else 'count'} in the loss."


def _token(n: int, piece: str, counts: bool, x: int, y: int, width: int) -> str:
    middle = x + width / 2
    told = "counts in the loss" if counts else "is only read"
    return tag(
        "g",
        _box(counts, x, y, width),
        text(middle, y + 17, readable(piece), text_anchor="middle", font_family=MONO,
             font_size=13, fill=PAPER if counts else INK),
        *[_tick(x, y, width)] * counts,
        class_="mm-row",
        tabindex=-1,
        role="img",
        aria_label=f"Token {n}: {readable(piece)} {told}.",
    )  # fmt: skip


def _box(counts: bool, x: float, y: float, width: float) -> str:
    style: dict[str, object] = {"fill": INK, "stroke": INK}
    if not counts:
        style = {"fill": PAPER, "stroke": QUIET, "stroke_dasharray": "3 2"}
    return tag("rect", x=x, y=y, width=width, height=BOX, rx=2, **style)


def _tick(x: float, y: float, width: float) -> str:
    """A bar below the box, and a tick in its middle."""
    below, middle = y + BOX + 4, x + width / 2
    bar = tag("path", d=f"M{x} {below}h{width}", stroke=BLUE, stroke_width=3)
    d = f"M{middle - 4} {below + 7}l3 4l6 -8"
    return bar + tag("path", d=d, stroke=INK, stroke_width=2, fill="none")


def _legend(y: int) -> str:
    shapes = _box(True, 4, y - 14, 26) + _tick(4, y - 14, 26) + _box(False, 230, y - 14, 26)
    names = ((38, "counts: the model learns it"), (264, "is only read: the loss leaves it out"))
    return shapes + "".join(text(x, y + 2, words, font_size=12) for x, words in names)
