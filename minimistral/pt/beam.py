"""Beam search: several texts are followed at once (Graves 2012; Sutskever et al. 2014)."""

import torch

from minimistral._arguments import as_prompt, require_count, require_ids, require_model
from minimistral.pt.model import Mistral


@torch.no_grad()
def beam_search(model, prompt, max_new_tokens, n_beams, *, stop_ids=()):
    """The n_beams likeliest texts that a search of this width finds.

    prompt: a list of ids -> up to n_beams pairs (new ids, log probability of all of them
    together), best first. Each step continues every text by every token and goes on with the
    n_beams likeliest that have not ended. A text ends with an id of stop_ids, if it is among the
    n_beams likeliest of its step, or after max_new_tokens. The search ends when no text that
    goes on is as likely as n_beams that have ended: a text only gets less likely as it grows,
    so none of them could still be among the best. One beam is greedy decoding, and one for each
    text that there is misses nothing.

    Long texts are not favoured: some implementations divide the log probability by a power of
    the length. In Hugging Face's transformers this is length_penalty=0, early_stopping=False.
    Raises TypeError or ValueError, naming the argument, before anything is computed.

    >>> from minimistral import ModelConfig
    >>> from minimistral.pt import generate
    >>> model = Mistral(ModelConfig.tiny())
    >>> [(ids, log_probability)] = beam_search(model, [1, 2, 3], 5, n_beams=1)
    >>> ids == generate(model, [1, 2, 3], 5), log_probability < 0
    (True, True)
    """
    require_model(model, Mistral)
    prompt = as_prompt(prompt, model.config.vocab_size)
    max_new_tokens = require_count("max_new_tokens", max_new_tokens, below=2**62)
    n_beams = require_count("n_beams", n_beams)
    stop_ids = require_ids("stop_ids", stop_ids, model.config.vocab_size)
    model.config.require_cache_size(model.dtype, n_beams, max_new_tokens=max_new_tokens)
    cache = model.new_cache(1, len(prompt) + max_new_tokens)

    running: list[tuple[list[int], float]] = [([], 0.0)]
    ended: list[tuple[list[int], float]] = []
    tokens = [prompt]
    for _ in range(max_new_tokens):
        log_p = log_probabilities(model(tokens, cache, last_only=True)[:, 0])
        texts, parents, running = running, [], []
        for rank, (row, token, score) in enumerate(best_first(texts, log_p)):
            if token in stop_ids:
                ended += [([*texts[row][0], token], score)] if rank < n_beams else []
            else:
                running.append(([*texts[row][0], token], score))
                parents.append(row)
            if len(running) == n_beams:
                break
        ended = best(ended, n_beams)
        if not running or (len(ended) == n_beams and running[0][1] <= ended[-1][1]):
            break
        cache, tokens = cache.take(parents), [ids[-1:] for ids, _ in running]
    return best(ended + running, n_beams)


def best_first(texts, log_p):
    """Every text continued by every token, the likeliest first: an iterator over (row, id, score).

    texts: pairs (ids, score); log_p (n, V) of the next token of each. What cannot come is left out.
    """
    scores = torch.tensor([score for _, score in texts], dtype=torch.float64)
    totals = scores[:, None] + log_p.cpu()
    order = torch.argsort(totals.flatten(), descending=True, stable=True)
    rows, tokens = torch.unravel_index(order, totals.shape)
    scores = totals[rows, tokens]
    possible = scores.isfinite()
    columns = (column[possible].tolist() for column in (rows, tokens, scores))
    return zip(*columns, strict=True)


def best(texts, n):
    """The n texts with the largest scores, the largest first."""
    return sorted(texts, key=lambda text: -text[1])[:n]


def log_probabilities(logits):
    """The logarithm of softmax: logits (n, V) -> (n, V), float64.

    >>> log_probabilities(torch.tensor([[0.25, 0.75]]).log()).round(decimals=3)
    tensor([[-1.3860, -0.2880]], dtype=torch.float64)
    """
    logits = logits.double()
    top = logits.amax(dim=-1, keepdim=True)
    if not top.isfinite().all():
        raise ValueError("the logits must be finite; are the weights?")
    below = logits - top
    return below - below.exp().sum(dim=-1, keepdim=True).log()
