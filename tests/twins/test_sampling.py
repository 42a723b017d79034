"""From logits to tokens: probabilities, the loop of generate, seeds, stop ids, interruptions."""

import random
import signal
import sys
import threading
from collections import defaultdict
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from effort import rare
from hypothesis import given, settings
from hypothesis import strategies as st
from models import random_model, random_tokens, small, twins

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np.sampling import sample
from minimistral.rule import visible

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


# With ties, and with tokens that never come.
some_logits = st.lists(
    st.floats(-30, 30, width=32) | st.sampled_from([-np.inf, -1.5, 2.0]), min_size=1, max_size=12
).filter(lambda logits: max(logits) > -np.inf)


@TWINS
@given(
    logits=some_logits,
    temperature=st.sampled_from([0, 0.1, 0.7, 1, 2]),
    top_p=st.sampled_from([0.013, 0.31, 0.57, 0.901, 0.99, 1]),
)
def test_probabilities_are_those_by_hand(mm, logits, temperature, top_p):
    found = mm.probabilities(logits, temperature, top_p)
    np.testing.assert_allclose(found, by_hand(logits, temperature, top_p), atol=1e-9)


@TWINS
@given(logits=some_logits, top_p=st.floats(0, 1, exclude_min=True))
def test_what_is_kept_is_enough_and_one_less_is_not(mm, logits, top_p):
    everything = np.asarray(mm.probabilities(logits))
    p = np.asarray(mm.probabilities(logits, 1, top_p))
    kept = everything[p > 0]
    assert p.sum() == pytest.approx(1, abs=1e-12)
    assert kept.sum() >= top_p - 1e-12
    assert kept.sum() - kept.min() < top_p + 1e-12
    assert kept.min() >= everything[p == 0].max(initial=0)
    np.testing.assert_allclose(p[p > 0], kept / kept.sum(), atol=1e-12)


@TWINS
def test_the_fewest_tokens_that_have_top_p(mm):
    logits = np.log([0.1, 0.5, 0.25, 0.15])
    for top_p, kept in ((0.01, [1]), (0.49, [1]), (0.51, [1, 2]), (0.74, [1, 2]),
                        (0.76, [1, 2, 3]), (0.91, [0, 1, 2, 3]), (1, [0, 1, 2, 3])):  # fmt: skip
        p = np.asarray(mm.probabilities(logits, 1, top_p))
        assert np.nonzero(p)[0].tolist() == kept
        np.testing.assert_allclose(p[kept], np.exp(logits)[kept] / np.exp(logits)[kept].sum())


@TWINS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32", "float64"])
def test_probabilities_are_float64(mm, dtype):
    values = [0.5, -1.5, 0.25]
    logits = torch.tensor(values, dtype=getattr(torch, dtype))
    if mm is mn:  # which has no bfloat16
        logits = logits.float().numpy() if dtype == "bfloat16" else logits.numpy()
    for temperature, top_p in ((0.7, 0.9), (1, 1), (0, 1)):
        p = np.asarray(mm.probabilities(logits, temperature, top_p))
        assert p.dtype == np.float64
        np.testing.assert_allclose(p, by_hand(values, temperature, top_p), atol=1e-15)
    assert logits.tolist() == values


@TWINS
@pytest.mark.parametrize("temperature", [1e-310, 1e-3, 1, 1e6])
def test_extreme_logits_and_temperatures(mm, temperature):
    for high in (1e30, 1.7e308):  # the difference of the last is more than float64 can hold
        p = np.asarray(mm.probabilities([high, -np.inf, high, -high], temperature))
        np.testing.assert_array_equal(p, [0.5, 0, 0.5, 0])
    assert np.asarray(mm.probabilities([3.0], temperature)).tolist() == [1]


@TWINS
def test_a_flat_and_a_sharp_distribution(mm):
    np.testing.assert_allclose(mm.probabilities([0.0, 1.0, 2.0], 1e9), [1 / 3] * 3, atol=1e-8)
    np.testing.assert_allclose(mm.probabilities([0.0, 1.0, 2.0], 1e-3), [0, 0, 1], atol=1e-8)
    np.testing.assert_array_equal(mm.probabilities([1.0, 5.0, 5.0], 0), [0, 1, 0])


# sample


@given(
    weights=st.lists(st.sampled_from([0, 1, 1e-9, 0.3]), min_size=1, max_size=9),
    u=st.one_of(st.floats(0, 1, exclude_max=True), st.sampled_from([0.0, ALMOST_ONE])),
)
def test_what_cannot_come_is_never_drawn(weights, u):
    p = np.array([*weights, 0.5, 0])
    p /= p.sum()
    assert p[sample(p, u)] > 0
    assert mp.sampling.sample(torch.from_numpy(p), u) == sample(p, u)


@TWINS
def test_tokens_come_as_often_as_p_says(mm):
    p = np.array([0.1, 0, 0.6, 0.3])
    p = p if mm is mn else torch.from_numpy(p)
    drawn = [mm.sampling.sample(p, (n + 0.5) / 1000) for n in range(1000)]
    np.testing.assert_array_equal(np.bincount(drawn), [100, 0, 600, 300])


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
@settings(max_examples=15)
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
    assert mm.generate(model, [[7] * 5, [3] * 9], 12, **settings)[1] == second
    same_prompt = mm.generate(model, [[1, 2]] * 3, 12, **settings)
    assert same_prompt[0] != same_prompt[1] != same_prompt[2]


@TWINS
def test_new_tokens_come_as_often_as_the_model_says(mm):
    model, n = engine(mm), 2000
    texts = mm.generate(model, [[1, 2]] * n, 1, temperature=1.5, top_p=0.8, seed=0)
    found = np.bincount([token for (token,) in texts], minlength=11) / n
    p = np.array(by_hand(np.asarray(model([[1, 2]]))[0, -1], 1.5, 0.8))
    np.testing.assert_allclose(found, p, atol=0.04)
    assert found[p == 0].tolist() == [0] * (p == 0).sum() and 1 < (p > 0).sum() < 11


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
    assert mn.generate(model, prompts, 15, **{**settings, "chunk_size": 1}) == ours


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
def test_one_row_stops_and_the_others_go_on(mm):
    calls = []
    model = counted(engine(mm), calls)
    prompts = [[1, 2, 3], [4], [5] * 9]
    texts = mm.generate(model, prompts, 12)
    stop_ids = {text[n] for n, text in enumerate(texts)}
    expected = [text[: min(map(text.index, stop_ids & {*text})) + 1] for text in texts]
    calls.clear()
    assert mm.generate(model, prompts, 12, stop_ids=stop_ids) == expected
    longest = max(map(len, expected))
    assert min(map(len, expected)) < longest < 12
    assert len(calls) == longest


@TWINS
def test_the_stream_is_lazy(mm):
    calls = []
    model = counted(engine(mm), calls)
    steps = mm.stream(model, [1] * 7, 4, chunk_size=3)
    assert calls == []
    text = [next(steps)]
    assert calls == [(1, 3), (1, 3), (1, 1)]
    for n in (4, 5, 6):
        text.append(next(steps))
        assert len(calls) == n
    assert list(steps) == [] and len(calls) == 6
    assert text == mm.generate(model, [1] * 7, 4)
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
@pytest.mark.parametrize("W", [3, None])
def test_several_conversations_go_on_in_one_cache(mm, W):
    """Each row by itself: a row that stopped early has fed fewer tokens."""
    model = engine(mm, small(window_size=W))
    cache, prompts = model.new_cache(3, 40), [[1, 2, 3, 4, 5], [6], [7, 8]]
    stop_ids = [mm.generate(model, [6], 2)[-1]]
    texts = mm.generate(model, prompts, 8, cache=cache, stop_ids=stop_ids)
    assert len({len(text) for text in texts}) > 1
    fed = [prompt + text for prompt, text in zip(prompts, texts, strict=True)]
    assert cache.seen.tolist() == [len(ids) - 1 for ids in fed]
    more = [[9], [10, 0, 2, 4], [1] * 7]
    texts = mm.generate(
        model, [[*ids[-1:], *row] for ids, row in zip(fed, more, strict=True)], 5,
        cache=cache, chunk_size=3,
    )  # fmt: skip
    for ids, row, text in zip(fed, more, texts, strict=True):
        assert text == greedy_without_cache(model, ids + row, 5)


@TWINS
@pytest.mark.parametrize("W", [9, None])
def test_a_cache_with_exactly_enough_room(mm, W):
    """The last new id needs none. Also in a cache smaller than its window."""
    model = engine(mm, small(window_size=W))
    for prompts in ([[1, 2, 3]], [[4], [1, 2, 3]], [[1, 2, 3], [4, 5]]):
        rows, longest = len(prompts), [len(prompt) for prompt in prompts].index(3)
        expected = mm.generate(model, prompts, 5)
        assert mm.generate(model, prompts, 5, cache=model.new_cache(rows, 7)) == expected
        cache = model.new_cache(rows, 6)
        full = f"row {longest} holds 0 of max_tokens = 6 and cannot take 7 more"
        with pytest.raises(ValueError, match=full):
            mm.generate(model, prompts, 5, cache=cache)
        assert cache.seen.tolist() == [0] * rows and not np.asarray(cache.k).any()
        mm.generate(model, prompts, 4, cache=cache)
        assert cache.seen.max() == 6


# Interruptions


@contextmanager
def ctrl_c(package, after=None):
    """As if Ctrl-C was pressed before line number `after` that runs in the package.

    Yields the list of the lines that ran, as (file, line).
    """
    lines = []

    def trace(frame, event, _):
        file = frame.f_code.co_filename.replace("\\", "/")
        if package not in file:
            return None
        if event == "line":
            if len(lines) == after:
                raise KeyboardInterrupt
            lines.append((file, frame.f_lineno))
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield lines
    finally:
        sys.settrace(before)


def folder(mm):
    return f"minimistral/{mm.__name__.split('.')[-1]}/"


def as_if_nothing_had_happened(model, cache, fed):
    """The cache holds what cache.seen says, and gives the logits of a fresh run."""
    W = cache.n_slots
    for row, seen in enumerate(cache.seen.tolist()):
        slots = [-1] * W
        for position in range(seen):
            slots[position % W] = position
        for held, position in zip(cache.positions[row].tolist(), slots, strict=True):
            lost = held == -1 and not visible(seen, position, W)  # half overwritten, and hidden
            assert held == position or lost
    more = random_tokens(np.random.default_rng(1), model.config, len(fed), 6)
    # the first call after it is a chunk in some runs and one token in others
    size = 1 + int(cache.seen.sum()) % 6
    found = [np.asarray(model(more[:, i : i + size], cache)) for i in range(0, 6, size)]
    found = np.concatenate(found, axis=1)
    for row, (ids, seen) in enumerate(zip(fed, (cache.seen - 6).tolist(), strict=True)):
        whole = np.array([[*ids[:seen], *more[row]]])
        np.testing.assert_allclose(found[row], np.asarray(model(whole))[0, seen:], atol=1e-5)


@TWINS
@pytest.mark.parametrize(
    ("chunk_size", "lengths"),
    [rare(None, [11, 2]), (2, [11, 2]), rare(6, [11, 2]), rare(2, [11])],
)
def test_ctrl_c_anywhere_leaves_a_cache_that_can_be_used(mm, chunk_size, lengths):
    """In prefill, with chunks that evict keys, and in decode.

    At each line of the loop and of the cache, in one of its turns, and anywhere else.
    """
    model = engine(mm, seed=1)
    tokens = random_tokens(np.random.default_rng(1), model.config, len(lengths), 16).tolist()
    prompts = [row[5:][:length] for row, length in zip(tokens, lengths, strict=True)]

    def generate():
        mm.generate(model, prompts, 6, chunk_size=chunk_size, cache=cache)

    def warm_cache():
        cache = model.new_cache(len(lengths))
        model([row[:5] for row in tokens], cache)
        return cache

    texts = mm.generate(model, prompts, 6, cache=warm_cache())
    fed = [row[:5] + p + text for row, p, text in zip(tokens, prompts, texts, strict=True)]
    cache = warm_cache()
    with ctrl_c(folder(mm)) as lines:
        generate()
    turns = defaultdict(list)
    for n, (file, line) in enumerate(lines):
        turns[file, line].append(n)
    rng, seen = random.Random(0), set()
    ours = ("cache.py", "sampling.py")
    points = [rng.choice(ns) for (file, _), ns in turns.items() if file.endswith(ours)]
    for after in points + rng.sample(range(len(lines)), 10):
        cache = warm_cache()
        with pytest.raises(KeyboardInterrupt), ctrl_c(folder(mm), after):
            generate()
        seen.add(int(cache.seen[0]))
        as_if_nothing_had_happened(model, cache, fed)
    assert {5, 16} < seen and max(seen) > 18  # before the prompt, after it and near the end


@TWINS
def test_ctrl_c_between_any_two_lines_of_a_commit(mm):
    """The one moment at which half a chunk could be in the cache."""
    model = engine(mm, small(n_layers=3))
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 17)
    commit = mm.RollingCache.commit
    for after in range(60):
        cache = model.new_cache(2)
        model(tokens[:, :8], cache)

        def slow_commit(self, plan, after=after):
            with ctrl_c(folder(mm) + "cache.py", after):
                commit(self, plan)

        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(mm.RollingCache, "commit", slow_commit)
            try:
                model(tokens[:, 8:], cache)
            except KeyboardInterrupt:
                pass
            else:
                break
        as_if_nothing_had_happened(model, cache, tokens.tolist())
    assert 7 < after < 59


@pytest.mark.skipif(sys.platform == "win32", reason="the signal is sent as on Unix")
@pytest.mark.skipif(threading.current_thread() is not threading.main_thread(), reason="signals")
@TWINS
def test_a_real_ctrl_c(mm):
    model = engine(mm)
    cache = model.new_cache(1)
    steps = mm.stream(model, [1] * 9, 10_000, chunk_size=2, cache=cache)
    text = [next(steps) for _ in range(5)]
    old = signal.signal(signal.SIGALRM, signal.default_int_handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            text.extend(steps)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, old)
    seen = int(cache.seen[0])
    assert seen >= 13
    whole = [1] * 9 + mm.generate(model, [1] * 9, seen - 8)
    assert whole[9:][: len(text)] == text
    as_if_nothing_had_happened(model, cache, [whole])
