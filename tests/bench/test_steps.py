"""The times of steps that feed the simulation of a server. No time is asserted."""

import json
from pathlib import Path

import pytest
from models import small

from minimistral import pt as mp
from minimistral.bench import steps

RECORD = Path(__file__).parents[2] / "benchmarks" / "steps.json"
TINY = small(dim=64, hidden_dim=64, head_dim=16, vocab_size=48, window_size=8)


def test_every_size_is_measured_with_a_full_window(monkeypatch):
    shapes, forward = [], mp.Mistral.forward

    def spy(model, tokens, cache=None, *args, **how):
        shapes.append((*map(int, (len(tokens), len(tokens[0]))), cache.seen.tolist()))
        return forward(model, tokens, cache, *args, **how)

    monkeypatch.setattr(mp.Mistral, "forward", spy)
    rows = steps.measure(TINY, rows=(1, 3), chunks=(2, 5), rounds=1)
    assert [(row["what"], row["n"]) for row in rows] == [
        ("decode", 1), ("decode", 3), ("chunk", 2), ("chunk", 5),
    ]  # fmt: skip
    assert all(row["seconds"] >= 0 for row in rows)
    assert [shape[:2] for shape in shapes] == [(1, 1), (3, 1), (1, 2), (1, 5)] * 2
    assert [shape[2] for shape in shapes[:4]] == [[8], [8] * 3, [8], [8]]


def test_the_shortest_time_is_kept(monkeypatch):
    times = iter([5.0, 9.0, 4.0, 9.0, 7.0, 9.0])
    monkeypatch.setattr(steps, "cpu_seconds", lambda step: next(times))
    rows = steps.measure(TINY, rows=(1,), chunks=(2,), rounds=2)
    assert [row["seconds"] for row in rows] == [4.0, 9.0]


def test_the_record_says_how_it_was_made():
    record = json.loads(RECORD.read_text(encoding="utf-8"))
    assert record["command"].endswith("benchmarks/steps.json") and record["machine"]["threads"] == 1
    sizes = {what: [row["n"] for row in record["rows"] if row["what"] == what]
             for what in ("decode", "chunk")}  # fmt: skip
    assert sizes == {"decode": list(steps.ROWS), "chunk": list(steps.CHUNKS)}
    assert all(row["seconds"] > 0 for row in record["rows"])


def test_it_writes_its_record(tmp_path, monkeypatch):
    monkeypatch.setattr(steps, "measure", lambda config: [{"what": "decode", "n": 1, "seconds": 2}])
    assert steps.main(["--out", str(tmp_path / "steps.json")]) == 0
    record = json.loads((tmp_path / "steps.json").read_text(encoding="utf-8"))
    assert record["rows"] == [{"what": "decode", "n": 1, "seconds": 2}]
    with pytest.raises(SystemExit):
        steps.main([])
