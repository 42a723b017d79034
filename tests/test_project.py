"""The project's own files say the same thing everywhere, and its packages keep to their arrows."""

import ast
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name
from rattler import MatchSpec, Version, VersionSpec

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
    return MAKEFILE.split(f"\n{target}:")[1].split("\n\n")[0]


def test_make_test_runs_every_check():
    checks = [  # in parallel, but for the browser: its latency wants a quiet machine
        "ruff check .",
        "mypy minimistral",
        'pytest -n 2 --dist worksteal -m "not browser"',
        "pytest -m browser",
        "pytest --nbval notebooks/",
    ]
    assert re.findall(r"\t\$\(PY\) -m (.+)", recipe("test")) == checks
    assert "\t-" not in MAKEFILE and "|| true" not in MAKEFILE  # a failure is never swallowed


@pytest.mark.parametrize("twin", ["np", "pt"])
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


def test_the_reference_reads_in_one_sitting():
    """About 800 lines of mechanisms with their documentation; reading files comes on top."""
    files = (ROOT / "minimistral/np").glob("*.py")
    lines = {file.stem: len(file.read_text(encoding="utf-8").splitlines()) for file in files}
    assert max(lines.values()) < 200
    assert sum(lines.values()) - lines["checkpoint"] - lines["streaming"] < 790


def test_make_lab_stays_on_this_computer():
    lab = recipe("lab")
    assert "--ServerApp.ip=127.0.0.1" in lab and "token" not in lab.lower()
    assert "--LabApp.news_url=None" in lab and "NeverCheckForUpdate" in lab
    opened = re.findall(r"default_url=/lab/tree/(\S+)", lab)
    assert opened == ["notebooks/00_start_here.ipynb"] and (ROOT / opened[0]).is_file()


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
    named = re.findall(r"`((?:minimistral|tests|tools|notebooks|figures|\.\w+)/[^`*$ ]*)`", text)
    assert len(links + named) > 3
    for name in links + [name for name in named if not name.startswith(".venv")]:
        assert (ROOT / name).exists(), name


# What no file may hold

REGISTRY = re.compile(
    r"https?://(?:[\w-]+\.)*(?:pypi\.org|pythonhosted\.org|anaconda\.(?:org|com)|prefix\.dev"
    r"|download\.pytorch\.org|npmjs\.(?:org|com)|yarnpkg\.com|ghcr\.io|docker\.io)"
)
PLACE = ROOT.parent if ROOT.parent.name else ROOT  # the folder of this clone, unless that is /
MACHINE = re.compile(
    r"/(?:home|Users|root)/\w|\b[A-Z]:\\+Users\b|ipykernel_\d+|site-packages[/\\]"
    rf"|(?<![\w.]){re.escape(str(PLACE))}[/\\]"
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
        for found in rule.finditer(path.read_bytes().decode("utf-8", "ignore")):
            pytest.fail(f"{path.relative_to(ROOT)} holds {found.group()!r}")


def test_no_file_is_over_1_mb_but_the_weights_of_the_tiny_model():
    files = tracked()
    assert ROOT / "README.md" in files
    large = {path.name: path.stat().st_size for path in files if path.stat().st_size > 1_000_000}
    assert list(large) == ["consolidated.safetensors"]
    assert large["consolidated.safetensors"] <= 4_000_000


# Arrows between the packages

ARROWS = {  # what each never imports, by the first two parts of a module's name
    "config.py": {"numpy", "torch", "np", "pt", "draw", "widgets", "checks"},
    "arguments.py": {"numpy", "torch", "config", "np", "pt", "draw", "widgets", "checks"},
    "checkpoint": {"np", "pt", "draw", "widgets", "checks"},
    "np": {"torch", "pt", "draw", "widgets", "checks"},
    "pt": {"np", "draw", "widgets", "checks"},
    "draw": {"torch", "np", "pt", "widgets", "checks"},
    "tokenizer.py": {"numpy", "torch", "np", "pt", "draw", "widgets", "checks"},
    "corpus.py": {"numpy", "torch", "np", "pt", "draw", "widgets", "checks"},
    "bits.py": {"torch", "np", "pt", "draw", "widgets", "checks"},
    "reach.py": {"torch", "np", "pt", "draw", "widgets", "checks"},
    "train.py": {"np", "draw", "widgets", "checks"},
}


def imported(source: str, package: str) -> set[str]:
    """The modules that a source file of a package imports, in full: `minimistral.np.mask`.

    >>> sorted(imported("import torch.nn\\nfrom .mask import window_mask", "minimistral.np"))
    ['minimistral.np.mask', 'minimistral.np.mask.window_mask', 'torch.nn']
    >>> sorted(imported("from .. import pt", "minimistral.np"))
    ['minimistral', 'minimistral.pt']
    """
    names = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            parents = package.split(".")[: len(package.split(".")) - node.level + 1]
            base = ".".join([*(parents if node.level else []), *filter(None, [node.module])])
            names |= {base, *(f"{base}.{alias.name}" for alias in node.names)}
    return names


def short(module: str) -> str:
    """`minimistral.np.mask` -> `np`; `torch.nn` -> `torch`."""
    first, *rest = module.split(".")
    return rest[0] if first == "minimistral" and rest else first


@pytest.mark.parametrize("part", ARROWS)
def test_a_part_never_imports(part):
    place = ROOT / "minimistral" / part
    files = [place] if place.is_file() else sorted(place.rglob("*.py"))
    assert files
    for path in files:
        package = ".".join(path.relative_to(ROOT).parent.parts)
        modules = imported(path.read_text(encoding="utf-8"), package)
        broken = {module for module in modules if short(module) in ARROWS[part]}
        assert not broken, f"{path.relative_to(ROOT)} imports {sorted(broken)}"


@pytest.mark.parametrize(
    ("module", "absent"),
    [("config", "numpy"), ("np", "torch"), ("checkpoint", "torch"), ("draw", "torch")],
)
def test_importing_a_part_does_not_load(module, absent):
    code = f"import sys, minimistral.{module}; sys.exit({absent!r} in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
