"""Attention with the keys split into parts that do not wait for each other (Flash-Decoding)."""

import torch


def attend_split(q, k, v, mask, n_parts):
    """`attend`, for each of n_parts equal parts of the keys; then the parts are put together.

    q (B, H, T, D), k and v (B, G, S, D), mask bool (B, T, S) -> (B, H, T, D). n_parts divides S.

    One query has too little work for a GPU with more than a hundred processors; split, it has
    n_parts times as many pieces (Flash-Decoding, Dao et al. 2023). A part cannot know the
    largest score of the others, so it takes the exponentials below its own, and says which it
    was. The parts are then scaled to the largest of all.

    The products are written as sums: compiled, each is one kernel that adds in float32, and no
    product is stored. Not compiled, they would be.

    Two keys with the scores 0 and log 3, each a part by itself: the second weighs three times
    as much, though each part gave its own key all the weight.

    >>> q, k = torch.ones(1, 1, 1, 1), torch.tensor([[[[1.0], [3.0]]]]).log()
    >>> v = torch.tensor([[[[0.0], [4.0]]]])
    >>> attend_split(q, k, v, torch.ones(1, 1, 2, dtype=torch.bool), n_parts=2).round(decimals=3)
    tensor([[[[3.]]]])
    """
    (B, H, T, D), G = q.shape, k.shape[1]
    out_dtype, dtype = q.dtype, torch.promote_types(q.dtype, torch.float32)
    q = q.reshape(B, G, 1, -1, 1, D).to(dtype)
    k, v = (x.reshape(B, G, n_parts, 1, -1, D).to(dtype) for x in (k, v))
    seen = mask.reshape(B, T, n_parts, -1).swapaxes(1, 2)[:, None]  # (B, 1, parts, T, S / parts)
    seen = seen.repeat(1, 1, 1, H // G, 1)  # the heads of a group see the same
    scores = torch.where(seen, (q * k).sum(dim=-1) * D**-0.5, -torch.inf)
    top = scores.amax(dim=-1, keepdim=True).clamp(min=torch.finfo(dtype).min)
    weights = torch.exp(scores - top)
    values = (weights[..., None] * v).sum(dim=-2)
    totals = weights.sum(dim=-1, keepdim=True)

    top, totals = top.expand_as(values), totals.expand_as(values)  # then one kernel adds all up
    scale = torch.exp(top - top.amax(dim=2, keepdim=True))  # of each part, against the largest
    total = (totals * scale).sum(dim=2).clamp(min=1)  # below 1 only where nothing is seen
    out = (values * scale).sum(dim=2) / total
    return out.reshape(B, H, T, D).to(out_dtype)


def best_parts(cache):
    """In how many parts to attend over a cache's keys: enough for a GPU, of 64 keys at least."""
    pieces, n_parts = cache.batch_size * cache.config.n_kv_heads, 1
    if cache.k.device.type != "cuda":  # each core has enough with one head
        return 1
    while pieces * n_parts < 256 and cache.n_slots % (128 * n_parts) == 0:
        n_parts *= 2
    return n_parts
