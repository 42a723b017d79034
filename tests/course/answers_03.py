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


def loop(weigh=None, head=lambda h, H, G: h // (H // G), own=lambda mask: mask, scale=1.0):
    """Grouped attention head by head, with ways to get each step wrong."""

    def function(q, k, v, mask):
        results = []
        for h in range(len(q)):
            n = head(h, len(q), len(k))
            scores = np.where(own(mask), q[h] @ k[n].T / q.shape[2] ** (scale / 2), -np.inf)
            results.append((weigh or soft)(scores) @ v[n])
        return np.array(results)

    return function


def soft(scores, axis=-1):
    with np.errstate(all="ignore"):
        exps = np.exp(scores - scores.max(axis=-1, keepdims=True))
        return exps / exps.sum(axis=axis, keepdims=True)


@np.errstate(all="ignore")
def over_queries(scores):
    exps = np.exp(scores)
    return exps / exps.sum(axis=0)


def averaged_queries(q, k, v, mask):
    G = len(k)
    means = q.reshape(G, -1, *q.shape[1:]).mean(axis=1)
    return np.repeat(loop()(means, k, v, mask), len(q) // G, axis=0)


def averaged_heads(q, k, v, mask):
    k, v = (np.broadcast_to(a.mean(axis=0), a.shape) for a in (k, v))
    return loop()(q, k, v, mask)


def stacked_in_float64(q, k, v, mask, copy=False):
    q, k, v = (a.astype(np.float64) for a in (q, k, v))
    if copy:
        k, v = (np.stack([a[h * len(k) // len(q)] for h in range(len(q))]) for a in (k, v))
    (H, T, D), (G, S, _) = q.shape, k.shape
    scores = (q.reshape(G, -1, D) @ k.swapaxes(1, 2) / np.sqrt(D)).reshape(H, T, S)
    return (soft(np.where(mask, scores, -np.inf)).reshape(G, -1, S) @ v).reshape(H, T, D)


def shared_by_broadcast(q, k, v, mask):
    (H, T, D), G = q.shape, len(k)
    scores = q.reshape(G, H // G, T, D) @ k[:, None].swapaxes(2, 3) / np.sqrt(D)
    return (soft(np.where(mask, scores, -np.inf)) @ v[:, None]).reshape(H, T, D)


def one_copy_at_a_time(q, k, v, mask):
    results = np.zeros(q.shape, np.float32)
    for h in range(len(q)):
        n = h * len(k) // len(q)
        results[h] = loop()(q[h : h + 1], k[n : n + 1].copy(), v[n : n + 1].copy(), mask)[0]
    return results


def in_float32(function):
    """The same in float32, as the engine computes."""

    def cast(a):
        return a.astype(np.float32) if str(getattr(a, "dtype", "")) == "float64" else a

    return lambda *given: function(*map(cast, given))


def by_columns(x, wq, wk, wv, n_heads, n_kv_heads):
    """The weights first: wq @ x.T is (H * D, T)."""

    def heads(weight, n):
        return (weight @ x.T).reshape(n, -1, len(x)).swapaxes(1, 2)

    return heads(wq, n_heads), heads(wk, n_kv_heads), heads(wv, n_kv_heads)


def as_if_square(x, wq, wk, wv, n_heads, n_kv_heads):
    def heads(weight, n):
        return (x @ weight.T).reshape(len(x), n, x.shape[1] // n_heads).swapaxes(0, 1)

    return heads(wq, n_heads), heads(wk, n_kv_heads), heads(wv, n_kv_heads)


def only_wq(x, wq, wk, wv, n_heads, n_kv_heads):
    q, k, v = projected_in_a_loop(x, wq, wq[: len(wk)], wv, n_heads, n_kv_heads)
    return q, k, v


def centred(x, *more):
    x -= x.mean()
    return project()(x, *more)


def last_head(heads, wo):
    D = heads.shape[2]
    for h, head in enumerate(heads):
        result = head @ wo[:, h * D : (h + 1) * D].T
    return result


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
    (GROUPED, (stacked_in_float64,)),
    (GROUPED, (shared_by_broadcast,)),
    (GROUPED, (one_copy_at_a_time,)),
    (GROUPED, (in_float32(loop()),)),
    (PROJECT, (in_float32(project()),)),
    (PROJECT, (by_columns,)),
    (JOIN, (in_float32(join()),)),
    (
        JOIN,
        (
            lambda heads, wo: np.tensordot(
                heads, wo.reshape(len(wo), len(heads), -1), ((0, 2), (1, 2))
            ),
        ),
    ),
    (HEAD, (lambda h, H, G: np.int64(h * G // H),)),
    (HEAD, (lambda h, H, G: torch.tensor(h) // (H // G),)),
    (HEAD, (lambda h, H, G: int(np.repeat(np.arange(G), H // G)[h]),)),
    (
        TILED,
        (
            np.int64(5),
            np.array([1, 32]),
            lambda k, n: np.concatenate([np.stack([head] * (n // len(k))) for head in k]),
        ),
    ),
    (
        TILED,
        (
            torch.tensor(5),
            (1, 32),
            lambda k, n: torch.tensor(k).repeat_interleave(n // len(k), dim=0),
        ),
    ),
]
WRONG = [
    (PROJECT, (project(lambda a, n: a.reshape(n, len(a), -1)),), "q: reshape to (heads, T, D)"),
    (PROJECT, (project(lambda a, n: a.reshape(len(a), n, -1)),), "k: (heads, T, D) is asked for"),
    (PROJECT, (project(lambda a, n: a),), "q: it is not yet cut into heads"),
    (PROJECT, (project(product=lambda x, w: x @ w),), "The weights are (out, in)"),
    (PROJECT, (project(kv=lambda H, G: H),), "k: q has n_heads heads"),
    (PROJECT, (project(then=lambda q, k, v: (q, v, k)),), "k: it is made with wv"),
    (PROJECT, (project(then=lambda q, k, v: (q, k)),), "return three arrays, q, k, v, not 2"),
    (JOIN, (join(lambda heads: heads),), "mixes tokens"),
    (JOIN, (join(lambda heads: heads.transpose(1, 2, 0)),), "mixed number by number"),
    (JOIN, (join(lambda heads: heads[::-1].swapaxes(0, 1)),), "the heads are reversed"),
    (JOIN, (join(product=lambda x, wo: x),), "not yet multiplied by wo.T"),
    (JOIN, (join(product=lambda x, wo: x @ wo),), "multiply by wo.T"),
    (JOIN, (join(product=lambda x, wo: x @ wo.reshape(wo.shape[::-1])),), ".T swaps its axes"),
    (GROUPED, (lambda *given: grouped_in_torch(*given, copy=True),), "copies keys or values"),
    (HEAD, (lambda h, H, G: h // (H / G),), "which cannot index an array"),
    (HEAD, (lambda h, H, G: round(h * G / H),), "for h = "),
    (HEAD, (lambda h, H, G: G - 1 - h // (H // G),), "KV head 0 belongs to the first"),
    (HEAD, (lambda h, H, G: min(h, G - 1),), "Capping h is not sharing"),
    (HEAD, (lambda h, H, G: (h + 1) // (H // G),), "divide h itself"),
    (HEAD, (lambda h, H, G: h * H // G,), "the other way round"),
    (HEAD, (lambda h, H, G: h // (G // H),), "by zero"),
    (HEAD, (lambda h, H, G: [h // (H // G)],), "not a value of type list"),
    (PROJECT, (as_if_square,), "or write -1 for it"),
    (PROJECT, (only_wq,), "k: it is made with the first rows of wq"),
    (PROJECT, (centred,), "changes its input"),
    (PROJECT, (project(then=lambda q, k, v: (q, k, k)),), "v: it is made with wk"),
    (PROJECT, (project(then=lambda q, k, v: (q / q.shape[2] ** 0.5, k, v)),), "divided by √D"),
    (
        PROJECT,
        (
            project(
                then=lambda q, k, v: (q, *(np.repeat(a, len(q) // len(a), axis=0) for a in (k, v)))
            ),
        ),
        "Copy nothing",
    ),
    (PROJECT, (project(lambda a, n: a.reshape(len(a), -1, n).transpose(2, 0, 1)),), "every n-th"),
    (PROJECT, (project(lambda a, n: a.T.reshape(n, len(a), -1)),), "mixes tokens"),
    (PROJECT, (project(lambda a, n: a.T.reshape(n, -1, len(a))),), "the last two axes are swapped"),
    (PROJECT, (project(lambda a, n: cut(a, n)[None]),), "q: the shape must be"),
    (PROJECT, (project(lambda a, n: cut(a, n)[::-1]),), "q: the heads are reversed"),
    (PROJECT, (project(then=lambda *three: np.concatenate(three)),), "of type ndarray"),
    (PROJECT, (project(product=lambda x, w: x @ w.reshape(w.shape[::-1])),), ".T swaps its axes"),
    (JOIN, (last_head,), "only the last head counts"),
    (JOIN, (lambda heads, wo: join()(heads, wo) / len(heads),), "divided by the number of heads"),
    (JOIN, (lambda heads, wo: wo @ join(product=lambda x, wo: x)(heads, wo).T,), "shape must be"),
    (JOIN, (lambda heads, wo: np.vstack(heads) @ wo.T,), "side by side"),
    (JOIN, (lambda heads, wo: heads.sum(axis=0) @ wo.T,), "side by side"),
    (JOIN, (join(lambda heads: heads.T),), "mixes tokens"),
    (GROUPED, (lambda *given: stacked_in_float64(*given, copy=True),), "copies keys or values"),
    (GROUPED, (loop(weigh=over_queries),), "runs over the queries"),
    (GROUPED, (loop(weigh=np.exp),), "do not sum to 1"),
    (GROUPED, (loop(weigh=lambda s: np.where(np.isinf(s), 0, s)),), "the softmax is missing"),
    (GROUPED, (loop(own=lambda mask: ~mask),), "visible and hidden are swapped"),
    (GROUPED, (loop(own=lambda mask: np.tri(*mask.shape, dtype=bool)),), "mask of its own"),
    (GROUPED, (loop(scale=-1),), "multiplied by sqrt(head_dim)"),
    (GROUPED, (loop(scale=0.5),), None),
    (GROUPED, (loop(head=lambda h, H, G: min(h, G - 1)),), "the last one for all others"),
    (GROUPED, (averaged_queries,), "all query heads of a group give the same result"),
    (GROUPED, (averaged_heads,), "the KV heads are averaged"),
    (GROUPED, (lambda *given: loop()(*given).swapaxes(0, 1).reshape(len(given[3]), -1),), "shape"),
    (TILED, (5, [1, 32], lambda k, n: k[np.arange(n) // len(k)]), "n_heads // len(k)"),
    (TILED, (5, [1, 32], lambda k, n: np.concatenate([k] * (n // len(k)))), "np.tile still"),
    (TILED, (5, [1, 32], lambda k, n: np.repeat(k, n, axis=0)), "the shape must be"),
    (TILED, (5, [1, 32], lambda k, n: np.repeat(k, (n // len(k), 1, 1))), "one number of copies"),
    (TILED, (5, [1, 32], lambda k, n: [k[h * len(k) // n] for h in range(n)]), "a NumPy array"),
    (TILED, (5, "1 and 32", lambda k, n: k), "must be a list"),
]
CHECKS = [PROJECT, JOIN]
FIRST = {}
N_ANSWERS = {}
