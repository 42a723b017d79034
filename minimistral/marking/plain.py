"""Values as plain data: what a worker may send to the process that marks.

Nothing here can run code when it is read, unlike a pickle: a message is JSON, and the numbers of
arrays are raw bytes beside it. A value that has no plain form arrives as an empty object of a
class with the same name, because a check may say "not a value of type X".
"""

import json
import math
import re
from collections.abc import Callable
from typing import Any

import numpy as np

from minimistral.ledger.claim import Claim, Finding

RECORDS = {"Claim": Claim, "Finding": Finding}  # of the course, built again from their fields
MOST_JSON, MOST_BYTES = 8 * 2**20, 128 * 2**20  # of one message
_NUMBERS = re.compile(r"[<>|][biufc]\d{1,2}")
_NAME = re.compile(r"\w{1,80}")


class Unreadable(ValueError):
    """A message that no worker sends by itself."""


def encode(message: Any, share: Callable[[Any], int]) -> tuple[bytes, bytes]:
    """A message as JSON and the bytes of its arrays. share(function) gives a function a number.

    >>> encode([1, (2.5, "a")], share=id)
    (b'{"l": [1, {"t": [2.5, "a"]}]}', b'')
    """
    blob = bytearray()
    text = json.dumps(_plain(message, blob, share))
    return text.encode("ascii"), bytes(blob)


def decode(text: bytes, blob: bytes, shared: Callable[[int], Any]) -> Any:
    """The message; every value in it has exactly the type that it seems to have.

    shared(number): what stands for a function. Raises Unreadable.

    >>> text, blob = encode({"x": np.arange(3), "y": {1, 2}}, share=id)
    >>> decode(text, blob, shared=repr)
    {'x': array([0, 1, 2]), 'y': {1, 2}}
    >>> decode(b'{"a": ["<f8", [1000000000000], 0, 8]}', bytes(8), shared=repr)
    Traceback (most recent call last):
    minimistral.marking.plain.Unreadable: ['<f8', [1000000000000], 0, 8]
    """
    try:
        return _value(json.loads(text), blob, shared)
    except (ValueError, TypeError, KeyError, IndexError, OverflowError, RecursionError) as error:
        raise Unreadable(str(error)[:200]) from None


def _plain(value: Any, blob: bytearray, share: Callable[[Any], int]) -> Any:
    def inner(part: Any) -> Any:
        return _plain(part, blob, share)

    def raw(data: bytes) -> list[int]:
        blob.extend(data)
        return [len(blob) - len(data), len(data)]

    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, np.ndarray):
        if value.dtype.kind in "biufc":
            return {"a": [value.dtype.str, list(value.shape), *raw(value.tobytes())]}
        if value.dtype.kind in "OU":
            kind = "str" if value.dtype.kind == "U" else "object"
            return {"o": [kind, list(value.shape), [inner(part) for part in value.flat]]}
    if isinstance(value, np.generic) and value.dtype.kind in "biufc":
        return {"g": [value.dtype.str, [], *raw(value.tobytes())]}
    if type(value).__module__ == "torch" and hasattr(value, "detach"):
        numbers = value.detach().cpu()
        widened = str(value.dtype) == "torch.bfloat16"
        array = (numbers.float() if widened else numbers).numpy()
        return {"T": [inner(array), bool(value.requires_grad), widened]}
    for simple in (bool, int, float, str):
        if isinstance(value, simple):  # of a class of its own
            return simple(value)
    if isinstance(value, bytes | bytearray):
        return {"b": raw(bytes(value))}
    if isinstance(value, complex):
        return {"c": [value.real, value.imag]}
    if isinstance(value, range):
        return {"R": [value.start, value.stop, value.step]}
    if isinstance(value, dict):
        return {"d": [[inner(key), inner(part)] for key, part in value.items()]}
    for mark, several in (("l", list), ("t", tuple), ("s", set), ("z", frozenset)):
        if isinstance(value, several):
            return {mark: [inner(part) for part in value]}
    for name, record in RECORDS.items():
        if type(value) is record:
            return {"r": [name, {key: inner(part) for key, part in vars(value).items()}]}
    if callable(value):
        return {"f": share(value)}
    return {"x": type(value).__name__}


def _value(form: Any, blob: bytes, shared: Callable[[int], Any]) -> Any:
    def inner(part: Any) -> Any:
        return _value(part, blob, shared)

    if form is None or type(form) in (bool, int, float, str):
        return form
    if type(form) is not dict or len(form) != 1:
        raise Unreadable(f"{form!r:.100}")
    ((mark, given),) = form.items()
    if mark in ("a", "g"):
        array = _array(given, blob)
        return array if mark == "a" else array[()]
    if mark == "o":
        kind, shape, parts = given
        array = np.empty(len(parts), dtype=object)
        array[:] = [inner(part) for part in parts]
        return (array.astype(str) if kind == "str" else array).reshape(shape)
    if mark == "T":
        return _tensor(inner(given[0]), *given[1:])
    if mark == "b":
        start, length = map(int, given)
        return blob[start : start + length]
    if mark == "c":
        return complex(*map(float, given))
    if mark == "R":
        return range(*map(int, given))
    if mark == "d":
        return {inner(key): inner(part) for key, part in given}
    if mark in "ltsz":
        return {"l": list, "t": tuple, "s": set, "z": frozenset}[mark](map(inner, given))
    if mark == "r":
        name, fields = given
        return RECORDS[name](**{key: inner(part) for key, part in fields.items()})
    if mark == "f":
        return shared(int(given))
    if mark == "x" and _NAME.fullmatch(given):
        return type(given, (), {})()
    raise Unreadable(f"{form!r:.100}")


def _array(given: Any, blob: bytes) -> np.ndarray:
    dtype, shape, start, length = given
    if not (_NUMBERS.fullmatch(dtype) and all(type(n) is int and n >= 0 for n in (*shape, start))):
        raise Unreadable(f"{given!r:.100}")
    data, wanted = blob[start : start + length], np.dtype(dtype)
    if len(data) != math.prod(shape) * wanted.itemsize:
        raise Unreadable(f"{given!r:.100}")
    return np.frombuffer(data, wanted).reshape(shape).copy()


def _tensor(array: Any, with_gradient: bool, widened: bool) -> Any:
    import torch  # a check accepts tensors too, and says what their dtype is

    if not isinstance(array, np.ndarray):
        raise Unreadable("a tensor without numbers")
    tensor = torch.from_numpy(array)
    tensor = tensor.bfloat16() if widened else tensor
    return tensor.requires_grad_() if with_gradient and array.dtype.kind in "fc" else tensor
