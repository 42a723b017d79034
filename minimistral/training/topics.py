"""What the text says in one sentence about each of its names: the topics of the conversations.

Four rules find them: a signature with a paragraph below it, a row of a table, a command of the
debugger, and a sentence that begins with a statement's name.
"""

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

LONGEST = 150  # characters of a sentence: the whole conversation must stay within the model's reach


@dataclass(frozen=True)
class Topic:
    """A name of Python, what the text says about it, and the section that says so."""

    kind: str
    name: str
    sentence: str
    section: str

    @property
    def mention(self) -> str:
        """How a question names it.

        >>> Topic("operator", "**", "Exponentiation.", "Operator precedence").mention
        'the operator "**"'
        """
        return self.name if self.kind in DOTTED else f'the {self.kind} "{self.name}"'


DOTTED = ("method", "special name")  # names that need no word beside them: str.lower
TABLES = {  # topic of the text: what its tables list
    "operator-summary": "operator",
    "strings": "escape",
    "typesseq": "operation",
    "typesseq-mutable": "operation",
    "formatstrings": "format",
}


def all_topics(texts: Mapping[str, str]) -> list[Topic]:
    """The topics in a text: one for each name and kind, the first that is found.

    texts: topic -> text, as pydoc_data.topics. The order is that of kinds, then of names.
    """
    found: dict[tuple[str, str], Topic] = {}
    for name in sorted(texts):
        for section in texts[name].split("\n\n\n"):
            for topic in [*signatures(name, section), *rows(name, section), *statements(section)]:
                fits = len(topic.name) <= 30 and 4 < len(topic.sentence) <= LONGEST
                fits &= topic.kind != "escape" or topic.name[0] == "\\"
                if fits and topic.section and "*" not in topic.name.strip("*"):
                    found.setdefault((topic.kind, topic.name), topic)
    return [found[key] for key in sorted(found)]


def signatures(name: str, section: str) -> Iterator[Topic]:
    """Methods, special names and debugger commands: a line, and a paragraph indented below it.

    >>> section = "Methods\\n***\\n\\nstr.lower()\\n\\n   Return a copy.  More."
    >>> [(topic.name, topic.sentence) for topic in signatures("string-methods", section)]
    [('str.lower', 'Return a copy.')]
    """
    title = heading(section)
    below = r"(?m)^( *)(\S.*)\n\n\1   (\S.*(?:\n\1   \S.*)*)"
    for _, line, paragraph in re.findall(below, section):
        sentence = first_sentence(paragraph)
        if found := re.match(r"(?:static )?(str\.\w+)\(", line):
            yield Topic("method", found[1], sentence, title)
        elif found := re.match(r"(?:classmethod )?(\w+\.__\w+__)", line):
            yield Topic("special name", found[1], sentence, title)
        elif name == "typesmapping" and (found := re.match(r"([a-z]{3,})\((?!d\)|dictv)", line)):
            yield Topic("method", f"dict.{found[1]}", sentence, title)
        elif title == "Debugger Commands" and (found := re.match(r"([a-z()]+)(?: |$)", line)):
            yield Topic("debugger command", re.sub(r"[()]", "", found[1]), sentence, title)


def rows(name: str, section: str) -> Iterator[Topic]:
    """What a table lists. Where a row has as many operators as meanings, each gets its own.

    >>> table = 'Operators\\n***\\n\\n| "*", "/"  | Multiplication,  |\\n|  | division [6] |\\n+--'
    >>> [(topic.name, topic.sentence) for topic in rows("operator-summary", table)]
    [('*', 'Multiplication.'), ('/', 'Division.')]
    """
    kind, cells = TABLES.get(name, ""), ["", ""]
    for line in section.splitlines() if kind else ():
        parts = [part.strip() for part in re.split(r'(?<!")\||\|(?!")', line)[1:3]]
        if re.match(r" *\|(?!=)", line) and len(parts) == 2:
            cells = [f"{cell} {part}".strip() for cell, part in zip(cells, parts, strict=True)]
            continue
        names = re.findall(r'"(\S.*?)"(?=$|,| or | –)', cells[0])
        meanings = re.split(r", (?:and )?| and ", without_notes(cells[1]))
        if kind != "operator" or len(meanings) != len(names):
            meanings = [cells[1]] * len(names)
        for each, meaning in zip(names, meanings, strict=True):
            each = each.strip("'") if kind == "format" else each
            yield Topic(kind, each, first_sentence(meaning), heading(section))
        cells = ["", ""]


def statements(section: str) -> Iterator[Topic]:
    """A statement, by the sentence that begins with its name: 'The "for" statement is …'."""
    title = heading(section)
    if found := re.match(r'The "(\w+)" statement', title):
        begins = rf'(?:The |A |An )?"{found[1]}"'
        for paragraph in section.split("\n\n")[1:]:
            if re.match(begins, paragraph):
                yield Topic("statement", found[1], first_sentence(paragraph), title)


def heading(section: str) -> str:
    """The heading of a section, "" if it has none.

    >>> heading("String Methods\\n**************\\n\\nStrings implement …")
    'String Methods'
    """
    found = re.match(r"\s*(\S.*)\n([*=~-])\2{2,}", section)
    return found[1].strip() if found else ""


def first_sentence(paragraph: str) -> str:
    """The first sentence on one line, without marks of footnotes, and with a full stop.

    >>> first_sentence("return the cased [4]\\n   characters of s.  See also")
    'Return the cased characters of s.'
    """
    lines = re.sub(r"(?<=\w)-\n\s*", "-", paragraph)  # a word that was broken at its hyphen
    text = without_notes(" ".join(lines.split()))
    sentence = re.split(r'(?<=[.!?])\s+(?=[A-Z"*(])', text)[0].rstrip(".:")
    return f"{sentence[:1].upper()}{sentence[1:]}."


def without_notes(text: str) -> str:
    return re.sub(r" \[\d+\]", "", text)
