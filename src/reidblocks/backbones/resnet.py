"""torchvision's ResNets as staged backbones, with IBN-a and the last stride to choose."""

from collections import OrderedDict

from torch import nn
from torchvision.models import resnet as torchvision_resnet

from reidblocks.backbones._ibn import IBN
from reidblocks.backbones.downloads import (
    IBN_NET,
    Weights,
    expect_weights,
    load_from_url,
    torchvision_url,
)
from reidblocks.backbones.staged import StagedBackbone, set_last_stride

_BUILDERS = {
    18: torchvision_resnet.resnet18,
    34: torchvision_resnet.resnet34,
    50: torchvision_resnet.resnet50,
    101: torchvision_resnet.resnet101,
}


def resnet(
    depth: int,
    *,
    ibn: bool = False,
    last_stride: int = 1,
    ceil_pool: bool = False,
    weights: Weights | None = None,
) -> StagedBackbone:
    """Build a ResNet, with torchvision's random weights or pretrained on ImageNet.

    The stages hold torchvision's own layers under their own names (`stage4.layer3.0.conv1.weight`),
    so a checkpoint's key is the backbone's without its first word.

    Args:
        depth: 18, 34, 50 or 101.
        ibn: IBN-a, as the paper's backbone: the first norm of each block of res-conv2..4 is
            half instance norm, half batch norm.
        last_stride: 1 keeps res-conv5 as large as res-conv4, as in the paper; 2 is torchvision's.
        ceil_pool: max-pool after the first convolution as fast-reid does, and with it the released
            MDPR: no padding and a size rounded up, which moves the map by a pixel. For weights
            trained that way; False is torchvision's, IBN-Net's and LUPerson's.
        weights: "imagenet" starts from weights trained on ImageNet: those of IBN-Net's release
            with ibn, torchvision's IMAGENET1K_V1 without. They are downloaded once into torch's
            cache (TORCH_HOME) and checked by their hash. For a file: `load_backbone_weights`.

    Shape:
        (B, 3, H, W) → maps of H/16 × W/16, rounded up (ceil_pool gives one less where H/2 rounded
        up is odd); 256 and 512 channels at depth 18 and 34, 1024 and 2048 at 50 and 101.

    Raises:
        ValueError: the depth, the last stride or weights is none of these, or the file of weights
            is not the one that was published.
        ConnectionError: the weights are neither in the cache nor can be downloaded.

    Source: He et al., arXiv 1512.03385; Pan et al., IBN-Net, arXiv 1807.09441; last stride 1: Sun
    et al., arXiv 1711.09349.

    >>> import torch
    >>> backbone = resnet(18, ibn=True)
    >>> features = backbone(torch.rand(2, 3, 64, 32))
    >>> features.c4.shape, features.c5.shape
    (torch.Size([2, 256, 4, 2]), torch.Size([2, 512, 4, 2]))
    """
    if depth not in _BUILDERS:
        raise ValueError(f"resnet expects depth 18, 34, 50 or 101, got {depth}")
    expect_weights("resnet", weights)
    net = _BUILDERS[depth]()
    if ibn:
        for layer in (net.layer1, net.layer2, net.layer3):
            for block in layer:
                block.bn1 = IBN(block.bn1.num_features)
    if ceil_pool:
        net.maxpool = nn.MaxPool2d(3, stride=2, ceil_mode=True)
    set_last_stride("resnet", net.layer4, last_stride)

    def part(*names: str) -> nn.Sequential:
        return nn.Sequential(OrderedDict((name, getattr(net, name)) for name in names))

    backbone = StagedBackbone(
        part("conv1", "bn1", "relu", "maxpool", "layer1", "layer2"),
        part("layer3"),
        part("layer4"),
        stage4_channels=net.fc.in_features // 2,
        stage5_channels=net.fc.in_features,
    )
    if weights:
        url = IBN_NET[depth] if ibn else torchvision_url(f"resnet{depth}", "IMAGENET1K_V1")
        load_from_url("resnet", backbone, url)
    return backbone
