"""The command line's edge cases: closed streams, a terminal, tools, and what is checked first.

test_commands.py tests what the commands print.
"""

import contextlib
import io
import json
import os
import select
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace

import numpy as np
import pytest
from effort import rare

from minimistral import ModelConfig, cli
from minimistral import np as mn
from minimistral.cli import chat, engine
from minimistral.tokenizer import load as load_tokenizer

posix = pytest.mark.skipif(sys.platform == "win32", reason="needs POSIX streams")
V1, V3 = load_tokenizer("v1"), load_tokenizer("v3")
# v0.3 except for its width and depth
CONFIG = replace(
    ModelConfig.mistral_7b("v0.3"), dim=32, n_layers=2, n_heads=4, n_kv_heads=2, head_dim=8,
    hidden_dim=64,
)  # fmt: skip


@pytest.fixture(scope="session")
def folder(tmp_path_factory):
    root = tmp_path_factory.mktemp("cli") / "v03"
    mn.save(mn.Mistral(CONFIG, seed=1), root)
    shutil.copy(V3.file, root / "tokenizer.model.v3")
    return root


@pytest.fixture(scope="session")
def with_v1(tmp_path_factory):
    """v1's tokenizer has no control pieces such as [INST]."""
    root = tmp_path_factory.mktemp("cli") / "v1"
    mn.save(mn.Mistral(replace(CONFIG, vocab_size=32000), seed=1), root)
    shutil.copy(V1.file, root / "tokenizer.model")
    return root


@pytest.fixture
def no_weights(monkeypatch):
    """Makes a test fail if weights are read: errors must come before gigabytes are read."""

    def load(*_args, **_options):
        raise AssertionError("the weights were read")

    monkeypatch.setattr(mn, "load", load)


def main(*words):
    return cli.main([str(word) for word in words])


def command(*words):
    return [sys.executable, "-P", "-m", "minimistral", *map(str, words)]


def buffered():
    """The environment without PYTHONUNBUFFERED, so that Python flushes stdout only at exit."""
    return {name: value for name, value in os.environ.items() if name != "PYTHONUNBUFFERED"}


@contextlib.contextmanager
def nobody_reads():
    """The writing end of a pipe whose reading end is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    try:
        yield writer
    finally:
        os.close(writer)


def few(folder, *words):
    return ["generate", folder, "--prompt", "On", "--max-new-tokens", 4, *words]


# Streams that are closed, full, or not UTF-8


@posix
@pytest.mark.parametrize(
    "words",
    [
        ["--help"],
        ["--version"],
        ["generate", "--help"],
        rare(["inspect", None, "--all"]),
        few(None),
        ["progress"],
    ],
    ids=lambda words: words[0],
)
def test_output_that_nobody_reads_ends_quietly(folder, words):
    words = [folder if word is None else word for word in words]
    with nobody_reads() as out:
        done = subprocess.run(
            command(*words), stdout=out, stderr=subprocess.PIPE, env=buffered(), timeout=120
        )
    assert (done.returncode, done.stderr) == (141, b"")


@posix
def test_errors_that_nobody_reads_end_quietly(folder):
    """The text on stdout is complete even so."""
    with nobody_reads() as err:
        options = {"stdout": subprocess.PIPE, "stderr": err, "env": buffered(), "timeout": 120}
        done = subprocess.run(command(*few(folder)), **options)
        assert done.returncode == 141 and done.stdout.startswith(b"On")
        assert done.stdout.endswith(b"\n")
        for words, code in {("no/such",): 1, ("--device", "cpu"): 2}.items():
            done = subprocess.run(command("generate", "--prompt", "a", *words), **options)
            assert (done.returncode, done.stdout) == (code, b"")


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
@pytest.mark.parametrize("words", [["--help"], rare(["inspect", None]), few(None), ["progress"]])
def test_a_full_disk_is_one_line(folder, words):
    words = [folder if word is None else word for word in words]
    with open("/dev/full", "wb") as full:
        done = subprocess.run(
            command(*words), stdout=full, stderr=subprocess.PIPE, env=buffered(), timeout=120
        )
    assert done.returncode == 1
    assert done.stderr.count(b"\n") == 1 and b"No space left on device" in done.stderr


@posix
@pytest.mark.parametrize(
    ("name", "closed"),
    [rare("generate", 0), ("generate", 1), ("generate", 2),
     ("chat", 0), rare("chat", 1), rare("chat", 2)],
)  # fmt: skip
def test_a_stream_that_is_not_there(folder, name, closed):
    """A service may start a program with a closed stream. The other streams work."""
    words = few(folder) if name == "generate" else ["chat", folder, "--max-new-tokens", 4]
    done = subprocess.run(
        ["sh", "-c", f'exec "$@" {closed}{"<" if closed == 0 else ">"}&-', "sh", *command(*words)],
        input=None if closed == 0 else b"Hi\n", capture_output=True, timeout=120,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    answers = not (name == "chat" and closed == 0)
    assert bool(done.stdout) is (answers and closed != 1)
    lines = answers + (name == "chat")  # the summary, and the chat template
    assert done.stderr.count(b"\n") == (lines if closed != 2 else 0)
    assert b"tokens/s" not in done.stdout


@posix
def test_without_stdin_a_prompt_is_needed():
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *command("generate")], capture_output=True, timeout=120
    )
    assert done.returncode == 2 and done.stderr.count(b"\n") == 1 and b"--prompt" in done.stderr


def test_a_piped_prompt_that_is_no_utf_8(folder):
    done = subprocess.run(
        command("generate", folder, "--max-new-tokens", 2), input=b"a\xffb", capture_output=True,
        timeout=120,
    )  # fmt: skip
    assert done.returncode == 0 and done.stdout.decode().startswith("a\ufffdb")


def test_the_prompt_is_shown_before_it_is_read(folder, monkeypatch):
    """At 7B, reading a long prompt takes a while."""
    shown, read = io.StringIO(), []

    class Out(io.StringIO):
        def flush(self):
            shown.truncate(0)
            shown.seek(0)
            shown.write(self.getvalue())

    original = mn.stream

    def stream(*args, **options):
        read.append(shown.getvalue())
        return original(*args, **options)

    monkeypatch.setattr(sys, "stdout", Out())
    monkeypatch.setattr(mn, "stream", stream)
    assert main(*few(folder)) == 0
    assert read == ["On"]


# Errors are reported before the weights are read


TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": "of two numbers",
            "parameters": {"type": "object", "properties": {"a": {"type": "integer"}}},
        },
    }
    for name in ("add", "multiply")
]


@pytest.fixture
def tools_file(tmp_path):
    file = tmp_path / "tools.json"
    file.write_text(json.dumps(TOOLS), encoding="utf-8")
    return file


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    ("words", "code", "named"),
    [
        (
            ["generate", "pyproject.toml", "--prompt", "a"],
            1,
            "path must be a folder, not the file pyproject.toml",
        ),
        (["generate", "no/such", "--prompt", "a"], 1, "there is no folder no/such"),
        (["generate", "", "--prompt", "a"], 1, "path must name a folder, but is empty"),
        (["generate", "a\0b", "--prompt", "a"], 1, "there is no folder a"),
        (["generate", "no/such", "--prompt", "a", "--device", "cpu"], 2, "--device"),
        (["chat", "no/such"], 1, "there is no folder no/such"),
        (["chat", "V3", "--system", "\udcff"], 2, "--system"),
        (["chat", "V3", "--system", " \n"], 2, "--system"),
        (["chat", "V1", "--tokenizer-version", "v3"], 1, "version must be v1 for"),
        (["chat", "V1", "--tokenizer-version", "v2"], 1, "version must be v1 for"),
        (["chat", "V3", "--tools"], 2, "--tools"),
        (["chat", "V3", "--tools", "no/such.json"], 1, "no/such.json"),
        (["chat", "V1", "--tools", "TOOLS"], 2, "--tools"),
        (["chat", "V3", "--tokenizer-version", "v2", "--tools", "TOOLS"], 2, "--tools"),
    ],
)
def test_bad_command_lines(folder, with_v1, tools_file, capsys, words, code, named):
    names = {"V3": folder, "V1": with_v1, "TOOLS": tools_file}
    assert main(*(names.get(word, word) for word in words)) == code
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1, printed.err
    assert printed.err.startswith("minimistral") and named in printed.err
    assert "Traceback" not in printed.err


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize(
    "content",
    ["not json", "{}", "[]", "[1]", '["add"]', '[{"type": "function"}]',
     '[{"function": {"name": "no spaces", "parameters": {}}}]', b"\xff"],
)  # fmt: skip
def test_a_file_of_tools_that_is_none(folder, tools_file, capsys, content):
    tools_file.write_bytes(content if isinstance(content, bytes) else content.encode())
    assert main("chat", folder, "--tools", tools_file) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and printed.err.count("\n") == 1
    assert str(tools_file) in printed.err


@pytest.mark.usefixtures("no_weights")
def test_a_tokenizer_of_another_model_is_seen_first(with_v1, tmp_path, capsys):
    shutil.copytree(with_v1, tmp_path / "m")
    shutil.copy(V3.file, tmp_path / "m" / "tokenizer.model.v3")
    assert main(*few(tmp_path / "m")) == 1
    assert "32768 pieces, but the model's vocab_size is 32000" in capsys.readouterr().err


def test_a_v1_tokenizer_may_be_named_so(with_v1, monkeypatch, capsys):
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n"))
    assert main("chat", with_v1, "--tokenizer-version", "v1", "--max-new-tokens", 2) == 0


@pytest.mark.parametrize("backend", ["np", "pt"])
def test_no_memory_is_one_line(folder, capsys, backend):
    """With its positions this cache exceeds an address space, though its keys and values do not."""
    n = 54 * 10**10
    assert CONFIG.cache_bytes(n, "float32") < 2**47 < CONFIG.cache_bytes(n, "float32") + 8 * n
    assert main(*few(folder, "--backend", backend, "--max-new-tokens", n)) == 1
    err = capsys.readouterr().err
    assert err.startswith("minimistral generate: error: out of memory: ")
    assert err.count("\n") == 1


@pytest.mark.usefixtures("no_weights")
@pytest.mark.parametrize("backend", ["np", "pt"])
def test_what_no_machine_holds_is_one_line(folder, capsys, backend):
    words = {"generate": few(folder, "--max-new-tokens", 10**14), "chat": ["chat", folder]}
    option = {"generate": "--max-new-tokens", "chat": "--context"}
    for command in words:
        extra = ["--context", 10**14] if command == "chat" else []
        assert main(*words[command], *extra, "--backend", backend) == 1
        err = capsys.readouterr().err
        assert err.startswith(
            f"minimistral {command}: error: {option[command]} must be smaller, not 10000"
        )
        assert err.count("\n") == 1


# Function calling


class Scripted:
    """An engine that says what the script says. As in mn, the cache reads all but the last id."""

    def __init__(self, *answers):
        self.answers, self.prompts = list(answers), []

    def stream(self, model, prompt, _n, *, cache, **_options):
        before = [] if not cache.seen[0] else self.prompts[-1]
        new = self.answers.pop(0)
        for token in prompt + new[:-1]:
            model(np.array([[token]]), cache)
        self.prompts.append([*before, *prompt, *new[:-1]])
        yield from new


def said(text, control=None):
    start = [] if control is None else [V3.control_ids[control]]
    return [*start, *V3.encode(text, bos=False), V3.eos_id]


def talk_with(folder, *answers):
    script = Scripted(*answers)
    args = cli.make_parser("chat").parse_args(["chat", "x", "--max-new-tokens", "400"])
    return script, chat.Conversation(script, mn.load(folder), V3, args, TOOLS)


CALLS = [
    {"name": "add", "arguments": {"a": 1, "word": "é"}, "id": "VvvODy9mT"},
    {"name": "multiply", "arguments": {"a": 2}},
]


def test_a_model_calls_tools_and_reads_their_results(folder, capsys):
    calls = json.dumps(CALLS, ensure_ascii=False)
    script, talk = talk_with(folder, said(calls, "[TOOL_CALLS]"), said("It is 3."))
    assert chat._turn(talk, "What is it?", interactive=False) == 0
    printed = capsys.readouterr()
    assert json.loads(printed.out) == CALLS and "tokens/s" in printed.err
    assert [call["name"] for call in talk.tool_calls] == ["add", "multiply"]
    assert chat._turn(talk, "1", interactive=False) == 0
    assert capsys.readouterr() == ("", ""), "the second result is still to come"
    assert chat._turn(talk, "2", interactive=False) == 0
    assert capsys.readouterr().out == "It is 3.\n"
    assert talk.tool_calls == []
    # The model has read the whole conversation in the template.
    first, second = CALLS
    sent = [
        {"id": call_id, "function": {"name": call["name"], "arguments": json.dumps(
            call["arguments"], ensure_ascii=False)}}
        for call, call_id in ((first, "VvvODy9mT"), (second, "000000002"))
    ]  # fmt: skip
    messages = [
        {"role": "user", "content": "What is it?"},
        {"role": "assistant", "content": "", "tool_calls": sent},
        {"role": "tool", "name": "add", "content": "1", "tool_call_id": "VvvODy9mT"},
        {"role": "tool", "name": "multiply", "content": "2", "tool_call_id": "000000002"},
    ]
    assert script.prompts[-1] == V3.chat(messages, TOOLS) + said("It is 3.")[:-1]
    assert talk.messages == [*messages, {"role": "assistant", "content": "It is 3."}]


def test_calls_have_ids_of_their_own(folder, capsys):
    """Different ones in one conversation, of nine characters as the template requires."""
    call = json.dumps([{"name": "add", "arguments": {}, "id": "too long for v3"}])
    _, talk = talk_with(folder, *[said(call, "[TOOL_CALLS]")] * 3)
    for line in ("Add", "1", "2"):
        assert chat._turn(talk, line, interactive=False) == 0
    ids = [call["id"] for m in talk.messages for call in m.get("tool_calls", [])]
    assert ids == ["000000001", "000000002", "000000003"]


@pytest.mark.parametrize(
    ("answer", "line"),
    [
        ('[{"name": "add", "argum', "not a complete JSON list of calls"),
        ('[{"name": "a b c!", "arguments": {}}]', "messages must fit the v3 template"),
        ('[{"name": 7, "arguments": {}}]', "messages must fit the v3 template"),
    ],
)
def test_a_tool_call_that_cannot_be_answered_is_forgotten(folder, capsys, answer, line):
    script, talk = talk_with(folder, said(answer, "[TOOL_CALLS]"), said("Hello."))
    assert chat._turn(talk, "Add", interactive=False) == 1
    err = capsys.readouterr().err
    assert line in err and err.count("\n") == 1
    assert talk.messages == [] and talk.tool_calls == []
    assert chat._turn(talk, "Hi", interactive=False) == 0
    assert capsys.readouterr().out == "Hello.\n"
    prompt = V3.chat([{"role": "user", "content": "Hi"}], TOOLS)
    assert script.prompts[-1] == prompt + said("Hello.")[:-1]


def test_an_answer_in_text_or_no_call_is_an_answer(folder, capsys):
    _, talk = talk_with(folder, said('[{"name": "add", "arguments": {}}]'),
                        said("[]", "[TOOL_CALLS]"))  # fmt: skip
    for n in (2, 4):
        assert chat._turn(talk, "Hi", interactive=False) == 0
        assert talk.tool_calls == [] and len(talk.messages) == n


def test_a_reset_forgets_calls(folder, capsys):
    _, talk = talk_with(folder, said(json.dumps(CALLS), "[TOOL_CALLS]"), said("Yes."))
    assert chat._turn(talk, "Add", interactive=False) == 0
    talk.reset()
    assert chat._turn(talk, "Hi", interactive=False) == 0
    assert talk.messages[0] == {"role": "user", "content": "Hi"} and len(talk.messages) == 2


def test_tools_by_the_command(folder, tools_file, monkeypatch, capsys):
    """The tests' model calls nothing, but the tools are part of its prompt."""
    monkeypatch.setattr(sys, "stdin", io.StringIO("Hi\n"))
    assert main("chat", folder, "--tools", tools_file, "--max-new-tokens", 5) == 0
    ids = V3.chat([{"role": "user", "content": "Hi"}], TOOLS)
    new = mn.generate(mn.load(folder), ids, 5, stop_ids=[2])
    printed = capsys.readouterr()
    assert printed.out == "".join(V3.decode_stream(t for t in new if t != 2)) + "\n"
    assert f"[{len(ids)} tokens read" in printed.err


def test_the_terminal_asks_for_the_result_of_a_tool(folder, monkeypatch, capsys):
    _, talk = talk_with(folder, said(json.dumps(CALLS), "[TOOL_CALLS]"))
    asked = []
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or "1")
    for _ in range(3):
        line = chat._read_line(talk, interactive=True)
        if len(asked) < 3:
            chat._turn(talk, line, interactive=True)
    assert asked == ["> ", "add> ", "multiply> "]


# A real terminal


class Terminal:
    """A chat in a terminal of its own, where Ctrl-C can be typed."""

    def __init__(self, *words, **streams):
        import pty
        import termios

        self.main, end = pty.openpty()
        termios.tcsetwinsize(end, (24, 80))
        streams = {"stdin": subprocess.DEVNULL, "stdout": end, "stderr": end, **streams}
        # The first terminal that a new session opens becomes the source of its Ctrl-C.
        opening = ["sh", "-c", 'tty=$1; shift; exec "$@" <"$tty"', "sh", os.ttyname(end)]
        self.process = subprocess.Popen(
            [*opening, *command(*words)], start_new_session=True, **streams
        )
        os.close(end)
        self.seen = ""

    def wait_for(self, text, seconds=60):
        """Everything read up to the text, and the text."""
        until = time.monotonic() + seconds
        while text not in self.seen:
            ready, _, _ = select.select([self.main], [], [], max(0, until - time.monotonic()))
            assert ready, f"{text!r} did not come; {self.seen!r} did"
            self.seen += os.read(self.main, 4096).decode("utf-8", "replace")
        before, self.seen = self.seen.split(text, 1)
        return before + text

    def type(self, text):
        os.write(self.main, text.encode())

    def leave(self):
        """Ctrl-C at a prompt -> the exit code.

        The terminal is read only a moment after the prompt appears, and a Ctrl-C before that is
        lost. So it is typed again.
        """
        for _ in range(10):
            time.sleep(0.5)
            self.type("\x03")
            with contextlib.suppress(subprocess.TimeoutExpired):
                return self.process.wait(timeout=10)
        raise AssertionError("Ctrl-C did not end it")

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
        self.process.wait()
        if self.process.stdout:
            self.process.stdout.close()
        os.close(self.main)


@posix
def test_ctrl_c_in_a_terminal(folder):
    """It stops an answer and the chat continues; at the prompt it ends the chat."""
    with Terminal("chat", folder, "--max-new-tokens", 7000) as terminal:
        terminal.wait_for("> ")
        terminal.type("Hi\n")
        terminal.wait_for("Hi\r\n")
        terminal.wait_for(" ")  # the first word of the answer
        terminal.type("\x03")
        stopped = terminal.wait_for("bytes]")
        assert "7000 written" not in stopped and "Traceback" not in stopped
        terminal.wait_for("> ")
        terminal.type("/reset\n")
        terminal.wait_for("> ")
        terminal.type("Go on\n")
        terminal.wait_for("Go on\r\n")
        terminal.wait_for(" ")
        terminal.type("\x03")
        terminal.wait_for("bytes]")
        terminal.wait_for("> ")
        assert terminal.leave() == 130
    assert "Traceback" not in terminal.seen


@posix
def test_answers_in_a_file_are_only_answers(folder):
    """The prompts and the progress bar go to the terminal."""
    with Terminal("chat", folder, "--max-new-tokens", 4, stdout=subprocess.PIPE) as terminal:
        assert "tensors" in terminal.wait_for("> ")
        terminal.type("Hi\n")
        terminal.wait_for("bytes]")
        terminal.wait_for("> ")
        terminal.type("/quit\n")
        out = terminal.process.stdout.read().decode()
        assert terminal.process.wait(timeout=60) == 0
    ids = V3.chat([{"role": "user", "content": "Hi"}])
    new = mn.generate(mn.load(folder), ids, 4, stop_ids=[2])
    assert out == "".join(V3.decode_stream(t for t in new if t != 2)) + "\n"


def test_only_a_text_s_bytes_are_checked():
    assert engine.require_unicode("--system", "é 🐻") == "é 🐻"
