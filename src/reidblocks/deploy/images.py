"""Images of any kind and size to embeddings, by one call."""

from collections.abc import Iterable, Iterator, Sized
from concurrent.futures import ThreadPoolExecutor
from os import PathLike
from typing import Any, NamedTuple, TypeAlias

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torchvision.transforms.v2 import functional as transforms

from reidblocks._checks import expect_whole
from reidblocks._images import read_image, to_rgb
from reidblocks._modes import eval_mode
from reidblocks._progress import counted
from reidblocks.deploy.embedder import Embedder

#: A path, a PIL image, an array (H, W, 3) or a tensor (3, H, W); of uint8, RGB.
Crop: TypeAlias = "str | PathLike[str] | Image.Image | np.ndarray[Any, Any] | Tensor"


class EmbeddedImages(NamedTuple):
    """Embeddings, the indices of their images, and the images that could not be read."""

    embeddings: Tensor  # (N, D), float32, on the CPU
    places: list[int]  # N
    unread: dict[int, str]  # place: why


def embed(
    embedder: Embedder,
    images: Iterable[Crop],
    *,
    batch_size: int = 64,
    workers: int = 4,
    progress: bool = False,
) -> EmbeddedImages:
    """Embed images of any size: paths, PIL images, arrays and tensors.

    Each is resized as by ``eval_transform``, so that any of them make a batch. A file that cannot
    be read is skipped and reported.

    Args:
        embedder: is used where it is, on its device, in eval mode meanwhile.
        images: the crops, one person each. Arrays (H, W, 3) and tensors (3, H, W) are of uint8,
            RGB: of an OpenCV image give ``image[..., ::-1]``.
        batch_size: images embedded at once.
        workers: threads that read and resize.
        progress: count the images on stderr.

    Raises:
        TypeError: an image is of no such kind, or one is given instead of several.
        ValueError: an array or a tensor has another shape or type, or no pixel.

    >>> network = torch.nn.Sequential(torch.nn.AdaptiveAvgPool2d(1), torch.nn.Flatten())
    >>> embedder = Embedder(network, size=(64, 32))
    >>> crop = torch.randint(0, 256, (3, 90, 40), dtype=torch.uint8)
    >>> found = embed(embedder, [crop, "no_such_file.jpg", crop.permute(1, 2, 0).numpy()])
    >>> found.embeddings.shape, found.places, list(found.unread)
    (torch.Size([2, 3]), [0, 2], [1])
    """
    batch_size = expect_whole("embed", "batch_size", batch_size)
    workers = expect_whole("embed", "workers", workers)
    parts: list[Tensor] = []
    places: list[int] = []
    unread: dict[int, str] = {}
    batch: list[Tensor] = []
    if isinstance(images, str | PathLike | Image.Image):
        raise TypeError(
            f"embed expects several images, got a {type(images).__name__}: put it in a list"
        )
    total = len(images) if isinstance(images, Sized) else None
    read = _read(images, embedder.size, workers, 2 * batch_size)
    for place, pixels in enumerate(counted(read, "images embedded:", total, shown=progress)):
        if isinstance(pixels, str):
            unread[place] = pixels
            continue
        places.append(place)
        batch.append(pixels)
        if len(batch) == batch_size:
            parts.append(embed_pixels(embedder, torch.stack(batch)))
            batch = []
    if batch or not parts:
        height, width = embedder.size
        rest = torch.stack(batch) if batch else torch.zeros(0, 3, height, width, dtype=torch.uint8)
        parts.append(embed_pixels(embedder, rest))
    return EmbeddedImages(torch.cat(parts), places, unread)


def embed_pixels(embedder: Embedder, pixels: Tensor) -> Tensor:
    """Return embeddings, in float32 on the CPU, of a batch (B, 3, H, W) of uint8; B may be 0."""
    some = pixels if len(pixels) else pixels.new_zeros(1, *pixels.shape[1:])  # it may fail on none
    with eval_mode(embedder), torch.inference_mode():
        embeddings: Tensor = embedder(some.to(embedder.mean.device))
    # a plain tensor, outside of inference mode too
    return embeddings[: len(pixels)].float().cpu().clone()


def resized(pixels: Tensor, size: tuple[int, int]) -> Tensor:
    """Return an image (3, H, W) of uint8 in this height and width, as ``eval_transform`` does."""
    image: Tensor = transforms.resize(pixels, list(size), antialias=True)
    return image


def _read(
    images: Iterable[Crop], size: tuple[int, int], workers: int, ahead: int
) -> Iterator[Tensor | str]:
    """Yield each image, resized, or why its file cannot be read; some are read ahead."""
    with ThreadPoolExecutor(workers) as pool:
        waiting: list[Any] = []
        for place, image in enumerate(images):
            waiting.append(pool.submit(_open, place, image, size))
            if len(waiting) > ahead:
                yield waiting.pop(0).result()
        for each in waiting:
            yield each.result()


def _open(place: int, image: Crop, size: tuple[int, int]) -> Tensor | str:
    if isinstance(image, str | PathLike):
        try:
            pixels = _of_pil(read_image(str(image), target_size=size))
        except OSError as error:
            return str(error)
    elif isinstance(image, Image.Image):
        pixels = _of_pil(to_rgb(ImageOps.exif_transpose(image)))
    elif isinstance(image, np.ndarray | Tensor):
        pixels = _of_array(place, image)
    else:
        raise TypeError(
            "embed expects a path, a PIL image, an array (H, W, 3) or a tensor (3, H, W), got "
            f"{type(image).__name__} as image {place}"
        )
    return resized(pixels, size)


def _of_pil(image: Image.Image) -> Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)


def _of_array(place: int, image: "np.ndarray[Any, Any] | Tensor") -> Tensor:
    is_array = isinstance(image, np.ndarray)
    if image.ndim != 3 or image.shape[2 if is_array else 0] != 3 or 0 in image.shape:
        wanted = "an array (H, W, 3)" if is_array else "a tensor (3, H, W)"
        raise ValueError(
            f"embed expects image {place} as {wanted} with at least one pixel, got "
            f"{tuple(image.shape)}"
        )
    if str(image.dtype).removeprefix("torch.") != "uint8":
        raise ValueError(
            f"embed expects image {place} of uint8, RGB from 0 to 255, got {image.dtype}: give "
            "the pixels as they were read"
        )
    if isinstance(image, Tensor):
        return image.cpu()
    return torch.from_numpy(np.ascontiguousarray(image)).permute(2, 0, 1)
