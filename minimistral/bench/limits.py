"""What this machine can do at most: how fast it reads memory and multiplies matrices."""

from typing import Any

import numpy as np
import torch

from minimistral.bench.timing import in_turns


def of_cpu(seconds: float) -> dict[str, float]:
    """What one can do in float32, by NumPy's BLAS.

    read: bytes/s of a sum of squares over memory; sgemv: bytes/s of a matrix that comes from
    memory, times a vector; sgemm: FLOP/s of a product of matrices.
    """
    rng = np.random.default_rng(0)
    matrix = rng.standard_normal((4096, 14336), np.float32)  # w1 of Mistral 7B: 235 MB
    flat, vector = matrix.reshape(-1), rng.standard_normal(14336, np.float32)
    square = matrix[:1024, :1024].copy()
    found = in_turns(
        {
            "read": lambda: flat @ flat,
            "sgemv": lambda: matrix @ vector,
            "sgemm": lambda: square @ square,
        },
        seconds,
    )
    return {
        "read": matrix.nbytes / found["read"]["median"],
        "sgemv": matrix.nbytes / found["sgemv"]["median"],
        "sgemm": 2 * 1024**3 / found["sgemm"]["median"],
    }


def of_gpu(seconds: float, device: str = "cuda", size: int = 8192) -> dict[str, float]:
    """What it can do in bfloat16.

    copy: bytes/s read and written by a copy; matmul: FLOP/s of a product of matrices.
    """
    source = torch.empty(2**16 * size, dtype=torch.int8, device=device)
    target = torch.empty_like(source)
    square = torch.randn(size, size, device=device).bfloat16()
    wait: Any = torch.cuda.synchronize if device == "cuda" else lambda: None
    runs = {"copy": lambda: target.copy_(source), "matmul": lambda: square @ square}
    found = in_turns(runs, seconds, wait)
    return {
        "copy": 2 * source.nbytes / found["copy"]["median"],
        "matmul": 2 * size**3 / found["matmul"]["median"],
    }
