"""The comparison of ways to fine-tune: how it is made, what was recorded, and what ships."""

import json
import time
from dataclasses import asdict, replace

import pytest

from minimistral import ModelConfig, cli, tiny, tokenizer
from minimistral import np as mn
from minimistral.cli import train
from minimistral.evaluation import answers as measured
from minimistral.training import compared
from minimistral.training import conversations as talk
from minimistral.training.conversations import Conversation
from minimistral.training.instruct import REPORT_FILE, InstructSettings

RECORD = json.loads(compared.FILE.read_text(encoding="utf-8"))
REPORT = json.loads((tiny.INSTRUCT / REPORT_FILE).read_text(encoding="utf-8"))
ROWS = {row["variant"]: row for row in RECORD["variants"]}
SMALL = ModelConfig(
    dim=16, n_layers=1, head_dim=8, hidden_dim=16, n_heads=2, n_kv_heads=1,
    window_size=8, context_len=64, vocab_size=768,
)  # fmt: skip
TALK = [
    Conversation("what", "if", "training", ("What is if?", "if: A statement.")),
    Conversation("what", "if", "new wording", ("Explain if.", "if: A statement.")),
    Conversation("what", "in", "new topic", ("What is in?", "in: An operator.")),
    Conversation("moderation", "tear", "new topic", ("Is this acceptable? Tear it.", "no")),
    Conversation("refusal", "tea", "new topic", ("What is tea?", talk.REFUSAL)),
]
QUICK = InstructSettings(steps=2, batch_size=2, seq_len=128, checkpoint_every=1, warmup=1)


@pytest.fixture(scope="module")
def options(tmp_path_factory):
    folder = tmp_path_factory.mktemp("base")
    mn.save(mn.Mistral(SMALL, seed=4), folder, overwrite=True)
    (folder / "tokenizer.model").write_bytes((tiny.FOLDER / "tokenizer.model").read_bytes())
    return {"base": folder, "conversations": TALK, "old_text": "the cat sat on the mat.\n"}


# How it is made


@pytest.fixture(scope="module")
def made(tmp_path_factory, options):
    folder = tmp_path_factory.mktemp("compared")
    return folder, compared.compare(folder, QUICK, turns=1, **options)


def test_each_variant_is_a_run_of_its_own(made):
    folder, record = made
    assert [row["variant"] for row in record["variants"]] == list(compared.VARIANTS)
    for row, (_, changes) in zip(record["variants"], compared.VARIANTS.values(), strict=True):
        report = json.loads((folder / row["variant"] / REPORT_FILE).read_text(encoding="utf-8"))
        assert report["settings"] == asdict(replace(QUICK, **changes))
        assert {key: row[key] for key in compared.MEASURED} == {
            key: report[key] for key in compared.MEASURED
        }
    assert json.loads(compared.as_json(record)) == record
    assert len(compared.as_text(record).splitlines()) == 1 + len(compared.VARIANTS)
    full, lora, *_ = record["variants"]
    assert full["trained_parameters"] == SMALL.n_params > lora["trained_parameters"]
    adapter = folder / "lora" / "adapter" / "adapter_model.safetensors"
    assert lora["bytes"] == adapter.stat().st_size != full["bytes"]
    assert full["step_time"] == 1


def test_finished_runs_are_read_and_not_repeated(made, options, monkeypatch):
    def repeated(*_, **__):
        raise AssertionError("a finished run is repeated")

    folder, record = made
    monkeypatch.setattr(compared, "fine_tune", repeated)
    again = compared.compare(folder, QUICK, turns=1, **options)
    for row in (*record["variants"], *again["variants"]):
        del row["step_time"]
    assert again == record


def test_a_stopped_comparison_is_resumed(made, options, monkeypatch, tmp_path):
    """Stopped in the middle of the second run, it ends with the numbers of one that was not."""
    step = compared.FineTuning.train_step

    def stop(self):
        if self.settings.lora_rank and self.step == 1:
            raise KeyboardInterrupt
        return step(self)

    with monkeypatch.context() as patch:
        patch.setattr(compared.FineTuning, "train_step", stop)
        with pytest.raises(KeyboardInterrupt):
            compared.compare(tmp_path, QUICK, turns=1, **options)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["full", "lora"]
    steps = []

    def counted(self):
        steps.append(self.step)
        return step(self)

    monkeypatch.setattr(compared.FineTuning, "train_step", counted)
    record = compared.compare(tmp_path, QUICK, turns=1, **options)
    assert steps[0] == 1  # not from the beginning
    for row, other in zip(record["variants"], made[1]["variants"], strict=True):
        for key in compared.MEASURED:
            assert row[key] == other[key]


@pytest.mark.parametrize(
    ("settings", "changes", "named"),
    [
        (replace(QUICK, steps=3), {}, "must be of a run whose steps is 3, not 2"),
        (QUICK, {"threads": 99}, r"the same threads: \d+ in full, but 99 in unmasked"),
        (QUICK, {"conversations": "another"}, "the same conversations: .+ but another in unmasked"),
    ],
)
def test_runs_that_cannot_be_compared_are_named(made, options, settings, changes, named):
    file = made[0] / "unmasked" / REPORT_FILE
    before = file.read_text(encoding="utf-8")
    file.write_text(json.dumps(json.loads(before) | changes), encoding="utf-8")
    try:
        with pytest.raises(ValueError, match=named):
            compared.compare(made[0], settings, turns=1, **options)
    finally:
        file.write_text(before, encoding="utf-8")


def test_the_time_of_a_step_is_a_median_of_turns(monkeypatch):
    """A single slow step, as when other work comes between, changes nothing."""
    now, order = [0.0], []

    class Training:
        def __init__(self, name, *seconds):
            self.name, self.seconds = name, list(seconds)

        def train_step(self):
            order.append(self.name)
            now[0] += self.seconds.pop(0)

    monkeypatch.setattr(time, "perf_counter", lambda: now[0])
    trainings = {"a": Training("a", 1, 90, 1), "b": Training("b", 2, 2, 90)}
    assert compared.step_times(trainings, 3) == {"a": 1, "b": 2}
    assert order == ["a", "b"] * 3


@pytest.mark.parametrize("name", compared.VARIANTS)
def test_a_command_gives_the_settings_of_its_variant(name):
    words = ROWS[name]["command"].split()
    assert words[0] == "minimistral"
    settings = train.settings_of(cli.make_parser("train").parse_args(words[1:]))
    assert settings == replace(InstructSettings(), **compared.VARIANTS[name][1])


# What was recorded


def test_the_record_has_its_shape():
    assert list(ROWS) == list(compared.VARIANTS)
    assert RECORD["settings"] == asdict(InstructSettings())
    assert RECORD["versions"].keys() == {"python", "torch", "numpy"}
    assert compared.as_json(RECORD) == compared.FILE.read_text(encoding="utf-8")
    shipped = talk.load()
    counts: dict[tuple[str, str], int] = {}
    for each in shipped:
        counts[each.kind, each.part] = counts.get((each.kind, each.part), 0) + 1
    for row in ROWS.values():
        assert {(each["kind"], each["part"]): each["n"] for each in row["answers"]} == counts
        for each in row["answers"]:
            assert all(0 <= each[name] <= each["n"] for name in measured.COUNTS)
            assert each["exact"] <= each["ended"]
        for part, verdicts in row["moderation"].items():
            assert sum(verdicts.values()) == counts["moderation", part]
        assert row["old_text_bits_per_byte"]["before"] < row["old_text_bits_per_byte"]["after"]


def test_the_report_that_ships_is_that_of_the_first_variant():
    assert REPORT["settings"] == asdict(InstructSettings())
    assert {key: REPORT[key] for key in compared.MEASURED} == {
        key: ROWS["full"][key] for key in compared.MEASURED
    }
    assert {key: REPORT[key] for key in ("conversations", "old_text", "parameters")} == {
        key: RECORD[key] for key in ("conversations", "old_text", "parameters")
    }
    assert REPORT["log"][-1]["step"] == InstructSettings().steps


def exact(variant, kind, part):
    right, n = measured.total(ROWS[variant]["answers"], "exact", kind=kind, part=part)
    return right / n


def test_what_the_comparison_says():
    """What README and lesson say of it, in the words that hold for any later run."""
    assert exact("full", "what", "training") > 0.98
    assert exact("full", "what", "new wording") > 0.9
    assert exact("full", "what", "new topic") < 0.05
    assert exact("full", "refusal", "new topic") > 0.75
    taught = [exact(name, "what", "training") for name in ("slow-lora", "lora", "full")]
    assert taught == sorted(set(taught))
    after = {name: row["old_text_bits_per_byte"]["after"] for name, row in ROWS.items()}
    assert after["slow-lora"] < after["lora"] < after["full"]
    assert measured.total(ROWS["endless"]["answers"], "ended")[0] == 0
    assert ROWS["lora"]["trained_parameters"] < 0.1 * ROWS["full"]["trained_parameters"]
    assert ROWS["lora"]["bytes"] < 0.1 * ROWS["full"]["bytes"]


# What ships


@pytest.fixture(scope="module", params=["full", "lora"])
def shipped(request):
    """The recorded row of what ships, and its model read from the files."""
    if request.param == "full":
        return ROWS["full"], mn.load(tiny.INSTRUCT)
    return ROWS["lora"], mn.load(tiny.FOLDER, adapter=tiny.INSTRUCT / "adapter")


WORDS = tokenizer.load(tiny.INSTRUCT)


def assert_as_recorded(shipped, conversations):
    """The counts of these kinds and parts, whose conversations must all be given."""
    row, model = shipped
    counted = {(each.kind, each.part) for each in conversations}
    expected = [each for each in row["answers"] if (each["kind"], each["part"]) in counted]
    assert measured.measure_answers(model, WORDS, conversations) == expected


def test_what_ships_gives_the_recorded_counts(shipped):
    """Of new subjects, most of which are refused; below of all."""
    chosen = [each for each in talk.load() if (each.kind, each.part) == ("refusal", "new topic")]
    assert_as_recorded(shipped, chosen)


def test_what_ships_gives_the_recorded_verdicts(shipped):
    row, model = shipped
    judged = [each for each in talk.load() if each.kind == "moderation"]
    assert measured.measure_moderation(model, WORDS, judged) == row["moderation"]


@pytest.mark.slow
@pytest.mark.rare
def test_what_ships_gives_all_the_recorded_counts(shipped):
    assert_as_recorded(shipped, talk.load())
