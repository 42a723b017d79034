"""params.json and config.json: the same numbers under two sets of names."""

import json
import os
from pathlib import Path
from typing import Any

from minimistral._arguments import require_count, require_number
from minimistral.checkpoint.files import FORMATS, json_object, require_format
from minimistral.config import ModelConfig

_KEYS = {  # field of ModelConfig: key in params.json, key in config.json
    "dim": ("dim", "hidden_size"),
    "n_layers": ("n_layers", "num_hidden_layers"),
    "head_dim": ("head_dim", "head_dim"),
    "hidden_dim": ("hidden_dim", "intermediate_size"),
    "n_heads": ("n_heads", "num_attention_heads"),
    "n_kv_heads": ("n_kv_heads", "num_key_value_heads"),
    "window_size": ("sliding_window", "sliding_window"),
    "context_len": ("max_seq_len", "max_position_embeddings"),
    "vocab_size": ("vocab_size", "vocab_size"),
    "norm_eps": ("norm_eps", "rms_norm_eps"),
    "rope_theta": ("rope_theta", "rope_theta"),
}
_ONLY = {  # with any other value of these settings the model would compute something else
    "mistral": {
        "model_type": "transformer", "moe": None, "lora": None, "vision_encoder": None,
        "quantization": None, "yarn": None, "use_biases": False, "tied_embeddings": False,
    },
    "hf": {
        "model_type": "mistral", "hidden_act": "silu", "rope_scaling": None,
        "quantization_config": None, "tie_word_embeddings": False,
    },
}  # fmt: skip


def _keys(format: str) -> dict[str, str]:
    return {name: keys[FORMATS.index(format)] for name, keys in _KEYS.items()}


def read_config(file: str | os.PathLike, format: str) -> ModelConfig:
    """The ModelConfig that a params.json ("mistral") or a config.json ("hf") describes.

    Raises ValueError or TypeError, naming the file and the key, when a value is missing or not
    allowed, or asks for another kind of model: experts, tied embeddings, scaled RoPE.
    """
    require_format(format)
    file = Path(file)
    settings = json_object(file.read_bytes(), file)
    for key, only in _ONLY[format].items():
        if settings.get(key, only) != only:
            raise ValueError(f"{key} in {file} must be {only!r}, not {settings[key]!r}")
    values = _hf_values(settings, file) if format == "hf" else _mistral_values(settings)
    checked: dict[str, Any] = {}
    for name, key in _keys(format).items():
        if name == "head_dim" and values.get(name) is None:
            continue
        if name not in values:
            raise ValueError(f"{file} lacks {key!r}")
        checked[name] = _checked(name, f"{key} in {file}", values[name])
    checked.setdefault("head_dim", checked["dim"] // checked["n_heads"])
    try:
        return ModelConfig(**checked)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def _mistral_values(settings: dict[str, Any]) -> dict[str, Any]:
    """params.json. Only v0.1 has a window, and its file has neither theta nor context length.

    mistral-inference assumes theta 1e6 if there is none, which is wrong for v0.1: it needs 1e4.
    """
    windowed = settings.get("sliding_window") is not None
    values = {
        "window_size": None,
        "context_len": 8192 if windowed else 32768,
        "rope_theta": 1e4 if windowed else 1e6,
    }
    return values | _given(settings, "mistral")


def _hf_values(settings: dict[str, Any], file: Path) -> dict[str, Any]:
    """config.json, with the defaults of transformers' MistralConfig."""
    rope = settings.get("rope_parameters") or {}  # since transformers 5
    if not isinstance(rope, dict):
        raise TypeError(f"rope_parameters in {file} must be an object, not {rope!r}")
    rope_type = rope.get("rope_type", rope.get("type", "default"))
    if rope_type != "default":
        raise ValueError(f"rope_type in {file} must be 'default', not {rope_type!r}")
    values: dict[str, Any] = {"window_size": 4096, "norm_eps": 1e-6, "rope_theta": 1e4}
    values |= _given(settings, "hf")
    if "sliding_window" in settings:
        values["window_size"] = settings["sliding_window"]  # null is a value here: no window
    if rope.get("rope_theta") is not None:
        values["rope_theta"] = rope["rope_theta"]
    return values


def _given(settings: dict[str, Any], format: str) -> dict[str, Any]:
    """The fields that a config file gives. A null is treated as not given."""
    keys = _keys(format).items()
    return {name: settings[key] for name, key in keys if settings.get(key) is not None}


def _checked(name: str, label: str, value: Any) -> Any:
    """One value of a config file, or an error that names the key and the file by `label`."""
    if name in ("norm_eps", "rope_theta"):
        return require_number(label, value, above=0)
    return None if name == "window_size" and value is None else require_count(label, value)


def config_text(config: ModelConfig, format: str, dtype: str) -> str:
    """The text of params.json or config.json, from which `read_config` makes the same config."""
    values = {key: getattr(config, name) for name, key in _keys(format).items()}
    if format == "hf":
        values |= {
            "architectures": ["MistralForCausalLM"],
            "model_type": "mistral",
            "hidden_act": "silu",
            "tie_word_embeddings": False,
            "bos_token_id": 1,
            "eos_token_id": 2,
            # transformers 5 reads rope_parameters and dtype; 4 reads rope_theta and torch_dtype.
            "rope_parameters": {"rope_type": "default", "rope_theta": config.rope_theta},
            "dtype": dtype,
            "torch_dtype": dtype,
        }
    elif config.window_size is None:
        del values["sliding_window"]  # as in the params.json of v0.2 and v0.3
    return json.dumps(values, indent=2) + "\n"
