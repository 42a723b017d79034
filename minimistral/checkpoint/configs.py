"""params.json and config.json: the same numbers under two sets of names."""

import json
import os
from pathlib import Path
from typing import Any

from minimistral._arguments import require_count, require_number
from minimistral.checkpoint.files import FORMATS, as_json, json_object, require_format
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
# With any other value of these settings the model would compute something else. null counts as
# not given, except for those that are text.
_ONLY: dict[str, dict[str, Any]] = {
    "mistral": {
        "model_type": "transformer", "moe": None, "vision_encoder": None, "yarn": None,
        "llama_4_scaling": None, "use_biases": False, "tied_embeddings": False, "causal": True,
        "qk_norm": False, "ragged_attention": False,
    },
    "hf": {
        "model_type": "mistral", "hidden_act": "silu", "tie_word_embeddings": False,
        "is_causal": True, "is_encoder_decoder": False, "add_cross_attention": False,
        "attention_bias": False, "mlp_bias": False, "qk_norm": False, "use_qk_norm": False,
        "partial_rotary_factor": 1, "attention_chunk_size": None,
    },
}  # fmt: skip
# Read elsewhere in this file, or in reading.py (lora)
_UNDERSTOOD = {
    "mistral": {"lora", "rope_scaling", "_sliding_window", "max_position_embeddings",
                "quantization", "quantization_config"},
    "hf": {"rope_scaling", "rope_parameters", "layer_types", "use_sliding_window", "quantization",
           "quantization_config"},
}  # fmt: skip
# These change no logit: they are about training, classes, ids of tokens, or who wrote the file.
_HARMLESS = {
    "mistral": {"max_batch_size", "dtype", "torch_dtype", "bos_token_id", "eos_token_id",
                "pad_token_id"},
    "hf": {"_attn_implementation", "_attn_implementation_autoset", "_commit_hash", "_name_or_path",
           "architectures", "attention_dropout", "bos_token_id", "chunk_size_feed_forward",
           "dtype", "eos_token_id", "id2label", "initializer_range", "label2id",
           "output_attentions", "output_hidden_states", "pad_token_id", "pretraining_tp",
           "problem_type", "return_dict", "torch_dtype", "transformers_version", "unk_token_id",
           "unsloth_fixed", "unsloth_version", "use_cache"},
}  # fmt: skip
_LAYER_KINDS = {True: "sliding_attention", False: "full_attention"}  # with a window, without


def _keys(format: str) -> dict[str, str]:
    return {name: keys[FORMATS.index(format)] for name, keys in _KEYS.items()}


def read_config(file: str | os.PathLike, format: str) -> ModelConfig:
    """The ModelConfig that a params.json ("mistral") or a config.json ("hf") describes.

    Raises ValueError or TypeError, naming the file and the key, when a value is missing or not
    allowed, or asks for another kind of model: experts, tied embeddings, scaled RoPE, layers of
    different kinds. In params.json, whose keys no library defines in full, it is an error too
    when a key is not known; `unknown_keys` names those of config.json.
    """
    require_format(format)
    file = Path(file)
    settings = json_object(file.read_bytes(), file)
    _require_plain_weights(settings, file)
    for key, only in _ONLY[format].items():
        value = settings.get(key, only)
        if value != only and not (value is None and not isinstance(only, str)):
            raise ValueError(f"{key} in {file} must be {as_json(only)}, not {as_json(value)}")
    values = (_hf_values if format == "hf" else _mistral_values)(settings, file)
    checked: dict[str, Any] = {}
    for name, key in _keys(format).items():
        if name == "head_dim" and values.get(name) is None:
            continue
        if name not in values:
            raise ValueError(f"{file} lacks {key!r}")
        checked[name] = _checked(name, f"{key} in {file}", values[name])
    checked.setdefault("head_dim", checked["dim"] // checked["n_heads"])
    if format == "hf":
        _require_one_kind(settings, checked["window_size"], checked["n_layers"], file)
    elif unknown := unknown_keys(settings, format):
        named = ", ".join(f"{as_json(key)}: {as_json(settings[key])}" for key in unknown)
        raise ValueError(
            f"{file} has what is not known here, and may change the result: {named};"
            " remove what does not"
        )
    try:
        return ModelConfig(**checked)
    except ValueError as error:
        raise ValueError(f"{file}: {error}") from None


def unknown_keys(settings: dict[str, Any], format: str) -> list[str]:
    """The keys of a config file that are neither read here nor known to change nothing.

    A null is treated as not given. transformers ignores such keys of a config.json too.

    >>> unknown_keys({"dim": 8, "max_batch_size": 1, "qk_clip": True, "x": None}, "mistral")
    ['qk_clip']
    """
    known = {*_keys(format).values(), *_ONLY[format], *_UNDERSTOOD[format], *_HARMLESS[format]}
    return [key for key, value in settings.items() if value is not None and key not in known]


def _require_plain_weights(settings: dict[str, Any], file: Path) -> None:
    for key in ("quantization_config", "quantization"):
        value = settings.get(key)
        if value is not None:
            raise ValueError(
                f"{key} in {file} must be null, not {as_json(value)}: quantised weights are not"
                ' supported; load the original ones, with quantize="int8" if memory is small'
            )


def _require_one_kind(
    settings: dict[str, Any], window: int | None, n_layers: int, file: Path
) -> None:
    """Raise unless all layers attend alike. transformers reads layer_types, if it is there."""
    kind = _LAYER_KINDS[window is not None]
    because = f"because sliding_window is {as_json(window)}"
    kinds = settings.get("layer_types")
    same = isinstance(kinds, list) and len(kinds) == n_layers and all(k == kind for k in kinds)
    if kinds is not None and not same:
        raise ValueError(
            f"layer_types in {file} must be {as_json(kind)} for each of the {n_layers} layers,"
            f" {because}, not {as_json(kinds)}"
        )
    used = settings.get("use_sliding_window")
    if used is not None and used != (window is not None):
        raise ValueError(
            f"use_sliding_window in {file} must be {as_json(window is not None)}, {because},"
            f" not {as_json(used)}"
        )


def _mistral_values(settings: dict[str, Any], file: Path) -> dict[str, Any]:
    """params.json. Only v0.1 has a window, and its file has neither theta nor context length.

    mistral-inference assumes theta 1e6 if there is none, which is wrong for v0.1: it needs 1e4.
    """
    window = _mistral_window(settings, file)
    windowed = window is not None
    values = {"context_len": 8192 if windowed else 32768, "rope_theta": 1e4 if windowed else 1e6}
    if _rope(settings, "rope_scaling", file).get("rope_theta") is not None:
        raise ValueError(f"rope_theta in {file} must stand by itself, not within rope_scaling")
    values |= _given(settings, "mistral") | {"window_size": window}
    newer = settings.get("max_position_embeddings")  # its name in newer files
    if newer is not None and settings.get("max_seq_len", newer) not in (newer, None):
        raise ValueError(
            f"max_seq_len and max_position_embeddings in {file} must be equal, not"
            f" {as_json(settings['max_seq_len'])} and {as_json(newer)}"
        )
    return values if newer is None else values | {"context_len": newer}


def _mistral_window(settings: dict[str, Any], file: Path) -> Any:
    """The window, which mistral-inference reads from either of two keys, also as a list.

    A list holds one window a layer, and is repeated if it is shorter than the layers are many.
    """
    given = {key: settings[key] for key in ("sliding_window", "_sliding_window")
             if settings.get(key) is not None}  # fmt: skip
    if len(given) > 1:
        raise ValueError(f"{file} must have one of {' and '.join(given)}, not both")
    for key, value in given.items():
        windows = value if isinstance(value, list) else [value]
        label = f"{key} in {file}"
        if not windows or any(window != windows[0] for window in windows):
            raise ValueError(f"{label} must be one window for all layers, not {as_json(value)}")
        n_layers = settings.get("n_layers")
        if isinstance(n_layers, int) and n_layers > 0 and n_layers % len(windows):
            raise ValueError(
                f"{label} must have a length that divides n_layers = {n_layers},"
                f" not {as_json(value)}"
            )
        return _checked("window_size", label, windows[0])
    return None


def _hf_values(settings: dict[str, Any], file: Path) -> dict[str, Any]:
    """config.json, with the defaults of transformers' MistralConfig."""
    # rope_scaling comes first, as in transformers; rope_parameters is its name since version 5.
    rope = _rope(settings, "rope_scaling", file) or _rope(settings, "rope_parameters", file)
    values: dict[str, Any] = {"window_size": 4096, "norm_eps": 1e-6, "rope_theta": 1e4}
    values |= _given(settings, "hf")
    if "sliding_window" in settings:
        values["window_size"] = settings["sliding_window"]  # null is a value here: no window
    if rope.get("rope_theta") is not None:
        values["rope_theta"] = rope["rope_theta"]
    return values


def _rope(settings: dict[str, Any], key: str, file: Path) -> dict[str, Any]:
    """An object about RoPE, {} if there is none. It may say no more than theta: no scaling."""
    rope = settings.get(key)
    if rope is None:
        return {}
    if not isinstance(rope, dict):
        raise TypeError(f"{key} in {file} must be an object, not {as_json(rope)}")
    allowed = {"rope_type": "default", "type": "default", "partial_rotary_factor": 1}
    for name, value in rope.items():
        if name != "rope_theta" and value is not None and value != allowed.get(name):
            only = as_json(allowed.get(name))
            raise ValueError(
                f"{name} of {key} in {file} must be {only}, not {as_json(value)}: scaled or"
                " partial RoPE is not supported"
            )
    return rope


def _given(settings: dict[str, Any], format: str) -> dict[str, Any]:
    """The fields that a config file gives. A null is treated as not given."""
    keys = _keys(format).items()
    return {name: settings[key] for name, key in keys if settings.get(key) is not None}


def _checked(name: str, label: str, value: Any) -> Any:
    """One value of a config file, or an error that names the key and the file by `label`."""
    if name == "window_size" and value is None:
        return None
    whole = name not in ("norm_eps", "rope_theta")
    if isinstance(value, bool) or not isinstance(value, int if whole else int | float):
        kind = "a whole number" if whole else "a number"
        raise TypeError(f"{label} must be {kind}, not {as_json(value)}")
    return require_count(label, value) if whole else require_number(label, value, above=0)


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
