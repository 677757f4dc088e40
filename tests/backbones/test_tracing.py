"""torch.fx traces every backbone of ours and torchvision's: feature extraction, quantization."""

from collections.abc import Callable

import pytest
import torch
from torchvision.models.feature_extraction import create_feature_extractor

from reidblocks.backbones import (
    StagedBackbone,
    mobilenet_v2,
    resnet,
    timm_backbone,
    torchvision_backbone,
)

BACKBONES: dict[str, Callable[[], StagedBackbone]] = {
    "resnet": lambda: resnet(18),
    "resnet with IBN": lambda: resnet(18, ibn=True, ceil_pool=True),
    "mobilenet_v2": mobilenet_v2,
    "regnet": lambda: torchvision_backbone("regnet_y_400mf"),
    "swin": lambda: torchvision_backbone("swin_t"),
    "timm": lambda: timm_backbone("resnet18"),  # its transformers look at shapes, and cannot be
}


@pytest.mark.parametrize("name", BACKBONES)
def test_a_backbone_is_traced_and_taken_apart(name: str) -> None:
    if name == "timm":
        pytest.importorskip("timm", reason="needs timm (extra timm)")
    backbone, images = BACKBONES[name]().eval(), torch.rand(2, 3, 64, 32)
    with torch.no_grad():
        expected = backbone(images)
        traced = torch.fx.symbolic_trace(backbone)(images)
        parts = create_feature_extractor(backbone, ["stage4", "stage5"])(images)
    torch.testing.assert_close(traced, expected)
    torch.testing.assert_close((parts["stage4"], parts["stage5"]), tuple(expected))
