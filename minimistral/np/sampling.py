"""From logits to the next token (Holtzman et al. 2020)."""

import numpy as np

from minimistral._arguments import as_array, require_number


def probabilities(logits, temperature=1.0, top_p=1.0):
    """The distribution from which the next token is sampled.

    logits (V,) or (B, V), any float -> the same shape, float64. temperature: 0 puts everything
    on the largest logit, 1 is the model's own softmax, more is flatter. top_p in (0, 1]: keep
    the fewest tokens, the likeliest first, that have this much together (Holtzman et al. 2020).
    A token whose logit is -infinity has probability 0.
    Raises TypeError or ValueError, naming the argument.

    Of 0.6, 0.3 and 0.1 the first two are enough for 0.8, and are scaled to sum to 1:

    >>> probabilities(np.log([0.6, 0.3, 0.1]), top_p=0.8).round(3)
    array([0.667, 0.333, 0.   ])
    """
    temperature = require_number("temperature", temperature, low=0)
    top_p = require_number("top_p", top_p, above=0, high=1)
    logits = as_array("logits", lambda values: np.asarray(values, np.float64), logits)
    if logits.ndim not in (1, 2) or not np.isfinite(logits.max(axis=-1, initial=-np.inf)).all():
        raise ValueError(
            f"logits must be (V,) or (B, V), the largest of each row finite, not {logits}"
        )
    top = logits.max(axis=-1, keepdims=True)
    if temperature == 0:
        return np.where(np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[..., None], 1.0, 0.0)
    with np.errstate(over="ignore"):  # a tiny temperature: -infinity, and exp makes 0 of it
        p = np.exp((logits - top) / temperature)
    p = p / p.sum(axis=-1, keepdims=True)
    if top_p < 1:
        order = np.argsort(-p, axis=-1, kind="stable")
        sorted_p = np.take_along_axis(p, order, axis=-1)
        before = sorted_p.cumsum(axis=-1) - sorted_p  # the probability of all likelier tokens
        np.put_along_axis(p, order, np.where(before >= top_p, 0, sorted_p), axis=-1)
    return p / p.sum(axis=-1, keepdims=True)


def likeliest(logits):
    """The token with the largest logit: logits (..., V) -> ids (...), -1 if it is not finite.

    >>> likeliest(np.array([[0.5, 2.0, 2.0], [0.0, np.nan, 1.0]]))
    array([ 1, -1])
    """
    ids = logits.argmax(axis=-1)  # of NaN too, if there is one
    top = np.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    return np.where(np.isfinite(top), ids, -1)


def sample(p, u):
    """The token at u in [0, 1) when the tokens lie side by side, each as wide as its probability.

    p (..., V) sums to about 1, u (...) -> ids (...). A token with p = 0 is never sampled.

    >>> [int(sample(np.array([0.25, 0.0, 0.75]), u)) for u in (0.0, 0.24, 0.25, 0.99)]
    [0, 0, 2, 2]
    """
    edges = p.cumsum(axis=-1)
    return (edges <= np.expand_dims(u, -1) * edges[..., -1:]).sum(axis=-1)
