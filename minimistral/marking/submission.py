"""A submitted notebook, laid over the lesson that it was made from.

The cells of the lesson are taken from the lesson, by their ids, and not from the submission; those
that a learner fills in, and those that a learner has added, are taken from the submission. Some
editors renew all ids. The cells are then found by their text and order.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from difflib import SequenceMatcher
from pathlib import Path
from typing import Any, NamedTuple

from minimistral.course.exercises import STUB, Task, lessons, read_cells, tasks
from minimistral.marking.needed import Statement, missing, names_in, needed, statements

LARGEST = 100 * 2**20  # of a file, in bytes


class Cell(NamedTuple):
    """A cell of a notebook."""

    id: str
    kind: str  # "code", "markdown"
    source: str


class Part(NamedTuple):
    """A code cell of the notebook that is run."""

    id: str
    source: str
    by_learner: bool
    only_new: bool = False  # of a changed cell of the lesson: only names that the lesson lacks


class Submission(NamedTuple):
    """A lesson with a learner's answers in it."""

    lesson: str
    tasks: list[Task]
    parts: list[Part]
    calls: dict[str, tuple[str, ...]]  # check -> what the lesson gives it
    note: str


def read(path: Path) -> Submission:
    """The submission in a file. Raises ValueError or OSError where it is none."""
    if path.is_symlink():
        raise ValueError("a link, which is not followed")
    if path.stat().st_size > LARGEST:
        raise ValueError(f"larger than {LARGEST // 2**20} MiB")
    cells = _cells(path)
    lesson, original = _lesson(cells)
    todo = tasks(lessons()[lesson])
    places, note = _places(cells, original)
    answers = {id for task in todo for id in task.answer}
    parts = list(_merged(cells, original, places, answers))
    calls = {task.check: _call(original, task) for task in todo}
    return Submission(lesson, todo, parts, calls, note)


def _cells(path: Path) -> list[Cell]:
    """The cells of a file that may hold anything. Raises ValueError."""
    try:
        given = json.loads(path.read_bytes().decode("utf-8"))["cells"]
        found = [_cell(cell) for cell in given]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise ValueError("not a notebook") from None
    return found


def _cell(given: Mapping[str, Any]) -> Cell:
    source = given["source"]
    text = source if isinstance(source, str) else "".join(source)
    return Cell(str(given.get("id", "")), str(given["cell_type"]), text.strip())


def _lesson(cells: Sequence[Cell]) -> tuple[str, list[Cell]]:
    """The lesson with which a submission shares most texts, and its cells."""
    texts = {cell.source for cell in cells if cell.kind == "markdown"}
    best, most = ("", list[Cell]()), 0
    for lesson, path in lessons().items():
        original = [_cell(cell) for cell in read_cells(path)]
        shared = len(texts & {cell.source for cell in original if cell.kind == "markdown"})
        if shared > most:
            best, most = (lesson, original), shared
    if not most:
        raise ValueError("it shares no text with any lesson")
    return best


def _places(cells: Sequence[Cell], original: Sequence[Cell]) -> tuple[list[int | None], str]:
    """For each cell the place of the lesson's cell that it was; a note where ids were lost."""
    ids = [cell.id for cell in cells]
    where = {cell.id: n for n, cell in enumerate(original)}
    n_known = sum(id in where for id in ids)
    if len(set(ids)) == len(ids) and 2 * n_known >= len(cells):
        return [
            n if (n := where.get(cell.id)) is not None and original[n].kind == cell.kind else None
            for cell in cells
        ], ""
    places: list[int | None] = [None] * len(cells)
    theirs, ours = ([(c.kind, c.source) for c in some] for some in (cells, original))
    for a, b, size in SequenceMatcher(None, theirs, ours, autojunk=False).get_matching_blocks():
        for n in range(size):
            places[a + n] = b + n
    return places, "its cells have lost their ids and were found by their text"


def _merged(
    cells: Sequence[Cell],
    original: Sequence[Cell],
    places: Sequence[int | None],
    answers: Collection[str],
) -> Iterator[Part]:
    """The code cells in the lesson's order, an added one after the cell that it follows."""
    theirs: dict[int, Cell] = {}
    added: dict[int, list[Cell]] = {}
    last = -1
    for cell, place in zip(cells, places, strict=True):
        if place is not None:
            last = place
            theirs[place] = cell
        elif cell.kind == "code":
            added.setdefault(last, []).append(cell)
    for n in range(-1, len(original)):
        own = original[n] if n >= 0 else Cell("", "markdown", "")
        submitted = theirs.get(n)
        if own.kind == "code" and own.id in answers:
            if submitted:
                yield Part(own.id, submitted.source, True)
        elif own.kind == "code":
            yield Part(own.id, own.source, False)
            if submitted and submitted.source != own.source:
                yield Part(f"{own.id} (changed)", submitted.source, True, only_new=True)
        for number, cell in enumerate(added.get(n, []), 1):
            yield Part(f"added {number} after {own.id or 'the start'}", cell.source, True)


def _call(original: Sequence[Cell], task: Task) -> tuple[str, ...]:
    """What the lesson's own cell gives the check, as Python expressions."""
    import ast

    source = next(cell.source for cell in original if cell.id == task.checked)
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            if ast.unparse(node.func) == f"check.{task.check}":
                return tuple(map(ast.unparse, node.args))
    raise AssertionError(f"{task.name} is checked nowhere")


class Answer(NamedTuple):
    """What has to run for one answer."""

    statements: tuple[tuple[str, str], ...]
    unwritten: tuple[str, ...]  # names that the check needs and nothing binds
    broken: str  # why a cell of the learner cannot be run at all


def answer_of(submission: Submission, task: Task) -> Answer:
    """The statements that the answer to an exercise needs, in order."""
    found: list[tuple[Statement, str]] = []
    broken = ""
    own_names = {name for part in submission.parts if not part.by_learner
                 for statement in statements(part.source, submission.lesson)
                 for name in statement.binds}  # fmt: skip
    for part in _before(submission, task):
        try:
            there = statements(part.source, submission.lesson)
        except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
            if part.id in task.answer or not broken:
                broken = f"a cell does not run: {type(error).__name__}: {error}"[:300]
            continue
        if part.only_new:
            there = [statement for statement in there if not statement.binds & own_names]
        found += [(statement, part.id) for statement in there]
    wanted = {name for call in submission.calls[task.check] for name in names_in(call)}
    only = [statement for statement, _ in found]
    unwritten = missing(only, wanted)
    chosen = set(needed(only, wanted))
    if unwritten:  # they may be bound in some other way, as by exec
        chosen |= {n for n, (_, cell) in enumerate(found) if cell in task.answer}
    run = tuple((found[n][0].source, found[n][1]) for n in sorted(chosen))
    return Answer(run, tuple(sorted(unwritten)), broken)


def _before(submission: Submission, task: Task) -> list[Part]:
    """The parts above the cell that calls the check, with it where it holds an answer."""
    ids = [part.id for part in submission.parts]
    if task.checked not in ids:  # an answer cell that calls the check, and was replaced
        return [part for part in submission.parts if part.id != task.solution][
            : ids.index(task.solution)
        ]
    end = ids.index(task.checked)
    above = list(submission.parts[: end + (task.checked in task.answer)])
    written = [part for part in above if part.id in task.answer and not STUB.search(part.source)]
    return above if written else above + _below(submission, task, end)


def _below(submission: Submission, task: Task, end: int) -> list[Part]:
    """Cells that were added between the check and the lesson's next one: there is the answer
    where its own cell is as it was handed out."""
    found = []
    for part in submission.parts[end + 1 :]:
        if not part.by_learner and part.id != task.solution:
            break
        found += [part] * part.by_learner
    return found
