"""Bad input raises an error that names the argument, and changes nothing.

Bad checkpoints are in test_checkpoint.py; bad arguments of single functions are in their tests.
"""

import functools
import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import random_model, small

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp

OTHER = {mn: mp, mp: mn}
TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
NAN, INF = float("nan"), float("inf")
WQ = "layers.0.attention.wq.weight"
GROWING = small(window_size=None)


class Engine:
    """One of the twins, with a model and a cache of two rows that is half full."""

    def __init__(self, mm):
        self.mm = mm
        self.weights = dict(random_model(small()).weights)
        self.model = mm.Mistral(small(), self.weights)
        self.cache = self.model.new_cache(2)
        self.model([[1, 2, 3, 4, 5, 6], [7, 8, 9, 10, 0, 0]], self.cache, lengths=[6, 4])
        self.growing = mm.Mistral(GROWING, self.weights)
        self.full = self.growing.new_cache(2, 3)
        self.growing([[1, 2], [3, 4]], self.full)

    def state(self):
        """Every byte that a failed call must leave unchanged."""
        held = {**self.weights, "names": list(self.weights)}
        held |= {f"model's {name}": weight for name, weight in self.model.weights.items()}
        for which, cache in {"cache": self.cache, "full": self.full}.items():
            held |= {f"{which}.{name}": getattr(cache, name) for name in ("k", "v", "positions")}
        return {name: np.asarray(array).tobytes() for name, array in held.items()}

    def works(self):
        """The results of the next good calls."""
        logits = self.model([[1, 2], [3, 4]], self.cache)
        more = self.growing([[5], [6]], self.full)
        text = self.mm.generate(self.model, [[1], [2, 3]], 4, cache=self.cache)
        return [np.asarray(result).copy() for result in (logits, more, text)]


@functools.cache
def as_it_works(mm):
    """What an engine gives that saw no bad input."""
    return Engine(mm).works()


def config(**changes):
    return lambda e: ModelConfig(**{**vars(small()), **changes})


def cache(*arguments, **settings):
    return lambda e: e.mm.RollingCache(*arguments, **settings)


def weights(change=None, **settings):
    """A model of changed weights."""

    def call(e):
        changed = dict(e.weights)
        for name, weight in (change or {}).items():
            if weight is None:
                del changed[name]
            else:
                changed[name] = weight(changed.get(name)) if callable(weight) else weight
        return e.mm.Mistral(small(), changed, **settings)

    return call


def poked(value):
    """The same array with one other value."""

    def change(weight):
        weight = weight.copy()
        weight[-1, -1] = value
        return weight

    return change


def call(tokens, **settings):
    return lambda e: e.model(tokens, e.cache, **settings)


def with_cache(make, tokens=((1,), (2,))):
    return lambda e: e.model(tokens, make(e))


def generate(prompts=((1,), (2, 3)), n=4, **settings):
    """`stream` raises when called, before the first token, and `generate` raises the same error."""

    def call(e):
        arguments = {"cache": e.cache, **settings}
        model = arguments.pop("model", e.model)
        with pytest.raises((TypeError, ValueError)) as refused:
            e.mm.stream(model, prompts, n, **arguments)
        with pytest.raises(refused.type, match=re.escape(str(refused.value))):
            e.mm.generate(model, prompts, n, **arguments)
        raise refused.value

    return call


def probabilities(*arguments, **options):
    return lambda e: e.mm.probabilities(*arguments, **options)


T, V = TypeError, ValueError
COUNTS = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "window_size",
          "context_len", "vocab_size")  # fmt: skip
NO_COUNTS = [(0, V), (-3, V), (2.0, T), (NAN, T), (True, T), ("4", T), ([4], T), (10**30 + 0.5, T)]
NO_NUMBERS = [(0, V), (-1e-5, V), (NAN, V), (INF, V), (True, T), ("1e4", T), (None, T), (1j, T)]
CONFIGS = {
    f"config: {name} {value!r}": (config(**{name: value}), error, f"^{name} .*{re.escape(shown)}$")
    for names, values in ((COUNTS, NO_COUNTS), (("norm_eps", "rope_theta"), NO_NUMBERS))
    for name in names for value, error in values for shown in [repr(value)]
}  # fmt: skip
BAD = {
    # ModelConfig: what is not in CONFIGS
    "config: odd head_dim": (config(head_dim=5), V, "head_dim must be even.*5"),
    "config: n_heads no multiple": (config(n_heads=3), V, "n_heads .*n_kv_heads = 2, not 3"),
    "config: more KV heads": (config(n_kv_heads=8), V, "n_heads .*n_kv_heads = 8, not 4"),
    "config: context_len None": (config(context_len=None), T, "context_len .*None"),
    "config: rope_theta too large": (config(rope_theta=10**400), V, "rope_theta .*1000"),
    "config: version": (lambda e: ModelConfig.mistral_7b("v9"), V, "version .*v0.1.*'v9'"),
    # RollingCache
    "cache: config": (cache({"dim": 8}, 1), T, "config must be a ModelConfig.*dim"),
    "cache: batch_size 0": (cache(small(), 0), V, "batch_size .*0"),
    "cache: batch_size 1.0": (cache(small(), 1.0), T, r"batch_size .*1\.0"),
    "cache: batch_size 1.5": (cache(small(), 1.5), T, r"batch_size .*1\.5"),
    "cache: batch_size True": (cache(small(), True), T, "batch_size .*True"),
    "cache: batch_size None": (cache(small(), None), T, "batch_size .*None"),
    "cache: no max_tokens": (cache(GROWING, 1), V, "max_tokens must be given"),
    "cache: max_tokens 0": (cache(GROWING, 1, 0), V, "max_tokens .*0"),
    "cache: max_tokens -1": (cache(small(), 1, -1), V, "max_tokens .*-1"),
    "cache: max_tokens 2.5": (cache(GROWING, 1, 2.5), T, r"max_tokens .*2\.5"),
    "cache: max_tokens True": (cache(GROWING, 1, True), T, "max_tokens .*True"),
    "cache: max_tokens text": (cache(GROWING, 1, "9"), T, "max_tokens .*'9'"),
    "cache: dtype int8": (cache(small(), 1, dtype="int8"), V, "dtype .*'int8'"),
    "cache: dtype unknown": (cache(small(), 1, dtype="float33"), V, "dtype .*'float33'"),
    "cache: dtype int": (cache(small(), 1, dtype=int), V, "dtype .*int"),
    "cache: dtype None": (cache(small(), 1, dtype=None), V, "dtype .*None"),
    # Weights
    "weights: config": (lambda e: e.mm.Mistral("7b", e.weights), T, "config .*'7b'"),
    "weights: of another config": (lambda e: e.mm.Mistral(small(dim=16), e.weights), V,
                                   r"tok_embeddings.weight must be \(11, 16\), not \(11, 8\)"),
    "weights: missing": (weights({WQ: None}), V, f"lack '{WQ}'"),
    "weights: unknown": (weights({"lm_head.weight": np.ones(3)}), V, "not have 'lm_head.weight'"),
    "weights: misshaped": (weights({WQ: np.transpose}), V, rf"{WQ} .*\(16, 8\), not \(8, 16\)"),
    "weights: flat": (weights({"norm.weight": lambda w: w[:, None]}), V, r"norm.weight .*\(8, 1\)"),
    "weights: integers": (weights({WQ: lambda w: w.astype(int)}), T, f"{WQ} .*int64"),
    "weights: another dtype": (weights({WQ: np.float64}), T, f"{WQ} .*float32.*float64"),
    "weights: NaN": (weights({WQ: poked(NAN)}), V, f"{WQ} must be finite"),
    "weights: infinity": (weights({"output.weight": poked(-INF)}), V, "output.weight .*finite"),
    "weights: too large": (weights({WQ: poked(1e9)}, dtype="float16"), V, f"{WQ} .*finite"),
    "weights: all of another dtype": (
        lambda e: e.mm.Mistral(small(), {n: w.astype(int) for n, w in e.weights.items()}), T,
        "tok_embeddings.weight must be of a float dtype, not .*int64"),
    "weights: bool": (weights({WQ: lambda w: w > 0}), T, f"{WQ} .*bool"),
    "weights: complex": (weights({WQ: lambda w: w * 1j}), T, f"{WQ} .*complex64"),
    "weights: minus infinity": (weights({WQ: poked(-INF)}), V, f"{WQ} must be finite"),
    "weights: None": (weights({WQ: lambda w: None}), (T, V), f"{WQ} must be"),
    "weights: too large a number": (weights({WQ: [[10**400]]}, dtype="float32"), T, WQ),
    "weights: several missing": (lambda e: e.mm.Mistral(small(), {}), V,
                                 "lack 'tok_embeddings.weight' and 20 more"),
    "weights: nothing": (weights({WQ: lambda w: [None]}), (T, V), WQ),
    "weights: text": (weights({WQ: "ones"}), (T, V), WQ),
    "weights: ragged": (weights({WQ: [[1.0], [1.0, 2.0]]}), T, WQ),
    "weights: a list": (lambda e: e.mm.Mistral(small(), [1]), T, "weights must be a dict.*list"),
    "weights: text for all": (lambda e: e.mm.Mistral(small(), "ones"), T, "weights .*dict.*str"),
    "weights: dtype unknown": (weights(dtype="float33"), V, "dtype .*'float33'"),
    "weights: dtype empty": (weights(dtype=""), V, "dtype .*''"),
    "weights: dtype 0": (weights(dtype=0), V, "dtype .*0"),
    "weights: dtype": (weights(dtype="int8"), V, "dtype .*'int8'"),
    "weights: seed -1": (lambda e: e.mm.Mistral(small(), seed=-1), V, "seed .*-1"),
    "weights: seed 0.5": (lambda e: e.mm.Mistral(small(), seed=0.5), T, r"seed .*0\.5"),
    "weights: seed text": (lambda e: e.mm.Mistral(small(), seed="a"), T, "seed .*'a'"),
    "weights: seed None": (lambda e: e.mm.Mistral(small(), seed=None), T, "seed .*None"),
    # Tokens
    "tokens: V": (call([[1], [11]]), V, "tokens .*vocab_size - 1 = 10, not 1 to 11"),
    "tokens: -1": (call([[1], [-1]]), V, "tokens .*not -1 to 1"),
    "tokens: float": (call([[1.0], [2.0]]), T, "tokens must be integers.*float"),
    "tokens: bool": (call([[True], [False]]), T, "tokens must be integers.*bool"),
    "tokens: a text each": (call([["a"], ["b"]]), T, "tokens must be .*(str|<U1)"),
    "tokens: a number": (call(3), V, r"tokens must be \(B, T\).*\(\)"),
    "tokens: None in a row": (call([[1], [None]]), T, "tokens must be .*(object|NoneType)"),
    "tokens: beyond int64": (call([[1], [2**70]]), T, "tokens must be"),
    "tokens: text": (call("ab"), T, "tokens must be"),
    "tokens: None": (call(None), T, "tokens must be"),
    "tokens: one row flat": (call([1, 2]), V, r"tokens must be \(B, T\).*\(2,\)"),
    "tokens: 3 axes": (call(np.ones((2, 1, 1), int)), V, r"tokens must be \(B, T\).*\(2, 1, 1\)"),
    "tokens: none": (call([[], []]), V, r"tokens .*\(2, 0\)"),
    "tokens: no row": (call(np.zeros((0, 2), int)), V, r"tokens .*\(0, 2\)"),
    "tokens: ragged": (call([[1, 2], [3]]), T, "tokens must be an array"),
    "tokens: real ones only": (call([[1, 99], [2, 99]], lengths=[1, 2]), V, "tokens .*99"),
    # Lengths
    "lengths: too many": (call([[1], [2]], lengths=[1, 1, 1]), V, r"lengths .*\(2,\), not \(3,\)"),
    "lengths: a number": (call([[1], [2]], lengths=1), V, "lengths"),
    "lengths: negative": (call([[1], [2]], lengths=[-1, 1]), V, r"lengths .*T = 1, not \[-1, 1\]"),
    "lengths: beyond T": (call([[1], [2]], lengths=[1, 2]), V, r"lengths .*T = 1, not \[1, 2\]"),
    "lengths: two axes": (call([[1], [2]], lengths=[[1], [1]]), V, r"lengths .*\(2, 1\)"),
    "lengths: bool": (call([[1], [2]], lengths=[True, True]), T, "lengths must be int.*bool"),
    "lengths: None in it": (call([[1], [2]], lengths=[None, 1]), T, "lengths must be"),
    "lengths: float": (call([[1], [2]], lengths=[0.5, 1]), T, "lengths must be integers.*float"),
    "lengths: text": (call([[1], [2]], lengths="ab"), (T, V), "lengths"),
    # A cache for this model
    "model's cache: rows": (with_cache(lambda e: e.model.new_cache(3)), V, "cache .*2 rows, not 3"),
    "model's cache: window": (with_cache(lambda e: e.mm.RollingCache(small(window_size=5), 2)), V,
                              "cache must be of .*window_size=4.* not of .*window_size=5"),
    "model's cache: theta": (with_cache(lambda e: e.mm.RollingCache(
        replace(small(), rope_theta=1e6), 2)), V, "cache must be of .*not of .*1000000"),
    "model's cache: dtype": (with_cache(lambda e: e.mm.RollingCache(small(), 2, dtype="float64")),
                             T, "cache must be .*float32.*float64"),
    "model's cache: the twin's": (with_cache(lambda e: OTHER[e.mm].RollingCache(small(), 2)), T,
                                  "cache must be a minimistral.*RollingCache, not"),
    "model's cache: False": (with_cache(lambda e: False), T, "cache must be .*False"),
    "model's cache: the class": (with_cache(lambda e: e.mm.RollingCache), T, "cache .*not <class"),
    "model's cache: a dict": (with_cache(lambda e: {"k": 1}), T, "cache must be .*'k'"),
    "model's cache: full": (lambda e: e.growing([[1, 2], [3, 4]], e.full), V,
                            "row 0 holds 2 of max_tokens = 3 and cannot take 2 more"),
    "model's cache: one row full": (
        lambda e: e.growing([[1, 2], [3, 4]], e.full, lengths=[1, 2]), V, "row 1 holds 2"),
    # generate
    "prompts: the last empty": (generate([[1], [2], []]), V, r"prompts\[2\] .*one id"),
    "prompts: an array of none": (generate(np.zeros((2, 0), int)), V, r"prompts\[0\] .*one id"),
    "prompts: bytes": (generate(b"hello"), T, "prompts .*b'hello'"),
    "prompts: a dict": (generate({"ids": [1]}), T, "prompts .*'ids'"),
    "prompts: a float in one": (generate([1, 2.5]), T, r"prompts .*2\.5"),
    "prompts: floats": (generate(np.ones((2, 2))), T, r"prompts\[0\] .*1\.0"),
    "prompts: -1 in one": (generate([1, -1]), V, "prompts .*-1"),
    "prompts: 3 axes": (generate(np.ones((2, 1, 1), int)), T, r"prompts\[0\] .*\[1\]"),
    "prompts: empty": (generate([]), V, "prompts must hold at least one id"),
    "prompts: one empty": (generate([[1], []]), V, r"prompts\[1\] must hold at least one id"),
    "prompts: text": (generate("hello"), T, "prompts .*'hello'"),
    "prompts: a text each": (generate(["hello", "you"]), T, "prompts .*'hello'"),
    "prompts: a set": (generate([[1], {2, 3}]), T, r"prompts .*\{2, 3\}"),
    "prompts: None": (generate(None), T, "prompts .*None"),
    "prompts: a number": (generate(3), T, "prompts .*3"),
    "prompts: id V": (generate([[1], [2, 11]]), V, r"prompts\[1\] .*vocab_size = 11, not 11"),
    "prompts: id -1": (generate([[1], [-1]]), V, r"prompts\[1\] .*-1"),
    "prompts: float id": (generate([[1], [2.5]]), T, r"prompts\[1\] .*2\.5"),
    "prompts: bool id": (generate([[1], [True]]), T, r"prompts\[1\] .*True"),
    "prompts: too deep": (generate([[[1]], [[2]]]), T, r"prompts\[0\] .*\[1\]"),
    "prompts: mixed": (generate([[1], 2]), T, r"prompts\[1\] .*2"),
    "prompts: rows of the cache": (generate([[1]]), V, "cache must have 1 rows, not 2"),
    "max_new_tokens 0": (generate(n=0), V, "max_new_tokens .*0"),
    "max_new_tokens -1": (generate(n=-1), V, "max_new_tokens .*-1"),
    "max_new_tokens 1.5": (generate(n=1.5), T, r"max_new_tokens .*1\.5"),
    "max_new_tokens True": (generate(n=True), T, "max_new_tokens .*True"),
    "max_new_tokens None": (generate(n=None), T, "max_new_tokens .*None"),
    "max_new_tokens 2.0": (generate(n=2.0), T, r"max_new_tokens .*2\.0"),
    "chunk_size 0": (generate(chunk_size=0), V, "chunk_size .*0"),
    "chunk_size -3": (generate(chunk_size=-3), V, "chunk_size .*-3"),
    "chunk_size 2.5": (generate(chunk_size=2.5), T, r"chunk_size .*2\.5"),
    "chunk_size False": (generate(chunk_size=False), T, "chunk_size .*False"),
    "chunk_size text": (generate(chunk_size="8"), T, "chunk_size .*'8'"),
    "temperature -1": (generate(temperature=-1), V, "temperature .*at least 0, not -1"),
    "temperature nan": (generate(temperature=NAN), V, "temperature .*nan"),
    "temperature inf": (generate(temperature=INF), V, "temperature .*inf"),
    "temperature text": (generate(temperature="hot"), T, "temperature .*'hot'"),
    "top_p 0": (generate(top_p=0), V, "top_p .*above 0 and at most 1, not 0"),
    "temperature None": (generate(temperature=None), T, "temperature .*None"),
    "temperature True": (generate(temperature=True), T, "temperature .*True"),
    "temperature -inf": (generate(temperature=-INF), V, "temperature .*-inf"),
    "top_p -0.1": (generate(top_p=-0.1), V, r"top_p .*-0\.1"),
    "top_p text": (generate(top_p="0.9"), T, "top_p .*'0.9'"),
    "top_p 1.1": (generate(top_p=1.1), V, r"top_p .*1\.1"),
    "top_p nan": (generate(top_p=NAN), V, "top_p .*nan"),
    "top_p None": (generate(top_p=None), T, "top_p .*None"),
    "top_k 0": (generate(top_k=0), V, "top_k .*at least 1, not 0"),
    "top_k 1.5": (generate(top_k=1.5), T, r"top_k .*1\.5"),
    "top_k True": (generate(top_k=True), T, "top_k .*True"),
    "min_p -0.1": (generate(min_p=-0.1), V, r"min_p .*at least 0 and at most 1, not -0\.1"),
    "min_p 1.1": (generate(min_p=1.1), V, r"min_p .*1\.1"),
    "min_p None": (generate(min_p=None), T, "min_p .*None"),
    "repetition_penalty 0": (
        generate(repetition_penalty=0), V, "repetition_penalty .*above 0, not 0"),
    "repetition_penalty nan": (generate(repetition_penalty=NAN), V, "repetition_penalty .*nan"),
    "repetition_penalty text": (generate(repetition_penalty="2"), T, "repetition_penalty .*'2'"),
    "repetition_penalty None": (generate(repetition_penalty=None), T, "repetition_penalty .*None"),
    "allowed: no function": (generate(allowed=[True] * 11), T, r"allowed .*function.*\[True"),
    "allowed: of another V": (
        generate(allowed=lambda ids: np.ones(10, bool)), V, r"allowed .*\(11,\), not array"),
    "allowed: a row for each": (
        generate(allowed=lambda ids: np.ones((2, 11), bool)), V, r"allowed .*\(11,\), not"),
    "allowed: numbers": (generate(allowed=lambda ids: np.ones(11)), V, "allowed .*bool.*1"),
    "allowed: ids": (generate(allowed=lambda ids: [1, 2]), V, r"allowed .*\(11,\), not \[1, 2\]"),
    "allowed: nothing": (
        generate(allowed=lambda ids: np.zeros(11, bool)), V, "allowed .*True, but after 0 new ids"),
    "allowed: None": (generate(allowed=lambda ids: None), V, r"allowed .*\(11,\), not None"),
    "seed -1": (generate(seed=-1), V, "seed .*-1"),
    "seed 1.5": (generate(seed=1.5), T, r"seed .*1\.5"),
    "seed text": (generate(seed="a"), T, "seed .*'a'"),
    "seed True": (generate(seed=True), T, "seed .*True"),
    "stop_ids: None": (generate(stop_ids=None), T, "stop_ids .*None"),
    "stop_ids: -1": (generate(stop_ids=[2, -1]), V, "stop_ids .*-1"),
    "stop_ids: float": (generate(stop_ids=[2.0]), T, r"stop_ids .*2\.0"),
    "stop_ids: a text in it": (generate(stop_ids=["</s>"]), T, "stop_ids .*'</s>'"),
    "stop_ids: two rows": (generate(stop_ids=[[1], [2]]), T, r"stop_ids .*\[1\]"),
    "stop_ids: a number": (generate(stop_ids=2), T, "stop_ids .*2"),
    "stop_ids: text": (generate(stop_ids="</s>"), T, "stop_ids .*</s>"),
    "stop_ids: V": (generate(stop_ids=[11]), V, "stop_ids .*11"),
    "generate: no room": (
        lambda e: generate([[1], [2]], 3, model=e.growing, cache=e.full)(e), V,
        "row 0 holds 2 of max_tokens = 3 and cannot take 3 more"),
    "generate: no room in a row": (
        lambda e: generate([[1], [2, 3]], 1, model=e.growing, cache=e.full)(e), V,
        "row 1 holds 2 of max_tokens = 3 and cannot take 2 more"),
    "generate: the cache of another": (
        lambda e: generate(cache=e.full)(e), V, "cache must be of .*window_size=4.*=None"),
    "generate: a cache of another dtype": (
        lambda e: generate(cache=e.mm.RollingCache(small(), 2, dtype="float64"))(e), T,
        "cache must be .*float32.*float64"),
    "generate: the twin's cache": (
        lambda e: generate(cache=OTHER[e.mm].RollingCache(small(), 2))(e), T,
        "cache must be a minimistral.*RollingCache, not"),
    "generate: cache False": (generate(cache=False), T, "cache must be .*False"),
    "generate: no model": (lambda e: generate(model=e.weights)(e), T, "model must be .*dict"),
    "generate: the twin's model": (
        lambda e: generate(model=OTHER[e.mm].Mistral(small(), e.weights), cache=None)(e), T,
        r"model must be a minimistral\.(np|pt)\.model\.Mistral, not a minimistral\.(np|pt)\."),
    "generate: the class": (
        lambda e: generate(model=e.mm.Mistral, cache=None)(e), T, "model must be .*type"),
    # probabilities
    "logits: too many axes": (probabilities(np.ones((1, 2, 3))), V, r"logits must be \(V,\)"),
    "logits: one row of two": (probabilities([[0.0, 1.0], [NAN, 1.0]]), V, "logits .*finite"),
    "logits: none": (probabilities([]), V, "logits"),
    "logits: NaN": (probabilities([0.0, NAN]), V, "logits .*finite.*nan"),
    "logits: infinity": (probabilities([0.0, INF]), V, "logits .*finite.*inf"),
    "logits: all impossible": (probabilities([-INF, -INF]), V, "logits .*finite"),
    "logits: text": (probabilities("abc"), T, "logits"),
    "logits: a number": (probabilities(1.0), V, r"logits must be \(V,\).*1"),
    "logits: too large": (probabilities([10**400, 0]), T, "logits must be"),
    "logits: NaN at temperature 0": (probabilities([NAN, 1.0], 0), V, "logits .*nan"),
    "probabilities: temperature": (probabilities([0.0], -0.5), V, r"temperature .*-0\.5"),
    "probabilities: top_p": (probabilities([0.0], 1, 2), V, "top_p .*2"),
    "probabilities: top_k": (probabilities([0.0], top_k=-1), V, "top_k .*-1"),
    "probabilities: min_p": (probabilities([0.0], min_p=2), V, "min_p .*2"),
    "repetition_penalty -1": (
        probabilities([0.0], repetition_penalty=-1, seen=[True]), V, "repetition_penalty .*-1"),
    "seen: None": (
        probabilities([0.0], repetition_penalty=1.5), V, r"seen .*penalty = 1\.5, not None"),
    "seen: ids": (probabilities([0.0, 1.0], seen=[0, 1]), T, "seen must be bool .*int64"),
    "seen: of another V": (
        probabilities([0.0, 1.0], seen=[True]), V, r"seen .*of logits, \(2,\), not \(1,\)"),
    "seen: of another B": (
        probabilities([[0.0, 1.0]], seen=[[True, True]] * 2), V,
        r"seen must be \(V,\) or of the shape of logits, \(1, 2\), not \(2, 2\)"),
    "repetition_penalty: too large": (
        probabilities([-1e9, -1e9], repetition_penalty=1e300, seen=[True, True]), V,
        "logits .*finite.*-inf"),
}  # fmt: skip
ONLY_NP = {
    "cache: bfloat16": (cache(small(), 1, dtype="bfloat16"), V, "dtype .*float64, not 'bfloat16'"),
    "weights: bfloat16": (weights({WQ: lambda w: torch.ones(16, 8, dtype=torch.bfloat16)}), T, WQ),
    "weights: with gradient": (
        weights({WQ: lambda w: torch.ones(16, 8, requires_grad=True)}), T, WQ),
}  # fmt: skip
ONLY_PT = {
    "cache: device": (cache(small(), 1, device="gpu"), V, "device .*'gpu'"),
    "weights: device": (weights(device="abacus"), V, "device .*'abacus'"),
    "weights: device 1.5": (weights(device=1.5), V, r"device .*1\.5"),
    "model's cache: device": (
        with_cache(lambda e: e.mm.RollingCache(small(), 2, device="meta")), V,
        "cache .*on cpu.*meta"),
}  # fmt: skip
CASES = [(name, mm) for name in BAD for mm in (mn, mp)] + [(name, mn) for name in CONFIGS]
CASES += [(name, mn) for name in ONLY_NP] + [(name, mp) for name in ONLY_PT]


@pytest.mark.parametrize(("name", "mm"), CASES, ids=lambda value: getattr(value, "__name__", value))
def test_bad_input_is_named_and_changes_nothing(name, mm):
    bad, error, named = {**BAD, **CONFIGS, **ONLY_NP, **ONLY_PT}[name]
    engine = Engine(mm)
    before = engine.state()
    with pytest.raises(error, match=named):
        bad(engine)
    now = engine.state()
    assert [name for name in before if now.get(name) != before[name]] == []
    for ours, theirs in zip(engine.works(), as_it_works(mm), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_the_table_is_long_enough():
    assert len(BAD) >= 160 and len(CONFIGS) >= 80


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
@pytest.mark.parametrize("make", [weights(device="cuda"), cache(small(), 1, device="cuda")])
def test_a_gpu_that_is_not_there(make):
    with pytest.raises(ValueError, match=r"device must be .*no CUDA"):
        make(Engine(mp))


# Unusual input that is allowed


@TWINS
@pytest.mark.parametrize("dtype", ["int8", "uint8", "int16", "uint16", "int64", "uint64"])
def test_lengths_of_any_integer_dtype(mm, dtype):
    """In uint8, 0 - 1 is 255; and the cache must not keep the tokens of a call that fails."""
    model = Engine(mm).model
    tokens, cache = [[1, 2, 3], [4, 5, 6]], model.new_cache(2)
    expected = model(tokens, last_only=True, lengths=[0, 2])
    logits = model(tokens, cache, last_only=True, lengths=np.array([0, 2], dtype))
    np.testing.assert_allclose(logits, expected, atol=1e-6)
    assert cache.seen.tolist() == [0, 2]


@TWINS
def test_a_seed_of_any_size(mm):
    first, second = (mm.Mistral(small(), seed=seed).weights[WQ] for seed in (2**64, 2**64 + 1))
    assert not np.allclose(first, second)


@pytest.mark.parametrize("trained", [False, True])
def test_weights_that_can_be_trained(trained):
    """A parameter shares the memory of what it was given, and takes gradients if that did."""
    weights = {n: torch.tensor(w, requires_grad=trained) for n, w in Engine(mp).weights.items()}
    parameters = dict(mp.Mistral(small(), weights).named_parameters())
    assert {p.requires_grad for p in parameters.values()} == {trained}
    assert all(parameters[n].data_ptr() == w.data_ptr() for n, w in weights.items())
