"""`minimistral progress`: the map of the course, what is done, and what your model can do."""

import argparse
import json
import textwrap
from typing import Any

from minimistral.cli import plain
from minimistral.course.checks.accepted import LESSONS as LESSON_OF_PART
from minimistral.course.mine.progress import BREAK
from minimistral.course.overview import LessonSoFar, Overview, counted, duration, overview

WIDTH = 80
HOW = (
    "☐ open · ✗ tried, not right yet · ✓ done. Time runs from a check or hint to the next one in"
    f" the same lesson, up to the first ✓, without breaks over {BREAK // 60} minutes. Hints are"
    " those of check.NAME.hint(); one opened in the text is not counted."
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """The form of the output."""
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the map. Nothing is changed."""
    so_far = overview()
    print(
        json.dumps(facts(so_far), indent=2, ensure_ascii=False)
        if args.json
        else plain(as_text(so_far))
    )
    return 0


def as_text(so_far: Overview) -> str:
    """The map for a terminal of 80 columns, without colours."""
    lines = _wrapped(so_far.words())
    for stage, lessons in so_far.stages:
        lines += ["", stage, *map(_row, lessons)]
    lines += ["", "What your model can do by now"]
    gains = so_far.gains()
    for number, gain in gains:
        lines += _wrapped(gain, f"  {number} ", "     ")
    if not gains:
        lines.append("  nothing yet")
    yours = ", ".join(so_far.yours) or "none yet"
    lines += _wrapped(yours, "  functions of yours in it: ", "     ")
    where = f"kept in {so_far.file}" if so_far.file.exists() else f"nothing in {so_far.file} yet"
    lines += ["", *_wrapped(HOW), where, *so_far.problems]
    return "\n".join(lines)


def facts(so_far: Overview) -> dict[str, Any]:
    """The same as data: a lesson with its exercises, the functions, the file, the problems.

    People hand it in and paste it elsewhere, so of a path only the last folder is told.
    """
    folder = so_far.file.parent
    return {
        "file": f"{folder.name}/{so_far.file.name}",
        "problems": [problem.replace(str(folder), folder.name) for problem in so_far.problems],
        "exercises": sum(len(lesson.tasks) for lesson in so_far.lessons),
        "done": so_far.total("n_done"),
        "hints": so_far.total("hints"),
        "seconds": so_far.total("seconds"),
        "functions": {part: part in so_far.yours for part in LESSON_OF_PART},
        "lessons": [
            {
                "lesson": lesson.number,
                "title": lesson.title,
                "stage": stage,
                "gain": lesson.gain,
                "gained": bool(lesson.gain) and so_far.has_gained(lesson),
                "exercises": _exercises(lesson),
            }
            for stage, lessons in so_far.stages
            for lesson in lessons
        ],
    }


def _exercises(lesson: LessonSoFar) -> list[dict[str, Any]]:
    return [
        {"name": task.name, "title": task.title, "stars": task.stars, **attempt._asdict()}
        for task, attempt in zip(lesson.tasks, lesson.attempts, strict=True)
    ]


def _row(lesson: LessonSoFar) -> str:
    marks = "".join(attempt.state for attempt in lesson.attempts)
    done = f"{lesson.n_done} of {len(lesson.tasks)}"
    row = f"  {lesson.number} {lesson.title:25} {marks:10} {done:>8}"
    if lesson.hints or lesson.seconds:
        row += f"  {counted(lesson.hints, 'hint'):>8}  {duration(lesson.seconds):>11}"
    return row


def _wrapped(words: str, first: str = "", then: str = "") -> list[str]:
    return textwrap.wrap(words, WIDTH, initial_indent=first, subsequent_indent=then)
