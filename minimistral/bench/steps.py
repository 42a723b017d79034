"""How long a step of several texts takes: what the simulation of a server is fed with.

    python -m minimistral.bench.steps --out benchmarks/steps.json

The size is `medium`, in torch and float32, with one thread and a full window in every row. Taken is
the smallest CPU time of several rounds, which other programs on the machine disturb least.
"""

import argparse
import datetime
import json
import sys
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

from minimistral import pt as mp
from minimistral.bench.configs import CONFIGS
from minimistral.bench.engines import Ours, fill
from minimistral.bench.report import environment
from minimistral.config import ModelConfig

ROWS = (1, 2, 4, 8, 16, 32, 64)
CHUNKS = (8, 16, 32, 64, 128, 256, 512, 1024, 2048)


def measure(
    config: ModelConfig, rows: Sequence[int] = ROWS, chunks: Sequence[int] = CHUNKS, rounds: int = 6
) -> list[dict[str, Any]]:
    """Seconds of a decode step of B rows, and of reading a chunk of one prompt.

    -> a dict per step: `what` is "decode" or "chunk", `n` how many rows or tokens, and `seconds`.
    """
    model, W = mp.Mistral(config), config.window_size or 1
    steps = {("decode", n): Ours(model).decode(W, n) for n in rows}
    steps |= {("chunk", n): chunk_step(model, W, n) for n in chunks}
    best = dict.fromkeys(steps, float("inf"))
    for _ in range(rounds + 1):  # the first warms up, and may be the quickest all the same
        for key, step in steps.items():
            best[key] = min(best[key], cpu_seconds(step))
    return [{"what": what, "n": n, "seconds": best[what, n]} for what, n in steps]


def chunk_step(model: mp.Mistral, context: int, n: int) -> Callable[[], Any]:
    """Reads n more tokens of a prompt of which `context` were read."""
    cache = model.new_cache(1, context + 10**5)
    fill(cache, context)
    tokens = np.full((1, n), 7)
    return torch.no_grad()(partial(model, tokens, cache, last_only=True))


def cpu_seconds(step: Callable[[], Any]) -> float:
    start = time.process_time()
    step()
    return time.process_time() - start


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    args = parser.parse_args(arguments)
    torch.set_num_threads(1)
    record = {
        "date": datetime.date.today().isoformat(),
        "command": "python -m minimistral.bench.steps --out benchmarks/steps.json",
        "what": "the smallest CPU time of several rounds, config medium, pt, float32",
        **environment("cpu", threads=1),
        "rows": measure(CONFIGS["medium"]),
    }
    args.out.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
