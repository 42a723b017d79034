"""How well an instruct model answers: exactly, in the right form, and with refusals.

Counts, and the interval that a count of so many can be trusted to. Everything is greedy, so a model
gives the same counts each time.
"""

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimistral import np as mm
from minimistral import tokenizer as tokenizers
from minimistral._arguments import require_count
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.training.conversations import NO, REFUSAL, YES, Conversation

AT_ONCE = 64  # conversations
COUNTS = ("exact", "ended", "one_line", "named", "refused")


@dataclass(frozen=True)
class Answer:
    """What a model answered. ended: whether it stopped by itself."""

    text: str
    ended: bool


def answers(
    model: Any, tokenizer: Any, conversations: Sequence[Conversation], max_new_tokens: int = 90
) -> list[Answer]:
    """The model's answer to the last question of each conversation.

    model: of np. The earlier turns are those of the conversation, not the model's own.
    """
    max_new_tokens, found = require_count("max_new_tokens", max_new_tokens), []
    for start in range(0, len(conversations), AT_ONCE):
        batch = conversations[start : start + AT_ONCE]
        prompts = [tokenizer.chat(each.messages[:-1]) for each in batch]
        rows = mm.generate(model, prompts, max_new_tokens, stop_ids=[tokenizer.eos_id])
        for ids in rows:
            ended = ids[-1] == tokenizer.eos_id
            found.append(Answer(tokenizer.decode(ids), ended))
    return found


def count(conversation: Conversation, answer: Answer) -> dict[str, bool]:
    """What is right about an answer, for each of COUNTS.

    exact: the expected text, and then the end. named: it begins with what was asked about. refused:
    it is the refusal.

    >>> asked = Conversation("what", "if", "training", ("What is if?", "if: A statement."))
    >>> count(asked, Answer("if: An operator.", ended=True))
    {'exact': False, 'ended': True, 'one_line': True, 'named': True, 'refused': False}
    """
    expected = conversation.turns[-1]
    name, colon, _ = expected.partition(": ")
    return {
        "exact": answer.ended and answer.text == expected,
        "ended": answer.ended,
        "one_line": "\n" not in answer.text,
        "named": bool(colon) and answer.text.startswith(name + colon),
        "refused": answer.text == REFUSAL,
    }


def measure_answers(
    model: Any, tokenizer: Any, conversations: Sequence[Conversation], max_new_tokens: int = 90
) -> list[dict[str, Any]]:
    """Counts of right answers for each kind and part: rows with "kind", "part", "n" and COUNTS."""
    given = answers(model, tokenizer, conversations, max_new_tokens)
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for conversation, answer in zip(conversations, given, strict=True):
        kind, part = conversation.kind, conversation.part
        empty = {"kind": kind, "part": part, "n": 0, **dict.fromkeys(COUNTS, 0)}
        row = rows.setdefault((kind, part), empty)
        row["n"] += 1
        for name, right in count(conversation, answer).items():
            row[name] += right
    return [rows[key] for key in sorted(rows)]


def total(rows: Iterable[dict[str, Any]], count: str, **where: str) -> tuple[int, int]:
    """How many of how many, summed over the rows that match.

    >>> rows = [{"kind": "what", "n": 4, "exact": 1}, {"kind": "where", "n": 9, "exact": 9}]
    >>> total(rows, "exact", kind="what"), total(rows, "exact")
    ((1, 4), (10, 13))
    """
    chosen = [row for row in rows if all(row[key] == value for key, value in where.items())]
    return sum(row[count] for row in chosen), sum(row["n"] for row in chosen)


def moderation_scores(model: Any, tokenizer: Any, conversations: Sequence[Conversation]) -> Any:
    """How much likelier than NO a model finds YES as its first word: (N,), positive for YES.

    The difference of two logits is the logarithm of the ratio of the two probabilities.
    model: of np. Raises ValueError when both words begin with the same token.
    """
    yes, no = (tokenizer.encode(word, bos=False)[0] for word in (YES, NO))
    if yes == no:
        raise ValueError(f"tokenizer must begin {YES!r} and {NO!r} with different tokens")
    scores: list[float] = []
    for start in range(0, len(conversations), AT_ONCE):
        batch = conversations[start : start + AT_ONCE]
        prompts = [tokenizer.chat(each.messages[:-1]) for each in batch]
        lengths = np.array([len(prompt) for prompt in prompts])
        tokens = np.zeros((len(batch), lengths.max()), np.int64)
        for row, prompt in zip(tokens, prompts, strict=True):
            row[: len(prompt)] = prompt
        logits = model(tokens, last_only=True, lengths=lengths)[:, 0]
        scores += (logits[:, yes] - logits[:, no]).tolist()
    return np.array(scores)


def measure_moderation(
    model: Any, tokenizer: Any, conversations: Sequence[Conversation]
) -> dict[str, dict[str, int]]:
    """For each part, how many requests of each class are judged YES: YES where its logit is higher.

    -> part -> the four counts of a confusion matrix, where acceptable is the positive class.
    """
    scores = moderation_scores(model, tokenizer, conversations)
    counts: dict[str, dict[str, int]] = {}
    for conversation, score in zip(conversations, scores, strict=True):
        empty = dict.fromkeys(("true_yes", "false_yes", "true_no", "false_no"), 0)
        of_part = counts.setdefault(conversation.part, empty)
        said = YES if score > 0 else NO
        right = "true" if said == conversation.turns[-1] else "false"
        of_part[f"{right}_{said}"] += 1
    return counts


def measure_instruct(
    folder: Any, base: Any, conversations: Sequence[Conversation], old_text: str
) -> dict[str, Any]:
    """All that is measured of a fine-tuned model, beside the model that it was made of.

    folder, base: of the two models. old_text: a text of the kind that the base learned.
    -> "answers", the rows of `measure_answers`; "moderation"; and "old_text_bits_per_byte",
    "before" and "after".
    """
    model, tokenizer = mm.load(folder), tokenizers.load(folder)
    judged = [each for each in conversations if each.kind == "moderation"]
    return {
        "answers": measure_answers(model, tokenizer, conversations),
        "moderation": measure_moderation(model, tokenizer, judged),
        "old_text_bits_per_byte": {
            name: round(bits_per_byte(each, tokenizer, old_text), 4)
            for name, each in {"before": mm.load(base), "after": model}.items()
        },
    }


def interval(successes: int, n: int, z: float = 1.959964) -> tuple[float, float]:
    """The share that a count points to, with 95 % confidence (Wilson 1927).

    Unlike share ± z standard errors it stays between 0 and 1, and is no point at 0 or n successes.
    Raises TypeError or ValueError unless 0 <= successes <= n and n >= 1.

    >>> [round(bound, 3) for bound in interval(0, 175)]
    [0.0, 0.021]
    """
    n, successes = require_count("n", n), require_count("successes", successes, minimum=0)
    if successes > n:
        raise ValueError(f"successes must be at most n = {n}, not {successes}")
    share = successes / n
    center = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * math.sqrt(share * (1 - share) / n + z**2 / (4 * n**2))
    # At either end the bound is exact, where rounding would leave it a little inside.
    return center - half if successes else 0.0, center + half if successes < n else 1.0
