"""`main.py` as users run it: mistakes, results, winners of searches."""

import json
from dataclasses import asdict

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors import safe_open

import main
from engine.cli.settings import Settings
from tests.command_line import ROOT, SMALL, call, command, complaint, evaluate, read, save
from tests.trainings import MODERN
from training.network import assemble

pytestmark = pytest.mark.usefixtures("no_flowers")


def test_a_missing_configuration_in_a_process_of_its_own(tmp_path):
    code, out, err = command("main.py", "-c", "missing.json", cwd=tmp_path)
    assert (code, out) == (2, "") and err.count("\n") == 1 and "missing.json" in err
    assert list(tmp_path.iterdir()) == []


# Names and values: tests/test_space.py and tests/test_faults.py; here: impossible networks.
CONFIGS = {
    "no channels": ({**SMALL, "n_channels_conv_0": 0}, "n_channels_conv_0"),
    "less than none": ({**SMALL, "batch_size": -4}, "batch_size"),
    "even kernel": ({**SMALL, "kernel_size": 4}, "kernel_size", "odd"),
    "all dropped": ({**SMALL, "dropout_rate": 1.0}, "dropout_rate"),
    "too large": ({**SMALL, "n_channels_fc_0": 10**9}, "parameters"),
    "no share": ({**SMALL, "dropout_rate": 1.5}, "dropout_rate", "below 1"),
    "a word": ({**MODERN, "block": "seperable"}, "block", "did you mean separable?"),
    "no such layer": ({**SMALL, "n_conv_layers": 4, "n_channels_conv_1": 4}, "n_channels_conv_2"),
}


@pytest.mark.parametrize("what", CONFIGS)
def test_mistakes_in_a_configuration(folder, config, capsys, what):
    content, *words = CONFIGS[what]
    save(config, content)
    flags = ["--dataset", folder, "--image_size", 8, "-t"]
    err = complaint(capsys, main, ["-c", config, *flags])
    for word in (str(config), *words):
        assert word in err, err
    assert [path.name for path in config.parent.iterdir()] == ["small.json"]


FLAGS = {  # besides small.json and other.json
    "-t": "-c",
    "-c small.json -t --export out --dtype bfloat16": "float32",
    "-c small.json --constraints prec>=0.9": "did you mean precision?",
    "-c small.json -e 1 2": "-e has 2 numbers",
    "-c small.json other.json -e 1 2 3": "one for all, or 2",
    "-c small.json small.json": "more than once",
    "-c small.json other.json --output all.json": "one file for 2 configurations",
    "-c small.json -e 0": "the nearest is 1",
    "-c small.json --sede 1": "--sede",
    "-c smal.json": "did you mean small.json",
    "-c .": "cannot be read",
    "-c small.json -m net": "-m",
    "-c small.json other.json -t -m net": "-m",
    "-c small.json -t -m no/net": "-m",
    "-c small.json -t -m net --seeds 1 2": "one seed",
    "-c small.json --seeds 1 2 --seed 3": "--seeds",
    "-c small.json --seeds 1 1": "more than once",
    "-c small.json --seeds 1 -1": "seed cannot be -1",
    "-c small.json --export out": "-t True",
    "-c small.json -t --export out --seeds 1 2": "one seed",
    "-c small.json -t --quantise": "--export DIR",
    "-c small.json -t --latency": "--export DIR",
    "-c small.json --thresholds --constraints macs<=1e6": "-p 0.9",
    "--compare small.json": "two or more",
    "--compare small.json other.json -c small.json": "--config",
    "--compare small.json other.json -e 3": "--epochs",
    "--compare small.json other.json": "not a result",
    "--compare othr.json small.json": "did you mean other.json",
}


@pytest.mark.parametrize("flags", FLAGS)
def test_flags_that_do_not_fit_together(config, monkeypatch, capsys, flags):
    monkeypatch.chdir(config.parent)
    save(config.with_name("other.json"), SMALL)
    assert FLAGS[flags] in complaint(capsys, main, flags.split())
    assert {path.name for path in config.parent.iterdir()} == {"small.json", "other.json"}


def test_a_gpu_that_is_not_there_is_told(config, monkeypatch, capsys):
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    err = complaint(capsys, main, ["-c", config, "--dataset", "synthetic", "--device", "cuda"])
    assert "--device cuda: PyTorch sees no CUDA device here; use --device cpu or auto" in err


def test_places_that_cannot_be_written_are_told_before_training(
    tmp_path, folder, config, monkeypatch, capsys
):
    monkeypatch.setattr(main, "evaluate", None)
    file = save(tmp_path / "file", "of somebody")
    for flag, place in (("-m", tmp_path), ("--output", file)):
        arguments = ["-c", config, "-t", "-e", 1, "--dataset", folder, flag, place]
        assert str(place) in complaint(capsys, main, arguments)
    assert file.read_text() == "of somebody"


def test_several_configurations_share_a_table(folder, config, capsys):
    other = save(config.with_name("other.json"), {**SMALL, "kernel_size": 5})
    twin = save(config.with_name("twin.json"), SMALL)
    assert evaluate("-c", config, other, twin, "-t", "-e", 1, 3, 1, "--dataset", folder) == 0
    out = capsys.readouterr().out
    assert out.count("training for") == 2, "the same network is trained once"
    assert out.count(str(config)) >= 2 and out.count(str(other)) >= 2
    assert "no fair comparison" in out  # since their epochs differ
    first, second = (
        read(config.parent / f"{name}_result_test.json") for name in ("small", "other")
    )
    assert (first["epochs"], second["epochs"]) == (1, 3)
    assert second["config"]["kernel_size"] == 5 and first["config"] == SMALL


def test_configurations_of_one_name_do_not_overwrite_each_other(tmp_path, folder, config, capsys):
    (tmp_path / "second").mkdir()
    other = save(tmp_path / "second" / config.name, {**SMALL, "kernel_size": 5})
    arguments = ["-t", "-e", 1, "--dataset", folder, "--output", tmp_path / "out"]
    err = complaint(capsys, main, ["-c", config, other, *arguments])
    assert "would be overwritten" in err


def test_what_lies_outside_the_space_is_evaluated_with_a_warning(folder, config, capsys):
    save(config, {**SMALL, "n_channels_conv_0": 6, "n_channels_fc_2": 9, "n_channels_fc_1": None})
    assert evaluate("-c", config, "-t", "-e", 1, "--dataset", folder) == 0
    text = "".join(capsys.readouterr())
    for name in ("n_channels_conv_0", "n_channels_fc_2", "n_channels_fc_1"):
        (warning,) = (line for line in text.splitlines() if name in line)
        assert "warning" in warning
    assert text.count("no run.json of a search that trained it is beside it") == 1
    result = read(config.parent / "result_test.json")
    assert result["config"] == {**SMALL, "n_channels_conv_0": 6}


@pytest.mark.parametrize("missing", ["kernel_size", "batch_size", "dropout_rate"])
def test_a_space_without_a_needed_hyperparameter_is_one_sentence(folder, config, capsys, missing):
    space = read(ROOT / "configs" / "space.json")
    for name, key in (("hyperparameters", "name"), ("conditions", "child")):
        space[name] = [one for one in space[name] if one[key] != missing]
    file = save(config.with_name("own.json"), space)
    save(config, {name: value for name, value in SMALL.items() if name != missing})
    arguments = ["-c", config, "-t", "-e", 1, "--dataset", folder, "--space", file]
    assert missing in complaint(capsys, main, arguments)


def test_too_little_memory_is_one_sentence(folder, config, capsys, monkeypatch):
    def fails(*_):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB\nmore")

    monkeypatch.setattr("training.trainer.Trainer.train_epoch", fails)
    assert evaluate("-c", config, "-t", "-e", 1, "--dataset", folder) == 1
    words = "main.py: out of memory (CUDA out of memory. Tried to allocate 2.00 GiB)\n"
    assert words in capsys.readouterr().err
    assert not (config.parent / "result_test.json").exists()


def test_the_default_network_and_the_space_are_at_hand(space, modern_space):
    for name, its_space in (("default.json", space), ("default_modern.json", modern_space)):
        config, warnings = its_space.adopt(read(ROOT / "configs" / name))
        assert warnings == [] and config == read(ROOT / "configs" / name)
    assert config == modern_space.default()
    published = read(ROOT / "configs" / "default.json")
    assert space.default() == pytest.approx(published, rel=1e-8)
    for entry in read(ROOT / "benchmarks" / "published.json")["results"]:
        assert space.adopt(entry["config"])[1] == []


def test_a_saved_network_gives_the_same_scores(tmp_path, folder, config):
    model = tmp_path / "net.safetensors"
    assert evaluate("-c", config, "-t", "-e", 2, "--dataset", folder, "-m", model) == 0
    with safe_open(model, "pt") as file:
        facts = file.metadata()
        weights = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    assert json.loads(facts["config"]) == SMALL and facts["image_size"] == "8"
    assert json.loads(facts["classes"]) == ["alder", "birch", "cedar"]
    network = assemble(SMALL, 8, 3).to_empty(device="cpu").eval()
    places = {name: name.partition(".") for name in weights}  # the first layer standardises
    network.load_state_dict(
        {f"{int(i) - 1}.{rest}": weights[n] for n, (i, _, rest) in places.items() if i != "0"}
    )
    stored = np.load(config.parent / "predictions_test.npz")
    pixels = np.stack([np.array(Image.open(folder / "test" / n)) for n in stored["names"]])
    x = torch.from_numpy(pixels).permute(0, 3, 1, 2) / 255
    with torch.no_grad():
        scores = network((x - weights["0.mean"]) / weights["0.std"])
    assert np.allclose(scores.numpy(), stored["scores"], atol=1e-5)


@pytest.fixture
def winners(tmp_path, folder):
    """The opt_cfg.json of two searches with different limits and different winners."""
    made = []
    for name, kernel, limits in (("a", 3, ["num_params <= 1"]), ("b", 5, ["precision >= 0.5"])):
        here = tmp_path / "runs" / name
        here.mkdir(parents=True)
        config = {**SMALL, "kernel_size": kernel}
        settings = asdict(Settings(image_size=8, folds=2, constraints=tuple(limits)))
        settings["dataset"] = str(folder)
        facts = {"kind": "folder", "root": str(folder), "name": "woods", "fingerprint": "f"}
        record = {"v": 1, "name": name, "settings": settings, "winner": {"config": config}}
        save(here / "run.json", {**record, "sessions": [{"start": "today"}], "data": facts})
        made.append(save(here / "opt_cfg.json", config))
    return made


def limits_in(file):
    return [limit["text"] for limit in read(file)["constraints"]]


def test_each_winner_is_measured_by_the_limits_of_its_own_search(
    winners, config, tmp_path, capsys
):
    files = [winners[0].rename(winners[0].with_name("first.json")), winners[1], config]
    out = tmp_path / "out"
    assert call(main, "-c", *files, "-t", "-e", 1, "--output", out) == 0
    assert limits_in(out / "first_result_test.json") == ["num_params <= 1"]
    assert limits_in(out / "opt_cfg_result_test.json") == ["precision >= 0.5"]
    assert limits_in(out / "small_result_test.json") == ["num_params <= 1"]  # that of the first
    assert read(out / "first_result_test.json")["found_by"] == {"name": "a", "begun": "today"}
    assert read(out / "small_result_test.json")["found_by"] is None
    assert read(out / "small_result_test.json")["optimizer"] == "adamw"  # as published
    told = capsys.readouterr().out
    assert "limits and data of " in told and told.count("was found on other images") == 2
    record = read(winners[0].parent / "run.json")
    record["data"]["fingerprint"] = read(out / "first_result_test.json")["dataset"]["fingerprint"]
    save(winners[0].parent / "run.json", record)
    assert call(main, "-c", files[0], "-t", "-e", 1, "--output", out) == 0
    assert "was found on other images" not in capsys.readouterr().out


def test_results_of_a_link_are_beside_its_target_and_one_is_not_lost(winners, tmp_path, capsys):
    run = winners[0].parent
    links = [tmp_path / "opt_cfg.json", tmp_path / "absolute" / "opt_cfg.json"]
    links[1].parent.mkdir()
    links[0].symlink_to("runs/a/opt_cfg.json")
    links[1].symlink_to(links[0])
    assert call(main, "-c", links[1], "-t", "-e", 1) == 0
    assert (run / "result_test.json").is_file()
    assert "would be overwritten" in complaint(capsys, main, ["-c", *links, "-t", "-e", 1, 2])


def test_flags_come_before_what_the_search_had(winners, capsys):
    words = ["-c", str(winners[0]), "-t", "-e", "1", "-p", "0.25"]
    assert main.main([*words, "--constraints", "precision >= 0.25"]) == 0
    assert limits_in(winners[0].parent / "result_test.json") == ["precision >= 0.25"]
    assert "data of " in (out := capsys.readouterr().out) and "limits and data of" not in out


def test_images_are_made_square_as_in_the_search(winners):
    record = read(winners[0].parent / "run.json")
    record["settings"]["crop"] = "pad"
    save(winners[0].parent / "run.json", record)
    for winner, crop in zip(winners, ("pad", "centre"), strict=True):
        assert main.main(["-c", str(winner), "-t", "-e", "1"]) == 0
        assert read(winner.parent / "result_test.json")["dataset"]["crop"] == crop


def test_searches_that_cannot_be_measured_together(winners, capsys):
    for what in ("image_size", "crop", "optimizer", "images"):
        record = read(winners[1].parent / "run.json")
        record["settings"]["image_size"] = 16 if what == "image_size" else 8
        record["settings"]["crop"] = "pad" if what == "crop" else "centre"
        record["settings"]["optimizer"] = "schedule-free" if what == "optimizer" else "adam"
        record["data"]["fingerprint"] = "g" if what == "images" else "f"
        save(winners[1].parent / "run.json", record)
        err = complaint(capsys, main, ["-c", *winners, "-t", "-e", 1])
        assert "evaluate them apart" in err and {"images": "woods"}.get(what, what) in err


def test_nothing_that_is_read_is_overwritten(winners, folder, config, capsys):
    before = config.read_text(), winners[0].read_text()
    where = ["-t", "-e", 1, "--dataset", folder]
    err = complaint(capsys, main, ["-c", config, *where, "--output", config])
    assert "overwrite an input file" in err
    record = winners[0].parent / "run.json"
    assert "overwrite" in complaint(capsys, main, ["-c", winners[0], *where, "--output", record])
    assert "overwrite" in complaint(capsys, main, ["-c", config, *where, "-m", config])
    assert "empty" in complaint(capsys, main, ["-c", config, *where, "--output", ""])
    assert (config.read_text(), winners[0].read_text()) == before
