"""From an image to what a network takes, with and without augmentation."""

import functools
from collections.abc import Callable

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from reidblocks.data.patches import RandomPatch

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
ERASED_AREA = (0.02, 0.4)  # least and greatest share of the image, height over width
ERASED_RATIO = (0.3, 1 / 0.3)


def train_transform(
    size: tuple[int, int] = (384, 192),
    *,
    flip: float = 0.5,
    erase: float = 0.5,
    patch: float = 0.5,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> v2.Compose:
    """Resize, flip, paste a random patch, normalise, erase a rectangle, image by image.

    ``resize_transform`` and, on the batch, ``BatchAugmentation`` do the same at a higher speed.

    Takes a PIL image or a uint8 tensor (3, H, W), gives a float tensor (3, *size). The erased
    rectangle is 0 after normalising: the mean colour.

    Args:
        size: height and width.
        flip: how often to mirror the image, left to right.
        erase: how often to erase a rectangle (Zhong et al., arXiv 1708.04896, whose sizes these
            are).
        patch: how often to paste a piece of another image (``RandomPatch``).
        mean, std: of each channel, for pixels from 0 to 1.

    Source: the choice and the probabilities are those of MDPR, section IV.

    >>> train_transform((128, 64))(torch.zeros(3, 100, 50, dtype=torch.uint8)).shape
    torch.Size([3, 128, 64])
    """
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(size, antialias=True),
            v2.RandomHorizontalFlip(flip),
            *([RandomPatch(patch)] if patch > 0 else []),  # without it there is no pool to fill
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
            v2.RandomErasing(erase, ERASED_AREA, ERASED_RATIO),
            v2.ToPureTensor(),
        ]
    )


def eval_transform(
    size: tuple[int, int] = (384, 192),
    *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> v2.Compose:
    """Resize and normalise: ``train_transform`` without chance.

    Takes a PIL image or a uint8 tensor (3, H, W), gives a float tensor (3, *size).

    >>> image = torch.full((3, 10, 5), 255, dtype=torch.uint8)
    >>> eval_transform((4, 2), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(image).unique()
    tensor([1.])
    """
    return v2.Compose(
        [
            v2.ToImage(),
            v2.Resize(size, antialias=True),
            v2.ToDtype(torch.float32, scale=True),
            v2.Normalize(mean, std),
            v2.ToPureTensor(),
        ]
    )


def resize_transform(size: tuple[int, int] = (384, 192)) -> Callable[[Image.Image], Tensor]:
    """Resize and keep the bytes, for ``BatchAugmentation`` to do the rest.

    Takes a PIL image (RGB), gives a uint8 tensor (3, *size), resized as by ``train_transform``.

    >>> resize_transform((8, 4))(Image.new("RGB", (50, 100))).shape
    torch.Size([3, 8, 4])
    """
    return functools.partial(_resized, size=size)


def _resized(image: Image.Image, size: tuple[int, int]) -> Tensor:
    pixels: Tensor = v2.functional.pil_to_tensor(image)
    if pixels.shape[-2:] == size:
        return pixels
    result: Tensor = v2.functional.resize(pixels, list(size), antialias=True)
    return result
