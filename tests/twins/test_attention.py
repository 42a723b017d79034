"""attend: a loop as the specification, an isolation ladder, transformers as the oracle."""

import types
from unittest import mock

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np.attention import masked_softmax
from minimistral.pt import attention

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])


def loop(q, k, v, mask):
    """The specification: one query of one head at a time, in float64."""
    B, H, T, D = q.shape
    out = np.zeros((B, H, T, D))
    for b in range(B):
        for h in range(H):
            g = h // (H // k.shape[1])
            for t in range(T):
                seen = [s for s in range(k.shape[2]) if mask[b, t, s]]
                if not seen:
                    continue
                scores = [float(q[b, h, t] @ k[b, g, s]) / D**0.5 for s in seen]
                weights = np.exp(np.array(scores) - max(scores))
                weights /= weights.sum()
                out[b, h, t] = sum(w * v[b, g, s] for w, s in zip(weights, seen, strict=True))
    return out


def arrays(rng, B, H, G, T, S, D, dtype=np.float64):
    q = rng.standard_normal((B, H, T, D)).astype(dtype)
    k, v = (rng.standard_normal((B, G, S, D)).astype(dtype) for _ in range(2))
    return q, k, v


@TWINS
@given(B=st.integers(1, 3), G=st.integers(1, 3), g=st.integers(1, 3), T=st.integers(1, 7),
       S=st.integers(1, 9), D=st.integers(1, 6), seed=st.integers(0, 999))  # fmt: skip
def test_any_shape_and_any_mask(mm, B, G, g, T, S, D, seed):
    rng = np.random.default_rng(seed)
    q, k, v = arrays(rng, B, G * g, G, T, S, D)
    mask = rng.random((B, T, S)) < 0.6
    np.testing.assert_allclose(mm.attend(q, k, v, mask), loop(q, k, v, mask), atol=1e-12)


@given(B=st.integers(1, 3), G=st.integers(1, 4), g=st.integers(1, 4), T=st.integers(1, 20),
       D=st.integers(1, 16), window=st.one_of(st.none(), st.integers(1, 25)),
       seed=st.integers(0, 999))  # fmt: skip
def test_as_transformers_attends(B, G, g, T, D, window, seed):
    """The oracle's eager attention with its additive mask, in float32."""
    from transformers.models.mistral.modeling_mistral import eager_attention_forward

    q, k, v = arrays(np.random.default_rng(seed), B, G * g, G, T, T, D, np.float32)
    mask = mn.window_mask(np.tile(np.arange(T), (B, 1)), np.tile(np.arange(T), (B, 1)), window)
    additive = torch.zeros(B, 1, T, T).masked_fill(~torch.from_numpy(mask)[:, None], -torch.inf)
    module = types.SimpleNamespace(num_key_value_groups=g, training=False)
    theirs, _ = eager_attention_forward(
        module, *map(torch.from_numpy, (q, k, v)), additive, scaling=D**-0.5
    )
    theirs = theirs.transpose(1, 2).numpy()
    for mm in (mn, mp):
        ours = mm.attend(q, k, v, mask)
        assert str(ours.dtype).endswith("float32")
        np.testing.assert_allclose(ours, theirs, atol=1e-5)


class TestIsolationLadder:
    """One thing at a time: the values, the mask, the scale, the groups."""

    @TWINS
    def test_one_token_returns_its_value(self, mm):
        q, k, v = arrays(np.random.default_rng(0), 2, 6, 3, 1, 1, 4)
        out = np.asarray(mm.attend(q, k, v, np.ones((1, 1), bool)))
        np.testing.assert_array_equal(out, v.repeat(2, axis=1))

    @TWINS
    def test_row_0_sees_only_itself(self, mm):
        q, k, v = arrays(np.random.default_rng(0), 1, 1, 1, 5, 5, 3)
        out = np.asarray(mm.attend(q, k, v, mm.window_mask(range(5), range(5), 3)))
        np.testing.assert_allclose(out[0, 0, 0], v[0, 0, 0], atol=1e-15)
        v[0, 0, 1:] = 1e6
        again = np.asarray(mm.attend(q, k, v, mm.window_mask(range(5), range(5), 3)))
        np.testing.assert_array_equal(out[0, 0, 0], again[0, 0, 0])

    @TWINS
    def test_scores_are_divided_by_the_root_of_head_dim(self, mm):
        q, k = np.full((1, 1, 1, 4), 2.0), np.zeros((1, 1, 2, 4))
        k[0, 0, 0] = np.log(3) / 4  # q @ k = 2 log 3, over the root of 4: log 3
        v = np.zeros((1, 1, 2, 4))
        v[0, 0, 0] = 1.0
        out = np.asarray(mm.attend(q, k, v, np.ones((1, 2), bool)))
        np.testing.assert_allclose(out, 0.75)

    @TWINS
    def test_query_head_h_reads_kv_head_h_over_g(self, mm):
        v = np.arange(3.0).reshape(1, 3, 1, 1)
        out = mm.attend(np.ones((1, 6, 1, 1)), np.ones((1, 3, 1, 1)), v, np.ones((1, 1), bool))
        assert np.asarray(out).ravel().tolist() == [0, 0, 1, 1, 2, 2]

    @TWINS
    def test_a_query_that_sees_nothing_gets_zeros(self, mm):
        q, k, v = arrays(np.random.default_rng(0), 1, 2, 1, 2, 3, 4)
        out = np.asarray(mm.attend(q, k, v, np.array([[False] * 3, [True] * 3])))
        assert not out[:, :, 0].any() and out[:, :, 1].all()

    @TWINS
    def test_large_scores_do_not_overflow(self, mm):
        q, k, v = arrays(np.random.default_rng(0), 1, 1, 1, 3, 3, 4, np.float32)
        out = np.asarray(mm.attend(q * 1e4, k * 1e4, v, np.ones((3, 3), bool)))
        assert np.isfinite(out).all()

    @TWINS
    def test_hidden_keys_have_no_weight_whatever_they_hold(self, mm):
        q, k, v = arrays(np.random.default_rng(0), 1, 1, 1, 1, 3, 4)
        mask = np.array([[True, True, False]])
        out = mm.attend(q, k, v, mask)
        k[:, :, 2], v[:, :, 2] = 1e300, -1e300
        np.testing.assert_array_equal(mm.attend(q, k, v, mask), out)


@TWINS
def test_slot_order_does_not_change_the_result(mm):
    rng = np.random.default_rng(0)
    q, k, v = arrays(rng, 1, 4, 2, 6, 9, 8)
    q_pos, k_pos, order = range(3, 9), np.arange(9), rng.permutation(9)
    straight = mm.attend(q, k, v, mm.window_mask(q_pos, k_pos, 4))
    mixed = mm.attend(q, k[:, :, order], v[:, :, order], mm.window_mask(q_pos, k_pos[order], 4))
    np.testing.assert_allclose(mixed, straight, atol=1e-12)


@TWINS
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_the_dtype_stays(mm, dtype):
    q, k, v = arrays(np.random.default_rng(0), 1, 2, 1, 3, 3, 4, dtype)
    assert str(mm.attend(q, k, v, np.ones((3, 3), bool)).dtype).endswith(dtype)


@pytest.mark.parametrize("n_keys", [7, 5000])
def test_half_precision_is_rounded_once(n_keys):
    """The softmax is computed in float32: each weight is the exact one, rounded to float16."""
    scores = (4 * np.random.default_rng(0).standard_normal((3, n_keys))).astype(np.float16)
    weights = masked_softmax(scores, np.ones_like(scores, bool))
    exact = np.exp(scores.astype(np.float64))
    exact /= exact.sum(axis=-1, keepdims=True)
    assert weights.dtype == np.float16
    assert (np.abs(weights - exact) <= 0.501 * np.spacing(weights)).all()


def test_a_sum_beyond_half_precision():
    """70,000 keys of one score: their exponentials sum to more than float16 can hold."""
    weights = masked_softmax(np.zeros((1, 70_000), np.float16), np.True_)
    np.testing.assert_allclose(weights.astype(float), 1 / 70_000, rtol=3e-3)


def test_the_inputs_stay_as_they_are():
    q, k, v = arrays(np.random.default_rng(0), 1, 2, 1, 3, 3, 4)
    before = [x.copy() for x in (q, k, v)]
    mn.attend(q, k, v, np.ones((3, 3), bool))
    for x, y in zip((q, k, v), before, strict=True):
        np.testing.assert_array_equal(x, y)


def test_no_key_is_copied_for_the_query_heads_that_share_it():
    """At 7B's 32 heads on 8, a repeated k alone would be 4 times k."""
    import tracemalloc

    q, k, v = arrays(np.random.default_rng(0), 1, 32, 8, 1, 4096, 32, np.float32)
    mask = np.ones((1, 4096), bool)
    tracemalloc.start()
    mn.attend(q, k, v, mask)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < k.nbytes


def _bad(name, **changes):
    good = {"q": np.ones((2, 4, 3, 8)), "k": np.ones((2, 2, 5, 8)), "v": np.ones((2, 2, 5, 8)),
            "mask": np.ones((3, 5), bool)}  # fmt: skip
    return pytest.param({**good, **changes}, name, id="-".join([name, *changes]))


@TWINS
@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        _bad("mask", mask=np.ones((3, 5))),
        _bad("mask", mask=np.ones((5, 3), bool)),
        _bad("mask", mask=np.ones((1, 3, 5), bool)),
        _bad("mask", mask=np.ones((2, 4, 3, 5), bool)),
        _bad("dtype", q=np.ones((2, 4, 3, 8), np.float32)),
        _bad("dtype", v=np.ones((2, 2, 5, 8), int)),
        _bad("q must be", q=np.ones((4, 3, 8))),
        _bad("k and v", v=np.ones((2, 2, 6, 8))),
        _bad("k must match", k=np.ones((2, 2, 5, 4)), v=np.ones((2, 2, 5, 4))),
        _bad("k must match", k=np.ones((1, 2, 5, 8)), v=np.ones((1, 2, 5, 8))),
        _bad("heads", k=np.ones((2, 3, 5, 8)), v=np.ones((2, 3, 5, 8))),
        _bad("at least one key", k=np.ones((2, 2, 0, 8)), v=np.ones((2, 2, 0, 8)),
             mask=np.ones((3, 0), bool)),
    ],
)  # fmt: skip
def test_a_bad_argument_is_named(mm, arguments, named):
    with pytest.raises((TypeError, ValueError), match=named):
        mm.attend(**arguments)


@given(B=st.integers(1, 3), G=st.integers(1, 3), g=st.integers(1, 3), T=st.integers(1, 4),
       S=st.integers(1, 6), seed=st.integers(0, 99))  # fmt: skip
def test_the_heads_of_a_group_as_queries_of_one_head(B, G, g, T, S, seed):
    """As a GPU attends, whatever the mask."""
    rng = np.random.default_rng(seed)
    q, k, v = (rng.standard_normal((B, n, m, 4)) for n, m in ((G * g, T), (G, S), (G, S)))
    mask = rng.standard_normal((B, T, S)) > 0
    with mock.patch.object(attention, "GROUPED", ("cpu",)):
        found = mp.attend(q, k, v, mask)
    np.testing.assert_allclose(found, mn.attend(q, k, v, mask), atol=1e-12)
