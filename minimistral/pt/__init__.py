"""The twin: every mechanism of `minimistral.np` in torch, on any device."""

from minimistral.pt.attention import attend
from minimistral.pt.cache import RollingCache
from minimistral.pt.checkpoint import load, save
from minimistral.pt.feedforward import feed_forward
from minimistral.pt.mask import visible, window_mask
from minimistral.pt.model import Mistral
from minimistral.pt.norm import rms_norm
from minimistral.pt.rope import rotate
from minimistral.pt.sampling import generate, probabilities, stream

__all__ = [
    "Mistral", "RollingCache", "attend", "feed_forward", "generate", "load", "probabilities",
    "rms_norm", "rotate", "save", "stream", "visible", "window_mask",
]  # fmt: skip
