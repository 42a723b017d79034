"""What the benchmark measured, as plots; `rows` are those of its JSON file."""

from collections.abc import Mapping, Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from minimistral.course.draw.plot import GREY
from minimistral.course.draw.svg import BLUE, GREEN, ORANGE, PINK, SKY

# A shape for each engine, so that hue alone tells nothing.
MARKS = {
    "np": ("o", BLUE), "pt": ("s", ORANGE), "pt compiled": ("^", GREEN),
    "transformers sdpa": ("D", PINK), "transformers eager": ("x", SKY),
    "pt bf16": ("P", GREY), "pt int8": ("v", GREY), "pt int4": ("<", GREY),
}  # fmt: skip


def roofline(
    rows: Sequence[Mapping[str, Any]],
    elsewhere: Mapping[str, tuple[float, float]],
    predicted: Mapping[str, tuple[str, float]] | None = None,
) -> Figure:
    """Operations per second against operations per byte, under the roof of the machine.

    rows: of one run, with the limits "sgemv" and "sgemm" among them; each with `flops` and
    `bytes` is a point. elsewhere: a device where nothing was run -> bytes/s and FLOP/s in its
    data sheet, drawn as a roof without points. predicted: a label -> one of these devices, and
    operations per byte as its compiled code has them; drawn hollow, where the roof is.
    """
    limits = {row["engine"]: row["value"] for row in rows if row["what"] == "limit"}
    fig = Figure(figsize=(8.5, 5.6), layout="constrained")
    ax = fig.subplots()
    _roof(ax, limits["sgemv"], limits["sgemm"], "this machine: reads, products", "-")
    for name, (bandwidth, operations) in elsewhere.items():
        _roof(ax, bandwidth, operations, f"{name}: data sheet only, nothing was run", ":")
    for label, (name, intensity) in (predicted or {}).items():
        bandwidth, operations = elsewhere[name]
        top = min(bandwidth * intensity, operations) / 1e9
        ax.plot(intensity, top, "o", color=GREY, markerfacecolor="none", markersize=10, label=label)
    points = [row for row in rows if "flops" in row]
    for engine, (mark, colour) in MARKS.items():
        dots = [
            (row["flops"] / row["bytes"], row["flops"] / row["median"] / 1e9)
            for row in points
            if row["engine"] == engine
        ]
        if dots:
            ax.plot(*zip(*dots, strict=True), mark, color=colour, label=engine, markersize=7)
    for label, x, y in _clusters(points):
        ax.annotate(label, (x, y), (0, -34), textcoords="offset points",
                    ha="center", fontsize=9)  # fmt: skip
    ax.set(xscale="log", yscale="log", xlabel="operations per byte of weights and cache",
           ylabel="GFLOP/s")  # fmt: skip
    ax.grid(True, which="major", alpha=0.3)
    ax.set_ylim(bottom=ax.get_ylim()[0] / 3)  # room for the labels
    ax.legend(fontsize=9, loc="upper right", bbox_to_anchor=(1, 0.72), ncols=2)
    return fig


def _roof(ax: Axes, bandwidth: float, operations: float, label: str, style: str) -> None:
    ridge = operations / bandwidth
    x = [0.3, ridge, max(3000, 3 * ridge)]
    y = [min(bandwidth * intensity, operations) / 1e9 for intensity in x]
    ax.plot(x, y, style, color=GREY if style == ":" else "black", label=label)


def _clusters(points: Sequence[Mapping[str, Any]]) -> list[tuple[str, float, float]]:
    """A label below each group of float32 points; decode is in the same spot for every config."""
    groups: dict[str, list[tuple[float, float]]] = {}
    for row in points:
        if row["what"] in ("prefill", "decode"):
            label = f"{row['config']}\nprefill" if row["what"] == "prefill" else "decode"
            dot = (row["flops"] / row["bytes"], row["flops"] / row["median"] / 1e9)
            groups.setdefault(label, []).append(dot)
    lowest = {label: min(group, key=lambda dot: dot[1]) for label, group in groups.items()}
    return [(label, x, y) for label, (x, y) in lowest.items()]


def by_context(rows: Sequence[Mapping[str, Any]], config: str) -> Figure:
    """Time and memory against the context: full attention, the window, the rolling cache."""
    fig = Figure(figsize=(9, 3.6), layout="constrained")
    panels = zip(
        fig.subplots(1, 3),
        (
            ("attention by context", "median", 1e3, "attention of one layer, ms"),
            ("decode by context", "median", 1e3, "one decode step, ms"),
            ("decode by context", "cache_bytes", 2**-20, "keys and values, MiB"),
        ),
        strict=True,
    )
    styles = {
        "full causal": ("o-", ORANGE), "full cache": ("o-", ORANGE),
        "window, by blocks": ("s--", BLUE), "rolling cache": ("s--", BLUE),
    }  # fmt: skip
    for ax, (what, key, scale, title) in panels:
        for engine, (style, colour) in styles.items():
            dots = [
                (row["context"], row[key] * scale)
                for row in rows
                if (row["config"], row["what"], row["engine"]) == (config, what, engine)
            ]
            if dots:
                ax.plot(*zip(*dots, strict=True), style, color=colour, label=engine)
        ax.set(title=title, xlabel="context, tokens", ylim=(0, None))
        ax.title.set_fontsize(11)
        ax.legend(fontsize=9)
        ax.grid(True, alpha=0.3)
    return fig
