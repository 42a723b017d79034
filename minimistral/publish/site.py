"""Build the web page of the course from the lessons in build/lessons.

    python -m minimistral.publish.site                         all of them, in build/site
    python -m minimistral.publish.site 00 04 --output FOLDER   two of them, elsewhere

Sphinx builds it with the settings in docs/; a Sphinx warning stops the build. Everything the pages
need is copied next to them, so they load nothing from other machines.
"""

import argparse
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MATHJAX = DOCS / "node_modules" / "mathjax"
LINK = re.compile(r"\]\((\.\./[^)#\s]+)")


def gather(lessons: list[Path], source: Path) -> None:
    """Fill the folder that Sphinx reads: the pages of docs/, the README and the lessons."""
    shutil.rmtree(source, ignore_errors=True)
    skip = shutil.ignore_patterns("node_modules", "_*", "*.py", "*.json", ".*")
    shutil.copytree(DOCS, source, ignore=skip)
    shutil.copy(ROOT / "README.md", source)
    for lesson in lessons:
        (source / "notebooks").mkdir(exist_ok=True)
        shutil.copy(lesson, source / "notebooks")
        for target in LINK.findall(lesson.read_text(encoding="utf-8")):
            add_linked(source, (ROOT / "notebooks" / target).resolve())


def add_linked(source: Path, file: Path) -> None:
    """Copy a file that a lesson links to: it has the same path in the site as in the repository."""
    copy = source / file.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, copy)


def sphinx(source: Path, output: Path, some: bool) -> int:
    """Run Sphinx. If only some lessons are built, links to the others may lead nowhere."""
    shutil.rmtree(output, ignore_errors=True)
    command = [
        sys.executable, "-m", "sphinx", "-b", "html", "-c", str(DOCS), "-q", "-W",
        "--keep-going", "-d", str(source) + "-trees", str(source), str(output),
    ]  # fmt: skip
    if some:
        command += ["-D", "suppress_warnings=myst.xref_missing"]
    shutil.rmtree(str(source) + "-trees", ignore_errors=True)
    return subprocess.run(command, cwd=ROOT).returncode


def add_files(output: Path) -> None:
    """MathJax, and the licence, to which every page links."""
    shutil.copy(ROOT / "LICENSE", output / "_static" / "license.txt")
    folder = output / "_static" / "mathjax"
    folder.mkdir()
    shutil.copy(MATHJAX / "es5" / "tex-svg.js", folder)
    shutil.copy(MATHJAX / "LICENSE", folder)


def main() -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("numbers", nargs="*", help="which lessons, for example 04; default: all")
    parser.add_argument(
        "--lessons", type=Path, default=ROOT / "build" / "lessons", metavar="FOLDER",
        help="notebooks that were run; default: build/lessons",
    )  # fmt: skip
    parser.add_argument(
        "--output", type=Path, default=ROOT / "build" / "site", metavar="FOLDER",
        help="where the pages go; default: build/site",
    )  # fmt: skip
    args = parser.parse_args()
    start, output = time.perf_counter(), args.output.resolve()
    lessons = sorted(args.lessons.glob("*.ipynb"))
    if args.numbers:
        lessons = [path for path in lessons if path.name[:2] in args.numbers]
    if not lessons or not MATHJAX.exists():
        sys.exit("The lessons or docs/node_modules are missing: `make site` makes them first.")
    source = output.with_name(output.name + "-source")
    print(f"[1/3] {len(lessons)} lessons into {source}", flush=True)
    gather(lessons, source)
    print("[2/3] Sphinx reads and writes the pages", flush=True)
    status = sphinx(source, output, some=bool(args.numbers))
    if status:
        return status
    add_files(output)
    print(f"[3/3] {output / 'index.html'}, {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
