"""From logits to tokens: probabilities, the loop of generate, seeds, stop ids, interruptions."""

import random
import signal
import sys
import threading

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_model, random_tokens, small, twins

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np.sampling import draw

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
ALMOST_ONE = 1 - 2**-53  # the largest number that a generator of random numbers gives


def engine(mm, config=None, seed=0):
    config = config or small()
    return mm.Mistral(config, random_model(config, seed).weights)


# probabilities


def by_hand(logits, temperature, top_p):
    """The specification, in exact order: likeliest first, the first of equals first."""
    best = max(range(len(logits)), key=lambda i: logits[i])
    if temperature == 0:
        return [float(i == best) for i in range(len(logits))]
    parts = [np.exp((logit - logits[best]) / temperature) for logit in logits]
    p = [part / sum(parts) for part in parts]
    kept, together = set(), 0.0
    for i in sorted(range(len(p)), key=lambda i: -p[i]):
        if together >= top_p:
            break
        kept.add(i)
        together += p[i]
    total = sum(p[i] for i in kept)
    return [p[i] / total if i in kept else 0.0 for i in range(len(p))]


@TWINS
@given(
    logits=st.lists(st.floats(-30, 30, width=32), min_size=1, max_size=12),
    temperature=st.sampled_from([0, 0.1, 0.7, 1, 2]),
    top_p=st.sampled_from([0.013, 0.31, 0.57, 0.901, 0.99, 1]),
)
def test_probabilities_are_those_by_hand(mm, logits, temperature, top_p):
    found = mm.probabilities(logits, temperature, top_p)
    np.testing.assert_allclose(found, by_hand(logits, temperature, top_p), atol=1e-9)


@TWINS
def test_the_fewest_tokens_that_have_top_p(mm):
    logits = np.log([0.1, 0.5, 0.25, 0.15])
    for top_p, kept in ((0.01, [1]), (0.49, [1]), (0.51, [1, 2]), (0.74, [1, 2]),
                        (0.76, [1, 2, 3]), (0.91, [0, 1, 2, 3]), (1, [0, 1, 2, 3])):  # fmt: skip
        p = np.asarray(mm.probabilities(logits, 1, top_p))
        assert np.nonzero(p)[0].tolist() == kept
        np.testing.assert_allclose(p[kept], np.exp(logits)[kept] / np.exp(logits)[kept].sum())


@TWINS
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32, torch.float64])
def test_probabilities_are_float64(mm, dtype):
    logits = torch.tensor([0.5, -1.5, 0.25], dtype=dtype)
    if mm is mn:
        logits = logits.float().numpy()
    before = logits.copy() if mm is mn else logits.clone()
    p = np.asarray(mm.probabilities(logits, 0.7, 0.9))
    assert p.dtype == np.float64 and p.sum() == pytest.approx(1, abs=1e-15)
    assert (logits == before).all()


@TWINS
@pytest.mark.parametrize("temperature", [1e-310, 1e-3, 1, 1e6])
def test_extreme_logits_and_temperatures(mm, temperature):
    p = np.asarray(mm.probabilities([1e30, -np.inf, 1e30, -1e30], temperature))
    np.testing.assert_array_equal(p, [0.5, 0, 0.5, 0])
    assert np.asarray(mm.probabilities([3.0], temperature)).tolist() == [1]


@TWINS
def test_a_flat_and_a_sharp_distribution(mm):
    np.testing.assert_allclose(mm.probabilities([0.0, 1.0, 2.0], 1e9), [1 / 3] * 3, atol=1e-8)
    np.testing.assert_allclose(mm.probabilities([0.0, 1.0, 2.0], 1e-3), [0, 0, 1], atol=1e-8)
    np.testing.assert_array_equal(mm.probabilities([1.0, 5.0, 5.0], 0), [0, 1, 0])


# draw


@given(
    weights=st.lists(st.sampled_from([0, 1, 1e-9, 0.3]), min_size=1, max_size=9),
    u=st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, ALMOST_ONE])),
)
def test_what_cannot_come_is_never_drawn(weights, u):
    p = np.array([*weights, 0.5, 0])
    p /= p.sum()
    assert p[draw(p, u)] > 0
    assert mp.sampling.draw(torch.from_numpy(p), u) == draw(p, u)


def test_tokens_come_as_often_as_p_says():
    p = np.array([0.1, 0, 0.6, 0.3])
    us = (np.arange(1000) + 0.5) / 1000
    np.testing.assert_array_equal(np.bincount([draw(p, u) for u in us]), [100, 0, 600, 300])


# generate


def greedy_without_cache(model, prompt, n):
    """The specification: the whole text again for every token."""
    ids = list(prompt)
    for _ in range(n):
        ids.append(int(np.asarray(model([ids]))[0, -1].argmax()))
    return ids[len(prompt) :]


@TWINS
@pytest.mark.parametrize("W", [1, 3, 4, None])
def test_greedy_is_the_loop_for_every_chunk_size(mm, W):
    model = engine(mm, small(window_size=W))
    prompt = random_tokens(np.random.default_rng(0), model.config, 1, 11)[0]
    expected = greedy_without_cache(model, prompt, 10)
    for chunk_size in (None, *range(1, 2 * (W or 4) + 4), 99):
        assert mm.generate(model, prompt, 10, chunk_size=chunk_size) == expected


@TWINS
@settings(max_examples=25)
@given(seed=st.integers(0, 9999))
def test_each_of_several_prompts_is_as_if_alone(mm, seed):
    rng = np.random.default_rng(seed)
    model = engine(mm, seed=seed % 5)
    prompts = [rng.integers(0, 11, rng.integers(1, 20)).tolist() for _ in range(3)]
    settings = {
        "chunk_size": [None, 1, 3, 7][rng.integers(4)],
        "stop_ids": rng.integers(0, 11, rng.integers(3)),
    }
    expected = [mm.generate(model, prompt, 9, **settings) for prompt in prompts]
    assert mm.generate(model, prompts, 9, **settings) == expected
    assert mm.generate(model, prompts[:1], 9, **settings) == expected[:1]


@TWINS
def test_a_row_draws_its_own_numbers(mm):
    """What a row becomes does not depend on how long the others are or when they end."""
    model = engine(mm)
    settings = {"temperature": 1.0, "seed": 3}
    first, second = mm.generate(model, [[1, 2], [3] * 9], 12, **settings)
    assert mm.generate(model, [1, 2], 12, **settings) == first
    stop = first[2]
    assert mm.generate(model, [[1, 2], [3] * 9, [4]], 12, **settings)[:2] == [first, second]
    ended, other = mm.generate(model, [[1, 2], [3] * 9], 12, stop_ids=[stop], **settings)
    assert ended == first[: first.index(stop) + 1]
    assert other == second[: len(other)]
    same_prompt = mm.generate(model, [[1, 2]] * 3, 12, **settings)
    assert same_prompt[0] != same_prompt[1] != same_prompt[2]


@pytest.mark.parametrize("seed", range(20))
def test_the_same_seed_is_the_same_text_in_both_twins(seed):
    model, twin = twins(small(dim=16, vocab_size=40), seed)
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(0, 40, rng.integers(1, 15)).tolist() for _ in range(2)]
    settings = {
        "temperature": float(rng.choice([0.3, 1, 2])), "top_p": float(rng.choice([0.5, 0.9, 1])),
        "chunk_size": [None, 2, 5][rng.integers(3)], "seed": seed,
    }  # fmt: skip
    ours = mn.generate(model, prompts, 15, **settings)
    assert mp.generate(twin, prompts, 15, **settings) == ours
    assert mn.generate(model, prompts, 15, **settings) == ours


@TWINS
def test_without_a_seed_it_is_new_each_time(mm):
    model = engine(mm)
    texts = {tuple(mm.generate(model, [1], 12, temperature=2.0)) for _ in range(5)}
    assert len(texts) > 1
    seeded = {tuple(mm.generate(model, [1], 12, temperature=2.0, seed=s)) for s in range(5)}
    assert len(seeded) > 1
    assert len({tuple(mm.generate(model, [1], 12, seed=s)) for s in range(5)}) == 1  # greedy


@TWINS
def test_other_random_numbers_are_left_alone(mm):
    def states():
        numpys = str(np.random.get_state())  # noqa: NPY002 (the old one is meant)
        return numpys, torch.get_rng_state().tolist(), random.getstate()

    before = states()
    mm.generate(mm.Mistral(small()), [1], 5, temperature=1.0, seed=0)
    mm.generate(mm.Mistral(small()), [1], 5, temperature=1.0)
    assert states() == before


def counted(model, calls):
    """The same model; calls grows with each forward pass."""

    class Counted(type(model)):
        def __call__(self, tokens, *rest, **settings):
            calls.append(np.asarray(tokens).shape)
            return super().__call__(tokens, *rest, **settings)

    return Counted(model.config, model.weights)


@TWINS
def test_stop_ids_end_a_row_and_stand_at_its_end(mm):
    calls = []
    model = counted(engine(mm), calls)
    text = mm.generate(model, [1, 2, 3], 12)
    stop = text[4]
    calls.clear()
    ended = mm.generate(model, [1, 2, 3], 12, stop_ids=[stop, 0] if stop else [0])
    assert ended == text[: min(text.index(i) for i in {stop, 0} if i in text) + 1]
    assert len(calls) == len(ended)  # prefill, and one pass for each token but the last


@TWINS
def test_the_stream_is_lazy(mm):
    calls = []
    model = counted(engine(mm), calls)
    steps = mm.stream(model, [1] * 7, 4, chunk_size=3)
    assert calls == []
    first = next(steps)
    assert calls == [(1, 3), (1, 3), (1, 1)]
    assert [first, *steps] == mm.generate(model, [1] * 7, 4)
    assert all(type(token) is int for token in mm.stream(model, [1], 3))


@TWINS
def test_the_stream_of_several_prompts(mm):
    model = engine(mm)
    prompts, settings = [[1, 2, 3], [4], [5] * 9], {"stop_ids": [0, 1, 2, 3]}
    texts = mm.generate(model, prompts, 12, **settings)
    steps = list(mm.stream(model, prompts, 12, **settings))
    assert len(steps) == max(map(len, texts))
    for row, text in enumerate(texts):
        column = [step[row] for step in steps]
        assert column == text + [None] * (len(steps) - len(text))


@TWINS
def test_arguments_are_checked_at_the_call(mm):
    model = engine(mm)
    with pytest.raises(ValueError, match="top_p"):
        mm.stream(model, [1], 3, top_p=0)


# A cache that goes on


@TWINS
@pytest.mark.parametrize("W", [3, None])
def test_a_conversation_goes_on_in_its_cache(mm, W):
    """The last new id has not been through the model: the next prompt begins with it."""
    model = engine(mm, small(window_size=W))
    cache = model.new_cache(1, 40)
    first = mm.generate(model, [1, 2, 3, 4, 5], 6, cache=cache)
    assert cache.seen.tolist() == [10]
    second = mm.generate(model, [first[-1], 7, 8], 6, cache=cache, chunk_size=2)
    assert second == greedy_without_cache(model, [1, 2, 3, 4, 5, *first, 7, 8], 6)


@TWINS
def test_a_cache_with_exactly_enough_room(mm):
    model = engine(mm, small(window_size=None))
    expected = mm.generate(model, [1, 2, 3], 5)
    assert mm.generate(model, [1, 2, 3], 5, cache=model.new_cache(1, 7)) == expected
    cache = model.new_cache(1, 6)
    with pytest.raises(ValueError, match="max_tokens = 6 and cannot take 7 more"):
        mm.generate(model, [1, 2, 3], 5, cache=cache)
    assert cache.seen.tolist() == [0]


# Interruptions


def interrupted(run, package, after):
    """Run until the line number `after` of the engine; then as if Ctrl-C was pressed.

    Returns whether it came so far.
    """
    left = after

    def trace(frame, event, _):
        nonlocal left
        if package not in frame.f_code.co_filename.replace("\\", "/"):
            return None
        left -= event == "line"
        if left < 0:
            sys.settrace(None)
            raise KeyboardInterrupt
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        run()
    except KeyboardInterrupt:
        return True
    finally:
        sys.settrace(before)
    return False


def as_if_nothing_had_happened(model, cache, fed):
    """The cache holds what cache.seen says, and gives the logits of a fresh run."""
    W = cache.n_slots
    for row, seen in enumerate(cache.seen.tolist()):
        slots = [-1] * W
        for position in range(seen):
            slots[position % W] = position
        assert cache.positions[row].tolist() == slots
    more = random_tokens(np.random.default_rng(1), model.config, len(fed), 6)
    # the first call after it is a chunk in some runs and one token in others
    size = 1 + int(cache.seen.sum()) % 6
    found = [np.asarray(model(more[:, i : i + size], cache)) for i in range(0, 6, size)]
    found = np.concatenate(found, axis=1)
    for row, (ids, seen) in enumerate(zip(fed, (cache.seen - 6).tolist(), strict=True)):
        whole = np.array([[*ids[:seen], *more[row]]])
        np.testing.assert_allclose(found[row], np.asarray(model(whole))[0, seen:], atol=2e-5)


@TWINS
@pytest.mark.parametrize("chunk_size", [None, 2, 6])
@pytest.mark.parametrize("prompts", [[[1] * 3 + [2] * 8], [[3] * 11, [4, 5]]])
def test_ctrl_c_anywhere_leaves_a_cache_that_can_be_used(mm, chunk_size, prompts):
    """In prefill, with chunks that evict keys; in decode; between two lines of a commit."""
    package = f"minimistral/{mm.__name__.split('.')[-1]}/"
    model = engine(mm, small(n_layers=2))
    warm = [[9] * 5] * len(prompts)

    def fresh_cache():
        cache = model.new_cache(len(prompts))
        model(warm, cache)
        return cache

    expected = mm.generate(model, prompts, 8, cache=fresh_cache())
    fed = [[9] * 5 + prompt + text for prompt, text in zip(prompts, expected, strict=True)]
    rng = random.Random(0)
    after, n_interruptions = 0, 0
    while True:
        cache = fresh_cache()
        settings = {"chunk_size": chunk_size, "cache": cache}
        if not interrupted(lambda s=settings: mm.generate(model, prompts, 8, **s), package, after):
            break
        as_if_nothing_had_happened(model, cache, fed)
        n_interruptions += 1
        after += rng.randint(1, 150)
    assert n_interruptions > 20


@TWINS
def test_ctrl_c_between_any_two_lines_of_a_commit(mm):
    """The one moment at which half a chunk could be in the cache."""
    model = engine(mm, small(n_layers=3))
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 17)
    for after in range(60):
        cache = model.new_cache(2)
        model(tokens[:, :8], cache)
        commit = mm.RollingCache.commit

        def slow_commit(self, plan, after=after, commit=commit):
            package = f"minimistral/{mm.__name__.split('.')[-1]}/cache.py"
            if interrupted(lambda: commit(self, plan), package, after):
                raise KeyboardInterrupt

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mm.RollingCache, "commit", slow_commit)
            try:
                model(tokens[:, 8:], cache)
            except KeyboardInterrupt:
                pass
            else:
                break
        as_if_nothing_had_happened(model, cache, tokens.tolist())
    assert 10 < after < 59


@pytest.mark.skipif(sys.platform == "win32", reason="the signal is sent as on Unix")
@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@TWINS
def test_a_real_ctrl_c(mm):
    model = engine(mm)
    cache = model.new_cache(1)
    steps = mm.stream(model, [1] * 9, 1000, chunk_size=2, cache=cache)
    text = [next(steps) for _ in range(5)]
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            text.extend(steps)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    whole = [1] * 9 + mm.generate(model, [1] * 9, 1000)
    assert cache.seen[0] >= 13
    as_if_nothing_had_happened(model, cache, [whole])
