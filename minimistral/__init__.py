"""minimistral: Mistral 7B, one mechanism at a time.

The same model is written twice, line for line::

    from minimistral import np as mm    # NumPy, the reference
    from minimistral import pt as mm    # torch, any device

Letters used for shapes everywhere: B batch, T query tokens, S keys, H query heads,
G key/value heads, D head_dim, E dim, F hidden_dim, V vocab_size, W window, L layers.
"""

from minimistral.config import ModelConfig

__all__ = ["ModelConfig"]
__version__ = "0.1.0"
