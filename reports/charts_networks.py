"""Charts of configurations: importance, parallel coordinates, confusion of classes, a network."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt
import numpy as np

from reports.charts import BLUE, GOLD, INK, Chart, Rows, finished, rows_of, tooltip
from reports.grouping import ExperimentGroup
from reports.importance import column_of
from reports.words import plain, setting

MAX_CLASSES = 20  # of a confusion matrix
MAX_LINES = 100  # of parallel coordinates; the best are kept, the rest are thinned out evenly
WIDE = 30.0  # ratio of largest to smallest value above which an axis is logarithmic
WORST, BEST = "#8fb0c9", GOLD  # as the winner elsewhere; red misses a limit


def importance_bars(found: dict[str, Any], names: Sequence[str], metric: str) -> Chart:
    """Loss of R2 when a hyperparameter is shuffled, the most important at the top."""
    rows = [{"name": one, "x": value} for one, value in zip(names, found["values"], strict=True)]
    bars = rows_of(rows).mark_bar(color=BLUE).encode(
        x=alt.X("x:Q", title=f"loss of R² for {plain(metric)}"),
        y=alt.Y("name:N", title=None, sort="-x"),
        tooltip=tooltip(x="loss of R²"),
    )  # fmt: skip
    return finished(bars, 22 * len(names))


def parallel_coordinates(experiment: ExperimentGroup) -> Chart | None:
    """One line per fully trained configuration, one row per hyperparameter; None without any.

    Rows instead of columns, so that their names are readable on a phone.
    """
    metric, sign = experiment.ranking.metric, experiment.ranking.sign
    full = [(run, one) for run in experiment.runs for one in run.full]
    chosen = [(run, one) for run, one in full if one.metrics.get(metric) is not None]
    chosen.sort(key=lambda pair: -sign * pair[1].metrics[metric])
    chosen = chosen[:40] + chosen[40 :: 1 + len(chosen) // MAX_LINES]
    names = sorted({name for _, one in chosen for name in one.config})
    rows: Rows = []
    ends: Rows = []
    for number, name in enumerate(names):
        values = column_of([one.config for _, one in chosen], name)
        places, least, most = _axis(values)
        ends += [{"name": name, "x": 0, "text": setting(least)}]
        ends += [{"name": name, "x": 1, "text": setting(most)}] if most != least else []
        for (run, one), place, value in zip(chosen, places, values, strict=True):
            row = {"line": f"{run.name}/{one.trial}", "run": run.name, "trial": one.trial}
            row |= {"y": one.metrics[metric], "name": name, "row": number, "x": place}
            rows.append(row | {"value": "not active" if value is None else setting(value)})
    if not rows:
        return None
    x = alt.X("x:Q", axis=None).scale(domain=[-0.14, 1.06])
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(labelLimit=150, grid=True))
    shade = alt.Color("y:Q", legend=alt.Legend(title=plain(metric), format=".2f"))
    lines = rows_of(rows).mark_line(strokeWidth=1.2, opacity=0.7, point={"size": 15}).encode(
        x=x,
        y=y,
        order="row:Q",
        detail="line:N",
        color=shade.scale(range=[WORST, BEST][:: int(sign)], interpolate="rgb"),
        tooltip=tooltip(value="value", y=plain(metric), trial="trial", run="run"),
    )  # fmt: skip
    text = rows_of(ends).mark_text(dy=-8, fontSize=10, color=INK).encode(x=x, y=y, text="text:N")
    return finished(alt.layer(lines, text), 27 * len(names))


def _axis(values: Sequence[Any]) -> tuple[list[float], Any, Any]:
    """Positions of values from 0 to 1, -0.1 if not active; the values at both ends."""
    known = sorted({value for value in values if value is not None})
    if isinstance(known[0], str):
        at = {value: float(i) for i, value in enumerate(known)}
    else:
        log = known[0] > 0 and known[-1] / known[0] > WIDE
        at = {value: math.log(value) if log else float(value) for value in known}
    low, span = at[known[0]], at[known[-1]] - at[known[0]] or 1.0
    places = [-0.1 if value is None else (at[value] - low) / span for value in values]
    return places, known[0], known[-1]


def confusion(counts: Any, names: Sequence[str]) -> Chart:
    """Images of a class (row) by predicted class (column): of the classes with most errors."""
    shares = counts / counts.sum(axis=1, keepdims=True).clip(1)
    errors = counts.sum(axis=0) + counts.sum(axis=1) - 2 * counts.diagonal()
    shown = {*np.argsort(-errors, kind="stable")[:MAX_CLASSES].tolist()}
    rows = [
        {"class": names[i], "answer": names[j], "images": int(counts[i, j]),
         "share": round(float(shares[i, j]), 3)}
        for i, j in zip(*counts.nonzero(), strict=True) if {i, j} <= shown
    ]  # fmt: skip
    axis = alt.Axis(labelLimit=110)
    base = rows_of(rows).encode(
        x=alt.X("answer:N", sort=list(names), axis=axis),
        y=alt.Y("class:N", sort=list(names), axis=axis),
        tooltip=tooltip(**{"class": "class"}, answer="answer", images="images"),
    )
    shade = alt.Opacity("share:Q", legend=None).scale(domain=[0, 1], range=[0.12, 1])
    squares = base.mark_rect(color=BLUE).encode(opacity=shade)
    text = base.mark_text(fontSize=10, color=INK).encode(text="images:Q")
    return finished(alt.layer(squares, text), 420)


def network(layers: Sequence[dict[str, Any]]) -> Chart:
    """A picture of a network: one block per layer; its height grows with the side of its maps, its
    width with the channels, and more parameters are darker. Activations, norms and dropout are
    omitted.
    """
    rows: Rows = []
    place, shape, total = 0.0, None, sum(layer["parameters"] for layer in layers) or 1
    for layer in layers:
        if layer["output"] == shape and not layer["macs"]:
            continue
        shape = layer["output"]
        half = math.sqrt(shape[-1] if len(shape) > 1 else 1) / 2
        width = 1 + math.log2(shape[0]) / 3
        kind = layer["name"].rpartition(".")[2].replace("_", " ")
        row = {"layer": layer["name"], "output": " × ".join(map(str, shape)), "kind": kind}
        row |= {"x": place, "x2": place + width, "middle": place + width / 2, "y": -half}
        row |= {"y2": half, "share": layer["parameters"] / total, "channels": shape[0]}
        rows.append(row | {"parameters": layer["parameters"], "macs": layer["macs"]})
        place += width + 0.6
    top = max(row["y2"] for row in rows)
    names = {"layer": "layer", "output": "output", "parameters": "parameters"}
    base = rows_of(rows).encode(x=alt.X("middle:Q", axis=None).scale(nice=False))
    blocks = base.mark_rect(color=BLUE, stroke=BLUE, cornerRadius=2).encode(
        x=alt.X("x:Q", axis=None),
        x2="x2:Q",
        y=alt.Y("y:Q", axis=None).scale(domain=[-1.9 * top, 1.25 * top], nice=False),
        y2="y2:Q",
        fillOpacity=alt.FillOpacity("share:Q", legend=None).scale(range=[0.12, 1]),
        tooltip=tooltip(**names, macs="multiply-adds"),
    )
    above = base.mark_text(dy=-8, color=INK, fontSize=11).encode(y="y2:Q", text="channels:N")
    below = base.mark_text(angle=315, align="right", dx=-2, dy=8, color=INK, fontSize=11)
    return finished(alt.layer(blocks, above, below.encode(y="y:Q", text="kind:N")), 200)
