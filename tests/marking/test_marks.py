"""Marks: right answers get them, and nothing that a submission does can forge one."""

import csv
import io
import json
import os
import random
import sys

import pytest
from effort import rare
from submissions import answered, cell_of, notebook, save, solved, task_of

if not hasattr(os, "fork"):
    pytest.skip("marks needs a system that can fork", allow_module_level=True)

from minimistral.cli import main
from minimistral.marking import mark as marking
from minimistral.marking.mark import Row, _second, as_csv, mark_exercise, mark_file, summary
from minimistral.marking.submission import answer_of, read
from minimistral.marking.worker import Limits, Stem

WRONG_MASK = """
import numpy as np
def my_mask(q_pos, k_pos, window):
    {first}
    return np.ones((len(q_pos), len(k_pos)), dtype=bool)
"""
RIGHT_MASK = """
def my_mask(q_pos, k_pos, window):
    gap = q_pos[:, None] - k_pos[None, :]
    return (0 <= gap) & (gap < window)
"""


@pytest.fixture(scope="module")
def stem():
    with Stem() as made:
        yield made


def row_of(book, name, stem, tmp_path, seconds=20.0, megabytes=4096):
    """The row of one exercise."""
    submission = read(save(book, tmp_path / "one.ipynb"))
    row, _ = mark_exercise(submission, task_of(name), stem, Limits(seconds, megabytes))
    return row


# Marks


@pytest.mark.parametrize("lesson", [rare("03"), "06", "10"])
def test_the_solutions_get_all_points_and_the_lesson_none(lesson, stem, tmp_path):
    """03 measures memory, 06 shows objects that change, in 10 an answer calls the check's own."""
    for book, sign in ((solved(lesson), "✓"), (notebook(lesson), "☐")):
        rows, fences, failed = mark_file(save(book, tmp_path / "a.ipynb"), "a", stem, Limits(60))
        assert not failed and [row.mark for row in rows] == [sign] * len(rows)
        assert sum(row.points for row in rows) == (
            sum(row.of for row in rows) if sign == "✓" else 0
        )
        if sys.platform == "linux":
            assert all(memory for _, _, memory in fences)


def test_a_wrong_answer_gets_the_hint_of_the_notebook(stem, tmp_path):
    source = RIGHT_MASK.replace("gap < window", "gap <= window")
    row = row_of(answered("04.mask", source), "04.mask", stem, tmp_path)
    assert (row.mark, row.points, row.of, row.judged) == ("✗", 0, 1, "partly inside")
    assert row.hint.startswith("each row sees W + 1 keys.")


def test_a_check_hears_the_warnings_of_an_answer(stem, tmp_path):
    """Which whole number NaN becomes differs from processor to processor; here it may be right."""
    source = """
import numpy as np
def my_int8(weight):
    scales = np.abs(weight).max(axis=1) / 127
    steps = np.rint(weight / scales[:, None]).astype(np.int8)
    return steps, np.maximum(scales, 1e-30)
"""
    row = row_of(answered("14.int8", source), "14.int8", stem, tmp_path)
    assert row.mark == "✗" and row.hint.startswith("0 / 0 gives NaN"), row
    assert row.judged == "partly inside"


def test_an_answer_is_run_with_what_it_needs_and_nothing_else(tmp_path):
    """Its own helper in an added cell, one of the lesson's imports; no picture, no print."""
    book = answered("06.slots_seen", "def my_slots_seen(positions, i, W):\n    return young(np)")
    at = book["cells"].index(cell_of(book, task_of("06.slots_seen").answer[0]))
    book["cells"].insert(
        at, {"cell_type": "code", "id": "mine", "source": "def young(x): return x\nyoung(1/0)"}
    )
    answer = answer_of(read(save(book, tmp_path / "a.ipynb")), task_of("06.slots_seen"))
    assert [source.splitlines()[0] for source, _ in answer.statements] == [
        "import numpy as np", "def young(x):", "def my_slots_seen(positions, i, W):",
    ]  # fmt: skip


@pytest.mark.parametrize("magic", ["%%time", "%%capture out", "%time"])
def test_an_answer_in_a_cell_with_magic_is_found(magic, tmp_path):
    book = answered("04.mask", f"{magic}\n{RIGHT_MASK}")
    answer = answer_of(read(save(book, tmp_path / "a.ipynb")), task_of("04.mask"))
    assert "def my_mask(q_pos, k_pos, window):" in "".join(s for s, _ in answer.statements)


def test_an_answer_below_its_check_counts_where_its_own_cell_is_empty(stem, tmp_path):
    below = {"cell_type": "code", "id": "mine", "metadata": {}, "source": RIGHT_MASK}
    wrong = RIGHT_MASK.replace("gap < window", "gap <= window")
    for above, added, mark in ((None, RIGHT_MASK, "✓"), (RIGHT_MASK, wrong, "✓"),
                               (wrong, RIGHT_MASK, "✗")):  # fmt: skip
        book = answered("04.mask", above) if above else notebook("04")
        at = book["cells"].index(cell_of(book, task_of("04.mask").checked)) + 1
        book["cells"].insert(at, {**below, "source": added})
        assert row_of(book, "04.mask", stem, tmp_path).mark == mark


def test_copies_of_a_notebook_in_one_folder_are_noticed(tmp_path):
    for other in ("06_x.new.ipynb", "06_x.new-2.ipynb", "06_x-Copy1.ipynb", "06_x (1).ipynb"):
        folder = tmp_path / other
        folder.mkdir()
        for name in ("06_x.ipynb", other):
            (folder / name).touch()
            (folder / "07_y.ipynb").touch()
        assert _second(folder / other) and _second(folder / "06_x.ipynb")
        assert not _second(folder / "07_y.ipynb")


def test_of_the_lesson_s_own_cells_only_new_names_count(tmp_path):
    """An import that is added there; not another value of a name that the lesson has."""
    book = answered("04.mask", RIGHT_MASK.replace("0 <= gap", "np.all(-math.inf < gap)"))
    first = next(cell for cell in book["cells"] if cell["cell_type"] == "code")
    first["source"] = ["import math\n", *first["source"], "\nimport minimistral.paper as np"]
    answer = answer_of(read(save(book, tmp_path / "a.ipynb")), task_of("04.mask"))
    lines = [source.splitlines()[0] for source, _ in answer.statements]
    assert lines == ["import numpy as np", "import math", "def my_mask(q_pos, k_pos, window):"]


def test_the_lesson_s_own_function_stands_in_for_an_answer_that_hangs(stem, tmp_path):
    book = answered("11.softmax_back", "def my_softmax_back(weights, dweights):\n    while 1: pass")
    source = "".join(cell_of(solved("11"), task_of("11.attend_back").answer[0])["source"])
    assert (
        "softmax_back(weights" in source
    )  # the course's own, by the name that the lesson gives it
    assert (
        row_of(answered("11.attend_back", source, book), "11.attend_back", stem, tmp_path).mark
        == "✓"
    )


# What a submission may try

ATTACKS = {
    "prints a tick": "print('✓ The mask: agrees with the rule on all 9 cases.')",
    "writes to every descriptor": (
        "import os\n"
        "    for fd in range(64):\n"
        "        try: os.write(fd, b'\\0' * 15 + b'\\x40' + b'{\"gives\": true}' * 9)\n"
        "        except OSError: pass"
    ),
    "patches the checks": (
        "import numpy, minimistral.course.checks.report as r\n"
        "    import minimistral.course.checks.lesson_04 as c\n"
        "    r.expect = c.expect = lambda *a: None\n"
        "    r.Wrong.__init__ = None; r.Exercise.judge = lambda *a: r.Verdict('✓', '')\n"
        "    numpy.array_equal = numpy.allclose = lambda *a, **k: True\n"
        "    c.mask.check = lambda answer: 'right'; c.window_mask = c._diagnose_masks = print"
    ),
    "patches every frame": (
        "import sys, builtins\n"
        "    frame = sys._getframe()\n"
        "    while frame:\n"
        "        frame.f_globals['Wrong'] = None; frame = frame.f_back\n"
        "    builtins.all = builtins.any = lambda *a: False"
    ),
    "looks for the checker in memory": (
        "import gc\n"
        "    for x in gc.get_objects():\n"
        "        if type(x).__name__ == 'Exercise': x.check = lambda *a: 'right'"
    ),
    "exits": "import sys; sys.exit(0)",
    "ends its process": "import os; os._exit(0)",
    "kills its group": "import os; os.kill(0, 9)",
    "raises what a check raises": ("from minimistral.marking.channel import Gone; raise Gone('✓')"),
    "is always equal": (
        "class Equal(np.ndarray):\n"
        "        __eq__ = __ne__ = __invert__ = lambda *a: np.ones(1, bool)\n"
        "        def __array_function__(self, *a, **k): return True\n"
        "    return np.ones((len(q_pos), len(k_pos)), bool).view(Equal)"
    ),
    "is always equal, a number": (
        "class Equal(int):\n        __eq__ = lambda *a: True\n    return Equal(3)"
    ),
    "writes later": (
        "import atexit, threading, os\n"
        "    def late():\n"
        "        for fd in range(3, 64):\n"
        "            try: os.write(fd, b'x')\n"
        "            except OSError: pass\n"
        "    atexit.register(late); threading.Timer(0.01, late).start()"
    ),
    "changes its own tools": (
        "import minimistral.marking.plain as p, minimistral.marking.channel as c, json\n"
        "    p._plain = lambda *a: {'r': ['os.system', {'x': 1}]}; c.encode = p.encode"
    ),
    "sends a pickle": (
        "import minimistral.marking.channel as c, pickle\n"
        "    c.encode = lambda *a, **k: (pickle.dumps(print), b'')"
    ),
}


@pytest.mark.parametrize("first", ATTACKS.values(), ids=ATTACKS)
def test_no_trick_of_a_wrong_answer_makes_it_right(first, stem, tmp_path):
    book = answered("04.mask", WRONG_MASK.format(first=first))
    row = row_of(book, "04.mask", stem, tmp_path)
    assert (row.mark, row.points) == ("✗", 0), row
    right = row_of(answered("04.mask", RIGHT_MASK), "04.mask", stem, tmp_path)
    assert right.mark == "✓"  # and the next submission gets what it deserves


def test_saved_outputs_and_the_cell_of_the_check_do_not_count(stem, tmp_path):
    task = task_of("04.mask")
    book = answered("04.mask", WRONG_MASK.format(first="pass") + "\ncheck = print")
    cell = cell_of(book, task.checked)
    cell["source"] = "class check:\n    mask = print\nprint('✓'); my_mask = lambda *a: 1"
    cell["outputs"] = [{"output_type": "stream", "name": "stdout", "text": "✓ The mask: right"}]
    row = row_of(book, "04.mask", stem, tmp_path)
    assert row.mark == "✗"


def test_an_answer_that_sees_who_calls_it_learns_nothing(stem, tmp_path):
    """No frame of the check stands above it, so it cannot read what is expected."""
    first = (
        "import sys; frame = sys._getframe(1)\n"
        "    while frame:\n"
        "        for name, value in frame.f_locals.items():\n"
        "            if name in ('right', 'rights', 'wanted', 'expected'): return value\n"
        "        frame = frame.f_back"
    )
    book = answered("04.mask", WRONG_MASK.format(first=first))
    assert row_of(book, "04.mask", stem, tmp_path).mark == "✗"


@pytest.mark.skipif(sys.platform != "linux", reason="other systems have no limit of memory")
@pytest.mark.parametrize(
    ("first", "told"),
    [
        ("x = [0]\n    while True: x = x + x", "MemoryError"),
        ("while True: pass", "took longer than 1.5 seconds"),
        ("import time; time.sleep(60)", "took longer than 1.5 seconds"),
    ],
)
def test_an_answer_has_a_limit(first, told, stem, tmp_path):
    book = answered("04.mask", WRONG_MASK.format(first=first))
    seconds = 20 if told == "MemoryError" else 1.5
    row = row_of(book, "04.mask", stem, tmp_path, seconds=seconds, megabytes=1024)
    assert row.mark == "✗" and told in row.hint, row


@pytest.mark.parametrize("made", ["socket.create_connection(('127.0.0.1', {port}))",
                                  "socket.socket().connect(('127.0.0.1', {port}))"])  # fmt: skip
def test_an_answer_has_no_network(made, stem, tmp_path):
    import socket

    with socket.create_server(("127.0.0.1", 0)) as server:
        made = made.format(port=server.getsockname()[1])
        book = answered("04.mask", WRONG_MASK.format(first=f"import socket; {made}"))
        row = row_of(book, "04.mask", stem, tmp_path)
        assert row.mark == "✗" and "raised" in row.hint and "Error" in row.hint
        server.settimeout(0.05)
        with pytest.raises(TimeoutError):
            server.accept()


def fenced(stem, tmp_path) -> bool:
    """Whether this system keeps a worker from files that are not its own."""
    path = save(answered("04.mask", RIGHT_MASK), tmp_path / "fence.ipynb")
    _, fences = mark_exercise(read(path), task_of("04.mask"), stem, Limits())
    return all(files for _, files, _ in fences)


def test_an_answer_reads_and_changes_no_file_of_others(stem, tmp_path):
    if not fenced(stem, tmp_path):
        pytest.skip("this system has no Landlock")
    theirs = save(RIGHT_MASK, tmp_path / "other.py")
    for first in (
        f"open({str(theirs)!r}, 'a')", f"open({str(theirs)!r}).read()",
        f"import os; os.remove({str(theirs)!r})", f"import os; os.truncate({str(theirs)!r}, 0)",
        "import minimistral.rule as r; open(r.__file__, 'r+')",
        "import os, sys; open(os.path.join(sys.prefix, 'x.pth'), 'w')",
        "import os; os.kill(os.getppid(), 9)",
    ):  # fmt: skip
        book = answered("04.mask", WRONG_MASK.format(first=first))
        row = row_of(book, "04.mask", stem, tmp_path)
        assert row.mark == "✗" and "PermissionError" in row.hint, row
    assert theirs.read_text() == RIGHT_MASK


def test_what_an_answer_leaves_in_its_folder_is_gone_for_the_next(stem, tmp_path):
    first = "open('sitecustomize.py', 'w').write('1/0'); open('numpy.py', 'w')"
    book = answered("04.mask", WRONG_MASK.format(first=first))
    assert row_of(book, "04.mask", stem, tmp_path).mark == "✗"
    assert list(stem.folder.iterdir()) == []


@pytest.mark.skipif(sys.platform != "linux", reason="orphans are found in /proc")
def test_no_process_outlives_its_answer(stem, tmp_path):
    mark = f"marks-{random.getrandbits(64):x}"
    first = (
        "import subprocess, sys, time\n"
        f"    subprocess.Popen([sys.executable, '-c', 'import time; time.sleep(99)', {mark!r}],\n"
        "                     start_new_session=True)\n"
        "    time.sleep(0.1)"
    )
    book = answered("04.mask", WRONG_MASK.format(first=first))
    assert row_of(book, "04.mask", stem, tmp_path).mark == "✗"
    lines = []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            with open(f"/proc/{name}/cmdline", "rb") as file:
                lines.append(file.read())
        except OSError:
            continue
    assert not [line for line in lines if mark.encode() in line]


# Files


def test_cells_that_lost_their_ids_are_found_by_their_text(stem, tmp_path):
    """The same stub stands in four exercises of lesson 14; one of them is answered."""
    book = solved("14")
    open_again = cell_of(book, task_of("14.bug_recompiles").answer[0])
    open_again["source"] = "line = None\nfixed = None"
    for cell in book["cells"]:
        cell.pop("id")
    rows, _, _ = mark_file(save(book, tmp_path / "a.ipynb"), "a", stem, Limits(60))
    assert [row.exercise for row in rows if row.mark != "✓"] == ["14.bug_recompiles"]
    assert {row.note for row in rows} == {
        "its cells have lost their ids and were found by their text"
    }


def test_two_cells_of_one_id_count_as_lost_ids(stem, tmp_path):
    book = answered("04.mask", RIGHT_MASK)
    book["cells"].append({"cell_type": "code", "id": task_of("04.mask").answer[0], "source": "1/0"})
    row = row_of(book, "04.mask", stem, tmp_path)
    assert row.mark == "✓"


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not a notebook"), ("[]", "not a notebook"), ('{"cells": 3}', "not a notebook"),
        ('{"cells": [{"cell_type": "code", "source": 5}]}', "not a notebook"),
        ("[" * 100_000, "not a notebook"), ('{"cells": []}', "it shares no text with any lesson"),
    ],
)  # fmt: skip
def test_a_file_that_is_no_submission_gets_one_row(text, why, tmp_path):
    rows, _, failed = mark_file(save(text, tmp_path / "a.ipynb"), "a", None, Limits())
    assert failed and rows == [Row("a", note=f"not marked: {why}")]
    assert summary([(rows, set(), True)]) == [f"a: not marked: {why}"]


def test_links_and_huge_files_are_refused(tmp_path, monkeypatch):
    path = save(notebook("00"), tmp_path / "a.ipynb")
    (tmp_path / "b.ipynb").symlink_to(path)
    monkeypatch.setattr("minimistral.marking.submission.LARGEST", 2**20 * 0)
    notes = [mark_file(tmp_path / f"{n}.ipynb", n, None, Limits()).rows[0].note for n in "ab"]
    assert notes == ["not marked: larger than 0 MiB", "not marked: a link, which is not followed"]


def test_an_answer_that_is_no_python_is_told(stem, tmp_path):
    row = row_of(answered("04.mask", "def my_mask(:\n  pass"), "04.mask", stem, tmp_path)
    assert row.mark == "✗" and row.hint.startswith("a cell does not run: SyntaxError")


# The table, the command

NAMES = ["=1+1.ipynb", "a b.ipynb", 'two\nlines".ipynb', "+x/-y.ipynb", "@.ipynb", "ä, b.ipynb"]


def test_the_table_can_be_read_back_and_holds_no_formula():
    rows = [Row(name, hint="=cmd|' /C calc'!A0", note="\x1b[2J") for name in NAMES]
    table = list(csv.reader(io.StringIO(as_csv(rows))))
    assert table[0] == list(Row._fields) and len(table) == len(rows) + 1
    assert [line[0].lstrip("'") for line in table[1:]] == NAMES
    assert not [cell for line in table for cell in line if cell[:1] in tuple("=+-@")]
    assert not any("\x1b" in cell for line in table for cell in line)


@pytest.fixture
def quick(monkeypatch):
    """Marks one exercise of each file."""
    whole = marking.read
    monkeypatch.setattr(
        marking, "read", lambda path: (s := whole(path))._replace(tasks=s.tasks[:1])
    )


def test_the_command_writes_the_table_and_the_points(tmp_path, capsys, quick):
    for n, name in enumerate(NAMES):
        book = answered("04.mask", RIGHT_MASK) if n else notebook("04")
        save(book, tmp_path / "in" / name)
    save("nothing", tmp_path / "in/.ipynb_checkpoints/x.ipynb")
    out = tmp_path / "marks.csv"
    assert main(["marks", str(tmp_path / "in"), "--out", str(out), "--jobs", "2"]) == 0
    lines = list(csv.DictReader(io.StringIO(out.read_text(encoding="utf-8"))))
    assert sorted(line["file"].lstrip("'") for line in lines) == sorted(NAMES)
    assert sorted(line["points"] for line in lines) == list("011111")
    said = capsys.readouterr()
    assert said.out == "" and "a b.ipynb: lesson 04, 1 of 1 points (1 ✓, 0 ✗, 0 ☐)" in said.err

    was = out.read_bytes()
    assert main(["marks", str(tmp_path / "in"), "--out", str(out)]) == 2
    assert out.read_bytes() == was and "exists; --overwrite replaces it" in capsys.readouterr().err


def test_a_file_that_was_not_marked_gives_exit_code_1(tmp_path, capsys):
    save("nothing", tmp_path / "x.ipynb")
    assert main(["marks", str(tmp_path)]) == 1
    said = capsys.readouterr()
    assert said.out.splitlines()[1] == "x.ipynb,,,,,0,0,,,not marked: not a notebook"


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["nowhere"], "argument FOLDER: nowhere is not a folder"),
        (["."], "holds no notebook (.ipynb)"),
        ([".", "--seconds", "0"], "--seconds: must be above 0, at most 86400, not 0.0"),
        ([".", "--seconds", "nan"], "--seconds: must be above 0, at most 86400, not nan"),
        ([".", "--memory", "5"], "--memory: must be from 512 to 1048576, not 5"),
        ([".", "--jobs", "0"], "--jobs: must be from 1 to 256, not 0"),
        ([".", "--out", "no/x.csv"], "--out: the folder of no/x.csv does not exist"),
        ([".", "--out", "."], "--out: . is a folder; name a file"),
        ([".", "--out", ""], "--out: must name a file, not ''"),
        ([".", "--out", 300 * "x"], "x cannot be written ("),
        ([".", "--out", os.devnull, "--overwrite"], "is no ordinary file; without --out"),
    ],
)
def test_a_wrong_command_line_is_told(arguments, told, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert main(["marks", *arguments]) == 2
    assert told in capsys.readouterr().err


def test_where_the_table_cannot_be_written_it_is_printed(tmp_path, capsys, quick, monkeypatch):
    save(answered("04.mask", RIGHT_MASK), tmp_path / "in" / "a.ipynb")
    out = tmp_path / "marks.csv"
    out.write_text("of before")

    def full(path, target):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("pathlib.Path.replace", full)
    assert main(["marks", str(tmp_path / "in"), "--out", str(out), "--overwrite"]) == 1
    said = capsys.readouterr()
    assert [line["mark"] for line in csv.DictReader(io.StringIO(said.out))] == ["✓"]
    assert f"{out} could not be written (No space left on device); the table is on" in said.err
    assert out.read_text() == "of before" and {p.name for p in tmp_path.iterdir()} == {
        "in", "marks.csv",
    }  # fmt: skip


def test_without_the_lessons_it_says_where_they_are(tmp_path, capsys, monkeypatch):
    """As where the package is installed without the repository."""
    save(notebook("04"), tmp_path / "a.ipynb")
    monkeypatch.setattr("minimistral.cli.marks.lessons", dict)
    assert main(["marks", str(tmp_path)]) == 2
    said = capsys.readouterr()
    assert said.out == "" and "run it in a clone of the repository" in said.err


def test_a_notebook_is_not_changed(stem, tmp_path):
    path = save(answered("04.mask", RIGHT_MASK), tmp_path / "a.ipynb")
    was = path.read_bytes()
    mark_file(path, "a", stem, Limits())
    assert path.read_bytes() == was and json.loads(was)
