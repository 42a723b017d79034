"""The arithmetic of training, against arrays of torch and against a count by hand."""

from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimistral import ModelConfig
from minimistral import pt as mm
from minimistral.training.budget import (
    activation_bytes,
    layer_activations,
    state_bytes,
    step_flops,
)

V01, TINY = ModelConfig.mistral_7b(), ModelConfig.tiny()


def test_the_state_is_what_adamw_keeps():
    """Made on meta: weights, gradients and both moments of every array."""
    model = mm.Mistral(TINY, device="meta").requires_grad_()
    optimizer = torch.optim.AdamW(model.parameters())
    for weight in model.parameters():
        weight.grad = torch.empty_like(weight)
    optimizer.step()
    weights = list(model.parameters())
    moments = [optimizer.state[w][name] for w in weights for name in ("exp_avg", "exp_avg_sq")]
    assert state_bytes(TINY) == {
        "weights": sum(w.nbytes for w in weights),
        "gradients": sum(w.grad.nbytes for w in weights),
        "moments": sum(m.nbytes for m in moments),
    }


@pytest.mark.parametrize("mixed", [False, True])
def test_both_ways_it_is_16_bytes_a_parameter(mixed):
    assert sum(state_bytes(V01, mixed).values()) == 16 * V01.n_params


def test_the_activations_of_a_layer():
    E, H, G, D, F = 4096, 32, 8, 128, 14336
    assert sum(layer_activations(V01).values()) == 4 * E + 2 * H * D + 2 * G * D + 3 * F


@given(st.integers(1, 9), st.integers(1, 9), st.integers(1, 40))
def test_activations_are_counted_layer_by_layer(n_layers, batch_size, seq_len):
    config = replace(TINY, n_layers=n_layers)
    inside = sum(n for name, n in layer_activations(config).items() if name != "x")
    top = 2 * config.dim + config.vocab_size
    for recompute, whole in ((False, n_layers), (True, 1)):
        values = n_layers * config.dim + whole * inside + top
        found = activation_bytes(config, batch_size, seq_len, "float32", recompute)
        assert found == 4 * batch_size * seq_len * values


def test_one_layer_has_nothing_to_compute_again():
    one = replace(TINY, n_layers=1)
    assert activation_bytes(one, 2, 3) == activation_bytes(one, 2, 3, recompute=True)


@pytest.mark.parametrize(("recompute", "times"), [(False, 3), (True, 4)])
def test_a_step_is_so_many_forward_passes(recompute, times):
    assert step_flops(V01, 2, 4096, recompute) == 2 * times * V01.prefill_flops(4096)


def test_torch_counts_the_products_of_a_step_alike():
    """Without attention, which torch counts for hidden pairs too: the matrices alone."""
    from torch.utils.flop_counter import FlopCounterMode

    config = replace(TINY, window_size=1)
    model = mm.Mistral(config)
    with FlopCounterMode(display=False) as counter:
        mm.loss_and_gradients(model, [[1, 2, 3, 4]], [[2, 3, 4, 5]])
    products = sum(
        n for op, n in counter.get_flop_counts()["Global"].items() if str(op) == "aten.mm"
    )
    ours = 3 * (config.prefill_flops(4) - config.attention_flops(4))
    assert products == ours


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: state_bytes(7), TypeError, "config must be a ModelConfig"),
        (lambda: layer_activations(None), TypeError, "config must be"),
        (lambda: activation_bytes(TINY, 0, 1), ValueError, "batch_size must be"),
        (lambda: activation_bytes(TINY, 1, 1.5), TypeError, "seq_len must be"),
        (lambda: activation_bytes(TINY, 1, 1, "int9"), ValueError, "dtype must be"),
        (lambda: step_flops(TINY, 1, 0), ValueError, "seq_len must be"),
        (lambda: step_flops("tiny", 1, 1), TypeError, "config must be"),
    ],
)
def test_a_bad_argument_is_named(call, error, named):
    with pytest.raises(error, match=named):
        call()
