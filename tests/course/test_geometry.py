"""Where the shapes of the pictures lie, read back from the SVG and compared with the numbers."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minimistral.course.draw import (
    budget_svg,
    budget_words,
    heads_svg,
    mask_svg,
    reach_svg,
    stack_svg,
    weights_svg,
)
from minimistral.course.draw import mask as mask_module
from minimistral.course.draw import reach as reach_module
from minimistral.course.draw import stack as stack_module
from minimistral.course.draw import weights as weights_module
from minimistral.course.draw.speed import roofline
from minimistral.course.draw.svg import BLUE, FAINT, INK, ORANGE, PAPER, QUIET, boxes

SVG = "{http://www.w3.org/2000/svg}"
GIB = 2**30


def elements(svg, kind, **attributes):
    """All elements of a kind with these attributes."""
    found = ET.fromstring(svg).iter(SVG + kind)
    return [e for e in found if all(e.get(k) == str(v) for k, v in attributes.items())]


def rectangles(path):
    """(left, top, right, bottom) of each part of a path, which must be a closed rectangle."""
    found = []
    for part in path.split("M")[1:]:
        x, y, width, height, back = re.fullmatch(
            r"(\S+) ([^h\s]+)h([^v]+)v([^h]+)h([^z]+)z", part
        ).groups()
        assert float(back) == -float(width)
        x, y, width, height = map(float, (x, y, width, height))
        found.append((x, y, x + width, y + height))
    return found


def test_boxes_are_closed_rectangles():
    assert rectangles(boxes([(0, 0), (5, 6)], 4, 2)) == [(0, 0, 4, 2), (5, 6, 9, 8)]


# The mask


def cells(group, fill):
    """The columns of a row of the mask picture that have a square of this fill."""
    paths = [p.get("d") for p in group.findall(f"{SVG}path") if p.get("fill") == fill]
    squares = [square for d in paths if "h" in d for square in rectangles(d)]
    middles = [(left + right) / 2 - mask_module.LEFT for left, _, right, _ in squares]
    return {int(middle // mask_module.CELL) for middle in middles}


@pytest.mark.parametrize("seed", range(5))
def test_each_cell_of_a_mask_is_where_its_key_is(seed):
    """Any mask, also one that hides a query's own key: that key is too old, not ahead."""
    rng = np.random.default_rng(seed)
    mask, tokens = rng.random((4, 6)) < 0.5, list("abcdef")
    svg = mask_svg(mask, range(4), range(6), tokens)
    for t, group in enumerate(elements(svg, "g", **{"class": "mm-row"})):
        keys = np.arange(6)
        old = set(keys[~mask[t] & (keys <= t)].tolist())
        assert cells(group, BLUE) == set(keys[mask[t]].tolist())
        assert cells(group, FAINT) == old
        crosses = [p.get("d") for p in group.findall(f"{SVG}path") if p.get("stroke") == QUIET]
        lefts = [float(m) for m in re.findall(r"M(\S+)", crosses[0])]
        columns = {int((left - mask_module.LEFT) // mask_module.CELL) for left in lefts}
        assert columns == old
        (hot,) = group.findall(f"{SVG}g")
        frames, bars = (p.get("d") for p in hot.findall(f"{SVG}path"))
        for marks in (frames, bars):  # what is shown while the row is pointed at
            sides = [(left, right) for left, _, right, _ in rectangles(marks)]
            inside = [(np.array(s) - mask_module.LEFT) / mask_module.CELL for s in sides]
            assert {int(low) for low, _ in inside} == set(keys[mask[t]].tolist())
            assert all(int(low) <= low < high <= int(low) + 1 for low, high in inside)


# Bars


def test_the_share_of_the_cache():
    line = "Weights 3.00 GiB, KV cache 1.00 GiB, together 4.00 GiB; the cache is 25.0% of it."
    assert budget_words({"a": 2 * GIB, "b": GIB}, GIB) == line


def test_bars_of_the_budget_lie_end_to_end_on_one_scale():
    svg = budget_svg({"a": 2 * GIB, "b": 3 * GIB}, 4 * GIB, scale_gib=8)
    paths = [p.get("d") for p in elements(svg, "path", stroke=INK)]
    bars = [r for d in paths for r in rectangles(d) if r[3] - r[1] == 46]
    (a, b, cache), per_gib = bars, (bars[0][2] - bars[0][0]) / 2
    assert b[0] == pytest.approx(a[2], abs=0.02) and cache[0] == a[0]
    assert (b[2] - b[0]) / per_gib == pytest.approx(3, abs=0.01)
    assert (cache[2] - cache[0]) / per_gib == pytest.approx(4, abs=0.01)
    ticks = {t.text: float(t.get("x")) for t in elements(svg, "text", y=184)}
    assert ticks["4"] == pytest.approx(cache[2], abs=0.02)


def test_bars_of_attention_weights_and_their_axis():
    weights, tokens = [0.25, 0.5, 0.25, 0.0], list("abcd")
    svg = weights_svg(weights, tokens, query=2)
    bars = [rectangles(p.get("d"))[0] for p in elements(svg, "path") if "h" in p.get("d")]
    scale = {t.text: float(t.get("x")) for t in elements(svg, "text", y=weights_module.TOP - 14)}
    assert [right for _, _, right, _ in bars] == [scale["0.25"], scale["0.5"], scale["0.25"]]
    lines = [re.match(r"M(\S+) (\S+)V(\S+)", p.get("d")) for p in elements(svg, "path")]
    spans = [(float(line[2]), float(line[3])) for line in lines if line]
    assert len(spans) == 5
    last = weights_module.TOP + len(tokens) * weights_module.ROW
    assert all(top < bars[0][1] and bottom == last for top, bottom in spans)


def test_lines_of_the_head_map_begin_at_their_query_head():
    (path,) = (p.get("d") for p in elements(heads_svg([0, 0, 1, 1], 2), "path", fill="none"))
    starts = [float(part.split()[0]) for part in path.split("M")[1:]]
    names = [t for t in elements(heads_svg([0, 0, 1, 1], 2), "text") if t.text in "0123"]
    assert starts == [float(t.get("x")) for t in names[:4]] == sorted(starts)


# Curves


def test_curves_of_the_reach_are_on_their_scales():
    influence, loss = [(0, 8.0), (5, 1.0), (9, 1e-4), (10, 0.0)], [(0, 5.5), (4, 4.0), (10, 3.2)]
    svg = reach_svg(influence, loss, window=4, reach=9)
    x0, x10 = (reach_module._x(d, 10) for d in (0, 10))
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in elements(svg, "circle")]
    assert [round((x - x0) / (x10 - x0) * 10) for x, _ in dots] == [0, 5, 9, 10, 0, 4, 10]
    heights = {
        t.text: float(t.get("y")) - 5 for t in elements(svg, "text", **{"text-anchor": "end"})
    }
    assert dots[1][1] == pytest.approx(heights["1"], abs=0.1)
    assert dots[2][1] == pytest.approx(heights["10⁻⁴"], abs=0.1)
    assert dots[3][1] == pytest.approx(heights["not at all"], abs=0.1)
    assert dots[5][1] == pytest.approx(heights["4"], abs=0.1)
    per_bit = (heights["3"] - heights["6"]) / 3
    for (_, bits), (_, y) in zip(loss, dots[4:], strict=True):
        assert y == pytest.approx(heights["3"] - (bits - 3) * per_bit, abs=0.1)
    dashed = [p.get("d") for p in elements(svg, "path", stroke=INK)]
    edges = [float(re.match(r"M(\S+)", d)[1]) for d in dashed]
    assert edges == [reach_module._x(3, 10), reach_module._x(9, 10)] * 2


MACHINE = [{"what": "limit", "engine": "sgemv", "value": 20e9},
           {"what": "limit", "engine": "sgemm", "value": 100e9}]  # fmt: skip


def test_the_roof_is_the_lower_of_both_limits():
    row = {
        "what": "decode",
        "engine": "np",
        "config": "c",
        "flops": 4e9,
        "bytes": 8e9,
        "median": 2.0,
    }
    fig = roofline([*MACHINE, row], {"far": (1e12, 50e12)}, {"guess": ("far", 5.0)})
    lines = {line.get_label(): line.get_xydata().tolist() for line in fig.axes[0].lines}
    here, there = (lines[name] for name in lines if "reads" in name or "sheet" in name)
    assert here == [[0.3, pytest.approx(6)], [5, pytest.approx(100)], [3000, pytest.approx(100)]]
    assert there[0] == [0.3, pytest.approx(300)]
    assert there[1] == [50, pytest.approx(50_000)] and there[2][1] == pytest.approx(50_000)
    assert lines["guess"] == [[5.0, pytest.approx(5000)]]  # on the roof
    assert lines["np"] == [[0.5, pytest.approx(2.0)]]  # operations per byte, GFLOP/s


# The stack


def test_the_stack_is_drawn_from_the_embeddings_up():
    """Two layers, W = 3: the words stand below, labels to the left, heads at the upper dots."""
    tokens, path = list("abcde"), [4, 2, 0]
    reached = np.array([[j in row for j in range(5)] for row in ([4], [2, 3, 4], range(5))])
    svg = stack_svg(reached, tokens, path)
    squares = [r for p in elements(svg, "path", fill=BLUE) for r in rectangles(p.get("d"))]
    floor = max(bottom for _, _, _, bottom in squares)
    for token in tokens:
        word, *_ = (t for t in elements(svg, "text") if t.text == token)
        number, *_ = (t for t in elements(svg, "text") if t.text == str(tokens.index(token)))
        assert floor < float(number.get("y")) < float(word.get("y"))
    labels = [t for t in elements(svg, "text") if ": " in (t.text or "")]
    assert len(labels) == 3
    assert all(float(label.get("x")) < stack_module.LEFT for label in labels)
    assert {label.get("text-anchor") for label in labels} == {"end"}
    frame = next(e for e in elements(svg, "rect", stroke=ORANGE))
    left, top, width, height = (float(frame.get(k)) for k in ("x", "y", "width", "height"))
    (cell,) = (s for s in squares if s[1] == min(s[1] for s in squares))
    assert left < cell[0] < cell[2] < left + width and top < cell[1] < cell[3] < top + height
    dots = [(float(c.get("cx")), float(c.get("cy"))) for c in elements(svg, "circle")]
    (heads,) = (p.get("d") for p in elements(svg, "path", fill=INK, stroke=PAPER))
    for (high, low), head in zip(itertools.pairwise(dots), heads.split("M")[1:], strict=True):
        tip = np.array(head.split("L")[0].split(), float)
        to_high, to_low = (np.hypot(*(tip - end)) for end in (high, low))
        assert to_high == pytest.approx(6, abs=0.1) and to_low > 3 * to_high
