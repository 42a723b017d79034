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
              "temperature": 0.5, "top_p": 0.9, "seed": 1, "stop_ids": [3],
              "cache": model.new_cache(1)}  # fmt: skip
    return {
        "window_mask": (mm.window_mask, {"q_pos": [0, 1], "k_pos": [0, 1], "window": 2}),
        "attend": (mm.attend, {"q": x, "k": x, "v": x, "mask": mask}),
        "rope_tables": (mm.rope_tables, {"positions": [0, 1], "head_dim": 4, "theta": 1e4,
                                         "dtype": "float32"}),
        "apply_rope": (mm.apply_rope, {"x": x, **tables}),
        "rms_norm": (mm.rms_norm, {"x": x, "weight": np.ones(4), "eps": 1e-5}),
        "feed_forward": (mm.feed_forward, {"x": x, "w1": w1, "w2": w2, "w3": w1}),
        "probabilities": (mm.probabilities, {"logits": x[0, 0], "temperature": 1.0, "top_p": 0.5}),
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
