"""The state from which training resumes, in training_state.safetensors.

It holds the weights, both moments of AdamW, the sums for the averaged model, the vocabulary, and
the log; beside them what a run must have in common with the one it continues.
"""

import json
import math
import os
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from minimistral._arguments import require_count, require_number

if TYPE_CHECKING:
    from minimistral.training.run import Run

STATE_FILE = "training_state.safetensors"  # removed when training ends
PARTS = ("weight", "first_moment", "second_moment", "sum")  # of each weight
VOCABULARY = "vocabulary"


def save_state(training: "Run") -> None:
    """Write the state; the previous one stays until the new one is complete."""
    tensors = {VOCABULARY: torch.from_numpy(np.frombuffer(training.vocabulary, np.uint8).copy())}
    for name, weight in training.trained.items():
        moments = training.optimizer.state[weight]
        moved = [moments["exp_avg"], moments["exp_avg_sq"]]
        values = [weight.detach(), *moved, training.weight_sums[name]]
        tensors |= {f"{part}.{name}": value for part, value in zip(PARTS, values, strict=True)}
    progress = {
        "step": training.step, "seconds": training.seconds, "log": training.log,
        "decides": training.decides(),
        "vocabulary": sha256(training.vocabulary).hexdigest(),
    }  # fmt: skip
    new_file = training.folder / (STATE_FILE + ".new")
    save_file(tensors, new_file, metadata={"progress": json.dumps(progress)})
    os.replace(new_file, training.folder / STATE_FILE)


class State:
    """A state that was read; `State.read` raises when there is none, or it cannot be used."""

    def __init__(self, file: Path, progress: Any, tensors: Mapping[str, torch.Tensor]):
        self.file, self.tensors = file, tensors
        try:
            self.step = require_count("step", progress["step"])
            self.seconds = require_number("seconds", progress["seconds"], low=0)
            self.log, self.decides = progress["log"], progress["decides"]
            self.vocabulary = bytes(tensors[VOCABULARY].numpy())
            if not isinstance(self.log, list) or not isinstance(self.decides, dict):
                raise TypeError("log must be a list, and decides an object")
            if sha256(self.vocabulary).hexdigest() != progress["vocabulary"]:
                raise ValueError("the vocabulary is not the one that was written")
            for line in self.log:
                for name in ("step", "seconds", "training", "held_out"):
                    require_number(f"log: {name}", line[name])
        except (KeyError, TypeError, ValueError) as error:
            reason = f"it has no {error}" if isinstance(error, KeyError) else error
            raise self.damaged(reason) from None

    @classmethod
    def read(cls, file: Path) -> "State":
        """Raises FileNotFoundError when there is no file, ValueError when it is damaged."""
        if not file.exists():
            raise FileNotFoundError(f"cannot resume: {file.parent} has no {file.name}")
        try:
            with safe_open(file, framework="pt") as state:
                progress = json.loads((state.metadata() or {})["progress"])
                tensors = {name: state.get_tensor(name) for name in state.keys()}
        except KeyError:
            raise _damaged(file, "it has no progress") from None
        except (SafetensorError, ValueError, RuntimeError) as error:
            raise _damaged(file, error) from None
        return cls(file, progress, tensors)

    def damaged(self, reason: Any) -> ValueError:
        return _damaged(self.file, reason)

    def require_same(self, decides: Mapping[str, Any], steps: int) -> None:
        """Raise ValueError, naming the first number that differs from the earlier run's."""
        for name, value in decides.items():
            if name not in self.decides:
                raise self.damaged(f"it has no {name!r}")
            if value != self.decides[name]:
                raise ValueError(f"cannot resume: {name} was {self.decides[name]}, now {value}")
        if self.step > steps:
            raise self.damaged(f"step must be at most {steps}, not {self.step}")

    def continue_in(self, training: "Run") -> None:
        """Give a new run what this state holds. Raises ValueError when something is missing."""
        weights = training.trained
        found = {name: self._parts(name, weight) for name, weight in weights.items()}
        for name, weight in weights.items():
            values, first, second, weight_sum = found[name]
            with torch.no_grad():
                weight.copy_(values)
            training.weight_sums[name].copy_(weight_sum)
            training.optimizer.state[weight] = {
                "step": torch.tensor(float(self.step)),
                "exp_avg": first.to(weight.device),
                "exp_avg_sq": second.to(weight.device),
            }
        training.step, training.seconds, training.log = self.step, self.seconds, self.log

    def _parts(self, name: str, weight: torch.Tensor) -> list[torch.Tensor]:
        parts = []
        for part in PARTS:
            value = self.tensors.get(f"{part}.{name}")
            if value is None:
                raise self.damaged(f"it has no {part}.{name}")
            if value.shape != weight.shape or value.dtype != weight.dtype:
                expected, held = (f"{t.dtype} {tuple(t.shape)}" for t in (weight, value))
                raise self.damaged(f"{part}.{name} must be {expected}, not {held}")
            if not math.isfinite(value.abs().sum().item()):
                raise self.damaged(f"{part}.{name} holds NaN or infinity")
            parts.append(value)
        return parts


def _damaged(file: Path, reason: Any) -> ValueError:
    return ValueError(f"cannot resume: {file} is damaged or of another version: {reason}")
