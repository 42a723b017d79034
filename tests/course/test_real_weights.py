"""The cells of lessons 08 and 13 that load real weights, with the tiny model's in their place."""

import json
import os
from pathlib import Path

import pytest
import torch

from minimistral import np as mn
from minimistral import pt as mp
from minimistral import tiny
from minimistral.checkpoint import memory
from minimistral.tokenizer import load as load_tokenizer

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"


def run_cell(lesson, names):
    cells = json.loads((NOTEBOOKS / f"{lesson}.ipynb").read_text(encoding="utf-8"))["cells"]
    (source,) = (cell["source"] for cell in cells if '"MINIMISTRAL_WEIGHTS"' in str(cell["source"])
                 and cell["cell_type"] == "code")  # fmt: skip
    exec(compile("".join(source), lesson, "exec"), names)
    return names


def run(n_layers):
    names = {"mm": mp, "torch": torch, "n_layers": n_layers, "load_tokenizer": load_tokenizer}
    return run_cell("08_the_whole_model", names)


def run_13():
    return run_cell("13_real_weights", {"mm": mn, "os": os, "load_tokenizer": load_tokenizer})


def test_without_weights(monkeypatch, capsys):
    monkeypatch.delenv("MINIMISTRAL_WEIGHTS", raising=False)
    assert run(1)["written"] == []
    assert "is not set" in capsys.readouterr().out


@pytest.mark.parametrize(("free", "engine", "n_new"), [(2**40, mp, 40), (0, mn, 4)])
def test_weights_that_do_not_fit_stay_in_their_file(monkeypatch, capsys, free, engine, n_new):
    monkeypatch.setenv("MINIMISTRAL_WEIGHTS", str(tiny.FOLDER))
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    names = run(1)
    assert isinstance(names["real"], engine.Mistral) and len(names["written"]) == n_new
    out = capsys.readouterr().out
    assert names["load_tokenizer"](tiny.FOLDER).decode(names["written"]) in out
    assert ("the weights in float32 need" in out) is (free == 0)


def test_on_a_gpu_where_all_layers_fit(monkeypatch):
    asked = []
    monkeypatch.setenv("MINIMISTRAL_WEIGHTS", str(tiny.FOLDER))
    monkeypatch.setattr(mp, "load", lambda folder, **options: asked.append((folder, options)))
    monkeypatch.setattr(mp, "generate", lambda *_: [1])
    run(32)
    assert asked == [(str(tiny.FOLDER), {"device": "cuda", "dtype": "bfloat16"})]


def test_lesson_13_without_weights(monkeypatch, capsys):
    monkeypatch.delenv("MINIMISTRAL_WEIGHTS", raising=False)
    assert run_13()["written"] == []
    out = capsys.readouterr().out
    assert "is not set" in out and out.count("\n") == 1


@pytest.mark.parametrize(("free", "n_new"), [(2**40, 20), (0, 4)])
def test_lesson_13_says_what_the_folder_holds_and_writes(monkeypatch, capsys, free, n_new):
    monkeypatch.setenv("MINIMISTRAL_WEIGHTS", str(tiny.FOLDER))
    monkeypatch.setattr(memory, "free_memory", lambda: free)
    names = run_13()
    assert len(names["written"]) == n_new
    out = capsys.readouterr().out
    assert "mistral, no published version: 935,040 parameters in float32" in out
    text = names["real_tokenizer"].decode(names["asked"] + names["written"])
    assert repr(text) in out and text.startswith("A file of weights holds")
    assert ("the weights in float32 need" in out) is (free == 0)
