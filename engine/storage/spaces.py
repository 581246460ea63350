"""The search space of a run. The run's folder keeps a copy, so that it is self-contained."""

import contextlib
import hashlib
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

from ConfigSpace import ConfigurationSpace

from engine.cli.settings import Settings
from engine.storage.run import RunFolder
from search.space import Config, Space
from utils import InputError, canonical_json, read_object, without_nan, write_json

log = logging.getLogger("nas")
COPY = "space.json"
CONFIGS = Path(__file__).resolve().parents[2] / "configs"
# The program's own search spaces, in configs/.
SPACES = {"published": "space.json", "modern": "space_modern.json"}
# Entries of a space that do not count in its hash.
_NO_PART = ("name", "python_module_version", "format_version")


def space_file(name: str | None) -> Path:
    """The file of a search space, by its name or path; older runs have None."""
    known = SPACES.get(name or Settings.space)
    return CONFIGS / known if known else Path(str(name))


def as_space(given: Any) -> Space:
    """A `Space` unchanged, or of a ConfigurationSpace. InputError if `given` is neither."""
    if isinstance(given, Space):
        return given
    if isinstance(given, ConfigurationSpace):
        return Space(given)
    raise InputError(f"{given!r} is no search space; allowed is a ConfigurationSpace or a `Space`")


def own_space(run: Path, named: str | None) -> Path:
    """The file of a run's search space: the copy in its folder or, in older runs, `named`."""
    return run / COPY if (run / COPY).exists() else space_file(named)


def described(
    space: Space, static_metrics: Callable[[Config], Mapping[str, Any]], kinds: Iterable[str]
) -> Mapping[str, Any]:
    """The static metrics of the default network; InputError if there is no network of a choice.

    kinds: the hyperparameters whose choices are tried. Warns of those that neither of the
    program's own spaces has.
    """
    default = space.default()
    try:
        for kind in (one for one in kinds if one in space.scales):
            for choice in space.scales[kind].choices:
                static_metrics({**default, kind: choice})
        known = static_metrics(default)
    except (KeyError, TypeError, ValueError) as error:
        raise InputError(f"the search space does not describe a network: {error!r}") from None
    own = {_stem(n) for file in SPACES.values() for n in Space.load(CONFIGS / file).names}
    if unread := [name for name in space.names if _stem(name) not in own]:
        log.warning("warning: no network or training here reads %s", ", ".join(unread))
    return known


def _stem(name: str) -> str:
    return name.rstrip("0123456789")  # width_4 is one of width_0, width_1, ...


def with_default(space: Space, file: Path) -> Space:
    """The space with the configuration in a file as its default; InputError if it is outside."""
    try:
        config, warnings = space.adopt(read_object(file))
        outside = space.adopt(config)[1]  # it no longer has inactive values
    except InputError as error:
        outside = [str(error)]
    if outside:
        raise InputError(f"--start_from {file}: {outside[0]}")
    for warning in warnings:
        log.warning("warning: %s: %s", file, warning)
    content = space.configspace.to_serialized_dict()
    for one in content["hyperparameters"]:
        if "default_value" in one:
            one["default_value"] = config.get(one["name"], one["default_value"])
    return Space(ConfigurationSpace.from_serialized_dict(content))


def keep_space(folder: RunFolder, space: Space) -> None:
    """Saves a copy of the space in the folder of a new run; the next save notes its hash.

    InputError, with the difference, if the run started with another space.
    """
    content, copy = _content(space), folder.path / COPY
    noted = folder.record.get("space_hash")
    if noted is None:
        write_json(copy, content)
        folder.record["space_hash"] = _hash(content)
    elif noted != _hash(content):
        what = f"its copy of it, {copy}, is missing or was changed"
        if copy.exists():
            what = _difference(_content(Space.load(copy)), content) or what
        raise InputError(f"run {folder.path} started with another search space: {what}")


def tell_changed(folder: RunFolder, named: Path) -> None:
    """Logs a note if the original file of a run's space has changed since."""
    noted = folder.record.get("space_hash")
    if noted is None or not named.exists():
        return
    own = folder.path / COPY
    with contextlib.suppress(InputError):  # the file is no longer a space
        if _hash_but_defaults(named) != _hash_but_defaults(own):
            log.warning("NOTE: %s has changed; the run continues with its copy, %s", named, own)


def _content(space: Space) -> dict[str, Any]:
    """A space as JSON in ConfigSpace's format, without its author's notes (`meta`)."""
    content = without_nan(space.configspace.to_serialized_dict())
    for one in content["hyperparameters"]:
        one["meta"] = None
    return content


def _hash(content: Mapping[str, Any]) -> str:
    own = {name: part for name, part in content.items() if name not in _NO_PART}
    return "sha256:" + hashlib.sha256(canonical_json(own).encode()).hexdigest()


def _hash_but_defaults(file: Path) -> str:
    """The hash of a space without its default configuration, which --start_from changes."""
    content = _content(Space.load(file))
    for one in content["hyperparameters"]:
        one["default_value"] = None
    return _hash(content)


def _difference(before: Mapping[str, Any], now: Mapping[str, Any]) -> str:
    """The first difference in words, or ''."""
    old, new = (
        {one["name"]: json.dumps(one, sort_keys=True) for one in content["hyperparameters"]}
        for content in (before, now)
    )
    for name in [*old, *new]:
        if old.get(name) != new.get(name):
            was, is_now = (found.get(name, "not there") for found in (old, new))
            return f"hyperparameter {name!r} was {was} and is {is_now} now"
    parts = ("conditions", "forbiddens", "hyperparameters")
    changed = [name for name in parts if before[name] != now[name]]
    return f"its {changed[0]} differ" if changed else ""
