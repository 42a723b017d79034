"""Every argument of every function of `mm.`, given what it cannot be: the error names it."""

import re
import warnings

import numpy as np
import pytest
from models import random_model, small

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
HUGE, NAN = 10**30, float("nan")
OF_ANOTHER = ("empty list", "ragged", "record", "deep")  # shapes that do not fit others


class Strange:
    """Something that no function asks for; its text would tell nothing."""

    def __repr__(self):
        return "Strange()"


STRANGE = {
    "huge": HUGE, "negative": -HUGE, "far": 2**63, "nan": NAN, "text": "text", "bytes": b"ab",
    "none": None, "object": Strange(), "set": {1, 2}, "mapping": {"a": 1}, "complex": 1j,
    "list of text": ["a", "b"], "ragged": [[1, 2], [3]], "list of huge": [HUGE, HUGE],
    "rows of huge": [[HUGE]], "list of none": [None], "list of objects": [Strange()],
    "array of text": np.array(["a"]), "array of objects": np.array([Strange()]),
    "empty list": [], "zero": 0, "number": 1.5, "complex array": np.array([1j]), "true": True,
    "dates": np.array(["2020-01-01"], "datetime64[D]"), "function": len, "type": int,
    "record": np.zeros(2, [("a", int)]), "generator": iter([1]), "deep": [[[[[1]]]]],
}  # fmt: skip


def calls(mm):
    """name -> (function, arguments that it takes)."""
    rng = np.random.default_rng(0)
    model = mm.Mistral(small(), random_model(small()).weights)
    x, mask = rng.standard_normal((1, 2, 3, 4)), np.ones((3, 3), bool)
    tables = dict(zip(("cos", "sin"), mm.rope_tables([0, 1, 2], 4, 1e4), strict=True))
    w1, w2 = rng.standard_normal((5, 4)), rng.standard_normal((4, 5))
    prompt = {"model": model, "prompts": [1, 2], "max_new_tokens": 2, "chunk_size": 1,
              "temperature": 0.5, "top_p": 0.9, "top_k": 3, "min_p": 0.1,
              "repetition_penalty": 1.1, "seed": 1, "stop_ids": [3],
              "allowed": lambda ids: np.ones(11, bool),
              "cache": model.new_cache(1)}  # fmt: skip
    return {
        "window_mask": (mm.window_mask, {"q_pos": [0, 1], "k_pos": [0, 1], "window": 2}),
        "attend": (mm.attend, {"q": x, "k": x, "v": x, "mask": mask}),
        "rope_tables": (mm.rope_tables, {"positions": [0, 1], "head_dim": 4, "theta": 1e4,
                                         "dtype": "float32"}),
        "apply_rope": (mm.apply_rope, {"x": x, **tables}),
        "rms_norm": (mm.rms_norm, {"x": x, "weight": np.ones(4), "eps": 1e-5}),
        "feed_forward": (mm.feed_forward, {"x": x, "w1": w1, "w2": w2, "w3": w1}),
        "probabilities": (mm.probabilities, {
            "logits": x[0, 0], "temperature": 1.0, "top_p": 0.5, "top_k": 2, "min_p": 0.1,
            "repetition_penalty": 1.1, "seen": np.ones(4, bool)}),
        "generate": (mm.generate, prompt),
        "stream": (mm.stream, prompt),
        "model": (model, {"tokens": [[1, 2]], "cache": model.new_cache(1), "lengths": [2]}),
        "new_cache": (model.new_cache, {"batch_size": 1, "max_tokens": 3}),
        "RollingCache": (mm.RollingCache, {"config": small(), "batch_size": 1, "max_tokens": 3,
                                           "dtype": "float32"}),
        "Mistral": (mm.Mistral, {"config": small(), "weights": model.weights, "dtype": "float32",
                                 "seed": 1}),
        "ModelConfig": (ModelConfig, dict(vars(small()))),
    }  # fmt: skip


NAMES = [(name, argument) for name, (_, good) in calls(mn).items() for argument in good]


@TWINS
@pytest.mark.parametrize(("name", "argument"), NAMES)
def test_what_cannot_be_is_named(mm, name, argument):
    function, good = calls(mm)[name]
    wrong = []
    for kind, value in STRANGE.items():
        if argument == "allowed" and callable(value):
            continue  # an error of the caller's function comes as it is
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("error")
                function(**{**good, argument: value})
        except (TypeError, ValueError) as error:
            names = "|".join(good) if kind in OF_ANOTHER else argument
            if not re.search(rf"\b({names})\b", str(error)):
                wrong.append(f"{kind}: {error}")
        except BaseException as error:
            wrong.append(f"{kind}: {type(error).__name__} {error}")
    assert not wrong, "\n".join(wrong)


# Counts that are whole numbers, but of arrays too large for any machine

GROWING = small(window_size=None)
RAW = re.compile("overflow|too big|allocate|dimension exceeded|unpack", re.IGNORECASE)
OF_CACHES = ("n_layers", "n_kv_heads", "head_dim", "window_size")
OF_WEIGHTS = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size")
IMPOSSIBLE = [  # argument, what is called with a count
    ("batch_size", lambda mm, n: mm.RollingCache(small(), n)),
    ("batch_size", lambda mm, n: mm.Mistral(small()).new_cache(n)),
    ("max_tokens", lambda mm, n: mm.RollingCache(GROWING, 1, n)),
    ("max_tokens", lambda mm, n: mm.Mistral(GROWING).new_cache(1, n)),
    ("max_new_tokens", lambda mm, n: mm.stream(mm.Mistral(GROWING), [1, 2], n)),
    ("max_new_tokens", lambda mm, n: mm.generate(mm.Mistral(GROWING), [[1], [2, 3]], n)),
    *((name, lambda mm, n, name=name: mm.RollingCache(sized(name, n), 1)) for name in OF_CACHES),
    *((name, lambda mm, n, name=name: mm.Mistral(sized(name, n))) for name in OF_WEIGHTS),
]


def sized(name, n):
    heads = {"n_heads": n} if name == "n_kv_heads" else {}  # which must be a multiple
    return small(**{name: n, **heads})


@TWINS
@pytest.mark.parametrize(("argument", "call"), IMPOSSIBLE)
@pytest.mark.parametrize("count", [2**47, 2**53, 2**62, 2**63 - 2], ids=hex)
def test_what_no_machine_holds_is_named(mm, argument, call, count):
    named = "n_heads|n_kv_heads" if argument == "n_kv_heads" else argument
    with pytest.raises(ValueError, match=rf"^({named}) must be .*\b{count}\b") as refused:
        call(mm, count)
    assert not RAW.search(str(refused.value))


@TWINS
def test_layers_that_are_too_many_to_name(mm):
    """Their arrays would fit: of a model this small, 2**17 layers take 600 MB."""
    with pytest.raises(ValueError, match=r"^n_layers must be below 65537, not 131072$"):
        mm.Mistral(small(n_layers=2**17))


@TWINS
def test_a_count_that_only_this_machine_cannot_hold_is_left_to_it(mm, monkeypatch):
    """The limit is that of an address space; below it, an array is asked for."""
    asked = []

    def zeros(shape, *args, **kwargs):
        asked.append(shape)
        raise MemoryError

    monkeypatch.setattr("numpy.zeros", zeros)
    monkeypatch.setattr("torch.zeros", zeros)
    per_row = small().cache_bytes(4, "float32")
    most = (2**47 - 1) // per_row
    with pytest.raises(MemoryError):
        mm.RollingCache(small(), most)
    with pytest.raises(ValueError, match=f"^batch_size must be smaller, not {most + 1}: the cache"):
        mm.RollingCache(small(), most + 1)
    assert asked == [(2, most, 2, 4, 4)]


@TWINS
def test_a_window_beyond_all_tokens_is_no_more_than_full_attention(mm):
    wide = small(window_size=2**63 - 1)
    logits = []
    for config in (GROWING, wide):
        model = mm.Mistral(config)
        cache = model.new_cache(1, 9)
        logits.append(model([[1, 2, 3]], cache).tolist())
        assert cache.n_slots == 9
    assert logits[0] == logits[1]
    assert len(mm.generate(mm.Mistral(small()), [1], 3, chunk_size=2**63 - 1)) == 3
    first = next(mm.stream(mm.Mistral(small()), [1], 2**62 - 1))
    assert 0 <= first < small().vocab_size
