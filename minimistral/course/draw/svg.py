"""The few lines that turn shapes into SVG text."""

import re
from xml.sax import saxutils

# Colours that stay apart for colour-blind readers (Okabe and Ito 2008), and ink on white.
BLUE, ORANGE, SKY, GREEN, PINK = "#0072B2", "#E69F00", "#56B4E9", "#009E73", "#CC79A7"
INK, QUIET, RULE, FAINT, PAPER = "#1a1a1a", "#595959", "#c8c8c8", "#ececec", "#ffffff"
FONT = "system-ui, 'Segoe UI', 'DejaVu Sans', sans-serif"


def tag(name: str, *children: str, **attributes: object) -> str:
    """One element. `class_` gives class, `font_size` gives font-size.

    >>> tag("rect", x=1, fill_opacity=0.5)
    '<rect x="1" fill-opacity="0.5"/>'
    """
    texts = {_dashed(key): _allowed(str(value)) for key, value in attributes.items()}
    pairs = (f" {key}={saxutils.quoteattr(value)}" for key, value in texts.items())
    opening = f"<{name}{''.join(pairs)}"
    return f"{opening}>{''.join(children)}</{name}>" if children else f"{opening}/>"


def escape(words: str) -> str:
    """Words as they stand between two tags. What XML cannot hold becomes "\\ufffd".

    >>> escape("a < b\\x1b")
    'a &lt; b�'
    """
    return saxutils.escape(_allowed(words))


def _allowed(words: str) -> str:
    """Control characters except tab, newline and return, and halves of pairs, are no XML."""
    return re.sub("[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\ud800-\udfff\ufffe\uffff]", "\ufffd", words)


def text(x: float, y: float, words: str, **attributes: object) -> str:
    """One line of text.

    >>> text(0, 10, "a < b")
    '<text x="0" y="10">a &lt; b</text>'
    """
    return tag("text", escape(words), x=x, y=y, **attributes)


def boxes(corners: list[tuple[float, float]], width: float, height: float) -> str:
    """Path data for equal rectangles: one path takes far less text than one element per box.

    >>> boxes([(0, 0), (5, 5)], 4, 2)
    'M0 0h4v2h-4zM5 5h4v2h-4z'
    """
    return "".join(f"M{x} {y}h{width}v{height}h-{width}z" for x, y in corners)


def picture(width: int, height: int, title: str, *children: str) -> str:
    """A whole SVG on white paper, with a name for those who do not see it."""
    return tag(
        "svg",
        tag("title", escape(title)),
        tag("rect", width=width, height=height, fill=PAPER),
        *children,
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        font_family=FONT,
        font_size=14,
        fill=INK,
        role="group",
    )


def _dashed(key: str) -> str:
    return key.rstrip("_").replace("_", "-") if key != "viewBox" else key
