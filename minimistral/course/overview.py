"""How far a learner has come: the exercises done, and what the learner's model can do by now.

What is done is read from `my-work/progress.json`, which the checks write (mine/progress.py), and
whose functions the model has from `my-work/parts`. Nothing is changed here.
"""

from pathlib import Path
from typing import NamedTuple

from minimistral.course.checks import accepted
from minimistral.course.covers import by_stage, cover
from minimistral.course.draw import show_svg
from minimistral.course.draw.course_map import Row, course_map_svg
from minimistral.course.exercises import Task, lessons, nearest, tasks
from minimistral.course.mine.kept import kept
from minimistral.course.mine.progress import (
    RIGHT,
    Attempt,
    attempts,
    progress_file,
    read,
    set_aside,
)


class LessonSoFar(NamedTuple):
    """A lesson, its exercises in order, and what is known of each."""

    number: str
    title: str
    gain: str  # what the learner's model gains in it, as its cover says; "" for nothing
    tasks: list[Task]
    attempts: list[Attempt]

    @property
    def n_done(self) -> int:
        return sum(attempt.state == RIGHT for attempt in self.attempts)

    @property
    def hints(self) -> int:
        return sum(attempt.hints for attempt in self.attempts)

    @property
    def seconds(self) -> int:
        return sum(attempt.seconds for attempt in self.attempts)


class Overview(NamedTuple):
    """The whole course as it stands for this learner."""

    stages: list[tuple[str, list[LessonSoFar]]]
    yours: list[str]  # the functions of the model that are the learner's
    file: Path
    problems: list[str]  # what could not be read, in sentences

    @property
    def lessons(self) -> list[LessonSoFar]:
        return [lesson for _, lessons in self.stages for lesson in lessons]

    def total(self, what: str) -> int:
        """The sum over all lessons of `n_done`, `hints` or `seconds`."""
        return sum(getattr(lesson, what) for lesson in self.lessons)

    def has_gained(self, lesson: LessonSoFar) -> bool:
        """Whether the model has what the lesson's cover promises.

        Where the model takes functions from the lesson, all of them must be the learner's;
        elsewhere all exercises must be done.
        """
        parts = [part for part, number in accepted.LESSONS.items() if number == int(lesson.number)]
        if parts:
            return set(parts) <= set(self.yours)
        return lesson.n_done == len(lesson.tasks)

    def gains(self) -> list[tuple[str, str]]:
        """The numbers of the lessons whose gain the model has, and these gains."""
        found = [lesson for lesson in self.lessons if lesson.gain and self.has_gained(lesson)]
        return [(lesson.number, lesson.gain) for lesson in found]

    def words(self) -> str:
        """All of it in one sentence."""
        n_exercises = sum(len(lesson.tasks) for lesson in self.lessons)
        return (
            f"The map of the course: {self.total('n_done')} of {n_exercises} exercises done, with"
            f" {counted(self.total('hints'), 'hint')}, in {duration(self.total('seconds'))};"
            f" {len(self.yours)} of the {len(accepted.LESSONS)} functions"
            " that your model is made of are yours."
        )


def overview(folder: Path | None = None) -> Overview:
    """What is done of the lessons in a folder. Raises ValueError where there are none."""
    folder = folder or nearest()
    found = lessons(folder)
    if not found:
        raise ValueError(f"{folder} has no lessons; is this an installed clone of the course?")
    file, problems = progress_file(), [_told(aside) for aside in set_aside()]
    try:
        done = attempts()
    except (OSError, ValueError) as error:
        done = {}
        then = "; the next check renames it and begins a new one" * isinstance(error, ValueError)
        problems.append(f"{file} cannot be read: {_reason(error)}{then}.")
    stages = [
        (stage, [_lesson(found[number], done) for number in numbers])
        for stage, numbers in by_stage(found)
    ]
    yours = [part for part in accepted.LESSONS if kept(part)]
    return Overview(stages, yours, file, problems)


def progress_map() -> None:
    """Show the map of the course in a notebook: what is done, as a picture and in a sentence."""
    so_far = overview()
    stages = [
        (stage, [Row(lesson.number, lesson.title, _states(lesson)) for lesson in rows])
        for stage, rows in so_far.stages
    ]
    words = so_far.words()
    show_svg(course_map_svg(stages, words), words)
    for problem in so_far.problems:
        print(problem)


def counted(n: int, noun: str) -> str:
    """
    >>> counted(1, "hint"), counted(0, "hint")
    ('1 hint', '0 hints')
    """
    return f"{n} {noun}{'' if n == 1 else 's'}"


def duration(seconds: int) -> str:
    """
    >>> duration(0), duration(29), duration(300), duration(3900)
    ('0 min', '< 1 min', '5 min', '1 h 05 min')
    """
    if 0 < seconds < 60:
        return "< 1 min"
    hours, minutes = divmod(seconds // 60, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min"


def _lesson(path: Path, done: dict[str, Attempt]) -> LessonSoFar:
    gain = cover(path)["Your model gains"].replace("`", "")
    exercises = tasks(path)
    return LessonSoFar(
        number=path.name[:2],
        title=path.stem[3:].replace("_", " ").capitalize(),
        gain="" if gain.startswith("nothing") else gain,
        tasks=exercises,
        attempts=[done.get(task.name, Attempt()) for task in exercises],
    )


def _states(lesson: LessonSoFar) -> list[tuple[str, str]]:
    pairs = zip(lesson.tasks, lesson.attempts, strict=True)
    return [(task.title, attempt.state) for task, attempt in pairs]


def _told(aside: Path) -> str:
    """Why a file was set aside. It may have been repaired meanwhile."""
    try:
        read(aside)
    except (OSError, ValueError) as error:
        return f"{aside} was set aside: {_reason(error)}."
    return f"{aside} was set aside, but can be read now."


def _reason(error: Exception) -> str:
    return (isinstance(error, OSError) and error.strerror) or str(error)
