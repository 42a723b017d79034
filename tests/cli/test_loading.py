"""Before the weights are read: memory, two formats in one folder, keys that nobody reads."""

import json
import shutil
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch

from minimistral import ModelConfig, checkpoint, cli
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.checkpoint import memory
from minimistral.cli import engine
from minimistral.pt.quantize import quantized
from minimistral.tokenizer import load as load_tokenizer

V3 = load_tokenizer("v3")
# v0.3 except for its width and depth
CONFIG = replace(
    ModelConfig.mistral_7b("v0.3"), dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8,
    hidden_dim=64,
)  # fmt: skip
SEVEN = SimpleNamespace(config=ModelConfig.mistral_7b("v0.3"), pickled=None, dtype="bfloat16")
GIB = 2**30


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    """One folder with both formats; the two models answer differently."""
    root = tmp_path_factory.mktemp("both") / "m"
    mn.save(mn.Mistral(CONFIG, seed=1), root, "mistral")
    mn.save(mn.Mistral(CONFIG, seed=2), root, "hf")
    shutil.copy(V3.file, root / "tokenizer.model.v3")
    return root


@pytest.fixture
def no_weights(monkeypatch):
    def load(*_args, **_options):
        raise AssertionError("the weights were read")

    for mm in (mn, mp):
        monkeypatch.setattr(mm, "load", load)


def main(*words):
    return cli.main([str(word) for word in words])


def parsed(*words):
    return cli.make_parser("generate").parse_args(["generate", *words])


# Memory

PT, NP = ["--backend", "pt"], ["--backend", "np"]
ALL = "these would fit: --dtype bfloat16, --quantize int8, --backend np"
TOO_BIG = [  # options, GiB that are free, what the line says; as on a CPU
    (PT, 16, f"the weights in float32 need 27.5 GiB, but 16.0 GiB are free; {ALL}"),
    (PT, 12, "; these would fit: --quantize int8, --backend np"),
    (PT, 4, "; these would fit: --backend np"),
    ([*PT, "--dtype", "bfloat16"], 12, "in bfloat16 need 13.8 GiB, but 12.0 GiB are free; these"
                                       " would fit: --quantize int8, --backend np"),
    ([*PT, "--quantize", "int8"], 6, "in int8 need 8.6 GiB, but 6.0 GiB are free; these would fit:"
                                     " --backend np"),
    ([*PT, "--dtype", "bfloat16", "--quantize", "int4"], 2, "these would fit: --backend np"),
    ([*PT, "--tensor-parallel", "2"], 16, "these would fit: --dtype bfloat16, --backend np"),
    ([*NP, "--dtype", "float64"], 16, "in float64 need 55.0 GiB, but 16.0 GiB are free; these"
                                      " would fit: --mmap"),
    ([*NP, "--dtype", "float16"], 8, "in float16 need 13.8 GiB, but 8.0 GiB are free; these would"),
]  # fmt: skip
FITS = [(PT, 28), ([*PT, "--dtype", "bfloat16"], 14), ([*PT, "--quantize", "int8"], 9),
        ([*NP, "--dtype", "float16"], 14), (NP, 40)]  # fmt: skip


def dtype_of(args):
    return args.dtype or ("float32" if args.backend == "pt" else None)


@pytest.mark.parametrize(("words", "gib", "line"), TOO_BIG)
def test_what_does_not_fit_is_said_with_what_would(words, gib, line):
    args = parsed(*words)
    with pytest.raises(MemoryError, match="need") as caught:
        engine.require_memory(SEVEN, args, dtype_of(args), gib * GIB)
    assert line in str(caught.value)


def test_to_the_last_byte():
    """What is free may be taken whole, and nothing free is not the same as not known."""
    needed = memory.needed_bytes(SEVEN.config, "bfloat16")
    memory.require_memory(SEVEN, "bfloat16", None, needed, ways={})
    ways = {"bfloat16": "in half", "int8": "in eight bits"}
    with pytest.raises(MemoryError, match=r"these would fit: in half, in eight bits$"):
        memory.require_memory(SEVEN, "float32", None, needed, ways=ways)
    with pytest.raises(MemoryError, match=r"these would fit: in eight bits$"):
        memory.require_memory(SEVEN, "float32", None, needed - 1, ways=ways)
    with pytest.raises(MemoryError, match=r"but 0\.0 GiB are free$"):
        memory.require_memory(SEVEN, "bfloat16", None, 0, ways=ways)


@pytest.mark.parametrize(("words", "gib"), FITS)
def test_what_fits_is_loaded(words, gib):
    args = parsed(*words)
    engine.require_memory(SEVEN, args, dtype_of(args), gib * GIB)


def test_a_pth_file_cannot_stay_where_it_is():
    args = parsed(*NP)
    pickled = SimpleNamespace(config=SEVEN.config, pickled={}, dtype="bfloat16")
    with pytest.raises(MemoryError, match=r"need 27\.5 GiB, but 1\.0 GiB are free$"):
        engine.require_memory(pickled, args, None, GIB)


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("command", [["generate", "--prompt", "a"], ["chat"]])
def test_memory_is_asked_before_it_is_taken(folder, monkeypatch, capsys, command):
    monkeypatch.setattr(memory, "free_memory", lambda: 4 * CONFIG.n_params)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert main(command[0], folder, *command[1:], *PT, "--format", "hf") == 1
    err = capsys.readouterr().err
    error = f"minimistral {command[0]}: error: out of memory: the weights in float32 need 0.0 GiB,"
    assert err.splitlines()[-1].startswith(error)
    assert "would fit: --dtype bfloat16, --backend np" in err


def test_several_processes_ask_before_they_start(folder, monkeypatch, capsys):
    def start(*_args, **_options):
        raise AssertionError("processes were started")

    monkeypatch.setattr("subprocess.run", start)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(memory, "free_memory", lambda: 4 * CONFIG.n_params)
    words = ["--prompt", "a", *PT, "--tensor-parallel", 2]
    assert main("generate", folder, *words) == 1
    assert "would fit: --dtype bfloat16, --backend np" in capsys.readouterr().err


def test_on_a_gpu_its_own_memory_counts(monkeypatch):
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda device: (7, 80))
    monkeypatch.setattr(memory, "free_memory", lambda: 3)
    assert engine._free_on(torch.device("cuda")) == 7
    assert engine._free_on(torch.device("cpu")) == engine._free_on(None) == 3


@pytest.mark.parametrize("kind", [None, "int8", "int4"])
def test_the_bytes_that_are_asked_for_are_those_that_are_taken(kind):
    config = replace(CONFIG, dim=128, hidden_dim=256, n_heads=16, n_kv_heads=16, vocab_size=512)
    model = mn.Mistral(config, seed=1)
    weights = {name: torch.from_numpy(w.copy()).bfloat16() for name, w in model.weights.items()}
    packed = [quantized(name, weight, kind) for name, weight in weights.items()]
    taken = sum(size_of(weight) for weight in packed)
    largest = max(weight.numel() for weight in weights.values())
    extra = 2 * largest if kind is None else 12 * largest
    asked = memory.needed_bytes(config, "bfloat16", kind) - extra
    assert abs(asked - taken) < 0.05 * taken


def size_of(weight):
    if isinstance(weight, torch.Tensor):
        return weight.nbytes
    return sum(
        part.nbytes for part in vars(weight).values() if isinstance(part, torch.Tensor)
    ) + sum(part.nbytes for part in weight.buffers())


# In Python


def never_read(self, name):
    raise AssertionError("a weight was read")


LOADS = [  # twin, options, share of the needed memory that is free, what would fit
    (mn, {}, 0.99, "; these would fit: mmap=True"),
    (mn, {"dtype": "float64"}, 0.99, "; these would fit: mmap=True"),
    (mp, {"dtype": "float32"}, 0.99, '; these would fit: dtype="bfloat16", quantize="int8", mini'),
    (mp, {"dtype": "float32"}, 0.2, "; these would fit: minimistral.np with mmap=True"),
    (mp, {"dtype": "float32"}, 0.45, '; these would fit: quantize="int8", minimistral.np with'),
    (mp, {}, 0.99, '; these would fit: quantize="int8", minimistral.np with mmap=True'),
    (mp, {"quantize": "int8"}, 0.99, "; these would fit: minimistral.np with mmap=True"),
]  # fmt: skip


@pytest.mark.parametrize(("mm", "options", "share", "line"), LOADS)
def test_load_asks_before_a_weight_is_read(tmp_path, monkeypatch, mm, options, share, line):
    config = replace(CONFIG, dim=128, hidden_dim=512, n_layers=8, vocab_size=512)
    mp.save(mp.Mistral(config), tmp_path, dtype="bfloat16")
    usual = "bfloat16" if mm is mp else "float32"
    kind = options.get("quantize")
    needed = memory.needed_bytes(config, options.get("dtype", usual), kind)
    monkeypatch.setattr(memory, "free_memory", lambda: int(share * needed))
    with monkeypatch.context() as patch, pytest.raises(MemoryError) as refused:
        patch.setattr(checkpoint.Checkpoint, "read", never_read)
        mm.load(tmp_path, **options)
    dtype = kind or options.get("dtype", usual)
    assert str(refused.value).startswith(f"the weights in {dtype} need 0.0 GiB, but 0.0 GiB are")
    assert line in str(refused.value)
    assert mm.load(tmp_path, **options, check_memory=False).config == config
    monkeypatch.setattr(memory, "free_memory", lambda: needed)
    assert mm.load(tmp_path, **options).config == config


def test_load_asks_for_memory_that_it_takes(folder, monkeypatch):
    """Not for weights that stay in their file, or go to a device of their own."""
    monkeypatch.setattr(memory, "free_memory", lambda: 0)
    assert mn.load(folder, mmap=True).config == CONFIG
    assert mp.load(folder, device="meta").device.type == "meta"
    for mm in (mn, mp):
        with pytest.raises(MemoryError, match="the weights in float32 need"):
            mm.load(folder)


# Two formats in one folder


def test_the_format_chooses(folder, capsys):
    """The text is that of the model in the chosen format; without a choice, of Mistral's own."""
    texts = {}
    for words in ([], ["--format", "mistral"], ["--format", "hf"]):
        for backend in (NP, PT):
            assert main("generate", folder, "--prompt", "On", "--max-new-tokens", 6, *words,
                        *backend) == 0  # fmt: skip
            printed = capsys.readouterr()
            texts.setdefault(tuple(words), set()).add(printed.out)
            other = ("hf", "config.json") if "hf" not in words else ("mistral", "params.json")
            read = "params.json" if "hf" not in words else "config.json"
            assert printed.err.startswith(
                f"note: the folder holds two checkpoints; {read} is read,"
                f" --format {other[0]} reads {other[1]}\n"
            )
    assert texts[()] == texts[("--format", "mistral")] != texts[("--format", "hf")]
    assert all(len(text) == 1 for text in texts.values())


def test_inspect_says_that_there_are_two(folder, capsys):
    for words, format in (([], "mistral"), (["--format", "hf"], "hf")):
        assert main("inspect", folder, *words) == 0
        out = capsys.readouterr().out
        assert f"format      {format}, 1 file(s)" in out
        assert "note        the folder holds two checkpoints; " in out
        assert main("inspect", folder, "--json", *words) == 0
        facts = json.loads(capsys.readouterr().out)
        assert facts["format"] == format and len(facts["notes"]) == 1


def test_a_format_that_is_not_there(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m/config.json").unlink()
    assert checkpoint.formats_in(tmp_path / "m") == ["mistral"]
    for command in (["inspect"], ["generate", "--prompt", "a"], ["chat"]):
        assert main(command[0], tmp_path / "m", *command[1:], "--format", "hf") == 1
        err = capsys.readouterr().err
        assert "holds no checkpoint: it needs config.json with model.safetensors" in err
        assert err.count("\n") == 1
        assert main(command[0], tmp_path / "m", *command[1:], "--format", "gguf") == 2
        assert "--format" in capsys.readouterr().err
    assert main("inspect", tmp_path / "m") == 0
    assert "note " not in capsys.readouterr().out


def test_the_processes_get_the_format(folder):
    from minimistral.cli import processes

    args = parsed(str(folder), "--format", "hf", "--tensor-parallel", "2", *PT)
    assert "--format=hf" in processes._command_line(args)


def test_the_processes_get_every_option_of_sampling(folder):
    from minimistral.cli import processes

    options = ["--max-new-tokens=7", "--temperature=0.7", "--repetition-penalty=1.2", "--top-k=9",
               "--top-p=0.8", "--min-p=0.05", "--seed=3", "--chunk-size=5"]  # fmt: skip
    args = parsed(str(folder), "--tensor-parallel=2", *PT, *options)
    passed = processes._command_line(args)
    assert set(options) <= set(passed)
    names = {word.split("=")[0][2:].replace("-", "_") for word in passed if word[:2] == "--"}
    left_out = {name for name, value in vars(args).items() if value is not None} - names
    assert left_out <= {"command", "run", "model", "prompt", "mmap", "compiled", "block_sparse"}


# Keys of config.json that nobody reads


def test_keys_that_are_not_read_are_named(folder, tmp_path, capsys):
    shutil.copytree(folder, tmp_path / "m")
    (tmp_path / "m/params.json").unlink()
    file = tmp_path / "m/config.json"
    settings = json.loads(file.read_text())
    file.write_text(json.dumps(settings | {"auto_map": {"a": "b"}, "clip\x1b": 3, "none": None}))
    line = (
        "config.json has keys that are not read, here or by transformers' Mistral:"
        " 'auto_map', 'clip\\x1b'\n"
    )
    assert main("inspect", tmp_path / "m") == 0
    assert f"note        {line}" in capsys.readouterr().out
    assert main("generate", tmp_path / "m", "--prompt", "a", "--max-new-tokens", 2) == 0
    assert capsys.readouterr().err.startswith(f"note: {line}")


@pytest.mark.parametrize("value", [[1], [], False, "default"])
@pytest.mark.parametrize(("format", "file"), [("hf", "config.json"), ("mistral", "params.json")])
def test_inspect_of_a_rope_that_is_no_object(folder, tmp_path, capsys, format, file, value):
    shutil.copytree(folder, tmp_path / "m")
    settings = json.loads((tmp_path / "m" / file).read_text())
    (tmp_path / "m" / file).write_text(json.dumps(settings | {"rope_parameters": value}))
    assert main("inspect", tmp_path / "m", "--format", format) == 1
    err = capsys.readouterr().err
    assert "rope_parameters" in err and file in err and err.count("\n") == 1
    assert json.dumps(value) in err and "AttributeError" not in err
