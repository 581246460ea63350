"""Callbacks on the events of a search. A callback cannot stop the search."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from search.hyperband import Bracket, Child
from search.trial import Trial

log = logging.getLogger("nas")


class Callback:
    """The search thread calls these methods; each must return at once.

    After a resume, trials of earlier sessions reach `begin` and `generation_complete` only.
    """

    name = "callback"

    def begin(self, trials: Sequence[Trial], epochs: int | None) -> None:
        """A search starts, or resumes from these trials. epochs: its epoch limit, if known."""

    def workers_ready(self, activity: dict[int, Any]) -> None:
        """The activity of each worker, updated in place: see `workers.pool.Activity`."""

    def generation_begins(
        self, generation: int, brackets: Sequence[Bracket], children: Sequence[Child] = ()
    ) -> None:
        """A generation starts with these brackets and children; none if dropped trials go on."""

    def recorded(self, trial: Trial) -> None:
        """A job has ended and is in the journal."""

    def rung_complete(self, trials: Sequence[Trial], promoted: set[int]) -> None:
        """All jobs of a rung have ended; the children with these numbers are promoted."""

    def generation_complete(self, row: dict[str, Any], trials: Sequence[Trial]) -> None:
        """A generation has ended: its row of population.csv, and all trials decided so far."""

    def end(self, result: Any) -> None:
        """The search has ended, with this `optimizer.Result`."""

    def close(self) -> None:
        """The last call, however the search ended."""


class CallbackHandler:
    """Calls all callbacks. It warns about one that raises and removes it."""

    def __init__(self, callbacks: Sequence[Callback] = ()):
        self._callbacks = list(callbacks)

    def __enter__(self) -> "CallbackHandler":
        return self

    def __exit__(self, *_: object) -> None:
        self.notify(Callback.close)

    def notify(self, event: Callable[..., None], *facts: Any) -> None:
        """`event` is a method of `Callback`; `facts` are its arguments."""
        for callback in list(self._callbacks):
            try:
                getattr(callback, event.__name__)(*facts)
            except Exception as error:
                self._callbacks.remove(callback)
                words = f"{type(error).__name__}: {error}"
                log.warning("warning: %s is off, the search continues: %s", callback.name, words)
                if event is not Callback.close:
                    CallbackHandler([callback]).notify(Callback.close)  # it may hold the terminal
