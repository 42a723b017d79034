"""Bars with whiskers, and differences beside zero: read back from the SVG."""

import re
import xml.etree.ElementTree as ET

import pytest

from minimistral.course.draw import differences_svg, results_svg
from minimistral.course.draw import results as drawn
from minimistral.course.draw.svg import BLUE, INK

SVG = "{http://www.w3.org/2000/svg}"
GROUPS = {
    "one": {"a": (60.1, 0.8), "b": (55.6, None), "c": (3.0, 1.0), "d": (20.0, 5.0)},
    "two": {"b": (0.0, None), "a": (100.0, 0.0)},
}
DIFFERENCES = {"up": (7.5, 2.0), "down": (-1.0, 3.0)}


def value_at(x, low, high):
    return low + (float(x) - drawn.LEFT) / drawn.SCALE * (high - low)


def rows(svg):
    return list(ET.fromstring(svg).iter(f"{SVG}g"))


def whiskers(row, low, high):
    """(start, end, height) of each dark whisker."""
    found = []
    for path in row.iter(f"{SVG}path"):
        if path.get("stroke") == INK:
            start, y, end = re.match(r"M(\S+) (\S+)H([\d.]+)", path.get("d")).groups()
            found.append((value_at(start, low, high), value_at(end, low, high), float(y)))
    return found


def test_each_bar_is_as_long_as_its_value_and_looks_like_its_series():
    svg = results_svg("title", GROUPS, range(0, 101, 20))
    root = ET.fromstring(svg)
    assert root.find(f"{SVG}title").text == "title"
    top = -1.0
    for row, (name, group) in zip(rows(svg), GROUPS.items(), strict=True):
        own, *bars = row.findall(f"{SVG}rect")
        assert float(own.get("y")) > top
        top = float(own.get("y")) + float(own.get("height"))
        assert len(bars) == len(group)
        for bar, (series, (value, _)) in zip(bars, group.items(), strict=True):
            assert value_at(drawn.LEFT + float(bar.get("width")), 0, 100) == pytest.approx(
                value, abs=0.03
            )
            style = drawn.STYLES["abcd".index(series)]
            assert bar.get("fill") == style["fill"]
            assert bar.get("stroke-dasharray") == style.get("stroke_dasharray")
            inside = float(own.get("y")) <= float(bar.get("y"))
            assert inside and float(bar.get("y")) + float(bar.get("height")) <= top
        spread = [
            (value - half, value + half) for value, half in group.values() if half is not None
        ]
        found = whiskers(row, 0, 100)
        assert [pytest.approx(pair, abs=0.03) for pair in spread] == [w[:2] for w in found]
        assert row.get("aria-label").startswith(f"{name}: ")
    first = rows(svg)[0].get("aria-label")
    assert first == "one: a 60.1 ± 0.8; b 55.6; c 3.0 ± 1.0; d 20.0 ± 5.0."
    legend = [t.text for t in root.iter(f"{SVG}text") if t.text in set("abcd")]
    assert legend == list("abcd")


def test_no_two_series_look_alike():
    looks = [(s["fill"], s["stroke"], s.get("stroke_dasharray")) for s in drawn.STYLES]
    assert len(set(looks)) == len(looks) == 4


def test_one_series_needs_no_legend_and_decimals_are_told():
    svg = results_svg("title", {"x": {"score": (6.84, 0.07)}}, range(0, 11, 2), decimals=2)
    assert "score" not in [t.text for t in ET.fromstring(svg).iter(f"{SVG}text")]
    assert "6.84 ± 0.07" in svg


def test_differences_lie_on_their_axis_with_their_intervals():
    svg = differences_svg("title", DIFFERENCES, {"up": True, "down": False}, range(-10, 31, 10))
    root = ET.fromstring(svg)
    for row, (name, (value, half)) in zip(rows(svg), DIFFERENCES.items(), strict=True):
        (dot,) = row.findall(f"{SVG}circle")
        assert value_at(dot.get("cx"), -10, 30) == pytest.approx(value, abs=0.01)
        assert (dot.get("fill") == BLUE) == (name == "up")
        ((start, end, y),) = whiskers(row, -10, 30)
        assert (start, end) == (pytest.approx(value - half, abs=0.01),
                                pytest.approx(value + half, abs=0.01))  # fmt: skip
        assert y == float(dot.get("cy"))
    zero = [p for p in root.findall(f"{SVG}path") if p.get("stroke") == INK]
    x = re.match(r"M(\S+) ", zero[0].get("d"))[1]
    assert len(zero) == 1 and value_at(x, -10, 30) == pytest.approx(0, abs=0.01)
    labels = [row.get("aria-label") for row in rows(svg)]
    assert labels == ["up: +7.5 ± 2.0, more than chance.", "down: −1.0 ± 3.0, may be chance."]


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: results_svg("t", {}, [0, 1]), "groups must have 1 to 4 series, not 0"),
        (lambda: results_svg("t", {"x": dict.fromkeys("abcde", (1, None))}, [0, 1]), "not 5"),
        (lambda: results_svg("t", {"x": {"a": (11, None)}}, [0, 10]), "x of a must be from 0"),
        (lambda: results_svg("t", {"x": {"a": (-1, None)}}, [0, 10]), "x of a must be from 0"),
        (lambda: differences_svg("t", {"x": (9, 2)}, {"x": True}, [-10, 10]), "x must be from"),
        (lambda: differences_svg("t", {"x": (-9, 2)}, {"x": True}, [-10, 10]), "x must be from"),
    ],
)
def test_what_does_not_fit_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()
