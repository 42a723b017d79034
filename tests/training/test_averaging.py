"""Averaging of checkpoints: what is averaged, and what the recorded runs say."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from minimistral import ModelConfig, tiny
from minimistral.training import averaging
from minimistral.training.settings import Settings

CONFIG = ModelConfig(dim=8, n_layers=1, head_dim=4, hidden_dim=8, n_heads=2, n_kv_heads=1,
                     window_size=4, context_len=32, vocab_size=40)  # fmt: skip
IDS = np.random.default_rng(0).integers(0, 40, 500)
SETTINGS = Settings(steps=12, batch_size=2, seq_len=8, warmup=2, dropout=0.0, checkpoint_every=2)


def runs(falls):
    copies = []
    for step, *models in averaging.train(CONFIG, IDS, SETTINGS, falls):
        copies.append((step, *({n: w.clone() for n, w in m.items()} for m in models)))
    return copies


@pytest.mark.parametrize("falls", [True, False])
def test_the_average_is_that_of_five_checkpoints(monkeypatch, falls):
    monkeypatch.setattr(averaging, "N_CHECKPOINTS", 1)
    monkeypatch.setattr(averaging, "LOOKED_AT", {step: 1 for step in range(1, 13)})
    each = {step: last for step, last, _, _ in runs(falls)}
    monkeypatch.undo()
    monkeypatch.setattr(averaging, "LOOKED_AT", {10: 2, 12: 1})
    (first, _, mean, _), (second, _, later, _) = runs(falls)
    assert (first, second) == (10, 12)
    for name in mean:
        expected = torch.stack([each[n][name] for n in (2, 4, 6, 8, 10)]).mean(dim=0)
        torch.testing.assert_close(mean[name], expected)
        expected = torch.stack([each[n][name] for n in (8, 9, 10, 11, 12)]).mean(dim=0)
        torch.testing.assert_close(later[name], expected)


def test_the_moving_average(monkeypatch):
    """At every step 0.98 of what it was and 0.02 of the weights."""
    monkeypatch.setattr(averaging, "N_CHECKPOINTS", 1)
    monkeypatch.setattr(averaging, "LOOKED_AT", {step: 1 for step in range(1, 13)})
    start = averaging.initial_model(CONFIG, 0).weights["norm.weight"].detach()
    moving = start.clone()
    for _, last, _, found in runs(True):
        moving = 0.98 * moving + 0.02 * last["norm.weight"]
        torch.testing.assert_close(found["norm.weight"], moving)


def test_the_rate_falls_or_stays(monkeypatch):
    rates = {True: [], False: []}
    plain = averaging.make_optimizer
    for falls, seen in rates.items():

        def watched(model, settings, seen=seen):
            optimizer = plain(model, settings)
            optimizer.register_step_pre_hook(lambda o, *_: seen.append(o.param_groups[0]["lr"]))
            return optimizer

        monkeypatch.setattr(averaging, "make_optimizer", watched)
        runs(falls)
        assert len(seen) == 12
    assert rates[True][-1] < 0.1 * max(rates[True])
    assert len(set(rates[False][2:])) == 1 and rates[False][-1] > rates[False][0]


def test_bfloat16_is_summed_in_more_digits():
    """Added up in bfloat16, these give 0.357421875."""
    weights = [
        torch.tensor([x], dtype=torch.bfloat16) for x in (0.8046875, 0.1748046875, 0.0888671875)
    ]
    mean = averaging.average([{"w": weight} for weight in weights])["w"]
    assert mean.dtype == torch.bfloat16 and mean.item() == 0.35546875


@pytest.mark.slow
def test_it_measures_a_small_run(monkeypatch):
    monkeypatch.setattr(averaging, "LOOKED_AT", {10: 2})
    monkeypatch.setattr(averaging.corpus, "split", lambda: ("abc " * 300, "abc abc"))
    lines = averaging.measure((3,), SETTINGS, replace(CONFIG, vocab_size=768))
    assert [(line["rate"], line["step"]) for line in lines] == [("falls", 10), ("stays", 10)]
    assert all(0 < line[name] < 30 for line in lines for name in ("last", "average", "moving"))


def test_the_recorded_runs():
    record = json.loads((tiny.FOLDER / averaging.FILE).read_text(encoding="utf-8"))
    lines = record["held_out_bits_per_byte"]
    expected = itertools.product(range(3), ("falls", "stays"), averaging.LOOKED_AT)
    assert [(line["seed"], line["rate"], line["step"]) for line in lines] == list(expected)
    assert record["settings"]["steps"] == averaging.SETTINGS.steps
