"""The ledger: every claim of the paper and of two digests of it, its verdict, and what decides it.

    from minimistral.ledger import find
    print(find("better-than-llama-2-13b").reason())

The evidence is run, not quoted: numbers that a reason shows are computed when it is asked for.
"""

from minimistral.ledger.claim import (
    FALSE,
    HOW,
    LIMITS,
    OPEN,
    SOURCES,
    TRUE,
    VERDICTS,
    Cell,
    Claim,
    Finding,
    judge,
)
from minimistral.ledger.claims import CLAIMS, decided_in, find

__all__ = [
    "CLAIMS", "FALSE", "HOW", "LIMITS", "OPEN", "SOURCES", "TRUE", "VERDICTS", "Cell", "Claim",
    "Finding", "decided_in", "find", "judge",
]  # fmt: skip
