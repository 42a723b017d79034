"""From prompts to text: the loop prefill -> decode (paper section 2, Figure 3)."""

import numpy as np

from minimistral._arguments import as_prompts, require_count, require_ids, require_model
from minimistral.np.checked import require_cache
from minimistral.np.model import Mistral
from minimistral.np.sampling import Sampler


def generate(model, prompts, max_new_tokens, **options):
    """Read prompts, then write up to max_new_tokens tokens after each.

    prompts: one list of ids -> the new ids; a list of such lists, of any lengths -> a list
    of new ids for each. options: as in `stream`, which gives the same tokens one by one.
    Raises TypeError or ValueError, naming the argument, before anything changes.
    """
    steps = list(stream(model, prompts, max_new_tokens, **options))
    if not isinstance(steps[0], list):
        return steps
    return [[token for token in row if token is not None] for row in zip(*steps, strict=True)]


def stream(
    model, prompts, max_new_tokens, *, chunk_size=None, temperature=0.0, top_p=1.0, top_k=None,
    min_p=0.0, repetition_penalty=1.0, seed=None, stop_ids=(), allowed=None, cache=None,
):  # fmt: skip
    """`generate`, token by token: an iterator over the new ids, each as soon as it is known.

    One prompt: ids. Several prompts: lists with the next id of each, None once it has ended.
    chunk_size: read the prompts in chunks of this many tokens, all at once if None
    (paper section 2, Figure 3). temperature, top_p, top_k, min_p, repetition_penalty: as in
    `probabilities`, where a row's prompt and its new ids are what was seen. seed: the same seed
    gives the same tokens; row r of a batch has its own stream of random numbers, whatever the
    other rows do. stop_ids: ids that end a row, and stand at its end.

    allowed: a function from the new ids of a row so far, a list, to bool (V,): which tokens may
    come next. It is asked once per token of each row, and before that once with no ids, as a test.

    cache: a RollingCache that the prompts continue; a new one if None. It may be used again
    after an interruption: cache.seen counts the tokens of each row that went through. The
    last new id never went through, so begin the next prompt with it. The repetition penalty
    counts only the prompts of this call, not what the cache has read before.

    Raises TypeError or ValueError, naming the argument, at once and before anything changes.
    """
    require_model(model, Mistral)
    single, prompts = as_prompts(prompts, model.config.vocab_size)
    # Positions are int64, and count the prompt too.
    max_new_tokens = require_count("max_new_tokens", max_new_tokens, below=2**62)
    longest = max(len(prompt) for prompt in prompts)
    chunk_size = longest if chunk_size is None else require_count("chunk_size", chunk_size)
    sampler = Sampler(
        prompts, model.config.vocab_size, temperature=temperature, top_p=top_p, top_k=top_k,
        min_p=min_p, repetition_penalty=repetition_penalty, seed=seed, allowed=allowed,
    )  # fmt: skip
    stop_ids = set(require_ids("stop_ids", stop_ids, model.config.vocab_size))
    if cache is None:
        model.config.require_cache_size(model.dtype, len(prompts), max_new_tokens=max_new_tokens)
        cache = model.new_cache(len(prompts), longest + max_new_tokens)
    require_cache(cache, model, len(prompts))
    cache.require_room([len(prompt) + max_new_tokens - 1 for prompt in prompts])

    def forward(tokens, lengths):  # the logits (B, V) after each row's last token
        return model(tokens, cache, last_only=True, lengths=lengths)[:, 0]

    def decode(tokens, running):
        return sampler(forward(tokens, running), running)

    steps = _steps(prompts, max_new_tokens, chunk_size, sampler, stop_ids, forward, decode)
    return (step[0] for step in steps) if single else steps


def _steps(prompts, max_new_tokens, chunk_size, choose, stop_ids, read, decode):
    """The loop: prefill, then one token at a time for each row that has not ended."""
    running = [1] * len(prompts)
    ids = choose(_prefill(prompts, chunk_size, read), running)
    for step in range(max_new_tokens):
        new = [token if run else None for token, run in zip(ids, running, strict=True)]
        if -1 in new:
            raise ValueError(f"the logits of row {new.index(-1)} must be finite; are the weights?")
        yield new
        running = [int(token is not None and token not in stop_ids) for token in new]
        if not any(running) or step == max_new_tokens - 1:
            return
        ids = decode([[token or 0] for token in new], running)


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
