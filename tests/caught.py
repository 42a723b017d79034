"""The record of planted bugs that were caught: tests/caught.txt, one digest in each line.

python tests/caught.py     sort it, without the bugs that are gone or changed
"""

import functools
import hashlib
import json
import re
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]
RECORD = ROOT / "tests" / "caught.txt"
HELPERS = {path.stem: path for path in sorted((ROOT / "tests").rglob("*.py"))}


def digest(file, right, wrong, checks):
    """Of a bug, of the file it stands in, and of all that its checks are made of."""
    parts = [file, right, wrong, *checks, _text(ROOT / "minimistral" / file)]
    paths = {path for check in checks for path in _sources(check, file)}
    parts += [_text(path) for path in sorted(paths)]
    return hashlib.sha256("\0".join(parts).encode()).hexdigest()[:16]


def recorded():
    return set(RECORD.read_text(encoding="utf-8").split()) if RECORD.exists() else set()


def record(line):
    """Add a digest. Two processes may do so at once: a short line is written as a whole."""
    with RECORD.open("a", encoding="utf-8", newline="\n") as file:
        file.write(f"{line}\n")


def _sources(check, file):
    """The files of a check, with the test helpers that they import.

    The answers to all lessons are imported by one test; a check of one lesson needs only its own.
    """
    path = ROOT / check.split("::")[0]
    found = set(_with_helpers(path))
    if path.stem == "test_checks":
        lesson = re.search(r"course/checks/lesson_(\d\d)\.py", file)
        wanted = f"answers_{lesson[1]}" if lesson else r"answers_\d\d"
        for name in HELPERS:
            if re.fullmatch(wanted, name):
                found |= _with_helpers(HELPERS[name])
    return found


@functools.cache
def _with_helpers(path):
    found, new = set(), {path}
    while new:
        path = new.pop()
        found.add(path)
        if path.suffix == ".py":
            names = re.findall(r"^(?:from|import) (\w+)", _text(path), re.M)
            new |= {HELPERS[name] for name in names if name in HELPERS} - found
    return frozenset(found)


@functools.cache
def _text(path):
    """A file's text; of a notebook the code and its outputs, since its prose is not run."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".ipynb":
        return text
    cells = [cell for cell in json.loads(text)["cells"] if cell["cell_type"] == "code"]
    return json.dumps([[cell["source"], cell["outputs"]] for cell in cells])


if __name__ == "__main__":
    sys.path.insert(0, str(RECORD.parent))
    import test_mutations

    here = {digest(*mutation) for mutation in test_mutations.MUTATIONS} & recorded()
    RECORD.write_text("".join(f"{line}\n" for line in sorted(here)), encoding="utf-8")
    print(f"{len(here)} of {len(test_mutations.MUTATIONS)} planted bugs are recorded as caught")
