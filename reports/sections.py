"""From numbers to a document: what a report tells, in which order, and how to read it."""

from collections.abc import Iterable
from typing import Any

from reports import charts, words
from reports.document import Section, Table, Text
from reports.progress import AXES, QUANTITIES
from reports.sections_halving import hyperband
from reports.sections_networks import hyperparameters, winners

METHOD_COLUMNS = ["method", "seeds", "configurations", "epochs", "time", "valid share"]


def document(summary: dict[str, Any]) -> Section:
    """The whole report; its sections are the questions."""
    runs = sum(len(m["runs"]) for q in summary["questions"] for m in q["methods"])
    title = "Report of a search" if runs == 1 else f"Report of {runs} searches"
    parts = [
        _question(question, f"{number}-" if number > 1 else "")
        for number, question in enumerate(summary["questions"], start=1)
    ]
    if len(parts) > 1:
        parts.insert(0, _comparison(summary["questions"]))
    reading = "Point at, tap, or focus a chart to see the configuration behind a point; with the "
    reading += "keyboard, the arrows go from point to point."
    return Section(title, reading, parts)


def _comparison(questions: list[dict[str, Any]]) -> Section:
    """One table over all questions."""
    rows = [
        [words.limit(question["title"]), *_method_row(method, question)]
        for question in questions
        for method in question["methods"]
    ]
    columns = ["limits", *METHOD_COLUMNS, "best objective", "precision", "parameters"]
    return Section(
        "All limits side by side",
        "A row a method within its limits, read as the overviews below. Values under different "
        "limits answer different questions: tighter limits leave less room.",
        [Table([*columns, "test objective"], rows)],
    )


def _question(question: dict[str, Any], prefix: str) -> Section:
    notes = [Text(note, note=True) for note in question["notes"]]
    facts = f"Data: {question['data']}. A full training is {question['epochs']} epochs"
    facts += f"; values are means over {question['folds']} folds." if question["folds"] else "."
    parts = [_overview(question)]
    if any(run["points"] for method in question["methods"] for run in method["runs"]):
        makers = (_progress, _trade_offs, hyperband, _outcomes, hyperparameters, winners)
        parts += [make(question, prefix) for make in makers]
    else:
        parts.append(Text("No training has ended yet."))
    title = f"Within {words.limit(question['title'])}"
    return Section(title, "", [*notes, Text(facts), *parts])


def _overview(question: dict[str, Any]) -> Section:
    objective, precision = question["objective"], question["precision"].replace("_", " ")
    columns = [*METHOD_COLUMNS, f"best {objective}", precision, "parameters"]
    columns.append(f"test {objective}")
    rows = [_method_row(method, question) for method in question["methods"]]
    per_run = ["run", "method", "seed", "ended", "configurations", "epochs", "time"]
    per_run += [objective, precision, "parameters", "feasible"]
    return Section(
        "Overview",
        "A row a method: means over its seeds, in brackets the lowest and the highest. Best is "
        "the best feasible configuration that was trained in full; valid share counts among "
        "those trained in full. Values on the folds chose the winner and so flatter it; those on "
        "the test split do not. They are of the same configurations, one result file a run: of "
        "several the first that the winner's section shows.",
        [
            Table(columns, rows),
            Table(per_run, [_run_row(m, run) for m, run in _runs(question)], "Each run."),
        ],
    )


def _runs(question: dict[str, Any]) -> Iterable[tuple[dict[str, Any], dict[str, Any]]]:
    return [(method, run) for method in question["methods"] for run in method["runs"]]


def _method_row(method: dict[str, Any], question: dict[str, Any]) -> list[str]:
    runs = method["runs"]
    best = [run["winner"] for run in runs if run["winner"]]
    best = [one for one in best if one["feasible"] and one["fully_trained"]]
    values = [{row["name"]: row["mean"] for row in one["metrics"]} for one in best]
    tests = [one["tests"][0]["metrics"].get(question["objective"]) for one in best if one["tests"]]
    missing = f"; {len(runs) - len(best)} without" if len(best) < len(runs) else ""
    return [
        method["label"],
        ", ".join(str(run["seed"]) for run in runs),
        words.spread([run["shares"]["configurations"] for run in runs], words.count),
        words.spread([run["epochs_charged"] for run in runs], words.count),
        words.spread([run["seconds"] for run in runs], words.duration),
        words.spread([run["shares"]["valid_share"] for run in runs], words.share),
        words.spread([value.get(question["objective"]) for value in values]) + missing,
        words.spread([value.get(question["precision"]) for value in values]),
        words.spread([one["num_params"] for one in best], words.count),
        words.spread(tests),
    ]


def _run_row(method: dict[str, Any], run: dict[str, Any]) -> list[str]:
    best = run["winner"] or {}
    point = next((one for one in run["points"] if one["trial"] == best.get("trial")), {})
    return [
        run["name"] + (" (inexact)" if run["inexact"] else ""),
        method["label"],
        str(run["seed"]),
        run["status"],
        str(run["shares"]["configurations"]),
        words.count(run["epochs_charged"]),
        words.duration(run["seconds"]),
        words.number(point.get("objective")),
        words.number(point.get("precision")),
        words.count(point.get("num_params")),
        {True: "yes", False: "no"}.get(best.get("feasible"), words.NONE),
    ]


def _progress(question: dict[str, Any], prefix: str) -> Section:
    runs = [run for method in question["methods"] for run in method["runs"]]
    priced = any(run["curves"]["macs"]["best"]["end"] for run in runs)
    axes = [axis for axis in AXES if priced or axis != "macs"]
    drawn = [
        charts.progress(
            question, f"{prefix}progress-{quantity}-{axis}".replace("_", "-"), quantity, axis
        )
        for quantity in QUANTITIES
        for axis in axes
    ]
    return Section(
        "Progress",
        "Higher and further left is better: a step is a better configuration (dots) or a new "
        "generation. Before the first feasible configuration trained in full there is no line. "
        "Of several seeds, thin lines are the runs; the thick line is their mean and the band "
        "their range, from where all have a value to where the first of them ended. Epochs and "
        "multiply-adds (of an image, times epochs) count in the order of the plan, times in the "
        "order of arrival. The population is the best pop_size configurations trained in full, "
        "after each generation.",
        list(drawn),
        columns=len(axes),
    )


def _trade_offs(question: dict[str, Any], prefix: str) -> Section:
    drawn = [
        charts.scatter(question, method, f"{prefix}{metric}-{number}".replace("_", "-"), metric)
        for number, method in enumerate(question["methods"], start=1)
        for metric in ("precision", *question["sizes"])
    ]
    fronts = [_front(question, metric) for metric in question["sizes"]]
    return Section(
        "Trade-offs",
        "A point is a configuration by its last measurement; failed ones have none. Green points "
        "meet all limits; red triangles miss one; grey ones were not trained in full, so that "
        "their place is not final. The dark steps are the Pareto front of each run: nothing that "
        "was trained in full beats it in both directions; against a size, nothing that meets all "
        "limits, if there is any. The winner is the highest green point.",
        [*drawn, Section("The fronts as tables", "", fronts, folded=True)],
        columns=2,
    )


def _front(question: dict[str, Any], metric: str) -> Table:
    """The Pareto front of each run against a metric known before training."""
    columns = ["run", "trial", question["objective"], words.SIZES.get(metric, metric)]
    rows = [
        [
            run["name"],
            str(point["trial"]),
            words.number(point["objective"], 4),
            words.count(point[metric]),
            words.number(point["precision"], 4),
            {"feasible": "met"}.get(point["kind"], "missed"),
        ]
        for _, run in _runs(question)
        for point in (run["points"][index] for index in run["fronts"].get(metric, ()))
    ]
    caption = f"Pareto front against {columns[-1]}; `python -m reports RUN --pareto {metric}` "
    caption += "writes the configurations."
    return Table([*columns, question["precision"].replace("_", " "), "limits"], rows, caption)


def _outcomes(question: dict[str, Any], prefix: str) -> Section:
    every = [run["shares"]["missed"] for _, run in _runs(question)]
    limits = [limit for limit in every[0] if any(missed[limit] for missed in every)]
    columns = ["method", "configurations", "feasible", "infeasible", "not fully trained", "failed"]
    columns += ["valid share", "sd", *(f"missed {words.limit(limit)}" for limit in limits)]
    rows = []
    for method in question["methods"]:
        shares = [run["shares"] for run in method["runs"]]
        kinds = ("configurations", "feasible", "infeasible", "partial", "failed")
        rows.append(
            [
                method["label"],
                *(words.count(sum(share[kind] for share in shares)) for kind in kinds),
                words.share(method["valid_share"]["mean"]),
                words.share(method["valid_share"]["sd"]),
                *(
                    words.count(sum(share["missed"][limit] for share in shares))
                    for limit in limits
                ),
            ]
        )
    return Section(
        "What became of the configurations",
        "Valid share: of those trained in full, the share that meets all limits, mean and "
        "standard deviation over seeds; a limit without a column was missed by none. Time is "
        "that of all workers together; waiting is what training leaves over, with the workers "
        "seen in the journal taken to be there all the time.",
        [
            charts.valid_shares(question, f"{prefix}valid-share"),
            charts.time_bars(question, f"{prefix}time"),
            Table(columns, rows, "Counts are sums over the seeds."),
            _failures(question),
        ],
        columns=2,
    )


def _failures(question: dict[str, Any]) -> Table | Text:
    rows = [
        [method["label"], reason["status"], reason["error"] or words.NONE, str(reason["count"])]
        for method in question["methods"]
        for reason in method["failures"]
    ]
    if not rows:
        return Text("No training failed.")
    columns = ["method", "status", "reason", "trainings"]
    return Table(columns, rows, "Failed trainings by reason; # stands for any number.")
