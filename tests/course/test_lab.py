"""How the lessons run on a machine where much is set: what they print stays the same."""

import getpass
import os
import shutil
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from minimistral.course import lab

ROOT = Path(__file__).parents[2]
POSIX = pytest.mark.skipif(os.name != "posix", reason="HOME and root are of POSIX")
CELLS = (
    "import sys, warnings\nwarnings.warn('once', ResourceWarning)\nprint(len('abc'))",
    "import matplotlib.pyplot as plt\nprint(plt.rcParams['lines.linewidth'], plt.get_backend())\n"
    "_ = plt.plot([1, 2])",
    "import os\nprint(os.environ.get('RANK'))\n'shown'",
    "from minimistral.course import kept\nprint(kept('softmax'))",
)


@pytest.fixture
def theirs(tmp_path):
    """A home with a profile of IPython and a matplotlibrc; the environment of a cluster."""
    home = tmp_path / "home"
    startup = home / ".ipython/profile_default/startup"
    startup.mkdir(parents=True)
    (startup / "hello.py").write_text("print('hello from a profile')\n")
    (home / ".ipython/profile_default/ipython_config.py").write_text(
        "c.InteractiveShell.ast_node_interactivity = 'none'\n"
    )
    for folder in (home / ".config/matplotlib", home / ".matplotlib"):
        folder.mkdir(parents=True)
        (folder / "matplotlibrc").write_text("lines.linewidth: 9\n")
    part = home / "my-work/parts/softmax.py"
    part.parent.mkdir(parents=True)
    part.write_text("def softmax(scores):\n    return scores\n")
    (home / "start.py").write_text("print('hello from PYTHONSTARTUP')\n")
    environment = {
        "HOME": home, "USERPROFILE": home, "PYTHONSTARTUP": home / "start.py",
        "MATPLOTLIBRC": home / ".config/matplotlib", "MPLBACKEND": "svg", "RANK": "1",
        "PYTHONWARNINGS": "always", "WORLD_SIZE": "2", "XDG_CONFIG_HOME": home / ".config",
        "MINIMISTRAL_WORK": home / "my-work",
    }  # fmt: skip
    unset = {"IPYTHONDIR", "MPLCONFIGDIR"}
    kept = {name: value for name, value in os.environ.items() if name not in unset}
    return {**kept, **{name: str(value) for name, value in environment.items()}}


def outputs(folder, environment):
    """What the cells leave after a run by the tool that saves the outputs."""
    folder.mkdir()
    nb = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in CELLS])
    nbformat.write(nb, folder / "a.ipynb")
    command = [sys.executable, "-P", "-m", "minimistral.publish.notebooks", folder / "a.ipynb"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr
    nb = nbformat.read(folder / "a.ipynb", as_version=4)
    return [cell.outputs for cell in nb.cells]


@pytest.mark.slow
@pytest.mark.rare
def test_saved_outputs_do_not_depend_on_the_user(tmp_path, theirs):
    clean = outputs(tmp_path / "a", dict(os.environ))
    assert outputs(tmp_path / "b", theirs) == clean
    assert clean[0][0].text == "3\n" and clean[1][0].text.startswith(
        "1.5 module://matplotlib_inline"
    )
    assert clean[2][0].text == "None\n" and "'shown'" in str(clean[2][1])
    assert clean[3][0].text == "None\n"


def test_what_a_learner_has_written_changes_no_output(theirs):
    def found(prepare):
        command = f"from minimistral.course import kept, lab; {prepare}; print(kept('softmax'))"
        return subprocess.run(
            [sys.executable, "-P", "-c", command],
            env=theirs,
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "function softmax" in found("lab.use_own_settings()")
    assert found("lab.pytest_configure()") == "None\n"


@pytest.mark.slow
@pytest.mark.rare
def test_a_lesson_passes_with_the_settings_of_a_user(theirs):
    command = [sys.executable, "-P", "-m", "pytest", "-q", "-p", "no:cacheprovider", "--nbval",
               "notebooks/00_start_here.ipynb"]  # fmt: skip
    done = subprocess.run(command, cwd=ROOT, env=theirs, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:]


def where(environment, *lines):
    """What a program prints in an environment, after `use_own_settings`."""
    program = "\n".join([
        "import os, pathlib, sys, tempfile",
        "from minimistral.course import lab",
        *lines,
        "folder = lab.use_own_settings()",
        "import matplotlib.font_manager",
        "print(folder, os.environ['HOME'], pathlib.Path.home(), matplotlib.get_configdir())",
    ])  # fmt: skip
    done = subprocess.run(
        [sys.executable, "-P", "-c", program], env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0 and not done.stderr, done.stderr
    return [Path(word) for word in done.stdout.split()]


@POSIX
@pytest.mark.parametrize("home", [None, "/nonexistent", "/proc"])
def test_without_a_home(home):
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "MPLCONFIGDIR")}
    folder, variable, found, config = where(environment | ({"HOME": home} if home else {}))
    assert variable == found == folder and config.parent == folder
    assert folder == Path(sys.prefix) / "share/minimistral"


@POSIX
def test_where_nothing_can_be_written():
    """Only in the folder for temporary files; nothing stays there."""
    only = "lab.can_write = lambda folder: False"
    folder, variable, _, config = where({k: v for k, v in os.environ.items() if k != "HOME"}, only)
    assert variable == folder and config.parent == folder and folder.name[:12] == "minimistral-"
    assert not folder.exists()


def read_only(folder, *command, **options):
    """Run a command to which a folder is read-only, for root too; skip where that cannot be."""
    mounts = 'mount --bind "$0" "$0" && mount -o remount,ro,bind "$0" && cd "$0" && '
    unshare = ["unshare", "--mount", "sh", "-c"]
    if (
        not shutil.which("unshare")
        or subprocess.run(
            [*unshare, mounts + "! touch .probe", folder], capture_output=True
        ).returncode
    ):
        pytest.skip("no file system can be made read-only here")
    return subprocess.run(
        [*unshare, mounts + '"$@"', folder, *command], capture_output=True, text=True, **options
    )


@pytest.mark.slow
@pytest.mark.rare
def test_a_read_only_checkout_without_a_home():
    environment = {k: v for k, v in os.environ.items() if k not in ("HOME", "MPLCONFIGDIR")}
    lesson = "notebooks/01_attention_and_its_mask.ipynb"
    done = read_only(
        ROOT, sys.executable, "-P", "-m", "pytest", "-q", "--nbval", lesson, env=environment
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-1000:]


@POSIX
def test_a_number_without_a_name(monkeypatch):
    monkeypatch.setattr(os, "environ", os.environ.copy())

    def nameless():
        raise KeyError("getpwuid(): uid not found: 4242")

    monkeypatch.setattr(getpass, "getuser", nameless)
    lab.use_own_settings()
    assert os.environ["LOGNAME"] == "learner"


@pytest.fixture
def started(monkeypatch, tmp_path):
    """The commands that `lab.main` runs; the learner's copies lie in tmp_path."""
    commands = []

    def run(command, **_):
        commands.append(command)
        return subprocess.CompletedProcess(command, 5)

    copies = tmp_path / "my-work"
    copies.mkdir()
    shutil.copy(ROOT / "notebooks/00_start_here.ipynb", copies)
    monkeypatch.setattr(lab.subprocess, "run", run)
    monkeypatch.setattr(lab, "use_own_settings", lambda: None)
    monkeypatch.setattr(lab, "own_copies", lambda: copies)
    monkeypatch.setattr(lab, "is_root", lambda: False)
    return commands


ALWAYS = [f"--{name}={value}" for name, value in lab.SETTINGS.items()]


@pytest.mark.parametrize("root", [True, False])
@pytest.mark.parametrize("given", [[], ["--allow-root"]])
def test_root_may_run_jupyter_and_is_told(started, monkeypatch, capsys, root, given):
    monkeypatch.setattr(lab, "is_root", lambda: root)
    assert lab.main(["--no-browser", *given]) == 5
    [command] = started
    assert command[:3] == [sys.executable, "-m", "jupyterlab"]
    added = ["--allow-root"] if root else []
    assert command[9:] == ["--no-browser", *(given or added)]
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == (root and not given) and all("--allow-root" in line for line in lines)


def test_the_first_copy_is_opened(started, tmp_path):
    """Where the copies lie outside of the course, nothing else can be opened."""
    lab.main([])
    where = [f"--ServerApp.root_dir={(tmp_path / 'my-work').resolve()}",
             "--LabApp.default_url=/lab/tree/00_start_here.ipynb"]  # fmt: skip
    assert started[0][3:] == [*ALWAYS, *where]


def test_the_lessons_themselves_are_opened(started, monkeypatch):
    monkeypatch.chdir(ROOT)
    lab.main(["--lessons=notebooks", "--ip=::1", "--ServerApp.port=9"])
    url = "--LabApp.default_url=/lab/tree/notebooks/00_start_here.ipynb"
    assert started[0][3:] == [
        *ALWAYS[1:], f"--ServerApp.root_dir={ROOT}", url, "--ip=::1", "--ServerApp.port=9"
    ]  # fmt: skip


def test_copies_in_the_clone_are_opened_with_all_of_it():
    assert lab.opened(ROOT / "notebooks") == {
        "ServerApp.root_dir": str(ROOT),
        "LabApp.default_url": "/lab/tree/notebooks/00_start_here.ipynb",
    }


def test_a_folder_without_lessons_is_named(started, tmp_path, capsys):
    assert lab.main([f"--lessons={tmp_path}"]) == 1 and started == []
    assert f"a folder with lessons, not {tmp_path}" in capsys.readouterr().err


def test_copies_are_made_and_told_of(monkeypatch, tmp_path, capsys):
    monkeypatch.setenv("MINIMISTRAL_WORK", "a b")
    monkeypatch.chdir(tmp_path)
    assert lab.own_copies() == tmp_path / "a b" == Path(os.environ["MINIMISTRAL_WORK"])
    assert capsys.readouterr().out == f"Your copies of the lessons lie in {tmp_path / 'a b'}.\n"
    assert lab.opened(tmp_path / "a b")["LabApp.default_url"].endswith("/00_start_here.ipynb")


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_stands_above_what_is_set_for_other_pythons():
    theirs = {"PIP_USER": "1", "PIP_TARGET": "/a", "PIP_PREFIX": "/b", "PYTHONPATH": "/c"}
    done = subprocess.run(
        ["make", "--no-print-directory", "--eval", "environment: ; @env", "environment"],
        cwd=ROOT, env={**os.environ, **theirs}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    found = dict(line.split("=", 1) for line in done.stdout.splitlines() if "=" in line)
    assert {name: found.get(name) for name in theirs} == {**dict.fromkeys(theirs), "PIP_USER": "0"}
    assert found["PATH"] == os.environ["PATH"]
