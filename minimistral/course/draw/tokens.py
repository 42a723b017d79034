"""Token ids in lines: each piece in a box with its id below, and above it whose turn it is in."""

import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass

from minimistral.course.draw.svg import (
    BLUE,
    FAINT,
    INK,
    PAPER,
    QUIET,
    picture,
    tag,
    text,
)

WIDTH, TOP, LINE, BOX, GAP, MAX_LINES = 760, 4, 56, 22, 4, 7
CHARACTER, LEAST, LONGEST = 8, 40, 20  # width in pixels; least width of a box; columns shown
MONO = "ui-monospace, 'DejaVu Sans Mono', Consolas, monospace"
TEMPLATE = "template"  # the role of what the template writes between the turns
SIGNS = {"\n": "⏎", "\t": "⇥", "\r": "␍"}
KINDS = {"text": "text", "byte": "one byte", "control": "control piece"}


@dataclass
class TokenView:
    """One token. kind: "text", "byte" or "control". role: whose turn it is in, or "" in a text."""

    piece: str
    id: int
    kind: str = "text"
    role: str = ""


def tokens_svg(tokens: Sequence[TokenView], title: str) -> str:
    """The tokens in lines, as SVG text; what does not fit in 7 lines is counted at the end.

    The kind is told by the shape: a plain box, a dashed one for a byte, dark with pointed ends
    for a control piece. A bar with the role's name runs above the tokens of one turn, and
    none above the template's. Raises ValueError for another kind.
    """
    for token in tokens:
        if token.kind not in KINDS:
            raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {token.kind!r}")
    lines = _lines([_width(token) for token in tokens])
    shapes, n = "", 0
    for row, widths in enumerate(lines[:MAX_LINES]):
        y = TOP + row * LINE
        shapes += _bars(tokens[n : n + len(widths)], widths, y)
        for x, width in zip(_starts(widths), widths, strict=True):
            shapes += _token(n, tokens[n], x, y, width)
            n += 1
    floor = TOP + min(len(lines), MAX_LINES) * LINE
    if n < len(tokens):
        more = f"and {len(tokens) - n} more, which do not fit"
        shapes += text(GAP, floor + 12, more, font_size=13, font_weight="bold")
        floor += 18
    return picture(WIDTH, floor + 30, title, shapes, _legend(floor + 20))


def readable(piece: str, columns: int = LONGEST) -> str:
    """A piece as it is shown: what has no sign of its own gets one, a long one is cut short.

    >>> readable("a\\n\\tb"), readable("\\u200d"), readable("abcdef", columns=4)
    ('a⏎⇥b', 'U+200D', 'abc…')
    """
    shown = "".join(map(_sign, piece))
    if text_width(shown) <= columns * CHARACTER:
        return shown
    while text_width(shown + "…") > columns * CHARACTER:
        shown = shown[:-1]
    return shown + "…"


def _sign(character: str) -> str:
    if character in SIGNS:
        return SIGNS[character]
    unseen = unicodedata.category(character)[0] == "C" or 0xFE00 <= ord(character) <= 0xFE0F
    return f"U+{ord(character):04X}" if unseen else character


def text_width(words: str) -> int:
    """Pixels that words take in the font of the pieces: wide characters take two columns.

    >>> text_width("ab"), text_width("你"), text_width("e\\u0301")
    (16, 16, 8)
    """
    columns = (
        0 if unicodedata.combining(c) else 1 + (unicodedata.east_asian_width(c) in "WF")
        for c in words
    )
    return CHARACTER * sum(columns)


def _width(token: TokenView) -> int:
    return max(LEAST, text_width(readable(token.piece)) + (24 if token.kind == "control" else 10))


def _lines(widths: Sequence[int]) -> list[list[int]]:
    """The widths, broken into lines."""
    lines: list[list[int]] = [[]]
    for width in widths:
        if lines[-1] and sum(lines[-1]) + GAP * len(lines[-1]) + width > WIDTH - 2 * GAP:
            lines.append([])
        lines[-1].append(width)
    return lines


def _starts(widths: Sequence[int]) -> list[int]:
    return [GAP + sum(widths[:n]) + GAP * n for n in range(len(widths))]


def _bars(tokens: Sequence[TokenView], widths: Sequence[int], y: int) -> str:
    """A bar over each run of tokens of one role, with its name. `y`: the line's top."""
    shapes, starts = "", _starts(widths)
    for n, token in enumerate(tokens):
        if token.role in ("", TEMPLATE) or (n and tokens[n - 1].role == token.role):
            continue
        last = n
        while last + 1 < len(tokens) and tokens[last + 1].role == token.role:
            last += 1
        end = starts[last] + widths[last]
        shapes += text(starts[n], y + 10, token.role, font_size=12)
        shapes += tag("path", d=f"M{starts[n]} {y + 14}H{end}", stroke=BLUE, stroke_width=3)
    return shapes


def _token(n: int, token: TokenView, x: int, y: int, width: int) -> str:
    middle, top = x + width / 2, y + 18
    control = token.kind == "control"
    return tag(
        "g",
        tag("rect", x=x - 1, y=top - 1, width=width + 2, height=LINE - 19, fill=PAPER),
        _outline(token.kind, x, top, width),
        text(middle, top + 16, readable(token.piece), text_anchor="middle", font_family=MONO,
             font_size=13, fill=PAPER if control else INK),
        text(middle, top + BOX + 12, str(token.id), text_anchor="middle", font_size=11, fill=QUIET),
        class_="mm-row",
        tabindex=-1,
        role="img",
        aria_label=_token_words(n, token),
    )  # fmt: skip


def _outline(kind: str, x: float, y: float, width: float) -> str:
    if kind == "control":
        tip, half = 7, BOX / 2
        edges = f"l{tip} -{half}h{width - 2 * tip}l{tip} {half}l-{tip} {half}h-{width - 2 * tip}z"
        return tag("path", d=f"M{x} {y + half}{edges}", fill=INK)
    style: dict[str, object] = {"fill": PAPER, "stroke": QUIET}
    if kind == "byte":
        style = {"fill": FAINT, "stroke": INK, "stroke_width": 1.5, "stroke_dasharray": "4 3"}
    return tag("rect", x=x, y=y, width=width, height=BOX, **style)


def _token_words(n: int, token: TokenView) -> str:
    role = f", {token.role}" if token.role else ""
    return f"Token {n}: {readable(token.piece)}, id {token.id}, {KINDS[token.kind]}{role}."


def _legend(y: int) -> str:
    x1, x2, x3, x4 = 4, 216, 322, 456
    shapes = "".join(_outline(kind, x, y - 15, 28) for kind, x in
                     (("text", x1), ("byte", x2), ("control", x3)))  # fmt: skip
    shapes += tag("path", d=f"M{x4} {y - 4}h28", stroke=BLUE, stroke_width=3)
    names = ((x1, "piece of text, ▁ is a space"), (x2, "one byte"), (x3, "control piece"),
             (x4, "whose turn it is; without a bar: the template"))  # fmt: skip
    return shapes + "".join(text(x + 34, y, words, font_size=12) for x, words in names)
