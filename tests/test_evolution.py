"""Tournaments, proposals, survival, and the drawing of children within static constraints."""

import numpy as np
import pytest
from ConfigSpace import ConfigurationSpace

from search import evolution
from search.constraints import Ranking
from search.evolution import LimitsUnreachable, Variation, draw_child, tournament
from search.generation import incumbent
from search.offspring import OffspringSampler
from search.space import Space
from tests.stub_target import num_params
from tests.stubs import make_trial, small_space
from utils import InputError


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def by_id(trial) -> int:
    return trial.trial


def make_population(space, count: int = 6) -> list:
    return [make_trial(i, config=space.sample(rng(i))) for i in range(count)]


def make_sampler(
    space, limits=("num_params <= 1e6",), seed=1, static_metrics=None, **variation
) -> OffspringSampler:
    static_metrics = static_metrics or (lambda config: {"num_params": num_params(config)})
    ranking = Ranking.parse("maximize top3", limits)
    return OffspringSampler(space, ranking, static_metrics, seed, Variation(**variation))


def offspring(space, population, seed, *options):
    return Variation(2, *options).offspring(space, population, by_id, rng(seed))


def test_a_tournament_of_one_is_a_draw_of_two_prefers_the_better_of_all_takes_the_best():
    population = [make_trial(i) for i in range(4)]

    def counts(size):
        wins = [tournament(population, by_id, size, rng(seed)).trial for seed in range(300)]
        return [wins.count(i) for i in range(4)]

    of_two = counts(2)
    assert of_two[3] == 0
    assert 110 < of_two[0] < 190 and of_two[0] > of_two[1] > of_two[2] > 0
    assert all(count > 40 for count in counts(1))
    assert counts(4) == counts(9) == [300, 0, 0, 0]


def test_the_mutation_rate_chooses_the_operator(space):
    assert offspring(space, [], 7) == (space.sample(rng(7)), (), "sample")
    population = make_population(space)
    for rate, least, most in ((0.0, 0, 0), (0.5, 30, 70), (1.0, 100, 100)):
        drawn = [offspring(space, population, i, rate) for i in range(100)]
        mutants = [parents for _, parents, operator in drawn if operator == "mutate"]
        pairs = [parents for _, parents, operator in drawn if operator == "recombine"]
        assert least <= len(mutants) <= most and len(mutants) + len(pairs) == 100
        assert all(len(parents) == 1 and 0 <= parents[0] < 6 for parents in mutants)
        assert all(len(parents) == 2 for parents in pairs)
        if pairs:  # partners are drawn separately
            assert 0.3 < sum(first != second for first, second in pairs) / len(pairs) < 1


def test_tries_are_bounded_when_nothing_is_new():
    tries = []

    def propose_one(generator):
        tries.append(1)
        return {"x": 1}, (), "sample"

    seen = {f'{{"x":{x}}}' for x in range(1, 9)}
    assert draw_child(small_space(8), propose_one, lambda _: 0.0, seen, rng()) is None
    assert len(tries) == evolution.TRIES
    left = draw_child(small_space(8), propose_one, lambda _: 0.0, seen - {'{"x":5}'}, rng())
    assert left == ({"x": 5}, (), "sample"), "the last one of a small space is found"


def test_children_derive_from_seed_and_trial_id_alone(space):
    first = make_sampler(space).draw([], 6)
    assert make_sampler(space).draw([], 6) == first
    assert make_sampler(space, seed=2).draw([], 6) != first
    population = make_population(space)
    in_parts = make_sampler(space)
    parts = in_parts.draw(population, 2) + in_parts.draw(population, 4)
    assert parts == make_sampler(space).draw(population, 6) != first


def test_limits_out_of_reach_are_told_with_the_smallest_there_is(space, monkeypatch):
    monkeypatch.setattr(evolution, "TRIES", 10)
    monkeypatch.setattr(evolution, "UNREPAIRED_TRIES", 2)
    with pytest.raises(InputError, match="num_params <= 600;.* num_params 601$"):
        make_sampler(space, ["num_params <= 600"]).draw([], 1)
    assert len(make_sampler(space, ["num_params <= 601"]).draw([], 1)) == 1


def test_limits_that_were_met_once_are_not_out_of_reach():
    """One value in 200 is within the limit, and no repair step leads to it."""
    space = Space(ConfigurationSpace({"x": (1, 200)}))

    def draw(seen):
        off = lambda config: float(config["x"] != 37)  # noqa: E731
        return draw_child(space, lambda _: ({"x": 1}, (), "sample"), off, seen, rng())

    with pytest.raises(LimitsUnreachable):
        draw(set())
    assert draw({'{"x":37}'}) is None


def test_the_incumbent_is_the_best_of_those_trained_longest():
    ranking = Ranking.parse("maximize top3", ["precision >= 0.5"])
    short = make_trial(0, epochs=3, metrics={"top3": 0.9, "precision": 0.9})
    long = make_trial(1, metrics={"top3": 0.4, "precision": 0.9})
    infeasible = make_trial(2, metrics={"top3": 0.8, "precision": 0.4})
    failed = make_trial(3, epochs=100, status="failed", metrics={})
    diverged = make_trial(4, epochs=100, status="diverged", metrics={"top3": None})
    assert incumbent([], ranking) is None
    assert incumbent([failed, diverged], ranking) is None
    assert incumbent([short, failed], ranking) is short
    assert incumbent([short, infeasible], ranking) is infeasible
    assert incumbent([short, infeasible, long, failed, diverged], ranking) is long
