"""Lesson 08's own cells, run with parts of a learner: the right ones, and with one planted bug."""

import json
import re
from pathlib import Path

import numpy as np
import pytest

from minimistral.course import my_parts, tiny_bits
from minimistral.course.checks import accepted, cached
from minimistral.course.mine import kept

LESSON = Path(__file__).parents[2] / "notebooks/08_the_whole_model.ipynb"
CELLS = {cell["id"]: cell for cell in json.loads(LESSON.read_text(encoding="utf-8"))["cells"]}
CAPSTONE = (
    "cell-13", "cell-14", "cell-20", "cell-21", "cell-26", "cell-27", "your-parts", "qkv",
    "at-once", "cell-24", "cell-30", "cell-32", "layer-cache", "exercise-5-code",
    "exercise-5-check", "reader", "writes", "how-sure", "compare",
)  # fmt: skip


@pytest.fixture(autouse=True)
def work(tmp_path, monkeypatch):
    monkeypatch.setenv(kept.FOLDER, str(tmp_path / "my-work"))


def run(cells=CAPSTONE, **names):
    """Execute cells of the lesson one after another, in one space of names."""
    names |= {"np": np}
    for cell in cells:
        exec(compile("".join(CELLS[cell]["source"]), f"lesson 08, {cell}", "exec"), names)
    return names


# Parts as a learner writes them, other than the course's; every name is one of LESSONS.


def softmax(scores):
    exps = np.exp(scores - scores.max(-1, keepdims=True))
    return exps / exps.sum(-1, keepdims=True)


def rotate(x, positions, theta):
    angles = positions[:, None] * theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
    turned = (x[:, 0::2] + 1j * x[:, 1::2]) * np.exp(1j * angles)
    return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape).astype(x.dtype)


def project(x, wq, wk, wv, n_heads, n_kv_heads):
    sizes = ((wq, n_heads), (wk, n_kv_heads), (wv, n_kv_heads))
    return tuple((x @ w.T).reshape(len(x), n, -1).transpose(1, 0, 2) for w, n in sizes)


def grouped(q, k, v, mask):
    scale, size = q.shape[-1] ** 0.5, len(q) // len(k)
    rows = []
    for h in range(len(q)):
        scores = np.where(mask, q[h] @ k[h // size].T / scale, -1e30)
        rows.append(softmax(scores) @ v[h // size])
    return np.stack(rows)


def join(heads, wo):
    return np.concatenate(list(heads), axis=-1) @ wo.T


def mask(q_pos, k_pos, window):
    gap = q_pos[:, None] - k_pos[None, :]
    return (gap >= 0) & (gap < window)


def store(keys, positions, key, i):
    keys, positions = keys.copy(), positions.copy()
    keys[i % len(keys)], positions[i % len(keys)] = key, i
    return keys, positions


def chunk_mask(held, chunk, W):
    k_pos = np.concatenate([held, chunk])
    return mask(chunk, k_pos, W) & (k_pos >= 0)


def rms_norm(x, weight, eps):
    return weight * x / np.sqrt(np.mean(x**2, axis=-1, keepdims=True) + eps)


def feed_forward(x, w1, w2, w3):
    gate = x @ w1.T
    return (gate / (1 + np.exp(-gate)) * (x @ w3.T)) @ w2.T


def layer(x, attention, feed_forward, norm1, norm2):
    h = x + attention(norm1(x))
    return h + feed_forward(norm2(h))


def attend_cached(parts, q, k, v, cache, positions):
    keys, values = np.hstack([cache.keys, k]), np.hstack([cache.values, v])
    seen = parts.chunk_mask(cache.positions, positions, cache.config.window_size)
    heads = parts.grouped(q, keys, values, seen)
    cache.write(k, v, positions)
    return heads


MINE = {name: globals()[name] for name in accepted.LESSONS}
IN_08 = ("rms_norm", "feed_forward", "layer")


def planted(**wrong):
    """Keep all parts, some of them wrong; those of lesson 08 are given to its checks as well."""
    parts = MINE | wrong
    for name, part in parts.items():
        kept.keep(name, part)
    return parts


def test_the_learner_s_parts_are_the_model_that_writes(capsys):
    planted()
    solved = [cell for cell in CAPSTONE if cell not in ("cell-13", "cell-20", "cell-26",
                                                        "exercise-5-code")]  # fmt: skip
    mine = {f"my_{name}": MINE[name] for name in IN_08}
    names = run(solved, my_attend_cached=attend_cached, **mine)
    out = capsys.readouterr().out
    assert out.count(" yours\n") == len(MINE) and "the course's" not in out
    assert names["attend_cached"] is attend_cached
    assert "mm.generate agrees: True" in out and "your Mistral is right" in out


def test_without_a_learner_the_course_s_parts_write(capsys):
    run()
    out = capsys.readouterr().out
    assert (
        out.count("the course's\n") == len(MINE) and "yours" not in out.split("lesson 01:")[1][:99]
    )
    assert "mm.generate agrees: True" in out and "your Mistral is right" in out


def halves(x, positions, theta):
    a, b = np.split(x, 2, axis=-1)
    angles = positions[:, None] * theta ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1).astype(x.dtype)


def by_the_slot(x, positions, theta):
    return rotate(x, positions % 32, theta)


def by_reshape_alone(x, wq, wk, wv, n_heads, n_kv_heads):
    sizes = ((wq, n_heads), (wk, n_kv_heads), (wv, n_kv_heads))
    return tuple((x @ w.T).reshape(n, len(x), -1) for w, n in sizes)


def tiled(q, k, v, mask):
    size = len(q) // len(k)
    return grouped(q, np.tile(k, (size, 1, 1)), np.tile(v, (size, 1, 1)), mask)


def unscaled(q, k, v, mask):
    return grouped(q * q.shape[-1] ** 0.5, k, v, mask)


def joined_by_reshape(heads, wo):
    return heads.reshape(heads.shape[1], -1) @ wo.T


def one_key_more(held, chunk, W):
    k_pos = np.concatenate([held, chunk])
    return mask(chunk, k_pos, W + 1) & (k_pos >= 0)


def old_keys_seen(held, chunk, W):
    return np.concatenate([np.tile(held >= 0, (len(chunk), 1)), mask(chunk, chunk, W)], axis=1)


def marked_with_the_slot(keys, positions, key, i):
    keys, positions = store(keys, positions, key, i)
    positions[i % len(keys)] = i % len(keys)
    return keys, positions


def layer_norm(x, weight, eps):
    return rms_norm(x - x.mean(axis=-1, keepdims=True), weight, eps)


def gate_and_value_swapped(x, w1, w2, w3):
    return feed_forward(x, w3, w2, w1)


def both_halves_from_x(x, attention, feed_forward, norm1, norm2):
    return x + attention(norm1(x)) + feed_forward(norm2(x))


def attention_replaces_x(x, attention, feed_forward, norm1, norm2):
    h = attention(norm1(x))
    return h + feed_forward(norm2(h))


BUGS = [
    ("rotate", halves, "x[j + D / 2]"),
    ("rotate", by_the_slot, "by the slot"),
    ("project", by_reshape_alone, "mixes tokens"),
    ("grouped", tiled, "np.tile"),
    ("grouped", unscaled, "not divided"),
    ("join", joined_by_reshape, "mixes tokens"),
    ("chunk_mask", one_key_more, "W + 1 keys"),
    ("chunk_mask", old_keys_seen, "every earlier token is seen"),
    ("store", marked_with_the_slot, None),
    ("rms_norm", layer_norm, "LayerNorm"),
    ("feed_forward", gate_and_value_swapped, "w1 and w3 are swapped"),
    ("layer", both_halves_from_x, "must take h"),
    ("layer", attention_replaces_x, "attention replaces x"),
]


@pytest.mark.parametrize(("name", "wrong", "cause"), BUGS, ids=[bug[1].__name__ for bug in BUGS])
def test_a_planted_bug_is_found(name, wrong, cause, capsys):
    """The parts of this lesson are refused by its checks, so they are put in afterwards."""
    planted(**{name: wrong})
    names = run(CAPSTONE[: CAPSTONE.index("your-parts") + 1])
    setattr(names["parts"], name, kept.kept(name))
    capsys.readouterr()
    run(CAPSTONE[CAPSTONE.index("qkv") :], **names)
    out = capsys.readouterr().out
    assert "mm.generate agrees: False" in out or "The first difference" in out
    assert "The first difference" in out and "your Mistral is right" not in out
    if cause:
        assert cause in out, out


def test_a_chunk_that_is_written_first_is_found(capsys):
    names = run(CAPSTONE[: CAPSTONE.index("exercise-5-check") + 1])
    names["attend_cached"] = lambda *given: cached.attend_cached(*given, variant="write first")
    capsys.readouterr()
    run(("reader", "compare"), **names)
    assert "the chunk is written first" in capsys.readouterr().out


def test_at_least_twelve_bugs_are_planted_and_ten_are_named():
    assert len(BUGS) >= 12 and sum(cause is not None for *_, cause in BUGS) >= 10


def test_a_name_that_is_no_part_is_refused():
    with pytest.raises(TypeError, match=r"a part must be one of softmax, .*, not norm"):
        my_parts(norm=rms_norm)


def rows_so_far(path):
    """The rows of the table in which a lesson says what has been broken so far, and its outputs."""
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    (table,) = [c for c in cells if "| lesson | what is broken |" in "".join(c["source"])]
    lines = [line for line in "".join(table["source"]).splitlines() if line.startswith("| ")]
    printed = "".join("".join(out.get("text", "")) for c in cells for out in c.get("outputs", []))
    return [tuple(cell.strip() for cell in line.split("|")[1:4]) for line in lines[1:]], printed


def test_the_table_grows_from_lesson_to_lesson():
    """Each lesson repeats the rows of those before it, and prints the bits of its own."""
    lessons = [rows_so_far(path) for path in sorted(LESSON.parent.glob("0[0-8]*.ipynb"))]
    whole, _ = lessons[8]
    assert whole[0] == ("", "nothing", f"{tiny_bits():.2f}")
    for n, (rows, printed) in enumerate(lessons):
        assert rows == [row for row in whole if row[0] <= f"{n:02}"]
        mine = [bits for lesson, _, bits in rows if lesson == f"{n:02}"]
        told = {f"{float(number):.2f}" for number in re.findall(r"\d+\.\d{2,3}\b", printed)}
        assert mine and told.issuperset(mine), f"lesson {n:02}"
