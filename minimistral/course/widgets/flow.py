"""All steps from token ids to logits, with their shapes, and the player that shows them."""

import math
from dataclasses import dataclass

from minimistral._arguments import require_count
from minimistral.config import ModelConfig, require_config
from minimistral.course.draw import steps_svg
from minimistral.course.widgets.player import Player


@dataclass(frozen=True)
class Step:
    """One step from ids to logits, and the shape of what it makes.

    doing: what it does, in words. functions: those of np/ that do it, the outer one first.
    by: the functions and the weight, as the picture shows them. letters: the shape in letters,
    "B, T, H·D". weights: name -> shape; those of a layer go by their name inside it. in_layer:
    whether it is done once in each layer.
    """

    name: str
    doing: str
    functions: tuple[str, ...]
    by: str
    letters: str
    shape: tuple[int, ...]
    weights: dict[str, tuple[int, ...]]
    in_layer: bool

    @property
    def n_params(self) -> int:
        """Parameters of its weights, in one layer if it is in a layer."""
        return sum(math.prod(shape) for shape in self.weights.values())


def steps(config: ModelConfig, n_tokens: int) -> list[Step]:
    """Every step of the model for one text of n_tokens, starting from an empty cache: S = T.

    S counts the keys of the text. Empty slots, and the blocks into which `query_blocks` cuts a
    long text, change no shape here.
    Raises TypeError when config is not a ModelConfig or n_tokens not a whole number, ValueError
    when n_tokens is not in 1 to context_len.

    >>> {step.name: step.shape for step in steps(ModelConfig.tiny(), 5)}["scores"]
    (1, 4, 5, 5)
    """
    c, T = require_config(config), require_count("n_tokens", n_tokens)
    if T > c.context_len:
        raise ValueError(f"n_tokens must be at most context_len = {c.context_len}, not {T}")
    sizes = {
        "B": 1, "T": T, "S": T, "H": c.n_heads, "G": c.n_kv_heads, "D": c.head_dim,
        "E": c.dim, "F": c.hidden_dim, "V": c.vocab_size,
    }  # fmt: skip
    table = _OUTER[:2], _attention(c, T) + _FEED_FORWARD, _OUTER[2:]
    rows = [(row, part == 1) for part in range(3) for row in table[part]]
    return [_step(*row, in_layer, sizes, c.weight_shapes()) for row, in_layer in rows]


def shape_flow(config: ModelConfig) -> Player:
    """Every step from ids to logits with its shape; sliders for the step and the tokens.

    The cache is empty at the start; the text has 1, 5 or 4096 tokens, as context_len allows.

    >>> shape_flow(ModelConfig.mistral_7b()).words
    'scores: 32 query heads compare 5 queries with 5 keys each, (1, 32, 5, 5); 800 numbers.'
    """
    counts = [n for n in (1, 5, 4096) if n <= require_config(config).context_len]
    flows = {n: steps(config, n) for n in counts}
    names = [step.name for step in flows[1]]

    def draw(step: str, tokens: int) -> tuple[str, str]:
        flow, chosen = flows[tokens], names.index(step)
        return steps_svg(flow, chosen, config.n_layers), step_words(flow[chosen])

    start = {"step": "scores", "tokens": counts[:2][-1]}
    return Player("Shapes from ids to logits", {"step": names, "tokens": counts}, draw, start)


def step_words(step: Step) -> str:
    """One sentence: what the step does, its shape, and how much that is."""
    if step.weights:
        per_layer = " per layer" if step.in_layer else ""
        return f"{step.name}: {step.doing}; {_some(step.n_params, 'parameter')}{per_layer}."
    numbers = _some(math.prod(step.shape), "number")
    return f"{step.name}: {step.doing}, {step.shape}; {numbers}{_COUNTED.get(step.name, '')}."


# Steps that hold more than the one array whose numbers are counted.
_COUNTED = {
    "heads": " of queries",
    "rotate": " of queries",
    "cache": " of keys, and as many of values",
}


# Name, letters, the functions of np/, the weight or the sign of what they do, and what that is
# in words; in the rows with a weight the last is the letters of what the weight is given.
_Row = tuple[str, str, str, str, str]
_OUTER: list[_Row] = [
    ("token ids", "B, T", "", "the tokenizer", "the text as numbers"),
    ("embed", "B, T, E", "embed", "tok_embeddings.weight", "B, T"),
    ("final norm", "B, T, E", "unembed, rms_norm", "norm.weight", "B, T, E"),
    ("logits", "B, T, V", "unembed", "output.weight", "B, T, E"),
]
_FEED_FORWARD: list[_Row] = [
    ("ffn norm", "B, T, E", "rms_norm", "ffn_norm.weight", "B, T, E"),
    ("gate", "B, T, F", "feed_forward", "feed_forward.w1.weight", "B, T, E"),
    ("up", "B, T, F", "feed_forward", "feed_forward.w3.weight", "B, T, E"),
    ("silu(gate) * up", "B, T, F", "feed_forward, silu", "",
     "the gate lets values of up through, one by one"),
    ("down", "B, T, E", "feed_forward", "feed_forward.w2.weight", "B, T, F"),
    ("add feed-forward", "B, T, E", "layer", "+",
     "down is added to what attention left; the next layer begins with it"),
]  # fmt: skip


def _attention(c: ModelConfig, T: int) -> list[_Row]:
    """The first half of a layer. k and v are not shown apart, so the words give their shape."""
    heads, kv_heads = _some(c.n_heads, "query head"), _some(c.n_kv_heads, "KV head")
    kv, keys = (1, c.n_kv_heads, T, c.head_dim), _some(T, "key")
    queries = f"{T:,} quer{'y' if T == 1 else 'ies'}"
    hold = "holds" if c.n_kv_heads == 1 else "hold"
    compare = "compares" if c.n_heads == 1 else "compare"
    average = "averages" if c.n_heads == 1 else "average"
    return [
        ("attention norm", "B, T, E", "rms_norm", "attention_norm.weight", "B, T, E"),
        ("queries", "B, T, H·D", "project_qkv", "attention.wq.weight", "B, T, E"),
        ("keys", "B, T, G·D", "project_qkv", "attention.wk.weight", "B, T, E"),
        ("values", "B, T, G·D", "project_qkv", "attention.wv.weight", "B, T, E"),
        ("heads", "B, H, T, D", "project_qkv", "",
         f"keys and values are cut into {kv_heads}, {kv} each, queries into {heads}"),
        ("rotate", "B, H, T, D", "project_qkv, apply_rope", "",
         f"keys are turned by their positions, {kv}, and queries too"),
        ("cache", "B, G, S, D", "RollingCache.update", "",
         f"{kv_heads} {hold} {keys}{' each' * (c.n_kv_heads > 1)}, and as many values"),
        ("scores", "B, H, T, S", "attend", "", f"{heads} {compare} {queries} with {keys} each"),
        ("softmax", "B, H, T, S", "attend, masked_softmax", "",
         "each query's scores become weights, 0 where the mask hides a key"),
        ("average", "B, H, T, D", "attend", "",
         f"{heads} {average} {_some(T, 'value')} for each query, by these weights"),
        ("merge heads", "B, T, H·D", "layer", "",
         f"{heads} of {c.head_dim} numbers laid side by side"),
        ("mix heads", "B, T, E", "layer", "attention.wo.weight", "B, T, H·D"),
        ("add attention", "B, T, E", "layer", "+",
         "the mixed heads are added to what came into the layer"),
    ]  # fmt: skip


def _step(
    name: str, letters: str, functions: str, by: str, doing: str, in_layer: bool,
    sizes: dict[str, int], shapes: dict[str, tuple[int, ...]],
) -> Step:  # fmt: skip
    shape, weights = _shape(letters, sizes), {}
    if by.endswith(".weight"):
        weights = {by: shapes[f"layers.0.{by}" if in_layer else by]}
        short = by.removesuffix(".weight").split(".")[-1]
        by = f"{short} {weights[by]}"
        doing = f"{by} makes {shape} from {_shape(doing, sizes)}"
    by = ": ".join(filter(None, [functions, by]))
    parts = tuple(functions.split(", ")) if functions else ()
    return Step(name, doing, parts, by, letters, shape, weights, in_layer)


def _shape(letters: str, sizes: dict[str, int]) -> tuple[int, ...]:
    """
    >>> _shape("B, T, H·D", {"B": 1, "T": 5, "H": 4, "D": 32})
    (1, 5, 128)
    """
    axes = letters.split(", ")
    return tuple(math.prod(sizes[letter] for letter in axis.split("·")) for axis in axes)


def _some(n: int, noun: str) -> str:
    """
    >>> _some(1, "number"), _some(4096, "number")
    ('1 number', '4,096 numbers')
    """
    return f"{n:,} {noun}{'' if n == 1 else 's'}"
