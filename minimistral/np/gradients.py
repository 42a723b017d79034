"""The loss of a text, and its gradient for every weight (Rumelhart et al. 1986)."""

import numpy as np

from minimistral._arguments import as_array, require_count, require_model, require_targets
from minimistral.np.backward import (
    embed_backward,
    layer_backward,
    linear_backward,
    rms_norm_backward,
)
from minimistral.np.checked import as_inputs
from minimistral.np.layer import layer
from minimistral.np.mask import query_blocks
from minimistral.np.model import Mistral
from minimistral.np.norm import rms_norm
from minimistral.np.rope import rope_tables


def loss_and_gradients(model, tokens, targets, micro_batch=None):
    """The loss of predicting targets from tokens, and its gradient for every weight.

    model: a Mistral of float32 or float64 weights. tokens (B, T) ids. targets (B, T): the id that
    should follow each token, -1 where the loss does not count -> the mean loss in nats, and a
    dict of gradients like model.weights. micro_batch: so many rows at a time, all if None; the
    result is the same, and the memory less.
    Raises TypeError or ValueError, naming the argument.

    An untrained model's loss is a little above ln V, and ln 768 is 6.6:

    >>> from minimistral import ModelConfig
    >>> loss, gradients = loss_and_gradients(Mistral(ModelConfig.tiny()), [[1, 2, 3]], [[2, 3, -1]])
    >>> 6.6 < loss < 8, tuple(gradients["norm.weight"].shape)
    (True, (128,))
    """
    require_model(model, Mistral)
    trainable(model.weights)
    tokens, _ = as_inputs(tokens, None, model.config.vocab_size)
    targets = as_array("targets", np.asarray, targets)
    require_targets(targets, tokens.shape, model.config.vocab_size)
    micro_batch = len(tokens) if micro_batch is None else require_count("micro_batch", micro_batch)
    loss, gradients = 0.0, {name: np.zeros_like(w) for name, w in model.weights.items()}
    for start in range(0, len(tokens), micro_batch):
        part = slice(start, start + micro_batch)
        # A mean over few targets must not weigh as much as a mean over many.
        share = int((targets[part] >= 0).sum()) / int((targets >= 0).sum())
        if share:
            part_loss, more = one_batch(model, tokens[part], targets[part])
            loss += share * part_loss
            for name, gradient in more.items():
                gradients[name] += share * gradient
    return loss, gradients


def one_batch(model, tokens, targets):
    """`loss_and_gradients` of rows that fit into memory together.

    It keeps the input of each layer, L * B * T * E values, and the arrays of one layer at a time.
    """
    config, weights = model.config, model.weights
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
    return float(loss), grads


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
    below = logits - logits.max(axis=-1, keepdims=True)
    log_p = below - np.log(np.exp(below).sum(axis=-1, keepdims=True))
    losses = -np.take_along_axis(log_p, at, axis=-1)[..., 0]
    dlogits = np.exp(log_p)
    np.put_along_axis(dlogits, at, np.take_along_axis(dlogits, at, axis=-1) - 1, axis=-1)
    n = int(counts.sum())  # a NumPy integer would make float64 of float32
    return (losses * counts).sum() / n, dlogits * counts[..., None] / n


def trainable(weights):
    """The weights, or TypeError if one is of half precision or stays in its file."""
    for name, weight in weights.items():
        if not isinstance(weight, np.ndarray) or weight.dtype.itemsize < 4:
            raise TypeError(
                "model must have weights of float32 or float64, in memory;"
                f" {name} is {getattr(weight, 'dtype', type(weight).__name__)}"
            )
    return weights
