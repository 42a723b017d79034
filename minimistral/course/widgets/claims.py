"""The player of lesson 15: the ledger of claims, one claim at a time."""

from collections.abc import Sequence

from minimistral._arguments import require_choice
from minimistral.course.draw import claim_svg, words_height
from minimistral.course.widgets.player import Player
from minimistral.ledger import CLAIMS, VERDICTS, Claim


def claim_explorer(slug: str = CLAIMS[0].slug, claims: Sequence[Claim] = CLAIMS) -> Player:
    """The claims of the ledger: who says each, its verdict and why; a slider for the claim.

    slug: where the slider begins. claims: those to show, such as [*CLAIMS, mine].
    The evidence of all claims is run first, which takes a few seconds.
    Raises ValueError for an unknown slug, or when there are no claims or two of one name.

    >>> claim_explorer("twice-as-fast-at-16k").words
    'Claim 8 of 31. With changed FlashAttention and xFormers, the window makes it 2 times faster \
at 16K tokens. Verdict: true within limits.'
    """
    slugs = [claim.slug for claim in claims]
    if len(set(slugs)) < len(slugs) or not slugs:
        raise ValueError(f"claims must be one or more, each of its own name, not {slugs}")
    told = [claim.lines() for claim in claims]
    marks = [VERDICTS.index(claim.verdict) for claim in claims]
    height = max(map(words_height, told))

    def draw(claim: str) -> tuple[str, str]:
        n = slugs.index(claim)
        svg = claim_svg(claims[n].claim, told[n], VERDICTS, marks, n, height)
        words = f"Claim {n + 1} of {len(claims)}. {claims[n].claim}"
        return svg, f"{words} Verdict: {claims[n].verdict}."

    start = require_choice("slug", slug, slugs)
    return Player("Claim explorer", {"claim": slugs}, draw, {"claim": start})
