"""Writes a report: the page from its template, and the charts as SVG and PNG files."""

import base64
import functools
import io
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jinja2
import vl_convert
from PIL import Image

from predict import upright
from reports import words
from utils import InputError, write_text

HERE = Path(__file__).resolve().parent
FIGURE_WIDTH = 560  # of the files; in the page a chart has the width of its container
THUMBNAIL = 96  # pixels, the longer side
LONG = 48  # characters of a cell
_NUMBER = re.compile(r"[–\d.,% ()+\n-]*( to [–\d.,% ()+-]+)?")


def write(folder: Path, charts: Mapping[str, dict[str, Any]], **told: Any) -> Path:
    """Writes report.html, and each chart ({name: Vega-Lite}) to figures/.

    told: the variables of page.html. InputError if the folder cannot be made.
    """
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {folder} cannot be made: {error.strerror}") from None
    for name, chart in charts.items():
        svg = vl_convert.vegalite_to_svg(chart | {"width": FIGURE_WIDTH, "background": "white"})
        write_text(folder / "figures" / f"{name}.svg", svg)
        (folder / "figures" / f"{name}.png").write_bytes(vl_convert.svg_to_png(svg, scale=2))
    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"kind": kind, "plain": words.plain, "limit": words.limit}
    environment.filters |= {"number": words.number, "share": words.share}
    template = environment.from_string((HERE / "page.html").read_text("utf-8"))
    # "<" could end the script element early; JSON allows an escape.
    specs = json.dumps(charts, separators=(",", ":")).replace("<", "\\u003c")
    parts = {"style": (HERE / "page.css").read_text("utf-8"), "specs": specs, "vega": _vega()}
    write_text(folder / "report.html", template.render(charts=charts, **parts, **told))
    return folder / "report.html"


@functools.cache
def _vega() -> str:
    """Vega, Vega-Lite and Vega-Embed, so that the page needs no network."""
    return vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")


def kind(cell: str) -> str:
    """The CSS class of a cell: numbers are right-aligned, long texts wrap."""
    if _NUMBER.fullmatch(cell):
        return "n"
    return "long" if len(cell) > LONG and "\n" not in cell else ""


def thumbnail(path: Path | None) -> str:
    """A small copy of an image, as JPEG in base64; '' if it cannot be read."""
    content = io.BytesIO()
    try:
        with Image.open(path or "") as file:
            small = upright(file).convert("RGB")
        small.thumbnail((THUMBNAIL, THUMBNAIL))
        small.save(content, "JPEG", quality=85)
    except (OSError, ValueError):
        return ""
    return base64.b64encode(content.getvalue()).decode()
