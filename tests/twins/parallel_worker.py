"""One of several processes that test_parallel.py starts: compares with the whole model."""

import os
import sys

import numpy as np
import torch
from models import random_config, random_model, random_tokens, small
from torch.distributed.fsdp import fully_shard
from torch.distributed.tensor import DTensor

from minimistral import pt as mp
from minimistral.pt import parallel


def in_chunks(model, tokens, size, cache):
    parts = [model(tokens[:, i : i + size], cache) for i in range(0, tokens.shape[1], size)]
    return torch.cat(parts, dim=1)


def compare(config, mesh, seed):
    rng = np.random.default_rng(seed)
    whole = mp.Mistral(config, random_model(config, seed).weights)
    part = parallel.parallelize(whole, mesh)
    n, tokens = mesh.size(), random_tokens(rng, config, 2, 23)
    close = {"atol": 1e-5 * float(whole(tokens).abs().max().clamp(min=1)), "rtol": 0}
    torch.testing.assert_close(part(tokens), whole(tokens), **close)
    caches = [model.new_cache(2, 60) for model in (part, whole)]
    assert caches[0].nbytes * n == caches[1].nbytes
    for size in (23, 5, 1):
        for cache in caches:
            cache.reset()
        found, expected = (
            in_chunks(m, tokens, size, c) for m, c in zip((part, whole), caches, strict=True)
        )
        torch.testing.assert_close(found, expected, **close)
    lengths = [23, int(rng.integers(0, 23))]
    ragged = (m(tokens, lengths=lengths) for m in (part, whole))
    torch.testing.assert_close(*ragged, **close)
    matrices = [w.to_local().nbytes for w in part.weights.values() if isinstance(w, DTensor)]
    whole_ones = [w.nbytes for name, w in whole.weights.items() if "layers" in name and w.ndim == 2]
    assert sum(matrices) * n == sum(whole_ones)
    settings = {"temperature": 0.9, "seed": parallel.broadcast(int(rng.integers(9)), mesh)}
    for chosen in ({}, settings):
        prompts = [tokens[0].tolist(), tokens[1, :4].tolist()]
        assert mp.generate(part, prompts, 9, **chosen) == mp.generate(whole, prompts, 9, **chosen)


def compare_sharded(mesh):
    """FSDP2: parameters in shards, gathered layer by layer; it runs, and it trains."""
    config = small(dim=32, hidden_dim=64, vocab_size=40)
    weights = random_model(config).weights
    whole, sharded = (mp.Mistral(config, weights, dtype="float64") for _ in range(2))
    for layer in sharded.layers:
        fully_shard(layer, mesh=mesh)
    fully_shard(sharded, mesh=mesh)
    assert all(isinstance(p, DTensor) for p in sharded.parameters())
    tokens = random_tokens(np.random.default_rng(0), config, 2, 20)
    torch.testing.assert_close(sharded(tokens), whole(tokens))
    with torch.enable_grad():
        for model in (whole, sharded):
            model.requires_grad_()
            model(tokens).square().mean().backward()
    for ours, theirs in zip(sharded.parameters(), whole.parameters(), strict=True):
        torch.testing.assert_close(ours.grad.full_tensor(), theirs.grad)


def divisible(rng, n):
    config = random_config(rng, 23)
    changes = {"n_kv_heads": n * config.n_kv_heads, "n_heads": n * config.n_heads}
    return type(config)(**{**vars(config), **changes, "hidden_dim": n * config.hidden_dim})


def main():
    torch.set_num_threads(1)
    mesh = parallel.join(f"file://{sys.argv[1]}")
    with torch.no_grad():
        for seed in range(int(sys.argv[2])):
            compare(divisible(np.random.default_rng(seed), mesh.size()), mesh, seed)
        compare_sharded(mesh)
        if len(sys.argv) > 3:
            part, whole = parallel.load(sys.argv[3], mesh), mp.load(sys.argv[3])
            assert sum(isinstance(w, DTensor) for w in part.weights.values()) == 2 * 7
            tokens = random_tokens(np.random.default_rng(0), whole.config, 1, 30)
            torch.testing.assert_close(part(tokens), whole(tokens), atol=1e-5, rtol=1e-5)
        # bfloat16 has 8 bits to be right with; the sums are of rounded parts
        config = small(dim=32, hidden_dim=64, vocab_size=40)
        weights = random_model(config).weights
        whole = mp.Mistral(config, weights, dtype="bfloat16")
        part = parallel.parallelize(whole, mesh)
        tokens = random_tokens(np.random.default_rng(0), config, 2, 20)
        torch.testing.assert_close(part(tokens), whole(tokens), atol=0.3, rtol=0)
        assert parallel.broadcast(f"from {os.environ['RANK']}", mesh) == "from 0"
    parallel.dist.destroy_process_group()


if __name__ == "__main__":
    main()
