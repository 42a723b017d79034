"""Opening a checkpoint: everything except the weights is checked before a weight is read."""

import os
import pickle
import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open

from minimistral._arguments import require_content
from minimistral.checkpoint.configs import read_config
from minimistral.checkpoint.files import (
    CONFIG_FILE,
    DTYPES,
    FORMATS,
    PTH_PARTS,
    WEIGHT_FILES,
    as_folder,
    as_json,
    is_plain_name,
    json_object,
    require_format,
)
from minimistral.checkpoint.findings import listed, require_no_adapter, what_is_there
from minimistral.checkpoint.names import IGNORED, hf_name, rotated_heads
from minimistral.config import ModelConfig, version_of

# Tensors of GPTQ, AWQ, bitsandbytes and compressed-tensors; words of packed weights, and 8 bits
_QUANTISED_NAME = re.compile(
    r"\.(qweight|qzeros|scales|g_idx|biases|weight_packed|weight_scale|weight_zero_point|absmax"
    r"|qscale_\w+|weight\.quant_\w+|weight\.absmax|weight_scale_inv|SCB)$"
)
_QUANTISED_DTYPE = re.compile(r"U32|U16|U8|I8|F8_\w+|F4|F6_\w+|u?int8|uint16|uint32|float8_\w+")


@dataclass(frozen=True)
class Stored:
    """Where a weight is stored. heads: of a Wq or Wk whose rows are in Hugging Face's order."""

    file: Path
    dtype: str
    shape: tuple[int, ...]
    offset: int = 0  # bytes from the start of the file
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
        """The published Mistral 7B of this config: "v0.1", "v0.2", "v0.3" or None."""
        return version_of(self.config)

    @property
    def dtype(self) -> str:
        """The narrowest dtype that holds every weight exactly."""
        dtypes = {stored.dtype for stored in self.tensors.values()}
        if len(dtypes) == 1:
            return dtypes.pop()
        return "float64" if "float64" in dtypes else "float32"

    def read(self, name: str) -> np.ndarray:
        """One weight as it is stored, mapped from its file: only what is used is read.

        bfloat16, which NumPy lacks, is returned as its bits in uint16. Writing to the array does
        not change the file. The mapping ends with the array.
        """
        stored = self.tensors[name]
        if self.pickled is not None:
            return _bits(self.pickled[name])
        dtype = np.dtype("uint16" if stored.dtype == "bfloat16" else stored.dtype)
        little = dtype.newbyteorder("<")
        # "c" is copy on write, because torch does not accept read-only arrays.
        mapped = np.memmap(stored.file, little, "c", stored.offset, stored.shape)
        # A header may have an odd length, but torch needs aligned numbers.
        return np.asarray(mapped) if mapped.flags.aligned else np.array(mapped)


def open_checkpoint(
    path: str | os.PathLike, format: str | None = None, *, adapter: Any = None
) -> Checkpoint:
    """Open a checkpoint and check all of it, but read no weight yet.

    path: the folder. format: "mistral" or "hf"; if None, the one that is there, "mistral" first
    because its rows need no permutation. adapter: the folder of an adapter that the caller adds;
    none may lie beside the model but that. Raises FileNotFoundError when there is no checkpoint
    or a shard is missing; ValueError or TypeError, naming the file and the key or the tensor,
    when something in it is wrong.
    """
    folder = as_folder(path)
    adapter = None if adapter is None else as_folder(adapter, "adapter")
    format, weights = _find(folder, format, adapter)
    config_file = folder / CONFIG_FILE[format]
    config = read_config(config_file, format)
    if weights.suffix == ".pth":
        pickled = _unpickle(weights)
        tensors = {name: _stored_in_pth(weights, tensor) for name, tensor in pickled.items()}
    else:
        pickled = None
        tensors = _indexed(weights) if weights.suffix == ".json" else tensors_in(weights)
    return Checkpoint(config, format, _required(config, format, tensors, weights), pickled)


def _find(folder: Path, format: str | None, adapter: Path | None) -> tuple[str, Path]:
    """The format, and the file to start with: the weights, or the index of the shards."""
    if format is not None:
        require_format(format)
    if not folder.is_dir():
        raise FileNotFoundError(f"there is no folder {folder}")
    if adapter is None or adapter.resolve() != folder.resolve():
        require_no_adapter(folder)
    candidates = FORMATS if format is None else (format,)
    for candidate in candidates:
        weights = _weights_in(folder, candidate)
        if weights is not None:
            return candidate, weights
    needed = (f"{CONFIG_FILE[c]} with {' or '.join(WEIGHT_FILES[c])}" for c in candidates)
    others = formats_in(folder)  # when one was asked for
    found = f"it holds one in the format {others[0]}" if others else what_is_there(folder)
    raise FileNotFoundError(
        f"{folder} holds no checkpoint: it needs {', or '.join(needed)}; {found}"
    )


def _weights_in(folder: Path, format: str) -> Path | None:
    """The weights or the index of one format, or None if that or its config is not there."""
    files = [folder / name for name in WEIGHT_FILES[format]]
    weights = next((file for file in files if file.is_file()), None)
    return weights if (folder / CONFIG_FILE[format]).is_file() else None


def formats_in(folder: Path) -> list[str]:
    """The formats in which a folder holds a checkpoint; the first is read unless one is asked for.

    >>> from minimistral import tiny
    >>> formats_in(tiny.FOLDER)
    ['mistral']
    """
    return [format for format in FORMATS if _weights_in(folder, format) is not None]


def tensors_in(file: Path) -> dict[str, Stored]:
    """Where the tensors of one safetensors file are stored, by their names in the file.

    The library checks the file, but it cannot give bfloat16 to NumPy. So the offsets are read
    here. The file has 8 bytes with the length of the header, a JSON object, and the numbers.
    """
    with open(file, "rb") as stream:  # the library says of a file without permission: no such file
        require_content(stream.read(100), file)
    try:
        with safe_open(file, framework="np"):
            pass
    except SafetensorError as error:
        raise ValueError(f"{file} is not a complete safetensors file: {error}") from None
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
    """The tensors of all shards; each must be where the index says, and nowhere else."""
    weight_map = json_object(index.read_bytes(), index).get("weight_map")
    if not isinstance(weight_map, dict):
        raise ValueError(f"weight_map in {index} must be an object, not {as_json(weight_map)}")
    for name, entry in weight_map.items():
        if not is_plain_name(entry):
            raise ValueError(
                f"{name!r} in {index} must be in a file of the same folder, not {as_json(entry)}"
            )
    tensors: dict[str, Stored] = {}
    for entry in sorted(set(weight_map.values())):
        file = index.parent / entry
        if not file.is_file():
            raise FileNotFoundError(
                f"{index} names the shard {listed([entry])}, but it is not there"
            )
        for name, stored in tensors_in(file).items():
            if weight_map.get(name, entry if IGNORED.fullmatch(name) else None) != entry:
                raise ValueError(f"{name!r} is in {file}, but {index} does not list it there")
            tensors[name] = stored
    for name, entry in weight_map.items():
        if name not in tensors:
            raise ValueError(f"{index} says that {name!r} is in {entry}, but it is not")
    return tensors


def _required(
    config: ModelConfig, format: str, tensors: dict[str, Stored], source: Path
) -> dict[str, Stored]:
    """The weights of this config by Mistral's names; raises unless all are there and fit it."""
    for name, stored in tensors.items():
        _require_plain(name, stored)
    named = hf_name if format == "hf" else str
    if config.n_layers > len(tensors):  # first, because the names of 10**9 layers never end
        raise ValueError(
            f"{source} lacks most tensors: it has {len(tensors)}, but the config asks for"
            f" {config.n_layers} layers"
        )
    shapes = config.weight_shapes()
    ours = {named(name): name for name in shapes}
    missing = [name for name in ours if name not in tensors]
    if missing:
        more = f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise ValueError(f"{source} lacks the tensor {missing[0]!r}{more}")
    for name, stored in tensors.items():
        if name in ours:
            _require_fit(name, stored, shapes[ours[name]])
        elif not (format == "hf" and IGNORED.fullmatch(name)):
            raise ValueError(f"{stored.file} has an unknown tensor, {name!r}")
    permuted = format == "hf"
    return {
        name: replace(tensors[key], heads=rotated_heads(config, name) if permuted else 0)
        for key, name in ours.items()
    }


def _require_plain(name: str, stored: Stored) -> None:
    """Raise when a tensor says that the weights are quantised, or that LoRA is still to be added.

    >>> _require_plain("norm.weight", Stored(Path("a.safetensors"), "float32", (3,)))
    """
    if _QUANTISED_NAME.search(name) or _QUANTISED_DTYPE.fullmatch(stored.dtype):
        raise ValueError(
            f"{stored.file} holds quantised weights ({name!r} of dtype {stored.dtype}), which are"
            ' not supported; load the original ones, with quantize="int8" if memory is small'
        )
    if "lora" in name.lower():
        raise ValueError(
            f"{stored.file} holds an adapter ({name!r}), which is not added to the weights here;"
            " merge it into them with the library that made it"
        )


def _require_fit(name: str, stored: Stored, shape: tuple[int, ...]) -> None:
    if stored.shape != shape:
        raise ValueError(f"{name!r} in {stored.file} must be {shape}, not {stored.shape}")
    if stored.dtype not in DTYPES:
        raise ValueError(
            f"{name!r} in {stored.file} must be one of {', '.join(DTYPES)}, not {stored.dtype}"
        )


def _unpickle(file: Path) -> dict[str, Any]:
    """The tensors of a .pth file, mapped. A pickle can run code, but weights_only allows none."""
    import torch

    parts = sorted(file.parent.glob(PTH_PARTS))
    if len(parts) > 1:
        raise ValueError(f"{parts[-1]}: a model in several .pth files is not supported")
    with open(file, "rb") as stream:
        require_content(stream.read(100), file)
    try:
        tensors = torch.load(file, weights_only=True, mmap=True, map_location="cpu")
    except Exception as error:  # zipfile, pickle and torch raise many kinds
        raise ValueError(f"{file} is not a .pth file of plain tensors: {_reason(error)}") from None
    if not isinstance(tensors, dict):
        raise ValueError(f"{file} must hold a dict of tensors, not {type(tensors).__name__}")
    for name, tensor in tensors.items():
        plain = isinstance(tensor, torch.Tensor) and tensor.layout == torch.strided
        if not plain or tensor.is_meta:
            raise ValueError(f"{name!r} in {file} must be a dense tensor, not {tensor!r:.40}")
    return tensors


def _reason(error: Exception) -> str:
    """Why a .pth file was not opened, in one line, without torch's advice to trust the file.

    >>> _reason(pickle.UnpicklingError("… Unsupported global: GLOBAL os.system was not …"))
    'it asks for os.system; a pickle can run any code, so nothing but tensors is read'
    """
    text = str(error)
    if isinstance(error, pickle.UnpicklingError) or "weights_only" in text:
        found = re.search(r"(?:GLOBAL|global:?) ([\w.]+\.\w+)", text)
        asks = f"it asks for {found[1]}" if found else "it is damaged, or holds more than tensors"
        return f"{asks}; a pickle can run any code, so nothing but tensors is read"
    return text.strip().split("\n")[0] or type(error).__name__


def _stored_in_pth(file: Path, tensor: Any) -> Stored:
    return Stored(file, str(tensor.dtype).removeprefix("torch."), tuple(tensor.shape))


def _bits(tensor: Any) -> np.ndarray:
    """A torch tensor as an array that shares its memory; bfloat16 as its bits in uint16."""
    import torch

    tensor = tensor.detach()
    return (tensor.view(torch.uint16) if tensor.dtype == torch.bfloat16 else tensor).numpy()
