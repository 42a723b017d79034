"""Translations: nothing but the prose changes, nothing is lost, and what exists is complete."""

import json
import re
import subprocess
import sys
from collections import Counter
from pathlib import Path

import nbformat
import pytest
from babel import Locale
from babel.messages.catalog import Catalog
from hypothesis import given, settings
from hypothesis import strategies as st

from minimistral.course.exercises import lessons, tasks
from minimistral.publish import slides
from minimistral.publish import translate as tool
from minimistral.publish.messages import faults, messages, split, translate

ROOT = Path(__file__).resolve().parents[2]
LESSONS = lessons()
RU = Locale("ru")
CATALOGUES = [path for language in tool.languages() for path in tool.catalogues(language).values()]


def sources(lesson: Path, kind: str = "markdown") -> list[str]:
    cells = json.loads(lesson.read_text(encoding="utf-8"))["cells"]
    return ["".join(cell["source"]) for cell in cells if cell["cell_type"] == kind]


# Messages


@pytest.mark.parametrize("number", LESSONS)
def test_the_pieces_of_a_lesson_make_it_again(number):
    found: Counter[str] = Counter()
    for source in sources(LESSONS[number]):
        pieces = split(source)
        assert "".join(piece.text for piece in pieces) == source
        assert translate(source, {}) == source
        for piece in messages(source):
            found[piece.kind] += 1
            assert "\n\n" not in piece.text and piece.text == piece.text.strip("\n")
            assert faults(piece.message, piece.message, Locale("en")) == []
    assert {"heading", "paragraph", "list item", "table cell", "summary"} <= set(found)


@pytest.mark.parametrize(
    ("source", "expected"),
    [
        ("# One `x`\n\nTwo\n  three", [("heading", "One `x`"), ("paragraph", "Two three")]),
        ("- a\n  b\n- c\n  - d", [("list item", "a b"), ("list item", "c"), ("list item", "d")]),
        ("1. a\n2. b", [("list item", "a"), ("list item", "b")]),
        ("text\n- item", [("paragraph", "text"), ("list item", "item")]),
        ("> a\n> b\n>\n> c", [("quotation", "a b"), ("quotation", "c")]),
        ("| a | `b` | 12 |\n|---|---|---|\n| 3.5 | | c\\|d |",
         [("table cell", "a"), ("table cell", "3.5"), ("table cell", "c\\|d")]),
        ("<details><summary>Why?</summary>\n\nSo.\n\n</details>\n<details><summary>2</summary>",
         [("summary", "Why?"), ("paragraph", "So.")]),
        ("```python\nx = 1  # one\n\ny = 2\n```\nafter", [("paragraph", "after")]),
        ("```text\nx = a   words\n```", [("text picture", "x = a   words")]),
        ("a\n\n$$x\n+ y$$\n\n$$\\text{b}$$", [("paragraph", "a"), ("formula", "$$\\text{b}$$")]),
        ("$x$ `y` 12\n\n---\n", []),
    ],
)  # fmt: skip
def test_what_is_a_message(source, expected):
    assert [(piece.kind, piece.message) for piece in messages(source)] == expected
    assert "".join(piece.text for piece in split(source)) == source


@pytest.mark.parametrize(
    ("message", "translation", "fault"),
    [
        ("Run `f(x)`.", "Запустите `f (x)`.", "`f(x)` is missing"),
        ("See $a_i$ and $b$.", "См. $b$ и $a_j$.", "$a_i$ is missing"),
        ("[mask](01_mask.ipynb)", "[маска](01_маска.ipynb)", "01_mask.ipynb is missing"),
        ("![a picture](a.svg)", "[рисунок](a.svg)", "! is missing"),
        ("Press <kbd>S</kbd>.", "Нажмите <kbd>S.", "</kbd> is missing"),
        ("So it is[^1].", "Так и есть.", "[^1] is missing"),
        ("**Ask** it.", "*Спросите*.", "** is missing"),
        ("It prints ✗.", "Печатает ✓.", "✗ is missing"),
        ("1,024 tokens", "1,024 токена", "1024 is missing"),
        ("9.58 bits", "9,85 бита", "9.58 is missing"),
        ("4 times", "8 раз", "4 is missing"),
        ("10⁹ bytes", "10⁶ байт", "⁹ is missing"),
        ("four times", "в 4 раза", "4 is added"),
        ("A text.", "Текст.\n\nИ ещё.", "it has a line break"),
        ("A text.", " Текст.", "it begins or ends with a space"),
        ("A text.", "- Текст.", "it is no longer one block of Markdown"),
        ("1.5 is 3 / 2", "1. 5 равно 3 / 2", "1.5 is missing"),
        ("x = a   one\ny = b   two", "x = a   один", "it has 1 lines and not 2"),
        ("x = a   one\ny = b   two", "x = a   один\ny = d   два", "'y = b' is missing"),
        ("$$x \\ \\text{so}$$", "$$y \\ \\text{так}$$", "$$x \\ \\text{}$$ is missing"),
    ],
)
def test_what_a_translation_must_keep(message, translation, fault):
    assert fault in faults(message, translation, RU)


@pytest.mark.parametrize(
    ("message", "translation"),
    [
        ("**Two** of 32,768 are `x`: 1.5 %.", "Из 32\u00a0768 **два** — `x`: 1,5\u00a0%."),
        ("Section 2.2 of v0.1, 8,192 tokens", "Раздел 2.2 версии v0.1, 8192 токена"),
        ("$$x \\ \\text{so}$$", "$$x \\ \\text{так}$$"),
        ("x = a   one\ny = b   two", "x = a   один\ny = b   два"),
        ("[mask](01.ipynb) with `a` and `b`", "`b` и `a`: [маска](01.ipynb)"),
    ],
)
def test_what_a_translation_may_change(message, translation):
    assert faults(message, translation, RU) == []


# Catalogues


def catalogue(**texts: str | None) -> Catalog:
    catalog = Catalog()
    for message, translation in texts.items():
        catalog.add(message.replace("_", " "), translation)
    return catalog


def state(catalog: Catalog) -> dict[str, tuple]:
    """What stands in a catalogue: message -> translation, whether fuzzy, whether obsolete."""
    kept = {m.id: (m.string, m.fuzzy, False) for m in catalog if m.id}
    return kept | {m.id: (m.string, m.fuzzy, True) for m in catalog.obsolete.values()}


def saved(catalog: Catalog, path: Path) -> Catalog:
    tool.save(path, catalog, tool.HEADER.format(title="x", language="ru", plurals="nplurals=1"))
    return tool.read(path)


def test_a_changed_sentence_makes_one_message_fuzzy(tmp_path):
    catalog = catalogue(a_key_is_kept="ключ хранится", a_token_is_read="токен читается")
    tool.merge(catalog, catalogue(a_key_is_kept="", some_token_is_read="", more=""))
    catalog = saved(catalog, tmp_path / "x.po")
    expected = {
        "a key is kept": ("ключ хранится", False, False),
        "some token is read": ("токен читается", True, False),
        "more": ("", False, False),
        "a token is read": ("токен читается", False, True),
    }
    assert state(catalog) == expected
    assert catalog["some token is read"].previous_id == ["a token is read"]
    assert tool.translated(catalog) == {"a key is kept": "ключ хранится"}

    before = (tmp_path / "x.po").read_text(encoding="utf-8")
    tool.merge(catalog, catalogue(a_key_is_kept="", some_token_is_read="", more=""))
    saved(catalog, tmp_path / "x.po")  # a second time nothing changes
    assert (tmp_path / "x.po").read_text(encoding="utf-8") == before

    tool.merge(catalog, catalogue(a_key_is_kept="", a_token_is_read=""))  # back again
    assert state(catalog) == {
        "a key is kept": ("ключ хранится", False, False),
        "a token is read": ("токен читается", False, False),
    }


WORDS = st.sampled_from(["key", "keys", "a key", "the key", "mask", "masks", 'a "mask"', "x\\y"])


@settings(max_examples=25, deadline=None)
@given(st.lists(st.lists(WORDS, min_size=1, unique=True), min_size=1, max_size=4), st.data())
def test_no_translation_is_ever_lost(tmp_path_factory, versions, data):
    """Whatever is edited, and however often a file is saved in between."""
    path = tmp_path_factory.getbasetemp() / "random.po"
    catalog, done = Catalog(), {}
    for words in versions:
        tool.merge(catalog, catalogue(**dict.fromkeys(words)))
        for word in data.draw(st.lists(st.sampled_from(words), unique=True)):
            catalog[word].string = done[word] = f"«{word}»"
            catalog[word].flags.discard("fuzzy")
        catalog = saved(catalog, path)
        now = state(catalog)
        assert [m.id for m in catalog if m.id] == words
        for word, translation in done.items():
            assert now[word] == (translation, False, word not in words)
        assert set(tool.translated(catalog)) == set(words) & set(done)


def test_a_header_stays_but_for_incomplete(tmp_path):
    path = tmp_path / "x.po"
    header = (
        '# Ада\nmsgid ""\nmsgstr ""\n"Language: ru\\n"\n"X-Incomplete: why\\n"\n"X-More: 1\\n"\n'
    )
    tool.save(path, catalogue(one=""), header)
    assert tool.header_of(path) == header
    tool.save(path, catalogue(one="один"), header)
    without = header.replace('"X-Incomplete: why\\n"\n', "")
    assert tool.header_of(path) == without


@pytest.fixture
def small(tmp_path, monkeypatch) -> Path:
    """A lesson of two sentences, and an empty folder of catalogues."""
    monkeypatch.setattr(tool, "LOCALE", tmp_path / "locale")
    lesson = tmp_path / "00_small.ipynb"
    cells = [nbformat.v4.new_markdown_cell("# One\n\nTwo `x`.", id="a")]
    nbformat.write(nbformat.v4.new_notebook(cells=cells), lesson)
    return lesson


def test_check_names_the_file_the_line_and_what_is_missing(small):
    path = tool.LOCALE / "ru" / "LC_MESSAGES" / "00_small.po"
    tool.update("ru", small)
    assert tool.check(path, small) == (0, 2, [])  # its header says that it was begun

    def written(old: str, new: str) -> list[str]:
        text = path.read_text(encoding="utf-8")
        assert text.count(old) == 1
        path.write_text(text.replace(old, new), encoding="utf-8")
        return tool.check(path, small)[2]

    assert "1 of 2 messages have no translation" not in written(
        'msgid "One"\nmsgstr ""', 'msgid "One"\nmsgstr "Один"'
    )
    (said,) = written('"X-Incomplete: begun\\n"\n', "")
    assert "1 of 2 messages have no translation" in said and '"X-Incomplete: why\\n"' in said
    (said,) = written('msgid "Two `x`."\nmsgstr ""', 'msgid "Two `x`."\nmsgstr "Два."')
    line = path.read_text(encoding="utf-8").splitlines().index('msgid "Two `x`."') + 1
    assert said == f"{path}:{line}: `x` is missing"
    assert written('"Два."', '"Два `x`."') == []
    small.write_text(small.read_text("utf-8").replace("Two `x`", "Two and `x`"), encoding="utf-8")
    assert "the lesson has changed; run `make translations`" in tool.check(path, small)[2][0]
    tool.update("ru", small)
    assert tool.check(path, small)[:2] == (1, 2)
    assert 'msgid "Two and `x`."\nmsgstr "Два `x`."' in path.read_text(encoding="utf-8")


def test_a_translation_that_breaks_a_table_is_a_fault(small):
    cell = "| a | b |\n|---|---|\n| what | is |"
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_markdown_cell(cell)]), small)
    catalog = tool.update("ru", small)
    for message, translation in (("a", "а"), ("b", "б"), ("what", "что | нибудь"), ("is", "есть")):
        catalog[message].string = translation
    path = tool.LOCALE / "ru" / "LC_MESSAGES" / "00_small.po"
    saved(catalog, path)
    (said,) = tool.check(path, small)[2]
    assert "has other blocks than the original" in said


@pytest.mark.parametrize("path", CATALOGUES, ids=lambda path: f"{path.parts[-3]} {path.stem}")
def test_a_catalogue_is_current_and_without_faults(path):
    """Complete, too, unless its header says that it is not: see CONTRIBUTING."""
    assert tool.check(path, LESSONS[path.name[:2]])[2] == []


def test_lesson_00_is_there_in_russian():
    path = tool.catalogues("ru")["00"]
    done, every, _ = tool.check(path, LESSONS["00"])
    assert every > 150 and (done == every or tool.INCOMPLETE in path.read_text(encoding="utf-8"))
    same = {m for m, t in tool.translated(tool.read(path)).items() if not re.search("[а-яё]", t)}
    titles = {m for m in same if "arXiv" in m}
    assert all(re.fullmatch(r"[\d.]+", message) for message in same - titles), same


def test_the_words_of_the_frame_are_translated():
    text = (ROOT / "docs" / "course.py").read_text(encoding="utf-8")
    for template in (ROOT / "docs" / "_templates").glob("*.html"):
        text += template.read_text(encoding="utf-8")
    words = set(re.findall(r'\b_\("([^"]+)"\)', text)) - {"Search"}  # Sphinx has it
    assert len(words) > 7
    for language in tool.languages():
        catalog = tool.read(tool.LOCALE / language / "LC_MESSAGES" / "sphinx.po")
        assert words <= set(tool.translated(catalog)), language
        assert tool.is_complete(catalog)


# Notebooks


@pytest.fixture(scope="module")
def russian(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("ru")
    command = ["--build", "ru", "--output", str(folder), "00"]
    assert tool.main(command) == 0
    return folder / LESSONS["00"].name


def test_only_the_prose_differs(russian):
    ours, theirs = (json.loads(p.read_text(encoding="utf-8")) for p in (LESSONS["00"], russian))
    assert theirs["metadata"].pop("language") == "ru"
    assert ours["metadata"] == theirs["metadata"]
    for one, other in zip(ours["cells"], theirs["cells"], strict=True):
        if one["cell_type"] == "markdown":
            source = "".join(other["source"])
            assert one.pop("source") != other.pop("source"), source
            assert re.search("[а-яё]", source)
        assert one == other
    nbformat.validate(nbformat.read(russian, as_version=4))
    text = russian.read_text(encoding="utf-8")
    assert text == json.dumps(json.loads(text), indent=1, sort_keys=True, ensure_ascii=False) + "\n"


def test_it_says_what_stays_english_and_its_links_lead_somewhere(russian):
    first, *others = sources(russian)
    assert "остаются английскими" in " ".join(first.split()) and "ORIGINAL" not in first
    targets = re.findall(r"\]\(([^)#]+)\)", "\n".join([first, *others]))
    assert len(targets) > 1
    for target in targets:
        assert (russian.parent / target).exists(), target


def test_it_has_the_same_exercises_and_becomes_a_lecture(russian):
    for ours, theirs in zip(tasks(LESSONS["00"]), tasks(russian), strict=True):
        assert ours._replace(title="") == theirs._replace(title="")
    decks = [slides.read(path) for path in (LESSONS["00"], russian)]
    assert [deck.language for deck in decks] == ["en", "ru"]
    for ours, theirs in zip(decks[0].slides, decks[1].slides, strict=True):
        assert ours.minutes == theirs.minutes
        assert len(ours.cells) == len(theirs.cells) and len(ours.notes) == len(theirs.notes)
    assert any("3 минуты." in note for slide in decks[1].slides for note in slide.notes)


@pytest.mark.rare
def test_nbval_compares_it_as_the_original(russian):
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider"]
    command += ["-p", "minimistral.course.lab", "--nbval", "--nbval-current-env"]
    run = subprocess.run([*command, str(russian)], cwd=ROOT, capture_output=True, encoding="utf-8")
    n_cells = len(sources(russian, "code"))
    assert run.returncode == 0, run.stdout[-3000:] + run.stderr[-3000:]
    assert f"{n_cells} passed" in run.stdout


def test_what_has_no_translation_stays_english_and_is_counted(small, capsys):
    catalog = tool.update("ru", small)
    catalog["One"].string = "Один"
    path = tool.LOCALE / "ru" / "LC_MESSAGES" / "00_small.po"
    saved(catalog, path)
    folder = small.parent / "out"
    counts = tool.build("ru", folder, [small, small.with_name("01_other.ipynb")], str)
    assert counts == {folder / small.name: (1, 2)}
    assert sources(folder / small.name) == ["# Один\n\nTwo `x`."]


# The commands


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--update", "klingon"], "language must be a code such as ru or pt_BR, not 'klingon'"),
        (["--build", "../ru"], "language must be a code such as ru or pt_BR, not '../ru'"),
        (["--update", "ru", "99"], "not '99'"),
        (["--build", "de"], "de has no catalogue yet"),
    ],
)
def test_a_bad_request_is_one_line(arguments, said, capsys, small):
    assert tool.main(arguments) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1
    assert not tool.LOCALE.exists()


@pytest.mark.parametrize("text", ['msgid "One"\nmsgstr "Один"\n', "words\n", ""])
def test_a_file_that_is_no_catalogue_is_named_and_left_alone(text, small, capsys):
    path = tool.LOCALE / "ru" / "LC_MESSAGES" / "00_start_here.po"
    path.parent.mkdir(parents=True)
    path.write_text(text, encoding="utf-8")
    for command in ("--update", "--check"):
        assert tool.main([command, *["ru"] * (command == "--update")]) == 2
        assert str(path) in capsys.readouterr().err
    assert path.read_text(encoding="utf-8") == text


def test_check_says_how_complete_each_is(capsys):
    tool.main(["--check"])
    assert "ru 00_start_here: " in capsys.readouterr().out
