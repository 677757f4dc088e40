"""The cameras that watch the synthetic people: where they hang, and how they render light."""

import random
from dataclasses import dataclass
from statistics import NormalDist
from typing import Literal

from PIL import Image, ImageChops, ImageFilter

from reidblocks.data.drawing.wardrobe import Color

# A random byte bent to a bell curve: sensor noise that is the same on every platform.
BELL = tuple(NormalDist().inv_cdf((byte + 0.5) / 256) for byte in range(256))

Backdrop = Literal["windows", "panels", "foliage", "tiles"]


@dataclass(frozen=True)
class Camera:
    """One camera: where it hangs, what it sees, how it renders colors.

    Args:
        headings: degrees in which people mostly walk past (0 toward the camera, 180 away).
        elevation: degrees by which it looks down.
        roll: degrees by which it hangs askew.
        backdrop: what mostly stands behind the people.
        wall, floor: colors of the scene.
        gain: factor on red, green and blue.
        gamma: above 1 darkens the middle tones.
        saturation: 1 keeps the colors, 0 gives gray.
        contrast, haze: output = haze + contrast · input.
        blur: pixels, for a picture 128 high.
        noise: standard deviation in gray levels.
        sidelight: -1 to 1; how much darker one side of the picture is.
    """

    headings: tuple[float, ...]
    elevation: float
    roll: float
    backdrop: Backdrop
    wall: Color
    floor: Color
    gain: tuple[float, float, float]
    gamma: float
    saturation: float
    contrast: float
    haze: float
    blur: float
    noise: float
    sidelight: float


CAMERAS = (
    Camera(  # a street by day
        headings=(0, 30, 150, 180),
        elevation=6,
        roll=1,
        backdrop="windows",
        wall=(168, 152, 138),
        floor=(150, 150, 148),
        gain=(1.04, 1.0, 0.95),
        gamma=0.95,
        saturation=1.05,
        contrast=1.0,
        haze=0,
        blur=0.3,
        noise=3,
        sidelight=0.2,
    ),
    Camera(  # a corridor in warm lamplight
        headings=(90, 70, 270, 290),
        elevation=14,
        roll=-3,
        backdrop="panels",
        wall=(204, 192, 170),
        floor=(122, 104, 92),
        gain=(1.1, 0.98, 0.84),
        gamma=1.08,
        saturation=0.95,
        contrast=0.96,
        haze=4,
        blur=0.5,
        noise=4,
        sidelight=-0.2,
    ),
    Camera(  # a park in blue, hazy shade
        headings=(180, 200, 140, 320),
        elevation=9,
        roll=2,
        backdrop="foliage",
        wall=(84, 106, 74),
        floor=(162, 150, 122),
        gain=(0.92, 0.98, 1.08),
        gamma=0.93,
        saturation=0.88,
        contrast=0.9,
        haze=12,
        blur=0.4,
        noise=3,
        sidelight=0.1,
    ),
    Camera(  # an underground platform in dim, greenish light
        headings=(0, 40, 330, 250),
        elevation=20,
        roll=4,
        backdrop="tiles",
        wall=(186, 196, 186),
        floor=(96, 98, 98),
        gain=(0.94, 1.04, 0.9),
        gamma=1.12,
        saturation=0.9,
        contrast=0.94,
        haze=6,
        blur=0.45,
        noise=5,
        sidelight=0.22,
    ),
    Camera(  # a plaza, overexposed
        headings=(180, 90, 210, 60),
        elevation=17,
        roll=-2,
        backdrop="tiles",
        wall=(206, 200, 190),
        floor=(190, 184, 172),
        gain=(1.16, 1.15, 1.1),
        gamma=0.88,
        saturation=0.88,
        contrast=1.0,
        haze=6,
        blur=0.4,
        noise=3,
        sidelight=-0.15,
    ),
    Camera(  # a car park at night, under a sodium lamp
        headings=(270, 0, 90, 180),
        elevation=11,
        roll=0,
        backdrop="windows",
        wall=(96, 92, 96),
        floor=(104, 100, 96),
        gain=(1.25, 1.04, 0.78),
        gamma=1.3,
        saturation=0.78,
        contrast=0.9,
        haze=8,
        blur=0.6,
        noise=7,
        sidelight=0.3,
    ),
)


def expose(image: Image.Image, view: Camera, rng: random.Random) -> Image.Image:
    """Render the scene as the camera does: light from a side, colors, lens, sensor noise."""
    width, height = image.size
    fall = view.sidelight * rng.uniform(0.4, 1.2)
    ramp = Image.linear_gradient("L").rotate(90 if fall > 0 else 270).resize(image.size)
    ramp = ramp.point([round(255 - 190 * abs(fall) * value / 255) for value in range(256)])
    image = ImageChops.multiply(image, Image.merge("RGB", (ramp, ramp, ramp)))

    keep = view.saturation * rng.uniform(0.85, 1.1)
    weights = [(1 - keep) * luma for luma in (0.299, 0.587, 0.114)]
    rows = [[weights[j] + keep * (i == j) for j in range(3)] + [0.0] for i in range(3)]
    image = image.convert("RGB", (*rows[0], *rows[1], *rows[2]))

    exposure = rng.uniform(0.8, 1.2)
    gamma = view.gamma * rng.uniform(0.9, 1.1)
    curve = []
    for gain in view.gain:
        gain *= exposure * rng.uniform(0.95, 1.05)
        for value in range(256):
            lit = min(1.0, gain * (value / 255) ** gamma)
            curve.append(round(min(255.0, view.haze + view.contrast * 255 * lit)))
    image = image.point(curve)

    image = image.filter(ImageFilter.GaussianBlur(view.blur * rng.uniform(0.6, 1.4) * height / 128))
    sigma = view.noise * rng.uniform(0.7, 1.3)
    bend = [round(min(255.0, max(0.0, 128 + sigma * deviate))) for deviate in BELL]
    grain = Image.frombytes("RGB", image.size, rng.randbytes(3 * width * height)).point(bend * 3)
    return ImageChops.add(image, grain, 1.0, -128)
