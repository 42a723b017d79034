"""Calls between the process that marks and a worker, in both directions.

A check calls a learner's function, and that function may call one that the check gave it, such as
`read` in lesson 10. Arguments that a function changes are changed for its caller as well.

From the marking process a message may be a pickle. From a worker it is plain data (`plain.py`):
`trusts` says which of the two an end accepts.
"""

import builtins
import io
import pickle
import socket
import struct
import sys
import time
import types
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from minimistral.course.checks.report import NotWritten, Wrong
from minimistral.marking.plain import MOST_BYTES, MOST_JSON, Unreadable, decode, encode
from minimistral.tokenizer import Tokenizer

_LENGTHS = struct.Struct("!QQ")
_CHANGEABLE = (np.ndarray, list, dict, set)


class Gone(BaseException):
    """The other end has ended, is too slow, or sends what cannot be read.

    It is no Exception, because a check may take any of those for a mistake of the learner.
    """


class Late(Gone):
    """The time is up."""


class Unsendable(Gone):
    """A check gives an answer what cannot be sent: no mistake of the learner."""


class Remote:
    """A function at the other end of a channel."""

    def __init__(self, channel: "Channel", number: int) -> None:
        self._channel, self._number = channel, number

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        return self._channel.call(self._number, arguments, named)

    def measured(self, measure: Callable[..., Any], arguments: tuple) -> Any:
        """measure(function, *arguments), run where the function is: a worker can forge this."""
        return self._channel.call(self._number, arguments, {}, measure)


class Channel:
    """One end. trusts: whether it accepts pickles, which only a worker does."""

    def __init__(self, end: socket.socket, trusts: bool, deadline: float = float("inf")) -> None:
        self.end, self.trusts, self.deadline = end, trusts, deadline
        self.functions: list[Any] = []  # those of this end that the other may call
        self.kept: dict[int, Any] = {}  # large objects that are sent once
        self.n_measured = 0  # how many calls were measured at the other end

    # Messages

    def send(self, message: Any) -> None:
        """Send one message; raises Gone."""
        if self.trusts:
            text, blob = encode(message, self._share)
        else:
            text, blob = _pickled(message, self._share, self.kept), b""
        self._wait()
        try:
            self.end.sendall(_LENGTHS.pack(len(text), len(blob)))
            self.end.sendall(text)
            self.end.sendall(blob)
        except TimeoutError:
            raise Late from None
        except OSError as error:
            raise Gone(str(error)) from None

    def receive(self) -> Any:
        """The next message; raises Gone."""
        n_text, n_blob = _LENGTHS.unpack(self._read(_LENGTHS.size))
        if not self.trusts and (n_text > MOST_JSON or n_blob > MOST_BYTES):
            raise Gone("it sends more than fits into a message")
        text, blob = self._read(n_text), self._read(n_blob)
        if self.trusts:
            return _unpickled(text, self._remote, self.kept)
        try:
            return decode(text, blob, self._remote)
        except Unreadable as error:
            raise Gone(f"it sends what cannot be read: {error}") from None

    def _read(self, length: int) -> bytes:
        data = bytearray()
        while len(data) < length:
            self._wait()
            try:
                part = self.end.recv(min(length - len(data), 2**20))
            except TimeoutError:
                raise Late from None
            except OSError as error:
                raise Gone(str(error)) from None
            if not part:
                raise Gone("it has ended")
            data += part
        return bytes(data)

    def _wait(self) -> None:
        if self.deadline != float("inf"):
            left = self.deadline - time.monotonic()
            if left <= 0:
                raise Late
            self.end.settimeout(left)

    def _share(self, function: Any) -> int:
        self.functions.append(function)
        return len(self.functions) - 1

    def _remote(self, number: int) -> Remote:
        return Remote(self, number)

    # Calls

    def call(
        self, number: int, arguments: tuple, named: Mapping[str, Any], measure: Any = None
    ) -> Any:
        """What the other end's function returns or raises."""
        self.n_measured += measure is not None
        self.send({"call": number, "with": arguments, "named": dict(named), "by": measure})
        while "call" in (message := self._message()):
            self.answer(message)
        for argument, after in zip(arguments, message["after"], strict=True):
            write_back(argument, after)
        if "raised" in message:
            raise _error(*message["raised"])
        return message["gives"]

    def answer(self, message: Mapping[str, Any]) -> None:
        """Do a call that the other end asks for, and send what came of it."""
        try:
            function = self.functions[message["call"]]
            arguments, named, measure = message["with"], message["named"], message["by"]
            if not self.trusts and measure is not None:
                raise TypeError("a worker measures nothing here")
        except (KeyError, IndexError, TypeError) as error:
            raise Gone(f"it asks for what there is not: {error}") from None
        before = [_snapshot(argument) for argument in arguments]
        try:
            result = measure(function, *arguments) if measure else function(*arguments, **named)
            reply = {"gives": result}
        except Gone:
            raise
        except BaseException as error:  # the other end decides what it means
            kinds = [kind.__name__ for kind in type(error).__mro__]
            reply = {"raised": (type(error).__name__, kinds, _text(error))}
        after = [
            _state(argument) if _snapshot(argument) != was else None
            for argument, was in zip(arguments, before, strict=True)
        ]
        self.send(reply | {"after": after})

    def _message(self) -> dict[str, Any]:
        message = self.receive()
        if not isinstance(message, dict) or not {"call", "gives", "raised"} & message.keys():
            raise Gone("it sends no answer")
        if "call" not in message and not isinstance(message.get("after"), list):
            raise Gone("it sends no answer")
        return message


def _snapshot(argument: Any) -> bytes | None:
    """What tells whether an argument was changed; None for what nobody can change."""
    state = _state(argument)
    if state is None:
        return None
    text, blob = encode(state, share=lambda _function: 0)
    return text + blob


def _state(argument: Any) -> Any:
    """The part of an argument that a function can change, in a form that can be sent back."""
    if isinstance(argument, _CHANGEABLE):
        return argument
    if _of_a_check(type(argument)):
        if type(argument).__setattr__ is object.__setattr__ and not callable(argument):
            return {
                k: v for k, v in vars(argument).items() if isinstance(v, np.ndarray | float | int)
            }
    return None


def write_back(old: Any, new: Any) -> None:
    """Give a changed argument the values that it has at the other end.

    >>> kept = np.zeros(2); box = {"a": kept, "b": [1]}
    >>> write_back(box, {"a": np.ones(2), "c": 3}); box, kept
    ({'a': array([1., 1.]), 'c': 3}, array([1., 1.]))
    """
    if isinstance(old, np.ndarray):
        if isinstance(new, np.ndarray) and new.shape == old.shape and new.dtype == old.dtype:
            old[...] = new
    elif isinstance(old, list) and isinstance(new, list):
        same = len(old) == len(new)
        old[:] = [_kept(a, b) for a, b in zip(old, new, strict=True)] if same else new
    elif isinstance(old, dict) and isinstance(new, dict):
        parts = {key: _kept(old.get(key), part) for key, part in new.items()}
        old.clear()
        old.update(parts)
    elif isinstance(old, set) and isinstance(new, set):
        old.clear()
        old.update(new)
    elif isinstance(new, dict) and (state := _state(old)):
        for name in state.keys() & new.keys():
            setattr(old, name, _kept(state[name], new[name]))


def _kept(old: Any, new: Any) -> Any:
    """The old part with new values where it can take them, so that who holds it sees them."""
    write_back(old, new)
    same_array = isinstance(old, np.ndarray) and isinstance(new, np.ndarray)
    fits = same_array and old.shape == new.shape and old.dtype == new.dtype
    if fits or (type(old) is type(new) and isinstance(old, list | dict | set)):
        return old
    return new


def _error(name: Any, kinds: Any, text: Any) -> BaseException:
    """An exception of the other end: the class that it extends here, its own name and text."""
    if not (isinstance(name, str) and isinstance(kinds, list) and isinstance(text, str)):
        raise Gone("it raises what cannot be read")
    if "Wrong" in kinds:
        return Wrong(text)
    if "NotWritten" in kinds:
        return NotWritten(text)
    base: type[BaseException] = Exception
    for kind in kinds:
        found = getattr(builtins, str(kind), None)
        if isinstance(found, type) and issubclass(found, Exception | SystemExit):
            base = found
            break
    own: Any = type(name, (_Told, base), {"told": text})
    error: BaseException = own.__new__(own)  # some classes want more than a text
    return error


class _Told:
    told = ""

    def __str__(self) -> str:
        return self.told


def _text(error: BaseException) -> str:
    try:
        return str(error)[:2000]
    except Exception:
        return ""


# Pickles, from the marking process to a worker only


class _Pickler(pickle.Pickler):
    """A function that a worker cannot import is called back by a number; a tokenizer goes once."""

    def __init__(self, file: Any, share: Callable[[Any], int], kept: dict[int, Any]) -> None:
        super().__init__(file, protocol=5)
        self.share, self.kept = share, kept

    def persistent_id(self, value: Any) -> int | tuple[int, bytes | None] | None:
        if isinstance(value, Tokenizer):
            if id(value) in self.kept:
                return id(value), None
            self.kept[id(value)] = value  # so that no other object gets its id
            return id(value), pickle.dumps(value)
        if isinstance(value, types.FunctionType):
            return None if _importable(value) else self.share(value)
        if isinstance(value, types.MethodType):
            return self.share(value) if _of_a_check(type(value.__self__)) else None
        kept_here = _of_a_check(type(value)) and callable(value)  # it may note its calls
        return self.share(value) if kept_here else None


def _importable(function: types.FunctionType) -> bool:
    """Whether a worker finds the function by its name, as it finds those that pickles name."""
    value: Any = sys.modules.get(function.__module__)
    for name in function.__qualname__.split("."):
        value = getattr(value, name, None)
    return value is function and function.__module__ != "__main__"


def _of_a_check(kind: type) -> bool:
    return kind.__module__.startswith("minimistral.course.checks.")


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, remote: Callable[[int], Any], kept: dict[int, Any]) -> None:
        super().__init__(file)
        self.remote, self.kept = remote, kept

    def persistent_load(self, what: Any) -> Any:
        if isinstance(what, int):
            return self.remote(what)
        number, data = what
        if data is not None:
            self.kept[number] = pickle.loads(data)
        return self.kept[number]


def _pickled(message: Any, share: Callable[[Any], int], kept: dict[int, Any]) -> bytes:
    file = io.BytesIO()
    try:
        _Pickler(file, share, kept).dump(message)
    except Exception as error:  # whatever an object raises that cannot be pickled
        raise Unsendable(f"{type(error).__name__}: {error}") from None
    return file.getvalue()


def _unpickled(data: bytes, remote: Callable[[int], Any], kept: dict[int, Any]) -> Any:
    return _Unpickler(io.BytesIO(data), remote, kept).load()
