"""The charts of a report, each from plain numbers of `reports.summary`."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import FuncFormatter, MaxNLocator

from reports import drawing
from reports.document import Chart
from reports.drawing import DASHES, GREEN, GREY, INK, RED, SERIES, YELLOW, Panel, short
from reports.reading import IN_FULL
from reports.words import SIZES

QUANTITY_WORDS = {
    "best": "best feasible {objective}",
    "best_precision": "{precision} of the best feasible",
    "population": "population's mean {objective}",
    "population_precision": "population's mean {precision}",
}
KIND_LOOKS = {  # marker, size, colour, filled, what it means; drawn in this order
    "partial": ("o", 3.5, "#777777", False, "not fully trained"),
    "infeasible": ("^", 5.0, RED, False, "misses a limit"),
    "feasible": ("o", 5.0, GREEN, True, "feasible"),
}
AXIS_WORDS = {"epochs": "epochs", "macs": "multiply-adds an image x epochs", "time": "time"}
MAX_MARKED = 2000  # points of one kind in a chart; more are thinned out evenly


def key(run: dict[str, Any], trial: int) -> str:
    """Of a configuration among all runs of a report."""
    return f"{run['number']}/{trial}"


def progress(question: dict[str, Any], name: str, quantity: str, axis: str) -> Chart:
    """A quantity of all methods against what was used on an axis: mean and range over seeds."""
    words = QUANTITY_WORDS[quantity].format(**question)
    methods = question["methods"]
    caption = f"{words[0].upper()}{words[1:]} against {AXIS_WORDS[axis]}."
    panel = Panel(name, caption, legend_rows=(len(methods) + 1) // 2)
    unit, label = 1.0, f"{AXIS_WORDS[axis]} used"
    if axis == "time":
        ends = [run["curves"][axis][quantity]["end"] for m in methods for run in m["runs"]]
        unit, label = time_unit(max(ends, default=0))
    handles = []
    for number, method in enumerate(methods):
        look = {"color": SERIES[number % 7], "linestyle": DASHES[number % 4]}
        handles.append(Line2D([], [], linewidth=2, label=method["label"], **look))
        _seeds(panel, method, axis, quantity, unit, look)
        mean = method["curves"][axis][quantity]
        if mean is not None and mean["runs"] > 1:
            x = np.array(mean["x"]) / unit
            panel.axes.fill_between(
                x, mean["low"], mean["high"], step="post", color=look["color"], alpha=0.15, lw=0
            )
            panel.axes.plot(x, mean["mean"], drawstyle="steps-post", linewidth=2, **look)
    panel.axes.set(xlabel=label, ylabel=_short_words(quantity, question))
    panel.axes.xaxis.set_major_formatter(FuncFormatter(short))
    panel.axes.set_xlim(left=0)
    panel.legend(handles)
    return panel.chart


def _short_words(quantity: str, question: dict[str, Any]) -> str:
    name = question["precision"] if "precision" in quantity else question["objective"]
    return f"{'mean ' if 'population' in quantity else ''}{name.replace('_', ' ')}"


def _seeds(
    panel: Panel, method: dict[str, Any], axis: str, quantity: str, unit: float, look: dict
) -> None:
    """The run itself if it is one; thin lines of the seeds if there are more."""
    single = len(method["runs"]) == 1
    for run in method["runs"]:
        step = run["curves"][axis][quantity]
        if not step["x"]:
            continue
        x = np.array([*step["x"], max(step["end"], step["x"][-1])]) / unit
        y = np.array([*step["y"], step["y"][-1]], dtype=float)
        width, alpha = (2, 1.0) if single else (0.7, 0.55)
        style = {"linewidth": width, "alpha": alpha, "color": look["color"]}
        style["linestyle"] = look["linestyle"] if single else "-"
        panel.axes.plot(x, y, drawstyle="steps-post", **style)
        if quantity == "best":
            shown = [key(run, trial) for trial in step["trials"]]
            size = 4 if single else 2.5
            dots = panel.axes.plot(x[:-1], y[:-1], "o", ms=size, mew=0, color=look["color"])
            panel.mark(dots[0], shown)


def time_unit(seconds: float) -> tuple[float, str]:
    """(seconds in a unit, label of an axis) that suit a time so long."""
    for unit, length in (("hours", 3600.0), ("minutes", 60.0)):
        if seconds >= 2 * length:
            return length, f"{unit} used"
    return 1.0, "seconds used"


def scatter(question: dict[str, Any], method: dict[str, Any], name: str, metric: str) -> Chart:
    """All evaluated configurations of a method, `metric` against the objective: limits, Pareto
    front of each run, winners. metric: precision, or one known before training.
    """
    objective = question["objective"]
    shown = {"precision": question["precision"]} | SIZES
    across = shown.get(metric, metric).replace("_", " ")
    caption = f"{method['label']}: {across} and {objective} of all evaluated."
    panel = Panel(name, caption, height=320, legend_rows=3)
    handles = []
    for kind, (marker, size, colour, filled, meaning) in KIND_LOOKS.items():
        points = [
            (point[metric], point["objective"], key(run, point["trial"]))
            for run in method["runs"]
            for point in run["points"]
            if point["kind"] == kind and None not in (point[metric], point["objective"])
        ]
        points = points[:: 1 + len(points) // MAX_MARKED]
        look = {"marker": marker, "ms": size, "linestyle": "none", "alpha": 0.75}
        look |= {"mfc": colour if filled else "none", "mec": colour, "mew": 0 if filled else 1}
        handles.append(Line2D([], [], label=meaning, **look))
        if points:
            x, y, keys = zip(*points, strict=True)
            panel.mark(panel.axes.plot(x, y, **look)[0], keys)
    for run in method["runs"]:
        _front(panel, run, metric)
    _winners(panel, method, metric)
    front = Line2D([], [], color=INK, linewidth=1.1, label="Pareto front")
    star = Line2D([], [], marker="*", ms=13, mfc=YELLOW, mec=INK, ls="none", label="winner")
    bound = Line2D([], [], color=RED, linestyle=(0, (4, 2)), linewidth=1.3, label="limit")
    drawn = _limits(panel, question, metric)
    if metric != "precision":
        panel.axes.set_xscale("log")
        panel.axes.xaxis.set_major_formatter(FuncFormatter(short))
        panel.axes.xaxis.set_minor_formatter(FuncFormatter(lambda *_: ""))
    panel.axes.set(xlabel=across, ylabel=objective)
    panel.legend([*handles, front, star, *([bound] if drawn else [])])
    return panel.chart


def _front(panel: Panel, run: dict[str, Any], metric: str) -> None:
    front = [run["points"][index] for index in run["fronts"].get(metric, ())]
    if front:
        x, y = [point[metric] for point in front], [point["objective"] for point in front]
        # A point of the front holds as far as the next one: towards less of what is wanted.
        style = "steps-pre" if metric == "precision" else "steps-post"
        panel.axes.plot(x, y, drawstyle=style, color=INK, linewidth=1.1, zorder=3)


def _winners(panel: Panel, method: dict[str, Any], metric: str) -> None:
    found = []
    for run in method["runs"]:
        best = run["winner"]
        points = {point["trial"]: point for point in run["points"]}
        if best and None not in (
            points[best["trial"]][metric],
            points[best["trial"]]["objective"],
        ):
            found.append((points[best["trial"]], key(run, best["trial"])))
    if found:
        x = [point[metric] for point, _ in found]
        y = [point["objective"] for point, _ in found]
        stars = panel.axes.plot(x, y, "*", ms=13, mfc=YELLOW, mec=INK, mew=1, zorder=5)
        panel.mark(stars[0], [shown for _, shown in found])


def _limits(panel: Panel, question: dict[str, Any], metric: str) -> bool:
    """Lines at the constraints on either axis; whether there are any."""
    across = question["precision"] if metric == "precision" else metric
    style = {"color": RED, "linestyle": (0, (4, 2)), "linewidth": 1.3, "zorder": 2}
    drawn = False
    for limit in question["constraints"]:
        if limit["metric"] in (across, question["objective"]):
            line = panel.axes.axvline if limit["metric"] == across else panel.axes.axhline
            line(limit["bound"], **style)
            drawn = True
    return drawn


def learning_curves(
    question: dict[str, Any], method: dict[str, Any], name: str, bracket: int
) -> Chart:
    """The children of a bracket, over all its generations and seeds, from rung to rung."""
    caption = f"{method['label']}, bracket {bracket}: learning curves of its children."
    panel = Panel(name, caption, height=250, legend_rows=1)
    looks = {"dropped": (GREY, 0.8, 0.55), "trained in full": (SERIES[0], 1.3, 0.9)}
    lines: dict[str, list[tuple[list[float], list[float], str]]] = {name: [] for name in looks}
    for run in method["runs"]:
        for curve in run["halving"]["curves"].get(bracket, []):
            kind = "trained in full" if curve["kind"] in IN_FULL else "dropped"
            lines[kind].append((curve["x"], curve["y"], key(run, curve["trial"])))
    for kind, (colour, width, alpha) in looks.items():
        panel.lines([(x, y) for x, y, _ in lines[kind]], colour, width, alpha)
        panel.mark(panel.axes.collections[-1], [shown for *_, shown in lines[kind]])
        ends = [(x[-1], y[-1]) for x, y, _ in lines[kind]]  # some were dropped at their first rung
        panel.axes.plot(*np.reshape(ends, (-1, 2)).T, "o", ms=2.5, mew=0, color=colour)
    epochs = sorted({at for run in method["runs"] for at in run["halving"]["levels"]})
    rung_axis(panel, epochs)
    panel.axes.set(xlabel="epochs", ylabel=question["objective"])
    panel.legend([Line2D([], [], color=looks[kind][0], lw=2, label=kind) for kind in looks])
    return panel.chart


def rung_axis(panel: Panel, epochs: Sequence[int]) -> None:
    """A logarithmic axis of epochs with a tick at each rung."""
    panel.axes.set_xscale("log")
    panel.axes.set_xticks(epochs, [str(at) for at in epochs])
    panel.axes.set_xticks([], minor=True)


def correlations(question: dict[str, Any], name: str) -> Chart:
    """Rank correlation of each rung with the full budget, by method: mean and range of seeds."""
    methods = question["methods"]
    caption = f"Rank correlation of {question['objective']} at a rung with the full budget."
    panel = Panel(name, caption, legend_rows=(len(methods) + 1) // 2)
    epochs = set()
    for number, method in enumerate(methods):
        rungs: dict[int, list[float]] = {}
        for run in method["runs"]:
            for row in run["correlations"]:
                if row["objective"] is not None:
                    rungs.setdefault(row["epochs"], []).append(row["objective"])
        epochs |= set(rungs)
        x = sorted(rungs)
        mean = [float(np.mean(rungs[at])) for at in x]
        low = [m - min(rungs[at]) for m, at in zip(mean, x, strict=True)]
        high = [max(rungs[at]) - m for m, at in zip(mean, x, strict=True)]
        nudge = 1 + 0.02 * (number - (len(methods) - 1) / 2)  # so that bars do not hide each other
        style = {"color": SERIES[number % 7], "linestyle": DASHES[number % 4]}
        places = [at * nudge for at in x]
        if x:
            panel.axes.errorbar(places, mean, (low, high), lw=1.6, marker="o", ms=4, **style)
        panel.axes.plot([], [], lw=2, label=method["label"], **style)
    rung_axis(panel, sorted(epochs))
    panel.axes.set(xlabel="epochs of the rung", ylabel="Spearman's rank correlation")
    panel.axes.set_ylim(top=1.02)
    panel.legend()
    return panel.chart


def valid_shares(question: dict[str, Any], name: str) -> Chart:
    """Share of feasible among those trained in full, a dot a run, a line at the mean."""
    methods = question["methods"]
    caption = "Share of feasible configurations among those trained in full."
    panel = Panel(name, caption, height=70 + 34 * len(methods), left=150)
    for row, method in enumerate(methods):
        runs = [run for run in method["runs"] if run["shares"]["valid_share"] is not None]
        x, colour = [run["shares"]["valid_share"] for run in runs], SERIES[row % 7]
        if x:
            panel.axes.plot([np.mean(x)] * 2, [row - 0.3, row + 0.3], color=colour, lw=2.5)
            dots = panel.axes.plot(x, [row] * len(x), "o", ms=6, color=colour, alpha=0.7, mew=0)
            words = [f"{run['name']}: {value:.0%}" for run, value in zip(runs, x, strict=True)]
            panel.mark(dots[0], words)
    label_rows(panel, [method["label"] for method in methods])
    panel.axes.set(xlim=(-0.03, 1.03), xlabel="share that meets all limits")
    panel.axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:.0%}"))
    return panel.chart


def label_rows(panel: Panel, labels: Sequence[str]) -> None:
    """One row a label, the first on top."""
    panel.axes.set_yticks(range(len(labels)), labels)
    panel.axes.set_ylim(len(labels) - 0.4, -0.6)
    panel.axes.tick_params(axis="y", length=0)
    panel.axes.grid(False, axis="y")


def time_bars(question: dict[str, Any], name: str) -> Chart:
    """Time of the workers by what it was spent on, a bar a run."""
    runs = [(method, run) for method in question["methods"] for run in method["runs"]]
    panel = Panel(
        name, "Time of the workers, by run.", 100 + 24 * len(runs), left=170, legend_rows=3
    )
    fates = list(runs[0][1]["time"])
    colours = (drawing.BLUE, GREEN, drawing.ORANGE, RED, "#D0D0D0")
    unit, label = time_unit(max(sum(run["time"].values()) for _, run in runs))
    begin = np.zeros(len(runs))
    for fate, colour in zip(fates, colours, strict=True):
        width = np.array([run["time"][fate] for _, run in runs]) / unit
        panel.axes.barh(range(len(runs)), width, 0.7, begin, color=colour, label=fate)
        begin += width
    label_rows(panel, [f"{method['label']}, {run['seed']}" for method, run in runs])
    panel.axes.set_xlabel(label.replace(" used", " of workers"))
    panel.axes.xaxis.set_major_locator(MaxNLocator(5))
    panel.legend()
    return panel.chart
