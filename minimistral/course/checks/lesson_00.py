"""Checks of lesson 00: parameters and bytes from the nine numbers."""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from functools import cache
from itertools import product
from typing import Any

from minimistral.config import ModelConfig
from minimistral.course.checks.report import (
    Wrong,
    call,
    diagnose_number,
    diagnose_numbers,
    exercise,
    expect,
    whole_number,
)

# What a term of a formula is, or is taken to be, each with its hint; "" is the right one.
Term = Sequence[tuple[Callable[..., int], str]]
Mistakes = list[tuple[Callable[..., int], str]]

_MISTRAL = ModelConfig.mistral_7b("v0.1")
# Here n_heads * head_dim is not dim, and no two numbers are alike, so that mix-ups show.
_SMALL = ModelConfig(
    dim=20, n_layers=11, head_dim=8, hidden_dim=52, n_heads=18, n_kv_heads=3,
    window_size=7, context_len=64, vocab_size=50,
)  # fmt: skip
_ONLY_7B = "That is right for Mistral 7B only. Use config's numbers."
_SPLIT = "head_dim is dim / n_heads in Mistral 7B, but it need not be. Use config.head_dim."
_FOUR = "4 query heads share one in Mistral 7B, but it need not be so. Use n_kv_heads."


class _Nine(ModelConfig):
    """A config with nothing that counts parameters, but with the numbers they follow from."""

    def __getattribute__(self, name: str) -> Any:
        numbers = [field.name for field in fields(ModelConfig)]
        if not (name.startswith("__") or name == "n_groups" or name in numbers):
            raise Wrong(f"right, but it needs more than the config's nine numbers: {name}.")
        return super().__getattribute__(name)


def _layer(config: ModelConfig) -> int:
    """The right answer: what the config counts, less what is outside the layers."""
    outside = 2 * config.vocab_size * config.dim + config.dim
    return (config.n_params - outside) // config.n_layers


def _cache(config: ModelConfig, tokens: int, bytes_per_value: int) -> int:
    return config.cache_bytes(tokens, "int8") * bytes_per_value  # int8: one byte per value


@exercise(
    "Layer parameters",
    course=_layer,
    hints=(
        "Begin with attention: `wq` has `n_heads * head_dim` rows and `dim` columns, and `wo` "
        "is the other way round, so both have the same number of parameters.",
        "`wk` and `wv` have only `n_kv_heads * head_dim` rows each. The FFN has **three** "
        "matrices of `dim * hidden_dim` parameters, and each of the two norms has `dim`.",
        "With `q = n_heads * head_dim` and `kv = n_kv_heads * head_dim` the sum is "
        "`2 * q * dim + 2 * kv * dim + 3 * dim * hidden_dim + 2 * dim`.",
    ),
)
def layer_params(answer: Any) -> str:
    """answer(config) -> the number of parameters in one layer."""
    cases = [(_SMALL,), (_MISTRAL,)]
    diagnose_numbers("The count", answer, _layer, cases, _layer_mistakes(), _name)
    call(answer, _Nine(**{field.name: getattr(_SMALL, field.name) for field in fields(_SMALL)}))
    return "right for Mistral 7B and for a small model."


@exercise(
    "Cache bytes",
    course=_cache,
    hints=(
        "Start from the number of values per token, which the formula above gives.",
        "How many tokens are kept when `tokens` is larger than the window? Python has `min`.",
        "Multiply `min(tokens, config.window_size)` by the values per token and by "
        "`bytes_per_value`.",
    ),
)
def cache_bytes(answer: Any) -> str:
    """answer(config, tokens, bytes_per_value) -> bytes of keys and values kept."""
    cases = [(_SMALL, 3, 4), (_SMALL, 64, 4), (_MISTRAL, 100, 2), (_MISTRAL, 32768, 2)]
    diagnose_numbers("The size, in bytes,", answer, _cache, cases, _cache_mistakes(), _case_name)
    return f"right in all {len(cases)} cases, with long and short texts."


@exercise(
    "A budget that is wrong",
    hints=(
        "Compare the estimate, factor by factor, with the formula for the values per token.",
        "It counts `n_heads` where the cache keeps `n_kv_heads`, and `tokens` where the cache "
        "keeps at most `window_size`.",
        "The factors are `n_heads / n_kv_heads` and `65536 / window_size`.",
    ),
)
def wrong_budget(heads_factor: Any, window_factor: Any) -> str:
    """The two factors by which the budget of the lesson is too large at 65,536 tokens."""
    heads_factor, window_factor = map(_number, (heads_factor, window_factor))
    for name, factor in (("heads_factor", heads_factor), ("window_factor", window_factor)):
        left = f"{name}: {factor} is how much is left. Give how many times too large."
        expect(not (isinstance(factor, float) and 0 < factor < 1), left)
    heads = whole_number("heads_factor", heads_factor)
    diagnose_number("heads_factor", heads, _MISTRAL.n_groups, [
        (32, "That is the number of query heads. How many of them share one key/value head?"),
        (8, "That is n_kv_heads. How many times as many heads did the budget count?"),
        (16, "That is the window's factor. Compare the heads."),
        (64, "That is both factors together. Give the heads' alone."),
        (24, "That is a difference. How many times as many heads did the budget count?"),
        (3, "4 times as many are 3 times more; give the factor to multiply by."),
        (75, "That is a percentage. Give the factor by which the budget is too large."),
        (300, "That is a percentage. Give the factor by which the budget is too large."),
        (128, "That is head_dim, which is right in the budget. Compare the numbers of heads."),
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
        (65_536, "That is the text. How many times does the window fit into it?"),
        (1500, "That is a percentage. Give the factor by which the budget is too large."),
        (15, "16 times as many are 15 times more; give the factor to multiply by."),
        (1, "The budget lets the cache grow to 65,536 tokens. How many does the window keep?"),
        (2, "2 is right at 8,192 tokens. The budget is for 65,536."),
        (8, "8 is right at 32,768 tokens, and it is 65,536 / context_len; divide by the window."),
        (0, "A factor says how many times too large; a budget without an error would have 1."),
    ])  # fmt: skip
    return "both factors are right."


def _number(answer: Any) -> Any:
    """A number of NumPy or torch as Python's; anything else as it is."""
    return answer.item() if getattr(answer, "shape", None) == () else answer


def _name(config: ModelConfig) -> str:
    return "Mistral 7B" if config is _MISTRAL else "a small model"


def _case_name(config: ModelConfig, tokens: int, size: int) -> str:
    return f"{tokens:,} tokens of {size} bytes per value in {_name(config)}"


def _mistakes(join: Callable[[Iterable[int]], int], terms: Sequence[Term]) -> Mistakes:
    """All formulas with one mistake or two, each with its hints."""

    def formula(chosen: Sequence[Callable[..., int]]) -> Callable[..., int]:
        return lambda *case: join(term(*case) for term in chosen)

    found: list[tuple[int, Callable[..., int], str]] = []
    for choice in product(*terms):
        hints = list(dict.fromkeys(hint for _, hint in choice if hint))
        if 1 <= len(hints) <= 2:
            found.append((len(hints), formula([term for term, _ in choice]), " ".join(hints)))
    return [(function, hint) for _, function, hint in sorted(found, key=lambda entry: entry[0])]


@cache
def _layer_mistakes() -> Mistakes:
    query: Term = [
        (lambda c: 2 * c.n_heads * c.head_dim * c.dim, ""),
        (lambda c: c.n_heads * c.head_dim * c.dim,
         "One matrix of n_heads * head_dim x dim is missing: wq or wo."),
        (lambda c: 0, "wq and wo are missing."),
        (lambda c: 2 * c.dim * c.dim,
         "n_heads * head_dim equals dim in Mistral 7B, but it need not: wq and wo use both."),
        (lambda c: c.n_heads * c.head_dim * c.dim + c.dim * c.dim,
         "n_heads * head_dim equals dim in Mistral 7B, but it need not: wq and wo use both."),
        (lambda c: 2 * c.head_dim * c.dim, "wq and wo hold all n_heads heads, not one."),
        (lambda c: (c.n_heads + c.n_kv_heads) * c.head_dim * c.dim,
         "wo reads the results of all n_heads query heads, so it is as large as wq."),
        (lambda c: 2 * c.n_heads * (c.dim // c.n_heads) * c.dim, _SPLIT),
    ]  # fmt: skip
    keys: Term = [
        (lambda c: 2 * c.n_kv_heads * c.head_dim * c.dim, ""),
        (lambda c: 2 * c.n_heads * c.head_dim * c.dim,
         "wk and wv have n_kv_heads heads, not n_heads."),
        (lambda c: 2 * c.dim * c.dim, "wk and wv have n_kv_heads * head_dim rows, not dim."),
        (lambda c: 2 * c.head_dim * c.dim, "wk and wv have n_kv_heads heads, not one."),
        (lambda c: 2 * c.n_groups * c.head_dim * c.dim,
         "n_heads / n_kv_heads says how many query heads share one. wk and wv have n_kv_heads."),
        (lambda c: c.n_kv_heads * c.head_dim * c.dim, "wk and wv are two matrices; you count one."),
        (lambda c: 0, "wk and wv are missing."),
        (lambda c: 2 * c.n_kv_heads * c.head_dim * c.n_heads * c.head_dim,
         "wk and wv read a vector of dim numbers, so they have dim columns."),
        (lambda c: 2 * c.n_kv_heads * c.dim, "Each key/value head has head_dim rows."),
        (lambda c: 2 * c.n_kv_heads * (c.dim // c.n_heads) * c.dim, _SPLIT),
        (lambda c: 2 * (c.n_heads // 4) * c.head_dim * c.dim, _FOUR),
    ]  # fmt: skip
    ffn: Term = [
        (lambda c: 3 * c.dim * c.hidden_dim, ""),
        (lambda c: 2 * c.dim * c.hidden_dim, "The FFN has three matrices: w1, w2 and w3."),
        (lambda c: c.dim * c.hidden_dim, "The FFN has three matrices: w1, w2 and w3."),
        (lambda c: 0, "The FFN is missing."),
        (lambda c: 2 * c.dim * c.hidden_dim + c.hidden_dim**2,
         "No matrix is hidden_dim x hidden_dim: w1 and w3 lead from dim to hidden_dim, w2 back."),
        (lambda c: 12 * c.dim**2, "The width of the FFN is hidden_dim, not 4 * dim."),
        (lambda c: 8 * c.dim**2,
         "The FFN has three matrices, and their width is hidden_dim, not 4 * dim."),
        (lambda c: 21 * c.dim**2 // 2, "hidden_dim is 3.5 * dim in Mistral 7B only."),
        (lambda c: 3 * c.dim * c.hidden_dim + 2 * c.hidden_dim + c.dim,
         "The matrices of the FFN have no biases."),
    ]  # fmt: skip
    norms: Term = [
        (lambda c: 2 * c.dim, ""),
        (lambda c: 0, "The two norms, dim values each, are missing."),
        (lambda c: c.dim, "There are two norms: before attention, before the FFN."),
        (lambda c: 3 * c.dim, "The last norm of the model belongs to no layer."),
        (lambda c: 4 * c.dim, "RMSNorm has dim values and no bias: two norms have 2 * dim."),
        (lambda c: 2 * c.dim**2, "A norm has dim values, not dim x dim."),
        (lambda c: 2, "A norm has dim values, not one."),
        (lambda c: 2 * c.hidden_dim, "A norm has dim values, not hidden_dim."),
        (lambda c: c.dim + c.hidden_dim,
         "Both norms have dim values: the second stands before the FFN."),
    ]  # fmt: skip
    biases = "No matrix of attention has a bias."
    more: Term = [
        (lambda c: 0, ""),
        (lambda c: c.vocab_size * c.dim, "The embedding belongs to no layer."),
        (lambda c: 2 * c.vocab_size * c.dim, "The embedding and the output belong to no layer."),
        (lambda c: c.n_heads * c.head_dim + 2 * c.n_kv_heads * c.head_dim, biases),
        (lambda c: c.n_heads * c.head_dim + 2 * c.n_kv_heads * c.head_dim + c.dim, biases),
    ]
    return [
        *_mistakes(sum, [query, keys, ffn, norms, more]),
        (lambda c: 2 * _layer(c), "That is twice as many. Count parameters, not bytes."),
        (lambda c: 4 * _layer(c), "That is 4 times as many. Count parameters, not bytes."),
        (lambda c: c.n_layers * _layer(c), "That is all layers; the exercise asks for one."),
        (lambda c: c.n_params, "That is the whole model; the exercise asks for one layer."),
        (lambda c: c.n_params // c.n_layers,
         "The embedding, the last norm and the output belong to no layer."),
        (lambda c: _layer(_MISTRAL), _ONLY_7B),
        (lambda c: _layer(c) // 10**6, "That is in millions. Give the number of parameters."),
    ]  # fmt: skip


@cache
def _cache_mistakes() -> Mistakes:
    k_and_v: Term = [
        (lambda c, t, b: 2, ""),
        (lambda c, t, b: 1, "Both K and V are kept."),
        (lambda c, t, b: 3, "Queries are not kept: only K and V."),
        (lambda c, t, b: 4, "The 2 for K and V is counted twice."),
    ]
    layers: Term = [
        (lambda c, t, b: c.n_layers, ""),
        (lambda c, t, b: 1, "Every layer keeps its own K and V."),
        (lambda c, t, b: 32, _ONLY_7B),
    ]
    heads: Term = [
        (lambda c, t, b: c.n_kv_heads * c.head_dim, ""),
        (lambda c, t, b: c.n_heads * c.head_dim, "Only n_kv_heads heads are kept, not n_heads."),
        (lambda c, t, b: c.n_groups * c.head_dim,
         "n_heads / n_kv_heads says how many query heads share one. n_kv_heads are kept."),
        (lambda c, t, b: c.head_dim, "There are n_kv_heads heads."),
        (lambda c, t, b: c.n_kv_heads, "A head keeps head_dim values."),
        (lambda c, t, b: c.n_kv_heads * c.dim, "A head keeps head_dim values, not dim."),
        (lambda c, t, b: c.dim, "That uses dim. A key has n_kv_heads * head_dim values."),
        (lambda c, t, b: c.hidden_dim,
         "That uses hidden_dim. A key has n_kv_heads * head_dim values."),
        (lambda c, t, b: c.n_kv_heads * (c.dim // c.n_heads), _SPLIT),
        (lambda c, t, b: (c.n_heads // 4) * c.head_dim, _FOUR),
        (lambda c, t, b: 1024, _ONLY_7B),
    ]  # fmt: skip
    kept: Term = [
        (lambda c, t, b: min(t, c.window_size), ""),
        (lambda c, t, b: t, "Never more than window_size tokens are kept."),
        (lambda c, t, b: min(t, c.window_size - 1),
         "A window of W keeps W tokens: no more, and no fewer."),
        (lambda c, t, b: min(t, c.window_size + 1),
         "A window of W keeps W tokens: no more, and no fewer."),
        (lambda c, t, b: t % c.window_size,
         "% starts again at 0 once the window is full. From then on window_size tokens are kept."),
        (lambda c, t, b: c.window_size,
         "With fewer tokens than the window, only those tokens are kept."),
        (lambda c, t, b: max(t, c.window_size),
         "That keeps the larger of the two. The window is an upper limit."),
        (lambda c, t, b: max(0, t - c.window_size),
         "Those are the tokens that have left the window. The last window_size are kept."),
        (lambda c, t, b: min(t, c.context_len),
         "context_len is the length of a text; window_size is how many tokens are kept."),
        (lambda c, t, b: c.context_len,
         "context_len is the length of a text; window_size is how many tokens are kept."),
        (lambda c, t, b: min(t, 4096), _ONLY_7B),
        (lambda c, t, b: 1, "That is one token. Multiply by the tokens that are kept."),
    ]  # fmt: skip
    size: Term = [
        (lambda c, t, b: b, ""),
        (lambda c, t, b: 1, "That counts values. Multiply by their bytes."),
        (lambda c, t, b: b * b, "bytes_per_value is counted twice."),
        (lambda c, t, b: 2, "Use bytes_per_value; it is not always 2."),
        (lambda c, t, b: 4, "Use bytes_per_value; it is not always 4."),
        (lambda c, t, b: 8 * b, "That counts bits. Count bytes."),
    ]
    in_bytes = (
        "131,072 counts bytes in bfloat16, and is right for Mistral 7B only. Begin with the "
        "number of values per token, from config's numbers."
    )
    return [
        (lambda c, t, b: min(t, c.window_size) * 131_072 * b, in_bytes),
        (lambda c, t, b: t * 131_072 * b, in_bytes),
        (lambda c, t, b: min(t, c.window_size) * 131_072, in_bytes),
        (lambda c, t, b: t * 131_072, in_bytes),
        *_mistakes(math.prod, [k_and_v, layers, heads, kept, size]),
        (lambda c, t, b: _cache(c, t, b) + c.n_params * b,
         "That adds the model's parameters; the exercise asks for the cache alone."),
        (lambda c, t, b: min(t * _cache(c, 1, b), c.window_size),
         "The window limits the tokens, so take the smaller number before you multiply."),
        (lambda c, t, b: _cache(c, t, b) // 2**10, "That is in KiB. Give bytes."),
        (lambda c, t, b: _cache(c, t, b) // 2**20, "That is in MiB. Give bytes."),
        (lambda c, t, b: _cache(c, t, b) // 2**30, "That is in GiB. Give bytes."),
    ]  # fmt: skip
