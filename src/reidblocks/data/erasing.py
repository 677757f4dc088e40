"""Random erasing: a rectangle of the image set to 0."""

import math

import torch
from torch import Tensor, nn

AREA = (0.02, 0.4)  # least and greatest share of the image
RATIO = (0.3, 1 / 0.3)  # height over width
TRIES = 10  # for a rectangle that fits, as torchvision's RandomErasing has it
NUMBERS = 2 + 2 * TRIES  # random numbers for each image


class RandomErase(nn.Module):
    """Erase a rectangle of an image, to 0, with probability ``p``.

    torchvision's RandomErasing, whose laws these are, draws its numbers in torch's default type
    on torch's default device.

    Shape:
        (C, H, W) → (C, H, W), a new tensor where something was erased, else the input itself

    Source: Zhong et al., arXiv 1708.04896, whose sizes these are.

    >>> RandomErase(1.0)(torch.ones(3, 32, 16)).amin()
    tensor(0.)
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, image: Tensor) -> Tensor:
        chance, *numbers = random_numbers(1 + NUMBERS)
        if chance >= self.p:
            return image
        height, width = image.shape[-2:]
        drawn = torch.tensor([numbers], dtype=torch.float64, device="cpu")
        top, left, rows, columns = erased_rectangles(height, width, drawn)[0].tolist()
        image = image.clone()
        image[..., top : top + rows, left : left + columns] = 0
        return image

    def extra_repr(self) -> str:
        return f"p={self.p}"


class RandomFlip(nn.Module):
    """Mirror an image, left to right, with probability ``p``.

    >>> RandomFlip(1.0)(torch.arange(4.0).view(1, 2, 2)).flatten()
    tensor([1., 0., 3., 2.])
    """

    def __init__(self, p: float) -> None:
        super().__init__()
        self.p = p

    def forward(self, image: Tensor) -> Tensor:
        return image.flip(-1) if random_numbers(1)[0] < self.p else image

    def extra_repr(self) -> str:
        return f"p={self.p}"


def random_numbers(count: int) -> list[float]:
    """Return numbers from 0 to 1, whatever torch's default type and device are."""
    numbers: list[float] = torch.rand(count, dtype=torch.float64, device="cpu").tolist()
    return numbers


def erased_rectangles(height: int, width: int, numbers: Tensor) -> Tensor:
    """Return top, left, rows and columns (B, 4) of what is erased of each image.

    Of ten rectangles the first that fits; no rows and columns, if none does. ``numbers`` are
    ``NUMBERS`` random ones for each image, from 0 to 1, of float64.
    """
    share, skew = numbers[:, 2::2], numbers[:, 3::2]
    area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
    low, high = (math.log(ratio) for ratio in RATIO)
    ratio = (low + skew * (high - low)).exp()
    rows, columns = (area * ratio).sqrt().round(), (area / ratio).sqrt().round()
    fits = (rows < height) & (columns < width)
    first = fits.int().argmax(1, keepdim=True)
    rows, columns = ((side * fits).gather(1, first).squeeze(1) for side in (rows, columns))
    return placed(height, width, rows, columns, numbers[:, 0], numbers[:, 1])


def placed(
    height: int, width: int, rows: Tensor, columns: Tensor, down: Tensor, across: Tensor
) -> Tensor:
    """Return top, left, rows and columns (B, 4) of rectangles, at random places in the image."""
    top, left = down * (height - rows + 1), across * (width - columns + 1)
    return torch.stack((top, left, rows, columns), 1).long()
