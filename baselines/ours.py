"""The methods of this project, as `optimizer.search` does them."""

from collections.abc import Mapping
from typing import Any

METHODS: dict[str, dict[str, Any]] = {
    "ea-hyperband": {"hyperband": True, "sampler": "evolution"},
    "ea": {"hyperband": False, "sampler": "evolution"},
    "hyperband": {"hyperband": True, "sampler": "random"},
    "random": {"hyperband": False, "sampler": "random"},
    "guided": {"hyperband": True, "sampler": "guided", "pop_size": 12},
    "guided-ea": {"hyperband": False, "sampler": "guided", "pop_size": 12, "num_children": 5},
}


def layers(method: str) -> list[Mapping[str, Any]]:
    """What makes the method; nothing for one that is not ours."""
    return [METHODS.get(method, {})]
