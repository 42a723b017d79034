"""The limits of this machine: how fast it reads memory and multiplies matrices."""

from typing import Any

import numpy as np
import torch

from minimistral.bench.timing import in_turns


def cpu_limits(seconds: float) -> dict[str, float]:
    """The limits of a CPU in float32, with NumPy's BLAS.

    read: bytes/s of a sum of squares; sgemv: bytes/s of a matrix in memory times a vector;
    sgemm: FLOP/s of a matrix product.
    """
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((4096, 14336), np.float32)  # w1 of Mistral 7B: 235 MB
    flat, vector = matrix.reshape(-1), rng.standard_normal(14336, np.float32)
    square = matrix[:1024, :1024].copy()
    times = in_turns(
        {
            "read": lambda: flat @ flat,
            "sgemv": lambda: matrix @ vector,
            "sgemm": lambda: square @ square,
        },
        seconds,
    )
    return {
        "read": matrix.nbytes / times["read"]["median"],
        "sgemv": matrix.nbytes / times["sgemv"]["median"],
        "sgemm": 2 * 1024**3 / times["sgemm"]["median"],
    }


def gpu_limits(seconds: float, device: str = "cuda", size: int = 8192) -> dict[str, float]:
    """The limits of a GPU in bfloat16.

    copy: bytes/s read and written by a copy; matmul: FLOP/s of a matrix product.
    """
    source = torch.empty(2**16 * size, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    square = torch.randn(size, size, device=device).bfloat16()
    wait: Any = torch.cuda.synchronize if device == "cuda" else lambda: None
    runs = {"copy": lambda: target.copy_(source), "matmul": lambda: square @ square}
    times = in_turns(runs, seconds, wait)
    return {
        "copy": 2 * source.nbytes / times["copy"]["median"],
        "matmul": 2 * size**3 / times["matmul"]["median"],
    }
