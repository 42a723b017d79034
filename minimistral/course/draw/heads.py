"""Which key/value head each query head reads: two rows of boxes and the lines between them."""

from collections.abc import Sequence

from minimistral.course.draw.svg import (
    BLUE,
    INK,
    ORANGE,
    PAPER,
    QUIET,
    SKY,
    boxes,
    picture,
    tag,
    text,
)

WIDTH, LEFT, TOP, BOX, GAP = 760, 20, 56, 26, 150


def heads_svg(reads: Sequence[int], n_kv_heads: int) -> str:
    """reads (H,): the KV head of each query head. Groups alternate in shade; boxes are numbered."""
    n_heads = len(reads)
    upper = [_middle(h, n_heads) for h in range(n_heads)]
    lower = [_middle(g, n_kv_heads) for g in range(n_kv_heads)]
    lines = "".join(
        f"M{upper[h]} {TOP + BOX}L{lower[g]} {TOP + BOX + GAP}" for h, g in enumerate(reads)
    )
    shapes = tag("path", d=lines, stroke=QUIET, stroke_width=1.2, fill="none")
    for h, g in enumerate(reads):
        shapes += _box(upper[h], TOP, str(h), SKY if g % 2 else PAPER, n_heads)
    for g in range(n_kv_heads):
        shapes += _box(lower[g], TOP + BOX + GAP, str(g), ORANGE, n_kv_heads)
    shapes += text(LEFT, TOP - 16, f"{n_heads} query heads", font_size=14, fill=BLUE)
    foot = TOP + 2 * BOX + GAP + 24
    lower_name = f"{n_kv_heads} key/value head{'s' * (n_kv_heads > 1)}"
    shapes += text(LEFT, foot, lower_name, font_size=14, fill=INK)
    title = f"{n_heads} query heads read {lower_name}"
    return picture(WIDTH, foot + 16, title, shapes)


def _middle(n: int, n_boxes: int) -> float:
    """The x at the middle of box n of n_boxes."""
    return round(LEFT + (n + 0.5) * (WIDTH - 2 * LEFT) / n_boxes, 1)


def _box(x: float, y: float, name: str, fill: str, n_boxes: int) -> str:
    width = min(BOX, (WIDTH - 2 * LEFT) / n_boxes - 2)
    corner = (round(x - width / 2, 1), y)
    shape = tag("path", d=boxes([corner], round(width, 1), BOX), fill=fill, stroke=INK)
    return shape + text(x, y + 18, name, text_anchor="middle", font_size=12)
