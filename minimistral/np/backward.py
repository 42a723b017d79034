"""Gradients by hand: each mechanism backwards, and the whole model from loss to weights.

Each function has the name of the one it undoes. It takes that function's arguments and then the
gradient of the loss with respect to the result, dy, and returns the gradients with respect to the
arguments, each of its argument's shape. What the forward pass computed in between is computed
again here, so training keeps only each layer's input: recomputation (Chen et al. 2016).
"""

import numpy as np

from minimistral._arguments import as_array, require_targets
from minimistral.np.attention import attend, masked_softmax
from minimistral.np.checked import as_inputs
from minimistral.np.feedforward import silu
from minimistral.np.layer import layer, project_qkv
from minimistral.np.linear import linear
from minimistral.np.mask import query_blocks
from minimistral.np.norm import rms_norm
from minimistral.np.rope import apply_rope, rope_tables


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
    dq, dk = apply_rope_backward(*rope, dq), apply_rope_backward(*rope, dk)
    for name, dy in {"wq": dq, "wk": dk, "wv": dv}.items():
        dy = dy.swapaxes(1, 2).reshape(*x.shape[:2], -1)  # the heads side by side
        more, grads[f"attention.{name}"] = linear_backward(x, w[f"attention.{name}"], dy)
        dx = dx + more
    return dx, grads


def layer_backward(config, w, x, rope, mask, dy):
    """x, dy (B, T, E), the rest as in `layer` -> dx, and {name: gradient} of the layer's weights.

    x reaches the result on two ways, past each mechanism and through it, so their gradients add.
    """
    eps, grads = config.norm_eps, {}
    names = [f"feed_forward.{name}" for name in ("w1", "w2", "w3")]

    # forwards once more, to what the steps below need
    normed = rms_norm(x, w["attention_norm"], eps)
    q, k, v = project_qkv(config, w, normed, rope)
    heads = attend(q, k, v, mask).swapaxes(1, 2).reshape(*x.shape[:2], -1)
    middle = x + linear(heads, w["attention.wo"])
    ffn_normed = rms_norm(middle, w["ffn_norm"], eps)

    dnormed, *dws = feed_forward_backward(ffn_normed, *(w[name] for name in names), dy)
    grads |= dict(zip(names, dws, strict=True))
    dmiddle, grads["ffn_norm"] = rms_norm_backward(middle, w["ffn_norm"], eps, dnormed)
    dmiddle = dmiddle + dy

    dheads, grads["attention.wo"] = linear_backward(heads, w["attention.wo"], dmiddle)
    dheads = dheads.reshape(*x.shape[:2], -1, config.head_dim).swapaxes(1, 2)
    dnormed, more = project_qkv_backward(
        config, w, normed, rope, *attend_backward(q, k, v, mask, dheads)
    )
    grads |= more
    dx, grads["attention_norm"] = rms_norm_backward(x, w["attention_norm"], eps, dnormed)
    return dx + dmiddle, grads


def cross_entropy(logits, targets):
    """The mean of -log p(target) in nats, over the targets that count, and its gradient.

    logits (B, T, V), targets (B, T) integers, -1 where none counts -> loss, dlogits (B, T, V).
    The gradient is softmax less 1 at the target, divided by how many count.

    Two tokens, both equally likely: the loss is ln 2.

    >>> loss, dlogits = cross_entropy(np.zeros((1, 1, 2)), np.array([[1]]))
    >>> round(float(loss), 3), dlogits
    (0.693, array([[[ 0.5, -0.5]]]))
    """
    counts = targets >= 0
    at = np.where(counts, targets, 0)[..., None]
    p = masked_softmax(logits, np.True_)
    top = logits.max(axis=-1, keepdims=True)
    log_sum = top + np.log(np.exp(logits - top).sum(axis=-1, keepdims=True))
    losses = (log_sum - np.take_along_axis(logits, at, axis=-1))[..., 0]
    dlogits = p
    np.put_along_axis(dlogits, at, np.take_along_axis(p, at, axis=-1) - 1, axis=-1)
    n = int(counts.sum())  # a NumPy integer would make float64 of float32
    return (losses * counts).sum() / n, dlogits * counts[..., None] / n


def loss_and_gradients(model, tokens, targets):
    """The loss of predicting targets from tokens, and its gradient for every weight.

    model: a Mistral of float32 or float64 weights. tokens (B, T) ids. targets (B, T): the id that
    should follow each token, -1 where the loss does not count -> the mean loss in nats, and a
    dict of gradients like model.weights. Memory: the input of each layer, L * B * T * E values,
    and the largest arrays of one layer.
    Raises TypeError or ValueError, naming the argument.
    """
    config, weights = model.config, trainable(model.weights)
    tokens, _ = as_inputs(tokens, None, config.vocab_size)
    targets = as_array("targets", np.asarray, targets)
    require_targets(targets, tokens.shape, config.vocab_size)
    positions = np.broadcast_to(np.arange(tokens.shape[1]), tokens.shape)
    mask = query_blocks(positions, positions, config.window_size)
    rope = rope_tables(positions, config.head_dim, config.rope_theta, model.dtype)

    inputs = [model.embed(tokens, positions)]
    for w in model.layers:
        inputs.append(layer(config, w, inputs[-1], rope, mask, lambda k, v: (k, v)))
    loss, dlogits = cross_entropy(model.unembed(inputs[-1]), targets)

    grads = {}
    x = inputs.pop()
    normed = rms_norm(x, weights["norm.weight"], config.norm_eps)
    dx, grads["output.weight"] = linear_backward(normed, weights["output.weight"], dlogits)
    dx, grads["norm.weight"] = rms_norm_backward(x, weights["norm.weight"], config.norm_eps, dx)
    for n in reversed(range(config.n_layers)):
        dx, own = layer_backward(config, model.layers[n], inputs.pop(), rope, mask, dx)
        grads |= {f"layers.{n}.{name}.weight": gradient for name, gradient in own.items()}
    grads["tok_embeddings.weight"] = embed_backward(tokens, config.vocab_size, dx)
    return float(loss), {name: grads[name] for name in weights}


def embed_backward(tokens, vocab_size, dx):
    """tokens (B, T), dx (B, T, E) -> (V, E): a token's row gets the sum over its appearances.

    >>> embed_backward(np.array([[2, 0, 2]]), 3, np.array([[[1.0], [10.0], [100.0]]]))[:, 0]
    array([ 10.,   0., 101.])
    """
    gradient = np.zeros((vocab_size, dx.shape[-1]), dx.dtype)
    np.add.at(gradient, tokens, dx)  # `gradient[tokens] += dx` would count a token once
    return gradient


def trainable(weights):
    """The weights, or TypeError if one is of half precision or stays in its file."""
    for name, weight in weights.items():
        if not isinstance(weight, np.ndarray) or weight.dtype.itemsize < 4:
            raise TypeError(
                "model must have weights of float32 or float64, in memory;"
                f" {name} is {getattr(weight, 'dtype', type(weight).__name__)}"
            )
    return weights
