"""The results as a table, and the machine they were measured on."""

import importlib.metadata
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import Any

COLUMNS = ("config", "what", "engine", "ms", "spread", "per s", "x peer", "of limit", "note")


def environment(device: str, threads: int) -> dict[str, Any]:
    """The machine, and the versions of what runs on it."""
    import torch

    versions = {
        name: importlib.metadata.version(name) for name in ("numpy", "torch", "transformers")
    }
    machine = {"cpu": cpu_name(), "threads": threads, "system": platform.system()}
    if device == "cuda":
        card = torch.cuda.get_device_properties()
        machine |= {"gpu": card.name, "gpu_bytes": card.total_memory, "cuda": torch.version.cuda}
    return {
        "device": device,
        "machine": machine,
        "versions": {"python": platform.python_version(), **versions},
    }


def cpu_name() -> str:
    """The processor's name, and the vector instructions that torch uses on it."""
    import torch

    name = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name} ({torch.backends.cpu.get_cpu_capability()})"


def table(rows: Sequence[dict[str, Any]]) -> str:
    """The rows as text, one line per row under a line of column names.

    >>> print(table([{"config": "small", "what": "decode", "engine": "np", "median": 0.002,
    ...               "low": 0.0019, "high": 0.0022, "peer": 2.5, "limit": 0.61}]))
    config  what    engine    ms     spread  per s  x peer  of limit  note
    small   decode  np      2.00  1.90-2.20  500.0    2.50      61 %
    """
    lines = [COLUMNS, *(_cells(row) for row in rows)]
    widths = [max(len(line[n]) for line in lines) for n in range(len(COLUMNS))]
    left = {"config", "what", "engine", "note"}
    return "\n".join(
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, cell, width in zip(COLUMNS, line, widths, strict=True)
        ).rstrip()
        for line in lines
    )


def _cells(row: dict[str, Any]) -> tuple[str, ...]:
    def number(key: str, form: str) -> str:
        return format(row[key], form) if key in row else ""

    timed = "median" in row
    milliseconds = f"{1e3 * row['median']:.2f}" if timed else ""
    spread = f"{1e3 * row['low']:.2f}-{1e3 * row['high']:.2f}" if timed else ""
    tokens = row.get("tokens", 1)
    rate = f"{tokens / row['median']:.1f}" if timed else ""
    limit = f"{100 * row['limit']:.0f} %" if "limit" in row else ""
    return (
        row["config"], row["what"], row["engine"], milliseconds, spread, rate,
        number("peer", ".2f"), limit, row.get("note", ""),
    )  # fmt: skip
