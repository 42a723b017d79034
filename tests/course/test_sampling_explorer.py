"""The sampling explorer: every setting, read back from the picture and compared with a loop."""

import itertools
import math
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from effort import spread

from minimistral import np as mm
from minimistral import tiny, tokenizer
from minimistral.course.draw import sampling as drawn
from minimistral.course.draw import sampling_svg
from minimistral.course.widgets import sampling_explorer
from minimistral.course.widgets.sampling import (
    MIN_PS,
    SENTENCE,
    TEMPERATURE,
    TEMPERATURES,
    TOP_P,
    TOP_PS,
)

SVG = "{http://www.w3.org/2000/svg}"


@pytest.fixture(scope="module")
def tiny_player():
    return sampling_explorer()


@pytest.fixture(scope="module")
def tiny_p():
    model, tokens = mm.load(tiny.FOLDER), tokenizer.load(tiny.FOLDER)
    logits = model([tokens.encode(SENTENCE)])[0, -1].astype(float)
    p = np.exp(logits - logits.max())
    return p / p.sum(), [tokens.piece(n) for n in range(len(p))]


def heat(p, temperature):
    """p ** (1 / temperature), scaled; all on the likeliest at 0."""
    if temperature == 0:
        return [float(n == p.index(max(p))) for n in range(len(p))]
    powers = [x ** (1 / temperature) for x in p]
    return [x / sum(powers) for x in powers]


def cut(p, top_p, min_p):
    """The likeliest one after the other until they have top_p; then what is far from the best."""
    kept, total = set(), 0.0
    for n in sorted(range(len(p)), key=lambda n: -p[n]):
        if total >= top_p and top_p < 1:
            break
        kept.add(n)
        total += p[n]
    kept = {n for n in kept if p[n] >= min_p * max(p)}
    total = sum(p[n] for n in kept)
    return [p[n] / total if n in kept else 0.0 for n in range(len(p))]


def expected(p, temperature, top_p, min_p, first):
    if first == TEMPERATURE:
        return cut(heat(p, temperature), top_p, min_p)
    return heat(cut(p, top_p, min_p), temperature)


def bits(p):
    return -sum(x * math.log2(x) for x in p if x)


def shown(svg):
    """(name, before, after) of each row, read back from the lengths of its bars."""
    rows = []
    for group in ET.fromstring(svg).iter(f"{SVG}g"):
        upper, *lower = group.findall(f"{SVG}path")
        lengths = [float(re.search(r"h([\d.]+)v", bar.get("d"))[1]) for bar in (upper, *lower)]
        before, after = (*lengths, 0.0)[:2]
        assert (upper.get("stroke-dasharray") is None) == bool(lower)  # hollow if nothing is left
        assert (upper.get("fill") == "#ffffff") == (not lower)
        tops = [float(re.match(r"M\S+ (\d+)", bar.get("d"))[1]) for bar in (upper, *lower)]
        assert tops == sorted(tops)
        name, told = (text.text for text in group.findall(f"{SVG}text"))
        assert group.get("aria-label").startswith(f"{name}: {told.split(' ')[0]} before")
        rows.append((name, before / drawn.SCALE, after / drawn.SCALE, told))
    return rows


def test_every_setting_is_what_a_loop_leaves(tiny_player, tiny_p):
    p, pieces = tiny_p[0].tolist(), tiny_p[1]
    order = sorted(range(len(p)), key=lambda n: -p[n])
    settings = list(itertools.product(TEMPERATURES, TOP_PS, MIN_PS, (TEMPERATURE, TOP_P)))
    assert len(tiny_player.frames) == len(settings)
    for temperature, top_p, min_p, first in spread(settings, 5):
        tiny_player.set(temperature=temperature, top_p=top_p, min_p=min_p, first=first)
        after = expected(p, temperature, top_p, min_p, first)
        *rows, others = shown(tiny_player.svg)
        assert len(rows) == 20
        for n, (name, was, now, told) in zip(order, rows, strict=False):
            assert name == drawn.readable(pieces[n])
            assert was == pytest.approx(p[n], abs=2e-4) and now == pytest.approx(after[n], abs=2e-4)
            assert (now > 0) == (after[n] > 0) == (not told.endswith("→ 0"))
        rest = [after[n] for n in order[20:]]
        assert others[0] == "748 others" and others[2] == pytest.approx(sum(rest), abs=2e-4)
        kept = [n for n in range(len(p)) if after[n] > 0]
        assert f": {len(kept)} of 768 tokens can be drawn;" in tiny_player.words
        share = float(re.search(r"gave (?:them|it) ([\d.]+)%", tiny_player.words)[1])
        assert share == pytest.approx(100 * sum(p[n] for n in kept), abs=0.06)
        both = re.search(r"Entropy: ([\d.]+) bits before, ([\d.]+) after\.", tiny_player.words)
        np.testing.assert_allclose(list(map(float, both.groups())), [bits(p), bits(after)],
                                   atol=0.006)  # fmt: skip
        left = sum(x > 0 for x in rest)
        assert others[3].endswith(f"({left} of 748 left)" if left else "→ 0")


def test_the_words_tell_the_order(tiny_player):
    tiny_player.set(temperature=0.5, top_p=0.9, min_p=0.1, first=TEMPERATURE)
    assert tiny_player.words.startswith("Temperature 0.5, then top-p 0.9 and min-p 0.1: ")
    tiny_player.set(first=TOP_P)
    assert tiny_player.words.startswith("Top-p 0.9 and min-p 0.1, then temperature 0.5: ")


def test_the_order_makes_a_difference_only_with_a_temperature(tiny_player):
    for temperature in TEMPERATURES:
        tiny_player.set(temperature=temperature, top_p=0.9, min_p=0.0, first=TEMPERATURE)
        first = shown(tiny_player.svg)
        tiny_player.set(first=TOP_P)
        assert (first == shown(tiny_player.svg)) == (temperature in (0, 1))


def test_it_begins_where_nothing_is_cut():
    player = sampling_explorer([0.0, 1.0])
    assert player.values == {
        "temperature": 1.0, "top_p": 1.0, "min_p": 0.0, "first": TEMPERATURE,
    }  # fmt: skip
    assert "2 of 2 tokens can be drawn; the model gave them 100.0%" in player.words
    assert [name for name, *_ in shown(player.svg)] == ["id 1", "id 0"]


@pytest.mark.parametrize(
    ("V", "last"), [(1, "id 0"), (20, "id 0"), (21, "1 other"), (22, "2 others")]
)
def test_few_tokens_and_those_that_do_not_fit(V, last):
    player = sampling_explorer(np.arange(V))
    rows = shown(player.svg)
    assert rows[-1][0] == last and len(rows) == min(V, 21)
    assert sum(row[1] for row in rows) == pytest.approx(1, abs=0.005)


def test_one_token_has_no_entropy_and_one_word():
    words = sampling_explorer([3.0]).words
    assert "1 of 1 token can be drawn; the model gave it 100.0%" in words
    assert "Entropy: 0.00 bits before, 0.00 after." in words


def test_a_token_that_cannot_come_is_hollow_everywhere():
    player = sampling_explorer([0.0, -np.inf, 1.0], ["a", "b", "c"])
    for first in (TEMPERATURE, TOP_P):
        player.set(first=first)
        assert shown(player.svg)[2][:3] == ("b", 0, 0)
        assert "2 of 3 tokens" in player.words


def test_names_may_be_anything():
    svg = sampling_explorer([2.0, 1.0, 0.0], ["<&", "\n\u200d", "🐻" * 30]).svg
    names = [name for name, *_ in shown(svg)]
    assert names == ["<&", "⏎U+200D", "🐻" * 6 + "…"]


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (([[1.0, 2.0]],), ValueError, r"logits must be \(V,\), not \(1, 2\)"),
        (([],), ValueError, "logits must be"),
        (([np.nan, 0.0],), ValueError, "logits must be"),
        ((["a"],), (TypeError, ValueError), "logits must be"),
        (([1.0, 2.0], ["a"]), ValueError, "tokens must be 2, as many as logits, not 1"),
        ((None, ["a"]), ValueError, "tokens must be 768"),
    ],
)
def test_sampling_explorer_names_a_bad_argument(arguments, error, named):
    with pytest.raises(error, match=named):
        sampling_explorer(*arguments)


@pytest.mark.parametrize(
    ("before", "after", "named"), [([1], [1, 0], "before"), ([1, 0], [1], "after")]
)
def test_the_picture_names_what_does_not_fit(before, after, named):
    with pytest.raises(ValueError, match=rf"{named} must be \(2,\), not \(1,\)"):
        sampling_svg(before, after, ["a", "b"], "title")
