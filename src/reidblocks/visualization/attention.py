"""Attention maps laid over the images they were computed from."""

from collections.abc import Iterable, Mapping, Sequence

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure
from PIL import Image, ImageOps
from torch import Tensor
from torch.nn import functional as F

from reidblocks._checks import expect_shape
from reidblocks.visualization._sheet import Sheet
from reidblocks.visualization._text import LINE, MEDIUM, SMALL, text_width
from reidblocks.visualization._values import expect_named, expect_several, number
from reidblocks.visualization.images import ImageSource, load_image

MAX_IMAGES = 16
MAX_COLUMNS = 40
MAX_SIDE = 384  # pixels

CELL, GAP, BETWEEN = 0.8, 0.06, 0.22  # inches; BETWEEN two groups
CAPTION = SMALL * LINE
COLORS = matplotlib.colormaps["inferno"]  # rises evenly in lightness: a gray print reads the same
OPACITY = 0.55
MIDDLE_GRAY = (128, 128, 128)


def attention_overlay(
    images: Sequence[ImageSource] | Tensor,
    maps: Mapping[str, Tensor],
    labels: Sequence[object] | Tensor | None = None,
    value_range: tuple[float, float] | None = None,
    title: str | None = None,
) -> Figure:
    """Draw one row per image: the image, then each of its attention maps laid over it.

    Groups of maps are drawn side by side: the A4 and the A5 of a model, or those of two models. A
    group of several maps ends with "all", the maximum of its maps at each place. The maps are
    stretched bilinearly over the image as it was given, which need not have the network's input
    size, and drawn on a gray copy of it in one color scale for the whole figure, printed below.
    At most 16 images are drawn, which a note says, each reduced to 384 pixels on the
    longer side where it has more.

    Args:
        images: what the maps belong to, in the same order.
        maps: each group's name and its maps (B, K, h, w); K, h and w may differ between groups.
        labels: a text under each image.
        value_range: the values of the darkest and the brightest color. Default: from 0, or the
            minimum if that is below, to the maximum of all maps drawn.
        title: text above the rows.

    Raises:
        TypeError: maps is no dict of tensors; a single image or label instead of several.
        ValueError: no image, no group, a group or labels of another length than images, a map
            that is not finite, more than 40 columns, an empty value_range.
        OSError, TypeError, ValueError: an image cannot be read.

    Source: MDPR Figs. 9 and 10.

    >>> maps = {"A4": torch.rand(1, 2, 24, 12), "A5": torch.rand(1, 2, 12, 6)}
    >>> figure = attention_overlay(torch.rand(1, 3, 128, 64), maps)
    >>> len(figure.axes[0].images)  # the image, 2 × (2 maps and all), the scale
    8
    """
    _check(images, maps, labels)
    shown = min(len(images), MAX_IMAGES)
    groups = {name: with_all(group[:shown]) for name, group in maps.items()}
    if value_range is None:
        low, high = _range(groups.values())
    else:
        ends = list(value_range)
        if len(ends) != 2:
            raise ValueError(f"attention_overlay expects value_range of 2 numbers, got {len(ends)}")
        low, high = (number("attention_overlay", "value_range", end) for end in ends)
    if not low < high:
        raise ValueError(f"attention_overlay expects value_range to rise, got ({low:g}, {high:g})")
    pictures = [load_image(images[n], MAX_SIDE) for n in range(shown)]

    talls = [CELL * min(p.height / p.width, 2.5) for p in pictures]
    heading = MEDIUM * LINE + CAPTION + 0.04
    below = 0.06 + (0 if labels is None else CAPTION + 0.04)
    lefts, x = {}, CELL
    for name, group in groups.items():
        lefts[name] = x + BETWEEN
        x = lefts[name] + group.shape[1] * (CELL + GAP) - GAP
    width = max(x, 2.6)
    rows_end = heading + sum(talls) + shown * below
    note = f"The first {shown} of {len(images):,} images." if shown < len(images) else ""
    sheet = Sheet(width, rows_end + 0.25, title, [note])

    for name, group in groups.items():
        columns = group.shape[1]
        across = columns * (CELL + GAP) - GAP
        sheet.text(name, lefts[name] + across / 2, 0, across + 0.1, size=MEDIUM, bold=True)
        for k in range(columns):
            text = "all" if columns > 1 and k == columns - 1 else str(k + 1)
            sheet.text(text, lefts[name] + k * (CELL + GAP) + CELL / 2, MEDIUM * LINE, CELL)
    y = heading
    for row, (picture, tall) in enumerate(zip(pictures, talls, strict=True)):
        sheet.image(picture, 0, y, CELL, tall)
        if labels is not None:
            sheet.text(labels[row], CELL / 2, y + tall + 0.02, CELL + BETWEEN - 0.04)
        for name, group in groups.items():
            for k, overlay in enumerate(overlays(picture, group[row], low, high)):
                sheet.image(overlay, lefts[name] + k * (CELL + GAP), y, CELL, tall)
        y += tall + below
    _scale(sheet, rows_end + 0.1, low, high)
    return sheet.figure


def _check(
    images: Sequence[ImageSource] | Tensor,
    maps: Mapping[str, Tensor],
    labels: Sequence[object] | Tensor | None,
) -> None:
    expect_named("attention_overlay", "maps", maps, "tensors (B, K, h, w)")
    expect_several("attention_overlay", "images", images)
    if labels is not None:
        expect_several("attention_overlay", "labels", labels)
    if not len(images) or not maps:
        raise ValueError(
            "attention_overlay expects at least one image and one group of maps, "
            f"got {len(images)} and {len(maps)}"
        )
    for name, group in maps.items():
        expect_shape("attention_overlay", f"maps[{name!r}]", group, "B K H W")
        if len(group) != len(images) or not group.numel():
            raise ValueError(
                f"attention_overlay expects maps[{name!r}] of {len(images)} images, "
                f"got {tuple(group.shape)}"
            )
        if not group.isfinite().all():
            raise ValueError(f"attention_overlay expects finite maps, maps[{name!r}] are not")
    if labels is not None and len(labels) != len(images):
        raise ValueError(
            f"attention_overlay expects {len(images)} labels, one per image, got {len(labels)}"
        )
    columns = 1 + sum(group.shape[1] + (group.shape[1] > 1) for group in maps.values())
    if columns > MAX_COLUMNS:
        raise ValueError(
            f"attention_overlay draws at most {MAX_COLUMNS} columns, these maps need {columns}: "
            "draw fewer groups or fewer maps at a time"
        )


def with_all(maps: Tensor) -> Tensor:
    """Add to maps (B, K, h, w), where K > 1, their maximum at each place."""
    maps = maps.detach().float().cpu()
    return torch.cat([maps, maps.amax(1, keepdim=True)], 1) if maps.shape[1] > 1 else maps


def _range(groups: Iterable[Tensor]) -> tuple[float, float]:
    low = min(0.0, *(float(group.min()) for group in groups))
    high = max(float(group.max()) for group in groups)
    return low, high if high > low else low + 1


def overlays(picture: Image.Image, maps: Tensor, low: float, high: float) -> list[Image.Image]:
    """Lay each of maps (K, h, w) over a gray copy of the picture."""
    size = (picture.height, picture.width)
    stretched = F.interpolate(maps[None], size, mode="bilinear", align_corners=False)[0]
    levels = ((stretched - low) / (high - low)).clamp(0, 1).numpy()
    gray = ImageOps.grayscale(picture).convert("RGB")
    # With less contrast the image's own light and dark are not mistaken for attention.
    gray = Image.blend(gray, Image.new("RGB", gray.size, MIDDLE_GRAY), 0.4)
    return [
        Image.blend(gray, Image.fromarray(COLORS(level, bytes=True)[..., :3].copy()), OPACITY)
        for level in levels
    ]


def color_strip() -> Image.Image:
    """Draw the colors from low to high as they look over a middle gray."""
    ramp = Image.fromarray(COLORS(np.linspace(0, 1, 256)[None], bytes=True)[..., :3].copy())
    shade = Image.new("RGB", ramp.size, MIDDLE_GRAY)
    return Image.blend(shade, ramp, OPACITY).resize((256, 16))


def _scale(sheet: Sheet, y: float, low: float, high: float) -> None:
    """Print the color scale with the values of its ends."""
    left, long = text_width(f"{low:.3g}", SMALL) + 0.06, 1.5
    sheet.text(f"{low:.3g}", 0, y, align="left")
    sheet.image(color_strip(), left, y, long, long / 16)
    sheet.text(f"{high:.3g}", left + long + 0.06, y, align="left")
