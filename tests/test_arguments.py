"""Command lines: strict about names and values, with suggestions for misspellings."""

import argparse

import pytest

import optimizer
from engine.cli.arguments import Parser, to_float, to_int
from engine.cli.settings import FIELDS, SHORTHANDS, resolve
from utils import InputError

NAMES = [*FIELDS, *SHORTHANDS, "config", "resume"]


def parse(*words: str) -> dict:
    given = optimizer.parser(optimizer.__doc__).parse_strictly(words)
    return {name: value for name, value in given.items() if value is not None}


def refusal(*words: str) -> str:
    with pytest.raises(InputError) as caught:
        resolve(parse(*words))
    assert "\n" not in str(caught.value) and str(caught.value)
    return str(caught.value)


def test_only_what_was_given_comes_out_and_every_setting_has_its_flag():
    assert parse() == {}
    assert parse("--seed", "5", "--hyperband", "False") == {"seed": 5, "hyperband": False}
    parser = optimizer.parser(optimizer.__doc__)
    for name in NAMES:
        given = vars(parser.parse_args([f"--{name}", "1"]))
        assert [one for one in given if given[one] is not None] == [name]
    words = "-s 2e6 -p 0.5 -e 20 -T 60 -v DEBUG".split()
    assert parse(*words) == {
        "constraint_max_model_size": 2000000,
        "constraint_min_precision": 0.5,
        "epochs": 20,
        "max_time": 60,
        "verbosity": "DEBUG",
    }
    words = ["--constraints", "num_params <= 5", "loss <= 1"]
    assert resolve(parse(*words)).constraints == ("num_params <= 5", "loss <= 1")


def test_hyphens_work_as_well_as_underscores():
    assert parse("--pop-size", "8", "--max-total-epochs=90") == {
        "pop_size": 8,
        "max_total_epochs": 90,
    }
    assert parse("--run-name=a-b_c=d-e") == {"run_name": "a-b_c=d-e"}
    assert parse("--objective", "minimize loss-like") == {"objective": "minimize loss-like"}


def test_switches_are_bare_or_negated_or_have_a_value_in_any_case():
    for text in ("True", "tRuE", "1", "yes", "on"):
        assert parse("--hyperband", text) == parse(f"--hyperband={text}") == {"hyperband": True}
    for text in ("FALSE", "0", "no", "off"):
        assert parse("--hyperband", text) == parse(f"--hyperband={text}") == {"hyperband": False}
    assert parse("--hyperband", "--seed", "1") == {"hyperband": True, "seed": 1}
    assert parse("--no_hyperband") == parse("--no-hyperband") == {"hyperband": False}
    assert parse("--no_hyperband", "--hyperband") == {"hyperband": True}
    parser = Parser("of one's own")
    parser.add_flag("-t", "--test", "--old_name", help="a switch")
    assert parser.parse_strictly(["-t"]) == {"test": True}
    assert parser.parse_strictly(["--old-name", "False"]) == {"test": False}
    assert parser.parse_strictly(["--no-test"]) == {"test": False}


def test_numbers_are_read_in_any_notation():
    whole = {"2e7": 20_000_000, "20.0": 20, "-3": -3, " 7 ": 7, "9" * 18: int("9" * 18)}
    for text, value in whole.items():
        assert to_int(text) == value and type(to_int(text)) is int
    for text, value in {"2e7": 20_000_000, "0.39": 0.39, ".5": 0.5}.items():
        assert to_float(text) == value and type(to_float(text)) is type(value)
    with pytest.raises(argparse.ArgumentTypeError, match="the nearest is 2$"):
        to_int("1.6")


@pytest.mark.parametrize("text", ["x", "", "nan", "-inf", "1e400", "2e7x", "0x10", "0,39"])
def test_what_is_no_number_is_refused(text):
    for convert in (to_int, to_float):
        with pytest.raises(argparse.ArgumentTypeError) as caught:
            convert(text)
        assert repr(text) in str(caught.value)


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["-wsecret"], "a W&B key cannot be a flag"),
        (["-workers", "4"], "unknown flag -workers; did you mean --workers?"),
        (["--wandb-key=secret"], "a W&B key cannot be a flag"),
        (["--hyper-bnad=True"], "unknown flag --hyper_bnad; did you mean --hyperband?"),
        (["--pop", "3"], "unknown flag --pop; "),
        (["--seed", "1", "extra"], "'extra' belongs to no flag; --help_all lists them"),
        (["-x"], "unknown flag -x"),
        (["--seed"], "--seed"),
        (["--hyperband", "Flase"], "'Flase' is neither True nor False; did you mean False?"),
        (["-p", "half"], "constraint_min_precision"),  # as documented
        (["--constraints"], "--constraints"),
    ],
)
def test_a_mistake_is_refused_by_name_with_the_nearest(words, expected):
    assert expected in refusal(*words)


def test_help_is_short_and_help_all_names_every_setting(capsys):
    text = {}
    for flag in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as caught:
            optimizer.main([flag])
        assert caught.value.code == 0
        text[flag] = capsys.readouterr().out
    assert all(f"--{name}" in text["--help-all"] for name in NAMES)
    short = text["--help"]
    assert "--max_time" in short and "[123]" in short and "--eta" not in short
    assert short.count("\n") < 80 and max(map(len, short.splitlines())) <= 100
