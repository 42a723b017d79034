"""Pictures as pure functions: arrays in, SVG text and words out; `show` for plots.

Nothing here computes a rule of the model. It shows the arrays that it is given.
"""

from minimistral.draw.anatomy import anatomy_svg
from minimistral.draw.budget import budget_svg, budget_words
from minimistral.draw.chunks import ChunkView, chunk_svg
from minimistral.draw.dial import dial_svg
from minimistral.draw.flow import steps_svg
from minimistral.draw.heads import heads_svg
from minimistral.draw.mask import mask_svg, mask_words
from minimistral.draw.plot import BLUE, GREY, ORANGE, show, show_svg
from minimistral.draw.reach import reach_svg, reach_words
from minimistral.draw.rolling import SlotView, rolling_svg
from minimistral.draw.stack import stack_svg
from minimistral.draw.weights import weights_svg, weights_words

__all__ = [
    "BLUE", "GREY", "ORANGE", "ChunkView", "SlotView", "anatomy_svg", "budget_svg",
    "budget_words", "chunk_svg", "dial_svg", "heads_svg", "mask_svg", "mask_words", "reach_svg",
    "reach_words", "rolling_svg", "show", "show_svg", "stack_svg", "steps_svg", "weights_svg",
    "weights_words",
]  # fmt: skip
