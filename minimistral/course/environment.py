"""Says whether this machine can run the course, how to fix it, and what fits on its GPU."""

import sys
from dataclasses import dataclass, replace
from importlib import metadata

from packaging.requirements import Requirement

from minimistral.config import ModelConfig

CUDA_ITSELF = 2**30  # bytes left to CUDA: it loads kernels and libraries when they are first used
OLDEST = (8, 0)  # compute capability from which on a GPU computes in bfloat16


@dataclass(frozen=True)
class Finding:
    """One line of the report. ok: True works, False must be fixed, None is optional."""

    name: str
    ok: bool | None
    result: str
    fix: str = ""

    def __str__(self) -> str:
        mark = {True: "✓", False: "✗", None: "–"}[self.ok]
        fix = "" if self.ok or not self.fix else f"\n  To fix it: {self.fix}"
        return f"{mark} {self.name}: {self.result}{fix}"


def report() -> list[Finding]:
    """Look at Python, the packages that the course needs, the tokenizer and the GPU."""
    needs = [Requirement(line) for line in metadata.requires("minimistral") or []]
    packages = [package(need) for need in needs if need.marker is None]
    return [_python(), *packages, _tokenizer(), _gpu()]


def package(need: Requirement) -> Finding:
    """Whether one package is installed in a version that `need` allows.

    >>> package(Requirement("no-such-package>=1")).result
    'not installed'
    """
    fix = f'python -m pip install "{need}"'
    try:
        version = metadata.version(need.name)
    except metadata.PackageNotFoundError:
        return Finding(need.name, False, "not installed", fix)
    if need.specifier.contains(version, prereleases=True):
        return Finding(need.name, True, version)
    return Finding(need.name, False, f"{version}, but {need.specifier} is needed", fix)


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    needed = metadata.metadata("minimistral")["Requires-Python"]
    fix = f"run `make lab` with a Python {needed}: make lab PYTHON=python3.12"
    return Finding("Python", Requirement(f"python{needed}").specifier.contains(version),
                   version, fix)  # fmt: skip


def _tokenizer() -> Finding:
    fix = "python -m pip install --force-reinstall mistral-common"
    try:
        from minimistral import tokenizer

        works = tokenizer.load("v1").decode([22557, 28725]) == "Hello,"
    except Exception as error:
        return Finding("tokenizer v1", False, f"{type(error).__name__}: {error}", fix)
    return Finding("tokenizer v1", works, "opens offline" if works else "reads wrongly", fix)


def _gpu() -> Finding:
    import torch

    if not torch.cuda.is_available():
        return Finding("GPU", None, "none; lessons then use smaller sizes, and say so")
    name = torch.cuda.get_device_name()
    if torch.cuda.get_device_capability() < OLDEST:
        return Finding("GPU", None, f"{name}, too old for bfloat16; lessons do without it")
    free, total = torch.cuda.mem_get_info()
    memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    return Finding("GPU", True, f"{name}, {memory}")


def free_gpu_bytes() -> int:
    """Bytes that a lesson may take on the GPU: those that are free, less 1 GiB for CUDA itself.

    0 without a GPU that computes in bfloat16, that is, with CUDA and compute capability 8.0 (2020).
    """
    import torch

    if not torch.cuda.is_available() or torch.cuda.get_device_capability() < OLDEST:
        return 0
    torch.cuda.empty_cache()  # what torch keeps for later use is free too
    return max(0, torch.cuda.mem_get_info()[0] - CUDA_ITSELF)


def layers_that_fit(config: ModelConfig, chunk: int) -> int:
    """How many layers of a model fit on the GPU while it reads a text in chunks; 0 without one.

    chunk: tokens in a chunk. Weights and cache are in bfloat16.
    """
    free = free_gpu_bytes()
    counts = range(config.n_layers, 0, -1)
    fitting = (n for n in counts if bytes_to_read(replace(config, n_layers=n), chunk) <= free)
    return next(fitting, 0)


def bytes_to_read(config: ModelConfig, chunk: int) -> int:
    """Memory that a model needs, at most, to read a text in chunks of `chunk` tokens in bfloat16.

    Mistral 7B, 8,192 tokens at a time, in GiB:

    >>> round(bytes_to_read(ModelConfig.mistral_7b(), 8192) / 2**30, 1)
    15.6
    """
    one = replace(config, n_layers=1)
    weights, cache = 2 * config.n_params, config.cache_bytes(config.context_len)
    waiting = config.cache_bytes(chunk)  # keys and values go into the cache after the last layer
    beside = one.cache_bytes(config.context_len) + chunk * one.cache_bytes(1)  # cache and chunk
    # The feed-forward network holds three arrays of its width, the rest of a layer less than two.
    return weights + cache + waiting + beside + 5 * 2 * chunk * config.hidden_dim
