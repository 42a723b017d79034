"""The nine numbers of Table 1 (paper section 2) and the arithmetic that follows from them.

No array is made here, so every count is exact and instant, at any size.
"""

import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, fields, replace
from typing import Any

from minimistral._arguments import (
    require_bytes,
    require_count,
    require_dtype,
    require_finite,
    require_floats,
    require_number,
    require_window,
)

NINE_NUMBERS = (  # Table 1
    "dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads",
    "window_size", "context_len", "vocab_size",
)  # fmt: skip
MOST_LAYERS = 2**16  # more would take minutes to name
ADAPTABLE = {  # the matrices that LoRA may adapt, by their short names
    "wq": "attention.wq", "wk": "attention.wk", "wv": "attention.wv", "wo": "attention.wo",
    "w1": "feed_forward.w1", "w2": "feed_forward.w2", "w3": "feed_forward.w3",
}  # fmt: skip
BYTES_PER_VALUE = {"float64": 8, "float32": 4, "float16": 2, "bfloat16": 2, "int8": 1}


def bytes_per_value(dtype: Any) -> int:
    """Bytes per number of a dtype, given as a name, a NumPy dtype or a torch dtype.

    Raises ValueError when the dtype is not one of BYTES_PER_VALUE.

    >>> bytes_per_value("bfloat16"), bytes_per_value("fp32")
    (2, 4)
    """
    return BYTES_PER_VALUE[require_dtype(dtype, BYTES_PER_VALUE)]


def visible_pairs(n_tokens: int, window: int | None) -> int:
    """How many (query, key) pairs are visible in a sequence of `n_tokens`.

    Position i sees min(i + 1, W) keys. The first W rows form a triangle, the rest a band
    of width W. Raises TypeError or ValueError for bad arguments.

    With 5 tokens and W = 3 the rows see 1, 2, 3, 3 and 3 keys:

    >>> visible_pairs(5, 3), visible_pairs(5, None)
    (12, 15)
    """
    n_tokens = require_count("n_tokens", n_tokens, minimum=0)
    window = require_window(window)
    ramp = n_tokens if window is None else min(n_tokens, window)
    return ramp * (ramp + 1) // 2 + (n_tokens - ramp) * ramp


@dataclass(frozen=True, kw_only=True)
class ModelConfig:
    """Sizes of a Mistral model; the fields carry Table 1's names (paper section 2).

    `window_size=None` means full causal attention (v0.2 and v0.3). Raises TypeError or
    ValueError, naming the field, for a value that is not allowed.

    >>> config = ModelConfig.mistral_7b("v0.1")
    >>> config.n_params
    7241732096
    >>> config.cache_bytes(32768, "bfloat16") // 2**20      # MiB; the window bounds it
    512
    """

    dim: int
    n_layers: int
    head_dim: int
    hidden_dim: int
    n_heads: int
    n_kv_heads: int
    window_size: int | None
    context_len: int
    vocab_size: int
    norm_eps: float = 1e-5
    rope_theta: float = 10_000.0

    def __post_init__(self) -> None:
        for name in (f.name for f in fields(self) if f.type is int):
            object.__setattr__(self, name, require_count(name, getattr(self, name)))
        window = require_window(self.window_size, "window_size")
        object.__setattr__(self, "window_size", window)
        for name in ("norm_eps", "rope_theta"):
            object.__setattr__(self, name, require_number(name, getattr(self, name), above=0))
        if self.n_heads % self.n_kv_heads:
            raise ValueError(
                f"n_heads must be a multiple of n_kv_heads = {self.n_kv_heads}, not {self.n_heads}"
            )
        if self.head_dim % 2:
            raise ValueError(
                f"head_dim must be even, because RoPE rotates pairs, not {self.head_dim}"
            )

    @classmethod
    def tiny(cls) -> "ModelConfig":
        """A model of about a million parameters, whose window of 32 fills quickly."""
        return cls(
            dim=128, n_layers=4, head_dim=32, hidden_dim=352, n_heads=4, n_kv_heads=2,
            window_size=32, context_len=512, vocab_size=768,
        )  # fmt: skip

    @classmethod
    def mistral_7b(cls, version: str = "v0.1") -> "ModelConfig":
        """Mistral 7B as published: "v0.1" (Table 1), "v0.2" or "v0.3".

        v0.2 dropped the window and raised theta; v0.3 also has a larger vocabulary.
        Raises ValueError for any other version.
        """
        changes: dict[str, dict[str, Any]] = {
            "v0.1": {},
            "v0.2": {"window_size": None, "context_len": 32768, "rope_theta": 1e6},
            "v0.3": {
                "window_size": None, "context_len": 32768, "rope_theta": 1e6, "vocab_size": 32768,
            },
        }  # fmt: skip
        if version not in changes:
            raise ValueError(f"version must be one of {', '.join(changes)}, not {version!r}")
        table_1: dict[str, Any] = dict(
            dim=4096, n_layers=32, head_dim=128, hidden_dim=14336, n_heads=32, n_kv_heads=8,
            window_size=4096, context_len=8192, vocab_size=32000,
        )  # fmt: skip
        return cls(**{**table_1, **changes[version]})

    @property
    def n_groups(self) -> int:
        """Query heads that share one key/value head: 4 in Mistral 7B."""
        return self.n_heads // self.n_kv_heads

    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Every weight by Mistral's own name, and its shape (out, in).

        Raises ValueError for more than MOST_LAYERS layers, which are too many to name one by one.

        >>> ModelConfig.mistral_7b().weight_shapes()["layers.0.attention.wk.weight"]
        (1024, 4096)
        """
        require_count("n_layers", self.n_layers, below=MOST_LAYERS + 1)
        layer = self._layer_shapes().items()
        return {
            "tok_embeddings.weight": (self.vocab_size, self.dim),
            **{f"layers.{n}.{name}": shape for n in range(self.n_layers) for name, shape in layer},
            "norm.weight": (self.dim,),
            "output.weight": (self.vocab_size, self.dim),
        }

    def _layer_shapes(self) -> dict[str, tuple[int, ...]]:
        """The weights of one layer, without its number."""
        query_dim, kv_dim = self.n_heads * self.head_dim, self.n_kv_heads * self.head_dim
        return {
            "attention.wq.weight": (query_dim, self.dim),
            "attention.wk.weight": (kv_dim, self.dim),
            "attention.wv.weight": (kv_dim, self.dim),
            "attention.wo.weight": (self.dim, query_dim),
            "feed_forward.w1.weight": (self.hidden_dim, self.dim),
            "feed_forward.w2.weight": (self.dim, self.hidden_dim),
            "feed_forward.w3.weight": (self.hidden_dim, self.dim),
            "attention_norm.weight": (self.dim,),
            "ffn_norm.weight": (self.dim,),
        }

    def require_weights(self, weights: Mapping[str, Any]) -> None:
        """Raise, naming the weight, unless these arrays are all the weights of this model.

        TypeError for a dtype that is not float or not shared by all; ValueError for one that
        is missing, unknown, of another shape, or holds NaN or infinity.
        """
        require_arrays(weights, self.weight_shapes())

    def require_shapes(self, shapes: Mapping[str, tuple[int, ...]]) -> None:
        """Raise ValueError, naming the weight, unless these are this model's names and shapes."""
        require_shapes(shapes, self.weight_shapes())

    def adapter_shapes(
        self, rank: int, targets: Iterable[str] = ("wq", "wv")
    ) -> dict[str, tuple[int, ...]]:
        """The weights of a LoRA adapter: A (rank, in) and B (out, rank) of each target matrix.

        targets: short names of the adapted matrices, in all layers; by default those of queries
        and values, as in Hu et al. 2021 (LoRA, section 7.1). The names are mistral-finetune's.
        Raises TypeError or ValueError for another rank or target.

        >>> ModelConfig.mistral_7b().adapter_shapes(8)["layers.0.attention.wv.lora_B.weight"]
        (1024, 8)
        """
        rank, targets = require_count("rank", rank), require_adaptable(targets)
        weights = self.weight_shapes()
        shapes: dict[str, tuple[int, ...]] = {}
        for n in range(self.n_layers):
            for stem in (f"layers.{n}.{ADAPTABLE[target]}." for target in targets):
                rows, columns = weights[f"{stem}weight"]
                shapes[f"{stem}lora_A.weight"] = (rank, columns)
                shapes[f"{stem}lora_B.weight"] = (rows, rank)
        return shapes

    def adapter_n_params(self, rank: int, targets: Iterable[str] = ("wq", "wv")) -> int:
        """Parameters of a LoRA adapter: rank * (in + out) for each target matrix of each layer.

        >>> ModelConfig.mistral_7b().adapter_n_params(8)                # of 7,241,732,096: 0.05 %
        3407872
        """
        return sum(math.prod(shape) for shape in self.adapter_shapes(rank, targets).values())

    def params_by_part(self) -> dict[str, int]:
        """Parameters of the embedding, attention, feed_forward, norms and output.

        >>> sum(ModelConfig.mistral_7b("v0.3").params_by_part().values())
        7248023552
        """
        table = self.vocab_size * self.dim
        parts = {"embedding": table, "attention": 0, "feed_forward": 0, "norms": self.dim,
                 "output": table}  # fmt: skip
        for name, shape in self._layer_shapes().items():
            part = "norms" if "norm" in name else name.split(".")[0]
            parts[part] += self.n_layers * math.prod(shape)
        return parts

    def require_weights_size(self, dtype: Any) -> None:
        """Raise ValueError, naming a size, when the weights are too large for any machine."""
        sizes = ("dim", "n_layers", "head_dim", "hidden_dim", "n_heads", "n_kv_heads", "vocab_size")
        n_bytes = self.n_params * bytes_per_value(dtype)
        require_bytes("the weights", n_bytes, **{name: getattr(self, name) for name in sizes})

    @property
    def n_params(self) -> int:
        """All parameters: 7,241,732,096 for v0.1 and 7,248,023,552 for v0.3."""
        return sum(self.params_by_part().values())

    def cache_bytes(self, tokens: int, dtype: Any = "bfloat16") -> int:
        """Bytes of the keys and values kept for a sequence of `tokens` tokens (paper section 2).

        Two arrays (K and V) per layer, n_kv_heads heads of head_dim values, and never
        more than window_size tokens. Raises TypeError or ValueError for bad arguments.

        >>> ModelConfig.mistral_7b().cache_bytes(1)
        131072
        """
        tokens = require_count("tokens", tokens, minimum=0)
        kept = tokens if self.window_size is None else min(tokens, self.window_size)
        values_per_token = 2 * self.n_layers * self.n_kv_heads * self.head_dim
        return kept * values_per_token * bytes_per_value(dtype)

    def require_cache_size(
        self, dtype: Any, batch_size: int, *, spare: int = 0, **tokens: int
    ) -> None:
        """Raise ValueError when a cache is too large for any machine; it names a size.

        tokens: how many a row will hold, under the name of the argument that says so.
        spare: slots of a row beyond a window; there are none when the tokens do not fill it.
        """
        ((name, n_tokens),) = tokens.items()
        if self.window_size is not None and self.window_size <= n_tokens:
            name, n_tokens = "window_size", self.window_size
        else:
            spare = 0
        counts = {name: n_tokens, "batch_size": batch_size, "spare": spare}
        counts |= {each: getattr(self, each) for each in ("n_layers", "n_kv_heads", "head_dim")}
        row_bytes = self.cache_bytes(n_tokens, dtype) + spare * self.cache_bytes(1, dtype)
        n_bytes = batch_size * row_bytes
        require_bytes("the cache", n_bytes, **counts)

    def prefill_flops(self, tokens: int) -> int:
        """Floating-point operations to read a prompt of `tokens` tokens, with logits for each.

        A multiply-add counts as two. Each matrix weight is used once per token; each visible
        (query, key) pair costs two dot products of head_dim in each head and layer.
        Softmax, norms and rotations are left out.

        >>> round(ModelConfig.mistral_7b().prefill_flops(32768) / 1e12)     # TFLOP
        532
        """
        tokens = require_count("tokens", tokens, minimum=0)
        return tokens * self._matrix_flops() + self.attention_flops(tokens)

    def attention_flops(self, tokens: int) -> int:
        """The part of prefill_flops that attention's scores and weighted sums take."""
        return self._pair_flops() * visible_pairs(tokens, self.window_size)

    def decode_flops(self, context: int) -> int:
        """Floating-point operations for one new token that sees `context` tokens, itself included.

        Raises TypeError or ValueError for bad arguments.
        """
        context = require_count("context", context)
        seen = context if self.window_size is None else min(context, self.window_size)
        return self._matrix_flops() + self._pair_flops() * seen

    def decode_bytes(self, context: int, dtype: Any = "bfloat16", batch_size: int = 1) -> int:
        """Bytes that one decode step must read: every matrix once, and each row's cache.

        The embedding does not count, because a token looks up only one of its rows.
        context: the tokens before, 0 for the weights alone. Raises TypeError or ValueError.

        >>> config = ModelConfig.mistral_7b()                   # the weights, and 512 MiB
        >>> config.decode_bytes(0), config.decode_bytes(4096) - config.decode_bytes(0)
        (14221320192, 536870912)
        """
        rows = require_count("batch_size", batch_size)
        weights = (self.n_params - self.vocab_size * self.dim) * bytes_per_value(dtype)
        return weights + rows * self.cache_bytes(context, dtype)

    def _matrix_flops(self) -> int:
        parts = self.params_by_part()
        return 2 * (parts["attention"] + parts["feed_forward"] + parts["output"])

    def _pair_flops(self) -> int:
        return 4 * self.n_layers * self.n_heads * self.head_dim


def version_of(config: ModelConfig) -> str | None:
    """Which published Mistral 7B a config belongs to: "v0.1", "v0.2", "v0.3", or None.

    context_len is ignored: for v0.1 the paper says 8192, but Hugging Face's config.json 32768.
    Raises TypeError when config is not a ModelConfig.

    >>> version_of(ModelConfig.mistral_7b("v0.2")), version_of(ModelConfig.tiny())
    ('v0.2', None)
    """
    require_config(config)
    for version in ("v0.1", "v0.2", "v0.3"):
        if replace(ModelConfig.mistral_7b(version), context_len=config.context_len) == config:
            return version
    return None


def require_shapes(
    shapes: Mapping[str, tuple[int, ...]], wanted: Mapping[str, tuple[int, ...]]
) -> None:
    """Raise ValueError, naming the weight, unless these are the wanted names and shapes."""
    missing = [name for name in wanted if name not in shapes]
    unknown = [name for name in shapes if name not in wanted]
    for what, names in {"lack": missing, "must not have": unknown}.items():
        if names:
            more = f" and {len(names) - 1} more" * (len(names) > 1)
            raise ValueError(f"weights {what} {names[0]!r}{more}")
    for name, shape in wanted.items():
        if tuple(shapes[name]) != shape:
            raise ValueError(f"{name} must be {shape}, not {tuple(shapes[name])}")


def require_arrays(weights: Mapping[str, Any], wanted: Mapping[str, tuple[int, ...]]) -> None:
    """Raise unless these are the wanted arrays, of one float dtype, and finite; name the weight.

    TypeError for a dtype, ValueError for the rest.
    """
    require_shapes({name: weight.shape for name, weight in weights.items()}, wanted)
    first = weights[next(iter(wanted))].dtype
    for name, weight in weights.items():
        require_floats(**{name: weight})
        if weight.dtype != first:
            raise TypeError(f"{name} must be {first} like the others, not {weight.dtype}")
    for name, weight in weights.items():
        # Tensors on meta have no values; those in a file, or in a matrix that is more than an
        # array, are not read here.
        if not any(getattr(weight, flag, False) for flag in ("is_meta", "opaque", "in_file")):
            require_finite(name, weight)


def require_adaptable(targets: Iterable[str]) -> tuple[str, ...]:
    """Return the short names of matrices that LoRA adapts, in the model's order; raise otherwise.

    >>> require_adaptable(["wv", "wq"])
    ('wq', 'wv')
    """
    allowed = ", ".join(ADAPTABLE)
    if isinstance(targets, str) or not isinstance(targets, Iterable):
        raise TypeError(f"targets must be a list out of {allowed}, not {targets!r}")
    targets = list(targets)
    for target in targets:
        if target not in ADAPTABLE:
            raise ValueError(f"targets must be out of {allowed}, not {target!r}")
    if not targets or len(set(targets)) < len(targets):
        raise ValueError(f"targets must be one or more of {allowed}, each once, not {targets}")
    return tuple(target for target in ADAPTABLE if target in targets)


def require_config(config: Any) -> ModelConfig:
    """Return `config`, or raise TypeError when it is not a ModelConfig."""
    if not isinstance(config, ModelConfig):
        raise TypeError(f"config must be a ModelConfig, not {config!r}")
    return config
