"""What an entry of the ledger is: a claim, who makes it, its verdict, and evidence that is run."""

import functools
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from minimistral._arguments import require_choice

TRUE, LIMITS, FALSE, OPEN = VERDICTS = (
    "true", "true within limits", "false", "cannot be decided here",
)  # fmt: skip

# How a verdict was reached, and which verdicts can be reached in this way.
HOW: Mapping[str, tuple[str, ...]] = {
    "computed": (TRUE, LIMITS),  # from the sizes of the model or the numbers of the paper
    "measured": (TRUE, LIMITS),  # on a model that runs here
    "corrected": (FALSE, LIMITS),  # with the right value
    "retold": (FALSE, OPEN),  # not in the paper, and no source was found
    "cited": (TRUE,),  # whoever says it decides it
    "not checkable": (OPEN,),  # with what would be needed
}
SOURCES: Mapping[str, str] = {
    "paper": "the paper",
    "A": "a Russian digest",  # of DAIR.AI's "Papers Explained 64: Mistral 7B"
    "B": "a Chinese digest",
    "reader": "a reader of this course",  # who adds an entry in lesson 15
}


@dataclass(frozen=True)
class Finding:
    """What evidence finds: the verdict that it supports, and its figures by name."""

    verdict: str
    figures: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Cell:
    """A cell of a lesson whose saved output decides a claim; `shows` is a line or part of it.

    `make test` runs the lessons and compares their outputs, so what it shows stays true.
    """

    lesson: str
    id: str
    shows: str


def judge(core: bool, whole: bool = True) -> str:
    """TRUE when a claim holds as it is worded, LIMITS when only its core does, otherwise FALSE.

    core: the claim in its narrowest sense. whole: the rest of what it says.

    >>> judge(2.29 >= 2, 1.15 >= 2), judge(False)
    ('true within limits', 'false')
    """
    return FALSE if not core else TRUE if whole else LIMITS


@dataclass(frozen=True)
class Claim:
    """One entry.

    slug: its name for ever, of small letters, digits and hyphens. claim: one sentence.
    said_by: keys of SOURCES. where: in the paper, or "" when it is not in it.
    verdict: one of VERDICTS. how: a key of HOW. because: why; {name} stands for a figure of the
    evidence. evidence: run without arguments. needs: what would decide it, for OPEN and only then.
    lessons: the numbers of those that decide it.
    Raises TypeError or ValueError, naming the field.

    >>> def sum_of_a_few():
    ...     return Finding(judge(2 + 2 == 4), {"total": 2 + 2})
    >>> mine = Claim(
    ...     "two-and-two", "Two and two are four.", ("A",), "", TRUE, "computed",
    ...     "They are {total}.", sum_of_a_few,
    ... )
    >>> mine.holds(), mine.reason()
    (True, 'They are 4.')
    """

    slug: str
    claim: str
    said_by: tuple[str, ...]
    where: str
    verdict: str
    how: str
    because: str
    evidence: Callable[[], Finding] | None = None
    needs: str = ""
    lessons: tuple[str, ...] = ()
    cells: tuple[Cell, ...] = ()

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z0-9]+(-[a-z0-9]+)*", self.slug):
            raise ValueError(f"slug must be of a-z, 0-9 and single hyphens, not {self.slug!r}")
        for name in ("claim", "because"):
            if not getattr(self, name).endswith("."):
                raise ValueError(f"{name} must be a sentence, not {getattr(self, name)!r}")
        if not self.said_by or isinstance(self.said_by, str):
            raise ValueError(f"said_by must name who says it, not {self.said_by!r}")
        for each in self.said_by:
            require_choice("said_by", each, SOURCES)
        if ("paper" in self.said_by) != bool(self.where):
            raise ValueError(f"where must be given when the paper says it, not {self.where!r}")
        require_choice("how", require_choice("verdict", self.verdict, VERDICTS) and self.how, HOW)
        require_choice(f"verdict of what is {self.how}", self.verdict, HOW[self.how])
        if (self.verdict == OPEN) != bool(self.needs):
            raise ValueError(f"needs must say what would decide it, not {self.needs!r}")
        if self.evidence is None and self.verdict != OPEN and self.how != "cited":
            raise ValueError("evidence must be a function for a claim that is decided, not None")

    def finding(self) -> Finding:
        """What the evidence finds; run once. Without evidence, the verdict as it is."""
        return Finding(self.verdict) if self.evidence is None else _run(self.evidence)

    def holds(self) -> bool:
        """Whether the evidence still gives the verdict."""
        return self.finding().verdict == self.verdict

    def reason(self) -> str:
        """Why, with the figures that the evidence finds now, and with real minus signs."""
        filled = self.because.format(**self.finding().figures)
        return re.sub(r"(?<!\w)-(?=\d)", "−", filled)

    def source(self) -> str:
        """Who says it, and where in the paper."""
        names = [SOURCES[each] for each in self.said_by]
        if self.where:
            names[0] = f"{names[0]} ({self.where})"
        return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"

    def lines(self) -> dict[str, str]:
        """What the page and the player show below the claim: heading -> text."""
        other = "" if self.holds() else f"; its evidence finds: {self.finding().verdict}"
        told = {
            "Said by": self.source(),
            "Verdict": f"{self.verdict} ({self.how}){other}",
            "Why": self.reason(),
        }
        if self.needs:
            told["What would decide it"] = self.needs
        if self.lessons:
            told["Lesson"] = " and ".join(self.lessons)
        return told


@functools.cache
def _run(evidence: Callable[[], Finding]) -> Finding:
    return evidence()
