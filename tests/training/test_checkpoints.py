import os
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from reidblocks.training import Checkpoints, load_checkpoint, save_checkpoint


def test_what_is_saved_reads_back(tmp_path: Path) -> None:
    state = {"weight": torch.rand(3), "step": 4, "config": {"lr": 0.1, "name": "a", "none": None}}
    save_checkpoint(tmp_path / "a.pt", state)
    read = load_checkpoint(tmp_path / "a.pt")
    assert torch.equal(read.pop("weight"), state.pop("weight"))
    assert read == state
    assert [path.name for path in tmp_path.iterdir()] == ["a.pt"]


def test_the_newest_and_the_best_are_kept(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=3)
    for step in (2, 9, 10, 11, 100):
        kept.save({"step": step}, step, is_best=step == 9)
    assert [path.name for path in kept.numbered()] == ["step-100.pt", "step-11.pt", "step-10.pt"]
    assert load_checkpoint(tmp_path / "last.pt") == {"step": 100}
    assert load_checkpoint(tmp_path / "best.pt") == {"step": 9}
    assert kept.newest() == ({"step": 100}, tmp_path / "step-100.pt", [])
    assert not list(tmp_path.glob(".partial-*"))


def test_other_names_are_no_copies_where_the_disk_can_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    Checkpoints(tmp_path).save({"step": 1}, 1)
    assert (tmp_path / "last.pt").samefile(tmp_path / "step-1.pt")

    def refuse(*_: object) -> None:
        raise OSError("no links here")

    monkeypatch.setattr(os, "link", refuse)
    Checkpoints(tmp_path).save({"step": 2}, 2)
    assert not (tmp_path / "last.pt").samefile(tmp_path / "step-2.pt")
    assert load_checkpoint(tmp_path / "last.pt") == {"step": 2}


def test_a_half_file_is_passed_over_and_named(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        kept.save({"weight": torch.rand(1000), "step": step}, step)
    half = (tmp_path / "step-2.pt").read_bytes()[:1000]
    (tmp_path / "step-2.pt").write_bytes(half)  # last.pt too: it is the same file
    state, path, refused = kept.newest()
    assert (state["step"], path.name) == (1, "step-1.pt")
    assert len(refused) == 1
    assert "step-2.pt is no checkpoint, or is truncated" in refused[0]
    (tmp_path / "step-1.pt").unlink()
    with pytest.raises(ValueError, match=r"no checkpoint can be read:\n.*step-2\.pt") as error:
        kept.newest()
    assert "weights_only" not in str(error.value)  # torch's advice is for other cases
    save_checkpoint(tmp_path / "best.pt", {"step": 0})
    assert kept.newest()[:2] == ({"step": 0}, tmp_path / "best.pt")
    kept.save({"step": 1}, 1)  # a run that goes on keeps what it writes, not what is broken
    assert kept.newest()[0] == {"step": 1}
    shutil.rmtree(tmp_path)
    with pytest.raises(FileNotFoundError, match="there is no checkpoint in"):
        kept.newest()


def test_an_empty_file_is_passed_over_and_named(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    for step in (1, 2):
        kept.save({"step": step}, step)
    (tmp_path / "step-2.pt").write_bytes(b"")
    state, _, refused = kept.newest()
    assert state == {"step": 1}
    assert refused == [f"{tmp_path / 'step-2.pt'} is no checkpoint: it is empty"]


def test_a_file_that_would_run_code_says_so(tmp_path: Path) -> None:
    torch.save({"step": print}, tmp_path / "last.pt")
    with pytest.raises(ValueError, match=r"asks for \S*print, which could run code"):
        load_checkpoint(tmp_path / "last.pt")


def test_broken_newer_files_take_no_place_and_are_not_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path, keep=2)
    (tmp_path / "step-90.pt").write_bytes(b"broken")
    for step in (20, 30, 40):
        kept.save({"step": step}, step)
    names = {path.name for path in tmp_path.glob("step-*.pt")}
    assert names == {"step-30.pt", "step-40.pt", "step-90.pt"}

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match=r"\. Resume from \S*step-40\.pt, which is as it was"):
        kept.save({"step": 50}, 50)


def test_last_alone_is_enough(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "last.pt", {"step": 3})
    assert Checkpoints(tmp_path).newest()[0] == {"step": 3}


FULL = """
import resource, signal, sys, torch
from reidblocks.training import save_checkpoint
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))  # no file may grow beyond
save_checkpoint(sys.argv[1], {"weight": torch.zeros(100_000)})
"""


def test_a_disk_that_takes_no_more_leaves_the_older_file(tmp_path: Path) -> None:
    path = tmp_path / "last.pt"
    save_checkpoint(path, {"step": 1})
    done = subprocess.run([sys.executable, "-c", FULL, path], capture_output=True, text=True)
    assert done.returncode == 1
    assert f"OSError: cannot write {path}: File too large; the older file stays" in done.stderr
    assert "Make room" not in done.stderr  # there is room
    assert load_checkpoint(path) == {"step": 1}
    assert [path.name for path in tmp_path.iterdir()] == ["last.pt"]


def test_a_full_disk_leaves_the_older_checkpoints_and_names_the_newest(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    kept = Checkpoints(tmp_path, keep=1)
    kept.save({"step": 1}, 1)
    monkeypatch.setattr(os, "fsync", full)
    said = r"step-2\.pt: No space left.*\. Resume from .*step-1\.pt, which is as it was"
    with pytest.raises(OSError, match=said) as error:
        kept.save({"step": 2}, 2)
    assert error.value.errno == 28
    monkeypatch.undo()
    assert kept.newest() == ({"step": 1}, tmp_path / "step-1.pt", [])
    assert sorted(path.name for path in tmp_path.iterdir()) == ["last.pt", "step-1.pt"]


def test_what_is_no_checkpoint_is_refused_and_not_run(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"there is no checkpoint at .*a\.pt"):
        load_checkpoint(tmp_path / "a.pt")
    torch.save([1], tmp_path / "list.pt")
    with pytest.raises(ValueError, match=r"list\.pt is no checkpoint: it holds a list"):
        load_checkpoint(tmp_path / "list.pt")
    torch.save({"path": Path("x")}, tmp_path / "code.pt")
    with pytest.raises(ValueError, match=r"code\.pt holds more than a checkpoint"):
        load_checkpoint(tmp_path / "code.pt")


def test_at_least_one_is_kept(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="expects to keep 1 or more, got 0"):
        Checkpoints(tmp_path, keep=0)


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    said = r"cannot write .*step-1\.pt: there is no folder .*gone\. Create it first"
    with pytest.raises(FileNotFoundError, match=said):
        Checkpoints(tmp_path / "gone").save({}, 1)


def test_what_a_kill_left_is_deleted_at_the_next_save(tmp_path: Path) -> None:
    left = tmp_path / ".partial-0123456789abcdef-step-3.pt"
    others = tmp_path / ".partial-0123456789abcdef-report.html"
    left.touch()
    others.touch()  # another program may be writing it
    Checkpoints(tmp_path).save({"step": 4}, 4)
    assert sorted(os.listdir(tmp_path)) == [others.name, "last.pt", "step-4.pt"]


def test_a_link_named_last_is_replaced_and_not_followed(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    kept.save({"step": 1}, 1)
    (tmp_path / "last.pt").unlink()
    (tmp_path / "last.pt").symlink_to("step-1.pt")  # as some copies of a run have it
    kept.save({"step": 2}, 2)
    assert load_checkpoint(tmp_path / "step-1.pt") == {"step": 1}
    assert load_checkpoint(tmp_path / "last.pt") == {"step": 2}


def test_a_checkpoint_that_another_program_holds_stays(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept = Checkpoints(tmp_path, keep=1)
    kept.save({"step": 1}, 1)
    unlink = Path.unlink

    def refuse(path: Path, **flags: bool) -> None:
        if path.name == "step-1.pt":
            raise PermissionError("in use")
        unlink(path, **flags)

    monkeypatch.setattr(Path, "unlink", refuse)
    kept.save({"step": 2}, 2)
    monkeypatch.undo()
    assert len(kept.numbered()) == 2
    kept.save({"step": 3}, 3)
    assert len(kept.numbered()) == 1


def test_a_step_may_be_a_number_of_numpy_or_torch(tmp_path: Path) -> None:
    kept = Checkpoints(tmp_path)
    for step in (np.int64(3), torch.tensor(4)):
        kept.save({}, step)
    assert [path.name for path in kept.numbered()] == ["step-4.pt", "step-3.pt"]
    with pytest.raises(TypeError):
        kept.save({}, 4.5)  # type: ignore[arg-type]


def test_a_device_that_is_not_there_is_not_told_as_a_fault_of_the_file(tmp_path: Path) -> None:
    save_checkpoint(tmp_path / "a.pt", {})
    with pytest.raises(RuntimeError, match=r"(?i)device"):
        load_checkpoint(tmp_path / "a.pt", "none")


def test_too_little_memory_is_not_told_as_a_fault_of_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise torch.OutOfMemoryError("no memory")

    kept = Checkpoints(tmp_path)
    kept.save({}, 1)
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(torch.OutOfMemoryError):  # and no older one is taken instead
        kept.newest()


def test_a_file_that_may_not_be_read_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise PermissionError(13, "Permission denied")

    save_checkpoint(tmp_path / "a.pt", {})
    monkeypatch.setattr(torch, "load", fail)
    with pytest.raises(ValueError, match=r"a\.pt cannot be read: Permission denied"):
        load_checkpoint(tmp_path / "a.pt")


def test_checkpoints_are_the_same_under_another_default_device_and_dtype(tmp_path: Path) -> None:
    state = {"weight": torch.arange(3.0), "array": np.arange(3)}
    torch.set_default_dtype(torch.float64)
    try:
        with torch.device("meta"), torch.inference_mode():
            save_checkpoint(tmp_path / "a.pt", state)
            read = load_checkpoint(tmp_path / "a.pt")
    finally:
        torch.set_default_dtype(torch.float32)
    assert read["weight"].dtype == torch.float32
    assert read["weight"].tolist() == [0, 1, 2]
    assert read["array"].tolist() == [0, 1, 2]
