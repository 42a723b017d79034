"""Ten kinds of damage: each loads without a word, and `compare` names every one of them."""

import numpy as np
import pytest

from minimistral import np as mn
from minimistral import tiny
from minimistral.checkpoint import open_checkpoint
from minimistral.course.checks import lesson_13
from minimistral.course.checks.damaged import DAMAGES, HUNTED, damaged
from minimistral.course.mine.compare import compare

MODEL = mn.load(tiny.FOLDER)
IDS = np.random.default_rng(13).integers(0, MODEL.config.vocab_size, 40)  # more than one window
CAUSES = {
    "query rows": "the rows of wq lie in the other layout",
    "key rows": "the rows of wk lie in the other layout",
    "key heads": "as if they were those of 4 heads; it has 2",
    "keys and values": "k is made with wv",
    "gate and up": "w1 and w3 are swapped",
    "two norms": "the weight is that of ffn_norm",
    "two layers": "the weights are those of layer 2: two layers were exchanged",
    "cut off": "all of it is 0, and so are its weights",
    "tied": "the embedding is used as the output matrix",
    "theta": "theta is 1,000,000",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tmp_path_factory.mktemp("damaged")


@pytest.mark.parametrize("kind", DAMAGES)
def test_every_kind_loads_and_is_named(folder, kind):
    mn.save(damaged(MODEL, kind), folder / kind)
    loaded = mn.load(folder / kind)
    assert open_checkpoint(folder / kind).config.n_params == MODEL.config.n_params
    difference = compare(loaded, MODEL, IDS)
    assert CAUSES[kind] in difference.cause, difference
    assert difference.name == lesson_13._FIRST[kind]


@pytest.mark.parametrize("kind", DAMAGES)
def test_only_what_the_kind_says_is_changed(kind):
    wrong = damaged(MODEL, kind)
    changed = {
        name for name, weight in MODEL.weights.items()
        if not np.array_equal(weight, wrong.weights[name])
    }  # fmt: skip
    n_changed = {"keys and values": 2, "gate and up": 2, "two norms": 2, "two layers": 18,
                 "theta": 0}  # fmt: skip
    assert len(changed) == n_changed.get(kind, 1)
    assert (wrong.config != MODEL.config) is (kind == "theta")


def test_the_exercise_hunts_three_of_them():
    assert len(set(HUNTED.values())) == 3 and set(HUNTED.values()) <= DAMAGES.keys()
    for letter, kind in HUNTED.items():
        pairs = zip(damaged(MODEL, letter).weights.values(), damaged(MODEL, kind).weights.values(),
                    strict=True)  # fmt: skip
        assert all(np.array_equal(*pair) for pair in pairs)


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match=r"kind must be one of query rows, .* not 'rust'"):
        damaged(MODEL, "rust")


def test_the_right_model_has_no_damage():
    assert compare(mn.Mistral(MODEL.config, dict(MODEL.weights)), MODEL, IDS) is None
