"""From a sample to pixels."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from PIL import Image
from torch.utils.data import Dataset

from reidblocks._images import read_image
from reidblocks.data.numbers import whole_number
from reidblocks.data.samples import Sample, as_sample


class Item(NamedTuple):
    """One image with its labels; a DataLoader stacks each field over the batch."""

    image: Any  # what the transform returned; a batch holds the tensor (B, 3, H, W)
    label: int  # training label, or the identity where no labels were given
    camera: int  # −1 where it is unknown
    position: int  # its place among the samples
    path: str = ""
    sequence: int = -1  # as the camera
    clothes: int = -1
    time: float = math.nan  # where it is unknown


class ImageDataset(Dataset[Item]):
    """The images of samples, each read when it is accessed.

    Args:
        samples: what to read, as ``ReIDDataset.train``, ``.query`` or ``.gallery``.
        transform: takes the PIL image (RGB); if omitted, the PIL image itself is returned.
        labels: identity → label, as ``ReIDDataset.labels`` for training images; if omitted, the
            label is the identity.
        target_size: height and width to which the transform resizes, if it does: large JPEGs are
            then decoded at a reduced scale (``read_image``).

    Raises:
        TypeError: an identity, a camera or a label is a string, a boolean or not a number.
        ValueError: one of them is not an integer, or too large for int64; an identity of the
            samples is not among the labels.
        OSError: on reading, an image that cannot be read.

    >>> from pathlib import Path
    >>> people = ImageDataset([Sample(Path("a.jpg"), 7, None)], labels={7: 0})
    >>> len(people)
    1
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        transform: Callable[[Image.Image], Any] | None = None,
        labels: Mapping[int, int] | None = None,
        target_size: tuple[int, int] | None = None,
    ) -> None:
        samples = [as_sample(sample, "ImageDataset") for sample in samples]
        if labels is not None:
            labels = {
                identity: whole_number(label, f"ImageDataset expects the label of {identity}")
                for identity, label in labels.items()
            }
            for sample in samples:
                if sample.identity not in labels:
                    raise ValueError(
                        f"ImageDataset has no label for identity {sample.identity} of "
                        f"{sample.path}; give labels with training images only"
                    )
        self.samples = samples
        self.transform = transform
        self.labels = labels
        self.target_size = target_size

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> Item:
        sample = self.samples[index]
        image: Any = read_image(sample.path, target_size=self.target_size)
        if self.transform is not None:
            image = self.transform(image)
        return Item(
            image,
            sample.identity if self.labels is None else self.labels[sample.identity],
            -1 if sample.camera is None else sample.camera,
            index,
            str(sample.path),
            -1 if sample.sequence is None else sample.sequence,
            -1 if sample.clothes is None else sample.clothes,
            math.nan if sample.time is None else sample.time,
        )
