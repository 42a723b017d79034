"""Work in a process that is killed in the middle (SIGKILL), and so has no chance to tidy up.

A test file hands its own path to a `Workshop`, which starts this file as a program once. That
imports the test file and torch and calls `prepare`, which takes seconds, and then forks a process
for each piece of work, which takes milliseconds.
"""

import contextlib
import importlib
import io
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from pathlib import Path

import pytest
from effort import times
from tqdm import tqdm

linux = pytest.mark.skipif(sys.platform != "linux", reason="a fork that has torch needs Linux")
KILLED = -9  # an exit code
SECONDS = 300  # what takes longer hangs, and ends with another exit code


def moments(seconds, seed=0):
    """Moments of a work that takes so many seconds: one at random in each n-th part of it."""
    rng, n = random.Random(seed), times(3, 10)
    return [seconds * (part + rng.random()) / n for part in range(n)]


class Workshop:
    """Does what functions of a file do, each call in a process of its own."""

    def __init__(self, file):
        paths = [Path(__file__).parents[1], Path(__file__).parent, Path(file).parent]
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join(map(str, paths))}
        command = [sys.executable, "-P", __file__, Path(file).stem]
        self.process = subprocess.Popen(
            command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, function, *arguments, after=None, at_move=None):
        """Call a function by name -> its exit code, what it printed, and the seconds it took.

        after: kill it so many seconds after its start. at_move: kill it when it is about to move
        a file for the n-th time, counted from 0.
        """
        order = [function, arguments, after, at_move]
        self.process.stdin.write(json.dumps(order, default=str) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.wait(timeout=60)
        self.process.stdout.close()


def do_and_kill(work, arguments, after, at_move):
    """Fork, and kill the child -> its exit code, its output, seconds."""
    (ready, begin), (output, end) = os.pipe(), os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        signal.alarm(SECONDS)
        try:
            sys.stdin = open(os.devnull, encoding="utf-8")  # the next orders are not for it
            sys.stdout = sys.stderr = open(end, "w", encoding="utf-8")
            if at_move is not None:
                kill_at_move(at_move)
            os.write(begin, b"!")
            code = work(*arguments) or 0
        except BaseException:
            traceback.print_exc()
        finally:
            sys.stdout.flush()
            os._exit(code)
    os.close(end)
    os.close(begin)
    os.read(ready, 1)
    started = time.monotonic()
    if after is not None:
        time.sleep(after)
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
    with open(output, encoding="utf-8") as printed:
        text = printed.read()
    _, status = os.waitpid(child, 0)
    os.close(ready)
    return os.waitstatus_to_exitcode(status), text, time.monotonic() - started


def kill_at_move(n):
    replace, count = os.replace, iter(range(10**6))

    def counted(*arguments):
        if next(count) == n:
            os.kill(os.getpid(), signal.SIGKILL)
        return replace(*arguments)

    os.replace = counted


def main(module):
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    functions = importlib.import_module(module)
    # tqdm shares a lock with forks, and who is killed while it has it keeps all others waiting
    tqdm.monitor_interval = 0
    tqdm.set_lock(threading.RLock())
    with contextlib.redirect_stdout(io.StringIO()):
        functions.prepare()
    for line in sys.stdin:
        function, *order = json.loads(line)
        answers.write(json.dumps(do_and_kill(getattr(functions, function), *order)) + "\n")
        answers.flush()


if __name__ == "__main__":
    main(sys.argv[1])
