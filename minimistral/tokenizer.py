"""The real Mistral tokenizers v1, v2 and v3, offline: mistral-common's package carries them.

A model never sees text. A tokenizer cuts it into pieces of its vocabulary and gives each its
number, the id. What has no piece of its own is spelled in bytes, so every text has ids.
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

from minimistral._arguments import require_ids

VERSIONS = ("v1", "v2", "v3")
_SHIPPED = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}


class Tokenizer:
    """Text to token ids and back, pieces, and chats; made by `load`.

    `version` says which chat template it uses; len() is the size of the vocabulary.

    >>> tokenizer = load("v1")
    >>> tokenizer.encode("Hello, how are you?", bos=False)
    [22557, 28725, 910, 460, 368, 28804]
    """

    def __init__(self, file: Path, version: str) -> None:
        self.file, self.version = file, version
        self._processor = _open(file)
        self.bos_id, self.eos_id = self._processor.bos_id(), self._processor.eos_id()
        # A text begins with a space that is not its own; whether, the file decides.
        self._adds_space = self._processor.encode("a", out_type=str)[0].startswith("▁")

    def __repr__(self) -> str:
        return f"Tokenizer({self.version}, {len(self):,} pieces)"

    def __len__(self) -> int:
        return self._processor.vocab_size()

    def encode(self, text: str, bos: bool = True) -> list[int]:
        """Token ids of `text`; `bos` puts the begin-of-sequence id 1 first.

        Text is only text: "</s>" and "[INST]" are spelled in ordinary pieces, never control ids.
        Raises TypeError when text is not a string, ValueError when it is not valid Unicode.
        """
        if not isinstance(text, str):
            raise TypeError(f"text must be a string, not {type(text).__name__}")
        try:
            return self._processor.encode(text.encode(), add_bos=bos)
        except UnicodeEncodeError as error:
            raise ValueError(f"text must be valid Unicode, not {text[error.start]!r}") from None

    def decode(self, ids: Iterable[int]) -> str:
        """The text of `ids`; control ids have none. Bytes that are no character become "\\ufffd".

        What was encoded comes back, but for "▁" (U+2581), which stands for a space.
        Raises TypeError or ValueError when ids are no ids of this vocabulary.

        >>> load("v1").decode([22557, 28725, 910, 460, 368, 28804])
        'Hello, how are you?'
        """
        return "".join(self.decode_stream(require_ids("ids", ids, len(self))))

    def decode_stream(self, ids: Iterable[int], after: Iterable[int] = ()) -> Iterator[str]:
        """`decode`, id by id: the text that each adds, "" while a character is not complete.

        A last text follows when the ids end inside a character. after: the ids before these, so
        that the first word keeps the space in front of it. Raises as `decode` does.

        The bear takes four ids, one for each byte:

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
        """The bytes that an id adds to a text. begun: [has the text begun?], kept up to date."""
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

        Raises TypeError or ValueError when it is no id of this vocabulary.

        >>> [load("v3").piece(token) for token in (1, 3, 781, 23325)]
        ['<s>', '[INST]', '<0x0A>', '▁Hello']
        """
        (token,) = require_ids("token", [token], len(self))
        return self._processor.id_to_piece(token)

    def pieces(self, text: str) -> list[str]:
        """The pieces of `text`. Raises as `encode` does.

        >>> load("v1").pieces("The cat sat.")
        ['▁The', '▁cat', '▁sat', '.']
        """
        return [piece for _, piece in self.tokens(text)]

    def tokens(self, text: str) -> list[tuple[int, str]]:
        """The ids of `text`, each with its piece. Raises as `encode` does.

        >>> load("v1").tokens("a 🐻")
        [(264, '▁a'), (28705, '▁'), (243, '<0xF0>'), (162, '<0x9F>'), (147, '<0x90>'), (190, '<0xBB>')]
        """  # noqa: E501
        return [(token, self.piece(token)) for token in self.encode(text, bos=False)]

    def is_control(self, token: int) -> bool:
        """Is this an id that steers the model and that no text contains, like <s> or [INST]?

        Raises TypeError or ValueError when it is no id of this vocabulary.
        """
        (token,) = require_ids("token", [token], len(self))
        return self._processor.is_control(token)

    @property
    def control_ids(self) -> dict[str, int]:
        """Control pieces and their ids. v1 has only <s> and </s>.

        >>> load("v1").control_ids
        {'<s>': 1, '</s>': 2}
        """
        return {self.piece(i): i for i in range(len(self)) if self._processor.is_control(i)}

    def chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping] | None = None
    ) -> list[int]:
        """The ids of a conversation in this version's template, up to where the model answers.

        messages: dicts with "role" ("system", "user", "assistant" or "tool") and "content"; a
        call of the assistant has "tool_calls". tools: functions that it may call, each
        {"type": "function", "function": {"name", "description", "parameters"}}; not in v1.
        The system prompt goes before the first turn of the user in v1, before the last in
        v2 and v3. Raises ValueError, naming messages or tools, for what the template does not
        allow, and TypeError when they are no lists of dicts.

        >>> load("v3").chat([{"role": "user", "content": "Hi"}])    # <s> [INST] ▁Hi [/INST]
        [1, 3, 16127, 4]
        """
        from mistral_common.exceptions import MistralCommonException
        from mistral_common.protocol.instruct.request import ChatCompletionRequest

        for name, value in {"messages": messages, "tools": tools or []}.items():
            if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
                raise TypeError(f"{name} must be a list of dicts, not {value!r}")
            if wrong := [each for each in value if not isinstance(each, Mapping)]:
                raise TypeError(f"{name} must be a list of dicts, not of {wrong[0]!r}")
        if tools and self.version == "v1":
            raise ValueError("tools must be None for a v1 tokenizer: v2 brought function calling")
        try:
            as_dicts: dict[str, Any] = {"messages": list(messages), "tools": tools or None}
            request: Any = ChatCompletionRequest(**as_dicts)
            return self._template.encode_chat_completion(request).tokens
        except (MistralCommonException, ValueError, RuntimeError) as error:
            name, reason = _blame(error)
            raise ValueError(f"{name} must suit the {self.version} template: {reason}") from None

    @functools.cached_property
    def _template(self):
        """mistral-common's own template: the one place where Mistral says what it is."""
        from mistral_common.protocol.instruct import normalize, validator
        from mistral_common.tokens.tokenizers import base, instruct, mistral, sentencepiece

        version = base.TokenizerVersion(self.version)
        tokenizer = sentencepiece.SentencePieceTokenizer(str(self.file), tokenizer_version=version)
        kind = getattr(instruct, f"InstructTokenizer{self.version.upper()}")
        return mistral.MistralTokenizer(
            kind(tokenizer),
            # "test": the conversation may end with a turn of the user or the answer of a tool.
            validator=validator.get_validator(version, mode=validator.ValidationMode.test),
            request_normalizer=normalize.get_normalizer(version, tokenizer.model_settings_builder),
        )

    def tool_calls(self, ids: Iterable[int]) -> list[dict] | None:
        """The calls in an answer that begins with [TOOL_CALLS], else None.

        ids: what the model answered -> dicts with "name" and "arguments". Raises ValueError
        when what follows is not a JSON list of calls.
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

    source: "v1", "v2" or "v3"; or a SentencePiece file, or a folder that holds
    tokenizer.model. version: whose chat template a file of your own uses; if None, what its
    name ends in (tokenizer.model.v3), else v3 when it has a control piece [INST], else v1.
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
            raise ValueError(f"{file.name} must be of {', '.join(VERSIONS)}, not of {suffix}")
    tokenizer = Tokenizer(file, version or "v1")
    has_control_pieces = "[INST]" in tokenizer.control_ids
    if version in ("v2", "v3") and not has_control_pieces:
        raise ValueError(
            f"version must be v1 for {file.name}, which has no piece [INST], not {version!r}"
        )
    if version is None and has_control_pieces:
        tokenizer.version = "v3"  # v2 has the same vocabulary; only its template for tools differs
    return tokenizer


def _find(path: Path) -> Path:
    """The tokenizer's file: the path itself, or the newest version that a folder holds."""
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no tokenizer at {path}")
        return path
    files = [path / f"tokenizer.model{suffix}" for suffix in (".v3", ".v2", ".v1", "")]
    files += sorted(path.glob("*.model.v[123]"), key=lambda file: file.suffix, reverse=True)
    found = [file for file in files if file.is_file()]
    if not found:
        what = "a Tekken tokenizer, which is newer" if any(path.glob("tekken*.json")) else "nothing"
        raise FileNotFoundError(f"{path} must hold tokenizer.model (v1, v2 or v3), and has {what}")
    return found[0]


def _blame(error: Exception) -> tuple[str, str]:
    """Which argument of `chat` an error of mistral-common is about, and why, in one line."""
    if isinstance(error, RuntimeError):  # SentencePiece cannot take half a surrogate pair
        return "messages", "the text is not valid Unicode"
    if not hasattr(error, "errors"):
        return "messages", str(error).splitlines()[0]
    first = error.errors()[0]  # pydantic's list
    where = [str(part) for part in first["loc"]]
    return where[0] if where else "messages", f"{'.'.join(where)}: {first['msg']}"


def _open(file: Path) -> SentencePieceProcessor:
    """Open a SentencePiece file, or raise ValueError when it is none."""
    data = file.read_bytes()
    try:
        # An empty file would open, and then write its complaints to stderr.
        processor = SentencePieceProcessor(model_proto=data) if data else None
    except RuntimeError:
        processor = None
    if processor is None or not processor.vocab_size():
        raise ValueError(f"{file} is not a SentencePiece model")
    return processor
