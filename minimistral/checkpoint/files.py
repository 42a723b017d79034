"""Which files a checkpoint has, and what reading and writing them have in common."""

import json
import os
from collections.abc import Iterable
from pathlib import Path, PureWindowsPath
from typing import Any

from minimistral._arguments import require_content

FORMATS = ("mistral", "hf")
DTYPES = ("float16", "bfloat16", "float32", "float64")
CONFIG_FILE = {"mistral": "params.json", "hf": "config.json"}
WEIGHT_FILES = {  # like transformers, one file is preferred to an index
    "mistral": ("consolidated.safetensors", "consolidated.00.pth"),
    "hf": ("model.safetensors", "model.safetensors.index.json"),
}
ADAPTER_FILES = ("adapter_config.json", "adapter_model.safetensors")  # PEFT's
PTH_PARTS = "consolidated.[0-9][0-9].pth"  # of a model that was split over GPUs


def as_folder(path: Any, name: str = "path") -> Path:
    """The path of a folder, which may be missing. Raises when it is empty or that of a file.

    name: of the argument, for the error.
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"{name} must be the path of a folder, not {path!r}")
    if not os.fspath(path):
        raise ValueError(f"{name} must name a folder, but is empty; the current folder is '.'")
    folder = Path(path)
    if folder.exists() and not folder.is_dir():
        files = (
            *ADAPTER_FILES,
            *CONFIG_FILE.values(),
            *(file for files in WEIGHT_FILES.values() for file in files),
        )
        is_part = folder.name in files or folder.suffix in (".safetensors", ".pth", ".bin")
        hint = f"; give the folder that it is in, {folder.parent}" * is_part
        raise ValueError(f"{name} must be a folder, not the file {folder}{hint}")
    return folder


def as_json(value: Any) -> str:
    """A value as JSON spells it, cut off when it is long.

    >>> as_json(None), as_json([True, "a"]), as_json("a" * 200)[-4:]
    ('null', '[true, "a"]', 'aa …')
    """
    text = json.dumps(value, ensure_ascii=True)
    return text if len(text) <= 120 else f"{text[:120]} …"


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

    require_content(text, file)
    try:
        values = json.loads(text.decode("utf-8"), object_pairs_hook=unique)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{file} is not valid JSON: {error}") from None
    if not isinstance(values, dict):
        raise ValueError(f"{file} must hold a JSON object, not {as_json(values)}")
    return values


def is_plain_name(entry: Any) -> bool:
    """Whether a shard's name is that of a file in the same folder. An index is not to be trusted.

    >>> [is_plain_name(name) for name in ("a", "../a", "/a", "C:a", "b\\\\a", "..")]
    [True, False, False, False, False, False]
    """
    return (
        isinstance(entry, str) and PureWindowsPath(entry).name == entry and entry not in ("", "..")
    )


def progress_bar(items: Iterable, shown: bool, unit: str) -> Iterable:
    """`items`, with a progress bar if `shown`."""
    if not shown:
        return items
    from tqdm.auto import tqdm  # type: ignore[import-untyped]

    return tqdm(items, unit=f" {unit}")
