"""A small scatter plot as SVG, for where a chart of W&B could not mark the feasible ones."""

import math
from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

WIDTH, HEIGHT, MARGIN = 640, 400, 64  # pixels
# Marks by (fully trained, feasible); a trial that has not been trained fully may become either.
_MARKS = {
    (True, True): ("feasible", 'r="4" fill="#1a7f37"'),
    (True, False): ("over a limit", 'r="4" fill="none" stroke="#cf222e" stroke-width="1.5"'),
    (False, True): ("not fully trained", 'r="2" fill="#8c959f"'),
}
_MARKS[False, False] = _MARKS[False, True]


def scatter(rows: Sequence[Mapping[str, Any]], x: str, y: str, bound: float) -> str:
    """Rows of `engine.tracking.trial_row` by two of their metrics; a dashed line at the bound.

    Rows that lack one of the two are left out. x spans over a decade are drawn as logarithms.
    """
    known = [row for row in rows if row.get(x) is not None and row.get(y) is not None]
    known.sort(key=lambda row: (row["fully_trained"], row["feasible"]))  # feasible ones on top
    xs, ys = [row[x] for row in known], [row[y] for row in known]
    logarithmic = bool(xs) and min(*xs, bound) > 0 and max(xs) > 10 * min(xs)
    across = _axis([*xs, bound], MARGIN, WIDTH - 20, logarithmic)
    up = _axis(ys, HEIGHT - MARGIN, 34, False)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" '
        'font-family="sans-serif" font-size="12" fill="#1f2328" style="background:#fff">',
        f'<path d="M{MARGIN} 24V{HEIGHT - MARGIN}H{WIDTH - 10}" fill="none" stroke="#8c959f"/>',
        f'<path d="M{across(bound):.1f} 24V{HEIGHT - MARGIN}" stroke="#cf222e" '
        'stroke-dasharray="4"/>',
    ]
    for row in known:
        _, mark = _MARKS[row["fully_trained"], row["feasible"]]
        words = (
            f"trial {row['trial']} at {row['epochs']} epochs: {x} {row[x]:.6g}, {y} {row[y]:.4f}"
        )
        parts.append(
            f'<circle cx="{across(row[x]):.1f}" cy="{up(row[y]):.1f}" {mark}>'
            f"<title>{escape(words)}</title></circle>"
        )
    for value in _ends(xs):
        parts.append(_text(across(value), HEIGHT - MARGIN + 18, f"{value:.4g}", "middle"))
    for value in _ends(ys):
        parts.append(_text(MARGIN - 6, up(value) + 4, f"{value:.4g}", "end"))
    scale = ", logarithmic" if logarithmic else ""
    label = f"{x}{scale} (dashed: the limit, {bound:.6g})"
    parts.append(_text((MARGIN + WIDTH) / 2, HEIGHT - MARGIN + 38, label, "middle"))
    parts.append(_text(MARGIN, 14, y, "middle"))
    for place, (words, mark) in enumerate(dict.fromkeys(_MARKS.values())):
        left = MARGIN + 60 + 150 * place
        parts.append(
            f'<circle cx="{left}" cy="10" {mark}/>' + _text(left + 10, 14, words, "start")
        )
    return "\n".join([*parts, "</svg>"])


def _ends(values: Sequence[float]) -> list[float]:
    return sorted({min(values), max(values)}) if values else []


def _axis(values: Sequence[float], start: float, end: float, logarithmic: bool) -> Any:
    """Where between start and end (pixels) a value is drawn."""
    scale = math.log if logarithmic else float
    low, high = (scale(min(values)), scale(max(values))) if values else (0.0, 1.0)
    span = high - low or 1.0
    return lambda value: start + (end - start) * (0.04 + 0.92 * (scale(value) - low) / span)


def _text(x: float, y: float, words: str, anchor: str) -> str:
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}">{escape(words)}</text>'
