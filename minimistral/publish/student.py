"""Build what a lecturer hands out, and what a lecturer keeps.

    python -m minimistral.publish.student                      all lessons, in build/student
    python -m minimistral.publish.student 04 06 --output FOLDER   two of them, elsewhere

In that folder:

    notebooks/    the lessons without solutions, and without the notes for the lecturer
    solutions/    for each lesson its exercises with the answers filled in, and those notes
    nbgrader/     the lessons as sources for nbgrader, and the settings they need

The hints stay, and so do the folded answers to "Check yourself" and to what a lesson asks the
learner to predict: they belong to the lesson. What a lesson says right below the solution of an
exercise on a bug explains that bug, so it goes with the solution.

If a line of a solution were left in a notebook for students, that lesson would not be written, and
the exit status would be 1.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from itertools import takewhile
from pathlib import Path
from typing import Any

from nbformat import NotebookNode
from nbformat.v4 import new_markdown_cell

from minimistral.course.exercises import NOTEBOOKS, Task, lessons, tasks
from minimistral.publish.answers import Answer, right_answers
from minimistral.publish.grading import SETTINGS, source_notebook
from minimistral.publish.names import needed_cells
from minimistral.publish.notebooks import code_cells, dump, read, write

ROOT = Path(__file__).resolve().parents[2]
ON_A_BUG = re.compile(r"(Break it|Diagnose|Museum): ")
HINT = re.compile(r"<details><summary>Hint \d</summary>.*?</details>", re.S)
SHORTEST = 10  # characters without blanks; a shorter line, such as `i += 1`, tells nothing


class Leak(Exception):
    """A line of a solution that stands in a notebook for students."""


def student_notebook(nb: NotebookNode, exercises: Sequence[Task]) -> NotebookNode:
    """A lesson to hand out. The cells that stay keep their ids and their outputs."""
    gone = kept_back(nb, exercises)
    student = NotebookNode(nb, cells=[NotebookNode(c) for c in nb.cells if c.id not in gone])
    for number, cell in enumerate(code_cells(student), 1):
        cell.execution_count = number
        cell.outputs = [_numbered(output, number) for output in cell.outputs]
    return student


def kept_back(nb: NotebookNode, exercises: Sequence[Task]) -> set[str]:
    """The ids of the cells that students do not get."""
    tagged = {c.id for c in nb.cells if {"solution", "teacher"} & set(c.metadata.get("tags", []))}
    return tagged.union(*(explanations(nb, task) for task in exercises))


def explanations(nb: NotebookNode, task: Task) -> list[str]:
    """The ids of the cells right below a solution that explain the bug of the exercise."""
    if not ON_A_BUG.match(task.title):
        return []
    start = [cell.id for cell in nb.cells].index(task.solution) + 1
    said = takewhile(_is_prose, nb.cells[start:])
    return [cell.id for cell in said]


def solutions_notebook(
    nb: NotebookNode, exercises: Sequence[Task], answers: Mapping[str, Answer]
) -> NotebookNode:
    """The exercises of a lesson with their answers, and what these need of the lesson to run."""
    filled = _filled(nb, exercises, answers)
    wanted = {cell.id for cell in filled if "teacher" in cell.metadata.get("tags", [])}
    for task in exercises:
        wanted |= {cell.id for cell in exercise_cells(filled, task)}
        wanted |= set(explanations(nb, task))
    solved = {task.solution for task in exercises}
    filled = [cell for cell in filled if cell.id not in solved]
    wanted |= needed_cells({c.id: c.source for c in filled if c.cell_type == "code"}, wanted)
    cells = [_without_outputs(cell) for cell in filled if cell.id in wanted]
    return NotebookNode(nb, cells=[_solutions_title(nb), *cells])


def _filled(
    nb: NotebookNode, exercises: Sequence[Task], answers: Mapping[str, Answer]
) -> list[NotebookNode]:
    """The cells of a lesson with the right answer in the place of each stub."""
    filled = {}
    for task in exercises:
        answer = answers[task.check]
        parts = [answer.given, answer.code]
        if task.checked in task.answer:
            parts.append(f"check.{task.check}({', '.join(answer.names)})\n")
        filled[task.answer[-1]] = "\n\n".join(part for part in parts if part).rstrip("\n")
    return [NotebookNode(c, source=filled.get(c.id, c.source)) for c in nb.cells]


def exercise_cells(cells: Sequence[NotebookNode], task: Task) -> list[NotebookNode]:
    """The cells of an exercise, from its heading to its check."""
    ids = [cell.id for cell in cells]
    return list(cells[ids.index(task.heading) : ids.index(task.checked) + 1])


def _solutions_title(nb: NotebookNode) -> NotebookNode:
    title = nb.cells[0].source.splitlines()[0].removeprefix("# ")
    text = (
        f"# Solutions · {title}\n\n"
        "Each exercise with its answer filled in, and the cells of the lesson that it needs, so "
        "this notebook runs from top to bottom. The notes for the lecturer stand where they stand "
        "in the lesson."
    )
    return new_markdown_cell(text, id="solutions", metadata={})


def _is_prose(cell: NotebookNode) -> bool:
    return cell.cell_type == "markdown" and not cell.source.startswith("#")


def _numbered(output: NotebookNode, number: int) -> NotebookNode:
    counted = "execution_count" in output
    return NotebookNode(output, execution_count=number) if counted else NotebookNode(output)


def _without_outputs(cell: NotebookNode) -> NotebookNode:
    if cell.cell_type != "code":
        return cell
    return NotebookNode(cell, outputs=[], execution_count=None)


# What must not be left


def leaks(
    handed_out: NotebookNode,
    lesson: NotebookNode,
    exercises: Sequence[Task],
    answers: Mapping[str, Answer],
) -> list[str]:
    """The lines of solutions that stand in a notebook: in its text, its outputs or its metadata.

    Blanks do not count. Hints are not searched, since they tell what to write.
    """
    gone = kept_back(lesson, exercises)
    given = "".join(_squeezed(c.source) for c in code_cells(lesson) if c.id not in gone)
    sources = {cell.id: cell.source for cell in lesson.cells}
    secret = set()
    for task in exercises:
        secret |= secret_lines(sources[task.solution], given)
        secret |= secret_lines(answers[task.check].code, given)
    texts = [_squeezed(HINT.sub("", text)) for text in _strings(handed_out)]
    return sorted(line for line in secret if any(line in text for text in texts))


def secret_lines(solution: str, given: str) -> set[str]:
    """The lines of a solution that tell something, without blanks and comments.

    given: the code that the lesson gives itself, without blanks. What stands there, such as a line
    of a function that is to be repaired, is no secret.

    >>> solution = "def my_f(x):\\n    return 2 * x + 1    # odd\\n\\n\\ncheck.f(my_f)"
    >>> sorted(secret_lines(solution, given="defmy_f(x):raise"))
    ['check.f(my_f)', 'return2*x+1']
    """
    lines = (_squeezed(re.split(r"\s#", line)[0]) for line in solution.splitlines())
    return {line for line in lines if len(line) >= SHORTEST and line not in given}


def _squeezed(text: str) -> str:
    return re.sub(r"\s+", "", text)


def _strings(value: Any) -> Iterator[str]:
    """Every text in a notebook, keys too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from (key, *_strings(inner))
    elif isinstance(value, list | tuple):
        for inner in value:
            yield from _strings(inner)


# The command


def build(lesson: Path, output: Path) -> str:
    """Write the editions of a lesson; how many exercises and points it has. Raises Leak."""
    nb, exercises = read(lesson.read_text(encoding="utf-8")), tasks(lesson)
    answers = right_answers(exercises, {cell.id: cell.source for cell in nb.cells})
    student = student_notebook(nb, exercises)
    if left := leaks(student, nb, exercises, answers):
        raise Leak(f"a line of a solution is left: {left[0]}")
    assignment = f"minimistral_{lesson.name[:2]}"
    for folder, edition in {
        "notebooks": student,
        "solutions": solutions_notebook(nb, exercises, answers),
        f"nbgrader/source/{assignment}": source_notebook(student, exercises, answers),
    }.items():
        (output / folder).mkdir(parents=True, exist_ok=True)
        write(output / folder / lesson.name, dump(edition))
    n_points = sum(task.points for task in exercises)
    return f"{len(exercises)} exercises, {n_points} points"


def write_settings(output: Path) -> None:
    (output / "nbgrader").mkdir(parents=True, exist_ok=True)
    write(output / "nbgrader" / "nbgrader_config.py", SETTINGS)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="which lessons, for example 04; default: all")
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "student", metavar="FOLDER",
        help="where they go; default: build/student",
    )  # fmt: skip
    parser.add_argument(
        "--lessons", type=Path, default=NOTEBOOKS, metavar="FOLDER",
        help="where the lessons are; default: notebooks",
    )  # fmt: skip
    args = parser.parse_args()
    there = lessons(args.lessons)
    for number in args.numbers:
        if number not in there:
            parser.error(f"no lesson {number}; there are {', '.join(there)}")
    for folder in (args.lessons, NOTEBOOKS):
        if (args.output / "notebooks").resolve() == folder.resolve():
            parser.error(
                f"argument --output: {args.output} would write over the lessons in {folder}"
            )
    if args.output.exists() and not args.output.is_dir():
        parser.error(f"argument --output: must be a folder, not the file {args.output}")
    failed = 0
    for number in args.numbers or there:
        try:
            print(f"{there[number].name}: {build(there[number], args.output)}")
        except Leak as leak:
            print(f"{there[number].name}: FAILED: {leak}")
            failed += 1
    write_settings(args.output)
    print(f"Students get {args.output / 'notebooks'} and nothing beside it.")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
