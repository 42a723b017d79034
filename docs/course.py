"""What the web page adds to Sphinx: the course map, links to the glossary, alt texts, labels.

All of it is read from the lessons, the README, docs/glossary.md and the ledger, so a new lesson
needs no change here.
"""

import inspect
import re
from pathlib import Path
from typing import ClassVar

from babel import Locale
from docutils import nodes
from docutils.parsers.rst import directives
from myst_nb.sphinx_ import HideCodeCellNode
from sphinx import addnodes
from sphinx.application import Sphinx
from sphinx.locale import _
from sphinx.transforms import SphinxTransform
from sphinx.util.docutils import SphinxDirective

from minimistral.course.covers import by_stage, cover
from minimistral.course.exercises import lessons

FOLDER = "notebooks"  # of the lessons, as in the repository, so that their links hold

# The course map


def planned(readme: str) -> list[str]:
    """The lessons that the README names as planned."""
    rows = re.findall(r"^\| (\d\d) \| (.+) \| planned \|$", readme, re.M)
    return [f"{number} · {title}" for number, title in rows]


def card(path: Path) -> str:
    """What the map says of a lesson."""
    says = cover(path)
    return (
        f"- **[{says['title']}]({FOLDER}/{path.name})**\n\n"
        f"  {says['subject']} · {says['Minutes'].split(',')[0]} minutes\n\n"
        f"  **Your model gains** {says['Your model gains']}.\n\n"
        f"  You will {says['What you will do']}.\n\n"
        f"  *Needs:* {says['What you need']}."
    )


class CourseMap(SphinxDirective):
    """A card per lesson, in the stages of the learner's model; then the planned ones."""

    def run(self) -> list[nodes.Node]:
        source = Path(self.env.srcdir)
        found = lessons(source / FOLDER)
        content: list[nodes.Node] = []
        for stage, numbers in by_stage(found):
            content.append(nodes.paragraph("", stage, classes=["course-stage"]))
            cards = "\n".join(card(found[number]) for number in numbers)
            cards_of_stage = self.parse_text_to_nodes(cards)
            cards_of_stage[0]["classes"].append("course-map")
            content += cards_of_stage
        later = planned((source / "README.md").read_text(encoding="utf-8"))
        if later:
            text = "Planned:\n\n" + "\n".join(f"- {title}" for title in later)
            content += self.parse_text_to_nodes(text)
        return content


class PlayerPicture(SphinxDirective):
    """A player: the name of a function in minimistral.course.widgets, and the words it is given,
    if there are any.

    step: where the slider of that name starts.
    """

    required_arguments = 1
    has_content = True
    option_spec: ClassVar = {"step": directives.nonnegative_int}

    def run(self) -> list[nodes.Node]:
        from minimistral.course import widgets

        words = " ".join(self.content).split()
        player = getattr(widgets, self.arguments[0])(*[words] if words else [])
        player.set(**self.options)
        return [nodes.raw("", player.to_html(), format="html")]


# The ledger


def lesson_page(source: Path, number: str) -> str | None:
    """The page of a lesson, if it is on this site.

    >>> lesson_page(Path("nowhere"), "04") is None
    True
    """
    pages = sorted((source / FOLDER).glob(f"{number}_*.ipynb"))
    return f"{FOLDER}/{pages[0].name}" if pages else None


def ledger_rows(claim, source: Path) -> str:
    """What is said about a claim, in Markdown, with links to the lessons that are on this site."""
    told = claim.lines()
    if "Lesson" in told:
        pages = {number: lesson_page(source, number) for number in claim.lessons}
        links = [f"[{number}]({page})" if page else number for number, page in pages.items()]
        told["Lesson"] = " and ".join(links)
    return "\n\n".join(f"**{heading}:** {text}" for heading, text in told.items())


class Ledger(SphinxDirective):
    """Every claim of `minimistral.ledger`, after a table of how many have which verdict.

    A claim's section has the claim's name as its id, to which a reference of that name leads.
    """

    def run(self) -> list[nodes.Node]:
        from minimistral.ledger import CLAIMS, VERDICTS

        verdicts = [claim.verdict for claim in CLAIMS]
        rows = "\n".join(f"| {verdict} | {verdicts.count(verdict)} |" for verdict in VERDICTS)
        table = self.parse_text_to_nodes(f"| Verdict | Claims |\n|---|---|\n{rows}")
        return [*table, *map(self.section, CLAIMS)]

    def section(self, claim) -> nodes.section:
        title, labels = claim.claim.rstrip("."), self.env.get_domain("std")
        section = nodes.section("", nodes.title("", title), ids=[claim.slug], classes=["claim"])
        section += self.parse_text_to_nodes(ledger_rows(claim, Path(self.env.srcdir)))
        labels.anonlabels[claim.slug] = self.env.docname, claim.slug
        labels.labels[claim.slug] = self.env.docname, claim.slug, title
        return section


class ClaimNames(SphinxTransform):
    """In a lesson, the name of a claim, set as code, leads to its entry in the ledger."""

    default_priority = 750  # before FirstUses

    def apply(self, **kwargs) -> None:
        from minimistral.ledger import CLAIMS

        slugs = {claim.slug for claim in CLAIMS}
        if not self.env.docname.startswith(f"{FOLDER}/") or "ledger" not in self.env.found_docs:
            return  # a translation has no ledger
        for node in list(self.document.findall(nodes.literal)):
            if node.astext() in slugs:
                link = addnodes.pending_xref(
                    "", node.deepcopy(), refdomain="std", reftype="ref",
                    reftarget=node.astext(), refexplicit=True, refwarn=True,
                    refdoc=self.env.docname,
                )  # fmt: skip
                node.parent.replace(node, link)


# The glossary

QUIET = (  # no link inside of these
    nodes.title, nodes.reference, addnodes.pending_xref, addnodes.download_reference,
    addnodes.desc_signature, nodes.literal, nodes.literal_block, nodes.doctest_block,
    nodes.math, nodes.math_block, nodes.raw, nodes.image,
)  # fmt: skip


def glossary_terms(text: str) -> list[str]:
    """The terms of a glossary: the lines of its blocks that are not indented."""
    lines = "\n".join(re.findall(r"```\{glossary\}\n(.*?)\n```", text, re.S)).splitlines()
    return [line for line in lines if line and not line.startswith(" ")]


def pattern(terms: list[str]) -> re.Pattern:
    """Finds every term, also in the plural; lower-case terms also with a capital.

    The longest term comes first, so that "KV cache" is not found as "cache".
    """
    forms = []
    for term in sorted(terms, key=len, reverse=True):
        form = re.escape(term).replace("'", "['’]")  # Sphinx sets it as a quotation mark
        if len(term) > 1 and term.islower():
            form = f"[{term[0].upper()}{term[0]}]{form[1:]}"
            form = f"(?:{form[:-1]}ies|{form}s?)" if term.endswith("y") else f"{form}(?:e?s)?"
        elif len(term) > 1:
            form += "s?"
        forms.append(f"({form})")
    # Not the arrow keys, not [T]he, not the arrays K and V.
    before = r"(?<![\w`/.])(?<!arrow )(?<!K and )"
    after = r"(?!\]?[\w/])(?! and V\b)"
    return re.compile(rf"{before}(?:{'|'.join(forms)}){after}")


class FirstUses(SphinxTransform):
    """In a lesson and on a page about the code, the first use of a term links to the glossary."""

    default_priority = 800

    def apply(self, **kwargs) -> None:
        name = self.env.docname
        if not name.startswith((f"{FOLDER}/", "api/")) or not self.env.course_terms:
            return
        terms = sorted(self.env.course_terms, key=len, reverse=True)
        search, used = pattern(terms), self.env.course_uses.setdefault(name, {})
        for node in list(self.document.findall(self.wanted)):
            text = node.astext()
            if isinstance(node, nodes.Text):
                matches = search.finditer(text)
                parts = [(m.start(), m.end(), terms[m.lastindex - 1]) for m in matches]
            else:  # code
                parts = [(0, len(text), text)] if text in terms else []
            parts = [part for part in parts if self.is_new(part[2], used)]
            if parts:
                node.parent.replace(node, list(self.linked(node, parts)))

    def wanted(self, node: nodes.Node) -> bool:
        if not isinstance(node, nodes.Text | nodes.literal) or self.in_sources(node):
            return False
        above = node.parent
        while above is not None:
            if isinstance(above, QUIET) or above.get("nb_element") == "cell_code":
                return False
            above = above.parent
        return True

    def in_sources(self, node: nodes.Node) -> bool:
        """Whether it is in a list of sources, where a single letter is an initial."""
        while node is not None:
            if isinstance(node, nodes.section) and node.next_node(nodes.title):
                if node.next_node(nodes.title).astext() == "Sources":
                    return True
            node = node.parent
        return False

    def is_new(self, term: str, used: dict[str, str]) -> bool:
        if term in used:
            return False
        used[term] = f"first-{nodes.make_id(term)}-{len(used)}"
        return True

    def linked(self, node: nodes.Node, parts: list[tuple[int, int, str]]):
        text, at = node.astext(), 0
        for start, stop, term in parts:
            if start > at:
                yield nodes.Text(text[at:start])
            shown = nodes.literal if isinstance(node, nodes.literal) else nodes.inline
            link = addnodes.pending_xref(
                "", shown("", text[start:stop]), refdomain="std", reftype="term",
                reftarget=term, refexplicit=True, refwarn=True, refdoc=self.env.docname,
            )  # fmt: skip
            anchor = self.env.course_uses[self.env.docname][term]
            yield nodes.inline("", "", link, ids=[anchor], classes=["first-use"])
            at = stop
        if at < len(text):
            yield nodes.Text(text[at:])


def read_terms(app: Sphinx) -> None:
    text = (Path(app.srcdir) / "glossary.md").read_text(encoding="utf-8")
    app.env.course_terms, app.env.course_uses = glossary_terms(text), {}


def say_where_first_used(app: Sphinx, doctree: nodes.document, docname: str) -> None:
    """In the glossary, each entry links to the first lesson that uses it, or else to the code."""
    if docname != "glossary":
        return
    uses = app.env.course_uses
    pages = sorted(uses, key=lambda name: (not name.startswith(FOLDER), name))
    for item in doctree.findall(nodes.definition_list_item):
        names = [term.astext() for term in item.findall(nodes.term)]
        anchors = [(page, uses[page][name]) for page in pages for name in names
                   if name in uses[page]]  # fmt: skip
        if not anchors:
            continue
        lesson, anchor = anchors[0]
        target = f"{app.builder.get_relative_uri(docname, lesson)}#{anchor}"
        title = app.env.titles[lesson].astext()
        link = nodes.reference("", title, refuri=target, internal=True)
        item[-1].append(
            nodes.paragraph("", _("First used in "), link, nodes.Text("."), classes=["where"])
        )


# The cells of the lessons


class AltTexts(SphinxTransform):
    """A picture's alt text is the sentence that `draw.show` prints below it."""

    default_priority = 700

    def apply(self, **kwargs) -> None:
        for output in self.document.findall(self.is_output):
            waiting: list[nodes.image] = []
            for node in output.findall():
                if isinstance(node, nodes.image):
                    waiting.append(node)
                elif isinstance(node, nodes.paragraph) and waiting:
                    waiting.pop()["alt"] = node.astext()

    @staticmethod
    def is_output(node: nodes.Node) -> bool:
        return isinstance(node, nodes.container) and node.get("nb_element") == "cell_code_output"


class EmptyHeads(SphinxTransform):
    """A Markdown table must have a heading row. If all its cells are empty, it is removed."""

    default_priority = 700

    def apply(self, **kwargs) -> None:
        for head in list(self.document.findall(nodes.thead)):
            if not head.astext().strip():
                head.parent.remove(head)


def open_fold(self, node: HideCodeCellNode) -> None:
    """A folded solution, or the folded code of a cell whose output stays (tag hide-input)."""
    whole = "content" in node["prompt_show"]
    kind = "solution" if whole else "code"
    summary = _("A solution") if whole else _("The code of this check")
    self.body.append(f'<details class="{kind}"><summary>{summary}</summary>\n')


def close_fold(self, node: HideCodeCellNode) -> None:
    self.body.append("</details>\n")


# The theme


def for_every_reader(page: str, language: str = "en") -> str:
    """Furo's page with labels for its drawers, and buttons to open them.

    In a translation, code and what it prints are marked as English.

    >>> for_every_reader('<label class="nav-overlay-icon" for="__navigation">x</label>')
    '<button type="button" class="nav-overlay-icon" data-opens="__navigation" aria-label="Pages">\
x</button>'
    """
    names = {"__navigation": _("Pages"), "__toc": _("On this page")}

    def button(match: re.Match) -> str:
        opens = f'data-opens="{match[2]}" aria-label="{names[match[2]]}"'
        return f'<button type="button" class="{match[1]}" {opens}>{match[3]}</button>'

    label = r'<label class="([a-z -]*-overlay-icon[a-z -]*)" for="(\w+)">(.*?)</label>'
    page = re.sub(label, button, page, flags=re.S)
    for drawer, name in zip(("sidebar", "toc"), names.values(), strict=True):
        page = page.replace(
            f'<aside class="{drawer}-drawer', f'<aside aria-label="{name}" class="{drawer}-drawer'
        )
    for english, label in (  # what Furo does not translate
        ("Toggle site navigation sidebar", _("Toggle site navigation sidebar")),
        ("Toggle table of contents sidebar", _("Toggle table of contents sidebar")),
        ("Toggle Light / Dark / Auto color theme", _("Toggle Light / Dark / Auto color theme")),
    ):
        page = page.replace(f'aria-label="{english}"', f'aria-label="{label}"')
    if language != "en":
        page = re.sub(r'<div class="(cell_(?:in|out)put )', r'<div lang="en" class="\1', page)
    return page.replace(
        'class="caption" role="heading"', 'class="caption" role="heading" aria-level="2"'
    )


def add_languages(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Links from a page to the same page in other languages: code, name and address.

    `course_other` lists these pages, as "ru:notebooks/00_start_here". English is at the root.
    """
    up = "../" * name.count("/") + ("" if app.config.language == "en" else "../")
    pages = [entry.split(":") for entry in app.config.course_other]
    context["languages"] = [
        (
            code,
            Locale.parse(code).get_display_name(code).capitalize(),
            f"{up}{'' if code == 'en' else code + '/'}{page}.html",
        )
        for code, page in pages
        if page == name
    ]


def add_filter(app: Sphinx) -> None:
    app.builder.templates.environment.filters["for_every_reader"] = for_every_reader


def without_highlights(app: Sphinx, name: str, template: str, context: dict, doctree) -> None:
    """Leave out Sphinx's script that highlights search terms: it fails on pictures in the page."""
    if name != "search":
        context["script_files"] = [
            script for script in context["script_files"] if "sphinx_highlight" not in str(script)
        ]


# The docstrings


def escape_docstring(app, what, name, thing, options, lines: list[str]) -> None:
    """Treat docstrings as plain text: escape markup outside `code` and examples.

    "Raises ..." starts a new paragraph.
    """
    text = re.sub(r"([.:])\s+(?=Raises )", r"\1\n\n", inspect.cleandoc("\n".join(lines)))
    blocks = re.split(r"\n\s*\n", text)
    lines[:] = [*"\n\n".join(map(escape_block, blocks)).splitlines(), ""]


def escape_block(block: str) -> str:
    r"""
    >>> print(escape_block("a * b, `a * b`, x_"))
    a \* b, `a * b`, x\_

    An indented block is shown as it is:

    >>> print(escape_block("    x = a * b"))
    ::
    <BLANKLINE>
        x = a * b
    """
    if block.lstrip().startswith(">>>"):
        return block
    if block.startswith("    "):
        return f"::\n\n{block}"
    parts = re.split(r"(``.+?``|`[^`]+`)", block)
    return "".join(
        part if part.startswith("`") else re.sub(r"([*|\\]|_\b)", r"\\\1", part) for part in parts
    )


def setup(app: Sphinx) -> dict[str, bool]:
    app.add_config_value("course_other", [], "html")
    app.add_directive("course-map", CourseMap)
    app.add_directive("player", PlayerPicture)
    app.add_directive("ledger", Ledger)
    app.add_transform(AltTexts)
    app.add_transform(EmptyHeads)
    app.add_transform(ClaimNames)
    app.add_transform(FirstUses)
    app.add_node(HideCodeCellNode, override=True, html=(open_fold, close_fold))
    app.connect("builder-inited", read_terms)
    app.connect("builder-inited", add_filter)
    app.connect("html-page-context", without_highlights)
    app.connect("html-page-context", add_languages)
    app.connect("doctree-resolved", say_where_first_used)
    app.connect("autodoc-process-docstring", escape_docstring)
    return {"parallel_read_safe": False, "parallel_write_safe": True}
