"""Clothes and bags of an invented person: the trunk with its patterned top, straps, luggage."""

import math

from PIL import Image, ImageChops, ImageDraw

from reidblocks.data.drawing.poses import Point, Pose, shade
from reidblocks.data.drawing.wardrobe import Color, Person

Ring = tuple[float, float, float]  # of a body: how far up, half its width, half its depth


def draw_trunk(canvas: Image.Image, person: Person, pose: Pose) -> None:
    """Paint skirt or seat, then the top with its pattern, then straps."""
    draw = ImageDraw.Draw(canvas)
    build, hip = person.build, person.leg_length
    skirt = person.legwear == "skirt"
    hem = (hip - 0.17, 0.115, 0.1) if skirt else (hip - 0.03, 0.09, 0.07)
    for light, part in ((0.78, 1.0), (1.0, 0.75)):  # its shadow side, then its lit middle
        seat = [(hip + 0.06, 0.09, 0.065), hem]
        draw.polygon(_outline(pose, seat, build * part), fill=shade(person.bottom, light))
    rings = [
        (0.845, 0.05, 0.04),
        (0.825, 0.1, 0.05),
        (0.79, 0.122, 0.06),
        (0.72, 0.112, 0.07),
        (0.62, 0.093, 0.064),
        (hip + 0.02 - person.hem, 0.1 + person.hem * 0.1, 0.072 + person.hem * 0.15),
    ]
    outline = _outline(pose, rings, build)
    xs, ys = [x for x, _ in outline], [y for _, y in outline]
    corner = (math.floor(min(xs)), math.floor(min(ys)))
    size = (math.ceil(max(xs)) - corner[0] + 1, math.ceil(max(ys)) - corner[1] + 1)
    mask = Image.new("L", size)
    ImageDraw.Draw(mask).polygon([(x - corner[0], y - corner[1]) for x, y in outline], fill=255)
    canvas.paste(_cloth(size, person, pose), corner, mask)
    _straps(draw, person, pose)


def _outline(pose: Pose, rings: list[Ring], build: float) -> list[tuple[float, float]]:
    """Give the silhouette of a stack of ellipses, from the top down."""
    left, right = [], []
    for up, lateral, forward in rings:
        (x, y), _ = pose.project(0, 0, up)
        half = pose.width(lateral * build, forward * build)
        left.append((x - half, y))
        right.append((x + half, y))
    return left + right[::-1]


def _cloth(size: tuple[int, int], person: Person, pose: Pose) -> Image.Image:
    """Give the cloth of the top as a rectangle, to be cut out: pattern, opening, round shading."""
    width, height = size
    cloth = Image.new("RGB", size, person.top)
    draw = ImageDraw.Draw(cloth)
    step = pose.height * 0.045
    front = math.cos(pose.heading)
    middle = width / 2 + math.sin(pose.heading) * width * 0.4
    if person.pattern in ("hoops", "checks"):
        for row in range(math.ceil(height / step / 2)):
            y = (2 * row + 1) * step
            draw.rectangle((0, y, width, y + step * 0.9), fill=person.accent)
    if person.pattern in ("pinstripes", "checks"):
        for column in range(math.ceil(width / step)):
            x = column * step
            draw.rectangle((x, 0, x + step * 0.35, height), fill=person.accent)
    if person.pattern == "dots":
        for row in range(math.ceil(height / step)):
            for column in range(math.ceil(width / step) + 1):
                x, y = (column - 0.5 * (row % 2)) * step, row * step
                draw.ellipse((x, y, x + step * 0.6, y + step * 0.6), fill=person.accent)
    if person.pattern == "yoke":
        draw.rectangle((0, 0, width, height * 0.35), fill=person.accent)
    if person.pattern == "logo" and abs(front) > 0.2:
        half = abs(front) * step * (1.1 if front > 0 else 1.6)
        x = middle if front > 0 else width / 2
        y = height * 0.36
        draw.ellipse((x - half, y - step, x + half, y + step), fill=person.accent)
    if person.pattern == "jacket" and front > -0.1:
        half = width * 0.05 + width * 0.14 * max(front, 0)
        opening = [(middle - half, 0), (middle + half, 0)]
        opening += [(middle + half * 0.7, height), (middle - half * 0.7, height)]
        draw.polygon(opening, fill=person.accent)
    ramp = Image.linear_gradient("L").rotate(90).resize(size)
    ramp = ramp.point([round(255 - 110 * (value / 255) ** 2) for value in range(256)])
    return ImageChops.multiply(cloth, Image.merge("RGB", (ramp, ramp, ramp)))


def _straps(draw: ImageDraw.ImageDraw, person: Person, pose: Pose) -> None:
    strap = max(1, round(pose.height * 0.018))
    color = shade(person.bag_color, 0.8)
    front = math.cos(pose.heading)
    if person.bag == "backpack" and front > -0.3:
        for side in (-1, 1):
            above, _ = pose.project(0.06 * side * person.build, 0.02, 0.835)
            below, _ = pose.project(0.075 * side * person.build, 0.06, 0.63)
            draw.line([above, below], fill=color, width=strap)
    if person.bag == "satchel":
        seen = math.copysign(0.05, front)  # the strap crosses the chest and the back alike
        above, _ = pose.project(-0.07, seen, 0.835)
        below, _ = pose.project(0.1 * person.build, seen, 0.56)
        draw.line([above, below], fill=color, width=strap)
        (x, y), near = pose.project(0.115 * person.build, 0, 0.53)
        if near > -0.08:
            half, tall = pose.width(0.045, 0.085), 0.06 * pose.height
            draw.rounded_rectangle(
                (x - half, y - tall, x + half, y + tall), half * 0.3, fill=person.bag_color
            )
            draw.rectangle((x - half, y - tall, x + half, y - tall * 0.2), fill=color)


def draw_handbag(
    draw: ImageDraw.ImageDraw, hand: Point, height: float, half: float, color: Color
) -> None:
    """Paint a bag that hangs from ``hand``; ``half`` is half its width in pixels."""
    x, y = hand
    thin = max(1, round(height * 0.01))
    top, bottom = y + 0.05 * height, y + 0.15 * height
    draw.line(
        [(x - half * 0.6, top), (x, y), (x + half * 0.6, top)], fill=shade(color, 0.6), width=thin
    )
    draw.rounded_rectangle((x - half, top, x + half, bottom), 0.015 * height, fill=color)
    draw.rectangle((x - half, top, x + half, top + 0.025 * height), fill=shade(color, 0.75))


def draw_backpack(draw: ImageDraw.ImageDraw, person: Person, pose: Pose) -> None:
    """Paint the bag on the back; its straps belong to the trunk."""
    (x, top), _ = pose.project(0, -0.1, 0.81)
    (_, bottom), _ = pose.project(0, -0.1, 0.56)
    half = pose.width(0.088, 0.055)
    color = person.bag_color
    draw.rounded_rectangle((x - half, top, x + half, bottom), half * 0.45, fill=shade(color, 0.75))
    draw.rounded_rectangle(
        (x - half, top, x + half * 0.7, bottom - 0.01 * pose.height), half * 0.45, fill=color
    )
    pocket = bottom - 0.1 * pose.height
    draw.rounded_rectangle(
        (x - half * 0.7, pocket, x + half * 0.6, bottom - 0.02 * pose.height),
        half * 0.2,
        fill=shade(color, 0.82),
        outline=shade(color, 0.55),
    )
