"""minimistral/publish/notebooks.py: what changes from run to run is gone, and nothing else is."""

import json
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output

from minimistral.publish import notebooks

WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


def tool(*args) -> subprocess.CompletedProcess:
    """In a process of its own."""
    command = [sys.executable, "-m", "minimistral.publish.notebooks", *map(str, args)]
    return subprocess.run(command, capture_output=True, encoding="utf-8")


def rerun(path: Path) -> None:
    """The same in this process, which is quicker."""
    assert notebooks.apply_to_all(notebooks.rerun, [path]) == 0


def save(path: Path, *cells) -> Path:
    nbformat.write(new_notebook(cells=list(cells)), path)
    return path


def outputs(path: Path) -> list[list[dict]]:
    nb = nbformat.read(path, as_version=4)
    return [cell.outputs for cell in nb.cells if cell.cell_type == "code"]


@pytest.fixture(scope="module")
def ran(tmp_path_factory) -> Path:
    """A notebook that the tool has run once."""
    path = save(
        tmp_path_factory.mktemp("notebooks") / "lesson.ipynb",
        new_markdown_cell("# Lesson", id="title"),
        new_code_cell(
            "import os, sys, time\n"
            "for word in 'one', 'two', 'three':\n"
            "    print(word, flush=True)\n"
            "    time.sleep(0.3)  # the kernel sends one message for each\n"
            "print('oops', file=sys.stderr, flush=True)\n"
            "time.sleep(0.3)\n"
            "print('four')",
            metadata={"tags": ["kept"], "execution": {"iopub.execute_input": "2024-01-01"}},
        ),
        new_code_cell("from pathlib import Path\nprint(Path('lesson.ipynb').exists())"),
        new_code_cell("print(sys.executable == Path('python.txt').read_text())"),
        new_code_cell("import ipywidgets\nslider = ipywidgets.IntSlider()\nslider"),
        new_code_cell("display(ipywidgets.Label('0' * 32), slider)"),
        new_code_cell("", execution_count=9, outputs=[new_output("stream", text="old\n")]),
    )
    (path.parent / "python.txt").write_text(sys.executable)
    first = tool(path)
    assert first.returncode == 0, first.stdout + first.stderr
    return path


def test_a_copy_for_pages_without_python_leaves_the_notebook_as_it_was(tmp_path):
    code = "import os\nfrom minimistral.course.widgets import Player\n"
    code += "Player('Squares', {'n': [1, 2]}, lambda n: ('<svg/>', f'{n * n}'))"
    lesson = save(tmp_path / "lesson.ipynb", new_code_cell(code))
    before = lesson.read_bytes()
    assert tool("--static", tmp_path / "pages/lessons", lesson).returncode == 0
    assert lesson.read_bytes() == before
    [[output]] = outputs(tmp_path / "pages/lessons/lesson.ipynb")
    assert set(output.data) == {"text/plain", "text/html"}
    assert "mm-host" in output.data["text/html"]


def test_a_second_run_gives_the_same_bytes(ran):
    before = ran.read_bytes()
    rerun(ran)
    assert ran.read_bytes() == before
    assert sorted(p.name for p in ran.parent.iterdir()) == ["lesson.ipynb", "python.txt"]


def test_neighbours_of_one_stream_are_merged(ran):
    streams = [(output.name, output.text) for output in outputs(ran)[0]]
    assert streams == [("stdout", "one\ntwo\nthree\n"), ("stderr", "oops\n"), ("stdout", "four\n")]


def test_an_emptied_cell_loses_its_output(ran):
    assert outputs(ran)[5] == []


def test_it_runs_in_the_folder_of_the_notebook_with_this_python(ran):
    assert [outputs(ran)[n][0].text for n in (1, 2)] == ["True\n", "True\n"]


def test_widgets_are_numbered_as_they_appear(ran):
    views = [out.data[WIDGET_VIEW]["model_id"] for cell in outputs(ran)[3:5] for out in cell]
    assert [int(view, 16) for view in views] == [1, 2, 1] and len(views[0]) == 32
    # only the id of a widget is replaced: other text may be 32 digits long
    assert "0" * 32 in outputs(ran)[4][0].data["text/plain"]


def test_only_lasting_metadata_is_left(ran):
    nb = nbformat.read(ran, as_version=4)
    assert nb.metadata == {
        "kernelspec": {
            "name": "python3",
            "display_name": "Python 3 (ipykernel)",
            "language": "python",
        },
        "language_info": {"name": "python"},
    }
    assert nb.cells[1].metadata == {"tags": ["kept"]}
    assert nb.cells[0].id == "title"


def test_the_file_has_one_fixed_form(ran):
    text = ran.read_bytes().decode("utf-8")
    assert text.startswith('{\n "cells": [\n') and text.endswith("}\n") and "\r" not in text


def test_check_accepts_what_the_tool_saved(ran):
    before = ran.stat().st_mtime_ns
    checked = tool("--check", ran)
    assert checked.returncode == 0, checked.stdout
    assert ran.stat().st_mtime_ns == before


def stripped(nb):
    nb["cells"][1].update(execution_count=None, outputs=[])


def split_stream(nb):
    nb["cells"][1]["outputs"][0]["text"] = ["one\n"]
    nb["cells"][1]["outputs"].insert(1, new_output("stream", text="two\nthree\n"))


def patch_version(nb):
    nb["metadata"]["language_info"]["version"] = "3.11.7"


def same_id(nb):
    nb["cells"][1]["id"] = "title"


def no_id(nb):
    del nb["cells"][1]["id"]


def random_model(nb):
    nb["cells"][4]["outputs"][0]["data"][WIDGET_VIEW]["model_id"] = "a" * 32


def timing(nb):
    nb["cells"][1]["metadata"]["execution"] = {}


def widget_state(nb):
    nb["metadata"]["widgets"] = {}


EDITS = [stripped, split_stream, patch_version, same_id, no_id, random_model, timing, widget_state]


def test_check_names_what_would_change_and_changes_nothing(ran, tmp_path, capsys):
    for edit in [lambda nb: None, *EDITS]:
        nb = json.loads(ran.read_text(encoding="utf-8"))
        edit(nb)
        name = edit.__name__.replace("<lambda>", "untouched") + ".ipynb"
        text = json.dumps(nb, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        (tmp_path / name).write_bytes(text.encode())
    before = {path: path.read_bytes() for path in sorted(tmp_path.iterdir())}
    assert notebooks.apply_to_all(notebooks.check, list(before)) == len(EDITS)
    lines = capsys.readouterr().out.splitlines()
    passed = [Path(line.split()[1]).stem for line in lines if " ok" in line]
    failed = [Path(line.split()[1]).stem for line in lines if "FAIL" in line]
    assert passed == ["untouched"]
    assert failed == sorted(edit.__name__ for edit in EDITS)
    assert {path: path.read_bytes() for path in sorted(tmp_path.iterdir())} == before


def test_a_failing_cell_leaves_the_file_unchanged(tmp_path):
    path = save(
        tmp_path / "broken.ipynb",
        new_markdown_cell("# Broken"),
        new_code_cell("print('before')"),
        new_code_cell("1 / 0"),
    )
    path.write_text(path.read_text("utf-8") + "\n\n", "utf-8")
    other = save(tmp_path / "whole.ipynb", new_code_cell("6 * 7"))
    before = path.read_bytes()
    run = tool(path, other)
    assert run.returncode == 1
    assert "broken.ipynb FAILED: cell 3 of 3" in run.stdout
    assert "ZeroDivisionError: division by zero" in run.stdout
    assert path.read_bytes() == before
    assert sorted(p.name for p in tmp_path.iterdir()) == ["broken.ipynb", "whole.ipynb"]
    assert outputs(other)[0][0].data["text/plain"] == "42"  # the others still run


MEASURED = "import os, pathlib\nprint('T =', {T}, 'took', os.times().elapsed + 0.5, 's')"


def test_a_measured_time_is_kept_until_something_else_changes(tmp_path):
    ignored = {"tags": ["nbval-ignore-output"]}
    path = tmp_path / "lesson.ipynb"

    def run(T: int, metadata: dict) -> str:
        cell = new_code_cell(MEASURED.format(T=T), id="measured", metadata=metadata)
        if path.exists():
            cell.outputs = nbformat.read(path, as_version=4).cells[0].outputs
        save(path, cell)
        rerun(path)
        return outputs(path)[0][0]["text"]

    first = run(1, ignored)
    assert run(1, ignored) == first
    another = run(2, ignored)
    assert another.startswith("T = 2 took") and another.split()[4] != first.split()[4]
    assert run(2, {}) != another, "an output that is compared is always new"
