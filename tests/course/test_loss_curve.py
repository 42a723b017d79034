"""Lesson 11: the picture of a loss curve, its record, gradients by a learner, the leak detector."""

import json
import re
import xml.etree.ElementTree as ET

import numpy as np
import pytest

from minimistral import ModelConfig, tiny
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.course import gradients_by
from minimistral.course.checks.lesson_11 import leaks
from minimistral.course.draw import curve_svg
from minimistral.course.widgets import loss_curve
from minimistral.np import backward, gradients
from minimistral.training import samples
from minimistral.training.averaging import SETTINGS
from minimistral.training.settings import Settings

SVG = "{http://www.w3.org/2000/svg}"
RECORD = json.loads((tiny.FOLDER / samples.FILE).read_text(encoding="utf-8"))
SMALL = ModelConfig(dim=8, n_layers=2, head_dim=4, hidden_dim=8, n_heads=4, n_kv_heads=2,
                    window_size=4, context_len=32, vocab_size=11)  # fmt: skip
TOKENS = np.random.default_rng(0).integers(0, 11, (3, 9))


def dots(svg):
    """(x, y, radius, fill) of each point."""
    circles = list(ET.fromstring(svg).iter(f"{SVG}circle"))
    return [(*(float(c.get(k)) for k in ("cx", "cy", "r")), c.get("fill")) for c in circles]


def test_every_step_of_the_record_is_shown():
    player = loss_curve()
    for n, line in enumerate(RECORD["checkpoints"]):
        player.set(step=line["step"])
        assert f"Step {line['step']:,}: {line['held_out']:.2f} bits" in player.words
        fewer = RECORD["checkpoints"][0]["held_out"] - line["held_out"]
        assert n == 0 or f"text, {fewer:.2f} fewer than at step 0" in player.words
        points = dots(player.svg)
        assert len(points) == len(RECORD["checkpoints"])
        assert [point[2] > 5 for point in points] == [m == n for m in range(len(points))]
        assert [p[3] == "#ececec" for p in points] == [m > n for m in range(len(points))]
        heights = [y for _, y, *_ in points]  # a larger loss stands higher
        losses = [at["held_out"] for at in RECORD["checkpoints"]]
        assert np.argsort(heights).tolist() == np.argsort(losses)[::-1].tolist()
        shown = "".join(t.text or "" for t in ET.fromstring(player.svg).iter(f"{SVG}text"))
        first = (RECORD["prompt"] + line["text"]).splitlines()[0]
        assert re.sub(r"[\x00-\x1f]", "\ufffd", first[:70]) in shown


def test_the_scale_is_linear_in_the_loss():
    points = dots(curve_svg([0, 1, 3, 7], [4.0, 3.0, 2.0, 1.0], 1, "", "title"))
    xs, ys = ([point[n] for point in points] for n in (0, 1))
    np.testing.assert_allclose(np.diff(ys), np.diff(ys)[0], atol=0.2)
    np.testing.assert_allclose(np.diff(xs), np.diff(xs)[0], atol=0.2)  # log2 of step + 1
    assert curve_svg([0, 1], [2.0, 2.0], 0, "x\n" * 30, "t").count("…") == 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [(([0, 1], [1.0], 0, "", "t"), "losses"), (([0], [1.0], 0, "", "t"), "losses"),
     (([0, 1], [1.0, 2.0], 2, "", "t"), "marked"), (([0, 1], [1.0, 2.0], -1, "", "t"), "marked")],
)  # fmt: skip
def test_the_picture_names_a_bad_argument(arguments, named):
    with pytest.raises(ValueError, match=f"{named} must be"):
        curve_svg(*arguments)


@pytest.mark.parametrize("steps", [[], [0], [5, 5], [9, 0]])
def test_the_player_names_bad_checkpoints(steps):
    with pytest.raises(ValueError, match="checkpoints must be two or more"):
        loss_curve([{"step": n, "held_out": 1.0, "text": ""} for n in steps])


def test_the_record_is_of_the_run_that_was_averaged():
    """At step 50 it has the same loss; later the two part, as runs with other threads do."""
    averaged = json.loads((tiny.FOLDER / "averaging.json").read_text(encoding="utf-8"))
    lines = averaged["held_out_bits_per_byte"]
    (other,) = [x for x in lines if (x["seed"], x["rate"], x["step"]) == (0, "falls", 50)]
    by_step = {line["step"]: line for line in RECORD["checkpoints"]}
    assert tuple(by_step) == samples.LOOKED_AT and RECORD["settings"]["steps"] == SETTINGS.steps
    assert by_step[50]["held_out"] == pytest.approx(other["last"], abs=0.01)


def test_samples_are_taken_on_the_way():
    settings = Settings(steps=6, batch_size=2, seq_len=8, dropout=0.0, checkpoint_every=6)
    config = ModelConfig(dim=8, n_layers=1, head_dim=4, hidden_dim=8, n_heads=2, n_kv_heads=1,
                         window_size=4, context_len=32, vocab_size=280)  # fmt: skip
    texts = ("the cat sat on a mat. If the dog ran, " * 40, "the cat ran. If")
    lines = samples.measure(settings, (0, 2, 6), config, texts)
    assert [line["step"] for line in lines] == [0, 2, 6]
    assert lines[0]["training"] is None and all(line["training"] > 0 for line in lines[1:])
    assert lines[0]["held_out"] != lines[2]["held_out"]
    alone = samples.measure(settings, (6,), config, texts)
    assert alone[0]["held_out"] == lines[2]["held_out"]  # looking changes nothing


def model(**more):
    return mn.Mistral(SMALL, seed=0, dtype="float64", **more)


def learners():
    """The engine's functions, in the learner's shapes, counting their calls."""
    calls = dict.fromkeys(("loss", "linear", "norm", "softmax", "attend"), 0)
    cross_entropy, attend = gradients.cross_entropy, backward.attend_backward

    def counted(name, function):
        def own(*arguments):
            calls[name] += 1
            return function(*arguments)

        return own

    def own_loss(z, t):
        assert z.ndim == 2 and t.ndim == 1
        loss, d = cross_entropy(z[None], t[None])
        return loss, d[0]

    def own_attend(q, k, v, mask, dy):
        assert q.ndim == 3 and mask.ndim == 2
        return tuple(p[0] for p in attend(*(a[None] for a in (q, k, v, mask, dy))))

    own = {
        "loss": own_loss, "linear": backward.linear_backward, "norm": backward.rms_norm_backward,
        "softmax": backward.masked_softmax_backward, "attend": own_attend,
    }  # fmt: skip
    return {name: counted(name, function) for name, function in own.items()}, calls


def test_the_learner_s_functions_are_called_and_give_the_engine_s_gradients():
    own, calls = learners()
    before = dict(vars(backward)), dict(vars(gradients))
    loss, found = gradients_by(**own)(model(), TOKENS[:, :-1], TOKENS[:, 1:], micro_batch=2)
    assert (dict(vars(backward)), dict(vars(gradients))) == before  # put back
    right_loss, right = mn.loss_and_gradients(model(), TOKENS[:, :-1], TOKENS[:, 1:])
    assert loss == pytest.approx(right_loss, abs=1e-12)
    for name, gradient in right.items():
        np.testing.assert_allclose(found[name], gradient, atol=1e-12)
    assert calls == {"loss": 2, "linear": 2 * 15, "norm": 2 * 5, "softmax": 6, "attend": 6}


@pytest.mark.parametrize("name", ["loss", "linear", "norm", "softmax", "attend"])
def test_a_wrong_function_changes_the_gradients(name):
    own, _ = learners()

    def wrong(*arguments):
        result = own[name](*arguments)
        return result * 2 if name == "softmax" else tuple(part * 2 for part in result)

    _, found = gradients_by(**{name: wrong})(model(), TOKENS[:, :-1], TOKENS[:, 1:])
    _, right = mn.loss_and_gradients(model(), TOKENS[:, :-1], TOKENS[:, 1:])
    assert any(not np.allclose(found[n], right[n]) for n in right)


def test_the_engine_s_own_come_back_after_an_error():
    def fails(*_):
        raise RuntimeError("no")

    before = backward.linear_backward, gradients.linear_backward
    with pytest.raises(RuntimeError):
        gradients_by(linear=fails)(model(), TOKENS[:, :-1], TOKENS[:, 1:])
    assert (backward.linear_backward, gradients.linear_backward) == before


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
def test_leaks_is_silent_on_the_models_of_both_twins(mm, capsys):
    leaks(mm.Mistral(SMALL, model().weights))
    said = capsys.readouterr().out
    assert said == (
        "No leak: each of 10 tokens was replaced; no logit before it, and none more than 6 after "
        "it, moved by a single bit.\n"
    )


@pytest.mark.parametrize(
    ("ahead", "told"), [(1, "which comes before it"), (-3, "which is out of its reach")]
)
def test_leaks_names_the_direction(ahead, told, capsys):
    def peeks(tokens):
        return np.eye(5)[np.roll(tokens, -ahead, axis=1)]

    leaks(peeks, [0, 1, 2, 3, 4, 0, 1], vocab_size=5, reach=2)
    assert capsys.readouterr().out.startswith("A leak: ")
    leaks(peeks, [0, 1, 2, 3, 4, 0, 1], vocab_size=5, reach=6 if ahead == 1 else 2)
    assert told in capsys.readouterr().out
