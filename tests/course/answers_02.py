"""Further answers to the exercises of lesson 02, right and wrong, as learners write them."""

import numpy as np
import torch

from minimistral.course.checks import lesson_02

TURN, TO_PAIRS, SLOT = lesson_02.rotate, lesson_02.to_pairs, lesson_02.by_slot


def speeds(x, theta):
    return theta ** (-np.arange(0, x.shape[1], 2) / x.shape[1])


def rotated(x, positions, theta, angles=lambda p, theta, j, D: p * theta ** (-2 * j / D)):
    """The two formulas, with the angles left open."""
    D = x.shape[1]
    turned = angles(positions[:, None], theta, np.arange(D // 2), D)
    cos, sin, a, b = np.cos(turned), np.sin(turned), x[:, ::2], x[:, 1::2]
    return np.stack([a * cos - b * sin, a * sin + b * cos], -1).reshape(x.shape)


def angles(function):
    return lambda x, positions, theta: rotated(x, positions, theta, function)


# Right answers in other styles


def with_float32_angles(x, positions, theta):
    D = x.shape[1]
    table = np.float32(theta) ** (-np.arange(0, D, 2, dtype=np.float32) / np.float32(D))
    turned = positions.astype(np.float32)[:, None] * table
    return rotated(x, positions, theta, lambda *_: turned)


def all_in_float32(x, positions, theta):
    return with_float32_angles(x.astype(np.float32), positions, theta).astype(np.float32)


def by_exp_of_log(x, positions, theta):
    D = x.shape[1]
    table = np.exp(np.float32(-np.log(theta)) * np.arange(0, D, 2, dtype=np.float32) / D)
    return rotated(x, positions, theta, lambda *_: np.outer(positions, table))


def in_torch(x, positions, theta, dtype=torch.float64):
    x, D = torch.tensor(x, dtype=dtype, requires_grad=True), x.shape[1]
    turned = torch.outer(torch.tensor(positions).to(dtype), theta ** (-torch.arange(0, D, 2) / D))
    pairs = torch.view_as_complex(x.reshape(len(x), -1, 2))
    turned = pairs * torch.polar(torch.ones_like(turned), turned)
    return torch.view_as_real(turned).flatten(1)


def by_complex_view(x, positions, theta):
    return (x.view(complex) * np.exp(1j * np.outer(positions, speeds(x, theta)))).view(float)


def by_einsum(x, positions, theta):
    cos, sin = (f(np.outer(positions, speeds(x, theta))) for f in (np.cos, np.sin))
    matrices = np.array([[cos, -sin], [sin, cos]])
    return np.einsum("abtj,tjb->tja", matrices, x.reshape(len(x), -1, 2)).reshape(x.shape)


def in_place_on_a_copy(x, positions, theta):
    angle = positions[:, None] * speeds(x, theta)
    old, new = x, x.copy()
    new[:, 0::2] *= np.cos(angle)
    new[:, 0::2] -= old[:, 1::2] * np.sin(angle)
    new[:, 1::2] *= np.cos(angle)
    new[:, 1::2] += old[:, 0::2] * np.sin(angle)
    return new


def by_wide_tables(x, positions, theta):
    angle = np.repeat(positions[:, None] * speeds(x, theta), 2, axis=1)
    crossed = x.reshape(-1, 2)[:, ::-1] * [-1, 1]
    return x * np.cos(angle) + crossed.reshape(x.shape) * np.sin(angle)


def with_empty_like(x, positions, theta):
    angle, turned = positions[:, None] * speeds(x, theta), np.empty_like(x)
    turned[:, 0::2] = x[:, 0::2] * np.cos(angle) - x[:, 1::2] * np.sin(angle)
    turned[:, 1::2] = x[:, 0::2] * np.sin(angle) + x[:, 1::2] * np.cos(angle)
    return turned


def pairs_by_index(weight, n_heads):
    D = len(weight) // n_heads
    old = np.arange(len(weight)).reshape(n_heads, 2, D // 2).transpose(0, 2, 1).ravel()
    return weight[old]


def pairs_by_stack(weight, n_heads):
    heads = []
    for head in np.split(weight, n_heads):
        a, b = np.split(head, 2)
        heads.append(np.stack([a, b], axis=1).reshape(head.shape))
    return np.concatenate(heads)


def pairs_in_torch(weight, n_heads):
    weight = torch.nn.Parameter(torch.tensor(weight, dtype=torch.float32))
    halves = weight.view(n_heads, 2, -1, weight.shape[1])
    return halves.transpose(1, 2).reshape(weight.shape)


def pairs_by_writing(weight, n_heads):
    out, D = np.zeros_like(weight), len(weight) // n_heads
    for h in range(n_heads):
        for j in range(D // 2):
            out[h * D + 2 * j], out[h * D + 2 * j + 1] = (
                weight[h * D + j],
                weight[h * D + D // 2 + j],
            )
    return out


def scores(q, k, W=4, query=lambda m, W: m, key=lambda n, W: n, keep=None):
    """The scores of the last query, with every number left open."""
    T = len(k)
    kept = range(max(0, T - W), T) if keep is None else keep(T, W)
    asked = rotated(q[-1:], np.array([query(T - 1, W)]), 1e4)[0]
    return np.array([asked @ rotated(k[n : n + 1], np.array([key(n, W)]), 1e4)[0] for n in kept])


def scores_by_distance(q, k, W=4):
    """Only the query turns, by its distance to each key."""
    T = len(k)
    return [float(rotated(q[-1:], np.array([T - 1 - n]), 1e4)[0] @ k[n])
            for n in range(max(0, T - W), T)]  # fmt: skip


def scores_in_torch(q, k, W):
    T = len(k)
    every = in_torch(k, np.arange(T), 1e4, torch.float32) @ in_torch(
        q, np.arange(T), 1e4, torch.float32
    )[-1]  # fmt: skip
    return every[-W:]


def scores_as_scalars(q, k, W):
    return [np.asarray(score) for score in scores(q, k, W)]


def scores_as_tensors(q, k, W):
    return [torch.tensor(score, requires_grad=True) for score in scores(q, k, W)]


def scores_all_at_once(q, k, W):
    positions = np.arange(len(k))
    return (rotated(k, positions, 1e4) @ rotated(q, positions, 1e4)[-1])[-W:]


RIGHT = [
    *((TURN, (function,)) for function in (
        rotated, with_float32_angles, all_in_float32, by_exp_of_log, in_torch, by_complex_view,
        by_einsum, in_place_on_a_copy, by_wide_tables, with_empty_like,
        lambda x, p, theta: in_torch(x, p, theta, torch.float32),
        lambda x, p, theta: rotated(x, p, torch.tensor(theta).numpy()),
        lambda x, p, theta: rotated(x, p + 0.0, np.array(theta)).astype(np.float32),
    )),
    *((TO_PAIRS, (function,)) for function in (
        pairs_by_index, pairs_by_stack, pairs_in_torch, pairs_by_writing,
    )),
    *((SLOT, (4, -3, function)) for function in (
        scores, scores_by_distance, scores_in_torch, scores_as_scalars, scores_as_tensors,
        scores_all_at_once, lambda q, k, W: scores(q + 0, k, W).astype(np.float32),
    )),
    (SLOT, (np.array(4), torch.tensor(-3.0, requires_grad=True), scores)),
    (SLOT, (np.int64(4), np.float32(-3), scores)),
]  # fmt: skip


# Wrong answers


def changed(change):
    """change(a, b, cos, sin) -> the new pairs."""

    def function(x, positions, theta):
        angle = positions[:, None] * speeds(x, theta)
        new = change(x[:, 0::2], x[:, 1::2], np.cos(angle), np.sin(angle))
        return np.stack(new, axis=-1).reshape(x.shape)

    return function


def rotate_half(x):
    """As Hugging Face crosses x."""
    a, b = np.split(x, 2, axis=1)
    return np.concatenate([-b, a], axis=1)


def crossed_in_halves(x, positions, theta):
    angle = np.repeat(positions[:, None] * speeds(x, theta), 2, axis=1)
    return x * np.cos(angle) + rotate_half(x) * np.sin(angle)


def stacked_in_front(x, positions, theta):
    y = rotated(x, positions, theta)
    return np.stack([y[:, 0::2], y[:, 1::2]]).reshape(x.shape)


def only_pair_0(x, positions, theta):
    y, cos, sin = x.copy(), np.cos(positions), np.sin(positions)
    y[:, 0], y[:, 1] = x[:, 0] * cos - x[:, 1] * sin, x[:, 0] * sin + x[:, 1] * cos
    return y


def first_half_only(x, positions, theta):
    return np.hstack([rotated(x, positions, theta)[:, : x.shape[1] // 2],
                      x[:, x.shape[1] // 2 :]])  # fmt: skip


def encoding_added(x, positions, theta):
    angle = positions[:, None] * speeds(x, theta)
    return x + np.stack([np.sin(angle), np.cos(angle)], -1).reshape(x.shape)


def row_by_row(x, positions, theta):
    return np.array([rotated(x[t : t + 1], positions[t : t + 1], theta)[0] for t in range(len(x))])


def pair_by_pair(x, positions, theta):
    y = np.empty(x.shape)
    for j, speed in enumerate(speeds(x, theta)):
        cos, sin = np.cos(positions * speed), np.sin(positions * speed)
        y[:, 2 * j] = x[:, 2 * j] * cos - x[:, 2 * j + 1] * sin
        y[:, 2 * j + 1] = x[:, 2 * j] * sin + x[:, 2 * j + 1] * cos
    return y


def number_by_number(x, positions, theta):
    y = np.zeros(x.shape)
    for t in range(len(x)):
        for j in range(x.shape[1] // 2):
            y[t, 2 * j : 2 * j + 2] = rotated(
                x[t : t + 1, 2 * j : 2 * j + 2], positions[t : t + 1] * speeds(x, theta)[j], theta
            )
    return y


def swapped_on_a_copy(weight, n_heads):
    new, D = weight.copy(), len(weight) // n_heads
    for h in range(0, len(new), D):
        new[h : h + D : 2] = new[h : h + D // 2].copy()
        new[h + 1 : h + D : 2] = new[h + D // 2 : h + D].copy()
    return new


def in_order(rows):
    return lambda w, n: np.concatenate([head[rows(len(head))] for head in np.split(w, n)])


def heads_behind(w, n):
    return w.reshape(2, n, -1, w.shape[1]).transpose(1, 2, 0, 3).reshape(w.shape)


def columns_moved(w, n):
    D = len(w) // n
    return w[:, np.arange(D).reshape(2, -1).T.ravel()]


WRONG = [
    (TURN, (angles(lambda p, theta, j, D: p / theta ** (2.0 * j)),), "divide it by D"),
    (TURN, (angles(lambda p, theta, j, D: p * theta ** (-2 * j // D * 1.0)),), "// rounds"),
    (TURN, (angles(lambda p, theta, j, D: p / theta ** np.linspace(0, 1, D // 2)),), "np.linspace"),
    (TURN, (angles(lambda p, theta, j, D: p * np.exp(-2 * j / D)),), "has the base e"),
    (TURN, (angles(lambda p, theta, j, D: p * theta + 0 * j),), "theta has no exponent"),
    (TURN, (angles(lambda p, theta, j, D: p * theta * (-2 * j / D)),), "** raises it to the power"),
    (TURN, (angles(lambda p, theta, j, D: (p / theta) ** (2 * j / D)),), "position / theta"),
    (TURN, (np.errstate(all="ignore")(angles(lambda p, theta, j, D: (p * theta) ** (-2 * j / D))),),
     "position * theta; only"),
    (TURN, (angles(lambda p, theta, j, D: 0 * p + theta ** (-2 * j / D)),), "positions play no"),
    (TURN, (angles(lambda p, theta, j, D: (p * theta ** (-2 * j / D))[:, ::-1]),), "reverse order"),
    (TURN, (angles(lambda p, theta, j, D: p * theta ** (-2 * j / len(p))),), "number of tokens"),
    (TURN, (angles(lambda p, theta, j, D: (p - 1) * theta ** (-2 * j / D)),), "position before"),
    (TURN, (angles(lambda p, theta, j, D: (p - p[0]) * theta ** (-2 * j / D)),), "first position"),
    (TURN, (angles(lambda p, theta, j, D: (p - p.min()) * theta ** (-2 * j / D)),), "smallest"),
    (TURN, (angles(lambda p, theta, j, D: np.sort(p, 0) * theta ** (-2 * j / D)),), "are sorted"),
    (TURN, (angles(lambda p, theta, j, D: p % len(p) * theta ** (-2 * j / D)),), "modulo T"),
    (TURN, (angles(lambda p, theta, j, D: p[-1] * theta ** (-2 * j / D)),), "by the last position"),
    (TURN, (angles(lambda p, theta, j, D: np.degrees(p * theta ** (-2 * j / D))),), "in radians"),
    (TURN, (angles(lambda p, theta, j, D: 2 * np.pi * p / theta ** (2 * j / D)),), "2π does not"),
    (TURN, (lambda x, p, theta: rotated(x, p, 1e6),), "theta is always 1,000,000"),
    (TURN, (lambda x, p, theta: rotated(rotated(x, p, theta), p, theta),), "twice as far"),
    (TURN, (changed(lambda a, b, cos, sin: (a * cos, b * cos)),), "the sines are missing"),
    (TURN, (changed(lambda a, b, cos, sin: (a * cos - b * sin, b)),), "second number of each pair"),
    (TURN, (changed(lambda a, b, cos, sin: (a, a * sin + b * cos)),), "first number of each pair"),
    (TURN, (changed(lambda a, b, cos, sin: (a * cos - b * sin, a * cos + b * sin)),),
     "in the second number"),
    (TURN, (crossed_in_halves,), "crossed in halves"),
    (TURN, (stacked_in_front,), "np.stack needs axis=-1"),
    (TURN, (only_pair_0,), "only pair 0 turns"),
    (TURN, (first_half_only,), "only the first half of the numbers turns"),
    (TURN, (encoding_added,), "rotates x and adds nothing"),
    (TURN, (lambda x, p, theta: rotated(x, p, theta).astype(int),), "cut to whole numbers"),
    (TURN, (lambda x, p, theta: rotated(x, p, theta) / np.linalg.norm(x, axis=1)[:, None],),
     "divided by the length"),
    (TURN, (row_by_row,), "runs a loop"),
    (TURN, (pair_by_pair,), "runs a loop"),
    (TURN, (number_by_number,), "runs a loop"),
    (TURN, (lambda x, p, theta: rotated(x, p, theta).tolist(),), "return a NumPy array"),
    (TURN, (lambda x, p, theta: (np.cos(p), np.sin(p)),), "not a value of type tuple"),
    (TURN, (lambda x, p, theta: x[:, 0::2] * np.cos(p)[:, None],), "the shape must be (1, 2)"),
    (TO_PAIRS, (swapped_on_a_copy,), "overwritten before"),
    (TO_PAIRS, (heads_behind,), "mixes the heads"),
    (TO_PAIRS, (columns_moved,), "Only rows move"),
    (TO_PAIRS, (lambda w, n: w.reshape(n, 2, 64, -1).swapaxes(1, 2).reshape(w.shape),),
     "D is len(weight) // n_heads"),
    (TO_PAIRS, (in_order(lambda D: [*range(0, D, 2), *range(1, D, 2)]),), "the way back"),
    (TO_PAIRS, (lambda w, n: np.vstack([w[0::2], w[1::2]]),), "and it mixes the heads"),
    (TO_PAIRS, (in_order(lambda D: np.arange(D).repeat(2)[:D]),), "the second half is lost"),
    (TO_PAIRS, (in_order(lambda D: [i // 2 if i % 2 == 0 else D - 1 - i // 2 for i in range(D)]),),
     "in reverse order"),
    (TO_PAIRS, (in_order(lambda D: [*range(D // 2, D), *range(D // 2)]),), "must alternate"),
    (TO_PAIRS, (lambda w, n: w.reshape(n, -1, w.shape[1]).swapaxes(0, 1).reshape(w.shape),),
     "each head stays together"),
    (TO_PAIRS, (lambda w, n: np.vstack([pairs_by_index(w[: len(w) // n], 1), w[len(w) // n :]]),),
     "only the first head"),
    (TO_PAIRS, (lambda w, n: pairs_by_index(pairs_by_index(w, n), n),), "converted twice"),
    (TO_PAIRS, (lambda w, n: w.reshape(n, 2, -1, w.shape[1]).transpose(2, 0, 1, 3)
                .reshape(w.shape),), "wrong axes"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, 4)), "4 was an example"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, len(k))), "scores every key"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W + 1)), "one key too many"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W)[:-1]), "one key is missing"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W, key=lambda n, W: 0)), "only the query"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W, query=lambda m, W: 0)), "only the keys"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W, query=lambda m, W: m + 1)), "too far"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W, *[lambda n, W: n % (2 * W)] * 2)), "modulo 2 W"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W, *[lambda n, W: n // W] * 2)), "counts rounds"),
    (SLOT, (4, -3, lambda q, k, W: scores(k, q, W)), "q and k are swapped"),
    (SLOT, (4, -3, lambda q, k, W: scores(np.tile(q[0], (len(q), 1)), k, W)), "last one asks"),
    (SLOT, (4, -3, lambda q, k, W: np.exp(s := scores(q, k, W)) / np.exp(s).sum()),
     "after softmax"),
    (SLOT, (4, -3, lambda q, k: scores(q, k)), "called as fixed(q, k, W)"),
    (SLOT, (4, -3, np.ones(4)), "pass the function itself"),
    (SLOT, (-3, 4, scores), "asks for the query's position"),
    (SLOT, (4, 4, scores), "a difference of two slots"),
    (SLOT, (7, -3, scores), "scores are wrong before that"),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W) + 1), None),
    (SLOT, (4, -3, lambda q, k, W: scores(q, k, W, query=lambda m, W: m + 3)), "were 5 back"),
    (TURN, (lambda x, p, theta: rotated(x, p, theta) * 2,), "goes from 2.236 to 4.472"),
    (TURN, (angles(lambda p, theta, j, D: p * theta ** (-3 * j / D)),), "the rule gives 0.020"),
    (TO_PAIRS, (in_order(lambda D: np.roll(np.arange(D), 1)),), "new row 0 is row 5"),
    (TO_PAIRS, (lambda w, n: pairs_by_index(w, n) / 2,), "no row of the old matrix"),
]  # fmt: skip
CHECKS, FIRST, N_ANSWERS = [], {}, {}
