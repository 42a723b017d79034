"""The text that the tiny model learns: the language reference that comes with every Python.

`pydoc_data.topics` is what Python's `help("for")` shows. Much of it occurs twice, because one topic
may be part of a larger one; here every paragraph is kept once.
"""

import hashlib
import re

HELD_OUT = 10  # about one section in ten


def split() -> tuple[str, str]:
    """(training text, held-out text): no paragraph is in both, or twice in one.

    The heading alone decides which text a section belongs to, so it is the same in every version
    of Python. Raises ImportError when this Python comes without its documentation.
    """
    sections = all_sections()
    seen: set[str] = set()
    # The held-out text comes first, so that its paragraphs are left out of the training text.
    held_out = without_repeats([s for s in sections if is_held_out(s)], seen)
    return without_repeats([s for s in sections if not is_held_out(s)], seen), held_out


def all_sections() -> list[str]:
    """Every section of every topic; two empty lines separate them."""
    try:
        from pydoc_data.topics import topics
    except ImportError as error:
        raise ImportError(
            f"this Python has no pydoc_data.topics, the text to learn: {error}"
        ) from None
    sections = (
        part.strip("\n") for name in sorted(topics) for part in topics[name].split("\n\n\n")
    )
    return [section for section in sections if section.strip()]


def is_held_out(section: str) -> bool:
    """Whether a section is held out, decided by its heading.

    >>> is_held_out("Mappings\\n========"), is_held_out('The "for" statement\\n*******')
    (True, False)
    """
    heading = section.strip().splitlines()[0].strip()
    return int(hashlib.sha256(heading.encode()).hexdigest(), 16) % HELD_OUT == 0


def without_repeats(sections: list[str], seen: set[str]) -> str:
    """The sections as one text, without the paragraphs in `seen`; the others are added to it.

    Paragraphs that differ only in spaces or in how a heading is underlined count as the same:

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
    """The share of a text's runs of `length` characters that occur in the other text too.

    >>> shared("abcd", "xabcx", length=2)
    0.6666666666666666
    """
    runs = {other[i : i + length] for i in range(len(other) - length + 1)}
    starts = range(len(text) - length + 1)
    return sum(text[i : i + length] in runs for i in starts) / max(1, len(starts))


def digest(text: str) -> str:
    """Twelve hex digits that identify a text: Python's versions differ a little.

    >>> digest("a") == digest("a"), digest("a") == digest("b")
    (True, False)
    """
    return hashlib.sha256(text.encode()).hexdigest()[:12]
