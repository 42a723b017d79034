"""Hundreds of bad inputs of the command line: each is one line, and changes nothing.

Damaged configs and weights end with exit code 1, wrong options with 2. What people really have is
in test_as_it_came.py; bad arguments of the library are in tests/twins/test_errors.py.
"""

import io
import json
import os
import random
import re
import shutil
import struct
import subprocess
import sys
from dataclasses import fields

import numpy as np
import pytest
from folders import (
    CONFIG,
    CONSOLIDATED,
    INDEX,
    PARAMS,
    SHARDS,
    WK,
    came,
    cast,
    contents,
    file,
    keys,
    linked,
    more,
    save_all,
    tensors,
)

from minimistral import cli
from minimistral import np as mn
from minimistral.checkpoint import configs
from minimistral.training import Settings

# A config with each of its numbers as each kind of JSON

VALUES = {  # as JSON spells them
    "null": "null", "true": "true", "false": "false", "zero": "0", "negative": "-1",
    "a fraction": "1.5", "a float": "8.0", "infinity": "1e400", "NaN": "NaN", "a text": '"8"',
    "no text": '""', "a list": "[[8]]", "an empty list": "[]", "an object": '{"a": 8}',
    "beyond 64 bits": "1" + "0" * 30, "beyond Python's digits": "1" + "0" * 5000,
}  # fmt: skip
ALLOWED = {  # what a number may be; null leaves it to its default
    ("norm_eps", PARAMS): ["a fraction", "a float", "beyond 64 bits"],
    ("norm_eps", CONFIG): ["null", "a fraction", "a float", "beyond 64 bits"],
    ("rope_theta", PARAMS): ["null", "a fraction", "a float", "beyond 64 bits"],
    ("rope_theta", CONFIG): ["null", "a fraction", "a float", "beyond 64 bits"],
    ("window_size", PARAMS): ["null"], ("window_size", CONFIG): ["null"],
    ("head_dim", PARAMS): ["null"], ("head_dim", CONFIG): ["null"],
    ("context_len", PARAMS): ["null"],
}  # fmt: skip


def number(name, key, text):
    """Set a key to a text that JSON's writer would not write."""

    def change(folder):
        values = json.loads((folder / name).read_text())
        values |= {"rope_parameters": None} if key == "rope_theta" and name == CONFIG else {}
        values.pop(key, None)
        (folder / name).write_text(f'{json.dumps(values)[:-1]}, "{key}": {text}}}')

    return change


# name: (the model, what is changed, what the line names)
BAD_FILES = {
    f"{name}: {key} is {kind}": (format, [number(name, key, text)], name)
    for format, name in (("mistral", PARAMS), ("hf", CONFIG))
    for field, key in configs._keys(format).items()
    for kind, text in VALUES.items() if kind not in ALLOWED.get((field, name), [])
}  # fmt: skip

# A config as a whole


def rewritten(name, change):
    """Change the bytes of a file."""
    return lambda folder: (folder / name).write_bytes(change((folder / name).read_bytes()))


def with_a_key_twice(data):
    """Its value is the same, and yet one of the two may have been meant for something else."""
    key, value = next(iter(json.loads(data).items()))
    return data.rstrip()[:-1] + f", {json.dumps(key)}: {json.dumps(value)}}}".encode()


TEXTS = {
    "empty": lambda data: b"", "cut": lambda data: data[:-20], "twice": lambda data: data * 2,
    "UTF-16": lambda data: data.decode().encode("utf-16"),
    "Notepad's mark": lambda data: b"\xef\xbb\xbf" + data,
    "Latin-1": lambda data: data[:-2] + ', "é": 1}'.encode("latin-1"),
    "zeros": lambda data: bytes(99),
    "a trailing comma": lambda data: data.rstrip()[:-1] + b",}",
    "a comment": lambda data: b"// sizes\n" + data,
    "Python's quotes": lambda data: data.replace(b'"', b"'"),
    "a page": lambda data: b"<!doctype html>", "a list": lambda data: b"[%s]" % data,
    "a text": lambda data: b'"config"', "null": lambda data: b"null",
    "deep": lambda data: b"[" * 10**5, "a key twice": with_a_key_twice,
}  # fmt: skip
BAD_FILES |= {
    f"{name}: {kind}": (model, [rewritten(name, change)], name)
    for model, name in (("mistral", PARAMS), ("hf", CONFIG), ("shards", INDEX))
    for kind, change in TEXTS.items()
}

# Weights


def header(change, name=CONSOLIDATED):
    """Change the header of a safetensors file, as an object."""

    def rewrite(data):
        length = int.from_bytes(data[:8], "little")
        values = json.loads(data[8 : 8 + length])
        change(values)
        text = json.dumps(values).encode()
        return struct.pack("<Q", len(text)) + text + data[8 + length :]

    return rewritten(name, rewrite)


def entry(**values):
    """Change what a header says of one tensor."""
    return header(lambda tensors: tensors[WK].update(values))


def flipped(share):
    """Flip one bit of a header; it is ASCII, or a length, and becomes neither."""

    def rewrite(data):
        position = int(share * (8 + int.from_bytes(data[:8], "little")))
        return data[:position] + bytes([data[position] ^ 128]) + data[position + 1 :]

    return rewritten(CONSOLIDATED, rewrite)


def shifted(change):
    """Change where the header says that a tensor lies."""

    def change_header(values):
        values[WK]["data_offsets"] = change(*values[WK]["data_offsets"])

    return header(change_header)


RANDOM = random.Random(0)
CUTS = sorted(RANDOM.random() for _ in range(20))
FLIPS = sorted(RANDOM.random() for _ in range(20))
WEIGHTS = {
    **{f"cut at {share:.0%}": rewritten(CONSOLIDATED, lambda data, share=share: data[: int(
        len(data) * share)]) for share in CUTS},
    **{f"a bit at {share:.1%} of the header": flipped(share) for share in FLIPS},
    "the last byte is missing": rewritten(CONSOLIDATED, lambda data: data[:-1]),
    "a byte more": rewritten(CONSOLIDATED, lambda data: data + b"x"),
    "twice": rewritten(CONSOLIDATED, lambda data: data * 2),
    "zeros": rewritten(CONSOLIDATED, lambda data: bytes(len(data))),
    "a page": file(CONSOLIDATED, "<!doctype html>" * 99),
    "an archive": file(CONSOLIDATED, b"PK\x03\x04" + bytes(999)),
    "empty": file(CONSOLIDATED),
    "a huge header": rewritten(CONSOLIDATED, lambda data: b"\xff" * 8 + data[8:]),
    "no header": rewritten(CONSOLIDATED, lambda data: bytes(8) + data[8:]),
    "two tensors in one place": shifted(lambda start, end: [start - 8, end - 8]),
    "the same place for two": header(lambda tensors: tensors[WK].update(
        data_offsets=tensors["layers.1.attention.wv.weight"]["data_offsets"])),
    "a place beyond the end": shifted(lambda start, end: [start + 10**9, end + 10**9]),
    "a place before the start": shifted(lambda start, end: [-256, 0]),
    "ends before it starts": shifted(lambda start, end: [end, start]),
    "no place": shifted(lambda start, end: []),
    "a place as text": shifted(lambda start, end: "0-256"),
    "a hole": rewritten(CONSOLIDATED, lambda data: data[:-8]),
    "no shape": entry(shape=None), "a negative shape": entry(shape=[-8, -8]),
    "a shape beyond 64 bits": entry(shape=[2**62, 2**62]), "a shape as text": entry(shape="8x8"),
    "an empty shape": entry(shape=[]), "another shape": entry(shape=[4, 16]),
    "dtype F8": entry(dtype="F8_E4M3", shape=[32, 8]), "half of F8": entry(dtype="F8_E5M2"),
    "dtype I64": entry(dtype="I64", shape=[4, 8]), "dtype U32": entry(dtype="U32"),
    "dtype C64": entry(dtype="C64", shape=[4, 8]), "dtype I32": entry(dtype="I32"),
    "no such dtype": entry(dtype="F1024"), "a dtype as number": entry(dtype=32),
    "bool": tensors(CONSOLIDATED, cast(WK, bool)), "int16": tensors(CONSOLIDATED, cast(WK, "i2")),
    "a tensor is null": header(lambda tensors: tensors.update({WK: None})),
    "a tensor without a name": header(lambda tensors: tensors.update({"": tensors.pop(WK)})),
    "a tensor with a name that a terminal would obey": header(
        lambda tensors: tensors.update({"\x1b[2J\n": tensors.pop(WK)})),
    "a tensor with a very long name": header(
        lambda tensors: tensors.update({"x" * 10**5: tensors.pop(WK)})),
    "a tensor more": tensors(CONSOLIDATED, more("layers.2.norm.weight", "f4")),
    "other metadata": header(lambda tensors: tensors.update(__metadata__=[1])),
    "metadata of objects": header(lambda tensors: tensors.update(__metadata__={"a": {}})),
    "a link to itself": linked(CONSOLIDATED, CONSOLIDATED),
    "a link to its folder": linked(CONSOLIDATED, "."),
    "a link out of the folder, to nothing": linked(CONSOLIDATED, "../../nothing"),
    "a link out of the folder, to a text": linked(CONSOLIDATED, os.path.realpath(__file__)),
}  # fmt: skip
BAD_FILES |= {
    f"weights: {name}": ("mistral", [change], CONSOLIDATED) for name, change in WEIGHTS.items()
}

# Shards and their index

NORM = "model.norm.weight"
ENTRIES = {
    "a path up": "../model.safetensors", "a path from the root": "/etc/passwd",
    "a path of Windows": "..\\model.safetensors", "a drive": "C:model.safetensors",
    "a folder": ".", "the folder above": "..", "nothing": "", "null": None, "a number": 3,
    "a list": [SHARDS[1]], "a file that is not there": "x", "half a character": "\ud800",
    "a NUL": "x\0y", "a name that is too long": "x" * 300, "the index": INDEX, "a config": CONFIG,
    "another shard": SHARDS[0],
}  # fmt: skip


def mapped(value):
    def change(folder):
        values = json.loads((folder / INDEX).read_text())
        values["weight_map"][NORM] = value
        (folder / INDEX).write_text(json.dumps(values))

    return change


BAD_FILES |= {
    f"index: a tensor in {kind}": (
        "shards", [mapped(value)], CONFIG if kind == "a config" else NORM)
    for kind, value in ENTRIES.items()
}  # fmt: skip
BAD_FILES |= {
    "index: of no weights": ("shards", [keys(INDEX, weight_map={})], INDEX),
    "index: a list": ("shards", [keys(INDEX, weight_map=[SHARDS[0]])], INDEX),
    "index: nothing but metadata": ("shards", [keys(INDEX, weight_map=...)], INDEX),
    "shards: the same tensor in two": ("shards", [tensors(SHARDS[0], more(NORM, "f4"))], NORM),
    "shards: the same file twice": (
        "shards", [lambda folder: shutil.copy(folder / SHARDS[1], folder / SHARDS[0])], SHARDS[0]),
    "shards: cut": ("shards", [rewritten(SHARDS[2], lambda data: data[:-1])], SHARDS[2]),
    "shards: a link out of the folder, to a text": (
        "shards", [linked(SHARDS[1], os.path.realpath(__file__))], SHARDS[1]),
    "shards: a link to itself": ("shards", [linked(SHARDS[1], SHARDS[1])], SHARDS[1]),
    "one file: empty, beside good shards": ("shards", [file("model.safetensors")], "model.safet"),
}  # fmt: skip


@pytest.fixture(scope="module")
def saved(tmp_path_factory):
    return save_all(tmp_path_factory.mktemp("saved"))


@pytest.fixture
def run(monkeypatch, capsys, tmp_path):
    """A function: a command line -> its exit code and its one line on stderr.

    Nothing else is printed, and nothing is written to the current folder.
    """
    (tmp_path / "current").mkdir()
    monkeypatch.chdir(tmp_path / "current")
    monkeypatch.setattr(sys, "stdin", io.StringIO(""))

    def run(*words):
        code = cli.main([str(word) for word in words])
        out, err = capsys.readouterr()
        assert out == "" and not list((tmp_path / "current").iterdir())
        require_line(err)
        return code, err

    return run


def require_line(err):
    """One line that a terminal can show, and no error that nobody has thought of."""
    assert err.startswith("minimistral") and err.count("\n") == 1 and err.endswith("\n"), err
    assert err[:-1].isprintable() and len(err) < 1300, err
    assert not re.search(r"Traceback|: error: \w+(Error|Exception): ", err), err


@pytest.mark.parametrize("name", BAD_FILES)
def test_a_bad_file(saved, run, tmp_path, name):
    """The line names it, by `inspect`; NumPy's `load` raises the same, and nothing is written."""
    model, changes, named = BAD_FILES[name]
    folder = came(saved / model, changes, tmp_path / "m")
    before = contents(folder)
    code, line = run("inspect", folder)
    assert code == 1 and named in line
    with pytest.raises((ValueError, TypeError, OSError)):
        mn.load(folder)
    assert contents(folder) == before


@pytest.mark.parametrize("model", ["mistral", "hf", "shards"])
def test_undamaged_they_are_good(saved, capsys, model):
    """Otherwise the errors above would prove nothing."""
    assert cli.main(["inspect", str(saved / model)]) == 0
    mn.load(saved / model)


def test_a_link_out_of_the_folder_to_good_weights(saved, tmp_path):
    """So the cache of Hugging Face keeps all its files. Saving replaces the link, not the file."""
    folder = came(saved / "mistral", [linked(CONSOLIDATED, saved / "mistral" / CONSOLIDATED)],
                  tmp_path / "m")  # fmt: skip
    before = contents(saved)
    model = mn.load(folder)
    mn.save(model, folder, overwrite=True)
    assert not (folder / CONSOLIDATED).is_symlink() and contents(saved) == before
    for name, weight in mn.load(saved / "mistral").weights.items():
        np.testing.assert_array_equal(weight, model.weights[name])


# Options

NO_COUNTS = ["0", "-1", "1.5", "nan", "", "x", "1e3", "0x10", "9" * 30, "1,000"]
NO_NUMBERS = ["nan", "inf", "-inf", "1e400", "", "x", "-1", "1,5"]
ENGINE = {
    "--max-new-tokens": NO_COUNTS, "--chunk-size": NO_COUNTS, "--temperature": NO_NUMBERS,
    "--top-p": [*NO_NUMBERS, "0", "1.01"], "--min-p": [*NO_NUMBERS, "1.01"],
    "--top-k": NO_COUNTS, "--repetition-penalty": [*NO_NUMBERS, "0"],
    "--seed": ["-1", "1.5", "x", "", "nan"],
    "--backend": ["", "tf", "NP"], "--dtype": ["", "int8", "float8", "F32", "bfloat16"],
    "--format": ["", "gguf", "HF"], "--quantize": ["int8", "int2", ""], "--device": ["cpu", "cuda"],
}  # fmt: skip
OPTIONS = {
    "generate": {**ENGINE, "--prompt": ["", "\udcff"], "--tensor-parallel": NO_COUNTS},
    "chat": {**ENGINE, "--context": NO_COUNTS, "--system": ["", " ", "\udcff"], "--tools": [""],
             "--tokenizer-version": ["", "v9", "3"]},
    "inspect": {"--format": ["", "gguf", "HF"]},
    "bench": {"--threads": [*NO_COUNTS, "10000000"], "--config": ["", "x", "13b"],
              "--suite": ["", "tpu"], "--out": ["", "/", "no/such/folder/x.json"]},
    "train": {"--" + field.name.replace("_", "-"): {
        int: ["-1", "1.5", "nan", "", "x", "1e3"], float: ["-0.5", "nan", "inf", "", "x"],
    }[type(field.default)] for field in fields(Settings)}
    | {"--threads": [*NO_COUNTS, "10000000"], "--out": [""], "--device": ["", "x", "vulkan"],
       "--length": ["8"]},
}  # fmt: skip
BAD_OPTIONS = [
    (command, option, value)
    for command, options in OPTIONS.items()
    for option, values in options.items()
    for value in values
]


@pytest.mark.parametrize(("command", "option", "value"), BAD_OPTIONS)
def test_a_bad_option(saved, run, monkeypatch, command, option, value):
    """It is named before a weight is read."""
    monkeypatch.setattr(mn, "load", None)
    model = {"train": [], "bench": []}.get(command, [saved / "mistral"])
    prompt = ["--prompt", "a"] if command == "generate" and option != "--prompt" else []
    code, line = run(command, *model, *prompt, f"{option}={value}")
    assert code == 2
    assert option in line or option[2:].replace("-", "_") in line


# The program itself


@pytest.mark.parametrize(
    "name",
    ["params.json: cut", "weights: cut at", "weights: a bit at", "index: a tensor in a path up",
     "shards: the same tensor in two"],
)  # fmt: skip
def test_a_bad_file_in_a_process_of_its_own(saved, tmp_path, name):
    model, changes, named = next(row for key, row in BAD_FILES.items() if key.startswith(name))
    folder = came(saved / model, changes, tmp_path / "m")
    before = contents(tmp_path)
    done = subprocess.run(
        [sys.executable, "-m", "minimistral", "inspect", folder], cwd=tmp_path, timeout=120,
        capture_output=True, encoding="utf-8",
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "") and named in done.stderr
    require_line(done.stderr)
    assert contents(tmp_path) == before


def test_the_table_is_long_enough():
    assert len(BAD_FILES) >= 400 and len(BAD_OPTIONS) >= 200
