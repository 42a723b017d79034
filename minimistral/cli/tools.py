"""Function calling in a chat: the functions in a file, the model's calls, and their results."""

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
        functions = json.loads(Path(file).read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(functions, list) or not functions:
        raise ValueError(f"{file} must hold a JSON list of at least one function")
    return functions


def calls_in(tokenizer: Tokenizer, ids: Iterable[int], n_before: int) -> list[dict[str, Any]]:
    """The tool calls in an answer, each with an id; none if the answer is text.

    n_before: the number of earlier calls, for an id of nine digits where the model gave none.
    Raises ValueError when the answer starts a tool call that is cut off or broken.
    """
    try:
        calls = tokenizer.tool_calls(ids) or []
    except ValueError:
        raise ValueError(
            "the answer starts a tool call, but is not a complete JSON list of calls;"
            " --max-new-tokens may have cut it off"
        ) from None
    numbers = itertools.count(n_before + 1)
    return [
        {**call, "id": _valid_id(call) or f"{number:09}"}
        for call, number in zip(calls, numbers, strict=False)
    ]


def _valid_id(call: dict[str, Any]) -> str | None:
    match = re.fullmatch("[a-zA-Z0-9]{9}", str(call.get("id")))
    return match[0] if match else None


def as_message(calls: list[dict[str, Any]]) -> dict[str, Any]:
    """The calls as a message of the assistant, where the arguments are JSON text.

    >>> as_message([{"id": "000000001", "name": "add", "arguments": {"a": 1}}])["tool_calls"]
    [{'id': '000000001', 'function': {'name': 'add', 'arguments': '{"a": 1}'}}]
    """
    tool_calls = [
        {
            "id": call["id"],
            "function": {
                "name": call["name"],
                "arguments": json.dumps(call["arguments"], ensure_ascii=False),
            },
        }
        for call in calls
    ]
    return {"role": "assistant", "content": "", "tool_calls": tool_calls}


def result(call: dict[str, Any], content: str) -> dict[str, Any]:
    """The result of a tool call, as a message."""
    return {
        "role": "tool", "name": call["name"], "content": content, "tool_call_id": call["id"],
    }  # fmt: skip
