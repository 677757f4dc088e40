"""Random erasing: a rectangle of the image set to 0."""

import math
from collections.abc import Sequence

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
        image = image.clone()
        erase_rectangle(image, numbers)
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


def erase_rectangle(image: Tensor, numbers: Sequence[float]) -> None:
    """Set the first rectangle that fits to 0, in place; none, if none of ten does."""
    height, width = image.shape[-2:]
    low, high = (math.log(ratio) for ratio in RATIO)
    for share, skew in zip(numbers[2::2], numbers[3::2], strict=True):
        area = height * width * (AREA[0] + share * (AREA[1] - AREA[0]))
        ratio = math.exp(low + skew * (high - low))
        rows, columns = round(math.sqrt(area * ratio)), round(math.sqrt(area / ratio))
        if rows < height and columns < width:
            top = int(numbers[0] * (height - rows + 1))
            left = int(numbers[1] * (width - columns + 1))
            image[..., top : top + rows, left : left + columns] = 0
            return
