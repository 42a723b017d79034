"""How far a published number can be trusted: errors of shares, differences and sizes.

Shares are between 0 and 1. The interval of a count is `interval` in answers.py; what 0 failures
still allow, and the confusion matrix behind a precision, are in decisions.py.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from minimistral._arguments import require_count, require_number, require_share


@dataclass(frozen=True)
class Estimate:
    """A value and its standard error."""

    value: float
    error: float

    @property
    def z(self) -> float:
        """How many standard errors it lies from 0."""
        return self.value / self.error

    @property
    def p(self) -> float:
        """How often chance alone would take it as far from 0, on either side (normal)."""
        return math.erfc(abs(self.z) / math.sqrt(2))


def share(value: float, n: int) -> Estimate:
    """A share of n questions answered right, with the standard error sqrt(p (1 - p) / n).

    The questions count as drawn at random from all that could have been asked.
    Raises TypeError or ValueError unless 0 < value < 1 and n >= 1: at 0 or 1 the formula would
    give no error at all; use `interval` of answers.py.

    >>> round(share(0.601, 14042).error, 4)
    0.0041
    """
    value = require_share("value", value)
    return Estimate(value, math.sqrt(value * (1 - value) / require_count("n", n)))


def difference(a: Estimate, b: Estimate) -> Estimate:
    """a - b, where the errors are independent.

    Two models that answer the same questions tend to fail on the same ones. The true error of
    their difference is then smaller, but needs the answers one by one, which few papers publish.
    So this error is on the safe side: what survives it survives.

    >>> found = difference(share(0.288, 3610), share(0.290, 3610))
    >>> round(found.value, 3), round(found.error, 3), round(found.p, 2)
    (-0.002, 0.011, 0.85)
    """
    return Estimate(a.value - b.value, math.hypot(a.error, b.error))


def survives(p_values: Mapping[str, float], level: float = 0.05) -> dict[str, bool]:
    """Which of several differences stand, if chance may fake none of them (Holm 1979).

    With `level` the chance that at least one of those that stand is chance. The smallest p must
    be at most level / m, the next level / (m - 1), and so on; after the first that fails none
    stands. Raises TypeError or ValueError for a p or a level outside 0 to 1.

    >>> survives({"a": 0.04, "b": 0.03, "c": 0.01})          # 0.01 <= 0.05 / 3, 0.03 > 0.05 / 2
    {'a': False, 'b': False, 'c': True}
    """
    level = require_number("level", level, above=0, high=1)
    for name, p in p_values.items():
        require_number(name, p, low=0, high=1)
    stands, still = dict.fromkeys(p_values, False), True
    for n, name in enumerate(sorted(p_values, key=p_values.__getitem__)):
        still = still and p_values[name] <= level / (len(p_values) - n)
        stands[name] = still
    return stands


def average(estimates: Sequence[Estimate]) -> Estimate:
    """The plain mean of several estimates whose errors are independent.

    Raises ValueError when there are none.

    >>> average([Estimate(0.2, 0.03), Estimate(0.4, 0.04)])
    Estimate(value=0.30000000000000004, error=0.025)
    """
    if not estimates:
        raise ValueError("estimates must be at least one, not none")
    n = len(estimates)
    values, errors = [each.value for each in estimates], [each.error for each in estimates]
    return Estimate(sum(values) / n, math.hypot(*errors) / n)


def equivalent_size(
    score: Estimate, small: tuple[float, Estimate], large: tuple[float, Estimate]
) -> Estimate:
    """The size at which a family of models would reach a score, on a line in log(size).

    small, large: size and score of two models of the family. The line runs on beyond them, where
    nothing supports it. The error follows from those of the three scores, to first order; that
    scores grow with log(size) is an assumption, and its error is not in it.
    Raises TypeError or ValueError for a size that is not positive, or unless the larger model is
    larger and scores higher.

    Half of the way from 50 to 60 % is half of the way from 10 to 40 billion in logarithms:

    >>> exact = lambda value: Estimate(value, 0.0)
    >>> round(equivalent_size(exact(0.55), (10, exact(0.5)), (40, exact(0.6))).value, 6)
    20.0
    """
    size, start = require_number("small", small[0], above=0), small[1]
    factor = require_number("large", large[0], above=size) / size
    rise = difference(large[1], start).value
    if rise <= 0:
        raise ValueError(f"large must score higher than small = {start.value}, not {rise:+} to it")
    way = (score.value - start.value) / rise
    value = float(size * factor**way)
    # d way / d score, d way / d start and d way / d end are 1, way - 1 and -way, each over rise.
    moved = math.hypot(score.error, (way - 1) * start.error, way * large[1].error) / rise
    return Estimate(value, value * math.log(factor) * moved)


def break_even_tokens(
    trained_on: float, more_trained_on: float, size: float, smaller: float
) -> float:
    """After how many tokens of use a smaller model, trained for longer, has cost less in all.

    Sizes are in parameters. Training costs 6 operations per parameter and token, use costs 2
    (Kaplan et al. 2020, section 2.1). Raises TypeError or ValueError unless smaller < size and
    the numbers are positive; 0 where it cost less from the start.

    Twice the tokens for half the size cost the same to train:

    >>> break_even_tokens(1e12, 2e12, size=14e9, smaller=7e9)
    0.0
    >>> f"{break_even_tokens(1e12, 3e12, size=14e9, smaller=7e9):.2e}"
    '3.00e+12'
    """
    trained_on = require_number("trained_on", trained_on, above=0)
    more_trained_on = require_number("more_trained_on", more_trained_on, above=0)
    smaller = require_number("smaller", smaller, above=0)
    size = require_number("size", size, above=smaller)
    extra = 6 * (smaller * more_trained_on - size * trained_on)
    return max(0.0, extra / (2 * (size - smaller)))
