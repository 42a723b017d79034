"""The text, the parts of the training loop, whole runs, and the command."""

import json
import math
import re
import sys
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

from minimistral import ModelConfig, cli, tokenizer
from minimistral import np as mm
from minimistral import pt as mp
from minimistral.cli import train as command
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.training import Settings, corpus, loop, run, train
from minimistral.training.data import batch_at, learn_vocabulary
from minimistral.training.optimizer import learning_rate_at, make_optimizer
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
    # Lines drawn around tables are alike everywhere: of the runs that both sides have, they are
    # 206 of 222 on Python 3.11.7 and 1140 of 1219 on 3.13.5, whose text has more tables.
    sides = [re.sub(r"([-=\s])\1{2,}", r"\1", text) for text in (training, held_out)]
    assert corpus.shared(sides[1], sides[0]) < 0.001  # 0.0003 on both
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


def test_a_layer_adds_little_at_first():
    """What writes into x is divided by the root of twice the layers; all else is as drawn."""
    drawn, weights = mp.Mistral(SMALL, seed=3).weights, initial_model(SMALL, seed=3).weights
    for name, weight in weights.items():
        small = name.endswith(("wo.weight", "w2.weight"))
        wanted = drawn[name] / math.sqrt(2 * SMALL.n_layers) if small else drawn[name]
        torch.testing.assert_close(weight.detach(), wanted)
        assert weight.requires_grad


def test_the_optimizer_decays_matrices_alone():
    model = initial_model(SMALL, seed=0)
    optimizer = make_optimizer(model, replace(QUICK, weight_decay=0.3))
    decay = {id(w): g["weight_decay"] for g in optimizer.param_groups for w in g["params"]}
    assert len(decay) == len(model.weights)
    assert all(decay[id(w)] == (0.3 if w.ndim == 2 else 0) for w in model.weights.values())
    assert {group["betas"] for group in optimizer.param_groups} == {(0.9, 0.95)}


def test_a_steep_gradient_is_clipped(tmp_path):
    vocabulary = learn_vocabulary(TEXTS[0], SMALL.vocab_size)
    training = loop.Training(tmp_path, QUICK, SMALL, TEXTS, vocabulary)
    with torch.no_grad():
        training.model.weights["output.weight"].mul_(100)
    training.train_step()
    gradients = [weight.grad for weight in training.model.weights.values()]
    norm = torch.cat([gradient.flatten() for gradient in gradients]).norm()
    assert float(norm) == pytest.approx(1, abs=1e-3)


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


def test_the_time_of_both_parts_is_counted(stopped):
    change_state(stopped / STATE_FILE, in_progress(seconds=1000.0))
    report = quick(stopped, resume=True)
    assert report["seconds"] >= 1000 and report["log"][-1]["seconds"] >= 1000


def test_a_line_of_the_log_is_the_mean_of_its_own_steps(tmp_path, monkeypatch):
    """And the last line comes at the end, wherever that is."""
    losses, train_step = [], loop.Training.train_step

    def kept(self):
        losses.append(train_step(self))
        return losses[-1]

    monkeypatch.setattr(loop.Training, "train_step", kept)
    log = quick(tmp_path, replace(QUICK, steps=5))["log"]
    assert [line["step"] for line in log] == [2, 4, 5]
    for line, part in zip(log, (losses[:2], losses[2:4], losses[4:]), strict=True):
        assert line["training"] == pytest.approx(np.mean(part), abs=1e-4)


def test_same_seed_same_weights(tmp_path):
    for name, settings in {"a": QUICK, "b": QUICK, "c": replace(QUICK, seed=1)}.items():
        quick(tmp_path / name, settings)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "a", tmp_path / "c")


def test_the_average_is_the_mean_of_the_last_checkpoints(tmp_path, monkeypatch):
    kept, save_state = [], run.save_state

    def keep(training):
        kept.append({name: w.detach().clone() for name, w in training.model.weights.items()})
        save_state(training)

    monkeypatch.setattr(run, "save_state", keep)
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


@pytest.mark.parametrize("held", [False, True])
@pytest.mark.parametrize("step", [1, 3])
def test_ctrl_c_says_how_to_continue(tmp_path, monkeypatch, capsys, held, step):
    """Only when there is a checkpoint of this run, and not one of an earlier run."""
    monkeypatch.setattr(corpus, "split", lambda: TEXTS)
    monkeypatch.setattr(ModelConfig, "tiny", classmethod(lambda cls: SMALL))
    stop_at(monkeypatch, 3)
    words = "--steps 6 --batch-size 2 --seq-len 16 --checkpoint-every 2 --threads 1".split()
    command_line = ["train", "--out", str(tmp_path / "m"), *words]
    if held:
        assert cli.main([*command_line, "--seed", "1"]) == 130
        capsys.readouterr()
    stop_at(monkeypatch, step)
    assert cli.main([*command_line, "--overwrite"]) == 130
    err = capsys.readouterr().err
    assert ("continue it with --resume" in err) == (step == 3)
    assert ("Stopped before the first checkpoint" in err) == (step == 1)
    assert (f"{tmp_path / 'm'} is as it was" in err) == (step == 1 and held)
    assert (tmp_path / "m").exists() == (held or step == 3)


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
        ({"seed": 2**32}, ValueError),
        ({"learning_rate": 10**400}, ValueError),
        ({"learning_rate": 1e30}, ValueError),
        ({"weight_decay": 1e30}, ValueError),
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


def test_the_largest_seed_trains(tmp_path):
    quick(tmp_path, replace(QUICK, seed=2**32 - 1))


def stop_at(monkeypatch, step):
    """Let training be stopped, as with Ctrl-C, before this step."""
    train_step = loop.Training.train_step

    def interrupted(self):
        if self.step == step:
            raise KeyboardInterrupt
        return train_step(self)

    monkeypatch.setattr(loop.Training, "train_step", interrupted)


@pytest.fixture
def stopped(tmp_path, monkeypatch):
    """The folder of a run that was stopped after its first checkpoint."""
    with monkeypatch.context() as patch:
        stop_at(patch, 3)
        with pytest.raises(KeyboardInterrupt):
            quick(tmp_path / "stopped")
    assert {file.name for file in (tmp_path / "stopped").iterdir()} == {STATE_FILE}
    return tmp_path / "stopped"


def contents(folder):
    files = (file for file in folder.rglob("*") if file.is_file())
    return {file.relative_to(folder): file.read_bytes() for file in files}


@pytest.mark.parametrize(
    ("settings", "texts", "config", "named"),
    [
        (replace(QUICK, seed=3), TEXTS, SMALL, "cannot resume: seed was 0, now 3"),
        (replace(QUICK, dropout=0.2), TEXTS, SMALL, r"dropout was 0\.1, now 0\.2"),
        (QUICK, (TEXTS[0] + "more", TEXTS[1]), SMALL, "text was"),
        # the first three have weights of the same shapes
        (QUICK, TEXTS, replace(SMALL, window_size=9), "window_size was 8, now 9"),
        (QUICK, TEXTS, replace(SMALL, rope_theta=1e6), r"rope_theta was 10000\.0, now 1000000\.0"),
        (
            QUICK,
            TEXTS,
            replace(SMALL, n_heads=8, n_kv_heads=4, head_dim=4),
            "head_dim was 8, now 4",
        ),
        (QUICK, TEXTS, replace(SMALL, window_size=None), "window_size was 8, now None"),
        (QUICK, TEXTS, replace(SMALL, dim=64), "dim was 32, now 64"),
        (QUICK, TEXTS, replace(SMALL, n_layers=1), "n_layers was 2, now 1"),
        (QUICK, TEXTS, replace(SMALL, vocab_size=301), "vocab_size was 300, now 301"),
    ],
)
def test_it_resumes_only_with_the_same(stopped, settings, texts, config, named):
    before = contents(stopped)
    with pytest.raises(ValueError, match=named):
        train(stopped, settings, config=config, texts=texts, resume=True)
    assert contents(stopped) == before
    quick(stopped, resume=True)


def change_state(file, change):
    """Write a state again, its tensors and its progress changed."""
    with safe_open(file, framework="pt") as state:
        progress = json.loads(state.metadata()["progress"])
        tensors = {name: state.get_tensor(name) for name in state.keys()}
    metadata = {"progress": json.dumps(progress)}
    change(tensors, progress, metadata)
    save_file(tensors, file, metadata=metadata)


def in_progress(**changes):
    """A damage of the progress; None removes an entry."""

    def change(_tensors, progress, metadata):
        for name, value in changes.items():
            progress.pop(name) if value is None else progress.update({name: value})
        metadata["progress"] = json.dumps(progress)

    return change


def in_tensor(name, value):
    def change(tensors, _progress, _metadata):
        tensors.pop(name) if value is None else tensors.update({name: value})

    return change


@pytest.mark.parametrize(
    ("damage", "named"),
    [
        (lambda file: file.write_bytes(b""), ""),
        (lambda file: file.write_bytes(file.read_bytes()[:1000]), ""),
        (lambda file: file.write_bytes(file.read_bytes()[:-5]), ""),
        (lambda file: file.write_bytes(bytes(8) + file.read_bytes()[8:]), ""),
        (lambda _t, _p, metadata: metadata.clear(), "it has no progress"),
        (lambda _t, _p, metadata: metadata.update(progress="{"), "Expecting"),
        (lambda _t, _p, metadata: metadata.update(progress="[]"), "list"),
        (in_progress(step=None), "it has no 'step'"),
        (in_progress(step="3"), "step must be a whole number"),
        (in_progress(step=7), "step must be at most 6, not 7"),
        (in_progress(seconds=-1), "seconds must be"),
        (in_progress(log={}), "log must be a list"),
        (in_progress(log=[{"step": 1}]), "it has no 'seconds'"),
        (in_progress(decides=None), "it has no 'decides'"),
        (in_progress(decides={"steps": 6}), "it has no 'batch_size'"),
        (in_tensor("vocabulary", None), "it has no 'vocabulary'"),
        (in_tensor("sum.norm.weight", None), r"it has no sum\.norm\.weight"),
        (in_tensor("weight.norm.weight", torch.ones(31)), r"must be .*\(32,\), not .*\(31,\)"),
        (in_tensor("weight.norm.weight", torch.ones(32, dtype=torch.int8)), "not torch.int8"),
        (in_tensor("first_moment.norm.weight", torch.full((32,), torch.nan)), "holds NaN"),
    ],
)
def test_a_damaged_state_is_named(stopped, damage, named):
    file = stopped / STATE_FILE
    if damage.__code__.co_argcount == 1:
        damage(file)
    else:
        change_state(file, damage)
    before = contents(stopped)
    with pytest.raises(ValueError, match=f"^cannot resume: .*{STATE_FILE} is damaged.*{named}"):
        quick(stopped, resume=True)
    assert contents(stopped) == before


def test_a_damaged_vocabulary_is_named(stopped):
    change_state(stopped / STATE_FILE, in_tensor("vocabulary", torch.zeros(9, dtype=torch.uint8)))
    with pytest.raises(ValueError, match=f"^cannot resume: .*{STATE_FILE} is damaged"):
        quick(stopped, resume=True)


def test_what_was_there_stays_until_the_new_model_is_complete(tmp_path, monkeypatch):
    """Also with another text: the tokenizer in the folder is that of the weights beside it."""
    folder, other = tmp_path / "m", (TEXTS[0].replace("cat", "owl"), TEXTS[1])
    quick(folder, replace(QUICK, average=1))
    (folder / "mine.txt").touch()
    before = contents(folder)
    for step in (1, 3):
        with monkeypatch.context() as patch:
            stop_at(patch, step)
            with pytest.raises(KeyboardInterrupt):
                train(folder, QUICK, config=SMALL, texts=other, overwrite=True)
        found = contents(folder)
        assert (found.pop(Path(STATE_FILE), None) is not None) == (step == 3)
        assert found == before
    train(folder, QUICK, config=SMALL, texts=other, resume=True)
    assert {path.name for path in folder.iterdir()} == {
        "params.json", "consolidated.safetensors", "tokenizer.model", "training.json", "mine.txt",
    }  # fmt: skip
    assert contents(folder)[Path("tokenizer.model")] != before[Path("tokenizer.model")]


def test_an_average_that_is_not_ours_stays(tmp_path):
    quick(tmp_path, replace(QUICK, average=1))
    (tmp_path / "averaged" / "notes.txt").touch()
    quick(tmp_path, overwrite=True)
    assert [path.name for path in (tmp_path / "averaged").iterdir()] == ["notes.txt"]


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seq_len": 10**9}, "seq_len must be below the text's"),
        (
            {"learning_rate": 100.0, "weight_decay": 100.0, "steps": 60, "checkpoint_every": 60},
            "lower learning_rate = 100",
        ),
    ],
)
def test_a_run_that_fails_leaves_nothing(tmp_path, changes, named):
    (tmp_path / "held").mkdir()
    for folder in (tmp_path / "held", tmp_path / "new" / "deep"):
        with pytest.raises(ValueError, match=named):
            quick(folder, replace(QUICK, **changes))
    assert [*tmp_path.rglob("*")] == [tmp_path / "held"]


def test_a_folder_without_a_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ValueError, match="folder must not be empty"):
        quick("")
    assert not contents(tmp_path)


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["--out", ""], "argument --out: must not be empty"),
        (["--seed", str(2**32)], "seed must be below 2**32, not 4294967296"),
        (["--seed", "-1"], "seed must be at least 0"),
        (["--batch-size", str(2**40)], f"batch_size must be smaller, not {2**40}: a batch would"),
        (["--seq-len", str(2**62)], f"seq_len must be smaller, not {2**62}: a batch would take"),
        (["--threads", "0"], "argument --threads: must be at least 1"),
        (["--threads", "1" + "0" * 12], "argument --threads: must be below"),
        (["--threads", "two"], "argument --threads: must be a whole number"),
        (["--length", "9"], "--length"),
        (["--seq-len", "0"], "seq_len must be at least 1"),
        (["--learning-rate", "nan"], "learning_rate must be finite"),
        (["--learning-rate", "1e30"], "learning_rate must be finite, above 0 and at most 100"),
        (["--learning-rate", "1e999"], "learning_rate must be finite"),
        (["--resume", "--overwrite"], "argument --overwrite: not with --resume"),
    ],
)
def test_a_bad_command_line_is_named_and_leaves_nothing(
    words, named, tmp_path, monkeypatch, capsys
):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", *words]) == 2
    err = capsys.readouterr().err
    assert named in err and err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


@pytest.mark.slow
@pytest.mark.rare
def test_thirty_steps_on_the_real_text_lower_the_loss(tmp_path):
    settings = Settings(steps=30, checkpoint_every=15, warmup=10)
    report = train(tmp_path, settings)
    first, second = report["log"]
    assert first["held_out"] < 5 and second["held_out"] < first["held_out"] - 0.1
    assert second["training"] < first["training"] - 0.5
    held_out = report["held_out_bits_per_byte"]
    assert held_out["model"] < held_out["unigram of tokens"]
