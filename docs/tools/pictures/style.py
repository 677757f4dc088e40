"""How the pictures look: sizes, colors, panels, boxes and arrows."""

import io
from collections.abc import Sequence
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import FancyBboxPatch

# Okabe and Ito's colors, told apart with every common kind of color blindness.
INK, GRAY, PALE = "#222222", "#7a7a7a", "#e8e8e8"
BLUE, VERMILLION, GREEN, ORANGE, PINK = "#0072B2", "#D55E00", "#009E73", "#E69F00", "#CC79A7"

WIDTH = 4.9  # inches, about as wide as a phone: text of 9 points stays as large there
HEAT = matplotlib.colormaps["inferno"]


def new_figure(height: float, width: float = WIDTH) -> Figure:
    return Figure(figsize=(width, height), facecolor="white", layout="constrained")


def encode(figure: Figure) -> bytes:
    """Write PNG, the same bytes each time."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=160, metadata={"Software": None})
    return buffer.getvalue()


def plain(axes: Axes, x: str = "", y: str = "", title: str = "") -> Axes:
    """Two spines, faint grid, labels of 9 points."""
    axes.set_xlabel(x, size=9)
    axes.set_ylabel(y, size=9)
    axes.set_title(title, size=9)
    axes.tick_params(labelsize=8, colors=INK)
    axes.grid(True, color=PALE, lw=0.6)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
    return axes


def show(axes: Axes, values: Any, title: str = "", below: str = "", **look: Any) -> Axes:
    """Show an image or a map without ticks."""
    axes.imshow(np.asarray(values), **look)
    axes.set_title(title, size=9)
    axes.set_xlabel(below, size=8.5)
    axes.set_xticks([])
    axes.set_yticks([])
    return axes


def canvas(figure: Figure, width: float, height: float) -> Axes:
    """Axes without a frame, in units of their own, for boxes and arrows."""
    axes = figure.add_subplot()
    axes.set_xlim(0, width)
    axes.set_ylim(height, 0)
    axes.set_aspect("equal")
    axes.set_axis_off()
    return axes


def box(
    axes: Axes, x: float, y: float, w: float, h: float, text: str, color: str = PALE, **look: Any
) -> None:
    """A round box with its text in the middle; x and y are its upper left corner."""
    shape = {"boxstyle": "round,pad=0,rounding_size=0.08", "lw": 1, "ec": INK} | look
    axes.add_patch(FancyBboxPatch((x, y), w, h, fc=color, **shape))
    axes.text(x + w / 2, y + h / 2, text, size=9, ha="center", va="center", color=INK)


def arrow(axes: Axes, points: Sequence[tuple[float, float]], **look: Any) -> None:
    """A line through the points with a head at the last."""
    style = {"color": INK, "lw": 1.1, "ls": "-"} | look
    if len(points) > 2:
        axes.plot(*zip(*points[:-1], strict=True), solid_capstyle="butt", **style)
    axes.annotate(
        "",
        points[-1],
        points[-2],
        arrowprops={"arrowstyle": "-|>", "shrinkA": 0, "shrinkB": 0, **style},
    )
