"""Constrained output: what is accepted can become valid, and what is valid is accepted."""

import functools
import itertools
import json

import numpy as np
import pytest
from effort import characters, times
from hypothesis import given
from hypothesis import strategies as st

from minimistral import np as mn
from minimistral import pt as mp
from minimistral import tiny
from minimistral.constrain import allowed_tokens, json_end, json_prefix
from minimistral.tokenizer import load

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
TOKENS = load(tiny.FOLDER)
TEXT = st.text(characters())
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
    | TEXT,
    lambda children: st.lists(children) | st.dictionaries(TEXT, children),
    max_leaves=6,
)  # fmt: skip
# Texts that nearly are JSON: any sequence of what JSON is made of
PARTS = ["{", "}", "[", "]", ",", ":", '"', "\\", "u", "0", "1", "-", "+", ".", "e", "E", " ", "\n",
         "true", "fals", "n", "ull", "a", "é", '"a"', "\x1f", "\x7f", "\t", "/"]  # fmt: skip


def is_json(text):
    def refuse(_name):
        raise ValueError("NaN and Infinity are no JSON")

    try:
        json.loads(text, parse_constant=refuse)
    except ValueError:
        return False
    return True


@given(value=VALUES, ascii_only=st.booleans(), indent=st.sampled_from([None, 1]))
def test_every_beginning_of_json_is_accepted(value, ascii_only, indent):
    text = json.dumps(value, ensure_ascii=ascii_only, indent=indent)
    for end in range(len(text) + 1):
        missing = json_end(text[:end])
        assert json_prefix(text[:end]) and len(missing) <= max(1, len(text) - end)
        assert json.loads(text[:end] + missing) is not Ellipsis
    assert json_end(text) == ""


@given(parts=st.lists(st.sampled_from(PARTS), max_size=12))
def test_what_is_accepted_can_be_completed_and_so_can_its_beginnings(parts):
    text = "".join(parts)
    end = json_end(text)
    assert json_prefix(text) == (end is not None)
    if end is not None:
        assert is_json(text + end)
        assert all(json_prefix(text[:n]) for n in range(len(text)))
    if is_json(text) and text == text.strip():
        assert end == ""


def test_against_all_short_texts():
    """Up to two letters: accepted iff JSON of up to four begins so, or only longer JSON does."""
    letters = '[]{},:"0-.e1\\'
    valid = {"".join(text) for n in range(1, 5) for text in itertools.product(letters, repeat=n)}
    valid = {text for text in valid if is_json(text)}
    beginnings = {text[:n] for text in valid for n in range(len(text) + 1)}
    for n in range(3):
        for text in map("".join, itertools.product(letters, repeat=n)):
            # an object in a list, and one with a number that breaks off, need more than four
            longer = json_end(text) is not None and len(text + json_end(text)) > 4
            assert json_prefix(text) == (text in beginnings or longer), text


@pytest.mark.parametrize(
    ("text", "end"),
    [
        ("", "0"), ("-", "0"), ("1.", "0"), ("1e", "0"), ("1e+", "0"), ("01", None), ("+1", None),
        ("t", "rue"), ("fal", "se"), ("nul", "l"), ("nulll", None), ("True", None), ("NaN", None),
        ('"', '"'), ('"\\', '\\"'), ('"\\u', '0000"'), ('"\\u00e', '0"'), ('"\\x', None),
        ('"\n', None), ("[", "]"), ("[1,", "0]"), ("[,", None), ("[1,]", None), ("{", "}"),
        ('{"', '":0}'), ('{"a"', ":0}"), ('{"a":', "0}"), ('{"a":1,', '"":0}'), ("{1", None),
        ('{"a":1}}', None), ("[}", None), ("[1] ", None), (" 1", None), ("[ 1 ]", ""), ("1,", None),
        ("[tru]", None), ("[1 2", None), ('{"a" 1', None), ("[:", None),
    ],
)  # fmt: skip
def test_examples(text, end):
    assert json_end(text) == end


@TWINS
def test_the_tiny_model_writes_json(mm):
    """Texts at temperature 1. What is accepted leaves room for its shortest end."""
    model = mm.load(tiny.FOLDER)

    def accepts(text):
        end = json_end(text)
        return end is not None and text[:1] in ("", "{") and len(text + end) <= 40

    allowed = allowed_tokens(TOKENS, accepts)
    prompts = [TOKENS.encode("Once upon a time")] * (times(8, 50) if mm is mn else 5)
    texts = mm.generate(
        model, prompts, 160, temperature=1.0, seed=0, allowed=allowed, stop_ids=TOKENS.stop_ids
    )
    for ids in texts:
        assert ids[-1] in TOKENS.stop_ids
        value = json.loads(TOKENS.decode(ids))
        assert isinstance(value, dict)
    assert len({tuple(ids) for ids in texts}) > len(texts) / 3


def ids_of(data):
    """Ids that spell bytes one by one."""
    one = {TOKENS.piece_bytes(token): token for token in reversed(range(len(TOKENS)))}
    return [one[bytes([byte])] for byte in data]


def test_pieces_that_are_parts_of_characters():
    """Each byte of a bear may come within a string, after the one before, and nowhere else."""
    allowed = allowed_tokens(TOKENS, json_prefix)
    bear = "🐻".encode()
    for n in range(4):
        (byte,) = ids_of(bear[n : n + 1])
        assert allowed(ids_of(b'["' + bear[:n]))[byte]
        assert not allowed(ids_of(b"["))[byte]
    (quote,) = ids_of(b'"')
    assert not allowed(ids_of(b'["' + bear[:3]))[quote]
    assert allowed(ids_of(b'["' + bear))[quote]


@functools.cache
def beginnings_of_characters():
    """Bytes that are no whole character -> the first character that begins with them."""
    found = {}
    for code in (*range(0x80, 0xD800), *range(0xE000, 0x110000)):
        character = chr(code).encode()
        for n in range(1, len(character)):
            found.setdefault(character[:n], character)
    return found


@pytest.mark.parametrize("new", [b"", b"[", b'["', b'["\xf0\x9f', b"[1", b'{"a', b'{"\\u0'])
def test_the_mask_is_what_accepts_says_of_each_piece(new):
    """For each token by itself; an incomplete character counts as the first that begins so."""
    mask = allowed_tokens(TOKENS, json_prefix)(ids_of(new))
    for token in range(len(TOKENS)):
        data = new + TOKENS.piece_bytes(token)
        try:
            expected = json_prefix(data.decode())
        except UnicodeDecodeError as error:
            whole = beginnings_of_characters().get(data[error.start :])
            expected = whole is not None and json_prefix((data[: error.start] + whole).decode())
        assert mask[token] == (expected and data != new), (token, data)


def test_a_text_may_end_when_it_is_whole():
    (stop,) = TOKENS.stop_ids
    by_itself, told = (
        allowed_tokens(TOKENS, json_prefix, whole)
        for whole in (None, lambda text: json_end(text) == "")
    )
    for text, ends, can in ((b"[1]", True, True), (b"12", False, True), (b"[1", False, False)):
        assert by_itself(ids_of(text))[stop] == ends
        assert told(ids_of(text))[stop] == can
    assert by_itself(ids_of(b"[1]")).sum() == 1
    assert by_itself([]).dtype == bool and by_itself([]).shape == (len(TOKENS),)


def test_bad_arguments():
    with pytest.raises(TypeError, match="accepts must be a function"):
        allowed_tokens(TOKENS, "json")
    with pytest.raises(TypeError, match="whole one or None"):
        allowed_tokens(TOKENS, json_prefix, True)
    endless = type("Endless", (), {"stop_ids": []})()
    with pytest.raises(ValueError, match="stop id"):
        allowed_tokens(endless, json_prefix)
    with pytest.raises(ValueError, match="token must be"):
        TOKENS.piece_bytes(768)
    assert np.array([TOKENS.piece_bytes(token) == b"" for token in TOKENS.stop_ids]).all()
