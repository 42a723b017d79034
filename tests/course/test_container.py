"""The files in .devcontainer were not built: what they name exists, and they are well formed."""

import json
import re
import shlex
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest
from packaging.specifiers import SpecifierSet

ROOT = Path(__file__).parents[2]
# https://docs.docker.com/reference/dockerfile and https://containers.dev/implementors/json_reference
INSTRUCTIONS = {"FROM", "RUN", "USER", "WORKDIR", "COPY", "CMD", "ENV", "ARG", "EXPOSE"}
PROPERTIES = {
    "name", "build", "remoteUser", "forwardPorts", "portsAttributes", "postCreateCommand",
    "postAttachCommand", "customizations",
}  # fmt: skip


def dockerfile():
    """Pairs (instruction, the rest of its line); what ends in a backslash goes on."""
    text = (ROOT / ".devcontainer/Dockerfile").read_text(encoding="utf-8").replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.startswith("#")]
    return [tuple(line.split(maxsplit=1)) for line in lines]


def devcontainer():
    text = (ROOT / ".devcontainer/devcontainer.json").read_text(encoding="utf-8")
    return json.loads(text)


def all_of(instruction):
    return [rest for name, rest in dockerfile() if name == instruction]


def test_the_dockerfile_is_well_formed():
    assert {name for name, _ in dockerfile()} <= INSTRUCTIONS
    assert dockerfile()[0][0] == "FROM" and dockerfile()[-1][0] == "CMD"
    stages = [re.fullmatch(r"(\S+) AS (\w+)", rest).groups() for rest in all_of("FROM")]
    assert stages[1][0] == stages[0][1] == "tools"
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    version = re.match(r"python:([\d.]+)-slim", stages[0][0])[1]
    assert SpecifierSet(project["requires-python"]).contains(version)
    assert json.loads(all_of("CMD")[0]) == ["make", "lab", "LAB_ARGS=--no-browser"]
    assert all(name in all_of("RUN")[0] for name in ("make", "g++", "git"))
    assert "0.0.0.0" not in str(dockerfile()) and not all_of("EXPOSE")


def test_what_a_machine_has_built_is_left_out():
    """A .venv of the host would not work in the container."""
    assert all_of("COPY") == ["--chown=learner . ."]
    ignored = (ROOT / ".dockerignore").read_text(encoding="utf-8").split()
    assert {".venv", "build", "docs/node_modules", ".git"} <= set(ignored)
    assert not {"notebooks", "minimistral", "Makefile", "constraints.txt", "README.md"} & {*ignored}


def test_the_devcontainer_names_what_exists():
    settings = devcontainer()
    assert settings.keys() == PROPERTIES
    build, folder = settings["build"], ROOT / ".devcontainer"
    assert (folder / build["dockerfile"]).resolve() == folder / "Dockerfile"
    assert (folder / build["context"]).resolve() == ROOT
    assert any(rest.endswith(f" AS {build['target']}") for rest in all_of("FROM"))
    assert all_of("USER") == [settings["remoteUser"]]
    assert any(f" {settings['remoteUser']}" in rest for rest in all_of("RUN"))
    assert [str(port) for port in settings["forwardPorts"]] == [*settings["portsAttributes"]]


def test_the_port_is_that_of_jupyter():
    from jupyter_server.serverapp import DEFAULT_JUPYTER_SERVER_PORT

    assert devcontainer()["forwardPorts"] == [DEFAULT_JUPYTER_SERVER_PORT]


@pytest.mark.skipif(not shutil.which("make"), reason="no make")
def test_make_knows_what_they_run():
    commands = [*all_of("RUN"), devcontainer()["postCreateCommand"]]
    commands += [devcontainer()["postAttachCommand"], " ".join(json.loads(all_of("CMD")[0]))]
    made = [command for command in commands if command.startswith("make ")]
    assert len(made) == 4
    for command in made:
        words = shlex.split(command)[1:]
        done = subprocess.run(
            ["make", "--dry-run", *words], cwd=ROOT, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        if "lab" in words:
            assert "-m minimistral.course.lab " in done.stdout and "--no-browser" in done.stdout


def test_the_readme_says_that_they_were_not_built():
    text = " ".join((ROOT / "README.md").read_text(encoding="utf-8").split())
    assert re.search(r"`\.devcontainer/` \([^|]*\) \| [^|]*not built", text)
    assert "docker build --tag minimistral --file .devcontainer/Dockerfile ." in text
    assert "docker run --rm --interactive --tty --init --network host minimistral" in text
