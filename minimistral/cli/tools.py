"""Function calling in a chat: the tools of a file, calls of the model, and their results."""

import itertools
import json
import re
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from minimistral.tokenizer import Tokenizer


def read_tools(file: str) -> list[dict]:
    """The functions in a JSON file. Raises OSError, or ValueError naming the file."""
    try:
        tools = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is no JSON: {error}") from None
    if not isinstance(tools, list) or not tools:
        raise ValueError(f"{file} must hold a JSON list of tools, one at least")
    return tools


def calls_in(words: Tokenizer, ids: Iterable[int], taken: int) -> list[dict[str, Any]]:
    """The calls in an answer, each with an id; none if it is text.

    taken: how many calls came before, for an id of nine characters where the model gave none.
    Raises ValueError when the answer begins as calls and is cut or broken.
    """
    try:
        calls = words.tool_calls(ids) or []
    except ValueError:
        raise ValueError(
            "the answer begins as a call of tools and is no whole JSON list of calls;"
            " --max-new-tokens may have cut it"
        ) from None
    numbers = itertools.count(taken + 1)
    return [
        {**call, "id": _known_id(call) or f"{number:09}"}
        for call, number in zip(calls, numbers, strict=False)
    ]


def _known_id(call: dict[str, Any]) -> str | None:
    known = re.fullmatch("[a-zA-Z0-9]{9}", str(call.get("id")))
    return known[0] if known else None


def as_message(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The calls as a message of the assistant: arguments are a text of JSON there.

    >>> as_message([{"id": "000000001", "name": "add", "arguments": {"a": 1}}])["tool_calls"]
    [{'id': '000000001', 'function': {'name': 'add', 'arguments': '{"a": 1}'}}]
    """
    sent = [
        {
            "id": call["id"],
            "function": {
                "name": call["name"],
                "arguments": json.dumps(call["arguments"], ensure_ascii=False),
            },
        }
        for call in calls
    ]
    return {"role": "assistant", "content": "", "tool_calls": sent}


def result(call: dict[str, Any], content: str) -> dict[str, Any]:
    """What a tool gave, as a message."""
    return {
        "role": "tool", "name": call["name"], "content": content, "tool_call_id": call["id"],
    }  # fmt: skip
