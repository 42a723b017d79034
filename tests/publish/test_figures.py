"""The pictures in figures/ are what the code draws, and all of them are drawn."""

import re
from pathlib import Path
from xml.etree import ElementTree

from minimistral.publish import figures

ROOT = Path(__file__).parents[2]


def test_every_picture_is_as_drawn():
    """Byte for byte; a picture that is not, or is missing, is named."""
    there = {path.name: path.read_bytes() for path in (ROOT / "figures").iterdir()}
    stale = [name for name in figures.FIGURES if there.get(name) != figures.saved(name).encode()]
    assert not stale, f"run `make figures`: {stale}"


def test_every_picture_says_its_licence_once():
    """In an element of its own, which no reader shows, and in a file that is still XML."""
    drawn = figures.saved("memory_budget.svg")
    for text in [drawn, *(path.read_text("utf-8") for path in (ROOT / "figures").iterdir())]:
        root = ElementTree.fromstring(text.encode())
        told = [node for node in root if "SPDX-License-Identifier: Apache-2.0" in (node.text or "")]
        assert [node.tag.split("}")[1] for node in told] == ["metadata"], text[:300]


def test_no_picture_lies_there_that_nothing_draws():
    assert {path.name for path in (ROOT / "figures").iterdir()} == set(figures.FIGURES)


def test_the_pictures_of_the_texts_come_from_here():
    """README's pictures are those, and each has its alt text."""
    pictures = re.findall(r"!\[([^\]]*)\]\(([^)]+)\)", (ROOT / "README.md").read_text("utf-8"))
    assert len(pictures) >= 3
    for alt, address in pictures:
        assert len(alt) > 40
        folder, name = address.split("/")
        assert folder == "figures" and name in figures.FIGURES
    assert "<img" not in (ROOT / "README.md").read_text("utf-8")


def test_a_stale_picture_is_named(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(figures, "FOLDER", tmp_path)
    some = ("mask_window.svg", "rolling_buffer.svg")
    monkeypatch.setattr(figures, "FIGURES", {name: figures.FIGURES[name] for name in some})
    (tmp_path / "mask_window.svg").write_text("old")
    assert figures.main(["--check"]) == 1
    assert "mask_window.svg: not as drawn" in capsys.readouterr().out
    assert (tmp_path / "mask_window.svg").read_text() == "old"
    assert figures.main([]) == 0 and figures.main(["--check"]) == 0
