"""Random erasing: a rectangle of the image set to 0."""

import math

import numpy as np
import torch
from numpy.typing import NDArray
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
        rectangles = erased_rectangles(height, width, np.array([numbers]))
        top, left, rows, columns = rectangles[0].tolist()
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


def erased_rectangles(height: int, width: int, numbers: NDArray[np.float64]) -> NDArray[np.int64]:
    """Return top, left, rows and columns (B, 4) of what is erased of each image.

    Of ten rectangles the first that fits; no rows and columns, if none does. ``numbers`` are
    ``NUMBERS`` random ones for each image, from 0 to 1.
    """
    share, skew = numbers[:, 2::2], numbers[:, 3::2]
    area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
    low, high = (math.log(ratio) for ratio in RATIO)
    ratio = np.exp(low + skew * (high - low))
    rows, columns = np.sqrt(area * ratio).round(), np.sqrt(area / ratio).round()
    fits = (rows < height) & (columns < width)
    first = np.arange(len(numbers)), fits.argmax(1)
    sizes = np.stack((rows * fits, columns * fits), 2)[first]
    return placed(height, width, sizes, numbers[:, :2])


def placed(
    height: int, width: int, sizes: NDArray[np.float64], places: NDArray[np.float64]
) -> NDArray[np.int64]:
    """Return top, left, rows and columns (B, 4) of rectangles: where, is told from 0 to 1."""
    corners = places * (np.array([height, width]) - sizes + 1)
    return np.concatenate((corners, sizes), 1).astype(np.int64)
