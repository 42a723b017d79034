"""What each format calls a weight, and the order of the rows of Wq and Wk in it."""

import re
from typing import Any

from minimistral._arguments import require_count
from minimistral.config import ModelConfig

HF_NAMES = {  # N is the number of a layer
    "tok_embeddings": "model.embed_tokens",
    "layers.N.attention.wq": "model.layers.N.self_attn.q_proj",
    "layers.N.attention.wk": "model.layers.N.self_attn.k_proj",
    "layers.N.attention.wv": "model.layers.N.self_attn.v_proj",
    "layers.N.attention.wo": "model.layers.N.self_attn.o_proj",
    "layers.N.feed_forward.w1": "model.layers.N.mlp.gate_proj",
    "layers.N.feed_forward.w2": "model.layers.N.mlp.down_proj",
    "layers.N.feed_forward.w3": "model.layers.N.mlp.up_proj",
    "layers.N.attention_norm": "model.layers.N.input_layernorm",
    "layers.N.ffn_norm": "model.layers.N.post_attention_layernorm",
    "norm": "model.norm",
    "output": "lm_head",
}
# RoPE's frequencies, which old Hugging Face checkpoints hold although they follow from the config
IGNORED = re.compile(r"model\.layers\.\d+\.self_attn\.rotary_emb\.inv_freq")


def hf_name(name: str) -> str:
    """Hugging Face's name of the weight that Mistral calls `name`.

    Raises ValueError if Mistral has no weight of that name.

    >>> hf_name("layers.3.attention.wq.weight")
    'model.layers.3.self_attn.q_proj.weight'
    """
    parts = re.fullmatch(r"(?:layers\.(\d+)\.)?([a-z_.\d]+)\.weight", name)
    number, rest = parts.groups() if parts else (None, None)
    general = f"layers.N.{rest}" if number else rest
    if general not in HF_NAMES:
        raise ValueError(f"name must be one of config.weight_shapes(), not {name!r}")
    return f"{HF_NAMES[general]}.weight".replace("N", number or "")


def rotated_heads(config: ModelConfig, name: str) -> int:
    """How many heads RoPE rotates in what this weight gives: all of Wq and Wk, none (0) else.

    What LoRA adds to them ends with its B, whose rows are in the same order.
    """
    if name.endswith(("attention.wq.weight", "attention.wq.lora_B.weight")):
        return config.n_heads
    is_key = name.endswith(("attention.wk.weight", "attention.wk.lora_B.weight"))
    return config.n_kv_heads if is_key else 0


def to_pairs(weight: Any, n_heads: int) -> Any:
    """Rows of Wq or Wk from Hugging Face's order to Mistral's.

    weight (n_heads * D, E), an array or a tensor -> the same shape. Mistral rotates rows 2j
    and 2j + 1 of a head as a pair, Hugging Face rows j and j + D / 2. Raises ValueError unless
    the rows are those of n_heads heads with an even D.

    Two heads of D = 4. New row 1 is old row 2, the partner of old row 0:

    >>> import numpy as np
    >>> to_pairs(np.arange(8), n_heads=2)
    array([0, 2, 1, 3, 4, 6, 5, 7])
    """
    _require_heads(weight, n_heads)
    halves = weight.reshape(n_heads, 2, -1, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def to_halves(weight: Any, n_heads: int) -> Any:
    """Rows of Wq or Wk from Mistral's order to Hugging Face's: the inverse of `to_pairs`.

    One head of D = 6: the even rows come first.

    >>> import numpy as np
    >>> to_halves(np.arange(6), n_heads=1)
    array([0, 2, 4, 1, 3, 5])
    """
    _require_heads(weight, n_heads)
    pairs = weight.reshape(n_heads, -1, 2, *weight.shape[1:])
    return pairs.swapaxes(1, 2).reshape(weight.shape)


def _require_heads(weight: Any, n_heads: int) -> None:
    require_count("n_heads", n_heads)
    if weight.ndim == 0 or weight.shape[0] % (2 * n_heads):
        raise ValueError(
            f"weight must have rows for n_heads = {n_heads} heads of an even size,"
            f" not {tuple(weight.shape)}"
        )
