"""The first tensor at which two models part, and the likely reason.

Logits that differ say only that something is wrong. `compare` follows both models from the ids
on and stops at the first tensor that differs. Everything before it agrees, so the fault lies in
the one step between; the usual mistakes of that step are tried, and the one that gives the same
numbers is named.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from minimistral import np as mn
from minimistral.checkpoint import to_halves, to_pairs
from minimistral.course.mine.parts import attend, forward, merge_heads, rotate, split_heads
from minimistral.np.feedforward import feed_forward, silu
from minimistral.np.mask import window_mask
from minimistral.np.norm import rms_norm

Array = np.ndarray
Tensors = dict[str, Array]
Guesses = Iterator[tuple[Array, str]]  # what a mistake gives, and its name
PAGE = 72  # tokens that are compared where the window is not longer
TOLERANCE, ROUNDING = 1e-4, 5e-7  # of float32: what differs, and what is as good as equal


@dataclass(frozen=True)
class Difference:
    """Where two models part. name: of the tensor; index: of the entry that is farthest off."""

    name: str
    index: tuple[int, ...]
    mine: float
    right: float
    cause: str

    def __str__(self) -> str:
        where = ", ".join(map(str, self.index))
        numbers = f"{self.name}[{where}] is {self.mine:.4f}, and {self.right:.4f} in the reference"
        return f"The first difference: {numbers}.\n{self.cause}"


class _Found(Exception):
    """Ends the forward pass at the first difference."""


def compare(mine: Any, reference: mn.Mistral, ids: Any = None) -> Difference | None:
    """Follow two models through one text -> the first Difference, or None if they agree.

    mine: a Mistral of `minimistral.np`, or a function (ids, see) -> logits that calls
    see(name, tensor) for the tensors it wants compared, with the names and shapes that
    `parts.forward` lists. It may read the text in chunks, through a cache of its own: then it
    calls see once per chunk, and each time with the tokens of that chunk.
    reference: the model that is right. ids (T,): a text; if None, random ids of more than two
    windows, so that a wrong window shows.
    Raises ValueError for a name that the reference does not have.

    >>> from dataclasses import replace
    >>> from minimistral import ModelConfig
    >>> right = mn.Mistral(ModelConfig.tiny())
    >>> wrong = mn.Mistral(replace(right.config, rope_theta=1e6), right.weights)
    >>> print(compare(wrong, right))                                    # doctest: +ELLIPSIS
    The first difference: layers.0.q_rotated[...] is ..., and ... in the reference.
    Likely cause: theta is 1,000,000, where the model's is 10,000.
    >>> compare(right, right) is None
    True
    """
    if ids is None:
        window = reference.config.window_size or PAGE
        n_tokens = max(PAGE, 2 * window + 3)
        ids = np.random.default_rng(0).integers(0, reference.config.vocab_size, n_tokens)
    ids = np.asarray(ids)
    right: dict[str, Array] = {}
    forward(reference, ids, see=right.__setitem__)
    found: list[Difference] = []
    n_seen = dict.fromkeys(right, 0)  # of each tensor, the tokens that were compared

    def see(name: str, value: Any) -> None:
        if name not in right:
            raise ValueError(f"name must be one of the reference's tensors, not {name!r}")
        value = np.asarray(value)
        start = n_seen[name]
        n_tokens = value.shape[_token_axis(name)] if value.ndim == right[name].ndim else 0
        if name.endswith(".mask") and value.shape != right[name].shape:
            return  # a chunk's mask has the columns of its cache; "heads" shows whether it is right
        n_seen[name] = (start + n_tokens) % len(ids)
        step = _Step(name, start, start + n_tokens, right, reference, ids)
        difference = _difference(step, value)
        if difference is not None:
            found.append(difference)
            raise _Found

    try:
        if isinstance(mine, mn.Mistral):
            _require_same_shapes(mine, reference)
            forward(mine, ids, see=see)
        else:
            logits = mine(ids, see)
            n_seen["logits"] = 0
            see("logits", logits)
    except _Found:
        return found[0]
    return None


def _require_same_shapes(mine: mn.Mistral, reference: mn.Mistral) -> None:
    """Raise ValueError, naming the weight, when two models do not have the same shapes."""
    for name, weight in reference.weights.items():
        other = mine.weights.get(name)
        if other is None or other.shape != weight.shape:
            shape = "missing" if other is None else other.shape
            raise ValueError(f"{name} must be {weight.shape} as in the reference, not {shape}")


def _difference(step: "_Step", value: Array) -> Difference | None:
    wanted = step.of(step.right[step.name])
    if value.shape != wanted.shape:
        cause = f"The shape of {step.name} is {value.shape}, where {wanted.shape} is right."
        return Difference(step.name, (), float("nan"), float("nan"), cause)
    if _apart(value, wanted) < TOLERANCE:
        return None
    off = np.nan_to_num(abs(value.astype(float) - wanted.astype(float)), nan=np.inf)
    index = tuple(int(i) for i in np.unravel_index(np.argmax(off), off.shape))
    cause = "No usual mistake gives these numbers. Look at the step that computes this tensor."
    if np.isnan(value).any() and not np.isnan(wanted).any():
        cause = "NaN comes from −∞ − (−∞) or 0 / 0."
        if step.name.endswith("heads"):
            cause += " A query sees no key, or softmax runs over the heads and not the keys."
    least = TOLERANCE
    with np.errstate(all="ignore"):
        for mistaken, words in _mistakes(step):
            if mistaken.shape == step.right[step.name].shape:
                mistaken = step.of(mistaken)
            if mistaken.shape == value.shape and not np.isnan(mistaken).all():
                apart = max(_apart(value, mistaken), ROUNDING)
                if apart < least:  # of two that are as close, the first stays
                    least, cause = apart, f"Likely cause: {words}"
    mine, right = float(value[index]), float(wanted[index])
    axis = _token_axis(step.name)
    place = tuple(i + step.start if n == axis else i for n, i in enumerate(index))
    return Difference(step.name, place, mine, right, cause)


def _token_axis(name: str) -> int:
    """Which axis of a tensor counts the tokens: those with heads have them in front."""
    return int(name.split(".")[-1] in ("q", "k", "v", "q_rotated", "k_rotated", "heads"))


@dataclass(frozen=True)
class _Step:
    """One comparison: the tensor, its tokens start to stop - 1, and all that is right."""

    name: str
    start: int
    stop: int
    right: dict[str, Array]
    model: mn.Mistral
    ids: Array

    def of(self, tensor: Array) -> Array:
        """The tokens of this step, out of a tensor of the whole text."""
        tokens = slice(self.start, self.stop)
        return tensor[:, tokens] if _token_axis(self.name) else tensor[tokens]

    def of_all(self, tensors: dict[str, Array]) -> dict[str, Array]:
        """The tokens of this step, out of every tensor that has a row per token."""
        return {
            name: replace(self, name=name).of(tensor)
            for name, tensor in tensors.items()
            if not name.endswith(".mask")
        }

    @property
    def in_chunks(self) -> bool:
        return self.stop - self.start < len(self.ids)


def _apart(value: Array, wanted: Array) -> float:
    """The largest difference, as a share of the largest number; 0 where both are NaN."""
    if wanted.dtype == bool:
        return float(not np.array_equal(value, wanted))
    off = np.where(np.isnan(value) & np.isnan(wanted), 0, abs(value - wanted))
    scale = abs(wanted[np.isfinite(wanted)]).max(initial=0.0) or 1.0
    return float(np.nan_to_num(off, nan=np.inf, posinf=np.inf).max(initial=0.0) / scale)


def _mistakes(step: _Step) -> Guesses:
    """What the usual mistakes make of this tensor, from the reference's tensors before it."""
    name, right, model, ids = step.name, step.right, step.model, step.ids
    config = model.config
    alone = name.split(".")[-1] not in ("q_rotated", "k_rotated", "mask", "heads")
    if step.in_chunks and alone:  # what a chunk makes of its own tokens, without looking back
        right, ids = step.of_all(right), ids[step.start : step.stop]
    if name == "embedding":
        table = model.weights["tok_embeddings.weight"]
        yield table[ids - 1], "the ids are off by one: row ids - 1 was read."
        yield table[np.minimum(ids + 1, len(table) - 1)], "the ids are off by one: row ids + 1."
        yield table[ids] * config.dim**0.5, "the embedding is multiplied by √dim; Mistral's is not."
        return
    n = config.n_layers - 1 if name in ("norm", "logits") else int(name.split(".")[1])
    short, prefix = name.split(".")[-1], f"layers.{n}."
    before = right[f"layers.{n - 1}.out"] if n else right["embedding"]
    at = {key[len(prefix) :]: value for key, value in right.items() if key.startswith(prefix)}
    if step.in_chunks:
        yield from _chunk_mistakes(step, short, at)
    yield from _STEPS[short](at, before, model, model.layers[n], right)
    if short in _FROM_WEIGHTS:
        for m, other in enumerate(model.layers):
            if m != n:
                made = _FROM_WEIGHTS[short](at, before, config, other)
                yield made, f"the weights are those of layer {m}: two layers were exchanged."
        yield (np.zeros_like(right[name]),
               "all of it is 0, and so are its weights: a file that was cut off, or a tensor "
               "that was never filled.")  # fmt: skip


def _chunk_mistakes(step: _Step, short: str, at: dict[str, Array]) -> Guesses:
    """Mistakes that only a cache or a text in chunks can make."""
    W, T, start, stop = step.model.config.window_size, len(step.ids), step.start, step.stop
    t, theta = np.arange(T), step.model.config.rope_theta
    if short in ("q_rotated", "k_rotated"):
        x = at[short[0]]
        for shift, words in (
            (start, "positions begin at 0 again in each chunk; they go on from the last one's."),
            (start - 1, "positions are one too high after the first chunk."),
            (start + 1, "positions begin at -1 in each chunk."),
            (1, "positions are one too low after the first chunk."),
            (-1, "positions are one too high after the first chunk."),
        ):
            yield np.stack([rotate(head, t - shift, theta) for head in x]), words
    if short == "heads":
        right = window_mask(t, t, W)
        k, v = at["k_rotated"], at["v"]
        own, causal = t >= start, window_mask(t, t, None)
        for mask, words in (
            (right & own, "the cache is not read: a chunk sees only its own tokens."),
            (right & (own | (start > t) & (t >= start - 1)), "only the last cached key is read."),
            (right & ~own, "the chunk sees the cache, but not its own tokens."),
            (causal, "the cache never forgets: every earlier token is seen."),
            (right | own & (t < stop), "a chunk's own tokens see ahead within the chunk."),
        ):
            yield attend(at["q_rotated"], k, v, mask), words
        if W is not None:
            kept = t >= stop - W
            yield from _empty_slots(step, at)
            twice = np.r_[max(0, stop - W) : stop, start:stop]
            yield (attend(at["q_rotated"], k[:, twice], v[:, twice], right[:, twice]),
                   "the chunk is written first and then seen twice, in the cache and beside it; "
                   "attend first, then write (lesson 07).")  # fmt: skip
            old = (t >= start - W) & (t < start)
            for mask, words in (
                (right & kept, "the chunk is written first, which evicts keys that its first "
                               "tokens still see; attend first, then write (lesson 07)."),
                (right | old & causal, "a key that is too old is still seen: the window's rule "
                                       "is not asked of the keys in the cache."),
                (right & ((t >= start - W + 2) | own),
                 "the cache keeps too few tokens: the first of a chunk sees the W − 1 before it."),
                (window_mask(t, t, W + 1), "W + 1 keys are seen: 0 ≤ i − j < W."),
            ):  # fmt: skip
                yield attend(at["q_rotated"], k, v, mask), words
        cached = (t < start)[None, :, None]
        yield (attend(at["q_rotated"], np.where(cached, at["k"], k), v, right),
               "cached keys were stored before the rotation; they must be rotated.")  # fmt: skip
        yield (attend(at["q_rotated"], k, np.where(cached, k, v), right),
               "the cache gives its keys where values are asked for.")  # fmt: skip
        zero = np.where(cached, 0, k), np.where(cached, 0, v)
        yield attend(at["q_rotated"], *zero, right), "the cache holds zeros: nothing was stored."


def _empty_slots(step: _Step, at: Tensors) -> Guesses:
    """What a chunk sees that does not hide the slots in which nothing is stored: zeros."""
    W, T, start, stop = step.model.config.window_size or 0, len(step.ids), step.start, step.stop
    n_empty = max(0, W - start)
    held = np.r_[start - (W - n_empty) : start, start:stop]
    positions = np.concatenate([np.full(n_empty, -1), held])
    k, v = (np.pad(x[:, held], ((0, 0), (n_empty, 0), (0, 0))) for x in (at["k_rotated"], at["v"]))
    if n_empty:
        gap = np.arange(T)[:, None] - positions
        yield (attend(at["q_rotated"], k, v, (gap >= 0) & (gap < W)),
               "an empty slot is seen: its position is −1, and its key zero.")  # fmt: skip
    yield (attend(at["q_rotated"], k, v, np.ones((T, len(positions)), bool)),
           "no mask: a chunk sees every slot and all of its own tokens.")  # fmt: skip


def _norms(x: Array, weight: Array, eps: float) -> Guesses:
    mean = (x * x).mean(axis=-1, keepdims=True)
    yield x, "the norm is left out."
    yield x * weight, "the norm only multiplies by its weight; divide by the root mean square too."
    yield x / np.sqrt(mean + eps), "the norm's weight is left out."
    centred = x - x.mean(axis=-1, keepdims=True)
    yield (rms_norm(centred, weight, eps),
           "that is LayerNorm, which subtracts the mean first; RMSNorm does not.")  # fmt: skip
    total = (x * x).sum(axis=-1, keepdims=True)
    yield x / np.sqrt(total + eps) * weight, "the norm sums the squares; it must be their mean."
    yield x / (mean + eps) * weight, "the norm's square root is missing."
    over_all = np.sqrt((x * x).mean() + eps)
    yield x / over_all * weight, "the mean is taken over all tokens; each token has its own."
    for other in (0.0, 1e-6, 1e-5, 1e-8, 1e-12, 1e-3):
        if other != eps:
            yield rms_norm(x, weight, other), f"eps is {other:g}, where the model's is {eps:g}."


def _attention_norm(
    at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors
) -> Guesses:
    yield from _norms(before, w["attention_norm"], model.config.norm_eps)
    yield from _wrong_weight(
        lambda weight: rms_norm(before, weight, model.config.norm_eps), "norm", w
    )


def _ffn_norm(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    yield from _norms(at["h"], w["ffn_norm"], model.config.norm_eps)
    yield (rms_norm(at["attention"], w["ffn_norm"], model.config.norm_eps),
           "attention replaces x; it must be added to it.")  # fmt: skip
    yield (rms_norm(before, w["ffn_norm"], model.config.norm_eps),
           "the second norm takes the layer's input x; it must take h, the sum. (Or the two "
           "norms, or the two halves, stand in each other's place.)")  # fmt: skip
    yield from _wrong_weight(
        lambda weight: rms_norm(at["h"], weight, model.config.norm_eps), "norm", w
    )


def _last_norm(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    yield from _norms(at["out"], model.weights["norm.weight"], model.config.norm_eps)


def _wrong_weight(make: Callable[[Array], Array], kind: str, w: Any) -> Guesses:
    for other in ("attention_norm", "ffn_norm"):
        yield make(w[other]), f"the weight is that of {other}."


def _projection(letter: str) -> Callable[..., Guesses]:
    def step(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
        config, normed = model.config, at["attention_norm"]
        n_heads = config.n_heads if letter == "q" else config.n_kv_heads
        flat = normed @ w[f"attention.w{letter}"].T
        yield (flat.reshape(n_heads, len(flat), -1),
               "the heads are cut by reshape(heads, T, D) alone, which mixes tokens; "
               "reshape to (T, heads, D), then swap the first two axes.")  # fmt: skip
        yield (flat.reshape(len(flat), -1, n_heads).transpose(2, 0, 1),
               "a head takes every n-th number; its D numbers lie side by side.")  # fmt: skip
        raw = before @ w[f"attention.w{letter}"].T
        yield split_heads(raw, n_heads), f"{letter} is made from x; it must be made from its norm."
        for other in "qkv":
            weight = w[f"attention.w{other}"]
            if other != letter and weight.shape == w[f"attention.w{letter}"].shape:
                yield (split_heads(normed @ weight.T, n_heads),
                       f"{letter} is made with w{other}.")  # fmt: skip
        weight = w[f"attention.w{letter}"]
        if weight.shape[0] == weight.shape[1]:
            yield split_heads(normed @ weight, n_heads), f"w{letter} is transposed once too often."
        halves = to_halves(weight, n_heads)
        for permuted in (halves, to_pairs(weight, n_heads)):
            yield (split_heads(normed @ permuted.T, n_heads),
                   f"the rows of w{letter} lie in the other layout of the rotation "
                   "(pairs or halves, lesson 02).")  # fmt: skip
        for n in sorted({config.n_heads, config.n_kv_heads, config.n_groups, 1} - {n_heads}):
            if len(weight) % (2 * n) == 0:
                yield (split_heads(normed @ to_pairs(halves, n).T, n_heads),
                       f"the rows of w{letter} were put in pairs as if they were those of {n} "
                       f"heads; it has {n_heads} (lesson 13).")  # fmt: skip

    return step


def _rotation(letter: str) -> Callable[..., Guesses]:
    def step(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
        x, config = at[letter], model.config
        T, D, theta = x.shape[1], x.shape[2], config.rope_theta
        positions, W = np.arange(T), config.window_size

        def turned(positions: Array, theta: float = theta) -> Array:
            return np.stack([rotate(head, positions, theta) for head in x])

        yield x, f"{letter} is not rotated."
        yield (
            _halves(x, theta),
            (
                "the rotation pairs x[j] with x[j + D / 2]; here neighbours form a pair, "
                "x[2j] with x[2j + 1] (lesson 02)."
            ),
        )
        yield turned(-positions), "the rotation turns the other way: the signs of the sines."
        yield turned(positions + 1), "positions are counted from 1; the first is 0."
        if W is not None:
            yield turned(positions % W), "it is rotated by the slot, i mod W, not by the position."
        for other in (1e4, 1e6, 5e5, 1e5):
            if other != theta:
                yield (
                    turned(positions, other),
                    (f"theta is {other:,.0f}, where the model's is {theta:,.0f}."),
                )
        angles = positions[:, None] * theta ** (-np.arange(D // 2) / D)
        yield _turned_by(x, angles), "the exponent is −j / D; it is −2j / D (lesson 02)."
        yield turned(np.zeros(T, int)), "every position is 0."

    return step


def _halves(x: Array, theta: float) -> Array:
    half = x.shape[-1] // 2
    angles = np.arange(x.shape[-2])[:, None] * theta ** (-np.arange(half) / half)
    a, b, cos, sin = x[..., :half], x[..., half:], np.cos(angles), np.sin(angles)
    return np.concatenate([a * cos - b * sin, a * sin + b * cos], axis=-1)


def _turned_by(x: Array, angles: Array) -> Array:
    even, odd, cos, sin = x[..., 0::2], x[..., 1::2], np.cos(angles), np.sin(angles)
    return np.stack([even * cos - odd * sin, even * sin + odd * cos], axis=-1).reshape(x.shape)


def _masks(model: mn.Mistral, T: int) -> Iterator[tuple[Array, str]]:
    W, t = model.config.window_size, np.arange(T)
    if W is not None:
        yield window_mask(t, t, W + 1), "the mask shows W + 1 keys: 0 ≤ i − j < W."
        if W > 1:
            yield window_mask(t, t, W - 1), "the mask shows W − 1 keys: 0 ≤ i − j < W."
        yield window_mask(t, t, None), "the mask is causal, but has no window."
        yield abs(t[:, None] - t) < W, "the mask has a window, but shows what lies ahead."
    yield np.ones((T, T), bool), "nothing is hidden: there is no mask."
    yield window_mask(t, t, W).T, "the mask is transposed; rows are queries."
    yield ~window_mask(t, t, W), "True and False are swapped in the mask."
    yield window_mask(t, t, W) & (t[:, None] != t), "no query sees itself."


def _mask(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    yield from _masks(model, len(before))


def _heads(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    q, k, v, mask = at["q_rotated"], at["k_rotated"], at["v"], at["mask"]
    g, D, T = len(q) // len(k), q.shape[-1], q.shape[1]
    for wrong, words in _masks(model, T):
        yield attend(q, k, v, wrong), words
    if g > 1:
        yield (attend(q, np.tile(k, (g, 1, 1)), np.tile(v, (g, 1, 1)), mask),
               "query heads read KV heads in turn, as np.tile copies; neighbours share one, "
               "as np.repeat does: h // g.")  # fmt: skip
        first = np.zeros(len(q), int)
        yield attend(q, k[first], v[first], mask), "every query head reads KV head 0."
    yield attend(q * D**0.5, k, v, mask), "the scores are not divided by √head_dim."
    yield attend(q * D, k, v, mask), "the scores are multiplied by √head_dim; divide by it."
    yield attend(q * D**-0.5, k, v, mask), "the scores are divided by head_dim, not by its root."
    yield attend(q, k, k, mask), "the weighted sum is of keys; it must be of values."
    yield (attend(at["q"], at["k"], v, mask), "q and k are used as they were before the rotation.")
    scores = q @ np.repeat(k, g, axis=0).swapaxes(1, 2) * D**-0.5
    values = np.repeat(v, g, axis=0)
    zeros = _softmax(np.where(mask, scores, 0))
    yield zeros @ values, "hidden scores are 0, and exp(0) is 1; they must be −∞."
    yield (_softmax(scores) * mask) @ values, "the mask comes after softmax; it must come before."
    yield (
        _softmax(np.where(mask, scores, -np.inf), axis=0) @ values,
        ("softmax runs over the heads; it must run over the keys, axis=-1."),
    )
    yield (
        _softmax(np.where(mask, scores, -np.inf), axis=1) @ values,
        ("softmax runs over the queries; it must run over the keys, axis=-1."),
    )
    yield np.where(mask, scores, 0) @ values, "softmax is left out."


def _softmax(scores: Array, axis: int = -1) -> Array:
    exps = np.exp(scores - scores.max(axis=axis, keepdims=True))
    return exps / exps.sum(axis=axis, keepdims=True)


def _attention(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    heads, wo = at["heads"], w["attention.wo"]
    merged = heads.swapaxes(0, 1).reshape(len(before), -1)
    yield (
        heads.reshape(len(before), -1) @ wo.T,
        ("the heads are joined by reshape alone, which mixes tokens; swap heads and tokens first."),
    )
    yield (
        heads.transpose(1, 2, 0).reshape(len(before), -1) @ wo.T,
        ("the numbers of the heads are mixed; each head's D numbers must stay side by side."),
    )
    if wo.shape[0] == wo.shape[1]:
        yield merged, "the product with wo is missing."
        yield merged @ wo, "wo is transposed once too often."


def _h(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    yield at["attention"], "attention replaces x; it must be added to it."
    yield at["attention_norm"] + at["attention"], "attention is added to the norm of x, not to x."
    yield before, "the result of attention is lost."
    yield from _norms(before + at["attention"], w["attention_norm"], model.config.norm_eps)


def _ffn(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    w1, w2, w3 = (w[f"feed_forward.w{i}"] for i in (1, 2, 3))

    def out(x: Array, activate: Callable[[Array], Array] = silu) -> Array:
        return (activate(x @ w1.T) * (x @ w3.T)) @ w2.T

    x = at["ffn_norm"]
    yield (silu(x @ w3.T) * (x @ w1.T)) @ w2.T, "w1 and w3 are swapped: silu belongs on w1 · x."
    yield silu((x @ w1.T) * (x @ w3.T)) @ w2.T, "silu is taken of the product; only w1 · x has it."
    yield silu(x @ w1.T) @ w2.T, "w3 · x is missing: it is the value that the gate lets through."
    yield (silu(x @ w1.T) + x @ w3.T) @ w2.T, "gate and value are added; they are multiplied."
    yield out(x, lambda z: z), "silu is missing."
    yield out(x, lambda z: np.maximum(z, 0)), "the gate uses ReLU; it must use silu."
    yield (
        out(x, lambda z: 1 / (1 + np.exp(-z))),
        ("the gate uses the logistic function; silu(z) is z times that."),
    )
    gelu = lambda z: 0.5 * z * (1 + np.tanh((2 / np.pi) ** 0.5 * (z + 0.044715 * z**3)))  # noqa: E731
    yield out(x, gelu), "the gate uses GELU; it must use silu."
    yield out(at["h"]), "the network takes h; it must take its norm."
    yield out(at["attention_norm"]), "the network takes the first norm; it must take the second."
    yield out(before), "the network takes x; it must take the norm of h."


def _out(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    yield at["ffn"], "the feed-forward network replaces h; it must be added to it."
    yield before + at["ffn"], "it is added to x, the layer's input; it must be added to h."
    yield at["ffn_norm"] + at["ffn"], "it is added to the norm of h; it must be added to h."
    yield at["h"], "the result of the feed-forward network is lost."


def _logits(at: Tensors, before: Array, model: mn.Mistral, w: Any, right: Tensors) -> Guesses:
    output, norm = model.weights["output.weight"], right["norm"]
    yield at["out"] @ output.T, "the last norm is left out."
    yield (
        norm @ model.weights["tok_embeddings.weight"].T,
        ("the embedding is used as the output matrix; this model has one of its own."),
    )
    logits = right["logits"]
    yield _softmax(logits), "these are probabilities; logits come before softmax."
    yield logits - logits.max(axis=-1, keepdims=True), "the row's largest logit is subtracted."
    for n in range(len(model.layers) - 1):
        x = rms_norm(right[f"layers.{n}.out"], model.weights["norm.weight"],
                        model.config.norm_eps)  # fmt: skip
        yield x @ output.T, f"only {n + 1} of {len(model.layers)} layers were run."


_STEPS: dict[str, Callable[..., Guesses]] = {
    "attention_norm": _attention_norm, "q": _projection("q"), "k": _projection("k"),
    "v": _projection("v"), "q_rotated": _rotation("q"), "k_rotated": _rotation("k"),
    "mask": _mask, "heads": _heads, "attention": _attention, "h": _h, "ffn_norm": _ffn_norm,
    "ffn": _ffn, "out": _out, "norm": _last_norm, "logits": _logits,
}  # fmt: skip

_FROM_WEIGHTS: dict[str, Callable[[Tensors, Array, Any, Any], Array]] = {
    "attention_norm": lambda at, x, c, w: rms_norm(x, w["attention_norm"], c.norm_eps),
    "q": lambda at, x, c, w: split_heads(at["attention_norm"] @ w["attention.wq"].T, c.n_heads),
    "k": lambda at, x, c, w: split_heads(at["attention_norm"] @ w["attention.wk"].T, c.n_kv_heads),
    "v": lambda at, x, c, w: split_heads(at["attention_norm"] @ w["attention.wv"].T, c.n_kv_heads),
    "attention": lambda at, x, c, w: merge_heads(at["heads"]) @ w["attention.wo"].T,
    "ffn_norm": lambda at, x, c, w: rms_norm(at["h"], w["ffn_norm"], c.norm_eps),
    "ffn": lambda at, x, c, w: feed_forward(
        at["ffn_norm"], *(w[f"feed_forward.w{i}"] for i in (1, 2, 3))
    ),
}
