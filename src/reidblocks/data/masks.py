"""Masks of the people in a set's images, where they lie next to these."""

from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from reidblocks._checks import expect_sizes
from reidblocks._images import read_image

MASKS = "masks"


def mask_path(path: str | Path) -> Path:
    """Return where the mask of an image lies: SET/masks/SPLIT/NAME.png of SET/SPLIT/NAME.jpg.

    >>> mask_path("people/query/0001_c1s1_000001_01.jpg").as_posix()
    'people/masks/query/0001_c1s1_000001_01.png'
    """
    path = Path(path)
    return path.parent.parent / MASKS / path.parent.name / f"{path.stem}.png"


def read_masks(paths: Sequence[str | Path], size: tuple[int, int]) -> Tensor:
    """Read and resize the masks of images: the fraction of each pixel that shows the person.

    `synthetic_people` draws them; those of your own images, from a segmentation, may lie in the
    same place. A mask is a gray image: 255 where the person is to be seen, 0 elsewhere.

    Args:
        paths: of the images; see `mask_path`.
        size: height and width.

    Returns:
        (B, H, W) of float32 from 0 to 1

    Raises:
        FileNotFoundError: an image has no mask.
        OSError: a mask cannot be read.
        ValueError: there are no paths.

    >>> from reidblocks.data import synthetic_people
    >>> people = synthetic_people(".", num_train_identities=1, num_test_identities=1)
    >>> masks = read_masks(sorted((people / "query").iterdir()), (128, 64))
    >>> masks.shape, 0.1 < float(masks.mean()) < 0.4
    (torch.Size([4, 128, 64]), True)
    """
    height, width = size
    expect_sizes("read_masks", height=height, width=width)
    if not len(paths):
        raise ValueError("read_masks expects at least one path, got none")
    masks = []
    for path in paths:
        place = mask_path(path)
        if not place.is_file():
            raise FileNotFoundError(
                f"read_masks expects the mask of {path} at {place}: synthetic_people draws them; "
                "put those of your own images there"
            )
        gray = read_image(place).convert("L").resize((width, height), Image.Resampling.BOX)
        masks.append(torch.frombuffer(bytearray(gray.tobytes()), dtype=torch.uint8))
    return torch.stack(masks).view(-1, height, width).float() / 255
