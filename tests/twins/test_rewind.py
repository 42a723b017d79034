"""Taking tokens back: as if they had never been written, or refused before anything changes."""

import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import random_config, random_model, random_tokens, small

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.pt import compiled
from minimistral.pt.compiled import CompiledStep
from minimistral.rule import slot_of, visible

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])


def engine(mm, config, seed=0, dtype="float32"):
    return mm.Mistral(config, random_model(config, seed, dtype).weights)


def content(cache):
    """What a query can see of each row: {position: (its keys, its values)}."""
    rows = []
    for row in range(cache.batch_size):
        held = {}
        for slot, position in enumerate(cache.positions[row].tolist()):
            if position >= 0:
                held[position] = [np.asarray(each[:, row, :, slot]) for each in (cache.k, cache.v)]
        rows.append(held)
    return rows


def state(cache):
    return [np.asarray(each).copy() for each in (cache.k, cache.v, cache.positions, cache.seen)]


def assert_same_state(ours, theirs):
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_array_equal(one, other)


def read(model, cache, fed, lengths):
    """The next lengths[row] tokens of each row, as one chunk; -> logits (B, T, V)."""
    seen = cache.seen.tolist()
    tokens = np.zeros((len(seen), max(1, *lengths)), int)
    for row, (start, length) in enumerate(zip(seen, lengths, strict=True)):
        tokens[row, :length] = fed[row, start : start + length]
    return np.asarray(model(tokens, cache, lengths=lengths))


@TWINS
@given(seed=st.integers(0, 9999))
def test_what_is_taken_back_was_never_written(mm, seed):
    """Rows of any length beyond 2W, chunks of any size; then the same tokens again, or others."""
    rng = np.random.default_rng(seed)
    B, spare = int(rng.integers(1, 4)), int(rng.integers(0, 5))
    config = random_config(rng, 6)
    model = engine(mm, config, seed)
    fed = random_tokens(rng, config, B, 80)
    cache, other = (model.new_cache(B, 80, spare=spare) for _ in range(2))
    for _ in range(int(rng.integers(1, 9))):  # both read the same
        lengths = rng.integers(0, 7, B).tolist()
        for each in (cache, other):
            read(model, each, fed, lengths)
    wrong = random_tokens(rng, config, B, 80)
    n = rng.integers(0, spare + 2, B)
    if rng.random() < 0.5:  # one reads a few more,
        read(model, cache, wrong, n.tolist())
    else:
        for step in range(spare + 1):
            read(model, cache, wrong, (n > step).astype(int).tolist())
    cache.rewind(n.tolist())  # and takes them back
    assert cache.seen.tolist() == other.seen.tolist()
    ours, theirs = content(cache), content(other)
    for row in range(B):
        seen = int(other.seen[row])
        needed = {j for j in theirs[row] if visible(seen, j, config.window_size)}
        assert needed <= set(ours[row]) <= set(theirs[row])
        for position in needed:
            np.testing.assert_array_equal(ours[row][position], theirs[row][position])
    for _ in range(3):
        lengths = rng.integers(0, 7, B).tolist()
        one, two = (read(model, each, fed, lengths) for each in (cache, other))
        if mm is mn:  # bit for bit
            np.testing.assert_array_equal(one, two)
        else:
            np.testing.assert_allclose(one, two, atol=1e-6)


@TWINS
@given(seed=st.integers(0, 9999))
def test_as_many_as_its_slots_allow_and_no_more(mm, seed):
    """A set of the positions written says which keys are still there. A refusal changes nothing."""
    rng = np.random.default_rng(seed)
    W, spare = int(rng.integers(1, 6)), int(rng.integers(0, 4))
    config = small(window_size=W, n_layers=1)
    model, fed = engine(mm, config), random_tokens(rng, config, 1, 80)
    cache = model.new_cache(1, spare=spare)
    assert cache.n_slots == W + spare and cache.rolls
    held, seen, furthest = {}, 0, 0  # slot -> position
    for _ in range(8):
        length = int(rng.integers(0, 9))
        read(model, cache, fed, [length])
        held |= {slot_of(i, W + spare): i for i in range(seen, seen + length)}
        seen += length
        furthest = max(furthest, seen)
        n = int(rng.integers(0, seen + 1))
        needed = set(range(max(0, seen - n - W + 1), seen - n))
        if n == 0 or needed <= set(held.values()):
            cache.rewind(n)
            seen -= n
            held = {slot: i for slot, i in held.items() if i < seen}
        else:
            assert furthest - (seen - n) > spare + 1
            before = state(cache)
            reason = f"n must be less than {n} .*position {max(needed - set(held.values()))},"
            with pytest.raises(ValueError, match=reason):
                cache.rewind(n)
            assert_same_state(state(cache), before)
        assert cache.seen.tolist() == [seen]
        assert {i for i in cache.positions[0].tolist() if i >= 0} == set(held.values())


@TWINS
def test_a_refusal_of_one_row_changes_no_other(mm):
    model = engine(mm, small(window_size=4))
    cache = model.new_cache(3, spare=1)
    model(np.ones((3, 9), int), cache, lengths=[9, 3, 9])
    before = state(cache)
    with pytest.raises(ValueError, match=r"n must be less than 3 for row 2: .* spare = 1"):
        cache.rewind([2, 3, 3])
    with pytest.raises(ValueError, match="n must be from 0 to the 3 tokens of row 1, not 4"):
        cache.rewind([2, 4, 2])
    assert_same_state(state(cache), before)
    cache.rewind([2, 3, 0])
    assert cache.seen.tolist() == [7, 0, 9]


@TWINS
@pytest.mark.parametrize(
    ("n", "error", "reason"),
    [
        (1.0, TypeError, "n must be integers"),
        (True, TypeError, "n must be integers, not .*bool"),
        ("2", TypeError, "n must be"),
        (None, TypeError, "n must be"),
        ([1], ValueError, r"n must be \(\) or \(2,\), not \(1,\)"),
        ([[1, 1]], ValueError, r"n must be \(\) or \(2,\)"),
        (-1, ValueError, "n must be from 0 to the 3 tokens of row 0, not -1"),
        ([0, 4], ValueError, "n must be from 0 to the 3 tokens of row 1, not 4"),
    ],
)
def test_bad_n(mm, n, error, reason):
    model = engine(mm, small())
    cache = model.new_cache(2)
    model([[1, 2, 3], [4, 5, 6]], cache)
    before = state(cache)
    with pytest.raises(error, match=reason):
        cache.rewind(n)
    assert_same_state(state(cache), before)


@TWINS
def test_n_may_be_any_integers(mm):
    model = engine(mm, small())
    for n in (
        2,
        [2, 2],
        np.uint8([2, 2]),
        np.int16(2),
        torch.tensor([2, 2]),
        np.array([2, 2])[::-1],
    ):
        cache = model.new_cache(2)
        model([[1, 2, 3], [4, 5, 6]], cache)
        cache.rewind(n)
        assert cache.seen.tolist() == [1, 1]


@TWINS
def test_without_a_window_everything_can_be_taken_back(mm):
    for config in (small(window_size=None), small(window_size=50)):
        model = engine(mm, config)
        tokens = random_tokens(np.random.default_rng(0), config, 2, 20)
        cache = model.new_cache(2, 20, spare=3)
        assert not cache.rolls and cache.n_slots == 20  # spare slots would never be used
        logits = np.asarray(model(tokens, cache))
        cache.rewind([20, 5])
        cache.rewind([0, 15])
        assert_same_state(state(cache), state(model.new_cache(2, 20, spare=3)))
        np.testing.assert_array_equal(model(tokens, cache), logits)


@TWINS
def test_a_cache_with_spare_slots_never_gets_full(mm):
    """Also where max_tokens lies between W and W + spare."""
    model = engine(mm, small(window_size=4), dtype="float64")
    tokens = random_tokens(np.random.default_rng(0), model.config, 1, 30)
    full = np.asarray(model(tokens))
    for max_tokens in (None, 4, 6, 7, 99):
        cache = model.new_cache(1, max_tokens, spare=3)
        assert cache.rolls and cache.n_slots == 7
        chunks = [model(tokens[:, i : i + 3], cache) for i in range(0, 30, 3)]
        np.testing.assert_allclose(np.concatenate(chunks, axis=1), full, atol=1e-12)
        cache.rewind(4)
    assert not model.new_cache(1, 3, spare=3).rolls


@TWINS
def test_values_that_are_not_finite_go_too(mm):
    """0 times infinity would be NaN."""
    model = engine(mm, small(window_size=4))
    cache = model.new_cache(1, spare=2)
    model([[1, 2, 3]], cache)
    expected = model.new_cache(1, spare=2)
    model([[1, 2, 3]], expected)
    model([[1, 2, 3]], cache)
    cache.k[:, :, :, 3:6], cache.v[:, :, :, 3:6] = np.nan, np.inf
    cache.rewind(3)
    np.testing.assert_array_equal(model([[5, 6]], cache), model([[5, 6]], expected))


@TWINS
def test_what_an_interrupted_step_wrote_is_not_taken_for_an_old_key(mm, monkeypatch):
    """The next token loses nothing; but a rewind may then need a key that was overwritten."""
    module = sys.modules[mm.Mistral.__module__]
    place, name = (module, "layer") if mm is mn else (mp.layer.Layer, "forward")
    for W, spare in ((4, 0), (4, 2), (1, 0), (1, 1)):
        model = engine(mm, small(window_size=W))
        cache, other = (model.new_cache(1, spare=spare) for _ in range(2))
        for each in (cache, other):
            model([list(range(10))], each)
        layer = getattr(place, name)

        def fails(*rest, layer=layer):
            layer(*rest)
            raise MemoryError

        monkeypatch.setattr(place, name, fails)
        with pytest.raises(MemoryError):
            model([[1]], cache)
        monkeypatch.setattr(place, name, layer)
        assert cache.seen.tolist() == [10]
        if W > 1:
            with pytest.raises(ValueError, match=f"the key of position {10 - W - spare},"):
                cache.rewind(spare + 1)
        for each in (cache, other):
            each.rewind(spare if W > 1 else spare + 1)
        np.testing.assert_array_equal(model([[3, 4]], cache), model([[3, 4]], other))


@TWINS
def test_taking_rows(mm):
    """Each row goes on as the one that it was taken from; the old cache stays."""
    rng = np.random.default_rng(0)
    model = engine(mm, small(), dtype="float64")
    tokens = random_tokens(rng, model.config, 3, 20)
    cache = model.new_cache(3, spare=2)
    model(tokens[:, :10], cache, lengths=[10, 3, 7])
    before = state(cache)
    for rows in (
        [2, 0, 0, 1],
        [1],
        np.array([2, 1, 0])[::-1],
        torch.tensor([0, 2], dtype=torch.uint8),
    ):
        taken = cache.take(rows)
        rows = np.asarray(rows).tolist()
        assert taken.seen.tolist() == [[10, 3, 7][row] for row in rows]
        assert taken.batch_size == len(rows)
        ours = np.asarray(model(tokens[rows, 10:], taken))
        taken.rewind(2)
        for row, logits in zip(rows, ours, strict=True):
            fed = np.concatenate([tokens[row, : [10, 3, 7][row]], tokens[row, 10:]])
            expected = np.asarray(model(fed[None]))[0, -10:]
            np.testing.assert_allclose(logits, expected, atol=1e-12)
        assert_same_state(state(cache), before)


@TWINS
@pytest.mark.parametrize(
    ("rows", "error"),
    [
        ([], ValueError), (0, ValueError), ([[0]], ValueError), ([2], ValueError),
        ([-1], ValueError), ([0.0], TypeError), ([True, False], TypeError), ("a", TypeError),
    ],
)  # fmt: skip
def test_bad_rows(mm, rows, error):
    cache = engine(mm, small()).new_cache(2)
    with pytest.raises(error, match="rows must be"):
        cache.take(rows)


@TWINS
@pytest.mark.parametrize("window_size", [3, 9, None])
def test_one_row_by_itself(mm, window_size):
    """Chunks beyond 2W, a reset and a rewind of a row: the others stay, to the last bit."""
    model = engine(mm, small(window_size=window_size), dtype="float64")
    rng = np.random.default_rng(0)
    tokens = random_tokens(rng, model.config, 3, 25)
    cache = model.new_cache(3, 40, spare=2)
    model(tokens[:, :4], cache)
    for n in (1, 0, 2, 1):
        alone, before = cache.take([n]), state(cache)
        others = [row for row in range(3) if row != n]
        for change in (
            lambda each: model(tokens[:1, 4:15], each),
            lambda each: each.rewind(2),
            lambda each: model(tokens[1:2, 15:17], each),
        ):
            change(alone)
            change(cache.one_row(n))
            assert_same_state(state(cache.take([n])), state(alone))
        after = state(cache)
        for k_or_v in (0, 1):
            np.testing.assert_array_equal(after[k_or_v][:, others], before[k_or_v][:, others])
        for count in (2, 3):
            np.testing.assert_array_equal(after[count][others], before[count][others])
        cache.one_row(n).reset()
        assert_same_state(state(cache.take([n])), state(model.new_cache(1, 40, spare=2)))
        model(tokens[n : n + 1, :4], cache.one_row(n))


@TWINS
@pytest.mark.parametrize(
    ("n", "error", "reason"),
    [(-1, ValueError, "at least 0"), (2, ValueError, "below 2"), (0.0, TypeError, "whole number"),
     (True, TypeError, "whole number"), ([0], TypeError, "whole number")],
)  # fmt: skip
def test_a_row_that_is_none(mm, n, error, reason):
    with pytest.raises(error, match=f"n must be a? ?{reason}"):
        engine(mm, small()).new_cache(2).one_row(n)


@TWINS
def test_bad_spare(mm):
    for spare, error in (
        (-1, ValueError),
        (1.0, TypeError),
        (True, TypeError),
        (2**60, ValueError),
    ):
        with pytest.raises(error, match="spare must be"):
            mm.RollingCache(small(), 1, spare=spare)
        with pytest.raises(error, match="spare must be"):
            engine(mm, small()).new_cache(1, spare=spare)
    assert mm.RollingCache(small(), 1, 3, spare=2**60).n_slots == 3  # it would never be used


@pytest.fixture
def not_compiled(monkeypatch):
    """A step as plain Python; tests/twins/test_compiled.py holds the compiled one to the model."""
    monkeypatch.setattr(compiled, "_compiled_step", lambda device_type: compiled.step)


def test_a_compiled_step_goes_on_after_a_rewind(not_compiled):
    model = engine(mp, small(window_size=4))
    rng = np.random.default_rng(0)
    caches = [model.new_cache(2, spare=3) for _ in range(2)]
    step = CompiledStep(model, caches[0])

    def both(lengths):
        tokens = random_tokens(rng, model.config, 2, 1)
        ours = step(tokens, lengths).numpy()
        theirs = model(tokens, caches[1], lengths=lengths)[:, 0].detach().numpy()
        running = np.array(lengths) > 0
        np.testing.assert_allclose(ours[running], theirs[running], atol=1e-5)
        assert caches[0].positions.tolist() == caches[1].positions.tolist()

    for n in (0, 4, [1, 3], [0, 2], 4):
        for lengths in ([1, 1], [1, 1], [0, 1], [1, 1], [1, 0], [1, 1]):
            both(lengths)
        for cache in caches:
            cache.rewind(n)
    both([1, 1])


def test_an_interrupted_compiled_step_is_not_taken_for_an_old_key(not_compiled, monkeypatch):
    model = engine(mp, small(window_size=4))
    cache = model.new_cache(2)
    model(np.ones((2, 9), int), cache)
    step = CompiledStep(model, cache)
    run = step._forward

    def fails():
        run()
        raise KeyboardInterrupt

    monkeypatch.setattr(step, "_forward", fails)
    with pytest.raises(KeyboardInterrupt):
        step([[1], [1]], [1, 0])
    assert cache.seen.tolist() == [9, 9]
    with pytest.raises(ValueError, match=r"for row 0: .* key of position 5,"):
        cache.rewind(1)
    cache.rewind([0, 1])
