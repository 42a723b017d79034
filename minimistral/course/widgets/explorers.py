"""The players of the lessons: each asks np/ for the arrays and draw/ for the picture."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from minimistral.config import NINE_NUMBERS, ModelConfig, bytes_per_value
from minimistral.course.draw import (
    anatomy_svg,
    budget_svg,
    budget_words,
    dial_svg,
    heads_svg,
    mask_svg,
    mask_words,
    weights_svg,
    weights_words,
)
from minimistral.course.widgets.player import Player
from minimistral.np import Mistral, apply_rope, attend, rope_tables, window_mask
from minimistral.np.layer import layer


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


def attention_weights(model: Mistral, ids: Sequence[int]) -> np.ndarray:
    """The weights of every layer and head over a text: (L, H, T, T), rows are queries.

    ids: at most head_dim of them. The values are made one-hot, so what a query gets back is
    its weights. Raises ValueError when there are more.
    """
    T, config = len(ids), model.config
    model = Mistral(config, model.weights, dtype="float64")  # so that two decimals are the same
    if not 1 <= T <= config.head_dim:
        raise ValueError(f"ids must be 1 to head_dim = {config.head_dim}, not {T}")
    one_hot = np.broadcast_to(
        np.eye(T, config.head_dim), (1, config.n_kv_heads, T, config.head_dim)
    )
    positions, weights = np.arange(T)[None], []
    mask = window_mask(positions, positions, config.window_size)
    rope = rope_tables(positions, config.head_dim, config.rope_theta, "float64")
    x = model.embed(np.asarray(ids)[None], positions)
    for n, w in enumerate(model.layers):
        q, k, _ = model.project_qkv(n, x, positions)
        weights.append(attend(q, k, one_hot.astype(q.dtype), mask)[0, :, :, :T])
        x = layer(config, w, x, rope, mask, update=lambda k, v: (k, v))  # no cache
    return np.array(weights)


def attention_explorer(
    model: Mistral, ids: Sequence[int], tokens: Sequence[str], token: int | None = None
) -> Player:
    """One row of attention weights of a model over a text; sliders for the head and the token.

    ids: the text, at most head_dim ids; tokens: their pieces. token: where its slider begins,
    the last one if None. Raises ValueError when there are too many, or not as many of both.
    """
    if len(ids) != len(tokens):
        raise ValueError(f"tokens must be as many as ids, {len(ids)}, not {len(tokens)}")
    weights = attention_weights(model, ids)
    n_layers, n_heads, T, _ = weights.shape
    heads = [f"{layer}.{head}" for layer in range(n_layers) for head in range(n_heads)]

    def draw(token: int, **setting: Any) -> tuple[str, str]:
        layer, head = map(int, setting["layer.head"].split("."))
        row = weights[layer, head, token]
        words = weights_words(row, tokens, token)
        return weights_svg(row, tokens, token), f"Layer {layer}, head {head}: {words}"

    sliders: dict[str, Sequence] = {"layer.head": heads, "token": range(T)}
    return Player("Attention weights", sliders, draw, {"token": T - 1 if token is None else token})


POSITIONS = (0, 1, 2, 3, 4, 5, 6, 7, 8, 16, 32, 64, 128, 256, 512, 1024, 2048, 4096, 8192, 32768)


def rotation_dial(head_dim: int = 128, thetas: Sequence[int] = (10_000, 1_000_000)) -> Player:
    """How far each pair of a head has turned; sliders for the position and theta.

    head_dim: even, at most 128. thetas: what theta can be. Raises ValueError, naming the
    argument, when they are not.
    """
    if head_dim % 2 or not 2 <= head_dim <= 128:
        raise ValueError(f"head_dim must be even, from 2 to 128, not {head_dim}")
    ones = np.tile([1.0, 0.0], head_dim // 2).reshape(1, 1, 1, head_dim)

    def hands(position: int, theta: int) -> np.ndarray:
        return apply_rope(ones, *rope_tables([position], head_dim, theta)).reshape(-1, 2)

    def draw(position: int, theta: int) -> tuple[str, str]:
        first = hands(1, theta)  # less than half a turn, so the angle itself can be read off
        turns = position * np.arctan2(first[:, 1], first[:, 0]) / (2 * np.pi)
        words = (
            f"Position {position}, theta {theta}: {(turns >= 1).sum()} of {len(turns)} pairs have"
            f" gone round; pair 0 has turned {turns[0]:.2f} times, the last {turns[-1]:.4f} times."
        )
        return dial_svg(hands(position, theta).tolist(), turns.tolist()), words

    sliders = {"position": POSITIONS, "theta": list(thetas)}
    return Player("Rotation dial", sliders, draw, {"position": 8})


def head_map(config: ModelConfig) -> Player:
    """Which KV head each query head of a config reads; the slider is the number of KV heads.

    It offers every power of two up to n_heads that divides it. attend itself is asked: each
    KV head passes on its own number.
    """
    sizes = [2**n for n in range(config.n_heads.bit_length()) if config.n_heads % 2**n == 0]

    def draw(**setting: int) -> tuple[str, str]:
        G = setting["KV heads"]
        changed = replace(config, n_kv_heads=G)
        q, k = np.zeros((1, config.n_heads, 1, 2)), np.zeros((1, G, 1, 2))
        v = k + np.arange(G)[:, None, None]
        reads = attend(q, k, v, np.ones((1, 1), bool))[0, :, 0, 0].astype(int).tolist()
        kind = {1: "MQA", config.n_heads: "MHA"}.get(G, "GQA")
        words = (
            f"{config.n_heads} query heads, {G} KV head{'s' * (G > 1)} ({kind}): each serves"
            f" {config.n_heads // G}; the cache takes"
            f" {changed.cache_bytes(1, 'bfloat16'):,} bytes per token in bfloat16."
        )
        return heads_svg(reads, G), words

    start = config.n_kv_heads if config.n_kv_heads in sizes else sizes[0]
    return Player("Head map", {"KV heads": sizes}, draw, {"KV heads": start})


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
    ("+", "x plus what attention gives", True, ()),
    ("ffn_norm", "dim", True, ("n_layers", "dim")),
    ("w1", "hidden_dim x dim", True, ("n_layers", "hidden_dim", "dim")),
    ("w3", "hidden_dim x dim", True, ("n_layers", "hidden_dim", "dim")),
    ("w2", "dim x hidden_dim", True, ("n_layers", "hidden_dim", "dim")),
    ("+", "x plus what the FFN gives", True, ()),
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
