"""Checks of lesson 11: gradients by hand, AdamW, the leak detector, and five published bugs."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from minimistral.course.checks.museum import guilty_line
from minimistral.course.checks.report import (
    Example,
    Wrong,
    array,
    exercise,
    expect,
    quiet_call,
)
from minimistral.evaluation.leaks import find_leak
from minimistral.np.backward import (
    attend_backward,
    linear_backward,
    masked_softmax_backward,
    rms_norm_backward,
)
from minimistral.np.gradients import cross_entropy
from minimistral.np.mask import window_mask
from minimistral.np.optimizer import AdamW

Array = np.ndarray
Mistakes = Mapping[str, Sequence[tuple[Callable[..., Any], str]]]  # of each result


def _loss_back(logits: Array, targets: Array) -> tuple[float, Array]:
    loss, dlogits = cross_entropy(logits[None], targets[None])
    return float(loss), dlogits[0]


def _attend_back(q: Array, k: Array, v: Array, mask: Array, dy: Array) -> tuple[Array, ...]:
    parts = attend_backward(q[None], k[None], v[None], mask[None], dy[None])
    return tuple(part[0] for part in parts)


def _adamw(
    w: Array, g: Array, mean: Array, square: Array, step: int, rate: float
) -> tuple[Array, Array, Array]:
    optimizer = AdamW({"w": w[None].copy()})  # one axis more: AdamW takes one alone for a norm
    optimizer.mean["w"], optimizer.square["w"] = mean[None].copy(), square[None].copy()
    optimizer.step = step - 1
    optimizer.update({"w": g[None]}, rate)
    return optimizer.weights["w"][0], optimizer.mean["w"][0], optimizer.square["w"][0]


@exercise("The loss and its gradient", course=_loss_back, hints=(
    "Subtract each row's largest logit. Then p is exp of the rest over its sum, and log p is the "
    "rest minus the logarithm of that sum. The loss is the mean of -log p(target) over the rows "
    "whose target is not -1.",
    "The gradient of one row is its softmax, minus 1 at the target. Where the target is -1 the "
    "row is 0.",
    "With `rows = np.flatnonzero(targets >= 0)` and `dlogits = p.copy()`, do "
    "`dlogits[rows, targets[rows]] -= 1`, set the other rows to 0, and divide by `len(rows)`.",
))  # fmt: skip
def loss_back(answer: Any) -> str:
    """answer(logits (N, V), targets (N,)) -> loss, dlogits (N, V)."""
    rng = np.random.default_rng(1)
    cases: list[tuple] = [
        (np.log([[0.5, 0.25, 0.25]]), np.array([1])),
        (np.array([[1.0, 2.0, 0.5], [0.0, 1.0, -1.0]]), np.array([0, -1])),
        (rng.standard_normal((4, 5)), np.array([3, 0, -1, 2])),
        (rng.standard_normal((5, 3)), np.array([2, -1, 2, 1, -1])),
        (np.array([[900.0, 901.0, 880.0], [-950.0, -951.0, -952.0]]), np.array([0, 1])),
    ]
    _diagnose(answer, cases, _loss_back, ("loss", "dlogits"), _loss_mistakes())
    far = [(np.array([[0.0, 1000.0, 5.0], [2.0, 0.0, 1.0]]), np.array([0, 0]))]
    _diagnose(answer, far, _loss_back, ("loss", "dlogits"), _log_mistakes())
    return f"right in all {len(cases) + 1} cases; a target of -1 moves nothing."


@exercise("Back through a matrix", course=linear_backward, hints=(
    "y[n, o] is the sum over i of x[n, i] * weight[o, i]. So x[n, i] reaches every y[n, o], and "
    "weight[o, i] reaches y[n, o] of every token n.",
    "dx[n, i] is the sum over o of dy[n, o] * weight[o, i]. dweight[o, i] is the sum over n of "
    "dy[n, o] * x[n, i].",
    "dx = dy @ weight, and dweight = dy.T @ x.",
))  # fmt: skip
def linear_back(answer: Any) -> str:
    """answer(x (N, in), weight (out, in), dy (N, out)) -> dx, dweight."""
    rng = np.random.default_rng(2)
    cases = [
        (np.array([[1.0, 2.0], [10.0, 0.0]]), np.array([[3.0, -1.0]]), np.array([[1.0], [0.5]])),
        *(tuple(rng.standard_normal(shape) for shape in ((n, i), (o, i), (n, o)))
          for n, i, o in ((4, 3, 2), (1, 2, 5), (3, 4, 4), (3, 3, 3))),
    ]  # fmt: skip
    _diagnose(answer, cases, linear_backward, ("dx", "dweight"), _linear_mistakes())
    return "both gradients are right, and the weight's is a sum over all tokens."


@exercise("Back through the norm", course=rms_norm_backward, hints=(
    "With inverse = 1 / sqrt(mean(x**2) + eps), the norm gives weight * x * inverse. Call "
    "x * inverse `unit` and dy * weight `dunit`; dweight is the sum over tokens of dy * unit.",
    "x[i] moves its own unit, which gives inverse * dunit. It also moves inverse, and with it "
    "all numbers of the token: that takes away a part along unit.",
    "dx = inverse * (dunit - unit * (dunit * unit).mean(axis=-1, keepdims=True)).",
))  # fmt: skip
def norm_back(answer: Any) -> str:
    """answer(x (N, E), weight (E,), eps, dy (N, E)) -> dx, dweight."""
    rng = np.random.default_rng(3)
    cases: list[tuple] = [
        (np.array([[3.0, 4.0]]), np.array([1.0, 10.0]), 0.5, np.array([[5.0, -1.0]])),
        *((rng.standard_normal((n, e)), rng.standard_normal(e) + 1, eps,
           rng.standard_normal((n, e))) for n, e, eps in ((3, 4, 0.1), (2, 5, 0.3), (5, 2, 1e-5))),
    ]  # fmt: skip
    _diagnose(answer, cases, rms_norm_backward, ("dx", "dweight"), _norm_mistakes())
    return "the part along x is taken away: a longer x would give the same result."


@exercise("Back through softmax", course=masked_softmax_backward, hints=(
    "Raising one score raises its own weight and lowers all others of the row, because they "
    "share a sum of 1.",
    "Of each row compute the dot product of weights and dweights: what the row would gain on "
    "average. A score is worth what its weight gains above that average.",
    "weights * (dweights - (weights * dweights).sum(axis=-1, keepdims=True)).",
))  # fmt: skip
def softmax_back(answer: Any) -> str:
    """answer(weights (T, S), dweights (T, S)) -> dscores (T, S)."""
    rng = np.random.default_rng(4)
    cases: list[tuple] = [(np.array([[0.5, 0.5, 0.0]]), np.array([[1.0, 0.0, 7.0]]))]
    for T, S, W in ((3, 4, 9), (4, 4, 2), (2, 5, 3)):
        mask = window_mask(np.arange(T) + S - T, np.arange(S), W)
        weights = np.exp(rng.standard_normal((T, S))) * mask
        cases.append((weights / weights.sum(axis=1, keepdims=True), rng.standard_normal((T, S))))
    _diagnose(answer, cases, masked_softmax_backward, ("dscores",), _softmax_mistakes())
    return "every row sums to 0, and a hidden score gets 0."


@exercise("Back through attention", course=_attend_back, hints=(
    "Go backwards line by line. From y = weights @ v: dweights = dy @ v.T and dv = weights.T @ dy. "
    "Then softmax. From scores = q @ k.T / sqrt(D): dq = dscores @ k / sqrt(D), and so on.",
    "Query head h reads key head h // (H // G). Its dq is its own; its dk and dv are *added* to "
    "those of that key head, because every head of the group has used the same k and v.",
    "Start with dk and dv of zeros, shape (G, S, D). For each h compute dscores, then "
    "`dk[g] += dscores.T @ q[h] / np.sqrt(D)` and `dv[g] += weights.T @ dy[h]`.",
))  # fmt: skip
def attend_back(answer: Any) -> str:
    """answer(q (H, T, D), k and v (G, S, D), mask (T, S), dy (H, T, D)) -> dq, dk, dv."""
    rng = np.random.default_rng(5)
    cases: list[tuple] = []
    for H, G, T, S, D, W in (
        (2, 1, 3, 3, 2, 9), (4, 2, 5, 5, 3, 2), (6, 3, 4, 6, 5, 3), (3, 3, 4, 4, 2, 2)
    ):  # fmt: skip
        shapes = ((H, T, D), (G, S, D), (G, S, D))
        mask = window_mask(np.arange(T) + S - T, np.arange(S), W)
        q, k, v = (rng.standard_normal(shape) for shape in shapes)
        cases.append((q, k, v, mask, rng.standard_normal((H, T, D))))
    _diagnose(answer, cases, _attend_back, ("dq", "dk", "dv"), _attend_mistakes())
    return "right for every group and window; a key's gradient is a sum over its group."


@exercise("A step of AdamW", course=_adamw, hints=(
    "First the two averages: mean + 0.1 * (g - mean), and square + 0.05 * (g * g - square).",
    "Both began at 0 and are too small at first: divide mean by 1 - 0.9**step and square by "
    "1 - 0.95**step, for the step only. Return the averages undivided.",
    "w = w * (1 - rate * 0.1), and then w = w - rate * m / (np.sqrt(s) + 1e-8), with the divided "
    "m and s.",
))  # fmt: skip
def adamw(answer: Any) -> str:
    """answer(w, g, mean, square, step, rate) -> w, mean, square."""
    rng = np.random.default_rng(6)
    cases: list[tuple] = [
        (np.array([[1.0, 1.0]]), np.array([[0.001, -50.0]]), np.zeros((1, 2)), np.zeros((1, 2)),
         1, 0.1),
        *((rng.standard_normal((2, 3)), rng.standard_normal((2, 3)), rng.standard_normal((2, 3)),
           rng.random((2, 3)) + 0.1, step, rate)
          for step, rate in ((2, 0.05), (7, 0.5), (40, 0.2))),
        (np.array([[2.0]]), np.array([[1e-9]]), np.zeros((1, 1)), np.zeros((1, 1)), 1, 0.1),
    ]  # fmt: skip
    _diagnose(answer, cases, _adamw, ("w", "mean", "square"), _adamw_mistakes())
    return f"right in all {len(cases)} cases, from the first step on."


def leaks(model: Any, tokens: Any = None, vocab_size: int = 0, reach: int | None = None) -> None:
    """Print whether a model looks ahead of its text, or farther back than it can reach.

    model: a Mistral of np or pt, or a function (1, T) ids -> (1, T, V) logits, which needs
    vocab_size. tokens (T,): the text; random ids if None, for a Mistral more than it can reach.
    Every token is replaced once, so it takes T + 1 forward passes.
    Raises TypeError or ValueError, naming the argument.

    >>> leaks(lambda tokens: np.eye(2)[np.roll(tokens, -1, axis=1)], [0, 1, 1], vocab_size=2)
    A leak: replacing token 1 moved the logits of token 0, which comes before it, by 1.000.
    """
    config = getattr(model, "config", None)
    vocab_size = vocab_size or getattr(config, "vocab_size", 0)
    if reach is None and config is not None and config.window_size is not None:
        reach = config.n_layers * (config.window_size - 1)
    if tokens is None:
        n_tokens = 24 if reach is None else reach + 4
        tokens = np.random.default_rng(0).integers(0, max(2, vocab_size), n_tokens)
    leak = find_leak(model, tokens, vocab_size, reach)
    if leak is None:
        far = "" if reach is None else f", and none more than {reach} after it,"
        print(f"No leak: each of {len(tokens)} tokens was replaced; no logit before it{far} "
              "moved by a single bit.")  # fmt: skip
        return
    where = "which comes before it" if leak.moved < leak.changed else "which is out of its reach"
    print(f"A leak: replacing token {leak.changed} moved the logits of token {leak.moved}, {where},"
          f" by {leak.by:.3f}.")  # fmt: skip


@exercise("Museum, a mean and a shift", hints=(
    "Write down two micro-batches, with values 1, 1, 1 and 5: what is their mean, and what does "
    "accumulate give? For loss_of_text, write down the ids 0, 1, 2, 3 and follow labels.",
    "A micro-batch of three tokens must weigh three times as much as one of a single token. And "
    "after line 4, which label stands beside the logits of token 0?",
    "Line 3 of accumulate must be len(values) over the number of all rows. In loss_of_text, line "
    "4 shifts once more, and has to go.",
))  # fmt: skip
def bug_mean_and_shift(
    mean_line: Any, mean_fixed: Any, shift_line: Any, shift_fixed: Any
) -> str:  # fmt: skip
    """A mean of means, and targets that are two tokens ahead."""
    guilty_line(mean_line, 3, {
        1: "A sum begins at 0. That is right.",
        2: "Every micro-batch has to be read.",
        4: "It adds the mean of a micro-batch with the weight from the line above.",
        5: "It returns the sum. The weights should sum to 1, so nothing is left to divide.",
    }, 5, name="mean_line")  # fmt: skip
    _diagnose_means(mean_fixed)
    guilty_line(shift_line, 4, {
        1: "The label of a token is the id that follows it. That is right.",
        2: "Nothing follows the last token, so its logits are not used. That is right.",
        3: "Log-softmax belongs in a loss.",
        5: "The mean of -log p(label) is the loss. That is right.",
    }, 5, name="shift_line")  # fmt: skip
    _diagnose_shift(shift_fixed)
    return (
        "every token counts once, and each is asked for the next one. Published: "
        "huggingface/transformers#34191 (the mean of means) and #47394 (the double shift)."
    )


@exercise("Museum, a leak", hints=(
    "Print the array after each line for T = 4 and W = 2. In which line does a future token "
    "become visible?",
    "An added mask hides by a large negative number. What is a large negative number times 0?",
    "Line 4 must keep what line 2 has hidden, and hide the far ones too: "
    "`np.where(far, -1e9, mask)`.",
))  # fmt: skip
def bug_leak(line: Any, fixed: Any) -> str:
    """A window that is multiplied into an added mask."""
    guilty_line(line, 4, {
        1: "i is the row of each entry, the query, and j its column, the key.",
        2: "The future, j > i, is hidden by a large negative number. That is right.",
        3: "Keys that are W or more behind are too far. That is right.",
    }, 4)  # fmt: skip
    for T, W in ((4, 2), (5, 3), (3, 9), (6, 1)):
        result = array(quiet_call(fixed, T, W, name="fixed"), (T, T))
        _explain_mask(result, T, W)
    return (
        "the future is hidden again, and so is what lies behind the window. Published: "
        "huggingface/transformers#31673, where the training loss fell to almost 0."
    )


@exercise("Museum, averages", hints=(
    "Average the integers 7 and 8 with average. Then look at kept[0] before and after the second "
    "update.",
    "Only floating-point arrays have a mean that makes sense. And dict(weights) is a new dict "
    "with the *same* arrays, which update changes in place.",
    "In line 4 of average, skip names whose dtype.kind is not 'f'. In line 4 of keep_each, keep "
    "`{name: w.copy() for name, w in weights.items()}`.",
))  # fmt: skip
def bug_averages(
    average_line: Any, average_fixed: Any, kept_line: Any, kept_fixed: Any
) -> str:  # fmt: skip
    """Integers that are averaged, and checkpoints that are views of one array."""
    guilty_line(average_line, 4, {
        1: "The last checkpoint gives the names, and all that is not averaged. That is right.",
        2: "Every array has to be looked at.",
        3: "It collects one array of every checkpoint.",
        5: "It returns what the lines above made.",
    }, 5, name="average_line")  # fmt: skip
    _diagnose_average(average_fixed)
    guilty_line(kept_line, 4, {
        1: "The list begins empty. That is right.",
        2: "As many checkpoints as asked for.",
        3: "The update changes the arrays in place, as an optimizer does. That is allowed.",
        5: "It returns the list.",
    }, 5, name="kept_line")  # fmt: skip
    _diagnose_kept(kept_fixed)
    return (
        "integers are taken from the last checkpoint, and a checkpoint no longer changes. "
        "Found in the review of allenai/OLMo-core#396 (integers); published: "
        "open-mmlab/mmengine#266 (a shallow copy)."
    )


def _diagnose(
    answer: Any,
    cases: Sequence[tuple],
    right: Callable[..., Any],
    names: tuple[str, ...],
    mistakes: Mistakes,
) -> None:
    """Raise Wrong for the first result, of those named, that is wrong in some case.

    The hint is that of a mistake which gives the learner's numbers in every case.
    """
    hints = {
        "matmul": "Which axes meet in that product? Write the shapes beside it.",
        "broadcast": "Write the shapes beside the line; keepdims=True may be missing.",
    }
    results = [_parts(quiet_call(answer, *case, hints=hints), names) for case in cases]
    rights = [_parts(right(*case), names) for case in cases]
    for name in dict.fromkeys([*mistakes, *names]):  # first what the others are made from
        n = names.index(name)
        rows = [(case, got[n], wanted[n])
                for case, got, wanted in zip(cases, results, rights, strict=True)]  # fmt: skip
        failed = [row for row in rows if not _equal(row[1], row[2])]
        if not failed:
            continue
        case, got, wanted = min(failed, key=lambda row: sum(np.size(part) for part in row[0]))
        example = Example(case, got, wanted, part=f"[{n}]" if len(names) > 1 else "")
        for mistaken, hint in mistakes.get(name, ()):
            with np.errstate(all="ignore"):
                if all(_equal(got, mistaken(*case)) for case, got, _ in rows):
                    raise Wrong(f"{name}: {hint}", example)
        if got.shape != wanted.shape:
            raise Wrong(f"{name} must have the shape {wanted.shape}, not {got.shape}.", example)
        if np.isnan(got).any():
            raise Wrong(f"{name} holds NaN.", example)
        entry = tuple(int(i) for i in np.argwhere(~np.isclose(got, wanted, 1e-6, 1e-9))[0])
        where = f"[{', '.join(map(str, entry))}]" if entry else ""
        digits = 4 if f"{got[entry]:.4f}" != f"{wanted[entry]:.4f}" else 9
        why = (
            f"{name}{where} is {got[entry]:.{digits}f}, where {wanted[entry]:.{digits}f} is right."
        )
        raise Wrong(why, example)


def _parts(result: Any, names: tuple[str, ...]) -> list[Array]:
    """The results as arrays; raises Wrong unless there are as many as names."""
    if len(names) > 1:
        is_right = isinstance(result, tuple | list) and len(result) == len(names)
        expect(is_right, f"return {len(names)} results: {', '.join(names)}.")
    else:
        result = (result,)
    found = []
    for name, part in zip(names, result, strict=True):
        part = part.detach() if hasattr(part, "detach") else part
        is_number = isinstance(part, int | float) and not isinstance(part, bool)
        expect(is_number or (hasattr(part, "shape") and hasattr(part, "dtype")),
               f"{name} must be an array, not a value of type {type(part).__name__}.")  # fmt: skip
        part = np.asarray(part)
        expect(part.dtype.kind in "fiu", f"{name} must hold real numbers, not {part.dtype}.")
        found.append(part.astype(float))
    return found


def _equal(one: Any, other: Any) -> bool:
    return np.shape(one) == np.shape(other) and np.allclose(
        one, other, rtol=1e-6, atol=1e-9, equal_nan=True
    )


def _softmax(x: Array) -> Array:
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def _loss_mistakes() -> Mistakes:
    def loss(
        of: Callable[[Array], Any] = lambda p: -np.log(p),
        mean: Callable[[Array, int], Any] = lambda losses, n: losses.mean(),
    ) -> Callable[..., Any]:
        def function(logits: Array, targets: Array) -> Any:
            rows = np.flatnonzero(targets >= 0)
            return mean(of(_softmax(logits)[rows, targets[rows]]), len(targets))

        return function

    def softmax_over(axis: int | None) -> Callable[..., Any]:
        def function(logits: Array, targets: Array) -> Any:
            exps = np.exp(logits - logits.max(axis=axis, keepdims=True))
            p, rows = exps / exps.sum(axis=axis, keepdims=True), np.flatnonzero(targets >= 0)
            return -np.log(p[rows, targets[rows]]).mean()

        return function

    def all_rows(logits: Array, targets: Array) -> Any:
        return -np.log(_softmax(logits)[np.arange(len(targets)), targets]).mean()

    def plain(logits: Array, targets: Array) -> Any:
        rows = np.flatnonzero(targets >= 0)
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        return -np.log(p[rows, targets[rows]]).mean()

    def gradient(
        at_target: Callable[[Array], Array] = lambda p: p - 1,
        divide: Callable[[int, int], float] = lambda n, N: n,
        sign: int = 1,
        others: float = 1,
        skipped: bool = False,
    ) -> Callable[..., Array]:
        def function(logits: Array, targets: Array) -> Array:
            p, N = _softmax(logits), len(targets)
            rows = np.flatnonzero((targets >= 0) | skipped)
            dlogits = np.zeros_like(p)
            dlogits[rows] = others * p[rows]
            chosen = rows[targets[rows] >= 0]
            dlogits[chosen, targets[chosen]] = at_target(p[chosen, targets[chosen]])
            return sign * dlogits / divide(int((targets >= 0).sum()), N)

        return function

    def columns(every: bool) -> Callable[..., Array]:
        def function(logits: Array, targets: Array) -> Array:
            dlogits, counts = _softmax(logits), targets >= 0
            dlogits[:, targets if every else targets[counts]] -= 1
            dlogits[~counts] = 0
            return dlogits / counts.sum()

        return function

    def last_id(logits: Array, targets: Array) -> Array:
        dlogits = _softmax(logits)
        dlogits[np.arange(len(targets)), targets] -= 1
        return dlogits / len(targets)

    def overflows(logits: Array, targets: Array) -> Array:
        p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        good = gradient()(logits, targets)
        return np.where(np.isnan(p), p, good)

    paired = ("dlogits[:, targets] means those columns in every row. Pair each row with its "
              "target: dlogits[rows, targets[rows]].")  # fmt: skip
    minus_1 = "a target of -1 is read as the last id. Leave those rows out."
    mean_all = "the mean is over all rows. Only those with a target count."
    return {
        "loss": [
            (loss(mean=lambda losses, n: losses.sum()), "that is the sum. Take the mean."),
            (loss(mean=lambda losses, n: losses.sum() / n), mean_all),
            (all_rows, minus_1),
            (loss(of=lambda p: -np.log2(p)), "that is in bits. Use the natural logarithm."),
            (loss(of=np.log), "the sign is wrong: the loss is -log p, and never negative."),
            (loss(of=lambda p: p), "that is the probability. Take -log of it."),
            (loss(of=lambda p: 1 - p), "that is 1 - p. Take -log of p."),
            (loss(mean=lambda losses, n: -np.log(np.exp(-losses).mean())),
             "the mean comes after the logarithm, not before it."),
            (loss(mean=lambda losses, n: losses), "that is one loss per row. Take their mean."),
            (softmax_over(0), "softmax is over axis 1, the logits of one token."),
            (softmax_over(None), "softmax is over the whole array. Each row has its own."),
            (plain, "exp overflows for large logits. Subtract each row's largest first."),
        ],
        "dlogits": [
            (gradient(at_target=lambda p: p), "that is softmax. Subtract 1 at the target."),
            (gradient(divide=lambda n, N: 1), "divide by the number of targets that count: the "
             "loss is a mean."),
            (gradient(divide=lambda n, N: N), mean_all),
            (columns(every=True), paired),
            (columns(every=False), paired),
            (gradient(divide=lambda n, N: 1, skipped=True),
             "rows without a target must be 0, and the rest is divided by their number."),
            (gradient(sign=-1), "the sign is wrong: the target's logit must go up, so its gradient "
             "is p - 1, below 0."),
            (gradient(skipped=True), "rows without a target must be 0."),
            (gradient(skipped=True, divide=lambda n, N: N), "rows without a target must be 0."),
            (last_id, minus_1),
            (gradient(others=0), "only the target's logit gets a gradient. The others push too: "
             "raising one lowers the target's probability."),
            (gradient(others=0, at_target=lambda p: -1 / p),
             "that is the gradient for the probability. Go on to the logits."),
            (gradient(at_target=lambda p: p + 1), "subtract 1 at the target, do not add it."),
            (overflows, "exp overflows for large logits. Subtract each row's largest first."),
        ],
    }  # fmt: skip


def _log_mistakes() -> Mistakes:
    def added(tiny: float) -> Callable[..., Any]:
        return lambda logits, targets: (
            -np.log(_softmax(logits)[np.arange(len(targets)), targets] + tiny).mean()
        )

    log_p = "Compute log p as the logit minus the largest, minus the log of the sum of exps."
    direct = f"here p is so small that it is 0, and log 0 is -inf. {log_p}"
    hidden = f"a small number inside the log hides that p is 0 here. {log_p}"
    return {"loss": [(added(0), direct), *((added(10.0**-n), hidden) for n in range(5, 31))]}


def _linear_mistakes() -> Mistakes:
    swapped = "dx and dweight are swapped. Return dx first."
    return {
        "dx": [
            (lambda x, w, dy: dy.T @ x, swapped),
            (lambda x, w, dy: x.T @ dy, "that is dweight, transposed. Return dx first."),
            (lambda x, w, dy: dy @ w / len(x), "no mean is asked for: each token has its own dx."),
            (lambda x, w, dy: x @ w.T, "that is y itself. Begin with dy."),
            (lambda x, w, dy: (dy @ w).sum(axis=0), "each token keeps its own dx. Do not sum."),
            (lambda x, w, dy: (dy @ w).T, "that is dx transposed."),
            (lambda x, w, dy: np.ones_like(dy) @ w, "dy is not used."),
            (lambda x, w, dy: -dy @ w, "the sign is wrong."),
            (lambda x, w, dy: (dy @ w) * x, "x plays no part in dx: y is linear in x."),
        ],
        "dweight": [
            (lambda x, w, dy: x.T @ dy, "that is transposed: weight is (out, in)."),
            (lambda x, w, dy: dy.T @ x / len(x), "that is a mean over tokens. The gradient is "
             "their sum; the mean was taken in the loss."),
            (lambda x, w, dy: np.outer(dy[-1], x[-1]), "only the last token counts. Sum over all."),
            (lambda x, w, dy: np.outer(dy[0], x[0]), "only the first token counts. Sum over all."),
            (lambda x, w, dy: dy[:, :, None] * x[:, None, :], "one gradient for each token. Every "
             "token used the same weight, so sum over them."),
            (lambda x, w, dy: np.outer(dy.sum(axis=0), x.sum(axis=0)),
             "both are summed before they are multiplied. Multiply token by token, then sum."),
            (lambda x, w, dy: -dy.T @ x, "the sign is wrong."),
            (lambda x, w, dy: dy.T @ x * w, "weight plays no part: y is linear in it."),
            (lambda x, w, dy: dy.T @ dy, "that is dy times itself. The other factor is x."),
            (lambda x, w, dy: np.outer(dy.mean(axis=0), x.mean(axis=0)),
             "both are averaged before they are multiplied. Multiply token by token, then sum."),
            (lambda x, w, dy: np.ones_like(dy).T @ x, "dy is not used."),
        ],
    }  # fmt: skip


def _norm_mistakes() -> Mistakes:
    def parts(x: Array, weight: Array, eps: float, dy: Array) -> tuple[Array, Array, Array]:
        inverse = 1 / np.sqrt((x**2).mean(axis=-1, keepdims=True) + eps)
        return inverse, x * inverse, dy * weight

    def dx(formula: Callable[..., Array], with_eps: bool = True) -> Callable[..., Array]:
        def function(x: Array, weight: Array, eps: float, dy: Array) -> Array:
            inverse, unit, dunit = parts(x, weight, eps if with_eps else 0, dy)
            return formula(inverse, unit, dunit, dy, x)

        return function

    def by(inverse: Callable[[Array, float], Array], take: Callable[[Array], Array]) -> Any:
        def function(x: Array, weight: Array, eps: float, dy: Array) -> Array:
            unit, dunit = x * inverse(x, eps), dy * weight
            return inverse(x, eps) * (dunit - unit * take(dunit * unit))

        return function

    def weight_last(x: Array, weight: Array, eps: float, dy: Array) -> Array:
        inverse, unit, _ = parts(x, weight, eps, dy)
        return weight * inverse * (dy - unit * mean(dy * unit))

    def mean(a: Array) -> Array:
        return a.mean(axis=-1, keepdims=True)

    def total(a: Array) -> Array:
        return a.sum(axis=-1, keepdims=True)

    long = by(lambda x, eps: 1 / np.sqrt(total(x**2) + eps), total)
    eps_outside = by(lambda x, eps: 1 / (np.sqrt(mean(x**2)) + eps), mean)
    whole = "the mean over the E numbers of a token: divide the sum by E."
    return {
        "dx": [
            (dx(lambda i, u, du, dy, x: i * du), "the length of x is taken for a constant. Each "
             "number of x changes it too."),
            (dx(lambda i, u, du, dy, x: i * dy), "weight is missing, and the length of x is taken "
             "for a constant."),
            (dx(lambda i, u, du, dy, x: i * (dy - u * mean(dy * u))), "weight is missing: begin "
             "with dunit = dy * weight."),
            (dx(lambda i, u, du, dy, x: i * (du - u * mean(dy * u))), "weight is missing in the "
             "mean: it is of dunit * unit."),
            (dx(lambda i, u, du, dy, x: i * (du - u * total(du * u))), whole),
            (dx(lambda i, u, du, dy, x: i * (du + u * mean(du * u))), "the second part is taken "
             "away, not added: a longer x has a smaller inverse."),
            (dx(lambda i, u, du, dy, x: du - u * mean(du * u)), "inverse is missing in front."),
            (dx(lambda i, u, du, dy, x: i * (du - mean(du * u))), "the second part lies along "
             "unit: multiply the mean by it."),
            (dx(lambda i, u, du, dy, x: i * (du - mean(du))), "that is the norm which subtracts "
             "the mean. RMSNorm does not."),
            (dx(lambda i, u, du, dy, x: i * (du - x * mean(du * x))), "that uses x where unit, "
             "x * inverse, is right."),
            (dx(lambda i, u, du, dy, x: i * (du - u * (du * u).mean())), "the mean is over all "
             "tokens. Each token has a length of its own."),
            (dx(lambda i, u, du, dy, x: i * (du - u * mean(du * u)), with_eps=False),
             "eps is missing in inverse."),
            (dx(lambda i, u, du, dy, x: -i * (du - u * mean(du * u))), "the sign is wrong."),
            (dx(lambda i, u, du, dy, x: i * du - x * i**2 * mean(du * x)), "in the second part "
             "inverse stands three times: once in front, and once in each unit."),
            (dx(lambda i, u, du, dy, x: i * du - i**3 * mean(du * x)), "the second part lies along "
             "x: multiply by x[i] too."),
            (weight_last, "weight is multiplied last. It belongs inside, in both parts: dunit = "
             "dy * weight."),
            (long, "inverse takes the sum of x**2. RMSNorm takes its mean."),
            (eps_outside, "eps stands inside the root, beside the mean."),
        ],
        "dweight": [
            (lambda x, w, eps, dy: dy * parts(x, w, eps, dy)[1], "one gradient for each token. All "
             "tokens used the same weight, so sum over them."),
            (lambda x, w, eps, dy: (dy * parts(x, w, eps, dy)[1]).mean(axis=0),
             "that is a mean over tokens. The gradient is their sum."),
            (lambda x, w, eps, dy: (dy * x).sum(axis=0), "that uses x. weight multiplied unit, "
             "x * inverse."),
            (lambda x, w, eps, dy: (dy * w * parts(x, w, eps, dy)[1]).sum(axis=0),
             "weight plays no part in its own gradient."),
            (lambda x, w, eps, dy: (dy * parts(x, w, eps, dy)[1]).sum(axis=1),
             "the sum is over tokens, axis 0."),
            (lambda x, w, eps, dy: dy.sum(axis=0), "unit is missing: weight multiplied it."),
            (lambda x, w, eps, dy: (dy * parts(x, w, 0, dy)[1]).sum(axis=0),
             "eps is missing in inverse."),
        ],
    }  # fmt: skip


def _softmax_mistakes() -> Mistakes:
    def dot(p: Array, dp: Array) -> Array:
        return (p * dp).sum(axis=-1, keepdims=True)

    def again(p: Array, dp: Array) -> Array:
        return masked_softmax_backward(_softmax(p), dp)

    return {
        "dscores": [
            (lambda p, dp: p * dp, "that takes the other weights for constants. They share a sum "
             "of 1: subtract the row's average gain."),
            (lambda p, dp: p * (1 - p) * dp, "that is only the score's own weight. It moves all "
             "others of the row too."),
            (lambda p, dp: dp - dot(p, dp), "multiply by weights in front."),
            (lambda p, dp: p * (dp - (p * dp).mean(axis=-1, keepdims=True)),
             "that is a mean. The weights sum to 1, so their dot product is the average."),
            (lambda p, dp: p * (dp - dp.mean(axis=-1, keepdims=True)),
             "the average must be weighted by the weights themselves."),
            (lambda p, dp: p * (dp - (p * dp).sum()), "the sum is over the whole array. Each row "
             "has its own."),
            (lambda p, dp: p * (dp - (p * dp).sum(axis=0, keepdims=True)),
             "the sum is over the columns. A row is one query's softmax."),
            (lambda p, dp: p * (dot(p, dp) - dp), "the sign is wrong."),
            (lambda p, dp: p * (dp + dot(p, dp)), "the average is subtracted, not added."),
            (lambda p, dp: p * (dp - dp.sum(axis=-1, keepdims=True)),
             "the sum must be of weights * dweights."),
            (lambda p, dp: p * dp - dot(p, dp), "multiply the average by weights too: a hidden "
             "score must get 0."),
            (lambda p, dp: dp, "softmax is passed over."),
            (lambda p, dp: dp * (1 - p), "multiply by weights too, and subtract the row's average "
             "gain: a score moves all weights of its row."),
            (again, "weights is already the result of softmax. Do not take it again."),
            (lambda p, dp: p * (dp - dp.max(axis=-1, keepdims=True)),
             "that subtracts the largest. Subtract the row's average gain."),
            (lambda p, dp: np.where(p > 0, dp - dot(p, dp), 0),
             "multiply by weights in front, not only where they are 0."),
            (lambda p, dp: dp - p, "that is for the loss alone, with a target. Here dweights is "
             "given."),
        ],
    }  # fmt: skip


def _attend_mistakes() -> Mistakes:
    def variant(
        which: int,
        group: Callable[[int, int, int], int] = lambda h, H, G: h // (H // G),
        scale: Callable[[int], float] = lambda D: D**-0.5,
        score_scale: Callable[[int], float] = lambda D: D**-0.5,
        weigh: Callable[[Array, Array], Array] = lambda s, m: _softmax(np.where(m, s, -np.inf)),
        back: Callable[[Array, Array], Array] = masked_softmax_backward,
        collect: Callable[[list[Array]], Any] = sum,
    ) -> Callable[..., Array]:
        def function(q: Array, k: Array, v: Array, mask: Array, dy: Array) -> Array:
            (H, _, D), G = q.shape, len(k)
            heads, groups = [], [[] for _ in range(G)]  # type: list[Array], list[list[Array]]
            for h in range(H):
                g = group(h, H, G)
                scores = q[h] @ k[g].T * score_scale(D)
                weights = weigh(scores, mask)
                dscores = back(weights, dy[h] @ v[g].T) * scale(D)
                heads.append(dscores @ k[g])
                groups[g].append(dscores.T @ q[h] if which == 1 else weights.T @ dy[h])
            if which == 0:
                return np.array(heads)
            return np.array([collect(each) for each in groups if each])

        return function

    def apart(which: int) -> Callable[..., Array]:
        def function(q: Array, k: Array, v: Array, mask: Array, dy: Array) -> Array:
            g = len(q) // len(k)
            k, v = np.repeat(k, g, axis=0), np.repeat(v, g, axis=0)
            return _attend_back(q, k, v, mask, dy)[which]

        return function

    def transposed(which: int) -> Callable[..., Array]:
        return lambda *case: _attend_back(*case)[which].swapaxes(-1, -2)

    def cards(h: int, H: int, G: int) -> int:
        return h % G

    def of_keys(which: int) -> list[tuple[Callable[..., Array], str]]:
        name = "k" if which == 1 else "v"
        return [
            (apart(which), f"one gradient for each query head. The heads of a group used the same "
             f"{name}, so sum over the group: shape (G, S, D)."),
            (variant(which, collect=lambda each: sum(each) / len(each)),
             "that is a mean over the group. Every head's use counts in full: sum."),
            (variant(which, collect=lambda each: each[-1]),
             "only the last head of each group is kept. Add them with +=."),
            (variant(which, collect=lambda each: each[0]),
             "only the first head of each group counts. Sum over the group."),
            (variant(which, group=cards), "query head h reads key head h // (H // G), not h % G."),
            (variant(which, weigh=lambda s, m: _softmax(s)), "the mask is not used."),
            (variant(which, score_scale=lambda D: 1), "the scores are not divided by sqrt(D)."),
        ]  # fmt: skip

    wrong_way = "the mask is used the wrong way round: True is visible."
    no_softmax = "softmax is passed over: dweights is not yet dscores."
    scale = "the division by sqrt(D) is missing: scores were divided, so their gradient is too."
    return {
        "dq": [
            (variant(0, scale=lambda D: 1), scale),
            (variant(0, scale=lambda D: 1 / D), "divided by sqrt(D) twice."),
            (variant(0, scale=lambda D: D**0.5), "multiplied by sqrt(D). Divide."),
            (variant(0, weigh=lambda s, m: _softmax(s)), "the mask is not used."),
            (variant(0, weigh=lambda s, m: _softmax(np.where(m, -np.inf, s))),
             wrong_way),
            (variant(0, weigh=lambda s, m: _softmax(np.where(m, -1e30, s))), wrong_way),
            (variant(0, weigh=lambda s, m: _softmax(s * m)),
             "a score of 0 is not hidden, since exp(0) is 1. Hide by -inf."),
            (variant(0, weigh=lambda s, m: _softmax(s) * m), "the mask comes before softmax, so "
             "that each row's visible weights sum to 1."),
            (variant(0, weigh=lambda s, m: _softmax(s + m)),
             "adding True and False adds 1 and 0. Hide by -inf."),
            (variant(0, back=lambda p, dp: dp), no_softmax),
            (variant(0, back=lambda p, dp: p * dp), "softmax_back subtracts each row's average."),
            (variant(0, group=cards), "query head h reads key head h // (H // G), not h % G."),
            (variant(0, score_scale=lambda D: 1), "the scores are not divided by sqrt(D)."),
            (lambda *case: _attend_back(*case)[0].sum(axis=0), "each query head keeps its own dq."),
        ],
        "dk": [
            (variant(1, scale=lambda D: 1), scale),
            (variant(1, scale=lambda D: 1 / D), "divided by sqrt(D) twice."),
            (variant(1, back=lambda p, dp: dp), no_softmax),
            (lambda *case: _attend_back(*case)[2], "that is dv. The order is dq, dk, dv."),
            (transposed(1), "that is transposed: dk has the shape of k."),
            *of_keys(1),
        ],
        "dv": [
            (lambda *case: _attend_back(*case)[1], "that is dk. The order is dq, dk, dv."),
            (transposed(2), "that is transposed: dv has the shape of v."),
            *of_keys(2),
        ],
    }  # fmt: skip


def _adamw_mistakes() -> Mistakes:
    def step(
        slow: float = 0.9,
        slower: float = 0.95,
        power: Callable[[int], int] | None = lambda n: n,
        correct: tuple[bool, bool] = (True, True),
        times: bool = False,
        root: Callable[[Array], Array] = lambda s: np.sqrt(s) + 1e-8,
        decay: Callable[[Array, float], Array] = lambda w, rate: w * (1 - rate * 0.1),
        coupled: bool = False,
        sign: int = -1,
        move: Callable[[Array, Array], Array] = lambda m, g: m,
    ) -> Callable[..., Array]:
        def function(w: Array, g: Array, mean: Array, square: Array, n: int, rate: float) -> Array:
            g = g + 0.1 * w if coupled else g
            m, s = mean + (1 - slow) * (g - mean), square + (1 - slower) * (g * g - square)
            of_m, of_s = (1 - (β ** power(n) if power else β * n) for β in (slow, slower))
            m = m / of_m if correct[0] else m * of_m if times else m
            s = s / of_s if correct[1] else s * of_s if times else s
            return decay(w, rate) + sign * rate * move(m, g) / root(s)

        return function

    def by_rate(move: Callable[[float, Array, Array], Array]) -> Callable[..., Array]:
        def function(w: Array, g: Array, mean: Array, square: Array, n: int, rate: float) -> Array:
            _, m, s = _adamw(w, g, mean, square, n, rate)
            return w * (1 - 0.1 * rate) - move(rate, m / (1 - 0.9**n), s / (1 - 0.95**n))

        return function

    def decayed_last(w: Array, g: Array, mean: Array, square: Array, n: int, rate: float) -> Array:
        moved = step(decay=lambda w, rate: w)(w, g, mean, square, n, rate)
        return moved * (1 - 0.1 * rate)

    def old_averages(w: Array, g: Array, mean: Array, square: Array, n: int, rate: float) -> Array:
        m, s = mean / (1 - 0.9**n), square / (1 - 0.95**n)
        return w * (1 - 0.1 * rate) - rate * m / (np.sqrt(s) + 1e-8)

    def average(other: Callable[[Array], Array], share: float, which: int) -> Callable[..., Array]:
        def function(w: Array, g: Array, mean: Array, square: Array, n: int, rate: float) -> Array:
            old = (mean, square)[which]
            return old + share * (other(g) - old)

        return function

    def divided(which: int, share: float) -> Callable[..., Array]:
        return lambda w, g, mean, square, n, rate: (
            _adamw(w, g, mean, square, n, rate)[which] / (1 - share**n)
        )

    def of_mean(w: Array, g: Array, mean: Array, square: Array, n: int, rate: float) -> Array:
        return square + 0.05 * ((mean + 0.1 * (g - mean)) ** 2 - square)

    keep = "the new average is {} of the old one and {} of the new number."
    undivided = "return the average itself. Divided by 1 - β**step it is used in the step only."
    return {
        "mean": [
            (average(lambda g: g, 0.9, 0), keep.format(0.9, 0.1)),
            (average(lambda g: g, 0.05, 0), "the two β are swapped: 0.9 for mean, 0.95 for "
             "square."),
            (average(lambda g: g * g, 0.1, 0), "mean is of the gradient, square of its square."),
            (divided(1, 0.9), undivided),
            (lambda w, g, mean, square, n, rate: mean, "mean does not move."),
            (lambda w, g, mean, square, n, rate: 0.9 * mean + g, keep.format(0.9, 0.1)),
            (lambda w, g, mean, square, n, rate: mean + 0.1 * g, keep.format(0.9, 0.1)),
            (lambda w, g, mean, square, n, rate: mean + 0.1 * (g + 0.1 * w - mean),
             "the decay goes through the averages. In AdamW it acts on w directly."),
        ],
        "square": [
            (average(lambda g: g * g, 0.95, 1), keep.format(0.95, 0.05)),
            (average(lambda g: g * g, 0.1, 1), "the two β are swapped: 0.9 for mean, 0.95 for "
             "square."),
            (average(lambda g: g * g, 0.001, 1), "0.999 is torch's default. Here it is 0.95."),
            (average(abs, 0.05, 1), "square the gradient."),
            (of_mean, "square is of the gradient's square, not of mean's."),
            (average(lambda g: g, 0.05, 1), "square the gradient."),
            (divided(2, 0.95), undivided),
            (lambda w, g, mean, square, n, rate: square, "square does not move."),
            (lambda w, g, mean, square, n, rate: 0.95 * square + g * g, keep.format(0.95, 0.05)),
        ],
        "w": [
            (step(correct=(False, False)), "the averages began at 0: divide them by "
             "1 - β**step."),
            (step(correct=(False, True)), "mean is not divided by 1 - 0.9**step."),
            (step(correct=(True, False)), "square is not divided by 1 - 0.95**step."),
            (step(power=lambda n: n - 1), "the first step has step = 1; take β**step."),
            (step(power=lambda n: n + 1), "step counts from 1 already; take β**step."),
            (step(decay=lambda w, rate: w), "weight decay is missing."),
            (step(coupled=True, decay=lambda w, rate: w), "the decay goes through the averages. In "
             "AdamW it acts on w directly."),
            (step(decay=lambda w, rate: w * 0.9), "the decay is not scaled by the rate."),
            (step(decay=lambda w, rate: w * (1 - rate)), "the decay is 0.1 of the rate."),
            (step(decay=lambda w, rate: w * (1 + rate * 0.1)), "the decay pulls towards 0."),
            (step(root=lambda s: s + 1e-8), "take the root of square."),
            (step(root=lambda s: np.sqrt(s + 1e-8)), "1e-8 stands outside the root."),
            (step(root=np.sqrt), "1e-8 is missing under the fraction."),
            (step(sign=1), "the step goes up. Subtract it."),
            (step(move=lambda m, g: g), "the step follows the gradient. Follow its average."),
            (step(root=np.ones_like), "the division by the root of square is missing."),
            (step(slow=0.95, slower=0.9), "the two β are swapped: 0.9 for mean, 0.95 for square."),
            (step(slower=0.999), "0.999 is torch's default. Here it is 0.95."),
            (lambda w, g, mean, square, n, rate: w, "w does not move."),
            (decayed_last, "the decay is of w as it was. Multiply first, then subtract the step."),
            (old_averages, "the step uses the averages from before this gradient. Update them "
             "first."),
            (by_rate(lambda rate, m, s: m / (np.sqrt(s) + 1e-8)), "rate is missing in the step."),
            (by_rate(lambda rate, m, s: rate * m / np.sqrt(s) - 1e-8), "1e-8 is added to the root, "
             "in the denominator: put both in brackets."),
            (step(correct=(False, False), power=lambda n: n, times=True),
             "divide by 1 - β**step, do not multiply."),
            (step(power=None), "β**step is a power, not β * step."),
        ],
    }  # fmt: skip


def _diagnose_means(fixed: Any) -> None:
    rng = np.random.default_rng(7)
    for sizes in ((3, 1), (2, 5, 1), (4,), (2, 2), (1, 1, 6)):
        batches = [rng.standard_normal((n, 2)) for n in sizes]
        rows = np.concatenate(batches)
        given = [batch.copy() for batch in batches]
        told = f"mean_fixed: for micro-batches of {', '.join(map(str, sizes))} tokens"
        result = _parts(quiet_call(fixed, given, name="mean_fixed"), ("mean_fixed's result",))[0]
        expect(result.shape != (), f"{told} that is one number. A row of P numbers has P means: "
                                   "axis=0.")  # fmt: skip
        result = array(result, (2,))
        if np.allclose(result, rows.mean(axis=0)):
            continue
        means = np.array([batch.mean(axis=0) for batch in batches])
        if np.allclose(result, means.mean(axis=0)):
            raise Wrong(f"{told} that is still the mean of the means.")
        if np.allclose(result, means.sum(axis=0)):
            raise Wrong(f"{told} that is the sum of the means.")
        if np.allclose(result, rows.sum(axis=0)):
            raise Wrong(f"{told} that is the sum over all tokens. Divide by their number.")
        if np.allclose(result, rows.sum(axis=0) / len(batches)):
            raise Wrong(f"{told} the sum is divided by the number of micro-batches.")
        raise Wrong(f"{told} that is not the mean over all their tokens.")


def _log_softmax(logits: Array) -> Array:
    return np.log(_softmax(logits))


def _diagnose_shift(fixed: Any) -> None:
    rng = np.random.default_rng(8)
    for T, V in ((3, 3), (4, 3), (7, 5)):
        logits, ids = rng.standard_normal((T, V)), rng.integers(0, V, T)
        log_p = _log_softmax(logits)
        result = _parts(
            quiet_call(fixed, logits, ids, name="shift_fixed"), ("shift_fixed's loss",)
        )[0]
        expect(result.shape == (), f"shift_fixed must give one number, not {result.shape}.")

        def loss(ahead: int, log_p: Array = log_p, ids: Array = ids, T: int = T) -> float:
            n = T - ahead
            return float(-log_p[np.arange(n), ids[ahead:]].mean()) if n > 0 else float("nan")

        if np.isclose(result, loss(1)):
            continue
        if np.isclose(result, loss(2), equal_nan=True):
            raise Wrong("shift_fixed: the labels are still two tokens ahead.")
        if np.isclose(result, -loss(1)):
            raise Wrong("shift_fixed: the sign is wrong. The loss is -log p, and never negative.")
        if np.isclose(result, (T - 1) * loss(1)):
            raise Wrong("shift_fixed: that is the sum over the tokens. Take the mean.")
        if np.isclose(result, float(-log_p[1:][np.arange(T - 1), ids[:-1]].mean())):
            raise Wrong("shift_fixed: every token is asked for the one before it. Drop the last "
                        "row of the logits and the first id.")  # fmt: skip
        if np.isclose(result, float(-log_p[:-1][:, ids[1:]].mean())):
            raise Wrong("shift_fixed: [:, labels] means those columns in every row. Pair each row "
                        "with its label.")  # fmt: skip
        if np.isclose(result, loss(0)):
            raise Wrong("shift_fixed: every token is asked for itself. Ask for the next one.")
        raise Wrong(f"shift_fixed: the loss is {float(result):.4f}, and the mean of -log p of the "
                    f"next id is {loss(1):.4f}.")  # fmt: skip


def _explain_mask(result: Array, T: int, W: int) -> None:
    """Raise Wrong unless an added mask hides just what the rule hides."""
    visible, seen = window_mask(np.arange(T), np.arange(T), W), result > -1e4
    told = f"fixed: for T = {T}, W = {W}"
    i, j = np.indices((T, T))
    expect(not np.array_equal(result, visible),
           f"{told} that is a mask of ones and zeros. This one is added to the scores: 0 where a "
           "key is visible, -1e9 where it is hidden.")  # fmt: skip
    expect(not (seen & (j > i)).any(), f"{told} a token still sees one that comes after it.")
    expect(not (seen & (i - j >= W)).any(), f"{told} keys behind the window are still visible.")
    expect(not (visible & ~seen).any(), f"{told} a key inside the window is hidden.")
    expect((result[visible] == 0).all(), f"{told} a visible entry must be 0: it is added.")


def _diagnose_average(fixed: Any) -> None:
    rng = np.random.default_rng(9)
    checkpoints: list[dict[str, Array]] = [
        {"w": rng.standard_normal((2, 2)), "half": rng.standard_normal(3).astype(np.float32),
         "step": np.array(step), "order": rng.permutation(4)} for step in (10, 20, 35)
    ]  # fmt: skip
    result = quiet_call(fixed, [dict(c) for c in checkpoints], name="average_fixed")
    expect(isinstance(result, dict), "average_fixed must return a dict, as a checkpoint is.")
    missing = checkpoints[-1].keys() - result.keys()
    expect(not missing, f"average_fixed: {', '.join(sorted(missing))} is missing in the result.")
    for name in ("w", "half"):
        wanted = np.mean([c[name] for c in checkpoints], axis=0)
        expect(np.shape(result[name]) == wanted.shape, f"average_fixed: {name} has the shape "
               f"{np.shape(result[name])}, where {wanted.shape} is right.")  # fmt: skip
        kept = np.array_equal(result[name], checkpoints[-1][name])
        expect(not kept, f"average_fixed: {name} is the last checkpoint's. Only integers are.")
        rounded = np.allclose(result[name], np.round(wanted))
        expect(
            not rounded, f"average_fixed: {name} is rounded. Only integers are left as they are."
        )
        expect(np.allclose(result[name], wanted, atol=1e-6),
               f"average_fixed: {name} is not the mean of all checkpoints.")  # fmt: skip
    for name in ("step", "order"):
        last = np.array_equal(result[name], checkpoints[-1][name])
        expect(last, f"average_fixed: {name} holds integers, and its mean means nothing. Take the "
                     "last checkpoint's.")  # fmt: skip
        kind = np.asarray(result[name]).dtype.kind
        expect(kind in "iu", f"average_fixed: {name} must stay integers.")


def _diagnose_kept(fixed: Any) -> None:
    weights = {"a": np.array([1.0, 2.0]), "b": np.array([[3.0]])}
    held = dict(weights)

    def update(weights: dict[str, Array]) -> None:
        for weight in weights.values():
            weight += 1

    function = None if fixed is None else lambda n: fixed(held, update, n)
    kept = quiet_call(function, 3, name="kept_fixed")
    expect(isinstance(kept, list) and len(kept) == 3, "kept_fixed must return a list of n dicts.")
    for n, checkpoint in enumerate(kept):
        expect(isinstance(checkpoint, dict) and checkpoint.keys() == weights.keys(),
               "kept_fixed: every checkpoint is a dict with all names.")  # fmt: skip
        for name, start in (("a", [1.0, 2.0]), ("b", [[3.0]])):
            wanted = np.array(start) + n + 1
            if np.array_equal(checkpoint[name], wanted):
                continue
            if np.array_equal(checkpoint[name], np.array(start) + 3):
                raise Wrong(f"kept_fixed: checkpoint {n} has changed with the later updates. It "
                            "needs arrays of its own.")  # fmt: skip
            raise Wrong(f"kept_fixed: checkpoint {n} must hold the weights after {n + 1} updates.")
