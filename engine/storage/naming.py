"""Names of runs, and which run is the newest."""

import itertools
import re
import time
from pathlib import Path

from engine.cli.settings import Settings
from utils import InputError, nearest

LATEST = "latest"  # a link to the run that started or resumed last
# Reserved names in a folder of runs.
_TAKEN = (LATEST, "last", "run.json", "opt_cfg.json", "baseline.json")
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+=,-]{0,199}")
# By sampler, with Hyperband and without.
_METHODS = {
    "evolution": ("ea-hb", "ea"),
    "random": ("hb", "random"),
    "guided": ("guided", "guided-ea"),
}


def run_name(settings: Settings, peer: str | None = None) -> str:
    """Method, limits, seed and local time, such as ea-hb_p0.39_s2e7_seed123_2026-11-29_0436.

    peer: the name of the method in `baselines`, if it is one of those.
    """
    bounds = {constraint.metric: constraint.bound for constraint in settings.ranking().constraints}
    precision, size = bounds.get("precision"), bounds.get("num_params")
    parts = [
        peer or _METHODS[settings.sampler][0 if settings.hyperband else 1],
        *([] if precision is None else [f"p{_short(precision)}"]),
        *([] if size is None else [f"s{_short(size)}"]),
        f"seed{settings.seed}",
        time.strftime("%Y-%m-%d_%H%M"),
    ]
    return "_".join(parts)


def _short(value: float) -> str:
    """The shorter notation: 2e7 for 20000000, 0.39 for 0.39."""
    digits, exponent = f"{value:.12e}".split("e")
    brief = f"{float(digits):.12g}e{int(exponent)}"
    return min(f"{value:.12g}", brief, key=len)


def unused_name(runs: Path, name: str) -> str:
    """The name, with the suffix _2, _3, ... if a run of that name exists."""
    names = itertools.chain([name], (f"{name}_{count}" for count in itertools.count(2)))
    return next(candidate for candidate in names if not (runs / candidate).exists())


def check_name(name: str) -> None:
    """InputError if a run cannot have that name."""
    if not _NAME.fullmatch(name) or name in _TAKEN:
        raise InputError(
            f"run_name {name!r} cannot name a folder; allowed are up to 200 letters, digits, "
            "and . _ + - = , with a letter, digit or _ as the first"
        )


def runs_by_age(runs: Path) -> list[str]:
    """Names of the runs in a folder, in the order of their journals' times, the newest last."""
    journals = [path for path in runs.glob("*/trials.jsonl") if path.parent.name != LATEST]
    return [name for _, name in sorted((p.stat().st_mtime, p.parent.name) for p in journals)]


def find_run(name: str | Path, runs_dir: str | Path = "runs") -> Path:
    """The folder of the run at a path, or of that name in `runs_dir`; InputError without one.

    'last' is the run whose journal is the newest.
    """
    if str(name) == "last":
        name = next((Path(runs_dir) / run for run in reversed(runs_by_age(Path(runs_dir)))), name)
    places = [Path(runs_dir) / name, Path(name)]
    path = next((place for place in places if (place / "run.json").is_file()), None)
    if path is None:
        known = [found.parent.name for found in Path(runs_dir).glob("*/run.json")]
        raise InputError(
            f"there is no run {name}: allowed is a folder with a run.json, or the name of one in "
            f"{runs_dir}{nearest(Path(name).name, known)}"
        )
    inside = sorted(found.parent for found in path.glob("*/run.json"))
    if inside and not (path / "trials.jsonl").is_file():
        raise InputError(f"{path} is a folder of runs: name one of them or more, as {inside[-1]}")
    return path
