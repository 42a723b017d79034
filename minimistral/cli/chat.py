"""`minimistral chat`: talk to an instruct model, in the template of its version."""

import argparse
import contextlib
import sys
from typing import Any

from minimistral.cli import UsageError, engine, one_line, tools
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
        "--tools",
        metavar="FILE",
        help="a JSON list of functions that a v3 model may call; it answers with a JSON list of"
        " calls, and the next lines are taken as their results, one line for each call",
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

    def __init__(
        self, mm: Any, model: Any, words: Tokenizer, args: argparse.Namespace,
        functions: list[dict] | None = None,
    ) -> None:  # fmt: skip
        self.model, self.words, self.system, self.tools = model, words, args.system, functions
        self.answers = engine.Run(mm, model, args, [words.eos_id])
        context = args.context or min(CONTEXT, model.config.context_len)
        self.cache = model.new_cache(1, context if model.config.window_size is None else None)
        self.reset()

    def reset(self) -> None:
        """Forget what was said, but not the system prompt."""
        self.messages: list[dict[str, Any]] = []
        if self.system:
            self.messages.append({"role": "system", "content": self.system})
        self.calls: list[dict[str, Any]] = []  # of tools, whose results are still to come
        self.n_calls = 0
        self.cache.reset()
        self.read: list[int] = []  # the ids that the cache has read

    def message(self, line: str) -> dict[str, Any]:
        """A line as a message: of the user, or the result of the first tool that was called."""
        if self.calls:
            return tools.result(self.calls[0], line)
        return {"role": "user", "content": line}

    def take_result(self, line: str) -> None:
        """Keep the result of a tool when the results of others are still to come."""
        self.messages, self.calls = [*self.messages, self.message(line)], self.calls[1:]

    def say(self, line: str) -> bool:
        """Show the answer to a line; False when Ctrl-C cut it short.

        The conversation stays as it was when there is an error.
        """
        messages = [*self.messages, self.message(line)]
        ids = self.words.chat(messages, self.tools)
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
        calls = self._calls(messages) if self.tools and whole else []
        if calls:
            self.messages = [*messages, tools.as_message(calls)]
        elif answer := "".join(shown).strip():
            self.messages = [*messages, {"role": "assistant", "content": answer}]
        else:
            return whole
        self.calls, self.n_calls = calls, self.n_calls + len(calls)
        return whole

    def _calls(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The calls in the answer. Raises ValueError when the chat could not go on from them."""
        calls = tools.calls_in(self.words, self.answers.ids, self.n_calls)
        if calls:
            results = [tools.result(call, "0") for call in calls]
            self.words.chat([*messages, tools.as_message(calls), *results], self.tools)
        return calls


def _require_suits(
    words: Tokenizer, args: argparse.Namespace, functions: list[dict] | None
) -> None:
    """Raise unless the tokenizer has what the options ask of it."""
    if functions is None:
        return
    if words.version != "v3":
        raise UsageError(f"argument --tools: needs a v3 tokenizer, and this one is {words.version}")
    try:
        words.chat([{"role": "user", "content": "Hi"}], functions)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{args.tools}: {error}") from None


def run(args: argparse.Namespace) -> int:
    """Answer each line of stdin until it ends."""
    if args.system is not None and not engine.require_unicode("--system", args.system).strip():
        raise UsageError("argument --system: must not be empty")
    functions = None if args.tools is None else tools.read_tools(args.tools)
    loaded = engine.load(args.model, args, lambda words: _require_suits(words, args, functions))
    talk, code = Conversation(*loaded, args, functions), 0
    asks = sys.stdin.isatty()
    if asks:
        print("/reset begins again, /quit or Ctrl-D ends, Ctrl-C stops an answer", file=sys.stderr)
    while True:
        try:
            line = _ask(talk) if asks else sys.stdin.readline()
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


def _ask(talk: Conversation) -> str:
    """A line from the terminal. Where stdout is piped it holds the answers, not the question."""
    asked = f"{talk.calls[0]['name']}> " if talk.calls else "> "
    with contextlib.redirect_stdout(sys.stdout if sys.stdout.isatty() else sys.stderr):
        return input(asked)


def _turn(talk: Conversation, line: str, asks: bool) -> int:
    """One answer, and the line after it. An error ends the turn, not the conversation."""
    if len(talk.calls) > 1:
        talk.take_result(line)
        return 0
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
