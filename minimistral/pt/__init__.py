"""The twin: every mechanism of `minimistral.np` in torch, on any device."""

from minimistral.pt.cache import RollingCache
from minimistral.pt.checked import (
    apply_rope,
    attend,
    feed_forward,
    rms_norm,
    rope_tables,
    window_mask,
)
from minimistral.pt.checkpoint import load, save
from minimistral.pt.generate import generate, stream
from minimistral.pt.gradients import loss_and_gradients
from minimistral.pt.model import Mistral
from minimistral.pt.sampling import probabilities
from minimistral.pt.speculative import speculate
from minimistral.rule import visible

__all__ = [
    "Mistral", "RollingCache", "apply_rope", "attend", "feed_forward", "generate", "load",
    "loss_and_gradients", "probabilities", "rms_norm", "rope_tables", "save", "speculate", "stream",
    "visible", "window_mask",
]  # fmt: skip
