"""The parts of a Mistral that the learner has written, for the lesson that puts them together."""

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from minimistral.course.checks.cached import attend_cached
from minimistral.course.mine.kept import kept
from minimistral.course.mine.reader import Reader

LESSONS = {
    "softmax": 1, "rotate": 2, "project": 3, "grouped": 3, "join": 3, "mask": 4, "store": 6,
    "chunk_mask": 7, "rms_norm": 8, "feed_forward": 8, "layer": 8,
}  # fmt: skip


def my_parts(**given: Callable[..., Any]) -> SimpleNamespace:
    """The functions a Mistral is made of: yours where a check has accepted one, else the course's.

    given: functions by the names in LESSONS that are taken as they are, such as those of the
    current lesson; for the others the check's record in `my-work/parts` is asked. Prints a line
    per part that says whose it is. Raises TypeError for another name.

    >>> vars(my_parts(softmax=max))["softmax"]           # doctest: +ELLIPSIS
    lesson 01: softmax       yours
    ...
    <built-in function max>
    """
    for name in given:
        if name not in LESSONS:
            raise TypeError(f"a part must be one of {', '.join(LESSONS)}, not {name}")
    parts = SimpleNamespace()
    for name, lesson in LESSONS.items():
        course = course_part(name)
        part = given.get(name) or kept(name) or course
        whose = "the course's" if part is course else "yours"
        print(f"lesson {lesson:02}: {name:13} {whose}")
        setattr(parts, name, part)
    return parts


def my_reader(model: Any) -> Reader:
    """Your model of lesson 08 with its cache: a function that reads a list of ids, gives logits.

    model: a Mistral of `minimistral.np` with a window, whose weights are used. Where a check has
    accepted a function of yours it is taken, else the course's; prints whose they are. Each call
    of the function continues the same text.
    """
    parts, yours = SimpleNamespace(), []
    course = {name: course_part(name) for name in LESSONS} | {"attend_cached": attend_cached}
    for name, part in course.items():
        mine = kept(name)
        setattr(parts, name, mine or part)
        yours += [name] * (mine is not None)
    print(f"of {len(course)} functions {len(yours)} are yours, the others the course's")
    return Reader(model, parts)


def course_part(name: str) -> Callable[..., Any]:
    """The course's own function for an exercise that other lessons build on."""
    module = importlib.import_module(f"{__package__}.lesson_{LESSONS[name]:02}")
    course: Callable[..., Any] = getattr(module, name).course
    return course
