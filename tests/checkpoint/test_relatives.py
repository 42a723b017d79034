"""Models of other families: what lesson 13 says of them holds of those that others wrote."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
import transformers
from models import small
from safetensors.numpy import load_file

from minimistral import np as mn
from minimistral.checkpoint import read_config

SIZES = dict(
    hidden_size=24, num_hidden_layers=3, num_attention_heads=4, num_key_value_heads=2, head_dim=10,
    intermediate_size=36, vocab_size=30, max_position_embeddings=64, attn_implementation="eager",
)  # fmt: skip
IDS = np.random.default_rng(0).integers(0, 30, (2, 21))


def made(family, folder, **settings):
    """A random model of another family, saved by its own program."""
    torch.manual_seed(0)
    config = getattr(transformers, f"{family}Config")(**SIZES, **settings)
    model = getattr(transformers, f"{family}ForCausalLM")(config).float().eval()
    model.save_pretrained(folder)
    return model


def renamed(folder, **more):
    file = folder / "config.json"
    settings = json.loads(file.read_text()) | {"model_type": "mistral", "sliding_window": None}
    file.write_text(json.dumps(settings | more))


def test_a_llama_3_is_a_mistral_without_a_window(tmp_path):
    theirs = made("Llama", tmp_path, rope_parameters={"rope_type": "default", "rope_theta": 5e5})
    with pytest.raises(ValueError, match=r'model_type .* must be "mistral", not "llama"'):
        mn.load(tmp_path)
    renamed(tmp_path)
    ours = mn.load(tmp_path)
    assert ours.config.rope_theta == 5e5 and ours.config.window_size is None
    with torch.no_grad():
        expected = theirs(torch.from_numpy(IDS)).logits.numpy()
    np.testing.assert_allclose(ours(IDS), expected, atol=2e-5)


def test_a_llama_3_1_is_refused_for_its_rotation(tmp_path):
    rope = {"rope_type": "llama3", "rope_theta": 5e5, "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 32}  # fmt: skip
    made("Llama", tmp_path, rope_parameters=rope)
    renamed(tmp_path)
    with pytest.raises(ValueError, match=r"of rope_parameters .*: scaled or partial RoPE"):
        mn.load(tmp_path)


def test_a_qwen3_is_refused_for_the_norms_that_only_its_file_shows(tmp_path):
    made("Qwen3", tmp_path)
    renamed(tmp_path, use_sliding_window=None, layer_types=None)
    assert read_config(tmp_path / "config.json", "hf").n_layers == 3
    assert "model.layers.0.self_attn.q_norm.weight" in load_file(tmp_path / "model.safetensors")
    with pytest.raises(ValueError, match=r"unknown tensor, 'model.layers.0.self_attn.[qk]_norm"):
        mn.load(tmp_path)


def test_a_gemma_is_refused_for_its_gate(tmp_path):
    made("Gemma", tmp_path, hidden_act="gelu")
    renamed(tmp_path)
    with pytest.raises(ValueError, match=r"(hidden_act|tie_word_embeddings) .* must be"):
        mn.load(tmp_path)


def test_heads_need_not_fill_dim(tmp_path):
    """As in Mistral Nemo, whose 32 heads of 128 are 4,096 numbers, where dim is 5,120."""
    config = replace(small(), dim=24, n_heads=4, n_kv_heads=2, head_dim=10, window_size=None)
    model = mn.Mistral(config, seed=1)
    mn.save(model, tmp_path, "hf")
    theirs = transformers.MistralForCausalLM.from_pretrained(
        tmp_path, dtype=torch.float32, attn_implementation="eager"
    )
    ids = IDS % config.vocab_size
    with torch.no_grad():
        expected = theirs(torch.from_numpy(ids)).logits.numpy()
    np.testing.assert_allclose(mn.load(tmp_path)(ids), expected, atol=2e-5)
