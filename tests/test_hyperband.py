"""Brackets and rungs in whole numbers, the epoch limit, successive halving."""

import itertools

from hypothesis import given, settings
from hypothesis import strategies as st

from search.hyperband import (
    Bracket,
    Child,
    Rung,
    cut,
    hyperband_brackets,
    plain_bracket,
    shrink,
    successive_halving,
    total_epochs,
)
from tests.stubs import make_trial

BUDGETS = st.tuples(st.integers(1, 200), st.integers(1, 50), st.integers(2, 5)).filter(
    lambda budget: budget[0] >= budget[1]
)


def table(brackets: list[Bracket]) -> dict[int, list[tuple[int, int]]]:
    return {b.s: [(rung.size, rung.epochs) for rung in b.rungs] for b in brackets}


def test_the_table_of_the_design():
    brackets = hyperband_brackets(50, 3, 2)
    assert list(table(brackets).items()) == [
        (4, [(16, 3), (8, 6), (4, 12), (2, 25), (1, 50)]),
        (3, [(10, 6), (5, 12), (2, 25), (1, 50)]),
        (2, [(7, 12), (3, 25), (1, 50)]),
        (1, [(5, 25), (2, 50)]),
        (0, [(5, 50)]),
    ]
    assert total_epochs(brackets) == 861
    assert all(rung.run == rung.size for bracket in brackets for rung in bracket.rungs)


def test_the_table_of_the_paper():
    """Li et al. 2018, table 1: R = 81, eta = 3."""
    assert table(hyperband_brackets(81, 1, 3)) == {
        4: [(81, 1), (27, 3), (9, 9), (3, 27), (1, 81)],
        3: [(34, 3), (11, 9), (3, 27), (1, 81)],
        2: [(15, 9), (5, 27), (1, 81)],
        1: [(8, 27), (2, 81)],
        0: [(5, 81)],
    }
    assert len(hyperband_brackets(243, 1, 3)) == 6  # floor(log(243) / log(3)) is 4 in floats


BRACKETS = st.one_of(
    BUDGETS.map(lambda budget: hyperband_brackets(*budget)),
    st.tuples(st.integers(1, 20), st.integers(1, 20)).map(lambda pair: [plain_bracket(*pair)]),
    st.just([]),
)


def charges(brackets: list[Bracket]) -> list[tuple[int, int, int]]:
    """(rung, position of the bracket, epochs) of each job, in the fixed order."""
    jobs = []
    for level in range(max((len(bracket.rungs) for bracket in brackets), default=0)):
        for place, bracket in enumerate(brackets):
            if level < len(bracket.rungs):
                before = bracket.rungs[level - 1].epochs if level else 0
                job = (level, place, bracket.rungs[level].epochs - before)
                jobs += [job] * bracket.rungs[level].size
    return jobs


@settings(max_examples=50)
@given(BRACKETS, st.data())
def test_the_cut_is_where_the_epochs_end(brackets, data):
    jobs = charges(brackets)
    total = sum(epochs for *_, epochs in jobs)
    left = data.draw(st.integers(0, total + 10))
    ends = itertools.accumulate(epochs for *_, epochs in jobs)
    affordable = list(itertools.takewhile(lambda end: end <= left, ends))
    result, limited = cut(brackets, left)
    assert limited == (len(affordable) < len(jobs))
    assert sum(rung.run for bracket in result for rung in bracket.rungs) == len(affordable)
    for place, bracket in enumerate(result):
        for level, rung in enumerate(bracket.rungs):
            within = [job for job in jobs[: len(affordable)] if job[:2] == (level, place)]
            assert rung.run == len(within)
            assert rung.size == brackets[place].rungs[level].size


def test_shrink_fills_the_brackets_in_order():
    brackets = hyperband_brackets(50, 3, 2)
    assert table(shrink(brackets, 18)) == {
        4: [(16, 3), (8, 6), (4, 12), (2, 25), (1, 50)],
        3: [(2, 6), (2, 12), (2, 25), (1, 50)],
    }
    assert shrink(brackets, 43) == brackets and shrink(brackets, 0) == []


def children_of(count: int, first: int = 0) -> list[Child]:
    return [Child(first + i, {"x": i}) for i in range(count)]


def drive(bracket: Bracket, children: list[Child], outcome=lambda job: "ok", key=None):
    """All rungs' jobs, ranked by `key`; by default the highest trial id is the best."""
    key = key or (lambda trial: -trial.trial)
    going = successive_halving(bracket, children, 3, lambda rung, _: sorted(rung, key=key))
    rungs, jobs = [], next(going, None)
    while jobs is not None:
        rungs.append(jobs)
        trials = [make_trial(job.trial, epochs=job.epochs, status=outcome(job)) for job in jobs]
        try:
            jobs = going.send(trials)
        except StopIteration:
            jobs = None
    return rungs


def ids(rungs) -> list[list[int]]:
    return [[job.trial for job in jobs] for jobs in rungs]


def test_halving_promotes_the_best():
    bracket, order = hyperband_brackets(50, 3, 2)[2], [3, 6, 1, 0, 2, 4, 5]
    rungs = drive(bracket, children_of(7), key=lambda trial: order.index(trial.trial))
    assert ids(rungs) == [[0, 1, 2, 3, 4, 5, 6], [1, 3, 6], [3]]


def test_a_child_that_failed_is_out_and_the_next_best_takes_its_place():
    bracket = hyperband_brackets(50, 3, 2)[3]
    rungs = drive(bracket, children_of(5), lambda job: "failed" if job.trial > 3 else "ok")
    assert ids(rungs) == [[0, 1, 2, 3, 4], [2, 3]]
    rungs = drive(bracket, children_of(5), lambda job: "diverged" if job.trial else "ok")
    assert ids(rungs) == [[0, 1, 2, 3, 4], [0]]
    assert ids(drive(bracket, children_of(5), lambda job: "failed")) == [[0, 1, 2, 3, 4]]


def test_a_rung_that_is_cut_runs_the_best():
    bracket = Bracket(1, (Rung(4, 5, 4), Rung(2, 10, 1)))
    assert ids(drive(bracket, children_of(4))) == [[0, 1, 2, 3], [3]]
    assert ids(drive(Bracket(1, (Rung(4, 5, 3), Rung(2, 10, 0))), children_of(4))) == [[0, 1, 2]]
    assert ids(drive(Bracket(1, (Rung(4, 5, 0), Rung(2, 10, 0))), children_of(4))) == []
