"""Gradients by hand: each mechanism backwards, and one layer.

Each function has the name of the one it undoes. It takes that function's arguments and then the
gradient of the loss with respect to the result, dy, and returns the gradients with respect to the
arguments, each of its argument's shape. What the forward pass computed in between is computed
again here, so training keeps only each layer's input: recomputation (Chen et al. 2016).
"""

import numpy as np

from minimistral.np.attention import attend, masked_softmax
from minimistral.np.feedforward import silu
from minimistral.np.layer import project_qkv
from minimistral.np.linear import linear
from minimistral.np.norm import rms_norm
from minimistral.np.rope import apply_rope


def linear_backward(x, weight, dy):
    """x (..., in), weight (out, in), dy (..., out) -> dx (..., in), dweight (out, in).

    Every token used the same weight, so the weight's gradient is a sum over all tokens.

    >>> dx, dweight = linear_backward(np.array([[1.0, 2.0], [10.0, 0.0]]), np.ones((1, 2)),
    ...                               np.ones((2, 1)))
    >>> dx, dweight
    (array([[1., 1.],
           [1., 1.]]), array([[11.,  2.]]))
    """
    dweight = dy.reshape(-1, dy.shape[-1]).T @ x.reshape(-1, x.shape[-1])
    return dy @ weight, dweight


def rms_norm_backward(x, weight, eps, dy):
    """x (..., E), weight (E,), dy (..., E) -> dx (..., E), dweight (E,).

    A longer x gives the same result, so dx has no part along x:

    >>> x = np.array([3.0, 4.0])
    >>> dx, _ = rms_norm_backward(x, np.array([1.0, 10.0]), 1e-12, np.array([5.0, -1.0]))
    >>> round(float(dx @ x), 6) + 0.0
    0.0
    """
    E = x.shape[-1]
    inverse = 1 / np.sqrt(np.vecdot(x, x)[..., None] / E + eps)
    unit = x * inverse
    dunit = dy * weight
    along = np.vecdot(dunit, unit)[..., None] / E
    return inverse * (dunit - unit * along), (dy * unit).reshape(-1, E).sum(axis=0)


def apply_rope_backward(cos, sin, dy):
    """dy (B, H, T, D) -> dx (B, H, T, D): a rotation is undone by the opposite rotation.

    >>> from minimistral.np.rope import rope_tables
    >>> cos, sin = rope_tables(np.arange(3), 2, 1e4, "float64")
    >>> x = np.arange(6.0).reshape(1, 1, 3, 2)
    >>> bool(np.allclose(apply_rope_backward(cos, sin, apply_rope(x, cos, sin)), x))
    True
    """
    return apply_rope(dy, cos, -sin)


def masked_softmax_backward(weights, dweights):
    """weights (..., S), as `masked_softmax` gave them, and their gradient -> dscores (..., S).

    Adding the same number to all scores of a row changes nothing, so each row sums to 0. A
    hidden score has weight 0, and gradient 0.

    >>> masked_softmax_backward(np.array([0.5, 0.5, 0.0]), np.array([1.0, 0.0, 7.0]))
    array([ 0.25, -0.25,  0.  ])
    """
    return weights * (dweights - np.vecdot(weights, dweights)[..., None])


def attend_backward(q, k, v, mask, dy):
    """q, dy (B, H, T, D), k and v (B, G, S, D), mask as in `attend` -> dq, dk, dv.

    The query heads of a group read the same keys and values, whose gradients are therefore sums
    over the group: one matrix product over its g * T rows.
    """
    if isinstance(mask, list):  # a key is read by the queries of several blocks
        dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
        for i, j, part in mask:
            block = attend_backward(q[:, :, i], k[:, :, j], v[:, :, j], part, dy[:, :, i])
            dq[:, :, i] = block[0]
            dk[:, :, j] += block[1]
            dv[:, :, j] += block[2]
        return dq, dk, dv
    (B, H, T, D), (_, G, S, _) = q.shape, k.shape
    rows, drows = q.reshape(B, G, -1, D), dy.reshape(B, G, -1, D)
    scores = rows @ k.swapaxes(-1, -2) * D**-0.5
    weights = masked_softmax(scores.reshape(B, G, H // G, T, S), mask[:, None, None])
    weights = weights.reshape(B, G, -1, S)
    dscores = masked_softmax_backward(weights, drows @ v.swapaxes(-1, -2)) * D**-0.5
    dq = (dscores @ k).reshape(q.shape)
    return dq, dscores.swapaxes(-1, -2) @ rows, weights.swapaxes(-1, -2) @ drows


def silu_backward(x, dy):
    """x, dy of one shape -> dx.

    >>> silu_backward(np.array([0.0]), np.array([1.0]))
    array([0.5])
    """
    open_ = 0.5 + 0.5 * np.tanh(0.5 * x)  # the logistic function
    return dy * open_ * (1 + x * (1 - open_))


def feed_forward_backward(x, w1, w2, w3, dy):
    """x, dy (..., E), w1 and w3 (F, E), w2 (E, F) -> dx, dw1, dw2, dw3."""
    gate, up = linear(x, w1), linear(x, w3)
    dh, dw2 = linear_backward(silu(gate) * up, w2, dy)
    dx_gate, dw1 = linear_backward(x, w1, silu_backward(gate, dh * up))
    dx_up, dw3 = linear_backward(x, w3, dh * silu(gate))
    return dx_gate + dx_up, dw1, dw2, dw3


def project_qkv_backward(config, w, x, rope, dq, dk, dv):
    """x (B, T, E), dq (B, H, T, D), dk and dv (B, G, T, D) -> dx, and {name: gradient}."""
    dx, grads = 0, {}
    cos, sin = rope
    dq, dk = apply_rope_backward(cos, sin, dq), apply_rope_backward(cos, sin, dk)
    for name, dy in {"wq": dq, "wk": dk, "wv": dv}.items():
        dy = dy.swapaxes(1, 2).reshape(*x.shape[:2], -1)  # the heads side by side
        more, grads[f"attention.{name}"] = linear_backward(x, w[f"attention.{name}"], dy)
        dx = dx + more
    return dx, grads


def layer_backward(config, w, x, rope, mask, dy):
    """x, dy (B, T, E), the rest as in `layer` -> dx, and {name: gradient} of the layer's weights.

    x reaches the result on two ways, past each mechanism and through it, so their gradients add.
    """
    w1, w2, w3 = (w[f"feed_forward.{name}"] for name in ("w1", "w2", "w3"))

    # forwards once more, to what the steps below need
    normed = rms_norm(x, w["attention_norm"], config.norm_eps)
    q, k, v = project_qkv(config, w, normed, rope)
    heads = attend(q, k, v, mask).swapaxes(1, 2).reshape(*x.shape[:2], -1)
    middle = x + linear(heads, w["attention.wo"])
    ffn_normed = rms_norm(middle, w["ffn_norm"], config.norm_eps)

    dnormed, dw1, dw2, dw3 = feed_forward_backward(ffn_normed, w1, w2, w3, dy)
    dx, dffn_norm = rms_norm_backward(middle, w["ffn_norm"], config.norm_eps, dnormed)
    dmiddle = dx + dy

    dheads, dwo = linear_backward(heads, w["attention.wo"], dmiddle)
    dheads = dheads.reshape(*x.shape[:2], -1, config.head_dim).swapaxes(1, 2)
    dq, dk, dv = attend_backward(q, k, v, mask, dheads)
    dnormed, dqkv = project_qkv_backward(config, w, normed, rope, dq, dk, dv)
    dx, dnorm = rms_norm_backward(x, w["attention_norm"], config.norm_eps, dnormed)
    return dx + dmiddle, {
        "attention_norm": dnorm, **dqkv, "attention.wo": dwo, "ffn_norm": dffn_norm,
        "feed_forward.w1": dw1, "feed_forward.w2": dw2, "feed_forward.w3": dw3,
    }  # fmt: skip


def embed_backward(tokens, vocab_size, dx):
    """tokens (B, T), dx (B, T, E) -> (V, E): a token's row gets the sum over its appearances.

    >>> embed_backward(np.array([[2, 0, 2]]), 3, np.array([[[1.0], [10.0], [100.0]]]))[:, 0]
    array([ 10.,   0., 101.])
    """
    gradient = np.zeros((vocab_size, dx.shape[-1]), dx.dtype)
    np.add.at(gradient, tokens, dx)  # `gradient[tokens] += dx` would count a token once
    return gradient
