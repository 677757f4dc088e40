"""A track: the crops of one person, one after the other."""

import math
from collections.abc import Sequence

from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from torch import Tensor

from reidblocks.visualization._sheet import Sheet
from reidblocks.visualization._style import BLUE, GRID
from reidblocks.visualization._text import LINE, SMALL
from reidblocks.visualization._values import expect_several, number, outcome, scalar, whole
from reidblocks.visualization.images import ImageSource, load_image
from reidblocks.visualization.ranked import MARKS

MAX_CROPS = 96

CELL, GAP, BAR = 0.6, 0.12, 0.06  # inches
CAPTION = SMALL * LINE


def track_strip(
    images: Sequence[ImageSource] | Tensor,
    *,
    times: Sequence[float | None] | Tensor | None = None,
    qualities: Sequence[float] | Tensor | None = None,
    correct: Sequence[bool | None] | None = None,
    columns: int = 12,
    title: str | None = None,
) -> Figure:
    """Draw the crops of a track in the order of their times, row by row.

    Under each crop is its time, and a bar whose length is its quality compared with the highest of
    the track. A crop of the track's person has a green unbroken frame and ✓, one of another
    person a red dashed frame and ✗, so that color is not needed; one that is not judged
    a dotted gray frame. At most 96 crops are drawn; a note says how many there are.

    Args:
        images: the crops.
        times: one for each, in seconds or frames; None or NaN, an unknown one, comes last.
        qualities: one for each, from 0 on, such as the weights of ``aggregate``.
        correct: for each, whether it shows the track's person; None where it is not judged.
        columns: crops per row, 1 to 32.
        title: is written above the crops.

    Raises:
        TypeError: a single image instead of several; times or qualities are not numbers;
            correct is neither True, False nor None; columns is not an integer.
        ValueError: no image; another number of times, qualities or outcomes; a quality is below 0
            or not finite; columns out of range.
        OSError, TypeError, ValueError: an image cannot be read, see ``load_image``.

    >>> import torch
    >>> figure = track_strip(torch.rand(3, 3, 64, 32), times=[0.5, 0.0, 1.0])
    >>> len(figure.axes[0].images)
    3
    """
    expect_several("track_strip", "images", images)
    columns = whole("track_strip", "columns", columns)
    if not 1 <= columns <= 32:
        raise ValueError(f"track_strip expects columns from 1 to 32, got {columns}")
    if not len(images):
        raise ValueError("track_strip expects at least one image, got none")
    when = _of_each("times", times, len(images))
    good = _of_each("qualities", qualities, len(images))
    if not all(0 <= quality < math.inf for quality in good):
        raise ValueError("track_strip expects qualities that are finite and from 0 on")
    judged = [] if correct is None else [outcome("track_strip", value) for value in correct]
    if correct is not None and len(judged) != len(images):
        raise ValueError(
            f"track_strip expects correct for each of {len(images)} images, got {len(judged)}"
        )
    order = sorted(range(len(images)), key=lambda n: _late(when[n]) if when else 0.0)
    shown = order[:MAX_CROPS]
    crops = [load_image(images[n], round(3 * CELL * 100)) for n in shown]
    tall = CELL * min(max(crop.height / crop.width for crop in crops), 2.5)
    above, bar = (CAPTION if judged else 0.0), (BAR + 0.06 if good else 0.0)
    row_height = above + tall + bar + (CAPTION if when else 0.0) + GAP
    columns = min(columns, len(shown))
    sheet = Sheet(
        max(columns * (CELL + GAP) - GAP, 1.6),
        -(-len(shown) // columns) * row_height,
        title,
        _notes(len(images), when, good, judged),
    )
    highest = max(good, default=0.0) or 1.0
    for place, (n, crop) in enumerate(zip(shown, crops, strict=True)):
        x, y = place % columns * (CELL + GAP), place // columns * row_height
        mark, color, dashes = MARKS[judged[n]] if judged else MARKS[None]
        if judged:
            sheet.text(mark, x + CELL / 2, y, CELL, SMALL, color, "center", True)
        y += above
        sheet.image(crop, x, y, CELL, tall, (color, dashes) if judged else None)
        y += tall + 0.05
        if good:
            for width, shade in ((CELL, GRID), (CELL * good[n] / highest, BLUE)):
                sheet.axes.add_patch(Rectangle((x, y), width, BAR, color=shade, lw=0))
            y += bar
        if when and not math.isnan(when[n]):
            sheet.text(f"{when[n]:.6g}", x + CELL / 2, y, CELL + GAP - 0.04)
    return sheet.figure


def _of_each(name: str, values: Sequence[object] | Tensor | None, count: int) -> list[float]:
    """A number for each image, NaN where it is None; an empty list where there are none."""
    if values is None:
        return []
    expect_several("track_strip", name, values)
    if len(values) != count:
        raise ValueError(
            f"track_strip expects {name} for each of {count} images, got {len(values)}"
        )
    none = name == "times"
    return [
        math.nan if none and scalar(value) is None else number("track_strip", name, value)
        for value in values
    ]


def _late(time: float) -> float:
    return math.inf if math.isnan(time) else time


def _notes(
    count: int, when: list[float], good: list[float], judged: list[bool | None]
) -> list[str]:
    parts = [
        "✓ the track's person · ✗ another · – not judged" if judged else "",
        "bar: quality, relative to the highest" if good else "",
        "below: time" if when else "",
    ]
    notes = [" · ".join(filter(None, parts))]
    if count > MAX_CROPS:
        notes.append(f"The first {MAX_CROPS} of {count:,} crops.")
    return [note for note in notes if note]
