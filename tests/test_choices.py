"""Choices of types that JSON or numpy would change keep their declared types."""

import pytest
from ConfigSpace import Categorical, Constant, Float, OrdinalHyperparameter

from benchmarks.problems.base import made_of
from engine.cli.settings import resolve
from optimizer import search
from search.space import Space
from tests.searches import GUIDED
from tests.stub_target import StubTarget
from tests.stubs import lines
from utils import InputError

pytestmark = pytest.mark.usefixtures("few_candidates")
KERNELS = [(3, 3), (5, 5), [7, 7], "none", None]
MIXED = {"whole": [1, 1.5, 2], "step": [0.1, 1, 10], "truth": [True, 2], "either": [0, "0", None]}
NOTHING = {"workers": "0", "pop_size": 4, "num_children": 3, "epochs": 4, "min_epochs": 1}
NOTHING |= {"objective": "minimize loss", "constraints": []}


def typed(config: dict) -> list:
    return [(name, type(value), value) for name, value in config.items()]


def nothing_known(_):
    return {}


@pytest.mark.parametrize(
    ("one", "preset"),
    [
        (Categorical("k", KERNELS), GUIDED),
        (OrdinalHyperparameter("k", KERNELS), {}),
        (Constant("k", (3, 3)), {}),
    ],
    ids=lambda value: type(value).__name__,
)
def test_choices_that_are_no_json_survive_the_journal(tmp_path, one, preset):
    others = *(Categorical(*pair) for pair in MIXED.items()), Float("x", (0.0, 1.0))
    space = Space(made_of(one, *others))
    last = 5 if preset else 2  # the model decides from the third generation on

    def until(generations):
        return resolve({**preset, **NOTHING, "max_generations": generations})

    whole = search(space, StubTarget(static_metrics=nothing_known), until(last))
    first = StubTarget(static_metrics=nothing_known)
    search(space, first, until(1), tmp_path / "run")
    second = StubTarget(static_metrics=nothing_known)
    result = search(space, second, until(last), tmp_path / "run")
    assert lines(result.trials) == lines(whole.trials) and result.reason == whole.reason
    assert typed(result.best.config) == typed(whole.best.config)
    seen = [typed(config) for config, *_ in [*first.calls, *second.calls]]
    assert sorted(map(str, seen)) == sorted(str(typed(trial.config)) for trial in whole.trials)
    declared = {"k": getattr(one, "choices", getattr(one, "sequence", None)) or [(3, 3)], **MIXED}
    for config, *_ in first.calls + second.calls:
        for name, values in declared.items():
            assert str((type(config[name]), config[name])) in [str((type(v), v)) for v in values]


def test_what_a_user_writes_is_the_choice_that_equals_it():
    space = Space(made_of(Categorical("c", [1, 1.5]), Categorical("k", [(3, 3), (5, 5)])))
    adopted, warnings = space.adopt({"c": 1.0, "k": [5, 5]})
    assert typed(adopted) == [("c", int, 1), ("k", tuple, (5, 5))] and not warnings


@pytest.mark.parametrize("value", [{1, 2}, float("inf"), (1, object())])
def test_what_no_journal_can_hold_is_refused_by_name(value):
    with pytest.raises(InputError, match="hyperparameter 'k' has the choice .*; allowed are"):
        Space(made_of(Categorical("k", [value, "b"])))
