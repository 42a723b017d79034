"""Decisions: each number counted by a loop, and the laws that tie them together."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimistral import ModelConfig, paper
from minimistral import np as mn
from minimistral.evaluation import decisions
from minimistral.evaluation.decisions import (
    PAPER,
    Confusion,
    confusion,
    false_rate_of,
    precision_at,
    precision_recall_curve,
    upper_bound,
)

SHARE = st.floats(0.01, 0.99)
SCORED = st.lists(st.tuples(st.integers(-3, 3), st.booleans()), min_size=1, max_size=30)


@given(SCORED, st.sampled_from([-4.0, -1.0, 0.0, 0.5, 2.0, 9.0]))
def test_a_confusion_matrix_is_counted_one_by_one(pairs, threshold):
    counts = {(said, is_positive): 0 for said in (True, False) for is_positive in (True, False)}
    for score, is_positive in pairs:
        counts[score > threshold, is_positive] += 1
    found = confusion([s for s, _ in pairs], [p for _, p in pairs], threshold)
    assert found == Confusion(*(counts[at] for at in ((1, 1), (1, 0), (0, 1), (0, 0))))
    assert found.total == len(pairs)
    n_right = sum((score > threshold) == positive for score, positive in pairs)
    assert found.accuracy == pytest.approx(n_right / len(pairs))
    said = [positive for score, positive in pairs if score > threshold]
    positive = [score > threshold for score, is_positive in pairs if is_positive]
    negative = [score > threshold for score, is_positive in pairs if not is_positive]
    assert found.precision == pytest.approx(sum(said) / len(said) if said else 1)
    assert found.recall == pytest.approx(sum(positive) / len(positive) if positive else 1)
    assert found.false_rate == pytest.approx(sum(negative) / len(negative) if negative else 0)


@pytest.mark.parametrize("threshold", [-1.0, 0.5, 1.0, 4.0])
def test_the_other_class_is_the_same_decisions(threshold):
    scores = np.array([1.0, 2.0, -2.0, 0.0, 3.0])
    positive = np.array([True, False, False, True, True])
    here = confusion(scores, positive, threshold).swapped()
    below = np.nextafter(-threshold, -np.inf)  # not above the threshold: its negative is at least
    assert here == confusion(-scores, ~positive, below)
    assert here.swapped() == confusion(scores, positive, threshold)


def test_a_curve_visits_every_threshold_that_makes_a_difference():
    scores, positive = [2.0, 1.0, 1.0, -1.0], [True, False, True, True]
    curve = precision_recall_curve(scores, positive)
    assert [threshold for threshold, _ in curve] == [math.inf, 1.5, 0.0, -math.inf]
    for threshold, found in curve:
        assert found == confusion(scores, positive, threshold)
    recalls = [found.recall for _, found in curve]
    assert recalls == sorted(recalls) and (recalls[0], recalls[-1]) == (0, 1)
    anywhere = {confusion(scores, positive, t) for t in np.linspace(-3, 3, 601)}
    assert anywhere == {found for _, found in curve}


@given(SHARE, SHARE, SHARE)
def test_bayes_is_counting(recall, false_rate, base_rate):
    precision = precision_at(recall, false_rate, base_rate)
    said_right, said_wrong = 1e9 * base_rate * recall, 1e9 * (1 - base_rate) * false_rate
    assert precision == pytest.approx(said_right / (said_right + said_wrong))
    assert false_rate_of(precision, recall, base_rate) == pytest.approx(false_rate)
    found = Confusion(
        base_rate * recall, (1 - base_rate) * false_rate,
        base_rate * (1 - recall), (1 - base_rate) * (1 - false_rate),
    )  # fmt: skip
    moved = found.at_base_rate(0.25)
    assert moved.precision == pytest.approx(precision_at(recall, false_rate, 0.25))
    assert moved.recall == pytest.approx(recall)
    assert moved.false_rate == pytest.approx(false_rate)
    assert moved.total == pytest.approx(1)
    assert moved.true_positive + moved.false_negative == pytest.approx(0.25)


def test_the_paper_s_point():
    told = paper.MODERATION.rows
    assert 100 * PAPER.precision == pytest.approx(told["precision"])
    assert 100 * PAPER.recall == pytest.approx(told["recall"])
    assert PAPER.true_positive + PAPER.false_negative == pytest.approx(told["acceptable"] / 100)
    assert PAPER.false_rate == pytest.approx(0.956 * 0.006 / 0.994)
    assert PAPER.swapped().at_base_rate(0.01).precision == pytest.approx(0.186, abs=0.0005)


@pytest.mark.parametrize("n", [1, 5, 175, 3000])
@pytest.mark.parametrize("confidence", [0.5, 0.95, 0.999])
def test_a_larger_share_would_have_shown_a_failure(n, confidence):
    p = upper_bound(n, confidence)
    assert (1 - p) ** n == pytest.approx(1 - confidence)
    assert (1 - p - 1e-6) ** n < 1 - confidence


def test_zero_of_175_allows_what_the_claims_say():
    assert upper_bound(175) == pytest.approx(0.01697, abs=1e-5)


class Constant:
    """A model whose logits are chosen by the row's length."""

    def __init__(self, yes, no):
        self.yes, self.no = yes, no

    def __call__(self, tokens, last_only, lengths):
        logits = np.zeros((len(tokens), 1, 768))
        logits[:, 0, self.yes] = lengths
        logits[:, 0, self.no] = 40
        return logits


def test_the_requests_are_those_of_the_conversations():
    tokenizer = decisions.tokenizers.load(decisions.tiny.INSTRUCT)
    yes, no = (tokenizer.encode(word, bos=False)[0] for word in ("yes", "no"))
    judged = decisions.tiny_judged(Constant(yes, no), ("new topic", "training"))
    assert list(judged) == ["new topic", "training"]
    for part, (scores, acceptable) in judged.items():
        rows = [c for c in decisions.conversations.load()
                if c.kind == "moderation" and c.part == part]  # fmt: skip
        assert scores.tolist() == [len(tokenizer.chat(c.messages[:-1])) - 40 for c in rows]
        assert acceptable.tolist() == [c.turns[-1] == "yes" for c in rows]


def test_another_part_is_named():
    with pytest.raises(ValueError, match="part must be one of training, new wording, new topic"):
        decisions.tiny_judged(mn.Mistral(ModelConfig.tiny()), ("old",))


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: confusion([], [], 0), ValueError, r"scores must be \(N,\) with N >= 1"),
        (lambda: confusion([[1.0]], [[True]], 0), ValueError, r"scores must be \(N,\)"),
        (lambda: confusion([1.0], [True, False], 0), ValueError, r"positive must be \(1,\) of"),
        (lambda: confusion([1.0, 2.0], [1, 0], 0), ValueError, "positive must be .* not .* int64"),
        (lambda: precision_at(1.5, 0.1, 0.5), ValueError, "recall must be from 0 to 1, not 1.5"),
        (lambda: precision_at(0.5, -1, 0.5), ValueError, "false_rate must be from 0 to 1"),
        (lambda: precision_at(0.5, 0.1, 1), ValueError, "base_rate must be below 1"),
        (lambda: precision_at(0.5, 0.1, 0), ValueError, "base_rate must be .* above 0"),
        (lambda: precision_at(0, 0, 0.5), ValueError, "nothing is said to be positive"),
        (lambda: false_rate_of(0, 0.5, 0.5), ValueError, "precision must be above 0"),
        (lambda: false_rate_of(0.2, 0.5, 0.9), ValueError, "precision must be at least 0.818"),
        (lambda: upper_bound(0), ValueError, "n must be"),
        (lambda: upper_bound(10, 95), ValueError, "confidence must be below 1"),
        (lambda: Confusion(1, 1, 1, 1).at_base_rate("half"), TypeError, "base_rate must be"),
    ],
)
def test_a_bad_argument_is_named(call, error, named):
    with pytest.raises(error, match=named):
        call()
