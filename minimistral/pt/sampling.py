"""From logits to the next token (Holtzman et al. 2020)."""

import torch

from minimistral._arguments import as_array, require_number


def probabilities(logits, temperature=1.0, top_p=1.0):
    """The distribution from which the next token is sampled.

    logits (V,) or (B, V), any float -> the same shape, float64. temperature: 0 puts everything
    on the largest logit, 1 is the model's own softmax, more is flatter. top_p in (0, 1]: keep
    the fewest tokens, the likeliest first, that have this much together (Holtzman et al. 2020).
    A token whose logit is -infinity has probability 0.
    Raises TypeError or ValueError, naming the argument.

    Of 0.6, 0.3 and 0.1 the first two are enough for 0.8, and are scaled to sum to 1:

    >>> probabilities(torch.tensor([0.6, 0.3, 0.1]).log(), top_p=0.8)
    tensor([0.6667, 0.3333, 0.0000], dtype=torch.float64)
    """
    temperature = require_number("temperature", temperature, low=0)
    top_p = require_number("top_p", top_p, above=0, high=1)
    logits = as_array("logits", as_float64, logits)
    if logits.ndim not in (1, 2) or not logits.shape[-1] or (likeliest(logits) < 0).any():
        raise ValueError(
            f"logits must be (V,) or (B, V), the largest of each row finite, not {logits}"
        )
    top, index = logits.max(dim=-1, keepdim=True)
    if temperature == 0:
        return torch.zeros_like(logits).scatter(-1, index, 1)
    p = torch.exp((logits - top) / temperature)
    p = p / p.sum(dim=-1, keepdim=True)
    if top_p < 1:
        order = torch.argsort(-p, dim=-1, stable=True)
        sorted_p = p.gather(-1, order)
        before = sorted_p.cumsum(dim=-1) - sorted_p  # the probability of all likelier tokens
        p = p.scatter(-1, order, torch.where(before >= top_p, 0, sorted_p))
    return p / p.sum(dim=-1, keepdim=True)


def as_float64(values):
    """Numbers as a tensor of float64: where they are, or on the CPU if that is no GPU of CUDA."""
    on_gpu = isinstance(values, torch.Tensor) and values.is_cuda
    return torch.as_tensor(values, dtype=torch.float64, device=None if on_gpu else "cpu")


def likeliest(logits):
    """The token with the largest logit: logits (..., V) -> ids (...), -1 if it is not finite.

    >>> likeliest(torch.tensor([[0.5, 2.0, 2.0], [0.0, torch.nan, 1.0]]))
    tensor([ 1, -1])
    """
    top, ids = logits.max(dim=-1)  # of NaN too, if there is one
    return torch.where(top.isfinite(), ids, -1)


def sample(p, u):
    """The token at u in [0, 1) when the tokens lie side by side, each as wide as its probability.

    p (..., V) sums to about 1, u (...) -> ids (...). A token with p = 0 is never sampled.

    >>> [int(sample(torch.tensor([0.25, 0.0, 0.75]), u)) for u in (0.0, 0.24, 0.25, 0.99)]
    [0, 0, 2, 2]
    """
    edges = p.cumsum(dim=-1)
    u = torch.as_tensor(u, dtype=p.dtype, device=p.device)
    return (edges <= u[..., None] * edges[..., -1:]).sum(dim=-1)
