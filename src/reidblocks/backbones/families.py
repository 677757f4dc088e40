"""torchvision's and timm's networks by name, as staged backbones."""

import difflib
import importlib
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import nn
from torchvision import models

from reidblocks._modes import eval_mode
from reidblocks.backbones.cut import cut_where_halved
from reidblocks.backbones.downloads import (
    Weights,
    expect_weights,
    load_from_url,
    offline,
    torchvision_url,
)
from reidblocks.backbones.staged import StagedBackbone
from reidblocks.backbones.tokens import cut_transformer

_SEQUENCES = (  # torchvision's classes whose forward is their children, one after another
    models.ConvNeXt,
    models.EfficientNet,
    models.MobileNetV2,
    models.MobileNetV3,
    models.RegNet,
    models.ResNet,
    models.SwinTransformer,
)


def torchvision_backbone(
    name: str, *, last_stride: int = 1, weights: Weights | None = None
) -> StagedBackbone:
    """Build a torchvision network by name and split it at 1/16 and 1/32 of the image size.

    ConvNeXt, EfficientNet, MobileNetV2 and V3, RegNet, ResNet, ResNeXt and Swin, in all their
    sizes. stage5 ends with the network's last map, before pooling. `load_backbone_weights` reads
    the weights that torchvision has for it.

    Args:
        name: as `torchvision.models.get_model` knows it.
        last_stride: 1 keeps stage5 as large as stage4 where convolutions halve the map; Swin
            keeps its stride. 2 is torchvision's.
        weights: "imagenet" starts from torchvision's best weights, downloaded once into torch's
            cache (TORCH_HOME) and checked by their hash.

    Raises:
        ValueError: no network has this name (those near it are named), it is of a family that
            cannot be cut by itself, weights is neither, or the file of weights is not the one
            that was published.
        ConnectionError: the weights are neither in the cache nor can be downloaded.

    >>> backbone = torchvision_backbone("mobilenet_v3_small")
    >>> backbone.stage4_channels, backbone.stage5_channels
    (48, 576)
    """
    expect_weights("torchvision_backbone", weights)
    known = models.list_models(module=models)
    if name.lower() not in known:  # get_model's own spelling
        raise _unknown("torchvision_backbone", "of torchvision's classifiers", name, known)
    network: Any = models.get_model(name)
    if not isinstance(network, _SEQUENCES):
        raise ValueError(
            f"torchvision_backbone cuts {', '.join(c.__name__ for c in _SEQUENCES)}, and {name} "
            f"is a {type(network).__name__}: put its parts into a StagedBackbone by hand"
        )
    layers = dict(_children(network, {"features", "trunk_output"}))
    for head in ("avgpool", "permute", "flatten", "classifier", "head", "fc"):
        layers.pop(head, None)
    backbone = cut_where_halved(
        "torchvision_backbone",
        layers,
        last_stride=last_stride,
        channels_last=isinstance(network, models.SwinTransformer),
    )
    if weights:
        load_from_url("torchvision_backbone", backbone, torchvision_url(name))
    return backbone


def timm_backbone(name: str, *, last_stride: int = 1, pretrained: bool = False) -> StagedBackbone:
    """Build a timm network by name (needs `pip install timm`) and split it into stages.

    Networks whose layers run one after another are cut where the map reaches 1/16 and 1/32:
    ResNet, RegNet, EfficientNet, MobileNet, ConvNeXt, Swin and many more. Vision transformers
    (ViT, DeiT, DINOv2) are cut by their blocks, half of them in the stem; any image size works.
    stage5 ends with what timm's `forward_features` gives.

    Args:
        name: as `timm.create_model` knows it.
        last_stride: 1 keeps stage5 as large as stage4 where convolutions alone halve the map;
            others keep their stride. 2 is timm's. A vision transformer has no stride to change.
        pretrained: start from timm's weights, which timm downloads once, most of them into the
            cache of the Hugging Face Hub (HF_HOME).

    Raises:
        ImportError: timm is not installed.
        ValueError: timm knows no network of this name (those near it are named), or no weights
            for it; its layers do not run one after another, or only on images of one size.
        ConnectionError: pretrained weights are neither in the cache nor can be downloaded.
    """
    try:
        timm: Any = importlib.import_module("timm")
    except ImportError as error:
        raise ImportError("timm_backbone needs timm: pip install timm") from error
    try:
        with torch.device("meta"):  # to look at, before it costs anything
            family = type(timm.create_model(name))
    except RuntimeError as error:
        known = [*timm.list_models(), *timm.list_pretrained()]
        if name in known:
            raise
        raise _unknown("timm_backbone", "of timm's networks", name, known) from error
    any_size = {
        timm.models.VisionTransformer: {"dynamic_img_size": True, "dynamic_img_pad": True},
        timm.models.SwinTransformer: {"strict_img_size": False},
        timm.models.SwinTransformerV2: {"strict_img_size": False},
    }
    try:
        network = timm.create_model(name, pretrained=pretrained, **any_size.get(family, {}))
    except OSError as error:
        remedy = "Copy the cache of a machine that has it, the folder HF_HOME"
        raise offline(
            "timm_backbone with pretrained=True", f"timm's {name}", error, remedy
        ) from error
    except RuntimeError as error:
        if "No pretrained weights" not in str(error):
            raise
        raise ValueError(
            f"timm_backbone with pretrained=True: timm has no weights for {name}"
        ) from error
    if family is timm.models.VisionTransformer:
        return cut_transformer(network)
    return cut_where_halved(
        "timm_backbone",
        _layers_up_to_features(name, network),
        last_stride=last_stride,
        channels_last=getattr(network, "output_fmt", "NCHW") == "NHWC",
    )


def _unknown(caller: str, wanted: str, name: str, known: Sequence[str]) -> ValueError:
    """Say that no network has this name, and which come near."""
    near = ", ".join(difflib.get_close_matches(name.lower(), known))
    return ValueError(
        f"{caller} expects the name of one {wanted}, got {name!r}"
        f"{f'; near it: {near}' if near else ''}"
    )


def _children(network: nn.Module, containers: set[str]) -> Iterator[tuple[str, nn.Module]]:
    """Yield a network's children by name, and in place of each container the children of it."""
    for name, child in network.named_children():
        if name in containers:
            yield from ((f"{name}.{inner}", layer) for inner, layer in child.named_children())
        else:
            yield name, child


def _layers_up_to_features(name: str, network: Any) -> dict[str, nn.Module]:
    """Take a timm network's layers, as far as they give what its forward_features gives."""
    modules = [info["module"].partition(".") for info in network.feature_info]
    containers = {head for head, _, inner in modules if inner}
    layers: dict[str, nn.Module] = {}
    fitting: dict[str, nn.Module] = {}
    reason: Exception | None = None
    with eval_mode(network), torch.no_grad():
        maps = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
        try:
            features = network.forward_features(maps)
            for key, layer in _children(network, containers):
                maps, layers[key] = layer(maps), layer
                if maps.shape == features.shape and torch.allclose(maps, features, atol=1e-5):
                    fitting = dict(layers)  # and go on: a fresh block may add nothing at all
        except Exception as error:  # a layer fails in its own way on what another should get
            reason = error
    if not fitting:
        raise ValueError(
            "timm_backbone cuts networks whose layers run one after another on images of any size, "
            f"and {name} ({type(network).__name__}) is none: put its parts into a StagedBackbone "
            "by hand"
        ) from reason
    return fitting
