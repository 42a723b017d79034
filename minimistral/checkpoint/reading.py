"""Opening a checkpoint: everything about it is checked before a weight is read."""

import os
from dataclasses import dataclass, field, replace
from pathlib import Path, PureWindowsPath
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from minimistral.checkpoint.configs import read_config
from minimistral.checkpoint.files import (
    CONFIG_FILE,
    DTYPES,
    FORMATS,
    WEIGHT_FILES,
    as_folder,
    json_object,
    require_format,
)
from minimistral.checkpoint.names import IGNORED, hf_name, rotated_heads
from minimistral.config import ModelConfig, version_of


@dataclass(frozen=True)
class Stored:
    """Where one weight lies. heads: of Wq and Wk whose rows are in Hugging Face's order."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0  # bytes from the beginning of the file
    heads: int = 0


@dataclass(frozen=True)
class Checkpoint:
    """An open checkpoint. tensors: Mistral's own name -> Stored. Weights are read by `read`."""

    config: ModelConfig
    format: str
    tensors: dict[str, Stored] = field(repr=False)
    pickled: dict[str, Any] | None = field(default=None, repr=False)  # torch tensors of a .pth

    @property
    def version(self) -> str | None:
        """Which published Mistral 7B it has the sizes of: "v0.1", "v0.2", "v0.3" or None."""
        return version_of(self.config)

    @property
    def dtype(self) -> str:
        """The narrowest dtype that holds every weight exactly."""
        found = {stored.dtype for stored in self.tensors.values()}
        if len(found) == 1:
            return found.pop()
        return "float64" if "float64" in found else "float32"

    def read(self, name: str) -> np.ndarray:
        """One weight as it is stored, mapped from its file: only what is touched is read.

        bfloat16, which NumPy lacks, comes as its bits in uint16. Writing to the array leaves
        the file as it is. It is let go with the array.
        """
        stored = self.tensors[name]
        if self.pickled is not None:
            return _bits(self.pickled[name])
        dtype = np.dtype("uint16" if stored.dtype == "bfloat16" else stored.dtype)
        little = dtype.newbyteorder("<")
        # "c": torch takes no array that may not be written to.
        mapped = np.memmap(stored.file, little, "c", stored.offset, stored.shape)
        # A header of odd length is allowed, but torch wants numbers to start at whole multiples.
        return np.asarray(mapped) if mapped.flags.aligned else np.array(mapped)


def open_checkpoint(path: str | os.PathLike, format: str | None = None) -> Checkpoint:
    """Look at a checkpoint and check all of it, but read no weight yet.

    path: the folder. format: "mistral" or "hf"; if None, whichever is there, "mistral" first,
    since its rows need no permutation. Raises FileNotFoundError when there is no checkpoint
    or a shard is missing; ValueError or TypeError, naming the file and the key or the tensor,
    when something in it is wrong.
    """
    folder = as_folder(path)
    format, weights = _find(folder, format)
    config_file = folder / CONFIG_FILE[format]
    config = read_config(config_file, format)
    if weights.suffix == ".pth":
        tensors = _unpickle(weights)
        found = {name: _stored_in_pth(weights, tensor) for name, tensor in tensors.items()}
        return Checkpoint(config, format, _required(config, format, found, weights), tensors)
    found = _indexed(weights) if weights.suffix == ".json" else _header(weights)
    return Checkpoint(config, format, _required(config, format, found, weights))


def _find(folder: Path, format: str | None) -> tuple[str, Path]:
    """The format, and the file to begin with: weights, or the index of the shards."""
    if format is not None:
        require_format(format)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    looked_for = []
    for candidate in FORMATS if format is None else [format]:
        files = [folder / name for name in WEIGHT_FILES[candidate]]
        weights = next((file for file in files if file.is_file()), None)
        if weights is not None and (folder / CONFIG_FILE[candidate]).is_file():
            return candidate, weights
        looked_for.append(f"{CONFIG_FILE[candidate]} with {' or '.join(WEIGHT_FILES[candidate])}")
    raise FileNotFoundError(f"{folder} holds no checkpoint: no {', nor '.join(looked_for)}")


def _header(file: Path) -> dict[str, Stored]:
    """Where the tensors of one safetensors file lie, by the names in the file.

    The library checks the file, but it cannot give bfloat16 to NumPy. So the offsets are
    read here: 8 bytes length, then a JSON object, then the numbers.
    """
    try:
        with safe_open(file, framework="np"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{file} is not a whole safetensors file: {error}") from None
    with open(file, "rb") as stream:
        length = int.from_bytes(stream.read(8), "little")
        header = json_object(stream.read(length), file)
    header.pop("__metadata__", None)
    names = {"F16": "float16", "BF16": "bfloat16", "F32": "float32", "F64": "float64"}
    return {
        name: Stored(
            file,
            dtype=names.get(entry["dtype"], entry["dtype"]),
            shape=tuple(entry["shape"]),
            offset=8 + length + entry["data_offsets"][0],
        )
        for name, entry in header.items()
    }


def _indexed(index: Path) -> dict[str, Stored]:
    """The tensors of all shards; each must lie where the index says, and nowhere else."""
    where = json_object(index.read_bytes(), index).get("weight_map")
    if not isinstance(where, dict):
        raise ValueError(f"weight_map in {index} must be an object, not {where!r}")
    for name, entry in where.items():
        if not _is_plain_name(entry):
            raise ValueError(f"{name!r} in {index} must be in a file beside it, not {entry!r}")
    found: dict[str, Stored] = {}
    for entry in sorted(set(where.values())):
        file = index.parent / entry
        if not file.is_file():
            raise FileNotFoundError(f"{index} names the shard {entry}, but there is no {file}")
        for name, stored in _header(file).items():
            if where.get(name, entry if IGNORED.fullmatch(name) else None) != entry:
                raise ValueError(f"{name!r} is in {file}, but {index} does not say so")
            found[name] = stored
    for name, entry in where.items():
        if name not in found:
            raise ValueError(f"{index} says that {name!r} is in {entry}, but it is not")
    return found


def _is_plain_name(entry: Any) -> bool:
    """An index comes with the weights: it must not lead to other files of this computer.

    >>> [_is_plain_name(name) for name in ("a", "../a", "/a", "C:a", "b\\\\a", "..")]
    [True, False, False, False, False, False]
    """
    return (
        isinstance(entry, str) and PureWindowsPath(entry).name == entry and entry not in ("", "..")
    )


def _required(
    config: ModelConfig, format: str, found: dict[str, Stored], source: Path
) -> dict[str, Stored]:
    """The weights of this config by Mistral's names; raises unless all are there and fit."""
    named = hf_name if format == "hf" else str
    last = named(f"layers.{config.n_layers - 1}.ffn_norm.weight")
    if last not in found:  # looked at first, for a mistyped n_layers may ask for too many names
        raise ValueError(f"{source} lacks the tensor {last!r}")
    shapes = config.weight_shapes()
    ours = {named(name): name for name in shapes}
    missing = [name for name in ours if name not in found]
    if missing:
        more = f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise ValueError(f"{source} lacks the tensor {missing[0]!r}{more}")
    for name, stored in found.items():
        if name in ours:
            _require_fit(name, stored, shapes[ours[name]])
        elif not (format == "hf" and IGNORED.fullmatch(name)):
            raise ValueError(f"{stored.file} has an unknown tensor, {name!r}")
    permuted = format == "hf"
    return {
        name: replace(found[key], heads=rotated_heads(config, name) if permuted else 0)
        for key, name in ours.items()
    }


def _require_fit(name: str, stored: Stored, shape: tuple[int, ...]) -> None:
    if stored.shape != shape:
        raise ValueError(f"{name!r} in {stored.file} must be {shape}, not {stored.shape}")
    if stored.dtype not in DTYPES:
        raise ValueError(
            f"{name!r} in {stored.file} must be one of {', '.join(DTYPES)}, not {stored.dtype}"
        )


def _unpickle(file: Path) -> dict[str, Any]:
    """The tensors of a .pth file, mapped. A pickle can run code: weights_only runs none."""
    import torch

    parts = sorted(file.parent.glob("consolidated.*.pth"))
    if len(parts) > 1:
        raise ValueError(f"{parts[-1]}: a model in several .pth files is not supported")
    try:
        tensors = torch.load(file, weights_only=True, mmap=True, map_location="cpu")
    except Exception as error:  # the many errors of zipfile, pickle and torch
        raise ValueError(f"{file} is no .pth file of plain tensors: {error}") from None
    if not isinstance(tensors, dict):
        raise ValueError(f"{file} must hold a dict of tensors, not {type(tensors).__name__}")
    for name, tensor in tensors.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not plain or tensor.is_meta:
            raise ValueError(f"{name!r} in {file} must be a dense tensor, not {tensor!r:.40}")
    return tensors


def _stored_in_pth(file: Path, tensor: Any) -> Stored:
    return Stored(file, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def _bits(tensor: Any) -> np.ndarray:
    """A torch tensor as an array that shares its memory; bfloat16 as its bits in uint16."""
    import torch

    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
