"""The methods of this project, as `optimizer.search` does them."""

from typing import Any

from engine.settings import Settings
from optimizer import search
from search.trial import Trial

METHODS: dict[str, dict[str, Any]] = {
    "ea-hyperband": {"hyperband": True, "sampler": "evolution"},
    "ea": {"hyperband": False, "sampler": "evolution"},
    "hyperband": {"hyperband": True, "sampler": "random"},
    "random": {"hyperband": False, "sampler": "random"},
}

import json, os

if "X_METHODS" in os.environ:
    METHODS |= json.loads(open(os.environ["X_METHODS"]).read())


def searched(problem: Any, settings: Settings, folder: Any) -> list[Trial]:
    """The trials of a search in this process."""
    return search(problem.space, problem, settings, folder).trials
