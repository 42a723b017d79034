"""Checks of lesson 03: which head, projections, grouped attention, the heads joined, tile."""

import contextlib
import sys
import tracemalloc
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np

from minimistral.course.checks.report import (
    NotWritten,
    Wrong,
    array,
    call,
    diagnose_arrays,
    diagnose_number,
    diagnose_numbers,
    exercise,
    expect,
    measured,
    whole_number,
)
from minimistral.course.mine import parts
from minimistral.np import attend as np_attend
from minimistral.np import window_mask

Mistakes = Iterable[tuple[Callable[..., np.ndarray], str]]
_PROJECTING = {
    "matmul: Input operand 1": "The weights are (out, in): multiply x by wq.T, wk.T and wv.T.",
    "cannot reshape": "Take D from the weights, which have heads · D rows, or write -1 for it;"
    " E / n_heads is another number in some models. k and v have n_kv_heads heads.",
    "axes don't match": "First reshape to three axes, then swap.",
}
_JOINING = {
    "matmul: Input operand 1": "Each token needs its H·D numbers side by side; wo is (E, H·D),"
    " so multiply by wo.T.",
    "cannot reshape": "heads is (H, T, D): T is heads.shape[1].",
}
_STACKING = {  # what NumPy says when a reshape is missing or has other sizes
    "cannot reshape": "Take H, T, D, G and S from the shapes of q and k, inside your function.",
    "matmul: Input operand 1": "For the scores swap the last two axes of k: (G, S, D) to"
    " (G, D, S). v stays as it is.",
    "remapped shapes": "Stack the weights again: (H, T, S) to (G, g * T, S).",
    "could not be broadcast together with shapes": "Unstack the scores before the mask: (H, T, S).",
}


def head_read(h: int, n_heads: int, n_kv_heads: int) -> int:
    """The KV head that query head h reads."""
    return h // (n_heads // n_kv_heads)


@exercise(
    "Which head",
    course=head_read,
    hints=(
        "First work out how many query heads share one KV head, and call that number g.",
        "Heads 0 to g − 1 read KV head 0, heads g to 2g − 1 read KV head 1: so divide h by g and"
        " drop the remainder.",
        "Return `h // g`, where `g = n_heads // n_kv_heads` is computed inside the function.",
    ),
)
def kv_head(answer: Any) -> str:
    """answer(h, n_heads, n_kv_heads) -> the KV head that query head h reads."""
    sizes = [(32, 8), (6, 2), (4, 4), (4, 1), (12, 3)]
    cases = [(h, n_heads, n_kv_heads) for n_heads, n_kv_heads in sizes for h in range(n_heads)]
    diagnose_numbers(
        "The head",
        answer,
        _head,
        cases,
        [
            (lambda h, H, G: h % G, "That deals the heads out like cards. Neighbours share one."),
            (lambda h, H, G: h // G, "Divide by the heads that share one, n_heads // n_kv_heads."),
            (lambda h, H, G: h // 4, "4 is Mistral 7B's group. Compute it: n_heads // n_kv_heads."),
            (lambda h, H, G: h // 8, "8 is how many KV heads Mistral 7B has, not how many share."),
            (lambda h, H, G: h // (H // G) + 1, "Count from 0: query head 0 reads KV head 0."),
            (lambda h, H, G: -(-h // (H // G)), "Divide without remainder: // rounds down."),
            (lambda h, H, G: h % (H // G), "That is the index within the group, not the group."),
            (lambda h, H, G: h, "There are only n_kv_heads of them."),
            (lambda h, H, G: min(h, G - 1), "Capping h is not sharing: neighbours share a head."),
            (lambda h, H, G: G - 1 - h // (H // G), "KV head 0 belongs to the first query heads."),
            (lambda h, H, G: (h + 1) // (H // G), "Heads count from 0, so divide h itself."),
            (lambda h, H, G: h * H // G, "It is h * n_kv_heads // n_heads, the other way round."),
            (lambda h, H, G: 0, "That is right for one KV head only."),
        ],
        lambda h, H, G: f"h = {h}, n_heads = {H}, n_kv_heads = {G}",
    )
    for case in cases:
        number = answer(*case)
        expect(
            hasattr(number, "__index__") and not str(getattr(number, "dtype", "")).count("float"),
            f"right, but of type {type(number).__name__}, which cannot index an array. `//` between"
            " two whole numbers gives an int.",
        )
    return f"right for every head of {len(sizes)} models."


def projected(x: Any, wq: Any, wk: Any, wv: Any, n_heads: int, n_kv_heads: int) -> tuple:
    """The queries, keys and values of a text, cut into heads."""
    heads = (n_heads, n_kv_heads, n_kv_heads)
    return tuple(parts.split_heads(x @ w.T, n) for w, n in zip((wq, wk, wv), heads, strict=True))


@exercise(
    "Project",
    course=projected,
    hints=(
        "`x @ wq.T` has shape (T, H·D): one row per token, and in it one head after the other.",
        "Cut each row by itself: `.reshape(T, n_heads, -1)` gives (T, H, D). Then swap the first"
        " two axes, and do the same for k and v with `n_kv_heads` heads.",
        "q is `(x @ wq.T).reshape(len(x), n_heads, -1).swapaxes(0, 1)`; k and v are made alike,"
        " with `wk`, `wv` and `n_kv_heads`, and the last line is `return q, k, v`.",
    ),
)
def project(answer: Any) -> str:
    """answer(x (T, E), wq, wk, wv, n_heads, n_kv_heads) -> q (H, T, D), k and v (G, T, D)."""
    results: dict[str, list] = {name: [] for name in "qkv"}
    for case in _texts():
        three = call(answer, *case, hints=_PROJECTING)
        whole = isinstance(three, tuple | list) and len(three) == 3
        expect(whole, f"return three arrays, q, k, v, not {_what(three)}.")
        for name, part in zip("qkv", three, strict=True):
            results[name].append((case, _one_of(name, part, case)))
    for n, name in enumerate("qkv"):
        _diagnose_part(name, n, results[name])
    return f"q, k and v of all {len(results['q'])} texts have their heads in front."


def joined(heads: Any, wo: Any) -> Any:
    """The heads of each token side by side, then wo."""
    return parts.merge_heads(heads) @ wo.T


@exercise(
    "Join",
    course=joined,
    hints=(
        "The heads of each token must lie side by side again, which is the way back from (H, T, D)"
        " to (T, H·D).",
        "A reshape does not change the order of the numbers, so swap the first two axes before it,"
        " and multiply by `wo.T` after it.",
        "Return `heads.swapaxes(0, 1).reshape(T, -1) @ wo.T`, where `T = heads.shape[1]`.",
    ),
)
def join(answer: Any) -> str:
    """answer(heads (H, T, D), wo (E, H * D)) -> (T, E)."""
    rng = np.random.default_rng(4)

    def case(H: int, T: int, D: int, E: int) -> tuple:
        return _integers(rng, H, T, D), _integers(rng, E, H * D)

    first = np.array([[[1.0, 2], [5, 6]], [[3, 4], [7, 8]]])
    cases = [(first, np.eye(4)), case(2, 3, 4, 5), case(3, 2, 2, 6)]
    cases.append(tuple(a / 10 for a in case(4, 3, 1, 7)))
    results = []
    for heads, wo in cases:
        result = call(answer, heads, wo, hints=_JOINING)
        (H, T, D), E = heads.shape, len(wo)
        without = (T, H * D) != (T, E) and getattr(result, "shape", None) == (T, H * D)
        expect(not without, "the heads lie side by side, but are not yet multiplied by wo.T.")
        results.append(((heads, wo), array(result, (T, E))))
    diagnose_arrays(results, joined, _joining_mistakes())
    return f"right for all {len(cases)} cases."


@exercise(
    "Grouped attention",
    course=parts.attend,
    hints=(
        "Take the sizes from `q.shape` and `k.shape`. Scores as above: stack the queries, multiply"
        " by the swapped keys, divide by √D. Then go back to (H, T, S), because the mask and the"
        " softmax belong to one query each.",
        "For the values, stack the weights in the same way as the queries:"
        " (G, g·T, S) @ (G, S, D) gives (G, g·T, D).",
        "`scores = q.reshape(G, -1, D) @ k.swapaxes(1, 2) / np.sqrt(D)`, then `weights ="
        " softmax(np.where(mask, scores.reshape(H, T, S), -np.inf))`, then"
        " `weights.reshape(G, -1, S) @ v`, as (H, T, D).",
    ),
)
def grouped(answer: Any) -> str:
    """answer(q (H, T, D), k (G, S, D), v (G, S, D), mask (T, S)) -> (H, T, D), without copies."""
    rng = np.random.default_rng(1)

    def case(H: int, G: int, T: int, S: int, D: int) -> tuple:
        mask = window_mask(np.arange(S - T, S), np.arange(S), 4)
        shapes = (H, T, D), (G, S, D), (G, S, D)
        return (*(rng.standard_normal(shape).round(1) for shape in shapes), mask)

    cases = [
        case(*sizes)
        for sizes in (
            (4, 2, 2, 3, 2), (6, 2, 3, 7, 4), (4, 4, 5, 5, 2), (8, 1, 2, 6, 3), (12, 3, 4, 4, 8),
        )
    ]  # fmt: skip
    returned = [call(answer, *c, hints=_STACKING) for c in cases]
    (H, T, D), G = cases[1][0].shape, len(cases[1][1])
    still = getattr(returned[1], "shape", None) == (G, H // G * T, D)
    expect(not still, "the result is still stacked. Reshape it to (H, T, D).")
    results = [(c, array(r, c[0].shape)) for c, r in zip(cases, returned, strict=True)]
    diagnose_arrays(results, _grouped, _grouped_mistakes(), _alike)
    large = (*(np.ones((n, m, 256), np.float32) for n, m in ((64, 1), (1, 512), (1, 512))),
             np.ones((1, 512), bool))  # fmt: skip
    expect(  # a copy for each head takes 64 times the keys, numbers in float64 twice
        measured(_most_bytes, answer, large) < 16 * large[1].nbytes,
        "right, but it copies keys or values for each query head. Stack the queries of a group"
        " instead.",
    )
    return f"agrees with the loop on all {len(cases)} cases, without a copy for each query head."


@exercise(
    "Tile for repeat",
    hints=(
        "Write down what `np.tile` makes of [0, 1] for 4 heads.",
        "Do the same for [0] and for [0, 1, 2, 3], also with 4 heads: in which of the three cases"
        " does every query head get the KV head of the rule?",
        "`np.tile` deals the heads out, so query head h reads h % n_kv_heads. `np.repeat` with"
        " `axis=0` puts the copies of a head side by side.",
    ),
)
def tiled(reads: Any, hidden_at: Any, fixed: Any) -> str:
    """What np.tile makes the heads read, where nobody notices, and the repaired function."""
    diagnose_number("reads", whole_number("reads", reads), 5, [
        (1, "That is what it should read. np.tile puts heads 0 to 7 first, then 0 to 7 again."),
        (0, "np.tile puts KV heads 0 to 7 first, one for each query head."),
        (4, "Count from 0: query head 5 is the sixth."),
        (6, "Count from 0: query head 5 is the sixth."),
    ])  # fmt: skip
    groups = _list(hidden_at)
    expect(1 in groups, "1 is missing in hidden_at: copies of one head are all alike.")
    expect(32 in groups, "32 is missing in hidden_at: with g = 1 nothing is copied.")
    wrong = sorted(groups - {1, 32})
    expect(not wrong, f"hidden_at must not hold {wrong[0] if wrong else ''}: some head differs.")
    sizes = (4, 2), (6, 3), (12, 3), (4, 4)
    cases = [(np.arange(G * 6.0).reshape(G, 3, 2), H) for H, G in sizes]
    errors = {
        "out of bounds": "Divide by the heads that share one, n_heads // len(k).",
        "could not be broadcast together": "np.repeat takes one number of copies, and axis=0.",
    }
    returned = [call(fixed, *case, hints=errors, name="fixed") for case in cases]
    flat = any(getattr(result, "ndim", 0) == 1 for result in returned)
    expect(not flat, "np.repeat without axis makes one long row. The heads are axis 0.")
    k, H = cases[0]
    astray = getattr(returned[0], "shape", ()) == (len(k), H // len(k) * 3, 2)
    expect(not astray, "the copies lie on axis 1, the tokens. The heads are axis 0.")
    results = [(c, array(r, (c[1], 3, 2))) for c, r in zip(cases, returned, strict=True)]
    diagnose_arrays(results, lambda k, H: k[[_head(h, H, len(k)) for h in range(H)]], [
        (lambda k, H: k[np.arange(H) % len(k)], "that is np.tile still: heads are dealt out."),
        (lambda k, H: k[[_head(h, H, len(k)) for h in range(H)]][::-1], "the heads are reversed."),
        (lambda k, H: k[np.zeros(H, int)], "every head gets KV head 0."),
    ])  # fmt: skip
    return "neighbours share a KV head again."


def _alike(case: tuple, result: np.ndarray) -> str:
    """What is told when the query heads of a group agree, though their queries differ."""
    q, k = case[:2]
    groups = result.reshape(len(k), -1, *result.shape[1:])
    alike = len(q) > len(k) and np.allclose(groups, groups[:, :1])
    return "all query heads of a group give the same result; each has its own scores." * alike


def _texts() -> list[tuple]:
    """Texts and weights of whole numbers: float32 holds them exactly, and so do pasted calls."""
    rng = np.random.default_rng(3)
    first = np.arange(1.0, 9).reshape(2, 4)
    small = first, np.eye(4), np.eye(4)[2:], np.eye(4)[:2], 2, 1

    def case(T: int, E: int, H: int, G: int, D: int) -> tuple:
        weights = (_integers(rng, n * D, E) for n in (H, G, G))
        return (_integers(rng, T, E), *weights, H, G)

    x, *weights, H, G = case(5, 7, 4, 1, 3)
    tenths = (x / 10, *(weight / 10 for weight in weights), H, G)
    return [small, case(3, 8, 4, 2, 2), case(2, 5, 6, 3, 4), tenths]


def _integers(rng: np.random.Generator, *shape: int) -> np.ndarray:
    return rng.integers(-4, 5, shape).astype(float)


def _what(value: Any) -> str:
    many = isinstance(value, tuple | list)
    return f"{len(value)}" if many else f"a value of type {type(value).__name__}"


def _one_of(name: str, result: Any, case: tuple) -> np.ndarray:
    """q, k or v as an array of the right shape; raises Wrong for another."""
    x, *weights, H, G = case
    n_rows = len(weights["qkv".index(name)])
    heads, others = (H, G) if name == "q" else (G, H)
    T, D = len(x), n_rows // heads
    shape = tuple(getattr(result, "shape", ()))
    if shape != (heads, T, D):
        known = {
            (T, n_rows): "it is not yet cut into heads.",
            (T, heads, D): "(heads, T, D) is asked for: swap the first two axes, and only those.",
            (heads, D, T): "the last two axes are swapped; (heads, T, D) is asked for.",
            (others, T, n_rows // others): "q has n_heads heads, k and v have n_kv_heads.",
            (others, T, D): "q has n_heads heads, k and v have n_kv_heads. Copy nothing.",
        }
        expect(shape not in known, f"{name}: {known.get(shape)}")
    try:
        return array(result, (heads, T, D))
    except Wrong as wrong:
        raise Wrong(f"{name}: {wrong}") from None


def _diagnose_part(name: str, n: int, results: list[tuple[tuple, np.ndarray]]) -> None:
    """Raise Wrong if q, k or v, which is number n of what is returned, is not right."""

    def part(*case: Any) -> np.ndarray:
        return projected(*case)[n]

    def cut(how: Callable[..., np.ndarray], of: int = n) -> Callable[..., np.ndarray]:
        """how(numbers, heads), of the numbers (T, heads * D) that weight number `of` gives."""
        return lambda x, *rest: how(x @ rest[of].T, rest[3 if n == 0 else 4])

    def first_rows(x: Any, *rest: Any) -> np.ndarray:
        return parts.split_heads(x @ rest[0][: len(rest[n])].T, rest[4])

    def turned(x: Any, *rest: Any) -> np.ndarray:
        weight = rest[n]
        return parts.split_heads(x @ weight.reshape(weight.shape[::-1]), rest[3 if n == 0 else 4])

    mixed = ("reshape to (heads, T, D) alone mixes tokens. Reshape to (T, heads, D), where each"
             " token keeps its row, then swap the first two axes.")  # fmt: skip
    mistakes = [
        (cut(lambda a, n_heads: a.reshape(n_heads, len(a), -1)), mixed),
        (cut(lambda a, n_heads: a.T.reshape(n_heads, len(a), -1)), mixed),
        (cut(lambda a, n_heads: a.reshape(len(a), -1, n_heads).transpose(2, 0, 1)),
         "a head takes every n-th number. Its D numbers lie side by side: (T, heads, D)."),
        (cut(lambda a, n_heads: parts.split_heads(a, n_heads)[::-1]), "the heads are reversed."),
        (cut(lambda a, n_heads: parts.split_heads(a, n_heads)[:, ::-1]),
         "the tokens are reversed."),
        (cut(lambda a, n_heads: parts.split_heads(a, n_heads) * (a.shape[1] / n_heads) ** -0.5),
         "it is divided by √D already. Attention divides the scores, and only once."),
        (first_rows, "it is made with the first rows of wq."),
        (turned, "the weight is reshaped, which cuts its rows in pieces; .T swaps its axes."),
        *((cut(parts.split_heads, of), f"it is made with w{'qkv'[of]}. Return q, k, v in this"
           " order.") for of in range(3) if of != n),
    ]  # fmt: skip
    try:
        diagnose_arrays(results, part, _of_same_shape(part, mistakes))
    except Wrong as wrong:
        if wrong.example:
            wrong.example = wrong.example._replace(part=f"[{n}]")
        raise Wrong(f"{name}: {wrong}", wrong.example) from None


def _of_same_shape(right: Callable[..., np.ndarray], mistakes: Mistakes) -> Mistakes:
    """The mistakes, with a NaN for a result that has another shape and so explains nothing."""

    def guarded(mistaken: Callable[..., np.ndarray]) -> Callable[..., np.ndarray]:
        def function(*case: Any) -> np.ndarray:
            try:
                result = mistaken(*case)
            except ValueError:
                return np.array(np.nan)
            return result if result.shape == right(*case).shape else np.array(np.nan)

        return function

    return [(guarded(mistaken), hint) for mistaken, hint in mistakes]


def _joining_mistakes() -> Mistakes:
    def flat(how: Callable[[np.ndarray], np.ndarray]) -> Callable[..., np.ndarray]:
        return lambda heads, wo: how(heads).reshape(heads.shape[1], -1) @ wo.T

    mixed = ("reshape to (T, H·D) alone mixes tokens. Swap the first two axes before it, so that"
             " each token's heads lie side by side.")  # fmt: skip
    return [
        (flat(lambda heads: heads), mixed),
        (flat(lambda heads: heads.swapaxes(1, 2)), mixed),
        (flat(lambda heads: heads.T), mixed),
        (flat(lambda heads: heads.transpose(1, 2, 0)), "the heads are mixed number by number."
         " All D numbers of head 0 come first, then those of head 1."),
        (flat(lambda heads: heads[::-1].swapaxes(0, 1)), "the heads are reversed."),
        (lambda heads, wo: parts.merge_heads(heads) @ wo.reshape(wo.shape[::-1]),
         "wo is reshaped, which cuts its rows in pieces; .T swaps its axes."),
        (lambda heads, wo: heads[-1] @ wo[:, -heads.shape[2] :].T,
         "only the last head counts. Add up what the heads contribute."),
        (lambda heads, wo: parts.merge_heads(heads) @ wo.T / len(heads),
         "it is divided by the number of heads: wo adds the heads up, it averages nothing."),
    ]  # fmt: skip


def _head(h: int, n_heads: int, n_kv_heads: int) -> int:
    """The head whose value comes back from attend when each KV head passes on its number."""
    q, k = np.zeros((1, n_heads, 1, 2)), np.zeros((1, n_kv_heads, 1, 2))
    v = k + np.arange(n_kv_heads)[:, None, None]
    return int(np_attend(q, k, v, np.ones((1, 1), bool))[0, h, 0, 0])


def _grouped(q: np.ndarray, k: np.ndarray, v: np.ndarray, mask: np.ndarray) -> np.ndarray:
    return np_attend(q[None], k[None], v[None], mask)[0]


def _most_bytes(answer: Callable, arguments: tuple) -> int:
    """The most bytes that NumPy holds at a time; with torch, its largest tensor if that is more."""
    with _tensors() as tensors:  # also the first call, at which modules may be loaded
        call(answer, *arguments)
    tracemalloc.start()
    try:
        call(answer, *arguments)
        return max(tracemalloc.get_traced_memory()[1], *tensors)
    finally:
        tracemalloc.stop()


@contextlib.contextmanager
def _tensors() -> Iterator[list[int]]:
    """The bytes behind each tensor that torch makes; two zeros where torch is not loaded."""
    sizes = [0, 0]
    torch: Any = sys.modules.get("torch")  # a check does not load it
    if torch is None:
        yield sizes
        return

    class Watch(torch.utils._python_dispatch.TorchDispatchMode):
        def __torch_dispatch__(self, function: Any, types: Any, args: Any = (), kwargs: Any = None):
            result = function(*args, **(kwargs or {}))
            if isinstance(result, torch.Tensor):
                sizes.append(result.untyped_storage().nbytes())
            return result

    with Watch():
        yield sizes


def _list(hidden_at: Any) -> set[int]:
    if hidden_at is None:
        raise NotWritten("hidden_at is not written yet.")
    is_list = isinstance(hidden_at, list | tuple | set | np.ndarray)
    expect(is_list, f"hidden_at must be a list, not a value of type {type(hidden_at).__name__}.")
    return {whole_number("Each of hidden_at", value) for value in hidden_at}


def _grouped_mistakes() -> Mistakes:
    def order(index: Callable[[int, int], np.ndarray]) -> Callable[..., np.ndarray]:
        """Query head h reads KV head index(H, G)[h]."""

        def mistaken(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
            heads = index(len(q), len(k))
            return _grouped(q, k[heads], v[heads], mask)

        return mistaken

    def dealt(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        """Stacked as (g, G) in place of (G, g), and unstacked as (G, g)."""
        H, G = len(q), len(k)
        return _grouped(q[np.arange(H).reshape(H // G, G).T.ravel()], k, v, mask)

    def mask_of_rows(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        """The mask repeated row by row over the stacked queries, in place of head by head."""
        (H, T, D), G = q.shape, len(k)
        stacked = q.reshape(G, 1, -1, D)
        rows = np.repeat(mask, H // G, axis=0)
        parts = [_grouped(stacked[n], k[n : n + 1], v[n : n + 1], rows) for n in range(G)]
        return np.concatenate(parts).reshape(H, T, D)

    def only_values(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        H, G = len(q), len(k)
        return _grouped(q, k[np.arange(H) // (H // G)], v[np.arange(H) % G], mask)

    def scaled(by: Callable[..., float]) -> Callable[..., np.ndarray]:
        """The scores divided by by(H, T, D) in place of √D."""
        return lambda q, k, v, mask: _grouped(q * np.sqrt(q.shape[2]) / by(*q.shape), k, v, mask)

    def softmaxed(score: Callable, weigh: Callable, keys: Callable) -> Callable[..., np.ndarray]:
        """Each query head by itself, with other scores, weights or keys."""

        def mistaken(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
            heads = np.arange(len(q)) * len(k) // len(q)
            exps = np.exp(score(q @ keys(k)[heads] / np.sqrt(q.shape[2]), mask))
            return weigh(exps / exps.sum(axis=2, keepdims=True), mask) @ v[heads]

        return mistaken

    def plain(numbers: Any, mask: Any) -> Any:
        return numbers

    def swapped(k: Any) -> Any:
        return k.swapaxes(1, 2)

    def reshaped(k: Any) -> Any:
        return k.reshape(len(k), k.shape[2], k.shape[1])

    def hidden(scores: Any, mask: Any) -> Any:
        return np.where(mask, scores, -np.inf)

    def times(numbers: Any, mask: Any) -> Any:
        return numbers * mask

    def without(exps: Callable, total: Callable) -> Callable[..., np.ndarray]:
        """Each query head by itself, its weights exps(scores) / total(exps)."""

        def mistaken(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
            heads = np.arange(len(q)) * len(k) // len(q)
            scores = q @ swapped(k)[heads] / np.sqrt(q.shape[2])
            weights = exps(scores, mask)
            return weights / total(weights) @ v[heads]

        return mistaken

    def exp_hidden(scores: Any, mask: Any) -> Any:
        return np.exp(hidden(scores, mask))

    def causal(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        return _grouped(q, k, v, np.tri(*mask.shape, dtype=bool))

    def last_causal(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        T, S = mask.shape
        return _grouped(q, k, v, np.tri(T, S, S - T, dtype=bool))

    def averaged(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        return _grouped(q, k.mean(axis=0)[None], v.mean(axis=0)[None], mask)

    def by_token(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        """Stacked with the tokens before the heads, and unstacked as if it were the other way."""
        return _grouped(q.swapaxes(0, 1).reshape(q.shape), k, v, mask)

    def everything(q: Any, k: Any, v: Any, mask: Any) -> np.ndarray:
        return _grouped(q, k, v, np.ones_like(mask))

    return [
        (order(lambda H, G: np.arange(H) % G),
         "query head h reads KV head h % G. It is h // g: neighbours share one."),
        (order(lambda H, G: np.zeros(H, int)), "all heads read KV head 0."),
        (order(lambda H, G: np.minimum(np.arange(H), G - 1)), "query head h reads KV head h, and"
         " the last one for all others. It is h // g: neighbours share one."),
        (order(lambda H, G: (np.arange(H) // (H // G))[::-1]), "the KV heads are reversed."),
        (dealt, "the queries are stacked as if every G-th shared a head; neighbours do."),
        (mask_of_rows, "the mask's rows do not fit: after stacking, each head's T rows follow one"
                       " another. Unstack the scores before the mask."),
        (only_values, "the scores are right, but the values come from the wrong heads."),
        (scaled(lambda H, T, D: 1), "the scores are not divided by sqrt(head_dim)."),
        (scaled(lambda H, T, D: D**-0.5), "the scores are multiplied by sqrt(head_dim), not divided"
         " by it."),
        (scaled(lambda H, T, D: 2), "the scores are divided by 2 for every head_dim: take it from"
         " q's shape."),
        (scaled(lambda H, T, D: D), "the scores are divided by head_dim, not by its square root."),
        (scaled(lambda H, T, D: T**0.5),
         "the scores are divided by sqrt(T). head_dim is the last axis: q.shape[2]."),
        (scaled(lambda H, T, D: H**0.5),
         "the scores are divided by sqrt(H). head_dim is the last axis: q.shape[2]."),
        (softmaxed(times, plain, swapped), "hidden keys have score 0, an ordinary score: exp(0) is"
         " 1. They need -inf before the softmax."),
        (softmaxed(plain, times, swapped), "the mask comes after the softmax: hidden keys still"
         " take their share of the sum. They need -inf before it."),
        (softmaxed(hidden, plain, reshaped), "the keys are cut in pieces: a reshape does not swap"
         " axes. k.swapaxes(1, 2) does."),
        (by_token, "heads and tokens are mixed. Reshape q as it lies, without swapping axes."),
        (everything, "the mask is not used."),
        *((own, "it uses a causal mask of its own in place of the mask that it is given.")
          for own in (causal, last_causal)),
        (softmaxed(lambda s, m: hidden(s, ~m), plain, swapped),
         "visible and hidden are swapped: True means that a key may be seen."),
        (without(lambda s, m: np.where(m, s, 0), lambda w: 1),
         "the scores themselves are the weights; the softmax is missing."),
        (without(exp_hidden, lambda w: 1), "the weights of a query do not sum to 1."),
        (without(exp_hidden, lambda w: w.sum(axis=1, keepdims=True)), "the softmax runs over the"
         " queries. The weights of one query, over its keys, sum to 1: the last axis."),
        (averaged, "the KV heads are averaged. A query head reads one of them, h // g."),
        (lambda q, k, v, mask: _grouped(q, k, k, mask), "it averages keys, not values."),
    ]  # fmt: skip
