"""The process in which learners' functions run.

A `Stem` imports the course once and then forks: each exercise gets a process of its own, which
costs a hundredth of a second, and one that hangs, crashes or fills its memory costs no other
exercise its mark. The stem kills it afterwards, with all that it has started.
"""

import contextlib
import importlib
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

from minimistral.marking.channel import Channel, Gone
from minimistral.marking.fence import adopt_orphans, lower_limits, shut_in

PACKAGE = Path(__file__).parents[1]
START_SECONDS = 120  # for the import of the checks, on a busy machine
_START = (
    "import sys; sys.path[:] = {path!r}; from minimistral.marking.worker import serve; serve({fd})"
)


class Limits(NamedTuple):
    """What an exercise may take."""

    seconds: float = 30
    megabytes: int = 4096


class Job(NamedTuple):
    """What a worker does before its answers are judged."""

    statements: tuple[tuple[str, str], ...]  # each with the cell that it stands in
    answers: tuple[str, ...]  # the expressions that the check is given
    limits: Limits


class Stem:
    """A process that makes workers, one at a time. Use it in `with`, or call `close`."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="marks-")).resolve()
        self._start()

    def _start(self) -> None:
        self.control, other = socket.socketpair()
        path = [str(Path(entry or ".").resolve()) for entry in sys.path]
        environment = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
        environment |= {
            name: "1" for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
        }
        places = ("HOME", "TMPDIR", "MINIMISTRAL_WORK", "MPLCONFIGDIR", "IPYTHONDIR")
        environment |= dict.fromkeys(places, str(self.folder)) | {"MPLBACKEND": "agg"}
        with other:
            self.process = subprocess.Popen(
                [sys.executable, "-I", "-c", _START.format(path=path, fd=other.fileno())],
                cwd=self.folder,
                env=environment,
                pass_fds=[other.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
        self.control.settimeout(START_SECONDS)
        self.control.recv(1)
        self.control.settimeout(None)

    def fork(self) -> socket.socket:
        """A new worker; the end of the channel to it. `kill` ends it."""
        ours, theirs = socket.socketpair()
        try:
            with theirs:
                self._send(theirs)
        except OSError:
            ours.close()
            raise
        return ours

    def _send(self, theirs: socket.socket) -> None:
        if self.process.poll() is not None:  # somebody has ended it: begin anew
            self.control.close()
            self._start()
        socket.send_fds(self.control, [b"f"], [theirs.fileno()])

    def kill(self) -> str:
        """End the worker and all that it has started; how it had ended before, if it had."""
        try:
            self.control.sendall(b"k")
            (status,) = struct.unpack("!i", self.control.recv(4))
        except (OSError, struct.error):
            return "it has ended the process that marks"
        finally:
            for path in self.folder.iterdir():
                with contextlib.suppress(OSError):
                    path.unlink() if path.is_symlink() or path.is_file() else shutil.rmtree(path)
        return _how(status)

    def close(self) -> None:
        """End everything."""
        self.control.close()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        shutil.rmtree(self.folder, ignore_errors=True)

    def __enter__(self) -> "Stem":
        return self

    def __exit__(self, *_error: Any) -> None:
        self.close()


def _how(status: int) -> str:
    if os.WIFSIGNALED(status):
        return f"signal {os.WTERMSIG(status)}"
    return f"exit code {os.WEXITSTATUS(status)}"


# In the stem


def serve(control_fd: int) -> None:
    """Make a worker for each request, until the other end of the control is closed."""
    for lesson in range(16):
        importlib.import_module(f"minimistral.course.checks.lesson_{lesson:02}")
    import IPython.core.inputtransformer2
    import IPython.display  # noqa: F401  imported once, for all workers

    adopt_orphans()
    control = socket.socket(fileno=control_fd)
    control.sendall(b"r")  # ready: what was imported costs no submission its time
    pid = 0
    try:
        while True:
            request, fds, _, _ = socket.recv_fds(control, 1, 1)
            if request == b"f":
                pid = os.fork()
                if pid == 0:
                    control.close()
                    _work(fds[0])
                os.close(fds[0])
            elif request == b"k":
                control.sendall(struct.pack("!i", _end(pid)))
                pid = 0
            else:
                return
    finally:
        if pid:
            _end(pid)


def _end(pid: int) -> int:
    """Kill a worker and its descendants; the status of the worker."""
    ended, status = os.waitpid(pid, os.WNOHANG)
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(OSError):
            kill(pid, signal.SIGKILL)
    if not ended:
        os.waitpid(pid, 0)
        status = signal.SIGKILL
    for _ in range(1000):
        try:
            for child in _children():
                os.kill(child, signal.SIGKILL)
            if os.waitpid(-1, 0)[0] == 0:
                break
        except ChildProcessError:
            break
        except OSError:
            continue
    return status


def _children() -> list[int]:
    with contextlib.suppress(OSError):
        text = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
        return [int(pid) for pid in text.split()]
    return []


# In a worker


def _work(fd: int) -> None:
    """Serve one exercise in this forked process, which ends here."""
    try:
        os.setsid()
        _serve_answers(Channel(socket.socket(fileno=fd), trusts=True))
    except (Gone, KeyboardInterrupt):
        pass
    finally:
        os._exit(0)


def _serve_answers(channel: Channel) -> None:
    job: Job = channel.receive()
    memory = lower_limits(job.limits.megabytes, job.limits.seconds)
    network, files = shut_in(Path.cwd(), _readable())
    channel.send({"gives": [network, files, memory], "after": []})
    space, stopped = run(job)
    answers, missing = [], []
    for expression in job.answers:
        try:
            answers.append(eval(expression, space))
        except NameError:
            missing.append(expression)
    channel.send({"gives": [answers, missing, stopped], "after": []})
    while True:
        channel.answer(channel.receive())


def run(job: Job) -> tuple[dict[str, Any], dict[str, str]]:
    """Run the statements as a notebook would: an error ends its cell.

    The names that they bind, and the error of each cell that ended early.
    """
    silent = SimpleNamespace(
        run_line_magic=_nothing, run_cell_magic=_nothing, system=_nothing, getoutput=_nothing
    )
    space: dict[str, Any] = {
        "__name__": "__main__", "_course": _course, "get_ipython": lambda: silent
    }  # fmt: skip
    stopped: dict[str, str] = {}
    for source, cell in job.statements:
        if cell in stopped:
            continue
        try:
            exec(compile(source, f"<cell {cell}>", "exec"), space)
        except BaseException as error:  # also SystemExit, which a notebook survives
            stopped[cell] = traceback.format_exception_only(error)[-1].strip()[:300]
    return space, stopped


def _nothing(*_arguments: Any) -> None:
    return None


def _course(lesson: str, name: str) -> Any:
    """The course's own function that a check would give to its lesson."""
    checks = importlib.import_module(f"minimistral.course.checks.lesson_{lesson}")
    return getattr(getattr(checks, name, None), "course", None)


def _readable() -> list[Path]:
    """What a worker may read: Python, its libraries, the course, the system's own files."""
    root = PACKAGE.parent
    libraries = [Path(entry) for entry in sys.path if Path(entry) != root]
    course = [PACKAGE, root / "notebooks", root / "benchmarks"]
    system = ("/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/sys")
    return [Path(sys.prefix), Path(sys.base_prefix), *libraries, *course, *map(Path, system)]
