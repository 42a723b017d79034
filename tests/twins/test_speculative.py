"""Speculative decoding gives the text of greedy decoding, whatever the drafts are."""

import itertools
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from models import random_config, random_model, random_tokens, small

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np.speculative import draft

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])


def engine(mm, config=None, seed=0):
    """In float64, where rounding does not decide which logit is the largest."""
    return mm.Mistral(small() if config is None else config,
                      random_model(config or small(), seed, "float64").weights)  # fmt: skip


def joined(steps):
    return list(itertools.chain.from_iterable(steps))


def module(mm):
    return sys.modules[mm.speculate.__module__]


# Drafts


def draft_as_loops(ids, draft_tokens, ngram):
    """The last ngram ids, sought from the end; then one id after the other is copied."""
    for back in range(1, len(ids)):
        if len(ids) - ngram - back < 0:
            break
        if all(ids[-1 - i] == ids[-1 - i - back] for i in range(ngram)):
            text = list(ids)
            while len(text) < len(ids) + draft_tokens:
                text.append(text[-back])
            return text[len(ids) :]
    return []


@TWINS
@given(
    ids=st.lists(st.integers(0, 2), min_size=1, max_size=12),
    draft_tokens=st.integers(0, 6),
    ngram=st.integers(1, 4),
)
def test_a_draft_is_what_followed_last_time(mm, ids, draft_tokens, ngram):
    before = list(ids)
    assert module(mm).draft(ids, draft_tokens, ngram) == draft_as_loops(ids, draft_tokens, ngram)
    assert ids == before


# The same text


@TWINS
@given(seed=st.integers(0, 9999))
def test_the_text_is_that_of_greedy_decoding(mm, seed):
    """Any model, prompts beyond 2W, stop ids; the cache ends as that of `generate`."""
    rng = np.random.default_rng(seed)
    model = engine(mm, random_config(rng, 12), seed)
    vocab_size = model.config.vocab_size
    prompt = random_tokens(rng, model.config, 1, int(rng.integers(1, 40)))[0].tolist()
    n, k, ngram = (int(rng.integers(1, most)) for most in (30, 7, 4))
    stops = rng.integers(0, vocab_size, rng.integers(0, 3)).tolist()
    options = {"stop_ids": stops}
    caches = [model.new_cache(1, 70, spare=k) for _ in range(2)]
    expected = mm.generate(model, prompt, n, cache=caches[0], **options)
    steps = list(mm.speculate(
        model, prompt, n, draft_tokens=k, ngram=ngram, cache=caches[1], **options))  # fmt: skip
    assert joined(steps) == expected
    assert all(1 <= len(step) <= k + 1 for step in steps)
    assert caches[0].seen.tolist() == caches[1].seen.tolist()
    more = random_tokens(rng, model.config, 1, 3)
    np.testing.assert_allclose(model(more, caches[1]), model(more, caches[0]), atol=1e-9)
    again = mm.speculate(model, prompt, n, draft_tokens=k, ngram=ngram, **options)
    assert list(again) == steps


@TWINS
@given(seed=st.integers(0, 9999))
def test_drafts_right_and_wrong_in_any_mixture(mm, seed):
    """They need not come from the prompt: here each is right by chance, one after the other."""
    rng = np.random.default_rng(seed)
    model = engine(mm, small(window_size=int(rng.integers(1, 6))), seed)
    prompt = random_tokens(rng, model.config, 1, int(rng.integers(1, 20)))[0].tolist()
    n, k = int(rng.integers(1, 25)), int(rng.integers(1, 6))
    right = prompt + mm.generate(model, prompt, n + k)
    expected, passes = right[len(prompt) :][:n], []

    def drafts(ids, draft_tokens, ngram):
        assert ids == right[: len(ids)] and draft_tokens < n - (len(ids) - len(prompt))
        ahead = right[len(ids) :][: rng.integers(0, draft_tokens + 1)]
        found = [token if rng.random() < 0.7 else (token + 1) % 11 for token in ahead]
        n_right = next((i for i, pair in enumerate(zip(found, ahead, strict=True))
                        if pair[0] != pair[1]), len(found))  # fmt: skip
        passes.append(n_right + 1)
        return found

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module(mm), "draft", drafts)
        stop = {int(rng.integers(0, 11))} if rng.random() < 0.5 else set()
        steps = list(mm.speculate(model, prompt, n, draft_tokens=k, stop_ids=stop))
    end = next((i for i, token in enumerate(expected) if token in stop), n - 1)
    assert joined(steps) == expected[: end + 1]
    lengths = [len(step) for step in steps]
    assert lengths[1:-1] == passes[: len(steps) - 2] if len(steps) > 1 else lengths == [1]


@TWINS
@pytest.mark.parametrize("k", [1, 2, 4, 7])
def test_drafts_that_are_always_right_and_always_wrong(mm, k, monkeypatch):
    """Right: k + 1 ids for each pass after the prompt. Wrong: one, as without drafts."""
    model, prompt, n = engine(mm), [1, 2, 3, 4, 5, 6, 7, 8, 9, 10], 23
    expected = mm.generate(model, prompt, n)
    calls = []
    place = mm.Mistral
    run = place.__call__

    def counted(self, tokens, *rest, **options):
        calls.append(len(tokens[0]))
        return run(self, tokens, *rest, **options)

    monkeypatch.setattr(place, "__call__", counted)
    monkeypatch.setattr(
        module(mm), "draft",
        lambda ids, draft_tokens, ngram: expected[len(ids) - len(prompt) :][:draft_tokens],
    )  # fmt: skip
    steps = list(mm.speculate(model, prompt, n, draft_tokens=k))
    assert joined(steps) == expected
    assert len(calls) == 1 + -(-(n - 1) // (k + 1)) and len(steps[1]) == k + 1

    calls.clear()
    monkeypatch.setattr(
        module(mm), "draft",
        lambda ids, draft_tokens, ngram: [
            (token + 1) % 11 for token in expected[len(ids) - len(prompt) :][:draft_tokens]],
    )  # fmt: skip
    steps = list(mm.speculate(model, prompt, n, draft_tokens=k))
    assert steps == [[token] for token in expected]
    assert len(calls) == n and calls[1] == k + 1 and calls[-1] == 1  # nothing left to draft


@TWINS
def test_a_text_that_goes_in_circles_takes_fewer_passes(mm):
    """Not by a stand-in: the drafts of the prompt itself are right."""
    model = mm.Mistral(ModelConfig.tiny(), engine(mm, ModelConfig.tiny()).weights)
    zeros = {name: 0 * w if ".wo." in name or ".w2." in name else w
             for name, w in model.weights.items()}  # fmt: skip
    model = mm.Mistral(model.config, zeros)  # the next id depends on the last alone: a cycle
    prompt = mm.generate(model, [1], 200)[-8:]
    expected = mm.generate(model, prompt, 60)
    prompt += expected
    steps = list(mm.speculate(model, prompt, 60, draft_tokens=4))
    assert joined(steps) == mm.generate(model, prompt, 60) and len(steps) == 1 + -(-59 // 5)


# The cache


@TWINS
def test_a_cache_that_could_not_take_drafts_back_is_refused(mm):
    model, prompt = engine(mm), [1, 2, 3] * 5
    for cache in (model.new_cache(1), model.new_cache(1, spare=3)):
        with pytest.raises(ValueError, match="cache must have spare >= draft_tokens = 4 slots"):
            mm.speculate(model, prompt, 5, cache=cache)
        assert cache.seen.tolist() == [0]
    expected = mm.generate(model, prompt, 5)
    growing = engine(mm, small(window_size=None))
    for engine_, cache in (
        (model, model.new_cache(1, spare=4)),
        (model, model.new_cache(1, spare=9)),
        (growing, growing.new_cache(1, 15 + 4)),
    ):
        text = joined(mm.speculate(engine_, prompt, 5, cache=cache))
        assert text == (expected if engine_ is model else mm.generate(growing, prompt, 5))
    with pytest.raises(ValueError, match="cache is full: row 0 holds 0 of max_tokens = 18"):
        mm.speculate(growing, prompt, 5, cache=growing.new_cache(1, 18))


@TWINS
@pytest.mark.parametrize("broken", range(0, 12, 3))
def test_an_error_in_the_middle_loses_nothing(mm, broken, monkeypatch):
    """cache.seen then counts the prompt and all new ids but the last, as after `stream`."""
    model, prompt = engine(mm), [1, 2, 3, 4] * 3
    expected = mm.generate(model, prompt, 40)
    cache, new, layers = model.new_cache(1, spare=4), [], itertools.count()
    mistral = sys.modules[mm.Mistral.__module__]
    place, name = (mistral, "layer") if mm is mn else (mp.layer.Layer, "forward")
    layer = getattr(place, name)

    def fails(*rest):
        if next(layers) == 2 + broken:
            raise MemoryError
        return layer(*rest)

    monkeypatch.setattr(place, name, fails)
    with pytest.raises(MemoryError):
        for step in mm.speculate(model, prompt, 40, cache=cache):
            new += step
    assert cache.seen.tolist() == [len(prompt) + len(new) - 1]
    rest = mm.generate(model, new[-1:], 40 - len(new), cache=cache)
    assert new + rest == expected


@TWINS
def test_an_error_between_the_pass_and_taking_back(mm, monkeypatch):
    model, prompt = engine(mm), [1, 2, 3, 4] * 3
    expected = mm.generate(model, prompt, 20)
    cache = model.new_cache(1, spare=4)
    steps = mm.speculate(model, prompt, 20, cache=cache)
    new = next(steps) + next(steps)
    right = module(mm)._cut

    def interrupted(*rest):
        raise KeyboardInterrupt

    monkeypatch.setattr(module(mm), "draft", lambda ids, draft_tokens, ngram: [0] * draft_tokens)
    monkeypatch.setattr(module(mm), "_cut", interrupted)
    with pytest.raises(KeyboardInterrupt):
        next(steps)
    monkeypatch.setattr(module(mm), "_cut", right)
    assert cache.seen.tolist() == [len(prompt) + len(new) - 1]
    assert new + mm.generate(model, new[-1:], 20 - len(new), cache=cache) == expected


@TWINS
def test_weights_that_are_broken_are_told(mm):
    model = engine(mm)
    weights = {name: 1e200 * w if name == "output.weight" else w
               for name, w in model.weights.items()}  # fmt: skip
    weights["norm.weight"] = 1e200 * weights["norm.weight"]
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="logits of row 0 must be"):
        list(mm.speculate(mm.Mistral(model.config, weights), [1, 2], 4))


@TWINS
@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"prompt": [[1, 2], [3]]}, ValueError, "prompt must be one list of ids, not 2 lists"),
        ({"prompt": []}, ValueError, "prompt must hold at least one id"),
        ({"prompt": [11]}, ValueError, "prompt must be below vocab_size = 11, not 11"),
        ({"prompt": {1, 2}}, TypeError, "prompt must be"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens must be at least 1"),
        ({"draft_tokens": 0}, ValueError, "draft_tokens must be at least 1"),
        ({"draft_tokens": 2**60}, ValueError, "must be smaller"),
        ({"ngram": 0}, ValueError, "ngram must be at least 1"),
        ({"ngram": 1.5}, TypeError, "ngram must be a whole number"),
        ({"stop_ids": [11]}, ValueError, "stop_ids must be below"),
        ({"model": "mistral"}, TypeError, "model must be a .*Mistral, not a builtins.str"),
        ({"cache": "cache"}, TypeError, "cache must be a"),
    ],
)
def test_bad_arguments_are_refused_at_once(mm, changes, error, reason):
    arguments = {"model": engine(mm), "prompt": [1, 2], "max_new_tokens": 3, **changes}
    with pytest.raises(error, match=reason):
        mm.speculate(**arguments)


def test_the_twins_draft_alike():
    assert draft([1, 2, 1], 2, 1) == module(mp).draft([1, 2, 1], 2, 1) == [2, 1]
