"""Build what a lecturer hands out, and what a lecturer keeps.

    python -m minimistral.publish.student                      all lessons, in build/student
    python -m minimistral.publish.student 04 06 --output FOLDER   two of them, elsewhere

In that folder:

    notebooks/    the lessons without solutions and without the notes for the lecturer, and
                  TUTOR.md, for whoever helps a learner
    solutions/    for each lesson its exercises with the answers filled in, and those notes
    nbgrader/     the lessons as sources for nbgrader, and the settings they need

The hints stay, and so do the folded answers to "Check yourself" and to what a lesson asks the
learner to predict: they belong to the lesson. What a lesson says right below the solution of an
exercise on a bug explains that bug, so it goes with the solution.

If a line of a solution were left in a notebook for students, that lesson would not be written, and
the exit status would be 1. A file in the folder that was changed since it was built is not written
over: the build names it and stops, unless it is given --overwrite.
"""

import argparse
import hashlib
import json
import os
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
BUILT = ".built.json"  # in the output folder: what was built, by digests
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


def editions(lesson: Path) -> dict[str, str]:
    """The files made from a lesson, by their places in the output folder. Raises Leak."""
    nb, exercises = read(lesson.read_text(encoding="utf-8")), tasks(lesson)
    answers = right_answers(exercises, {cell.id: cell.source for cell in nb.cells})
    student = student_notebook(nb, exercises)
    if left := leaks(student, nb, exercises, answers):
        raise Leak(f"a line of a solution is left: {left[0]}")
    made = {
        "notebooks": student,
        "solutions": solutions_notebook(nb, exercises, answers),
        f"nbgrader/source/minimistral_{lesson.name[:2]}": source_notebook(
            student, exercises, answers
        ),
    }
    return {f"{folder}/{lesson.name}": dump(edition) for folder, edition in made.items()}


def beside_them(folder: Path) -> dict[str, str]:
    """What goes with the lessons of a folder: nbgrader's settings, the contract for tutors."""
    found = [place / "TUTOR.md" for place in (ROOT, folder.absolute().parent)]
    texts = [path.read_text(encoding="utf-8") for path in found if path.is_file()]
    contract = {"notebooks/TUTOR.md": texts[0]} if texts else {}
    return {"nbgrader/nbgrader_config.py": SETTINGS, **contract}


def changed(files: Mapping[str, str], output: Path) -> list[str]:
    """Those of the files that lie in the folder and are neither new nor as they were built."""
    before = _built(output)
    there = {name: path for name in files if os.path.lexists(path := output / name)}
    found = {name: digest(path.read_bytes()) for name, path in there.items()}
    return [
        name
        for name, now in found.items()
        if now not in (before.get(name), digest(files[name].encode("utf-8")))
    ]


def put(files: Mapping[str, str], output: Path) -> None:
    """Write the files, and record what was written."""
    for name, text in files.items():
        (output / name).parent.mkdir(parents=True, exist_ok=True)
        write(output / name, text)
    digests = {name: digest(text.encode("utf-8")) for name, text in files.items()}
    write(output / BUILT, json.dumps(_built(output) | digests, indent=1) + "\n")


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def _built(output: Path) -> dict[str, str]:
    """The digests of the files that were built; none where the record is missing or damaged."""
    try:
        found = json.loads((output / BUILT).read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="which lessons, for example 04; default: all")
    parser.add_argument(
        "--output", type=Path, metavar="FOLDER", help="where they go; default: build/student"
    )
    parser.add_argument(
        "--lessons", type=Path, default=NOTEBOOKS, metavar="FOLDER",
        help="where the lessons are; default: notebooks",
    )  # fmt: skip
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files in the folder that were changed since they were built",
    )
    args = parser.parse_args()
    there = lessons(args.lessons)
    if not there:
        parser.error(
            f"argument --lessons: no lesson is in {args.lessons}. The lessons are part of the"
            " course's repository and not of the installed package: run this in a clone, or name"
            " the folder notebooks of one"
        )
    for number in args.numbers:
        if number not in there:
            parser.error(f"no lesson {number}; there are {', '.join(there)}")
    home = ROOT if lessons(NOTEBOOKS) else Path.cwd()  # not the folder of installed packages
    output = args.output or home / "build" / "student"
    for folder in (args.lessons, NOTEBOOKS):
        if (output / "notebooks").resolve() == folder.resolve():
            parser.error(f"argument --output: {output} would write over the lessons in {folder}")
    if output.exists() and not output.is_dir():
        parser.error(f"argument --output: must be a folder, not the file {output}")
    try:
        return _build([there[number] for number in args.numbers or there], output, args.overwrite)
    except OSError as error:
        print(f"{error.filename or output}: {error.strerror or error}", file=sys.stderr)
        return 1


def _build(chosen: Sequence[Path], output: Path, overwrite: bool) -> int:
    """Build lessons and tell of it; the exit code. Raises OSError."""
    files, told, failed = beside_them(chosen[0].parent), [], False
    for lesson in chosen:
        try:
            files |= editions(lesson)
        except Leak as leak:
            told.append(f"{lesson.name}: FAILED: {leak}")
            failed = True
        else:
            exercises = tasks(lesson)
            n_points = sum(task.points for task in exercises)
            told.append(f"{lesson.name}: {len(exercises)} exercises, {n_points} points")
    if not overwrite and (kept := changed(files, output)):
        print(
            f"Nothing was written to {output}, because these files are not as they were built:",
            *(f"  {name}" for name in kept),
            "Move what you want to keep, or replace them with --overwrite.",
            sep="\n",
            file=sys.stderr,
        )
        return 1
    put(files, output)
    print(*told, f"Students get {output / 'notebooks'} and nothing beside it.", sep="\n")
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
