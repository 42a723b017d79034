"""The real Mistral tokenizers v1, v2 and v3, offline: mistral-common's package includes them.

A model never sees text. A tokenizer splits text into pieces of its vocabulary and replaces each
piece by its number, the id. A character without a piece is spelled in bytes, so every text has ids.
"""

import codecs
import functools
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from minimistral._arguments import require_content, require_ids

VERSIONS = ("v1", "v2", "v3")
_SHIPPED = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}


class Tokenizer:
    """Text to token ids and back, pieces, and chat templates; made by `load`.

    `version` is that of the chat template; len() is the size of the vocabulary.

    >>> tokenizer = load("v1")
    >>> tokenizer.encode("Hello, how are you?", bos=False)
    [22557, 28725, 910, 460, 368, 28804]
    """

    def __init__(self, file: Path, version: str) -> None:
        self.file, self.version = file, version
        self._processor = _open(file)
        self.bos_id, self.eos_id = self._processor.bos_id(), self._processor.eos_id()
        # Most files put a space in front of every text, which decoding must remove.
        self._adds_space = self._processor.encode("a", out_type=str)[0].startswith("▁")

    def __repr__(self) -> str:
        return f"Tokenizer({self.version}, {len(self):,} pieces)"

    def __len__(self) -> int:
        return self._processor.vocab_size()

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Token ids of `text`; `bos` puts the begin-of-sequence id 1 first.

        "</s>" and "[INST]" in a text are ordinary text: they become ordinary pieces, never control
        ids. Raises TypeError when text is not a string, ValueError when it is not valid Unicode.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        try:
            return self._processor.encode(text.encode(), add_bos=bos)
        except UnicodeEncodeError as error:
            raise ValueError(f"text must be valid Unicode, not {text[error.start]!r}") from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; control ids have none. Invalid UTF-8 becomes "\\ufffd".

        Decoding gives back the text that was encoded, except that "▁" (U+2581) becomes a space.
        Raises TypeError or ValueError unless all ids belong to this vocabulary.

        >>> load("v1").decode([22557, 28725, 910, 460, 368, 28804])
        'Hello, how are you?'
        """
        return "".join(self.decode_stream(require_ids("ids", ids, len(self))))

    def decode_stream(self, ids: Iterable[int], after: Iterable[int] = ()) -> Iterator[str]:
        """`decode`, id by id: the text that each id adds, "" while a character is incomplete.

        If the ids end inside a character, one more text follows. after: the ids before these, so
        that the first word keeps the space in front of it. Raises the errors of `decode`.

        The bear takes four ids, one per byte:

        >>> tokenizer = load("v3")
        >>> list(tokenizer.decode_stream(tokenizer.encode("a 🐻!", bos=False)))
        ['a', ' ', '', '', '', '🐻', '!']
        """
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        begun = [not self._adds_space]
        for token in require_ids("after", after, len(self)):
            decoder.decode(self._bytes(token, begun))
        return self._decode_each(ids, decoder, begun)

    def _decode_each(self, ids, decoder, begun):
        for token in ids:
            (token,) = require_ids("ids", [token], len(self))
            yield decoder.decode(self._bytes(token, begun))
        if rest := decoder.decode(b"", final=True):
            yield rest

    def _bytes(self, token: int, begun: list[bool]) -> bytes:
        """The bytes that an id adds to a text. begun: [whether it has begun], updated here."""
        piece = self._processor.id_to_piece(token)
        if self.is_control(token):
            return b""
        first, begun[0] = not begun[0], True
        if self._processor.is_byte(token):
            return bytes([int(piece[1:-1], 16)])  # "<0x0A>"
        if self._processor.is_unknown(token):
            return " ⁇ ".encode()  # as SentencePiece writes it
        return (piece.removeprefix("▁") if first else piece).replace("▁", " ").encode()

    def piece(self, token: int) -> str:
        """The piece of an id as the vocabulary spells it: "▁" is a space, "<0x0A>" a byte.

        Raises TypeError or ValueError unless the id belongs to this vocabulary.

        >>> [load("v3").piece(token) for token in (1, 3, 781, 23325)]
        ['<s>', '[INST]', '<0x0A>', '▁Hello']
        """
        (token,) = require_ids("token", [token], len(self))
        return self._processor.id_to_piece(token)

    def pieces(self, text: str) -> list[str]:
        """The pieces of `text`. Raises the errors of `encode`.

        >>> load("v1").pieces("The cat sat.")
        ['▁The', '▁cat', '▁sat', '.']
        """
        return [piece for _, piece in self.tokens(text)]

    def tokens(self, text: str) -> list[tuple[int, str]]:
        """The ids of `text`, each with its piece. Raises the errors of `encode`.

        >>> load("v1").tokens("a 🐻")
        [(264, '▁a'), (28705, '▁'), (243, '<0xF0>'), (162, '<0x9F>'), (147, '<0x90>'), (190, '<0xBB>')]
        """  # noqa: E501
        return [(token, self.piece(token)) for token in self.encode(text, bos=False)]

    def is_control(self, token: int) -> bool:
        """Whether an id is one that no text contains, like <s> or [INST].

        Raises TypeError or ValueError unless the id belongs to this vocabulary.
        """
        (token,) = require_ids("token", [token], len(self))
        return self._processor.is_control(token)

    @property
    def control_ids(self) -> dict[str, int]:
        """The control pieces and their ids. v1 has only <s> and </s>.

        >>> load("v1").control_ids
        {'<s>': 1, '</s>': 2}
        """
        return {self.piece(i): i for i in range(len(self)) if self._processor.is_control(i)}

    def chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping] | None = None
    ) -> list[int]:
        """The ids of a conversation in this version's template, up to the model's next answer.

        messages: dicts with "role" ("system", "user", "assistant" or "tool") and "content"; an
        assistant's message with calls has "tool_calls". tools: functions that it may call, each
        {"type": "function", "function": {"name", "description", "parameters"}}; not in v1.
        The template puts the system prompt before the user's first turn in v1, and before the
        last one in v2 and v3. Raises ValueError, naming messages or tools, for what the template
        does not allow, and TypeError unless they are lists of dicts.

        >>> load("v3").chat([{"role": "user", "content": "Hi"}])    # <s> [INST] ▁Hi [/INST]
        [1, 3, 16127, 4]
        """
        from mistral_common.exceptions import MistralCommonException
        from mistral_common.protocol.instruct.request import ChatCompletionRequest

        for name, value in {"messages": messages, "tools": tools or []}.items():
            if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
                raise TypeError(f"{name} must be a list of dicts, not {value!r}")
            if wrong := [item for item in value if not isinstance(item, Mapping)]:
                raise TypeError(f"{name} must be a list of dicts, but holds {wrong[0]!r}")
        if tools and self.version == "v1":
            raise ValueError(
                "tools must be None for a v1 tokenizer; function calling needs v2 or v3"
            )
        try:
            as_dicts: dict[str, Any] = {"messages": list(messages), "tools": tools or None}
            request: Any = ChatCompletionRequest(**as_dicts)
            return self._template.encode_chat_completion(request).tokens
        except (MistralCommonException, ValueError, RuntimeError) as error:
            name, reason = _blame(error)
            raise ValueError(f"{name} must fit the {self.version} template: {reason}") from None

    @functools.cached_property
    def _template(self):
        """mistral-common's implementation of the template: Mistral's own definition of it."""
        from mistral_common.protocol.instruct import normalize, validator
        from mistral_common.tokens.tokenizers import base, instruct, mistral, sentencepiece

        version = base.TokenizerVersion(self.version)
        tokenizer = sentencepiece.SentencePieceTokenizer(str(self.file), tokenizer_version=version)
        kind = getattr(instruct, f"InstructTokenizer{self.version.upper()}")
        return mistral.MistralTokenizer(
            kind(tokenizer),
            # "test": the conversation may end with a turn of the user or the result of a tool.
            validator=validator.get_validator(version, mode=validator.ValidationMode.test),
            request_normalizer=normalize.get_normalizer(version, tokenizer.model_settings_builder),
        )

    def tool_calls(self, ids: Iterable[int]) -> list[dict] | None:
        """The tool calls in an answer that begins with [TOOL_CALLS], else None.

        ids: the model's answer -> dicts with "name" and "arguments". Raises ValueError when the
        rest of the answer is not a JSON list of calls.
        """
        ids = require_ids("ids", ids, len(self))
        if not ids or not self.is_control(ids[0]) or self.piece(ids[0]) != "[TOOL_CALLS]":
            return None
        text = self.decode(ids)
        try:
            calls = json.loads(text)
        except ValueError:
            calls = None
        if not isinstance(calls, list) or not all(
            isinstance(call, dict) and {"name", "arguments"} <= call.keys() for call in calls
        ):
            raise ValueError(f"ids must hold a JSON list of calls, not {text!r}")
        return calls


def load(source: str | Path = "v1", version: str | None = None) -> Tokenizer:
    """The tokenizer of a published version, or one of your own.

    source: "v1", "v2" or "v3", a SentencePiece file, or a folder that holds tokenizer.model.
    version: the version of the chat template. If None, it is that of the file's ending
    (tokenizer.model.v3); a file without one is v3 if it has the control piece [INST], else v1.
    Raises FileNotFoundError or ValueError when there is no such tokenizer.

    >>> load("v1"), load("v3")
    (Tokenizer(v1, 32,000 pieces), Tokenizer(v3, 32,768 pieces))
    """
    if version is not None and version not in VERSIONS:
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, not {version!r}")
    if isinstance(source, str) and source in VERSIONS:
        return _load_shipped(source) if version is None else _load_file(_shipped(source), version)
    if isinstance(source, str) and re.fullmatch(r"v\d+", source) and not Path(source).exists():
        raise ValueError(f"version must be one of {', '.join(VERSIONS)}, or a path, not {source!r}")
    if not isinstance(source, str | Path):
        raise TypeError(f"source must be a version or a path, not {source!r}")
    return _load_file(_find(Path(source)), version)


@functools.cache
def _load_shipped(version: str) -> Tokenizer:
    return Tokenizer(_shipped(version), version)


def _shipped(version: str) -> Path:
    return Path(str(resources.files("mistral_common"))) / "data" / _SHIPPED[version]


def _load_file(file: Path, version: str | None) -> Tokenizer:
    suffix = file.suffix.removeprefix(".")
    if version is None and re.fullmatch(r"v\d+\w*", suffix):
        version = suffix
        if suffix not in VERSIONS:
            raise ValueError(f"{file.name} must be of version {', '.join(VERSIONS)}, not {suffix}")
    tokenizer = Tokenizer(file, version or "v1")
    has_control_pieces = "[INST]" in tokenizer.control_ids
    if version in ("v2", "v3") and not has_control_pieces:
        raise ValueError(
            f"version must be v1 for {file.name}, because it has no piece [INST], not {version!r}"
        )
    if version is None and has_control_pieces:
        tokenizer.version = "v3"  # v2 has the same vocabulary and differs only in its tool template
    return tokenizer


def _find(path: Path) -> Path:
    """The tokenizer's file: the path itself, or the newest version in a folder."""
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no tokenizer at {path}")
        return path
    files = [path / f"tokenizer.model{suffix}" for suffix in (".v3", ".v2", ".v1", "")]
    files += sorted(path.glob("*.model.v[123]"), key=lambda file: file.suffix, reverse=True)
    for file in files:
        if file.is_file():
            return file
    tekken = "; its Tekken tokenizer is newer and not supported" * any(path.glob("tekken*.json"))
    raise FileNotFoundError(f"{path} must hold tokenizer.model of version v1, v2 or v3{tekken}")


def _blame(error: Exception) -> tuple[str, str]:
    """Which argument of `chat` an error of mistral-common is about, and why, in one line."""
    if isinstance(error, RuntimeError):  # SentencePiece refuses half a surrogate pair
        return "messages", "the text is not valid Unicode"
    if not hasattr(error, "errors"):
        return "messages", str(error).splitlines()[0]
    first = error.errors()[0]  # pydantic's list
    location = [str(part) for part in first["loc"]]
    return location[0] if location else "messages", f"{'.'.join(location)}: {first['msg']}"


def _open(file: Path) -> SentencePieceProcessor:
    """Open a SentencePiece file, or raise ValueError if it is not one."""
    data = file.read_bytes()
    require_content(data, file)
    try:
        # SentencePiece would open an empty file, and then print errors to stderr.
        processor = SentencePieceProcessor(model_proto=data) if data else None
    except RuntimeError:
        processor = None
    if processor is None or not processor.vocab_size():
        raise ValueError(f"{file} is not a SentencePiece model")
    return processor
