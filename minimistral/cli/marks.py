"""`minimistral marks`: mark submitted notebooks."""

import argparse
import contextlib
import os
import sys
from pathlib import Path

from minimistral.cli import UsageError, named, plain
from minimistral.course.exercises import lessons


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """FOLDER, where the marks go, and the limits."""
    parser.add_argument(
        "folder",
        metavar="FOLDER",
        type=Path,
        help="folder with the submitted notebooks; folders in it count too",
    )
    parser.add_argument(
        "--out", metavar="FILE", help="CSV file to write; standard output if not given"
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
    """Write the table, then the points of each file on standard error.

    1 if a file was not marked, or the table could not be written.
    """
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
    written = _write(as_csv(row for file in marked for row in file.rows), args.out)
    for line in summary(marked):
        print(plain(line), file=sys.stderr)
    for line in _warnings({fence for file in marked for fence in file.fences}):
        print(line, file=sys.stderr)
    return int(not written or any(not row.mark for file in marked for row in file.rows))


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
    if args.out is not None:
        _check_out(args.out, args.overwrite)
    if not lessons():
        raise UsageError(
            "marks compares with the lessons, which are part of the course's repository and not of"
            " the installed package; run it in a clone of the repository"
        )


def _check_out(name: str, overwrite: bool) -> None:
    """Whether the table can be written, before anything is marked."""
    there = os.path.exists(name)
    if not name:
        raise UsageError("argument --out: must name a file, not ''")
    if os.path.isdir(name):
        raise UsageError(f"argument --out: {named(name)} is a folder; name a file")
    if there and not os.path.isfile(name):
        raise UsageError(
            f"argument --out: {named(name)} is no ordinary file; without --out the table goes to"
            " standard output"
        )
    if there and not overwrite:
        raise UsageError(f"argument --out: {named(name)} exists; --overwrite replaces it")
    if not os.path.isdir(os.path.dirname(os.path.abspath(name))):
        raise UsageError(f"argument --out: the folder of {named(name)} does not exist")
    try:
        draft = _draft(Path(name))
        draft.touch()
        draft.unlink()
    except OSError as error:
        raise UsageError(
            f"argument --out: {named(name)} cannot be written ({error.strerror or error})"
        ) from None


def _draft(out: Path) -> Path:
    return out.with_name(f"{out.name}.{os.getpid()}.tmp")


def _write(table: str, name: str | None) -> bool:
    """Write the table, and print it where it cannot be written; whether all is as asked for."""
    if name is None:
        print(table, end="")
        return True
    out = Path(name)
    draft = _draft(out)
    try:
        draft.write_text(table, encoding="utf-8", newline="")
        draft.replace(out)  # whole or not at all
        return True
    except OSError as error:
        print(table, end="")
        reason = error.strerror or error
        told = f"{named(name)} could not be written ({reason}); the table is on standard output."
        print(told, file=sys.stderr)
        return False
    finally:
        with contextlib.suppress(OSError):
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
