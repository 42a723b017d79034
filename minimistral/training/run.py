"""A training run: steps, checkpoints, the log, and how it is stopped and resumed.

What a batch is, what it costs and what is measured belongs to a kind of training: to `Training`
in loop.py, which reads a text, or to `FineTuning` in instruct.py, which reads conversations.
"""

import contextlib
import math
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral.training.optimizer import learning_rate_at, make_optimizer
from minimistral.training.settings import Settings
from minimistral.training.state import STATE_FILE, save_state


class Run:
    """A training run, which can be stopped at any time and resumed from its last checkpoint.

    folder: where state, model and report go. model: the model in training, with its tokenizer.
    trained: the weights that a step changes, by name. weight_sums: the sums of these over the last
    checkpoints, of which the average is made.
    """

    unit = "bits/byte"  # of the loss
    counts = " tokens"  # what a step reads `per_step` of

    def __init__(self, folder: Path, settings: Settings, model: Any, tokenizer: Any):
        self.folder, self.settings, self.model = folder, settings, model
        self.config, self.tokenizer = model.config, tokenizer
        self.trained = trained_weights(model)
        self.optimizer = make_optimizer(model, settings)
        self.weight_sums = {
            name: torch.zeros_like(weight.detach()) for name, weight in self.trained.items()
        }
        self.vocabulary = tokenizer.file.read_bytes()
        self.step, self.seconds, self.log = 0, 0.0, list[dict]()

    @property
    def per_step(self) -> int:
        """What a step reads, counted in `counts`."""
        raise NotImplementedError

    def batch_loss(self) -> tuple[torch.Tensor, float]:
        """The loss of this step's batch, to lower, and what to multiply it by for `unit`."""
        raise NotImplementedError

    def measure(self) -> dict[str, float]:
        """What a line of the log holds besides the training loss: "held_out", and others."""
        raise NotImplementedError

    def decides(self) -> dict[str, Any]:
        """All that must be the same in a run that continues another."""
        raise NotImplementedError

    def run(self) -> Iterator[tuple[float, dict | None]]:
        """Train to the end: after each step its loss, and a line of the log at a checkpoint."""
        settings, losses, start = self.settings, [], time.perf_counter() - self.seconds
        while self.step < settings.steps:
            losses.append(self.train_step())
            line = None
            if self.step % settings.checkpoint_every == 0 or self.step == settings.steps:
                with torch.no_grad():
                    measured = self.measure()
                for value in measured.values():
                    self.require_finite(value)
                if self.step > settings.steps - settings.average * settings.checkpoint_every:
                    for name, weight in self.trained.items():
                        self.weight_sums[name] += weight.detach()
                self.seconds = time.perf_counter() - start
                line = {
                    "step": self.step, "seconds": round(self.seconds, 1),
                    "training": round(sum(losses) / len(losses), 4),
                }  # fmt: skip
                line |= {name: round(value, 4) for name, value in measured.items()}
                losses.clear()
                self.log.append(line)
                save_state(self)
            yield (losses or [self.log[-1]["training"]])[-1], line

    def train_step(self) -> float:
        """Read a batch and update the weights; the loss in `unit`."""
        loss, scale = self.batch_loss()
        self.require_finite(loss.item())
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate_at(self.step, self.settings)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.trained.values(), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item() * scale

    def require_finite(self, loss: float) -> None:
        """Raise ValueError when a loss is infinite or NaN."""
        if not math.isfinite(loss):
            raise ValueError(
                f"the loss is {loss} at step {self.step}: lower learning_rate ="
                f" {self.settings.learning_rate:g}"
            )

    def averaged_weights(self) -> dict[str, torch.Tensor]:
        """The mean of the last checkpoints."""
        return {name: total / self.settings.average for name, total in self.weight_sums.items()}


def trained_weights(model: torch.nn.Module) -> dict[str, torch.Tensor]:
    """The weights that take a gradient, by name; raises ValueError when none does."""
    trained: dict[str, torch.Tensor] = {
        name: w for name, w in model.named_parameters() if w.requires_grad
    }
    if not trained:
        raise ValueError("model must have a weight that takes a gradient")
    return trained


def require_free(folder: str | Path, resume: bool, overwrite: bool) -> None:
    """Raise unless a run may begin in this folder."""
    if not str(folder):
        raise ValueError("folder must not be empty")
    folder = Path(folder)
    if not resume and not overwrite and folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: resume continues, overwrite starts again")


def remove_state(folder: Path) -> None:
    (folder / STATE_FILE).unlink(missing_ok=True)


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


def run_with_progress(training: Run, progress: bool) -> None:
    """Train to the end, showing a bar with loss and speed; lines when piped."""
    settings, per_step = training.settings, training.per_step
    bar = tqdm(
        total=settings.steps * per_step, initial=training.step * per_step,
        unit=training.counts, unit_scale=True, disable=not (progress and sys.stderr.isatty()),
    )  # fmt: skip
    with bar:
        for loss, line in training.run():
            bar.set_postfix_str(f"{loss:.3f} {training.unit}", refresh=False)
            bar.update(per_step)
            if line and progress:
                seconds = f"{line['seconds']:.0f} s"
                bar.write(
                    f"step {line['step']} of {settings.steps}, {seconds}: training"
                    f" {line['training']:.3f}, held-out {line['held_out']:.3f} {training.unit}",
                    file=sys.stderr,
                )
