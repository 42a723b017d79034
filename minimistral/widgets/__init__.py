"""One player for pictures that move, and the explorers built on it."""

from minimistral.widgets.depth import shape_flow, stack_explorer
from minimistral.widgets.explorers import (
    anatomy_explorer,
    attention_explorer,
    budget_explorer,
    head_map,
    mask_explorer,
    rotation_dial,
)
from minimistral.widgets.memory import cache_player, chunk_stepper
from minimistral.widgets.player import Player

__all__ = [
    "Player", "anatomy_explorer", "attention_explorer", "budget_explorer", "cache_player",
    "chunk_stepper", "head_map", "mask_explorer", "rotation_dial", "shape_flow", "stack_explorer",
]  # fmt: skip
