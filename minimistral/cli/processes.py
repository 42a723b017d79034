"""`generate --tensor-parallel N`: start N processes with torchrun, or be one of them.

They find each other through a file, and communicate over the loopback interface or between GPUs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from minimistral.cli import UsageError, refuse

STORE = "MINIMISTRAL_STORE"  # the file through which the processes find each other


def is_first() -> bool:
    """Whether this process prints: it is the only one, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def start(args: argparse.Namespace, prompt: str) -> int:
    """Check the arguments, then run this command line under torchrun; its exit code."""
    _check(args)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "torch.distributed.run",
            "--nproc-per-node", str(args.tensor_parallel), "--rdzv-backend", "c10d",
            "--rdzv-conf", "store_type=file", "--rdzv-endpoint", str(Path(folder) / "rendezvous"),
            "--local-addr", "127.0.0.1", "-m", "minimistral", *_command_line(args, prompt),
        ]  # fmt: skip
        environment = {
            **os.environ,
            STORE: str(Path(folder) / "store"),
            "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        return subprocess.run(command, env=environment).returncode


def _check(args: argparse.Namespace) -> None:
    """Raise when the model cannot be split like this, before any process starts."""
    if args.backend != "pt":
        refuse(args, ["tensor_parallel"], "only with --backend pt")
    refuse(args, ["quantize", "compiled", "block_sparse", "device"], "not with --tensor-parallel")
    import torch

    from minimistral.checkpoint import open_checkpoint
    from minimistral.cli import engine
    from minimistral.pt.parallel import local_config

    checkpoint = open_checkpoint(args.model, args.format)
    local_config(checkpoint.config, args.tensor_parallel)
    if not torch.cuda.is_available():  # together the processes hold the whole model
        engine.require_memory(checkpoint, args, args.dtype or "float32", engine.free_memory())


def _command_line(args: argparse.Namespace, prompt: str) -> list[str]:
    """The arguments of one process; the prompt is among them, because it may have been piped in."""
    command_line = ["generate", str(args.model), f"--prompt={prompt}", "--backend=pt"]
    for name in ("tensor_parallel", "format", "dtype", "chunk_size", "max_new_tokens",
                 "temperature", "top_p", "seed"):  # fmt: skip
        value = getattr(args, name)
        if value is not None:
            command_line.append(f"--{name.replace('_', '-')}={value}")
    return command_line


def load(path: Any, args: argparse.Namespace, dtype: str | None) -> Any:
    """This process's shard of the model. Every process but the first is silent from here on."""
    from minimistral.pt import parallel

    store = os.environ.get(STORE)
    mesh = parallel.join(f"file://{store}" if store else "env://")
    if mesh.size() != args.tensor_parallel:
        raise UsageError(
            f"argument --tensor-parallel: must be {mesh.size()}, the number of running processes,"
            f" not {args.tensor_parallel}"
        )
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    seed = args.seed
    if seed is None:
        seed = int.from_bytes(os.urandom(4), "little")
    args.seed = parallel.broadcast(seed, mesh)  # all processes must sample the same tokens
    return parallel.load(
        path, mesh, format=args.format, dtype=dtype, progress=sys.stderr.isatty() and is_first()
    )
