"""A rolling buffer of W slots while a text goes through it, beside one that shifts."""

from collections.abc import Sequence
from dataclasses import dataclass

from minimistral.draw.svg import (
    BLUE,
    FAINT,
    INK,
    ORANGE,
    PAPER,
    QUIET,
    RULE,
    boxes,
    picture,
    tag,
    text,
)

WIDTH, LEFT, PER_LINE, LINE = 760, 20, 8, 30
SLOT_W, SLOT_H = 58, 58


@dataclass(frozen=True)
class Moment:
    """What a cache holds after some tokens.

    positions (W,): of each slot, -1 when empty. visible (W,): what the newest token sees.
    evicted: the position that was overwritten, or -1. n_bytes: of this cache, of one that
    grows. moved: bytes that a shifting buffer copies for this token, beside writing it.
    """

    positions: Sequence[int]
    visible: Sequence[bool]
    newest: int
    slot: int
    evicted: int
    n_bytes: int
    growing_bytes: int
    moved: int


def slots_svg(moment: Moment, tokens: Sequence[str]) -> str:
    """The text above, the slots in the middle, the shifting buffer and the bytes below."""
    n_lines = -(-len(tokens) // PER_LINE)
    top = 40 + n_lines * LINE + 56
    note = text(LEFT, top - 30, "the slots; below each a square: filled = the newest token sees it",
                font_size=13, fill=QUIET)  # fmt: skip
    words = "".join(_word(j, word, moment) for j, word in enumerate(tokens))
    slots = "".join(_slot(s, moment, tokens, top) for s in range(len(moment.positions)))
    below = top + SLOT_H + 74
    shifting = _shifting(moment, tokens, below)
    foot = below + 66
    bars = _bytes(moment, foot, len(tokens))
    title = f"A rolling buffer of {len(moment.positions)} slots after {moment.newest + 1} tokens"
    heading = text(LEFT, 22, "the text: framed = newest, filled = in the cache, crossed = evicted",
                   font_size=13, fill=QUIET)  # fmt: skip
    return picture(WIDTH, foot + 86, title, heading, words, note, slots, shifting, bars)


def _short(word: str, room: int = 7) -> str:
    return word if len(word) <= room else word[: room - 1] + "…"


def _word(j: int, word: str, moment: Moment) -> str:
    x, y = LEFT + j % PER_LINE * 90, 34 + j // PER_LINE * LINE
    held, past = j in moment.positions, j <= moment.newest
    style = {"fill": FAINT, "stroke": QUIET} if held else {"fill": PAPER, "stroke": RULE}
    if j == moment.newest:
        style |= {"stroke": ORANGE, "stroke_width": 3}  # type: ignore[dict-item]
    shapes = tag("rect", x=x, y=y, width=84, height=LINE - 6, **style)
    shapes += text(x + 5, y + 17, str(j), font_size=12, fill=QUIET)
    shapes += text(x + 24, y + 17, _short(word), font_size=13, fill=INK if past else QUIET)
    if past and not held:
        shapes += tag("path", d=f"M{x + 2} {y + 12}h80", stroke=INK)
    return shapes


def _slot(s: int, moment: Moment, tokens: Sequence[str], top: int) -> str:
    x, position = LEFT + s * (SLOT_W + 3), moment.positions[s]
    middle, written = x + SLOT_W / 2, s == moment.slot and moment.newest >= 0
    rim = {"stroke": ORANGE, "stroke_width": 4} if written else {"stroke": INK}
    shapes = text(middle, top - 8, f"slot {s}", text_anchor="middle", font_size=12, fill=QUIET)
    shapes += tag("rect", x=x, y=top, width=SLOT_W, height=SLOT_H, fill=PAPER, **rim)
    if position < 0:
        shapes += text(middle, top + 34, "empty", text_anchor="middle", font_size=12, fill=QUIET)
    else:
        word = _short(tokens[position], 6)
        shapes += text(middle, top + 24, word, text_anchor="middle", font_size=13)
        shapes += text(middle, top + 46, str(position), text_anchor="middle", font_weight="bold")
    y = top + SLOT_H + 8
    seen = {"fill": BLUE} if moment.visible[s] else {"fill": PAPER, "stroke": RULE}
    shapes += tag("path", d=boxes([(middle - 9, y)], 18, 18), **seen)
    if written and moment.evicted >= 0:
        gone = f"evicted {moment.evicted}"
        shapes += text(middle, y + 36, gone, text_anchor="middle", font_size=12, fill=INK)
    return shapes


def _shifting(moment: Moment, tokens: Sequence[str], top: int) -> str:
    shapes = text(
        LEFT, top, "a shifting buffer holds the same, in order:", font_size=13, fill=QUIET
    )
    held = sorted(j for j in moment.positions if j >= 0)
    for n, j in enumerate(held):
        x = LEFT + n * (SLOT_W + 3)
        shapes += tag("rect", x=x, y=top + 8, width=SLOT_W, height=26, fill=PAPER, stroke=QUIET)
        label = f"{j} {_short(tokens[j], 4)}"
        shapes += text(x + 5, top + 26, label, font_size=12)
        if n and moment.moved:
            shapes += text(x - 8, top + 48, "←", font_size=13, fill=QUIET)
    return shapes


def _bytes(moment: Moment, top: int, n_tokens: int) -> str:
    rows = (
        ("this cache", moment.n_bytes, BLUE),
        ("a growing cache", moment.growing_bytes, ORANGE),
        ("moved by shifting", moment.moved, QUIET),
    )
    one = moment.n_bytes / len(moment.positions)
    scale = 420 / (one * max(n_tokens, len(moment.positions)))
    shapes = ""
    for n, (name, size, colour) in enumerate(rows):
        y, width = top + n * 26, round(size * scale, 1)
        shapes += text(LEFT, y + 14, name, font_size=13)
        if size:
            shapes += tag("rect", x=160, y=y, width=width, height=18, fill=colour, stroke=INK)
        shapes += text(168 + width, y + 14, f"{size:,} bytes", font_size=13)
    return shapes
