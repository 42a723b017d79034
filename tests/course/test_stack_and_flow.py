"""The receptive field and the shapes: every setting, read back and compared with slow rules."""

import itertools
import math
import re
import sys
import xml.etree.ElementTree as ET

import numpy as np
import pytest
from effort import rare
from models import random_config

from minimistral import np as mm
from minimistral.config import ModelConfig
from minimistral.course.draw import stack as drawn
from minimistral.course.draw import steps_svg
from minimistral.course.widgets.flow import shape_flow, step_words, steps
from minimistral.course.widgets.stack import stack_explorer
from minimistral.np.attention import masked_softmax
from minimistral.np.feedforward import silu

SVG = "{http://www.w3.org/2000/svg}"
WORDS = "a quick story of the old and very lazy fox".split()
V01 = ModelConfig.mistral_7b()


def elements(svg, kind):
    return list(ET.fromstring(svg).iter(f"{SVG}{kind}"))


def texts(svg):
    return [element.text for element in elements(svg, "text")]


def some(n, noun):
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


# Lesson 05: the receptive field


def level_of(y):
    """The level at a height of the picture; 0 are the embeddings, at the bottom."""
    return 4 - (float(y) - drawn.TOP) / drawn.ROW


def cells(svg, fill, T):
    """The cells of a colour as (level, position)."""
    paths = [path.get("d") for path in elements(svg, "path") if path.get("fill") == fill]
    corners = [re.match(r"([\d.]+) ([\d.]+)h", part) for d in paths for part in d.split("M")[1:]]
    return {
        (round(level_of(c[2])), int((float(c[1]) - drawn.LEFT) // drawn.cell_width(T)))
        for c in corners
        if c
    }


def line(svg, T):
    """The places that the line joins, from the top, as (level, position)."""
    (d,) = (path.get("d") for path in elements(svg, "path") if path.get("class") == "mm-path")
    points = [tuple(map(float, point.split())) for point in d[1:].split("L")]
    half = drawn.BOX / 2
    return [
        (round(level_of(y - half)), int((x - drawn.LEFT) // drawn.cell_width(T))) for x, y in points
    ]


def walked(token, K, W):
    """Breadth first, by the rule: {(level, position)} that count, from the top down."""
    front, reached = {token}, {(K, token)}
    for level in range(K - 1, -1, -1):
        front = {j for i in front for j in range(i + 1) if 0 <= i - j < W}
        reached |= {(level, j) for j in front}
    return reached


@pytest.mark.parametrize("T", [1, 4, 10, rare(24)])
def test_stack_explorer_at_every_setting(T):
    tokens = (WORDS * 3)[:T]
    player = stack_explorer(tokens)
    windows, seen = range(1, min(6, T) + 1), set()
    for W, K, token in itertools.product(windows, range(1, 5), range(T)):
        player.set(W=W, layers=K, token=token)
        wanted = walked(token, K, W)
        assert cells(player.svg, "#0072B2", T) == wanted
        everything = set(itertools.product(range(K + 1), range(T)))
        assert cells(player.svg, "#ffffff", T) == everything - wanted
        hops = [token]
        for _ in range(K):
            hops.append(max(0, hops[-1] - (W - 1)))
        assert line(player.svg, T) == list(zip(range(K, -1, -1), hops, strict=True))
        counts = [sum(level == n for level, _ in wanted) for n in range(K + 1)]
        labels = [f"layer {n}: {some(counts[n], 'token')}" for n in range(K, 0, -1)]
        said = [text for text in texts(player.svg) if ": " in text]
        assert said == [*labels, f"embeddings: {some(counts[0], 'token')}"]
        reached = sorted(j for level, j in wanted if level == 0)
        where = f"positions {reached[0]} to {reached[-1]}"
        if len(reached) == 1:
            where = f"position {reached[0]}"
        assert player.words == (
            f'W = {W}, {some(K, "layer")}: "{tokens[token]}" at position {token} depends on'
            f" {len(reached)} of {some(T, 'token')}, {where}; one hop per layer,"
            f" {some(W - 1, 'position')} at most:"
            f" {', '.join(map(str, hops))}."
        )
        seen.add(tuple(player.index))
    assert len(seen) == len(player.frames) == len(windows) * 4 * T


def test_the_frame_is_around_the_chosen_token_and_arrows_point_up():
    player = stack_explorer(WORDS)
    for K, token in itertools.product(range(1, 5), range(10)):
        player.set(layers=K, token=token)
        frame, _legend = (e for e in elements(player.svg, "rect") if e.get("stroke") == "#E69F00")
        x, y = float(frame.get("x")), float(frame.get("y"))
        assert round(level_of(y + 1), 6) == K
        column = (x + float(frame.get("width")) / 2 - drawn.LEFT) / drawn.cell_width(10)
        assert column == token + 0.5
        (heads,) = (e.get("d") for e in elements(player.svg, "path") if
                    e.get("fill") == "#1a1a1a" and e.get("stroke") == "#ffffff")  # fmt: skip
        arrows = [np.array([p.split() for p in head.rstrip("z").split("L")], float)
                  for head in heads.split("M")[1:]]  # fmt: skip
        assert len(arrows) == K
        assert all(2 * tip[1] < left[1] + right[1] for tip, left, right in arrows)


def test_stack_explorer_begins_where_it_is_told():
    assert stack_explorer(WORDS).values == {"W": 4, "layers": 3, "token": 9}
    assert stack_explorer(WORDS, 2, 4).values == {"W": 2, "layers": 4, "token": 9}
    assert stack_explorer(["a", "b"], window=6).values == {"W": 2, "layers": 3, "token": 1}


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        (([],), ValueError, "tokens must be 1 to 24"),
        ((["a"] * 25,), ValueError, "tokens must be 1 to 24"),
        ((WORDS, 0), ValueError, "window must be"),
        ((WORDS, 7), ValueError, "window must be"),
        ((WORDS, 4, 0), ValueError, "n_layers must be"),
        ((WORDS, 4, 5), ValueError, "n_layers must be"),
        ((WORDS, -1), ValueError, "window must be"),
        ((WORDS, 2.5), TypeError, "window must be"),
        ((WORDS, 2, None), TypeError, "n_layers must be"),
    ],
)
def test_stack_explorer_names_a_bad_argument(arguments, error, named):
    with pytest.raises(error, match=named):
        stack_explorer(*arguments)


@pytest.mark.parametrize(
    ("reached", "path", "named"),
    [
        ([], [], "reached"),
        ([[True]], [0], "reached"),
        ([[True, True]], [0, 0], "path"),
        ([[True, True]], [2], "path"),
        ([[True, True]], [-1], "path"),
    ],
)
def test_stack_svg_names_a_bad_argument(reached, path, named):
    with pytest.raises(ValueError, match=f"{named} must"):
        drawn.stack_svg(reached, ["a", "b"], path)


# Lesson 08: the shapes


def real_arrays(config, T):
    """The arrays of every step, from the engine; of heads and rotate also the keys."""
    model, ids = mm.Mistral(config, seed=1), np.zeros((1, T), int)
    w = {n.removeprefix("layers.0.").removesuffix(".weight"): a for n, a in model.weights.items()}
    positions, eps = np.arange(T)[None], config.norm_eps
    x = w["tok_embeddings"][ids]
    h = mm.rms_norm(x, w["attention_norm"], eps)
    arrays = {"token ids": ids, "embed": x, "attention norm": h}
    q, k, v = (h @ w[f"attention.w{letter}"].T for letter in "qkv")
    arrays |= {"queries": q, "keys": k, "values": v}
    q, k = (a.reshape(1, T, -1, config.head_dim).swapaxes(1, 2) for a in (q, k))
    arrays |= {"heads": q, "heads, keys": k}
    q, k, v = model.project_qkv(0, x, positions)
    arrays |= {"rotate": q, "rotate, keys": k}
    if config.window_size is None or config.window_size >= T:
        cache = model.new_cache(1, max_tokens=T)
        k, v = cache.update(0, k, v, cache.plan(positions))
    mask = mm.window_mask(positions, positions, config.window_size)
    scores = q @ np.repeat(k, config.n_groups, axis=1).swapaxes(-1, -2)
    heads = mm.attend(q, k, v, mask)
    merged = heads.swapaxes(1, 2).reshape(1, T, -1)
    mixed = merged @ w["attention.wo"].T
    arrays |= {"cache": k, "scores": scores, "softmax": masked_softmax(scores, mask)}
    arrays |= {"average": heads, "merge heads": merged, "mix heads": mixed}
    x = x + mixed
    h = mm.rms_norm(x, w["ffn_norm"], eps)
    gate, up = h @ w["feed_forward.w1"].T, h @ w["feed_forward.w3"].T
    down = (silu(gate) * up) @ w["feed_forward.w2"].T
    network = mm.feed_forward(h, *(w[f"feed_forward.w{i}"] for i in (1, 2, 3)))
    np.testing.assert_allclose(down, network, rtol=1e-4, atol=1e-5)
    arrays |= {"add attention": x, "ffn norm": h, "gate": gate, "up": up}
    arrays |= {"silu(gate) * up": silu(gate) * up, "down": down, "add feed-forward": x + down}
    return arrays | {"final norm": mm.rms_norm(x, w["norm"], eps), "logits": model(ids)}


@pytest.mark.parametrize("seed", range(8))
def test_the_steps_have_the_shapes_of_real_arrays(seed):
    rng = np.random.default_rng(seed)
    T = int(rng.integers(1, 9))
    config = random_config(rng, n_tokens=T)
    real = {name: array.shape for name, array in real_arrays(config, T).items()}
    flow = steps(config, T)
    assert [step.name for step in flow] == [name for name in real if ", keys" not in name]
    for step in flow:
        assert step.shape == real[step.name], step.name
        assert len(step.letters.split(", ")) == len(step.shape)
        if f"{step.name}, keys" in real:
            assert f"{real[f'{step.name}, keys']}" in step.doing


def functions_called(run):
    """The functions of np/ that run() calls, by the first call of each: "attend", "C.method"."""
    called = []

    def watch(frame, event, _argument):
        module = frame.f_globals.get("__name__", "")
        if event == "call" and module.startswith("minimistral.np."):
            called.append(frame.f_code.co_qualname)

    sys.setprofile(watch)
    try:
        run()
    finally:
        sys.setprofile(None)
    return list(dict.fromkeys(called))


def test_the_picture_names_the_functions_that_the_model_calls():
    """From ids to logits with a cache, each is called, and first called in the picture's order."""
    config = ModelConfig.tiny()
    model = mm.Mistral(config)
    cache = model.new_cache(batch_size=1, max_tokens=8)
    called = functions_called(lambda: model([[1, 2, 3]], cache))
    called = [name.removeprefix("Mistral.") for name in called]
    named = dict.fromkeys(name for step in steps(config, 3) for name in step.functions)
    assert list(named) == [
        "embed", "rms_norm", "project_qkv", "apply_rope", "RollingCache.update", "attend",
        "masked_softmax", "layer", "feed_forward", "silu", "unembed",
    ]  # fmt: skip
    missing = [name for name in named if name not in called]
    assert not missing
    inner = [name for name in named if name != "layer"]  # it calls those that come before it here
    assert [name for name in called if name in inner] == inner
    assert all(step.functions for step in steps(config, 3)[1:])  # the ids come from the tokenizer
    assert all(step.by.startswith(", ".join(step.functions)) for step in steps(config, 3))


def test_the_random_configs_have_windows_shorter_and_longer_than_the_text():
    wide = set()
    for seed in range(8):
        rng = np.random.default_rng(seed)
        T = int(rng.integers(1, 9))
        window = random_config(rng, n_tokens=T).window_size
        wide.add(window is None or window >= T)
    assert wide == {True, False}


@pytest.mark.parametrize("seed", range(3))
def test_a_matrix_of_a_step_makes_its_shape_from_the_shape_it_names(seed):
    """The last axis goes from the matrix's second to its first; a lookup adds an axis."""
    rng = np.random.default_rng(seed)
    config = random_config(rng, n_tokens=8)
    for step in steps(config, 5):
        for weight in step.weights.values():
            made, given = (
                tuple(map(int, re.findall(r"\d+", part)))
                for part in re.search(r"makes (\(.*?\)) from (\(.*?\))$", step.doing).groups()
            )
            assert made == step.shape
            if step.name == "embed":
                assert given == made[:-1] and weight[1] == made[-1]
            elif len(weight) == 2:
                assert given[:-1] == made[:-1] and weight == (made[-1], given[-1])
            else:
                assert given == made and weight == made[-1:]


@pytest.mark.parametrize("config", [ModelConfig.tiny(), V01, ModelConfig.mistral_7b("v0.3")])
def test_the_steps_use_every_weight_once(config):
    """Unfolded over the layers they are exactly the weights of the config."""
    sizes, n_params = [], 0
    for step in steps(config, 5):
        layers = range(config.n_layers) if step.in_layer else [None]
        for name, shape in step.weights.items():
            assert f"{name.removesuffix('.weight').split('.')[-1]} {shape}" in step.by
            sizes += [(name if n is None else f"layers.{n}.{name}", shape) for n in layers]
        n_params += step.n_params * len(layers)
    assert n_params == config.n_params
    assert sorted(sizes) == sorted(config.weight_shapes().items())


def test_letters_name_the_sizes_of_the_shape():
    """Configs whose numbers all differ, so that no letter can stand for another."""
    config = ModelConfig(
        dim=11, n_layers=2, head_dim=14, hidden_dim=13, n_heads=6, n_kv_heads=3,
        window_size=64, context_len=64, vocab_size=17,
    )  # fmt: skip
    size = dict(B=1, T=5, S=5, H=6, G=3, D=14, E=11, F=13, V=17)
    for step in steps(config, 5):
        parts = step.letters.split(", ")
        assert step.shape == tuple(math.prod(size[x] for x in part.split("·")) for part in parts)
    letters = {step.name: step.letters for step in steps(config, 5)}
    assert letters["scores"] == letters["softmax"] == "B, H, T, S"
    assert letters["cache"] == "B, G, S, D" and letters["average"] == "B, H, T, D"


@pytest.mark.parametrize(
    ("config", "counts"),
    [
        (ModelConfig.tiny(), [1, 5]),
        (V01, [1, 5, 4096]),
        (ModelConfig.mistral_7b("v0.2"), [1, 5, 4096]),
    ],
)
def test_shape_flow_at_every_setting(config, counts):
    player = shape_flow(config)
    assert player.values == {"step": "scores", "tokens": 5}
    names = [step.name for step in steps(config, 1)]
    for T in counts:
        flow = steps(config, T)
        for step in flow:
            player.set(step=step.name, tokens=T)
            shown = texts(player.svg)
            marked = [text for text in shown if "▶" in text]
            assert marked == [f"▶ {step.name}"]
            cards = [e for e in elements(player.svg, "rect") if e.get("rx")]
            framed = [n for n, e in enumerate(cards) if e.get("stroke") == "#E69F00"]
            assert len(cards) == len(names) and framed == [names.index(step.name)]
            assert [e.get("fill") == "#ececec" for e in cards] == [s.in_layer for s in flow]
            on_cards = [(n.removeprefix("▶ "), *rest) for n, *rest in by_fours(shown)]
            told = [(s.name, str(s.shape), s.by, f"({s.letters})") for s in flow]
            assert on_cards == told
            assert shown.count(f"in a layer, × {config.n_layers}") == 2
            assert player.words.startswith(f"{step.name}: ") and str(step.shape) in player.words
            total = sum(math.prod(shape) for shape in step.weights.values())
            of = {"cache": " of keys, and as many of values"}.get(step.name, "")
            of = " of queries" if step.name in ("heads", "rotate") else of
            ending = f", {step.shape}; {some_comma(math.prod(step.shape), 'number')}{of}."
            if step.weights:
                ending = f"; {total:,} parameters{' per layer' * step.in_layer}."
            assert player.words.endswith(ending)
    assert len(player.frames) == 23 * len(counts)


def some_comma(n, noun):
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def by_fours(shown):
    """The texts on the cards: the heading, the bars' words and the letters' key left out."""
    on = [text for text in shown if not text.startswith(("read down", "in a lay", "B t", "D h"))]
    return list(zip(*[iter(on)] * 4, strict=True))


def test_the_words_of_some_steps():
    words = {step.name: step_words(step) for step in steps(V01, 5)}
    assert words["queries"] == (
        "queries: wq (4096, 4096) makes (1, 5, 4096) from (1, 5, 4096);"
        " 16,777,216 parameters per layer."
    )
    assert words["scores"] == (
        "scores: 32 query heads compare 5 queries with 5 keys each, (1, 32, 5, 5); 800 numbers."
    )
    one = ModelConfig(
        dim=1, n_layers=1, head_dim=2, hidden_dim=1, n_heads=1, n_kv_heads=1,
        window_size=None, context_len=1, vocab_size=1,
    )  # fmt: skip
    words = {step.name: step_words(step) for step in steps(one, 1)}
    assert words["scores"] == (
        "scores: 1 query head compares 1 query with 1 key each, (1, 1, 1, 1); 1 number."
    )
    assert words["cache"].startswith("cache: 1 KV head holds 1 key, and as many values, ")
    assert words["final norm"].endswith("; 1 parameter.")
    assert shape_flow(one).values == {"step": "scores", "tokens": 1}  # context_len is 1


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ((None, 5), TypeError, "config"),
        ((ModelConfig.tiny(), 0), ValueError, "n_tokens"),
        ((ModelConfig.tiny(), 513), ValueError, "n_tokens"),
        ((ModelConfig.tiny(), 2.0), TypeError, "n_tokens"),
    ],
)
def test_steps_names_a_bad_argument(arguments, error, named):
    with pytest.raises(error, match=f"{named} must be"):
        steps(*arguments)
    if named == "config":
        with pytest.raises(error, match="config must be"):
            shape_flow(*arguments[:1])


@pytest.mark.parametrize("chosen", [-1, 23])
def test_steps_svg_names_a_step_that_is_not_there(chosen):
    with pytest.raises(ValueError, match="chosen must be"):
        steps_svg(steps(V01, 5), chosen, 32)


# Both: the sizes that every picture of the course keeps to


@pytest.mark.parametrize(
    ("make", "given"),
    [(stack_explorer, WORDS), (stack_explorer, ["word"] * 24), (shape_flow, V01)],
    ids=["10 words", "24 words", "7B"],
)
def test_pictures_fit_and_can_be_read(make, given):
    player = make(given)
    for svg, _ in player.frames[:: max(1, len(player.frames) // 60)]:
        root = ET.fromstring(svg)
        assert int(root.get("width")) <= 760 and int(root.get("height")) <= 520
        assert min(int(text.get("font-size")) for text in elements(svg, "text")) >= 12
