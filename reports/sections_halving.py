"""The section on Hyperband: learning curves, rank correlations, audit, savings."""

from typing import Any

from reports import charts, words
from reports.document import Section, Table, Text
from reports.halving import DRAWS, MIN_TRIALS


def hyperband(question: dict[str, Any], prefix: str) -> Section:
    """Of all methods with Hyperband; correlations of the others, too: they chose nothing."""
    halved = [one for one in question["methods"] if any(run["halving"] for run in one["runs"])]
    blocks: list[Any] = []
    for number, method in enumerate(halved, start=1):
        brackets = sorted({s for run in method["runs"] for s in run["halving"]["curves"]})
        blocks += [
            charts.learning_curves(question, method, f"{prefix}curves-{number}-{s}", s)
            for s in reversed(brackets)
            if s > 0
        ]
    if not halved:
        blocks.append(Text("None of these runs used Hyperband."))
    return Section(
        "Hyperband",
        "Lines of a bracket that cross late mean that its early rungs chose by chance; lines that "
        "keep their order mean that stopping early lost nothing.",
        [*blocks, _correlations(question, prefix), *([_audit(halved)] if halved else [])],
    )


def _correlations(question: dict[str, Any], prefix: str) -> Section:
    rows = []
    for method in question["methods"]:
        per_rung: dict[int, list[dict[str, Any]]] = {}
        for run in method["runs"]:
            for row in run["correlations"]:
                per_rung.setdefault(row["epochs"], []).append(row)
        for epochs, found in sorted(per_rung.items()):
            spreads = [words.spread([row[k] for row in found]) for k in ("objective", "promotion")]
            rows.append(
                [
                    method["label"],
                    str(epochs),
                    *spreads,
                    str(sum(row["trials"] for row in found)),
                    words.spread([row["chosen"] for row in found]),
                    str(sum(row["chosen_trials"] for row in found)),
                ]
            )
    columns = ["method", "epochs", question["objective"], "order of promotion", "configurations"]
    columns += ["among all in full", "of them"]
    known = any(row[2] != words.NONE for row in rows)
    few = f"Fewer than {MIN_TRIALS} configurations of a run were trained in full at once."
    reading = (
        "1 means that a rung ranks as the full budget does, 0 that it says nothing. Taken among "
        "configurations trained in full at once (generation 0 and bracket 0), by run, then mean "
        "and range over the seeds. Those that came through rungs were chosen by them, which "
        "biases the correlation; it is given beside it, over all that reached the full budget. "
        "The order of promotion puts limits first, as the search does. A dash: fewer than "
        f"{MIN_TRIALS} configurations."
    )
    if not rows:
        return Section("Rungs and the full budget", "", [Text("There is one budget only.")])
    drawn = [charts.correlations(question, f"{prefix}rank-correlation")] if known else [Text(few)]
    return Section("Rungs and the full budget", reading, [*drawn, Table(columns, rows)])


def _audit(methods: list[dict[str, Any]]) -> Section:
    """Both audits, and what was saved."""
    return Section(
        "Audit: what early stopping lost, and what it saved",
        "How the dropped children would have ended is not known. So each bracket is played again "
        f"with configurations whose end is known: {DRAWS} draws from those of its run that were "
        "trained in full at once, halved by the search's own rules. Dropped is the share of draws "
        "that lost the eventual best, loss what that cost on average, over all draws. Led counts "
        "the brackets as they ran: how often the eventual best was the first of its first rung "
        "already; worst place is the lowest from which one came. Children of Hyperband cost the "
        "epochs charged, instead of those that training all of them in full would have taken.",
        [Text(_savings(methods)), _table(methods)],
    )


def _savings(methods: list[dict[str, Any]]) -> str:
    rows = [row for m in methods for run in m["runs"] for row in run["halving"]["brackets"]]
    if not rows:
        return "No bracket that stops early has begun yet."
    sums = [sum(row[name] for row in rows) for name in ("children", "cost_epochs", "in_full")]
    return (
        f"The brackets that stop early took {sums[1]:,} epochs for {sums[0]:,} children; "
        f"all in full, these would have taken {sums[2]:,}: {1 - sums[1] / sums[2]:.0%} saved."
    )


def _table(methods: list[dict[str, Any]]) -> Table:
    columns = ["method", "bracket", "takes in", "dropped", "loss", "drawn from", "brackets run"]
    columns += ["led", "worst place", "epochs charged", "all in full", "saved"]
    rows = []
    for method in methods:
        audits = [row for run in method["runs"] for row in run["halving"]["audit"]]
        run_as = [row for run in method["runs"] for row in run["halving"]["brackets"]]
        for s in sorted({row["bracket"] for row in audits}, reverse=True):
            imagined = [row for row in audits if row["bracket"] == s]
            real = [row for row in run_as if row["bracket"] == s]
            cost_epochs, in_full = (
                sum(row[k] for row in real) for k in ("cost_epochs", "in_full")
            )
            worst = max((row["places"] for row in real if row["places"]), default=None)
            rows.append(
                [
                    method["label"],
                    str(s),
                    str(imagined[0]["children"]),
                    words.spread([row["dropped"] for row in imagined], words.share),
                    words.spread([row["loss"] for row in imagined]),
                    words.spread([row["pool"] for row in imagined], words.count),
                    str(sum(row["brackets"] for row in real)),
                    words.spread([row["first"] for row in real], words.share),
                    f"{worst[0]} of {worst[1]}" if worst else words.NONE,
                    words.count(cost_epochs),
                    words.count(in_full),
                    words.share(1 - cost_epochs / in_full) if in_full else words.NONE,
                ]
            )
    return Table(columns, rows, "By bracket: the number of its halvings.")
