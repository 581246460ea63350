"""`search` with a user's own target: allowed behaviour, and messages."""

import logging
import math
import os
import pickle
import signal

import pytest
from ConfigSpace import Categorical, ConfigurationSpace, Float, Integer

from engine.cli.settings import Settings, own_settings, resolve
from engine.contract import as_target
from optimizer import search
from search.space import Space
from search.trial import canonical
from tests.searches import GUIDED
from tests.stubs import lines, on_disk
from utils import InputError, derive_seed, read_json

pytestmark = pytest.mark.usefixtures("few_candidates")
SMALL = {"workers": "0", "pop_size": 4, "num_children": 3, "epochs": 4, "min_epochs": 1}
SMALL |= {"objective": "minimize loss", "constraints": [], "max_generations": 2}


def settings(**given) -> Settings:
    return resolve({**SMALL, **given})


def space(least=1e-4) -> Space:
    made = ConfigurationSpace()
    made.add(Float("lr", (least, 1.0), log=True), Integer("width", (1, 64)))
    made.add(Categorical("shape", [[3, 3], [5, 5]]))
    return Space(made)


class Own:
    """A loss from the configuration's hash that improves with epochs; can be pickled."""

    def static_metrics(self, config):
        return {"size": config["width"]}

    def evaluate(self, config, epochs, seed, state=None):
        loss = derive_seed("loss", canonical(config)) / 2**63 + 1 / epochs
        return {"loss": loss, **self.static_metrics(config)}


def loss_of(config, epochs, seed):
    return Own().evaluate(config, epochs, seed)


def test_a_plain_function_is_a_target():
    by_function = search(space(), loss_of, settings())
    by_object = search(space(), Own(), settings(constraints=["size <= 64"]))
    assert by_function.best.config == by_object.best.config
    in_a_worker = pickle.loads(pickle.dumps(as_target(loss_of)))
    config = by_function.best.config
    assert in_a_worker.evaluate(config, 4, 0)["loss"] == by_function.best.metrics["loss"]


def test_a_problem_of_ones_own_has_no_limits_but_its_own():
    assert own_settings("minimize loss", sampler="random").constraints == ()
    mine = own_settings("minimize loss", ["size <= 9"])
    assert (mine.objective, mine.sampler) == ("minimize loss", "guided")
    assert mine.constraints == ("size <= 9",)
    assert own_settings("minimize loss", "size <= 9") == mine
    assert own_settings("minimize loss", epochs=1).min_epochs == 1
    assert own_settings("minimize loss", epochs=9).min_epochs == Settings.min_epochs


def test_what_is_no_target_is_refused():
    class Former:
        evaluate = loss_of

    with pytest.raises(InputError, match="has no method `static_metrics"):
        search(space(), Former(), settings())
    with pytest.raises(InputError, match="3 is not a target"):
        search(space(), 3, settings())
    with pytest.raises(InputError, match="no search space; allowed is a ConfigurationSpace"):
        search({"x": (0, 1)}, loss_of, settings())


def test_the_same_call_starts_anew_when_the_cause_of_all_failures_is_gone(tmp_path):
    failed = search(space(), lambda *_: 0.5, settings(max_generations=9), tmp_path / "run")
    assert failed.reason == "failures" and "0.5, which is no dictionary" in failed.detail
    assert not (tmp_path / "run").exists()
    result = search(space(), loss_of, settings(), tmp_path / "run")
    assert {trial.status for trial in result.trials} == {"ok"}


def test_only_metrics_that_decide_must_be_finite():
    def measured(config, epochs, seed):
        odd = config["width"] % 2
        return {"loss": math.nan if odd else 1.0, "size": 1, "train_loss": math.nan}

    result = search(space(), measured, settings(constraints=["size <= 2"]))
    for trial in result.trials:
        assert trial.status == ("diverged" if trial.config["width"] % 2 else "ok")
        assert trial.status == "diverged" or trial.metrics == {"loss": 1.0, "size": 1}


def test_a_search_in_which_everything_diverges_ends():
    result = search(space(), lambda *_: {"loss": math.nan}, settings(max_generations=99))
    assert result.reason == "failures" and "not finite: loss" in result.detail
    assert 20 <= len(result.trials) <= 30

    def mostly(config, epochs, seed):
        return {"loss": math.nan if config["width"] > 8 else 1.0}

    assert search(space(), mostly, settings(max_generations=9)).reason == "generation limit"


class Careless(Own):
    """Changes every dictionary that it gets."""

    def static_metrics(self, config):
        config["shape"].append(config.pop("lr"))
        return {"size": config.pop("width")}

    def evaluate(self, config, epochs, seed, state=None):
        measured = super().evaluate(dict(config), epochs, seed, state)
        config["shape"].append(config.pop("lr"))
        return measured

    def layers(self, config):
        return [config.pop("lr")]

    def estimate_seconds(self, config, epochs):
        return config.pop("lr")

    def estimate_memory(self, config):
        return config.pop("lr")


@pytest.mark.parametrize(("preset", "last"), [({}, 1), (GUIDED, 5)], ids=["published", "guided"])
def test_a_target_may_change_what_it_is_given(tmp_path, preset, last):
    given = {**preset, "constraints": ["size <= 50"], "max_memory_gb": 1.0}
    given["max_generations"] = last
    whole = search(space(), Own(), settings(**given))
    result = search(space(), Careless(), settings(**given), tmp_path / "run")
    assert lines(result.trials) == lines(whole.trials) == lines(on_disk(tmp_path / "run"))
    assert all(set(trial.config) == {"lr", "width", "shape"} for trial in result.trials)
    assert all(trial.config["shape"] in ([3, 3], [5, 5]) for trial in result.trials)
    assert result.best.config == whole.best.config


class Picky(Own):
    """Raises for networks of an even width."""

    def static_metrics(self, config):
        if config["width"] % 2 == 0:
            raise ValueError(f"width {config['width']} is even")
        return super().static_metrics(config)


@pytest.mark.parametrize(
    ("preset", "limits"), [({}, []), ({**GUIDED, "max_generations": 5}, ["size <= 40"])]
)
def test_a_configuration_for_which_static_metrics_raises_is_infeasible(preset, limits, caplog):
    result = search(space(), Picky(), settings(**preset, constraints=limits))
    assert result.reason == "generation limit" and result.feasible
    assert all(trial.config["width"] % 2 == 1 for trial in result.trials)
    assert not limits or max(trial.config["width"] for trial in result.trials) <= 40
    messages = [record.message for record in caplog.records]
    told = [message for message in messages if "`static_metrics` raises" in message]
    assert len(told) == 1 and "is even" in told[0]


def test_static_metrics_that_always_raises_is_told_with_its_reason():
    class Broken(Own):
        def static_metrics(self, config):
            raise KeyError("depth")

    with pytest.raises(InputError, match="KeyError: 'depth'"):
        search(space(), Broken(), settings())


def test_static_metrics_that_are_no_numbers_are_told():
    class Unknown(Own):
        def static_metrics(self, config):
            return {"size": math.nan}

    with pytest.raises(InputError, match="reports no number for size <= 9"):
        search(space(), Unknown(), settings(constraints=["size <= 9"]))


def test_a_trial_without_the_metric_that_decides_has_failed():
    given = settings(constraints=["recall >= 0"], max_generations=3)
    result = search(space(), Forgetful(), given)
    assert result.reason == "generation limit" and result.feasible
    failed = [trial for trial in result.trials if trial.config["width"] % 2]
    assert 0 < len(failed) < len(result.trials)
    for trial in result.trials:
        assert trial.status == ("failed" if trial in failed else "ok")
        assert trial in failed or trial.error is None
    assert "'recall'" in failed[0].error and "did you mean recal?" in failed[0].error


class Forgetful(Own):
    """Misspells the recall of networks of an odd width."""

    def evaluate(self, config, epochs, seed, state=None):
        name = "recal" if config["width"] % 2 else "recall"
        return {**super().evaluate(config, epochs, seed, state), name: 0.5}


@pytest.mark.parametrize(("size", "most"), [(2, 2), (50, 5)])
def test_a_metric_that_no_trial_has_is_told_early(tmp_path, size, most):
    given = settings(objective="maximize accuracy", pop_size=size, max_generations=0)
    target = Counted()
    with pytest.raises(InputError, match="'accuracy'.* loss, size"):
        search(space(), target, given, tmp_path / "run")
    assert target.count == most


class Counted(Own):
    """Counts its trainings."""

    count = 0

    def evaluate(self, *arguments):
        self.count += 1
        return super().evaluate(*arguments)


WRONG = [{"objective": "maximize accuracy"}, {"constraints": ["size <= 0"]}]


@pytest.mark.parametrize("wrong", WRONG, ids=["after trainings", "before the first"])
def test_a_first_call_that_is_refused_leaves_the_folder_as_it_was(tmp_path, wrong):
    folder = tmp_path / "run"
    with pytest.raises(InputError):
        search(space(), Own(), settings(**wrong), folder)
    assert not folder.exists()
    folder.mkdir()
    (folder / "log.txt").write_text("of the user")
    with pytest.raises(InputError):
        search(space(), Own(), settings(**wrong), folder)
    assert [path.name for path in folder.iterdir()] == ["log.txt"]
    result = search(space(), Own(), settings(max_generations=0), folder)
    before = (folder / "trials.jsonl").read_bytes()
    with pytest.raises(InputError, match="^(objective|constraints) is "):
        search(space(), Own(), settings(**wrong, max_generations=0), folder)
    assert (folder / "trials.jsonl").read_bytes() == before and result.trials


def test_the_usual_end_is_no_warning_and_one_worker_does_the_brackets_in_series(caplog):
    result = search(space(), Own(), settings())
    assert result.detail == result.reason == "generation limit"
    assert not [one for one in caplog.records if one.levelno >= logging.WARNING]
    places = [(one.generation, -one.bracket, one.rung) for one in result.trials]
    assert places == sorted(places) and len({one.bracket for one in result.trials}) == 3


class Signalled(Own):
    """Gets a signal in its fifth training, once."""

    def __init__(self, number):
        self.number, self.calls = number, 0

    def evaluate(self, config, epochs, seed, state=None):
        self.calls += 1
        if self.calls == 5:
            os.kill(os.getpid(), self.number)
        return super().evaluate(config, epochs, seed, state)


def test_ctrl_c_ends_the_search_in_order_and_the_loop_of_the_caller(tmp_path):
    folder, begun = tmp_path / "run", []
    with pytest.raises(KeyboardInterrupt):
        for number in range(3):
            begun.append(number)
            search(space(), Signalled(signal.SIGINT), settings(), folder)
    assert begun == [0]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    assert len(on_disk(folder)) == 4 and (folder / "opt_cfg.json").exists()
    assert read_json(folder / "run.json")["sessions"][0]["reason"] == "interrupted"
    whole = search(space(), Own(), settings())
    result = search(space(), Own(), settings(), folder)
    assert lines(result.trials) == lines(whole.trials)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_sigterm_reaches_the_handler_of_the_caller_after_the_end(tmp_path, number):
    met = []

    def handler(number, _):
        met.append((number, read_json(tmp_path / "run" / "run.json")["sessions"][0]["reason"]))

    before = signal.signal(number, handler)
    try:
        result = search(space(), Signalled(number), settings(), tmp_path / "run")
    finally:
        signal.signal(number, before)
    assert met == [(number, "terminated")] and result.reason == "terminated"
    result = search(space(), Own(), settings(), tmp_path / "run")
    assert lines(result.trials) == lines(search(space(), Own(), settings()).trials)


@pytest.mark.parametrize("number", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_that_is_ignored_as_by_nohup_does_not_end_a_search(number):
    before = signal.signal(number, signal.SIG_IGN)
    try:
        assert search(space(), Signalled(number), settings()).reason == "generation limit"
    finally:
        signal.signal(number, before)


def test_a_run_goes_on_in_its_own_space_and_with_its_own_settings_only(tmp_path):
    folder, narrower = tmp_path / "run", space(least=1e-3)
    search(space(), Own(), settings(max_generations=0), folder)
    before = (folder / "trials.jsonl").read_bytes()
    with pytest.raises(InputError, match="another search space: hyperparameter 'lr'"):
        search(narrower, Own(), settings(), folder)
    with pytest.raises(InputError, match="seed is 123 in this run and cannot become 5"):
        search(space(), Own(), settings(seed=5), folder)
    assert (folder / "trials.jsonl").read_bytes() == before
    whole = search(space(), Own(), settings())
    result = search(Space.load(folder / "space.json"), Own(), settings(), folder)
    assert lines(result.trials) == lines(whole.trials)
    narrower.configspace.to_json(folder / "space.json")
    with pytest.raises(InputError, match="was changed"):
        search(Space.load(folder / "space.json"), Own(), settings(), folder)
    (folder / "run.json").unlink()
    (folder / "space.json").unlink()  # like an older run without a recorded space
    with pytest.raises(InputError, match="in its journal trial 0 is"):
        search(narrower, Own(), settings(), folder)
