"""One player for pictures that move, and the explorers built on it."""

from minimistral.widgets.explorers import anatomy_explorer, budget_explorer, mask_explorer
from minimistral.widgets.player import Player

__all__ = ["Player", "anatomy_explorer", "budget_explorer", "mask_explorer"]
