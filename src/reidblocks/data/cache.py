"""Decoded images kept in memory."""

import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import Dataset

from reidblocks._progress import counted
from reidblocks.data.images import ImageDataset, Item

MEMORY = Path("/proc/meminfo")


class CachedImages(Dataset[Item]):
    """The items of a data set, all read once at the start and kept in memory as uint8.

    Meant for a ``DataLoader`` without workers: a batch is then a copy within memory. Workers
    that are forked see the same memory.

    Args:
        images: a data set whose transform gives uint8 tensors (3, H, W) of one size, as
            ``resize_transform`` does.
        transform: what to do to an image when it is asked for; if omitted, it is given as it is.
        progress: show on standard error how far the reading is.

    Raises:
        ValueError: the transform gives something else.
        MemoryError: the images need more memory than the machine has left.
        OSError: an image cannot be read.
    """

    def __init__(
        self,
        images: ImageDataset,
        transform: Callable[[Tensor], Any] | None = None,
        *,
        progress: bool = False,
    ) -> None:
        self.images = images
        self.transform = transform
        none = torch.empty((3, 0, 0), dtype=torch.uint8, device="cpu")
        first: Any = images[0].image if len(images) else none
        if not isinstance(first, Tensor) or first.dtype != torch.uint8 or first.dim() != 3:
            got = (
                f"{first.dtype} {tuple(first.shape)}" if isinstance(first, Tensor) else type(first)
            )
            raise ValueError(
                f"CachedImages expects images as uint8 tensors (3, H, W), got {got}; "
                "give ImageDataset the transform resize_transform(size)"
            )
        needed, free = len(images) * first.numel(), _free_memory()
        if needed > free:
            raise MemoryError(
                f"CachedImages needs {needed / 2**30:.1f} GiB for {len(images):,} images, the "
                f"machine has {free / 2**30:.1f} GiB left; read from the files, or resize to less"
            )
        shape = (len(images), *first.shape)
        self.pixels = torch.empty(shape, dtype=torch.uint8, device="cpu")
        self.items: list[Item] = []
        with ThreadPoolExecutor(os.cpu_count()) as pool:  # decoding lets other threads run
            items = pool.map(images.__getitem__, range(len(images)))
            shown = counted(items, "images cached:", len(images), shown=progress)
            for index, item in enumerate(shown):
                if item.image.shape != first.shape:
                    raise ValueError(
                        f"CachedImages expects images of one size, got {tuple(first.shape)} and "
                        f"{tuple(item.image.shape)}"
                    )
                self.pixels[index] = item.image
                self.items.append(item._replace(image=None))

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        image: Any = self.pixels[index]
        if self.transform is not None:
            image = self.transform(image)
        return self.items[index]._replace(image=image)


def _free_memory() -> int:
    """Bytes that can be had without swapping, as Linux tells; elsewhere no limit is known."""
    with suppress(OSError):
        for line in MEMORY.read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return 1024 * int(line.split()[1])
    return sys.maxsize
