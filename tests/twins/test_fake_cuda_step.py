"""What the compiled step copies between host and device, on a device that computes shapes alone."""

import pytest
import torch
from effort import rare
from fake_cuda import fake_cuda
from models import small

from minimistral import pt as mp
from minimistral.pt import compiled_prefill
from minimistral.pt.compiled import CompiledStep
from minimistral.pt.quantize import quantized

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real one")


@pytest.fixture
def log():
    with fake_cuda() as log:
        yield log


def model_on_cuda(dtype="bfloat16", kind=None, **changes):
    config = small(dim=64, hidden_dim=64, vocab_size=48, head_dim=16, **changes)
    model = mp.Mistral(config, dtype=dtype, device="cuda")
    if kind is None:
        return model
    return mp.Mistral(config, {n: quantized(n, w, kind) for n, w in model.weights.items()})


@pytest.mark.parametrize(
    ("kind", "window", "n_parts", "batch_size"),
    [(None, 256, 2, 1), rare(None, 256, 2, 3), (None, 4, 1, 3), rare(None, None, 1, 1),
     rare("int8", 4, 1, 1), ("int8", None, 1, 3), rare("int4", 256, 2, 3)],
)  # fmt: skip
def test_a_step_copies_the_tokens_there_and_the_choice_back(log, kind, window, n_parts, batch_size):
    model = model_on_cuda(kind=kind, window_size=window)
    cache = model.new_cache(batch_size, 300)
    model([[1, 2, 3]] * batch_size, cache)
    step = CompiledStep(model, cache, n_parts=n_parts)
    tokens, lengths = [[1]] * batch_size, [1] * batch_size
    step(tokens, lengths)  # it records, and takes over what the cache counted
    for n in range(6):
        log.clear()
        lengths[-1] = int(n % 2 or batch_size == 1)
        assert step.greedy(tokens, lengths) == [0] * batch_size
        assert [record.nbytes for record in log.to_device] == [8 * batch_size]
        assert [record.nbytes for record in log.to_host] == [8 * batch_size]
        assert log.syncs == []
    assert cache.seen.tolist() == [10] * (batch_size - 1) + [10 if batch_size == 1 else 7]


def test_a_step_of_no_row_copies_nothing(log):
    model = model_on_cuda(window_size=4)
    step = CompiledStep(model, model.new_cache(2))
    step([[1], [2]], [1, 1])
    log.clear()
    assert step.greedy([[1], [2]], [0, 0]) == [-1, -1]
    assert log.to_device == log.to_host == log.syncs == []


def test_what_a_step_chose_is_not_copied_to_the_next(log):
    model = model_on_cuda(window_size=4)
    step = CompiledStep(model, model.new_cache(2))
    chosen = step.greedy([[1], [2]], [1, 1])
    for lengths, copies in (([1, 1], 0), ([1, 0], 1), ([1, 0], 0), ([1, 1], 1), ([1, 1], 0)):
        log.clear()
        chosen = step.greedy([[token] for token in chosen], lengths)
        assert len(log.to_device) == copies and len(log.to_host) == 1
    step([[token] for token in chosen], [1, 1])
    log.clear()
    step([[token] for token in chosen], [1, 1])  # nobody asked what the last one chose
    assert len(log.to_device) == 1


def test_a_step_that_samples_on_the_device_copies_no_logits(log):
    model = model_on_cuda(window_size=4)
    log.clear()
    mp.generate(model, [[1, 2], [3]], 8, compiled=True, temperature=0.7, top_p=0.9, seed=1)
    assert max(record.nbytes for record in log.to_host) <= 8 * 2  # the ids of two rows
    before = len(log.to_device), len(log.to_host), len(log.syncs)
    mp.generate(model, [[1, 2], [3]], 9, compiled=True, temperature=0.7, top_p=0.9, seed=1)
    after = len(log.to_device), len(log.to_host), len(log.syncs)
    # Once more: tokens and random numbers there, ids back, and whether the logits are finite.
    assert [b - 2 * a for a, b in zip(before, after, strict=True)] == [2, 1, 1]


def test_a_cache_that_another_wrote_into_is_copied_once(log):
    model = model_on_cuda(window_size=4)
    cache = model.new_cache(1)
    step = CompiledStep(model, cache)
    step([[1]], [1])
    model([[1, 2, 3]], cache)
    log.clear()
    step([[1]], [1])
    assert len(log.to_device) == 3  # positions, seen, and the token
    step([[1]], [1])
    assert len(log.to_device) == 4


@pytest.mark.parametrize("chunk", [128, 200])
def test_a_compiled_layer_reads_a_chunk(log, monkeypatch, chunk):
    monkeypatch.setattr(compiled_prefill, "CHUNK", 128)
    model = model_on_cuda(window_size=100)
    model.block_sparse = True
    cache = model.new_cache(2)
    for _ in range(3):
        log.clear()
        logits = model([[1] * chunk] * 2, cache, last_only=True)
        assert logits.is_cuda and log.to_host == log.syncs == []
    assert cache.seen.tolist() == [3 * chunk] * 2


def test_below_128_queries_flexattention_is_told_which_kernel():
    from minimistral.pt.attention import flex_options

    with fake_cuda():
        for T, options in ((33, {"FORCE_USE_FLEX_ATTENTION": True}), (128, None)):
            assert flex_options(torch.empty(1, 8, T, 16, device="cuda")) == options
    assert flex_options(torch.empty(1, 8, 33, 16)) is None
