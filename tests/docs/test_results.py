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


def test_the_pages_show_what_the_files_hold(tool) -> None:
    for path in tool.PAGES:
        assert tool.PLACE.search(path.read_text("utf-8")), f"{path.name} has no table"
    for path in tool.QUOTING:
        page = path.read_text("utf-8")
        assert tool.filled(page) == page, f"run python docs/tools/results.py for {path.name}"


def test_a_number_outside_the_tables_is_quoted_from_its_row(tool) -> None:
    """The metric that several pages state stands in one file, and nowhere by hand."""
    quoting = [path for path in tool.QUOTING if tool.NUMBER.search(path.read_text("utf-8"))]
    assert {path.name for path in quoting} >= {"mdpr.md", "choosing.md", "circle-classifier.md"}
    for path in tool.QUOTING:
        if path not in tool.PAGES:
            text = tool.NUMBER.sub("", path.read_text("utf-8"))
            assert not re.search(r"\b\d\d\.\d mAP", text), f"{path.name} states an mAP by hand"


def test_a_wrong_quote_is_corrected(tool) -> None:
    mark = '<!-- market-500-150 baselines "MDPR, circle loss over classes" mAP -->'
    assert tool.filled(f"{mark}99.9<!-- / -->") == f"{mark}81.8<!-- / -->"


def test_a_published_figure_is_of_its_file(tool) -> None:
    content = json.loads((DOCS / "results" / "published.json").read_text())
    page = tool.PAGES[0].read_text("utf-8")
    assert re.fullmatch("[0-9a-f]{64}", content["sha256"])
    assert {"device", "threads", "torch"} <= set(content["machine"])
    for row in content["tables"]["embedders"]["rows"]:
        assert row.get("untrained", {"mAP": 0})["mAP"] < row["trained"]["mAP"]
        assert f"{100 * row['trained']['mAP']:.2f} |" in page


def test_a_changed_figure_is_noticed(tool) -> None:
    page = tool.PAGES[0].read_text("utf-8")
    table = tool.PLACE.search(page)
    figure = re.compile(r"→ \d+\.\d").search(page, table.start(), table.end())
    changed = page[: figure.start()] + "→ 99.9" + page[figure.end() :]
    assert tool.filled(changed) == page != changed


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_file_says_how_its_runs_were_made(path: Path) -> None:
    runs = json.loads(path.read_text())["runs"]
    assert runs
    for run in runs:
        assert run["config"]["seed"] == run["seed"]
        assert {"threads", "torch"} <= set(run["machine"])
        assert "system" not in run["machine"]  # it can hold the name of one machine
        for features in run["features"].values():
            assert features["untrained"]["mAP"] < features["trained"]["mAP"]
        assert "data_root" not in run["config"]
        assert "weights" not in run["config"]


def test_tables_of_measurements_are_of_the_benchmarks(tool) -> None:
    """Each is on one page, made from its record, so that no number is stated twice."""
    pages = {path.name: path.read_text("utf-8") for path in tool.QUOTING}
    for name, kind in tool.measured.TABLES:
        holding = [page for page, text in pages.items() if f"<!-- {name} {kind} -->" in text]
        assert len(holding) == 1, f"{name} {kind} is on {holding}"
    peaks = tool.measured.record("losses")["triplet, B=4096"]["peak_mb_above_inputs"]
    assert f"{peaks['plain']:.0f} |" in pages["speed-training.md"]
    filled = tool.filled("<!-- losses memory -->\nold\n<!-- end -->")
    assert filled.count("triplet, B = 4,096") == 2


def test_how_to_run_benchmarks_states_no_measurement() -> None:
    text = (DOCS.parent / "benchmarks" / "README.md").read_text("utf-8")
    assert not re.search(r"\d[.\d]* (×|ms|MB|GB|s\b)|\d\.\d", text)
    for program in (DOCS.parent / "benchmarks").glob("*.py"):
        named = f"`{program.name}" in text or program.name == "measuring.py"
        assert named, f"benchmarks/README.md does not name {program.name}"


def finished(folder: Path, **settings: object) -> Path:
    """Write what train.py leaves of a run of four epochs."""
    folder.mkdir()
    config = {"network": "bnneck", "circle": "class", "embed_dim": 512, "identities": 16}
    config |= {"images": 4, "lr": 3e-3, "epochs": 4, "weights": "home/w.pth", "workers": 2}
    (folder / "config.json").write_text(json.dumps(config | {"data_root": "home"} | settings))
    here = {"machine": {"processor": "a", "threads": 1, "system": "b"}, "versions": {"torch": "2"}}
    (folder / "environment.json").write_text(json.dumps([{}, here]))
    lines = [{"epoch": 0, "test": {"mAP": 0.1, "rank-1": 0.2}}]
    for epoch in range(1, 5):
        lines.append({"epoch": epoch, "train": {"total": 5 - epoch, "diversity_a": 0.5}})
        lines[-1] |= {} if epoch % 2 else {"test": {"mAP": epoch / 8, "rank-1": epoch / 5}}
    (folder / "metrics.jsonl").write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    step = {"step": 1, "gradient_shares": {"circle": 1 / 3, "triplet": 2 / 3}}
    (folder / "steps.jsonl").write_text(f'{json.dumps(step)}\n{{"step": 2}}\n')
    return folder


def test_runs_on_held_out_people_become_a_table(tool, tmp_path, monkeypatch) -> None:
    held_out, record = tool.held_out, tmp_path / "held-out.json"
    monkeypatch.setattr(held_out, "RECORD", record)

    def add(*runs: Path) -> list[dict]:
        monkeypatch.setattr("sys.argv", ["held_out.py", "rates", *map(str, runs)])
        held_out.main()
        return json.loads(record.read_text())["tables"]["rates"]["rows"]

    changed = {"network": "mdpr", "circle": "pair", "lr": 3.5e-4, "images": 16, "embed_dim": 9}
    add(finished(tmp_path / "a"), finished(tmp_path / "b", **changed))
    rows = add(finished(tmp_path / "again", workers=0, data_root="away"))  # takes the first's place
    assert held_out.table(rows).splitlines() == [
        "| network | M | circle loss over | batch | `--lr` "
        "| mAP / rank-1 half way | at the end | last loss |",
        "| --- | --- | --- | --- | --- | --: | --: | --: |",
        "| BNNeck baseline |  | classes | 16×4 | 3e-3 | 25.0 / 40.0 | 50.0 / 80.0 | 1.0 |",
        "| MDPR | 9 | pairs | 16×16 | 3.5e-4 | 25.0 / 40.0 | 50.0 / 80.0 | 1.0 |",
    ]
    assert rows[0]["gradient_shares"] == [{"step": 1, "circle": 0.33333, "triplet": 0.66667}]
    assert rows[0]["settings"]["weights"] == "w.pth"
    assert not re.search("home|away|system", record.read_text())
    with pytest.raises(ValueError, match="rows look alike"):
        held_out.table(add(finished(tmp_path / "other", label_smoothing=0)))
    with pytest.raises(
        SystemExit, match=r"c lacks a test after epochs \[3, 6\], it has \[0, 2, 4\]"
    ):
        add(finished(tmp_path / "c", epochs=6))


def test_the_record_of_held_out_runs_holds_no_path() -> None:
    text = (DOCS / "results" / "held-out.json").read_text()
    assert not re.search(r'"(data_root|system)":|"[^"]*/[^"]*"', text)
