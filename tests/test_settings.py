"""Settings: layers, presets, types, ranges, shorthands; every mistake is one sentence."""

import dataclasses
import json
import math

import pytest

from engine.cli.settings import Settings, resolve, with_objective
from engine.storage.resuming import resumed
from search.space import Space
from tests.stubs import ROOT
from utils import InputError, read_object

PRESETS = sorted(
    path
    for path in (ROOT / "configs").glob("*.json")
    if not path.stem.startswith(("space", "default"))
)


def refusal(*layers) -> str:
    """The error message for the layers."""
    with pytest.raises(InputError) as caught:
        resolve(*layers)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 1000
    return str(caught.value)


def test_the_defaults_are_those_of_the_published_run():
    settings = Settings()
    assert resolve() == resolve({}) == settings
    assert (settings.seed, settings.pop_size, settings.num_children) == (123, 50, 10)
    assert (settings.epochs, settings.min_epochs, settings.eta, settings.folds) == (50, 3, 2, 3)
    assert settings.hyperband and settings.sampler == "evolution"
    assert settings.constraints == ("num_params <= 2e7", "precision >= 0.39")


def test_later_layers_win():
    preset = {"pop_size": 8, "epochs": 12, "constraints": ["num_params <= 3"]}
    before = json.dumps(preset)
    settings = resolve(preset, {"epochs": 20, "constraint_max_model_size": 7})
    assert (settings.pop_size, settings.epochs, settings.seed) == (8, 20, 123)
    assert json.dumps(preset) == before


def test_a_shorthand_replaces_the_constraint_on_its_metric_or_adds_one():
    settings = resolve({"constraint_max_model_size": 1000})
    assert settings.constraints == ("num_params <= 1000", "precision >= 0.39")
    settings = resolve({"constraint_min_precision": 0.5})
    assert settings.constraints == ("num_params <= 20000000", "precision >= 0.5")
    settings = resolve({"constraints": ["macs <= 5"]}, {"constraint_min_precision": 0.5})
    assert settings.constraints == ("macs <= 5", "precision >= 0.5")
    settings = resolve({"constraints": ["num_params >= 5"], "constraint_max_model_size": 9})
    assert settings.constraints == ("num_params >= 5", "num_params <= 9")
    assert resolve({"constraint_max_model_size": 9}, {"constraints": []}).constraints == ()


def test_unknown_names_and_formulas_of_another_form_are_refused():
    assert refusal({"popsize": 3}) == "'popsize' is not a setting; did you mean pop_size?"
    assert refusal({"zzzzzz": 3}) == "'zzzzzz' is not a setting"
    assert "'top3'" in refusal({"objective": "top3"})
    assert "'num_params < 5'" in refusal({"constraints": ["num_params < 5"]})


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("seed", -1, "a whole number from 0"),
        ("seed", 2**63, "the nearest is"),
        ("seed", 1.5, "1.5"),
        ("seed", True, "True"),
        ("seed", "123", "'123'"),
        ("seed", None, "None"),
        ("seed", 10**400, "a whole number from 0"),
        ("hyperband", 1, "True or False"),
        ("sampler", "evolutoin", "did you mean evolution?"),
        ("mutation_rate", 1.5, "from 0 to 1"),
        ("mutation_rate", math.nan, "nan"),
        ("max_time", math.inf, "inf"),
        ("max_time", 10**400, "0 or more"),
        ("max_total_epochs", 0, "1 or more"),
        ("eta", 1, "the nearest is 2"),
        ("run_name", 7, "text"),
        *(("constraint_max_model_size", v, "a number") for v in (None, True, "2e7", math.nan)),
        ("constraint_min_precision", 10**400, "a number"),
        *(("constraints", v, "a list of texts") for v in (5, "num_params <= 3", None, [5])),
        ("workers", "autp", "auto or a whole number from 0 to 1024"),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_a_value_of_a_wrong_type_or_out_of_range_is_refused(name, value, words):
    message = refusal({name: value})
    assert message.startswith(f"{name} cannot be ") and "; allowed is " in message
    assert words in message


def test_whole_numbers_may_be_floats_floats_whole_and_limits_null():
    settings = resolve({"pop_size": 8.0, "max_time": 60, "max_total_epochs": 1e6, "seed": 1e3})
    assert (settings.pop_size, settings.max_total_epochs, settings.seed) == (8, 10**6, 1000)
    assert type(settings.pop_size) is int and type(settings.max_time) is float
    settings = resolve({"max_total_epochs": 5, "run_name": "x"}, {"max_total_epochs": None})
    assert settings.max_total_epochs is None and settings.run_name == "x"


def test_min_epochs_beyond_epochs_is_refused_with_hyperband_only():
    assert "min_epochs 9 is more than epochs 5" in refusal({"epochs": 5, "min_epochs": 9})
    assert resolve({"epochs": 5, "min_epochs": 9, "hyperband": False}).epochs == 5


def test_a_resumed_run_keeps_its_limits_however_they_are_written():
    record = {"settings": json.loads(json.dumps(dataclasses.asdict(Settings())))}
    assert resumed(record, {"constraint_max_model_size": 2e7, "max_time": 5}).max_time == 5
    with pytest.raises(InputError, match="constraints is"):
        resumed(record, {"constraint_max_model_size": 10})


def test_every_preset_loads_and_paper_is_the_default_spelled_out():
    known = {path.stem: resolve(read_object(path)) for path in PRESETS}
    assert {"quick", "modern", "guided", "paper"} <= known.keys()
    assert [name for name, settings in known.items() if settings == Settings()] == ["paper"]


def test_with_few_classes_the_objective_is_top_1_unless_another_is_given():
    for classes, objective in ((2, "maximize top1"), (9, "maximize top1"), (10, "maximize top3")):
        assert with_objective(Settings(), classes).objective == objective
    assert with_objective(resolve({"objective": "maximize top3"}), 3).objective == "maximize top3"


def test_the_quick_preset_is_the_modern_one_with_less_to_spend():
    paths = (ROOT / "configs" / f"{name}.json" for name in ("quick", "modern", "guided"))
    quick, modern, guided = (read_object(path) for path in paths)
    budget = {"epochs", "constraints", "max_time", "max_generations"}
    assert {name for name in quick if quick[name] != modern.get(name)} <= budget
    assert modern.keys() <= quick.keys()
    assert guided.items() <= modern.items()


def test_the_guided_sampler_has_defaults_of_its_own():
    guided = resolve({"sampler": "guided"})
    assert (guided.pop_size, guided.num_children) == (12, 5)
    assert resolve({"sampler": "guided", "pop_size": 7}).pop_size == 7


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"[]", "holds a JSON list"),
        (b"{", "is not JSON"),
        (b"\xff", "is not JSON"),
        (b"[" * 100_000, "is not JSON"),
    ],
    ids=["list", "torn", "bytes", "deep"],
)
def test_a_preset_of_another_form_is_refused(tmp_path, content, reason):
    path = tmp_path / "preset.json"
    path.write_bytes(content)
    with pytest.raises(InputError, match=f"preset.json {reason}"):
        read_object(path)


def test_a_preset_that_is_missing_is_refused_with_the_nearest(tmp_path):
    (tmp_path / "quick.json").write_text("{}")
    with pytest.raises(InputError, match="no file .*quikc.json; did you mean .*quick.json"):
        read_object(tmp_path / "quikc.json")


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16-le"])
def test_files_of_other_systems_are_read(tmp_path, encoding):
    """Editors of Windows begin UTF-8 with a byte order mark; its shell writes UTF-16."""
    (tmp_path / "preset.json").write_text('{"seed": 7, "run_name": "näher"}', encoding=encoding)
    assert read_object(tmp_path / "preset.json") == {"seed": 7, "run_name": "näher"}
    text = (ROOT / "configs" / "space.json").read_text()
    (tmp_path / "space.json").write_text(text, encoding=encoding)
    ours = Space.load(ROOT / "configs" / "space.json")
    assert Space.load(tmp_path / "space.json").configspace == ours.configspace
