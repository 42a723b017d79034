"""What a model of the tiny configuration writes while it learns.

    python -m minimistral.training.samples

A run of a thousand steps, the first of averaging.py. For each step of LOOKED_AT samples.json, in
the folder of the tiny model, gets the bits per byte of the training text so far and of held-out
text, and a text that the model continues.
"""

import argparse
import json
import platform
import tempfile
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch

from minimistral import pt as mm
from minimistral import tiny
from minimistral.config import ModelConfig
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.training import corpus
from minimistral.training.averaging import SETTINGS
from minimistral.training.data import learn_vocabulary
from minimistral.training.loop import Training
from minimistral.training.report import replace_file
from minimistral.training.settings import Settings

FILE = "samples.json"
LOOKED_AT = (0, 10, 25, 50, 100, 150, 250, 400, 600, 800, 1000)
PROMPT = "If the"
HOW = {"max_new_tokens": 70, "temperature": 0.7, "seed": 0}


def measure(
    settings: Settings,
    looked_at: Sequence[int] = LOOKED_AT,
    config: ModelConfig | None = None,
    texts: tuple[str, str] | None = None,
    progress: bool = False,
) -> list[dict[str, Any]]:
    """Train from the start to the last step looked at: a line for each step of `looked_at`.

    A line holds the step, "training" and "held_out", both in bits per byte, and the text.
    "training" is the mean since the line before, and None at step 0.
    """
    config, texts = config or ModelConfig.tiny(), texts or corpus.split()
    vocabulary = learn_vocabulary(texts[0], config.vocab_size)
    with tempfile.TemporaryDirectory() as folder:
        training = Training(Path(folder), settings, config, texts, vocabulary)
        lines, losses = [_look(training, [])] if 0 in looked_at else [], list[float]()
        for loss, _ in training.run():
            losses.append(loss)
            if training.step in looked_at:
                lines.append(_look(training, losses))
                losses.clear()
                if progress:
                    print(json.dumps(lines[-1]), flush=True)
            if training.step >= max(looked_at):
                break
    return lines


def _look(training: Training, losses: list[float]) -> dict[str, Any]:
    """What the model of a training knows and writes now; the training is not changed."""
    words = training.tokenizer
    with torch.no_grad():
        model = mm.Mistral(training.config, {n: w.detach() for n, w in training.trained.items()})
        bits = bits_per_byte(model, words, training.held_out)
        new = mm.generate(model, words.encode(PROMPT), **HOW)
    learned = round(sum(losses) / len(losses), 4) if losses else None
    numbers = {"training": learned, "held_out": round(bits, 4)}
    return {"step": training.step, **numbers, "text": words.decode(new)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, allow_abbrev=False)
    parser.add_argument("--out", type=Path, default=tiny.FOLDER / FILE)
    out = parser.parse_args().out
    record = {
        "command": "python -m minimistral.training.samples",
        "settings": asdict(SETTINGS),
        "prompt": PROMPT,
        "sampling": HOW,
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]},
        "threads": torch.get_num_threads(),
        "checkpoints": measure(SETTINGS, progress=True),
    }
    replace_file(out, f"{json.dumps(record, indent=2, ensure_ascii=False)}\n".encode())


if __name__ == "__main__":
    main()
