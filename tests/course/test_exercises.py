"""The list of exercises is that of the notebooks, and each has a check of its name."""

import importlib

import pytest

from minimistral.course import exercises
from minimistral.course.checks.report import Exercise

TASKS = exercises.all_tasks()


def test_every_folded_solution_belongs_to_an_exercise():
    for path in exercises.lessons().values():
        cells = exercises.read_cells(path)
        solutions = [c["id"] for c in cells if "solution" in c["metadata"].get("tags", [])]
        assert [task.solution for task in exercises.tasks(path)] == solutions
        assert [t.number for t in exercises.tasks(path)] == list(range(1, len(solutions) + 1))


@pytest.mark.parametrize("task", TASKS, ids=lambda task: task.name)
def test_an_exercise_has_a_check_and_a_place_for_the_answer(task):
    module = importlib.import_module(f"minimistral.course.checks.lesson_{task.lesson}")
    check = getattr(module, task.check)
    assert isinstance(check, Exercise) and check.check.__name__ == task.check
    assert task.answer and task.solution not in task.answer
    assert 1 <= task.stars <= 3 and task.minutes > 0


def test_no_exercise_has_the_name_of_another():
    names = [task.name for task in TASKS]
    assert len(set(names)) == len(names) and len({name[:2] for name in names}) == 16


def test_a_copy_without_solutions_has_the_same_exercises(tmp_path, monkeypatch):
    for path in exercises.lessons().values():
        cells = [
            cell for cell in exercises.read_cells(path)
            if "solution" not in cell["metadata"].get("tags", [])
        ]  # fmt: skip
        expected = [task._replace(solution="") for task in exercises.tasks(path)]
        assert exercises.tasks_in(path.name[:2], cells) == expected
        without = [cell for cell in cells if cell["id"] != expected[1].checked]
        assert exercises.tasks_in(path.name[:2], without) == [expected[0], *expected[2:]]


def test_where_the_lessons_are(tmp_path, monkeypatch):
    (tmp_path / "notebooks").mkdir()
    (tmp_path / "notebooks/00_start_here.ipynb").write_text("{}")
    (tmp_path / "my-work").mkdir()
    assert exercises.nearest(tmp_path) == exercises.NOTEBOOKS
    monkeypatch.setattr(exercises, "NOTEBOOKS", tmp_path / "none")
    for here in ("", "my-work", "notebooks"):
        assert exercises.nearest(tmp_path / here) == tmp_path / "notebooks"
    assert exercises.nearest(tmp_path.parent) == tmp_path / "none"
