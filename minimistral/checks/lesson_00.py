"""Checks of lesson 00: parameters and bytes from the nine numbers."""

from dataclasses import replace
from typing import Any

from minimistral.checks.report import call, compare_with_mistakes, exercise, whole_number
from minimistral.config import ModelConfig

# n_heads * head_dim is not dim here, so that a mix-up of the two shows.
_ODD = ModelConfig(
    dim=24, n_layers=3, head_dim=8, hidden_dim=40, n_heads=6, n_kv_heads=2,
    window_size=5, context_len=64, vocab_size=50,
)  # fmt: skip
_MISTRAL = ModelConfig.mistral_7b()


@exercise("Layer parameters")
def layer_params(answer: Any) -> str:
    """answer(config) -> the number of parameters in one layer."""
    for config in (_ODD, _MISTRAL):
        number = whole_number("The count", call(answer, config))
        name = f"For {_name(config)} the count"
        compare_with_mistakes(name, number, _per_layer(config), _layer_mistakes(config))
    return f"{_per_layer(_MISTRAL):,} in one layer of Mistral 7B."


@exercise("Cache bytes")
def cache_bytes(answer: Any) -> str:
    """answer(config, tokens, bytes_per_value) -> bytes of keys and values kept."""
    for config, tokens in ((_ODD, 3), (_ODD, 64), (_MISTRAL, 100), (_MISTRAL, 32768)):
        number = whole_number("The size", call(answer, config, tokens, 2))
        right = config.cache_bytes(tokens, "bfloat16")
        mistakes = _cache_mistakes(config, tokens, right)
        name = f"For {tokens} tokens of {_name(config)} the size"
        compare_with_mistakes(name, number, right, mistakes)
    return f"{_MISTRAL.cache_bytes(32768) // 2**20} MiB at 32,768 tokens, held by the window."


@exercise("A budget that is wrong")
def wrong_budget(heads_factor: Any, window_factor: Any) -> str:
    """The two factors by which the budget of the lesson is too large at 32,768 tokens."""
    heads = whole_number("heads_factor", heads_factor)
    window = whole_number("window_factor", window_factor)
    compare_with_mistakes("heads_factor", heads, 4, (
        (32, "That is the number of query heads. How many of them share one key/value head?"),
        (8, "That is the number of key/value heads, or the window's factor. "
            "How many times more heads did the budget count?"),
        (1, "The budget counts n_heads key/value heads. How many does the model keep?"),
        (2, "K and V are both needed: the 2 in the formula is right."),
        (0, "A factor says how many times too large: no error would be 1."),
    ))  # fmt: skip
    compare_with_mistakes("window_factor", window, 8, (
        (4, "That is the heads' factor. How many tokens are asked for, how many fit the window?"),
        (32, "That would be both factors together. Give the window's alone."),
        (4096, "That is the window itself. Divide the tokens asked for by it."),
        (1, "The budget lets the cache grow to 32,768 tokens. How many does the window keep?"),
        (2, "2 would be right at 8,192 tokens, the context of Table 1. The budget is for 32,768."),
    ))  # fmt: skip
    return "4 x 8 = 32: 16 GiB becomes 512 MiB."


def _name(config: ModelConfig) -> str:
    if config is _MISTRAL:
        return "Mistral 7B"
    return f"a small model ({config.n_heads} heads, {config.n_kv_heads} KV heads)"


def _per_layer(config: ModelConfig) -> int:
    parts = config.params_by_part()
    final_norm = config.dim
    return (
        parts["attention"] + parts["feed_forward"] + parts["norms"] - final_norm
    ) // config.n_layers


def _layer_mistakes(config: ModelConfig) -> list[tuple[int, str]]:
    right = _per_layer(config)
    q, kv = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    matrix = config.dim * config.hidden_dim
    all_heads = _per_layer(replace(config, n_kv_heads=config.n_heads))
    return [
        (all_heads, "wk and wv have n_kv_heads heads, not n_heads."),
        (right - 2 * config.dim, "The two norm weights, dim values each, are missing."),
        (
            right - config.dim,
            "There are two norms in a layer: before attention, and before the FFN.",
        ),
        (right - matrix, "The feed-forward network has three matrices: w1, w2 and w3."),
        (right - q * config.dim, "One matrix of dim x (n_heads * head_dim) is missing: wq or wo."),
        (right - kv * config.dim, "wk and wv are two matrices; you count one."),
        (right - 2 * kv * config.dim, "wk and wv are missing."),
        (right * config.n_layers, "That is all layers together; the exercise asks for one."),
        (config.n_params, "That is the whole model; the exercise asks for one layer."),
    ]


def _cache_mistakes(config: ModelConfig, tokens: int, right: int) -> list[tuple[int, str]]:
    no_window = replace(config, window_size=None)
    all_heads = replace(config, n_kv_heads=config.n_heads)
    both = replace(all_heads, window_size=None)
    one_head = config.n_kv_heads * config.head_dim
    return [
        (no_window.cache_bytes(tokens), "Never more than window_size tokens are kept."),
        (all_heads.cache_bytes(tokens), "Only n_kv_heads heads are kept, not n_heads."),
        (both.cache_bytes(tokens), "Use n_kv_heads, and at most window_size tokens."),
        (right // 2, "Both K and V are kept; or the bytes per value are wrong."),
        (right // config.n_layers, "Every layer keeps its own keys and values."),
        (right // config.head_dim, "Each head keeps head_dim values a token."),
        (right // one_head * config.dim, "That uses dim. K takes n_kv_heads * head_dim a token."),
    ]
