"""The embedding block: a convolution that brings a map to the size of the embedding."""

from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_size, expect_sizes, expect_whole


class ConvBNReLU(nn.Module):
    r"""Apply a convolution, batch normalization and ReLU.

    $$\mathrm{relu}(\mathrm{BN}(W * X))$$

    The convolution has no bias (BN takes it away) and keeps the map's size.

    Args:
        in_channels: C, channels of the input.
        out_channels: M, channels of the result.
        kernel_size: odd side of the kernel; 1 is the paper's embedding block.

    Shape:
        (B, C, H, W) → (B, M, H, W)

    Raises:
        ValueError: a size is not above 0, the kernel is even, the input is not (B, C, H, W).

    Source: MDPR, Fig. 3 (embedding block).

    >>> ConvBNReLU(8, 4)(torch.rand(2, 8, 6, 3)).shape
    torch.Size([2, 4, 6, 3])
    """

    def __init__(self, in_channels: int, out_channels: int, kernel_size: int = 1) -> None:
        super().__init__()
        expect_sizes("ConvBNReLU", in_channels=in_channels, out_channels=out_channels)
        expect_whole("ConvBNReLU", "kernel_size", kernel_size)
        if kernel_size % 2 == 0:
            raise ValueError(f"ConvBNReLU expects an odd kernel_size, got {kernel_size}")
        self.conv = nn.Conv2d(
            in_channels, out_channels, kernel_size, padding=kernel_size // 2, bias=False
        )
        self.bn = nn.BatchNorm2d(out_channels)

    def forward(self, features: Tensor) -> Tensor:
        expect_shape("ConvBNReLU", "features", features, "B C H W")
        expect_size("ConvBNReLU", "features", features, 1, self.conv.in_channels)
        normalized: Tensor = self.bn(self.conv(features))
        return normalized.relu()
