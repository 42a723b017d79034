"""One chunk of a prompt, as in the paper's Figure 3: left, middle and right block."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from minimistral.draw.svg import (
    BLUE,
    INK,
    PAPER,
    QUIET,
    RULE,
    boxes,
    picture,
    tag,
    text,
)

CELL, LEFT, TOP = 26, 128, 118


@dataclass(frozen=True)
class ChunkView:
    """What a chunk sees. chunk: its positions; held: those in the cache before it.

    mask bool (T, n): row t is query chunk[t], column j the token at position j.
    """

    chunk: Sequence[int]
    held: Sequence[int]
    mask: Any


def chunk_svg(view: ChunkView, tokens: Sequence[str]) -> str:
    """Rows are the queries of the chunk, columns the tokens. There is room for all tokens."""
    n = len(tokens)
    width, height = max(LEFT + n * CELL + 16, 480), TOP + n * CELL + 40
    columns = "".join(_column(j, word) for j, word in enumerate(tokens))
    rows = "".join(_row(t, i, view, tokens) for t, i in enumerate(view.chunk))
    gone = [j for j in range(min(view.chunk, default=0)) if j not in view.held]
    later = list(range(max(view.chunk, default=-1) + 1, n))
    names = (("left: gone", gone), ("middle: cache", sorted(view.held)),
             ("right: chunk", list(view.chunk)), ("not read yet", later))  # fmt: skip
    brackets = "".join(_bracket(name, places, n) for name, places in names if places)
    legend = _legend(TOP + max(len(view.chunk), 1) * CELL + 24)
    first = view.chunk[0] if view.chunk else n
    title = f"Chunk of {len(view.chunk)} tokens, from position {first}"
    return picture(width, height, title, columns, brackets, rows, legend)


def _column(j: int, word: str) -> str:
    x, y = LEFT + j * CELL + CELL / 2 + 4, 74
    short = word if len(word) <= 9 else word[:8] + "…"
    label = text(x, y, short, font_size=13, transform=f"rotate(-45 {x} {y})")
    number = text(x - 4, y + 14, str(j), text_anchor="middle", font_size=12, fill=QUIET)
    return label + number


def _bracket(name: str, places: Sequence[int], n_tokens: int) -> str:
    x, end = LEFT + places[0] * CELL + 2, LEFT + (places[-1] + 1) * CELL - 2
    y = TOP - 22
    shapes = tag("path", d=f"M{x} {y + 4}v-4H{end}v4", stroke=INK, fill="none")
    room = len(places) * CELL
    label = name if 7.5 * len(name) < room else name.split(":")[0]
    if 7.5 * len(label) < room + 8:
        middle = (x + end) / 2
        shapes += text(middle, y + 16, label, text_anchor="middle", font_size=12)
    return shapes


def _row(t: int, i: int, view: ChunkView, tokens: Sequence[str]) -> str:
    y = TOP + t * CELL
    here = [*view.held, *view.chunk]
    seen = [j for j in here if view.mask[t][j]]
    hidden = [j for j in here if not view.mask[t][j]]
    gone = [j for j in range(i) if j not in here]

    def squares(places: list[int], inset: int) -> str:
        side = CELL - 2 * inset
        return boxes([(LEFT + j * CELL + inset, y + inset) for j in places], side, side)

    word = tokens[i] if len(tokens[i]) <= 9 else tokens[i][:8] + "…"
    shapes = text(LEFT - 30, y + 18, word, text_anchor="end", font_size=13)
    shapes += text(LEFT - 8, y + 18, str(i), text_anchor="end", font_size=12, fill=QUIET)
    for places, inset, style in (
        (gone, 8, {"fill": RULE}),
        (hidden, 2, {"fill": PAPER, "stroke": RULE}),
        (seen, 2, {"fill": BLUE}),
    ):
        if places:
            shapes += tag("path", d=squares(places, inset), **style)
    too_old = [j for j in hidden if j < i]
    if too_old:
        crosses = "".join(f"M{LEFT + j * CELL + 9} {y + 9}l8 8m0 -8l-8 8" for j in too_old)
        shapes += tag("path", d=crosses, stroke=QUIET, fill="none")
    return shapes


def _legend(y: float) -> str:
    shapes = tag("path", d=boxes([(8, y - 12)], 14, 14), fill=BLUE)
    shapes += text(28, y, "visible", font_size=12)
    shapes += tag("path", d=boxes([(90, y - 12)], 14, 14), fill=PAPER, stroke=RULE)
    shapes += tag("path", d=f"M93 {y - 9}l8 8m0 -8l-8 8", stroke=QUIET, fill="none")
    shapes += text(110, y, "too old", font_size=12)
    shapes += tag("path", d=boxes([(172, y - 12)], 14, 14), fill=PAPER, stroke=RULE)
    shapes += text(192, y, "ahead", font_size=12)
    shapes += tag("path", d=boxes([(250, y - 9)], 10, 10), fill=RULE)
    return shapes + text(266, y, "no longer in the cache", font_size=12)
