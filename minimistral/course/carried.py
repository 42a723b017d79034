"""What a learner has written in a copy of a lesson, carried over into a changed lesson.

A copy says in its metadata which lesson it was made from: the mark (a hash) of each cell's text, by
the cell's id. So the learner's text can be told from the lesson's, whatever was split, merged or
moved, and under whatever name the copy lies.
"""

import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from minimistral.course.exercises import Task, tasks_in

Cell = dict[str, Any]
Notebook = dict[str, Any]
KEY = "minimistral"  # in the metadata of a copy
VALID_ID = re.compile(r"[a-zA-Z0-9_-]{1,64}")


class Base(NamedTuple):
    """What a copy says of the lesson that it was made from."""

    version: str
    cells: dict[str, str]  # the mark of each cell's text, by its id
    answers: frozenset[str]  # the cells that the learner fills in
    written: str  # the digest of the copy as the course wrote it


class Lesson(NamedTuple):
    """A lesson as it is now."""

    notebook: Notebook
    tasks: list[Task]
    cells: dict[str, Cell]  # by their ids
    marks: dict[str, str]
    version: str

    @property
    def answers(self) -> frozenset[str]:
        return frozenset(cell for task in self.tasks for cell in task.answer)


class Carried(NamedTuple):
    """A changed lesson with the learner's answers in it, and what became of each text."""

    notebook: Notebook
    answers: list[str]  # cells of the lesson that hold the learner's answer now
    changed: list[str]  # those of them that have changed in the lesson, too
    n_own: int  # cells of the learner's own, put in after the same cell as before
    left: list[str]  # other cells of the lesson that the learner has changed in the copy


def parse(data: bytes) -> Notebook:
    """A notebook of format 4; the source of each cell is one text. Raises ValueError.

    >>> file = b'{"nbformat": 4, "cells": [{"cell_type": "raw", "source": ["a", "b"]}]}'
    >>> parse(file)["cells"]
    [{'cell_type': 'raw', 'source': 'ab'}]
    """
    try:
        notebook = json.loads(data.decode("utf-8-sig"))
        cells = notebook["cells"]
        if notebook["nbformat"] != 4:
            raise ValueError("another format of notebook")
        notebook["cells"] = [{**cell, "source": _text(cell["source"])} for cell in cells]
        if not {cell["cell_type"] for cell in cells} <= {"code", "markdown", "raw"}:
            raise ValueError("a cell of a type that is none")
    except (KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ValueError(f"no notebook: {type(error).__name__}") from None
    if not isinstance(notebook.setdefault("metadata", {}), dict):
        raise ValueError("its metadata is none")
    return notebook


def _text(source: Any) -> str:
    """The text of a cell, which a file may hold in lines. Raises TypeError or ValueError."""
    text = "".join([source] if isinstance(source, str) else source).replace("\r\n", "\n")
    text.encode("utf-8")  # half a character cannot be saved
    return text


def dump(notebook: Notebook) -> str:
    """The text of a notebook's file, in the form that Jupyter writes."""
    cells = [{**cell, "source": cell["source"].splitlines(True)} for cell in notebook["cells"]]
    whole = {**notebook, "cells": cells}
    return json.dumps(whole, indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def mark(text: str) -> str:
    """A short hash of a cell's text.

    >>> mark("def store(): ..."), len(mark(""))
    ('3d67e8d24e65dc6e', 16)
    """
    return hashlib.sha256(text.encode("utf-8")).hexdigest()[:16]


def read_lesson(name: str, data: bytes) -> Lesson:
    """A lesson from the bytes of its file. Raises ValueError."""
    notebook = parse(data)
    cells = {id_of(cell): cell for cell in notebook["cells"]}
    if "" in cells or len(cells) < len(notebook["cells"]):
        raise ValueError("its cells have no ids of their own")
    marks = {key: mark(cell["source"]) for key, cell in cells.items()}
    try:
        tasks = tasks_in(name[:2], [{"metadata": {}, **cell} for cell in notebook["cells"]])
    except (LookupError, StopIteration):  # an exercise that someone is still writing
        tasks = []
    return Lesson(notebook, tasks, cells, marks, mark(json.dumps(list(marks.items()))))


def id_of(cell: Cell) -> str:
    """The id of a cell; "" where it has none."""
    key = cell.get("id")
    return key if isinstance(key, str) and VALID_ID.fullmatch(key) else ""


def base_of(notebook: Notebook) -> Base | None:
    """What a copy says of its lesson; None if it says nothing that can be understood."""
    said = notebook["metadata"].get(KEY)
    try:
        base = Base(said["version"], said["cells"], frozenset(said["answers"]), said["written"])
        texts = [base.version, base.written, *base.cells.values(), *base.answers]
    except (TypeError, KeyError, AttributeError):
        return None
    return base if all(isinstance(text, str) for text in texts) else None


def with_base(
    notebook: Notebook, lesson: Lesson, unknown: frozenset[str] = frozenset()
) -> Notebook:
    """A notebook that says which lesson it was made from.

    unknown: cells whose text may be the learner's already.
    """
    said = {
        "version": lesson.version,
        "cells": {key: text for key, text in lesson.marks.items() if key not in unknown},
        "answers": sorted(lesson.answers | unknown),
        "written": digest(notebook),
    }
    return {**notebook, "metadata": {**notebook["metadata"], KEY: said}}


def digest(notebook: Notebook) -> str:
    """A hash of what one sees in a notebook: the cells with their outputs.

    Jupyter may write the same notebook with other metadata, line ends, or text in lines.
    """
    seen = [
        [id_of(cell), cell["cell_type"], cell["source"], _joined(cell.get("outputs", []))]
        for cell in notebook["cells"]
    ]
    return mark(json.dumps(seen, sort_keys=True))  # ASCII, whatever the outputs hold


def _joined(value: Any) -> Any:
    """Outputs with each list of lines as one text.

    >>> _joined([{"text": ["a\\n", "b"], "data": {"n": [1, 2]}}])
    [{'text': 'a\\nb', 'data': {'n': [1, 2]}}]
    """
    if isinstance(value, dict):
        return {key: _joined(item) for key, item in value.items()}
    if isinstance(value, list) and value and all(isinstance(item, str) for item in value):
        return "".join(value).replace("\r\n", "\n")
    return [_joined(item) for item in value] if isinstance(value, list) else value


def is_as_written(notebook: Notebook) -> bool:
    """Whether a copy still is what the course wrote: nothing typed in it, and nothing run."""
    base = base_of(notebook)
    return base is not None and base.written == digest(notebook)


def own_cells(notebook: Notebook) -> set[str]:
    """The ids of cells whose text is not the lesson's that the copy was made from."""
    base = base_of(notebook)
    marks = base.cells if base else {}
    return {
        id_of(cell)
        for cell in notebook["cells"]
        if cell["source"].strip() and mark(cell["source"]) != marks.get(id_of(cell))
    }


def is_current(notebook: Notebook, lesson: Lesson) -> bool:
    """Whether the lesson is still the one that a copy was made from.

    A copy that was made from another one, or does not say, is current all the same if it holds
    just the lesson's cells, apart from answers and the learner's own cells.
    """
    base = base_of(notebook)
    if base and base.version == lesson.version:
        return True
    there = {id_of(cell): mark(cell["source"]) for cell in notebook["cells"]}
    marks = base.cells if base else lesson.marks
    removed = [key for key in there if marks.get(key) == there[key] and key not in lesson.cells]
    open_tasks = {key for key in lesson.answers if marks.get(key) == lesson.marks[key]}
    return (
        not removed
        and [key for key in there if key in lesson.cells] == list(lesson.cells)
        and all(there[key] == text or key in open_tasks for key, text in lesson.marks.items())
    )


def carry(lesson: Lesson, copy: Notebook) -> Carried:
    """The lesson with what a learner has written in a copy of it, or of an older one.

    An answer goes to the cell with its id. A cell of the learner's own, and an answer whose task
    is no more, stands after the cell it stood after. Other cells are the lesson's.
    """
    base = base_of(copy) or Base("", lesson.marks, frozenset(), "")
    answers: dict[str, str] = {}
    own: dict[str, list[Cell]] = {}  # after which cell; "" is the top
    left: list[str] = []
    for key, cell, is_own in _learners(lesson, copy, base):
        if not is_own and key in lesson.answers and cell["cell_type"] == "code":
            answers[key] = cell["source"]
        elif is_own or key in lesson.answers | base.answers:
            own.setdefault(key, []).append(cell)
        else:
            left.append(key)
    changed = [key for key in answers if base.cells.get(key, "") not in ("", lesson.marks[key])]
    cells = _merged(lesson, answers, own)
    notebook = with_base({**lesson.notebook, "cells": cells}, lesson)
    return Carried(notebook, list(answers), changed, sum(map(len, own.values())), left)


def _learners(lesson: Lesson, copy: Notebook, base: Base) -> Iterator[tuple[str, Cell, bool]]:
    """The cells of a copy with text of the learner's: where they belong, and whether they are own.

    One of the lesson's belongs in the cell with its id; one of the learner's own belongs after
    the last cell of the lesson that stands before it.
    """
    keys, after = _keys(copy, base), ""
    for key, cell in zip(keys, copy["cells"], strict=True):
        text = mark(cell["source"])
        if key in lesson.cells:
            after = key
        if not cell["source"].strip() or text in (base.cells.get(key), lesson.marks.get(key)):
            continue
        if key in lesson.cells:
            yield key, cell, False
        elif text not in base.cells.values():
            yield _after_removed(lesson, base, after, set(keys)), cell, True


def _keys(copy: Notebook, base: Base) -> list[str]:
    """Which cell of the lesson each cell of a copy is; "" for the learner's own."""
    by_text = {text: key for key, text in base.cells.items()}
    keys: list[str] = []
    for cell in copy["cells"]:
        key = id_of(cell)
        if key not in base.cells.keys() | base.answers:  # a tool may have dropped the ids
            key = by_text.get(mark(cell["source"]), "")
        keys.append("" if key in keys else key)
    return keys


def _after_removed(lesson: Lesson, base: Base, after: str, present: set[str]) -> str:
    """The last answer cell right behind `after` that the copy has no more, else `after`.

    Whoever joins an answer with the cell below gets a new cell for both, which must run after
    the task's own empty one.
    """
    keys = list(lesson.cells)
    for key in keys[keys.index(after) + 1 if after else 0 :]:
        if key in present or key not in base.cells:
            break
        if key in lesson.answers:
            after = key
    return after


def _merged(
    lesson: Lesson, answers: Mapping[str, str], own: Mapping[str, list[Cell]]
) -> list[Cell]:
    """The cells of the lesson with the learner's in between; every id occurs once."""
    taken = set(lesson.cells)

    def as_own(cell: Cell) -> Cell:
        key = id_of(cell)
        if not key or key in taken:
            key = next(name for n in range(1, 10**6) if (name := f"own-{n}") not in taken)
        taken.add(key)
        return _without_outputs({**cell, "id": key})

    cells = [as_own(cell) for cell in own.get("", [])]
    for key, cell in lesson.cells.items():
        cells.append({**cell, "source": answers[key]} if key in answers else cell)
        cells += [as_own(one) for one in own.get(key, [])]
    return cells


def _without_outputs(cell: Cell) -> Cell:
    """A cell with what the format asks of its type, and nothing that a run has left."""
    metadata = cell.get("metadata")
    kept = {
        "cell_type": cell["cell_type"],
        "id": cell["id"],
        "metadata": metadata if isinstance(metadata, dict) else {},
        "source": cell["source"],
    }
    if cell["cell_type"] == "code":
        return {**kept, "outputs": [], "execution_count": None}
    return {**kept, "attachments": cell["attachments"]} if "attachments" in cell else kept
