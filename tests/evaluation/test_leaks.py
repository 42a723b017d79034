"""The leak detector: silent on every model of the course, and loud on every planted leak."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from minimistral import ModelConfig, tiny
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.course.mine.parts import Parts, forward
from minimistral.evaluation.leaks import find_leak

TINY = replace(ModelConfig.tiny(), window_size=4, n_layers=2)
TOKENS = np.random.default_rng(0).integers(0, TINY.vocab_size, 24)  # three windows and more
REACH = TINY.n_layers * (TINY.window_size - 1)


def leak(model, reach=REACH, tokens=TOKENS):
    return find_leak(model, tokens, TINY.vocab_size, reach)


def chunked(mm, model, size):
    """The logits of a text that is read in chunks, through a cache."""

    def logits(tokens):
        cache = model.new_cache(1)
        parts = [model(tokens[:, n : n + size], cache) for n in range(0, tokens.shape[1], size)]
        return np.concatenate([np.asarray(part) for part in parts], axis=1)

    return logits


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
@settings(max_examples=15)
@given(
    window=st.one_of(st.none(), st.integers(1, 9)),
    layers=st.integers(1, 3),
    groups=st.sampled_from([1, 2, 4]),
    n_tokens=st.integers(1, 20),
    seed=st.integers(0, 99),
)
def test_no_model_of_the_course_leaks(mm, window, layers, groups, n_tokens, seed):
    config = replace(TINY, window_size=window, n_layers=layers, n_kv_heads=groups)
    model = mm.Mistral(config, seed=seed)
    tokens = np.random.default_rng(seed).integers(0, config.vocab_size, n_tokens)
    reach = None if window is None else layers * (window - 1)
    with torch.no_grad():
        assert find_leak(model, tokens, config.vocab_size, reach) is None


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
@pytest.mark.parametrize("size", [1, 3, 5, 24])
def test_nor_through_a_cache(mm, size):
    with torch.no_grad():
        assert leak(chunked(mm, mm.Mistral(TINY), size)) is None


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_nor_the_trained_model(mm):
    model = mm.load(tiny.FOLDER)
    tokens = np.random.default_rng(1).integers(0, 768, 150)  # beyond its reach of 4 * 31 tokens
    with torch.no_grad():
        assert find_leak(model, tokens, 768, reach=124) is None


def test_nor_the_learner_s_parts():
    model = mn.Mistral(TINY)
    assert leak(lambda tokens: forward(model, tokens[0], Parts())[None]) is None


def planted(monkeypatch, rule):
    """A model whose mask is made by another rule."""
    monkeypatch.setattr("minimistral.np.mask.visible", rule)
    return mn.Mistral(TINY)


@pytest.mark.parametrize(
    ("rule", "changed", "moved"),
    [
        (lambda q, k, W: (k >= 0) & (q - k >= -1) & (q - k < W), 1, 0),  # one token ahead
        (lambda q, k, W: (k >= 0) & (abs(q - k) < W), 1, 0),  # W - 1 tokens ahead
        (lambda q, k, W: (k >= 0) & (q - k < W), 1, 0),  # every token ahead
    ],
)
def test_a_mask_that_looks_ahead(monkeypatch, rule, changed, moved):
    found = leak(planted(monkeypatch, rule))
    assert (found.changed, found.moved) == (changed, moved) and found.by > 0


def test_a_window_that_is_one_too_wide_shows_behind(monkeypatch):
    wide = planted(monkeypatch, lambda q, k, W: (k >= 0) & (q - k >= 0) & (q - k <= W))
    assert leak(wide, reach=None) is None
    found = leak(wide)
    assert found.changed == 0 and found.moved == REACH + 1


def test_a_norm_over_the_whole_text(monkeypatch):
    """Centred over the tokens: nobody's mask is wrong, and still every token sees all others."""
    model = mn.Mistral(TINY)
    embed = model.embed
    monkeypatch.setattr(model, "embed", lambda *a: (x := embed(*a)) - x.mean(axis=1, keepdims=True))
    assert leak(model, None)[:2] == (1, 0)


def test_what_becomes_nan_has_moved():
    def model(tokens):
        return np.where(tokens[:, -1:, None] == 3, 0.0, np.nan) + np.zeros((1, 3, 9))

    found = find_leak(model, [1, 2, 3], 9)
    assert found[:2] == (2, 0) and np.isnan(found.by)


def test_a_model_of_nan_is_refused():
    with pytest.raises(ValueError, match="model must give finite logits"):
        find_leak(lambda tokens: np.full((1, 2, 9), np.nan), [1, 2], 9)


def test_the_window_of_one_token():
    assert find_leak(mn.Mistral(TINY), [5], TINY.vocab_size, REACH) is None
    assert find_leak(lambda tokens: np.zeros((1, 1, 2)), [0], 2) is None


@pytest.mark.parametrize(
    ("arguments", "error", "told"),
    [
        (([[1, 2]], 9), ValueError, r"tokens must be \(T,\), not \(1, 2\)"),
        (([], 9), ValueError, "at least one token"),
        (([1, 9], 9), ValueError, "tokens must be from 0 to vocab_size - 1 = 8"),
        (([0, 0], 1), ValueError, "vocab_size must be"),
        (([1, 2], 9, -1), ValueError, "reach must be"),
    ],
)
def test_bad_input_is_named(arguments, error, told):
    with pytest.raises(error, match=told):
        find_leak(lambda tokens: np.zeros((1, 2, 9)), *arguments)
