"""Drawing one invented person: a skeleton in space, turned, projected, painted back to front."""

import math
from collections.abc import Callable

from PIL import Image, ImageDraw

from reidblocks.data.drawing.garments import draw_backpack, draw_handbag, draw_trunk
from reidblocks.data.drawing.poses import Pose, draw_limb, shade
from reidblocks.data.drawing.wardrobe import Color, Person

Part = tuple[float, Callable[[], None]]  # how near the viewer it is, and how to paint it


def draw_figure(canvas: Image.Image, person: Person, pose: Pose) -> None:
    """Paint ``person`` in ``pose`` onto ``canvas``, over what is there."""
    draw = ImageDraw.Draw(canvas)
    parts: list[Part] = []
    for side in (-1, 1):
        swing = side * pose.stride * math.sin(pose.phase)
        parts.append(_leg(draw, person, pose, side, swing))
        parts.append(_arm(draw, person, pose, side, -swing))
    parts.append((0.0, lambda: draw_trunk(canvas, person, pose)))
    parts += _head(draw, person, pose)
    if person.bag == "backpack":
        near = pose.project(0, -0.09, 0.7)[1]
        parts.append((near, lambda: draw_backpack(draw, person, pose)))
    for _, paint in sorted(parts, key=lambda part: part[0]):
        paint()


def _leg(draw: ImageDraw.ImageDraw, person: Person, pose: Pose, side: int, swing: float) -> Part:
    """Give the painting of one leg, swung forward by ``swing`` radians, with its shoe."""
    thigh = person.leg_length * 0.5
    shin = person.leg_length - thigh - 0.035
    lateral = 0.045 * side * person.build
    bend = 0.15 * pose.stride + max(0.0, -swing) * 0.8  # the leg behind bends at the knee
    knee = (lateral, thigh * math.sin(swing), person.leg_length - thigh * math.cos(swing))
    ankle = (
        lateral,
        knee[1] + shin * math.sin(swing - bend),
        knee[2] - shin * math.cos(swing - bend),
    )
    (hip_at, _), (knee_at, near) = pose.project(lateral, 0, person.leg_length), pose.project(*knee)
    ankle_at, _ = pose.project(*ankle)
    toe_at, _ = pose.project(lateral * 1.3, ankle[1] + 0.075, ankle[2] - 0.018)
    unit = pose.height * math.sqrt(person.build)
    thigh_cloth = person.skin if person.legwear == "skirt" else person.bottom
    shin_cloth = person.bottom if person.legwear == "trousers" else person.skin
    slim = 1.0 if person.legwear == "trousers" else 0.8

    def paint() -> None:
        draw_limb(draw, ankle_at, toe_at, (0.026 * unit, 0.02 * unit), person.shoes)
        draw_limb(draw, knee_at, ankle_at, (0.041 * unit * slim, 0.028 * unit * slim), shin_cloth)
        draw_limb(draw, hip_at, knee_at, (0.062 * unit, 0.046 * unit), thigh_cloth)

    return near - 1.0, paint  # the hem of the top always hangs over the legs


def _arm(draw: ImageDraw.ImageDraw, person: Person, pose: Pose, side: int, swing: float) -> Part:
    """Give the painting of one arm, swung forward by ``swing`` radians, and of what it carries."""
    lateral = 0.122 * side * person.build
    elbow = (lateral * 1.18, 0.165 * math.sin(swing), 0.795 - 0.165 * math.cos(swing))
    reach = swing + 0.25 + 0.5 * pose.stride
    hand = (
        lateral * 1.22,
        elbow[1] + 0.15 * math.sin(reach),
        elbow[2] - 0.15 * math.cos(reach),
    )
    shoulder_at, _ = pose.project(lateral, 0, 0.795)
    elbow_at, near = pose.project(*elbow)
    hand_at, _ = pose.project(*hand)
    unit = pose.height * math.sqrt(person.build)
    sleeve = person.accent if person.pattern == "yoke" else person.top
    cuff = sleeve if person.long_sleeves or person.pattern == "jacket" else person.skin

    def paint() -> None:
        if person.bag == "handbag" and side == 1:
            draw_handbag(draw, hand_at, pose.height, pose.width(0.05, 0.085), person.bag_color)
        draw_limb(draw, elbow_at, hand_at, (0.03 * unit, 0.022 * unit), cuff)
        x, y = hand_at
        palm = 0.022 * pose.height
        draw.ellipse((x - palm, y - palm, x + palm, y + palm), fill=person.skin)
        draw_limb(draw, shoulder_at, elbow_at, (0.042 * unit, 0.034 * unit), sleeve)

    # Arms hang outside the trunk: in front of it only as far as they are on the near side.
    return near + 0.02, paint


def _head(draw: ImageDraw.ImageDraw, person: Person, pose: Pose) -> list[Part]:
    """Give the painting of neck, head and hair, and of the long hair that falls behind."""
    unit = pose.height
    (x, y), near = pose.project(0, 0.012, 0.925)
    (nape, shoulder), back = pose.project(0, -0.055, 0.8)
    neck_at, _ = pose.project(0, 0, 0.84)
    sine, front = math.sin(pose.heading), math.cos(pose.heading)
    wide, tall = 0.056 * unit, 0.073 * unit
    hair = person.skin if person.hair == "bald" else person.hair_color

    def oval(cx: float, cy: float, rx: float, ry: float, color: Color) -> None:
        draw.ellipse((cx - rx, cy - ry, cx + rx, cy + ry), fill=color)

    def paint() -> None:
        draw_limb(
            draw,
            (x, y + tall * 0.4),
            neck_at,
            (0.028 * unit, 0.032 * unit),
            shade(person.skin, 0.85),
        )
        oval(x, y, wide * 1.06, tall * 1.03, shade(hair, 0.85))
        oval(x - wide * 0.12, y - tall * 0.08, wide * 0.9, tall * 0.9, hair)
        seen = max(0.0, (front + 0.6) / 1.6)
        if seen > 0:
            face, half = x + 0.5 * wide * sine, 0.84 * wide * seen
            oval(face, y + tall * 0.16, half, tall * 0.8, person.skin)
            if front > 0.2:
                for eye in (-0.4, 0.4):
                    oval(face + eye * half, y + tall * 0.1, wide * 0.12, tall * 0.07, (40, 34, 34))
                draw.line(
                    [(face - half * 0.3, y + tall * 0.58), (face + half * 0.3, y + tall * 0.58)],
                    fill=shade(person.skin, 0.62),
                    width=max(1, round(unit * 0.006)),
                )
        if person.hair == "bun":
            oval(x - 0.7 * wide * sine, y - tall * 1.0, wide * 0.5, tall * 0.38, hair)
        if person.hair in ("cap", "beanie"):
            draw.pieslice(
                (x - wide * 1.15, y - tall * 1.15, x + wide * 1.15, y + tall * 0.7),
                180,
                360,
                fill=person.hat_color,
            )
        if person.hair == "cap" and front > -0.3:
            peak = x + 0.9 * wide * sine
            half = wide * (0.6 + 0.4 * abs(front))
            oval(peak, y - tall * 0.2, half, tall * 0.16, shade(person.hat_color, 0.75))
        if person.hair == "beanie":
            band = (x - wide * 1.15, y - tall * 0.34, x + wide * 1.15, y - tall * 0.1)
            draw.rectangle(band, fill=shade(person.hat_color, 0.75))

    parts: list[Part] = [(near + 0.03, paint)]
    if person.hair == "long":
        ends = (x - 0.4 * wide * sine, y), (nape, shoulder)
        parts.append((back, lambda: draw_limb(draw, *ends, (wide * 1.05, wide * 0.95), hair)))
    if person.hair == "tail":
        ends = (x - 0.8 * wide * sine, y - tall * 0.3), (nape - 0.3 * wide * sine, shoulder)
        parts.append((back - 0.02, lambda: draw_limb(draw, *ends, (wide * 0.4, wide * 0.28), hair)))
    return parts
