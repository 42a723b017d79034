"""Every step from token ids to logits, with its shape and its weights (paper section 2)."""

from dataclasses import dataclass, field

from minimistral.config import ModelConfig


@dataclass(frozen=True)
class Step:
    """One step: its name, what it does, the shape of its result and the weights it uses.

    letters: the shape's letters, as in design: B texts, T tokens, S keys, H query heads,
    G KV heads, D head_dim, E dim, F hidden_dim, V vocab_size. weights: name -> shape.
    """

    name: str
    doing: str
    letters: str
    shape: tuple[int, ...]
    weights: dict[str, tuple[int, ...]] = field(default_factory=dict)
    in_layer: bool = True


def steps_of(config: ModelConfig, n_tokens: int, n_texts: int = 1) -> list[Step]:
    """All steps in order, for texts of n_tokens each, without a cache (so S = T).

    >>> [step.shape for step in steps_of(ModelConfig.tiny(), 5) if step.name == "scores"]
    [(1, 4, 5, 5)]
    """
    c = config
    size = {
        "B": n_texts, "T": n_tokens, "S": n_tokens, "H": c.n_heads, "G": c.n_kv_heads,
        "D": c.head_dim, "E": c.dim, "F": c.hidden_dim, "V": c.vocab_size,
    }  # fmt: skip
    shapes = c.weight_shapes()
    found = []
    for name, doing, letters, uses in _STEPS:
        in_layer = name not in _OUTSIDE
        prefix = "layers.0." if in_layer else ""
        weights = {each: shapes[f"{prefix}{each}.weight"] for each in uses.split()}
        shape = tuple(size[letter] for letter in letters)
        found.append(Step(name, doing, letters, shape, weights, in_layer))
    return found


_OUTSIDE = ("ids", "embed", "last norm", "logits")
_STEPS = [
    ("ids", "the text as numbers", "BT", ""),
    ("embed", "each id picks a row of the embedding", "BTE", "tok_embeddings"),
    ("first norm", "the same size for all vectors", "BTE", "attention_norm"),
    ("queries", "what each token looks for, in each head", "BHTD", "attention.wq"),
    ("keys", "what each token offers, in each KV head", "BGTD", "attention.wk"),
    ("values", "what each token passes on, in each KV head", "BGTD", "attention.wv"),
    ("rotate", "queries, and keys too, are turned by position", "BHTD", ""),
    ("cache", "keys and values of the last W tokens", "BGSD", ""),
    ("scores", "every query times every key of its KV head", "BHTS", ""),
    ("weights", "mask, then softmax: each row sums to 1", "BHTS", ""),
    ("heads", "the values, averaged with these weights", "BHTD", ""),
    ("mix heads", "the heads side by side, mixed by a matrix", "BTE", "attention.wo"),
    ("add", "to what came into the layer", "BTE", ""),
    ("second norm", "the same size for all vectors", "BTE", "ffn_norm"),
    ("gate", "silu of w1 x: what is let through", "BTF", "feed_forward.w1"),
    ("value", "w3 x, times the gate", "BTF", "feed_forward.w3"),
    ("back", "from F values to E again", "BTE", "feed_forward.w2"),
    ("add again", "the layer's result; the next layer begins with it", "BTE", ""),
    ("last norm", "after the last layer", "BTE", "norm"),
    ("logits", "a score for each token that could come next", "BTV", "output"),
]
