"""Images of any kind, converted to small RGB images ready to be drawn."""

from collections.abc import Sequence
from os import PathLike, fspath
from typing import TypeAlias

import torch
from PIL import Image, ImageOps
from torch import Tensor

from reidblocks._checks import expect_shape
from reidblocks._images import read_image, to_rgb
from reidblocks.visualization._values import expect_several, number

#: A path, a PIL image, or a tensor (3, H, W): uint8, or floats in [0, 1].
ImageSource: TypeAlias = str | PathLike[str] | Image.Image | Tensor


def unnormalize(images: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    r"""Undo the normalization of images, to display them.

    $$y_c = \min(1, \max(0, x_c\,\sigma_c + \mu_c))$$

    Args:
        images: what the network is fed: (pixel in [0, 1] − mean) / std, channel by channel.
        mean: the mean of each channel that was subtracted.
        std: the standard deviation of each channel that was divided by.

    Shape:
        (B, C, H, W) → (B, C, H, W), in [0, 1]

    Raises:
        TypeError: mean or std is no list of numbers.
        ValueError: images is not 4-dimensional or holds no floats, or mean or std has not C values.

    >>> float(unnormalize(torch.zeros(1, 3, 2, 2), [0.5] * 3, [0.2] * 3).mean())
    0.5
    """
    expect_shape("unnormalize", "images", images, "B C H W")
    if not images.is_floating_point():
        raise ValueError(f"unnormalize expects images of floats, got {images.dtype}")
    for name, values in (("mean", mean), ("std", std)):
        expect_several("unnormalize", f"numbers as {name}, one per channel", values)
    if not len(mean) == len(std) == images.shape[1]:
        raise ValueError(
            f"unnormalize expects mean and std of {images.shape[1]} channels each, "
            f"got {len(mean)} and {len(std)}"
        )
    scale, shift = (
        images.new_tensor([number("unnormalize", "mean and std", value) for value in values]).view(
            1, -1, 1, 1
        )
        for values in (std, mean)
    )
    return (images * scale + shift).clamp(0, 1)


def load_image(source: ImageSource, max_side: int) -> Image.Image:
    """Return ``source`` as an RGB image whose longer side is at most ``max_side`` pixels.

    Larger images are reduced, smaller ones keep their size; the source is left as it is.

    Args:
        source: a path, a PIL image, or a tensor (3, H, W) of uint8 or of floats in [0, 1].
        max_side: maximum number of pixels along the longer side.

    Raises:
        OSError: the file cannot be read; the message names it.
        TypeError: source is none of the kinds above.
        ValueError: a tensor of another shape, type or range.

    >>> load_image(torch.zeros(3, 128, 64), max_side=32).size
    (16, 32)
    """
    if isinstance(source, Tensor):
        image = _from_tensor(source)
    elif isinstance(source, Image.Image):
        image = to_rgb(ImageOps.exif_transpose(source))
    elif isinstance(source, str | PathLike):
        image = read_image(fspath(source))
    else:
        raise TypeError(
            "an image is a path, a PIL image or a tensor (3, H, W), "
            f"got {type(source).__module__}.{type(source).__qualname__}"
        )
    image.thumbnail((max_side, max_side))
    return image


def _from_tensor(tensor: Tensor) -> Image.Image:
    if tensor.dim() != 3 or tensor.shape[0] != 3 or not tensor.numel():
        raise ValueError(f"an image tensor is (3, H, W) and not empty, got {tuple(tensor.shape)}")
    pixels = tensor.detach().cpu()
    if pixels.is_floating_point():
        pixels = pixels.float()
        low, high = (float(bound) for bound in pixels.aminmax())
        if not (low >= -1e-3 and high <= 1 + 1e-3):  # written so that NaN fails it too
            raise ValueError(
                f"a float image lies in [0, 1], got values from {low:.3g} to {high:.3g}: "
                "undo its normalization first with reidblocks.visualization.unnormalize"
            )
        pixels = (pixels.clamp(0, 1) * 255).round().to(torch.uint8)
    elif pixels.dtype != torch.uint8:
        raise ValueError(f"an image tensor is uint8 or floating point, got {pixels.dtype}")
    return Image.fromarray(pixels.permute(1, 2, 0).contiguous().numpy())
