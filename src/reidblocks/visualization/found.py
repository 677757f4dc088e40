"""The results of a search: each query image, the person, and the nearest images."""

from collections.abc import Sequence
from typing import NamedTuple

from matplotlib.figure import Figure

from reidblocks.visualization._sheet import Sheet
from reidblocks.visualization._style import BLUE, FAINT, INK
from reidblocks.visualization._text import LINE, MEDIUM, shorten
from reidblocks.visualization._values import as_text, camera_text, expect_several, number
from reidblocks.visualization.images import ImageSource, load_image
from reidblocks.visualization.ranked import (
    CAPTION,
    CELL,
    GAP,
    MAX_MATCHES,
    MAX_QUERIES,
    cell,
    cell_height,
)


class FoundImage(NamedTuple):
    """An image that a search found: the person and the distance to the query."""

    image: ImageSource
    distance: float
    name: str = ""  # empty where nobody knows
    camera: str | int | None = None
    near: bool = True  # False: farther than what counts as a match


class FoundPerson(NamedTuple):
    """A query image, the answer, and the images found, nearest first."""

    image: ImageSource
    answer: str
    found: Sequence[FoundImage]


def answer_sheet(people: Sequence[FoundPerson], title: str | None = None) -> Figure:
    """Draw one row per query image: the answer, the image, and the nearest images.

    An image that is near enough has a blue solid frame, one that is not a gray dotted one. The
    person is above it, camera and distance are below. At most 20 rows of 20 images are drawn; a
    note says how many there were. Unlike in `ranked_list`, matches are not marked as correct,
    because the truth is unknown.

    Args:
        people: what to draw, in this order; rows may differ in length.
        title: text above the rows.

    Raises:
        TypeError: an entry is no FoundPerson; a distance is not a number.
        ValueError: there is no entry.
        OSError, TypeError, ValueError: an image cannot be read.

    >>> import torch
    >>> image = torch.rand(3, 128, 64)
    >>> found = [FoundImage(image, 0.1, "anna", "hall"), FoundImage(image, 0.7, "ben", near=False)]
    >>> figure = answer_sheet([FoundPerson(image, "anna", found)])
    >>> len(figure.axes[0].images)
    3
    """
    expect_several("answer_sheet", "FoundPerson", people)
    if not len(people):
        raise ValueError("answer_sheet expects at least one FoundPerson, got none")
    for each in people:
        if not isinstance(each, FoundPerson):
            raise TypeError(f"answer_sheet expects FoundPerson, got {type(each).__name__}")
    side = round(3 * CELL * 100)
    rows = [
        (
            each,
            load_image(each.image, side),
            [load_image(one.image, side) for one in each.found[:MAX_MATCHES]],
        )
        for each in people[:MAX_QUERIES]
    ]
    tall = cell_height([image for _, asked, found in rows for image in (asked, *found)])
    row_height = MEDIUM * LINE + CAPTION + tall + 2 * CAPTION + GAP + 0.06
    width = max((1 + max(len(found) for _, _, found in rows)) * (CELL + GAP) + GAP, 2.6)
    sheet = Sheet(width, len(rows) * row_height, title, _notes(people))
    for place, (each, asked, images) in enumerate(rows):
        y = place * row_height
        answer = shorten(as_text(each.answer), width, MEDIUM, bold=True)
        sheet.text(answer, 0, y, size=MEDIUM, align="left", bold=True)
        y += MEDIUM * LINE
        cell(sheet, 0, y, tall, asked, "asked", (INK, "-"), "", "")
        for column, (one, image) in enumerate(zip(each.found, images, strict=False), 1):
            frame = (BLUE, "-") if one.near else (FAINT, ":")
            distance = f"{number('FoundImage', 'distance', one.distance):.3f}"
            x = column * (CELL + GAP) + GAP
            captions = camera_text(one.camera), distance
            cell(sheet, x, y, tall, image, as_text(one.name) or "unnamed", frame, *captions)
    return sheet.figure


def _notes(people: Sequence[FoundPerson]) -> list[str]:
    notes = ["blue frame: near enough · gray dotted frame: too far · below: camera, distance"]
    if len(people) > MAX_QUERIES:
        notes.append(f"The first {MAX_QUERIES} of {len(people):,} images.")
    if (longest := max(len(each.found) for each in people)) > MAX_MATCHES:
        notes.append(f"The first {MAX_MATCHES} of {longest:,} found.")
    return notes
