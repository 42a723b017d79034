"""What `mm.` offers: the mechanisms of the other files, behind checks of their arguments.

The model calls the plain functions, because what it passes on fits by construction. Each check
here is given what the caller wrote, and returns what the plain function is called with.
"""

from functools import partial

import torch
from torch.nn.attention.flex_attention import BlockMask

from minimistral._arguments import (
    as_array,
    checked,
    require_adapted,
    require_count,
    require_dtype,
    require_floats,
    require_heads,
    require_integers,
    require_lengths,
    require_mask,
    require_network,
    require_number,
    require_shape,
    require_tokens,
    require_window,
)
from minimistral.pt import attention, feedforward, mask, norm, rope
from minimistral.pt import lora as lora_module
from minimistral.pt.cache import DTYPES, RollingCache
from minimistral.pt.tensors import as_tensor


@checked(mask.window_mask)
def window_mask(q_pos, k_pos, window, *, block_sparse=False):
    window = require_window(window)
    q_pos = as_positions("q_pos", q_pos)
    k_pos = as_positions("k_pos", k_pos).to(q_pos.device)
    if q_pos.shape[:-1] != k_pos.shape[:-1]:
        raise ValueError(
            "q_pos and k_pos must have the same batch,"
            f" not {tuple(q_pos.shape)} and {tuple(k_pos.shape)}"
        )
    return q_pos, k_pos, window, block_sparse


@checked(attention.attend)
def attend(q, k, v, mask):
    q, k, v = as_tensors(q=q, k=k, v=v)
    require_heads(q, k, v)
    B, T, S = q.shape[0], q.shape[2], k.shape[2]
    if isinstance(mask, BlockMask):
        require_shape("mask", mask, (B, 1, T, S), (1, 1, T, S))
        return q, k, v, mask
    (mask,) = as_tensors(partial(as_tensor, device=q.device), mask=mask)
    require_mask(mask, (B, T, S), (T, S))
    return q, k, v, torch.broadcast_to(mask, (B, T, S))


@checked(rope.rope_tables)
def rope_tables(positions, head_dim, theta, dtype="float64"):
    positions = as_positions("positions", positions)
    head_dim = require_count("head_dim", head_dim, below=2**31)
    if head_dim % 2:
        raise ValueError(f"head_dim must be even, because pairs are turned, not {head_dim}")
    theta = require_number("theta", theta, above=0)  # a plain float cannot promote float32
    return positions, head_dim, theta, getattr(torch, require_dtype(dtype, DTYPES))


@checked(rope.apply_rope)
def apply_rope(x, cos, sin):
    (x,) = as_tensors(x=x)
    cos, sin = as_tensors(partial(as_tensor, device=x.device), cos=cos, sin=sin)
    require_floats(x=x)
    require_floats(cos=cos, sin=sin)
    if x.ndim != 4 or x.shape[-1] % 2:
        raise ValueError(f"x must be (B, H, T, D) with D even, not {tuple(x.shape)}")
    B, _, T, D = x.shape
    for name, table in {"cos": cos, "sin": sin}.items():
        require_shape(name, table, (B, 1, T, D // 2), (1, T, D // 2))
    return x, cos, sin


@checked(norm.rms_norm)
def rms_norm(x, weight, eps):
    x, weight = as_tensors(x=x, weight=weight)
    require_floats(x=x)
    if x.ndim == 0:
        raise ValueError("x must be (..., E), not a single number")
    require_shape("weight", weight, tuple(x.shape[-1:]))
    return x, weight, require_number("eps", eps, above=0)


@checked(feedforward.feed_forward)
def feed_forward(x, w1, w2, w3):
    (x,) = as_tensors(x=x)
    w1, w2, w3 = as_tensors(as_matrix, w1=w1, w2=w2, w3=w3)
    require_network(x, *(getattr(weight, "weight", weight) for weight in (w1, w2, w3)))
    return x, w1, w2, w3


@checked(lora_module.lora)
def lora(x, weight, a, b, scale):
    (x,) = as_tensors(x=x)
    weight, a, b = as_tensors(as_matrix, weight=weight, a=a, b=b)
    require_adapted(x, *(getattr(each, "weight", each) for each in (weight, a, b)))
    return x, weight, a, b, require_number("scale", scale)


def as_tensors(make=as_tensor, /, **values):
    """Each argument as a tensor; an error names it."""
    return [as_array(name, make, value) for name, value in values.items()]


def as_matrix(weight):
    """A matrix as a tensor; a module that stands for one stays as it is."""
    return weight if isinstance(weight, torch.nn.Module) else as_tensor(weight)


def as_positions(name, values):
    """Positions as int64, so that a difference can be negative."""
    values = as_array(name, as_tensor, values)
    require_integers(name, values)
    if values.ndim not in (1, 2):
        raise ValueError(f"{name} must have shape (T,) or (B, T), not {tuple(values.shape)}")
    return values.long()


def as_inputs(tokens, lengths, vocab_size):
    """tokens (B, T) and lengths (B,) of `Mistral.__call__` as int64, checked.

    What stands in the padding does not matter.
    """
    on_cpu = partial(as_tensor, device="cpu")
    tokens = as_array("tokens", on_cpu, tokens)
    require_integers("tokens", tokens)
    tokens = tokens.long()
    if lengths is None or tokens.ndim != 2 or 0 in tokens.shape:
        require_tokens(tokens, vocab_size)
        return tokens, torch.full((len(tokens),), tokens.shape[1], device="cpu")
    (B, T), lengths = tokens.shape, as_array("lengths", on_cpu, lengths)
    require_lengths(lengths, B, T)
    lengths = lengths.long()  # so that a length less one can be negative
    tokens = torch.where(torch.arange(T, device="cpu") < lengths[:, None], tokens, 0)
    require_tokens(tokens, vocab_size)
    return tokens, lengths


def require_cache(cache, model, batch_size):
    """Return the cache, or raise TypeError or ValueError unless it suits model and batch."""
    if not isinstance(cache, RollingCache):
        raise TypeError(f"cache must be a {RollingCache.__module__}.RollingCache, not {cache!r}")
    if cache.config != model.config:
        raise ValueError(f"cache must be of {model.config}, not of {cache.config}")
    if len(cache.positions) != batch_size:
        raise ValueError(f"cache must have {batch_size} rows, not {len(cache.positions)}")
    if cache.k.dtype != model.dtype:
        raise TypeError(f"cache must be {model.dtype}, as the weights, not {cache.k.dtype}")
    if cache.k.device != model.device:
        raise ValueError(f"cache must be on {model.device}, as the weights, not {cache.k.device}")
    return cache
