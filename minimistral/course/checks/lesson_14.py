"""Checks of lesson 14: bytes, the ridge, int8, int4, the plan of a step, four published bugs."""

import warnings
from collections.abc import Callable, Iterable
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from minimistral.config import ModelConfig
from minimistral.course.checks.museum import guilty_line
from minimistral.course.checks.report import (
    Example,
    Wrong,
    array,
    call,
    diagnose_arrays,
    diagnose_numbers,
    diagnose_values,
    exercise,
    expect,
    measured,
    whole_number,
)
from minimistral.np.serve import plan_step

Array = np.ndarray
SMALLEST = 1e-30  # a scale of 0 would divide 0 by 0


def _step_bytes(config: ModelConfig, context: int, batch_size: int, n_bytes: int) -> int:
    return config.decode_bytes(context, {2: "bfloat16", 4: "float32"}[n_bytes], batch_size)


def _ridge_batch(weights: int, cache: int, flops: int, rate: int, bandwidth: int) -> int:
    gain = flops * bandwidth - cache * rate  # per row, times rate * bandwidth
    return -(-weights * rate // gain) if gain > 0 else 0


def _int8(weight: Array) -> tuple[Array, Array]:
    scales = np.maximum(np.abs(weight).max(axis=1), SMALLEST) / 127
    return np.rint(weight / scales[:, None]).astype(np.int8), scales


def _int4(weight: Array, group: int) -> tuple[Array, Array, Array]:
    groups = weight.reshape(len(weight), -1, group)
    low, high = groups.min(axis=2), groups.max(axis=2)
    scale = np.maximum(high - low, SMALLEST) / 15
    steps = np.rint((groups - low[:, :, None]) / scale[:, :, None]).clip(0, 15)
    steps = steps.astype(np.uint8).reshape(weight.shape)
    return steps[:, 0::2] << 4 | steps[:, 1::2], scale, low


@exercise("Bytes of a step", course=_step_bytes, hints=(
    "Every matrix is read once, for however many rows. Of the embedding only one row per token is "
    "looked up, so leave its vocab_size * dim numbers out.",
    "The cache of one row holds 2 * n_layers * n_kv_heads * head_dim numbers per token, and never "
    "more than window_size tokens. Each row of the batch has its own.",
    "Take n_bytes times (config.n_params - vocab_size * dim + batch_size * kept * 2 * n_layers * "
    "n_kv_heads * head_dim), with kept = min(context, window_size).",
))  # fmt: skip
def step_bytes(answer: Any) -> str:
    """answer(config, context, batch_size, n_bytes) -> bytes that a decode step reads."""
    seven, tiny = ModelConfig.mistral_7b(), ModelConfig.tiny()
    cases = [(seven, 4096, 1, 2), (seven, 100, 1, 2), (seven, 9000, 3, 2), (tiny, 20, 1, 4),
             (tiny, 500, 8, 4), (tiny, 32, 5, 2)]  # fmt: skip

    def describe(config: ModelConfig, context: int, batch_size: int, n_bytes: int) -> str:
        size = "Mistral 7B" if config is seven else "the tiny model"
        return f"{size}, context {context}, batch {batch_size} and {n_bytes} bytes"

    diagnose_numbers("The result", answer, _step_bytes, cases, _byte_mistakes(), describe)
    return "every matrix once, and each row's own keys and values."


@exercise("The ridge batch", course=_ridge_batch, hints=(
    "Reading takes (weight_bytes + B * cache_bytes) / bandwidth seconds, computing takes "
    "B * flops / rate. Both grow with B, and only one of them starts at 0.",
    "Per row, computing grows by flops / rate and reading by cache_bytes / bandwidth. If the "
    "second is not smaller, computing never catches up.",
    "With gain = flops / rate - cache_bytes / bandwidth, return 0 if gain <= 0, and else "
    "weight_bytes / bandwidth / gain, rounded up.",
))  # fmt: skip
def ridge_batch(answer: Any) -> str:
    """answer(weight_bytes, cache_bytes, flops, rate, bandwidth) -> a batch size, 0 for none."""
    cases = [(1024, 0, 2, 64, 8), (1000, 0, 3, 64, 7), (1000, 1, 3, 10, 7), (1024, 1, 2, 8, 8),
             (4096, 2, 2, 8, 8), (4096, 9, 2, 32, 8), (6000, 3, 1, 20, 7), (10**9, 50, 400, 16, 8),
             (640, 1, 8, 16, 4)]  # fmt: skip

    def describe(weights: int, cache: int, flops: int, rate: int, bandwidth: int) -> str:
        return (f"{weights:,} bytes of weights, {cache} of cache and {flops} operations per row, "
                f"at {rate} operations and {bandwidth} bytes per second")  # fmt: skip

    zero = {"division": "Where a row's cache takes as long as its computing, there is none: 0."}

    def told(*case: int) -> Any:
        return call(answer, *case, hints=zero)

    named = told if callable(answer) else answer
    diagnose_numbers("The batch size", named, _ridge_batch, cases, _ridge_mistakes(), describe)
    return "from that batch on the processor, and not the memory, sets the time; 0 where none is."


@exercise("int8 per row", course=_int8, hints=(
    "The largest magnitude of a row must become 127. So the scale of a row is "
    "`np.abs(weight).max(axis=1) / 127`, and a value is its weight divided by the row's scale.",
    "`scales[:, None]` stands beside each row. Round with np.rint before `.astype(np.int8)`, which "
    "alone would cut off the digits.",
    "A row of zeros needs a scale above 0: take "
    "`np.maximum(np.abs(weight).max(axis=1), 1e-30) / 127`, and return "
    "`np.rint(weight / scales[:, None]).astype(np.int8)` and `scales`.",
))  # fmt: skip
def int8(answer: Any) -> str:
    """answer(weight (out, in)) -> values int8 (out, in), scales (out,)."""
    hints = {"broadcast": "`scales[:, None]` stands beside each row."}
    results = [(case, _pair(_quiet(answer, *case, hints=hints), *case)) for case in _weights()]
    scales = [(case, np.where(np.any(*case, axis=1), got[1], 0)) for case, got in results]
    _named("scales", scales, lambda w: np.where(np.any(w, axis=1), _int8(w)[1], 0),
           _scale_mistakes(), _int8_fault)  # fmt: skip
    values = [(case, got[0]) for case, got in results]
    _named("values", values, lambda w: _int8(w)[0].astype(float), _value_mistakes(), _int8_fault)
    return "a byte per weight and a scale per row; no weight moves by more than half a step."


@exercise("int4 per group", course=_int4, hints=(
    "`weight.reshape(out, -1, group)` puts each group on its own. Its 16 steps go from its "
    "smallest to its largest weight, so scale = (largest - smallest) / 15.",
    "A step is `np.rint((weight - low) / scale)`, a number from 0 to 15. Back in the shape of the "
    "weights and as uint8, `steps[:, 0::2]` are the first of each pair.",
    "`steps[:, 0::2] << 4 | steps[:, 1::2]` is the packed array. Take "
    "`np.maximum(high - low, 1e-30) / 15` as scale, because a group may hold one value only.",
))  # fmt: skip
def int4(answer: Any) -> str:
    """answer(weight (out, in), group) -> packed uint8 (out, in / 2), scale, low (out, groups)."""
    cases = [(w, g) for (w,), g in zip(_weights(), (4, 8, 2, 16), strict=True)]
    results = [(case, _triple(_quiet(answer, *case), *case)) for case in cases]
    flat = [np.ptp(w.reshape(len(w), -1, g), axis=2) == 0 for w, g in cases]
    low = [(case, r[2]) for case, r in results]
    _named("low", low, lambda w, g: _int4(w, g)[2], _low_mistakes())
    scale = [(case, np.where(f, 0, r[1])) for (case, r), f in zip(results, flat, strict=True)]
    _named("scale", scale, lambda w, g: np.where(_int4(w, g)[1] < 1e-20, 0, _int4(w, g)[1]),
           _range_mistakes())  # fmt: skip
    packed = [(case, r[0]) for case, r in results]
    _named("packed", packed, lambda w, g: _int4(w, g)[0].astype(float), _pack_mistakes())
    return "two weights in a byte, and every group has its own 16 steps."


@exercise("The plan of a step", course=plan_step, hints=(
    "A text whose unread is 0 reads one id, its newest, and takes nothing from chunk_size.",
    "Go through the texts in order with `left = chunk_size`. A prompt reads min(unread, left) ids, "
    "and left shrinks by as many.",
    "For each n of unread append 1 if n is 0, and else min(n, left); subtract what a prompt has "
    "read from left.",
))  # fmt: skip
def plan(answer: Any) -> str:
    """answer(unread, chunk_size) -> how many ids each text reads."""
    cases = [([0, 0, 5, 9, 3], 8), ([0], 4), ([7], 4), ([2, 2, 2], 8), ([9, 0, 9, 0], 4), ([], 4),
             ([3, 5, 0], 8), ([0, 20, 1], 6), ([1, 9, 4, 2], 7), ([4, 4], 4)]  # fmt: skip
    results = [(case, _counts(call(answer, list(case[0]), case[1]))) for case in cases]

    def fault(case: tuple, got: list[int]) -> str:
        unread, chunk_size = case
        expect(len(got) == len(unread), f"for {len(unread)} texts return as many numbers.")
        read = sum(n for n, left in zip(got, unread, strict=True) if left)
        expect(read <= chunk_size, f"the prompts read {read} ids, and may read {chunk_size}.")
        return f"for unread = {unread} and chunk_size = {chunk_size} the result is not {got}."

    diagnose_values(results, plan_step, _plan_mistakes(), fault)
    return "every text goes on writing, and the prompts share chunk_size, first come first served."


@exercise("Museum, the clock", hints=(
    "`device.run` only puts work in a queue and returns. What has been done when line 6 looks at "
    "the clock?",
    "Line 7 waits until the queue is empty, but then the time has been taken already.",
    "Line 6 is at fault: exchange lines 6 and 7, so that the clock is read after the wait.",
))  # fmt: skip
def bug_clock(line: Any, fixed: Any) -> str:
    """A time that is taken before the device has done anything."""
    guilty_line(line, 6, {
        1: "A first run to warm up is right: it takes longer than the others.",
        2: "Without it the warm-up would still be running when the clock starts. That is right.",
        3: "The clock starts when the device is idle. That is right.",
        4: "Ten runs are better than one.",
        5: "It puts one more piece of work in the queue, as it should.",
        7: "To wait is right. Ask when.",
        8: "The mean of ten runs is right.",
    }, 8)  # fmt: skip
    for launch, work, first in ((1, 100, 500), (2, 30, 0), (1, 1000, 10)):
        device = QueuedDevice(launch, first)
        got = call(fixed, device, work, name="fixed")
        expect(isinstance(got, int | float), f"return a number, not a {type(got).__name__}.")
        _diagnose_clock(float(got), launch, work, first)
    return (
        "the clock is read when the work is done. Published: pytorch/pytorch#18012 (180 images per "
        "second without the wait, 30 with it)."
    )


@exercise("Museum, a program per token", hints=(
    "Which argument of `program` has another shape at each step, and which line gives it that?",
    "An array that is appended to has a new shape each time. One that is filled keeps its shape, "
    "and `n` says how much of it counts.",
    "Line 3 is at fault. Begin with `cache = np.zeros((max_tokens, keys.shape[1]))`, and write "
    "`cache[n] = key`.",
))  # fmt: skip
def bug_recompiles(line: Any, fixed: Any) -> str:
    """A cache that grows, and a compiler that makes a program for each shape."""
    guilty_line(line, 3, {
        1: "An empty beginning does no harm by itself. Which line makes a new shape at each step?",
        2: "Each key comes once, in order. That is right.",
        4: "It hands on what line 3 has made. The number n + 1 is a value, and no shape.",
        5: "It returns what the steps gave.",
    }, 5)  # fmt: skip
    rng = np.random.default_rng(14)
    of_all = {most: Compiled(mean_of_first) for most in (4, 8)}
    for n, max_tokens in ((5, 8), (1, 4), (8, 8)):
        keys = rng.standard_normal((n, 3))
        program = Compiled(of_all[max_tokens])  # counts for this text, and for all texts
        got = array(call(fixed, program, keys, max_tokens, name="fixed"), (n, 3))
        wanted = np.array([keys[: i + 1].mean(axis=0) for i in range(n)])
        _diagnose_decode(got, wanted, program)
    expect(of_all[8].n_programs == 1,
           "fixed needs one program for a text of 5 tokens and another for one of 8: give the "
           "cache max_tokens rows.")  # fmt: skip
    return (
        "one program for all steps. Published: huggingface/transformers#37908 (a cache that grows, "
        "compiled again and again)."
    )


@exercise("Museum, the scale of another group", hints=(
    "Write down `of` for 8 columns and groups of 4, so for two scales. Which scale does column 1 "
    "get?",
    "Groups are neighbours: columns 0 to 3 are group 0, columns 4 to 7 are group 1.",
    "Line 4 is at fault: column c lies in group c // group, so `np.arange(steps.shape[1]) // "
    "group`.",
))  # fmt: skip
def bug_scales(line: Any, fixed: Any) -> str:
    """Right steps, and scales that belong to other groups."""
    guilty_line(line, 4, {
        1: "Two steps per byte is right.",
        2: "The first of each pair lies in the upper half. That is right.",
        3: "The second lies in the lower half. That is right.",
        5: "step * scale + low is right. Ask whose scale.",
    }, 5)  # fmt: skip
    cases = [(*_int4(w, g), g) for (w,), g in zip(_weights(), (4, 8, 2, 16), strict=True)]
    hints = {"out of bounds": "`of` names a group that does not exist.",
             "must be of integer": "The number of a group is whole: //, not /."}  # fmt: skip
    results = []
    for case in cases:
        shape = len(case[0]), 2 * case[0].shape[1]
        results.append((case, array(_quiet(fixed, *case, name="fixed", hints=hints), shape)))
    _named("fixed", results, unpack, _unpack_mistakes())
    return (
        "each weight has the scale of its own group. Published, of this kind: JustVugg/colibri#298 "
        "(kernels that took one scale per row where there was one per group) and #289; #225 says "
        "why groups are needed."
    )


@exercise("Museum, copied heads", hints=(
    "Compute all four numbers for 4 processes and 2 KV heads. Which KV head does process 2 get?",
    "With more processes than KV heads, some hold the same head. Then per_process * n_processes is "
    "more than there are.",
    "Line 2 is at fault: the total is n_kv_heads itself.",
))  # fmt: skip
def bug_heads(line: Any, fixed: Any) -> str:
    """Which KV heads a process holds, where there are more processes than heads."""
    guilty_line(line, 2, {
        1: "Each process needs one KV head at least. That is right.",
        3: "A process has the heads from its share of the total on. Is the total right?",
        4: "As many heads as line 1 says, from the first one on. That is right.",
    }, 4)  # fmt: skip
    cases = [(p, n, G) for n, G in product((1, 2, 4, 8, 16), (1, 2, 4, 8)) if n % G * (G % n) == 0
             for p in range(n)]  # fmt: skip
    results = [(case, _counts(call(fixed, *case, name="fixed"))) for case in cases]

    def fault(case: tuple, got: list[int]) -> str:
        p, n, G = case
        wanted = max(1, G // n)
        expect(len(got) == wanted, f"process {p} of {n} holds {len(got)} of {G} KV heads, but its "
               f"queries read {wanted}.")  # fmt: skip
        return f"process {p} of {n} holds {got} of {G} KV heads, but its queries read others."

    try:
        diagnose_values(results, _kv_heads_of, _head_mistakes(), fault)
    except Wrong as wrong:
        raise Wrong(str(wrong), wrong.example and wrong.example._replace(name="fixed")) from None
    return (
        "every process holds the KV heads that its queries read. Published: "
        "sgl-project/sglang#19086 (2 KV heads on 4 processes, counted as 4)."
    )


class QueuedDevice:
    """A device with a queue, and a clock that only moves when somebody works: no time is measured.

    launch: seconds until `run` returns. first: what the first run takes more, to compile.
    """

    def __init__(self, launch: float, first: float) -> None:
        self.launch, self.first = launch, first
        self.time, self.idle_from = 0.0, 0.0

    def run(self, work: float) -> None:
        self.time += self.launch
        self.idle_from = max(self.idle_from, self.time) + work + self.first
        self.first = 0

    def wait(self) -> None:
        self.time = max(self.time, self.idle_from)

    def now(self) -> float:
        return self.time


class Compiled:
    """A function for which a program is made for each new shape of its arrays, as by a compiler.

    >>> double = Compiled(lambda x: 2 * x)
    >>> [len(double(np.ones(n))) for n in (3, 3, 4)], double.n_programs
    ([3, 3, 4], 2)
    """

    def __init__(self, function: Callable[..., Any]) -> None:
        self.function, self.shapes = function, set[tuple]()

    def __call__(self, *arguments: Any) -> Any:
        self.shapes.add(tuple(np.shape(argument) for argument in arguments))
        return self.function(*arguments)

    @property
    def n_programs(self) -> int:
        return len(self.shapes)


def mean_of_first(cache: Array, n: int) -> Array:
    """The mean of the first n rows of a cache (S, D) -> (D,)."""
    counts = np.arange(len(cache)) < n
    return np.where(counts[:, None], cache, 0).sum(axis=0) / max(n, 1)


def unpack(packed: Array, scale: Array, low: Array, group: int) -> Array:
    """The weights (out, in) that `int4` packed, up to rounding: step * scale + low.

    >>> weight = np.array([[0.0, 15.0, 7.2, 1.0]])
    >>> unpack(*_int4(weight, 4), group=4)
    array([[ 0., 15.,  7.,  1.]])
    """
    steps = np.empty((len(packed), 2 * packed.shape[1]))
    steps[:, 0::2], steps[:, 1::2] = packed >> 4, packed & 15
    of = np.arange(steps.shape[1]) // group
    return steps * scale[:, of] + low[:, of]


def _kv_heads_of(process: int, n_processes: int, n_kv_heads: int) -> list[int]:
    per_process = max(1, n_kv_heads // n_processes)
    first = process * n_kv_heads // n_processes
    return list(range(first, first + per_process))


def _quiet(answer: Any, *arguments: Any, **how: Any) -> Any:
    """Call it; NumPy's warnings about 0 / 0 would stand between the lines of a lesson.

    Raises Wrong if 0 / 0 is made a whole number: which one differs from processor to processor.
    """
    return measured(partial(_warned, **how), answer, *arguments)


def _warned(answer: Any, *arguments: Any, **how: Any) -> Any:
    with np.errstate(all="ignore", invalid="warn"), warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        result = call(answer, *arguments, **how)
    messages = " ".join(str(each.message) for each in told)
    nan_cast = "invalid value encountered in divide" in messages and "in cast" in messages
    expect(not nan_cast, "0 / 0 gives NaN, and NaN is no whole number: no scale may be 0.")
    return result


def _weights() -> list[tuple[Array]]:
    """Matrices with rows and groups of different sizes, a row of zeros, a group of one value."""
    rng = np.random.default_rng(14)
    small = np.array([[1.0, -2.0, 0.4, 0.3], [0.06, 0.05, -0.011, 0.02]])
    wide = rng.standard_normal((3, 16)) * np.array([[1], [20], [0.1]])
    wide[:, 3] *= 30
    flat = rng.standard_normal((4, 8)) - 0.3
    flat[1], flat[2, :2] = 0, 0.75
    return [(small,), (wide,), (flat,), (rng.standard_normal((5, 32)) + 1.5,)]


def _pair(result: Any, weight: Array) -> tuple[Array, Array]:
    is_pair = isinstance(result, tuple | list) and len(result) == 2
    expect(is_pair, "return both: values, scales.")
    values, scales = result
    swapped = (np.shape(values), np.shape(scales)) == ((len(weight),), weight.shape)
    expect(not swapped, "return the values first, then the scales.")
    checked = array(values, weight.shape)
    expect(str(values.dtype).endswith("int8") and "u" not in str(values.dtype),
           f"the values must be int8, not {values.dtype}.")  # fmt: skip
    rows = len(weight)
    if getattr(scales, "shape", None) == (rows, 1):
        scales = scales[:, 0]
    expect(getattr(scales, "shape", None) != (weight.shape[1],) or rows == weight.shape[1],
           "there is a scale per column. Each row needs one: axis=1.")  # fmt: skip
    expect(np.ndim(scales) > 0, "there is one scale for the whole matrix. Each row needs its own.")
    kept = str(getattr(scales, "dtype", ""))
    expect("int" not in kept, f"the scales are {kept}, which cuts their digits off. Keep floats.")
    expect("float16" not in kept, f"the scales lose digits as {kept}: leave them as they are.")
    return checked, array(scales, (rows,))


def _triple(result: Any, weight: Array, group: int) -> tuple[Array, Array, Array]:
    is_triple = isinstance(result, tuple | list) and len(result) == 3
    expect(is_triple, "return all three: packed, scale, low.")
    packed, scale, low = result
    rows, columns = weight.shape
    expect(getattr(packed, "shape", None) != (rows, columns),
           "packed has a byte per weight. Two steps go into one byte.")  # fmt: skip
    checked = array(packed, (rows, columns // 2))
    expect(str(packed.dtype).endswith("uint8"), f"packed must be uint8, not {packed.dtype}.")
    shape = (rows, columns // group)
    parts = []
    for name, part in {"scale": scale, "low": low}.items():
        if getattr(part, "shape", None) == (*shape, 1):
            part = part[:, :, 0]
        one = getattr(part, "shape", None) in ((rows,), (rows, 1)) and columns != group
        expect(not one, f"{name} has one number per row. Each group needs its own.")
        expect(getattr(part, "shape", None) != (rows * shape[1],),
               f"{name} holds the groups of all rows in a line. Keep an axis for the rows: "
               "reshape(out, -1, group).")  # fmt: skip
        parts.append(array(part, shape))
    return checked, parts[0], parts[1]


def _counts(value: Any) -> list[int]:
    value = value.tolist() if hasattr(value, "tolist") else value
    is_list = isinstance(value, list | tuple | range)
    expect(is_list, f"return a list of numbers, not a value of type {type(value).__name__}.")
    return [whole_number("An entry", entry) for entry in value]


def _named(
    name: str, results: list, right: Callable[..., Array], mistakes: Iterable, fault: Any = None
) -> None:
    try:
        diagnose_arrays(results, right, mistakes, fault)
    except Wrong as wrong:
        example = wrong.example
        if example is not None and name == "fixed":
            example = example._replace(name=name)
        elif example is not None:
            example = example._replace(part=_PART[name])
        raise Wrong(f"{name}: {wrong}", example) from None


_PART = {"values": "[0]", "scales": "[1]", "packed": "[0]", "scale": "[1]", "low": "[2]"}


def _int8_fault(case: tuple, got: Array) -> str:
    return "the result is nan: the scale of a row of zeros is 0." if np.isnan(got).any() else ""


def _byte_mistakes() -> Iterable[tuple[Callable[..., int], str]]:
    def counted(
        embedding: bool = False, output: bool = True, window: bool = True, k_and_v: int = 2,
        heads: str = "n_kv_heads", layers: bool = True, rows: bool = True, weights: bool = False,
        size: Callable[[int], int] = lambda n: n, cache: bool = True, more: int = 0,
        norms: bool = True, head_dim: bool = True, looked_up: bool = False,
        kept_of: Callable[[int, int], int] = min,
    ) -> Callable[..., int]:  # fmt: skip
        def function(c: ModelConfig, context: int, batch_size: int, n_bytes: int) -> int:
            table = c.vocab_size * c.dim
            read = c.n_params - (not embedding) * table - (not output) * table
            read -= (not norms) * (2 * c.n_layers + 1) * c.dim
            read += looked_up * batch_size * c.dim
            kept = kept_of(context + more, c.window_size or context) if window else context + more
            per_token = k_and_v * (c.n_layers if layers else 1)
            per_token *= (getattr(c, heads) if heads else 1) * (c.head_dim if head_dim else 1)
            kept_values = (batch_size if rows else 1) * kept * per_token * cache
            return size(n_bytes) * (read * (batch_size if weights else 1) + kept_values)

        return function

    def by_part(c: ModelConfig, context: int, batch_size: int, n_bytes: int) -> int:
        cache = batch_size * min(context, c.window_size or context) * c.cache_bytes(1, "int8")
        return n_bytes * (c.n_params - c.vocab_size * c.dim) + cache

    def one_more(c: ModelConfig, context: int, batch_size: int, n_bytes: int) -> int:
        return (
            _step_bytes(c, context, batch_size, n_bytes)
            + batch_size * c.cache_bytes(1, "int8") * n_bytes
        )

    return [
        (counted(embedding=True), "The embedding is only looked up: leave vocab_size * dim out."),
        (counted(embedding=True, weights=True),
         "The matrices are read once for all rows, and the embedding is only looked up."),
        (counted(embedding=True, window=False),
         "The embedding is only looked up, and the cache keeps window_size tokens at most."),
        (counted(embedding=True, rows=False),
         "The embedding is only looked up, and each row of the batch has a cache of its own."),
        (counted(looked_up=True),
         "The rows of the embedding that are looked up are few: leave the embedding out."),
        (counted(kept_of=lambda n, window: window),
         "A row holds context tokens as long as they are fewer than window_size."),
        (counted(kept_of=max), "A row holds the smaller of context and window_size: min, not max."),
        (counted(kept_of=lambda n, window: min(n, window + 1)),
         "The cache keeps window_size tokens, and not one more."),
        (counted(kept_of=lambda n, window: 1),
         "Keys and values of all cached tokens are read, not of one."),
        (counted(head_dim=False), "Each head has head_dim numbers per token."),
        (counted(heads=""), "Each of the n_kv_heads heads has keys and values."),
        (lambda c, n, b, size: _step_bytes(c, n, b, size) // b,
         "Those are the bytes per text; the step reads them for all."),
        (lambda c, n, b, size: _step_bytes(c, n, b, size) + size * c.vocab_size * (c.dim - 1),
         "The embedding has vocab_size * dim numbers, not vocab_size."),
        (counted(output=False), "The output matrix is read, only the embedding is not."),
        (counted(window=False), "The cache keeps window_size tokens at most."),
        (counted(rows=False), "Each row of the batch has a cache of its own."),
        (counted(weights=True), "The matrices are read once for all rows, not once per row."),
        (counted(k_and_v=1), "Keys and values are both read."),
        (counted(heads="n_heads"), "The cache has n_kv_heads heads, not n_heads."),
        (counted(layers=False), "Every layer has a cache."),
        (counted(cache=False), "The keys and values are read, too."),
        (counted(size=lambda n: 1), "Those are numbers, not bytes: multiply by n_bytes."),
        (counted(size=lambda n: 2), "n_bytes is an argument; 2 is bfloat16."),
        (counted(size=lambda n: 8 * n), "Those are bits."),
        (counted(more=1), "context tokens are cached, and not one more."),
        (one_more, "context tokens are cached, window_size at most, and not one more."),
        (counted(norms=False), "The norms are few, but they are read."),
        (by_part, "The cache's numbers take n_bytes, too."),
    ]  # fmt: skip


def _ridge_mistakes() -> Iterable[tuple[Callable[..., int], str]]:
    def rounded(how: Callable[[float], float]) -> Callable[..., int]:
        def function(w: int, c: int, f: int, rate: int, bandwidth: int) -> int:
            gain = f * bandwidth - c * rate
            return int(how(w * rate / gain)) if gain > 0 else 0

        return function

    def at_ridge(w: int, c: int, f: int, rate: int, bandwidth: int) -> int:
        return -(-rate // bandwidth)

    def once(w: int, c: int, f: int, rate: int, bandwidth: int) -> int:
        return -(-(w + c) * rate // (f * bandwidth))

    def unguarded(w: int, c: int, f: int, rate: int, bandwidth: int) -> int:
        gain = f * bandwidth - c * rate
        return -(-w * rate // gain) if gain else 0

    def both_added(w: int, c: int, f: int, rate: int, bandwidth: int) -> int:
        return -(-w * rate // (f * bandwidth + c * rate))

    return [
        (lambda w, c, f, r, b: -(-w * r // (f * b)),
         "The cache is left out. Each row brings its own, so reading grows with the batch, too."),
        (once, "Each row reads a cache of its own, not one for all."),
        (rounded(np.floor), "It is rounded down, and there computing is still the quicker one."),
        (rounded(np.round), "Round up: the batch must be at the ridge or beyond it."),
        (lambda *case: rounded(np.floor)(*case) + 1 if _ridge_batch(*case) else 0,
         "Equal times are enough: round up, and do not add 1."),
        (lambda w, c, f, r, b: once(w, c, f, r, b) if _ridge_batch(w, c, f, r, b) else 0,
         "Each row reads a cache of its own, not one for all."),
        (lambda w, c, f, r, b: _ridge_batch(w + c, c, f, r, b),
         "One cache too many: the weights are read once, and a cache per row."),
        (lambda w, c, f, r, b: abs(unguarded(w, c, f, r, b)),
         "If a row's cache takes longer than its computing, there is no such batch: 0."),
        (lambda w, c, f, r, b: -(-w * r // abs(f * b - c * r)) if f * b != c * r else 0,
         "If a row's cache takes longer than its computing, there is no such batch: 0."),
        (lambda w, c, f, r, b: _ridge_batch(w, c, f, r, b) or -1,
         "Where no batch is large enough, return 0."),
        (lambda w, c, f, r, b: -(-w // (f - c)) if f > c else 0, "The two speeds are not used."),
        (at_ridge, "That is the ridge in operations per byte. How many rows does it take?"),
        (unguarded, "If a row's cache takes longer than its computing, there is no such batch: 0."),
        (both_added, "The cache makes reading longer, so more rows are needed and not fewer."),
        (lambda w, c, f, r, b: max(1, _ridge_batch(w, c, f, r, b)),
         "Where no batch is large enough, return 0."),
        (lambda w, c, f, r, b: -(-w * b // (f * r)), "rate and bandwidth are swapped."),
        (lambda w, c, f, r, b: -(-w // f), "The two speeds are not used."),
        (lambda w, c, f, r, b: _ridge_batch(w, c, f, r, b) - 1,
         "One row too few: there reading still takes longer."),
        (lambda w, c, f, r, b: 0, "Some of the cases have such a batch."),
    ]  # fmt: skip


def _scale_mistakes() -> Iterable[tuple[Callable[..., Array], str]]:
    def scales(of: Callable[[Array], Array]) -> Callable[..., Array]:
        return lambda w: np.where(np.any(w, axis=1), of(w), 0)

    def largest(w: Array) -> Array:
        return np.abs(w).max(axis=1)

    return [
        (scales(lambda w: largest(w) / 128), "divide by 127: int8 ends at 127."),
        (scales(lambda w: largest(w) / 255),
         "255 steps go from minus to plus the largest: divide the largest by 127."),
        (scales(lambda w: 2 * largest(w) / 256), "divide the largest magnitude by 127."),
        (scales(lambda w: largest(w) / 256), "divide by 127: int8 ends at 127."),
        (scales(largest), "divide by 127, so that the largest becomes 127."),
        (scales(lambda w: 127 / largest(w)), "that is the inverse. values * scale gives back w."),
        (scales(lambda w: w.max(axis=1) / 127), "a row's largest may be negative: take np.abs."),
        (scales(lambda w: np.abs(w.max(axis=1)) / 127),
         "take np.abs before max: a row's largest magnitude may be negative."),
        (scales(lambda w: np.ptp(w, axis=1) / 255),
         "that is the range over 255 steps, which needs an offset. Here 0 stays 0: magnitude / "
         "127."),
        (scales(lambda w: np.ptp(w, axis=1) / 127), "take the largest magnitude, not the range."),
        (scales(lambda w: np.full(len(w), np.abs(w).max() / 127)),
         "all rows have the scale of the whole matrix. Take the maximum along axis=1."),
        (scales(lambda w: np.abs(w).mean(axis=1) / 127), "take the maximum, not the mean."),
        (scales(lambda w: w.std(axis=1) / 127), "take the maximum, not the spread."),
        (scales(lambda w: largest(w) / 7), "7 belongs to 4 bits."),
        (scales(lambda w: largest(w) / 127 + 1e-5),
         "a small number is added to every scale. Only a row of zeros needs one: np.maximum."),
    ]  # fmt: skip


def _value_mistakes() -> Iterable[tuple[Callable[..., Array], str]]:
    def values(how: Callable[[Array], Array]) -> Callable[..., Array]:
        def function(w: Array) -> Array:
            return how(w / _int8(w)[1][:, None]).astype(np.int8).astype(float)

        return function

    def wrong(scaled: Callable[[Array, Array], Array]) -> Callable[..., Array]:
        return lambda w: scaled(w, _int8(w)[1][:, None]).astype(np.int8).astype(float)

    return [
        (values(np.trunc), "astype cuts the digits off. Round first: np.rint."),
        (values(np.floor), "it is rounded down. Round to the nearest: np.rint."),
        (values(np.ceil), "it is rounded up. Round to the nearest: np.rint."),
        (values(lambda x: np.rint(np.abs(x))), "the signs are lost."),
        (values(lambda x: np.rint(-x)), "the signs are reversed."),
        (values(lambda x: np.rint(x).clip(0, 127)), "negative weights become 0."),
        (wrong(lambda w, s: np.rint(w * s)), "it multiplies. Divide by the scale."),
        (wrong(lambda w, s: np.rint(w)), "divide by the scale before rounding."),
        (wrong(lambda w, s: np.rint(w) / s), "divide by the scale before rounding."),
        (values(lambda x: np.rint(x).clip(-127, 126)), "the largest must be 127, not 126."),
        (values(lambda x: np.rint(x / 127 * 7)), "7 belongs to 4 bits."),
        (wrong(lambda w, s: np.rint(w / (s + 1e-6))),
         "a small number is added to every scale. Only a row of zeros needs one: np.maximum."),
        (wrong(lambda w, s: np.rint(w / s.mean())), "each row is divided by its own scale."),
    ]  # fmt: skip


def _grouped(w: Array, g: int) -> Array:
    return w.reshape(len(w), -1, g)


def _dealt(w: Array, g: int) -> Array:
    """Groups of every n-th column, in place of neighbours."""
    return w.reshape(len(w), g, -1).swapaxes(1, 2)


def _low_mistakes() -> Iterable[tuple[Callable[..., Array], str]]:
    return [
        (lambda w, g: _dealt(w, g).min(axis=2),
         "the groups are dealt like cards. Neighbours form a group: reshape(out, -1, group)."),
        (lambda w, g: _grouped(w, g).max(axis=2), "that is the largest. low is the smallest."),
        (lambda w, g: np.zeros((len(w), w.shape[1] // g)),
         "16 steps go from the group's smallest weight up, so low is that weight and not 0."),
        (lambda w, g: np.abs(_grouped(w, g)).min(axis=2),
         "take the smallest weight, not the smallest magnitude."),
        (lambda w, g: -np.abs(_grouped(w, g)).max(axis=2),
         "take the smallest weight itself, not minus the largest magnitude."),
        (lambda w, g: _grouped(w, g).mean(axis=2), "take the minimum, not the mean."),
        (lambda w, g: np.repeat(w.min(axis=1, keepdims=True), w.shape[1] // g, axis=1),
         "every group has the minimum of the row. Reduce over axis 2."),
        (lambda w, g: np.full((len(w), w.shape[1] // g), w.min()),
         "every group has the minimum of the whole matrix. Reduce over axis 2."),
        (lambda w, g: _grouped(w, g)[:, :, 0],
         "that is the first weight of each group. low is the smallest."),
        (lambda w, g: _int4(w, g)[2] + 8 * _int4(w, g)[1],
         "that is the middle of the group. low is the smallest."),
        (lambda w, g: _int4(w, g)[1], "scale and low are swapped."),
        (lambda w, g: -8 * np.maximum(np.abs(_grouped(w, g)).max(axis=2), SMALLEST) / 7,
         "those are 8 steps below 0. Here the steps begin at the group's smallest weight."),
    ]  # fmt: skip


def _range_mistakes() -> Iterable[tuple[Callable[..., Array], str]]:
    def ranges(of: Callable[[Array], Array]) -> Callable[..., Array]:
        def function(w: Array, g: int) -> Array:
            return np.where(np.ptp(_grouped(w, g), axis=2) == 0, 0,
                            np.maximum(of(_grouped(w, g)), SMALLEST))  # fmt: skip

        return function

    def span(x: Array) -> Array:
        return np.ptp(x, axis=2)

    return [
        (ranges(lambda x: span(x) / 16), "16 steps have 15 gaps between them: divide by 15."),
        (ranges(lambda x: span(x) / 14), "16 steps have 15 gaps between them: divide by 15."),
        (ranges(lambda x: span(x) / 255), "255 belongs to 8 bits: divide by 15."),
        (ranges(lambda x: span(x) / 7), "7 belongs to steps around 0: divide the range by 15."),
        (ranges(span), "divide the range by 15."),
        (lambda w, g: -ranges(lambda x: span(x) / 15)(w, g),
         "the signs are reversed: largest minus smallest."),
        (ranges(lambda x: 15 / span(x)), "that is the inverse. step * scale + low gives back w."),
        (ranges(lambda x: x.max(axis=2) / 15), "take the range, largest minus smallest."),
        (ranges(lambda x: np.abs(x).max(axis=2) / 15), "take the range, not the magnitude."),
        (ranges(lambda x: np.abs(x).max(axis=2) / 7), "take the range over 15, not a magnitude."),
        (lambda w, g: np.repeat(np.ptp(w, axis=1)[:, None] / 15, w.shape[1] // g, axis=1),
         "every group has the scale of the row. Reduce over axis 2."),
        (ranges(lambda x: span(x) / 15 + 1e-8), "add nothing to a scale: use np.maximum."),
    ]  # fmt: skip


def _pack_mistakes() -> Iterable[tuple[Callable[..., Array], str]]:
    def packed(
        pack: Callable[[Array], Array] = lambda s: s[:, 0::2] << 4 | s[:, 1::2],
        how: Callable[[Array], Array] = np.rint,
    ) -> Callable[..., Array]:
        def function(w: Array, g: int) -> Array:
            _, scale, low = _int4(w, g)
            steps = how((_grouped(w, g) - low[:, :, None]) / scale[:, :, None])
            with np.errstate(all="ignore"):
                steps = steps.astype(int).astype(np.uint8).reshape(w.shape)
            return pack(steps).astype(np.uint8).astype(float)

        return function

    def shifted(by: Callable[[Array, Array], Array]) -> Callable[..., Array]:
        def function(w: Array, g: int) -> Array:
            _, scale, low = _int4(w, g)
            steps = np.rint(by(_grouped(w, g), low[:, :, None]) / scale[:, :, None])
            with np.errstate(all="ignore"):
                steps = steps.astype(int).astype(np.uint8).reshape(w.shape)
            return (steps[:, 0::2] << 4 | steps[:, 1::2]).astype(float)

        return function

    def halves(s: Array) -> Array:
        n = s.shape[1] // 2
        return s[:, :n] << 4 | s[:, n:]

    return [
        (packed(lambda s: s[:, 1::2] << 4 | s[:, 0::2]),
         "the two halves of the byte are swapped: the first of each pair lies in the upper half."),
        (packed(halves),
         "the first half of the row is packed with its second half. Pack neighbours: 0::2, 1::2."),
        (packed(lambda s: s[:, 0::2] | s[:, 1::2]), "the first of each pair must move up: << 4."),
        (packed(lambda s: s[:, 0::2] << 4), "the second of each pair is lost."),
        (packed(lambda s: s[:, 0::2]), "every second weight is lost."),
        (packed(lambda s: s[:, 0::2] << 4 & s[:, 1::2]), "join the two with |, not with &."),
        (packed(lambda s: s[:, 0::2] * 10 + s[:, 1::2]), "a half byte counts to 16: << 4."),
        (packed(lambda s: s[:, 0::2] * 15 + s[:, 1::2]), "a half byte counts to 16: << 4."),
        (packed(lambda s: s[:, 0::2] << 3 | s[:, 1::2]), "a half byte has four bits: << 4."),
        (packed(lambda s: s[:, 0::2] << 8 | s[:, 1::2]), "a half byte has four bits: << 4."),
        (shifted(lambda w, low: w), "subtract low before dividing, so that the steps begin at 0."),
        (shifted(lambda w, low: w + low), "low is added. Subtract it."),
        (packed(lambda s: s[:, 0::2] << 4 + s[:, 1::2]),
         "`+` binds more tightly than `<<`: write (a << 4) + b, or |."),
        (packed(how=np.trunc), "astype cuts the digits off. Round first: np.rint."),
        (packed(how=np.ceil), "it is rounded up. Round to the nearest: np.rint."),
        (packed(how=lambda x: np.rint(x) - 8), "steps count from 0 to 15, not from -8 to 7."),
        (packed(how=lambda x: np.rint(x).clip(0, 14)), "the largest step is 15."),
        (packed(how=lambda x: np.rint(x).clip(0, 7)), "four bits hold 0 to 15, not 0 to 7."),
        (packed(how=lambda x: 15 - np.rint(x)), "the steps count down from the largest."),
    ]  # fmt: skip


def _plan_mistakes() -> Iterable[tuple[Callable[..., list[int]], str]]:
    def shared(
        order: Callable[[list[int]], list[int]] = lambda unread: list(range(len(unread))),
        writes: Callable[[list[int]], int] = lambda unread: 1,
        cost: int = 0,
    ) -> Callable[..., list[int]]:
        def function(unread: list[int], chunk_size: int) -> list[int]:
            lengths, left = [0] * len(unread), chunk_size
            for n in order(unread):
                lengths[n] = min(unread[n], left) if unread[n] else writes(unread)
                left = max(0, left - (lengths[n] if unread[n] else cost))
            return lengths

        return function

    def below_zero(whole: bool, cost: int) -> Callable[[list[int], int], list[int]]:
        def function(unread: list[int], chunk_size: int) -> list[int]:
            lengths, left = [], chunk_size
            for n in unread:
                lengths.append(min(n, left) if n else 1)
                left -= (n if whole else lengths[-1]) if n else cost
            return lengths

        return function

    def all_or_none(unread: list[int], chunk_size: int) -> list[int]:
        lengths, left = [], chunk_size
        for n in unread:
            lengths.append((n if n <= left else 0) if n else 1)
            left -= lengths[-1] if n else 0
        return lengths

    def split(unread: list[int], chunk_size: int) -> list[int]:
        share = chunk_size // max(1, sum(map(bool, unread)))
        return [min(n, share) if n else 1 for n in unread]

    def only_first(unread: list[int], chunk_size: int) -> list[int]:
        first = next((n for n, left in enumerate(unread) if left), -1)
        return [min(left, chunk_size) if n == first else int(not left)
                for n, left in enumerate(unread)]  # fmt: skip

    def until_empty(unread: list[int], chunk_size: int) -> list[int]:
        return [n for n in shared()(unread, chunk_size) if n]

    def reserved(unread: list[int], chunk_size: int) -> list[int]:
        left = chunk_size - unread.count(0)
        return [(n and int(np.clip(n, 0, left))) or int(not n) for n in unread]

    return [
        (shared(writes=lambda unread: 0), "a text that has read its prompt gets a token, too: 1."),
        (shared(writes=lambda unread: int(not any(unread))),
         "the texts that write wait for the prompts. They get 1 in each step."),
        (lambda unread, c: [min(n, c) if n else 1 for n in unread],
         "each prompt gets chunk_size. They share it."),
        (lambda unread, c: [n or 1 for n in unread], "the prompts are read whole."),
        (shared(order=lambda u: list(range(len(u)))[::-1]), "who came first is served first."),
        (shared(order=lambda u: sorted(range(len(u)), key=lambda n: u[n])),
         "the shortest prompt is served first. Go in order of arrival."),
        (shared(order=lambda u: sorted(range(len(u)), key=lambda n: -u[n])),
         "the longest prompt is served first. Go in order of arrival."),
        (split, "the prompts get equal shares. Who came first gets what it needs."),
        (only_first, "what the first prompt leaves goes to the next one."),
        (shared(cost=1),
         "a text that writes takes nothing from chunk_size, which is for prompts."),
        (below_zero(whole=False, cost=1),
         "a text that writes takes nothing from chunk_size, which is for prompts."),
        (below_zero(whole=True, cost=0),
         "what is left falls below 0: subtract what a prompt has read, not all that it has yet to "
         "read."),
        (all_or_none, "a prompt that does not fit waits as a whole. It reads as much as is left."),
        (lambda unread, c: [n - m for n, m in zip(unread, plan_step(unread, c), strict=True)],
         "that is what remains. Return what is read."),
        (reserved, "a text that writes takes nothing from chunk_size, which is for prompts."),
        (until_empty, "a text that must wait gets 0, so that every text has its number."),
        (lambda unread, c: [min(n, c) for n in unread],
         "the prompts share chunk_size, and a text that has read its prompt gets 1."),
        (lambda unread, c: [c] * len(unread), "every text gets chunk_size."),
        (lambda unread, c: [1] * len(unread), "a prompt can read more than one id per step."),
        (lambda unread, c: [n - m if n else 1
                            for n, m in zip(unread, plan_step(unread, c), strict=True)],
         "that is what remains. Return what is read."),
    ]  # fmt: skip


def _diagnose_clock(got: float, launch: float, work: float, first: float) -> None:
    right = (launch + 10 * work) / 10
    if np.isclose(got, right):
        return
    for value, hint in [
        (launch, "fixed still takes the time before the device is done."),
        (10 * launch / 10 + work / 10, "fixed still takes the time before the device is done."),
        (
            launch + work,
            "fixed waits after every run. That is right for one step alone, but here the next run "
            "may be put in the queue meanwhile: wait once, after the loop.",
        ),
        (10 * right, "divide by the ten runs."),
        (10 * right / 11, "ten runs were timed, and not eleven: the warm-up ended before."),
        ((launch + 10 * work + first + work) / 10, "the warm-up is counted: wait before line 3."),
        ((11 * work + first) / 10, "the warm-up is counted: wait before line 3."),
        ((10 * work + first + launch) / 10, "the first run is counted; warm up before line 3."),
        ((11 * work + first + launch) / 11, "the warm-up is counted among the runs."),
    ]:
        expect(not np.isclose(got, value), hint)
    raise Wrong(f"fixed gives {got:g} where ten runs of {work} seconds take {right:g} each.")


def _diagnose_decode(got: Array, wanted: Array, program: Compiled) -> None:
    if not np.allclose(got, wanted):
        row = int(np.argmax(~np.isclose(got, wanted).all(axis=1)))
        raise Wrong(
            f"fixed: step {row} gives another result. The key must be in the cache, at row n, and "
            "n + 1 keys count.",
            Example((), got[row], wanted[row], name="fixed"),
        )
    expect(len(program.shapes) > 0, "fixed never calls program.")
    n = program.n_programs
    expect(n == 1, f"fixed still needs {n} programs for {len(wanted)} steps: the shape changes.")


def _unpack_mistakes() -> Iterable[tuple[Callable[..., Array], str]]:
    def by(
        of: Callable[[Array, Array, int], Array], offset: bool = True, swap: bool = False
    ) -> Callable[..., Array]:
        def function(packed: Array, scale: Array, low: Array, group: int) -> Array:
            steps = np.empty((len(packed), 2 * packed.shape[1]))
            steps[:, swap::2], steps[:, 1 - swap :: 2] = packed >> 4, packed & 15
            n = of(np.arange(steps.shape[1]), scale, group)
            return steps * scale[:, n] + offset * low[:, n]

        return function

    def right(columns: Array, scale: Array, group: int) -> Array:
        return columns // group

    def dealt(columns: Array, scale: Array, group: int) -> Array:
        return columns % scale.shape[1]

    def mixed(of_scale: Callable[..., Array], of_low: Callable[..., Array]) -> Callable[..., Array]:
        def function(packed: Array, scale: Array, low: Array, group: int) -> Array:
            columns = np.arange(2 * packed.shape[1])
            steps = np.stack([packed >> 4, packed & 15], axis=-1).reshape(len(packed), -1)
            lows = low[:, of_low(columns, scale, group)]
            return steps * scale[:, of_scale(columns, scale, group)] + lows

        return function

    return [
        (by(lambda c, s, g: c % s.shape[1]),
         "the groups are dealt like cards. Neighbours form a group."),
        (by(lambda c, s, g: 0 * c), "the whole row has the scale of its first group."),
        (by(lambda c, s, g: np.minimum(c // g + 1, s.shape[1] - 1)), "it is one group too far."),
        (by(lambda c, s, g: (c // g + 1) % s.shape[1]), "it is one group too far."),
        (by(lambda c, s, g: np.minimum(c // (2 * g), s.shape[1] - 1)),
         "group counts weights, not bytes: each byte holds two."),
        (by(lambda c, s, g: np.minimum(c // s.shape[1], s.shape[1] - 1)),
         "divide by the size of a group, not by how many there are."),
        (mixed(right, dealt), "the scales are right, and low is still that of another group."),
        (mixed(dealt, right), "low is right, and the scales are still those of another group."),
        (by(right, offset=False), "low is not added."),
        (by(right, swap=True), "the first of each pair lies in the upper half of the byte."),
    ]  # fmt: skip


def _head_mistakes() -> Iterable[tuple[Callable[..., list[int]], str]]:
    def held(first: Callable[[int, int, int], int], most: int = 0) -> Callable[..., list[int]]:
        def function(p: int, n: int, G: int) -> list[int]:
            per_process = max(1, G // n)
            start = first(p, n, G)
            return list(range(start, start + per_process + most))

        return function

    return [
        (held(lambda p, n, G: p * max(1, G // n) * n // n),
         "with more processes than KV heads it names heads that do not exist."),
        (held(lambda p, n, G: p * (G // n)),
         "with more processes than KV heads G // n is 0, and all of them get the first head."),
        (held(lambda p, n, G: p * max(1, G // n) * G // n), "the total is n_kv_heads, as it is."),
        (held(lambda p, n, G: p * n // n),
         "the heads are counted as if there were one per process: the total is n_kv_heads."),
        (lambda p, n, G: [p * G // n],
         "with fewer processes than KV heads each holds several: per_process of them."),
        (lambda p, n, G: list(range(p * G // n, p * G // n + G // n)),
         "with more processes than KV heads they get none. Line 1 was right: one at least."),
        (held(lambda p, n, G: p * max(1, G // n) % G),
         "the heads are dealt like cards. Neighbouring processes have neighbouring query heads, "
         "and these share a KV head."),
        (held(lambda p, n, G: 0), "every process has the first heads."),
        (held(lambda p, n, G: min(p * max(1, G // n), G - max(1, G // n))),
         "the last head goes to all that are left. Processes share each head evenly."),
        (held(lambda p, n, G: p * G // n, most=1), "one head too many."),
        (lambda p, n, G: list(range(G)), "every process holds all heads; that saves no memory."),
        (lambda p, n, G: list(range(p * G // n, (p + 1) * G // n)),
         "with more processes than KV heads some get none. Each needs the one its queries read."),
    ]  # fmt: skip
