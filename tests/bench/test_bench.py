"""The benchmark: what it measures and says, and what it needs. No time is asserted."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from models import small
from torch.nn.attention.flex_attention import flex_attention

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.bench import engines, gpu, report, suites, timing
from minimistral.bench.configs import CONFIGS, prefill_flops
from minimistral.bench.timing import MIN_ROUNDS, in_turns
from minimistral.cli import main
from minimistral.pt import attention as attention_file
from minimistral.pt import compiled

ROOT = Path(__file__).parents[2]
MACHINE = {"read": 1e10, "sgemv": 1e10, "sgemm": 1e11, "copy": 1e12, "matmul": 1e14}
TINY = small(dim=64, hidden_dim=64, head_dim=16, vocab_size=48, window_size=8)


def test_everything_is_timed_in_turns():
    calls = []
    times = in_turns({n: lambda n=n: calls.append(n) for n in "abc"}, seconds=0)
    assert "".join(calls) == "abc" * (MIN_ROUNDS + 1)  # once to warm up
    for time in times.values():
        assert 0 <= time["low"] <= time["median"] <= time["high"]
        assert time["rounds"] == MIN_ROUNDS


def test_a_turn_may_be_several_calls(monkeypatch):
    calls, seconds = [], iter(range(10**6))
    monkeypatch.setattr("minimistral.bench.timing.time.perf_counter", lambda: next(seconds))
    times = in_turns({n: lambda n=n: calls.append(n) for n in "ab"}, seconds=0, calls=4)
    assert "".join(calls) == "aaaabbbb" * (MIN_ROUNDS + 1)
    assert times["a"]["median"] == 1 / 4 and times["a"]["rounds"] == MIN_ROUNDS


def test_an_error_in_what_is_timed_comes_out():
    with pytest.raises(ZeroDivisionError):
        in_turns({"a": lambda: 1 / 0}, seconds=0)


def test_the_sizes():
    """As the lessons and the README name them; and what a decode step must read."""
    assert list(CONFIGS) == ["small", "medium", "7b-layer", "7b"]
    assert CONFIGS["7b"] == ModelConfig.mistral_7b()
    config = CONFIGS["small"]
    read = sum(w.nbytes for n, w in mn.Mistral(config).weights.items() if "tok_emb" not in n)
    assert config.decode_bytes(10**6, "float32") == read + mn.RollingCache(config, 1).nbytes
    assert config.decode_bytes(1, "float32", 3) == read + 3 * config.cache_bytes(1, "float32")
    assert prefill_flops(config, 1) == config.prefill_flops(1)
    assert prefill_flops(config, 9) < config.prefill_flops(9)


@pytest.mark.parametrize("context", [1, 5, 8, 100])
@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_a_filled_cache_looks_like_a_used_one(mm, context):
    used, filled = (mm.RollingCache(TINY, 2, 200) for _ in range(2))
    for start in range(0, context, 7):
        positions = np.arange(start, min(start + 7, context))[None].repeat(2, axis=0)
        used.commit(used.plan(torch.from_numpy(positions) if mm is mp else positions))
    engines.fill(filled, context)
    assert (filled.positions == used.positions).all()
    assert (np.asarray(filled.k) != 0).all()


def test_all_engines_give_the_same_logits_and_another_one_is_refused():
    all_engines = engines.cpu_engines(TINY, compiled=False)
    assert list(all_engines) == ["np", "pt", "transformers sdpa", "transformers eager"]
    tokens = np.random.default_rng(0).integers(0, 48, (1, 30))
    suites.require_same_logits(all_engines, tokens)
    weight = all_engines["transformers sdpa"].model.model.layers[0].self_attn.q_proj.weight
    with torch.no_grad():
        weight[:] = weight.flip(0)
    with pytest.raises(ArithmeticError, match="transformers sdpa and np give different logits"):
        suites.require_same_logits(all_engines, tokens)


def test_the_rows_of_a_config():
    done = []
    rows = suites.measure_config("tiny", TINY, MACHINE, True, 0, done.append)
    assert len(done) == 5
    by_what = {}
    for row in rows:
        by_what.setdefault(row["what"], {})[row["engine"]] = row
    assert list(by_what) == ["prefill", "decode", "decode at W", "decode at 16 W", "attention"]
    for what in ("prefill", "decode"):
        peer = by_what[what]["transformers sdpa"]
        assert peer["peer"] == 1
        for row in by_what[what].values():
            assert row["peer"] == pytest.approx(peer["median"] / row["median"])
            assert row["limit"] > 0
    near, far = (by_what[f"decode at {label}"]["np"] for label in ("W", "16 W"))
    assert (near["context"], far["context"]) == (8, 128)
    assert near["cache_bytes"] == far["cache_bytes"] == TINY.cache_bytes(8, "float32")
    text = report.table(suites.limit_rows(MACHINE) + rows)
    assert len(text.splitlines()) == 1 + 5 + len(rows) and "transformers eager" in text


def test_by_context_shows_what_grows():
    all_engines = engines.cpu_engines(TINY, compiled=False)
    rows = list(suites.by_context("tiny", TINY, all_engines, 0))
    kept = {(r["engine"], r["context"]): r["cache_bytes"] for r in rows if "cache_bytes" in r}
    contexts = [4, 8, 16, 32, 64, 128]
    token = TINY.cache_bytes(1, "float32")
    assert [kept["full cache", c] for c in contexts] == [token * c for c in contexts]
    assert [kept["rolling cache", c] for c in contexts] == [4 * token] + [8 * token] * 5


def test_packed_weights_are_measured_with_their_error():
    config = small(dim=64, hidden_dim=64, head_dim=16, vocab_size=48)
    all_engines = engines.cpu_engines(config, compiled=False)
    tokens = np.random.default_rng(0).integers(0, 48, (1, 30))
    rows = suites.decode_packed("tiny", all_engines["pt"], tokens, 4, 0)
    errors = [row["error"] for row in rows]
    assert [row["engine"] for row in rows] == ["pt bf16", "pt int8", "pt int4"]
    assert 0 < errors[0] < errors[2] and errors[1] < errors[2] < 1


@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
def test_the_gpu_suite_runs(monkeypatch):
    """The same code on the CPU, small and not compiled: that it runs says nothing about a GPU.

    What torch compiles is held to the plain model in tests/twins/test_compiled.py.
    """
    monkeypatch.setattr(compiled, "_compiled_step", lambda device_type: compiled.step)
    monkeypatch.setattr(attention_file, "_compiled_flex", lambda device_type: flex_attention)
    monkeypatch.setattr(timing, "MAX_ROUNDS", 1)
    monkeypatch.setitem(CONFIGS, "tiny", TINY)
    for name, value in {
        "CONTEXTS": (1, 20, 40), "BATCHES": (1, 2), "PROMPT": 300, "CHUNK": 150, "ATTENTION": 256,
    }.items():  # fmt: skip
        monkeypatch.setattr(gpu, name, value)
    rows = gpu.measure(["tiny"], quick=True, device="cpu")
    whats = {row["what"] for row in rows if row["config"] == "tiny"}
    assert whats == {
        "decode", "generate, greedy", "generate, batch 1", "generate, batch 2",
        "decode, 2 KV heads", "decode, 4 KV heads",
        "prefill", "attention", "decode int8", "decode int4",
    }  # fmt: skip
    assert all(row["median"] > 0 for row in rows if row["what"] != "limit")
    assert report.table(rows)


def test_a_generated_token_is_the_next_input(monkeypatch):
    """Otherwise the choice would be a by-product that nobody waits for."""
    monkeypatch.setattr(compiled, "_compiled_step", lambda device_type: compiled.step)
    run = engines.Ours(mp.Mistral(TINY), compiled=True).generate(context=20)
    greedy, read, chosen = compiled.CompiledStep.greedy, [], []

    def spy(step, tokens, lengths):
        read.append(tokens)
        chosen.append(greedy(step, tokens, lengths))
        return chosen[-1]

    monkeypatch.setattr(compiled.CompiledStep, "greedy", spy)
    for _ in range(4):
        run()
    assert read[0] == [[7]]
    assert read[1:] == [[[token] for token in row] for row in chosen[:-1]]


# The command

HEAVY = ("mistral_common", "sentencepiece", "matplotlib", "anywidget", "ipywidgets", "jupyterlab",
         "psutil", "IPython", "traitlets")  # fmt: skip


@pytest.mark.slow
@pytest.mark.rare
def test_it_needs_four_packages_only(tmp_path):
    """From a plain checkout: PYTHONPATH=. python -m minimistral bench --quick."""
    block = (
        f"import sys; sys.modules.update(dict.fromkeys({HEAVY!r}));"
        " from minimistral.bench import timing; timing.MAX_ROUNDS = 1;"
        " from minimistral.cli import main; sys.exit(main(sys.argv[1:]))"
    )
    out = tmp_path / "result.json"
    command = [sys.executable, "-c", block, "bench", "--quick", "--out", str(out)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr
    result = json.loads(out.read_text(encoding="utf-8"))
    assert {"date", "command", "device", "machine", "versions", "rows"} == set(result)
    assert set(result["versions"]) == {"python", "numpy", "torch", "transformers"}
    assert run.stdout.splitlines()[0].split()[:3] == ["config", "what", "engine"]
    assert len(run.stdout.splitlines()) == 1 + len(result["rows"])


@pytest.mark.parametrize(
    ("arguments", "code", "named"),
    [
        (["--out", "no/such/folder/x.json"], 2, "--out"),
        (["--out", ""], 2, "--out: must be a file in an existing folder, not ''"),
        (["--threads", "0"], 2, "--threads"),
        (["--threads", "10000000"], 2, "--threads: N must be below"),
        (["--config", "huge"], 2, "--config"),
    ],
)
def test_bad_options_are_named(arguments, code, named, capsys):
    assert main(["bench", "--quick", *arguments]) == code
    assert named in capsys.readouterr().err


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has CUDA")
def test_a_missing_gpu_is_reported(capsys, monkeypatch, tmp_path):
    for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        monkeypatch.setenv(variable, "1")
    assert main(["bench", "--suite", "gpu", "--out", str(tmp_path / "x.json")]) == 1
    assert "no CUDA" in capsys.readouterr().err


def test_an_engine_that_torch_cannot_compile_is_left_out_and_named(monkeypatch):
    all_engines = engines.cpu_engines(TINY, compiled=False)

    def fails(tokens):
        raise suites.InductorError(RuntimeError("no such kernel"), None)

    monkeypatch.setattr(all_engines["pt"], "prefill", fails)
    able, rows = suites.engines_that_compile("tiny", all_engines, np.zeros((1, 9), int))
    assert list(able) == ["np", "transformers sdpa", "transformers eager"]
    assert [(row["engine"], "cannot compile" in row["note"]) for row in rows] == [("pt", True)]
    assert "cannot compile" in report.table(rows)


# What was measured


def readme_table(rows):
    """The README's table of the run in benchmarks/cpu.json."""
    by = {(row["config"], row["what"], row["engine"]): row for row in rows}
    names = ("small", "medium", "7b-layer")

    def faster(what, engine, than):
        for name in names:
            ours, theirs = by[name, what, engine], by[name, what, than]
            yield f"{theirs['median'] / ours['median']:.2f} ×"

    def longer(name):
        near, far = (by[name, f"decode at {label}", "np"]["median"] for label in ("W", "16 W"))
        return f"{100 * (far / near - 1):+.1f} %"

    sdpa, eager = "transformers sdpa", "transformers eager"
    lines = {
        "decode, NumPy, against transformers (sdpa)": faster("decode", "np", sdpa),
        "decode, torch compiled, against the same": faster("decode", "pt compiled", sdpa),
        "decode, torch not compiled, against the same": faster("decode", "pt", sdpa),
        "decode, NumPy, of the limit": (
            f"{100 * by[name, 'decode', 'np']['limit']:.0f} %" for name in names
        ),
        "one more token at position 16 W takes longer than at W by (NumPy)": map(longer, names),
        "prefill, NumPy, against transformers (eager)": faster("prefill", "np", eager),
        "prefill, torch, against transformers (sdpa)": faster("prefill", "pt", sdpa),
        "attention over 8 W tokens, with the window, against full causal":
            faster("attention", "window, by blocks", "full causal"),
    }  # fmt: skip
    return "".join(f"| {what} | {' | '.join(cells)} |\n" for what, cells in lines.items())


def test_the_readme_says_what_was_measured():
    result = json.loads((ROOT / "benchmarks/cpu.json").read_text(encoding="utf-8"))
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert readme_table(result["rows"]) in readme, readme_table(result["rows"])
    assert result["date"] in readme and result["machine"]["threads"] == 1


def test_the_readme_says_what_is_predicted_and_that_it_is_a_prediction():
    record = json.loads((ROOT / "benchmarks" / "hopper_prediction.json").read_text("utf-8"))
    text, step = (ROOT / "README.md").read_text(encoding="utf-8"), record["decode"]
    config = ModelConfig(**record["config"])
    assert "prediction" in record["kind"] and config == ModelConfig.mistral_7b()
    useful = config.decode_bytes(config.window_size)
    assert step["useful_bytes"] == useful and step["bytes"] < 1.05 * useful
    assert f"{useful / 1e9:.3f} GB" in text
    assert f"{step['bytes'] / 1e9:.3f} GB, {step['bytes'] / useful:.3f} × as many" in text
    per_layer, more = divmod(step["launches"], config.n_layers)
    assert f"{step['launches']}, or {per_layer} per layer and {more} more" in text
    at_most = [f"{bandwidth / step['bytes']:.0f}" for bandwidth in (3.35e12, 4.8e12)]
    assert "{} on an H100, {} on an H200".format(*at_most) in text
