"""A target without training. Workers import it: it needs neither ConfigSpace nor torch."""

import json
import math
import os
import signal
import time
from pathlib import Path

from cnn import count_parameters as num_params
from search.trial import canonical
from utils import derive_seed


def _size(config):
    return {"num_params": num_params(config)}


class StubTarget:
    """Closed-form metrics in place of training.

    `act(config, epochs)` may raise, or return metrics that replace the computed ones. `calls`
    holds (config, epochs, seed, state) of every evaluation.
    """

    def __init__(self, act=lambda *_: None, static_metrics=None):
        self.act = act
        self._static_metrics = static_metrics or _size
        self.calls = []
        self.begun = []  # epochs of the state from which each call resumed

    def static_metrics(self, config):
        return dict(self._static_metrics(config))

    def evaluate(self, config, epochs, seed, state=None):
        config = dict(config)
        changed = self.act(config, epochs) or {}
        self.calls.append((config, epochs, seed, None if state is None else str(state)))
        self.begun.append(self._go_on(canonical(config), epochs, seed, state))
        quality = derive_seed("quality", config) / 2**63
        speed = 1 + derive_seed("speed", config) / 2**60
        luck = derive_seed("luck", seed) / 2**63
        top3 = (0.2 + 0.7 * quality) * (1 - math.exp(-epochs / speed)) + 0.05 * luck
        metrics = {
            "top3": top3,
            "top1": top3 / 2,
            "precision": 0.6 * quality + 0.3 * luck,
            "recall": top3 / 3,
            "loss": 3 - 2 * top3,
            **self.static_metrics(config),
            **changed,
        }
        folds = [{**metrics, "curve": [{"epochs": epochs, "top3": top3}]} for _ in range(2)]
        return {**metrics, "folds": folds, "meta": {"fold_seconds": [0.0, 0.0]}}

    def _go_on(self, key: str, epochs: int, seed: int, state: str | Path | None) -> int:
        if state is None:
            return 0
        begun = 0
        if Path(state).exists():
            saved = json.loads(Path(state).read_text())
            assert saved["key"] == key and saved["seed"] == seed, "the state of another training"
            assert saved["epochs"] <= epochs
            begun = saved["epochs"]
        Path(state).write_text(json.dumps({"key": key, "seed": seed, "epochs": epochs}))
        return begun


class Unhurried(StubTarget):
    """Takes 2 ms per epoch, so that workers wait for each other at a barrier; can be pickled."""

    def __reduce__(self):
        return Unhurried, ()

    def evaluate(self, config, epochs, seed, state=None):
        time.sleep(epochs / 500)
        return super().evaluate(config, epochs, seed, state)


class Misbehaving(StubTarget):
    """A stub that fails for chosen configurations; can be pickled.

    wrong: canonical configuration -> 'raise', 'nan', 'hang', 'allocate', 'memory_error' or 'kill'.
    """

    def __init__(self, wrong):
        super().__init__()
        self.wrong = dict(wrong)

    def __reduce__(self):
        return Misbehaving, (self.wrong,)

    def evaluate(self, config, epochs, seed, state=None):
        how = self.wrong.get(canonical(config))
        if how == "raise":
            raise ValueError("as it was told")
        if how == "memory_error":
            raise MemoryError("as it was told")
        if how == "hang":
            time.sleep(3600)
        if how == "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        blocks = []
        while how == "allocate":
            blocks.append(b"x" * (1 << 26))
        metrics = super().evaluate(config, epochs, seed, state)
        return {**metrics, "top3": math.nan} if how == "nan" else metrics


class Busy(Misbehaving):
    """Its device is busy for the first attempts to take it; `notes` gets a line for each."""

    def __init__(self, notes: Path, busy: int):
        super().__init__({})
        self.notes, self.busy = notes, busy

    def __reduce__(self):
        return Busy, (self.notes, self.busy)

    def take_device(self) -> None:
        with self.notes.open("a") as file:
            file.write("an attempt\n")
        if self.notes.read_text().count("\n") <= self.busy:
            raise RuntimeError("CUDA error: all devices are busy\nCompile with")
