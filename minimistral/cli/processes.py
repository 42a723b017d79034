"""`generate --tensor-parallel N`: start N processes, or be one of them.

They find each other through a file, and communicate over the loopback interface or between GPUs.
Each holds the reading end of a pipe of which the command that started them holds the other end:
when the command is stopped, even by SIGKILL, the pipe closes and the processes end.
"""

import _thread
import argparse
import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn

from minimistral.cli import refuse

SHARED = "MINIMISTRAL_SHARED"  # the folder of the processes of one command; set only for them
STORE, PROMPT = "store", "prompt"  # its files: through which they meet, and the text to continue
LOOPBACK = "lo0" if sys.platform == "darwin" else "lo"
PATIENCE = 5.0  # seconds from the end of the pipe to the end of a process


def shared() -> Path | None:
    """The folder that this process shares with others; None when it is the only one."""
    return Path(os.environ[SHARED]) if SHARED in os.environ else None


def is_first() -> bool:
    """Whether this process prints: it is the only one, or the first of several."""
    return shared() is None or os.environ["RANK"] == "0"


def start(args: argparse.Namespace, prompt: str) -> int:
    """Check the arguments, then run this command line in N processes; its exit code."""
    _check(args)
    processes: list[subprocess.Popen] = []
    with tempfile.TemporaryDirectory() as name, _ended_by_signals():
        folder = Path(name)
        # A command line could not hold a long text or a NUL.
        (folder / PROMPT).write_bytes(prompt.encode())
        try:
            for rank in range(args.tensor_parallel):
                processes.append(_start_one(args, folder, rank))
            return _wait(processes, folder)
        finally:
            _stop(processes)


def _start_one(args: argparse.Namespace, folder: Path, rank: int) -> subprocess.Popen:
    package = str(Path(__file__).parents[2])  # the same for all, wherever the command is started
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(filter(None, [package, os.environ.get("PYTHONPATH")])),
        SHARED: str(folder),
        "RANK": str(rank),
        "WORLD_SIZE": str(args.tensor_parallel),
        "GLOO_SOCKET_IFNAME": LOOPBACK,
        "NCCL_SOCKET_IFNAME": LOOPBACK,
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        # When stopped in the middle of a sum, torch would warn of the sum that nobody awaits.
        "TORCH_CPP_LOG_LEVEL": os.environ.get("TORCH_CPP_LOG_LEVEL", "ERROR"),
    }
    with contextlib.ExitStack() as files:
        errors = None
        if rank > 0:  # its errors are shown when it is the first to fail
            errors = files.enter_context(open(_errors(folder, rank), "wb"))
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "minimistral", *_command_line(args)],
            env=environment,
            stdin=subprocess.PIPE,
            stderr=errors,
            start_new_session=True,  # Ctrl-C reaches them through the pipe alone
        )


def _errors(folder: Path, rank: int) -> Path:
    return folder / f"errors-{rank}"


def _wait(processes: list[subprocess.Popen], folder: Path) -> int:
    """Wait until all have ended, or one has failed; the exit code."""
    while True:
        codes = [process.poll() for process in processes]
        for rank, code in enumerate(codes):
            if code:
                if rank > 0:
                    sys.stderr.write(_errors(folder, rank).read_text(errors="replace"))
                return code if code > 0 else 128 - code  # below 0: ended by a signal
        if None not in codes:
            return 0
        time.sleep(0.05)


def _stop(processes: list[subprocess.Popen]) -> None:
    """End the processes that still run, and wait for them."""
    for process in processes:
        process.stdin.close()  # type: ignore[union-attr]
    try:
        deadline = time.monotonic() + 2 * PATIENCE
        for process in processes:
            process.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        pass
    finally:
        for process in processes:
            process.kill()  # does nothing to one that has ended
            process.wait()


@contextlib.contextmanager
def _ended_by_signals() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end this command as Ctrl-C does: what it started is ended too."""

    def end(number: int, _frame: Any) -> NoReturn:
        raise SystemExit(128 + number)

    numbers = [getattr(signal, name, None) for name in ("SIGTERM", "SIGHUP")]
    if threading.current_thread() is not threading.main_thread():
        numbers = []
    before = {number: signal.signal(number, end) for number in numbers if number is not None}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def join(folder: Path) -> str:
    """Be one of the processes: end when the pipe closes. The prompt."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    threading.Thread(target=_end_with_the_pipe, daemon=True).start()
    return (folder / PROMPT).read_bytes().decode()


def _end_with_the_pipe() -> None:
    """The first process stops as with Ctrl-C, so that its last line is shown; others at once."""
    with contextlib.suppress(OSError):
        while os.read(0, 1):
            pass
    if is_first():
        _thread.interrupt_main()
        time.sleep(PATIENCE)
    os._exit(130)


def _check(args: argparse.Namespace) -> None:
    """Raise when the model cannot be split like this, before any process starts."""
    if args.backend != "pt":
        refuse(args, ["tensor_parallel"], "only with --backend pt")
    if "TORCHELASTIC_RUN_ID" in os.environ:
        refuse(args, ["tensor_parallel"], "starts its processes itself; run it without torchrun")
    refuse(args, ["quantize", "compiled", "block_sparse", "device"], "not with --tensor-parallel")
    import torch

    from minimistral.checkpoint import open_checkpoint
    from minimistral.cli import engine
    from minimistral.pt.parallel import local_config

    checkpoint = open_checkpoint(args.model, args.format)
    local_config(checkpoint.config, args.tensor_parallel)
    if not torch.cuda.is_available():  # together the processes hold the whole model
        engine.require_memory(checkpoint, args, args.dtype or "float32", engine.free_memory())


def _command_line(args: argparse.Namespace) -> list[str]:
    """The arguments of one process, without the prompt."""
    command_line = ["generate", str(args.model), "--backend=pt"]
    for name in ("tensor_parallel", "format", "dtype", "chunk_size", "max_new_tokens",
                 "temperature", "repetition_penalty", "top_k", "top_p", "min_p",
                 "seed"):  # fmt: skip
        value = getattr(args, name)
        if value is not None:
            command_line.append(f"--{name.replace('_', '-')}={value}")
    return command_line


def load(path: Any, args: argparse.Namespace, dtype: str | None) -> Any:
    """This process's shard of the model. Every process but the first is silent from here on."""
    from minimistral.pt import parallel

    folder = shared()
    assert folder is not None
    mesh = parallel.join(f"file://{folder / STORE}")
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    seed = args.seed
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    args.seed = parallel.broadcast(seed, mesh)  # all processes must sample the same tokens
    return parallel.load(
        path, mesh, format=args.format, dtype=dtype, progress=sys.stderr.isatty() and is_first()
    )
