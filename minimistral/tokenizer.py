"""The real Mistral tokenizers v1, v2 and v3, offline, and those of a checkpoint's folder.

mistral-common's package includes the three.

A model never sees text. A tokenizer splits text into pieces of its vocabulary and replaces each
piece by its number, the id. A character without a piece is spelled in bytes, so every text has ids.
"""

import codecs
import functools
import json
import os
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib import resources
from pathlib import Path
from typing import Any

from minimistral._arguments import require_ids
from minimistral.chat_template import Added
from minimistral.tokenizer_files import FolderFacts, JsonProcessor, open_pieces, read_folder

VERSIONS = ("v1", "v2", "v3")
_SHIPPED = {
    "v1": "tokenizer.model.v1",
    "v2": "mistral_instruct_tokenizer_240216.model.v2",
    "v3": "mistral_instruct_tokenizer_240323.model.v3",
}


class Tokenizer:
    """Text to token ids and back, pieces, and chat templates; made by `load`.

    version: that of Mistral's chat template. len(): the number of pieces. n_ids: the number of
    ids that can be decoded, which is larger when a fine-tune added tokens or its model has more.
    added: those tokens, by id. stop_ids: the ids that end an answer.

    >>> tokenizer = load("v1")
    >>> tokenizer.encode("Hello, how are you?", bos=False)
    [22557, 28725, 910, 460, 368, 28804]
    """

    def __init__(self, file: Path, version: str, facts: FolderFacts | None = None) -> None:
        self.file, self.version, self._facts = file, version, facts or FolderFacts()
        self._processor = open_pieces(file)
        self.bos_id, self.eos_id = self._processor.bos_id(), self._processor.eos_id()
        own = [self.eos_id] * (self.eos_id >= 0)
        self.stop_ids = list(dict.fromkeys([*own, *self._facts.stop_ids]))
        # Of the pieces a fine-tune may only rename control pieces.
        self.added = {
            token: added
            for token, added in self._facts.added.items()
            if token >= len(self) or self._processor.is_control(token)
        }
        self.n_ids = max(len(self), self._facts.n_ids, *(token + 1 for token in self.added))
        self._raw: dict[int, bytes] = getattr(self._processor, "raw", {})
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
        return "".join(self.decode_stream(require_ids("ids", ids, self.n_ids)))

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
        for token in require_ids("after", after, self.n_ids):
            decoder.decode(self._bytes(token, begun))
        return self._decode_each(ids, decoder, begun)

    def _decode_each(self, ids, decoder, begun):
        for token in ids:
            (token,) = require_ids("ids", [token], self.n_ids)
            yield decoder.decode(self._bytes(token, begun))
        if rest := decoder.decode(b"", final=True):
            yield rest

    def piece_bytes(self, token: int) -> bytes:
        """The bytes that an id adds to a text that has begun; a control id adds none.

        Raises TypeError or ValueError unless it belongs to this vocabulary.

        >>> load("v1").piece_bytes(22557)
        b' Hello'
        """
        (token,) = require_ids("token", [token], self.n_ids)
        return self._bytes(token, [True])

    def _bytes(self, token: int, begun: list[bool]) -> bytes:
        """The bytes that an id adds to a text. begun: [whether it has begun], updated here."""
        if self.is_control(token):
            return b""
        piece = self.piece(token)
        first, begun[0] = not begun[0], True
        if token in self.added:
            return piece.encode()
        if raw := self._raw.get(token):
            return raw
        if self._processor.is_byte(token):
            return bytes([int(piece[1:-1], 16)])  # "<0x0A>"
        if self._processor.is_unknown(token):
            return " ⁇ ".encode()  # as SentencePiece writes it
        return (piece.removeprefix("▁") if first else piece).replace("▁", " ").encode()

    def piece(self, token: int) -> str:
        """The piece of an id as the vocabulary spells it: "▁" is a space, "<0x0A>" a byte.

        An added token is its own text; an id of the model without a name is "".
        Raises TypeError or ValueError unless the id belongs to this vocabulary.

        >>> [load("v3").piece(token) for token in (1, 3, 781, 23325)]
        ['<s>', '[INST]', '<0x0A>', '▁Hello']
        """
        (token,) = require_ids("token", [token], self.n_ids)
        return self._piece(token)

    def _piece(self, token: int) -> str:
        if token in self.added:
            return self.added[token].text
        return self._processor.id_to_piece(token) if token < len(self) else ""

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

    def ranks(self) -> dict[str, float]:
        """The pieces that encoding can make, with their ranks: the lowest is made first.

        Encoding begins with characters, and joins two neighbours as long as together they are a
        piece (byte-pair encoding, Sennrich et al. 2016). The ranks are the negated scores of the
        file. Single characters have one too; bytes and control pieces are never made from others.
        Raises ValueError for a tokenizer.json, which has no scores.

        >>> ranks = load("v1").ranks()
        >>> ranks["▁t"], ranks["he"], ranks["▁the"]
        (2.0, 6.0, 13.0)
        """
        if isinstance(self._processor, JsonProcessor):
            raise ValueError(f"ranks need a SentencePiece file; {self.file} has no scores")
        last_byte = max(filter(self._processor.is_byte, range(len(self))), default=-1)
        rest = range(last_byte + 1, len(self))
        made = [i for i in rest if not (self._is_control(i) or self._processor.is_unknown(i))]
        return {self._piece(i): -self._processor.get_score(i) for i in made}

    def is_control(self, token: int) -> bool:
        """Whether an id stands for no text, like <s> or [INST], or is one without a name.

        Raises TypeError or ValueError unless the id belongs to this vocabulary.
        """
        (token,) = require_ids("token", [token], self.n_ids)
        return self._is_control(token)

    def _is_control(self, token: int) -> bool:
        if token in self.added:
            return self.added[token].special
        return token >= len(self) or self._processor.is_control(token)

    @property
    def control_ids(self) -> dict[str, int]:
        """The control pieces and their ids. v1 has only <s> and </s>.

        >>> load("v1").control_ids
        {'<s>': 1, '</s>': 2}
        """
        return dict(self._control_ids)

    @functools.cached_property
    def _control_ids(self) -> dict[str, int]:
        pieces = [i for i in range(len(self)) if self._processor.is_control(i)]
        added = [i for i in self.added if i >= len(self) and self.is_control(i)]
        return {self.piece(i): i for i in [*pieces, *added]}

    def chat(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping] | None = None
    ) -> list[int]:
        """The ids of a conversation in the chat template, up to the model's next answer.

        The template is that of the tokenizer's folder, or if it has none, this version's.

        messages: dicts with "role" ("system", "user", "assistant" or "tool") and "content"; an
        assistant's message with calls has "tool_calls". tools: functions that it may call, each
        {"type": "function", "function": {"name", "description", "parameters"}}; not in v1.
        v1 puts the system prompt before the user's first turn, v2 and v3 before the last one. What
        looks like a control token in a message is ordinary text. Raises ValueError, naming messages
        or tools, for what the template does not allow; TypeError unless they are lists of dicts.

        >>> load("v3").chat([{"role": "user", "content": "Hi"}])    # <s> [INST] ▁Hi [/INST]
        [1, 3, 16127, 4]
        """
        for name, value in {"messages": messages, "tools": tools or []}.items():
            if isinstance(value, str | Mapping) or not isinstance(value, Sequence):
                raise TypeError(f"{name} must be a list of dicts, not {value!r}")
            if wrong := [item for item in value if not isinstance(item, Mapping)]:
                raise TypeError(f"{name} must be a list of dicts, but holds {wrong[0]!r}")
        if self._facts.template is not None:
            return self._chat_of_folder(messages, tools)
        if isinstance(self._processor, JsonProcessor):
            raise ValueError(
                f"messages need a chat template, and the folder of {self.file} has none: add"
                " chat_template.jinja, or tokenizer.model for Mistral's own"
            )
        if tools and self.version == "v1":
            raise ValueError(
                "tools must be None for a v1 tokenizer; function calling needs v2 or v3"
            )
        from mistral_common.protocol.instruct.request import ChatCompletionRequest

        try:
            as_dicts: dict[str, Any] = {"messages": list(messages), "tools": tools or None}
            request: Any = ChatCompletionRequest(**as_dicts)
            return self._template.encode_chat_completion(request).tokens
        except MemoryError:
            raise
        except Exception as error:  # also AssertionError: mistral-common raises many kinds
            name, reason = _blame(error)
            raise ValueError(f"{name} must fit the {self.version} template: {reason}") from None

    @property
    def template_name(self) -> str:
        """Where the chat template comes from.

        >>> load("v3").template_name
        "Mistral's v3"
        """
        template = self._facts.template
        return f"Mistral's {self.version}" if template is None else template.file

    @property
    def takes_tools(self) -> bool:
        """Whether `chat` takes tools, and `tool_calls` can read the calls of an answer."""
        template = self._facts.template
        has_calls = "[TOOL_CALLS]" in self.control_ids
        return has_calls and (self.version != "v1" if template is None else template.takes_tools)

    def _chat_of_folder(
        self, messages: Sequence[Mapping[str, Any]], tools: Sequence[Mapping] | None
    ) -> list[int]:
        template = self._facts.template
        assert template is not None
        if not messages:
            raise ValueError("messages must hold at least one message")
        if tools and not template.takes_tools:
            raise ValueError(f"tools must be None: the chat template in {template.file} takes none")
        tokens, ids = self._template_tokens, []
        try:
            parts = list(template.parts(messages, tools, [added for _, added in tokens.values()]))
        except ValueError as error:
            raise ValueError(
                f"messages must fit the chat template in {template.file}: {error}"
            ) from None
        for n, (text, is_token) in enumerate(parts):
            ids += [tokens[text][0]] if is_token else self._encode_part(text, first=n == 0)
        if not ids:
            raise ValueError(
                f"messages must fit the chat template in {template.file}: it gives no text"
            )
        return ids

    @functools.cached_property
    def _template_tokens(self) -> dict[str, tuple[int, Added]]:
        """The tokens that a template may write, by their text."""
        tokens = {piece: (i, Added(piece)) for piece, i in self.control_ids.items()}
        unknown = [i for i in range(min(3, len(self))) if self._processor.is_unknown(i)]
        tokens |= {self.piece(i): (i, Added(self.piece(i))) for i in unknown}
        return tokens | {added.text: (i, added) for i, added in self.added.items()}

    def _encode_part(self, text: str, first: bool) -> list[int]:
        """The ids of what a folder's template writes between two tokens.

        Whether it begins with a space of its own is for the folder to say: each part does so, or
        unless the text has one ("always"), or only the first part of all, or none ("never").
        """
        unless = not text.startswith((" ", "▁"))
        rule = {"each": True, "always": unless, "first": unless and first}
        if rule.get(self._facts.prefix, False) or not self._adds_space:
            return self.encode(text, bos=False)
        # Without the space: behind a byte that forms a piece with nothing, which is removed again.
        start = self.encode("\x01", bos=False)
        ids = self.encode("\x01" + text, bos=False)
        return ids[len(start) :] if ids[: len(start)] == start else self.encode(text, bos=False)

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
        ids = require_ids("ids", ids, self.n_ids)
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

    source: "v1", "v2" or "v3", a SentencePiece file, a tokenizer.json, or a folder that holds one
    of them; tokenizer.model comes first. In a folder, the tokens that a fine-tune added, the ids
    that end its answers and its chat template are read too.
    version: that of Mistral's chat template, instead of the folder's own. If None, it is that of
    the file's ending (tokenizer.model.v3); a file without one is v3 if it has the control piece
    [INST], else v1.
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
    path = Path(source)
    file = _find(path)
    facts = read_folder(path) if path.is_dir() else FolderFacts()
    if version is not None:
        facts.template = None
    return _load_file(file, version, facts)


@functools.cache
def _load_shipped(version: str) -> Tokenizer:
    return Tokenizer(_shipped(version), version)


def _shipped(version: str) -> Path:
    return Path(str(resources.files("mistral_common"))) / "data" / _SHIPPED[version]


def _load_file(file: Path, version: str | None, facts: FolderFacts | None = None) -> Tokenizer:
    suffix = file.suffix.removeprefix(".")
    if version is None and re.fullmatch(r"v\d+\w*", suffix):
        version = suffix
        if suffix not in VERSIONS:
            raise ValueError(
                f"{file.name!r} must be of version {', '.join(VERSIONS)}, not {suffix}"
            )
    tokenizer = Tokenizer(file, version or "v1", facts)
    has_control_pieces = "[INST]" in tokenizer.control_ids
    if version in ("v2", "v3") and not has_control_pieces:
        raise ValueError(
            f"version must be v1 for {file.name!r}, because it has no piece [INST], not {version!r}"
        )
    if version is None and has_control_pieces:
        tokenizer.version = "v3"  # v2 has the same vocabulary and differs only in its tool template
    return tokenizer


def _find(path: Path) -> Path:
    """The tokenizer's file: the path itself, or the newest version in a folder, or its JSON."""
    if not path.is_dir():
        if not path.exists():
            raise FileNotFoundError(f"no tokenizer at {path}")
        return path
    files = [path / f"tokenizer.model{suffix}" for suffix in (".v3", ".v2", ".v1", "")]
    files += sorted(path.glob("*.model.v[123]"), key=lambda file: file.suffix, reverse=True)
    files.append(path / "tokenizer.json")
    for file in files:
        if file.is_file():
            return file
    for file in files:
        if file.is_symlink() and not file.exists():
            raise FileNotFoundError(
                f"{file} is a link to {os.readlink(file)!r}, which does not exist"
            )
    tekken = "; its Tekken tokenizer is newer and not supported" * any(path.glob("tekken*.json"))
    raise FileNotFoundError(
        f"{path} must hold tokenizer.model of version v1, v2 or v3, or tokenizer.json{tekken}"
    )


def _blame(error: Exception) -> tuple[str, str]:
    """Which argument of `chat` an error of mistral-common is about, and why, in one line."""
    if isinstance(error, AssertionError) and "image" in str(error):
        return "messages", "it takes text only, and no images"
    if type(error) is RuntimeError:  # SentencePiece refuses half a surrogate pair
        return "messages", "the text is not valid Unicode"
    if not hasattr(error, "errors"):
        lines = str(error).splitlines()
        return "messages", lines[0] if lines else type(error).__name__
    first = error.errors()[0]  # pydantic's list
    location = [str(part) for part in first["loc"]]
    return location[0] if location else "messages", f"{'.'.join(location)}: {first['msg']}"
