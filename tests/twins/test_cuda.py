"""The torch twin on a GPU. Where there is none, the same tests run small on the CPU."""

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import random_tokens, small, twins

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.pt.compiled import CompiledStep
from minimistral.pt.quantize import Int4Linear, quantized

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


@DEVICES
def test_padding_is_never_nan(device):
    """Fused kernels may leave NaN where a query sees nothing, and 0 times NaN is NaN."""
    config = small(dim=64, head_dim=128, n_heads=8, n_kv_heads=2, window_size=5)
    model = mp.Mistral(config, dtype="bfloat16", device=device)
    alone = mp.Mistral(config, model.weights).new_cache(1)
    tokens = random_tokens(np.random.default_rng(0), config, 3, 40)
    cache = model.new_cache(3)
    for lengths in ([40, 3, 0], [0, 40, 7], [1, 0, 1]):
        logits = model(tokens, cache, lengths=lengths)
        assert logits.isfinite().all()
        for row, length in enumerate(lengths):
            assert (logits[row, length:] == 0).all()
    for length in (3, 40):
        expected = model(tokens[1:2, :length], alone)
    torch.testing.assert_close(cache.k[:, 1], alone.k[:, 0], atol=0.1, rtol=0)
    one = [model([[7]] * n, c, last_only=True) for n, c in ((3, cache), (1, alone))]
    torch.testing.assert_close(one[0][1], one[1][0], atol=0.1, rtol=0)
    assert expected.isfinite().all()


@DEVICES
def test_positions_and_masks_may_lie_on_the_cpu(device):
    model = mp.Mistral(small(), device=device)
    x = model.embed(torch.tensor([[1, 2, 3]], device=device), torch.arange(3, device=device)[None])
    q, k, v = model.project_qkv(0, x, np.arange(3)[None])
    assert {each.device.type for each in (q, k, v)} == {device}
    out = mp.attend(q, k, v, mp.window_mask(np.arange(3), np.arange(3), 2))
    assert out.shape == q.shape and out.device.type == device


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("kind", ["int8", "int4"])
@pytest.mark.parametrize("batch_size", [1, 3, 8])
def test_packed_weights_in_a_compiled_step(kind, batch_size):
    config = replace(ModelConfig.mistral_7b(), n_layers=1, vocab_size=256)
    weights = mp.Mistral(config, device="cuda", dtype="bfloat16").weights
    model = mp.Mistral(config, {n: quantized(n, w, kind) for n, w in weights.items()})
    prompts = [[5, 6, 7]] * batch_size
    caches = [model.new_cache(batch_size) for _ in range(2)]
    step = CompiledStep(model, caches[1])
    with torch.no_grad():
        for cache in caches:
            model(prompts, cache)
        for token in range(4):
            expected = model([[token]] * batch_size, caches[0])[:, 0]
            found = step([[token]] * batch_size, [1] * batch_size)
            torch.testing.assert_close(found, expected, atol=0.15, rtol=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("columns", [64, 128, 192])
def test_int4_takes_every_multiple_of_its_group(columns):
    weight = torch.randn(16, columns, device="cuda", dtype=torch.bfloat16)
    x = torch.eye(columns, device="cuda", dtype=torch.bfloat16)
    assert (Int4Linear(weight)(x).T - weight).abs().max() < 0.3


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_a_compiled_block_sparse_prefill_of_the_real_width():
    """Whole chunks by compiled layers, the last by the plain ones, beyond two windows."""
    config = replace(ModelConfig.mistral_7b(), n_layers=2, vocab_size=256)
    model = mp.Mistral(config, device="cuda", dtype="bfloat16")
    prompt = np.random.default_rng(0).integers(0, 256, 3 * 4096 + 100).tolist()
    logits = []
    for model.block_sparse in (False, True):
        cache = model.new_cache(1)
        with torch.no_grad():
            for start in range(0, len(prompt), 4096):
                last = model([prompt[start : start + 4096]], cache, last_only=True)
        logits.append(last)
    torch.testing.assert_close(logits[1], logits[0], atol=0.15, rtol=0)


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
