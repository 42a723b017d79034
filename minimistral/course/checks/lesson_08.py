"""Checks of lesson 08: norm, feed-forward network, layer, a gate mixed up, a model's cache."""

from collections.abc import Callable, Iterable
from numbers import Real
from typing import Any

import numpy as np

from minimistral.course.checks import cached
from minimistral.course.checks.report import (
    NotWritten,
    Wrong,
    array,
    call,
    diagnose_arrays,
    exercise,
    expect,
)
from minimistral.np import feed_forward as np_feed_forward
from minimistral.np import rms_norm as np_rms_norm
from minimistral.np.feedforward import silu

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]
_ONE_NUMBER = {
    "converted to Python scalars": "math takes one number; np.sqrt and np.exp take arrays."
}
_NORM_HINTS = {
    "axis 1 is out of bounds": "That is axis 1; with three axes, or with one, the last is axis=-1.",
    **_ONE_NUMBER,
    "broadcast": "Keep the axis of the mean: keepdims=True.",
}
_OUT_IN = "Weights are (out, in): write x @ w.T for each of the three."
_PRODUCT_HINTS = {
    **_ONE_NUMBER, "core dimension": _OUT_IN, "not aligned": _OUT_IN, "broadcast": _OUT_IN,
}  # fmt: skip
_FIRST_CHUNK = "There the cache is empty: look at the mask."
_LATER_CHUNK = "There the cache is in use: look at the keys, the mask and the time of writing."
Part = Callable[[np.ndarray], np.ndarray]


def _layer(x: np.ndarray, attention: Part, ffn: Part, norm1: Part, norm2: Part) -> np.ndarray:
    h = x + attention(norm1(x))
    return h + ffn(norm2(h))


@exercise(
    "RMSNorm",
    course=np_rms_norm,
    hints=(
        "Square x, take the mean over the last axis, add eps, take the root: that is the size by"
        " which each vector is divided.",
        "`(x * x).mean(axis=-1, keepdims=True)` keeps the last axis, so that its shape can be"
        " divided into x, whatever axes stand in front.",
        "Divide `x` by `np.sqrt(mean_square + eps)`, and multiply by `weight` last.",
    ),
)
def rms_norm(answer: Any) -> str:
    """answer(x (..., E), weight (E,), eps) -> (..., E)."""
    rng = np.random.default_rng(8)
    cases = [
        (rng.standard_normal((2, 3)) * scale + shift, rng.uniform(0.5, 2, 3), eps)
        for scale, shift, eps in ((1, 0, 1e-5), (5, 3, 0.1), (0.001, 0, 1e-5))
    ]
    cases.append((rng.standard_normal((2, 4, 5)), rng.uniform(0.5, 2, 5), 1e-6))
    cases.append((np.zeros((1, 4)), np.ones(4), 1e-5))
    cases.append((np.array([3.0, -4.0]), np.array([1.0, 2.0]), 1e-5))  # one vector alone
    results = [
        (case, array(call(answer, *case, hints=_NORM_HINTS), case[0].shape)) for case in cases
    ]
    diagnose_arrays(results, np_rms_norm, _norm_mistakes(), _norm_fault)
    return f"agrees with the rule on all {len(cases)} cases, also for small vectors."


@exercise(
    "SwiGLU",
    course=np_feed_forward,
    hints=(
        "The gate is `x @ w1.T` and the value is `x @ w3.T`; w2 is applied last, to their product.",
        "silu(z) is z / (1 + exp(−z)): in NumPy `gate / (1 + np.exp(-gate))`.",
        "With `gate = x @ w1.T`, multiply silu(gate) by `x @ w3.T`, entry by entry, and multiply"
        " the result by `w2.T` from the right.",
    ),
)
def feed_forward(answer: Any) -> str:
    """answer(x (..., E), w1 (F, E), w2 (E, F), w3 (F, E)) -> (..., E)."""
    cases = _networks()
    square = [case for case in cases if case[1].shape[0] == case[1].shape[1]]
    # All products fit there, so that a wrong order of the matrices is told as such.
    diagnose_arrays(_run(answer, square), np_feed_forward, _network_mistakes())
    diagnose_arrays(_run(answer, cases), np_feed_forward, _network_mistakes())
    return f"agrees with the rule on all {len(cases)} networks."


@exercise(
    "The order in a layer",
    course=_layer,
    hints=(
        "Two lines are enough, one for each half of the layer.",
        "The first line is `h = x + attention(norm1(x))`: the norm stands inside, on what"
        " attention reads, and x itself is added unchanged.",
        "The second line has the same form, with the other norm and the feed-forward network;"
        " it reads and adds to h, not x.",
    ),
)
def layer(answer: Any) -> str:
    """answer(x (T, E), attention, feed_forward, norm1, norm2) -> (T, E)."""
    rng = np.random.default_rng(10)
    parts = [_some_part(rng.standard_normal((4, 4)), rng.standard_normal(4)) for _ in range(4)]
    inputs = [rng.standard_normal((T, 4)) for T in (1, 3)]
    results = [((x, *parts), array(call(answer, x, *parts), x.shape)) for x in inputs]
    diagnose_arrays(results, _layer, _layer_mistakes())
    return "norm, attention, add; norm, feed-forward, add."


@exercise(
    "The gate and the value",
    hints=(
        "Write down what `swiglu` receives in its place `gate`: in `forgotten` that is w3 · x.",
        "silu(2) is 1.762 and silu(−1) is −0.269; each answer is one of them, times the other"
        " number.",
        "Right is silu(2) · (−1), theirs is silu(−1) · 2. Nobody sees a difference where gate and"
        " value are equal, or where everything is 0 anyway.",
    ),
)
def gate(right_value: Any, their_value: Any, hidden_for: Any, fixed: Any) -> str:
    """A SwiGLU with its two inputs in each other's place."""
    right, theirs = _number("right_value", right_value), _number("their_value", their_value)
    mixed_up = abs(right + 0.538) < 5e-3 and abs(theirs + 1.762) < 5e-3
    expect(not mixed_up, "the two are swapped: w1 · x = 2 is the gate.")
    for name, value, wanted in (("right_value", right, -1.762), ("their_value", theirs, -0.538)):
        _diagnose_value(name, value, wanted)
    _diagnose_letters(hidden_for)
    cases = _networks()
    mistakes = [(_swapped, "the gate is still w3."), *_network_mistakes()]
    diagnose_arrays(_run(fixed, cases), np_feed_forward, mistakes)
    return "w1 is the gate again, and w3 passes through it."


@exercise(
    "Attention through a cache",
    course=cached.attend_cached,
    hints=(
        "A query of the chunk may see keys in the cache and keys of the chunk, so put both side"
        " by side: `np.concatenate([cache.keys, k], axis=1)`, and the same with the values.",
        "`parts.chunk_mask(cache.positions, positions, cache.config.window_size)` has one column"
        " for each slot and then one for each token of the chunk, in the same order.",
        "Attend with `heads = parts.grouped(q, keys, values, mask)`, write the chunk afterwards"
        " with `cache.write(k, v, positions)`, and return the heads.",
    ),
)
def attend_cached(answer: Any) -> str:
    """answer(parts, q (H, T, D), k, v (G, T, D), cache, positions (T,)) -> heads (H, T, D)."""
    right, held = cached.read_in_chunks(cached.attend_cached)
    mine, held_by_mine = cached.read_in_chunks(answer)
    never = all((positions == -1).all() for positions in held_by_mine)
    expect(not never, "the chunk never gets into the cache: cache.write(k, v, positions).")
    for n, (mine_positions, positions) in enumerate(zip(held_by_mine, held, strict=True), 1):
        expect(
            np.array_equal(mine_positions, positions),
            f"after {n} of the chunks the cache holds positions {mine_positions.tolist()}, where"
            f" {positions.tolist()} is right. Write all tokens of a chunk, at their positions.",
        )
    wrong = [n for n, pair in enumerate(zip(mine, right, strict=True)) if cached.off(*pair)]
    if wrong:
        for mistaken, hint in cached.cache_mistakes():
            theirs, _ = cached.read_in_chunks(mistaken)
            expect(any(cached.off(*pair) for pair in zip(mine, theirs, strict=True)), hint)
        n, n_chunks = wrong[0], len(cached.CHUNKS)
        where = _FIRST_CHUNK if n == 0 else _LATER_CHUNK
        raise Wrong(f"of {n_chunks} chunks the first {n} are right, and the next is not. {where}")
    return f"{len(cached.CHUNKS)} chunks of {sum(cached.CHUNKS)} tokens agree with reading at once."


def _run(network: Any, cases: list[tuple[np.ndarray, ...]]) -> list[tuple[tuple, np.ndarray]]:
    return [
        (case, array(call(network, *case, hints=_PRODUCT_HINTS), case[0].shape)) for case in cases
    ]


def _networks() -> list[tuple[np.ndarray, ...]]:
    rng = np.random.default_rng(9)
    shapes = [((3, 2), 2, 2), ((3,), 3, 5), ((2, 4), 4, 4), ((2, 2, 3), 3, 7)]
    return [
        (
            rng.standard_normal(x).round(1),
            *(rng.standard_normal(shape).round(1) for shape in ((F, E), (E, F), (F, E))),
        )
        for x, E, F in shapes
    ]


def _norm_fault(case: tuple, result: np.ndarray) -> str:
    """What is wrong with the vectors, where no known mistake gives them."""
    x, weight, eps = case
    if np.isnan(result).any():
        return "the result is nan: a root of a negative number, or 0 / 0. Squares are not negative."
    with np.errstate(all="ignore"):
        ratio = result / np_rms_norm(x, weight, eps)
    ratio = np.where(np.isfinite(ratio), ratio, 1)
    if np.allclose(ratio, ratio[..., :1]):
        if abs(ratio - 1).max() < 0.05:
            return "right up to eps: add the argument eps to the mean of the squares, as it is."
        return (
            "each vector has the right direction and the wrong size. Divide by the root of the"
            " mean of its squares (plus eps)."
        )
    if np.allclose(ratio, ratio.reshape(-1, ratio.shape[-1])[0]):
        return "each column is off by a factor of its own: multiply by the weight as it stands."
    return ""


def _norm_mistakes() -> Mistakes:
    def by(root: Callable[[np.ndarray, float], np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda x, weight, eps: x / root(x, eps) * weight

    def mean(x: np.ndarray) -> np.ndarray:
        return x.mean(axis=-1, keepdims=True)

    return [
        (lambda x, weight, eps: np_rms_norm(x, np.ones_like(weight), eps),
         "the weight is missing."),
        (by(lambda x, eps: np.sqrt(mean(x * x)) + eps), "eps belongs under the root."),
        (by(lambda x, eps: np.sqrt(mean(x * x))), "eps is missing: a vector of zeros gives 0 / 0."),
        (by(lambda x, eps: mean(x * x) + eps), "the root is missing."),
        (lambda x, weight, eps: (x - mean(x)) / (x.std(axis=-1, keepdims=True) + eps) * weight,
         "that is LayerNorm: RMSNorm does not subtract the mean."),
        (by(lambda x, eps: np.sqrt((x * x).sum(axis=-1, keepdims=True) + eps)),
         "that is the root of the sum; take the mean of the squares."),
        (lambda x, weight, eps: np_rms_norm(x - mean(x), weight, eps),
         "that is LayerNorm: RMSNorm does not subtract the mean."),
        (by(lambda x, eps: np.sqrt((x * x).mean() + eps)),
         "the mean runs over all axes; take only the last, with keepdims=True."),
        (by(lambda x, eps: np.sqrt((x * x).mean(axis=0, keepdims=True) + eps)),
         "the mean runs over the first axis; take the last."),
        (by(lambda x, eps: np.sqrt((x * x).mean(axis=1, keepdims=True) + eps)),
         "the mean runs over axis 1; with three axes the last is axis=-1."),
        (by(lambda x, eps: np.sqrt((x * x).sum(axis=-1, keepdims=True)) + eps),
         "that is the length of the vector: take the mean of the squares, and eps under the root."),
        (by(lambda x, eps: np.sqrt((x * x).sum(axis=-1, keepdims=True))),
         "that is the length of the vector: the root of the sum, without eps."),
        (by(lambda x, eps: np.sqrt(((x * x).sum(axis=-1, keepdims=True) + eps) / x.shape[-1])),
         "eps is added to the sum; add it to the mean."),
        (by(lambda x, eps: np.sqrt(x.var(axis=-1, keepdims=True) + eps)),
         "the standard deviation subtracts the mean first; RMSNorm does not."),
        (by(lambda x, eps: mean(abs(x)) + eps),
         "that is the mean of the absolute values; take the mean of the squares, then the root."),
        (by(lambda x, eps: abs(mean(x)) + eps), "take the mean of the squares, then the root."),
        (by(lambda x, eps: np.sqrt(mean(x) ** 2 + eps)),
         "that is the square of the mean; take the mean of the squares, then the root."),
        (by(lambda x, eps: np.sqrt(mean(x * x) + 1e-5)), "eps is always 1e-5. Use the argument."),
        (by(lambda x, eps: np.sqrt(mean(x * x) + 1e-6)), "eps is always 1e-6. Use the argument."),
        (lambda x, weight, eps: np_rms_norm(x, weight, eps) / weight**2,
         "it divides by the weight; multiply."),
        (lambda x, weight, eps: np_rms_norm(x * weight, np.ones_like(weight), eps),
         "the weight comes last, after the division."),
    ]  # fmt: skip


def _swapped(x: np.ndarray, w1: np.ndarray, w2: np.ndarray, w3: np.ndarray) -> np.ndarray:
    return np_feed_forward(x, w3, w2, w1)


def _network_mistakes() -> Mistakes:
    def by(gate: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda x, w1, w2, w3: gate(x @ w1.T, x @ w3.T) @ w2.T

    def logistic(z: np.ndarray) -> np.ndarray:
        return 1 / (1 + np.exp(-z))

    return [
        (_swapped, "w1 and w3 are swapped: silu is taken of w1 x."),
        (lambda x, w1, w2, w3: np_feed_forward(x, w1, w3.T, w2.T),
         "w2 and w3 are swapped: w3 takes x, and w2 comes last."),
        (lambda x, w1, w2, w3: np_feed_forward(x, w1, w3, w2),
         "w2 and w3 are swapped: gate and value are w1 x and w3 x, and w2 comes last."),
        (lambda x, w1, w2, w3: np_feed_forward(x, w1.T, w2.T, w3.T), _OUT_IN),
        (lambda x, w1, w2, w3: np_feed_forward(x, w1, w2.T, w3), "w2 is transposed once too often"
         " or too rarely. " + _OUT_IN),
        (lambda x, w1, w2, w3: np_feed_forward(x, w1.T, w2, w3), "w1 is not transposed. "+_OUT_IN),
        (lambda x, w1, w2, w3: np_feed_forward(x, w1, w2, w3.T), "w3 is not transposed. "+_OUT_IN),
        (by(lambda a, b: silu(a * b)), "silu is taken of the product. It belongs to w1 x alone."),
        (by(lambda a, b: logistic(a) * b), "that is 1 / (1 + exp(-z)); silu is z times that."),
        (by(lambda a, b: np.maximum(a, 0) * b), "that is max(z, 0); silu is z / (1 + exp(-z))."),
        (by(lambda a, b: a * b), "silu is missing."),
        (by(lambda a, b: silu(a) + b), "the two are multiplied, not added."),
        (by(lambda a, b: silu(a)), "w3 is missing."),
        (by(lambda a, b: b), "the gate is missing: silu(w1 x), times w3 x."),
        (by(lambda a, b: silu(b) * b), "w1 is missing: gate and value are both w3 x."),
        (by(lambda a, b: silu(a) * a), "w3 is missing: gate and value are both w1 x."),
        (by(lambda a, b: silu(a) - b), "the two are multiplied, not subtracted."),
        (by(lambda a, b: silu(a) / b), "the two are multiplied, not divided."),
        (by(lambda a, b: np.tanh(a) * b), "that is tanh; silu is z / (1 + exp(-z))."),
        (by(lambda a, b: silu(silu(a)) * b), "silu is taken twice. It belongs to w1 x, once."),
        (by(lambda a, b: silu(silu(a) * b)), "silu is taken of the product, too."),
        (lambda x, w1, w2, w3: silu(np_feed_forward(x, w1, w2, w3)),
         "silu is taken of the result, too. It belongs to w1 x alone."),
        (lambda x, w1, w2, w3: (silu(x) @ w1.T * (x @ w3.T)) @ w2.T,
         "silu is taken of x. It belongs to w1 x."),
        (lambda x, w1, w2, w3: silu(x @ w1.T) * (x @ w3.T), "w2 is missing."),
        (lambda x, w1, w2, w3: silu(x @ w1.T) * (x @ w3.T @ w2.T),
         "w2 is applied to the value alone; put brackets around the product of gate and value."),
        (lambda x, w1, w2, w3: silu(x @ w1.T) * x @ w3.T @ w2.T,
         "* and @ go from left to right: put brackets around x @ w3.T."),
        (by(lambda a, b: silu(a) * silu(b)), "silu is taken of both. It belongs to w1 x alone."),
        (lambda x, w1, w2, w3: x + np_feed_forward(x, w1, w2, w3),
         "x is added. The layer does that, not the network."),
        (by(lambda a, b: silu(-a) * b), "mind the sign: z / (1 + exp(-z))."),
        (by(lambda a, b: a * logistic(-a) * b), "mind the sign: z / (1 + exp(-z))."),
        (by(lambda a, b: a * (1 + np.exp(-a)) * b),
         "1 + exp(-z) needs brackets: z / (1 + exp(-z))."),
        (lambda x, w1, w2, w3: np_feed_forward(x, w2.T, w1.T, w3),
         "w1 and w2 are swapped: w1 takes x, and w2 comes last."),
    ]  # fmt: skip


def _some_part(matrix: np.ndarray, shift: np.ndarray) -> Callable[[np.ndarray], np.ndarray]:
    def part(x: np.ndarray) -> np.ndarray:
        x = np.asarray(x)
        expect(x.shape[-1:] == (4,), f"a part was given an array of shape {tuple(x.shape)}.")
        return np.tanh(x @ matrix + shift)  # not linear, so that every order shows

    return part


def _layer_mistakes() -> Mistakes:
    def after(x: np.ndarray, attention: Part, ffn: Part, norm1: Part, norm2: Part) -> np.ndarray:
        h = norm1(x + attention(x))
        return norm2(h + ffn(h))

    def normed_twice(
        x: np.ndarray, attention: Part, ffn: Part, norm1: Part, norm2: Part
    ) -> np.ndarray:
        h = norm2(x + attention(norm1(x)))
        return h + ffn(h)

    def both_normed(
        x: np.ndarray, attention: Part, ffn: Part, norm1: Part, norm2: Part
    ) -> np.ndarray:
        return normed_twice(norm1(x), attention, ffn, lambda y: y, norm2)

    def side(x: np.ndarray, attention: Part, ffn: Part, norm1: Part, norm2: Part) -> np.ndarray:
        return x + attention(norm1(x)) + ffn(norm2(x))

    return [
        (after, "that norms after each sum. In Mistral the norm stands before each half."),
        (side, "both halves start from x. The second starts from h, the result of the first."),
        (lambda x, a, f, n1, n2: f(n2(a(n1(x)))),
         "nothing is added: x must pass through unchanged."),
        (lambda x, a, f, n1, n2: f(n2(x + a(n1(x)))), "the second half is not added to h."),
        (lambda x, a, f, n1, n2: _layer(x, lambda y: a(y) - x, f, n1, n2),
         "the first half is not added to x."),
        (lambda x, a, f, n1, n2: x + f(n2(x + a(n1(x)))),
         "the second half is added to x. Add it to h, or the first half is lost."),
        (lambda x, a, f, n1, n2: _layer(x, a, f, n2, n1), "the two norms are swapped."),
        (lambda x, a, f, n1, n2: _layer(x, a, f, n1, n1), "norm1 is used twice."),
        (lambda x, a, f, n1, n2: _layer(x, a, f, n2, n2), "norm2 is used twice."),
        (lambda x, a, f, n1, n2: _layer(x, f, a, n1, n2), "attention comes first."),
        (lambda x, a, f, n1, n2: _layer(x, f, a, n2, n1), "attention comes first."),
        (lambda x, a, f, n1, n2: x + a(n1(x)), "the second half is missing."),
        (lambda x, a, f, n1, n2: x + f(n2(x)), "the first half is missing."),
        (lambda x, a, f, n1, n2: _layer(n1(x), a, f, n1, n2),
         "x itself is normed. Only what goes into attention is; x is added as it was."),
        (lambda x, a, f, n1, n2: (x + a(n1(x))) * f(n2(x + a(n1(x)))),
         "the second half is multiplied by h. It is added."),
        (lambda x, a, f, n1, n2: _layer(x, lambda y: -a(y), lambda y: -f(y), n1, n2),
         "the halves are subtracted. They are added."),
        (both_normed, "x and h themselves are normed. Only what goes into a half is; x and h are"
                      " added as they were."),
        (lambda x, a, f, n1, n2: _layer(n1(x), a, f, lambda y: y, n2),
         "x itself is normed. Only what goes into attention is; x is added as it was."),
        (lambda x, a, f, n1, n2: _layer(x, a, f, lambda y: y, lambda y: y),
         "the norms are missing."),
        (lambda x, a, f, n1, n2: _layer(x, a, f, n1, lambda y: y), "norm2 is missing."),
        (lambda x, a, f, n1, n2: _layer(x, a, f, lambda y: y, n2), "norm1 is missing."),
        (lambda x, a, f, n1, n2: x + _layer(x, a, f, n1, n2), "x is added twice."),
        (normed_twice, "h itself is normed. Only what goes into the network is; h is added as it"
                       " was."),
        (lambda x, a, f, n1, n2: x + n1(a(x)) + n2(f(x + n1(a(x)))),
         "that norms what comes out of each half. Norm what goes in."),
    ]  # fmt: skip


def _number(name: str, value: Any) -> float:
    if value is None:
        raise NotWritten(f"{name} is not written yet.")
    if getattr(value, "shape", None) == ():
        value = value.item()
    is_number = isinstance(value, Real) and not isinstance(value, bool)
    expect(is_number, f"{name} must be a number, not a value of type {type(value).__name__}.")
    return float(value)


_OF_ONE = {
    "right_value": [
        (-0.538, "that is what their code gives; w1 · x = 2 is the gate"),
        (0.538, "that takes silu of w3 · x; w1 · x = 2 is the gate"),
        (-0.269, "that is silu(-1); w1 · x = 2 is the gate"),
        (1.462, "that is 2 times silu(1); w1 · x = 2 is the gate"),
    ],
    "their_value": [
        (-1.762, "that is what should come out; they take silu of w3 · x = -1"),
        (1.762, "they take silu of w3 · x = -1"),
        (1.462, "that is 2 times silu(1); their gate is -1"),
        (0.538, "mind the sign: silu(-1) is negative, 2 is not"),
        (-0.269, "silu(-1) has to be multiplied by the other, 2"),
    ],
}


def _diagnose_value(name: str, value: float, wanted: float) -> None:
    mistakes = [
        *_OF_ONE[name],
        (1.762, "mind the sign of w3 · x"),
        (-2.0, "silu is missing"),
        (-0.474, "silu is taken of both"),
        (1.731, "the two are multiplied, not added"),
        (0.762, "the two are multiplied, not added"),
        (-0.881, "that is 1 / (1 + exp(-2)) times -1; silu(2) is 2 times as much"),
        (-0.238, "silu is taken of the product"),
        (wanted, "give it to three decimals"),
    ]
    for number, hint in mistakes:
        near = abs(value - number) < (0.05 if number == wanted else 5e-3)
        expect(not near or abs(value - wanted) < 6e-4, f"{name} is not {value:g}: {hint}.")
    expect(
        abs(value - wanted) < 6e-4, f"{name} is not {value:g}: silu of the gate, times the other."
    )


_WHY = {
    "a": "With w1 = w3 it does not matter which is the gate.",
    "b": "With x = 0 both give 0.",
    "c": "All ones is an input like any other: w1 · x and w3 · x are sums of rows, and differ.",
    "d": "One hidden value can differ as well: the numbers above are such a case.",
    "e": "With w2 = 0 everything gives 0.",
}


def _diagnose_letters(answer: Any) -> None:
    """Raise Wrong unless the answer names a, b and e."""
    if answer is None:
        raise NotWritten("hidden_for is not written yet.")
    is_list = isinstance(answer, list | tuple | set | str | np.ndarray)
    expect(is_list, 'hidden_for must be a list of letters, as ["a", "c"].')
    letters = {letter for letter in answer if letter in _WHY}
    expect(len(letters) == len(answer), "hidden_for: the letters are a to e, small, each once.")
    for letter, why in _WHY.items():
        expect((letter in letters) == (letter in "abe"), f"hidden_for, {letter}: {why}")
