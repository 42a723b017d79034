"""Conversations as tokens: which of them count in the loss, and how several share a row.

The one rule in rule.py also separates the conversations of a row. Each stands at positions at least
W after the one before it, so it is out of every window that belongs to another; rotary embedding
does not notice, because it depends on distances alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from minimistral._arguments import require_choice, require_count
from minimistral.training.conversations import Conversation

NOT_COUNTED = -1  # the target of a token that the loss leaves out
PACKINGS = ("padded", "masked", "unmasked")


@dataclass(frozen=True)
class Example:
    """A conversation in the chat template: its ids, and which of them the model should write."""

    ids: list[int]
    learned: list[bool]


def encode(tokenizer: Any, conversation: Conversation, end_in_loss: bool = True) -> Example:
    """The ids of a conversation; those of each answer and of the end behind it are learned.

    end_in_loss: False leaves the end </s> out of the loss, so that a model never learns to stop.

    >>> from minimistral import tokenizer
    >>> greeting = Conversation("what", "", "training", ("Hi", "Hello"))
    >>> example = encode(tokenizer.load("v3"), greeting)
    >>> example.ids, example.learned       # <s> [INST] ▁Hi [/INST] ▁Hello </s>
    ([1, 3, 16127, 4, 23325, 2], [False, False, False, False, True, True])
    """
    ids: list[int] = []
    learned: list[bool] = []
    for n in range(0, len(conversation.turns), 2):
        prompt = tokenizer.chat(conversation.messages[: n + 1])
        answer = tokenizer.encode(conversation.turns[n + 1], bos=False)
        learned += [False] * (len(prompt) - len(ids)) + [True] * len(answer) + [end_in_loss]
        ids = [*prompt, *answer, tokenizer.eos_id]
    return Example(ids, learned)


def targets_of(example: Example) -> np.ndarray:
    """What each token should be followed by, NOT_COUNTED where the loss leaves it out: (T,).

    >>> targets_of(Example([1, 7, 8, 2], [False, False, True, True])).tolist()
    [-1, 8, 2, -1]
    """
    following = zip(example.ids[1:], example.learned[1:], strict=True)
    return np.array([token if count else NOT_COUNTED for token, count in following] + [NOT_COUNTED])


def lay_out(
    examples: Sequence[Example], packing: str, row_len: int, window: int | None
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """A batch: tokens, targets and positions, all (B, T).

    packing: "padded" gives each example a row of its own; "masked" puts as many into a row of
    row_len tokens as fit, each out of sight of the others; "unmasked" lets them see each other.
    Padding has the position -1, which the rule hides, and no target.
    Raises ValueError, naming the argument, for an example longer than row_len, and for "masked"
    with a window of None, which has no position out of sight.

    >>> two = [Example([1, 7, 2], [False, False, True])] * 2
    >>> for packing in PACKINGS:
    ...     print(lay_out(two, packing, row_len=7, window=4)[2].tolist())
    [[0, 1, 2], [0, 1, 2]]
    [[0, 1, 2, 6, 7, 8]]
    [[0, 1, 2, 3, 4, 5]]
    """
    require_choice("packing", packing, PACKINGS)
    row_len = require_count("row_len", row_len)
    longest = max(len(example.ids) for example in examples)
    if longest > row_len:
        raise ValueError(
            f"row_len must be at least {longest}, a conversation's tokens, not {row_len}"
        )
    if packing == "masked" and window is None:
        raise ValueError("packing must be padded for a model whose window is None")
    gap = window if packing == "masked" and window else 1
    rows: list[list[Example]] = []
    for example in examples:
        n_tokens = len(example.ids)
        fits = (row for row in rows if sum(len(e.ids) for e in row) + n_tokens <= row_len)
        row = None if packing == "padded" else next(fits, None)
        rows.append([example]) if row is None else row.append(example)
    width = max(sum(len(example.ids) for example in row) for row in rows)
    tokens, targets, positions = np.zeros((3, len(rows), width), np.int64)
    targets[:], positions[:] = NOT_COUNTED, -1
    for n, row in enumerate(rows):
        column = position = 0
        for example in row:
            place = slice(column, column + len(example.ids))
            tokens[n, place], targets[n, place] = example.ids, targets_of(example)
            positions[n, place] = position + np.arange(len(example.ids))
            column, position = place.stop, int(positions[n, place.stop - 1]) + gap
    return tokens, targets, positions


def batch_of(examples: Sequence[Example], step: int, batch_size: int, seed: int) -> list[Example]:
    """The examples of a step: each comes once in every pass, in an order drawn anew.

    They depend on the seed and the step alone, so a resumed run reads what it would have read.

    >>> [batch_of("abcd", step, 2, seed=0) for step in range(4)]
    [['c', 'a'], ['b', 'd'], ['d', 'a'], ['c', 'b']]
    """
    chosen = []
    for n in range(step * batch_size, (step + 1) * batch_size):
        turn, place = divmod(n, len(examples))
        order = np.random.default_rng([seed, turn]).permutation(len(examples))
        chosen.append(examples[order[place]])
    return chosen
