"""What a report tells, in which order: the answer first, then how it came about.

from reports.report import write
write(["runs/a", "runs/b"], Path("report"))
"""

from collections.abc import Iterable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from reports import charts, charts_networks, comparing, words
from reports.card import card
from reports.grouping import Question, group
from reports.importance import MIN_TRIALS, RELIABLE, importance
from reports.page import Page, folded, paragraph, section, side_by_side, table, thumbnail
from reports.reading import Run, read_runs
from reports.results import Result, confusion, mistakes, read_results
from utils import InputError

MAX_MISTAKES = 24  # that are shown
Tests = Mapping[Path, Sequence[Result]]  # by run folder: see `read_results`


def write(
    names: Iterable[str | Path], folder: Path, results: Iterable[str | Path] = ()
) -> tuple[Path, list[str]]:
    """Writes report.html and figures/ on the runs into the folder.

    Returns the path of the page, and in words which results are left out. InputError if a run
    cannot be read or the folder cannot be made.
    """
    runs = read_runs(names)
    found, left_out = read_results(runs, results)
    tests = {run.path: of_run for run, of_run in zip(runs, found, strict=True)}
    try:
        (folder / "figures").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--output {folder} cannot be made: {error.strerror}") from None
    questions, page = group(runs), Page()
    title = "Report of a search" if len(runs) == 1 else f"Report of {len(runs)} searches"
    parts = [f"<h1>{escape(title)}</h1>\n"]
    if len(questions) > 1:
        parts.append(comparing.all_limits(questions, tests))
    for number, question in enumerate(questions, start=1):
        parts.append(_question(page, f"{number}-" if number > 1 else "", question, tests))
    page.write(title, "".join(parts), folder)
    return folder / "report.html", left_out


def _question(page: Page, prefix: str, question: Question, tests: Tests) -> str:
    """All on runs with the same limits and data."""
    notes = dict.fromkeys(note for run in question.runs for note in run.notes())
    unlike = comparing.unlike([tests[run.path] for run in question.runs])
    data = question.runs[0].data.get("name", "unknown data")
    facts = f"{data}; a full training has {question.runs[0].settings.epochs} epochs."
    head = f"<h2>Within {escape(words.limit(question.title))}</h2>\n{paragraph(facts)}"
    head += "".join(paragraph(note, "note") for note in [*notes, *unlike])
    if not any(run.trials for run in question.runs):
        return head + paragraph("No training has ended yet.") + comparing.how_made(question)
    return head + "".join(
        (
            comparing.methods(question, tests),
            _winners(page, prefix, question, tests),
            _trade_offs(page, prefix, question),
            _progress(page, prefix, question),
            _brackets(page, prefix, question),
            _hyperparameters(page, prefix, question),
            _test_split(page, prefix, question, tests),
            comparing.how_made(question),
        )
    )


def _winners(page: Page, prefix: str, question: Question, tests: Tests) -> str:
    """Each run's winner, the best first; the others open on demand."""
    ranking = question.ranking
    found = [(ranking.key(run.best), label, run) for label, run in question.labelled if run.best]
    found.sort(key=lambda one: one[0])
    cards = [
        card(page, f"{prefix}winner-{place}", label, run, tests[run.path])
        for place, (_, label, run) in enumerate(found, start=1)
    ]
    if not cards:
        return paragraph("Nothing was trained to a usable result yet.")
    return cards[0] + folded("The winners of the other searches, the best first", *cards[1:])


def _trade_offs(page: Page, prefix: str, question: Question) -> str:
    ranking = question.ranking
    names = dict.fromkeys(("num_params", *(limit.metric for limit in ranking.constraints)))
    figures = [
        page.figure(
            f"{prefix}{ranking.metric}-{name}".replace("_", "-"),
            charts.trade_off(question, name),
            f"{words.plain(ranking.metric)} against {words.plain(name)}.",
        )
        for name in names
        if name != ranking.metric
    ]
    reading = "A point is a configuration; point at it, or tap it, to see which. The line is the "
    reading += "Pareto front of a run: nothing within the limits is better with less. Dashed: "
    reading += "limits. What was not fully trained may still get better. `python -m reports RUN "
    reading += "--pareto num_params` writes the configurations of a front."
    return section("Accuracy against size", reading, side_by_side(*figures))


def _progress(page: Page, prefix: str, question: Question) -> str:
    reading = "Each step is a better configuration within all limits, trained in full. "
    if len(question.runs) > len(question.methods):
        reading += "Of several seeds: the runs, their mean, and their range where all have one. "
    reading += "Epochs and trials count in the order of the plan, time as they ended."
    caption = f"Best {words.plain(question.ranking.metric)} within the limits."
    drawn = charts.best_so_far(question)
    return section("Progress", reading, page.figure(f"{prefix}progress", drawn, caption))


def _brackets(page: Page, prefix: str, question: Question) -> str:
    """Hyperband: learning curves, rank correlations, and what was saved."""
    halved = [label for label, runs in question.methods.items() if runs[0].settings.hyperband]
    figures = [
        page.figure(
            f"{prefix}brackets-{number}",
            charts.learning_curves(question, label),
            f"{label}: learning curves of the children. Lines that cross late mean that early "
            "rungs chose by chance.",
        )
        for number, label in enumerate(halved, start=1)
    ]
    figures.append(
        page.figure(
            f"{prefix}rank-correlation",
            charts.correlations(question),
            "Spearman's rank correlation of a rung with the full budget, among configurations "
            "trained in full at once. 1: the rung ranks as the full budget does; 0: by chance.",
        )
    )
    reading = "Hyperband trains many configurations for few epochs, and the better ones on."
    return section("Brackets", reading, side_by_side(*figures), comparing.savings(question))


def _hyperparameters(page: Page, prefix: str, question: Question) -> str:
    """Importance, where it can be relied on, and all configurations at a glance."""
    found, blocks = importance(question.runs), []
    for target, metric in (
        ("objective", question.ranking.metric),
        ("precision", question.runs[0].precision),
    ):
        forest, name = found[target], words.plain(metric)
        if forest is None or forest["r2"] < RELIABLE:
            why = f"R² of held-out configurations is {forest['r2']:.2f}" if forest else (
                f"{found['trials']} different configurations were trained in full, and it takes "
                f"{MIN_TRIALS} that differ"
            )  # fmt: skip
            blocks.append(paragraph(f"No importance for {name}: {why}."))
            continue
        drawn = charts_networks.importance_bars(forest, found["names"], metric)
        caption = f"Importance for {name}: how much worse a random forest predicts held-out "
        caption += f"configurations when one is shuffled (R² = {forest['r2']:.2f})."
        blocks.append(page.figure(f"{prefix}importance-{target}", drawn, caption))
    drawn = charts_networks.parallel_coordinates(question)
    caption = "Configurations trained in full: a line is one, bright the best; left of an axis: "
    caption += "not active."
    parallel = page.figure(f"{prefix}parallel-coordinates", drawn, caption)
    return section("Hyperparameters", "", side_by_side(parallel, f"<div>{''.join(blocks)}</div>"))


def _test_split(page: Page, prefix: str, question: Question, tests: Tests) -> str:
    """Confusion matrix and misclassified images of each winner that has a result."""
    found = [(run, one) for run in question.runs for one in tests[run.path] if one.of_winner]
    parts = []
    for number, (run, result) in enumerate(found, start=1):
        part = _test(page, f"{prefix}confusion-{number}", result)
        title = f"{run.name}: {result.path}"
        parts.append(folded(title, part) if number > 1 else paragraph(title) + part)
    reading = "What the winner, trained anew on all training images, makes of the test split."
    return section("Mistakes on the test split", reading, *parts)


def _test(page: Page, name: str, result: Result) -> str:
    classes = result.content["dataset"].get("class_names") or []
    try:
        counts, wrong = confusion(result), mistakes(result)
    except InputError as error:
        return paragraph(f"No confusion matrix: {error}.")
    caption = "Confusion matrix: a row adds up to the test images of its class, the diagonal is "
    caption += "right."
    figure = page.figure(name, charts_networks.confusion(counts, classes), caption)
    columns = ["class", "images", "precision", "recall"]
    rows = [
        [one["class"], str(one["images"]), words.number(one["precision"]),
         words.number(one["recall"])]
        for one in result.content.get("by_class") or []
    ]  # fmt: skip
    images = "".join(
        f"<div>{thumbnail(one.file)}{escape(one.true)}<i>{escape(one.answer)}, "
        f"{one.confidence:.0%}</i></div>\n"
        for one in wrong[:MAX_MISTAKES]
    )
    shown = f"The surest of {len(wrong)} mistakes: the class, and what the network says."
    gallery = f'<div class="images">{images}</div>\n' if images else ""
    return side_by_side(
        f"<div>{figure}{folded('By class', table(columns, rows))}</div>",
        f"<div>{paragraph(shown, 'reading')}{gallery}</div>",
    )
