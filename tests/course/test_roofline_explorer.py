"""The roofline explorer: every setting, worked out anew and read back from picture and words."""

import itertools
import json
import re
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest

from minimistral.config import ModelConfig
from minimistral.course.draw import roof, roof_svg
from minimistral.course.widgets import roofline_explorer
from minimistral.course.widgets.roofline import BATCHES, BITS, CONTEXTS, MACHINES

SVG = "{http://www.w3.org/2000/svg}"
V01 = ModelConfig.mistral_7b()


@pytest.fixture(scope="module")
def player():
    return roofline_explorer(V01)


def work(weights, batch, context):
    """Bytes, operations of a decode step, operations of prefill, from the paper's numbers."""
    matrices, pairs = 7_110_393_856, 4 * 32 * 4096  # of matrices; operations per query and key
    kept = min(context, 4096)
    n_bytes = (matrices + 266_240) * BITS[weights] / 8 + batch * kept * 131_072
    decode = batch * (2 * matrices + pairs * kept)
    visible = sum(min(i + 1, 4096) for i in range(context))
    layers = matrices - 32000 * 4096
    prefill = batch * (2 * layers * context + 2 * 32000 * 4096 + pairs * visible)
    return n_bytes, decode, prefill


def test_every_setting_is_what_the_rule_says(player):
    settings = list(itertools.product(MACHINES, BITS, BATCHES, CONTEXTS))
    assert len(player.frames) == len(settings)
    for machine, weights, batch, context in settings:
        player.set(machine=machine, weights=weights, batch=batch, context=context)
        bandwidth, rate = MACHINES[machine]
        n_bytes, decode, prefill = work(weights, batch, context)
        words = player.words.replace(",", "")
        numbers = [float(n) for n in re.findall(r"Decode: (\S+) .*?most (\S+) tok", words)[0]]
        seconds = max(n_bytes / bandwidth, decode / rate)
        assert numbers == pytest.approx([decode / n_bytes, batch / seconds], rel=0.06)
        numbers = [float(n) for n in re.findall(r"Prefill: (\S+) .*?least (\S+) s", words)[0]]
        seconds = max(n_bytes / bandwidth, prefill / rate)
        assert numbers == pytest.approx([prefill / n_bytes, seconds], rel=0.06)
        by = ["reading" if n / rate < n_bytes / bandwidth else "computing"
              for n in (decode, prefill)]  # fmt: skip
        assert re.findall(r"limited by (\w+)", words) == by
        check_marks(player.svg, rate / bandwidth, decode / n_bytes, prefill / n_bytes)


def check_marks(svg, ridge, *intensities):
    groups = [g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("role") == "img"]
    for group, intensity in zip(groups, intensities, strict=True):
        place = group.find(f"{SVG}path").get("transform")
        x, y = map(float, re.search(r"\((\S+) (\S+)\)", place).groups())
        width, height = roof.RIGHT - roof.LEFT, roof.BOTTOM - roof.TOP
        across = roof.LEAST * (roof.MOST / roof.LEAST) ** ((x - roof.LEFT) / width)
        share = 10 ** (-(y - roof.TOP) / height * roof.DECADES)
        assert across == pytest.approx(intensity, rel=0.02)
        assert share == pytest.approx(min(1, intensity / ridge), rel=0.02)
        assert group.get("aria-label") == group.find(f"{SVG}text").text


def test_the_limits_of_the_cpu_are_those_of_the_record():
    path = Path(__file__).parents[2] / "benchmarks" / "cpu.json"
    rows = json.loads(path.read_text(encoding="utf-8"))["rows"]
    limits = {row["engine"]: row["value"] for row in rows if row["what"] == "limit"}
    assert MACHINES["CPU, measured"] == pytest.approx((limits["sgemv"], limits["sgemm"]))
    assert "data sheet" in list(MACHINES)[1]


def test_a_machine_whose_ridge_is_far_away_is_cut_off_below():
    svg = roof_svg(1e6, [("a", 1.0)], "title")
    assert f"{roof.BOTTOM}L" in svg
    assert "a: 1 per byte" in svg


@pytest.mark.parametrize(
    ("ridge", "marks", "named"),
    [(0, [("a", 1)], "ridge"), (1, [("a", 0)], "a must be above 0"), (1, [], "marks"),
     (1, [("a", 1)] * 3, "marks must be 1 or 2, not 3"), (float("nan"), [("a", 1)], "ridge")],
)  # fmt: skip
def test_the_picture_names_a_bad_argument(ridge, marks, named):
    with pytest.raises(ValueError, match=named):
        roof_svg(ridge, marks, "title")
