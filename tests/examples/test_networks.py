"""Backbones by name: torchvision's and timm's in a run, and names that nothing answers to."""

import dataclasses
import importlib.util
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import evaluate
import train
from build import build_backbone, load_checkpoint
from commands import parse
from config import MDPRConfig, from_dict
from networks import NETWORKS, build_network
from reidblocks.data import synthetic_people


@pytest.mark.parametrize("name", NETWORKS)
def test_our_own_have_the_stride_that_the_configuration_counts_with(name: str) -> None:
    with torch.no_grad():
        maps = build_network(name).eval()(torch.zeros(1, 3, 40, 32)).c5
    assert maps.shape[2] == -(-40 // 16)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("resnet5", "no backbone is called resnet5; near it: resnet50"),
        ("zzzzz", "no backbone is called zzzzz$"),
        ("torchvision:mobilenet_v3_smal", "near it: torchvision:mobilenet_v3_small"),
        ("torchvision:", "no backbone is called torchvision:"),
        ("torchvison:resnet18", "NAME, torchvision:NAME or timm:NAME, got torchvison:resnet18"),
    ],
)
def test_an_unknown_name_is_refused_with_those_near_it(
    name: str, message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(ValueError, match=message):
        MDPRConfig(backbone=name)
    with pytest.raises(SystemExit):
        parse(["--backbone", name])
    assert name in capsys.readouterr().err


def test_an_unknown_name_of_timm() -> None:
    pytest.importorskip("timm", reason="needs timm (extra timm)")
    with pytest.raises(ValueError, match="called timm:resnet5o; near it: timm:resnet50"):
        MDPRConfig(backbone="timm:resnet5o")
    MDPRConfig(backbone="timm:resnet50.a1_in1k")  # with the name of its weights


def test_timm_is_asked_for_where_it_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="timm:resnet50 needs timm: pip install timm"):
        MDPRConfig(backbone="timm:resnet50")


def test_the_last_map_is_measured() -> None:
    pytest.importorskip("timm", reason="needs timm (extra timm)")
    config = MDPRConfig(backbone="timm:vit_small_patch32_224", height=96, width=64, num_parts=3)
    assert build_backbone(config)(torch.zeros(1, 3, 96, 64)).c5.shape[2] == 3
    with pytest.raises(
        ValueError, match=r"divide the 3 rows of the last map of timm:vit.*96, got 2"
    ):
        build_backbone(dataclasses.replace(config, num_parts=2))


def test_a_fusion_of_maps_of_two_sizes_is_refused() -> None:
    config = MDPRConfig(backbone="torchvision:swin_t", height=128, width=64)
    with pytest.raises(ValueError, match=r"maps of \(8, 4\) and \(4, 2\), and the fusion needs"):
        build_backbone(config)
    build_backbone(dataclasses.replace(config, fusion=False))


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
