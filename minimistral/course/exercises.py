"""The exercises of the lessons, as they stand in the notebooks.

A lesson's exercise is a heading "### Exercise 2 · Store a key (★★☆, 8 minutes)", a cell or more for
the answer, a cell that calls the check, and a folded cell with a solution. Whatever hands out,
marks, counts or carries over answers finds them here, so a new lesson needs nothing of its own.
"""

import json
import re
from collections.abc import Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
# in every language
HEADING = re.compile(r"^### \w+ (\d+) · (.+?) \(([★☆]{3}), (\d+) \w+\)$", re.M)
CALL = re.compile(r"\bcheck\.(\w+)\(")
# what a learner replaces: a function without a body, a name without a value
STUB = re.compile(r"NotImplementedError  # your code|^\w+ = None\b", re.M)


class Task(NamedTuple):
    """One exercise of a lesson. Cells are named by their ids, which stay when a lesson changes."""

    lesson: str  # "06"
    number: int  # in its lesson, from 1
    title: str
    stars: int  # difficulty, 1 to 3
    minutes: int
    check: str  # the name of its check in minimistral/course/checks/lesson_06.py
    heading: str  # the Markdown cell with the task; the hints stand there or in a later cell
    answer: tuple[str, ...]  # the cells that a learner fills in
    checked: str  # the cell that calls the check; it may be one of `answer`
    solution: str  # the folded cell with a solution; "" in a copy for students

    @property
    def name(self) -> str:
        """The exercise in all lessons: "06.store"."""
        return f"{self.lesson}.{self.check}"

    @property
    def points(self) -> int:
        """What a right answer is worth: one point for each star of difficulty."""
        return self.stars


def lessons(folder: Path = NOTEBOOKS) -> dict[str, Path]:
    """The lessons of a folder by their numbers.

    >>> lessons()["06"].name
    '06_rolling_buffer_cache.ipynb'
    """
    return {path.name[:2]: path for path in sorted(folder.glob("[0-9][0-9]_*.ipynb"))}


def nearest(here: Path | None = None) -> Path:
    """The folder of the lessons: the course's own, or a copy where it is installed without them.

    A copy is the current folder, or `notebooks` in it or above it.
    """
    here = here or Path.cwd()
    around = [here, *(folder / "notebooks" for folder in (here, *here.parents))]
    return next((folder for folder in (NOTEBOOKS, *around) if lessons(folder)), NOTEBOOKS)


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of a notebook; the source of each is one text."""
    cells: list[dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return [{**cell, "source": "".join(cell["source"])} for cell in cells]


def tasks(path: Path) -> list[Task]:
    """The exercises of a lesson, in order.

    >>> for task in tasks(lessons()["06"])[:2]:
    ...     print(task.name, task.number, task.title, task.stars, task.minutes, task.answer)
    06.slot_and_evicted 1 Where, and which token leaves? 1 4 ('cell-9',)
    06.store 2 Store a key 2 8 ('cell-18',)
    """
    return tasks_in(path.name[:2], read_cells(path))


def tasks_in(lesson: str, cells: Sequence[Mapping[str, Any]]) -> list[Task]:
    """Like `tasks`, for the cells of a lesson, as `read_cells` gives them.

    An exercise whose check was deleted, in somebody's copy, is left out.
    """
    starts = [n for n, cell in enumerate(cells) if _heading(cell)]
    found = [_task(lesson, cells[a:b]) for a, b in pairwise([*starts, len(cells)])]
    return [task for task in found if task]


def all_tasks(folder: Path = NOTEBOOKS) -> list[Task]:
    """The exercises of all lessons, in order."""
    return [task for path in lessons(folder).values() for task in tasks(path)]


def _heading(cell: Mapping[str, Any]) -> re.Match[str] | None:
    return HEADING.search(cell["source"]) if cell["cell_type"] == "markdown" else None


def _task(lesson: str, cells: Sequence[Mapping[str, Any]]) -> Task | None:
    """The exercise that begins in the first of these cells; None if no cell calls its check."""
    found = _heading(cells[0])
    assert found is not None
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    solved = [n for n, cell in enumerate(code) if "solution" in cell["metadata"].get("tags", [])]
    solution = code[solved[0]]["id"] if solved else ""
    if solved:
        code = code[: solved[0]]  # the check stands just above
    else:
        stubs = [n for n, cell in enumerate(code) if STUB.search(cell["source"])]
        calls = [n for n, cell in enumerate(code) if CALL.search(cell["source"])]
        after = [n for n in calls if not stubs or n >= stubs[0]]
        code = code[: after[0] + 1] if after else []
    if not code or not CALL.search(code[-1]["source"]):
        return None
    checked = code[-1]
    return Task(
        lesson=lesson,
        number=int(found[1]),
        title=found[2],
        stars=found[3].count("★"),
        minutes=int(found[4]),
        check=CALL.findall(checked["source"])[-1],
        heading=cells[0]["id"],
        answer=tuple(cell["id"] for cell in code if STUB.search(cell["source"])),
        checked=checked["id"],
        solution=solution,
    )
