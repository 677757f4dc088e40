"""Horizontal stripes: a vector for the whole person and one for each part of the body."""

from collections.abc import Callable
from typing import NamedTuple

from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_size, expect_sizes, is_traced
from reidblocks.blocks.head import EmbeddingHead, HeadOutput


def split_stripes(maps: Tensor, num_parts: int) -> tuple[Tensor, ...]:
    """Split maps into equal horizontal stripes, top to bottom.

    Args:
        maps: feature maps.
        num_parts: N, number of stripes.

    Shape:
        (B, C, H, W) → N views of (B, C, H/N, W)

    Raises:
        ValueError: the maps are not 4-dimensional, or H is not a multiple of N.

    Source: Sun et al., arXiv 1711.09349 (PCB); MDPR Fig. 3.

    >>> [stripe.shape[2] for stripe in split_stripes(torch.rand(1, 8, 24, 12), 3)]
    [8, 8, 8]
    """
    expect_sizes("split_stripes", num_parts=num_parts)
    _expect_stripes("split_stripes", "maps", maps, num_parts)
    return maps.chunk(num_parts, 2)


def _expect_stripes(caller: str, name: str, maps: Tensor, num_parts: int) -> None:
    expect_shape(caller, name, maps, "B C H W")
    if not is_traced(maps) and maps.shape[2] % num_parts:
        raise ValueError(
            f"{caller} expects a height that {num_parts} stripes divide evenly, got {name} "
            f"{tuple(maps.shape)}; choose an image height whose feature map is a multiple of "
            f"{num_parts} high"
        )


class HardPartitionOutput(NamedTuple):
    """``whole`` and the N ``parts``, each a ``HeadOutput`` with its stages."""

    whole: HeadOutput
    parts: tuple[HeadOutput, ...]


class HardPartitionHead(nn.Module):
    r"""Embed the whole map and each of N equal stripes, without shared parameters.

    $$f_g = \phi_g(X), \qquad f_n = \phi_n(X_n)$$

    with $X_n$ the n-th of N stripes, H/N rows high, and every φ a head of its own.

    Args:
        in_channels: C, channels of the feature map.
        embed_dim: M, size of each embedding.
        num_parts: N, number of stripes.
        head: builds each of the N + 1 heads from in_channels and embed_dim; `EmbeddingHead`, or
            ``lambda in_channels, embed_dim: EmbeddingHead(in_channels, embed_dim, pool=...)``.

    Shape:
        (B, C, H, W) → ``HardPartitionOutput``: whole.maps (B, M, H, W), whole.embedding (B, M),
        parts[i].maps (B, M, H/N, W), parts[i].embedding (B, M)

    Raises:
        ValueError: a size is not above 0, the input is not (B, in_channels, H, W), H is no
            multiple of N.

    Source: MDPR Fig. 3.

    >>> head = HardPartitionHead(8, embed_dim=4, num_parts=2)
    >>> len(head(torch.rand(2, 8, 6, 3)).parts)
    2
    """

    def __init__(
        self,
        in_channels: int,
        embed_dim: int,
        num_parts: int,
        *,
        head: Callable[[int, int], nn.Module] = EmbeddingHead,
    ) -> None:
        super().__init__()
        expect_sizes(
            "HardPartitionHead", in_channels=in_channels, embed_dim=embed_dim, num_parts=num_parts
        )
        self.in_channels = in_channels
        self.whole = head(in_channels, embed_dim)
        self.parts = nn.ModuleList(head(in_channels, embed_dim) for _ in range(num_parts))

    def forward(self, features: Tensor) -> HardPartitionOutput:
        _expect_stripes("HardPartitionHead", "features", features, len(self.parts))
        expect_size("HardPartitionHead", "features", features, 1, self.in_channels)
        stripes = split_stripes(features, len(self.parts))
        parts = tuple(head(stripes[n]) for n, head in enumerate(self.parts))
        return HardPartitionOutput(self.whole(features), parts)
