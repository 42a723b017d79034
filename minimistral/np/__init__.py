"""The reference: every mechanism in NumPy alone. Its twin in torch is `minimistral.pt`."""

from minimistral.np.attention import attend
from minimistral.np.cache import RollingCache
from minimistral.np.checkpoint import load, save
from minimistral.np.feedforward import feed_forward
from minimistral.np.mask import visible, window_mask
from minimistral.np.model import Mistral
from minimistral.np.norm import rms_norm
from minimistral.np.rope import rotate
from minimistral.np.sampling import generate, probabilities, stream

__all__ = [
    "Mistral", "RollingCache", "attend", "feed_forward", "generate", "load", "probabilities",
    "rms_norm", "rotate", "save", "stream", "visible", "window_mask",
]  # fmt: skip
