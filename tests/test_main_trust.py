"""`main.py --thresholds` and `--classes`."""

from safetensors import safe_open

import predict
from tests.command_line import evaluate, read


def test_main_finds_a_threshold_and_hands_it_to_the_network(
    no_flowers, folder, config, tmp_path, capsys
):
    model, exported = tmp_path / "net.safetensors", tmp_path / "exported"
    where = ["--dataset", folder, "-e", 8, "-p", 0.3, "--thresholds", "--crop", "pad"]
    more = ["-m", model, "--classes", "--export", exported, "--quantise"]
    assert evaluate("-c", config, "-t", *where, *more) == 0
    out, result = capsys.readouterr().out, read(config.parent / "result_test.json")
    assert "on the folds: answers" in out and "on the test split: answers" in out
    assert "by class:" in out and "support" in out
    assert [row["class"] for row in result["by_class"]] == ["alder", "birch", "cedar"]
    at = result["at_threshold"]
    assert (at["folds"]["images"], at["test"]["images"]) == (18, 9)
    with safe_open(model, "np") as file:
        facts = file.metadata()
    assert facts["crop"] == "pad" and facts["image_size"] == "8"
    assert float(facts["threshold"]) == result["threshold"]
    network = predict.Network(str(exported / "network.onnx"))
    assert (network.crop, network.threshold) == ("pad", result["threshold"])
    card = (exported / "card.md").read_text()
    assert f"{result['threshold']:g}: below it" in card
    int8 = read(exported / "result_int8.json")["at_threshold"]
    for form, one in (("float32", at["test"]), ("int8", int8["test"])):
        share = f"{100 * one['coverage']:.1f} % of 9 images"
        words = f"on the test split: answers {share}, precision {one['precision']:.4f}"
        assert words in card[card.index(f"    {form}:") :]
    # The folds alone give the same threshold, since the trainings are the same.
    assert evaluate("-c", config, *where) == 0
    alone = read(config.parent / "result_cv.json")
    assert alone["threshold"] == result["threshold"]
    assert alone["at_threshold"]["folds"] == at["folds"] and "test" not in alone["at_threshold"]
