"""Exercises: every solution is accepted, every known mistake gets its own hint."""

import re

import numpy as np
import pytest
import torch

from minimistral.checks import lesson_00, lesson_04, report
from minimistral.config import ModelConfig, visible_pairs


def said(check, *answers):
    """The one line that a check prints."""
    import contextlib
    import io

    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        assert check(*answers) is None
    lines = out.getvalue().splitlines()
    assert len(lines) == 1 and lines[0][0] in "☐✗✓", lines
    return lines[0]


def rule(q, k, W):
    d = q[:, None] - k[None, :]
    return (d >= 0) & (d < W)


def distance(q, k):
    return q[:, None] - k[None, :]


def causal(T):
    return np.tril(np.ones((T, T), dtype=bool))


def layer(c, heads=None, ffn=3, norms=2, q=2, kv=2):
    heads = heads or c.n_kv_heads
    attention = q * c.n_heads * c.head_dim * c.dim + kv * heads * c.head_dim * c.dim
    return attention + ffn * c.dim * c.hidden_dim + norms * c.dim


def cache(c, tokens, size, k_and_v=2, layers=None, heads=None, head_dim=None):
    kept = min(tokens, c.window_size)
    layers, heads = layers or c.n_layers, heads or c.n_kv_heads
    return k_and_v * layers * heads * (head_dim or c.head_dim) * kept * size


def looped(q, k, W):
    return np.array([[0 <= i - j < W for j in k] for i in q])


def in_place(q, k, W):
    q -= q.min()
    return rule(q, k, W)


def mask_count(T, W):
    return int(rule(np.arange(T), np.arange(T), W).sum())


RIGHT = [
    (lesson_00.layer_params, (layer,)),
    (lesson_00.cache_bytes, (cache,)),
    (lesson_00.wrong_budget, (4, 16)),
    (lesson_00.wrong_budget, (32 / 8, 65536 / 4096)),
    (lesson_00.wrong_budget, (np.int64(4), torch.tensor(16))),
    (lesson_04.block_keys, (lambda start, stop, W: np.array([max(0, start - W + 1), stop]),)),
    (lesson_04.mask, (rule,)),
    (lesson_04.mask, (looped,)),
    (lesson_04.mask, (lambda q, k, W: torch.from_numpy(rule(q, k, W)),)),
    (lesson_04.suspect, (4097, 4096, lambda T, W: np.triu(causal(T), 1 - W))),
    (lesson_04.pairs, (visible_pairs,)),
    (lesson_04.pairs, (lambda T, W: sum(min(i + 1, W) for i in range(T)),)),
    (lesson_04.block_keys, (lambda start, stop, W: (max(0, start - W + 1), stop),)),
]

LAYER = lesson_00.layer_params
CACHE = lesson_00.cache_bytes
BUDGET = lesson_00.wrong_budget
MASK = lesson_04.mask
SUSPECT = lesson_04.suspect
PAIRS = lesson_04.pairs
BLOCK = lesson_04.block_keys
WRONG = [
    (LAYER, (lambda c: layer(c, heads=c.n_heads),), "wk and wv have n_kv_heads heads"),
    (LAYER, (lambda c: layer(c, norms=0),), "two norms, dim values"),
    (LAYER, (lambda c: layer(c, norms=1),), "There are two norms"),
    (LAYER, (lambda c: layer(c, ffn=2),), "three matrices"),
    (LAYER, (lambda c: layer(c, q=1),), "wq or wo"),
    (LAYER, (lambda c: layer(c, kv=1),), "you count one"),
    (LAYER, (lambda c: layer(c, kv=0),), "wk and wv are missing"),
    (LAYER, (lambda c: layer(c) * c.n_layers,), "all layers"),
    (LAYER, (lambda c: c.n_params,), "the whole model"),
    (LAYER, (lambda c: c.n_params // c.n_layers,), "belong to no layer"),
    (LAYER, (lambda c: layer(c) + 0.5,), "whole number"),
    (LAYER, (lambda c: str(layer(c)),), "of type str"),
    (LAYER, (lambda c: 218_112_000,), "Mistral 7B only"),
    (LAYER, (lambda c: c.n_head,), "AttributeError"),
    (LAYER, (218_112_000,), "pass the function itself"),
    (CACHE, (lambda c, t, b: cache(c, t, b, heads=c.n_heads),), "n_kv_heads heads are kept"),
    (CACHE, (lambda c, t, b: 2 * c.n_layers * c.n_kv_heads * c.head_dim * t * b,), "window_size"),
    (CACHE, (lambda c, t, b: 2 * c.n_layers * c.n_heads * c.head_dim * t * b,), "n_kv_heads heads"),
    (CACHE, (lambda c, t, b: cache(c, t, b, k_and_v=1),), "Both K and V"),
    (CACHE, (lambda c, t, b: cache(c, t, b, layers=1),), "Every layer"),
    (CACHE, (lambda c, t, b: cache(c, t, b, head_dim=1),), "head_dim values"),
    (CACHE, (lambda c, t, b: cache(c, t, b, heads=1, head_dim=c.dim),), "That uses dim"),
    (CACHE, (lambda c, t, b: cache(c, t, b) / 2**30,), "in bytes, must be a whole number"),
    (CACHE, (lambda c, t, b: cache(c, t, b) + 1,), "too large"),
    (BUDGET, (32, 16), "share one key/value head"),
    (BUDGET, (8, 16), "That is n_kv_heads"),
    (BUDGET, (1, 16), "How many does the model keep"),
    (BUDGET, (2, 16), "K and V are both needed"),
    (BUDGET, (5, 16), "too large"),
    (BUDGET, (4, 4), "other factor"),
    (BUDGET, (4, 64), "both factors"),
    (BUDGET, (4, 4096), "the window itself"),
    (BUDGET, (4, 1), "lets the cache grow"),
    (BUDGET, (4, 2), "8,192 tokens"),
    (BUDGET, ("4", 16), "of type str"),
    (BUDGET, (0.25, 16), "how much is left"),
    (BUDGET, (4, 8), "right at 32,768"),
    (BUDGET, (4, 0), "would have 1"),
    (MASK, (lambda q, k, W: rule(q, k, W + 1),), "W + 1 keys"),
    (MASK, (lambda q, k, W: rule(q, k, W - 1),), "W - 1 keys"),
    (MASK, (lambda q, k, W: (distance(q, k) > 0) & (distance(q, k) < W),), "sees itself"),
    (MASK, (lambda q, k, W: (distance(q, k) > 0) & (distance(q, k) <= W),), "before it"),
    (MASK, (lambda q, k, W: rule(k, q, W).T,), "flipped"),
    (MASK, (lambda q, k, W: rule(k, q, W),), "transposed"),
    (MASK, (lambda q, k, W: rule(q, k, W).T,), "transposed"),
    (MASK, (lambda q, k, W: abs(distance(q, k)) < W,), "W - 1 keys ahead"),
    (MASK, (lambda q, k, W: distance(q, k) < W,), "every key ahead"),
    (MASK, (lambda q, k, W: distance(q, k) >= 0,), "too old"),
    (MASK, (lambda q, k, W: ~rule(q, k, W),), "swapped"),
    (MASK, (lambda q, k, W: rule(np.arange(len(q)), np.arange(len(k)), W),), "rows and columns"),
    (MASK, (lambda q, k, W: rule(q, k, W).astype(int),), "bool"),
    (MASK, (lambda q, k, W: rule(q, k, W) * 1.0,), "bool"),
    (MASK, (lambda q, k, W: np.where(rule(q, k, W), 0.0, -np.inf),), "bool"),
    (MASK, (lambda q, k, W: rule(q, k, W)[0],), "shape"),
    (MASK, (lambda q, k, W: rule(q, k, W)[None],), "shape"),
    (MASK, (lambda q, k, W: rule(q, k, W).tolist(),), "of type list"),
    (MASK, (lambda q, k, W: True,), "of type bool"),
    (MASK, (lambda q, k, W: None,), "return"),
    (MASK, (lambda q, k, W: rule(q, k, 3),), "the distance is"),
    (MASK, (in_place,), "changes its input"),
    (MASK, (lambda q, k: rule(q, k, 3),), "TypeError"),
    (MASK, (rule(np.arange(3), np.arange(3), 2),), "pass the function itself"),
    (SUSPECT, (4096, 4096, None), "both masks show it"),
    (SUSPECT, (4095, 4096, None), "plain causal"),
    (SUSPECT, (4098, 4096, None), "already one row"),
    (SUSPECT, (8192, 4096, None), "long before"),
    (SUSPECT, (1, 4096, None), "short prompts"),
    (SUSPECT, (4097, 4095, None), "rightly visible"),
    (SUSPECT, (4097, 4097, None), "how far back"),
    (SUSPECT, (4097, 0, None), "own"),
    (SUSPECT, (4097, -4096, None), "positive"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), -W)), "W + 1 keys"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), 2 - W)), "W - 1 keys"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(np.ones((T, T), bool), 1 - W)), "every key ahead"),
    (SUSPECT, (4097, 4096, lambda T, W: causal(T)), "too old"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(np.tril(np.ones((T, T))), 1 - W)), "bool"),
    (PAIRS, (lambda T, W: T * W,), "first rows see fewer"),
    (PAIRS, (lambda T, W: T * T,), "every pair"),
    (PAIRS, (lambda T, W: T * (T + 1) // 2,), "full causal"),
    (PAIRS, (lambda T, W: visible_pairs(T, W + 1),), "W + 1"),
    (PAIRS, (lambda T, W: sum(min(i + 1, W - 1) for i in range(T)),), "W - 1"),
    (PAIRS, (lambda T, W: visible_pairs(T, W) - T,), "diagonal"),
    (PAIRS, (lambda T, W: (T - W) * W,), "only the full rows"),
    (PAIRS, (lambda T, W: T * W - W * (W + 1) // 2,), "fall short"),
    (PAIRS, (lambda T, W: T * W - W * (W - 1) // 2,), "only T rows"),
    (PAIRS, (lambda T, W: W * (W + 1) // 2 + max(0, T - W) * W,), "smaller triangle"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), -W - 1)), "W + 2 keys"),
    (SUSPECT, (4097, 4096, lambda T, W: np.triu(causal(T), -4095)), "the argument W"),
    (PAIRS, (lambda T, W: visible_pairs(T, W) / 3,), "whole number"),
    (PAIRS, (mask_count,), "Visible pairs: that builds an array of T x T"),
    (BLOCK, (lambda a, b, W: (max(0, a - W), b),), "one too many"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 2), b),), "is missing"),
    (BLOCK, (lambda a, b, W: (a - W + 1, b),), "no key before 0"),
    (BLOCK, (lambda a, b, W: (0, b),), "not needed"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), b - 1),), "last query's own key"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), b + 1),), "lie ahead"),
    (BLOCK, (lambda a, b, W: (a, b),), "is missing"),
    (BLOCK, (lambda a, b, W: max(0, a - W + 1),), "two numbers"),
    (BLOCK, (lambda a, b, W: (b, max(0, a - W + 1)),), "swapped"),
    (BLOCK, (lambda a, b, W: (max(0, a - W + 1), None),), "not written yet"),
    (BUDGET, (4, None), "window_factor is not written yet"),
    (SUSPECT, (4097, None, None), "distance is not written yet"),
    (SUSPECT, (4, 4096, None), "for a small W"),
    (SUSPECT, (4097, 3, None), "for a small W"),
    (LAYER, (lambda c: layer(c) * 2,), "not bytes"),
    (LAYER, (lambda c: layer(c) - 2 * c.dim * (c.n_heads * c.head_dim - c.dim),), "need not"),
    (LAYER, (lambda c: exit(),), "SystemExit"),
    (CACHE, (lambda c, t, b: cache(c, t, b, heads=1),), "n_kv_heads heads"),
    (CACHE, (lambda c, t, b: cache(c, t, 1),), "counts values"),
    (CACHE, (lambda c, t, b: cache(c, t, 2),), "not always 2"),
    (CACHE, (lambda c, t, b: cache(c, t, b * b),), "twice"),
    (CACHE, (lambda c, t, b: cache(c, 10**9, b),), "fewer tokens"),
    (MASK, (lambda q, k, W: 0 <= distance(q, k) < W,), "Join two comparisons with &"),
    (PAIRS, (lambda T, W: sum(min(i, W) for i in range(T)),), "i + 1 keys"),
]
CHECKS = [LAYER, CACHE, BUDGET, MASK, SUSPECT, PAIRS, BLOCK]


@pytest.mark.parametrize(("check", "answers"), RIGHT)
def test_a_right_answer_is_accepted(check, answers):
    assert said(check, *answers).startswith("✓")


@pytest.mark.parametrize(("check", "answers", "hint"), WRONG)
def test_a_wrong_answer_gets_its_hint(check, answers, hint):
    line = said(check, *answers)
    assert not line.startswith("✓") and re.search(re.escape(hint), line), line
    assert line == said(check, *answers), "the line must not change"


@pytest.mark.parametrize("check", CHECKS)
def test_at_least_five_wrong_answers_of_each_check_are_tried(check):
    assert sum(row[0] is check and "not written" not in row[2] for row in WRONG) >= 5


def not_yet(*_arguments):
    raise NotImplementedError


@pytest.mark.parametrize("check", CHECKS)
def test_an_open_exercise_says_so(check):
    n_answers = {BUDGET: 2, SUSPECT: 3}.get(check, 1)
    assert said(check, *[None] * n_answers).startswith("☐")
    if check is not BUDGET:
        answers = (4097, 4096, not_yet) if check is SUSPECT else (not_yet,)
        assert said(check, *answers).startswith("☐")


class Nasty:
    """Raises whatever is asked of it."""

    def __getattr__(self, name):
        raise RuntimeError("nasty")

    def __array__(self, *_args, **_kwargs):
        raise RuntimeError("nasty")

    def __eq__(self, other):
        raise RuntimeError("nasty")

    __hash__ = None


ODD = [Nasty, lambda: "text", list, lambda: np.nan, dict, lambda: np.zeros(3), lambda: True,
       lambda: -1, lambda: 10**30]  # fmt: skip


@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize("make", ODD)
def test_a_check_never_raises(check, make):
    n_answers = {BUDGET: 2, SUSPECT: 3}.get(check, 1)
    assert said(check, *[make()] * n_answers)[0] == "✗"
    if check is not BUDGET:
        answers = (4097, 4096) if check is SUSPECT else ()
        assert said(check, *answers, lambda *_: make())[0] == "✗"


def test_too_few_answers_do_not_raise():
    assert said(lesson_04.mask)[0] == "✗"


def test_what_the_learner_raises_is_told():
    def division(q, k, W):
        return 1 / 0

    assert "ZeroDivisionError: division by zero" in said(MASK, division)


def test_the_hint_of_a_count_that_is_off_by_nothing_known():
    with pytest.raises(report.Wrong, match="too small"):
        report.one_number("It", 3, 4, [])


def test_the_right_layer_is_the_paper_s():
    assert layer(ModelConfig.mistral_7b()) == 218_112_000
