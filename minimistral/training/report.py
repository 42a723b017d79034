"""What a finished training run leaves: the model, its average, and training.json."""

import json
import os
import platform
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from minimistral import pt as mm
from minimistral.evaluation.baselines import baselines
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.training import corpus

if TYPE_CHECKING:
    from minimistral.training.loop import Training

REPORT_FILE = "training.json"
TOKENIZER_FILE = "tokenizer.model"
AVERAGE_FOLDER = "averaged"


def save_models(training: "Training") -> dict[str, mm.Mistral]:
    """Save the model, and the averaged one into a folder of its own: name -> model."""
    folder, n_averaged = training.folder, training.settings.average
    models = {"model": training.model.requires_grad_(False)}
    mm.save(models["model"], folder, overwrite=True)
    replace_file(folder / TOKENIZER_FILE, training.vocabulary)
    if not n_averaged:
        remove_average(folder)
    else:
        averaged = training.averaged_model()
        models[f"average of the last {n_averaged} checkpoints"] = averaged
        mm.save(averaged, folder / AVERAGE_FOLDER, overwrite=True)
        replace_file(folder / AVERAGE_FOLDER / TOKENIZER_FILE, training.vocabulary)
    return models


def replace_file(file: Path, content: bytes) -> None:
    """Write a file; the previous one stays until the new one is complete."""
    new_file = file.with_name(file.name + ".new")
    new_file.write_bytes(content)
    os.replace(new_file, file)


def remove_average(folder: Path) -> None:
    """Remove the averaged model of an earlier run, and nothing else that its folder may hold."""
    averaged = folder / AVERAGE_FOLDER
    for name in ("params.json", "consolidated.safetensors", TOKENIZER_FILE):
        (averaged / name).unlink(missing_ok=True)
    if averaged.is_dir() and not any(averaged.iterdir()):
        averaged.rmdir()


def make_report(training: "Training", models: dict[str, mm.Mistral]) -> dict[str, Any]:
    """Measure the models beside the baselines on the held-out text; the contents of the report."""
    text, held_out = training.text, training.held_out
    measured = {
        name: bits_per_byte(model, training.tokenizer, held_out) for name, model in models.items()
    }
    measured |= baselines(text, held_out, training.tokenizer)
    return {
        "held_out_bits_per_byte": {name: round(value, 4) for name, value in measured.items()},
        "settings": asdict(training.settings),
        "parameters": training.config.n_params,
        "bytes": {"training": len(text.encode()), "held_out": len(held_out.encode())},
        "text": {
            "from": "pydoc_data.topics",
            "training": corpus.digest(text),
            "held_out": corpus.digest(held_out),
            "runs of 50 held-out characters that training has too": round(
                corpus.shared(held_out, text), 4
            ),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]},
        "threads": torch.get_num_threads(),
        "seconds": round(training.seconds, 1),
        "log": training.log,
    }


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write training.json, with each entry of the log on a line of its own."""
    text = json.dumps({**report, "log": []}, indent=2, ensure_ascii=False)
    lines = ",\n    ".join(json.dumps(line) for line in report["log"])
    text = text.replace('"log": []', f'"log": [\n    {lines}\n  ]')
    replace_file(folder / REPORT_FILE, f"{text}\n".encode())
