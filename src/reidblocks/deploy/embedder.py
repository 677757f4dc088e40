"""A network that takes pixels: its preprocessing is a part of it."""

import math
import operator
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from reidblocks._checks import expect_positive, expect_shape, expect_size
from reidblocks._imagenet import IMAGENET_MEAN, IMAGENET_STD
from reidblocks._modes import eval_mode
from reidblocks._vectors import unit_vectors
from reidblocks.deploy.spec import EmbedderSpec, fingerprint_of


class Embedder(nn.Module):
    """Resize, scale and normalize images as the network was trained on, and embed them.

    It takes the pixels as they were read, integers from 0 to 255, and nothing else, so that
    no image is normalized twice or not at all. What is exported or compiled has it all inside.

    Images of another size are resized bilinearly with antialiasing, as by ``eval_transform``,
    but without its rounding to whole pixel values (by half a level of 255 at most).
    PIL's own bilinear filter differs from both by about a level.

    Args:
        network: gives embeddings (B, D) for float images (B, 3, *size). It is kept, not copied,
            and runs in the precision of its parameters.
        size: height and width of the images it takes.
        mean, std: of each of its channels, for pixels from 0 to 1; ImageNet's unless given.
        channel_order: of the network's input. The images that come are always RGB.
        normalize: L2-normalize the embeddings, so that the product of two is their cosine.
        name: of the model, for people to read; the network's class unless given.

    Shape:
        (B, 3, H, W) of uint8 → (B, D) of float32; any H and W

    Raises:
        ValueError: size is not two integers, mean or std not three numbers; a size or std is
            not above 0; mean is above 1; the images are not (B, 3, H, W) of uint8; the network is
            in training mode.
        TypeError: the network gives something else than a tensor.

    >>> network = nn.Sequential(nn.Conv2d(3, 8, 3), nn.AdaptiveAvgPool2d(1), nn.Flatten())
    >>> embedder = Embedder(network, size=(128, 64)).eval()
    >>> embedder(torch.randint(0, 256, (2, 3, 100, 50), dtype=torch.uint8)).shape
    torch.Size([2, 8])
    >>> embedder.dimension
    8
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self,
        network: nn.Module,
        size: tuple[int, int],
        *,
        mean: tuple[float, float, float] = IMAGENET_MEAN,
        std: tuple[float, float, float] = IMAGENET_STD,
        channel_order: Literal["RGB", "BGR"] = "RGB",
        normalize: bool = False,
        name: str = "",
    ) -> None:
        super().__init__()
        height, width = _height_and_width(size)
        mean, std = _of_three_channels("mean", mean), _of_three_channels("std", std)
        expect_positive("Embedder", height=height, width=width, std=min(std))
        if max(mean) > 1:
            raise ValueError(
                f"Embedder expects mean for pixels from 0 to 1, got {mean}: divide it, and std, "
                "by 255"
            )
        if channel_order not in ("RGB", "BGR"):
            raise ValueError(
                f"Embedder expects channel_order 'RGB' or 'BGR', got {channel_order!r}"
            )
        self.network = network
        self.name = name or type(network).__name__
        self._dimension, self._fingerprint = 0, ""  # a file tells them, else they are found
        self._resizes = True
        self._image_size: tuple[int, int] | None = None  # that of a file for one size
        self.size, self.channel_order, self.normalize = (
            (height, width),
            channel_order,
            normalize,
        )
        # in levels from 0 to 255, and in float32 whatever becomes of the network
        self.register_buffer("mean", 255 * torch.tensor(mean).view(3, 1, 1))
        self.register_buffer("std", 255 * torch.tensor(std).view(3, 1, 1))

    def forward(self, images: Tensor) -> Tensor:
        expect_shape("Embedder", "images", images, "B C H W")
        expect_size("Embedder", "images", images, 1, 3)
        if images.dtype != torch.uint8:
            raise ValueError(
                f"Embedder expects images of uint8, RGB from 0 to 255, got {images.dtype}: it "
                "scales and normalizes them itself, so give the pixels as they were read"
            )
        if self.network.training:
            raise ValueError("Embedder expects its network in eval mode; call .eval()")
        embeddings = self.network(self._prepared(images))
        if not isinstance(embeddings, Tensor):
            raise TypeError(
                "Embedder expects a network that gives a tensor (B, D), got "
                f"{type(embeddings).__name__}; wrap it in a module that picks the embedding"
            )
        expect_shape("Embedder", "the network to give embeddings", embeddings, "B D")
        embeddings = embeddings.float()
        return unit_vectors(embeddings) if self.normalize else embeddings

    def _prepared(self, images: Tensor) -> Tensor:
        """Return what the network takes."""
        pixels = images.float()
        if self._resizes:
            pixels = F.interpolate(pixels, self.size, mode="bilinear", antialias=True)
        if self.channel_order == "BGR":
            pixels = pixels.flip(1)
        pixels = (pixels - self.mean.float()) / self.std.float()
        dtype = [*self.network.parameters(), self.mean][0].dtype
        return pixels.to(dtype, memory_format=torch.channels_last)

    @property
    def dimension(self) -> int:
        """D, the numbers of an embedding; found once, by embedding a black image."""
        if not self._dimension:
            black = self.mean.new_zeros((1, 3, *self.size), dtype=torch.uint8)
            with eval_mode(self.network), torch.no_grad():
                self._dimension = self(black).shape[1]
        return self._dimension

    @property
    def spec(self) -> EmbedderSpec:
        """Which model this is: the same in every file format that `save_embedder`, `export_onnx`
        and `export_program` write.

        The fingerprint is the SHA-256 of the network's weights and of the preprocessing, computed
        at each call, or as the file tells it that the model was read from. Where weights do not
        tell what a network computes, such as which of its features, its ``extra_repr`` does. A
        network that was folded or made half precision before it was written is another model:
        leave both to the functions that write.
        """
        return EmbedderSpec(self.name, self.dimension, self._fingerprint or self._computed())

    def _computed(self) -> str:
        levels = [values.flatten().tolist() for values in (self.mean, self.std)]
        told = [self.size, levels, self.channel_order, self.normalize, self.dimension]
        return fingerprint_of(self.network, f"{told} {self.network.extra_repr()}\n")

    def extra_repr(self) -> str:
        return f"size={self.size}, channel_order={self.channel_order!r}, normalize={self.normalize}"


def _height_and_width(size: Any, caller: str = "Embedder", name: str = "size") -> tuple[int, int]:
    """Return two integers, or say that they are expected."""
    try:
        height, width = (operator.index(side) for side in size)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{caller} expects {name} as height and width, such as (256, 128), got {size!r}"
        ) from error
    return height, width


def _of_three_channels(name: str, values: Any) -> tuple[float, float, float]:
    """Return a number for each channel, or say that they are expected."""
    try:
        red, green, blue = (float(value) for value in values)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"Embedder expects {name} of 3 channels, such as (0.5, 0.5, 0.5), got {values!r}"
        ) from error
    if not all(map(math.isfinite, (red, green, blue))):
        raise ValueError(f"Embedder expects {name} of finite numbers, got {values!r}")
    return red, green, blue
