"""The parts of a Mistral that the learner has written, for the lesson that puts them together."""

import importlib
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from minimistral.course.mine.kept import kept

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


def course_part(name: str) -> Callable[..., Any]:
    """The course's own function for an exercise that other lessons build on."""
    module = importlib.import_module(f"{__package__}.lesson_{LESSONS[name]:02}")
    course: Callable[..., Any] = getattr(module, name).course
    return course


def _dev(name):
    import numpy as np
    from minimistral.course.mine import parts as ps
    from minimistral.course.checks import lesson_06, lesson_07, lesson_01
    from minimistral.np.mask import window_mask

    def project(x, wq, wk, wv, H, G):
        return tuple(ps.split_heads(x @ w.T, n) for w, n in ((wq, H), (wk, G), (wv, G)))

    def join(heads, wo):
        return ps.merge_heads(heads) @ wo.T

    def store(keys, positions, key, i):
        keys, positions = keys.copy(), positions.copy()
        keys[i % len(keys)] = key
        positions[i % len(keys)] = i
        return keys, positions

    def chunk_mask(held, chunk, W):
        k = np.concatenate([held, chunk])
        return window_mask(chunk, k, W) & (k >= 0)

    return dict(
        project=project,
        join=join,
        store=store,
        chunk_mask=chunk_mask,
        rotate=ps.rotate,
        grouped=ps.attend,
        mask=window_mask,
        softmax=lesson_01._softmax,
    )[name]


_real = course_part


def course_part(name):
    try:
        part = _real(name)
    except AttributeError:
        part = None
    return part or _dev(name)
