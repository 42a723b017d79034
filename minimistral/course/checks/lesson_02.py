"""Checks of lesson 02: the rotation, the two layouts, and a cache that turns by the slot."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.checkpoint import to_halves as np_to_halves
from minimistral.checkpoint import to_pairs as np_to_pairs
from minimistral.course.checks.report import (
    array,
    call,
    diagnose_arrays,
    diagnose_number,
    exercise,
    whole_number,
)
from minimistral.np import apply_rope, rope_tables

_AXES = {"could not be broadcast": "positions[:, None] makes the angles (T, D/2)."}
Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]


@exercise("Rotation")
def rotate(answer: Any) -> str:
    """answer(x (T, D), positions (T,), theta) -> (T, D)."""
    rng = np.random.default_rng(1)
    cases = [
        (rng.standard_normal((1, 2)), np.array([1]), 1e4),
        (rng.standard_normal((5, 8)), np.arange(5), 1e4),
        (rng.standard_normal((3, 6)), np.array([40, 7, 5000]), 100.0),
        (rng.standard_normal((4, 16)), np.array([9, 8, 8, 0]), 1e6),
    ]
    results = [(case, array(call(answer, *case, hints=_AXES), case[0].shape)) for case in cases]
    diagnose_arrays(results, _rotate, _rotate_mistakes())
    return f"agrees with the rule on all {len(cases)} cases, at any positions."


@exercise("From halves to pairs")
def to_pairs(answer: Any) -> str:
    """answer(weight (n_heads * D, E), n_heads) -> the same shape, rows in the order of pairs."""
    rng = np.random.default_rng(2)
    cases = [(rng.standard_normal((n * D, E)), n) for n, D, E in ((1, 6, 3), (3, 8, 5), (2, 12, 7))]
    results = [(case, array(call(answer, *case), case[0].shape)) for case in cases]
    diagnose_arrays(results, np_to_pairs, _layout_mistakes())
    return "each head's rows lie in pairs, and none is lost."


@exercise("Turned by the slot")
def by_slot(first_wrong: Any, seen_as: Any, fixed: Any) -> str:
    """The symptom and the cure of turning by n mod W, for W = 4."""
    diagnose_number("first_wrong", whole_number("first_wrong", first_wrong), 4, [
        (3, "The query at 3 looks at slots 0 to 3, which are positions 0 to 3."),
        (5, "There is already a wrong score one position earlier."),
        (0, "Slot and position are the same up to position 3."),
        (8, "The slots first wrap around at position 4."),
    ])  # fmt: skip
    diagnose_number("seen_as", whole_number("seen_as", seen_as), -3, [
        (3, "Mind the sign: the query is at slot 0, the key at slot 3; m - n is 0 - 3."),
        (1, "That is the true distance. The angles come from the slots 0 and 3."),
        (-1, "The slots are 0 for the query and 3 for the key before it."),
        (0, "The previous token's key lies in slot 3, the query's own in slot 0."),
        (-4, "The last slot is 3, not 4."),
    ])  # fmt: skip
    rng = np.random.default_rng(3)
    cases = [
        (*rng.standard_normal((2, T, 8)), W) for T, W in ((3, 4), (4, 4), (5, 4), (11, 4), (9, 1))
    ]
    results = [(case, array(call(fixed, *case), (min(len(case[1]), case[2]),))) for case in cases]
    diagnose_arrays(results, _scores, _slot_mistakes())
    return "all distances are right, and the order of slots no longer matters."


def _rotate(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
    cos, sin = rope_tables(positions, x.shape[1], theta, x.dtype)
    return apply_rope(x[None, None], cos, sin)[0, 0]


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
    turned = _rotate(q[last:], np.array([number(last, W)]), 1e4)[0]
    return _rotate(k[kept], (key_number or number)(kept, W), 1e4) @ turned


def _rotate_mistakes() -> Mistakes:
    def halves(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
        D = x.shape[1]
        swap = np.arange(D).reshape(2, D // 2).T.ravel()  # the halves interleaved
        turned = np.empty_like(x)
        turned[:, swap] = _rotate(x[:, swap], positions, theta)
        return turned

    def overwritten(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
        turned = _rotate(x, positions, theta)
        angles = positions[:, None] * theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])
        turned[:, 1::2] = turned[:, 0::2] * np.sin(angles) + x[:, 1::2] * np.cos(angles)
        return turned

    def side_by_side(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
        turned = _rotate(x, positions, theta)
        return np.concatenate([turned[:, 0::2], turned[:, 1::2]], axis=1)

    def with_angles(angles: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def mistaken(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
            pairs = x[:, 0::2] + 1j * x[:, 1::2]
            turned = pairs * np.exp(1j * angles(positions[:, None], theta, x.shape[1]))
            return np.stack([turned.real, turned.imag], axis=-1).reshape(x.shape)

        return mistaken

    def with_signs(first: int, second: int, swap: bool = False) -> Callable[..., np.ndarray]:
        def mistaken(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
            angles = positions[:, None] * theta ** (-j2(x.shape[1]) / x.shape[1])
            cos, sin = np.cos(angles), np.sin(angles)
            a, b = x[:, 0::2], x[:, 1::2]
            turned = [a * cos + first * b * sin, a * sin + second * b * cos]
            return np.stack(turned[::-1] if swap else turned, axis=-1).reshape(x.shape)

        return mistaken

    def tables_in_halves(x: np.ndarray, positions: np.ndarray, theta: float) -> np.ndarray:
        angles = positions[:, None] * theta ** (-j2(x.shape[1]) / x.shape[1])
        cos, sin = (np.tile(table(angles), 2) for table in (np.cos, np.sin))
        crossed = np.stack([-x[:, 1::2], x[:, 0::2]], axis=-1).reshape(x.shape)
        return x * cos + crossed * sin

    j2 = lambda D: np.arange(0, D, 2)  # noqa: E731
    return [
        (with_angles(lambda p, theta, D: -p * theta ** (-j2(D) / D)),
         "it turns the other way. First a cos - b sin, then a sin + b cos."),
        (with_signs(1, 1), "one sign is wrong: the first number is a cos - b sin."),
        (with_signs(-1, -1), "one sign is wrong: the second number is a sin + b cos."),
        (with_signs(-1, 1, swap=True),
         "the two numbers of a pair are swapped. First a cos - b sin, then a sin + b cos."),
        (with_angles(lambda p, theta, D: np.pi / 2 - p * theta ** (-j2(D) / D)),
         "sine and cosine are swapped. First a cos - b sin, then a sin + b cos."),
        (with_angles(lambda p, theta, D: (p + 1) * theta ** (-j2(D) / D)),
         "everything is turned one position too far. Position 0 is not turned at all."),
        (with_angles(lambda p, theta, D: p * theta ** (-(j2(D) + 2) / D)),
         "the exponent of pair 0 must be 0: count the pairs from 0, not from 1."),
        (tables_in_halves,
         "the cosines and sines lie in halves, x in pairs. np.repeat gives each pair its own."),
        (halves, "the pairs are (j, j + D/2). Here they lie side by side: 2j and 2j + 1."),
        (with_angles(lambda p, theta, D: p * theta ** (-(j2(D) // 2) / D)),
         "the exponent is -j/D; it must be -2j/D."),
        (with_angles(lambda p, theta, D: p * theta ** (-2 * j2(D) / D)),
         "the exponent is -4j/D; it must be -2j/D, and 2j is 0, 2, 4 …"),
        (with_angles(lambda p, theta, D: p * theta ** (j2(D) / D)),
         "later pairs turn faster; they must turn more slowly: theta ** (-2j/D)."),
        (with_angles(lambda p, theta, D: np.arange(len(p))[:, None] * theta ** (-j2(D) / D)),
         "it counts rows. Use the numbers in positions."),
        (with_angles(lambda p, theta, D: p * np.ones(D // 2)),
         "all pairs turn equally fast. Pair j turns by position * theta ** (-2j/D)."),
        (with_angles(lambda p, theta, D: p * 10_000.0 ** (-j2(D) / D)),
         "theta is always 10,000. Use the argument."),
        *((with_angles(lambda p, theta, D, fixed=fixed: p * theta ** (-j2(D) / fixed)),
           f"D is always {fixed}. Take it from x's shape.")
          for fixed in (8, 128)),
        (with_angles(lambda p, theta, D: np.radians(p * theta ** (-j2(D) / D))),
         "angles are in radians already."),
        (lambda x, positions, theta: x, "nothing turns."),
        (overwritten,
         "the second numbers are computed from first numbers that are already rotated."),
        (side_by_side, "right, but the numbers lie in halves; put them back into pairs."),
    ]  # fmt: skip


def _layout_mistakes() -> Mistakes:
    def whole(weight: np.ndarray, n_heads: int) -> np.ndarray:
        return np_to_pairs(weight, 1)

    def by_heads(weight: np.ndarray, n_heads: int) -> np.ndarray:
        return np_to_pairs(weight, len(weight) // (2 * n_heads))

    def swapped(*axes: int) -> Callable[[np.ndarray, int], np.ndarray]:
        def mistaken(weight: np.ndarray, n_heads: int) -> np.ndarray:
            parts = weight.reshape(n_heads, 2, -1, weight.shape[1])
            return parts.swapaxes(*axes).reshape(weight.shape)

        return mistaken

    return [
        (np_to_halves, "that is the way back, from pairs to halves."),
        (whole, "it mixes the heads. Each head's rows are converted by themselves."),
        (by_heads, "n_heads and D/2 are swapped."),
        (lambda weight, n_heads: weight, "nothing has moved."),
        (lambda weight, n_heads:
             np_to_pairs(weight, n_heads).reshape(-1, 2, weight.shape[1])[:, ::-1]
             .reshape(weight.shape),
         "the two rows of each pair are swapped. New row 0 of a head is its old row 0."),
        *((swapped(*axes),
           "the wrong axes are swapped. Swap the two middle ones, of length 2 and D/2: Hint 2.")
          for axes in ((0, 1), (0, 2), (0, 3), (1, 3), (2, 3))),
        (lambda weight, n_heads: np.concatenate(
            [part[::-1] for part in np.split(weight, n_heads)]),
         "the rows are reversed. New row 1 of a head is its old row D/2."),
        (lambda weight, n_heads: np_to_pairs(weight.T.reshape(weight.shape), n_heads),
         "columns and rows are mixed up. Only rows move."),
    ]  # fmt: skip


def _slot_mistakes() -> Mistakes:
    return [
        (lambda q, k, W: _scores(q, k, W, lambda i, W: i % W), "it still turns by the slots."),
        (lambda q, k, W: _scores(q, k, W, lambda i, W: i % W, lambda i, W: i),
         "the keys are turned by positions, but the query still by its slot."),
        (lambda q, k, W: _scores(q, k, W, lambda i, W: i, lambda i, W: i % W),
         "the query is turned by its position, but the keys still by their slots."),
        (lambda q, k, W: _scores(q, k, W, key_number=lambda i, W: np.arange(len(i))),
         "the keys are turned by their row numbers, 0, 1, 2 …; turn them by their positions."),
        (lambda q, k, W: _scores(q, k, W)[::-1], "the newest key comes first; the oldest should."),
        (lambda q, k, W: _scores(q, k, W)[np.argsort(np.arange(len(k))[-W:] % W)],
         "the scores lie in the order of the slots. The oldest key comes first."),
        (lambda q, k, W: _scores(q, k, W, lambda i, W: i * 0),
         "nothing is turned: all positions are the same."),
        (lambda q, k, W: _scores(q, k, W) / np.sqrt(q.shape[1]),
         "right, but divided by sqrt(head_dim); leave that out here."),
    ]  # fmt: skip
