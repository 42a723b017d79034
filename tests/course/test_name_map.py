"""The name map and the picture of the rows, read back from what they show."""

import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minimistral import np as mn
from minimistral import pt, tiny
from minimistral.checkpoint import to_pairs
from minimistral.course.draw import Entry, name_map_svg, rows_svg
from minimistral.course.widgets import name_map

SVG = "{http://www.w3.org/2000/svg}"
MODEL = mn.load(tiny.FOLDER)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hf")
    pt.save(pt.Mistral(MODEL.config, MODEL.weights, dtype="bfloat16"), folder, "hf")
    return folder


def texts(svg):
    return ["".join(node.itertext()) for node in ET.fromstring(svg).iter(f"{SVG}text")]


def test_every_name_shows_what_the_file_holds_there(folder):
    """The numbers at the place that is shown are those of the weight by the name that is shown."""
    data = (folder / "model.safetensors").read_bytes()
    player, heads = name_map(folder), {"wq": MODEL.config.n_heads, "wk": MODEL.config.n_kv_heads}
    names = player._values["name"]
    assert len(names) == len(MODEL.weights) == len(player.frames)
    starts = []
    for name in names:
        player.set(name=name)
        found = re.fullmatch(
            r"(\S+) is Mistral's (\S+); (.+) numbers in (\w+), ([\d,]+) bytes from byte ([\d,]+);"
            r" rows (.+)\.",
            player.words,
        )
        theirs, ours, shape, dtype, size, start, rows = found.groups()
        size, start = (int(number.replace(",", "")) for number in (size, start))
        starts.append(start)
        weight = MODEL.weights[ours]
        assert theirs == name and dtype == "BF16" and size == 2 * weight.size
        assert shape == " × ".join(f"{n:,}" for n in weight.shape)
        bits = np.frombuffer(data[start : start + size], "<u2").astype(np.uint32) << 16
        stored = bits.view(np.float32).reshape(weight.shape)
        n_heads = heads.get(ours.split(".")[-2])
        assert rows == (f"put in pairs, for each of {n_heads} heads" if n_heads else "as they are")
        stored = to_pairs(stored, n_heads) if n_heads else stored
        np.testing.assert_allclose(stored, weight, rtol=2**-8, atol=1e-30)
        shown = texts(player.svg)
        assert {name, ours, dtype, f"{size:,}", f"{start:,}", f"{start + size:,}"} <= {*shown}
    assert starts == sorted(starts)


def test_the_marked_part_of_the_bar_is_the_weight(folder):
    player = name_map(folder)
    total = (folder / "model.safetensors").stat().st_size
    for name in ("lm_head.weight", "model.layers.1.mlp.up_proj.weight"):
        player.set(name=name)
        start = int(re.search(r"from byte ([\d,]+)", player.words)[1].replace(",", ""))
        size = int(re.search(r"([\d,]+) bytes", player.words)[1].replace(",", ""))
        (marked,) = re.findall(r'd="M([\d.]+) \d+h([\d.]+)[^"]*" fill="#E69F00" stroke="#1a1a1a"'
                               r' stroke-width="1.5"', player.svg)  # fmt: skip
        assert float(marked[0]) == pytest.approx(20 + 720 * start / total, abs=0.02)
        assert float(marked[1]) == pytest.approx(720 * size / total, abs=0.02)


def test_without_a_folder_it_is_the_tiny_model():
    assert "in F32" in name_map().words


def test_weights_in_several_files_are_refused(tmp_path):
    mn.save(MODEL, tmp_path, "hf", max_shard_bytes=10**6)
    with pytest.raises(ValueError, match="all weights in one file, not in"):
        name_map(tmp_path)


def test_an_entry_that_is_not_there_is_refused():
    entry = Entry("a", "b", "F32", (1,), 10, 14, "as they are")
    with pytest.raises(ValueError, match="chosen must be 0 to 0, not 1"):
        name_map_svg([entry], 1)


@pytest.mark.parametrize(("n_rows", "n_heads"), [(16, 4), (8, 2), (12, 1), (12, 3)])
def test_the_rows_are_drawn_where_they_go(n_rows, n_heads):
    order = to_pairs(np.arange(n_rows), n_heads).tolist()
    svg = rows_svg([("wq", order, n_heads)])
    shown = [int(words.split()[1]) for words in texts(svg) if words.startswith("row ")]
    assert shown[0::2] == list(range(n_rows)) and shown[1::2] == order
    paths = [node.get("d") for node in ET.fromstring(svg).iter(f"{SVG}path")]
    lines = re.findall(r"M[\d.]+ ([\d.]+)L[\d.]+ ([\d.]+)", paths[0])
    tops = sorted({int(old) for old, _ in lines})
    assert [tops.index(int(old)) for old, _ in lines] == order
    assert [tops.index(int(new)) for _, new in lines] == list(range(n_rows))
    assert len(paths) == 1 + n_rows // 2  # a bracket a pair
    dots = len(list(ET.fromstring(svg).iter(f"{SVG}circle")))
    assert dots == 2 * n_rows // 2 + 1  # the second halves, twice, and the legend


@pytest.mark.parametrize(
    ("order", "n_heads", "why"),
    [([0, 0, 1, 2], 1, "each row once"), ([0, 1, 2], 1, "in pairs"), ([0, 1, 2, 3], 4, "4 heads")],
)
def test_what_is_no_order_is_refused(order, n_heads, why):
    with pytest.raises(ValueError, match=why):
        rows_svg([("wq", order, n_heads)])
