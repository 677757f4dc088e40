"""A batch as the network sees it."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from torch import Tensor

from reidblocks.visualization._sheet import Sheet
from reidblocks.visualization._text import LINE, SMALL
from reidblocks.visualization._values import expect_several, whole
from reidblocks.visualization.images import ImageSource, load_image

MAX_BATCH = 256

CELL, GAP = 0.7, 0.08  # inches


def batch_sheet(
    images: Sequence[ImageSource] | Tensor,
    labels: Sequence[object] | Tensor,
    columns: int = 8,
    title: str | None = None,
) -> Figure:
    """Draw the images of a batch in their order, with the label under each.

    With ``columns`` the K of a P×K batch, each identity is a row. Undo a normalization first:
    ``batch_sheet(unnormalize(images, mean, std), labels)``. At most 256 images are drawn; a note
    says how many there were.

    Args:
        images: the batch after augmentation, in [0, 1].
        labels: one per image.
        columns: images in a row, 1 to 32.
        title: text above the images.

    Raises:
        TypeError: a single image or label instead of several, columns that is not an integer.
        ValueError: no image, labels of another length, columns out of range.
        OSError, TypeError, ValueError: an image cannot be read.

    >>> import torch
    >>> figure = batch_sheet(torch.rand(8, 3, 64, 32), torch.arange(8) // 4, columns=4)
    >>> [text.get_text() for text in figure.axes[0].texts]
    ['0', '0', '0', '0', '1', '1', '1', '1']
    """
    expect_several("batch_sheet", "images", images)
    expect_several("batch_sheet", "labels", labels)
    columns = whole("batch_sheet", "columns", columns)
    if not len(images) or len(labels) != len(images):
        raise ValueError(
            "batch_sheet expects at least one image and a label for each, "
            f"got {len(images)} images and {len(labels)} labels"
        )
    if not 1 <= columns <= 32:
        raise ValueError(f"batch_sheet expects columns from 1 to 32, got {columns}")
    shown = min(len(images), MAX_BATCH)
    pictures = [load_image(images[n], round(3 * CELL * 100)) for n in range(shown)]
    tall = CELL * min(max(p.height / p.width for p in pictures), 2.5)
    row_height = tall + SMALL * LINE + 0.08
    columns = min(columns, shown)
    width = max(columns * (CELL + GAP) - GAP, 1.6)
    note = f"The first {shown} of {len(images):,} images." if shown < len(images) else ""
    sheet = Sheet(width, -(-shown // columns) * row_height, title, [note])
    for n, picture in enumerate(pictures):
        x, y = n % columns * (CELL + GAP), n // columns * row_height
        sheet.image(picture, x, y, CELL, tall)
        sheet.text(labels[n], x + CELL / 2, y + tall + 0.02, CELL + GAP - 0.04)
    return sheet.figure
