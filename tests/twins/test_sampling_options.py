"""Top-k, min-p, the repetition penalty, and `allowed`: held to transformers and to slow loops."""

import math
from fractions import Fraction

import numpy as np
import pytest
import torch
from effort import rare, times
from hypothesis import assume, given
from hypothesis import strategies as st
from models import random_config, random_model, small, transformers_model, twins

from minimistral import np as mn
from minimistral import pt as mp

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])


def engine(mm, config=None, seed=0, dtype="float64"):
    config = config or small()
    return mm.Mistral(config, random_model(config, seed, dtype).weights)


def array(mm, values):
    return np.array(values) if mm is mn else torch.tensor(np.array(values))


# Each step against transformers, in its order


def as_transformers_does(logits, ids, temperature, top_p, top_k, min_p, repetition_penalty):
    """logits (B, V), ids (B, T) that stood in the text -> probabilities (B, V)."""
    from transformers import generation

    steps = [generation.TemperatureLogitsWarper(temperature)]
    if repetition_penalty != 1:
        steps.insert(0, generation.RepetitionPenaltyLogitsProcessor(repetition_penalty))
    if top_k is not None:
        steps.append(generation.TopKLogitsWarper(top_k))
    if top_p < 1:
        steps.append(generation.TopPLogitsWarper(top_p))
    if min_p > 0:
        steps.append(generation.MinPLogitsWarper(min_p))
    ids, scores = torch.tensor(ids), torch.tensor(logits)
    for step in steps:
        scores = step(ids, scores)
    return scores.softmax(dim=-1).numpy()


@TWINS
@given(
    seed=st.integers(0, 2**32 - 1),
    temperature=st.sampled_from([0.1, 0.7, 1.0, 2.5]),
    top_k=st.none() | st.integers(1, 30),
    top_p=st.sampled_from([0.01, 0.3, 0.9, 0.99, 1.0]),
    min_p=st.sampled_from([0.0, 0.02, 0.3, 1.0]),
    penalty=st.sampled_from([0.5, 1.0, 1.2, 3.0]),
)
def test_probabilities_are_those_of_transformers(
    mm, seed, temperature, top_k, top_p, min_p, penalty
):
    """Without ties, of which transformers keeps all; those have tests of their own."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(rng.choice([-4, 0, 4]), 3, (3, 24))
    logits[rng.random((3, 24)) < 0.1] = -np.inf
    assume(np.isfinite(logits).any(axis=1).all())
    ids = rng.integers(0, 24, (3, 10))
    seen = np.zeros((3, 24), bool)
    np.put_along_axis(seen, ids, True, axis=1)
    options = {"top_k": top_k, "min_p": min_p, "repetition_penalty": penalty}
    expected = as_transformers_does(logits, ids, temperature, top_p, **options)
    found = mm.probabilities(logits, temperature, top_p, **options, seen=seen)
    np.testing.assert_allclose(found, expected, atol=1e-9)
    row = mm.probabilities(logits[1], temperature, top_p, **options, seen=seen[1])
    np.testing.assert_allclose(row, expected[1], atol=1e-9)


@pytest.mark.parametrize("seed", range(8))
def test_the_order_is_that_of_generate_in_transformers(seed):
    """Its own loop, with its own model, chooses the order of the steps."""
    rng = np.random.default_rng(seed)
    model = random_model(small(vocab_size=30, dim=16), seed, "float64")
    options = {
        "temperature": float(rng.choice([0.4, 1.7])), "top_k": int(rng.integers(4, 12)),
        "top_p": float(rng.choice([0.6, 0.9])), "min_p": float(rng.choice([0.05, 0.2])),
        "repetition_penalty": float(rng.choice([0.7, 1.4])),
    }  # fmt: skip
    prompt = rng.integers(0, 30, (2, 9))
    torch.manual_seed(seed)
    done = transformers_model(model, "eager").double().generate(
        torch.tensor(prompt), attention_mask=torch.ones(2, 9, dtype=torch.long), do_sample=True,
        max_new_tokens=4, output_scores=True, return_dict_in_generate=True, pad_token_id=0,
        **options,
    )  # fmt: skip
    for n, scores in enumerate(done.scores):
        text = done.sequences[:, : 9 + n].numpy()
        seen = np.array([np.isin(np.arange(30), row) for row in text])
        found = mn.probabilities(model(text)[:, -1], **options, seen=seen)
        np.testing.assert_allclose(found, scores.softmax(dim=-1), atol=1e-6)
        assert 1 < (found > 0).sum() < 60


# Ties and edges


@TWINS
def test_of_equals_the_first_come_first(mm):
    """As in greedy decoding, so that exactly k are kept."""
    logits = np.log([0.1, 0.3, 0.1, 0.3, 0.2])
    for k, kept in ((1, [1]), (2, [1, 3]), (3, [1, 3, 4]), (4, [0, 1, 3, 4]), (5, range(5)),
                    (99, range(5))):  # fmt: skip
        p = np.asarray(mm.probabilities(logits, top_k=k))
        assert np.flatnonzero(p).tolist() == list(kept)
        np.testing.assert_allclose(p.sum(), 1)
    p = np.asarray(mm.probabilities(np.zeros(8), top_p=0.25))
    np.testing.assert_array_equal(p, [0.5, 0.5, 0, 0, 0, 0, 0, 0])


@TWINS
def test_min_p_keeps_what_has_exactly_that_much(mm):
    p = array(mm, [0.5, 0.25, 0.125, 0.125])
    keep = mm.sampling.keep_min_p
    assert np.flatnonzero(np.asarray(keep(p, 0.25))).tolist() == [0, 1, 2, 3]
    assert np.flatnonzero(np.asarray(keep(p, 0.2501))).tolist() == [0, 1]
    assert np.flatnonzero(np.asarray(keep(p, 1.0))).tolist() == [0]
    assert np.flatnonzero(np.asarray(mm.probabilities([1.0, 2.0, 2.0], min_p=1))).tolist() == [1, 2]


@TWINS
@given(
    logits=st.lists(st.floats(-30, 30) | st.sampled_from([-np.inf, 1.5]), min_size=1, max_size=9),
    seen=st.lists(st.booleans(), min_size=9, max_size=9),
    temperature=st.sampled_from([1e-3, 0.5, 1, 1e3]),
    penalty=st.sampled_from([0.1, 1, 2.5]),
    strict=st.sampled_from([{"top_k": 1}, {"top_p": 1e-12}, {"top_p": 5e-324}]),
)
def test_the_strictest_options_are_greedy(mm, logits, seen, temperature, penalty, strict):
    """They keep the likeliest and nothing else, never nothing."""
    assume(max(logits) > -np.inf)
    changed = {"repetition_penalty": penalty, "seen": seen[: len(logits)]}
    greedy = np.asarray(mm.probabilities(logits, 0, **changed))
    best = np.asarray(mm.probabilities(logits, temperature, **changed))
    found = np.asarray(mm.probabilities(logits, temperature, **changed, **strict))
    assert (found > 0).sum() == 1 and best[found.argmax()] == best.max() > 0
    assume((best == best.max()).sum() == 1)  # rounding makes equals of close logits
    np.testing.assert_array_equal(found, greedy)


@TWINS
@given(
    logits=st.lists(st.sampled_from([-np.inf, 0.5, -2.0, 3.0]), min_size=2, max_size=9),
    u=st.floats(0, 1, exclude_max=True),
    top_k=st.integers(1, 9),
    min_p=st.sampled_from([0.0, 0.1, 1.0]),
)
def test_what_has_no_probability_is_never_drawn(mm, logits, u, top_k, min_p):
    assume(max(logits) > -np.inf)
    p = mm.probabilities([*logits, -np.inf], top_k=top_k, min_p=min_p)
    token = int(mm.sampling.sample(p, u))
    assert p[token] > 0 and logits[token] > -np.inf


@TWINS
def test_the_penalty_makes_every_token_that_was_seen_less_likely(mm):
    """Also one with a negative logit, which a division would make likelier."""
    logits = np.array([2.0, -2.0, 0.0, -np.inf, 1.0])
    before = np.asarray(mm.probabilities(logits))
    for token in (0, 1):
        seen = np.arange(5) == token
        p = np.asarray(mm.probabilities(logits, repetition_penalty=1.5, seen=seen))
        assert p[token] < before[token] and (p >= before)[~seen].all()
        p = np.asarray(mm.probabilities(logits, repetition_penalty=0.5, seen=seen))
        assert p[token] > before[token]
    p = mm.probabilities(np.stack([logits, logits]), repetition_penalty=2, seen=[True] * 5)
    np.testing.assert_allclose(p, mm.probabilities([[1.0, -4.0, 0.0, -np.inf, 0.5]] * 2))
    np.testing.assert_array_equal(mm.probabilities(logits, seen=[True] * 5), before)


@TWINS
@pytest.mark.parametrize("number", [Fraction(3, 2), np.float32(1.5), 2, np.int64(2)])
def test_any_number_is_a_penalty(mm, number):
    model = engine(mm)
    expected = mm.generate(model, [1, 2, 3], 9, repetition_penalty=float(number))
    assert mm.generate(model, [1, 2, 3], 9, repetition_penalty=number) == expected


@TWINS
def test_the_steps_change_no_input(mm):
    p, seen = array(mm, [[0.1, 0.6, 0.3]]), array(mm, [[True, False, True]])
    before, steps = p.tolist(), mm.sampling
    for found in (steps.keep_top_k(p, 1), steps.keep_top_p(p, 0.5), steps.keep_min_p(p, 0.6)):
        np.testing.assert_array_equal(found, [[0, 1, 0]])
    steps.penalise(p, seen, 2.0)
    assert p.tolist() == before


# The text: slow loops, and np against pt


def by_hand(model, prompt, n, penalty=1.0, allowed=None):
    """The specification at temperature 0: the whole text again, and one token at a time."""
    ids = list(prompt)
    for _ in range(n):
        logits = np.asarray(model([ids]), np.float64)[0, -1].tolist()
        mask = [True] * len(logits) if allowed is None else allowed(ids[len(prompt) :])
        best = None
        for token, logit in enumerate(logits):
            if token in ids:
                logit = logit / penalty if logit > 0 else logit * penalty
            if mask[token] and (best is None or logit > best[0]):
                best = logit, token
        ids.append(best[1])
    return ids[len(prompt) :]


def every(divisor, vocab_size):
    """What may come depends on how many came and on the last: at least one token always may."""

    def allowed(new_ids):
        first = (len(new_ids) + sum(new_ids[-1:])) % min(divisor, vocab_size)
        return np.arange(vocab_size) % divisor == first

    return allowed


@TWINS
@pytest.mark.parametrize("seed", range(times(6, 12)))
def test_a_greedy_text_with_a_penalty_and_what_is_allowed(mm, seed):
    rng = np.random.default_rng(seed)
    model = engine(mm, small(vocab_size=30), seed)
    prompts = [rng.integers(0, 30, n).tolist() for n in (2, 11, 5)]
    options = {
        "penalty": float(rng.choice([0.8, 1.0, 1.3, 5.0])),
        "allowed": [None, every(2, 30), every(7, 30)][seed % 3],
    }
    expected = [by_hand(model, prompt, 12, **options) for prompt in prompts]
    options["repetition_penalty"] = options.pop("penalty")
    found = mm.generate(model, prompts, 12, chunk_size=[None, 3][seed % 2], **options)
    assert found == expected
    assert [mm.generate(model, prompt, 12, **options) for prompt in prompts] == expected
    # what only chooses among the likeliest changes no greedy text
    assert mm.generate(model, prompts, 12, top_k=2, top_p=0.1, min_p=0.5, **options) == expected


def random_options(rng, vocab_size):
    return {
        "temperature": float(rng.choice([0, 0.4, 1, 2])), "seed": int(rng.integers(99)),
        "top_p": float(rng.choice([0.3, 0.9, 1])), "min_p": float(rng.choice([0, 0.05, 0.5])),
        "top_k": [None, 1, 3, 20][rng.integers(4)], "chunk_size": [None, 1, 4][rng.integers(3)],
        "repetition_penalty": float(rng.choice([0.9, 1, 1.2, 2])),
        "allowed": [None, None, every(2, vocab_size), every(3, vocab_size)][rng.integers(4)],
        "stop_ids": rng.integers(0, vocab_size, rng.integers(3)),
    }  # fmt: skip


@pytest.mark.parametrize("first", range(0, 200, 20))
def test_the_same_text_in_both_twins(first):
    """Random models and options; prompts of other lengths, from one token to beyond 2 W."""
    texts = []
    for seed in range(first, first + times(7, 20)):
        rng = np.random.default_rng(seed)
        config = random_config(rng, 6)
        model, twin = twins(config, seed, "float64")
        lengths = [1, 2 * (config.window_size or 6) + 3, int(rng.integers(1, 20))]
        prompts = [rng.integers(0, config.vocab_size, n).tolist() for n in lengths]
        options = random_options(rng, config.vocab_size)
        texts.append(mn.generate(model, prompts, 8, **options))
        assert mp.generate(twin, prompts, 8, **options) == texts[-1], (seed, options)
    assert len(set(map(str, texts))) == len(texts)


@TWINS
@pytest.mark.parametrize("seed", range(15))
def test_a_row_does_not_depend_on_the_others(mm, seed):
    """Neither on their text nor on when they end: the first row is as if alone."""
    rng = np.random.default_rng(seed)
    model = engine(mm, small(vocab_size=20), seed)
    prompts = [rng.integers(0, 20, rng.integers(1, 14)).tolist() for _ in range(3)]
    options = random_options(rng, 20)
    texts = mm.generate(model, prompts, 10, **options)
    assert mm.generate(model, prompts[0], 10, **options) == texts[0]
    others = [rng.integers(0, 20, n).tolist() for n in (1, 17)]
    assert mm.generate(model, [others[0], prompts[1], others[1]], 10, **options)[1] == texts[1]


def chi_square(counts, p):
    """Pearson's statistic, and what it exceeds once in 1,000 times (Wilson and Hilferty 1931)."""
    counts, expected = counts[p > 0], p[p > 0] * counts.sum()
    df = len(expected) - 1
    bound = df * (1 - 2 / (9 * df) + 3.09 * math.sqrt(2 / (9 * df))) ** 3
    return ((counts - expected) ** 2 / expected).sum(), bound


def test_the_bound_of_the_chi_square_test():
    """Against a table: 0.999 quantiles of 5 and 20 degrees of freedom."""
    for df, quantile in ((5, 20.515), (20, 45.315)):
        p = np.full(df + 1, 1 / (df + 1))
        assert chi_square(np.ones(df + 1), p)[1] == pytest.approx(quantile, rel=0.015)


@TWINS
@pytest.mark.parametrize(
    "options",
    [{}, {"temperature": 1.5, "top_k": 6}, rare({"min_p": 0.15}), rare({"repetition_penalty": 3.0}),
     {"temperature": 0.8, "top_p": 0.9, "top_k": 8, "min_p": 0.02, "repetition_penalty": 1.5}],
    ids=str,
)  # fmt: skip
def test_ten_thousand_draws_are_as_the_distribution_says(mm, options):
    model, n = engine(mm), 10_000
    options = {"temperature": 1.0, **options}
    drawn = mm.generate(model, [[1, 2, 6]] * n, 1, seed=7, **options)
    counts = np.bincount([token for (token,) in drawn], minlength=11)
    logits = np.asarray(model([[1, 2, 6]]))[0, -1]
    p = np.asarray(mm.probabilities(logits, **options, seen=np.isin(np.arange(11), [1, 2, 6])))
    assert counts[p == 0].sum() == 0
    statistic, bound = chi_square(counts, p)
    assert statistic < bound
    other = np.roll(p[p > 0], 1)  # the same numbers for other tokens: the test can fail
    statistic, bound = chi_square(counts[p > 0], other)
    assert statistic > 2 * bound


# What may come next


@TWINS
def test_allowed_is_asked_for_each_token_of_each_row(mm):
    """With that row's new ids, in a list of its own; not for a row that has ended."""
    asked = []

    def allowed(new_ids):
        asked.append(list(new_ids))
        mask = np.zeros(11, bool)
        mask[3 + len(new_ids)] = True
        new_ids.append(99)  # the caller's list: nobody else sees it
        return mask

    model = engine(mm)
    assert mm.generate(model, [1, 2], 3, allowed=allowed) == [3, 4, 5]
    assert asked == [[], [], [3], [3, 4]]  # the first is the test
    asked.clear()
    assert mm.generate(model, [[1], [2, 4]], 5, allowed=allowed, stop_ids=[5]) == [[3, 4, 5]] * 2
    assert asked == [[]] + [[]] * 2 + [[3]] * 2 + [[3, 4]] * 2


@TWINS
def test_a_row_that_has_ended_is_not_asked(mm):
    model, asked = engine(mm, small(vocab_size=60), seed=1), []
    texts = mm.generate(model, [[1, 2], [3]], 8)
    stop = texts[0][0]
    assert stop not in texts[1]

    def allowed(new_ids):
        assert stop not in new_ids
        asked.append(len(new_ids))
        return np.ones(60, bool)

    assert mm.generate(model, [[1, 2], [3]], 8, stop_ids=[stop], allowed=allowed) == [
        [stop], texts[1]
    ]  # fmt: skip
    assert asked == [0, 0, 0, *range(1, 8)]


@TWINS
@pytest.mark.parametrize("temperature", [0, 1.0])
def test_what_is_not_allowed_never_comes(mm, temperature):
    allowed = every(5, 11)
    options = {"temperature": temperature, "seed": 0, "top_p": 0.9, "min_p": 0.01}
    for text in mm.generate(engine(mm), [[n] for n in range(11)], 30, allowed=allowed, **options):
        assert all(allowed(text[:n])[token] for n, token in enumerate(text))


@TWINS
def test_masks_of_any_kind(mm):
    model = engine(mm)
    expected = mm.generate(model, [1, 2], 5, allowed=lambda ids: np.arange(11) < 4)
    read_only = np.broadcast_to(np.arange(11) < 4, (11,))
    backwards = (np.arange(11) > 6)[::-1]
    for mask in (read_only, backwards, [True] * 4 + [False] * 7, torch.arange(11) < 4):
        assert mm.generate(model, [1, 2], 5, allowed=lambda ids, mask=mask: mask) == expected


@TWINS
def test_an_error_in_the_middle_leaves_a_cache_that_can_be_used(mm):
    """A dead end after three tokens: what came before it stands, and the text can go on."""
    model, expected = engine(mm), mm.generate(engine(mm), [1, 2], 9)
    cache = model.new_cache(1)
    steps = mm.stream(model, [1, 2], 9, allowed=lambda ids: np.full(11, len(ids) < 3), cache=cache)
    text = []
    with pytest.raises(ValueError, match=r"allowed .*at least one True, but after 3 new ids all"):
        text.extend(steps)
    assert text == expected[:3] and cache.seen.tolist() == [5]
    last = np.asarray(model([[expected[3]]], cache))[0, -1]
    whole = np.asarray(model([[1, 2, *expected[:4]]]))[0, -1]
    np.testing.assert_allclose(last, whole, atol=1e-9)
    with pytest.raises(ZeroDivisionError):  # an error of the function itself comes as it is
        mm.stream(model, [1, 2], 9, allowed=lambda ids: 1 / len(ids))


@TWINS
def test_only_the_prompts_of_a_call_were_seen(mm):
    """Not what its cache had read before: the second text is as if only its prompt was seen."""
    model = engine(mm, small(vocab_size=30))
    cache = model.new_cache(1, 60)
    first = mm.generate(model, [1, 2, 3], 6, cache=cache)
    prompt = [first[-1], 7]
    second = mm.generate(model, prompt, 6, cache=cache, repetition_penalty=4.0)

    def penalised(text, seen):
        logits = np.asarray(model([text]))[0, -1]
        mask = np.isin(np.arange(30), seen)
        return int(
            np.asarray(mm.sampling.penalise(array(mm, logits), array(mm, mask), 4.0)).argmax()
        )

    text, forgotten = [1, 2, 3, *first, 7], []
    for n, token in enumerate(second):
        assert penalised([*text, *second[:n]], prompt + second[:n]) == token
        forgotten.append(penalised([*text, *second[:n]], [*text, *second[:n]]) != token)
    assert any(forgotten)  # it would be another text if the first one counted
