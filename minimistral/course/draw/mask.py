"""A mask as a picture: one row per query, one column per key."""

from collections.abc import Sequence
from typing import Any

from minimistral.course.draw.svg import (
    BLUE,
    FAINT,
    ORANGE,
    PAPER,
    QUIET,
    RULE,
    boxes,
    picture,
    tag,
    text,
)

CELL, LEFT, TOP, FOOT = 32, 116, 96, 44


def mask_svg(
    mask: Any,
    q_pos: Sequence[int],
    k_pos: Sequence[int],
    tokens: Sequence[str],
    size: int | None = None,
) -> str:
    """The mask of `tokens` as SVG text.

    mask bool (T, S); q_pos (T,) and k_pos (S,) absolute positions, which index `tokens`.
    Visible cells are filled; keys that the mask hides are crossed out when they lie in the
    past, and left empty when they lie ahead. `size`: leave room for this many rows and
    columns, so that smaller pictures do not jump. Each row can be focused and says in words
    what it sees. Raises ValueError when the shapes do not match.
    """
    _check(mask, q_pos, k_pos, tokens)
    size = size or max(len(q_pos), len(k_pos))
    width, height = LEFT + size * CELL + 16, TOP + size * CELL + FOOT
    columns = [_column_label(s, j, tokens[j]) for s, j in enumerate(k_pos)]
    rows = [_row(mask[t], t, i, k_pos, tokens) for t, i in enumerate(q_pos)]
    corner = text(LEFT - 10, TOP - 8, "query ↓  key →", text_anchor="end", font_size=11, fill=QUIET)
    title = f"Attention mask of {len(q_pos)} queries and {len(k_pos)} keys"
    legend = _legend(TOP + len(q_pos) * CELL + 26)
    return picture(width, height, title, corner, *columns, *rows, legend)


def mask_words(mask: Any, q_pos: Sequence[int], k_pos: Sequence[int]) -> str:
    """What the picture shows, in one sentence.

    >>> mask_words([[True, False], [True, True]], [0, 1], [0, 1])
    '3 of 3 causal pairs are visible; the last query sees 2 keys, positions 0 to 1.'
    """
    causal = sum(j <= i for i in q_pos for j in k_pos)
    seen = sum(bool(cell) for row in mask for cell in row)
    last = sorted(j for j, cell in zip(k_pos, mask[-1], strict=True) if cell)
    pairs = f"{seen} of {causal} causal pairs are visible"
    return f"{pairs}; the last query sees {_keys(last)}."


def _row(cells: Any, t: int, i: int, k_pos: Sequence[int], tokens: Sequence[str]) -> str:
    y = TOP + t * CELL
    seen = [s for s, cell in enumerate(cells) if cell]
    ahead = [s for s, j in enumerate(k_pos) if j > i and not cells[s]]
    too_old = [s for s, j in enumerate(k_pos) if j <= i and not cells[s]]

    def squares(columns: list[int], inset: int) -> str:
        side = CELL - 2 * inset
        return boxes([(LEFT + s * CELL + inset, y + inset) for s in columns], side, side)

    crosses = "".join(f"M{LEFT + s * CELL + 11} {y + 11}l10 10m0 -10l-10 10" for s in too_old)
    bars = boxes([(LEFT + s * CELL + 4, TOP - 6) for s in seen], CELL - 8, 4)
    hot = tag(  # shown only while the row is pointed at or focused
        "g",
        tag("path", d=squares(seen, 1), fill="none", stroke=ORANGE, stroke_width=4),
        tag("path", d=bars, fill=ORANGE),
        class_="mm-hot",
        visibility="hidden",
        pointer_events="none",
    )
    return tag(
        "g",
        tag("rect", x=0, y=y, width=LEFT + len(k_pos) * CELL, height=CELL, fill=PAPER),
        text(LEFT - 30, y + 22, tokens[i], text_anchor="end"),
        text(LEFT - 8, y + 22, str(i), text_anchor="end", font_size=11, fill=QUIET),
        tag("path", d=squares(ahead, 2), fill="none", stroke=RULE),
        tag("path", d=squares(too_old, 2), fill=FAINT, stroke=RULE),
        tag("path", d=crosses, fill="none", stroke=QUIET),
        tag("path", d=squares(seen, 2), fill=BLUE),
        hot,
        class_="mm-row",
        tabindex=-1,
        role="img",
        aria_label=_row_words(i, sorted(k_pos[s] for s in seen), tokens),
    )


def _row_words(i: int, seen: list[int], tokens: Sequence[str]) -> str:
    names = ", ".join(tokens[j] for j in seen)
    return f"Query {i}, {tokens[i]}, sees {_keys(seen)}{': ' + names if seen else ''}."


def _keys(seen: list[int]) -> str:
    if not seen:
        return "no key"
    if len(seen) == 1:
        return f"1 key, position {seen[0]}"
    if seen == list(range(seen[0], seen[-1] + 1)):
        return f"{len(seen)} keys, positions {seen[0]} to {seen[-1]}"
    return f"{len(seen)} keys, positions {', '.join(map(str, seen))}"


def _column_label(s: int, j: int, token: str) -> str:
    x, y = LEFT + s * CELL + CELL // 2 + 5, TOP - 24
    label = text(x, y, token, transform=f"rotate(-45 {x} {y})")
    number = text(x - 5, TOP - 9, str(j), text_anchor="middle", font_size=11, fill=QUIET)
    return label + number


def _legend(y: float) -> str:
    def square(x: int, **style: object) -> str:
        return tag("path", d=boxes([(x, y - 12)], 14, 14), **style)

    x1, x2, x3 = 8, 84, 206
    cross = tag("path", d=f"M{x2 + 3} {y - 9}l8 8m0 -8l-8 8", stroke=QUIET, fill="none")
    shapes = square(x1, fill=BLUE) + square(x2, fill=FAINT, stroke=RULE) + cross
    shapes += square(x3, fill="none", stroke=RULE)
    names = ((x1, "visible"), (x2, "hidden: too old"), (x3, "hidden: still ahead"))
    return shapes + "".join(text(x + 20, y, words, font_size=12) for x, words in names)


def _check(mask: Any, q_pos: Sequence[int], k_pos: Sequence[int], tokens: Sequence[str]) -> None:
    shape = (len(mask), len(mask[0]) if len(mask) else 0)
    if shape != (len(q_pos), len(k_pos)):
        raise ValueError(f"mask must be {(len(q_pos), len(k_pos))}, not {shape}")
    for position in (*q_pos, *k_pos):
        if not 0 <= position < len(tokens):
            raise ValueError(f"positions must be 0 to {len(tokens) - 1}, not {position}")
