"""The real Mistral tokenizer v1, offline: mistral-common's package carries its file."""

import functools
from importlib import resources

from sentencepiece import SentencePieceProcessor

_FILES = {"v1": "tokenizer.model.v1"}


class Tokenizer:
    """Text to token ids and back, with the pieces shown.

    >>> tokenizer = load("v1")
    >>> tokenizer.encode("Hello, how are you?", bos=False)
    [22557, 28725, 910, 460, 368, 28804]
    """

    def __init__(self, processor: SentencePieceProcessor) -> None:
        self._processor = processor

    def __repr__(self) -> str:
        return f"Tokenizer({len(self):,} pieces)"

    def __len__(self) -> int:
        return self._processor.vocab_size()

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Token ids of `text`; `bos` puts the begin-of-sequence id 1 first.

        Raises TypeError when text is not a string.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        return self._processor.encode(text, add_bos=bos)

    def decode(self, ids: list[int]) -> str:
        """The text of `ids`. Raises ValueError when an id is not in the vocabulary.

        >>> load("v1").decode([22557, 28725, 910, 460, 368, 28804])
        'Hello, how are you?'
        """
        return self._processor.decode([self._known(i) for i in ids])

    def pieces(self, text: str) -> list[str]:
        """The pieces of `text` as the vocabulary spells them; "▁" stands for a space.

        >>> load("v1").pieces("The cat sat.")
        ['▁The', '▁cat', '▁sat', '.']
        """
        return [self._processor.id_to_piece(i) for i in self.encode(text, bos=False)]

    def _known(self, token_id: int) -> int:
        if not 0 <= token_id < len(self):
            raise ValueError(f"ids must be from 0 to {len(self) - 1}, not {token_id}")
        return int(token_id)


@functools.cache
def load(version: str = "v1") -> Tokenizer:
    """The tokenizer of a published version. Raises ValueError for an unknown one.

    >>> len(load("v1"))
    32000
    """
    if version not in _FILES:
        raise ValueError(f"version must be one of {', '.join(_FILES)}, not {version!r}")
    path = resources.files("mistral_common") / "data" / _FILES[version]
    return Tokenizer(SentencePieceProcessor(model_file=str(path)))
