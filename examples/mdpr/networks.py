"""The backbones that a configuration can name."""

import difflib
import functools
import importlib.util
from collections.abc import Callable
from typing import Any

from torch import nn
from torchvision import models
from torchvision.models.resnet import BasicBlock

from reidblocks.backbones import (
    StagedBackbone,
    mobilenet_v2,
    resnet,
    timm_backbone,
    torchvision_backbone,
)


def small_resnet(width: int = 32) -> StagedBackbone:
    """Build a ResNet-18 of half the usual width: a quarter of the operations, for two CPU cores.

    It shows how any network's stages become a backbone: stem, stage4, stage5 and their channels.
    """

    def stage(inputs: int, outputs: int, stride: int) -> nn.Sequential:
        shortcut = nn.Sequential(
            nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs)
        )
        return nn.Sequential(
            BasicBlock(inputs, outputs, stride, shortcut), BasicBlock(outputs, outputs)
        )

    stem = nn.Sequential(
        nn.Conv2d(3, width, 7, 2, 3, bias=False),
        nn.BatchNorm2d(width),
        nn.ReLU(),
        nn.MaxPool2d(3, 2, 1),
        stage(width, width, 1),
        stage(width, 2 * width, 2),
    )
    return StagedBackbone(
        stem,
        stage(2 * width, 4 * width, 2),
        stage(4 * width, 8 * width, 1),
        stage4_channels=4 * width,
        stage5_channels=8 * width,
    )


NETWORKS: dict[str, Callable[..., StagedBackbone]] = {
    **{f"resnet{depth}": functools.partial(resnet, depth) for depth in (18, 34, 50, 101)},
    **{
        f"resnet{depth}_ibn": functools.partial(resnet, depth, ibn=True)
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
        build = torchvision_backbone if source == "torchvision" else timm_backbone
        return build(network, pretrained=pretrained)
    if pretrained and name == "small_resnet":
        raise ValueError(
            "nobody has published weights for the backbone small_resnet: leave out --weights "
            "pretrained, or choose another --backbone, such as resnet18_ibn"
        )
    options = {"ceil_pool": ceil_pool, "pretrained": pretrained}
    return NETWORKS[name](**{option: True for option, asked in options.items() if asked})


def check_name(name: str) -> None:
    """Refuse a name that nothing answers to, and say which come near."""
    source, colon, network = name.rpartition(":")
    if source == "torchvision":
        known = models.list_models(module=models)
    elif source == "timm":
        if importlib.util.find_spec("timm") is None:
            raise ValueError(f"the backbone {name} needs timm: pip install timm")
        timm: Any = importlib.import_module("timm")
        known = [network] if timm.is_model(network) else timm.list_models()
    elif not source:
        known = list(NETWORKS)
    else:
        raise ValueError(f"a backbone is NAME, torchvision:NAME or timm:NAME, got {name}")
    if network not in known:
        near = [source + colon + other for other in difflib.get_close_matches(network, known)]
        hint = f"; near it: {', '.join(near)}" if near else ""
        raise ValueError(f"no backbone is called {name}{hint}")
