"""The parts of the model from token ids to logits, and which of them use a number."""

from collections.abc import Sequence

from minimistral.course.draw.svg import INK, ORANGE, PAPER, QUIET, boxes, picture, tag, text

Part = tuple[str, str, bool]  # name, what it holds, inside a layer

WIDTH, LEFT, BOX, GAP = 620, 96, 28, 7


def anatomy_svg(parts: Sequence[Part], marked: Sequence[bool], n_layers: int) -> str:
    """The parts from top to bottom; marked ones have a thick frame and an arrow.

    parts: (name, shape or note, whether it is inside a layer); marked: one bool per part.
    Raises ValueError when the two differ in length.
    """
    if len(parts) != len(marked):
        raise ValueError(f"marked must have {len(parts)} entries, not {len(marked)}")
    rows = [_row(n, *part, on) for n, (part, on) in enumerate(zip(parts, marked, strict=True))]
    inside = [n for n, part in enumerate(parts) if part[2]]
    return picture(
        WIDTH,
        len(parts) * (BOX + GAP) + GAP,
        "The parts of the model, from token ids to the scores of the next token",
        _layers(min(inside), max(inside), n_layers) if inside else "",
        *rows,
    )


def _row(n: int, name: str, holds: str, inside: bool, on: bool) -> str:
    y, x = n * (BOX + GAP) + GAP, LEFT + (28 if inside else 0)
    style = {"stroke": ORANGE, "stroke_width": 4} if on else {"stroke": QUIET, "stroke_width": 1}
    frame = boxes([(x, y)], WIDTH - x - 28 if inside else WIDTH - x - 12, BOX)
    arrow = text(x - 24, y + 20, "►", font_size=17) if on else ""
    return (
        tag("path", d=frame, fill=PAPER, **style)
        + arrow
        + text(x + 12, y + 19, name, font_weight="bold" if on else "normal")
        + text(x + 210, y + 19, holds, fill=INK if on else QUIET)
    )


def _layers(first: int, last: int, n_layers: int) -> str:
    y = first * (BOX + GAP) + GAP // 2
    height = (last - first + 1) * (BOX + GAP)
    frame = boxes([(LEFT, y)], WIDTH - LEFT - 12, height)
    words = text(LEFT - 12, y + height // 2, f"{n_layers} layers", text_anchor="end")
    return tag("path", d=frame, fill="#f4f4f4", stroke=QUIET, stroke_dasharray="5 4") + words
