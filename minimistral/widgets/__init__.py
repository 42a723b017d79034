"""One player for pictures that move, and the explorers built on it."""

from minimistral.widgets.chunks import chunk_stepper
from minimistral.widgets.explorers import (
    anatomy_explorer,
    attention_explorer,
    budget_explorer,
    head_map,
    mask_explorer,
    rotation_dial,
)
from minimistral.widgets.flow import shape_flow
from minimistral.widgets.player import Player
from minimistral.widgets.slots import cache_player
from minimistral.widgets.stack import stack_explorer

__all__ = [
    "Player", "anatomy_explorer", "attention_explorer", "budget_explorer", "cache_player",
    "chunk_stepper", "head_map", "mask_explorer", "rotation_dial", "shape_flow", "stack_explorer",
]  # fmt: skip
