"""train.py as a user runs it, on a handful of small drawn people."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from PIL import Image

import evaluate
import train
import visualize
from assemble import build_backbone
from checkpoint import (
    append_record,
    load_checkpoint,
    read_records,
    save_checkpoint,
    trim_records,
)
from config import from_dict
from evaluate import load_model
from model import MDPR
from reidblocks.data import synthetic_people

SCRIPT = Path(train.__file__)


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return synthetic_people(
        tmp_path_factory.mktemp("people"),
        num_train_identities=8,
        num_test_identities=4,
        images_per_camera=2,
        num_cameras=2,
        size=(32, 16),
    )


def flags(people: Path, out: Path, **changes: object) -> list[str]:
    fields = {
        "data_root": people, "out": out, "dataset": "market1501", "height": 32, "width": 16,
        "identities": 4, "images": 2, "embed_dim": 8, "epochs": 2, "eval_every": 1,
        "warmup_steps": 2, "precision": "float32", **changes,
    }  # fmt: skip
    pairs = [[f"--{name.replace('_', '-')}", str(value)] for name, value in fields.items()]
    return ["--preset", "synthetic", *(word for pair in pairs for word in pair)]


@pytest.fixture(scope="module")
def run(people: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run."""
    folder = tmp_path_factory.mktemp("runs") / "whole"
    train.main(flags(people, folder))
    return folder


@pytest.fixture(autouse=True)
def _no_more_pictures(run: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Draw those of one run only: that takes longer than to train it."""
    monkeypatch.setattr(train, "draw_run", lambda *_: [])


def test_a_run_leaves_everything_that_it_promises(run: Path) -> None:
    for name in ("curves", "ranked", "attention"):
        with Image.open(run / f"{name}.png") as picture:
            assert min(picture.size) > 100
    figures = json.loads((run / "metrics.json").read_text())
    assert list(figures) == ["untrained", "trained"]
    for row in figures.values():
        assert list(row) == ["mAP", "rank-1", "rank-5", "rank-10", "mINP"]
        assert all(0 <= value <= 1 for value in row.values())
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert [line["epoch"] for line in lines] == [0, 1, 2]
    assert lines[-1]["test"] == figures["trained"]
    terms = lines[-1]["train"]
    total = sum(value for name, value in terms.items() if name != "total")
    assert terms["total"] == pytest.approx(total, rel=1e-5)
    assert json.loads((run / "config.json").read_text())["embed_dim"] == 8
    assert load_checkpoint(run)["epoch"] == 2
    assert not list(run.glob("*.partial"))


def test_the_report_holds_everything_of_a_run(run: Path, open_page: Callable[..., Any]) -> None:
    page = open_page(run / "report.html", width=390)
    headings = page.locator("h2").all_inner_texts()
    assert headings == [
        "Metrics", "Queries", "Attention", "Features", "Cameras", "Curves", "Map", "Configuration",
    ]  # fmt: skip
    assert page.locator("h3").all_inner_texts() == ["Worst", "Median", "Best"]
    figures = json.loads((run / "metrics.json").read_text())
    for name, row in figures.items():
        cells = page.locator(f"tr:has(th:text-is('{name}')) td").all_inner_texts()
        assert cells == [f"{100 * value:.1f}%" for value in row.values()]
    for name in ("hard_g5", "hard_p2", "soft_g4", "fusion", "hard, together", "all"):
        assert page.locator(f"#section-4 tr:has(th:text-is('{name}'))").count() == 1
    for camera in (1, 2):  # a table of mAP and one of rank-1; none with itself
        rows = page.locator(f"tr:has(th[scope=row]:text-is('camera {camera}'))")
        assert rows.count() == 2
        assert rows.first.locator("td").nth(camera - 1).inner_text() == "–"
        assert rows.first.locator("td").nth(2 - camera).inner_text().endswith("%")
    assert page.locator("tr:has(th:text-is('embed_dim')) td").all_inner_texts() == ["8", "512"]
    page.get_by_label("Camera of the query").select_option("camera 2")
    assert page.locator("output").inner_text() == "4 of 8 queries"
    assert page.locator(".card:not([hidden]) .maps img").count() == 4 * 6  # A4, A5: 1, 2 and all
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_a_run_is_not_written_over(run: Path, people: Path) -> None:
    before = (run / "metrics.jsonl").read_bytes()
    with pytest.raises(FileExistsError, match="holds a run already"):
        train.main(flags(people, run))
    assert (run / "metrics.jsonl").read_bytes() == before


def test_an_interrupted_run_ends_as_if_it_had_not_been(
    run: Path, people: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole, epoch = load_checkpoint(run), train.train_epoch

    def killed(*arguments: object) -> dict[str, float]:
        if arguments[-2] == 1:
            raise KeyboardInterrupt
        return epoch(*arguments)

    monkeypatch.setattr(train, "train_epoch", killed)
    with pytest.raises(KeyboardInterrupt):
        train.main(flags(people, tmp_path / "cut"))
    monkeypatch.undo()
    assert load_checkpoint(tmp_path / "cut")["epoch"] == 1
    train.main(["--resume", str(tmp_path / "cut")])
    resumed = load_checkpoint(tmp_path / "cut")
    assert resumed["epoch"] == 2
    for name, tensor in whole["model"].items():
        assert torch.equal(tensor, resumed["model"][name]), name
    assert (tmp_path / "cut" / "metrics.json").read_text() == (run / "metrics.json").read_text()


def test_another_seed_is_another_run(run: Path, people: Path, tmp_path: Path) -> None:
    train.main(flags(people, tmp_path / "other", seed=1, epochs=1))
    a, b = (load_checkpoint(folder)["model"] for folder in (run, tmp_path / "other"))
    assert not torch.equal(a["stem.0.weight"], b["stem.0.weight"])


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["--epochs", "9", "--preset", "synthetic"], "leave out epochs, preset"),
        (["--out", "elsewhere"], "leave out --out and --start"),
    ],
)
def test_resuming_refuses_other_settings(run: Path, words: list[str], message: str) -> None:
    with pytest.raises(SystemExit, match=message):
        train.main(["--resume", str(run), *words])


def test_a_record_cut_short_is_written_again(tmp_path: Path) -> None:
    log = tmp_path / "metrics.jsonl"
    for epoch in (0, 1, 2):
        append_record(log, {"epoch": epoch})
    log.write_text(log.read_text()[:-6])  # killed while writing epoch 2
    trim_records(log, 1)
    append_record(log, {"epoch": 2})
    assert read_records(log) == [{"epoch": 0}, {"epoch": 1}, {"epoch": 2}]
    trim_records(log, 1)  # killed between the record and the checkpoint
    assert [record["epoch"] for record in read_records(log)] == [0, 1]


def test_a_cache_and_workers_change_nothing(run: Path, people: Path, tmp_path: Path) -> None:
    train.main([*flags(people, tmp_path / "cached", workers=0), "--cache"])
    assert (tmp_path / "cached" / "metrics.json").read_text() == (run / "metrics.json").read_text()
    assert torch.equal(
        *(load_checkpoint(f)["model"]["stem.0.weight"] for f in (run, tmp_path / "cached"))
    )


def test_the_backbone_may_learn_slower(people: Path, tmp_path: Path) -> None:
    fields = {"backbone_lr_factor": 0, "weight_decay": 0, "epochs": 1}
    train.main(flags(people, tmp_path / "run", **fields))
    config = from_dict(load_checkpoint(tmp_path / "run")["config"])
    torch.manual_seed(config.seed)
    before = MDPR(build_backbone(config), config)
    after = load_model(load_checkpoint(tmp_path / "run"))
    changed = {
        name
        for (name, old), new in zip(before.named_parameters(), after.parameters(), strict=True)
        if not torch.equal(old, new)
    }
    assert {name for name in changed if name.startswith(("stem", "hard.stage", "soft.st"))} == set()
    assert {"hard.head.whole.projection.conv.weight", "fusion.pool.p"} <= changed


def test_training_on_starts_from_a_checkpoint(
    run: Path, people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = flags(people, tmp_path / "on", epochs=1, embed_dim=4, lr=1e-12, first_lr=1e-12)
    train.main([*arguments, "--start", str(run)])
    before, after = load_checkpoint(run), load_checkpoint(tmp_path / "on")
    assert after["config"]["embed_dim"] == 8  # the checkpoint's
    weight = "hard.head.whole.projection.conv.weight"
    torch.testing.assert_close(before["model"][weight], after["model"][weight])
    assert "criterion starts anew" not in capsys.readouterr().out
    train.main([*flags(people, tmp_path / "pair", epochs=1, circle="pair"), "--start", str(run)])
    assert "criterion starts anew" in capsys.readouterr().out


def test_a_checkpoint_without_an_optimizer_cannot_be_resumed(run: Path, tmp_path: Path) -> None:
    state = load_checkpoint(run)
    del state["optimizer"]
    (tmp_path / "run").mkdir()
    save_checkpoint(tmp_path / "run" / "last.pt", state)
    with pytest.raises(ValueError, match="has no optimizer to resume with; train on with --start"):
        train.main(["--resume", str(tmp_path / "run")])


def test_evaluate_reads_a_run(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate.main([str(run), "--features", "hard", "soft_g4"])
    printed = capsys.readouterr().out
    assert "features hard_g5, hard_p1, hard_p2, soft_g4" in printed
    assert "mAP" in printed


def test_visualize_draws_a_run_again(run: Path) -> None:
    before = (run / "ranked.png").read_bytes()
    (run / "ranked.png").unlink()
    visualize.main([str(run)])
    assert (run / "ranked.png").read_bytes() == before


def test_several_processes_train_one_model(people: Path, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*command, str(SCRIPT), *flags(people, tmp_path / "two", epochs=1)],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.count("trained ") == 2, done.stdout  # untrained and trained, by one rank
    assert load_checkpoint(tmp_path / "two")["epoch"] == 1


def test_what_is_no_checkpoint_is_named(tmp_path: Path, run: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"no checkpoint at .*last\.pt"):
        load_checkpoint(tmp_path)
    (tmp_path / "page.pt").write_text("<html>not found</html>")
    with pytest.raises(ValueError, match=r"page\.pt is no checkpoint of train\.py"):
        load_checkpoint(tmp_path / "page.pt")
    whole = (run / "last.pt").read_bytes()
    (tmp_path / "half.pt").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="cut short"):
        load_checkpoint(tmp_path / "half.pt")
    torch.save({"weights": 1}, tmp_path / "other.pt")
    with pytest.raises(ValueError, match="has no config, model and epoch"):
        load_checkpoint(tmp_path / "other.pt")


def test_a_save_that_fails_keeps_the_older_checkpoint(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"epoch": 1})
    with pytest.raises(Exception, match="pickle"):
        save_checkpoint(tmp_path / "last.pt", {"epoch": lambda: 2})
    assert torch.load(tmp_path / "last.pt") == {"epoch": 1}


def test_missing_data_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="needs --data-root"):
        train.main(["--preset", "market1501", "--out", str(tmp_path / "run")])
    assert not (tmp_path / "run").exists()
