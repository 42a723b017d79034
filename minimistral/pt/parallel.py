"""Tensor parallelism: several processes divide the heads and hidden values of every layer.

Each process has some KV heads, the query heads that read them, and some hidden values of the
feed-forward network: the rows of Wq, Wk, Wv, w1, w3 and the columns of Wo, w2 (Shoeybi et al.
2019). That is a smaller Mistral except for two sums over the processes in a layer, after Wo and
after w2. Embedding, norms and output are whole in each. torch's DTensor cuts the matrices and
does the sums.
"""

import os
from dataclasses import replace

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, distribute_tensor
from torch.distributed.tensor.parallel import (
    ColwiseParallel,
    RowwiseParallel,
    parallelize_module,
)

from minimistral._arguments import require_count, require_dtype
from minimistral.checkpoint import open_checkpoint, progress_bar
from minimistral.config import require_config
from minimistral.pt.cache import DTYPES
from minimistral.pt.checkpoint import read_weight
from minimistral.pt.model import Mistral

# torch counts from x @ weight.T: its columns are the rows of a weight (out, in).
STYLES = {
    "layers.*.attention.wq": ColwiseParallel(), "layers.*.attention.wk": ColwiseParallel(),
    "layers.*.attention.wv": ColwiseParallel(), "layers.*.attention.wo": RowwiseParallel(),
    "layers.*.feed_forward.w1": ColwiseParallel(), "layers.*.feed_forward.w3": ColwiseParallel(),
    "layers.*.feed_forward.w2": RowwiseParallel(),
}  # fmt: skip


def join(init_method="env://"):
    """Join the processes that torchrun started -> the mesh of all of them.

    Each process has its number in the environment variable RANK, and how many there are in
    WORLD_SIZE. On a GPU each takes the one of its number. Raises ValueError when these are not
    set, or when there are fewer GPUs than processes.
    """
    rank, size = number_in("RANK"), number_in("WORLD_SIZE")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    if device == "cuda":
        if torch.cuda.device_count() < size:
            raise ValueError(
                f"tensor_parallel must be at most the {torch.cuda.device_count()} GPUs of this"
                f" machine, not {size}"
            )
        torch.cuda.set_device(rank)
    backend = "nccl" if device == "cuda" else "gloo"
    dist.init_process_group(backend, init_method=init_method, rank=rank, world_size=size)
    return init_device_mesh(device, (size,))


def number_in(variable):
    """A whole number in an environment variable."""
    value = os.environ.get(variable)
    if value is None or not value.isdecimal():
        raise ValueError(
            f"{variable} must be a whole number, set by what starts the processes, as torchrun"
            f" does; it is {value!r}"
        )
    return int(value)


def local_config(config, n):
    """The config of one process of n.

    Raises ValueError unless n divides the KV heads and the hidden values.

    >>> from minimistral import ModelConfig
    >>> part = local_config(ModelConfig.mistral_7b(), 4)
    >>> part.n_heads, part.n_kv_heads, part.hidden_dim
    (8, 2, 3584)
    """
    config, n = require_config(config), require_count("tensor_parallel", n)
    for name in ("n_kv_heads", "hidden_dim"):
        if getattr(config, name) % n:
            raise ValueError(
                f"tensor_parallel must divide {name} = {getattr(config, name)}, not be {n}"
            )
    return replace(
        config, n_heads=config.n_heads // n, n_kv_heads=config.n_kv_heads // n,
        hidden_dim=config.hidden_dim // n,
    )  # fmt: skip


def parallelize(model, mesh):
    """A Mistral whose layers are divided over a mesh; every process calls it alike.

    model: the whole one, the same in all processes; it stays as it is. The result is used as
    any Mistral, by all processes in step: the same tokens, and with a temperature the same seed
    (`broadcast`). Its config, and so its cache, are those of one process. The rows of KV head h,
    and of its query heads, go to process h // (G / N): contiguous parts, since the query heads
    of a group lie next to each other. Raises ValueError as `local_config`.
    """
    part = shards(model.config, mesh, model.dtype)
    for name, weight in model.weights.items():
        put(part, name, weight, mesh)
    return part


def load(path, mesh, *, format=None, dtype=None, progress=False):
    """As `mp.load`, of this process's share: beside it one weight at a time is in memory."""
    checkpoint = open_checkpoint(path, format)
    dtype = require_dtype(checkpoint.dtype if dtype is None else dtype, DTYPES)
    part = shards(checkpoint.config, mesh, getattr(torch, dtype))
    for name in progress_bar(checkpoint.tensors, progress, "tensors"):
        weight = read_weight(checkpoint, name, dtype, torch.device(mesh.device_type))
        put(part, name, weight, mesh)
    return part


def shards(config, mesh, dtype):
    """A model without values whose matrices are divided over a mesh."""
    local = local_config(config, mesh.size())
    name = str(dtype).removeprefix("torch.")
    model = Mistral(config, dtype=name, device="meta")
    parallelize_module(model, mesh, STYLES, src_data_rank=None)
    model.config = local
    return model


def put(model, name, weight, mesh):
    """Give a parameter its values: this process's shard of a whole weight, in memory of its own."""
    module = model.get_submodule(name.removesuffix(".weight"))
    if isinstance(module.weight, DTensor):  # None: each process cuts, and none sends
        weight = distribute_tensor(weight, mesh, module.weight.placements, src_data_rank=None)
    module.weight = torch.nn.Parameter(weight, requires_grad=False)


def broadcast(value, mesh: DeviceMesh):
    """The first process's value, in all of them."""
    values = [value]
    dist.broadcast_object_list(values, src=0, group=mesh.get_group())
    return values[0]
