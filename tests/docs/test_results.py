"""The tables on the page of results are those of the committed files."""

import importlib.util
import json
import re
from pathlib import Path

import pytest

DOCS = Path(__file__).resolve().parents[2] / "docs"
FILES = sorted((DOCS / "results").glob("market-*.json"))


@pytest.fixture(scope="module")
def tool():
    spec = importlib.util.spec_from_file_location("results", DOCS / "tools" / "results.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_the_page_shows_what_the_files_hold(tool) -> None:
    page = tool.PAGE.read_text()
    assert tool.PLACE.search(page)
    assert tool.filled(page) == page, "run python docs/tools/results.py"


def test_a_published_figure_is_of_its_file(tool) -> None:
    content = json.loads((DOCS / "results" / "published.json").read_text())
    page = tool.PAGE.read_text()
    assert re.fullmatch("[0-9a-f]{64}", content["sha256"])
    assert {"device", "threads", "torch"} <= set(content["machine"])
    for row in content["tables"]["embedders"]["rows"]:
        assert row["untrained"]["mAP"] < row["trained"]["mAP"]
        assert f"| {100 * row['trained']['mAP']:.2f} |" in page


def test_a_changed_figure_is_noticed(tool) -> None:
    page = tool.PAGE.read_text()
    table = tool.PLACE.search(page)
    figure = re.compile(r"\| \d+\.\d \|").search(page, table.start(), table.end())
    changed = page[: figure.start()] + "| 99.9 |" + page[figure.end() :]
    assert tool.filled(changed) == page != changed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_how_its_runs_were_made(path: Path) -> None:
    runs = json.loads(path.read_text())["runs"]
    assert runs
    for run in runs:
        assert run["config"]["seed"] == run["seed"]
        assert {"device", "threads", "torch"} <= set(run["machine"])
        for features in run["features"].values():
            assert features["untrained"]["mAP"] < features["trained"]["mAP"]
        assert "data_root" not in run["config"]
        assert "weights" not in run["config"]
