"""Folders as people have them: what the one line says that is printed instead of a model."""

import os
import shutil

import numpy as np
import pytest
import torch
from models import random_model, small

from minimistral import checkpoint as neutral
from minimistral import cli, tokenizer
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.checkpoint import reading

POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14483498224\n"
PARAMS, CONFIG, INDEX = "params.json", "config.json", "model.safetensors.index.json"
ADAPTER = b'{"base_model_name_or_path": "mistralai/Mistral-7B-v0.1", "peft_type": "LORA"}'
SHARDS = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]

# files by name and content -> what the error says, after "holds no checkpoint: it needs …; "
NO_CHECKPOINT = [
    ({}, "it is empty"),
    ({"notes.txt": b""}, "it holds notes.txt"),
    ({"tokenizer.json": b"{}", "tokenizer_config.json": b"{}"},
     "it holds tokenizer.json, tokenizer_config.json, a tokenizer without weights; add the files"),
    ({"tokenizer.model.v3": b""}, "it holds tokenizer.model.v3, a tokenizer without weights"),
    ({CONFIG: b"{}", "pytorch_model.bin": b""},
     "it holds config.json, pytorch_model.bin; pytorch_model.bin is in an old format that is not"
     " read: open it with transformers and save it again with save_pretrained"),
    ({CONFIG: b"{}", "pytorch_model.bin.index.json": b"",
      "pytorch_model-00001-of-00002.bin": b""},
     "pytorch_model-00001-of-00002.bin is in an old format"),
    ({"mistral-7b.Q4_K_M.gguf": b"GGUF"}, "mistral-7b.Q4_K_M.gguf is in the format of llama.cpp"),
    ({CONFIG: b"{}"}, "it holds config.json, a config without weights"),
    ({PARAMS: b"{}", "tokenizer.model": b""}, "it holds params.json, tokenizer.model, a config"),
    ({"consolidated.safetensors": b""}, "it holds consolidated.safetensors, weights without"),
    ({CONFIG: b"{}", "consolidated.safetensors": b""}, "it holds config.json, consolidated.safe"),
    ({CONFIG: b"{}", SHARDS[1]: b""}, f"{SHARDS[1]} is a part of the weights, but the index of"),
    ({SHARDS[0]: b""}, "neither a config nor an index of the weights is there"),
    ({"my weights.bin": b"", "x\x1b[2Jy": b""}, "it holds 'my weights.bin', 'x\\x1b[2Jy'"),
    ({f"{n:02}": b"" for n in range(20)}, "it holds 00, 01, 02, 03, 04, 05, 06, 07 and 12 more"),
    ({"snapshots/config.json": b"{}"}, "it holds snapshots; give the folder inside it, "),
    ({".saving-ab12/old/config.json": b"{}"},
     "a save was stopped in the middle, and the files that were there before are in .saving-ab12"),
]  # fmt: skip
WITH_ADAPTER = [
    ({"adapter_config.json": ADAPTER, "adapter_model.safetensors": b""},
     "holds an adapter (adapter_config.json, adapter_model.safetensors)"),
    ({"adapter_config.json": ADAPTER}, "holds an adapter (adapter_config.json)"),
    ({"adapter_model.bin": b""}, "holds an adapter (adapter_model.bin)"),
    ({"lora.safetensors": b""}, "holds an adapter (lora.safetensors)"),
    ({"my-LoRA-v2.safetensors": b""}, "holds an adapter (my-LoRA-v2.safetensors)"),
]  # fmt: skip


def small_model():
    return random_model(small())


@pytest.fixture(scope="session")
def saved(tmp_path_factory):
    """A small model in both formats, and a tokenizer that is none."""
    root = tmp_path_factory.mktemp("saved")
    for format in neutral.FORMATS:
        mn.save(small_model(), root / format, format)
    return root


def put(folder, files):
    for name, content in files.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content)


def error_of(load, folder, error):
    with pytest.raises(error) as caught:
        load(folder)
    assert type(caught.value) is error
    return str(caught.value)


def printed_by_inspect(folder, capsys, *words):
    """The one line of the command for a folder that is refused."""
    assert cli.main(["inspect", str(folder), *words]) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1 and "\x1b" not in printed.err
    return printed.err


@pytest.mark.parametrize(("files", "line"), NO_CHECKPOINT, ids=lambda value: str(value)[:40])
def test_a_folder_that_is_no_checkpoint_says_what_it_holds(tmp_path, capsys, files, line):
    put(tmp_path, files)
    for load in (mn.load, mp.load):
        message = error_of(load, tmp_path, FileNotFoundError)
        assert message.startswith(f"{tmp_path} holds no checkpoint: it needs params.json with ")
        assert line in message
    assert line in printed_by_inspect(tmp_path, capsys)


def test_a_link_that_leads_nowhere(tmp_path, saved):
    """As when a folder of the Hugging Face cache is copied without its blobs."""
    shutil.copytree(saved / "hf", tmp_path / "m")
    (tmp_path / "m/model.safetensors").unlink()
    os.symlink("../blobs/abc", tmp_path / "m/model.safetensors")
    message = error_of(mn.load, tmp_path / "m", FileNotFoundError)
    assert "; model.safetensors is a link to '../blobs/abc', which does not exist" in message


def test_a_folder_in_place_of_a_file(tmp_path, saved):
    shutil.copytree(saved / "hf", tmp_path / "m")
    (tmp_path / "m/config.json").unlink()
    (tmp_path / "m/config.json").mkdir()
    message = error_of(mn.load, tmp_path / "m", FileNotFoundError)
    assert "; config.json is not a file" in message


@pytest.mark.parametrize("format", neutral.FORMATS)
@pytest.mark.parametrize(("files", "line"), WITH_ADAPTER)
def test_an_adapter_beside_a_model_is_not_passed_over(tmp_path, saved, capsys, format, files, line):
    shutil.copytree(saved / format, tmp_path / "m")
    put(tmp_path / "m", files)
    for load in (mn.load, mp.load):
        message = error_of(load, tmp_path / "m", ValueError)
        assert f"{line} beside the model, which is not added to it unasked; " in message
        readable = "adapter_model.safetensors" in files
        assert ("mm.load(path, adapter=path) adds it to the weights" in message) is readable
        assert ("merge it into the weights with the library" in message) is not readable
        assert "move it out of the folder" in message
    assert line in printed_by_inspect(tmp_path / "m", capsys)


@pytest.mark.parametrize(("files", "line"), WITH_ADAPTER)
def test_an_adapter_alone(tmp_path, files, line):
    put(tmp_path, files)
    message = error_of(mn.load, tmp_path, ValueError)
    readable = "adapter_model.safetensors" in files
    way = "mm.load(model, adapter=path) adds it to" if readable else "merge it into"
    assert f"{line} and no model; {way} its base model" in message
    assert ("'mistralai/Mistral-7B-v0.1'" in message) is ("adapter_config.json" in files)


@pytest.mark.slow
@torch.no_grad()
@pytest.mark.filterwarnings("ignore")
def test_an_adapter_as_peft_writes_it(tmp_path):
    """transformers adds it to the model of its folder, which changes the logits."""
    import peft
    from transformers import AutoModelForCausalLM

    mn.save(small_model(), tmp_path / "m", "hf")
    base = AutoModelForCausalLM.from_pretrained(tmp_path / "m")
    tokens = torch.arange(6)[None]
    before = base(tokens).logits
    adapted = peft.get_peft_model(base, peft.LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
    for name, parameter in adapted.named_parameters():
        if "lora_B" in name:  # zeros, at first
            parameter.fill_(0.5)
    adapted.save_pretrained(tmp_path / "m")
    theirs = AutoModelForCausalLM.from_pretrained(tmp_path / "m")(tokens).logits
    assert abs(theirs - before).max() > 1e-2
    for load in (mn.load, mp.load):
        message = error_of(load, tmp_path / "m", ValueError)
        assert "an adapter (adapter_config.json, adapter_model.safetensors) beside the" in message
    found = mn.load(tmp_path / "m", adapter=tmp_path / "m")  # what the message advises
    np.testing.assert_allclose(found(tokens.numpy()), theirs, atol=1e-5)


@pytest.mark.parametrize("config", [b"{", b"[]", b"{}", b'{"base_model_name_or_path": 3}'])
def test_an_adapter_whose_config_is_damaged(tmp_path, config):
    put(tmp_path, {"adapter_config.json": config})
    assert "merge it into its base model with" in error_of(mn.load, tmp_path, ValueError)


def test_other_files_beside_a_model_are_nobody_s_business(tmp_path, saved):
    shutil.copytree(saved / "hf", tmp_path / "m")
    put(tmp_path / "m", {"README.md": b"", "pytorch_model.bin": b"", "explorations.txt": b"",
                         "other.safetensors": b"", "training_args.bin": b"",
                         "explorations.safetensors": b"", "flora.safetensors": b""})  # fmt: skip
    assert mn.load(tmp_path / "m").config == small_model().config


@pytest.mark.parametrize("name", ["params.json", "consolidated.safetensors"])
def test_the_path_of_a_file_in_place_of_its_folder(saved, capsys, name):
    file = saved / "mistral" / name
    for load in (mn.load, mp.load):
        message = error_of(load, file, ValueError)
        assert message == (
            f"path must be a folder, not the file {file}; give the folder that it is in,"
            f" {file.parent}"
        )
    assert f"give the folder that it is in, {file.parent}" in printed_by_inspect(file, capsys)
    for command in (["generate", "--prompt", "a"], ["chat"]):
        assert cli.main([command[0], str(file), *command[1:]]) == 1
        assert f"give the folder that it is in, {file.parent}" in capsys.readouterr().err


PIECES = ["tokenizer.model", "tokenizer.model.v3", "tokenizer.json"]
BESIDE_PIECES = ["tokenizer.json", "tokenizer_config.json", "added_tokens.json",
                 "generation_config.json", "chat_template.jinja"]  # fmt: skip


@pytest.mark.parametrize(
    ("name", "whole"),
    [*((name, []) for name in PIECES), *((name, ["tokenizer.model"]) for name in BESIDE_PIECES)],
)
def test_a_tokenizer_that_is_a_pointer(tmp_path, saved, capsys, name, whole):
    """whole: the file beside it that is none."""
    shutil.copytree(saved / "mistral", tmp_path / "m")
    put(tmp_path / "m", dict.fromkeys(whole, tokenizer.load("v1").file.read_bytes()))
    put(tmp_path / "m", {name: POINTER})
    line = f"{name} is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder"
    assert line in error_of(tokenizer.load, tmp_path / "m", ValueError)
    if name in PIECES:
        assert line in error_of(tokenizer.load, tmp_path / "m" / name, ValueError)
    assert cli.main(["generate", str(tmp_path / "m"), "--prompt", "a"]) == 1
    assert line in capsys.readouterr().err
    assert cli.main(["inspect", str(tmp_path / "m")]) == 0
    assert line in capsys.readouterr().out


UNREADABLE = ["params.json", "consolidated.safetensors", "consolidated.00.pth"]


@pytest.mark.parametrize("name", UNREADABLE)
def test_a_file_without_permission_is_not_called_missing(tmp_path, saved, monkeypatch, name):
    """An open that is refused stands for the permission, which root does not need."""
    shutil.copytree(saved / "mistral", tmp_path / "m")
    if name.endswith(".pth"):
        os.replace(tmp_path / "m/consolidated.safetensors", tmp_path / "m" / name)
    refused, real = str(tmp_path / "m" / name), open

    def guarded(file, *args, **kwargs):
        if os.fspath(file) == refused:
            raise PermissionError(13, "Permission denied", refused)
        return real(file, *args, **kwargs)

    monkeypatch.setattr("builtins.open", guarded)
    monkeypatch.setattr("io.open", guarded)
    message = error_of(mn.load, tmp_path / "m", PermissionError)
    assert "Permission denied" in message and name in message


@pytest.mark.parametrize(
    ("name", "dtype"),
    [
        ("model.layers.0.self_attn.q_proj.qweight", "I32"),  # GPTQ, AWQ
        ("model.layers.0.self_attn.q_proj.qzeros", "I32"),
        ("model.layers.0.self_attn.q_proj.g_idx", "I32"),
        ("model.layers.0.self_attn.q_proj.scales", "float16"),
        ("model.layers.0.self_attn.q_proj.biases", "float16"),  # MLX
        ("model.layers.0.self_attn.q_proj.weight", "U32"),
        ("model.layers.0.self_attn.q_proj.weight", "F8_E4M3"),
        ("layers.0.attention.wq.qscale_weight", "bfloat16"),  # Mistral's
        ("model.layers.0.self_attn.q_proj.weight", "U8"),  # bitsandbytes
        ("model.layers.0.self_attn.q_proj.weight.absmax", "float32"),
        ("model.layers.0.self_attn.q_proj.weight.quant_state.bitsandbytes__nf4", "U8"),
        ("model.layers.0.self_attn.q_proj.SCB", "float32"),
        ("model.layers.0.self_attn.q_proj.weight_packed", "I32"),  # compressed-tensors
        ("model.layers.0.self_attn.q_proj.weight_scale", "bfloat16"),
    ],
)
def test_quantised_weights_are_called_so(name, dtype):
    stored = reading.Stored("a.safetensors", dtype, (3, 2))
    with pytest.raises(ValueError, match=r"a\.safetensors holds quantised weights") as caught:
        reading._require_plain(name, stored)
    assert repr(name) in str(caught.value) and "load the original ones" in str(caught.value)


# Old shards


def shards_in(folder):
    return sorted(path.name for path in folder.iterdir() if path.suffix == ".safetensors")


def test_what_the_old_index_named_goes_and_nothing_else(tmp_path):
    """Also shards of unusual names; not what is somebody's own, nor what lies elsewhere."""
    model = small_model()
    mn.save(model, tmp_path / "m", "hf", max_shard_bytes=model.config.n_params * 2)
    first = shards_in(tmp_path / "m")
    assert len(first) > 2
    index = tmp_path / "m" / INDEX
    (tmp_path / "m" / first[0]).rename(tmp_path / "m/part-a.safetensors")
    text = index.read_text().replace(first[0], "part-a.safetensors")
    outside = tmp_path / "outside.safetensors"
    mine = ["model-00009-of-00009.safetensors", "mine.safetensors", "tokenizer.model"]
    put(tmp_path / "m", dict.fromkeys(mine, b"mine"))
    outside.write_bytes(b"mine")
    assert mn.load(tmp_path / "m") if index.write_text(text) else None
    index.write_text(
        text.replace(
            '"weight_map": {',
            '"weight_map": {"a": "../outside.safetensors",'
            ' "b": "tokenizer.model", "c": "gone.safetensors", "d": 3,',
        )
    )
    mn.save(model, tmp_path / "m", "hf", overwrite=True)
    assert shards_in(tmp_path / "m") == sorted([*mine[:2], "model.safetensors"])
    assert not index.exists() and outside.read_bytes() == b"mine"
    assert all((tmp_path / "m" / name).read_bytes() == b"mine" for name in mine)
    np.testing.assert_array_equal(
        mn.load(tmp_path / "m").weights["norm.weight"], model.weights["norm.weight"]
    )


@pytest.mark.parametrize("content", [b"{", b"[]", b"{}", b'{"weight_map": [1]}', b"\xff"])
def test_a_damaged_index_names_no_shard(tmp_path, content):
    put(tmp_path, {CONFIG: b"{}", INDEX: content, SHARDS[0]: b"mine"})
    mn.save(small_model(), tmp_path, "hf", overwrite=True)
    assert (tmp_path / SHARDS[0]).read_bytes() == b"mine" and not (tmp_path / INDEX).exists()


def test_a_shard_that_no_index_names_is_not_written_over_unasked(tmp_path):
    model = small_model()
    size = model.config.n_params * 2
    mn.save(model, tmp_path / "a", "hf", max_shard_bytes=size)
    name = shards_in(tmp_path / "a")[0]
    put(tmp_path / "b", {name: b"mine"})
    with pytest.raises(ValueError, match=f"{name} already exists; overwrite=True"):
        mn.save(model, tmp_path / "b", "hf", max_shard_bytes=size)
    assert [path.name for path in (tmp_path / "b").iterdir()] == [name]


def test_parts_of_a_pickle_go_and_a_copy_of_it_stays(tmp_path):
    names = ["consolidated.00.pth", "consolidated.01.pth", "consolidated.backup.pth"]
    put(tmp_path, dict.fromkeys(names, b"old"))
    mn.save(small_model(), tmp_path, overwrite=True)
    left = sorted(path.name for path in tmp_path.iterdir())
    assert left == ["consolidated.backup.pth", "consolidated.safetensors", "params.json"]
