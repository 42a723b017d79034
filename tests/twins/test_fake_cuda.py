"""The torch twin on a device that computes shapes alone: no tensor is on the wrong one.

Nothing here needs a GPU, and no value is compared: tests/twins/test_cuda.py does that on one.
"""

import numpy as np
import pytest
import torch
from effort import rare
from fake_cuda import fake_cuda
from models import small

from minimistral import pt as mp

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real one")
DTYPES = pytest.mark.parametrize("dtype", ["float32", rare("bfloat16")])
# Copies to the device in one call of a model with a cache, not compiled: tokens, positions twice
# (for rotation and mask), positions of the keys, and row, place and slot of each token. They may
# become fewer.
PER_CALL = 7


@pytest.fixture
def log():
    with fake_cuda() as log:
        yield log


def model_on_cuda(log, dtype="float32", **changes):
    """Nothing comes from the host; afterwards the log is empty."""
    model = mp.Mistral(small(**changes), dtype=dtype, device="cuda")
    assert model.device == torch.device("cuda:0") and model.dtype == getattr(torch, dtype)
    assert log.to_device == log.to_host == []
    log.clear()
    return model


def assert_logits(found, shape):
    assert found.shape == shape and found.is_cuda and found.dtype == torch.float32


def assert_host_never_waits(log, most_copies):
    assert log.to_host == log.syncs == [] and len(log.to_device) <= most_copies


# The model


@DTYPES
def test_a_decode_step_copies_seven_small_tensors(log, dtype):
    model = model_on_cuda(log, dtype)
    cache = model.new_cache(3)
    assert cache.k.is_cuda and not cache.positions.is_cuda
    model([[1, 2, 3, 4, 5]] * 3, cache)
    for last_only in (False, True):
        log.clear()
        assert_logits(model([[1], [2], [3]], cache, last_only), (3, 1, 11))
        assert_host_never_waits(log, PER_CALL)
        assert sum(record.nbytes for record in log.to_device) <= 240  # of 8 bytes a number
    assert cache.seen.tolist() == [7, 7, 7]


@DTYPES
@pytest.mark.parametrize("window", [4, None])
def test_prefill_in_chunks_beyond_two_windows(log, dtype, window):
    model = model_on_cuda(log, dtype, window_size=window)
    cache = model.new_cache(2, max_tokens=20)
    for n_tokens in (3, 1, 9, 1, 5):
        log.clear()
        assert_logits(model([[1] * n_tokens] * 2, cache), (2, n_tokens, 11))
        assert_host_never_waits(log, PER_CALL)
    assert cache.seen.tolist() == [19, 19]
    cache.reset()
    assert cache.seen.tolist() == [0, 0] and len(log.to_device) <= PER_CALL


@DTYPES
def test_a_ragged_batch_and_its_last_tokens(log, dtype):
    model = model_on_cuda(log, dtype)
    cache = model.new_cache(3)
    for lengths, last_only in (([9, 4, 0], False), ([0, 3, 9], True), ([1, 0, 5], True)):
        log.clear()
        found = model([[1] * 9] * 3, cache, last_only, lengths=lengths)
        assert_logits(found, (3, 1 if last_only else 9, 11))
        assert_host_never_waits(log, PER_CALL + last_only)
    assert cache.seen.tolist() == [10, 7, 14]


@DTYPES
def test_without_a_cache_in_several_blocks_of_queries(log, dtype):
    model = model_on_cuda(log, dtype)
    assert_logits(model([[1] * 300]), (1, 300, 11))
    assert_host_never_waits(log, 2 + 3 * 2)  # tokens and positions; in each block q_pos and k_pos


def test_tokens_on_the_device_are_read_once(log):
    """Their values are checked on the host."""
    model = model_on_cuda(log)
    tokens = torch.zeros(2, 5, dtype=torch.long, device="cuda")
    lengths = torch.zeros(2, dtype=torch.long, device="cuda")
    assert_logits(model(tokens, lengths=lengths), (2, 5, 11))
    assert [record.shape for record in log.to_host] == [(2, 5), (2,)] and log.syncs == []


# Functions that take what the host has


@DTYPES
def test_functions_accept_positions_and_masks_of_the_host(log, dtype):
    model = model_on_cuda(log, dtype)
    x = torch.randn(2, 3, 8, device="cuda", dtype=model.dtype)
    for positions in (torch.arange(3).expand(2, 3), np.arange(6).reshape(2, 3)):
        log.clear()
        q, k, v = model.project_qkv(0, x, positions)
        assert q.is_cuda and k.is_cuda and v.is_cuda and len(log.to_device) <= 1
        mask = mp.window_mask(positions, positions, 2)
        assert not mask.is_cuda and len(log.to_device) <= 1
        out = mp.attend(q, k, v, mask)
        assert out.is_cuda and out.shape == (2, 4, 3, 4) and out.dtype == model.dtype
        assert_host_never_waits(log, 2)
    cos, sin = mp.rope_tables(np.arange(3), 4, 1e4, dtype)
    turned = mp.apply_rope(q, cos, sin)
    assert turned.is_cuda and turned.dtype == model.dtype
    assert_host_never_waits(log, 4)


def test_positions_on_the_device_stay_there(log):
    positions = torch.arange(3, device="cuda")[None]
    tables = mp.rope_tables(positions, 4, 1e4)
    mask = mp.window_mask(positions, positions, 2)
    assert mask.is_cuda and all(table.is_cuda for table in tables)
    assert_host_never_waits(log, 0)


def test_a_block_sparse_mask_is_made_on_the_device(log):
    positions = torch.arange(300, device="cuda")[None].expand(2, 300)
    mask = mp.window_mask(positions, positions, 40, block_sparse=True)
    assert mask.shape == (2, 1, 300, 300)
    assert mask.kv_num_blocks.is_cuda and mask.kv_indices.is_cuda
    assert_host_never_waits(log, 0)


@DTYPES
def test_a_block_sparse_model_reads_and_decodes(log, dtype):
    model = model_on_cuda(log, dtype, window_size=40)
    model.block_sparse = True
    cache = model.new_cache(2)
    for n_tokens, lengths in ((150, [150, 20]), (1, [1, 1]), (60, [0, 60])):
        log.clear()
        found = model([[1] * n_tokens] * 2, cache, lengths=lengths)
        assert_logits(found, (2, n_tokens, 11))
        assert_host_never_waits(log, PER_CALL)
    with pytest.raises(RuntimeError, match="same device"):
        mask = mp.window_mask(*[torch.arange(3, device="cpu")] * 2, 2, block_sparse=True)
        x = torch.ones(1, 4, 3, 4, device="cuda")
        mp.attend(x, x, x, mask)


# Packed weights and files


@pytest.mark.parametrize(
    ("kind", "dtype", "format"),
    [
        (None, "float32", "mistral"),
        (None, "bfloat16", "hf"),
        ("int8", "float32", "mistral"),
        ("int8", "bfloat16", "mistral"),
        ("int4", "bfloat16", "mistral"),  # a GPU's operator takes bfloat16 only
    ],
)
def test_a_file_is_loaded_to_the_device(tmp_path, log, kind, dtype, format):
    """Each weight is copied once, and comes back never."""
    config = small(dim=64, hidden_dim=64, vocab_size=48, head_dim=16)
    mp.save(mp.Mistral(config), tmp_path, format, dtype=dtype)
    model = mp.load(tmp_path, device="cuda", quantize=kind)
    assert all(weight.device.type == "cuda" for weight in model.weights.values())
    assert len(log.to_device) == len(config.weight_shapes()) and log.to_host == []
    cache = model.new_cache(2)
    for n_tokens in (9, 1):
        log.clear()
        assert_logits(model([[1] * n_tokens] * 2, cache), (2, n_tokens, 48))
        assert_host_never_waits(log, PER_CALL)


def test_a_model_is_saved_from_the_device(tmp_path, log):
    model = model_on_cuda(log)
    mp.save(model, tmp_path)
    assert len(log.to_host) == len(model.weights) and log.to_device == log.syncs == []


# Text


@DTYPES
@pytest.mark.parametrize("settings", [rare({}), {"temperature": 0.8, "top_p": 0.9, "seed": 1}])
def test_generation_asks_for_the_chosen_tokens_alone(log, dtype, settings):
    model = model_on_cuda(log, dtype)
    prompts = [[1, 2, 3], [4] * 10, [5]]
    new = mp.generate(model, prompts, 6, chunk_size=4, **settings)
    assert [len(row) for row in new] == [6, 6, 6]
    assert settings or new == [[0] * 6] * 3  # of equal logits, the first
    reads = log.to_host + log.syncs
    assert 6 <= len(reads) <= 6 * 3
    inside = ("model.py", "layer.py", "cache.py", "attention.py", "mask.py", "rope.py")
    assert not [record for record in reads if record.where.split(":")[0].endswith(inside)]
    n_chunks, n_steps = 3, 5
    # After each chunk also the rows' last places, and which rows the chunk belongs to; for each
    # new token the random numbers.
    most = (n_chunks + n_steps) * PER_CALL + 2 * n_chunks + (6 if settings else 0)
    assert len(log.to_device) <= most


# The fake device itself


@pytest.mark.parametrize(
    "mix",
    [
        lambda here, there: here + there,
        lambda here, there: there * here,
        lambda here, there: there @ here,
        lambda here, there: torch.cat([there, here]),
        lambda here, there: torch.where(there > 0, there, here),
        lambda here, there: torch.nn.functional.linear(there, here),
        lambda here, there: torch.nn.functional.embedding(here.long(), there),
        lambda here, there: torch.nn.functional.scaled_dot_product_attention(there, there, here),
        lambda here, there: torch.nn.functional.scaled_dot_product_attention(
            there, there, there, here > 0
        ),
        lambda here, there: there.gather(0, here.long()),
        lambda here, there: there.add_(here),
        lambda here, there: there.index_put_((there[0].long(),), here),
        lambda here, there: there.__setitem__(there[0].long(), here),
        lambda here, there: here[there[0].long()],
        lambda here, there: here.add_(there),
        lambda here, there: there.normal_(generator=torch.Generator()),
        lambda here, there: here.normal_(generator=torch.Generator("cuda")),
        lambda here, there: there.numpy(),
        lambda here, there: torch.cuda.CUDAGraph().replay(),
    ],
)
def test_what_a_gpu_refuses_raises(log, mix):
    here, there = torch.ones(3, 3), torch.ones(3, 3, device="cuda")
    with pytest.raises((RuntimeError, TypeError)):
        mix(here, there)
    assert log.to_device == log.to_host == log.syncs == []


@pytest.mark.parametrize(
    ("act", "to_device", "to_host", "syncs"),
    [
        (lambda here, there: here.to("cuda"), 1, 0, 0),
        (lambda here, there: here.cuda(), 1, 0, 0),
        (lambda here, there: here.to(there), 1, 0, 0),
        (lambda here, there: torch.tensor([1, 2], device="cuda"), 1, 0, 0),
        (lambda here, there: torch.as_tensor(here, device="cuda"), 1, 0, 0),
        (lambda here, there: there.new_tensor([1, 2]), 1, 0, 0),
        (lambda here, there: torch.nn.Linear(2, 2, bias=False).to("cuda"), 1, 0, 0),
        (lambda here, there: there.copy_(here), 1, 0, 0),
        (lambda here, there: there[[0, 1]], 1, 0, 0),
        (lambda here, there: there[here[0].long(), here[0].long()], 2, 0, 0),
        (lambda here, there: there.__setitem__(0, here[0]), 1, 0, 0),
        (lambda here, there: there.__setitem__((0, 0), 1.0), 1, 0, 0),
        (lambda here, there: there.__setitem__(there[0].long(), 1.0), 1, 0, 0),
        (lambda here, there: torch.where(there > 0, there, torch.tensor(1.0)), 1, 0, 0),
        (lambda here, there: there.cpu(), 0, 1, 0),
        (lambda here, there: there.to("cpu", torch.float64), 0, 1, 0),
        (lambda here, there: there.tolist(), 0, 1, 0),
        (lambda here, there: here.copy_(there), 0, 1, 0),
        (lambda here, there: here.__setitem__(0, there[0]), 0, 1, 0),
        (lambda here, there: there[0, 0].item(), 0, 0, 1),
        (lambda here, there: int(there[0, 0]), 0, 0, 1),
        (lambda here, there: float(there.sum()), 0, 0, 1),
        (lambda here, there: here[0, : there.sum().long()], 0, 0, 1),
        (lambda here, there: bool(there.isfinite().all()), 0, 0, 1),
        (lambda here, there: here[there[0, 0].long()], 0, 0, 1),
        (lambda here, there: there.nonzero(), 0, 0, 1),
        (lambda here, there: there[there > 0], 0, 0, 1),
        (lambda here, there: torch.equal(there, there), 0, 0, 1),
        (lambda here, there: torch.cuda.synchronize(), 0, 0, 1),
        # What only looks like it
        (lambda here, there: there + torch.tensor(1.0), 0, 0, 0),
        (lambda here, there: torch.where(there > 0, there, 0), 0, 0, 0),
        (lambda here, there: there.__setitem__(slice(None), 0), 0, 0, 0),
        (lambda here, there: there.__setitem__(there > 0, 0), 0, 0, 0),
        (lambda here, there: there.to("cuda").cuda().to(there.device).double(), 0, 0, 0),
        (lambda here, there: torch.zeros_like(here, device="cuda") + there.new_zeros(3), 0, 0, 0),
        (lambda here, there: ~(there.T.contiguous() > 0), 0, 0, 0),
        (lambda here, there: here[0] + here.to("cpu").tolist()[0][0], 0, 0, 0),
    ],
)
def test_what_the_log_holds(log, act, to_device, to_host, syncs):
    act(torch.ones(3, 3), torch.ones(3, 3, device="cuda"))
    assert [len(each) for each in (log.to_device, log.to_host, log.syncs)] == [
        to_device, to_host, syncs,
    ]  # fmt: skip


@pytest.mark.parametrize(
    "index",
    [
        0, -1, slice(1, 3), slice(None), ..., None, (0, 1), (slice(None), None, 1), (..., 0),
        (None, ..., slice(0, 4, 2)), [0, 2], torch.tensor([1, 0]), torch.tensor(2),
        (torch.tensor([1, 0]), slice(None), torch.tensor([0, 1])),
        (slice(None), torch.tensor([1, 0]), torch.tensor([[0], [1]])), (1, ..., torch.tensor([1])),
        (None, torch.tensor([1, 0, 1])),
    ],
)  # fmt: skip
def test_an_index_means_what_it_means_on_the_cpu(log, index):
    here = torch.arange(60.0).reshape(3, 4, 5)
    expected, found = here[index], here.to("cuda")[index]
    assert found.shape == expected.shape and found.stride() == expected.stride()
    here.to("cuda")[index] = 1.0
    here.to("cuda")[index] = torch.ones(expected.shape, device="cuda")


def test_a_value_of_the_device_is_zero(log):
    there = torch.full((2, 3), 7, device="cuda")
    assert there.tolist() == [[0] * 3] * 2 and int(there[0, 0]) == 0
    here = torch.ones(2, 3)
    here.copy_(there)
    assert (here == 0).all() and (there.to("cpu", torch.float64) == 0).all()


def test_a_record_names_its_line(log):
    model = model_on_cuda(log)
    model([[1]])
    assert all(record.where.startswith("minimistral/pt/") for record in log.to_device)
    torch.ones(4, device="cuda").tolist()
    (record,) = log.to_host
    assert record.where is None and (record.shape, record.nbytes) == ((4,), 16)


def test_a_graph_refuses_to_wait_while_it_records(log):
    x, graph = torch.ones(3, device="cuda"), torch.cuda.CUDAGraph()
    for wait in (x.tolist, lambda: x.copy_(torch.ones(3)), torch.cuda.synchronize):
        with pytest.raises(RuntimeError, match="capturing"), torch.cuda.graph(graph):
            wait()
    with torch.cuda.graph(graph):
        x += 1
    graph.replay()
    assert log.to_device == log.to_host == log.syncs == []


def test_afterwards_there_is_no_device():
    before = torch.cuda.is_available, torch.cuda.Stream, torch.Generator, torch.compile
    with fake_cuda():
        assert not torch.ones(2).is_cuda and torch.ones(2).sum() == 2
        mp.Mistral(small(), device="cuda")
    assert before == (torch.cuda.is_available, torch.cuda.Stream, torch.Generator, torch.compile)
    with pytest.raises(ValueError, match="has no CUDA"):
        mp.Mistral(small(), device="cuda")
