"""Charts of configurations: importance, parallel coordinates, confusion of classes, a network."""

import math
from collections.abc import Sequence
from typing import Any

import altair as alt

from reports.charts import BLUE, INK, Chart, Rows, finished, rows_of, tooltip
from reports.grouping import Question
from reports.importance import column_of
from reports.words import plain, setting

MAX_LINES = 250  # of parallel coordinates; the best are kept, the rest thinned out evenly
WIDE = 30.0  # from the smallest to the largest value: an axis of factors instead of steps


def importance_bars(found: dict[str, Any], names: Sequence[str], metric: str) -> Chart:
    """Loss of R2 when a hyperparameter is shuffled, the most important on top."""
    rows = [{"name": one, "x": value} for one, value in zip(names, found["values"], strict=True)]
    bars = (
        rows_of(rows)
        .mark_bar(color=BLUE)
        .encode(
            x=alt.X("x:Q", title=f"loss of R² for {plain(metric)}"),
            y=alt.Y("name:N", title=None, sort="-x"),
            tooltip=tooltip(x="loss of R²"),
        )
    )
    return finished(bars, 20 * len(names))


def parallel_coordinates(question: Question) -> Chart | None:
    """One line a configuration trained in full, one row a hyperparameter; None if there are none.

    Rows instead of columns, so that their names can be read on a phone.
    """
    ranking = question.ranking
    chosen = [
        (run, one)
        for run in question.runs
        for one in run.full
        if one.metrics.get(ranking.metric) is not None
    ]
    chosen.sort(key=lambda pair: -ranking.sign * pair[1].metrics[ranking.metric])
    chosen = chosen[:40] + chosen[40 :: 1 + len(chosen) // MAX_LINES]
    names = sorted({name for _, one in chosen for name in one.config})
    rows, ends = [], []
    for name in names:
        values = column_of([one.config for _, one in chosen], name)
        places, texts = _axis(values)
        ends += [{"name": name, "x": x, "text": text} for x, text in texts.items()]
        for (run, one), place, value in zip(chosen, places, values, strict=True):
            row = {"line": f"{run.name}/{one.trial}", "run": run.name, "trial": one.trial}
            row |= {"objective": one.metrics[ranking.metric], "name": name, "x": place}
            rows.append(row | {"value": "not active" if value is None else setting(value)})
    if not rows:
        return None
    x = alt.X("x:Q", axis=None).scale(domain=[-0.12, 1.02])
    y = alt.Y("name:N", title=None, sort=names, axis=alt.Axis(labelLimit=150, grid=True))
    shade = alt.Color("objective:Q", title=plain(ranking.metric), legend=alt.Legend(format=".2f"))
    titles = {"name": "hyperparameter", "objective": plain(ranking.metric)}
    lines = (
        rows_of(rows)
        .mark_line(strokeWidth=1.3, opacity=0.7, point={"size": 14})
        .encode(
            x=x,
            y=y,
            order="name:N",
            detail="line:N",
            color=shade.scale(scheme="viridis"),
            tooltip=tooltip(
                value="value", trial="trial", run="run", objective=titles["objective"]
            ),
        )
    )
    text = rows_of(ends).mark_text(dy=-8, fontSize=10, color=INK).encode(x=x, y=y, text="text:N")
    return finished(alt.layer(lines, text), 26 * len(names))


def _axis(values: Sequence[Any]) -> tuple[list[float], dict[float, str]]:
    """Places from 0 to 1 of values, -0.1 where not active, and what stands at the ends."""
    known = sorted({value for value in values if value is not None})
    if isinstance(known[0], str):
        place = {value: i / max(1, len(known) - 1) for i, value in enumerate(known)}
    else:
        log = known[0] > 0 and known[-1] / known[0] > WIDE
        sized = {value: math.log(value) if log else value for value in known}
        low, high = sized[known[0]], sized[known[-1]]
        place = {value: (at - low) / ((high - low) or 1) for value, at in sized.items()}
    ends = {place[value]: setting(value) for value in (known[0], known[-1])}
    return [-0.1 if value is None else place[value] for value in values], ends


def confusion(counts: Any, names: Sequence[str]) -> Chart:
    """Images of a class (row) by predicted class (column)."""
    rows = [
        {"true": names[i], "predicted": names[j], "images": int(count), "share": share}
        for i, line in enumerate(counts)
        for j, count in enumerate(line)
        if count
        for share in [round(float(count / line.sum()), 3)]
    ]
    axis = alt.Axis(labelLimit=110)
    base = rows_of(rows).encode(
        x=alt.X("predicted:N", sort=list(names), axis=axis),
        y=alt.Y("true:N", sort=list(names), axis=axis),
        tooltip=["true:N", "predicted:N", "images:Q"],
    )
    opacity = alt.Opacity("share:Q", legend=None).scale(domain=[0, 1], range=[0.12, 1])
    squares = base.mark_rect(color=BLUE).encode(opacity=opacity)
    layers = [squares, base.mark_text(fontSize=10, color=INK).encode(text="images:Q")]
    return finished(alt.layer(*layers[: 1 + (len(names) <= 20)]), 420)


def network(layers: Sequence[dict[str, Any]]) -> Chart:
    """A picture of a network: a block a layer, as high as the images in it, as wide as many
    channels, and darker the more parameters it has. What changes nothing is not drawn.
    """
    total = sum(layer["parameters"] for layer in layers) or 1
    rows: Rows = []
    place, shape = 0.0, None
    for layer in layers:
        if layer["output"] == shape and not layer["macs"]:
            continue
        shape = layer["output"]
        side, width = math.sqrt(shape[-1] if len(shape) > 1 else 1), 1 + math.log2(shape[0]) / 3
        kind = layer["name"].rpartition(".")[2].replace("_", " ")
        row = {"layer": layer["name"], "output": " × ".join(map(str, shape)), "kind": kind}
        row |= {"x": place, "x2": place + width, "middle": place + width / 2, "y": -side / 2}
        row |= {"y2": side / 2, "share": layer["parameters"] / total, "channels": shape[0]}
        rows.append(row | {"parameters": layer["parameters"], "macs": layer["macs"]})
        place += width + 0.6
    least = min(row["y"] for row in rows)
    base = rows_of(rows).encode(x=alt.X("middle:Q", axis=None))
    names = [alt.Tooltip(name) for name in ("layer:N", "output:N")]
    sizes = [alt.Tooltip(f"{name}:Q", format=",") for name in ("parameters", "macs")]
    blocks = base.mark_rect(color=BLUE, stroke=BLUE, cornerRadius=2).encode(
        x=alt.X("x:Q", axis=None),
        x2="x2:Q",
        y=alt.Y("y:Q", axis=None).scale(domain=[least * 2.4, -least * 1.3], nice=False),
        y2="y2:Q",
        fillOpacity=alt.FillOpacity("share:Q", legend=None).scale(range=[0.12, 1]),
        tooltip=[*names, *sizes],
    )
    above = base.mark_text(dy=-8, color=INK, fontSize=11).encode(y="y2:Q", text="channels:N")
    below = base.mark_text(angle=315, align="right", dx=-2, dy=8, color=INK, fontSize=11)
    return finished(alt.layer(blocks, above, below.encode(y="y:Q", text="kind:N")), 190)
