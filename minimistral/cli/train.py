"""`minimistral train`: train the tiny model, or with --instruct, fine-tune it to answer."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch

from minimistral import tiny
from minimistral._arguments import require_threads
from minimistral.cli import UsageError, engine, refuse
from minimistral.evaluation.answers import interval
from minimistral.pt.tensors import as_device
from minimistral.training.conversations import PARTS
from minimistral.training.examples import PACKINGS
from minimistral.training.instruct import InstructSettings, fine_tune
from minimistral.training.instruct import write_report as write_instruct_report
from minimistral.training.loop import train
from minimistral.training.report import write_report
from minimistral.training.settings import Settings
from minimistral.training.state import STATE_FILE

HELP = {  # of Settings, and below those that InstructSettings adds
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
    "packing": "several conversations in a row: padded, one each; masked, out of sight of each"
    " other; unmasked",
    "end_in_loss": "let the loss count the end of an answer",
    "lora_rank": "train adapters of this rank (LoRA) and merge them; they need a higher"
    " --learning-rate, such as 0.01; 0 for all weights",
}
SHARED = {field.name for field in fields(Settings)}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The options of `minimistral train`: what, where, and each of the settings."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="with --instruct: folder of the model to fine-tune; the shipped tiny model if not"
        " given",
    )
    parser.add_argument(
        "--instruct",
        action="store_true",
        help="fine-tune on conversations, with the loss on the answers alone",
    )
    parser.add_argument("--out", help="folder to train into (tiny-model; tiny-instruct)")
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
    group = parser.add_argument_group(
        "settings, which decide the weights (default; default with --instruct)"
    )
    for field in fields(InstructSettings):
        defaults = str(field.default)
        if field.name in SHARED and getattr(Settings, field.name) != field.default:
            defaults = f"{getattr(Settings, field.name)}; {field.default}"
        text = f"{HELP[field.name]} ({defaults})"
        if field.type is bool:
            group.add_argument(option(field.name), action=argparse.BooleanOptionalAction, help=text)
        else:
            group.add_argument(
                option(field.name), type=type(field.default), help=text,
                choices=PACKINGS if field.name == "packing" else None,
                metavar=None if field.name == "packing" else "N" if field.type is int else "X",
            )  # fmt: skip


def run(args: argparse.Namespace) -> int:
    """`minimistral train`: train, then print what was measured."""
    settings = settings_of(args)
    if args.out == "":
        raise UsageError("argument --out: must not be empty")
    out = args.out or ("tiny-instruct" if args.instruct else "tiny-model")
    if args.resume:
        refuse(args, ["overwrite"], "not with --resume")
    try:
        as_device(args.device)
        if args.threads is not None:
            torch.set_num_threads(args.threads)
    except (TypeError, ValueError) as error:
        raise UsageError(error) from None
    file = Path(out) / STATE_FILE
    before = _version(file)
    options: dict[str, Any] = {"resume": args.resume, "overwrite": args.overwrite}
    options |= {"progress": True, "device": args.device}
    try:
        if isinstance(settings, InstructSettings):
            base = tiny.FOLDER if args.model is None else args.model
            report = fine_tune(out, settings, base=base, **options)
        else:
            report = train(out, settings, **options)
    except KeyboardInterrupt:
        if file.exists() and (args.resume or _version(file) != before):
            print("\nThe last checkpoint is kept: continue it with --resume.", file=sys.stderr)
        else:
            held = f"; {out} is as it was" if Path(out).exists() else ""
            print(f"\nStopped before the first checkpoint{held}.", file=sys.stderr)
        raise
    report = {"command": command_of(args), **report}
    if args.instruct:
        write_instruct_report(Path(out), report)
        show_answers(report)
    else:
        write_report(Path(out), report)
        show_losses(report)
    print(f"{report['parameters']:,} parameters, {report['seconds']:.0f} s, in {out}")
    return 0


def settings_of(args: argparse.Namespace) -> Settings:
    """The settings that the options give; raises UsageError, naming the one that is wrong."""
    kind = InstructSettings if args.instruct else Settings
    if not args.instruct:
        if args.model is not None:
            raise UsageError("argument MODEL: only with --instruct")
        for name in HELP.keys() - SHARED:
            if getattr(args, name) is not None:
                raise UsageError(f"argument {option(name)}: only with --instruct")
    given = {field.name: getattr(args, field.name) for field in fields(kind)}
    try:
        return kind(**{name: value for name, value in given.items() if value is not None})
    except (TypeError, ValueError) as error:
        raise UsageError(error) from None


def show_losses(report: dict[str, Any]) -> None:
    """The held-out loss beside the baselines."""
    print("held-out bits per byte, lowest first:")
    for name, value in sorted(report["held_out_bits_per_byte"].items(), key=lambda item: item[1]):
        print(f"  {value:6.3f}  {name}")


def show_answers(report: dict[str, Any]) -> None:
    """The share of exact answers with its 95 % interval, and what the model forgot."""
    print("exact answers, with 95 % intervals:")
    for part in PARTS:
        for row in report["answers"]:
            if row["part"] == part:
                low, high = interval(row["exact"], row["n"])
                share = f"{row['exact']:4} of {row['n']:4} ({low:4.0%} to {high:4.0%})"
                print(f"  {share}  {part}: {row['kind']}")
    before, after = report["old_text_bits_per_byte"].values()
    print(f"bits per byte of the old text: {before:.3f} before, {after:.3f} after")


def _version(file: Path) -> tuple[int, int] | None:
    """Two numbers that change when a file is replaced; None when there is none."""
    if not file.exists():
        return None
    status = file.stat()
    return status.st_ino, status.st_mtime_ns


def command_of(args: argparse.Namespace) -> str:
    """The command line that gives the same weights."""
    kind = InstructSettings if args.instruct else Settings
    words = ["minimistral train", *["--instruct"] * args.instruct]
    words += [str(args.model)] * (args.model is not None)
    for field in fields(kind):
        value = getattr(args, field.name)
        if value in (None, field.default):
            continue
        if field.type is bool:
            words.append(f"--no-{option(field.name)[2:]}")
        else:
            words.append(f"{option(field.name)} {value}")
    if args.threads is not None:
        words.append(f"--threads {args.threads}")
    return " ".join(words)


def option(name: str) -> str:
    """A setting as an option of the command line: batch_size -> --batch-size."""
    return "--" + name.replace("_", "-")
