"""The reference: every mechanism in NumPy alone. Its twin in torch is `minimistral.pt`."""

from minimistral.np.attention import attend
from minimistral.np.feedforward import feed_forward
from minimistral.np.mask import visible, window_mask
from minimistral.np.norm import rms_norm
from minimistral.np.rope import rotate

__all__ = ["attend", "feed_forward", "rms_norm", "rotate", "visible", "window_mask"]
