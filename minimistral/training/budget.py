"""What training a model takes: bytes of memory, and floating-point operations.

Arithmetic alone, so any size can be asked for. Softmax, norms and rotations are left out of the
operations, as in `ModelConfig.prefill_flops`.
"""

from minimistral._arguments import require_count
from minimistral.config import ModelConfig, bytes_per_value, require_config


def state_bytes(config: ModelConfig, mixed: bool = False) -> dict[str, int]:
    """Bytes that training keeps from step to step: weights, gradients, and AdamW's two moments.

    All in float32. mixed: weights and gradients in bfloat16 and beside them the weights in
    float32, to which the small steps are added (Micikevicius et al. 2018). Both ways it is 16
    bytes a parameter.

    >>> parts = state_bytes(ModelConfig.mistral_7b())
    >>> parts["weights"], sum(parts.values()) / 1e9              # GB
    (28966928384, 115.867713536)
    """
    n = require_config(config).n_params
    if mixed:
        return {"weights": 2 * n, "gradients": 2 * n, "float32 weights": 4 * n, "moments": 8 * n}
    return {"weights": 4 * n, "gradients": 4 * n, "moments": 8 * n}


def layer_activations(config: ModelConfig) -> dict[str, int]:
    """Values that the backward pass of a layer needs of the forward pass, for each token.

    Each is the input of a mechanism: 4 E + 2 H D + 2 G D + 3 F values in all. That holds for an
    attention which computes its weights again, block by block (Dao et al. 2022); one that keeps
    them has H S values more for a token that is compared with S keys.

    >>> sum(layer_activations(ModelConfig.tiny()).values())
    1952
    """
    config = require_config(config)
    E, F = config.dim, config.hidden_dim
    queries, keys = config.n_heads * config.head_dim, config.n_kv_heads * config.head_dim
    return {
        "x": E, "normed": E, "queries": queries, "keys": keys, "values": keys, "heads": queries,
        "middle": E, "middle normed": E, "gate": F, "up": F, "gate times up": F,
    }  # fmt: skip


def activation_bytes(
    config: ModelConfig, batch_size: int, seq_len: int, dtype: str = "bfloat16",
    recompute: bool = False,
) -> int:  # fmt: skip
    """Bytes of all that a backward pass needs of the forward pass of a batch.

    In each layer `layer_activations`; after the last one its output, that normed, and the logits.
    recompute: keep the input of each layer and compute the rest again, a layer at a time, when
    its turn comes (Chen et al. 2016). Raises TypeError or ValueError, naming the argument.

    >>> v01 = ModelConfig.mistral_7b()
    >>> for recompute in (False, True):
    ...     print(round(activation_bytes(v01, 1, 8192, recompute=recompute) / 1e9, 1), "GB")
    37.2 GB
    3.9 GB
    """
    tokens = require_count("batch_size", batch_size) * require_count("seq_len", seq_len)
    of_layer = sum(layer_activations(config).values())
    per_token = config.n_layers * of_layer
    if recompute:  # one layer is whole at a time, and its input is kept anyway
        per_token = config.n_layers * config.dim + of_layer - config.dim
    per_token += 2 * config.dim + config.vocab_size
    return tokens * per_token * bytes_per_value(dtype)


def step_flops(config: ModelConfig, batch_size: int, seq_len: int, recompute: bool = False) -> int:
    """Operations of a training step: 3 times the forward pass, 4 times if it is computed again.

    A product has two gradients, with respect to both of its factors, and each costs what the
    product did. Raises TypeError or ValueError, naming the argument.

    >>> config = ModelConfig.tiny()
    >>> step_flops(config, 2, 100) == 6 * config.prefill_flops(100)
    True
    """
    batch_size, seq_len = require_count("batch_size", batch_size), require_count("seq_len", seq_len)
    return batch_size * (4 if recompute else 3) * require_config(config).prefill_flops(seq_len)
