"""A sheet on which pictures and captions are put by inches, so that nothing can overlap."""

from collections.abc import Sequence

import numpy as np
from matplotlib.patches import Rectangle
from PIL import Image

from reidblocks.visualization._style import FAINT, INK, new_figure
from reidblocks.visualization._text import LARGE, LINE, SMALL, font, literal, shorten, wrap

MARGIN = 0.12  # inches around the sheet


class Sheet:
    """One figure of images and text; positions are inches from the content's top left corner.

    The title stands above the content and the notes below it; both are wrapped to the width.
    """

    def __init__(
        self, width: float, height: float, title: str | None = None, notes: Sequence[str] = ()
    ) -> None:
        title_lines = [] if title is None else wrap(title, width, LARGE)
        note_lines = [line for note in notes for line in wrap(note, width, SMALL)]
        above = len(title_lines) * LARGE * LINE + (0.06 if title_lines else 0)
        below = len(note_lines) * SMALL * LINE + (0.06 if note_lines else 0)
        full_width, full_height = width + 2 * MARGIN, above + height + below + 2 * MARGIN
        self.figure = new_figure(full_width, full_height)
        self.axes = self.figure.add_axes((0, 0, 1, 1))
        self.axes.set_axis_off()
        self.axes.set_autoscale_on(False)
        self.axes.set_xlim(-MARGIN, width + MARGIN)
        self.axes.set_ylim(height + below + MARGIN, -above - MARGIN)
        for n, line in enumerate(title_lines):
            self.text(line, 0, n * LARGE * LINE - above, size=LARGE, align="left")
        for n, line in enumerate(note_lines):
            y = height + below - (len(note_lines) - n) * SMALL * LINE
            self.text(line, 0, y, color=FAINT, align="left")

    def image(
        self,
        image: Image.Image,
        x: float,
        y: float,
        width: float,
        height: float,
        frame: tuple[str, str] | None = None,
    ) -> None:
        """Put an image in the middle of a box, whole, with a frame (color, dashes) around it."""
        scale = min(width / image.width, height / image.height)
        w, h = image.width * scale, image.height * scale
        left, top = x + (width - w) / 2, y + (height - h) / 2
        self.axes.imshow(
            np.asarray(image),
            extent=(left, left + w, top + h, top),
            origin="upper",
            interpolation="bilinear",
            aspect="auto",
        )
        if frame:
            color, dashes = frame
            corner, pad = (left - 0.01, top - 0.01), 0.02
            self.axes.add_patch(
                Rectangle(
                    corner, w + pad, h + pad, fill=False, ec=color, ls=dashes, lw=2, clip_on=False
                )
            )

    def text(
        self,
        text: object,
        x: float,
        y: float,
        width: float | None = None,
        size: int = SMALL,
        color: str = INK,
        align: str = "center",
        bold: bool = False,
    ) -> None:
        """Write one line whose top is at y, cut in its middle where it is wider than width."""
        self.axes.text(
            x,
            y,
            literal(shorten(text, width, size, bold) if width else text),
            fontproperties=font(size, bold),
            color=color,
            ha=align,
            va="top",
        )
