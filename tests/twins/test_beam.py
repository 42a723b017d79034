"""Beam search against all continuations, greedy decoding and transformers."""

import itertools

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import random_config, random_model, random_tokens, small, transformers_model

from minimistral import np as mn
from minimistral import pt as mp

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])


def engine(mm, config, seed=0, dtype="float64"):
    return mm.Mistral(config, random_model(config, seed, dtype).weights)


def log_probability(model, prompt, ids):
    """Of new ids after a prompt: the whole text at once, without a cache."""
    logits = np.asarray(model([[*prompt, *ids]]))[0, len(prompt) - 1 : -1].astype(np.float64)
    log_p = logits - np.log(np.exp(logits).sum(axis=-1, keepdims=True))
    return float(sum(log_p[n, token] for n, token in enumerate(ids)))


def all_texts(model, prompt, n, stop_ids):
    """Every text of n ids, or that ends earlier with a stop id; the likeliest first."""
    texts = set()
    for ids in itertools.product(range(model.config.vocab_size), repeat=n):
        end = next((i + 1 for i, token in enumerate(ids) if token in stop_ids), n)
        texts.add(ids[:end])
    scored = [(list(ids), log_probability(model, prompt, ids)) for ids in texts]
    return sorted(scored, key=lambda text: -text[1])


def assert_same_texts(ours, expected, tolerance=1e-9):
    assert [ids for ids, _ in ours] == [ids for ids, _ in expected]
    scores = [[score for _, score in texts] for texts in (ours, expected)]
    np.testing.assert_allclose(*scores, atol=tolerance)


@TWINS
@pytest.mark.parametrize("stop_ids", [(), (1,), (0, 2)])
@pytest.mark.parametrize("W", [2, None])
def test_with_a_beam_for_every_text_nothing_is_missed(mm, stop_ids, W):
    """3 ** 4 texts; a prompt beyond 2W."""
    model, prompt = engine(mm, small(vocab_size=3, window_size=W)), [1, 2, 0, 0, 1, 2, 1]
    expected = all_texts(model, prompt, 4, stop_ids)
    found = mm.beam_search(model, prompt, 4, 3**4, stop_ids=stop_ids)
    assert len(found) == (81 if not stop_ids else len(expected))
    assert_same_texts(found, expected)
    few = mm.beam_search(model, prompt, 4, 3**4 - 1, stop_ids=stop_ids)
    assert_same_texts(few, expected[:80])


@TWINS
@given(seed=st.integers(0, 9999))
def test_one_beam_is_greedy(mm, seed):
    rng = np.random.default_rng(seed)
    model = engine(mm, random_config(rng, 12), seed)
    prompt = random_tokens(rng, model.config, 1, int(rng.integers(1, 20)))[0].tolist()
    n, stop = int(rng.integers(1, 12)), rng.integers(0, model.config.vocab_size, 3).tolist()
    [(ids, score)] = mm.beam_search(model, prompt, n, 1, stop_ids=stop)
    assert ids == mm.generate(model, prompt, n, stop_ids=stop)
    assert score == pytest.approx(log_probability(model, prompt, ids))


def beams_as_sets(model, prompt, n, n_beams, stop_ids):
    """The specification: texts as tuples, each scored anew from its beginning."""
    running, ended = {()}, {}
    for _ in range(n):
        longer = {(*ids, token) for ids in running for token in range(model.config.vocab_size)}
        scores = {ids: log_probability(model, prompt, ids) for ids in longer}
        ranked = sorted(longer, key=lambda ids: -scores[ids])
        ended |= {ids: scores[ids] for ids in ranked[:n_beams] if ids[-1] in stop_ids}
        running = [ids for ids in ranked if ids[-1] not in stop_ids][:n_beams]
        kept = {ids: scores[ids] for ids in running}
    texts = sorted((ended | kept).items(), key=lambda text: -text[1])
    return [(list(ids), score) for ids, score in texts[:n_beams]]


@TWINS
@pytest.mark.parametrize("seed", range(25))
def test_a_search_is_that_of_the_specification(mm, seed):
    """It never ends early there, so here nothing may be lost by it. Prompts beyond 2W."""
    rng = np.random.default_rng(seed)
    # With a window of 1 two orders of the same steps are equally likely, up to rounding.
    model = engine(mm, small(vocab_size=4, window_size=int(rng.integers(2, 5))), seed)
    prompt = random_tokens(rng, model.config, 1, int(rng.integers(1, 14)))[0].tolist()
    n, n_beams = int(rng.integers(1, 7)), int(rng.integers(1, 6))
    stops = rng.integers(0, 4, rng.integers(0, 3)).tolist()
    found = mm.beam_search(model, prompt, n, n_beams, stop_ids=stops)
    assert_same_texts(found, beams_as_sets(model, prompt, n, n_beams, stops))


@TWINS
@pytest.mark.parametrize("seed", range(6))
def test_transformers_finds_the_same_texts(mm, seed):
    """length_penalty=0 and early_stopping=False, with and without a stop id."""
    config = small(vocab_size=11, window_size=4)
    model = engine(mm, config, seed)
    oracle = transformers_model(random_model(config, seed, "float64"), "eager").double()
    prompt = random_tokens(np.random.default_rng(seed), config, 1, 11)
    for n_beams, stops in ((2, []), (3, [seed]), (4, [5, 7])):
        out = oracle.generate(
            torch.as_tensor(prompt), attention_mask=torch.ones(1, 11, dtype=torch.long),
            max_new_tokens=8, num_beams=n_beams, num_return_sequences=n_beams,
            length_penalty=0.0, early_stopping=False, do_sample=False, pad_token_id=10,
            eos_token_id=stops or None, return_dict_in_generate=True, output_scores=True,
        )  # fmt: skip
        expected = []
        for row, score in zip(out.sequences[:, 11:].tolist(), out.sequences_scores, strict=True):
            end = next((i + 1 for i, token in enumerate(row) if token in stops), len(row))
            expected.append((row[:end], float(score)))
        found = mm.beam_search(model, prompt[0].tolist(), 8, n_beams, stop_ids=stops)
        assert_same_texts(found, expected, tolerance=1e-4)


@TWINS
def test_it_ends_when_no_running_text_can_come_among_the_best(mm, monkeypatch):
    """A stop id that is nearly certain: one pass is enough for one beam, and few for two."""
    model = engine(mm, small())
    weights = dict(model.weights)
    calls = []
    run = mm.Mistral.__call__
    stop = mm.generate(model, [1, 2, 3], 1)
    monkeypatch.setattr(
        mm.Mistral, "__call__", lambda *rest, **more: calls.append(1) or run(*rest, **more)
    )
    [(ids, _)] = mm.beam_search(mm.Mistral(model.config, weights), [1, 2, 3], 30, 1, stop_ids=stop)
    assert ids == stop and len(calls) == 1


@TWINS
def test_what_cannot_come_is_in_no_text(mm):
    """All but two logits are -infinity: no more than 2 ** 3 texts."""
    model = engine(mm, small())
    calls = []

    class Blocked(mm.Mistral):
        def __call__(self, *rest, **options):
            logits = super().__call__(*rest, **options)
            logits[..., 2:] = -np.inf
            calls.append(logits.shape[0])
            return logits

    blocked = Blocked(model.config, model.weights)
    found = mm.beam_search(blocked, [1, 2, 3], 3, 20)
    assert len(found) == 8 and {token for ids, _ in found for token in ids} == {0, 1}
    assert calls == [1, 2, 4] and sum(np.exp(score) for _, score in found) == pytest.approx(1)


@TWINS
def test_weights_that_are_broken_are_told(mm):
    model = engine(mm, small())
    weights = {name: 1e200 * w if name in ("output.weight", "norm.weight") else w
               for name, w in model.weights.items()}  # fmt: skip
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="logits must be finite"):
        mm.beam_search(mm.Mistral(model.config, weights), [1, 2], 4, 2)


@TWINS
@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"prompt": [[1, 2], [3]]}, ValueError, "prompt must be one list of ids"),
        ({"prompt": [-1]}, ValueError, "prompt must be at least 0"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens must be at least 1"),
        ({"n_beams": 0}, ValueError, "n_beams must be at least 1"),
        ({"n_beams": 2.0}, TypeError, "n_beams must be a whole number"),
        ({"stop_ids": 3}, TypeError, "stop_ids must be a list of ids"),
        ({"model": None}, TypeError, "model must be a .*Mistral, not a builtins.NoneType"),
    ],
)
def test_bad_arguments(mm, changes, error, reason):
    arguments = {"model": engine(mm, small()), "prompt": [1], "max_new_tokens": 3, "n_beams": 2}
    with pytest.raises(error, match=reason):
        mm.beam_search(**{**arguments, **changes})
