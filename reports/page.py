"""A document as one HTML file that needs nothing else: no network, no other file."""

import json
import re
from collections.abc import Mapping
from html import escape
from itertools import groupby
from pathlib import Path
from typing import Any

from reports.document import Chart, Section, Table, Text

HERE = Path(__file__).resolve().parent
_NUMBER = re.compile(r"[–\d.,% ()+-]*( to [–\d.,% ()+-]+)?")
LONG = 48  # characters of a cell


def page(document: Section, drawings: Mapping[str, str], shown: Mapping[str, Any]) -> str:
    """drawings: SVG by name of chart; shown: what the script needs to describe configurations."""
    marks = {mark: keys for chart in document.charts() for mark, keys in chart.marks.items()}
    # In a script only "<" could end it early; as JSON it may be written otherwise.
    known = json.dumps({**shown, "marks": marks}, separators=(",", ":"), allow_nan=False)
    known = known.replace("<", "\\u003c")
    style, script = ((HERE / f"page.{kind}").read_text("utf-8") for kind in ("css", "js"))
    body = _section(document, drawings, 1)
    parts = [part for part in document.blocks if isinstance(part, Section)]
    if len(parts) == 1:
        parts = [part for part in parts[0].blocks if isinstance(part, Section)]
    links = "\n".join(f'<a href="#{_anchor(part)}">{escape(part.title)}</a>' for part in parts)
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<link rel="icon" href="data:,">\n'
        f"<title>{escape(document.title)}</title>\n<style>\n{style}</style>\n</head>\n<body>\n"
        f"<nav>\n{links}\n</nav>\n<main>\n{body}\n</main>\n"
        '<div id="tip" role="status" hidden></div>\n'
        f'<script type="application/json" id="known">{known}</script>\n'
        f"<script>\n{script}</script>\n</body>\n</html>\n"
    )


def _section(section: Section, drawings: Mapping[str, str], level: int) -> str:
    parts = [f'<p class="reading">{escape(section.reading)}</p>'] if section.reading else []
    for kind, group in groupby(section.blocks, type):
        if kind is Chart:
            inside = "\n".join(_chart(block, drawings[block.name]) for block in group)
            parts.append(f'<div class="charts of{section.columns}">\n{inside}\n</div>')
        elif kind is Section:
            parts += [_section(block, drawings, level + 1) for block in group]
        elif kind is Table:
            inside = "\n".join(map(_table, group))
            parts.append(f'<div class="tables">\n{inside}\n</div>')
        else:
            parts += map(_text, group)
    title, inner = escape(section.title), "\n".join(parts)
    if section.folded:
        return f"<details>\n<summary>{title}</summary>\n{inner}\n</details>"
    tag = f"h{min(level, 6)}"
    return f'<section>\n<{tag} id="{_anchor(section)}">{title}</{tag}>\n{inner}\n</section>'


def _anchor(section: Section) -> str:
    return re.sub(r"\W+", "-", section.title)


def _chart(chart: Chart, svg: str) -> str:
    words = escape(chart.caption)
    focus = ' tabindex="0"' if chart.marks else ""
    svg = svg.replace("<svg", f'<svg role="img" aria-label="{words}"{focus}', 1)
    return f"<figure>\n{svg}\n<figcaption>{words}</figcaption>\n</figure>"


def _text(text: Text) -> str:
    kind = ' class="note"' if text.note else ""
    return f"<p{kind}>{escape(text.words)}</p>"


def _table(table: Table) -> str:
    columns = range(len(table.columns))
    kinds = [_kind([row[column] for row in table.rows]) for column in columns]

    def cells(tag: str, row: list[str]) -> str:
        pairs = zip(kinds, row, strict=True)
        return "".join(f"<{tag}{kind}>{escape(cell)}</{tag}>" for kind, cell in pairs)

    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    rows = "\n".join(f"<tr>{cells('td', row)}</tr>" for row in table.rows)
    head = f"<thead><tr>{cells('th', table.columns)}</tr></thead>"
    body = f"<table>{caption}{head}<tbody>\n{rows}\n</tbody></table>"
    return f'<div class="table" tabindex="0">{body}</div>'


def _kind(cells: list[str]) -> str:
    """How a column is set: numbers to the right, long words over several lines."""
    if all(_NUMBER.fullmatch(cell) for cell in cells):
        return ' class="n"'
    return ' class="long"' if max(map(len, cells)) > LONG else ""
