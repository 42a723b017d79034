"""The player of lesson 13: every weight of a checkpoint, by both of its names."""

import math
import os
import tempfile

from minimistral import np as mn
from minimistral import tiny
from minimistral.checkpoint import Checkpoint, hf_name, open_checkpoint
from minimistral.config import bytes_per_value
from minimistral.course.draw import Entry, name_map_svg
from minimistral.course.widgets.player import Player

_HEADER_NAMES = {"bfloat16": "BF16", "float16": "F16", "float32": "F32", "float64": "F64"}


def name_map(path: str | os.PathLike | None = None) -> Player:
    """Names, shape, bytes and place of each weight; one slider, `name`, by Hugging Face's name.

    path: a folder in Hugging Face's format with all weights in one file; if None, the tiny model
    is written to a temporary folder in that format. Only the header is read. Raises the errors
    of `open_checkpoint`, and ValueError when the weights are in several files.

    >>> player = name_map()
    >>> player.set(name="model.layers.1.self_attn.k_proj.weight")
    >>> print(player.words.replace("; ", ";\\n"))       # doctest: +ELLIPSIS
    model.layers.1.self_attn.k_proj.weight is Mistral's layers.1.attention.wk.weight;
    64 × 128 numbers in F32, 32,768 bytes from byte ...;
    rows put in pairs, for each of 2 heads.
    """
    if path is None:
        with tempfile.TemporaryDirectory() as folder:
            mn.save(mn.load(tiny.FOLDER), folder, "hf")
            return name_map(folder)
    checkpoint = open_checkpoint(path, "hf")
    entries = entries_of(checkpoint)
    theirs = [entry.theirs for entry in entries]

    def draw(name: str) -> tuple[str, str]:
        n = theirs.index(name)
        return name_map_svg(entries, n), _words(entries[n])

    return Player("Name map", {"name": theirs}, draw)


def entries_of(checkpoint: Checkpoint) -> list[Entry]:
    """The weights of an open checkpoint of one file, in the order in which they lie there."""
    files = {stored.file.name for stored in checkpoint.tensors.values()}
    if len(files) > 1:
        raise ValueError(f"path must hold all weights in one file, not in {len(files)}")
    entries = [
        Entry(
            hf_name(name), name, _HEADER_NAMES[stored.dtype], stored.shape, stored.offset,
            stored.offset + bytes_per_value(stored.dtype) * math.prod(stored.shape),
            _rows(stored.heads),
        )
        for name, stored in checkpoint.tensors.items()
    ]  # fmt: skip
    return sorted(entries, key=lambda entry: entry.start)


def _rows(heads: int) -> str:
    return f"put in pairs, for each of {heads} heads" if heads else "as they are"


def _words(entry: Entry) -> str:
    shape = " × ".join(f"{n:,}" for n in entry.shape)
    return (
        f"{entry.theirs} is Mistral's {entry.ours}; {shape} numbers in {entry.dtype},"
        f" {entry.stop - entry.start:,} bytes from byte {entry.start:,}; rows {entry.rows}."
    )
