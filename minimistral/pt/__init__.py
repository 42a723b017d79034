"""The twin: every mechanism of `minimistral.np` in torch, on any device."""

from minimistral.pt.adapter import Adapter, adapt, merge, unmerge
from minimistral.pt.beam import beam_search
from minimistral.pt.cache import RollingCache
from minimistral.pt.checked import (
    apply_rope,
    attend,
    feed_forward,
    lora,
    rms_norm,
    rope_tables,
    window_mask,
)
from minimistral.pt.checkpoint import load, load_adapter, save, save_adapter
from minimistral.pt.generate import generate, stream
from minimistral.pt.gradients import loss_and_gradients
from minimistral.pt.lora import lora_gradients
from minimistral.pt.model import Mistral
from minimistral.pt.sampling import probabilities
from minimistral.pt.serve import Request, serve
from minimistral.pt.speculative import speculate
from minimistral.rule import visible

__all__ = [
    "Adapter", "Mistral", "Request", "RollingCache", "adapt", "apply_rope", "attend",
    "beam_search", "feed_forward", "generate", "load", "load_adapter", "lora", "lora_gradients",
    "loss_and_gradients", "merge", "probabilities", "rms_norm", "rope_tables", "save",
    "save_adapter", "serve", "speculate", "stream", "unmerge", "visible", "window_mask",
]  # fmt: skip
