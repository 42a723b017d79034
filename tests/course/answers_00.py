"""Further answers to the exercises of lesson 00, right and wrong; test_checks.py gives them."""

import functools
import math
from dataclasses import asdict, replace
from decimal import Decimal
from types import SimpleNamespace

import numpy as np
import torch

from minimistral.course.checks import lesson_00

LAYER = lesson_00.layer_params
CACHE = lesson_00.cache_bytes
BUDGET = lesson_00.wrong_budget


def layer(c, wq=2, wk=2, ffn=3, norms=2, rows=None, kv_rows=None, columns=None, width=None):
    """The count of one layer, with ways to get it wrong."""
    attention = wq * (rows or c.n_heads * c.head_dim) * c.dim
    attention += wk * (kv_rows or c.n_kv_heads * c.head_dim) * (columns or c.dim)
    return attention + ffn * c.dim * (width or c.hidden_dim) + norms * c.dim


def cache(c, kept, b, k_and_v=2, layers=None, heads=None, head_dim=None):
    """The bytes of a cache, with ways to get it wrong."""
    return (
        k_and_v * (layers or c.n_layers) * (heads or c.n_kv_heads) * (head_dim or c.head_dim)
    ) * kept * b  # fmt: skip


def layer_by_list(c):
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    shapes = [(q, c.dim), (kv, c.dim), (kv, c.dim), (c.dim, q)]
    shapes += [(c.hidden_dim, c.dim), (c.hidden_dim, c.dim), (c.dim, c.hidden_dim)]
    shapes += [(c.dim,), (c.dim,)]
    return sum(math.prod(shape) for shape in shapes)


def layer_by_numpy(c):
    return np.array([2 * c.n_heads * c.head_dim + 2 * c.n_kv_heads * c.head_dim
                     + 3 * c.hidden_dim + 2]).sum() * c.dim  # fmt: skip


def layer_by_torch(c):
    rows = [2 * c.n_heads * c.head_dim, 2 * c.n_kv_heads * c.head_dim, 3 * c.hidden_dim, 2]
    return torch.tensor(rows, dtype=torch.float64, requires_grad=True).sum() * c.dim


def layer_on_meta(c):
    q, kv = c.n_heads * c.head_dim, c.n_kv_heads * c.head_dim
    shapes = [(q, c.dim)] * 2 + [(kv, c.dim)] * 2 + [(c.hidden_dim, c.dim)] * 3 + [(c.dim,)] * 2
    return sum(torch.empty(shape, device="meta").numel() for shape in shapes)


def layer_by_groups(c):
    """wk and wv have a share of the rows of wq."""
    per_query_head = c.n_heads / c.n_kv_heads
    rows = c.n_heads * c.head_dim
    return c.dim * (2 * rows + 2 * rows / per_query_head + 3 * c.hidden_dim + 2)


def cache_token_by_token(config, tokens, bytes_per_value):
    held = []
    for token in range(min(tokens, 10_000)):
        held.append(token)
        held = held[-config.window_size :]
    return len(held) * 2 * config.n_layers * config.n_kv_heads * config.head_dim * bytes_per_value


def cache_by_if(config, tokens, bytes_per_value):
    if tokens > config.window_size:
        tokens = config.window_size
    total = 0
    for _ in range(config.n_layers):
        for _ in ("K", "V"):
            total += config.n_kv_heads * config.head_dim * tokens * bytes_per_value
    return total


def cache_by_array(config, tokens, bytes_per_value):
    kept = np.minimum(tokens, config.window_size)
    sizes = [2, config.n_layers, config.n_kv_heads, config.head_dim, kept, bytes_per_value]
    return np.prod(sizes, dtype=np.int64)


def cache_by_torch(config, tokens, bytes_per_value):
    kept = torch.tensor(tokens).clamp(max=config.window_size)
    return kept * 2 * config.n_layers * config.n_kv_heads * config.head_dim * bytes_per_value


def cache_on_meta(config, tokens, bytes_per_value):
    dtype = {2: torch.bfloat16, 4: torch.float32}[bytes_per_value]
    kept = min(tokens, config.window_size)
    shape = (2, config.n_layers, config.n_kv_heads, kept, config.head_dim)
    return torch.empty(shape, dtype=dtype, device="meta").nbytes


class Counter:
    def __call__(self, config):
        return layer(config)


RIGHT = [
    (LAYER, (layer_by_list,)),
    (LAYER, (layer_by_numpy,)),
    (LAYER, (layer_by_torch,)),
    (LAYER, (layer_on_meta,)),
    (LAYER, (layer_by_groups,)),
    (LAYER, (lambda c: layer(c, kv_rows=c.n_heads // c.n_groups * c.head_dim),)),
    (LAYER, (lambda c: layer(SimpleNamespace(**asdict(c))),)),
    (LAYER, (Counter(),)),
    (LAYER, (functools.partial(layer, norms=2),)),
    (LAYER, (lambda c: np.array(layer(c)),)),
    (LAYER, (lambda c: np.float32(layer(c)),)),
    (LAYER, (lambda config, *, biases=False: layer(config) + biases * config.dim,)),
    (CACHE, (cache_token_by_token,)),
    (CACHE, (cache_by_if,)),
    (CACHE, (cache_by_array,)),
    (CACHE, (cache_by_torch,)),
    (CACHE, (cache_on_meta,)),
    (CACHE, (lambda c, t, b: sorted((t, c.window_size))[0] * cache(c, 1, b),)),
    (CACHE, (lambda c, t, b: cache(c, t, b) if t < c.window_size else cache(c, c.window_size, b),)),
    (BUDGET, (np.float32(4), torch.tensor(16.0, requires_grad=True))),
    (BUDGET, (np.array(4), 2**4)),
    (BUDGET, (32 // 8, 65536 // 4096)),
]
WRONG = [
    (LAYER, (lambda c: layer(c, wq=0),), "wq and wo are missing"),
    (LAYER, (lambda c: layer(c, ffn=0),), "FFN is missing"),
    (LAYER, (lambda c: layer(c, ffn=1),), "three matrices"),
    (LAYER, (lambda c: layer(c, norms=3),), "last norm of the model belongs to no layer"),
    (LAYER, (lambda c: layer(c, norms=4),), "no bias"),
    (LAYER, (lambda c: layer(c, norms=1),), "There are two norms"),
    (LAYER, (lambda c: layer(c, norms=0) + 2 * c.hidden_dim,), "not hidden_dim"),
    (LAYER, (lambda c: layer(c, norms=1) + c.hidden_dim,), "stands before the FFN"),
    (LAYER, (lambda c: layer(c, width=4 * c.dim),), "not 4 * dim"),
    (LAYER, (lambda c: layer(c, ffn=2, width=4 * c.dim),), "three matrices, and their width"),
    (LAYER, (lambda c: layer(c, width=7 * c.dim // 2),), "3.5 * dim in Mistral 7B only"),
    (LAYER, (lambda c: layer(c, ffn=2) + c.hidden_dim**2,), "hidden_dim x hidden_dim"),
    (LAYER, (lambda c: layer(c) + 2 * c.hidden_dim + c.dim,), "FFN have no biases"),
    (LAYER, (lambda c: layer(c) + c.n_heads * c.head_dim + 2 * c.n_kv_heads * c.head_dim + c.dim,),
     "No matrix of attention has a bias"),
    (LAYER, (lambda c: layer(c, rows=c.head_dim),), "all n_heads heads"),
    (LAYER, (lambda c: layer(c, wk=3, wq=1),), "as large as wq"),
    (LAYER, (lambda c: layer(c, kv_rows=c.n_kv_heads),), "head_dim rows"),
    (LAYER, (lambda c: layer(c, columns=c.n_heads * c.head_dim),), "so they have dim columns"),
    (LAYER, (lambda c: layer(c, kv_rows=c.n_heads // 4 * c.head_dim),), "4 query heads share one"),
    (LAYER, (lambda c: layer(c, rows=c.n_heads * (c.dim // c.n_heads),
                             kv_rows=c.n_kv_heads * (c.dim // c.n_heads)),), "dim / n_heads"),
    (LAYER, (lambda c: layer(c, wq=1) + c.dim**2,), "need not"),
    (LAYER, (lambda c: layer(c) + 2 * c.vocab_size * c.dim,), "and the output belong to no layer"),
    (LAYER, (lambda c: 4 * layer(c),), "4 times as many"),
    (LAYER, (lambda c: layer(c, ffn=2, norms=0),), "The two norms, dim values each, are missing"),
    (LAYER, (lambda c: layer(c, ffn=2, norms=0),), "The FFN has three matrices"),
    (LAYER, (lambda c: layer(c, wk=1, norms=1),), "you count one. There are two norms"),
    (LAYER, (lambda c: layer(c, kv_rows=c.n_heads * c.head_dim, ffn=2),), "not n_heads. The FFN"),
    (LAYER, (lambda c: 4 * c.n_heads * c.head_dim * c.dim + 2 * c.dim * 4 * c.dim + 2 * c.dim,),
     "wk and wv have n_kv_heads heads, not n_heads. The FFN"),  # GPT-2's formula
    (LAYER, (lambda c: layer(c, ffn=2, norms=1, wk=1),), None),
    (LAYER, (lambda c: layer(c) // 10**6,), "in millions"),
    (LAYER, (lambda c: f"{layer(c):,}",), "of type str"),
    (LAYER, (lambda c: layer(c) and None,), "`return` missing"),
    (LAYER, (lambda c: [layer(c)],), "of type list"),
    (LAYER, (lambda c: layer(c) + 0 * c.n_params,), "nine numbers: n_params."),
    (LAYER, (lambda c: layer(replace(c, n_layers=1)) + 0 * len(c.weight_shapes()),),
     "nine numbers: weight_shapes."),
    (LAYER, (lambda c: layer(c, norms=0) + 2 * c["dim"],), "not subscriptable"),
    (LAYER, (layer(lesson_00._MISTRAL),), "pass the function itself"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b, k_and_v=4),), "counted twice"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b, k_and_v=3),), "Queries are not"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b, layers=32),), "Mistral 7B only"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b, head_dim=c.dim),), "not dim"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b, heads=1, head_dim=c.hidden_dim),),
     "uses hidden_dim"),
    (CACHE, (lambda c, t, b: cache(c, max(0, t - c.window_size), b),), "have left the window"),
    (CACHE, (lambda c, t, b: cache(c, c.context_len, b),), "context_len is the length"),
    (CACHE, (lambda c, t, b: cache(c, 1, b),), "That is one token"),
    (CACHE, (lambda c, t, b: 131_072 * min(t, c.window_size) * b,), "131,072 counts bytes"),
    (CACHE, (lambda c, t, b: 131_072 * t,), "131,072 counts bytes"),
    (CACHE, (lambda c, t, b: 8 * cache(c, min(t, c.window_size), b),), "counts bits"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), 4),), "not always 4"),
    (CACHE, (lambda c, t, b: cache(c, t, 1),), "kept. That counts values"),
    (CACHE, (lambda c, t, b: cache(c, t, b, k_and_v=1),), "K and V are kept. Never more"),
    (CACHE, (lambda c, t, b: min(cache(c, t, b), c.window_size),), "before you multiply"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b) + c.n_params * b,), "cache alone"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b) // 2**10,), "in KiB"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b) // 2**20,), "in MiB"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b, heads=c.n_heads // 4),),
     "4 query heads share one"),
    (CACHE, (lambda c, t, b: cache(c, min(t, c.window_size), b, head_dim=c.dim // c.n_heads),),
     "dim / n_heads"),
    (CACHE, (lambda c, t: cache(c, min(t, c.window_size), 2),), "TypeError"),
    (CACHE, (lambda c, t, b: cache(c, c.window_size[:t], b),), "not subscriptable"),
    (BUDGET, (3, 16), "3 times more"),
    (BUDGET, (4, 15), "15 times more"),
    (BUDGET, (128, 16), "head_dim"),
    (BUDGET, (np.float32(0.25), 16), "how much is left"),
    (BUDGET, (4, torch.tensor(0.0625)), "how much is left"),
    (BUDGET, (4, 65_536), "That is the text"),
    (BUDGET, (4, 2**30), "too large"),
    (BUDGET, (75, 16), "percentage"),
    (BUDGET, (300, 16), "percentage"),
    (BUDGET, (4, 1500), "percentage"),
    (BUDGET, (-4, 16), "too small"),
    (BUDGET, ([4], 16), "of type list"),
    (BUDGET, (4, Decimal("16.5")), "of type Decimal"),
    (BUDGET, ("n_heads / n_kv_heads", 16), "of type str"),
]  # fmt: skip
CHECKS: list = []  # those of a new exercise
FIRST: dict = {}
N_ANSWERS: dict = {}
