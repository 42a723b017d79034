"""Weights that stay in their file: each product reads the matrix once, some rows at a time.

The weights of Mistral 7B take 27 GiB in float32, and half of that in their bfloat16 files. Here a
matrix is mapped from its file for one product and released after it, so at most one of them is
resident. Its values become float32 a few rows at a time, which stay in the processor's cache, so
main memory moves 2 bytes per parameter, as with weights loaded in bfloat16.
"""

import os
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from itertools import pairwise

import numpy as np

from minimistral.checkpoint import to_pairs

# Up to FEW vectors are multiplied one by one with tiles of TILE values (512 KiB), which stay in
# the processor's cache; the rows are divided among threads here, because such products are too
# small for the BLAS to use its own threads well. More vectors go to the BLAS, in larger tiles.
FEW, TILE, LARGE_TILE = 32, 2**17, 2**22


class MappedMatrix:
    """A weight matrix (out, in) in a file, for `linear(x, matrix)` and `matrix[rows]` in float32.

    checkpoint: from `open_checkpoint`, of safetensors files; name: the weight. Each use maps
    the matrix again. Its values are not checked: one that is not finite shows in the logits.
    Raises ValueError when the checkpoint is a .pth file, whose pages would stay in memory.
    """

    __array_ufunc__ = None  # x @ matrix is an error, not an array of objects
    in_file = True
    ndim = 2
    dtype = np.dtype(np.float32)

    def __init__(self, checkpoint, name):
        if checkpoint.pickled is not None:
            raise ValueError(f"mmap needs safetensors files, not {checkpoint.tensors[name].file}")
        self._checkpoint, self._name = checkpoint, name
        stored = checkpoint.tensors[name]
        self.shape, self._bfloat16 = stored.shape, stored.dtype == "bfloat16"
        # Hugging Face has the rows of Wq and Wk in another order. The products are put in order.
        self._order = to_pairs(np.arange(self.shape[0]), stored.heads) if stored.heads else None

    def __repr__(self):
        return f"MappedMatrix({self._name}, {self.shape})"

    def __getitem__(self, rows):
        """Rows by their numbers, a slice or an array of them: float32 (..., in)."""
        stored = self._checkpoint.read(self._name)
        values = stored[rows if self._order is None else self._order[rows]]
        wide = np.empty(values.shape, np.float32)
        (from_bits if self._bfloat16 else copy)(values, wide)
        return wide

    def astype(self, dtype, copy=True):
        """The whole matrix in memory: always a new array."""
        return self[:].astype(dtype, copy=False)

    def times(self, x):
        """x (..., in) float32 -> (..., out)."""
        stored, flat = self._checkpoint.read(self._name), x.reshape(-1, x.shape[-1])
        if not self._bfloat16:
            parts = [(copy, np.ascontiguousarray(flat))]
        elif self.shape[1] % 2:
            parts = [(from_bits, np.ascontiguousarray(flat))]
        else:  # two numbers in each word of 32 bits: a third faster than one by one
            stored = stored.view("<u4")
            parts = [(low, flat[:, 0::2].copy()), (high, flat[:, 1::2].copy())]
        out = np.zeros((len(flat), self.shape[0]), np.float32)
        multiply(parts, stored, out)
        if self._order is not None:
            out = out[:, self._order]
        return out.reshape(*x.shape[:-1], -1)


def multiply(parts, stored, out):
    """Add to out (n, out) the products of n vectors and a stored matrix, in tiles of its rows.

    parts: pairs (unpack, x): unpack(tile, wide) makes float32 of a stored tile, and x (n, k) are
    the columns of the vectors that belong to it.
    """
    few = len(out) <= FEW
    step = max(1, (TILE if few else LARGE_TILE) // stored.shape[1])
    n_tiles = -(-len(stored) // step)
    workers = min(os.cpu_count() or 1, n_tiles) if few else 1
    bounds = [n_tiles * n // workers * step for n in range(workers + 1)]
    shares = [slice(*pair) for pair in pairwise(bounds)]

    def multiply_share(share):
        values, sums = stored[share], out[:, share]
        wide = np.empty((min(step, len(values)), stored.shape[1]), np.float32)
        for row in range(0, len(values), step):
            tile = values[row : row + step]
            numbers = wide[: len(tile)]
            for unpack, x in parts:
                unpack(tile, numbers)
                product = (numbers @ x[:, :, None])[..., 0] if few else x @ numbers.T
                sums[:, row : row + step] += product

    if workers == 1:
        multiply_share(shares[0])
    else:
        list(threads(os.getpid()).map(multiply_share, shares))


@cache
def threads(process):
    """The threads of a process: one made by a fork has none of those it was made from."""
    return ThreadPoolExecutor(thread_name_prefix="mapped")


# How stored values become float32, of which bfloat16 is the upper half.


def copy(values, wide):
    """float16, float32 or float64."""
    with np.errstate(over="ignore"):
        wide[...] = values


def from_bits(bits, wide):
    """bfloat16, one by one: uint16 bits."""
    np.left_shift(bits, 16, out=wide.view(np.uint32), dtype=np.uint32)


def low(words, wide):
    """Of words with two bfloat16 each, the first: the lower half, as files are little-endian.

    >>> wide = np.empty(1, np.float32)
    >>> low(np.array([0x3F80, 0xC000], np.uint16).view(np.uint32), wide)
    >>> wide
    array([1.], dtype=float32)
    """
    np.left_shift(words, np.uint32(16), out=wide.view(np.uint32))


def high(words, wide):
    """Of words with two bfloat16 each, the second: the upper half.

    >>> wide = np.empty(1, np.float32)
    >>> high(np.array([0x3F80, 0xC000], np.uint16).view(np.uint32), wide)
    >>> wide
    array([-2.], dtype=float32)
    """
    np.bitwise_and(words, np.uint32(0xFFFF0000), out=wide.view(np.uint32))


def as_weight(weight, dtype=None):
    """A weight as an array, copied only to change the dtype; what is no array stays as it is."""
    return weight if hasattr(weight, "times") else np.asarray(weight, dtype)
