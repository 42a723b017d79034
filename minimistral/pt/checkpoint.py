"""Loading and saving a model in the formats of mistral-inference and of Hugging Face."""

import torch
from safetensors.torch import save_file

from minimistral._arguments import require_choice, require_dtype, require_finite, require_model
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
from minimistral.pt.adapter import Adapter
from minimistral.pt.cache import DTYPES
from minimistral.pt.linear import Matrix
from minimistral.pt.lora import Adapted, merged
from minimistral.pt.model import Mistral
from minimistral.pt.quantize import KINDS, quantized
from minimistral.pt.tensors import as_device

WAYS = {  # that need less memory
    "bfloat16": 'dtype="bfloat16"', "int8": 'quantize="int8"',
    "mmap": "minimistral.np with mmap=True",
}  # fmt: skip


def load(
    path, *, format=None, dtype=None, adapter=None, progress=False, check_memory=True, device=None,
    quantize=None, block_sparse=False,
):  # fmt: skip
    """A Mistral model from a checkpoint folder.

    format: "mistral" or "hf"; if None, whichever is there, "mistral" first.
    dtype: what the weights become; if None, float32 in np and what the files hold in pt.
    adapter: a folder with an adapter (LoRA) in PEFT's format, that is added to the weights.
    progress: show a bar. Beside the model at most one more weight is in memory at a time.
    device: where each weight goes as soon as it is read; torch's default if None.
    quantize: "int8" or "int4" packs each matrix as soon as it is there; see quantize.py.
    block_sparse: as in `Mistral`.
    Raises FileNotFoundError when there is no checkpoint or a shard is missing; ValueError or
    TypeError, naming the argument, the file and key, or the weight, when something is wrong or
    would change the result and is not supported, or when an adapter lies beside the model unasked.
    MemoryError when the weights need more than the free memory, before the first is read;
    check_memory=False reads them nevertheless.
    """
    checkpoint, device = open_checkpoint(path, format, adapter=adapter), as_device(device)
    dtype = require_dtype(checkpoint.dtype if dtype is None else dtype, DTYPES)
    if quantize is not None:
        require_choice("quantize", quantize, KINDS)
    if adapter is not None:
        adapter = load_adapter(adapter, checkpoint.config, device=device)
    if check_memory and device.type == "cpu":
        require_memory(checkpoint, dtype, quantize, ways=WAYS)
    names = progress_bar(checkpoint.tensors, progress, "tensors")

    def read(name):
        weight = merged(name, read_weight(checkpoint, name, dtype, device), adapter)
        return quantized(name, weight, quantize)

    weights = {name: read(name) for name in names}
    return Mistral(checkpoint.config, weights, block_sparse=block_sparse)


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
    if model.device.type == "meta":
        raise ValueError("model must have values to save, but it is on meta")
    weights = model.weights
    for name, weight in weights.items():
        if isinstance(weight, Matrix):
            kind = "adapted: merge it first" if isinstance(weight, Adapted) else "quantised"
            raise ValueError(f"model must have plain weights to save, but {name} is {kind}")
    dtype = require_dtype(model.dtype if dtype is None else dtype, DTYPES)
    model.config.require_shapes({name: weight.shape for name, weight in weights.items()})

    def write_file(file, names):
        tensors = {
            key: to_write(model.config, name, weights[name], format, dtype)
            for key, name in names.items()
        }
        save_file(apart(tensors), file, metadata={"format": "pt"})  # transformers asks for it

    write_checkpoint(
        path, model.config, format, dtype, write_file,
        max_shard_bytes=max_shard_bytes, overwrite=overwrite, progress=progress,
    )  # fmt: skip


def load_adapter(path, config, *, dtype=None, device=None):
    """An Adapter from a folder in PEFT's format, for a model of this config.

    path: the folder, with adapter_config.json and adapter_model.safetensors. config: a
    ModelConfig. dtype: what the weights become; if None, float32 in np and what the files hold
    in pt.
    device: where they go; torch's default if None.
    Raises FileNotFoundError when there is no adapter; ValueError or TypeError, naming the
    argument, the file and key, or the tensor, when something is wrong or would compute something
    else than LoRA does here, such as DoRA, a bias, or another rank in some layers.
    """
    (checkpoint, settings), device = open_adapter(path, config), as_device(device)
    dtype = require_dtype(checkpoint.dtype if dtype is None else dtype, DTYPES)
    weights = {name: read_weight(checkpoint, name, dtype, device) for name in checkpoint.tensors}
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
    if adapter.device.type == "meta":
        raise ValueError("adapter must have values to save, but it is on meta")
    dtype = require_dtype(adapter.dtype if dtype is None else dtype, DTYPES)

    def write_file(file, names):
        tensors = {
            key: to_write(adapter.config, name, adapter.weights[name], "hf", dtype)
            for key, name in names.items()
        }
        save_file(apart(tensors), file, metadata={"format": "pt"})

    settings = adapter.rank, adapter.alpha, adapter.targets
    write_adapter(path, adapter.config, *settings, base, write_file, overwrite=overwrite)


def read_weight(checkpoint, name, dtype, device):
    """One weight of an open checkpoint, its rows in Mistral's order, in memory of its own."""
    stored, weight = checkpoint.tensors[name], torch.from_numpy(checkpoint.read(name))
    if stored.dtype == "bfloat16":
        weight = weight.view(torch.bfloat16)
    weight = weight.to(device, getattr(torch, dtype), copy=True)
    return to_pairs(weight, stored.heads) if stored.heads else weight


def to_write(config, name, weight, format, dtype):
    """One weight as the file will hold it: contiguous, because the library writes plain memory."""
    heads = rotated_heads(config, name)
    weight = weight.detach().to("cpu", getattr(torch, dtype))
    require_finite(name, weight)
    return (to_halves(weight, heads) if heads and format == "hf" else weight).contiguous()


def apart(tensors):
    """The same tensors, each in memory of its own, as the library demands."""
    own, taken = {}, set()
    for name, tensor in tensors.items():
        own[name] = tensor.clone() if tensor.data_ptr() in taken else tensor
        taken.add(tensor.data_ptr())
    return own
