"""The methods of this project, as `optimizer.search` does them."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engine.settings import read_preset

STRONG = Path(__file__).resolve().parent.parent / "configs" / "strong.json"
METHODS: dict[str, dict[str, Any]] = {
    "ea-hyperband": {"hyperband": True, "sampler": "evolution"},
    "ea": {"hyperband": False, "sampler": "evolution"},
    "hyperband": {"hyperband": True, "sampler": "random"},
    "random": {"hyperband": False, "sampler": "random"},
    "strong": {},
    "strong-ea": {"hyperband": False, "num_children": 5},
}
# One component of `strong` less in each.
ABLATIONS: dict[str, dict[str, Any]] = {
    "strong:no-screening": {"proposals": 1},
    "strong:no-prediction": {"promotion": "measured"},
    "strong:no-turns": {"generation": "round"},
    "strong:no-first-brackets": {"initial": "full"},
    "strong:no-small-population": {"pop_size": 50},
    "strong:no-local-mutation": {"local_mutation": 0.0},
    "strong:no-immigrants": {"immigrants": 0.0},
    "strong:no-margin": {"margin": 0.0},
    "strong:no-bold-generations": {"bold_every": 0},
}


def layers(method: str) -> list[Mapping[str, Any]]:
    """What makes the method; later layers win. Nothing for a method that is not ours."""
    changes = {**METHODS, **ABLATIONS}.get(method, {})
    return [read_preset(str(STRONG)), changes] if method.startswith("strong") else [changes]
