"""StagedBackbone: what it holds, what it measures, what it refuses."""

import copy
from collections import OrderedDict

import pytest
import torch
from torch import nn
from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2

from reidblocks.backbones import StagedBackbone, StageFeatures, load_backbone_weights


def convolutions() -> tuple[nn.Module, nn.Module, nn.Module]:
    stage4 = nn.Sequential(nn.Conv2d(6, 10, 3, stride=2, padding=1), nn.BatchNorm2d(10))
    return nn.Conv2d(3, 6, 3, stride=2, padding=1), stage4, nn.Conv2d(10, 14, 1)


def test_the_features_are_the_stages_applied_one_after_another() -> None:
    stem, stage4, stage5 = convolutions()
    backbone = StagedBackbone(stem, stage4, stage5, stage4_channels=10, stage5_channels=14).eval()
    images = torch.rand(2, 3, 30, 14)
    features = backbone(images)
    assert isinstance(features, StageFeatures)
    torch.testing.assert_close(features.c4, stage4(stem(images)))
    torch.testing.assert_close(features.c5, stage5(stage4(stem(images))))


def test_copied_stages_are_a_branch_of_their_own_with_equal_weights() -> None:
    backbone = StagedBackbone.measured(*convolutions())
    twin = copy.deepcopy(nn.Sequential(backbone.stage4, backbone.stage5))
    shared = backbone.stem(torch.rand(2, 3, 32, 16))
    maps = backbone.stage5(backbone.stage4(shared))
    torch.testing.assert_close(twin(shared), maps)
    maps.sum().backward()
    assert all(weight.grad is None for weight in twin.parameters())


def test_measured_takes_another_networks_stages() -> None:
    layers = torchvision_mobilenet_v2().features
    backbone = StagedBackbone.measured(layers[:7], layers[7:14], layers[14:], image_size=(64, 32))
    assert (backbone.stage4_channels, backbone.stage5_channels) == (96, 1280)
    features = backbone(torch.rand(2, 3, 64, 32))
    assert features.c4.shape == (2, 96, 4, 2)
    assert features.c5.shape == (2, 1280, 2, 1)


def test_measuring_leaves_modes_and_statistics_as_they_were() -> None:
    stem, stage4, stage5 = convolutions()
    stem.eval()
    before = copy.deepcopy(stage4.state_dict())
    StagedBackbone.measured(stem, stage4, stage5)
    assert not stem.training
    assert all(module.training for module in [*stage4.modules(), stage5])
    torch.testing.assert_close(stage4.state_dict(), before)


def test_modes_are_restored_when_measuring_fails() -> None:
    stem, stage4, _ = convolutions()
    with pytest.raises(RuntimeError):
        StagedBackbone.measured(stem, stage4, nn.Conv2d(99, 2, 1))
    assert stem.training
    assert stage4.training


def test_a_stage_that_returns_no_map_is_refused() -> None:
    stem, stage4, _ = convolutions()
    message = r"expects stage5 to return a map \(B, C, H, W\), got \(1, 10, 256\)"
    with pytest.raises(ValueError, match=message):
        StagedBackbone.measured(stem, stage4, nn.Flatten(2))


def test_errors_name_what_is_wrong() -> None:
    with pytest.raises(ValueError, match="StagedBackbone expects stage5_channels above 0, got 0"):
        StagedBackbone(*convolutions(), stage4_channels=1, stage5_channels=0)
    message = r"StagedBackbone expects images \(B, C, H, W\), got \(3, 32, 16\)"
    with pytest.raises(ValueError, match=message):
        StagedBackbone.measured(*convolutions())(torch.rand(3, 32, 16))


def test_the_repr_says_the_channels() -> None:
    assert "stage4_channels=10, stage5_channels=14" in repr(
        StagedBackbone.measured(*convolutions())
    )


class LightUnit(nn.Sequential):
    """OSNet's unit: a 1×1 convolution, then a depthwise 3×3."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(
            nn.Conv2d(inputs, outputs, 1, bias=False),
            nn.Conv2d(outputs, outputs, 3, padding=1, groups=outputs, bias=False),
            nn.BatchNorm2d(outputs),
            nn.ReLU(inplace=True),
        )


def osnet_like() -> OrderedDict[str, nn.Module]:
    """Layers named and strided as in OSNet: conv2 and conv3 end with a halving."""

    def unit(inputs: int, outputs: int, *last: nn.Module) -> nn.Sequential:
        return nn.Sequential(LightUnit(inputs, outputs), LightUnit(outputs, outputs), *last)

    return OrderedDict(
        conv1=nn.Sequential(nn.Conv2d(3, 8, 7, stride=2, padding=3), nn.BatchNorm2d(8)),
        maxpool=nn.MaxPool2d(3, stride=2, padding=1),
        conv2=unit(8, 16, nn.AvgPool2d(2)),
        conv3=unit(16, 24, nn.AvgPool2d(2)),
        conv4=unit(24, 32),
        conv5=nn.Conv2d(32, 32, 1),
    )


def test_an_osnet_like_network_by_hand_and_its_checkpoint() -> None:
    def part(layers: dict[str, nn.Module], *names: str) -> nn.Sequential:
        return nn.Sequential(OrderedDict((name, layers[name]) for name in names))

    layers, trained = osnet_like(), nn.Sequential(osnet_like()).eval()
    backbone = StagedBackbone.measured(
        part(layers, "conv1", "maxpool", "conv2"),
        part(layers, "conv3"),
        part(layers, "conv4", "conv5"),
    ).eval()
    saved = {f"module.{name}": weight for name, weight in trained.state_dict().items()}
    assert load_backbone_weights(backbone, {"state_dict": saved}).complete
    images = torch.rand(2, 3, 64, 32)
    features = backbone(images)
    assert features.c4.shape == (2, 24, 4, 2)
    torch.testing.assert_close(features.c5, trained(images))
