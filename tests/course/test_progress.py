"""What a check records: only the learner's answers, nothing lost, and never an error."""

import builtins
import importlib
import json
import linecache
import subprocess
import sys
import threading
import time
from datetime import UTC, datetime, timedelta
from unittest.mock import MagicMock

import filelock
import pytest
from IPython.core.interactiveshell import InteractiveShell
from traitlets.config import Config

from minimistral.course import exercises
from minimistral.course.checks import lesson_06
from minimistral.course.checks.report import Exercise, exercise
from minimistral.course.mine import kept, progress
from minimistral.course.mine.progress import OPEN, RIGHT, WRONG, Attempt, attempts, record

START = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)
TASKS = exercises.all_tasks()
CHECK = lesson_06.slot_and_evicted
NAME = "06.slot_and_evicted"


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER, str(tmp_path / "my-work"))
    monkeypatch.setattr(CHECK, "n_hints", 0)
    return tmp_path / "my-work"


def right(i, W):
    return i % W, max(-1, i - W)


def wrong(i, W):
    return i % W, i


def unwritten(i, W):
    raise NotImplementedError


def after(minutes):
    return START + timedelta(minutes=minutes)


# What counts


def test_a_check_records_what_it_says(work):
    for answer, state in ((unwritten, OPEN), (wrong, WRONG), (right, RIGHT), (wrong, RIGHT)):
        CHECK(answer)
        assert attempts()[NAME].state == state
    found = attempts()[NAME]
    assert found.tries == 2  # ☐ is no try, and after the first ✓ nothing changes
    assert datetime.now(UTC) - datetime.fromisoformat(found.done) < timedelta(minutes=5)
    assert not list(work.glob("*.tmp"))


def test_a_hint_is_counted_once_however_often_the_kernel_starts_anew():
    for _ in range(4):  # there are three
        CHECK.hint()
    CHECK.n_hints = 0
    CHECK.hint()
    assert attempts()[NAME] == Attempt(OPEN, hints=3)
    CHECK(right)
    CHECK.hint()
    assert attempts()[NAME].hints == 3


def test_time_runs_from_a_touch_of_the_lesson_to_the_next_without_breaks():
    for minutes, name, state in (
        (0, "06.store", OPEN), (0, NAME, OPEN), (0, "07.ring", OPEN),
        (5, NAME, WRONG), (7, NAME, RIGHT),
        (12, "06.store", WRONG),  # since the other exercise of its lesson
        (33, "06.store", WRONG),  # a break
        (34, "06.store", OPEN),  # the clock, but no time
        (36, "06.store", RIGHT), (37, "06.store", WRONG), (38, "06.slots_seen", WRONG),
        (30, "07.ring", WRONG),  # nothing for 30 minutes
        (29, "07.ring", WRONG),  # someone set the clock back
    ):  # fmt: skip
        assert record(name, state, now=after(minutes))
    minutes = {name: attempt.seconds / 60 for name, attempt in attempts().items()}
    assert minutes == {NAME: 7, "06.store": 5 + 2, "06.slots_seen": 2, "07.ring": 0}


def test_many_short_gaps_add_up_to_the_time_that_they_took():
    for n in range(41):
        record(NAME, WRONG, now=START + timedelta(seconds=n * 0.75))
    assert attempts()[NAME] == Attempt(WRONG, tries=41, seconds=30)


# Whose answer it is


class Anything(dict):
    """The names of a lesson: what a cell does not make itself is there, whatever it is."""

    def __missing__(self, name):
        if hasattr(builtins, name):
            raise KeyError(name)
        return MagicMock()


def accepting(task):
    """The check of an exercise, but it finds every answer right."""

    def accepts(*answers):
        return "right."

    accepts.__name__ = task.check
    accepts.__module__ = f"minimistral.course.checks.lesson_{task.lesson}"
    return Exercise(task.title, accepts)


def run_cell(source, task, file):
    """As IPython runs it: its text can be found by the name of its file."""
    linecache.cache[file] = (len(source), None, source.splitlines(True), file)
    check = MagicMock(**{task.check: accepting(task)})
    try:
        exec(compile(source, file, "exec"), Anything(__name__="__main__", check=check))
    finally:
        del linecache.cache[file]


@pytest.mark.parametrize("lesson", exercises.lessons())
def test_no_solution_of_the_course_counts(lesson, capsys):
    path = exercises.lessons()[lesson]
    sources = {cell["id"]: cell["source"] for cell in exercises.read_cells(path)}
    for task in exercises.tasks(path):
        source = sources[task.solution]
        run_cell(source, task, f"<solution {task.name}>")
        assert task.name not in attempts()
        run_cell(source.replace("# A solution", "").replace("_solution", ""), task, "<mine>")
        assert attempts()[task.name].state == RIGHT
        assert capsys.readouterr().out.count("✓ ") == 2


def test_ipython_knows_the_cell_that_runs():
    shell = InteractiveShell(config=Config(HistoryManager={"enabled": False}))
    shell.user_ns.update(check=CHECK, right=right)
    for source, counts in (("# A solution\ncheck(right)", False), ("check(right)", True)):
        shell.run_cell(source).raise_error()
        assert (NAME in attempts()) == counts


def test_a_solution_under_another_name_does_not_count(work):
    def store_solution(i, W):
        return right(i, W)

    for answers in ((store_solution,), (1, store_solution), (store_solution, 1)):
        assert progress.by_a_solution(answers)
    CHECK(store_solution)
    assert not work.exists()


def test_an_exercise_is_called_as_in_the_list_of_exercises():
    for task in TASKS:
        module = importlib.import_module(f"minimistral.course.checks.lesson_{task.lesson}")
        assert getattr(module, task.check).task == task.name


def test_an_exercise_of_no_lesson_is_not_recorded(work):
    exercise("Double", hints=["Add."])(lambda answer: "right.")(4)
    assert not work.exists()


# Nothing is lost


def test_two_kernels_write_at_once(work):
    code = (
        "import sys; from minimistral.course.mine import progress\n"
        "progress.WAIT = 60; print(flush=True); input()\n"
        "for n in range(60): assert progress.record(f'{sys.argv[1]}.e{n}', '✗'), n"
    )
    command = [sys.executable, "-P", "-X", "utf8", "-c", code]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    kernels = [subprocess.Popen([*command, lesson], **pipes) for lesson in ("01", "02")]
    for kernel in kernels:
        kernel.stdout.readline()
    for kernel in kernels:
        kernel.stdin.write("\n")
        kernel.stdin.flush()
    assert [kernel.wait(60) for kernel in kernels] == [0, 0]
    for kernel in kernels:
        kernel.stdin.close()
        kernel.stdout.close()
    assert set(attempts()) == {f"{lesson}.e{n}" for lesson in ("01", "02") for n in range(60)}


def test_a_kernel_waits_until_another_has_written(work):
    work.mkdir()
    with filelock.FileLock(work / "progress.json.lock"):
        thread = threading.Thread(target=record, args=(NAME, RIGHT))
        thread.start()
        time.sleep(0.1)
        assert attempts() == {}
    thread.join()
    assert attempts()[NAME].state == RIGHT


def entry(**changes):
    given = {"state": "✗", "tries": 1, "hints": 0, "seconds": 5, "done": ""} | changes
    return {"version": 1, "exercises": {"06.store": given}, "touched": {}}


BAD = {
    "empty": b"",
    "cut off": json.dumps(entry()).encode()[:-9],
    "not UTF-8": json.dumps(entry(), ensure_ascii=False).encode("latin-1", "replace") + b"\xff",
    "a list": b"[]",
    "of something else": b'{"name": "my-project", "version": "1.0"}',
    "deep": b"[" * 100_000,
    "huge": json.dumps(entry()).encode() + b" " * 1_000_000,
    "newer": json.dumps({**entry(), "version": 2}).encode(),
    "more keys": json.dumps({**entry(), "more": 1}).encode(),
    "no exercise": json.dumps({**entry(), "exercises": {"store": {}}}).encode(),
    "no time": json.dumps({**entry(), "touched": {"06": "yesterday"}}).encode(),
    "no zone": json.dumps({**entry(), "touched": {"06": "2026-03-01T14:00:00"}}).encode(),
    "no lesson": json.dumps({**entry(), "touched": {"6": "2026-03-01T14:00:00+00:00"}}).encode(),
    **{
        f"{key} {value!r}": json.dumps(entry(**{key: value})).encode()
        for key, value in (
            ("state", "x"), ("state", []), ("state", "✓"), ("tries", -1), ("tries", 1.5),
            ("hints", True), ("seconds", None), ("done", 5), ("done", "2026-03-01"), ("other", 1),
        )
    },
}  # fmt: skip


@pytest.mark.parametrize("content", BAD.values(), ids=BAD)
def test_a_file_that_is_no_record_is_renamed_and_kept(work, content):
    work.mkdir()
    (work / "progress.json").write_bytes(content)
    with pytest.raises(ValueError, match=r"^(it|a newer version) .+"):
        attempts()
    CHECK(right)
    assert [path.read_bytes() for path in progress.set_aside()] == [content]
    assert {name: found.state for name, found in attempts().items()} == {NAME: RIGHT}


def test_what_is_set_aside_replaces_nothing(work):
    work.mkdir()
    for n in range(11):
        (work / "progress.json").write_text(str(n))
        record(NAME, WRONG)
    assert [path.read_text() for path in progress.set_aside()] == [str(n) for n in range(11)]
    (work / "progress.set-aside-of-mine.json").touch()
    (work / "progress.json").unlink()
    (work / "progress.json").mkdir()
    record(NAME, WRONG)
    assert attempts()[NAME].tries == 1 and progress.set_aside()[-1].is_dir()


def test_a_record_is_read_as_it_was_written(work):
    record("06.store", WRONG, now=after(0))
    record("99.of_another_edition", RIGHT, now=after(1))
    before = progress.read(progress.progress_file())
    record("06.store", RIGHT, now=after(2))
    found = progress.read(progress.progress_file())
    assert found.exercises["99.of_another_edition"] == before.exercises["99.of_another_edition"]
    assert found.exercises["06.store"] == Attempt(RIGHT, 2, 0, 120, "2026-03-01T14:02:00+00:00")


# A check works whatever is wrong with the folder


def test_a_folder_that_cannot_be_made(tmp_path, monkeypatch, capsys):
    (tmp_path / "file").touch()
    monkeypatch.setenv(kept.FOLDER, str(tmp_path / "file" / "my-work"))
    assert CHECK(right) is right
    assert capsys.readouterr().out.startswith("✓ ")
    assert not record(NAME, RIGHT)


def test_a_lock_that_is_never_released(work, monkeypatch, capsys):
    monkeypatch.setattr(progress, "WAIT", 0.05)
    work.mkdir()
    with filelock.FileLock(work / "progress.json.lock"):
        CHECK(right)
    assert capsys.readouterr().out.startswith("✓ ") and attempts() == {}


def test_a_write_that_fails_leaves_the_file_as_it_was(work, monkeypatch):
    record(NAME, WRONG, now=START)
    before = (work / "progress.json").read_bytes()
    monkeypatch.setattr(progress.Path, "replace", MagicMock(side_effect=OSError("no space")))
    assert not record(NAME, RIGHT)
    assert (work / "progress.json").read_bytes() == before


def test_it_may_be_deleted(work):
    CHECK(wrong)
    (work / "progress.json").unlink()
    assert attempts() == {}
    CHECK(right)
    assert attempts()[NAME].tries == 1
