"""The project's own files say the same thing everywhere, and its rooms keep to their arrows."""

import ast
import io
import re
import shutil
import subprocess
import sys
import tokenize
import tomllib
from pathlib import Path

import pytest
import yaml
from effort import rare
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version, VersionSpec

from minimistral.course import lab

ROOT = Path(__file__).resolve().parent.parent
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
README = (ROOT / "README.md").read_text(encoding="utf-8")
MAKEFILE = (ROOT / "Makefile").read_text(encoding="utf-8")
ENVIRONMENT = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))


def tracked() -> list[Path]:
    """Every file that is in git, or would be with the next `git add`."""
    names = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT,
        check=True,
        capture_output=True,
        encoding="utf-8",
    ).stdout.split("\0")
    return [ROOT / name for name in sorted(set(names)) if name and (ROOT / name).is_file()]


# Dependencies


def direct() -> list[Requirement]:
    extras = PROJECT["optional-dependencies"].values()
    return [Requirement(line) for group in (PROJECT["dependencies"], *extras) for line in group]


def pins() -> dict[str, SpecifierSet]:
    lines = (ROOT / "constraints.txt").read_text(encoding="utf-8").splitlines()
    parsed = [Requirement(line) for line in lines if not line.startswith("#")]
    return {canonicalize_name(pin.name): pin.specifier for pin in parsed}


def test_every_pin_is_one_exact_public_version():
    assert len(pins()) > 100
    for name, pin in pins().items():
        assert re.fullmatch(r"==[\w.!]+", str(pin)), f"{name}{pin}"
    assert "minimistral" not in pins()


@pytest.mark.parametrize("requirement", direct(), ids=lambda requirement: requirement.name)
def test_a_dependency_is_pinned_within_its_range(requirement):
    version = str(pins()[canonicalize_name(requirement.name)]).removeprefix("==")
    assert requirement.specifier.contains(version), f"{version} is not in {requirement}"


def test_numpy_and_torch_are_held():
    """mistral-common wants NumPy below 2.4 on Python 3.11 and 3.12."""
    assert str(pins()["torch"]) == "==2.13.0"
    assert all(pin.version < "2.4" for pin in pins()["numpy"])


# conda and Binder


def test_conda_takes_a_python_that_pip_takes():
    spec = next(d for d in ENVIRONMENT["dependencies"] if str(d).startswith("python"))
    conda = VersionSpec(MatchSpec(spec).version)
    versions = [f"3.{minor}.{patch}" for minor in range(8, 17) for patch in (0, 5, 19)]
    taken = [v for v in versions if conda.matches(Version(v))]
    assert taken and all(SpecifierSet(PROJECT["requires-python"]).contains(v) for v in taken)


def test_conda_leaves_the_rest_to_pip():
    lines = ENVIRONMENT["dependencies"]
    assert {MatchSpec(line).name.normalized for line in lines[:-1]} == {"python", "pip"}
    assert lines[-1] == {"pip": ["-c constraints.txt", "-e .[tests]"]}
    assert (ROOT / "constraints.txt").is_file() and "tests" in PROJECT["optional-dependencies"]


@pytest.mark.skipif(sys.platform == "win32", reason="repo2docker does not run on Windows")
def test_repo2docker_builds_from_the_environment_file(tmp_path):
    clean = tmp_path / "clone"
    for path in tracked():
        copy = clean / path.relative_to(ROOT)
        copy.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, copy)
    command = [sys.executable, "-m", "repo2docker", "--no-build", "--debug", str(clean)]
    run = subprocess.run(command, capture_output=True, encoding="utf-8", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    dockerfile = run.stdout + run.stderr
    assert "conda environment for python=3.11" in dockerfile
    sources = dockerfile.index(" src/ ${REPO_DIR}")
    install = dockerfile.index('env update -p ${NB_PYTHON_PREFIX} --file "environment.yml"')
    assert sources < install  # `-e .` needs the sources


# make, README, CONTRIBUTING


def test_the_commands_exist():
    promised = re.findall(r"^    make ([\w-]+)", README, re.MULTILINE)
    assert promised[:2] == ["lab", "test"]
    assert set(promised) <= set(re.findall(r"^([\w-]+):", MAKEFILE, re.MULTILINE))


def recipe(target: str) -> str:
    return MAKEFILE.split(f"\n{target}:")[-1].split("\n\n")[0]


def test_make_test_runs_every_check():
    checks = [  # in parallel; what one file or notebook sets up is set up in one process
        "ruff check .",
        "mypy minimistral",
        'pytest -n 2 --dist worksteal -m "not browser and not rare"',
        'pytest -n 2 --dist loadfile -m "browser and not rare" tests/publish',
        "pytest -n 2 --dist loadfile --nbval notebooks/",
    ]
    assert re.findall(r"\t\$\(PY\) -m (.+)", recipe("test")) == checks
    everywhere = {
        path for path in (ROOT / "tests").rglob("*.py") if "mark.browser" in path.read_text()
    }
    assert {path.parent.name for path in everywhere - {Path(__file__)}} == {"publish"}
    assert "\t-" not in MAKEFILE and "|| true" not in MAKEFILE  # a failure is never swallowed


@pytest.mark.parametrize("twin", ["np", rare("pt")])
def test_the_examples_in_the_readme_run(tmp_path, twin):
    blocks = re.findall(r"^```python\n(.+?)^```", README, re.MULTILINE | re.DOTALL)
    assert len(blocks) == 2  # the engine, the tokenizers
    code = "".join(blocks)
    code = code.replace("from minimistral import np as mm", f"from minimistral import {twin} as mm")
    command = [sys.executable, "-P", "-c", code]
    run = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8")
    assert run.returncode == 0, run.stderr
    assert len(run.stdout.splitlines()) == 23  # a text, 20 steps of a stream, tokens, a chat
    assert (tmp_path / "my-model/config.json").is_file()


def test_make_lab_stays_on_this_computer():
    """What JupyterLab is told comes from one place, and a user may add to it."""
    lab_line = '$(PY) -m minimistral.course.lab $(if $(LAB_DIR),--lessons="$(LAB_DIR)") $(LAB_ARGS)'
    assert recipe("lab").splitlines()[1:] == [f"\t{lab_line}"]
    assert lab.SETTINGS["ServerApp.ip"] == "127.0.0.1" and "token" not in str(lab.SETTINGS).lower()
    assert lab.SETTINGS["LabApp.news_url"] == "None"
    assert lab.SETTINGS["LabApp.check_for_updates_class"] == "jupyterlab.NeverCheckForUpdate"


def test_ci_runs_make_test():
    script = (ROOT / ".ci/run").read_text(encoding="utf-8")
    assert script.splitlines()[-1] == "make test"
    assert "set -euo pipefail" in script
    steps = yaml.safe_load((ROOT / ".github/workflows/test.yml").read_text(encoding="utf-8"))
    job = steps["jobs"]["test"]
    assert job["steps"][-1]["run"].startswith("make test")
    pip = SpecifierSet(PROJECT["requires-python"])
    minors = [f"3.{minor}" for minor in range(8, 17)]
    assert job["strategy"]["matrix"]["python"] == [m for m in minors if pip.contains(f"{m}.5")]


def test_the_lesson_map_says_what_is_there():
    rows = re.findall(r"^\| (\d\d) \| (.+) \| (ready|planned) \|$", README, re.MULTILINE)
    assert [number for number, _, _ in rows] == [f"{n:02}" for n in range(16)]
    there = {path.name[:2]: path.name for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert [number for number, _, state in rows if state == "ready"] == sorted(there)
    for number, title, state in rows:
        if state == "ready":
            assert f"](notebooks/{there[number]})" in title


@pytest.mark.parametrize("page", ["README.md", "CONTRIBUTING.md"])
def test_links_lead_somewhere(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    folders = r"minimistral|tests|docs|benchmarks|notebooks|figures|tools|\.\w+"
    named = re.findall(rf"`((?:{folders})/[^`*$ ]*)`", text)
    assert len(links + named) > 3
    for name in links + [name for name in named if not name.startswith(".venv")]:
        assert (ROOT / name).exists(), name


# What no file may hold

REGISTRY = re.compile(
    r"https?://(?:[\w-]+\.)*(?:pypi\.org|pythonhosted\.org|anaconda\.(?:org|com)|prefix\.dev"
    r"|download\.pytorch\.org|npmjs\.(?:org|com)|yarnpkg\.com|ghcr\.io|docker\.io)"
)
CLONED_INTO = ROOT.parent if ROOT.parent.name else ROOT  # unless that is /
MACHINE = re.compile(
    r"/(?:home|Users|root)/\w|\b[A-Z]:\\+Users\b|ipykernel_\d+|site-packages[/\\]"
    rf"|(?<![\w.]){re.escape(str(CLONED_INTO))}[/\\]"
)


@pytest.mark.parametrize(
    ("rule", "bad", "good"),
    [
        (REGISTRY, "see https://pypi" + ".org/simple", "pypi.org is a registry"),
        (REGISTRY, "http://repo.anaconda" + ".com/x", "https://pytorch.org/get-started/locally/"),
        (MACHINE, '  File "' + str(ROOT / "x.py"), "minimistral/np/mask.py"),
        (MACHINE, "ipykernel" + "_123/4.py:1: UserWarning", "ipykernel"),
        (MACHINE, "/home" + "/ada/minimistral", "the home/work balance"),
    ],
)
def test_the_rules_below_can_tell(rule, bad, good):
    assert rule.search(bad) and not rule.search(good)


@pytest.mark.parametrize("rule", [REGISTRY, MACHINE], ids=["registry", "machine"])
def test_no_file_holds(rule):
    for path in tracked():
        match = rule.search(path.read_bytes().decode("utf-8", "ignore"))
        assert match is None, f"{path.relative_to(ROOT)} holds {match[0]!r}"


PACKAGE = ROOT / "minimistral"


def test_no_file_is_over_1_mb_but_the_weights_of_the_tiny_models():
    files = tracked()
    assert ROOT / "README.md" in files
    large = {path: path.stat().st_size for path in files if path.stat().st_size > 1_000_000}
    assert {str(path.relative_to(PACKAGE)) for path in large} <= {
        "tiny/consolidated.safetensors", "tiny/instruct/consolidated.safetensors",
    }  # fmt: skip
    assert max(large.values()) <= 4_000_000


def test_an_installed_package_holds_what_the_clone_holds():
    """Its data files, by the patterns in pyproject.toml; each folder counts as a package."""
    setup = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["tool"]
    patterns = setup["setuptools"]["package-data"]["*"]
    assert setup["setuptools"]["packages"]["find"] == {"include": ["minimistral*"]}  # namespaces
    data = [path for path in tracked() if PACKAGE in path.parents and path.suffix != ".py"]
    assert PACKAGE / "tiny/instruct/adapter/adapter_model.safetensors" in data
    for path in data:
        assert any(path.match(pattern) for pattern in patterns), path.relative_to(ROOT)
        assert all(part.isidentifier() for part in path.relative_to(ROOT).parent.parts), path


# The rooms of the package, and the arrows between them

# May be imported from everywhere; themselves they import next to nothing.
BASE = {"", "config", "_arguments", "rule"}  # "" is `from minimistral import ModelConfig`
ARROWS = {  # what each room may import of the others, beyond BASE and its own sub-rooms
    "rule": set(),
    "_arguments": set(),
    "config": set(),
    "chat_template": set(),
    "tokenizer_files": {"chat_template"},
    "tokenizer": {"chat_template", "tokenizer_files"},
    "constrain": set(),
    "paper": set(),
    "tiny": set(),
    "checkpoint": set(),
    "np": {"checkpoint"},
    "pt": {"checkpoint"},
    "training": {"checkpoint", "evaluation", "np", "pt", "tiny", "tokenizer"},
    "evaluation": {"checkpoint", "np", "paper", "tiny", "tokenizer", "training"},
    "ledger": {"evaluation", "np", "paper", "tiny", "tokenizer"},
    "course": {"tokenizer"},
    "course.draw": set(),
    "course.widgets": {
        "checkpoint",
        "course.draw",
        "evaluation",
        "ledger",
        "np",
        "tiny",
        "tokenizer",
    },
    "course.checks": {
        "checkpoint",
        "course.draw",
        "course.mine",
        "evaluation",
        "ledger",
        "np",
        "paper",
        "tokenizer",
    },
    "course.mine": {"checkpoint", "evaluation", "np", "tiny", "tokenizer"},
    "marking": {"course", "ledger", "tokenizer"},
    "bench": {"checkpoint", "np", "pt"},
    "cli": {
        "bench",
        "checkpoint",
        "course",
        "evaluation",
        "marking",
        "np",
        "pt",
        "tiny",
        "tokenizer",
        "training",
    },
    "publish": {"course", "tiny", "tokenizer"},
    "__main__": {"cli"},
}
WITHOUT = {  # libraries that no line of a room or file imports, not even when it is called
    "rule": {"numpy", "torch"},
    "_arguments": {"numpy", "torch"},
    "config": {"numpy", "torch"},
    "tokenizer": {"numpy", "torch"},
    "tokenizer_files": {"numpy", "torch"},
    "chat_template": {"numpy", "torch"},
    "paper": {"numpy", "torch"},
    "training.budget": {"numpy", "torch"},
    "training.corpus": {"numpy", "torch"},
    "np": {"torch"},
    "evaluation": {"torch"},
    "ledger": {"torch"},
    "course.draw": {"torch"},
    "course.widgets": {"torch"},
    "course.checks": {"torch"},
    "course.mine": {"torch"},
}


def name_of(path: Path) -> str:
    """`minimistral/np/mask.py` -> `minimistral.np.mask`, `minimistral/np/` -> `minimistral.np`."""
    names = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(names[:-1] if names[-1] == "__init__" else names)


FILES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def inside(name: str, parent: str) -> bool:
    """Whether it is the module, or lies in the package, named parent."""
    return name == parent or name.startswith(parent + ".")


def imported(source: str, package: str) -> set[str]:
    """The modules that a source file of a package imports, in full: `minimistral.np.mask`.

    >>> sorted(imported("import torch.nn\\nfrom .mask import window_mask", "minimistral.np"))
    ['minimistral.np.mask', 'torch.nn']
    >>> sorted(imported("from .. import pt, ModelConfig", "minimistral.np"))
    ['minimistral', 'minimistral.pt']
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            full_names = (f"{base}.{alias.name}" for alias in node.names)
            names |= {name if name in FILES else base for name in full_names}
    return names


def room_of(module: str) -> str:
    """
    >>> room_of("minimistral.course.draw.svg"), room_of("minimistral.course.environment")
    ('course.draw', 'course')
    >>> room_of("minimistral.config"), room_of("minimistral")
    ('config', '')
    """
    rooms = [room for room in ARROWS if inside(module, f"minimistral.{room}")]
    return max(rooms, key=len, default="")


def broken_arrows(module: str, source: str) -> list[str]:
    """What a module imports although its room may not.

    >>> broken_arrows("minimistral.np.mask", "from minimistral import pt, rule")
    ['minimistral.pt']
    >>> broken_arrows("minimistral.course.draw.mask", "from minimistral.course import checks")
    ['minimistral.course.checks']
    >>> broken_arrows("minimistral.np.rope", "def f():\\n    import torch.nn")
    ['torch.nn']
    >>> broken_arrows("minimistral.rule", "import math")
    ['math']
    """
    room = room_of(module)
    package = name_of(FILES[module].parent) if module in FILES else module
    banned = {lib for part, libs in WITHOUT.items() if inside(module, f"minimistral.{part}")
              for lib in libs}  # fmt: skip

    def allowed(name: str) -> bool:
        if room == "rule":
            return False
        if not inside(name, "minimistral"):
            return name.split(".")[0] not in banned
        other = room_of(name)
        return other in BASE or any(inside(other, to) for to in {room, *ARROWS[room]})

    return sorted(name for name in imported(source, package) if not allowed(name))


@pytest.mark.parametrize("room", ARROWS)
def test_a_room_imports_only_what_it_may(room):
    modules = [module for module in FILES if room_of(module) == room]
    assert modules, f"there is no minimistral.{room}"
    for module in modules:
        broken = broken_arrows(module, FILES[module].read_text(encoding="utf-8"))
        assert not broken, f"{module} imports {broken}"


def test_the_base_imports_next_to_nothing():
    """config its checks and the rule; rule and _arguments nothing of the project."""
    modules = {}
    for name in BASE - {""}:
        names = imported(FILES[f"minimistral.{name}"].read_text(encoding="utf-8"), "minimistral")
        modules[name] = {room_of(module) for module in names if inside(module, "minimistral")}
    assert modules["rule"] == modules["_arguments"] == set()
    assert modules["config"] <= {"_arguments", "rule"}


def test_no_arrow_is_missing_or_too_wide():
    """The arrows that the design rests on, whatever else is added to the table above."""

    def users(of: str) -> set[str]:
        return {room for room, others in ARROWS.items() if {of, of.split(".")[0]} & others}

    assert users("publish") == set()
    assert users("cli") == {"__main__"} and users("bench") == {"cli"}
    for room in ("course", "course.draw", "course.widgets", "course.checks", "course.mine"):
        assert users(room) - {"course.widgets", "course.checks"} <= {"cli", "marking", "publish"}
    assert not {"pt", "course"} & ARROWS["np"] and not {"np", "course"} & ARROWS["pt"]
    assert not {"np", "pt"} & ARROWS["checkpoint"]
    assert ARROWS["course.draw"] == set()


def test_the_rooms_are_those_of_the_table():
    """No file at the root but these, and CONTRIBUTING says the same as the arrows."""
    at_root = {path.stem for path in PACKAGE.glob("*.py")}
    assert at_root == {
        "__init__",
        "__main__",
        "config",
        "rule",
        "tokenizer",
        "tokenizer_files",
        "chat_template",
        "constrain",
        "paper",
        "_arguments",
    }
    folders = {path.parent for path in PACKAGE.rglob("*.py")} - {PACKAGE}
    assert {name_of(folder).removeprefix("minimistral.") for folder in folders} | at_root == {
        *ARROWS, "__init__",
    }  # fmt: skip

    text = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `minimistral/([\w/.]+)` \| .+ \|(.*)\|$", text, re.MULTILINE)
    assert dict(rows).keys() == {
        room.replace(".", "/") + (".py" if room in at_root else "/")
        for room in ARROWS if room != "__main__"
    }  # fmt: skip
    for path, others in rows:
        room = path.removesuffix(".py").strip("/").replace("/", ".")
        named = {other.replace("/", ".") for other in re.findall(r"`([\w/]+)`", others)}
        assert named == ARROWS[room], f"CONTRIBUTING says what {room} imports: {sorted(named)}"


def test_the_tests_mirror_the_rooms():
    """tests/twins is for np and pt at once; the tiny model is tested with its training."""
    tests = {path.relative_to(ROOT / "tests") for path in (ROOT / "tests").rglob("test_*.py")}
    folders = {path.parts[0] for path in tests if len(path.parts) > 1}
    rooms = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    assert folders == (rooms | {"twins"}) - {"np", "pt", "tiny"}
    at_root = {path.stem.removeprefix("test_") for path in tests if len(path.parts) == 1}
    modules = {path.stem.strip("_") for path in PACKAGE.glob("*.py")}
    assert at_root - {"project", "mutations"} <= modules


@pytest.mark.parametrize(
    ("module", "absent"),
    [
        ("rule", "numpy"),
        ("config", "numpy"),
        ("checkpoint", "torch"),
        ("np", "torch minimistral.pt"),
        ("evaluation.bits_per_byte", "torch"),
        ("evaluation.reach", "torch"),
        ("course", "numpy"),
        ("course.draw", "torch"),
        ("course.widgets", "torch"),
        ("course.checks.lesson_01", "torch"),
        ("cli", "numpy"),
    ],
)
def test_importing_a_module_does_not_load(module, absent):
    code = f"import sys, minimistral.{module}; print(*{{*{absent.split()}}} & {{*sys.modules}})"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


def test_a_model_in_torch_needs_neither_the_other_twin_nor_the_compiler():
    """The compiler of torch takes two seconds to load."""
    code = """if True:
        import sys
        import torch
        from_the_start = {*sys.modules}  # some versions of torch may load it at once
        from minimistral import ModelConfig, pt
        pt.generate(pt.Mistral(ModelConfig.tiny()), [1, 2], 3, temperature=1.0)
        loaded = {*sys.modules} - from_the_start
        print(*{"minimistral.np", "torch._dynamo", "torch._inductor"} & loaded)
    """
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, encoding="utf-8")
    assert (run.returncode, run.stdout.strip()) == (0, ""), run.stderr


# Length


def code_lines(source: str) -> int:
    """How many lines hold code: not docstrings, comments or blanks.

    >>> code_lines("'Documentation.'\\n\\n# A comment.\\nx = [  # one\\n    1,\\n]\\n")
    3
    >>> code_lines("def f():\\n    'Documentation.'\\n    return 1")
    2
    """
    tree, lines = ast.parse(source), set()
    layout = {tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT,
              tokenize.ENDMARKER}  # fmt: skip
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        if token.type not in layout:
            lines |= set(range(token.start[0], token.end[0] + 1))
    for node in ast.walk(tree):
        documented = ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef
        if isinstance(node, documented) and ast.get_docstring(node) is not None:
            lines -= set(range(node.body[0].lineno, node.body[0].end_lineno + 1))
    return len(lines)


def test_the_reference_reads_in_one_sitting():
    """What a token passes through; reading files comes on top."""
    files = {path.stem: path.read_text(encoding="utf-8") for path in PACKAGE.glob("np/*.py")}
    extras = {"split", "rewind", "speculative", "beam", "serve"}
    backward = {"adapter", "backward", "gradients", "lora", "optimizer"}
    forward = files.keys() - {"__init__", "checkpoint", "checked", "mapped"} - backward
    assert {"attention", "cache", "feedforward", "mask", "model", "norm", "rope"} <= forward
    lines = {name: code_lines(files[name]) for name in forward - extras}
    assert sum(lines.values()) <= 420  # from text to text
    assert sum(lines.values()) - lines["generate"] - lines["sampling"] <= 260  # ids to logits


def test_no_file_of_the_twins_is_long():
    for twin in ("np", "pt"):
        for path in PACKAGE.glob(f"{twin}/*.py"):
            assert len(path.read_text(encoding="utf-8").splitlines()) <= 200, path.name
