"""One player for pictures that move, and the explorers built on it."""

from minimistral.course.widgets.chunks import chunk_stepper
from minimistral.course.widgets.claims import claim_explorer
from minimistral.course.widgets.curve import loss_curve
from minimistral.course.widgets.explorers import (
    anatomy_explorer,
    attention_explorer,
    attention_weights,
    budget_explorer,
    head_map,
    mask_explorer,
    rotation_dial,
)
from minimistral.course.widgets.flow import shape_flow
from minimistral.course.widgets.names import name_map
from minimistral.course.widgets.player import Player
from minimistral.course.widgets.roofline import roofline_explorer
from minimistral.course.widgets.sampling import sampling_explorer
from minimistral.course.widgets.slots import cache_player
from minimistral.course.widgets.stack import stack_explorer
from minimistral.course.widgets.threshold import threshold_explorer
from minimistral.course.widgets.tokens import token_inspector

__all__ = [
    "Player", "anatomy_explorer", "attention_explorer", "attention_weights", "budget_explorer",
    "cache_player", "chunk_stepper", "claim_explorer", "head_map", "loss_curve", "mask_explorer",
    "name_map", "roofline_explorer", "rotation_dial", "sampling_explorer", "shape_flow",
    "stack_explorer",
    "threshold_explorer", "token_inspector",
]  # fmt: skip
