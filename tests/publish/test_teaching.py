"""What a lecturer gets: the citation, the plans, the exam, the tutor's contract."""

import doctest
import importlib
import importlib.util
import math
import re
import tomllib
from collections import Counter
from datetime import date
from pathlib import Path

import numpy as np
import pytest
import yaml

from minimistral import ModelConfig, paper, tokenizer
from minimistral.checkpoint.names import to_pairs
from minimistral.cli import COMMANDS
from minimistral.config import visible_pairs
from minimistral.course import exercises
from minimistral.evaluation import decisions
from minimistral.evaluation.errors import difference, share
from minimistral.np import window_mask
from minimistral.publish import site, syllabus
from minimistral.rule import slot_of

ROOT = Path(__file__).resolve().parents[2]
TEACHING = (ROOT / "docs" / "teaching.md").read_text(encoding="utf-8")
ANSWERS = ROOT / "docs" / "_for_teachers" / "exam_answers.md"
QUESTIONS = dict(
    re.findall(
        r"^### (\d\d\.\d) · (.+?)(?=\n##|\Z)",
        (ROOT / "docs" / "exam_questions.md").read_text(encoding="utf-8"),
        re.M | re.S,
    )
)
TUTOR = (ROOT / "TUTOR.md").read_text(encoding="utf-8")

spec = importlib.util.spec_from_file_location("wrong_answers", ROOT / "tools" / "wrong_answers.py")
wrong_answers = importlib.util.module_from_spec(spec)
spec.loader.exec_module(wrong_answers)


def test_the_citation_is_that_of_this_project():
    """The keys that CFF 1.2.0 demands, and what must agree with pyproject.toml."""
    cited = yaml.safe_load((ROOT / "CITATION.cff").read_text(encoding="utf-8"))
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert {"cff-version", "message", "title", "authors"} <= cited.keys()
    assert cited["cff-version"] == "1.2.0" and cited["title"].startswith(project["name"])
    assert cited["version"] == project["version"] and cited["license"] == project["license"]
    (reference,) = cited["references"]
    assert {"type", "title", "authors"} <= reference.keys() and len(reference["authors"]) == 18
    assert all({"family-names", "given-names"} == author.keys() for author in reference["authors"])
    assert reference["identifiers"][0]["value"] == f"arXiv:{paper.ARXIV}"
    assert reference["year"] <= date.today().year


# The plans


def test_the_tables_of_the_page_are_computed(capsys):
    assert syllabus.main(["--check"]) == 0, capsys.readouterr().out


def test_a_table_that_is_old_is_found_and_written_again(tmp_path, monkeypatch, capsys):
    text = syllabus.PAGE.read_text(encoding="utf-8")
    page = tmp_path / "teaching.md"
    page.write_text(text.replace("| 09:30 |", "| 09:00 |"), encoding="utf-8")
    monkeypatch.setattr(syllabus, "PAGE", page)
    assert syllabus.main(["--check"]) == 1 and "is old" in capsys.readouterr().out
    assert syllabus.main([]) == 0 and page.read_text(encoding="utf-8") == text


@pytest.mark.parametrize("lost", ["<!-- table: six weeks -->", "<!-- end -->"])
def test_a_table_without_its_marks_is_refused(lost):
    text = syllabus.PAGE.read_text(encoding="utf-8").replace(lost, "")
    with pytest.raises(ValueError, match="must hold one table"):
        syllabus.with_tables(text)


def test_the_minutes_are_those_of_the_notes():
    """A lecture is as long as its items together, which may be spread over two lectures."""
    for number in exercises.lessons():
        lesson = syllabus.lesson(number)
        assert sum(lesson.lectures) == sum(lesson.items.values()), number
        assert sum(task.minutes for task in lesson.tasks) < lesson.alone


@pytest.mark.parametrize(
    ("weeks", "most"), [(syllabus.SIX_WEEKS, 100), (syllabus.TWELVE_WEEKS, 100)]
)
def test_a_plan_takes_lessons_in_order_and_fits(weeks, most):
    numbers = [block.lesson for week in weeks for block in week]
    assert numbers == sorted(numbers)
    assert all(sum(map(syllabus.lecture_minutes, week)) <= most for week in weeks)


def test_twelve_weeks_are_the_whole_course():
    blocks = [block for week in syllabus.TWELVE_WEEKS for block in week]
    total = sum(sum(syllabus.lesson(number).lectures) for number in exercises.lessons())
    assert sum(map(syllabus.lecture_minutes, blocks)) == total


def test_every_question_to_ask_stands_where_the_notes_ask():
    rows = re.findall(r"^\| (\d\d) \| (.+?) \| .+\?\"? \| ", TEACHING, re.M)
    assert {number: sum(row[0] == number for row in rows) for number in exercises.lessons()} == (
        dict.fromkeys(exercises.lessons(), 2)
    )
    for number, heading in rows:
        assert heading in syllabus.lesson(number).items, (number, heading)


def test_the_points_of_a_project_are_twenty():
    for project in TEACHING.split("## Three projects")[1].split("## An exam")[0].split("**· ")[1:]:
        assert sum(map(int, re.findall(r"^\| (\d+) \|", project, re.M))) == 20


# What goes wrong


def test_the_page_of_wrong_answers_has_every_exercise_once():
    page = wrong_answers.PAGE.read_text(encoding="utf-8")
    named = re.findall(r"^### Exercise \d+ · .+ \(`(\S+)`\)$", page, re.M)
    assert named == [task.name for task in exercises.all_tasks()]
    assert doctest.testmod(wrong_answers).failed == 0
    sections = page.split("\n### ")[1:]
    assert all(section.count("\n| `") >= 2 for section in sections)


@pytest.mark.parametrize("lesson", ["04", "06", "15"])
def test_the_page_of_wrong_answers_says_what_the_checks_say(lesson):
    """A few lessons; `python tools/wrong_answers.py --check` compares all."""
    page = wrong_answers.PAGE.read_text(encoding="utf-8")
    for section in wrong_answers.sections(lesson):
        assert section in page


# The exam


def given(number, **names):
    """The names that the code of an exam question defines."""
    code = re.search(r"```python\n(.*?)```", QUESTIONS[number], re.S)[1]
    names = {"np": np, "print": lambda *_: None, **names}
    exec(code, names)
    return names


def test_every_question_has_an_answer():
    answers = re.findall(r"^### (\d\d\.\d)$", ANSWERS.read_text(encoding="utf-8"), re.M)
    assert answers == list(QUESTIONS) and len(answers) >= 40
    assert {number[:2] for number in answers} == set(exercises.lessons())
    kinds = {text.split(" (")[0] for text in QUESTIONS.values()}
    assert kinds == {"Short answer", "Calculation", "Find the bug", "Code reading"}


def test_what_an_answer_computes_is_so():
    names = {
        "config": ModelConfig.mistral_7b(), "given": given, "np": np, "math": math,
        "Counter": Counter, "window_mask": window_mask, "visible_pairs": visible_pairs,
        "slot_of": slot_of, "tokenizer": tokenizer, "to_pairs": to_pairs, "share": share,
        "difference": difference, "false_rate_of": decisions.false_rate_of,
        "precision_at": decisions.precision_at, "upper_bound": decisions.upper_bound,
    }  # fmt: skip
    text = re.sub(r"^```.*$", "", ANSWERS.read_text(encoding="utf-8"), flags=re.M)
    example = doctest.DocTestParser().get_doctest(text, names, ANSWERS.name, str(ANSWERS), 0)
    failed, tried = doctest.DocTestRunner().run(example)
    assert failed == 0 and tried > 50


def test_no_answer_is_on_the_web_page_or_in_a_lesson(tmp_path):
    """Answers lie in a folder that the web page leaves out, and in no notebook."""
    site.gather([], tmp_path / "source")
    there = {path.name for path in (tmp_path / "source").rglob("*.md")}
    assert {"teaching.md", "exam_questions.md"} <= there
    assert not {"exam_answers.md", "wrong_answers.md"} & there
    lessons = "\n".join(path.read_text("utf-8") for path in exercises.lessons().values())
    for answer in ANSWERS.read_text(encoding="utf-8").split("\n### ")[1:]:
        sentences = [
            line for line in answer.splitlines()[1:] if len(line) > 60 and ">>>" not in line
        ]
        assert not any(sentence in lessons for sentence in sentences)


# The tutor's contract


def test_the_lines_that_the_tutor_quotes_are_those_of_the_checks(capsys):
    talks = re.findall(
        r"^### Exercise (\d) of lesson (\d\d)\n\n```python\n(.+?)```\n\n```text\n(.+?)```\n",
        TUTOR, re.M | re.S,
    )  # fmt: skip
    assert len(talks) == 3
    for number, lesson, code, quoted in talks:
        check = importlib.import_module(f"minimistral.course.checks.lesson_{lesson}")
        exec(code, {"np": np, "check": check})
        assert capsys.readouterr().out == quoted, lesson
        (task,) = [t for t in exercises.all_tasks() if t.name.startswith(lesson)
                   and t.number == int(number)]  # fmt: skip
        assert f"check.{task.check}(" in code
        talk = TUTOR.split(f"### Exercise {number} of lesson {lesson}\n")[1].split("\n## ")[0]
        right = talk.split("**Right help.**")[1].split("\n### ")[0]
        assert f"`check.{task.check}.hint()`" in right  # rule 3


def test_the_tutor_quotes_hints_and_sections_that_are_there():
    said = " ".join(TUTOR.replace("\n> ", " ").split())
    for number, name in (("06", "store"), ("08", "layer")):
        check = getattr(importlib.import_module(f"minimistral.course.checks.lesson_{number}"), name)
        assert f'*"{check.hints[0]}"' in said
    titles = {number: prose(path) for number, path in exercises.lessons().items()}
    assert "## Is this machine ready?" in titles["00"]
    assert "## What happens to one token" in titles["00"]
    assert "## One mask rule still holds" in titles["06"]


def prose(path):
    cells = exercises.read_cells(path)
    return "\n".join(cell["source"] for cell in cells if cell["cell_type"] == "markdown")


def test_the_tutor_knows_a_trap_of_every_lesson_and_ten_questions():
    traps = re.findall(r"^\| (\d\d) \| .+ \| \".+\?\" \|$", TUTOR, re.M)
    assert traps == list(exercises.lessons())
    questions, answers = TUTOR.split("## Ten questions to test yourself")[1].split("<details>")
    for part in (questions, answers):
        assert re.findall(r"^(\d+)\. ", part, re.M) == [str(n) for n in range(1, 11)]


def test_the_tutor_promises_nothing_that_a_student_lacks():
    """Students have neither the folded solutions nor the folder docs."""
    body = TUTOR.split("\n## The rules\n")[1]
    for line in re.findall(r".*(?<![\w-])docs/.*", body):
        assert "in the whole course" in line
    assert not re.search(r"\bthe folded solution (?:stands|is)", body)


def test_the_tutor_is_told_where_the_learner_starts():
    assert "TUTOR.md" in prose(exercises.lessons()["00"]) and "TUTOR.md" in TEACHING


def test_the_commands_of_the_page_are_there():
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"`make (\w+)`", TEACHING):
        assert re.search(rf"^{target}:", makefile, re.M), target
    commands = set(re.findall(r"`minimistral (\w+)", TEACHING))
    assert {"progress", "marks"} <= commands <= set(COMMANDS)
