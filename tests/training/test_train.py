"""The text, the parts of the training loop, whole runs, and the command."""

import itertools
import json
import math
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from minimistral import ModelConfig, tokenizer
from minimistral import np as mm
from minimistral.cli import train as command
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.training import Settings, corpus, loop, train
from minimistral.training.data import batch_at, learn_vocabulary
from minimistral.training.optimizer import learning_rate_at
from minimistral.training.state import STATE_FILE
from minimistral.training.weights import drop_weights, initial_model

SMALL = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=64, n_heads=4, n_kv_heads=2,
    window_size=8, context_len=64, vocab_size=300,
)  # fmt: skip
TEXTS = ("the cat sat on the mat. " * 40 + "a dog ran by.\n" * 20, "the dog sat on the cat.\n")
QUICK = Settings(
    steps=6, batch_size=2, seq_len=16, checkpoint_every=2, warmup=2, learning_rate=0.01,
    dropout=0.1,
)  # fmt: skip


def quick(folder, settings=QUICK, **options):
    return train(folder, settings, config=SMALL, texts=TEXTS, **options)


def weights_in(folder):
    return mm.load(folder).weights


def assert_same_weights(one, other):
    for name, weight in weights_in(one).items():
        np.testing.assert_array_equal(weight, weights_in(other)[name], err_msg=name)


# The text


def test_no_paragraph_is_on_both_sides_or_twice():
    training, held_out = corpus.split()
    sides = [
        [" ".join(p.split()) for p in text.split("\n\n") if p.strip()]
        for text in (training, held_out)
    ]
    assert not set(sides[0]) & set(sides[1])
    for side in sides:
        assert len(set(side)) == len(side)
    assert 10 < len(training) / len(held_out) < 20
    assert corpus.shared(held_out, training) < 0.02
    assert corpus.shared(training, training) == 1.0


def test_the_split_is_always_the_same_and_leaves_nothing_out():
    training, held_out = corpus.split()
    assert corpus.split() == (training, held_out)

    def words(text):
        return [w for w in text.split() if w.strip("*=-~")]

    whole = " ".join(words(training + held_out))
    for section in corpus.all_sections():
        for paragraph in section.split("\n\n"):
            assert " ".join(words(paragraph)) in whole


def test_a_python_without_the_text(monkeypatch):
    monkeypatch.setitem(sys.modules, "pydoc_data.topics", None)
    with pytest.raises(ImportError, match=r"no pydoc_data\.topics"):
        corpus.split()


# Parts of the training


def test_the_rate_rises_then_falls_to_2_percent():
    s = Settings(steps=1000, warmup=100, learning_rate=1.0)
    rates = [learning_rate_at(step, s) for step in range(1000)]
    top = int(np.argmax(rates))
    assert 90 <= top <= 110
    assert (np.diff(rates[:top]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates[0] == pytest.approx(0.01, rel=0.01) and rates[-1] == pytest.approx(0.02, abs=1e-4)
    learning_rate_at(0, replace(s, warmup=0))


def test_a_batch_is_text_and_the_same_one_token_on():
    ids = np.arange(1000)
    tokens, targets = batch_at(ids, 3, QUICK)
    assert tokens.shape == targets.shape == (2, 16)
    np.testing.assert_array_equal(tokens + 1, targets)
    np.testing.assert_array_equal(batch_at(ids, 3, QUICK)[0], tokens)
    others = [batch_at(ids, 4, QUICK), batch_at(ids, 3, replace(QUICK, seed=1))]
    assert all((other[0] != tokens).any() for other in others)


def test_every_token_of_the_text_is_read():
    ids = np.arange(20)
    seen = {int(t) for step in range(200) for t in batch_at(ids, step, QUICK)[1].flat}
    assert seen == set(range(1, 20))


def test_dropout_leaves_norms_alone_and_the_mean_as_it_is():
    weights = initial_model(SMALL, 0).weights
    assert drop_weights(weights, 0, replace(QUICK, dropout=0)) is weights
    many = [drop_weights(weights, step, replace(QUICK, dropout=0.4)) for step in range(300)]
    for name, weight in weights.items():
        if weight.ndim == 1:
            assert all(dropped[name] is weight for dropped in many)
            continue
        share = 0.2 if name in ("tok_embeddings.weight", "output.weight") else 0.4
        assert float((many[0][name] == 0).float().mean()) == pytest.approx(share, abs=0.05)
        mean = torch.stack([dropped[name].detach() for dropped in many]).mean(dim=0)
        weight = weight.detach()
        assert float((mean - weight).abs().mean() / weight.abs().mean()) < 0.1


def test_the_vocabulary_spells_any_text():
    model = learn_vocabulary(TEXTS[0], 300)
    assert model == learn_vocabulary(TEXTS[0], 300)
    for vocab_size in (200, 5000):
        with pytest.raises(ValueError, match=f"vocab_size must fit the text, not {vocab_size}"):
            learn_vocabulary(TEXTS[0], vocab_size)


# A run


def test_a_run_and_what_it_leaves(tmp_path, capfd):
    report = quick(tmp_path / "new" / "model", progress=True)
    folder = tmp_path / "new" / "model"
    assert {path.name for path in folder.iterdir()} == {
        "params.json", "consolidated.safetensors", "tokenizer.model", "training.json",
    }  # fmt: skip
    assert json.loads((folder / "training.json").read_text(encoding="utf-8")) == report
    assert [line["step"] for line in report["log"]] == [2, 4, 6]
    assert report["settings"] == asdict(QUICK) and report["parameters"] == SMALL.n_params
    model, tokens = mm.load(folder), tokenizer.load(folder)
    assert model.config == SMALL and len(tokens) == 300
    assert tokens.decode(tokens.encode(" a\n\n  🐻 b\t")) == " a\n\n  🐻 b\t"
    held_out = report["held_out_bits_per_byte"]
    assert bits_per_byte(model, tokens, TEXTS[1]) == pytest.approx(held_out["model"], abs=1e-3)
    assert report["log"][-1]["held_out"] == held_out["model"]
    assert set(held_out) > {"model", "unigram of bytes", "5-gram of tokens", "zlib", "bz2", "lzma"}
    out, err = capfd.readouterr()
    assert out == "" and err.count("bits/byte") == 3 and "step 6 of 6" in err


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, monkeypatch, stop_after):
    settings = replace(QUICK, average=2)
    quick(tmp_path / "whole", settings)
    train_step = loop.Training.train_step

    def interrupted(self):
        if self.step == stop_after:
            raise KeyboardInterrupt
        return train_step(self)

    monkeypatch.setattr(loop.Training, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "parts", settings)
    monkeypatch.undo()
    if stop_after < settings.checkpoint_every:
        with pytest.raises(FileNotFoundError, match=r"cannot resume: .* has no training_state"):
            quick(tmp_path / "parts", settings, resume=True)
        return
    with pytest.raises(FileExistsError, match="resume continues"):
        quick(tmp_path / "parts", settings)
    report = quick(tmp_path / "parts", settings, resume=True)
    assert [line["step"] for line in report["log"]] == [2, 4, 6]
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")
    assert_same_weights(tmp_path / "whole" / "averaged", tmp_path / "parts" / "averaged")


def test_same_seed_same_weights(tmp_path):
    for name, settings in {"a": QUICK, "b": QUICK, "c": replace(QUICK, seed=1)}.items():
        quick(tmp_path / name, settings)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "a", tmp_path / "c")


def test_the_average_is_the_mean_of_the_last_checkpoints(tmp_path, monkeypatch):
    kept, save_state = [], loop.save_state

    def keep(training):
        kept.append({name: w.detach().clone() for name, w in training.model.weights.items()})
        save_state(training)

    monkeypatch.setattr(loop, "save_state", keep)
    quick(tmp_path, replace(QUICK, average=2))
    assert len(kept) == 3
    averaged = weights_in(tmp_path / "averaged")
    for name, weight in averaged.items():
        mean = (kept[1][name] + kept[2][name]) / 2
        np.testing.assert_allclose(weight, mean, atol=1e-7)
    assert (averaged["output.weight"] != weights_in(tmp_path)["output.weight"]).any()
    assert tokenizer.load(tmp_path / "averaged").encode("the") == tokenizer.load(tmp_path).encode(
        "the"
    )


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(corpus, "split", lambda: TEXTS)
    monkeypatch.setattr(ModelConfig, "tiny", classmethod(lambda cls: SMALL))
    parser = command.argparse.ArgumentParser()
    command.add_arguments(parser)
    options = "--steps 4 --batch-size 2 --seq-len 16 --checkpoint-every 2 --average 1 --threads 1"
    args = parser.parse_args(["--out", str(tmp_path / "m"), *options.split()])
    assert command.run(args) == 0
    lines = capsys.readouterr().out.splitlines()
    values = [float(line.split()[0]) for line in lines[1:-1]]
    assert values == sorted(values) and len(values) == 12
    assert f"{SMALL.n_params:,} parameters" in lines[-1]
    report = json.loads((tmp_path / "m" / "training.json").read_text())
    assert report["command"] == (
        "minimistral train --steps 4 --batch-size 2 --seq-len 16 --average 1 --checkpoint-every 2"
        " --threads 1"
    )


def test_ctrl_c_says_how_to_continue(tmp_path, monkeypatch, capsys):
    def stop(*_args, **_options):
        (tmp_path / STATE_FILE).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(command, "train", stop)
    parser = command.argparse.ArgumentParser()
    command.add_arguments(parser)
    with pytest.raises(KeyboardInterrupt):
        command.run(parser.parse_args(["--out", str(tmp_path)]))
    assert "continue it with --resume" in capsys.readouterr().err


def test_a_loss_that_is_no_number_ends_the_run(tmp_path, monkeypatch):
    monkeypatch.setattr(
        torch.nn.functional, "cross_entropy", lambda *_: torch.tensor(math.nan, requires_grad=True)
    )
    with pytest.raises(ValueError, match="loss is nan at step 0: lower learning_rate"):
        quick(tmp_path)


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"steps": 0}, ValueError),
        ({"steps": 1.5}, TypeError),
        ({"batch_size": 0}, ValueError),
        ({"seq_len": "9"}, TypeError),
        ({"learning_rate": 0}, ValueError),
        ({"learning_rate": math.nan}, ValueError),
        ({"weight_decay": -1}, ValueError),
        ({"dropout": 1}, ValueError),
        ({"dropout": -0.1}, ValueError),
        ({"average": 4}, ValueError),
        ({"checkpoint_every": 0}, ValueError),
        ({"warmup": -1}, ValueError),
        ({"seed": -1}, ValueError),
    ],
)
def test_a_bad_setting_is_named(changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        replace(QUICK, **changes)


def test_what_a_run_refuses(tmp_path):
    with pytest.raises(ValueError, match="seq_len must be below the text's"):
        quick(tmp_path / "a", replace(QUICK, seq_len=10_000))
    with pytest.raises(ValueError, match="device"):
        quick(tmp_path / "b", device="nowhere")
    assert not (tmp_path / "b").exists()
    quick(tmp_path / "c")
    before = weights_in(tmp_path / "c")["norm.weight"].copy()
    with pytest.raises(FileExistsError, match="is not empty"):
        quick(tmp_path / "c", replace(QUICK, seed=5))
    np.testing.assert_array_equal(weights_in(tmp_path / "c")["norm.weight"], before)
    quick(tmp_path / "c", replace(QUICK, seed=5), overwrite=True)
    assert (weights_in(tmp_path / "c")["norm.weight"] != before).any()


@pytest.mark.parametrize(
    ("settings", "texts", "named"),
    [
        (replace(QUICK, seed=3), TEXTS, "cannot resume: seed was 0, now 3"),
        (replace(QUICK, dropout=0.2), TEXTS, r"dropout was 0\.1, now 0\.2"),
        (QUICK, (TEXTS[0] + "more", TEXTS[1]), "text was"),
    ],
)
def test_it_resumes_only_with_the_same(tmp_path, monkeypatch, settings, texts, named):
    steps = itertools.count()
    train_step = loop.Training.train_step

    def interrupted(self):
        if next(steps) == 3:
            raise KeyboardInterrupt
        return train_step(self)

    monkeypatch.setattr(loop.Training, "train_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=named):
        train(tmp_path, settings, config=SMALL, texts=texts, resume=True)
    quick(tmp_path, resume=True)


@pytest.mark.slow
def test_thirty_steps_on_the_real_text_lower_the_loss(tmp_path):
    settings = Settings(steps=30, checkpoint_every=15, warmup=10)
    report = train(tmp_path, settings)
    first, second = report["log"]
    assert first["held_out"] < 5 and second["held_out"] < first["held_out"] - 0.1
    assert second["training"] < first["training"] - 0.5
    held_out = report["held_out_bits_per_byte"]
    assert held_out["model"] < held_out["unigram of tokens"]
