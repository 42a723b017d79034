"""Which exercises a learner has done, kept in `my-work/progress.json`.

A check records what it said, and `hint()` that a hint was given. The file is the learner's: it
stays on this computer, and it may be deleted. What happens after an exercise's first ✓ changes
nothing any more. Only the learner's answers count (`by_a_solution`).
"""

import itertools
import json
import linecache
import os
import re
import stat
import sys
import types
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, NamedTuple

from minimistral.course.mine.kept import work_folder

OPEN, WRONG, RIGHT = "☐", "✗", "✓"
BREAK = 20 * 60  # seconds; a longer gap is not counted, because nobody knows who worked in it
VERSION = 1  # of the file
MOST_BYTES = 1_000_000  # a file of ours has about 15,000
WAIT = 2.0  # seconds for another kernel that is writing
NAME, LESSON = re.compile(r"[0-9][0-9]\.\w+"), re.compile("[0-9][0-9]")
SOLUTION = "# A solution"  # the first line of every folded solution


class Attempt(NamedTuple):
    """What is known of one exercise.

    seconds: from a check or hint in the same lesson to the next ✗, ✓ or hint of this exercise,
    summed up to the first ✓, without gaps over BREAK. ☐ starts the clock and adds nothing, so
    running all cells of a lesson counts as no time.
    """

    state: str = OPEN
    tries: int = 0  # ✗ and ✓, up to the first ✓
    hints: int = 0  # given by hint() before the first ✓; opening one in the text leaves no trace
    seconds: int = 0
    done: str = ""  # when it was first right, as "2026-03-01T14:05:09+00:00"


class Record(NamedTuple):
    """The whole file: exercises by names such as "06.store", and each lesson's last touch."""

    exercises: dict[str, Attempt]
    touched: dict[str, str]


def progress_file() -> Path:
    """Where the record is kept; a link to another place is followed."""
    return Path(os.path.realpath(work_folder() / "progress.json"))


def read(path: Path) -> Record:
    """The record in a file, empty where there is none.

    Raises ValueError, whose text says why, when the file is not such a record, and OSError when
    it cannot be read.
    """
    if not os.path.lexists(path):
        return Record({}, {})
    found = path.stat()
    if not stat.S_ISREG(found.st_mode):
        raise ValueError("it is not a file")
    if found.st_size > MOST_BYTES:
        raise ValueError(f"it has more than {MOST_BYTES:,} bytes")
    try:
        content = json.loads(path.read_bytes().decode("utf-8"))
    except (ValueError, RecursionError):
        raise ValueError("it is damaged: not JSON in UTF-8") from None
    return _parsed(content)


def attempts() -> dict[str, Attempt]:
    """What is recorded of each exercise that was touched; raises as `read` does."""
    return read(progress_file()).exercises


def set_aside() -> list[Path]:
    """Files that could not be read and were renamed, the oldest first."""
    path = progress_file()
    pattern = "([0-9]+)".join(map(re.escape, _aside(path, "/").split("/")))  # in no name
    found = [(re.fullmatch(pattern, file.name), file) for file in path.parent.glob("*")]
    return [file for _, file in sorted((int(name[1]), file) for name, file in found if name)]


def record(name: str, state: str = "", hints: int = 0, now: datetime | None = None) -> bool:
    """Add what a check said of an exercise, or how many hints were given; whether that worked.

    It never raises: where nothing can be written, a check works all the same. A file that is not
    a record, or that a newer version of the course has written, is renamed and kept. now: the
    time in UTC, if it is not that of the clock.

    >>> record("an exercise of no lesson", RIGHT)
    False
    """
    try:
        if not NAME.fullmatch(name):
            return False
        path = progress_file()
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path):
            before = _read_or_set_aside(path)
            time = (now or datetime.now(UTC)).replace(microsecond=0)
            after = updated(before, name, state, hints, time)
            if after != before:
                _write(path, after)
        return True
    except Exception:  # the lesson goes on, whatever is wrong with the folder
        return False


def updated(before: Record, name: str, state: str, hints: int, now: datetime) -> Record:
    """The record after a check said `state`, or after the hint of that number was given.

    now: in whole seconds, so that many short gaps add up to the time that they took.

    >>> at_two = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)
    >>> opened = updated(Record({}, {}), "06.store", OPEN, 0, at_two)
    >>> updated(opened, "06.store", WRONG, 0, at_two.replace(minute=5)).exercises["06.store"]
    Attempt(state='✗', tries=1, hints=0, seconds=300, done='')
    """
    old, lesson, time = before.exercises.get(name, Attempt()), name[:2], now.isoformat()
    if old.done:
        return before
    gap = (now - datetime.fromisoformat(before.touched.get(lesson, time))).total_seconds()
    worked = state != OPEN and 0 <= gap <= BREAK
    new = Attempt(
        state=state or old.state,
        tries=old.tries + (state in (WRONG, RIGHT)),
        hints=max(old.hints, hints),
        seconds=old.seconds + int(gap) * worked,
        done=time if state == RIGHT else "",
    )
    return Record({**before.exercises, name: new}, {**before.touched, lesson: time})


def by_a_solution(answers: tuple[Any, ...]) -> bool:
    """Whether an answer is the course's: a function named so, or all that a folded cell passes.

    Every folded solution begins with the line "# A solution". Some pass numbers, which cannot be
    told from the learner's, so the text of the cell decides that calls the check.
    """
    functions = [answer for answer in answers if isinstance(answer, types.FunctionType)]
    if any(function.__name__.endswith("_solution") for function in functions):
        return True
    frame = sys._getframe()
    while frame.f_back and str(frame.f_globals.get("__name__")).startswith("minimistral."):
        frame = frame.f_back
    lines = (line.strip() for line in linecache.getlines(frame.f_code.co_filename))
    return next(filter(None, lines), "") == SOLUTION


def _parsed(content: Any) -> Record:
    """The record in what json.loads gave. Raises ValueError where it is none."""
    foreign = ValueError("it is not a record of this course")
    version = content.get("version") if isinstance(content, dict) else None
    if type(version) is int and version > VERSION:
        raise ValueError(f"a newer version of the course has written it (format {version})")
    try:
        if version != VERSION or set(content) != {"version", "exercises", "touched"}:
            raise foreign
        exercises = {name: Attempt(**entry) for name, entry in content["exercises"].items()}
        found = Record(exercises, content["touched"])
        if not (
            all(map(_is_whole, exercises.items())) and all(map(_is_time, found.touched.items()))
        ):
            raise foreign
        return found
    except (AttributeError, TypeError, ValueError):
        raise foreign from None


def _is_whole(item: tuple[str, Attempt]) -> bool:
    name, entry = item
    counts = (entry.tries, entry.hints, entry.seconds)
    return (
        NAME.fullmatch(name) is not None
        and all(type(count) is int and count >= 0 for count in counts)
        and entry.state in (OPEN, WRONG, RIGHT)
        and (entry.done == "" if entry.state != RIGHT else _is_time((name[:2], entry.done)))
    )


def _is_time(item: tuple[str, str]) -> bool:
    """Whether it is a lesson and a time with its zone. Raises ValueError for what is no time."""
    lesson, time = item
    return LESSON.fullmatch(lesson) is not None and datetime.fromisoformat(time).tzinfo is not None


def _read_or_set_aside(path: Path) -> Record:
    try:
        return read(path)
    except ValueError:
        names = (path.with_name(_aside(path, n)) for n in itertools.count(1))
        path.rename(next(name for name in names if not os.path.lexists(name)))
        return Record({}, {})


def _aside(path: Path, n: object) -> str:
    return f"{path.stem}.set-aside-{n}{path.suffix}"


def _write(path: Path, record: Record) -> None:
    exercises = {name: entry._asdict() for name, entry in sorted(record.exercises.items())}
    content: Mapping[str, Any] = {
        "version": VERSION,
        "exercises": exercises,
        "touched": dict(sorted(record.touched.items())),
    }
    draft = path.with_name(f"{path.name}.tmp")
    draft.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    draft.replace(path)  # whole or not at all


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """No other kernel writes the file meanwhile. Raises OSError if one does for too long."""
    import filelock  # later than the check's own line: it takes a moment

    with warnings.catch_warnings():  # where the disk knows no locks, a file stands for one
        warnings.simplefilter("ignore")
        file = path.with_name(f"{path.name}.lock")
        with filelock.FileLock(file, timeout=WAIT, poll_interval=0.01):
            yield
