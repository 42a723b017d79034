"""Tensor parallelism, with two processes on the CPU. On a GPU it was not run."""

import contextlib
import io
import ipaddress
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from effort import times
from models import random_model, small

from minimistral import ModelConfig, tiny
from minimistral import np as mn
from minimistral.cli import main, processes
from minimistral.pt.parallel import join, local_config

ROOT = Path(__file__).parents[2]
TESTS = ROOT / "tests"
WORKER = Path(__file__).with_name("parallel_worker.py")
pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="gloo on the loopback of Linux")


def start(folder, *arguments, n=2):
    """The processes' exit codes and errors."""
    package = os.environ.get("PYTHONPATH", "")
    running = [
        subprocess.Popen(
            [sys.executable, "-P", WORKER, folder / "store", str(times(2, 8)), *arguments],
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


@pytest.mark.rare
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

COMMAND = ["generate", "--prompt", "The for statement", "--backend", "pt", "--tensor-parallel", "2"]


@contextlib.contextmanager
def command(*options):
    """The command, while it runs and writes, in a process of its own; all end with it."""
    with subprocess.Popen(
        [sys.executable, "-P", "-m", "minimistral", *COMMAND, "--max-new-tokens=1000000", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        started = [psutil.Process(process.pid)]
        try:
            yield process, started
        finally:
            for one in [process, *started]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    one.kill()


def addresses(processes):
    """Where these processes listen."""
    found = set()
    for process in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            for connection in process.net_connections(kind="inet"):
                if connection.status == psutil.CONN_LISTEN:
                    found.add(connection.laddr.ip)
    return found


def family(process):
    parent = psutil.Process(process.pid)
    return [parent, *parent.children(recursive=True)]


def require_end(process, started, number, code):
    """A signal to the command alone ends it and the two that it started."""
    assert len(started) == 3
    process.send_signal(number)
    text, errors = process.communicate(timeout=60)
    assert process.returncode == code
    gone, alive = psutil.wait_procs(started[1:], timeout=20)
    assert len(gone) == 2 and not alive
    assert text.endswith(b"\n") and errors.count(b"\n") == 1, errors
    assert b"tokens read in" in errors


@pytest.mark.slow
def test_it_listens_on_the_loopback_interface_alone(monkeypatch, capfd):
    """From the first moment until text comes; what a cluster may have set changes nothing.

    The text is that of one process. It is ended by SIGHUP, as when its terminal is closed.
    """
    monkeypatch.setenv("RANK", "3")
    assert main([*COMMAND[:-2], "--max-new-tokens", "20"]) == 0
    printed = capfd.readouterr()
    assert printed.err.count("tokens read in") == 1
    for variable in ("GLOO_SOCKET_IFNAME", "NCCL_SOCKET_IFNAME"):
        monkeypatch.setenv(variable, "eth0")
    expected, found = printed.out.rstrip("\n").encode(), set()
    with command() as (process, started):
        os.set_blocking(process.stdout.fileno(), False)
        end, read = time.monotonic() + 120, b""
        while len(read) < len(expected) and time.monotonic() < end:
            started[:] = family(process)
            found |= addresses(started)
            read += process.stdout.read() or b""
            time.sleep(0.05)
        assert read.startswith(expected) and len(started) >= 3, process.stderr.read()
        require_end(process, started, signal.SIGHUP, 129)
    assert found and all(ipaddress.ip_address(address).is_loopback for address in found), found


@pytest.mark.slow
@pytest.mark.rare
@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGKILL, -9)]
)
def test_a_signal_to_the_command_alone_ends_all(number, code):
    with command() as (process, started):
        assert process.stdout.read(30)
        started[:] = family(process)
        require_end(process, started, number, code)


@pytest.mark.slow
@pytest.mark.rare
def test_a_signal_while_the_processes_start_ends_all():
    with command() as (process, started):
        while len(started) < 3:
            started[:] = family(process)
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        text, errors = process.communicate(timeout=60)
        assert (process.returncode, text, errors) == (130, b"", b"")
        assert not psutil.wait_procs(started[1:], timeout=20)[1]


@pytest.mark.slow
@pytest.mark.rare
def test_a_prompt_that_no_command_line_can_hold(monkeypatch, capfd):
    """A NUL, an end of line, and more than the 128 KiB of one argument on Linux."""
    prompt = "a\0b\r\nc" + "The for statement. " * 7_000
    assert len(prompt) > 2**17
    words, texts = ["generate", "--backend", "pt", "--max-new-tokens", "1"], []
    for more in ([], ["--tensor-parallel", "2"]):
        monkeypatch.setattr(sys, "stdin", io.StringIO(prompt, newline=""))
        assert main([*words, "--chunk-size", "2048", *more]) == 0
        texts.append(capfd.readouterr().out)
    assert texts[0] == texts[1] and len(texts[0]) >= len(prompt)


def test_torchrun_is_not_needed(monkeypatch, capfd):
    monkeypatch.setenv("TORCHELASTIC_RUN_ID", "none")
    assert main(COMMAND) == 2
    assert "run it without torchrun" in capfd.readouterr().err


@pytest.mark.parametrize("value", [None, "", "two"])
def test_processes_without_a_number(monkeypatch, value):
    for variable in ("RANK", "WORLD_SIZE"):
        monkeypatch.setenv(variable, "0")
    monkeypatch.delenv("RANK") if value is None else monkeypatch.setenv("RANK", value)
    with pytest.raises(ValueError, match="RANK must be a whole number"):
        join()


def test_the_first_to_fail_is_quoted(tmp_path, capfd):
    """Not the one that waited for it in vain."""
    processes._errors(tmp_path, 1).write_text("why\n")
    running = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE)
        for code in ("import os; os.read(0, 1)", "raise SystemExit(7)")
    ]
    try:
        assert processes._wait(running, tmp_path) == 7
    finally:
        processes._stop(running)
    assert capfd.readouterr().err == "why\n" and None not in [p.poll() for p in running]


@pytest.mark.slow
@pytest.mark.rare
def test_the_command_writes_the_same_text(capfd):
    """At random; a greedy text is compared in the test of where it listens."""
    words = ["generate", "--prompt", "The for statement", "--backend", "pt",
             "--max-new-tokens", "20", "--temperature", "0.8", "--seed", "3"]  # fmt: skip
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
