"""The learner's own copies of the lessons, in `my-work/`.

    python -m minimistral.course.copies      make them and bring them up to date, as `make lab` does

Lessons are files of the repository, which change with it. A learner therefore writes in a copy.
It is made once and from then on is the learner's. When its lesson changes, the new lesson is put
beside it, as `06_NAME.new.ipynb`, with the answers in it; when the old copy is deleted, the new one
takes its name. The course writes over a file of this folder only where nothing was typed or run in
it since the course wrote it.
"""

import argparse
import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from minimistral.course.carried import (
    Carried,
    Lesson,
    Notebook,
    carry,
    digest,
    dump,
    is_as_written,
    is_current,
    own_cells,
    parse,
    read_lesson,
    with_base,
)
from minimistral.course.exercises import NOTEBOOKS, lessons
from minimistral.course.mine.kept import FOLDER


class NotCopied(Exception):
    """The folder or a copy of a lesson could not be made; the text says which and why."""


class Copy(NamedTuple):
    """A file of the learner's, as it was read."""

    path: Path
    data: bytes
    notebook: Notebook


def copies_folder(notebooks: Path = NOTEBOOKS) -> Path:
    """Where the copies lie: the folder that MINIMISTRAL_WORK names, else beside `notebooks`."""
    named = os.environ.get(FOLDER)
    return Path(named).absolute() if named else notebooks.parent / "my-work"


def update(notebooks: Path = NOTEBOOKS, folder: Path | None = None) -> list[str]:
    """Make the copies that are missing, and put changed lessons beside theirs; what to tell of it.

    Raises NotCopied where there is no lesson, or a copy cannot be made.
    """
    found = lessons(notebooks)
    if not found:
        raise NotCopied(f"There is no lesson in {notebooks}.")
    folder = folder or copies_folder(notebooks)
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise NotCopied(_cannot(folder, error)) from None
    told = [line for path in found.values() for line in bring(path, folder)]
    if any(LATER.search(path.name) for path in folder.iterdir()):
        told.append(
            "Delete an old copy once it holds nothing that you need; with the next start the one"
            " after it takes its name."
        )
    return told


LATER = re.compile(r"\.new(?:-(\d+))?\.ipynb$")  # a changed lesson beside its copy


def bring(path: Path, folder: Path) -> list[str]:
    """Bring the copy of one lesson up to date; what to tell of it. Raises NotCopied."""
    try:
        data = path.read_bytes()
        lesson = read_lesson(path.name, data)
    except OSError as error:
        return [_cannot(path, error)]
    except ValueError:
        return [f"{path.name} is no notebook that can be read, so there is no new copy of it."]
    first, later = folder / path.name, _later(folder, path.stem)
    if not os.path.lexists(first):
        try:
            return _take_name(later, first) if later else _first_copy(path, lesson, first)
        except (FileExistsError, FileNotFoundError):  # a second start was faster
            return []
        except OSError as error:
            raise NotCopied(_cannot(first, error)) from None
    try:
        return _compare(lesson, [first, *later])
    except OSError as error:
        return [_cannot(Path(error.filename or first), error)]
    except (ValueError, RecursionError) as error:
        return [f"{first.name} is left alone: {error}."]


def _later(folder: Path, stem: str) -> list[Path]:
    """The changed lessons that were put beside a copy, the oldest first."""
    found = [path for path in folder.glob(f"{stem}.new*.ipynb") if LATER.search(path.name)]
    return sorted(found, key=_number)


def _number(path: Path) -> int:
    """
    >>> [_number(Path(name)) for name in ("06_a.ipynb", "06_a.new.ipynb", "06_a.new-12.ipynb")]
    [0, 1, 12]
    """
    found = LATER.search(path.name)
    return int(found[1] or 1) if found else 0


def _take_name(later: list[Path], name: Path) -> list[str]:
    """Give the name of a deleted copy to the oldest of the new lessons beside it."""
    path, *newer = later
    _link(path, name)
    path.unlink(missing_ok=True)
    if newer:
        line = f"{name.name} was {path.name} before; the newest lesson is {newer[-1].name}."
    else:
        line = f"{name.name} is the new lesson now; it was {path.name}."
    return [line]


def _first_copy(path: Path, lesson: Lesson, copy: Path) -> list[str]:
    """Copy a lesson. What was written in `notebooks/` before counts as the learner's."""
    before = _committed(path)
    unknown = frozenset(
        cell
        for task in lesson.tasks
        if not task.answer  # filled in
        for cell in _between(lesson, task.heading, task.solution)
    )
    differs = before is not None and before.marks != lesson.marks
    base = with_base(lesson.notebook, before) if differs and before else None
    place(copy, dump(base or with_base(lesson.notebook, lesson, unknown)))
    if not differs:
        return []
    return [f"{copy.name} also holds what has changed in notebooks/ since the last commit."]


def _between(lesson: Lesson, first: str, last: str) -> list[str]:
    """The code cells from one cell to another."""
    keys = list(lesson.cells)
    inside = keys[keys.index(first) : keys.index(last)]
    return [key for key in inside if lesson.cells[key]["cell_type"] == "code"]


def _committed(path: Path) -> Lesson | None:
    """A lesson as it was last committed; None where git or the file in it is missing."""
    show = ["git", "-C", str(path.parent), "show", f"HEAD:./{path.name}"]
    try:
        done = subprocess.run(show, capture_output=True, check=True)
        return read_lesson(path.name, done.stdout)
    except (OSError, ValueError, subprocess.CalledProcessError):
        return None


def _compare(lesson: Lesson, paths: list[Path]) -> list[str]:
    """Look whether the newest of a lesson's copies is up to date; else put the lesson beside it."""
    newest = _read(paths[-1])
    if newest is None:
        return [
            f"{paths[-1].name} is no notebook that can be read, so it is left alone. Rename or"
            " delete it, and the next start makes a new one."
        ]
    if len(paths) == 1:
        fresh = with_base(lesson.notebook, lesson)
        if _may_be_replaced(newest, fresh):
            if digest(newest.notebook) == digest(fresh) or not swap(newest, dump(fresh)):
                return []
            return [
                f"{newest.path.name} has been replaced: its lesson has changed, the copy had not."
            ]
        if is_current(newest.notebook, lesson):
            return []
        return _beside(lesson, newest, _next_name(paths))
    before = _read(paths[-2])
    again = carry(lesson, before.notebook) if before else None
    if before and again and _may_be_replaced(newest, again.notebook):
        if is_current(before.notebook, lesson):
            return [f"{before.path.name} is up to date, and {newest.path.name} can be deleted."]
        if digest(newest.notebook) != digest(again.notebook):
            swap(newest, dump(again.notebook))
        return [_tell(lesson, again, before.path, newest.path)]
    if is_current(newest.notebook, lesson):
        line = f"{newest.path.name} is the newer copy of {paths[0].name}"
        if is_as_written(newest.notebook):
            line += f", left as it is because it holds cells that {paths[-2].name} no longer has"
        known = _sources(newest.notebook) | _sources(lesson.notebook)
        if again and _sources(again.notebook) - known:
            line += f". Some answers in {paths[-2].name} are not in it: look before you delete that"
        return [f"{line}."]
    return _beside(lesson, newest, _next_name(paths))


def _sources(notebook: Notebook) -> set[str]:
    return {cell["source"] for cell in notebook["cells"]}


def _read(path: Path) -> Copy | None:
    """A file of the learner's; None if it is no notebook. Raises OSError."""
    data = path.read_bytes()
    try:
        return Copy(path, data, parse(data))
    except ValueError:
        return None


def _may_be_replaced(copy: Copy, new: Notebook) -> bool:
    """Whether nothing was done in a copy, and `new` has all that the learner wrote in it."""
    return (
        is_as_written(copy.notebook)
        and not copy.path.is_symlink()
        and own_cells(copy.notebook) <= own_cells(new)
    )


def _beside(lesson: Lesson, copy: Copy, path: Path) -> list[str]:
    """Put the changed lesson beside a copy, with the learner's answers."""
    carried = carry(lesson, copy.notebook)
    try:
        place(path, dump(carried.notebook))
    except FileExistsError:  # a second start was faster
        return []
    return [_tell(lesson, carried, copy.path, path)]


def _next_name(paths: list[Path]) -> Path:
    """
    >>> _next_name([Path("06_a.ipynb")]).name
    '06_a.new.ipynb'
    >>> _next_name([Path("06_a.ipynb"), Path("06_a.new.ipynb")]).name
    '06_a.new-2.ipynb'
    """
    number = _number(paths[-1])
    return paths[0].with_suffix(f".new-{number + 1}.ipynb" if number else ".new.ipynb")


def _tell(lesson: Lesson, carried: Carried, old: Path, new: Path) -> str:
    """One line on a changed lesson."""
    numbers = {cell: task.number for task in lesson.tasks for cell in task.answer}
    kept = [f"exercise {numbers[cell]}" for cell in carried.answers]
    if carried.n_own:
        kept.append(f"{carried.n_own} cell{'s' * (carried.n_own > 1)} of your own")
    line = f"{old.name}: the lesson has changed. {new.name} is the new one"
    line += f", with your work ({', '.join(kept)})." if kept else "."
    if carried.changed:
        again = ", ".join(f"exercise {numbers[cell]}" for cell in carried.changed)
        line += f" Look at {again} again, where the code to start from has changed."
    if carried.left:
        places = dict.fromkeys(_heading(lesson, cell) for cell in carried.left)
        line += f" Only in the old one: your changes in {', '.join(places)}."
    return line


def _heading(lesson: Lesson, key: str) -> str:
    """The last heading above a cell, in quotes."""
    heading = "the first cell"
    for cell in lesson.notebook["cells"]:
        if cell["cell_type"] == "markdown" and (
            found := re.match(r"#+ (.+)", cell["source"].lstrip())
        ):
            heading = f'"{found[1]}"'
        if cell["id"] == key:
            break
    return heading


def place(path: Path, text: str) -> None:
    """Write a new file, whole or not at all. Raises FileExistsError where its name is taken."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        _link(draft, path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()


def _link(draft: Path, path: Path) -> None:
    """Give a file a second name. Raises FileExistsError where that is taken."""
    try:
        os.link(draft, path)
    except (FileExistsError, FileNotFoundError):
        raise
    except (OSError, AttributeError, NotImplementedError):  # a file system without links
        path.open("xb").close()
        draft.replace(path)


def swap(copy: Copy, text: str) -> bool:
    """Write over a copy, whole or not at all, unless it was saved since it was read."""
    draft = copy.path.with_name(f".{copy.path.name}.{os.getpid()}.tmp")
    try:
        draft.write_text(text, encoding="utf-8", newline="\n")
        if copy.path.read_bytes() != copy.data:
            return False
        draft.replace(copy.path)
    finally:
        with contextlib.suppress(OSError):
            draft.unlink()
    return True


def _cannot(path: Path, error: OSError) -> str:
    if path.is_symlink() and not path.exists():
        return (
            f"{path} cannot be used (it is a link to {os.readlink(path)}, which is not there)."
            " Delete the link, and the next start makes it anew."
        )
    if isinstance(error, FileExistsError):
        return (
            f"{path} cannot be used (it is a file, and a folder of this name is needed)."
            " Rename the file, and the next start makes the folder."
        )
    reason = error.strerror or type(error).__name__
    return f"{path} cannot be used ({reason})."


def main(arguments: Sequence[str] = ()) -> int:
    """Print what there is to tell; the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m minimistral.course.copies",
        description="Make the copies of the lessons in my-work, or say where a lesson has changed.",
    )
    parser.parse_args(arguments)
    try:
        told = update()
    except NotCopied as error:
        print(error, file=sys.stderr)
        return 1
    print(*[f"Your copies of the lessons lie in {copies_folder()}.", *told], sep="\n", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
