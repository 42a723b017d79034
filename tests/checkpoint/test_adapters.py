"""Adapters in PEFT's format: PEFT reads ours, we read PEFT's, and what is wrong is refused."""

import json
import re
import shutil

import numpy as np
import pytest
import torch
from folders import contents
from models import random_model, small
from safetensors.numpy import load_file, save_file

from minimistral import checkpoint as neutral
from minimistral import cli
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.config import ADAPTABLE

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
ALL = tuple(ADAPTABLE)
HF_ALL = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
CONFIG = small(head_dim=6)  # of more than two pairs, so that the order of rows matters
TOKENS = [[1, 2, 3, 4, 5, 6, 7], [8, 9, 0, 1, 2, 3, 4]]
SETTINGS, NUMBERS = "adapter_config.json", "adapter_model.safetensors"
WQ_A = "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight"


def random_adapter(mm, rank=3, alpha=5.0, targets=ALL, config=CONFIG, dtype="float32"):
    rng = np.random.default_rng(0)
    shapes = config.adapter_shapes(rank, targets)
    weights = {name: rng.standard_normal(shape) * 0.3 for name, shape in shapes.items()}
    return mm.Adapter(config, rank, alpha, targets, weights=weights, dtype=dtype)


def numbers(values):
    return values.detach().numpy() if isinstance(values, torch.Tensor) else values


def same(ours, theirs):
    assert (ours.rank, ours.alpha, ours.targets) == (theirs.rank, theirs.alpha, theirs.targets)
    assert list(ours.weights) == list(theirs.weights)
    for name, weight in ours.weights.items():
        np.testing.assert_array_equal(numbers(weight), numbers(theirs.weights[name]))


@pytest.fixture(scope="module")
def hf_folder(tmp_path_factory):
    """The model as transformers reads it."""
    folder = tmp_path_factory.mktemp("hf")
    mn.save(random_model(CONFIG), folder, "hf")
    return folder


@pytest.fixture
def folder(tmp_path):
    """A good adapter for wq and wv."""
    mn.save_adapter(random_adapter(mn, targets=("wq", "wv")), tmp_path / "a")
    return tmp_path / "a"


# There and back


@TWINS
@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@pytest.mark.parametrize("targets", [("wk",), ("wq", "w2"), ALL])
def test_what_is_saved_is_loaded(tmp_path, mm, dtype, targets):
    adapter = random_adapter(mm, targets=targets, dtype=dtype)
    mm.save_adapter(adapter, tmp_path / "a", base="mistralai/Mistral-7B-v0.1")
    for other in (mn, mp):
        same(other.load_adapter(tmp_path / "a", CONFIG, dtype=dtype), adapter)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == [SETTINGS, NUMBERS]
    settings = json.loads((tmp_path / "a" / SETTINGS).read_text())
    assert (settings["r"], settings["lora_alpha"], settings["peft_type"]) == (3, 5, "LORA")
    assert settings["base_model_name_or_path"] == "mistralai/Mistral-7B-v0.1"


def test_bfloat16(tmp_path):
    adapter = random_adapter(mp, dtype="bfloat16")
    mp.save_adapter(adapter, tmp_path)
    found = mp.load_adapter(tmp_path, CONFIG)
    assert found.dtype == torch.bfloat16
    assert all(torch.equal(found.weights[name], w) for name, w in adapter.weights.items())
    wide = mp.Adapter(CONFIG, 3, 5, ALL, weights=adapter.weights, dtype="float32")
    same(mn.load_adapter(tmp_path, CONFIG), wide)


def test_rows_of_queries_and_keys_are_in_hugging_faces_order(folder):
    """All of B, by hand, and nothing of A or of the values."""
    theirs = load_file(folder / NUMBERS)
    ours = random_adapter(mn, targets=("wq", "wv")).weights
    order = [head * 6 + row for head in range(4) for row in (0, 2, 4, 1, 3, 5)]
    for n in range(CONFIG.n_layers):
        for which, expected in (("q", order), ("v", range(12))):
            stem = f"base_model.model.model.layers.{n}.self_attn.{which}_proj"
            b = ours[f"layers.{n}.attention.w{which}.lora_B.weight"]
            np.testing.assert_array_equal(theirs[f"{stem}.lora_B.weight"], b[list(expected)])
            a = ours[f"layers.{n}.attention.w{which}.lora_A.weight"]
            np.testing.assert_array_equal(theirs[f"{stem}.lora_A.weight"], a)


# PEFT


def transformers_model(folder):
    from transformers import AutoModelForCausalLM

    return AutoModelForCausalLM.from_pretrained(folder)


@TWINS
@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("targets", [("wq", "wv"), ALL])
def test_peft_opens_what_is_saved_and_gives_our_logits(tmp_path, hf_folder, mm, targets):
    import peft

    adapter = random_adapter(mm, targets=targets)
    mm.save_adapter(adapter, tmp_path / "a", base=str(hf_folder))
    base = transformers_model(hf_folder)
    plain = base(torch.tensor(TOKENS)).logits.numpy()
    theirs = peft.PeftModel.from_pretrained(base, tmp_path / "a")
    expected = theirs(torch.tensor(TOKENS)).logits.numpy()
    assert np.abs(expected - plain).max() > 1e-2
    model = mm.load(hf_folder)
    for ours in (mm.adapt(model, adapter), mm.merge(model, adapter)):
        np.testing.assert_allclose(numbers(ours(TOKENS)), expected, rtol=0, atol=1e-5)


SPELLED = {
    "two names": {"target_modules": ["q_proj", "v_proj"]},
    "all": {"target_modules": HF_ALL},
    "all linear": {"target_modules": "all-linear"},
    "a regular expression": {"target_modules": r".*self_attn\.(q|k)_proj"},
    "in full": {"target_modules": [f"model.layers.{n}.self_attn.k_proj" for n in (0, 1)]},
    "rsLoRA": {"target_modules": ["q_proj", "k_proj"], "use_rslora": True},
    "dropout, gaussian": {"target_modules": ["o_proj"], "lora_dropout": 0.1,
                          "init_lora_weights": "gaussian"},
}  # fmt: skip


@TWINS
@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", SPELLED)
def test_what_peft_saved_is_loaded(tmp_path, hf_folder, mm, name):
    import peft

    settings = peft.LoraConfig(r=3, lora_alpha=7, task_type="CAUSAL_LM", **SPELLED[name])
    adapted = peft.get_peft_model(transformers_model(hf_folder), settings).eval()
    torch.manual_seed(0)
    for parameter_name, parameter in adapted.named_parameters():
        if "lora_B" in parameter_name:  # zeros, at first
            parameter.normal_()
    adapted.save_pretrained(tmp_path / "a")
    expected = adapted(torch.tensor(TOKENS)).logits.numpy()
    model = mm.load(hf_folder)
    adapter = mm.load_adapter(tmp_path / "a", CONFIG)
    assert adapter.rank == 3
    for ours in (mm.adapt(model, adapter), mm.load(hf_folder, adapter=tmp_path / "a")):
        np.testing.assert_allclose(numbers(ours(TOKENS)), expected, rtol=0, atol=2e-5)
    assert np.abs(expected - numbers(model(TOKENS))).max() > 1e-2


# Loading a model with it


@TWINS
@pytest.mark.parametrize("format", neutral.FORMATS)
def test_a_model_is_loaded_with_its_adapter(tmp_path, mm, format):
    mn.save(random_model(CONFIG), tmp_path / "m", format)
    adapter = random_adapter(mm)
    mm.save_adapter(adapter, tmp_path / "a")
    expected = mm.merge(mm.load(tmp_path / "m"), adapter)
    found = mm.load(tmp_path / "m", adapter=tmp_path / "a")
    for name, weight in found.weights.items():
        np.testing.assert_array_equal(numbers(weight), numbers(expected.weights[name]))
    mm.save(found, tmp_path / "merged", format)
    np.testing.assert_array_equal(
        numbers(mm.load(tmp_path / "merged")(TOKENS)), numbers(expected(TOKENS))
    )


def test_with_the_matrices_in_their_file(tmp_path):
    mn.save(random_model(CONFIG), tmp_path / "m", "hf")
    mn.save_adapter(random_adapter(mn), tmp_path / "a")
    mapped = mn.load(tmp_path / "m", adapter=tmp_path / "a", mmap=True)
    loaded = mn.load(tmp_path / "m", adapter=tmp_path / "a")
    np.testing.assert_allclose(mapped(TOKENS), loaded(TOKENS), rtol=0, atol=1e-5)


def test_quantised_after_merging(tmp_path):
    config = small(dim=32, hidden_dim=64, vocab_size=32)
    mn.save(random_model(config), tmp_path / "m")
    mp.save_adapter(random_adapter(mp, config=config), tmp_path / "a")
    packed = mp.load(tmp_path / "m", adapter=tmp_path / "a", quantize="int8")(TOKENS)
    exact = mp.load(tmp_path / "m", adapter=tmp_path / "a")(TOKENS)
    assert 1e-4 < (packed - exact).norm() / exact.norm() < 0.05


@TWINS
def test_an_adapter_beside_its_model_is_added_when_asked(tmp_path, mm):
    mn.save(random_model(CONFIG), tmp_path, "hf")
    adapter = random_adapter(mm)
    mm.save_adapter(adapter, tmp_path)
    with pytest.raises(ValueError, match=r"unasked; mm\.load\(path, adapter=path\) adds it"):
        mm.load(tmp_path)
    found = mm.load(tmp_path, adapter=str(tmp_path) + "/.")
    (tmp_path / SETTINGS).unlink()
    (tmp_path / NUMBERS).unlink()
    expected = mm.merge(mm.load(tmp_path), adapter)
    np.testing.assert_array_equal(numbers(found(TOKENS)), numbers(expected(TOKENS)))


@TWINS
def test_another_adapter_than_the_one_beside_the_model(tmp_path, mm, folder):
    mn.save(random_model(CONFIG), tmp_path / "m", "hf")
    mn.save_adapter(random_adapter(mn), tmp_path / "m")
    with pytest.raises(ValueError, match="beside the model, which is not added to it unasked"):
        mm.load(tmp_path / "m", adapter=folder)


@TWINS
def test_an_adapter_alone_says_how_it_is_used(folder, mm, capsys):
    settings = json.loads((folder / SETTINGS).read_text())
    settings["base_model_name_or_path"] = "mistralai/Mistral-7B-v0.1"
    (folder / SETTINGS).write_text(json.dumps(settings))
    line = (
        f"{folder} holds an adapter (adapter_config.json, adapter_model.safetensors) and no model;"
        " mm.load(model, adapter=path) adds it to its base model, 'mistralai/Mistral-7B-v0.1'"
    )
    with pytest.raises(ValueError, match=f"^{re.escape(line)}$"):
        mm.load(folder)
    assert cli.main(["inspect", str(folder)]) == 1 and line in capsys.readouterr().err


# Saving


@TWINS
def test_an_old_adapter_is_replaced_only_when_asked(tmp_path, mm):
    (tmp_path / "notes.txt").write_text("mine")
    mm.save_adapter(random_adapter(mm), tmp_path)
    before = contents(tmp_path)
    other = random_adapter(mm, rank=2, targets=("wv",))
    with pytest.raises(ValueError, match=r"adapter_config\.json already exists; overwrite=True"):
        mm.save_adapter(other, tmp_path)
    assert contents(tmp_path) == before
    mm.save_adapter(other, tmp_path, overwrite=True)
    same(mm.load_adapter(tmp_path, CONFIG), other)
    assert (tmp_path / "notes.txt").read_text() == "mine"


@TWINS
@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"adapter": None}, "adapter must be a minimistral"),
        ({"path": 3}, "path must be the path of a folder"),
        ({"base": 3}, "base must be the name or path of a model, or None, not 3"),
        ({"dtype": "int8"}, "dtype must be one of"),
        ({"dtype": "float16"}, "wq.lora_A.weight must be finite"),
    ],
)
def test_what_cannot_be_saved(tmp_path, mm, settings, line):
    adapter = random_adapter(mm)
    with torch.no_grad():
        adapter.weights["layers.1.attention.wq.lora_A.weight"][0] = 1e6
    good = {"adapter": adapter, "path": tmp_path / "a"}
    with pytest.raises((TypeError, ValueError), match=re.escape(line)):
        mm.save_adapter(**good | settings)
    folder = tmp_path / "a"
    assert not folder.exists() or not list(folder.iterdir())


def test_an_adapter_without_values_is_not_saved(tmp_path):
    with pytest.raises(ValueError, match="adapter must have values to save, but it is on meta"):
        mp.save_adapter(mp.Adapter(CONFIG, 2, device="meta"), tmp_path)


# What is refused


def settings(**changes):
    def change(folder):
        values = json.loads((folder / SETTINGS).read_text()) | changes
        (folder / SETTINGS).write_text(json.dumps(values))

    return change


def tensors(change_them):
    def change(folder):
        weights = load_file(folder / NUMBERS)
        change_them(weights)
        save_file(weights, folder / NUMBERS)

    return change


def renamed(name, other):
    return tensors(lambda w: w.update({other: w.pop(name)}))


def cut(folder):
    data = (folder / NUMBERS).read_bytes()
    (folder / NUMBERS).write_bytes(data[: len(data) // 2])


def pickle_only(folder):
    (folder / NUMBERS).rename(folder / "adapter_model.bin")


UNKNOWN = f"D/{SETTINGS} has what is not known here, and may change the result: "
BAD = {
    "another kind": (settings(peft_type="IA3"), f'peft_type in D/{SETTINGS} must be "LORA", not'),
    "no kind": (settings(peft_type=None), f'peft_type in D/{SETTINGS} must be "LORA", not null'),
    "DoRA": (settings(use_dora=True), f"use_dora in D/{SETTINGS} must be false, not true"),
    "a bias": (settings(bias="lora_only"), f'bias in D/{SETTINGS} must be "none", not "lora_only"'),
    "a bias of B": (settings(lora_bias=True), "lora_bias in "),
    "transposed": (settings(fan_in_fan_out=True), "fan_in_fan_out in "),
    "whole modules": (settings(modules_to_save=["lm_head"]), 'must be [], not ["lm_head"]'),
    "some layers": (settings(layers_to_transform=[0]), "layers_to_transform in "),
    "a layer twice": (settings(layer_replication=[[0, 2], [1, 2]]), "layer_replication in "),
    "ranks": (settings(rank_pattern={"q_proj": 4}), f"rank_pattern in D/{SETTINGS} must be {{}}"),
    "alphas": (settings(alpha_pattern={"q_proj": 4}), "alpha_pattern in "),
    "PiSSA": (settings(init_lora_weights="pissa_niter_4"),
              'must be one of true, false, "gaussian", "eva", "orthogonal", not "pissa_niter_4",'
              " which changes the base model's weights as well"),
    "a key of tomorrow": (settings(use_xlora=True), UNKNOWN + '"use_xlora": true'),
    "VeLoRA": (settings(velora_config={"rank": 1}), UNKNOWN + '"velora_config": {"rank": 1}'),
    "rsLoRA?": (settings(use_rslora="yes"), 'must be true or false, not "yes"'),
    "no rank": (settings(r=None), f"r in D/{SETTINGS} must be a whole number, not None"),
    "rank 0": (settings(r=0), f"r in D/{SETTINGS} must be at least 1, not 0"),
    "another rank": (settings(r=4), f"{WQ_A!r} in D/{NUMBERS} must be (4, 8), because r is 4, not"
                                    " (3, 8)"),
    "no alpha": (settings(lora_alpha=None), f"lora_alpha in D/{SETTINGS} must be a number"),
    "alpha NaN": (settings(lora_alpha=float("nan")), "must be finite and above 0, not nan"),
    "a target that is none": (settings(target_modules=["q_proj", "lm_head"]),
                              f"target_modules in D/{SETTINGS} must be out of q_proj, k_proj,"
                              " v_proj, o_proj, gate_proj, down_proj, up_proj, not 'lm_head'"),
    "Mistral's target": (settings(target_modules=["wq", "wv"]), "not 'wq'"),
    "no target": (settings(target_modules=[]), "must name a matrix, but is empty"),
    "no targets": (settings(target_modules=None), "must be a list of names, not null"),
    "a target without tensors": (settings(target_modules=["q_proj", "v_proj", "o_proj"]),
                                 "lacks the tensor 'base_model.model.model.layers.0.self_attn."
                                 "o_proj.lora_A.weight' and 3 more"),
    "a target too few": (settings(target_modules=["q_proj"]), "has an unknown tensor, "),
    "half a pair": (tensors(lambda w: w.pop(WQ_A)), f"D/{NUMBERS} lacks the tensor {WQ_A!r}"),
    "a name unknown": (renamed(WQ_A, "lora_A"), f"D/{NUMBERS} has an unknown tensor, 'lora_A'"),
    "DoRA's tensor": (tensors(lambda w: w.update({WQ_A.replace("lora_A", "lora_magnitude_vector"):
                                                  np.ones(3)})), "has an unknown tensor, "),
    "8 bits": (tensors(lambda w: w.update({WQ_A: w[WQ_A].astype(np.int8)})),
               "must be one of float16, bfloat16, float32, float64, not I8"),
    "NaN": (tensors(lambda w: w[WQ_A].fill(np.nan)), "layers.0.attention.wq.lora_A.weight must be"
                                                     " finite, but holds NaN or infinity"),
    "truncated": (cut, f"D/{NUMBERS} is not a complete safetensors file"),
    "a pointer": (lambda folder: (folder / NUMBERS).write_bytes(
        b"version https://git-lfs.github.com/spec/v1\n"), f"D/{NUMBERS} is a Git LFS pointer"),
    "no JSON": (lambda folder: (folder / SETTINGS).write_text("{"), f"D/{SETTINGS} is not valid"),
    "a key twice": (lambda folder: (folder / SETTINGS).write_text('{"r": 1, "r": 2}'), "'r' twice"),
    "no config": (lambda folder: (folder / SETTINGS).unlink(),
                  f"D holds no adapter: it needs {SETTINGS} with {NUMBERS}; it holds {NUMBERS}"),
    "a pickle": (pickle_only, "adapter_model.bin is a pickle, which can run any code and is not"
                              " read: open it with PEFT and save it again"),
    "nothing": (shutil.rmtree, "there is no folder D"),
}  # fmt: skip


@TWINS
@pytest.mark.parametrize("name", BAD)
def test_a_bad_adapter_is_refused(folder, hf_folder, mm, name):
    change, line = BAD[name]
    change(folder)
    before, line = contents(folder), line.replace("D", str(folder), 1) if "D" in line else line
    for load in (
        lambda: mm.load_adapter(folder, CONFIG),
        lambda: mm.load(hf_folder, adapter=folder),
    ):
        with pytest.raises((FileNotFoundError, TypeError, ValueError)) as caught:
            load()
        assert line in str(caught.value) and "\n" not in str(caught.value)
    assert contents(folder) == before


@TWINS
def test_bad_arguments(folder, hf_folder, mm, tmp_path):
    cases = [
        (lambda: mm.load_adapter(folder, None), "config must be a ModelConfig"),
        (lambda: mm.load_adapter(folder, small()), "must be (16, 3), because r is 3, not (24, 3)"),
        (lambda: mm.load_adapter(folder, CONFIG, dtype="int8"), "dtype must be one of"),
        (lambda: mm.load_adapter(3, CONFIG), "path must be the path of a folder, not 3"),
        (lambda: mm.load_adapter(folder / NUMBERS, CONFIG), f"is in, {folder}"),
        (lambda: mm.load(hf_folder, adapter=3), "adapter must be the path of a folder, not 3"),
        (lambda: mm.load(hf_folder, adapter=""), "adapter must name a folder, but is empty"),
        (lambda: mm.load(hf_folder, adapter=folder / SETTINGS), "adapter must be a folder, not"),
        (lambda: mm.load(hf_folder, adapter=tmp_path / "b"), f"there is no folder {tmp_path}/b"),
    ]
    for call, line in cases:
        with pytest.raises((FileNotFoundError, TypeError, ValueError), match=re.escape(line)):
            call()
