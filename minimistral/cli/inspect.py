"""`minimistral inspect`: what a checkpoint contains and whether it fits. No weight is read."""

import argparse
import json
import math
import re
from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from minimistral import tiny
from minimistral.checkpoint import CONFIG_FILE, Checkpoint, open_checkpoint
from minimistral.cli import engine, named, plain
from minimistral.config import bytes_per_value

DTYPES = ("float32", "bfloat16", "int8")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """MODEL and the form of the output."""
    parser.add_argument(
        "model",
        nargs="?",
        metavar="MODEL",
        default=tiny.FOLDER,
        help="folder of a checkpoint; the shipped tiny model if not given",
    )
    engine.add_format(parser)
    parser.add_argument("--all", action="store_true", help="list every tensor separately")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(args: argparse.Namespace) -> int:
    """Print the facts about a checkpoint."""
    facts = inspect(args.model, args.format)
    as_json = args.json
    print(json.dumps(facts, indent=2, default=str) if as_json else plain(as_text(facts, args.all)))
    return 0


def inspect(path: Any, format: str | None = None) -> dict[str, Any]:
    """Config, version, tensors, bytes, tokenizer, and what fits in the memory of this machine."""
    checkpoint, folder = open_checkpoint(path, format), Path(path)
    config = checkpoint.config
    tensors = [
        {
            "name": name,
            "shape": list(stored.shape),
            "dtype": stored.dtype,
            "bytes": math.prod(stored.shape) * bytes_per_value(stored.dtype),
            "file": stored.file.name,
        }
        for name, stored in checkpoint.tensors.items()
    ]
    contexts = sorted({1024, 4096, 8192, 32768, config.context_len})
    weights_bytes = {dtype: config.n_params * bytes_per_value(dtype) for dtype in DTYPES}
    cache_bytes = {n: config.cache_bytes(n, "bfloat16") for n in contexts}
    needed = {dtype: n + cache_bytes[config.context_len] for dtype, n in weights_bytes.items()}
    return {
        "folder": str(folder),
        "format": checkpoint.format,
        "version": checkpoint.version,
        "config": asdict(config),
        "notes": _notes(checkpoint, folder),
        "parameters": config.n_params,
        "tensors": tensors,
        "bytes": sum(tensor["bytes"] for tensor in tensors),
        "files": sorted({tensor["file"] for tensor in tensors}),
        "tokenizer": _tokenizer(folder, config.vocab_size),
        "weights_bytes": weights_bytes,
        "cache_bytes_bfloat16": cache_bytes,
        "memory": [
            {
                "where": where,
                "free": free,
                "fits": {dtype: n_bytes <= free for dtype, n_bytes in needed.items()},
            }
            for where, free in _memory()
        ],
    }


def _notes(checkpoint: Checkpoint, folder: Path) -> list[str]:
    """What a reader of the config should know: those of `engine.notes`, and a default theta."""
    lines = engine.notes(checkpoint, folder)
    settings = json.loads((folder / CONFIG_FILE[checkpoint.format]).read_text(encoding="utf-8"))
    ropes = [settings, settings.get("rope_parameters") or {}, settings.get("rope_scaling") or {}]
    if all(rope.get("rope_theta") is None for rope in ropes):
        theta = f"{checkpoint.config.rope_theta:g}"
        lines.append(f"{CONFIG_FILE[checkpoint.format]} has no rope_theta; {theta} is assumed")
    return lines


def _tokenizer(folder: Path, vocab_size: int) -> dict[str, Any]:
    from minimistral.tokenizer import load as load_tokenizer

    try:
        tokenizer = load_tokenizer(folder)
    except (OSError, ValueError) as error:
        return {"file": None, "error": str(error)}
    return engine.tokenizer_facts(tokenizer, vocab_size)


def _memory() -> list[tuple[str, int]]:
    """The memory of this machine and of each GPU, and their free bytes."""
    import torch

    gpus = range(torch.cuda.device_count())
    return [
        ("memory", engine.free_memory()),
        *((torch.cuda.get_device_name(n), torch.cuda.mem_get_info(n)[0]) for n in gpus),
    ]


def as_text(facts: dict[str, Any], all_tensors: bool) -> str:
    """The facts as lines."""
    version = facts["version"]
    lines = [
        named(facts["folder"]),
        f"  format      {facts['format']}, {len(facts['files'])} file(s)",
        f"  version     {f'Mistral 7B {version}' if version else 'none of the published ones'}",
        f"  parameters  {facts['parameters']:,}",
        f"  bytes       {_size(facts['bytes'])}",
        f"  tokenizer   {_tokenizer_text(facts['tokenizer'], facts['config']['vocab_size'])}",
        f"  template    {facts['tokenizer'].get('template', 'none')}",
        *(f"  note        {note}" for note in facts["notes"]),
        "",
        "config",
        *(f"  {name:12} {_value(value):>12}" for name, value in facts["config"].items()),
        "",
        "tensors",
        *_table(facts["tensors"] if all_tensors else folded(facts["tensors"])),
        "",
        "memory needed",
        *(f"  weights in {dtype:9} {_size(n)}" for dtype, n in facts["weights_bytes"].items()),
        *(
            f"  cache at {n:>6,} tokens, bfloat16: {_size(size)}"
            for n, size in facts["cache_bytes_bfloat16"].items()
        ),
        "",
        f"does it fit, with a cache of {facts['config']['context_len']:,} tokens?",
    ]
    for memory in facts["memory"]:
        fits = ", ".join(f"{d}: {'yes' if ok else 'no'}" for d, ok in memory["fits"].items())
        lines.append(f"  {memory['where']}, {_size(memory['free'])} free: {fits}")
    if not (facts["memory"][0]["fits"]["float32"] or facts["files"][0].endswith(".pth")):
        lines.append("  if not: --backend np --mmap reads the weights from disk as needed")
    return "\n".join(lines)


def folded(tensors: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """One row for a tensor that all layers have.

    >>> layer = {"shape": [2], "dtype": "float32", "bytes": 8}
    >>> folded([{"name": f"layers.{n}.w", **layer} for n in (0, 1)])
    [{'name': 'layers.0-1.w', 'shape': [2], 'dtype': 'float32', 'bytes': 16, 'count': 2}]
    """
    rows: dict[tuple, list[dict[str, Any]]] = {}
    for tensor in tensors:
        kind = re.sub(r"^layers\.\d+\.", "layers.*.", tensor["name"])
        rows.setdefault((kind, tensor["dtype"], *tensor["shape"]), []).append(tensor)
    folded_rows = []
    for (kind, *_), same in rows.items():
        layers = [int(t["name"].split(".")[1]) for t in same] if "*" in kind else []
        name = kind.replace("*", _range(layers)) if layers else kind
        total = sum(tensor["bytes"] for tensor in same)
        folded_rows.append({**same[0], "name": name, "bytes": total, "count": len(same)})
    return folded_rows


def _range(numbers: list[int]) -> str:
    """Numbers of layers as a range, or one by one when some are missing.

    >>> _range([0, 1, 2]), _range([0, 2])
    ('0-2', '0,2')
    """
    numbers = sorted(numbers)
    complete = numbers == list(range(numbers[0], numbers[-1] + 1))
    if complete and len(numbers) > 1:
        return f"{numbers[0]}-{numbers[-1]}"
    return ",".join(map(str, numbers))


def _table(rows: Iterable[dict[str, Any]]) -> list[str]:
    lines = []
    for row in rows:
        shape = " × ".join(f"{n:,}" for n in row["shape"])
        count = f"{row['count']} of " if row.get("count", 1) > 1 else ""
        lines.append(
            f"  {row['name']:36} {count + shape:>21}  {row['dtype']:8} {row['bytes']:>14,} bytes"
        )
    return lines


def _tokenizer_text(tokenizer: dict[str, Any], vocab_size: int) -> str:
    if tokenizer["file"] is None:
        return f"none: {tokenizer['error']}"
    return engine.tokenizer_text(tokenizer, vocab_size)


def _value(value: Any) -> str:
    if value is None:
        return "none"
    return f"{value:,.10g}" if isinstance(value, float) else f"{value:,}"


def _size(n_bytes: int) -> str:
    """Bytes, also in a unit that is easy to read.

    >>> _size(14_483_464_192)
    '13.49 GiB (14,483,464,192 bytes)'
    """
    for unit, size in (("GiB", 2**30), ("MiB", 2**20), ("KiB", 2**10)):
        if n_bytes >= size:
            return f"{n_bytes / size:.2f} {unit} ({n_bytes:,} bytes)"
    return f"{n_bytes} bytes"
