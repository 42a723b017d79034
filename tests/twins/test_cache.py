"""The rolling cache: which position lies in which slot, any chunks, any rows, memory taken once."""

import itertools
import sys
import tracemalloc

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import in_chunks, random_config, random_model, random_tokens, small, twins

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.rule import slot_of

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])


def engine(mm, config, seed=0, dtype="float32"):
    return mm.Mistral(config, random_model(config, seed, dtype).weights)


# Slots


@TWINS
@given(W=st.integers(1, 6), chunks=st.lists(st.integers(1, 15), min_size=1, max_size=6))
def test_position_i_lies_in_slot_i_mod_w(mm, W, chunks):
    """A list of slots, filled one token after the other, says what must lie where."""
    model = engine(mm, small(window_size=W))
    cache, slots, position = model.new_cache(1), [-1] * W, 0
    for n_tokens in chunks:
        model(np.zeros((1, n_tokens), int), cache)
        for _ in range(n_tokens):
            slots[position % W] = position
            position += 1
        assert cache.positions.tolist() == [slots]
        assert cache.seen.tolist() == [position]


@TWINS
def test_each_slot_holds_the_key_of_its_position(mm):
    """Keys and values of one layer depend on their own token only: compare slot by slot."""
    config = small(n_layers=1, window_size=5)
    model, everything = engine(mm, config), engine(mm, small(n_layers=1, window_size=None))
    tokens = random_tokens(np.random.default_rng(0), config, 2, 13)
    growing = everything.new_cache(2, 13)
    everything(tokens, growing)
    for sizes in ([13], [1], [4], [6, 2]):
        cache = model.new_cache(2)
        in_chunks(model, tokens, sizes, cache)
        for slot in range(5):
            position = int(cache.positions[0, slot])
            assert position in range(8, 13)
            for ours, theirs in ((cache.k, growing.k), (cache.v, growing.v)):
                np.testing.assert_allclose(
                    ours[0][:, :, slot], theirs[0][:, :, position], atol=1e-6
                )


def test_slots_of_arrays_and_numbers():
    assert slot_of(9, 4) == 1
    np.testing.assert_array_equal(slot_of(np.arange(6), 4), [0, 1, 2, 3, 0, 1])
    assert slot_of(torch.arange(6), 4).tolist() == [0, 1, 2, 3, 0, 1]


# In one piece = in chunks = token by token


@TWINS
@pytest.mark.parametrize("W", [1, 2, 3, 5, None])
@pytest.mark.parametrize("layers", [1, 3])
def test_every_chunk_size_gives_the_same_logits(mm, W, layers):
    """From 1 to 2W + 3, for a prompt longer than 2W, then token by token."""
    model = engine(mm, small(window_size=W, n_layers=layers), dtype="float64")
    T = 2 * (W or 5) + 9
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, T + 6)
    full = np.asarray(model(tokens))
    for size in range(1, 2 * (W or 5) + 4):
        cache = model.new_cache(2, T + 6)
        prefill = in_chunks(model, tokens[:, :T], [size], cache)
        decode = in_chunks(model, tokens[:, T:], [1], cache)
        np.testing.assert_allclose(np.concatenate([prefill, decode], 1), full, atol=1e-10)


@TWINS
@given(seed=st.integers(0, 9999), data=st.data())
def test_any_chunks_give_the_same_logits(mm, seed, data):
    rng = np.random.default_rng(seed)
    T = int(rng.integers(1, 40))
    config = random_config(rng, 12)
    model = engine(mm, config, seed)
    tokens = random_tokens(rng, config, int(rng.integers(1, 4)), T)
    sizes = data.draw(st.lists(st.integers(1, 2 * (config.window_size or 9) + 3), min_size=1))
    chunked = in_chunks(model, tokens, sizes, model.new_cache(len(tokens), T))
    np.testing.assert_allclose(chunked, np.asarray(model(tokens)), atol=1e-5)


def test_chunks_longer_than_a_block_of_attention():
    for W in (3, 100, 200):
        for model in twins(small(window_size=W), dtype="float64"):
            tokens = random_tokens(np.random.default_rng(0), model.config, 2, 700)
            full = np.asarray(model(tokens))
            for sizes in ([300], [131, 1, 257]):
                chunked = in_chunks(model, tokens, sizes, model.new_cache(2))
                np.testing.assert_allclose(chunked, full, atol=1e-9)


@TWINS
@given(seed=st.integers(0, 9999))
def test_rows_go_their_own_way(mm, seed):
    """Each row gets its tokens in pieces of any length, also none; each is as if alone."""
    rng = np.random.default_rng(seed)
    B, T = int(rng.integers(1, 4)), int(rng.integers(1, 9))
    config = random_config(rng, 8)
    model = engine(mm, config, seed)
    cache = model.new_cache(B, 100)
    fed, logits = [[] for _ in range(B)], [[] for _ in range(B)]
    for _ in range(8):
        lengths = rng.integers(0, T + 1, B)
        tokens = random_tokens(rng, config, B, T)
        out = np.asarray(model(tokens, cache, lengths=lengths))
        for row, length in enumerate(lengths):
            fed[row] += tokens[row, :length].tolist()
            logits[row] += list(out[row, :length])
    assert cache.seen.tolist() == [len(row) for row in fed]
    for row in range(B):
        if fed[row]:
            alone = np.asarray(model([fed[row]]))[0]
            np.testing.assert_allclose(np.array(logits[row]), alone, atol=2e-5)


@TWINS
def test_what_lies_in_hidden_slots_does_not_matter(mm):
    """Empty slots and, for a chunk of one token, the slot that it overwrites."""
    model = engine(mm, small())
    tokens = random_tokens(np.random.default_rng(0), model.config, 1, 9)
    clean, dirty = model.new_cache(1), model.new_cache(1)
    for each in (dirty.k, dirty.v):
        each[:] = 1e6
    np.testing.assert_array_equal(
        in_chunks(model, tokens, [2, 5], dirty), in_chunks(model, tokens, [2, 5], clean)
    )


@TWINS
def test_a_reset_cache_is_a_new_one(mm):
    model = engine(mm, small())
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 9)
    used, new = model.new_cache(2), model.new_cache(2)
    expected = in_chunks(model, tokens, [4], new)
    in_chunks(model, tokens[::-1].copy(), [9], used)
    used.v[:] = np.inf  # as after an overflow
    used.reset()
    assert used.seen.tolist() == [0, 0] and (used.positions == -1).all()
    np.testing.assert_array_equal(in_chunks(model, tokens, [4], used), expected)


@TWINS
def test_an_error_in_the_middle_leaves_the_cache_as_it_was(mm, monkeypatch):
    """Also where the chunk evicts keys: the layers before the error must not lose theirs."""
    model = engine(mm, small(n_layers=3))
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 20)
    full = np.asarray(model(tokens))
    module = sys.modules[mm.Mistral.__module__]
    place, name = (module, "layer") if mm is mn else (mp.layer.Layer, "forward")
    layer = getattr(place, name)
    for size in (1, 3, 9):
        cache = model.new_cache(2)
        in_chunks(model, tokens[:, :10], [4], cache)
        for broken in range(3):
            done = itertools.count()

            def fails(*rest, broken=broken, done=done):
                out = layer(*rest)
                if next(done) == broken:
                    raise MemoryError
                return out

            monkeypatch.setattr(place, name, fails)
            with pytest.raises(MemoryError):
                model(tokens[:, 10 : 10 + size], cache)
            monkeypatch.setattr(place, name, layer)
        assert cache.seen.tolist() == [10, 10]
        rest = in_chunks(model, tokens[:, 10:], [size], cache)
        np.testing.assert_allclose(rest, full[:, 10:], atol=1e-5)


# Memory


@TWINS
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_bytes_are_what_the_config_says(mm, dtype):
    config = ModelConfig.tiny()
    for max_tokens, kept in ((None, 32), (1000, 32), (32, 32), (7, 7)):
        cache = mm.RollingCache(config, 3, max_tokens, dtype=dtype)
        assert cache.nbytes == 3 * config.cache_bytes(kept, dtype)
        assert tuple(cache.k.shape) == tuple(cache.v.shape) == (4, 3, 2, kept, 32)
    growing = small(window_size=None)
    assert mm.RollingCache(growing, 1, 50).nbytes == growing.cache_bytes(50, "float32")


def test_in_bfloat16_too():
    config = ModelConfig.tiny()
    cache = mp.RollingCache(config, 2, dtype="bf16")
    assert cache.k.dtype == torch.bfloat16
    assert cache.nbytes == 2 * config.cache_bytes(32, "bfloat16")


@TWINS
def test_memory_is_taken_once(mm):
    """Ten windows later the cache lies where it lay, as large as it was."""
    model = engine(mm, small())
    cache = model.new_cache(2)

    def place():
        held = (cache.k, cache.v, cache.positions)
        return [(each.data_ptr() if mm is mp else each.ctypes.data, each.nbytes) for each in held]

    before = place()
    mm.generate(model, [[1, 2, 3], [4]], 10 * 4, cache=cache)
    assert place() == before and cache.seen.tolist() == [42, 40]


def test_ten_windows_of_decoding_allocate_nothing_that_stays():
    """Nor is there a copy of the cache on the way: half of it would show."""
    W = 128
    model = engine(mn, small(window_size=W, n_layers=1, n_heads=8, n_kv_heads=8, head_dim=64))
    cache = model.new_cache(1)
    steps = mn.stream(model, [1], 11 * W, cache=cache)
    for _ in range(W):
        next(steps)
    tracemalloc.start()
    next(steps)
    after_one, _ = tracemalloc.get_traced_memory()
    for _ in range(10 * W - 1):
        next(steps)
    after_eleven, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert cache.seen.tolist() == [11 * W]
    assert after_eleven - after_one < cache.nbytes / 4
    assert peak - after_one < cache.nbytes / 4


# Without a window


@TWINS
def test_a_full_cache_says_so_and_loses_nothing(mm):
    model = engine(mm, small(window_size=None))
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 10)
    full = np.asarray(model(tokens))
    cache = model.new_cache(2, 10)
    in_chunks(model, tokens[:, :8], [3], cache)
    with pytest.raises(ValueError, match="row 0 holds 8 of max_tokens = 10 and cannot take 3 more"):
        model(tokens[:, :3], cache)
    with pytest.raises(ValueError, match="row 1 holds 8"):
        model(tokens[:, :3], cache, lengths=[2, 3])
    np.testing.assert_allclose(model(tokens[:, 8:], cache), full[:, 8:], atol=1e-5)
    with pytest.raises(ValueError, match="cannot take 1 more"):
        model(tokens[:, :1], cache)
    assert cache.seen.tolist() == [10, 10]


@TWINS
def test_a_cache_smaller_than_the_window_holds_max_tokens(mm):
    model = engine(mm, small(window_size=8))
    tokens = random_tokens(np.random.default_rng(0), model.config, 1, 5)
    cache = model.new_cache(1, 5)
    np.testing.assert_allclose(in_chunks(model, tokens, [2], cache), model(tokens), atol=1e-5)
    with pytest.raises(ValueError, match="max_tokens = 5"):
        model(tokens[:, :1], cache)
