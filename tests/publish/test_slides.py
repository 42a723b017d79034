"""The lectures: what minimistral/publish/slides.py makes of a lesson, and its slides in a browser.

Two lessons are run, built and looked at. Where MINIMISTRAL_SLIDES names a folder of lectures,
every slide of every one is looked at instead (`make slides-check`).
"""

import functools
import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import browser as tools
import nbformat
import pytest
from effort import rare
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from playwright.sync_api import Locator, Page, TimeoutError, expect

from minimistral.config import ModelConfig
from minimistral.course.widgets import budget_explorer
from minimistral.publish import slides as build_slides

ROOT = Path(__file__).resolve().parents[2]
LESSONS = sorted((ROOT / "notebooks").glob("*.ipynb"))
SHOTS = ROOT / "build" / "screenshots" / "slides"
WHOLE = os.environ.get("MINIMISTRAL_SLIDES")
QUICK = tools.QUICK

# From metadata to slides


def text(source: str, kind: str | None = "slide", **metadata):
    return new_markdown_cell(source, metadata=with_kind(kind, metadata))


def code(source: str, *outputs, kind: str | None = "fragment"):
    return new_code_cell(source, outputs=list(outputs), metadata=with_kind(kind, {}))


def with_kind(kind: str | None, metadata: dict) -> dict:
    return metadata if kind is None else {"slideshow": {"slide_type": kind}, **metadata}


def printed(output: str):
    return new_output("stream", name="stdout", text=output)


def shown(data: dict, metadata: dict | None = None):
    return new_output("display_data", data=data, metadata=metadata or {})


def deck_of(tmp_path: Path, *cells) -> build_slides.Deck:
    path = tmp_path / "09_try.ipynb"
    nbformat.write(new_notebook(cells=list(cells)), path)
    return build_slides.read(path)


def page_of(tmp_path: Path, *cells) -> str:
    return dict(build_slides.pages([deck_of(tmp_path, *cells)]))["09_try.html"]


TITLE = text("# 09 · Try\n\n*A lesson to try*")


def test_slides_and_subslides(tmp_path):
    deck = deck_of(
        tmp_path, TITLE, text("One.", "-"), text("## Two", "subslide"), text("Three.", "subslide"),
        text("## Four"), text("Five.", None),
    )  # fmt: skip
    assert (deck.title, deck.subtitle) == ("09 · Try", "A lesson to try")
    assert [[slide.heading for slide in section] for section in deck.sections] == [
        ["09 · Try", "Two", "Two"],
        ["Four"],
    ]
    assert [len(slide.cells) for slide in deck.slides] == [2, 1, 1, 2]
    assert "One." in deck.slides[0].cells[1] and "Five." in deck.slides[3].cells[1]


def steps(slide: build_slides.Slide) -> list[tuple[str, int | None]]:
    """The kind of each cell, and the step at which it appears."""
    kinds_and_steps = []
    for cell in slide.cells:
        kind = re.match(r'<div class="cell( fragment)?" data-kind="(\w+)"', cell)
        step = re.match(r'<div class="cell fragment" [^>]*fragment-index="(\d+)"', cell)
        kinds_and_steps.append((kind[2], int(step[1]) if step else None))
    return kinds_and_steps


def test_fragments(tmp_path):
    """Code, then its output; what is no fragment comes with the cell before it."""
    deck = deck_of(
        tmp_path, TITLE, text("A remark.", "fragment"), code("print(1)", printed("1\n")),
        text("With it.", "-"), code("x = 2"), code("print(3)", printed("3\n"), kind="-"),
        text("## Two"), code("print(4)", printed("4\n"), kind="-"),
    )  # fmt: skip
    first, second = deck.slides
    assert steps(first) == [
        ("text", None), ("text", 0), ("code", 1), ("out", 2), ("text", 2), ("code", 3),
        ("code", 3), ("out", 3),
    ]  # fmt: skip
    assert steps(second) == [("text", None), ("code", None), ("out", None)]


def test_what_is_skipped_is_nowhere(tmp_path):
    page = page_of(
        tmp_path, TITLE, text("SECRET", "skip"), code("SECRET = 1", printed("SECRET"), kind="skip")
    )
    assert "SECRET" not in page


def test_folded_answers_open_one_by_one(tmp_path):
    fold = "<details><summary>{}?</summary>\n\nAnswer *{}*.\n\n</details>\n"
    deck = deck_of(tmp_path, TITLE, text("## Ask\n\n" + fold.format(1, 1) + fold.format(2, 2)))
    (cell,) = deck.slides[1].cells
    assert "details" not in cell
    answers = re.findall(r'class="fragment" data-fragment-index="(\d)">\s*<p>Answer <em>(\d)', cell)
    assert answers == [("0", "1"), ("1", "2")]


NOTES = """<details><summary>For the lecturer</summary>

Bring two hands. Say *hello*.

- **Two** (4 minutes). Ask: "who?"
  Wait.
- **Exercise 1 · Three** (1 minute). Vote.
- **Two**: mind the step.

</details>"""


def test_notes_go_to_the_slides_they_name(tmp_path):
    deck = deck_of(
        tmp_path, TITLE, text(NOTES, "notes", tags=["teacher"]), text("## Two"),
        code("a = 1", kind="subslide"), text("### Exercise 1 · Three (★☆☆, 5 minutes)"),
        text("## Four"),
    )  # fmt: skip
    notes = ['*4 minutes.* Ask: "who?"\\\nWait.', "mind the step."]
    assert [slide.notes for slide in deck.slides] == [
        ["Bring two hands. Say *hello*."], notes, notes, ["*1 minute.* Vote."], [],
    ]  # fmt: skip
    assert [slide.minutes for slide in deck.slides] == [None, 4, None, 1, None]
    page = dict(build_slides.pages([deck]))["09_try.html"]
    assert page.count("<aside") == 4 and page.count("<em>hello</em>") == 1
    assert re.search(r"who\?.{0,10}<br ?/?>\s*Wait", page)
    assert re.findall(r'data-timing="(\d+)"', page) == ["240", "60"]
    assert "For the lecturer" not in page and "details" not in page


def test_notes_for_a_slide_that_is_not_there(tmp_path):
    with pytest.raises(build_slides.NotALecture, match=r"09_try\.ipynb: notes for 'Two'"):
        deck_of(tmp_path, TITLE, text(NOTES, "notes"), text("## Too"))


def test_every_lesson_becomes_a_deck_with_notes():
    for path in LESSONS:
        deck = build_slides.read(path)
        assert deck.title.startswith(f"{path.name[:2]} · ") and deck.subtitle
        assert len(deck.sections) > 5
        assert any(slide.notes for slide in deck.sections[0]), path


def check_notes(nb) -> None:
    """Each heading that has slides has an item; their minutes add up to the stated length."""
    slides = [slide for section in build_slides.slides_of(nb) for slide in section]
    headings = list(dict.fromkeys(slide.heading for slide in slides))[1:]  # without the title
    rest, items = build_slides.items_of("\n".join(note for slide in slides for note in slide.notes))

    def full(name: str) -> str:
        return next((full for full in headings if build_slides.is_named(full, name)), name)

    assert [full(item["heading"]) for item in items] == headings, "not one item per heading"
    for item in items:
        at_home = item["heading"].startswith("Exercise ") and item["text"].startswith("(at home)")
        assert item["minutes"] or at_home, f"no minutes: {item['heading']}"

    stated = re.match(r"(?:One lecture of (\d+)|Two lectures of (\d+) and (\d+)) minutes", rest)
    assert stated, "the first line states no length"
    begins = re.search(r'part 2 begins at "(.+?)"', rest)
    planned = [0.0]
    for item in items:
        name = item["heading"].removeprefix("Part 2 · ")
        if begins and name == begins[1].removeprefix("Part 2 · "):
            planned.append(0.0)
        planned[-1] += float(item["minutes"] or 0)
    assert planned == [float(n) for n in stated.groups() if n], "minutes do not add up"


@pytest.mark.parametrize("path", LESSONS, ids=lambda path: path.stem)
def test_notes_cover_the_lecture_and_its_minutes(path):
    check_notes(nbformat.read(path, 4))


TIMED = """<details><summary>For the lecturer</summary>

Two lectures of 5 and 3 minutes; part 2 begins at "Two".

- **One** (4 minutes). Ask.
- **Exercise 1 · Try** (1 minute). Vote.
- **Part 2 · Two** (3 minutes). Say.
- **Exercise 2 · More** (at home). Later.

</details>"""


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("- **One** (4 minutes). Ask.\n", "", "not one item per heading"),
        ("- **Part 2", "- **One** (0 minutes).\n- **Part 2", "not one item per heading"),
        ("**One** (4 minutes)", "**One**", "no minutes: One"),
        ("**One** (4 minutes)", "**One** (at home)", "no minutes: One"),
        ("(at home)", "", "no minutes: Exercise 2 · More"),
        ("Two lectures of 5 and 3 minutes", "Two lectures", "states no length"),
        ("(1 minute)", "(2 minutes)", "minutes do not add up"),
        ("of 5 and 3", "of 4 and 4", "minutes do not add up"),
    ],
)
def test_notes_that_leave_something_out_are_found(old, new, message):
    headings = ["## One", "### Exercise 1 · Try (★☆☆, 5 minutes)", "## Part 2 · Two",
                "### Exercise 2 · More (★★☆, 5 minutes)"]  # fmt: skip

    def lesson(notes):
        cells = [TITLE, text(notes, "notes"), *map(text, headings)]
        return new_notebook(cells=cells)

    check_notes(lesson(TIMED))
    assert old in TIMED
    with pytest.raises(AssertionError, match=message):
        check_notes(lesson(TIMED.replace(old, new)))


def test_a_player_is_live_and_stands_alone(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIMISTRAL_STATIC", "1")
    player = budget_explorer(ModelConfig.mistral_7b())
    data, _ = player._repr_mimebundle_()
    deck = deck_of(tmp_path, TITLE, code("player = budget_explorer(config)\nplayer", shown(data)))
    assert steps(deck.slides[0]) == [("text", None), ("out", 0)]
    assert "mm-host" in deck.slides[0].cells[1] and "renderStatic" in deck.slides[0].cells[1]
    assert "budget_explorer" not in "".join(deck.slides[0].cells)


def test_pictures_carry_their_alt_text_once(tmp_path):
    alt = 'Bars: "a" < b'
    picture = shown({"image/png": "AAAA", "text/plain": alt}, {"image/png": {"alt": alt}})
    below = shown({"text/markdown": f"*{alt}*", "text/plain": alt})
    drawn = shown({"image/svg+xml": "<svg><title>T</title></svg>", "text/plain": "[picture] T"})
    under = shown({"text/markdown": "*T*", "text/plain": "T"})
    page = page_of(tmp_path, TITLE, code("show()", picture, below), code("draw()", drawn, under))
    assert re.findall(r'<img src="data:image/png;base64,AAAA" alt="(.*?)">', page) == [
        html.escape(alt)
    ]
    assert page.count("Bars") == 1 and page.count("<svg>") == 1 and "<em>T</em>" not in page


def test_the_form_of_an_output(tmp_path):
    for data, wanted in [
        ({"text/plain": "a < b"}, '<pre class="out">a &lt; b</pre>'),
        ({"text/plain": "x", "text/html": "<b>x</b>"}, '<div class="html"><b>x</b></div>'),
        ({"text/markdown": "*x*"}, "<em>x</em>"),
        ({"text/latex": "$x^2$"}, "<p>$x^2$</p>"),
    ]:
        assert wanted in page_of(tmp_path, TITLE, code("x", shown(data)))
    page = page_of(tmp_path, TITLE, code("x", printed("\x1b[31mred\x1b[0m & blue\n\n")))
    assert '<pre class="out">red &amp; blue</pre>' in page


def test_maths_comes_only_where_there_is_some(tmp_path):
    assert "mathjax.js" not in page_of(tmp_path, TITLE)
    page = page_of(tmp_path, TITLE, text("$$2 \\cdot \\mathtt{n\\_layers} < a_b$$"))
    assert "mathjax.js" in page
    assert "$$2 \\cdot \\mathtt{n\\_layers} &lt; a_b$$" in page


def test_the_title_slide_says_the_licence(tmp_path):
    page = page_of(tmp_path, TITLE, text("## Two", "subslide"), text("## Three"))
    assert re.findall(r'<section data-heading="(.+?)" data-state="title">', page) == ["09 · Try"]
    assert "Apache License 2.0</footer>" in page
    assert '<link rel="license" href="assets/license.txt">' in page


def test_lessons_link_to_decks(tmp_path):
    page = page_of(tmp_path, TITLE, text("**Next:** [positions](02_rotary_positions.ipynb)."))
    assert '<a href="02_rotary_positions.html">positions</a>' in page


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        (text("A", "slides"), "slide_type must be one of"),
        (code("1 / 0", new_output("error", ename="E", evalue="v", traceback=[])), "an error"),
    ],
)
def test_what_cannot_be_shown_is_named(tmp_path, cell, message):
    with pytest.raises(build_slides.NotALecture, match=f"09_try.ipynb: {message}"):
        deck_of(tmp_path, TITLE, cell)


def test_a_lesson_that_was_not_run(tmp_path, capsys):
    assert build_slides.main(["--to", str(tmp_path / "out"), str(tmp_path / "no.ipynb")]) == 1
    assert "no.ipynb" in capsys.readouterr().err


# Code in pieces


def sources() -> list[str]:
    cells = [cell for path in LESSONS for cell in nbformat.read(path, 4).cells]
    return [cell.source for cell in cells if cell.cell_type == "code"]


def test_pieces_of_code_are_short_and_whole():
    for source in sources():
        lines = source.split("\n")
        pieces = build_slides.cut(source)
        kept = [n for piece in pieces for n in piece]
        assert kept == sorted(set(kept))
        assert all(n in kept for n, line in enumerate(lines) if line.strip()), source
        for piece in pieces:
            assert sum(bool(lines[n].strip()) for n in piece) <= 12, source
        filled = sum(bool(line.strip()) for line in lines)
        assert len(pieces) == -(-filled // 12), source
        # A piece begins a statement: never the inside of a call or a string.
        starts = build_slides.depths_of_statements(source)
        assert all(piece[0] in starts for piece in pieces[1:]), source


def test_coloured_code_keeps_its_text():
    for source in sources():
        pieces = re.findall(
            r'<pre class="code(?: more)?">(.*?)</pre>', build_slides.code(source), re.S
        )
        coloured = "\n".join(html.unescape(re.sub(r"<[^>]+>", "", piece)) for piece in pieces)
        without_blanks = [line for line in source.split("\n") if line.strip()]
        assert [line for line in coloured.split("\n") if line.strip()] == without_blanks


# The folder


def run(*command) -> None:
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def packages() -> None:
    """reveal.js and MathJax, fetched if they are not there."""
    if not all(path.exists() for path in build_slides.ASSETS.values()):
        if shutil.which("npm") is None:
            pytest.skip("no npm, which fetches reveal.js and MathJax")
        run("npm", "ci", "--prefix", "docs", "--no-audit", "--no-fund")


@pytest.fixture(scope="module")
def folder(packages, tmp_path_factory) -> Path:
    """The lectures to look at."""
    if WHOLE:
        return (ROOT / WHOLE).resolve()
    home = tmp_path_factory.mktemp("lectures")
    ran = sorted(tools.static_lessons(tmp_path_factory).glob("*.ipynb"))
    run(sys.executable, "-m", "minimistral.publish.slides", "--to", home / "slides", *ran)
    return home / "slides"


def test_the_index_lists_every_deck(tmp_path, packages):
    """Built from the saved notebooks, so that it takes no time."""
    decks = build_slides.build(LESSONS, tmp_path / "slides")
    page = (tmp_path / "slides" / "index.html").read_text(encoding="utf-8")
    listed = re.findall(r'<a href="([\w-]+)\.html">(.*?)</a>', page)
    assert listed == [(path.stem, deck.title) for path, deck in zip(LESSONS, decks, strict=True)]
    check_addresses(tmp_path / "slides")


def check_addresses(folder: Path) -> None:
    """What a page loads or links to lies in the folder."""
    addresses = set()
    for page in folder.glob("*.html"):
        markup = re.sub(
            r"<script type=\"application/json\">.*?</script>", "", page.read_text(), flags=re.S
        )
        for address in re.findall(r'\s(?:src|href)="([^"]*)"', markup):
            if not address.startswith("data:"):
                assert (folder / address).is_file(), (page.name, address)
                addresses.add(address)
    for sheet in folder.glob("assets/*.css"):
        for address in re.findall(r'url\("?([^")]+)', sheet.read_text()):
            assert address.startswith("data:") or (sheet.parent / address).is_file(), address
    assert {"assets/reveal.js", "assets/slides.css"} <= addresses


def test_a_build_leaves_nothing_old(tmp_path, packages):
    (tmp_path / "slides").mkdir()
    (tmp_path / "slides" / "10_gone.html").write_text("old")
    build_slides.build(LESSONS[:1], tmp_path / "slides")
    assert sorted(path.name for path in (tmp_path / "slides").iterdir()) == [
        "00_start_here.html", "assets", "index.html",
    ]  # fmt: skip


# In a browser


@pytest.fixture(scope="module")
def base(folder):
    """Where a server on this machine has the folder."""

    class Quiet(SimpleHTTPRequestHandler):
        def log_message(self, *_) -> None:
            pass

    handler = functools.partial(Quiet, directory=str(folder))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()


class Lecture:
    """A deck in a browser. Leave it with `close`, which looks whether it stayed clean."""

    def __init__(self, chromium, address: str, **options) -> None:
        self.page: Page = chromium.new_page(
            viewport=options.pop("viewport", {"width": 1280, "height": 720}), **options
        )
        self.watch, self.base = tools.Watch(self.page), address.rsplit("/", 1)[0] + "/"
        self.page.goto(address)
        try:
            self.page.wait_for_function("window.Reveal?.isReady()")
        except TimeoutError:
            pytest.fail(f"{address} did not start: {self.watch.errors}")

    def close(self) -> None:
        assert self.watch.outside(self.base) == []
        assert self.watch.errors == []
        self.page.close()

    @property
    def slides(self) -> list[list[int]]:
        """The index of every slide: its section, and its number in that section."""
        return self.page.evaluate(
            "Reveal.getSlides().map(Reveal.getIndices).map(index => [index.h, index.v ?? 0])"
        )

    @property
    def current(self) -> list[int]:
        """The index of the slide that is shown."""
        return self.page.evaluate("[Reveal.getIndices().h, Reveal.getIndices().v ?? 0]")

    def go(self, slide: list[int]) -> None:
        """Show a slide, with all its steps."""
        self.page.evaluate(
            """([h, v]) => {
              Reveal.slide(h, v, -1);
              while (Reveal.availableFragments().next) Reveal.nextFragment();
            }""",
            slide,
        )


def save(page: Page, name: str, **options) -> None:
    """A screenshot for people to look at, of `make slides-check`."""
    if WHOLE:
        SHOTS.mkdir(parents=True, exist_ok=True)
        page.screenshot(path=SHOTS / f"{name}.png", **options)


def deck_names(folder: Path) -> list[str]:
    return [path.stem for path in sorted(folder.glob("*.html")) if path.stem != "index"]


@pytest.fixture(scope="module")
def lectures(chromium, folder, base):
    """Every deck, opened from the server."""
    opened = {name: Lecture(chromium, f"{base}{name}.html") for name in deck_names(folder)}
    yield opened
    for lecture in opened.values():
        lecture.close()


MEASURE = """() => {
  const section = Reveal.getCurrentSlide();
  const page = section.querySelector(".page");
  const seen = (node) => node.checkVisibility({ visibilityProperty: true, opacityProperty: true });
  const size = (node) => parseFloat(getComputedStyle(node).fontSize);
  const problems = [];
  const walker = document.createTreeWalker(page, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const textNode = walker.currentNode, node = textNode.parentElement;
    const skip = "svg, script, style, mjx-container, [hidden]";
    if (!textNode.textContent.trim() || node.closest(skip)) continue;
    if (!seen(node)) { problems.push(["not shown", textNode.textContent]); continue; }
    const least = node.closest("pre, code, kbd") ? 20 : node.closest("sup, sub") ? 18 : 24;
    if (size(node) < least) problems.push([`${size(node)} px`, textNode.textContent]);
    const range = document.createRange();
    range.selectNodeContents(textNode);
    for (const box of range.getClientRects()) {
      if (box.left < 0 || box.right > 1280 || box.top < 0 || box.bottom > 676)
        problems.push(["outside", textNode.textContent, box.top, box.bottom]);
    }
  }
  const inside = page.querySelectorAll("pre, table, .mm-player, .mm-stage");
  for (const node of [section, page, ...inside]) {
    if (getComputedStyle(node).display === "contents") continue;
    if (node.scrollHeight > node.clientHeight + 1 || node.scrollWidth > node.clientWidth + 1)
      problems.push(["overflows", node.className, node.scrollWidth, node.scrollHeight]);
  }
  const code = [...page.querySelectorAll("pre.code")].map((pre) => pre.textContent).join("\\n");
  const lines = code.split("\\n").filter((line) => line.trim()).length;
  if (lines > 12) problems.push(["lines of code", lines]);
  for (const picture of page.querySelectorAll("figure > *, .mm-stage > svg")) {
    const box = picture.getBoundingClientRect();
    if (box.width < 750 && box.height < 380) problems.push(["small", box.width, box.height]);
    if (box.bottom > 720 || box.right > 1280) problems.push(["outside", picture.tagName]);
  }
  if (!page.innerText.trim()) problems.push(["empty"]);
  if (section.clientWidth !== 1280 || section.clientHeight !== 720) problems.push(["another size"]);
  return problems;
}"""


@pytest.mark.browser
def test_every_slide_fits_and_can_be_read(lectures):
    wrong = {}
    for name, lecture in lectures.items():
        for n, slide in enumerate(lecture.slides, 1):
            lecture.go(slide)
            problems = lecture.page.evaluate(MEASURE)
            if problems:
                wrong[name, n] = problems
            save(lecture.page, f"{name}_{n:02}")
    assert not wrong, json.dumps([[*key, value] for key, value in wrong.items()], indent=1)


KINDS = """() => [...Reveal.getCurrentSlide().querySelectorAll("*")]
  .map(node => `${node.parentElement.tagName} ${node.tagName} ${node.getAttribute("class")}`)"""


@pytest.mark.browser
def test_contrast_and_names(lectures):
    """axe-core finds nothing serious on any slide, nor around it.

    Without `make slides-check`, on each slide with a kind of element that none before it had.
    """
    wrong, seen = [], set()
    for name, lecture in lectures.items():
        for n, slide in enumerate(lecture.slides, 1):
            lecture.go(slide)
            kinds = set(lecture.page.evaluate(KINDS))
            if kinds <= seen and not WHOLE:
                continue
            seen |= kinds
            part = ".present > .page" if n > 1 else None  # the page around the slides once
            for violation in tools.violations(lecture.page, part):
                if violation["impact"] in ("serious", "critical"):
                    nodes = [node["html"][:200] for node in violation["nodes"][:3]]
                    wrong.append((name, n, violation["id"], nodes))
    assert wrong == []


@pytest.mark.browser
def test_every_deck_opens_from_a_file_too(chromium, folder, lectures):
    """The same slides as from a server: nothing is missed there."""
    for name, lecture in lectures.items():
        from_file = Lecture(chromium, (folder / f"{name}.html").as_uri())
        assert from_file.slides == lecture.slides
        hosts = from_file.page.locator(".mm-host").count()
        assert hosts == from_file.page.locator(".mm-live .mm-player").count() > 0
        fonts = "[...document.fonts].map(font => font.status)"
        assert set(from_file.page.evaluate(fonts)) == {"loaded"}
        from_file.close()


@pytest.mark.browser
def test_maths_is_drawn(lectures):
    page = lectures["00_start_here"].page
    assert page.locator("mjx-container svg").count() > 0
    assert page.locator("mjx-merror").count() == 0
    assert "$$" not in page.locator(".slides").inner_text()


@pytest.mark.browser
@pytest.mark.parametrize("key", ["ArrowRight", " ", "PageDown"] if WHOLE else ["ArrowRight"])
def test_one_key_goes_through_the_whole_deck_and_back(lectures, key):
    """Each press shows a step or the next slide; at the end nothing is left hidden."""
    for name in list(lectures)[: None if WHOLE else 1]:
        lecture, page = lectures[name], lectures[name].page
        lecture.go(lecture.slides[-1])
        for slide in reversed(
            lecture.slides
        ):  # so that the steps of a slide seen before are hidden again
            lecture.go(slide)
        page.evaluate("Reveal.slide(0, 0, -1)")
        seen, presses = [lecture.current], 0
        while not page.evaluate("Reveal.isLastSlide() && !Reveal.availableFragments().next"):
            page.keyboard.press(key)
            presses += 1
            if lecture.current != seen[-1]:
                seen.append(lecture.current)
            assert presses < 500, name
        assert seen == lecture.slides
        steps = "document.querySelectorAll('.fragment:not(.visible)').length"
        assert page.evaluate(steps) == 0
        for _ in range(presses):
            page.keyboard.press("ArrowLeft")
        assert lecture.current == [0, 0]


@pytest.mark.browser
def test_keys_that_go_on(lectures):
    """Several keys show the next step or slide, and several the one before."""
    lecture = lectures["00_start_here"]
    state = """() => {
      const { h, v, f } = Reveal.getIndices();
      return [h, v ?? 0, f ?? -1];
    }"""
    lecture.page.evaluate("Reveal.slide(0, 0, -1)")
    states = [lecture.page.evaluate(state)]
    for key in ("ArrowRight", " ", "PageDown", "ArrowRight", " ", "PageDown"):
        lecture.page.keyboard.press(key)
        states.append(lecture.page.evaluate(state))
    assert states == sorted(states) and len({*map(tuple, states)}) == 7
    for before, key in zip(states[-2::-1], ["ArrowLeft", "PageUp"] * 3, strict=True):
        lecture.page.keyboard.press(key)
        assert lecture.page.evaluate(state)[:2] == before[:2]


def players(lecture: Lecture) -> list[tuple[list[int], Locator]]:
    """Each player, behind the index of its slide."""
    located = lecture.page.locator(".mm-player")
    index = "node => [Reveal.getIndices(node.closest('section'))].map(p => [p.h, p.v ?? 0])[0]"
    return [(player.evaluate(index), player) for player in located.all()]


SENTENCES = """player => {
  const host = player.closest(".mm-host").querySelector("script[type='application/json']");
  return JSON.parse(host.textContent).frames.map(frame => frame[1]);
}"""


@pytest.mark.browser
def test_every_player_is_driven_and_moves_no_slide(lectures):
    for name, lecture in lectures.items():
        for slide, player in players(lecture):
            lecture.go(slide)
            expect(player.locator(".mm-title")).to_be_visible()
            drive(player)
            assert lecture.current == slide, name
            save(lecture.page, f"{name}_player_{slide[0]}")


def drive(player: Locator) -> None:
    """By mouse and by key, from end to end, with its words and its picture following."""
    sliders, words = player.get_by_role("slider"), player.locator(".mm-words")
    sentences = player.evaluate(SENTENCES)
    for n in range(sliders.count()):
        slider = sliders.nth(n)
        last = int(slider.get_attribute("max"))
        for key, at in (("End", last), ("ArrowRight", last), ("ArrowLeft", last - 1), ("Home", 0)):
            slider.press(key)
            expect(slider).to_have_value(str(max(at, 0)))
            assert words.text_content() in sentences
        before = words.text_content()
        box = slider.bounding_box()
        player.page.mouse.click(box["x"] + box["width"] - 4, box["y"] + box["height"] / 2)
        expect(slider).to_have_value(str(last))
        assert last == 0 or words.text_content() != before
    button = player.locator(".mm-play")
    button.press("Enter")
    expect(button).to_contain_text("Pause")
    button.press(" ")
    expect(button).to_contain_text("Play")


ROWS = """player => {
  const host = player.closest(".mm-host").querySelector("script[type='application/json']");
  const labels = JSON.parse(host.textContent).frames.map(frame =>
    [...frame[0].matchAll(/aria-label="([^"]*)"/g)].map(match => match[1]));
  return labels.flat();
}"""


@pytest.mark.browser
def test_a_player_fits_at_each_of_its_settings(lectures):
    """Its longest sentences, of a picture and of a row, push nothing off the slide."""
    for name, lecture in lectures.items():
        for slide, player in players(lecture):
            lecture.go(slide)
            for selector, texts in ((".mm-words", SENTENCES), (".mm-detail", ROWS)):
                node = player.locator(selector)
                for longest in sorted(player.evaluate(texts), key=len)[-5:]:
                    node.evaluate("(node, text) => { node.textContent = text; }", longest)
                    assert lecture.page.evaluate(MEASURE) == [], (name, longest)


@pytest.mark.browser
def test_keys_go_where_the_focus_is(lectures):
    """While a player has the focus, no plain key moves the slides; Escape gives them back."""
    lecture = lectures["00_start_here"]
    page = lecture.page
    slide, player = players(lecture)[0]
    lecture.go(slide)
    focused = "document.activeElement.closest('.mm-player') !== null"
    for control in (player.get_by_role("slider").first, player.locator(".mm-play")):
        control.focus()
        for key in ("ArrowRight", "ArrowLeft", "ArrowDown", "ArrowUp", "Home", "End", " ", " ",
                    "PageDown", "PageUp", "n", "p", "s", "o", "f", "b", "?"):  # fmt: skip
            page.keyboard.press(key)
            assert lecture.current == slide and page.evaluate(focused), key
        assert page.evaluate("Reveal.isOverview() || Reveal.isPaused()") is False
        page.keyboard.press("Escape")
        assert page.evaluate(focused) is False
        assert page.evaluate("Reveal.isOverview()") is False
    page.keyboard.press("ArrowRight")
    assert lecture.current != slide
    page.keyboard.press("ArrowLeft")
    assert lecture.current == slide
    player.get_by_role("slider").first.focus()
    page.evaluate("Reveal.next()")  # as by a click on the arrow in the corner
    assert page.evaluate(focused) is False
    page.keyboard.press("Escape")
    assert page.evaluate("Reveal.isOverview()") is True
    page.keyboard.press("Escape")


@pytest.mark.browser
def test_tab_stays_on_the_slide_and_reaches_its_controls(lectures):
    for name, lecture in lectures.items():
        for slide, player in players(lecture):
            lecture.go(slide)
            lecture.page.evaluate("document.activeElement.blur()")
            wanted = player.locator("input, button").count()
            inside, reached = (
                set(),
                """() => {
              const node = document.activeElement;
              const here = node === document.body || !node.closest(".slides") ||
                Reveal.getCurrentSlide().contains(node);
              const controls = node.closest(".mm-player")?.querySelectorAll("input, button");
              return [here, [...(controls ?? [])].indexOf(node)];
            }""",
            )
            for _ in range(wanted + 12):
                lecture.page.keyboard.press("Tab")
                here, control = lecture.page.evaluate(reached)
                assert here, name
                inside.add(control)
            assert set(range(wanted)) <= inside, (name, inside)


@pytest.mark.browser
@pytest.mark.parametrize("origin", [rare("server"), "file"])
def test_speaker_notes(chromium, folder, base, origin):
    """S opens a window with the notes of the slide, and it follows the slides."""
    start = base if origin == "server" else folder.as_uri() + "/"
    lecture = Lecture(chromium, f"{start}00_start_here.html")
    page = lecture.page
    with page.expect_popup() as opened:
        page.keyboard.press("s")
    speaker = opened.value
    watch = tools.Watch(speaker)
    notes = speaker.locator(".speaker-controls-notes .value")
    for slide in lecture.slides:
        lecture.go(slide)
        wanted = page.evaluate("Reveal.getCurrentSlide().querySelector('aside.notes')?.textContent")
        wanted = " ".join((wanted or "").split())
        expect(notes).to_be_visible(visible=wanted != "")
        if wanted:
            expect(notes).to_have_text(wanted)
    lecture.go([0, 1])
    expect(notes).to_be_visible()
    expect(notes).to_contain_text("minutes")
    for frame in speaker.frames[1:]:
        frame.wait_for_function("n => Reveal.getTotalSlides() === n", arg=len(lecture.slides))
    speaker.frames[1].wait_for_function("Reveal.getIndices().h === 0")
    save(speaker, f"speaker_{origin}")
    assert watch.errors == [] and watch.outside(start, "about:") == []
    speaker.close()
    lecture.close()


@pytest.mark.browser
@pytest.mark.parametrize("width", [390, 1280])
def test_the_index(chromium, folder, base, width):
    page = chromium.new_page(viewport={"width": width, "height": 800})
    watch = tools.Watch(page)
    page.goto(base + "index.html")
    assert page.evaluate("document.scrollingElement.scrollWidth") <= width
    assert [v["id"] for v in tools.violations(page)] == []
    save(page, f"index_{width}", full_page=True)
    links = page.locator("li a")
    assert links.count() == len(deck_names(folder))
    links.first.press("Enter")
    page.wait_for_function("window.Reveal?.isReady()")
    assert watch.errors == [] and watch.outside(base) == []
    page.close()


@pytest.mark.browser
def test_a_deck_on_a_phone(chromium, base):
    lecture = Lecture(chromium, f"{base}00_start_here.html", viewport={"width": 390, "height": 844})
    assert lecture.page.evaluate("document.scrollingElement.scrollWidth") <= 390
    save(lecture.page, "phone")
    lecture.close()
