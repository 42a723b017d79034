"""One weight of a checkpoint: its two names, and where it lies in the file."""

from collections.abc import Sequence
from dataclasses import dataclass

from minimistral.course.draw.svg import (
    FAINT,
    INK,
    ORANGE,
    PAPER,
    QUIET,
    RULE,
    SKY,
    boxes,
    picture,
    tag,
    text,
)
from minimistral.course.draw.tokens import MONO

WIDTH, LEFT, BAR, TOP, FILE_TOP = 760, 20, 40, 96, 196


@dataclass(frozen=True)
class Entry:
    """A weight as the file's header lists it. start, stop: bytes from the start of the file.

    rows: what has to be done to its rows on the way to Mistral's order, in words.
    """

    theirs: str
    ours: str
    dtype: str
    shape: tuple[int, ...]
    start: int
    stop: int
    rows: str


def name_map_svg(entries: Sequence[Entry], chosen: int) -> str:
    """Both names of entry `chosen`, and the whole file as a bar in which it is marked.

    entries: in the order of the file; what lies before the first is the header.
    Raises ValueError when chosen is not one of them.
    """
    if not 0 <= chosen < len(entries):
        raise ValueError(f"chosen must be 0 to {len(entries) - 1}, not {chosen}")
    entry = entries[chosen]
    title = f"{entry.theirs} is Mistral's {entry.ours}"
    return picture(WIDTH, 320, title, _names(entry), _facts(entry), _file(entries, chosen))


def _names(entry: Entry) -> str:
    half = (WIDTH - 2 * LEFT - 60) // 2
    shapes, right = "", LEFT + half + 60
    for x, whose, name in ((LEFT, "Hugging Face", entry.theirs), (right, "Mistral", entry.ours)):
        shapes += tag("rect", x=x, y=12, width=half, height=56, rx=3, fill=FAINT, stroke=RULE)
        shapes += text(x + 10, 32, whose, font_size=12, fill=QUIET)
        shapes += text(x + 10, 55, name, font_family=MONO, font_size=12, font_weight="bold")
    arrow = f"M{LEFT + half + 10} 40H{right - 16}m-8 -6l8 6l-8 6"
    return shapes + tag("path", d=arrow, stroke=INK, stroke_width=2, fill="none")


def _facts(entry: Entry) -> str:
    shape = " × ".join(f"{n:,}" for n in entry.shape)
    facts = (
        ("dtype", entry.dtype), ("shape", shape), ("bytes", f"{entry.stop - entry.start:,}"),
        ("from byte", f"{entry.start:,}"), ("up to byte", f"{entry.stop:,}"),
    )  # fmt: skip
    shapes = ""
    for n, (name, value) in enumerate(facts):
        x = LEFT + n * 146
        shapes += text(x, TOP, name, font_size=12, fill=QUIET)
        shapes += text(x, TOP + 20, value, font_size=15, font_weight="bold")
    shapes += text(LEFT, TOP + 50, "rows", font_size=12, fill=QUIET)
    return shapes + text(LEFT + 40, TOP + 50, entry.rows, font_size=14)


def _file(entries: Sequence[Entry], chosen: int) -> str:
    """The file: its header, and every weight as wide as its share of the bytes."""
    scale = (WIDTH - 2 * LEFT) / entries[-1].stop

    def at(byte: int) -> float:
        return round(LEFT + byte * scale, 2)

    def bar(start: int, stop: int) -> str:
        return boxes([(at(start), FILE_TOP)], round(at(stop) - at(start), 2), BAR)

    others = "".join(bar(e.start, e.stop) for n, e in enumerate(entries) if n != chosen)
    shapes = tag("path", d=others, fill=SKY, stroke=PAPER, stroke_width=0.7)
    shapes += tag("path", d=bar(0, entries[0].start), fill=INK)
    entry = entries[chosen]
    shapes += tag("path", d=bar(entry.start, entry.stop), fill=ORANGE, stroke=INK, stroke_width=1.5)
    middle = (at(entry.start) + at(entry.stop)) / 2
    mark = f"M{middle:.2f} {FILE_TOP - 3}l-6 -10h12z"
    shapes += tag("path", d=mark, fill=INK)
    y = FILE_TOP + BAR + 18
    shapes += text(LEFT, y, "0", font_size=12, fill=QUIET)
    last = f"{entries[-1].stop:,} bytes"
    shapes += text(WIDTH - LEFT, y, last, text_anchor="end", font_size=12, fill=QUIET)
    return shapes + _legend(y + 36)


def _legend(y: int) -> str:
    items = (
        (LEFT, {"fill": INK}, "the header"), (LEFT + 150, {"fill": SKY}, "the other weights"),
        (LEFT + 340, {"fill": ORANGE, "stroke": INK}, "this weight, below the ▼"),
    )  # fmt: skip
    return "".join(
        tag("path", d=boxes([(x, y - 12)], 16, 14), **style) + text(x + 24, y, words, font_size=13)
        for x, style, words in items
    )
