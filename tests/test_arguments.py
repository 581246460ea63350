"""Command lines: strict about names and values, kind about spelling."""

import argparse
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import optimizer
from engine.arguments import GROUPS, Parser, to_bool, to_float, to_int
from engine.settings import FIELDS, SHORTHANDS, resolve
from utils import InputError

ROOT = Path(__file__).resolve().parent.parent


def parse(*words: str) -> dict:
    given = optimizer.parser(optimizer.__doc__).parse_strictly(words)
    return {name: value for name, value in given.items() if value is not None}


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        resolve(parse(*words))
    assert "\n" not in str(caught.value) and str(caught.value)
    return str(caught.value)


def test_only_what_was_given_comes_out():
    assert parse() == {}
    assert parse("--seed", "5", "--hyperband", "False") == {"seed": 5, "hyperband": False}


def test_every_setting_has_its_flag():
    for name in FIELDS:
        assert set(parse(f"--{name}", "1")) == {name}
    for name in [*SHORTHANDS, "config", "resume"]:
        assert set(parse(f"--{name}", "1")) == {name}


def test_short_flags():
    words = "-s 2e6 -p 0.5 -e 20 -T 60 -v DEBUG".split()
    assert parse(*words) == {
        "constraint_max_model_size": 2000000,
        "constraint_min_precision": 0.5,
        "epochs": 20,
        "max_time": 60,
        "verbosity": "DEBUG",
    }


def test_hyphens_work_as_well_as_underscores():
    assert parse("--pop-size", "8", "--max-total-epochs=90") == {
        "pop_size": 8,
        "max_total_epochs": 90,
    }
    assert parse("--run-name", "a-b_c") == {"run_name": "a-b_c"}
    assert parse("--run-name=a-b_c=d-e") == {"run_name": "a-b_c=d-e"}
    assert parse("--objective", "minimize loss-like") == {"objective": "minimize loss-like"}


@pytest.mark.parametrize("text", ["True", "true", "TRUE", "tRuE", "1", "yes", "on"])
def test_true_in_any_case(text):
    assert parse("--hyperband", text) == parse(f"--hyperband={text}") == {"hyperband": True}


@pytest.mark.parametrize("text", ["False", "false", "FALSE", "0", "no", "off"])
def test_false_in_any_case(text):
    assert parse("--hyperband", text) == parse(f"--hyperband={text}") == {"hyperband": False}


def test_a_bare_switch_is_true_and_its_negation_false():
    assert parse("--hyperband") == {"hyperband": True}
    assert parse("--hyperband", "--seed", "1") == {"hyperband": True, "seed": 1}
    assert parse("--no_hyperband") == parse("--no-hyperband") == {"hyperband": False}
    assert parse("--no_hyperband", "--hyperband") == {"hyperband": True}


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2e7", 20_000_000),
        ("1E3", 1000),
        ("20.0", 20),
        ("-3", -3),
        (" 7 ", 7),
        ("9" * 18, int("9" * 18)),
    ],
)
def test_whole_numbers_in_any_notation(text, value):
    assert to_int(text) == value and type(to_int(text)) is int


@pytest.mark.parametrize("text", ["x", "", "1.5", "nan", "inf", "1e400", "2e7x", "0x10"])
def test_what_is_no_whole_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError) as caught:
        to_int(text)
    assert repr(text) in str(caught.value)


def test_the_nearest_whole_number_is_named():
    with pytest.raises(argparse.ArgumentTypeError, match="the nearest is 2$"):
        to_int("1.6")


@pytest.mark.parametrize(
    ("text", "value"), [("2e7", 20_000_000), ("0.39", 0.39), ("-1", -1), (".5", 0.5)]
)
def test_numbers_in_any_notation(text, value):
    assert to_float(text) == value and type(to_float(text)) is type(value)


@pytest.mark.parametrize("text", ["x", "", "nan", "inf", "-inf", "1e400", "0,39", "9" * 400])
def test_what_is_no_number_is_refused(text):
    with pytest.raises(argparse.ArgumentTypeError, match="is not a number"):
        to_float(text)


@given(
    st.text(max_size=10)
    | st.from_regex(r"-?[0-9]{1,400}(\.[0-9]+)?(e[0-9]{1,4})?", fullmatch=True)
)
def test_any_word_is_a_value_or_refused_in_words(text):
    for convert in (to_int, to_float, to_bool):
        try:
            convert(text)
        except argparse.ArgumentTypeError as error:
            assert str(error)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-w", "secret"], "a W&B key is no flag"),
        (["-wsecret"], "a W&B key is no flag"),
        (["--wandb-key=secret"], "a W&B key is no flag"),
        (["--hyperbnad", "True"], "unknown flag --hyperbnad; did you mean --hyperband?"),
        (["--hyper-bnad=True"], "unknown flag --hyper_bnad; did you mean --hyperband?"),
        (["--popsize", "3"], "unknown flag --popsize; did you mean --pop_size?"),
        (["--pop", "3"], "unknown flag --pop; "),
        (["--arithmetic", "tf32"], "--arithmetic is called --dtype now"),
        (["--zzzzzzzzz"], "unknown flag --zzzzzzzzz; --help-all lists all"),
        (["--seed", "1", "extra"], "'extra' belongs to no flag"),
        (["-x"], "unknown flag -x"),
    ],
)
def test_an_unknown_flag_is_refused_with_the_nearest(words, expected):
    assert refusal(*words).startswith(expected)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["--seed", "x"], "--seed: 'x' is not a whole number"),
        (["--seed", "1.5"], "the nearest is 2"),
        (["--seed", "-1"], "seed cannot be -1; allowed is a whole number from 0"),
        (["--seed", "-1e5"], "seed"),
        (["--seed", "9" * 400], "seed cannot be 9"),
        (["--seed"], "--seed"),
        (["--hyperband", "Flase"], "'Flase' is neither True nor False; did you mean False?"),
        (["--hyperband", "maybe"], "'maybe' is neither True nor False"),
        (["--sampler", "rnadom"], "did you mean random?"),
        (["--constraint_max_model_size", "big"], "'big' is not a number"),
        (["-p", "half"], "'half' is not a number"),
        (["--epochs", "0"], "epochs cannot be 0"),
        (["--pop_size", "2e7"], "pop_size cannot be 20000000"),
        (["--constraints", "num_params < 3"], "'num_params < 3'"),
        (["--constraints"], "--constraints"),
        (["--objective", "top3"], "objective 'top3'"),
        (["--verbosity", "debug"], "INFO or DEBUG"),
        (["--device", "CPU"], "auto or cpu or cuda"),
    ],
)
def test_a_wrong_value_is_refused_by_name(words, expected):
    assert expected in refusal(*words)


def test_an_error_names_a_flag_with_several_names_as_it_is_documented():
    assert "constraint_min_precision" in refusal("-p", "half")


def test_constraints_are_a_list():
    words = ["--constraints", "num_params <= 5", "loss <= 1"]
    assert resolve(parse(*words)).constraints == ("num_params <= 5", "loss <= 1")


def test_help_is_short_and_help_all_names_every_setting(capsys):
    text = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as caught:
            optimizer.main([flag])
        assert caught.value.code == 0
        text[flag] = capsys.readouterr().out
    settings = [*FIELDS, *SHORTHANDS, "config", "resume"]
    assert all(f"--{name}" in text["--help-all"] for name in settings)
    assert "--max_time" in text["--help"] and "--eta" not in text["--help"]
    assert text["--help"].count("\n") < 80 and max(map(len, text["--help"].splitlines())) <= 100


def test_groups_of_help_hold_settings():
    names = [name for group in GROUPS.values() for name in group]
    assert set(names) <= {*FIELDS, *SHORTHANDS} and len(set(names)) == len(names)


def test_a_parser_of_ones_own_takes_switches_with_several_names():
    parser = Parser("test")
    parser.add_flag("-t", "--test", "--old_name", help="a switch")
    assert parser.parse_strictly(["-t"]) == {"test": True}
    assert parser.parse_strictly(["--old-name", "False"]) == {"test": False}
    assert parser.parse_strictly(["--no-test"]) == {"test": False}
    assert parser.parse_strictly([]) == {}


@pytest.mark.parametrize(
    "words",
    [
        ["--hyperbnad", "True"],
        ["--seed", "x"],
        ["--config", "nowhere.json"],
        ["--resume", "nothing"],
        ["--run_name", "a:b"],
        ["--resume", "x", "--config", "y"],
    ],
)
def test_a_mistake_ends_with_two_and_one_line(words, tmp_path, capsys):
    code = optimizer.main([*words, "--runs_dir", str(tmp_path / "runs")])
    output = capsys.readouterr()
    assert code == 2 and not output.out
    assert output.err.startswith("optimizer.py: ") and output.err.count("\n") == 1
    assert not (tmp_path / "runs").exists()
