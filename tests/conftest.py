"""Settings for all tests."""

import gc
import os
import signal
import sys
from pathlib import Path

# pytest -n 2 already keeps two cores busy. For arrays as small as the tests', more threads only
# wait for each other. Set before NumPy or torch is imported; processes started here inherit it.
for variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ.setdefault(variable, "1")

# A run started in the background by a script ignores Ctrl-C, and so would the programs that the
# tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

sys.path.insert(0, str(Path(__file__).parent / "publish"))  # browser.py, for the fixture below

import pytest  # noqa: E402
from hypothesis import Phase, settings  # noqa: E402

# A slow machine is not a bug.
# `make test` tries fewer random examples than `make test-all`; each run tries others.
settings.register_profile("course", deadline=None, max_examples=20)
settings.register_profile("thorough", deadline=None, max_examples=200)
# A planted bug only has to be found, not made small, and not with examples that failed for another
# (tests/test_mutations.py).
find = [phase for phase in Phase if phase not in (Phase.shrink, Phase.explain)]
settings.register_profile("find", deadline=None, phases=find, database=None)
settings.load_profile("course")


def pytest_collection_finish(session):
    """What is imported by now stays, so that no search for garbage need look through it again."""
    gc.freeze()


@pytest.fixture(scope="module")
def chromium():
    """Chromium without a window. Where there is none a test is skipped; on Linux in CI it fails."""
    import browser as tools
    from playwright.sync_api import sync_playwright

    path = tools.find_chromium()
    if path is None:
        reason = "no Chromium or Chrome on PATH; MINIMISTRAL_BROWSER may name one"
        if os.environ.get("CI") and sys.platform == "linux":
            pytest.fail(reason)
        pytest.skip(reason)
    with sync_playwright() as playwright:
        browser = tools.launch(playwright, path)
        yield browser
        browser.close()
