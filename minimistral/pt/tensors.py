"""Tensors and devices of what a caller gives."""

import torch


def as_device(device):
    """A torch.device that this machine has; None is torch's default."""
    try:
        device = torch.get_default_device() if device is None else torch.device(device)
    except (TypeError, RuntimeError) as error:
        raise ValueError(f"device must be one that torch knows, not {device!r}: {error}") from None
    if device.type == "cuda" and not torch.cuda.is_available():
        raise ValueError(f"device must be on this machine, and it has no CUDA, not {device}")
    if device.type not in ("cpu", "cuda", "meta"):
        try:
            torch.empty(0, device=device)
        except (RuntimeError, AssertionError) as error:
            raise ValueError(f"device must be on this machine, not {device}: {error}") from None
    return device


def as_tensor(values, device=None):
    """`values` as a tensor, on `device`; without one, what is a tensor stays where it is."""
    if isinstance(values, torch.Tensor):
        return values.to(device)
    strides, flags = getattr(values, "strides", ()), getattr(values, "flags", None)
    if flags is not None and (not flags.writeable or min(strides, default=0) < 0):
        values = values.copy()  # torch shares no array that is read-only or runs backwards
    return torch.as_tensor(values, device=device)
