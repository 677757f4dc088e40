"""torchvision's MobileNetV2 as a staged backbone."""

from torchvision.models import mobilenet_v2 as torchvision_mobilenet_v2

from reidblocks.backbones.downloads import Weights, expect_weights, load_from_url, torchvision_url
from reidblocks.backbones.staged import StagedBackbone, set_last_stride


def mobilenet_v2(*, last_stride: int = 1, weights: Weights | None = None) -> StagedBackbone:
    """Build a MobileNetV2, with torchvision's random weights or pretrained on ImageNet.

    A backbone small enough to train on a processor. The stages hold torchvision's own layers under
    their own numbers (`stage4.7.conv.0.0.weight`).

    Args:
        last_stride: 1 keeps stage5 as large as stage4; 2 is torchvision's.
        weights: "imagenet" starts from torchvision's IMAGENET1K_V1, as in `resnet`.

    Shape:
        (B, 3, H, W) → (B, 96, H/16, W/16), (B, 1280, H/16, W/16), sizes rounded up

    Raises:
        ValueError, ConnectionError: the last stride is neither 1 nor 2; as `resnet`.

    Source: Sandler et al., arXiv 1801.04381.

    >>> import torch
    >>> features = mobilenet_v2()(torch.rand(2, 3, 64, 32))
    >>> features.c4.shape, features.c5.shape
    (torch.Size([2, 96, 4, 2]), torch.Size([2, 1280, 4, 2]))
    """
    expect_weights("mobilenet_v2", weights)
    layers = torchvision_mobilenet_v2().features
    stem, stage4, stage5 = layers[:7], layers[7:14], layers[14:]  # a slice keeps its numbers
    set_last_stride("mobilenet_v2", stage5, last_stride)
    backbone = StagedBackbone(stem, stage4, stage5, stage4_channels=96, stage5_channels=1280)
    if weights:
        load_from_url("mobilenet_v2", backbone, torchvision_url("mobilenet_v2", "IMAGENET1K_V1"))
    return backbone
