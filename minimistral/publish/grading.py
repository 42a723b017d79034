"""A lesson as a source for nbgrader, which makes the students' version of it and marks theirs.

In each exercise the answer cell holds the stub, and the right answer between nbgrader's marks for a
solution. The cell with the check has the points. What decides about them stands there as a hidden
test, so students see the check print ☐, ✗ or ✓ as in the course, and no error. Whatever else stands
between the heading and the check is locked; the other cells of the lesson are free to play with.
"""

from collections.abc import Mapping, Sequence

from nbformat import NotebookNode
from nbformat.v4 import new_code_cell

from minimistral.course.exercises import Task
from minimistral.publish.answers import Answer

SOLUTION = "### BEGIN SOLUTION\n{}### END SOLUTION"
HIDDEN = """\
### BEGIN HIDDEN TESTS
from minimistral.course.checks.require import require
require("{}", {})
### END HIDDEN TESTS"""

SETTINGS = """\
# How nbgrader runs the lessons of minimistral. A course with settings of its own needs these too.

import os

# What one student's function wrote must not be found in the run of another.
os.environ["MINIMISTRAL_WORK"] = os.devnull

c = get_config()
c.ClearSolutions.code_stub = {"python": ""}  # each stub stands above its solution, and stays
c.Execute.timeout = 300  # seconds for a cell; then it is interrupted, and counts as an error
c.Execute.iopub_timeout = 60  # a cell that imports torch on a busy machine is silent for long
"""


def source_notebook(
    student: NotebookNode, exercises: Sequence[Task], answers: Mapping[str, Answer]
) -> NotebookNode:
    """The source of a lesson, made of its notebook for students."""
    cells = [NotebookNode(cell, metadata=NotebookNode(cell.metadata)) for cell in student.cells]
    for task in exercises:
        ids = [cell.id for cell in cells]
        start, stop = ids.index(task.heading), ids.index(task.checked) + 1
        cells[start:stop] = _exercise(cells[start:stop], task, answers[task.check])
    for cell in cells:
        if cell.cell_type == "code":
            cell.outputs, cell.execution_count = [], None
    return NotebookNode(student, cells=cells)


def _exercise(cells: Sequence[NotebookNode], task: Task, answer: Answer) -> list[NotebookNode]:
    marked = []
    for cell in cells:
        if cell.id == task.answer[-1]:
            marked.append(_answer(cell, answer))
            if cell.id == task.checked:  # the call of the check stands in the answer cell
                call = f"check.{task.check}({', '.join(answer.names)})"
                apart = new_code_cell(call, id=f"{cell.id}-check", metadata=_plain(cell))
                marked.append(_test(apart, task, answer))
        elif cell.id == task.checked:
            marked.append(_test(cell, task, answer))
        else:
            marked.append(_marked(cell, locked=True))
    return marked


def _answer(cell: NotebookNode, answer: Answer) -> NotebookNode:
    cell.source = answer.stub + SOLUTION.format(answer.code)
    return _marked(cell, solution=True)


def _test(cell: NotebookNode, task: Task, answer: Answer) -> NotebookNode:
    cell.source += "\n" + HIDDEN.format(task.name, ", ".join(answer.names))
    return _marked(cell, grade=True, locked=True, points=task.points)


def _marked(
    cell: NotebookNode,
    grade: bool = False,
    solution: bool = False,
    locked: bool = False,
    **more: int,
) -> NotebookNode:
    """The cell with nbgrader's metadata; its schema requires all of them."""
    kind = {"grade": grade, "solution": solution, "locked": locked, "task": False}
    cell.metadata["nbgrader"] = {"schema_version": 3, "grade_id": cell.id, **kind, **more}
    return cell


def _plain(cell: NotebookNode) -> NotebookNode:
    return NotebookNode(slideshow=cell.metadata.slideshow)
