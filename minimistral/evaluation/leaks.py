"""Does a model look ahead, or too far back? Change a token, and see which logits move."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from minimistral._arguments import as_array, require_count, require_tokens


class Leak(NamedTuple):
    """The token at `changed` was replaced, and a logit at `moved`, out of its reach, moved `by`."""

    changed: int
    moved: int
    by: float


def find_leak(
    model: Callable[..., Any], tokens: Any, vocab_size: int, reach: int | None = None, seed: int = 0
) -> Leak | None:
    """The first leak from a later token to an earlier one, or None.

    model: tokens (1, T) -> logits (1, T, V), of NumPy or torch. tokens (T,): a text, longer than
    any window that the model has. Each token is replaced, one after another; all logits before it
    must stay the same to the bit, since nothing that they are computed from has changed. That
    takes T + 1 forward passes. reach: how far forward a token may matter, L * (W - 1) in a model
    of L layers with a window; logits further on must stay the same too. None checks only before.
    A leak of the target is worth more to a model than anything that it could learn, so a loss that
    is too good is the usual symptom.
    Raises TypeError or ValueError, naming the argument.

    A model that writes down what comes next, of two ids:

    >>> def leaky(tokens):
    ...     return np.eye(2)[np.roll(tokens, -1, axis=1)]
    >>> find_leak(leaky, [0, 1, 1], vocab_size=2, reach=0)
    Leak(changed=0, moved=2, by=1.0)
    >>> find_leak(leaky, [0, 1, 1], vocab_size=2)
    Leak(changed=1, moved=0, by=1.0)
    """
    tokens = as_array("tokens", np.asarray, tokens)
    if tokens.ndim != 1:
        raise ValueError(f"tokens must be (T,), not {tokens.shape}")
    require_count("vocab_size", vocab_size, minimum=2)
    require_tokens(tokens[None], vocab_size)
    if reach is not None:
        require_count("reach", reach, minimum=0)
    rng = np.random.default_rng(seed)
    before, positions = _logits(model, tokens), np.arange(len(tokens))
    if not np.isfinite(before).all():
        raise ValueError("model must give finite logits, and some are NaN or infinite")
    for changed in range(len(tokens)):
        other = tokens.copy()
        other[changed] = (other[changed] + rng.integers(1, vocab_size)) % vocab_size
        moved = abs(_logits(model, other) - before).max(axis=-1)
        out_of_reach = positions < changed
        if reach is not None:
            out_of_reach |= positions - changed > reach
        leaks = np.flatnonzero(out_of_reach & (moved != 0))  # NaN has moved too
        if len(leaks):
            return Leak(changed, int(leaks[0]), float(moved[leaks[0]]))
    return None


def _logits(model: Callable[..., Any], tokens: np.ndarray) -> np.ndarray:
    logits = model(tokens[None])
    logits = logits.detach().cpu().numpy() if hasattr(logits, "detach") else np.asarray(logits)
    return logits[0].astype(np.float64)
