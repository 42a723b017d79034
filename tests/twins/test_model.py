"""The whole model: loops as the specification, transformers as the oracle, and what it may see."""

import sys
import tracemalloc
from dataclasses import replace

import numpy as np
import pytest
import torch
from effort import times
from hypothesis import given, settings
from hypothesis import strategies as st
from models import (
    in_chunks,
    model_as_loops,
    random_config,
    random_model,
    random_tokens,
    small,
    transformers_model,
    twins,
)
from torch.utils._python_dispatch import TorchDispatchMode

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np.mask import query_blocks

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
CONFIGS_A_BATCH = times(8, 25)


# The oracle


@pytest.mark.parametrize("batch", range(10))
@pytest.mark.parametrize("attention", ["eager", "sdpa"])
@torch.no_grad()
def test_transformers_gives_the_same_logits(attention, batch):
    """Random configs for each kind of attention, in one piece and in chunks."""
    for seed in range(batch * CONFIGS_A_BATCH, (batch + 1) * CONFIGS_A_BATCH):
        rng = np.random.default_rng(seed)
        B, T = int(rng.integers(1, 4)), int(rng.integers(1, 40))
        model, twin = twins(random_config(rng, T), seed)
        tokens = random_tokens(rng, model.config, B, T)
        theirs = transformers_model(model, attention)(torch.from_numpy(tokens), use_cache=False)
        theirs = theirs.logits.numpy()
        sizes = rng.integers(1, T + 3, 3).tolist()
        for ours in (model, twin):
            message = f"seed {seed}, {model.config}, chunks of {sizes}"
            np.testing.assert_allclose(ours(tokens), theirs, atol=1e-5, rtol=0, err_msg=message)
            chunked = in_chunks(ours, tokens, sizes, ours.new_cache(B, T))
            np.testing.assert_allclose(chunked, theirs, atol=1e-5, rtol=0, err_msg=message)


@pytest.mark.parametrize("seed", range(5))
@torch.no_grad()
def test_transformers_writes_the_same_tokens(seed):
    """Its own cache and its own loop, for a prompt longer than 2W."""
    model, twin = twins(small(dim=16, vocab_size=50), seed)
    prompt = random_tokens(np.random.default_rng(seed), model.config, 1, 11)
    oracle = transformers_model(model, "eager")
    theirs = oracle.generate(torch.from_numpy(prompt), max_new_tokens=20, do_sample=False)
    for mm, ours in ((mn, model), (mp, twin)):
        assert mm.generate(ours, prompt[0], 20) == theirs[0, 11:].tolist()


# The specification


@settings(max_examples=25)
@given(seed=st.integers(0, 9999))
def test_the_model_is_the_loops(seed):
    rng = np.random.default_rng(seed)
    T = int(rng.integers(1, 14))
    model, twin = twins(random_config(rng, T), seed, "float64")
    tokens = random_tokens(rng, model.config, 1, T)
    expected = model_as_loops(model, tokens[0])
    for ours in (model, twin):
        np.testing.assert_allclose(ours(tokens)[0], expected, atol=1e-9)


@given(seed=st.integers(0, 9999))
def test_the_twins_agree(seed):
    rng = np.random.default_rng(seed)
    B, T = int(rng.integers(1, 4)), int(rng.integers(1, 60))
    model, twin = twins(random_config(rng, T), seed)
    tokens = random_tokens(rng, model.config, B, T)
    np.testing.assert_allclose(twin(tokens), model(tokens), atol=1e-5, rtol=0)


def test_the_twins_agree_over_many_blocks():
    """Longer than the 128 queries that one block of attention has."""
    for window in (1, 7, 128, 300, None):
        model, twin = twins(small(window_size=window))
        tokens = random_tokens(np.random.default_rng(0), model.config, 2, 517)
        one_block = [(slice(None), slice(None), mn.window_mask([range(517)], [range(517)], window))]
        expected = with_blocks(model, tokens, one_block)
        np.testing.assert_allclose(model(tokens), expected, atol=2e-4)  # angles up to 517
        np.testing.assert_allclose(twin(tokens), expected, atol=2e-4)


def with_blocks(model, tokens, blocks):
    """The same model with other blocks of attention."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("minimistral.np.model.query_blocks", lambda *_: blocks)
        return model(tokens)


# What a token may see


@TWINS
@pytest.mark.parametrize("n_layers", [1, 2, 3, 4])
@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_the_reach_is_layers_times_window_minus_one(mm, n_layers, window):
    """K (W - 1) positions back, and not one more."""
    T, reach = 24, n_layers * (window - 1)
    model = random_model(small(n_layers=n_layers, window_size=window), 1, "float64")
    model = mm.Mistral(model.config, model.weights)
    tokens = random_tokens(np.random.default_rng(0), model.config, 1, T)
    before = np.asarray(model(tokens))[0, -1]

    def moved(position):
        changed = tokens.copy()
        changed[0, position] = (changed[0, position] + 1) % model.config.vocab_size
        return abs(np.asarray(model(changed))[0, -1] - before).max()

    assert moved(T - 1 - reach) > 1e-7
    for distance in range(reach + 1, T):
        assert moved(T - 1 - distance) == 0


@TWINS
@pytest.mark.parametrize("window", [1, 3, None])
def test_the_reach_is_the_same_in_chunks(mm, window):
    """What has left the cache cannot move the logits any more, what is in it can."""
    model = random_model(small(n_layers=1, window_size=window), 1, "float64")
    model = mm.Mistral(model.config, model.weights)
    tokens = random_tokens(np.random.default_rng(0), model.config, 1, 9)
    changed = tokens.copy()
    changed[0, 4] = (changed[0, 4] + 1) % model.config.vocab_size
    for size in (1, 2, 4, 9):
        one, other = (
            in_chunks(model, t, [size], model.new_cache(1, 9))[0] for t in (tokens, changed)
        )
        seen = [i for i in range(9) if abs(one[i] - other[i]).max() > 1e-7]
        assert seen == [i for i in range(9) if mn.visible(i, 4, window)]


@TWINS
def test_a_wide_window_is_no_window(mm):
    model = random_model(small(window_size=30))
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 30)
    wide = mm.Mistral(model.config, model.weights)
    none = mm.Mistral(replace(model.config, window_size=None), model.weights)
    np.testing.assert_array_equal(wide(tokens), none(tokens))


@TWINS
@pytest.mark.parametrize("shared", [1, 2])
def test_shared_heads_are_repeated_heads(mm, shared):
    """Grouped and multi-query attention: the same as every query head with its own copy."""
    grouped = random_model(small(n_kv_heads=shared))
    D, dim, g = grouped.config.head_dim, grouped.config.dim, 4 // shared
    weights = dict(grouped.weights)
    for name, weight in weights.items():
        if name.endswith(("wk.weight", "wv.weight")):
            heads = weight.reshape(shared, D, dim)
            weights[name] = np.repeat(heads, g, axis=0).reshape(4 * D, dim)
    each_its_own = mm.Mistral(replace(grouped.config, n_kv_heads=4), weights)
    tokens = random_tokens(np.random.default_rng(0), grouped.config, 2, 12)
    grouped = mm.Mistral(grouped.config, grouped.weights)
    np.testing.assert_allclose(grouped(tokens), each_its_own(tokens), atol=1e-5)


# Rows of different lengths


@TWINS
@given(seed=st.integers(0, 9999))
def test_each_row_of_a_ragged_batch_is_as_if_alone(mm, seed):
    rng = np.random.default_rng(seed)
    B, T = int(rng.integers(1, 5)), int(rng.integers(1, 20))
    model = random_model(random_config(rng, T), seed)
    model = mm.Mistral(model.config, model.weights)
    lengths = rng.integers(0, T + 1, B)
    tokens = random_tokens(rng, model.config, B, T)
    tokens[np.arange(T) >= lengths[:, None]] = 10**6  # what stands in the padding is not read
    logits = np.asarray(model(tokens, lengths=lengths))
    last = np.asarray(model(tokens, last_only=True, lengths=lengths))
    for row, length in enumerate(lengths):
        assert (logits[row, length:] == 0).all()
        if length:
            alone = np.asarray(model(tokens[row : row + 1, :length]))[0]
            np.testing.assert_allclose(logits[row, :length], alone, atol=1e-5)
            np.testing.assert_allclose(last[row, 0], alone[-1], atol=1e-5)
        else:
            assert (last[row] == 0).all()


# Kinds of numbers


class EveryTensor(TorchDispatchMode):
    """Calls `look` with each tensor that torch makes."""

    def __init__(self, look):
        super().__init__()
        self.look = look

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in out if isinstance(out, tuple | list) else [out]:
            if isinstance(each, torch.Tensor):
                self.look(each)
        return out


def every_array(run, look):
    """Calls `look` with each NumPy array that a line of the engine gave a name."""

    def trace(frame, event, _):
        if "minimistral" in frame.f_code.co_filename:
            for value in frame.f_locals.values():
                if isinstance(value, np.ndarray):
                    look(value)
            return trace
        return None

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    finally:
        sys.settrace(before)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("chunks", [[40], [7], [1]])
def test_float32_stays_float32(dtype, chunks):
    model, twin = twins(small(), dtype=dtype)
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 12)
    seen = {"np": set(), "pt": set()}
    every_array(
        lambda: in_chunks(model, tokens, chunks, model.new_cache(2)),
        lambda array: seen["np"].add(str(array.dtype)),
    )
    with EveryTensor(lambda tensor: seen["pt"].add(str(tensor.dtype).removeprefix("torch."))):
        in_chunks(twin, tokens, chunks, twin.new_cache(2))
    for which in seen.values():
        assert {name for name in which if "float" in name} == {dtype}
        assert "bool" in which  # the masks: it did look


@TWINS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_logits_are_float32_at_least(mm, dtype):
    if mm is mn and dtype == "bfloat16":
        pytest.skip("NumPy has no bfloat16")
    exact = random_model(small(), dtype="float64")
    model = mm.Mistral(exact.config, exact.weights, dtype=dtype)
    tokens = random_tokens(np.random.default_rng(0), exact.config, 2, 12)
    logits = in_chunks(model, tokens, [5], model.new_cache(2))
    assert logits.dtype == ("float64" if dtype == "float64" else "float32")
    atol = {"float16": 2e-2, "bfloat16": 2e-1, "float32": 1e-5, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(logits, exact(tokens), atol=atol)


@TWINS
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int32", "int64", "uint32"])
def test_tokens_of_any_integer_dtype(mm, dtype):
    model = mm.Mistral(small())
    expected = model([[1, 0, 3]])
    np.testing.assert_array_equal(model(np.array([[1, 0, 3]], dtype)), expected)


@TWINS
def test_arrays_that_are_read_only_or_run_backwards(mm):
    weights = dict(random_model(small()).weights)
    expected = mm.Mistral(small(), weights)([[3, 2, 1]])
    for name, weight in weights.items():
        weight = weight[::-1].copy()[::-1]
        weight.flags.writeable = False
        weights[name] = weight
    tokens = np.array([[1, 2, 3]])[:, ::-1]
    tokens.flags.writeable = False
    np.testing.assert_array_equal(mm.Mistral(small(), weights)(tokens), expected)


# Only the work that is needed


@TWINS
def test_the_logits_of_the_last_token_only(mm):
    model = mm.Mistral(small())
    tokens = random_tokens(np.random.default_rng(0), model.config, 3, 12)
    last = np.asarray(model(tokens, last_only=True))
    assert last.shape == (3, 1, 11)
    np.testing.assert_allclose(last[:, 0], np.asarray(model(tokens))[:, -1], atol=1e-6)


def test_the_last_only_never_makes_them_all():
    T, config = 64, small(vocab_size=50_000)
    model, twin = twins(config)
    tokens = np.zeros((1, T), int)
    tracemalloc.start()
    model(tokens, last_only=True)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * T * config.vocab_size / 10
    sizes = []
    with EveryTensor(lambda tensor: sizes.append(tensor.numel())):
        twin(tokens, last_only=True)
    # a transposed weight is a view, as large as the weight
    assert max(sizes) == config.vocab_size * config.dim < T * config.vocab_size


def test_a_long_prompt_costs_tokens_times_window():
    """Pairs and memory grow with T and not with T squared: 4 times for 4 times the tokens."""
    config = replace(ModelConfig.tiny(), window_size=256, n_layers=1)
    model, twin = twins(config)
    pairs, peaks, largest = {}, {}, {}
    for T in (2048, 8192):
        positions = np.arange(T)[None]
        pairs[T] = sum(mask.size for *_, mask in query_blocks(positions, positions, 256))
        tokens = np.zeros((1, T), int)
        tracemalloc.start()
        model(tokens, model.new_cache(1), last_only=True)
        peaks[T] = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        sizes = []
        with EveryTensor(lambda tensor, sizes=sizes: sizes.append(tensor.numel())):
            twin(tokens, twin.new_cache(1), last_only=True)
        largest[T] = max(sizes)
        assert pairs[T] <= T * (256 + 128)
        assert largest[T] <= T * config.hidden_dim
    assert peaks[8192] <= 4.5 * peaks[2048]


# Weights


def test_on_meta_there_are_only_shapes():
    config = ModelConfig.mistral_7b()
    model = mp.Mistral(config, device="meta", dtype="bfloat16")
    assert sum(weight.numel() for weight in model.weights.values()) == 7_241_732_096
    assert {weight.dtype for weight in model.weights.values()} == {torch.bfloat16}
    assert model.new_cache(2).nbytes == 2 * 512 * 2**20
    model = mp.Mistral(replace(config, n_layers=2), device="meta", dtype="bfloat16")
    cache = model.new_cache(2)
    tokens = np.zeros((2, 4100), int)
    assert model(tokens, cache).shape == (2, 4100, 32000)
    assert model(tokens[:, :1], cache, last_only=True).device.type == "meta"
    assert cache.seen.tolist() == [4101, 4101]


@pytest.mark.parametrize("default", ["device", "dtype"])
def test_torchs_defaults_do_not_matter(default):
    """A model stays where it is, and what it is, whatever the default device or dtype is."""
    model = mp.Mistral(small(), device="cpu")

    def run():
        same = mp.Mistral(small(), model.weights)
        return same([[1, 2, 3]]), mp.generate(same, [[1, 2, 3], [4]], 5, chunk_size=2)

    logits, text = run()
    try:
        if default == "device":
            with torch.device("meta"):
                found = run()
        else:
            torch.set_default_dtype(torch.float64)
            found = run()
    finally:
        torch.set_default_dtype(torch.float32)
    assert found[0].dtype == torch.float32 and torch.equal(found[0], logits)
    assert found[1] == text


@TWINS
def test_weights_are_not_copied_and_not_changed(mm):
    weights = random_model(small()).weights
    before = {name: weight.copy() for name, weight in weights.items()}
    model = mm.Mistral(small(), weights)
    mm.generate(model, [1, 2, 3], 12)
    for name, weight in weights.items():
        np.testing.assert_array_equal(weight, before[name])
        assert np.shares_memory(np.asarray(model.weights[name]), weight)


@TWINS
def test_random_weights_come_from_the_seed(mm):
    one, same, other = (mm.Mistral(small(), seed=seed).weights for seed in (1, 1, 2))
    name = "layers.1.attention.wo.weight"
    np.testing.assert_array_equal(one[name], same[name])
    assert not np.allclose(one[name], other[name])
    assert list(one) == list(small().weight_shapes())


@TWINS
def test_random_models_keep_numbers_in_bounds(mm):
    """Neither vanishing nor growing: logits with a standard deviation near 1."""
    model = mm.Mistral(ModelConfig.tiny())
    logits = np.asarray(model(np.arange(100)[None]))
    assert 0.8 < logits.std() < 1.2


def test_training_gets_gradients():
    """The torch twin is differentiable, padding and fully masked rows included."""
    model = mp.Mistral(small(), dtype="float64")
    model.requires_grad_()
    logits = model([[1, 2, 3, 4, 5, 6], [1, 2, 0, 0, 0, 0]], lengths=[6, 2])
    logits.square().sum().backward()
    for name, weight in model.weights.items():
        assert weight.grad.isfinite().all() and weight.grad.abs().sum() > 0, name
