"""Serving simulated: cases worked out by hand, and the steps that `serve` really takes."""

import itertools
import math
import sys

import numpy as np
import pytest
from models import random_model, random_tokens, small

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.bench.serving import (
    POLICIES,
    Arrival,
    interpolated,
    measured,
    percentile,
    simulate,
    summary,
)


def one_each(writes, reads):
    return writes + reads


THREE = [Arrival(0, 2, 3), Arrival(0, 3, 1), Arrival(4, 2, 2)]


@pytest.mark.parametrize(
    ("policy", "batch_size", "chunk_size", "expected"),
    [
        # Both prompts (5 s), then the first writes alone; the third begins when it is done.
        ("static", 2, 9, [[5, 6, 7], [5], [9, 10]]),
        # One after the other.
        ("static", 1, 9, [[2, 3, 4], [7], [9, 10]]),
        # The row of the second is free at 5, so the third's prompt is read next, and the first
        # waits for it; then both write.
        ("prompts first", 2, 9, [[5, 9, 10], [5], [7, 9]]),
        ("prompts first", 1, 9, [[2, 3, 4], [7], [9, 10]]),
        # 2 of the first's prompt; its newest id and 2 of the second's; again, and 1 (second ends).
        # Then the third's two, without anybody else, and its last id.
        ("chunked", 2, 2, [[2, 5, 7], [7], [9, 10]]),
        # 1, 1 with who came first, first; 1 + 1 twice, then the second's last; the third's.
        ("chunked", 2, 1, [[2, 4, 6], [7], [9, 10]]),
        # All prompts fit into a step, and hold nobody up longer than it takes.
        ("chunked", 2, 9, [[5, 8, 10], [5], [8, 10]]),
    ],
)
def test_by_hand(policy, batch_size, chunk_size, expected):
    sizes = {"batch_size": batch_size, "chunk_size": chunk_size}
    assert simulate(THREE, one_each, policy, **sizes) == expected


def test_a_step_is_asked_what_it_writes_and_reads():
    asked = []

    def seconds(writes, reads):
        asked.append((writes, reads))
        return 1

    simulate([Arrival(0, 3, 3), Arrival(0, 2, 2)], seconds, "chunked", chunk_size=3)
    assert asked == [(0, 3), (1, 2), (2, 0)]


def test_the_clock_goes_on_to_the_next_arrival_and_takes_them_in_order_of_time():
    arrivals = [Arrival(50, 1, 1), Arrival(10.5, 1, 1), Arrival(10.5, 2, 1)]
    assert simulate(arrivals, one_each, "chunked", batch_size=1) == [[51], [11.5], [13.5]]
    assert simulate([], one_each, "static") == []


@pytest.mark.parametrize("seed", range(20))
def test_every_policy_writes_every_token_once(seed):
    rng = np.random.default_rng(seed)
    arrivals = [Arrival(*rng.integers(0, 30, 1).tolist(), *rng.integers(1, 9, 2).tolist())
                for _ in range(12)]  # fmt: skip
    sizes = {"batch_size": int(rng.integers(1, 6)), "chunk_size": int(rng.integers(1, 12))}
    for policy in POLICIES:
        busy = []

        def seconds(writes, reads, busy=busy, policy=policy):
            assert writes <= sizes["batch_size"] and writes + reads > 0
            assert policy != "chunked" or reads <= sizes["chunk_size"]
            assert policy == "chunked" or not (writes and reads)
            busy.append(0.5 + writes + reads)
            return busy[-1]

        times = simulate(arrivals, seconds, policy, **sizes)
        for arrival, each in zip(arrivals, times, strict=True):
            assert len(each) == arrival.n_new and each == sorted(set(each))
            assert each[0] > arrival.seconds + arrival.n_prompt
        assert max(map(max, times)) <= 30 + sum(busy)
        if policy != "chunked":  # what is written and read in all does not depend on the policy
            assert sum(busy) - 0.5 * len(busy) == sum(a.n_prompt + a.n_new - 1 for a in arrivals)


@pytest.mark.parametrize("seed", range(5))
def test_chunked_is_what_serve_does(seed, monkeypatch):
    """With a second a step, a token comes at the number of its step."""
    rng = np.random.default_rng(seed)
    model = random_model(small(), seed)
    requests = [
        mn.Request(n, random_tokens(rng, model.config, 1, int(rng.integers(1, 15)))[0].tolist(),
                   int(rng.integers(1, 6)))
        for n in range(6)
    ]  # fmt: skip
    sizes = {"batch_size": int(rng.integers(1, 4)), "chunk_size": int(rng.integers(1, 9))}
    serve = sys.modules[mn.serve.__module__]
    steps, join = itertools.count(), serve._join
    now = [0]

    def counted(*rest):
        now[0] = next(steps) + 1
        return join(*rest)

    monkeypatch.setattr(serve, "_join", counted)
    times = [[] for _ in requests]
    for id, _token, _reason in mn.serve(model, requests, **sizes):
        times[id].append(now[0])
    arrivals = [Arrival(0, len(each.prompt), each.max_new_tokens) for each in requests]
    assert simulate(arrivals, lambda *_: 1, "chunked", **sizes) == times


def test_what_users_notice():
    found = summary(THREE, [[5, 9, 10], [5], [7, 9]])
    assert found == {
        "tokens_per_second": 0.6, "first_p50": 5, "first_p99": 5,
        "between_p50": 2, "between_p99": 4,
    }  # fmt: skip
    later = summary([Arrival(8, 1, 1)], [[10]])
    assert later["tokens_per_second"] == 0.5 and later["first_p50"] == 2
    assert math.isnan(later["between_p50"]) and math.isnan(later["between_p99"])
    values = list(range(1, 101))
    assert [percentile(values[::-1], p) for p in (0, 1, 50, 99, 100)] == [1, 1, 50, 99, 100]


def test_a_long_prompt_among_those_who_are_written():
    """What the policies differ in: with the prompt first, all wait until it is read."""
    arrivals = [Arrival(0, 1, 20) for _ in range(3)] + [Arrival(5, 100, 1)]
    waits = {
        policy: summary(arrivals, simulate(arrivals, one_each, policy, chunk_size=10))
        for policy in POLICIES
    }
    assert waits["prompts first"]["between_p99"] == 103
    assert waits["chunked"]["between_p99"] == 13
    assert waits["static"]["between_p99"] == 3
    assert waits["static"]["first_p99"] > waits["chunked"]["first_p99"] == 131
    assert waits["prompts first"]["first_p99"] == 101


def test_between_what_was_measured():
    seconds = interpolated([0, 2, 8], [0, 10], [[0.0, 1.0], [0.2, 1.4], [0.5, 2.0]])
    for n, row in zip((0, 2, 8), ((0.0, 1.0), (0.2, 1.4), (0.5, 2.0)), strict=True):
        assert (seconds(n, 0), seconds(n, 10)) == row
    assert seconds(5, 5) == pytest.approx((0.35 + 1.7) / 2)
    with pytest.raises(ValueError, match="a step with 9 writes was not measured: 0 to 8 were"):
        seconds(9, 0)
    with pytest.raises(ValueError, match="a step with 11 reads was not measured: 0 to 10 were"):
        seconds(0, 11)


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_the_steps_of_this_machine(mm, monkeypatch):
    """What is measured is what goes through the model in a step of `serve`."""
    model = mm.Mistral(small(), random_model(small()).weights)
    passes, run = [], mm.Mistral.__call__

    def counted(self, tokens, cache, last_only, *, lengths=None):
        passes.append(
            (cache.batch_size, np.shape(tokens), None if lengths is None else sum(lengths))
        )
        return run(self, tokens, cache, last_only, lengths=lengths)

    monkeypatch.setattr(mm.Mistral, "__call__", counted)
    table = measured(model, [0, 2], [0, 3], batch_size=3, context=9, seconds=0.01)
    assert np.shape(table) == (2, 2) and np.all(np.array(table) >= 0) and table[1][1] > table[0][0]
    assert set(passes) == {(1, (1, 3), None), (3, (3, 1), 2)}
    n_rounds = len(passes) // 4  # of a step with nothing, one, one, and two passes
    assert len(passes) == 4 * n_rounds and n_rounds > 5


@pytest.mark.parametrize(
    ("call", "error", "reason"),
    [
        (lambda: Arrival(-1, 1, 1), ValueError, "seconds must be"),
        (lambda: Arrival(0, 0, 1), ValueError, "n_prompt must be at least 1"),
        (lambda: Arrival(0, 1, 0), ValueError, "n_new must be at least 1"),
        (lambda: simulate(THREE, one_each, "fast"), ValueError, "policy must be one of static, "),
        (lambda: simulate(THREE, one_each, "static", batch_size=0), ValueError, "batch_size must"),
        (lambda: simulate(THREE, one_each, "static", chunk_size=0), ValueError, "chunk_size must"),
        (lambda: summary([], []), ValueError, "arrivals must hold at least one"),
        (lambda: measured(random_model(small()), [9], [0]), ValueError, "writes must be at most"),
        (lambda: measured(random_model(small(window_size=None)), [1], [0]), ValueError, "model mu"),
        (lambda: interpolated([2, 1], [0], [[1], [2]]), ValueError, "writes must rise"),
        (lambda: interpolated([1, 2], [], [[], []]), ValueError, "reads must rise"),
        (lambda: interpolated([1, 2], [0], [[1, 2]]), ValueError, r"seconds must be \(2, 1\), not"),
    ],
)  # fmt: skip
def test_bad_arguments(call, error, reason):
    with pytest.raises(error, match=reason):
        call()
