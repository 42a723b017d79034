"""The model made of parts is the engine, and `compare` names what is wrong in one."""

import re
from dataclasses import replace

import numpy as np
import pytest

from minimistral import ModelConfig, tiny
from minimistral import np as mn
from minimistral.course.mine import parts as ps
from minimistral.course.mine.compare import compare
from minimistral.np.feedforward import silu

CONFIG = replace(ModelConfig.tiny(), n_layers=2, window_size=7, norm_eps=1e-2)


def with_norms(config, **options):
    """Random weights, and norms whose weights are not all 1, so that each leaves a trace."""
    model, rng = mn.Mistral(config, seed=5, **options), np.random.default_rng(1)
    norms = {
        name: rng.uniform(0.5, 1.5, weight.shape).astype(weight.dtype)
        for name, weight in model.weights.items()
        if "norm" in name
    }
    return mn.Mistral(config, model.weights | norms)


MODEL = with_norms(CONFIG)
IDS = np.random.default_rng(6).integers(0, CONFIG.vocab_size, 23)  # more than three windows
POSITIONS = np.arange(len(IDS))


@pytest.mark.parametrize("window", [None, 1, 7, 40])
def test_the_model_made_of_parts_is_the_engine(window):
    model = with_norms(replace(CONFIG, window_size=window), dtype="float64")
    seen = []
    logits = ps.forward(model, IDS, see=lambda name, value: seen.append(name))
    np.testing.assert_allclose(logits, model(IDS[None])[0], atol=1e-10)
    assert len(seen) == len(set(seen)) == 1 + 13 * CONFIG.n_layers + 2


def test_the_trained_model_made_of_parts_writes_what_the_engine_predicts():
    model = mn.load(tiny.FOLDER)
    ids = np.arange(40, 140)
    assert (ps.forward(model, ids).argmax(-1) == model(ids[None])[0].argmax(-1)).all()


def weighted(scores, v, axis=-1):
    with np.errstate(invalid="ignore"):  # a query or a head that sees nothing
        exps = np.exp(scores - scores.max(axis=axis, keepdims=True))
        return exps / exps.sum(axis=axis, keepdims=True) @ v


def grouped(hide=lambda s, m: np.where(m, s, -np.inf), copy=np.repeat, scale=0.5, axis=-1,
            after=False):  # fmt: skip
    def attend(q, k, v, mask):
        g = len(q) // len(k)
        if copy is np.tile:
            k, v = np.tile(k, (g, 1, 1)), np.tile(v, (g, 1, 1))
        else:
            k, v = np.repeat(k, g, axis=0), np.repeat(v, g, axis=0)
        scores = q @ k.swapaxes(1, 2) * q.shape[-1] ** -scale
        if after:
            exps = np.exp(scores)
            return exps / exps.sum(-1, keepdims=True) * mask @ v
        return weighted(hide(scores, mask), v, axis)

    return attend


def halves(x, positions, theta):
    a, b = np.split(x, 2, axis=-1)
    angles = positions[:, None] * theta ** (-np.arange(0, x.shape[-1], 2) / x.shape[-1])
    cos, sin = np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def shown(change):
    return lambda q, k, W: mn.window_mask(q, k, change(W))


BUGS = [
    ("rms_norm", lambda x, w, eps: x, "norm is left out"),
    ("rms_norm", lambda x, w, eps: x * w, "only multiplies"),
    ("rms_norm", lambda x, w, eps: ps.rms_norm(x, np.ones_like(w), eps), "weight is left out"),
    ("rms_norm", lambda x, w, eps: ps.rms_norm(x - x.mean(-1, keepdims=True), w, eps), "LayerNorm"),
    ("rms_norm", lambda x, w, eps: x / np.sqrt((x * x).sum(-1, keepdims=True) + eps) * w, "sums"),
    ("rms_norm", lambda x, w, eps: x / ((x * x).mean(-1, keepdims=True) + eps) * w, "square root"),
    ("rms_norm", lambda x, w, eps: x / np.sqrt((x * x).mean() + eps) * w, "over all tokens"),
    ("rms_norm", lambda x, w, eps: ps.rms_norm(x, w, 1e-6), "eps is 1e-06, where the model's is"),
    ("split_heads", lambda x, n: x.reshape(n, len(x), -1), "mixes tokens"),
    ("split_heads", lambda x, n: x.reshape(len(x), -1, n).transpose(2, 0, 1), "every n-th"),
    ("rotate", lambda x, p, t: x, "q is not rotated"),
    ("rotate", halves, "x[j + D / 2]"),
    ("rotate", lambda x, p, t: ps.rotate(x, -p, t), "other way"),
    ("rotate", lambda x, p, t: ps.rotate(x, p + 1, t), "counted from 1"),
    ("rotate", lambda x, p, t: ps.rotate(x, p % 7, t), "by the slot"),
    ("rotate", lambda x, p, t: ps.rotate(x, p, 1e6), "theta is 1,000,000"),
    ("rotate", lambda x, p, t: ps.rotate(x, p * 0, t), "q is not rotated"),
    ("mask", shown(lambda W: W + 1), "W + 1 keys"),
    ("mask", shown(lambda W: W - 1), "W − 1 keys"),
    ("mask", shown(lambda W: None), "no window"),
    ("mask", lambda q, k, W: abs(q[:, None] - k) < W, "lies ahead"),
    ("mask", lambda q, k, W: np.ones((len(q), len(k)), bool), "nothing is hidden"),
    ("mask", lambda q, k, W: mn.window_mask(k, q, W).T, "transposed"),
    ("mask", lambda q, k, W: ~mn.window_mask(q, k, W), "swapped"),
    ("attend", grouped(copy=np.tile), "np.tile"),
    ("attend", grouped(scale=0), "not divided"),
    ("attend", grouped(scale=1), "not by its root"),
    ("attend", grouped(scale=-0.5), "multiplied by √head_dim"),
    ("attend", grouped(hide=lambda s, m: np.where(m, s, 0)), "exp(0) is 1"),
    ("attend", grouped(hide=lambda s, m: s), "there is no mask"),
    ("attend", grouped(after=True), "after softmax"),
    ("attend", grouped(axis=0), "over the heads"),
    ("attend", grouped(axis=1), "over the queries"),
    ("attend", lambda q, k, v, m: ps.attend(q, k, k, m), "of keys"),
    ("attend", lambda q, k, v, m: ps.attend(q, k[[0, 0]], v[[0, 0]], m), "KV head 0"),
    ("merge_heads", lambda x: x.reshape(x.shape[1], -1), "mixes tokens"),
    ("merge_heads", lambda x: x.transpose(1, 2, 0).reshape(x.shape[1], -1), "numbers of the heads"),
    ("add", lambda x, more: more, "attention replaces x"),
    ("add", lambda x, more: x, "attention is lost"),
    ("feed_forward", lambda x, a, b, c: ps.feed_forward(x, c, b, a), "w1 and w3 are swapped"),
    ("feed_forward", lambda x, a, b, c: silu((x @ a.T) * (x @ c.T)) @ b.T, "of the product"),
    ("feed_forward", lambda x, a, b, c: silu(x @ a.T) @ b.T, "w3 · x is missing"),
    ("feed_forward", lambda x, a, b, c: (silu(x @ a.T) + x @ c.T) @ b.T, "added; they are mult"),
    ("feed_forward", lambda x, a, b, c: (x @ a.T) * (x @ c.T) @ b.T, "silu is missing"),
    ("feed_forward", lambda x, a, b, c: np.maximum(x @ a.T, 0) * (x @ c.T) @ b.T, "ReLU"),
]  # fmt: skip


@pytest.mark.parametrize(("part", "wrong", "cause"), BUGS, ids=[f"{b[0]}-{b[2]}" for b in BUGS])
def test_a_wrong_part_is_named(part, wrong, cause):
    broken = replace(ps.Parts(), **{part: wrong})
    difference = compare(lambda ids, see: ps.forward(MODEL, ids, broken, see), MODEL, IDS)
    assert difference is not None and cause in difference.cause, difference
    assert difference.name.startswith("layers.0."), difference


def test_parts_that_are_right_in_another_way_agree():
    same = replace(ps.Parts(), attend=grouped(), add=lambda x, more: more + x)
    assert compare(lambda ids, see: ps.forward(MODEL, ids, same, see), MODEL, IDS) is None


class CachedModel:
    """A Mistral that reads in chunks through slots, with one thing wrong in it."""

    def __init__(self, bug=None, size=5):
        self.bug, self.size = bug, size

    def __call__(self, ids, see):
        W, L = CONFIG.window_size, CONFIG.n_layers
        slots = W - 2 * (self.bug == "few") + (self.bug in ("old", "too old"))
        shape = (L, CONFIG.n_kv_heads, slots, CONFIG.head_dim)
        self.k, self.v, self.held = np.zeros(shape), np.zeros(shape), np.full((L, slots), -1)
        parts = [self.read(ids[n : n + self.size], n, see) for n in range(0, len(ids), self.size)]
        return np.concatenate(parts)

    def read(self, ids, start, see):
        bug, W, weights = self.bug, CONFIG.window_size, MODEL.weights
        positions = start + np.arange(len(ids))
        if bug == "restart":
            positions = np.arange(len(ids))
        if bug == "late":
            positions = positions + (start > 0)
        x = weights["tok_embeddings.weight"][ids]
        for n, w in enumerate(MODEL.layers):
            normed = ps.rms_norm(x, w["attention_norm"], CONFIG.norm_eps)
            q = ps.split_heads(normed @ w["attention.wq"].T, CONFIG.n_heads)
            k = ps.split_heads(normed @ w["attention.wk"].T, CONFIG.n_kv_heads)
            v = ps.split_heads(normed @ w["attention.wv"].T, CONFIG.n_kv_heads)
            plain = k
            q, k = (
                np.stack([ps.rotate(head, positions, CONFIG.rope_theta) for head in heads])
                for heads in (q, k)
            )
            see(f"layers.{n}.q_rotated", q)
            see(f"layers.{n}.k_rotated", k)
            if bug == "write first":
                self.write(n, k, v, positions)
                keys, values, held = self.k[n], self.v[n], self.held[n]
            else:
                keys = np.concatenate([self.k[n], k], axis=1)
                values = np.concatenate([self.k[n] if bug == "k for v" else self.v[n], v], axis=1)
                held = np.concatenate([self.held[n], positions])
            if bug == "no cache":
                keys, values, held = k, v, positions
            mask = mn.window_mask(positions, held, W + (bug in ("old", "too old")))
            if bug == "ahead":
                mask = mask | (held >= positions[0])
            gap = positions[:, None] - held
            if bug == "empty":
                mask = (gap >= 0) & (gap < W)
            if bug == "no mask":
                mask = np.ones_like(mask)
            see(f"layers.{n}.mask", mask)
            heads = ps.attend(q, keys, values, mask)
            if bug == "blind":  # what a plain softmax makes of rows that are all hidden
                heads = heads * np.nan
            see(f"layers.{n}.heads", heads)
            if bug not in ("write first", "nothing"):
                self.write(n, plain if bug == "plain" else k, v, positions)
            if bug == "nothing":
                self.held[n, positions % self.held.shape[1]] = positions
            x = x + ps.merge_heads(heads) @ w["attention.wo"].T
            see(f"layers.{n}.h", x)
            normed = ps.rms_norm(x, w["ffn_norm"], CONFIG.norm_eps)
            x = x + ps.feed_forward(normed, *(w[f"feed_forward.w{i}"] for i in (1, 2, 3)))
        x = ps.rms_norm(x, weights["norm.weight"], CONFIG.norm_eps)
        return x @ weights["output.weight"].T

    def write(self, n, k, v, positions):
        slots = self.held.shape[1]
        for i, position in list(enumerate(positions))[-slots:]:
            slot = position % slots
            self.k[n, :, slot], self.v[n, :, slot] = k[:, i], v[:, i]
            self.held[n, slot] = position


@pytest.mark.parametrize("size", [1, 3, 7, 9, 23])
def test_a_right_cache_agrees_in_chunks_of_any_size(size):
    assert compare(CachedModel(size=size), MODEL, IDS) is None


CACHE_BUGS = {
    "restart": "begin at 0 again",
    "late": "one too high after the first chunk",
    "write first": "written first",
    "no cache": "cache is not read",
    "k for v": "keys where values",
    "ahead": "see ahead within the chunk",
    "old": "W + 1 keys",
    "few": "too few tokens",
    "plain": "before the rotation",
    "nothing": "holds zeros",
    "empty": "an empty slot is seen",
    "no mask": "no mask: a chunk sees every slot",
    "blind": "A query sees no key",
}


@pytest.mark.parametrize("bug", CACHE_BUGS)
def test_a_wrong_cache_is_named(bug):
    difference = compare(CachedModel(bug), MODEL, IDS)
    assert difference is not None and CACHE_BUGS[bug] in difference.cause, difference
    assert difference.name.startswith("layers.0.")


@pytest.mark.parametrize(
    ("change", "name", "cause"),
    [
        ({"rope_theta": 1e6}, "layers.0.q_rotated", "theta is 1,000,000"),
        ({"norm_eps": 1e-5}, "layers.0.attention_norm", "eps is 1e-05"),
        ({"window_size": 8}, "layers.0.mask", "W + 1 keys"),
        ({"window_size": None}, "layers.0.mask", "no window"),
    ],
)
def test_a_wrong_config_is_named(change, name, cause):
    wrong = mn.Mistral(replace(CONFIG, **change), MODEL.weights)
    difference = compare(wrong, MODEL, IDS)
    assert difference.name == name and cause in difference.cause


def test_a_damaged_checkpoint_is_named():
    weights = dict(MODEL.weights)
    wq = weights["layers.1.attention.wq.weight"]
    rows = wq.reshape(CONFIG.n_heads, -1, 2, wq.shape[1]).swapaxes(1, 2).reshape(wq.shape)
    weights["layers.1.attention.wq.weight"] = rows
    difference = compare(mn.Mistral(CONFIG, weights), MODEL, IDS)
    assert difference.name == "layers.1.q" and "other layout" in difference.cause
    weights = dict(MODEL.weights)
    a, b = (f"layers.1.feed_forward.{w}.weight" for w in ("w1", "w3"))
    weights[a], weights[b] = weights[b], weights[a]
    difference = compare(mn.Mistral(CONFIG, weights), MODEL, IDS)
    assert difference.name == "layers.1.ffn" and "swapped" in difference.cause
    weights = dict(MODEL.weights) | {"output.weight": MODEL.weights["tok_embeddings.weight"]}
    difference = compare(mn.Mistral(CONFIG, weights), MODEL, IDS)
    assert difference.name == "logits" and "embedding is used" in difference.cause


def test_what_has_no_usual_cause_says_where_it_is():
    wrong = replace(ps.Parts(), feed_forward=lambda x, *w: ps.feed_forward(x, *w) + 1)
    difference = compare(lambda ids, see: ps.forward(MODEL, ids, wrong, see), MODEL, IDS)
    assert difference.name == "layers.0.ffn" and "No usual mistake" in difference.cause
    assert re.search(r"layers\.0\.ffn\[\d+, \d+\] is ", str(difference))


def test_logits_alone_can_be_compared():
    difference = compare(lambda ids, see: ps.forward(MODEL, ids) * 2, MODEL, IDS)
    assert difference.name == "logits"


def test_a_shape_that_is_wrong_is_said():
    def mine(ids, see):
        see("layers.0.q", np.zeros((3, 3)))

    assert "(3, 3)" in compare(mine, MODEL, IDS).cause


def test_an_unknown_name_is_refused():
    with pytest.raises(ValueError, match=r"name must be one of .* 'q'"):
        compare(lambda ids, see: see("q", 1), MODEL, IDS)


def test_models_of_other_shapes_are_refused():
    other = mn.Mistral(replace(CONFIG, dim=64))
    with pytest.raises(ValueError, match=r"tok_embeddings\.weight must be"):
        compare(other, MODEL, IDS)


def test_an_unknown_part_is_refused():
    with pytest.raises(TypeError, match=r"a part must be one of .* not rotation"):
        ps.tiny_bits(rotation=ps.rotate)


def test_what_each_part_is_worth_to_the_trained_model():
    right = ps.tiny_bits()
    worse = {
        "none": ps.tiny_bits(rotate=lambda x, p, t: x),
        "halves": ps.tiny_bits(rotate=halves),
        "tile": ps.tiny_bits(attend=grouped(copy=np.tile)),
        "no mask": ps.tiny_bits(mask=lambda q, k, W: np.ones((len(q), len(k)), bool)),
        "norm": ps.tiny_bits(rms_norm=lambda x, w, eps: x * w),
    }
    assert min(worse.values()) > right + 0.4, (right, worse)
    assert abs(ps.tiny_bits(mask=shown(lambda W: W + 1)) - right) < 0.02
