"""The map of the course: what it shows is what is recorded, in a picture, in text and as data."""

import json
import xml.etree.ElementTree as ET
from datetime import UTC, datetime, timedelta

import pytest
from matplotlib.font_manager import FontProperties
from matplotlib.textpath import TextPath

from minimistral import cli
from minimistral.course import exercises, overview
from minimistral.course.checks import accepted
from minimistral.course.covers import STAGES
from minimistral.course.draw import course_map
from minimistral.course.mine import kept
from minimistral.course.mine.progress import OPEN, RIGHT, WRONG, record

SVG = "{http://www.w3.org/2000/svg}"
TASKS = exercises.all_tasks()
START = datetime(2026, 3, 1, 14, 0, tzinfo=UTC)


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER, str(tmp_path / "my-work"))
    return tmp_path / "my-work"


def part(x):
    return x


def do(lesson, state, minutes=5, hints=0):
    """All exercises of a lesson, each for some minutes."""
    for n, task in enumerate(task for task in TASKS if task.lesson == lesson):
        record(task.name, OPEN, now=START + timedelta(minutes=n * minutes))
        then = START + timedelta(minutes=(n + 1) * minutes)
        if hints:
            record(task.name, hints=hints, now=then)
        record(task.name, state, now=then)


@pytest.fixture
def begun():
    """Lesson 00 done, 01 with its part, 03 without two of three, 09 tried."""
    do("00", RIGHT)
    do("01", RIGHT, hints=2)
    do("03", RIGHT, minutes=30)  # a break each time
    do("09", WRONG, minutes=10)
    for name in ("softmax", "project"):
        kept.keep(name, part)


# Its numbers


def test_nothing_is_done_in_the_beginning(work):
    so_far = overview.overview()
    assert [lesson.number for lesson in so_far.lessons] == sorted(exercises.lessons())
    assert [stage for stage, _ in so_far.stages] == [stage for stage, _ in STAGES]
    assert sum(len(lesson.tasks) for lesson in so_far.lessons) == len(TASKS)
    assert so_far.words() == (
        f"The map of the course: 0 of {len(TASKS)} exercises done, with 0 hints, in 0 min;"
        f" 0 of the {len(accepted.LESSONS)} functions that your model is made of are yours."
    )
    assert so_far.gains() == [] and so_far.problems == [] and not work.exists()


def test_what_was_recorded_is_counted(begun):
    so_far = overview.overview()
    n = {
        number: sum(task.lesson == number for task in TASKS) for number in ("00", "01", "03", "09")
    }
    done = {lesson.number: lesson.n_done for lesson in so_far.lessons if lesson.n_done}
    assert done == {number: n[number] for number in ("00", "01", "03")}
    assert so_far.total("hints") == 2 * n["01"]
    assert so_far.total("seconds") == 300 * (n["00"] + n["01"]) + 600 * n["09"]
    assert "2 of the 11 functions" in so_far.words()


def test_a_lesson_gives_the_model_what_its_cover_says(begun):
    """Where the model takes functions, they must be there; the record alone is not enough."""
    assert [number for number, _ in overview.overview().gains()] == ["01"]
    for name in ("grouped", "join"):
        kept.keep(name, part)
    do("09", RIGHT)
    gains = dict(overview.overview().gains())
    assert sorted(gains) == ["01", "03", "09"] and gains["01"].startswith("softmax, which")


def test_every_function_that_a_lesson_gives_must_be_the_learner_s(work):
    """Lesson 03 gives three: what was done with two of them is no gain."""
    lesson = overview.LessonSoFar("03", "Heads", "heads that share keys", [], [])
    for yours, gains in ((["project", "join"], []), (["project", "grouped", "join"], ["03"])):
        so_far = overview.Overview([("It looks", [lesson])], yours, work, [])
        assert [number for number, _ in so_far.gains()] == gains


def test_a_folder_without_lessons_is_named(tmp_path):
    with pytest.raises(ValueError, match="has no lessons"):
        overview.overview(tmp_path)


# The picture


def squares(svg, kind):
    """How many boxes have a path like that of a state."""
    boxes = [g for g in ET.fromstring(svg).iter(f"{SVG}g") if g.get("class") is None]
    paths = [g.find(f"{SVG}path") for g in boxes]
    drawn = {"☐": None, "✗": "l6 6m0 -6l-6 6", "✓": "l2.5 3l4.5 -6"}[kind]
    return sum(
        path is None if drawn is None else path is not None and path.get("d").endswith(drawn)
        for path in paths
    )


def shown(capsys):
    """What a notebook would get."""
    sent = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(overview, "show_svg", lambda *picture: sent.append(picture))
        overview.progress_map()
    return *sent[0], capsys.readouterr().out


def test_the_picture_has_a_box_for_every_exercise(begun, capsys):
    svg, words, printed = shown(capsys)
    root = ET.fromstring(svg)
    assert root.find(f"{SVG}title").text == words == overview.overview().words()
    n_done, n_tried = overview.overview().total("n_done"), 9
    numbers = [squares(svg, state) for state in (RIGHT, WRONG, OPEN)]
    assert numbers == [n_done + 1, n_tried + 1, len(TASKS) - n_done - n_tried + 1]  # and the key
    names = [title.text for title in root.iter(f"{SVG}title")]
    assert "Lesson 01, Attention and its mask: 3 of 3 exercises done" in names
    assert "Exercise 2, Store a key: open" in names and printed == ""
    assert squares(svg, OPEN) == svg.count(": open<") + 1


def test_no_title_runs_into_the_boxes_and_nothing_leaves_the_picture(capsys):
    svg = ET.fromstring(shown(capsys)[0])
    width, height = float(svg.get("width")), float(svg.get("height"))
    font = FontProperties(family="DejaVu Sans")  # wider than the others
    for row in svg.iter(f"{SVG}g"):
        if row.get("class") == "mm-lesson":
            number, title, count = row.findall(f"{SVG}text")
            boxes = [float(rect.get("x")) for rect in row.iter(f"{SVG}rect")]
            end = TextPath((0, 0), title.text, size=13, prop=font).get_extents().x1
            assert float(title.get("x")) + end < min(boxes) - 4, title.text
            start = TextPath((0, 0), count.text, size=13, prop=font).get_extents().width
            assert max(boxes) + course_map.BOX + 4 < float(count.get("x")) - start, title.text
            assert float(number.get("x")) < float(title.get("x"))
    for rect in svg.iter(f"{SVG}rect"):
        x, y = (float(rect.get(name, 0)) for name in "xy")
        assert 0 <= x <= width - float(rect.get("width"))
        assert 0 <= y <= height - float(rect.get("height"))


def test_a_state_must_be_one_of_three():
    row = course_map.Row("00", "Start here", [("One layer", "done")])
    with pytest.raises(ValueError, match=r"state of 'One layer' must be ☐, ✗ or ✓, not 'done'"):
        course_map.course_map_svg([("Its size", [row])], "words")
    svg = course_map.course_map_svg([("Its size", [row._replace(exercises=[])])], "words")
    assert ET.fromstring(svg).get("width") == str(course_map.LEFT + course_map.COLUMN)


# The command


def test_the_command_prints_the_map_in_80_columns(begun, work, capsys):
    assert cli.main(["progress"]) == 0
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert max(len(line) for line in lines if str(work) not in line) <= 80
    assert "  01 Attention and its mask    ✓✓✓          3 of 3   6 hints       15 min" in lines
    assert "  09 Tokens and templates      ✗✗✗✗✗✗✗✗✗    0 of 9   0 hints   1 h 30 min" in lines
    assert "  08 The whole model           ☐☐☐☐☐        0 of 5" in lines
    assert "  01 softmax, which turns the scores of tokens into weights" in lines
    assert "  functions of yours in it: softmax, project" in lines
    assert lines[-1] == f"kept in {work / 'progress.json'}"
    assert all(stage in lines for stage, _ in STAGES) and "\x1b" not in out


def test_the_command_prints_the_same_as_json(begun, capsys):
    assert cli.main(["progress", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    exercises_of = {lesson["lesson"]: lesson["exercises"] for lesson in facts["lessons"]}
    assert facts["exercises"] == len(TASKS) == sum(map(len, exercises_of.values()))
    assert facts["done"] == sum(
        e["state"] == RIGHT for found in exercises_of.values() for e in found
    )
    assert exercises_of["01"][0] == {
        "name": "01.softmax", "title": TASKS[3].title, "stars": TASKS[3].stars, "state": "✓",
        "tries": 1, "hints": 2, "seconds": 300, "done": "2026-03-01T14:05:00+00:00",
    }  # fmt: skip
    assert [part for part, yours in facts["functions"].items() if yours] == ["softmax", "project"]
    assert [found["lesson"] for found in facts["lessons"] if found["gained"]] == ["01"]


def test_the_json_names_no_folder_of_the_computer(work, capsys):
    work.mkdir()
    for name in ("progress.json", "progress.set-aside-1.json"):
        (work / name).write_text("[]")
    assert cli.main(["progress", "--json"]) == 0
    out = capsys.readouterr().out
    facts = json.loads(out)
    assert facts["file"] == "my-work/progress.json"
    assert sorted(problem.split()[0] for problem in facts["problems"]) == [
        "my-work/progress.json", "my-work/progress.set-aside-1.json",
    ]  # fmt: skip
    assert str(work.parent) not in out


def test_the_command_says_where_nothing_is_kept_yet(work, capsys):
    assert cli.main(["progress"]) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[-1] == f"nothing in {work / 'progress.json'} yet"
    assert "  nothing yet\n  functions of yours in it: none yet\n" in out and not work.exists()


def test_a_wrong_option_is_one_line(capsys):
    assert cli.main(["progress", "--all"]) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1 and "--all" in error


def test_a_file_that_cannot_be_read_is_said_and_left_alone(work, capsys):
    work.mkdir()
    file = work / "progress.json"
    file.write_text("[]")
    told = f"{file} cannot be read: it is not a record of this course; the next check renames it"
    assert shown(capsys)[2] == f"{told} and begins a new one.\n"
    assert cli.main(["progress"]) == 0
    assert told in capsys.readouterr().out and file.read_text() == "[]"


def test_a_file_that_was_set_aside_is_said(work, capsys):
    work.mkdir()
    for content in ("{", '{"version": 7}', '{"version": 1, "exercises": {}, "touched": {}}'):
        (work / "progress.set-aside-1.json").write_text(content)
        cli.main(["progress"])
    lines = [line for line in capsys.readouterr().out.splitlines() if "set aside" in line]
    aside = work / "progress.set-aside-1.json"
    assert lines == [
        f"{aside} was set aside: it is damaged: not JSON in UTF-8.",
        f"{aside} was set aside: a newer version of the course has written it (format 7).",
        f"{aside} was set aside, but can be read now.",
    ]
