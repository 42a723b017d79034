"""The twin: every mechanism of `minimistral.np` in torch, on any device."""

from minimistral.pt.attention import attend
from minimistral.pt.feedforward import feed_forward
from minimistral.pt.mask import visible, window_mask
from minimistral.pt.norm import rms_norm
from minimistral.pt.rope import rotate

__all__ = ["attend", "feed_forward", "rms_norm", "rotate", "visible", "window_mask"]
