"""Trains the tiny model: `minimistral train`.

A Mistral of about a million parameters learns Python's own reference text (see corpus.py), with
a vocabulary learned from the same text. The mechanisms are those of pt/: training only adds a
loss, DropConnect on the weights, and AdamW.
"""

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.func import functional_call
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral import pt as mm
from minimistral import tokenizer
from minimistral.config import ModelConfig
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.pt.tensors import as_device
from minimistral.training import corpus
from minimistral.training.data import batch_at, learn_vocabulary
from minimistral.training.optimizer import learning_rate_at, make_optimizer
from minimistral.training.report import TOKENIZER_FILE, make_report, save_models, write_report
from minimistral.training.settings import Settings
from minimistral.training.state import STATE_FILE, State, save_state
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
    if not str(folder):
        raise ValueError("folder must not be empty")
    folder, settings = Path(folder), settings or Settings()
    config, texts = config or ModelConfig.tiny(), texts or corpus.split()
    device = as_device(device)
    if not resume and not overwrite and folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: resume continues, overwrite starts again")
    if resume:
        state = State.read(folder / STATE_FILE)
        state.require_same(settings, config, texts[0])
        training = Training(folder, settings, config, texts, state.vocabulary, device)
        state.continue_in(training)
    else:
        vocabulary = learn_vocabulary(texts[0], config.vocab_size)
        training = Training(folder, settings, config, texts, vocabulary, device)
    with made(folder):
        run_with_progress(training, progress)
    report = make_report(training, save_models(training))
    write_report(folder, report)
    (folder / STATE_FILE).unlink(missing_ok=True)
    return report


@contextlib.contextmanager
def made(folder: Path) -> Iterator[None]:
    """Make a folder, if it is missing, in which files can be written; an error removes it again.

    It stays when it holds a file by then.
    """
    missing = [path for path in (folder, *folder.parents) if not path.exists()]
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
        yield
    except BaseException:
        with contextlib.suppress(OSError):  # one that holds something
            for path in missing:
                path.rmdir()
        raise


class Training:
    """A training run, which can be stopped at any time and resumed from its last checkpoint.

    folder: where state, model and report go. texts: (training, held-out). vocabulary: the
    contents of the tokenizer's file.
    weight_sums: the sums of the weights over the last checkpoints, of which the average is made.
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
        self.folder, self.settings, self.config = folder, settings, config
        self.text, self.held_out = texts
        self.vocabulary = vocabulary
        with tempfile.TemporaryDirectory() as name:
            (Path(name) / TOKENIZER_FILE).write_bytes(vocabulary)
            self.tokenizer = tokenizer.load(Path(name) / TOKENIZER_FILE)
        self.ids = np.array(self.tokenizer.encode(self.text))
        if len(self.ids) <= settings.seq_len + 1:
            raise ValueError(f"seq_len must be below the text's {len(self.ids)} tokens")
        self.model = initial_model(config, settings.seed, device)
        self.optimizer = make_optimizer(self.model, settings)
        self.weight_sums = {
            name: torch.zeros_like(weight.detach()) for name, weight in self.model.weights.items()
        }
        self.step, self.seconds, self.log = 0, 0.0, list[dict]()

    def run(self) -> Iterator[tuple[float, dict | None]]:
        """Train to the end: after each step its loss, and a line of the log at a checkpoint."""
        settings, losses, start = self.settings, [], time.perf_counter() - self.seconds
        while self.step < settings.steps:
            losses.append(self.train_step())
            line = None
            if self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                with torch.no_grad():
                    held_out = bits_per_byte(self.model, self.tokenizer, self.held_out)
                self.require_finite(held_out)
                if self.step > settings.steps - settings.average * settings.checkpoint_every:
                    for name, weight in self.model.weights.items():
                        self.weight_sums[name] += weight.detach()
                self.seconds = time.perf_counter() - start
                line = {
                    "step": self.step, "seconds": round(self.seconds, 1),
                    "training": round(sum(losses) / len(losses), 4), "held_out": round(held_out, 4),
                }  # fmt: skip
                losses.clear()
                self.log.append(line)
                save_state(self)
            yield (losses or [self.log[-1]["training"]])[-1], line

    def train_step(self) -> float:
        """Read a batch and update the weights; the loss in bits per byte of the training text."""
        settings = self.settings
        tokens, targets = batch_at(self.ids, self.step, settings)
        weights = drop_weights(self.model.weights, self.step, settings)
        logits = functional_call(self.model, weights, (tokens,)).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(targets).flatten().to(logits.device)
        )
        self.require_finite(loss.item())
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, settings)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.model.weights.values(), 1.0)
        self.optimizer.step()
        self.step += 1
        tokens_per_byte = len(self.ids) / len(self.text.encode())
        return loss.item() / math.log(2) * tokens_per_byte

    def require_finite(self, loss: float) -> None:
        """Raise ValueError when a loss is infinite or NaN."""
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} at step {self.step}: lower learning_rate ="
                f" {self.settings.learning_rate:g}"
            )

    def averaged_model(self) -> mm.Mistral:
        """The mean of the last checkpoints."""
        n = self.settings.average
        weights = {name: weight_sum / n for name, weight_sum in self.weight_sums.items()}
        return mm.Mistral(self.config, weights)


def run_with_progress(training: Training, progress: bool) -> None:
    """Train to the end, showing a bar with the loss and tokens per second; lines when piped."""
    settings = training.settings
    tokens_per_step = settings.batch_size * settings.seq_len
    bar = tqdm(
        total=settings.steps * tokens_per_step, initial=training.step * tokens_per_step,
        unit=" tokens", unit_scale=True, disable=not (progress and sys.stderr.isatty()),
    )  # fmt: skip
    with bar:
        for loss, line in training.run():
            bar.set_postfix_str(f"{loss:.3f} bits/byte", refresh=False)
            bar.update(tokens_per_step)
            if line and progress:
                seconds = f"{line['seconds']:.0f} s"
                bar.write(
                    f"step {line['step']} of {settings.steps}, {seconds}: training"
                    f" {line['training']:.3f}, held-out {line['held_out']:.3f} bits/byte",
                    file=sys.stderr,
                )
