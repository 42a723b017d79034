"""Which files a checkpoint has, and what reading and writing them have in common."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMATS = ("mistral", "hf")
DTYPES = ("float16", "bfloat16", "float32", "float64")
CONFIG_FILE = {"mistral": "params.json", "hf": "config.json"}
WEIGHT_FILES = {  # transformers, too, prefers one file to an index
    "mistral": ("consolidated.safetensors", "consolidated.00.pth"),
    "hf": ("model.safetensors", "model.safetensors.index.json"),
}
OTHER_FILES = {"mistral": "consolidated.*.pth", "hf": "model-?????-of-?????.safetensors"}


def as_folder(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be a folder's path, not {path!r}")
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"path must be a folder, not the file {folder}")
    return folder


def require_format(format: Any) -> None:
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")


def json_object(text: bytes, file: Path) -> dict[str, Any]:
    def once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for key, value in pairs:
            if key in found:  # json would keep the last and say nothing
                raise ValueError(f"it holds {key!r} twice")
            found[key] = value
        return found

    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=once)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not proper JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file} must hold a JSON object, not {type(values).__name__}")
    return values


def progress_bar(items: Iterable, shown: bool, unit: str) -> Iterable:
    """`items`, with a bar that moves as they are taken if `shown`."""
    if not shown:
        return items
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    return tqdm(items, unit=f" {unit}")
