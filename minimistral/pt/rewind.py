"""Rewind a rolling cache, and choose among its rows: three methods of `RollingCache`."""

import copy
from functools import partial

import torch

from minimistral._arguments import as_array, require_count, require_integers, require_shape
from minimistral.pt.tensors import as_tensor
from minimistral.rule import slot_of, visible


def rewind(cache, n):
    """Take back the last n tokens of each row, as if they had never been written.

    n: a whole number for all rows, or one for each row (B,). What the slots of these tokens
    held before is gone, so how far a rolling cache can go back depends on its spare slots: by
    spare + 1 tokens from the furthest that the row ever got, and further as long as no key
    that the next token sees was overwritten. To take back n tokens at any time it needs
    W + n - 1 slots.
    Raises TypeError or ValueError, before anything changes: when n is negative or more than
    the row holds, and when a key that the next token must see is gone.

    A window of 4 and a spare slot. Position 6 had overwritten 1, which no token after 4 sees:

    >>> from dataclasses import replace
    >>> from minimistral import ModelConfig
    >>> from minimistral.pt import RollingCache
    >>> cache = RollingCache(replace(ModelConfig.tiny(), window_size=4), 1, spare=1)
    >>> cache.commit(cache.plan(torch.arange(7)[None]))
    >>> cache.rewind(2)
    >>> cache.positions, cache.seen
    (tensor([[-1, -1,  2,  3,  4]]), tensor([5]))
    """
    n = as_array("n", partial(as_tensor, device="cpu"), n)
    require_integers("n", n)
    require_shape("n", n, (), (cache.batch_size,))
    n = n.long().expand(cache.seen.shape)
    target = cache.seen - n  # how many tokens stay, and so the position of the next one
    for row in range(cache.batch_size):
        if not 0 <= n[row] <= cache.seen[row]:
            raise ValueError(
                f"n must be from 0 to the {cache.seen[row]} tokens of row {row}, not {n[row]}"
            )
        gone = missing_keys(cache, row, target[row])
        if n[row] and len(gone):
            raise ValueError(
                f"n must be less than {n[row]} for row {row}: after it the next token, at position"
                f" {target[row]}, must see the key of position {gone[-1]}, which was overwritten."
                f" A cache with spare >= {n[row] - 1} can take back {n[row]} tokens at any time;"
                f" here spare = {cache.spare}"
            )
    rows, slots = torch.nonzero(cache.positions >= target[:, None], as_tuple=True)
    cache.positions[rows, slots] = -1
    cache.seen[:] = target
    rows, slots = rows.to(cache.k.device), slots.to(cache.k.device)
    cache.k[:, rows, :, slots] = 0  # as in `reset`
    cache.v[:, rows, :, slots] = 0


def missing_keys(cache, row, position):
    """The positions that a token at `position` sees before it, and that no slot of the row holds.

    -> (n,), rising.
    """
    before = torch.arange(max(0, position - cache.n_slots), position, device="cpu")
    before = before[visible(position, before, cache.config.window_size)]
    return before[cache.positions[row, slot_of(before, cache.n_slots)] != before]


def take(cache, rows):
    """A new cache with these rows, in this order: row r of it is a copy of row rows[r].

    rows (n,): numbers of rows, any of them more than once or not at all. The old cache stays
    as it is. Beam search goes on with the best texts so, several of which may share a beginning.
    Raises TypeError or ValueError, naming the argument.

    >>> from minimistral import ModelConfig
    >>> from minimistral.pt import RollingCache
    >>> cache = RollingCache(ModelConfig.tiny(), batch_size=2)
    >>> cache.commit(cache.plan(torch.tensor([[0, 1, 2], [0, -1, -1]])))
    >>> cache.take([1, 0, 0]).seen
    tensor([1, 3, 3])
    """
    rows = as_array("rows", partial(as_tensor, device="cpu"), rows)
    require_integers("rows", rows)
    if rows.ndim != 1 or not len(rows) or rows.min() < 0 or rows.max() >= cache.batch_size:
        raise ValueError(
            f"rows must be (n,), from 0 to {cache.batch_size - 1}, and at least one, not {rows}"
        )
    taken, rows = copy.copy(cache), rows.long()  # uint8 would be a mask
    taken.positions, taken.seen = cache.positions[rows], cache.seen[rows]
    rows = rows.to(cache.k.device)
    taken.k, taken.v = cache.k[:, rows], cache.v[:, rows]
    return taken


def one_row(cache, n):
    """Row n of a cache as a cache of one row, in the same memory.

    What goes through it stands in the whole cache, and so does a `reset`; no other row changes.
    So a row of a running batch can read a prompt, or be freed for another text, by itself.
    Raises TypeError or ValueError unless n is the number of a row.

    >>> from minimistral import ModelConfig
    >>> from minimistral.pt import RollingCache
    >>> cache = RollingCache(ModelConfig.tiny(), batch_size=3)
    >>> alone = cache.one_row(1)
    >>> alone.commit(alone.plan(torch.arange(4)[None]))
    >>> cache.seen
    tensor([0, 4, 0])
    """
    n = require_count("n", n, minimum=0, below=cache.batch_size)
    alone, only = copy.copy(cache), slice(n, n + 1)  # a slice is a view, a number is not
    alone.k, alone.v = cache.k[:, only], cache.v[:, only]
    alone.positions, alone.seen = cache.positions[only], cache.seen[only]
    return alone
