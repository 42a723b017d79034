"""Tokens as lesson 09 makes them: merges, chats by hand, a stream, a template read as text.

Each function is the course's own answer to an exercise. Its keyword arguments get it wrong in one
way each, so that a check can tell a learner which mistake explains all results.
"""

import codecs
import re
from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise
from typing import Any

Pieces = list[str]
Pair = tuple[str, str]
Messages = Sequence[Mapping[str, str]]


def count_pairs(pieces: Pieces) -> dict[Pair, int]:
    """How often each pair of neighbours occurs; no pair reaches over the start of a word.

    >>> count_pairs(["▁a", "b", "▁a", "b", "c"])
    {('▁a', 'b'): 2, ('b', 'c'): 1}
    """
    counts: dict[Pair, int] = {}
    for pair in pairwise(pieces):
        if not pair[1].startswith("▁"):
            counts[pair] = counts.get(pair, 0) + 1
    return counts


def merge(pieces: Pieces, pair: Pair) -> Pieces:
    """The pieces with each occurrence of the pair joined, from left to right.

    >>> merge(["a", "b", "c", "a", "b"], ("a", "b"))
    ['ab', 'c', 'ab']
    """
    merged: Pieces = []
    n = 0
    while n < len(pieces):
        joins = tuple(pieces[n : n + 2]) == tuple(pair)
        merged.append("".join(pair) if joins else pieces[n])
        n += 2 if joins else 1
    return merged


def encode(
    pieces: Pieces,
    rank: Mapping[str, float],
    choose: Callable[[list[int], list[str], Mapping[str, float]], int] | None = None,
) -> Pieces:
    """Join neighbours as long as together they are a piece, the lowest rank first.

    choose: which of the places that can be joined is taken, given them, what each makes, and the
    ranks. By default the leftmost of those with the lowest rank.

    >>> encode(["a", "b", "c"], {"ab": 1, "bc": 0})
    ['a', 'bc']
    """
    pieces = list(pieces)
    while True:
        joined = [a + b for a, b in pairwise(pieces)]
        places = [n for n, piece in enumerate(joined) if piece in rank]
        if not places:
            return pieces
        made = [joined[n] for n in places]
        n = choose(places, made, rank) if choose else min(places, key=lambda n: rank[joined[n]])
        pieces[n : n + 2] = [joined[n]]


def stream(pieces: Pieces) -> list[str]:
    """The text that each piece adds, "" while a character is incomplete.

    >>> stream(["▁a", "▁", "<0xC3>", "<0xA9>"])
    ['a', ' ', '', 'é']
    """
    decoder = codecs.getincrementaldecoder("utf-8")("replace")
    return [decoder.decode(piece_bytes(piece, first=n == 0)) for n, piece in enumerate(pieces)]


def piece_bytes(piece: str, first: bool = False) -> bytes:
    """The bytes of a piece; the first of a text loses its space.

    >>> piece_bytes("▁a"), piece_bytes("<0xF0>")
    (b' a', b'\\xf0')
    """
    if first:
        piece = piece.removeprefix("▁")
    if piece.startswith("<0x"):
        return bytes([int(piece[1:-1], 16)])
    return piece.replace("▁", " ").encode()


def chat(
    messages: Messages,
    tokenizer: Any,
    begin: bool = True,
    end: Callable[[Any], list[int]] | None = None,
    end_user: bool = False,
    system_at: Callable[[list[int]], list[int]] | None = None,
    between: str = "\n\n",
    style: str | None = None,
    v1_turn: str = "[INST] {} [/INST]",
    bos_in_text: bool = False,
) -> list[int]:
    """A chat as v1 writes it, in text, or as v2 and v3 do, with control ids.

    begin, end, end_user: <s> and </s>; system_at: which of the user's turns get the system prompt;
    between: what follows it; style: "text" or "ids" for all versions; bos_in_text: each encode
    adds one.
    """
    tok = tokenizer
    in_text = (style or ("text" if tok.version == "v1" else "ids")) == "text"
    turns = [n for n, message in enumerate(messages) if message["role"] == "user"]
    at = system_at(turns) if system_at else [turns[0 if tok.version == "v1" else -1]]
    system = "".join(m["content"] + between for m in messages if m["role"] == "system")
    ids = [tok.bos_id] if begin else []
    for n, message in enumerate(messages):
        content = (system if n in at else "") + message["content"]
        if message["role"] == "user" and in_text:
            ids += tok.encode(v1_turn.format(content), bos=bos_in_text)
        elif message["role"] == "user":
            marks = tok.control_ids
            first, last = marks.get("[INST]", -1), marks.get("[/INST]", -1)
            ids += [first, *tok.encode(content, bos=bos_in_text), last]
        if message["role"] == "user" and end_user:
            ids.append(tok.eos_id)
        if message["role"] == "assistant":
            ids += tok.encode(content, bos=bos_in_text) + (end(tok) if end else [tok.eos_id])
    return ids


def parse(tokenizer: Any, text: str) -> list[int]:
    """The ids of a text in which "<s>", "[INST]" and the like are control pieces.

    A space behind a control piece is the one that every text begins with.
    """
    controls = tokenizer.control_ids
    marks = "|".join(map(re.escape, controls))
    ids: list[int] = []
    for part in re.split(f"({marks})", text):
        if part in controls:
            ids.append(controls[part])
        elif part:
            ids += tokenizer.encode(part.removeprefix(" "), bos=False)
    return ids


def training_row(tokenizer: Any, text: str, max_tokens: int) -> list[int]:
    """The ids of a text with its markup, between one <s> and one </s>, at most max_tokens."""
    ids = parse(tokenizer, text)
    if ids[:1] != [tokenizer.bos_id]:
        ids = [tokenizer.bos_id, *ids]
    if ids[-1] != tokenizer.eos_id:
        ids.append(tokenizer.eos_id)
    return ids[:max_tokens]


def server_ids(tokenizer: Any, system: str, question: str) -> list[int]:
    """The ids of one question, whose text cannot become a control id."""
    marks = tokenizer.control_ids
    text = system + "\n\n" + question if system else question
    return [
        tokenizer.bos_id, marks["[INST]"], *tokenizer.encode(text, bos=False), marks["[/INST]"]
    ]  # fmt: skip
