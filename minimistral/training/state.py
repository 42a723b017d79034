"""The state from which training resumes, in training_state.safetensors.

It holds the weights, both moments of AdamW, the sums for the averaged model, and the log.
"""

import json
import os
from dataclasses import asdict
from typing import TYPE_CHECKING

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from minimistral.training import corpus

if TYPE_CHECKING:
    from minimistral.training.loop import Training

STATE_FILE = "training_state.safetensors"  # removed when training ends


def save_state(training: "Training") -> None:
    """Write the state; the previous one stays until the new one is complete."""
    tensors = {}
    for name, weight in training.model.weights.items():
        moments = training.optimizer.state[weight]
        tensors[f"weight.{name}"] = weight.detach()
        tensors[f"first_moment.{name}"] = moments["exp_avg"]
        tensors[f"second_moment.{name}"] = moments["exp_avg_sq"]
        tensors[f"sum.{name}"] = training.weight_sums[name]
    progress = {
        "step": training.step, "seconds": training.seconds, "log": training.log,
        "settings": asdict(training.settings), "text": corpus.digest(training.text),
    }  # fmt: skip
    new_file = training.folder / (STATE_FILE + ".new")
    save_file(tensors, new_file, metadata={"progress": json.dumps(progress)})
    os.replace(new_file, training.folder / STATE_FILE)


def load_state(training: "Training") -> None:
    """Continue from the last checkpoint.

    Raises FileNotFoundError when there is none, and ValueError when it belongs to a run with
    other settings or another text.
    """
    file = training.folder / STATE_FILE
    if not file.exists():
        raise FileNotFoundError(f"cannot resume: {training.folder} has no {STATE_FILE}")
    with safe_open(file, framework="pt") as state:
        progress = json.loads(state.metadata()["progress"])
        before = {**progress["settings"], "text": progress["text"]}
        now = {**asdict(training.settings), "text": corpus.digest(training.text)}
        for name, value in now.items():
            if value != before[name]:
                raise ValueError(f"cannot resume: {name} was {before[name]}, now {value}")
        for name, weight in training.model.weights.items():
            with torch.no_grad():
                weight.copy_(state.get_tensor(f"weight.{name}"))
            training.weight_sums[name].copy_(state.get_tensor(f"sum.{name}"))
            training.optimizer.state[weight] = {
                "step": torch.tensor(float(progress["step"])),
                "exp_avg": state.get_tensor(f"first_moment.{name}").to(weight.device),
                "exp_avg_sq": state.get_tensor(f"second_moment.{name}").to(weight.device),
            }
    training.step, training.seconds = progress["step"], progress["seconds"]
    training.log = progress["log"]
