"""Pictures as pure functions: arrays in, SVG text and words out; `show` for plots.

Nothing here computes a rule of the model. It shows the arrays that it is given.
"""

from minimistral.course.draw.anatomy import anatomy_svg
from minimistral.course.draw.budget import budget_svg, budget_words
from minimistral.course.draw.chunks import ChunkView, chunk_svg
from minimistral.course.draw.claim import claim_svg, words_height
from minimistral.course.draw.curve import curve_svg
from minimistral.course.draw.decision import decision_svg
from minimistral.course.draw.dial import dial_svg
from minimistral.course.draw.flow import steps_svg
from minimistral.course.draw.heads import heads_svg
from minimistral.course.draw.loss_mask import loss_mask_svg, loss_mask_words
from minimistral.course.draw.mask import mask_svg, mask_words
from minimistral.course.draw.name_map import Entry, name_map_svg
from minimistral.course.draw.pair import pair_svg
from minimistral.course.draw.plot import BLUE, GREY, ORANGE, show, show_svg
from minimistral.course.draw.reach import reach_svg, reach_words
from minimistral.course.draw.results import differences_svg, results_svg
from minimistral.course.draw.rolling import SlotView, rolling_svg
from minimistral.course.draw.roof import roof_svg
from minimistral.course.draw.rows import rows_svg
from minimistral.course.draw.sampling import sampling_svg
from minimistral.course.draw.stack import stack_svg
from minimistral.course.draw.tokens import TEMPLATE, TokenView, tokens_svg
from minimistral.course.draw.weights import weights_svg, weights_words

__all__ = [
    "BLUE", "GREY", "ORANGE", "TEMPLATE", "ChunkView", "Entry", "SlotView", "TokenView",
    "anatomy_svg", "budget_svg", "budget_words", "chunk_svg", "claim_svg", "curve_svg",
    "decision_svg", "dial_svg", "differences_svg", "heads_svg", "loss_mask_svg", "loss_mask_words",
    "mask_svg", "mask_words", "name_map_svg", "pair_svg", "reach_svg", "reach_words", "results_svg",
    "rolling_svg", "roof_svg", "rows_svg", "sampling_svg", "show", "show_svg", "stack_svg",
    "steps_svg", "tokens_svg", "weights_svg", "weights_words", "words_height",
]  # fmt: skip
