"""The command line, on a checkpoint with the names, shards, config and tokenizer of v0.3."""

import io
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
from effort import rare

from minimistral import ModelConfig, cli, tiny
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.checkpoint import hf_name
from minimistral.checkpoint.configs import config_text
from minimistral.cli import chat, engine, inspect
from minimistral.config import version_of
from minimistral.pt import compiled
from minimistral.tokenizer import load as load_tokenizer
from minimistral.training import conversations as talk
from minimistral.training import corpus
from minimistral.training.examples import encode

ROOT = Path(__file__).parents[2]
V03 = ModelConfig.mistral_7b("v0.3")
# v0.3 except for its width
NARROW = replace(V03, dim=32, head_dim=4, hidden_dim=64)
V3 = load_tokenizer("v3")


@pytest.fixture(scope="session")
def v03(tmp_path_factory):
    """Folders in both published formats: bfloat16, Hugging Face's in three shards or more."""
    root = tmp_path_factory.mktemp("v03")
    model = mp.Mistral(NARROW, seed=1)
    for format in ("hf", "mistral"):
        mp.save(model, root / format, format, dtype="bfloat16", max_shard_bytes=2**21)
        shutil.copy(V3.file, root / format / "tokenizer.model.v3")
    return root


@pytest.fixture(scope="session")
def small(tmp_path_factory):
    """A model with a window, and 32,000 pieces of v1."""
    folder = tmp_path_factory.mktemp("small")
    config = ModelConfig(
        dim=16, n_layers=2, head_dim=4, hidden_dim=32, n_heads=4, n_kv_heads=2,
        window_size=8, context_len=64, vocab_size=32000,
    )  # fmt: skip
    mn.save(mn.Mistral(config), folder)
    shutil.copy(load_tokenizer("v1").file, folder / "tokenizer.model")
    return folder


def main(*words):
    return cli.main([str(word) for word in words])


PROGRAM = [sys.executable, "-P", "-m", "minimistral"]  # of the package that is tested


def process(*words, **options):
    """`python -m minimistral` as a user runs it."""
    options = {"capture_output": True, "timeout": 120, **options}
    return subprocess.run([*PROGRAM, *map(str, words)], **options)


def piped(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


# generate


def test_the_folders_are_as_published(v03):
    shards = sorted(path.name for path in (v03 / "hf").glob("*.safetensors"))
    assert len(shards) >= 3 and shards[0] == f"model-00001-of-0000{len(shards)}.safetensors"
    index = json.loads((v03 / "hf" / "model.safetensors.index.json").read_text())
    names = {hf_name(name) for name in V03.weight_shapes()}
    assert set(index["weight_map"]) == names and len(names) == 9 * 32 + 3
    assert json.loads((v03 / "mistral" / "params.json").read_text())["rope_theta"] == 1e6


@pytest.mark.parametrize(
    ("format", "sampling"),
    [("hf", {}), rare("mistral", {}),
     rare("hf", {"temperature": 1.5, "top_p": 0.9, "seed": 5}),
     ("mistral", {"temperature": 1.5, "top_p": 0.9, "seed": 5}),
     ("hf", {"repetition_penalty": 1.3}), rare("mistral", {"repetition_penalty": 1.3}),
     *(rare(name, {"temperature": 3.0, "top_k": 50, "seed": 5}) for name in ("hf", "mistral")),
     *(rare(name, {"temperature": 3.0, "min_p": 0.5, "seed": 5}) for name in ("hf", "mistral"))],
)  # fmt: skip
def test_np_and_pt_print_what_generate_gives(v03, capsys, format, sampling):
    options = [f"--{key.replace('_', '-')}={value}" for key, value in sampling.items()]
    printed = []
    for backend in ("np", "pt"):
        code = main("generate", v03 / format, "--prompt", "A wïndow of 4", "--backend", backend,
                    "--max-new-tokens", 12, "--chunk-size", 3, *options)  # fmt: skip
        assert code == 0
        printed.append(capsys.readouterr())
    assert printed[0].out == printed[1].out
    ids = V3.encode("A wïndow of 4")
    new = mn.generate(mn.load(v03 / format), ids, 12, stop_ids=[2], **sampling)
    assert printed[0].out == "A wïndow of 4" + "".join(V3.decode_stream(new, after=ids)) + "\n"
    cache = NARROW.cache_bytes(len(ids) + 12, "float32")
    for output in printed:
        last = lines_of(output.err)[-1]
        assert re.fullmatch(
            rf"\[{len(ids)} tokens read in [\d.]+ s; 12 written, [\d.]+ tokens/s;"
            rf" cache {cache:,} bytes\]",
            last,
        )


def test_the_shipped_model_says_the_same_with_np_and_pt(capsys):
    for options in ([], ["--temperature=0.8", "--seed=4"]):
        printed = []
        for backend in ("np", "pt"):
            assert main("generate", "--prompt", "The for statement", "--backend", backend,
                        *options) == 0  # fmt: skip
            printed.append(capsys.readouterr().out)
        assert printed[0] == printed[1]
        assert printed[0].startswith("The for statement") and len(printed[0]) > 100


def test_what_only_torch_has_comes_from_the_command_line(monkeypatch, capsys):
    """The shipped model writes the same text by a step to compile, and nearly the same in 8 bits.

    tests/twins/test_compiled.py compiles it.
    """
    steps = []
    monkeypatch.setattr(
        compiled, "_compiled_step", lambda device_type: steps.append(1) or compiled.step
    )
    plain = ["generate", "--prompt", "The for statement", "--backend", "pt", "--max-new-tokens", 20]
    printed = []
    for options in ([], ["--compiled"], ["--quantize", "int8"]):
        assert main(*plain, *options) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] and len(steps) == 19
    assert printed[2].startswith("The for statement") and len(printed[2]) > 30


def test_text_streams_as_it_comes(small, monkeypatch):
    written = []

    class Out(io.StringIO):
        def flush(self):
            written.append(self.getvalue())

    monkeypatch.setattr(sys, "stdout", Out())
    assert main("generate", small, "--prompt", "A b", "--max-new-tokens", 6) == 0
    assert len(set(written)) >= 6


def test_an_id_that_ends_the_text_is_not_shown(small, capsys):
    model, v1 = mn.load(small), load_tokenizer("v1")
    model.weights["output.weight"][3:] = 0  # only <unk>, <s> and </s> are likely
    model.weights["output.weight"][:3] *= 20
    ids = v1.encode("A b")
    seed = next(s for s in range(99) if 2 in mn.generate(model, ids, 20, temperature=1.0,
                                                       seed=s, stop_ids=[2])[2:19])  # fmt: skip
    expected = mn.generate(model, ids, 20, temperature=1.0, seed=seed, stop_ids=[2])
    folder = small.parent / "ends"
    mn.save(model, folder, overwrite=True)
    shutil.copy(v1.file, folder / "tokenizer.model")
    assert main("generate", folder, "--prompt", "A b", "--temperature", 1, "--seed", seed,
                "--max-new-tokens", 20) == 0  # fmt: skip
    printed = capsys.readouterr()
    assert f"; {len(expected)} written" in printed.err
    assert printed.out == "A b" + "".join(v1.decode_stream(expected[:-1], after=ids)) + "\n"


def test_the_prompt_may_be_piped(small, monkeypatch, capsys):
    assert main("generate", small, "--prompt", "A\nb", "--max-new-tokens", 5) == 0
    expected = capsys.readouterr().out
    piped(monkeypatch, "A\nb\n")
    assert main("generate", small, "--max-new-tokens", 5) == 0
    assert capsys.readouterr().out == expected


def test_ctrl_c_keeps_what_was_written(small, monkeypatch, capsys):
    original = engine.Generation.stream

    def interrupted(self, prompt, cache):
        for n, token in enumerate(original(self, prompt, cache)):
            if n == 3:
                raise KeyboardInterrupt
            yield token

    assert main("generate", small, "--prompt", "A b", "--max-new-tokens", 9) == 0
    whole = capsys.readouterr().out
    monkeypatch.setattr(engine.Generation, "stream", interrupted)
    assert main("generate", small, "--prompt", "A b", "--max-new-tokens", 9) == 130
    printed = capsys.readouterr()
    assert printed.out.endswith("\n") and len(printed.out) > len("A b\n")
    assert whole.startswith(printed.out.rstrip("\n�"))
    assert "tokens/s; cache" in lines_of(printed.err)[-1]


# A process of its own: signals, pipes, locales


def test_a_real_ctrl_c(v03):
    words = ["--prompt", "On", "--max-new-tokens", "20000"]
    command = [*PROGRAM, "generate", str(v03 / "mistral"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        first = running.stdout.read(12)
        running.send_signal(signal.SIGINT)
        out, err = running.communicate(timeout=60)
    assert running.returncode == 130
    assert first.startswith(b"On") and out.endswith(b"\n")
    assert b"Traceback" not in err and b"tokens/s; cache" in err


def test_a_reader_that_goes_away(v03):
    words = ["--prompt", "On", "--max-new-tokens", "20000"]
    command = [*PROGRAM, "generate", str(v03 / "mistral"), *words]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        assert running.stdout.read(5)
        running.stdout.close()
        err = running.stderr.read()
        assert running.wait(timeout=60) == 141
    assert err == b""


def test_pipes_and_a_locale_without_utf_8(small):
    environment = {**os.environ, "LC_ALL": "C", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii"}
    done = process("generate", small, "--max-new-tokens", 8, input="Ünï 🐻".encode(),
                   env=environment)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert done.stdout.decode().startswith("Ünï 🐻")
    assert done.stderr.decode().count("\n") == 1


def test_python_m_is_the_same_program():
    done = process("--help")
    assert done.returncode == 0 and done.stdout.decode().startswith("usage: minimistral ")
    for command in cli.COMMANDS:
        assert f"  {command} " in done.stdout.decode()


def test_help_comes_without_the_heavy_packages(small):
    heavy = ["torch", "numpy", "sentencepiece", "mistral_common", "transformers", "matplotlib"]
    for words, absent in {
        "--help": heavy,
        "generate --help": [*heavy[3:], "torch"],
        f"generate {small} --prompt x --max-new-tokens 1": ["torch", *heavy[3:]],
    }.items():
        code = (
            f"import sys; from minimistral.cli import main; code = main({words.split()!r})\n"
            f"sys.exit(code or ' '.join(set({absent!r}) & set(sys.modules)) or 0)"
        )
        done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        assert done.returncode == 0, (words, done.stderr)


# chat


def expected_answers(folder, lines, n, system=None):
    """Each answer computed from the whole conversation, without keeping a cache."""
    model, messages, answers = mn.load(folder), [], []
    if system:
        messages.append({"role": "system", "content": system})
    for line in lines:
        messages.append({"role": "user", "content": line})
        new = mn.generate(model, V3.chat(messages), n, stop_ids=[2])
        answers.append("".join(V3.decode_stream(token for token in new if token != 2)))
        messages.append({"role": "assistant", "content": answers[-1].strip()})
    return answers


@pytest.mark.parametrize(
    ("format", "system"),
    [("hf", None), rare("hf", "Be brief."), rare("hf", chat.GUARDRAIL),
     rare("mistral", None), ("mistral", "Be brief."), ("mistral", chat.GUARDRAIL)],
)  # fmt: skip
def test_a_conversation(v03, monkeypatch, capsys, format, system):
    lines = ["Hello there", "And now?", "Why [/INST] not?"]
    options = [] if system is None else ["--system", system]
    if system == chat.GUARDRAIL:
        options = ["--guardrail"]
    piped(monkeypatch, "\n\n".join(lines) + "\n")
    assert main("chat", v03 / format, "--max-new-tokens", 6, *options) == 0
    printed = capsys.readouterr()
    answers = expected_answers(v03 / format, lines, 6, system)
    assert printed.out == "".join(answer + "\n" for answer in answers)
    assert printed.err.count("cache") == 3 and len(lines_of(printed.err)) == 4
    assert lines_of(printed.err)[0] == "chat template: Mistral's v3"


def test_np_and_pt_chat_alike(v03, monkeypatch, capsys):
    printed = []
    for backend in ("np", "pt"):
        piped(monkeypatch, "Hi\nBye\n")
        assert main("chat", v03 / "hf", "--max-new-tokens", 5, "--backend", backend) == 0
        printed.append(capsys.readouterr().out)
    assert printed[0] == printed[1] != ""


def test_the_cache_reads_a_turn_only_once(v03, monkeypatch, capsys):
    """As long as the template only adds ids, only the new ids are read."""
    model = mn.load(v03 / "mistral")
    args = cli.make_parser("chat").parse_args(["chat", "x", "--max-new-tokens", "4"])
    talk = chat.Conversation(mn, model, V3, args)
    talk.say("Hi")
    first = talk.generation.n_prompt
    # `same`: the tokenizer splits the answer as the model wrote it.
    ids = V3.chat([*talk.messages, {"role": "user", "content": "Bye"}])
    assert ids[:first] == talk.cached_ids[:first]
    same = ids[: len(talk.cached_ids)] == talk.cached_ids
    talk.say("Bye")
    assert talk.generation.n_prompt == (len(ids) - first - 3 if same else len(ids))
    assert int(talk.cache.seen[0]) == len(talk.cached_ids)


def test_reset_forgets_all_but_the_system_prompt(v03, monkeypatch, capsys):
    piped(monkeypatch, "Hi\n/reset\n\nHi\n/quit\nnever read\n")
    assert main("chat", v03 / "hf", "--max-new-tokens", 5, "--system", "Be brief.") == 0
    answers = capsys.readouterr().out.split("\n")
    assert len(answers) == 3 and answers[0] == answers[1] != ""


@pytest.mark.parametrize(
    ("changes", "words", "slots"),
    [
        ({"context_len": 64}, [], 64), ({"context_len": 9000}, [], 8192),
        ({"context_len": 64}, ["--context", "100"], 100),
        ({"context_len": 64, "window_size": 16}, [], 16),
        ({"context_len": 64, "window_size": 16}, ["--context", "8"], 16),
    ],
)  # fmt: skip
def test_the_cache_of_a_chat(changes, words, slots):
    """A window bounds it; without one it is for the model's context, or for what is asked."""
    model = mn.Mistral(replace(ModelConfig.tiny(), **{"window_size": None} | changes))
    args = cli.make_parser("chat").parse_args(["chat", "x", *words])
    assert chat.Conversation(mn, model, V3, args).cache.n_slots == slots


def test_ids_to_stop_at_that_the_model_has_not_are_left_out():
    """A config of a larger vocabulary names them; no model of this one writes them."""
    model = mn.Mistral(ModelConfig.tiny())
    args = cli.make_parser("generate").parse_args(["generate", "--max-new-tokens", "3"])
    generation = engine.Generation(mn, model, args, [2, -1, 767, 768, 40_000])
    assert generation.stop_ids == [2, 767]
    assert list(generation.stream([1], model.new_cache(1)))


def test_a_prompt_beside_weights_on_disk_is_read_in_chunks(small):
    """Computing so many takes longer than reading the weights, which each chunk does once."""
    for words, chunk_size in ((["--mmap"], 512), (["--mmap", "--chunk-size", "7"], 7), ([], None)):
        args = cli.make_parser("generate").parse_args(["generate", str(small), *words])
        engine.load(small, args)
        assert args.chunk_size == chunk_size


def test_v1_s_template_and_a_window(small, monkeypatch, capsys):
    v1, model = load_tokenizer("v1"), mn.load(small)
    piped(monkeypatch, "Hi, this is longer than the window of eight tokens\n")
    assert main("chat", small, "--max-new-tokens", 5) == 0
    ids = v1.chat(
        [{"role": "user", "content": "Hi, this is longer than the window of eight tokens"}]
    )
    expected = "".join(v1.decode_stream(mn.generate(model, ids, 5, stop_ids=[2])))
    printed = capsys.readouterr()
    assert printed.out == expected + "\n"
    assert f"cache {model.config.cache_bytes(8, 'float32'):,} bytes" in printed.err


def test_a_full_cache_ends_the_turn_not_the_conversation(v03, monkeypatch, capsys):
    piped(monkeypatch, f"{'word ' * 40}\nHi\n")
    assert main("chat", v03 / "hf", "--max-new-tokens", 5, "--context", 20) == 1
    printed = capsys.readouterr()
    _, first, second = lines_of(printed.err)
    assert first.startswith("minimistral chat: error: cache is full") and "/reset" in first
    assert first.endswith("; the chat continues without this line")
    assert printed.out == expected_answers(v03 / "hf", ["Hi"], 5)[0] + "\n"
    assert "tokens/s" in second


def test_ctrl_c_stops_an_answer_and_the_conversation_goes_on(v03, monkeypatch, capsys):
    model = mn.load(v03 / "mistral")
    args = cli.make_parser("chat").parse_args(["chat", "x", "--max-new-tokens", "6"])
    talk = chat.Conversation(mn, model, V3, args)
    original = engine.Generation.stream

    def interrupted(self, prompt, cache):
        for n, token in enumerate(original(self, prompt, cache)):
            yield token
            if n == 2:
                raise KeyboardInterrupt

    monkeypatch.setattr(engine.Generation, "stream", interrupted)
    assert talk.say("Hi") is False
    monkeypatch.undo()
    partial = capsys.readouterr().out
    assert talk.messages[-1]["role"] == "assistant" and partial.endswith("\n")
    assert talk.say("Go on") is True
    messages = [*talk.messages[:-1]]
    new = mn.generate(model, V3.chat(messages), 6, stop_ids=[2])
    assert capsys.readouterr().out == "".join(V3.decode_stream(t for t in new if t != 2)) + "\n"


def test_a_terminal_is_asked_for_lines(v03, monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self):
            return True

    asked = iter(["Hi", ""])

    def ask(prompt):
        assert prompt == "> "
        try:
            return next(asked)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("builtins.input", ask)
    assert main("chat", v03 / "hf", "--max-new-tokens", 3) == 0
    assert "/reset" in capsys.readouterr().err
    monkeypatch.setattr("builtins.input", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
    assert main("chat", v03 / "hf", "--max-new-tokens", 3) == 130


# chat without MODEL

SHIPPED_CHAT = [f"model: {chat.SHIPPED}", "chat template: Mistral's v1"]


@pytest.mark.parametrize("backend", ["np", "pt"])
def test_a_chat_with_the_shipped_model(monkeypatch, capsys, backend):
    """It knows what it was taught, and refuses what is not Python; the answers alone are piped."""
    taught = next(c for c in talk.load() if c.topic == "str.lower" and c.kind == "what")
    piped(monkeypatch, f"{taught.turns[0]}\n/reset\nWhat is gravity?\n")
    assert main("chat", "--backend", backend) == 0
    printed = capsys.readouterr()
    assert printed.out == f"{taught.turns[1]}\n{talk.REFUSAL}\n"
    assert lines_of(printed.err)[:2] == SHIPPED_CHAT and len(lines_of(printed.err)) == 4


def test_the_shipped_model_chats_in_the_template_that_it_was_taught_in(monkeypatch, capsys):
    """Turn after turn the ids are those of the training example, up to the end."""
    second = next(c for c in talk.load() if c.part == "training" and c.kind == "second turn")
    example = encode(load_tokenizer(tiny.INSTRUCT), second)
    args = cli.make_parser("chat").parse_args(["chat"])
    conversation = chat.Conversation(*engine.load(tiny.INSTRUCT, args), args)
    for question in second.turns[::2]:
        conversation.say(question)
    assert capsys.readouterr().out == "".join(f"{answer}\n" for answer in second.turns[1::2])
    assert conversation.cached_ids == example.ids[:-1]  # the last one was written, not yet read


def test_a_chat_with_a_model_does_not_name_the_shipped_one(monkeypatch, capsys):
    piped(monkeypatch, "")
    assert main("chat", tiny.INSTRUCT) == 0
    assert lines_of(capsys.readouterr().err) == SHIPPED_CHAT[1:]


def test_the_help_says_whom_a_chat_without_a_model_is_with(capsys):
    assert main("chat", "--help") == 0
    text = " ".join(capsys.readouterr().out.split())
    assert "[MODEL]" in text and "the shipped tiny instruct model if not given" in text


# inspect


def sparse_v03(folder):
    """v0.3 at full size, in three shards: real headers, and zeros that take no space on disk."""
    shapes = {hf_name(name): shape for name, shape in V03.weight_shapes().items()}
    names, where = list(shapes), {}
    for n, part in enumerate([names[:97], names[97:194], names[194:]], 1):
        file, header, end = folder / f"model-0000{n}-of-00003.safetensors", {}, 0
        for name in part:
            size = 2 * shapes[name][0] * (shapes[name][1] if len(shapes[name]) > 1 else 1)
            header[name] = {
                "dtype": "BF16",
                "shape": shapes[name],
                "data_offsets": [end, end + size],
            }
            end, where[name] = end + size, file.name
        data = json.dumps(header).encode()
        with open(file, "wb") as stream:
            stream.write(len(data).to_bytes(8, "little") + data)
            stream.truncate(8 + len(data) + end)
        if file.stat().st_blocks * 512 > 2**24:
            pytest.skip("this file system has no sparse files")
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    (folder / "config.json").write_text(config_text(V03, "hf", "bfloat16"))
    shutil.copy(V3.file, folder / "tokenizer.model.v3")


def test_inspect_recognises_v03_at_its_full_size_and_reads_no_weight(tmp_path, capsys):
    sparse_v03(tmp_path)
    assert main("inspect", tmp_path) == 0
    out = capsys.readouterr().out
    for words in (
        "Mistral 7B v0.3", "7,248,023,552", "13.50 GiB (14,496,047,104 bytes)", "3 file(s)",
        "tokenizer.model.v3, v3, 32,768 pieces", "rope_theta      1,000,000",
        "window_size          none", "cache at 32,768 tokens, bfloat16: 4.00 GiB",
        "32 of 1,024 × 4,096",
    ):  # fmt: skip
        assert words in out, words
    assert "float32: " in out and "bfloat16: " in out and re.search(r"bfloat16: (yes|no)", out)
    assert main("inspect", tmp_path, "--json") == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["version"] == version_of(V03) == "v0.3"
    assert facts["bytes"] == facts["weights_bytes"]["bfloat16"] == 2 * V03.n_params
    assert len(facts["tensors"]) == 9 * 32 + 3
    memory = facts["memory"][0]
    needed = 2 * V03.n_params + V03.cache_bytes(32768)
    assert memory["fits"]["bfloat16"] is (needed <= memory["free"])


@pytest.mark.parametrize("format", ["hf", "mistral"])
def test_inspect_of_the_narrow_one(v03, capsys, format):
    assert main("inspect", v03 / format) == 0
    out = capsys.readouterr().out
    assert "none of the published ones" in out and f"{NARROW.n_params:,}" in out
    assert "layers.0-31.feed_forward.w2.weight" in out and "dim                    32" in out
    assert main("inspect", v03 / format, "--all") == 0
    assert "layers.17.feed_forward.w2.weight" in capsys.readouterr().out


def test_inspect_says_what_is_odd(small, tmp_path, capsys):
    folder = tmp_path / "odd"
    shutil.copytree(small, folder)
    params = json.loads((folder / "params.json").read_text())
    del params["rope_theta"]
    (folder / "params.json").write_text(json.dumps(params))
    shutil.copy(V3.file, folder / "tokenizer.model")
    assert main("inspect", folder) == 0
    out = capsys.readouterr().out
    assert "has no rope_theta; 10000 is assumed" in out
    assert "32,768 pieces, but vocab_size is 32,000" in out
    (folder / "tokenizer.model").unlink()
    assert main("inspect", folder) == 0
    assert "tokenizer   none: " in capsys.readouterr().out


def test_inspect_counts_weights_and_cache(small, monkeypatch, capsys):
    """All that is free may be used, and one byte less is too little."""
    config = mn.load(small).config
    cache = config.cache_bytes(64, "bfloat16")
    for dtype, size in {"float32": 4, "bfloat16": 2, "int8": 1}.items():
        needed = size * config.n_params + cache
        for free, fits in ((needed, True), (needed - 1, False)):
            monkeypatch.setattr(inspect, "_memory", lambda free=free: [("memory", free)])
            assert main("inspect", small, "--json") == 0
            facts = json.loads(capsys.readouterr().out)
            assert facts["memory"][0]["fits"][dtype] is fits
            assert list(facts["cache_bytes_bfloat16"]) == ["64", "1024", "4096", "8192", "32768"]
            assert main("inspect", small) == 0
            out = capsys.readouterr().out
            assert f"{dtype}: {'yes' if fits else 'no'}" in out
            assert ("--backend np --mmap" in out) is not (dtype == "float32" and fits)


def test_inspect_of_a_single_layer(tmp_path, capsys):
    mn.save(mn.Mistral(replace(ModelConfig.tiny(), n_layers=1)), tmp_path)
    assert main("inspect", tmp_path) == 0
    out = capsys.readouterr().out
    assert "  layers.0.attention.wq.weight " in out and "0-0" not in out and "1 of" not in out


def test_inspect_of_the_shipped_model(capsys):
    assert main("inspect") == 0
    out = capsys.readouterr().out
    assert f"{ModelConfig.tiny().n_params:,}" in out and "note " not in out


# train


def test_train_by_its_command(tmp_path, monkeypatch, capsys):
    texts = ("the cat sat on the mat. " * 60, "the dog sat on the cat.\n")
    config = replace(ModelConfig.tiny(), dim=32, hidden_dim=32, n_layers=2, vocab_size=280)
    monkeypatch.setattr(corpus, "split", lambda: texts)
    monkeypatch.setattr(ModelConfig, "tiny", classmethod(lambda cls: config))
    words = ["train", "--out", tmp_path / "m", "--steps", 4, "--checkpoint-every", 2,
             "--batch-size", 2, "--seq-len", 16]  # fmt: skip
    assert main(*words) == 0
    assert "held-out bits per byte" in capsys.readouterr().out
    assert main(*words) == 1
    assert lines_of(capsys.readouterr().err)[-1].endswith("overwrite starts again")
    assert main(*words, "--overwrite") == 0
    assert main("generate", tmp_path / "m", "--prompt", "the cat", "--max-new-tokens", 3) == 0


# What can go wrong


@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        ([], 2, "COMMAND"),
        (["nothing"], 2, "'nothing'"),
        (["--nothing"], 2, "COMMAND"),
        (["generate", "--nothing", "--prompt", "a"], 2, "--nothing"),
        (["generate", "--prompt"], 2, "--prompt"),
        (["generate", "--prompt", ""], 2, "--prompt"),
        (["generate", "--prompt", "\udc80"], 2, "--prompt"),
        (["generate", "--prompt", "a", "--temp", "1"], 2, "--temp"),
        (["generate", "--prompt", "a", "--temperature", "-1"], 2, "--temperature"),
        (["generate", "--prompt", "a", "--temperature", "nan"], 2, "--temperature"),
        (["generate", "--prompt", "a", "--temperature", "hot"], 2, "--temperature"),
        (["generate", "--prompt", "a", "--top-p", "0"], 2, "--top-p"),
        (["generate", "--prompt", "a", "--top-p", "1.1"], 2, "--top-p"),
        (["generate", "--prompt", "a", "--top-k", "0"], 2, "--top-k"),
        (["generate", "--prompt", "a", "--min-p", "1.1"], 2, "--min-p"),
        (["generate", "--prompt", "a", "--repetition-penalty", "0"], 2, "--repetition-penalty"),
        (["generate", "--prompt", "a", "--max-new-tokens", "0"], 2, "--max-new-tokens"),
        (["generate", "--prompt", "a", "--max-new-tokens", "1.5"], 2, "--max-new-tokens"),
        (["generate", "--prompt", "a", "--max-new-tokens", 2**62], 2, f"must be below {2**62}"),
        (["generate", "--prompt", "a", "--chunk-size", "0"], 2, "--chunk-size"),
        (["generate", "--prompt", "a", "--seed", "-1"], 2, "--seed"),
        (["generate", "--prompt", "a", "--backend", "tf"], 2, "--backend"),
        (["generate", "--prompt", "a", "--device", "cpu"], 2, "--device"),
        (["generate", "--prompt", "a", "--quantize", "int8"], 2, "--quantize"),
        (["generate", "--prompt", "a", "--compiled"], 2, "--compiled"),
        (["chat", "no/such", "--block-sparse"], 2, "--block-sparse"),
        (["generate", "--prompt", "a", "--backend", "pt", "--quantize", "int4"], 1, "w2"),
        (["generate", "--prompt", "a", "--backend", "pt", "--device", "tpu9"], 2, "--device"),
        (["generate", "--prompt", "a", "--backend", "pt", "--device", "meta"], 2, "--device"),
        (["generate", "--prompt", "a", "--dtype", "bfloat16"], 2, "--dtype"),
        (["generate", "--prompt", "a", "--dtype", "int4"], 2, "--dtype"),
        (["generate", "no/such", "--prompt", "a"], 1, "no/such"),
        (["generate", "README.md", "--prompt", "a"], 1, "README.md"),
        (["generate", "tests", "--prompt", "a"], 1, "holds no checkpoint"),
        (["chat", "--tools", ""], 2, "--tools"),
        (["chat", "no/such"], 1, "no/such"),
        (["chat", "tests", "--system", "a", "--guardrail"], 2, "--guardrail"),
        (["chat", "tests", "--system", " "], 2, "--system"),
        (["chat", "tests", "--tokenizer-version", "v7"], 2, "--tokenizer-version"),
        (["chat", "tests", "--context", "0"], 2, "--context"),
        (["inspect", "no/such"], 1, "no/such"),
        (["inspect", "tests"], 1, "holds no checkpoint"),
        (["train", "--steps", "0"], 2, "steps"),
        (["train", "--steps", "many"], 2, "--steps"),
        (["train", "--dropout", "1"], 2, "dropout"),
        (["train", "--device", "tpu9"], 2, "device"),
        (["train", "--threads", "0"], 2, "threads"),
        (["train", "--out", "tests", "--resume"], 1, "tests"),
        (["train", "--out", "tests"], 1, "tests is not empty"),
    ],
)  # fmt: skip
def test_one_line_says_what_is_wrong(words, code, named, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    piped(monkeypatch, "")
    assert main(*words) == code
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.count("\n") == 1 and printed.err.startswith("minimistral"), printed.err
    assert named in printed.err and "Traceback" not in printed.err


def test_a_terminal_needs_a_prompt(monkeypatch, capsys):
    monkeypatch.setattr(sys.stdin, "isatty", lambda: True, raising=False)
    assert main("generate") == 2
    assert "--prompt" in capsys.readouterr().err


def test_a_broken_checkpoint_is_one_line(v03, tmp_path, capsys):
    shutil.copytree(v03 / "hf", tmp_path / "m")
    shard = sorted((tmp_path / "m").glob("*.safetensors"))[1]
    shard.write_bytes(shard.read_bytes()[:-100])
    for command in (["inspect"], ["generate", "--prompt", "a"]):
        assert main(command[0], tmp_path / "m", *command[1:]) == 1
        err = capsys.readouterr().err
        assert shard.name in err and err.count("\n") == 1


def test_a_tokenizer_of_another_model(v03, small, tmp_path, capsys):
    shutil.copytree(small, tmp_path / "m")
    shutil.copy(V3.file, tmp_path / "m" / "tokenizer.model")
    assert main("generate", tmp_path / "m", "--prompt", "a") == 1
    assert "has 32768 pieces, but the model's vocab_size is 32000" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (MemoryError(), "out of memory"),
        (RuntimeError("CUDA out\nof memory"), "RuntimeError: CUDA out of memory"),
        (PermissionError(13, "Permission denied", "/x"), "/x: Permission denied"),
        (KeyError("x"), "KeyError: 'x'"),
        (
            RuntimeError("InvalidCxxCompiler: No working C++ compiler found in x\nargs[0]: …"),
            "torch found no C++ compiler, which --compiled and --block-sparse need on a CPU;"
            " install g++ or leave them out",
        ),
        (
            RuntimeError("CppCompileError: x.h:1:10: fatal error: Python.h: No such file or dire"),
            "the C++ compiler found no Python.h, which --compiled and --block-sparse need on a CPU;"
            " install this Python's headers (Debian's python3-dev) or leave them out",
        ),
    ],
)
def test_what_nobody_thought_of_is_one_line_too(small, monkeypatch, capsys, error, line):
    def fail(*_args, **_options):
        raise error

    monkeypatch.setattr(engine, "load", fail)
    assert main("generate", small, "--prompt", "a") == 1
    assert capsys.readouterr().err == f"minimistral generate: error: {line}\n"
    monkeypatch.setenv("MINIMISTRAL_DEBUG", "1")
    with pytest.raises(type(error)):
        main("generate", small, "--prompt", "a")


# The commands in the help and the README parse


@pytest.mark.parametrize("command", cli.COMMANDS)
def test_help_has_examples_that_parse(command, capsys):
    assert main(command, "--help") == 0
    out = capsys.readouterr().out
    examples = re.findall(r"^  .*?(minimistral .*)", out.split("examples:")[1], re.MULTILINE)
    assert len(examples) >= 3
    for example in examples:
        words = shlex.split(example.split(" | ")[0])[1:]
        assert words[0] == command
        cli.make_parser(command).parse_args(words)


def test_the_readme_s_commands_parse():
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^    \.venv/bin/minimistral ([^#\n]*)", readme, re.MULTILINE)
    assert len(commands) >= 5
    for command in commands:
        words = shlex.split(command)
        cli.make_parser(words[0]).parse_args(words)


def test_version(capsys):
    assert main("--version") == 0
    assert re.fullmatch(r"minimistral \d+\.\d+\.\d+\n", capsys.readouterr().out)


def test_the_default_model_is_the_shipped_one():
    for command in ("generate", "inspect"):
        assert cli.make_parser(command).parse_args([command]).model == tiny.FOLDER
