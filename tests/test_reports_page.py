"""The command that writes a report, and the report in a real browser."""

import json
import re
import shutil
import subprocess
import sys
import xml.etree.ElementTree as ElementTree

import pytest

from engine.storage.run import RunFolder
from reports.__main__ import main
from reports.document import Section, Table, Text
from reports.drawing import slim
from reports.markdown import markdown
from reports.reading import read_run
from tests.test_reports import ROOT, VERSION_1, snapshot, stub_run
from tests.test_results import write_result
from utils import write_json

CHROMIUM = shutil.which("chromium") or shutil.which("google-chrome")
CHROMEDRIVER = shutil.which("chromedriver")


@pytest.fixture(scope="module")
def runs(space, tmp_path_factory):
    """Two methods with two seeds; one resumed inexactly, one that is being written, a test result,
    a name of a class that is markup, and a table of layers.
    """
    folder = tmp_path_factory.mktemp("runs")
    note = {"note": "stubs, <i>not</i> photographs"}
    made = [
        stub_run(space, folder, f"{sampler}{seed}", note, sampler=sampler, seed=seed, pop_size=12)
        for sampler in ("evolution", "random")
        for seed in (1, 2)
    ]
    record = json.loads((made[0] / "run.json").read_text())
    layer = {"name": "conv_0", "output": [16, 8, 8], "parameters": 448, "macs": 27648}
    record["winner"]["layers"] = [layer, {**layer, "name": "classifier"}]
    write_json(made[0] / "run.json", {**record, "inexact": ["today: device was a and is b now"]})
    write_result(made[0], read_run(made[0]).best.config)
    killed = json.loads((made[3] / "run.json").read_text())
    write_json(made[3] / "run.json", {**killed, "sessions": [{"end": None, "reason": None}]})
    journal = made[3] / "trials.jsonl"
    journal.write_text(journal.read_text()[:-300])
    return made


@pytest.fixture(scope="module")
def report(runs, tmp_path_factory):
    """The folder of their report."""
    output = tmp_path_factory.mktemp("output") / "report"
    busy = RunFolder(runs[3])
    before = [snapshot(run) for run in runs]
    try:
        assert main([*map(str, runs), "--output", str(output)]) == 0
        assert [snapshot(run) for run in runs] == before
    finally:
        busy.close()
    return output


def test_the_command_as_a_user_runs_it(tmp_path):
    words = [sys.executable, "-m", "reports", str(VERSION_1), "--output", str(tmp_path / "out")]
    done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0 and done.stdout == f"report: {tmp_path / 'out' / 'report.html'}\n"
    assert done.stderr == ""
    text = (tmp_path / "out" / "report.md").read_text()
    assert "evolution + Hyperband, seed 5: top3 0.453" in text.replace("\\", "")
    assert "5 different configurations trained in full are too few; it takes 40" in text
    words = [sys.executable, "-m", "reports", "nothing"]
    done = subprocess.run(
        words, cwd=tmp_path, capture_output=True, text=True, env={"PYTHONPATH": str(ROOT)}
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert (
        done.stderr.startswith("reports: there is no run nothing") and "Trace" not in done.stderr
    )
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_search_that_has_just_begun_has_a_report(tmp_path):
    (tmp_path / "run").mkdir()
    shutil.copy(VERSION_1 / "run.json", tmp_path / "run")
    assert main([str(tmp_path / "run"), "--output", str(tmp_path / "out")]) == 0
    assert "No training has ended yet." in (tmp_path / "out" / "report.html").read_text()


def test_all_sections_and_what_must_be_said_are_there(report):
    page, text = (report / "report.html").read_text(), (report / "report.md").read_text()
    for words in (
        *("Overview", "Progress", "Trade-offs", "Hyperband", "Rungs and the full budget"),
        *("Audit: what early", "What became of", "Hyperparameters", "The winners", "Lineage"),
        *("was resumed inexactly, today: device", "not ended", "conv_0", "Confusion matrix"),
        *("Importance for top3; the forest explains", "evolution1 (inexact)"),
    ):
        assert words in page, words
        assert words in text.replace("\\", ""), words
    assert "stubs, &lt;i&gt;not&lt;/i&gt; photographs" in page and "<i>" not in page
    assert "<b>" not in page and "&lt;b&gt;rose &amp; co&lt;/b&gt;" in page
    assert "<b>" not in re.sub(r"\\<", "", text)
    assert page.count('class="reading"') >= 9 and text.count("*How to read it:*") >= 8


def test_every_chart_is_a_figure_file_of_either_kind(report):
    text = (report / "report.md").read_text()
    names = re.findall(r"\]\((figures/[^)]+)\)", text)
    assert len(names) > 15 and len(set(names)) == len(names)
    for name in names:
        tree = ElementTree.parse(report / name)  # well-formed on its own
        assert tree.getroot().get("viewBox") and tree.getroot().get("width")
        png = (report / name.replace(".svg", ".png")).read_bytes()
        assert png.startswith(b"\x89PNG") and len(png) > 2000
    files = sorted(path.name for path in (report / "figures").iterdir())
    assert len(files) == 2 * len(names)


def test_the_same_runs_give_the_same_report(runs, report, tmp_path):
    assert main([*map(str, runs), "--output", str(tmp_path)]) == 0
    for path in report.rglob("*.*"):
        assert (tmp_path / path.relative_to(report)).read_bytes() == path.read_bytes(), path.name


def test_a_page_names_nothing_outside_itself(report):
    page = (report / "report.html").read_text()
    links = re.findall(r"""(?:src|href)=["']([^"']*)""", page) + re.findall(r"url\(([^)]*)", page)
    assert links and all(link.startswith(("#", "data:,")) for link in links)
    assert "@import" not in page and "fetch(" not in page


def test_a_drawing_keeps_its_words_while_it_becomes_small():
    svg = '<?xml version="1.0"?><svg><!-- c --><metadata>m</metadata><path id="line2d_1" '
    svg += (
        'd="M 1.23456 -7.0001" style="fill: none"/><text style="fill: none">0.12345</text></svg>'
    )
    small = slim(svg)
    assert "0.12345" in small and "M 1.23 -7" in small and "line2d" not in small
    assert small.count("fill: none") == 1 and "metadata" not in small and "<!--" not in small


def test_markdown_takes_no_markup_from_runs():
    told = Section("A", "b", [Text("*x* | <i>"), Table(["p|q"], [["a_b"]])])
    assert r"\*x\* \| \<i\>" in markdown(told, "f")
    assert "| p\\|q |\n| --- |\n| a\\_b |" in markdown(told, "f")


# In a browser


@pytest.fixture(scope="module")
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


def visit(browser, report, width):
    """Opens the report with all that is folded, as wide as a phone or a screen."""
    size = {"width": width, "height": 900, "deviceScaleFactor": 1, "mobile": width < 500}
    browser.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", size)
    browser.get((report / "report.html").resolve().as_uri())
    browser.execute_script("document.querySelectorAll('details').forEach(one => one.open = true)")


@pytest.mark.parametrize("width", [390, 1280])
def test_in_a_browser_all_is_drawn_and_nothing_is_asked_for(browser, report, width):
    visit(browser, report, width)
    sizes = browser.execute_script(
        "return [...document.querySelectorAll('figure svg')].map(svg => {"
        " const box = svg.getBoundingClientRect();"
        " const drawn = [...svg.querySelectorAll('path, use, text')].filter(one => {"
        "  const inner = one.getBoundingClientRect();"
        "  return inner.width + inner.height > 0 });"
        " const texts = [...svg.querySelectorAll('text')].map(one => one.getBoundingClientRect());"
        " return [box.width, box.height, drawn.length, box.left, box.right,"
        "  Math.max(...texts.map(one => one.height))] })"
    )
    assert len(sizes) > 15
    for box_width, height, drawn, left, right, text in sizes:
        assert box_width > 250 and height > 80 and drawn > 10 and text > 9
        assert left >= 0 and right <= width
    assert browser.execute_script("return document.documentElement.scrollWidth") <= width
    assert browser.get_log("browser") == []
    events = [json.loads(entry["message"])["message"] for entry in browser.get_log("performance")]
    asked = {
        event["params"]["request"]["url"]
        for event in events
        if event["method"] == "Network.requestWillBeSent"
    }
    page = (report / "report.html").resolve().as_uri()
    assert page in asked  # the log does record requests
    assert all(url == page or url.startswith("data:") for url in asked)


def test_pointing_tapping_and_arrow_keys_show_a_configuration(browser, report):
    from selenium.webdriver.common.action_chains import ActionChains
    from selenium.webdriver.common.by import By
    from selenium.webdriver.common.keys import Keys

    visit(browser, report, 1280)
    tip = browser.find_element(By.ID, "tip")
    known = json.loads(
        browser.find_element(By.ID, "known").get_attribute("textContent"), strict=False
    )
    mark, keys = next((m, k) for m, k in known["marks"].items() if m.startswith("precision-1--"))
    dot = browser.find_element(By.CSS_SELECTOR, f"[id='{mark}'] g > use")
    assert not tip.is_displayed()
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", dot)
    ActionChains(browser).move_to_element(dot).perform()
    assert tip.is_displayed()
    words = tip.text
    assert "evolution" in words and "learning_rate_init: " in words and "top3 0." in words
    svg = dot.find_element(By.XPATH, "./ancestor::*[name()='svg' and @tabindex]")
    svg.send_keys(Keys.ESCAPE)
    assert not tip.is_displayed()
    svg.send_keys(Keys.ARROW_RIGHT)
    first = keys[0].split("/")[1]
    assert tip.is_displayed() and f"trial {first}\n" in tip.text
    svg.send_keys(Keys.ARROW_LEFT)
    assert f"trial {first}\n" not in tip.text
    outside = browser.find_element(By.TAG_NAME, "h1")
    browser.execute_script("arguments[0].scrollIntoView({block: 'center'})", outside)
    outside.click()
    assert not tip.is_displayed()


@pytest.mark.parametrize("chart", ["curves-1-2", "parallel-coordinates", "confusion"])
def test_each_point_of_lines_and_squares_has_its_words(browser, report, chart):
    visit(browser, report, 390)
    shown = browser.execute_script(
        "const known = JSON.parse(document.getElementById('known').textContent);"
        "const marks = Object.keys(known.marks).filter(one => one.includes(arguments[0]));"
        "const svg = document.getElementById(marks[0]).closest('svg');"
        "return [marks.flatMap(one => known.marks[one]),"
        " pointsOf(svg).map(one => [one[0], one[1], one[3]])]",
        chart,
    )
    keys, points = shown
    assert keys and {key for *_, key in points} == set(keys)
    assert all(0 <= x <= 400 and 0 <= y <= 600 for x, y, _ in points)
