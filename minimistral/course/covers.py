"""What the covers of the lessons say, and the stages that the lessons make up."""

import re
from collections.abc import Mapping
from pathlib import Path

from minimistral.course.exercises import read_cells

# What the learner's model is at the end of each stage, and the last lesson of the stage.
STAGES = (
    ("Its size", 0), ("It looks at other tokens", 5), ("It remembers", 7), ("It is whole", 8),
    ("It reads and writes text", 10), ("It learns", 12), ("It is Mistral 7B", 15),
)  # fmt: skip


def cover(path: Path) -> dict[str, str]:
    """The title, the subject and the rows of the table in a lesson's first cell."""
    first = read_cells(path)[0]["source"]
    rows = dict(re.findall(r"^\| \*\*(.+?)\*\* \| (.+?) \|$", first, re.M))
    title = re.search(r"^# (.+)$", first, re.M)
    subject = re.search(r"^\*(.+)\*$", first, re.M)
    return {
        "title": title[1] if title else "",
        "subject": subject[1] if subject else "",
        **rows,
    }


def by_stage(lessons: Mapping[str, Path]) -> list[tuple[str, list[str]]]:
    """The stages that have lessons, each with the numbers of its lessons.

    >>> by_stage({"07": Path("07_prefill.ipynb"), "08": Path("08_the_whole_model.ipynb")})
    [('It remembers', ['07']), ('It is whole', ['08'])]
    """
    found, first = [], 0
    for stage, last in STAGES:
        if numbers := [number for number in lessons if first <= int(number) <= last]:
            found.append((stage, numbers))
        first = last + 1
    return found
