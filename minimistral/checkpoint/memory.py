"""Whether the weights fit into memory, which is asked before the first of them is read."""

import math
from collections.abc import Mapping
from typing import Any

from minimistral.config import ModelConfig, bytes_per_value

PACKED_BYTES = {"int8": 1.0, "int4": 0.5625}  # per parameter; int4 has scales for groups of 32


def free_memory() -> int:
    """Bytes of the machine's memory that programs can still take."""
    import psutil  # type: ignore[import-untyped]

    return int(psutil.virtual_memory().available)


def needed_bytes(config: ModelConfig, dtype: Any, quantize: str | None = None) -> int:
    """Bytes that loading takes at its peak: all weights, and the one that is being converted.

    Packing takes three copies of a weight in float32. Mistral 7B v0.3, in GiB:

    >>> seven = ModelConfig.mistral_7b("v0.3")
    >>> ways = ("float32", None), ("bfloat16", None), ("bfloat16", "int8")
    >>> [round(needed_bytes(seven, *way) / 2**30, 1) for way in ways]
    [27.5, 13.8, 8.4]
    """
    size = bytes_per_value(dtype)
    largest = max(math.prod(shape) for shape in config.weight_shapes().values())
    if quantize is None:
        return size * (config.n_params + largest)
    plain = config.params_by_part()["embedding"]  # see pt/quantize.py
    packed = round((config.n_params - plain) * PACKED_BYTES[quantize])
    return size * plain + packed + 3 * 4 * largest


def require_memory(
    checkpoint: Any,
    dtype: str,
    quantize: str | None = None,
    free: int | None = None,
    *,
    ways: Mapping[str, str],
) -> None:
    """Raise MemoryError when the weights need more memory than is free; it says what would fit.

    A machine that runs out of memory may stop, so this comes before the first weight is read.
    free: bytes; those of the machine if None. ways: how the caller spells what needs less memory:
    "bfloat16", "int8", and "mmap", which leaves the matrices in their file.
    """
    free = free_memory() if free is None else free
    needed = needed_bytes(checkpoint.config, dtype, quantize)
    if needed <= free:
        return
    less = {
        "bfloat16": needed_bytes(checkpoint.config, "bfloat16", quantize),
        "int8": needed_bytes(checkpoint.config, dtype, "int8"),
        "mmap": 0 if checkpoint.pickled is None else math.inf,
    }
    fitting = [words for way, words in ways.items() if less[way] <= free]
    helps = f"; these would fit: {', '.join(fitting)}" if fitting else ""
    raise MemoryError(
        f"the weights in {quantize or dtype} need {needed / 2**30:.1f} GiB,"
        f" but {free / 2**30:.1f} GiB are free{helps}"
    )
