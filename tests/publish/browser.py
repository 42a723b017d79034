"""What the browser tests need: Chromium, JupyterLab, and eyes on a page."""

import ast
import contextlib
import json
import os
import re
import secrets
import shutil
import socket
import subprocess
import symtable
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import nbformat
import numpy as np
import psutil
from axe_playwright_python.base import AXE_SCRIPT
from filelock import FileLock
from jupyter_client import BlockingKernelClient
from playwright.sync_api import Browser, Locator, Page, Playwright, expect

from minimistral.course.draw.mask import CELL, LEFT, TOP
from minimistral.course.draw.svg import BLUE
from minimistral.np import window_mask

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
FLAGS = ["--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync",
         "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1"]  # fmt: skip

# Chromium


def find_chromium() -> str | None:
    """MINIMISTRAL_BROWSER, or the first Chromium or Chrome on PATH."""
    chosen = os.environ.get("MINIMISTRAL_BROWSER")
    names = [chosen] if chosen else NAMES
    return next((path for name in names if (path := shutil.which(name))), None)


def launch(playwright: Playwright, path: str) -> Browser:
    return playwright.chromium.launch(executable_path=path, headless=True, args=FLAGS)


class Watch:
    """Keeps every address that a page asks for, and every error in its console."""

    def __init__(self, page: Page) -> None:
        self.urls: list[str] = []
        self.errors: list[str] = []
        page.on("request", lambda request: self.urls.append(request.url))
        page.on("websocket", lambda socket: self.urls.append(socket.url))
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("console", self._hear)

    def _hear(self, message) -> None:
        if message.type == "error":
            self.errors.append(f"{message.text} ({message.location.get('url')})")

    def outside(self, *allowed: str) -> list[str]:
        """Addresses that do not begin with one of `allowed`; data: and blob: never leave."""
        return [url for url in self.urls if not url.startswith((*allowed, "data:", "blob:"))]


AXE = """part => axe.run(part ? document.querySelector(part) : document,
  { resultTypes: ["violations"] }).then(found => found.violations)"""


def violations(page: Page, part: str | None = None) -> list[dict]:
    """What axe-core finds on a page, or in one part of it: its rules are loaded once a page."""
    if page.evaluate("typeof axe === 'undefined'"):
        page.evaluate(AXE_SCRIPT)
    return page.evaluate(AXE, part)


# Lectures and pages


QUICK = ("00", "06")  # the lessons that are looked at as a lecture and as a page


def static_lessons(tmp_path_factory) -> Path:
    """A folder with these lessons, run for pages; two processes of pytest share it."""
    shared = tmp_path_factory.getbasetemp()
    if "PYTEST_XDIST_WORKER" in os.environ:
        shared = shared.parent
    folder = shared / "static-lessons"
    with FileLock(shared / "static-lessons.lock"):
        if not folder.exists():
            lessons = [path for number in QUICK for path in NOTEBOOKS.glob(f"{number}_*.ipynb")]
            command = [sys.executable, "-m", "minimistral.publish.notebooks", "--static"]
            done = subprocess.run([*command, folder, *lessons], capture_output=True, text=True)
            assert done.returncode == 0, done.stdout + done.stderr
    return folder


# JupyterLab


class Lab:
    """A JupyterLab server on this machine, with copies of the lessons and settings of its own."""

    def __init__(self, folder: Path, lessons: list[Path]) -> None:
        self.root, self.runtime = folder / "lessons", folder / "runtime"
        self.root.mkdir(exist_ok=True)
        for lesson in lessons:
            copy_without_outputs(lesson, self.root / lesson.name)
        _settings(folder / "settings")
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.token = secrets.token_hex(16)
        self.base = f"http://127.0.0.1:{self.port}"
        self.log = folder / "log.txt"
        self.process = self._start(folder)

    def _start(self, folder: Path) -> subprocess.Popen:
        environment = dict(
            os.environ,
            JUPYTER_CONFIG_DIR=str(folder / "config"),
            JUPYTER_DATA_DIR=str(folder / "data"),
            JUPYTER_RUNTIME_DIR=str(self.runtime),
            JUPYTER_PREFER_ENV_PATH="1",  # the kernel is the Python that runs the tests
            JUPYTERLAB_SETTINGS_DIR=str(folder / "settings"),
            JUPYTERLAB_WORKSPACES_DIR=str(folder / "workspaces"),
            JUPYTER_TOKEN=self.token,
            IPYTHONDIR=str(folder / "ipython"),
        )
        port = [f"--ServerApp.port={self.port}", "--ServerApp.port_retries=0", "--no-browser"]
        command = [sys.executable, "-P", "-m", *self.command(), *port]
        environment |= self.environment()
        with self.log.open("w") as log:
            return subprocess.Popen(command, env=environment, cwd=self.root, stdout=log, stderr=log)

    def command(self) -> list[str]:
        """What is run, and its options beyond those that every server here has."""
        return [
            "jupyterlab", "--allow-root", "--ServerApp.ip=127.0.0.1",
            f"--ServerApp.root_dir={self.root}", "--LabApp.news_url=None",
            "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
            "--LabApp.extension_manager=readonly",
        ]  # fmt: skip

    def environment(self) -> dict[str, str]:
        return {}

    def wait(self, seconds: float = 60) -> None:
        """Until the server answers."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.base}/api?token={self.token}").close()
                return
            except OSError:
                time.sleep(0.2)
        raise RuntimeError(f"JupyterLab did not start:\n{self.log.read_text()[-3000:]}")

    def stop(self) -> None:
        started = []  # `minimistral.course.lab` is not JupyterLab itself, but starts it
        with contextlib.suppress(psutil.NoSuchProcess):
            started = psutil.Process(self.process.pid).children(recursive=True)
        self.process.terminate()  # its kernels end with it
        for one in started:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.terminate()
        # a server that no longer listens may wait for a thread of its own for ever
        _, waiting = psutil.wait_procs(started, timeout=5)
        for one in waiting:
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        try:
            self.process.wait(5)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def open(self, page: Page, name: str) -> None:
        """Open a lesson in a workspace of its own and wait until its kernel is there."""
        workspace = f"{self.base}/lab/workspaces/{Path(name).stem}"
        page.goto(f"{workspace}/tree/{name}?token={self.token}")
        self.ready(page, name)

    def ready(self, page: Page, name: str) -> None:
        """Wait until a lesson is open and its kernel is there."""
        page.locator(".jp-Notebook .jp-Cell").first.wait_for(timeout=60_000)
        name_shown = page.locator(".jp-Toolbar-kernelName")
        expect(name_shown).to_have_text("Python 3 (ipykernel)", timeout=60_000)
        until(lambda: self._kernel(name).get("execution_state") == "idle", 60)

    def _kernel(self, name: str) -> dict:
        with urllib.request.urlopen(f"{self.base}/api/sessions?token={self.token}") as answer:
            sessions = json.load(answer)
        return next((session["kernel"] for session in sessions if session["path"] == name), {})

    def kernel_file(self, name: str) -> Path:
        """How to reach the kernel of an open lesson."""
        return self.runtime / f"kernel-{self._kernel(name)['id']}.json"


class Course(Lab):
    """The server as `make lab` starts it, in a clone that holds one lesson and the package."""

    def __init__(self, folder: Path, lesson: Path) -> None:
        folder.mkdir(exist_ok=True)
        clone = folder / "lessons"
        if not clone.exists():
            (clone / "notebooks").mkdir(parents=True)
            shutil.copy(lesson, clone / "notebooks")
            package = Path(__file__).parents[2] / "minimistral"
            (clone / "minimistral").symlink_to(package, target_is_directory=True)
        super().__init__(folder, [])

    def command(self) -> list[str]:
        return ["minimistral.course.lab"]

    def environment(self) -> dict[str, str]:
        """The package is that of the clone, and the copies lie there."""
        return {"PYTHONPATH": str(self.root), "MINIMISTRAL_WORK": ""}


def _settings(folder: Path) -> None:
    """No pop-up about news, and every cell in the page, also those that are scrolled away."""
    for name, setting in {
        "apputils-extension/notification": {"fetchNews": "false"},
        "notebook-extension/tracker": {"windowingMode": "none"},
    }.items():
        path = folder / "@jupyterlab" / f"{name}.jupyterlab-settings"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(setting))


def copy_without_outputs(source: Path, target: Path) -> None:
    """Without its counts and outputs, so that what the page shows was made there and then."""
    nb = nbformat.read(source, as_version=4)
    for cell in code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    nbformat.write(nb, target)


def write_players(lessons: dict[str, Path], target: Path) -> None:
    """One notebook with the player of each lesson, and of its code only what the player needs."""
    together = nbformat.v4.new_notebook()
    together.metadata.kernelspec = {"name": "python3", "display_name": "Python 3 (ipykernel)"}
    for number, path in lessons.items():
        code = code_cells(nbformat.read(path, as_version=4))
        (shown,) = [n for n, cell in enumerate(code) if "widget-view" in str(cell.outputs)]
        for n in needed([cell.source for cell in code], shown):
            cell = nbformat.v4.new_code_cell(code[n].source, id=f"lesson-{number}-{n}")
            together.cells.append(cell)
    nbformat.write(together, target)


def needed(sources: list[str], last: int) -> list[int]:
    """The cells that define what the last one uses, and what those use.

    >>> needed(["a = 1", "n = 2", "c = [a for n in range(9)]", "print(c)"], 3)
    [0, 2, 3]
    """
    kept, wanted = [], set()
    for n in range(last, -1, -1):
        binds, uses = _names(sources[n])
        if n == last or binds & wanted:
            kept.append(n)
            wanted = (wanted - binds) | uses
    return kept[::-1]


def _names(source: str) -> tuple[set[str], set[str]]:
    """The global names that a cell binds, and those that it uses before it binds them."""
    binds, uses = set(), set()
    scopes = [symtable.symtable(source, "cell", "exec")]
    while scopes:
        scope = scopes.pop()
        scopes += scope.get_children()
        for symbol in scope.get_symbols():
            if scope.get_type() == "module" and (symbol.is_assigned() or symbol.is_imported()):
                binds.add(symbol.get_name())
            if symbol.is_referenced() and (scope.get_type() == "module" or symbol.is_global()):
                uses.add(symbol.get_name())
    tree = ast.parse(source)
    inside = {
        node
        for comprehension in ast.walk(tree)
        if hasattr(comprehension, "generators")  # its names are its own
        for node in ast.walk(comprehension)
    }
    nodes = [node for node in {*ast.walk(tree)} - inside if isinstance(node, ast.Name)]
    nodes.sort(key=lambda node: (node.lineno, node.col_offset), reverse=True)
    first = {node.id: node.ctx for node in nodes}
    return binds, {u for u in uses if u not in binds or isinstance(first.get(u), ast.Load)}


def code_cells(nb: nbformat.NotebookNode) -> list[nbformat.NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def run_all(page: Page, lesson: Path) -> None:
    """Run All Cells, and wait until each has its number; folded cells do not show theirs."""
    page.locator(".lm-MenuBar-itemLabel", has_text="Run").first.click()
    page.locator(".lm-Menu-itemLabel", has_text="Run All Cells").first.click()
    cells = code_cells(nbformat.read(lesson, as_version=4))
    folded = [cell.metadata.get("jupyter", {}).get("source_hidden", False) for cell in cells]
    assert not folded[-1]
    numbers = ["" if hidden else f"[{n}]:" for n, hidden in enumerate(folded, start=1)]
    prompts = page.locator(".jp-Notebook .jp-CodeCell .jp-InputPrompt")
    until(lambda: errors_shown(page) or prompts.all_inner_texts() == numbers, 180, every=0.25)
    assert not errors_shown(page), "\n".join(errors_shown(page))


def errors_shown(page: Page) -> list[str]:
    """What the cells printed as errors."""
    kinds = ("error", "stderr")
    shown = (f".jp-OutputArea-output[data-mime-type$='jupyter.{kind}']" for kind in kinds)
    return page.locator(", ".join(shown)).all_inner_texts()


@contextmanager
def kernel(connection_file: Path) -> Iterator[BlockingKernelClient]:
    """A second line to a kernel that a page uses."""
    client = BlockingKernelClient(connection_file=str(connection_file))
    client.load_connection_file()
    client.start_channels()
    try:
        yield client
    finally:
        client.stop_channels()


def ask(client: BlockingKernelClient, expression: str) -> str:
    """The repr of an expression in the kernel."""
    asked = {"answer": expression}
    reply = client.execute("", silent=True, user_expressions=asked, reply=True, timeout=20)
    return reply["content"]["user_expressions"]["answer"]["data"]["text/plain"]


def until(condition: Callable[[], bool], seconds: float = 10, every: float = 0.05) -> None:
    """Ask again and again until it is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(every)


# The mask explorer


def shown_mask(player: Locator) -> np.ndarray:
    """What the picture shows as visible, read from its shapes: bool (T, T)."""
    visible = f"path[fill='{BLUE}']"
    read = "(rows, which) => rows.map(row => row.querySelector(which).getAttribute('d'))"
    paths = player.locator(".mm-row").evaluate_all(read, visible)
    mask = np.zeros((len(paths), len(paths)), dtype=bool)
    for t, path in enumerate(paths):
        corners = re.findall(r"M(\d+) (\d+)h", path)
        assert len(corners) == path.count("M"), path
        for x, y in corners:
            s, left_over = divmod(int(x) - LEFT - 2, CELL)
            assert left_over == 0 and int(y) == TOP + t * CELL + 2, path
            mask[t, s] = True
    return mask


def expected_words(W: int, T: int) -> str:
    """The sentence under the mask explorer, counted anew."""
    visible = sum(min(i + 1, W) for i in range(T))
    n = min(W, T)
    keys = f"{n} keys, positions {T - n} to {T - 1}" if n > 1 else f"1 key, position {T - 1}"
    pairs = f"{visible} of {T * (T + 1) // 2} causal pairs are visible"
    return f"W = {W}, T = {T}: {pairs}; the last query sees {keys}."


def check_mask(player: Locator, W: int, T: int) -> None:
    """The words, the sliders and every square agree with W and T."""
    expect(player.locator(".mm-words")).to_have_text(expected_words(W, T))
    values = player.locator(".mm-value").all_inner_texts()
    assert values == [str(W), str(T)], values
    positions = np.arange(T)
    assert np.array_equal(shown_mask(player), window_mask(positions, positions, W)), (W, T)


def drag(slider: Locator, start: int, stop: int) -> Iterator[int]:
    """Drag a slider with the mouse, one step at a time; gives each value it should have."""
    page, box = slider.page, slider.bounding_box()
    last, thumb = int(slider.get_attribute("max")), 16
    y = box["y"] + box["height"] / 2

    def x(value: int) -> float:
        return box["x"] + thumb / 2 + (box["width"] - thumb) * value / last

    page.mouse.move(x(start), y)
    page.mouse.down()
    step = 1 if stop > start else -1
    for value in range(start + step, stop + step, step):
        page.mouse.move(x(value), y, steps=3)
        yield value
    page.mouse.up()


LATENCY = """async (player) => {
  const frame = () => new Promise(requestAnimationFrame);
  const [W, T] = player.querySelectorAll("input");
  const stage = player.querySelector(".mm-stage");
  const times = [];
  async function step(input, value) {
    if (Number(input.value) === value) return;
    const before = stage.firstElementChild;
    input.value = value;
    const start = performance.now();
    input.dispatchEvent(new Event("input", { bubbles: true }));
    for (let n = 0; stage.firstElementChild === before; n++) {
      if (n > 100) throw new Error("the picture was not replaced");
      await frame();
    }
    await frame();
    await frame();
    times.push(performance.now() - start);
  }
  for (let t = 0; t <= T.max; t++) {
    await step(T, t);
    for (let w = 0; w <= W.max; w++) await step(W, w);
  }
  return times;
}"""


def latencies(player: Locator) -> list[float]:
    """Milliseconds from `input` to the new picture on the screen, for every setting."""
    return player.evaluate(LATENCY)
