"""minimistral/bench/full_size.py, at a size that takes seconds."""

import json
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from models import small

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral.bench import full_size
from minimistral.checkpoint import open_checkpoint

ROOT = Path(__file__).parents[2]
RESULT = ROOT / "benchmarks" / "full_size.json"


def started(*words):
    command = [sys.executable, "-m", "minimistral.bench.full_size", "--config", "tiny"]
    return subprocess.Popen([*command, *map(str, words)], stderr=subprocess.PIPE, encoding="utf-8")


@pytest.mark.rare
def test_it_measures_each_and_leaves_nothing(tmp_path):
    (tmp_path / "room").mkdir()
    out = tmp_path / "new" / "result.json"
    tool = started("--folder", tmp_path / "room", "--out", out, "--decode-tokens", 2)
    _, err = tool.communicate(timeout=120)
    assert tool.returncode == 0, err
    assert list((tmp_path / "room").iterdir()) == []
    result = json.loads(out.read_text())
    assert [row["name"] for row in result["rows"]] == list(full_size.RUNS)
    assert result["limits_bytes_per_s"]["page_cache"] > 0
    assert result["file_bytes"] > full_size.checkpoint_bytes(ModelConfig.tiny())
    for row in result["rows"]:
        assert row["finite"] and len(row["decode_s"]) == 2 and row["prefill_tokens"] == 32
        assert 0 < row["peak_bytes_before_loading"] <= row["peak_bytes"]


@pytest.mark.parametrize("keep", [True, False])
def test_keep_leaves_the_checkpoint(tmp_path, monkeypatch, capsys, keep):
    """And what SIGTERM does is as before, once it has ended."""
    monkeypatch.setattr(full_size, "measure", lambda folder, args: {"rows": []})
    before = signal.getsignal(signal.SIGTERM)
    words = ["--config", "tiny", "--folder", str(tmp_path), "--out", str(tmp_path / "x.json")]
    assert full_size.main([*words, "--keep"] if keep else words) == 0
    assert signal.getsignal(signal.SIGTERM) == before
    kept = list(tmp_path.glob("full-size-*"))
    assert len(kept) == keep and json.loads((tmp_path / "x.json").read_text()) == {"rows": []}
    for folder in kept:
        assert str(folder) in capsys.readouterr().err
        assert mn.load(folder).config == ModelConfig.tiny()


@pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX signals")
@pytest.mark.parametrize("end", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_removes_the_checkpoint(tmp_path, end):
    tool = started("--folder", tmp_path, "--out", tmp_path / "x.json", "--decode-tokens", 10**6)
    until = time.monotonic() + 60
    while not list(tmp_path.glob("*/params.json")) and time.monotonic() < until:
        time.sleep(0.05)
    assert list(tmp_path.glob("*/params.json"))
    tool.send_signal(end)
    tool.communicate(timeout=60)
    assert tool.returncode != 0 and list(tmp_path.iterdir()) == []


def test_a_disk_without_room_is_reported_first(tmp_path, monkeypatch, capsys):
    usage = shutil.disk_usage(tmp_path)._replace(free=15 * 10**9)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage)
    monkeypatch.setattr(full_size, "write_made_up", lambda *_, **__: pytest.fail("it was written"))
    assert full_size.main(["--folder", str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert "15.0 GB free" in err and "14.5 GB" in err and err.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
    full_size.require_room(tmp_path, 14 * 10**9)


@pytest.mark.parametrize("block", [2**23, 50])
def test_the_made_up_checkpoint_is_one(tmp_path, monkeypatch, block):
    """Norms of 1; matrices that differ, and keep the size of what they multiply."""
    monkeypatch.setattr(full_size, "BLOCK", block)
    config = small(dim=64, hidden_dim=48)
    full_size.write_made_up(tmp_path, config)
    assert open_checkpoint(tmp_path).dtype == "bfloat16"
    model = mn.load(tmp_path)
    assert model.config == config
    for name, weight in model.weights.items():
        if weight.ndim == 1:
            assert (weight == 1).all()
        elif name != "tok_embeddings.weight":
            assert 0.9 < weight.std() * weight.shape[1] ** 0.5 < 1.1, name
    assert model.weights["tok_embeddings.weight"].std() == pytest.approx(1, abs=0.1)
    assert len({weight[0, 0] for weight in model.weights.values() if weight.ndim == 2}) > 10


def test_a_sparse_checkpoint_answers_and_takes_no_room(tmp_path):
    config = replace(ModelConfig.tiny(), hidden_dim=4096, vocab_size=5000)
    full_size.write_sparse(tmp_path, config, token=5, answer=77)
    file = tmp_path / "consolidated.safetensors"
    head = full_size.file_head(config)
    assert file.stat().st_size == len(head) + full_size.checkpoint_bytes(config)
    assert file.read_bytes()[: len(head)] == head
    for model in (mn.load(tmp_path), mn.load(tmp_path, mmap=True)):
        assert mn.generate(model, [5], 1) == [77] == mn.generate(model, [5] * 40, 1)
    weights = mn.load(tmp_path).weights
    for name, weight in weights.items():
        if weight.ndim == 1:
            assert (weight == 1).all(), name
    assert sum(np.count_nonzero(w.any(axis=1)) for w in weights.values() if w.ndim == 2) == 2
    if sys.platform == "linux":
        assert file.stat().st_blocks * 512 < file.stat().st_size / 4


@pytest.mark.parametrize("size", [1, 7, 2**18, 10**6 + 3])
@pytest.mark.parametrize("threads", [1, 3])
def test_a_whole_file_is_read(tmp_path, monkeypatch, size, threads):
    file = tmp_path / "file"
    file.write_bytes(bytes(size))
    seconds = iter([0.0, 2.0])
    monkeypatch.setattr(full_size.time, "perf_counter", lambda: next(seconds))
    assert full_size.read_rate(file, threads) == size / 2


def test_bits_are_the_upper_half():
    numbers = np.random.default_rng(0).standard_normal(100).astype(np.float32)
    bits = full_size.bfloat16_bits(numbers)
    back = (bits.astype(np.uint32) << 16).view(np.float32)
    np.testing.assert_allclose(back, numbers, rtol=2**-7)


def test_the_committed_result_is_of_the_full_size():
    """And the README says what it says."""
    result = json.loads(RESULT.read_text(encoding="utf-8"))
    config = ModelConfig.mistral_7b("v0.1")
    assert 2 * config.n_params < result["file_bytes"] < 2 * config.n_params + 10**6
    rows = {row["name"]: row for row in result["rows"]}
    assert rows["np, streamed"]["peak_bytes"] < 3e9
    assert all(row["peak_bytes"] < 20e9 for row in rows.values())
    readme = (RESULT.parent.parent / "README.md").read_text(encoding="utf-8")
    for row in rows.values():
        assert row["finite"]
        assert (
            f"{row['peak_bytes'] / 1e9:.2f} GB | {row['prefill_s_per_token']:.2f} s per token"
            f" | {row['decode_s_per_token']:.2f} s per token"
            f" | {row['fraction_of_page_cache_limit']:.2f} |" in readme
        )
    assert f"(a load of {result['load_average_before']:.1f})" in readme
    assert f"{result['limits_bytes_per_s']['page_cache'] / 1e9:.1f} GB/s" in readme
