"""Fine-tuning: what the loss counts, how conversations share a row, whole runs, and the command."""

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest
import torch

from minimistral import ModelConfig, cli, tiny, tokenizer
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.training import conversations as talk
from minimistral.training import examples, instruct, run
from minimistral.training.conversations import Conversation
from minimistral.training.examples import (
    NOT_COUNTED,
    Example,
    batch_of,
    encode,
    lay_out,
    targets_of,
)
from minimistral.training.instruct import InstructSettings, fine_tune, logits_at
from minimistral.training.state import STATE_FILE

SMALL = ModelConfig(
    dim=32, n_layers=2, head_dim=8, hidden_dim=64, n_heads=4, n_kv_heads=2,
    window_size=8, context_len=64, vocab_size=768,
)  # fmt: skip
TOKENIZER = tokenizer.load(tiny.FOLDER)
TALK = [
    Conversation("what", "if", "training", ("What is if?", "if: A statement.")),
    Conversation("what", "or", "training", ("What is or?", "or: An operator.")),
    Conversation("second turn", "if", "training", ("What is if?", "if: A.", "And or?", "or: An.")),
    Conversation("what", "if", "new wording", ("Explain if.", "if: A statement.")),
    Conversation("what", "in", "new topic", ("What is in?", "in: An operator.")),
    Conversation("moderation", "tear", "new topic", ("Is this acceptable? Tear it.", "no")),
]
OLD = "the cat sat on the mat.\n"
QUICK = InstructSettings(
    steps=6, batch_size=2, seq_len=128, checkpoint_every=2, warmup=2, learning_rate=0.01
)


@pytest.fixture(scope="module")
def base(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    mn.save(mn.Mistral(SMALL, seed=4), folder, overwrite=True)
    (folder / "tokenizer.model").write_bytes((tiny.FOLDER / "tokenizer.model").read_bytes())
    return folder


@pytest.fixture
def quick(base):
    def tune(folder, settings=QUICK, **options):
        options = {"base": base, "conversations": TALK, "old_text": OLD} | options
        return fine_tune(folder, settings, **options)

    return tune


def weights_in(folder):
    return mn.load(folder).weights


def assert_same_weights(one, other):
    for name, weight in weights_in(one).items():
        np.testing.assert_array_equal(weight, weights_in(other)[name], err_msg=name)


# What the loss counts


@pytest.mark.parametrize("conversation", TALK[:3])
def test_only_answers_and_their_ends_are_learned(conversation):
    example = encode(TOKENIZER, conversation)
    runs, learned = [[]], [*zip(example.ids, example.learned, strict=True)]
    for token, counts in learned:
        if counts:
            runs[-1].append(token)
        elif runs[-1]:
            runs.append([])
    answers = conversation.turns[1::2]
    assert [TOKENIZER.decode(ids) for ids in runs] == list(answers)
    assert all(ids[-1] == TOKENIZER.eos_id for ids in runs)


def test_the_ids_are_those_of_a_chat():
    """What is learned stands where the model will write it: behind the same prompt."""
    example, conversation = encode(TOKENIZER, TALK[2]), TALK[2]
    for n in (1, 3):
        prompt = TOKENIZER.chat(conversation.messages[:n])
        assert example.ids[: len(prompt)] == prompt
        assert not example.learned[len(prompt) - 1] and example.learned[len(prompt)]


def test_a_target_is_the_next_token():
    example = encode(TOKENIZER, TALK[0])
    targets = targets_of(example)
    assert len(targets) == len(example.ids) and targets[-1] == NOT_COUNTED
    for n, target in enumerate(targets[:-1]):
        assert target == (example.ids[n + 1] if example.learned[n + 1] else NOT_COUNTED)
    assert (targets != NOT_COUNTED).sum() == sum(example.learned)


def test_without_the_end_in_the_loss_the_end_is_the_only_difference():
    whole, endless = encode(TOKENIZER, TALK[2]), encode(TOKENIZER, TALK[2], end_in_loss=False)
    assert whole.ids == endless.ids
    differing = [
        token
        for token, one, other in zip(whole.ids, whole.learned, endless.learned, strict=True)
        if one != other
    ]
    assert differing == [TOKENIZER.eos_id] * 2


# How conversations share a row


def encoded():
    return [encode(TOKENIZER, conversation) for conversation in TALK]


@pytest.mark.parametrize("packing", ["masked", "unmasked", "padded"])
def test_every_example_is_laid_out_once(packing):
    batch = encoded()
    tokens, targets, positions = lay_out(batch, packing, 128, SMALL.window_size)
    assert tokens.shape == targets.shape == positions.shape
    assert len(tokens) == len(batch) if packing == "padded" else len(tokens) < len(batch)
    real = positions >= 0
    assert sorted(tokens[real]) == sorted(token for e in batch for token in e.ids)
    assert (targets != NOT_COUNTED).sum() == sum(sum(e.learned) for e in batch)
    assert (targets[~real] == NOT_COUNTED).all()
    for row in positions:
        assert (np.diff(row[row >= 0]) > 0).all()


def sees(positions, window):
    return mn.window_mask(positions, positions, window)


def test_the_rule_alone_separates_the_documents_of_a_row():
    batch, window = encoded(), SMALL.window_size
    _, _, positions = lay_out(batch, "masked", 1000, window)
    owner = np.repeat(np.arange(len(batch)), [len(e.ids) for e in batch])
    mask = sees(positions, window)[0]
    same = owner[:, None] == owner[None, :]
    assert not (mask & ~same).any()
    own = np.concatenate([np.arange(len(e.ids)) for e in batch])
    np.testing.assert_array_equal(mask, same & sees(own, window))
    leaking = sees(lay_out(batch, "unmasked", 1000, window)[2], window)[0]
    assert (leaking & ~same).any()


def model64(window=8):
    return mp.Mistral(replace(SMALL, window_size=window), seed=1, dtype="float64")


def test_masked_rows_give_what_rows_of_their_own_give():
    """The same loss and the same gradient, up to rounding; without the mask another one.

    The window is as long as some conversations: with one of 8 no answer would reach back over its
    own question, and there would be nothing to hide.
    """
    results, window = {}, 32
    for packing in examples.PACKINGS:
        model = model64(window).requires_grad_()
        tokens, targets, positions = lay_out(encoded(), packing, 1000, window)
        logits = logits_at(model, tokens, positions).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(targets).flatten(), ignore_index=NOT_COUNTED
        )
        loss.backward()
        gradient = torch.cat([weight.grad.flatten() for weight in model.weights.values()])
        results[packing] = loss.item(), gradient
    padded, masked, unmasked = (results[packing] for packing in examples.PACKINGS)
    assert masked[0] == pytest.approx(padded[0], rel=1e-12)
    torch.testing.assert_close(masked[1], padded[1], rtol=1e-8, atol=1e-12)
    assert abs(unmasked[0] - padded[0]) > 1e-4


def test_logits_at_the_usual_positions_are_those_of_the_model():
    model, tokens = model64(), np.arange(40).reshape(2, 20)
    positions = np.tile(np.arange(20), (2, 1))
    torch.testing.assert_close(logits_at(model, tokens, positions), model(tokens))
    positions[1, 15:] = -1
    padded = logits_at(model, tokens, positions)
    torch.testing.assert_close(padded, model(tokens, lengths=np.array([20, 15])))


def test_logits_at_takes_other_weights():
    model, other = model64(), mp.Mistral(SMALL, seed=2, dtype="float64")
    tokens, positions = np.arange(9)[None], np.arange(9)[None]
    with_others = logits_at(model, tokens, positions, other.weights)
    torch.testing.assert_close(with_others, other(tokens))


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"packing": "none"}, "packing must be one of padded, masked, unmasked, not 'none'"),
        ({"row_len": 3}, "row_len must be at least"),
        ({"row_len": 0}, "row_len must be at least 1"),
        ({"packing": "masked", "window": None}, "packing must be padded for a model whose window"),
    ],
)
def test_a_bad_layout_is_named(options, named):
    with pytest.raises(ValueError, match=named):
        lay_out(encoded(), **{"packing": "padded", "row_len": 128, "window": 8} | options)


def test_a_pass_reads_every_example_once():
    items = list(range(7))
    seen = [x for step in range(7) for x in batch_of(items, step, 3, seed=1)]
    for turn in range(3):
        assert sorted(seen[7 * turn : 7 * turn + 7]) == items
    assert seen[:7] != seen[7:14]
    assert batch_of(items, 2, 3, seed=1) != batch_of(items, 2, 3, seed=2)


# A run


def test_a_run_and_what_it_leaves(tmp_path, quick, base):
    report = quick(tmp_path / "m")
    assert {path.name for path in (tmp_path / "m").iterdir()} == {
        "params.json", "consolidated.safetensors", "tokenizer.model", "instruct.json",
    }  # fmt: skip
    assert json.loads((tmp_path / "m" / "instruct.json").read_text(encoding="utf-8")) == report
    assert [line["step"] for line in report["log"]] == [2, 4, 6]
    assert report["log"][-1]["training"] < report["log"][0]["training"]
    assert report["settings"] == asdict(QUICK)
    assert sum(row["n"] for row in report["answers"]) == len(TALK)
    assert sum(report["moderation"]["new topic"].values()) == 1
    for name, weight in weights_in(tmp_path / "m").items():
        assert (weight != weights_in(base)[name]).any(), name


def test_the_loss_is_that_of_the_answers_alone(tmp_path, base):
    model = mp.load(base)
    training = instruct.FineTuning(tmp_path, QUICK, model, TOKENIZER, TALK, OLD)
    batch = training.examples["training"][:2]
    losses = []
    for example in batch:
        log_p = model([example.ids])[0].log_softmax(dim=-1)
        for n, target in enumerate(example.ids[1:]):
            if example.learned[n + 1]:
                losses.append(-log_p[n, target].item())
    assert training.loss_of(batch, "masked", 128).item() == pytest.approx(np.mean(losses), rel=1e-5)


@pytest.mark.parametrize("stop_after", [1, 3, 4])
def test_an_interrupted_run_resumes_to_the_same_weights(tmp_path, monkeypatch, quick, stop_after):
    quick(tmp_path / "whole")
    train_step = run.Run.train_step

    def interrupted(self):
        if self.step == stop_after:
            raise KeyboardInterrupt
        return train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick(tmp_path / "parts")
    if stop_after < QUICK.checkpoint_every:
        assert not (tmp_path / "parts").exists()
        return
    with pytest.raises(FileExistsError, match="resume continues"):
        quick(tmp_path / "parts")
    quick(tmp_path / "parts", resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


@pytest.fixture
def stopped(tmp_path, monkeypatch, quick):
    def stop(self):
        if self.step == 3:
            raise KeyboardInterrupt
        return train_step(self)

    train_step = run.Run.train_step
    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "train_step", stop)
        with pytest.raises(KeyboardInterrupt):
            quick(tmp_path / "stopped")
    return tmp_path / "stopped"


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"settings": replace(QUICK, seed=3)}, "cannot resume: seed was 0, now 3"),
        ({"settings": replace(QUICK, packing="padded")}, "packing was masked, now padded"),
        ({"settings": replace(QUICK, end_in_loss=False)}, "end_in_loss was True, now False"),
        ({"conversations": [*TALK, TALK[0]]}, "conversations was"),
        ({"old_text": OLD + "more"}, "old text was"),
        ({"base": tiny.FOLDER}, "dim was 32, now 128"),
    ],
)
def test_it_resumes_only_with_the_same(stopped, quick, changes, named):
    with pytest.raises(ValueError, match=named):
        quick(stopped, **{"settings": QUICK} | changes, resume=True)
    assert [file.name for file in stopped.iterdir()] == [STATE_FILE]


def test_another_base_of_the_same_shape(stopped, quick, base, tmp_path):
    other = tmp_path / "other"
    mn.save(mn.Mistral(SMALL, seed=5), other)
    (other / "tokenizer.model").write_bytes((base / "tokenizer.model").read_bytes())
    with pytest.raises(ValueError, match="cannot resume: base was"):
        quick(stopped, base=other, resume=True)


def test_same_seed_same_weights(tmp_path, quick):
    for name, settings in {"a": QUICK, "b": QUICK, "c": replace(QUICK, seed=1)}.items():
        quick(tmp_path / name, settings)
    assert_same_weights(tmp_path / "a", tmp_path / "b")
    with pytest.raises(AssertionError):
        assert_same_weights(tmp_path / "a", tmp_path / "c")


def test_a_loss_that_is_no_number_ends_the_run_and_keeps_the_last_checkpoint(
    tmp_path, monkeypatch, quick
):
    batch_loss = instruct.FineTuning.batch_loss

    def broken(self):
        loss, scale = batch_loss(self)
        return (loss * math.nan if self.step == 3 else loss), scale

    monkeypatch.setattr(instruct.FineTuning, "batch_loss", broken)
    with pytest.raises(ValueError, match="the loss is nan at step 3: lower learning_rate"):
        quick(tmp_path / "m")
    monkeypatch.undo()
    quick(tmp_path / "m", resume=True)
    quick(tmp_path / "whole")
    assert_same_weights(tmp_path / "m", tmp_path / "whole")


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"conversations": TALK[:3]}, "conversations must hold at least one whose part is new w"),
        ({"conversations": TALK[3:]}, "conversations must hold at least one whose part is train"),
        ({"settings": replace(QUICK, seq_len=5)}, "seq_len must be at least"),
        ({"old_text": ""}, "text must not be empty"),
    ],
)
def test_a_run_that_fails_leaves_nothing(tmp_path, quick, changes, named):
    with pytest.raises(ValueError, match=named):
        quick(tmp_path / "m", **{"settings": QUICK} | changes)
    assert not (tmp_path / "m").exists()


@pytest.mark.parametrize(
    ("changes", "error"),
    [
        ({"packing": "none"}, ValueError),
        ({"end_in_loss": 1}, TypeError),
        ({"lora_rank": -1}, ValueError),
        ({"lora_rank": 1.5}, TypeError),
        ({"steps": 0}, ValueError),
        ({"average": 1}, ValueError),
        ({"dropout": 0.1, "lora_rank": 2}, ValueError),
    ],
)
def test_a_bad_setting_is_named(changes, error):
    with pytest.raises(error, match=next(iter(changes))):
        replace(QUICK, **changes)


# LoRA


def test_an_adapter_is_trained_and_merged(tmp_path, quick, base):
    """Its matrices change by a product of rank 2, and nothing else does; the adapter is kept."""
    report = quick(tmp_path / "m", replace(QUICK, lora_rank=2))
    before, after = weights_in(base), weights_in(tmp_path / "m")
    adapter = mn.load_adapter(tmp_path / "m" / "adapter", SMALL)
    assert report["trained_parameters"] == adapter.n_params < 0.2 * SMALL.n_params
    merged = mn.merge(mn.load(base), adapter).weights
    for name, weight in after.items():
        np.testing.assert_allclose(weight, merged[name], atol=1e-6)
        change = weight - before[name]
        if name.endswith((".wq.weight", ".w2.weight")):
            assert np.linalg.matrix_rank(change, tol=1e-5) == 2
        if weight.ndim == 1 or name in ("tok_embeddings.weight", "output.weight"):
            assert not change.any()


def test_an_adapter_resumes_to_the_same_weights(tmp_path, monkeypatch, quick):
    settings = replace(QUICK, lora_rank=2)
    quick(tmp_path / "whole", settings)
    train_step = run.Run.train_step

    def interrupted(self):
        if self.step == 3:
            raise KeyboardInterrupt
        return train_step(self)

    with monkeypatch.context() as patch:
        patch.setattr(run.Run, "train_step", interrupted)
        with pytest.raises(KeyboardInterrupt):
            quick(tmp_path / "parts", settings)
    with pytest.raises(ValueError, match="lora_rank was 2, now 0"):
        quick(tmp_path / "parts", resume=True)
    quick(tmp_path / "parts", settings, resume=True)
    assert_same_weights(tmp_path / "whole", tmp_path / "parts")


def test_the_base_stays_as_it_is(tmp_path, base):
    model = mp.load(base)
    training = instruct.FineTuning(tmp_path, QUICK, model, TOKENIZER, TALK, OLD)
    before = {name: weight.clone() for name, weight in model.weights.items()}
    training.train_step()
    for name, weight in model.weights.items():
        assert (weight == before[name]).all() and not weight.requires_grad


# The command


def test_the_command(tmp_path, monkeypatch, capsys, base):
    monkeypatch.setattr(talk, "load", lambda: TALK)
    words = "--steps 2 --batch-size 2 --seq-len 128 --checkpoint-every 2 --threads 1".split()
    out = tmp_path / "m"
    command = ["train", str(base), "--instruct", "--out", str(out), "--no-end-in-loss", *words]
    assert cli.main(command) == 0
    printed = capsys.readouterr().out
    assert "new topic: what" in printed and "bits per byte of the old text" in printed
    report = json.loads((out / "instruct.json").read_text(encoding="utf-8"))
    assert report["command"] == (
        f"minimistral train --instruct {base} --steps 2 --batch-size 2 --seq-len 128"
        " --checkpoint-every 2 --no-end-in-loss --threads 1"
    )
    assert report["settings"]["end_in_loss"] is False


@pytest.mark.parametrize(
    ("words", "named"),
    [
        (["model"], "argument MODEL: only with --instruct"),
        (["--lora-rank", "4"], "argument --lora-rank: only with --instruct"),
        (["--packing", "padded"], "argument --packing: only with --instruct"),
        (["--no-end-in-loss"], "argument --end-in-loss: only with --instruct"),
        (["--instruct", "--packing", "tight"], "argument --packing: invalid choice"),
        (["--instruct", "--lora-rank", "-1"], "lora_rank must be at least 0, not -1"),
        (["--instruct", "--out", ""], "argument --out: must not be empty"),
        (["--instruct", "--steps", "0"], "steps must be at least 1, not 0"),
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


def test_a_base_that_is_none(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    assert cli.main(["train", "--instruct", "nowhere"]) == 1
    err = capsys.readouterr().err
    assert "nowhere" in err and err.count("\n") == 1
    assert not [*tmp_path.iterdir()]


def test_example_is_plain_data():
    assert Example([1], [True]) == Example([1], [True])
