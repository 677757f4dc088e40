"""OSNet, whole and as a staged backbone, under the names of torchreid's checkpoints."""

from collections import OrderedDict
from collections.abc import Iterator

import torch
from torch import Tensor, nn

from reidblocks._checks import expect_shape
from reidblocks.backbones.staged import StagedBackbone

_CHANNELS = {1.0: (64, 256, 384, 512), 0.75: (48, 192, 288, 384)}  # by width
_CHANNELS |= {0.5: (32, 128, 192, 256), 0.25: (16, 64, 96, 128)}
_EMBED_DIM = 512
# Which blocks of conv2, conv3 and conv4 normalize by instance: IBN's after the shortcut is
# added, those that AIN's search found before it.
_IBN_BLOCKS = ((True, True), (False, False), (False, False))
_AIN_BLOCKS = ((True, True), (False, True), (True, False))


class OSNet(nn.Module):
    """Embed people with omni-scale features: four streams per block, weighted by a shared gate.

    The names in its state_dict are torchreid's, so that a checkpoint of torchreid's, without its
    classifier, loads completely: `reidblocks.deploy.load_embedder` does it. `osnet` gives the same
    layers as a staged backbone.

    Args:
        width: 1.0, 0.75, 0.5 or 0.25: the fraction of the channels that it keeps.
        ibn: instance norms in its first layer and the blocks of conv2 (torchreid's
            ``osnet_ibn_…``).
        ain: instance norms where a search found them best for cameras never seen
            (``osnet_ain_…``).

    Shape:
        (B, 3, H, W) → (B, 512), any H and W of 16 or more; trained on 256×128

    Raises:
        ValueError: the width is none of these, both ibn and ain are asked for, or the images are
            not 4-dimensional.

    Source: Zhou et al., arXiv 1905.00953 (OSNet); arXiv 1910.06827 (AIN).

    >>> OSNet(0.25).eval()(torch.rand(2, 3, 64, 32)).shape
    torch.Size([2, 512])
    """

    def __init__(self, width: float = 1.0, *, ibn: bool = False, ain: bool = False) -> None:
        super().__init__()
        if width not in _CHANNELS:
            raise ValueError(f"OSNet expects width 1.0, 0.75, 0.5 or 0.25, got {width!r}")
        if ibn and ain:
            raise ValueError("OSNet expects ibn or ain, got both: they are two networks")
        first, second, third, fourth = _CHANNELS[width]
        plan = _AIN_BLOCKS if ain else _IBN_BLOCKS if ibn else ((False, False),) * 3
        self.conv1 = _unit(3, first, 7, norm=_instance(first) if ibn or ain else None)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.conv2, self.pool2 = _stage(first, second, plan[0], numbered=ain)
        self.conv3, self.pool3 = _stage(second, third, plan[1], numbered=ain)
        self.conv4, _ = _stage(third, fourth, plan[2], numbered=ain, halve=False)
        self.conv5 = _unit(fourth, fourth)
        self.fc = nn.Sequential(
            nn.Linear(fourth, _EMBED_DIM), nn.BatchNorm1d(_EMBED_DIM), nn.ReLU()
        )
        self.apply(_initialize)

    def forward(self, images: Tensor) -> Tensor:
        expect_shape("OSNet", "images", images, "B C H W")
        maps = self.maxpool(self.conv1(images))
        maps = self.pool3(self.conv3(self.pool2(self.conv2(maps))))
        pooled = self.conv5(self.conv4(maps)).mean((2, 3))
        embeddings: Tensor = self.fc(pooled)
        return embeddings


def osnet(width: float = 1.0, *, ibn: bool = False, ain: bool = False) -> StagedBackbone:
    """Build OSNet as a staged backbone, with torchreid's random initialization.

    The stages keep the names of torchreid (`stage4.conv3.0.conv1.conv.weight`), so that
    `load_backbone_weights` reads its checkpoints. Its map ends at 1/16: there is no last stride to
    remove.

    Args:
        width, ibn, ain: as in `OSNet`.

    Shape:
        (B, 3, H, W) → maps of H/16 × W/16: 384 and 512 channels at width 1.0

    Raises:
        ValueError: as `OSNet`.

    Source: as `OSNet`.

    >>> features = osnet(0.25)(torch.rand(2, 3, 64, 32))
    >>> features.c4.shape, features.c5.shape
    (torch.Size([2, 96, 4, 2]), torch.Size([2, 128, 4, 2]))
    """
    network = OSNet(width, ibn=ibn, ain=ain)

    def part(*names: str) -> nn.Sequential:
        return _named(**{name: getattr(network, name) for name in names})

    return StagedBackbone(
        part("conv1", "maxpool", "conv2", "pool2"),
        part("conv3", "pool3"),
        part("conv4", "conv5"),
        stage4_channels=_CHANNELS[width][2],
        stage5_channels=_CHANNELS[width][3],
    )


class _Block(nn.Module):
    """Streams of one to four light convolutions, which see 3, 5, 7 and 9 pixels, and a shortcut.

    Args:
        instance: normalize by instance.
        numbered: name the streams, and place the instance norm, as AIN does.
    """

    def __init__(self, before: int, after: int, instance: bool, *, numbered: bool) -> None:
        super().__init__()
        middle = after // 4
        self.conv1 = _unit(before, middle)
        chains = [[_light(middle) for _ in range(depth)] for depth in (1, 2, 3, 4)]
        if numbered:
            self.conv2 = nn.ModuleList(_named(layers=nn.Sequential(*chain)) for chain in chains)
        else:
            self.conv2a = chains[0][0]
            self.conv2b, self.conv2c, self.conv2d = (nn.Sequential(*chain) for chain in chains[1:])
        self.gate = _Gate(middle)
        self.numbered, self.inner = numbered, numbered and instance
        self.conv3 = _unit(middle, after, relu=False, bare=self.inner)
        self.downsample = _unit(before, after, relu=False) if before != after else nn.Identity()
        self.IN = _instance(after) if instance else nn.Identity()

    def _streams(self) -> Iterator[nn.Module]:
        if self.numbered:
            return iter(self.conv2)
        return iter((self.conv2a, self.conv2b, self.conv2c, self.conv2d))

    def forward(self, maps: Tensor) -> Tensor:
        reduced = self.conv1(maps)
        first, *rest = (self.gate(stream(reduced)) for stream in self._streams())
        mixed = self.conv3(sum(rest, start=first))
        if self.inner:
            return torch.relu(self.IN(mixed) + self.downsample(maps))
        return torch.relu(self.IN(mixed + self.downsample(maps)))


class _Gate(nn.Module):
    """Weight each channel by what the whole map holds of it: one gate for all streams."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // 16, 1)
        self.fc2 = nn.Conv2d(channels // 16, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        squeezed = torch.relu(self.fc1(maps.mean((2, 3), keepdim=True)))
        return maps * torch.sigmoid(self.fc2(squeezed))


def _stage(
    before: int, after: int, instance: tuple[bool, bool], *, numbered: bool, halve: bool = True
) -> tuple[nn.Sequential, nn.Module]:
    """Build two blocks, and what halves their map: for AIN a layer of its own, else the third."""
    blocks: list[nn.Module] = [
        _Block(before, after, instance[0], numbered=numbered),
        _Block(after, after, instance[1], numbered=numbered),
    ]
    pool = nn.Sequential(_unit(after, after), nn.AvgPool2d(2)) if halve else nn.Identity()
    if numbered or not halve:
        return nn.Sequential(*blocks), pool
    return nn.Sequential(*blocks, pool), nn.Identity()


def _unit(
    before: int,
    after: int,
    size: int = 1,
    *,
    norm: nn.Module | None = None,
    relu: bool = True,
    bare: bool = False,
) -> nn.Sequential:
    """Build a convolution with a norm, a batch norm unless given; the 7×7 halves the map."""
    stride = 2 if size == 7 else 1
    convolution = nn.Conv2d(before, after, size, stride, padding=size // 2, bias=False)
    layers: dict[str, nn.Module] = {"conv": convolution}
    if not bare:
        layers["bn"] = nn.BatchNorm2d(after) if norm is None else norm
    if relu:
        layers["relu"] = nn.ReLU()
    return _named(**layers)


def _light(channels: int) -> nn.Sequential:
    """Build a 3×3 convolution in two: 1×1 over the channels, then 3×3 in each."""
    across = nn.Conv2d(channels, channels, 1, bias=False)
    within = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
    norm = nn.BatchNorm2d(channels)
    return _named(conv1=across, conv2=within, bn=norm, relu=nn.ReLU())


def _named(**layers: nn.Module) -> nn.Sequential:
    return nn.Sequential(OrderedDict(layers))


def _instance(channels: int) -> nn.InstanceNorm2d:
    return nn.InstanceNorm2d(channels, affine=True)


def _initialize(module: nn.Module) -> None:
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
    elif isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.01)
    if isinstance(module, nn.Conv2d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
