"""Every setting of every explorer, compared with np/ and the config."""

import dataclasses
import itertools
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minimistral import tokenizer
from minimistral.config import NINE_NUMBERS, ModelConfig, bytes_per_value
from minimistral.np import window_mask
from minimistral.widgets import anatomy_explorer, budget_explorer, mask_explorer

V01 = ModelConfig.mistral_7b("v0.1")
SVG = "{http://www.w3.org/2000/svg}"


def shown_mask(svg, n_keys):
    """The mask that the picture shows, read back from its filled squares."""
    from minimistral.draw.mask import CELL, LEFT

    rows = [g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "mm-row"]
    mask = np.zeros((len(rows), n_keys), dtype=bool)
    for t, row in enumerate(rows):
        (filled,) = (path.get("d") for path in row if path.get("fill") == "#0072B2")
        for corner in filled.split("M")[1:]:
            mask[t, (int(corner.split()[0]) - LEFT) // CELL] = True
    return mask


def test_mask_explorer_at_every_setting():
    tokens = tokenizer.load("v1").pieces("The cat that chased the mouse sat on the mat.")
    player = mask_explorer(tokens)
    seen = set()
    for W, T in itertools.product(range(1, 13), range(1, 13)):
        player.set(W=W, T=T)
        mask = window_mask(np.arange(T), np.arange(T), W)
        np.testing.assert_array_equal(shown_mask(player.svg, T), mask)
        assert f"W = {W}, T = {T}: {mask.sum()} of {T * (T + 1) // 2} causal" in player.words
        assert f"sees {mask[-1].sum()} key" in player.words
        seen.add(tuple(player.index))
    assert len(seen) == len(player.frames) == 144


@pytest.mark.parametrize("tokens", [[], ["a"] * 25])
def test_mask_explorer_names_too_few_or_too_many_tokens(tokens):
    with pytest.raises(ValueError, match="tokens"):
        mask_explorer(tokens)


@pytest.mark.parametrize(
    ("start", "named"),
    [({"n_tokens": 3}, "T must be"), ({"n_tokens": 0}, "T must be"), ({"window": 0}, "W must be")],
)
def test_mask_explorer_refuses_a_start_off_its_sliders(start, named):
    with pytest.raises(ValueError, match=named):
        mask_explorer(["a", "b"], **start)


def test_mask_explorer_begins_a_long_window_at_the_end_of_the_text():
    assert mask_explorer(["a", "b"], window=9).values == {"W": 2, "T": 2}


def test_budget_explorer_at_every_setting():
    player = budget_explorer(V01)
    sliders = {slider["name"]: slider["labels"] for slider in player.sliders}
    assert sliders["KV heads"] == ["1", "8", "32"] and sliders["window"] == ["4096", "none"]
    for labels in itertools.product(*sliders.values()):
        context, dtype, heads, window = labels
        player.index = [sliders[n].index(x) for n, x in zip(sliders, labels, strict=True)]
        config = dataclasses.replace(
            V01, n_kv_heads=int(heads), window_size=None if window == "none" else int(window)
        )
        weights = config.n_params * bytes_per_value(dtype) / 2**30
        cache = config.cache_bytes(int(context), dtype) / 2**30
        assert f"Weights {weights:.2f} GiB, KV cache {cache:.2f} GiB" in player.words
        assert f">{weights:.2f}<" in player.svg and f">{cache:.2f}<" in player.svg
        assert bar_lengths(player.svg) == pytest.approx([weights, cache], abs=0.02)


def bar_lengths(svg):
    """The two bars' lengths in GiB, read back from the shapes."""
    from minimistral.draw.budget import BAR, LEFT, RIGHT, WIDTH

    lengths = {}
    for path in ET.fromstring(svg).iter(f"{SVG}path"):
        if f"v{BAR}" in path.get("d"):
            y, width = path.get("d")[1:].split("v")[0].split()[1].split("h")
            lengths[y] = lengths.get(y, 0) + float(width) * 32 / (WIDTH - LEFT - RIGHT)
    return list(lengths.values())


def test_budget_explorer_of_a_model_without_a_window():
    assert budget_explorer(ModelConfig.mistral_7b("v0.3")).values["window"] == "none"


def test_anatomy_explorer_names_the_parts_whose_shape_the_number_changes():
    """Each number is changed; the weights whose shape moves are the parts that are marked."""
    player = anatomy_explorer(V01)
    for number in NINE_NUMBERS:
        player.set(number=number)
        changed = dataclasses.replace(V01, **{number: 2 * getattr(V01, number)})
        if number == "n_kv_heads":
            changed = dataclasses.replace(V01, n_kv_heads=4)
        before, after = V01.weight_shapes(), changed.weight_shapes()
        moved = {n for n in after if before.get(n) != after[n]}
        parts = {n.removesuffix(".weight").rsplit(".", 1)[-1] for n in moved}
        named = player.words.split(" is used in " if number != "n_layers" else " its own ")[1]
        named = set(named.rstrip(".").replace(" and ", ", ").split(", "))
        assert named - {"KV cache", "mask", "tokens"} == parts
        assert player.svg.count("►") == len(named)
        cache_moves = V01.cache_bytes(8192) != changed.cache_bytes(8192)
        assert cache_moves == ("KV cache" in named)
