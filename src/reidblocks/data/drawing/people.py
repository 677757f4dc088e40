"""One picture of one person by one camera, and a sheet of many to look at."""

import random

from PIL import Image

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
    """Draw one person as one camera saw them once: the same arguments, the same picture.

    The identity fixes the looks (clothes, hair, bag, build), the camera fixes scene, light,
    colours and viewpoint, and the shot draws pose, crop and what stands in the way.

    Args:
        identity: which person.
        camera: which camera, from 1 to 6.
        shot: which picture of that person by that camera.
        size: height and width in pixels.
        seed: another seed invents other people.

    Raises:
        ValueError: there is no such camera; a side of the picture is below 16 pixels.

    >>> draw_person(7, camera=2, shot=1).size
    (64, 128)
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
    draw_figure(canvas, dress(f"person {seed} {identity}"), pose)
    obstacle = rng.random()
    if obstacle < 0.06:
        draw_passer_by(canvas, view, pose, rng, behind=False)
    elif obstacle < 0.2:
        draw_obstacle(canvas, rng)
    return expose(canvas.reduce(SUPERSAMPLING), view, rng)


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
