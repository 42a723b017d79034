"""Tensor parallelism: several processes share out the heads and hidden values of every layer.

Each process has some KV heads, the query heads that read them, and some hidden values of the
feed-forward network: the rows of Wq, Wk, Wv, w1, w3 and the columns of Wo, w2 (Shoeybi et al.
2019). That is a smaller Mistral, but for two sums over the processes in a layer, after Wo and
after w2. Embedding, norms and output are whole in each.

DTensor does the sums. Its parallelize_module is for modules of nn.Linear, which this model has
none of, so the shares are cut here.
"""

import os
from dataclasses import replace

import torch
import torch.distributed as dist
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.tensor import DTensor, Partial, Replicate

from minimistral._arguments import require_count, require_dtype
from minimistral.checkpoint import open_checkpoint, progress_bar
from minimistral.config import require_config
from minimistral.pt.cache import DTYPES
from minimistral.pt.checkpoint import read_weight
from minimistral.pt.model import Mistral
from minimistral.pt.quantize import Packed

BY_ROWS = ("wq", "wk", "wv", "w1", "w3")
BY_COLUMNS = ("wo", "w2")


class Summed(Packed):
    """A share of columns of Wo or w2: x @ weight.T is summed over the processes of a mesh.

    weight (out, in / N) of this process. x (..., in / N) @ it.T -> (..., out), the same in all.
    """

    def __init__(self, weight, mesh):
        super().__init__(weight)
        self.values, self.scales, self.mesh = weight, weight[:0], mesh

    def times(self, x):
        """x (n, in / N) -> (n, out)."""
        part = DTensor.from_local(x @ self.values.T, self.mesh, [Partial()], run_check=False)
        return part.redistribute(placements=[Replicate()]).to_local()


def join(init_method="env://"):
    """Join the processes that torchrun started -> the mesh of all of them.

    On a GPU each process takes the one of its number. Raises ValueError when there are fewer
    GPUs than processes.
    """
    rank, size = int(os.environ["RANK"]), int(os.environ["WORLD_SIZE"])
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


def share(name, weight, mesh):
    """What this process keeps of a weight of the whole model, in memory of its own.

    The rows of KV head h, and of its query heads, go to process h // (G / N): contiguous parts,
    since the query heads of a group lie next to each other.
    """
    kind = name.split(".")[-2]
    if kind in BY_ROWS:
        return weight.chunk(mesh.size(), dim=0)[mesh.get_local_rank()].clone()
    if kind in BY_COLUMNS:
        part = weight.chunk(mesh.size(), dim=1)[mesh.get_local_rank()]
        return Summed(part.clone(memory_format=torch.contiguous_format), mesh)
    return weight


def parallelize(model, mesh):
    """A Mistral whose layers are shared out over a mesh; every process calls it alike.

    model: the whole one, the same in all processes. The result is used as any Mistral, by all
    processes in step: the same tokens, and with a temperature the same seed (`agreed`). Its
    config, and so its cache, are those of one process. Raises ValueError as `local_config`.
    """
    config = local_config(model.config, mesh.size())
    return Mistral(config, {name: share(name, w, mesh) for name, w in model.weights.items()})


def load(path, mesh, *, format=None, dtype=None, progress=False):
    """As `mp.load`, of this process's share: beside it one weight at a time is in memory."""
    checkpoint = open_checkpoint(path, format)
    config = local_config(checkpoint.config, mesh.size())
    dtype = require_dtype(checkpoint.dtype if dtype is None else dtype, DTYPES)
    device = torch.device(mesh.device_type)
    names = progress_bar(checkpoint.tensors, progress, "tensors")
    return Mistral(
        config,
        {n: share(n, read_weight(checkpoint, n, dtype, device), mesh) for n in names},
    )


def agreed(value, mesh: DeviceMesh):
    """What the first process says, in all of them."""
    said = [value]
    dist.broadcast_object_list(said, src=0, group=mesh.get_group())
    return said[0]
