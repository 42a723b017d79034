"""AdamW, clipping and the learning rate in NumPy: as torch has them, step by step."""

import numpy as np
import pytest
import torch

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np.optimizer import AdamW, clip_gradients, cosine_rate
from minimistral.training.optimizer import make_optimizer
from minimistral.training.settings import Settings


def random_arrays(seed, scale=1.0):
    rng = np.random.default_rng(seed)
    return {"a": scale * rng.standard_normal((3, 4)), "b": scale * rng.standard_normal(5)}


@pytest.mark.parametrize("decay", [0.0, 0.1, 3.0])
def test_adamw_is_torch_s(decay):
    ours, rng = random_arrays(0), np.random.default_rng(1)
    theirs = {name: torch.from_numpy(w.copy()).requires_grad_() for name, w in ours.items()}
    settings = Settings(weight_decay=decay)
    optimizer = AdamW(ours, weight_decay=decay)
    holder = torch.nn.ParameterDict(theirs)
    twin = make_optimizer(holder, settings)
    for step in range(30):
        rate = 0.1 / (step + 1)
        gradients = {name: rng.standard_normal(w.shape) for name, w in ours.items()}
        gradients["a"][0] = 0  # a token that never came
        for name, weight in holder.items():
            weight.grad = torch.from_numpy(gradients[name].copy())
        for group in twin.param_groups:
            group["lr"] = rate
        optimizer.update(gradients, rate)
        twin.step()
        for name, weight in ours.items():
            np.testing.assert_allclose(weight, holder[name].detach(), rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("largest", [0.1, 1.0, 1e9])
def test_clipping_is_torch_s(largest):
    ours = random_arrays(2, 10.0)
    theirs = [torch.nn.Parameter(torch.zeros(g.shape, dtype=torch.float64)) for g in ours.values()]
    for weight, gradient in zip(theirs, ours.values(), strict=True):
        weight.grad = torch.from_numpy(gradient.copy())
    expected = torch.nn.utils.clip_grad_norm_(theirs, largest)
    assert clip_gradients(ours, largest) == pytest.approx(expected.item(), rel=1e-14)
    for weight, gradient in zip(theirs, ours.values(), strict=True):
        np.testing.assert_allclose(gradient, weight.grad, rtol=2e-6)  # torch adds 1e-6 to the norm


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_a_length_that_is_not_finite_changes_nothing(bad):
    gradients = {"a": np.array([1.0, bad])}
    assert not np.isfinite(clip_gradients(gradients, 1.0))
    assert gradients["a"][0] == 1.0


def test_twenty_steps_in_numpy_and_in_torch_give_the_same_weights():
    """In float64, from the same start, with clipping, warm-up, decay and two micro-batches."""
    config = ModelConfig(dim=16, n_layers=2, head_dim=4, hidden_dim=24, n_heads=4, n_kv_heads=2,
                         window_size=5, context_len=64, vocab_size=29)  # fmt: skip
    start, steps = mn.Mistral(config, dtype="float64"), 20
    weights = {name: w.copy() for name, w in start.weights.items()}
    ours = mn.Mistral(config, weights)
    theirs = mp.Mistral(config, {name: torch.from_numpy(w.copy()) for name, w in weights.items()})
    theirs.requires_grad_()
    optimizer, twin = AdamW(weights), make_optimizer(theirs, Settings())
    rng, losses = np.random.default_rng(0), []
    for step in range(steps):
        tokens = rng.integers(0, 29, (4, 13))
        tokens[:, 1::2] = (tokens[:, 0::2][:, :6] * 2) % 29  # something to learn
        tokens, targets = tokens[:, :-1], tokens[:, 1:]
        rate = cosine_rate(step, steps, 0.03, warmup=3)

        loss, gradients = mn.loss_and_gradients(ours, tokens, targets, micro_batch=2)
        clip_gradients(gradients, 1.0)
        optimizer.update(gradients, rate)

        logits = theirs(torch.from_numpy(tokens.copy()))
        expected = torch.nn.functional.cross_entropy(logits.mT, torch.from_numpy(targets.copy()))
        twin.zero_grad()
        expected.backward()
        length = torch.nn.utils.get_total_norm([w.grad for w in theirs.parameters()])
        if length > 1:  # without torch's 1e-6
            for weight in theirs.parameters():
                weight.grad /= length
        for group in twin.param_groups:
            group["lr"] = rate
        twin.step()

        losses.append(loss)
        assert abs(loss - expected.item()) < 1e-8
        for name, weight in theirs.weights.items():
            np.testing.assert_allclose(weights[name], weight.detach().numpy(), rtol=0, atol=1e-8)
    assert np.mean(losses[-5:]) < np.mean(losses[:5]) - 0.1, "it learns"
