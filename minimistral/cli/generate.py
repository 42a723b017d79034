"""`minimistral generate`: go on with a text."""

import argparse
import os
import sys

from minimistral import tiny
from minimistral.cli import UsageError, engine, processes


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, the prompt, and the options of the engine."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        default=tiny.FOLDER,
        help="folder of a checkpoint with its tokenizer; the shipped tiny model if not given",
    )
    parser.add_argument(
        "--prompt", metavar="TEXT", help="what to go on from; read from standard input if not given"
    )
    engine.add_arguments(parser, max_new_tokens=100)
    parser.add_argument(
        "--tensor-parallel",
        type=engine.COUNT,
        metavar="N",
        help="for pt: share each layer out over N processes, on GPUs one each",
    )


def run(args: argparse.Namespace) -> int:
    """Write the prompt and what follows to stdout as it comes; the last line to stderr."""
    prompt = _prompt(args)
    if args.tensor_parallel is not None and "RANK" not in os.environ:
        return processes.start(args, prompt)
    mm, model, words = engine.load(args.model, args)
    ids = words.encode(prompt)
    cache = model.new_cache(1, len(ids) + args.max_new_tokens)
    new = engine.Run(mm, model, args, [words.eos_id])
    code = 0
    try:
        engine.show([prompt])
        engine.show(words.decode_stream(new.stream(ids, cache), after=ids))
    except KeyboardInterrupt:
        code = 130
    print(flush=True)
    if processes.is_first():
        print(new.words(), file=sys.stderr)
    return code


def _prompt(args: argparse.Namespace) -> str:
    if args.prompt is None:
        if sys.stdin.isatty():
            raise UsageError("argument --prompt: needed, unless text is piped in")
        prompt = sys.stdin.read().removesuffix("\n")
    else:
        prompt = args.prompt
    if not prompt:
        raise UsageError("argument --prompt: must not be empty")
    return engine.require_unicode("--prompt", prompt)
