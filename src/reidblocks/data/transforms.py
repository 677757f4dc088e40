"""From an image to what a network takes, with and without augmentation."""

import functools
from collections.abc import Callable, Sequence

import torch
from PIL import Image
from torch import Tensor
from torchvision.transforms import v2

from reidblocks._checks import expect_positive, expect_sizes
from reidblocks._imagenet import IMAGENET_MEAN, IMAGENET_STD
from reidblocks._images import to_rgb
from reidblocks.data.erasing import RandomErase, RandomFlip
from reidblocks.data.patches import RandomPatch


def train_transform(
    size: tuple[int, int] = (256, 128),
    *,
    flip: float = 0.5,
    erase: float = 0.5,
    patch: float = 0.5,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> v2.Compose:
    """Resize, flip, paste a random patch, normalize, erase a rectangle, image by image.

    ``resize_transform`` and, on the batch, ``BatchAugmentation`` do the same at a higher speed.

    Takes a PIL image of any mode, which is converted as by ``read_image``, or a uint8 tensor
    (3, H, W); returns a float32 tensor (3, *size). The erased rectangle is 0 after normalizing:
    the mean color.

    Args:
        size: height and width.
        flip: probability of mirroring the image, left to right.
        erase: probability of erasing a rectangle (Zhong et al., arXiv 1708.04896, whose sizes these
            are).
        patch: probability of pasting a piece of another image (``RandomPatch``).
        mean, std: of each channel, for pixels from 0 to 1.

    Raises:
        TypeError: the image is neither a PIL image nor a tensor.
        ValueError: size is not two sides above 0, mean or std not three numbers, a probability
            not in [0, 1]; a tensor is not uint8 with three channels; a PIL image holds floats.

    Source: the choice and the probabilities are those of MDPR, section IV.

    >>> train_transform((128, 64))(torch.zeros(3, 100, 50, dtype=torch.uint8)).shape
    torch.Size([3, 128, 64])
    """
    for name, share in (("flip", flip), ("erase", erase), ("patch", patch)):
        if not 0 <= share <= 1:
            raise ValueError(f"train_transform expects {name} from 0 to 1, got {share}")
    return v2.Compose(
        [
            _resize("train_transform", size),
            RandomFlip(flip),
            *([RandomPatch(patch)] if patch > 0 else []),  # without it there is no pool to fill
            *_normalize("train_transform", mean, std),
            RandomErase(erase),
        ]
    )


def eval_transform(
    size: tuple[int, int] = (256, 128),
    *,
    mean: tuple[float, float, float] = IMAGENET_MEAN,
    std: tuple[float, float, float] = IMAGENET_STD,
) -> v2.Compose:
    """Resize and normalize: ``train_transform`` without random augmentation.

    Takes a PIL image of any mode, which is converted as by ``read_image``, or a uint8 tensor
    (3, H, W); returns a float32 tensor (3, *size).

    Raises:
        TypeError, ValueError: as ``train_transform``.

    >>> image = torch.full((3, 10, 5), 255, dtype=torch.uint8)
    >>> eval_transform((4, 2), mean=(0.5, 0.5, 0.5), std=(0.5, 0.5, 0.5))(image).unique()
    tensor([1.])
    """
    return v2.Compose([_resize("eval_transform", size), *_normalize("eval_transform", mean, std)])


def resize_transform(
    size: tuple[int, int] = (256, 128),
) -> Callable[[Image.Image | Tensor], Tensor]:
    """Resize to uint8, for use before ``BatchAugmentation``.

    Takes what ``train_transform`` takes; returns a uint8 tensor (3, *size).

    Raises:
        TypeError, ValueError: as ``train_transform``.

    >>> resize_transform((8, 4))(Image.new("RGB", (50, 100))).shape
    torch.Size([3, 8, 4])
    """
    return _resize("resize_transform", size)


def expect_channels(caller: str, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
    """Raise unless mean and std have a number for each of three channels."""
    for name, values in (("mean", mean), ("std", std)):
        if not isinstance(values, Sequence) or len(values) != 3:
            raise ValueError(
                f"{caller} expects {name} as three numbers, for red, green and blue, got {values!r}"
            )
    expect_positive(caller, **{"the least of std": min(std)})


def _resize(caller: str, size: tuple[int, int]) -> Callable[[Image.Image | Tensor], Tensor]:
    if not isinstance(size, Sequence) or len(size) != 2:
        raise ValueError(f"{caller} expects size (height, width), got {size!r}")
    expect_sizes(caller, **{"height of size": size[0], "width of size": size[1]})
    return functools.partial(_resized, caller=caller, size=(size[0], size[1]))


def _normalize(
    caller: str, mean: tuple[float, ...], std: tuple[float, ...]
) -> tuple[v2.Transform, v2.Transform]:
    expect_channels(caller, mean, std)
    return v2.ToDtype(torch.float32, scale=True), v2.Normalize(list(mean), list(std))


def _resized(image: Image.Image | Tensor, caller: str, size: tuple[int, int]) -> Tensor:
    pixels = _pixels(image, caller)
    if pixels.shape[-2:] == size:
        return pixels
    result: Tensor = v2.functional.resize(pixels, list(size), antialias=True)
    return result


def _pixels(image: Image.Image | Tensor, caller: str) -> Tensor:
    """The bytes of an image as a plain tensor (3, H, W), on the CPU if it is a PIL image."""
    wanted = f"{caller} expects a PIL image or a uint8 tensor (3, H, W)"
    if isinstance(image, Image.Image):
        try:
            image = to_rgb(image)
        except ValueError as error:
            raise ValueError(f"{wanted}, got a PIL image that cannot be RGB: {error}") from error
        # torchvision's pil_to_tensor would put it on torch's default device
        pixels = torch.frombuffer(bytearray(image.tobytes()), dtype=torch.uint8)
        return pixels.view(image.height, image.width, 3).permute(2, 0, 1)
    if not isinstance(image, Tensor):
        raise TypeError(
            f"{wanted}, got {type(image).__name__}; make an RGB array (H, W, 3) an image by "
            "PIL.Image.fromarray (OpenCV's are BGR: turn the channels first)"
        )
    if image.dtype != torch.uint8 or image.dim() < 3 or image.shape[-3] != 3:
        raise ValueError(
            f"{wanted}, got {image.dtype} {tuple(image.shape)}; pixels from 0 to 1 become bytes by "
            "(255 * image).round().to(torch.uint8)"
        )
    return image.as_subclass(Tensor)
