"""Plots that a test can read: the picture, its alt text and a digest of what it plots."""

import hashlib
import io
import json
from typing import Any

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure

from minimistral.course.draw.svg import BLUE, ORANGE

GREY = "#7f7f7f"
__all__ = ["BLUE", "GREY", "ORANGE", "digest", "show", "show_svg"]


def show(fig: Figure, alt: str) -> None:
    """Show `fig` with its alt text, and with a line of text that strict nbval compares.

    A picture's bytes differ between machines, so they are not compared. The line is: it
    holds `alt` and a digest of the plotted numbers. The alt text is also shown under the
    picture, since JupyterLab gives an image no alternative text of its own.
    Raises ValueError when alt is empty.
    """
    from IPython.display import display

    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt must say what the picture shows, not {alt!r}")
    line = f"{alt} [plotted data: {digest(fig)}]"
    display(
        {"image/png": png(fig), "text/plain": line},
        metadata={"image/png": {"alt": alt}},
        raw=True,
    )
    display({"text/markdown": f"*{alt}*", "text/plain": alt}, raw=True)


def show_svg(svg: str, alt: str) -> None:
    """Show a picture that draw/ made, and its alt text in words. An SVG is compared as it is.

    Raises ValueError when alt is empty.
    """
    from IPython.display import display

    if not isinstance(alt, str) or not alt.strip():
        raise ValueError(f"alt must say what the picture shows, not {alt!r}")
    display({"image/svg+xml": svg, "text/plain": f"[picture] {alt}"}, raw=True)
    display({"text/markdown": f"*{alt}*", "text/plain": alt}, raw=True)


def png(fig: Figure) -> bytes:
    """The figure as a PNG without dates or versions in it."""
    buffer = io.BytesIO()
    FigureCanvasAgg(fig).print_png(buffer, metadata={"Software": None})
    return buffer.getvalue()


def svg(fig: Figure, title: str) -> str:
    """The figure as SVG text, the same at every call: no date, no version, no random names."""
    buffer = io.StringIO()
    with rc_context({"svg.hashsalt": title, "svg.fonttype": "none", "font.family": "sans-serif"}):
        metadata = {"Title": title, "Date": None, "Creator": None}
        FigureCanvasSVG(fig).print_svg(buffer, metadata=metadata)
    return buffer.getvalue()


def digest(fig: Figure) -> str:
    """Eight hex digits of every number and word plotted, rounded to 4 digits.

    >>> def line(y):
    ...     fig = Figure()
    ...     fig.subplots().plot([0, 1], [0, y])
    ...     return digest(fig)
    >>> line(1) == line(1 + 1e-9), line(1) == line(1.01)
    (True, False)
    """
    plotted = [_plotted(ax) for ax in fig.axes]
    return hashlib.sha256(json.dumps(plotted).encode()).hexdigest()[:8]


def _plotted(ax: Axes) -> list[Any]:
    lines = [_rounded(line.get_xydata()) for line in ax.lines]
    bars = [_rounded(p.get_patch_transform().transform(p.get_path().vertices)) for p in ax.patches]
    points = [_rounded(c.get_offsets()) for c in ax.collections]
    images = [_rounded(image.get_array()) for image in ax.images]
    words = [t.get_text() for t in (ax.title, ax.xaxis.label, ax.yaxis.label, *ax.texts)]
    return [lines, bars, points, images, words, ax.get_xscale(), ax.get_yscale()]


def _rounded(values: Any) -> list[str]:
    return [f"{float(value):.4g}" for value in values.ravel()]
