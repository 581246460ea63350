"""The files, links, flags and versions in documents and comments exist."""

import re

import pytest

from engine.cli.settings import FIELDS
from predict import FORMATS
from tests.stubs import ROOT
from tests.test_architecture import MODULES

TEXTS = {name: path.read_text(encoding="utf-8") for name, path in MODULES.items()}
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
LINKING = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
# In lower case: baselines/NAME.py stands for many.
FILE = r"\b(?:tests|search|engine|evaluation|vision|training|deploy|reports|configs|docs|baselines"
FILE += r"|benchmarks|examples)/[a-z\d_/]+\.(?:py|json|md)\b"
FLAG = r'add_(?:argument|flag)\(\s*(?:"-\w", )?"--([a-z_]+)"'
FLAGS = {*FIELDS, *re.findall(FLAG, "".join(TEXTS.values())), "help", *FORMATS}
FLAGS |= {"nworkers", "nthreads", "gres", "port"}  # of dask, sbatch and dashboards
FLAGS |= {"dim_param", "dim_value"}  # of ONNX Runtime


def missing(text):
    return {file for file in re.findall(FILE, text) if not (ROOT / file).exists()}


def test_files_that_comments_name_exist():
    found = {name: missing(text) for name, text in TEXTS.items()}
    assert not {name: files for name, files in found.items() if files}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_what_a_page_names_exists(page):
    text = page.read_text(encoding="utf-8")
    assert not missing(text)
    assert not {*re.findall(r"(?<![\w-])--([a-z][a-z_]+)(?![-\w])", text)} - FLAGS
    needed = (ROOT / "requirements.txt").read_text(encoding="utf-8").split()
    assert not {*re.findall(r"\b[\w-]+==\d[\w.]*", text)} - {*needed}


@pytest.mark.parametrize("page", LINKING, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_somewhere(page):
    links = re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8"))
    places = {link.partition("#")[0] for link in links if ":" not in link}
    assert not {place for place in places if not (page.parent / place).exists()}
