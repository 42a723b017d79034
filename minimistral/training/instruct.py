"""Fine-tunes a model on conversations: `minimistral train --instruct`.

The loss counts only what the assistant says and the end </s> behind it (see examples.py). All
weights are trained, or with a rank only the adapters of LoRA (Hu et al. 2021).
"""

import hashlib
import json
import math
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.func import functional_call

from minimistral import pt as mm
from minimistral import tiny
from minimistral._arguments import require_choice
from minimistral.evaluation.answers import measure_instruct
from minimistral.evaluation.bits_per_byte import bits_per_byte
from minimistral.pt.tensors import as_device
from minimistral.tokenizer import Tokenizer
from minimistral.tokenizer import load as load_tokenizer
from minimistral.training import conversations as shipped
from minimistral.training import corpus
from minimistral.training.conversations import Conversation, as_json
from minimistral.training.examples import (
    NOT_COUNTED,
    PACKINGS,
    Example,
    batch_of,
    encode,
    lay_out,
)
from minimistral.training.report import replace_file
from minimistral.training.run import Run, made, remove_state, require_free, run_with_progress
from minimistral.training.settings import Settings
from minimistral.training.state import STATE_FILE, State
from minimistral.training.weights import drop_weights

REPORT_FILE = "instruct.json"
ADAPTER_FOLDER = "adapter"
MATRICES = ("wq", "wk", "wv", "wo", "w1", "w2", "w3")  # that an adapter changes
MEASURED = 64  # conversations of each part, at a checkpoint; the report measures all


@dataclass(frozen=True, kw_only=True)
class InstructSettings(Settings):
    """What decides the weights of a fine-tuned model, besides the model and the conversations.

    As `Settings`, where batch_size counts conversations and seq_len is the longest row of a batch.
    packing: "padded", "masked" or "unmasked"; see `lay_out`. end_in_loss: whether the loss counts
    the end of an answer. lora_rank: that of the adapters that are trained, 0 to train all weights.
    Raises TypeError or ValueError, naming the setting.
    """

    steps: int = 700
    batch_size: int = 16
    learning_rate: float = 2e-3
    warmup: int = 50
    weight_decay: float = 0.0
    dropout: float = 0.0
    checkpoint_every: int = 100
    packing: str = "masked"
    end_in_loss: bool = True
    lora_rank: int = 0

    def __post_init__(self) -> None:
        super().__post_init__()
        require_choice("packing", self.packing, PACKINGS)
        if not isinstance(self.end_in_loss, bool):
            raise TypeError(f"end_in_loss must be True or False, not {self.end_in_loss!r}")
        if self.average:
            raise ValueError(f"average must be 0 in fine-tuning, not {self.average}")
        if self.dropout and self.lora_rank:
            raise ValueError(f"dropout must be 0 with lora_rank, not {self.dropout}")


def fine_tune(
    folder: str | Path,
    settings: InstructSettings | None = None,
    *,
    base: str | Path = tiny.FOLDER,
    conversations: Sequence[Conversation] | None = None,
    old_text: str | None = None,
    resume: bool = False,
    overwrite: bool = False,
    progress: bool = False,
    device: Any = None,
) -> dict[str, Any]:
    """Fine-tune a model into a folder that `load` opens; the report, also in instruct.json.

    base: the folder of the model to begin with, and of its tokenizer. conversations: the shipped
    ones if None. old_text: what the model had learned, to measure how much it forgets; the held-out
    text of corpus.split() if None. The others are as in `train`.
    Raises FileExistsError, FileNotFoundError, TypeError or ValueError before anything changes.
    """
    require_free(folder, resume, overwrite)
    folder = Path(folder)
    training = prepare(
        folder, settings or InstructSettings(), base=base, conversations=conversations,
        old_text=old_text, device=device,
    )  # fmt: skip
    if resume:
        state = State.read(folder / STATE_FILE)
        state.require_same(training.decides(), training.settings.steps)
        state.continue_in(training)
    with made(folder):
        run_with_progress(training, progress)
    save_model(training)
    replace_file(folder / training.tokenizer.file.name, training.vocabulary)
    report = make_report(training, base)
    write_report(folder, report)
    remove_state(folder)
    return report


def prepare(
    folder: Path,
    settings: InstructSettings,
    *,
    base: str | Path = tiny.FOLDER,
    conversations: Sequence[Conversation] | None = None,
    old_text: str | None = None,
    device: Any = None,
) -> "FineTuning":
    """A run that has not begun, as `fine_tune` describes it; nothing is written."""
    conversations = shipped.load() if conversations is None else conversations
    old_text = corpus.split()[1] if old_text is None else old_text
    model = mm.load(base, dtype="float32", device=as_device(device))
    tokenizer = load_tokenizer(base)
    if not tokenizer.template_name.startswith("Mistral's"):
        raise ValueError(
            f"base must have Mistral's own chat template, not that of {tokenizer.template_name}"
        )
    return FineTuning(folder, settings, model, tokenizer, conversations, old_text)


class FineTuning(Run):
    """A run that learns the answers of conversations, those whose part is "training".

    model: the one to begin with, which stays as it is. adapter: of LoRA, None when all weights are
    trained.
    """

    unit = "bits/token"
    counts = " conversations"

    def __init__(
        self,
        folder: Path,
        settings: InstructSettings,
        model: mm.Mistral,
        tokenizer: Tokenizer,
        conversations: Sequence[Conversation],
        old_text: str,
    ):
        self.base, self.adapter = model, None
        if settings.lora_rank:
            options = {"seed": settings.seed, "device": model.device}
            self.adapter = mm.Adapter(model.config, settings.lora_rank, targets=MATRICES, **options)
            model = mm.adapt(model, self.adapter)
        else:
            model = mm.Mistral(model.config, copies_of(model)).requires_grad_()
        super().__init__(folder, settings, model, tokenizer)
        self.settings: InstructSettings = settings
        self.old_text, self.conversations = old_text, list(conversations)
        self.examples: dict[str, list[Example]] = {part: [] for part in shipped.PARTS}
        for each in self.conversations:
            end_in_loss = settings.end_in_loss or each.part != "training"
            self.examples[each.part].append(encode(self.tokenizer, each, end_in_loss))
        for part, examples in self.examples.items():
            if not examples:
                raise ValueError(f"conversations must hold at least one whose part is {part}")
        longest = max(len(example.ids) for example in self.examples["training"])
        if longest > settings.seq_len:
            raise ValueError(
                f"seq_len must be at least {longest}, the tokens of the longest conversation,"
                f" not {settings.seq_len}"
            )

    @property
    def per_step(self) -> int:
        return self.settings.batch_size

    def batch_loss(self) -> tuple[torch.Tensor, float]:
        settings = self.settings
        batch = batch_of(self.examples["training"], self.step, settings.batch_size, settings.seed)
        weights = drop_weights(self.trained, self.step, settings)
        return self.loss_of(batch, settings.packing, settings.seq_len, weights), 1 / math.log(2)

    def loss_of(
        self,
        batch: Sequence[Example],
        packing: str = "padded",
        row_len: int = 2**31,
        weights: Any = None,
    ) -> torch.Tensor:
        """The mean of -ln p over what the model should write in these examples."""
        tokens, targets, positions = lay_out(batch, packing, row_len, self.config.window_size)
        logits = logits_at(self.model, tokens, positions, weights)
        wanted = torch.from_numpy(targets).flatten().to(logits.device)
        return nn.functional.cross_entropy(logits.flatten(0, 1), wanted, ignore_index=NOT_COUNTED)

    def measure(self) -> dict[str, float]:
        """The loss of the answers to other wordings and topics, and that of the old text."""
        return {
            "held_out": self.bits_per_token(self.examples["new topic"]),
            "new_wording": self.bits_per_token(self.examples["new wording"]),
            "old_text": bits_per_byte(self.model, self.tokenizer, self.old_text),
        }

    def bits_per_token(self, examples: Sequence[Example]) -> float:
        """Bits per token of the answers in an even sample, each example in a row of its own."""
        sample = examples[:: -(-len(examples) // MEASURED)]
        return self.loss_of(sample).item() / math.log(2)

    def decides(self) -> dict[str, Any]:
        return {
            **asdict(self.settings),
            **asdict(self.config),
            "base": digest_of(self.base),
            "conversations": corpus.digest(as_json(self.conversations)),
            "old text": corpus.digest(self.old_text),
        }


def logits_at(model: mm.Mistral, tokens: Any, positions: Any, weights: Any = None) -> torch.Tensor:
    """What model(tokens) gives, with each token at the position that is given.

    tokens, positions (B, T) integers, -1 for padding -> logits (B, T, V). weights: tensors that
    take the place of the model's of the same names. Two tokens see each other as the rule says, so
    the positions alone decide whether the documents of a row do.
    """
    tokens, positions = torch.as_tensor(tokens), torch.as_tensor(positions)
    tokens, positions = tokens.to(model.device), positions.to(model.device)
    named = {f"model.{name}": weight for name, weight in (weights or {}).items()}
    return functional_call(_AtPositions(model), named, (tokens, positions))


class _AtPositions(nn.Module):
    """A model as a part of a module, whose weights functional_call can replace."""

    def __init__(self, model: mm.Mistral):
        super().__init__()
        self.model = model

    def forward(self, tokens: torch.Tensor, positions: torch.Tensor) -> torch.Tensor:
        model, config = self.model, self.model.config
        rope = mm.rope_tables(positions, config.head_dim, config.rope_theta, model.dtype)
        mask = mm.window_mask(positions, positions, config.window_size)
        x = model.embed(tokens, positions)
        for layer in model.layers:
            x = layer(x, rope, mask, lambda k, v: (k, v))
        return model.unembed(x)


def copies_of(model: mm.Mistral) -> dict[str, torch.Tensor]:
    return {name: weight.detach().clone() for name, weight in model.weights.items()}


def save_model(training: FineTuning) -> None:
    """Save the model, and beside it the adapter that was merged into it, in PEFT's format."""
    adapter, folder = training.adapter, training.folder
    if adapter is None:
        mm.save(training.model.requires_grad_(False), folder, overwrite=True)
    else:
        mm.save(mm.merge(training.base, adapter), folder, overwrite=True)
        mm.save_adapter(adapter, folder / ADAPTER_FOLDER, overwrite=True)


def digest_of(model: mm.Mistral) -> str:
    """Twelve hex digits that identify the weights of a model."""
    digest = hashlib.sha256()
    for weight in model.weights.values():
        digest.update(weight.detach().cpu().numpy().tobytes())
    return digest.hexdigest()[:12]


def make_report(training: FineTuning, base: str | Path) -> dict[str, Any]:
    """Measure the saved model beside the one that it was made of; the report's contents."""
    conversations, old_text = training.conversations, training.old_text
    return {
        "settings": asdict(training.settings),
        "parameters": training.config.n_params,
        "trained_parameters": sum(weight.numel() for weight in training.trained.values()),
        **measure_instruct(training.folder, base, conversations, old_text),
        "conversations": corpus.digest(as_json(conversations)),
        "old_text": corpus.digest(old_text),
        "versions": {"python": platform.python_version(), "torch": torch.__version__.split("+")[0]},
        "threads": torch.get_num_threads(),
        "seconds": round(training.seconds, 1),
        "log": training.log,
    }


def write_report(folder: Path, report: dict[str, Any]) -> None:
    """Write instruct.json, with each row of a table on a line of its own."""
    text = json.dumps(report | {"answers": "@answers", "log": "@log"}, indent=2, ensure_ascii=False)
    for name in ("answers", "log"):
        rows = ",\n    ".join(json.dumps(row) for row in report[name])
        text = text.replace(f'"@{name}"', f"[\n    {rows}\n  ]")
    replace_file(folder / REPORT_FILE, f"{text}\n".encode())
