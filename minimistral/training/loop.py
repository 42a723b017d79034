"""Trains the tiny model: `minimistral train`.

A Mistral of about a million parameters learns Python's own reference text (see corpus.py), with
a vocabulary learned from the same text. The mechanisms are those of pt/: training only adds a
loss, DropConnect on the weights, and AdamW.
"""

import math
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.func import functional_call

from minimistral import pt as mm
from minimistral import tokenizer
from minimistral.config import ModelConfig
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.pt.tensors import as_device
from minimistral.training import corpus
from minimistral.training.data import batch_at, learn_vocabulary
from minimistral.training.report import TOKENIZER_FILE, make_report, save_models, write_report
from minimistral.training.run import Run, made, remove_state, require_free, run_with_progress
from minimistral.training.settings import Settings
from minimistral.training.state import STATE_FILE, State
from minimistral.training.weights import drop_weights, initial_model


def train(
    folder: str | Path,
    settings: Settings | None = None,
    *,
    config: ModelConfig | None = None,
    texts: tuple[str, str] | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    device: Any = None,
) -> dict[str, Any]:
    """Train a tiny model into a folder that `load` opens; the report, also in training.json.

    config: the model's shape, ModelConfig.tiny() if None. texts: (training text, held-out text),
    those of corpus.split() if None. resume: continue from the last checkpoint. overwrite: start
    again in a folder that is not empty. progress: show a bar, or a line per checkpoint if piped.
    What the folder holds stays as it is until the first checkpoint, and its model until the
    new one is complete; a run that fails before its first checkpoint leaves nothing.
    Raises FileExistsError, FileNotFoundError, TypeError or ValueError before anything changes.
    """
    require_free(folder, resume, overwrite)
    folder, settings = Path(folder), settings or Settings()
    config, texts = config or ModelConfig.tiny(), texts or corpus.split()
    device = as_device(device)
    if resume:
        state = State.read(folder / STATE_FILE)
        state.require_same(what_decides(settings, config, texts[0]), settings.steps)
        training = Training(folder, settings, config, texts, state.vocabulary, device)
        state.continue_in(training)
    else:
        vocabulary = learn_vocabulary(texts[0], config.vocab_size)
        training = Training(folder, settings, config, texts, vocabulary, device)
    with made(folder):
        run_with_progress(training, progress)
    report = make_report(training, save_models(training))
    write_report(folder, report)
    remove_state(folder)
    return report


def what_decides(settings: Settings, config: ModelConfig, text: str) -> dict[str, Any]:
    """All that must be the same in a run that continues another."""
    return {**asdict(settings), **asdict(config), "text": corpus.digest(text)}


class Training(Run):
    """A run that learns a text from the start. texts: (training, held-out).

    vocabulary: the contents of the tokenizer's file.
    """

    def __init__(
        self,
        folder: Path,
        settings: Settings,
        config: ModelConfig,
        texts: tuple[str, str],
        vocabulary: bytes,
        device: Any = None,
    ):
        model = initial_model(config, settings.seed, device)
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / TOKENIZER_FILE).write_bytes(vocabulary)
            super().__init__(folder, settings, model, tokenizer.load(Path(name) / TOKENIZER_FILE))
        self.text, self.held_out = texts
        self.ids = np.array(self.tokenizer.encode(self.text))
        if len(self.ids) <= settings.seq_len + 1:
            raise ValueError(f"seq_len must be below the text's {len(self.ids)} tokens")

    @property
    def per_step(self) -> int:
        return self.settings.batch_size * self.settings.seq_len

    def batch_loss(self) -> tuple[torch.Tensor, float]:
        """The loss of pieces of the text, and what makes it bits per byte of that text."""
        tokens, targets = batch_at(self.ids, self.step, self.settings)
        weights = drop_weights(self.trained, self.step, self.settings)
        logits = functional_call(self.model, weights, (tokens,)).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(targets).flatten().to(logits.device)
        )
        return loss, len(self.ids) / len(self.text.encode()) / math.log(2)

    def measure(self) -> dict[str, float]:
        return {"held_out": bits_per_byte(self.model, self.tokenizer, self.held_out)}

    def decides(self) -> dict[str, Any]:
        return what_decides(self.settings, self.config, self.text)

    def averaged_model(self) -> mm.Mistral:
        """The mean of the last checkpoints."""
        return mm.Mistral(self.config, self.averaged_weights())
