"""How well a text is predicted, in bits for each of its bytes: models, n-grams, compressors.

A model that gives a token the probability p needs -log2(p) bits to say it. Counted over bytes
rather than tokens, the number does not depend on how the text was cut.
"""

import bz2
import lzma
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from minimistral._arguments import require_count


def of_model(model: Any, tokenizer: Any, text: str, chunk_size: int = 512) -> float:
    """Bits a byte that a model needs for a text, of np or of pt.

    The text is read once from start to end through the rolling cache, in chunks, so each token
    is predicted from all that the model can reach. Raises ValueError when text is empty.
    """
    if not text:
        raise ValueError("text must not be empty")
    ids = np.array(tokenizer.encode(text))
    cache = model.new_cache(1, len(ids))
    bits = 0.0
    for start in range(0, len(ids) - 1, chunk_size):
        read = ids[start : start + chunk_size][: len(ids) - 1 - start]
        logits = np.asarray(model(read[None], cache)[0].tolist())
        bits += token_bits(logits, ids[start + 1 :][: len(read)]).sum()
    return float(bits) / len(text.encode())


def token_bits(logits: Any, targets: Any) -> np.ndarray:
    """-log2 of the probability that each row of logits gives its target.

    logits (T, V), targets (T,) -> (T,) float64.

    Of two equal logits each has probability 1/2, one bit:

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


def of_ngrams(training: Sequence[int], text: Sequence[int], order: int, size: int) -> float:
    """Bits that counts of runs of up to `order` symbols need for a text, in all.

    training, text: symbols from 0 to size - 1. Each order is mixed with the next lower one as
    Witten and Bell (1991) do: the more different symbols have followed a context, the more is
    left for those that have not. Order 1 counts symbols alone.

    After "aaab" alone, "a" is likelier than "b":

    >>> round(of_ngrams([0, 0, 0, 1], [0], 1, 2), 3), round(of_ngrams([0, 0, 0, 1], [1], 1, 2), 3)
    (0.585, 1.585)
    """
    order = require_count("order", order)
    followers: dict[tuple, Counter] = defaultdict(Counter)
    for i, symbol in enumerate(training):
        for n in range(min(order, i + 1)):
            followers[tuple(training[i - n : i])][symbol] += 1
    bits = 0.0
    for i, symbol in enumerate(text):
        p = 1 / size
        for n in range(min(order, i + 1)):
            seen = followers.get(tuple(text[i - n : i]))
            if seen is None:
                break
            kinds = len(seen)
            p = (seen[symbol] + kinds * p) / (seen.total() + kinds)
        bits -= math.log2(p)
    return bits


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": lambda data: bz2.compress(data, 9),
    "lzma": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}


def of_compressor(name: str, text: bytes, after: bytes = b"") -> float:
    """Bits a byte of `text` that a compressor writes.

    after: what it has read before; only what the text adds is counted, so that the compressor
    may use the training text as the model could. zlib looks back 32 KiB only.
    Raises ValueError for an unknown name.
    """
    if name not in COMPRESSORS:
        raise ValueError(f"name must be one of {', '.join(COMPRESSORS)}, not {name!r}")
    compress = COMPRESSORS[name]
    before = len(compress(after)) if after else 0
    return 8 * (len(compress(after + text)) - before) / len(text)


def baselines(training: str, held_out: str, tokenizer: Any) -> dict[str, float]:
    """Bits a byte of the held-out text by everything that is not a neural network."""
    data, text = training.encode(), held_out.encode()
    ids, held_ids = tokenizer.encode(training), tokenizer.encode(held_out, bos=False)
    found = {}
    for order, name in {1: "unigram", 5: "5-gram"}.items():
        found[f"{name} of bytes"] = of_ngrams(data, text, order, 256) / len(text)
        found[f"{name} of tokens"] = of_ngrams(ids, held_ids, order, len(tokenizer)) / len(text)
    for name in COMPRESSORS:
        found[name] = of_compressor(name, text)
    for name in COMPRESSORS:
        found[f"{name} after the training text"] = of_compressor(name, text, after=data)
    return found
