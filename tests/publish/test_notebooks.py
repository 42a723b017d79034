"""What every lesson must have, so that a green `pytest --nbval notebooks/` means something."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest

from minimistral.course import widgets
from minimistral.course.checks.accepted import LESSONS as LESSON_OF_PART
from minimistral.course.checks.report import Exercise

ROOT = Path(__file__).parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
EACH = pytest.mark.parametrize("path", LESSONS, ids=[path.stem for path in LESSONS])


def cells(path, kind=None):
    """The cells of a lesson, each with its text in `source`."""
    everything = json.loads(path.read_text(encoding="utf-8"))["cells"]
    for cell in everything:
        cell["source"] = "".join(cell["source"])
        cell["tags"] = cell["metadata"].get("tags", [])
    return [cell for cell in everything if kind in (None, cell["cell_type"])]


def prose(path):
    return "\n".join(cell["source"] for cell in cells(path, "markdown"))


def outputs(path):
    return [(cell, out) for cell in cells(path, "code") for out in cell["outputs"]]


def printed(cell):
    return "".join(
        "".join(out["text"]) for out in cell["outputs"] if out["output_type"] == "stream"
    )


PLAYERS = "|".join(name for name in widgets.__all__ if name not in ("Player", "attention_weights"))
LESSON_NAMES = [
    "00_start_here", "01_attention_and_its_mask", "02_rotary_positions",
    "03_grouped_query_attention", "04_sliding_window", "05_receptive_field",
    "06_rolling_buffer_cache", "07_prefill_and_chunking", "08_the_whole_model",
    "09_tokens_and_templates",
    "10_generation_and_sampling", "11_training", "12_instruct",
    "13_real_weights", "14_speed", "15_results_and_claims",
]  # fmt: skip


def test_there_are_lessons():
    assert [path.stem for path in LESSONS] == LESSON_NAMES


@EACH
def test_it_was_run_from_top_to_bottom(path):
    counts = [cell["execution_count"] for cell in cells(path, "code")]
    assert counts == list(range(1, len(counts) + 1))


def test_all_are_saved_in_the_normal_form():
    tool = [sys.executable, "-m", "minimistral.publish.notebooks", "--check", *map(str, LESSONS)]
    result = subprocess.run(tool, capture_output=True, text=True)
    assert result.returncode == 0, result.stdout + result.stderr


@EACH
def test_no_output_holds_an_error_a_warning_or_an_address(path):
    for cell, out in outputs(path):
        assert out["output_type"] != "error" and out.get("name") != "stderr", cell["source"]
        text = json.dumps({k: v for k, v in out.get("data", {}).items() if k != "image/png"})
        assert not re.search(r"0x[0-9a-f]{6,}", text + "".join(out.get("text", "")))


@EACH
def test_an_ignored_output_asserts_something(path):
    for cell in cells(path, "code"):
        ignored = "nbval-ignore-output" in cell["tags"] or "NBVAL_IGNORE" in cell["source"]
        assert not ignored or re.search(r"\bassert\w*\b", cell["source"]), cell["source"]
        assert "nbval-skip" not in cell["tags"] and "NBVAL_SKIP" not in cell["source"]
        assert not cell["source"].startswith("%")


@EACH
def test_every_picture_has_alt_text(path):
    for cell, out in outputs(path):
        data = out.get("data", {})
        if "image/png" in data:
            alt = out["metadata"]["image/png"]["alt"]
            line = "".join(data["text/plain"])
            assert line.startswith(alt) and re.search(r"\[plotted data: [0-9a-f]{8}\]$", line)
        if "image/svg+xml" in data:
            assert re.search(r"<title>[^<]+</title>", "".join(data["image/svg+xml"]))
            told = "".join(data["text/plain"])
            assert re.search(r"^\[picture\] .{20}|frames, digest [0-9a-f]{8}\)$", told)
        assert "image/jpeg" not in data and "<img" not in cell["source"]
    assert not re.search(r"!\[\s*\]\(", prose(path))


@EACH
def test_a_picture_that_moves_is_driven_by_a_later_cell(path):
    code = [cell["source"] for cell in cells(path, "code")]
    for n, source in enumerate(code):
        for explorer in re.findall(rf"^\w+ = ({PLAYERS})\(.*\)\n\w+$", source, re.M):
            driven = rf"^(\w+) = {explorer}\((?s:.*)^ +\1\.set\("
            assert any(re.search(driven, later, re.M) for later in code[n + 1 :]), explorer


@EACH
def test_nothing_is_fetched_from_elsewhere(path):
    text = prose(path) + "\n".join(cell["source"] for cell in cells(path, "code"))
    assert not re.search(r"https?://|<script|<iframe|!pip|!wget|!curl", text)


@EACH
def test_no_text_is_taken_for_html(path):
    """<s> in a sentence strikes out what follows, on the page and through a whole lecture."""
    for cell in cells(path, "markdown"):
        text = re.sub(r"```.*?```|`[^`]*`", "", cell["source"], flags=re.S)
        found = re.findall(r"<(?!/?(?:details|summary|code|kbd)\b)/?\w[^>\n]*>", text)
        assert not found, found


@EACH
def test_links_to_files_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)#]+)", prose(path)):
        assert (path.parent / target).exists(), target


@EACH
def test_the_frame(path):
    text = prose(path)
    assert text.startswith(f"# {path.name[:2]} · ")
    parts = ("What you will do", "What you will learn", "Your model gains", "What you need")
    for part in (*parts, "Minutes"):
        assert f"| **{part}** |" in text
    for heading in ("## Check yourself", "## In practice", "## Sources"):
        assert heading in text
    assert "**Predict.**" in text
    assert text.split("## Check yourself")[1].count("<details><summary>") == 4
    assert text.count("<details>") == text.count("</details>")


@EACH
def test_the_cover_names_the_parts_that_my_parts_takes_from_this_lesson(path):
    gains = re.search(r"^\| \*\*Your model gains\*\* \| (.+) \|$", prose(path), re.M)[1]
    taken = [part for part, lesson in LESSON_OF_PART.items() if lesson == int(path.name[:2])]
    assert re.findall("`(.+?)`", gains) == taken


@EACH
def test_exercises_are_open_checked_and_solved(path):
    exercises = re.findall(
        r"^### Exercise (\d+) · .+ \((★[★☆]{2}), \d+ minutes\)$", prose(path), re.M
    )
    assert len(exercises) >= 3
    assert [number for number, _ in exercises] == [str(n + 1) for n in range(len(exercises))]
    lines = [line for cell in cells(path, "code") for line in printed(cell).splitlines()]
    still_open = [line.split(":")[0][2:] for line in lines if line.startswith("☐")]
    solved = [line.split(":")[0][2:] for line in lines if line.startswith("✓ ")]
    assert len(still_open) == len(exercises)
    assert set(still_open) <= set(solved) and not any(line.startswith("✗") for line in lines)
    names = [check.name for check in exercises_of(path).values()]
    assert sorted(still_open) == sorted(names), "every check is used once"


@EACH
def test_solutions_are_folded(path):
    for cell in cells(path, "code"):
        solves = "✓ " in printed(cell) and "check." in cell["source"]
        jupyter = cell["metadata"].get("jupyter", {})
        folded = jupyter == {"source_hidden": True, "outputs_hidden": True}
        assert solves == ("solution" in cell["tags"]) == folded, cell["source"]
        assert not solves or cell["source"].startswith("# A solution\n")  # all that is seen


@EACH
def test_a_cell_that_checks_a_picture_shows_only_its_output(path):
    """It is for the tests: its code is folded in JupyterLab and on the page, and on no slide."""
    for cell in cells(path, "code"):
        hidden = cell["metadata"].get("jupyter", {}) == {"source_hidden": True}
        assert hidden == ("hide-input" in cell["tags"]), cell["source"]
        if hidden:
            assert cell["source"].startswith("# Checks the picture above")  # all that is seen
            assert printed(cell) and cell["metadata"]["slideshow"]["slide_type"] == "skip"


@EACH
def test_notes_for_the_lecturer_are_folded(path):
    for cell in cells(path):
        notes = cell["metadata"]["slideshow"]["slide_type"] == "notes"
        assert notes == ("teacher" in cell["tags"])
        assert not notes or cell["source"].startswith("<details>")


@EACH
def test_cells_are_short(path):
    for cell in cells(path, "code"):
        lines = cell["source"].splitlines()
        assert len(lines) <= 25 and max(map(len, lines)) <= 90, cell["source"]


@EACH
def test_every_cell_says_how_it_is_projected(path):
    kinds = [cell["metadata"].get("slideshow", {}).get("slide_type") for cell in cells(path)]
    assert set(kinds) <= {"slide", "subslide", "fragment", "skip", "notes", "-"}, kinds
    assert kinds[0] == "slide" and "notes" in kinds


@pytest.mark.parametrize("path", [p for p in LESSONS if p.name > "01"], ids=lambda p: p.stem)
def test_the_swap_changes_one_line(path):
    """The cell in torch is the cell in NumPy but for its import, and prints the same."""
    (ours,), (theirs,) = (
        [cell for cell in cells(path, "code") if cell["id"] == f"swap-{name}"]
        for name in ("np", "pt")
    )
    pairs = zip(ours["source"].splitlines(), theirs["source"].splitlines(), strict=True)
    assert [pair for pair in pairs if pair[0] != pair[1]] == [
        ("from minimistral import np as mm", "from minimistral import pt as mm")
    ]
    assert printed(ours) == printed(theirs) != ""


def exercises_of(path):
    """The exercises of a lesson, by the names of their checks."""
    module = importlib.import_module(f"minimistral.course.checks.lesson_{path.stem[:2]}")
    return {
        name: value
        for name, value in vars(module).items()
        if isinstance(value, Exercise) and value.check.__module__ == module.__name__
    }


@EACH
def test_the_hints_of_a_check_are_the_hints_of_the_lesson(path):
    """A check without hints has its hints in the lesson alone; else both are the same three."""
    text = prose(path)
    for name, check in exercises_of(path).items():
        assert len(check.hints) in (0, 3), name
        for n, hint in enumerate(check.hints, 1):
            folded = f"<details><summary>Hint {n}</summary>\n\n{hint}\n\n</details>"
            assert folded in text, f"{name}: the lesson has no fold\n{folded}"
        if check.hints:
            assert f"`check.{name}.hint()`" in text, f"the lesson does not say check.{name}.hint()"


def test_no_two_exercises_keep_a_function_under_one_name():
    names = [name for path in LESSONS for name, check in exercises_of(path).items() if check.course]
    assert len(names) == len(set(names)), names
