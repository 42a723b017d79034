"""Translate the prose of the lessons: catalogues in docs/locale/, notebooks in build/.

    python -m minimistral.publish.translate --update ru         put what changed in the lessons into
                                                                every catalogue of a language
    python -m minimistral.publish.translate --update ru 04      begin one, or update this one alone
    python -m minimistral.publish.translate --check             how complete each one is; faults
    python -m minimistral.publish.translate --build ru          translated notebooks, in build/ru

A catalogue is a PO file, as every editor of translations reads it. Its messages are the pieces of
`messages.split`, so a changed sentence makes one message fuzzy and leaves its neighbours. Code,
comments in code and outputs are no messages: a translated lesson has those of the original, and
nbval compares them. Where a message has no translation, or a fuzzy one, the English text stands.

A translation that no lesson needs any more stays at the end of its file (#~), and is offered again
when its text comes back.
"""

import argparse
import copy
import io
import json
import os
import re
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

from babel import Locale, UnknownLocaleError
from babel.messages.catalog import Catalog, Message
from babel.messages.pofile import PoFileError, normalize, read_po, unescape

from minimistral.course.exercises import NOTEBOOKS, lessons
from minimistral.publish.messages import faults, messages, split, translate
from minimistral.publish.notebooks import write

ROOT = Path(__file__).resolve().parents[2]
LOCALE = ROOT / "docs" / "locale"
LINK = re.compile(r"(?<=\]\()([^)#\s:]+)(?=[)#])")  # to a file
ORIGINAL = "ORIGINAL"  # in note.md: the link to the English lesson
INCOMPLETE = "X-Incomplete"  # in the header of a catalogue: it may be, and why
HEADER = r"""# {title}: its text in another language.
#
# What CONTRIBUTING.md says under "Translate a lesson" holds here.
msgid ""
msgstr ""
"Project-Id-Version: minimistral\n"
"Language: {language}\n"
"Plural-Forms: {plurals}\n"
"MIME-Version: 1.0\n"
"Content-Type: text/plain; charset=UTF-8\n"
"Content-Transfer-Encoding: 8bit\n"
"X-Incomplete: begun\n"
"""


class NotTranslated(Exception):
    """A language, a lesson or a catalogue that cannot be used, and why."""


# Catalogues


def languages() -> list[str]:
    """The languages that lessons are translated to.

    >>> "ru" in languages()
    True
    """
    return sorted(path.parent.name for path in LOCALE.glob("*/LC_MESSAGES"))


def locale_of(language: str) -> Locale:
    """Raises NotTranslated for what is no code of a language."""
    try:
        return Locale.parse(language)
    except (UnknownLocaleError, ValueError, TypeError):
        raise NotTranslated(
            f"language must be a code such as ru or pt_BR, not {language!r}"
        ) from None


def catalogues(language: str) -> dict[str, Path]:
    """The catalogues of a language by the numbers of their lessons."""
    found = sorted((LOCALE / language / "LC_MESSAGES").glob("[0-9][0-9]_*.po"))
    return {path.name[:2]: path for path in found}


def template(lesson: Path) -> Catalog:
    """Every message of a lesson, in order, with the cells in which it stands."""
    catalog = Catalog()
    for cell in json.loads(lesson.read_text(encoding="utf-8"))["cells"]:
        if cell["cell_type"] == "markdown":
            place = [(f"notebooks/{lesson.name}#{cell['id']}", None)]
            for piece in messages("".join(cell["source"])):
                catalog.add(piece.message, locations=place, auto_comments=[piece.kind])  # type: ignore[arg-type]
    return catalog


def read(path: Path) -> Catalog:
    """A catalogue. Raises NotTranslated for a file that is none."""
    try:
        catalog = read_po(io.BytesIO(path.read_bytes()), abort_invalid=True, charset="utf-8")
    except (OSError, PoFileError, ValueError) as error:
        raise NotTranslated(f"{path}: {error}") from None
    for message in [*catalog, *catalog.obsolete.values()]:
        _read_previous(message)
    return catalog


def _read_previous(message: Message) -> None:
    """What a fuzzy message was before, which Babel writes but reads as a user's comment."""
    lines = [re.sub(r"^\| *(msgid )?", "", line) for line in message.user_comments]
    own = [line for line in message.user_comments if not line.startswith("|")]
    if len(own) < len(lines):
        message.previous_id = ["".join(unescape(line) for line in lines if line.startswith('"'))]
        message.user_comments = own


def header_of(path: Path) -> str:
    """The first entry of a catalogue, which `save` keeps as it is. Raises NotTranslated."""
    header = path.read_text(encoding="utf-8").partition("\n\n")[0] + "\n"
    if not re.match(r'(#.*\n)*msgid ""\nmsgstr ""\n"', header):
        raise NotTranslated(f'{path}: it does not begin with a header, msgid ""')
    return header


def save(path: Path, catalog: Catalog, header: str) -> None:
    """Write a catalogue, in one step."""
    if is_complete(catalog):
        header = re.sub(rf'^"{INCOMPLETE}:.*\n', "", header, flags=re.M)
    entries = [entry(m) for m in catalog if m.id]
    entries += [entry(m, "#~ ") for m in catalog.obsolete.values()]
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, "\n".join([header, *entries]))


def entry(message: Message, mark: str = "") -> str:
    """A message as it stands in a file; mark: "#~ " if no lesson needs it any more.

    Babel's own writer breaks the lines of what a fuzzy message was before inside their quotes,
    and forgets that an obsolete one is fuzzy.

    >>> print(entry(Message("Two", "Два", flags=["fuzzy"], previous_id="One")), end="")
    #, fuzzy
    #| msgid "One"
    msgid "Two"
    msgstr "Два"
    """
    lines = [f"# {comment}".rstrip() for comment in message.user_comments]
    if not mark:
        lines += [f"#. {comment}" for comment in message.auto_comments]
        lines += [f"#: {place}" for place, _ in message.locations]
    if message.fuzzy:
        lines.append("#, fuzzy")
    if message.previous_id and not mark:
        lines.append(f"#| msgid {normalize(str(message.previous_id[0]), prefix='#| ')}")
    lines.append(f"{mark}msgid {normalize(str(message.id), prefix=mark)}")
    lines.append(f"{mark}msgstr {normalize(str(message.string or ''), prefix=mark)}")
    return "\n".join(lines) + "\n"


def translated(catalog: Catalog) -> dict[str, str]:
    """What can be used: message -> translation."""
    return {str(m.id): str(m.string) for m in catalog if m.id and m.string and not m.fuzzy}


def count(catalog: Catalog) -> tuple[int, int]:
    """How many messages are translated, and how many there are."""
    return len(translated(catalog)), len(catalog)


def is_complete(catalog: Catalog) -> bool:
    done, every = count(catalog)
    return done == every


# --update


def update(language: str, lesson: Path) -> Catalog:
    """Put the messages of a lesson as it is now into its catalogue, and save it.

    A new message that resembles an old one gets its translation, marked fuzzy. No translation is
    dropped: one that is not used goes to the end of the file.
    """
    locale = locale_of(language)
    path = LOCALE / language / "LC_MESSAGES" / f"{lesson.stem}.po"
    if path.exists():
        header, catalog = header_of(path), read(path)
    else:
        plurals = Catalog(locale=locale).plural_forms
        header = HEADER.format(title=lesson.stem, language=language, plurals=plurals)
        catalog = Catalog(locale=locale)
    merge(catalog, template(lesson))
    save(path, catalog, header)
    return catalog


def merge(catalog: Catalog, new: Catalog) -> None:
    """Babel's update, which besides drops no translation and takes up again what comes back."""
    for text in [m.id for m in new if m.id in catalog.obsolete]:
        old = catalog.obsolete.pop(text)
        catalog.add(text, old.string, flags=old.flags, user_comments=old.user_comments)
    before = {str(m.id): m for m in catalog if m.id}
    catalog.update(new)
    for text, old in before.items():
        if text not in catalog:
            catalog.obsolete[text] = old
        elif old.fuzzy:
            catalog[text].previous_id = old.previous_id
    sure = {m.string for m in [*catalog, *catalog.obsolete.values()] if not m.fuzzy}
    for key, old in list(catalog.obsolete.items()):
        if not old.string or (old.fuzzy and old.string in sure):
            del catalog.obsolete[key]


# --check


def check(path: Path, lesson: Path) -> tuple[int, int, list[str]]:
    """How many messages of a catalogue are translated, how many there are, and what is wrong.

    Raises NotTranslated for a file that is no catalogue.
    """
    catalog, locale = read(path), locale_of(path.parents[1].name)
    name = path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)
    texts, wrong = translated(catalog), []
    for message, translation in texts.items():
        line = catalog[message].lineno
        wrong += [f"{name}:{line}: {fault}" for fault in faults(message, translation, locale)]
    if [m.id for m in catalog] != [m.id for m in template(lesson)]:
        wrong.append(f"{name}: the lesson has changed; run `make translations`")
    if not wrong:
        wrong += [f"{name}: {cell}" for cell in _broken_cells(lesson, texts)]
    done, every = count(catalog)
    may_be = f'"{INCOMPLETE}:' in header_of(path)
    if done < every and not may_be:
        wrong.append(
            f"{name}: {every - done} of {every} messages have no translation. Translate them, or"
            f' add the line "{INCOMPLETE}: why\\n" to its header'
        )
    return done, every, wrong


def _broken_cells(lesson: Path, texts: dict[str, str]) -> list[str]:
    """Cells whose translation has other blocks than the original."""
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    sources = {c["id"]: "".join(c["source"]) for c in cells if c["cell_type"] == "markdown"}
    return [
        f"cell {name} has other blocks than the original"
        for name, source in sources.items()
        if [p.kind for p in split(translate(source, texts))] != [p.kind for p in split(source)]
    ]


# --build


def in_language(
    notebook: dict[str, Any], language: str, texts: dict[str, str], link: Callable[[str], str]
) -> dict[str, Any]:
    """A notebook with its prose translated; code, outputs, ids and tags are the original's.

    link: where a link to a file leads from the translated notebook; the note on the translation,
    docs/locale/LANGUAGE/note.md, stands at the end of its first cell.
    """
    result = copy.deepcopy(notebook)
    result["metadata"]["language"] = language
    note = LOCALE / language / "note.md"
    for n, cell in enumerate(result["cells"]):
        if cell["cell_type"] == "markdown":
            source = translate("".join(cell["source"]), texts)
            if n == 0 and note.exists():
                source += "\n\n" + note.read_text(encoding="utf-8").strip()
            source = LINK.sub(lambda found: link(found[1]), source)
            cell["source"] = source.splitlines(keepends=True)
    return result


def translatable(language: str, originals: Iterable[Path]) -> list[Path]:
    """Those of the lessons that have a catalogue."""
    return [path for path in originals if path.name[:2] in catalogues(language)]


def build(
    language: str, folder: Path, originals: Iterable[Path], elsewhere: Callable[[str], str]
) -> dict[Path, tuple[int, int]]:
    """Write the translated lessons of a language to a folder; how much of each is translated.

    originals: lessons, or copies of them with other outputs, as `make site` makes them.
    elsewhere: where a link to a file leads that is not among the translated lessons.
    """
    folder.mkdir(parents=True, exist_ok=True)
    chosen = translatable(language, originals)
    names, counts = {path.name for path in chosen}, {}
    for lesson in chosen:
        catalog = read(catalogues(language)[lesson.name[:2]])

        def link(target: str, own: str = lesson.name) -> str:
            if target == ORIGINAL:
                return elsewhere(own)
            return target if target in names else elsewhere(target)

        notebook = json.loads(lesson.read_text(encoding="utf-8"))
        new = in_language(notebook, language, translated(catalog), link)
        text = json.dumps(new, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
        write(folder / lesson.name, text)
        counts[folder / lesson.name] = count(catalog)
    return counts


def build_beside(
    language: str, folder: Path, numbers: Sequence[str]
) -> dict[Path, tuple[int, int]]:
    """Build notebooks whose links lead to the files of this clone."""

    def elsewhere(target: str) -> str:
        return Path(os.path.relpath(NOTEBOOKS / target, folder)).as_posix()

    return build(language, folder, chosen_lessons(language, numbers), elsewhere)


# The commands


def percent(done: int, every: int) -> str:
    """
    >>> percent(157, 158), percent(158, 158)
    ('157 of 158 messages, 99 %', '158 of 158 messages, 100 %')
    """
    return f"{done} of {every} messages, {100 * done // max(every, 1)} %"


def chosen_lessons(language: str, numbers: Sequence[str]) -> list[Path]:
    """The lessons named, or those that have a catalogue. Raises NotTranslated."""
    locale_of(language)
    every = lessons()
    for number in numbers:
        if number not in every:
            raise NotTranslated(f"lesson must be one of {', '.join(every)}, not {number!r}")
    wanted = numbers or list(catalogues(language))
    if not wanted:
        raise NotTranslated(
            f"{language} has no catalogue yet; name a lesson to begin with: --update {language} 00"
        )
    return [every[number] for number in wanted]


def update_all(language: str, numbers: Sequence[str]) -> None:
    for lesson in chosen_lessons(language, numbers):
        print(f"{language} {lesson.stem}: {percent(*count(update(language, lesson)))}")


def check_all(numbers: Sequence[str]) -> int:
    """Print how complete every catalogue is, then all faults; how many there are."""
    wrong: list[str] = []
    for language in languages():
        for number, path in catalogues(language).items():
            if not numbers or number in numbers:
                done, every, found = check(path, lessons()[number])
                print(f"{language} {path.stem}: {percent(done, every)}")
                wrong += found
    print("\n".join(wrong), end="\n" * bool(wrong))
    return len(wrong)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m minimistral.publish.translate", description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )  # fmt: skip
    what = parser.add_mutually_exclusive_group(required=True)
    what.add_argument("--update", metavar="LANGUAGE", help="put changed text into its catalogues")
    what.add_argument("--check", action="store_true", help="how complete they are; faults")
    what.add_argument("--build", metavar="LANGUAGE", help="write the translated notebooks")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="default: build/LANGUAGE")
    parser.add_argument("lessons", nargs="*", metavar="NUMBER", help="lessons, such as 04")
    args = parser.parse_args(arguments)
    try:
        if args.check:
            return 1 if check_all(args.lessons) else 0
        if args.update:
            update_all(args.update, args.lessons)
            return 0
        folder = args.output or ROOT / "build" / args.build
        for path, counts in build_beside(args.build, folder, args.lessons).items():
            print(f"{path}: {percent(*counts)}")
    except NotTranslated as error:
        print(error, file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
