"""The charts of a report, in Vega-Lite, made with Altair.

Text has the colour of the surrounding page. Series have colours that people with any colour vision
can distinguish on light and on dark (after Okabe and Ito, "Color Universal Design", 2008).
"""

from typing import Any

import altair as alt

from reports import halving, progress
from reports.grouping import ExperimentGroup
from reports.outcomes import front
from reports.reading import IN_FULL, Run
from reports.words import plain, setting

BLUE, ORANGE, GREEN, RED, PURPLE = "#2f86c5", "#e0912a", "#1f9e76", "#d9603b", "#b86fa0"
GREY, GOLD, SKY = "#8d8d8d", "#f0b400", "#4fb3d9"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, SKY, GREY)  # methods, in their order
INK, FAINT = "currentColor", "#8884"
STAR = "M0,-1 L.22,-.31 L.95,-.31 L.36,.12 L.59,.81 L0,.38 L-.59,.81 L-.36,.12 L-.95,-.31 "
STAR += "L-.22,-.31 Z"
LOOKS = {  # status of a point -> colour, shape, area; drawn in this order
    "not fully trained": (GREY, "circle", 25),
    "misses a limit": (RED, "triangle-up", 50),
    "meets all limits": (GREEN, "circle", 60),
    "baseline": (BLUE, "square", 110),
    "winner": (GOLD, STAR, 330),
}
MAX_POINTS = 3000  # of a run, not fully trained; more are thinned out evenly
MAX_CURVES = 300  # of a run; more are thinned out evenly
Chart = alt.Chart | alt.LayerChart
Rows = list[dict[str, Any]]


def finished(chart: Chart, height: int = 280) -> Chart:
    """Sets the full width of the container and the common style."""
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    text |= {"titleFontWeight": "normal"}
    symbols = {"symbolOpacity": 1, "symbolBaseFillColor": GREY, "symbolBaseStrokeColor": GREY}
    lines = {"gridColor": FAINT, "domainColor": FAINT, "tickColor": FAINT}
    return chart.properties(width="container", height=height).configure(
        background="transparent",
        font="system-ui, sans-serif",
        axis=alt.AxisConfig(**text, **lines, labelOverlap="greedy"),
        legend=alt.LegendConfig(**text, **symbols, orient="top", columns=2, labelLimit=300),
        view=alt.ViewConfig(stroke=None),
        title=alt.TitleConfig(color=INK, fontSize=12, fontWeight="normal"),
    )


def rows_of(rows: Rows) -> alt.Chart:
    """A chart of plain rows."""
    return alt.Chart(alt.Data(values=rows))


def tooltip(**titles: str) -> list[alt.Tooltip]:
    """The tooltip of these fields; numbers have up to four digits."""
    numbers = {"x", "y", "epochs", "images", "parameters", "macs"}
    return [
        alt.Tooltip(f"{field}:Q", title=title, format=",.4~f")
        if field in numbers
        else alt.Tooltip(f"{field}:N", title=title)
        for field, title in titles.items()
    ]


def _methods(experiment: ExperimentGroup) -> alt.Color:
    """One colour per method, with a legend if there are several."""
    labels = list(experiment.methods)
    colours = [SERIES[i % len(SERIES)] for i in range(len(labels))]
    legend = alt.Legend(title=None, columns=1) if len(labels) > 1 else None
    return alt.Color("method:N", legend=legend).scale(domain=labels, range=colours)


def _objective(experiment: ExperimentGroup) -> alt.Y:
    return alt.Y("y:Q", title=plain(experiment.ranking.metric)).scale(zero=False)


def trade_off(experiment: ExperimentGroup, metric: str) -> Chart | None:
    """All evaluated configurations, `metric` against the objective, with limits, baselines,
    winners and, for a static metric, Pareto fronts; None if none has the metric.
    """
    rows = [row for label, run in experiment.labelled for row in _points(label, run, metric)]
    if not rows:
        return None
    shown = [one for one in LOOKS if one in {row["status"] for row in rows}]
    rows.sort(key=lambda row: shown.index(row["status"]))
    static, several = metric in experiment.runs[0].static, len(experiment.methods) > 1
    log = static and min(row["x"] for row in rows) > 0
    scale = {"type": "log"} if log else {"zero": False}
    axis = alt.Axis(format="~s" if static else "~g", tickCount=5, grid=False)
    x = alt.X("x:Q", title=plain(metric), axis=axis).scale(**scale, nice=False, padding=14)
    names = {"status": "status", "x": plain(metric), "y": plain(experiment.ranking.metric)}
    names |= {"run": "run", "trial": "trial", "epochs": "epochs", "operator": "made by"}
    legend = alt.Legend(title=None)
    colours, shapes = ([LOOKS[one][i] for one in shown] for i in range(2))
    status = alt.Color("status:N", legend=legend).scale(domain=shown, range=colours)
    base = rows_of(rows).mark_point(filled=True, opacity=0.85)
    points = base.encode(
        x=x,
        y=_objective(experiment),
        color=_methods(experiment) if several else status,
        shape=alt.Shape("status:N", legend=legend).scale(domain=shown, range=shapes),
        size=alt.Size("area:Q", scale=None),
        tooltip=tooltip(**names, configuration="configuration"),
    )
    steps = [
        rows_of([{"x": one.metrics[metric], "y": one.metrics[run.ranking.metric]} for one in best])
        .mark_line(interpolate="step-after", strokeWidth=1.5, color=INK, opacity=0.7)
        .encode(x=x, y=_objective(experiment))
        for run in experiment.runs
        if static and (best := front(run, metric))
    ]
    return finished(alt.layer(*_limits(experiment, metric), *steps, points), 340)


def _points(label: str, run: Run, metric: str) -> Rows:
    """One row per configuration, with its last measurement."""
    meanings = {"feasible": "meets all limits", "infeasible": "misses a limit"}
    marked = {run.baseline.trial: "baseline"} if run.baseline else {}
    marked |= {run.best.trial: "winner"} if run.best else {}
    rows: Rows = []
    every = 1 + len(run.lasts) // MAX_POINTS
    for number, trial in enumerate(run.lasts):
        x, y = trial.metrics.get(metric), trial.metrics.get(run.ranking.metric)
        meaning = meanings.get(run.kind(trial), "not fully trained")
        status = marked.get(trial.trial, meaning)
        thinned = status == "not fully trained" and number % every
        if trial.status == "ok" and None not in (x, y) and not thinned:
            config = (f"{name} {setting(value)}" for name, value in sorted(trial.config.items()))
            row = {"method": label, "run": run.name, "trial": trial.trial, "x": x, "y": y}
            row |= {"status": status, "area": LOOKS[status][2], "epochs": trial.epochs}
            rows.append(row | {"operator": trial.operator, "configuration": ", ".join(config)})
    return rows


def _limits(experiment: ExperimentGroup, metric: str) -> list[alt.Chart]:
    """Dashed lines at the constraints on both axes."""
    axes = {metric: "x", experiment.ranking.metric: "y"}
    rules = {"color": RED, "strokeDash": [5, 3], "strokeWidth": 1.5}
    return [
        rows_of([{axes[limit.metric]: limit.bound, "limit": str(limit)}])
        .mark_rule(**rules)
        .encode(**{axes[limit.metric]: f"{axes[limit.metric]}:Q"}, tooltip="limit:N")
        for limit in experiment.ranking.constraints
        if limit.metric in axes
    ]


def best_so_far(experiment: ExperimentGroup) -> Chart | None:
    """The best objective of all methods against a chosen axis; None if nothing is feasible."""
    seconds = max(run.used_seconds for run in experiment.runs)
    unit, length = ("hours", 3600) if seconds >= 7200 else ("minutes", 60)
    rows = progress.rows(experiment)
    if not rows:
        return None
    for row in rows:
        if row["axis"] == "seconds":
            row |= {"axis": unit, "x": row["x"] / length}
    radio = alt.binding_radio(options=["epochs", "trials", unit], name="against ")
    names = {"y": plain(experiment.ranking.metric), "x": "used", "run": "run"}
    base = rows_of(rows).transform_filter("datum.axis == axis").encode(
        x=alt.X("x:Q", title=None, axis=alt.Axis(grid=False)).scale(nice=False),
        y=_objective(experiment),
        color=_methods(experiment),
        tooltip=tooltip(**names),
    )  # fmt: skip
    step = {"interpolate": "step-after"}
    marks = {
        "trial": base.mark_circle(opacity=0.5),
        "seed": base.mark_line(**step, strokeWidth=0.8, opacity=0.6).encode(detail="run:N"),
        "method": base.mark_line(**step, strokeWidth=2.5),
    }
    kinds = {row["kind"] for row in rows}
    layers = [
        mark.transform_filter(f"datum.kind == '{kind}'")
        for kind, mark in marks.items()
        if kind in kinds
    ]
    if "seed" in kinds:
        band = base.mark_area(**step, opacity=0.15).transform_filter("isValid(datum.low)")
        layers.insert(0, band.encode(y=alt.Y("low:Q").scale(zero=False), y2="high:Q"))
    words = alt.TitleParams(alt.expr("axis + ' used'"), orient="bottom", anchor="middle")
    chosen = alt.param("axis", value="epochs", bind=radio)
    return finished(alt.layer(*layers).add_params(chosen).properties(title=words))


def learning_curves(experiment: ExperimentGroup, label: str) -> Chart | None:
    """The learning curves of a method's bracket children, from rung to rung, of all its runs."""
    rows, metric = [], experiment.ranking.metric
    for run in experiment.methods[label]:
        for one in run.lasts[:: 1 + len(run.lasts) // MAX_CURVES]:
            child = {"run": run.name, "trial": one.trial, "child": f"{run.name}/{one.trial}"}
            child["fate"] = "trained in full" if run.kind(one) in IN_FULL else "dropped"
            child["bracket"] = one.bracket
            rows += [
                {**child, "x": epochs, "y": metrics[metric]}
                for epochs, metrics in sorted(run.curves.get(one.trial, {}).items())
                if one.bracket > 0 and metrics.get(metric) is not None
            ]
    if not rows:
        return None
    brackets = sorted({row["bracket"] for row in rows}, reverse=True)
    radio = alt.binding_radio(options=["all", *brackets], name="bracket ")
    axis = alt.Axis(values=halving.levels(experiment.methods[label][0]))
    fates = alt.Color("fate:N", legend=alt.Legend(title=None))
    names = {"y": plain(metric), "x": "epochs", "bracket": "bracket", "trial": "trial"}
    base = rows_of(rows).mark_line(point={"size": 20}, strokeWidth=1.2, opacity=0.75)
    lines = base.transform_filter("bracket == 'all' || datum.bracket == bracket").encode(
        x=alt.X("x:Q", title="epochs", axis=axis).scale(type="log", nice=False, padding=8),
        y=_objective(experiment),
        detail="child:N",
        color=fates.scale(domain=["dropped", "trained in full"], range=[GREY, BLUE]),
        tooltip=tooltip(**names, run="run"),
    )
    return finished(lines.add_params(alt.param("bracket", value="all", bind=radio)))


def correlations(experiment: ExperimentGroup) -> Chart | None:
    """Rank correlation of each rung with the full budget: points for runs, lines for means."""
    rows = [
        {"method": label, "run": run.name, "x": epochs, "y": value}
        for label, run in experiment.labelled
        for epochs, value in halving.rank_correlations(run).items()
    ]
    if not rows:
        return None
    x = alt.X("x:O", title="epochs of the rung", axis=alt.Axis(labelAngle=0))
    base = rows_of(rows).encode(x=x, color=_methods(experiment))
    names = {"method": "method", "run": "run", "y": "correlation"}
    dots = base.mark_circle(opacity=0.6).encode(y="y:Q", tooltip=tooltip(**names))
    line = base.mark_line().encode(y=alt.Y("mean(y):Q", title="rank correlation"))
    return finished(alt.layer(line, dots))
