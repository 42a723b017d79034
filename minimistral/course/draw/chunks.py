"""One chunk of a prompt, as in the paper's Figure 3: tokens gone, cached, and its own."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from minimistral.course.draw.rolling import fit
from minimistral.course.draw.svg import (
    BLUE,
    FAINT,
    INK,
    PAPER,
    QUIET,
    RULE,
    boxes,
    picture,
    tag,
    text,
)

WIDTH, LEFT, TOP, ROOM = 760, 116, 122, 384
Cell = tuple[int, int]  # row, column


@dataclass(frozen=True)
class ChunkView:
    """What a chunk sees. Without queries all is read, and `held` is what the cache holds then.

    queries (T,): its positions; held: the positions in the cache before it; mask bool (T, n):
    whether query t may see the token at position j.
    """

    queries: Sequence[int]
    held: Sequence[int]
    mask: Any

    @property
    def n_keys(self) -> int:
        """Keys at hand: those in the cache and the chunk's own."""
        return len(self.held) + len(self.queries)


def chunk_svg(view: ChunkView, tokens: Sequence[str]) -> str:
    """Rows are the queries of the chunk, columns all tokens; beside it the counts."""
    cell = cell_of(len(tokens))
    shapes = _columns(view, tokens, cell) + _rows(view, tokens, cell)
    shapes += "".join(_bracket(*block, cell) for block in _blocks(view, len(tokens)))
    shapes += _grid(view, cell)
    side = LEFT + len(tokens) * cell + 36
    shapes += _counts(view, side) + _legend(side, reading=len(view.queries) > 0)
    first = f", from position {view.queries[0]}" if view.queries else ""
    title = f"Chunk of {len(view.queries)} tokens{first}"
    height = TOP + max(len(tokens) * cell + 12, 272)
    return picture(WIDTH, height, title, shapes)


def cell_of(n_tokens: int) -> int:
    """The side of a cell: small enough that all tokens fit.

    >>> cell_of(1), cell_of(12), cell_of(16)
    (28, 28, 24)
    """
    return min(28, ROOM // n_tokens)


def _blocks(view: ChunkView, n: int) -> list[tuple[tuple[str, ...], list[int]]]:
    """The brackets above the columns: names from long to short, and the columns below each."""
    first, end = (view.queries[0], view.queries[-1] + 1) if view.queries else (n, n)
    gone = [j for j in range(first) if j not in view.held]
    blocks = (
        (("gone from the cache", "gone", "L"), gone),
        (("in the cache", "cache", "M"), list(view.held)),
        (("this chunk", "chunk", "R"), list(view.queries)),
        (("not read yet", "later", "…"), list(range(end, n))),
    )
    return [block for block in blocks if block[1]]


def _columns(view: ChunkView, tokens: Sequence[str], cell: int) -> str:
    """Words turned by 45 degrees; those that are gone are grey."""
    gone = [j for names, js in _blocks(view, len(tokens)) if names[-1] == "L" for j in js]
    words, numbers = "", ""
    for j, word in enumerate(tokens):
        x = LEFT + j * cell + cell // 2
        fill = QUIET if j in gone else INK
        turn = f"rotate(-45 {x + 4} 70)"
        words += text(x + 4, 70, fit(word, 66), transform=turn, fill=fill)
        numbers += text(x, 86, str(j))
    words = tag("g", words, font_size=12)
    return words + tag("g", numbers, font_size=12, fill=QUIET, text_anchor="middle")


def _bracket(names: tuple[str, ...], columns: Sequence[int], cell: int) -> str:
    x, width = LEFT + columns[0] * cell + 2, len(columns) * cell - 4
    name = next((word for word in names if 7.2 * len(word) < width), names[-1])
    line = tag("path", d=f"M{x} 97v-4h{width}v4", stroke=INK, fill="none")
    return line + text(x + width / 2, 112, name, text_anchor="middle", font_size=12)


def _rows(view: ChunkView, tokens: Sequence[str], cell: int) -> str:
    base = TOP + cell // 2 + 4
    if not view.queries:
        return text(LEFT - 8, base, "the cache now", text_anchor="end", font_size=12)
    words, numbers = "", ""
    for t, i in enumerate(view.queries):
        words += text(LEFT - 28, base + t * cell, fit(tokens[i], 84))
        numbers += text(LEFT - 6, base + t * cell, str(i))
    words = tag("g", words, font_size=12, text_anchor="end")
    return words + tag("g", numbers, font_size=12, text_anchor="end", fill=QUIET)


def _grid(view: ChunkView, cell: int) -> str:
    """One path for all cells of a kind."""
    if not view.queries:
        kept = [(0, j) for j in view.held]
        gone = [(0, j) for j in range(max(view.held, default=-1)) if j not in view.held]
        style = {"fill": FAINT, "stroke": INK}
        return _path(kept, cell, _squares, **style) + _path(gone, cell, _dashes, stroke=QUIET)
    here = [*view.held, *view.queries]
    cells = [(t, i, j) for t, i in enumerate(view.queries) for j in range(view.queries[-1] + 1)]
    seen = [(t, j) for t, _, j in cells if view.mask[t][j]]
    ahead = [(t, j) for t, i, j in cells if j > i and not view.mask[t][j]]
    old = [(t, j) for t, i, j in cells if j in here and j <= i and not view.mask[t][j]]
    gone = [(t, j) for t, _, j in cells if j not in here]
    return (
        _path(ahead, cell, _squares, fill=PAPER, stroke=RULE)
        + _path(old, cell, _squares, fill=FAINT, stroke=RULE)
        + _path(old, cell, _crosses, stroke=QUIET)
        + _path(gone, cell, _dashes, stroke=QUIET)
        + _path(seen, cell, _squares, fill=BLUE)
    )


def _path(
    cells: list[Cell], side: int, shape: Callable[[list[Cell], int], str], **style: str
) -> str:
    """One path over cells; nothing when there are none."""
    corners = [(LEFT + j * side, TOP + t * side) for t, j in cells]
    return tag("path", d=shape(corners, side), **style) if corners else ""


def _squares(corners: list[Cell], cell: int) -> str:
    return boxes([(x + 2, y + 2) for x, y in corners], cell - 4, cell - 4)


def _crosses(corners: list[Cell], cell: int) -> str:
    start = cell // 2 - 4
    return "".join(f"M{x + start} {y + start}l8 8m0 -8l-8 8" for x, y in corners)


def _dashes(corners: list[Cell], cell: int) -> str:
    return "".join(f"M{x + cell // 2 - 4} {y + cell // 2}h8" for x, y in corners)


def _counts(view: ChunkView, x: int) -> str:
    """The rectangle of all pairs as a bar, and the part of it that is visible."""
    if not view.queries:
        return text(x, TOP + 16, f"all read; the cache holds {len(view.held)} keys", font_size=13)
    first = view.queries[0]
    pairs = len(view.queries) * view.n_keys
    seen = sum(map(sum, view.mask))
    middle = sum(sum(row[:first]) for row in view.mask)
    lines = (
        f"L  gone: {first - len(view.held)}",
        f"M  in the cache: {len(view.held)}; visible pairs: {middle}",
        f"R  this chunk: {len(view.queries)}; visible pairs: {seen - middle}",
        f"queries × keys: {len(view.queries)} × {view.n_keys}",
        f"= pairs: {pairs}; visible: {seen}",
    )
    shapes = "".join(text(x, TOP + 12 + 19 * n, line) for n, line in enumerate(lines))
    bar = tag("rect", x=x, y=TOP + 98, width=200, height=14, fill=PAPER, stroke=INK)
    bar += tag("rect", x=x, y=TOP + 98, width=round(200 * seen / pairs, 1), height=14, fill=BLUE)
    return tag("g", shapes, font_size=12) + bar


def _legend(x: int, reading: bool) -> str:
    """The kinds of cells that this step can show."""
    y, cell = TOP + 140, 18
    rows = [("gone: there is no key", _dashes, {"stroke": QUIET})]
    if reading:
        rows = [
            ("visible", _squares, {"fill": BLUE}),
            ("hidden: too old", _squares, {"fill": FAINT, "stroke": RULE}),
            ("hidden: still ahead", _squares, {"fill": PAPER, "stroke": RULE}),
            *rows,
        ]
    else:
        rows += [("in the cache, no query", _squares, {"fill": FAINT, "stroke": INK})]
    shapes, names = "", ""
    for n, (name, shape, style) in enumerate(rows):
        shapes += tag("path", d=shape([(x, y + 21 * n)], cell), **style)
        names += text(x + 26, y + 21 * n + 13, name)
    if reading:
        shapes += tag("path", d=_crosses([(x, y + 21)], cell), stroke=QUIET)
    return tag("g", shapes, class_="legend") + tag("g", names, font_size=12)
