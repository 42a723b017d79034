"""Chats as people's folders have them: added tokens, templates of their own, turns that fail."""

import io
import json
import shutil
import sys
from dataclasses import replace

import numpy as np
import pytest

from minimistral import ModelConfig, cli
from minimistral import np as mn
from minimistral.cli import chat, engine, named, one_line, plain
from minimistral.tokenizer import load as load_tokenizer

V1, V3 = load_tokenizer("v1"), load_tokenizer("v3")
CHATML = (
    "{% for m in messages %}<|im_start|>{{ m['role'] + '\n' + m['content'] }}<|im_end|>\n"
    "{% endfor %}<|im_start|>assistant\n"
)
IM_END, IM_START = 32000, 32001
CONFIG = ModelConfig(
    dim=16, n_layers=1, head_dim=4, hidden_dim=32, n_heads=4, n_kv_heads=2, window_size=None,
    context_len=256, vocab_size=32002,
)  # fmt: skip


def main(*words):
    return cli.main([str(word) for word in words])


def piped(monkeypatch, text):
    monkeypatch.setattr(sys, "stdin", io.StringIO(text))


def write(folder, name, content):
    (folder / name).write_text(json.dumps(content), encoding="utf-8")


def lines_of(text):
    return [line for line in text.splitlines() if line.strip()]


class Terminal(io.StringIO):
    def isatty(self):
        return True


@pytest.fixture
def fine_tune(tmp_path):
    """A vocabulary of 32,002 beside a tokenizer.model of 32,000 pieces, as OpenHermes has."""
    model = mn.Mistral(CONFIG, seed=1)
    mn.save(model, tmp_path, "hf")
    shutil.copy(V1.file, tmp_path / "tokenizer.model")
    write(tmp_path, "added_tokens.json", {"<|im_end|>": IM_END, "<|im_start|>": IM_START})
    write(tmp_path, "tokenizer_config.json", {"chat_template": CHATML, "bos_token": "<s>"})
    write(tmp_path, "generation_config.json", {"eos_token_id": [IM_END]})
    return tmp_path


class Scripted:
    """An engine that answers with the ids of a script; an exception among them is raised."""

    def __init__(self, *answers):
        self.answers, self.prompts = list(answers), []

    def stream(self, model, prompt, _n, *, cache, stop_ids, **_options):
        model(np.array([prompt]), cache)
        self.prompts.append(prompt)
        for token in self.answers.pop(0):
            if isinstance(token, Exception):
                raise token
            yield token
            if token in stop_ids:
                return
            model(np.array([[token]]), cache)


def talk_with(folder, tokenizer, *answers, words=()):
    script = Scripted(*answers)
    args = cli.make_parser("chat").parse_args(["chat", "x", *words])
    return script, chat.Conversation(script, mn.load(folder), tokenizer, args)


def ids_of(text):
    return V1.encode(text, bos=False)


# A fine-tune with added tokens


def test_an_added_id_ends_the_answer_and_is_not_shown(fine_tune, capsys):
    t = load_tokenizer(fine_tune)
    script, talk = talk_with(fine_tune, t, [*ids_of("Hello."), IM_END], [*ids_of("Bye."), 2])
    assert chat._turn(talk, "Hi", interactive=False) == 0
    assert chat._turn(talk, "And now?", interactive=False) == 0
    assert capsys.readouterr().out == "Hello.\nBye.\n"
    assert [message["content"] for message in talk.messages] == ["Hi", "Hello.", "And now?", "Bye."]
    assert script.prompts[0] == t.chat([{"role": "user", "content": "Hi"}])


def test_ids_beyond_the_pieces_are_shown_from_the_files_or_as_nothing(fine_tune, capsys):
    answer = [*ids_of("Hello"), IM_START, *ids_of("there"), 2]
    for files, shown in {
        ("added_tokens.json",): "Hello<|im_start|> there\n",
        (): "Hello there\n",
    }.items():
        if not files:
            (fine_tune / "added_tokens.json").unlink()
        t = load_tokenizer(fine_tune, version="v1")
        _, talk = talk_with(fine_tune, t, answer)
        assert chat._turn(talk, "Hi", interactive=False) == 0
        assert capsys.readouterr().out == shown
        assert talk.messages[-1]["content"] == shown.strip()


@pytest.mark.parametrize("command", ["chat", "generate"])
def test_a_model_that_writes_only_added_ids(fine_tune, monkeypatch, capsys, command):
    """By the command, with weights that choose an id without a piece."""
    model = mn.Mistral(CONFIG, seed=1)
    for weight in model.weights.values():
        weight[:] = 0
    model.weights["tok_embeddings.weight"][:] = model.weights["norm.weight"][:] = 1
    for token, shown in ((IM_START, "<|im_start|>" * 3), (IM_END, "")):
        model.weights["output.weight"][:] = 0
        model.weights["output.weight"][token] = 1
        mn.save(model, fine_tune, "hf", overwrite=True)
        piped(monkeypatch, "Hi\n")
        assert main(command, fine_tune, "--max-new-tokens", 3) == 0
        printed = capsys.readouterr()
        assert printed.out == "Hi" * (command == "generate") + shown + "\n"
        assert f"{1 if token == IM_END else 3} written" in printed.err


def test_the_template_is_named(fine_tune, monkeypatch, capsys):
    for words, name in (
        ([], "tokenizer_config.json"),
        (["--tokenizer-version", "v1"], "Mistral's v1"),
    ):
        piped(monkeypatch, "Hi\n")
        assert main("chat", fine_tune, "--max-new-tokens", 2, *words) == 0
        printed = capsys.readouterr()
        assert lines_of(printed.err)[0] == f"chat template: {name}"
        t = load_tokenizer(fine_tune, *words[1:])
        assert f"[{len(t.chat([{'role': 'user', 'content': 'Hi'}]))} tokens read" in printed.err
    assert main("inspect", fine_tune) == 0
    out = capsys.readouterr().out
    assert "  template    tokenizer_config.json\n" in out
    assert "  tokenizer   tokenizer.model, v1, 32,000 pieces and 2 added\n" in out
    assert main("inspect", fine_tune, "--json") == 0
    facts = json.loads(capsys.readouterr().out)["tokenizer"]
    assert (facts["added"], facts["fits"]) == (2, True)
    (fine_tune / "tokenizer_config.json").unlink()
    assert main("inspect", fine_tune) == 0
    assert "  template    Mistral's v1\n" in capsys.readouterr().out


def test_a_template_without_tools(fine_tune, tmp_path, capsys):
    function = {"type": "function", "function": {"name": "add", "parameters": {"type": "object"}}}
    write(tmp_path, "tools.json", [function])
    shutil.copy(V3.file, fine_tune / "tokenizer.model.v3")
    assert main("chat", fine_tune, "--tools", tmp_path / "tools.json") == 2
    err = capsys.readouterr().err
    assert "the chat template in tokenizer_config.json takes no tools" in err
    assert err.count("\n") == 1


# Turns that fail


def test_a_turn_that_fails_is_not_forgotten(fine_tune, capsys):
    """What was shown of its answer is kept, as with Ctrl-C."""
    t = load_tokenizer(fine_tune)
    for error in (ValueError("no"), RuntimeError("CUDA out of memory"), MemoryError()):
        answers = [[*ids_of("One two"), error], [*ids_of("three"), 2]]
        script, talk = talk_with(fine_tune, t, *answers)
        assert chat._turn(talk, "Count", interactive=False) == 1
        printed = capsys.readouterr()
        assert printed.out == "One two\n" and printed.err.count("\n") == 1
        assert "without this line" not in printed.err
        messages = [
            {"role": "user", "content": "Count"},
            {"role": "assistant", "content": "One two"},
        ]
        assert talk.messages == messages
        assert chat._turn(talk, "Go on", interactive=False) == 0
        whole = t.chat([*messages, {"role": "user", "content": "Go on"}])
        assert whole[-len(script.prompts[1]) :] == script.prompts[1]
        assert len(talk.messages) == 4
        capsys.readouterr()


def test_a_turn_that_fails_before_its_answer_says_so(fine_tune, capsys):
    _, talk = talk_with(fine_tune, load_tokenizer(fine_tune), [ValueError("no")])
    assert chat._turn(talk, "Count", interactive=False) == 1
    printed = capsys.readouterr()
    assert printed.out == "" and talk.messages == []
    assert printed.err == "minimistral chat: error: no; the chat continues without this line\n"


def test_a_template_that_refuses_ends_the_turn_only(fine_tune, monkeypatch, capsys):
    refusing = (
        "{% if 'x' in messages[-1].content %}{{ raise_exception('No \x1b[31mx\n!') }}{% endif %}"
    )
    write(fine_tune, "tokenizer_config.json", {"chat_template": refusing + CHATML})
    piped(monkeypatch, "x\nHi\n")
    assert main("chat", fine_tune, "--max-new-tokens", 2) == 1
    _, error, summary = lines_of(capsys.readouterr().err)
    assert error == (
        "minimistral chat: error: messages must fit the chat template in tokenizer_config.json:"
        " No [31mx !; the chat continues without this line"
    )
    assert "tokens read" in summary


# What does not fit


@pytest.mark.parametrize("command", ["generate", "chat"])
def test_a_tokenizer_that_does_not_fit_is_named(tmp_path, monkeypatch, capsys, command):
    """A v1 tokenizer beside a vocabulary of 32,768: what inspect says of it."""
    mn.save(mn.Mistral(replace(CONFIG, vocab_size=32768), seed=1), tmp_path)
    shutil.copy(V1.file, tmp_path / "tokenizer.model")
    says = "tokenizer.model, v1, 32,000 pieces, but vocab_size is 32,768"
    assert main("inspect", tmp_path) == 0
    assert says in capsys.readouterr().out
    piped(monkeypatch, "Hi\n")
    assert main(command, tmp_path, "--max-new-tokens", 2) == 0
    printed = capsys.readouterr()
    assert lines_of(printed.err).count(f"note: {says}") == 1
    assert says not in printed.out


@pytest.mark.parametrize(("window", "n_lines"), [(None, 1), (8, 0)])
def test_a_prompt_longer_than_the_context(tmp_path, monkeypatch, capsys, window, n_lines):
    config = replace(CONFIG, vocab_size=32000, context_len=16, window_size=window)
    mn.save(mn.Mistral(config, seed=1), tmp_path)
    shutil.copy(V1.file, tmp_path / "tokenizer.model")
    note = "tokens are to be read, but the model's context_len is 16"
    for n, expected in ((16, 0), (17, n_lines)):
        prompt = " ".join(["word"] * (n - 1))
        assert main("generate", tmp_path, "--prompt", prompt, "--max-new-tokens", 2) == 0
        err = capsys.readouterr().err
        assert len(lines_of(err)) == 1 + expected and err.count(f"{n} {note}") == expected
    piped(monkeypatch, "Hi\nword word word\nword word word word\nword word word\n")
    assert main("chat", tmp_path, "--context", 200, "--max-new-tokens", 1) == 0
    assert capsys.readouterr().err.count(note) == n_lines  # once in a conversation


# Terminals


CONTROLS = [chr(n) for n in [*range(32), 127, *range(128, 160)] if chr(n) not in "\n\t"]


def test_a_terminal_gets_no_control_characters(monkeypatch):
    text = "".join(f"{control}x" for control in CONTROLS) + "\n\té🐻"
    for out, expected in ((Terminal(), "x" * len(CONTROLS) + "\n\té🐻"), (io.StringIO(), text)):
        monkeypatch.setattr(sys, "stdout", out)
        engine.show(text)  # character by character, as tokens come
        engine.show([text])
        assert out.getvalue() == 2 * expected


def test_tokens_one_by_one_cannot_write_an_escape(fine_tune, monkeypatch):
    out = Terminal()
    escape = [V1.encode("\x1b", bos=False)[-1], *ids_of("[2J"), V1.encode("\x9b", bos=False)[-2],
              V1.encode("\x9b", bos=False)[-1], 2]  # fmt: skip
    assert "\x1b" in V1.decode(escape) and "\x9b" in V1.decode(escape)
    _, talk = talk_with(fine_tune, load_tokenizer(fine_tune), escape)
    monkeypatch.setattr(sys, "stdout", out)
    talk.say("Hi")
    assert "[2J" in out.getvalue() and not set(out.getvalue()) & set(CONTROLS)


def test_names_of_files_are_shown_by_repr(fine_tune, capsys):
    name = "a\x1b[31m.model.v1"
    (fine_tune / "tokenizer.model").rename(fine_tune / name)
    folder = fine_tune.rename(fine_tune.parent / "f\x1b[2J")
    assert main("inspect", folder) == 0
    out = capsys.readouterr().out
    assert repr(name) in out and out.splitlines()[0] == repr(str(folder))
    assert not set(out) & set(CONTROLS)
    write(folder, "config.json", "{")
    for command in ("inspect", "chat"):
        assert main(command, folder) == 1
        assert not set(capsys.readouterr().err) & set(CONTROLS)


def test_errors_hold_no_control_characters():
    assert one_line("a\x1b[31mb\r\nc\x9b") == "a[31mb c"
    assert (plain("a\n\tb"), named("a"), named("a\n")) == ("a\n\tb", "a", repr("a\n"))


def test_a_message_of_pages_is_cut_off():
    assert one_line("a" * 1000) == "a" * 1000
    assert one_line("a " * 501) == "a " * 500 + " …"


def test_the_prompt_for_a_tool_is_plain(fine_tune, monkeypatch):
    _, talk = talk_with(fine_tune, V3)
    talk.tool_calls = [{"id": "000000001", "name": "a\x1b[2J", "arguments": {}}]
    asked = []
    monkeypatch.setattr("builtins.input", lambda prompt: asked.append(prompt) or "1")
    chat._read_line(talk, interactive=True)
    assert asked == ["a[2J> "]
