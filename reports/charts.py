"""The charts of a report, in Vega-Lite by way of Altair.

Text has the colour of the page around it, and series have colours that people with any colour
vision can tell apart on light and on dark (after Okabe and Ito, "Color Universal Design", 2008).
"""

from typing import Any

import altair as alt

from reports import halving, progress
from reports.grouping import Question
from reports.outcomes import front
from reports.reading import IN_FULL, Run
from reports.words import plain, setting

BLUE, ORANGE, GREEN, RED, PURPLE = "#2f86c5", "#e0912a", "#1f9e76", "#d9603b", "#b86fa0"
GREY, GOLD = "#8d8d8d", "#f0b400"
SERIES = (BLUE, ORANGE, GREEN, PURPLE, RED, "#4fb3d9", GREY)  # methods, in their order
INK, FAINT = "currentColor", "#8884"
STAR = "M0,-1L.22,-.31L.95,-.31L.36,.12L.59,.81L0,.38L-.59,.81L-.36,.12L-.95,-.31L-.22,-.31Z"
LOOKS = {  # what a point stands for -> colour, shape, area; drawn in this order
    "not fully trained": (GREY, "circle", 20),
    "misses a limit": (RED, "triangle-up", 45),
    "meets all limits": (GREEN, "circle", 55),
    "baseline": (BLUE, "square", 110),
    "winner": (GOLD, STAR, 320),
}
Chart = alt.Chart | alt.LayerChart
Rows = list[dict[str, Any]]


def finished(chart: Chart, height: int = 280) -> Chart:
    """As wide as what is around it, in the look of all charts."""
    text = {"labelColor": INK, "titleColor": INK, "labelFontSize": 12, "titleFontSize": 12}
    lines = {"gridColor": FAINT, "domainColor": FAINT, "tickColor": FAINT}
    return chart.properties(width="container", height=height).configure(
        background="transparent",
        font="system-ui, sans-serif",
        axis=alt.AxisConfig(**text, **lines, titleFontWeight="normal", labelOverlap="greedy"),
        legend=alt.LegendConfig(**text, orient="top", title=None, columns=2, labelLimit=280),
        view=alt.ViewConfig(stroke=None),
        title=alt.TitleConfig(color=INK, fontSize=12, fontWeight="normal"),
    )


def rows_of(rows: Rows) -> alt.Chart:
    """A chart of plain rows."""
    return alt.Chart(alt.Data(values=rows))


def tooltip(**titles: str) -> list[alt.Tooltip]:
    """Of fields; numbers with up to four digits, but for the numbers of trials."""
    text = ("method", "run", "trial", "configuration", "status", "operator", "value")
    return [
        alt.Tooltip(field=name, title=title, type="nominal")
        if name in text
        else alt.Tooltip(field=name, title=title, type="quantitative", format=",.4~f")
        for name, title in titles.items()
    ]


def _methods(question: Question) -> alt.Color:
    """A colour a method; the legend names them where there are several."""
    labels = list(question.methods)
    colours = [SERIES[i % len(SERIES)] for i in range(len(labels))]
    legend = alt.Legend(columns=1, symbolType="stroke") if len(labels) > 1 else None
    return alt.Color("method:N", legend=legend).scale(domain=labels, range=colours)


def _objective(question: Question) -> alt.Y:
    return alt.Y("y:Q", title=plain(question.ranking.metric)).scale(zero=False)


def trade_off(question: Question, metric: str) -> Chart | None:
    """All evaluated configurations, `metric` against the objective: limits, Pareto fronts of a
    metric known before training, baselines, winners; None if none has the metric.
    """
    rows = [row for label, run in question.labelled for row in _points(label, run, metric)]
    if not rows:
        return None
    shown = [one for one in LOOKS if one in {row["status"] for row in rows}]
    rows.sort(key=lambda row: shown.index(row["status"]))
    colours, shapes, areas = zip(*(LOOKS[one] for one in shown), strict=True)
    static, several = metric in question.runs[0].static, len(question.methods) > 1
    log = static and min(row["x"] for row in rows) > 0
    x = alt.X("x:Q", title=plain(metric), axis=alt.Axis(format="~s", tickCount=6))
    x = x.scale(type="log" if log else "linear", zero=False, padding=12)
    y, titles = _objective(question), {"y": plain(question.ranking.metric), "x": plain(metric)}
    titles |= {"run": "run", "trial": "trial", "epochs": "epochs", "operator": "made by"}
    status = alt.Color("status:N").scale(domain=shown, range=colours)
    points = (
        rows_of(rows)
        .mark_point(filled=True, opacity=0.85)
        .encode(
            x=x,
            y=y,
            color=_methods(question) if several else status,
            shape=alt.Shape("status:N").scale(domain=shown, range=shapes),
            size=alt.Size("status:N").scale(domain=shown, range=areas),
            tooltip=tooltip(status="status", **titles, configuration="configuration"),
        )
    )
    fronts = [
        {"method": label, "run": run.name, "x": one.metrics[metric],
         "y": one.metrics[run.ranking.metric]}
        for label, run in question.labelled
        for one in (front(run, metric) if static else ())
    ]  # fmt: skip
    colour = _methods(question) if several else alt.value(INK)
    steps = rows_of(fronts).mark_line(interpolate="step-after", strokeWidth=1.5)
    steps = steps.encode(x=x, y=y, detail="run:N", color=colour)
    return finished(alt.layer(*_limits(question, metric), steps, points), 340)


def _points(label: str, run: Run, metric: str) -> Rows:
    """A row a configuration by its last measurement."""
    words = {"feasible": "meets all limits", "infeasible": "misses a limit"}
    marked = {run.baseline.trial: "baseline"} if run.baseline else {}
    marked |= {run.best.trial: "winner"} if run.best else {}
    rows = []
    for trial in run.lasts:
        x, y = trial.metrics.get(metric), trial.metrics.get(run.ranking.metric)
        if trial.status == "ok" and None not in (x, y):
            status = marked.get(trial.trial, words.get(run.kind(trial), "not fully trained"))
            config = (f"{name} {setting(value)}" for name, value in sorted(trial.config.items()))
            row = {"method": label, "run": run.name, "trial": trial.trial, "x": x, "y": y}
            row |= {"status": status, "epochs": trial.epochs, "operator": trial.operator}
            rows.append(row | {"configuration": ", ".join(config)})
    return rows


def _limits(question: Question, metric: str) -> list[alt.Chart]:
    """Dashed lines at the constraints on either axis."""
    axes = {metric: "x", question.ranking.metric: "y"}
    return [
        rows_of([{axes[limit.metric]: limit.bound, "limit": str(limit)}])
        .mark_rule(color=RED, strokeDash=[5, 3], strokeWidth=1.5)
        .encode(**{axes[limit.metric]: f"{axes[limit.metric]}:Q"}, tooltip="limit:N")
        for limit in question.ranking.constraints
        if limit.metric in axes
    ]


def best_so_far(question: Question) -> Chart:
    """The best objective of all methods against what the reader chooses."""
    seconds = max(run.used_seconds for run in question.runs)
    unit, length = ("hours", 3600) if seconds >= 7200 else ("minutes", 60)
    rows = progress.rows(question)
    for row in rows:
        if row["axis"] == "seconds":
            row |= {"axis": unit, "x": row["x"] / length}
    options = ["epochs", "trials", unit]
    chosen = alt.param("axis", value="epochs", bind=alt.binding_radio(options=options, name=" "))
    x, y = alt.X("x:Q", title=None).scale(nice=False), _objective(question)
    base = rows_of(rows).transform_filter("datum.axis == axis").encode(x=x, y=y)
    base = base.encode(color=_methods(question))
    titles = {"y": plain(question.ranking.metric), "x": "used", "trial": "trial", "run": "run"}
    band = base.transform_filter("isValid(datum.low)").mark_area(
        interpolate="step-after", opacity=0.15
    )
    band = band.encode(y=alt.Y("low:Q").scale(zero=False), y2="high:Q")
    runs = base.transform_filter("!datum.mean").mark_line(
        interpolate="step-after", strokeWidth=0.8, opacity=0.6
    )
    means = base.transform_filter("datum.mean").mark_line(
        interpolate="step-after", strokeWidth=2.5, point=len(question.runs) == 1
    )
    layers = [band, runs.encode(detail="run:N"), means.encode(tooltip=tooltip(**titles))]
    words = alt.TitleParams(alt.expr("axis + ' used'"), orient="bottom", anchor="middle")
    return finished(alt.layer(*layers).add_params(chosen).properties(title=words))


def learning_curves(question: Question, label: str) -> Chart:
    """The children of the brackets of a method, from rung to rung, over all its runs."""
    rows = [
        {"run": run.name, "trial": one.trial, "child": f"{run.name}/{one.trial}", "x": epochs,
         "y": metrics[run.ranking.metric], "bracket": one.bracket, "fate": fate}
        for run in question.methods[label]
        for one in run.lasts
        if one.generation > 0 and one.bracket > 0
        for fate in ["trained in full" if run.kind(one) in IN_FULL else "dropped"]
        for epochs, metrics in sorted(run.curves.get(one.trial, {}).items())
        if metrics.get(run.ranking.metric) is not None
    ]  # fmt: skip
    brackets = sorted({row["bracket"] for row in rows}, reverse=True)
    radio = alt.binding_radio(options=["all", *brackets], name="bracket ")
    chosen = alt.param("bracket", value="all", bind=radio)
    ticks = sorted({at for run in question.methods[label] for at in halving.levels(run)})
    fates = alt.Color("fate:N").scale(domain=["dropped", "trained in full"], range=[GREY, BLUE])
    titles = {"y": plain(question.ranking.metric), "x": "epochs", "bracket": "bracket"}
    lines = (
        rows_of(rows)
        .mark_line(point={"size": 18}, strokeWidth=1.2, opacity=0.7)
        .encode(
            x=alt.X("x:Q", title="epochs", axis=alt.Axis(values=ticks)).scale(
                type="log", nice=False
            ),
            y=_objective(question),
            detail="child:N",
            color=fates,
            tooltip=tooltip(**titles, trial="trial", run="run"),
        )
    )
    picked = lines.transform_filter("bracket == 'all' || datum.bracket == bracket")
    return finished(picked.add_params(chosen))


def correlations(question: Question) -> Chart | None:
    """Rank correlation of each rung with the full budget, a point a run, a line a method."""
    rows = [
        {"method": label, "run": run.name, "x": epochs, "y": value}
        for label, run in question.labelled
        for epochs, value in halving.rank_correlations(run).items()
        if value is not None
    ]
    if not rows:
        return None
    x = alt.X("x:O", title="epochs of the rung", axis=alt.Axis(labelAngle=0))
    base = rows_of(rows).encode(x=x, color=_methods(question))
    titles = {"method": "method", "run": "run", "x": "epochs", "y": "correlation"}
    y = alt.Y("y:Q", title="rank correlation").scale(domainMax=1)
    dots = base.mark_circle(opacity=0.6).encode(y=y, tooltip=tooltip(**titles))
    mean = base.mark_line(strokeWidth=2).encode(y=alt.Y("mean(y):Q", title="rank correlation"))
    return finished(alt.layer(mean, dots), 220)
