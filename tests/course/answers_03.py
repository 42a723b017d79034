"""Further answers to the exercises of lesson 03: right ones, and wrong ones with their hints."""

import numpy as np
import torch

from minimistral.course.checks import lesson_03

PROJECT, JOIN, GROUPED = lesson_03.project, lesson_03.join, lesson_03.grouped
HEAD, TILED = lesson_03.kv_head, lesson_03.tiled


def cut(flat, n_heads):
    return flat.reshape(len(flat), n_heads, -1).swapaxes(0, 1)


def project(of=cut, product=lambda x, w: x @ w.T, then=lambda *three: three, kv=lambda H, G: G):
    """Projections as lesson 03 asks for them, with ways to get each step wrong."""

    def function(x, wq, wk, wv, n_heads, n_kv_heads):
        n = kv(n_heads, n_kv_heads)
        q, k, v = (product(x, w) for w in (wq, wk, wv))
        return then(of(q, n_heads), of(k, n), of(v, n))

    return function


def projected_by_einsum(x, wq, wk, wv, n_heads, n_kv_heads):
    def heads(weight, n):
        return np.einsum("te,hde->htd", x, weight.reshape(n, -1, x.shape[1]))

    return [heads(wq, n_heads), heads(wk, n_kv_heads), heads(wv, n_kv_heads)]


def projected_in_a_loop(x, wq, wk, wv, n_heads, n_kv_heads):
    def heads(weight, n):
        return np.array([x @ rows.T for rows in np.split(weight, n)])

    return heads(wq, n_heads), heads(wk, n_kv_heads), heads(wv, n_kv_heads)


def projected_by_torch(x, wq, wk, wv, n_heads, n_kv_heads):
    x = torch.tensor(x, dtype=torch.float32, requires_grad=True)

    def heads(weight, n):
        flat = torch.nn.functional.linear(x, torch.tensor(weight, dtype=torch.float32))
        return flat.unflatten(1, (n, -1)).transpose(0, 1)

    return heads(wq, n_heads), heads(wk, n_kv_heads), heads(wv, n_kv_heads)


def join(merge=lambda heads: heads.swapaxes(0, 1), product=lambda x, wo: x @ wo.T):
    return lambda heads, wo: product(merge(heads).reshape(heads.shape[1], -1), wo)


def joined_in_a_loop(heads, wo):
    D = heads.shape[2]
    return sum(head @ wo[:, h * D : (h + 1) * D].T for h, head in enumerate(heads))


def joined_by_torch(heads, wo):
    heads = torch.tensor(heads, requires_grad=True)
    return torch.cat(list(heads), dim=1) @ torch.tensor(wo).mT


def grouped_in_torch(q, k, v, mask, copy=False, grad=False):
    q, k, v, mask = (torch.from_numpy(a) for a in (q, k, v, mask))
    q = q.requires_grad_(grad)
    if copy:
        k, v = (a.repeat_interleave(len(q) // len(k), dim=0) for a in (k, v))
    G, S, D = k.shape
    scores = (q.reshape(G, -1, D) @ k.mT / D**0.5).reshape(len(q), -1, S)
    weights = torch.where(mask, scores, -torch.inf).softmax(dim=-1)
    return (weights.reshape(G, -1, S) @ v).reshape(q.shape)


RIGHT = [
    (PROJECT, (project(),)),
    (PROJECT, (projected_by_einsum,)),
    (PROJECT, (projected_in_a_loop,)),
    (PROJECT, (projected_by_torch,)),
    (JOIN, (join(),)),
    (JOIN, (joined_in_a_loop,)),
    (JOIN, (joined_by_torch,)),
    (JOIN, (lambda heads, wo: np.concatenate([*heads], axis=1) @ wo.T,)),
    (GROUPED, (grouped_in_torch,)),
    (GROUPED, (lambda *given: grouped_in_torch(*given, grad=True),)),
]
WRONG = [
    (PROJECT, (project(lambda a, n: a.reshape(n, len(a), -1)),), "q: reshape to (heads, T, D)"),
    (PROJECT, (project(lambda a, n: a.reshape(len(a), n, -1)),), "k: the tokens come first"),
    (PROJECT, (project(lambda a, n: a),), "q: it is not yet cut into heads"),
    (PROJECT, (project(product=lambda x, w: x @ w),), "The weights are (out, in)"),
    (PROJECT, (project(kv=lambda H, G: H),), "k: it has n_heads heads"),
    (PROJECT, (project(then=lambda q, k, v: (q, v, k)),), "k: it is made with wv"),
    (PROJECT, (project(then=lambda q, k, v: (q, k)),), "return three arrays, q, k, v, not 2"),
    (JOIN, (join(lambda heads: heads),), "mixes tokens"),
    (JOIN, (join(lambda heads: heads.transpose(1, 2, 0)),), "mixed number by number"),
    (JOIN, (join(lambda heads: heads[::-1].swapaxes(0, 1)),), "the heads are reversed"),
    (JOIN, (join(product=lambda x, wo: x),), "not yet multiplied by wo.T"),
    (JOIN, (join(product=lambda x, wo: x @ wo),), "multiply by wo.T"),
    (JOIN, (join(product=lambda x, wo: x @ wo.reshape(wo.shape[::-1])),), ".T swaps its axes"),
    (GROUPED, (lambda *given: grouped_in_torch(*given, copy=True),), "copies keys or values"),
]
CHECKS = [PROJECT, JOIN]
FIRST = {}
N_ANSWERS = {}
