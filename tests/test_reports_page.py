"""The command that writes a report, and the report in a real browser."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from engine.storage.run import RunFolder
from reports import importance
from reports.__main__ import main
from reports.page import kind
from reports.reading import read_run
from tests.test_reports import OLD_RUN, ROOT, snapshot, stub_run
from tests.test_results import write_result
from utils import write_json

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def runs(space, tmp_path_factory):
    """Two methods, one with two seeds; an inexactly resumed run, a running one, a test result, a
    class name with markup, and a table of layers.
    """
    folder = tmp_path_factory.mktemp("runs")
    note = {"note": "stubs, <i>not</i> photographs"}
    made = [
        stub_run(space, folder, f"{sampler}{seed}", note, sampler=sampler, seed=seed)
        for sampler, seed in (("evolution", 1), ("random", 1), ("random", 2))
    ]
    record = json.loads((made[0] / "run.json").read_text())
    layer = {"name": "conv_0", "output": [16, 8, 8], "parameters": 448, "macs": 27648}
    record["winner"]["layers"] = [layer, {**layer, "name": "classifier", "output": [2]}]
    write_json(made[0] / "run.json", {**record, "inexact": ["today: device was a and is b now"]})
    write_result(made[0], read_run(made[0]).best.config)
    killed = json.loads((made[2] / "run.json").read_text())
    write_json(made[2] / "run.json", {**killed, "sessions": [{"end": None, "reason": None}]})
    journal = made[2] / "trials.jsonl"
    journal.write_text(journal.read_text()[:-300])
    return made


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    """The folder of the report on the runs."""
    output = tmp_path_factory.mktemp("output") / "report"
    busy = RunFolder(runs[2])
    before = [snapshot(run) for run in runs]
    try:
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(importance, "MIN_TRIALS", 20)
            patch.setattr(importance, "TREES", 4)
            assert main([*map(str, runs), "--output", str(output)]) == 0
        assert [snapshot(run) for run in runs] == before
    finally:
        busy.close()
    return output


def test_the_same_run_gives_the_same_bytes_in_each_process(tmp_path, monkeypatch):
    """The command as a user runs it; without an argument it reads the newest run."""
    shutil.copytree(OLD_RUN, tmp_path / "runs" / "old")
    monkeypatch.chdir(tmp_path)
    words = [sys.executable, "-m", "reports"]
    given = {"capture_output": True, "text": True, "env": {"PYTHONPATH": str(ROOT)}}
    done = subprocess.run(words, **given)
    assert (done.returncode, done.stdout) == (0, "report: report/report.html\n"), done.stderr
    text = (tmp_path / "report" / "report.html").read_text()
    assert "evolution with Hyperband, seed 5: trial 4" in text
    assert main(["old", "--output", "again"]) == 0
    files = [path for path in (tmp_path / "report").rglob("*.*") if path.is_file()]
    assert len(files) > 5
    for path in files:
        again = tmp_path / "again" / path.relative_to(tmp_path / "report")
        assert again.read_bytes() == path.read_bytes(), path.name
    assert sorted(path.name for path in tmp_path.iterdir()) == ["again", "report", "runs"]


def test_all_sections_and_what_must_be_said_are_there(report):
    page = (report / "report.html").read_text()
    titles = ["Accuracy against size", "Progress", "Brackets", "Hyperparameters"]
    titles += ["Mistakes on the test split", "How it was made"]
    places = [page.index(f"<h2>{title}</h2>") for title in titles]
    assert places == sorted(places) and page.index('class="card"') < places[0]
    for words in (
        *("was resumed inexactly, today: device", "evolution1 (inexact)", "conv_0"),
        "2 mistakes, the most confident first",
    ):
        assert words in page, words
    columns = "best objective", "parameters", "precision", "test objective"  # of the limits
    heads = re.findall("<th[^>]*>([^<]*)</th>", page)
    assert [one for one in heads[:12] if one in columns] == [*columns]
    assert "stubs, &lt;i&gt;not&lt;/i&gt; photographs" in page and "<i>not" not in page
    assert "<b>rose" not in page and "&lt;b&gt;rose &amp; co&lt;/b&gt;" in page


def test_a_number_is_aligned_alike_with_and_without_its_interval():
    cells = "0.932\n0.906–0.956", "0.176", "83 %", "0.9 (0.8 to 1.0)", "top3"
    assert [kind(cell) for cell in cells] == ["n", "n", "n", "n", ""]


def test_every_chart_is_a_figure_file_of_either_kind(report):
    names = charts_in(report)
    assert len(names) > 8
    for name in names:
        tree = ElementTree.parse(report / "figures" / f"{name}.svg")  # well-formed on its own
        assert tree.getroot().get("viewBox")
        png = (report / "figures" / f"{name}.png").read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) > 2000
    assert {"progress", "rank-correlation", "parallel-coordinates"} <= set(names)


def test_every_figure_has_a_place_in_the_page_also_without_hyperband(space, tmp_path):
    run = stub_run(space, tmp_path, "full", {}, hyperband=False, max_generations=4)
    assert main([str(run), "--output", str(tmp_path / "report")]) == 0
    assert "rank-correlation" not in charts_in(tmp_path / "report")


def charts_in(report):
    """The charts of the page: each has two files, and there are no others."""
    names = re.findall(r'class="chart" id="([^"]+)"', (report / "report.html").read_text())
    files = {path.name for path in (report / "figures").iterdir()}
    assert files == {f"{name}.{kind}" for name in names for kind in ("svg", "png")}
    assert len(set(names)) == len(names)
    return names


# In a browser


@pytest.fixture
def browser():
    if not (CHROMIUM and CHROMEDRIVER):
        pytest.skip("needs chromium and chromedriver (Debian: apt install chromium-driver)")
    webdriver = pytest.importorskip("selenium.webdriver", reason="needs requirements-dev.txt")
    options = webdriver.ChromeOptions()
    options.binary_location = CHROMIUM
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"):
        options.add_argument(flag)
    options.set_capability("goog:loggingPrefs", {"performance": "ALL", "browser": "ALL"})
    service = webdriver.ChromeService(CHROMEDRIVER)
    driver = webdriver.Chrome(options=options, service=service)
    yield driver
    driver.quit()


def visit(browser, report, width, mode):
    """Opens the report with all sections open, as wide as a phone or a screen."""
    from selenium.webdriver.support.ui import WebDriverWait

    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    look = {"features": [{"name": "prefers-color-scheme", "value": mode}]}
    browser.execute_cdp_cmd("Emulation.setEmulatedMedia", look)
    browser.get((report / "report.html").resolve().as_uri())
    count = "return document.querySelectorAll('.chart').length - "
    count += "document.querySelectorAll('.chart svg').length"
    WebDriverWait(browser, 20).until(lambda it: it.execute_script(count) == 0)
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")
    WebDriverWait(browser, 20).until(
        lambda it: it.execute_script(
            "return [...document.querySelectorAll('.chart svg')]"
            ".every(one => one.getBoundingClientRect().width > 250)"
        )
    )


def assert_all_is_drawn(browser, width, mode):
    """Charts fit into the page, have the colours of its mode, and raise no error."""
    charts = browser.execute_script(
        "return [...document.querySelectorAll('.chart svg')].map(svg => {"
        " const box = svg.getBoundingClientRect();"
        " return [box.left, box.right, box.height, svg.querySelectorAll('path').length] })"
    )
    assert len(charts) > 8
    for left, right, height, drawn in charts:
        assert left >= 0 and right <= width and height > 80 and drawn > 3
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    colours = browser.execute_script(
        "const text = document.querySelector('.chart svg text');"
        "return [getComputedStyle(text).fill, getComputedStyle(document.body).color,"
        " getComputedStyle(document.body).backgroundColor]"
    )
    light = [sum(map(int, re.findall(r"\d+", colour)[:3])) > 380 for colour in colours]
    assert light == [mode == "dark", mode == "dark", mode == "light"]
    assert browser.get_log("browser") == []


def assert_nothing_was_asked_for(browser, page):
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    assert page in asked  # the log records requests
    assert all(url == page or url.startswith("data:") for url in asked)


def test_in_a_browser_all_is_drawn_and_nothing_is_asked_for(browser, report):
    """On a phone and on a screen; a point shows its configuration, the axis is selectable."""
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By

    for width, mode in [(390, "dark"), (1280, "light")]:
        visit(browser, report, width, mode)
        assert_all_is_drawn(browser, width, mode)
    dots = browser.find_elements(By.CSS_SELECTOR, "#top3-num-params .mark-symbol.role-mark path")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", dots[-1])
    ActionChains(browser).move_to_element(dots[-1]).perform()
    tip = browser.find_element(By.ID, "vg-tooltip-element").text
    assert "learning_rate_init" in tip and "winner" in tip
    chart = browser.find_element(By.ID, "progress")
    assert "epochs used" in chart.text
    browser.execute_script(
        "arguments[0].click()", chart.find_element(By.CSS_SELECTOR, "input[value=trials]")
    )
    assert any("trials used" in one.text for one in chart.find_elements(By.TAG_NAME, "text"))
    assert_nothing_was_asked_for(browser, (report / "report.html").resolve().as_uri())
