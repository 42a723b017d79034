"""The sizes that are measured."""

from dataclasses import replace

from minimistral.config import ModelConfig

CONFIGS = {
    "small": ModelConfig(
        dim=256, n_layers=4, head_dim=32, hidden_dim=896, n_heads=8, n_kv_heads=2,
        window_size=64, context_len=2048, vocab_size=1024,
    ),
    "medium": ModelConfig(
        dim=1024, n_layers=8, head_dim=64, hidden_dim=3584, n_heads=16, n_kv_heads=4,
        window_size=256, context_len=8192, vocab_size=8192,
    ),
    "7b-layer": replace(ModelConfig.mistral_7b(), n_layers=1),
    "7b": ModelConfig.mistral_7b(),
}  # fmt: skip


def prefill_flops(config: ModelConfig, tokens: int) -> int:
    """FLOP to read a prompt when only the last token's logits are asked for."""
    return config.prefill_flops(tokens) - 2 * (tokens - 1) * config.vocab_size * config.dim
