"""Says whether this machine can run the course, and how to fix what is missing."""

import sys
from dataclasses import dataclass
from importlib import metadata

from packaging.requirements import Requirement


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
    free, total = torch.cuda.mem_get_info()
    memory = f"{free / 2**30:.0f} of {total / 2**30:.0f} GiB free"
    return Finding("GPU", True, f"{torch.cuda.get_device_name()}, {memory}")
