"""One row of attention weights over a text: a bar for each token."""

from collections.abc import Sequence
from typing import Any

from minimistral.course.draw.svg import BLUE, INK, ORANGE, QUIET, RULE, boxes, picture, tag, text

LEFT, TOP, ROW, SCALE, WIDTH = 190, 48, 26, 400, 700


def weights_svg(weights: Any, tokens: Sequence[str], query: int) -> str:
    """The weights (T,) that the token at `query` gives to each of `tokens`, as bars.

    Tokens ahead of the query have no bar and say so; the query's own is marked by a frame.
    """
    height = TOP + len(tokens) * ROW + 34
    shapes = "".join(_row(n, token, float(weights[n]), query) for n, token in enumerate(tokens))
    title = f"Attention weights of token {query}, {tokens[query]}"
    return picture(WIDTH, height, title, _axis(len(tokens)), shapes)


def weights_words(weights: Any, tokens: Sequence[str], query: int) -> str:
    """What the picture shows, in one sentence: the three largest weights.

    >>> weights_words([0.25, 0.75, 0.0], ["a", "b", "c"], query=1)
    'b at 1 gives 0.75 to b at 1 and 0.25 to a at 0.'
    """
    order = sorted(range(query + 1), key=lambda n: -float(weights[n]))[:3]
    parts = [f"{float(weights[n]):.2f} to {tokens[n]} at {n}" for n in order]
    listed = ", ".join(parts[:-1]) + f" and {parts[-1]}" if len(parts) > 1 else parts[0]
    return f"{tokens[query]} at {query} gives {listed}."


def _row(n: int, token: str, weight: float, query: int) -> str:
    y, own = TOP + n * ROW, n == query
    bold = {"font_weight": "bold"} if own else {}
    label = text(LEFT - 14, y + 17, f"{n}  {token!r}" if not token.strip() else f"{n}  {token}",
                 text_anchor="end", **bold)  # fmt: skip
    if n > query:
        return label + text(LEFT + 6, y + 17, "ahead: hidden", font_size=12, fill=QUIET)
    width = round(weight * SCALE, 1)
    bar = tag("path", d=boxes([(LEFT, y + 4)], width, ROW - 8), fill=ORANGE if own else BLUE,
              stroke=INK, stroke_width=2 if own else 0.5)  # fmt: skip
    return label + bar + text(LEFT + width + 8, y + 17, f"{weight:.2f}", font_size=13)


def _axis(n_tokens: int) -> str:
    bottom, shapes = TOP + n_tokens * ROW, ""
    for share in (0, 0.25, 0.5, 0.75, 1):
        x = LEFT + share * SCALE
        shapes += tag("path", d=f"M{x} {TOP - 6}V{bottom}", stroke=RULE, fill="none")
        shapes += text(x, TOP - 14, f"{share:g}", text_anchor="middle", font_size=13, fill=QUIET)
    return shapes + text(LEFT, bottom + 22, "weight", font_size=13, fill=QUIET)
