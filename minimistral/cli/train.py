"""`minimistral train`: train the tiny model."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import torch

from minimistral._arguments import require_threads
from minimistral.cli import UsageError, engine, refuse
from minimistral.pt.tensors import as_device
from minimistral.training.loop import train
from minimistral.training.report import write_report
from minimistral.training.settings import Settings
from minimistral.training.state import STATE_FILE

HELP = {
    "steps": "number of training steps",
    "batch_size": "sequences per step",
    "seq_len": "tokens per sequence",
    "learning_rate": "peak learning rate",
    "warmup": "steps until the learning rate reaches its peak",
    "weight_decay": "weight decay of the matrices",
    "dropout": "share of each matrix that a step sets to 0",
    "average": "number of last checkpoints to average into a second model; 0 for none",
    "checkpoint_every": "steps from one checkpoint to the next",
    "seed": "seed of the weights, batches and dropout",
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minimistral train`: where, how, and each of the Settings."""
    parser.add_argument("--out", default="tiny-model", help="folder to train into (%(default)s)")
    parser.add_argument("--resume", action="store_true", help="continue from the last checkpoint")
    parser.add_argument(
        "--overwrite", action="store_true", help="start again in a folder that is not empty"
    )
    parser.add_argument("--device", help="cpu, cuda …; torch's default if not given")
    parser.add_argument(
        "--threads",
        type=engine.option(require_threads, int),
        metavar="N",
        help="CPU threads; torch's default if not given",
    )
    group = parser.add_argument_group("settings, which decide the weights")
    for field in fields(Settings):
        group.add_argument(
            option(field.name), type=type(field.default), default=field.default,
            help=f"{HELP[field.name]} (%(default)s)", metavar="N" if field.type is int else "X",
        )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """`minimistral train`: train, then print the held-out loss beside the baselines."""
    if not args.out:
        raise UsageError("argument --out: must not be empty")
    if args.resume:
        refuse(args, ["overwrite"], "not with --resume")
    try:
        settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
        as_device(args.device)
        if args.threads is not None:
            torch.set_num_threads(args.threads)
    except (TypeError, ValueError) as error:
        raise UsageError(error) from None
    file = Path(args.out) / STATE_FILE
    before = _version(file)
    try:
        report = train(
            args.out, settings, resume=args.resume, overwrite=args.overwrite, progress=True,
            device=args.device,
        )  # fmt: skip
    except KeyboardInterrupt:
        if file.exists() and (args.resume or _version(file) != before):
            print("\nThe last checkpoint is kept: continue it with --resume.", file=sys.stderr)
        else:
            held = f"; {args.out} is as it was" if Path(args.out).exists() else ""
            print(f"\nStopped before the first checkpoint{held}.", file=sys.stderr)
        raise
    report = {"command": command_of(args), **report}
    write_report(Path(args.out), report)
    print("held-out bits per byte, lowest first:")
    for name, value in sorted(report["held_out_bits_per_byte"].items(), key=lambda item: item[1]):
        print(f"  {value:6.3f}  {name}")
    print(f"{report['parameters']:,} parameters, {report['seconds']:.0f} s, in {args.out}")
    return 0


def _version(file: Path) -> tuple[int, int] | None:
    """Two numbers that change when a file is replaced; None when there is none."""
    if not file.exists():
        return None
    status = file.stat()
    return status.st_ino, status.st_mtime_ns


def command_of(args: argparse.Namespace) -> str:
    """The command line that gives the same weights."""
    words = ["minimistral train"]
    for field in fields(Settings):
        if (value := getattr(args, field.name)) != field.default:
            words.append(f"{option(field.name)} {value}")
    if args.threads is not None:
        words.append(f"--threads {args.threads}")
    return " ".join(words)


def option(name: str) -> str:
    """A setting as an option of the command line: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")
