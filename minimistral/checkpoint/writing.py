"""Writing a checkpoint: old files are replaced only once all new ones are complete."""

import json
import math
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from minimistral._arguments import require_count
from minimistral.checkpoint.configs import config_text
from minimistral.checkpoint.files import (
    CONFIG_FILE,
    PTH_PARTS,
    WEIGHT_FILES,
    as_folder,
    is_plain_name,
    json_object,
    progress_bar,
    require_format,
)
from minimistral.checkpoint.names import hf_name
from minimistral.config import ModelConfig, bytes_per_value


def plan_shards(sizes: dict[str, int], max_shard_bytes: int) -> list[list[str]]:
    """Which tensors go into which shard: in order, each shard as full as possible.

    sizes: bytes by name. A tensor larger than max_shard_bytes gets a shard of its own.

    >>> plan_shards({"a": 3, "b": 4, "c": 2, "d": 9}, max_shard_bytes=7)
    [['a', 'b'], ['c'], ['d']]
    """
    shards: list[list[str]] = []
    room = 0
    for name, size in sizes.items():
        if not shards or size > room:
            shards.append([])
            room = max_shard_bytes
        shards[-1].append(name)
        room -= size
    return shards


def write_checkpoint(
    path: str | os.PathLike,
    config: ModelConfig,
    format: str,
    dtype: str,
    write_file: Callable[[Path, dict[str, str]], None],
    *,
    max_shard_bytes: int,
    overwrite: bool,
    progress: bool,
) -> None:
    """Write the files of a checkpoint; `write_file` writes the numbers themselves.

    write_file(file, names) writes one safetensors file; names: name in the file -> Mistral's.
    Old files are replaced only once all new ones are complete. Raises the errors of `save`.
    """
    folder = as_folder(path)
    require_format(format)
    require_count("max_shard_bytes", max_shard_bytes)
    shards, index = _layout(config, format, dtype, max_shard_bytes)
    in_the_way = (folder / name for name in shards if os.path.lexists(folder / name))
    old = list(dict.fromkeys([*_files_of(folder, format), *in_the_way]))
    if old and not overwrite:
        raise ValueError(f"{old[0]} already exists; overwrite=True replaces the checkpoint")

    def make_files(made: Path) -> None:
        for file_name, names in progress_bar(shards.items(), progress, "files"):
            write_file(made / file_name, names)
        if index is not None:
            (made / WEIGHT_FILES["hf"][1]).write_text(index, encoding="utf-8")
        text = config_text(config, format, dtype)
        (made / CONFIG_FILE[format]).write_text(text, encoding="utf-8")

    replace_files(folder, old, make_files)


def replace_files(folder: Path, old: list[Path], make_files: Callable[[Path], None]) -> None:
    """Put new files in the place of old ones, the config first, once all new ones are complete.

    make_files(temporary folder) makes the new ones.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".saving-", dir=folder) as temporary:
        made = Path(temporary)
        make_files(made)
        _swap(folder, old, sorted(made.iterdir()), made)


def _swap(folder: Path, old: list[Path], new: list[Path], temporary: Path) -> None:
    """Move all old files aside, the config first; then move the new ones into their place.

    So a mixture of old and new files never looks like a checkpoint, even if the process is killed
    half way; what was there before is then in temporary / "old", as a checkpoint of its own where
    the file system has hard links. After an error or Ctrl-C the old files are moved back.
    """
    whole, aside = temporary / "old", temporary / "aside"
    if _link(old, whole):
        aside.mkdir()
    else:
        aside = whole
    moves = [(file, aside / file.name) for file in old]
    moves += [(file, folder / file.name) for file in new]
    try:
        for source, target in moves:
            os.replace(source, target)
    except BaseException:
        for source, target in reversed(moves):
            if not source.exists():  # it was moved
                os.replace(target, source)
        raise


def _link(files: list[Path], folder: Path) -> bool:
    """Make a folder of second names for files, which takes no space; False where there are none."""
    folder.mkdir()
    try:
        for file in files:
            os.link(os.path.realpath(file), folder / file.name)
    except OSError:  # as on FAT, or when a file is a link to another disk
        for made in folder.iterdir():
            made.unlink()
        return False
    return True


def _files_of(folder: Path, format: str) -> list[Path]:
    """The files in a folder that belong to a checkpoint of this format, the config first.

    Of Hugging Face's shards, those that the index names: other files may be somebody's own.
    """
    names = (CONFIG_FILE[format], *WEIGHT_FILES[format])
    files = [folder / name for name in names if os.path.lexists(folder / name)]
    if format == "mistral":
        return list(dict.fromkeys([*files, *sorted(folder.glob(PTH_PARTS))]))
    return [*files, *_shards_of(folder)]


def _shards_of(folder: Path) -> list[Path]:
    """The shards that the index in a folder names; none if it is not there or cannot be read."""
    index = folder / WEIGHT_FILES["hf"][1]
    try:
        weight_map = json_object(index.read_bytes(), index).get("weight_map")
    except (OSError, ValueError):
        return []
    entries = weight_map.values() if isinstance(weight_map, dict) else ()
    names = {entry for entry in entries if is_plain_name(entry) and entry.endswith(".safetensors")}
    single = WEIGHT_FILES["hf"][0]
    return [folder / name for name in sorted(names - {single}) if (folder / name).is_file()]


def _layout(
    config: ModelConfig, format: str, dtype: str, max_shard_bytes: int
) -> tuple[dict[str, dict[str, str]], str | None]:
    """{file: {name in the file: Mistral's name}}, and the text of the index or None."""
    shapes = config.weight_shapes()
    single = WEIGHT_FILES[format][0]
    if format == "mistral":
        return {single: {name: name for name in shapes}}, None
    ours = {hf_name(name): name for name in shapes}
    sizes = {name: math.prod(shapes[ours[name]]) * bytes_per_value(dtype) for name in ours}
    shards = plan_shards(sizes, max_shard_bytes)
    if len(shards) == 1:
        return {single: ours}, None
    n = len(shards)
    files = {f"model-{i:05d}-of-{n:05d}.safetensors": names for i, names in enumerate(shards, 1)}
    weight_map = {name: file for file, names in files.items() for name in names}
    index = {"metadata": {"total_size": sum(sizes.values())}, "weight_map": weight_map}
    layout = {file: {name: ours[name] for name in names} for file, names in files.items()}
    return layout, json.dumps(index, indent=2) + "\n"
