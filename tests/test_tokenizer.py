"""The real tokenizer v1, opened offline."""

import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimistral import tokenizer

V1 = tokenizer.load("v1")


def test_golden_ids():
    assert V1.encode("Hello, how are you?") == [1, 22557, 28725, 910, 460, 368, 28804]
    assert V1.encode("Hello, how are you?", bos=False)[0] == 22557
    assert len(V1) == 32000


def test_in_v1_the_text_inst_is_ordinary_text():
    assert V1.encode("[INST]", bos=False) == [733, 16289, 28793]


def test_the_sentence_of_lesson_04():
    pieces = "▁The ▁cat ▁that ▁ch ased ▁the ▁mouse ▁sat ▁on ▁the ▁mat .".split()
    assert V1.pieces("The cat that chased the mouse sat on the mat.") == pieces


@given(st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("C", "Z")), min_size=1))
def test_text_comes_back(text):
    """v1 normalises nothing but spaces; bytes stand in for what it has no piece for."""
    assert V1.decode(V1.encode(text)) == text


def test_it_opens_without_a_network(monkeypatch):
    def refuse(*_args, **_kwargs):
        raise OSError("no network in this test")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    tokenizer.load.cache_clear()
    assert tokenizer.load("v1").decode([22557]) == "Hello"


@pytest.mark.parametrize(
    ("call", "named", "error"),
    [
        (lambda: tokenizer.load("v9"), "version", ValueError),
        (lambda: V1.encode(None), "text", TypeError),
        (lambda: V1.encode(b"bytes"), "text", TypeError),
        (lambda: V1.decode([32000]), "ids", ValueError),
        (lambda: V1.decode([-1]), "ids", ValueError),
    ],
)
def test_a_bad_argument_is_named(call, named, error):
    with pytest.raises(error, match=named):
        call()
