"""People drawn in a few strokes, and a check that no two texts of a figure touch."""

from collections.abc import Callable

import pytest
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.text import Text
from PIL import Image, ImageDraw

LONG = "northern-campus-entrance-hall-upper-camera"


def draw_person(number: int, width: int = 32, height: int = 64) -> Image.Image:
    image = Image.new("RGB", (width, height), (40 * number % 256, 120, 160))
    draw = ImageDraw.Draw(image)
    x, y = width / 8, height / 16
    draw.ellipse((3 * x, y, 5 * x, 3 * y), fill=(220, 180, 150))
    draw.rectangle((2 * x, 3 * y, 6 * x, 9 * y), fill=(200, 70 * number % 256, 30))
    draw.rectangle((2.5 * x, 9 * y, 5.5 * x, 15 * y), fill=(30, 40, 70 * number % 256))
    return image


def unreadable_texts(figure: Figure) -> list[tuple[str, str]]:
    """Pairs of texts that overlap, and texts that leave the figure ("", text)."""
    figure.canvas.draw()
    renderer = figure.canvas.get_renderer()
    beyond = set()  # labels of ticks outside the limits exist and are never drawn
    for axes in figure.findobj(Axes):
        for axis in (axes.xaxis, axes.yaxis):
            low, high = sorted(axis.get_view_interval())
            slack = 1e-9 * (high - low)
            for tick in axis.get_major_ticks():
                if not low - slack <= tick.get_loc() <= high + slack or not axes.axison:
                    beyond |= {tick.label1, tick.label2}
    boxes = [
        (text.get_text(), text.get_window_extent(renderer))
        for text in figure.findobj(Text)
        if text.get_visible() and text.get_text().strip() and text not in beyond
    ]
    width, height = figure.canvas.get_width_height()
    found = [
        ("", text)
        for text, box in boxes
        if box.x0 < -1 or box.y0 < -1 or box.x1 > width + 1 or box.y1 > height + 1
    ]
    for n, (text, box) in enumerate(boxes):
        for other, another in boxes[n + 1 :]:
            across = min(box.x1, another.x1) - max(box.x0, another.x0)
            down = min(box.y1, another.y1) - max(box.y0, another.y0)
            if across > 1 and down > 1:  # pixels
                found.append((text, other))
    return found


@pytest.fixture(scope="session")
def person() -> Callable[..., Image.Image]:
    return draw_person


@pytest.fixture(scope="session")
def unreadable() -> Callable[[Figure], list[tuple[str, str]]]:
    return unreadable_texts


@pytest.fixture(scope="session")
def texts() -> Callable[[Figure], list[str]]:
    """Every text of a figure."""
    return lambda figure: [t.get_text() for t in figure.findobj(Text) if t.get_text().strip()]


@pytest.fixture(scope="session")
def long_name() -> str:
    return LONG
