"""The settings of a training run."""

from dataclasses import dataclass, fields

from minimistral._arguments import require_bytes, require_count, require_number

MAY_BE_0 = ("warmup", "average", "seed", "lora_rank")  # the other counts are at least 1

MOST = 100.0  # of what multiplies a step: no model learns by that much, and float32 overflows


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What decides the trained weights, besides the text.

    steps: updates of the weights. batch_size: sequences per step. seq_len: tokens per sequence.
    learning_rate: its peak, reached after `warmup` steps. weight_decay: of the matrices.
    dropout: the share of each matrix that a step sets to 0. average: how many of the last
    checkpoints to average into a second model; 0 for none. checkpoint_every: steps from one
    checkpoint, and one line of the log, to the next. seed: of the weights, batches and dropout.
    Raises TypeError or ValueError, naming the setting.
    """

    steps: int = 7000
    batch_size: int = 4
    seq_len: int = 256
    learning_rate: float = 6e-3
    warmup: int = 100
    weight_decay: float = 0.1
    dropout: float = 0.25
    average: int = 0
    checkpoint_every: int = 250
    seed: int = 0

    def __post_init__(self) -> None:
        for field in fields(self):
            if field.type is int:
                minimum = 0 if field.name in MAY_BE_0 else 1
                require_count(field.name, getattr(self, field.name), minimum=minimum)
        batch = {"batch_size": self.batch_size, "seq_len": self.seq_len}
        require_bytes("a batch", 8 * self.batch_size * (self.seq_len + 1), **batch)
        if self.seed >= 2**32:  # weights.py makes 64 bits of it and of the step
            raise ValueError(f"seed must be below 2**32, not {self.seed}")
        require_number("learning_rate", self.learning_rate, above=0, high=MOST)
        require_number("weight_decay", self.weight_decay, low=0, high=MOST)
        if require_number("dropout", self.dropout, low=0) >= 1:
            raise ValueError(f"dropout must be below 1, not {self.dropout}")
        if self.average * self.checkpoint_every > self.steps:
            raise ValueError(
                "average must be at most steps / checkpoint_every ="
                f" {self.steps // self.checkpoint_every}, not {self.average}"
            )
