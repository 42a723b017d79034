"""Run notebooks again and save them so that an unchanged notebook gives an unchanged file.

    python -m minimistral.publish.notebooks notebooks/*.ipynb
                       run them and save their outputs
    python -m minimistral.publish.notebooks --check notebooks/*.ipynb
                       run nothing; report which files would change
    python -m minimistral.publish.notebooks --static build/lessons notebooks/*.ipynb
                       save copies there instead, whose interactive pictures need no Python

Each notebook runs in its own folder, with the Python that runs this tool. If a cell fails, its
error is printed, the file is left unchanged, and the exit status is 1.
"""

import argparse
import itertools
import json
import os
import re
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import nbformat
from jupyter_client.kernelspec import KernelSpec, KernelSpecManager
from nbclient import NotebookClient
from nbclient.exceptions import CellExecutionError, CellTimeoutError, DeadKernelError
from nbformat import NotebookNode

from minimistral.course.lab import use_no_work, use_own_settings

TIMEOUT = 300  # seconds per cell
KERNEL = {"name": "python3", "display_name": "Python 3 (ipykernel)", "language": "python"}
LANGUAGE = {"name": "python"}  # without the patch version
WIDGET_VIEW = "application/vnd.jupyter.widget-view+json"


class CellFailed(Exception):
    """A cell that failed, or a file that is not as this tool leaves it."""


class ThisPython(KernelSpecManager):
    """Knows one kernel: the Python that runs this tool."""

    def get_kernel_spec(self, kernel_name: str) -> KernelSpec:
        spec = super().get_kernel_spec(kernel_name)
        spec.argv[0] = sys.executable
        return spec


def read(text: str) -> NotebookNode:
    """Parse a notebook and convert it to the newest format, in which every cell has an id."""
    raw = json.loads(text)
    raw["nbformat"], raw["nbformat_minor"] = 4, 5
    fix_ids(raw["cells"])
    return nbformat.reads(json.dumps(raw), as_version=4)


def fix_ids(cells: list[dict]) -> None:
    """Keep an id where it occurs first; number the cells that repeat one or have none.

    >>> cells = [{"id": "rule"}, {}, {"id": "rule"}, {"id": "cell-1"}]
    >>> fix_ids(cells)
    >>> [cell["id"] for cell in cells]
    ['rule', 'cell-2', 'cell-3', 'cell-1']
    """
    taken = {cell.get("id") for cell in cells}
    new_ids = (name for n in itertools.count(1) if (name := f"cell-{n}") not in taken)
    seen: set[str | None] = {None}
    for cell in cells:
        if cell.get("id") in seen:
            cell["id"] = next(new_ids)
        seen.add(cell["id"])


def code_cells(nb: NotebookNode) -> list[NotebookNode]:
    return [cell for cell in nb.cells if cell.cell_type == "code"]


def execute(nb: NotebookNode, folder: Path) -> None:
    """Run every cell in a fresh kernel."""
    for cell in code_cells(nb):
        cell.outputs, cell.execution_count = [], None
    client = NotebookClient(
        nb,
        kernel_name=KERNEL["name"],
        timeout=TIMEOUT,
        record_timing=False,
        extra_arguments=["--log-level=ERROR"],
        resources={"metadata": {"path": str(folder)}},
    )
    client.create_kernel_manager().kernel_spec_manager = ThisPython()
    client.reset_execution_trackers()
    with client.setup_kernel():
        for index, cell in enumerate(nb.cells):
            try:
                client.execute_cell(cell, index)
            except (CellExecutionError, CellTimeoutError, DeadKernelError) as error:
                reason = re.sub(r"\x1b\[[\d;]*m", "", str(error))  # without its colours
                raise CellFailed(f"cell {index + 1} of {len(nb.cells)}\n{reason}") from None


def normalise(nb: NotebookNode) -> None:
    """Remove from a notebook everything that differs from run to run."""
    nb.metadata.pop("widgets", None)
    nb.metadata.kernelspec, nb.metadata.language_info = dict(KERNEL), dict(LANGUAGE)
    models: dict[str, str] = {}
    for cell in nb.cells:
        cell.metadata.pop("execution", None)
        if cell.cell_type == "code":
            cell.outputs = merge_streams(cell.outputs)
            for output in cell.outputs:
                number_model(output, models)


def merge_streams(outputs: list[NotebookNode]) -> list[NotebookNode]:
    """Join neighbours that belong to one stream: where a kernel splits them depends on timing."""
    merged: list[NotebookNode] = []
    for output in outputs:
        last = merged[-1] if merged else None
        if last and output.output_type == last.output_type == "stream" and output.name == last.name:
            last.text += output.text
        else:
            merged.append(output)
    return merged


def number_model(output: NotebookNode, models: dict[str, str]) -> None:
    """Replace the random id of a widget by its number, in order of appearance."""
    view = output.get("data", {}).get(WIDGET_VIEW)
    if view:
        view["model_id"] = models.setdefault(view["model_id"], f"{len(models) + 1:032x}")


def keep_measured(nb: NotebookNode, saved: list[NotebookNode]) -> None:
    """If an output is not compared and only its decimal numbers changed, keep the saved one.

    Measured times differ in every run, so without this each run would change the file.
    """
    before = {cell.id: cell.outputs for cell in saved}
    for cell in code_cells(nb):
        old = before.get(cell.id, [])
        ignored = "nbval-ignore-output" in cell.metadata.get("tags", [])
        if ignored and without_decimals(old) == without_decimals(cell.outputs):
            cell.outputs = old


def without_decimals(outputs: list[NotebookNode]) -> str:
    """Outputs as text, with # in place of each decimal number.

    >>> without_decimals([{"text": "T = 2048: 1.87 times, 1.3e-07 apart"}])
    '[{"text": "T = 2048: # times, # apart"}]'
    """
    return re.sub(r"\d+\.\d+(e[+-]?\d+)?", "#", json.dumps(outputs, sort_keys=True))


def dump(nb: NotebookNode) -> str:
    nbformat.validate(nb)
    return nbformat.writes(nb).rstrip("\n") + "\n"


def write(path: Path, text: str) -> None:
    """Replace a file in one step, so that it is never half written."""
    new = path.with_name(path.name + ".new")
    new.write_text(text, encoding="utf-8", newline="\n")
    os.replace(new, path)


def rerun(path: Path, folder: Path | None = None) -> str:
    """Run a notebook and save it, in `folder` if given. Returns how long that took.

    Raises CellFailed.
    """
    start = time.perf_counter()
    text = path.read_text(encoding="utf-8")
    nb = read(text)
    execute(nb, path.parent)
    normalise(nb)
    keep_measured(nb, code_cells(read(text)))
    write(folder / path.name if folder else path, dump(nb))
    return f"{time.perf_counter() - start:.1f} s"


def check(path: Path) -> str:
    """Run nothing. Raises CellFailed if the file is not as `rerun` would leave it."""
    text = path.read_bytes().decode("utf-8")
    nb = read(text)
    ran = [cell.execution_count for cell in code_cells(nb) if cell.source.strip()]
    if ran != list(range(1, len(ran) + 1)):
        raise CellFailed("its cells were not run once each, from the first to the last")
    normalise(nb)
    if dump(nb) != text:
        raise CellFailed("not normalised")
    return "ok"


def apply_to_all(action: Callable[[Path], str], paths: list[Path]) -> int:
    """Apply `action` to every notebook. Returns how many failed."""
    failed = 0
    for number, path in enumerate(paths, 1):
        print(f"[{number}/{len(paths)}] {path} ", end="", flush=True)
        try:
            print(action(path), flush=True)
        except CellFailed as error:
            failed += 1
            print(f"FAILED: {error}", flush=True)
    return failed


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--check", action="store_true", help="run and change nothing")
    parser.add_argument("--static", type=Path, metavar="FOLDER", help="save copies for web pages")
    parser.add_argument("notebooks", nargs="+", type=Path)
    args = parser.parse_args()
    use_own_settings()
    use_no_work()
    action: Callable[[Path], str] = check if args.check else rerun
    if args.static:
        os.environ["MINIMISTRAL_STATIC"] = "1"  # the players in the kernels read it
        args.static.mkdir(parents=True, exist_ok=True)
        action = partial(rerun, folder=args.static)
    return 1 if apply_to_all(action, args.notebooks) else 0


if __name__ == "__main__":
    sys.exit(main())
