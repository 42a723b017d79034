"""Gradients by hand: against finite differences, and against torch's autograd."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np import backward
from minimistral.np.attention import masked_softmax
from minimistral.np.feedforward import feed_forward, silu
from minimistral.np.gradients import cross_entropy
from minimistral.np.layer import layer
from minimistral.np.linear import linear
from minimistral.np.mask import query_blocks
from minimistral.np.norm import rms_norm
from minimistral.np.rope import apply_rope, rope_tables
from minimistral.pt.gradients import cross_entropy as torch_cross_entropy

SEEDS = given(seed=st.integers(0, 2**32 - 1))


def finite_differences(function, arrays, dy, step=1e-6):
    """The gradient of (function(*arrays) * dy).sum(), one number at a time."""
    gradients = []
    for n, array in enumerate(arrays):
        gradient = np.zeros_like(array)
        for index in np.ndindex(array.shape):
            sides = []
            for sign in (1, -1):
                moved = [a.copy() for a in arrays]
                moved[n][index] += sign * step
                sides.append((function(*moved) * dy).sum())
            gradient[index] = (sides[0] - sides[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


def autograd(function, arrays, dy):
    """The same from torch, for a function of tensors."""
    tensors = [torch.from_numpy(a).requires_grad_() for a in arrays]
    return torch.autograd.grad((function(*tensors) * torch.from_numpy(dy)).sum(), tensors)


def agree(function, ours, arrays, dy, twin=None):
    """Each gradient equals finite differences, and autograd of the twin to 1e-10."""
    ours = ours if isinstance(ours, tuple) else (ours,)
    for mine, theirs in zip(ours, finite_differences(function, arrays, dy), strict=True):
        assert mine.shape == theirs.shape
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)
    if twin is not None:
        for mine, theirs in zip(ours, autograd(twin, arrays, dy), strict=True):
            np.testing.assert_allclose(mine, theirs.numpy(), rtol=1e-10, atol=1e-10)


def normal(seed, *shapes):
    rng = np.random.default_rng(seed)
    return [rng.standard_normal(shape) for shape in shapes]


@settings(max_examples=10)
@SEEDS
def test_linear(seed):
    x, w, dy = normal(seed, (2, 3, 4), (5, 4), (2, 3, 5))
    agree(linear, backward.linear_backward(x, w, dy), (x, w), dy, torch.nn.functional.linear)


@settings(max_examples=10)
@SEEDS
def test_rms_norm(seed):
    x, w, dy = normal(seed, (2, 3, 5), (5,), (2, 3, 5))
    agree(
        lambda x, w: rms_norm(x, w, 0.1), backward.rms_norm_backward(x, w, 0.1, dy), (x, w), dy,
        lambda x, w: torch.nn.functional.rms_norm(x, (5,), w, 0.1),
    )  # fmt: skip


@settings(max_examples=10)
@SEEDS
def test_apply_rope(seed):
    x, dy = normal(seed, (2, 3, 4, 6), (2, 3, 4, 6))
    rope = rope_tables(np.array([[3, 4, 5, 6], [0, 1, 2, 3]]), 6, 100.0, "float64")
    theirs = mp.rope_tables(np.array([[3, 4, 5, 6], [0, 1, 2, 3]]), 6, 100.0, "float64")
    agree(
        lambda x: apply_rope(x, *rope), backward.apply_rope_backward(*rope, dy), (x,), dy,
        lambda x: mp.apply_rope(x, *theirs),
    )  # fmt: skip


@settings(max_examples=10)
@SEEDS
def test_silu(seed):
    x, dy = normal(seed, (9,), (9,))
    agree(silu, backward.silu_backward(x * 3, dy), (x * 3,), dy, torch.nn.functional.silu)


@settings(max_examples=10)
@SEEDS
def test_feed_forward(seed):
    x, w1, w2, w3, dy = normal(seed, (2, 3, 4), (5, 4), (4, 5), (5, 4), (2, 3, 4))
    ours = backward.feed_forward_backward(x, w1, w2, w3, dy)
    agree(feed_forward, ours, (x, w1, w2, w3), dy, mp.feed_forward)


@settings(max_examples=10)
@SEEDS
def test_masked_softmax(seed):
    scores, dy = normal(seed, (3, 6), (3, 6))
    mask = np.random.default_rng(seed).random((3, 6)) < 0.6
    mask[1] = False
    ours = backward.masked_softmax_backward(masked_softmax(scores, mask), dy)
    agree(lambda s: masked_softmax(s, mask), ours, (scores,), dy)
    assert not ours[~mask].any()


@settings(max_examples=20)
@given(B=st.integers(1, 2), G=st.integers(1, 2), g=st.integers(1, 3), T=st.integers(1, 4),
       S=st.integers(1, 4), D=st.integers(1, 3), seed=st.integers(0, 999))  # fmt: skip
def test_attend(B, G, g, T, S, D, seed):
    q, k, v, dy = normal(seed, (B, G * g, T, D), (B, G, S, D), (B, G, S, D), (B, G * g, T, D))
    mask = np.random.default_rng(seed).random((B, T, S)) < 0.6
    ours = backward.attend_backward(q, k, v, mask, dy)
    agree(
        lambda q, k, v: mn.attend(q, k, v, mask), ours, (q, k, v), dy,
        lambda q, k, v: mp.attend(q, k, v, mask),
    )  # fmt: skip


@settings(max_examples=30)
@given(T=st.integers(1, 40), window=st.one_of(st.none(), st.integers(1, 45)),
       size=st.integers(1, 45), seed=st.integers(0, 999))  # fmt: skip
def test_attend_in_blocks_of_queries(T, window, size, seed):
    q, k, v, dy = normal(seed, (2, 4, T, 2), (2, 2, T, 2), (2, 2, T, 2), (2, 4, T, 2))
    positions = np.tile(np.arange(T), (2, 1))
    blocks = query_blocks(positions, positions, window, size)
    whole = mn.window_mask(positions, positions, window)
    ours = backward.attend_backward(q, k, v, blocks, dy)
    for mine, theirs in zip(ours, backward.attend_backward(q, k, v, whole, dy), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=0, atol=1e-12)


def test_no_gradient_passes_a_mask():
    """One layer: of the last token's loss, a token W or more back gets none."""
    W, T = 3, 9
    q, k, v, dy = normal(0, (1, 2, T, 2), (1, 1, T, 2), (1, 1, T, 2), (1, 2, T, 2))
    dy[:, :, :-1] = 0
    _, dk, dv = backward.attend_backward(q, k, v, mn.window_mask([range(T)], [range(T)], W), dy)
    for gradient in (dk, dv):
        assert gradient[0, 0].any(axis=-1).tolist() == [False] * (T - W) + [True] * W


def test_keys_of_a_group_get_the_sum_over_its_query_heads():
    q, k, v, dy = normal(1, (1, 6, 4, 2), (1, 2, 4, 2), (1, 2, 4, 2), (1, 6, 4, 2))
    mask = np.tri(4, dtype=bool)[None]
    _, *grouped = backward.attend_backward(q, k, v, mask, dy)
    k, v = (np.repeat(a, 3, axis=1) for a in (k, v))  # a key/value head for each query head
    _, *single = backward.attend_backward(q, k, v, mask, dy)
    for ours, theirs in zip(grouped, single, strict=True):
        np.testing.assert_allclose(ours, theirs.reshape(1, 2, 3, 4, 2).sum(axis=2), atol=1e-14)


@settings(max_examples=5)
@SEEDS
def test_cross_entropy(seed):
    (logits,) = normal(seed, (2, 3, 5))
    targets = np.array([[0, 4, -1], [2, -1, 1]])
    loss, dlogits = cross_entropy(logits * 9, targets)
    (theirs,) = finite_differences(lambda x: cross_entropy(x, targets)[0], [logits * 9], 1.0)
    np.testing.assert_allclose(dlogits, theirs, rtol=1e-4, atol=1e-8)
    flat = torch.from_numpy(logits * 9).requires_grad_()
    expected = torch_cross_entropy(flat, torch.from_numpy(targets))
    (theirs,) = torch.autograd.grad(expected, [flat])
    assert abs(loss - expected.item()) < 1e-12
    np.testing.assert_allclose(dlogits, theirs.numpy(), rtol=0, atol=1e-14)


def test_the_gradient_of_float32_is_float32():
    _, dlogits = cross_entropy(np.zeros((1, 1, 2), np.float32), np.array([[1]]))
    assert dlogits.dtype == np.float32


def test_large_logits_have_a_loss():
    loss, dlogits = cross_entropy(np.array([[[0.0, 1e5]]]), np.array([[0]]))
    assert loss == 1e5 and dlogits.tolist() == [[[-1.0, 1.0]]]


def small_config(rng):
    G, g = int(rng.integers(1, 4)), int(rng.integers(1, 4))
    return ModelConfig(
        dim=int(rng.integers(2, 20)), n_layers=int(rng.integers(1, 4)),
        head_dim=2 * int(rng.integers(1, 4)), hidden_dim=int(rng.integers(1, 20)), n_heads=G * g,
        n_kv_heads=G, window_size=[None, 1, 2, 5, 40][rng.integers(5)], context_len=64,
        vocab_size=int(rng.integers(3, 30)),
    )  # fmt: skip


def pairs(rng, config, longest=24):
    shape = rng.integers(1, 4), rng.integers(1, longest)
    targets = rng.integers(-1, config.vocab_size, shape)
    targets[0, 0] = 0  # one must count
    return rng.integers(0, config.vocab_size, shape), targets


@pytest.mark.parametrize("seed", range(50))
def test_the_whole_model_as_autograd_has_it(seed):
    """Random configs: groups, windows, none, texts longer than two windows."""
    rng = np.random.default_rng(seed)
    config = small_config(rng)
    ours = mn.Mistral(config, seed=seed, dtype="float64")
    tokens, targets = pairs(rng, config, 150 if seed % 10 == 0 else 24)
    loss, gradients = mn.loss_and_gradients(ours, tokens, targets)
    theirs = mp.Mistral(config, {n: torch.from_numpy(w) for n, w in ours.weights.items()})
    expected, autograds = mp.loss_and_gradients(theirs, tokens, targets)
    assert abs(loss - expected) < 1e-10
    assert list(gradients) == list(autograds) == list(ours.weights)
    for name, gradient in gradients.items():
        assert gradient.shape == ours.weights[name].shape
        np.testing.assert_allclose(gradient, autograds[name].numpy(), rtol=1e-10, atol=1e-10)


def test_the_gradients_of_a_layer_by_finite_differences():
    rng = np.random.default_rng(3)
    config = ModelConfig(dim=3, n_layers=1, head_dim=2, hidden_dim=3, n_heads=2, n_kv_heads=1,
                         window_size=2, context_len=8, vocab_size=5)  # fmt: skip
    w = mn.Mistral(config, dtype="float64").layers[0]
    x, dy = normal(4, (1, 4, 3), (1, 4, 3))
    w = {name: rng.standard_normal(weight.shape) for name, weight in w.items()}
    mask = mn.window_mask([range(4)], [range(4)], 2)
    rope = rope_tables(np.arange(4), 2, 1e4, "float64")

    def run(x, *weights):
        return layer(config, dict(zip(w, weights, strict=True)), x, rope, mask, lambda k, v: (k, v))

    dx, grads = backward.layer_backward(config, w, x, rope, mask, dy)
    ours = (dx, *(grads[name] for name in w))
    for mine, theirs in zip(ours, finite_differences(run, (x, *w.values()), dy), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
@pytest.mark.parametrize("seed", range(10))
def test_micro_batches_give_the_whole_batch(mm, seed):
    """However many targets of each row count, of some rows none."""
    rng = np.random.default_rng(seed)
    config = small_config(rng)
    model = mm.Mistral(config, seed=seed, dtype="float64")
    shape = 4, int(rng.integers(1, 24))
    tokens, targets = (rng.integers(0, config.vocab_size, shape) for _ in range(2))
    targets[1:, 1:][rng.random((3, shape[1] - 1)) < 0.5] = -1
    targets[1 + seed % 3] = -1
    loss, whole = mm.loss_and_gradients(model, tokens, targets)
    for micro_batch in (1, 2, 3, 4):
        same, parts = mm.loss_and_gradients(model, tokens, targets, micro_batch)
        assert abs(loss - same) < 1e-12
        for name, gradient in whole.items():
            np.testing.assert_allclose(parts[name], gradient, rtol=0, atol=1e-12)


def test_float32_is_near_float64():
    rng = np.random.default_rng(0)
    config = ModelConfig.tiny()
    tokens, targets = pairs(rng, config)
    single = mn.Mistral(config)
    double = mn.Mistral(config, dict(single.weights), dtype="float64")
    _, ours = mn.loss_and_gradients(single, tokens, targets)
    _, theirs = mn.loss_and_gradients(double, tokens, targets)
    for name, gradient in ours.items():
        assert gradient.dtype == np.float32
        assert abs(gradient - theirs[name]).max() <= 1e-4 * abs(theirs[name]).max()


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
class TestBadInput:
    @pytest.mark.parametrize(
        ("tokens", "targets", "error", "told"),
        [
            ([[1, 2]], [[1]], ValueError, r"targets must be \(1, 2\), not \(1, 1\)"),
            ([[1, 2]], [[1, 768]], ValueError, "targets must be from 0 to vocab_size - 1 = 767"),
            ([[1, 2]], [[1, -2]], ValueError, "not -2 to 1"),
            ([[1, 2]], [[-1, -1]], ValueError, "some must count, not -1 to -1"),
            ([[1, 2]], [[1.0, 2.0]], TypeError, "targets must be integers"),
            ([[1, 900]], [[1, 2]], ValueError, "tokens must be from 0"),
            ([1, 2], [1, 2], ValueError, r"tokens must be \(B, T\)"),
        ],
    )
    def test_is_named(self, mm, tokens, targets, error, told):
        with pytest.raises(error, match=told):
            mm.loss_and_gradients(mm.Mistral(ModelConfig.tiny()), tokens, targets)

    @pytest.mark.parametrize("micro_batch", [0, -1, 1.5, "2"])
    def test_micro_batch(self, mm, micro_batch):
        with pytest.raises((TypeError, ValueError), match="micro_batch must be"):
            mm.loss_and_gradients(mm.Mistral(ModelConfig.tiny()), [[1]], [[2]], micro_batch)

    def test_another_model(self, mm):
        other = mp if mm is mn else mn
        with pytest.raises(TypeError, match="model must be a minimistral"):
            mm.loss_and_gradients(other.Mistral(ModelConfig.tiny()), [[1]], [[2]])

    def test_half_precision(self, mm):
        model = mm.Mistral(ModelConfig.tiny(), dtype="float16")
        with pytest.raises(TypeError, match=r"float32 or float64.*tok_embeddings.weight is .*16"):
            mm.loss_and_gradients(model, [[1]], [[2]])


def test_nothing_is_left_in_a_torch_model():
    model = mp.Mistral(ModelConfig.tiny())
    with torch.no_grad():
        mp.loss_and_gradients(model, [[1, 2]], [[2, 3]])
    assert all(w.grad is None and not w.requires_grad for w in model.weights.values())
