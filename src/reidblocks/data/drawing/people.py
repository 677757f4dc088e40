"""One picture of one person by one camera with the person's mask, and a sheet of many."""

import random
from collections.abc import Callable

from PIL import Image, ImageChops

from reidblocks.data.drawing.cameras import CAMERAS, expose
from reidblocks.data.drawing.figures import draw_figure
from reidblocks.data.drawing.scenes import (
    draw_backdrop,
    draw_obstacle,
    draw_passer_by,
    draw_shadow,
    strike_pose,
)
from reidblocks.data.drawing.wardrobe import dress

SUPERSAMPLING = 3  # drawn larger and averaged down, so that edges are smooth


def draw_person(
    identity: int,
    camera: int,
    shot: int,
    *,
    size: tuple[int, int] = (128, 64),
    seed: int = 0,
) -> Image.Image:
    """Draw one image of a synthetic person by one camera; it depends only on the arguments.

    The identity fixes the looks (clothes, hair, bag, build), the camera fixes scene, light,
    colors and viewpoint, and the shot draws pose, crop and what stands in the way.

    Args:
        identity: which person.
        camera: which camera, from 1 to 6.
        shot: which image of that person by that camera.
        size: height and width in pixels.
        seed: another seed draws other people.

    Raises:
        ValueError: there is no such camera; a side of the image is below 16 pixels.

    >>> draw_person(7, camera=2, shot=1).size
    (64, 128)
    """
    return draw_with_mask(identity, camera, shot, size=size, seed=seed)[0]


def draw_with_mask(
    identity: int,
    camera: int,
    shot: int,
    *,
    size: tuple[int, int] = (128, 64),
    seed: int = 0,
) -> tuple[Image.Image, Image.Image]:
    """Draw the picture of `draw_person`, and where in it the person is to be seen.

    The mask is 255 where the person is, bag and hat included, and 0 where the scene is, or what
    stands before the person; between the two at the edges.
    """
    if not 1 <= camera <= len(CAMERAS):
        raise ValueError(f"draw_person expects camera from 1 to {len(CAMERAS)}, got {camera}")
    if min(size) < 16:
        raise ValueError(f"draw_person expects size (height, width) of 16 or more, got {size}")
    rng = random.Random(f"shot {seed} {identity} {camera} {shot}")
    view = CAMERAS[camera - 1]
    height, width = size[0] * SUPERSAMPLING, size[1] * SUPERSAMPLING
    canvas = Image.new("RGB", (width, height))
    horizon = height * rng.uniform(0.55, 0.72)
    draw_backdrop(canvas, view, horizon, rng)
    pose = strike_pose(view, width, height, rng)
    if rng.random() < 0.12:
        draw_passer_by(canvas, view, pose, rng, behind=True)
    draw_shadow(canvas, pose, view)
    person = dress(f"person {seed} {identity}")
    mask = _paint(canvas, lambda layer: draw_figure(layer, person, pose))
    obstacle = rng.random()
    if obstacle < 0.06:
        hidden = _paint(canvas, lambda at: draw_passer_by(at, view, pose, rng, behind=False))
        mask = ImageChops.subtract(mask, hidden)
    elif obstacle < 0.2:
        mask = ImageChops.subtract(mask, _paint(canvas, lambda layer: draw_obstacle(layer, rng)))
    return expose(canvas.reduce(SUPERSAMPLING), view, rng), mask.reduce(SUPERSAMPLING)


def _paint(canvas: Image.Image, paint: Callable[[Image.Image], None]) -> Image.Image:
    """Paint on a layer of its own and lay that on the canvas; return where it is, as 255."""
    layer = Image.new("RGBA", canvas.size)
    paint(layer)
    where = layer.getchannel("A")
    canvas.paste(layer, mask=where)
    return where


def contact_sheet(
    num_identities: int = 8, shots: int = 2, *, size: tuple[int, int] = (128, 64), seed: int = 0
) -> Image.Image:
    """Draw people side by side to look at: an identity a row, ``shots`` pictures a camera.

    >>> contact_sheet(num_identities=2, shots=1).size  # six cameras
    (384, 256)
    """
    height, width = size
    sheet = Image.new("RGB", (len(CAMERAS) * shots * width, num_identities * height))
    for row in range(num_identities):
        for column in range(len(CAMERAS) * shots):
            camera, shot = column // shots + 1, column % shots + 1
            person = draw_person(row + 1, camera, shot, size=size, seed=seed)
            sheet.paste(person, (column * width, row * height))
    return sheet
