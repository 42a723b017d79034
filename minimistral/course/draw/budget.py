"""A memory budget as bars: what the weights and the cache take, side by side."""

from minimistral.course.draw.svg import (
    BLUE,
    GREEN,
    INK,
    ORANGE,
    PINK,
    QUIET,
    RULE,
    SKY,
    boxes,
    picture,
    tag,
    text,
)

GIB = 2**30
WIDTH, LEFT, RIGHT, BAR = 560, 92, 66, 46
_FILLS = (SKY, BLUE, GREEN, INK, PINK)


def budget_svg(weights: dict[str, int], cache: int, scale_gib: int) -> str:
    """Bars of the weights' bytes by part and of the cache's bytes, on one scale.

    weights: bytes by part, at most five parts. cache: bytes. scale_gib: where the scale
    ends, in GiB; a bar that is longer is cut and says so. Parts are told apart by their
    order and by the list under the bars, not by colour alone.
    """
    per_gib = (WIDTH - LEFT - RIGHT) / scale_gib
    bars = _stack(34, "weights", list(weights.values()), _FILLS, per_gib, scale_gib)
    bars += _stack(104, "KV cache", [cache], (ORANGE,), per_gib, scale_gib)
    title = f"Weights {_gib(sum(weights.values()))}, KV cache {_gib(cache)}"
    return picture(WIDTH, 250, title, _axis(per_gib, scale_gib), bars, _names(weights))


def budget_words(weights: dict[str, int], cache: int) -> str:
    """What the picture shows, in one sentence.

    >>> budget_words({"all": 3 * GIB}, GIB)
    'Weights 3.00 GiB, KV cache 1.00 GiB, together 4.00 GiB; the cache is 25.0% of it.'
    """
    total = sum(weights.values())
    share = 100 * cache / (total + cache)
    parts = f"Weights {_gib(total)}, KV cache {_gib(cache)}, together {_gib(total + cache)}"
    return f"{parts}; the cache is {share:.1f}% of it."


def _gib(n_bytes: int) -> str:
    return f"{n_bytes / GIB:.2f} GiB"


def _stack(y: int, name: str, parts: list[int], fills: tuple[str, ...], per_gib: float,
           scale_gib: int) -> str:  # fmt: skip
    shapes, start = [text(LEFT - 12, y + 29, name, text_anchor="end", font_size=15)], 0.0
    for n_bytes, fill in zip(parts, fills, strict=False):
        end = min(start + n_bytes / GIB, scale_gib)
        x, width = round(LEFT + start * per_gib, 2), round((end - start) * per_gib, 2)
        shapes.append(tag("path", d=boxes([(x, y)], width, BAR), fill=fill, stroke=INK))
        start = end
    total = sum(parts) / GIB
    label = f"{total:.2f}" if total <= scale_gib else f"{total:.0f} →"
    x = round(LEFT + start * per_gib, 2) + 8
    return "".join(shapes) + text(x, y + 30, label, font_size=17, font_weight="bold")


def _axis(per_gib: float, scale_gib: int) -> str:
    ticks = ""
    for gib in range(0, scale_gib + 1, scale_gib // 8):
        x = round(LEFT + gib * per_gib, 2)
        ticks += tag("path", d=f"M{x} 20V166", stroke=RULE, fill="none")
        ticks += text(x, 184, str(gib), text_anchor="middle", font_size=13, fill=QUIET)
    return ticks + text(WIDTH - RIGHT + 16, 184, "GiB", font_size=13, fill=QUIET)


def _names(weights: dict[str, int]) -> str:
    shapes, x = "", 10
    for (name, n_bytes), fill in zip(weights.items(), _FILLS, strict=False):
        shapes += tag("path", d=boxes([(x, 208)], 14, 14), fill=fill, stroke=INK)
        shapes += text(x + 19, 220, name.replace("_", " "), font_size=13)
        shapes += text(x + 19, 238, f"{n_bytes / GIB:.2f}", font_size=13, fill=QUIET)
        x += 112
    return shapes
