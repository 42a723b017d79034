"""What a worker may not do, as far as the system can forbid it.

On Linux a namespace of its own takes away the network, and Landlock every file outside of a list,
signals to other processes, and tracing them. Elsewhere, and where a container forbids it, Python's
sockets are closed, which stops a mistake and no intent. `Fence` says what was done.
"""

import contextlib
import ctypes
import os
import resource
import socket
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

_NEW_USER, _NEW_NET = 0x10000000, 0x40000000
_SUBREAPER, _NO_NEW_PRIVILEGES = 36, 38
_CREATE, _ADD, _RESTRICT = 444, 445, 446  # Landlock's system calls, the same on all machines
# Landlock's rights to files by version: those of 1, then REFER, TRUNCATE, IOCTL_DEV
_RIGHTS = {1: 2**13 - 1, 2: 2**14 - 1, 3: 2**15 - 1, 4: 2**15 - 1, 5: 2**16 - 1}
_READ = 0b1101  # execute, read a file, list a folder
_OF_A_FILE = 0b101 | 1 << 1 | 1 << 14 | 1 << 15
_DEVICES = ("/dev/null", "/dev/zero", "/dev/urandom", "/dev/random")


class Fence(NamedTuple):
    """What stands between a worker and everything else."""

    network: bool  # no network device
    files: bool  # no file may be changed but in the worker's own folder
    memory: bool  # a limit


def lower_limits(megabytes: int, seconds: float) -> bool:
    """Limit memory, time on the processor and the size of files; whether memory has a limit."""
    most = megabytes * 2**20
    _limit(resource.RLIMIT_CPU, int(seconds) + 5)
    _limit(resource.RLIMIT_FSIZE, 2**26)
    _limit(resource.RLIMIT_CORE, 0)
    return sys.platform == "linux" and _limit(resource.RLIMIT_AS, most)


def _limit(kind: int, most: int) -> bool:
    try:
        resource.setrlimit(kind, (most, most))
    except (ValueError, OSError):  # the limit of this process is lower already
        return False
    return True


def adopt_orphans() -> bool:
    """Make processes that a worker leaves behind this process's own children (Linux)."""
    return sys.platform == "linux" and _libc().prctl(_SUBREAPER, 1, 0, 0, 0) == 0


def shut_in(own_folder: Path, readable: Iterable[Path]) -> tuple[bool, bool]:
    """Take the network and other people's files away from this process; whether each worked."""
    network = files = False
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            network = _libc().unshare(_NEW_USER | _NEW_NET) == 0
            files = _landlock(own_folder, readable)
    if not network:
        _close_sockets()
    return network, files


def _libc() -> Any:
    return ctypes.CDLL(None, use_errno=True)


def _landlock(own_folder: Path, readable: Iterable[Path]) -> bool:
    call = _libc().syscall
    version = call(_CREATE, None, ctypes.c_size_t(0), 1)
    if version < 3:  # an older one cannot forbid to empty a file
        return False
    rights = _RIGHTS[min(version, 5)]
    scope = 3 if version >= 6 else 0  # abstract sockets, and signals
    rules = (ctypes.c_uint64 * 3)(rights, 0, scope)
    size = 24 if version >= 6 else 16 if version >= 4 else 8
    ruleset = call(_CREATE, ctypes.byref(rules), ctypes.c_size_t(size), 0)
    if ruleset < 0:
        return False
    try:
        allowed = [(own_folder, rights), *((path, _READ) for path in readable)]
        allowed += [(Path(name), rights) for name in _DEVICES]
        for path, right in allowed:
            _allow(ruleset, path, right)
        _libc().prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
        return bool(call(_RESTRICT, ruleset, 0) == 0)
    finally:
        os.close(ruleset)


class _Beneath(ctypes.Structure):
    _pack_ = 1
    _fields_ = [("rights", ctypes.c_uint64), ("folder", ctypes.c_int32)]


def _allow(ruleset: int, path: Path, rights: int) -> None:
    with contextlib.suppress(OSError):  # what is not there needs no rule
        folder = os.open(path, os.O_PATH | os.O_CLOEXEC)
        try:
            rule = _Beneath(rights if path.is_dir() else rights & _OF_A_FILE, folder)
            _libc().syscall(_ADD, ruleset, 1, ctypes.byref(rule), 0)
        finally:
            os.close(folder)


def _close_sockets() -> None:
    def refused(*_arguments: Any, **_named: Any) -> NoReturn:
        raise OSError("a submission has no network while it is marked")

    for name in ("socket", "create_connection", "create_server", "socketpair", "getaddrinfo"):
        setattr(socket, name, refused)
