"""Many users at once, simulated: when each gets its tokens, from the times that steps take.

Three ways to plan a step are compared, after Sarathi-Serve (Agrawal et al. 2024). Of the model only
the time of a step is asked, so the times may be measured (`measured`), or worked out for another
machine.
"""

import math
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np

from minimistral._arguments import require_choice, require_count, require_number
from minimistral.np.serve import plan_step

Plan = Callable[[list[int], int], list[int]]
StepSeconds = Callable[[int, int], float]


@dataclass(frozen=True)
class Arrival:
    """A request: when it comes in, in seconds, the ids of its prompt, and how many are written.

    Raises TypeError or ValueError, naming the argument.
    """

    seconds: float
    n_prompt: int
    n_new: int

    def __post_init__(self) -> None:
        require_number("seconds", self.seconds, low=0)
        require_count("n_prompt", self.n_prompt)
        require_count("n_new", self.n_new)


def prompts_first(unread: list[int], chunk_size: int) -> list[int]:
    """A step that reads all prompts to their ends, if there are any; nothing is written meanwhile.

    As `plan_step`, except that chunk_size plays no part.

    >>> prompts_first([0, 5, 9], chunk_size=8), prompts_first([0, 0, 0], chunk_size=8)
    ([0, 5, 9], [1, 1, 1])
    """
    return list(unread) if any(unread) else [1] * len(unread)


# How a step is planned, and whether a row that is free is given to another text at once, or only
# when all are free.
POLICIES: dict[str, tuple[Plan, bool]] = {
    "static": (prompts_first, False),
    "prompts first": (prompts_first, True),
    "chunked": (plan_step, True),
}


def simulate(
    arrivals: Sequence[Arrival],
    step_seconds: StepSeconds,
    policy: str,
    *,
    batch_size: int = 8,
    chunk_size: int = 64,
) -> list[list[float]]:
    """At what second each token comes: a list for each arrival, in their order.

    step_seconds: how long a step takes that writes so many ids and reads so many ids of prompts.
    policy: "static", one batch after the other, each with who waits when it begins, until its
    longest text ends; "prompts first", where who comes in takes a free row, and a prompt is read
    at once and whole; "chunked", the steps of `serve`. What is over costs nothing, so a static
    batch is taken to be as cheap as it could be.
    Raises TypeError or ValueError, naming the argument.

    A step takes a second for each id that it reads or writes. Somebody comes in who asks a long
    question while the first text is written:

    >>> arrivals = [Arrival(0, n_prompt=1, n_new=3), Arrival(1, n_prompt=4, n_new=1)]
    >>> simulate(arrivals, lambda writes, reads: writes + reads, "prompts first")
    [[1, 6, 7], [5]]
    >>> simulate(arrivals, lambda writes, reads: writes + reads, "chunked", chunk_size=2)
    [[1, 4, 7], [7]]
    """
    plan, joins = POLICIES[require_choice("policy", policy, POLICIES)]
    batch_size = require_count("batch_size", batch_size)
    chunk_size = require_count("chunk_size", chunk_size)
    waiting = deque(sorted(range(len(arrivals)), key=lambda n: arrivals[n].seconds))
    unread = [arrival.n_prompt for arrival in arrivals]
    times: list[list[float]] = [[] for _ in arrivals]
    at_work: list[int] = []
    now: float = 0
    while waiting or at_work:
        if not at_work:
            now = max(now, arrivals[waiting[0]].seconds)
        places = batch_size - len(at_work) if joins or not at_work else 0
        while waiting and places and arrivals[waiting[0]].seconds <= now:
            at_work.append(waiting.popleft())
            places -= 1
        lengths = plan([unread[n] for n in at_work], chunk_size)
        n_writes = sum(length for n, length in zip(at_work, lengths, strict=True) if not unread[n])
        now += step_seconds(n_writes, sum(lengths) - n_writes)
        for n, length in zip(at_work, lengths, strict=True):
            unread[n] = max(0, unread[n] - length)
            if length and not unread[n]:
                times[n].append(now)
        at_work = [n for n in at_work if len(times[n]) < arrivals[n].n_new]
    return times


def summary(arrivals: Sequence[Arrival], times: Sequence[Sequence[float]]) -> dict[str, float]:
    """What users notice: tokens per second of all together, and how many seconds they wait.

    times: from `simulate`. tokens_per_second counts from the first arrival to the last token;
    first: from an arrival to its first token; between: from one token of a text to the next.
    p50 and p99: no more than that in 50 and 99 of 100 cases; NaN if there is no case.
    Raises ValueError if there are no arrivals.

    >>> found = summary([Arrival(0, 1, 3), Arrival(1, 4, 1)], [[1, 6, 7], [5]])
    >>> found["first_p99"], found["between_p50"], found["between_p99"]
    (4, 1, 5)
    """
    if not arrivals:
        raise ValueError("arrivals must hold at least one, but are empty")
    begin = min(arrival.seconds for arrival in arrivals)
    first = [each[0] - arrival.seconds for each, arrival in zip(times, arrivals, strict=True)]
    between = [after - before for each in times for before, after in pairwise(each)]
    n_tokens = sum(len(each) for each in times)
    waits = {"first": first, "between": between}
    return {
        "tokens_per_second": n_tokens / (max(each[-1] for each in times) - begin),
        **{f"{name}_p{p}": percentile(w, p) for name, w in waits.items() for p in (50, 99)},
    }


def percentile(values: Sequence[float], p: float) -> float:
    """The least of the values that p of 100 do not exceed; NaN if there are none.

    >>> percentile([4, 1, 3, 2], 50), percentile([4, 1, 3, 2], 51)
    (2, 3)
    """
    return sorted(values)[max(0, math.ceil(len(values) * p / 100) - 1)] if values else math.nan


def interpolated(
    writes: Sequence[int], reads: Sequence[int], seconds: Sequence[Sequence[float]]
) -> StepSeconds:
    """The time of any step from those of some: straight lines between what was measured.

    writes (m,) and reads (n,), rising; seconds (m, n) -> `step_seconds` for `simulate`. That
    raises ValueError for a step beyond what was measured.

    >>> interpolated([0, 8], [0, 100], [[0.0, 1.0], [0.5, 2.5]])(4, 50)
    1.0
    """
    table = np.asarray(seconds, float)
    for name, sizes, n in (("writes", writes, 0), ("reads", reads, 1)):
        if not len(sizes) or list(sizes) != sorted(set(sizes)):
            raise ValueError(f"{name} must rise, not {list(sizes)}")
        if table.ndim != 2 or table.shape[n] != len(sizes):
            raise ValueError(f"seconds must be ({len(writes)}, {len(reads)}), not {table.shape}")

    def step_seconds(n_writes: int, n_reads: int) -> float:
        for name, sizes, n in (("writes", writes, n_writes), ("reads", reads, n_reads)):
            if not sizes[0] <= n <= sizes[-1]:
                raise ValueError(
                    f"a step with {n} {name} was not measured: {sizes[0]} to {sizes[-1]} were"
                )
        of_writes = [float(np.interp(n_reads, reads, row)) for row in table]
        return float(np.interp(n_writes, writes, of_writes))

    return step_seconds


def measured(
    model: Any,
    writes: Sequence[int],
    reads: Sequence[int],
    *,
    batch_size: int = 8,
    context: int = 64,
    seconds: float = 10.0,
    wait: Callable[[], Any] = lambda: None,
) -> list[list[float]]:
    """How long the steps of `serve` take on this machine: a table for `interpolated`.

    model: a Mistral of either twin, with a window. writes (m,), reads (n,) -> seconds (m, n).
    batch_size: as in `serve`, which computes rows that rest too. context: tokens before the step
    in each row. seconds: about how long to measure. wait: returns when the device is done.
    Raises TypeError or ValueError, naming the argument.
    """
    from minimistral.bench.engines import fill  # imports torch
    from minimistral.bench.timing import in_turns

    most = max(writes)
    if most > batch_size:
        raise ValueError(f"writes must be at most batch_size = {batch_size}, not {most}")
    if model.config.window_size is None:
        raise ValueError("model must have a window, so that its cache never gets full")
    caches = [model.new_cache(rows) for rows in (batch_size, 1)]  # who writes, and who reads
    for cache in caches:
        fill(cache, context)

    def step(n_writes: int, n_reads: int) -> Callable[[], Any]:
        running = np.arange(batch_size) < n_writes

        def run() -> None:
            if n_reads:
                model([[1] * n_reads], caches[1], last_only=True)
            if n_writes:
                model([[1]] * batch_size, caches[0], last_only=True, lengths=running.astype(int))

        return run

    sizes = {f"{w} {r}": (w, r) for w in writes for r in reads}
    times = in_turns({name: step(*each) for name, each in sizes.items()}, seconds, wait)
    return [[times[f"{w} {r}"]["median"] for r in reads] for w in writes]
