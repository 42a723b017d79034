"""How far back can a model look, and how far does it? (paper section 2, Figure 1)

K layers of window W can reach K(W − 1) positions back: `reachable` follows the paths. How much a
trained model uses of that reach is measured by two experiments: change one token and see how far
the prediction moves (`influence`); cut the context and see the loss rise (`loss_by_distance`).
"""

from typing import Any

import numpy as np

from minimistral._arguments import require_bytes, require_count
from minimistral.evaluation.bits_per_byte import log2_probabilities, token_bits

REGIONS = ("inside the window", "window to K(W - 1)", "beyond K(W - 1)")


def reachable(mask: Any, n_layers: int) -> list[np.ndarray]:
    """Which tokens each token depends on after 0, 1, … n_layers layers.

    mask bool (T, T), rows are queries -> n_layers + 1 arrays bool (T, T). After k layers token i
    depends on token j when k steps along visible pairs lead from i to j: the boolean k-th power
    of the mask. Before the first layer each token depends only on itself.
    Raises ValueError for a mask that is not square or a negative n_layers.

    With a window of 2, each layer reaches one position farther:

    >>> from minimistral.np import window_mask
    >>> mask = window_mask(np.arange(5), np.arange(5), 2)
    >>> [power[4].astype(int).tolist() for power in reachable(mask, 2)]
    [[0, 0, 0, 0, 1], [0, 0, 0, 1, 1], [0, 0, 1, 1, 1]]
    """
    mask = np.asarray(mask)
    if mask.ndim != 2 or mask.shape[0] != mask.shape[1] or mask.dtype != bool:
        raise ValueError(f"mask must be bool (T, T), not {mask.dtype} {mask.shape}")
    powers = [np.eye(len(mask), dtype=bool)]
    for _ in range(require_count("n_layers", n_layers, minimum=0)):
        # Counted in floating point, which is exact here and far faster than bool @ bool.
        powers.append(powers[-1].astype(np.float32) @ mask.astype(np.float32) > 0)
    return powers


def region_of(distance: int, config: Any) -> str:
    """Which of the REGIONS a token at this distance lies in, for a model with a window.

    One layer sees the distances 0 to W − 1; K layers pass information on from up to K(W − 1).

    >>> from minimistral import ModelConfig
    >>> [region_of(d, ModelConfig.tiny()) for d in (31, 32, 124, 125)]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['inside the window', 'window to K(W - 1)', 'window to K(W - 1)', 'beyond K(W - 1)']
    """
    if config.window_size is None:
        return REGIONS[0]
    hop = config.window_size - 1
    return REGIONS[(distance > hop) + (distance > config.n_layers * hop)]


def sample_contexts(ids: Any, seq_len: int, n_contexts: int, seed: int = 0) -> np.ndarray:
    """Random pieces of a text, each a context and the token after it: (n_contexts, seq_len + 1).

    Raises TypeError or ValueError, naming the argument; the text must be longer than a context.
    """
    ids, seq_len = np.asarray(ids), require_count("seq_len", seq_len)
    if len(ids) <= seq_len:
        raise ValueError(f"ids must be more than seq_len = {seq_len}, not {len(ids)}")
    _require_possible(seq_len, n_contexts=n_contexts)
    starts = np.random.default_rng(seed).integers(0, len(ids) - seq_len, n_contexts)
    return ids[starts[:, None] + np.arange(seq_len + 1)]


def influence(
    model: Any, contexts: np.ndarray, distances: Any, seed: int = 0
) -> dict[str, np.ndarray]:
    """How much changing one token moves the prediction after the last one, by distance.

    contexts (N, T + 1): N texts, whose first T tokens are read. distances (D,), each below T:
    0 is the last token read. At each distance, the token is replaced by a different one, drawn
    from all contexts.

    -> "mean" (D,): KL(before || after) in bits, averaged over the texts; "largest" (D,): the
    largest change of any logit. Both are 0 for a token out of reach.
    Raises ValueError when all contexts hold one and the same token.
    """
    distances, tokens = _require_distances(distances, contexts), contexts[:, :-1]
    if contexts.min() == contexts.max():
        raise ValueError(f"contexts must hold at least two different tokens, not {contexts.min()}")
    before = _last_logits(model, tokens)
    mean, largest = [], []
    for distance in distances:
        index = tokens.shape[1] - 1 - distance
        changed = tokens.copy()
        rng = np.random.default_rng([seed, distance])
        changed[:, index] = _replacements(contexts, tokens[:, index], rng)
        after = _last_logits(model, changed)
        mean.append(_divergence(before, after).mean())
        largest.append(np.abs(before - after).max())
    return {"mean": np.array(mean), "largest": np.array(largest)}


def loss_by_distance(model: Any, contexts: np.ndarray, distances: Any) -> dict[str, np.ndarray]:
    """The loss of the same tokens when the model reads nothing farther back than a distance.

    contexts (N, T + 1): their last tokens are predicted. distances (D,), each below T: at 0 the
    model reads one token, the one before.
    -> "loss" (D,): bits per token, averaged over the N tokens; "gain" (D,): how much lower the
    loss is than at the previous distance; "error" (D,): the standard error of the gain. The first
    gain and error are 0. Raises ValueError for fewer than two texts, which have no such error.
    """
    bits, distances = [], _require_distances(distances, contexts)
    if len(contexts) < 2:
        raise ValueError(f"contexts must hold at least two texts, not {len(contexts)}")
    for distance in distances:
        logits = _last_logits(model, contexts[:, -2 - distance : -1])
        bits.append(token_bits(logits, contexts[:, -1]))
    losses = np.array(bits)  # (D, N)
    gain = -np.diff(losses, axis=0, prepend=losses[:1])
    error = gain.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return {"loss": losses.mean(axis=1), "gain": gain.mean(axis=1), "error": error}


DISTANCES = (
    0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 31, 32, 33, 36, 40, 48, 56, 64, 72, 80, 88, 93, 96,
    104, 112, 120, 123, 124, 125, 126, 130, 140, 150,
)  # fmt: skip


def measure_reach(
    model: Any, ids: Any, n_changed: int = 200, n_predicted: int = 1000
) -> dict[str, Any]:
    """Both experiments over a text; figures/window_use.svg shows the result. Numbers are rounded.

    n_changed: contexts in which a token is changed; n_predicted: tokens whose loss is measured.
    """
    seq_len, config = max(DISTANCES) + 10, model.config
    _require_possible(seq_len, n_changed=n_changed)
    _require_possible(seq_len, n_predicted=n_predicted)
    moved = influence(model, sample_contexts(ids, seq_len, n_changed), DISTANCES)
    losses = loss_by_distance(model, sample_contexts(ids, seq_len, n_predicted, seed=1), DISTANCES)
    columns = {f"influence_{key}": values for key, values in moved.items()} | losses
    rows = [
        {"distance": distance, "region": region_of(distance, config)}
        | {key: float(f"{values[n]:.3g}") for key, values in columns.items()}
        for n, distance in enumerate(DISTANCES)
    ]
    return {
        "window": config.window_size,
        "reach": config.n_layers * (config.window_size - 1),
        "n_changed": n_changed,
        "n_predicted": n_predicted,
        "rows": rows,
    }


def _require_possible(seq_len: int, **n_contexts: int) -> None:
    """Raise, naming the argument, unless it is a number of contexts that can exist."""
    ((name, n),) = n_contexts.items()
    n_bytes = 8 * require_count(name, n) * (seq_len + 1)
    require_bytes("the contexts", n_bytes, **n_contexts, seq_len=seq_len)


def _require_distances(distances: Any, contexts: np.ndarray) -> list[int]:
    distances = [require_count("distances", int(d), minimum=0) for d in distances]
    T = contexts.shape[1] - 1
    if max(distances, default=0) >= T:
        raise ValueError(f"distances must be below T = {T}, not {max(distances)}")
    return distances


def _last_logits(model: Any, tokens: np.ndarray, batch_size: int = 64) -> np.ndarray:
    """The logits (N, V) after the last token of each row, float64; batch_size rows at a time."""
    starts = range(0, len(tokens), batch_size)
    batches = [model(tokens[start : start + batch_size], last_only=True) for start in starts]
    return np.concatenate([np.array(logits.tolist())[:, 0] for logits in batches])


def _replacements(contexts: np.ndarray, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each token a different one, drawn from the contexts: frequent tokens come up often."""
    drawn = rng.choice(contexts.ravel(), len(tokens))
    while (same := drawn == tokens).any():
        drawn[same] = rng.choice(contexts.ravel(), same.sum())
    return drawn


def _divergence(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """KL(before || after) of each row of logits (N, V), in bits: (N,)."""
    p, q = log2_probabilities(before), log2_probabilities(after)
    return (np.exp2(p) * (p - q)).sum(axis=1)
