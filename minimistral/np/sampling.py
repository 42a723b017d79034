"""From logits to text: probabilities, sampling, and the loop prefill -> decode."""

import numpy as np

from minimistral._arguments import as_array, as_prompts, require_count, require_ids, require_number
from minimistral.np.checked import require_cache
from minimistral.np.model import Mistral


def probabilities(logits, temperature=1.0, top_p=1.0):
    """The distribution from which the next token is sampled.

    logits (V,), any float -> (V,) float64. temperature: 0 puts everything on the largest
    logit, 1 is the model's own softmax, more is flatter. top_p in (0, 1]: keep the fewest
    tokens, the likeliest first, that have this much together (Holtzman et al. 2020).
    A token whose logit is -infinity has probability 0.
    Raises TypeError or ValueError, naming the argument.

    Of 0.6, 0.3 and 0.1 the first two are enough for 0.8, and are scaled to sum to 1:

    >>> probabilities(np.log([0.6, 0.3, 0.1]), top_p=0.8).round(3)
    array([0.667, 0.333, 0.   ])
    """
    temperature = require_number("temperature", temperature, low=0)
    top_p = require_number("top_p", top_p, above=0, high=1)
    logits = as_array("logits", lambda values: np.asarray(values, np.float64), logits)
    if logits.ndim != 1 or not np.isfinite(logits.max(initial=-np.inf)):
        raise ValueError(f"logits must be (V,), the largest of them finite, not {logits}")
    if temperature == 0:
        return np.where(np.arange(len(logits)) == logits.argmax(), 1.0, 0.0)
    with np.errstate(over="ignore"):  # a tiny temperature: -infinity, and exp makes 0 of it
        p = np.exp((logits - logits.max()) / temperature)
    p = p / p.sum()
    if top_p < 1:
        order = np.argsort(-p, kind="stable")
        before = p[order].cumsum() - p[order]  # the probability of all likelier tokens
        p[order[before >= top_p]] = 0
    return p / p.sum()


def sample(p, u):
    """The token at u in [0, 1) when the tokens lie side by side, each as wide as its probability.

    p (V,) sums to about 1 -> the token's id. A token with p = 0 is never sampled.

    >>> [sample(np.array([0.25, 0.0, 0.75]), u) for u in (0.0, 0.24, 0.25, 0.99)]
    [0, 0, 2, 2]
    """
    edges = p.cumsum()
    return int(np.searchsorted(edges, u * edges[-1], side="right"))


def generate(model, prompts, max_new_tokens, **options):
    """Read prompts, then write up to max_new_tokens tokens after each.

    prompts: one list of ids -> the new ids; a list of such lists, of any lengths -> a list
    of new ids for each. options (chunk_size, temperature, top_p, seed, stop_ids, cache):
    as in `stream`, which gives the same tokens one by one.
    Raises TypeError or ValueError, naming the argument, before anything changes.
    """
    steps = list(stream(model, prompts, max_new_tokens, **options))
    if not isinstance(steps[0], list):
        return steps
    return [[token for token in row if token is not None] for row in zip(*steps, strict=True)]


def stream(
    model, prompts, max_new_tokens, *, chunk_size=None, temperature=0.0, top_p=1.0, seed=None,
    stop_ids=(), cache=None,
):  # fmt: skip
    """`generate`, token by token: an iterator over the new ids, each as soon as it is known.

    One prompt: ids. Several prompts: lists with the next id of each, None once it has ended.
    chunk_size: read the prompts in chunks of so many tokens, all at once if None
    (paper section 2, Figure 3). temperature, top_p: as in `probabilities`. seed: the same seed
    gives the same tokens; row r of a batch has its own stream of random numbers, whatever the
    other rows do. stop_ids: ids that end a row, and stand at its end.

    cache: a RollingCache that the prompts continue; a new one if None. It may be used again
    after an interruption: cache.seen counts the tokens of each row that went through. The
    last new id never went through, so begin the next prompt with it.

    Raises TypeError or ValueError, naming the argument, at once and before anything changes.
    """
    if not isinstance(model, Mistral):
        kind = f"{type(model).__module__}.{type(model).__name__}"
        raise TypeError(f"model must be a {Mistral.__module__}.Mistral, not a {kind}")
    single, prompts = as_prompts(prompts, model.config.vocab_size)
    max_new_tokens = require_count("max_new_tokens", max_new_tokens)
    longest = max(len(prompt) for prompt in prompts)
    chunk_size = longest if chunk_size is None else require_count("chunk_size", chunk_size)
    probabilities([0.0], temperature, top_p)  # raises now what it would raise later
    stop_ids = set(require_ids("stop_ids", stop_ids, model.config.vocab_size))
    if seed is not None:
        require_count("seed", seed, minimum=0)
    if cache is None:
        cache = model.new_cache(len(prompts), longest + max_new_tokens)
    require_cache(cache, model, len(prompts))
    cache.require_room([len(prompt) + max_new_tokens - 1 for prompt in prompts])
    rngs = [np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(len(prompts))]

    def choose(row, logits):
        return sample(probabilities(logits, temperature, top_p), rngs[row].random())

    def forward(tokens, lengths):  # the logits (B, V) after each row's last token
        return model(tokens, cache, last_only=True, lengths=lengths)[:, 0]

    steps = _steps(prompts, max_new_tokens, chunk_size, choose, stop_ids, forward, forward)
    return (step[0] for step in steps) if single else steps


def _steps(prompts, max_new_tokens, chunk_size, choose, stop_ids, read, decode):
    """The loop: prefill, then one token at a time for each row that has not ended."""
    logits = _prefill(prompts, chunk_size, read)
    running = [True] * len(prompts)
    for step in range(max_new_tokens):
        new = [choose(row, logits[row]) if running[row] else None for row in range(len(prompts))]
        yield new
        running = [token is not None and token not in stop_ids for token in new]
        if not any(running) or step == max_new_tokens - 1:
            return
        tokens = [[token or 0] for token in new]
        logits = decode(tokens, [int(run) for run in running])


def _prefill(prompts, chunk_size, read):
    """Read the prompts in chunks -> the logits (B, V) after each prompt's last token."""
    lengths = np.array([len(prompt) for prompt in prompts])
    tokens = np.zeros((len(prompts), lengths.max()), int)
    for row, prompt in enumerate(prompts):
        tokens[row, : len(prompt)] = prompt
    logits = None
    for start in range(0, lengths.max(), chunk_size):
        chunk = tokens[:, start : start + chunk_size]
        n_real = (lengths - start).clip(0, chunk.shape[1])
        new = read(chunk, n_real)
        logits = new if logits is None else np.where(n_real[:, None] > 0, new, logits)
    return logits
