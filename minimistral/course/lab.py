"""How lessons run: with settings that stand above what the user's machine has set.

    python -m minimistral.course.lab ARGUMENTS      JupyterLab, as `make lab` starts it

It opens the learner's copies of the lessons (`copies.py`), or with `--lessons=notebooks` the
lessons themselves, for whoever writes them. Other arguments are JupyterLab's.

A profile of IPython, a matplotlibrc or a variable of a cluster would change what the cells print.
`make lab`, pytest (pyproject.toml names this file as a plugin) and the tool that saves the outputs
all call `use_own_settings`.
"""

import argparse
import atexit
import getpass
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from urllib.parse import quote

from minimistral.course.copies import NotCopied, copies_folder, update
from minimistral.course.exercises import NOTEBOOKS, lessons
from minimistral.course.mine.kept import FOLDER

# Read by what the lessons use: Python, IPython, Matplotlib, and libraries that look for a cluster.
NOT_THEIRS = (
    "PYTHONSTARTUP", "PYTHONWARNINGS", "MPLBACKEND", "MATPLOTLIBRC", "RANK", "LOCAL_RANK",
    "WORLD_SIZE",
)  # fmt: skip


def use_own_settings() -> Path:
    """Change this process's environment, which the programs it starts inherit; the folder used.

    The folder lies in the virtual environment, or is temporary where that cannot be written.
    """
    folder = own_folder()
    for name in NOT_THEIRS:
        os.environ.pop(name, None)
    os.environ["IPYTHONDIR"] = str(folder / "ipython")
    os.environ["MPLCONFIGDIR"] = str(folder / "matplotlib")
    home = os.environ.get("HOME")
    if os.name == "posix" and not (home and can_write(Path(home))):
        os.environ["HOME"] = str(folder)  # Jupyter keeps files there
    try:
        getpass.getuser()
    except (KeyError, OSError):  # a container may run as a number without a name
        os.environ["LOGNAME"] = "learner"
    for name in ("ipython", "matplotlib"):
        (folder / name).mkdir(exist_ok=True)
    if not any((folder / "matplotlib").glob("fontlist*")):
        # Made now, because Matplotlib would say in the first plot that it makes it.
        subprocess.run(
            [sys.executable, "-c", "import matplotlib.font_manager"], capture_output=True
        )
    return folder


def own_folder() -> Path:
    """A folder for settings and caches, which stays where there is a place for it."""
    environment = Path(sys.prefix)
    if sys.prefix != sys.base_prefix and can_write(environment):
        folder = environment / "share" / "minimistral"
        folder.mkdir(parents=True, exist_ok=True)
        return folder
    folder = Path(tempfile.mkdtemp(prefix="minimistral-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


def can_write(folder: Path) -> bool:
    """Whether files can be made in a folder; tried, because root may write where modes forbid."""
    try:
        with tempfile.TemporaryFile(dir=folder):
            return True
    except OSError:
        return False


def is_root() -> bool:
    return hasattr(os, "geteuid") and os.geteuid() == 0


def use_no_work() -> None:
    """Look for accepted parts in an empty folder, so that a lesson prints what it prints to all.

    What a learner has written stays where it is, and is neither read nor changed.
    """
    folder = tempfile.mkdtemp(prefix="my-work-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    os.environ[FOLDER] = folder


def pytest_configure() -> None:
    """pytest calls it before any test; the kernels that nbval starts inherit the environment."""
    use_own_settings()
    use_no_work()


# Where none of these is given, JupyterLab listens on this computer only and asks nobody for news.
SETTINGS = {
    "ServerApp.ip": "127.0.0.1",
    "LabApp.news_url": "None",
    "LabApp.extension_manager": "readonly",
    "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
}
SHORT = {"ServerApp.ip": "--ip", "ServerApp.root_dir": "--notebook-dir"}  # JupyterLab's own


def with_settings(arguments: list[str], settings: dict[str, str]) -> list[str]:
    """The arguments, after those settings that they do not name themselves.

    >>> with_settings(["--ip=::1", "--no-browser"], {"ServerApp.ip": "127.0.0.1", "A.b": "c"})
    ['--A.b=c', '--ip=::1', '--no-browser']
    """
    given = {argument.split("=")[0] for argument in arguments}
    missing = [name for name in settings if not {f"--{name}", SHORT.get(name)} & given]
    return [*(f"--{name}={settings[name]}" for name in missing), *arguments]


def opened(folder: Path) -> dict[str, str]:
    """Settings by which JupyterLab opens the first lesson of a folder. Raises NotCopied.

    All of the course can be browsed where the folder is a part of it.
    """
    folder, course = folder.resolve(), NOTEBOOKS.parent.resolve()
    found = lessons(folder)
    if not found:
        raise NotCopied(f"--lessons must name a folder with lessons, not {folder}.")
    root = course if folder.is_relative_to(course) else folder
    first = found[min(found)].relative_to(root)
    return {
        "ServerApp.root_dir": str(root),
        "LabApp.default_url": f"/lab/tree/{quote(first.as_posix())}",
    }


def main(arguments: list[str]) -> int:
    """Run JupyterLab until it ends; its exit code."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    parser.add_argument("--lessons", type=Path)
    options, arguments = parser.parse_known_args(arguments)
    use_own_settings()
    try:
        folder = options.lessons or own_copies()
        arguments = with_settings(arguments, SETTINGS | opened(folder))
    except NotCopied as error:
        more = "" if options.lessons else " `--lessons=notebooks` opens the lessons themselves."
        print(f"{error}{more}", file=sys.stderr)
        return 1
    if is_root() and "--allow-root" not in arguments:
        print("JupyterLab runs as root, which is usual in a container (--allow-root).", flush=True)
        arguments = [*arguments, "--allow-root"]
    try:
        return subprocess.run([sys.executable, "-m", "jupyterlab", *arguments]).returncode
    except KeyboardInterrupt:  # JupyterLab has had it too, and has said so
        return 130


def own_copies() -> Path:
    """The folder with the learner's copies, made or brought up to date, and told of.

    Raises NotCopied.
    """
    told, folder = update(), copies_folder()
    print(f"Your copies of the lessons lie in {folder}.", *told, sep="\n", flush=True)
    if FOLDER in os.environ:
        os.environ[FOLDER] = str(folder)  # kernels run in other folders
    return folder


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
