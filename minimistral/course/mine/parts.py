"""A Mistral put together from the parts that the lessons build, so that each can be exchanged.

The engine runs whole batches. Here one text goes through one function per lesson, with the
shapes that the exercises use. `tiny_bits` says what exchanging a part costs the trained model;
`compare` finds the part that is wrong.
"""

from collections.abc import Callable
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

import numpy as np

from minimistral import np as mn
from minimistral.evaluation.bits_per_byte import token_bits
from minimistral.np.attention import attend as attend_batch
from minimistral.np.feedforward import feed_forward
from minimistral.np.mask import window_mask
from minimistral.np.norm import rms_norm
from minimistral.np.rope import apply_rope, rope_tables

Array = np.ndarray
See = Callable[[str, Array], Any]  # is called with the name and the value of each tensor


def rotate(x: Array, positions: Array, theta: float) -> Array:
    """One head: each pair of x (T, D) turned by the angle of its position (T,). Lesson 02.

    >>> rotate(np.array([[1.0, 0.0]]), np.array([2]), 1e4).round(3)
    array([[-0.416,  0.909]])
    """
    tables = rope_tables(positions, x.shape[-1], theta, x.dtype)
    return apply_rope(x[None, None], *tables)[0, 0]


def split_heads(x: Array, n_heads: int) -> Array:
    """The vectors of a text, cut into heads: (T, H * D) -> (H, T, D). Lesson 03.

    Two tokens, two heads of two numbers; the first head has the first half of each vector:

    >>> split_heads(np.array([[1, 2, 3, 4], [5, 6, 7, 8]]), 2).tolist()
    [[[1, 2], [5, 6]], [[3, 4], [7, 8]]]
    """
    return x.reshape(len(x), n_heads, -1).swapaxes(0, 1)


def merge_heads(x: Array) -> Array:
    """The heads of each token side by side again: (H, T, D) -> (T, H * D). Lesson 03."""
    return x.swapaxes(0, 1).reshape(x.shape[1], -1)


def attend(q: Array, k: Array, v: Array, mask: Array) -> Array:
    """Grouped attention of one text: q (H, T, D), k and v (G, S, D), mask (T, S) -> (H, T, D)."""
    return attend_batch(q[None], k[None], v[None], mask[None])[0]


def add(x: Array, more: Array) -> Array:
    """The residual stream: what a half of a layer computes is added to its input. Lesson 00."""
    return x + more


@dataclass(frozen=True)
class Parts:
    """The functions a Mistral is made of; each is the course's own unless another is given."""

    rms_norm: Callable[..., Array] = rms_norm
    rotate: Callable[..., Array] = rotate
    split_heads: Callable[..., Array] = split_heads
    merge_heads: Callable[..., Array] = merge_heads
    mask: Callable[..., Array] = window_mask
    attend: Callable[..., Array] = attend
    feed_forward: Callable[..., Array] = feed_forward
    add: Callable[..., Array] = add


PARTS = tuple(field.name for field in fields(Parts))


def forward(model: Any, ids: Any, parts: Parts | None = None, see: See | None = None) -> Array:
    """The logits (T, V) after each token of one text, with these parts in place of the engine's.

    model: a Mistral of `minimistral.np`, whose config and weights are used. ids (T,).
    see: is called with every tensor on the way, by name, in the order of computation:
    "embedding", then for each layer n "layers.n.attention_norm", q, k, v, "q_rotated",
    "k_rotated", "mask", "heads", "attention", "h", "ffn_norm", "ffn" and "out"; last "norm" and
    "logits".
    """
    p, see = parts or Parts(), see or (lambda name, value: None)
    config, weights, ids = model.config, model.weights, np.asarray(ids)
    positions = np.arange(len(ids))
    x = weights["tok_embeddings.weight"][ids]
    see("embedding", x)
    for n, w in enumerate(model.layers):

        def seen(name: str, value: Array, n: int = n) -> Array:
            see(f"layers.{n}.{name}", value)
            return value

        normed = seen("attention_norm", p.rms_norm(x, w["attention_norm"], config.norm_eps))
        q = seen("q", p.split_heads(normed @ w["attention.wq"].T, config.n_heads))
        k = seen("k", p.split_heads(normed @ w["attention.wk"].T, config.n_kv_heads))
        v = seen("v", p.split_heads(normed @ w["attention.wv"].T, config.n_kv_heads))
        q, k = (
            seen(name, np.stack([p.rotate(head, positions, config.rope_theta) for head in heads]))
            for name, heads in (("q_rotated", q), ("k_rotated", k))
        )
        mask = seen("mask", p.mask(positions, positions, config.window_size))
        heads = seen("heads", p.attend(q, k, v, mask))
        attention = seen("attention", p.merge_heads(heads) @ w["attention.wo"].T)
        x = seen("h", p.add(x, attention))
        normed = seen("ffn_norm", p.rms_norm(x, w["ffn_norm"], config.norm_eps))
        w1, w2, w3 = (w[f"feed_forward.w{i}"] for i in (1, 2, 3))
        x = seen("out", p.add(x, seen("ffn", p.feed_forward(normed, w1, w2, w3))))
    x = p.rms_norm(x, weights["norm.weight"], config.norm_eps)
    see("norm", x)
    logits = x @ weights["output.weight"].T
    see("logits", logits)
    return logits


def tiny_bits(**exchanged: Callable[..., Array]) -> float:
    """Bits per token that the trained tiny model needs for PAGE, with some parts exchanged.

    exchanged: functions by the names in PARTS. The page was written for this course, so the
    model has never read it. Raises TypeError for another name.

    >>> bool(tiny_bits() < tiny_bits(rotate=lambda x, positions, theta: x))
    True
    """
    for name in exchanged:
        if name not in PARTS:
            raise TypeError(f"a part must be one of {', '.join(PARTS)}, not {name}")
    model, ids = _tiny()
    logits = forward(model, ids[:-1], replace(Parts(), **exchanged))
    return float(token_bits(logits, ids[1:]).mean())


@cache
def _tiny() -> tuple[mn.Mistral, Array]:
    from minimistral import tiny, tokenizer  # a part needs neither

    return mn.load(tiny.FOLDER), np.array(tokenizer.load(tiny.FOLDER).encode(PAGE))


PAGE = """The "with" statement is used to wrap the execution of a block with methods defined by a
context manager. This allows common patterns to be kept in one place. The file is opened before
the first line of the block and closed after the last one, even if an exception is raised between
them. If the expression is evaluated and the target is a name, then the name is bound in the
current scope.

A function call evaluates the arguments from left to right, and each of them is bound to a name in
the local scope of the function. If a default value is given for a parameter, the argument may be
left out. When the function has no "return" statement, the value of the call is "None". A generator
is different: the call returns an iterator, and the body of the function is executed only when the
"__next__()" method of that iterator is called.

The sequence types support the operators "in" and "not in". An expression like "x in y" is true
when an item of y is equal to x. For a mapping, the keys are searched and not the values. A class
may define the method "__contains__()" to give another meaning to this operator.
"""
