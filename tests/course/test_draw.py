"""Pictures: well-formed, told in words, and checked by what they plot."""

import io
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from matplotlib.figure import Figure

from minimistral.course.draw import (
    anatomy_svg,
    budget_svg,
    mask_svg,
    mask_words,
    pair_svg,
    show,
)
from minimistral.course.draw.plot import digest, png
from minimistral.course.draw.svg import picture, tag, text

TOKENS = ["<a>", 'b"', "c&d", "e"]


def test_every_picture_is_well_formed_named_and_fetches_nothing():
    eye = np.eye(4, dtype=bool)
    pictures = [
        mask_svg(eye, range(4), range(4), TOKENS),
        budget_svg({"all": 2**30}, 2**29, scale_gib=8),
        anatomy_svg([("wq", "dim x dim", True), ("out", "a", False)], [True, False], 3),
    ]
    for svg in pictures:
        root = ET.fromstring(svg)
        assert root.find("{http://www.w3.org/2000/svg}title").text
        assert "http" not in svg.replace("http://www.w3.org/2000/svg", "")


def test_two_arrays_side_by_side():
    """A frame and a cross for each entry that differs; NaN beside NaN does not."""
    right = np.array([[0.5, np.nan, 2.0], [1.0, -1.0, np.inf]])
    mine = np.array([[0.5, np.nan, np.nan], [1.0 + 1e-9, 1.0, np.inf]])
    svg, words = pair_svg(mine, right)
    assert "2 of 6 entries differ, the first in row 0, column 2" in words
    assert svg.count("7m0 -7l") == 2 * 2  # in both grids
    assert "0 of 6 entries differ." in pair_svg(right, right)[1]
    truth = np.array([[True, False], [True, True]])
    root = ET.fromstring(pair_svg(truth, ~truth)[0])
    assert len(root.findall(".//{*}path")) == 8 and root.find("{*}title").text


HOSTILE = "</title><script>alert(1)</script> & \" ' ]]> <!--"


def test_no_words_leave_their_place_in_a_picture():
    """Tokens and titles may come from a model or a file: they stay text."""
    svg = picture(10, 10, HOSTILE, text(0, 0, HOSTILE, class_=HOSTILE), tag("g", id=HOSTILE))
    root = ET.fromstring(svg)
    names = [element.tag.rpartition("}")[2] for element in root.iter()]
    assert names == ["svg", "title", "rect", "text", "g"]
    title, _, words, group = root
    assert title.text == words.text == words.get("class") == group.get("id") == HOSTILE
    assert "<script" not in svg


@pytest.mark.parametrize("draw", [
    lambda words: picture(10, 10, words),
    lambda words: picture(10, 10, "a", text(0, 0, words)),
    lambda words: picture(10, 10, "a", tag("g", id=words)),
    lambda words: mask_svg(np.eye(1, dtype=bool), [0], [0], [words]),
])  # fmt: skip
def test_what_xml_cannot_hold_is_replaced(draw):
    """Control characters, halves of surrogate pairs and two more; all else stays."""
    for code in [*range(32), *range(127, 160), 0xD800, 0xDBFF, 0xDC00, 0xDFFF, 0xFFFE, 0xFFFF]:
        svg = draw(f"a{chr(code)}b")
        ET.fromstring(svg.encode())
        kept = chr(code) in "\t\n\r"
        assert kept or (chr(code) not in svg and "\ufffd" in svg), hex(code)
    for kept in "é🐻\ue000\ufffd\u202e":
        assert kept in draw(f"a{kept}b")


def test_the_mask_picture_shows_the_mask_it_is_given():
    """Whatever the mask: the picture must not know the rule."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        T, S = rng.integers(1, 5, 2)
        mask = rng.random((T, S)) < 0.5
        root = ET.fromstring(mask_svg(mask, range(T), range(S), TOKENS))
        rows = [g for g in root.iter("{http://www.w3.org/2000/svg}g") if g.get("class") == "mm-row"]
        for t, row in enumerate(rows):
            fills = {p.get("fill"): p.get("d") for p in row if p.get("fill") == "#0072B2"}
            assert fills["#0072B2"].count("M") == mask[t].sum()
            number = str(mask[t].sum()) if mask[t].any() else "no"
            assert f"sees {number} key" in row.get("aria-label")


def test_words_count_pairs():
    mask = [[True, False, False], [True, True, False], [False, True, True]]
    assert mask_words(mask, range(3), range(3)) == (
        "5 of 6 causal pairs are visible; the last query sees 2 keys, positions 1 to 2."
    )


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        (([[True]], [0], [0, 1], TOKENS), "mask"),
        (([[True]], [4], [0], TOKENS), "positions"),
        (([[True]], [0], [-1], TOKENS), "positions"),
    ],
)
def test_the_mask_picture_names_a_bad_argument(arguments, named):
    with pytest.raises(ValueError, match=named):
        mask_svg(*arguments)


def test_anatomy_names_a_bad_argument():
    with pytest.raises(ValueError, match="marked"):
        anatomy_svg([("wq", "dim x dim", True)], [], 3)


def test_a_bar_past_the_scale_says_so():
    assert "16 →" in budget_svg({"all": 16 * 2**30}, 0, scale_gib=8)


def plot(y=1.0, title="t"):
    fig = Figure()
    axes = fig.subplots(1, 3)
    axes[0].plot([0, 1], [0, y])
    axes[1].bar([0, 1], [1, y])
    axes[2].imshow([[0, y]])
    axes[0].set_title(title)
    return fig


def test_the_digest_follows_data_and_words_only():
    assert digest(plot()) == digest(plot(1 + 1e-9))
    assert digest(plot()) != digest(plot(1.01))
    assert digest(plot()) != digest(plot(title="another"))
    larger = plot()
    larger.set_size_inches(9, 9)
    assert digest(larger) == digest(plot())


@pytest.mark.parametrize("kind", ["plot", "bar", "imshow", "scatter", "title", "text", "scale"])
def test_each_kind_of_thing_counts(kind):
    def one(y):
        fig = Figure()
        ax = fig.subplots()
        if kind == "plot":
            ax.plot([0, y])
        elif kind == "bar":
            ax.barh([0], [y])
        elif kind == "imshow":
            ax.imshow([[0, y]])
        elif kind == "scatter":
            ax.scatter([0], [y])
        elif kind == "title":
            ax.set_title(f"{y}")
        elif kind == "text":
            ax.text(0, 0, f"{y}")
        elif kind == "scale":
            ax.set_yscale("log" if y > 1 else "linear")
        return digest(fig)

    assert one(1) == one(1) != one(2)


def test_show_emits_the_picture_its_alt_text_and_a_line(monkeypatch):
    shown = []
    monkeypatch.setattr("IPython.display.display", lambda *a, **k: shown.append((a, k)))
    show(plot(), "Two lines.")
    ((figure,), options), ((caption,), _) = shown
    assert figure["image/png"].startswith(b"\x89PNG")
    assert options["metadata"] == {"image/png": {"alt": "Two lines."}}
    assert figure["text/plain"] == f"Two lines. [plotted data: {digest(plot())}]"
    assert caption == {"text/markdown": "*Two lines.*", "text/plain": "Two lines."}


@pytest.mark.parametrize("alt", ["", "  ", None])
def test_show_wants_alt_text(alt):
    with pytest.raises(ValueError, match="alt"):
        show(plot(), alt)


def test_the_png_holds_no_date_or_version():
    from PIL import Image

    assert set(Image.open(io.BytesIO(png(plot()))).info) <= {"dpi"}
    assert png(plot()) == png(plot())
