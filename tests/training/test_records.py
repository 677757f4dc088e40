import json
import subprocess
from pathlib import Path

import pytest

from reidblocks.training import Recorder, describe_environment, read_records
from reidblocks.training.records import append_record, trim_records


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


def test_a_recorder_drops_what_comes_after_its_place(tmp_path: Path) -> None:
    first = Recorder(tmp_path)
    for step in range(1, 7):
        first.add_step({"step": step, "epoch": (step - 1) // 3})
    for epoch in (1, 2):
        first.add_epoch({"epoch": epoch, "step": 3 * epoch})
    first.close()
    Recorder(tmp_path, epoch=1, step=4).close()
    assert [record["step"] for record in read_records(tmp_path / "steps.jsonl")] == [1, 2, 3, 4]
    assert [record["epoch"] for record in read_records(tmp_path / "metrics.jsonl")] == [1]
    Recorder(tmp_path, epoch=0, step=3).close()  # cut off between an epoch's test and its saving
    assert read_records(tmp_path / "metrics.jsonl") == []


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    accumulator = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    recorder = Recorder(tmp_path)
    recorder.add_epoch({"epoch": 1, "step": 30, "test": {"mAP": 0.25}, "name": "not a figure"})
    recorder.add_step({"step": 7, "epoch": 0, "terms": {"total": 2.5}})
    recorder.close()
    events = accumulator.EventAccumulator(str(tmp_path / "tensorboard"))
    events.Reload()
    (point,) = events.Scalars("metrics/test/mAP")
    assert (point.step, point.value) == (30, 0.25)
    (point,) = events.Scalars("steps/terms/total")
    assert (point.step, point.value) == (7, 2.5)


def test_without_tensorboard_there_are_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    recorder = Recorder(tmp_path)
    recorder.add_epoch({"epoch": 1, "step": 3})
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_the_commit_is_told_and_whether_files_differ(tmp_path: Path) -> None:
    assert describe_environment(tmp_path)["commit"] is None

    def git(*words: str) -> str:
        settings = ["-c", "user.name=a", "-c", "user.email=a@b"]
        done = subprocess.run(
            ["git", "-C", tmp_path, *settings, *words], check=True, capture_output=True, text=True
        )
        return done.stdout.strip()

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    commit = git("rev-parse", "HEAD")
    assert describe_environment(tmp_path)["commit"] == commit
    (tmp_path / "a").write_text("2")
    assert describe_environment(tmp_path)["commit"] == commit + "+"
    json.dumps(describe_environment(tmp_path))
