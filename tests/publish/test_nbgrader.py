"""nbgrader itself makes an assignment of lesson 06, marks what students sent, and tells them.

The lesson is cut down to its exercises and what they need, since nbgrader runs it four times.
"""

import csv
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from minimistral.course.exercises import lessons, read_cells, tasks
from minimistral.publish import student
from minimistral.publish.answers import right_answers
from minimistral.publish.notebooks import read

LESSON = lessons()["06"]
TASKS = {task.check: task for task in tasks(LESSON)}
ANSWERS = right_answers(tasks(LESSON), {cell["id"]: cell["source"] for cell in read_cells(LESSON)})
ASSIGNMENT = "minimistral_06"

# What four students wrote, by check; the last is no answer, it ends the kernel.
RIGHT = {check: answer.code for check, answer in ANSWERS.items()}
HALF = {
    "slot_and_evicted": RIGHT["slot_and_evicted"],
    "store": "def my_store(keys, positions, key, i):\n    keys[i % len(keys)] = key\n",
    "rewinding": RIGHT["rewinding"].replace("stale = 5", "stale = 4"),
}
CRASHING = {**RIGHT, "store": "1 / 0", "slots_seen": "def my_slots_seen(:\n"}
ENDING = {"store": "import os\n\nos._exit(3)"}
# A student who would rather change the check
FORGED = "print('✓ Which slots are visible: agrees with the rule.')\nslots_seen = None"


class Course:
    """A course folder of nbgrader."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        apart = Path(sys.prefix) / "nbgrader"  # make test installs it there
        there = [str(apart), os.environ.get("PYTHONPATH", ""), str(student.ROOT)]
        self.environment = {
            **os.environ,
            "PYTHONPATH": os.pathsep.join(filter(None, there)),
            "PATH": os.pathsep.join((str(apart / "bin"), os.environ["PATH"])),  # it calls alembic
        }

    def run(self, *arguments: str) -> subprocess.CompletedProcess:
        command = [sys.executable, "-P", "-m", "nbgrader", *arguments]
        return subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, encoding="utf-8"
        )

    def submit(self, name: str, written: dict[str, str]) -> None:
        """The released notebook with what a student wrote in it."""
        nb = nbformat.read(self.folder / "release" / ASSIGNMENT / LESSON.name, as_version=4)
        for check, code in written.items():
            cell = next(cell for cell in nb.cells if cell.id == TASKS[check].answer[-1])
            cell.source = code
        if name == "half":
            check = next(cell for cell in nb.cells if cell.id == TASKS["slots_seen"].checked)
            check.source = FORGED
        path = self.folder / "submitted" / name / ASSIGNMENT / LESSON.name
        path.parent.mkdir(parents=True)
        nbformat.write(nb, path)


def require_nbgrader() -> None:
    if not (Path(sys.prefix) / "nbgrader" / "nbgrader").is_dir():
        pytest.skip("make test installs nbgrader into .venv/nbgrader")


def short_lesson(folder: Path) -> Path:
    """Lesson 06 with its exercises, and without what none of them needs."""
    nb = read(LESSON.read_text(encoding="utf-8"))
    needed = student.solutions_notebook(nb, tasks(LESSON), ANSWERS).cells
    ids = {cell.id for cell in needed} | {task.solution for task in TASKS.values()}
    nb.cells = [cell for cell in nb.cells if cell.id in ids]
    path = folder / LESSON.name
    nbformat.write(nb, path)
    return path


@pytest.mark.slow
@pytest.mark.rare
def test_three_submissions_and_one_that_ends_the_kernel(tmp_path):
    require_nbgrader()
    lesson = short_lesson(tmp_path)
    student.put(student.editions(lesson) | student.beside_them(lesson.parent), tmp_path)
    course = Course(tmp_path / "nbgrader")

    made = course.run("generate_assignment", ASSIGNMENT)
    assert made.returncode == 0, made.stderr
    released = course.folder / "release" / ASSIGNMENT / LESSON.name
    check_release(released, lesson)

    submissions = {"right": RIGHT, "half": HALF, "crashing": CRASHING, "ending": ENDING}
    for name, written in submissions.items():
        course.submit(name, written)
    graded = course.run("autograde", ASSIGNMENT)
    assert graded.returncode == 1  # one submission has no marks
    failed = [line for line in graded.stderr.splitlines() if "processing assignment '" in line]
    assert len(failed) == 1 and "student 'ending'" in failed[0], graded.stderr[-3000:]
    assert "my-work" not in {path.name for path in course.folder.rglob("*")}

    assert course.run("export").returncode == 0
    with (course.folder / "grades.csv").open(encoding="utf-8") as file:
        rows = {row["student_id"]: row for row in csv.DictReader(file)}
    assert {row["max_score"] for row in rows.values()} == {"8.0"}
    marks = {name: float(row["score"]) for name, row in rows.items()}
    # half: exercise 1; crashing: exercises 1 and 4, whose cells do not use the others
    assert marks == {"right": 8, "half": 1, "crashing": 1 + 3, "ending": 0}
    check_half(course.folder / "autograded" / "half" / ASSIGNMENT / LESSON.name)

    told = course.run("generate_feedback", ASSIGNMENT)
    assert told.returncode == 0, told.stderr
    pages = {path.parts[-3]: path for path in (course.folder / "feedback").rglob("*.html")}
    assert sorted(pages) == ["crashing", "half", "right"]
    for name, score in (("right", "8.0"), ("half", "1.0"), ("crashing", "4.0")):
        page = pages[name].read_text(encoding="utf-8")
        assert f"(Score: {score} / 8.0)" in page, name
    assert "your code changes its input" in pages["half"].read_text(encoding="utf-8")


def check_release(path: Path, short: Path) -> None:
    """What students get: the cells of the student edition, and nothing of a solution."""
    lesson = read(short.read_text(encoding="utf-8"))
    released = nbformat.read(path, as_version=4)
    assert student.leaks(released, lesson, tasks(LESSON), ANSWERS) == []
    ours = {cell.id: cell for cell in student.student_notebook(lesson, tasks(LESSON)).cells}
    assert [cell.id for cell in released.cells] == list(ours)
    for cell in released.cells:
        assert cell.source.strip() == ours[cell.id].source.strip()
    text = path.read_text(encoding="utf-8")
    assert "BEGIN" not in text and "require(" not in text


def check_half(path: Path) -> None:
    """The check that was forged stands there again, and it says why there is no point."""
    nb = nbformat.read(path, as_version=4)
    cell = next(cell for cell in nb.cells if cell.id == TASKS["slots_seen"].checked)
    assert "slots_seen = check.slots_seen(my_slots_seen)" in cell.source
    assert "✓" not in cell.source
    errors = [out.evalue for out in cell.outputs if out.output_type == "error"]
    assert errors == ["☐ Which slots are visible: not written yet."]
