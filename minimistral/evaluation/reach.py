"""How far back can a model look, and how far does it? (paper section 2, Figure 1)

K layers of window W can reach K(W − 1) positions back: `reachable` counts the paths. What a
trained model makes of that is another question, and two experiments answer it: change one token
and see the prediction move; take the far tokens away and see the loss.
"""

from typing import Any

import numpy as np

from minimistral._arguments import require_count
from minimistral.evaluation import bits_per_byte as bits

REGIONS = ("inside the window", "window to K(W - 1)", "beyond K(W - 1)")


def reachable(mask: Any, n_layers: int) -> list[np.ndarray]:
    """Which tokens each token depends on after 0, 1, … n_layers layers.

    mask bool (T, T), rows are queries -> n_layers + 1 arrays bool (T, T). After k layers token i
    depends on token j when k steps along visible pairs lead from i to j: the boolean k-th power
    of the mask. Before the first layer each depends on itself alone.
    Raises ValueError for a mask that is not square or a negative n_layers.

    A window of 2: each layer reaches one position farther.

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
    """Where a token so many positions back lies, seen from a model with a window.

    One layer sees the distances 0 to W − 1; K layers pass on what lies up to K(W − 1) back.

    >>> from minimistral import ModelConfig
    >>> [region_of(d, ModelConfig.tiny()) for d in (31, 32, 124, 125)]
    ... # doctest: +NORMALIZE_WHITESPACE
    ['inside the window', 'window to K(W - 1)', 'window to K(W - 1)', 'beyond K(W - 1)']
    """
    if config.window_size is None:
        return REGIONS[0]
    step = config.window_size - 1
    return REGIONS[(distance > step) + (distance > config.n_layers * step)]


def contexts_of(ids: Any, length: int, n_contexts: int, seed: int = 0) -> np.ndarray:
    """Random runs of a text, each one token longer than the context: (n_contexts, length + 1).

    Raises ValueError when the text is not longer than a context.
    """
    ids = np.asarray(ids)
    if len(ids) <= length:
        raise ValueError(f"ids must be more than length = {length}, not {len(ids)}")
    starts = np.random.default_rng(seed).integers(0, len(ids) - length, n_contexts)
    return ids[starts[:, None] + np.arange(length + 1)]


def influence(
    model: Any, contexts: np.ndarray, distances: Any, seed: int = 0
) -> dict[str, np.ndarray]:
    """What one token, so many positions back, does to the prediction after the last one.

    contexts (N, T + 1): N texts; their first T tokens are read. distances (D,), each below T:
    0 is the last token read. For each, that token is replaced by one drawn from the contexts,
    another than it is.

    -> "mean" (D,): bits that the changed prediction is off by, KL(before || after), averaged;
    "largest" (D,): the largest change of any logit. Of a token out of reach both are 0.
    """
    distances, read = _checked(distances, contexts), contexts[:, :-1]
    before = _last_logits(model, read)
    mean, largest = [], []
    for distance in distances:
        place = read.shape[1] - 1 - distance
        changed = read.copy()
        rng = np.random.default_rng([seed, distance])
        changed[:, place] = _others(contexts, read[:, place], rng)
        after = _last_logits(model, changed)
        mean.append(_divergence(before, after).mean())
        largest.append(np.abs(before - after).max())
    return {"mean": np.array(mean), "largest": np.array(largest)}


def loss_by_distance(model: Any, contexts: np.ndarray, distances: Any) -> dict[str, np.ndarray]:
    """The loss of the same tokens, when nothing farther back than a distance is given.

    contexts (N, T + 1): their last tokens are to be predicted. distances (D,), each below T:
    0 gives the model one token, the last.
    -> "loss" (D,): bits a token, averaged over the N tokens; "gain" (D,): how much less than at
    the distance before; "error" (D,): the standard error of that gain. Both are 0 at first.
    """
    each = []
    for distance in _checked(distances, contexts):
        logits = _last_logits(model, contexts[:, -2 - distance : -1])
        each.append(bits.token_bits(logits, contexts[:, -1]))
    losses = np.array(each)
    gain = -np.diff(losses, axis=0, prepend=losses[:1])
    error = gain.std(axis=1, ddof=1) / np.sqrt(losses.shape[1])
    return {"loss": losses.mean(axis=1), "gain": gain.mean(axis=1), "error": error}


DISTANCES = (
    0, 1, 2, 3, 4, 6, 8, 12, 16, 20, 24, 28, 31, 32, 33, 36, 40, 48, 56, 64, 72, 80, 88, 93, 96,
    104, 112, 120, 123, 124, 125, 126, 130, 140, 150,
)  # fmt: skip


def measure(model: Any, ids: Any, n_changed: int = 200, n_predicted: int = 1000) -> dict[str, Any]:
    """Both experiments over a text; what figures/window_use.svg shows. Numbers are rounded.

    n_changed: contexts in which a token is changed; n_predicted: tokens whose loss is taken.
    """
    length, config = max(DISTANCES) + 10, model.config
    moved = influence(model, contexts_of(ids, length, n_changed), DISTANCES)
    lost = loss_by_distance(model, contexts_of(ids, length, n_predicted, seed=1), DISTANCES)
    columns = {f"influence_{key}": value for key, value in moved.items()} | lost
    rows = [
        {"distance": distance, "region": region_of(distance, config)}
        | {key: float(f"{value[n]:.3g}") for key, value in columns.items()}
        for n, distance in enumerate(DISTANCES)
    ]
    return {
        "window": config.window_size,
        "reach": config.n_layers * (config.window_size - 1),
        "n_changed": n_changed,
        "n_predicted": n_predicted,
        "rows": rows,
    }


def _checked(distances: Any, contexts: np.ndarray) -> list[int]:
    found = [require_count("distances", int(d), minimum=0) for d in distances]
    if max(found, default=0) > contexts.shape[1] - 2:
        raise ValueError(f"distances must be below T = {contexts.shape[1] - 1}, not {max(found)}")
    return found


def _last_logits(model: Any, tokens: np.ndarray, rows: int = 64) -> np.ndarray:
    """The logits (N, V) after the last token of each row, float64; some rows at a time."""
    parts = [model(tokens[n : n + rows], last_only=True) for n in range(0, len(tokens), rows)]
    return np.concatenate([np.array(part.tolist())[:, 0] for part in parts])


def _others(contexts: np.ndarray, tokens: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """For each token another one, as frequent tokens are often."""
    other = rng.choice(contexts.ravel(), len(tokens))
    while (same := other == tokens).any():
        other[same] = rng.choice(contexts.ravel(), same.sum())
    return other


def _divergence(before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """KL(before || after) of each row of logits (N, V), in bits: (N,)."""

    p, q = bits.log2_probabilities(before), bits.log2_probabilities(after)
    return (np.exp2(p) * (p - q)).sum(axis=1)
