"""Answers to the exercises of lesson 11, right and wrong; test_checks.py gives them."""

import numpy as np
import torch

from minimistral.course.checks import lesson_11
from minimistral.np.backward import (
    attend_backward,
    linear_backward,
    masked_softmax_backward,
    rms_norm_backward,
)
from minimistral.np.gradients import cross_entropy

LOSS, LINEAR, NORM, SOFTMAX, ATTEND, ADAMW = (
    lesson_11.loss_back, lesson_11.linear_back, lesson_11.norm_back, lesson_11.softmax_back,
    lesson_11.attend_back, lesson_11.adamw,
)  # fmt: skip
MEAN, LEAK, AVERAGE = lesson_11.bug_mean_and_shift, lesson_11.bug_leak, lesson_11.bug_averages


def soft(x):
    exps = np.exp(x - x.max(axis=-1, keepdims=True))
    return exps / exps.sum(axis=-1, keepdims=True)


def loss_back(
    logits, targets, of=lambda p: -np.log(p), mean=lambda x, N: x.mean(), at=lambda p: p - 1,
    divide=lambda n, N: n, keep=lambda targets: targets >= 0, others=1, p_of=soft, sign=1,
):  # fmt: skip
    """Loss and gradient, with ways to get each step wrong."""
    p, N = p_of(logits), len(targets)
    rows = np.flatnonzero(targets >= 0)
    d = p * keep(targets)[:, None] * others
    d[rows, targets[rows]] = at(p[rows, targets[rows]])
    return mean(of(p[rows, targets[rows]]), N), sign * d / divide(len(rows), N)


def loss_by(**how):
    return lambda *given: loss_back(*given, **how)


def loss_by_loop(logits, targets):
    total, rows, n = 0.0, [], sum(t >= 0 for t in targets)
    for z, t in zip(logits, targets, strict=True):
        if t < 0:
            rows.append(np.zeros(len(z)))
            continue
        log_sum = np.log(np.exp(z - z.max()).sum()) + z.max()
        total += log_sum - z[t]
        rows.append((np.exp(z - log_sum) - (np.arange(len(z)) == t)) / n)
    return total / n, np.array(rows)


def loss_in_torch(logits, targets):
    z = torch.tensor(logits, requires_grad=True)
    loss = torch.nn.functional.cross_entropy(z, torch.tensor(targets), ignore_index=-1)
    loss.backward()
    return loss.detach(), z.grad


def no_ignoring(logits, targets):
    p = soft(logits)
    loss = -np.log(p[np.arange(len(p)), targets]).mean()
    p[np.arange(len(p)), targets] -= 1
    return loss, p / len(p)


def right_loss(logits, targets):
    loss, d = cross_entropy(logits[None], targets[None])
    return loss, d[0]


def softmax_over(axis):
    def function(logits):
        exps = np.exp(logits - logits.max(axis=axis, keepdims=True))
        return exps / exps.sum(axis=axis, keepdims=True)

    return function


def columns(logits, targets, chosen=lambda targets: targets[targets >= 0]):
    """dlogits[:, targets], which is no pair of a row and its target."""
    loss, _ = right_loss(logits, targets)
    d = soft(logits)
    d[:, chosen(targets)] -= 1
    d[targets < 0] = 0
    return loss, d / (targets >= 0).sum()


def plain(logits):
    with np.errstate(all="ignore"):
        return np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)


def linear(x, w, dy, dx=lambda x, w, dy: dy @ w, dw=lambda x, w, dy: dy.T @ x):
    return dx(x, w, dy), dw(x, w, dy)


def linear_by(**how):
    return lambda *given: linear(*given, **how)


def norm(x, weight, eps, dy, second=lambda du, u: u * (du * u).mean(-1, keepdims=True),
         front=lambda inverse: inverse, dunit=lambda dy, w: dy * w, eps_used=True,
         dw=lambda dy, u, x, w: (dy * u).sum(axis=0)):  # fmt: skip
    inverse = 1 / np.sqrt((x**2).mean(-1, keepdims=True) + (eps if eps_used else 0))
    u, du = x * inverse, dunit(dy, weight)
    return front(inverse) * (du - second(du, u)), dw(dy, u, x, weight)


def norm_by(**how):
    return lambda *given: norm(*given, **how)


def norm_with(inverse_of=lambda x, eps: 1 / np.sqrt((x**2).mean(-1, keepdims=True) + eps),
              take=lambda a: a.mean(-1, keepdims=True), last=False,
              second=lambda i, u, x, du, take: i * u * take(du * u)):  # fmt: skip
    def function(x, weight, eps, dy):
        inverse = inverse_of(x, eps)
        u, du = x * inverse, dy if last else dy * weight
        dx = inverse * du - second(inverse, u, x, du, take)
        return weight * dx if last else dx, (dy * u).sum(axis=0)

    return function


def norm_by_jacobian(x, weight, eps, dy):
    E, dx = x.shape[1], []
    for row, d in zip(x, dy, strict=True):
        s = (row @ row) / E + eps
        jacobian = np.eye(E) / s**0.5 - np.outer(row, row) / (E * s**1.5)
        dx.append((d * weight) @ jacobian)
    return np.array(dx), (dy * x / np.sqrt((x**2).mean(-1, keepdims=True) + eps)).sum(0)


def norm_in_torch(x, weight, eps, dy):
    a, w = (torch.tensor(v, requires_grad=True) for v in (x, weight))
    (w * a / torch.sqrt((a * a).mean(-1, keepdim=True) + eps)).backward(torch.tensor(dy))
    return a.grad, w.grad


def softmax_by_jacobian(weights, dweights):
    return np.array([(np.diag(p) - np.outer(p, p)) @ d
                     for p, d in zip(weights, dweights, strict=True)])  # fmt: skip


def attend(q, k, v, mask, dy, group=lambda h, H, G: h // (H // G), score=lambda D: D**-0.5,
           scale=lambda D: D**-0.5, hide=True, weigh=None, back=masked_softmax_backward, add=True,
           order=lambda dq, dk, dv: (dq, dk, dv), share=1.0):  # fmt: skip
    """Attention backwards, head by head, with ways to get each step wrong."""
    (H, _, D), G = q.shape, len(k)
    dq, dk, dv = np.zeros_like(q), np.zeros_like(k), np.zeros_like(v)
    for h in range(H):
        g = group(h, H, G)
        scores = q[h] @ k[g].T * score(D)
        weights = soft(np.where(mask, scores, -1e300) if hide else scores)
        weights = weigh(scores, mask) if weigh else weights
        dscores = back(weights, dy[h] @ v[g].T) * scale(D)
        dq[h] = dscores @ k[g]
        if not add:
            dk[g], dv[g] = 0, 0
        part = G / H if share == "mean" else share
        dk[g] += dscores.T @ q[h] * part
        dv[g] += weights.T @ dy[h] * part
    return order(dq, dk, dv)


def attend_by(**how):
    return lambda *given: attend(*given, **how)


def as_many_keys_as_queries(q, k, v, mask, dy):
    dq, dk, dv = attend(q, k, v, mask, dy)
    return dq, dk[:, : q.shape[1]], dv[:, : q.shape[1]]


def attend_whole(q, k, v, mask, dy):
    return tuple(p[0] for p in attend_backward(*(a[None] for a in (q, k, v, mask, dy))))


def attend_in_torch(q, k, v, mask, dy):
    q, k, v = (torch.tensor(a, requires_grad=True) for a in (q, k, v))
    g = len(q) // len(k)
    scores = q @ k.repeat_interleave(g, 0).mT / q.shape[-1] ** 0.5
    weights = scores.masked_fill(~torch.tensor(mask), -torch.inf).softmax(-1)
    (weights @ v.repeat_interleave(g, 0)).backward(torch.tensor(dy))
    return q.grad, k.grad, v.grad


def not_summed(q, k, v, mask, dy):
    g = len(q) // len(k)
    return attend(q, np.repeat(k, g, axis=0), np.repeat(v, g, axis=0), mask, dy)


def tiled_sum(q, k, v, mask, dy):
    dq, dk, dv = not_summed(q, k, v, mask, dy)
    return dq, *(d.reshape(-1, *k.shape).sum(axis=0) for d in (dk, dv))


def adamw(w, g, mean, square, step, rate, slow=0.9, slower=0.95, correct=(1, 1), power=lambda n: n,
          decay=lambda w, rate: w * (1 - 0.1 * rate), root=lambda s: np.sqrt(s) + 1e-8,
          give=lambda w, m, s, m_, s_: (w, m, s), sign=-1, coupled=0.0, follow=None):  # fmt: skip
    g = g + coupled * w
    mean, square = slow * mean + (1 - slow) * g, slower * square + (1 - slower) * g**2
    m = mean / (1 - slow ** power(step)) if correct[0] else mean
    s = square / (1 - slower ** power(step)) if correct[1] else square
    with np.errstate(all="ignore"):
        w = decay(w, rate) + sign * rate * (m if follow is None else g) / root(s)
    return give(w, mean, square, m, s)


def adamw_by(**how):
    return lambda *given: adamw(*given, **how)


def decay_after(w, g, mean, square, step, rate):
    moved, mean, square = adamw(w, g, mean, square, step, rate, decay=lambda w, rate: w)
    return moved - 0.1 * rate * w, mean, square


def decay_last(w, g, mean, square, step, rate):
    moved, mean, square = adamw(w, g, mean, square, step, rate, decay=lambda w, rate: w)
    return moved * (1 - 0.1 * rate), mean, square


def step_by(
    move, power=lambda b, n: b**n, correct=lambda a, b: a / b, old=False, of=lambda g, m: g
):
    def function(w, g, mean, square, step, rate):
        new_mean = 0.9 * mean + 0.1 * g
        new_square = 0.95 * square + 0.05 * of(g, new_mean) ** 2
        m, s = (mean, square) if old else (new_mean, new_square)
        m, s = correct(m, 1 - power(0.9, step)), correct(s, 1 - power(0.95, step))
        with np.errstate(all="ignore"):
            return w * (1 - 0.1 * rate) - move(rate, m, s), new_mean, new_square

    return function


def moved(rate, m, s):
    return rate * m / (np.sqrt(s) + 1e-8)


def in_place(w, g, mean, square, step, rate):
    new = adamw(w, g, mean, square, step, rate)
    w[:] = new[0]
    return new


def accumulate(batches, share=None):
    n = sum(map(len, batches))
    share = share or (lambda values: len(values) / n)
    return sum(share(values) * values.mean(axis=0) for values in batches)


def accumulated_rows(batches):
    return np.concatenate(batches).mean(axis=0)


def text_loss(logits, ids, ahead=1):
    log_p = np.log(soft(logits))[: len(logits) - ahead]
    return -log_p[np.arange(len(log_p)), ids[ahead:]].mean()


def mask(T, W, hidden=-1e9, far=lambda i, j, W: i - j >= W, future=lambda i, j: j > i):
    i, j = np.indices((T, T))
    return np.where(future(i, j) | far(i, j, W), hidden, 0.0)


def mask_by(**how):
    return lambda T, W: mask(T, W, **how)


def published_mask(T, W):
    i, j = np.indices((T, T))
    return np.where(j > i, -1e9, 0.0) * (i - j >= W)


def average(checkpoints, of=lambda values: np.mean(values, axis=0), which=-1, kinds="f"):
    result = {}
    for name, last in checkpoints[which].items():
        if last.dtype.kind in kinds:
            result[name] = np.asarray(of([c[name] for c in checkpoints])).astype(last.dtype)
        else:
            result[name] = last
    return result


def average_by(**how):
    return lambda checkpoints: average(checkpoints, **how)


def keep_each(weights, update, n, copy=lambda w: {name: a.copy() for name, a in w.items()},
              first=False):  # fmt: skip
    kept = []
    for _ in range(n):
        if first:
            kept.append(copy(weights))
        update(weights)
        if not first:
            kept.append(copy(weights))
    return kept


def kept_by(**how):
    return lambda *given: keep_each(*given, **how)


RIGHT = [
    (LOSS, (loss_by_loop,)),
    (LOSS, (loss_in_torch,)),
    (LOSS, (right_loss,)),
    (LINEAR, (linear,)),
    (LINEAR, (linear_backward,)),
    (LINEAR, (lambda x, w, dy: [dy @ w, np.einsum("no,ni->oi", dy, x)],)),
    (LINEAR, (lambda x, w, dy: (torch.tensor(dy) @ torch.tensor(w), torch.tensor(dy.T @ x)),)),
    (NORM, (norm,)),
    (NORM, (norm_by_jacobian,)),
    (NORM, (norm_in_torch,)),
    (NORM, (rms_norm_backward,)),
    (SOFTMAX, (masked_softmax_backward,)),
    (SOFTMAX, (softmax_by_jacobian,)),
    (SOFTMAX, (lambda p, d: p * d - p * (p * d).sum(1)[:, None],)),
    (ATTEND, (attend,)),
    (ATTEND, (attend_whole,)),
    (ATTEND, (attend_in_torch,)),
    (ADAMW, (adamw,)),
    (ADAMW, (decay_after,)),
    (ADAMW, (adamw_by(decay=lambda w, rate: w - rate * 0.1 * w),)),
    (MEAN, (3, accumulate, 4, text_loss)),
    (MEAN, (3.0, accumulated_rows, np.int64(4), lambda z, ids: right_loss(z[:-1], ids[1:])[0])),
    (LEAK, (4, mask)),
    (LEAK, (4, mask_by(hidden=-np.inf))),
    (LEAK, (4, lambda T, W: torch.tensor(mask(T, W)))),
    (AVERAGE, (4, average, 4, keep_each)),
    (AVERAGE, (4, average_by(of=lambda v: sum(v) / len(v)), 4,
               kept_by(copy=lambda w: {n: 1 * a for n, a in w.items()}))),
]  # fmt: skip
WRONG = [
    (LOSS, (loss_by(mean=lambda x, N: x.sum()),), "loss: that is the sum"),
    (LOSS, (loss_by(mean=lambda x, N: x.sum() / N),), "loss: the mean is over all rows"),
    (LOSS, (loss_by(of=lambda p: -np.log2(p)),), "in bits"),
    (LOSS, (loss_by(of=np.log),), "the sign is wrong: the loss"),
    (LOSS, (loss_by(of=lambda p: p),), "that is the probability"),
    (LOSS, (loss_by(of=lambda p: 1 - p),), "that is 1 - p"),
    (LOSS, (loss_by(mean=lambda x, N: x),), "one loss per row"),
    (LOSS, (no_ignoring,), "read as the last id"),
    (LOSS, (loss_by(p_of=plain),), "exp overflows"),
    (LOSS, (loss_back,), "log 0 is -inf"),
    (LOSS, (loss_by(of=lambda p: -np.log(p + 1e-9)),), "a small number inside the log"),
    (LOSS, (loss_by(of=lambda p: -np.log(p + 1e-12)),), "a small number inside the log"),
    (LOSS, (loss_by(p_of=softmax_over(0)),), "softmax is over axis 1"),
    (LOSS, (loss_by(p_of=softmax_over(None)),), "over the whole array"),
    (LOSS, (columns,), "Pair each row with its target"),
    (LOSS, (lambda z, t: columns(z, t, lambda t: t),), "Pair each row with its target"),
    (LOSS, (loss_by(at=lambda p: p),), "dlogits: that is softmax"),
    (LOSS, (loss_by(divide=lambda n, N: 1),), "divide by the number of targets"),
    (LOSS, (loss_by(divide=lambda n, N: N),), "dlogits: the mean is over all rows"),
    (LOSS, (loss_by(sign=-1),), "the target's logit must go up"),
    (LOSS, (loss_by(keep=lambda t: t >= -1),), "rows without a target must be 0"),
    (LOSS, (loss_by(others=0),), "The others push too"),
    (LOSS, (loss_by(at=lambda p: p + 1),), "do not add it"),
    (LOSS, (lambda z, t: loss_back(z, t)[0],), "return 2 results: loss, dlogits"),
    (LOSS, (lambda z, t: (loss_back(z, t)[0], loss_back(z, t)[1].tolist()),), "must be an array"),
    (LOSS, (lambda z, t: (loss_back(z, t)[0], loss_back(z, t)[1].T),), "must have the shape"),
    (LOSS, (lambda z, t: (loss_back(z, t)[0], loss_back(z, t)[1] + 1e-3),), "is right"),
    (LINEAR, (lambda x, w, dy: linear(x, w, dy)[::-1],), "swapped"),
    (LINEAR, (linear_by(dx=lambda x, w, dy: dy @ w.T),), "Which axes meet"),
    (LINEAR, (linear_by(dx=lambda x, w, dy: dy @ w / len(x)),), "each token has its own dx"),
    (LINEAR, (linear_by(dx=lambda x, w, dy: x @ w.T),), "that is y itself"),
    (LINEAR, (linear_by(dx=lambda x, w, dy: (dy @ w).sum(0)),), "keeps its own dx"),
    (LINEAR, (linear_by(dx=lambda x, w, dy: (dy @ w).T),), "dx transposed"),
    (LINEAR, (linear_by(dx=lambda x, w, dy: -dy @ w),), "dx: the sign"),
    (LINEAR, (linear_by(dx=lambda x, w, dy: dy @ w * x),), "x plays no part"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: x.T @ dy),), "that is transposed"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: dy.T @ x / len(x)),), "a mean over tokens"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: dy[:, :, None] * x[:, None]),), "sum over them"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: np.outer(dy[-1], x[-1])),), "only the last token"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: np.outer(dy.sum(0), x.sum(0))),), "token by token"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: dy.T @ x * w),), "weight plays no part"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: dy.T @ x + 1),), "is right"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: dy.T @ dy),), "dy times itself"),
    (LINEAR, (linear_by(dw=lambda x, w, dy: np.outer(dy.mean(0), x.mean(0))),), "are averaged"),
    (LINEAR, (lambda x, w, dy: (x.T @ dy, dy @ w),), "that is dweight, transposed"),
    (LINEAR, (lambda x, w, dy: None,), "returns nothing"),
    (NORM, (norm_by(second=lambda du, u: 0),), "taken for a constant"),
    (NORM, (norm_by(second=lambda du, u: 0, dunit=lambda dy, w: dy),), "weight is missing, and"),
    (NORM, (norm_by(dunit=lambda dy, w: dy),), "weight is missing: begin"),
    (NORM, (norm_by(second=lambda du, u: u * (du * u).sum(-1, keepdims=True)),), "divide the sum"),
    (NORM, (norm_by(second=lambda du, u: -u * (du * u).mean(-1, keepdims=True)),), "not added"),
    (NORM, (norm_by(front=lambda inverse: 1),), "inverse is missing in front"),
    (NORM, (norm_by(second=lambda du, u: (du * u).mean(-1, keepdims=True)),), "lies along unit"),
    (NORM, (norm_by(second=lambda du, u: du.mean(-1, keepdims=True)),), "RMSNorm does not"),
    (NORM, (norm_by(second=lambda du, u: u * (du * u).mean()),), "a length of its own"),
    (NORM, (norm_by(eps_used=False),), "eps is missing"),
    (NORM, (norm_by(dw=lambda dy, u, x, w: dy * u),), "dweight: one gradient for each token"),
    (NORM, (norm_by(dw=lambda dy, u, x, w: (dy * u).mean(0)),), "a mean over tokens"),
    (NORM, (norm_by(dw=lambda dy, u, x, w: (dy * x).sum(0)),), "that uses x"),
    (NORM, (norm_by(dw=lambda dy, u, x, w: (dy * u * w).sum(0)),), "its own gradient"),
    (NORM, (norm_by(dw=lambda dy, u, x, w: dy.sum(0)),), "unit is missing"),
    (NORM, (norm_by(dw=lambda dy, u, x, w: (dy * u).sum(1)),), "the sum is over tokens, axis 0"),
    (NORM, (norm_by(second=lambda du, u: u * (du * u).mean(-1)),), "keepdims=True"),
    (NORM, (norm_with(last=True),), "weight is multiplied last"),
    (NORM, (norm_with(second=lambda i, u, x, du, take: x * i**2 * take(du * x)),), "three times"),
    (NORM, (norm_with(second=lambda i, u, x, du, take: i**3 * take(du * x)),), "by x[i] too"),
    (NORM, (norm_with(lambda x, eps: 1 / np.sqrt((x**2).sum(-1, keepdims=True) + eps),
                      lambda a: a.sum(-1, keepdims=True)),), "the sum of x**2"),
    (NORM, (norm_with(lambda x, eps: 1 / (np.sqrt((x**2).mean(-1, keepdims=True)) + eps)),),
     "eps stands inside the root"),
    (SOFTMAX, (lambda p, d: p * d,), "takes the other weights for constants"),
    (SOFTMAX, (lambda p, d: p * (1 - p) * d,), "only the score's own weight"),
    (SOFTMAX, (lambda p, d: d - (p * d).sum(1, keepdims=True),), "multiply by weights in front"),
    (SOFTMAX, (lambda p, d: p * (d - (p * d).mean(1, keepdims=True)),), "that is a mean"),
    (SOFTMAX, (lambda p, d: p * (d - d.mean(1, keepdims=True)),), "weighted by the weights"),
    (SOFTMAX, (lambda p, d: p * (d - (p * d).sum()),), "Each row has its own"),
    (SOFTMAX, (lambda p, d: p * (d - (p * d).sum(0)),), "over the columns"),
    (SOFTMAX, (lambda p, d: p * ((p * d).sum(1, keepdims=True) - d),), "the sign is wrong"),
    (SOFTMAX, (lambda p, d: p * (d + (p * d).sum(1, keepdims=True)),), "not added"),
    (SOFTMAX, (lambda p, d: p * d - (p * d).sum(1, keepdims=True),), "average by weights too"),
    (SOFTMAX, (lambda p, d: d,), "softmax is passed over"),
    (SOFTMAX, (lambda p, d: p * (d - (p * d).sum(1)),), "keepdims=True may be missing"),
    (SOFTMAX, (lambda p, d: p,), "is right"),
    (SOFTMAX, (lambda p, d: d * (1 - p),), "moves all weights of its row"),
    (SOFTMAX, (lambda p, d: masked_softmax_backward(soft(p), d),), "Do not take it again"),
    (SOFTMAX, (lambda p, d: p * (d - d.max(1, keepdims=True)),), "subtracts the largest"),
    (SOFTMAX, (lambda p, d: (p > 0) * (d - (p * d).sum(1, keepdims=True)),), "not only where"),
    (ATTEND, (not_summed,), "dk: one gradient for each query head"),
    (ATTEND, (tiled_sum,), ""),
    (ATTEND, (attend_by(group=lambda h, H, G: h % G),), "not h % G"),
    (ATTEND, (attend_by(scale=lambda D: 1),), "dq: the division by sqrt(D) is missing"),
    (ATTEND, (attend_by(scale=lambda D: 1 / D),), "divided by sqrt(D) twice"),
    (ATTEND, (attend_by(scale=lambda D: D**0.5),), "multiplied by sqrt(D)"),
    (ATTEND, (attend_by(score=lambda D: 1),), "the scores are not divided"),
    (ATTEND, (attend_by(hide=False),), "the mask is not used"),
    (ATTEND, (attend_by(weigh=lambda s, m: soft(s * m)),), "a score of 0 is not hidden"),
    (ATTEND, (attend_by(weigh=lambda s, m: soft(s) * m),), "the mask comes before softmax"),
    (ATTEND, (attend_by(weigh=lambda s, m: soft(s + m)),), "adding True and False"),
    (ATTEND, (attend_by(weigh=lambda s, m: soft(np.where(m, -1e9, s))),), "wrong way round"),
    (ATTEND, (as_many_keys_as_queries,), "dk must have the shape"),
    (ATTEND, (attend_by(back=lambda p, d: d),), "softmax is passed over"),
    (ATTEND, (attend_by(back=lambda p, d: p * d),), "subtracts each row's average"),
    (ATTEND, (attend_by(add=False),), "only the last head"),
    (ATTEND, (attend_by(share="mean"),), "that is a mean over the group"),
    (ATTEND, (attend_by(order=lambda dq, dk, dv: (dq, dv, dk)),), "The order is dq, dk, dv"),
    (ATTEND, (attend_by(order=lambda q, k, v: (q, k.mT, v)),), "dk: that is transposed"),
    (ATTEND, (attend_by(order=lambda q, k, v: (q.sum(0), k, v)),), "keeps its own dq"),
    (ATTEND, (attend_by(order=lambda q, k, v: (q, k)),), "return 3 results"),
    (ATTEND, (attend_by(order=lambda q, k, v: (q, k, v + 1)),), "is right"),
    (ADAMW, (adamw_by(correct=(0, 0)),), "divide them by 1 - β**step"),
    (ADAMW, (adamw_by(correct=(0, 1)),), "mean is not divided"),
    (ADAMW, (adamw_by(correct=(1, 0)),), "square is not divided"),
    (ADAMW, (adamw_by(power=lambda n: n + 1),), "step counts from 1 already"),
    (ADAMW, (adamw_by(decay=lambda w, rate: w),), "weight decay is missing"),
    (ADAMW, (adamw_by(decay=lambda w, rate: w, coupled=0.1),), "acts on w directly"),
    (ADAMW, (adamw_by(decay=lambda w, rate: 0.9 * w),), "not scaled by the rate"),
    (ADAMW, (adamw_by(decay=lambda w, rate: w * (1 - rate)),), "0.1 of the rate"),
    (ADAMW, (adamw_by(root=lambda s: s + 1e-8),), "take the root of square"),
    (ADAMW, (adamw_by(root=lambda s: np.sqrt(s + 1e-8)),), "outside the root"),
    (ADAMW, (adamw_by(root=np.sqrt),), "1e-8 is missing"),
    (ADAMW, (adamw_by(sign=1),), "the step goes up"),
    (ADAMW, (adamw_by(follow="g"),), "Follow its average"),
    (ADAMW, (adamw_by(slow=0.95, slower=0.9),), "are swapped"),
    (ADAMW, (adamw_by(slower=0.999),), "0.999 is torch's default"),
    (ADAMW, (adamw_by(give=lambda w, m, s, a, b: (w, a, b)),), "return the average itself"),
    (ADAMW, (adamw_by(give=lambda w, m, s, a, b: w),), "return 3 results"),
    (ADAMW, (adamw_by(give=lambda w, m, s, a, b: (w, m, s**0.5)),), "square"),
    (ADAMW, (in_place,), "changes its input"),
    (ADAMW, (decay_last,), "the decay is of w as it was"),
    (ADAMW, (step_by(moved, old=True),), "the averages from before this gradient"),
    (ADAMW, (step_by(moved, power=lambda b, n: b * n),), "is a power"),
    (ADAMW, (step_by(moved, correct=lambda a, b: a * b),), "do not multiply"),
    (ADAMW, (step_by(moved, of=lambda g, m: m),), "not of mean's"),
    (ADAMW, (step_by(lambda r, m, s: moved(1, m, s)),), "rate is missing"),
    (ADAMW, (step_by(lambda r, m, s: r * m / np.sqrt(s) - 1e-8),), "put both in brackets"),
    (ADAMW, (lambda *given: (adamw(*given)[0], *step_by(moved, of=lambda g, m: m)(*given)[1:]),),
     "square: "),
    (ADAMW, (lambda w, g, m, s, n, rate: (w, m, s),), "mean does not move"),
    (ADAMW, (lambda w, *rest: (w, *adamw(w, *rest)[1:]),), "w does not move"),
    (MEAN, (4, None, None, None), "the weight from the line above"),
    (MEAN, (5, None, None, None), "nothing is left to divide"),
    (MEAN, (6, None, None, None), "from 1 to 5, not 6"),
    (MEAN, (3, None, 4, None), "mean_fixed is not written yet"),
    (MEAN, (3, lambda b: accumulate(b, lambda v: 1 / len(b)), 4, None), "the mean of the means"),
    (MEAN, (3, lambda b: accumulate(b, lambda v: 1), 4, None), "the sum of the means"),
    (MEAN, (3, lambda b: accumulate(b, len), 4, None), "the sum over all tokens"),
    (MEAN, (3, lambda b: accumulate(b, lambda v: len(v) / len(b)), 4, None), "number of micro"),
    (MEAN, (3, lambda b: accumulate(b) + 1, 4, None), "not the mean over all"),
    (MEAN, (3, lambda b: np.concatenate(b).mean(), 4, None), "that is one number"),
    (MEAN, (3, accumulate, 4, lambda z, ids: -text_loss(z, ids)), "the sign is wrong"),
    (MEAN, (3, accumulate, 4, lambda z, ids: (len(z) - 1) * text_loss(z, ids)), "Take the mean"),
    (MEAN, (3, accumulate, 4, lambda z, ids: text_loss(z[::-1], ids[::-1])), "the one before it"),
    (MEAN, (3, accumulate, 4, lambda z, ids: -np.log(soft(z))[:-1][:, ids[1:]].mean()),
     "Pair each row with its label"),
    (MEAN, (3, accumulate, 1, None), "the id that follows it. That is right"),
    (MEAN, (3, accumulate, 2, None), "its logits are not used"),
    (MEAN, (3, accumulate, 5, None), "is the loss. That is right"),
    (MEAN, (3, accumulate, 4, lambda z, ids: text_loss(z, ids, 2)), "still two tokens ahead"),
    (MEAN, (3, accumulate, 4, lambda z, ids: text_loss(z, ids, 0)), "asked for itself"),
    (MEAN, (3, accumulate, 4, lambda z, ids: text_loss(z, ids) + 1), "the mean of -log p"),
    (MEAN, (3, accumulate, 4, lambda z, ids: z), "must give one number"),
    (LEAK, (1, None), "the query, and j its column"),
    (LEAK, (2, None), "The future, j > i, is hidden"),
    (LEAK, (3, None), "are too far. That is right"),
    (LEAK, (5, None), "from 1 to 4, not 5"),
    (LEAK, (4, published_mask), "still sees one that comes after it"),
    (LEAK, (4, mask_by(far=lambda i, j, W: False)), "behind the window are still visible"),
    (LEAK, (4, mask_by(far=lambda i, j, W: i - j > W)), "behind the window are still visible"),
    (LEAK, (4, mask_by(far=lambda i, j, W: i - j >= W - 1)), "inside the window is hidden"),
    (LEAK, (4, mask_by(future=lambda i, j: j >= i)), "inside the window is hidden"),
    (LEAK, (4, lambda T, W: (mask(T, W) == 0) * 1.0), "a mask of ones and zeros"),
    (LEAK, (4, lambda T, W: mask(T, W) == 0), "a mask of ones and zeros"),
    (LEAK, (4, lambda T, W: mask(T, W) + 1), "must be 0: it is added"),
    (LEAK, (4, lambda T, W: mask(T + 1, W)), "the shape must be"),
    (AVERAGE, (1, None, None, None), "all that is not averaged. That is right"),
    (AVERAGE, (3, None, None, None), "one array of every checkpoint"),
    (AVERAGE, (5, None, None, None), "what the lines above made"),
    (AVERAGE, (4, average_by(kinds="fiu"), 4, None), "holds integers"),
    (AVERAGE, (4, average_by(which=0), 4, None), "Take the last checkpoint's"),
    (AVERAGE, (4, average_by(kinds=""), 4, None), "w is the last checkpoint's"),
    (AVERAGE, (4, average_by(of=lambda v: np.round(np.mean(v, axis=0))), 4, None), "w is rounded"),
    (AVERAGE, (4, average_by(of=np.mean), 4, None), "w has the shape ()"),
    (AVERAGE, (4, average_by(of=sum), 4, None), "w is not the mean"),
    (AVERAGE, (4, lambda c: {"w": average(c)["w"]}, 4, None), "is missing in the result"),
    (AVERAGE, (4, lambda c: list(average(c).values()), 4, None), "must return a dict"),
    (AVERAGE, (4, lambda c: average(c) | {"step": np.array(35.0)}, 4, None), "must stay integers"),
    (AVERAGE, (4, average, 3, None), "as an optimizer does"),
    (AVERAGE, (4, average, 1, None), "begins empty"),
    (AVERAGE, (4, average, 4, kept_by(copy=dict)), "has changed with the later updates"),
    (AVERAGE, (4, average, 4, kept_by(copy=lambda w: w)), "has changed with the later updates"),
    (AVERAGE, (4, average, 4, kept_by(first=True)), "must hold the weights after 1 updates"),
    (AVERAGE, (4, average, 4, lambda w, update, n: []), "a list of n dicts"),
    (AVERAGE, (4, average, 4, None), "kept_fixed is not written yet"),
]  # fmt: skip
CHECKS = [LOSS, LINEAR, NORM, SOFTMAX, ATTEND, ADAMW, MEAN, LEAK, AVERAGE]
FIRST = {MEAN: (3, accumulate, 4), LEAK: (4,), AVERAGE: (4, average, 4)}
N_ANSWERS = {MEAN: 4, LEAK: 2, AVERAGE: 4}
