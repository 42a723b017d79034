"""The player of lesson 12: a threshold on the scores of a moderator, at any base rate."""

from collections.abc import Mapping
from typing import Any

from minimistral.course.draw import decision_svg
from minimistral.course.widgets.player import Player
from minimistral.evaluation.decisions import (
    PAPER,
    Confusion,
    confusion,
    precision_recall_curve,
    tiny_judged,
)

THRESHOLDS = (-8, -6, -4, -3, -2, -1, 0, 1, 2, 3, 4, 6, 8)
SHARES = (0.01, 0.1, 0.5, 0.9, 0.99)
ACCEPTABLE, NOT = "acceptable", "not acceptable"
REQUESTS = {"known verbs": "new wording", "new verbs": "new topic"}  # part of the conversations


def threshold_explorer(judged: Mapping[str, Any] | None = None) -> Player:
    """What a threshold on a moderator's scores decides; sliders for threshold, share, positive.

    judged: name -> scores (N,), acceptable (N,) of True and False; the tiny instruct model's, of
    verbs that it was trained with and of new ones, if None. A request is accepted where its score
    is above the threshold. share: that of acceptable requests among all. positive: the class whose
    precision and recall are shown. The paper's point is moved to each share with its own recall and
    false rate. Raises TypeError or ValueError, naming the argument.

    >>> player = threshold_explorer({"four": ([2, 1, -1, -2], [True, False, True, False])})
    >>> player.set(share=0.9)
    >>> print(player.words.replace(": ", ":\\n").replace(". ", ".\\n"))
    Threshold 0, 90% acceptable, positive is acceptable:
    precision 0.900, recall 0.500, accuracy 0.500.
    The paper's point here:
    precision 0.999, recall 0.956.
    """
    if judged is None:
        parts = tiny_judged()
        judged = {name: parts[part] for name, part in REQUESTS.items()}
    if not isinstance(judged, Mapping) or not judged:
        raise TypeError(f"judged must be a dict of scores and classes, not {judged!r}")
    curves = {name: precision_recall_curve(*pair) for name, pair in judged.items()}

    def draw(threshold: float, share: float, positive: str, requests: str) -> tuple[str, str]:
        def here(found: Confusion) -> Confusion:
            found = found.at_base_rate(share)
            return found if positive == ACCEPTABLE else found.swapped()

        scores, acceptable = judged[requests]
        chosen, paper = here(confusion(scores, acceptable, threshold)), here(PAPER)
        points = [_point(here(each)) for _, each in curves[requests]]
        names, verbs = (ACCEPTABLE, NOT), ("accepted", "refused")
        if positive == NOT:
            names, verbs = names[::-1], verbs[::-1]
        where = f"Threshold {threshold}, {share:.0%} acceptable, positive is {positive}"
        words = (
            f"{where}: {_told(chosen)}, accuracy {chosen.accuracy:.3f}. The paper's point here:"
            f" {_told(paper)}."
        )
        counts = [1000 * share for share in vars(chosen).values()]
        both = _point(chosen), _point(paper)
        return decision_svg(points, *both, counts, names, verbs, where), words

    sliders: dict[str, Any] = {
        "threshold": THRESHOLDS, "share": SHARES, "positive": (ACCEPTABLE, NOT),
        "requests": list(judged),
    }  # fmt: skip
    return Player("Threshold explorer", sliders, draw, {"threshold": 0, "share": 0.5})


def _point(found: Confusion) -> tuple[float, float]:
    return found.recall, found.precision


def _told(found: Confusion) -> str:
    return f"precision {found.precision:.3f}, recall {found.recall:.3f}"
