"""Counts of right answers, a moderator's scores, and intervals."""

import math

import numpy as np
import pytest

from minimistral import ModelConfig, tiny, tokenizer
from minimistral import np as mn
from minimistral.evaluation import answers as measured
from minimistral.evaluation.answers import Answer, count, interval, total
from minimistral.training.conversations import REFUSAL, Conversation

TOKENIZER = tokenizer.load(tiny.FOLDER)
CONFIG = ModelConfig(
    dim=16, n_layers=1, head_dim=8, hidden_dim=32, n_heads=2, n_kv_heads=1,
    window_size=8, context_len=64, vocab_size=768,
)  # fmt: skip
ASKED = Conversation("what", "if", "training", ("What is if?", "if: A statement."))
JUDGED = [
    Conversation("moderation", "tear", "new topic", ("Is this acceptable? Tear it.", "no")),
    Conversation("moderation", "mend", "new topic", ("Is this acceptable? Mend the chair.", "yes")),
    Conversation("moderation", "mend", "training", ("Is this acceptable? Mend it.", "yes")),
]


@pytest.mark.parametrize(
    ("answer", "right"),
    [
        (Answer("if: A statement.", True), {"exact", "ended", "one_line", "named"}),
        (Answer("if: A statement.", False), {"one_line", "named"}),
        (Answer("if: A\nstatement.", True), {"ended", "named"}),
        (Answer("or: A statement.", True), {"ended", "one_line"}),
        (Answer(REFUSAL, True), {"ended", "one_line", "refused"}),
        (Answer("", True), {"ended", "one_line"}),
    ],
)
def test_what_is_right_about_an_answer(answer, right):
    assert {name for name, yes in count(ASKED, answer).items() if yes} == right


def test_an_answer_without_a_name_is_never_named():
    refusal = Conversation("refusal", "tea", "training", ("What is tea?", REFUSAL))
    assert count(refusal, Answer(REFUSAL, True))["exact"]
    assert not count(refusal, Answer(REFUSAL, True))["named"]


def scripted(monkeypatch, *texts):
    """A generate that writes these texts in turn, each with an end unless it ends in …"""
    left = list(texts)

    def generate(model, prompts, max_new_tokens, stop_ids):
        rows = []
        for _ in prompts:
            text = left.pop(0)
            ids = TOKENIZER.encode(text.removesuffix("…"), bos=False)
            rows.append(ids if text.endswith("…") else [*ids, TOKENIZER.eos_id])
        return rows

    monkeypatch.setattr(measured.mm, "generate", generate)


def test_rows_are_counted_by_kind_and_part(monkeypatch):
    scripted(monkeypatch, "if: A statement.", "if: A …", "yes", "no", "yes")
    rows = measured.measure_answers(None, TOKENIZER, [ASKED, ASKED, *JUDGED])
    found = {(row["kind"], row["part"]): row for row in rows}
    assert found["what", "training"] == {
        "kind": "what", "part": "training",
        "n": 2, "exact": 1, "ended": 1, "one_line": 2, "named": 2, "refused": 0,
    }  # fmt: skip
    assert found["moderation", "new topic"]["exact"] == 0
    assert found["moderation", "training"]["exact"] == 1
    assert total(rows, "exact", part="training") == (2, 3) and total(rows, "exact") == (2, 5)


def test_answers_are_those_of_generate():
    """The model reads the conversation up to its last answer, and stops at the end."""
    model = mn.Mistral(CONFIG, seed=3)
    many = [ASKED, *JUDGED] * 20  # more than are asked at once
    found = measured.answers(model, TOKENIZER, many, max_new_tokens=5)
    assert len(found) == 80 and found[:4] * 20 == found
    prompt = TOKENIZER.chat(ASKED.messages[:1])
    ids = mn.generate(model, prompt, 5, stop_ids=[TOKENIZER.eos_id])
    assert found[0] == Answer(TOKENIZER.decode(ids), ids[-1] == TOKENIZER.eos_id)


def test_a_score_is_the_log_of_two_probabilities():
    model = mn.Mistral(CONFIG, seed=3)
    scores = measured.moderation_scores(model, TOKENIZER, JUDGED * 30)
    assert len(scores) == 90
    yes, no = (TOKENIZER.encode(word, bos=False)[0] for word in ("yes", "no"))
    for conversation, score in zip(JUDGED, scores, strict=False):
        logits = model([TOKENIZER.chat(conversation.messages[:1])])[0, -1]
        p = mn.probabilities(logits)
        assert score == pytest.approx(math.log(p[yes] / p[no]), abs=1e-3)


def test_a_confusion_matrix_for_each_part(monkeypatch):
    monkeypatch.setattr(measured, "moderation_scores", lambda *_: np.array([1.0, -1.0, 2.0]))
    counts = measured.measure_moderation(None, TOKENIZER, JUDGED)
    assert counts == {
        "new topic": {"true_yes": 0, "false_yes": 1, "true_no": 0, "false_no": 1},
        "training": {"true_yes": 1, "false_yes": 0, "true_no": 0, "false_no": 0},
    }


@pytest.mark.parametrize(("successes", "n"), [(0, 10), (3, 10), (10, 10), (500, 1000)])
def test_an_interval_holds_the_shares_that_would_not_surprise(successes, n):
    """Wilson's bounds are the shares p for which the count lies z standard errors from n p."""
    low, high = interval(successes, n)
    assert 0 <= low <= successes / n <= high <= 1
    for bound in (low, high):
        if 0 < bound < 1:
            error = math.sqrt(bound * (1 - bound) / n)
            assert abs(successes / n - bound) == pytest.approx(1.959964 * error)
    mirrored = interval(n - successes, n)
    assert mirrored == pytest.approx((1 - high, 1 - low))


@pytest.mark.parametrize(
    ("arguments", "error", "named"),
    [
        ((3, 2), ValueError, "successes must be at most n = 2, not 3"),
        ((-1, 2), ValueError, "successes must be at least 0"),
        ((0, 0), ValueError, "n must be at least 1"),
        ((0.5, 2), TypeError, "successes must be a whole number"),
    ],
)
def test_a_bad_count_is_named(arguments, error, named):
    with pytest.raises(error, match=named):
        interval(*arguments)
