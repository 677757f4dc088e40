"""A 3×3 convolution in four ninths of its multiplications, for inference."""

from typing import TypeGuard

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks._checks import at_least_float32, expect_shape, expect_size

KERNEL = ((1.0, 0.0, 0.0), (0.5, 0.5, 0.5), (0.5, -0.5, 0.5), (0.0, 0.0, 1.0))  # G


class WinogradConv2d(nn.Module):
    r"""Compute a 3×3 convolution by F(2×2, 3×3): 16 products for 4 places in place of 36.

    $$Y = A^T \big[(G g G^T) \odot (B^T d B)\big] A$$

    for each 4×4 patch d of the maps, of which every second starts, and kernel g. The 16 products,
    each summed over the channels, are 16 products of matrices. The kernels take 16/9 of their
    memory. Sums of four inputs come before the products: float16 overflows from 16,000 on.
    Exported, it keeps the maps' height and width.

    Args:
        conv: what it stands for: kernel 3, stride 1, padding 1 with zeros, no groups, no dilation.

    Shape:
        (B, C, H, W) → (B, O, H, W)

    Raises:
        ValueError: the convolution is another.

    Source: Lavin and Gray, arXiv 1509.09308.

    >>> conv, maps = nn.Conv2d(4, 6, 3, padding=1), torch.rand(2, 4, 5, 3)
    >>> torch.allclose(WinogradConv2d(conv)(maps), conv(maps), atol=1e-5)
    True
    """

    kernels: Tensor
    bias: Tensor | None

    def __init__(self, conv: nn.Conv2d) -> None:
        super().__init__()
        if not can_use_winograd(conv):
            raise ValueError(
                "WinogradConv2d expects a convolution of kernel 3, stride 1, padding 1 with zeros, "
                f"without groups and dilation, got {conv}"
            )
        self.in_channels, self.out_channels = conv.in_channels, conv.out_channels
        wide = at_least_float32(conv.weight.detach())
        transform = wide.new_tensor(KERNEL)
        kernels = torch.einsum("ia,jb,ocab->ijco", transform, transform, wide)
        self.register_buffer("kernels", kernels.flatten(0, 1).to(conv.weight.dtype).contiguous())
        bias = None if conv.bias is None else conv.bias.detach().clone()
        self.register_buffer("bias", bias)

    def forward(self, maps: Tensor) -> Tensor:
        expect_shape("WinogradConv2d", "maps", maps, "B C H W")
        expect_size("WinogradConv2d", "maps", maps, 1, self.in_channels)
        batch, _, height, width = maps.shape
        rows, columns = (height + 1) // 2, (width + 1) // 2  # of patches
        padded = F.pad(maps, (1, 1 + 2 * columns - width, 1, 1 + 2 * rows - height))
        parts = [  # B, rows, columns, C: sums of every fourth row, then of every fourth column
            across
            for down in _of_four(padded.permute(0, 2, 3, 1), 1)
            for across in _of_four(down, 2)
        ]
        sums = torch.stack(parts).view(16, batch * rows * columns, self.in_channels) @ self.kernels
        sums = sums.view(4, 4, batch, rows, columns, self.out_channels)
        result = _to_two(_to_two(sums, 3), 4)  # B, rows, 2, columns, 2, O
        result = result.reshape(batch, 2 * rows, 2 * columns, self.out_channels)
        result = result.narrow(1, 0, height).narrow(2, 0, width)
        if self.bias is not None:
            result = result + self.bias.to(result.dtype)
        return result.permute(0, 3, 1, 2)

    def extra_repr(self) -> str:
        return f"{self.in_channels}, {self.out_channels}, bias={self.bias is not None}"


def can_use_winograd(conv: nn.Module | None) -> TypeGuard[nn.Conv2d]:
    """Whether this is a convolution that `WinogradConv2d` can stand for."""
    return type(conv) is nn.Conv2d and (
        conv.kernel_size,
        conv.stride,
        conv.padding,
        conv.dilation,
        conv.groups,
        conv.padding_mode,
    ) == ((3, 3), (1, 1), (1, 1), (1, 1), 1, "zeros")


def _of_four(maps: Tensor, dim: int) -> list[Tensor]:
    """Bᵀ: sums of each four neighbours of which every second is a first."""
    size = maps.shape[dim] // 2
    pairs = maps.view(*maps.shape[:dim], size, 2, *maps.shape[dim + 1 :])
    first, second = pairs.unbind(dim + 1)
    third, fourth = first.narrow(dim, 1, size - 1), second.narrow(dim, 1, size - 1)
    first, second = first.narrow(dim, 0, size - 1), second.narrow(dim, 0, size - 1)
    return [first - third, second + third, third - second, second - fourth]


def _to_two(sums: Tensor, place: int) -> Tensor:
    """Aᵀ: two neighbours from the four sums in front, laid next to each other at ``place``."""
    first, second, third, fourth = sums.unbind(0)
    return torch.stack((first + second + third, second - third - fourth), place)
