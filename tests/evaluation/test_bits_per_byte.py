"""Bits per byte of a model: against torch's cross-entropy, and one forward pass."""

import math
from dataclasses import replace

import numpy as np
import pytest
import torch

from minimistral import ModelConfig, tokenizer
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.evaluation.bits_per_byte import bits_per_byte, log2_probabilities, token_bits

SMALL = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=64, n_heads=4, n_kv_heads=2,
    window_size=8, context_len=64, vocab_size=300,
)  # fmt: skip


def test_token_bits_are_the_cross_entropy():
    logits = np.random.default_rng(0).normal(size=(5, 7)) * 30
    targets = [0, 6, 3, 3, 1]
    own = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(targets), reduction="none"
    )
    np.testing.assert_allclose(token_bits(logits, targets) * math.log(2), own)
    np.testing.assert_allclose(np.exp2(log2_probabilities(logits)).sum(axis=1), 1)


@pytest.mark.parametrize("engine", [mn, mp])
@pytest.mark.parametrize("chunk_size", [7, 512])
def test_bits_of_a_model_are_those_of_one_forward_pass(engine, chunk_size):
    v1 = tokenizer.load("v1")
    config = replace(SMALL, vocab_size=len(v1))
    model = engine.Mistral(config, mn.Mistral(config, seed=1).weights)
    text = "The cat sat on the mat, é 🐻. " * 3
    ids = v1.encode(text)
    logits = np.array(model([ids])[0].tolist())
    expected = token_bits(logits[:-1], ids[1:]).sum() / len(text.encode())
    assert bits_per_byte(model, v1, text, chunk_size) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="text"):
        bits_per_byte(model, v1, "")
    with pytest.raises(ValueError, match="chunk_size must be at least 1, not 0"):
        bits_per_byte(model, v1, text, 0)
