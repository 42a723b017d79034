"""The text that the tiny model reads: the language reference that comes with every Python.

`pydoc_data.topics` is what Python's `help("for")` shows. Much of it is there twice, since a topic
may be a part of a larger one; what is said a second time is left out here.
"""

import hashlib
import re

HELD_OUT = 10  # one section in about so many


def split() -> tuple[str, str]:
    """(training text, held-out text): no paragraph is in both, or twice in one.

    A section goes to one side or the other by its heading alone, so it stays there in every
    version of Python. Raises ImportError when this Python comes without its documentation.
    """
    sections = all_sections()
    seen: set[str] = set()
    # The held-out side takes first: what it holds is taken out of the training text.
    held_out = without_repeats([s for s in sections if is_held_out(s)], seen)
    return without_repeats([s for s in sections if not is_held_out(s)], seen), held_out


def all_sections() -> list[str]:
    """Every section of every topic: two empty lines stand between them."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ImportError(
            f"this Python has no pydoc_data.topics, the text to read: {error}"
        ) from None
    sections = (
        part.strip("\n") for name in sorted(topics) for part in topics[name].split("\n\n\n")
    )
    return [section for section in sections if section.strip()]


def is_held_out(section: str) -> bool:
    """Whether a section is held out, by its heading.

    >>> is_held_out("Mappings\\n========"), is_held_out('The "for" statement\\n*******')
    (True, False)
    """
    heading = section.strip().splitlines()[0].strip()
    return int(hashlib.sha256(heading.encode()).hexdigest(), 16) % HELD_OUT == 0


def without_repeats(sections: list[str], seen: set[str]) -> str:
    """The sections as one text, without the paragraphs in `seen`, which grows by the others.

    Paragraphs that differ only in spaces or in the lines drawn under a heading are the same:

    >>> without_repeats(["A\\n***\\n\\nb c", "A\\n===\\n\\nb  c\\n\\nd"], set())
    'A\\n***\\n\\nb c\\n\\n\\nd\\n'
    """
    kept = []
    for section in sections:
        paragraphs = []
        for paragraph in re.split(r"\n[ \t]*\n", section):
            words = " ".join(re.sub(r"([*=~-])\1{2,}", "", paragraph).split())
            if paragraph.strip() and words not in seen:
                paragraphs.append(paragraph)
                seen.add(words)
        if paragraphs:
            kept.append("\n\n".join(paragraphs))
    return "\n\n\n".join(kept) + "\n"


def shared(text: str, other: str, length: int = 50) -> float:
    """The share of all runs of `length` characters of a text that the other holds as well.

    >>> shared("abcd", "xabcx", length=2)
    0.6666666666666666
    """
    runs = {other[i : i + length] for i in range(len(other) - length + 1)}
    starts = range(len(text) - length + 1)
    return sum(text[i : i + length] in runs for i in starts) / max(1, len(starts))


def digest(text: str) -> str:
    """Twelve hex digits that change with the text: Python's versions differ a little.

    >>> digest("a") == digest("a"), digest("a") == digest("b")
    (True, False)
    """
    return hashlib.sha256(text.encode()).hexdigest()[:12]
