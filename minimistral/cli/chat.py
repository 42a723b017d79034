"""`minimistral chat`: talk to an instruct model, in the template of its version."""

import argparse
import sys
from pathlib import Path
from typing import Any

from minimistral.cli import UsageError, engine, one_line
from minimistral.tokenizer import VERSIONS, Tokenizer

# The system prompt that the paper recommends to enforce guardrails (section 5.1).
GUARDRAIL = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely."
    " Avoid harmful, unethical, prejudiced, or negative content. Ensure replies promote fairness"
    " and positivity."
)
CONTEXT = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, the system prompt, and the options of the engine."""
    parser.add_argument("model", metavar="MODEL", help="folder of a checkpoint with its tokenizer")
    system = parser.add_mutually_exclusive_group()
    system.add_argument("--system", metavar="TEXT", help="the system prompt")
    system.add_argument(
        "--guardrail",
        dest="system",
        action="store_const",
        const=GUARDRAIL,
        help="the system prompt that the paper recommends",
    )
    parser.add_argument(
        "--tokenizer-version",
        choices=VERSIONS,
        help="whose template; found by the tokenizer's file if not given",
    )
    parser.add_argument(
        "--context",
        type=engine.COUNT,
        metavar="N",
        help=f"room in the cache of a model without a window ({CONTEXT} tokens, or"
        " the model's context if that is less)",
    )
    engine.add_arguments(parser, max_new_tokens=512)


class Conversation:
    """What was said so far, and the cache that has read it."""

    def __init__(self, mm: Any, model: Any, words: Tokenizer, args: argparse.Namespace) -> None:
        self.model, self.words, self.system = model, words, args.system
        self.answers = engine.Run(mm, model, args, [words.eos_id])
        context = args.context or min(CONTEXT, model.config.context_len)
        self.cache = model.new_cache(1, context if model.config.window_size is None else None)
        self.reset()

    def reset(self) -> None:
        """Forget what was said, but not the system prompt."""
        self.messages = [{"role": "system", "content": self.system}] if self.system else []
        self.cache.reset()
        self.read: list[int] = []  # the ids that the cache has read

    def say(self, line: str) -> bool:
        """Show the answer to a line; False when Ctrl-C cut it short.

        The conversation stays as it was when there is an error.
        """
        messages = [*self.messages, {"role": "user", "content": line}]
        ids = self.words.chat(messages)
        if len(ids) <= len(self.read) or ids[: len(self.read)] != self.read:
            self.cache.reset()  # the template has moved something: read all of it again
            self.read = []
        new, shown, whole = ids[len(self.read) :], [], True
        try:
            for piece in self.words.decode_stream(self.answers.stream(new, self.cache)):
                shown.append(piece)
                engine.show([piece])
        except KeyboardInterrupt:
            whole = False
        finally:
            self.read = (ids + self.answers.ids)[: int(self.cache.seen[0])]
        print(flush=True)
        if answer := "".join(shown).strip():
            self.messages = [*messages, {"role": "assistant", "content": answer}]
        return whole


def run(args: argparse.Namespace) -> int:
    """Answer each line of stdin until it ends."""
    if not Path(args.model).is_dir():
        raise FileNotFoundError(f"there is no folder {args.model}")
    if args.system is not None and not args.system.strip():
        raise UsageError("argument --system: must not be empty")
    talk, code = Conversation(*engine.load(args.model, args), args), 0
    asks = sys.stdin.isatty()
    if asks:
        print("/reset begins again, /quit or Ctrl-D ends, Ctrl-C stops an answer", file=sys.stderr)
    while True:
        try:
            line = input("> ") if asks else sys.stdin.readline()
        except EOFError:
            break
        if not asks and not line:
            break
        line = line.strip()
        if line == "/quit":
            break
        if line == "/reset":
            talk.reset()
        elif line:
            code = _turn(talk, line, asks) or code
    return code


def _turn(talk: Conversation, line: str, asks: bool) -> int:
    """One answer, and the line after it. An error ends the turn, not the conversation."""
    try:
        whole = talk.say(line)
    except (ValueError, TypeError) as error:
        hint = "; /reset makes room, --context more of it" if "cache is full" in str(error) else ""
        print(f"minimistral chat: error: {one_line(str(error))}{hint}", file=sys.stderr)
        return 1
    print(talk.answers.words(), file=sys.stderr)
    if not whole and not asks:
        raise KeyboardInterrupt
    return 0
