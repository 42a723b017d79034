"""What `mm.` offers is the plain function behind checks: the same numbers, and no copies."""

import importlib

import numpy as np
import pytest
import torch
from models import random_model, small

from minimistral import np as mn
from minimistral import pt as mp
from minimistral.np.mapped import MappedMatrix
from minimistral.pt.quantize import Int8Linear

rng = np.random.default_rng(0)
X, WEIGHT = rng.standard_normal((2, 3, 4)), rng.standard_normal(4)
W1, W2, W3 = (rng.standard_normal(shape) for shape in ((6, 4), (4, 6), (6, 4)))
A, B = rng.standard_normal((2, 4)), rng.standard_normal((6, 2))
Q, K, V = (rng.standard_normal((2, heads, n, 4)) for heads, n in ((4, 3), (2, 5), (2, 5)))
COS, SIN = np.cos(X[:, None, :, :2]), np.sin(X[:, None, :, :2])
Q_POS, K_POS = np.array([[7, 8, 9]] * 2), np.array([[5, 6, 7, 8, 9]] * 2)
CALLS = {
    "attend": ("attention", (Q, K, V, rng.random((2, 3, 5)) < 0.7)),
    "apply_rope": ("rope", (Q, COS, SIN)),
    "feed_forward": ("feedforward", (X, W1, W2, W3)),
    "lora": ("lora", (X, W1, A, B, 0.5)),
    "rms_norm": ("norm", (X, WEIGHT, 1e-5)),
    "rope_tables": ("rope", (Q_POS, 4, 1e4, "float64")),
    "window_mask": ("mask", (Q_POS, K_POS, 3)),
}


@pytest.mark.parametrize("mm", [mn, mp], ids=["np", "pt"])
@pytest.mark.parametrize("name", CALLS)
def test_checked_and_plain_give_the_same(name, mm):
    file, arguments = CALLS[name]
    plain = getattr(importlib.import_module(f"{mm.__name__}.{file}"), name)
    convert = np.asarray if mm is mn else torch.from_numpy
    given = [convert(a) if isinstance(a, np.ndarray) else a for a in arguments]
    if mm is mp and name == "rope_tables":
        given[-1] = torch.float64
    for mine, theirs in zip(
        np.atleast_1d(getattr(mm, name)(*arguments)), np.atleast_1d(plain(*given)), strict=True
    ):
        np.testing.assert_array_equal(mine, theirs)
    assert getattr(mm, name) is not plain


def test_every_mechanism_is_behind_a_check():
    files = ("attention", "feedforward", "lora", "mask", "norm", "rope")
    plain = [importlib.import_module(f"minimistral.np.{file}") for file in files]
    defined = {
        n for m in plain for n in vars(m) if getattr(vars(m)[n], "__module__", "") == m.__name__
    }
    inner = {"masked_softmax", "query_blocks", "silu"}
    inner |= {
        "Adapted",
        "adapted",
        "lora_backward",
        "lora_gradients",
        "merged",
    }  # parts of them, which `mm.` does not offer
    assert defined - inner == set(CALLS) <= set(mn.__all__)


def test_a_matrix_in_its_file_stays_there(tmp_path, monkeypatch):
    mn.save(random_model(small()), tmp_path)
    loaded, mapped = mn.load(tmp_path), mn.load(tmp_path, mmap=True)
    matrices = [
        [m.layers[0][f"feed_forward.{w}"] for w in ("w1", "w2", "w3")] for m in (loaded, mapped)
    ]
    assert all(isinstance(w, MappedMatrix) for w in matrices[1])
    monkeypatch.setattr(
        MappedMatrix, "__getitem__", lambda *_: pytest.fail("it was read as a whole")
    )
    x = rng.standard_normal((2, 8)).astype(np.float32)
    found, expected = (mn.feed_forward(x, *part) for part in reversed(matrices))
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_module_stays_a_module():
    """Also a quantised one, which has no matrix to give."""
    x = torch.from_numpy(rng.standard_normal((2, 64))).float()
    matrices = [torch.from_numpy(rng.standard_normal((64, 64))).float() / 8 for _ in range(3)]
    linears = [torch.nn.Linear(64, 64, bias=False) for _ in matrices]
    for linear, matrix in zip(linears, matrices, strict=True):
        linear.weight = torch.nn.Parameter(matrix, requires_grad=False)
    expected = mp.feed_forward(x, *matrices)
    torch.testing.assert_close(mp.feed_forward(x, *linears), expected)
    packed = mp.feed_forward(x, *(Int8Linear(matrix) for matrix in matrices))
    assert 0 < (packed - expected).norm() < 0.05 * expected.norm()
    with pytest.raises(ValueError, match="w1 must be"):
        mp.feed_forward(x[:, :9], *linears)
