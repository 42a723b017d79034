"""Checks of lesson 10: the loop, temperature, top-p, a penalty, drafts, and five published bugs."""

from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.course.checks import looped
from minimistral.course.checks.museum import guilty_line
from minimistral.course.checks.report import (
    Example,
    Wrong,
    array,
    call,
    diagnose_arrays,
    exercise,
    expect,
    quiet_call,
    whole_number,
)
from minimistral.np.sampling import keep_top_p, probabilities
from minimistral.np.sampling import penalise as np_penalise
from minimistral.np.speculative import draft as np_draft

Array = np.ndarray
Mistakes = Iterable[tuple[Callable[..., Array], str]]


def _loop(read: Any, choose: Any, prompt: list[int], n_new: int, stop_ids: Any) -> list[int]:
    logits = read(prompt)
    new: list[int] = []
    while True:
        new.append(choose(logits))
        if len(new) == n_new or new[-1] in stop_ids:
            return new
        logits = read(new[-1:])


def _accept(drafts: list[int], chosen: list[int]) -> list[int]:
    n = 0
    while n < len(drafts) and drafts[n] == chosen[n]:
        n += 1
    return chosen[: n + 1]


@exercise("Read, choose, repeat", course=_loop, hints=(
    "Read the whole prompt with one call of `read`. From then on every call of `read` gets a list "
    "of one id, the one that was just chosen.",
    "Stop when n_new ids are chosen, or when the last one is in stop_ids, and check this before "
    "you read on: the last id is never read.",
    "After `logits = read(prompt)`, repeat: append `choose(logits)`; return the list if it is long "
    "enough or ends in a stop id; else `logits = read([the last id])`.",
))  # fmt: skip
def loop(answer: Any) -> str:
    """answer(read, choose, prompt, n_new, stop_ids) -> the new ids."""
    n_cases = looped.diagnose(answer, _loop)
    return f"right in all {n_cases} cases, with no token read twice or in vain."


@exercise("Temperature", course=probabilities, hints=(
    "Divide the logits by the temperature, then take softmax as in lesson 01. Temperature 0 needs "
    "a line of its own, because nothing can be divided by 0.",
    "Subtract the largest logit first: divided by a small temperature, the logits may be so large "
    "that exp overflows.",
    "If temperature is 0, return zeros with a 1 at `logits.argmax()`. Else divide "
    "`np.exp((logits - logits.max()) / temperature)` by its sum.",
))  # fmt: skip
def temper(answer: Any) -> str:
    """answer(logits (V,), temperature) -> probabilities (V,)."""
    rng = np.random.default_rng(10)
    cases: list[tuple[Array, float]] = [
        (np.array([2.0, 1.0, 0.0]), 0.5),
        (np.array([2.0, 1.0, 0.0]), 2.0),
        (np.array([1.0, 3.0, -np.inf, 2.0]), 1.0),
        (np.array([-1.0, -3.0, 0.5]), 0),
        (np.array([1.0, 1.0 + 1e-9, 0.5, -4.0]), 0.0),
        (rng.standard_normal(9), 1.3),
        (np.array([1000.0, 999.0, 990.0]), 1.0),
        (np.array([-900.0, -901.0, -950.0]), 0.7),
        (np.array([3.0, 1.0, 2.9]), 0.001),
    ]
    hints = {"truth value": "Is one number compared here, the temperature?"}
    results = [
        (case, array(quiet_call(answer, *case, hints=hints), case[0].shape)) for case in cases
    ]
    diagnose_arrays(results, probabilities, _temper_mistakes(), _temper_fault)
    return "right from temperature 0 up, for logits of any size."


@exercise("Keep the most likely", course=keep_top_p, hints=(
    "`order = np.argsort(-p)` are the ids, the likeliest first, and `p[order]` their probabilities "
    "in that order. `np.cumsum` adds them up.",
    "A token is kept if all likelier ones *together* have less than top_p. What they have is the "
    "cumulative sum minus the token's own probability.",
    "With `before = np.cumsum(p[order]) - p[order]` and an array of zeros `kept`, set "
    "`kept[order]` to `np.where(before < top_p, p[order], 0)`, and divide `kept` by its sum.",
))  # fmt: skip
def top_p(answer: Any) -> str:
    """answer(p (V,), top_p) -> probabilities (V,)."""
    results = _run(answer, _cuts())
    diagnose_arrays(results, keep_top_p, _top_p_mistakes(), _distribution_fault)
    return f"the fewest tokens that have top_p together, in all {len(results)} cases."


@exercise("A repetition penalty", course=np_penalise, hints=(
    "Take a logit of 2, a logit of -2 and a penalty of 2. Divide each and multiply each: which "
    "result is the smaller one?",
    "With a penalty above 1, dividing makes a positive logit smaller; a negative one gets smaller "
    "when it is multiplied.",
    "Take `np.where(logits > 0, logits / penalty, logits * penalty)` where seen is True, and the "
    "logits as they are elsewhere.",
))  # fmt: skip
def penalise(answer: Any) -> str:
    """answer(logits (V,), seen bool (V,), penalty) -> logits (V,)."""
    results = _run(answer, _penalties())
    diagnose_arrays(results, np_penalise, _penalise_mistakes())
    return "every seen token becomes less likely, whatever the sign of its logit."


@exercise("Draft from the text", course=np_draft, hints=(
    "The last ids are `ids[-ngram:]`. Compare them with `ids[start : start + ngram]` for every "
    "start before that, the latest first.",
    "The latest start that can be an earlier occurrence is len(ids) - ngram - 1; go down to 0. "
    "Where none matches, return an empty list.",
    "With `text = list(ids)`, append `text[start + ngram + i]` to it for i = 0 to n_draft - 1, and "
    "return `text[len(ids):]`.",
))  # fmt: skip
def draft(answer: Any) -> str:
    """answer(ids, n_draft, ngram) -> a list of n_draft ids, or an empty one."""
    cases = [
        ([5, 6, 7, 8, 5, 6], 2, 2), ([5, 6, 7, 8, 9, 5, 6], 4, 2), ([1, 2, 3, 4], 3, 2),
        ([1, 2, 7, 1, 2, 8, 1, 2], 1, 2), ([3, 3, 3], 2, 2), ([1, 2], 3, 2), ([4], 3, 1),
        ([9, 4, 5, 9, 1, 9], 3, 1), ([1, 2, 3, 7, 0, 2, 3, 8, 1, 2, 3], 3, 3),
        ([0, 1, 2, 3, 4, 5, 1, 2], 3, 2), ([6, 1, 5, 1], 9, 1), ([2, 1, 2, 1, 2], 4, 2),
    ]  # fmt: skip
    results = [(case, _ids(call(answer, list(case[0]), *case[1:]))) for case in cases]
    _diagnose_ids(results, np_draft, _draft_mistakes())
    return f"right on all {len(cases)} texts, also where nothing repeats."


@exercise("Which drafts are right", course=_accept, hints=(
    "drafts[0] is right if it is what the model chose in its place, chosen[0]; drafts[1] if it is "
    "chosen[1], and so on.",
    "The first wrong draft ends it: what the model chose after a wrong token belongs to another "
    "text. But the choice in place of the wrong draft is right.",
    "Count n up while n < len(drafts) and drafts[n] == chosen[n], and return chosen[: n + 1].",
))  # fmt: skip
def accept(answer: Any) -> str:
    """answer(drafts of length r, chosen of length r + 1) -> the ids that this step adds."""
    cases = [
        ([7, 8, 9], [7, 8, 5, 6]), ([1, 2], [1, 2, 3]), ([4, 5], [3, 5, 6]), ([], [9]),
        ([1, 9, 3], [1, 2, 3, 4]), ([6], [6, 7]), ([6], [7, 6]), ([2, 2, 2, 2], [2, 2, 1, 2, 3]),
    ]  # fmt: skip
    results = [(case, _ids(call(answer, *map(list, case)))) for case in cases]
    _diagnose_ids(results, _accept, _accept_mistakes())
    return f"right in all {len(cases)} steps: the model's own words, and one at least."


@exercise("Museum, two cuts", hints=(
    "Write down order, the running total and keep for p = 0.5, 0.41, 0.09 and top_p = 0.9. Then "
    "ask what 1 - 0.00000001 is in float32.",
    "In the first function, a token is judged by the total with itself. In the second, the largest "
    "total is 1 and is compared with a number that has been rounded to 1.",
    "Line 4 is at fault in both. In the first, compare `total - in_order < top_p`. In the second, "
    "keep the last of the order, the likeliest, whatever top_p is.",
))  # fmt: skip
def bug_cuts(
    drops_line: Any, drops_fixed: Any, empties_line: Any, empties_fixed: Any
) -> str:  # fmt: skip
    """A cut that drops the token that crosses top_p, and one that can leave nothing."""
    guilty_line(drops_line, 4, _OF_CUT | {
        3: "The running total is right: 0.5, 0.91, 1. Ask who is judged by it.",
    }, 7, name="drops_line")  # fmt: skip
    results = _run(drops_fixed, _cuts(), name="drops_fixed")
    _named("drops_fixed", results, keep_top_p, _top_p_mistakes())
    guilty_line(empties_line, 4, _OF_CUT | {
        1: "From the least likely up is another order, and a right one: the tail comes first.",
        3: "The running total is right; its last entry is 1, up to rounding.",
    }, 7, name="empties_line")  # fmt: skip
    tiny = [(np.array(p, np.float32), t) for p, t in (
        ([0.25, 0.5, 0.25], 1e-8), ([0.125, 0.25, 0.0, 0.625], 1e-12), ([0.5, 0.375, 0.125], 1e-7),
    )]  # fmt: skip
    results = _run(empties_fixed, _cuts(np.float32) + tiny, name="empties_fixed")
    _named("empties_fixed", results, keep_top_p, _top_p_mistakes())
    return (
        "both keep the fewest tokens that reach top_p, and never none. Published: "
        "rasbt/reasoning-from-scratch#164 and labmlai/annotated_deep_learning_paper_"
        "implementations#203 (the first), ml-explore/mlx-lm#1912 (the second)."
    )


@exercise("Museum, a draw and a penalty", hints=(
    "Follow choose_at([0, 0.5, 0.5], 0.0): what are edges and mark, and which comparison is the "
    "first that holds? Then follow weaken for a logit of -2 and a penalty of 2.",
    "A token owns the marks from the edge before it up to, but not including, its own edge. And a "
    "negative number divided by 2 is larger than before.",
    "In choose_at, line 4 must ask `mark < edge`. In weaken, line 3 must divide only if the logit "
    "is positive, and else multiply.",
))  # fmt: skip
def bug_draw_and_penalty(
    draw_line: Any, draw_fixed: Any, weaken_line: Any, weaken_fixed: Any
) -> str:  # fmt: skip
    """A draw that can give a token of probability 0, and a penalty that rewards."""
    guilty_line(draw_line, 4, {
        1: "The edges are right: 0, 0.5 and 1. A token of probability 0 ends where it begins.",
        2: "The mark is right: u as a share of the whole, for a sum that is not quite 1.",
        3: "Every token has to be looked at, in order.",
        5: "It returns the token that line 4 chose.",
    }, 5, name="draw_line")  # fmt: skip
    _diagnose_draws(draw_fixed)
    guilty_line(weaken_line, 3, {
        1: "The copy is right; the caller's logits must not change.",
        2: "A set has each token once, so that no token is penalised twice. That is right.",
        4: "It returns what line 3 made.",
    }, 4, name="weaken_line")  # fmt: skip
    _diagnose_weaken(weaken_fixed)
    return (
        "no token of probability 0 is drawn, and a penalty never rewards. Published: "
        "pytorch/pytorch#48841 and Lightning-AI/litgpt#2323 (a random number that is exactly 0), "
        "huggingface/transformers#2302 (a negative logit)."
    )


@exercise("Museum, padding on the left", hints=(
    "Write down tokens and positions for the prompts [5, 6, 7] and [8]. Which entries are padding, "
    "and what tells the mask so?",
    "A key is hidden if its position is -1. Line 3 gives every entry that position, and one line "
    "writes over it.",
    "Line 7 must number the prompt's own tokens from 0: "
    "`positions[row, start:] = np.arange(len(prompt))`.",
))  # fmt: skip
def bug_padding(line: Any, fixed: Any) -> str:
    """Prompts of different lengths in one batch, with positions counted for the whole batch."""
    guilty_line(line, 7, {
        1: "The longest prompt decides how wide the batch is. That is right.",
        2: "Any id may stand where nobody looks.",
        3: "Position -1 marks padding, as in an empty slot of the cache. That is right.",
        4: "Every row is filled in turn.",
        5: "The padding stands in front, so that every row ends in its last token.",
        6: "The prompt stands at the end of its row. That is right.",
        8: "It returns what the lines above made.",
    }, 8)  # fmt: skip
    batches = [[[5, 6, 7], [8]], [[1], [2, 3]], [[4, 5]], [[1, 2], [3, 4, 5, 6, 7], [8, 9, 1]]]
    for prompts in batches:
        _diagnose_padded(fixed, prompts)
    return (
        "each row counts its own tokens, and padding is hidden. Published: "
        "rasbt/reasoning-from-scratch#33, unslothai/unsloth#3699."
    )


_OF_CUT = {
    1: "The order is right: the likeliest first.",
    2: "It only puts the probabilities in that order.",
    5: "Zeros are right for what is not kept.",
    6: "It writes back what line 4 decided.",
    7: "Dividing by the sum is right, as long as something was kept.",
}


def _run(answer: Any, cases: list, name: str = "") -> list[tuple[tuple, Array]]:
    return [
        (case, array(quiet_call(answer, *case, hints=_CUT_HINTS, name=name), case[0].shape))
        for case in cases
    ]


_CUT_HINTS = {
    "only integer scalar arrays": "An array of places needs square brackets: p[order].",
    "arrays used as indices must be": "Use places (integers) or bool to index.",
}


def _named(name: str, results: list, right: Callable[..., Array], mistakes: Mistakes) -> None:
    """`diagnose_arrays` for one of two functions: the message says which."""
    fault = _distribution_fault if right is keep_top_p else None
    try:
        diagnose_arrays(results, right, mistakes, fault)
    except Wrong as wrong:
        example = wrong.example and wrong.example._replace(name=name)
        raise Wrong(f"{name}: {wrong}", example) from None


def _cuts(dtype: Any = float) -> list[tuple[Array, float]]:
    """Distributions and top_p. Sums that must hit top_p exactly are made of powers of 2."""
    spread = np.random.default_rng(11).permutation(2.0 ** np.arange(12))
    cases = [
        ([0.5, 0.3, 0.15, 0.05], 0.6), ([0.05, 0.5, 0.15, 0.3], 0.6), ([0.5, 0.41, 0.09], 0.9),
        ([0.25, 0.5, 0.25 - 0.0625, 0.0625], 0.75), ([0.25, 0.0, 0.75], 1.0),
        ([0.125, 0.625, 0.25], 0.01), ([1.0, 0.0], 0.5), (spread / spread.sum(), 0.95),
        ([0.2, 0.1, 0.4, 0.3], 0.95), ([0.125, 0.25, 0.5, 0.125 - 0.03125, 0.03125], 0.3),
    ]  # fmt: skip
    return [(np.array(p, dtype), top_p) for p, top_p in cases]


def _penalties() -> list[tuple[Array, Array, float]]:
    rng = np.random.default_rng(12)
    cases = [
        (np.array([2.0, -2.0, 1.0, -1.0]), np.array([True, True, False, False]), 2.0),
        (np.array([3.0, -1.0, 0.0]), np.array([False, False, True]), 1.5),
        (np.array([0.5, -np.inf, -4.0]), np.array([True, True, True]), 1.2),
        (np.array([1.0, -1.0]), np.array([True, True]), 1.0),
        (np.array([4.0, -3.0]), np.array([False, False]), 1.3),
    ]
    return [*cases, (rng.standard_normal(8), rng.random(8) < 0.5, 1.7)]


def _temper_fault(case: tuple, got: Array) -> str:
    _, temperature = case
    if not np.isnan(got).any():
        return _distribution_fault(case, got)
    if temperature == 0:
        return (
            "temperature 0 divides by 0. It means: the likeliest token alone, with probability 1."
        )
    return "the result is nan: exp overflows. Subtract the largest logit first."


def _distribution_fault(case: tuple, got: Array) -> str:
    if np.isnan(got).any():
        return "nothing is kept, and 0 / 0 is nan. The likeliest token must always stay."
    if (got < -1e-9).any():
        return "a probability is negative."
    if not np.isclose(got.sum(), 1, atol=1e-4):
        return f"the probabilities sum to {got.sum():.3f}, not to 1."
    return ""


def _softmax(x: Array) -> Array:
    exps = np.exp(x - x.max())
    return exps / exps.sum()


def _temper_mistakes() -> Mistakes:
    def unless_0(
        warm: Callable[[Array, float], Array], cold: Any = probabilities
    ) -> Callable[..., Array]:
        return lambda logits, t: cold(logits, 0) if t == 0 else warm(logits, t)

    def one(logits: Array, t: float) -> Array:
        return _softmax(logits)

    def at_smallest(logits: Array, t: float) -> Array:
        return (np.arange(len(logits)) == logits.argmin()).astype(float)

    zero = "temperature 0 means the likeliest token alone, with probability 1"
    return [
        (unless_0(probabilities, one), f"{zero}. That is temperature 1."),
        (unless_0(probabilities, lambda logits, t: np.full(len(logits), 1 / len(logits))),
         f"{zero}. That is an even chance for all."),
        (unless_0(probabilities, lambda logits, t: np.zeros(len(logits))),
         f"{zero}. That is zeros."),
        (unless_0(probabilities, at_smallest), f"{zero}: argmax, not argmin."),
        (unless_0(probabilities, lambda logits, t: logits),
         f"{zero}. That is the logits themselves."),
        (unless_0(lambda logits, t: _softmax(logits * t)), "it multiplies. Divide by temperature."),
        (lambda logits, t: _softmax(logits * t), "it multiplies. Divide by temperature."),
        (unless_0(one), "the temperature is not used."),
        (one, "the temperature is not used."),
        (unless_0(lambda logits, t: _softmax(logits) / t),
         "softmax comes first and is then divided. Divide the logits, before softmax."),
        (unless_0(lambda logits, t: _softmax(_softmax(logits) / t)),
         "softmax is taken twice. Divide the logits, not probabilities."),
        (unless_0(lambda logits, t: np.exp((logits - logits.max()) / t)),
         "divide by the sum, so that the probabilities sum to 1."),
        (unless_0(lambda logits, t: _softmax(logits) ** (1 / t)),
         "p ** (1 / temperature) is right up to a factor: divide by the sum."),
        (unless_0(lambda logits, t: _softmax(logits / t**2)), "it divides twice."),
        (unless_0(lambda logits, t: _softmax(-logits / t)),
         "the sign is wrong: a larger logit is likelier."),
        (unless_0(lambda logits, t: np.log(_softmax(logits / t))),
         "those are logarithms. Return probabilities."),
        (unless_0(lambda logits, t: logits / t), "softmax is missing."),
        (unless_0(lambda logits, t: np.exp(logits / t) / np.exp(logits / t).sum()),
         "exp overflows for large logits. Subtract the largest first."),
        (lambda logits, t: np.exp(logits / t) / np.exp(logits / t).sum(),
         "exp overflows for large logits, and temperature 0 divides by 0."),
        (lambda logits, t: _softmax(logits / (t + 1e-8)),
         "a small number added to the temperature is not 0: give temperature 0 a line of its own."),
        (unless_0(lambda logits, t: _softmax(logits / max(t, 1))),
         "temperatures below 1 are raised to 1."),
    ]  # fmt: skip


def _top_p_mistakes() -> Mistakes:
    def by(keep: Callable[[Array, Array, float], Array]) -> Callable[..., Array]:
        """keep(in_order, total, top_p) -> which of the sorted tokens stay."""

        def cut(p: Array, top_p: float) -> Array:
            order = np.argsort(-p)
            in_order = p[order]
            kept = np.zeros_like(p)
            kept[order] = np.where(keep(in_order, in_order.cumsum(), top_p), in_order, 0)
            return kept / kept.sum()

        return cut

    def first(stay: Array) -> Array:
        return stay | (np.arange(len(stay)) == 0)

    def unscaled(p: Array, top_p: float) -> Array:
        return np.where(keep_top_p(p, top_p) > 0, p, 0)

    def unsorted(p: Array, top_p: float) -> Array:
        kept = np.where(p.cumsum() - p < top_p, p, 0)
        return kept / kept.sum()

    def upwards(p: Array, top_p: float) -> Array:
        order = np.argsort(p)
        kept = np.zeros_like(p)
        kept[order] = np.where(p[order].cumsum() - p[order] < top_p, p[order], 0)
        return kept / kept.sum()

    def in_order(p: Array, top_p: float) -> Array:
        return np.sort(keep_top_p(p, top_p))[::-1]

    def rank(p: Array, n: float) -> Array:
        kept = np.where(np.argsort(np.argsort(-p)) < n, p, 0)
        return kept / kept.sum()

    def from_below(p: Array, top_p: float) -> Array:
        order = np.argsort(p)
        total = p[order].cumsum()
        kept = np.zeros_like(p)
        kept[order] = np.where(total > 1 - p.dtype.type(top_p), p[order], 0)
        return kept / kept.sum()

    def to_the_first(p: Array, top_p: float) -> Array:
        order = np.argsort(-p)
        n = (p[order].cumsum() > top_p).argmax() + 1
        return rank(p, int(n))

    crosses = (
        "the token that crosses top_p is dropped, so that less than top_p is left. Judge a token "
        "by what all likelier ones have, without itself"
    )
    exact = "one token too many where the likelier ones have exactly top_p: compare with <, not <="
    return [
        (by(lambda p, total, t: total <= t), f"{crosses}."),
        (by(lambda p, total, t: total < t), f"{crosses}."),
        (by(lambda p, total, t: first(total <= t)), f"{crosses}."),
        (by(lambda p, total, t: first(total < t)), f"{crosses}."),
        (by(lambda p, total, t: total - p <= t), f"{exact}."),
        (by(lambda p, total, t: p >= t), "each probability is compared alone. Add them up."),
        (by(lambda p, total, t: first(p >= t)), "each probability is compared alone. Add them up."),
        (by(lambda p, total, t: p >= t * p.max()),
         "that is min-p: it compares with the likeliest token. Add the probabilities up."),
        (by(lambda p, total, t: p >= 1 - t), "each probability is compared alone. Add them up."),
        (by(lambda p, total, t: total - p >= t), "that keeps the tail, and drops the likeliest."),
        (by(lambda p, total, t: total >= t), "that keeps the tail, from the crossing token on."),
        (by(lambda p, total, t: total > t), "that keeps the tail, and drops the likeliest."),
        (by(lambda p, total, t: np.concatenate([[True], total[:-1] <= t])), f"{exact}."),
        (to_the_first,
         "argmax of an array without any True is 0, so at top_p = 1 one token is left; and exactly "
         "top_p is enough. Judge each token by what all likelier ones have."),
        (upwards, "that begins with the least likely token. Begin with the likeliest."),
        (by(lambda p, total, t: np.ones(len(p), bool)), "nothing is cut."),
        (by(lambda p, total, t: np.arange(len(p)) == 0), "only the likeliest is kept."),
        (lambda p, t: p, "nothing is cut."),
        (lambda p, t: _softmax(np.where(keep_top_p(p, t) > 0, p, -np.inf)),
         "softmax of probabilities is not what is asked. Divide by the sum."),
        (lambda p, t: keep_top_p(p, t) * t,
         "the sum must be 1: divide by what is left, not by top_p."),
        (lambda p, t: unscaled(p, t) / t, "divide by what is left, which is seldom exactly top_p."),
        (unscaled, "what is left must sum to 1: divide by its sum."),
        (unsorted, "it is not sorted: the likeliest come first, wherever they stand."),
        (in_order, "the result is sorted. Put each probability back to its own place."),
        (lambda p, t: rank(p, np.ceil(t * len(p))),
         "top_p is a share of probability, not of the tokens."),
        (lambda p, t: rank(p, max(1, int(t * len(p)))),
         "top_p is a share of probability, not of the tokens."),
        (from_below, "for a tiny top_p nothing is kept, because 1 - top_p is rounded to 1."),
    ]  # fmt: skip


def _penalise_mistakes() -> Mistakes:
    def at_seen(change: Callable[[Array, float], Array]) -> Callable[..., Array]:
        return lambda logits, seen, penalty: np.where(seen, change(logits, penalty), logits)

    def on_all(logits: Array, seen: Array, penalty: float) -> Array:
        return np_penalise(logits, np.ones_like(seen), penalty)

    return [
        (at_seen(lambda x, c: x / c),
         "a negative logit divided by the penalty becomes larger, so that a repeated token becomes "
         "likelier. Multiply it."),
        (at_seen(lambda x, c: x * c),
         "a positive logit times the penalty becomes larger, so that a repeated token becomes "
         "likelier. Divide it."),
        (at_seen(lambda x, c: np.where(x > 0, x * c, x / c)),
         "the two are swapped: divide what is positive, multiply what is negative."),
        (on_all, "it changes tokens that were not seen."),
        (lambda logits, seen, penalty: np_penalise(logits, ~seen, penalty),
         "seen and unseen are swapped."),
        (lambda logits, seen, penalty: logits, "nothing changes."),
        (at_seen(lambda x, c: x - c),
         "it subtracts. That is another penalty; this one divides or multiplies."),
        (at_seen(lambda x, c: x - np.log(c)),
         "it subtracts a logarithm. This penalty divides or multiplies the logit."),
        (at_seen(lambda x, c: np.full_like(x, -np.inf)),
         "the seen tokens are forbidden. A penalty only makes them less likely."),
        (at_seen(lambda x, c: np.zeros_like(x)),
         "the seen logits become 0, which is not the lowest."),
        (at_seen(lambda x, c: -abs(x) * c), "a positive logit must stay positive: divide it."),
        (at_seen(lambda x, c: abs(x) / c), "a negative logit must stay negative."),
        (at_seen(lambda x, c: np.where(x > 0, x / c, x)), "negative logits must change, too."),
        (at_seen(lambda x, c: np.where(x > 0, x, x * c)), "positive logits must change, too."),
        (at_seen(lambda x, c: np.where(x > 0, x / c**2, x * c**2)),
         "the penalty is applied twice."),
        (lambda logits, seen, penalty: np.where(seen, np_penalise(logits, seen, penalty), 0),
         "the logits of unseen tokens must stay as they are."),
        (lambda logits, seen, penalty: _softmax(np_penalise(logits, seen, penalty)),
         "softmax comes later. Return logits."),
        (at_seen(lambda x, c: np.where(x > 1, x / c, x * c)), "the border is 0, not 1."),
    ]  # fmt: skip


def _ids(value: Any) -> list[int]:
    """The answer as a list of ids; raises Wrong for anything else."""
    value = value.tolist() if hasattr(value, "tolist") else value
    is_list = isinstance(value, list | tuple)
    expect(is_list, f"return a list of ids, not a value of type {type(value).__name__}.")
    return [whole_number("An id", entry) for entry in value]


def _diagnose_ids(results: list, right: Callable[..., list], mistakes: Iterable) -> None:
    """Like `diagnose_arrays`, for lists of ids of any length."""
    wrong = [(case, got) for case, got in results if got != right(*case)]
    if not wrong:
        return
    case, got = min(wrong, key=lambda pair: len(pair[0][0]))
    example = Example(case, got, right(*case))
    for mistaken, hint in mistakes:
        if all(got == mistaken(*case) for case, got in results):
            raise Wrong(hint, example)
    given = ", ".join(map(str, case))
    raise Wrong(f"for {given} the result is not {got}, but {right(*case)}.", example)


def _draft_mistakes() -> Iterable[tuple[Callable[..., list[int]], str]]:
    def starts(ids: list[int], ngram: int) -> list[int]:
        return [s for s in range(len(ids) - ngram) if ids[s : s + ngram] == ids[-ngram:]]

    def copied(
        which: int, skip: int = 0, more: int = 0, far: bool = False
    ) -> Callable[..., list[int]]:
        def drafted(ids: list[int], n: int, ngram: int) -> list[int]:
            found = starts(ids, ngram)
            found = [s for s in found if s + ngram <= len(ids) - ngram] if far else found
            text = list(ids)
            for i in range(n + more if found else 0):
                text.append(text[found[which] + ngram + skip + i])
            return text[len(ids) :]

        return drafted

    def sliced(which: int) -> Callable[..., list[int]]:
        def drafted(ids: list[int], n: int, ngram: int) -> list[int]:
            found = starts(ids, ngram)
            return ids[found[which] + ngram :][:n] if found else []

        return drafted

    def padded(ids: list[int], n: int, ngram: int) -> list[int]:
        found = sliced(-1)(ids, n, ngram)
        return found + [0] * (n - len(found))

    def with_match(ids: list[int], n: int, ngram: int) -> list[int]:
        found = starts(ids, ngram)
        return ids[found[-1] :][: ngram + n] if found else []

    first = (
        "that is the first occurrence. Take the latest before the end: it is likelier to go on as "
        "the text does now."
    )
    stops = (
        "the copy stops at the end of the text. It goes on with what it has just copied: after "
        "3, 3, 3 come 3, 3, 3"
    )
    return [
        (lambda ids, n, ngram: [],
         "nothing is found. If you search from the end, the first match is the end itself: begin "
         "one place earlier."),
        (sliced(-1), f"{stops}."),
        (sliced(0), f"{stops}. And take the latest occurrence, not the first."),
        (copied(0), first),
        (copied(-1, skip=-1), "it begins with the last id of the match. Begin behind the match."),
        (copied(-1, more=1), "one id too many: n_draft."),
        (copied(-1, more=-1), "one id too few: n_draft."),
        (with_match, "the match itself is in it. Return only what comes behind."),
        (lambda ids, n, ngram: np_draft(ids, len(ids), ngram), "n_draft ids, and no more."),
        (lambda ids, n, ngram: np_draft(ids, n, 1),
         "only the last id is compared. The last ngram ids must all match."),
        (lambda ids, n, ngram: np_draft(ids, n, 2), "ngram is an argument; 2 was an example."),
        (copied(-1, far=True),
         "an occurrence may overlap the end: in 3, 3, 3 the pair 3, 3 stands at 0 and at 1."),
        (padded, "nothing is filled in: where nothing is found, the list is empty."),
        (lambda ids, n, ngram: np_draft(ids, n, ngram) or ids[-1:] * n,
         "where nothing is found, return an empty list."),
        (lambda ids, n, ngram: ids + np_draft(ids, n, ngram),
         "return the drafts without the text."),
        (lambda ids, n, ngram: np_draft(ids, n, ngram)[::-1], "the ids are in reverse order."),
        (lambda ids, n, ngram: ids[-n:],
         "those are the last ids. Return what stood behind them when they came before."),
        (lambda ids, n, ngram: ids[:n], "those are the first ids of the text."),
    ]  # fmt: skip


def _accept_mistakes() -> Iterable[tuple[Callable[..., list[int]], str]]:
    def same(drafts: list[int], chosen: list[int]) -> list[bool]:
        return [d == c for d, c in zip(drafts, chosen, strict=False)]

    def prefix(drafts: list[int], chosen: list[int]) -> list[int]:
        return _accept(drafts, chosen)[:-1]

    def shifted(drafts: list[int], chosen: list[int]) -> list[int]:
        n = 0
        while n < len(drafts) and drafts[n] == chosen[n + 1]:
            n += 1
        return chosen[: n + 1]

    def all_or_one(drafts: list[int], chosen: list[int]) -> list[int]:
        return chosen if drafts == chosen[:-1] else chosen[:1]

    def no_gift(drafts: list[int], chosen: list[int]) -> list[int]:
        return _accept(drafts, chosen)[: len(drafts)]

    return [
        (prefix, "only the drafts that are right. The model's own choice behind them is right as "
                 "well, and free."),
        (no_gift, "if all drafts are right, the model's choice behind the last one is one more."),
        (lambda d, c: c,
         "all choices are taken. Those behind a wrong draft belong to another text."),
        (lambda d, c: d, "the drafts are taken unchecked."),
        (lambda d, c: d + c[-1:], "the drafts are taken unchecked."),
        (lambda d, c: c[:1], "only one token is taken. Right drafts count, too."),
        (lambda d, c: [t for t, ok in zip(d, same(d, c), strict=True) if ok],
         "a draft that agrees after a wrong one does not count: it continues another text."),
        (lambda d, c: [t for t, ok in zip(d, same(d, c), strict=True) if ok] + c[-1:],
         "a draft that agrees after a wrong one does not count: it continues another text."),
        (lambda d, c: c[: sum(same(d, c)) + 1],
         "it counts all drafts that agree. Stop at the first that does not."),
        (shifted, "compare drafts[n] with chosen[n]: both stand in the same place."),
        (all_or_one, "some drafts may be right and a later one wrong. Keep those before it."),
        (lambda d, c: _accept(d, c) + d[len(_accept(d, c)) - 1 :][:1],
         "the wrong draft itself is in it. The model's choice stands in its place."),
        (lambda d, c: c[: len(_accept(d, c)) + 1],
         "one too many: it goes on behind a wrong draft."),
        (lambda d, c: prefix(d, c) + c[-1:],
         "behind the right drafts comes what the model chose there, not its last choice."),
    ]  # fmt: skip


def _diagnose_draws(fixed: Any) -> None:
    cases = [
        (np.array(p), u)
        for p, marks in (
            ([0.0, 0.5, 0.5], (0.0, 0.25, 0.5, 0.75, 0.99)),
            ([0.25, 0.0, 0.0, 0.75], (0.0, 0.2, 0.25, 0.9)),
            ([0.5, 0.25, 0.25, 0.0], (0.0, 0.49, 0.5, 0.75, 0.999)),
            ([0.0, 0.0, 1.0, 0.0], (0.0, 0.5)),
            ([0.0, 1.0, 1.0], (0.0, 0.25, 0.75)),
        )
        for u in marks
    ]

    def right(p: Array, u: float) -> int:
        edges = p.cumsum()
        return int((edges <= u * edges[-1]).sum())

    got = [
        whole_number("draw_fixed's token", quiet_call(fixed, *c, name="draw_fixed")) for c in cases
    ]
    for case, token in zip(cases, got, strict=True):
        p, u = case
        if token == right(*case):
            continue
        example = Example(case, token, right(*case), name="draw_fixed")
        expect(0 <= token < len(p), f"draw_fixed gives token {token}, and there are {len(p)}.")
        if p[token] == 0:
            raise Wrong(f"draw_fixed still draws token {token}, whose probability is 0.", example)
        if u == 0:
            raise Wrong("draw_fixed: u = 0 must give the first token that has a share.", example)
        raise Wrong(
            f"draw_fixed: a token owns the marks from the edge before it up to its own, which is "
            f"not included. u = {u:g} belongs to token {right(*case)}, not {token}.",
            example,
        )


def _weaken(logits: Array, ids: list[int], penalty: float) -> Array:
    seen = np.isin(np.arange(len(logits)), ids)
    return np_penalise(logits, seen, penalty)


def _diagnose_weaken(fixed: Any) -> None:
    cases = [
        (logits, np.flatnonzero(seen).tolist() * 2, penalty)
        for logits, seen, penalty in _penalties()
    ]
    results = [
        (case, array(quiet_call(fixed, *case, name="weaken_fixed"), case[0].shape))
        for case in cases
    ]

    def translated(mistaken: Callable[..., Array]) -> Callable[..., Array]:
        return lambda logits, ids, penalty: mistaken(
            logits, np.isin(np.arange(len(logits)), ids), penalty
        )

    mistakes = [(translated(mistaken), hint) for mistaken, hint in _penalise_mistakes()]
    _named("weaken_fixed", results, _weaken, mistakes)


def _diagnose_padded(fixed: Any, prompts: list[list[int]]) -> None:
    shape = (len(prompts), max(map(len, prompts)))
    result = call(fixed, [list(prompt) for prompt in prompts], name="fixed")
    is_pair = isinstance(result, tuple | list) and len(result) == 2
    expect(is_pair, "return both: tokens, positions.")
    tokens, positions = (array(part, shape) for part in result)
    for row, prompt in enumerate(prompts):
        start = shape[1] - len(prompt)
        where = f"for {prompts} row {row} of the positions is {positions[row].astype(int).tolist()}"
        own = positions[row, start:]
        expect(
            tokens[row, start:].tolist() == prompt,
            f"the prompt {prompt} must stand at the end of its row.",
        )
        expect(
            (positions[row, :start] == -1).all(),
            f"{where}. Padding must keep position -1, or the mask shows it.",
        )
        shifted = len(prompt) and (own == np.arange(len(prompt)) + own[0]).all() and own[0] > 0
        expect(
            not shifted,
            f"{where}. Only distances count in attention, so the logits are right, but a cache "
            "counts a row's tokens by its largest position: begin at 0.",
        )
        expect((own == np.arange(len(prompt))).all(), f"{where}. The prompt's tokens are 0, 1, 2 …")
