"""The reference: every mechanism in NumPy alone. Its twin in torch is `minimistral.pt`."""

from minimistral.np.adapter import Adapter, adapt, merge, unmerge
from minimistral.np.beam import beam_search
from minimistral.np.cache import RollingCache
from minimistral.np.checked import (
    apply_rope,
    attend,
    feed_forward,
    lora,
    rms_norm,
    rope_tables,
    window_mask,
)
from minimistral.np.checkpoint import load, load_adapter, save, save_adapter
from minimistral.np.generate import generate, stream
from minimistral.np.gradients import loss_and_gradients
from minimistral.np.lora import lora_gradients
from minimistral.np.model import Mistral
from minimistral.np.sampling import probabilities
from minimistral.np.serve import Request, serve
from minimistral.np.speculative import speculate
from minimistral.rule import visible

__all__ = [
    "Adapter", "Mistral", "Request", "RollingCache", "adapt", "apply_rope", "attend",
    "beam_search", "feed_forward", "generate", "load", "load_adapter", "lora", "lora_gradients",
    "loss_and_gradients", "merge", "probabilities", "rms_norm", "rope_tables", "save",
    "save_adapter", "serve", "speculate", "stream", "unmerge", "visible", "window_mask",
]  # fmt: skip
