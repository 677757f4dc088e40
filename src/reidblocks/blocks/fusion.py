"""Maps of several heads made into one."""

import torch
from torch import Tensor, nn

from reidblocks._checks import expect_shape, expect_sizes, is_traced, leaf


class FusionModule(nn.Module):
    r"""Concatenate maps along the channels and mix them, keeping the number of channels.

    $$\mathrm{relu}(\mathrm{BN}(W_3 * (W_1 * \mathrm{concat}(X_1, X_2, \dots))))$$

    $W_1$ is a 1×1 and $W_3$ a 3×3 convolution, both without bias and with nothing between them.

    Args:
        channels: C, channels of all inputs together, and of the result.

    Shape:
        any number of (B, C_i, H, W) with ΣC_i = C → (B, C, H, W)

    Raises:
        ValueError: channels is not above 0; there is no input, an input is not 4-dimensional,
            the inputs' batch, height or width differ, or their channels do not add up to C.

    Source: MDPR Fig. 6.

    >>> FusionModule(6)(torch.rand(1, 4, 6, 3), torch.rand(1, 2, 6, 3)).shape
    torch.Size([1, 6, 6, 3])
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        expect_sizes("FusionModule", channels=channels)
        self.channels = channels
        self.conv1x1 = nn.Conv2d(channels, channels, 1, bias=False)
        self.conv3x3 = nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, *maps: Tensor) -> Tensor:
        self._check(maps)
        normalized: Tensor = self.bn(self.conv3x3(self.conv1x1(_joined(maps))))
        return normalized.relu()

    def _check(self, maps: tuple[Tensor, ...]) -> None:
        if is_traced(maps) or is_traced(*maps):
            return
        for each in maps:
            expect_shape("FusionModule", "maps", each, "B C H W")
        sizes = [tuple(each.shape) for each in maps]
        if any(size[0] != sizes[0][0] or size[2:] != sizes[0][2:] for size in sizes):
            raise ValueError(
                f"FusionModule expects maps of one batch, height and width, got {sizes}"
            )
        if sum(size[1] for size in sizes) != self.channels:
            raise ValueError(
                f"FusionModule expects {self.channels} channels in all, got maps {sizes}"
            )

    def extra_repr(self) -> str:
        return f"channels={self.channels}"


@leaf  # where torch.fx gives all maps as one stand-in, which torch.cat of torch 2.7 refuses
def _joined(maps: tuple[Tensor, ...]) -> Tensor:
    return torch.cat(maps, 1)
