"""Prefill, compiled: one program for what a layer does before the cache, one for the rest.

A chunk is long enough for Python not to matter; what is saved is memory traffic, because norms,
rotations and gates become part of their neighbours' kernels.
"""

import functools

from minimistral.pt.attention import attend, compiled
from minimistral.pt.feedforward import feed_forward
from minimistral.pt.layer import project_qkv
from minimistral.pt.linear import linear
from minimistral.pt.norm import rms_norm

CHUNK = 4096  # tokens of a prompt that are read at once


def compiled_layer(layer, x, rope, mask, update):
    """`Layer.forward` for a chunk and a block-sparse mask, in two programs around the cache."""
    before, after = _compiled_halves()
    q, k, v = before(layer, x, rope)
    return after(layer, x, q, *update(k, v), mask)


def worth_compiling(x):
    """Whether a chunk (B, T, E) is one of few shapes, and long; each takes a while to compile."""
    return x.is_cuda and x.shape[1] % CHUNK == 0


@functools.cache
def _compiled_halves():
    return [compiled(half, fullgraph=True, dynamic=False) for half in (before_update, after_update)]


def before_update(layer, x, rope):
    h = rms_norm(x, layer.attention_norm.weight, layer.config.norm_eps)
    return project_qkv(layer.config, layer.attention, h, rope)


def after_update(layer, x, q, k, v, mask):
    h = attend(q, k, v, mask).swapaxes(1, 2).flatten(2)
    x = x + linear(h, layer.attention["wo"])
    h = rms_norm(x, layer.ffn_norm.weight, layer.config.norm_eps)
    return x + feed_forward(h, **layer.feed_forward)
