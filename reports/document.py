"""What a report consists of, whatever it is written as: sections of text, tables and charts."""

from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Text:
    """A paragraph of plain words. note: it must not be overlooked."""

    words: str
    note: bool = False


@dataclass(frozen=True)
class Table:
    """Cells are words, as they are to be shown; a column of numbers is aligned as such."""

    columns: list[str]
    rows: list[list[str]]
    caption: str = ""


@dataclass
class Chart:
    """A drawing with its caption. The first sentence of a caption says what it shows.

    name: of its files; figure: of matplotlib; marks: by the id of a drawn group, for each of its
    points in order, what a pointer shows: the key of a configuration ("run/trial"), or words.
    """

    name: str
    caption: str
    figure: Any
    marks: dict[str, list[str]] = field(default_factory=dict)


@dataclass
class Section:
    """reading: how to read it; folded: whether it opens on demand only; columns: how many charts
    stand side by side where there is room.
    """

    title: str
    reading: str = ""
    blocks: list["Text | Table | Chart | Section"] = field(default_factory=list)
    folded: bool = False
    columns: int = 3

    def charts(self) -> list[Chart]:
        """All charts in it, in order."""
        found: list[Chart] = []
        for block in self.blocks:
            found += block.charts() if isinstance(block, Section) else []
            found += [block] if isinstance(block, Chart) else []
        return found
