"""The compiled step and the packed weights: what only torch has, held to the plain model."""

import shutil
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import random_model, random_tokens, small

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.pt.attention import compiled
from minimistral.pt.compiled import CompiledStep
from minimistral.pt.quantize import GROUP, Int4Linear, Int8Linear, quantized

GPU = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
needs_compiler = pytest.mark.skipif(
    shutil.which("g++") is None and shutil.which("clang++") is None,
    reason="torch.compile needs a C++ compiler",
)
PROMPTS = [[1, 2, 3], [4] * 11, [5]]


def model_of(device, **changes):
    config = small(dim=64, hidden_dim=64, vocab_size=48, **changes)
    return mp.Mistral(config, random_model(config).weights, device=device)


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@DEVICES
def test_a_compiled_step_is_the_model(device):
    """Beyond two windows, from a cache that is not empty, with rows that end and go on."""
    model = model_of(device)
    caches = [model.new_cache(3) for _ in range(2)]
    for cache in caches:
        model([[1, 2, 3, 4, 5]] * 3, cache, lengths=[5, 1, 3])
    step = CompiledStep(model, caches[1])
    lengths = [[1, 1, 1]] * 4 + [[1, 0, 1]] * 3 + [[0, 1, 0], [0, 0, 0], [1, 1, 1]] * 2
    for n, length in enumerate(lengths):
        tokens = [[n], [n + 1], [n + 2]]
        expected = model(tokens, caches[0], last_only=True, lengths=length)[:, 0]
        found = step(tokens, length)
        live = torch.tensor(length) > 0
        torch.testing.assert_close(found[live], expected[live], atol=1e-4, rtol=0)
        assert (caches[1].positions == caches[0].positions).all()
        torch.testing.assert_close(caches[1].k, caches[0].k, atol=1e-5, rtol=0)


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@DEVICES
@pytest.mark.parametrize("window", [4, None])
def test_compiled_generation_writes_the_same_tokens(device, window):
    model = model_of(device, window_size=window)
    settings = {"temperature": 0.8, "top_p": 0.9, "seed": 1, "stop_ids": [7, 8, 9, 10]}
    for chosen in ({}, settings):
        expected = mp.generate(model, PROMPTS, 20, **chosen)
        assert mp.generate(model, PROMPTS, 20, compiled=True, **chosen) == expected


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@DEVICES
def test_block_sparse_prefill_gives_the_same_logits(device):
    """In chunks longer than the window and than a block of FlexAttention, with padding."""
    model = model_of(device, window_size=40, head_dim=16)
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 300)
    for chunk in (300, 130):
        logits = []
        for model.block_sparse in (False, True):
            cache = model.new_cache(2)
            for start in range(0, 300, chunk):
                here = np.clip([300 - start, 170 - start], 0, min(chunk, 300 - start))
                part = tokens[:, start : start + chunk]
                with torch.no_grad():
                    out = model(part, cache, lengths=here)
            logits.append(out)
        torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=0)


def test_one_process_may_compile_for_many_shapes():
    double = compiled(lambda x: x + x, fullgraph=True, dynamic=False, backend="eager")
    for n in range(1, 20):
        assert double(torch.ones(n)).sum() == 2 * n


def test_bad_input_to_a_compiled_step_is_named_and_changes_nothing():
    model = model_of("cpu")
    cache = model.new_cache(2)
    model([[1, 2], [3, 4]], cache)
    step = CompiledStep(model, cache)
    for tokens, lengths, named in (
        ([[1], [48]], [1, 1], "tokens"),
        ([[1, 2], [3, 4]], [1, 1], "tokens"),
        ([[1]], [1], "tokens"),
        ([[1], [2]], [1, 2], "lengths"),
        ([[1], [2]], [1], "lengths"),
    ):
        with pytest.raises(ValueError, match=named):
            step(tokens, lengths)
    assert cache.seen.tolist() == [2, 2]
    with pytest.raises(ValueError, match="cache"):
        CompiledStep(model, model_of("cpu", window_size=5).new_cache(2))


# Packed weights


def unpacked(kind, weight):
    """What a packed weight stands for, from the rounding's definition, in float64."""
    wide = weight.double()
    if kind == "int8":
        scale = wide.abs().amax(dim=1, keepdim=True) / 127
        return (wide / scale).round() * scale
    groups = wide.reshape(len(wide), -1, GROUP)
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    scale = (high - low) / 15
    return (((groups - low) / scale).round() * scale + low).reshape(wide.shape)


@DEVICES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("kind", "made"), [("int8", Int8Linear), ("int4", Int4Linear)])
def test_a_packed_weight_multiplies_as_its_rounded_values(kind, made, dtype, device):
    if (kind, device, dtype) == ("int4", "cuda", torch.float32):
        pytest.skip("a GPU's operator takes bfloat16 only")
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.standard_normal((48, 128))).to(device, dtype)
    x = torch.from_numpy(rng.standard_normal((2, 3, 128))).to(device, dtype)
    expected = x.double() @ unpacked(kind, weight).T
    found = made(weight)(x)
    assert found.dtype == dtype and found.shape == (2, 3, 48)
    atol = 1e-4 if dtype == torch.float32 else 0.3
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0)


def test_how_many_bytes_a_packed_weight_takes():
    weight = torch.ones(64, 128, dtype=torch.bfloat16)
    assert Int8Linear(weight).nbytes == 64 * 128 + 64 * 2
    assert Int4Linear(weight).nbytes == 64 * 128 // 2 + 64 * 128 // GROUP * 2 * 2


def test_a_row_of_zeros_stays_zeros():
    x = torch.ones(1, 64)
    for made in (Int8Linear, Int4Linear):
        assert (made(torch.zeros(16, 64))(x) == 0).all()


@pytest.fixture
def saved(tmp_path):
    config = replace(ModelConfig.tiny(), head_dim=32, hidden_dim=384)
    mn.save(mn.Mistral(config, seed=3), tmp_path, dtype="float32")
    return tmp_path


@pytest.mark.parametrize(("kind", "error"), [("int8", 0.05), ("int4", 0.6)])
def test_a_packed_model_gives_nearly_the_same_logits(saved, kind, error):
    plain, packed = mp.load(saved), mp.load(saved, quantize=kind)
    tokens = random_tokens(np.random.default_rng(0), plain.config, 2, 50)
    found, expected = packed(tokens), plain(tokens)
    off = (found - expected).abs().max()
    assert 0 < off < error * expected.std() * 5
    assert packed.weights["tok_embeddings.weight"].dtype == torch.float32
    new = mp.generate(packed, tokens.tolist(), 5, chunk_size=7)
    assert [len(row) for row in new] == [5, 5]
    with pytest.raises(ValueError, match=r"layers\.0\.attention\.wq\.weight is quantised"):
        mp.save(packed, saved / "again")


def test_what_cannot_be_packed_is_named(saved):
    with pytest.raises(ValueError, match="quantize must be one of int8, int4, not 'int2'"):
        mp.load(saved, quantize="int2")
    with pytest.raises(ValueError, match=r"output\.weight: .*multiple of 16"):
        quantized("output.weight", torch.ones(10, 64), "int4")
    broken = torch.full((16, 64), torch.nan)
    for kind in ("int8", "int4"):
        with pytest.raises(ValueError, match=r"output\.weight must be finite"):
            quantized("output.weight", broken, kind)
        assert quantized("norm.weight", broken[0], kind) is not None  # the model looks at it


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.parametrize("kind", ["int8", "int4"])
def test_packed_weights_can_be_compiled(saved, kind):
    model = mp.load(saved, quantize=kind)
    expected = mp.generate(model, PROMPTS, 8)
    assert mp.generate(model, PROMPTS, 8, compiled=True) == expected
