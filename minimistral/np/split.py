"""Attention with the keys split into parts that do not wait for each other (Flash-Decoding)."""

import numpy as np


def attend_split(q, k, v, mask, n_parts):
    """`attend`, for each of n_parts equal parts of the keys; then the parts are put together.

    q (B, H, T, D), k and v (B, G, S, D), mask bool (B, T, S) -> (B, H, T, D). n_parts divides S.

    One query has too little work for a GPU with more than a hundred processors; split, it has
    n_parts times as many pieces (Flash-Decoding, Dao et al. 2023). A part cannot know the
    largest score of the others, so it takes the exponentials below its own, and says which it
    was. The parts are then scaled to the largest of all.

    Two keys with the scores 0 and log 3, each a part by itself: the second weighs three times
    as much, though each part gave its own key all the weight.

    >>> q, k = np.ones((1, 1, 1, 1)), np.log([[[[1.0], [3.0]]]])
    >>> v = np.array([[[[0.0], [4.0]]]])
    >>> attend_split(q, k, v, np.ones((1, 1, 2), bool), n_parts=2).round(3)
    array([[[[3.]]]])
    """
    (B, H, T, D), G = q.shape, k.shape[1]
    out_dtype, dtype = q.dtype, np.promote_types(q.dtype, np.float32)
    q = q.reshape(B, G, 1, -1, D).astype(dtype)
    k, v = (x.reshape(B, G, n_parts, -1, D).astype(dtype) for x in (k, v))
    seen = mask.reshape(B, T, n_parts, -1).swapaxes(1, 2)[:, None]  # (B, 1, parts, T, S / parts)
    seen = np.tile(seen, (1, 1, 1, H // G, 1))  # the heads of a group see the same
    scores = np.where(seen, q @ k.swapaxes(-1, -2) * D**-0.5, -np.inf)
    top = np.maximum(scores.max(axis=-1, keepdims=True), np.finfo(dtype).min)
    weights = np.exp(scores - top)
    values, totals = weights @ v, weights.sum(axis=-1, keepdims=True)

    scale = np.exp(top - top.max(axis=2, keepdims=True))  # of each part, against the largest
    total = np.maximum((totals * scale).sum(axis=2), 1)  # below 1 only where nothing is seen
    out = (values * scale).sum(axis=2) / total
    return out.reshape(B, H, T, D).astype(out_dtype)
