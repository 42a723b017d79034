"""The prose of a lesson as messages: one for each heading, paragraph, list item, table cell.

`split` cuts the source of a Markdown cell into pieces that make the source again when joined, so
a translation replaces some pieces and leaves the rest byte for byte. `faults` says what a
translation lost of what every language shares: code, formulas, links, tags, numbers.
"""

import re
from collections import Counter
from collections.abc import Iterator
from typing import NamedTuple

from babel import Locale

CODE = re.compile(r"(`+)(?!`).+?(?<!`)\1(?!`)", re.S)
FORMULA = re.compile(r"\$\$.+?\$\$|\$(?!\s)[^$\n]+?(?<!\s)\$", re.S)
WORDS = re.compile(r"(\\text\{)[^{}]*(\})")  # of a formula
FENCE = re.compile(r"^( *)(```+|~~~+) *(\w*).*\n(?:.*\n)*?\1\2[`~]* *$", re.M)
DISPLAY = re.compile(r"^ *\$\$(?:.|\n)*?\$\$ *$", re.M)
FOLD = re.compile(r"^(<details>)?(<summary>)(.+)(</summary>)$")
MARKER = re.compile(r"^(?P<heading> *#{1,6} +)|^(?P<item> *(?:[-*+]|\d+[.)]) +)|^(?P<quote> *> ?)")
KINDS = {"heading": "heading", "item": "list item", "quote": "quotation", None: "paragraph"}
STARTS_A_BLOCK = re.compile(
    r"^\s*(?:$|[-*+] |\d+[.)] |#{1,6} |>|\||```|~~~|\$\$|</?(?:details|summary)\b)"
)
NOTHING = re.compile(r"\s*>?\s*|</?details>")  # to translate in such a line
COLUMN = re.compile(r"(?<=\S) {2,}")  # between what a picture made of text says in code and words


class Piece(NamedTuple):
    """A part of a Markdown source. kind: "" for what is the same in every language."""

    kind: str
    text: str

    @property
    def message(self) -> str:
        """The text without the line breaks of its source, which mean nothing in prose."""
        if self.kind == "text picture":
            return self.text
        return re.sub(r"\s*\n\s*(?:> ?)?", " ", self.text)


def split(source: str) -> list[Piece]:
    r"""The pieces of a Markdown cell.

    >>> for piece in split("## The rule\n\n- A key is *seen*\n  by few.\n\n| `W` | window |\n"):
    ...     print(piece)
    Piece(kind='', text='## ')
    Piece(kind='heading', text='The rule')
    Piece(kind='', text='\n\n- ')
    Piece(kind='list item', text='A key is *seen*\n  by few.')
    Piece(kind='', text='\n\n| `W` | ')
    Piece(kind='table cell', text='window')
    Piece(kind='', text=' |\n')
    """
    pieces: list[Piece] = []
    for piece in _raw(source):
        if not piece.kind and pieces and not pieces[-1].kind:
            pieces[-1] = Piece("", pieces[-1].text + piece.text)
        elif piece.text:
            pieces.append(piece)
    return pieces


def _raw(source: str) -> Iterator[Piece]:
    """The pieces, those of kind "" not yet joined."""
    at = 0
    while at < len(source):
        if whole := FENCE.match(source, at) or DISPLAY.match(source, at):
            yield from _whole(whole)
            at = whole.end()
            continue
        stop = source.find("\n", at)
        line = source[at : stop if stop >= 0 else len(source)]
        if NOTHING.fullmatch(line):
            yield Piece("", line + "\n" * (stop >= 0))
            at += len(line) + 1
        elif line.lstrip().startswith("|"):
            yield from _row(line)
            at += len(line)
        elif fold := FOLD.match(line):
            yield Piece("", (fold[1] or "") + fold[2])
            yield _prose("summary", fold[3])
            yield Piece("", fold[4])
            at += len(line)
        else:
            mark = MARKER.match(line)
            start = at + (mark.end() if mark else len(line) - len(line.lstrip()))
            kind = KINDS[mark.lastgroup] if mark else "paragraph"
            end = _end(source, start, kind)
            yield Piece("", source[at:start])
            yield _prose(kind, source[start:end])
            at = end
        if at < len(source) and source[at] == "\n":
            yield Piece("", "\n")
            at += 1


def _whole(block: re.Match[str]) -> Iterator[Piece]:
    """A fence or a formula of its own: translated only where it holds words."""
    text = block[0]
    if block.re is FENCE and block[3] == "text":
        first, last = text.index("\n") + 1, text.rindex("\n")
        yield Piece("", text[:first])
        yield Piece("text picture", text[first:last])
        yield Piece("", text[last:])
    else:
        yield Piece("formula" if block.re is DISPLAY and WORDS.search(text) else "", text)


def _row(line: str) -> Iterator[Piece]:
    r"""The cells of a table's row; a | in code is written \| in a table."""
    for part in re.split(r"((?<!\\)\|)", line):
        text = part.strip()
        before = part[: len(part) - len(part.lstrip())]
        yield Piece("", before)
        yield _prose("table cell", text)
        yield Piece("", part[len(before) + len(text) :])


def _end(source: str, start: int, kind: str) -> int:
    """Where a block of prose that begins at `start` ends."""
    lines = source[start:].split("\n")
    n = 1
    if kind != "heading":
        while n < len(lines) and not (
            NOTHING.fullmatch(lines[n]) if kind == "quotation" else STARTS_A_BLOCK.match(lines[n])
        ):
            n += 1
    return start + len("\n".join(lines[:n]))


def _prose(kind: str, text: str) -> Piece:
    """A message, unless it has neither a word nor a number that languages write differently."""
    bare = FORMULA.sub("", CODE.sub("", text))
    has_words = re.search(r"[^\W\d_]", re.sub(r"\]\([^)]*\)", "]", bare))
    return Piece(kind if has_words or re.search(r"\d[.,]\d", bare) else "", text)


def messages(source: str) -> list[Piece]:
    """The pieces that are translated."""
    return [piece for piece in split(source) if piece.kind]


def translate(source: str, texts: dict[str, str]) -> str:
    r"""The source with the messages that `texts` has replaced; the others stay as they are.

    >>> translate("## One\n\nTwo\nthree.", {"Two three.": "Два, три."})
    '## One\n\nДва, три.'
    """
    return "".join(
        texts.get(piece.message, piece.text) if piece.kind else piece.text
        for piece in split(source)
    )


# What every language shares


def faults(message: str, translation: str, locale: Locale) -> list[str]:
    """What a translation lost or added of what it must keep, and what would break its block.

    >>> faults("Run `f(x)` 1,024 times.", "Запустите `f(x)` 1 024 раза.", Locale("ru"))
    ['1024 is missing', '1 is added', '024 is added']
    >>> faults("Run `f(x)` 1.5 times.", "Запустите `g(x)` 1,5 раза.", Locale("ru"))
    ['`f(x)` is missing', '`g(x)` is added']
    """
    kept, found = _kept(message, Locale("en")), _kept(translation, locale)
    said = [f"{what} is missing" for what in (kept - found).elements()]
    said += [f"{what} is added" for what in (found - kept).elements()]
    if translation != translation.strip() and message == message.strip():
        said.append("it begins or ends with a space")
    if "\n" in translation and "\n" not in message:
        said.append("it has a line break")
    if "\n" in message:
        said += _lost_columns(message, translation)
    elif [piece.kind for piece in split(message)] != [p.kind for p in split(translation)]:
        said.append("it is no longer one block of Markdown")
    return said


def _kept(text: str, locale: Locale) -> Counter[str]:
    """The parts of a message that are the same in every language, and how often they occur."""
    kept: Counter[str] = Counter()

    def take(pattern: re.Pattern[str] | str, text: str) -> str:
        found = [match[0] for match in re.finditer(pattern, text)]
        kept.update(WORDS.sub(r"\1\2", part) for part in found)
        return re.sub(pattern, " ", text)

    for pattern in (
        CODE, FORMULA, r"(?<=\]\()[^)]*(?=\))", r"\[\^[^\]]+\]", r"</?[A-Za-z][^>]*>",
        r"!(?=\[)", r"\*\*", r"[☐✗✓★☆▸←→]",
    ):  # fmt: skip
        text = take(pattern, text)
    kept.update(numbers(text, locale))
    return kept


def numbers(text: str, locale: Locale) -> list[str]:
    """The numbers in a text, written as Python writes them.

    >>> numbers("32,768 of 4.5, lessons 1,2 and 10⁹", Locale("en"))
    ['32768', '4.5', '1', '2', '10', '⁹']
    >>> numbers("32\u00a0768 из 4,5, раздел 2.2", Locale("ru"))
    ['32768', '4.5', '2.2']
    """
    point = locale.number_symbols["latn"]["decimal"]
    group = locale.number_symbols["latn"]["group"]
    groups = re.escape(group) + "\u00a0\u202f" * group.isspace()
    points = re.escape(point + "." * (group != "."))
    thousands = rf"(?<![\d.,])\d{{1,3}}(?:[{groups}]\d{{3}})+(?!\d)(?:[{points}]\d+)?"
    plain = rf"\d+(?:[{points}]\d+)*"
    written = re.findall(rf"{thousands}|{plain}|[⁰¹²³⁴-⁹]+", text)
    return [
        re.sub(f"[{re.escape(point)}]", ".", re.sub(f"(?<=\\d)[{groups}](?=\\d{{3}})", "", n))
        for n in written
    ]


def _lost_columns(message: str, translation: str) -> list[str]:
    """A picture made of text keeps its lines, and what stands left of the words."""
    before, after = message.split("\n"), translation.split("\n")
    if len(before) != len(after):
        return [f"it has {len(after)} lines and not {len(before)}"]
    left = [COLUMN.split(line)[0] for line in before if COLUMN.search(line)]
    return [f"{code!r} is missing" for code in left if code not in translation]
