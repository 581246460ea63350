"""Hyperband's guarantee: the command, and the statement itself where early ranks mislead."""

import pytest

from baselines import run
from benchmarks import guarantee
from benchmarks.problems import by_name


def rows(capsys):
    """Problem -> the other cells of its row."""
    out = capsys.readouterr().out.partition(guarantee.HEAD)[2]
    lines = [line.strip("|").split("|") for line in out.split("\n") if line]
    return {name.strip(): [cell.strip() for cell in cells] for name, *cells in lines}


def test_where_early_ranks_mislead_hyperband_is_no_worse_than_random_search(capsys):
    assert guarantee.main(["--problems", "crossing", "--seeds", "20"]) == 0
    ((early, random, brackets, banded, alone, winners, no_worse),) = rows(capsys).values()
    assert float(early) < 0.7 and (brackets, no_worse) == ("5", "yes")
    medians = [float(one.split()[0]) for one in (banded, alone, random)]
    assert medians == sorted(medians), "the bracket that is random search is enough"
    by_bracket = dict(part.split("): ") for part in winners.split(", "))
    assert sum(map(int, by_bracket.values())) == 20
    assert max(by_bracket, key=lambda told: int(by_bracket[told])) == "s = 0 (5 from 50 epochs"


def test_the_last_bracket_trains_as_many_in_full_as_random_search():
    """What the guarantee rests on."""
    trainings = 8
    for name, brackets in {
        "crossing": 5,
        "late": 5,
        "widths": 5,
        "deceptive": 5,
        "many": 7,
    }.items():
        problem = by_name(name)
        budget = trainings * problem.epochs
        trials = run("hyperband", problem, 1, brackets * budget).trials
        full = [t for t in trials if t.epochs == problem.epochs and t.bracket == 0]
        assert len(full) >= trainings == len(run("random", problem, 1, budget).trials)


def test_a_guarantee_that_does_not_hold_is_told(capsys):
    """Two trainings' worth of epochs a bracket end before the last bracket has done any."""
    assert guarantee.main("--problems nested --seeds 1 --trainings 2".split()) == 1
    cells = rows(capsys)["nested"]
    assert float(cells[0]) > 0.9, "early ranks are right there"
    assert float(cells[1].split()[0]) > 0 and cells[3] == "- [-, -]"
    assert cells[5:] == ["-", "NO"]


@pytest.mark.parametrize(
    ("words", "what"), [("--problems crosing", "crossing"), ("--seeds 0", "from 1")]
)
def test_mistakes_are_told(capsys, words, what):
    assert guarantee.main(words.split()) == 2
    out, err = capsys.readouterr()
    assert what in err and err.count("\n") == 1 and out == ""
