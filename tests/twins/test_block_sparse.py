"""Block-sparse attention follows the same rule as the dense mask."""

import numpy as np
import pytest
import torch
from models import needs_compiler
from torch.nn.attention.flex_attention import create_block_mask

from minimistral import pt as mp
from minimistral.pt import mask
from minimistral.rule import visible


def tensors(B, H, G, T, S, D, dtype=torch.float32, device="cpu"):
    rng = np.random.default_rng(0)

    def random(*shape):
        values = torch.from_numpy(rng.standard_normal(shape, dtype=np.float32))
        return values.to(device, dtype)

    return random(B, H, T, D), random(B, G, S, D), random(B, G, S, D)


@pytest.mark.parametrize("window", [1, 100, 128, 129, None])
def test_the_blocks_that_hold_a_visible_pair(window):
    """A block is listed if and only if the dense mask has a True in it."""
    q_pos, k_pos = torch.arange(256, 640), torch.arange(640)
    block_mask = mp.window_mask(q_pos, k_pos, window, block_sparse=True)
    listed = block_mask.to_dense()[0, 0].bool()
    dense = mp.window_mask(q_pos, k_pos, window)
    blocks = dense.unfold(0, 128, 128).unfold(1, 128, 128).any(-1).any(-1)
    torch.testing.assert_close(listed, blocks)


@pytest.mark.parametrize("window", [1, 100, 300, None])
@pytest.mark.parametrize("pairs", [1, 2**24])
def test_the_blocks_are_those_that_torch_finds(monkeypatch, window, pairs):
    """Made piece by piece, for rows of other positions, with padding and empty slots."""
    monkeypatch.setattr(mask, "PAIRS", pairs)
    q_pos = torch.stack([torch.arange(300, 600), torch.arange(100, 400)])
    k_pos = torch.stack([torch.arange(600), torch.arange(600).roll(7)])
    q_pos[1, 250:], k_pos[0, 590:] = -1, -1

    def rule(b, _head, q, k):
        return visible(q_pos[b, q], k_pos[b, k], window)

    ours = mp.window_mask(q_pos, k_pos, window, block_sparse=True)
    theirs = create_block_mask(rule, 2, None, 300, 600, device="cpu")
    assert ours.shape == theirs.shape and ours.seq_lengths == theirs.seq_lengths
    for kind in ("kv", "full_kv", "q", "full_q"):
        counts, numbers = f"{kind}_num_blocks", f"{kind}_indices"
        assert (getattr(ours, counts) == getattr(theirs, counts)).all()
        for count, mine, other in zip(
            getattr(ours, counts).flatten(), getattr(ours, numbers).flatten(0, 2),
            getattr(theirs, numbers).flatten(0, 2), strict=True,
        ):  # fmt: skip
            assert mine[:count].tolist() == other[:count].tolist()


def test_a_mask_of_another_shape_is_refused():
    q, k, v = tensors(1, 2, 1, 128, 256, 16)
    block_mask = mp.window_mask(torch.arange(128), torch.arange(128), 50, block_sparse=True)
    with pytest.raises(ValueError, match="mask"):
        mp.attend(q, k, v, block_mask)


@pytest.mark.slow
@pytest.mark.rare
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # torch's own, while it compiles
def test_compiled_it_equals_the_dense_mask():
    """For one window after another: torch would compile the second for any, and fail."""
    for window, S in ((70, 384), (40, 300)):
        q, k, v = tensors(2, 4, 2, S - 128, S, 16)
        q_pos = torch.stack([torch.arange(128, S), torch.arange(100, S - 28)])
        k_pos = torch.stack([torch.arange(S), torch.arange(S).flip(0)])
        block_mask = mp.window_mask(q_pos, k_pos, window, block_sparse=True)
        dense = mp.window_mask(q_pos, k_pos, window)
        with torch.no_grad():
            torch.testing.assert_close(
                mp.attend(q, k, v, block_mask), mp.attend(q, k, v, dense), atol=1e-5, rtol=0
            )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_on_a_gpu_at_the_shape_of_mistral_7b(dtype):
    q, k, v = tensors(1, 32, 8, 4096, 4096, 128, dtype, "cuda")
    positions = torch.arange(4096, device="cuda")
    block_mask = mp.window_mask(positions, positions, 1024, block_sparse=True)
    dense = mp.window_mask(positions, positions, 1024)
    atol = 2e-2 if dtype == torch.bfloat16 else 5e-3  # float32 may use tf32 on a GPU
    with torch.no_grad():
        torch.testing.assert_close(
            mp.attend(q, k, v, block_mask), mp.attend(q, k, v, dense), atol=atol, rtol=0
        )


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@pytest.mark.parametrize("T", [2, 32, 33, 100, 127, 128, 129])
def test_on_a_gpu_a_short_chunk_with_four_query_heads_a_kv_head(T):
    """FlexAttention has a kernel of its own below 128 queries, which fails from 33 on."""
    q, k, v = tensors(1, 32, 8, T, 640, 128, torch.bfloat16, "cuda")
    places = torch.arange(640 - T, 640, device="cuda"), torch.arange(640, device="cuda")
    with torch.no_grad():
        found = mp.attend(q, k, v, mp.window_mask(*places, 256, block_sparse=True))
        expected = mp.attend(q, k, v, mp.window_mask(*places, 256))
    torch.testing.assert_close(found, expected, atol=2e-2, rtol=0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
def test_on_a_gpu_the_block_mask_of_32k_tokens_takes_little_memory():
    positions = torch.arange(32768, device="cuda")
    torch.cuda.reset_peak_memory_stats()
    before = torch.cuda.memory_allocated()
    mp.window_mask(positions, positions, 4096, block_sparse=True)
    assert torch.cuda.max_memory_allocated() - before < 2**30
