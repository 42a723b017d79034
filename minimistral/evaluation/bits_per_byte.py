"""How well a model predicts a text, in bits per byte.

A model that gives a token the probability p needs -log2(p) bits to encode it. Counted per byte
rather than per token, the number does not depend on the tokenizer.
"""

import math
from typing import Any

import numpy as np

from minimistral._arguments import require_count


def bits_per_byte(model: Any, tokenizer: Any, text: str, chunk_size: int = 512) -> float:
    """Bits per byte that a model, of np or of pt, needs for a text.

    The model reads the text once, in chunks through the rolling cache, so each token is
    predicted from all the tokens that the model can reach. Raises ValueError when text is empty,
    TypeError or ValueError for a bad chunk_size.
    """
    chunk_size = require_count("chunk_size", chunk_size)
    if not text:
        raise ValueError("text must not be empty")
    ids = np.array(tokenizer.encode(text))
    cache = model.new_cache(1, len(ids))
    bits = 0.0
    for start in range(0, len(ids) - 1, chunk_size):
        chunk = ids[start : start + chunk_size][: len(ids) - 1 - start]
        logits = np.asarray(model(chunk[None], cache)[0].tolist())
        bits += token_bits(logits, ids[start + 1 :][: len(chunk)]).sum()
    return float(bits) / len(text.encode())


def token_bits(logits: Any, targets: Any) -> np.ndarray:
    """-log2 of the probability that each row of logits gives its target.

    logits (T, V), targets (T,) -> (T,) float64.

    Two equal logits have probability 1/2 each, which is one bit:

    >>> token_bits(np.array([[3.0, 3.0], [0.0, np.log(3)]]), [0, 1]).round(3)
    array([1.   , 0.415])
    """
    logits = np.asarray(logits)
    return -log2_probabilities(logits)[np.arange(len(logits)), targets]


def log2_probabilities(logits: Any) -> np.ndarray:
    """log2 of the softmax of each row: logits (T, V) -> (T, V) float64."""
    logits = np.asarray(logits, dtype=np.float64)
    logits = logits - logits.max(axis=-1, keepdims=True)
    return (logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))) / math.log(2)
