"""A running batch writes what `generate` writes for each request alone, whoever comes and goes."""

import dataclasses
import itertools
import sys

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from models import random_config, random_model, random_tokens, small

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.pt.compiled import CompiledStep

TWINS = pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])


def engine(mm, config=None, seed=0):
    """In float64, where rounding does not decide which token comes."""
    config = small() if config is None else config
    return mm.Mistral(config, random_model(config, seed, "float64").weights)


def module(mm):
    return sys.modules[mm.serve.__module__]


def options_of(request):
    """The arguments of `generate` that a request carries."""
    fields = (field.name for field in dataclasses.fields(request))
    return {name: getattr(request, name) for name in fields if name not in ("id", "prompt")}


def one_after_the_other(mm, model, requests):
    """The specification: by id, the text that `generate` writes, and why it ends."""
    texts = {}
    for request in requests:
        ids = mm.generate(model, request.prompt, **options_of(request))
        texts[request.id] = ids, "stop" if ids[-1] in request.stop_ids else "length"
    return texts


def gathered(events):
    """Triples -> by id, the text and the reason of its end, which only its last id has."""
    texts, ends = {}, {}
    for id, token, reason in events:
        assert id not in ends
        texts.setdefault(id, []).append(token)
        if reason is not None:
            ends[id] = reason
    assert texts.keys() == ends.keys()
    return {id: (text, ends[id]) for id, text in texts.items()}


def random_request(mm, rng, config, id):
    """Prompts beyond 2W, greedy or sampled, with or without stop ids and a penalty."""
    sampled = rng.random() < 0.6
    return mm.Request(
        id, random_tokens(rng, config, 1, int(rng.integers(1, 25)))[0].tolist(),
        int(rng.integers(1, 10)), temperature=float(rng.uniform(0.5, 2)) if sampled else 0.0,
        top_p=float(rng.choice([1, 0.8])), top_k=5 if rng.random() < 0.2 else None,
        min_p=float(rng.choice([0, 0.05])), repetition_penalty=float(rng.choice([1, 1, 1.5])),
        seed=int(rng.integers(0, 99)), stop_ids=rng.integers(0, config.vocab_size, 2).tolist(),
    )  # fmt: skip


def with_gaps(rng, requests):
    """The requests with some None before and between them: then nobody was waiting."""
    return [each for request in requests for each in [*[None] * rng.integers(0, 5), request]]


# The same texts


@given(seed=st.integers(0, 9999))
def test_each_text_is_that_of_its_request_alone(seed):
    each_text_is_that_of_its_request_alone(mn, seed)


@pytest.mark.parametrize("seed", range(12))
def test_each_text_is_that_of_its_request_alone_in_torch(seed):
    each_text_is_that_of_its_request_alone(mp, seed)


def each_text_is_that_of_its_request_alone(mm, seed):
    """Any model, arrivals, sizes of batch and chunk, and samplers."""
    rng = np.random.default_rng(seed)
    config = dataclasses.replace(random_config(rng, 10), vocab_size=11)
    model = engine(mm, config, seed)
    requests = [random_request(mm, rng, config, n) for n in range(rng.integers(2, 6))]
    sizes = {
        "batch_size": int(rng.integers(1, 5)), "chunk_size": int(rng.integers(1, 12)),
        "max_tokens": 36 if config.window_size is None else rng.choice([None, 40]),
    }  # fmt: skip
    expected = one_after_the_other(mm, model, requests)
    arrivals = with_gaps(rng, requests)
    given_ = arrivals if rng.random() < 0.5 else iter(arrivals)
    assert gathered(mm.serve(model, given_, **sizes)) == expected


def test_the_twins_serve_alike():
    rng = np.random.default_rng(1)
    events = []
    for mm in (mn, mp):
        rng = np.random.default_rng(1)
        requests = [random_request(mm, rng, small(), n) for n in range(8)]
        arrivals = with_gaps(rng, requests)
        events.append(list(mm.serve(engine(mm), arrivals, batch_size=3, chunk_size=5)))
    assert events[0] == events[1] and len(events[0]) > 20


@TWINS
def test_allowed_is_asked_about_its_own_text(mm):
    model, asked = engine(mm), {"a": [], "b": []}

    def allowed(id):
        def may_come(new_ids):
            asked[id].append(new_ids)
            return np.arange(11) % 2 == (id == "a")

        return may_come

    requests = [mm.Request(id, [1, 2, 3], 4, allowed=allowed(id)) for id in asked]
    texts = gathered(mm.serve(model, requests))
    for id, odd in (("a", 1), ("b", 0)):
        ids, _ = texts[id]
        assert [token % 2 for token in ids] == [odd] * 4
        assert asked[id] == [[], *(ids[:n] for n in range(4))]


# The steps


def steps_as_loops(arrivals, prompts, lengths, batch_size, chunk_size):
    """The specification of the steps: (who writes, (who reads, how much) in turn, new ids of).

    arrivals: ids and None. prompts, lengths: by id, how many ids are read, and then written.
    """
    queue, at_work, steps = list(arrivals), [], []
    read, written = dict.fromkeys(prompts, 0), dict.fromkeys(prompts, 0)
    while queue or at_work:
        while queue and len(at_work) < batch_size:
            id = queue.pop(0)
            if id is None:
                break
            at_work.append(id)
        writes = [id for id in at_work if read[id] == prompts[id]]
        reads, left = [], chunk_size
        for id in at_work:
            n = 0
            while left and read[id] + n < prompts[id]:
                n, left = n + 1, left - 1
            if n:
                reads.append((id, n))
                read[id] += n
        new = [id for id in at_work if read[id] == prompts[id]]
        for id in new:
            written[id] += 1
        at_work = [id for id in at_work if written[id] < lengths[id]]
        if writes or reads:
            steps.append((len(writes), [n for _, n in reads], new))
    return steps


@TWINS
@pytest.mark.parametrize("seed", range(6))
def test_a_step_is_the_newest_ids_and_a_chunk_of_the_prompts(mm, seed, monkeypatch):
    """What goes through the model, pass by pass, and the order of the new ids."""
    rng = np.random.default_rng(seed)
    model = engine(mm)
    requests = [random_request(mm, rng, small(), n) for n in range(rng.integers(3, 7))]
    batch_size, chunk_size = int(rng.integers(1, 5)), int(rng.integers(1, 30))
    arrivals = with_gaps(rng, requests)
    lengths = {id: len(ids) for id, (ids, _) in one_after_the_other(mm, model, requests).items()}
    ids = [each if each is None else each.id for each in arrivals]
    expected = steps_as_loops(
        ids, {each.id: len(each.prompt) for each in requests}, lengths, batch_size, chunk_size
    )
    steps, run, join = [], mm.Mistral.__call__, module(mm)._join

    def recorded(self, tokens, cache, last_only, *, lengths=None):
        if lengths is None:
            assert cache.batch_size == 1
            steps[-1][1].append(len(tokens[0]))
        else:
            assert tokens.shape == (batch_size, 1) and cache.batch_size == batch_size
            steps[-1][0] += int(lengths.sum())
        return run(self, tokens, cache, last_only, lengths=lengths)

    def begin(*rest):
        steps.append([0, [], []])
        return join(*rest)

    monkeypatch.setattr(mm.Mistral, "__call__", recorded)
    monkeypatch.setattr(module(mm), "_join", begin)
    for id, _token, _reason in mm.serve(
        model, iter(arrivals), batch_size=batch_size, chunk_size=chunk_size
    ):
        steps[-1][2].append(id)
    assert [tuple(step) for step in steps if step != [0, [], []]] == expected


@TWINS
def test_who_comes_later_joins_while_others_are_written(mm):
    """The second request is made from what the first has written."""
    model, written = engine(mm), []

    def requests():
        yield mm.Request("first", [1, 2], 12)
        while len(written) < 5:
            yield None
        yield mm.Request("second", written[:3], 3)

    events = []
    for event in mm.serve(model, requests(), batch_size=2):
        events.append(event)
        written += [event[1]] if event[0] == "first" else []
    assert [id for id, _, _ in events[:6]] == ["first"] * 5 + ["first"]
    assert [id for id, _, _ in events].index("second") < 8 and events[-1][0] == "first"
    second = [token for id, token, _ in events if id == "second"]
    assert second == mm.generate(model, written[:3], 3)


@TWINS
def test_nobody_waiting_and_no_requests_at_all(mm):
    model = engine(mm)
    assert list(mm.serve(model, [])) == list(mm.serve(model, iter([None] * 3))) == []
    texts = gathered(mm.serve(model, [None, None, mm.Request(0, [1], 2), None]))
    assert texts == {0: (mm.generate(model, [1], 2), "length")}


# Without a window, or with a smaller cache


@TWINS
def test_without_a_window_a_text_must_fit_in_max_tokens(mm):
    model = engine(mm, small(window_size=None))
    with pytest.raises(ValueError, match="max_tokens must be given"):
        mm.serve(model, [])
    fits, too_long = mm.Request("fits", [1] * 6, 5), mm.Request("long", [1] * 6, 6)
    texts = gathered(mm.serve(model, [fits], max_tokens=10, batch_size=1))
    assert texts == one_after_the_other(mm, model, [fits])
    rolling = engine(mm, small(window_size=12))
    for each in (model, rolling):
        with pytest.raises(ValueError, match="request 'long': max_tokens must be at least 11, not"):
            mm.serve(each, [fits, too_long], max_tokens=10)
    assert gathered(mm.serve(rolling, [too_long], max_tokens=12))


# Errors, and an early end


@TWINS
@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"prompt": []}, ValueError, "prompt must hold at least one id"),
        ({"prompt": [11]}, ValueError, "prompt must be below vocab_size = 11, not 11"),
        ({"prompt": [[1], [2]]}, ValueError, "prompt must be one list of ids, not 2 lists"),
        ({"max_new_tokens": 0}, ValueError, "max_new_tokens must be at least 1"),
        ({"max_new_tokens": 1.5}, TypeError, "max_new_tokens must be a whole number"),
        ({"stop_ids": [11]}, ValueError, "stop_ids must be below"),
        ({"temperature": -1}, ValueError, "temperature must be"),
        ({"top_p": 0}, ValueError, "top_p must be"),
        ({"top_k": 0}, ValueError, "top_k must be"),
        ({"min_p": 2}, ValueError, "min_p must be"),
        ({"repetition_penalty": 0}, ValueError, "repetition_penalty must be"),
        ({"seed": -1}, ValueError, "seed must be"),
        ({"allowed": 5}, TypeError, "allowed must be a function"),
        ({"allowed": lambda ids: [True]}, ValueError, "allowed must return bool of shape"),
    ],
)
def test_a_bad_request_is_refused_by_its_id(mm, changes, error, reason):
    """In a list at once; from an iterator when it comes in, after what was written before."""
    good = mm.Request("good", [1, 2], 3)
    bad = dataclasses.replace(good, id="bad", **changes)
    with pytest.raises(error, match=f"request 'bad': {reason}"):
        mm.serve(engine(mm), [good, bad])
    events = mm.serve(engine(mm), iter([good, None, bad]))
    assert next(events)[0] == "good"
    with pytest.raises(error, match=f"request 'bad': {reason}"):
        list(events)


@TWINS
@pytest.mark.parametrize(
    ("arguments", "error", "reason"),
    [
        ({"model": "mistral"}, TypeError, "model must be a .*Mistral, not a builtins.str"),
        ({"requests": 5}, TypeError, "requests must be an iterable of Requests, not 5"),
        ({"requests": "ab"}, TypeError, "requests must be an iterable of Requests, not 'ab'"),
        ({"requests": [[1, 2]]}, TypeError, r"requests must hold .*serve.Requests or None, not \["),
        ({"batch_size": 0}, ValueError, "batch_size must be at least 1"),
        ({"batch_size": 2**60}, ValueError, "batch_size must be smaller"),
        ({"chunk_size": 0}, ValueError, "chunk_size must be at least 1"),
        ({"chunk_size": None}, TypeError, "chunk_size must be a whole number"),
        ({"max_tokens": 0}, ValueError, "max_tokens must be at least 1"),
    ],
)
def test_bad_arguments_are_refused_at_once(mm, arguments, error, reason):
    with pytest.raises(error, match=reason):
        mm.serve(**{"model": engine(mm), "requests": [], **arguments})


@TWINS
def test_an_error_of_allowed_keeps_its_cause(mm):
    class Strange(ValueError):
        def __init__(self, one, two):
            super().__init__(one)

    def allowed(ids):
        raise Strange("no", "way")

    with pytest.raises(ValueError, match="request 0: no") as caught:
        mm.serve(engine(mm), [mm.Request(0, [1], 1, allowed=allowed)])
    assert isinstance(caught.value.__cause__, Strange)


@TWINS
def test_an_id_may_come_again_but_not_twice_at_once(mm):
    model, request = engine(mm), mm.Request("a", [1, 2], 3)
    with pytest.raises(ValueError, match="request 'a': id must differ from those of texts at"):
        list(mm.serve(model, [request, request]))
    events = list(mm.serve(model, [request, request], batch_size=1))
    assert events[:3] == events[3:] and gathered(events[:3])


@TWINS
def test_an_iterator_that_is_left_early_leaves_the_model_as_it_was(mm):
    model = engine(mm)
    requests = [mm.Request(n, [n, 2, 3] * 5, 9) for n in range(4)]
    expected = one_after_the_other(mm, model, requests)

    def broken():
        yield from requests[:2]
        raise OSError("the line is dead")

    for count in range(1, 12, 3):
        events = mm.serve(model, requests, batch_size=2, chunk_size=4)
        assert len(list(itertools.islice(events, count))) == count
        events.close()
        assert list(events) == []
    with pytest.raises(OSError, match="the line is dead"):
        list(mm.serve(model, broken()))
    assert torch.is_grad_enabled()
    assert gathered(mm.serve(model, requests, batch_size=2, chunk_size=4)) == expected


@TWINS
def test_weights_that_are_broken_are_told(mm):
    model = engine(mm)
    weights = {name: 1e200 * w if name in ("output.weight", "norm.weight") else w
               for name, w in model.weights.items()}  # fmt: skip
    with np.errstate(all="ignore"), pytest.raises(ValueError, match="logits of request 'a' must"):
        list(mm.serve(mm.Mistral(model.config, weights), [mm.Request("a", [1, 2], 4)]))


def test_no_gradient_is_kept(monkeypatch):
    model, run = engine(mp).requires_grad_(), mp.Mistral.forward

    def watched(self, *rest, **options):
        assert not torch.is_grad_enabled()
        return run(self, *rest, **options)

    monkeypatch.setattr(mp.Mistral, "forward", watched)
    for _ in mp.serve(model, [mp.Request(0, [1, 2, 3], 4)]):
        assert torch.is_grad_enabled()


@pytest.mark.parametrize("window", [4, None])
def test_a_compiled_step_writes_and_the_model_reads(window, monkeypatch):
    """The step itself, but for torch.compile. It sees rows that were read or freed beside it."""
    compiled, steps = sys.modules[CompiledStep.__module__], []
    monkeypatch.setattr(compiled, "_compiled_step", lambda device_type: compiled.step)
    call = CompiledStep.__call__

    def counted(self, tokens, lengths):
        steps.append(lengths.tolist())
        return call(self, tokens, lengths)

    monkeypatch.setattr(CompiledStep, "__call__", counted)
    rng, model = np.random.default_rng(0), engine(mp, small(window_size=window))
    requests = [random_request(mp, rng, model.config, n) for n in range(8)]
    sizes = {"batch_size": 3, "chunk_size": 5, "max_tokens": 40, "compiled": True}
    texts = gathered(mp.serve(model, requests, **sizes))
    assert texts == one_after_the_other(mp, model, requests)
    assert sum(map(sum, steps)) == sum(len(ids) - 1 for ids, _ in texts.values())
    assert len(set(map(tuple, steps))) > 3  # some rows rest while their prompts are read
