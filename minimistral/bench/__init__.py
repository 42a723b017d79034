"""`minimistral bench`: how fast each engine is, relative to the limits of this machine.

All engines get the same weights, threads and dtype, and take turns, so that a disturbance slows
all of them alike. Only NumPy, torch, safetensors and transformers are needed.
"""

import argparse
import datetime
import json
import os
import shlex
import sys
from pathlib import Path
from typing import Any

from minimistral._arguments import require_threads
from minimistral.bench.configs import CONFIGS

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What to measure, how long, and where to write it."""
    parser.add_argument(
        "--config",
        action="append",
        choices=list(CONFIGS),
        help="size to measure, may be repeated (small, medium and 7b-layer; on a GPU 7b)",
    )
    parser.add_argument(
        "--quick", action="store_true", help="less than a minute: only small, nothing compiled"
    )
    parser.add_argument(
        "--threads", type=_threads, default=1, metavar="N", help="CPU threads (%(default)s)"
    )
    parser.add_argument(
        "--suite", choices=("cpu", "gpu"), help="what to measure on (gpu if there is one)"
    )
    parser.add_argument(
        "--out",
        type=_new_file,
        default="bench.json",
        metavar="FILE",
        help="JSON file for the results (%(default)s)",
    )


def _threads(text: str) -> int:
    try:
        return require_threads("N", int(text))
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None


def _new_file(text: str) -> Path:
    file = Path(text)
    if file.is_dir() or not file.resolve().parent.is_dir():
        raise argparse.ArgumentTypeError(f"must be a file in an existing folder, not {text!r}")
    return file


def run(args: argparse.Namespace) -> int:
    """Measure, print a table, and write the JSON file."""
    for variable in THREAD_VARIABLES:  # read once, when NumPy and torch are imported
        os.environ[variable] = str(args.threads)

    import torch

    from minimistral.bench import gpu, suites
    from minimistral.bench.report import environment, table

    found = torch.cuda.is_available()
    if args.suite == "gpu" and not found:
        raise ValueError("argument --suite: torch finds no CUDA device on this machine")
    device = "cuda" if found and args.suite != "cpu" else "cpu"
    torch.set_num_threads(args.threads)
    names = args.config or (["7b"] if device == "cuda" else ["small", "medium", "7b-layer"])
    if args.quick:
        names = args.config or ["small"]
    measure: Any = gpu.measure if device == "cuda" else suites.measure
    rows = measure(names, quick=args.quick)
    result = {
        "date": datetime.date.today().isoformat(),
        "command": shlex.join(["minimistral", *sys.argv[1:]]),
        **environment(device, args.threads),
        "rows": rows,
    }
    args.out.write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")
    print(table(rows))
    print(f"written to {args.out}", file=sys.stderr)
    return 0
