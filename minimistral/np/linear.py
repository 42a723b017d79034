"""A matrix times vectors: what a model mostly does."""

import numpy as np


def linear(x, weight):
    """x (..., in) times weight (out, in) -> (..., out). No bias: Mistral has none.

    weight may also be what is no array: a `MappedMatrix`, which stays in its file, or an
    `Adapted` one.

    >>> linear(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [0.0, 10.0], [5.0, 0.0]]))
    array([ 3., 20.,  5.])
    """
    return x @ weight.T if isinstance(weight, np.ndarray) else weight.times(x)
