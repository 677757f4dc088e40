"""The chain every feature of MDPR goes through: embedding block, GeM, BN."""

from typing import NamedTuple

from torch import Tensor, nn

from reidblocks.blocks.neck import BNNeck
from reidblocks.blocks.pooling import GeM
from reidblocks.blocks.projection import ConvBNReLU


class HeadOutput(NamedTuple):
    """What a head makes of a map: ``maps`` (B, M, H, W) and ``embedding`` (B, M)."""

    maps: Tensor
    embedding: Tensor


class EmbeddingHead(nn.Module):
    r"""Bring a feature map to M channels, pool it and normalise the vector.

    $$F = \mathrm{relu}(\mathrm{BN}(W * X)), \qquad f = \mathrm{BN}(\mathrm{GeM}(F))$$

    with W a 1×1 convolution; F are the maps, f is the embedding.

    Args:
        in_channels: C, channels of the feature map.
        embed_dim: M, size of the embedding.

    Shape:
        (B, C, H, W) → ``HeadOutput`` with maps (B, M, H, W), embedding (B, M)

    Raises:
        ValueError: a size is not above 0, the input is not 4-dimensional.

    Source: MDPR, Fig. 3 and 5 (embedding block, GeM, BN).

    >>> EmbeddingHead(8, 4)(torch.rand(2, 8, 6, 3)).embedding.shape
    torch.Size([2, 4])
    """

    def __init__(self, in_channels: int, embed_dim: int) -> None:
        super().__init__()
        self.projection = ConvBNReLU(in_channels, embed_dim)
        self.pool = GeM()
        self.neck = BNNeck(embed_dim)

    def forward(self, features: Tensor) -> HeadOutput:
        maps: Tensor = self.projection(features)
        return HeadOutput(maps, self.neck(self.pool(maps)))
