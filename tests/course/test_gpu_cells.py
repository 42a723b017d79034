"""The cells of the lessons that use a GPU, on a device that computes shapes alone.

No tensor is on the wrong device, and none of the cells takes more memory than there is.
"""

import json
import time
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from effort import rare
from fake_cuda import fake_cuda
from memory import Memory

from minimistral import ModelConfig
from minimistral import pt as mp
from minimistral.pt import attention

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
GIB = 2**30
V01 = ModelConfig.mistral_7b()

pytestmark = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a real one")


sdpa = torch.nn.functional.scaled_dot_product_attention


def kernel(q, *args, **options):
    """Attention; on the GPU it stores no scores."""
    return torch.empty_like(q) if q.is_cuda else sdpa(q, *args, **options)


@pytest.fixture
def memory(monkeypatch):
    """That of a GPU with a fast kernel of attention."""
    monkeypatch.setattr(attention, "scaled_dot_product_attention", kernel)
    monkeypatch.setattr(torch.nn.functional, "scaled_dot_product_attention", kernel)
    with fake_cuda(), Memory("cuda") as memory:
        yield memory


def run(monkeypatch, free, lesson, *ids, **names):
    """Run cells with that many GiB free. names: what earlier cells defined -> all names."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda: (int(free * GIB), 80 * GIB))
    (path,) = NOTEBOOKS.glob(f"{lesson}_*.ipynb")
    cells = {cell["id"]: cell for cell in json.loads(path.read_text("utf-8"))["cells"]}
    names |= {"np": np, "torch": torch, "mm": mp, "replace": replace, "partial": partial}
    for name in ids:
        exec(compile("".join(cells[name]["source"]), f"{lesson}, {name}", "exec"), names)
    return names


@pytest.mark.parametrize(("free", "device"), [(1.4, "cpu"), (1.6, "cuda")])
def test_lesson_01(memory, monkeypatch, free, device):
    names = run(monkeypatch, free, "01", "cell-59", rng=np.random.default_rng(0))
    assert names["theirs"].device.type == device and memory.peak <= (free - 1) * GIB


@pytest.mark.parametrize(
    ("free", "device", "texts"), [(1, "cpu", 1), (3, "cuda", 25), (7, "cuda", 64)]
)
def test_lesson_03(memory, monkeypatch, free, device, texts):
    def shortest_seconds(*works):
        return [(work(), 1.0)[1] for work in works]

    names = {"full": replace(V01, n_kv_heads=32), "shortest_seconds": shortest_seconds}
    names = run(monkeypatch, free, "03", "decode-times", "cell-46", **names)
    assert (names["device"], names["n_texts"]) == (device, texts)
    assert memory.now == 0 and memory.peak <= (free - 1) * GIB


@pytest.mark.parametrize(("free", "device"), [(1.6, "cpu"), (1.7, "cuda")])
def test_lesson_04(memory, monkeypatch, free, device):
    names = run(monkeypatch, free, "04", "c75", config=V01, rng=np.random.default_rng(0))
    assert names["q"].device.type == device
    if device == "cuda":
        mp.window_mask(names["positions"], names["positions"], names["W"], block_sparse=True)
    assert memory.peak <= (free - 1) * GIB


@pytest.mark.parametrize(("free", "device"), [(5.4, "meta"), (5.5, "cuda")])
def test_lesson_06(memory, monkeypatch, free, device):
    names = run(monkeypatch, free, "06", "cell-59", ModelConfig=ModelConfig, v01=V01)
    assert names["device"] == device
    assert memory.now == 0 and memory.peak <= (free - 1) * GIB


@pytest.mark.parametrize(
    ("free", "layers"),
    [rare(3, 0), (3.1, 1), rare(4, 3)],
)
def test_lesson_07(memory, monkeypatch, free, layers):
    names = run(monkeypatch, free, "07", "cell-61", "prefill-7b", v01=V01)
    assert names["n_fit"] == layers and names["big"].device.type == ("cuda" if layers else "meta")
    names["n_tokens"] = 16384 if layers else 4096
    names["long_prompt"] = names["long_prompt"][:, : names["n_tokens"]]
    names["prefill_7b"](8192)
    assert memory.peak <= (free - 1) * GIB


@pytest.mark.parametrize(("free", "layers"), [(3, 3), rare(7, 12), rare(23, 32)])
def test_lesson_08(memory, monkeypatch, free, layers):
    names = run(monkeypatch, free, "08", "cell-57", "read-and-write", v01=V01, time=time)
    assert names["n_layers"] == layers and names["model_7b"].device.type == "cuda"
    times, cache, logits = names["read_and_write"](1)
    assert times == sorted(times) and cache.seen.tolist() == [513] and logits.is_cuda
    assert memory.peak <= (free - 1) * GIB


@pytest.mark.parametrize(("free", "device"), [(1.9, "cpu"), (2.1, "cuda")])
def test_lesson_12(memory, monkeypatch, free, device):
    names = run(monkeypatch, free, "12", "size-real", ModelConfig=ModelConfig, mp=mp)
    weights = [weight for weight, _, _ in names["pairs"]]
    assert len(weights) == (7 if device == "cuda" else 1) and weights[0].device.type == device
    names["inputs"] = {n: torch.zeros(256, n, **names["how"]) for n in (4096, 14336)}
    assert names["seconds"](lambda *given: mp.lora(*given, 1.0)) >= 0
    assert memory.peak <= (free - 1) * GIB
