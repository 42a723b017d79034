"""Checks of lesson 02: the rotation, the two layouts, and a cache that rotates by the slot."""

import sys
from collections.abc import Callable, Iterable, Sequence
from typing import Any

import numpy as np

from minimistral.checkpoint import to_halves as np_to_halves
from minimistral.checkpoint import to_pairs as np_to_pairs
from minimistral.course.checks.report import (
    Example,
    Wrong,
    array,
    call,
    diagnose_arrays,
    diagnose_number,
    exercise,
    expect,
    measured,
    whole_number,
)
from minimistral.course.mine.parts import rotate as np_rotate

Function = Callable[..., Any]
Mistakes = Iterable[tuple[Function, str]]


@exercise(
    "Rotation",
    course=np_rotate,
    hints=(
        "`x[:, 0::2]` holds the first number of every pair and `x[:, 1::2]` the second, so both "
        "have shape (T, D/2). Which shape must the angles have?",
        "`positions[:, None]` times the D/2 speeds `theta ** (-np.arange(0, D, 2) / D)` gives all "
        "angles, (T, D/2). Apply the loop's two formulas to whole arrays.",
        "With `a` and `b` for the two arrays of Hint 1, the result is `np.stack([a * cos - b * "
        "sin, a * sin + b * cos], axis=-1).reshape(x.shape)`: the last axis puts the two numbers "
        "of a pair side by side.",
    ),
)
def rotate(answer: Any) -> str:
    """answer(x (T, D), positions (T,), theta) -> (T, D)."""
    rng = np.random.default_rng(1)
    # Positions are small where D > 2, so that angles in float32 are exact enough.
    cases = [
        (np.array([[1.0, 2.0]]), np.array([1]), 1e4),
        (rng.standard_normal((2, 4)).round(1), np.array([2, 1]), 1e4),
        (rng.standard_normal((5, 8)).round(1), np.arange(5), 1e4),
        (rng.standard_normal((3, 6)).round(1), np.array([40, 7, 50]), 100.0),
        (rng.standard_normal((3, 2)).round(1), np.array([40, 7, 5000]), 100.0),
        (rng.standard_normal((4, 16)).round(1), np.array([9, 8, 8, 0]), 1e6),
    ]
    one_each = "Each pair has one angle, so the angles are (T, D/2): 2j is np.arange(0, D, 2)."
    axes = {
        "could not be broadcast": "positions[:, None] makes the angles (T, D/2).",
        "cannot reshape": one_each,
        "could not broadcast": one_each,
    }
    results = _results(answer, np_rotate, cases, hints=axes)
    diagnose_arrays(results, np_rotate, _rotate_mistakes(), _rotate_fault)
    few, many = (measured(_lines_run, answer, np.ones((n, n)), np.arange(n), 1e4) for n in (4, 64))
    expect(
        many < 2 * few,
        "right, but your code runs a loop: more tokens or pairs take more lines. "
        "The two formulas work on whole arrays at once.",
    )
    return f"agrees with the rule on all {len(cases)} cases, at any positions and without a loop."


@exercise(
    "From halves to pairs",
    course=np_to_pairs,
    hints=(
        "Row D/2 · half + j of a head belongs to pair j: `half` is 0 for the first number of the "
        "pair and 1 for the second. Which of the two counts faster in the new order?",
        "`weight.reshape(n_heads, 2, D // 2, E)` has one axis each for the head, the half, the "
        "pair and the column, where D is `len(weight) // n_heads`.",
        "Swap the two middle axes with `.swapaxes(1, 2)`, then reshape back to the shape of "
        "`weight`.",
    ),
)
def to_pairs(answer: Any) -> str:
    """answer(weight (n_heads * D, E), n_heads) -> the same shape, rows in the order of pairs."""
    shapes = ((1, 6, 2), (2, 4, 3), (3, 8, 5), (2, 12, 7))
    cases = [(np.arange(n * D * E, dtype=float).reshape(n * D, E), n) for n, D, E in shapes]
    hints = {
        "cannot reshape": "D is len(weight) // n_heads.",
        "out of bounds": "Only rows move (axis 0), D = len(weight) // n_heads for each head.",
        "'float' object": "A shape needs whole numbers: divide with //.",
    }
    results = _results(answer, np_to_pairs, cases, hints)
    diagnose_arrays(results, np_to_pairs, _layout_mistakes(), _layout_fault)
    return "each head's rows lie in pairs, and none is lost."


@exercise(
    "Rotated by the slot",
    hints=(
        "Write down the position and the slot of the query and of its four keys, for the queries "
        "at positions 3, 4 and 5.",
        "A score is right as long as slot(m) − slot(n) equals m − n. Which query is the first "
        "whose slot is 0 again, and which slot holds the key just before it?",
        "`last % W` and `n % W` are the only two wrong numbers in `scores_by_slot`: rotate the "
        "query by `last` and each key by `n`.",
    ),
)
def by_slot(first_wrong: Any, seen_as: Any, fixed: Any) -> str:
    """The symptom and the cure of rotating by n mod W, for W = 4."""
    diagnose_number("first_wrong", whole_number("first_wrong", first_wrong), 4, [
        (3, "The query at 3 looks at slots 0 to 3, which are positions 0 to 3."),
        (5, "There is already a wrong score one position earlier."),
        (0, "Slot and position are the same up to position 3."),
        (8, "The slots first wrap around at position 4."),
        (7, "The query at 7 lies in slot 3 again, but scores are wrong before that."),
        (-3, "That is a distance; first_wrong asks for the query's position."),
    ])  # fmt: skip
    diagnose_number("seen_as", whole_number("seen_as", seen_as), -3, [
        (3, "Mind the sign: the query is at slot 0, the key at slot 3; m - n is 0 - 3."),
        (1, "That is the true distance. The angles come from the slots 0 and 3."),
        (-1, "The slots are 0 for the query and 3 for the key before it."),
        (0, "The previous token's key lies in slot 3, the query's own in slot 0."),
        (-4, "The last slot is 3, not 4."),
        (4, "That is the query's position; seen_as asks for a difference of two slots."),
    ])  # fmt: skip
    rng = np.random.default_rng(3)
    cases = [
        (*rng.standard_normal((2, T, D)).round(1), W)
        for T, D, W in ((3, 2, 4), (3, 2, 2), (4, 8, 4), (5, 8, 4), (11, 8, 4), (9, 8, 1))
    ]
    hints = {
        "positional argument": "It is called as fixed(q, k, W).",
        "out of bounds": "A text may be shorter than W, so the oldest key is at max(0, ...).",
    }
    given = [_vector(call(fixed, *case, hints=hints, name="fixed")) for case in cases]
    _diagnose_lengths(cases, given)
    results = [
        (case, array(result, _scores(*case).shape))
        for case, result in zip(cases, given, strict=True)
    ]
    diagnose_arrays(results, _scores, _slot_mistakes(), _slot_fault)
    return "all distances are right, because the slots no longer play a part."


def _results(
    answer: Any, right: Function, cases: Sequence[tuple], hints: dict[str, str]
) -> list[tuple[tuple, np.ndarray]]:
    """What the answer gives for each case, whose first argument has the shape of the result."""
    results = []
    for case in cases:
        given = call(answer, *case, hints=hints)
        try:
            results.append((case, array(given, case[0].shape)))
        except Wrong as wrong:
            shown = isinstance(given, np.ndarray) and given.dtype.kind in "fiu"
            example = Example(case, given, right(*case)) if shown else None
            raise Wrong(str(wrong), example) from None
    return results


def _lines_run(answer: Any, *arguments: Any) -> int:
    """How many lines of Python a call runs; a loop runs its lines again and again."""
    n_lines = 0

    def count(_frame: Any, event: str, _value: Any) -> Any:
        nonlocal n_lines
        n_lines += event == "line"
        return count

    before = sys.gettrace()
    sys.settrace(count)
    try:
        call(answer, *arguments)
    finally:
        sys.settrace(before)
    return n_lines


def _vector(result: Any) -> Any:
    """A list of numbers is as good as an array here."""
    if not isinstance(result, list):
        return result
    return np.array([float(x.detach() if hasattr(x, "detach") else x) for x in result])


def _diagnose_lengths(cases: Sequence[tuple], given: Sequence[Any]) -> None:
    lengths = [np.shape(result) for result in given]
    for length, why in (
        (lambda T, W: min(T, 4), "it always keeps 4 keys; 4 was an example, so use W."),
        (lambda T, W: T, "it scores every key; the cache holds the last W only."),
        (lambda T, W: min(T, W + 1), "one key too many: the last W keys include the query's own."),
        (lambda T, W: min(T - 1, W - 1), "one key is missing: the last W keys include its own."),
        (lambda T, W: min(T - 1, W), "the query's own key, the newest, is missing."),
        (lambda T, W: W, "there are W scores even where the text has fewer tokens."),
    ):
        wanted = [_scores(*case).shape for case in cases]
        n = next((n for n in range(len(cases)) if lengths[n] != wanted[n]), None)
        if n is not None and lengths == [(length(len(k), W),) for _, k, W in cases]:
            raise Wrong(why, Example(cases[n], np.array(given[n]), _scores(*cases[n])))


def _scores(
    q: np.ndarray,
    k: np.ndarray,
    W: int,
    number: Callable = lambda i, W: i,
    key_number: Callable | None = None,
) -> np.ndarray:
    """The last query's scores with the last W keys, oldest first, turned by number(position, W)."""
    last = len(k) - 1
    kept = np.arange(max(0, last - W + 1), last + 1)
    turned = np_rotate(q[last:], np.array([number(last, W)]), 1e4)[0]
    return np_rotate(k[kept], (key_number or number)(kept, W), 1e4) @ turned


def _pairs(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return x[:, 0::2], x[:, 1::2]


def _side_by_side(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return np.stack([a, b], axis=-1).reshape(len(a), -1)


def _tables(x: np.ndarray, positions: np.ndarray, theta: float) -> tuple[np.ndarray, np.ndarray]:
    D = x.shape[1]
    angles = positions[:, None] * theta ** (-np.arange(0, D, 2) / D)
    return np.cos(angles), np.sin(angles)


def _by_angles(angles: Function) -> Function:
    """A rotation by angles(p (T, 1), theta, n (D/2,), D), where n is 2j for pair j."""

    def mistaken(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
        D = x.shape[1]
        turned = angles(positions[:, None], theta, np.arange(0, D, 2), D)
        a, b = _pairs(x)
        cos, sin = np.cos(turned), np.sin(turned)
        return _side_by_side(a * cos - b * sin, a * sin + b * cos)

    return mistaken


_WRONG_ANGLES: list[tuple[Function, str]] = [
    (lambda p, theta, n, D: -p * theta ** (-n / D),
     "it turns the other way. First a cos - b sin, then a sin + b cos."),
    (lambda p, theta, n, D: np.pi / 2 - p * theta ** (-n / D),
     "sine and cosine are swapped. First a cos - b sin, then a sin + b cos."),
    (lambda p, theta, n, D: (p + 1) * theta ** (-n / D),
     "everything is turned one position too far. Position 0 is not turned at all."),
    (lambda p, theta, n, D: (p - 1) * theta ** (-n / D),
     "everything is turned by the position before. Positions already count from 0."),
    (lambda p, theta, n, D: 2 * p * theta ** (-n / D),
     "everything is turned twice as far as the rule says."),
    (lambda p, theta, n, D: p * theta ** (-(n + 2) / D),
     "the exponent of pair 0 must be 0: count the pairs from 0, not from 1."),
    (lambda p, theta, n, D: p * theta ** (-(n // 2) / D),
     "the exponent is -j/D; it must be -2j/D."),
    (lambda p, theta, n, D: p * theta ** (-2 * n / D),
     "the exponent is -4j/D; it must be -2j/D, and 2j is 0, 2, 4 …"),
    (lambda p, theta, n, D: p * theta ** (-1.0 * n),
     "the exponent is -2j; divide it by D."),
    (lambda p, theta, n, D: p * theta ** (-n / len(p)),
     "the exponent is divided by the number of tokens; divide by D, x.shape[1]."),
    (lambda p, theta, n, D: p * theta ** (-n // D * 1.0),
     "// rounds the exponent to a whole number; divide with /."),
    (lambda p, theta, n, D: p * theta ** -np.linspace(0, 1, D // 2),
     "np.linspace ends at 1, but the largest exponent is 2j/D = 1 - 2/D."),
    (lambda p, theta, n, D: p * theta ** (n / D),
     "later pairs turn faster; they must turn more slowly: theta ** (-2j/D)."),
    (lambda p, theta, n, D: p * theta ** (-n / D)[::-1],
     "the pairs are in reverse order: pair 0 turns by 1 radian per position."),
    (lambda p, theta, n, D: p * np.ones(D // 2),
     "all pairs turn equally fast. Pair j turns by position * theta ** (-2j/D)."),
    (lambda p, theta, n, D: p * theta * np.ones(D // 2),
     "theta has no exponent. Pair j turns by position * theta ** (-2j/D)."),
    (lambda p, theta, n, D: p * theta * -n / D,
     "theta is multiplied by the exponent; ** raises it to the power."),
    (lambda p, theta, n, D: (p / theta) ** (n / D),
     "the power is taken of position / theta; only theta has the exponent."),
    (lambda p, theta, n, D: (p * theta) ** (-n / D),
     "the power is taken of position * theta; only theta has the exponent."),
    (lambda p, theta, n, D: p * np.exp(-n / D),
     "theta plays no part: np.exp has the base e. Write theta ** (-2j/D)."),
    (lambda p, theta, n, D: np.ones(p.shape) * theta ** (-n / D),
     "positions play no part: the angle is position * theta ** (-2j/D)."),
    (lambda p, theta, n, D: np.arange(len(p))[:, None] * theta ** (-n / D),
     "it counts rows. Use the numbers in positions."),
    (lambda p, theta, n, D: (p - p[0]) * theta ** (-n / D),
     "the first position is subtracted from all; positions are absolute."),
    (lambda p, theta, n, D: (p - p.min()) * theta ** (-n / D),
     "the smallest position is subtracted from all; positions are absolute."),
    (lambda p, theta, n, D: np.sort(p, axis=0) * theta ** (-n / D),
     "the positions are sorted; row t of x has position positions[t]."),
    (lambda p, theta, n, D: p % len(p) * theta ** (-n / D),
     "positions are taken modulo T; they may be larger than the number of tokens."),
    (lambda p, theta, n, D: p[-1:] * theta ** (-n / D),
     "all tokens are turned by the last position. positions[:, None] has one row per token."),
    (lambda p, theta, n, D: p[:1] * theta ** (-n / D),
     "all tokens are turned by the first position. positions[:, None] has one row per token."),
    (lambda p, theta, n, D: np.radians(p * theta ** (-n / D)), "angles are in radians already."),
    (lambda p, theta, n, D: np.degrees(p * theta ** (-n / D)), "angles are in radians already."),
    (lambda p, theta, n, D: 2 * np.pi * p * theta ** (-n / D),
     "2π does not belong here: pair 0 turns by 1 radian per position, not by a full round."),
    *((lambda p, theta, n, D, fixed=fixed: p * fixed ** (-n / D),
       f"theta is always {fixed:,.0f}. Use the argument.") for fixed in (1e4, 1e6)),
    *((lambda p, theta, n, D, fixed=fixed: p * theta ** (-n / fixed),
       f"D is always {fixed}. Take it from x's shape.") for fixed in (8, 128)),
]  # fmt: skip


def _rotate_fault(case: tuple, result: np.ndarray) -> str:
    """What the first wrong pair violates: its length, or its angle."""
    x, positions, _theta = case
    before, after, right = (a + 1j * b for a, b in map(_pairs, (x, result, np_rotate(*case))))
    t, j = (int(n) for n in np.argwhere(~np.isclose(after, right, rtol=1e-4, atol=1e-6))[0])
    old, new, p = before[t, j], after[t, j], positions[t]
    if not np.isclose(abs(old), abs(new), rtol=1e-3):
        return (
            f"a rotation keeps the length of every pair, but that of pair {j} goes from"
            f" {abs(old):.3f} to {abs(new):.3f} at position {p}."
        )
    wrong, wanted = (np.angle(z / old) for z in (new, right[t, j]))
    return (
        f"up to full rounds, pair {j} at position {p} turns by {wrong:.3f} radians;"
        f" the rule gives {wanted:.3f}."
    )


def _layout_fault(case: tuple, result: np.ndarray) -> str:
    """Which row came to the first wrong place."""
    weight, n_heads = case
    D, right = len(weight) // n_heads, np_to_pairs(*case)
    row = int(np.argwhere((result != right).any(axis=1))[0, 0])
    old = np.flatnonzero((weight == result[row]).all(axis=1))
    wanted = int(np.flatnonzero((weight == right[row]).all(axis=1))[0])
    came = f"row {old[0]} of the old matrix" if len(old) else "no row of the old matrix"
    return f"new row {row} is {came}; with n_heads = {n_heads} and D = {D} it must be row {wanted}."


def _slot_fault(case: tuple, result: np.ndarray) -> str:
    """Which distance the first wrong score belongs to."""
    q, k, W = case
    n = int(np.argwhere(~np.isclose(result, _scores(*case), rtol=1e-4, atol=1e-6))[0, 0])
    back = len(result) - 1 - n
    key = k[len(k) - 1 - back][None]
    for distance in sorted(range(-20, 21), key=abs):
        if np.isclose(result[n], np_rotate(q[-1:], np.array([distance]), 1e4)[0] @ key[0]):
            return f"for W = {W}, the key {back} back is scored as if it were {distance} back."
    return ""


def _rotate_mistakes() -> Mistakes:
    def halves(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
        (a, b), (cos, sin) = np.split(x, 2, axis=1), _tables(x, positions, theta)
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=1)

    def formula(change: Function) -> Function:
        """change(a, b, cos, sin) -> the two numbers of each pair."""

        def mistaken(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
            return _side_by_side(*change(*_pairs(x), *_tables(x, positions, theta)))

        return mistaken

    def from_tables(crossed: Function, spread: Function) -> Function:
        """x · cos + crossed(x) · sin, with tables of D columns made by `spread`."""

        def mistaken(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
            cos, sin = (spread(table) for table in _tables(x, positions, theta))
            return x * cos + crossed(x) * sin

        return mistaken

    def only_columns(stop: Callable[[int], int]) -> Function:
        def mistaken(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
            turned, n = x.copy(), stop(x.shape[1])
            turned[:, :n] = np_rotate(x, positions, theta)[:, :n]
            return turned

        return mistaken

    in_pairs = lambda x: _side_by_side(-x[:, 1::2], x[:, 0::2])  # noqa: E731
    in_halves = lambda x: np.hstack(np.split(x, 2, axis=1)[::-1] * np.array([[[-1]], [[1]]]))  # noqa: E731
    return [
        *((_by_angles(angles), why) for angles, why in _WRONG_ANGLES),
        (formula(lambda a, b, cos, sin: (a * cos + b * sin, a * sin + b * cos)),
         "one sign is wrong: the first number is a cos - b sin."),
        (formula(lambda a, b, cos, sin: (a * cos - b * sin, a * sin - b * cos)),
         "one sign is wrong: the second number is a sin + b cos."),
        (formula(lambda a, b, cos, sin: (a * sin + b * cos, a * cos - b * sin)),
         "the two numbers of a pair are swapped. First a cos - b sin, then a sin + b cos."),
        (formula(lambda a, b, cos, sin: (a * sin - b * cos, a * sin + b * cos)),
         "sine and cosine are swapped in the first number, a cos - b sin."),
        (formula(lambda a, b, cos, sin: (a * cos - b * sin, a * cos + b * sin)),
         "sine and cosine are swapped in the second number, a sin + b cos."),
        (formula(lambda a, b, cos, sin: (a * cos, b * cos)),
         "the sines are missing. First a cos - b sin, then a sin + b cos."),
        (formula(lambda a, b, cos, sin: (a * cos - b * sin, b)),
         "the second number of each pair stays as it was; it becomes a sin + b cos."),
        (formula(lambda a, b, cos, sin: (a, a * sin + b * cos)),
         "the first number of each pair stays as it was; it becomes a cos - b sin."),
        (formula(lambda a, b, cos, sin:
             (first := a * cos - b * sin, first * sin + b * cos)),
         "the second numbers are computed from first numbers that are already rotated."),
        (from_tables(in_pairs, lambda table: np.tile(table, 2)),
         "the cosines and sines lie in halves, x in pairs. np.repeat gives each pair its own."),
        (from_tables(in_halves, lambda table: np.repeat(table, 2, axis=1)),
         "x is crossed in halves, but the cosines and sines lie in pairs."),
        (halves, "the pairs are (j, j + D/2). Here they lie side by side: 2j and 2j + 1."),
        (lambda x, positions, theta: x, "nothing turns."),
        (only_columns(lambda D: 2), "only pair 0 turns; all D/2 pairs do."),
        (only_columns(lambda D: D // 2), "only the first half of the numbers turns; all D do."),
        (lambda x, p, theta: np.hstack(_pairs(np_rotate(x, p, theta))),
         "right, but the numbers lie in halves; put them back into pairs."),
        (lambda x, p, theta: np.stack(_pairs(np_rotate(x, p, theta))).reshape(x.shape),
         "right until the reshape, which mixes tokens: np.stack needs axis=-1."),
        (lambda x, p, theta: np.stack(_pairs(np_rotate(x, p, theta)), -1).swapaxes(0, 1)
         .reshape(x.shape), "right until the reshape, which mixes tokens and pairs."),
        *((lambda x, p, theta, order=order: x + _side_by_side(*_tables(x, p, theta)[::order]),
           "it adds cosines and sines to x; the rule rotates x and adds nothing.")
          for order in (1, -1)),
        (lambda x, p, theta: np_rotate(x, p, theta) / np.linalg.norm(x, axis=1, keepdims=True),
         "right, but divided by the length of x; a rotation keeps it."),
        (lambda x, p, theta: np.trunc(np_rotate(x, p, theta)),
         "the results are cut to whole numbers; fill an array of floating-point numbers."),
    ]  # fmt: skip


def _layout_mistakes() -> Mistakes:
    def order(rows: Function) -> Function:
        """Each head's rows in another order: rows(D) says which old row comes where."""

        def mistaken(weight: np.ndarray, n_heads: int) -> np.ndarray:
            heads = np.split(weight, n_heads)
            return np.concatenate([head[rows(len(head))] for head in heads])

        return mistaken

    def axes(*order: int) -> Function:
        def mistaken(weight: np.ndarray, n_heads: int) -> np.ndarray:
            parts = weight.reshape(n_heads, 2, -1, weight.shape[1])
            return parts.transpose(order).reshape(weight.shape)

        return mistaken

    def first_head(weight: np.ndarray, n_heads: int) -> np.ndarray:
        D = len(weight) // n_heads
        return np.concatenate([np_to_pairs(weight[:D], 1), weight[D:]])

    def overwritten(weight: np.ndarray, n_heads: int) -> np.ndarray:
        heads = weight.reshape(n_heads, -1, weight.shape[1]).copy()
        half = heads.shape[1] // 2
        heads[:, 0::2] = heads[:, :half].copy()
        heads[:, 1::2] = heads[:, half:].copy()
        return heads.reshape(weight.shape)

    whole = lambda weight, n_heads: np_to_pairs(weight, 1)  # noqa: E731
    return [
        (np_to_halves, "that is the way back, from pairs to halves."),
        (whole, "it mixes the heads. Each head's rows are converted by themselves."),
        (lambda weight, n_heads: np_to_pairs(weight, len(weight) // (2 * n_heads)),
         "n_heads and D/2 are swapped."),
        (lambda weight, n_heads: np_to_halves(weight, 1),
         "that is the way back, from pairs to halves, and it mixes the heads."),
        (lambda weight, n_heads: weight, "nothing has moved."),
        (order(lambda D: np_to_pairs(np.arange(D), 1) [np.arange(D) ^ 1]),
         "the two rows of each pair are swapped. New row 0 of a head is its old row 0."),
        (order(lambda D: np.arange(D)[::-1]),
         "the rows are reversed. New row 1 of a head is its old row D/2."),
        (order(lambda D: np.stack([np.arange(D // 2), np.arange(D)[:D // 2 - 1:-1]], 1).ravel()),
         "the second rows come in reverse order: row j belongs with row j + D/2."),
        (order(lambda D: np.arange(D) // 2),
         "the first half of each head's rows is used twice, and the second half is lost."),
        (order(lambda D: np.arange(D) ^ 1),
         "neighbouring rows change places. Row j belongs with row j + D/2."),
        (order(lambda D: np.roll(np.arange(D), D // 2)),
         "the two halves of each head change places; they must alternate, row by row."),
        (first_head, "only the first head is converted."),
        (lambda weight, n_heads: weight.reshape(n_heads, -1, weight.shape[1]).swapaxes(0, 1)
         .reshape(weight.shape), "the rows of the heads alternate; each head stays together."),
        (overwritten, "rows are read that were overwritten before; read from the old array."),
        (lambda weight, n_heads: np_to_pairs(np_to_pairs(weight, n_heads), n_heads),
         "the rows are converted twice."),
        *((axes(*swapped),
           "the wrong axes are swapped. Swap the two middle ones, of length 2 and D/2: Hint 3.")
          for swapped in ((1, 0, 2, 3), (2, 1, 0, 3), (3, 1, 2, 0), (0, 3, 2, 1), (0, 1, 3, 2),
                          (2, 0, 1, 3), (1, 2, 0, 3), (3, 2, 1, 0), (2, 1, 3, 0))),
        (lambda weight, n_heads: np_to_pairs(weight.T.reshape(weight.shape), n_heads),
         "columns and rows are mixed up. Only rows move."),
    ]  # fmt: skip


def _slot_mistakes() -> Mistakes:
    position = lambda i, W: i  # noqa: E731
    slot = lambda i, W: i % W  # noqa: E731
    nothing = lambda i, W: i * 0  # noqa: E731
    right: Function = _scores
    return [
        (lambda *c: right(*c, slot), "it still turns by the slots."),
        (lambda *c: right(*c, slot, position),
         "the keys are turned by positions, but the query still by its slot."),
        (lambda *c: right(*c, position, slot),
         "the query is turned by its position, but the keys still by their slots."),
        (lambda *c: right(*c, position, lambda i, W: np.arange(len(i))),
         "the keys are turned by their row numbers, 0, 1, 2 …; turn them by their positions."),
        (lambda *c: right(*c, lambda i, W: W - 1, lambda i, W: np.arange(len(i))),
         "the query is always turned by W - 1, also before the cache is full."),
        (lambda *c: right(*c, lambda i, W: i + 1, position),
         "the query is turned one position too far: the last of len(k) tokens is at len(k) - 1."),
        (lambda *c: right(*c, position, lambda i, W: i + 1),
         "the keys are turned one position too far: count them from 0."),
        (lambda *c: right(*c, position, nothing), "only the query is turned; turn the keys, too."),
        (lambda *c: right(*c, nothing, position), "only the keys are turned; turn the query, too."),
        (lambda *c: right(*c, nothing, lambda i, W: i[-1] - i),
         "the distance has the wrong sign: it is the query's position minus the key's."),
        *((lambda *c, n=n: right(*c, lambda i, W: i % (n * W)),
           f"a remainder is left, modulo {n} W; positions never wrap.") for n in (2, 10)),
        (lambda *c: right(*c, lambda i, W: i // W),
         "i // W counts rounds of the cache; turn by the position i."),
        (lambda *c: right(*c)[::-1], "the newest key comes first; the oldest should."),
        (lambda q, k, W: right(q, k, W)[np.argsort(np.arange(len(k))[-W:] % W)],
         "the scores lie in the order of the slots. The oldest key comes first."),
        (lambda *c: right(*c, nothing), "nothing is turned: all positions are the same."),
        (lambda q, k, W: right(np.repeat(q[:1], len(q), 0), k, W),
         "it takes the first query; the last one asks, q[-1]."),
        (lambda q, k, W: right(k, q, W), "q and k are swapped."),
        (lambda q, k, W: right(q, np.roll(k, W - len(k), 0), W),
         "it takes the first W keys; the cache holds the last W."),
        (lambda q, k, W: right(q, k, W) / np.sqrt(q.shape[1]),
         "right, but divided by sqrt(head_dim); leave that out here."),
        (lambda *c: np.exp(right(*c)) / np.exp(right(*c)).sum(),
         "right, but after softmax; return the scores."),
    ]  # fmt: skip
