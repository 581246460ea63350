"""Static constraints: those on metrics that need no training, and their violation."""

import copy
import math
from collections.abc import Callable, Mapping
from typing import Any

from search.constraints import Constraint, Ranking, total_violation
from search.space import Config, Space
from utils import InputError, derive_rng

TRIES = 1000  # samples tried to find one for which `static_metrics` does not raise


class StaticLimits:
    """Constraints on `static_metrics`; a configuration for which that raises is infeasible.

    limits: the constraints on metrics that `static_metrics` reports. refusal: the first exception
    that it raised, with the configuration, for display.
    """

    def __init__(
        self,
        space: Space,
        ranking: Ranking,
        static_metrics: Callable[[Config], Mapping[str, Any]],
        run_seed: int,
    ):
        self.static_metrics, self.refusal = static_metrics, ""
        self.limits: tuple[Constraint, ...] = ()
        self.limits = ranking.static(self._any(space, run_seed))

    def metrics(self, config: Mapping[str, Any]) -> dict[str, Any]:
        """The static metrics; `static_metrics` gets a copy, as it may change its argument."""
        own = {k: copy.deepcopy(v) if isinstance(v, list | dict) else v for k, v in config.items()}
        return dict(self.static_metrics(own))

    def cost(self, config: Mapping[str, Any]) -> float:
        """Relative cost of an epoch: the metric `cost`, else `macs`, else 1."""
        known = self.metrics(config)
        return float(known.get("cost", known.get("macs", 1.0)))

    def violation(self, config: Mapping[str, Any]) -> float:
        """Violation of the static constraints; infinite if `static_metrics` raises."""
        try:
            return total_violation(self.limits, self.metrics(config))
        except Exception as error:
            self.refusal = self.refusal or f"{type(error).__name__}: {error}, for {dict(config)}"
            return math.inf

    def unreachable(self, nearest: Mapping[str, Any]) -> InputError:
        """The error if no configuration meets the limits; `nearest` violates them least."""
        if math.isinf(self.violation(nearest)):
            return self._none_taken()
        known = self.metrics(nearest)
        limits = " and ".join(map(str, self.limits))
        found = ", ".join(f"{limit.metric} {known[limit.metric]:,}" for limit in self.limits)
        return InputError(
            f"no configuration of the space meets {limits}; the nearest found has {found}"
        )

    def _any(self, space: Space, run_seed: int) -> dict[str, Any]:
        """The metrics of the default, or of a sample if `static_metrics` raises there."""
        config, rng = space.default(), derive_rng(run_seed, "known")
        for _ in range(TRIES):
            if self.violation(config) == 0:  # `limits` is still empty
                return self.metrics(config)
            config = space.sample(rng)
        raise self._none_taken()

    def _none_taken(self) -> InputError:
        if not self.refusal:
            limits = " and ".join(map(str, self.limits))
            return InputError(f"`static_metrics` reports no number for {limits}")
        return InputError(f"`static_metrics` raises for all configurations tried: {self.refusal}")
