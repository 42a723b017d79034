"""The compiled step and the packed weights: what only torch has, held to the plain model."""

import ast
import math
import re
import sys
from dataclasses import replace

import numpy as np
import pytest
import torch
from effort import rare
from models import needs_compiler, random_model, random_tokens, small
from torch._inductor.utils import run_and_get_code
from torch.nn.attention.flex_attention import flex_attention

from minimistral import ModelConfig
from minimistral import np as mn
from minimistral import pt as mp
from minimistral.pt import attention as attention_file
from minimistral.pt import compiled_prefill as prefill_file
from minimistral.pt.attention import compiled
from minimistral.pt.compiled import CompiledStep
from minimistral.pt.compiled_prefill import worth_compiling
from minimistral.pt.quantize import FEW, GROUP, Int4Linear, Int8Linear, quantized
from minimistral.pt.split import best_parts

model_file, generate_file = sys.modules[mp.Mistral.__module__], sys.modules[mp.stream.__module__]
GPU = [
    pytest.mark.cuda,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA GPU"),
]
DEVICES = pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=GPU)])
PROMPTS = [[1, 2, 3], [4] * 11, [5]]
ALLOCATED = re.compile(r"empty_strided_cpu\(\(([^)]*)\)")


def model_of(device, **changes):
    config = small(dim=64, hidden_dim=64, vocab_size=48, **changes)
    return mp.Mistral(config, random_model(config).weights, device=device)


@pytest.fixture
def not_compiled(monkeypatch):
    """A step as plain Python: quick, and the same but for torch.compile."""
    from minimistral.pt import compiled as module

    monkeypatch.setattr(module, "_compiled_step", lambda device_type: module.step)


def require_the_model(model, caches, step):
    """Steps give what the model gives, with rows that end and go on. Both caches hold the same."""
    lengths = [[1, 1, 1]] * 4 + [[1, 0, 1]] * 3 + [[0, 1, 0], [0, 0, 0], [1, 1, 1]] * 4
    for n, length in enumerate(lengths):
        tokens = [[n], [n + 1], [n + 2]]
        expected = model(tokens, caches[0], last_only=True, lengths=length)[:, 0]
        found = step(tokens, length)
        live = torch.tensor(length) > 0
        torch.testing.assert_close(found[live], expected[live], atol=1e-4, rtol=0)
        assert (step.choice.cpu()[live] == expected.argmax(dim=1).cpu()[live]).all()
        assert (caches[1].positions == caches[0].positions).all()
        assert (step.positions.cpu() == caches[1].positions).all()
        assert (step.seen.cpu() == caches[1].seen).all()
        torch.testing.assert_close(caches[1].k, caches[0].k, atol=1e-5, rtol=0)
        torch.testing.assert_close(caches[1].v, caches[0].v, atol=1e-5, rtol=0)


@pytest.mark.parametrize("n_parts", [None, 2])
def test_a_step_is_the_model(not_compiled, n_parts):
    """Beyond two windows, from a cache that is not empty."""
    model = model_of("cpu", window_size=6)
    caches = [model.new_cache(3) for _ in range(2)]
    for cache in caches:
        model([[1, 2, 3, 4, 5]] * 3, cache, lengths=[5, 1, 3])
    require_the_model(model, caches, CompiledStep(model, caches[1], n_parts=n_parts))


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@DEVICES
@pytest.mark.parametrize("n_parts", [rare(None), 4])
def test_a_compiled_step_is_the_model_and_copies_no_cache(device, n_parts):
    """Of the generated code no buffer is as large as one layer's keys; what it runs is counted.

    One row is beyond two windows, and the cache has slots to spare.
    """
    model = model_of(device, window_size=508, head_dim=64)
    caches = [model.new_cache(3, spare=4) for _ in range(2)]
    tokens = random_tokens(np.random.default_rng(0), model.config, 3, 1100)
    for cache in caches:
        model(tokens, cache, lengths=[1100, 1, 511])
    step = CompiledStep(model, caches[1], n_parts=n_parts)
    if device == "cpu":
        model(tokens[:, :1], caches[0])
        _, (code,) = run_and_get_code(step, tokens[:, :1], [1, 1, 1])
        require_few_buffers(code, caches[1].k[0].numel(), 9 if n_parts is None else 8)
    require_the_model(model, caches, step)


def require_few_buffers(code, largest, runs_per_layer):
    """Of two layers: four products, what lies before each, and torch's own attention or none."""
    code = code[code.index("def call(") :]
    shapes = [ast.literal_eval(f"({shape})") for shape in ALLOCATED.findall(code)]
    assert len(shapes) > 5
    assert 8 * max(math.prod(shape) for shape in shapes) < largest
    runs = re.findall(
        r"^ +(?:cpp_fused_\w+|extern_kernels\.\w+|buf\d+ = torch\.ops\.aten\.\w+)", code, re.M
    )
    assert len(runs) <= 2 * runs_per_layer + 3
    assert len(shapes) <= 2 * 10 + 5


@pytest.mark.parametrize("window", [4, None])
def test_a_step_sees_what_others_wrote_into_its_cache(not_compiled, window):
    model = model_of("cpu", window_size=window)
    caches = [model.new_cache(2, 20) for _ in range(2)]
    step = CompiledStep(model, caches[1])
    for cache in caches:
        model([[1, 2, 3], [4, 5, 6]], cache)
    for again in (lambda cache: model([[7, 8], [9, 1]], cache), lambda cache: cache.reset()):
        for _ in range(3):
            expected = model([[1], [2]], caches[0])[:, 0]
            torch.testing.assert_close(step([[1], [2]], [1, 1]), expected, atol=1e-5, rtol=0)
        for cache in caches:
            again(cache)
    assert step.choice.tolist() == expected.argmax(dim=1).tolist()


@pytest.mark.parametrize("window", [4, None])
def test_a_greedy_text_goes_on_with_what_it_chose(not_compiled, window):
    """Rows that rest, and that another token was forced upon, included."""
    model = model_of("cpu", window_size=window)
    caches = [model.new_cache(3, 40) for _ in range(2)]
    step, tokens = CompiledStep(model, caches[1]), [1, 2, 3]
    rng = np.random.default_rng(0)
    for n in range(30):
        lengths = [1, int(n % 3 > 0), int(n % 5 < 3)]
        if n % 7 == 6:
            tokens[0] = int(rng.integers(48))
        columns = [[token] for token in tokens]
        logits = model(columns, caches[0], lengths=lengths)[:, 0]
        chosen = step.greedy(columns, lengths)
        for row, run in enumerate(lengths):
            assert not run or chosen[row] == int(logits[row].argmax())
            if run or n % 2:  # what a row that rests would choose may be what it goes on with
                tokens[row] = chosen[row]
        torch.testing.assert_close(caches[1].k, caches[0].k, atol=1e-5, rtol=0)


@pytest.mark.parametrize(
    ("options", "on_device"),
    [({}, True), ({"top_k": 3, "top_p": 0.5, "min_p": 0.1}, True),
     ({"repetition_penalty": 1.5}, False), ({"allowed": lambda ids: np.arange(48) % 3 > 0}, False),
     ({"temperature": 1.0, "seed": 1, "repetition_penalty": 1.5, "top_k": 9}, False)],
)  # fmt: skip
def test_the_device_chooses_only_where_nothing_changes_the_logits(
    not_compiled, monkeypatch, options, on_device
):
    """What it chose stands in the next step's tokens already, so a wrong choice would be read."""
    model, steps = model_of("cpu", window_size=4), []
    greedy = CompiledStep.greedy
    monkeypatch.setattr(CompiledStep, "greedy", lambda *given: steps.append(1) or greedy(*given))
    expected = mp.generate(model, PROMPTS, 20, **options)
    assert mp.generate(model, PROMPTS, 20, compiled=True, **options) == expected
    assert len(steps) == (19 if on_device else 0)


def test_a_step_that_is_interrupted_can_be_done_again(not_compiled, monkeypatch):
    """What a device counted, and the cache did not, is forgotten."""
    model = model_of("cpu", window_size=4)
    caches = [model.new_cache(1) for _ in range(2)]
    step = CompiledStep(model, caches[1])
    for n in range(9):
        expected = model([[n]], caches[0])[:, 0]
        with monkeypatch.context() as patch:
            patch.setattr(caches[1], "commit", interrupt)
            with pytest.raises(KeyboardInterrupt):
                step([[n]], [1])
        torch.testing.assert_close(step([[n]], [1]), expected, atol=1e-5, rtol=0)
        assert (caches[1].positions == caches[0].positions).all()


def interrupt(plan):
    raise KeyboardInterrupt


def test_a_full_cache_is_refused_and_stays_as_it_is(not_compiled):
    model = model_of("cpu", window_size=None)
    cache = model.new_cache(2, 3)
    step = CompiledStep(model, cache)
    for lengths in ([1, 1], [1, 0], [1, 1]):
        step([[1], [2]], lengths)
    before = cache.k.clone(), cache.positions.clone()
    with pytest.raises(ValueError, match="row 0 holds 3 of max_tokens = 3"):
        step([[1], [2]], [1, 1])
    assert (cache.k == before[0]).all() and (cache.positions == before[1]).all()
    step([[1], [2]], [0, 1])  # the row that is full may rest
    assert cache.seen.tolist() == [3, 3]


def test_logits_that_are_not_finite_are_no_choice(not_compiled):
    model = model_of("cpu")
    with torch.no_grad():
        model.output.weight[3] = torch.inf
    for compiled_ in (False, True):
        for options in ({}, {"temperature": 0.5, "seed": 1}):
            with pytest.raises(ValueError, match=r"logits.*finite"):
                mp.generate(model, [1, 2], 3, compiled=compiled_, **options)


# Joined matrices


def test_joined_matrices_are_the_model_and_take_no_more_memory():
    model = model_of("cpu")
    before = {name: weight.clone() for name, weight in model.weights.items()}
    expected = model([[1, 2, 3]])
    step = CompiledStep(model, model.new_cache(1))
    for (qkv, gate), layer in zip(step.joined, model.layers, strict=True):
        ours = [layer.attention[name].weight for name in ("wq", "wk", "wv")]
        assert (qkv == torch.cat(ours)).all()
        assert {w.untyped_storage().data_ptr() for w in ours} == {qkv.data_ptr()}
        assert qkv.untyped_storage().nbytes() == sum(w.nbytes for w in ours)
        assert gate.shape == (2 * model.config.hidden_dim, model.config.dim)
    assert list(model.weights) == list(before)
    assert all((model.weights[name] == weight).all() for name, weight in before.items())
    torch.testing.assert_close(model([[1, 2, 3]]), expected, atol=0, rtol=0)
    again = CompiledStep(model, model.new_cache(1))
    for old, new in zip(step.joined, again.joined, strict=True):
        assert [matrix.data_ptr() for matrix in old] == [matrix.data_ptr() for matrix in new]


def test_a_model_with_joined_matrices_can_be_saved(tmp_path):
    model = model_of("cpu")
    CompiledStep(model, model.new_cache(1))
    for format in ("mistral", "hf"):
        mp.save(model, tmp_path / format, format=format)
        found = mp.load(tmp_path / format)([[1, 2, 3]])
        torch.testing.assert_close(found, model([[1, 2, 3]]), atol=0, rtol=0)


def test_what_is_no_plain_matrix_is_not_joined():
    model = model_of("cpu")
    model.layers[0].attention["wk"].register_forward_hook(lambda *_: None)
    model.layers[1].feed_forward["w3"] = Int8Linear(torch.ones(64, 64))
    joined = CompiledStep(model, model.new_cache(1)).joined
    assert joined[0][0] is None and joined[0][1] is not None
    assert joined[1][0] is not None and joined[1][1] is None


@pytest.mark.parametrize(
    ("device", "batch_size", "n_slots", "expected"),
    [("cuda", 1, 4096, 32), ("cuda", 4, 4096, 8), ("cuda", 128, 4096, 1), ("cuda", 1, 96, 1),
     ("cuda", 1, 512, 8), ("cuda", 1, 16 * 512, 32), ("cpu", 1, 4096, 1)],
)  # fmt: skip
def test_in_how_many_parts_the_keys_are_attended_over(device, batch_size, n_slots, expected):
    from types import SimpleNamespace as Stand

    config = ModelConfig.mistral_7b()
    cache = Stand(config=config, batch_size=batch_size, n_slots=n_slots,
                  k=Stand(device=torch.device(device)))  # fmt: skip
    assert best_parts(cache) == expected


@pytest.mark.slow
@needs_compiler
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@DEVICES
def test_compiled_generation_writes_the_same_tokens(device):
    """Without a window; a layer of plain weights, and one of each kind of packed ones."""
    config = small(dim=64, hidden_dim=64, vocab_size=48, head_dim=16, n_layers=3, window_size=None)
    kinds = {"layers.1.": "int8"}
    if device == "cpu":  # a GPU's operator for 4 bits takes bfloat16 only
        kinds["layers.2."] = "int4"
    weights = mp.Mistral(config, random_model(config).weights, device=device).weights
    for name in weights:
        if kind := kinds.get(name[:9]):
            weights[name] = quantized(name, weights[name], kind)
    model = mp.Mistral(config, weights, device=device)
    settings = {"temperature": 0.8, "top_p": 0.9, "seed": 1, "stop_ids": [7, 8, 9, 10]}
    for chosen in ({}, settings):
        expected = mp.generate(model, PROMPTS, 20, **chosen)
        assert mp.generate(model, PROMPTS, 20, compiled=True, **chosen) == expected


COMPILED = [needs_compiler, pytest.mark.slow]
RARELY_COMPILED = pytest.param("compiled", marks=[*COMPILED, pytest.mark.rare])


@pytest.fixture(params=["plain", pytest.param("compiled", marks=COMPILED)])
def how(request, monkeypatch):
    """Prefill as plain Python, or compiled."""
    if request.param == "plain":
        halves = [prefill_file.before_update, prefill_file.after_update]
        monkeypatch.setattr(prefill_file, "_compiled_halves", lambda: halves)
        monkeypatch.setattr(attention_file, "_compiled_flex", lambda device_type: flex_attention)
    return request.param


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@DEVICES
def test_block_sparse_prefill_gives_the_same_logits(device, how):
    """In chunks longer than the window and than a block of FlexAttention, with padding."""
    model = model_of(device, window_size=40, head_dim=16)
    on_cpu = (device, how) == ("cpu", "compiled")  # each length of a chunk is compiled for there
    n = 260 if on_cpu else 300
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, n)
    for chunk in (130,) if on_cpu else (n, 130):
        logits = []
        for model.block_sparse in (False, True):
            cache = model.new_cache(2)
            for start in range(0, n, chunk):
                here = np.clip([n - start, 170 - start], 0, min(chunk, n - start))
                part = tokens[:, start : start + chunk]
                with torch.no_grad():
                    out = model(part, cache, lengths=here)
            logits.append(out)
        torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=0)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
@pytest.mark.filterwarnings("ignore:flex_attention called without torch.compile:UserWarning")
@DEVICES
@pytest.mark.parametrize("how", ["plain", RARELY_COMPILED], indirect=True)
def test_a_compiled_layer_is_the_layer(device, how, monkeypatch):
    """The first chunk is written first, the second attends over the cache and itself."""
    monkeypatch.setattr(model_file, "worth_compiling", lambda x: x.shape[1] == 128)
    model = model_of(device, window_size=128, head_dim=16)
    tokens = random_tokens(np.random.default_rng(0), model.config, 2, 300)
    for lengths in ([128, 128], [128, 50], [44, 44]):
        logits = []
        for model.block_sparse in (False, True):
            cache = model.new_cache(2)
            with torch.no_grad():
                model(tokens[:, :128], cache)
                logits.append(model(tokens[:, 128:256], cache, lengths=lengths))
        torch.testing.assert_close(logits[1], logits[0], atol=1e-4, rtol=0)


@pytest.mark.parametrize(("shape", "expected"), [((1, 4096, 8), True), ((1, 904, 8), False)])
def test_only_whole_chunks_on_a_gpu_are_compiled(shape, expected):
    from types import SimpleNamespace as Stand

    assert worth_compiling(Stand(is_cuda=True, shape=shape)) == expected
    assert not worth_compiling(torch.empty(shape, device="meta"))


def test_the_default_chunk_of_a_block_sparse_model(monkeypatch):
    """4,096 tokens, because the list of all blocks of a long prompt is long."""
    model, seen = model_of("cpu"), []
    monkeypatch.setattr(generate_file, "CHUNK", 7)
    model.register_forward_pre_hook(lambda _, inputs: seen.append(np.shape(inputs[0])[1]))
    for model.block_sparse, expected in ((False, [17, 1]), (True, [7, 7, 3, 1])):
        seen.clear()
        mp.generate(model, [1] * 17, 2)
        assert seen == expected


def test_a_compiled_step_is_compiled_for_few_sizes_of_a_cache(not_compiled, monkeypatch):
    """Without a window each length of prompt would have its own."""
    model, slots = model_of("cpu", window_size=None), []
    init = CompiledStep.__init__
    monkeypatch.setattr(
        CompiledStep, "__init__",
        lambda self, model, cache: slots.append(cache.n_slots) or init(self, model, cache),
    )  # fmt: skip
    for length in (1, 5, 400, 600):
        mp.generate(model, [1] * length, 3, compiled=True)
    assert slots == [512, 512, 512, 1024]
    mp.generate(model, [1], 3, compiled=True, cache=model.new_cache(1, 5))
    assert slots[-1] == 5  # what is asked for stays


def test_one_process_may_compile_for_many_shapes():
    double = compiled(lambda x: x + x, fullgraph=True, dynamic=False, backend="eager")
    for n in range(1, 20):
        assert double(torch.ones(n)).sum() == 2 * n


def test_bad_input_to_a_compiled_step_is_named_and_changes_nothing():
    model = model_of("cpu")
    cache = model.new_cache(2)
    model([[1, 2], [3, 4]], cache)
    step = CompiledStep(model, cache)
    for tokens, lengths, named in (
        ([[1], [48]], [1, 1], "tokens"),
        ([[1, 2], [3, 4]], [1, 1], "tokens"),
        ([[1]], [1], "tokens"),
        ([[1], [2]], [1, 2], "lengths"),
        ([[1], [2]], [1], "lengths"),
    ):
        with pytest.raises(ValueError, match=named):
            step(tokens, lengths)
    assert cache.seen.tolist() == [2, 2]
    with pytest.raises(ValueError, match="cache"):
        CompiledStep(model, model_of("cpu", window_size=5).new_cache(2))
    for n_parts in (0, 3):
        with pytest.raises(ValueError, match="n_parts"):
            CompiledStep(model, model.new_cache(2), n_parts=n_parts)


# Packed weights


def unpacked(kind, weight):
    """What a packed weight stands for, from the rounding's definition, in float64."""
    wide = weight.double()
    if kind == "int8":
        scale = wide.abs().amax(dim=1, keepdim=True) / 127
        return (wide / scale).round() * scale
    groups = wide.reshape(len(wide), -1, GROUP)
    low, high = groups.amin(dim=-1, keepdim=True), groups.amax(dim=-1, keepdim=True)
    scale = (high - low) / 15
    return (((groups - low) / scale).round() * scale + low).reshape(wide.shape)


@DEVICES
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize(("kind", "made"), [("int8", Int8Linear), ("int4", Int4Linear)])
def test_a_packed_weight_multiplies_as_its_rounded_values(kind, made, dtype, device):
    if (kind, device, dtype) == ("int4", "cuda", torch.float32):
        pytest.skip("a GPU's operator takes bfloat16 only")
    rng = np.random.default_rng(0)
    weight = torch.from_numpy(rng.standard_normal((48, 128))).to(device, dtype)
    x = torch.from_numpy(rng.standard_normal((2, 3, 128))).to(device, dtype)
    expected = x.double() @ unpacked(kind, weight).T
    found = made(weight)(x)
    assert found.dtype == dtype and found.shape == (2, 3, 48)
    atol = 1e-4 if dtype == torch.float32 else 0.3
    torch.testing.assert_close(found.double(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize("n_rows", [1, FEW, FEW + 1])
def test_int8_as_a_gpu_multiplies_it(n_rows):
    """Few rows one by one, many with a copy of the matrix."""
    rng = np.random.default_rng(0)
    packed = Int8Linear(torch.from_numpy(rng.standard_normal((48, 128), np.float32)))
    x = torch.from_numpy(rng.standard_normal((n_rows, 128), np.float32))
    torch.testing.assert_close(packed.on_gpu(x), packed.times(x), atol=1e-4, rtol=0)


def test_how_many_bytes_a_packed_weight_takes():
    weight = torch.ones(64, 128, dtype=torch.bfloat16)
    assert Int8Linear(weight).nbytes == 64 * 128 + 64 * 2
    assert Int4Linear(weight).nbytes == 64 * 128 // 2 + 64 * 128 // GROUP * 2 * 2


def test_a_row_of_zeros_stays_zeros():
    x = torch.ones(1, 64)
    for made in (Int8Linear, Int4Linear):
        assert (made(torch.zeros(16, 64))(x) == 0).all()


@pytest.fixture
def saved(tmp_path):
    config = replace(ModelConfig.tiny(), head_dim=32, hidden_dim=384)
    mn.save(mn.Mistral(config, seed=3), tmp_path, dtype="float32")
    return tmp_path


@pytest.mark.parametrize(("kind", "error"), [("int8", 0.05), ("int4", 0.6)])
def test_a_packed_model_gives_nearly_the_same_logits(saved, kind, error):
    plain, packed = mp.load(saved), mp.load(saved, quantize=kind)
    tokens = random_tokens(np.random.default_rng(0), plain.config, 2, 50)
    found, expected = packed(tokens), plain(tokens)
    off = (found - expected).abs().max()
    assert 0 < off < error * expected.std() * 5
    assert packed.weights["tok_embeddings.weight"].dtype == torch.float32
    new = mp.generate(packed, tokens.tolist(), 5, chunk_size=7)
    assert [len(row) for row in new] == [5, 5]
    with pytest.raises(ValueError, match=r"layers\.0\.attention\.wq\.weight is quantised"):
        mp.save(packed, saved / "again")


def test_what_cannot_be_packed_is_named(saved):
    with pytest.raises(ValueError, match="quantize must be one of int8, int4, not 'int2'"):
        mp.load(saved, quantize="int2")
    with pytest.raises(ValueError, match=r"output\.weight: .*multiple of 16"):
        quantized("output.weight", torch.ones(10, 64), "int4")
    broken = torch.full((16, 64), torch.nan)
    for kind in ("int8", "int4"):
        with pytest.raises(ValueError, match=r"output\.weight must be finite"):
            quantized("output.weight", broken, kind)
        assert quantized("norm.weight", broken[0], kind) is not None  # the model looks at it
