"""From logits to the next token (Holtzman et al. 2020)."""

import numpy as np

from minimistral._arguments import as_allowed, as_array, as_seen, require_count, require_number


def probabilities(
    logits, temperature=1.0, top_p=1.0, *, top_k=None, min_p=0.0, repetition_penalty=1.0, seen=None
):
    """The distribution from which the next token is sampled.

    logits (V,) or (B, V), any float -> the same shape, float64. A token whose logit is -infinity
    has probability 0. The options apply in this order, and as they stand none changes anything:

    repetition_penalty above 0, with seen (V,) or (B, V), bool: as in `penalise`, where seen says
    which tokens stood in the text so far. temperature: 0 puts everything on the largest logit,
    1 is the model's own softmax, more is flatter. top_k: as in `keep_top_k`, None keeps all.
    top_p in (0, 1]: as in `keep_top_p`. min_p from 0 to 1: as in `keep_min_p`.
    Raises TypeError or ValueError, naming the argument.

    Of 0.6, 0.3 and 0.1 the first two are enough for 0.8, and are scaled to sum to 1:

    >>> probabilities(np.log([0.6, 0.3, 0.1]), top_p=0.8).round(3)
    array([0.667, 0.333, 0.   ])
    """
    temperature = require_number("temperature", temperature, low=0)
    top_p = require_number("top_p", top_p, above=0, high=1)
    top_k = None if top_k is None else require_count("top_k", top_k)
    min_p = require_number("min_p", min_p, low=0, high=1)
    repetition_penalty = require_number("repetition_penalty", repetition_penalty, above=0)
    logits = as_array("logits", lambda values: np.asarray(values, np.float64), logits)
    _require_logits(logits)
    seen = as_seen(np.asarray, seen, logits, repetition_penalty)
    if repetition_penalty != 1:
        logits = penalise(logits, seen, repetition_penalty)
        _require_logits(logits)  # a huge penalty can overflow
    top = logits.max(axis=-1, keepdims=True)
    if temperature == 0:
        return np.where(np.arange(logits.shape[-1]) == logits.argmax(axis=-1)[..., None], 1.0, 0.0)
    with np.errstate(over="ignore"):  # a tiny temperature: -infinity, and exp makes 0 of it
        p = np.exp((logits - top) / temperature)
    p = p / p.sum(axis=-1, keepdims=True)
    if top_k is not None:
        p = keep_top_k(p, top_k)
    if top_p < 1:
        p = keep_top_p(p, top_p)
    if min_p > 0:
        p = keep_min_p(p, min_p)
    return p


def _require_logits(logits):
    if logits.ndim not in (1, 2) or not np.isfinite(logits.max(axis=-1, initial=-np.inf)).all():
        raise ValueError(
            f"logits must be (V,) or (B, V), the largest of each row finite, not {logits}"
        )


def penalise(logits, seen, penalty):
    """Make the tokens that were seen less likely: logits (..., V), seen (..., V) bool -> (..., V).

    A positive logit is divided by penalty and a negative one multiplied with it. Keskar et al.
    (2019) divide both, which makes a token with a negative logit likelier.

    >>> penalise(np.array([3.0, 3.0, -2.0, -2.0]), np.array([True, False, True, False]), 2)
    array([ 1.5,  3. , -4. , -2. ])
    """
    with np.errstate(over="ignore"):
        penalised = np.where(logits > 0, logits / penalty, logits * penalty)
    return np.where(seen, penalised, logits)


def keep_top_k(p, k):
    """Keep the k likeliest tokens, the first of equals first (Fan et al. 2018).

    p (..., V) -> the same shape, scaled to sum to 1; what is not kept is 0.

    >>> keep_top_k(np.array([0.25, 0.25, 0.5]), 2).round(3)
    array([0.333, 0.   , 0.667])
    """
    rest = np.argsort(-p, axis=-1, kind="stable")[..., k:]
    kept = p.copy()
    np.put_along_axis(kept, rest, 0, axis=-1)
    return kept / kept.sum(axis=-1, keepdims=True)


def keep_top_p(p, top_p):
    """Keep the fewest tokens that have top_p together, the likeliest first (Holtzman et al. 2020).

    p (..., V) -> the same shape, scaled to sum to 1; what is not kept is 0. The token that
    crosses top_p is kept, so there is always one. Of equals the first come first.

    >>> keep_top_p(np.array([0.1, 0.6, 0.3]), 0.7).round(3)
    array([0.   , 0.667, 0.333])
    """
    order = np.argsort(-p, axis=-1, kind="stable")
    sorted_p = np.take_along_axis(p, order, axis=-1)
    before = sorted_p.cumsum(axis=-1) - sorted_p  # the probability of all likelier tokens
    kept = np.empty_like(p)
    np.put_along_axis(kept, order, np.where(before >= top_p, 0, sorted_p), axis=-1)
    return kept / kept.sum(axis=-1, keepdims=True)


def keep_min_p(p, min_p):
    """Keep the tokens that have at least min_p times what the likeliest has (Nguyen et al. 2024).

    p (..., V) -> the same shape, scaled to sum to 1; what is not kept is 0.

    >>> keep_min_p(np.array([0.1, 0.6, 0.3]), 0.5).round(3)
    array([0.   , 0.667, 0.333])
    """
    kept = np.where(p >= min_p * p.max(axis=-1, keepdims=True), p, 0)
    return kept / kept.sum(axis=-1, keepdims=True)


def likeliest(logits):
    """The token with the largest logit: logits (..., V) -> ids (...), -1 if it is not finite.

    >>> likeliest(np.array([[0.5, 2.0, 2.0], [0.0, np.nan, 1.0]]))
    array([ 1, -1])
    """
    ids = logits.argmax(axis=-1)  # of NaN too, if there is one
    top = np.take_along_axis(logits, ids[..., None], axis=-1)[..., 0]
    return np.where(np.isfinite(top), ids, -1)


def sample(p, u):
    """The token at u in [0, 1) when the tokens lie side by side, each as wide as its probability.

    p (..., V) sums to about 1, u (...) -> ids (...). A token with p = 0 is never sampled.

    >>> [int(sample(np.array([0.25, 0.0, 0.75]), u)) for u in (0.0, 0.24, 0.25, 0.99)]
    [0, 0, 2, 2]
    """
    edges = p.cumsum(axis=-1)
    return (edges <= np.expand_dims(u, -1) * edges[..., -1:]).sum(axis=-1)


class Sampler:
    """The next id of each row, from its logits and from the ids that stand in its text so far.

    prompts: B lists of ids below vocab_size. seed and allowed: as in `stream`. options: those of
    `probabilities`, except seen. Called with logits (B, V) and with running, which is true for
    each row that has not ended -> a list of B ids, -1 where no logit is finite. A row that ended
    draws no random number, and its id means nothing.
    Raises TypeError or ValueError, naming the argument.
    """

    def __init__(self, prompts, vocab_size, *, seed, allowed, repetition_penalty, **options):
        # Each check raises now what it would raise later.
        probabilities([0.0], repetition_penalty=repetition_penalty, seen=[False], **options)
        if seed is not None:
            require_count("seed", seed, minimum=0)
        seeds = np.random.SeedSequence(seed).spawn(len(prompts))
        self.rngs = [np.random.default_rng(s) for s in seeds]
        self.penalty, self.allowed, self.options = float(repetition_penalty), allowed, options
        self.new_ids: list[list[int]] = [[] for _ in prompts]
        self.seen = np.zeros((len(prompts), vocab_size), bool)
        for row, prompt in enumerate(prompts):
            self.seen[row, prompt] = True
        if allowed is not None:
            self.may_come([])
        self.changes_logits = repetition_penalty != 1 or allowed is not None
        self.greedy = options["temperature"] == 0  # then no random number is drawn

    def __call__(self, logits, running):
        if self.changes_logits:
            logits = self.changed(logits, running)
        if self.greedy:
            ids = likeliest(logits).tolist()
        else:
            u = [rng.random() if run else 0 for rng, run in zip(self.rngs, running, strict=True)]
            ids = sample(probabilities(logits, **self.options), u).tolist()
        if self.changes_logits:
            for row, token in enumerate(ids):
                self.new_ids[row].append(token)
                self.seen[row, token] = True
        return ids

    def changed(self, logits, running):
        """logits (B, V) after the repetition penalty, -infinity for what may not come."""
        logits = penalise(np.asarray(logits, np.float64), self.seen, self.penalty)
        if self.allowed is not None:
            for row in np.flatnonzero(running):
                logits[row, ~self.may_come(self.new_ids[row])] = -np.inf
        return logits

    def may_come(self, new_ids):
        """What `allowed` says of the token after these ids: bool (V,)."""
        vocab_size = self.seen.shape[1]
        return as_allowed(np.asarray, self.allowed, new_ids, vocab_size)
