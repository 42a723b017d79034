"""Adapters (LoRA) in PEFT's format: a folder with a config in JSON and one safetensors file.

PEFT names what an adapter adds to Hugging Face's model: the name of the matrix with lora_A and
lora_B behind it. B's rows are those of the matrix, so for queries and keys they are in Hugging
Face's order, as in a checkpoint.
"""

import json
import math
import os
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

from minimistral._arguments import require_count, require_number
from minimistral.checkpoint.files import ADAPTER_FILES, DTYPES, as_folder, as_json, json_object
from minimistral.checkpoint.findings import what_is_there
from minimistral.checkpoint.names import HF_NAMES, hf_name, rotated_heads
from minimistral.checkpoint.reading import Checkpoint, Stored, tensors_in
from minimistral.checkpoint.writing import replace_files
from minimistral.config import ADAPTABLE, ModelConfig, require_adaptable, require_config

_HF_TARGETS = {  # Hugging Face's short name of each matrix: Mistral's
    HF_NAMES[f"layers.N.{name}"].rpartition(".")[2]: target for target, name in ADAPTABLE.items()
}
# With any other value of these settings the adapter would compute something else, or be more than
# A and B. null, false and what is empty count as not given.
_ONLY: dict[str, Any] = {
    "peft_type": "LORA", "bias": "none", "fan_in_fan_out": False, "lora_bias": False,
    "use_dora": False, "use_qalora": False, "modules_to_save": [], "rank_pattern": {},
    "alpha_pattern": {}, "layers_to_transform": [], "layer_replication": [],
    "target_parameters": [], "trainable_token_indices": [],
}  # fmt: skip
# How A and B began, where the matrix stayed as it was. PiSSA, OLoRA, LoftQ and others take their
# part out of the matrix, so the base model alone is not what they add to.
_BEGINNINGS = (True, False, "gaussian", "eva", "orthogonal")
_IS_PAIR = re.compile(r"\.lora_[AB]\.weight$")
_UNDERSTOOD = {"r", "lora_alpha", "use_rslora", "target_modules", "init_lora_weights"}
# These change no logit: they are about training, about the tensors that are there anyway, or
# about who wrote the file.
_HARMLESS = {
    "auto_mapping", "base_model_name_or_path", "corda_config", "ensure_weight_tying", "eva_config",
    "exclude_modules", "inference_mode", "layers_pattern", "loftq_config", "lora_dropout",
    "lora_ga_config", "megatron_config", "megatron_core", "peft_version", "qalora_group_size",
    "revision", "runtime_config", "task_type",
}  # fmt: skip


def open_adapter(path: str | os.PathLike, config: ModelConfig) -> tuple[Checkpoint, dict[str, Any]]:
    """Open an adapter for a model of this config and check all of it, but read no number yet.

    -> its tensors, by the names of config.adapter_shapes(), and its rank, alpha and targets.
    rsLoRA's scale, alpha / sqrt(r) (Kalajdzievski
    2023), is the same as that of a larger alpha. Raises FileNotFoundError when there is no
    adapter; ValueError or TypeError, naming the file and the key or the tensor, when something is
    wrong, or would compute something else than LoRA does here.
    """
    folder = as_folder(path)
    require_config(config)
    config_file, weights_file = (folder / file for file in ADAPTER_FILES)
    if not (config_file.is_file() and weights_file.is_file()):
        raise FileNotFoundError(_no_adapter(folder))
    settings = json_object(config_file.read_bytes(), config_file)
    _require_lora(settings, config_file)
    rank = require_count(f"r in {config_file}", settings.get("r"))
    alpha = require_number(f"lora_alpha in {config_file}", settings.get("lora_alpha"), above=0)
    if settings.get("use_rslora"):
        alpha *= math.sqrt(rank)
    stored = tensors_in(weights_file)
    targets = _targets(settings, stored, config_file)
    tensors = _required(config, rank, targets, stored, weights_file)
    found = {"rank": rank, "alpha": alpha, "targets": targets}
    return Checkpoint(config, "hf", tensors), found


def _no_adapter(folder: Path) -> str:
    if not folder.is_dir():
        return f"there is no folder {folder}"
    needed = " with ".join(ADAPTER_FILES)
    found = what_is_there(folder)
    if (folder / "adapter_model.bin").exists():
        found = (
            "adapter_model.bin is a pickle, which can run any code and is not read: open it with"
            " PEFT and save it again with save_pretrained"
        )
    return f"{folder} holds no adapter: it needs {needed}; {found}"


def _require_lora(settings: dict[str, Any], file: Path) -> None:
    """Raise ValueError, naming the key, unless A and B are all that the adapter is."""
    for key, only in _ONLY.items():
        value = settings.get(key)
        if value != only and (value or key == "peft_type"):
            raise ValueError(f"{key} in {file} must be {as_json(only)}, not {as_json(value)}")
    if settings.get("use_rslora") not in (None, True, False):
        value = as_json(settings["use_rslora"])
        raise ValueError(f"use_rslora in {file} must be true or false, not {value}")
    begun = settings.get("init_lora_weights")
    if begun is not None and begun not in _BEGINNINGS:
        raise ValueError(
            f"init_lora_weights in {file} must be one of {', '.join(map(as_json, _BEGINNINGS))},"
            f" not {as_json(begun)}, which changes the base model's weights as well"
        )
    known = {*_ONLY, *_UNDERSTOOD, *_HARMLESS}
    for key, value in settings.items():
        if value and key not in known:
            raise ValueError(
                f"{file} has what is not known here, and may change the result:"
                f" {as_json(key)}: {as_json(value)}"
            )


def _targets(settings: dict[str, Any], stored: dict[str, Stored], file: Path) -> tuple[str, ...]:
    """Which matrices are adapted, by Mistral's short names.

    As a list it names them, by their last names or in full. As a text it is a regular expression,
    which is not run here: then they are those that have tensors.
    """
    names = settings.get("target_modules")
    if isinstance(names, str):
        names = [key.rpartition(".lora_")[0] for key in stored if _IS_PAIR.search(key)]
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise TypeError(f"target_modules in {file} must be a list of names, not {as_json(names)}")
    short = {name.rpartition(".")[2]: name for name in names}
    for last, name in short.items():
        if last not in _HF_TARGETS:
            allowed = ", ".join(_HF_TARGETS)
            raise ValueError(f"target_modules in {file} must be out of {allowed}, not {name!r}")
    if not short:
        raise ValueError(f"target_modules in {file} must name a matrix, but is empty")
    return require_adaptable([_HF_TARGETS[last] for last in short])


def _required(
    config: ModelConfig,
    rank: int,
    targets: tuple[str, ...],
    stored: dict[str, Stored],
    file: Path,
) -> dict[str, Stored]:
    """A and B of all target matrices by Mistral's names; raises unless all are there and fit."""
    shapes = config.adapter_shapes(rank, targets)
    ours = {peft_name(name): name for name in shapes}
    for key in stored:
        if key not in ours:
            raise ValueError(f"{file} has an unknown tensor, {key!r}")
    missing = [key for key in ours if key not in stored]
    if missing:
        more = f" and {len(missing) - 1} more" * (len(missing) > 1)
        raise ValueError(f"{file} lacks the tensor {missing[0]!r}{more}")
    for key, name in ours.items():
        if stored[key].shape != shapes[name]:
            raise ValueError(
                f"{key!r} in {file} must be {shapes[name]}, because r is {rank}, not"
                f" {stored[key].shape}"
            )
        if stored[key].dtype not in DTYPES:
            allowed = ", ".join(DTYPES)
            raise ValueError(f"{key!r} in {file} must be one of {allowed}, not {stored[key].dtype}")
    return {
        name: replace(stored[key], heads=rotated_heads(config, name)) for key, name in ours.items()
    }


def peft_name(name: str) -> str:
    """PEFT's name of A or B of a matrix.

    >>> peft_name("layers.3.attention.wq.lora_A.weight")
    'base_model.model.model.layers.3.self_attn.q_proj.lora_A.weight'
    """
    stem, which = re.fullmatch(r"(.+)\.(lora_[AB])\.weight", name).groups()  # type: ignore[union-attr]
    return f"base_model.model.{hf_name(f'{stem}.weight').removesuffix('weight')}{which}.weight"


def write_adapter(
    path: str | os.PathLike,
    config: ModelConfig,
    rank: int,
    alpha: float,
    targets: tuple[str, ...],
    base: str | None,
    write_file: Callable[[Path, dict[str, str]], None],
    *,
    overwrite: bool,
) -> None:
    """Write an adapter's folder; `write_file` writes the numbers themselves.

    write_file(file, names) writes one safetensors file; names: name in the file -> Mistral's.
    Old files are replaced only once all new ones are complete. Raises the errors of
    `save_adapter`.
    """
    folder = as_folder(path)
    if base is not None and not isinstance(base, str):
        raise TypeError(f"base must be the name or path of a model, or None, not {base!r}")
    old = [folder / file for file in ADAPTER_FILES if os.path.lexists(folder / file)]
    if old and not overwrite:
        raise ValueError(f"{old[0]} already exists; overwrite=True replaces the adapter")
    config_file, weights_file = ADAPTER_FILES
    theirs = {ours: name for name, ours in _HF_TARGETS.items()}
    settings = {
        "peft_type": "LORA", "task_type": "CAUSAL_LM", "base_model_name_or_path": base,
        "r": rank, "lora_alpha": int(alpha) if alpha == int(alpha) else alpha,
        "target_modules": [theirs[target] for target in targets],
        "lora_dropout": 0.0, "bias": "none", "fan_in_fan_out": False, "use_rslora": False,
        "use_dora": False, "init_lora_weights": True, "inference_mode": True,
    }  # fmt: skip

    def make_files(made: Path) -> None:
        names = {peft_name(name): name for name in config.adapter_shapes(rank, targets)}
        write_file(made / weights_file, names)
        text = json.dumps(settings, indent=2) + "\n"
        (made / config_file).write_text(text, encoding="utf-8")

    replace_files(folder, old, make_files)
