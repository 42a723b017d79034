"""`minimistral chat`: talk to an instruct model, in its own chat template or Mistral's."""

import argparse
import contextlib
import sys
from typing import Any

from minimistral import tiny
from minimistral.cli import UsageError, describe, engine, one_line, plain, tools
from minimistral.tokenizer import VERSIONS, Tokenizer

# The system prompt that the paper recommends to enforce guardrails (section 5.1).
GUARDRAIL = (
    "Always assist with care, respect, and truth. Respond with utmost utility yet securely."
    " Avoid harmful, unethical, prejudiced, or negative content. Ensure replies promote fairness"
    " and positivity."
)
SHIPPED = "the shipped tiny instruct model: it was taught some names of Python and knows no others"
CONTEXT = 8192


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL, the system prompt, and the options of the engine."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        help="folder of a checkpoint with its tokenizer; the shipped tiny instruct model if not"
        " given",
    )
    system = parser.add_mutually_exclusive_group()
    system.add_argument("--system", metavar="TEXT", help="system prompt")
    system.add_argument(
        "--guardrail",
        dest="system",
        action="store_const",
        const=GUARDRAIL,
        help="use the system prompt that the paper recommends (section 5.1)",
    )
    parser.add_argument(
        "--tokenizer-version",
        choices=VERSIONS,
        help="use Mistral's chat template of this version; if not given, the folder's own, or else"
        " that of the version of the tokenizer's file",
    )
    parser.add_argument(
        "--tools",
        metavar="FILE",
        help="JSON list of functions that a v3 model may call; when it answers with a JSON list"
        " of calls, each of the following lines is read as the result of one call",
    )
    parser.add_argument(
        "--context",
        type=engine.COUNT,
        metavar="N",
        help=f"tokens that the cache holds for a model without a window ({CONTEXT}, or the"
        " model's context if that is less)",
    )
    engine.add_arguments(parser, max_new_tokens=512)


class Conversation:
    """What was said so far, and the cache that has read it.

    messages: as `Tokenizer.chat` takes them. tool_calls: those whose results are still to come.
    cached_ids: the ids that the cache has read.
    """

    def __init__(
        self, mm: Any, model: Any, tokenizer: Tokenizer, args: argparse.Namespace,
        functions: list[dict] | None = None,
    ) -> None:  # fmt: skip
        self.tokenizer, self.system, self.functions = tokenizer, args.system, functions
        self.generation = engine.Generation(mm, model, args, tokenizer.stop_ids)
        context = args.context or min(CONTEXT, model.config.context_len)
        self.cache = model.new_cache(1, context if model.config.window_size is None else None)
        self.reset()

    def reset(self) -> None:
        """Forget everything except the system prompt."""
        self.messages: list[dict[str, Any]] = []
        if self.system:
            self.messages.append({"role": "system", "content": self.system})
        self.tool_calls: list[dict[str, Any]] = []
        self.n_tool_calls = 0
        self.cache.reset()
        self.cached_ids: list[int] = []

    def message(self, line: str) -> dict[str, Any]:
        """A line as a message: the result of the first pending tool call, or else of the user."""
        if self.tool_calls:
            return tools.result(self.tool_calls[0], line)
        return {"role": "user", "content": line}

    def take_result(self, line: str) -> None:
        """Keep the result of a tool call while the results of others are still to come."""
        self.messages, self.tool_calls = [*self.messages, self.message(line)], self.tool_calls[1:]

    def say(self, line: str) -> bool:
        """Show the answer to a line; False when Ctrl-C cut it short.

        What was shown of an answer is kept, also when an error ends it. An error before that
        leaves the conversation as it was.
        """
        messages = [*self.messages, self.message(line)]
        answer, ended = self._show_answer(self.tokenizer.chat(messages, self.functions))
        complete = ended is None
        tool_calls = self._read_tool_calls(messages) if self.functions and complete else []
        if tool_calls:
            self.messages = [*messages, tools.as_message(tool_calls)]
        elif answer:
            self.messages = [*messages, {"role": "assistant", "content": answer}]
        if answer or tool_calls:
            self.tool_calls, self.n_tool_calls = tool_calls, self.n_tool_calls + len(tool_calls)
        if isinstance(ended, Exception):
            raise ended
        return complete

    def _show_answer(self, ids: list[int]) -> tuple[str, BaseException | None]:
        """Write the answer to a conversation as it comes -> its text, and what cut it short.

        Only ids that the cache has not read yet are read, unless the template changed earlier ones.
        """
        if len(ids) <= len(self.cached_ids) or ids[: len(self.cached_ids)] != self.cached_ids:
            self.cache.reset()
            self.cached_ids = []
        new_ids = self.generation.stream(ids[len(self.cached_ids) :], self.cache)
        shown: list[str] = []
        ended: BaseException | None = None
        try:
            for piece in self.tokenizer.decode_stream(new_ids):
                shown.append(piece)
                engine.show([piece])
        except (KeyboardInterrupt, Exception) as error:
            ended = error
        finally:
            self.cached_ids = (ids + self.generation.ids)[: int(self.cache.seen[0])]
        if shown or not isinstance(ended, Exception):
            print(flush=True)
        return "".join(shown).strip(), ended

    def _read_tool_calls(self, messages: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """The tool calls in the answer. Raises ValueError if the chat cannot continue from them."""
        calls = tools.calls_in(self.tokenizer, self.generation.ids, self.n_tool_calls)
        if calls:
            results = [tools.result(call, "0") for call in calls]
            self.tokenizer.chat([*messages, tools.as_message(calls), *results], self.functions)
        return calls


def run(args: argparse.Namespace) -> int:
    """Answer each line of stdin until it ends."""
    if args.system is not None and not engine.require_unicode("--system", args.system).strip():
        raise UsageError("argument --system: must not be empty")
    if args.tools == "":
        raise UsageError("argument --tools: must not be empty")
    functions = None if args.tools is None else tools.read_tools(args.tools)

    def check(tokenizer: Tokenizer) -> None:
        if functions is not None:
            _require_tools(tokenizer, functions, args.tools)

    model = tiny.INSTRUCT if args.model is None else args.model
    conversation = Conversation(*engine.load(model, args, check), args, functions)
    if args.model is None:
        print(f"model: {SHIPPED}", file=sys.stderr)
    print(f"chat template: {conversation.tokenizer.template_name}", file=sys.stderr)
    code, interactive = 0, sys.stdin.isatty()
    if interactive:
        hint = "/reset starts over, /quit or Ctrl-D ends the chat, Ctrl-C stops an answer"
        print(hint, file=sys.stderr)
    while (line := _read_line(conversation, interactive)) not in (None, "/quit"):
        if line == "/reset":
            conversation.reset()
        elif line:
            code = _turn(conversation, line, interactive) or code
    return code


def _require_tools(tokenizer: Tokenizer, functions: list[dict], file: str) -> None:
    """Raise unless the tokenizer's template takes these functions."""
    if tokenizer.version != "v3":
        raise UsageError(f"argument --tools: needs a v3 tokenizer, not {tokenizer.version}")
    if not tokenizer.takes_tools:
        where = tokenizer.template_name
        raise UsageError(f"argument --tools: the chat template in {where} takes no tools")
    try:
        tokenizer.chat([{"role": "user", "content": "Hi"}], functions)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{file}: {error}") from None


def _read_line(conversation: Conversation, interactive: bool) -> str | None:
    """The next line of stdin, stripped; None at its end."""
    if not interactive:
        line = sys.stdin.readline()
        return line.strip() if line else None
    calls = conversation.tool_calls
    prompt = plain(f"{calls[0]['name']}> ") if calls else "> "
    # A stdout that is piped holds only the answers, so the prompt goes to stderr then.
    with contextlib.redirect_stdout(sys.stdout if sys.stdout.isatty() else sys.stderr):
        try:
            return input(prompt).strip()
        except EOFError:
            return None


def _turn(conversation: Conversation, line: str, interactive: bool) -> int:
    """One answer and its summary line. An error ends the turn, but not the conversation."""
    if len(conversation.tool_calls) > 1:
        conversation.take_result(line)
        return 0
    before = len(conversation.messages)
    try:
        complete = conversation.say(line)
    except (ValueError, TypeError, RuntimeError, MemoryError) as error:
        full = "cache is full" in str(error)
        hint = "; use /reset, or a larger --context" if full else ""
        if len(conversation.messages) == before:
            hint += "; the chat continues without this line"
        print(f"minimistral chat: error: {one_line(describe(error))}{hint}", file=sys.stderr)
        return 1
    print(conversation.generation.summary(), file=sys.stderr)
    if not complete and not interactive:
        raise KeyboardInterrupt
    return 0
