"""Checks of lesson 12: what the loss counts, packing, LoRA, decisions, and four published bugs."""

import itertools
from collections.abc import Callable, Iterable
from typing import Any

import numpy as np

from minimistral.course.checks.museum import guilty_line
from minimistral.course.checks.report import (
    Example,
    Wrong,
    array,
    call,
    diagnose_arrays,
    diagnose_values,
    exercise,
    expect,
    quiet_call,
)
from minimistral.evaluation.decisions import confusion
from minimistral.evaluation.decisions import precision_at as _precision_at
from minimistral.evaluation.decisions import upper_bound as _upper_bound
from minimistral.np.lora import lora as np_lora
from minimistral.np.lora import lora_backward as np_lora_backward
from minimistral.rule import visible

Array = np.ndarray
Turns = list[tuple[list[int], list[int]]]
Mistakes = Iterable[tuple[Callable[..., Any], str]]
NOT_COUNTED = -1


def _counted(turns: Turns, end: int) -> tuple[list[int], list[int]]:
    ids: list[int] = []
    learned: list[bool] = []
    for prompt, answer in turns:
        ids += [*prompt, *answer, end]
        learned += [False] * len(prompt) + [True] * (len(answer) + 1)
    following = zip(ids[1:], learned[1:], strict=True)
    return ids, [token if yes else NOT_COUNTED for token, yes in following] + [NOT_COUNTED]


def _apart(lengths: list[int], window: int, row_len: int) -> Array:
    positions, column, start = np.full(row_len, -1), 0, 0
    for length in lengths:
        positions[column : column + length] = start + np.arange(length)
        column, start = column + length, start + length - 1 + window
    return positions


def _rates(scores: Array, positive: Array, threshold: float) -> tuple[float, float]:
    found = confusion(scores, positive, threshold)
    return found.precision, found.recall


@exercise("What the loss counts", course=_counted, hints=(
    "Build two lists of the same length: ids, and for each id whether the model should write it. "
    "It should write every answer and the end behind it, and nothing else.",
    "A token's target is the *next* id, if the model should write that one, and else -1. So the "
    "last token of a prompt has a target: the first token of the answer.",
    "With `ids` and `learned` complete, the targets are `[i if yes else -1 for i, yes in "
    "zip(ids[1:], learned[1:])] + [-1]`.",
))  # fmt: skip
def counted(answer: Any) -> str:
    """answer(turns, end) -> ids, targets."""
    cases: list[tuple[Turns, int]] = [
        ([([1, 5], [6, 7])], 2), ([([1, 5], [6]), ([8], [9, 4])], 2), ([([1], [3])], 2),
        ([([1, 7, 8], [7, 8]), ([7, 8], [8]), ([5, 5], [5, 5, 5])], 2),
        ([([4, 4], [6, 4]), ([9], [4])], 3),
    ]  # fmt: skip
    results = [(case, _two_lists(call(answer, *case))) for case in cases]
    diagnose_values(results, _counted, _counted_mistakes(), _counted_fault)
    return "answers and their ends count, each at the token before it, and nothing else."


@exercise("Out of sight", course=_apart, hints=(
    "The rule hides a key at position j from a query at position i if i - j is at least W. So let "
    "each document begin far enough behind the last token of the one before it.",
    "If a document ends at position p, the next may begin at p + W. Within a document, positions "
    "go up by one. What is left of the row keeps position -1.",
    "Start with `np.full(row_len, -1)`. For each length, write `start + np.arange(length)` into "
    "the next places, and then set start to the last of these positions plus W.",
))  # fmt: skip
def apart(answer: Any) -> str:
    """answer(lengths, window, row_len) -> positions (row_len,)."""
    cases = [
        ([2, 3], 4, 6), ([3, 3], 2, 8), ([5], 3, 5), ([1, 1, 1], 1, 4), ([4, 1, 6], 5, 11),
        ([9, 2], 4, 12), ([2, 2, 2, 2], 32, 10),
    ]  # fmt: skip
    _diagnose_positions(cases, [call(answer, *case) for case in cases])
    return f"in all {len(cases)} rows, each document sees itself alone, by the same rule."


@exercise("A low-rank detour", course=np_lora, hints=(
    "A matrix (out, in) acts on x (T, in) as `x @ matrix.T`. There are three matrices here, and "
    "two ways from x to the result.",
    "The detour goes from x through a to r numbers for each token, and from these through b to the "
    "size of the result. Multiply the detour by scale, and nothing else.",
    "`x @ weight.T + scale * (x @ a.T) @ b.T`",
))  # fmt: skip
def low_rank(answer: Any) -> str:
    """answer(x (T, in), weight (out, in), a (r, in), b (out, r), scale) -> (T, out)."""
    results = [
        (case, array(call(answer, *case, hints=_SHAPES), (len(case[0]), len(case[1]))))
        for case in _lora_cases()
    ]
    diagnose_arrays(results, np_lora, _lora_mistakes())
    return f"right in all {len(results)} cases, with W, A and B of different sizes."


@exercise("Back through the detour", course=np_lora_backward, hints=(
    "With low = x @ a.T the result is x @ weight.T + scale * low @ b.T. For y = x @ m.T the "
    "gradients are dy @ m for x and dy.T @ x for m (lesson 11).",
    "b sees low as its input, and scale * dy as the gradient of its output. What comes back "
    "through b, dlow = scale * dy @ b, is the gradient of the output of a.",
    "`db = scale * dy.T @ (x @ a.T)`, `dlow = scale * dy @ b`, `da = dlow.T @ x`, and "
    "`dx = dy @ weight + dlow @ a`.",
))  # fmt: skip
def low_rank_backward(answer: Any) -> str:
    """answer(x, weight, a, b, scale, dy (T, out)) -> dx (T, in), da (r, in), db (out, r)."""
    rng = np.random.default_rng(13)
    cases = [(*case, rng.standard_normal((len(case[0]), len(case[1])))) for case in _lora_cases()]
    given = []
    for case in cases:
        result = call(answer, *case, hints=_SHAPES)
        is_list = isinstance(result, tuple | list)
        expect(not (is_list and len(result) == 4), "return dx, da, db alone: W has no gradient.")
        expect(is_list and len(result) == 3, "return all three: dx, da, db.")
        given.append(result)
    for n, name in enumerate(("dx", "da", "db")):
        _diagnose_gradient(name, n, cases, given)
    return f"dx, da and db are right in all {len(cases)} cases; W itself gets no gradient."


@exercise("Precision and recall", course=_rates, hints=(
    "`said = scores > threshold` are the decisions. Count how many are said and positive, said in "
    "all, and positive in all.",
    "Precision divides by how many are said to be positive, recall by how many are. Both have the "
    "right ones above the line.",
    "`right = (said & positive).sum()`; precision is `right / said.sum()`, or 1 if nothing is "
    "said; recall is `right / positive.sum()`.",
))  # fmt: skip
def rates(answer: Any) -> str:
    """answer(scores (N,), positive (N,), threshold) -> precision, recall."""
    rng = np.random.default_rng(14)
    cases = [
        (np.array([3.0, 1.0, -1.0, -2.0, 2.0]), np.array([True, False, True, False, False]), 0.0),
        (np.array([1.0, 2.0, 3.0, 4.0]), np.array([False, True, False, True]), 2.0),
        (np.array([0.5, -0.5, 0.25]), np.array([True, True, False]), 1.0),
        (np.array([0.5, -0.5, 0.25, 3.0, 1.0]), np.array([True, True, False, False, True]), -3.0),
        (rng.integers(-3, 4, 30) / 2, rng.random(30) < 0.3, 0.5),
    ]
    hints = {"truth value": "Compare the whole array with the threshold, and count with .sum()."}
    results = [(case, _two_numbers(quiet_call(answer, *case, hints=hints))) for case in cases]
    diagnose_arrays(results, lambda *c: np.array(_rates(*c)), _rates_mistakes(), _rates_fault)
    return f"right in all {len(cases)} cases, also where nothing is said to be positive."


@exercise("The base rate", course=_precision_at, hints=(
    "Take 1,000 requests, of which base_rate are positive. How many of the positive ones are said "
    "to be, and how many of the others?",
    "Of the positive ones it is recall * base_rate of all, and of the others false_rate * (1 - "
    "base_rate). Precision is the first share of the two together.",
    "With `right = recall * base_rate` and `wrong = false_rate * (1 - base_rate)`, return "
    "`right / (right + wrong)`.",
))  # fmt: skip
def at_base_rate(answer: Any) -> str:
    """answer(recall, false_rate, base_rate) -> the precision."""
    cases = [
        (0.9, 0.1, 0.5), (0.9, 0.1, 0.01), (0.956, 0.0058, 0.9), (0.5, 0.25, 0.2), (1.0, 0.0, 0.3),
        (0.2, 0.8, 0.7),
    ]  # fmt: skip
    results = [(case, _number(quiet_call(answer, *case))) for case in cases]
    _diagnose_numbers(results, _precision_at, _base_rate_mistakes())
    return f"right in all {len(cases)} cases, from rare to common."


@exercise("What 0 of n allows", course=_upper_bound, hints=(
    "If the true share of failures is p, then n tries show no failure with probability (1 - p) to "
    "the power n.",
    "The largest p that is still allowed makes this probability equal to 1 - confidence: with a "
    "larger one, 0 failures would be rarer than that.",
    "Solve `(1 - p) ** n = 1 - confidence` for p: `1 - (1 - confidence) ** (1 / n)`.",
))  # fmt: skip
def still_allowed(answer: Any) -> str:
    """answer(n, confidence) -> the largest share of failures that 0 of n still allows."""
    cases = [(175, 0.95), (1, 0.95), (10, 0.95), (10, 0.5), (175, 0.99), (5000, 0.95)]
    results = [(case, _number(quiet_call(answer, *case))) for case in cases]
    _diagnose_numbers(results, _upper_bound, _allowed_mistakes())
    return f"right in all {len(cases)} cases; at 95 % it is close to 3 / n once n is large."


@exercise("Museum, two masks", hints=(
    "Write down tokens and targets of the row [5, 6, 2] padded to five places, where 2 is the end. "
    "Then follow line 6 of the second function for a template that has no marks.",
    "In the first function, the end that stands for padding and the end of the text are the same "
    "number, so a comparison cannot tell them apart. In the second, a fallback hides that "
    "something is wrong.",
    "In pads, line 7 must go by length: in each row, targets from place len(ids) - 1 on are -1. In "
    "marked, line 6 must raise a ValueError if no token is learned.",
))  # fmt: skip
def bug_masks(pads_line: Any, pads_fixed: Any, marked_line: Any, marked_fixed: Any) -> str:
    """The end that stands for padding, and a mask that falls back to all ones."""
    guilty_line(pads_line, 7, {
        1: "The longest row decides the width. That is right.",
        2: "Any id may stand where nobody looks, the end too. Ask who looks.",
        3: "Every row is written in turn.",
        4: "The ids stand at the beginning of their row. That is right.",
        5: "-1 everywhere is a good beginning: nothing counts yet.",
        6: "Each target is the next token. That is right, for real tokens.",
        8: "It returns what the lines above made.",
    }, 8, name="pads_line")  # fmt: skip
    _diagnose_pads(pads_fixed)
    guilty_line(marked_line, 6, {
        1: "At first no answer has begun. That is right.",
        2: "Every token is looked at, in order.",
        3: "A token counts if it stands in an answer; the closing mark counts, too.",
        4: "Only the two marks begin or end an answer. That is right.",
        5: "The opening mark begins an answer, and the closing one ends it. That is right.",
        7: "It returns what line 6 left.",
    }, 7, name="marked_line")  # fmt: skip
    _diagnose_marked(marked_fixed)
    return (
        "the end is learned, and a conversation without an answer is an error. Published: "
        "huggingface/trl#976 (eos = pad), NVIDIA-NeMo/Megatron-Bridge#3359 (all ones), "
        "axolotl-ai-cloud/axolotl#2089 (turns that were not found)."
    )


@exercise("Museum, neighbours and a constant", hints=(
    "Write down positions and document for lengths [2, 2]. Which tokens of the first document does "
    "the last token see? Then count what an answer that is always False scores on 8 False and 2 "
    "True.",
    "Positions that begin anew do not separate anything: a number that says whose token it is "
    "does. And a share of all counts the common class most.",
    "In row_mask, line 6 must compare `document[:, None] == document[None, :]`. In score, line 3 "
    "must be the mean of two shares: right[truth].mean() and right[~truth].mean().",
))  # fmt: skip
def bug_packing_and_score(
    mask_line: Any, mask_fixed: Any, score_line: Any, score_fixed: Any
) -> str:  # fmt: skip
    """Documents told apart by positions that restart, and a score that a constant answer wins."""
    guilty_line(mask_line, 6, {
        1: "Every token gets the number of its document. That is right.",
        2: "It is the place where each token's document begins. That is right.",
        3: "The places in the row are numbered. That is right.",
        4: "Each document counts from 0: for rotary positions that is right.",
        5: "The window is right: a query sees at most W keys, itself included.",
        7: "Both must hold. That is right.",
    }, 7, name="mask_line")  # fmt: skip
    _diagnose_row_mask(mask_fixed)
    guilty_line(score_line, 3, {
        1: "Both become arrays. That is right.",
        2: "A decision is right where it agrees with the truth.",
        4: "It returns what line 3 computed.",
    }, 4, name="score_line")  # fmt: skip
    _diagnose_score(score_fixed)
    return (
        "neighbours in a row are strangers, and a constant answer scores one half. Published: "
        "huggingface/nanoVLM#204 (packed samples see each other, and positions that restart do not "
        "help), explained in MeetKai/functionary#265; RUCAIBox/HaluEval#20 (a constant answer "
        "scores 80 %)."
    )


_SHAPES = {
    "matmul": "In x @ m.T the last size of x and the last size of m must agree.",
    "broadcast": "Two shapes do not fit; does each matrix act as x @ m.T?",
}


# What the loss counts


def _two_lists(result: Any) -> tuple[list[int], list[int]]:
    """Two results as lists of whole numbers; raises Wrong for anything else."""
    is_pair = isinstance(result, tuple | list) and len(result) == 2
    expect(is_pair, "return both: ids, targets.")
    lists = []
    for name, part in zip(("ids", "targets"), result, strict=True):
        part = part.tolist() if hasattr(part, "tolist") else part
        expect(isinstance(part, list | tuple), f"{name} must be a list of whole numbers.")
        kinds = {type(i) for i in part}
        expect(not kinds & {bool, np.bool_}, f"{name} must be ids, not True and False.")
        expect(type(None) not in kinds, f"{name}: what does not count is -1, not None.")
        expect(not kinds & {list, tuple}, f"{name} must be one list for the whole conversation.")
        is_whole = all(isinstance(i, int | np.integer) for i in part)
        expect(is_whole, f"{name} must be a list of whole numbers.")
        lists.append([int(i) for i in part])
    return lists[0], lists[1]


def _counted_fault(case: tuple, got: tuple[list[int], list[int]]) -> str:
    ids, targets = _counted(*case)
    if got[0] != ids:
        if sorted(got[0]) == sorted(ids):
            return "the ids are not in order: prompt, answer, end, and then the next turn."
        if case[1] not in got[0]:
            return "the end is missing from the ids. It stands behind every answer."
        return f"the ids are not {ids}: prompt, answer and end of each turn, in order."
    if len(got[1]) != len(ids):
        return f"there must be as many targets as ids, {len(ids)}, not {len(got[1])}."
    n = next(n for n, pair in enumerate(zip(got[1], targets, strict=True)) if pair[0] != pair[1])
    if targets[n] == NOT_COUNTED:
        return f"the target of token {n} must be -1: what follows it is no answer."
    return f"the target of token {n} must be {targets[n]}, the next id, not {got[1][n]}."


def _counted_mistakes() -> Mistakes:
    def by(learn: Callable[..., list[bool]], end_in_ids: bool = True) -> Callable[..., Any]:
        """learn(prompt, answer, is_last) -> which of the turn's ids are learned."""

        def made(turns: Turns, end: int) -> tuple[list[int], list[int]]:
            ids: list[int] = []
            learned: list[bool] = []
            for n, (prompt, answer) in enumerate(turns):
                ids += [*prompt, *answer, *[end] * end_in_ids]
                learned += learn(prompt, answer, n == len(turns) - 1)
            return ids, _shifted(ids, learned)

        return made

    def _shifted(ids: list[int], learned: list[bool]) -> list[int]:
        following = zip(ids[1:], learned[1:], strict=True)
        return [token if yes else NOT_COUNTED for token, yes in following] + [NOT_COUNTED]

    def learned_of(prompt: list[int], answer: list[int], is_last: bool) -> list[bool]:
        return [False] * len(prompt) + [True] * (len(answer) + 1)

    def unshifted(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        ids, learned = _ids_and_learned(turns, end)
        return ids, [token if yes else -1 for token, yes in zip(ids, learned, strict=True)]

    def late(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        ids, learned = _ids_and_learned(turns, end)
        kept = [token if yes else -1 for token, yes in zip(ids, learned, strict=True)]
        return ids, [-1, *kept[:-1]]

    def at_own(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        """The mask of the token itself, over the target of the next."""
        ids, learned = _ids_and_learned(turns, end)
        return ids, [t if yes else -1 for t, yes in zip([*ids[1:], -1], learned, strict=True)]

    def twice(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        ids, targets = _counted(turns, end)
        return ids, [*targets[1:], -1]

    def marked(value: int) -> Callable[..., Any]:
        def made(turns: Turns, end: int) -> tuple[list[int], list[int]]:
            ids, targets = _counted(turns, end)
            return ids, [value if target == -1 else target for target in targets]

        return made

    def by_value(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        asked = {token for prompt, _ in turns for token in prompt}
        ids, _ = _counted(turns, end)
        return ids, _shifted(ids, [token not in asked for token in ids])

    def truths(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        ids, learned = _ids_and_learned(turns, end)
        return ids, [int(yes) for yes in learned]

    def one_end(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        ids = [token for prompt, answer in turns for token in [*prompt, *answer]] + [end]
        learned = [yes for p, a in turns for yes in [False] * len(p) + [True] * len(a)] + [True]
        return ids, _shifted(ids, learned)

    def all_next(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        """The prompts are hidden, and what follows an end is not."""
        ids, targets = _counted(turns, end)
        ends = np.cumsum([len(p) + len(a) + 1 for p, a in turns])[:-1]
        for n in ends.tolist():
            targets[n - 1] = ids[n]
        return ids, targets

    def cut(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        ids, targets = _counted(turns, end)
        return ids[:-1], targets[:-1]

    def open_end(turns: Turns, end: int) -> tuple[list[int], list[int]]:
        ids, targets = _counted(turns, end)
        return ids, [*targets[:-1], end]

    shift = "a target is what should come *next*, so each stands one place earlier"
    return [
        (unshifted, f"each token is its own target; {shift}."),
        (late, f"the targets are shifted the wrong way; {shift}."),
        (at_own, "the mask belongs to the target, not to the token: the last token of a prompt "
                 "counts, because the answer follows it, and the end does not."),
        (twice, "the targets are shifted twice: each is the token after next."),
        (by(lambda p, a, last: [True] * (len(p) + len(a) + 1)),
         "everything counts, the questions too. The model should learn to write answers only."),
        (by(lambda p, a, last: [False] * (len(p) + len(a) + 1)),
         "nothing counts: there is nothing to learn from."),
        (by(lambda p, a, last: [False] * len(p) + [True] * len(a) + [False]),
         "the end does not count. A model that never learns the end never stops."),
        (by(lambda p, a, last: [False] * len(p) + [True] * len(a) + [last]),
         "only the last end counts. Every answer ends."),
        (by(lambda p, a, last: [False] * len(p) + [not last] * len(a) + [not last]),
         "the last answer does not count, and all others do."),
        (by(lambda p, a, last: learned_of(p, a, last) if last else [False] * (len(p + a) + 1)),
         "only the last answer counts. All answers are the model's."),
        (by(lambda p, a, last: [False] * (len(p) + 1) + [True] * len(a)),
         "the first token of each answer does not count: one place too late."),
        (by(lambda p, a, last: [False] * (len(p) - 1) + [True] * (len(a) + 2)),
         "the last token of the prompt counts as a target: one place too early."),
        (by(lambda p, a, last: [True] * len(p) + [False] * (len(a) + 1)),
         "it is the wrong way round: the questions count, and the answers do not."),
        (by(lambda p, a, last: [False] * len(p) + [False] * len(a) + [True]),
         "only the ends count. So do the answers before them."),
        (by(lambda p, a, last: [False] * len(p) + [True] * len(a), end_in_ids=False),
         "the end is missing from the ids. It stands behind every answer."),
        (one_end, "there is one end for the whole conversation. It stands behind every answer."),
        (marked(-100), "what does not count is -1 here. (torch and transformers write -100.)"),
        (marked(0), "what does not count is -1. 0 is a token, and would be learned."),
        (by_value, "tokens are judged by their number. A token may stand in a question and in an "
                   "answer; its place decides."),
        (truths, "those are only True and False. The targets are ids."),
        (lambda turns, end: (_counted(turns, end)[0],
                             [int(target != -1) for target in _counted(turns, end)[1]]),
         "those are only True and False. The targets are ids."),
        (all_next, "behind an end stands the next prompt, which is not the model's: -1."),
        (cut, "the last id is missing. Keep it; nothing follows it, so its target is -1."),
        (open_end, "nothing follows the last token, so its target is -1."),
    ]  # fmt: skip


def _ids_and_learned(turns: Turns, end: int) -> tuple[list[int], list[bool]]:
    ids = [token for prompt, answer in turns for token in [*prompt, *answer, end]]
    learned = [yes for p, a in turns for yes in [False] * len(p) + [True] * (len(a) + 1)]
    return ids, learned


# Positions that keep documents apart


def _diagnose_positions(cases: list[tuple[list[int], int, int]], results: list[Any]) -> None:
    given = [
        array(np.array(result) if isinstance(result, list) else result, (row_len,))
        for (_, _, row_len), result in zip(cases, results, strict=True)
    ]
    joints = []  # where one document follows another: its beginning, begin and end before it, W
    for case, row in zip(cases, given, strict=True):
        parts = _documents(case, row)
        joints += [(b[0], a[0], a[-1], case[1]) for a, b in itertools.pairwise(parts)]
    why = ""
    if all(begin == end + 1 for begin, _, end, _ in joints):
        why = "the positions simply go on, so each document sees the one before it."
    elif all(begin == 0 for begin, *_ in joints):
        why = (
            "each document begins at 0 again. The rule goes by positions alone: two tokens at "
            "equal positions are in full view of each other."
        )
    elif all(begin == end + W - 1 for begin, _, end, W in joints):
        why = "it is one too near: a key W - 1 back is still visible."
    elif all(begin == first + W for begin, first, _, W in joints):
        why = "W is counted from the beginning of the document before. Count from its last token."
    for case, row in zip(cases, given, strict=True):
        parts, W = _documents(case, row), case[1]
        for a, b in itertools.permutations(range(len(parts)), 2):
            sees = visible(parts[a][:, None], parts[b][None, :], W)
            if sees.any():
                i, j = (int(part[n]) for part, n in zip((parts[a], parts[b]), np.argwhere(sees)[0],
                                                         strict=True))  # fmt: skip
                seen = (
                    f"document {a} sees document {b}: {i} - {j} = {i - j}, which is less than"
                    f" W = {W}."
                )
                raise Wrong(why or seen, Example(case, row, _apart(*case)))


def _documents(case: tuple[list[int], int, int], row: Array) -> list[Array]:
    """The positions of each document; raises Wrong unless each is a text by itself."""
    with np.errstate(invalid="ignore"):  # NaN is no position, which the first fault tells
        shown, starts = row.astype(int), np.cumsum([0, *case[0]])
    parts = [shown[a:b] for a, b in itertools.pairwise(starts)]
    rest = row[starts[-1] :]
    faults = [
        ((row != shown).any(), "positions are whole numbers."),
        ((rest != -1).any(), f"what is left of the row must be -1, not {_short(rest)}."),
        ((row[: starts[-1]] < 0).any(), "a negative position is padding, which nobody sees."),
    ]
    faults += [
        ((np.diff(part) != 1).any(),
         f"document {n} is at positions {_short(part)}. They must go up by 1.")
        for n, part in enumerate(parts)
    ]  # fmt: skip
    for holds, why in faults:
        if holds:
            raise Wrong(why, Example(case, row, _apart(*case)))
    return parts


def _short(values: Array) -> str:
    return str(np.nan_to_num(values).astype(int).tolist())


# LoRA


def _lora_cases() -> list[tuple[Any, ...]]:
    """x, weight, a, b, scale, with all sizes different; in the first, small whole numbers."""
    rng = np.random.default_rng(12)
    small = (
        np.array([[1.0, 2.0, 0.0]]), np.array([[1.0, 0.0, 1.0], [0.0, 1.0, 0.0]]),
        np.array([[0.0, 1.0, 0.0]]), np.array([[10.0], [1.0]]), 0.5,
    )  # fmt: skip
    drawn = [
        (*(rng.standard_normal(shape) for shape in ((T, n), (m, n), (r, n), (m, r))), scale)
        for T, n, m, r, scale in ((3, 5, 4, 2, 2.0), (2, 4, 6, 3, 0.25), (4, 3, 5, 1, 1.5))
    ]
    return [small, *drawn]


def _lora_mistakes() -> Mistakes:
    def plain(x: Array, w: Array) -> Array:
        return x @ w.T

    def detour(x: Array, a: Array, b: Array) -> Array:
        return x @ a.T @ b.T

    return [
        (lambda x, w, a, b, s: plain(x, w), "the detour is missing: a and b do nothing."),
        (lambda x, w, a, b, s: s * detour(x, a, b),
         "only the detour is there. It is added to what W does."),
        (lambda x, w, a, b, s: detour(x, a, b), "only the detour is there, and without scale."),
        (lambda x, w, a, b, s: plain(x, w) + detour(x, a, b), "the detour must be times scale."),
        (lambda x, w, a, b, s: s * (plain(x, w) + detour(x, a, b)),
         "scale belongs to the detour alone. What W does stays as it is."),
        (lambda x, w, a, b, s: s * plain(x, w) + detour(x, a, b),
         "scale is on the wrong side: it belongs to the detour."),
        (lambda x, w, a, b, s: plain(x, w) - s * detour(x, a, b), "the detour is added."),
        (lambda x, w, a, b, s: plain(x, w) + detour(x, a, b) / s,
         "it divides by scale, which is alpha / r already. Multiply."),
        (lambda x, w, a, b, s: plain(x, w) + s * s * detour(x, a, b), "scale is there twice."),
        (lambda x, w, a, b, s: plain(x, w) + s / len(a) * detour(x, a, b),
         "it divides by the rank once more. scale is alpha / r already."),
        (lambda x, w, a, b, s: plain(x, w) + s * len(a) * detour(x, a, b),
         "it multiplies by the rank, so that scale becomes alpha. It is alpha / r."),
        (lambda x, w, a, b, s: plain(x, w) * s * detour(x, a, b), "the two ways add."),
        (lambda x, w, a, b, s: plain(x, w) * (1 + s * detour(x, a, b)), "the two ways add."),
        (lambda x, w, a, b, s: plain(x, w) + s * np.maximum(x @ a.T, 0) @ b.T,
         "there is nothing between a and b: the detour must be a product, to be merged later."),
        (lambda x, w, a, b, s: plain(x, w) + s + detour(x, a, b), "multiply by scale."),
    ]  # fmt: skip


def _diagnose_gradient(name: str, n: int, cases: list, given: list) -> None:
    shapes = {"dx": 0, "da": 2, "db": 3}  # the argument whose gradient it is
    results = []
    for case, result in zip(cases, given, strict=True):
        shape = case[shapes[name]].shape
        got = np.shape(result[n])
        turned = got == shape[::-1] and got != shape
        expect(not turned, f"{name} is turned round: {got} for {shape}. Swap the two factors.")
        try:
            results.append((case, array(result[n], shape)))
        except Wrong as wrong:
            raise Wrong(f"{name}: {wrong} Return dx, da, db in this order.") from None

    def part(*case: Any) -> Array:
        return np_lora_backward(*case)[n]

    try:
        diagnose_arrays(results, part, _gradient_mistakes(name))
    except Wrong as wrong:
        example = wrong.example and wrong.example._replace(part=f"[{n}]")
        raise Wrong(f"{name}: {wrong}", example) from None


def _gradient_mistakes(name: str) -> Mistakes:
    if name == "dx":
        return [
            (lambda x, w, a, b, s, dy: dy @ w, "the detour is missing: x went through a, too."),
            (lambda x, w, a, b, s, dy: s * dy @ b @ a,
             "only the detour is there. x also went through W."),
            (lambda x, w, a, b, s, dy: dy @ w + dy @ b @ a, "the detour must be times scale."),
            (lambda x, w, a, b, s, dy: s * (dy @ w + dy @ b @ a),
             "scale belongs to the detour alone."),
            (lambda x, w, a, b, s, dy: dy @ w + s * s * dy @ b @ a, "scale is there twice."),
            (lambda x, w, a, b, s, dy: dy @ w - s * dy @ b @ a, "the two ways add."),
            (lambda x, w, a, b, s, dy: dy @ b @ a, "only the detour is there, without scale."),
            (lambda x, w, a, b, s, dy: np.zeros_like(x),
             "x is not trained, but the layers before this one need its gradient."),
        ]  # fmt: skip
    if name == "da":
        return [
            (lambda x, w, a, b, s, dy: (dy @ b).T @ x, "scale is missing."),
            (lambda x, w, a, b, s, dy: s * s * (dy @ b).T @ x, "scale is there twice."),
            (lambda x, w, a, b, s, dy: s * (dy @ b).T @ x / len(x),
             "a gradient is a sum over the tokens, not their mean."),
            (lambda x, w, a, b, s, dy: np.zeros_like(a), "a is trained, so it has a gradient."),
            (lambda x, w, a, b, s, dy: -s * (dy @ b).T @ x, "the sign is wrong."),
            (lambda x, w, a, b, s, dy: (dy @ b).T @ x / s, "multiply by scale, do not divide."),
        ]  # fmt: skip
    return [
        (lambda x, w, a, b, s, dy: dy.T @ (x @ a.T), "scale is missing."),
        (lambda x, w, a, b, s, dy: s * s * dy.T @ (x @ a.T), "scale is there twice."),
        (lambda x, w, a, b, s, dy: s * dy.T @ (x @ a.T) / len(x),
         "a gradient is a sum over the tokens, not their mean."),
        (lambda x, w, a, b, s, dy: np.zeros_like(b), "b is trained, so it has a gradient."),
        (lambda x, w, a, b, s, dy: -s * dy.T @ (x @ a.T), "the sign is wrong."),
        (lambda x, w, a, b, s, dy: dy.T @ (x @ a.T) / s, "multiply by scale, do not divide."),
        (lambda x, w, a, b, s, dy: s * dy.T @ (dy @ b), "b's input is x @ a.T, not dy @ b."),
    ]  # fmt: skip


# Decisions


def _two_numbers(result: Any) -> Array:
    is_array = hasattr(result, "shape") and tuple(result.shape) == (2,)
    if not is_array:
        is_pair = isinstance(result, tuple | list) and len(result) == 2
        expect(is_pair, "return both: precision, recall.")
    return np.array([_number(part) for part in result])


def _number(value: Any) -> float:
    if getattr(value, "shape", None) == ():
        value = value.item()
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    expect(is_number, f"return a number, not a value of type {type(value).__name__}.")
    return float(value)


def _diagnose_numbers(
    results: list[tuple[tuple, float]], right: Callable[..., float], mistakes: Mistakes
) -> None:
    """`diagnose_arrays` for single numbers, compared closely enough for small ones."""
    for case, got in results:
        if not np.isfinite(got):
            raise Wrong("the result is not finite: something divides by 0.",
                        Example(case, got, right(*case)))  # fmt: skip
    if all(np.isclose(got, right(*case), rtol=1e-6, atol=1e-9) for case, got in results):
        return
    case, got = next(
        (case, got) for case, got in results if not np.isclose(got, right(*case), rtol=1e-6)
    )
    example = Example(case, got, right(*case))
    with np.errstate(all="ignore"):
        for mistaken, hint in mistakes:
            if all(_close(got, mistaken, case) for case, got in results):
                raise Wrong(hint, example)
    if not 0 <= got <= 1:
        raise Wrong("the result is a share, from 0 to 1.", example)
    raise Wrong(f"for {case} the result is {got:.5g}, but must be {right(*case):.5g}.", example)


def _close(got: float, mistaken: Callable[..., float], case: tuple) -> bool:
    try:
        return bool(np.isclose(got, mistaken(*case), rtol=1e-6, atol=1e-9))
    except ZeroDivisionError:
        return False


def _rates_fault(case: tuple, got: Array) -> str:
    if np.isnan(got).any():
        return "where nothing is said to be positive, precision is 0 / 0. Return 1 there."
    if (got > 1).any() or (got < 0).any():
        return f"precision and recall are shares, from 0 to 1, not {got.tolist()}."
    return ""


def _rates_mistakes() -> Mistakes:
    def by(make: Callable[..., tuple[Any, Any]]) -> Callable[..., Array]:
        def made(scores: Array, positive: Array, threshold: float) -> Array:
            c = confusion(scores, positive, threshold)
            return np.array(make(c, c.precision, c.recall), dtype=float)

        return made

    def share(part: float, whole: float) -> float:
        return part / whole if whole else 1.0

    def at(say: Callable[[Array, float], Array]) -> Callable[..., Array]:
        def made(scores: Array, positive: Array, threshold: float) -> Array:
            said = np.where(say(scores, threshold), 1.0, -1.0)
            return np.array(_rates(said, positive, 0.0))

        return made

    def one_if(value: float) -> Callable[..., Array]:
        return by(lambda c, p, r: (p if c.true_positive + c.false_positive else value, r))

    return [
        (by(lambda c, p, r: (r, p)), "the two are exchanged. Return precision first."),
        (at(lambda s, t: s >= t), "a score that equals the threshold is not above it: use >."),
        (at(lambda s, t: s < t), "positive is what is *above* the threshold."),
        (at(lambda s, t: s <= t), "positive is what is *above* the threshold."),
        (at(lambda s, t: s > 0), "the threshold is an argument; 0 was an example."),
        (one_if(0.0), "where nothing is said to be positive, nothing is wrong either: return 1."),
        (by(lambda c, p, r: (p, r if c.true_positive + c.false_positive else 1.0)),
         "where nothing is said to be positive, precision is 1, and recall 0: none is found."),
        (by(lambda c, p, r: (c.swapped().precision, r)),
         "the first is the precision of the other class."),
        (by(lambda c, p, r: (p, share(c.true_positive, c.true_positive + c.true_negative))),
         "recall divides by how many are positive, found or not."),
        (by(lambda c, p, r: (2 * p * r / (p + r) if r else 0.0, r)),
         "the first is F1, a mean of both. Return precision and recall."),
        (by(lambda c, p, r: (c.true_positive, c.false_positive)),
         "those are counts. Divide the right ones by all that are said."),
        (by(lambda c, p, r: (share(c.true_positive + c.false_positive, c.total),
                             share(c.true_positive + c.false_negative, c.total))),
         "those are how much is said and how much is positive. What is both?"),
        (by(lambda c, p, r: (c.accuracy, r)),
         "the first is the accuracy: it counts right decisions of both classes."),
        (by(lambda c, p, r: (c.accuracy, c.accuracy)), "both are the accuracy."),
        (by(lambda c, p, r: (p, c.accuracy)), "the second is the accuracy, not the recall."),
        (by(lambda c, p, r: (c.swapped().precision, c.swapped().recall)),
         "those of the other class: what is *not* positive was counted."),
        (by(lambda c, p, r: (p, c.swapped().recall)),
         "the second is the recall of the other class."),
        (by(lambda c, p, r: (p, p)), "precision is there twice. Recall divides by the positive."),
        (by(lambda c, p, r: (r, r)), "recall is there twice. Precision divides by what is said."),
        (by(lambda c, p, r: (c.true_positive / c.total, r)),
         "precision divides by how many are said to be positive, not by all."),
        (by(lambda c, p, r: (p, c.true_positive / c.total)),
         "recall divides by how many are positive, not by all."),
        (by(lambda c, p, r: (p, c.false_rate)), "the second is the false rate."),
        (by(lambda c, p, r: (1 - p, r)), "the first is the share that is wrong."),
        (by(lambda c, p, r: (p, 1 - r)), "the second is the share that is missed."),
        (by(lambda c, p, r: (100 * p, 100 * r)), "those are per cent. Return shares."),
        (by(lambda c, p, r: (share(c.true_positive + c.false_positive, c.total), r)),
         "the first is how much is said to be positive, right or wrong."),
        (by(lambda c, p, r: (c.true_positive, c.true_positive)), "divide the count."),
        (by(lambda c, p, r: (share(c.true_positive, c.true_positive + c.true_negative), r)),
         "precision divides by what is said to be positive, right or wrong."),
    ]  # fmt: skip


def _base_rate_mistakes() -> Mistakes:
    return [
        (lambda r, f, p: r / (r + f), "the base rate is not used: that is the precision at 0.5."),
        (lambda r, f, p: r * p, "that is the share of all that is right and said. Divide it by all "
                                "that is said."),
        (lambda r, f, p: r * p / (r * p + f), "the others are 1 - base_rate of all."),
        (lambda r, f, p: r * p / (r * p + f * p), "the others are 1 - base_rate of all."),
        (lambda r, f, p: r * (1 - p) / (r * (1 - p) + f * p),
         "the base rate is that of the positive, and here it is that of the others."),
        (lambda r, f, p: f * (1 - p) / (r * p + f * (1 - p)),
         "that is the share that is wrong: one minus the precision."),
        (lambda r, f, p: r * p + f * (1 - p),
         "that is the share that is said to be positive. Which part of it is right?"),
        (lambda r, f, p: r * p + (1 - f) * (1 - p), "that is the accuracy."),
        (lambda r, f, p: (1 - f) * (1 - p) / ((1 - f) * (1 - p) + (1 - r) * p),
         "that is the precision of saying no."),
        (lambda r, f, p: r * p / (r * p + (1 - f) * (1 - p)),
         "false_rate is the share of the others that is said to be positive, as it stands."),
        (lambda r, f, p: r, "the result is the recall. Which part of what is said is right?"),
        (lambda r, f, p: 1 - f, "that is one minus the false rate."),
        (lambda r, f, p: r / (r + f * (1 - p)), "the positive are base_rate of all."),
        (lambda r, f, p: p, "that is the base rate: the precision of saying yes to everything."),
        (lambda r, f, p: r * p / (r * p + (1 - r) * p),
         "what is missed was not said. Divide by what is said to be positive."),
        (lambda r, f, p: 100 * _precision_at(r, f, p), "that is per cent. Return a share."),
        (lambda r, f, p: r * p / (r * p + (1 - r) * (1 - p)),
         "1 - recall is the share of the positive that is missed. Of the others, false_rate is"
         " said to be positive."),
        (lambda r, f, p: r * p / (r + f),
         "both below the line are shares of a class: times base_rate and 1 - base_rate."),
        (lambda r, f, p: p / (p + f * (1 - p)),
         "recall has no effect here. It is a share of the positive: above the line, and in the"
         " first part below it."),
        (lambda r, f, p: r * p / (p + f * (1 - p)),
         "divide by all that is said: of the positive only the share recall is."),
        (lambda r, f, p: 1 - f * (1 - p), "that is one minus all that is said wrongly. Divide it "
                                          "by all that is said first."),
        (lambda r, f, p: r * (1 - f), "the base rate is not used."),
        (lambda r, f, p: 1 - f / r, "the base rate is not used."),
        (lambda r, f, p: (1 - f) * p / ((1 - f) * p + (1 - r) * (1 - p)),
         "that is the precision of saying no where base_rate is the share of the others."),
    ]  # fmt: skip


def _allowed_mistakes() -> Mistakes:
    return [
        (lambda n, c: 3 / n, "3 / n is the rule of three: close at 95 % and a large n only."),
        (lambda n, c: min(1, 3 / n),
         "3 / n is the rule of three: close at 95 % and a large n only."),
        (lambda n, c: -np.log(1 - c) / n, "-log(1 - confidence) / n is close for a large n, and "
                                          "above 1 for a small one. Solve for p exactly."),
        (lambda n, c: 0, "0 of n were seen, but a small share can stay unseen n times."),
        (lambda n, c: 1 / n, "1 / n does not use the confidence."),
        (lambda n, c: (1 - c) / n, "(1 - confidence) is a probability, not a number of failures."
                                   " (** binds more strongly than /, so write ** (1 / n).)"),
        (lambda n, c: 1 - (1 - c) / n,
         "** binds more strongly than /, so ** 1 / n divides by n. Write ** (1 / n)."),
        (lambda n, c: 1 - (1 - c) ** (1 // n), "// drops the fraction of 1 / n. Use /."),
        (lambda n, c: 1 - c**n, "that is the chance of a failure in n tries, if each fails with 1 "
                                "- confidence. Solve (1 - p) ** n = 1 - confidence for p."),
        (lambda n, c: np.log(1 - c) / n, "that is log(1 - p), which is negative. Take exp of it, "
                                         "and 1 minus that."),
        (lambda n, c: c / n, "confidence is a probability, not a number of failures."),
        (lambda n, c: 1 / (n + 1), "that does not use the confidence."),
        (lambda n, c: 1 / (n + 2), "that does not use the confidence."),
        (lambda n, c: round(_upper_bound(n, c), 4), "do not round the result."),
        (lambda n, c: (1 - c) ** (1 / n), "that is 1 - p, the share of successes."),
        (lambda n, c: 1 - c ** (1 / n),
         "with a larger p, 0 failures must be rarer than 1 - confidence, not than confidence."),
        (lambda n, c: c ** (1 / n), "solve (1 - p) ** n = 1 - confidence for p."),
        (lambda n, c: 1 - (1 - c) ** n, "it takes the n-th power. Take the n-th root."),
        (lambda n, c: (1 - c) ** n, "it takes the n-th power. Take the n-th root, and 1 minus it."),
        (lambda n, c: 1 - ((1 - c) / 2) ** (1 / n),
         "half of 1 - confidence is for two sides. 0 failures leave one side only."),
        (lambda n, c: 1 - 0.05 ** (1 / n), "confidence is an argument; 0.95 was an example."),
        (lambda n, c: 100 * _upper_bound(n, c), "that is per cent. Return a share."),
        (lambda n, c: 1 - c, "the number of tries does not matter here, and it should."),
        (lambda n, c: 1 - (1 - c) ** (1 / 175), "n is an argument; 175 was an example."),
        (lambda n, c: 1 - (1 - c) ** (1 / (n + 1)), "there are n tries, not n + 1."),
    ]  # fmt: skip


# The museum


def _diagnose_pads(fixed: Any) -> None:
    end = 2
    for rows in (
        [[5, 6, end], [7, end]], [[8, end]], [[4, end, 9, end], [end], [6, 5, end]],
        [[7, end, end], [5, 6, 4, end]],
    ):  # fmt: skip
        given = [list(row) for row in rows]
        result = call(fixed, given, end, name="pads_fixed")
        is_pair = isinstance(result, tuple | list) and len(result) == 2
        expect(is_pair, "pads_fixed must return both: tokens, targets.")
        shape = (len(rows), max(map(len, rows)))
        tokens, targets = (array(part, shape).astype(int) for part in result)
        for n, ids in enumerate(rows):
            wanted = [*ids[1:], *[-1] * (shape[1] - len(ids) + 1)]
            where = f"pads_fixed: of {rows}, row {n} has the targets {targets[n].tolist()}"
            example = Example((given, end), targets, _padded_targets(rows), "[1]", "pads_fixed")
            expect(tokens[n, : len(ids)].tolist() == ids, f"row {n} must begin with {ids}.")
            got = targets[n].tolist()
            if got == wanted:
                continue
            if end in wanted and end not in got:
                raise Wrong(f"{where}. The end of the text is still not learned.", example)
            if got[len(ids) :] != wanted[len(ids) :] or got[len(ids) - 1] != -1:
                raise Wrong(f"{where}. Padding is learned now, and must not be.", example)
            raise Wrong(
                f"{where}, and they must be {wanted}. An end can also stand inside a row, so go by"
                " the row's length, not by the ids.",
                example,
            )


def _padded_targets(rows: list[list[int]]) -> Array:
    T = max(map(len, rows))
    return np.array([[*ids[1:], *[-1] * (T - len(ids) + 1)] for ids in rows])


def _diagnose_marked(fixed: Any) -> None:
    """marked(ids, open, close) -> learned, or a ValueError where there is no answer."""
    for ids in ([1, 8, 5, 6, 9], [8, 4, 9, 1, 1, 8, 3, 9], [7, 7, 8, 9]):
        learned = array(call(fixed, list(ids), 8, 9, name="marked_fixed"), (len(ids),))
        inside, wanted = False, []
        for token in ids:
            wanted.append(inside)
            inside = token == 8 or (inside and token != 9)
        example = Example((ids, 8, 9), learned.astype(bool), np.array(wanted), name="marked_fixed")
        if learned.astype(bool).tolist() != wanted:
            raise Wrong(
                "marked_fixed: where there are marks it must do what it did: learn what follows an"
                " opening mark, up to the closing one and with it.",
                example,
            )
    for ids in ([1, 5, 6], [4]):
        try:
            result = fixed(list(ids), 8, 9)
        except ValueError:
            continue
        except NotImplementedError:
            raise
        except (Exception, SystemExit) as error:
            name = type(error).__name__
            raise Wrong(f"marked_fixed raises {name} without marks; raise ValueError.") from None
        expect(result is not None, "marked_fixed returns nothing where there are no marks.")
        learned = array(result, (len(ids),)).astype(bool)
        expect(
            not learned.all() or len(learned) == 0,
            "marked_fixed still learns everything where it finds no marks.",
        )
        raise Wrong(
            "marked_fixed learns nothing where it finds no marks, and nobody is told: that is the "
            "other published bug. Raise a ValueError."
        )


def _row_mask(lengths: list[int], window: int) -> Array:
    document = np.repeat(np.arange(len(lengths)), lengths)
    index = np.arange(len(document))
    own: Array = document[:, None] == document[None, :]
    return own & visible(index[:, None], index[None, :], window)


def _diagnose_row_mask(fixed: Any) -> None:
    results = []
    for lengths, window in (([2, 2], 4), ([3, 1, 2], 3), ([5], 2), ([1, 7], 9), ([2, 3, 2], 3)):
        T = sum(lengths)
        shown = call(fixed, list(lengths), window, name="mask_fixed")
        results.append(((lengths, window), array(shown, (T, T))))

    def mask(own: Callable[..., Array]) -> Callable[..., Array]:
        def made(lengths: list[int], window: int) -> Array:
            positions = np.concatenate([np.arange(n) for n in lengths])
            document = np.repeat(np.arange(len(lengths)), lengths)
            index = np.arange(len(document))
            near = visible(index[:, None], index[None, :], window)
            return own(positions, document, near)

        return made

    mistakes: Mistakes = [
        (mask(lambda p, d, near: near & (p[:, None] >= p)),
         "it still shows a neighbour's tokens, as in the museum."),
        (mask(lambda p, d, near: near & (p[:, None] > p)),
         "it still shows a neighbour's tokens, and hides each token from itself."),
        (mask(lambda p, d, near: near), "nothing keeps the documents apart."),
        (mask(lambda p, d, near: near & (d[:, None] != d)),
         "it shows the neighbours and hides the own document."),
        (mask(lambda p, d, near: d[:, None] == d),
         "the window and the order are gone. Line 5 was right, so keep it."),
        (mask(lambda p, d, near: near | (d[:, None] == d)), "both must hold: &, not |."),
        (mask(lambda p, d, near: np.tril(d[:, None] == d)),
         "the window is gone. Line 5 was right, so keep it."),
        (lambda lengths, window: _row_mask(lengths, 5), "window is an argument; 5 was an example."),
        (mask(lambda p, d, near: near & (p[:, None] <= p)),
         "positions that begin anew do not separate documents, either way round."),
    ]  # fmt: skip
    try:
        diagnose_arrays(results, lambda *case: _row_mask(*case).astype(float), mistakes)
    except Wrong as wrong:
        example = wrong.example and wrong.example._replace(name="mask_fixed")
        raise Wrong(f"mask_fixed: {wrong}", example) from None


def _score(said: list[bool], truth: list[bool]) -> float:
    right, is_true = np.array(said) == np.array(truth), np.array(truth)
    return float((right[is_true].mean() + right[~is_true].mean()) / 2)


def _diagnose_score(fixed: Any) -> None:
    cases = [
        ([False] * 10, [True] * 2 + [False] * 8), ([True] * 4, [True, False, False, False]),
        ([True, False, True, False], [True, False, False, False]),
        ([True, False], [True, False]), ([False, True], [True, False]),
        ([True, True, False, False, False], [True, False, True, False, False]),
    ]  # fmt: skip
    results = [
        (case, _number(quiet_call(fixed, *map(list, case), name="score_fixed"))) for case in cases
    ]

    def of(make: Callable[[Array, Array], Any]) -> Callable[..., float]:
        return lambda said, truth: float(make(np.array(said), np.array(truth)))

    def share(part: Array, whole: Array) -> float:
        return float(part.sum() / whole.sum()) if whole.any() else 0.0

    def balanced_sum(said: Array, truth: Array) -> Any:
        return (said == truth)[truth].mean() + (said == truth)[~truth].mean()

    mistakes: Mistakes = [
        (of(lambda s, t: (s == t).mean()), "that is still the share of all. A constant answer "
                                           "scores 0.8 on the first case."),
        (of(lambda s, t: (s == t)[t].mean()),
         "only the true ones are looked at, so saying True always scores 1."),
        (of(lambda s, t: (s == t)[~t].mean()),
         "only the false ones are looked at, so saying False always scores 1."),
        (of(balanced_sum), "that is the sum of two shares. Take their mean."),
        (of(lambda s, t: (s == t)[t].mean() * (s == t)[~t].mean()),
         "that is the product of two shares. Take their mean."),
        (of(lambda s, t: (share(s & t, s) + share(~s & ~t, ~s)) / 2),
         "the classes are those of the truth, not of what was said."),
        (of(lambda s, t: balanced_sum(s, t) - 1),
         "a constant answer must score 0.5 here, not 0: the mean of the two shares."),
        (of(lambda s, t: share(s & t, s)), "that is the precision. Take the mean of two shares."),
        (of(lambda s, t: 2 * share(s & t, s) * share(s & t, t) / max(
            share(s & t, s) + share(s & t, t), 1e-9)),
         "that is F1, which looks at the true class alone."),
        (of(lambda s, t: (s[t].mean() + s[~t].mean()) / 2),
         "of the false ones, those are right that are said to be False."),
        (of(lambda s, t: 0.5 if s.all() or not s.any() else (s == t).mean()),
         "a constant answer now gets 0.5, but all others still the share of all."),
        (of(lambda s, t: min((s == t)[t].mean(), (s == t)[~t].mean())),
         "that is the smaller of two shares. Take their mean."),
    ]  # fmt: skip
    try:
        _diagnose_numbers(results, _score, mistakes)
    except Wrong as wrong:
        example = wrong.example and wrong.example._replace(name="score_fixed")
        raise Wrong(f"score_fixed: {wrong}", example) from None
