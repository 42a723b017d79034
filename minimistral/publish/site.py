"""Build the web page of the course from the lessons in build/lessons.

    python -m minimistral.publish.site                         all of them, in build/site
    python -m minimistral.publish.site 00 04 --output FOLDER   two of them, elsewhere
    python -m minimistral.publish.site --language ru           also what is translated, in .../ru

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

from minimistral.publish import translate

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
MATHJAX = DOCS / "node_modules" / "mathjax"
LINK = re.compile(r"\]\((\.\./(?!\.\./)[^)#\s]+)")  # to a file of the repository


def gather(lessons: list[Path], source: Path) -> None:
    """Fill the folder that Sphinx reads: the pages of docs/, README, TUTOR and the lessons."""
    shutil.rmtree(source, ignore_errors=True)
    skip = shutil.ignore_patterns("node_modules", "locale", "_*", "*.py", "*.json", ".*")
    shutil.copytree(DOCS, source, ignore=skip)
    for page in ("README.md", "TUTOR.md"):
        shutil.copy(ROOT / page, source)
    for lesson in lessons:
        (source / "notebooks").mkdir(exist_ok=True)
        shutil.copy(lesson, source / "notebooks")
        add_all_linked(source, lesson)


def gather_translated(language: str, lessons: list[Path], source: Path) -> None:
    """The same for a language: its own pages and words of the frame, and what is translated.

    A link to a lesson that is not translated leads to the English page.
    """
    shutil.rmtree(source, ignore_errors=True)
    pages = translate.LOCALE / language
    source.mkdir(parents=True)
    for name in ("index.md", "glossary.md"):
        shutil.copy(pages / name, source)
    frame = source / "locales" / language / "LC_MESSAGES"
    frame.mkdir(parents=True)
    shutil.copy(pages / "LC_MESSAGES" / "sphinx.po", frame)

    def elsewhere(target: str) -> str:
        return re.sub(r"^(\w+)\.ipynb$", r"site:../../notebooks/\1.html", target)

    for lesson in translate.build(language, source / "notebooks", lessons, elsewhere):
        add_all_linked(source, lesson)


def add_all_linked(source: Path, lesson: Path) -> None:
    for target in LINK.findall(lesson.read_text(encoding="utf-8")):
        add_linked(source, (ROOT / "notebooks" / target).resolve())


def add_linked(source: Path, file: Path) -> None:
    """Copy a file that a lesson links to: it has the same path in the site as in the repository."""
    copy = source / file.relative_to(ROOT)
    copy.parent.mkdir(parents=True, exist_ok=True)
    shutil.copy(file, copy)


def sphinx(source: Path, output: Path, some: bool, **settings: str) -> int:
    """Run Sphinx. If only some lessons are built, links to the others may lead nowhere.

    settings: what differs from docs/conf.py.
    """
    shutil.rmtree(output, ignore_errors=True)
    command = [
        sys.executable, "-m", "sphinx", "-b", "html", "-c", str(DOCS), "-q", "-W",
        "--keep-going", "-d", str(source) + "-trees", str(source), str(output),
    ]  # fmt: skip
    if some:
        command += ["-D", "suppress_warnings=myst.xref_missing"]
    for name, value in settings.items():
        command += ["-D", f"{name}={value}"]
    shutil.rmtree(str(source) + "-trees", ignore_errors=True)
    return subprocess.run(command, cwd=ROOT).returncode


def add_files(output: Path) -> None:
    """MathJax, and the licence, to which every page links."""
    shutil.copy(ROOT / "LICENSE", output / "_static" / "license.txt")
    folder = output / "_static" / "mathjax"
    folder.mkdir()
    shutil.copy(MATHJAX / "es5" / "tex-svg.js", folder)
    shutil.copy(MATHJAX / "LICENSE", folder)


def pages_of(languages: list[str], lessons: list[Path]) -> dict[str, list[str]]:
    """Which pages each language has that English has as well."""
    return {
        language: [
            "index",
            *(f"notebooks/{path.stem}" for path in translate.translatable(language, lessons)),
        ]
        for language in languages
    }


def listed(pages: dict[str, list[str]]) -> str:
    """As docs/course.py reads it.

    >>> listed({"ru": ["index", "notebooks/00_start_here"]})
    'ru:index,ru:notebooks/00_start_here'
    """
    return ",".join(f"{language}:{page}" for language in pages for page in pages[language])


def build_translated(language: str, lessons: list[Path], output: Path, other: str) -> int:
    """Build the pages of a language in a folder of the site; Sphinx's exit status."""
    source = output.with_name(f"{output.name}-source-{language}")
    print(f"      {language}: Sphinx reads and writes what is translated", flush=True)
    gather_translated(language, lessons, source)
    status = sphinx(source, output / language, False, language=language, course_other=other)
    if not status:
        add_files(output / language)
    return status


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
    parser.add_argument(
        "--language", action="append", default=[], choices=translate.languages(),
        help="also build what is translated to it; may be given several times",
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
    pages = pages_of(args.language, lessons)
    status = sphinx(source, output, some=bool(args.numbers), course_other=listed(pages))
    if status:
        return status
    add_files(output)
    for language, translated in pages.items():
        status = build_translated(language, lessons, output, listed({"en": translated}))
        if status:
            return status
    print(f"[3/3] {output / 'index.html'}, {time.perf_counter() - start:.0f} s", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
