"""Attention with split keys is attention."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from minimistral import np as mn
from minimistral.np.split import attend_split as in_np
from minimistral.pt.split import attend_split as in_pt

sizes = st.integers(1, 4)


def some(seed, *shape):
    return np.random.default_rng(seed).standard_normal(shape)


@given(B=sizes, G=sizes, g=sizes, T=sizes, n_parts=sizes, keys=sizes, seed=st.integers(0, 99))
def test_split_attention_is_attention(B, G, g, T, n_parts, keys, seed):
    """With any mask: parts of which nothing is seen, and queries that see nothing."""
    S = n_parts * keys
    q, k, v = some(seed, B, G * g, T, 3), some(seed + 1, B, G, S, 3), some(seed + 2, B, G, S, 3)
    mask = some(seed + 3, B, T, S) > 0.5
    expected = mn.attend(q, k, v, mask)
    np.testing.assert_allclose(in_np(q, k, v, mask, n_parts), expected, atol=1e-12)
    found = in_pt(*map(torch.from_numpy, (q, k, v, mask)), n_parts)
    np.testing.assert_allclose(found, expected, atol=1e-12)


def test_scores_too_large_for_exp_in_one_part_only():
    q, k = np.full((1, 1, 1, 1), 1000.0), np.array([[[[-1.0], [-1.0], [1.0], [1.0]]]])
    v, mask = np.array([[[[5.0], [5.0], [1.0], [3.0]]]]), np.ones((1, 1, 4), bool)
    assert in_np(q, k, v, mask, 2).item() == 2
    assert in_pt(*map(torch.from_numpy, (q, k, v, mask)), 2).item() == 2


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_adds_in_float32(dtype):
    """4,096 equal weights: in half precision the sum would stop growing at 2,048 or 256."""
    q, k = torch.zeros(1, 1, 1, 2, dtype=dtype), torch.zeros(1, 1, 4096, 2, dtype=dtype)
    v = torch.ones(1, 1, 4096, 2, dtype=dtype)
    out = in_pt(q, k, v, torch.ones(1, 1, 4096, dtype=torch.bool), 4)
    assert out.dtype == dtype and (out == 1).all()
    if dtype == torch.float16:
        ours = in_np(q.numpy(), k.numpy(), v.numpy(), np.ones((1, 1, 4096), bool), 4)
        assert ours.dtype == np.float16 and (ours == 1).all()
