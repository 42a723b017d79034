"""Speculative decoding: several tokens for one forward pass (Leviathan et al. 2023)."""

import torch

from minimistral._arguments import as_prompt, require_count, require_ids, require_model
from minimistral.pt.checked import require_cache
from minimistral.pt.model import Mistral
from minimistral.pt.sampling import likeliest


def draft(ids, draft_tokens, ngram):
    """Guess the next draft_tokens ids: copy what followed when the last ngram ids came before.

    ids: a list of ids -> a list of draft_tokens ids, or [] if the last ngram ids are new. The
    latest earlier place counts (prompt lookup decoding, Saxena 2023). A copy that reaches the
    end of the text goes on with its own beginning, so that a text going in circles is foretold.

    >>> draft([5, 1, 2, 3, 4, 9, 1, 2], draft_tokens=3, ngram=2)
    [3, 4, 9]
    >>> draft([7, 8, 7, 8], draft_tokens=5, ngram=2)
    [7, 8, 7, 8, 7]
    """
    text = list(ids)
    for start in reversed(range(len(ids) - ngram)):
        if ids[start : start + ngram] == ids[-ngram:]:
            for i in range(draft_tokens):
                text.append(text[start + ngram + i])
            break
    return text[len(ids) :]


def speculate(
    model, prompt, max_new_tokens, *, draft_tokens=4, ngram=2, stop_ids=(), cache=None
):  # fmt: skip
    """The text of `generate` at temperature 0, in fewer forward passes.

    An iterator over lists: the new ids that one forward pass added, at least one each.
    prompt: a list of ids. In a pass the model reads the last id and up to draft_tokens ids that
    `draft` found in the prompt and the text so far, and says what it would have chosen after
    each. Drafts count as long as they are what it chose; its choice after the last of them is
    one more id, and the cache takes back the rest. One pass costs little more than one token,
    as long as reading the weights takes longer than computing with them.

    ngram: how many ids have to match for a draft. stop_ids: ids that end the text, and stand
    at its end. cache: a RollingCache of one row that the prompt continues, with at least
    draft_tokens spare slots if it rolls; a new one if None. As after `stream`, the last new id
    never went through it, also after an interruption.

    Each id is the largest logit, so the text is that of `generate`, except for rounding: a
    matrix product of several rows may add up in another order than that of one row. Where two
    logits are equal up to their last digits, the choice may differ, as it may between two
    values of chunk_size.

    Raises TypeError or ValueError, naming the argument, at once and before anything changes.

    >>> from minimistral import ModelConfig
    >>> from minimistral.pt import generate
    >>> model, prompt = Mistral(ModelConfig.tiny()), [1, 2, 3, 1, 2, 3, 1, 2]
    >>> steps = list(speculate(model, prompt, 20))
    >>> sum(steps, []) == generate(model, prompt, 20)
    True
    """
    require_model(model, Mistral)
    prompt = as_prompt(prompt, model.config.vocab_size)
    max_new_tokens = require_count("max_new_tokens", max_new_tokens, below=2**62)
    draft_tokens = require_count("draft_tokens", draft_tokens)
    ngram = require_count("ngram", ngram)
    stop_ids = set(require_ids("stop_ids", stop_ids, model.config.vocab_size))
    if cache is None:
        model.config.require_cache_size(
            model.dtype, 1, spare=draft_tokens, max_new_tokens=max_new_tokens
        )
        cache = model.new_cache(1, len(prompt) + max_new_tokens, spare=draft_tokens)
    require_cache(cache, model, 1)
    if cache.rolls and cache.spare < draft_tokens:
        raise ValueError(
            f"cache must have spare >= draft_tokens = {draft_tokens} slots, not {cache.spare}:"
            " keys that wrong drafts overwrite could not be brought back"
        )
    cache.require_room([len(prompt) + max_new_tokens - 1])
    return _passes(model, prompt, max_new_tokens, draft_tokens, ngram, stop_ids, cache)


def _passes(model, prompt, max_new_tokens, draft_tokens, ngram, stop_ids, cache):
    """The loop: draft, verify, keep what is right."""
    ids, end = list(prompt), len(prompt) + max_new_tokens
    new = _cut(_choices(model, cache, prompt, last_only=True), stop_ids)
    while True:
        ids += new
        yield new
        if new[-1] in stop_ids or len(ids) == end:
            return
        drafts = draft(ids, min(draft_tokens, end - len(ids) - 1), ngram)
        new = _verify(model, cache, ids[-1], drafts, stop_ids)


def _verify(model, cache, last, drafts, stop_ids):
    """One forward pass over the last id and the drafts -> the ids that it adds.

    The cache then holds the last id and those ids, but for the newest.
    """
    before = cache.seen.clone()
    try:
        chosen = _choices(model, cache, [last, *drafts])
        right = 0
        while right < len(drafts) and drafts[right] == chosen[right]:
            right += 1
        new = _cut(chosen[: right + 1], stop_ids)
        cache.rewind(1 + len(drafts) - len(new))
        return new
    except BaseException:  # as if the pass had never begun
        cache.rewind(cache.seen - before)
        raise


def _choices(model, cache, tokens, last_only=False):
    """Read tokens -> the likeliest id after each, or after the last only; -1 if there is none."""
    with torch.no_grad():
        return likeliest(model([tokens], cache, last_only)[0]).tolist()


def _cut(new, stop_ids):
    """New ids up to the first stop id. Raises ValueError where there was no likeliest one."""
    ends = (n + 1 for n, token in enumerate(new) if token in stop_ids or token == -1)
    new = new[: next(ends, None)]
    if new[-1] == -1:
        raise ValueError("the logits of row 0 must be finite; are the weights?")
    return new
