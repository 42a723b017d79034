"""The torch twin on a GPU. Where there is none, the same tests run small on the CPU."""

import time

import numpy as np
import pytest
import torch
from models import random_tokens, small, twins

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp

GPU = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])


@DEVICES
@pytest.mark.parametrize(("dtype", "atol"), [("float32", 1e-4), ("bfloat16", 0.3)])
def test_logits_as_in_numpy(device, dtype, atol):
    """Prefill in chunks, a ragged batch and decode. Half precision has 8 bits to be right with."""
    model, _ = twins(small(dim=32, hidden_dim=64, vocab_size=40))
    there = mp.Mistral(model.config, model.weights, dtype=dtype, device=device)
    assert there.device.type == device
    tokens = random_tokens(np.random.default_rng(0), model.config, 3, 19)
    expected = model(tokens)
    np.testing.assert_allclose(there(tokens).cpu(), expected, atol=atol)
    cache, chunks = there.new_cache(3), []
    assert cache.k.device.type == device
    for start in range(0, 19, 5):
        chunks.append(there(tokens[:, start : start + 5], cache).cpu())
    np.testing.assert_allclose(torch.cat(chunks, dim=1), expected, atol=atol)
    ragged = there(tokens, lengths=[19, 4, 0]).cpu()
    np.testing.assert_allclose(ragged[1, :4], expected[1, :4], atol=atol)
    assert (ragged[1, 4:] == 0).all()


@DEVICES
def test_the_same_tokens_as_in_numpy(device):
    model, _ = twins(small(dim=32, hidden_dim=64, vocab_size=40))
    there = mp.Mistral(model.config, model.weights, device=device)
    prompts = [[1, 2, 3], [4] * 20, [5]]
    for settings in ({}, {"temperature": 0.8, "top_p": 0.9, "seed": 1, "chunk_size": 6}):
        expected = mn.generate(model, prompts, 20, **settings)
        assert mp.generate(there, prompts, 20, **settings) == expected


@DEVICES
def test_tokens_may_lie_on_the_device(device):
    model = mp.Mistral(small(), device=device)
    tokens = torch.tensor([[1, 2, 3, 4, 5, 6]])
    there = model(tokens.to(device))
    torch.testing.assert_close(there, model(tokens))
    cache = model.new_cache(1)
    chunks = [model(tokens[:, i : i + 4].to(device), cache) for i in (0, 4)]
    torch.testing.assert_close(torch.cat(chunks, dim=1), there)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_mistral_7b():
    """bf16: it starts in seconds, holds its weights once, reads, and decodes 32 tokens."""
    config = ModelConfig.mistral_7b()
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    start = time.perf_counter()
    model = mp.Mistral(config, device="cuda", dtype="bfloat16")
    torch.cuda.synchronize()
    seconds = time.perf_counter() - start
    weights = 2 * config.n_params
    assert torch.cuda.memory_allocated() - before < 1.01 * weights
    assert torch.cuda.max_memory_allocated() - before < 1.1 * weights  # never a second copy
    assert seconds < 30

    cache = model.new_cache(1)
    assert cache.nbytes == config.cache_bytes(10**6) == 512 * 2**20
    prompt = np.random.default_rng(0).integers(0, config.vocab_size, 5000).tolist()
    new = mp.generate(model, prompt, 33, chunk_size=1024, cache=cache)
    assert len(new) == 33 and cache.seen.tolist() == [5032]
    assert torch.cuda.memory_allocated() - before < 1.01 * (weights + cache.nbytes)
    peak = torch.cuda.max_memory_allocated() - before
    assert peak < weights + 2 * cache.nbytes + 4 * 2**30  # a chunk's workspace

    with torch.no_grad():
        logits = model([prompt[-64:]])
    assert logits.dtype == torch.float32 and logits.isfinite().all()
