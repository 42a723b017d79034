"""What the lessons use beside the engine: checks, pictures that move, plots, a self-check.

    from minimistral.course import cache_player
    from minimistral.course import check_06 as check

Each name is loaded when it is first asked for, so a plot needs no widget.
"""

import importlib
import re
from typing import Any

_FROM = {  # where each name comes from
    "checks.accepted": ("my_parts", "my_reader"),
    "checks.damaged": ("DAMAGES", "damaged"),
    "draw": (
        "BLUE", "GREY", "ORANGE", "differences_svg", "loss_mask_svg", "loss_mask_words", "mask_svg",
        "mask_words", "reach_svg", "reach_words", "results_svg", "rows_svg", "show", "show_svg",
    ),
    "environment": ("free_gpu_bytes", "layers_that_fit"),
    "mine.compare": ("compare",),
    "mine.gradients": ("gradients_by",),
    "mine.kept": ("kept",),
    "mine.parts": ("tiny_bits",),
    "overview": ("progress_map",),
    "widgets": (
        "anatomy_explorer", "attention_explorer", "attention_weights", "budget_explorer",
        "cache_player", "chunk_stepper", "claim_explorer", "head_map", "loss_curve",
        "mask_explorer", "name_map", "roofline_explorer", "rotation_dial", "sampling_explorer",
        "shape_flow", "stack_explorer", "threshold_explorer", "token_inspector",
    ),
}  # fmt: skip
_HOME = {name: room for room, names in _FROM.items() for name in names}


def __getattr__(name: str) -> Any:
    if re.fullmatch(r"check_\d\d", name):
        return importlib.import_module(f"{__name__}.checks.lesson_{name[-2:]}")
    if name not in _HOME:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_HOME[name]}"), name)
