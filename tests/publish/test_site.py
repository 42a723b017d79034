"""The web page, built by minimistral/publish/site.py: its files, and its pages in a browser.

Two lessons are run, built and looked at. Where MINIMISTRAL_SITE names a site that was built,
every page of that one is looked at instead (`make site-check`).
"""

import doctest
import functools
import html
import json
import os
import re
import shutil
import subprocess
import sys
import threading
from dataclasses import fields
from html.parser import HTMLParser
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from itertools import pairwise
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import browser as tools
import pytest
from effort import rare
from playwright.sync_api import Locator, Page, expect

import minimistral
from minimistral import ModelConfig
from minimistral.course.covers import STAGES
from minimistral.ledger import CLAIMS, VERDICTS
from minimistral.publish import site as build_site

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
SHOTS = ROOT / "build" / "screenshots" / "site"
WHOLE = os.environ.get("MINIMISTRAL_SITE")
QUICK = tools.QUICK
sys.path.insert(0, str(DOCS))

import course  # noqa: E402

# What needs no page

GLOSSARY = (DOCS / "glossary.md").read_text(encoding="utf-8")
TERMS = course.glossary_terms(GLOSSARY)


def test_the_glossary_has_every_letter_and_every_number():
    legend = minimistral.__doc__.split("everywhere:")[1]
    letters = re.findall(r"\b([A-Z]) [a-z]", legend)
    assert sorted(letters) == sorted("BTSHGDEFVWL")
    assert set(letters) <= set(TERMS)
    assert {field.name for field in fields(ModelConfig)} <= set(TERMS)
    assert len(TERMS) == len(set(TERMS))


def lesson_text(path: Path) -> str:
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    return "\n\n".join("".join(c["source"]) for c in cells if c["cell_type"] == "markdown")


LESSONS = {path.name[:2]: path for path in sorted((ROOT / "notebooks").glob("*.ipynb"))}


def test_the_glossary_has_no_term_that_no_lesson_uses():
    text = "\n".join(map(lesson_text, LESSONS.values()))
    search = course.pattern(TERMS)
    ordered = sorted(TERMS, key=len, reverse=True)
    used = {ordered[m.lastindex - 1] for m in search.finditer(text.replace("`", " "))}
    of_the_code = {"L", "norm_eps"}
    assert [term for term in TERMS if term not in used | of_the_code] == []


def test_the_glossary_has_every_term_that_a_lesson_defines():
    """In a list, a term in bold with a colon or a description behind it is being defined."""
    search = course.pattern(TERMS)
    missing = []
    for number, path in LESSONS.items():
        for term in re.findall(r"^\s*- (?:a )?\*\*([a-z][a-z -]+)\*\*", lesson_text(path), re.M):
            if not search.search(term):
                missing.append((number, term))
    assert missing == []


@pytest.mark.parametrize(
    ("text", "terms"),
    [
        ("Two queries and a key", ["queries", "key"]),
        ("The KV cache, then caches", ["KV cache", "caches"]),
        ("Masks. A mask", ["Masks", "mask"]),
        ("(B, T), W = 4, 2 W; x @ w.T is no letter", ["B", "T", "W", "W"]),
        ("T² or 7B or 131K or my_mask(T)", ["T"]),
        ("keyboard, monkey, unmasked, layered", []),
        ("key/value heads share", ["key/value heads"]),
        ("the arrow keys, [T]he prompt; K and V of K layers", ["prompt", "K", "layers"]),
        ("logits, softmaxes", ["logits", "softmaxes"]),
        ("Wilson’s interval", ["Wilson’s interval"]),
    ],
)
def test_terms_are_found(text, terms):
    assert [m[0] for m in course.pattern(TERMS).finditer(text)] == terms


def test_docstrings_are_plain_text():
    assert doctest.testmod(course).failed == 0
    lines = ["x * y and `x * y`, a_. Raises TypeError", "or ValueError.", "", ">>> a * b", "6"]
    course.escape_docstring(None, "function", "f", None, None, lines)
    expected = [r"x \* y and `x * y`, a\_.", "", "Raises TypeError", "or ValueError.", "",
                ">>> a * b", "6", ""]  # fmt: skip
    assert lines == expected


def test_the_settings_name_no_other_machine():
    files = [DOCS / "conf.py", DOCS / "course.py", *DOCS.glob("_*/*"), *DOCS.rglob("*.md")]
    files = [path for path in files if not {"node_modules", "__pycache__"} & {*path.parts}]
    assert len(files) > 12
    for path in files:
        text = path.read_text(encoding="utf-8").replace("http://www.w3.org/2000/svg", "")
        assert not re.search(r"https?:|//cdn|@import|url\(", text), path


def test_a_file_that_a_lesson_links_to_comes_along(tmp_path):
    lesson = tmp_path / "09_links.ipynb"
    text = "[x](../figures/shapes.svg) and [y](../minimistral/np/mask.py#L3) and [z](00.ipynb)"
    lesson.write_text(json.dumps({"cells": [{"source": [text]}]}), encoding="utf-8")
    source = tmp_path / "source"
    build_site.gather([lesson], source)
    for name in ("figures/shapes.svg", "minimistral/np/mask.py", "notebooks/09_links.ipynb",
                 "index.md", "api/np.md", "README.md"):  # fmt: skip
        assert (source / name).is_file(), name
    assert not (source / "node_modules").exists()
    lesson.write_text(json.dumps({"cells": [{"source": ["[x](../no.svg)"]}]}), encoding="utf-8")
    with pytest.raises(FileNotFoundError):
        build_site.gather([lesson], source)


# The site


def run(*command) -> None:
    done = subprocess.run([*map(str, command)], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


def give_up(reason: str) -> None:
    """Skip, but not where everything should be there."""
    if os.environ.get("CI") and sys.platform == "linux":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def lessons(tmp_path_factory) -> Path:
    """A folder of lessons that were run for pages."""
    if WHOLE:
        return ROOT / "build" / "lessons"
    return tools.static_lessons(tmp_path_factory)


@pytest.fixture(scope="module")
def site(lessons, tmp_path_factory) -> Path:
    if WHOLE:
        return (ROOT / WHOLE).resolve()
    if not build_site.MATHJAX.exists():
        if shutil.which("npm") is None:
            give_up("no npm on PATH, which fetches MathJax")
        run("npm", "ci", "--prefix", "docs", "--no-audit", "--no-fund")
    output = tmp_path_factory.mktemp("site") / "site"
    build = [sys.executable, "-m", "minimistral.publish.site"]
    run(*build, *QUICK, "--lessons", lessons, "--output", output, "--language", "ru")
    return output


def names_of(anchors) -> set[str]:
    return {term for term in TERMS if re.sub(r"[^\w-]", "-", term) in anchors}


class Reader(HTMLParser):
    """What a page refers to: what it loads, what it links to, and its anchors."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.loads: list[str] = []
        self.links: list[str] = []
        self.ids: list[str] = []
        self.images: list[dict] = []
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag, attrs):
        values = dict(attrs)
        if values.get("id"):
            self.ids.append(values["id"])
        if tag == "img":
            self.images.append(values)
        for name in ("src", "href", "srcset", "data", "action", "poster"):
            if values.get(name):
                (self.links if tag == "a" else self.loads).append(values[name])


@pytest.fixture(scope="module")
def pages(site) -> dict[Path, Reader]:
    return {path: Reader(path) for path in sorted(site.rglob("*.html"))}


def lesson_pages(site: Path) -> list[Path]:
    return sorted((site / "notebooks").glob("*.html"))


def is_not_built(link: str) -> bool:
    """Whether it leads to a lesson that is not among the few that `make test` builds."""
    lesson = re.search(r"(?:^|[/#])(\d\d)_\w+\.(?:ipynb|html)$", link)
    return bool(lesson and lesson[1] not in QUICK and not WHOLE)


@pytest.mark.browser  # not for Chromium, but so that one process builds the site once
class TestFiles:
    def test_every_lesson_has_its_page(self, site, lessons):
        assert [p.stem for p in lesson_pages(site)] == sorted(p.stem for p in lessons.glob("*"))

    def test_nothing_is_loaded_from_another_machine(self, site, pages):
        for path, page in pages.items():
            assert [url for url in page.loads if urlsplit(url).netloc] == [], path
            assert not [url for url in page.loads if url.startswith("/")], path
        for path in site.rglob("*.css"):
            text = path.read_text(encoding="utf-8")
            assert not re.search(r"@import|url\(['\"]?(https?:)?//|@font-face", text), path

    def test_every_link_and_file_is_there(self, site, pages):
        for path, page in pages.items():
            for link in {*page.links, *page.loads}:
                if urlsplit(link).scheme or is_not_built(link):
                    continue
                file, anchor = urldefrag(unquote(link))
                file = file.partition("?")[0]
                target = (path.parent / file).resolve() if file else path
                assert target.is_relative_to(site) and target.is_file(), (path, link)
                if anchor and target in pages:
                    assert anchor in pages[target].ids, (path, link)

    def test_every_page_says_the_licence(self, site, pages):
        for path in pages:
            text = path.read_text(encoding="utf-8")
            assert text.count('rel="license"') == 2 and "Apache License 2.0" in text, path
        licence = (site / "_static" / "license.txt").read_text(encoding="utf-8")
        assert licence == (ROOT / "LICENSE").read_text(encoding="utf-8")

    def test_no_id_twice(self, pages):
        for path, page in pages.items():
            if "_modules" not in path.parts:
                assert {name for name in page.ids if page.ids.count(name) > 1} == set(), path

    def test_the_lessons_come_in_order(self, site):
        for path in (site / "index.html", lesson_pages(site)[0]):
            tree = path.read_text(encoding="utf-8").split('class="sidebar-tree"')[1]
            tree = tree.split("</aside>")[0]
            numbers = re.findall(r">(\d\d) · ", tree)
            assert numbers == [page.name[:2] for page in lesson_pages(site)], path

    def test_previous_and_next(self, site):
        chain = [site / "index.html", *lesson_pages(site), site / "glossary.html"]
        for before, path in pairwise(chain):
            text = before.read_text(encoding="utf-8")
            assert re.search(rf'class="next-page" href="[^"]*{path.name}"', text), before
            text = path.read_text(encoding="utf-8")
            assert re.search(rf'class="prev-page" href="[^"]*{before.name}"', text), path

    def test_the_home_page_maps_the_course(self, site):
        text = (site / "index.html").read_text(encoding="utf-8")
        cards = text.split('class="course-stage')[1:]
        lessons = [int(path.name[:2]) for path in lesson_pages(site)]
        assert len(cards) == len({min(n for _, n in STAGES if n >= k) for k in lessons})
        cards = "".join(cards)
        for path in lesson_pages(site):
            assert f'href="notebooks/{path.name}"' in cards
        assert re.findall(r"(\d+) minutes", cards)[0] == "45"
        assert cards.count("Your model gains") == len(lesson_pages(site))
        assert text.count("mm-host") > 0
        for title in course.planned((ROOT / "README.md").read_text(encoding="utf-8")):
            assert title.split(":")[0] in text

    def test_pictures_have_alt_texts(self, site, pages, lessons):
        shown = 0
        for path in lesson_pages(site):
            for image in pages[path].images:
                shown += 1
                assert len(image.get("alt", "")) > 20 and "/" not in image["alt"][:3], image
                assert not image["alt"].endswith((".png", ".svg")), image
        plots = sum(path.read_text("utf-8").count('"image/png": "') for path in lessons.glob("*"))
        assert shown >= plots  # the lessons that make test builds may have none

    def test_cells_are_folded_removed_and_live(self, site, lessons):
        """Solutions folded, the lecturer's cells gone, every player there."""
        for path in lesson_pages(site):
            text = path.read_text(encoding="utf-8")
            cells = json.loads((lessons / f"{path.stem}.ipynb").read_text("utf-8"))["cells"]
            tags = [tag for cell in cells for tag in cell["metadata"].get("tags", [])]
            assert tags.count("teacher") > 0 and "For the lecturer" not in text
            assert tags.count("solution") == text.count('<details class="solution">') > 0
            assert tags.count("hide-input") == text.count('<details class="code">')
            outputs = json.dumps([cell.get("outputs") for cell in cells])
            players = outputs.count('class=\\\\\\"mm-host') + outputs.count('class=\\"mm-host')
            assert text.count('<div class="mm-host">') == players > 0

    def test_first_uses_lead_to_the_glossary(self, site):
        first: dict[str, str] = {}
        for path in lesson_pages(site):
            text = path.read_text(encoding="utf-8")
            targets = re.findall(r'class="first-use" id="[^"]+"><a [^>]*#term-([^"]+)"', text)
            assert len(targets) == len(set(targets)) >= 10, path
            for term in targets:
                first.setdefault(term, path.name)
        glossary = (site / "glossary.html").read_text(encoding="utf-8")
        terms = re.findall(r'<dt id="term-([^"]+)"', glossary)
        assert sorted(terms) == sorted(re.sub(r"[^\w-]", "-", term) for term in TERMS)
        assert {"W", "dim", "token", "key"} <= set(first) <= set(terms)
        for entry in glossary.split("<dt ")[1:]:
            term = re.match(r'id="term-([^"]+)"', entry)[1]
            back = re.search(r'First used in <a [^>]*href="notebooks/([^"#]+)#first-', entry)
            if back and "</dd>" in entry.split("<dt")[0] and term in first:
                assert back[1] <= first[term], term  # by this name or by its other one
        if WHOLE:
            assert set(TERMS) - {"L", "norm_eps"} - names_of(first) == set()

    def test_the_ledger_tells_every_claim(self, site, pages):
        text = (site / "ledger.html").read_text(encoding="utf-8")
        sections = re.findall(r'<section class="claim" id="([^"]+)">(.*?)</section>', text, re.S)
        assert [slug for slug, _ in sections] == [claim.slug for claim in CLAIMS]
        for claim, (_, section) in zip(CLAIMS, sections, strict=True):
            plain = html.unescape(re.sub(r"<[^>]+>", "", section)).replace("’", "'")
            assert claim.claim.rstrip(".") in plain
            for heading, said in claim.lines().items():
                assert f"{heading}: {said}" in plain, claim.slug
            for number in claim.lessons:
                built = [path.name for path in lesson_pages(site) if path.name.startswith(number)]
                assert all(f'href="notebooks/{name}"' in section for name in built)
        for verdict in VERDICTS:
            count = sum(claim.verdict == verdict for claim in CLAIMS)
            assert re.search(rf"<p>{verdict}</p></td>\s*<td><p>{count}</p>", text), verdict

    def test_a_lesson_links_the_claims_that_it_names(self, site, lessons):
        slugs = {claim.slug for claim in CLAIMS}
        for path in lesson_pages(site):
            named = set(re.findall(r"`([a-z0-9-]+)`", lesson_text(lessons / f"{path.stem}.ipynb")))
            text = path.read_text(encoding="utf-8")
            linked = re.findall(r'href="\.\./ledger\.html#([^"]+)"', text)
            assert set(linked) == named & slugs

    def test_a_translation_says_which_language_is_what(self, site):
        """The page is Russian, its code and outputs English, and each page leads to the other."""
        name = lesson_pages(site)[0].name
        text = (site / "ru" / "notebooks" / name).read_text(encoding="utf-8")
        assert re.search(r'<html [^>]*lang="ru"', text) and "От девяти чисел" in text
        cells = re.findall(r'<div (.*?)class="cell_(?:in|out)put', text)
        assert len(cells) > 30 and set(cells) == {'lang="en" '}
        words = (">A solution<", "Previous", "On this page", "Back to top", ">Search<")
        assert [word for word in words if word in text] == []
        switch = r'<p class="languages">\s*<a href="([^"]+)" hreflang="(\w+)" lang="\w+">(\w+)</a>'
        assert re.findall(switch, text) == [(f"../../notebooks/{name}", "en", "English")]
        english = (site / "notebooks" / name).read_text(encoding="utf-8")
        assert re.findall(switch, english) == [(f"../ru/notebooks/{name}", "ru", "Русский")]
        assert re.search(r'<html [^>]*lang="en"', english) and '<div lang="en"' not in english
        untranslated = lesson_pages(site)[1].read_text(encoding="utf-8")
        assert 'class="languages"' not in untranslated

    def test_the_code_is_documented(self, site):
        from minimistral import np as mm

        text = (site / "api" / "np.html").read_text(encoding="utf-8")
        for name in mm.__all__:
            assert f'id="minimistral.np.{name}"' in text, name
        assert "highlight-pycon" in text or "highlight-default" in text
        assert 'class="viewcode-link' in text
        assert (site / "_modules" / "minimistral" / "np" / "mask.html").is_file()


# In a browser

PREFIX = "/some/path/"


class UnderAPath(SimpleHTTPRequestHandler):
    """Serves the site as if it were published under a path of a larger one."""

    def translate_path(self, path: str) -> str:
        inside = path.startswith(PREFIX)
        return super().translate_path(path[len(PREFIX) - 1 :]) if inside else os.devnull + "/no"

    def log_message(self, *args) -> None:
        pass


@pytest.fixture(scope="module")
def base(site):
    handler = functools.partial(UnderAPath, directory=str(site))
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}"
        server.shutdown()


def names(site: Path) -> list[str]:
    """The pages to look at."""
    every = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    if WHOLE:
        return every
    some = (
        "index",
        "glossary",
        "ledger",
        "search",
        "teaching",
        "api/np",
        "_modules/minimistral/np/mask",
        "notebooks/",
        "ru/index",
        "ru/notebooks/",
    )
    return [name for name in every if name.startswith(some)]


LIKE_OTHERS = ("api/", "teaching", "notebooks/06")
VIEWS = [(1280, "light"), (390, "dark")]  # every page in the light and in the dark, wide and narrow
if WHOLE:
    VIEWS += [(1280, "dark"), (390, "light")]


LOOK = """() => {
  const scrolls = node => ["auto", "scroll"].includes(getComputedStyle(node).overflowX);
  const beyond = node => node.getBoundingClientRect().right > innerWidth + 1;
  const cut = node => { // wider than the page, and in no box of the article that scrolls
    if (!beyond(node) || !node.checkVisibility() || node.parentElement.closest("svg")) return false;
    while ((node = node.parentElement).tagName !== "ARTICLE")
      if (scrolls(node) && !beyond(node)) return false;
    return true;
  };
  const count = selector => document.querySelectorAll(selector).length;
  const all = [...document.querySelectorAll("article *")];
  return {
    wide: document.scrollingElement.scrollWidth > innerWidth,
    cut: all.filter(cut).slice(0, 3).map(node => node.outerHTML.slice(0, 200)),
    idle: count(".mm-host") - count(".mm-live .mm-player"),
    background: getComputedStyle(document.body).backgroundColor,
  };
}"""


@pytest.mark.browser
@pytest.mark.parametrize(("width", "scheme"), VIEWS)
def test_pages_load_fit_and_are_accessible(site, base, chromium, width, scheme):
    """No error, no request that leaves, nothing wider than the page; axe-core finds nothing.

    axe-core takes seconds for a page, so it sees each of some in one view, and not those whose
    kinds of elements another one has; all of a whole site in every view.
    """
    page = chromium.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
    watch = tools.Watch(page)
    wrong = {}
    mine = VIEWS.index((width, scheme))
    for n, name in enumerate(names(site)):
        page.goto(base + name)
        page.evaluate("document.fonts.ready")
        seen = page.evaluate(LOOK)
        background = sum(map(int, re.findall(r"\d+", seen["background"])[:3]))
        assert (background < 200) == (scheme == "dark"), (name, seen)
        problems = [(key, seen[key]) for key in ("wide", "cut", "idle") if seen[key]]
        looked_at = "_modules" not in name or name.endswith("mask.html")
        if WHOLE and looked_at:
            SHOTS.mkdir(parents=True, exist_ok=True)
            shot = f"{name.removesuffix('.html').replace('/', '_')}_{width}_{scheme}.png"
            page.screenshot(path=SHOTS / shot, full_page=True)
        if looked_at and (WHOLE or (n % len(VIEWS) == mine and not name.startswith(LIKE_OTHERS))):
            problems += axe_violations(page)
        if watch.errors or watch.outside(base):
            problems += [watch.errors.copy(), watch.outside(base)]
        watch.errors.clear()
        watch.urls.clear()
        if problems:
            wrong[name] = problems
    page.close()
    assert wrong == {}


def axe_violations(page: Page) -> list:
    """What axe-core finds, with every fold opened."""
    page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
    page.evaluate("new Promise(requestAnimationFrame)")
    found = tools.violations(page)
    return [(v["id"], v["impact"], [n["html"][:200] for n in v["nodes"]][:3]) for v in found]


@pytest.mark.browser
def test_maths_is_drawn(site, base, chromium):
    page = chromium.new_page()
    drawn = 0
    for path in lesson_pages(site):
        page.goto(f"{base}notebooks/{path.name}")
        n_formulas = page.locator(".math").count()
        if n_formulas:
            expect(page.locator(".math mjx-container > svg")).to_have_count(n_formulas)
            expect(page.locator("mjx-merror")).to_have_count(0)
            drawn += n_formulas
    page.close()
    assert drawn > 0


@pytest.mark.browser
def test_every_player_is_driven(site, base, chromium):
    """By slider and by key: the words and the picture are those of Python's frame."""
    page = chromium.new_page(viewport={"width": 1280, "height": 900})
    watch, driven = tools.Watch(page), 0
    for path in (site / "index.html", site / "ledger.html", *lesson_pages(site)):
        page.goto(base + path.relative_to(site).as_posix())
        text = path.read_text(encoding="utf-8")
        script = r'<script type="application/json">(.*?)</script>'
        states = [json.loads(state) for state in re.findall(script, text, re.S)]
        players = page.locator(".mm-player")
        expect(players).to_have_count(len(states))
        for n, state in enumerate(states):
            drive(players.nth(n), state)
            driven += 1
    assert driven >= 4 and watch.errors == [] and watch.outside(base) == []
    page.close()


SHOWN = """player => {
  const svg = player.querySelector(".mm-stage svg").cloneNode(true);
  svg.querySelectorAll("[tabindex]").forEach(node => node.removeAttribute("tabindex"));
  return [svg.outerHTML, player.querySelector(".mm-words").textContent];
}"""
PARSED = """svg => {
  const box = document.createElement("div");
  box.innerHTML = svg;
  box.querySelectorAll("[tabindex]").forEach(node => node.removeAttribute("tabindex"));
  return box.firstElementChild.outerHTML;
}"""  # which row takes Tab is the player's own matter


def drive(player: Locator, state: dict) -> None:
    """Move each slider through its values, the others unchanged; then use the keys.

    Of a whole site through all of them, and else through one in four.
    """
    sliders, index = player.get_by_role("slider"), list(state["index"])
    lengths = [len(slider["labels"]) for slider in state["sliders"]]
    expect(sliders).to_have_count(len(lengths))

    def check() -> None:
        frame = 0
        for at, length in zip(index, lengths, strict=True):
            frame = frame * length + at
        svg, text = state["frames"][frame]
        shown = player.evaluate(SHOWN)
        assert shown == [player.page.evaluate(PARSED, svg), text], index
        labels = [s["labels"][at] for s, at in zip(state["sliders"], index, strict=True)]
        assert player.locator(".mm-value").all_inner_texts() == labels

    check()
    for s, length in enumerate(lengths):
        start = index[s]
        for at in range(0, length, 1 if WHOLE else 4):
            sliders.nth(s).fill(str(at))
            index[s] = at
            check()
        for key, to in (("Home", 0), ("ArrowRight", 1), ("End", -1), ("ArrowLeft", -2)):
            sliders.nth(s).press(key)
            index[s] = range(length)[to] if length > 1 else 0
            check()
        sliders.nth(s).fill(str(start))
        index[s] = start
        check()


CONTROLS = """() => {
  const controls = [...document.querySelectorAll(
    "a[href], button, input, select, textarea, summary, [tabindex='0']")];
  return controls.filter(node => node.checkVisibility({ visibilityProperty: true })
      && !node.disabled && node.tabIndex >= 0)
    .map((node, n) => { node.dataset.control = n; return node.outerHTML.slice(0, 120); });
}"""
HERE = """() => {
  const node = document.activeElement;
  const box = node.getBoundingClientRect();
  const seen = box.width > 0 && box.right > 0 && box.left < innerWidth;
  return [node.dataset.control ?? null, seen];
}"""


@pytest.mark.browser
@pytest.mark.parametrize("width", [1280, rare(390)])
def test_tab_reaches_every_control(site, base, chromium, width):
    """Of the home page, the ledger and the first lesson, or of every lesson of a whole site."""
    page = chromium.new_page(viewport={"width": width, "height": 900})
    lessons = lesson_pages(site)[: None if WHOLE else 1]
    for name in ("index.html", "ledger.html", *(f"notebooks/{path.name}" for path in lessons)):
        page.goto(base + name)
        page.evaluate("document.querySelectorAll('details').forEach(fold => { fold.open = true; })")
        page.evaluate("new Promise(requestAnimationFrame)")
        controls, reached = page.evaluate(CONTROLS), set()
        for _ in range(len(controls) + 5):
            page.keyboard.press("Tab")
            control, seen = page.evaluate(HERE)
            if control is None:
                continue
            assert seen, (name, controls[int(control)])
            reached.add(int(control))
        missed = [html for n, html in enumerate(controls) if n not in reached]
        assert missed == [], name
    page.close()


@pytest.mark.browser
def test_the_drawers_open_by_key(site, base, chromium):
    """On a phone the list of pages and the page's contents are behind buttons."""
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(f"{base}notebooks/{lesson_pages(site)[0].name}")
    for name, drawer in (("Pages", ".sidebar-drawer"), ("On this page", ".toc-drawer")):
        button = page.get_by_role("button", name=name, exact=True)
        for key in ("Enter", " "):
            expect(page.locator(drawer)).to_be_hidden()
            button.focus()
            page.keyboard.press(key)
            assert page.evaluate("document.activeElement.closest('aside').className") == drawer[1:]
            expect(button).to_have_attribute("aria-expanded", "true")
            page.keyboard.press("Escape")
            expect(button).to_be_focused()
    page.close()


@pytest.mark.browser
def test_a_wide_picture_scrolls_by_key(base, chromium):
    page = chromium.new_page(viewport={"width": 390, "height": 844})
    page.goto(base)
    stage = page.locator(".mm-stage")
    text = page.locator(".mm-words").inner_text()
    page.locator(".mm-play").focus()
    page.keyboard.press("Tab")
    expect(stage).to_be_focused()
    for _ in range(3):
        page.keyboard.press("ArrowRight")
    tools.until(lambda: stage.evaluate("node => node.scrollLeft") > 50)
    expect(page.locator(".mm-words")).to_have_text(text)
    page.set_viewport_size({"width": 1280, "height": 844})
    expect(stage).not_to_have_attribute("tabindex", "0")
    page.close()


@pytest.mark.browser
def test_search_finds_a_lesson(site, base, chromium):
    page = chromium.new_page()
    watch = tools.Watch(page)
    page.goto(base)
    page.get_by_role("textbox", name="Search").fill("rolling buffer")
    page.keyboard.press("Enter")
    results = page.locator("#search-results li a")
    expect(results.filter(has_text="06 · Keep only W tokens in memory").first).to_be_visible()
    results.filter(has_text="06 ·").first.click()
    expect(page.locator("h1")).to_contain_text("06 · Keep only W tokens in memory")
    assert watch.errors == [] and watch.outside(base) == []
    page.close()


@pytest.mark.browser
def test_the_russian_page_in_a_browser(site, base, chromium):
    """From the English page and back; its letters are drawn, and it is found by a word of it."""
    page = chromium.new_page()
    watch = tools.Watch(page)
    page.goto(f"{base}notebooks/{lesson_pages(site)[0].name}")
    page.get_by_role("link", name="Русский").click()
    expect(page.locator("html")).to_have_attribute("lang", "ru")
    expect(page.locator("h1")).to_contain_text("От девяти чисел к параметрам и байтам")
    widths = page.evaluate(
        """() => { const pen = document.createElement("canvas").getContext("2d");
        pen.font = getComputedStyle(document.querySelector("article p")).font;
        return [..."щёжилыЯ"].map((letter) => pen.measureText(letter).width); }"""
    )
    assert len(set(widths)) > 4, widths  # boxes for missing letters are all of one width
    page.get_by_role("textbox", name="Поиск").fill("внимание")
    page.keyboard.press("Enter")
    page.locator("#search-results li a").filter(has_text="00 ·").first.click()
    page.get_by_role("link", name="English", exact=True).click()
    expect(page.locator("html")).to_have_attribute("lang", "en")
    assert watch.errors == [] and watch.outside(base) == []
    page.close()


@pytest.mark.browser
def test_light_and_dark_by_button(base, chromium):
    page = chromium.new_page(viewport={"width": 1280, "height": 900}, color_scheme="light")
    page.goto(base)
    seen = set()
    for _ in range(3):
        page.get_by_role("button", name="Toggle Light / Dark / Auto color theme").last.press(
            "Enter"
        )
        seen.add(page.evaluate("getComputedStyle(document.body).backgroundColor"))
        player = page.locator(".mm-player")
        assert player.evaluate("node => getComputedStyle(node).backgroundColor") == (
            "rgb(255, 255, 255)"
        )
    assert len(seen) == 2
    page.close()
