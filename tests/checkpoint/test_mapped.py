"""Weights that stay in their file: the results of the loaded model, in little memory."""

import io
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from effort import times
from models import random_config, random_model, small

from minimistral import ModelConfig, cli, tokenizer
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.bench import full_size
from minimistral.checkpoint import memory, open_checkpoint
from minimistral.cli import engine
from minimistral.np import mapped
from minimistral.np.linear import linear
from minimistral.np.mapped import MappedMatrix

DTYPES = ("float16", "bfloat16", "float32", "float64")
FORMATS = pytest.mark.parametrize("format", ["mistral", "hf"])


def saved(path, config, format, dtype, seed=0, **options):
    """Weights of a random model, saved as torch can in all dtypes."""
    weights = random_model(config, seed).weights
    mp.save(mp.Mistral(config, weights), path, format, dtype=dtype, **options)
    return path


def both(path, **options):
    return mn.load(path, **options), mn.load(path, mmap=True, **options)


def assert_close(ours, theirs):
    """To float32's rounding, over sums of a few hundred numbers."""
    np.testing.assert_allclose(ours, theirs, rtol=1e-4, atol=1e-5 * np.abs(theirs).max())


@pytest.fixture(params=[2**17, 64, 1], ids=["one block", "some blocks", "a row each"])
def block(request, monkeypatch):
    monkeypatch.setattr(mapped, "TILE", request.param)
    monkeypatch.setattr(mapped, "LARGE_TILE", request.param)


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.usefixtures("block")
def test_logits_are_those_of_the_loaded_model(tmp_path, format, dtype):
    """Any config, odd widths too, in a batch, in chunks and one by one."""
    for seed in range(times(2, 4)):
        rng = np.random.default_rng(seed)
        config = random_config(rng, 9)
        saved(tmp_path, config, format, dtype, seed, overwrite=True)
        loaded, mapped_model = both(tmp_path)
        tokens = rng.integers(0, config.vocab_size, (3, 9))
        assert mapped_model.dtype == loaded.dtype == np.float32
        assert_close(mapped_model(tokens), loaded(tokens))
        assert_close(mapped_model(tokens[:1, :1]), loaded(tokens[:1, :1]))
        caches = loaded.new_cache(3, 9), mapped_model.new_cache(3, 9)
        for part in (tokens[:, :4], tokens[:, 4:8], tokens[:, 8:]):
            expected = loaded(part, caches[0])
            assert_close(mapped_model(part, caches[1]), expected)


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize(("width", "n"), [(6, 1), (7, 5)])
@pytest.mark.usefixtures("block")
def test_a_product_is_the_product_with_the_whole_matrix(tmp_path, format, dtype, width, n):
    """With one row of x the rows of the matrix are shared among threads."""
    saved(tmp_path, small(dim=width), format, dtype)
    loaded, mapped_model = both(tmp_path)
    for name, weight in loaded.weights.items():
        if weight.ndim == 1:
            np.testing.assert_array_equal(mapped_model.weights[name], weight)
            continue
        matrix = mapped_model.weights[name]
        assert isinstance(matrix, MappedMatrix)
        assert matrix.shape == weight.shape and matrix.ndim == 2 and matrix.dtype == weight.dtype
        x = np.random.default_rng(0).standard_normal((n, weight.shape[1]), np.float32)
        before = x.copy()
        np.testing.assert_allclose(linear(x, matrix), linear(x, weight), rtol=1e-5, atol=1e-5)
        assert linear(x[None], matrix).shape == (1, n, len(weight)) and (x == before).all()
        assert linear(x, matrix).dtype == np.float32


@FORMATS
@pytest.mark.parametrize("dtype", DTYPES)
def test_rows_are_exactly_those_of_the_loaded_model(tmp_path, format, dtype):
    saved(tmp_path, small(), format, dtype)
    loaded, mapped_model = both(tmp_path)
    for name, weight in loaded.weights.items():
        for rows in (0, slice(1, 5), [[3, 0], [1, 1]], slice(None)):
            np.testing.assert_array_equal(mapped_model.weights[name][rows], weight[rows])


def test_every_bfloat16_becomes_its_number():
    """All bit patterns, in both places of a word and alone."""
    bits = np.arange(2**16, dtype=np.uint16)
    exact = torch.from_numpy(bits).view(torch.bfloat16).float().numpy()
    wide = np.empty(2**16, np.float32)
    mapped.from_bits(bits, wide)
    np.testing.assert_array_equal(wide.view(np.uint32), exact.view(np.uint32))
    for unpack, first in ((mapped.low, 0), (mapped.high, 1)):
        wide = np.empty(2**15, np.float32)
        unpack(bits.view("<u4"), wide)
        np.testing.assert_array_equal(wide.view(np.uint32), exact[first::2].view(np.uint32))


@FORMATS
def test_generate_gives_the_same_ids(tmp_path, format):
    config = replace(ModelConfig.tiny(), window_size=8)
    saved(tmp_path, config, format, "bfloat16", max_shard_bytes=500_000)
    loaded, mapped_model = both(tmp_path)
    for options in ({}, {"chunk_size": 3}, {"temperature": 0.8, "seed": 1}):
        prompts = [[1, 2, 3, 4, 5, 6, 7, 8, 9, 10], [7]]
        expected = mn.generate(loaded, prompts, 12, **options)
        assert mn.generate(mapped_model, prompts, 12, **options) == expected


def test_a_file_whose_numbers_start_at_an_odd_byte(tmp_path):
    saved(tmp_path, small(), "mistral", "bfloat16")
    file = tmp_path / "consolidated.safetensors"
    data = file.read_bytes()
    length = int.from_bytes(data[:8], "little")
    file.write_bytes((length + 1).to_bytes(8, "little") + data[8 : 8 + length] + b" "
                     + data[8 + length :])  # fmt: skip
    loaded, mapped_model = both(tmp_path)
    assert_close(mapped_model([[1, 2, 3]]), loaded([[1, 2, 3]]))


@FORMATS
def test_a_mapped_model_can_be_saved(tmp_path, format):
    saved(tmp_path / "a", small(), format, "bfloat16")
    loaded, mapped_model = both(tmp_path / "a")
    mn.save(mapped_model, tmp_path / "b", format)
    again = mn.load(tmp_path / "b")
    for name, weight in loaded.weights.items():
        np.testing.assert_array_equal(again.weights[name], weight)


# What is not supported


@pytest.mark.parametrize("dtype", ["float16", "float64"])
def test_streaming_is_float32(tmp_path, dtype):
    saved(tmp_path, small(), "mistral", "bfloat16")
    with pytest.raises(ValueError, match=f"dtype must be float32 with mmap=True, not {dtype}"):
        mn.load(tmp_path, dtype=dtype, mmap=True)
    with pytest.raises(TypeError, match="must be"):
        mn.Mistral(small(), mn.load(tmp_path, mmap=True).weights, dtype=dtype)


def test_a_pth_file_is_not_mapped(tmp_path):
    saved(tmp_path, small(), "mistral", "bfloat16")
    weights = mp.load(tmp_path).weights
    (tmp_path / "consolidated.safetensors").unlink()
    torch.save(weights, tmp_path / "consolidated.00.pth")
    with pytest.raises(
        ValueError, match=r"mmap needs safetensors files, not .*consolidated\.00\.pth"
    ):
        mn.load(tmp_path, mmap=True)


# Memory

MEMORY = """
import sys
from minimistral import np as mm
def peak():
    line = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024
model = mm.load(sys.argv[1], mmap=True)
before = peak()
mm.generate(model, [1] * 32, 3)
print(before, peak())
"""


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="needs Linux's /proc")
def test_memory_stays_far_below_the_file(tmp_path):
    """A sixth of 300 MB: the largest matrix is 15 MB."""
    config = ModelConfig(
        dim=1024, n_layers=10, head_dim=128, hidden_dim=3584, n_heads=8, n_kv_heads=2,
        window_size=64, context_len=128, vocab_size=7000,
    )  # fmt: skip
    full_size.write_made_up(tmp_path, config)
    size = (tmp_path / "consolidated.safetensors").stat().st_size
    assert size > 300e6
    command = [sys.executable, "-P", "-c", MEMORY, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, encoding="utf-8", check=True)
    before, after = map(int, done.stdout.split())
    assert after - before < size / 6


# The command line


def choose(tmp_path, *words, free=10**12, monkeypatch=None):
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    args = cli.make_parser("generate").parse_args(["generate", str(tmp_path), *words])
    return engine.uses_mmap(open_checkpoint(tmp_path), args)


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")  # what it warns of is tested
@pytest.mark.skipif(not hasattr(os, "fork"), reason="a system without fork")
def test_a_fork_has_threads_of_its_own(tmp_path, monkeypatch):
    """Those of the process that it was made from do not run in it: it would wait for ever."""
    monkeypatch.setattr(mapped, "TILE", 1)
    monkeypatch.setattr(os, "cpu_count", lambda: 2)
    model = mn.load(saved(tmp_path, small(), "mistral", "float32"), mmap=True)
    expected = model([[1, 2]])
    child = os.fork()
    if child == 0:
        os._exit(7 if (model([[1, 2]]) == expected).all() else 8)
    end, ended = time.monotonic() + 30, 0
    while not ended and time.monotonic() < end:
        ended, status = os.waitpid(child, os.WNOHANG)
        time.sleep(0.01)
    if not ended:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
    assert ended and os.waitstatus_to_exitcode(status) == 7
    np.testing.assert_array_equal(model([[1, 2]]), expected)


def test_the_command_uses_mmap_when_memory_is_small(tmp_path, monkeypatch):
    saved(tmp_path, small(), "mistral", "bfloat16")
    need = 4 * small().n_params
    for free, words, expected in (
        (10**12, [], False),
        (10**12, ["--mmap"], True),
        (need * 10 // 8 + 10, [], False),
        (need * 10 // 8 - 10, [], True),
        (0, ["--dtype", "float64"], False),
        (0, ["--dtype", "float32"], True),
    ):
        assert choose(tmp_path, *words, free=free, monkeypatch=monkeypatch) is expected


@pytest.mark.parametrize("name", ["generate", "chat"])
def test_the_command_says_that_it_uses_mmap(name, monkeypatch, capsys, tmp_path):
    config = replace(ModelConfig.mistral_7b("v0.3"), dim=32, n_layers=2, n_heads=4, n_kv_heads=2,
                     head_dim=8, hidden_dim=64)  # fmt: skip
    saved(tmp_path, config, "mistral", "bfloat16")
    shutil.copy(tokenizer.load("v3").file, tmp_path / "tokenizer.model.v3")
    printed = []
    for words in ([], ["--mmap"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n"))
        assert cli.main([name, str(tmp_path), "--max-new-tokens", "5", *words]) == 0
        printed.append(capsys.readouterr())
    assert printed[0].out == printed[1].out
    assert "file" not in printed[0].err
    assert printed[1].err.startswith("the weights stay in their file")
    assert printed[1].err.count("\n") == printed[0].err.count("\n") + 1


@pytest.mark.parametrize(
    ("words", "named"),
    [(["--backend", "pt"], "--backend np"), (["--dtype", "float16"], "float32")],
)
def test_a_wrong_use_of_stream_is_one_line(words, named, capsys):
    assert cli.main(["generate", "--prompt", "a", "--mmap", *words]) == 2
    err = capsys.readouterr().err
    assert named in err and err.count("\n") == 1
