"""A user's mistake ends in its message and code 2; a fault of ours keeps its traceback."""

import errno
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from PIL import Image
from torch.utils.data import DataLoader

import ablate
import evaluate
import released
import report
import share
import train
from config import MDPRConfig
from reidblocks import GeM
from reidblocks.data import ImageDataset, Sample, synthetic_people
from reidblocks.training import message_of, run_script
from reidblocks.training.scripts import MISTAKES

SCRIPTS = (ablate, evaluate, released, report, share, train)


def raised(by: Callable[[], object]) -> Exception:
    with pytest.raises(Exception) as info:  # noqa: PT011 of any kind
        by()
    return info.value


def full_disk() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


@pytest.mark.parametrize(
    "by",
    [
        lambda: MDPRConfig(num_maps=0),
        lambda: MDPRConfig(backbone="resnet5o"),
        lambda: GeM()(torch.zeros(2)),  # which a user's images can bring about
        lambda: Path("/nowhere/file").read_bytes(),
        full_disk,
        lambda: zipfile.ZipFile("/nowhere/file"),
    ],
)
def test_what_is_refused_is_a_mistake(by: Any) -> None:
    assert isinstance(raised(by), MISTAKES)


@pytest.mark.parametrize(
    "by",
    [
        lambda: torch.zeros(2) @ torch.zeros(3),
        lambda: MDPRConfig().with_features(),
        lambda: {}["name"],
    ],
)
def test_what_torch_and_python_raise_is_a_fault(by: Any) -> None:
    assert not isinstance(raised(by), MISTAKES)


def test_a_mistake_ends_in_its_message(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as left:
        run_script(lambda: MDPRConfig(num_maps=0))
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "error: num_maps must be at least 1, got 0\n(--traceback shows where)\n" in said
    assert "Traceback" not in said


def test_a_fault_and_a_mistake_with_traceback_are_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(RuntimeError):
        run_script(lambda: torch.zeros(2) @ torch.zeros(3))
    monkeypatch.setattr(sys, "argv", ["train.py", "--traceback"])
    with pytest.raises(ValueError, match="num_maps"):
        run_script(lambda: MDPRConfig(num_maps=0))


def test_a_loaders_process_tells_the_message_alone(tmp_path: Path) -> None:
    image = tmp_path / "broken.png"
    image.write_bytes(b"")
    loader = DataLoader(ImageDataset([Sample(image, 0, 0)], lambda i: 0), num_workers=1)
    error = raised(lambda: next(iter(loader)))
    assert "Original Traceback" in str(error)  # what torch makes of it
    assert isinstance(error, MISTAKES)
    assert message_of(error).startswith(f"cannot read the image {image} (it is empty)")


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a set of people and a table whose header has a typing error."""
    folder = tmp_path_factory.mktemp("place")
    synthetic_people(
        folder / "people", num_train_identities=4, num_test_identities=2, images_per_camera=2,
        num_cameras=2, size=(32, 16),
    ).rename(folder / "set")  # fmt: skip
    (folder / "typo.csv").write_text("path,identty,split\na.png,1,train\n")
    (folder / "train.csv").write_text("path,identity,split\nfull/a.png,1,train\n")
    (folder / "test.csv").write_text(
        "path,identity,split\nfull/a.png,1,query\nfull/b.png,1,gallery\n"
    )
    (folder / "text.pt").write_text("no weights")
    (folder / "bare").mkdir()
    (folder / "bare" / "config.json").write_text("{}")
    (folder / "full").mkdir()
    for name in "ab":
        Image.new("RGB", (2, 2)).save(folder / "full" / f"{name}.png")
    return folder


ON_SET = (
    "--preset synthetic --dataset market1501 --data-root set --height 32 --width 16 --workers 0"
)


@pytest.mark.parametrize(
    ("called", "words", "message"),
    [
        (train, "--preset market1501", "the dataset market1501 needs --data-root"),
        (train, "--data-root nowhere", "nowhere"),
        (
            train,
            "--dataset csv --data-root train.csv",
            "--dataset csv --data-root train.csv has no images of the split query: name another",
        ),
        (train, "--dataset csv --data-root test.csv", "has no images of the split train"),
        (train, "--dataset csv --data-root typo.csv", "typo.csv has no column identity"),
        (
            train,
            f"{ON_SET} --identities 2 --weights gone.pth",
            "there is no file of weights at gone.pth",
        ),
        (
            train,
            f"{ON_SET} --identities 2 --weights text.pt",
            "text.pt is damaged, truncated, or no checkpoint",
        ),
        (train, f"{ON_SET} --identities 9", "expects 9 identities or more, got 4; lower"),
        (train, f"{ON_SET} --identities 2 --out typo.csv", "typo.csv is a file; name a folder"),
        (train, f"{ON_SET} --start text.pt", "text.pt is no checkpoint"),
        (train, "--resume gone", "there is no checkpoint at gone"),
        (train, "--resume bare", "no checkpoint at bare"),
        (train, "--preset synthetic --data-root text.pt", "cannot make the folder text.pt: a file"),
        (train, f"{ON_SET} --identities 2 --out text.pt/run", "text.pt/run: Not a directory"),
        (train, "--resume gone --out other", "leave out --out and --start"),
        (evaluate, "gone", "there is no checkpoint at gone"),
        (evaluate, "text.pt", "text.pt is no checkpoint"),
        (report, "full", "no checkpoint at full"),
        (share, "gone out.pt2", "there is no checkpoint at gone"),
        (share, "gone shared", "there is no checkpoint at gone"),
        (released, "gone.pth out.pt", "there is no file of weights at gone.pth"),
        (released, "text.pt out.pt", "text.pt is damaged"),
        (ablate, "--studies Q", "--studies: no table Q; there are baselines"),
        (ablate, "--network pcb", "leave out --network and --branches"),
        (ablate, "--seed 3", "--seed has no effect here: .* with --seeds"),
        (ablate, "--tiny --preset synthetic", "--tiny is a base of its own: leave out --preset"),
    ],
)
def test_mistakes_of_each_script(
    called: ModuleType,
    words: str,
    message: str,
    place: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(place)
    before = sorted(place.rglob("*"))
    with pytest.raises(SystemExit) as left:
        run_script(lambda: called.main(words.split()))
    assert left.value.code == 2
    said = capsys.readouterr().err
    assert "Traceback" not in said
    assert re.search(message, said), said
    assert sorted(place.rglob("*")) == before  # nothing was begun


@pytest.mark.parametrize("called", SCRIPTS, ids=lambda module: module.__name__)
def test_every_script_takes_traceback_and_runs_as_one(
    called: ModuleType, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        called.main(["--help"])
    assert "--traceback" in capsys.readouterr().out
    assert Path(str(called.__file__)).read_text().endswith("run_script(main)\n")


def test_of_several_processes_one_speaks(place: Path) -> None:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    done = subprocess.run(
        [*launch, str(train.__file__), *ON_SET.split(), "--identities=10", "--precision=float32"],
        env={**os.environ, "OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
        cwd=place,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode != 0
    assert done.stderr.count("error: PKBatchSampler expects 10 identities or more, got 4") == 1
    assert 'train.py", line' not in done.stderr  # torchrun's own traceback names no line of ours
