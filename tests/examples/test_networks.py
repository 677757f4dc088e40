"""Backbones by name: torchvision's and timm's in a run, and names that nothing answers to."""

import dataclasses
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import evaluate
import train
from build import build_backbone, build_model, load_checkpoint
from commands import parse
from config import MDPRConfig, from_dict
from reidblocks.data import synthetic_people


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "no backbone is called resnet5; near it: resnet50"),
        ("zzzzz", "no backbone is called zzzzz$"),
        ("torchvison:resnet18", "NAME, torchvision:NAME or timm:NAME, got torchvison:resnet18"),
    ],
)
def test_an_unknown_name_is_refused_with_those_near_it(name: str, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        MDPRConfig(backbone=name)
    with pytest.raises(ValueError, match=message):
        parse(["--backbone", name])


@pytest.mark.parametrize(
    ("name", "near"),
    [("torchvision:mobilenet_v3_smal", "mobilenet_v3_small"), ("timm:resnet5o", "resnet50")],
)
def test_an_unknown_name_of_another_library(name: str, near: str) -> None:
    source, _, network = name.partition(":")
    pytest.importorskip(source, reason="needs timm (extra timm)")
    with pytest.raises(ValueError, match=f"got '{network}'; near it: {near}"):
        build_backbone(MDPRConfig(backbone=name))


def test_timm_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "timm", None)
    with pytest.raises(ImportError, match="needs timm: pip install timm"):
        build_backbone(MDPRConfig(backbone="timm:resnet50"))


def test_the_last_map_is_measured() -> None:
    pytest.importorskip("timm", reason="needs timm (extra timm)")
    config = MDPRConfig(
        backbone="timm:vit_small_patch32_224", height=96, width=64, num_parts=3, embed_dim=8
    )
    assert build_backbone(config)(torch.zeros(1, 3, 96, 64)).c5.shape[2] == 3
    with pytest.raises(ValueError, match=r"^timm:vit.*96×64 .* 2 stripes divide .* 3, 2\)"):
        build_model(dataclasses.replace(config, num_parts=2))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_parts": 5}, r"^resnet18 on images of 384×192 .*5 stripes divide .* 24, 12\)"),
        ({"network": "mgn", "height": 96}, r"4 stripes divide .* 6, 12\)"),
    ],
)
def test_stripes_must_divide_the_rows(settings: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        build_model(MDPRConfig(backbone="resnet18", **settings))
    if "network" not in settings:  # also where no stripe is searched with: they are trained
        with pytest.raises(ValueError, match=message):
            build_model(MDPRConfig(backbone="resnet18", features=("soft",), **settings))
    for uncut in ({"network": "bnneck"}, {"branches": "soft"}):
        build_model(MDPRConfig(backbone="resnet18", height=48, **uncut))  # 3 rows, no stripes


def test_a_fusion_of_maps_of_two_sizes_is_refused() -> None:
    config = MDPRConfig(backbone="torchvision:swin_t", height=128, width=64, embed_dim=8)
    with pytest.raises(ValueError, match=r"swin_t on images of 128×64 .*no-fusion.*8, 4.*4, 2"):
        build_model(config)
    build_model(dataclasses.replace(config, fusion=False))


@pytest.mark.parametrize("name", ["timm:mobilenetv3_small_050", "torchvision:mobilenet_v3_small"])
def test_a_run_on_weights_from_a_file(
    name: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, _, network = name.partition(":")
    if source == "timm":
        timm = pytest.importorskip("timm", reason="needs timm (extra timm)")
        save_file(timm.create_model(network).state_dict(), tmp_path / "weights")
    else:
        from torchvision.models import get_model

        torch.save(get_model(network).state_dict(), tmp_path / "weights")
    few = {"num_train_identities": 2, "num_test_identities": 2, "images_per_camera": 2}
    people = synthetic_people(tmp_path / "people", num_cameras=2, size=(32, 16), **few)
    flags = (
        f"--preset synthetic --dataset market1501 --data-root {people} --out {tmp_path / 'run'} "
        f"--backbone {name} --weights {tmp_path / 'weights'} --height 32 --width 16 --workers 0 "
        "--identities 2 --images 2 --embed-dim 4 --epochs 1"
    )
    train.main(flags.split())
    printed = capsys.readouterr().out
    assert "weights found at the top" in printed
    assert "missing in" not in printed

    (tmp_path / "weights").unlink()  # the run's own are in its checkpoint
    state = load_checkpoint(tmp_path / "run")
    assert from_dict(state["config"]).backbone == name
    evaluate.main([str(tmp_path / "run")])
    assert "mAP" in capsys.readouterr().out
