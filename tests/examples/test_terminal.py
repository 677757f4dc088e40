"""What train.py says at the terminal and in a log, and weights that it downloads by name."""

import functools
import hashlib
import io
import json
import re
import sys
from pathlib import Path
from urllib.error import URLError

import pytest
import torch
from tqdm import tqdm

import build
import networks
import train
from config import PRESETS, MDPRConfig
from networks import NETWORKS
from reidblocks.backbones import downloads, resnet
from reidblocks.data import synthetic_people
from reidblocks.training import run_script

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    few = {"num_train_identities": 8, "num_test_identities": 2, "images_per_camera": 2}
    folder = tmp_path_factory.mktemp("people")
    return synthetic_people(folder, num_cameras=2, size=(32, 16), **few)


def flags(people: Path, out: Path, epochs: int) -> list[str]:
    return (
        f"--preset synthetic --data-root {people} --dataset market1501 --out {out} --height 32 "
        f"--width 16 --identities 4 --images 2 --embed-dim 8 --epochs {epochs} --eval-every 1 "
        "--workers 0 --no-pictures"
    ).split()


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_the_bar_fits_80_columns_and_tells_of_epochs_without_a_test(
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    shown = Terminal()
    monkeypatch.setattr(sys, "stderr", shown)
    monkeypatch.setattr(tqdm, "__init__", functools.partialmethod(tqdm.__init__, mininterval=0))
    train.main([*flags(people, tmp_path / "run", epochs=2), "--eval-every", "2"])
    told = [text for text in capsys.readouterr().out.splitlines() if text.startswith("epoch")]
    assert [text.split(":")[0] for text in told] == ["epoch 2"]
    drawn = [text for text in re.split(r"[\r\n]", shown.getvalue()) if text.startswith("epoch")]
    assert all(len(text) < 80 for text in drawn)
    order = r"epoch 1/2, step 3/4, loss \d+\.\d\d, \d+ images/s, \d+:\d\d left .+"
    assert any(re.fullmatch(order, text) for text in drawn), drawn


def test_the_bar_fits_at_the_end_of_a_long_run() -> None:
    text = train.progress(1234.56, 10234.5, 100 * 3600 + 62)
    assert text == "loss 1234.56, 10234 images/s, 100:01:02 left"
    known = {"n": 12936, "total": 12936, "elapsed": 1, "ncols": 79}
    assert (
        len(tqdm.format_meter(**known, prefix="epoch 60/60", bar_format=train.BAR, postfix=text))
        < 80
    )


def test_a_log_gets_a_line_for_each_epoch(
    people: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    train.main(flags(people, tmp_path / "run", epochs=2))
    said = capsys.readouterr()
    assert "\r" not in said.err
    assert "epoch" not in said.err
    lines = [text for text in said.out.splitlines() if text.startswith("epoch")]
    assert len(lines) == 2
    terms = r"\(circle \d+\.\d\d(, \w+ \d+\.\d\d)+\)"
    assert re.fullmatch(rf"epoch 2: loss .*, mAP .*, rank-1 .*, \d+:\d\d.* {terms}", lines[1])


def test_the_end_says_what_came_of_it_and_what_is_next(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    row = {"mAP": 0.5, "rank-1": 0.75}
    (tmp_path / "metrics.json").write_text(json.dumps({"untrained": row, "trained": row}))
    train.print_end(tmp_path, PRESETS["synthetic"], 312.4)
    *table, time, report, own = capsys.readouterr().out.splitlines()
    assert [text.split()[0] for text in table] == ["mAP", "untrained", "trained"]
    assert time == f"took 05:12; everything is in {tmp_path}"
    assert report == f"next: open {tmp_path / 'report.html'}"
    assert (ROOT / own.split()[-1]).is_file()


@pytest.fixture
def _offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no network and an empty cache."""

    def fail(*_: object, **__: object) -> None:
        raise URLError("no such host")

    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    monkeypatch.setattr(torch.hub, "urlopen", fail)


@pytest.mark.usefixtures("_offline")
@pytest.mark.parametrize("name", [*NETWORKS, "torchvision:resnet18"])
def test_pretrained_weights_without_a_network(name: str) -> None:
    config = MDPRConfig(backbone=name, weights="pretrained")
    wanted: tuple[type[Exception], str] = (ConnectionError, "cannot download https://.*put it at")
    if name == "small_resnet":
        wanted = (ValueError, "nobody has published weights for the backbone small_resnet")
    with pytest.raises(wanted[0], match=wanted[1]):
        build.build_backbone(config)
    build.build_backbone(config, pretrained=False)  # as where a run is resumed: none are needed


@pytest.mark.usefixtures("_offline")
def test_the_script_ends_with_the_message(
    people: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    asked = ["--weights", "pretrained", "--backbone", "resnet18_ibn"]
    monkeypatch.setattr(sys, "argv", ["train.py", *flags(people, tmp_path / "run", 1), *asked])
    with pytest.raises(SystemExit) as ended:
        run_script(train.main)
    assert ended.value.code == 2
    assert 'train.py: error: resnet with weights="imagenet" cannot' in capsys.readouterr().err
    assert not (tmp_path / "run").exists()


def test_a_run_on_pretrained_weights(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(torch.hub, "_hub_dir", None)
    published = resnet(18, ibn=True).state_dict()
    buffer = io.BytesIO()
    torch.save({key.partition(".")[2]: value for key, value in published.items()}, buffer)
    file = tmp_path / f"ibn-{hashlib.sha256(buffer.getvalue()).hexdigest()[:8]}.pth"
    file.write_bytes(buffer.getvalue())
    monkeypatch.setitem(downloads.IBN_NET, 18, file.as_uri())
    config = MDPRConfig(backbone="resnet18_ibn", weights="pretrained", ceil_pool=True)
    torch.testing.assert_close(build.build_backbone(config).state_dict(), published)


def test_timms_weights_are_asked_of_timm(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    monkeypatch.setattr(
        networks, "timm_backbone", lambda *name, **options: asked.append((*name, options))
    )
    networks.build_network("timm:resnet18", pretrained=True)
    assert asked == [("resnet18", {"pretrained": True})]
