"""The published experiments: a search for each method, seed and set of constraints, then measured.

    python -m benchmarks.study --preset peers --jobs 2

Presets (benchmarks/studies/): `paper` is the published protocol, 24 GPU hours per search; `peers`
has equal epochs for our methods and third-party ones (requirements-peers.txt), and constraints
that 3 % of fully trained random networks meet; `modern` is `peers` in the modern space and
training; `smoke` shows in a minute or two that everything works. A stopped study resumes: finished
steps are not repeated. Each step is a separate command, and is printed.

1. Every method searches with every seed under every set of constraints.
2. Every winner, and the default network, is retrained and measured on the test split.
3. Every winner is retrained as in its search, but with fresh seeds and on fresh folds, the same
   for all: results on the folds of a search are optimistic, as they selected its winner. The fresh
   folds are of the same images, three times as many as in the test split.
4. One table and one report cover all searches.
"""

import argparse
import dataclasses
import functools
import itertools
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import baselines
from benchmarks import study_tables
from engine.cli.command import command
from engine.cli.settings import Settings, resolve
from engine.cli.stopping import RESUMABLE
from utils import InputError, nearest, read_json, write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
STUDIES = ROOT / "benchmarks" / "studies"
TEST, AGAIN = study_tables.TEST, study_tables.AGAIN


@dataclass(frozen=True)
class Unit:
    """A search of the study."""

    limits: str  # name of a set of constraints in the preset
    method: str  # one of baselines.METHODS
    seed: int
    folder: Path  # of the run


def main(argv: Sequence[str] | None = None) -> int:
    """The command line; returns the exit code."""
    words = "interrupted; the same command continues"
    return command("study", lambda: run(arguments(argv)), words)


def run(given: argparse.Namespace) -> int:
    """Runs the unfinished steps of a study; 1 if one failed."""
    preset = read_json(chosen(given.preset))
    out = Path(given.output or ROOT / "runs" / f"study_{Path(given.preset).stem}")
    out.mkdir(parents=True, exist_ok=True)
    for unit in units(preset, out):
        if not ended(unit.folder):
            baselines.check(unit.method)
    failed = run_searches(preset, out, given.jobs)
    measured = evaluate(preset, out, given.jobs)
    conclude(preset, out)
    for unit in failed:
        print(f"study: {unit.folder} did not finish; its log.txt says why", file=sys.stderr)
    return 1 if failed or not measured else 0


def arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    """Parses the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    presets = "paper, peers, modern, smoke, or a JSON file [%(default)s]"
    parser.add_argument("--preset", default="peers", help=presets)
    parser.add_argument("--output", help="folder of the study [runs/study_PRESET]")
    parser.add_argument(
        "--jobs",
        type=int,
        default=1,
        help="parallel measurements, and searches of peers: number of cores, or 1 on a GPU",
    )
    return parser.parse_args(argv)


def chosen(preset: str) -> Path:
    """The file of a preset; InputError if there is none."""
    names = sorted(path.stem for path in STUDIES.glob("*.json"))
    path = STUDIES / f"{preset}.json" if preset in names else Path(preset)
    if not path.is_file():
        raise InputError(
            f"--preset cannot be {preset!r}; allowed is {', '.join(names)} or a file"
            f"{nearest(preset, names)}"
        )
    return path


def units(preset: Mapping[str, Any], out: Path) -> Iterator[Unit]:
    """All searches, seed by seed: an unfinished study still compares the methods."""
    for seed in preset["seeds"]:
        for limits in preset["limits"]:
            for method in preset["methods"]:
                yield Unit(limits, method, seed, out / "runs" / f"{limits}_{method}_seed_{seed}")


def run_searches(preset: Mapping[str, Any], out: Path, jobs: int) -> list[Unit]:
    """Runs all searches; returns those that did not finish.

    Ours have workers, one per core, and run alone. Those of peers train one network at a time with
    one thread; consecutive ones run in parallel.
    """
    failed = []
    for of_peers, some in itertools.groupby(
        units(preset, out), lambda unit: unit.method in baselines.PEERS
    ):
        together = list(some)
        work = [functools.partial(run_search, preset, unit) for unit in together]
        in_order = side_by_side(work, jobs if of_peers else 1)
        failed += [unit for unit, good in zip(together, in_order, strict=True) if not good]
    return failed


def side_by_side(work: Sequence[Callable[[], Any]], jobs: int) -> list[Any]:
    """The results of the calls, `jobs` in parallel; after Ctrl-C no further call starts."""
    with ThreadPoolExecutor(max_workers=jobs) as pool:
        futures = [pool.submit(one) for one in work]
        try:
            return [future.result() for future in futures]
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def run_search(preset: Mapping[str, Any], unit: Unit) -> bool:
    """Runs the search if it has not finished; returns whether it has."""
    settings = {**preset["settings"], **baselines.OURS.get(unit.method, {})}
    settings |= {**preset["limits"][unit.limits], "seed": unit.seed}
    return search(unit.method, settings, unit.folder)


def search(method: str, settings: Mapping[str, Any], folder: Path) -> bool:
    """Starts or resumes a run; returns whether it has finished."""
    program = ["-m", "baselines", method] if method in baselines.PEERS else ["optimizer.py"]
    if (folder / "trials.jsonl").exists():
        if ended(folder):
            return True
        limit = str(settings.get("max_time", Settings.max_time))
        call(*program, "--resume", str(folder), "--max_time", limit)
    else:
        shutil.rmtree(folder, ignore_errors=True)  # nothing was trained there
        preset = folder.parent / f"{folder.name}.json"
        preset.parent.mkdir(parents=True, exist_ok=True)
        write_json(preset, settings)
        where = ("--runs_dir", str(folder.parent), "--run_name", folder.name)
        call(*program, "--config", str(preset), *where)
    return ended(folder)


def ended(folder: Path) -> bool:
    """Whether a run has finished, that is, used its budget."""
    if not (folder / "run.json").exists():
        return False
    record = read_json(folder / "run.json")
    if not record.get("sessions"):  # killed before the first one started
        return False
    reason = record["sessions"][-1]["reason"]
    by_time = reason == "time limit" and record["settings"]["max_total_epochs"] is None
    return reason is not None and (by_time or reason not in RESUMABLE)


def evaluate(preset: Mapping[str, Any], out: Path, jobs: int) -> bool:
    """Measures winners and default network on the test split and fresh folds; True on success."""
    evaluation, settings = preset["evaluation"], preset["settings"]
    images = []
    for name in ("dataset", "image_size", "device"):
        if name in settings:
            images += [f"--{name}", str(settings[name])]
    test, fresh = ["-t", "True", "-e", str(evaluation["epochs"]), *images], fresh_seeds(preset)
    modern = settings.get("space") == "modern"
    default = ROOT / "configs" / ("default_modern.json" if modern else "default.json")
    waiting = [(default, out / "default" / TEST, test, evaluation["default_seeds"])]
    if modern:  # the published default takes a hundred times as long as a small winner
        again = [*as_in_search(dataclasses.asdict(resolve(settings))), *images]
        waiting.append((default, out / "default" / AGAIN, again, fresh))
    for unit in units(preset, out):
        config = unit.folder / "opt_cfg.json"
        if config.exists():
            waiting.append((config, unit.folder / TEST, test, evaluation["seeds"]))
            again = as_in_search(read_json(unit.folder / "run.json")["settings"])
            waiting.append((config, unit.folder / AGAIN, again, fresh))
    work = []
    for config, result, words, seeds in waiting:
        # A resumed search may have another winner.
        if seeds and not (
            result.exists() and read_json(result).get("config") == read_json(config)
        ):
            place = ["--seeds", *map(str, seeds), "--output", str(result)]
            work.append(functools.partial(call, "main.py", "-c", str(config), *words, *place))
    return not any(side_by_side(work, jobs))


def as_in_search(settings: Mapping[str, Any]) -> list[str]:
    """The flags of main.py for training as in a search with these settings."""
    words = ["-e", str(settings["epochs"])]
    for name in ("optimizer", "device", "dtype", "threads"):
        words += [f"--{name}", str(settings[name])]
    return words


def fresh_seeds(preset: Mapping[str, Any]) -> list[int]:
    """As many as the preset requests, none used by a search; the first determines the folds."""
    unused = (seed for seed in itertools.count(1000) if seed not in preset["seeds"])
    return list(itertools.islice(unused, preset["evaluation"].get("again", 0)))


def conclude(preset: Mapping[str, Any], out: Path) -> None:
    """Writes study.json and study.md, and the report."""
    rows = study_tables.rows(units(preset, out), out / "default")
    write_json(out / "study.json", {"preset": preset, "rows": rows})
    text = study_tables.markdown(rows)
    write_text(out / "study.md", text)
    print(text)
    folders = [str(unit.folder) for unit in units(preset, out) if ended(unit.folder)]
    for limits in preset["limits"]:
        for seed in preset["seeds"]:  # methods of one seed: more pairs would reduce the power
            here = [
                unit for unit in units(preset, out) if (unit.limits, unit.seed) == (limits, seed)
            ]
            compared = [
                str(unit.folder / TEST)
                for unit in here
                if (unit.folder / TEST).exists()
                and read_json(unit.folder / "run.json")["winner"]["feasible"]
            ]
            if len(compared) > 1:
                call("main.py", "--compare", *compared)
    call("-m", "reports", *folders, "--output", str(out / "report"))


def call(*words: str) -> int:
    """Prints and runs a command of this project; returns its exit code."""
    print(f"\n$ python {' '.join(words)}", flush=True)
    code = subprocess.run([sys.executable, *words], cwd=ROOT).returncode
    if code == 130:
        raise KeyboardInterrupt
    return code


if __name__ == "__main__":
    sys.exit(main())
