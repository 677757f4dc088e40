"""The backbones that a configuration can name."""

import difflib
import functools
from collections.abc import Callable

from torch import nn
from torchvision.models.resnet import BasicBlock

from reidblocks.backbones import (
    StagedBackbone,
    mobilenet_v2,
    resnet,
    timm_backbone,
    torchvision_backbone,
)


def small_resnet(width: int = 32) -> StagedBackbone:
    """Build a ResNet for two CPU cores, whose last maps, an eighth of the image, see 163 pixels.

    It shows how the stages of any network become a backbone.
    """

    def stage(inputs: int, outputs: int, stride: int, blocks: int = 2) -> nn.Sequential:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
        more = (BasicBlock(outputs, outputs) for _ in range(blocks - 1))
        return nn.Sequential(BasicBlock(inputs, outputs, stride, shortcut), *more)

    stem = nn.Sequential(
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        stage(width, width, 1),
        stage(width, 2 * width, 2),
    )
    stage4, stage5 = stage(2 * width, 3 * width, 1, 1), stage(3 * width, 4 * width, 1, 1)
    return StagedBackbone.measured(stem, stage4, stage5)


NETWORKS: dict[str, Callable[..., StagedBackbone]] = {
    **{
        f"resnet{depth}{'_ibn' if ibn else ''}": functools.partial(resnet, depth, ibn=ibn)
        for ibn in (False, True)
        for depth in (18, 34, 50, 101)
    },
    "mobilenet_v2": mobilenet_v2,
    "small_resnet": small_resnet,
}


def build_network(
    name: str, *, ceil_pool: bool = False, pretrained: bool = False
) -> StagedBackbone:
    """Build one of ``NETWORKS``, torchvision:NAME or timm:NAME, at random weights or trained."""
    source, _, network = name.rpartition(":")
    if source:
        if source == "timm":
            return timm_backbone(network, pretrained=pretrained)
        return torchvision_backbone(network, weights="imagenet" if pretrained else None)
    if pretrained and name == "small_resnet":
        raise ValueError(
            "nobody has published weights for the backbone small_resnet: leave out --weights "
            "pretrained, or choose another --backbone, such as resnet18_ibn"
        )
    options = {"ceil_pool": ceil_pool, "weights": pretrained and "imagenet"}
    return NETWORKS[name](**{option: value for option, value in options.items() if value})


def check_name(name: str) -> None:
    """Refuse a name that is none of ours; torchvision and timm are asked when it is built."""
    source, colon, _ = name.rpartition(":")
    if source not in ("", "torchvision", "timm"):
        raise ValueError(f"a backbone is NAME, torchvision:NAME or timm:NAME, got {name}")
    if not colon and name not in NETWORKS:
        near = ", ".join(difflib.get_close_matches(name, NETWORKS))
        raise ValueError(f"no backbone is called {name}{near and f'; near it: {near}'}")
