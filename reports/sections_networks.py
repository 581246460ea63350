"""The sections on configurations: which hyperparameters matter, and the winners in full."""

from typing import Any

from engine.console import counted
from reports import charts_networks, thresholds, words
from reports.document import Section, Table, Text
from reports.importance import MIN_TRIALS, RELIABLE

MAX_ANCESTORS = 15  # of a winner; the latest are shown


def hyperparameters(question: dict[str, Any], prefix: str) -> Section:
    """Importance, and all configurations at a glance."""
    found, blocks = question["importance"], []
    metrics = {"objective": question["objective"], "precision": question["precision"]}
    for target, metric in metrics.items():
        forest = found[target]
        if forest is None:
            few = found["trials"] < MIN_TRIALS
            why = f"are too few; it takes {MIN_TRIALS}" if few else "do not differ in it"
            what = f"Importance for {metric.replace('_', ' ')}: {found['trials']} different"
            blocks.append(Text(f"{what} configurations trained in full {why}."))
            continue
        if forest["r2"] < RELIABLE:
            blocks.append(
                Text(
                    f"Do not rely on the importance for {metric.replace('_', ' ')}: the forest "
                    f"explains R² = {forest['r2']:.2f} of held-out configurations, and below "
                    f"{RELIABLE} the order is mostly noise.",
                    note=True,
                )
            )
        name = f"{prefix}importance-{target}"
        blocks.append(charts_networks.importance_bars(forest, found["names"], metric, name))
    parallel = charts_networks.parallel_coordinates(question, f"{prefix}parallel-coordinates")
    reading = (
        "The longer a bar, the worse a random forest predicts held-out configurations when that "
        "hyperparameter is shuffled; at or below 0 there is no effect that could be learned. R² "
        "says how far to trust it: 1 is perfect, 0 no better than the mean. Over "
        f"{found['trials']} different configurations trained in full, of all methods: where the "
        "search looked, not the whole space. In the parallel coordinates a line is a "
        "configuration, yellow the best; left of an axis: not active."
    )
    return Section("Hyperparameters", reading, [*blocks, *([parallel] if parallel else [])])


def winners(question: dict[str, Any], prefix: str) -> Section:
    """Each run's winner, the best first; the others open on demand."""
    found = [(m, run) for m in question["methods"] for run in m["runs"] if run["winner"]]

    def rank(one: tuple[dict[str, Any], dict[str, Any]]) -> tuple[bool, bool, float]:
        best = one[1]["winner"]
        value = next((r["mean"] for r in best["metrics"] if r["name"] == question["objective"]), 0)
        return not best["feasible"], not best["fully_trained"], -question["sign"] * value

    found.sort(key=rank)
    parts = [
        _winner(question, method, run, f"{prefix}winner-{place}", folded=place > 1)
        for place, (method, run) in enumerate(found, start=1)
    ]
    return Section(
        "The winner" if len(found) == 1 else "The winners",
        "What each search hands over, the best first. Intervals are 95 % by Student's t over the "
        "folds; folds share training images, so they are rough, and the winner was chosen on "
        "these folds, which flatters it. In the confusion matrix the diagonal is right, and each "
        "row adds up to the test images of its class. The lineage goes from the winner back to "
        "the samples it came from: what changed is compared with the first parent.",
        list(parts) or [Text("Nothing was trained to a usable result yet.")],
    )


def _winner(
    question: dict[str, Any], method: dict[str, Any], run: dict[str, Any], name: str, folded: bool
) -> Section:
    best, objective = run["winner"], question["objective"]
    value = next((row["mean"] for row in best["metrics"] if row["name"] == objective), None)
    verdict = "feasible" if best["feasible"] else "NOT within the limits: the nearest to them"
    trained = "" if best["fully_trained"] else f", trained for {best['epochs']} epochs only"
    title = f"{method['label']}, seed {run['seed']}: {objective} {words.number(value)}"
    facts = (
        f"{run['name']}: trial {best['trial']} of generation {best['generation']}, {verdict}"
        f"{trained}; {words.count(best['num_params'])} parameters, "
        f"{words.count(best['macs'])} multiply-adds."
    )
    values = {key: "None" if one is None else one for key, one in best["config"].items()}
    configuration = [[key, words.setting(one)] for key, one in sorted(values.items())]
    limits = [
        [words.limit(one["text"]), _value(one["value"]), "met" if one["met"] else "missed"]
        for one in best["constraints"]
    ]
    blocks: list[Any] = [
        Text(facts),
        Table(["limit", "value", ""], limits, "Constraints."),
        *_baseline(best["baseline"]),
        _metrics(best),
        Table(["hyperparameter", "value"], configuration, "Configuration."),
        _layers(best),
    ]
    for number, test in enumerate(best["tests"], start=1):
        blocks.append(_test(test, f"{name}-confusion" + (f"-{number}" if number > 1 else "")))
    if not best["tests"]:
        blocks.append(Text("There is no result on the test split beside it (main.py -t True)."))
    blocks.append(_lineage(run["lineage"], objective))
    return Section(title, "", blocks, folded)


def _baseline(metrics: dict[str, Any]) -> list[Text]:
    """What the space's default configuration has, within the same limits and trained as long."""
    known = ", ".join(f"{name} {_value(value)}" for name, value in metrics.items())
    beginning = "Baseline: the space's default within the same limits, on the folds: "
    return [Text(f"{beginning}{known}.")] if known else []


def _value(value: float | None) -> str:
    return words.count(value) if isinstance(value, int) else words.number(value, 4)


def _metrics(best: dict[str, Any]) -> Table:
    folds = len(best["metrics"][0]["folds"]) if best["metrics"] else 0
    rows = [
        [
            row["name"].replace("_", " "),
            words.number(row["mean"]),
            words.NONE
            if row["low"] is None
            else f"{words.number(row['low'])} to {words.number(row['high'])}",
            *(words.number(value) for value in row["folds"]),
        ]
        for row in best["metrics"]
    ]
    columns = ["metric", "mean", "95 % interval", *(f"fold {i + 1}" for i in range(folds))]
    return Table(columns, rows, f"Metrics over the folds after {best['epochs']} epochs.")


def _layers(best: dict[str, Any]) -> Table | Text:
    if not best["layers"]:
        return Text("This run recorded no table of layers.")
    rows = [
        [
            layer["name"],
            " × ".join(map(str, layer["output"])),
            words.count(layer["parameters"]),
            words.count(layer["macs"]),
        ]
        for layer in best["layers"]
    ]
    sums = [sum(layer[key] for layer in best["layers"]) for key in ("parameters", "macs")]
    rows.append(["sum", "", *map(words.count, sums)])
    return Table(["layer", "output", "parameters", "multiply-adds"], rows, "Layers.")


def _test(test: dict[str, Any], name: str) -> Section:
    metrics = ", ".join(f"{key} {words.number(one)}" for key, one in test["metrics"].items())
    seeds = ", ".join(map(str, test["seeds"] or [])) or "not recorded"
    trained = counted(test["epochs"], "epoch")
    facts = f"{test['file']}: after {trained}, training seed {seeds}: {metrics}."
    threshold = list(thresholds.words(test))
    blocks: list[Any] = [Text(facts)]
    blocks += [Text(" ".join(line.strip() for line in threshold))] if threshold else []
    if test["confusion"] is None:
        blocks.append(Text(f"No confusion matrix: {test['unread']}."))
    else:
        caption = "Confusion matrix on the test split"
        count = len(test["confusion"])
        caption += f", sum over {count} seeds." if count > 1 else "."
        blocks.append(charts_networks.confusion(test, name, caption))
        rows = [
            [
                title,
                words.number(one["precision"]),
                words.number(one["recall"]),
                str(one["images"]),
            ]
            for title, one in zip(test["class_names"], test["classes"], strict=True)
        ]
        columns = ["class", "precision", "recall", "images"]
        blocks.append(Table(columns, rows, "By class."))
    return Section("On the test split", "", blocks)


def _lineage(steps: list[dict[str, Any]], objective: str) -> Table:
    rows = []
    for step in steps[:MAX_ANCESTORS]:
        changes = "; ".join(
            f"{name} {words.setting(before)} → {words.setting(after)} ({origin})"
            for name, before, after, origin in step["changes"]
        )
        parents = " and ".join(map(str, step["parents"])) or words.NONE
        rows.append(
            [
                str(step["trial"]),
                str(step["generation"]),
                step["operator"],
                parents,
                words.number(step["objective"]),
                changes or words.NONE,
            ]
        )
    more = len(steps) - len(rows)
    caption = "Lineage of the winner." + (f" {more} earlier ancestors are left out." * bool(more))
    columns = ["trial", "generation", "operator", "parents", objective, "what changed"]
    return Table(columns, rows, caption)
