"""The command line: `minimistral generate | chat | train | bench | inspect | progress | marks`.

Exit codes: 0 success; 1 an error, reported in one line; 2 a wrong command line; 130 stopped with
Ctrl-C; 141 the reader of the output closed it. MINIMISTRAL_DEBUG=1 shows tracebacks.

Nothing heavy is imported before a command is chosen, so `--help` appears at once.
"""

import argparse
import contextlib
import importlib
import os
import re
import sys
from collections.abc import Iterable, Sequence
from typing import Any, NoReturn

# command: the module with its add_arguments(parser) and run(args), a summary, examples
COMMANDS = {
    "generate": (
        "minimistral.cli.generate",
        "continue a text",
        """
  minimistral generate --prompt "The for statement"
  minimistral generate --prompt "The for statement" --backend pt --temperature 0.7 --seed 1
  echo "A class definition" | minimistral generate --max-new-tokens 200
  minimistral generate mistral-7b-v0.1 --backend pt --prompt "The capital of France is"
""",
    ),
    "chat": (
        "minimistral.cli.chat",
        "talk to an instruct model",
        """
  minimistral chat
  echo "What is str.lower?" | minimistral chat
  minimistral chat mistral-7b-instruct-v0.3 --backend pt
  minimistral chat mistral-7b-instruct-v0.3 --backend pt --guardrail --temperature 0.7
  minimistral chat mistral-7b-instruct-v0.3 --backend pt --system "Answer in French."
""",
    ),
    "train": (
        "minimistral.cli.train",
        "train the tiny model, or fine-tune it to answer",
        """
  minimistral train
  minimistral train --out my-model --steps 500 --seed 7
  minimistral train --out my-model --steps 500 --seed 7 --resume
  minimistral train --average 5 --overwrite
  minimistral train --instruct
  minimistral train --instruct my-model --out my-instruct --lora-rank 8
""",
    ),
    "bench": (
        "minimistral.bench",
        "measure how fast each engine is",
        """
  minimistral bench --quick
  minimistral bench --out bench.json
  minimistral bench --config 7b-layer --threads 2
  minimistral bench --suite gpu
""",
    ),
    "inspect": (
        "minimistral.cli.inspect",
        "show what a checkpoint contains and whether it fits in memory",
        """
  minimistral inspect
  minimistral inspect mistral-7b-instruct-v0.3
  minimistral inspect mistral-7b-instruct-v0.3 --all
  minimistral inspect mistral-7b-instruct-v0.3 --json | python -m json.tool
""",
    ),
    "marks": (
        "minimistral.cli.marks",
        "mark submitted notebooks",
        """
  minimistral marks submissions
  minimistral marks submissions --out marks.csv --jobs 2
  minimistral marks submissions --out marks.csv --overwrite --seconds 10 --memory 2048
""",
    ),
    "progress": (
        "minimistral.cli.progress",
        "show which exercises of the course are done",
        """
  minimistral progress
  minimistral progress --json
  minimistral progress --json | python -m json.tool
""",
    ),
}


class UsageError(Exception):
    """The command line asks for something impossible: exit code 2."""


def refuse(args: argparse.Namespace, names: Iterable[str], reason: str) -> None:
    """Raise UsageError when one of these options is given."""
    for name in names:
        if getattr(args, name) not in (None, False):
            raise UsageError(f"argument --{name.replace('_', '-')}: {reason}")


class Parser(argparse.ArgumentParser):
    """An ArgumentParser whose errors are one line."""

    def error(self, message: str) -> NoReturn:
        self.exit(2, f"{self.prog}: error: {one_line(message)} (see {self.prog} --help)\n")


def make_parser(chosen: str | None) -> Parser:
    """The parser. Only the chosen command's module is imported, for its options."""
    from minimistral import __version__

    parser = Parser(
        prog="minimistral",
        description="Mistral 7B in NumPy and in torch.",
        epilog="minimistral COMMAND --help shows the options of a command, with examples. Exit"
        " codes: 0 success, 1 error, 2 wrong command line, 130 stopped with Ctrl-C, 141 output"
        " closed by its reader.",
    )
    parser.add_argument("--version", action="version", version=f"minimistral {__version__}")
    commands = parser.add_subparsers(dest="command", metavar="COMMAND", required=True)
    for name, (module, summary, examples) in COMMANDS.items():
        command = commands.add_parser(
            name,
            help=summary,
            description=summary[0].upper() + summary[1:] + ".",
            allow_abbrev=False,
            epilog="examples:" + examples,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if name == chosen:
            importlib.import_module(module).add_arguments(command)
    return parser


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command line; the exit code."""
    _prepare_streams()
    arguments = list(sys.argv[1:] if argv is None else argv)
    chosen = next((word for word in arguments if not word.startswith("-")), None)
    try:
        code = _run(arguments, chosen)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:
        return 141
    except Exception as error:
        if os.environ.get("MINIMISTRAL_DEBUG"):
            raise
        prog = f"minimistral {chosen}" if chosen else "minimistral"
        with contextlib.suppress(OSError):  # stderr may be closed as well
            print(f"{prog}: error: {one_line(describe(error))}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    finally:
        _finish(sys.stdout)
        _finish(sys.stderr)


def _run(arguments: list[str], chosen: str | None) -> int:
    try:
        args = make_parser(chosen).parse_args(arguments)
    except SystemExit as ended:  # --help, --version, or a wrong command line
        return int(ended.code or 0)
    return importlib.import_module(COMMANDS[args.command][0]).run(args) or 0


def _prepare_streams() -> None:
    """Make all text UTF-8, whatever the locale, and replace closed streams by os.devnull."""
    for name, mode in {"stdin": "r", "stdout": "w", "stderr": "w"}.items():
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))
        elif hasattr(stream, "reconfigure"):
            stream.reconfigure(encoding="utf-8", errors="replace")


def _finish(stream: Any) -> None:
    """Write what is buffered. If that fails, discard it, because Python tries again at exit."""
    try:
        stream.flush()
    except OSError:
        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, stream.fileno())
        os.close(devnull)


def describe(error: Exception) -> str:
    """What went wrong, for someone who does not know the code.

    >>> describe(ValueError("top_p must be at most 1")), describe(KeyError("x"))
    ('top_p must be at most 1', "KeyError: 'x'")
    """
    if isinstance(error, OSError) and error.strerror and error.filename is not None:
        return f"{error.filename}: {error.strerror}"
    name = type(error).__name__
    # torch raises an error of its own on a GPU, and a plain RuntimeError on the CPU.
    in_torch = name == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
    if in_torch or isinstance(error, MemoryError):
        return f"out of memory: {error}" if str(error) else "out of memory"
    if "No working C++ compiler found" in str(error):  # torch goes on with all that it compiles
        return (
            "torch found no C++ compiler, which --compiled and --block-sparse need on a CPU;"
            " install g++ or leave them out"
        )
    if "Python.h" in str(error):
        return (
            "the C++ compiler found no Python.h, which --compiled and --block-sparse need on a CPU;"
            " install this Python's headers (Debian's python3-dev) or leave them out"
        )
    expected = (ValueError, TypeError, OSError, ImportError, UsageError)
    return str(error) if isinstance(error, expected) and str(error) else f"{name}: {error}"


def plain(text: str) -> str:
    """A text without control characters except newline and tab: a terminal would obey them.

    >>> plain("a\\x1b[2Jb\\x9b1mc\\n\\td")
    'a[2Jb1mc\\n\\td'
    """
    return re.sub("[\x00-\x08\x0b-\x1f\x7f-\x9f]", "", text)


def named(name: str) -> str:
    """A file's name, by repr unless all of it can be printed.

    >>> named("a b"), named("a\\x1b[2J")
    ('a b', "'a\\\\x1b[2J'")
    """
    return name if name.isprintable() else repr(name)


def one_line(message: str, longest: int = 1000) -> str:
    """A message on one line, cut off because that of a compiler can fill pages.

    >>> one_line("a\\n  b"), one_line("abcdef", longest=3)
    ('a b', 'abc …')
    """
    line = plain(" ".join(message.split()))
    return line if len(line) <= longest else f"{line[:longest]} …"
