"""`minimistral train`: train the tiny model."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path

import torch

from minimistral._arguments import require_count
from minimistral.cli import UsageError
from minimistral.pt.cache import as_device
from minimistral.training.loop import STATE_FILE, Settings, train, write_report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minimistral train`: where, how, and each of the Settings."""
    parser.add_argument(
        "--out", default="tiny-model", help="the folder to train into (%(default)s)"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the last checkpoint")
    parser.add_argument("--overwrite", action="store_true", help="begin again in a folder in use")
    parser.add_argument("--device", help="cpu, cuda …; torch's default if not given")
    parser.add_argument("--threads", type=int, help="of the CPU; torch's default if not given")
    group = parser.add_argument_group("settings, which decide the weights")
    for field in fields(Settings):
        group.add_argument(
            "--" + field.name.replace("_", "-"), type=type(field.default), default=field.default,
            help=f"{HELP[field.name]} (%(default)s)", metavar="N" if field.type is int else "X",
        )  # fmt: skip


HELP = {
    "steps": "steps to train",
    "rows": "texts in a step",
    "length": "tokens in a text",
    "learning_rate": "the highest",
    "warmup": "steps until it is reached",
    "weight_decay": "of the matrices",
    "dropout": "share of each matrix that a step leaves out",
    "average": "average as many of the last checkpoints as well",
    "every": "steps from one checkpoint to the next",
    "seed": "of the weights, the batches and the dropout",
}


def run(args: argparse.Namespace) -> int:
    """`minimistral train`: train, then print what it came to."""
    try:
        settings = Settings(**{field.name: getattr(args, field.name) for field in fields(Settings)})
        as_device(args.device)
        if args.threads is not None:
            torch.set_num_threads(require_count("threads", args.threads))
    except (TypeError, ValueError) as error:
        raise UsageError(error) from None
    try:
        report = train(
            args.out, settings, resume=args.resume, overwrite=args.overwrite, progress=True,
            device=args.device,
        )  # fmt: skip
    except KeyboardInterrupt:
        if (Path(args.out) / STATE_FILE).exists():
            print("\nThe last checkpoint is kept: --resume goes on from it.", file=sys.stderr)
        raise
    report = {"command": command_of(args), **report}
    write_report(Path(args.out), report)
    print("held-out bits a byte, least first:")
    for name, value in sorted(report["held_out_bits_per_byte"].items(), key=lambda item: item[1]):
        print(f"  {value:6.3f}  {name}")
    print(f"{report['parameters']:,} parameters, {report['seconds']:.0f} s, in {args.out}")
    return 0


def command_of(args: argparse.Namespace) -> str:
    """The command line that gives the same weights."""
    words = ["minimistral train"]
    for field in fields(Settings):
        if (value := getattr(args, field.name)) != field.default:
            words.append(f"--{field.name.replace('_', '-')} {value}")
    if args.threads is not None:
        words.append(f"--threads {args.threads}")
    return " ".join(words)
