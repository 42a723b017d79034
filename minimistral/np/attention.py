"""Attention with grouped key/value heads (paper section 2; GQA after Ainslie et al. 2023)."""

import numpy as np


def attend(q, k, v, mask):
    """Each query's weighted average of the values it may see.

    q (B, H, T, D), k and v (B, G, S, D), mask bool (B, T, S) -> (B, H, T, D).
    Query head h reads key/value head h // (H / G). A query that sees nothing gets zeros.
    mask may also be the list of `query_blocks`: then each block of queries is compared with
    the keys in its reach alone.

    One head, one query, two keys. Only the first is visible, so its value comes back:

    >>> q, k = np.ones((1, 1, 1, 2)), np.ones((1, 1, 2, 2))
    >>> v = np.array([[[[1.0, 2.0], [7.0, 7.0]]]])
    >>> attend(q, k, v, np.array([[[True, False]]]))
    array([[[[1., 2.]]]])
    """
    if isinstance(mask, list):
        parts = [attend(q[:, :, i], k[:, :, j], v[:, :, j], part) for i, j, part in mask]
        return parts[0] if len(parts) == 1 else np.concatenate(parts, axis=2)
    (B, H, T, D), (_, G, S, _) = q.shape, k.shape
    # The g = H / G query heads of a group lie next to each other, so one matrix product
    # serves them all and no key is copied: (B, G, g * T, D) @ (B, G, D, S).
    scores = q.reshape(B, G, -1, D) @ k.swapaxes(-1, -2) * D**-0.5
    weights = masked_softmax(scores.reshape(B, G, H // G, T, S), mask[:, None, None])
    return (weights.reshape(B, G, -1, S) @ v).reshape(B, H, T, D)


def masked_softmax(scores, mask):
    """Softmax over the last axis where mask is True, 0 elsewhere.

    scores (..., S), mask bool, broadcast to scores -> weights (..., S). A row that sees
    nothing is all zeros, not 0 / 0.

    >>> masked_softmax(np.array([1.0, 1.0, 9.0]), np.array([True, True, False]))
    array([0.5, 0.5, 0. ])
    """
    dtype = scores.dtype
    if dtype.itemsize < 4:  # half precision is too coarse for a sum over many keys
        scores = scores.astype(np.float32)
    scores = np.where(mask, scores, -np.inf)
    # Softmax does not change when the same constant is subtracted from every score in a row;
    # with the row's maximum, exp cannot overflow. -inf - (-inf) is NaN, so clamp the maximum.
    top = np.maximum(scores.max(axis=-1, keepdims=True), np.finfo(scores.dtype).min)
    weights = np.exp(scores - top)
    # The maximum contributes 1, so the sum is at least 1 except in a row that sees nothing.
    total = np.maximum(weights.sum(axis=-1, keepdims=True), 1)
    return (weights / total).astype(dtype, copy=False)
