"""Evaluates configurations: trains each anew and measures it on the test split or on the folds.

    python main.py -c runs/opt_cfg.json -t True

Prints one table with the verdict on each limit, and writes result_test.json (or result_cv.json)
and the predictions beside the configuration. A configuration that a search has found is measured
by the limits and on the data of that search, unless flags say otherwise.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engine import results, telling
from engine.arguments import Parser, to_int
from engine.candidates import Candidate, check_size, read_candidates, search_behind
from engine.settings import SHORTHANDS, Settings, resolve
from search.space import Space
from search.trial import canonical, evaluation_seed
from utils import InputError, canonical_json, without_nan, write_json

log = logging.getLogger("nas")
HERE = Path(__file__).resolve().parent
SETTINGS = ("seed", "folds", "optimizer", "precision", "constraints", "dataset", "data_dir")
SETTINGS += ("image_size", "split", "space", "device", "threads", "verbosity", *SHORTHANDS)


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    try:
        run(arguments(argv))
    except InputError as error:
        print(f"main.py: {error}", file=sys.stderr)
        return 2
    except OSError as error:
        print(f"main.py: {error.filename or 'a file'}: {error.strerror}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print("main.py: interrupted; what was not finished is not written", file=sys.stderr)
        return 130
    return 0


def arguments(argv: Sequence[str] | None) -> dict[str, Any]:
    """What was given on the command line."""
    parser = Parser(__doc__)
    parser.add_argument(
        "-c", "--config", nargs="+", metavar="FILE", help="configurations (JSON) to evaluate"
    )
    parser.add_flag(
        *("-t", "--test", "--use_teset_data"),
        help="train on all training images and measure on the test split, instead of the folds",
    )
    parser.add_argument(
        *("-e", "--epochs"),
        nargs="+",
        type=to_int,
        default=[50],
        help="epochs of training: one number, or one for each configuration [50]",
    )
    parser.add_argument("-m", "--model", help="save the network there (safetensors; needs -t)")
    parser.add_argument("--output", help="where to write results: a file, or a folder")
    for name in SETTINGS:
        parser.add_setting(name, **({"default": "adamw"} if name == "optimizer" else {}))
    return parser.parse_strictly(argv)


def run(given: dict[str, Any]) -> None:
    """Reads, trains, measures, writes, prints."""
    paths = [Path(path) for path in given.pop("config") or []]
    epochs, model, output = given.pop("epochs"), given.pop("model"), given.pop("output")
    on_test = given.pop("test", False)
    check_flags(paths, epochs, model, on_test)
    origin, inherited = search_behind(paths, given)
    settings = resolve({"optimizer": "adamw"}, inherited, given)
    telling.set_up_logging(settings.verbosity)
    if origin:
        log.info("limits and data are those of the search that found it: %s", origin)
    space = Space.load(settings.space or HERE / "configs" / "space.json")
    candidates = read_candidates(paths, epochs, space)
    target, names, dataset = open_target(settings, on_test)
    for candidate in candidates:
        check_size(candidate, target)
    files = results.places(paths, output, on_test)
    done = []
    for candidate, (file, predictions) in zip(candidates, files, strict=True):
        result, scores, learner = evaluate(target, candidate, settings)
        result |= {"split": "test" if on_test else "cv", "dataset": dataset}
        results.save_predictions(predictions, target, scores, names, settings.seed)
        write_json(file, {**result, "predictions": predictions.name})
        done.append((candidate.path, result, file))
        if model is not None:
            save_network(Path(model), learner, candidate, dataset)
    print(results.table(done, settings.ranking()))


def check_flags(
    paths: Sequence[Path], epochs: Sequence[int], model: str | None, on_test: bool
) -> None:
    """Flags that do not fit together are told before anything is trained."""
    if not paths:
        raise InputError("no configuration: name one or more, such as -c runs/opt_cfg.json")
    if len(epochs) not in (1, len(paths)):
        raise InputError(
            f"-e has {len(epochs)} numbers for {len(paths)} configurations; "
            f"allowed is 1 or {len(paths)}"
        )
    for count in epochs:
        if not 1 <= count <= 1_000_000:
            raise InputError(f"-e cannot be {count}; allowed is a whole number from 1 to 1000000")
    if model is not None and (len(paths) > 1 or not on_test):
        raise InputError("-m saves one network: give one configuration with it, and -t True")
    if model is not None:
        results.check_file(Path(model), "-m ")


def open_target(settings: Settings, on_test: bool) -> tuple[Any, list[str], dict[str, Any]]:
    """The target over the test split or the folds, its images' names, and what the data set is."""
    from target import cross_validation, train_test  # torch takes seconds: after the arguments
    from vision.data import open_data, open_test, open_train
    from vision.training import choose_device

    device = choose_device(settings.device)
    source = open_data(settings.dataset, settings.data_dir, settings.image_size, settings.split)
    train, fingerprint = open_train(source)
    dataset = {**source.to_dict(), "fingerprint": fingerprint}
    options = {
        "optimizer": settings.optimizer,
        "device": device,
        "threads": settings.threads,
        "per_batch": settings.precision == "per_batch",
    }
    if source.note:
        log.warning("NOTE: %s", source.note)
    if not on_test:
        folds, seed = settings.folds, settings.seed
        target = cross_validation(train, source.num_classes, folds, seed, **options)
        return target, list(train.names), dataset
    test, dataset["test_fingerprint"] = open_test(source)
    target = train_test(train, test, source.num_classes, **options)
    return target, [*train.names, *test.names], dataset


def evaluate(
    target: Any, candidate: Candidate, settings: Settings
) -> tuple[dict[str, Any], np.ndarray, Any]:
    """Trains a configuration once per fold: (result, logits of all held-out images, learner)."""
    config, epochs = candidate.config, candidate.epochs
    guess = telling.in_words(target.estimate_seconds(config, epochs))
    log.info("%s: training for %d epochs, about %s", candidate.path, epochs, guess)
    seed = evaluation_seed(settings.seed, config)
    parts, scores, learner = [], [], None
    for fold in range(len(target.folds)):
        learner = target.learner(config, seed, fold)
        scores.append(target.fit(learner, fold, epochs))
        parts.append(target.measure(scores[-1], fold, learner.batch_size))
        log.debug("fold %d: %s", fold, parts[-1])
    metrics = {name: float(np.mean([part[name] for part in parts])) for name in parts[0]}
    cheap = target.cheap(config)
    known = without_nan({**metrics, **cheap})
    result = {
        "config": config,
        "seeds": [settings.seed],
        "epochs": epochs,
        "optimizer": settings.optimizer,
        "metrics": metrics,
        **cheap,
        "constraints": [
            {"text": str(limit), "value": known.get(limit.metric), "met": limit.miss(known) <= 0}
            for limit in settings.ranking().constraints
        ],
        **({"folds": parts} if len(parts) > 1 else {}),
    }
    return result, np.concatenate(scores), learner


def save_network(
    path: Path, learner: Any, candidate: Candidate, dataset: Mapping[str, Any]
) -> None:
    """Weights as safetensors, with what is needed to use them in the file's metadata."""
    from vision.training import save_weights

    facts = {"config": canonical(candidate.config), "image_size": str(dataset["image_size"])}
    save_weights(
        path, learner.network, {**facts, "classes": canonical_json(dataset["class_names"])}
    )
    log.info("network saved: %s", path)


if __name__ == "__main__":
    sys.exit(main())
