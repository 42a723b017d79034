"""The config's arithmetic against independent counts, and the errors for bad values."""

import dataclasses

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimistral.config import NINE_NUMBERS, ModelConfig, bytes_per_value, visible_pairs
from minimistral.np import window_mask

TINY = ModelConfig.tiny()
V01, V02, V03 = (ModelConfig.mistral_7b(v) for v in ("v0.1", "v0.2", "v0.3"))


def test_table_1():
    """The nine numbers of the paper's Table 1."""
    numbers = [getattr(V01, name) for name in NINE_NUMBERS]
    assert numbers == [4096, 32, 128, 14336, 32, 8, 4096, 8192, 32000]
    assert NINE_NUMBERS == tuple(field.name for field in dataclasses.fields(V01))[:9]
    assert (V01.rope_theta, V01.norm_eps) == (1e4, 1e-5)


def test_versions():
    for config in (V02, V03):
        assert (config.window_size, config.rope_theta, config.context_len) == (None, 1e6, 32768)
    assert (V02.vocab_size, V03.vocab_size) == (32000, 32768)


def test_parameters():
    assert V01.n_params == V02.n_params == 7_241_732_096
    assert V03.n_params == 7_248_023_552
    layer = {n: s for n, s in V01.weight_shapes().items() if n.startswith("layers.7.")}
    assert sum(np.prod(shape) for shape in layer.values()) == 218_112_000
    assert 900_000 < TINY.n_params < 1_100_000


@pytest.mark.parametrize("config", [V01, V03, TINY], ids=["v0.1", "v0.3", "tiny"])
def test_parameters_as_transformers_counts_them(config):
    """transformers builds the model on `meta`, and its parameters are counted."""
    from transformers import MistralConfig, MistralForCausalLM

    published = MistralConfig(
        vocab_size=config.vocab_size, hidden_size=config.dim, num_hidden_layers=config.n_layers,
        num_attention_heads=config.n_heads, num_key_value_heads=config.n_kv_heads,
        head_dim=config.head_dim, intermediate_size=config.hidden_dim,
    )  # fmt: skip
    with torch.device("meta"):
        model = MistralForCausalLM(published)
    theirs = [tuple(p.shape) for p in model.parameters()]
    assert sorted(theirs) == sorted(config.weight_shapes().values())
    assert sum(p.numel() for p in model.parameters()) == config.n_params


def test_every_count_is_exact_at_any_size():
    """No weight is named for them, so 10**18 layers take no time."""
    deep = dataclasses.replace(V01, n_layers=10**18)
    layer = (V01.n_params - V01.params_by_part()["embedding"] * 2 - 4096) // 32
    assert deep.n_params == 2 * 32000 * 4096 + 4096 + layer * 10**18
    assert deep.cache_bytes(1) == 10**18 * V01.cache_bytes(1) // 32
    assert sum(V01.params_by_part().values()) == sum(
        np.prod(shape) for shape in V01.weight_shapes().values()
    )
    with pytest.raises(ValueError, match=r"^n_layers must be below 65537, not 65537$"):
        dataclasses.replace(TINY, n_layers=2**16 + 1).weight_shapes()
    assert len(dataclasses.replace(TINY, n_layers=100).weight_shapes()) == 903


def test_cache_bytes():
    assert V01.cache_bytes(1, "bfloat16") == 131_072
    assert V01.cache_bytes(32768, "bf16") == V01.cache_bytes(4096) == 512 * 2**20
    assert V02.cache_bytes(32768, torch.bfloat16) == 4 * 2**30
    assert dataclasses.replace(V02, n_kv_heads=32).cache_bytes(32768) == 16 * 2**30
    assert V01.cache_bytes(0) == 0
    assert V01.cache_bytes(10, np.float32) == 2 * V01.cache_bytes(10, np.dtype("float16"))


def test_flops():
    """Against counts that are published or worked out by hand."""
    assert round(V01.prefill_flops(32768) / 1e12) == 532
    assert round(V02.prefill_flops(32768) / 1e12) == 747
    assert round(V02.attention_flops(16384) / V01.attention_flops(16384), 2) == 2.29
    assert round(V02.prefill_flops(16384) / V01.prefill_flops(16384), 2) == 1.15


@given(st.integers(1, 200), st.one_of(st.none(), st.integers(1, 60)))
def test_reading_costs_what_writing_token_by_token_costs(tokens, window):
    config = dataclasses.replace(TINY, window_size=window)
    assert config.prefill_flops(tokens) == sum(
        config.decode_flops(context) for context in range(1, tokens + 1)
    )


@given(st.integers(0, 60), st.one_of(st.none(), st.integers(1, 70)))
def test_visible_pairs_counts_the_mask(tokens, window):
    positions = np.arange(tokens)
    assert visible_pairs(tokens, window) == window_mask(positions, positions, window).sum()


BAD_FIELDS = [
    ("dim", 0, ValueError),
    ("n_layers", -1, ValueError),
    ("head_dim", 3, ValueError),
    ("head_dim", 2.0, TypeError),
    ("hidden_dim", "448", TypeError),
    ("n_heads", True, TypeError),
    ("n_heads", 5, ValueError),
    ("n_kv_heads", 3, ValueError),
    ("n_kv_heads", 8, ValueError),
    ("window_size", 0, ValueError),
    ("window_size", -4, ValueError),
    ("window_size", 4.0, TypeError),
    ("window_size", False, TypeError),
    ("context_len", 0, ValueError),
    ("vocab_size", None, TypeError),
    ("norm_eps", 0, ValueError),
    ("norm_eps", float("nan"), ValueError),
    ("norm_eps", "1e-5", TypeError),
    ("rope_theta", float("inf"), ValueError),
    ("rope_theta", -1e4, ValueError),
]


@pytest.mark.parametrize(("field", "value", "error"), BAD_FIELDS)
def test_a_bad_field_is_named(field, value, error):
    with pytest.raises(error) as caught:
        dataclasses.replace(TINY, **{field: value})
    assert field in str(caught.value)
    assert str(value).strip("-") in str(caught.value)


@pytest.mark.parametrize(
    ("call", "named", "error"),
    [
        (lambda: ModelConfig.mistral_7b("v0.4"), "version", ValueError),
        (lambda: TINY.cache_bytes(-1), "tokens", ValueError),
        (lambda: TINY.cache_bytes(1.5), "tokens", TypeError),
        (lambda: TINY.cache_bytes(1, "int3"), "dtype", ValueError),
        (lambda: TINY.prefill_flops(-1), "tokens", ValueError),
        (lambda: TINY.decode_flops(0), "context", ValueError),
        (lambda: visible_pairs(3, 0), "window", ValueError),
        (lambda: visible_pairs(-3, 2), "n_tokens", ValueError),
        (lambda: bytes_per_value("float7"), "dtype", ValueError),
    ],
)
def test_a_bad_argument_is_named(call, named, error):
    with pytest.raises(error, match=named):
        call()


def test_a_config_cannot_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TINY.dim = 7


def test_numpy_integers_are_whole_numbers():
    assert dataclasses.replace(TINY, dim=np.int64(128)) == TINY
