"""One layer of the model: attention, then the feed-forward network (paper section 2)."""

import torch
from torch import nn

from minimistral.pt.attention import attend
from minimistral.pt.feedforward import feed_forward
from minimistral.pt.linear import linear
from minimistral.pt.norm import rms_norm
from minimistral.pt.rope import apply_rope


class Layer(nn.Module):
    """One layer: attention, then the feed-forward network, each added to x (B, T, E).

    rope: from `rope_tables`. mask: from `query_blocks`, or block-sparse.
    update: k, v of these tokens -> k, v of all that they may see, as a cache keeps them.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        E, F, D = config.dim, config.hidden_dim, config.head_dim
        sizes = {"wq": (E, config.n_heads * D), "wk": (E, config.n_kv_heads * D)}
        sizes |= {"wv": sizes["wk"], "wo": (config.n_heads * D, E)}
        self.attention_norm = nn.RMSNorm(E, config.norm_eps)
        self.attention = _matrices(sizes)
        self.ffn_norm = nn.RMSNorm(E, config.norm_eps)
        self.feed_forward = _matrices({"w1": (E, F), "w2": (F, E), "w3": (E, F)})

    def forward(self, x, rope, mask, update):
        config, attention = self.config, self.attention
        h = rms_norm(x, self.attention_norm.weight, config.norm_eps)
        q, k, v = project_qkv(config, attention, h, rope)
        k, v = update(k, v)
        h = attend(q, k, v, mask).swapaxes(1, 2).reshape(*x.shape[:2], -1)  # heads side by side
        x = x + linear(h, attention["wo"])
        h = rms_norm(x, self.ffn_norm.weight, config.norm_eps)
        return x + feed_forward(h, **self.feed_forward)


def _matrices(sizes):
    """A dict of matrices without a bias, by their names and (in, out)."""
    return nn.ModuleDict({name: nn.Linear(n, m, bias=False) for name, (n, m) in sizes.items()})


def project_qkv(config, w, x, rope):
    """Queries, keys and values of x (B, T, E): q (B, H, T, D), k and v (B, G, T, D).

    w: the attention's matrices, by name. q and k come rotated by the tables in `rope`.
    """
    q, k, v = (
        linear(x, w[name]).reshape(*x.shape[:2], -1, config.head_dim).swapaxes(1, 2)
        for name in ("wq", "wk", "wv")
    )
    qk = apply_rope(torch.cat([q, k], dim=1), *rope)  # both at once: half the calls
    return qk[:, : q.shape[1]], qk[:, q.shape[1] :], v
