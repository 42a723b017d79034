"""The one rule of this project, and the slot of a position. No other place states either.

Both twins use these functions as they are: comparing, subtracting and taking a remainder are
the same for numbers, NumPy arrays and torch tensors.
"""


def visible(q_pos, k_pos, window):
    """A key at position j is visible to a query at position i iff 0 <= i - j < W (paper section 2).

    q_pos, k_pos: positions, any shapes that broadcast; -1 marks an empty cache slot, which
    no query sees. window: W >= 1, or None for full causal attention.

    A query at 5 with W = 3 sees the keys 3, 4 and 5:

    >>> [j for j in range(-1, 8) if visible(5, j, window=3)]
    [3, 4, 5]
    """
    distance = q_pos - k_pos
    seen = (k_pos >= 0) & (distance >= 0)
    return seen if window is None else seen & (distance < window)


def slot_of(position, n_slots):
    """The slot of a rolling cache that holds a position: i mod W (paper section 2, Figure 2).

    >>> [slot_of(i, 4) for i in range(6)]
    [0, 1, 2, 3, 0, 1]
    """
    return position % n_slots
