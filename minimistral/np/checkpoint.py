"""Loading and saving a model in the formats of mistral-inference and of Hugging Face."""

import numpy as np
from safetensors.numpy import save_file

from minimistral._arguments import require_dtype, require_finite, require_model
from minimistral.checkpoint import (
    open_adapter,
    open_checkpoint,
    progress_bar,
    require_memory,
    rotated_heads,
    to_halves,
    to_pairs,
    write_adapter,
    write_checkpoint,
)
from minimistral.np.adapter import Adapter
from minimistral.np.cache import DTYPES
from minimistral.np.lora import Adapted, adapted, merged
from minimistral.np.mapped import MappedMatrix
from minimistral.np.model import Mistral

WAYS = {"mmap": "mmap=True"}  # that need less memory


def load(
    path, *, format=None, dtype=None, adapter=None, progress=False, mmap=False, check_memory=True
):
    """A Mistral model from a checkpoint folder.

    format: "mistral" or "hf"; if None, whichever is there, "mistral" first.
    dtype: what the weights become; if None, float32 in np and what the files hold in pt.
    adapter: a folder with an adapter (LoRA) in PEFT's format, that is added to the weights.
    progress: show a bar. Beside the model at most one more weight is in memory at a time.
    Raises FileNotFoundError when there is no checkpoint or a shard is missing; ValueError or
    TypeError, naming the argument, the file and key, or the weight, when something is wrong or
    would change the result and is not supported, or when an adapter lies beside the model unasked.
    MemoryError when the weights need more than the free memory, before the first is read;
    check_memory=False reads them nevertheless.

    mmap: leave the matrices in their safetensors files, which must not change while the model
    is used. Each forward pass reads them once, and at most one is in memory at a time. Results
    are those of the model loaded in float32, the only dtype, up to rounding. Whether the
    matrices are finite is not checked, because that would read all of them. An adapter is not
    added to them then, but multiplied beside them.
    """
    checkpoint = open_checkpoint(path, format, adapter=adapter)
    dtype = require_dtype("float32" if dtype is None else dtype, DTYPES)
    if mmap and dtype != "float32":
        raise ValueError(f"dtype must be float32 with mmap=True, not {dtype}")
    if adapter is not None:
        adapter = load_adapter(adapter, checkpoint.config)
    if check_memory and not mmap:
        require_memory(checkpoint, dtype, ways=WAYS)
    names = progress_bar(checkpoint.tensors, progress, "tensors")
    add = adapted if mmap else merged
    weights = {
        name: add(name, read_weight(checkpoint, name, dtype, mmap), adapter) for name in names
    }
    return Mistral(checkpoint.config, weights)


def save(
    model, path, format="mistral", *, dtype=None, max_shard_bytes=5 * 10**9, overwrite=False,
    progress=False,
):  # fmt: skip
    """Write a model as a checkpoint folder that `load` reads, and others read too.

    format: "mistral" (params.json and one file) or "hf" (config.json and shards of at most
    max_shard_bytes). dtype: of the numbers in the files; the model's own if None.
    overwrite: replace a checkpoint of the same format, with the shards that its index names; other
    files stay. It stays whole until the new one is complete. progress: show a bar.
    Raises ValueError or TypeError, naming the argument or the weight, before a file of the
    folder changes.
    """
    require_model(model, Mistral)
    for name, weight in model.weights.items():
        if isinstance(weight, Adapted):
            raise ValueError(
                f"model must have plain weights to save, but {name} is adapted: merge it first"
            )
    dtype = require_dtype(model.dtype if dtype is None else dtype, DTYPES)

    def write_file(file, names):
        tensors = {
            key: to_write(model.config, name, model.weights[name], format, dtype)
            for key, name in names.items()
        }
        save_file(tensors, file, metadata={"format": "pt"})  # transformers asks for it

    write_checkpoint(
        path, model.config, format, dtype, write_file,
        max_shard_bytes=max_shard_bytes, overwrite=overwrite, progress=progress,
    )  # fmt: skip


def load_adapter(path, config, *, dtype=None):
    """An Adapter from a folder in PEFT's format, for a model of this config.

    path: the folder, with adapter_config.json and adapter_model.safetensors. config: a
    ModelConfig. dtype: what the weights become; if None, float32 in np and what the files hold
    in pt.
    Raises FileNotFoundError when there is no adapter; ValueError or TypeError, naming the
    argument, the file and key, or the tensor, when something is wrong or would compute something
    else than LoRA does here, such as DoRA, a bias, or another rank in some layers.
    """
    checkpoint, settings = open_adapter(path, config)
    dtype = require_dtype("float32" if dtype is None else dtype, DTYPES)
    weights = {name: read_weight(checkpoint, name, dtype) for name in checkpoint.tensors}
    return Adapter(config, **settings, weights=weights)


def save_adapter(adapter, path, *, base=None, dtype=None, overwrite=False):
    """Write an Adapter as a folder in PEFT's format, that `load_adapter` and PEFT read.

    It is for the Hugging Face form of the model, as `save` writes it with format="hf". base: the
    name or the folder of that model, which PEFT's users load first. dtype: of the numbers in the
    file; the adapter's own if None. overwrite: replace an adapter; other files stay.
    Raises ValueError or TypeError, naming the argument or the weight, before a file of the folder
    changes.
    """
    if not isinstance(adapter, Adapter):
        raise TypeError(f"adapter must be a {Adapter.__module__}.Adapter, not {adapter!r}")
    dtype = require_dtype(adapter.dtype if dtype is None else dtype, DTYPES)

    def write_file(file, names):
        tensors = {
            key: to_write(adapter.config, name, adapter.weights[name], "hf", dtype)
            for key, name in names.items()
        }
        save_file(tensors, file, metadata={"format": "pt"})

    settings = adapter.rank, adapter.alpha, adapter.targets
    write_adapter(path, adapter.config, *settings, base, write_file, overwrite=overwrite)


def read_weight(checkpoint, name, dtype, mmap=False):
    """One weight of an open checkpoint, its rows in Mistral's order, in memory of its own.

    mmap: a matrix stays in its file.
    """
    if mmap and len(checkpoint.tensors[name].shape) == 2:
        return MappedMatrix(checkpoint, name)
    stored, weight = checkpoint.tensors[name], checkpoint.read(name)
    with np.errstate(over="ignore"):  # the model names a weight that became infinite
        if stored.dtype == "bfloat16":
            weight = from_bfloat16(weight).astype(dtype, copy=False)
        else:
            weight = np.array(weight, dtype)
    return to_pairs(weight, stored.heads) if stored.heads else weight


def to_write(config, name, weight, format, dtype):
    """One weight as the file will hold it: contiguous, because the library writes plain memory."""
    heads = rotated_heads(config, name)
    with np.errstate(over="ignore"):
        weight = weight.astype(dtype, copy=False)
    require_finite(name, weight)
    return np.ascontiguousarray(to_halves(weight, heads) if heads and format == "hf" else weight)


def from_bfloat16(bits):
    """bfloat16 is the upper half of float32: uint16 bits -> the same numbers in float32.

    >>> from_bfloat16(np.array([0x3F80, 0xC000], np.uint16))
    array([ 1., -2.], dtype=float32)
    """
    wide = bits.astype(np.uint32)
    wide <<= 16
    return wide.view(np.float32)
