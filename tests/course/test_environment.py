"""The self-check of lesson 00, and what the lessons take from a GPU: also where there is none."""

from dataclasses import replace
from importlib import metadata

import pytest
import torch
from effort import rare
from memory import Memory
from packaging.requirements import Requirement

from minimistral import ModelConfig
from minimistral import pt as mp
from minimistral.course import environment
from minimistral.pt import attention

V01 = ModelConfig.mistral_7b()


def test_this_machine_can_run_the_course():
    findings = environment.report()
    assert all(finding.ok is not False for finding in findings), [str(f) for f in findings]
    names = [finding.name for finding in findings]
    assert names[0] == "Python" and names[-2:] == ["tokenizer v1", "GPU"]
    assert {"numpy", "torch", "jupyterlab", "anywidget"} <= set(names)


def test_a_missing_or_old_package_says_how_to_fix_it():
    missing = environment.package(Requirement("no-such-package>=1"))
    assert str(missing) == (
        '✗ no-such-package: not installed\n  To fix it: python -m pip install "no-such-package>=1"'
    )
    old = environment.package(Requirement("numpy>=99"))
    assert old.ok is False and metadata.version("numpy") in old.result and ">=99" in old.result


def test_a_version_before_its_release_counts(monkeypatch):
    monkeypatch.setattr(metadata, "version", lambda name: "2.1.0rc1")
    assert environment.package(Requirement("numpy>=2,<3")).ok is True
    assert environment.package(Requirement("numpy>=2.1")).ok is False


def test_what_can_be_done_without_is_not_an_error(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.report()[-1].ok is None


def gpu(monkeypatch, free, capability=(9, 0)):
    """A machine whose GPU has that many GiB free."""
    for name, value in {
        "is_available": True, "get_device_capability": capability, "get_device_name": "a GPU",
        "mem_get_info": (int(free * 2**30), 80 * 2**30),
    }.items():  # fmt: skip
        monkeypatch.setattr(torch.cuda, name, lambda value=value: value)


def test_the_free_memory_of_a_gpu_leaves_some_to_cuda(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert environment.free_gpu_bytes() == 0
    for free, rest in {0.5: 0, 1: 0, 7.5: 6.5, 79: 78}.items():
        gpu(monkeypatch, free)
        assert environment.free_gpu_bytes() == rest * 2**30
    assert str(environment.report()[-1]) == "✓ GPU: a GPU, 79 of 80 GiB free"


def test_a_gpu_without_bfloat16_is_not_used(monkeypatch):
    gpu(monkeypatch, 15, capability=(7, 5))
    assert environment.free_gpu_bytes() == 0 and environment.layers_that_fit(V01, 512) == 0
    finding = environment.report()[-1]
    assert finding.ok is None and "too old for bfloat16" in finding.result


def test_what_torch_holds_without_using_it_counts_as_free(monkeypatch):
    gpu(monkeypatch, 2)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: gpu(monkeypatch, 5))
    assert environment.free_gpu_bytes() == 4 * 2**30


@pytest.mark.parametrize("chunk", [1, 512, 8192])
def test_as_many_layers_as_fit_and_not_one_more(monkeypatch, chunk):
    for n_layers in (1, 2, 31, 32):
        need = environment.bytes_to_read(replace(V01, n_layers=n_layers), chunk)
        gpu(monkeypatch, need / 2**30 + 1)
        assert environment.layers_that_fit(V01, chunk) == n_layers
        gpu(monkeypatch, (need - 1) / 2**30 + 1)
        assert environment.layers_that_fit(V01, chunk) == n_layers - 1
    gpu(monkeypatch, 1000)
    assert environment.layers_that_fit(V01, chunk) == 32


@pytest.mark.parametrize(("free", "layers"), [(7, 9), (15, 28), (23, 32)])
def test_gpus_of_8_16_and_24_gb_get_a_part_of_the_model(monkeypatch, free, layers):
    gpu(monkeypatch, free)
    assert environment.layers_that_fit(V01, 8192) == layers


@pytest.mark.parametrize(
    ("chunk", "n_layers"),
    [(8192, 1), (8192, 3), (1024, 1), (512, 3),
     rare(1024, 3), rare(512, 1), rare(64, 1), rare(64, 3)],
)  # fmt: skip
def test_the_bytes_to_read_are_enough_and_not_many_too_many(monkeypatch, n_layers, chunk):
    """The real shapes on meta; attention by a kernel that stores no scores, as on a GPU."""

    def kernel(q, k, v, mask):
        return torch.empty_like(q)

    monkeypatch.setattr(attention, "scaled_dot_product_attention", kernel)
    monkeypatch.setattr(attention, "GROUPED", ("meta",))
    config = replace(V01, n_layers=n_layers)
    with Memory("meta") as memory:
        model = mp.Mistral(config, dtype="bfloat16", device="meta")
        cache = model.new_cache(batch_size=1)
        memory.peak = memory.now  # the layers were made on meta, wherever the weights go
        for _ in range(4097 // chunk + 2):  # the last one meets a full cache
            tokens = torch.zeros(1, chunk, dtype=torch.long, device="cpu")
            model(tokens, cache, last_only=True)
    need = environment.bytes_to_read(config, chunk)
    assert memory.peak <= need < 1.1 * memory.peak


def test_a_tokenizer_that_does_not_open_is_reported(monkeypatch):
    from minimistral import tokenizer

    def broken(_version):
        raise OSError("truncated file")

    monkeypatch.setattr(tokenizer, "load", broken)
    finding = environment.report()[-2]
    assert finding.ok is False and "truncated file" in str(finding) and "To fix it" in str(finding)
