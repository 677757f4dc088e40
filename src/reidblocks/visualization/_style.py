"""The common style of all figures: no pyplot, colors, dashes, axes."""

from typing import Literal

from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from reidblocks.visualization._text import DPI, LARGE, font, literal, wrap
from reidblocks.visualization._values import as_text

INK, FAINT, GRID = "#000000", "#595959", "#d9d9d9"

# Okabe and Ito's colors, told apart with every common kind of color blindness. Their yellow is
# omitted: it cannot be seen on white paper.
BLUE, VERMILLION, GREEN = "#0072B2", "#D55E00", "#009E73"
COLORS = (BLUE, VERMILLION, GREEN, "#CC79A7", "#E69F00", "#56B4E9", INK)
# Dashes and shapes change together with the color, so that a gray print tells them apart too.
DASHES = ("-", "--", "-.", ":")
LINES = [
    (COLORS[n % len(COLORS)], DASHES[n % len(DASHES)]) for n in range(len(COLORS) * len(DASHES))
]
MARKERS = [(COLORS[n % len(COLORS)], "osD^vP"[n % 6]) for n in range(len(COLORS) * 6)]


def new_figure(width: float, height: float, layout: Literal["constrained"] | None = None) -> Figure:
    """Make a white figure of so many inches with a canvas of its own: no window, no pyplot."""
    figure = Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout=layout)
    FigureCanvasAgg(figure)
    if layout:
        figure.set_layout_engine(layout, w_pad=0.1, h_pad=0.08)  # inches: no text at the edge
    return figure


def plain(axes: Axes) -> Axes:
    """Draw axes black on white with faint lines behind, whatever the user's own style is."""
    axes.set_facecolor("white")
    axes.grid(True, color=GRID, linewidth=0.6, linestyle="-")
    axes.set_axisbelow(True)
    axes.tick_params(colors=INK, labelsize=8)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(INK)
    for label in (axes.xaxis.label, axes.yaxis.label, axes.title):
        label.set_color(INK)
        label.set_fontsize(9)
    return axes


def add_title(figure: Figure, title: str | None) -> None:
    """Write a title above all panels, wrapped to the figure's width."""
    if title is not None and as_text(title).strip():
        lines = wrap(title, figure.get_size_inches()[0] - 0.4, LARGE)
        figure.suptitle("\n".join(map(literal, lines)), fontproperties=font(LARGE), color=INK)
