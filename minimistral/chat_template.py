"""The chat template of a checkpoint's folder: Jinja text that turns messages into one string.

It comes with the weights, so it is a stranger's program. `render` runs it as transformers does, in
Jinja2's sandbox, and does so in a process of its own, which is ended after SECONDS and cannot take
more than MEMORY (where the system has such a limit, which Windows has not) or write more than SIZE
characters. This file is that process's program too.
"""

import contextlib
import datetime
import json
import re
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SECONDS, MEMORY, SIZE = 10, 512 * 2**20, 10 * 2**20
# Around what looks like a control token in a message; characters that no text needs
_START, _END = "\U000f0000", "\U000f0001"


@dataclass(frozen=True)
class Added:
    """A token that no text contains: one that a fine-tune added, or a control piece."""

    text: str
    special: bool = False  # it stands for no text
    lstrip: bool = False  # it takes the whitespace on its left
    rstrip: bool = False


@dataclass(frozen=True)
class ChatTemplate:
    """The templates of a folder by name ("default", "tool_use"), and the file they are in.

    names: those of the special tokens, such as {"bos_token": "<s>"}, which a template may use.
    """

    templates: Mapping[str, str]
    file: str
    names: Mapping[str, str] = field(default_factory=dict)

    @property
    def takes_tools(self) -> bool:
        return "tool_use" in self.templates or "tools" in self.templates.get("default", "")

    def parts(
        self,
        messages: Sequence[Mapping[str, Any]],
        tools: Sequence[Mapping[str, Any]] | None,
        tokens: Iterable[Added],
    ) -> Iterator[tuple[str, bool]]:
        """The conversation, cut at the tokens -> parts, each with whether it is a token.

        What looks like a token in a message is ordinary text, so no message forges a turn.
        Raises ValueError when the template refuses the messages or runs away.
        """
        name = "tool_use" if tools and "tool_use" in self.templates else "default"
        if name not in self.templates:
            raise ValueError(f'it has no template "default", only {", ".join(self.templates)}')
        tokens = sorted(tokens, key=lambda token: len(token.text), reverse=True)
        texts = [re.escape(token.text) for token in tokens if token.text]
        any_token = "|".join(texts) or "(?!)"
        variables = {
            "messages": [_as_template_wants(message) for message in messages],
            "tools": list(tools) if tools else None,
        }
        variables = _marked(variables, re.compile(any_token))
        extras = {"documents": None, "add_generation_prompt": True}
        text = render(self.templates[name], {**self.names, **extras, **variables})
        spaced = "|".join(
            r"\s*" * token.lstrip + re.escape(token.text) + r"\s*" * token.rstrip
            for token in tokens
            if token.text
        )
        known = {token.text for token in tokens}
        # A token between marks is text, also where the template cut one of the marks off.
        either = f"{_START}(?:{any_token})|({spaced or '(?!)'})(?!{_END})"
        start = 0
        for found in re.finditer(either, text):
            if token := found[1]:
                yield from _plain(text[start : found.start()])
                yield token if token in known else token.strip(), True
                start = found.end()
        yield from _plain(text[start:])


def render(template: str, variables: Mapping[str, Any]) -> str:
    """The text that a template makes of its variables, which must be JSON.

    Raises ValueError when it fails or exceeds a limit.

    >>> render("{% for m in messages %}{{ m.role }}: {{ m.content }}{% endfor %}",
    ...        {"messages": [{"role": "user", "content": "Hi"}]})
    'user: Hi'
    """
    try:
        request = json.dumps({"template": template, "variables": dict(variables)})
    except (TypeError, ValueError, RecursionError) as error:
        raise ValueError(f"they must be JSON: {error}") from None
    try:
        done = subprocess.run(
            [sys.executable, "-P", __file__], input=request.encode(), capture_output=True,
            timeout=SECONDS,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        raise ValueError(f"the template runs for more than {SECONDS} seconds") from None
    try:
        answer = json.loads(done.stdout)
    except ValueError:  # it was too large to say so itself
        raise ValueError(f"the template ends with exit code {done.returncode}") from None
    if "error" in answer:
        raise ValueError(answer["error"])
    return answer["text"]


def _as_template_wants(message: Mapping[str, Any]) -> dict[str, Any]:
    """Without keys that are None, and the arguments of calls as an object, not as JSON text."""
    message = {key: value for key, value in message.items() if value is not None}
    calls = message.get("tool_calls")
    if isinstance(calls, list):
        message["tool_calls"] = [_with_object(call) for call in calls]
    return message


def _with_object(call: Any) -> Any:
    try:
        arguments = json.loads(call["function"]["arguments"])
    except (TypeError, KeyError, ValueError):
        return call
    return {**call, "function": {**call["function"], "arguments": arguments}}


def _marked(value: Any, tokens: re.Pattern[str]) -> Any:
    """A copy in which every token in a text stands between marks."""
    if isinstance(value, str):
        return tokens.sub(f"{_START}\\g<0>{_END}", re.sub(f"[{_START}{_END}]", "", value))
    if isinstance(value, Mapping):
        return {key: _marked(item, tokens) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_marked(item, tokens) for item in value]
    return value


def _plain(text: str) -> Iterator[tuple[str, bool]]:
    """The text between two tokens without marks, as a part; none if nothing is left."""
    if part := re.sub(f"[{_START}{_END}]", "", text):
        yield part, False


# In the process of its own


def _main() -> None:
    """Read a template and its variables from stdin, and write the text or an error to stdout."""
    request = json.loads(sys.stdin.buffer.read())
    with contextlib.suppress(ImportError, ValueError, OSError):  # Windows has no such limit
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, resource.getrlimit(resource.RLIMIT_AS)[1]))
    try:
        answer = {"text": _run(request["template"], request["variables"])}
    except MemoryError:
        answer = {"error": f"the template takes more than {MEMORY // 2**20} MiB of memory"}
    except Exception as error:
        answer = {"error": " ".join(str(error).split())[:500] or type(error).__name__}
    sys.stdout.buffer.write(json.dumps(answer).encode())


def _run(template: str, variables: dict[str, Any]) -> str:
    """Render in the environment that transformers gives to chat templates."""
    from jinja2 import TemplateError, ext, nodes, sandbox, utils

    class Generation(ext.Extension):
        """{% generation %} marks what the assistant said, for training. It changes no text."""

        tags = {"generation"}  # noqa: RUF012

        def parse(self, parser: Any) -> Any:
            line = next(parser.stream).lineno
            body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
            return nodes.Scope(body, lineno=line)

    def raise_exception(message: str) -> None:
        raise TemplateError(message)

    class Namespace(utils.Namespace):
        """As in transformers: a name with an underscore could reach into Python."""

        def __init__(*args: Any, **attributes: Any) -> None:
            self, *given = args
            names = dict(*given, **attributes)
            for name in names:
                Namespace._check(name)
            utils.Namespace.__init__(self, names)

        def __setitem__(self, name: str, value: Any) -> None:
            Namespace._check(name)
            super().__setitem__(name, value)

        @staticmethod
        def _check(name: str) -> None:
            if name.startswith("_"):
                raise TemplateError(f"a namespace cannot hold {name!r}")

    def tojson(x: Any, ensure_ascii: bool = False, indent: Any = None, separators: Any = None,
               sort_keys: bool = False) -> str:  # fmt: skip
        return json.dumps(x, ensure_ascii=ensure_ascii, indent=indent, separators=separators,
                          sort_keys=sort_keys)  # fmt: skip

    environment = sandbox.ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[Generation, ext.loopcontrols]
    )
    environment.filters["tojson"] = tojson
    environment.globals |= {
        "raise_exception": raise_exception,
        "namespace": Namespace,
        "strftime_now": lambda format: datetime.datetime.now().strftime(format),
    }
    written, size = [], 0
    for text in environment.from_string(template).generate(**variables):
        size += len(text)
        if size > SIZE:
            raise ValueError(f"the template writes more than {SIZE:,} characters")
        written.append(text)
    return "".join(written)


if __name__ == "__main__":
    _main()
