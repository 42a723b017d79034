"""What a folder without a checkpoint holds, and what to do about it; adapters beside a model."""

import json
import os
import re
from pathlib import Path

from minimistral.checkpoint.files import ADAPTER_FILES, CONFIG_FILE, WEIGHT_FILES

_MOST = 8  # names in a message
# PEFT's names; lora.safetensors of mistral-finetune, and what others call theirs
_ADAPTER = re.compile(
    r"adapter_config\.json|adapter_model.*\.(safetensors|bin)|(.*[-_.])?lora([-_.].*)?\.safetensors"
)
_MERGE = "with the library that made it (PEFT: merge_and_unload)"


def require_no_adapter(folder: Path) -> None:
    """Raise ValueError when a folder holds an adapter (LoRA), beside a model or alone.

    The model alone would give other logits than the two together.
    """
    names = sorted(path.name for path in folder.iterdir() if _ADAPTER.fullmatch(path.name.lower()))
    if not names:
        return
    weights = [name for files in WEIGHT_FILES.values() for name in files]
    what, readable = f"holds an adapter ({listed(names)})", {*ADAPTER_FILES} <= {*names}
    if any((folder / name).exists() for name in weights):
        way = f"merge it into the weights {_MERGE}"
        if readable:
            way = "mm.load(path, adapter=path) adds it to the weights"
        raise ValueError(
            f"{folder} {what} beside the model, which is not added to it unasked; {way}, or move it"
            " out of the folder to load the model without it"
        )
    base = _base_model(folder / ADAPTER_FILES[0])
    way = f"merge it into its base model{base} {_MERGE}, save that, and load the result"
    if readable:
        way = f"mm.load(model, adapter=path) adds it to its base model{base.rstrip(',')}"
    raise ValueError(f"{folder} {what} and no model; {way}")


def _base_model(file: Path) -> str:
    try:
        base = json.loads(file.read_bytes())["base_model_name_or_path"]
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return f", {base!r}," if isinstance(base, str) and base else ""


def what_is_there(folder: Path) -> str:
    """What a folder without a checkpoint does hold, and what to do.

    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "tokenizer.json").write_text("{}")
    ...     what_is_there(Path(folder))
    'it holds tokenizer.json, a tokenizer without weights; add the files of the model'
    """
    names = sorted(path.name for path in folder.iterdir())
    if not names:
        return "it is empty"
    return f"it holds {listed(names)}{_advice(folder, names)}"


def _advice(folder: Path, names: list[str]) -> str:
    """What the names tell, and the next step; the most telling comes first."""
    configs = [name for name in CONFIG_FILE.values() if name in names]
    known = [name for files in WEIGHT_FILES.values() for name in files if name in names]
    shards = [name for name in names if name.endswith(".safetensors") and name not in known]
    for name in (*configs, *known):
        file = folder / name
        if file.is_symlink() and not file.exists():
            return f"; {name} is a link to {os.readlink(file)!r}, which does not exist"
        if not file.is_file():
            return f"; {name} is not a file"
    if kept := [path for path in folder.glob(".saving-*/old") if any(path.glob("*"))]:
        newest = max(kept, key=lambda path: path.stat().st_mtime)
        return (
            f"; a save was stopped in the middle, and the files that were there before are in"
            f" {newest.parent.name}/old"
        )
    if pickled := [name for name in names if name.startswith("pytorch_model") and ".bin" in name]:
        return (
            f"; {pickled[0]} is in an old format that is not read: open it with transformers and"
            " save it again with save_pretrained, which writes model.safetensors"
        )
    if quantised := [name for name in names if name.endswith((".gguf", ".ggml"))]:
        return f"; {quantised[0]} is in the format of llama.cpp, which is not supported"
    if configs and not known and shards:
        return f"; {shards[0]} is a part of the weights, but the index of all parts is missing"
    if configs and not known:
        return ", a config without weights; add the files of the weights"
    if known:
        return ", weights without their config; add it"
    if shards:
        return "; neither a config nor an index of the weights is there"
    if any(name.startswith("tokenizer") or ".model" in name for name in names):
        return ", a tokenizer without weights; add the files of the model"
    inside = sorted(path for path in folder.iterdir() if path.is_dir())[:100]
    for child in [*inside, *sorted(folder.glob("snapshots/*"))]:  # of the Hugging Face cache
        if any((child / name).is_file() for name in CONFIG_FILE.values()):
            return f"; give the folder inside it, {child}"
    return ""


def listed(names: list[str]) -> str:
    """Names of files, the first ones if there are many, quoted if they are unusual.

    >>> listed(["a b", "c.json"]), listed(["x"] * 10)
    ("'a b', c.json", 'x, x, x, x, x, x, x, x and 2 more')
    """
    plain = [name if name.isprintable() and " " not in name else repr(name) for name in names]
    more = f" and {len(plain) - _MOST} more" * (len(plain) > _MOST)
    return ", ".join(plain[:_MOST]) + more


def left_behind(folder: Path) -> list[str]:
    """Names of the temporary folders of saves that were killed; nothing reads them."""
    return sorted(path.name for path in folder.glob(".saving-*") if path.is_dir())
