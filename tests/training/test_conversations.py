"""The conversations: what the text says, what is held out, and their file."""

import json
from collections import Counter

import pytest

from minimistral import tiny, tokenizer
from minimistral.training import conversations as talk
from minimistral.training import corpus
from minimistral.training.conversations import Conversation
from minimistral.training.topics import Topic, all_topics

SHIPPED = talk.load()
TOKENIZER = tokenizer.load(tiny.INSTRUCT)
REACH = 4 * 31  # of the tiny model: K(W - 1)


def parts(**where):
    """Conversations by their part, of those with these values."""
    chosen = [c for c in SHIPPED if all(getattr(c, key) == value for key, value in where.items())]
    return {part: [c for c in chosen if c.part == part] for part in talk.PARTS}


def test_the_shipped_ones_are_made_from_the_text():
    from pydoc_data.topics import topics

    if corpus.digest(corpus.split()[0]) != "10b51f7098e1":
        pytest.skip("this Python has another version of the text")
    assert talk.make(topics) == SHIPPED
    assert talk.as_json(SHIPPED) == talk.FILE.read_text(encoding="utf-8")


def test_another_version_of_the_text_gives_most_of_them_too():
    from pydoc_data.topics import topics

    made = talk.make(topics)
    assert len({c.turns for c in made} & {c.turns for c in SHIPPED}) > 0.7 * len(SHIPPED)


def test_some_hundreds_of_each_part():
    counts = {part: len(found) for part, found in parts().items()}
    assert counts == {"training": 993, "new wording": 268, "new topic": 284}
    assert Counter(c.kind for c in parts()["training"]) == {
        "what": 392, "where": 196, "refusal": 144, "second turn": 165, "moderation": 96,
    }  # fmt: skip


def test_an_answer_is_a_sentence_of_the_text():
    if corpus.digest(corpus.split()[0]) != "10b51f7098e1":
        pytest.skip("this Python has another version of the text")
    text = " ".join("\n".join(corpus.all_sections()).split()).lower()
    answers = [c.turns[-1].partition(": ")[2] for c in SHIPPED if c.kind == "what"]
    found = [answer.rstrip(".").lower() in text for answer in answers]
    # The others stand in a table, over several of its lines, or had a mark of a footnote.
    assert sum(found) > 0.8 * len(answers)


def test_no_question_is_asked_twice_and_no_new_topic_is_answered_in_training():
    for kind in ("what", "where"):
        of = parts(kind=kind)
        asked = [c.turns for c in SHIPPED if c.kind == kind]
        assert len(set(asked)) == len(asked)
        known = {c.turns[-1] for c in of["training"]}
        assert not known & {c.turns[-1] for c in of["new topic"]}
        assert {c.turns[-1] for c in of["new wording"]} <= known
    sentences = {c.turns[-1].partition(": ")[2] for c in parts(kind="what")["training"]}
    held_out = {c.turns[-1].partition(": ")[2] for c in parts(kind="what")["new topic"]}
    assert not sentences & held_out


def test_no_turn_of_training_answers_a_new_topic():
    known = {turn for c in parts()["training"] for turn in c.turns}
    for conversation in parts()["new topic"]:
        if conversation.kind in ("what", "where", "second turn"):
            assert not known & set(conversation.turns[1::2])


def test_subjects_and_requests_are_split():
    refused = {part: {c.topic for c in found} for part, found in parts(kind="refusal").items()}
    assert not refused["training"] & refused["new topic"]
    assert len(refused["new topic"]) == len(talk.SUBJECTS) / 4
    judged = parts(kind="moderation")
    verbs = {part: {c.topic for c in found} for part, found in judged.items()}
    assert not verbs["training"] & verbs["new topic"] and verbs["new wording"] == verbs["training"]
    requests = {part: {c.turns[0] for c in found} for part, found in judged.items()}
    assert not requests["training"] & (requests["new wording"] | requests["new topic"])
    for found in judged.values():
        counts = Counter(c.turns[1] for c in found)
        assert counts[talk.YES] == counts[talk.NO] > 0


def test_one_and_two_turns_stay_within_reach():
    """The end of an answer is predicted from all but <s>, what comes before it from all."""
    lengths = Counter()
    for conversation in SHIPPED:
        n_tokens = len(TOKENIZER.chat(conversation.messages[:-1])) + len(
            TOKENIZER.encode(conversation.turns[-1], bos=False)
        )
        lengths[len(conversation.turns), n_tokens > REACH + 2] += 1
    assert lengths[2, True] == lengths[4, True] == 0 and lengths[4, False] == 236


def test_a_topic_is_named_as_the_text_needs_it():
    assert Topic("method", "str.lower", "", "").mention == "str.lower"
    assert Topic("escape", "\\n", "", "").mention == 'the escape "\\n"'


def test_what_no_rule_finds_is_no_topic():
    texts = {"x": "Heading\n*******\n\nJust a paragraph.\n\n   Indented."}
    assert all_topics(texts) == []
    long = {"string-methods": f"Heading\n***\n\nstr.a()\n\n   {'Very ' * 60}long."}
    assert all_topics(long) == []


def test_a_file_is_written_and_read(tmp_path):
    some = SHIPPED[:3]
    talk.save(some, tmp_path / "c.json")
    assert talk.load(tmp_path / "c.json") == some


GOOD = {"kind": "what", "topic": "x", "part": "training", "turns": ["Hi", "Hello"]}


@pytest.mark.parametrize(
    ("content", "named"),
    [
        ("[", "must be valid JSON"),
        ("{}", "must hold a JSON list of at least one"),
        ("[]", "must hold a JSON list of at least one"),
        ("[1]", "conversation 0 in .* must hold kind, topic, part, turns"),
        (json.dumps([GOOD, GOOD | {"more": 1}]), "conversation 1 in .* must hold kind"),
        (json.dumps([GOOD | {"turns": ["Hi"]}]), "turns in pairs"),
        (json.dumps([GOOD | {"turns": []}]), "turns in pairs"),
        (json.dumps([GOOD | {"turns": "Hi"}]), "turns in pairs"),
        (json.dumps([GOOD | {"turns": ["Hi", " "]}]), "must hold texts"),
        (json.dumps([GOOD | {"topic": 3}]), "must hold texts"),
        (json.dumps([GOOD | {"part": "test"}]), "part must be one of training, new wording"),
    ],
)
def test_a_bad_file_is_named(tmp_path, content, named):
    (tmp_path / "c.json").write_text(content)
    with pytest.raises(ValueError, match=rf"c\.json.*{named}|{named}"):
        talk.load(tmp_path / "c.json")


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"none\.json"):
        talk.load(tmp_path / "none.json")


def test_roles_alternate():
    four = Conversation("second turn", "x", "training", ("a", "b", "c", "d"))
    assert [message["role"] for message in four.messages] == ["user", "assistant"] * 2
