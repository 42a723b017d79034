"""One player for pictures that move, and the explorers built on it."""

from minimistral.widgets.explorers import budget_explorer, mask_explorer
from minimistral.widgets.player import Player

__all__ = ["Player", "budget_explorer", "mask_explorer"]
