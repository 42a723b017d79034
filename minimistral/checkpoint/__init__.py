"""Checkpoints in both published formats: their names, configs, headers and files.

A checkpoint is a folder with a config in JSON and weights. Mistral's own format has params.json
and consolidated.safetensors (or consolidated.00.pth). Hugging Face's has config.json and
model.safetensors, or several shards with an index. What np and pt have in common is here; `load`
and `save` are in np/checkpoint.py and pt/checkpoint.py. adapters.py does the same for adapters.
"""

from minimistral.checkpoint.adapters import open_adapter, write_adapter
from minimistral.checkpoint.configs import config_text, read_config, unknown_keys
from minimistral.checkpoint.files import CONFIG_FILE, DTYPES, FORMATS, progress_bar
from minimistral.checkpoint.findings import left_behind
from minimistral.checkpoint.memory import free_memory, needed_bytes, require_memory
from minimistral.checkpoint.names import hf_name, rotated_heads, to_halves, to_pairs
from minimistral.checkpoint.reading import Checkpoint, Stored, formats_in, open_checkpoint
from minimistral.checkpoint.writing import plan_shards, write_checkpoint

__all__ = [
    "CONFIG_FILE", "DTYPES", "FORMATS", "Checkpoint", "Stored", "config_text", "formats_in",
    "free_memory", "hf_name", "left_behind", "needed_bytes", "open_adapter", "open_checkpoint",
    "plan_shards", "progress_bar", "read_config", "require_memory", "rotated_heads",
    "to_halves", "to_pairs", "unknown_keys", "write_adapter", "write_checkpoint",
]  # fmt: skip
