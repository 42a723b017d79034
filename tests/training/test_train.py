"""The text, the measures, the training of the tiny model, and the model that is shipped."""

import itertools
import json
import lzma
import math
import sys
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimistral import ModelConfig, tokenizer
from minimistral import np as mm_np
from minimistral import pt as mm
from minimistral.evaluation import bits_per_byte as bits
from minimistral.training import corpus
from minimistral.training import loop as train

SMALL = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=64, n_heads=4, n_kv_heads=2,
    window_size=8, context_len=64, vocab_size=300,
)  # fmt: skip
TEXTS = ("the cat sat on the mat. " * 40 + "a dog ran by.\n" * 20, "the dog sat on the cat.\n")
QUICK = train.Settings(
    steps=6, rows=2, length=16, every=2, warmup=2, learning_rate=0.01, dropout=0.1
)


def quick(folder, settings=QUICK, **options):
    return train.train(folder, settings, config=SMALL, texts=TEXTS, **options)


def weights_in(folder):
    return mm_np.load(folder).weights


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


# The measures


@given(st.lists(st.integers(0, 2), max_size=30), st.lists(st.integers(0, 2), max_size=4))
def test_after_any_context_the_ngrams_probabilities_sum_to_1(training, context):
    def p(symbols):
        return 2 ** -bits.of_ngrams(training, symbols, order=3, size=3)

    total = sum(p([*context, symbol]) for symbol in range(3)) / p(context)
    assert total == pytest.approx(1)


def test_longer_ngrams_know_more():
    text = list(b"abcabcabcabd" * 9)
    known = [bits.of_ngrams(text, text, order, 256) for order in (1, 2, 3)]
    assert known == sorted(known, reverse=True) and known[2] < 0.5 * known[0]
    with pytest.raises(ValueError, match="order"):
        bits.of_ngrams(text, text, 0, 256)


def test_token_bits_are_the_cross_entropy():
    logits = np.random.default_rng(0).normal(size=(5, 7)) * 30
    targets = [0, 6, 3, 3, 1]
    own = torch.nn.functional.cross_entropy(
        torch.tensor(logits), torch.tensor(targets), reduction="none"
    )
    np.testing.assert_allclose(bits.token_bits(logits, targets) * math.log(2), own)
    np.testing.assert_allclose(np.exp2(bits.log2_probabilities(logits)).sum(axis=1), 1)


@pytest.mark.parametrize("engine", [mm_np, mm])
@pytest.mark.parametrize("chunk_size", [7, 512])
def test_bits_of_a_model_are_those_of_one_forward_pass(engine, chunk_size):
    v1 = tokenizer.load("v1")
    config = replace(SMALL, vocab_size=len(v1))
    model = engine.Mistral(config, mm_np.Mistral(config, seed=1).weights)
    text = "The cat sat on the mat, é 🐻. " * 3
    ids = v1.encode(text)
    logits = np.array(model([ids])[0].tolist())
    expected = bits.token_bits(logits[:-1], ids[1:]).sum() / len(text.encode())
    assert bits.of_model(model, v1, text, chunk_size) == pytest.approx(expected, rel=1e-4)
    with pytest.raises(ValueError, match="text"):
        bits.of_model(model, v1, "")


def test_compressors_are_those_of_the_standard_library():
    text = TEXTS[0].encode()
    size = len(lzma.compress(text, preset=9 | lzma.PRESET_EXTREME))
    assert bits.of_compressor("lzma", text) == 8 * size / len(text)
    for name in bits.COMPRESSORS:
        text = TEXTS[1].encode() * 3
        assert bits.of_compressor(name, text, after=text * 2) < bits.of_compressor(name, text)
    with pytest.raises(ValueError, match="name must be one of zlib, bz2, lzma"):
        bits.of_compressor("zip", text)


# Parts of the training


def test_the_rate_rises_then_falls_to_2_percent():
    s = train.Settings(steps=1000, warmup=100, learning_rate=1.0)
    rates = [train.rate_at(step, s) for step in range(1000)]
    top = int(np.argmax(rates))
    assert 90 <= top <= 110
    assert (np.diff(rates[:top]) > 0).all() and (np.diff(rates[top:]) < 0).all()
    assert rates[0] == pytest.approx(0.01, rel=0.01) and rates[-1] == pytest.approx(0.02, abs=1e-4)
    train.rate_at(0, replace(s, warmup=0))


def test_a_batch_is_text_and_the_same_one_token_on():
    ids = np.arange(1000)
    tokens, targets = train.batch_at(ids, 3, QUICK)
    assert tokens.shape == targets.shape == (2, 16)
    np.testing.assert_array_equal(tokens + 1, targets)
    np.testing.assert_array_equal(train.batch_at(ids, 3, QUICK)[0], tokens)
    others = [train.batch_at(ids, 4, QUICK), train.batch_at(ids, 3, replace(QUICK, seed=1))]
    assert all((other[0] != tokens).any() for other in others)


def test_every_place_of_the_text_is_read():
    ids = np.arange(20)
    seen = {int(t) for step in range(200) for t in train.batch_at(ids, step, QUICK)[1].flat}
    assert seen == set(range(1, 20))


def test_dropout_leaves_norms_alone_and_the_mean_as_it_is():
    weights = train.initial_weights(SMALL, 0)
    assert train.with_dropout(weights, 0, replace(QUICK, dropout=0)) is weights
    many = [train.with_dropout(weights, step, replace(QUICK, dropout=0.4)) for step in range(300)]
    for name, weight in weights.items():
        if weight.ndim == 1:
            assert all(each[name] is weight for each in many)
            continue
        share = 0.2 if name in ("tok_embeddings.weight", "output.weight") else 0.4
        assert float((many[0][name] == 0).float().mean()) == pytest.approx(share, abs=0.05)
        mean = torch.stack([each[name].detach() for each in many]).mean(dim=0)
        weight = weight.detach()
        assert float((mean - weight).abs().mean() / weight.abs().mean()) < 0.1


def test_the_vocabulary_spells_any_text():
    model = train.learn_vocabulary(TEXTS[0], 300)
    assert model == train.learn_vocabulary(TEXTS[0], 300)
    for vocab_size in (200, 5000):
        with pytest.raises(ValueError, match=f"vocab_size must suit the text, not {vocab_size}"):
            train.learn_vocabulary(TEXTS[0], vocab_size)


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
    model, words = mm_np.load(folder), tokenizer.load(folder)
    assert model.config == SMALL and len(words) == 300
    assert words.decode(words.encode(" a\n\n  🐻 b\t")) == " a\n\n  🐻 b\t"
    held_out = report["held_out_bits_per_byte"]
    assert bits.of_model(model, words, TEXTS[1]) == pytest.approx(held_out["model"], abs=1e-3)
    assert report["log"][-1]["held_out"] == held_out["model"]
    assert set(held_out) > {"model", "unigram of bytes", "5-gram of tokens", "zlib", "bz2", "lzma"}
    out, err = capfd.readouterr()
    assert out == "" and err.count("bits/byte") == 3 and "step 6 of 6" in err


@pytest.mark.parametrize("stop_after", [1, 2, 3, 4])
def test_an_interrupted_run_goes_on_to_the_same_weights(tmp_path, monkeypatch, stop_after):
    settings = replace(QUICK, average=2)
    quick(tmp_path / "whole", settings)
    one_step = train.Training.one_step

    def interrupted(self):
        if self.step == stop_after:
            raise KeyboardInterrupt
        return one_step(self)

    monkeypatch.setattr(train.Training, "one_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path / "parts", settings)
    monkeypatch.undo()
    if stop_after < settings.every:
        with pytest.raises(FileNotFoundError, match="to go on from"):
            quick(tmp_path / "parts", settings, resume=True)
        return
    with pytest.raises(FileExistsError, match="resume goes on"):
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
    kept, save_state = [], train.Training.save_state

    def keep(self):
        kept.append({name: w.detach().clone() for name, w in self.weights.items()})
        save_state(self)

    monkeypatch.setattr(train.Training, "save_state", keep)
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
    parser = train.argparse.ArgumentParser()
    train.add_arguments(parser)
    options = "--steps 4 --rows 2 --length 16 --every 2 --average 1 --threads 1".split()
    args = parser.parse_args(["--out", str(tmp_path / "m"), *options])
    assert train.run(args) == 0
    lines = capsys.readouterr().out.splitlines()
    values = [float(line.split()[0]) for line in lines[1:-1]]
    assert values == sorted(values) and len(values) == 12
    assert f"{SMALL.n_params:,} parameters" in lines[-1]
    command = json.loads((tmp_path / "m" / "training.json").read_text())["command"]
    assert command == (
        "minimistral train --steps 4 --rows 2 --length 16 --average 1 --every 2 --threads 1"
    )


def test_ctrl_c_says_how_to_go_on(tmp_path, monkeypatch, capsys):
    def stop(*_args, **_options):
        (tmp_path / train.STATE_FILE).touch()
        raise KeyboardInterrupt

    monkeypatch.setattr(train, "train", stop)
    parser = train.argparse.ArgumentParser()
    train.add_arguments(parser)
    with pytest.raises(KeyboardInterrupt):
        train.run(parser.parse_args(["--out", str(tmp_path)]))
    assert "--resume goes on" in capsys.readouterr().err


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
        ({"rows": 0}, ValueError),
        ({"length": "9"}, TypeError),
        ({"learning_rate": 0}, ValueError),
        ({"learning_rate": math.nan}, ValueError),
        ({"weight_decay": -1}, ValueError),
        ({"dropout": 1}, ValueError),
        ({"dropout": -0.1}, ValueError),
        ({"average": 4}, ValueError),
        ({"every": 0}, ValueError),
        ({"warmup": -1}, ValueError),
        ({"seed": -1}, ValueError),
    ],
)
def test_a_bad_setting_is_named(changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        replace(QUICK, **changes)


def test_what_a_run_refuses(tmp_path):
    with pytest.raises(ValueError, match="length must be below the text's"):
        quick(tmp_path / "a", replace(QUICK, length=10_000))
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
        (replace(QUICK, seed=3), TEXTS, "seed must be 0, as before"),
        (replace(QUICK, dropout=0.2), TEXTS, "dropout must be 0.1"),
        (QUICK, (TEXTS[0] + "more", TEXTS[1]), "text must be"),
    ],
)
def test_it_goes_on_only_with_the_same(tmp_path, monkeypatch, settings, texts, named):
    steps = itertools.count()
    one_step = train.Training.one_step

    def interrupted(self):
        if next(steps) == 3:
            raise KeyboardInterrupt
        return one_step(self)

    monkeypatch.setattr(train.Training, "one_step", interrupted)
    with pytest.raises(KeyboardInterrupt):
        quick(tmp_path)
    monkeypatch.undo()
    with pytest.raises(ValueError, match=named):
        train.train(tmp_path, settings, config=SMALL, texts=texts, resume=True)
    quick(tmp_path, resume=True)


@pytest.mark.slow
def test_thirty_steps_on_the_real_text_lower_the_loss(tmp_path):
    settings = train.Settings(steps=30, every=15, warmup=10)
    report = train.train(tmp_path, settings)
    first, second = report["log"]
    assert first["held_out"] < 5 and second["held_out"] < first["held_out"] - 0.1
    assert second["training"] < first["training"] - 0.5
    held_out = report["held_out_bits_per_byte"]
    assert held_out["model"] < held_out["unigram of tokens"]
