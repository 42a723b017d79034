"""`minimistral marks`: mark submitted notebooks."""

import argparse
import os
import sys
from pathlib import Path

from minimistral.cli import UsageError, named, plain


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, where the marks go, and the limits."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="folder with the submitted notebooks; folders in it count too",
    )
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="CSV file to write; standard output if not given"
    )
    parser.add_argument("--overwrite", action="store_true", help="replace FILE if it exists")
    parser.add_argument(
        "--seconds",
        type=float,
        default=30,
        metavar="N",
        help="time for each exercise (default: %(default)s)",
    )
    parser.add_argument(
        "--memory",
        type=int,
        default=4096,
        metavar="MIB",
        help="memory for each exercise, in MiB of address space, on Linux (default: %(default)s)",
    )
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        metavar="N",
        help="notebooks that are marked at the same time (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the table, then the points of each file on standard error; 1 if any was not marked."""
    _check(args)
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    from minimistral.marking.mark import as_csv, mark_all, notebooks, summary
    from minimistral.marking.worker import Limits

    n_files = len(notebooks(args.folder))
    if not n_files:
        raise UsageError(f"argument FOLDER: {named(str(args.folder))} holds no notebook (.ipynb)")
    limits = Limits(args.seconds, args.memory)
    with tqdm(total=n_files, unit="notebook", disable=None, leave=False) as bar:
        marked = list(mark_all(args.folder, limits, args.jobs, bar.update))
    _write(as_csv(row for file in marked for row in file.rows), args.out)
    for line in summary(marked):
        print(plain(line), file=sys.stderr)
    for line in _warnings({fence for file in marked for fence in file.fences}):
        print(line, file=sys.stderr)
    return int(any(not row.mark for file in marked for row in file.rows))


def _check(args: argparse.Namespace) -> None:
    if not hasattr(os, "fork"):
        raise UsageError("marks needs a system that can fork: Linux, macOS, WSL or a container")
    if not args.folder.is_dir():
        raise UsageError(f"argument FOLDER: {named(str(args.folder))} is not a folder")
    if not 0 < args.seconds <= 86400:
        raise UsageError(f"argument --seconds: must be above 0, at most 86400, not {args.seconds}")
    if not 512 <= args.memory <= 2**20:
        raise UsageError(f"argument --memory: must be from 512 to {2**20}, not {args.memory}")
    if not 1 <= args.jobs <= 256:
        raise UsageError(f"argument --jobs: must be from 1 to 256, not {args.jobs}")
    if args.out and args.out.is_dir():
        raise UsageError(f"argument --out: {named(str(args.out))} is a folder; name a file")
    if args.out and args.out.exists() and not args.overwrite:
        raise UsageError(f"argument --out: {named(str(args.out))} exists; --overwrite replaces it")
    if args.out and not args.out.absolute().parent.is_dir():
        raise UsageError(f"argument --out: the folder of {named(str(args.out))} does not exist")


def _write(table: str, out: Path | None) -> None:
    if out is None:
        print(table, end="")
        return
    draft = out.with_name(f"{out.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(table, encoding="utf-8", newline="")
        draft.replace(out)  # whole or not at all
    finally:
        draft.unlink(missing_ok=True)


def _warnings(fences: set[tuple[bool, bool, bool]]) -> list[str]:
    """What this system could not take away from the submissions."""
    without = [not all(fence[n] for fence in fences) for n in range(3)]
    said = (
        "The network was closed in Python only, which stops no intent.",
        "Nothing kept a submission from changing your files.",
        "Memory had no limit: this system has none for one process.",
    )
    lines = [line for line, missing in zip(said, without, strict=True) if missing]
    return [*lines, "Use a container for people you do not know."] if lines else []
