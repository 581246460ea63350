"""Evaluates configurations: trains each from scratch, measures it on the test split or the folds.

    python main.py -c runs/opt_cfg.json -t True
    python main.py -c A.json B.json -t True --seeds 0 1 2
    python main.py -c runs/opt_cfg.json -t True --thresholds -p 0.9
    python main.py --compare A_result_test.json B_result_test.json
    python main.py -c runs/opt_cfg.json -t True --export DIR --quantise

Prints one table with 95 % intervals and the verdict on each limit, then tests of all pairs, and
writes result_test.json (or result_cv.json; with several configurations NAME_result_test.json) and
the predictions beside the configuration, for a link beside its target. A configuration that a
search found is measured with the limits, data, space and optimizer of that search, unless flags
set them (in the published space with AdamW for Adam). Others follow the first one that has a
search; if none has, the defaults below hold (with `n_stages`: the modern space, schedule-free).
--compare trains nothing. --export writes the network for other machines (predict.py,
docs/deploy.md).
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from deploy.delivery import Plan, ship
from deploy.facts import facts
from engine import wording
from engine.cli.arguments import Parser, to_int
from engine.cli.command import command
from engine.cli.settings import SHORTHANDS, Settings, resolve
from engine.cli.stopping import reraise_interrupt
from engine.storage.run import identity
from engine.storage.spaces import space_file
from engine.watching import console
from engine.watching.progress import training_bar
from engine.workers.devices import resolve_devices
from evaluation import comparison, results, thresholds
from evaluation.candidates import (
    Candidate,
    check_size,
    family,
    read_candidates,
    search_behind,
    taken_over,
    tell_other_images,
    tell_unfound,
)
from evaluation.requests import check_flags, check_settings, chosen_seeds
from search.constraints import Constraint
from search.space import Space
from search.trial import canonical, evaluation_seed
from utils import InputError, write_json

log = logging.getLogger("nas")
SETTINGS = [
    *("seed", "folds", "optimizer", "constraints", "dataset", "data_dir", "image_size", "crop"),
    *("split", "space", "device", "dtype", "threads", "verbosity", *SHORTHANDS),
]


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = "interrupted; unfinished results are not written"
    return command("main.py", lambda: run(arguments(argv)), words)


def arguments(argv: Sequence[str] | None) -> dict[str, Any]:
    """The arguments of the command line."""
    parser = Parser(__doc__)
    words = "configurations (JSON) to evaluate"
    parser.add_argument("-c", "--config", nargs="+", metavar="FILE", help=words)
    words = "train on all training images and measure on the test split, instead of the folds"
    parser.add_flag("-t", "--test", help=words)
    words = "epochs of training: one number, or one for each configuration [50]"
    parser.add_argument("-e", "--epochs", nargs="+", type=to_int, help=words)
    words = "train once with each of these seeds, on the same data (the first defines the folds)"
    parser.add_argument("--seeds", nargs="+", type=to_int, metavar="SEED", help=words)
    words = "result files to compare, without training"
    parser.add_argument("--compare", nargs="+", metavar="RESULT", help=words)
    words = "find on the folds the confidence threshold that meets the limit on precision"
    parser.add_flag("--thresholds", help=words)
    parser.add_flag("--classes", help="print precision and recall of each class")
    parser.add_argument("-m", "--model", help="save the network there (safetensors; needs -t)")
    parser.add_argument("--output", help="where to write results: a file, or a folder")
    words = "write the network as ONNX and safetensors, and its card"
    parser.add_argument("--export", metavar="DIR", help=words)
    words = "also export it in int8, and measure that on the test split"
    parser.add_flag("--quantise", help=words)
    parser.add_flag("--latency", help="measure how long ONNX Runtime takes for one image here")
    for name in SETTINGS:
        parser.add_setting(name, **({"default": "adamw"} if name == "optimizer" else {}))
    parser.add_help_all()
    return parser.parse_strictly(argv)


def run(given: dict[str, Any]) -> None:
    """Reads, trains, measures, writes, prints."""
    by_class = given.pop("classes", False)
    if "compare" in given:
        print(compare([Path(path) for path in given.pop("compare")], given, by_class))
        return
    paths = [Path(path) for path in given.pop("config", [])]
    epochs, model = given.pop("epochs", [50]), given.pop("model", None)
    output, on_test = given.pop("output", None), given.pop("test", False)
    seeds, wanted = chosen_seeds(given), given.pop("thresholds", False)
    check_flags(paths, epochs, seeds, model, on_test)
    plan = Plan.of(given, on_test and len(paths) == len(seeds) == 1)
    console.set_up_logging(resolve({"verbosity": given.get("verbosity", "INFO")}).verbosity)
    origins = [search_behind(path) for path in paths]
    inherited = taken_over([origin for origin in origins if origin], given)
    usual = {"optimizer": "adamw"} | ({} if inherited else family(paths))
    settings = resolve(usual, inherited, given)
    check_settings(settings, writes=plan is not None or model is not None)
    space = Space.load(space_file(settings.space))
    candidates = read_candidates(paths, epochs, space)
    tell_unfound(paths, origins)
    own = [{"constraints": one.settings["constraints"]} if one else {} for one in origins]
    limits = [resolve(inherited, layer, given).ranking().constraints for layer in own]
    precise = [thresholds.precision_limit(bounds) for bounds in limits] if wanted else []
    target, names, dataset = open_target(settings, on_test)
    if on_test:
        tell_other_images(origins, dataset)
    if settings.dtype == "bfloat16":
        resolve_devices(target, settings)
    if dataset["note"]:
        log.warning("NOTE: %s", dataset["note"])
    folds = open_target(settings, False) if wanted and on_test else None
    for candidate in candidates:
        check_size(candidate, target)
    places = results.places(paths, output, on_test, seeds)
    if plan is not None:
        plan.make_folder(paths)
    done, int8, notes = list[comparison.Measured](), list[comparison.Measured](), list[str]()
    trained: dict[tuple[str, int, int], Any] = {}
    for i, (candidate, origin, (file, files)) in enumerate(
        zip(candidates, origins, places, strict=True)
    ):
        by_file = dict(zip(seeds, files, strict=True))
        parts, stored, trainer = by_seed(target, candidate, by_file, names, trained)
        result = results.summary(candidate, target, seeds, parts, files)
        result |= {"optimizer": settings.optimizer, "split": "test" if on_test else "cv"}
        result |= {"dataset": dataset, "found_by": identity(origin.record) if origin else None}
        bounds = [str(bound) for bound in limits[i]]
        done.append(comparison.judged(str(candidate.path), result, stored, bounds))
        if wanted:
            result |= threshold(precise[i], done[-1], candidate, seeds, folds)
        write_json(file, result)
        if model is not None:
            save_network(Path(model), target.network(trainer, -1), result)
        if plan is not None:
            network, search = target.network(trainer, -1), origin.record if origin else None
            int8, notes = ship(plan, network, done[-1], target, stored[0], search)
    notes += results.differences([one.result for one in done])
    print(comparison.report([*done, *int8], notes, [file for file, _ in places], by_class))


def compare(paths: Sequence[Path], others: Mapping[str, Any], by_class: bool) -> str:
    """The tables of result files, from their predictions; InputError if not comparable."""
    if others:
        raise InputError(f"--compare trains nothing: it cannot go with --{next(iter(others))}")
    if len(paths) < 2:
        raise InputError(f"--compare has one result, {paths[0]}; allowed are two or more")
    read = [results.read_result(path) for path in paths]
    kept = [result for result, _ in read]
    results.check_same_images(paths, kept, [stored[0] for _, stored in read])
    done = [
        comparison.Measured(str(path), result, comparison.outcomes(stored))
        for path, (result, stored) in zip(paths, read, strict=True)
    ]
    return comparison.report(done, results.differences(kept), by_class=by_class)


def open_target(settings: Settings, on_test: bool) -> tuple[Any, list[str], dict[str, Any]]:
    """The target on the test split or the folds, its images' names, and the data set's facts."""
    with reraise_interrupt():  # torch loads for seconds, so after the arguments are checked
        from target import cross_validation, train_test, training_options
        from training.device import choose_device
        from vision.data import check_folds, noted, open_data, open_test, open_train

    here = choose_device(settings.device).type  # reports a device error first, and once
    options = {**training_options(settings), "device": here}
    images = settings.image_size, settings.split, settings.crop
    source = open_data(settings.dataset, settings.data_dir, *images)
    train, fingerprint = open_train(source)
    if not on_test:
        check_folds(train.labels, settings.folds, source.class_names)
    tests = [open_test(source)] if on_test else []
    source = noted(source, train, *(images for images, _ in tests))
    dataset = {**source.to_dict(), "fingerprint": fingerprint}
    if not tests:
        folds, seed = settings.folds, settings.seed
        target = cross_validation(train, source.num_classes, folds, seed, **options)
        return target, list(train.names), dataset
    test, dataset["test_fingerprint"] = tests[0]
    target = train_test(train, test, source.num_classes, **options)
    return target, [*train.names, *test.names], dataset


def by_seed(
    target: Any,
    candidate: Candidate,
    files: Mapping[int, Path | None],
    names: Sequence[str],
    trained: dict[tuple[str, int, int], Any],
) -> tuple[list[list[dict[str, float]]], list[results.Predictions], Any]:
    """(metrics by fold, predictions) per seed of `files`; the last trainer. trained: a cache."""
    parts, stored, trainer = [], [], None
    for seed, file in files.items():
        same = canonical(candidate.config), candidate.epochs, seed
        if same not in trained:  # caches no trainer: networks would accumulate in memory
            *trained[same], trainer = evaluate(target, candidate, seed)
        by_fold, scores = trained[same]
        parts.append(by_fold)
        stored.append(results.predictions_of(target, scores, names, seed))
        if file:
            results.write_predictions(file, stored[-1])
    return parts, stored, trainer


def evaluate(
    target: Any, candidate: Candidate, run_seed: int
) -> tuple[list[dict[str, float]], np.ndarray, Any]:
    """Trains each fold; returns (metrics by fold, logits of all held-out images, last trainer)."""
    from training.device import out_of_memory_as_memory_error

    config, epochs = candidate.config, candidate.epochs
    where = f"{candidate.path}, seed {run_seed}"
    seed = evaluation_seed(run_seed, config)
    parts, scores, trainer = [], [], None
    with out_of_memory_as_memory_error():
        guess = wording.in_words(target.estimate_seconds(config, epochs))
        log.info("%s: training for %s, about %s", where, wording.counted(epochs, "epoch"), guess)
        with training_bar(target, len(target.folds), epochs):
            for fold in range(len(target.folds)):
                trainer = target.trainer(config, seed, fold)
                scores.append(target.fit(trainer, fold, epochs))
                parts.append(target.measure(scores[-1], fold))
                log.debug("fold %d: %s", fold, parts[-1])
    return parts, np.concatenate(scores), trainer


def threshold(
    limit: Constraint,
    measured: comparison.Measured,
    candidate: Candidate,
    seeds: Sequence[int],
    folds: tuple[Any, list[str], dict[str, Any]] | None,
) -> dict[str, Any]:
    """See `thresholds.find`. folds: see `open_target`; None if the folds were measured."""
    classes = measured.result["dataset"]["class_names"]
    if folds is None:
        return thresholds.find(limit, measured.outcomes, None, classes)
    target, names, _ = folds
    log.info("%s: the threshold is found on the folds", candidate.path)
    _, stored, _ = by_seed(target, candidate, dict.fromkeys(seeds), names, {})
    return thresholds.find(limit, comparison.outcomes(stored), measured.outcomes, classes)


def save_network(path: Path, network: Any, result: Mapping[str, Any]) -> None:
    """Saves the weights as safetensors, with the facts needed to use them as metadata."""
    from training import saved

    saved.save_network(path, network, facts(result))
    log.info("network saved: %s", path)


if __name__ == "__main__":
    sys.exit(main())
