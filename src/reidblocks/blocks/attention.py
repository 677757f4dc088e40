"""Attention maps from a feature map, alone or led by the maps of a deeper one."""

from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.fx import wrap

from reidblocks._checks import (
    at_least_float32,
    expect_number,
    expect_shape,
    expect_size,
    expect_sizes,
    expect_whole,
    is_traced,
)


class AttentionOutput(NamedTuple):
    """Attention maps, the background, and the raw maps.

    ``maps`` (B, K, H, W) and ``background`` (B, 1, H, W) add up to 1 at every place;
    ``raw`` (B, K+1, H, W) are the maps before the softmax, the background last.
    """

    maps: Tensor
    background: Tensor
    raw: Tensor


class AttentionGenerator(nn.Module):
    r"""Compute K attention maps and a background map from a feature map.

    $$R = \mathrm{relu}(\mathrm{BN}(W_1 * X + W_3 * X)), \qquad
      A_k = \frac{\exp R_k}{\sum_{j=0}^{K} \exp R_j}$$

    $W_1$ is a 1×1 and $W_3$ a 3×3 convolution without bias. (`fold_for_inference` makes one 3×3
    convolution of both.) No feature is pooled under the background, the last of the K + 1 maps.

    Started at random, each of the K + 1 takes about as much of the image as another, whatever it
    shows. With ``background_bias`` training starts from a prior: where features respond is
    something to look at, most of the rest is background. It decides where training starts, and
    nothing else.

    Args:
        in_channels: C, channels of the feature map.
        num_maps: K, maps besides the background.
        background_bias: the bias of the background's raw map at the start; 1 leaves it about
            half of the image, 2 most of it. The weights of the maps then start above 0, those of
            the background below, for features that a ReLU ended. Unless given, weights of either
            sign and no bias.

    Shape:
        (B, C, H, W) → ``AttentionOutput`` with maps (B, K, H, W), background (B, 1, H, W) and raw
        (B, K+1, H, W)

    As before any BN, what a convolution gives must fit the dtype: up to 65,504 in float16.

    Raises:
        TypeError: background_bias is no number.
        ValueError: a size is not above 0, the input is not (B, in_channels, H, W).

    Source: MDPR Eq. 2, Fig. 4.

    >>> AttentionGenerator(8, num_maps=2)(torch.rand(1, 8, 6, 3)).maps.shape
    torch.Size([1, 2, 6, 3])
    """

    def __init__(
        self, in_channels: int, num_maps: int, *, background_bias: float | None = None
    ) -> None:
        super().__init__()
        expect_sizes("AttentionGenerator", in_channels=in_channels, num_maps=num_maps)
        self.num_maps = num_maps
        self.conv1x1: nn.Conv2d | None = nn.Conv2d(in_channels, num_maps + 1, 1, bias=False)
        self.conv3x3 = nn.Conv2d(in_channels, num_maps + 1, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(num_maps + 1)
        if background_bias is not None:
            expect_number("AttentionGenerator", background_bias=background_bias)
            self._start_from_features(background_bias)

    @torch.no_grad()
    def _start_from_features(self, background_bias: float) -> None:
        for conv in (self.conv1x1, self.conv3x3):
            assert conv is not None
            conv.weight.abs_()
            conv.weight[-1].neg_()
        self.bn.bias[-1] = background_bias

    def forward(self, features: Tensor) -> AttentionOutput:
        expect_shape("AttentionGenerator", "features", features, "B C H W")
        expect_size("AttentionGenerator", "features", features, 1, self.conv3x3.in_channels)
        mixed: Tensor = self.conv3x3(features)
        if self.conv1x1 is not None:  # it is part of the 3×3 once folded for inference
            mixed = self.conv1x1(features) + mixed
        raw: Tensor = self.bn(mixed).relu()  # (B, K+1, H, W)
        shares = at_least_float32(raw).softmax(1).to(raw.dtype)
        maps, background = torch.split_with_sizes(shares, (self.num_maps, 1), 1)
        return AttentionOutput(maps, background, raw)

    def extra_repr(self) -> str:
        return f"num_maps={self.num_maps}"


class GuidedAttention(nn.Module):
    r"""Compute attention maps from a feature map and a guide, such as a deeper stage's maps.

    $$A = \phi(\mathrm{concat}(X, G))$$

    with φ an `AttentionGenerator`. A guide of another size is resized bilinearly. Without a
    guide, φ sees zeros in its place, so that only the features count.

    Args:
        in_channels: C, channels of the feature map.
        num_maps: K, maps besides the background.
        guide_channels: channels of the guide; K unless given, 0 for attention without a guide.
        guide_transform: a module that the guide goes through first, keeping its channels; for a
            guide that is not an attention map yet, such as ``AttentionOutput.raw``.
        background_bias: see `AttentionGenerator`.

    Shape:
        features (B, C, H, W), guide (B, G, h, w) → ``AttentionOutput`` with maps (B, K, H, W),
        background (B, 1, H, W) and raw (B, K+1, H, W)

    Raises:
        ValueError: a size is negative, or 0 where only guide_channels may be; the features are
            not (B, in_channels, H, W); the guide has other channels than it was built for or
            another batch size than the features, or the transform does not keep its channels.

    Source: MDPR, Fig. 5 (A5 guides A4).

    >>> guided = GuidedAttention(8, num_maps=2)
    >>> guided(torch.rand(1, 8, 6, 4), guide=torch.rand(1, 2, 3, 2)).maps.shape
    torch.Size([1, 2, 6, 4])
    """

    def __init__(
        self,
        in_channels: int,
        num_maps: int,
        guide_channels: int | None = None,
        *,
        guide_transform: nn.Module | None = None,
        background_bias: float | None = None,
    ) -> None:
        super().__init__()
        expect_sizes("GuidedAttention", in_channels=in_channels, num_maps=num_maps)
        self.guide_channels = num_maps if guide_channels is None else guide_channels
        expect_whole("GuidedAttention", "guide_channels", self.guide_channels, 0)
        self.in_channels = in_channels
        self.guide_transform = guide_transform
        self.generator = AttentionGenerator(
            in_channels + self.guide_channels, num_maps, background_bias=background_bias
        )

    def forward(self, features: Tensor, guide: Tensor | None = None) -> AttentionOutput:
        expect_shape("GuidedAttention", "features", features, "B C H W")
        expect_size("GuidedAttention", "features", features, 1, self.in_channels)
        if guide is None:
            batch, _, height, width = features.shape
            guide = features.new_zeros(batch, self.guide_channels, height, width)
        self._check(guide, features)
        if self.guide_transform is not None:
            guide = self.guide_transform(guide)
            wanted = "guide_transform to give"
            expect_shape("GuidedAttention", wanted, guide, "B G H W")
            expect_size("GuidedAttention", wanted, guide, 1, self.guide_channels)
        guide = _of_the_same_size(guide, features).to(features.dtype)
        attention: AttentionOutput = self.generator(torch.cat((features, guide), 1))
        return attention

    def _check(self, guide: Tensor, features: Tensor) -> None:
        expect_shape("GuidedAttention", "guide", guide, "B G H W")
        if is_traced(guide, features):
            return
        batch = features.shape[0]
        if guide.shape[:2] != (batch, self.guide_channels):
            raise ValueError(
                f"GuidedAttention expects a guide ({batch}, {self.guide_channels}, h, w) for "
                f"these features, got {tuple(guide.shape)}; its channels are guide_channels"
            )

    def extra_repr(self) -> str:
        return f"guide_channels={self.guide_channels}"


@wrap  # one step for torch.fx, which cannot follow what depends on a shape
def _of_the_same_size(guide: Tensor, features: Tensor) -> Tensor:
    size = features.shape[2:]
    if guide.shape[2:] == size:
        return guide
    return F.interpolate(guide, size, mode="bilinear", align_corners=False)
