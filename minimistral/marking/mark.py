"""Mark submissions: a row for each exercise, and what they add up to."""

import csv
import io
import re
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from importlib import import_module
from pathlib import Path
from typing import NamedTuple

from minimistral.course.checks.report import MISSING, Exercise
from minimistral.course.exercises import Task
from minimistral.course.mine.progress import OPEN, RIGHT, WRONG
from minimistral.marking.channel import Channel, Gone, Late, Unsendable
from minimistral.marking.submission import Submission, answer_of, read
from minimistral.marking.worker import Job, Limits, Stem

LONGEST = 500  # characters of a hint


class Row(NamedTuple):
    """One line of the table. A file that cannot be marked has one without an exercise."""

    file: str
    lesson: str = ""
    exercise: str = ""
    title: str = ""
    mark: str = ""  # ☐ ✗ ✓; nothing where it could not be marked
    points: int = 0
    of: int = 0
    hint: str = ""
    judged: str = ""  # "apart", or "partly inside" where the worker measures itself
    note: str = ""


class Marked(NamedTuple):
    """The rows of one file, and the fences that its workers stood behind."""

    rows: list[Row]
    fences: set[tuple[bool, bool, bool]]
    failed: bool = False


def notebooks(folder: Path) -> list[Path]:
    """The submissions in a folder and in those beneath it."""
    found = sorted(folder.rglob("*.ipynb"))
    return [path for path in found if ".ipynb_checkpoints" not in path.parts]


def mark_all(
    folder: Path, limits: Limits, jobs: int, done: Callable[[], object]
) -> Iterator[Marked]:
    """Mark every submission, in the order of their names. done() is called after each."""
    paths = notebooks(folder)
    own = threading.local()
    stems: list[Stem] = []

    def mark(path: Path) -> Marked:
        if not hasattr(own, "stem"):
            own.stem = Stem()
            stems.append(own.stem)
        marked = mark_file(path, path.relative_to(folder).as_posix(), own.stem, limits)
        done()
        return marked

    pool = ThreadPoolExecutor(jobs)
    try:
        yield from pool.map(mark, paths)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        for stem in stems:
            stem.close()


def mark_file(path: Path, name: str, stem: Stem, limits: Limits) -> Marked:
    """The rows of one submission."""
    try:
        submission = read(path)
    except (ValueError, OSError) as error:
        why = (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
        return Marked([Row(name, note=f"not marked: {why}")], set(), failed=True)
    note = submission.note
    if len(path.parent.parts) and _second(path):
        note = "; ".join(filter(None, [note, "its folder holds another file of this lesson"]))
    rows, fences = [], set()
    for task in submission.tasks:
        row, fence = mark_exercise(submission, task, stem, limits)
        rows.append(row._replace(file=name, note="; ".join(filter(None, [note, row.note]))))
        fences |= fence
    return Marked(rows, fences)


COPY = re.compile(r" \(|-Copy|\.new(?:-\d+)?$")  # of a browser, of JupyterLab, of `make lab`


def _second(path: Path) -> bool:
    """Whether copies lie beside a file, as "06_x (1).ipynb" beside "06_x.ipynb"."""
    names = [COPY.split(other.stem)[0] for other in path.parent.glob("*.ipynb")]
    return names.count(COPY.split(path.stem)[0]) > 1


def mark_exercise(
    submission: Submission, task: Task, stem: Stem, limits: Limits
) -> tuple[Row, set[tuple[bool, bool, bool]]]:
    """One exercise: run the answer in a worker, and judge it here."""
    exercise: Exercise = getattr(
        import_module(f"minimistral.course.checks.lesson_{task.lesson}"), task.check
    )
    answer = answer_of(submission, task)
    job = Job(answer.statements, submission.calls[task.check], limits)
    fences: set[tuple[bool, bool, bool]] = set()
    notes: list[str] = []
    end = stem.fork()
    with end:
        channel = Channel(end, trusts=False, deadline=time.monotonic() + limits.seconds)
        try:
            mark, hint = _judge(exercise, task, channel, job, fences, notes)
        except Late:
            mark, hint = WRONG, f"your code took longer than {_seconds(limits.seconds)}."
        except Unsendable as why:
            mark, hint = "", ""
            notes.append(f"not marked, because its check cannot be run apart: {why}")
        except Gone as gone:
            mark, hint = WRONG, f"your code did not finish: {gone}"
    how = stem.kill()
    if hint == "your code did not finish: it has ended":
        hint = f"your code ended its process ({how})."
    if answer.broken and mark not in (RIGHT, ""):
        hint = f"{answer.broken}"
        mark = WRONG
    row = Row(
        file="",
        lesson=task.lesson,
        exercise=task.name,
        title=task.title,
        mark=mark,
        points=task.points if mark == RIGHT else 0,
        of=task.points,
        hint=" ".join(hint.split())[:LONGEST],
        judged="partly inside" if channel.n_measured else "apart",
        note="; ".join(notes),
    )
    return row, fences


def _seconds(n: float) -> str:
    """
    >>> _seconds(1.0), _seconds(1.5), _seconds(30)
    ('1 second', '1.5 seconds', '30 seconds')
    """
    return f"{n:g} second{'' if n == 1 else 's'}"


def _judge(
    exercise: Exercise,
    task: Task,
    channel: Channel,
    job: Job,
    fences: set[tuple[bool, bool, bool]],
    notes: list[str],
) -> tuple[str, str]:
    channel.send(job)
    fence = _reply(channel, 3)
    fences.add((fence[0] is True, fence[1] is True, fence[2] is True))
    answers, missing, stopped = _reply(channel, 3)
    if not (isinstance(answers, list) and isinstance(stopped, dict)):
        raise Gone("it sends no answers")
    errors = [text for cell, text in stopped.items() if cell in task.answer]
    if missing:
        if errors:
            return WRONG, f"the cell of the answer stops: {errors[0]}"
        return OPEN, MISSING
    if errors:
        notes.append(f"the cell of the answer stops: {errors[0]}"[:LONGEST])
    verdict = exercise.judge(*answers)
    return verdict.mark, verdict.text


def _reply(channel: Channel, length: int) -> list:
    message = channel.receive()
    given = message.get("gives") if isinstance(message, dict) else None
    if not isinstance(given, list) or len(given) != length:
        raise Gone("it sends no answers")
    return given


# What is written


def as_csv(rows: Iterable[Row]) -> str:
    """The table. A text that a spreadsheet would run as a formula gets an apostrophe before it.

    >>> print(as_csv([Row("=cmd()", "06", "06.store", mark="✓", points=2, of=2)]), end="")
    file,lesson,exercise,title,mark,points,of,hint,judged,note
    '=cmd(),06,06.store,,✓,2,2,,,
    """
    file = io.StringIO()
    table = csv.writer(file, lineterminator="\n")
    table.writerow(Row._fields)
    table.writerows([[_harmless(cell) for cell in row] for row in rows])
    return file.getvalue()


def _harmless(cell: str | int) -> str | int:
    """A cell that no spreadsheet takes for a formula, without characters that steer a terminal."""
    if isinstance(cell, int):
        return cell
    cell = "".join(c if c.isprintable() or c == "\n" else "�" for c in cell)
    return f"'{cell}" if cell[:1] in tuple("=+-@") else cell


def summary(marked: Sequence[Marked]) -> list[str]:
    """A line for each file: points, and how many exercises have which mark."""
    lines = []
    for rows, _, failed in marked:
        name = rows[0].file
        name = name if name.isprintable() else repr(name)
        if failed:
            lines.append(f"{name}: {rows[0].note}")
            continue
        marks = [row.mark for row in rows]
        counts = ", ".join(f"{marks.count(sign)} {sign}" for sign in (RIGHT, WRONG, OPEN))
        points, of = sum(row.points for row in rows), sum(row.of for row in rows)
        lines.append(f"{name}: lesson {rows[0].lesson}, {points} of {of} points ({counts})")
    return lines
