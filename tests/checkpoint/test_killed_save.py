"""A process that is killed while it saves: what was there before can still be read.

test_checkpoint.py stops a save by errors and by Ctrl-C, after which the files are moved back.
"""

import functools
import re

import numpy as np
import pytest
from killed import KILLED, Workshop, linux, moments

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp

pytestmark = linux
TWINS = {"np": mn, "pt": mp}
CONFIG = ModelConfig(
    dim=64, n_layers=4, head_dim=16, hidden_dim=192, n_heads=4, n_kv_heads=2, window_size=8,
    context_len=64, vocab_size=8000,
)  # fmt: skip
SHARD_BYTES = 1_500_000
OLD, NEW = 1, 2  # seeds


@functools.cache
def model(twin, seed):
    return TWINS[twin].Mistral(CONFIG, seed=seed)


def prepare():
    for twin in TWINS:
        for seed in (OLD, NEW):
            model(twin, seed)


def save(folder, twin, format, seed):
    """In a process of its own."""
    TWINS[twin].save(model(twin, seed), folder, format, max_shard_bytes=SHARD_BYTES, overwrite=True)


@pytest.fixture(scope="module")
def workshop():
    with Workshop(__file__) as workshop:
        yield workshop


def seed_of(folder, twin):
    """Which model a folder holds, all its weights compared; an error when it is neither."""
    loaded = mn.load(folder)
    for seed in (OLD, NEW):
        weights = model(twin, seed).weights
        if all(np.array_equal(w, weights[name]) for name, w in loaded.weights.items()):
            return seed
    raise AssertionError("a mixture of two models")


def found_in(folder, twin):
    """Which model can be read: in the folder, or where the error says that it is."""
    try:
        return seed_of(folder, twin)
    except FileNotFoundError as error:
        kept = re.search(r"the files that were there before are in (\.saving-\w+/old)$", str(error))
        assert kept, error
        return seed_of(folder / kept[1], twin)


@pytest.mark.parametrize(("twin", "format"), [("np", "mistral"), ("pt", "hf")])
def test_a_save_over_a_checkpoint(tmp_path, workshop, twin, format):
    """Several times, at moments spread over the seconds that a save takes."""
    folder, left = tmp_path / "m", 0
    workshop.do("save", folder, twin, format, OLD)
    (folder / "tokenizer.model").write_text("mine")
    seconds = min(workshop.do("save", folder, twin, format, OLD)[2] for _ in range(3))
    for after in moments(seconds):
        code = 0
        while code == 0:  # again, and earlier, until it is killed
            assert workshop.do("save", folder, twin, format, OLD)[0] == 0
            assert seed_of(folder, twin) == OLD
            code, printed, _ = workshop.do("save", folder, twin, format, NEW, after=after)
            after *= 0.7
        assert code == KILLED, printed
        assert found_in(folder, twin) in (OLD, NEW)
        left += len([*folder.glob(".saving-*")])
        assert (folder / "tokenizer.model").read_text() == "mine"
    assert left > 0  # otherwise nothing was proved


@pytest.mark.parametrize(("twin", "format"), [("np", "hf"), ("pt", "mistral")])
def test_a_first_save(tmp_path, workshop, twin, format):
    """Several times: the folder holds the whole model or no checkpoint, and can be saved into."""
    seconds = min(
        workshop.do("save", tmp_path / f"whole {n}", twin, format, NEW)[2] for n in range(3)
    )
    for n, after in enumerate(moments(seconds)):
        code = 0
        while code == 0:
            folder = tmp_path / f"{n} {after}"
            code, printed, _ = workshop.do("save", folder, twin, format, NEW, after=after)
            after *= 0.7
        assert code == KILLED, printed
        try:
            assert seed_of(folder, twin) == NEW
        except FileNotFoundError as error:
            assert "holds no checkpoint" in str(error) or not folder.exists()
            assert "files that were there before" not in str(error)
        assert workshop.do("save", folder, twin, format, OLD)[0] == 0
        assert seed_of(folder, twin) == OLD


@pytest.mark.parametrize(("twin", "format"), [("np", "mistral"), ("np", "hf")])
def test_before_each_move_of_a_file(tmp_path, workshop, twin, format):
    """While files change places, which takes too little time to be hit by chance."""
    folder, seen = tmp_path / "m", []
    workshop.do("save", folder, twin, format, OLD)
    for n in range(100):
        code, printed, _ = workshop.do("save", folder, twin, format, NEW, at_move=n)
        assert code in (0, KILLED), printed
        seen.append((found_in(folder, twin), (folder / "params.json").exists()))
        if code == 0:
            break
        assert seen[-1][0] == OLD
        workshop.do("save", folder, twin, format, OLD)
    assert seen[-1][0] == NEW and len(seen) > 4
    if format == "mistral":
        assert (OLD, False) in seen  # found where the error says


def test_a_first_save_leaves_nothing_to_be_named(tmp_path, workshop):
    assert workshop.do("save", tmp_path / "m", "np", "mistral", OLD, at_move=1)[0] == KILLED
    with pytest.raises(
        FileNotFoundError, match=r"it holds \.saving-\w+, consolidated.safeten"
    ) as refused:
        mn.load(tmp_path / "m")
    assert "files that were there before" not in str(refused.value)


def test_the_newest_of_several_is_named(tmp_path, workshop):
    """An earlier save, killed as well, has left a folder too."""
    folder = tmp_path / "m"
    workshop.do("save", folder, "np", "mistral", NEW)
    for seed in (OLD, NEW):
        workshop.do("save", folder, "np", "mistral", seed)
        assert workshop.do("save", folder, "np", "mistral", OLD, at_move=1)[0] == KILLED
        assert found_in(folder, "np") == seed
