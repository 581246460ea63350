"""A document as one HTML file that needs nothing else: no network, no other file."""

import json
import re
from collections.abc import Mapping
from html import escape
from pathlib import Path
from typing import Any

from reports.document import Chart, Section, Table, Text

HERE = Path(__file__).resolve().parent
_NUMBER = re.compile(r"[–\d.,% ()+-]+|[–\d.,%]+ .{0,40}\([^)]*\)|")


def page(document: Section, drawings: Mapping[str, str], shown: Mapping[str, Any]) -> str:
    """drawings: SVG by name of chart; shown: what the script needs to describe configurations."""
    marks = {mark: keys for chart in document.charts() for mark, keys in chart.marks.items()}
    # In a script only "<" could end it early; as JSON it may be written otherwise.
    known = json.dumps({**shown, "marks": marks}, separators=(",", ":"), allow_nan=False)
    known = known.replace("<", "\\u003c")
    style, script = ((HERE / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    body = _section(document, drawings, 1)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(document.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f'<main>\n{body}\n</main>\n<div id="tip" role="status" hidden></div>\n'
        f'<script type="application/json" id="known">{known}</script>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _section(section: Section, drawings: Mapping[str, str], level: int) -> str:
    parts, charts = [], []
    for block in section.blocks:
        if isinstance(block, Chart):
            charts.append(_chart(block, drawings[block.name]))
            continue
        parts += _grid(charts)
        charts = []
        parts.append(
            _section(block, drawings, level + 1) if isinstance(block, Section) else _block(block)
        )
    parts += _grid(charts)
    heading = f"<h{min(level, 6)}>{escape(section.title)}</h{min(level, 6)}>"
    reading = f'<p class="reading">{escape(section.reading)}</p>' if section.reading else ""
    inner = "\n".join([reading, *parts])
    if section.folded:
        return f"<details>\n<summary>{escape(section.title)}</summary>\n{inner}\n</details>"
    return f"<section>\n{heading}\n{inner}\n</section>"


def _grid(charts: list[str]) -> list[str]:
    return ['<div class="charts">\n' + "\n".join(charts) + "\n</div>"] if charts else []


def _chart(chart: Chart, svg: str) -> str:
    words = escape(chart.caption)
    focus = ' tabindex="0"' if chart.marks else ""
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{words}"{focus}', 1)
    return f"<figure>\n{svg}\n<figcaption>{words}</figcaption>\n</figure>"


def _block(block: Text | Table) -> str:
    if isinstance(block, Text):
        kind = ' class="note"' if block.note else ""
        return f"<p{kind}>{escape(block.words)}</p>"
    right = [
        all(_NUMBER.fullmatch(row[column]) for row in block.rows)
        for column in range(len(block.columns))
    ]

    def cells(tag: str, row: list[str]) -> str:
        sides = [' class="n"' if side else "" for side in right]
        return "".join(
            f"<{tag}{side}>{escape(cell)}</{tag}>" for side, cell in zip(sides, row, strict=True)
        )

    caption = f"<caption>{escape(block.caption)}</caption>" if block.caption else ""
    rows = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in block.rows)
    head = f"<thead><tr>{cells('th', block.columns)}</tr></thead>"
    table = f"<table>{caption}{head}<tbody>\n{rows}\n</tbody></table>"
    return f'<div class="table" tabindex="0">{table}</div>'
