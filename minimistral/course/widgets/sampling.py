"""The player of lesson 10: what temperature, top-p and min-p leave of one distribution."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from minimistral import tiny, tokenizer
from minimistral._arguments import as_array
from minimistral.course.draw import sampling_svg
from minimistral.course.widgets.player import Player
from minimistral.np import Mistral, load
from minimistral.np.sampling import keep_min_p, keep_top_p, probabilities

SENTENCE = "The cat sat on the mat and saw the dog go to"
TEMPERATURES = (0.0, 0.5, 0.7, 1.0, 1.5, 2.0)
TOP_PS = (0.3, 0.5, 0.8, 0.9, 1.0)
MIN_PS = (0.0, 0.05, 0.1, 0.3)
TEMPERATURE, TOP_P = "temperature", "top-p"  # which of the two comes first


def sampling_explorer(logits: Any = None, tokens: Sequence[str] | None = None) -> Player:
    """What sampling leaves of a distribution; sliders for temperature, top_p, min_p and first.

    logits: (V,), the tiny model's after SENTENCE if None. tokens: their V pieces; if None those of
    the tiny tokenizer, or for logits of your own "id 0", "id 1" … Before is the softmax of the
    logits. first="temperature" is the order of `generate`; first="top-p" applies top-p and min-p
    to the softmax, and then the temperature to what is left.
    Raises TypeError or ValueError, naming the argument, unless there are V of both.

    >>> player = sampling_explorer(np.log([0.5, 0.3, 0.2]), ["a", "b", "c"])
    >>> player.set(top_p=0.8)
    >>> print(player.words.replace(": ", ":\\n", 1))
    Temperature 1.0, then top-p 0.8 and min-p 0.0:
    2 of 3 tokens can be drawn; the model gave them 80.0%. Entropy: 1.49 bits before, 0.95 after.
    """
    if logits is None:
        logits, tokens = tiny_logits() if tokens is None else (tiny_logits()[0], tokens)
    logits = as_array("logits", lambda values: np.asarray(values, np.float64), logits)
    if logits.ndim != 1:
        raise ValueError(f"logits must be (V,), not {logits.shape}")
    if tokens is None:
        tokens = [f"id {n}" for n in range(len(logits))]
    if len(tokens) != len(logits):
        raise ValueError(f"tokens must be {len(logits)}, as many as logits, not {len(tokens)}")
    before = probabilities(logits)

    def draw(temperature: float, top_p: float, min_p: float, first: str) -> tuple[str, str]:
        after = left(logits, temperature, top_p, min_p, first)
        steps = [f"temperature {temperature}", f"top-p {top_p} and min-p {min_p}"]
        in_order = ", then ".join(steps if first == TEMPERATURE else steps[::-1]).capitalize()
        return sampling_svg(before, after, tokens, in_order), f"{in_order}: {_words(before, after)}"

    sliders = {"temperature": TEMPERATURES, "top_p": TOP_PS, "min_p": MIN_PS,
               "first": (TEMPERATURE, TOP_P)}  # fmt: skip
    return Player("Sampling explorer", sliders, draw, {"temperature": 1.0, "top_p": 1.0})


def tiny_logits() -> tuple[np.ndarray, list[str]]:
    """The tiny model's logits (V,) for what follows SENTENCE, and the pieces of its tokenizer."""
    model, tokens = load(tiny.FOLDER), tokenizer.load(tiny.FOLDER)
    model = Mistral(model.config, model.weights, dtype="float64")  # the same decimals everywhere
    logits = model([tokens.encode(SENTENCE)], last_only=True)[0, -1]
    return logits, [tokens.piece(n) for n in range(len(logits))]


def left(
    logits: np.ndarray, temperature: float, top_p: float, min_p: float, first: str
) -> np.ndarray:
    """The distribution (V,) that is left of logits (V,), in one of the two orders.

    >>> p = left(np.log([0.5, 0.3, 0.2]), 2.0, 0.8, 0.0, "temperature")
    >>> q = left(np.log([0.5, 0.3, 0.2]), 2.0, 0.8, 0.0, "top-p")
    >>> (p > 0).sum(), (q > 0).sum()
    (np.int64(3), np.int64(2))
    """
    if first == TEMPERATURE:
        return probabilities(logits, temperature, top_p, min_p=min_p)
    p = probabilities(logits)
    p = keep_top_p(p, top_p) if top_p < 1 else p
    p = keep_min_p(p, min_p)
    with np.errstate(divide="ignore"):  # the logarithm of what is cut: -infinity
        return probabilities(np.log(p), temperature)


def entropy(p: np.ndarray) -> float:
    """The entropy of a distribution (V,) in bits.

    >>> entropy(np.array([0.5, 0.25, 0.25, 0.0]))
    1.5
    """
    p = p[p > 0]
    return float(-(p * np.log2(p)).sum()) + 0.0  # no -0.0


def _words(before: np.ndarray, after: np.ndarray) -> str:
    kept = after > 0
    can = "token" if len(kept) == 1 else "tokens"
    them = "it" if kept.sum() == 1 else "them"
    return (
        f"{kept.sum()} of {len(kept)} {can} can be drawn; the model gave {them}"
        f" {100 * before[kept].sum():.1f}%. Entropy: {entropy(before):.2f} bits before,"
        f" {entropy(after):.2f} after."
    )
