"""A document as Markdown, with its charts as files beside it."""

import re

from reports.document import Chart, Section, Table, Text


def markdown(section: Section, figures: str, level: int = 1) -> str:
    """The section and all in it. figures: folder of the charts, seen from the file."""
    parts = [f"{'#' * min(level, 6)} {_plain(section.title)}"]
    if section.reading:
        parts.append(f"*How to read it:* {_plain(section.reading)}" if level > 1 else "")
    for block in section.blocks:
        if isinstance(block, Section):
            parts.append(markdown(block, figures, level + 1))
        elif isinstance(block, Text):
            parts.append(
                f"> **Note:** {_plain(block.words)}" if block.note else _plain(block.words)
            )
        elif isinstance(block, Table):
            parts.append(_table(block))
        elif isinstance(block, Chart):
            words = _plain(block.caption)
            parts.append(f"![{words}]({figures}/{block.name}.svg)\n\n*{words}*")
    return "\n\n".join(part for part in parts if part)


def _table(table: Table) -> str:
    lines = [table.columns, ["---"] * len(table.columns), *table.rows]
    text = "\n".join("| " + " | ".join(map(_plain, line)) + " |" for line in lines)
    return f"{_plain(table.caption)}\n\n{text}" if table.caption else text


def _plain(words: str) -> str:
    """Words from a run (names of classes, errors) are no markup."""
    return re.sub(r"([\\`*_{}\[\]<>#|])", r"\\\1", " ".join(words.split()))
