"""Constrained output: at each step only the tokens after which the text can still become valid.

The model gives every token a logit. `generate(..., allowed=)` hides those that the function
returned by `allowed_tokens` rules out, and samples among the others (Willard and Louf 2023).
"""

import re
from collections.abc import Callable

import numpy as np

_SCALAR = re.compile(
    r'"(?:[^"\\\x00-\x1f]|\\["\\/bfnrt]|\\u[0-9a-fA-F]{4})*"'
    r"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?"
    r"|true|false|null"
)
_TOKEN = re.compile(r'"(?:[^"\\]|\\.?)*"?|[-+.\w]+|.', re.DOTALL)
# What may be missing of a scalar that breaks off, the shortest first.
_ENDS = ["", '"', "0", "e", "l", *('\\"', '0"', "ue", "se", "ll"), *('00"', "rue", "lse", "ull"),
         *('000"', "alse"), '0000"']  # fmt: skip
# What is expected next -> what is missing for it at least.
_NEEDS = {"value": "0", "first value": "", "key": '"":0', "first key": "", ":": ":0", "next": ""}


def json_end(text: str) -> str | None:
    """A shortest text that makes `text` valid JSON, "" if it is; None if nothing does.

    Whitespace may stand only within brackets, because around them a model could write it forever.

    >>> json_end('{"name": ["Lily", tr'), json_end('{"name": }'), json_end("[1, 2]")
    ('ue]}', None, '')
    """
    closers: list[str] = []
    expected, end = "value", ""
    for match in _TOKEN.finditer(text):
        token, is_last = match[0], match.end() == len(text)
        is_value = expected in ("value", "first value")
        is_key = expected in ("key", "first key") and token[0] == '"'
        if token in " \t\n\r" and closers:
            continue
        if token in "[{" and is_value:
            closers.append({"[": "]", "{": "}"}[token])
            expected = "first value" if token == "[" else "first key"
        elif token in closers[-1:] and expected in ("first value", "first key", "next"):
            closers.pop()
            expected = "next"
        elif token == "," and expected == "next" and closers:
            expected = "value" if closers[-1] == "]" else "key"
        elif token == ":" == expected:
            expected = "value"
        elif is_value or is_key:
            ends = [each for each in _ENDS if _SCALAR.fullmatch(token + each)]
            if not ends or (ends[0] and not is_last):
                return None
            end = ends[0]
            expected = "next" if is_value else ":"
        else:
            return None
    return end + _NEEDS[expected] + "".join(reversed(closers))


def json_prefix(text: str) -> bool:
    """Whether a text can still become valid JSON.

    >>> json_prefix('{"a": -'), json_prefix('{"a": -}')
    (True, False)
    """
    return json_end(text) is not None


def allowed_tokens(
    tokenizer, accepts: Callable[[str], bool], whole: Callable[[str], bool] | None = None
) -> Callable[[list[int]], np.ndarray]:
    """A function for `allowed=` of `generate`: from the new ids to which tokens may come next.

    accepts: a function from a text to whether it can still become valid; then every beginning of
    the text must be accepted too. whole: whether a text is valid as it stands, so that it may end
    with one of tokenizer.stop_ids, which generate must be given; if None, it ends when no token
    can follow. A token may break off inside a character of several bytes. It counts then as if
    it were the first character that begins with these bytes.

    The function takes as long as asking `accepts` about each piece that begins with a byte that
    it accepts: within a JSON string about 15 ms a token for 768 pieces, and a second or two for
    32,768. Raises TypeError when these are no functions, ValueError without stop ids.

    >>> from minimistral import tiny, tokenizer
    >>> tokens = tokenizer.load(tiny.FOLDER)
    >>> allowed = allowed_tokens(tokens, lambda text: "true".startswith(text))
    >>> [tokens.piece(int(token)) for token in allowed([]).nonzero()[0]]
    ['<0x74>', 'tr', 't']
    """
    if not callable(accepts) or not (whole is None or callable(whole)):
        raise TypeError("accepts must be a function, and whole one or None")
    if not tokenizer.stop_ids:
        raise ValueError("tokenizer must have a stop id, or no text could end")
    pieces = [tokenizer.piece_bytes(token) for token in range(tokenizer.n_ids)]

    def allowed(new_ids):
        text = b"".join(pieces[token] for token in new_ids)
        first = {byte for byte in range(256) if _accepted(text + bytes([byte]), accepts)}
        mask = [bool(piece) and piece[0] in first for piece in pieces]
        mask = [
            may and (len(piece) == 1 or _accepted(text + piece, accepts))
            for may, piece in zip(mask, pieces, strict=True)
        ]
        ends = not any(mask) if whole is None else whole(text.decode(errors="replace"))
        for token in tokenizer.stop_ids:
            mask[token] = ends
        return np.array(mask)

    return allowed


def _accepted(text: bytes, accepts: Callable[[str], bool]) -> bool:
    """Whether bytes can become an accepted text; at their end a character may be incomplete."""
    try:
        return accepts(text.decode())
    except UnicodeDecodeError as error:
        if error.reason != "unexpected end of data":
            return False
        whole, begun = text[: error.start], text[error.start :]
    n_bytes = 2 if begun[0] < 0xE0 else 3 if begun[0] < 0xF0 else 4
    # The first character that begins so; after 0xE0 and 0xF0 the second byte is not the smallest.
    if len(begun) == 1:
        begun += {0xE0: b"\xa0", 0xF0: b"\x90"}.get(begun[0], b"\x80")
    return accepts((whole + begun.ljust(n_bytes, b"\x80")).decode())
