"""Checks of lesson 00: parameters and bytes from the nine numbers."""

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from minimistral.config import NINE_NUMBERS, ModelConfig
from minimistral.course.checks.report import (
    Wrong,
    call,
    diagnose_number,
    diagnose_numbers,
    exercise,
    expect,
    whole_number,
)

_MISTRAL = ModelConfig.mistral_7b("v0.1")
# Here n_heads * head_dim is not dim, and no two numbers are alike, so that mix-ups show.
_SMALL = ModelConfig(
    dim=20, n_layers=5, head_dim=6, hidden_dim=52, n_heads=12, n_kv_heads=3,
    window_size=7, context_len=64, vocab_size=50,
)  # fmt: skip


@exercise("Layer parameters")
def layer_params(answer: Any) -> str:
    """answer(config) -> the number of parameters in one layer."""
    cases = [(_MISTRAL,), (_SMALL,)]
    diagnose_numbers("The count", answer, _layer, cases, _layer_mistakes(), _name)
    try:  # what has the nine numbers, but no method that counts
        call(answer, SimpleNamespace(**{name: getattr(_SMALL, name) for name in NINE_NUMBERS}))
    except Wrong:
        raise Wrong("right, but it needs more than the config's nine numbers.") from None
    return "right for Mistral 7B and for a small model."


@exercise("Cache bytes")
def cache_bytes(answer: Any) -> str:
    """answer(config, tokens, bytes_per_value) -> bytes of keys and values kept."""
    cases = [(_MISTRAL, 100, 2), (_MISTRAL, 32768, 2), (_SMALL, 3, 4), (_SMALL, 64, 4)]
    diagnose_numbers("The size, in bytes,", answer, _cache, cases, _cache_mistakes(), _case_name)
    return f"right in all {len(cases)} cases, with long and short texts."


@exercise("A budget that is wrong")
def wrong_budget(heads_factor: Any, window_factor: Any) -> str:
    """The two factors by which the budget of the lesson is too large at 65,536 tokens."""
    for name, factor in (("heads_factor", heads_factor), ("window_factor", window_factor)):
        left = isinstance(factor, float) and 0 < factor < 1
        expect(not left, f"{name}: {factor} is how much is left. Give how many times too large.")
    heads = whole_number("heads_factor", heads_factor)
    diagnose_number("heads_factor", heads, _MISTRAL.n_groups, [
        (32, "That is the number of query heads. How many of them share one key/value head?"),
        (8, "That is n_kv_heads. How many times as many heads did the budget count?"),
        (16, "That is the window's factor. Compare the heads."),
        (64, "That is both factors together. Give the heads' alone."),
        (24, "That is a difference. How many times as many heads did the budget count?"),
        (1, "The budget counts n_heads heads in the cache. How many does the model keep?"),
        (2, "K and V are both needed: the 2 in the formula is right."),
        (0, "A factor says how many times too large; a budget without an error would have 1."),
    ])  # fmt: skip
    window = whole_number("window_factor", window_factor)
    diagnose_number("window_factor", window, 65536 // 4096, [
        (4, "That is the other factor. How many tokens are asked for, how many are kept?"),
        (64, "That is both factors together. Give the window's alone."),
        (61_440, "That is a difference. How many times does the window fit into 65,536?"),
        (4096, "That is the window itself. How many times does it fit into 65,536?"),
        (1, "The budget lets the cache grow to 65,536 tokens. How many does the window keep?"),
        (2, "2 is right at 8,192 tokens. The budget is for 65,536."),
        (8, "8 is right at 32,768 tokens. The budget is for 65,536."),
        (0, "A factor says how many times too large; a budget without an error would have 1."),
    ])  # fmt: skip
    return "both factors are right."


def _name(config: ModelConfig) -> str:
    if config is _MISTRAL:
        return "Mistral 7B"
    sizes = (f"{name}={getattr(config, name)}" for name in NINE_NUMBERS)
    return f"a small model ({', '.join(sizes)})"


def _case_name(config: ModelConfig, tokens: int, size: int) -> str:
    return f"{tokens} tokens of {size} bytes per value in {_name(config)}"


def _layer(config: ModelConfig) -> int:
    """The right answer: what the config counts, less what is outside the layers."""
    outside = 2 * config.vocab_size * config.dim + config.dim
    return (config.n_params - outside) // config.n_layers


def _cache(config: ModelConfig, tokens: int, size: int) -> int:
    return config.cache_bytes(tokens, {2: "bfloat16", 4: "float32"}[size])


def _layer_mistakes() -> list[tuple[Callable[..., int], str]]:
    def count(c, q=2, kv=2, ffn=3, norms=2, kv_heads=None, q_dim=None):
        query = q * (q_dim or c.n_heads * c.head_dim) * c.dim
        keys = kv * (kv_heads or c.n_kv_heads) * c.head_dim * c.dim
        return query + keys + ffn * c.dim * c.hidden_dim + norms * c.dim

    return [
        (lambda c: count(c, kv_heads=c.n_heads), "wk and wv have n_kv_heads heads, not n_heads."),
        (lambda c: count(c, q=4, kv=0, q_dim=c.dim),
         "wk and wv have n_kv_heads * head_dim rows, not dim."),
        (lambda c: count(c, kv_heads=1), "wk and wv have n_kv_heads heads, not one."),
        (lambda c: count(c, kv_heads=c.n_groups),
         "n_heads / n_kv_heads says how many query heads share one. wk and wv have n_kv_heads."),
        (lambda c: count(c, norms=2 * c.dim), "A norm has dim values, not dim x dim."),
        (lambda c: count(c, norms=0) + 2, "A norm has dim values, not one."),
        (lambda c: _layer(c) + c.vocab_size * c.dim, "The embedding belongs to no layer."),
        (lambda c: count(c, norms=0), "The two norms, dim values each, are missing."),
        (lambda c: count(c, norms=1), "There are two norms: before attention, before the FFN."),
        (lambda c: count(c, ffn=2), "The FFN has three matrices: w1, w2 and w3."),
        (lambda c: count(c, q=1), "One matrix of n_heads * head_dim x dim is missing: wq or wo."),
        (lambda c: count(c, kv=1), "wk and wv are two matrices; you count one."),
        (lambda c: count(c, kv=0), "wk and wv are missing."),
        (lambda c: count(c, q_dim=c.dim),
         "n_heads * head_dim equals dim in Mistral 7B, but it need not: wq and wo use both."),
        (lambda c: 2 * _layer(c), "That is twice as many. Count parameters, not bytes."),
        (lambda c: c.n_layers * _layer(c), "That is all layers; the exercise asks for one."),
        (lambda c: c.n_params, "That is the whole model; the exercise asks for one layer."),
        (lambda c: c.n_params // c.n_layers,
         "The embedding, the last norm and the output belong to no layer."),
        (lambda c: _layer(_MISTRAL), "That is right for Mistral 7B only. Use config's numbers."),
    ]  # fmt: skip


def _cache_mistakes() -> list[tuple[Callable[..., int], str]]:
    def count(c, tokens, size, k_and_v=2, layers=None, heads=None, head_dim=None):
        layers, heads = layers or c.n_layers, heads or c.n_kv_heads
        return k_and_v * layers * heads * (head_dim or c.head_dim) * tokens * size

    def kept(c, tokens):
        return min(tokens, c.window_size)

    only_7b = "That is right for Mistral 7B only. Use config's numbers."
    return [
        (lambda c, t, b: count(c, t, b), "Never more than window_size tokens are kept."),
        (lambda c, t, b: count(c, kept(c, t), b, heads=c.n_heads),
         "Only n_kv_heads heads are kept, not n_heads."),
        (lambda c, t, b: count(c, t, b, heads=c.n_heads),
         "Count n_kv_heads heads, and never more than window_size tokens."),
        (lambda c, t, b: count(c, kept(c, t), b, heads=c.n_groups),
         "n_heads / n_kv_heads says how many query heads share one. n_kv_heads are kept."),
        *((lambda c, t, b, more=more: count(c, min(t, c.window_size + more), b),
           "A window of W keeps W tokens: no more, and no fewer.")
          for more in (-1, 1)),
        (lambda c, t, b: count(c, t % c.window_size, b),
         "% starts again at 0 once the window is full. From then on window_size tokens are kept."),
        (lambda c, t, b: count(c, kept(c, t), b, k_and_v=1), "Both K and V are kept."),
        (lambda c, t, b: count(c, kept(c, t), b, layers=1), "Every layer keeps its own K and V."),
        (lambda c, t, b: count(c, kept(c, t), b, heads=1), "There are n_kv_heads heads."),
        (lambda c, t, b: count(c, kept(c, t), b, head_dim=1), "A head keeps head_dim values."),
        (lambda c, t, b: count(c, kept(c, t), b, heads=1, head_dim=c.dim),
         "That uses dim. A key has n_kv_heads * head_dim values."),
        (lambda c, t, b: count(c, kept(c, t), 1), "That counts values. Multiply by their bytes."),
        (lambda c, t, b: count(c, kept(c, t), b * b), "bytes_per_value is counted twice."),
        (lambda c, t, b: count(c, kept(c, t), 2), "Use bytes_per_value; it is not always 2."),
        (lambda c, t, b: count(c, c.window_size, b),
         "With fewer tokens than the window, only those tokens are kept."),
        (lambda c, t, b: count(c, max(t, c.window_size), b),
         "That keeps the larger of the two. The window is an upper limit."),
        (lambda c, t, b: count(c, min(t, c.context_len), b),
         "context_len is the length of a text; window_size is how many tokens are kept."),
        (lambda c, t, b: kept(c, t) * count(_MISTRAL, 1, b), only_7b),
        (lambda c, t, b: min(t, 4096) * count(_MISTRAL, 1, b), only_7b),
        (lambda c, t, b: kept(c, t) * count(_MISTRAL, 1, 2), only_7b),
        (lambda c, t, b: count(c, min(t, 4096), b), only_7b),
    ]  # fmt: skip
