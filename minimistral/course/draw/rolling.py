"""A rolling buffer of W slots while a text goes through it, and how its bytes compare."""

from collections.abc import Sequence
from dataclasses import dataclass

from minimistral.course.draw.svg import (
    BLUE,
    FAINT,
    GREEN,
    INK,
    ORANGE,
    PAPER,
    PINK,
    QUIET,
    RULE,
    escape,
    picture,
    tag,
    text,
)

WIDTH, LEFT, PER_LINE, CHIP, LINE = 760, 130, 10, 73, 27
SLOT_H, SEEN_H, BAR, BAR_LEFT, BAR_ROOM = 44, 20, 16, 200, 330
EMPTY = {"fill": PAPER, "stroke": QUIET, "stroke_dasharray": "3 3"}


@dataclass(frozen=True)
class SlotView:
    """What a cache of W slots holds after some tokens.

    marks (W,): the position that the key itself says, -1 when there is no key. positions (W,):
    what the cache says of the same slots. visible (W,): what the newest token sees. newest,
    slot, evicted: a position, where it was written and whose key lay there, -1 for none.
    Bytes: n_bytes of this cache, growing of one that keeps all; wrote by this step, moved by
    this step in a buffer that shifts, beside writing the same.
    """

    marks: Sequence[int]
    positions: Sequence[int]
    visible: Sequence[bool]
    newest: int
    slot: int
    evicted: int
    n_bytes: int
    growing: int
    wrote: int
    moved: int


def rolling_svg(view: SlotView, tokens: Sequence[str]) -> str:
    """The text, the slots and what the newest token sees, a shifting buffer, the bytes."""
    top = 36 + -(-len(tokens) // PER_LINE) * LINE + 44
    pitch = min(84, (WIDTH - LEFT - 8) // len(view.positions))
    note = "the text: framed = newest, filled = in the cache, struck = evicted, dashed = not read"
    shapes = text(8, 20, note, font_size=12, fill=QUIET)
    shapes += "".join(_chip(j, word, view) for j, word in enumerate(tokens))
    shapes += _names(top, ("slot", -7), ("this buffer", 26), ("the newest sees", SLOT_H + 20))
    shapes += "".join(_slot(s, view, tokens, top, pitch) for s in range(len(view.positions)))
    shapes += _evicted(view, tokens, top, pitch)
    shapes += _shifting(view, tokens, top + SLOT_H + SEEN_H + 22, pitch)
    foot = top + 2 * SLOT_H + SEEN_H + 50
    title = f"A rolling buffer of {len(view.positions)} slots after {view.newest + 1} tokens"
    return picture(WIDTH, foot + 114, title, shapes, _bytes(view, len(tokens), foot))


def fit(word: str, room: float, size: int = 12) -> str:
    """As much of the word as fits into this many pixels; wide and narrow letters are told apart.

    >>> fit("lighthouse", 80), fit("lighthouse", 40), fit("mammoth", 40)
    ('lighthouse', 'ligh…', 'ma…')
    """

    def em(letter: str) -> float:
        if letter in "fijlrt.,:;!' ":
            return 0.38
        return 0.98 if letter in "mwMW%@…" or ord(letter) > 0x2E7F else 0.68

    def width(letters: str) -> float:
        return size * sum(map(em, letters))

    if width(word) <= room:
        return word
    kept = next((n for n in range(len(word), 0, -1) if width(word[:n] + "…") <= room), 0)
    return word[:kept] + "…"


def _names(top: int, *rows: tuple[str, int]) -> str:
    return "".join(text(8, top + dy, name, font_size=12, fill=QUIET) for name, dy in rows)


def _chip(j: int, word: str, view: SlotView) -> str:
    x, y = 8 + j % PER_LINE * (CHIP + 1), 30 + j // PER_LINE * LINE
    held, read = j in view.positions, j <= view.newest
    style = {"fill": FAINT, "stroke": QUIET} if held else {"fill": PAPER, "stroke": RULE}
    style = style if read else dict(EMPTY)
    if j == view.newest:
        style |= {"stroke": ORANGE, "stroke_width": "3"}
    shapes = tag("rect", x=x, y=y, width=CHIP - 4, height=LINE - 5, **style)
    shapes += text(x + 4, y + 15, str(j), font_size=12, fill=QUIET)
    shapes += text(x + 24, y + 15, fit(word, CHIP - 30), font_size=12, fill=INK if read else QUIET)
    struck = tag("path", d=f"M{x + 2} {y + 11}h{CHIP - 8}", stroke=INK)
    return shapes + struck if read and not held else shapes


def _slot(s: int, view: SlotView, tokens: Sequence[str], top: int, pitch: int) -> str:
    x, width, key = LEFT + s * pitch, pitch - 4, view.marks[s]
    rim = {"stroke": INK, "fill": PAPER} if key >= 0 else dict(EMPTY)
    rim |= {"stroke": ORANGE, "stroke_width": "4"} if s == view.slot else {}
    shapes = _middle(x + width / 2, top - 7, str(s), fill=QUIET)
    shapes += tag("rect", x=x, y=top, width=width, height=SLOT_H, **rim)
    if key >= 0:
        shapes += _middle(x + width / 2, top + 18, fit(tokens[key], width - 6))
        shapes += _middle(x + width / 2, top + 36, str(view.positions[s]), font_weight="bold")
    y, on = top + SLOT_H + 5, view.visible[s]
    style = {"fill": BLUE, "stroke": BLUE} if on else {"fill": PAPER, "stroke": QUIET}
    word = "sees" if on else "empty" if view.positions[s] < 0 else "hidden"
    shapes += tag("rect", x=x, y=y, width=width, height=SEEN_H, **style)
    if view.newest < 0:  # before the first token nobody looks
        return shapes
    return shapes + _middle(x + width / 2, y + 14, word, fill=PAPER if on else QUIET)


def _middle(x: float, y: float, words: str, **style: str) -> str:
    return text(x, y, words, text_anchor="middle", font_size=12, **style)


def _evicted(view: SlotView, tokens: Sequence[str], top: int, pitch: int) -> str:
    if view.evicted < 0:
        return ""
    gone = f'"{fit(tokens[view.evicted], 90)}" at {view.evicted}'
    struck = tag("tspan", escape(gone), text_decoration="line-through")
    middle = min(LEFT + view.slot * pitch + pitch / 2, WIDTH - 100)
    words = escape("evicted: ") + struck
    return tag("text", words, x=middle, y=top - 24, text_anchor="middle", font_size=12)


def _shifting(view: SlotView, tokens: Sequence[str], top: int, pitch: int) -> str:
    held = sorted(j for j in view.positions if j >= 0)
    shapes = _names(top, ("a shifting buffer", 18), ("(oldest first)", 34))
    for n in range(len(view.positions)):
        x, width = LEFT + n * pitch, pitch - 4
        style = {"fill": PAPER, "stroke": QUIET} if n < len(held) else EMPTY
        shapes += tag("rect", x=x, y=top, width=width, height=SLOT_H - 4, **style)
        if n < len(held):
            shapes += _middle(x + width / 2, top + 16, fit(tokens[held[n]], width - 6))
            arrow = "← " if view.moved and held[n] != view.newest else ""
            shapes += _middle(x + width / 2, top + 34, f"{arrow}{held[n]}")
    return shapes


def _bytes(view: SlotView, n_tokens: int, top: int) -> str:
    n_slots = len(view.positions)
    one = view.n_bytes // n_slots
    scale = BAR_ROOM / (one * max(n_tokens, n_slots))
    parts = f" = {view.moved:,} moved + {view.wrote:,} written" if view.moved else ""
    rows = (
        ("this buffer takes", view.n_bytes, BLUE, ""),
        ("a growing cache would take", view.growing, ORANGE, ""),
        ("this step writes here", view.wrote, GREEN, ""),
        ("a shifting buffer copies", view.moved + view.wrote, PINK, parts),
    )
    shapes = ""
    for n, (name, size, colour, more) in enumerate(rows):
        y, length = top + n * 22, round(size * scale, 1)
        shapes += text(8, y + 13, name, font_size=13)
        if size:
            shapes += tag("rect", x=BAR_LEFT, y=y, width=length, height=BAR, fill=colour,
                          stroke=INK)  # fmt: skip
        shapes += text(BAR_LEFT + 8 + length, y + 13, f"{size:,} bytes{more}", font_size=12)
    note = f"{one:,} bytes per token: keys and values of one layer of the tiny config, float32"
    return shapes + text(8, top + 104, note, font_size=12, fill=QUIET)
