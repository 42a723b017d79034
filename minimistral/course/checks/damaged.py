"""Ten ways in which a checkpoint is damaged and loads all the same.

Names, shapes and dtypes stay right, so no loader can object. They are mistakes that a converter
can make; lesson 13 hunts for them with `compare`.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral.checkpoint import to_halves, to_pairs

Array = np.ndarray
Weights = Mapping[str, Array]
LAYER = 2  # the damaged one; where two are exchanged, the later of them
HUNTED = {"a": "gate and up", "b": "key heads", "c": "cut off"}  # the three of the exercise


def _at(name: str, layer: int = LAYER) -> str:
    return f"layers.{layer}.{name}.weight"


def _changed(name: str, change: Callable[[Array], Array]) -> Callable[..., Weights]:
    """One weight of the layer, changed."""
    return lambda config, weights: {_at(name): change(weights[_at(name)])}


def _exchanged(a: str, b: str) -> Callable[..., Weights]:
    """Two weights of the layer, each under the other's name."""
    return lambda config, weights: {_at(a): weights[_at(b)], _at(b): weights[_at(a)]}


def _layers_exchanged(config: ModelConfig, weights: Weights) -> Weights:
    first, second = f"layers.{LAYER - 1}.", f"layers.{LAYER}."
    return {
        name.replace(old, new, 1): weight
        for name, weight in weights.items()
        for old, new in ((first, second), (second, first))
        if name.startswith(old)
    }


def _key_heads(config: ModelConfig, weights: Weights) -> Weights:
    """As if a converter had taken n_heads for the rows of wk too."""
    theirs = to_halves(weights[_at("attention.wk")], config.n_kv_heads)
    return {_at("attention.wk"): to_pairs(theirs, config.n_heads)}


# The kind: config, weights -> the weights that are wrong. Where the config is wrong, see below.
DAMAGES: dict[str, Callable[[ModelConfig, Weights], Weights]] = {
    "query rows": lambda config, weights: {
        _at("attention.wq"): to_halves(weights[_at("attention.wq")], config.n_heads)
    },
    "key rows": lambda config, weights: {
        _at("attention.wk"): to_halves(weights[_at("attention.wk")], config.n_kv_heads)
    },
    "key heads": _key_heads,
    "keys and values": _exchanged("attention.wk", "attention.wv"),
    "gate and up": _exchanged("feed_forward.w1", "feed_forward.w3"),
    "two norms": _exchanged("attention_norm", "ffn_norm"),
    "two layers": _layers_exchanged,
    "cut off": _changed("feed_forward.w2", np.zeros_like),
    "tied": lambda config, weights: {"output.weight": weights["tok_embeddings.weight"]},
    "theta": lambda config, weights: {},
}


def damaged(model: mn.Mistral, kind: str) -> mn.Mistral:
    """A copy of a model with one kind of damage.

    model: with at least 3 layers. kind: one of DAMAGES, or "a", "b" or "c", the ones that the
    exercise asks for. Raises ValueError for any other kind.

    >>> from minimistral import tiny
    >>> model = mn.load(tiny.FOLDER)
    >>> (damaged(model, "cut off").layers[2]["feed_forward.w2"] == 0).all()
    np.True_
    """
    kind = HUNTED.get(kind, kind)
    if kind not in DAMAGES:
        raise ValueError(f"kind must be one of {', '.join(DAMAGES)}, not {kind!r}")
    config: Any = model.config
    if kind == "theta":
        config = replace(config, rope_theta=1e6)
    return mn.Mistral(config, {**model.weights, **DAMAGES[kind](config, model.weights)})
