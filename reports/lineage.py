"""Where a configuration came from: its ancestors, the operators, what each step changed."""

from collections.abc import Mapping
from typing import Any

from reports.reading import Run
from search.trial import Trial


def lineage(run: Run, trial: int) -> list[dict[str, Any]]:
    """The configuration and all its ancestors, the latest first.

    [{"trial", "generation", "operator", "parents", "objective", "epochs", "changes"}]; changes
    lists (hyperparameter, value in the first parent, value here, "new" or the parent it is from),
    None for a hyperparameter that is not active.
    """
    known = {one.trial: one for one in run.lasts}
    found, wanted = set(), {trial}
    while wanted:
        found |= wanted
        wanted = {p for one in wanted for p in known[one].parents if p in known} - found
    return [_step(run, known, known[number]) for number in sorted(found, reverse=True)]


def _step(run: Run, known: Mapping[int, Trial], child: Trial) -> dict[str, Any]:
    parents = [known[number] for number in child.parents if number in known]
    changes = []
    for name in sorted({*child.config, *(parents[0].config if parents else ())}):
        if not parents:
            break
        before, after = parents[0].config.get(name), child.config.get(name)
        if before != after:
            second = len(parents) > 1 and parents[1].config.get(name) == after
            origin = f"from {parents[1].trial}" if second else "new"
            changes.append((name, before, after, origin))
    return {
        "trial": child.trial,
        "generation": child.generation,
        "operator": child.operator,
        "parents": list(child.parents),
        "objective": child.metrics.get(run.ranking.metric),
        "epochs": child.epochs,
        "changes": changes,
    }
