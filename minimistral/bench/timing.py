"""Timing several functions in turns, so that what else the machine does slows all alike."""

import time
from collections.abc import Callable, Mapping
from statistics import quantiles
from typing import Any

MIN_ROUNDS, MAX_ROUNDS = 5, 300


def in_turns(
    runs: Mapping[str, Callable[[], Any]],
    seconds: float,
    wait: Callable[[], Any] = lambda: None,
    calls: int = 1,
) -> dict[str, dict[str, float]]:
    """Call each function once to warm it up, then all of them round after round.

    seconds: about how long in all. wait: returns when the device is done. calls: calls per turn,
    one after the other like the steps of a text; the times are per call. -> for each name a dict
    of `median`, `low` and `high` (the quartiles) in seconds, and the number of `rounds`.
    Raises what a function raises.

    >>> times = in_turns({"a": lambda: None, "b": lambda: None}, seconds=0.01)
    >>> list(times), times["a"]["low"] <= times["a"]["median"] <= times["a"]["high"]
    (['a', 'b'], True)
    """
    for run in runs.values():
        _time(run, wait, calls)
    times: dict[str, list[float]] = {name: [] for name in runs}
    spent = 0.0
    while len(next(iter(times.values()))) < max(MIN_ROUNDS, MAX_ROUNDS // calls):
        rounds = len(next(iter(times.values())))
        if rounds >= MIN_ROUNDS and spent >= seconds:
            break
        for name, run in runs.items():
            took = _time(run, wait, calls)
            times[name].append(took / calls)
            spent += took
    return {name: _summary(seconds_each) for name, seconds_each in times.items()}


def _time(run: Callable[[], Any], wait: Callable[[], Any], calls: int) -> float:
    wait()
    start = time.perf_counter()
    for _ in range(calls):
        run()
    wait()
    return time.perf_counter() - start


def _summary(times: list[float]) -> dict[str, float]:
    low, median, high = quantiles(times, n=4, method="inclusive")
    return {"median": median, "low": low, "high": high, "rounds": len(times)}
