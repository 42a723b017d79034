"""The reference: every mechanism in NumPy alone. Its twin in torch is `minimistral.pt`."""

from minimistral.np.cache import RollingCache
from minimistral.np.checked import (
    apply_rope,
    attend,
    feed_forward,
    rms_norm,
    rope_tables,
    window_mask,
)
from minimistral.np.checkpoint import load, save
from minimistral.np.generate import generate, stream
from minimistral.np.gradients import loss_and_gradients
from minimistral.np.model import Mistral
from minimistral.np.sampling import probabilities
from minimistral.np.speculative import speculate
from minimistral.rule import visible

__all__ = [
    "Mistral", "RollingCache", "apply_rope", "attend", "feed_forward", "generate", "load",
    "loss_and_gradients", "probabilities", "rms_norm", "rope_tables", "save", "speculate", "stream",
    "visible", "window_mask",
]  # fmt: skip
