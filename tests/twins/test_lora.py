"""LoRA: beside the matrices or merged into them, the same numbers, and the right gradients."""

import copy
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import random_config, random_model, random_tokens, small

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.config import ADAPTABLE
from minimistral.np.linear import linear
from minimistral.np.lora import Adapted, lora, lora_backward
from minimistral.pt.lora import Adapted as TorchAdapted
from minimistral.pt.quantize import quantized

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
ALL = tuple(ADAPTABLE)
CONFIG = small()
SEVEN = ModelConfig.mistral_7b()


def random_adapter(mm, config, rank=3, alpha=5.0, targets=ALL, seed=0, dtype="float64"):
    """An adapter whose B is not 0, so that it shows; the same numbers in both twins."""
    rng = np.random.default_rng(seed)
    shapes = config.adapter_shapes(rank, targets)
    weights = {name: rng.standard_normal(shape) * 0.3 for name, shape in shapes.items()}
    return mm.Adapter(config, rank, alpha, targets, weights=weights, dtype=dtype)


def both(config, seed=0, dtype="float64"):
    model = random_model(config, seed, dtype)
    return model, mp.Mistral(config, model.weights)


def numbers(logits):
    return logits.detach().numpy() if isinstance(logits, torch.Tensor) else logits


def product(x, weight, a, b, scale):
    """The specification, one token and one number of the result at a time."""
    rows = [
        [
            sum(w * v for w, v in zip(row, token, strict=True))
            + scale * sum(
                up * sum(d * v for d, v in zip(down, token, strict=True))
                for up, down in zip(ups, a, strict=True)
            )
            for row, ups in zip(weight, b, strict=True)
        ]
        for token in x.reshape(-1, x.shape[-1])
    ]  # fmt: skip
    return np.array(rows).reshape(*x.shape[:-1], len(weight))


def arguments(rng, batch=(2, 3)):
    n_in, n_out, r = (int(n) for n in rng.integers(1, 7, 3))
    shapes = (*batch, n_in), (n_out, n_in), (r, n_in), (n_out, r)
    return *(rng.standard_normal(shape) for shape in shapes), float(rng.uniform(0.1, 3))


# The product


@TWINS
@given(seed=st.integers(0, 10**6))
def test_lora_is_the_loop(mm, seed):
    given = arguments(np.random.default_rng(seed))
    np.testing.assert_allclose(mm.lora(*given), product(*given), rtol=1e-12, atol=1e-12)


@given(seed=st.integers(0, 10**6))
def test_gradients_are_those_of_finite_differences_and_of_torch(seed):
    rng = np.random.default_rng(seed)
    *arrays, scale = arguments(rng)
    dy = rng.standard_normal((*arrays[0].shape[:-1], len(arrays[1])))
    dx, da, db = lora_backward(*arrays, scale, dy)

    tensors = [torch.tensor(array, requires_grad=True) for array in arrays]
    mp.lora(*tensors, scale).backward(torch.tensor(dy))
    for ours, theirs in zip((dx, da, db), (tensors[0], *tensors[2:]), strict=True):
        np.testing.assert_allclose(ours, theirs.grad, rtol=1e-10, atol=1e-10)

    # lora is linear in each, so a step of 1 has no error but rounding.
    for gradient, which in ((dx, 0), (da, 2), (db, 3)):
        index = tuple(int(rng.integers(n)) for n in gradient.shape)
        moved = [array.copy() for array in arrays]
        moved[which][index] += 1
        slope = ((lora(*moved, scale) - lora(*arrays, scale)) * dy).sum()
        np.testing.assert_allclose(gradient[index], slope, rtol=1e-10, atol=1e-10)


def test_b_times_a_is_never_formed():
    """It would hold 10**10 numbers."""
    x, a, b = np.ones((1, 10**5)), np.ones((1, 10**5)), np.ones((10**5, 1))

    class Zero:
        shape, dtype, ndim = (10**5, 10**5), x.dtype, 2

        def times(self, x):
            return np.zeros((1, 10**5))

    assert (lora(x, Zero(), a, b, 2.0) == 2e5).all()


@TWINS
@pytest.mark.parametrize(
    ("change", "line"),
    [
        ({"x": np.ones((), "f8")}, "x must be (..., in), not a single number"),
        ({"weight": np.ones((6, 5))}, "weight must be (out, 4), not (6, 5)"),
        ({"a": np.ones((2, 5))}, "a must be (r, 4), not (2, 5)"),
        ({"b": np.ones((2, 6))}, "b must be (6, 2), not (2, 6)"),
        ({"a": np.ones((2, 4), "f4")}, "x, weight, a and b must share a float dtype"),
        ({"scale": float("nan")}, "scale must be finite"),
        ({"scale": "2"}, "scale must be a number"),
    ],
)
def test_a_bad_product(mm, change, line):
    good = {"x": np.ones((3, 4)), "weight": np.ones((6, 4)), "a": np.ones((2, 4)),
            "b": np.ones((6, 2)), "scale": 1.0}  # fmt: skip
    with pytest.raises((TypeError, ValueError), match=re.escape(line)):
        mm.lora(**good | change)


# A model


@pytest.mark.parametrize("seed", range(6))
def test_beside_and_merged_are_the_same_in_both_twins(seed):
    rng = np.random.default_rng(seed)
    config = random_config(rng, 19)
    targets = [name for name in ALL if rng.random() < 0.5] or ["w2"]
    rank, tokens = int(rng.integers(1, 5)), random_tokens(rng, config, 2, 19)
    found = []
    for mm, model in zip((mn, mp), both(config, seed), strict=True):
        adapter = random_adapter(mm, config, rank, 2.5, targets, seed)
        found += [mm.adapt(model, adapter)(tokens), mm.merge(model, adapter)(tokens)]
        back = mm.unmerge(mm.merge(model, adapter), adapter)
        for name, weight in back.weights.items():
            np.testing.assert_allclose(
                numbers(weight), numbers(model.weights[name]), rtol=0, atol=1e-14
            )
        plain = model(tokens)
    found = [numbers(logits) for logits in found]
    assert np.abs(found[0] - numbers(plain)).max() > 1e-3
    for logits in found[1:]:
        scale = max(1, np.abs(found[0]).max())
        np.testing.assert_allclose(logits, found[0], rtol=0, atol=1e-12 * scale)


def test_the_merged_weight_is_the_sum_of_products():
    model, _ = both(CONFIG)
    adapter = random_adapter(mn, CONFIG, targets=["wk"])
    merged = mn.merge(model, adapter)
    name = "layers.1.attention.wk"
    a, b = (adapter.weights[f"{name}.lora_{x}.weight"] for x in "AB")
    outer = sum(np.outer(b[:, j], a[j]) for j in range(3)) * 5 / 3
    expected = model.weights[f"{name}.weight"] + outer
    np.testing.assert_allclose(merged.weights[f"{name}.weight"], expected, atol=1e-15)
    others = [each for each in model.weights if not each.endswith("wk.weight")]
    assert all(merged.weights[each] is model.weights[each] for each in others)


@TWINS
@pytest.mark.parametrize("targets", [("wq", "wv"), ALL])
def test_an_adapted_model_writes_what_the_merged_one_writes(mm, targets):
    """Past the window, in chunks, in a ragged batch, through a cache."""
    model = dict(zip((mn, mp), both(CONFIG), strict=True))[mm]
    adapter = random_adapter(mm, CONFIG, targets=targets)
    adapted, merged = mm.adapt(model, adapter), mm.merge(model, adapter)
    prompts = [[1, 2, 3, 4, 5, 6, 7], [8, 9]]
    texts = [mm.generate(m, prompts, 12, chunk_size=3) for m in (adapted, merged, model)]
    assert texts[0] == texts[1] != texts[2]


@TWINS
def test_a_fresh_adapter_changes_nothing_and_neither_does_adapting(mm):
    model = dict(zip((mn, mp), both(CONFIG), strict=True))[mm]
    before = {name: numbers(weight).copy() for name, weight in model.weights.items()}
    tokens = random_tokens(np.random.default_rng(0), CONFIG, 2, 9)
    expected = numbers(model(tokens))
    fresh = mm.Adapter(CONFIG, 2, targets=ALL, seed=3, dtype="float64")
    for each in (mm.adapt(model, fresh), mm.merge(model, fresh)):
        np.testing.assert_array_equal(numbers(each(tokens)), expected)
    mm.adapt(model, random_adapter(mm, CONFIG))(tokens)
    mm.merge(model, random_adapter(mm, CONFIG))(tokens)
    np.testing.assert_array_equal(numbers(model(tokens)), expected)
    for name, weight in model.weights.items():
        np.testing.assert_array_equal(numbers(weight), before[name])


@TWINS
def test_a_is_random_and_b_is_0(mm):
    config = small(dim=300, head_dim=40)
    adapter = mm.Adapter(config, 20, seed=1)
    assert list(adapter.weights) == list(config.adapter_shapes(20))
    for name, weight in adapter.weights.items():
        values = numbers(weight)
        if name.endswith("lora_A.weight"):  # x A^T is then about as large as x
            assert abs(values.std() * 300**0.5 - 1) < 0.05 and abs(values.mean()) < 0.002
        else:
            assert not values.any()
    again, other = mm.Adapter(config, 20, seed=1), mm.Adapter(config, 20, seed=2)
    first = next(iter(adapter.weights))
    np.testing.assert_array_equal(numbers(again.weights[first]), numbers(adapter.weights[first]))
    assert not np.array_equal(numbers(other.weights[first]), numbers(adapter.weights[first]))


@TWINS
def test_a_change_of_the_adapter_shows_in_the_model(mm):
    model = dict(zip((mn, mp), both(CONFIG), strict=True))[mm]
    adapter = mm.Adapter(CONFIG, 2, dtype="float64")
    adapted = mm.adapt(model, adapter)
    with torch.no_grad():
        for name, weight in adapter.weights.items():
            if name.endswith("lora_B.weight"):
                weight += 0.5
    tokens = [[1, 2, 3]]
    expected = numbers(mm.merge(model, adapter)(tokens))
    np.testing.assert_allclose(numbers(adapted(tokens)), expected, atol=1e-12)
    assert np.abs(expected - numbers(model(tokens))).max() > 1e-3


# Counting


@pytest.mark.parametrize("config", [SEVEN, CONFIG, ModelConfig.tiny()], ids=["7B", "small", "tiny"])
@pytest.mark.parametrize("targets", [("wq", "wv"), ("wo",), ALL])
def test_a_matrix_takes_rank_times_both_sizes(config, targets):
    sizes = [config.weight_shapes()[f"layers.0.{ADAPTABLE[target]}.weight"] for target in targets]
    expected = sum(16 * (n_out + n_in) for n_out, n_in in sizes) * config.n_layers
    assert config.adapter_n_params(16, targets) == expected
    on_meta = mp.Adapter(config, 16, targets=targets, device="meta")
    assert on_meta.n_params == sum(weight.numel() for weight in on_meta.weights.values())
    assert on_meta.n_params == expected


def test_the_seven_b_on_meta():
    model = mp.Mistral(SEVEN, dtype="bfloat16", device="meta")
    adapted = mp.adapt(model, mp.Adapter(SEVEN, 8, dtype="bfloat16", device="meta"))
    trained = [p for p in adapted.parameters() if p.requires_grad]
    assert sum(p.numel() for p in trained) == 3_407_872
    assert sum(p.numel() for p in adapted.parameters()) == SEVEN.n_params + 3_407_872
    assert adapted([[1, 2, 3]]).shape == (1, 3, 32000)


# Training


def test_only_a_and_b_take_a_gradient_and_learn():
    _, model = both(CONFIG)
    model.requires_grad_()  # of the given model they do, of the adapted one they do not
    adapter = mp.Adapter(CONFIG, 2, targets=ALL, dtype="float64")
    adapted = mp.adapt(model, adapter)
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    assert set(trained) == set(adapter.weights) == set(CONFIG.adapter_shapes(2, ALL))
    assert all(trained[name] is adapter.weights[name] for name in trained)
    before = copy.deepcopy(dict(model.named_parameters()))
    optimizer = torch.optim.AdamW(adapter.weights.values(), lr=0.01)
    losses = []
    for _ in range(8):
        logits = adapted([[1, 2, 3, 4, 5, 6]])[0, :-1]
        loss = torch.nn.functional.cross_entropy(logits, torch.tensor([2, 3, 4, 5, 6]))
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert losses[-1] < losses[0] - 0.1
    assert all(torch.equal(p, before[name]) for name, p in model.named_parameters())


@pytest.mark.parametrize("targets", [("wq", "wv"), ALL])
def test_gradients_by_the_chain_rule_are_those_of_autograd(targets):
    """np and pt from the merged model, and torch through A and B: to 1e-10."""
    config = small(dim=12)
    rng = np.random.default_rng(1)
    tokens, targets_ids = (random_tokens(rng, config, 2, 7) for _ in range(2))
    found = []
    for mm, model in zip((mn, mp), both(config), strict=True):
        adapter = random_adapter(mm, config, targets=targets)
        loss, gradients = mm.loss_and_gradients(mm.merge(model, adapter), tokens, targets_ids)
        found.append((loss, mm.lora_gradients(adapter, gradients)))
    adapted = mp.adapt(model, adapter)
    logits = adapted(tokens).reshape(-1, config.vocab_size)
    loss = torch.nn.functional.cross_entropy(logits, torch.tensor(targets_ids).reshape(-1))
    loss.backward()
    for value, gradients in found:
        assert abs(value - loss.item()) < 1e-10 and set(gradients) == set(adapter.weights)
        for name, weight in adapter.weights.items():
            np.testing.assert_allclose(gradients[name], weight.grad, rtol=0, atol=1e-10)


@TWINS
def test_a_gradient_that_is_missing(mm):
    adapter = mm.Adapter(CONFIG, 2)
    with pytest.raises(ValueError, match=r"gradients lack that of 'layers\.0\.attention\.wq\.w"):
        mm.lora_gradients(adapter, {})


# What else stands in for a matrix


def test_beside_matrices_that_stay_in_their_file(tmp_path):
    model = random_model(CONFIG)
    mn.save(model, tmp_path)
    adapter = random_adapter(mn, CONFIG, dtype="float32")
    adapted = mn.adapt(mn.load(tmp_path, mmap=True), adapter)
    tokens = [[1, 2, 3, 4, 5, 6]]
    np.testing.assert_allclose(adapted(tokens), mn.merge(model, adapter)(tokens), atol=1e-5)
    with pytest.raises(TypeError, match=r"must have plain matrices to merge, but layers\.0\.att"):
        mn.merge(mn.load(tmp_path, mmap=True), adapter)


def test_beside_quantised_matrices():
    config = small(dim=32, hidden_dim=64, vocab_size=32)
    weights = mp.Mistral(config, random_model(config).weights).weights
    model = mp.Mistral(config, {n: quantized(n, w, "int8") for n, w in weights.items()})
    adapter = random_adapter(mp, config, dtype="float32")
    tokens = [[1, 2, 3, 4, 5, 6]]
    adapted, merged = mp.adapt(model, adapter), mp.merge(mp.Mistral(config, weights), adapter)
    far = (adapted(tokens) - merged(tokens)).norm() / merged(tokens).norm()
    assert 1e-4 < far < 0.05  # as far as int8 is from float32
    with pytest.raises(RuntimeError, match="derivative"):  # torch has none of that product
        adapted(tokens).sum().backward()
    with pytest.raises(TypeError, match=r"must have plain matrices to merge"):
        mp.merge(model, adapter)


def test_an_adapted_module_is_moved_converted_and_copied_as_others():
    _, model = both(CONFIG)
    adapted = mp.adapt(model, random_adapter(mp, CONFIG))
    expected, tokens = adapted([[1, 2, 3]]).detach(), [[1, 2, 3]]
    assert torch.equal(copy.deepcopy(adapted)(tokens), expected)
    single = copy.deepcopy(adapted).float()
    assert single.dtype == torch.float32
    torch.testing.assert_close(single(tokens).double(), expected, atol=1e-4, rtol=0)
    wq = adapted.layers[0].attention["wq"]
    assert isinstance(wq, TorchAdapted) and adapted.weights["layers.0.attention.wq.weight"] is wq


def test_in_half_precision_a_merge_is_rounded_once():
    model = mn.Mistral(CONFIG, random_model(CONFIG).weights, dtype="float16")
    adapter = random_adapter(mn, CONFIG, dtype="float32")
    merged, name = mn.merge(model, adapter), "layers.0.feed_forward.w1"
    a, b = (adapter.weights[f"{name}.lora_{x}.weight"] for x in "AB")
    exact = model.weights[f"{name}.weight"].astype("f8") + 5 / 3 * (b.astype("f8") @ a)
    assert merged.dtype == np.float16
    np.testing.assert_allclose(merged.weights[f"{name}.weight"], exact, rtol=2**-11, atol=1e-6)


def test_linear_takes_it():
    rng = np.random.default_rng(0)
    x, weight, a, b, scale = arguments(rng)
    matrix = Adapted(weight, a, b, scale)
    np.testing.assert_array_equal(linear(x, matrix), lora(x, weight, a, b, scale))
    with pytest.raises(TypeError):
        x @ matrix


# What is refused


@TWINS
@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"rank": 0}, "rank must be at least 1, not 0"),
        ({"rank": 2.0}, "rank must be a whole number, not 2.0"),
        ({"rank": 2**60}, "rank must be smaller, not 1152921504606846976: the adapter would take"),
        ({"alpha": 0}, "alpha must be finite and above 0, not 0"),
        ({"targets": "wq"}, "targets must be a list out of wq, wk, wv, wo, w1, w2, w3, not 'wq'"),
        ({"targets": ["q_proj"]}, "targets must be out of wq, wk, wv, wo, w1, w2, w3, not 'q_proj"),
        ({"targets": []}, "targets must be one or more of wq, wk, wv, wo, w1, w2, w3, each once"),
        ({"targets": ["wq", "wq"]}, "each once, not ['wq', 'wq']"),
        ({"config": None}, "config must be a ModelConfig"),
        ({"seed": -1}, "seed must be at least 0"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"weights": [1]}, "weights must be a dict of arrays, not list"),
        ({"weights": {}}, "weights lack 'layers.0.attention.wq.lora_A.weight' and 7 more"),
    ],
)
def test_a_bad_adapter(mm, settings, line):
    with pytest.raises((TypeError, ValueError), match=re.escape(line)):
        mm.Adapter(**{"config": CONFIG, "rank": 2} | settings)


@TWINS
@pytest.mark.parametrize(
    ("name", "value", "line"),
    [
        ("lora_A", np.ones((3, 8), "f4"), "wq.lora_A.weight must be (2, 8), not (3, 8)"),
        ("lora_B", np.ones((16, 2), "f8"), "wq.lora_B.weight must be "),
        ("lora_B", np.full((16, 2), np.nan, "f4"), "wq.lora_B.weight must be finite"),
        ("lora_B", np.ones((16, 2), int), "wq.lora_B.weight must be of a float dtype"),
        ("lora_C", np.ones((2, 2), "f4"), "weights must not have 'layers.0.attention.wq.lora_C"),
    ],
)
def test_bad_weights_of_an_adapter(mm, name, value, line):
    shapes = CONFIG.adapter_shapes(2)
    weights = {key: np.ones(shape, "f4") for key, shape in shapes.items()}
    weights[f"layers.0.attention.wq.{name}.weight"] = value
    with pytest.raises((TypeError, ValueError), match=re.escape(line)):
        mm.Adapter(CONFIG, 2, weights=weights)


@TWINS
def test_what_does_not_go_together(mm):
    model = dict(zip((mn, mp), both(CONFIG), strict=True))[mm]
    fits = mm.Adapter(CONFIG, 2, dtype="float64")
    theirs = mm.Adapter(replace(CONFIG, hidden_dim=14), 2, dtype="float64")
    for join in (mm.adapt, mm.merge, mm.unmerge):
        with pytest.raises(TypeError, match="model must be a minimistral"):
            join(model.weights, fits)
        with pytest.raises(TypeError, match="adapter must be a minimistral"):
            join(model, fits.weights)
        with pytest.raises(ValueError, match=r"adapter must be for ModelConfig.*hidden_dim=12"):
            join(model, theirs)
    with pytest.raises(TypeError, match=r"adapter must be .*float64, as the model, not .*float32"):
        mm.adapt(model, mm.Adapter(CONFIG, 2))
    with pytest.raises(ValueError, match=r"must not be adapted already, but layers\.0\.attention"):
        mm.adapt(mm.adapt(model, fits), fits)
    with pytest.raises(TypeError, match=r"must have plain matrices to merge, but layers\.0\.att"):
        mm.merge(mm.adapt(model, fits), fits)


@TWINS
def test_an_adapted_model_is_not_saved_as_if_it_were_plain(mm, tmp_path):
    model = dict(zip((mn, mp), both(CONFIG), strict=True))[mm]
    adapted = mm.adapt(model, mm.Adapter(CONFIG, 2, dtype="float64"))
    with pytest.raises(ValueError, match=r"layers\.0\.attention\.wq\.weight is adapted: merge it"):
        mm.save(adapted, tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_another_device_than_the_models():
    _, model = both(CONFIG)
    with pytest.raises(ValueError, match="adapter must be on cpu, as the model, not meta"):
        mp.adapt(model, mp.Adapter(CONFIG, 2, dtype="float64", device="meta"))


@TWINS
def test_what_is_shown(mm):
    adapter = mm.Adapter(CONFIG, 2, targets=["wv", "wq"])
    assert re.sub("torch.", "", repr(adapter)) == "Adapter(wq, wv: rank 2, alpha 2, float32)"
    assert " at 0x" not in repr(mm.adapt(mm.Mistral(CONFIG), adapter))
