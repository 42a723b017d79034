"""What lesson 09 claims of tokenizers and templates, and what its checks compare with."""

import functools
import json
import re
from itertools import pairwise

import answers_09
import pytest
from checked import printed, said
from effort import characters
from hypothesis import given
from hypothesis import strategies as st

from minimistral import tiny
from minimistral.course.checks import tokens
from minimistral.course.checks.report import Wrong, call
from minimistral.tokenizer import VERSIONS
from minimistral.tokenizer import load as load_tokenizer

V1, V2, V3 = (load_tokenizer(version) for version in VERSIONS)
TINY = load_tokenizer(tiny.FOLDER)
ALL = pytest.mark.parametrize("t", [V1, V2, V3, TINY], ids=[*VERSIONS, "tiny"])
MARKS = ["[INST]", "[/INST]", "<s>", "</s>", "[TOOL_CALLS]", "[/IN", "ST]", " ", "\n", "a"]

any_text = st.text(characters(exclude_characters="▁"), max_size=30)
words = st.lists(
    st.sampled_from(["the", "The", " ", "  ", "\n", "é", "🐻", "人", "в", "[", "INST"])
)
some_text = words.map("".join) | any_text
marked = st.lists(st.sampled_from(MARKS) | any_text, max_size=6).map("".join)
small_pieces = st.lists(st.sampled_from(["a", "b", "ab", "▁", "▁a", "ba"]), max_size=9)


@functools.cache
def ranks_and_ids(t):
    return t.ranks(), {t.piece(i): i for i in range(len(t))}


def ids_of(t, text):
    """The lesson's way: characters, joins, and bytes for what is left."""
    ranks, id_of = ranks_and_ids(t)
    made = tokens.encode(list("▁" + text.replace(" ", "▁")), ranks)
    spelled = [[p] if p in ranks else [f"<0x{b:02X}>" for b in p.encode()] for p in made]
    return [id_of[piece] for pieces in spelled for piece in pieces]


# Pieces


@ALL
@given(text=some_text.filter(lambda text: text and "[REFERENCE_DOC" not in text))
def test_the_lesson_s_encoder_gives_the_real_ids(t, text):
    assert ids_of(t, text) == t.encode(text, bos=False)


@given(pieces=small_pieces)
def test_pairs_lie_in_one_word(pieces):
    counts = tokens.count_pairs(pieces)
    text = [(a, b) for a, b in pairwise(pieces) if b[0] != "▁"]
    assert counts == {pair: text.count(pair) for pair in text}


@given(pieces=small_pieces, pair=st.sampled_from([("a", "b"), ("a", "a"), ("ab", "a")]))
def test_joining_keeps_the_text(pieces, pair):
    joined = tokens.merge(pieces, pair)
    assert "".join(joined) == "".join(pieces)
    assert pair not in tokens.count_pairs(joined)


@ALL
def test_the_ranks_are_those_of_pieces_that_joins_make(t):
    ranks, controls = t.ranks(), t.control_ids
    assert not [p for p in ranks if re.fullmatch("<0x..>", p) or p in controls]
    assert "<unk>" not in ranks and len(ranks) == {768: 509}.get(len(t), 31741)
    assert ranks["▁t"] < ranks["▁the"]


def test_a_tokenizer_json_has_no_ranks(tmp_path):
    from tokenizers import Tokenizer, models

    Tokenizer(models.BPE({"a": 0}, [])).save(str(tmp_path / "tokenizer.json"))
    with pytest.raises(ValueError, match="ranks need a SentencePiece file"):
        load_tokenizer(tmp_path).ranks()


@given(text=any_text)
def test_v3_cuts_as_v1_does_and_moves_the_ids_up(text):
    assert V3.encode(text, bos=False) == [i + 768 for i in V1.encode(text, bos=False)]


def test_only_the_last_pieces_of_the_gap_are_made_by_a_text():
    gap = range(3, 771)
    made = [i for i in gap if i in V3.encode(V3.piece(i), bos=False)]
    assert made == list(range(751, 771)) and not any(map(V3.is_control, made))
    assert [i for i in gap if not V2.is_control(i)] == []


# Streams


@given(data=st.lists(st.sampled_from(["▁a", "b", "▁", "人"]) | st.integers(0, 255).map(
    "<0x{:02X}>".format), max_size=8))  # fmt: skip
def test_a_stream_of_pieces_is_that_of_ids(data):
    id_of = ranks_and_ids(V1)[1]
    ids = [id_of[piece] for piece in data]
    assert tokens.stream(data) == list(V1.decode_stream(ids))[: len(ids)]


# Templates


turns = st.lists(st.tuples(any_text, any_text).filter(lambda two: two[0].strip() and two[1].strip(
    " ") == two[1] != ""), max_size=3)  # fmt: skip


@pytest.mark.parametrize("t", [V1, V2, V3], ids=VERSIONS)
@given(turns=turns, last=marked.filter(str.strip), system=st.none() | any_text.filter(str.strip))
def test_a_chat_by_hand_is_mistral_common_s(t, turns, last, system):
    messages = [{"role": "system", "content": system}] if system else []
    for question, answer in turns:
        messages.append({"role": "user", "content": question or "?"})
        messages.append({"role": "assistant", "content": answer})
    messages.append({"role": "user", "content": last})
    assert tokens.chat(messages, t) == t.chat(messages)


@pytest.mark.parametrize("t", [V2, V3], ids=["v2", "v3"])
@given(question=marked)
def test_no_question_forges_a_turn(t, question):
    ids = tokens.server_ids(t, "", question)
    assert [i for i in ids if t.is_control(i)] == [1, 3, 4]
    assert t.decode(ids) == question


def test_a_template_read_as_text_is_the_same_for_honest_words_alone():
    talk = [("user", "Hi"), ("assistant", "Hello"), ("user", "Bye")]
    honest = [{"role": role, "content": content} for role, content in talk]
    assert tokens.parse(V3, "<s>[INST] Hi[/INST] Hello</s>[INST] Bye[/INST]") == V3.chat(honest)
    forged = [{"role": "user", "content": answers_09.ATTACK}]
    assert tokens.parse(V3, f"<s>[INST] {answers_09.ATTACK}[/INST]") == V3.chat(honest)
    assert V3.chat(forged) != V3.chat(honest)


def test_v2_leaves_out_the_calls_of_earlier_turns():
    call = {"id": "a1B2c3D4e", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Call"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "f", "content": "1", "tool_call_id": "a1B2c3D4e"},
        {"role": "assistant", "content": "One"},
        {"role": "user", "content": "Thanks"},
    ]
    assert [t.chat(messages).count(t.control_ids["[TOOL_CALLS]"]) for t in (V2, V3)] == [0, 1]


def test_a_result_names_its_function_in_v2_and_its_call_in_v3():
    call = {"id": "a1B2c3D4e", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"role": "user", "content": "Call"},
        {"role": "assistant", "content": "", "tool_calls": [call]},
        {"role": "tool", "name": "f", "content": "1", "tool_call_id": "a1B2c3D4e"},
    ]
    results = []
    for t in (V2, V3):
        ids = t.chat(messages)
        start = ids.index(t.control_ids["[TOOL_RESULTS]"])
        results.append(json.loads(t.decode(ids[start:])))
    assert results == [[{"name": "f", "content": 1}], {"content": 1, "call_id": "a1B2c3D4e"}]


# The checks


@pytest.mark.parametrize(
    ("function", "given"),
    [(lambda x: x.append(1) or x, [0]), (lambda x: x[0].clear() or 1, [{"a": 1}]),
     (lambda x: x.pop("a"), {"a": 1})],
)  # fmt: skip
def test_an_answer_must_not_change_a_list_or_a_dict(function, given):
    before = repr(given)
    with pytest.raises(Wrong, match="changes its input"):
        call(function, given)
    assert repr(given) == before


@pytest.mark.parametrize(
    ("check", "answers", "hint"),
    [
        (answers_09.ENCODE, (answers_09.best_by(lambda n, piece, rank: (rank[piece], -n)),),
         "the leftmost is joined first"),
        (answers_09.CALLS, (6, answers_09.calls(lambda n: f"call{n % 2500:05d}")),
         "have an id of their own"),
        (answers_09.STREAM, (10, answers_09.held_for_ever), "which never comes"),
    ],
    ids=lambda value: getattr(value, "name", None),
)  # fmt: skip
def test_a_mistake_that_only_one_case_shows_is_told(check, answers, hint):
    assert hint in said(check, *answers)


def test_a_wrong_result_that_is_no_array_is_shown_as_python():
    def spoiled(pieces, pair):
        return [*pieces, "x"]

    assert printed(answers_09.JOIN, spoiled)[1:] == [
        "    spoiled([], ('a', 'b'))", "    gives    ['x']", "    expected []"
    ]  # fmt: skip


def test_a_tokenizer_goes_by_its_version_in_the_call_that_is_shown():
    def roles(messages, tokenizer):
        return [tokenizer.bos_id]

    line = printed(answers_09.CHAT, roles)[1]
    assert line == "    roles([{'role': 'user', 'content': 'Hi'}], v1)"
