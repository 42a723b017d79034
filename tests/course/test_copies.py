"""The learner's own copies: made once, never written over, brought along when a lesson changes."""

import contextlib
import errno
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minimistral.course import carried, copies
from minimistral.course.exercises import NOTEBOOKS, lessons, tasks
from minimistral.course.mine import kept

STUB = "def {0}(x):\n    raise NotImplementedError  # your code"
NAME, NEW, NEW_2 = (f"06_cache{end}.ipynb" for end in ("", ".new", ".new-2"))


def cell(key, text, kind="code", tags=()):
    rest = {"outputs": [], "execution_count": None} if kind == "code" else {}
    return {"id": key, "cell_type": kind, "source": text, "metadata": {"tags": [*tags]}, **rest}


def exercise(number, name):
    head = f"### Exercise {number} · {name} (★☆☆, 5 minutes)"
    return [
        cell(f"task-{name}", head, "markdown"),
        cell(name, STUB.format(name)),
        cell(f"check-{name}", f"check.{name}({name})"),
        cell(f"solution-{name}", f"# A solution\ncheck.{name}(abs)", tags=["solution"]),
    ]


def notebook(cells):
    return {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": cells}


def lesson(*more):
    """A small lesson with two exercises."""
    cells = [cell("title", "# Cache", "markdown"), cell("size", "W = 4"), *exercise(1, "store")]
    return [*cells, cell("rule", "## The rule", "markdown"), *more, *exercise(2, "read")]


def write(path, cells, **rest):
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(notebook(cells) | rest), encoding="utf-8")


class Course:
    """A folder with one lesson, and the learner's copies of it."""

    def __init__(self, folder):
        self.lessons, self.work = folder / "notebooks", folder / "my-work"
        self.change(lesson())

    def change(self, cells):
        write(self.lessons / NAME, cells)

    def start(self):
        return copies.update(self.lessons, self.work)

    def read(self, name=NAME):
        return carried.parse((self.work / name).read_bytes())

    def texts(self, name=NAME):
        return {one["id"]: one["source"] for one in self.read(name)["cells"]}

    def save(self, found, name=NAME):
        (self.work / name).write_text(carried.dump(found), encoding="utf-8")

    def type(self, name=NAME, **texts):
        """Replace the text of cells, as a learner does."""
        found = self.read(name)
        for one in found["cells"]:
            one["source"] = texts.get(one["id"].replace("-", "_"), one["source"])
        self.save(found, name)

    def names(self):
        return sorted(path.name for path in self.work.iterdir())


@pytest.fixture
def course(tmp_path):
    return Course(tmp_path)


CHANGED = lesson(cell("more", "print('new')"))


# Copies are made once


def test_a_copy_has_the_cells_of_its_lesson(course):
    assert course.start() == []
    given = carried.parse((course.lessons / NAME).read_bytes())
    assert course.read()["cells"] == given["cells"] and course.names() == [NAME]
    nbformat.validate(nbformat.read(course.work / NAME, as_version=4))


def test_a_copy_that_is_there_is_left_as_it_is(course):
    course.start()
    course.type(store="mine")
    before = (course.work / NAME).read_bytes()
    assert course.start() == [] and (course.work / NAME).read_bytes() == before


def test_all_lessons_of_the_course_are_copied_whole(tmp_path):
    assert copies.update(folder=tmp_path) == copies.update(folder=tmp_path) == []
    for path in lessons().values():
        data = (tmp_path / path.name).read_bytes()
        copy, given = carried.parse(data), carried.parse(path.read_bytes())
        assert copy["cells"] == given["cells"]
        assert carried.is_as_written(copy) and carried.own_cells(copy) == set()
        assert len(carried.read_lesson(path.name, data).tasks) == len(tasks(path)) > 2


def test_a_copy_saved_by_jupyter_is_as_written(course):
    """Text in lines, another form of JSON, other metadata, and no line end at the end."""
    out = {"output_type": "stream", "name": "stdout", "text": "a\nb\n"}
    course.change([{**one, "outputs": [out]} if one["id"] == "size" else one for one in lesson()])
    course.start()
    found = json.loads((course.work / NAME).read_bytes())
    found["metadata"]["language_info"] = {"version": "3.13"}
    found["cells"][1]["metadata"]["collapsed"] = False
    found["cells"][1]["outputs"][0]["text"] = ["a\n", "b\n"]
    (course.work / NAME).write_bytes(json.dumps(found, indent=1).replace("\n", "\r\n").encode())
    assert carried.is_as_written(course.read())
    course.change(CHANGED)
    assert "replaced" in course.start()[0] and course.names() == [NAME]
    assert course.texts()["more"] == "print('new')"


# A lesson that changes


def test_the_new_lesson_lies_beside_the_old_one_with_the_answers(course):
    course.start()
    course.type(store="def store(x):\n    return x", rule="## My rule")
    found = course.read()
    found["cells"].insert(2, cell("mine", "W = 5", tags=["x"]))
    course.save(found)
    before = (course.work / NAME).read_bytes()
    course.change(CHANGED)
    told = course.start()
    assert told == [
        f"{NAME}: the lesson has changed. {NEW} is the new one, with your work"
        " (exercise 1, 1 cell of your own)."
        ' Only in the old one: your changes in "The rule".',
        "Delete an old copy once it holds nothing that you need; with the next start the one after"
        " it takes its name.",
    ]
    assert (course.work / NAME).read_bytes() == before
    texts = course.texts(NEW)
    assert list(texts)[:4] == ["title", "size", "mine", "task-store"] and "more" in texts
    assert texts["store"] == "def store(x):\n    return x" and texts["mine"] == "W = 5"
    assert texts["rule"] == "## The rule" and texts["read"] == STUB.format("read")
    nbformat.validate(nbformat.read(course.work / NEW, as_version=4))
    again = (course.work / NEW).read_bytes()
    assert course.start() == told and (course.work / NEW).read_bytes() == again


def test_a_changed_task_is_named(course):
    course.start()
    course.type(store="mine")
    course.change(
        [{**one, "source": "y = None"} if one["id"] == "store" else one for one in CHANGED]
    )
    assert "Look at exercise 1 again" in course.start()[0]
    assert course.texts(NEW)["store"] == "mine"


def test_what_was_only_run_is_not_replaced(course):
    course.start()
    found = course.read()
    found["cells"][1]["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "14 min"}]
    course.save(found)
    course.change(CHANGED)
    assert course.start()[0].endswith(f"{NEW} is the new one.") and course.read() == found


def test_a_new_lesson_follows_the_old_copy_until_it_is_edited(course):
    course.start()
    course.type(store="first")
    course.change(CHANGED)
    course.start()
    course.type(store="second")
    course.start()
    assert course.texts(NEW)["store"] == "second" and course.names() == [NAME, NEW]
    course.type(NEW, read="third")
    course.type(store="fourth")
    assert course.start()[0] == (
        f"{NEW} is the newer copy of {NAME}. Some answers in {NAME} are not in it: look before you"
        " delete that."
    )
    assert (course.texts(NEW)["store"], course.texts(NEW)["read"]) == ("second", "third")
    course.change(lesson(cell("other", "1")))
    course.start()
    assert course.names() == sorted([NAME, NEW, NEW_2])
    assert (course.texts(NEW_2)["store"], course.texts(NEW_2)["read"]) == ("second", "third")
    assert course.texts()["store"] == "fourth"


def test_answers_that_only_the_new_lesson_holds_stay(course):
    """Whoever empties the old copy, to go on in the new one, has not edited that."""
    course.start()
    course.type(store="mine")
    course.change(CHANGED)
    course.start()
    shutil.copy(course.lessons / NAME, course.work / NAME)
    assert course.start()[0].endswith(f"cells that {NAME} no longer has.")
    assert course.texts(NEW)["store"] == "mine"


def test_the_new_lesson_takes_the_name_of_a_deleted_copy(course):
    course.start()
    course.type(store="mine")
    course.change(CHANGED)
    course.start()
    (course.work / NAME).unlink()
    assert course.start()[0] == f"{NAME} is the new lesson now; it was {NEW}."
    assert course.names() == [NAME] and course.start() == []
    course.change(lesson())  # not edited since the course wrote it, but with an answer in it
    assert NEW in course.start()[0] and course.texts()["store"] == course.texts(NEW)["store"]


def test_the_older_of_two_new_lessons_is_not_called_the_new_one(course):
    newest = NAME.replace(".ipynb", ".new-2.ipynb")
    course.start()
    course.type(store="mine")
    course.change(CHANGED)
    course.start()
    course.type(NEW, store="mine, too")
    course.change([*CHANGED, cell("even-more", "print('newer')")])
    course.start()
    assert course.names() == sorted([NAME, NEW, newest])
    before = course.texts(NEW)
    (course.work / NAME).unlink()
    told = course.start()
    assert told[0] == f"{NAME} was {NEW} before; the newest lesson is {newest}."
    assert told[-1].endswith("with the next start the one after it takes its name.")
    assert course.texts() == before and course.names() == sorted([NAME, newest])
    (course.work / NAME).unlink()
    assert course.start() == [f"{NAME} is the new lesson now; it was {newest}."]


def test_a_lesson_that_changes_back_needs_no_second_copy(course):
    course.start()
    course.type(store="mine")
    course.change(CHANGED)
    course.start()
    course.change(lesson())
    assert course.start()[0] == f"{NAME} is up to date, and {NEW} can be deleted."


def test_a_lesson_that_is_removed_leaves_its_copy(course):
    course.start()
    before = (course.work / NAME).read_bytes()
    write(course.lessons / "07_other.ipynb", lesson())
    (course.lessons / NAME).unlink()
    assert course.start() == [] and (course.work / NAME).read_bytes() == before


def test_a_copy_that_does_not_say_what_it_was_made_from(course):
    """It is current while only answers differ; else everything that differs is carried."""
    course.start()
    course.type(store="mine")
    found = course.read()
    del found["metadata"][carried.KEY]
    course.save(found)
    assert course.start() == []
    course.change(CHANGED)
    course.start()
    assert course.texts(NEW)["store"] == "mine" and course.read() == found
    for said in (None, [], {"version": 1}, {"version": "", "cells": [], "answers": 3}):
        assert carried.base_of({"metadata": {carried.KEY: said}}) is None


def test_an_answer_without_its_task_is_carried_as_a_cell(course):
    course.start()
    course.type(store="mine", read="also mine")
    course.change([{**one, "source": "told"} if one["id"] == "read" else one for one in lesson()[:2]
                   + lesson()[6:]])  # fmt: skip
    course.start()
    texts = course.texts(NEW)
    assert list(texts.values())[2] == "mine" and texts["read"] == "told"
    assert texts["own-1"] == "also mine" and "check-store" not in texts


def test_an_answer_joined_with_its_check_runs_after_the_empty_one(course):
    course.start()
    found = course.read()
    found["cells"][3:5] = [cell("joined", "def store(x): ...\ncheck.store(store)")]
    course.save(found)
    course.change(CHANGED)
    course.start()
    assert list(course.texts(NEW))[2:6] == ["task-store", "store", "joined", "check-store"]


def test_a_copy_whose_ids_are_lost(course):
    """An older tool drops them: cells of the lesson are known by their text, others are own."""
    course.start()
    course.type(store="mine", read="also mine")
    found = course.read()
    for one in found["cells"]:
        del one["id"]
    course.save(found)
    course.change(CHANGED)
    course.start()
    texts = course.texts(NEW)
    assert list(texts)[2:6] == ["task-store", "store", "own-1", "check-store"]
    assert list(texts)[-4:] == ["read", "own-2", "check-read", "solution-read"]
    assert (texts["own-1"], texts["own-2"]) == ("mine", "also mine")
    assert list(texts.values()).count("W = 4") == 1


def test_work_in_the_lessons_of_before_goes_along(course):
    """Who wrote in notebooks/ before there were copies, has the answers in the copy."""
    git = ["git", "-C", str(course.lessons), "-c", "user.name=a", "-c", "user.email=a@b"]
    for command in (["init", "-q"], ["add", "."], ["commit", "-qm", "one"]):
        subprocess.run([*git, *command], check=True)
    cells = lesson()
    cells[3]["source"] = "mine"
    course.change([*cells, cell("own", "also mine")])
    assert course.start() == [f"{NAME} also holds what has changed in notebooks/ since the last"
                              " commit."]  # fmt: skip
    assert course.start() == []
    subprocess.run([*git, "checkout", "-q", "."], check=True)
    assert course.start() == [] and course.texts()["store"] == "mine"
    course.change(CHANGED)
    course.start()
    assert course.texts(NEW)["store"] == "mine" and course.texts(NEW)["own"] == "also mine"


def test_work_in_the_lessons_of_before_without_git(course):
    cells = lesson()
    cells[3]["source"] = "mine"
    course.change(cells)
    course.start()
    course.change(CHANGED)
    course.start()
    assert course.texts()["store"] == course.texts(NEW)["store"] == "mine"


# Whatever a learner does, no text of the learner's is lost

LETTERS = st.text("ab=\n ", min_size=1, max_size=5)
NUMBERS = st.integers(0, 30)
EDITS = st.tuples(
    st.sampled_from(["type", "add", "delete", "split", "join", "copy", "move", "strip", "kind"]),
    NUMBERS, NUMBERS,
)  # fmt: skip


def edit(cells, what, n, m, text):
    """Do to the cells what one can do in JupyterLab, or in an editor; the new text, if any."""
    one = cells[n % len(cells)] if cells else cell("x", "x")
    place = m % (len(cells) + 1)
    if what == "type":
        one["source"] = text
    elif what == "add":
        cells.insert(place, cell(f"own-{m}", text))
    elif what == "delete" and len(cells) > 1:
        cells.remove(one)
    elif what == "split":
        cells.insert(cells.index(one) + 1 if cells else 0, cell(f"half-{n}-{m}", text + " half"))
        one["source"] = text + " other half"
    elif what == "join" and len(cells) > 2:
        at = n % (len(cells) - 1)
        first, second = cells[at : at + 2]
        cells[at : at + 2] = [cell(f"joined-{n}-{m}", f"{first['source']}\n\n{second['source']}")]
    elif what == "copy":
        cells.insert(place, {**one, "source": text})  # with the same id
    elif what == "move" and cells:
        cells.remove(one)
        cells.insert(min(place, len(cells)), one)
    elif what == "strip":
        one.pop("id", None)
    elif what == "kind":
        one["cell_type"] = "markdown"


def change_lesson(cells, numbers):
    """Another lesson: cells removed, told otherwise, or put in."""
    for n in numbers:
        key, m = cells[n % len(cells)]["id"], n % len(cells)
        if n % 3 == 0 and len(cells) > 3:
            del cells[m]
        elif n % 3 == 1:
            cells[m] = {**cells[m], "source": cells[m]["source"] + f"\n# {n}"}
        elif f"new-{n}" not in {one["id"] for one in cells}:
            cells.insert(m, cell(f"new-{n}", f"print({key!r}, {n})"))
    return cells


ROUNDS = st.tuples(st.lists(EDITS, max_size=5), st.lists(NUMBERS, max_size=4), st.booleans())


def in_order(names):
    return sorted(names, key=lambda name: (len(name), name))


@given(st.lists(ROUNDS, min_size=1, max_size=3))
def test_no_text_of_the_learner_is_lost(tmp_path_factory, rounds):
    folder = tmp_path_factory.mktemp("course")
    course, cells, count = Course(folder), lesson(), 0
    course.start()
    for edits, numbers, in_newest in rounds:
        name = in_order(course.names())[-1 if in_newest else 0]
        found = course.read(name)
        for what, n, m in edits:
            count += 1
            edit(found["cells"], what, n, m, f"typed {count}")
        course.save(found, name)
        before = {name: (course.work / name).read_bytes() for name in course.names()}
        cells = change_lesson(cells, numbers)
        course.change(cells)
        course.start()
        for name, data in before.items():
            check_kept(carried.parse(data), course.read(name))
        check_newest(course, cells)
        same = {path.name: path.read_bytes() for path in course.work.iterdir()}
        course.start()
        assert same == {path.name: path.read_bytes() for path in course.work.iterdir()}
    shutil.rmtree(folder)


def check_kept(before, after):
    """A file that was edited is as it was; in others the learner's cells are still there."""
    if carried.is_as_written(before):
        assert carried.own_cells(before) <= carried.own_cells(after)
    else:
        assert before == after


def check_newest(course, cells):
    """The new lesson has all cells of the lesson in order, and all texts of the copy before it."""
    names = in_order(course.names())
    newest, before = course.read(names[-1]), course.read(names[-2:][0])
    now = carried.read_lesson(NAME, (course.lessons / NAME).read_bytes())
    if len(names) == 1 or carried.is_current(before, now) or not carried.is_as_written(newest):
        return
    nbformat.validate(nbformat.from_dict(json.loads(carried.dump(newest))))
    keys, wanted = [one["id"] for one in newest["cells"]], [one["id"] for one in cells]
    assert [key for key in keys if key in wanted] == wanted
    if not carried.own_cells(newest) <= carried.own_cells(carried.carry(now, before).notebook):
        return  # cells were taken out of the old copy, so the new one is left as it is
    base, texts = carried.base_of(before), [one["source"] for one in newest["cells"]]
    others = base.cells.keys() - base.answers  # their changes stay in the old file
    for one in before["cells"]:
        known = carried.mark(one["source"]) in base.cells.values() or one.get("id") in others
        assert known or one["source"] in texts


# What stands in the way


@pytest.mark.parametrize("text", [b"", b"<<<<<<< HEAD\n", b"[]", b"\xff\xfe", b'{"cells": 3}',
                                  b'{"nbformat": 3, "cells": []}', b"[" * 10**5,
                                  b'{"nbformat": 4, "cells": [], "metadata": null}',
                                  b'{"nbformat": 4, "cells": [{"cell_type": "x", "source": ""}]}',
                                  b'{"nbformat": 4, "cells": [{"cell_type": "raw", "source": 1}]}',
                                  b'{"nbformat": 4, "cells":'
                                  b' [{"cell_type": "raw", "source": "\\ud800"}]}'])  # fmt: skip
def test_a_copy_that_cannot_be_read_is_named_and_left_alone(course, text):
    course.work.mkdir()
    (course.work / NAME).write_bytes(text)
    course.change(CHANGED)
    assert course.start() == [
        f"{NAME} is no notebook that can be read, so it is left alone. Rename or delete it, and the"
        " next start makes a new one."
    ]
    assert (course.work / NAME).read_bytes() == text and course.names() == [NAME]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "<<<<<<< HEAD\n",
        '{"nbformat": 4, "cells": [{}]}',
        json.dumps(notebook([cell("a", "1"), cell("a", "2")])),
    ],
)
def test_a_lesson_that_cannot_be_read_is_named(course, text):
    course.start()
    (course.lessons / NAME).write_text(text)
    assert course.start() == [
        f"{NAME} is no notebook that can be read, so there is no new copy of it."
    ]
    assert course.names() == [NAME]


def test_a_lesson_whose_exercises_are_not_whole_is_copied(course):
    course.change([one for one in lesson() if not one["id"].startswith("solution")])
    assert course.start() == [] and course.names() == [NAME]


def test_a_folder_without_lessons(tmp_path):
    with pytest.raises(copies.NotCopied, match="There is no lesson in"):
        copies.update(tmp_path / "notebooks", tmp_path / "my-work")
    assert list(tmp_path.iterdir()) == []


def test_a_file_in_the_place_of_the_folder(course):
    course.work.write_text("mine")
    with pytest.raises(copies.NotCopied, match=r"my-work cannot be used \(it is a file, and a f"):
        course.start()
    assert course.work.read_text() == "mine"


@pytest.mark.parametrize("step", ["write", "link"])
def test_a_full_disk_leaves_nothing_behind(course, monkeypatch, step):
    course.start()
    course.type(store="mine")
    course.change(CHANGED)
    write(course.lessons / "07_other.ipynb", lesson())
    before = (course.work / NAME).read_bytes()

    def full(*arguments, **_):
        raise OSError(errno.ENOSPC, "No space left on device", str(arguments[0]))

    with monkeypatch.context() as patch:
        patch.setattr(*((Path, "write_text") if step == "write" else (copies, "_link")), full)
        with pytest.raises(copies.NotCopied, match=r"07_other.ipynb cannot be used \(No space"):
            course.start()
        (course.lessons / "07_other.ipynb").unlink()
        assert "No space left on device" in course.start()[0]
    assert course.names() == [NAME] and (course.work / NAME).read_bytes() == before


def test_a_file_that_appears_meanwhile_is_not_written_over(course, monkeypatch):
    """Two starts at once: the name is taken between the look and the writing."""
    course.work.mkdir()
    path = course.work / NAME
    for has_links in (True, False):
        if not has_links:
            monkeypatch.delattr(os, "link")
        path.write_text("theirs")
        with pytest.raises(FileExistsError):
            copies.place(path, "ours")
        assert path.read_text() == "theirs" and course.names() == [NAME]
        path.unlink()
        copies.place(path, "ours")
        assert path.read_text() == "ours" and course.names() == [NAME]


def test_a_copy_saved_meanwhile_is_not_written_over(course):
    course.start()
    copy = copies._read(course.work / NAME)
    course.type(store="mine")
    assert not copies.swap(copy, "ours") and course.texts()["store"] == "mine"
    assert course.names() == [NAME]


def test_many_starts_at_once(course):
    code = "import sys; from pathlib import Path; from minimistral.course.copies import update;"
    code += "print(*update(Path(sys.argv[1]), Path(sys.argv[2])))"
    command = [sys.executable, "-P", "-c", code, course.lessons, course.work]
    for cells in (lesson(), CHANGED):
        course.change(cells)
        running = [subprocess.Popen(command) for _ in range(3)]
        assert [one.wait() for one in running] == [0, 0, 0] and course.names()[0] == NAME
        with contextlib.suppress(FileNotFoundError):
            (course.work / NEW).unlink()
        assert course.names() == [NAME]
        course.type(store="mine")


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_links(course):
    """A folder elsewhere is used; a copy elsewhere is left alone; a broken one is told of."""
    elsewhere = course.work.parent / "elsewhere"
    elsewhere.mkdir()
    course.work.symlink_to(elsewhere)
    course.start()
    (elsewhere / NAME).rename(elsewhere / "kept.ipynb")
    (elsewhere / NAME).symlink_to("kept.ipynb")
    course.change(CHANGED)
    assert NEW in course.start()[0] and (elsewhere / NAME).is_symlink()
    (elsewhere / NEW).unlink()
    (elsewhere / "kept.ipynb").unlink()
    assert "a link to kept.ipynb, which is not there" in course.start()[0]
    assert (elsewhere / NAME).is_symlink()


@pytest.mark.skipif(os.name != "posix", reason="links need rights on Windows")
def test_a_link_to_nowhere_is_told_in_plain_words(course):
    told = r"my-work cannot be used \(it is a link to nowhere, which is not there\)\. Delete"
    course.work.symlink_to("nowhere")
    with pytest.raises(copies.NotCopied, match=told):
        course.start()
    course.work.unlink()
    course.start()
    (course.work / NAME).unlink()
    (course.work / NAME).symlink_to("nowhere")
    line = f"{course.work / NAME} cannot be used (it is a link to nowhere, which is not there)."
    assert course.start() == [f"{line} Delete the link, and the next start makes it anew."]
    (course.work / NAME).unlink()
    assert course.start() == [] and course.names() == [NAME]


# Where they lie


def test_the_kernel_of_a_copy_finds_the_folder(tmp_path, monkeypatch):
    monkeypatch.delenv(kept.FOLDER, raising=False)
    work = tmp_path / "my-work"
    work.mkdir()
    monkeypatch.chdir(work)
    assert kept.work_folder() == work
    (tmp_path / "notebooks").mkdir()
    assert kept.work_folder() == copies.copies_folder(tmp_path / "notebooks") == work
    monkeypatch.setenv(kept.FOLDER, "other")
    assert copies.copies_folder() == work / "other"


def test_every_relative_link_of_a_lesson_leads_somewhere_from_a_copy():
    import re

    names = {path.name for path in lessons().values()}
    for path in lessons().values():
        for one in carried.parse(path.read_bytes())["cells"]:
            if one["cell_type"] != "markdown":
                continue
            for link in re.findall(r"\]\(([^)#\s]+)|(?:src|href)=\"([^\"#]+)\"", one["source"]):
                target = "".join(link)
                if "://" not in target:
                    there = (NOTEBOOKS / target).exists()  # as far from the root as my-work
                    assert target in names or (target.startswith("../") and there), target


def test_the_command_says_where_the_copies_are(course, monkeypatch, capsys):
    monkeypatch.setenv(kept.FOLDER, str(course.work))
    assert copies.main() == 0
    assert capsys.readouterr().out == f"Your copies of the lessons lie in {course.work}.\n"
    assert len(course.names()) == len(lessons())
    shutil.rmtree(course.work)
    for arguments, code in ((["--help"], 0), (["bogus"], 2)):
        with pytest.raises(SystemExit) as ended:
            copies.main(arguments)
        assert ended.value.code == code and not course.work.exists()
    capsys.readouterr()
    course.work.write_text("")
    assert copies.main() == 1 and "cannot be used" in capsys.readouterr().err
