"""Text as it was given, measured, shortened and wrapped before it is drawn."""

import functools

from matplotlib import rcParams
from matplotlib.backends.backend_agg import RendererAgg
from matplotlib.font_manager import FontProperties

from reidblocks.visualization._values import as_text

SMALL, MEDIUM, LARGE = 7, 8, 10  # points
LINE = 1.45 / 72  # inches a line of text takes, per point of its size
DPI = 150


def literal(text: object) -> str:
    """Keep text on one line and its dollar signs from being read as mathematics."""
    return " ".join(as_text(text).split()).replace("$", r"\$")


def shorten(text: object, width: float, size: int, bold: bool = False) -> str:
    """Cut the middle out of text, where names differ least, until it is so many inches wide."""
    text = as_text(text)
    if text_width(text, size, bold) <= width:
        return text
    for kept in range(min(len(text) - 1, 200), 0, -1):
        shorter = text[: (kept + 1) // 2] + "…" + text[len(text) - kept // 2 :]
        if text_width(shorter, size, bold) <= width:
            return shorter
    return "…"


def wrap(text: object, width: float, size: int) -> list[str]:
    """Break text between words into lines of at most so many inches."""
    lines: list[str] = []
    for word in as_text(text).split():
        if lines and text_width(f"{lines[-1]} {word}", size) <= width:
            lines[-1] += f" {word}"
        else:
            lines.append(shorten(word, width, size))
    return lines


def text_width(text: str, size: int, bold: bool = False) -> float:
    """Measure a line in inches."""
    extent = _ruler().get_text_width_height_descent(text, font(size, bold), ismath=False)  # type: ignore[no-untyped-call]
    return float(extent[0]) / DPI


def font(size: int, bold: bool = False) -> FontProperties:
    """Return the user's own font, with one behind it that has the marks ✓ and ✗."""
    family = [*rcParams["font.family"], "DejaVu Sans"]  # comes with matplotlib
    return FontProperties(family=family, size=size, weight="bold" if bold else "normal")


@functools.cache
def _ruler() -> RendererAgg:
    return RendererAgg(1, 1, DPI)  # type: ignore[no-untyped-call]
