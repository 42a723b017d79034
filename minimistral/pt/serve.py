"""Continuous batching: texts join and leave a running batch (Orca, Yu et al. 2022)."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import KW_ONLY, dataclass
from typing import Any

import torch

from minimistral._arguments import as_prompt, require_count, require_ids, require_model
from minimistral.pt.compiled import CompiledStep
from minimistral.pt.model import Mistral
from minimistral.pt.sampling import Sampler

ENDED: Any = object()


@dataclass(frozen=True)
class Request:
    """What somebody asks of `serve`: a prompt to continue, and how.

    id: what tells its text from the others, for example a number or a name. prompt: a list of
    ids. The rest: as in `stream`. Nothing is checked before `serve` has it.
    Raises TypeError for an argument that is missing or unknown.

    >>> Request("a", [1, 2, 3], 20, stop_ids=[2]).temperature
    0.0
    """

    id: Any
    prompt: list[int]
    max_new_tokens: int
    _: KW_ONLY
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int | None = None
    min_p: float = 0.0
    repetition_penalty: float = 1.0
    seed: int | None = None
    stop_ids: Iterable[int] = ()
    allowed: Callable[[list[int]], Any] | None = None


def serve(model, requests, *, batch_size=8, chunk_size=64, max_tokens=None, compiled=False):
    """Continue the prompts of many requests, which may come in while others are written.

    An iterator over triples (id of the request, new token id, reason), each as soon as it is
    known. reason is None until a text ends: then "stop" with one of its stop_ids, or "length"
    with the last of max_new_tokens. Each text is what `generate` writes for its request alone,
    up to rounding: a matrix product of several rows may add up in another order.

    requests: an iterable of Requests. Before each step it is asked for more until batch_size
    texts are at work, or it gives None, which says that nobody is waiting. Then the texts at
    work take their step; when there are none, it is asked again at once. So it may be a
    generator that looks at a clock or a queue.

    Each step gives a new id to every text that has read its prompt, and reads up to chunk_size
    ids of prompts, as in `plan_step`. So a long prompt delays the others by one chunk per step,
    and not by all of it (Sarathi-Serve, Agrawal et al. 2024). There one pass reads both, and
    the weights once. Here a batch is padded to its longest row, and every row would cost as
    much as the chunk, so each chunk has a pass of its own.

    max_tokens: of a row, as for RollingCache. A text takes len(prompt) + max_new_tokens - 1.
    compiled: write by a compiled step, on a GPU in a CUDA graph; the first one takes long.

    Raises TypeError or ValueError, naming the argument and the request: at once if requests is
    a list or a tuple, else when the bad one comes in. Then, as when it is left early, the
    iterator has ended, and the model is as it was.

    >>> from minimistral import ModelConfig
    >>> requests = [Request("a", [1, 2, 3], 2), Request("b", [4], 3)]
    >>> events = serve(Mistral(ModelConfig.tiny()), requests, batch_size=1)
    >>> [(id, reason) for id, token, reason in events]
    [('a', None), ('a', 'length'), ('b', None), ('b', None), ('b', 'length')]
    """
    require_model(model, Mistral)
    chunk_size = require_count("chunk_size", chunk_size)
    if isinstance(requests, str | bytes) or not isinstance(requests, Iterable):
        raise TypeError(f"requests must be an iterable of Requests, not {requests!r}")
    cache = model.new_cache(batch_size, max_tokens)
    arriving: Iterator = (each if each is None else _text(each, model, cache) for each in requests)
    if isinstance(requests, list | tuple):
        arriving = iter(list(arriving))

    step = CompiledStep(model, cache) if compiled else None

    @torch.no_grad()
    def forward(tokens, cache, lengths=None):  # the logits (B, V) after each row's last token
        if step is not None and lengths is not None:
            return step(tokens, lengths)
        return model(tokens, cache, last_only=True, lengths=lengths)[:, 0]

    return _steps(arriving, cache, chunk_size, forward)


def plan_step(unread, chunk_size):
    """How many ids of each text the next step reads.

    unread: how many ids of its prompt each text has yet to read, in order of arrival -> a list
    of numbers. A text that has read its prompt, 0, reads its newest id. The prompts share
    chunk_size ids, and who came first is served first.

    >>> plan_step([0, 0, 5, 9, 3], chunk_size=8)
    [1, 1, 5, 3, 0]
    """
    lengths, left = [], chunk_size
    for n in unread:
        lengths.append(min(n, left) if n else 1)
        left -= min(n, left)
    return lengths


@dataclass
class _Text:
    """A text at work: its prompt and new ids, and what chooses the next."""

    id: Any
    ids: list[int]
    n_prompt: int
    end: int  # how many ids it has at the most
    stop_ids: set[int]
    sampler: Sampler
    row: int = -1  # of the cache


def _text(request, model, cache):
    """The text that a request asks for; raise TypeError or ValueError if it asks for nonsense."""
    if not isinstance(request, Request):
        raise TypeError(f"requests must hold {__name__}.Requests or None, not {request!r}")
    vocab_size = model.config.vocab_size
    options = {name: getattr(request, name) for name in (
        "temperature", "top_p", "top_k", "min_p", "repetition_penalty", "seed", "allowed",
    )}  # fmt: skip
    try:
        prompt = as_prompt(request.prompt, vocab_size)
        end = len(prompt) + require_count("max_new_tokens", request.max_new_tokens, below=2**62)
        stop_ids = set(require_ids("stop_ids", request.stop_ids, vocab_size))
        if not cache.rolls and end - 1 > cache.n_slots:
            raise ValueError(f"max_tokens must be at least {end - 1}, not {cache.n_slots}")
        sampler = Sampler([prompt], vocab_size, **options)
    except (TypeError, ValueError) as error:
        kind = TypeError if isinstance(error, TypeError) else ValueError
        raise kind(f"request {request.id!r}: {error}") from error
    return _Text(request.id, prompt, len(prompt), end, stop_ids, sampler)


def _steps(arriving, cache, chunk_size, forward):
    """The loop: who is new joins, all take a step, who is done leaves."""
    texts: list[_Text] = []
    while _join(texts, arriving, cache) or texts:
        logits = _read(texts, cache, chunk_size, forward)
        for text in list(texts):
            if cache.seen[text.row] >= len(text.ids):  # everything so far was read
                token, reason = _choose(text, logits[text.row])
                if reason is not None:
                    texts.remove(text)
                yield text.id, token, reason


def _join(texts, arriving, cache):
    """Give the free rows to texts that have arrived -> whether more may arrive."""
    for row in sorted(set(range(cache.batch_size)) - {text.row for text in texts}):
        text = next(arriving, ENDED)
        if text is ENDED or text is None:
            return text is None
        if any(text.id == other.id for other in texts):
            raise ValueError(f"request {text.id!r}: id must differ from those of texts at work")
        text.row = row
        cache.one_row(row).reset()
        texts.append(text)
    return True


def _read(texts, cache, chunk_size, forward):
    """Read the next ids of each text -> by its row, the logits (1, V) after the last of them."""
    unread = [max(0, text.n_prompt - int(cache.seen[text.row])) for text in texts]
    tokens = torch.zeros((cache.batch_size, 1), dtype=torch.long, device="cpu")
    running = torch.zeros(cache.batch_size, dtype=torch.long, device="cpu")
    logits = {}
    for text, left, n in zip(texts, unread, plan_step(unread, chunk_size), strict=True):
        if left and n:  # a chunk of its prompt, by itself
            start = text.n_prompt - left
            logits[text.row] = forward([text.ids[start : start + n]], cache.one_row(text.row))
        elif n:  # its newest id, together with those of the others
            tokens[text.row], running[text.row] = text.ids[-1], 1
    if running.any():
        new = forward(tokens, cache, running)
        logits |= {row: new[row : row + 1] for row in range(cache.batch_size) if running[row]}
    return logits


def _choose(text, logits):
    """Add the next id to a text -> the id, and why the text ends with it, or None."""
    (token,) = text.sampler(logits, [1])
    if token == -1:
        raise ValueError(f"the logits of request {text.id!r} must be finite; are the weights?")
    text.ids.append(token)
    if token in text.stop_ids:
        return token, "stop"
    return token, "length" if len(text.ids) == text.end else None
