"""The guided search: what its parts decide, and that it is as exact as the published one."""

import hashlib
import platform

import pytest

from engine.callbacks import Callback
from engine.cli.settings import resolve
from optimizer import search
from search.trial import canonical
from tests.searches import (
    GUIDED,
    PARTS,
    Interrupted,
    assert_resumed,
    each_method,
    small,
    spent,
    unlucky,
    without,
)
from tests.stub_target import StubTarget
from tests.stubs import assert_same, lines, rich_space, small_space

pytestmark = pytest.mark.usefixtures("few_candidates")


@pytest.mark.parametrize("hyperband", [True, False])
def test_the_guided_search_is_decided_by_the_seed(space, tmp_path, hyperband):
    settings = small(**GUIDED, hyperband=hyperband)
    first = search(space, StubTarget(), settings)
    again = search(space, StubTarget(), settings, tmp_path / "run")
    assert first.reason == "generation limit"
    assert_same(tmp_path / "run", again.trials, first.trials)
    other = search(space, StubTarget(), small(**GUIDED, hyperband=hyperband, seed=124))
    assert not lines(first.trials) & lines(other.trials)


def test_a_generation_of_the_guided_search_is_one_bracket(space):
    result = search(space, StubTarget(), small(**GUIDED))
    brackets = [{t.bracket for t in result.trials if t.generation == g} for g in range(11)]
    assert brackets == [set(), *3 * [{2}, {1}, {0}], {2}], "no generation 0"
    first = [t for t in result.trials if t.generation == 1]
    assert {t.operator for t in first} == {"sample"}
    assert {t.operator for t in result.trials} == {"sample", "mutate", "perturb", "recombine"}
    assert len({canonical(t.config) for t in result.trials}) == len(
        {t.trial for t in result.trials}
    )
    told = []

    class Told(Callback):
        def begin(self, trials, epochs):
            told.append(epochs)

    search(space, StubTarget(), small(**GUIDED), callbacks=[Told()])
    assert told == [spent(result.trials)], "the epochs of all generations are known before"


def test_the_model_decides_who_is_trained(space, monkeypatch):
    """Half of the stub's quality is in the kernel: the model finds out, samples do not."""

    def act(config, epochs):
        return {"top3": 1 - config["dropout_rate"], "precision": 0.5}

    def last():
        trials = search(space, StubTarget(act), small(**GUIDED)).trials
        rates = [t.config["dropout_rate"] for t in trials if t.generation > 5 and t.rung == 0]
        return sum(rates) / len(rates)

    with_model = last()
    without("candidates", monkeypatch)
    assert with_model < 0.5 * last()


@pytest.mark.parametrize("after", [1, 5, 13])
def test_the_guided_search_goes_on_where_it_was_stopped(space, tmp_path, after):
    assert_resumed(space, small(**GUIDED), tmp_path / "run", after, after == 5)


@pytest.mark.parametrize(("first", "more"), [(60, 200), (100, 150)])
def test_the_guided_search_goes_on_with_a_larger_limit(space, tmp_path, first, more):
    search(space, StubTarget(), small(**GUIDED, max_total_epochs=first), tmp_path / "run")
    settings = small(**GUIDED, max_total_epochs=more)
    longer = search(space, StubTarget(), settings, tmp_path / "run")
    at_once = search(space, StubTarget(), settings)
    assert spent(at_once.trials) <= more
    assert_same(tmp_path / "run", longer.trials, at_once.trials)


@pytest.mark.parametrize("part", PARTS)
def test_each_part_of_the_model_decides_something_in_these_tests(space, monkeypatch, part):
    """So that what holds of them holds of the model."""

    def found():  # a choice of one among few can be the same by chance
        return [
            lines(search(space, StubTarget(), small(**GUIDED, seed=seed)).trials)
            for seed in (123, 124, 125)
        ]

    whole = found()
    without(part, monkeypatch)
    lacking = found()
    assert all(a & b for a, b in zip(whole, lacking, strict=True)), "as before there is a model"
    assert whole != lacking


@pytest.mark.parametrize("after", [4, 9])
def test_the_guided_search_on_a_rich_space_with_failures(tmp_path, after):
    """What failed or diverged is None in a journal and NaN in memory; the model sees the same."""

    class Unlucky(Interrupted):
        def __init__(self, after):
            super().__init__(after)
            self.act = unlucky
            self._static_metrics = lambda config: {"num_params": config["width"]}

    settings = small(**GUIDED, constraints=["num_params <= 500", "precision >= 0.3"])
    whole = search(rich_space(), Unlucky(1000), settings)
    assert whole.reason == "generation limit" and whole.feasible
    assert {trial.status for trial in whole.trials} == {"ok", "failed", "diverged"}
    while (
        found := search(rich_space(), Unlucky(after), settings, tmp_path)
    ).reason != whole.reason:
        assert found.reason == "interrupted"
    assert_same(tmp_path, found.trials, whole.trials)


def test_the_guided_search_ends_where_nothing_new_is_left():
    result = search(
        small_space(9), StubTarget(static_metrics=lambda _: {}), small(**GUIDED, constraints=[])
    )
    assert result.reason == "space exhausted"
    assert {trial.config["x"] for trial in result.trials} == set(range(1, 10))


GOLDEN = {  # of the search since what breaks a limit is fitted to it, on x86-64
    ("evolution", True): "fe8d12c9df9aaf70",
    ("evolution", False): "194c77296777c07a",
    ("random", True): "9f715bc12b0012f6",
    ("random", False): "ea186635ec6f7f94",
}


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the last bits may differ")
@each_method
def test_the_search_by_default_is_the_same_to_the_last_bit(space, sampler, hyperband):
    given = {"workers": "0", "pop_size": 8, "max_generations": 3}
    settings = resolve({**given, "sampler": sampler, "hyperband": hyperband})
    journal = "\n".join(sorted(lines(search(space, StubTarget(), settings).trials)))
    now_and_then = {'"v": 2': '"v": 1', '"cost_epochs"': '"charged"', '"meta"': '"observed"'}
    for now, then in now_and_then.items():  # the digests are older than the names
        journal = journal.replace(now, then)
    digest = hashlib.sha256(journal.encode()).hexdigest()
    assert digest[:16] == GOLDEN[sampler, hyperband]
