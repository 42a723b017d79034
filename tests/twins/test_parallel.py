"""Tensor parallelism, with two processes on the CPU. On a GPU it was not run."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from models import random_model, small

from minimistral import ModelConfig, tiny
from minimistral import np as mn
from minimistral.cli import main
from minimistral.pt.parallel import local_config

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
WORKER = Path(__file__).with_name("parallel_worker.py")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo on the loopback of Linux")


def start(folder, *arguments, n=2):
    """The processes' exit codes and errors."""
    package = os.environ.get("PYTHONPATH", "")
    running = [
        subprocess.Popen(
            [sys.executable, "-P", WORKER, folder / "store", *arguments],
            env={**os.environ, "RANK": str(rank), "WORLD_SIZE": str(n), "OMP_NUM_THREADS": "1",
                 "GLOO_SOCKET_IFNAME": "lo", "PYTHONPATH": f"{package}{os.pathsep}{TESTS}"},
            stderr=subprocess.PIPE,
            text=True,
        )
        for rank in range(n)
    ]  # fmt: skip
    try:
        return [(each.communicate(timeout=300)[1], each.returncode) for each in running]
    finally:
        for each in running:
            each.kill()


@pytest.mark.slow
def test_two_processes_are_one_model(tmp_path):
    """Whole prompts, chunks, decode, ragged batches, texts beyond 2 W, a checkpoint, bfloat16."""
    folder = tmp_path / "checkpoint"
    mn.save(random_model(small()), folder, format="hf")
    for errors, code in start(tmp_path, folder):
        assert code == 0, errors


def test_one_process_is_the_plain_model(tmp_path):
    for errors, code in start(tmp_path, n=1):
        assert code == 0, errors


@pytest.mark.parametrize(
    ("n", "error", "named"),
    [(3, ValueError, "n_kv_heads = 8"), (16, ValueError, "n_kv_heads"),
     (0, ValueError, "at least 1"),
     (True, TypeError, "whole number"), (2.0, TypeError, "whole number")],
)  # fmt: skip
def test_a_number_that_does_not_divide_is_refused(n, error, named):
    with pytest.raises(error, match=f"tensor_parallel.*{named}"):
        local_config(ModelConfig.mistral_7b(), n)
    with pytest.raises(ValueError, match=r"tensor_parallel must divide hidden_dim = 15, not be 2"):
        local_config(small(hidden_dim=15), 2)


# The command


@pytest.mark.slow
@pytest.mark.parametrize("options", [[], ["--temperature", "0.8", "--seed", "3"]])
def test_the_command_writes_the_same_text(options, capfd):
    words = ["generate", "--prompt", "The for statement", "--backend", "pt",
             "--max-new-tokens", "20", *options]  # fmt: skip
    assert main(words) == 0
    expected = capfd.readouterr().out
    assert main([*words, "--tensor-parallel", "2"]) == 0
    printed = capfd.readouterr()
    assert printed.out == expected
    assert "tokens/s" in printed.err and printed.err.count("tokens read in") == 1


@pytest.mark.parametrize(
    ("options", "code", "named"),
    [
        (["--tensor-parallel", "2"], 2, "--backend pt"),
        (["--tensor-parallel", "0", "--backend", "pt"], 2, "--tensor-parallel"),
        (["--tensor-parallel", "3", "--backend", "pt"], 1, "n_kv_heads = 2"),
        (["--tensor-parallel", "2", "--backend", "pt", "--quantize", "int8"], 2, "--quantize"),
        (["--tensor-parallel", "2", "--backend", "pt", "--compiled"], 2, "--compiled"),
    ],
)
def test_what_cannot_be_is_said_before_anything_starts(options, code, named, capfd):
    assert main(["generate", str(tiny.FOLDER), "--prompt", "a", *options]) == code
    printed = capfd.readouterr()
    assert named in printed.err and printed.err.count("\n") == 1 and not printed.out
