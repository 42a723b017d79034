"""Trains the tiny model: `minimistral train`.

A Mistral of about a million parameters learns Python's own reference text (see corpus.py), with
a vocabulary learned from the same text. Its mechanisms are those of pt/: training only adds a
loss, noise on the weights, and AdamW.
"""

import io
import json
import math
import os
import platform
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import safe_open
from safetensors.torch import save_file
from sentencepiece import SentencePieceTrainer
from tqdm.auto import tqdm  # type: ignore[import-untyped]

from minimistral import pt as mm
from minimistral import tokenizer
from minimistral._arguments import require_count, require_number
from minimistral.config import ModelConfig
from minimistral.evaluation import bits_per_byte as bits
from minimistral.pt.cache import as_device
from minimistral.training import corpus

STATE_FILE = "training_state.safetensors"  # all that is needed to go on; removed at the end
REPORT_FILE = "training.json"
TOKENIZER_FILE = "tokenizer.model"
AVERAGE_FOLDER = "averaged"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the trained weights, beside the text.

    steps, warmup, every: in steps; every: a checkpoint and a line of the log. rows: texts of a
    step. length: tokens of a row. dropout: the share of numbers of each matrix that a step sets
    to 0. average: how many of the last checkpoints to average as well; 0 is none.
    Raises TypeError or ValueError, naming the setting.
    """

    steps: int = 7000
    rows: int = 4
    length: int = 256
    learning_rate: float = 6e-3
    warmup: int = 100
    weight_decay: float = 0.1
    dropout: float = 0.25
    average: int = 0
    every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if field.type is int:
                may_be_0 = field.name in ("warmup", "average", "seed")
                require_count(field.name, value, minimum=0 if may_be_0 else 1)
        require_number("learning_rate", self.learning_rate, above=0)
        require_number("weight_decay", self.weight_decay, low=0)
        if require_number("dropout", self.dropout, low=0) >= 1:
            raise ValueError(f"dropout must be below 1, not {self.dropout}")
        if self.average * self.every > self.steps:
            raise ValueError(
                f"average must be at most steps / every = {self.steps // self.every},"
                f" not {self.average}"
            )


def learn_vocabulary(text: str, vocab_size: int) -> bytes:
    """A SentencePiece model of byte pairs merged as the text has them (Sennrich et al. 2016).

    As in Mistral's own tokenizer there are ids for all bytes, so any text can be spelled, and
    spaces and line ends are kept as they are. Raises ValueError when vocab_size is less than the
    bytes and letters of the text, or more than it has to merge.
    """
    model = io.BytesIO()
    try:
        SentencePieceTrainer.train(
            sentence_iterator=iter(text.split("\n\n\n")), model_writer=model, model_type="bpe",
            vocab_size=vocab_size, byte_fallback=True, split_digits=True,
            normalization_rule_name="identity", remove_extra_whitespaces=False,
            allow_whitespace_only_pieces=True, max_sentence_length=2**20, num_threads=1,
            minloglevel=2,
        )  # fmt: skip
    except RuntimeError as error:
        raise ValueError(f"vocab_size must suit the text, not {vocab_size}: {error}") from None
    return model.getvalue()


def initial_weights(config: ModelConfig, seed: int, device: Any = None) -> dict[str, torch.Tensor]:
    """Random weights; what a layer adds is small at first (Radford et al. 2019)."""
    weights = mm.Mistral(config, seed=seed, device=device).weights
    for name, weight in weights.items():
        if name.endswith(("attention.wo.weight", "feed_forward.w2.weight")):
            weight /= math.sqrt(2 * config.n_layers)
        weight.requires_grad_()
    return weights


def rate_at(step: int, settings: Settings) -> float:
    """The learning rate of a step: a straight rise, then half a cosine down to 2 % (SGDR, 2017).

    >>> s = Settings(steps=100, warmup=10, every=10, learning_rate=1.0)
    >>> [round(rate_at(step, s), 2) for step in (0, 9, 10, 50, 99)]
    [0.1, 0.98, 0.98, 0.51, 0.02]
    """
    rise = min(1.0, (step + 1) / max(1, settings.warmup))
    fall = 0.5 * (1 + math.cos(math.pi * step / settings.steps))
    return settings.learning_rate * rise * (0.02 + 0.98 * fall)


def batch_at(ids: np.ndarray, step: int, settings: Settings) -> tuple[np.ndarray, np.ndarray]:
    """What a step reads, and what it shall say: two arrays (rows, length), one token apart.

    Seed and step alone decide it, so that training can stop and go on.
    """
    rng = np.random.default_rng([settings.seed, step])
    starts = rng.integers(0, len(ids) - settings.length, settings.rows)
    rows = ids[starts[:, None] + np.arange(settings.length + 1)]
    return rows[:, :-1], rows[:, 1:]


def with_dropout(
    weights: dict[str, torch.Tensor], step: int, settings: Settings
) -> dict[str, torch.Tensor]:
    """The weights of one step: some numbers of each matrix are 0, the others larger for it.

    The model learns not to rely on any of them (Wan et al. 2013, DropConnect). Half as many
    are dropped in the embedding and the output, where each row is a word.
    """
    if settings.dropout == 0:
        return weights
    device = weights["norm.weight"].device
    generator = torch.Generator(device).manual_seed(settings.seed * 2**32 + step)

    def drop(name: str, weight: torch.Tensor) -> torch.Tensor:
        if weight.ndim == 1:
            return weight
        by_word = name in ("tok_embeddings.weight", "output.weight")
        keep = 1 - settings.dropout / (2 if by_word else 1)
        return weight * torch.empty_like(weight).bernoulli_(keep, generator=generator) / keep

    return {name: drop(name, weight) for name, weight in weights.items()}


class Training:
    """A training run that can be stopped after any checkpoint and gone on with.

    folder: where tokenizer, state, model and report are. texts: (training, held-out).
    """

    def __init__(self, folder, settings, config, texts, device=None):
        self.folder, self.settings, self.config = folder, settings, config
        self.text, self.held_out = texts
        self.tokenizer = tokenizer.load(folder / TOKENIZER_FILE)
        self.ids = np.array(self.tokenizer.encode(self.text))
        if len(self.ids) <= settings.length + 1:
            raise ValueError(f"length must be below the text's {len(self.ids)} tokens")
        self.weights = initial_weights(config, settings.seed, device)
        matrices = [w for w in self.weights.values() if w.ndim > 1]
        norms = [w for w in self.weights.values() if w.ndim == 1]
        self.optimizer = torch.optim.AdamW(
            [
                {"params": matrices, "weight_decay": settings.weight_decay},
                {"params": norms, "weight_decay": 0.0},
            ],
            betas=(0.9, 0.95),
        )
        self.total = {name: torch.zeros_like(w.detach()) for name, w in self.weights.items()}
        self.step, self.seconds, self.log = 0, 0.0, []

    def model(self, weights=None):
        """The model as it is now, without dropout."""
        weights = self.weights if weights is None else weights
        return mm.Mistral(self.config, {name: w.detach() for name, w in weights.items()})

    def averaged(self):
        """The mean of the last checkpoints."""
        n = self.settings.average
        return self.model({name: total / n for name, total in self.total.items()})

    def one_step(self) -> float:
        """Read a batch, move the weights; the loss, in bits a byte of the training text."""
        settings = self.settings
        tokens, targets = batch_at(self.ids, self.step, settings)
        model = mm.Mistral(self.config, with_dropout(self.weights, self.step, settings))
        logits = model(tokens).flatten(0, 1)
        loss = torch.nn.functional.cross_entropy(
            logits, torch.from_numpy(targets).flatten().to(logits.device)
        )
        if not math.isfinite(loss.item()):
            raise ValueError(f"the loss is {loss.item()} at step {self.step}: lower learning_rate")
        for group in self.optimizer.param_groups:
            group["lr"] = rate_at(self.step, settings)
        self.optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(list(self.weights.values()), 1.0)
        self.optimizer.step()
        self.step += 1
        return loss.item() / math.log(2) * len(self.ids) / len(self.text.encode())

    def run(self) -> Iterator[tuple[float, dict | None]]:
        """Train to the end: after each step its loss, and a line of the log at a checkpoint."""
        settings, losses, start = self.settings, [], time.perf_counter() - self.seconds
        while self.step < settings.steps:
            losses.append(self.one_step())
            line = None
            if self.step % settings.every == 0 or self.step == settings.steps:
                with torch.no_grad():
                    held_out = bits.of_model(self.model(), self.tokenizer, self.held_out)
                    if self.step > settings.steps - settings.average * settings.every:
                        for name, total in self.total.items():
                            total += self.weights[name]
                self.seconds = time.perf_counter() - start
                line = {
                    "step": self.step, "seconds": round(self.seconds, 1),
                    "training": round(sum(losses) / len(losses), 4), "held_out": round(held_out, 4),
                }  # fmt: skip
                losses = []
                self.log.append(line)
                self.save_state()
            yield (losses or [self.log[-1]["training"]])[-1], line

    # Stop and go on

    def save_state(self) -> None:
        """Write all that is needed to go on; the old state stays until the new one is complete."""
        tensors = {}
        for name, weight in self.weights.items():
            moments = self.optimizer.state[weight]
            tensors[f"weight.{name}"] = weight.detach()
            tensors[f"first.{name}"] = moments["exp_avg"]
            tensors[f"second.{name}"] = moments["exp_avg_sq"]
            tensors[f"total.{name}"] = self.total[name]
        facts = {
            "step": self.step, "seconds": self.seconds, "log": self.log,
            "settings": asdict(self.settings), "text": corpus.digest(self.text),
        }  # fmt: skip
        new = self.folder / (STATE_FILE + ".new")
        save_file(tensors, new, metadata={"facts": json.dumps(facts)})
        os.replace(new, self.folder / STATE_FILE)

    def load_state(self) -> None:
        """Go on from the last checkpoint. Raises ValueError when it is of another training."""
        file = self.folder / STATE_FILE
        if not file.exists():
            raise FileNotFoundError(f"{self.folder} has no {STATE_FILE} to go on from")
        with safe_open(file, framework="pt") as state:
            facts = json.loads(state.metadata()["facts"])
            here = {**asdict(self.settings), "text": corpus.digest(self.text)}
            before = {**facts["settings"], "text": facts["text"]}
            for name, now in here.items():
                if now != before[name]:
                    raise ValueError(
                        f"{name} must be {before[name]}, as before, to go on; not {now}"
                    )
            for name, weight in self.weights.items():
                with torch.no_grad():
                    weight.copy_(state.get_tensor(f"weight.{name}"))
                self.total[name].copy_(state.get_tensor(f"total.{name}"))
                self.optimizer.state[weight] = {
                    "step": torch.tensor(float(facts["step"])),
                    "exp_avg": state.get_tensor(f"first.{name}").to(weight.device),
                    "exp_avg_sq": state.get_tensor(f"second.{name}").to(weight.device),
                }
        self.step, self.seconds, self.log = facts["step"], facts["seconds"], facts["log"]


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

    config: its shape, ModelConfig.tiny() if None. texts: (training text, held-out text), those of
    corpus.split() if None. resume: go on from the last checkpoint. overwrite: begin again where
    there is something already. progress: show a bar, or a line at each checkpoint.
    Raises FileExistsError, FileNotFoundError, TypeError or ValueError before anything changes.
    """
    folder, settings = Path(folder), settings or Settings()
    config, texts = config or ModelConfig.tiny(), texts or corpus.split()
    device = as_device(device)
    if not resume and not overwrite and folder.exists() and any(folder.iterdir()):
        raise FileExistsError(f"{folder} is not empty: resume goes on, overwrite begins again")
    if not resume:
        vocabulary = learn_vocabulary(texts[0], config.vocab_size)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / TOKENIZER_FILE).write_bytes(vocabulary)
    training = Training(folder, settings, config, texts, device)
    if resume:
        training.load_state()
    follow(training, progress)
    report = finish(training)
    (folder / STATE_FILE).unlink(missing_ok=True)
    return report


def follow(training: Training, progress: bool) -> None:
    """Run it to its end under a bar with the loss and tokens a second; lines when piped."""
    settings = training.settings
    tokens, shown = settings.rows * settings.length, progress and sys.stderr.isatty()
    bar = tqdm(
        total=settings.steps * tokens, initial=training.step * tokens, unit=" tokens",
        unit_scale=True, disable=not shown,
    )  # fmt: skip
    with bar:
        for loss, line in training.run():
            bar.set_postfix_str(f"{loss:.3f} bits/byte", refresh=False)
            bar.update(tokens)
            if line and progress:
                seconds = f"{line['seconds']:.0f} s"
                bar.write(
                    f"step {line['step']} of {settings.steps}, {seconds}: training"
                    f" {line['training']:.3f}, held-out {line['held_out']:.3f} bits/byte",
                    file=sys.stderr,
                )


def finish(training: Training) -> dict[str, Any]:
    """Save the model, and the averaged one; measure both beside the baselines; the report."""
    folder, settings = training.folder, training.settings
    models = {"model": (training.model(), folder)}
    if settings.average:
        name = f"average of the last {settings.average} checkpoints"
        models[name] = (training.averaged(), folder / AVERAGE_FOLDER)
    held_out = {}
    for name, (model, place) in models.items():
        mm.save(model, place, overwrite=True)
        held_out[name] = bits.of_model(model, training.tokenizer, training.held_out)
        if place != folder:
            (place / TOKENIZER_FILE).write_bytes((folder / TOKENIZER_FILE).read_bytes())
    held_out |= bits.baselines(training.text, training.held_out, training.tokenizer)
    report = {
        "held_out_bits_per_byte": {name: round(value, 4) for name, value in held_out.items()},
        "settings": asdict(settings),
        "parameters": training.config.n_params,
        "bytes": {
            "training": len(training.text.encode()),
            "held_out": len(training.held_out.encode()),
        },
        "text": {
            "from": "pydoc_data.topics",
            "training": corpus.digest(training.text),
            "held_out": corpus.digest(training.held_out),
            "runs of 50 held-out characters that training has too": round(
                corpus.shared(training.held_out, training.text), 4
            ),
        },
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]},
        "threads": torch.get_num_threads(),
        "seconds": round(training.seconds, 1),
        "log": training.log,
    }
    write_report(folder, report)
    return report


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """One line of the log a line."""
    text = json.dumps({**report, "log": []}, indent=2, ensure_ascii=False)
    lines = ",\n    ".join(json.dumps(line) for line in report["log"])
    text = text.replace('"log": []', f'"log": [\n    {lines}\n  ]')
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
