"""How far back a model looks: exact for any weights, measured for the trained ones."""

import math
import statistics
from dataclasses import replace

import numpy as np
import pytest

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.course import draw
from minimistral.evaluation import reach
from minimistral.evaluation.bits_per_byte import log2_probabilities, token_bits

ENGINES = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
CONFIG = ModelConfig(
    dim=16, n_layers=3, head_dim=4, hidden_dim=32, n_heads=4, n_kv_heads=2,
    window_size=4, context_len=64, vocab_size=20,
)  # fmt: skip
FAR = 3 * (4 - 1)
IDS = np.random.default_rng(0).integers(0, 20, 200)


@ENGINES
@pytest.mark.parametrize("n_layers", [1, 2, 3])
def test_influence_ends_exactly_at_k_times_w_minus_1(mm, n_layers):
    model = mm.Mistral(replace(CONFIG, n_layers=n_layers))
    measured = reach.influence(model, reach.sample_contexts(IDS, 16, 8), range(16))
    edge = n_layers * 3
    assert (measured["mean"][: edge + 1] > 0).all() and (measured["largest"][: edge + 1] > 0).all()
    assert (measured["mean"][edge + 1 :] == 0).all() and (
        measured["largest"][edge + 1 :] == 0
    ).all()


def test_influence_is_the_divergence_of_one_changed_token():
    model, contexts = mn.Mistral(CONFIG), reach.sample_contexts(IDS, 12, 1)
    measured = reach.influence(model, contexts, [2])

    def after(token):
        read = contexts[:, :-1].copy()
        read[:, 9] = token
        return log2_probabilities(model(read)[0, -1:])[0]

    p = after(contexts[0, 9])
    others = [after(token) for token in range(20) if token != contexts[0, 9]]
    divergences = [(np.exp2(p) * (p - q)).sum() for q in others]
    assert min(abs(d - measured["mean"][0]) for d in divergences) < 1e-6


def test_influence_of_a_distance_does_not_depend_on_the_others():
    model, contexts = mn.Mistral(CONFIG), reach.sample_contexts(IDS, 12, 4)
    both, one = (reach.influence(model, contexts, d)["mean"] for d in ([1, 5], [5]))
    assert both[1] == one[0]


@ENGINES
def test_loss_by_distance_is_that_of_the_cut_text(mm):
    model, contexts = mm.Mistral(CONFIG), reach.sample_contexts(IDS, 16, 5)
    measured = reach.loss_by_distance(model, contexts, [0, 3, FAR, FAR + 1, FAR + 4])
    for n, distance in enumerate([0, 3]):
        one_by_one = []
        for row in contexts:
            logits = model([row[-2 - distance : -1].tolist()])[0].tolist()
            one_by_one.append(token_bits(logits, row[-distance - 1 :])[-1])
        assert measured["loss"][n] == pytest.approx(np.mean(one_by_one), abs=1e-5)
    less = -np.diff(measured["loss"], prepend=measured["loss"][0])
    np.testing.assert_allclose(measured["gain"], less, atol=1e-12)
    np.testing.assert_allclose(measured["gain"][3:], 0, atol=1e-5)  # out of reach: nothing to gain
    assert (np.abs(measured["gain"][1:3]) > 1e-3).all()
    bits = [
        [token_bits(np.array(model([row[-2 - d : -1].tolist()])[0].tolist())[-1:], row[-1:])[0]
         for row in contexts] for d in (0, 3)
    ]  # fmt: skip
    wanted = statistics.stdev(np.subtract(*bits).tolist()) / math.sqrt(5)
    assert measured["error"][0] == 0 and measured["error"][1] == pytest.approx(wanted, abs=1e-5)


def test_regions():
    names = [reach.region_of(d, CONFIG) for d in range(12)]
    assert [names.count(name) for name in reach.REGIONS] == [4, 6, 2]
    assert reach.region_of(10**6, replace(CONFIG, window_size=None)) == reach.REGIONS[0]


def test_contexts_are_runs_of_the_text():
    contexts = reach.sample_contexts(np.arange(50), 10, 7)
    assert contexts.shape == (7, 11) and (np.diff(contexts, axis=1) == 1).all()
    assert (reach.sample_contexts(np.arange(50), 10, 7, seed=1) != contexts).any()


@pytest.mark.parametrize(
    ("call", "named"),
    [
        (lambda: reach.sample_contexts(IDS[:10], 10, 1), "ids must be more than seq_len = 10"),
        (lambda: reach.influence(None, np.zeros((1, 5), int), [4]), "distances must be below T"),
        (lambda: reach.influence(None, np.zeros((1, 5), int), [-1]), "distances"),
        (lambda: reach.loss_by_distance(None, np.zeros((1, 5), int), [9]), "distances must be"),
        (
            lambda: reach.influence(None, np.full((3, 5), 7), [0]),
            "contexts must hold at least two different tokens, not 7",
        ),
        (
            lambda: reach.loss_by_distance(None, np.zeros((1, 5), int), [0]),
            "contexts must hold at least two texts, not 1",
        ),
        (lambda: reach.sample_contexts(IDS, 4, 2**62), f"^n_contexts must be smaller, not {2**62}"),
        (lambda: reach.sample_contexts(IDS, 4, 0), "^n_contexts must be at least 1, not 0"),
        (lambda: reach.sample_contexts(IDS, 0, 3), "^seq_len must be at least 1, not 0"),
        (
            lambda: reach.measure_reach(mn.Mistral(CONFIG), IDS, n_changed=2**62),
            f"^n_changed must be smaller, not {2**62}",
        ),
        (
            lambda: reach.measure_reach(mn.Mistral(CONFIG), IDS, n_predicted=0),
            "^n_predicted must be at least 1, not 0",
        ),
    ],
)
def test_bad_input_is_named(call, named):
    with pytest.raises(ValueError, match=named):
        call()


def test_the_picture_shows_its_numbers():
    influence, loss = [(0, 2.0), (5, 0.01), (9, 1e-5), (10, 0.0)], [(0, 5.5), (9, 3.2), (10, 3.2)]
    svg = draw.reach_svg(influence, loss, window=4, reach=9)
    assert svg.count("<circle") == 7
    assert ">not at all</text>" in svg and ">0</text>" in svg  # no bits; no positions back
    assert "W − 1 = 3" in svg and "K(W − 1) = 9" in svg
    floor = draw.reach.TOPS[0] + draw.reach.PANEL
    heights = [float(part.split('"')[3]) for part in svg.split("<circle ")[1:5]]
    assert heights == sorted(heights) and heights[-1] == floor > heights[-2]
    assert svg != draw.reach_svg([*influence[:-1], (10, 0.5)], loss, window=4, reach=9)
    assert "beyond 9 not at all;" in draw.reach_words(influence, loss, 4, 9)
    assert "beyond 9 by 0.5 at most" in draw.reach_words([*influence, (11, 0.5)], loss, 4, 9)


def walked(i, n_layers, window):
    """Every token that n_layers hops of 0 to W - 1 positions lead to from i."""
    reached = {i}
    for _ in range(n_layers):
        reached = {j - hop for j in reached for hop in range(window) if j - hop >= 0}
    return reached


@pytest.mark.parametrize(("T", "W", "K"), [(1, 1, 0), (9, 1, 4), (12, 4, 3), (20, 3, 5), (7, 9, 2)])
def test_reachable_is_a_walk_of_hops(T, W, K):
    powers = reach.reachable(mn.window_mask(np.arange(T), np.arange(T), W), K)
    assert len(powers) == K + 1
    for k, power in enumerate(powers):
        for i in range(T):
            assert set(np.flatnonzero(power[i])) == walked(i, k, W)


def test_reachable_names_its_argument():
    for mask in (np.ones((2, 3), bool), np.ones((2, 2)), np.ones(3, bool)):
        with pytest.raises(ValueError, match="mask must be bool"):
            reach.reachable(mask, 1)
    with pytest.raises(ValueError, match="n_layers"):
        reach.reachable(np.ones((2, 2), bool), -1)
