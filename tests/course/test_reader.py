"""Lesson 08's model as a function that reads: it agrees with the engine, and uses kept parts."""

import numpy as np
import pytest

from minimistral import np as mn
from minimistral import tiny
from minimistral.course import my_reader
from minimistral.course.mine import kept


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER, str(tmp_path / "my-work"))


def test_it_reads_as_the_engine_does(capsys):
    """In chunks of any size, past more than two windows."""
    model = mn.Mistral(mn.load(tiny.FOLDER).config, mn.load(tiny.FOLDER).weights, dtype="float64")
    ids = np.random.default_rng(0).integers(0, model.config.vocab_size, 90).tolist()
    read, start = my_reader(model), 0
    assert capsys.readouterr().out == "of 12 functions 0 are yours, the others the course's\n"
    expected = model(np.array([ids]))[0]
    for size in (20, 1, 40, 3, 1, 25):
        logits = read(ids[start : start + size])
        start += size
        np.testing.assert_allclose(logits, expected[start - 1], atol=1e-9)


def no_rotation(x, positions, theta):
    return x


def test_a_kept_function_takes_the_place_of_the_course_s(capsys):
    model = mn.load(tiny.FOLDER)
    before = my_reader(model)([1, 2, 3])
    kept.keep("rotate", no_rotation)
    after = my_reader(model)([1, 2, 3])
    assert "1 are yours" in capsys.readouterr().out
    assert abs(before - after).max() > 0.1
