"""What surrounds an invented person: the place behind, the shadow, what gets in the way."""

import math
import random
from dataclasses import replace
from typing import get_args

from PIL import Image, ImageChops, ImageDraw

from reidblocks.data.drawing.cameras import Backdrop, Camera
from reidblocks.data.drawing.figures import draw_figure
from reidblocks.data.drawing.poses import Pose, shade
from reidblocks.data.drawing.wardrobe import Color, dress

BACKDROPS: tuple[Backdrop, ...] = get_args(Backdrop)


def strike_pose(view: Camera, width: int, height: int, rng: random.Random) -> Pose:
    """Draw how the person stands in the crop, which a detector never cuts quite alike."""
    tall = height * rng.uniform(0.8, 0.98)
    return Pose(
        x=width * rng.uniform(0.42, 0.58),
        ground=height * 0.5 + tall * 0.5 + height * rng.uniform(-0.03, 0.04),
        height=tall,
        heading=math.radians(rng.choice(view.headings) + rng.gauss(0, 18)),
        phase=rng.uniform(0, 2 * math.pi),
        stride=rng.choice((0.06, 0.3, 0.42, 0.5)),
        elevation=math.radians(view.elevation + rng.uniform(-3, 3)),
        roll=math.radians(view.roll + rng.gauss(0, 1.5)),
    )


def draw_backdrop(canvas: Image.Image, view: Camera, horizon: float, rng: random.Random) -> None:
    """Paint the wall down to ``horizon``, the floor below it, and what is on them."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    thin = max(1, width // 90)
    wall, floor = _weather(view.wall, rng), _weather(view.floor, rng)
    backdrop = rng.choice(BACKDROPS) if rng.random() < 0.35 else view.backdrop
    draw.rectangle((0, 0, width, horizon), fill=wall)
    draw.rectangle((0, horizon, width, height), fill=floor)
    step, shift = width * rng.uniform(0.28, 0.5), rng.uniform(0, width)
    columns = [column * step + shift % step for column in range(-1, 5)]
    if backdrop == "windows":
        for x in columns:
            for y in (horizon * 0.05, horizon * 0.42):
                pane = shade(wall, rng.uniform(0.35, 0.6))
                draw.rectangle((x, y, x + step * 0.55, y + horizon * 0.26), fill=pane)
    elif backdrop == "panels":
        for x in columns:
            draw.line([(x, 0), (x, horizon)], fill=shade(wall, 0.7), width=2 * thin)
            if rng.random() < 0.3:
                door = shade((126, 84, 60), rng.uniform(0.7, 1.2))
                draw.rectangle((x + step * 0.1, horizon * 0.2, x + step * 0.8, horizon), fill=door)
        draw.rectangle((0, horizon * 0.92, width, horizon), fill=shade(wall, 0.6))
    elif backdrop == "foliage":
        for _ in range(45):
            x, y = rng.uniform(0, width), rng.uniform(0, horizon)
            radius, leaf = width * rng.uniform(0.04, 0.16), shade(wall, rng.uniform(0.5, 1.5))
            draw.ellipse((x - radius, y - radius * 0.7, x + radius, y + radius * 0.7), fill=leaf)
        trunk = rng.uniform(0, width)
        draw.rectangle((trunk, 0, trunk + width * 0.1, horizon * 1.03), fill=(86, 68, 54))
    else:
        side = step * 0.6
        for row in range(math.ceil(horizon / side)):
            draw.line([(0, row * side), (width, row * side)], fill=shade(wall, 0.8), width=thin)
        for column in range(math.ceil(width / side) + 1):
            x = column * side - shift % side
            draw.line([(x, 0), (x, horizon)], fill=shade(wall, 0.8), width=thin)
        poster = rng.uniform(-0.3, 1.0) * width
        tint = rng.choice(((178, 70, 60), (70, 104, 160), (206, 170, 70), (60, 60, 66)))
        draw.rectangle((poster, horizon * 0.1, poster + step, horizon * 0.6), fill=tint)
    vanish = rng.uniform(0.2, 0.8) * width
    for column in range(-4, 9):  # the joints of the floor run to one point
        ends = [
            (vanish + (column - 2) * width * 0.05, horizon),
            (vanish + (column - 2) * width * 0.5, height),
        ]
        draw.line(ends, fill=shade(floor, 0.85), width=thin)


def _weather(color: Color, rng: random.Random) -> Color:
    """Give a color of the scene as another spot of it, or another hour, would have it."""
    light = rng.uniform(0.7, 1.2)
    red, green, blue = (min(255, round(v * light * rng.uniform(0.9, 1.1))) for v in color)
    return red, green, blue


def draw_shadow(canvas: Image.Image, pose: Pose, view: Camera) -> None:
    """Darken the ground at the feet, toward the unlit side."""
    soft = Image.new("L", canvas.size, 255)
    length = pose.height * 0.22
    x, y = pose.x + view.sidelight * length, pose.ground
    ImageDraw.Draw(soft).ellipse((x - length, y - length * 0.2, x + length, y + length * 0.2), 150)
    canvas.paste(ImageChops.multiply(canvas, Image.merge("RGB", (soft, soft, soft))))


def draw_passer_by(
    canvas: Image.Image, view: Camera, pose: Pose, rng: random.Random, *, behind: bool
) -> None:
    """Draw somebody else, at the edge of the crop: smaller behind, or cutting in before."""
    width, height = canvas.size
    other = strike_pose(view, width, height, rng)
    aside = rng.choice((-1, 1)) * width * rng.uniform(0.3, 0.5)
    scale = rng.uniform(0.6, 0.85) if behind else rng.uniform(1.0, 1.15)
    lift = -0.08 if behind else 0.08
    draw_figure(
        canvas,
        dress(f"passer-by {rng.random()}"),
        replace(
            other,
            x=pose.x + aside,
            ground=pose.ground + lift * height,
            height=pose.height * scale,
        ),
    )


def draw_obstacle(canvas: Image.Image, rng: random.Random) -> None:
    """Put a pole, a box, a bench or a railing between the camera and the person."""
    draw = ImageDraw.Draw(canvas)
    width, height = canvas.size
    tint: Color = rng.choice(((70, 74, 78), (126, 96, 66), (160, 160, 156), (58, 84, 70)))
    x = rng.uniform(0.1, 0.8) * width
    match rng.choice(("pole", "box", "bench", "railing")):
        case "pole":
            thick = width * rng.uniform(0.06, 0.13)
            draw.rectangle((x, 0, x + thick, height), fill=shade(tint, 0.7))
            draw.rectangle((x, 0, x + thick * 0.55, height), fill=tint)
        case "box":
            top, wide = height * rng.uniform(0.62, 0.8), width * rng.uniform(0.4, 0.7)
            draw.rectangle((x - wide / 2, top, x + wide / 2, height), fill=tint)
            lid = (x - wide / 2, top, x + wide / 2, top + height * 0.03)
            draw.rectangle(lid, fill=shade(tint, 1.3))
        case "bench":
            for row in (0.68, 0.74, 0.84):
                y = height * row
                draw.rectangle((0, y, width, y + height * 0.035), fill=tint)
            for leg in (0.12, 0.84):
                post = (leg * width, height * 0.68, (leg + 0.05) * width, height)
                draw.rectangle(post, fill=shade(tint, 0.6))
        case _:
            top = height * rng.uniform(0.5, 0.65)
            draw.rectangle((0, top, width, top + height * 0.02), fill=tint)
            for column in range(7):
                bar = (column - 0.5) * width / 6 + x % (width / 6)
                draw.rectangle((bar, top, bar + width * 0.025, height), fill=shade(tint, 0.8))
