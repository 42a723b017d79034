"""The shipped tiny model does what its report says."""

import json
import re
from dataclasses import asdict

import numpy as np
import pytest

from minimistral import ModelConfig, tiny, tokenizer
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.evaluation import reach
from minimistral.evaluation.baselines import COMPRESSORS, baselines
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.training import Settings, corpus
from minimistral.training.data import learn_vocabulary
from minimistral.training.report import REPORT_FILE

REPORT = json.loads((tiny.FOLDER / REPORT_FILE).read_text(encoding="utf-8"))
USE = json.loads((tiny.FOLDER / "window_use.json").read_text(encoding="utf-8"))
MODEL, TOKENIZER = mn.load(tiny.FOLDER), tokenizer.load(tiny.FOLDER)
TRAINING, HELD_OUT = corpus.split()
# Another version of Python has a slightly different text.
SAME_TEXT = corpus.digest(HELD_OUT) == REPORT["text"]["held_out"]


def test_its_shape_and_size():
    config = MODEL.config
    assert config == ModelConfig.tiny()
    assert config.window_size == 32 and config.n_layers >= 4
    assert config.n_kv_heads < config.n_heads and 0.9e6 < config.n_params < 1.1e6
    assert len(TOKENIZER) == config.vocab_size


SHIPPED = {  # file or folder: the most bytes that it may hold
    "": 4_000_000,  # 935,040 weights in float32 are 3.74 MB; the rest are numbers and a vocabulary
    "instruct": 4_300_000,  # as many weights, and 0.27 MB of conversations
    "instruct/adapter": 400_000,  # 74,752 weights of rank 8 in float32
}


def test_what_ships_and_its_size():
    found = {
        path.relative_to(tiny.FOLDER).as_posix(): path.stat().st_size
        for path in tiny.FOLDER.rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    model = {"params.json", "consolidated.safetensors", "tokenizer.model"}
    assert found.keys() == {
        "__init__.py", *model, "training.json", "window_use.json", "averaging.json", "samples.json",
        *(f"instruct/{name}" for name in (*model, "conversations.json", "instruct.json",
                                          "compared.json")),
        "instruct/adapter/adapter_config.json", "instruct/adapter/adapter_model.safetensors",
    }  # fmt: skip
    for folder, most in SHIPPED.items():
        inside = [size for name, size in found.items() if name.rpartition("/")[0] == folder]
        assert sum(inside) <= most, folder


def test_the_instruct_model_is_a_tiny_model_with_the_same_vocabulary():
    assert mn.load(tiny.INSTRUCT).config == MODEL.config
    vocabularies = [(folder / "tokenizer.model").read_bytes()
                    for folder in (tiny.FOLDER, tiny.INSTRUCT)]  # fmt: skip
    assert vocabularies[0] == vocabularies[1]


def test_its_held_out_loss_is_what_the_report_says():
    measured = bits_per_byte(MODEL, TOKENIZER, HELD_OUT)
    reported = REPORT["held_out_bits_per_byte"]["model"]
    assert measured == pytest.approx(reported, abs=0.001 if SAME_TEXT else 0.15)
    assert REPORT["log"][-1]["held_out"] == pytest.approx(reported, abs=0.001)


@pytest.mark.rare
def test_it_beats_what_is_measured_on_the_same_text():
    measured = bits_per_byte(MODEL, TOKENIZER, HELD_OUT)
    others = baselines(TRAINING, HELD_OUT, TOKENIZER)
    for name in ("unigram of bytes", "unigram of tokens", "5-gram of bytes", "5-gram of tokens",
                 *COMPRESSORS):  # fmt: skip
        assert measured < others[name], name
    if SAME_TEXT:
        reported = {name: REPORT["held_out_bits_per_byte"][name] for name in others}
        for name, value in others.items():
            # Another build of zlib or lzma may write a few bytes more.
            assert reported[name] == pytest.approx(value, abs=0.02), name


def test_its_vocabulary_was_learned_from_the_training_text():
    if corpus.digest(TRAINING) != REPORT["text"]["training"]:
        pytest.skip("this Python has another version of the text")
    learned = learn_vocabulary(TRAINING, MODEL.config.vocab_size)
    assert learned == (tiny.FOLDER / "tokenizer.model").read_bytes()


def test_the_report_holds_the_command_and_the_log():
    settings = Settings(**REPORT["settings"])
    words = REPORT["command"].split()
    assert words[:2] == ["minimistral", "train"]
    options = dict(zip(words[2::2], words[3::2], strict=True))
    options.pop("--threads", None)
    changed = {"--" + key.replace("_", "-"): str(value) for key, value in asdict(settings).items()
               if value != getattr(Settings(), key)}  # fmt: skip
    assert options == changed
    log = REPORT["log"]
    assert [line["step"] for line in log] == [
        *range(settings.checkpoint_every, settings.steps, settings.checkpoint_every), settings.steps
    ]  # fmt: skip
    assert log[-1]["held_out"] < log[0]["held_out"] - 0.5
    assert log[-1]["training"] < log[0]["training"] - 0.5
    assert REPORT["seconds"] <= 20 * 60
    assert REPORT["parameters"] == MODEL.config.n_params


@pytest.mark.parametrize("temperature", [0.0, 0.8])
def test_np_and_pt_write_the_same_text(temperature):
    prompt = TOKENIZER.encode("The for statement")
    options = {"temperature": temperature, "top_p": 0.95, "seed": 3, "chunk_size": 7}
    written = [mm.generate(mm.load(tiny.FOLDER), prompt, 120, **options) for mm in (mn, mp)]
    assert written[0] == written[1]
    text = TOKENIZER.decode(written[0])
    known = set(re.findall(r"[a-z]+", TRAINING.lower()))
    words = re.findall(r"\b[a-z]{3,}\b", text.lower())
    assert len(words) > 20 and sum(word in known for word in words) > 0.7 * len(words)


# How far back it looks


@pytest.mark.rare
def test_window_use_is_what_the_model_does():
    if corpus.digest(HELD_OUT) != USE["text"]:
        pytest.skip("this Python has another version of the text")
    ids, distances = TOKENIZER.encode(HELD_OUT), [0, 31, 32, 124, 125]
    rows = {row["distance"]: row for row in USE["rows"]}
    contexts = reach.sample_contexts(ids, max(reach.DISTANCES) + 10, USE["n_changed"])
    # In float32 the mean at 124 would be 2.7e-14, mostly rounding.
    measured = reach.influence(mn.load(tiny.FOLDER, dtype="float64"), contexts, distances)
    for n, distance in enumerate(distances):
        for key, value in measured.items():
            shipped = rows[distance][f"influence_{key}"]
            assert shipped == pytest.approx(value[n], rel=0.05, abs=1e-15)


def test_window_use_ends_where_k_layers_end():
    config = MODEL.config
    assert (USE["window"], USE["reach"]) == (32, config.n_layers * 31)
    for row in USE["rows"]:
        assert row["region"] == reach.region_of(row["distance"], config)
        beyond = row["region"] == reach.REGIONS[2]
        assert (row["influence_largest"] == 0) is beyond
    by_region = {
        region: np.mean([r["influence_mean"] for r in USE["rows"] if r["region"] == region])
        for region in reach.REGIONS
    }
    assert by_region[reach.REGIONS[0]] > by_region[reach.REGIONS[1]] > 0
