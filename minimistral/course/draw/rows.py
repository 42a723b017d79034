"""The rows of a matrix before and after they are put into another order."""

from collections.abc import Sequence

from minimistral.course.draw.svg import INK, PAPER, QUIET, RULE, SKY, picture, tag, text

ROW, BOX, GAP, LEFT, TOP, ACROSS = 20, 78, 12, 24, 64, 90


def rows_svg(matrices: Sequence[tuple[str, Sequence[int], int]]) -> str:
    """Matrices side by side, each as two columns of rows, with a line from each row's old place.

    matrices: for each a title, the order (its new row n is the old row order[n]) and the number
    of heads. Rows of the first half of a head are white, those of the second half blue with a
    dot; a bracket joins the two rows of a pair in the new order.
    Raises ValueError when an order is none, or its length no whole number of pairs for each head.
    """
    width, shapes = LEFT, ""
    for title, order, n_heads in matrices:
        if sorted(order) != list(range(len(order))):
            raise ValueError(f"order must have each row once, not {list(order)}")
        if len(order) % (2 * n_heads):
            raise ValueError(f"order must be that of {n_heads} heads in pairs, not {len(order)}")
        shapes += _matrix(width, title, order, n_heads)
        width += 2 * BOX + ACROSS + 70
    most = max(_bottom(order, n_heads) for _, order, n_heads in matrices)
    title = "; ".join(f"{name}: {len(order)} rows" for name, order, _ in matrices)
    return picture(width - 20, most + 34, title, shapes, _legend(most + 22))


def _bottom(order: Sequence[int], n_heads: int) -> int:
    return TOP + len(order) * ROW + (n_heads - 1) * GAP


def _matrix(x: int, title: str, order: Sequence[int], n_heads: int) -> str:
    size = len(order) // n_heads

    def top(row: int) -> int:
        return TOP + row * ROW + row // size * GAP

    right = x + BOX + ACROSS
    shapes = text(x, 22, title, font_size=15, font_weight="bold")
    shapes += text(x, TOP - 12, "Hugging Face", font_size=12, fill=QUIET)
    shapes += text(right, TOP - 12, "Mistral", font_size=12, fill=QUIET)
    lines = "".join(
        f"M{x + BOX} {top(old) + ROW // 2}L{right} {top(new) + ROW // 2}"
        for new, old in enumerate(order)
    )
    shapes += tag("path", d=lines, stroke=QUIET, fill="none")
    for new, old in enumerate(order):
        shapes += _row(x, top(new), new, new % size >= size // 2)
        shapes += _row(right, top(new), old, old % size >= size // 2)
    for new in range(0, len(order), 2):
        start = f"M{right + BOX + 4} {top(new) + 4}h6v{2 * ROW - 8}h-6"
        shapes += tag("path", d=start, stroke=INK, stroke_width=1.5, fill="none")
    return shapes


def _row(x: int, y: int, number: int, second: bool) -> str:
    box = tag("rect", x=x, y=y + 1, width=BOX, height=ROW - 2,
              fill=SKY if second else PAPER, stroke=RULE)  # fmt: skip
    dot = tag("circle", cx=x + BOX - 12, cy=y + ROW // 2, r=3.5, fill=INK) if second else ""
    return box + text(x + 10, y + 15, f"row {number}", font_size=12) + dot


def _legend(y: int) -> str:
    box = tag("rect", x=LEFT, y=y - 12, width=26, height=14, fill=SKY, stroke=RULE)
    dot = tag("circle", cx=LEFT + 18, cy=y - 5, r=3.5, fill=INK)
    words = "second half of a head; a bracket joins a pair that is rotated together"
    return box + dot + text(LEFT + 34, y, words, font_size=12)
