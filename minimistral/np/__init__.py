"""The reference: every mechanism in NumPy alone. Its twin in torch is `minimistral.pt`."""

from minimistral.np.attention import attend
from minimistral.np.mask import visible, window_mask

__all__ = ["attend", "visible", "window_mask"]
