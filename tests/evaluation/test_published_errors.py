"""Errors of published numbers: against simulation, brute force and each other."""

import math

import numpy as np
import pytest

from minimistral.evaluation.errors import (
    Estimate,
    average,
    break_even_tokens,
    difference,
    equivalent_size,
    share,
    survives,
)

EXACT = 0.0


@pytest.mark.parametrize(("p", "n"), [(0.601, 14042), (0.305, 164), (0.95, 40)])
def test_a_share_scatters_by_its_error(p, n):
    """200,000 exams of n questions."""
    scores = np.random.default_rng(0).binomial(n, p, 200_000) / n
    assert share(p, n).error == pytest.approx(scores.std(), rel=0.01)


def test_a_difference_scatters_by_its_error_when_unpaired_and_less_when_paired():
    rng = np.random.default_rng(1)
    hard = rng.random((6_000, 500))  # how hard each question of each exam is: the same for both
    alone = rng.random((6_000, 500))
    expected = difference(share(0.6, 500), share(0.5, 500))
    unpaired = (hard < 0.6).mean(axis=1) - (alone < 0.5).mean(axis=1)
    paired = (hard < 0.6).mean(axis=1) - (hard < 0.5).mean(axis=1)
    assert expected.value == pytest.approx(0.1)
    assert expected.error == pytest.approx(unpaired.std(), rel=0.03)
    assert paired.std() < 0.6 * expected.error


def test_z_and_p():
    assert Estimate(-3.0, 1.5).z == -2
    assert Estimate(1.959964, 1.0).p == pytest.approx(0.05, abs=1e-6)
    assert Estimate(-1.959964, 1.0).p == Estimate(1.959964, 1.0).p
    assert Estimate(0.0, 1.0).p == 1


def test_holm_is_holms_rule_written_out():
    """Adjusted p: the running maximum of (m - n) p, in ascending order (Holm 1979)."""
    rng = np.random.default_rng(2)
    for _ in range(300):
        p = rng.random(rng.integers(1, 7)) ** 3 / 4
        order = np.argsort(p)
        adjusted = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
        expected = {f"{n}": bool(a <= 0.05) for n, a in zip(order, adjusted, strict=True)}
        assert survives({f"{n}": value for n, value in enumerate(p)}) == expected


def test_holm_keeps_its_level_and_plain_p_values_do_not():
    """12 benchmarks on which two models are equally good: how often does any difference stand?"""
    rng = np.random.default_rng(3)
    faked = plain = 0
    for z in rng.standard_normal((4000, 12)):
        p = {str(n): Estimate(value, 1.0).p for n, value in enumerate(z)}
        faked += any(survives(p).values())
        plain += min(p.values()) <= 0.05
    assert faked / 4000 == pytest.approx(0.05, abs=0.01)
    assert plain / 4000 == pytest.approx(1 - 0.95**12, abs=0.03)


def test_an_average_scatters_by_its_error():
    parts = [share(0.3, 200), share(0.5, 100), share(0.9, 50)]
    rng = np.random.default_rng(4)
    scores = np.mean(
        [rng.binomial(n, each.value, 100_000) / n
         for n, each in zip((200, 100, 50), parts, strict=True)], axis=0)  # fmt: skip
    assert average(parts).value == pytest.approx(scores.mean(), abs=1e-3)
    assert average(parts).error == pytest.approx(scores.std(), rel=0.01)


def test_the_equivalent_size_lies_on_the_line():
    """Both models have their own size, and the rest lies on a straight line in log(size)."""
    small, large = (7.0, Estimate(0.444, EXACT)), (13.0, Estimate(0.556, EXACT))
    for size, score in (small, large):
        assert equivalent_size(score, small, large).value == pytest.approx(size)
    for size in (3.0, 9.5, 20.0, 70.0):
        way = math.log(size / 7) / math.log(13 / 7)
        score = Estimate(0.444 + way * 0.112, EXACT)
        assert equivalent_size(score, small, large).value == pytest.approx(size)


def test_the_error_of_the_equivalent_size_is_that_of_the_line():
    """Three scores that scatter, and the size that each draw gives."""
    scores = Estimate(0.62, 0.004), Estimate(0.444, 0.004), Estimate(0.556, 0.004)
    rng = np.random.default_rng(5)
    draws = [rng.normal(each.value, each.error, 200_000) for each in scores]
    way = (draws[0] - draws[1]) / (draws[2] - draws[1])
    sizes = 7 * (13 / 7) ** way
    found = equivalent_size(scores[0], (7, scores[1]), (13, scores[2]))
    assert found.value == pytest.approx(np.median(sizes), rel=0.01)
    assert found.error == pytest.approx(sizes.std(), rel=0.05)
    for n in range(3):  # and when only one of the three has an error
        each = [replaced if m == n else Estimate(replaced.value, EXACT)
                for m, replaced in enumerate(scores)]  # fmt: skip
        draws = [rng.normal(e.value, e.error, 200_000) for e in each]
        sizes = 7 * (13 / 7) ** ((draws[0] - draws[1]) / (draws[2] - draws[1]))
        found = equivalent_size(each[0], (7, each[1]), (13, each[2]))
        assert found.error == pytest.approx(sizes.std(), rel=0.03), n


def test_at_the_break_even_both_have_cost_the_same():
    """Training 6 operations per parameter and token, use 2: counted for both."""
    tokens = break_even_tokens(2e12, 8e12, size=13e9, smaller=7e9)
    large = 13e9 * (6 * 2e12 + 2 * tokens)
    small = 7e9 * (6 * 8e12 + 2 * tokens)
    assert tokens > 0 and large == pytest.approx(small)
    assert break_even_tokens(2e12, 3e12, size=13e9, smaller=7e9) == 0


@pytest.mark.parametrize(
    ("call", "error", "named"),
    [
        (lambda: share(0.0, 10), ValueError, "value must be finite and above 0"),
        (lambda: share(1.0, 10), ValueError, "value must be below 1"),
        (lambda: share("0.5", 10), TypeError, "value must be a number"),
        (lambda: share(0.5, 0), ValueError, "n must be at least 1"),
        (lambda: survives({"a": 1.5}), ValueError, "a must be finite, at least 0 and at most 1"),
        (lambda: survives({"a": 0.5}, level=0), ValueError, "level must be"),
        (lambda: average([]), ValueError, "estimates must be at least one"),
        (lambda: equivalent_size(share(0.5, 9), (0, share(0.4, 9)), (2, share(0.6, 9))),
         ValueError, "small must be"),
        (lambda: equivalent_size(share(0.5, 9), (3, share(0.4, 9)), (2, share(0.6, 9))),
         ValueError, "large must be finite and above 3"),
        (lambda: equivalent_size(share(0.5, 9), (1, share(0.6, 9)), (2, share(0.6, 9))),
         ValueError, "large must score higher"),
        (lambda: break_even_tokens(1, 1, size=1, smaller=2), ValueError, "size must be"),
        (lambda: break_even_tokens(-1, 1, size=2, smaller=1), ValueError, "trained_on must be"),
    ],
)  # fmt: skip
def test_errors_name_the_argument(call, error, named):
    with pytest.raises(error, match=named):
        call()
