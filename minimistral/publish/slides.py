"""Build a lecture from each lesson: build/lessons/*.ipynb becomes build/slides/*.html.

    make slides                            runs the lessons, fetches reveal.js, then runs this
    python -m minimistral.publish.slides --to FOLDER NOTEBOOK ...

The slide metadata of a cell decides where it goes:

    slide, subslide    it starts a slide; a subslide stays in the section of the slide before it
    fragment           it appears at the next key press; if it is code, its output at the one after
    -, or none         it belongs to the cell before it
    notes              it becomes part of the speaker's notes
    skip               it is left out

In a notes cell, a list item that starts with a heading of the lesson in bold, such as
"- **The rule** (4 minutes). Ask ...", is shown with the slides below that heading; the rest of the
cell is shown with the slide before it. Code that only calls a player is left out, because the
picture needs the space. deck/slides.js splits content that is too long for one slide over several,
in the browser, where the sizes are known.
"""

import argparse
import ast
import re
import shutil
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from html import escape
from pathlib import Path

import nbformat
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup
from nbconvert.filters import Highlight2HTML, strip_ansi
from nbconvert.filters.markdown_mistune import IPythonRenderer, MarkdownWithMath
from nbformat import NotebookNode

ROOT = Path(__file__).resolve().parents[2]
DECK = Path(__file__).parent / "deck"  # templates, style and script
PACKAGES = ROOT / "docs" / "node_modules"
# The files of the folder "assets" beside the lectures, and what each is copied from.
ASSETS = {
    "reveal.js": PACKAGES / "reveal.js/dist/reveal.js",
    "reveal.css": PACKAGES / "reveal.js/dist/reveal.css",
    "notes.js": PACKAGES / "reveal.js/plugin/notes/notes.js",
    "zoom.js": PACKAGES / "reveal.js/plugin/zoom/zoom.js",
    "reveal-license.txt": PACKAGES / "reveal.js/LICENSE",
    "source-sans-pro": PACKAGES / "reveal.js/dist/theme/fonts/source-sans-pro",
    "mathjax.js": PACKAGES / "mathjax/es5/tex-svg-full.js",  # one file, which fetches nothing else
    "mathjax-license.txt": PACKAGES / "mathjax/LICENSE",
    "slides.js": DECK / "slides.js",
    "slides.css": DECK / "slides.css",
    "license.txt": ROOT / "LICENSE",  # of the course; the title slide names it
}
MAX_CODE_LINES = 12  # per slide, without blank ones
KINDS = {"slide", "subslide", "fragment", "notes", "skip", "-"}
# Which form of an output is shown when it has several: the first of these.
FORMS = ("text/html", "image/svg+xml", "image/png", "text/markdown", "text/latex", "text/plain")


class NotALecture(Exception):
    """A lesson that cannot become slides, and why."""


@dataclass
class Slide:
    heading: str  # the last heading of the lesson, as plain text
    cells: list[Markup] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)  # Markdown
    minutes: float | None = None


@dataclass
class Deck:
    name: str
    title: str
    subtitle: str
    sections: list[list[Slide]]
    language: str = "en"

    @property
    def slides(self) -> list[Slide]:
        return [slide for section in self.sections for slide in section]


# Cells


def kind_of(cell: NotebookNode) -> str:
    kind = cell.metadata.get("slideshow", {}).get("slide_type") or "-"
    if kind not in KINDS:
        raise NotALecture(f"slide_type must be one of {sorted(KINDS)}, not {kind!r}")
    return kind


def markdown(source: str) -> str:
    """HTML. Formulas are left for MathJax, and links to notebooks become links to lectures."""
    html = MarkdownWithMath(renderer=IPythonRenderer(escape=False, exclude_anchor_links=True))
    return re.sub(r'href="([\w-]+)\.ipynb"', r'href="\1.html"', html.render(source))


def fold_out(html: str, step: int) -> tuple[str, int]:
    """Each folded text opens at its own key press, from `step` on. Returns also the next free step.

    >>> html, _ = fold_out("<details><summary>Why?</summary>So.</details>", 3)
    >>> print(html.replace("<div", "\\n<div").strip())
    <div class="folded"><p class="question">Why?</p>
    <div class="fragment" data-fragment-index="3">So.</div></div>
    """
    folded = re.compile(r"<details>\s*<summary>(.*?)</summary>(.*?)</details>", re.S)
    while match := folded.search(html):
        question = f'<p class="question">{match[1]}</p>'
        answer = f'<div class="fragment" data-fragment-index="{step}">{match[2]}</div>'
        opened = f'<div class="folded">{question}{answer}</div>'
        html, step = html[: match.start()] + opened + html[match.end() :], step + 1
    return html, step


def cut(source: str, most: int = MAX_CODE_LINES) -> list[range]:
    """Split code into pieces of at most `most` lines, not counting blank ones.

    Each cut is before a statement: preferably one that is nested little, after a blank line,
    near the middle.

    >>> cut("a = 1\\n\\ndef f():\\n    return a", most=2)
    [range(0, 1), range(2, 4)]
    """
    lines = source.split("\n")
    depths = depths_of_statements(source)

    def trimmed(start: int, stop: int) -> range:
        while start < stop and not lines[start].strip():
            start += 1
        while start < stop and not lines[stop - 1].strip():
            stop -= 1
        return range(start, stop)

    def filled(part: range) -> int:
        return sum(bool(lines[n].strip()) for n in part)

    def n_pieces(part: range) -> int:
        return -(-filled(part) // most)

    def pieces(part: range) -> list[range]:
        if n_pieces(part) <= 1:
            return [part] if part else []

        def cost(n: int) -> float:
            first, second = map(filled, halves[n])
            after_blank = not lines[n - 1].strip()
            return 4 * depths.get(n, 9) + abs(first - second) / 2 - after_blank

        cuts = [n for n in part[1:] if lines[n].strip()]
        halves = {n: (trimmed(part.start, n), trimmed(n, part.stop)) for n in cuts}
        shortest = [n for n in cuts if sum(map(n_pieces, halves[n])) <= n_pieces(part)]
        first, second = halves[min(shortest, key=cost)]
        return pieces(first) + pieces(second)

    return pieces(trimmed(0, len(lines)))


def depths_of_statements(source: str) -> dict[int, int]:
    """How deeply the statement that starts on a line is nested; lines count from 0.

    >>> depths_of_statements("for x in y:\\n    f(x,\\n      1)\\ng()")
    {0: 0, 1: 1, 3: 0}
    """
    depths: dict[int, int] = {}

    def visit(node: ast.AST, depth: int) -> None:
        for child in ast.iter_child_nodes(node):
            if isinstance(child, ast.stmt):
                decorators = getattr(child, "decorator_list", [])
                first = min([child, *decorators], key=lambda part: part.lineno)
                depths.setdefault(first.lineno - 1, depth)
            visit(child, depth + isinstance(child, ast.stmt))

    try:
        visit(ast.parse(source), 0)
    except SyntaxError:
        pass  # an IPython magic: cut before any line
    return depths


def code(source: str) -> str:
    """Highlighted code, in pieces short enough for a slide."""
    html = Highlight2HTML(pygments_lexer="python")(source)
    inside = re.search(r"<pre>(?:<span></span>)?(.*)</pre>", html, re.S)
    assert inside is not None
    coloured = inside[1].rstrip("\n").split("\n")
    # Pygments drops blank lines at the start, so they are dropped here too.
    plain = source.strip("\n").split("\n")
    if len(coloured) != len(plain):
        raise NotALecture(f"code that cannot be split into lines:\n{source}")
    pieces = ["\n".join(coloured[part.start : part.stop]) for part in cut("\n".join(plain))]
    return "".join(
        f'<pre class="code{" more" if n else ""}">{piece}</pre>' for n, piece in enumerate(pieces)
    )


def output_html(output: NotebookNode) -> str:
    """One output of a cell, in its best form."""
    if output.output_type == "stream":
        return text_block(output.text)
    if output.output_type == "error":
        raise NotALecture(f"an error among its outputs: {output.ename}: {output.evalue}")
    form = next(form for form in FORMS if form in output.data)
    data = output.data[form]
    if form == "image/png":
        alt = escape(output.metadata.get("image/png", {}).get("alt", ""), quote=True)
        return f'<figure><img src="data:image/png;base64,{data.strip()}" alt="{alt}"></figure>'
    if form == "image/svg+xml":
        return f"<figure>{data}</figure>"
    if form == "text/html":
        return data if "mm-host" in data else f'<div class="html">{data}</div>'
    if form == "text/markdown":
        return f'<div class="caption">{markdown(data)}</div>'
    if form == "text/latex":
        return f"<p>{escape(data)}</p>"
    return text_block(data)


def repeats_alt(output: NotebookNode, outputs: list[NotebookNode]) -> bool:
    """Whether an output is a picture's alt text, which JupyterLab shows below the picture."""
    caption = output.get("data", {}).get("text/plain")
    if not caption or "text/markdown" not in output.data:
        return False
    alts = (out.get("metadata", {}).get("image/png", {}).get("alt") for out in outputs)
    plain = (out.get("data", {}).get("text/plain", "") for out in outputs)
    return caption in alts or f"[picture] {caption}" in plain


def text_block(text: str) -> str:
    return f'<pre class="out">{escape(strip_ansi(text).rstrip())}</pre>'


# A lesson


HEADING = re.compile(r"^(#{1,3}) (.+)$", re.M)


def block(html: str, kind: str, step: int | None) -> Markup:
    """Content that appears together, at `step` if given. Kinds: text, code, out."""
    if step is None:
        return Markup(f'<div class="cell" data-kind="{kind}">{html}</div>')
    index = f'data-fragment-index="{step}"'
    return Markup(f'<div class="cell fragment" data-kind="{kind}" {index}>{html}</div>')


def slides_of(nb: NotebookNode) -> list[list[Slide]]:
    """Sections of slides, from the slide metadata."""
    sections: list[list[Slide]] = []
    heading, step = "", 0
    at: int | None = None  # the step at which the last cell appears
    for cell in nb.cells:
        kind = kind_of(cell)
        if kind in ("skip", "notes"):
            if kind == "notes":
                if not sections:
                    raise NotALecture("notes before the first slide")
                sections[-1][-1].notes.append(unfolded(cell.source))
            continue
        if cell.cell_type == "markdown" and (match := HEADING.match(cell.source.lstrip())):
            heading = re.sub("[`*]", "", match[2]).strip()
        if kind in ("slide", "subslide") or not sections:
            if kind == "slide" or not sections:
                sections.append([])
            sections[-1].append(Slide(heading))
            step, at = 0, None
        if kind == "fragment":
            step, at = step + 1, step
        slide = sections[-1][-1]
        if cell.cell_type == "markdown":
            html, step = fold_out(markdown(cell.source), step)
            slide.cells.append(block(html, "text", at))
            continue
        if cell.cell_type != "code":
            continue
        visible = [out for out in cell.outputs if not repeats_alt(out, cell.outputs)]
        outputs = "".join(map(output_html, visible))
        if "mm-host" not in outputs and cell.source.strip():
            slide.cells.append(block(code(cell.source), "code", at))
            if kind == "fragment" and outputs:
                step, at = step + 1, step
        if outputs:
            slide.cells.append(block(outputs, "out", at))
    filled = [[slide for slide in section if slide.cells] for section in sections]
    return [section for section in filled if section]


def unfolded(source: str) -> str:
    """A notes cell without the fold around it."""
    return re.sub(r"^<details>\s*<summary>.*?</summary>|</details>\s*$", "", source).strip()


ITEM = re.compile(
    r"- \*\*(?P<heading>.+?)\*\*(?: \((?P<minutes>[\d.]+)\s(?P<unit>[^\W\d]+)\))?"
    r"[.:]? *(?P<text>.*)"
)


def items_of(notes: str) -> tuple[str, list[dict[str, str]]]:
    """The notes that name no heading, and those that do: heading, minutes and text.

    >>> rest, items = items_of("Bring chalk.\\n\\n- **The rule** (4 minutes). Ask,\\n  then wait.")
    >>> rest, items[0]["heading"], items[0]["minutes"], items[0]["text"]
    ('Bring chalk.', 'The rule', '4', 'Ask,\\nthen wait.')
    """
    rest: list[str] = []
    items: list[dict[str, str]] = []
    inside = False
    for line in notes.splitlines():
        match = ITEM.match(line)
        if match:
            items.append(match.groupdict(default=""))
        elif inside and line.startswith("  "):
            items[-1]["text"] += "\n" + line.strip()
        else:
            rest.append(line)
        inside = match is not None or (inside and line.startswith("  "))
    return "\n".join(rest).strip(), items


def hand_out_notes(slides: list[Slide]) -> None:
    """Add each item of the notes to the slides below its heading.

    Raises NotALecture if no slide has that heading.
    """
    items: list[dict[str, str]] = []
    for slide in slides:
        split = [items_of(notes) for notes in slide.notes]
        slide.notes = [rest for rest, _ in split if rest]
        items += [item for _, named in split for item in named]
    for item in items:
        below = [slide for slide in slides if is_named(slide.heading, item["heading"])]
        if not below:
            raise NotALecture(f"notes for {item['heading']!r}, but no slide has that heading")
        minutes, text = item["minutes"], item["text"].replace("\n", "\\\n")  # its lines stay lines
        if minutes:
            below[0].minutes = float(minutes)
            text = f"*{minutes} {item['unit']}.* {text}"
        for slide in below:
            slide.notes.append(text)


def is_named(heading: str, name: str) -> bool:
    """
    >>> is_named("Exercise 1 · One layer (★☆☆, 5 minutes)", "Exercise 1 · One layer")
    True
    """
    return heading == name or heading.startswith(f"{name} (")


def read(path: Path) -> Deck:
    """A lesson as a deck. Raises NotALecture."""
    nb = nbformat.read(path, as_version=4)
    try:
        sections = slides_of(nb)
        deck = Deck(path.stem, path.stem, "", sections, nb.metadata.get("language", "en"))
        hand_out_notes(deck.slides)
    except NotALecture as error:
        raise NotALecture(f"{path.name}: {error}") from None
    if not sections:
        raise NotALecture(f"{path.name}: no cell is a slide")
    deck.title = sections[0][0].heading or path.stem
    subtitle = re.search(r"^\*(.+)\*$", nb.cells[0].source, re.M)
    deck.subtitle = subtitle[1] if subtitle else ""
    return deck


# The folder


def pages(decks: list[Deck]) -> Iterator[tuple[str, str]]:
    """File names and their HTML: the lectures, and the page that lists them."""
    environment = Environment(
        loader=FileSystemLoader(DECK),
        autoescape=select_autoescape(default=True),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["markdown"] = lambda text: Markup(markdown(text))
    for deck in decks:
        formulas = any("$" in cell for slide in deck.slides for cell in slide.cells)
        template = environment.get_template("deck.html.j2")
        yield f"{deck.name}.html", template.render(deck=deck, formulas=formulas)
    yield "index.html", environment.get_template("index.html.j2").render(decks=decks)


def build(lessons: list[Path], folder: Path) -> list[Deck]:
    """Write the lectures and all files they need into `folder`, which is emptied first."""
    decks = [read(path) for path in lessons]
    shutil.rmtree(folder, ignore_errors=True)
    (folder / "assets").mkdir(parents=True)
    for name, source in ASSETS.items():
        copy = shutil.copytree if source.is_dir() else shutil.copyfile
        copy(source, folder / "assets" / name)
    for name, html in pages(decks):
        (folder / name).write_text(html, encoding="utf-8", newline="\n")
    return decks


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        "--to", type=Path, default=ROOT / "build" / "slides", metavar="FOLDER",
        help="where the lectures go; default: build/slides",
    )  # fmt: skip
    parser.add_argument(
        "lessons", nargs="*", type=Path, metavar="NOTEBOOK",
        help="notebooks that were run; default: all of build/lessons",
    )  # fmt: skip
    args = parser.parse_args(arguments)
    made = [ROOT / "build/lessons" / p.name for p in sorted(ROOT.glob("notebooks/*.ipynb"))]
    try:
        decks = build(args.lessons or made, args.to)
    except (NotALecture, FileNotFoundError) as error:
        print(error, file=sys.stderr)
        return 1
    for deck in decks:
        print(f"{args.to / deck.name}.html: {len(deck.slides)} slides in {len(deck.sections)}")
    print(f"open {args.to / 'index.html'}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
