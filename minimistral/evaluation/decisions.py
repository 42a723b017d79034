"""Yes or no: what a threshold on scores decides, how often it is right, and what a count allows.

A decision is positive where the score is above the threshold. Which class is called positive, and
how common it is (the base rate), are choices of their own, and both change the numbers.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimistral import np as mm
from minimistral import tiny
from minimistral import tokenizer as tokenizers
from minimistral._arguments import as_array, require_choice, require_count, require_share
from minimistral.evaluation.answers import moderation_scores
from minimistral.paper import MODERATION
from minimistral.training import conversations


@dataclass(frozen=True)
class Confusion:
    """How many of each class were said to be which: the four counts of a confusion matrix.

    A count may be a share of all, as in `at_base_rate`.

    >>> Confusion(true_positive=3, false_positive=1, false_negative=2, true_negative=4).precision
    0.75
    """

    true_positive: float
    false_positive: float
    false_negative: float
    true_negative: float

    @property
    def precision(self) -> float:
        """Of what is said to be positive, the share that is; 1 where nothing is said to be."""
        said = self.true_positive + self.false_positive
        return self.true_positive / said if said else 1.0

    @property
    def recall(self) -> float:
        """Of what is positive, the share that is said to be; 1 where there is nothing positive."""
        positive = self.true_positive + self.false_negative
        return self.true_positive / positive if positive else 1.0

    @property
    def false_rate(self) -> float:
        """Of what is not positive, the share that is said to be; 0 where all is positive."""
        negative = self.false_positive + self.true_negative
        return self.false_positive / negative if negative else 0.0

    @property
    def accuracy(self) -> float:
        """The share of right decisions."""
        return (self.true_positive + self.true_negative) / self.total

    @property
    def total(self) -> float:
        return self.true_positive + self.false_positive + self.false_negative + self.true_negative

    def swapped(self) -> "Confusion":
        """The same decisions where the other class is called positive.

        >>> Confusion(3, 1, 2, 4).swapped()    # doctest: +NORMALIZE_WHITESPACE
        Confusion(true_positive=4, false_positive=2, false_negative=1, true_negative=3)
        """
        return Confusion(
            self.true_negative, self.false_negative, self.false_positive, self.true_positive
        )

    def at_base_rate(self, base_rate: float) -> "Confusion":
        """Shares of the four, with the same recall and false rate, where `base_rate` is positive.

        Raises TypeError or ValueError unless 0 < base_rate < 1.

        >>> rare = Confusion(90, 10, 10, 90).at_base_rate(0.1)
        >>> round(rare.precision, 3), round(rare.recall, 3)
        (0.5, 0.9)
        """
        share = require_share("base_rate", base_rate)
        positive, negative = share, 1 - share
        return Confusion(
            positive * self.recall,
            negative * self.false_rate,
            positive * (1 - self.recall),
            negative * (1 - self.false_rate),
        )


def confusion(scores: Any, positive: Any, threshold: float) -> Confusion:
    """The confusion matrix of saying "positive" where a score is above the threshold.

    scores (N,), positive (N,) of True and False. Raises ValueError when they do not match.

    >>> confusion([2.0, 1.0, -1.0, 0.0], [True, False, True, False], threshold=0)
    Confusion(true_positive=1, false_positive=1, false_negative=1, true_negative=1)
    """
    scores, positive = _pairs(scores, positive)
    said = scores > threshold
    counts = (said & positive, said & ~positive, ~said & positive, ~said & ~positive)
    return Confusion(*(int(count.sum()) for count in counts))


def precision_recall_curve(scores: Any, positive: Any) -> list[tuple[float, Confusion]]:
    """A threshold below each different score, the highest first, and its confusion matrix.

    The first threshold is infinity, where nothing is said to be positive, and the last -infinity,
    where all is.

    >>> curve = precision_recall_curve([2.0, 1.0, -1.0], [True, False, True])
    >>> [(threshold, round(c.precision, 2), c.recall) for threshold, c in curve]
    [(inf, 1.0, 0.0), (1.5, 1.0, 0.5), (0.0, 0.5, 0.5), (-inf, 0.67, 1.0)]
    """
    scores, positive = _pairs(scores, positive)
    steps = np.unique(scores)[::-1]
    between = ((steps[1:] + steps[:-1]) / 2).tolist()
    thresholds = [math.inf, *between, -math.inf]
    return [(threshold, confusion(scores, positive, threshold)) for threshold in thresholds]


def precision_at(recall: float, false_rate: float, base_rate: float) -> float:
    """The precision where `base_rate` of all is positive (Bayes).

    recall: the share of the positive that is said to be; false_rate: that of the others. Raises
    TypeError or ValueError unless all are shares, of which the base rate is neither 0 nor 1, and
    unless something is said to be positive.

    >>> round(precision_at(recall=0.9, false_rate=0.1, base_rate=0.01), 3)
    0.083
    """
    base_rate = require_share("base_rate", base_rate)
    for name, value in {"recall": recall, "false_rate": false_rate}.items():
        if not 0 <= value <= 1:
            raise ValueError(f"{name} must be from 0 to 1, not {value}")
    right, wrong = recall * base_rate, false_rate * (1 - base_rate)
    if right + wrong == 0:
        raise ValueError("recall or false_rate must be above 0: nothing is said to be positive")
    return right / (right + wrong)


def false_rate_of(precision: float, recall: float, base_rate: float) -> float:
    """The share of the negative that is said to be positive, from the other three.

    It undoes `precision_at`. Raises TypeError or ValueError where there is none: above 1, or a
    precision of 0.

    >>> round(false_rate_of(precision=0.994, recall=0.956, base_rate=0.5), 4)
    0.0058
    """
    base_rate = require_share("base_rate", base_rate)
    for name, value in {"precision": precision, "recall": recall}.items():
        if not 0 < value <= 1:
            raise ValueError(f"{name} must be above 0 and at most 1, not {value}")
    found = recall * base_rate * (1 - precision) / (precision * (1 - base_rate))
    if found > 1:
        least = precision_at(recall, 1, base_rate)
        raise ValueError(
            f"precision must be at least {least:.3f}, which it has if all of the others are said to"
            f" be positive, not {precision}"
        )
    return found


def upper_bound(n: int, confidence: float = 0.95) -> float:
    """The largest share of failures that 0 of n still allows, with this confidence.

    A larger share would have shown a failure more often than that (the exact bound of Clopper and
    Pearson 1934, one-sided). About 3 / n at 95 %, the rule of three.
    Raises TypeError or ValueError, naming the argument.

    >>> round(upper_bound(175), 4), round(3 / 175, 4)
    (0.017, 0.0171)
    """
    n, confidence = require_count("n", n), require_share("confidence", confidence)
    return 1 - (1 - confidence) ** (1 / n)


def tiny_judged(
    model: Any = None, parts: Sequence[str] = ("new wording", "new topic")
) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """How the tiny instruct model judges the requests: part -> scores (N,), acceptable (N,).

    model: of np; the shipped instruct model in float64, whose decimals are the same everywhere, if
    None. parts: of the conversations, out of "training", "new wording" and "new topic".
    Raises ValueError for another part.
    """
    if model is None:
        model = mm.load(tiny.INSTRUCT)
        model = mm.Mistral(model.config, model.weights, dtype="float64")
    tokenizer, everything = tokenizers.load(tiny.INSTRUCT), conversations.load()
    judged: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    for part in parts:
        require_choice("part", part, conversations.PARTS)
        chosen = [each for each in everything if (each.kind, each.part) == ("moderation", part)]
        acceptable = np.array([each.turns[-1] == conversations.YES for each in chosen])
        judged[part] = moderation_scores(model, tokenizer, chosen), acceptable
    return judged


def _pairs(scores: Any, positive: Sequence[Any] | Any) -> tuple[np.ndarray, np.ndarray]:
    scores = as_array("scores", lambda values: np.asarray(values, np.float64), scores)
    positive = as_array("positive", np.asarray, positive)
    if scores.ndim != 1 or not len(scores):
        raise ValueError(f"scores must be (N,) with N >= 1, not {scores.shape}")
    if positive.shape != scores.shape or positive.dtype != bool:
        raise ValueError(
            f"positive must be {scores.shape} of True and False, not {positive.shape} of"
            f" {positive.dtype}"
        )
    return scores, positive


def _paper() -> Confusion:
    """Self-reflection of Mistral 7B, as shares of its balanced set (paper section 5.2)."""
    told = {name: value / 100 for name, value in MODERATION.rows.items()}
    precision, recall, share = (told[name] for name in ("precision", "recall", "acceptable"))
    wrong = false_rate_of(precision, recall, share)
    return Confusion(
        share * recall, (1 - share) * wrong, share * (1 - recall), (1 - share) * (1 - wrong)
    )


PAPER = _paper()  # acceptable prompts are the positive class
