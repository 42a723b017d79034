"""Minutes for a lecturer: the tables in docs/teaching.md, from what the lessons say of themselves.

    python -m minimistral.publish.syllabus            write the tables again
    python -m minimistral.publish.syllabus --check    write nothing; exit status 1 if one is old

The length of a lecture stands in the first line of a lesson's notes for the lecturer, the minutes
of its items behind their headings, what a learner alone needs on its cover, and the minutes of an
exercise in its heading. Only which lessons are taken when is written here.
"""

import argparse
import re
import sys
from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

from minimistral.course import exercises
from minimistral.publish.slides import items_of, unfolded

PAGE = Path(__file__).resolve().parents[2] / "docs" / "teaching.md"
LENGTH = re.compile(r"(?:One lecture|Two lectures) of (\d+)(?: and (\d+))? minutes")


class Lesson(NamedTuple):
    """What a lesson says of its time."""

    title: str  # "04 · Let each token look at no more than W tokens"
    lectures: tuple[int, ...]  # the minutes of each lecture, without the exercises left for home
    items: dict[str, float]  # the headings of the notes, and the minutes of each
    alone: int  # minutes of a learner alone, with the exercises
    tasks: list[exercises.Task]


class Block(NamedTuple):
    """Something of a lesson that is taken at one time."""

    lesson: str
    part: int = 0  # 1 or 2 of a lesson that is two lectures; 0 for all of it
    headings: tuple[str, ...] = ()  # only these, where some are named
    tasks: tuple[str, ...] = ()  # exercises that are done in the room


class Break(NamedTuple):
    """Time in a day that no lesson needs."""

    what: str
    minutes: int


START = 9 * 60 + 30  # of the one-day workshop, in minutes after midnight
ONE_DAY: tuple[Block | Break, ...] = (
    Block("00"),
    Break("break", 10),
    Block("01", tasks=("softmax",)),
    Block("02", headings=("Only the distance counts",)),
    Break("break", 10),
    Block("04", part=1, tasks=("mask",)),
    Break("lunch", 60),
    Block("05", headings=("The rule", "The cone")),
    Block("06", tasks=("slot_and_evicted", "store", "slots_seen")),
    Break("break", 15),
    Block("07", part=1, tasks=("chunk_mask",)),
    Block("10", headings=("The rule as a loop", "The tiny model speaks")),
)
SIX_WEEKS = (
    (Block("00"), Block("01")),
    (Block("02"), Block("03")),
    (Block("04"),),
    (Block("05"), Block("06")),
    (Block("07"),),
    (Block("08"), Block("10", headings=("The rule as a loop", "The tiny model speaks"))),
)
TWELVE_WEEKS = (
    (Block("00"), Block("01")),
    (Block("02"), Block("03")),
    (Block("04"),),
    (Block("05"), Block("06")),
    (Block("07"),),
    (Block("08"),),
    (Block("09"),),
    (Block("10"),),
    (Block("11"),),
    (Block("12"), Block("13", part=1)),
    (Block("13", part=2), Block("14")),
    (Block("15"),),
)


@cache
def lesson(number: str) -> Lesson:
    """What a lesson says of its time.

    >>> four = lesson("04")
    >>> four.lectures, four.items["The rule"], four.alone, len(four.tasks)
    ((35, 35), 4.0, 100, 4)
    """
    path = exercises.lessons()[number]
    cells = exercises.read_cells(path)
    notes = [c["source"] for c in cells if "teacher" in c["metadata"].get("tags", [])]
    rest, items = items_of("\n".join(map(unfolded, notes)))
    said = LENGTH.search(rest)
    alone = re.search(r"^\| \*\*Minutes\*\* \| (\d+)", cells[0]["source"], re.M)
    if said is None or alone is None:
        raise ValueError(f"{path.name} must say the minutes of its lectures and of a learner alone")
    return Lesson(
        title=cells[0]["source"].splitlines()[0].removeprefix("# "),
        lectures=tuple(int(minutes) for minutes in said.groups() if minutes),
        items={item["heading"]: float(item["minutes"] or 0) for item in items},
        alone=int(alone[1]),
        tasks=exercises.tasks(path),
    )


def lecture_minutes(block: Block) -> float:
    """How long a block is lectured.

    >>> lecture_minutes(Block("04")), lecture_minutes(Block("04", part=1))
    (70, 35)
    >>> lecture_minutes(Block("05", headings=("The rule", "The cone")))
    6.0
    """
    found = lesson(block.lesson)
    if block.headings:
        return sum(found.items[heading] for heading in block.headings)
    return found.lectures[block.part - 1] if block.part else sum(found.lectures)


def exercise_minutes(block: Block) -> int:
    """How long its exercises take in the room.

    >>> exercise_minutes(Block("06", tasks=("slot_and_evicted", "store")))
    12
    """
    minutes = {task.check: task.minutes for task in lesson(block.lesson).tasks}
    return sum(minutes[check] for check in block.tasks)


def title(block: Block, name: str = "") -> str:
    """The lesson, by its number or as it is named, and which part or headings of it.

    >>> title(Block("04", part=1)), title(Block("05", headings=("The cone",)))
    ('04, part 1', '05, only "The cone"')
    """
    name = name or block.lesson
    if block.headings:
        return f"{name}, only " + " and ".join(f'"{heading}"' for heading in block.headings)
    return f"{name}, part {block.part}" if block.part else name


def clock(minutes: float) -> str:
    """A time of day, rounded up to five minutes.

    >>> clock(9 * 60 + 31)
    '09:35'
    """
    rounded = 5 * -(-int(-(-minutes // 1)) // 5)
    return f"{rounded // 60:02d}:{rounded % 60:02d}"


def table(head: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def lessons_table() -> str:
    """All lessons: their lectures, exercises and points, and what a learner alone needs."""
    rows = []
    for number in exercises.lessons():
        found = lesson(number)
        rows.append([
            found.title, " + ".join(map(str, found.lectures)), len(found.tasks),
            sum(task.minutes for task in found.tasks), sum(task.points for task in found.tasks),
            found.alone,
        ])  # fmt: skip
    lectures = sum(sum(lesson(number).lectures) for number in exercises.lessons())
    columns = [sum(int(str(row[n])) for row in rows) for n in range(2, 6)]
    total: list[object] = ["**all**", lectures, *columns]
    head = ["lesson", "lectures", "exercises", "their minutes", "points", "alone, in minutes"]
    return table(head, [*rows, total])


def day_table() -> str:
    """The one-day workshop: when each block begins, and how long it takes."""
    now, rows = float(START), []
    for block in ONE_DAY:
        if isinstance(block, Break):
            rows.append([clock(now), block.what, "", "", block.minutes])
            now += block.minutes
            continue
        lecture, in_room = lecture_minutes(block), exercise_minutes(block)
        chosen = [task for task in lesson(block.lesson).tasks if task.check in block.tasks]
        numbers = ", ".join(str(task.number) for task in chosen) or "–"
        rows.append([
            clock(now), title(block, lesson(block.lesson).title), f"{lecture:g}", numbers,
            f"{lecture + in_room:g}",
        ])  # fmt: skip
        now += lecture + in_room
    rows.append([clock(now), "end", "", "", ""])
    head = ["begins", "lesson", "lecture", "exercises in the room", "minutes together"]
    return table(head, rows)


def weeks_table(weeks: Sequence[Sequence[Block]]) -> str:
    """A row per week: its lectures, and the minutes of the exercises of these lessons.

    Exercises of a lesson in two weeks stand where its second part is. A lesson of which only some
    headings are shown brings none.
    """
    rows = []
    for n, week in enumerate(weeks, start=1):
        whole = [block for block in week if not block.headings and block.part != 1]
        tasks = [task for block in whole for task in lesson(block.lesson).tasks]
        rows.append([
            n, "; ".join(map(title, week)), f"{sum(map(lecture_minutes, week)):g}",
            len(tasks), sum(task.minutes for task in tasks), sum(task.points for task in tasks),
        ])  # fmt: skip
    head = ["week", "lessons", "lecture minutes", "exercises", "their minutes", "points"]
    return table(head, rows)


TABLES: dict[str, Callable[[], str]] = {
    "lessons": lessons_table,
    "one day": day_table,
    "six weeks": lambda: weeks_table(SIX_WEEKS),
    "twelve weeks": lambda: weeks_table(TWELVE_WEEKS),
}


def with_tables(text: str) -> str:
    """The page with its tables made again.

    Raises ValueError where the mark of a table is missing, has no end of its own, or stands there
    more than once.
    """
    for name, make in TABLES.items():
        found = re.findall(rf"<!-- table: {name} -->\n(?:(?!<!--).)*<!-- end -->", text, re.S)
        if len(found) != 1 or text.count(f"<!-- table: {name} -->") != 1:
            raise ValueError(f"{PAGE.name} must hold one table {name!r} with an end of its own")
        text = text.replace(found[0], f"<!-- table: {name} -->\n{make()}\n<!-- end -->")
    return text


def main(arguments: list[str]) -> int:
    """Write the tables, or compare them with --check. Returns the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="compare, and write nothing")
    args = parser.parse_args(arguments)
    text = PAGE.read_text(encoding="utf-8")
    new = with_tables(text)
    if text == new:
        print(f"{PAGE.name}: as computed")
        return 0
    if args.check:
        print(f"{PAGE.name}: a table is old; run `python -m minimistral.publish.syllabus`")
        return 1
    PAGE.write_text(new, encoding="utf-8", newline="\n")
    print(f"{PAGE.name}: written")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
