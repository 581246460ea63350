"""One look for all charts, and their way into files: small SVG, and PNG.

matplotlib draws both from one description; each chart is as wide as a phone, so that its words
stay legible there, and the page sets several side by side where there is room. Colours: Okabe and
Ito, "Color Universal Design" (2008), which people with any colour vision can tell apart.
"""

import io
import re
from collections.abc import Sequence
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import rc_context
from matplotlib.collections import LineCollection
from matplotlib.figure import Figure

from reports.document import Chart

BLUE, ORANGE, GREEN, RED = "#0072B2", "#E69F00", "#009E73", "#D55E00"
PURPLE, SKY, YELLOW, INK, GREY = "#CC79A7", "#56B4E9", "#F0E442", "#222222", "#9A9A9A"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, INK)  # methods, in their order
DASHES = (
    "-",
    (0, (5, 1.5)),
    (0, (1.5, 1.2)),
    (0, (6, 1.5, 1.5, 1.5)),
)  # told apart without colour
WIDTH = 400  # of a chart: points of the page, and CSS pixels before scaling
_STYLE = {
    "font.family": "DejaVu Sans",
    "font.size": 11.5,
    "axes.labelsize": 11.5,
    "axes.edgecolor": GREY,
    "axes.labelcolor": INK,
    "axes.linewidth": 0.8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": "#E6E6E6",
    "grid.linewidth": 0.7,
    "xtick.color": GREY,
    "ytick.color": GREY,
    "xtick.labelcolor": INK,
    "ytick.labelcolor": INK,
    "xtick.labelsize": 10.5,
    "ytick.labelsize": 10.5,
    "legend.fontsize": 10.5,
    "svg.fonttype": "none",
    "path.simplify": True,
}
_PNG: dict[str, Any] = {
    "dpi": 144,
    "metadata": {"Software": None},
    "pil_kwargs": {"compress_level": 2},  # half the time, and little larger
}


class Panel:
    """A chart in the making: one pair of axes, a legend above it, margins in points."""

    def __init__(
        self,
        name: str,
        caption: str,
        height: int = 280,
        left: int = 54,
        bottom: int = 42,
        legend_rows: int = 0,
    ):
        with rc_context(_STYLE):
            figure = Figure(figsize=(WIDTH / 72, height / 72), dpi=72)
            top = 12 + 18 * legend_rows
            place = (left, bottom, WIDTH - left - 14, height - bottom - top)
            sizes = (WIDTH, height, WIDTH, height)
            self.axes: Any = figure.add_axes(
                tuple(part / whole for part, whole in zip(place, sizes, strict=True))
            )
            self.axes.grid(True)
        self.chart = Chart(name, caption, figure)

    def mark(self, artist: Any, shown: Sequence[str]) -> None:
        """Each point of the artist shows these words, or the configuration with this key."""
        name = f"{self.chart.name}--{len(self.chart.marks)}"
        artist.set_gid(name)
        self.chart.marks[name] = list(shown)

    def lines(
        self,
        lines: Sequence[tuple[Sequence[float], Sequence[float]]],
        colours: Any,
        width: float,
        alpha: float,
    ) -> None:
        """Many lines (x, y) at once; `mark` then takes one word a line."""
        paths = [np.column_stack(line) for line in lines]
        drawn = LineCollection(paths, colors=colours, linewidths=width, alpha=alpha)
        self.axes.add_collection(drawn)
        self.axes.autoscale_view()

    def legend(self, handles: Sequence[Any] | None = None, columns: int = 2) -> None:
        """Above the axes, where it hides nothing."""
        handles = self.axes.get_legend_handles_labels()[0] if handles is None else handles
        with rc_context(_STYLE):
            self.chart.figure.legend(
                handles=handles,
                loc="upper left",
                bbox_to_anchor=(0.0, 1.0),
                ncols=columns,
                frameon=False,
                handlelength=1.8,
                columnspacing=1.2,
                labelspacing=0.25,
                borderaxespad=0.3,
            )


def short(value: float, _: Any = None) -> str:
    """A number for a tick: 20k, 1.5M, 0.25."""
    for size, letter in ((1e12, "T"), (1e9, "G"), (1e6, "M"), (1e3, "k")):
        if abs(value) >= size:
            return f"{value / size:.3g}{letter}"
    return f"{value:.3g}"


def save(chart: Chart, folder: Path) -> str:
    """Writes NAME.svg and NAME.png; returns the SVG for a page, without size and prologue."""
    with rc_context({**_STYLE, "svg.hashsalt": chart.name}):
        text = io.StringIO()
        nothing = dict.fromkeys(("Date", "Creator", "Format", "Type"))
        chart.figure.savefig(text, format="svg", metadata=nothing)
        chart.figure.savefig(folder / f"{chart.name}.png", **_PNG)
    svg = slim(text.getvalue())
    (folder / f"{chart.name}.svg").write_text(svg, encoding="utf-8")
    return re.sub(r' (width|height)="[\d.]+pt"', "", svg, count=2)


def slim(svg: str) -> str:
    """The same picture in a fraction of the bytes: shared styles, short numbers, no metadata."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    svg = re.sub(r"<style type.*?</style>", "", svg, flags=re.S)  # of every element of the page
    svg = re.sub(r"<!--.*?-->", "", svg, flags=re.S)
    svg = re.sub(r' id="[A-Za-z.0-9]+_\d+"', "", svg)  # "line2d_7": nothing refers to it
    svg = re.sub(r' transform="rotate\(-0 [^"]*"', "", svg)
    svg = svg.replace("'DejaVu Sans'", "sans-serif")  # whatever there is where it is read
    svg = re.sub(r"\s*\n\s*", "\n", svg)
    svg = re.sub(r"<[^>]*>", _shorten, svg)  # in tags only: ticks keep their digits
    styles: dict[str, str] = {}

    def share(found: re.Match[str]) -> str:
        name = "s" + sha256(found[1].encode()).hexdigest()[:7]
        styles[name] = found[1]
        return f' class="{name}"'

    svg = re.sub(r' style="([^"]*)"', share, svg)
    rules = "".join(f".{name}{{{style}}}" for name, style in styles.items())
    head = f'<style>{rules}</style><g stroke-linejoin="round">'
    begin = svg.index(">") + 1
    return svg[:begin] + head + svg[begin:].replace("</svg>", "</g></svg>")


def _shorten(tag: re.Match[str]) -> str:
    return re.sub(r"-?\d+\.\d{3,}", lambda at: f"{round(float(at[0]), 2):.12g}", tag[0])
