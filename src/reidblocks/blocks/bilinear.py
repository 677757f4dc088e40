"""Bilinear attention pooling: one vector for each attention map."""

from typing import NamedTuple

import torch
from torch import Tensor, nn

from reidblocks._checks import (
    at_least_float32,
    expect_shape,
    expect_size,
    expect_sizes,
    float32_if_whole,
    is_traced,
)
from reidblocks.blocks.neck import BNNeck
from reidblocks.blocks.pooling import GeM


def bilinear_attention_pool(features: Tensor, maps: Tensor) -> Tensor:
    r"""Average the features under each attention map.

    $$y_{kc} = \frac{1}{HW}\sum_{h,w} A_{khw} X_{chw}$$

    Args:
        features: X, feature maps.
        maps: A, attention maps of the same size.

    Shape:
        features (B, C, H, W), maps (B, K, H, W) → (B, K, C), in the features' dtype; float32 of
        integers

    Raises:
        ValueError: a tensor is not 4-dimensional, or batch, height or width differ.

    Source: Hu et al., arXiv 1901.09891; MDPR Eq. 3 without the embedding block.

    >>> bilinear_attention_pool(torch.ones(1, 3, 4, 2), torch.full((1, 2, 4, 2), 0.5))
    tensor([[[0.5000, 0.5000, 0.5000],
             [0.5000, 0.5000, 0.5000]]])
    """
    _expect_matching("bilinear_attention_pool", features, maps)
    features = float32_if_whole(features)
    # divided before the sum, which would overflow in half precision (under autocast, too)
    weights = at_least_float32(maps) / (features.shape[2] * features.shape[3])
    pooled = torch.einsum("bkhw,bchw->bkc", weights, at_least_float32(features))
    return pooled.to(features.dtype)


class BAPOutput(NamedTuple):
    """One vector for each map, and all of them concatenated.

    ``parts`` (B, K, M) are the maps' vectors before BN, ``pooled`` (B, K·M) the same side by side,
    as a head gives them, and ``embedding`` (B, K·M) that vector after BN.
    """

    parts: Tensor
    pooled: Tensor
    embedding: Tensor


class BAP(nn.Module):
    r"""Project features, pool them under each attention map, and normalize the joined vectors.

    $$\hat f_k = \mathrm{GeM}_k(\mathrm{relu}(\mathrm{BN}_k(W_k * (A_k \odot X)))), \qquad
      f = \mathrm{BN}(\mathrm{concat}_k \hat f_k)$$

    A 1×1 convolution without bias commutes with the map, $W_k (A_k \odot X) = A_k \odot (W_k X)$:
    one convolution C→K·M runs on the features, and no attended copy of them is made.

    Args:
        in_channels: C, channels of the feature map.
        embed_dim: M, size of one map's vector.
        num_maps: K.
        pool: from maps (B, K·M, H, W), those of one attention map after another, to vectors
            (B, K·M); unless given a `GeM` with an exponent for each attention map. ``GeM()`` has
            one for all.
        neck: from vectors (B, K·M) to the embedding; a `BNNeck` unless given.

    Shape:
        features (B, C, H, W), maps (B, K, H, W) → ``BAPOutput`` with parts (B, K, M), pooled and
        embedding (B, K·M)

    Raises:
        ValueError: a size is not above 0, the features are not (B, in_channels, H, W), there are
            not K maps, batch, height or width of the two differ, or the pool does not give
            (B, K·M).

    Source: MDPR Eq. 3 and 4.

    >>> bap = BAP(8, embed_dim=4, num_maps=2)
    >>> bap(torch.rand(3, 8, 6, 3), torch.rand(3, 2, 6, 3)).parts.shape
    torch.Size([3, 2, 4])
    """

    def __init__(
        self,
        in_channels: int,
        embed_dim: int,
        num_maps: int,
        *,
        pool: nn.Module | None = None,
        neck: nn.Module | None = None,
    ) -> None:
        super().__init__()
        expect_sizes("BAP", in_channels=in_channels, embed_dim=embed_dim, num_maps=num_maps)
        self.num_maps = num_maps
        self.conv = nn.Conv2d(in_channels, num_maps * embed_dim, 1, bias=False)
        self.bn = nn.BatchNorm2d(num_maps * embed_dim)
        self.pool = GeM(groups=num_maps) if pool is None else pool
        self.neck = BNNeck(num_maps * embed_dim) if neck is None else neck

    def forward(self, features: Tensor, maps: Tensor) -> BAPOutput:
        _expect_matching("BAP", features, maps)
        expect_size("BAP", "features", features, 1, self.conv.in_channels)
        if not is_traced(maps) and maps.shape[1] != self.num_maps:
            raise ValueError(f"BAP expects {self.num_maps} maps, got maps {tuple(maps.shape)}")
        projected: Tensor = self.conv(features)  # (B, K·M, H, W)
        by_map = torch.unflatten(projected, 1, (self.num_maps, -1))  # (B, K, M, H, W)
        attended = (by_map * maps.to(by_map.dtype).unsqueeze(2)).flatten(1, 2)
        normalized: Tensor = self.bn(attended)  # each map's channels see their own features
        pooled: Tensor = self.pool(normalized.relu())
        expect_shape("BAP", "pool to give vectors", pooled, "B D")
        expect_size("BAP", "pool to give vectors", pooled, 1, self.conv.out_channels)
        return BAPOutput(torch.unflatten(pooled, 1, (self.num_maps, -1)), pooled, self.neck(pooled))

    def extra_repr(self) -> str:
        return f"num_maps={self.num_maps}"


def _expect_matching(caller: str, features: Tensor, maps: Tensor) -> None:
    expect_shape(caller, "features", features, "B C H W")
    expect_shape(caller, "maps", maps, "B K H W")
    if is_traced(features, maps):
        return
    if features.shape[0] != maps.shape[0] or features.shape[2:] != maps.shape[2:]:
        raise ValueError(
            f"{caller} expects features and maps of one batch, height and width, "
            f"got {tuple(features.shape)} and {tuple(maps.shape)}"
        )
