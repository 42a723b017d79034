"""A matrix times vectors: what a model mostly does."""

from minimistral.np.mapped import MappedMatrix


def linear(x, weight):
    """x (..., in) times weight (out, in) -> (..., out). No bias: Mistral has none.

    weight may also be a `MappedMatrix`, which stays in its file.

    >>> import numpy as np
    >>> linear(np.array([1.0, 2.0]), np.array([[1.0, 1.0], [0.0, 10.0], [5.0, 0.0]]))
    array([ 3., 20.,  5.])
    """
    return weight.times(x) if isinstance(weight, MappedMatrix) else x @ weight.T
