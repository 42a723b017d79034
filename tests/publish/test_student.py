"""What is handed out holds no solution, and what is kept back holds them all."""

import ast
import functools
import re
import sys
from pathlib import Path

import pytest
from nbformat import NotebookNode

from minimistral.course.checks.require import require
from minimistral.course.exercises import lessons, tasks
from minimistral.publish import student
from minimistral.publish.answers import right_answers
from minimistral.publish.grading import source_notebook
from minimistral.publish.names import bound_and_used
from minimistral.publish.notebooks import code_cells, dump, read

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"  # the package may be a copy elsewhere
LESSONS = lessons(NOTEBOOKS)
EACH = pytest.mark.parametrize("number", LESSONS)


class Built:
    """A lesson and all that is made of it."""

    def __init__(self, number: str) -> None:
        path = LESSONS[number]
        self.lesson, self.tasks = read(path.read_text(encoding="utf-8")), tasks(path)
        self.sources = {cell.id: cell.source for cell in self.lesson.cells}
        self.answers = right_answers(self.tasks, self.sources)
        self.student = student.student_notebook(self.lesson, self.tasks)
        self.solutions = student.solutions_notebook(self.lesson, self.tasks, self.answers)
        self.source = source_notebook(self.student, self.tasks, self.answers)

    def leaks(self, handed_out: NotebookNode) -> list[str]:
        return student.leaks(handed_out, self.lesson, self.tasks, self.answers)


@functools.cache
def built(number: str) -> Built:
    return Built(number)


def changed(nb: NotebookNode, n: int, **changes) -> NotebookNode:
    cells = list(nb.cells)
    cells[n] = NotebookNode(cells[n], **changes)
    return NotebookNode(nb, cells=cells)


# Students


@EACH
def test_a_student_gets_the_lesson_without_solutions_and_notes(number):
    made = built(number)
    lesson, handed_out = made.lesson, made.student
    gone = [cell for cell in lesson.cells if cell not in handed_out.cells]
    ids = [cell.id for cell in handed_out.cells]
    assert ids == [cell.id for cell in lesson.cells if cell.id in ids]  # ids and order stay
    assert {task.solution for task in made.tasks} < {c.id for c in lesson.cells} - set(ids)
    assert not re.search(r"_solution\b|\"(solution|teacher)\"|For the lecturer", dump(handed_out))
    for task in made.tasks:
        assert {task.heading, *task.answer, task.checked} <= set(ids)
    assert gone and made.leaks(handed_out) == []
    counts = [cell.execution_count for cell in code_cells(handed_out)]
    assert counts == list(range(1, len(counts) + 1))


@EACH
def test_a_lesson_runs_without_what_is_kept_back(number):
    """No cell uses a name that, up to there, only a cell kept back has defined."""
    made = built(number)
    kept = {cell.id for cell in made.student.cells}
    known: set[str] = set()
    lost: set[str] = set()
    for cell in code_cells(made.lesson):
        bound, used = bound_and_used(cell.source)
        if cell.id in kept:
            assert not used & (lost - known), cell.id
            known |= bound
        else:
            lost |= bound
    assert lost


@EACH
def test_every_exercise_has_lines_that_would_be_found(number):
    made = built(number)
    kept = {cell.id for cell in made.student.cells}
    given = "".join("".join(c.source.split()) for c in code_cells(made.lesson) if c.id in kept)
    for task in made.tasks:
        for code in (made.sources[task.solution], made.answers[task.check].code):
            if secret := student.secret_lines(code.removeprefix("# A solution\n"), given):
                line = sorted(secret)[0]
                assert made.leaks(changed(made.student, 0, source=f"see {line}")) == [line]
                break
        else:
            pytest.fail(f"{task.name}: no line of its solution is searched for")


def test_a_line_of_a_solution_is_found_wherever_it_stands():
    made = built("06")
    line = "keys[slot], positions[slot] = key, i"
    found = ["keys[slot],positions[slot]=key,i"]
    code = next(n for n, c in enumerate(made.student.cells) if c.cell_type == "code")
    printed = NotebookNode(output_type="stream", name="stdout", text=f"Traceback\n{line}\n")
    shown = NotebookNode(
        output_type="display_data", data={"text/html": f"<pre>{line}</pre>"}, metadata={}
    )
    for output in (printed, shown):
        assert made.leaks(changed(made.student, code, outputs=[output])) == found
    assert made.leaks(changed(made.student, 0, metadata={"note": {"old": [line]}})) == found
    assert made.leaks(changed(made.student, 0, attachments={line: {}})) == found
    assert made.leaks(NotebookNode(made.student, metadata={"saved": line})) == found
    spread = line.replace(", ", ",\n        ").replace("=", "  =  ")
    assert made.leaks(changed(made.student, code, source=spread)) == found
    hint = f"<details><summary>Hint 3</summary>\n\n`{line}`\n\n</details>"
    assert made.leaks(changed(made.student, 0, source=hint)) == []


def test_no_cell_computes_what_a_rewind_needs():
    """Lesson 06 asks in exercise 4 from which position on; below, a cache is run to see it."""
    cells = {cell.id: cell.source for cell in code_cells(built("06").student)}
    assert ".rewind(" in cells["rewind-count"]
    assert [key for key, code in cells.items() if re.search(r"max\(0, seen|- W \+ 1", code)] == []


def test_what_explains_a_bug_goes_with_its_solution():
    told = [
        (task.name, text)
        for number in LESSONS
        for task in built(number).tasks
        for text in student.explanations(built(number).lesson, task)
    ]
    assert {("06.rewinding", "cell-50"), ("01.ten_thousand", "cell-55")} < set(told)
    assert len(told) > 25
    for name, text in told:
        made = built(name[:2])
        assert text not in {cell.id for cell in made.student.cells}
        assert text in {cell.id for cell in made.solutions.cells}
    assert not any(name == "10.temper" for name, _ in told)  # prose of the lesson stays


def test_the_build_stops_where_a_solution_is_left(tmp_path, capsys, monkeypatch):
    command = ["student", "--output", str(tmp_path), "--lessons", str(NOTEBOOKS)]
    monkeypatch.setattr("sys.argv", [*command, "06"])
    monkeypatch.setattr(student, "leaks", lambda *arguments: ["a line"])
    assert student.main() == 1
    assert "FAILED: a line of a solution is left: a line" in capsys.readouterr().out
    assert not list(tmp_path.rglob("*.ipynb"))


# Solutions


@EACH
def test_the_solutions_can_be_read_and_run_alone(number):
    made = built(number)
    known: set[str] = set()
    for cell in code_cells(made.solutions):
        bound, used = bound_and_used(cell.source)
        assert used <= known | {"__name__"}, (cell.id, used - known)
        known |= bound
        assert cell.outputs == []
    text = "\n".join(cell.source for cell in made.solutions.cells)
    for task in made.tasks:
        assert f"### Exercise {task.number} · {task.title}" in text
        assert made.answers[task.check].code.rstrip() in text
    assert text.startswith(f"# Solutions · {number} · ") and "For the lecturer" in text
    assert "NotImplementedError  # your code" not in text
    assert len(made.solutions.cells) < len(made.lesson.cells)


@EACH
def test_an_answer_stands_under_the_names_of_the_learner(number):
    """So that a check returns it, and the cells below run on it."""
    for answer in built(number).answers.values():
        assert "_solution" not in answer.code
        bound, _ = bound_and_used(answer.code)
        assert set(answer.names) <= bound
        stubs, _ = bound_and_used(answer.stub)
        assert set(answer.names) <= stubs


def test_an_answer_keeps_what_stands_beside_the_stub():
    grouped = built("03").answers["grouped"]
    assert grouped.given.startswith("def softmax(scores):") and "my_grouped" not in grouped.given
    fixed = built("01").answers["ten_thousand"]
    assert fixed.code.splitlines()[-1] == "fixed = my_attend"  # the solution of exercise 2
    suspect = built("04").answers["suspect"]
    assert "check." not in suspect.stub and suspect.given == ""


# nbgrader


def without(text: str, what: str) -> str:
    """A cell as nbgrader leaves it, without a region between its marks."""
    return re.sub(rf"(?s)### BEGIN {what}\n.*?### END {what}\n?", "", text).rstrip("\n")


@EACH
def test_each_exercise_is_an_answer_and_a_test_with_its_points(number):
    made = built(number)
    cells = {cell.id: cell for cell in made.source.cells}
    tests = [c for c in made.source.cells if c.metadata.get("nbgrader", {}).get("grade")]
    assert [c.metadata.nbgrader.points for c in tests] == [task.points for task in made.tasks]
    for task, test in zip(made.tasks, tests, strict=True):
        answer = cells[task.answer[-1]]
        kinds = [answer.metadata.nbgrader[k] for k in ("grade", "solution", "locked", "task")]
        assert kinds == [False, True, False, False]
        assert test.metadata.nbgrader.locked and not test.metadata.nbgrader.solution
        assert f'require("{task.name}", ' in test.source
        ast.parse(answer.source), ast.parse(test.source)
        # nbgrader takes out what stands between its marks, and the lesson's cells are left
        left = [without(answer.source, "SOLUTION"), without(test.source, "HIDDEN TESTS")]
        whole = "\n\n\n".join(left) if task.checked in task.answer else left[0]
        assert whole == made.sources[task.answer[-1]].rstrip() or task.checked in task.answer
        assert left[1] in made.sources[task.checked]
    ids = [c.metadata.nbgrader.grade_id for c in made.source.cells if "nbgrader" in c.metadata]
    assert len(ids) == len(set(ids))
    dump(made.source)  # is valid


def test_only_what_stands_in_an_exercise_is_locked():
    made = built("07")
    locked = {c.id for c in made.source.cells if c.metadata.get("nbgrader", {}).get("locked")}
    ring = {"cell-41", "cell-42", "cell-43", "cell-45"}  # task, given code, questions, check
    assert ring < locked and "cell-44" not in locked
    assert not any("nbgrader" in cell.metadata for cell in made.source.cells[:5])
    assert "nbgrader" not in dump(made.student)  # and the students' notebooks know nothing of it


def test_what_marks_raises_with_the_line_of_the_check():
    require("06.slots_seen", lambda p, i, W: (p >= 0) & (p <= i) & (i - p < W))
    for answer, line in (
        (None, "☐ Which slots are visible: not written yet."),
        (lambda p, i, W: p <= i, "✗ Which slots are visible: .* .* "),
        (lambda p, i, W: sys.exit(0), "✗ Which slots are visible: your code raised SystemExit"),
    ):
        with pytest.raises(AssertionError, match=line):
            require("06.slots_seen", answer)


# The command


def test_the_command_writes_three_editions(tmp_path, capsys, monkeypatch):
    command = ["student", "--output", str(tmp_path), "--lessons", str(NOTEBOOKS)]
    mine = tmp_path / "nbgrader" / "gradebook.db"
    mine.parent.mkdir()
    mine.write_text("marks")
    monkeypatch.setattr("sys.argv", [*command, "06"])
    assert student.main() == 0
    files = {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*") if path.is_file()}
    name = LESSONS["06"].name
    assert files == {
        f"notebooks/{name}", f"solutions/{name}", f"nbgrader/source/minimistral_06/{name}",
        "notebooks/TUTOR.md", "nbgrader/nbgrader_config.py", "nbgrader/gradebook.db", ".built.json",
    }  # fmt: skip
    assert mine.read_text() == "marks"
    assert f"{name}: 4 exercises, 8 points" in capsys.readouterr().out
    monkeypatch.setattr("sys.argv", [*command, "99"])
    with pytest.raises(SystemExit):
        student.main()
    assert "no lesson 99; there are 00, 01" in capsys.readouterr().err
    before = LESSONS["06"].read_bytes()
    for output in (NOTEBOOKS.parent, mine):
        monkeypatch.setattr("sys.argv", ["student", "06", "--output", str(output)])
        with pytest.raises(SystemExit):
            student.main()
        assert "argument --output" in capsys.readouterr().err
    assert LESSONS["06"].read_bytes() == before


def run(monkeypatch, capsys, *arguments):
    """The exit code of the command, and what it says."""
    monkeypatch.setattr("sys.argv", ["student", *map(str, arguments)])
    try:
        code = student.main()
    except SystemExit as ended:
        code = ended.code
    return code, "".join(capsys.readouterr())


def test_a_file_that_was_changed_is_not_written_over(tmp_path, capsys, monkeypatch):
    command = ["--output", tmp_path, "--lessons", NOTEBOOKS]
    name = LESSONS["06"].name
    mine, built = tmp_path / "solutions" / name, tmp_path / "notebooks" / name
    assert run(monkeypatch, capsys, *command, "06")[0] == 0
    right = mine.read_bytes()
    assert run(monkeypatch, capsys, *command, "06")[0] == 0  # as it was built
    mine.write_text("with a remark of my own")
    built.unlink()
    code, said = run(monkeypatch, capsys, *command, "06")
    assert code == 1 and not built.exists()
    assert f"not as they were built:\n  solutions/{name}\nMove" in said and "--overwrite" in said
    assert mine.read_text() == "with a remark of my own"
    assert run(monkeypatch, capsys, *command, "00")[0] == 0  # of another lesson nothing was changed
    assert run(monkeypatch, capsys, *command, "06", "--overwrite")[0] == 0
    assert mine.read_bytes() == right and built.exists()


def test_a_lesson_that_has_changed_is_built_anew(tmp_path):
    old, new = {"a.ipynb": "old", "b.ipynb": "old"}, {"a.ipynb": "new", "b.ipynb": "new"}
    student.put(old, tmp_path)
    assert student.changed(new, tmp_path) == []
    (tmp_path / "b.ipynb").write_text("mine")
    assert student.changed(new, tmp_path) == ["b.ipynb"]
    for record in ("", "[]", "{}"):  # without its record it is not known who wrote a file
        (tmp_path / student.BUILT).write_text(record)
        assert student.changed(new, tmp_path) == ["a.ipynb", "b.ipynb"]
        assert student.changed(old, tmp_path) == ["b.ipynb"]


def test_without_lessons_it_says_where_they_are(tmp_path, capsys, monkeypatch):
    """As where the package is installed without the repository."""
    monkeypatch.chdir(tmp_path)
    code, said = run(monkeypatch, capsys, "--lessons", tmp_path)
    assert code == 2 and f"no lesson is in {tmp_path}. The lessons are part of" in said
    assert "run this in a clone" in said and not list(tmp_path.iterdir())


def test_what_cannot_be_written_is_one_line(tmp_path, capsys, monkeypatch):
    (tmp_path / "notebooks").write_text("a file in the place of a folder")
    code, said = run(monkeypatch, capsys, "06", "--output", tmp_path, "--lessons", NOTEBOOKS)
    assert code == 1 and said.count("\n") == 1 and str(tmp_path / "notebooks") in said


@EACH
def test_the_contract_for_tutors_holds_no_line_of_a_solution(number):
    text = (NOTEBOOKS.parent / "TUTOR.md").read_text(encoding="utf-8")
    assert built(number).leaks(NotebookNode(cells=[], text=text)) == []
