"""rms_norm, apply_rope and feed_forward: loops as the specification, transformers as the oracle."""

import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimistral import np as mn
from minimistral import pt as mp

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
sizes = st.integers(1, 6)
seeds = st.integers(0, 999)


def random(seed, *shapes, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape).astype(dtype) for shape in shapes]


def halves(x):
    """Pairs (2j, 2j + 1) moved to (j, j + D / 2), as Hugging Face has them."""
    return np.concatenate([x[..., 0::2], x[..., 1::2]], axis=-1)


# rms_norm


@TWINS
@given(B=sizes, T=sizes, E=sizes, eps=st.sampled_from([1e-6, 1e-5, 0.1]), seed=seeds)
def test_rms_norm_is_the_loop(mm, B, T, E, eps, seed):
    x, weight = random(seed, (B, T, E), (E,))
    expected = np.zeros_like(x)
    for b in range(B):
        for t in range(T):
            root = math.sqrt(sum(value**2 for value in x[b, t]) / E + eps)
            expected[b, t] = [w * value / root for w, value in zip(weight, x[b, t], strict=True)]
    np.testing.assert_allclose(mm.rms_norm(x, weight, eps), expected, atol=1e-12)


@given(T=sizes, E=st.integers(1, 40), eps=st.sampled_from([1e-6, 1e-5, 0.1]), seed=seeds)
@torch.no_grad()
def test_rms_norm_as_transformers_has_it(T, E, eps, seed):
    from transformers.models.mistral.modeling_mistral import MistralRMSNorm

    x, weight = random(seed, (2, T, E), (E,), dtype=np.float32)
    oracle = MistralRMSNorm(E, eps)
    oracle.weight.copy_(torch.from_numpy(weight))
    for mm in (mn, mp):
        ours = mm.rms_norm(x, weight, eps)
        np.testing.assert_allclose(ours, oracle(torch.from_numpy(x)).numpy(), atol=1e-5)


@TWINS
def test_rms_norm_ignores_scale(mm):
    x, weight = random(0, (3, 8), (8,))
    np.testing.assert_allclose(
        mm.rms_norm(1e6 * x, weight, 1e-12), mm.rms_norm(x, weight, 1e-12), atol=1e-6
    )


@TWINS
def test_rms_norm_in_half_precision_does_not_overflow(mm):
    """300 squared is more than float16 can hold."""
    ones, weight = np.ones(4, np.float16), np.arange(1, 5, dtype=np.float16)
    np.testing.assert_array_equal(mm.rms_norm(300 * ones, weight, 1e-5), weight)


# apply_rope


def rotate(mm, x, positions, theta):
    return mm.apply_rope(x, *mm.rope_tables(positions, x.shape[-1], theta, str(x.dtype)))


@TWINS
@given(B=sizes, H=sizes, T=sizes, half=sizes, theta=st.sampled_from([1e4, 1e6]), seed=seeds)
def test_apply_rope_turns_each_pair(mm, B, H, T, half, theta, seed):
    """As complex numbers: each pair times exp(i * angle)."""
    (x,) = random(seed, (B, H, T, 2 * half))
    positions = np.random.default_rng(seed).integers(0, 500, (B, T))
    found = np.asarray(rotate(mm, x, positions, theta))
    for b in range(B):
        for t in range(T):
            for j in range(half):
                angle = positions[b, t] * theta ** (-2 * j / (2 * half))
                pair = (x[b, :, t, 2 * j] + 1j * x[b, :, t, 2 * j + 1]) * np.exp(1j * angle)
                np.testing.assert_allclose(found[b, :, t, 2 * j], pair.real, atol=1e-9)
                np.testing.assert_allclose(found[b, :, t, 2 * j + 1], pair.imag, atol=1e-9)


@given(T=st.integers(1, 40), half=st.integers(1, 32), start=st.integers(0, 200),
       theta=st.sampled_from([1e4, 1e6]), seed=seeds)  # fmt: skip
@torch.no_grad()
def test_apply_rope_as_transformers_has_it(T, half, start, theta, seed):
    from transformers import MistralConfig
    from transformers.models.mistral.modeling_mistral import (
        MistralRotaryEmbedding,
        apply_rotary_pos_emb,
    )

    q, k = random(seed, (2, 3, T, 2 * half), (2, 1, T, 2 * half), dtype=np.float32)
    positions = np.arange(start, start + T)
    config = MistralConfig(
        hidden_size=2 * half, num_attention_heads=1, head_dim=2 * half,
        rope_parameters={"rope_type": "default", "rope_theta": theta},
    )  # fmt: skip
    table = MistralRotaryEmbedding(config)(torch.from_numpy(q), torch.from_numpy(positions)[None])
    theirs = apply_rotary_pos_emb(*(torch.from_numpy(halves(x)) for x in (q, k)), *table)
    atol = 1e-5 + 4e-7 * positions.max()  # float32 knows an angle to 1e-7 of its size
    for mm in (mn, mp):
        for x, oracle in zip((q, k), theirs, strict=True):
            ours = halves(np.asarray(rotate(mm, x, positions, theta)))
            np.testing.assert_allclose(ours, oracle.numpy(), atol=atol)


@TWINS
@given(i=st.integers(0, 300), j=st.integers(0, 300), shift=st.integers(0, 300), seed=seeds)
def test_a_score_depends_on_the_distance_only(mm, i, j, shift, seed):
    q, k = random(seed, (1, 1, 1, 8), (1, 1, 1, 8))

    def score(q_pos, k_pos):
        return float((rotate(mm, q, [q_pos], 1e4) * rotate(mm, k, [k_pos], 1e4)).sum())

    assert score(i, j) == pytest.approx(score(i + shift, j + shift), abs=1e-9)


@TWINS
def test_apply_rope_keeps_lengths_and_position_0(mm):
    (x,) = random(0, (2, 3, 5, 8))
    turned = np.asarray(rotate(mm, x, range(5), 1e4))
    np.testing.assert_array_equal(turned[:, :, 0], x[:, :, 0])
    lengths = (x**2).sum(-1)
    np.testing.assert_allclose((turned**2).sum(-1), lengths, atol=1e-12)
    assert not np.allclose(turned[:, :, 1:], x[:, :, 1:], atol=0.1)


# feed_forward


@TWINS
@given(T=sizes, E=sizes, F=sizes, seed=seeds)
def test_feed_forward_is_the_loop(mm, T, E, F, seed):
    x, w1, w2, w3 = random(seed, (T, E), (F, E), (E, F), (F, E))
    expected = np.zeros((T, E))
    for t in range(T):
        for f in range(F):
            gate = sum(w1[f, e] * x[t, e] for e in range(E))
            passed = sum(w3[f, e] * x[t, e] for e in range(E))
            hidden = gate / (1 + math.exp(-gate)) * passed
            expected[t] += [w2[e, f] * hidden for e in range(E)]
    np.testing.assert_allclose(mm.feed_forward(x, w1, w2, w3), expected, atol=1e-9)


@given(T=sizes, E=st.integers(1, 20), F=st.integers(1, 40), seed=seeds)
@torch.no_grad()
def test_feed_forward_as_transformers_has_it(T, E, F, seed):
    from transformers import MistralConfig
    from transformers.models.mistral.modeling_mistral import MistralMLP

    x, w1, w2, w3 = random(seed, (2, T, E), (F, E), (E, F), (F, E), dtype=np.float32)
    oracle = MistralMLP(MistralConfig(hidden_size=E, intermediate_size=F))
    names = {"gate_proj.weight": w1, "down_proj.weight": w2, "up_proj.weight": w3}
    oracle.load_state_dict({name: torch.from_numpy(weight) for name, weight in names.items()})
    theirs = oracle(torch.from_numpy(x)).numpy()
    for mm in (mn, mp):
        ours = mm.feed_forward(x, w1, w2, w3)
        np.testing.assert_allclose(ours, theirs, rtol=1e-5, atol=1e-4)


@TWINS
def test_feed_forward_does_not_overflow(mm):
    one = np.ones((1, 1), np.float32)
    for value in (-1e4, 1e4):
        out = np.asarray(mm.feed_forward(np.full((1,), value, np.float32), one, one, one))
        assert out == (0 if value < 0 else pytest.approx(1e8))


# all four


def arguments(name, dtype=np.float64):
    """Good arguments of each function."""
    x, weight, w1, w2, w3 = random(0, (2, 3, 4), (4,), (6, 4), (4, 6), (6, 4), dtype=dtype)
    table = np.ones((1, 3, 2), np.float32)
    return {
        "rms_norm": {"x": x, "weight": weight, "eps": 1e-5},
        "rope_tables": {"positions": np.arange(3), "head_dim": 4, "theta": 1e4, "dtype": dtype},
        "apply_rope": {"x": x[:, None], "cos": table, "sin": table},
        "feed_forward": {"x": x, "w1": w1, "w2": w2, "w3": w3},
    }[name]


NAMES = pytest.mark.parametrize("name", ["rms_norm", "apply_rope", "feed_forward"])


@TWINS
@NAMES
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(mm, name, dtype):
    assert str(getattr(mm, name)(**arguments(name, dtype)).dtype).endswith(dtype)


@NAMES
def test_the_inputs_stay_as_they_are(name):
    given_arguments = arguments(name)
    getattr(mn, name)(**given_arguments)
    for key, value in arguments(name).items():
        np.testing.assert_array_equal(given_arguments[key], value)


BAD = [
    ("rms_norm", {"x": np.ones((2, 4), int)}, TypeError, "x must be of a float"),
    ("rms_norm", {"x": np.float64(1)}, ValueError, "x must be"),
    ("rms_norm", {"weight": np.ones(5)}, ValueError, "weight"),
    ("rms_norm", {"weight": np.ones((1, 4))}, ValueError, "weight"),
    ("rms_norm", {"eps": 0}, ValueError, "eps"),
    ("rms_norm", {"eps": float("nan")}, ValueError, "eps"),
    ("rms_norm", {"eps": "1e-5"}, TypeError, "eps"),
    ("rms_norm", {"eps": None}, TypeError, "eps"),
    ("rope_tables", {"theta": "1e4"}, TypeError, "theta"),
    ("rope_tables", {"theta": float("inf")}, ValueError, "theta"),
    ("rope_tables", {"theta": 0}, ValueError, "theta"),
    ("rope_tables", {"positions": np.arange(3.0)}, TypeError, "positions"),
    ("rope_tables", {"positions": np.zeros((1, 1, 3), int)}, ValueError, "positions"),
    ("rope_tables", {"head_dim": 5}, ValueError, "head_dim must be even.*5"),
    ("rope_tables", {"head_dim": 4.0}, TypeError, "head_dim"),
    ("rope_tables", {"dtype": "int64"}, ValueError, "dtype"),
    ("apply_rope", {"x": np.ones((2, 1, 3, 4), int)}, TypeError, "x must be of a float"),
    ("apply_rope", {"x": np.ones((2, 1, 3, 5))}, ValueError, "D even"),
    ("apply_rope", {"x": np.ones((2, 3, 4))}, ValueError, "x must be"),
    ("apply_rope", {"cos": np.ones((1, 4, 2), np.float32)}, ValueError, "cos must be"),
    ("apply_rope", {"sin": np.ones((3, 2), np.float32)}, ValueError, "sin must be"),
    ("apply_rope", {"cos": np.ones((1, 3, 2), int)}, TypeError, "cos and sin"),
    ("feed_forward", {"x": np.ones((2, 4), np.float32)}, TypeError, "dtype"),
    ("feed_forward", {"x": np.float64(1)}, ValueError, "x must be"),
    ("feed_forward", {"w1": np.ones((6, 5))}, ValueError, "w1"),
    ("feed_forward", {"w1": np.ones(4)}, ValueError, "w1"),
    ("feed_forward", {"w2": np.ones((6, 4))}, ValueError, "w2"),
    ("feed_forward", {"w3": np.ones((4, 6))}, ValueError, "w3"),
]


@TWINS
@pytest.mark.parametrize(("name", "changes", "error", "named"), BAD)
def test_a_bad_argument_is_named(mm, name, changes, error, named):
    with pytest.raises(error, match=named):
        getattr(mm, name)(**{**arguments(name), **changes})
