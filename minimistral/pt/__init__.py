"""The twin: every mechanism of `minimistral.np` in torch, on any device."""

from minimistral.pt.attention import attend
from minimistral.pt.mask import visible, window_mask

__all__ = ["attend", "visible", "window_mask"]
