"""Which files a checkpoint has, and what reading and writing them have in common."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

FORMATS = ("mistral", "hf")
DTYPES = ("float16", "bfloat16", "float32", "float64")
CONFIG_FILE = {"mistral": "params.json", "hf": "config.json"}
WEIGHT_FILES = {  # like transformers, one file is preferred to an index
    "mistral": ("consolidated.safetensors", "consolidated.00.pth"),
    "hf": ("model.safetensors", "model.safetensors.index.json"),
}
OTHER_FILES = {"mistral": "consolidated.*.pth", "hf": "model-?????-of-?????.safetensors"}


def as_folder(path: Any) -> Path:
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be the path of a folder, not {path!r}")
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        raise ValueError(f"path must be a folder, not the file {folder}")
    return folder


def require_format(format: Any) -> None:
    if format not in FORMATS:
        raise ValueError(f"format must be one of {', '.join(FORMATS)}, not {format!r}")


def json_object(text: bytes, file: Path) -> dict[str, Any]:
    """The JSON object in the text of a file. Raises ValueError, naming the file."""

    def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for key, value in pairs:
            if key in values:  # json would silently keep the last one
                raise ValueError(f"it has the key {key!r} twice")
            values[key] = value
        return values

    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file} must hold a JSON object, not {type(values).__name__}")
    return values


def progress_bar(items: Iterable, shown: bool, unit: str) -> Iterable:
    """`items`, with a progress bar if `shown`."""
    if not shown:
        return items
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    return tqdm(items, unit=f" {unit}")
