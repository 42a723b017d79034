"""The files of a tokenizer: its pieces, and what a folder adds to them.

A fine-tune may add tokens to the pieces of its base model, end its answers with other ids than
</s>, and bring a chat template of its own. Hugging Face's folders say so in several JSON files.
"""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sentencepiece import SentencePieceProcessor

from minimistral._arguments import require_content
from minimistral.chat_template import Added, ChatTemplate

# A template may use these names. Without one, Mistral's tokens are meant, which have no padding.
_SPECIAL_NAMES = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": None}


@dataclass
class FolderFacts:
    """What a folder says about its tokenizer. By default nothing.

    added: tokens by id, also those that rename a piece. stop_ids: those that end an answer.
    n_ids: the vocabulary of its model, 0 if it is not known. template: None if there is none.
    prefix: which parts of a chat begin with a space of their own, as `pieces_of` describes.
    """

    added: dict[int, Added] = field(default_factory=dict)
    stop_ids: list[int] = field(default_factory=list)
    n_ids: int = 0
    template: ChatTemplate | None = None
    prefix: str = "each"


def read_folder(folder: Path) -> FolderFacts:
    """What the JSON files of a folder say. Raises ValueError, naming the file and the key."""
    tokenizer, config = _json(folder / "tokenizer.json"), _json(folder / "tokenizer_config.json")
    facts = FolderFacts()
    for name, content in _json(folder / "added_tokens.json").items():
        _add(facts, content, {"content": name}, "added_tokens.json")
    for content in _list(tokenizer.get("added_tokens")):
        _add(facts, content.get("id"), content, "tokenizer.json")
    decoder = config.get("added_tokens_decoder")
    for name, content in decoder.items() if isinstance(decoder, dict) else ():
        _add(facts, int(name) if name.isdecimal() else name, content, "tokenizer_config.json")
    given = {key: _text(config.get(key, default)) for key, default in _SPECIAL_NAMES.items()}
    names = {key: name for key, name in given.items() if name is not None}
    ids = {token.text: number for number, token in facts.added.items()}
    if (eos := names.get("eos_token")) in ids:
        facts.stop_ids.append(ids[eos])
    for file in ("generation_config.json", "config.json"):
        facts.stop_ids += _stop_ids(_json(folder / file).get("eos_token_id"), folder / file)
    sizes = [_json(folder / file).get("vocab_size") for file in ("config.json", "params.json")]
    facts.n_ids = max((size for size in sizes if type(size) is int), default=0)
    facts.prefix = _prefix(tokenizer, config)
    templates, file = _templates(folder, config.get("chat_template"))
    if templates:
        facts.template = ChatTemplate(templates, file, names)
    return facts


def _json(file: Path) -> dict[str, Any]:
    """The object in a JSON file, {} if there is no such file."""
    if not file.is_file():
        return {}
    data = file.read_bytes()
    require_content(data, file)
    try:
        content = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(content, dict):
        raise ValueError(f"{file} must hold a JSON object")
    return content


def _list(value: Any) -> list[dict]:
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def _text(value: Any) -> str | None:
    """A token's text: itself, or the content of an object that describes it."""
    if isinstance(value, dict):
        value = value.get("content")
    return value if isinstance(value, str) else None


def _add(facts: FolderFacts, number: Any, content: Any, file: str) -> None:
    text = _text(content)
    # Far above any vocabulary, so that a damaged file does not name ids that no model has
    if type(number) is not int or not 0 <= number < 2**24 or text is None:
        raise ValueError(
            f"{file} must give added tokens as texts and ids, not {text!r}: {number!r}"
        )
    flags = {name: content.get(name) is True for name in ("special", "lstrip", "rstrip")}
    facts.added[number] = Added(text, **flags)


def _stop_ids(value: Any, file: Path) -> list[int]:
    ids = value if isinstance(value, list) else [] if value is None else [value]
    if any(type(token) is not int or token < 0 for token in ids):
        raise ValueError(f"eos_token_id in {file} must be an id or a list of ids, not {value!r}")
    return ids


def _prefix(tokenizer: dict[str, Any], config: dict[str, Any]) -> str:
    """Which parts of a chat begin with a space of their own; see `pieces_of` in Tokenizer."""
    if not tokenizer:
        return "first" if config.get("legacy") is False else "each"
    if "Prepend" in re.findall(r"'type': '(\w+)'", str(tokenizer.get("normalizer"))):
        return "each"
    scheme = re.search(r"'prepend_scheme': '(\w+)'", str(tokenizer.get("pre_tokenizer")))
    return scheme[1] if scheme else "never"


def _templates(folder: Path, in_config: Any) -> tuple[dict[str, str], str]:
    """The folder's chat templates by name, and where they are. As in transformers a file of its
    own is preferred to what tokenizer_config.json says."""
    file = folder / "chat_template.jinja"
    files = {"default": file} if file.is_file() else {}
    more = sorted((folder / "additional_chat_templates").glob("*.jinja"))
    files |= {path.name.removesuffix(".jinja"): path for path in more}
    if files:
        return {name: _read_text(path) for name, path in files.items()}, file.name
    where = "tokenizer_config.json"
    if isinstance(in_config, str):
        return {"default": in_config}, where
    if in_config is None:
        return {}, where
    named: list[Any] = [(item.get("name"), item.get("template")) for item in _list(in_config)]
    if not named or any(not isinstance(part, str) for pair in named for part in pair):
        raise ValueError(
            f"chat_template in {folder / where} must be a text, or a list of objects with name and"
            " template"
        )
    return dict(named), where


def _read_text(file: Path) -> str:
    data = file.read_bytes()
    require_content(data, file)
    try:
        return data.decode()
    except UnicodeDecodeError:
        raise ValueError(f"{file} is not valid UTF-8") from None


# Pieces


def open_pieces(file: Path) -> Any:
    """A SentencePiece file or a tokenizer.json, as a processor. Raises ValueError for others."""
    data = file.read_bytes()
    require_content(data, file)
    if file.suffix == ".json":
        return JsonProcessor(file)
    try:
        # SentencePiece would open an empty file, and then print errors to stderr.
        processor = SentencePieceProcessor(model_proto=data) if data else None
    except RuntimeError:
        processor = None
    if processor is None or not processor.vocab_size():
        raise ValueError(f"{file} is not a SentencePiece model")
    return processor


class JsonProcessor:
    """A tokenizer.json, with those methods of a SentencePieceProcessor that are used here.

    Its added tokens are not pieces: they are read by `read_folder`, and no text gives them.
    raw: the bytes of all pieces, if the file spells bytes as letters, as GPT-2's does; else {}.
    """

    def __init__(self, file: Path) -> None:
        from tokenizers import Tokenizer

        content = _json(file)
        plain = {**content, "added_tokens": [], "post_processor": None, "truncation": None,
                 "padding": None}  # fmt: skip
        try:
            self._tokenizer = Tokenizer.from_str(json.dumps(plain))
        except Exception as error:  # of its Rust code, without a class of its own
            raise ValueError(f"{file} is no tokenizer.json: {error}") from None
        added = {item.get("id"): item for item in _list(content.get("added_tokens"))}
        self._special = {number for number, item in added.items() if item.get("special") is True}
        vocabulary = self._tokenizer.get_vocab(with_added_tokens=False)
        self._pieces = {number: piece for piece, number in vocabulary.items()}
        self._size = max(self._pieces, default=-1) + 1
        self._unknown = content["model"].get("unk_token") or "<unk>"
        self._ids: dict[Any, Any] = vocabulary | {_text(added[n]): n for n in added}
        types = re.findall(r"'type': '(\w+)'", str([content.get("pre_tokenizer")]))
        letters = _byte_letters() if "ByteLevel" in types else {}
        self.raw = {
            number: bytes(letters[letter] for letter in piece)
            for number, piece in self._pieces.items()
            if letters and all(letter in letters for letter in piece)
        }

    def vocab_size(self) -> int:
        return self._size

    def bos_id(self) -> int:
        return self._ids.get("<s>", -1)

    def eos_id(self) -> int:
        return self._ids.get("</s>", -1)

    def encode(self, text: str | bytes, add_bos: bool = False, out_type: type = int) -> list:
        text = text.decode() if isinstance(text, bytes) else text
        encoding = self._tokenizer.encode(text, add_special_tokens=False)
        if out_type is str:
            return encoding.tokens
        return [self.bos_id()] * (add_bos and self.bos_id() >= 0) + encoding.ids

    def id_to_piece(self, token: int) -> str:
        return self._pieces.get(token, "")

    def is_control(self, token: int) -> bool:
        return token in self._special and not self.is_unknown(token)

    def is_unknown(self, token: int) -> bool:
        return self.id_to_piece(token) == self._unknown

    def is_byte(self, token: int) -> bool:
        return re.fullmatch("<0x[0-9A-F]{2}>", self.id_to_piece(token)) is not None


def _byte_letters() -> dict[str, int]:
    """GPT-2's letter of each byte: itself if it is printable Latin-1, else one from U+0100 on."""
    own: Iterable[int] = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {chr(byte): byte for byte in own}
    others = [byte for byte in range(256) if byte not in letters.values()]
    return letters | {chr(256 + n): byte for n, byte in enumerate(others)}
