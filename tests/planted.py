"""pytest against a copy of the package, in a process of its own.

A new interpreter takes seconds to import torch and transformers. On Linux the process is therefore
a fork of one that has imported them, but neither minimistral nor a test, and runs one thread.
"""

import atexit
import contextlib
import gc
import importlib.util
import multiprocessing
import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
FORKS = sys.platform == "linux"  # elsewhere a fork that has imported torch may hang or crash
SECONDS = 900  # for one run; what takes longer hangs
WRONG_COPY = 70  # an exit code that pytest does not use
# Large libraries that the tests import; one that is missing is passed over.
IMPORTED_BEFORE = [
    "pytest", "_hypothesis_pytestplugin", "xdist.plugin", "xdist.looponfail", "numpy", "torch",
    "hypothesis.strategies", "hypothesis.extra.numpy",
]  # fmt: skip
IMPORTED_FOR_HUNDREDS = [
    *IMPORTED_BEFORE, "nbval.plugin", "torch._dynamo", "torch._inductor.compile_fx",
    "torch.distributed.tensor.parallel", "torch.nn.attention.flex_attention", "safetensors.torch",
    "transformers.models.mistral.modeling_mistral", "mistral_common.tokens.tokenizers.mistral",
    "tokenizers", "jinja2.sandbox", "matplotlib.pyplot", "IPython.display", "anywidget", "nbformat",
]  # fmt: skip


def run(arguments, package, forks=FORKS):
    """pytest's exit code and output, run in ROOT with the package that lies in a folder."""
    environment = {**os.environ, "PYTHONPATH": str(package)}
    # assertions need not be explained, and what is imported before could not be rewritten
    arguments = ["-p", "no:cacheprovider", "--assert=plain", *arguments]
    if forks:
        return _run_in_fork(arguments, package, environment)
    command = [sys.executable, "-P", "-m", "pytest", *arguments]
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=SECONDS
    )
    return done.returncode, done.stdout + done.stderr


def _run_in_fork(arguments, package, environment):
    context = multiprocessing.get_context("forkserver")  # one server in each worker of xdist
    hundreds = "MINIMISTRAL_BUGS" in os.environ  # where only a few are tried it would not pay
    context.set_forkserver_preload(IMPORTED_FOR_HUNDREDS if hundreds else IMPORTED_BEFORE)
    with tempfile.NamedTemporaryFile(prefix="planted-", suffix=".txt") as output:
        work = (arguments, str(package), environment, output.name)
        process = context.Process(target=_work, args=work)
        process.start()
        try:
            process.join(SECONDS)
            hangs = process.is_alive()
        finally:  # also after Ctrl-C; what the tests have started ends with them
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.kill()
            process.join()
        text = Path(output.name).read_text(encoding="utf-8", errors="replace")
    if hangs:
        pytest.fail(f"{arguments} still ran after {SECONDS} seconds:\n{text[-2000:]}")
    return process.exitcode, text


def _work(arguments, package, environment, output):
    """What the fork does."""
    os.setsid()  # a group of processes that can be ended as one
    file = os.open(output, os.O_WRONLY)
    os.dup2(file, 1)
    os.dup2(file, 2)
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    assert "minimistral" not in sys.modules
    # pytest collects garbage ten times when it ends. Of all that was imported before there is none,
    # and to look through it would take longer than most tests.
    gc.freeze()
    sys.path.insert(0, package)
    code = int(pytest.main(arguments))
    origin = importlib.util.find_spec("minimistral").origin  # of the module, once it is imported
    atexit._run_exitfuncs()  # a fork ends without them, and temporary folders would stay
    sys.exit(code if origin.startswith(package) else WRONG_COPY)
