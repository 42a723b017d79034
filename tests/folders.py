"""Folders as people have them: small models, and changes that make them what came to somebody."""

import json
import math
import os
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from models import random_model, small
from safetensors.numpy import load_file, save_file

from minimistral import ModelConfig, tiny
from minimistral import np as mn
from minimistral.checkpoint import config_text
from minimistral.tokenizer import load as load_tokenizer

PARAMS, CONFIG, INDEX = "params.json", "config.json", "model.safetensors.index.json"
CONSOLIDATED, SINGLE = "consolidated.safetensors", "model.safetensors"
PICKLE = "consolidated.00.pth"
SHARDS = [f"model-0000{n}-of-00003.safetensors" for n in (1, 2, 3)]
WK = "layers.1.attention.wk.weight"
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 14483498224\n"
MODEL = small(vocab_size=768)  # as many as the tiny model's tokenizer has
SHARD_BYTES = 20_000


def save_all(root):
    """The same model in both formats and in shards, each with the tiny model's tokenizer.

    "both" has the same in Mistral's and another model in Hugging Face's, "tuned" two ids more,
    "full" no window, and "empty" nothing at all.
    """
    tuned, full = replace(MODEL, vocab_size=770), replace(MODEL, window_size=None)
    models = {"mistral": MODEL, "hf": MODEL, "shards": MODEL, "tuned": tuned, "full": full}
    for name, config in models.items():
        format = "mistral" if name in ("mistral", "full") else "hf"
        size = SHARD_BYTES if name == "shards" else 10**9
        mn.save(random_model(config), root / name, format, max_shard_bytes=size)
        shutil.copy(tiny.FOLDER / "tokenizer.model", root / name)
    shutil.copytree(root / "mistral", root / "both")
    mn.save(random_model(MODEL, seed=1), root / "both", "hf")
    (root / "empty").mkdir()
    return root


def write_7b(folder):
    """v0.3 at its full size: a real header, and zeros that take no space on disk."""
    big, header, end = ModelConfig.mistral_7b("v0.3"), {}, 0
    for name, shape in big.weight_shapes().items():
        ends = [end, end + 2 * math.prod(shape)]
        header[name] = {"dtype": "BF16", "shape": shape, "data_offsets": ends}
        end = ends[1]
    text = json.dumps(header).encode()
    with open(folder / CONSOLIDATED, "wb") as stream:
        stream.write(len(text).to_bytes(8, "little") + text)
        stream.truncate(8 + len(text) + end)
    if (folder / CONSOLIDATED).stat().st_blocks * 512 > 2**24:
        pytest.skip("this file system has no sparse files")
    (folder / PARAMS).write_text(config_text(big, "mistral", "bfloat16"))
    shutil.copy(load_tokenizer("v3").file, folder / "tokenizer.model.v3")


# Changes


def keys(file, **changes):
    """Set keys of a JSON file; None is its null, and `...` takes a key out."""

    def change(folder):
        values = json.loads((folder / file).read_text(encoding="utf-8"))
        values.update(changes)
        values = {key: value for key, value in values.items() if value is not ...}
        (folder / file).write_text(json.dumps(values), encoding="utf-8")

    return change


def params(**changes):
    return keys(PARAMS, **changes)


def config(**changes):
    return keys(CONFIG, **changes)


def file(name, content=b""):
    """Write a file; content: bytes, a text, or what becomes JSON."""
    if not isinstance(content, bytes | str):
        content = json.dumps(content)

    def change(folder):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_bytes(content if isinstance(content, bytes) else content.encode())

    return change


def without(*names):
    return lambda folder: [(folder / name).unlink() for name in names]


def moved(source, target):
    return lambda folder: (folder / source).rename(folder / target)


def linked(name, target):
    """A link in place of a file, or of nothing."""

    def change(folder):
        (folder / name).unlink(missing_ok=True)
        os.symlink(target, folder / name)

    return change


def tensors(name, change_them):
    """Change the dict of tensors of a file."""

    def change(folder):
        weights = load_file(folder / name)
        change_them(weights)
        save_file(weights, folder / name, metadata={"format": "pt"})

    return change


def more(name, dtype):
    """A tensor that is there as well."""
    return lambda weights: weights.update({name: np.ones((2, 8), dtype)})


def cast(name, dtype):
    return lambda weights: weights.update({name: weights[name].astype(dtype)})


def only(name):
    return lambda weights: [weights.pop(other) for other in list(weights) if other != name]


def cut(name, share):
    """Keep the first part of a file."""

    def change(folder):
        data = (folder / name).read_bytes()
        (folder / name).write_bytes(data[: int(len(data) * share)])

    return change


def pickled(make=dict):
    """The weights as v0.1 was first published, in a pickle."""

    def change(folder):
        weights = {name: torch.tensor(w) for name, w in load_file(folder / CONSOLIDATED).items()}
        (folder / CONSOLIDATED).unlink()
        torch.save(make(weights), folder / PICKLE)

    return change


def came(base, changes, folder):
    """A folder as it came: a copy of a good one, changed. Skips what this system cannot hold."""
    shutil.copytree(base, folder)
    try:
        for change in changes:
            change(folder)
    except OSError as error:
        if sys.platform != "win32":
            raise
        pytest.skip(f"Windows: {error}")  # names of files, and links
    return folder


def contents(folder):
    """Every file of a folder and its bytes."""
    return {str(path): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}
