"""Where an invented person stands: points in body heights become pixels; limbs join them."""

import math
from dataclasses import dataclass

from PIL import ImageDraw

from reidblocks.data.drawing.wardrobe import Color

Point = tuple[float, float]


@dataclass(frozen=True)
class Pose:
    """Where a person stands in the picture and how.

    Args:
        x, ground: pixels of the point between the feet.
        height: pixels from the ground to the crown.
        heading: radians; 0 faces the viewer, π/2 walks to the right, π shows the back.
        phase: radians; the moment within a stride.
        stride: radians by which the legs swing; 0 stands.
        elevation: radians by which the viewer looks down.
        roll: radians by which the picture is tilted.
    """

    x: float
    ground: float
    height: float
    heading: float
    phase: float
    stride: float
    elevation: float
    roll: float

    def project(self, lateral: float, forward: float, up: float) -> tuple[Point, float]:
        """Give the pixel and the nearness of a point in body heights: to the left, ahead, up."""
        sine, cosine = math.sin(self.heading), math.cos(self.heading)
        right = lateral * cosine + forward * sine
        near = forward * cosine - lateral * sine
        right *= 1 + math.sin(self.elevation) * (up - 0.5)  # from above, the head is closer
        rise = up * math.cos(self.elevation) - near * math.sin(self.elevation)
        return (
            self.x + self.height * (right * math.cos(self.roll) + rise * math.sin(self.roll)),
            self.ground - self.height * (rise * math.cos(self.roll) - right * math.sin(self.roll)),
        ), near

    def width(self, lateral: float, forward: float) -> float:
        """Give the half-width in pixels of an upright ellipse with these two half-axes."""
        return self.height * math.hypot(
            lateral * math.cos(self.heading), forward * math.sin(self.heading)
        )


def shade(color: Color, factor: float) -> Color:
    """Make a color darker (below 1) or lighter (above 1)."""
    red, green, blue = (min(255, round(value * factor)) for value in color)
    return red, green, blue


def draw_limb(
    draw: ImageDraw.ImageDraw, start: Point, end: Point, radii: Point, color: Color
) -> None:
    """Paint a round, tapered limb: its shadow side first, then its lit side."""
    length = math.dist(start, end) or 1.0
    across = ((start[1] - end[1]) / length, (end[0] - start[0]) / length)
    for size, shift, light in ((1.0, 0.0, 0.72), (0.74, -0.24, 1.0)):
        ends = [
            (point[0] + shift * radius, point[1], size * radius)
            for point, radius in zip((start, end), radii, strict=True)
        ]
        outline = [(x + across[0] * r, y + across[1] * r) for x, y, r in ends]
        outline += [(x - across[0] * r, y - across[1] * r) for x, y, r in reversed(ends)]
        tint = shade(color, light)
        draw.polygon(outline, fill=tint)
        for x, y, radius in ends:
            draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=tint)
