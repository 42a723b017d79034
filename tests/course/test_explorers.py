"""Every setting of every explorer, compared with np/ and the config."""

import dataclasses
import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minimistral import np as np_engine
from minimistral.config import NINE_NUMBERS, ModelConfig, bytes_per_value
from minimistral.course.widgets import (
    anatomy_explorer,
    attention_explorer,
    budget_explorer,
    head_map,
    mask_explorer,
    rotation_dial,
)
from minimistral.course.widgets.explorers import attention_weights
from minimistral.np import window_mask

V01 = ModelConfig.mistral_7b("v0.1")
SVG = "{http://www.w3.org/2000/svg}"


def shown_mask(svg, n_keys):
    """The mask that the picture shows, read back from its filled squares."""
    from minimistral.course.draw.mask import CELL, LEFT

    rows = [g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("class") == "mm-row"]
    mask = np.zeros((len(rows), n_keys), dtype=bool)
    for t, row in enumerate(rows):
        (filled,) = (path.get("d") for path in row if path.get("fill") == "#0072B2")
        for corner in filled.split("M")[1:]:
            mask[t, (int(corner.split()[0]) - LEFT) // CELL] = True
    return mask


def test_mask_explorer_at_every_setting():
    player = mask_explorer("The cat sat on the mat and saw the dog go to".split())
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
    from minimistral.course.draw.budget import BAR, LEFT, RIGHT, WIDTH

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


# Lesson 01: one row of weights


@pytest.fixture(scope="module")
def small_model():
    return np_engine.Mistral(
        ModelConfig(
            dim=16, n_layers=2, head_dim=8, hidden_dim=16, n_heads=4, n_kv_heads=2,
            window_size=4, context_len=64, vocab_size=20,
        ),
        seed=3,
    )  # fmt: skip


def test_attention_weights_are_those_the_model_uses(small_model):
    """The loop: scores of the rotated heads, softmax over what each token sees."""
    ids = [3, 1, 4, 1, 5, 9]
    weights = attention_weights(small_model, ids)
    assert weights.shape == (2, 4, 6, 6)
    x = small_model.weights["tok_embeddings.weight"][ids][None]
    q, k, _ = small_model.project_qkv(0, x, np.arange(6)[None])
    for h in range(4):
        for i in range(6):
            seen = [j for j in range(6) if 0 <= i - j < 4]
            scores = np.array([q[0, h, i] @ k[0, h // 2, j] for j in seen]) / np.sqrt(8)
            expected = np.exp(scores) / np.exp(scores).sum()
            np.testing.assert_allclose(weights[0, h, i, seen], expected, rtol=1e-5)
            assert weights[0, h, i].sum() == pytest.approx(1, abs=1e-6)


def test_the_second_layer_reads_what_the_first_made(small_model, monkeypatch):
    """Each layer projects the same vectors as in a whole forward pass."""
    ids, seen = [3, 1, 4, 1, 5, 9], []
    original = np_engine.layer.project_qkv

    def watched(config, w, x, rope):
        seen.append(x.copy())
        return original(config, w, x, rope)

    for module in (np_engine.layer, np_engine.model):
        monkeypatch.setattr(module, "project_qkv", watched)
    small_model([ids])
    whole = list(seen)
    seen.clear()
    attention_weights(small_model, ids)
    assert len(whole) == 2 and len(seen) == 4  # once for the weights, once inside the layer
    for n, x in enumerate(seen):
        np.testing.assert_allclose(x, whole[n // 2], atol=1e-6)


def test_attention_explorer_at_all_its_settings(small_model):
    ids, tokens = [3, 1, 4, 1, 5, 9], list("abcdef")
    weights = attention_weights(small_model, ids)
    player = attention_explorer(small_model, ids, tokens, token=2)
    assert player.values == {"layer.head": "0.0", "token": 2}
    for layer in range(2):
        for head in range(4):
            for token in range(6):
                player.set(token=token, **{"layer.head": f"{layer}.{head}"})
                row = weights[layer, head, token]
                best = int(row.argmax())
                said = (
                    f"Layer {layer}, head {head}: {tokens[token]} at {token} gives"
                    f" {row[best]:.2f} to {tokens[best]} at {best}"
                )
                assert player.words.startswith(said)
                assert player.svg.count("ahead: hidden") == 5 - token
                shown = [
                    float(x) for x in re.findall(r'font-size="13">(\d\.\d\d)</text>', player.svg)
                ]
                np.testing.assert_allclose(shown, row[: token + 1], atol=0.0051)


@pytest.mark.parametrize(
    ("ids", "tokens", "named"),
    [([], [], "ids"), (list(range(9)), list("abcdefghi"), "ids"), ([1, 2], ["a"], "tokens")],
)
def test_attention_explorer_names_bad_input(small_model, ids, tokens, named):
    with pytest.raises(ValueError, match=named):
        attention_explorer(small_model, ids, tokens)


# Lesson 02: the dials


def test_rotation_dial_at_all_its_settings():
    """Hands and turns follow from the angles: position * theta ** (-2j / D)."""
    from minimistral.course.widgets.explorers import POSITIONS

    player = rotation_dial(head_dim=16)
    assert player.values == {"position": 8, "theta": 10_000}
    for theta in (10_000, 1_000_000):
        for position in POSITIONS:
            player.set(position=position, theta=theta)
            turns = position * theta ** (-np.arange(8) / 8) / (2 * np.pi)
            said = f"Position {position}, theta {theta}: {(turns >= 1).sum()} of 8 pairs"
            assert player.words.startswith(said)
            assert f"the last {turns[-1]:.4f} times" in player.words
            hands = re.findall(r"M([\d.]+) ([\d.]+)L([\d.]+) ([\d.]+)", player.svg)
            assert len(hands) == 8
            for (x0, y0, x1, y1), turn in zip(hands, turns, strict=True):
                angle = 2 * np.pi * turn
                shown = (float(x1) - float(x0)) / 19, (float(y0) - float(y1)) / 19
                np.testing.assert_allclose(shown, (np.cos(angle), np.sin(angle)), atol=0.01)
            assert player.svg.count('stroke-width="3.5"') == (turns >= 1).sum()


@pytest.mark.parametrize("head_dim", [0, 7, 130])
def test_rotation_dial_names_bad_input(head_dim):
    with pytest.raises(ValueError, match="head_dim must be even"):
        rotation_dial(head_dim)


@pytest.mark.parametrize("head_dim", [2, 128])
def test_rotation_dial_of_the_smallest_and_the_largest_head(head_dim):
    assert f"of {head_dim // 2} pairs" in rotation_dial(head_dim).words


# Lesson 03: the head map


def test_head_map_at_all_its_settings():
    """Query head h reads KV head h // g, read back from the lines of the picture."""
    player = head_map(V01)
    assert player.values == {"KV heads": 8}
    for n_kv_heads in (1, 2, 4, 8, 16, 32):
        player.set(**{"KV heads": n_kv_heads})
        path = re.search(r'<path d="(M[^"]*L[^"]*)"', player.svg)[1]
        ends = [float(line.split("L")[1].split()[0]) for line in path.split("M")[1:]]
        boxes = sorted(set(ends))
        assert len(boxes) == n_kv_heads
        reads = [boxes.index(x) for x in ends]
        assert reads == [h // (32 // n_kv_heads) for h in range(32)]
        n_bytes = dataclasses.replace(V01, n_kv_heads=n_kv_heads).cache_bytes(1)
        assert f"each serves {32 // n_kv_heads};" in player.words
        assert f"{n_bytes:,} bytes per token" in player.words
