"""A map of embeddings: images that the model finds similar are close together."""

from collections.abc import Sequence

import torch
from matplotlib.figure import Figure
from torch import Tensor

from reidblocks._checks import expect_shape
from reidblocks.visualization._principal import principal_plane
from reidblocks.visualization._sheet import Sheet
from reidblocks.visualization._style import MARKERS
from reidblocks.visualization._text import LINE, MEDIUM, SMALL
from reidblocks.visualization._values import as_text, expect_several
from reidblocks.visualization.images import ImageSource, load_image

MAX_EMBEDDINGS = 5000
MAX_THUMBNAILS = 150
MAX_NAMED = 12

SIDE, LEGEND = 7.0, 1.6  # inches
BOX_WIDTH, BOX_HEIGHT = 0.46, 0.92  # inches, of a thumbnail with its label


def embedding_map(
    embeddings: Tensor,
    labels: Sequence[object] | Tensor | None = None,
    images: Sequence[ImageSource] | Tensor | None = None,
    title: str | None = None,
) -> Figure:
    """Draw embeddings as points of a plane, with thumbnails where they do not overlap.

    Points of one label have one color and shape. A thumbnail replaces its own point and those it
    would cover, framed in the label's color with the label below. The first 5,000 embeddings and
    at most 150 thumbnails are drawn; a note says how many there were.

    Args:
        embeddings: (B, D), projected on the plane in which they vary most (PCA); or points (B, 2)
            as they are, made by UMAP or t-SNE.
        labels: one per embedding, an identity usually.
        images: one per embedding.
        title: text above the map.

    Raises:
        TypeError: a single image or label instead of several.
        ValueError: embeddings are not (B, D), finite and at least two; labels or images of another
            length.
        OSError, TypeError, ValueError: an image cannot be read.

    >>> figure = embedding_map(torch.rand(20, 8), torch.arange(20) // 5, torch.rand(20, 3, 32, 16))
    """
    expect_shape("embedding_map", "embeddings", embeddings, "B D")
    for name, values in (("labels", labels), ("images", images)):
        if values is None:
            continue
        expect_several("embedding_map", name, values)
        if len(values) != len(embeddings):
            raise ValueError(
                f"embedding_map expects {len(embeddings)} {name}, one per embedding, "
                f"got {len(values)}"
            )
    notes = []
    if len(embeddings) > MAX_EMBEDDINGS:
        notes.append(f"The first {MAX_EMBEDDINGS:,} of {len(embeddings):,} embeddings.")
    points, fractions = principal_plane(embeddings[:MAX_EMBEDDINGS])
    if embeddings.shape[1] == 2:
        points = embeddings[:MAX_EMBEDDINGS].detach().cpu().double()
    else:
        right, up = (100 * float(fraction) for fraction in fractions)
        notes.append(f"Across: {right:.0f}% of the variance. Up: {up:.0f}%.")
    names = _names(labels, len(points))
    kinds = {name: n for n, name in enumerate(dict.fromkeys(names))}
    if len(kinds) > len(MARKERS):
        notes.append(f"{len(kinds):,} labels: colors and shapes repeat.")
    legend = list(kinds) if labels is not None and len(kinds) <= MAX_NAMED else []

    spots, height = _place(points)
    sheet = Sheet(SIDE + (LEGEND if legend else 0), height, title, notes)
    looks = [kinds[name] % len(MARKERS) for name in names]
    box = spots.new_tensor([BOX_WIDTH, BOX_HEIGHT])
    hidden = torch.zeros(len(spots), dtype=torch.bool, device="cpu")
    if images is not None:
        for n in _with_room(spots, box):
            x, y = spots[n].tolist()
            _thumbnail(sheet, images[n], x, y, names[n], MARKERS[looks[n]][0])
            hidden |= ((spots - spots[n]).abs() < box / 2).all(1)
    for look in sorted(set(looks)):
        across, down = spots[(spots.new_tensor(looks) == look) & ~hidden].T.tolist()
        _dots(sheet, across, down, look)
    for n, name in enumerate(legend):
        y = n * 1.3 * MEDIUM * LINE + 0.1
        _dots(sheet, [SIDE + 0.2], [y + MEDIUM / 72 / 2], n)
        sheet.text(name, SIDE + 0.35, y, LEGEND - 0.35, size=MEDIUM, align="left")
    return sheet.figure


def _names(labels: Sequence[object] | Tensor | None, count: int) -> list[str]:
    if labels is None:
        return [""] * count
    return [as_text(labels[n]) for n in range(count)]


def _place(points: Tensor) -> tuple[Tensor, float]:
    """Turn points into inches on the sheet, one scale for both directions."""
    low, high = points.min(0).values, points.max(0).values
    span = float((high - low).max())
    scale = (SIDE - BOX_HEIGHT) / span if span > 0 else 1.0
    height = max(float((high - low)[1]) * scale + BOX_HEIGHT, 2.0)
    middle = points.new_tensor([SIDE / 2, height / 2])
    flip = points.new_tensor([1.0, -1.0])  # a sheet's y grows downwards
    return (points - (low + high) / 2) * scale * flip + middle, height


def _with_room(spots: Tensor, box: Tensor) -> list[int]:
    """Choose points whose thumbnails do not touch, the same ones each time."""
    start = torch.Generator().manual_seed(0)
    order = torch.randperm(len(spots), generator=start, device="cpu")
    chosen: list[int] = []
    for n in order.tolist():
        if len(chosen) < MAX_THUMBNAILS and (
            not chosen or ((spots[chosen] - spots[n]).abs() >= box).any(1).all()
        ):
            chosen.append(n)
    return chosen


def _thumbnail(
    sheet: Sheet, source: ImageSource, x: float, y: float, name: str, color: str
) -> None:
    left, top = x - BOX_WIDTH / 2, y - BOX_HEIGHT / 2
    inner, tall = BOX_WIDTH - 0.1, BOX_HEIGHT - SMALL * LINE - 0.08
    image = load_image(source, round(300 * tall))
    sheet.image(image, left + 0.05, top + 0.04, inner, tall, (color, "-"))
    sheet.text(name, x, top + tall + 0.07, BOX_WIDTH)


def _dots(sheet: Sheet, x: Sequence[float], y: Sequence[float], look: int) -> None:
    color, shape = MARKERS[look]
    sheet.axes.scatter(x, y, s=14, c=color, marker=shape, lw=0, zorder=-1)
