"""From a sample to pixels."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from PIL import Image, ImageOps, UnidentifiedImageError
from torch.utils.data import Dataset

from reidblocks.data.numbers import whole_number
from reidblocks.data.samples import Sample, as_sample

_ORIENTATION = 0x0112  # the EXIF tag that says how the camera was held
_LYING = (5, 6, 7, 8)  # its values for pictures that lie on their side in the file


def read_image(path: str | Path, *, target_size: tuple[int, int] | None = None) -> Image.Image:
    """Read an image file upright and in RGB, 8 bits a channel.

    Grey, palette, CMYK and transparent images are converted, 16 bits are brought down to 8, and
    the camera's note on how it was held (EXIF) is obeyed. Of an animation, the first picture.

    Args:
        path: the file.
        target_size: height and width to which the image will be resized. A JPEG of eight times
            that or more is decoded at a half, a quarter or an eighth, and never at less than four
            times the target: resized, pixels differ by one or two of 255 levels, at edges.

    Raises:
        OSError: the file is missing, empty, cut short or no image of a known kind.
    """
    try:
        with Image.open(path) as image:
            orientation = image.getexif().get(_ORIENTATION, 1)
            if target_size is not None and image.format == "JPEG":
                rows, columns = target_size[::-1] if orientation in _LYING else target_size
                image.draft(None, (4 * columns, 4 * rows))
            # It copies the image even where there is nothing to do.
            return to_rgb(ImageOps.exif_transpose(image) if orientation != 1 else image)
    except Exception as error:  # decoders raise anything from OSError to SyntaxError
        what: object = error
        if isinstance(error, UnidentifiedImageError):
            what = "no image of a known kind" if Path(path).stat().st_size else "it is empty"
        raise OSError(
            f"cannot read the image {path} ({what}); restore the file, or take it out of the data"
        ) from error


def to_rgb(image: Image.Image) -> Image.Image:
    """Convert an image to RGB, 8 bits a channel, of whatever mode it is.

    Raises:
        ValueError: its pixels are floats.
    """
    if image.mode == "F":
        raise ValueError("its pixels are floats of unknown range")
    if image.mode.startswith("I"):  # 16-bit grey, which convert would clip at 255
        image = image.convert("I").point(lambda value: value * (1 / 256)).convert("L")
    return image.convert("RGB")


class Item(NamedTuple):
    """One image with what is known of it; a DataLoader stacks each field over the batch."""

    image: Any  # what the transform returned; a batch holds the tensor (B, 3, H, W)
    label: int  # training label, or the identity where no labels were given
    camera: int  # −1 where it is unknown
    position: int  # its place among the samples


class ImageDataset(Dataset[Item]):
    """The images of some samples, read when they are asked for.

    Args:
        samples: what to read, as ``ReIDDataset.train``, ``.query`` or ``.gallery``.
        transform: takes the PIL image (RGB); left out, the PIL image itself is returned.
        labels: identity → label, as ``ReIDDataset.labels`` for training images; left out, the
            label is the identity.
        target_size: height and width to which the transform resizes, if it does: large JPEGs are
            then decoded at a reduced scale (``read_image``).

    Raises:
        TypeError: an identity, a camera or a label is a string, a boolean or no number.
        ValueError: one of them is no whole number, or too large for int64; an identity of the
            samples is not among the labels.
        OSError: on reading, an image that cannot be read.

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
        path, identity, camera = self.samples[index]
        image: Any = read_image(path, target_size=self.target_size)
        if self.transform is not None:
            image = self.transform(image)
        label = identity if self.labels is None else self.labels[identity]
        return Item(image, label, -1 if camera is None else camera, index)
