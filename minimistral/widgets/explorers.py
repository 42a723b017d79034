"""The players of the lessons: each asks np/ for the arrays and draw/ for the picture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minimistral.config import NINE_NUMBERS, ModelConfig, bytes_per_value
from minimistral.draw import anatomy_svg, budget_svg, budget_words, mask_svg, mask_words
from minimistral.np import window_mask
from minimistral.widgets.player import Player


def mask_explorer(tokens: Sequence[str], window: int = 4, n_tokens: int | None = None) -> Player:
    """The sliding-window mask over real tokens; sliders for W and T.

    tokens: at most 24 words or pieces. window and n_tokens: where the sliders begin; a window
    longer than the text begins at its end. Raises ValueError when there are no tokens, too
    many, or a start that is off the sliders.

    >>> mask_explorer(["a", "b", "c"], window=2).words
    'W = 2, T = 3: 5 of 6 causal pairs are visible; the last query sees 2 keys, positions 1 to 2.'
    """
    if not 1 <= len(tokens) <= 24:
        raise ValueError(f"tokens must be 1 to 24 words, not {len(tokens)}")
    sizes = range(1, len(tokens) + 1)

    def draw(W: int, T: int) -> tuple[str, str]:
        positions = np.arange(T)
        mask = window_mask(positions, positions, W)
        svg = mask_svg(mask, positions.tolist(), positions.tolist(), tokens, size=len(tokens))
        words = mask_words(mask, positions.tolist(), positions.tolist())
        return svg, f"W = {W}, T = {T}: {words}"

    n_tokens = len(tokens) if n_tokens is None else n_tokens
    start = {"W": min(window, len(tokens)), "T": n_tokens}
    return Player("Sliding-window mask", {"W": sizes, "T": sizes}, draw, start)


def budget_explorer(config: ModelConfig) -> Player:
    """Bytes of weights and KV cache; sliders for context, dtype, KV heads and window.

    The sliders offer config's own window and KV heads beside the alternatives. More KV
    heads also need larger wk and wv, so the weights move a little too.
    """
    contexts = [1024, 4096, 8192, 16384, 32768]
    kv_heads = sorted({1, config.n_kv_heads, config.n_heads})
    windows = ["none"] if config.window_size is None else [config.window_size, "none"]

    def draw(**setting: Any) -> tuple[str, str]:
        window, dtype = setting["window"], setting["dtype"]
        changed = replace(
            config,
            n_kv_heads=setting["KV heads"],
            window_size=None if window == "none" else window,
        )
        size = bytes_per_value(dtype)
        weights = {part: n * size for part, n in changed.params_by_part().items()}
        cache = changed.cache_bytes(setting["context"], dtype)
        return budget_svg(weights, cache, scale_gib=32), budget_words(weights, cache)

    sliders: dict[str, list] = {
        "context": contexts,
        "dtype": ["float32", "bfloat16", "int8"],
        "KV heads": kv_heads,
        "window": windows,
    }
    start = {"context": 32768, "dtype": "bfloat16", "KV heads": config.n_kv_heads}
    return Player("Memory budget", sliders, draw, start)


# Name, what it holds, whether it is inside a layer, and the numbers that it depends on.
_PARTS = [
    ("tokens", "T token ids", False, ("context_len",)),
    ("tok_embeddings", "vocab_size x dim", False, ("vocab_size", "dim")),
    ("attention_norm", "dim", True, ("n_layers", "dim")),
    ("wq", "n_heads * head_dim x dim", True, ("n_layers", "n_heads", "head_dim", "dim")),
    ("wk", "n_kv_heads * head_dim x dim", True, ("n_layers", "n_kv_heads", "head_dim", "dim")),
    ("wv", "n_kv_heads * head_dim x dim", True, ("n_layers", "n_kv_heads", "head_dim", "dim")),
    ("KV cache", "K and V of window_size tokens", True,
     ("n_layers", "window_size", "n_kv_heads", "head_dim")),
    ("mask", "window_size keys per query", True, ("window_size",)),
    ("wo", "dim x n_heads * head_dim", True, ("n_layers", "n_heads", "head_dim", "dim")),
    ("ffn_norm", "dim", True, ("n_layers", "dim")),
    ("w1", "hidden_dim x dim", True, ("n_layers", "hidden_dim", "dim")),
    ("w3", "hidden_dim x dim", True, ("n_layers", "hidden_dim", "dim")),
    ("w2", "dim x hidden_dim", True, ("n_layers", "hidden_dim", "dim")),
    ("norm", "dim", False, ("dim",)),
    ("output", "vocab_size x dim", False, ("vocab_size", "dim")),
]  # fmt: skip


def anatomy_explorer(config: ModelConfig) -> Player:
    """The parts of the model; the slider picks one of Table 1's nine numbers and marks its parts.

    >>> player = anatomy_explorer(ModelConfig.mistral_7b())
    >>> player.set(number="hidden_dim")
    >>> player.words
    'hidden_dim = 14336 is used in w1, w3 and w2.'
    """
    parts = [part[:3] for part in _PARTS]

    def draw(number: str) -> tuple[str, str]:
        marked = [number in used for *_, used in _PARTS]
        names = [name for (name, *_), on in zip(_PARTS, marked, strict=True) if on]
        listed = ", ".join(names[:-1]) + f" and {names[-1]}" if len(names) > 1 else names[0]
        words = f"{number} = {getattr(config, number)} is used in {listed}."
        if number == "n_layers":
            words = f"n_layers = {config.n_layers}: each layer has its own {listed}."
        return anatomy_svg(parts, marked, config.n_layers), words

    start = {"number": "n_kv_heads"}
    return Player("The nine numbers in the model", {"number": NINE_NUMBERS}, draw, start)
