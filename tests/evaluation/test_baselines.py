"""n-grams and compressors, in bits per byte."""

import lzma

import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimistral.evaluation.baselines import COMPRESSORS, compressor_bits_per_byte, ngram_bits

TEXTS = (b"the cat sat on the mat. " * 40 + b"a dog ran by.\n" * 20, b"the dog sat on the cat.\n")


@given(st.lists(st.integers(0, 2), max_size=30), st.lists(st.integers(0, 2), max_size=4))
def test_after_any_context_the_ngrams_probabilities_sum_to_1(training, context):
    def p(symbols):
        return 2 ** -ngram_bits(training, symbols, order=3, vocab_size=3)

    total = sum(p([*context, symbol]) for symbol in range(3)) / p(context)
    assert total == pytest.approx(1)


def test_longer_ngrams_know_more():
    text = list(b"abcabcabcabd" * 9)
    known = [ngram_bits(text, text, order, 256) for order in (1, 2, 3)]
    assert known == sorted(known, reverse=True) and known[2] < 0.5 * known[0]
    with pytest.raises(ValueError, match="order"):
        ngram_bits(text, text, 0, 256)


def test_compressors_are_those_of_the_standard_library():
    text = TEXTS[0]
    size = len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    assert compressor_bits_per_byte("lzma", text) == 8 * size / len(text)
    for name in COMPRESSORS:
        text = TEXTS[1] * 3
        assert compressor_bits_per_byte(name, text, after=text * 2) < compressor_bits_per_byte(
            name, text
        )
    with pytest.raises(ValueError, match="name must be one of zlib, bz2, lzma"):
        compressor_bits_per_byte("zip", text)
