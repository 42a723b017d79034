"""`generate --tensor-parallel N`: start N processes with torchrun, or be one of them.

They find each other through a file, and talk over the loopback interface or between GPUs.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from minimistral.cli import UsageError

STORE = "MINIMISTRAL_STORE"  # the file through which the processes find each other


def is_first() -> bool:
    """Whether this process speaks: it is alone, or the first of several."""
    return os.environ.get("RANK", "0") == "0"


def start(args: argparse.Namespace, prompt: str) -> int:
    """Check what can be checked, then run this command line under torchrun; its exit code."""
    _require_possible(args)
    with tempfile.TemporaryDirectory() as folder:
        command = [
            sys.executable, "-m", "torch.distributed.run",
            "--nproc-per-node", str(args.tensor_parallel), "--rdzv-backend", "c10d",
            "--rdzv-conf", "store_type=file", "--rdzv-endpoint", str(Path(folder) / "rendezvous"),
            "--local-addr", "127.0.0.1", "-m", "minimistral", *_words(args, prompt),
        ]  # fmt: skip
        environment = {
            **os.environ,
            STORE: str(Path(folder) / "store"),
            "GLOO_SOCKET_IFNAME": os.environ.get("GLOO_SOCKET_IFNAME", "lo"),
            "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "1"),
        }
        return subprocess.run(command, env=environment).returncode


def _require_possible(args: argparse.Namespace) -> None:
    if args.backend != "pt":
        raise UsageError("argument --tensor-parallel: only with --backend pt")
    for name in ("quantize", "compiled", "block_sparse", "device"):
        if getattr(args, name):
            raise UsageError(f"argument --{name.replace('_', '-')}: not with --tensor-parallel")
    from minimistral.checkpoint import open_checkpoint
    from minimistral.pt.parallel import local_config

    local_config(open_checkpoint(args.model).config, args.tensor_parallel)


def _words(args: argparse.Namespace, prompt: str) -> list[str]:
    """The command line of one process; the prompt may have come through a pipe."""
    words = ["generate", str(args.model), f"--prompt={prompt}", "--backend=pt"]
    for name in ("tensor_parallel", "dtype", "chunk_size", "max_new_tokens", "temperature",
                 "top_p", "seed"):  # fmt: skip
        value = getattr(args, name)
        if value is not None:
            words.append(f"--{name.replace('_', '-')}={value}")
    return words


def load(path: Any, args: argparse.Namespace, place: dict[str, Any]) -> Any:
    """This process's share of the model. All but the first say nothing from here on."""
    from minimistral.pt import parallel

    store = os.environ.get(STORE)
    mesh = parallel.join(f"file://{store}" if store else "env://")
    if mesh.size() != args.tensor_parallel:
        raise UsageError(
            f"argument --tensor-parallel: must be the {mesh.size()} processes that run,"
            f" not {args.tensor_parallel}"
        )
    if not is_first():
        sys.stdout = open(os.devnull, "w", encoding="utf-8")
    seed = args.seed
    if seed is None:  # chosen once, or each would draw other tokens
        seed = int.from_bytes(os.urandom(4), "little")
    args.seed = parallel.agreed(seed, mesh)
    return parallel.load(
        path, mesh, dtype=place["dtype"], progress=sys.stderr.isatty() and is_first()
    )
