"""Cut a sequence of layers into a stem and two stages, where its map halves."""

from collections import OrderedDict
from collections.abc import Mapping

import torch
from torch import nn
from torchvision.ops import Permute

from reidblocks._modes import eval_mode
from reidblocks.backbones.staged import StagedBackbone

_SIZE = 128  # of the image that is run to find the cuts: 8 and 4 are its 16th and 32nd


def cut_where_halved(
    caller: str, layers: Mapping[str, nn.Module], *, last_stride: int, channels_last: bool = False
) -> StagedBackbone:
    """Cut ``layers``, run one after another, before those that reach a 16th and a 32nd in size.

    Args:
        layers: by their names in the network, dots included; the stages keep the names, so that
            the network's checkpoints fit.
        last_stride: 1 takes the stride from stage5's convolutions if that keeps the map's size.
        channels_last: the layers pass (B, H, W, C); the stages still return (B, C, H, W).
    """
    if last_stride not in (1, 2):
        raise ValueError(f"{caller} expects last_stride 1 or 2, got {last_stride}")
    names = list(layers)
    heights = _heights(layers, dim=1 if channels_last else 2)
    first, second = (
        next((i for i, height in enumerate(heights) if height <= _SIZE // n), 0) for n in (16, 32)
    )
    if not 0 < first < second:
        raise ValueError(
            f"{caller} looks for layers that bring the map to a 16th and then to a 32nd of the "
            f"image, and found heights of {heights} for {_SIZE}: put the parts into a "
            "StagedBackbone by hand"
        )
    stem, stage4, stage5 = (
        _nest({name: layers[name] for name in part})
        for part in (names[:first], names[first:second], names[second:])
    )
    if channels_last:
        from_map, to_maps = Permute([0, 2, 3, 1]), [Permute([0, 3, 1, 2]) for _ in range(2)]
        stage4 = nn.Sequential(
            OrderedDict([*stage4.named_children(), ("to_map", to_maps[0])])  # one name each
        )
        stage5 = nn.Sequential(
            OrderedDict([("from_map", from_map), *stage5.named_children(), ("to_map", to_maps[1])])
        )
    backbone = StagedBackbone.measured(stem, stage4, stage5, image_size=(_SIZE, _SIZE))
    if last_stride == 1:
        _keep_size_if_possible(backbone)
    return backbone


def _heights(layers: Mapping[str, nn.Module], dim: int) -> list[int]:
    """Run a black image through the layers and note the height after each."""
    heights, maps = [], torch.zeros(1, 3, _SIZE, _SIZE)
    with eval_mode(*layers.values()), torch.no_grad():
        for layer in layers.values():
            maps = layer(maps)
            heights.append(maps.shape[dim])
    return heights


def _nest(layers: Mapping[str, nn.Module]) -> nn.Sequential:
    """Make a Sequential whose keys are the layers' dotted names: `a.b` is layer b of a in it."""
    groups: dict[str, dict[str, nn.Module]] = {}
    for name, layer in layers.items():
        head, _, rest = name.partition(".")
        groups.setdefault(head, {})[rest] = layer
    return nn.Sequential(
        OrderedDict(
            (head, group[""] if "" in group else _nest(group)) for head, group in groups.items()
        )
    )


def _keep_size_if_possible(backbone: StagedBackbone) -> None:
    """Take the stride from stage5's convolutions, or leave it where more than they halve the map.

    Patch merging (Swin) is no convolution, and a shortcut that pools (ResNet-D) would no longer
    fit its block. A 2×2 convolution (ConvNeXt) is padded below and to the right: at every other
    place it still gives what it gave with its stride.
    """
    strided = [
        module
        for module in backbone.stage5.modules()
        if isinstance(module, nn.Conv2d) and module.stride == (2, 2)
    ]
    paddings = [convolution.padding for convolution in strided]
    for convolution in strided:
        convolution.stride = (1, 1)
        if convolution.kernel_size == (2, 2):
            convolution.padding = "same"
    with eval_mode(backbone), torch.no_grad():
        try:
            map4, map5 = backbone(torch.zeros(1, 3, _SIZE, _SIZE))
            kept = map4.shape[2:] == map5.shape[2:]
        except RuntimeError:  # a shortcut no longer fits
            kept = False
    if not kept:
        for convolution, padding in zip(strided, paddings, strict=True):
            convolution.stride, convolution.padding = (2, 2), padding
