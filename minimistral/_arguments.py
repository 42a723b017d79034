"""Checks of arguments. Each error names the argument, what it was, and what is allowed.

Neither NumPy nor torch is imported here, so both twins use the same checks.
"""

import functools
import inspect
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Set, Sized
from numbers import Integral, Real
from typing import Any

_KINDS: dict[Any, str] = {}
MOST_BYTES = 2**47  # 128 TiB: one process can address less
_SHORT_NAMES = {"fp64": "float64", "fp32": "float32", "fp16": "float16", "bf16": "bfloat16"}


def require_model(model: Any, kind: type) -> None:
    """Raise TypeError unless the model is of this class: the Mistral of np, or that of pt."""
    if not isinstance(model, kind):
        given = f"{type(model).__module__}.{type(model).__name__}"
        raise TypeError(f"model must be a {kind.__module__}.{kind.__name__}, not a {given}")


def require_count(name: str, value: Any, minimum: int = 1, below: int | None = None) -> int:
    """Return `value` as an int, or raise an error that names the argument.

    below: if None, 2**63 for what must be at least 1, since a size must fit in 64 bits; no limit
    for what may be 0, such as a seed.
    Raises TypeError when it is not a whole number, ValueError unless minimum <= value < below.
    """
    below = 2**63 if below is None and minimum > 0 else below
    if isinstance(value, bool) or not isinstance(value, Integral):
        raise TypeError(f"{name} must be a whole number, not {value!r}")
    if value < minimum:
        raise ValueError(f"{name} must be at least {minimum}, not {value}")
    if below is not None and int(value) >= below:
        raise ValueError(f"{name} must be below {below}, not {value}")
    return int(value)


def require_threads(name: str, value: Any) -> int:
    """Return `value` as a number of CPU threads, or raise the errors of `require_count`.

    Torch ends with a segmentation fault when it asks for far more than a machine can start.
    """
    return require_count(name, value, below=max(64, os.cpu_count() or 1) + 1)


def require_number(
    name: str,
    value: Any,
    *,
    above: float = -math.inf,
    low: float = -math.inf,
    high: float = math.inf,
) -> float:
    """Return `value` as a finite float with above < value and low <= value <= high, or raise.

    Raises TypeError when it is not a number, ValueError when it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, Real):
        raise TypeError(f"{name} must be a number, not {value!r}")
    try:
        number = float(value)
    except OverflowError:  # a whole number beyond 1e308
        number = math.inf
    if not (math.isfinite(number) and above < number and low <= number <= high):
        bounds = {"above": above, "at least": low, "at most": high}
        limits = [f"{text} {bound:g}" for text, bound in bounds.items() if math.isfinite(bound)]
        *first, last = ["finite", *limits]
        allowed = f"{', '.join(first)} and {last}" if first else last
        raise ValueError(f"{name} must be {allowed}, not {value}")
    return number


def require_share(name: str, value: Any) -> float:
    """The value as a number between 0 and 1, neither of them included."""
    value = require_number(name, value, above=0)
    if value >= 1:
        raise ValueError(f"{name} must be below 1, not {value}")
    return value


def require_bytes(what: str, n_bytes: int, **counts: int) -> None:
    """Raise ValueError when arrays are too large for any machine; it names the largest count.

    counts: what the bytes grow with. Arrays that only this machine cannot hold are no bad
    argument: those run out of memory.

    >>> require_bytes("the cache", 2**50, batch_size=2**40, max_tokens=8)
    ... # doctest: +NORMALIZE_WHITESPACE
    Traceback (most recent call last):
    ValueError: batch_size must be smaller, not 1099511627776: the cache would take
    1,125,899,906,842,624 bytes, and a process can address less than 140,737,488,355,328
    """
    if n_bytes >= MOST_BYTES:
        name = max(counts, key=counts.__getitem__)
        raise ValueError(
            f"{name} must be smaller, not {counts[name]}: {what} would take {n_bytes:,} bytes,"
            f" and a process can address less than {MOST_BYTES:,}"
        )


def require_window(window: Any, name: str = "window") -> int | None:
    """Return `window` as an int >= 1, or None (full causal attention); raise otherwise."""
    if window is None:
        return None
    if isinstance(window, bool) or not isinstance(window, Integral):
        raise TypeError(f"{name} must be a whole number or None, not {window!r}")
    if window < 1:
        raise ValueError(f"{name} must be at least 1 (or None), not {window}")
    if int(window) >= 2**63:  # positions are int64
        raise ValueError(f"{name} must be below 2**63 (or None), not {window}")
    return int(window)


def require_choice(name: str, value: Any, allowed: Iterable[str]) -> str:
    """Return `value` if it is one of those allowed, or raise ValueError."""
    if value not in allowed:
        raise ValueError(f"{name} must be one of {', '.join(allowed)}, not {value!r}")
    return value


def require_dtype(dtype: Any, allowed: Iterable[str]) -> str:
    """Return the name of a dtype, given as a name, a NumPy dtype or a torch dtype; or raise.

    >>> require_dtype("bf16", ["float32", "bfloat16"])
    'bfloat16'
    """
    name = getattr(dtype, "__name__", str(dtype)).removeprefix("torch.")
    name = _SHORT_NAMES.get(name, name)
    if name not in allowed:
        raise ValueError(f"dtype must be one of {', '.join(allowed)}, not {dtype!r}")
    return name


def require_ids(name: str, ids: Any, vocab_size: int) -> list[int]:
    """Return a list or array of token ids as ints from 0 to vocab_size - 1; raise otherwise."""
    ids = ids.tolist() if hasattr(ids, "tolist") else ids
    if isinstance(ids, str | bytes) or not isinstance(ids, Iterable):
        raise TypeError(f"{name} must be a list of ids, not {ids!r}")
    ids = [require_count(name, token, minimum=0) for token in ids]
    if ids and max(ids) >= vocab_size:
        raise ValueError(f"{name} must be below vocab_size = {vocab_size}, not {max(ids)}")
    return ids


def require_content(start: bytes, file: Any) -> None:
    """Raise ValueError when a file, of which the first bytes are given, is a Git LFS pointer."""
    if start.startswith(b"version https://git-lfs.github.com/"):
        raise ValueError(
            f"{file} is a Git LFS pointer, not the file itself; run `git lfs pull` in its folder"
        )


def as_prompts(
    prompts: Any, vocab_size: int, name: str = "prompts"
) -> tuple[bool, list[list[int]]]:
    """One prompt or several -> (whether it is one, a list of lists of ids); raise otherwise.

    >>> as_prompts([1, 2, 3], vocab_size=9), as_prompts([[1, 2], [3]], vocab_size=9)
    ((True, [[1, 2, 3]]), (False, [[1, 2], [3]]))
    """
    prompts = prompts.tolist() if hasattr(prompts, "tolist") else prompts
    if isinstance(prompts, range | Iterator):
        prompts = list(prompts)
    if not isinstance(prompts, list | tuple):
        raise TypeError(f"{name} must be a list of ids, or a list of such lists, not {prompts!r}")
    alone = not prompts or not isinstance(prompts[0], Sized) or isinstance(prompts[0], str)
    unordered = [row for row in prompts if isinstance(row, Set | Mapping)]
    if unordered:
        raise TypeError(f"{name} must be lists of ids in order, not {unordered[0]!r}")
    rows = {name: prompts} if alone else {f"{name}[{n}]": p for n, p in enumerate(prompts)}
    ids = [require_ids(each, row, vocab_size) for each, row in rows.items()]
    for each, row in zip(rows, ids, strict=True):
        if not row:
            raise ValueError(f"{each} must hold at least one id, but is empty")
    return alone, ids


def as_prompt(prompt: Any, vocab_size: int) -> list[int]:
    """One prompt -> a list of ids; raise otherwise, as `as_prompts`.

    >>> as_prompt((1, 2, 3), vocab_size=9)
    [1, 2, 3]
    """
    alone, rows = as_prompts(prompt, vocab_size, name="prompt")
    if not alone:
        raise ValueError(f"prompt must be one list of ids, not {len(rows)} lists")
    return rows[0]


# Arrays of NumPy or torch, of which mostly the shape and the name of the dtype are used


def as_array(name: str, make: Callable[[Any], Any], value: Any) -> Any:
    """make(value), except that an error raised by NumPy or torch names the argument."""
    if "complex" in str(getattr(value, "dtype", "")):  # NumPy and torch would drop a half of it
        raise TypeError(f"{name} must be an array of real numbers, not {value.dtype}")
    try:
        return make(value)
    except (TypeError, ValueError, RuntimeError, OverflowError) as error:
        if type(error) not in (TypeError, ValueError, RuntimeError, OverflowError):
            raise  # out of memory is not the caller's mistake
        raise TypeError(f"{name} must be an array of numbers: {error}") from None


def _kind(array: Any) -> str:
    """The kind of an array's dtype: "float", "int", "bool", or another word."""
    kind = _KINDS.get(array.dtype)
    if kind is None:  # cached, because a NumPy dtype's name takes as long as a small matrix product
        name = str(array.dtype).removeprefix("torch.").rstrip("0123456789")
        kind = _KINDS[array.dtype] = {"bfloat": "float", "uint": "int"}.get(name, name)
    return kind


def require_floats(**arrays: Any) -> None:
    """Raise TypeError unless the arrays are float and share one dtype."""
    dtypes = [array.dtype for array in arrays.values()]
    if dtypes != dtypes[:1] * len(dtypes) or _kind(next(iter(arrays.values()))) != "float":
        *names, last = arrays
        rule = f"{', '.join(names)} and {last} must share a" if names else f"{last} must be of a"
        raise TypeError(f"{rule} float dtype, not {', '.join(map(str, dtypes))}")


def require_integers(name: str, array: Any) -> None:
    """Raise TypeError unless an array holds integers; an empty one may be of any dtype."""
    if 0 not in array.shape and _kind(array) != "int":
        raise TypeError(f"{name} must be integers, not {array.dtype}")


def require_shape(name: str, array: Any, *shapes: tuple[int, ...]) -> None:
    """Raise ValueError unless an array has one of these shapes."""
    if tuple(array.shape) not in shapes:
        allowed = " or ".join(str(shape) for shape in shapes)
        raise ValueError(f"{name} must be {allowed}, not {tuple(array.shape)}")


def require_heads(q: Any, k: Any, v: Any) -> None:
    """Raise unless q is (B, H, T, D), k and v are (B, G, S, D), G divides H and S >= 1."""
    require_floats(q=q, k=k, v=v)
    if q.ndim != 4 or k.ndim != 4 or k.shape != v.shape:
        raise ValueError(
            "q must be (B, H, T, D), k and v (B, G, S, D),"
            f" not {tuple(q.shape)}, {tuple(k.shape)}, {tuple(v.shape)}"
        )
    B, H, _, D = q.shape
    if k.shape[0] != B or k.shape[3] != D:
        raise ValueError(f"k must match q's B = {B} and D = {D}, not {tuple(k.shape)}")
    if k.shape[1] == 0 or H % k.shape[1]:
        raise ValueError(f"q must have a multiple of k's {k.shape[1]} heads, not {H}")
    if k.shape[2] == 0:
        raise ValueError("k must hold at least one key, but is empty")


def require_mask(mask: Any, *shapes: tuple[int, ...]) -> None:
    """Raise unless mask is bool, of one of these shapes."""
    if _kind(mask) != "bool":
        raise TypeError(f"mask must be bool (True = visible), not {mask.dtype}")
    require_shape("mask", mask, *shapes)


def as_seen(make: Callable[[Any], Any], seen: Any, logits: Any, penalty: float) -> Any:
    """make(seen), or raise unless it is bool, (V,) or of the shape of logits.

    None stays None; then the repetition penalty must be 1.
    """
    if seen is None:
        if penalty != 1:
            raise ValueError(f"seen must be given for repetition_penalty = {penalty:g}, not None")
        return None
    seen = as_array("seen", make, seen)
    if _kind(seen) != "bool":
        raise TypeError(f"seen must be bool (True = stood in the text), not {seen.dtype}")
    if tuple(seen.shape) not in (tuple(logits.shape), tuple(logits.shape[-1:])):
        raise ValueError(
            f"seen must be (V,) or of the shape of logits, {tuple(logits.shape)},"
            f" not {tuple(seen.shape)}"
        )
    return seen


def as_allowed(
    make: Callable[[Any], Any], allowed: Callable[[list], Any], new_ids: list, vocab_size: int
) -> Any:
    """make(allowed(new_ids)), or raise unless it is bool (V,) with at least one True.

    >>> as_allowed(set, "text", [], 3)
    Traceback (most recent call last):
    TypeError: allowed must be a function or None, not 'text'
    """
    if not callable(allowed):
        raise TypeError(f"allowed must be a function or None, not {allowed!r}")
    found = allowed(list(new_ids))
    try:
        mask = as_array("allowed", make, found)
        fits = _kind(mask) == "bool" and tuple(mask.shape) == (vocab_size,)
    except TypeError:  # no array at all
        fits = False
    if not fits:
        raise ValueError(f"allowed must return bool of shape ({vocab_size},), not {found!r}")
    if not mask.any():
        raise ValueError(
            f"allowed must return at least one True, but after {len(new_ids)} new ids all are False"
        )
    return mask


def require_network(x: Any, w1: Any, w2: Any, w3: Any) -> None:
    """Raise unless x is (..., E), w1 and w3 are (F, E), w2 is (E, F)."""
    require_floats(x=x, w1=w1, w2=w2, w3=w3)
    if x.ndim == 0:
        raise ValueError("x must be (..., E), not a single number")
    if w1.ndim != 2 or w1.shape[1] != x.shape[-1]:
        raise ValueError(f"w1 must be (F, {x.shape[-1]}), not {tuple(w1.shape)}")
    require_shape("w2", w2, tuple(w1.shape)[::-1])
    require_shape("w3", w3, tuple(w1.shape))


def require_adapted(x: Any, weight: Any, a: Any, b: Any) -> None:
    """Raise unless x is (..., in), weight (out, in), a (r, in) and b (out, r), of one dtype."""
    require_floats(x=x, weight=weight, a=a, b=b)
    if x.ndim == 0:
        raise ValueError("x must be (..., in), not a single number")
    if weight.ndim != 2 or weight.shape[1] != x.shape[-1]:
        raise ValueError(f"weight must be (out, {x.shape[-1]}), not {tuple(weight.shape)}")
    if a.ndim != 2 or a.shape[1] != x.shape[-1]:
        raise ValueError(f"a must be (r, {x.shape[-1]}), not {tuple(a.shape)}")
    require_shape("b", b, (weight.shape[0], a.shape[0]))


def require_tokens(tokens: Any, vocab_size: int) -> None:
    """Raise unless tokens is (B, T), not empty, and all are from 0 to vocab_size - 1."""
    if tokens.ndim != 2 or 0 in tokens.shape:
        raise ValueError(
            f"tokens must be (B, T) with at least one token, not {tuple(tokens.shape)}"
        )
    low, high = int(tokens.min()), int(tokens.max())
    if low < 0 or high >= vocab_size:
        raise ValueError(
            f"tokens must be from 0 to vocab_size - 1 = {vocab_size - 1}, not {low} to {high}"
        )


def require_targets(targets: Any, shape: tuple[int, ...], vocab_size: int) -> None:
    """Raise unless targets is (B, T): ids, or -1 where none counts, and at least one id."""
    require_integers("targets", targets)
    require_shape("targets", targets, shape)
    low, high = int(targets.min()), int(targets.max())
    if low < -1 or not 0 <= high < vocab_size:
        raise ValueError(
            f"targets must be from 0 to vocab_size - 1 = {vocab_size - 1}, or -1 where none counts,"
            f" and some must count, not {low} to {high}"
        )


def require_lengths(lengths: Any, batch_size: int, n_tokens: int) -> None:
    """Raise unless lengths is (B,), integers from 0 to T."""
    require_shape("lengths", lengths, (batch_size,))
    require_integers("lengths", lengths)
    values = lengths.tolist()  # torch has no min of uint16
    if min(values) < 0 or max(values) > n_tokens:
        raise ValueError(f"lengths must be from 0 to T = {n_tokens}, not {values}")


def require_finite(name: str, array: Any) -> None:
    """Raise ValueError when an array holds NaN or infinity."""
    # NaN or infinity shows in the minimum or maximum, which need no second array as isfinite does.
    if not (math.isfinite(array.min().item()) and math.isfinite(array.max().item())):
        raise ValueError(f"{name} must be finite, but holds NaN or infinity")


# What `mm.` offers


def checked(plain: Callable[..., Any]) -> Callable[[Callable[..., tuple]], Callable[..., Any]]:
    """Make a public function of a plain one and of a check.

    The check takes the arguments as the caller gives them, raises when they do not fit, and
    returns those that `plain` is called with. Name and documentation are those of `plain`.

    >>> def half(x):
    ...     return x / 2
    >>> public_half = checked(half)(lambda x: (require_number("x", x),))
    >>> public_half(3)
    1.5
    """

    def decorate(check: Callable[..., tuple]) -> Callable[..., Any]:
        @functools.wraps(plain)
        def public(*args: Any, **kwargs: Any) -> Any:
            return plain(*check(*args, **kwargs))

        public.__signature__ = inspect.signature(check)  # type: ignore[attr-defined]
        raises = "Raises TypeError or ValueError, naming the argument."
        public.__doc__ = f"{inspect.getdoc(plain)}\n\n{raises}"
        return public

    return decorate
