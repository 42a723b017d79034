"""Every setting of the players of lessons 05 to 08, compared with the rule and with real arrays."""

import itertools
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from models import random_config

from minimistral import flow
from minimistral import np as mm
from minimistral.config import ModelConfig
from minimistral.draw import chunk as draw_chunk
from minimistral.draw import cone as draw_cone
from minimistral.np.attention import masked_softmax
from minimistral.np.feedforward import silu
from minimistral.np.model import merge_heads
from minimistral.widgets import cache_player, chunk_stepper, shape_flow, stack_explorer

SVG = "{http://www.w3.org/2000/svg}"
WORDS = "The keeper of the old lighthouse on the far rock has not".split()


def corners(svg, fill):
    """The upper left corners of all boxes of a colour."""
    paths = [path.get("d") for path in ET.fromstring(svg).iter(f"{SVG}path") if
             path.get("fill") == fill]  # fmt: skip
    return [tuple(map(float, re.split(r"[ h]", part)[:2])) for d in paths for part in
            d.split("M")[1:]]  # fmt: skip


def texts(svg):
    return [each.text for each in ET.fromstring(svg).iter(f"{SVG}text")]


def walked(token, n_layers, W):
    """The places that count in each layer, from the top: a walk by the rule."""
    found = [{token}]
    for _ in range(n_layers):
        found.append({j for i in found[-1] for j in range(i + 1) if 0 <= i - j < W})
    return found


def test_stack_explorer_at_every_setting():
    player, T = stack_explorer(WORDS), len(WORDS)
    for W, K, token in itertools.product(range(1, 7), range(1, 5), range(T)):
        player.set(W=W, layers=K, token=token)
        shown = [set() for _ in range(K + 1)]
        for x, y in corners(player.svg, "#0072B2"):
            j = round((x - draw_cone.LEFT) / draw_cone.CELL - 0.12)
            shown[round((y - draw_cone.TOP) / draw_cone.ROW)].add(j)
        wanted = walked(token, K, W)
        assert shown == wanted
        hops = [max(0, token - k * (W - 1)) for k in range(K + 1)]
        assert player.words.endswith(f"longest way {', '.join(map(str, hops))}.")
        assert f"{WORDS[token]} at {token} depends on {len(wanted[-1])} of {T}" in player.words
        assert f"{len(wanted[-1])} place" in " ".join(texts(player.svg))
    assert len(player.frames) == 6 * 4 * T


@pytest.mark.parametrize(("player", "arguments", "name"), [
    (stack_explorer, ([],), "tokens"), (stack_explorer, (["a"] * 25,), "tokens"),
    (cache_player, ([],), "tokens"), (cache_player, (["a"] * 25,), "tokens"),
    (cache_player, (["a"], 0), "window"), (cache_player, (["a"], 13), "window"),
    (chunk_stepper, ([],), "tokens"), (chunk_stepper, (["a"] * 17,), "tokens"),
    (chunk_stepper, (["a"], 0), "window"), (chunk_stepper, (["a"], 7), "window"),
])  # fmt: skip
def test_a_player_names_a_bad_argument(player, arguments, name):
    with pytest.raises(ValueError, match=f"{name} must be"):
        player(*arguments)


def test_a_start_off_the_sliders_is_refused():
    for start in ({"window": 0}, {"n_layers": 9}):
        with pytest.raises(ValueError):
            stack_explorer(WORDS, **start)


@pytest.mark.parametrize("W", [1, 3, 8, 12])
def test_cache_player_at_every_step(W):
    player, held = cache_player(WORDS, window=W), [-1] * W
    one = 2 * ModelConfig.tiny().n_kv_heads * ModelConfig.tiny().head_dim * 4
    for step in range(len(WORDS) + 1):
        player.set(step=step)
        if step == 0:
            assert player.words.startswith(f"Step 0: all {W} slots are empty")
            continue
        i = step - 1
        evicted, held[i % W] = held[i % W], i
        slots = "; ".join(texts(player.svg)).split("slot 0; ")[1].split("a shifting")[0].split("; ")
        numbers = [int(each) for each in slots if each.isdigit()]
        assert numbers == [j for j in held if j >= 0]
        assert slots.count("empty") == held.count(-1)
        assert f"{WORDS[i]} at {i} goes into slot {i} mod {W} = {i % W}" in player.words
        told = re.search(r"evicts .+ at (\d+)\.", player.words)
        assert (int(told.group(1)) if told else -1) == evicted
        assert (f"evicted {evicted}" in slots) == (evicted >= 0)
        seen = [j for j in range(step) if i - j < W]
        last = f"positions {seen[0]} to {i}" if len(seen) > 1 else f"position {i}"
        assert f"It sees {last}." in player.words
        squares = corners(player.svg, "#0072B2")
        assert len(squares) == len(seen)
        moved = min(W, step) - 1 if evicted >= 0 else 0
        assert f"takes {W * one:,} bytes, a growing one {step * one:,};" in player.words
        moved_words = f"{moved * one:,} bytes" if moved else "nothing"
        assert player.words.endswith(f"have moved {moved_words}.")


def test_chunk_stepper_at_every_setting():
    player, T = chunk_stepper(WORDS), len(WORDS)
    for W, size in itertools.product(range(1, 7), range(1, T + 1)):
        starts, pairs, held = list(range(0, T, size)), set(), []
        for step in range(1, T + 2):
            player.set(W=W, chunk=size, step=step)
            if step > len(starts):
                assert f"all tokens were read in {len(starts)} chunk" in player.words
                assert corners(player.svg, "#0072B2") in ([], [(8.0, corners_y(player.svg))])
                continue
            chunk = list(range(T))[starts[step - 1] :][:size]
            wanted = {(i, j) for i in chunk for j in held + chunk if 0 <= i - j < W}
            shown = set()
            for x, y in corners(player.svg, "#0072B2"):
                if x > draw_chunk.LEFT:  # not the legend
                    row = int((y - draw_chunk.TOP) // draw_chunk.CELL)
                    shown.add((chunk[row], int((x - draw_chunk.LEFT) // draw_chunk.CELL)))
            assert shown == wanted and not shown & pairs
            middle = sum(j in held for _, j in wanted)
            assert f"Middle: {len(held)} key" in player.words
            assert f"in the cache, {middle} pair" in player.words
            assert f"Right: {len(wanted) - middle} pair" in player.words
            assert f"Left: {chunk[0] - len(held)} token" in player.words
            rectangle = len(chunk) * (len(held) + len(chunk))
            assert f"rectangle: {rectangle} pairs, {len(wanted)} of them" in player.words
            pairs |= shown
            held = (held + chunk)[-W:]
        assert pairs == {(i, j) for i in range(T) for j in range(T) if 0 <= i - j < W}


def corners_y(svg):
    return corners(svg, "#0072B2")[0][1]


def real_shapes(config, T):
    """The shape of every step, taken from real arrays."""
    model = mm.Mistral(config, seed=1)
    w = {name: model.weights[f"layers.0.{name}.weight"] for name in (
        "attention_norm", "attention.wo", "ffn_norm", "feed_forward.w1", "feed_forward.w2",
        "feed_forward.w3")}  # fmt: skip
    positions, ids = np.arange(T)[None], np.zeros((1, T), int)
    x = model.weights["tok_embeddings.weight"][ids]
    found = {"ids": ids, "embed": x, "first norm": mm.rms_norm(x, w["attention_norm"], 1e-5)}
    q, k, v = model.heads(0, x, positions)
    found |= {"queries": q, "keys": k, "values": v, "rotate": q}
    cache = model.new_cache(1, max_tokens=T)
    model(ids, cache)
    found["cache"] = cache.k[0]
    group = np.repeat(k, config.n_heads // config.n_kv_heads, axis=1)
    scores = q @ group.swapaxes(-1, -2)
    mask = mm.window_mask(positions, positions, config.window_size)
    found |= {"scores": scores, "weights": masked_softmax(scores, mask[:, None])}
    heads = mm.attend(q, k, v, mask)
    mixed = merge_heads(heads) @ w["attention.wo"].T
    found |= {"heads": heads, "mix heads": mixed, "add": x + mixed}
    h = mm.rms_norm(x, w["ffn_norm"], 1e-5)
    gate = silu(h @ w["feed_forward.w1"].T)
    value = gate * (h @ w["feed_forward.w3"].T)
    back = value @ w["feed_forward.w2"].T
    found |= {"second norm": h, "gate": gate, "value": value, "back": back, "add again": x + back}
    found |= {"last norm": x, "logits": model(ids)}
    return {name: array.shape for name, array in found.items()}


@pytest.mark.parametrize("seed", range(6))
def test_the_steps_have_the_shapes_of_real_arrays(seed):
    rng = np.random.default_rng(seed)
    T = int(rng.integers(1, 9))
    config = random_config(rng, n_tokens=20)
    wide = config.window_size is None or config.window_size >= T  # the cache holds all T
    found = {step.name: step.shape for step in flow.steps_of(config, T)}
    real = real_shapes(config, T)
    assert found.keys() == real.keys()
    for name, shape in real.items():
        assert found[name] == shape or (name == "cache" and not wide), name


@pytest.mark.parametrize("config", [ModelConfig.tiny(), ModelConfig.mistral_7b("v0.3")])
def test_the_steps_use_every_weight_once(config):
    size, names = 0, []
    for step in flow.steps_of(config, 5):
        each = sum(int(np.prod(shape)) for shape in step.weights.values())
        size += each * (config.n_layers if step.in_layer else 1)
        names += step.weights
    assert size == config.n_params and len(names) == len(set(names)) == 12


@pytest.mark.parametrize("config", [ModelConfig.tiny(), ModelConfig.mistral_7b()])
def test_shape_flow_at_every_setting(config):
    player = shape_flow(config)
    counts = [n for n in (1, 5, 4096) if n <= config.context_len]
    for T in counts:
        for step in flow.steps_of(config, T):
            player.set(step=step.name, tokens=T)
            assert player.words.startswith(f"{step.name}: {step.doing}; {step.shape}, ")
            assert f"{np.prod(step.shape):,} numbers" in player.words
            shown = texts(player.svg)
            assert shown.count(f"▶ {step.name}") == 1 and sum("▶" in each for each in shown) == 1
            assert {str(each.shape) for each in flow.steps_of(config, T)} <= set(shown)
            total = sum(int(np.prod(shape)) for shape in step.weights.values())
            assert (f": {total:,} parameters" in player.words) == bool(step.weights)
    assert len(player.frames) == 20 * len(counts)
