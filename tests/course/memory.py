"""Counts the memory of tensors."""

import weakref

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves


class Memory(TorchDispatchMode):
    """Bytes of the tensors made on a device that are alive: now, and at the peak."""

    def __init__(self, device):
        super().__init__()
        self.device, self.alive, self.now, self.peak = device, {}, 0, 0

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        out = func(*args, **(kwargs or {}))
        for each in tree_leaves(out):
            if isinstance(each, torch.Tensor) and each.device.type == self.device:
                memory = each.untyped_storage()
                if memory._cdata not in self.alive:
                    self.alive[memory._cdata] = memory.nbytes()
                    self.now += memory.nbytes()
                    self.peak = max(self.peak, self.now)
                    weakref.finalize(memory, self.forget, memory._cdata)
        return out

    def forget(self, key):
        self.now -= self.alive.pop(key)
