"""What a check has accepted is kept for the later lessons."""

import math
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from checked import printed

from minimistral.course.checks import report
from minimistral.course.checks.report import exercise, expect
from minimistral.course.mine import kept as mine

SCALE = 2


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv(mine.FOLDER, str(tmp_path / "my-work"))
    return tmp_path / "my-work"


def helper(x):
    return x if x < 1 else helper(x - 1) + math.floor(1.5)


def uses_all(x):
    def inner(y):
        return np.asarray(y) * SCALE

    return inner([helper(n) for n in range(x)])


def test_a_function_comes_back_with_what_it_uses(work):
    mine.keep("part", uses_all)
    again = mine.kept("part")
    assert again is not uses_all
    np.testing.assert_array_equal(again(5), uses_all(5))
    assert [path.name for path in (work / "parts").iterdir()] == ["part.py"]


def calls_itself(x):
    return x if x < 1 else under_another_name(x - 1) + 1


under_another_name = calls_itself


def uses_another_name(x):
    return under_another_name(x)


@pytest.mark.parametrize("function", [calls_itself, uses_another_name])
def test_a_function_under_another_name_is_kept_under_both(function, work):
    mine.keep("part", function)
    assert mine.kept("part")(5) == 5


def in_torch(x):
    x = torch.tensor(np.asarray(x, float), requires_grad=True)
    return x * 2


def calls_torch(x):
    return in_torch(x), 3


@pytest.mark.parametrize("function", [in_torch, calls_torch])
def test_what_torch_computes_comes_back_in_numpy(function, work):
    mine.keep("part", function)
    for found in (mine.in_numpy(function), mine.kept("part")):
        result = found(np.arange(3))
        first = result[0] if function is calls_torch else result
        assert isinstance(first, np.ndarray) and first.tolist() == [0, 2, 4]
    assert mine.in_numpy(uses_all) is uses_all


def make():
    hidden = 3

    def closed(x):
        return x + hidden

    return closed


@pytest.mark.parametrize("function", [make(), lambda x: x, print, 3, np.add])
def test_what_has_no_whole_source_is_not_kept(function, work):
    with pytest.raises(mine.NotKept):
        mine.keep("part", function)
    assert not work.exists() or not list(work.rglob("*.py"))
    assert mine.kept("part") is None


@pytest.mark.parametrize("text", ["", "1 +", "raise SystemError", "x = 1", "def f(:\n"])
def test_a_part_that_no_longer_runs_is_none(text, work):
    (work / "parts").mkdir(parents=True)
    (work / "parts" / "part.py").write_text(text)
    assert mine.kept("part") is None


def test_a_folder_that_cannot_be_written_is_no_error(work):
    work.write_text("a file in its place")
    with pytest.raises(mine.NotKept, match="the folder cannot be written"):
        mine.keep("part", uses_all)
    assert mine.kept("part") is None


def test_the_folder_stands_beside_the_notebooks(tmp_path, monkeypatch):
    monkeypatch.delenv(mine.FOLDER)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert mine.work_folder() == tmp_path / "my-work"


def twice(x):
    return 2 * x


@exercise("Twice", course=twice, hints=["Add x to itself."])
def doubled(answer):
    expect(answer(3) == 6, "Twice 3 is 6.")
    return "right."


def my_twice(x):
    return x + x


def twice_solution(x):
    return 2 * x


def test_a_check_gives_back_the_learner_s_function_when_it_is_right(capsys):
    assert doubled(my_twice) is my_twice
    assert capsys.readouterr().out == "✓ Twice: right. From here on the lesson uses yours.\n"
    assert mine.kept("doubled")(4) == 8


def test_otherwise_it_gives_back_the_course_s_own(capsys):
    def thrice(x):
        return 3 * x

    def missing(x):
        raise NotImplementedError

    assert doubled(thrice) is twice and doubled(missing) is twice
    lines = capsys.readouterr().out.splitlines()
    assert lines == [
        "✗ Twice: Twice 3 is 6. The lesson uses its own until yours is right.",
        "☐ Twice: not written yet. The lesson uses its own until then.",
    ]
    assert mine.kept("doubled") is None


def test_the_course_s_solution_is_not_the_learner_s(capsys):
    assert doubled(twice_solution) is None
    assert capsys.readouterr().out == "✓ Twice: right.\n"
    assert mine.kept("doubled") is None


STEPS = np.arange(3)


def with_an_array(x):
    return x + int(STEPS[1]) * x


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (lambda x: 2 * x, "it is or uses a lambda; write a def"),
        (with_an_array, "it uses `STEPS` of the notebook, of type ndarray"),
        (np.vectorize(my_twice), "its source cannot be read"),
    ],
)
def test_a_learner_is_told_what_is_not_kept(answer, why, work, capsys, monkeypatch):
    right = "✓ Twice: right. From here on the lesson uses yours.\n"
    told = f"{right}    Not kept for later lessons: {why}.\n"
    work.mkdir()
    for in_notebook, expected in ((True, told), (False, right)):
        monkeypatch.setattr(report, "_in_notebook", lambda there=in_notebook: there)
        assert doubled(answer) is answer
        assert capsys.readouterr().out == expected
    assert mine.kept("doubled") is None


def test_where_the_folder_cannot_be_written_a_learner_is_told(work, capsys, monkeypatch):
    monkeypatch.setattr(report, "_in_notebook", lambda: True)
    work.mkdir()
    (work / "parts").write_text("a file in its place")
    doubled(my_twice)
    line = capsys.readouterr().out.splitlines()[1]
    assert line.startswith("    Not kept for later lessons: the folder cannot be written (")
    (work / "parts").unlink()
    doubled(my_twice)
    assert len(capsys.readouterr().out.splitlines()) == 1 and mine.kept("doubled")(4) == 8


def test_without_a_folder_and_of_the_course_s_solution_nothing_is_told(work, capsys, monkeypatch):
    monkeypatch.setattr(report, "_in_notebook", lambda: True)
    monkeypatch.setattr(report, "record", lambda *arguments: None)  # it would make the folder
    doubled(lambda x: 2 * x)
    work.mkdir()
    monkeypatch.setattr(report, "by_a_solution", lambda answers: True)
    doubled(lambda x: 2 * x)
    assert len(capsys.readouterr().out.splitlines()) == 2


def test_the_smallest_failing_call_can_be_pasted():
    from minimistral.course.checks import lesson_02

    def my_rotate(x, positions, theta):
        return x

    lines = printed(lesson_02.rotate, my_rotate)
    assert lines[1].strip().startswith("my_rotate(np.array([["), lines
    space = {"my_rotate": my_rotate, "np": np}
    got = eval(lines[1], space)
    assert np.array2string(got, precision=4, suppress_small=True) in lines[2]
    assert lines[3].split()[0] == "expected"


config = SimpleNamespace(window_size=4)


def window_of(cache):
    return cache.config.window_size


def window_of_this():
    return config.window_size


def test_an_attribute_is_no_name_of_the_notebook(work):
    """`cache.config` has nothing to do with a `config` that the lesson defines."""
    mine.keep("window_of", window_of)
    assert "import" not in mine.source_of(window_of)
    assert mine.kept("window_of")(SimpleNamespace(config=config)) == 4
    with pytest.raises(mine.NotKept, match="it uses `config` of the notebook, of type Simple"):
        mine.keep("window_of_this", window_of_this)  # no file holds an object
