"""A report as one self-contained HTML file that works offline."""

from collections.abc import Mapping, Sequence
from importlib import resources
from os import PathLike
from pathlib import Path
from typing import NamedTuple, TypeAlias

from matplotlib.figure import Figure

from reidblocks._files import atomic_path
from reidblocks.visualization._cards import QueryCard, card_list
from reidblocks.visualization._html import drawing, element, escape, table
from reidblocks.visualization._values import expect_named


class ReportTable(NamedTuple):
    """A table; the first cell of each row names it. Cells are written as ``str`` gives them."""

    header: Sequence[object]
    rows: Sequence[Sequence[object]]
    caption: str = ""


class ReportFigure(NamedTuple):
    """A figure with an alternative text for screen readers."""

    figure: Figure
    alt: str


class ReportWarning(NamedTuple):
    """A sentence in a highlighted box."""

    text: str


class ReportQueries(NamedTuple):
    """Ranked lists with a filter by identity, camera and group; 300 at most."""

    cards: Sequence[QueryCard]
    caption: str = ""


#: What a section is made of; a plain string is a paragraph.
ReportPart: TypeAlias = str | ReportTable | ReportFigure | ReportWarning | ReportQueries


def write_report(
    path: str | PathLike[str],
    title: str,
    sections: Mapping[str, ReportPart | Sequence[ReportPart]],
    summary: str = "",
) -> Path:
    """Write a self-contained report that works offline, with all images in the one file.

    It is legible on a phone, on paper, in light and in dark, and without a mouse; correct and
    incorrect matches differ in frame and mark as well as in color. Without JavaScript all queries
    show and the filter does nothing. All text is escaped. Images become JPEG thumbnails of at most
    144 pixels on the longer side; of a list of queries the first 300 are kept, of a query the
    first 20 matches, and the page says so. **The file contains the people in the images**: share
    it with the same care as the images themselves.

    Args:
        path: the file; an older one is replaced when the new one is complete.
        title: of the page.
        sections: each section's heading and its parts, or its one part, in this order.
        summary: text below the title.

    Raises:
        ValueError: no section; a list of no query; maps that are not finite.
        TypeError: a part is none of the kinds above; sections is no dict.
        OSError: an image cannot be read, or the file not be written.

    >>> import torch
    >>> from reidblocks.visualization import RankedImage, RankedQuery
    >>> person = torch.rand(3, 64, 32)
    >>> ranked = RankedQuery(person, [RankedImage(person, True, 0.1, camera=2)], "id 7", camera=1)
    >>> queries = ReportQueries([QueryCard(ranked, maps={"A5": torch.rand(2, 8, 4)})])
    >>> metrics = ReportTable(["", "mAP"], [["trained", "91.2%"]])
    >>> write_report("report.html", "A run", {"Metrics": [metrics], "Queries": [queries]}).name
    'report.html'
    """
    expect_named("write_report", "sections", sections, "their parts")
    if not sections:
        raise ValueError("write_report expects at least one section, got none")
    with atomic_path(path) as partial:  # a path that cannot be written shows before the work
        partial.write_text(_page(title, sections, summary), "utf-8", newline="\n")
    return Path(path)


def _page(
    title: str, sections: Mapping[str, ReportPart | Sequence[ReportPart]], summary: str
) -> str:
    body, links = [], []
    for number, (heading, parts) in enumerate(sections.items(), 1):
        anchor = f"section-{number}"
        links.append(element("a", escape(heading), href=f"#{anchor}"))
        inside = "".join(map(_write, _several(parts)))
        body.append(element("section", element("h2", escape(heading)), inside, id=anchor))
    files = resources.files("reidblocks.visualization")
    style, script = (files.joinpath(f"report.{kind}").read_text("utf-8") for kind in ("css", "js"))
    return "".join(
        (
            '<!DOCTYPE html><html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            '<link rel="icon" href="data:,">',  # or a browser asks the server for one
            element("title", escape(title)),
            element("style", style),
            "</head><body>",
            element("header", element("h1", escape(title)), _paragraph(summary)),
            element("nav", *links, aria_label="sections"),
            element("main", *body),
            element("script", script),
            "</body></html>\n",
        )
    )


def _several(parts: ReportPart | Sequence[ReportPart]) -> Sequence[ReportPart]:
    """Return a section's parts; a part is a text or a tuple with names, which a list is not."""
    single = isinstance(parts, str) or hasattr(parts, "_fields") or not hasattr(parts, "__iter__")
    return [parts] if single else parts  # type: ignore[return-value, list-item]


def _write(part: ReportPart) -> str:
    match part:
        case str():
            return _paragraph(part)
        case ReportTable(header, rows, caption):
            return table(header, rows, caption)
        case ReportFigure(figure, alt):
            return drawing(figure, alt)
        case ReportWarning(text):
            return element("p", element("strong", "⚠ "), escape(text), class_="warning")
        case ReportQueries(cards, caption):
            return card_list(cards, caption)
    raise TypeError(
        "a part of a report is a string, ReportTable, ReportFigure, ReportWarning or "
        f"ReportQueries, got {type(part).__name__}"
    )


def _paragraph(text: str) -> str:
    return element("p", escape(text)) if text else ""
