"""Does averaging checkpoints help? Early, late and as a moving average, over several seeds.

    python -m minimistral.training.averaging

It trains the tiny configuration for a thousand steps, six times: three seeds, each with a learning
rate that falls to nearly 0 and with one that stays. Averaged are five checkpoints, the last and
four before it (Izmailov et al. 2018), and every step so far with a share that decays, which is an
exponential moving average. The results go to averaging.json in the folder of the tiny model.
"""

import argparse
import json
import platform
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral import pt as mm
from minimistral import tiny, tokenizer
from minimistral.config import ModelConfig
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.training import corpus
from minimistral.training.data import batch_at
from minimistral.training.optimizer import learning_rate_at, make_optimizer
from minimistral.training.report import replace_file
from minimistral.training.settings import Settings
from minimistral.training.weights import initial_model

Weights = dict[str, torch.Tensor]
FILE = "averaging.json"
N_CHECKPOINTS, DECAY = 5, 0.98  # of the average; of the moving average, a step
SETTINGS = Settings(steps=1000, seq_len=128, warmup=50, dropout=0.0)
# step -> steps between the checkpoints that are averaged there: very early, early, at the end
LOOKED_AT = {50: 10, 250: 50, 1000: 50}


def train(
    config: ModelConfig, ids: np.ndarray, settings: Settings, falls: bool
) -> Iterator[tuple[int, Weights, Weights, Weights]]:
    """Train; at each step of LOOKED_AT (step, weights, average of checkpoints, moving average).

    falls: the learning rate is a cosine's; otherwise it stays at its peak after the warm-up.
    """
    model = initial_model(config, settings.seed)
    optimizer = make_optimizer(model, settings)
    weights = {name: weight.detach() for name, weight in model.weights.items()}
    moving = {name: weight.clone() for name, weight in weights.items()}
    kept: dict[int, Weights] = {}
    for step in range(settings.steps):
        tokens, targets = batch_at(ids, step, settings)
        optimizer.zero_grad()
        logits = model(torch.from_numpy(tokens.copy()))
        loss = torch.nn.functional.cross_entropy(logits.mT, torch.from_numpy(targets.copy()))
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        rate = learning_rate_at(step if falls else min(step, settings.warmup), settings)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        for name, weight in weights.items():
            moving[name].lerp_(weight, 1 - DECAY)
        done = step + 1
        if any(done in averaged_at(end) for end in LOOKED_AT):
            kept[done] = {name: weight.clone() for name, weight in weights.items()}
        if done in LOOKED_AT:
            yield done, weights, average([kept[n] for n in averaged_at(done)]), moving


def averaged_at(step: int) -> range:
    """The steps whose checkpoints are averaged at a step of LOOKED_AT.

    >>> list(averaged_at(50))
    [10, 20, 30, 40, 50]
    """
    gap = LOOKED_AT[step]
    return range(step - (N_CHECKPOINTS - 1) * gap, step + 1, gap)


def average(checkpoints: list[Weights]) -> Weights:
    """The mean of several models' weights, summed in float64.

    >>> average([{"w": torch.tensor([1.0])}, {"w": torch.tensor([2.0])}])
    {'w': tensor([1.5000])}
    """
    n, first = len(checkpoints), checkpoints[0]
    stacked = {name: torch.stack([c[name].double() for c in checkpoints]) for name in first}
    return {name: (s.sum(dim=0) / n).to(first[name].dtype) for name, s in stacked.items()}


def measure(
    seeds: tuple[int, ...] = (0, 1, 2),
    settings: Settings = SETTINGS,
    config: ModelConfig | None = None,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Bits per byte of held-out text: a line for each seed, schedule and step looked at."""
    config, (text, held_out) = config or ModelConfig.tiny(), corpus.split()
    words = tokenizer.load(tiny.FOLDER / "tokenizer.model")
    ids = np.array(words.encode(text))
    runs = [(seed, falls) for seed in seeds for falls in (True, False)]
    lines = []
    for seed, falls in tqdm(runs, disable=not progress):
        own = Settings(**{**asdict(settings), "seed": seed})
        for step, *models in train(config, ids, own, falls):
            with torch.no_grad():
                bits = [bits_per_byte(mm.Mistral(config, m), words, held_out) for m in models]
            names = ("last", "average", "moving")
            lines.append(
                {"seed": seed, "rate": "falls" if falls else "stays", "step": step}
                | {name: round(b, 4) for name, b in zip(names, bits, strict=True)}
            )
    return lines


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=tiny.FOLDER / FILE)
    out = parser.parse_args().out
    record = {
        "command": "python -m minimistral.training.averaging",
        "settings": asdict(SETTINGS) | {"checkpoints": N_CHECKPOINTS, "decay": DECAY},
        "versions": {"python": platform.python_version(), "torch": torch.__version__},
        "held_out_bits_per_byte": measure(progress=True),
    }
    replace_file(out, f"{json.dumps(record, indent=2)}\n".encode())


if __name__ == "__main__":
    main()
