"""One layer of the model: attention, then the feed-forward network (paper section 2)."""

import numpy as np

from minimistral.np.attention import attend
from minimistral.np.feedforward import feed_forward
from minimistral.np.linear import linear
from minimistral.np.norm import rms_norm
from minimistral.np.rope import apply_rope

LAYER = (
    "attention_norm", "attention.wq", "attention.wk", "attention.wv", "attention.wo",
    "ffn_norm", "feed_forward.w1", "feed_forward.w2", "feed_forward.w3",
)  # fmt: skip


def layer(config, w, x, rope, mask, update):
    """One layer: attention, then the feed-forward network, each added to x (B, T, E).

    w: the layer's weights, by name. rope: from `rope_tables`. mask: from `query_blocks`.
    update: k, v of these tokens -> k, v of all that they may see, as a cache keeps them.
    """
    h = rms_norm(x, w["attention_norm"], config.norm_eps)
    q, k, v = project_qkv(config, w, h, rope)
    k, v = update(k, v)
    h = attend(q, k, v, mask).swapaxes(1, 2).reshape(*x.shape[:2], -1)  # the heads side by side
    x = x + linear(h, w["attention.wo"])
    h = rms_norm(x, w["ffn_norm"], config.norm_eps)
    return x + feed_forward(h, *(w[f"feed_forward.{name}"] for name in ("w1", "w2", "w3")))


def project_qkv(config, w, x, rope):
    """Queries, keys and values of x (B, T, E): q (B, H, T, D), k and v (B, G, T, D).

    w: the layer's weights, by name. q and k come rotated by the tables in `rope`.
    """
    q, k, v = (
        linear(x, w[f"attention.{name}"]).reshape(*x.shape[:2], -1, config.head_dim).swapaxes(1, 2)
        for name in ("wq", "wk", "wv")
    )
    qk = apply_rope(np.concatenate([q, k], axis=1), *rope)  # both at once: half the calls
    return qk[:, : q.shape[1]], qk[:, q.shape[1] :], v
