"""`minimistral generate`: continue a text."""

import argparse
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
        "--prompt", metavar="TEXT", help="text to continue; read from standard input if not given"
    )
    engine.add_arguments(parser, max_new_tokens=100)
    parser.add_argument(
        "--tensor-parallel",
        type=engine.COUNT,
        metavar="N",
        help="for pt: split every layer over N processes (with CUDA, one GPU each)",
    )


def run(args: argparse.Namespace) -> int:
    """Write the prompt and its continuation to stdout as it comes, and a summary to stderr."""
    folder = processes.shared()
    prompt = _prompt(args) if folder is None else processes.join(folder)
    if args.tensor_parallel is not None and folder is None:
        return processes.start(args, prompt)
    mm, model, tokenizer = engine.load(args.model, args)
    ids = tokenizer.encode(prompt)
    cache = model.new_cache(1, len(ids) + args.max_new_tokens)
    generation = engine.Generation(mm, model, args, tokenizer.stop_ids)
    code = 0
    try:
        engine.show([prompt])
        engine.show(tokenizer.decode_stream(generation.stream(ids, cache), after=ids))
    except KeyboardInterrupt:
        code = 130
    print(flush=True)
    if processes.is_first():
        print(generation.summary(), file=sys.stderr)
    return code


def _prompt(args: argparse.Namespace) -> str:
    prompt = args.prompt
    if prompt is None:
        if sys.stdin.isatty():
            raise UsageError("argument --prompt: required unless text is piped in")
        prompt = sys.stdin.read().removesuffix("\n")
    if not prompt:
        raise UsageError("argument --prompt: must not be empty")
    return engine.require_unicode("--prompt", prompt)
