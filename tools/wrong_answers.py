"""Write docs/_for_teachers/wrong_answers.md: what learners get wrong, and what the check says.

    python tools/wrong_answers.py            write it
    python tools/wrong_answers.py --check    write nothing; exit status 1 if it is not current

tests/course/ holds wrong answers to every exercise, each with the hint that it must get. The page
shows the first few of each exercise, with the line that the check prints when it is run now.
"""

import argparse
import ast
import importlib
import re
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

ROOT = Path(__file__).resolve().parents[1]
PAGE = ROOT / "docs" / "_for_teachers" / "wrong_answers.md"
MOST = 4  # mistakes per exercise
LONGEST = 72  # a longer piece of Python is no example
# Mistakes of form, which say nothing about the exercise, and are only shown where no others are
FORM = ("pass the function", "not written", "Error", "the shape must", "changes its input",
        "not a value", "return a", "return both", "whole number", "True or False", "must be (",
        "return the", "not None", "too large", "too small", "yields", "a list")  # fmt: skip
HEAD = """# What goes wrong, and what the check says

Written by `python tools/wrong_answers.py` from the wrong answers in `tests/course/`. For each
exercise it shows a few mistakes: on the left what was handed in, on the right the line that the
check prints. A name on the left such as `counted(…)` is a function of those tests, mostly a right
answer with one part exchanged. `minimistral/course/checks/` holds all lines, and the tests hold
further mistakes.

This page is for teachers. It is not part of the web page.
"""


class Mistake(NamedTuple):
    check: Any  # an Exercise
    answers: tuple
    hint: str  # part of what the check must say
    written: str  # the answers as Python


def tests(lesson: str) -> list[Any]:
    """The modules with answers to a lesson; the first lessons' are in files that they share."""
    for folder in ("tests/course", "tests"):
        if str(ROOT / folder) not in sys.path:
            sys.path.insert(0, str(ROOT / folder))
    names = ["test_checks", "answers", f"answers_{lesson}"]
    return [importlib.import_module(name) for name in names]


def mistakes(lesson: str) -> list[Mistake]:
    """All mistakes of a lesson that the tests write down with a hint, in their order."""
    found = []
    for module in tests(lesson):
        tree = ast.parse(Path(module.__file__).read_text(encoding="utf-8"))
        for row in _rows(tree):
            check, answers, hint = eval(ast.unparse(row), vars(module))  # a line of our own tests
            if hint and check.check.__module__.endswith(f"lesson_{lesson}"):
                found.append(Mistake(check, answers, hint, _without_parentheses(row.elts[1])))
    return found


def _rows(tree: ast.Module) -> list[ast.Tuple]:
    """The rows (check, answers, hint) of `WRONG = [...]`; those that a loop makes are left out."""
    lists = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WRONG"
    ]
    return [
        row for rows in lists for row in getattr(rows, "elts", []) if isinstance(row, ast.Tuple)
    ]


def _without_parentheses(answers: ast.expr) -> str:
    """
    >>> _without_parentheses(ast.parse("(5, lambda x: (x, 1))").body[0].value)
    '5, lambda x: (x, 1)'
    """
    each = answers.elts if isinstance(answers, ast.Tuple) else [answers]
    return ", ".join(map(ast.unparse, each))


def telling(rows: Iterable[Mistake]) -> list[Mistake]:
    """The first few that are short and say something about the exercise, else any that are short.

    >>> rows = [Mistake(None, (), "return a pair", "x"), Mistake(None, (), "W + 1", "y")]
    >>> [row.written for row in telling(rows)]
    ['y', 'x']
    """
    first = {row.hint: row for row in reversed(list(rows)) if _reads_well(row.written)}
    short = list(reversed(first.values()))
    chosen = [row for row in short if not _of_form(row)][:MOST]
    formal = [row for row in short if _of_form(row)]
    return chosen + formal[: max(0, 2 - len(chosen))]


def _reads_well(written: str) -> bool:
    return len(written) <= LONGEST and not re.search("None|errstate|lesson_|MOST|Nasty", written)


def _of_form(mistake: Mistake) -> bool:
    return any(words in mistake.hint for words in FORM)


def says(mistake: Mistake) -> str:
    """What the check says of it, behind "✗ name: "."""
    from minimistral.course.checks.report import Wrong

    try:
        mistake.check.check(*mistake.answers)
    except Wrong as wrong:
        return str(wrong)
    raise AssertionError(f"{mistake.check.name} accepts {mistake.written}")


def section(task: Any, rows: Iterable[Mistake]) -> str:
    """An exercise: its heading, and a table of mistakes."""
    lines = [
        f"### Exercise {task.number} · {task.title} (`{task.name}`)",
        "",
        "| handed in | what the check says |",
        "|---|---|",
    ]
    lines += [f"| `{_cell(row.written)}` | {_cell(says(row))} |" for row in rows]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    r"""Text as it may stand in a cell of a table, on one line.

    >>> _cell("a |\n b")
    'a \\| b'
    """
    return " ".join(text.split()).replace("|", "\\|")


def sections(lesson: str) -> Iterator[str]:
    """The exercises of a lesson, one after another."""
    from minimistral.course import exercises

    rows = mistakes(lesson)
    for task in exercises.tasks(exercises.lessons()[lesson]):
        yield section(task, telling(row for row in rows if row.check.check.__name__ == task.check))


def page() -> str:
    """The whole page."""
    from minimistral.course import exercises

    parts = [HEAD]
    for lesson, path in exercises.lessons().items():
        title = exercises.read_cells(path)[0]["source"].splitlines()[0].removeprefix("# ")
        parts += [f"## {title}\n", *sections(lesson)]
    return "\n".join(parts)


def main(arguments: list[str]) -> int:
    """Write the page, or compare it with --check. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    args = parser.parse_args(arguments)
    text = page()
    if args.check:
        current = PAGE.exists() and PAGE.read_text(encoding="utf-8") == text
        print(f"{PAGE.name}: {'current' if current else 'not current; run this without --check'}")
        return 0 if current else 1
    PAGE.parent.mkdir(exist_ok=True)
    PAGE.write_text(text, encoding="utf-8", newline="\n")
    print(f"{PAGE.name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
