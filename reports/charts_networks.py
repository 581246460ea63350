"""Charts of configurations: importance, parallel coordinates, confusion of classes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.colors import LogNorm, Normalize

from reports.charts import key, label_rows
from reports.document import Chart
from reports.drawing import BLUE, INK, Panel, short
from reports.importance import column_of
from reports.reading import IN_FULL

MAX_LINES = 250  # of parallel coordinates; the best are kept, the rest thinned out evenly
WIDE = 30.0  # from the smallest to the largest value: an axis of factors instead of steps


def importance_bars(found: dict[str, Any], names: Sequence[str], metric: str, name: str) -> Chart:
    """Loss of R2 when a hyperparameter is shuffled, the most important on top."""
    order = np.argsort(found["values"], kind="stable")[::-1]
    words = metric.replace("_", " ")
    caption = f"Importance for {words}; the forest explains R² = {found['r2']:.2f} of it."
    panel = Panel(name, caption, 62 + 21 * len(names), left=140)
    values = [found["values"][i] for i in order]
    panel.axes.barh(range(len(names)), values, 0.7, color=BLUE)
    label_rows(panel, [names[i] for i in order])
    panel.axes.axvline(0, color=INK, linewidth=0.8)
    panel.axes.set_xlabel(f"loss of R² for {words}")
    return panel.chart


def parallel_coordinates(question: dict[str, Any], name: str) -> Chart | None:
    """One line a configuration trained in full, one row a hyperparameter; None if there are none.

    Rows instead of columns, so that their names can be read on a phone.
    """
    chosen = [
        (point, key(run, point["trial"]))
        for method in question["methods"]
        for run in method["runs"]
        for point in run["points"]
        if point["kind"] in IN_FULL and point["objective"] is not None
    ]
    if not chosen:
        return None
    chosen.sort(key=lambda one: (-question["sign"] * one[0]["objective"], one[1]))
    chosen = chosen[:40] + chosen[40 :: 1 + len(chosen) // MAX_LINES]
    names = sorted({one for point, _ in chosen for one in point["config"]})
    rows = [*names, question["objective"]]
    caption = f"Configurations trained in full, coloured by {question['objective']}."
    panel = Panel(name, caption, 34 + 27 * len(rows), left=140, bottom=12)
    places = []
    for row, hyperparameter in enumerate(names):
        values = column_of([point["config"] for point, _ in chosen], hyperparameter)
        places.append(_axis(panel, row, values))
    results = [point["objective"] for point, _ in chosen]
    places.append(_axis(panel, len(names), results))
    shade = Normalize(min(results), max(results))
    colours = colormaps["cividis"]
    order = range(len(chosen))[::-1]  # the best on top
    lines = [([place[i] for place in places], range(len(rows))) for i in order]
    panel.lines(lines, [colours(round(float(shade(results[i])), 2)) for i in order], 1.0, 0.6)
    panel.mark(panel.axes.collections[-1], [chosen[i][1] for i in order])
    panel.axes.set(xlim=(-0.14, 1.04), xticks=[], ylim=(len(rows) - 0.4, -0.6))
    panel.axes.set_yticks(range(len(rows)), rows)
    panel.axes.tick_params(axis="y", length=0)
    panel.axes.spines["bottom"].set_visible(False)
    panel.axes.spines["left"].set_visible(False)
    return panel.chart


def _axis(panel: Panel, row: int, values: Sequence[Any]) -> list[float]:
    """Places from 0 to 1 of values on a row, with its ends written; -0.1 where not active."""
    known = [value for value in values if value is not None]
    panel.axes.plot([0, 1], [row, row], color="#CCCCCC", lw=1, zorder=0)
    if all(isinstance(value, bool | str) for value in known):
        words = sorted(set(known), key=str)
        place = {word: i / max(1, len(words) - 1) for i, word in enumerate(words)}
        low, high = str(words[0]), str(words[-1])
        found = [-0.1 if value is None else place[value] for value in values]
    else:
        least, most = min(known), max(known)
        norm = LogNorm if least > 0 and most / least > WIDE else Normalize
        scale = norm(least, most) if most > least else lambda _: 0.5
        low, high = short(least), short(most)
        found = [-0.1 if value is None else float(scale(value)) for value in values]
    back = {"facecolor": "white", "alpha": 0.7, "linewidth": 0, "pad": 0.5}
    style = {"fontsize": 9, "color": INK, "va": "bottom", "bbox": back, "zorder": 6}
    panel.axes.text(0, row - 0.08, low, ha="left", **style)
    if high != low:
        panel.axes.text(1, row - 0.08, high, ha="right", **style)
    return found


def confusion(test: dict[str, Any], name: str, caption: str) -> Chart:
    """Images of a class (row) by predicted class (column), added over the seeds."""
    counts = np.sum(test["confusion"], axis=0)
    names, size = test["class_names"], len(counts)
    panel = Panel(name, caption, height=380, left=112, bottom=112)
    axes = panel.axes
    rows, columns = np.nonzero(counts)
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    shade = colormaps["Blues"]
    for row, column in zip(rows, columns, strict=True):
        share = round(float(shares[row, column]), 1)
        words = f"{names[row]} taken for {names[column]}: {counts[row, column]}"
        corners = [column - 0.5, column + 0.5, column + 0.5, column - 0.5]
        square = axes.fill(corners, [row - 0.5, row - 0.5, row + 0.5, row + 0.5], lw=0)[0]
        square.set_facecolor(shade(0.1 + 0.85 * share))
        panel.mark(square, [words])
        if size <= 20:
            colour = "white" if share > 0.5 else INK
            axes.text(
                *(column, row, str(counts[row, column])),
                **{"ha": "center", "va": "center", "fontsize": 8, "color": colour},
            )
    axes.grid(False)
    axes.set(xlim=(-0.5, size - 0.5), ylim=(size - 0.5, -0.5))
    axes.set(xlabel="predicted", ylabel="")
    axes.set_xticks(range(size), names, rotation=90, fontsize=9)
    axes.set_yticks(range(size), names, fontsize=9)
    axes.tick_params(length=0)
    return panel.chart
