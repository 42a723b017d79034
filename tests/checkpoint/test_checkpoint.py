"""Checkpoints: round trips, transformers as the oracle, and every kind of damage."""

import contextlib
import functools
import json
import os
import struct
import subprocess
import sys
import tempfile
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
import torch
from effort import rare
from safetensors import safe_open
from safetensors.numpy import load_file, save_file

import minimistral.checkpoint as neutral
from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.config import bytes_per_value, version_of
from minimistral.np import checkpoint as in_np
from minimistral.pt import checkpoint as in_pt

TWINS = pytest.mark.parametrize("mm", [in_np, in_pt], ids=["np", "pt"])
FORMATS = pytest.mark.parametrize("format", ["mistral", "hf"])
MISTRAL = {in_np: mn.Mistral, in_pt: mp.Mistral}

# No two sizes are equal, no value is a default, and prompts are longer than two windows.
SMALL = ModelConfig(
    dim=24, n_layers=2, head_dim=8, hidden_dim=20, n_heads=4, n_kv_heads=2, window_size=5,
    context_len=77, vocab_size=30, norm_eps=3e-5, rope_theta=12345.0,
)  # fmt: skip
TOKENS = np.random.default_rng(5).integers(0, SMALL.vocab_size, (2, 14))


def random_weights(config=SMALL, seed=0):
    """Weights that all matter: no norm is 1."""
    rng = np.random.default_rng(seed)
    shapes = config.weight_shapes().items()
    return {
        name: rng.normal(float(len(shape) == 1), 0.3, shape).astype(np.float32)
        for name, shape in shapes
    }


def model_of(mm, dtype="float32", seed=0):
    if mm is in_np:
        return mn.Mistral(SMALL, random_weights(seed=seed), dtype=dtype)
    return mp.Mistral(SMALL, {k: torch.from_numpy(v) for k, v in random_weights(seed=seed).items()},
                      dtype=dtype)  # fmt: skip


def numbers(model):
    """The weights as float32 arrays."""
    return {name: np.asarray(torch.as_tensor(w).float()) for name, w in model.weights.items()}


def assert_same(model, other):
    assert model.config == other.config
    ours, theirs = numbers(model), numbers(other)
    assert list(ours) == list(theirs)
    for name in ours:
        np.testing.assert_array_equal(ours[name], theirs[name], err_msg=name)


def contents(folder):
    """Every file of a folder and its bytes."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


# Names and rows


@torch.no_grad()
def oracle():
    """transformers' model of SMALL, with random weights."""
    from transformers import MistralConfig, MistralForCausalLM

    config = MistralConfig(
        hidden_size=SMALL.dim, num_hidden_layers=SMALL.n_layers, head_dim=SMALL.head_dim,
        intermediate_size=SMALL.hidden_dim, num_attention_heads=SMALL.n_heads,
        num_key_value_heads=SMALL.n_kv_heads, sliding_window=SMALL.window_size,
        max_position_embeddings=SMALL.context_len, vocab_size=SMALL.vocab_size,
        rms_norm_eps=SMALL.norm_eps, attn_implementation="eager",
        rope_parameters={"rope_type": "default", "rope_theta": SMALL.rope_theta},
    )  # fmt: skip
    model = MistralForCausalLM(config).eval()
    rng = torch.Generator().manual_seed(0)
    for parameter in model.parameters():
        parameter.normal_(float(parameter.ndim == 1), 0.3, generator=rng)
    return model


def test_the_names_are_those_of_transformers():
    theirs = {name: tuple(w.shape) for name, w in oracle().state_dict().items()}
    ours = {neutral.hf_name(name): shape for name, shape in SMALL.weight_shapes().items()}
    assert ours == theirs


@pytest.mark.parametrize(
    "name", ["norm", "layers.0.norm.weight", "attention.wq.weight", "layers.N.ffn_norm.weight"]
)
def test_a_name_that_is_none(name):
    with pytest.raises(ValueError, match=name):
        neutral.hf_name(name)


@pytest.mark.parametrize("make", [np.asarray, torch.as_tensor], ids=["np", "pt"])
@pytest.mark.parametrize(("heads", "D", "shape"), [(1, 6, (6,)), (3, 4, (12, 5)), (2, 2, (4, 3))])
def test_rows_are_permuted_as_the_loop_says(make, heads, D, shape):
    rows = np.arange(np.prod(shape)).reshape(shape)
    expected = np.zeros_like(rows)
    for head in range(heads):
        for j in range(D // 2):
            expected[head * D + 2 * j] = rows[head * D + j]
            expected[head * D + 2 * j + 1] = rows[head * D + j + D // 2]
    pairs = neutral.to_pairs(make(rows), heads)
    np.testing.assert_array_equal(pairs, expected)
    np.testing.assert_array_equal(neutral.to_halves(pairs, heads), rows)


@pytest.mark.parametrize("permute", [neutral.to_pairs, neutral.to_halves])
@pytest.mark.parametrize(
    ("weight", "heads", "error", "named"),
    [
        (np.ones((6, 2)), 2, ValueError, "n_heads = 2"),
        (np.ones(()), 1, ValueError, "weight"),
        (np.ones((6, 2)), 0, ValueError, "n_heads"),
        (np.ones((6, 2)), 1.0, TypeError, "n_heads"),
    ],
)
def test_rows_that_are_no_heads(permute, weight, heads, error, named):
    with pytest.raises(error, match=named):
        permute(weight, heads)


# Round trips

ONE_FILE = 5 * 10**9
THREE_SHARDS = 13_000  # of SMALL in float32


@FORMATS
@pytest.mark.parametrize("max_shard_bytes", [ONE_FILE, THREE_SHARDS])
@pytest.mark.parametrize("reader", [in_np, in_pt], ids=["to np", "to pt"])
@pytest.mark.parametrize(
    ("writer", "dtype"),
    [
        *((in_np, dtype) for dtype in ("float16", "float32", "float64")),
        *((in_pt, dtype) for dtype in ("float16", "bfloat16", "float32", "float64")),
    ],
    ids=lambda value: {in_np: "np", in_pt: "pt"}.get(value, value),
)
def test_what_is_saved_is_loaded(tmp_path, format, max_shard_bytes, reader, writer, dtype):
    model = model_of(writer, dtype)
    if max_shard_bytes == THREE_SHARDS:
        max_shard_bytes = THREE_SHARDS * bytes_per_value(dtype) // 4
    writer.save(model, str(tmp_path / "a" / "b"), format, max_shard_bytes=max_shard_bytes)
    loaded = reader.load(tmp_path / "a" / "b")
    assert_same(model, loaded)
    expected = "float32" if reader is in_np else dtype
    assert str(loaded.dtype).endswith(expected)
    assert neutral.open_checkpoint(tmp_path / "a/b").dtype == dtype
    shards = list(tmp_path.rglob("model-*"))
    assert len(shards) == (3 if format == "hf" and max_shard_bytes < ONE_FILE else 0)


@TWINS
@FORMATS
def test_the_dtype_may_change_on_either_side(tmp_path, mm, format):
    model = model_of(mm)
    mm.save(model, tmp_path / "half", format, dtype="float16")
    expected = {name: w.astype(np.float16) for name, w in numbers(model).items()}
    for dtype in ("float16", "float64"):
        loaded = mm.load(tmp_path / "half", dtype=dtype)
        assert str(loaded.dtype).endswith(dtype)
        for name, weight in loaded.weights.items():
            np.testing.assert_array_equal(weight, expected[name])
    for dtype in (np.float16, torch.float16, "fp16"):
        assert str(mm.load(tmp_path / "half", dtype=dtype).dtype).endswith("float16")


def test_bfloat16_is_the_upper_half_of_float32():
    bits = np.arange(2**16, dtype=np.uint16)
    exact = torch.from_numpy(bits).view(torch.bfloat16).float().numpy()
    np.testing.assert_array_equal(in_np.from_bfloat16(bits), exact)


@TWINS
@FORMATS
@pytest.mark.parametrize("window", [None, 3])
def test_the_config_comes_back(tmp_path, mm, format, window):
    config = replace(SMALL, window_size=window, head_dim=6, norm_eps=1e-6, rope_theta=1e6 / 3)
    mm.save(MISTRAL[mm](config), tmp_path, format)
    assert mm.load(tmp_path).config == config


@TWINS
@FORMATS
def test_weights_of_odd_layout_are_saved_right(tmp_path, mm, format):
    """Transposed arrays, and one array under two names: safetensors writes memory as it lies."""
    weights = random_weights()
    for name in ("layers.1.attention.wq.weight", "layers.1.feed_forward.w2.weight"):
        weights[name] = np.asfortranarray(weights[name])
    if mm is in_pt:
        weights = {name: torch.from_numpy(weight) for name, weight in weights.items()}
    weights["output.weight"] = weights["tok_embeddings.weight"]
    model = MISTRAL[mm](SMALL, weights)
    mm.save(model, tmp_path, format)
    assert_same(model, mm.load(tmp_path))


@FORMATS
def test_a_model_in_training_is_saved(tmp_path, format):
    model = model_of(in_pt)
    for weight in model.weights.values():
        weight.requires_grad_()
    in_pt.save(model, tmp_path, format)
    assert_same(in_pt.load(tmp_path), model_of(in_pt))


# transformers as the oracle


@torch.no_grad()
def hf_logits(model):
    return model(torch.from_numpy(TOKENS)).logits.numpy()


def logits(model):
    return np.asarray(model(TOKENS))


def test_a_missing_permutation_would_show():
    """Otherwise the tests below would prove nothing."""
    weights = random_weights()
    wrong = dict(weights)
    for n in range(SMALL.n_layers):
        for part, heads in (("wq", SMALL.n_heads), ("wk", SMALL.n_kv_heads)):
            name = f"layers.{n}.attention.{part}.weight"
            wrong[name] = neutral.to_halves(weights[name], heads)
    difference = abs(logits(mn.Mistral(SMALL, weights)) - logits(mn.Mistral(SMALL, wrong)))
    assert (difference[:, 0] < 1e-5).all()  # RoPE rotates nothing at position 0
    assert (difference[:, 1:].max(axis=-1) > 1e-3).all()


@TWINS
@pytest.mark.parametrize("max_shard_bytes", [ONE_FILE, THREE_SHARDS])
def test_transformers_opens_what_is_saved(tmp_path, mm, max_shard_bytes):
    from transformers import AutoModelForCausalLM

    model = model_of(mm)
    mm.save(model, tmp_path, "hf", max_shard_bytes=max_shard_bytes)
    theirs, report = AutoModelForCausalLM.from_pretrained(
        tmp_path, attn_implementation="eager", output_loading_info=True
    )
    assert not any(report.values()), report
    for file in tmp_path.glob("*.safetensors"):  # transformers 4 refuses files without it
        with safe_open(file, framework="np") as opened:
            assert opened.metadata() == {"format": "pt"}
    assert theirs.dtype == torch.float32 and theirs.config.head_dim == SMALL.head_dim
    np.testing.assert_allclose(logits(model), hf_logits(theirs), atol=1e-5)


def test_transformers_keeps_the_dtype(tmp_path):
    from transformers import AutoModelForCausalLM

    in_pt.save(model_of(in_pt, "bfloat16"), tmp_path, "hf")
    assert AutoModelForCausalLM.from_pretrained(tmp_path).dtype == torch.bfloat16


@TWINS
@pytest.mark.parametrize("max_shard_size", ["5GB", "13KB"])
def test_what_transformers_saved_is_loaded(tmp_path, mm, max_shard_size):
    theirs = oracle()
    theirs.save_pretrained(tmp_path, max_shard_size=max_shard_size)
    assert len(list(tmp_path.glob("model-*"))) == (3 if max_shard_size == "13KB" else 0)
    model = mm.load(tmp_path)
    assert model.config == SMALL
    np.testing.assert_allclose(logits(model), hf_logits(theirs), atol=1e-5)


# Files as others write them


def write_safetensors(file, tensors, padding=b""):
    """A file by hand: name -> (dtype, array). The header's length may be odd."""
    header, data = {}, b""
    for name, (dtype, array) in tensors.items():
        ends = [len(data), len(data) + array.nbytes]
        header[name] = {"dtype": dtype, "shape": list(array.shape), "data_offsets": ends}
        data += array.tobytes()
    text = json.dumps(header).encode() + padding
    file.write_bytes(struct.pack("<Q", len(text)) + text + data)


def to_bits(array):
    return torch.from_numpy(array).bfloat16().view(torch.uint16).numpy()


@TWINS
def test_dtypes_may_be_mixed_and_lie_anywhere(tmp_path, mm):
    """Norms in float32, matrices in bfloat16, and a header that puts numbers at odd bytes."""
    (tmp_path / "params.json").write_text(neutral.config_text(SMALL, "mistral", "bfloat16"))
    weights = {k: v.astype(np.float16).astype(np.float32) for k, v in random_weights().items()}
    tensors = {n: ("F32", w) if w.ndim == 1 else ("BF16", to_bits(w)) for n, w in weights.items()}
    file = tmp_path / "consolidated.safetensors"
    write_safetensors(file, tensors)
    length = struct.unpack("<Q", file.read_bytes()[:8])[0]
    write_safetensors(file, tensors, padding=b" " * (1 + length % 2))
    model, checkpoint = mm.load(tmp_path), neutral.open_checkpoint(tmp_path)
    assert checkpoint.dtype == "float32"
    assert checkpoint.tensors["norm.weight"].offset % 2 == 1
    assert all(checkpoint.read(name).flags.aligned for name in weights)  # as torch requires
    assert str(model.dtype).endswith("float32")
    for name, weight in numbers(model).items():
        exact = weights[name]
        if exact.ndim == 2:
            exact = torch.from_numpy(exact).bfloat16().float().numpy()
        np.testing.assert_array_equal(weight, exact)


@pytest.mark.parametrize(
    ("dtypes", "narrowest"),
    [
        (["float16"] * 3, "float16"), (["bfloat16"], "bfloat16"), (["float64"], "float64"),
        (["float16", "bfloat16"], "float32"), (["bfloat16", "float32"], "float32"),
        (["float16", "float64"], "float64"), (["float32", "float64", "bfloat16"], "float64"),
    ],
)  # fmt: skip
def test_the_narrowest_dtype_that_holds_all(dtypes, narrowest):
    stored = {str(n): neutral.Stored(Path("a"), dtype, (1,)) for n, dtype in enumerate(dtypes)}
    assert neutral.Checkpoint(SMALL, "mistral", stored).dtype == narrowest


@TWINS
def test_old_tables_of_angles_are_passed_over(tmp_path, mm):
    """Hugging Face checkpoints of 2023 hold inv_freq, listed in the index or not."""
    model = model_of(mm)
    mm.save(model, tmp_path, "hf", max_shard_bytes=THREE_SHARDS)
    shard = tmp_path / "model-00001-of-00003.safetensors"
    table = {f"model.layers.{n}.self_attn.rotary_emb.inv_freq": np.ones(4, int) for n in (0, 1)}
    save_file(load_file(shard) | table, shard)
    edit(tmp_path / "model.safetensors.index.json", lambda index: index["weight_map"].update(
        {next(iter(table)): shard.name}))  # fmt: skip
    assert_same(model, mm.load(tmp_path))


@TWINS
@pytest.mark.parametrize("dtype", ["float16", "bfloat16", "float32"])
def test_a_pth_file_is_loaded(tmp_path, mm, dtype):
    model = model_of(in_pt, dtype)
    (tmp_path / "params.json").write_text(neutral.config_text(SMALL, "mistral", dtype))
    weights = dict(model.weights)
    weights[WK] = weights[WK].T.contiguous().T  # a .pth file keeps strides
    weights["norm.weight"] = torch.nn.Parameter(weights["norm.weight"])
    torch.save(weights, tmp_path / "consolidated.00.pth")
    assert_same(model, mm.load(tmp_path))
    assert neutral.open_checkpoint(tmp_path).dtype == dtype


class Hostile:
    """A pickle that creates a file when it is loaded unsafely."""

    def __init__(self, target):
        self.target = target

    def __reduce__(self):
        return open, (str(self.target), "w")


@TWINS
def test_a_pickle_runs_nothing(tmp_path, mm):
    folder, trace = tmp_path / "checkpoint", tmp_path / "it ran"
    folder.mkdir()
    (folder / "params.json").write_text(neutral.config_text(SMALL, "mistral", "float32"))
    weights = dict(model_of(in_pt).weights)
    torch.save(weights | {"extra": Hostile(trace)}, folder / "consolidated.00.pth")
    with pytest.raises(
        ValueError, match=r"consolidated\.00\.pth .*it asks for \w+\.open"
    ) as caught:
        mm.load(folder)
    assert not trace.exists()
    # torch's own text advises to switch the protection off
    assert "weights_only" not in str(caught.value) and "\n" not in str(caught.value)


@TWINS
def test_mistral_comes_first_unless_asked_otherwise(tmp_path, mm):
    mm.save(model_of(mm, seed=1), tmp_path, "hf")
    mm.save(model_of(mm, seed=2), tmp_path, "mistral")
    assert_same(mm.load(tmp_path), model_of(mm, seed=2))
    assert_same(mm.load(tmp_path, format="mistral"), model_of(mm, seed=2))
    assert_same(mm.load(tmp_path, format="hf"), model_of(mm, seed=1))
    (tmp_path / "consolidated.safetensors").unlink()  # params.json alone is no checkpoint
    assert_same(mm.load(tmp_path), model_of(mm, seed=1))


def test_one_file_comes_before_an_index(tmp_path):
    """As in transformers."""
    in_np.save(model_of(in_np, seed=1), tmp_path, "hf", max_shard_bytes=THREE_SHARDS)
    in_np.save(model_of(in_np, seed=2), tmp_path / "one", "hf")
    os.replace(tmp_path / "one/model.safetensors", tmp_path / "model.safetensors")
    assert_same(in_np.load(tmp_path), model_of(in_np, seed=2))


# Configs as published

SIZES = {
    "dim": 4096, "n_layers": 32, "head_dim": 128, "hidden_dim": 14336, "n_heads": 32,
    "n_kv_heads": 8, "norm_eps": 1e-05,
}  # fmt: skip
HF_SIZES = {
    "architectures": ["MistralForCausalLM"], "bos_token_id": 1, "eos_token_id": 2,
    "hidden_act": "silu", "hidden_size": 4096, "initializer_range": 0.02,
    "intermediate_size": 14336, "max_position_embeddings": 32768, "model_type": "mistral",
    "num_attention_heads": 32, "num_hidden_layers": 32, "num_key_value_heads": 8,
    "rms_norm_eps": 1e-05, "tie_word_embeddings": False, "torch_dtype": "bfloat16",
    "transformers_version": "4.42.0.dev0", "use_cache": True,
}  # fmt: skip
PUBLISHED = [
    ("v0.1", "mistral", SIZES | {"sliding_window": 4096, "vocab_size": 32000}),
    # mistral-inference's other name, a list of windows, newer files, and mistral-finetune's
    ("v0.1", "mistral", SIZES | {"_sliding_window": 4096, "vocab_size": 32000}),
    ("v0.1", "mistral", SIZES | {"_sliding_window": [4096], "vocab_size": 32000}),
    ("v0.1", "mistral", SIZES | {"sliding_window": [4096] * 32, "vocab_size": 32000}),
    ("v0.1", "mistral", SIZES | {"sliding_window": None, "_sliding_window": 4096,
                                 "vocab_size": 32000}),
    ("v0.2", "mistral", SIZES | {"_sliding_window": [None, None], "vocab_size": 32000}),
    ("v0.3", "mistral", SIZES | {"rope_theta": 1e6, "vocab_size": 32768, "causal": True,
                                 "max_position_embeddings": 32768, "qk_norm": False,
                                 "llama_4_scaling": None, "ragged_attention": None}),
    ("v0.3", "mistral", SIZES | {"rope_theta": 1e6, "vocab_size": 32768, "moe": None, "lora": {
        "enable": False, "rank": 64, "dropout": 0.0, "scaling": 2.0}, "max_batch_size": 1}),
    ("v0.3", "mistral", SIZES | {"vocab_size": 32768, "rope_scaling": {"rope_type": "default"}}),
    ("v0.2", "mistral", SIZES | {"rope_theta": 1e6, "vocab_size": 32000}),
    ("v0.2", "mistral", SIZES | {"vocab_size": 32000, "sliding_window": None}),
    ("v0.3", "mistral", SIZES | {"rope_theta": 1e6, "vocab_size": 32768}),
    ("v0.1", "hf", HF_SIZES | {"rope_theta": 10000.0, "sliding_window": 4096, "vocab_size": 32000}),
    ("v0.2", "hf", HF_SIZES | {"rope_theta": 1e6, "sliding_window": None, "vocab_size": 32000}),
    ("v0.3", "hf", HF_SIZES | {"rope_theta": 1e6, "sliding_window": None, "vocab_size": 32768}),
    ("v0.3", "hf", HF_SIZES | {"vocab_size": 32768, "sliding_window": None, "head_dim": 128,
                               "rope_parameters": {"rope_type": "default", "rope_theta": 1e6}}),
    (None, "hf", HF_SIZES | {"rope_theta": 1e6, "sliding_window": None, "vocab_size": 32001}),
    (None, "mistral", SIZES | {"sliding_window": 4096, "vocab_size": 32000, "rope_theta": 1e6}),
]  # fmt: skip


@pytest.mark.parametrize(("version", "format", "settings"), PUBLISHED)
def test_the_published_configs_are_known(tmp_path, version, format, settings):
    file = tmp_path / neutral.CONFIG_FILE[format]
    file.write_text(json.dumps(settings))
    config = neutral.read_config(file, format)
    assert version_of(config) == version
    context = 8192 if format == "mistral" and config.window_size else 32768
    assert config.context_len == context
    if version:
        assert replace(ModelConfig.mistral_7b(version), context_len=context) == config


def test_what_is_absent_is_what_transformers_takes(tmp_path):
    from transformers import MistralConfig

    sizes = ("hidden_size", "intermediate_size", "max_position_embeddings", "num_attention_heads",
             "num_hidden_layers", "num_key_value_heads", "vocab_size")  # fmt: skip
    settings = {key: value for key, value in (HF_SIZES | {"vocab_size": 9}).items() if key in sizes}
    file = tmp_path / "config.json"
    for extra in ({}, {"sliding_window": None}, {"head_dim": None}, {"head_dim": 64}):
        file.write_text(json.dumps(settings | extra))
        ours, theirs = neutral.read_config(file, "hf"), MistralConfig(**settings, **extra)
        assert ours.window_size == theirs.sliding_window
        assert ours.norm_eps == theirs.rms_norm_eps
        assert ours.rope_theta == theirs.rope_parameters["rope_theta"]
        assert ours.head_dim == theirs.head_dim


@pytest.mark.parametrize("rope", [{"rope_theta": 5e5}, {}, None])
@pytest.mark.parametrize("theta", [{"rope_theta": 2e4}, {}])
def test_theta_is_the_one_that_transformers_takes(tmp_path, rope, theta):
    from transformers import MistralConfig

    settings = {**HF_SIZES, "vocab_size": 9, **theta}
    if rope is not None:
        settings["rope_parameters"] = {"rope_type": "default", **rope}
    (tmp_path / "config.json").write_text(json.dumps(settings))
    theirs = MistralConfig.from_pretrained(tmp_path).rope_parameters["rope_theta"]
    assert neutral.read_config(tmp_path / "config.json", "hf").rope_theta == theirs


ROPES = [None, {}, {"rope_type": "default"}, {"type": "default", "rope_theta": 3e5},
         {"rope_type": "default", "rope_theta": 5e5, "partial_rotary_factor": None}]  # fmt: skip


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("scaling", ROPES)
@pytest.mark.parametrize("parameters", ROPES)
def test_theta_in_rope_scaling_is_the_one_that_transformers_takes(tmp_path, scaling, parameters):
    from transformers import MistralConfig

    settings = {**HF_SIZES, "vocab_size": 9, "rope_theta": 2e4, "rope_scaling": scaling,
                "rope_parameters": parameters}  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(settings))
    theirs = MistralConfig.from_pretrained(tmp_path).rope_parameters["rope_theta"]
    assert neutral.read_config(tmp_path / "config.json", "hf").rope_theta == theirs


@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(
    ("window", "changes", "same"),
    [
        (5, {}, True),
        (5, {"layer_types": ["sliding_attention"] * 2, "is_causal": True}, True),
        (None, {"layer_types": ["full_attention"] * 2, "use_sliding_window": False}, True),
        (5, {"is_causal": False}, False),
        (5, {"layer_types": ["full_attention", "sliding_attention"]}, False),
        (5, {"layer_types": ["full_attention"] * 2}, False),
    ],
)
def test_what_is_refused_changes_transformers_logits_and_what_is_not_does_not(
    tmp_path, window, changes, same
):
    from transformers import AutoModelForCausalLM, MistralForCausalLM

    in_np.save(model_of(in_np), tmp_path, "hf")
    edit(tmp_path / "config.json", lambda config: config.update(sliding_window=window))
    plain = in_np.load(tmp_path)
    edit(tmp_path / "config.json", lambda config: config.update(changes))
    kind = AutoModelForCausalLM if window else MistralForCausalLM  # it takes another class
    theirs = kind.from_pretrained(tmp_path, attn_implementation="eager")
    assert bool(abs(logits(plain) - hf_logits(theirs)).max() < 1e-5) == same
    if same:
        assert_same(in_np.load(tmp_path), plain)
    else:
        with pytest.raises(ValueError, match=r"config\.json must be"):
            in_np.load(tmp_path)


@pytest.mark.parametrize("lora", [{"enable": False, "rank": 64}, {"rank": 8, "scaling": 2.0}, None])
def test_a_lora_of_which_no_tensor_is_there_changes_nothing(tmp_path, lora):
    """mistral-finetune writes its settings beside weights that it has merged."""
    in_np.save(model_of(in_np), tmp_path)
    edit(tmp_path / "params.json", lambda params: params.update(lora=lora))
    assert_same(in_np.load(tmp_path), model_of(in_np))


def test_keys_that_are_not_read_are_known_by_name():
    settings = HF_SIZES | {"auto_map": {"AutoModel": "a.B"}, "sliding_windows": 3, "none": None}
    assert neutral.unknown_keys(settings, "hf") == ["auto_map", "sliding_windows"]
    for format in neutral.FORMATS:
        written = json.loads(neutral.config_text(SMALL, format, "float32"))
        assert neutral.unknown_keys(written, format) == []


def test_what_transformers_writes_is_known():
    from transformers import MistralConfig

    assert neutral.unknown_keys(MistralConfig().to_dict(), "hf") == []


@TWINS
def test_the_theta_trap(tmp_path, mm):
    """v0.1's params.json has no theta. mistral-inference assumes 1e6, which is wrong for it."""
    weights = random_weights()
    right = MISTRAL[mm](replace(SMALL, rope_theta=1e4), weights)
    wrong = MISTRAL[mm](replace(SMALL, rope_theta=1e6), weights)
    mm.save(wrong, tmp_path)
    edit(tmp_path / "params.json", lambda params: params.pop("rope_theta"))
    loaded = mm.load(tmp_path)
    assert loaded.config.rope_theta == 1e4
    np.testing.assert_array_equal(logits(loaded), logits(right))
    difference = abs(logits(right) - logits(wrong))
    assert difference[:, 0].max() < 1e-6 and (difference[:, 2:].max(axis=-1) > 1e-3).all()


SPARSE = pytest.mark.skipif(sys.platform != "linux", reason="a sparse file of 14 GB")


@SPARSE
@pytest.mark.parametrize(("version", "format"), [("v0.1", "mistral"), ("v0.3", "hf")])
def test_a_checkpoint_of_7b_is_opened_without_being_read(tmp_path, version, format):
    """Its headers are real; its 14.5 GB of zeros take no space on disk."""
    config = ModelConfig.mistral_7b(version)
    shapes = config.weight_shapes()
    layout, index = neutral.writing._layout(config, format, "bfloat16", ONE_FILE)
    assert len(layout) == (1 if format == "mistral" else 3)
    for file_name, names in layout.items():
        header, end = {}, 0
        for key, name in names.items():
            size = 2 * int(np.prod(shapes[name]))
            ends, end = [end, end + size], end + size
            header[key] = {"dtype": "BF16", "shape": shapes[name], "data_offsets": ends}
        text = json.dumps(header).encode()
        with open(tmp_path / file_name, "wb") as stream:
            stream.write(struct.pack("<Q", len(text)) + text)
            stream.truncate(8 + len(text) + end)
    if index:
        (tmp_path / "model.safetensors.index.json").write_text(index)
    settings = neutral.config_text(config, format, "bfloat16")
    (tmp_path / neutral.CONFIG_FILE[format]).write_text(settings)
    checkpoint = neutral.open_checkpoint(tmp_path)
    assert (checkpoint.version, checkpoint.format) == (version, format)
    assert checkpoint.dtype == "bfloat16" and checkpoint.config == config
    assert {n: stored.shape for n, stored in checkpoint.tensors.items()} == shapes
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) > 2 * config.n_params
    bits = checkpoint.read("norm.weight")
    assert bits.dtype == np.uint16 and not bits.any()
    names = (f"layers.31.attention.{part}.weight" for part in ("wq", "wk", "wv"))
    heads = [checkpoint.tensors[name].heads for name in names]
    assert heads == ([0, 0, 0] if format == "mistral" else [32, 8, 0])


def test_writing_to_what_is_read_leaves_the_file(tmp_path):
    in_np.save(model_of(in_np), tmp_path)
    before = contents(tmp_path)
    checkpoint = neutral.open_checkpoint(tmp_path)
    checkpoint.read("norm.weight")[:] = 7
    assert contents(tmp_path) == before
    assert checkpoint.read("norm.weight")[0] != 7


@TWINS
@pytest.mark.parametrize("pickled", [False, True])
def test_a_model_does_not_lean_on_its_file(tmp_path, mm, pickled):
    mm.save(model_of(mm), tmp_path)
    if pickled:
        pth(dict)(tmp_path)
    model = mm.load(tmp_path)
    (file,) = tmp_path.glob("consolidated.*")
    with open(file, "r+b") as stream:
        stream.write(bytes(file.stat().st_size))
    assert_same(model, model_of(mm))


# Memory

MEASURE = """
import sys, tracemalloc
from pathlib import Path

twin, folder = sys.argv[1:]
if twin == "np":
    from minimistral.np.checkpoint import load
else:
    from minimistral.pt.checkpoint import load

def kib(key):
    status = Path("/proc/self/status").read_text()
    return int(status.split(key + ":")[1].split()[0])

load(folder)                                    # once for libraries and thread pools
linux = sys.platform == "linux"
if linux:
    Path("/proc/self/clear_refs").write_text("5")   # resets the peak
    start = kib("VmRSS")
else:
    tracemalloc.start()
model = load(folder)
peak = (kib("VmHWM") - start) * 1024 if linux else tracemalloc.get_traced_memory()[1]
sizes = [weight.nbytes for weight in model.weights.values()]
print(peak, sum(sizes), max(sizes))
assert twin == "pt" or "torch" not in sys.modules
"""


@pytest.mark.parametrize(("twin", "format"), [("np", "hf"), rare("pt", "mistral")])
def test_one_weight_more_than_the_model_is_in_memory(tmp_path, twin, format):
    if twin == "pt" and sys.platform != "linux":
        pytest.skip("reads /proc")
    config = replace(SMALL, dim=512, hidden_dim=2048, n_heads=64, n_kv_heads=32, vocab_size=8192)
    in_pt.save(mp.Mistral(replace(config, n_layers=6), dtype="bfloat16"), tmp_path, format,
               max_shard_bytes=20 * 2**20)  # fmt: skip
    command = [sys.executable, "-P", "-c", MEASURE, twin, str(tmp_path)]
    # Otherwise glibc keeps what the first load freed, and the second seems to take less.
    environment = {**os.environ, "MALLOC_MMAP_THRESHOLD_": "65536"}
    result = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert result.returncode == 0, result.stderr
    peak, model, largest = map(int, result.stdout.split())
    assert model > 60 * 2**20 > 3 * largest
    assert model * 0.9 < peak < model + largest + 4 * 2**20


# Saving over an old checkpoint


@TWINS
@FORMATS
def test_what_is_there_stays_unless_asked(tmp_path, mm, format):
    (tmp_path / "tokenizer.model").write_text("mine")
    mm.save(model_of(mm, seed=1), tmp_path, format)
    before = contents(tmp_path)
    with pytest.raises(ValueError, match=rf"{neutral.CONFIG_FILE[format]}.*overwrite=True"):
        mm.save(model_of(mm, seed=2), tmp_path, format)
    assert contents(tmp_path) == before
    mm.save(model_of(mm, seed=2), tmp_path, format, overwrite=True)
    assert_same(mm.load(tmp_path), model_of(mm, seed=2))
    assert contents(tmp_path).keys() == before.keys()
    assert (tmp_path / "tokenizer.model").read_text() == "mine"


@TWINS
@pytest.mark.parametrize("sizes", [(4_000, THREE_SHARDS), (THREE_SHARDS, ONE_FILE)])
@pytest.mark.parametrize("turn", [1, -1])
def test_old_shards_go(tmp_path, mm, sizes, turn):
    first, second = sizes[::turn]
    mm.save(model_of(mm, seed=1), tmp_path, "hf", max_shard_bytes=first)
    mm.save(model_of(mm, seed=2), tmp_path, "hf", max_shard_bytes=second, overwrite=True)
    assert_same(mm.load(tmp_path), model_of(mm, seed=2))
    mm.save(model_of(mm, seed=2), tmp_path / "new", "hf", max_shard_bytes=second)
    files = {path.name for path in tmp_path.iterdir()} - {"new"}
    assert files == {path.name for path in (tmp_path / "new").iterdir()}


def test_an_old_pth_goes(tmp_path):
    torch.save(model_of(in_pt).weights, tmp_path / "consolidated.00.pth")
    in_np.save(model_of(in_np), tmp_path, overwrite=True)
    assert {path.name for path in tmp_path.iterdir()} == {"params.json", "consolidated.safetensors"}


def broken(function, calls, error=KeyboardInterrupt, for_good=False):
    """The function, except that call number `calls` raises; for_good: and so do all later ones."""
    count = iter(range(10**6))

    def wrapped(*args, **kwargs):
        n = next(count)
        if n == calls or (for_good and n > calls):
            raise error("stopped")
        return function(*args, **kwargs)

    return wrapped


@TWINS
@pytest.mark.parametrize("calls", range(3))
def test_an_interrupted_save_leaves_the_old_checkpoint(tmp_path, mm, calls, monkeypatch):
    mm.save(model_of(mm, seed=1), tmp_path, "hf", max_shard_bytes=THREE_SHARDS)
    before = contents(tmp_path)
    monkeypatch.setattr(mm, "save_file", broken(mm.save_file, calls))
    with pytest.raises(KeyboardInterrupt):
        mm.save(model_of(mm, seed=2), tmp_path, "hf", max_shard_bytes=THREE_SHARDS, overwrite=True)
    assert contents(tmp_path) == before


@pytest.mark.parametrize("second", [4_000, THREE_SHARDS, ONE_FILE])
def test_files_change_places_all_or_none(tmp_path, second, monkeypatch):
    in_np.save(model_of(in_np, seed=1), tmp_path, "hf", max_shard_bytes=THREE_SHARDS)
    before = contents(tmp_path)
    for calls in range(100):
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", broken(os.replace, calls, PermissionError))
            try:
                in_np.save(model_of(in_np, seed=2), tmp_path, "hf", max_shard_bytes=second,
                           overwrite=True)  # fmt: skip
                break
            except PermissionError:
                assert contents(tmp_path) == before
    assert calls > 5
    assert_same(in_np.load(tmp_path), model_of(in_np, seed=2))


@contextlib.contextmanager
def left_behind(**kwargs):
    """A temporary folder that is never removed, as when the machine stops."""
    yield tempfile.mkdtemp(**kwargs)


@pytest.mark.parametrize("second", [THREE_SHARDS, ONE_FILE])
def test_half_a_save_does_not_look_whole(tmp_path, second, monkeypatch):
    """When the machine stops, nothing is moved back: the model is the old one, the new, or none."""
    seen = []
    for calls in range(100):
        folder = tmp_path / str(calls)
        in_np.save(model_of(in_np, seed=1), folder, "hf", max_shard_bytes=THREE_SHARDS)
        with monkeypatch.context() as patch:
            patch.setattr(os, "replace", broken(os.replace, calls, for_good=True))
            patch.setattr(tempfile, "TemporaryDirectory", left_behind)
            try:
                in_np.save(model_of(in_np, seed=2), folder, "hf", max_shard_bytes=second,
                           overwrite=True)  # fmt: skip
                seen.append("new")
            except KeyboardInterrupt:
                seen.append("none" if calls else "old")
        if seen[-1] == "none":
            with pytest.raises(FileNotFoundError, match="no checkpoint"):
                in_np.load(folder)
        else:
            assert_same(in_np.load(folder), model_of(in_np, seed=1 if seen[-1] == "old" else 2))
        if seen[-1] == "new":
            break
    assert seen[0] == "old" and seen[-1] == "new" and seen.count("none") > 4


BAD_SAVES = [
    ({"format": "gguf"}, ValueError, "format must be one of mistral, hf, not 'gguf'"),
    ({"format": None}, ValueError, "format"),
    ({"dtype": "int8"}, ValueError, "dtype must be one of .*float32.*'int8'"),
    ({"max_shard_bytes": 0}, ValueError, "max_shard_bytes"),
    ({"max_shard_bytes": "5GB"}, TypeError, "max_shard_bytes"),
    ({"path": 3}, TypeError, "path"),
    ({"model": {}}, TypeError, "model must be a .*Mistral"),
]


@TWINS
@pytest.mark.parametrize(("changes", "error", "named"), BAD_SAVES)
def test_a_bad_argument_of_save_is_named(tmp_path, mm, changes, error, named):
    with pytest.raises(error, match=named):
        mm.save(**{"model": model_of(mm), "path": tmp_path / "new", **changes})
    assert list(tmp_path.iterdir()) == []


@TWINS
def test_save_does_not_write_into_a_file(tmp_path, mm):
    (tmp_path / "file").write_text("mine")
    with pytest.raises(ValueError, match="not the file"):
        mm.save(model_of(mm), tmp_path / "file")
    assert (tmp_path / "file").read_text() == "mine"


def test_numpy_has_no_bfloat16(tmp_path):
    in_np.save(model_of(in_np), tmp_path)
    for call in (in_np.load, functools.partial(in_np.save, model_of(in_np), overwrite=True)):
        with pytest.raises(ValueError, match="dtype must be one of float16, float32, float64"):
            call(tmp_path, dtype="bfloat16")


@TWINS
def test_the_twins_models_are_not_mixed_up(tmp_path, mm):
    other = model_of(in_pt if mm is in_np else in_np)
    with pytest.raises(TypeError, match=r"model must be a minimistral\.\w+\.model\.Mistral"):
        mm.save(other, tmp_path)


@TWINS
@pytest.mark.parametrize("value", [1e6, float("nan")])
def test_a_model_that_could_not_be_loaded_is_not_saved(tmp_path, mm, value):
    name, model = "layers.1.attention.wk.weight", model_of(mm)
    model.weights[name][0, 0] = value
    with pytest.raises(ValueError, match=name):
        mm.save(model, tmp_path, dtype="float16")
    assert list(tmp_path.iterdir()) == []


def test_a_numpy_model_cannot_lose_a_weight():
    """Its layers hold the same arrays, so another one in the dict alone would go unnoticed."""
    model = model_of(in_np)
    with pytest.raises(TypeError, match="does not support item"):
        del model.weights["norm.weight"]
    with pytest.raises(TypeError, match="does not support item"):
        model.weights["norm.weight"] = 2 * model.weights["norm.weight"]


def test_a_module_that_lost_a_weight_is_not_saved(tmp_path):
    model = model_of(in_pt)
    model.layers[1].attention["wk"] = torch.nn.Linear(8, 3, bias=False)
    with pytest.raises(ValueError, match=r"layers\.1\.attention\.wk\.weight"):
        in_pt.save(model, tmp_path)
    del model.layers[1].attention["wk"]
    with pytest.raises(KeyError, match="wk"):
        in_pt.save(model, tmp_path)
    assert list(tmp_path.iterdir()) == []


@TWINS
def test_a_value_that_does_not_fit_is_named_on_loading(tmp_path, mm):
    model = model_of(mm)
    model.weights["layers.1.attention.wk.weight"][0, 0] = 1e6
    mm.save(model, tmp_path)
    with pytest.raises(ValueError, match=r"layers\.1\.attention\.wk\.weight must be finite"):
        mm.load(tmp_path, dtype="float16")


@TWINS
def test_the_bar_is_shown_when_asked_for(tmp_path, mm, capsys):
    mm.save(model_of(mm), tmp_path)
    mm.load(tmp_path)
    assert capsys.readouterr().err == ""
    mm.save(model_of(mm), tmp_path, overwrite=True, progress=True)
    assert "1/1" in capsys.readouterr().err
    mm.load(tmp_path, progress=True)
    assert "21/21" in capsys.readouterr().err


# Devices


def test_on_meta_there_are_only_shapes(tmp_path):
    in_pt.save(model_of(in_pt), tmp_path)
    model = in_pt.load(tmp_path, device="meta")
    assert model.device.type == "meta"
    with pytest.raises(ValueError, match="meta"):
        in_pt.save(model, tmp_path / "new")
    with pytest.raises(ValueError, match="device"):
        in_pt.load(tmp_path, device="typewriter")


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU")
@FORMATS
def test_to_the_gpu_and_back(tmp_path, format):
    in_pt.save(model_of(in_pt, "bfloat16"), tmp_path / "a", format)
    model = in_pt.load(tmp_path / "a", device="cuda")
    assert {weight.device.type for weight in model.weights.values()} == {"cuda"}
    in_pt.save(model, tmp_path / "b", format, max_shard_bytes=THREE_SHARDS)
    assert_same(in_pt.load(tmp_path / "b"), model_of(in_pt, "bfloat16"))


# Bad checkpoints

PARAMS, CONFIG, INDEX = "params.json", "config.json", "model.safetensors.index.json"
CONSOLIDATED, SHARD = "consolidated.safetensors", "model-00002-of-00003.safetensors"
POINTER = (
    b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 14483498224\n"
)
QWEIGHT = "model.layers.1.self_attn.q_proj.qweight"
WK, HF_WK = "layers.1.attention.wk.weight", "model.layers.1.self_attn.k_proj.weight"


@functools.cache
def good(format):
    """The files of a good checkpoint; three shards when it is Hugging Face's."""
    with tempfile.TemporaryDirectory() as folder:
        in_np.save(model_of(in_np), folder, format, max_shard_bytes=THREE_SHARDS)
        return {path.name: path.read_bytes() for path in Path(folder).iterdir()}


def edit(file, change):
    values = json.loads(file.read_text())
    change(values)
    file.write_text(json.dumps(values))


def settings(file, **changes):
    """Damage: set keys of a JSON file."""
    return lambda folder: edit(folder / file, lambda values: values.update(changes))


def without(file, key):
    return lambda folder: edit(folder / file, lambda values: values.pop(key))


def mapped(name, entry):
    """Damage: the index says that a tensor is in another file."""
    return lambda folder: edit(
        folder / INDEX, lambda index: index["weight_map"].update({name: entry})
    )


def unmapped(name):
    return lambda folder: edit(folder / INDEX, lambda index: index["weight_map"].pop(name))


def text(file, content):
    return lambda folder: (folder / file).write_bytes(content)


def removed(file):
    return lambda folder: (folder / file).unlink()


def cut(file, end):
    """Damage: keep the bytes up to `end`."""
    return lambda folder: (folder / file).write_bytes((folder / file).read_bytes()[:end])


def tensors(file, change):
    """Damage: change the dict of tensors in a file."""

    def damage(folder):
        weights = load_file(folder / file)
        change(weights)
        save_file(weights, folder / file)

    return damage


def with_nan(weights):
    weights[WK][3, 2] = np.nan


def named_twice(folder):
    """A header with the same name twice, which JSON allows and the library does not detect."""
    data = (folder / CONSOLIDATED).read_bytes()
    length = struct.unpack("<Q", data[:8])[0]
    entry = json.dumps({WK: json.loads(data[8 : 8 + length])[WK]}).encode()[:-1]
    header = entry + b"," + data[9 : 8 + length]
    new = struct.pack("<Q", len(header)) + header + data[8 + length :]
    (folder / CONSOLIDATED).write_bytes(new)


def pth(make, file="consolidated.00.pth"):
    """Damage: a .pth file instead of the safetensors file."""

    def damage(folder):
        weights = {k: torch.from_numpy(v) for k, v in load_file(folder / CONSOLIDATED).items()}
        (folder / CONSOLIDATED).unlink()
        torch.save(make(weights), folder / file)

    return damage


def second_pth(folder):
    pth(dict)(folder)
    torch.save({}, folder / "consolidated.01.pth")


def half_a_pth(folder):
    pth(dict)(folder)
    cut("consolidated.00.pth", 1000)(folder)


BAD_FILES = {
    # JSON
    "params: no JSON": ("mistral", text(PARAMS, b'{"dim": 4'), ValueError, "params.json"),
    "config: no JSON": ("hf", text(CONFIG, b""), ValueError, "config.json"),
    "config: no text": ("hf", text(CONFIG, b"\xff\xfe{}"), ValueError, "config.json"),
    "config: too deep": ("hf", text(CONFIG, b"[" * 10**5), ValueError, "config.json"),
    "index: no JSON": ("hf", text(INDEX, b"{'a': 1}"), ValueError, "index.json"),
    "params: a list": ("mistral", text(PARAMS, b"[1]"), ValueError,
                       r"params.json .*object, not \[1\]"),
    "config: null": ("hf", text(CONFIG, b"null"), ValueError, "config.json .*object"),
    "index: a list": ("hf", text(INDEX, b"[]"), ValueError, "index.json .*object"),
    "params: key twice": ("mistral", text(PARAMS, b'{"dim": 1, "dim": 1}'), ValueError,
                          "params.json.*'dim' twice"),
    "index: no weight_map": ("hf", without(INDEX, "weight_map"), ValueError,
                             "weight_map.*index.*not null"),
    # Values
    "params: no dim": ("mistral", without(PARAMS, "dim"), ValueError, "params.json lacks 'dim'"),
    "params: no norm_eps": ("mistral", without(PARAMS, "norm_eps"), ValueError, "'norm_eps'"),
    "config: no vocab_size": ("hf", without(CONFIG, "vocab_size"), ValueError, "'vocab_size'"),
    "config: a null": ("hf", settings(CONFIG, hidden_size=None), ValueError, "'hidden_size'"),
    "params: text": ("mistral", settings(PARAMS, dim="24"), TypeError, 'dim in .*params.*"24"'),
    "params: a list of windows": ("mistral", settings(PARAMS, sliding_window=[5, 9]), ValueError,
                                  r"sliding_window in .*params.json must be one .* not \[5, 9\]"),
    "params: a bool": ("mistral", settings(PARAMS, n_layers=True), TypeError, "n_layers.*not true"),
    "params: eps of 0": ("mistral", settings(PARAMS, norm_eps=0), ValueError, "norm_eps"),
    "config: a fraction": ("hf", settings(CONFIG, num_hidden_layers=2.5), TypeError,
                           "num_hidden_layers in .*config.json"),
    "config: text for theta": ("hf", settings(CONFIG, rope_parameters={"rope_theta": "1e4"}),
                               TypeError, "rope_theta in .*config.json"),
    "config: theta is NaN": ("hf", settings(CONFIG, rope_parameters={"rope_theta": float("nan")}),
                             ValueError, "rope_theta in .*config.json"),
    "config: a negative size": ("hf", settings(CONFIG, num_key_value_heads=-2), ValueError,
                                "num_key_value_heads in .*config.json"),
    "config: a window of 0": ("hf", settings(CONFIG, sliding_window=0), ValueError,
                              "sliding_window in .*config.json"),
    "config: heads do not divide": ("hf", settings(CONFIG, num_key_value_heads=3), ValueError,
                                    "config.json.*n_kv_heads = 3"),
    "config: an odd head": ("hf", settings(CONFIG, head_dim=7), ValueError, "config.*head_dim"),
    "config: far too many layers": ("hf", settings(CONFIG, num_hidden_layers=10**5), ValueError,
                                    "index.json lacks most tensors: it has 21, .* 100000 layers"),
    # Other models
    "another model": ("hf", settings(CONFIG, model_type="llama"), ValueError, "model_type.*llama"),
    "no activation": ("hf", settings(CONFIG, hidden_act=None), ValueError,
                      'hidden_act in .*config.json must be "silu", not null'),
    "no kind of model": ("hf", settings(CONFIG, model_type=None), ValueError, "model_type.*null"),
    "another activation": ("hf", settings(CONFIG, hidden_act="gelu"), ValueError, "hidden_act"),
    "tied": ("hf", settings(CONFIG, tie_word_embeddings=True), ValueError, "tie_word_embeddings"),
    "quantised": ("hf", settings(CONFIG, quantization_config={"bits": 4}), ValueError,
                  "quantization_config in .*config.json"),
    "scaled, 4": ("hf", settings(CONFIG, rope_scaling={"type": "linear", "factor": 2.0}),
                  ValueError, "rope_scaling in .*config.json"),
    "scaled, 5": ("hf", settings(CONFIG, rope_parameters={"rope_type": "yarn", "factor": 2.0}),
                  ValueError, 'rope_type of rope_.* in .*config.json.*"yarn"'),
    "rope is text": ("hf", settings(CONFIG, rope_parameters="default"), TypeError,
                     "rope_parameters in .*config.json"),
    "experts": ("mistral", settings(PARAMS, moe={"num_experts": 8}), ValueError, "moe in .*params"),
    "layers of two kinds": ("hf", settings(CONFIG, layer_types=["full_attention",
        "sliding_attention"]), ValueError, 'layer_types in .*config.json must be "sliding_attention'
        r'" for each of the 2 layers, because sliding_window is 5, not \["full_attention", "sl'),
    "layers without their window": ("hf", settings(CONFIG, layer_types=["full_attention"] * 2),
                                    ValueError, "layer_types in .*because sliding_window is 5"),
    "layers with no window": ("hf", settings(CONFIG, sliding_window=None, layer_types=[
        "sliding_attention"] * 2), ValueError, 'be "full_attention".*sliding_window is null'),
    "kinds of other layers": ("hf", settings(CONFIG, layer_types=["sliding_attention"] * 3),
                              ValueError, "layer_types in .*each of the 2 layers"),
    "kinds as text": ("hf", settings(CONFIG, layer_types="sliding_attention"), ValueError,
                      "layer_types in .*config.json"),
    "a window not used": ("hf", settings(CONFIG, use_sliding_window=False), ValueError,
                          "use_sliding_window in .* must be true, because .* is 5, not false"),
    "not causal": ("hf", settings(CONFIG, is_causal=False), ValueError,
                   "is_causal in .*config.json must be true, not false"),
    "biases": ("hf", settings(CONFIG, attention_bias=True), ValueError, "attention_bias in .*true"),
    "half of each head": ("hf", settings(CONFIG, rope_parameters={"partial_rotary_factor": 0.5}),
                          ValueError, "partial_rotary_factor of rope_parameters .* 1, not 0.5"),
    "RoPE by layer": ("hf", settings(CONFIG, rope_parameters={"full_attention": {
        "rope_theta": 1e6}}), ValueError, "full_attention of rope_parameters"),
    "rope is a list": ("hf", settings(CONFIG, rope_parameters=[1]), TypeError,
                       r"rope_parameters in .*config.json must be an object, not \[1\]"),
    "rope is an empty list": ("hf", settings(CONFIG, rope_parameters=[]), TypeError,
                              r"rope_parameters in .*an object, not \[\]"),
    "rope is false": ("hf", settings(CONFIG, rope_scaling=False), TypeError,
                      "rope_scaling in .*an object, not false"),
    "MLX": ("hf", settings(CONFIG, quantization={"bits": 4}), ValueError,
            'quantization in .* must be null, not {"bits": 4}: .*original'),
    "two windows": ("mistral", settings(PARAMS, sliding_window=None, _sliding_window=[5, None]),
                    ValueError, r"_sliding_window in .* one window for all .*, not \[5, null\]"),
    "no windows": ("mistral", settings(PARAMS, sliding_window=[]), ValueError,
                   r"sliding_window in .* one window for all layers, not \[\]"),
    "windows that do not repeat": ("mistral", settings(PARAMS, sliding_window=[5, 5, 5]),
                                   ValueError, "sliding_window in .* divides n_layers = 2"),
    "a window as text": ("mistral", settings(PARAMS, sliding_window=None, _sliding_window="5"),
                         TypeError, '_sliding_window in .* a whole number, not "5"'),
    "both windows": ("mistral", settings(PARAMS, _sliding_window=5), ValueError,
                     "one of sliding_window and _sliding_window, not both"),
    "scaled, Mistral's": ("mistral", settings(PARAMS, rope_scaling={"rope_type": "yarn"}),
                          ValueError, 'rope_type of rope_scaling .* "default", not "yarn"'),
    "theta, Mistral's": ("mistral", settings(PARAMS, rope_scaling={"rope_theta": 5e5}), ValueError,
                         "rope_theta in .*params.json must stand by itself"),
    "llama 4": ("mistral", settings(PARAMS, llama_4_scaling={"beta": 0.1}), ValueError,
                "llama_4_scaling in .* null, not"),
    "not causal, Mistral's": ("mistral", settings(PARAMS, causal=False), ValueError,
                              "causal in .*params.json must be true, not false"),
    "norms of q and k": ("mistral", settings(PARAMS, qk_norm=True), ValueError,
                         "qk_norm in .* false, not true"),
    "ragged": ("mistral", settings(PARAMS, ragged_attention="4096"), ValueError,
               'ragged_attention in .* not "4096"'),
    "unknown keys": ("mistral", settings(PARAMS, logit_softcap=30.0, nothing=None, more="a"),
                     ValueError, 'not known here.*: "logit_softcap": 30.0, "more": "a"; remove'),
    "config.json's keys": ("mistral", settings(PARAMS, rope_parameters=[1]), ValueError,
                           r'params.json has what is not known here.*: "rope_parameters": \[1\]'),
    "two contexts": ("mistral", settings(PARAMS, max_position_embeddings=78), ValueError,
                     "max_seq_len and max_position_embeddings .* equal, not 77 and 78"),
    "LoRA": ("mistral", tensors(CONSOLIDATED, lambda w: w.update({"layers.0.attention.wq.lora_A"
             ".weight": np.ones((2, 24), np.float32)})), ValueError,
             f"{CONSOLIDATED} holds an adapter .*lora_A.weight.*merge it"),
    "GPTQ": ("hf", lambda folder: [mapped(QWEIGHT, SHARD)(folder), tensors(SHARD, lambda w:
        w.update({QWEIGHT: np.ones((3, 2), np.int32)}))(folder)], ValueError,
        f"{SHARD} holds quantised weights .*{QWEIGHT}' of dtype I32"),
    "U32": ("mistral", tensors(CONSOLIDATED, lambda w: w.update({WK: w[WK].view(np.uint32)})),
            ValueError, f"{CONSOLIDATED} holds quantised weights .*{WK}' of dtype U32.*original"),
    "10**9 layers": ("mistral", settings(PARAMS, n_layers=10**9), ValueError,
                     "lacks most tensors: it has 21, but the config asks for 1000000000 layers"),
    "10**9 layers, the last there": ("mistral", lambda folder: [settings(
        PARAMS, n_layers=10**9)(folder), tensors(CONSOLIDATED, lambda w: w.update(
            {"layers.999999999.ffn_norm.weight": np.ones(24, np.float32)}))(folder)],
        ValueError, "it has 22, but the config asks for 1000000000 layers"),
    "weights: a pointer": ("mistral", text(CONSOLIDATED, POINTER), ValueError,
                           f"{CONSOLIDATED} is a Git LFS pointer.*git lfs pull"),
    "a shard: a pointer": ("hf", text(SHARD, POINTER), ValueError, f"{SHARD} is a Git LFS pointer"),
    "config: a pointer": ("hf", text(CONFIG, POINTER), ValueError, "config.json is a Git LFS poin"),
    "pth: a pointer": ("mistral", lambda folder: [pth(dict)(folder), text(
        "consolidated.00.pth", POINTER)(folder)], ValueError, "00.pth is a Git LFS pointer"),
    "pth: objects": ("mistral", pth(lambda w: w | {"more": Path("a")}), ValueError,
                     "00.pth .*it asks for pathlib.*; a pickle can run any code"),
    # Files
    "no weights": ("mistral", removed(CONSOLIDATED), FileNotFoundError,
                   "needs params.json with consolidated.safetensors"),
    "no config": ("hf", removed(CONFIG), FileNotFoundError, "or config.json with model.safet"),
    "no index": ("hf", removed(INDEX), FileNotFoundError, INDEX),
    "no shard": ("hf", removed(SHARD), FileNotFoundError, f"the shard {SHARD}, but it is not"),
    "half a file": ("mistral", cut(CONSOLIDATED, -7000), ValueError, CONSOLIDATED),
    "half a header": ("mistral", cut(CONSOLIDATED, 500), ValueError, CONSOLIDATED),
    "half a length": ("mistral", cut(CONSOLIDATED, 5), ValueError, CONSOLIDATED),
    "an empty file": ("mistral", text(CONSOLIDATED, b""), ValueError, CONSOLIDATED),
    "half a shard": ("hf", cut(SHARD, -1), ValueError, SHARD),
    "a long file": ("mistral", lambda folder: (folder / CONSOLIDATED).write_bytes(
        (folder / CONSOLIDATED).read_bytes() + b"more"), ValueError, CONSOLIDATED),
    "a huge header": ("mistral", text(CONSOLIDATED, b"\xff" * 8 + b"{}"), ValueError, CONSOLIDATED),
    # Tensors
    "missing": ("mistral", tensors(CONSOLIDATED, lambda w: w.pop(WK)), ValueError,
                f"{CONSOLIDATED} lacks the tensor '{WK}'"),
    "several missing": ("mistral", tensors(CONSOLIDATED, lambda w: [w.pop(WK), w.pop(
        "norm.weight")]), ValueError, f"'{WK}' and 1 more"),
    "unknown": ("mistral", tensors(CONSOLIDATED, lambda w: w.update(more=np.ones(2))), ValueError,
                f"{CONSOLIDATED} has an unknown tensor, 'more'"),
    "turned": ("mistral", tensors(CONSOLIDATED, lambda w: w.update({WK: w[WK].T.copy()})),
               ValueError, rf"'{WK}' in .*{CONSOLIDATED} must be \(16, 24\), not \(24, 16\)"),
    "integers": ("mistral", tensors(CONSOLIDATED, lambda w: w.update({WK: w[WK].astype(int)})),
                 ValueError, f"'{WK}' in .*{CONSOLIDATED} must be one of .*I64"),
    "NaN": ("mistral", tensors(CONSOLIDATED, with_nan), ValueError, f"{WK} must be finite"),
    "infinity": ("hf", tensors("model-00003-of-00003.safetensors", lambda w: w.update(
        {"model.norm.weight": np.full(24, np.inf, np.float32)})), ValueError, "norm.weight"),
    "twice": ("mistral", named_twice, ValueError, f"{CONSOLIDATED}.*'{WK}' twice"),
    # Shards
    "missing everywhere": ("hf", lambda folder: [unmapped(HF_WK)(folder), tensors(
        home(HF_WK), lambda w: w.pop(HF_WK))(folder)], ValueError, f"{INDEX} lacks .*'{HF_WK}'"),
    "not in the index": ("hf", unmapped(HF_WK), ValueError, f"'{HF_WK}' is in .*{INDEX} does not"),
    "not in its shard": ("hf", lambda folder: tensors(home(HF_WK), lambda w: w.pop(HF_WK))(folder),
                         ValueError, f"'{HF_WK}' is in .*, but it is not"),
    "promised only": ("hf", mapped("more", SHARD), ValueError, f"'more' is in {SHARD}, but it is"),
    "in another shard": ("hf", mapped("model.norm.weight", SHARD), ValueError, "model.norm.weight"),
    "in two shards": ("hf", tensors(SHARD, lambda w: w.update({"model.norm.weight": np.ones(
        24, np.float32)})), ValueError, f"'model.norm.weight' is in .*{SHARD}"),
    "misshaped": ("hf", lambda folder: tensors(home(HF_WK), lambda w: w.update(
        {HF_WK: w[HF_WK][:8]}))(folder), ValueError, f"'{HF_WK}' in .*model-0000"),
    "outside, up": ("hf", mapped(HF_WK, "../model.safetensors"), ValueError, '"../model'),
    "outside, root": ("hf", mapped(HF_WK, "/etc/passwd"), ValueError, '"/etc/passwd"'),
    "outside, Windows": ("hf", mapped(HF_WK, "..\\model.safetensors"), ValueError, f"'{HF_WK}'"),
    "outside, drive": ("hf", mapped(HF_WK, "C:model.safetensors"), ValueError, '"C:model'),
    "outside, folder": ("hf", mapped(HF_WK, ".."), ValueError, f"'{HF_WK}' in .*\"\\.\\.\""),
    "no name": ("hf", mapped(HF_WK, ""), ValueError, f"'{HF_WK}' in .*{INDEX}"),
    "a number": ("hf", mapped(HF_WK, 3), ValueError, f"'{HF_WK}' in .*{INDEX}.*3"),
    # Pickles
    "several pth": ("mistral", second_pth, ValueError, "consolidated.01.pth"),
    "pth: half": ("mistral", half_a_pth, ValueError, "consolidated.00.pth"),
    "pth: no pickle": ("mistral", lambda folder: [pth(dict)(folder), text(
        "consolidated.00.pth", b"hello")(folder)], ValueError, "consolidated.00.pth"),
    "pth: a list": ("mistral", pth(list), ValueError, "consolidated.00.pth.*not list"),
    "pth: a number": ("mistral", pth(lambda w: w | {WK: 3}), ValueError, f"'{WK}' in .*pth"),
    "pth: sparse": ("mistral", pth(lambda w: w | {WK: w[WK].to_sparse()}), ValueError, f"'{WK}'"),
    "pth: meta": ("mistral", pth(lambda w: w | {WK: w[WK].to("meta")}), ValueError, f"'{WK}'"),
    "pth: integers": ("mistral", pth(lambda w: w | {WK: w[WK].int()}), ValueError, f"{WK}'.*int32"),
    "pth: missing": ("mistral", pth(lambda w: {k: v for k, v in w.items() if k != WK}), ValueError,
                     f"consolidated.00.pth lacks .*'{WK}'"),
    "pth: 01 alone": ("mistral", pth(dict, "consolidated.01.pth"), FileNotFoundError,
                      "consolidated.00.pth"),
}  # fmt: skip


def home(name):
    """The shard of the good checkpoint that holds a tensor."""
    return json.loads(good("hf")[INDEX])["weight_map"][name]


@TWINS
@pytest.mark.parametrize("case", BAD_FILES)
@pytest.mark.filterwarnings("ignore:Validating sparse:UserWarning")  # torch 2.14
def test_a_bad_checkpoint_is_refused(tmp_path, mm, case):
    format, damage, error, named = BAD_FILES[case]
    for name, data in good(format).items():
        (tmp_path / name).write_bytes(data)
    damage(tmp_path)
    before = contents(tmp_path)
    with pytest.raises(error, match=named) as caught:
        mm.load(tmp_path)
    assert type(caught.value) is error
    assert contents(tmp_path) == before


@FORMATS
def test_undamaged_they_are_good(tmp_path, format):
    """Otherwise the errors above would prove nothing."""
    for name, data in good(format).items():
        (tmp_path / name).write_bytes(data)
    assert_same(in_np.load(tmp_path), model_of(in_np))


BAD_LOADS = [
    ({"path": 3}, TypeError, "path"),
    ({"path": b"bytes"}, TypeError, "path"),
    ({"path": ""}, ValueError, "path must name a folder, but is empty; .* '.'"),
    ({"path": "no such folder"}, FileNotFoundError, "no such folder"),
    ({"path": __file__}, ValueError, "not the file .*test_checkpoint"),
    ({"format": "gguf"}, ValueError, "format must be one of mistral, hf, not 'gguf'"),
    ({"format": ["hf"]}, ValueError, "format"),
    ({"format": "hf"}, FileNotFoundError, "config.json with model.safetensors"),
    ({"dtype": "int8"}, ValueError, "dtype must be one of .*float32.*'int8'"),
]


@TWINS
@pytest.mark.parametrize(("changes", "error", "named"), BAD_LOADS)
def test_a_bad_argument_of_load_is_named(tmp_path, mm, changes, error, named):
    mm.save(model_of(mm), tmp_path)
    with pytest.raises(error, match=named):
        mm.load(**{"path": tmp_path, **changes})


@FORMATS
def test_random_damage_never_ends_in_another_error(tmp_path, format):
    """Random bytes of headers and JSON files change: the result is a model or a clear error."""
    rng = np.random.default_rng(0)
    files, outcomes = good(format), set()
    for name, data in files.items():
        (tmp_path / name).write_bytes(data)
    for _ in range(150):
        name = rng.choice(sorted(files))
        data = bytearray(files[name])
        for offset in rng.integers(0, min(len(data), 2000), rng.integers(1, 4)):
            data[offset] = rng.choice(list(b'0123456789"{}[],:ex-\xff\x00 '))
        (tmp_path / name).write_bytes(data)
        try:
            in_np.load(tmp_path)
            outcomes.add("loaded")
        except (ValueError, TypeError, FileNotFoundError) as error:
            outcomes.add(type(error))
        (tmp_path / name).write_bytes(files[name])
    assert {"loaded", ValueError} <= outcomes


def test_every_field_of_the_config_has_a_key():
    for format in neutral.FORMATS:
        assert set(neutral.configs._keys(format)) == {field.name for field in fields(ModelConfig)}
