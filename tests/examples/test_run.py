"""The parts of a run that need no training: precision, batch normalization of many."""

import dataclasses
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import build
import evaluate
import train
from build import load_checkpoint, pick_precision, settle_precision
from config import PRESETS, other_fields
from reidblocks.data import synthetic_people
from reidblocks.training import DistributedContext, pick_device
from run import TrainingStep, synchronize_batch_norm

CPU, CUDA = torch.device("cpu"), torch.device("cuda")
AUTO = PRESETS["synthetic"]


def test_auto_is_half_precision_on_cuda_and_float32_elsewhere(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert AUTO.precision == "auto"
    for device in (CPU, torch.device("mps")):
        assert pick_precision(AUTO, device) is torch.float32
    for native, dtype in ((True, torch.bfloat16), (False, torch.float16)):
        # A GPU without bfloat16 in hardware emulates it, slowly: that counts as none.
        monkeypatch.setattr(
            torch.cuda,
            "is_bf16_supported",
            lambda including_emulation=True, native=native: native or including_emulation,
        )
        assert pick_precision(AUTO, CUDA) is dtype


@pytest.mark.parametrize("name", ["float32", "bfloat16", "float16"])
def test_a_precision_that_was_asked_for_is_taken(name: str) -> None:
    config = dataclasses.replace(AUTO, precision=name)
    assert pick_precision(config, CPU) is pick_precision(config, CUDA) is getattr(torch, name)
    assert settle_precision(config, DistributedContext(0, 1, CPU)) == config


def test_auto_asked_for_again_is_what_the_run_has() -> None:
    own = {**dataclasses.asdict(AUTO), "precision": "bfloat16"}
    assert other_fields(dataclasses.asdict(AUTO), own) == []
    assert other_fields({"precision": "float32"}, own) == ["precision"]
    assert other_fields({"workers": 99, "seed": 99}, own) == ["seed"]


def test_a_run_keeps_the_precision_it_began_with(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    people = synthetic_people(
        tmp_path / "people", num_train_identities=4, num_test_identities=2, images_per_camera=2,
        num_cameras=2, size=(32, 16),
    )  # fmt: skip
    run = tmp_path / "run"
    told = {
        "preset": "synthetic", "dataset": "market1501", "data-root": people, "height": 32,
        "width": 16, "identities": 4, "images": 2, "embed-dim": 8, "branches": "hard", "workers": 0,
        "epochs": 2,
    }  # fmt: skip
    flags = [word for name, value in told.items() for word in (f"--{name}", str(value))]
    flags.append("--no-pictures")
    monkeypatch.setattr(build, "autocast_dtype", lambda device: torch.bfloat16)  # as on a GPU
    train.main([*flags, "--out", str(run), "--checkpoint-every", "1", "--keep-checkpoints", "9"])
    assert json.loads((run / "config.json").read_text())["precision"] == "bfloat16"
    monkeypatch.undo()
    for again in ([], ["--precision", "auto"]):  # a machine that would pick float32
        copy = shutil.copytree(run, tmp_path / f"copy-{len(again)}")
        for name in ("last.pt", "best.pt", *(p.name for p in copy.glob("step-*.pt"))):
            if name != "step-1.pt":
                (copy / name).unlink()
        capsys.readouterr()
        train.main([*flags, *again, "--resume", str(copy)])
        assert "torch.bfloat16" in capsys.readouterr().out
        assert load_checkpoint(copy)["config"]["precision"] == "bfloat16"
    with pytest.raises(ValueError, match="precision bfloat16 and not float32"):
        train.main(["--resume", str(run), "--precision", "float32"])

    tested, scored = [], evaluate.score

    def seen(*sides: Any, **how: Any) -> Any:
        tested.append(sides[-1])
        return scored(*sides, **how)

    monkeypatch.setattr(evaluate, "score", seen)
    for words in ([], ["--precision", "auto"], ["--precision", "float16"]):
        evaluate.main([str(run), *words])
    assert tested == [torch.bfloat16, pick_precision(AUTO, pick_device()), torch.float16]


def test_batch_norm_of_many_needs_gpus() -> None:
    step = TrainingStep(nn.Identity(), nn.Sequential(nn.BatchNorm2d(2)), nn.Identity())
    with pytest.raises(ValueError, match=r"--sync-bn needs a GPU for each process: .* Leave it o"):
        synchronize_batch_norm(step, CPU)
    names = list(step.state_dict())
    converted = synchronize_batch_norm(step, CUDA)  # converts, and runs nothing there
    assert type(converted.model[0]) is nn.SyncBatchNorm
    assert list(converted.state_dict()) == names
