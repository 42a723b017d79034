"""Whether a loop of lesson 10 reads what it must, no more, and returns what it chose."""

from collections.abc import Callable
from typing import Any

import numpy as np

from minimistral.course.checks.report import Wrong, call, expect, whole_number

V = 11
STOP = 7
CASES: list[tuple[list[int], int, tuple[int, ...]]] = [
    ([3, 1, 4], 5, ()), ([2], 1, ()), ([5, 9, 2, 6], 3, ()), ([8, 7], 4, (7,)),
    ([1, 2, 3], 8, (0, 4)), ([6, 6], 9, (2, 7, 9)), ([4], 6, tuple(range(V))),
]  # fmt: skip


class Model:
    """A model that a check can follow: its logits depend on every id that it has read."""

    def __init__(self, n_new: int) -> None:
        self.n_new = n_new
        self.reads: list[list[int]] = []
        self.logits = np.zeros(V)
        self.n_chosen = 0

    def read(self, ids: Any) -> np.ndarray:
        """ids, a list -> the logits (V,) after the last of them."""
        ids = ids.tolist() if hasattr(ids, "tolist") else ids
        expect(isinstance(ids, list | tuple), "`read` takes a list, also for one id: read([id]).")
        self.reads.append([whole_number("An id that is read", token) for token in ids])
        expect(len(ids) > 0, "`read` was given an empty list.")
        expect(
            len(self.reads) <= 20 + 2 * self.n_new,
            f"for n_new = {self.n_new} `read` was called {len(self.reads)} times: the loop has no "
            "end. Stop when n_new ids are chosen.",
        )
        self.logits = logits_after(self.reads)
        return self.logits.copy()

    def choose(self, logits: Any) -> int:
        """The second largest, so that nobody can do without it."""
        self.n_chosen += 1
        expect(np.shape(logits) == (V,), "`choose` takes the logits that `read` returned.")
        expect(
            self.n_chosen <= 20 + 2 * self.n_new,
            "`choose` is called again and again: the loop has no end.",
        )
        return int(np.argsort(np.asarray(logits))[-2])


def logits_after(reads: list[list[int]]) -> np.ndarray:
    """As a model with a cache: the ids count, in order, and not how they were cut into reads."""
    ids = [token for read in reads for token in read]
    return np.random.default_rng([len(ids), *(abs(token) for token in ids)]).standard_normal(V)


def diagnose(answer: Any, right: Callable[..., list[int]]) -> int:
    """Raise Wrong unless the loop is right in all cases; how many there are."""
    for prompt, n_new, stop_ids in CASES:
        model, reference = Model(n_new), Model(n_new)
        wanted = right(reference.read, reference.choose, prompt, n_new, stop_ids)
        result = call(answer, model.read, model.choose, prompt, n_new, stop_ids)
        case = f"for the prompt {prompt}, n_new = {n_new} and stop_ids = {stop_ids}"
        got = _ids(result)
        _diagnose_reads(case, model.reads, prompt, reference.reads)
        _diagnose_result(case, got, wanted, prompt, stop_ids)
        expect(
            model.n_chosen == reference.n_chosen,
            f"{case} `choose` is called {model.n_chosen} times for {len(wanted)} new ids. It may "
            "be random, so call it once per id and keep what it gave.",
        )
        _diagnose_count(case, model.reads, reference.reads, stop_ids)
    return len(CASES)


def _ids(value: Any) -> list[int]:
    value = value.tolist() if hasattr(value, "tolist") else value
    is_list = isinstance(value, list | tuple)
    expect(is_list, f"return a list of the new ids, not a value of type {type(value).__name__}.")
    return [whole_number("A new id", token) for token in value]


def _diagnose_reads(
    case: str, reads: list[list[int]], prompt: list[int], wanted: list[list[int]]
) -> None:
    """Raise Wrong if the model was read out of order; how often it was read comes later."""
    expect(bool(reads), "`read` is never called. Begin with the prompt.")
    one_by_one = [[token] for token in prompt]
    expect(
        len(prompt) == 1 or reads[: len(prompt)] != one_by_one,
        "the prompt is read one id at a time. One call takes all of it (lesson 07).",
    )
    expect(reads[0] == prompt, f"{case} the first read is {reads[0]}. Read the prompt, all of it.")
    for n, ids in enumerate(reads[1:], 1):
        before = [token for read in wanted[: n + 1] for token in read]
        if ids == before:
            raise Wrong("the whole text is read again for each token. `read` remembers: give it "
                        "the new id alone.")  # fmt: skip
        expect(ids != prompt or len(prompt) == 1, "the prompt is read again. `read` remembers it.")
        expect(len(ids) == 1, f"{case} a later read is {ids}. Read one id at a time, the new one.")
        if n < len(wanted) and ids != wanted[n]:
            last = ids == prompt[-1:] if n == 1 else ids == wanted[n - 1]
            more = " That one was read before." if last else ""
            expect(
                ids != [int(np.argmax(logits_after(wanted[:n])))],
                "the largest logit is taken. Let `choose` choose: it may be random.",
            )
            raise Wrong(f"{case} read {n + 1} is {ids}, not the id that was just chosen.{more}")


def _diagnose_result(
    case: str, got: list[int], wanted: list[int], prompt: list[int], stop_ids: Any
) -> None:
    """Raise Wrong unless the new ids are those that were chosen."""
    if got == wanted:
        return
    expect(got != prompt + wanted, "return the new ids only, without the prompt.")
    if stop_ids and wanted[-1] in stop_ids:
        expect(got != wanted[:-1], f"{case} the stop id is missing. It stands at the end.")
        expect(not _begins(got, wanted), f"{case} the text goes on behind a stop id.")
    expect(got != wanted[:-1], f"{case} one new id is missing: there must be {len(wanted)}.")
    expect(not _begins(got, wanted), f"{case} there are too many ids: at most n_new.")
    early = "the text ends too early. A stop id in the prompt does not count."
    expect(not _begins(wanted, got), f"{case} {early}")
    expect(got != wanted[1:], f"{case} the first new id is missing.")
    expect(got != wanted[-1:], "only the last id is returned. Collect them in a list.")
    expect(
        got[:1] != [int(np.argmax(logits_after([prompt])))],
        "the largest logit is taken. Let `choose` choose: it may be random.",
    )
    raise Wrong(f"{case} the new ids are not those that `choose` gave: {got}, not {wanted}.")


def _begins(longer: list[int], shorter: list[int]) -> bool:
    """Whether a list begins with another one and goes on behind it."""
    return len(longer) > len(shorter) and longer[: len(shorter)] == shorter


def _diagnose_count(
    case: str, reads: list[list[int]], wanted: list[list[int]], stop_ids: Any
) -> None:
    if len(reads) > len(wanted):
        what = "a stop id" if stop_ids else "the last id"
        raise Wrong(
            f"{case} {what} is read, although nothing is chosen after it. A read costs a whole "
            "pass through the model: ask first whether the text ends."
        )
