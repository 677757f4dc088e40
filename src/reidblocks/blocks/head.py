"""Heads: from a feature map to one vector, with every stage between."""

from typing import NamedTuple

from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_size, expect_sizes
from reidblocks.blocks.neck import BNNeck
from reidblocks.blocks.pooling import GeM
from reidblocks.blocks.projection import ConvBNReLU


class HeadOutput(NamedTuple):
    """The outputs of a head, stage by stage.

    ``maps`` (B, M, H, W) are what was pooled, ``pooled`` (B, M) the vector before BN and
    ``embedding`` (B, M) the vector after it.
    """

    maps: Tensor
    pooled: Tensor
    embedding: Tensor


class EmbeddingHead(nn.Module):
    r"""Reduce a feature map to M channels, pool it and normalize the vector.

    $$F = \mathrm{relu}(\mathrm{BN}(W * X)), \qquad f = \mathrm{BN}(\mathrm{GeM}(F))$$

    with W a 1×1 convolution; F are the maps, f is the embedding.

    Args:
        in_channels: C, channels of the feature map.
        embed_dim: M, size of the embedding.
        pool: from maps (B, M, H, W) to vectors (B, M); a `GeM` unless given.
        neck: from vectors (B, M) to the embedding; a `BNNeck` unless given.

    Shape:
        (B, C, H, W) → ``HeadOutput`` with maps (B, M, H, W), pooled and embedding (B, M)

    Raises:
        ValueError: a size is not above 0, the input is not (B, in_channels, H, W), or the pool
            does not give (B, embed_dim).

    Source: MDPR, Fig. 3 and 5 (embedding block, GeM, BN).

    >>> EmbeddingHead(8, 4)(torch.rand(2, 8, 6, 3)).embedding.shape
    torch.Size([2, 4])
    """

    def __init__(
        self,
        in_channels: int,
        embed_dim: int,
        *,
        pool: nn.Module | None = None,
        neck: nn.Module | None = None,
    ) -> None:
        super().__init__()
        expect_sizes("EmbeddingHead", in_channels=in_channels, embed_dim=embed_dim)
        self.in_channels, self.embed_dim = in_channels, embed_dim
        self.projection = ConvBNReLU(in_channels, embed_dim)
        self.pool = GeM() if pool is None else pool
        self.neck = BNNeck(embed_dim) if neck is None else neck

    def forward(self, features: Tensor) -> HeadOutput:
        expect_shape("EmbeddingHead", "features", features, "B C H W")
        expect_size("EmbeddingHead", "features", features, 1, self.in_channels)
        maps: Tensor = self.projection(features)
        pooled = _pooled("EmbeddingHead", self.pool(maps), self.embed_dim)
        return HeadOutput(maps, pooled, self.neck(pooled))


class BNNeckHead(nn.Module):
    r"""Pool a feature map and normalize the vector: the common ReID baseline.

    $$f = \mathrm{BN}(\mathrm{GeM}(X))$$

    Losses by Euclidean distance, such as the triplet loss, take ``pooled``; the identity loss and
    the search take ``embedding``.

    Args:
        channels: C, channels of the feature map and size of the embedding.
        pool: from maps (B, C, H, W) to vectors (B, C); a `GeM` unless given. The paper's average
            is ``nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten())``.
        neck: from vectors (B, C) to the embedding; a `BNNeck` unless given.

    Shape:
        (B, C, H, W) → ``HeadOutput`` with maps (B, C, H, W), the input itself, and pooled and
        embedding (B, C)

    Raises:
        ValueError: channels is not above 0, the input is not (B, channels, H, W), or the pool does
            not give (B, channels).

    Source: Luo et al., arXiv 1903.07071.

    >>> BNNeckHead(8)(torch.rand(2, 8, 6, 3)).embedding.shape
    torch.Size([2, 8])
    """

    def __init__(
        self, channels: int, *, pool: nn.Module | None = None, neck: nn.Module | None = None
    ) -> None:
        super().__init__()
        expect_sizes("BNNeckHead", channels=channels)
        self.channels = channels
        self.pool = GeM() if pool is None else pool
        self.neck = BNNeck(channels) if neck is None else neck

    def forward(self, features: Tensor) -> HeadOutput:
        expect_shape("BNNeckHead", "features", features, "B C H W")
        expect_size("BNNeckHead", "features", features, 1, self.channels)
        pooled = _pooled("BNNeckHead", self.pool(features), self.channels)
        return HeadOutput(features, pooled, self.neck(pooled))


def _pooled(caller: str, vectors: Tensor, size: int) -> Tensor:
    """Return what a pool of the user's gave, if it can be an embedding."""
    expect_shape(caller, "pool to give vectors", vectors, "B C")
    expect_size(caller, "pool to give vectors", vectors, 1, size)
    return vectors
