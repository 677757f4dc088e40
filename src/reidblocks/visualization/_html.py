"""Pieces of HTML: every text escaped, every image embedded."""

import base64
import html
import io
from collections.abc import Iterable

from matplotlib.figure import Figure
from PIL import Image

from reidblocks.visualization._values import as_text, expect_several

THUMBNAIL_SIDE = 144  # pixels
QUALITY = 78


def element(tag: str, *content: str, **attributes: object) -> str:
    """Write an element; ``content`` is HTML already, attributes are escaped here.

    An underscore at the end of an attribute's name is dropped (``class_``), others become hyphens.
    An attribute that is None or False is omitted, one that is True has no value.
    """
    words = [tag]
    for name, value in attributes.items():
        key = name.rstrip("_").replace("_", "-")
        if value is True:
            words.append(key)
        elif value is not None and value is not False:
            words.append(f'{key}="{escape(value)}"')
    opening = f"<{' '.join(words)}>"
    return opening if tag in ("img", "col", "meta") else f"{opening}{''.join(content)}</{tag}>"


def escape(text: object) -> str:
    """Make text safe within an element and within an attribute's quotes."""
    return html.escape(as_text(text))


def picture(image: Image.Image, alt: str, **attributes: object) -> str:
    """Embed a small image as JPEG."""
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=QUALITY, optimize=True)
    return _embedded("jpeg", buffer, alt, image.width, image.height, **attributes)


def drawing(figure: Figure, alt: str) -> str:
    """Embed a figure as PNG, no larger than it was drawn; it scrolls where that is too wide."""
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150, metadata={"Software": None})
    inches = figure.get_size_inches()
    width, height = (round(150 * side) for side in inches)
    style = f"--drawn:{inches[0]:.2f}in"
    image = _embedded("png", buffer, alt, width, height, style=style)
    return element("div", image, class_="drawing", tabindex=0, role="region", aria_label=alt)


def table(header: Iterable[object], rows: Iterable[Iterable[object]], caption: str) -> str:
    """Write a table whose first column names the rows; it scrolls where it is too wide."""
    rows = list(rows)
    for part, cells in [("header", header), *(("rows", row) for row in rows)]:
        expect_several("ReportTable", f"cells in {part}", cells)
    head = "".join(element("th", escape(name), scope="col") for name in header)
    body = "".join(
        element(
            "tr",
            *(
                element("td", escape(cell)) if n else element("th", escape(cell), scope="row")
                for n, cell in enumerate(row)
            ),
        )
        for row in rows
    )
    name = caption or "table"
    inside = element("table", element("thead", element("tr", head)), element("tbody", body))
    return element(
        "div",
        element("p", escape(caption), class_="note") if caption else "",
        element("div", inside, class_="wide", tabindex=0, role="region", aria_label=name),
        class_="block",
    )


def _embedded(
    kind: str, buffer: io.BytesIO, alt: str, width: int, height: int, **attributes: object
) -> str:
    data = base64.b64encode(buffer.getvalue()).decode()
    source = f"data:image/{kind};base64,{data}"
    return element("img", src=source, alt=alt, width=width, height=height, **attributes)
