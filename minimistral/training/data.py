"""What training reads: a vocabulary learned from the text, and batches of its tokens."""

import io

import numpy as np
from sentencepiece import SentencePieceTrainer

from minimistral._arguments import require_count
from minimistral.training.settings import Settings


def learn_vocabulary(text: str, vocab_size: int) -> bytes:
    """A SentencePiece model: byte-pair encoding learned from the text (Sennrich et al. 2016).

    As in Mistral's own tokenizer, every byte has an id, so any text can be encoded, and spaces
    and line ends stay as they are. Raises ValueError when vocab_size is too small for the bytes
    and letters of the text, or larger than the merges that the text offers.
    """
    vocab_size = require_count("vocab_size", vocab_size, below=2**31)  # SentencePiece has 32 bits
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(text.split("\n\n\n")), model_writer=model, model_type="bpe",
            vocab_size=vocab_size, byte_fallback=True, split_digits=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True, max_sentence_length=2**20, num_threads=1,
            minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise ValueError(f"vocab_size must fit the text, not {vocab_size}: {error}") from None
    return model.getvalue()


def batch_at(ids: np.ndarray, step: int, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """Random pieces of the text: the tokens a step reads, and the tokens it should predict.

    ids (N,) -> tokens and targets, both (batch_size, seq_len); the targets are one token ahead.
    They depend on the seed and the step alone, so a resumed run reads what it would have read.
    """
    rng = np.random.default_rng([settings.seed, step])
    starts = rng.integers(0, len(ids) - settings.seq_len, settings.batch_size)
    sequences = ids[starts[:, None] + np.arange(settings.seq_len + 1)]
    return sequences[:, :-1], sequences[:, 1:]
