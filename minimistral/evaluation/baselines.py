"""What a language model should beat, in bits per byte: n-grams and compressors."""

import bz2
import lzma
import math
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Sequence
from typing import Any

from minimistral._arguments import require_count


def baselines(training: str, held_out: str, tokenizer: Any) -> dict[str, float]:
    """Bits per byte of the held-out text, for each n-gram model and each compressor: name -> bits.

    The n-gram models count the training text; each compressor is measured without it and after it.
    """
    data, text = training.encode(), held_out.encode()
    ids, held_out_ids = tokenizer.encode(training), tokenizer.encode(held_out, bos=False)
    vocab_size, n_bytes = len(tokenizer), len(text)
    results = {}
    for order, name in {1: "unigram", 5: "5-gram"}.items():
        results[f"{name} of bytes"] = ngram_bits(data, text, order, 256) / n_bytes
        results[f"{name} of tokens"] = ngram_bits(ids, held_out_ids, order, vocab_size) / n_bytes
    for name in COMPRESSORS:
        results[name] = compressor_bits_per_byte(name, text)
    for name in COMPRESSORS:
        bits = compressor_bits_per_byte(name, text, after=data)
        results[f"{name} after the training text"] = bits
    return results


def ngram_bits(training: Sequence[int], text: Sequence[int], order: int, vocab_size: int) -> float:
    """Bits that an n-gram model, counted on `training`, needs for the whole of `text`.

    training, text: symbols from 0 to vocab_size - 1. order: the longest n; order 1 ignores the
    context. Each order is interpolated with the next lower one (Witten and Bell 1991): the more
    different symbols have followed a context, the more probability goes to the others.

    After "aaab", "a" is likelier than "b":

    >>> [round(ngram_bits([0, 0, 0, 1], [symbol], 1, 2), 3) for symbol in (0, 1)]
    [0.585, 1.585]
    """
    order = require_count("order", order)
    followers: dict[tuple, Counter] = defaultdict(Counter)
    for i, symbol in enumerate(training):
        for n in range(min(order, i + 1)):
            followers[tuple(training[i - n : i])][symbol] += 1
    bits = 0.0
    for i, symbol in enumerate(text):
        p = 1 / vocab_size
        for n in range(min(order, i + 1)):
            counts = followers.get(tuple(text[i - n : i]))
            if counts is None:
                break
            kinds = len(counts)
            p = (counts[symbol] + kinds * p) / (counts.total() + kinds)
        bits -= math.log2(p)
    return bits


COMPRESSORS: dict[str, Callable[[bytes], bytes]] = {
    "zlib": lambda data: zlib.compress(data, 9),
    "bz2": lambda data: bz2.compress(data, 9),
    "lzma": lambda data: lzma.compress(data, preset=9 | lzma.PRESET_EXTREME),
}


def compressor_bits_per_byte(name: str, text: bytes, after: bytes = b"") -> float:
    """Bits that a compressor writes per byte of `text`.

    after: a text to compress first. Only what `text` adds is counted, so the compressor can use
    the training text as a model can; zlib looks back only 32 KiB.
    Raises ValueError for an unknown name.
    """
    if name not in COMPRESSORS:
        raise ValueError(f"name must be one of {', '.join(COMPRESSORS)}, not {name!r}")
    compress = COMPRESSORS[name]
    before = len(compress(after)) if after else 0
    return 8 * (len(compress(after + text)) - before) / len(text)
