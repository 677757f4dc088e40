"""Lines in percent, each named next to its end: no legend to look up, no text on another."""

from typing import Any, NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import ConnectionPatch
from numpy.typing import NDArray

from reidblocks.visualization._style import INK, LINES, add_title, new_figure, plain
from reidblocks.visualization._text import MEDIUM, literal, shorten

MAX_LINES = 10
MAX_POINTS = 1000
LABEL_WIDTH = 2.6  # inches

Values = NDArray[np.float64]


class Line(NamedTuple):
    """The points of a line and what to write at its end."""

    text: str
    x: Values
    y: Values


def line_figure(
    caller: str, lines: list[Line], x_label: str, y_label: str, title: str | None
) -> Figure:
    """Draw lines in a figure of their own, see ``draw_lines``."""
    if not 1 <= len(lines) <= MAX_LINES:
        raise ValueError(f"{caller} draws 1 to {MAX_LINES} curves, got {len(lines)}")
    figure = new_figure(7, 3.8, layout="constrained")
    axes = figure.add_subplot()
    axes.set_xlabel(x_label)
    axes.set_ylabel(y_label)
    add_title(figure, title)
    draw_lines(plain(axes), lines, height=3.0)
    return figure


def draw_lines(axes: Axes, lines: list[Line], height: float) -> None:
    """Draw lines up to 100 with their names right of the axes, which are ``height`` inches tall.

    Each name stands at its line's last point, or as near as the others allow, and is joined to
    it by a sample of the line. Of a line of more than 1,000 points 1,000 are drawn.
    """
    low = 10 * min(9, int(min(line.y.min() for line in lines) // 10))
    axes.set_ylim(low, 100)
    for (_, x, y), (color, dashes) in zip(lines, LINES, strict=False):
        if len(x) > MAX_POINTS:
            kept = np.linspace(0, len(x) - 1, MAX_POINTS).round().astype(int)
            x, y = x[kept], y[kept]
        marker = "o" if len(x) <= 30 else None
        axes.plot(x, y, color=color, ls=dashes, lw=1.5, marker=marker, ms=3, clip_on=False)
    ends = sorted(zip(lines, LINES, strict=False), key=lambda end: float(end[0].y[-1]))
    heights = [(float(line.y[-1]) - low) / (100 - low) for line, _ in ends]
    places = spread(heights, 1.6 * MEDIUM / 72 / height)
    for ((text, x, y), (color, dashes)), place in zip(ends, places, strict=True):
        end, start = (float(x[-1]), float(y[-1])), (1.05, place)
        leader = ConnectionPatch(end, start, axes.transData, axes.transAxes, color=color, lw=0.6)
        leader.set_in_layout(False)
        axes.add_artist(leader)
        beside: dict[str, Any] = {"transform": axes.transAxes, "clip_on": False}
        axes.plot([1.05, 1.12], [place, place], color=color, ls=dashes, lw=1.5, **beside)
        text = literal(shorten(text, LABEL_WIDTH, MEDIUM))
        axes.text(1.14, place, text, size=MEDIUM, color=INK, va="center", **beside)


def spread(places: list[float], gap: float) -> list[float]:
    """Move rising places apart until each is ``gap`` above the last, below 1 while they fit."""
    moved: list[float] = []
    for place in places:
        moved.append(max(place, moved[-1] + gap) if moved else place)
    limit = max(1.0, gap * (len(places) - 1))
    for n in reversed(range(len(moved))):
        moved[n] = min(moved[n], limit)
        limit = moved[n] - gap
    return moved
