"""The seam to those who only watch a search: they are told what happens, and can never stop it."""

import logging
from collections.abc import Callable, Sequence
from typing import Any

from search.hyperband import Bracket
from search.trial import Trial

log = logging.getLogger("nas")


class Observer:
    """Is told of a search by its own thread, and must return at once.

    What has been trained before a resume is told by `begin` and `generation_complete` only.
    """

    name = "observer"

    def begin(self, trials: Sequence[Trial], epochs: int | None) -> None:
        """A search begins, or goes on from these trials; it ends by `epochs` charged, if known."""

    def generation_begins(self, generation: int, brackets: Sequence[Bracket]) -> None:
        """These brackets are trained next."""

    def recorded(self, trial: Trial) -> None:
        """A job has ended, and is in the journal."""

    def rung_complete(self, trials: Sequence[Trial], going_on: set[int]) -> None:
        """All jobs of a rung have ended; the children of these numbers go on to the next."""

    def generation_complete(self, row: dict[str, Any], trials: Sequence[Trial]) -> None:
        """A generation has ended: its row of population.csv, and all trials decided so far."""

    def end(self, result: Any) -> None:
        """The search has ended, with this `optimizer.Result`."""

    def close(self) -> None:
        """Nothing more will be told, however the search ended."""


class Observers:
    """Tells all observers; one that raises is told nothing more, after one warning."""

    def __init__(self, observers: Sequence[Observer] = ()):
        self._observers = list(observers)

    def __enter__(self) -> "Observers":
        return self

    def __exit__(self, *_: object) -> None:
        self.tell(Observer.close)

    def tell(self, event: Callable[..., None], *facts: Any) -> None:
        """`event` is a method of `Observer`; `facts` are its arguments."""
        for observer in list(self._observers):
            try:
                getattr(observer, event.__name__)(*facts)
            except Exception as error:
                self._observers.remove(observer)
                words = f"{type(error).__name__}: {error}"
                log.warning("warning: %s is off, the search goes on: %s", observer.name, words)
                if event is not Observer.close:
                    Observers([observer]).tell(Observer.close)  # it may hold the terminal
