"""A report as one HTML file that needs nothing else, and its charts as SVG and PNG files."""

import base64
import functools
import io
import json
import re
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import vl_convert
from PIL import Image

from reports.charts import Chart
from utils import write_text

FIGURE_WIDTH = 560  # of the files; in the page a chart is as wide as there is room
THUMBNAIL = 96  # pixels, the longer side
_NUMBER = re.compile(r"[–\d.,% ()+-]*( to [–\d.,% ()+-]+)?")
LONG = 48  # characters of a cell

# Text of the page that is no markup; what is markup already is a plain str.
_START = "const charts = JSON.parse(document.getElementById('charts').textContent);\n"
_START += """for (const [name, spec] of Object.entries(charts))
  vegaEmbed(document.getElementById(name), spec, {actions: false, renderer: "svg"});
// A chart that was folded away has had no width until now.
for (const details of document.querySelectorAll("details"))
  details.addEventListener("toggle", () => dispatchEvent(new Event("resize")));
"""


class Page:
    """Collects the charts of a page while its markup is made."""

    def __init__(self) -> None:
        self.charts: dict[str, dict[str, Any]] = {}

    def figure(self, name: str, chart: Chart | None, caption: str) -> str:
        """A chart and what it shows; nothing for no chart."""
        if chart is None:
            return ""
        self.charts[name] = chart.to_dict()
        words = escape(caption)
        drawing = f'<div class="chart" id="{name}" role="img" aria-label="{words}"></div>'
        return f"<figure>{drawing}<figcaption>{words}</figcaption></figure>\n"

    def write(self, title: str, body: str, folder: Path) -> None:
        """Writes report.html, and each chart into figures/ as SVG and PNG."""
        # In a script only "<" could end it early; as JSON it may be written otherwise.
        charts = json.dumps(self.charts, separators=(",", ":")).replace("<", "\\u003c")
        style = Path(__file__).with_name("page.css").read_text("utf-8")
        text = (
            '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
            '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
            f'<link rel="icon" href="data:,">\n<title>{escape(title)}</title>\n'
            f"<style>\n{style}</style>\n</head>\n<body>\n<main>\n{body}\n</main>\n"
            f'<script type="application/json" id="charts">{charts}</script>\n'
            f'<script type="module">{_vega()}\n{_START}</script>\n</body>\n</html>\n'
        )
        for name, chart in self.charts.items():
            drawn = chart | {"width": FIGURE_WIDTH, "background": "white"}
            svg = vl_convert.vegalite_to_svg(drawn)
            write_text(folder / "figures" / f"{name}.svg", svg)
            (folder / "figures" / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=2))
        write_text(folder / "report.html", text)


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, so that the page asks no network for them."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def paragraph(words: str, kind: str = "") -> str:
    """Plain words. kind: '', 'reading' (how to read something), 'note' (not to be overlooked)."""
    return f'<p class="{kind}">{escape(words)}</p>\n' if words else ""


def section(title: str, reading: str, *blocks: str, level: int = 2) -> str:
    """A part of the page; nothing if it would be empty."""
    inside = "".join(blocks)
    head = f"<h{level}>{escape(title)}</h{level}>\n{paragraph(reading, 'reading')}"
    return f"<section>\n{head}{inside}</section>\n" if inside else ""


def folded(title: str, *blocks: str) -> str:
    """What opens on demand only; nothing if it would be empty."""
    inside = "".join(blocks)
    head = f"<summary>{escape(title)}</summary>"
    return f"<details>{head}\n{inside}</details>\n" if inside else ""


def side_by_side(*blocks: str) -> str:
    """Blocks in columns where there is room."""
    return f'<div class="columns">{"".join(blocks)}</div>\n' if any(blocks) else ""


def table(columns: Sequence[str], rows: Sequence[Sequence[str]], caption: str = "") -> str:
    """Cells are plain words; a column of numbers is aligned as such. Nothing without rows."""
    if not rows:
        return ""
    kinds = [_kind(cells) for cells in zip(*rows, strict=True)]

    def line(tag: str, cells: Sequence[str]) -> str:
        pairs = zip(kinds, cells, strict=True)
        return "".join(f'<{tag} class="{kind}">{escape(cell)}</{tag}>' for kind, cell in pairs)

    body = "\n".join(f"<tr>{line('td', row)}</tr>" for row in rows)
    caption = f"<caption>{escape(caption)}</caption>" if caption else ""
    head = f"<thead><tr>{line('th', columns)}</tr></thead>" if any(columns) else ""
    inside = f"<table>{caption}{head}<tbody>\n{body}\n</tbody></table>"
    return f'<div class="table" tabindex="0">{inside}</div>\n'


def _kind(cells: Sequence[str]) -> str:
    """How a column is set: numbers to the right, long words over several lines."""
    if all(_NUMBER.fullmatch(cell) for cell in cells):
        return "n"
    return "long" if max(map(len, cells)) > LONG else ""


def thumbnail(path: Path | None) -> str:
    """A small copy of an image within the page; nothing if it cannot be read."""
    if path is None:
        return ""
    try:
        with Image.open(path) as file:
            small = file.convert("RGB")
    except (OSError, ValueError):
        return ""
    small.thumbnail((THUMBNAIL, THUMBNAIL))
    content = io.BytesIO()
    small.save(content, "JPEG", quality=85)
    return f'<img alt="" src="data:image/jpeg;base64,{base64.b64encode(content.getvalue()).decode()}">'
