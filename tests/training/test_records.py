import json
import math
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from reidblocks.training import Recorder, read_records
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


def test_a_line_cut_short_spoils_no_later_one(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    for epoch in (0, 1):
        append_record(log, {"epoch": epoch})
    log.write_bytes(log.read_bytes()[:-4])  # killed while writing
    for epoch in (2, 3):
        append_record(log, {"epoch": epoch})
    assert [record["epoch"] for record in read_records(log)] == [0, 2, 3]


def test_numbers_of_numpy_and_torch_are_written_as_numbers(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    append_record(
        str(log),
        {
            "float32": np.float32(0.5),
            "int64": np.int64(3),
            "bool": np.bool_(True),
            "tensor": torch.tensor(1.5, dtype=torch.bfloat16, requires_grad=True),
            "list": [torch.arange(2), np.ones((1, 2)), (1, None)],
            "ranks": {1: 0.5, np.int64(5): 0.75, "mAP": {"all": "text \u2028 \udce9"}},
        },
    )
    assert read_records(str(log)) == [
        {
            "float32": 0.5,
            "int64": 3,
            "bool": True,
            "tensor": 1.5,
            "list": [[0, 1], [[1.0, 1.0]], [1, None]],
            "ranks": {"1": 0.5, "5": 0.75, "mAP": {"all": "text \u2028 \udce9"}},
        }
    ]


def test_what_is_not_finite_is_valid_json_and_read_back(tmp_path: Path) -> None:
    log = tmp_path / "a.jsonl"
    append_record(log, {"a": [math.nan, math.inf], "b": {"c": torch.tensor(-math.inf)}})

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    json.loads(log.read_text(), parse_constant=refuse)
    (record,) = read_records(log)
    assert math.isnan(record["a"][0])
    assert record["a"][1] == math.inf
    assert record["b"]["c"] == -math.inf
    trim_records(log, 9)
    assert math.isnan(read_records(log)[0]["a"][0])


@pytest.mark.parametrize(
    ("record", "said"),
    [
        ({"a": {"b": [0, Path("x")]}}, r'cannot write record\["a"\]\["b"\]\[1\], of type \w*Path'),
        ({"a": {1, 2}}, r'cannot write record\["a"\], of type set: JSON has numbers, text'),
        ({"a": 1j}, r'cannot write record\["a"\], of type complex'),
        ({"a": np.complex64(1)}, r'cannot write record\["a"\], of type complex'),
        ({"a": {(1, 2): 3}}, r'text or whole numbers as the keys of record\["a"\], got \(1, 2\)'),
        ([1], "append_record expects a record as a dict, got list"),
    ],
)
def test_what_json_cannot_hold_is_refused_by_name(tmp_path: Path, record: Any, said: str) -> None:
    with pytest.raises(TypeError, match=said):
        append_record(tmp_path / "a.jsonl", record)
    assert not os.listdir(tmp_path)


def test_a_record_that_cannot_be_written_says_why(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"cannot write .*a\.jsonl: there is no folder"):
        append_record(tmp_path / "no" / "a.jsonl", {})
    with pytest.raises(IsADirectoryError, match="it is a folder"):
        append_record(tmp_path, {})


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_disk_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").symlink_to("/dev/full")
    with pytest.raises(
        OSError, match=r"a\.jsonl: No space left on device, [\d,]+ MB are free"
    ) as e:
        append_record(tmp_path / "a.jsonl", {})
    assert "stays" not in str(e.value)


def test_trimming_writes_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    log = tmp_path / "a.jsonl"
    append_record(log, {"epoch": 3})

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="the older file stays as it was"):
        trim_records(log, 0)
    assert read_records(log) == [{"epoch": 3}]
    assert os.listdir(tmp_path) == ["a.jsonl"]


def test_a_recorder_needs_a_step_and_takes_a_folder_as_text(tmp_path: Path) -> None:
    recorder = Recorder(str(tmp_path))
    with pytest.raises(ValueError, match=r"Recorder expects 'step' in a record, got \['epoch'\]"):
        recorder.add_epoch({"epoch": 1})
    recorder.add_epoch({"epoch": np.int64(1), "step": torch.tensor(3), "loss": math.nan})
    recorder.close()
    (record,) = read_records(tmp_path / "metrics.jsonl")
    assert record["step"] == 3


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
    accumulator = pytest.importorskip(
        "tensorboard.backend.event_processing.event_accumulator",
        reason="needs tensorboard (extra dev)",
    )
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


def test_tensorboard_gets_numbers_of_any_kind(tmp_path: Path) -> None:
    class Writer:
        def __init__(self) -> None:
            self.points: list[tuple[str, float, int]] = []

        def add_scalar(self, name: str, value: float, step: int) -> None:
            self.points.append((name, value, step))

        def flush(self) -> None:
            pass

    recorder = Recorder(tmp_path)
    recorder._writer = writer = Writer()
    recorder.add_step({"step": np.int64(7), "a": torch.tensor(0.5), "b": {"c": math.inf, "d": "x"}})
    assert writer.points == [
        ("steps/step", 7, 7),
        ("steps/a", 0.5, 7),
        ("steps/b/c", math.inf, 7),
    ]


def test_without_tensorboard_there_are_the_lines(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    recorder = Recorder(tmp_path)
    recorder.add_epoch({"epoch": 1, "step": 3})
    recorder.close()
    assert [path.name for path in tmp_path.iterdir()] == ["metrics.jsonl"]


def test_a_record_that_holds_itself_is_named(tmp_path: Path) -> None:
    record: dict[str, Any] = {"step": 1}
    record["again"] = record
    with pytest.raises(TypeError, match=r"append_record expects .* holds itself"):
        append_record(tmp_path / "a.jsonl", record)
    assert not (tmp_path / "a.jsonl").exists()
