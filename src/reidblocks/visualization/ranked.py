"""Ranked lists: each query next to the gallery images nearest to it."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from matplotlib.figure import Figure
from PIL import Image, ImageOps

from reidblocks.visualization._sheet import Sheet
from reidblocks.visualization._style import FAINT, GREEN, INK, VERMILLION
from reidblocks.visualization._text import LINE, MEDIUM, SMALL, shorten, text_width
from reidblocks.visualization._values import (
    as_text,
    camera_text,
    expect_several,
    number,
    outcome,
    scalar,
    whole,
)
from reidblocks.visualization.images import ImageSource, load_image

MAX_QUERIES = 20
MAX_MATCHES = 20

CELL, GAP = 0.8, 0.14  # inches
CAPTION = SMALL * LINE
LOWEST = ", lowest here"  # after the average precision of the worst query of several
MARKS = {True: ("✓", GREEN, "-"), False: ("✗", VERMILLION, "--"), None: ("–", FAINT, ":")}


class RankedImage(NamedTuple):
    """A gallery image as one query ranks it.

    ``correct`` is None for junk: shown, but not counted by the protocol. A camera is a name, a
    number, or None where it is unknown. NumPy and torch numbers and booleans are accepted.
    """

    image: ImageSource
    correct: bool | None
    distance: float
    camera: str | int | None = None


class RankedQuery(NamedTuple):
    """A query and its matches, nearest first.

    ``average_precision`` is that of the whole list; None, or NaN, where there is none.
    """

    image: ImageSource
    matches: Sequence[RankedImage]
    label: str = ""
    camera: str | int | None = None
    average_precision: float | None = None


def ranked_list(queries: Sequence[RankedQuery], title: str | None = None) -> Figure:
    """Draw one row per query: the query, then its matches, the nearest first.

    A correct match has a green solid frame and ✓, an incorrect one a red dashed frame and ✗, which
    can be seen without color; junk is grayed and has no rank. Camera and distance are under each
    image. Of several queries, the one with the lowest average precision is marked. At most 20
    queries of 20 matches are drawn; a note says how many there were.

    Args:
        queries: what to draw, in this order; rows may differ in length.
        title: text above the rows.

    Raises:
        TypeError: a query is no RankedQuery; correct is neither True, False nor None; a distance
            or average precision is not a number.
        ValueError: no query.
        OSError, TypeError, ValueError: an image cannot be read.

    Source: MDPR Fig. 8.

    >>> import torch
    >>> person = torch.rand(3, 128, 64)
    >>> found = [(True, 0.1, 2), (False, 0.3, 1)]  # whether correct, distance, camera
    >>> matches = [RankedImage(person, *each) for each in found]
    >>> figure = ranked_list([RankedQuery(person, matches, label="id 7", camera=1)])
    >>> len(figure.axes[0].images)
    3
    """
    expect_several("ranked_list", "RankedQuery", queries)
    if not len(queries):
        raise ValueError("ranked_list expects at least one query, got none")
    drawn = [plain_query(query, MAX_MATCHES) for query in queries[:MAX_QUERIES]]
    side = round(3 * CELL * 100)
    rows = [
        (query, load_image(query.image, side), [load_image(m.image, side) for m in query.matches])
        for query in drawn
    ]
    tall = cell_height([image for _, query, matches in rows for image in (query, *matches)])
    scores = [query.average_precision for query in drawn if query.average_precision is not None]
    lowest = min(scores) if len(set(scores)) > 1 else None
    headed = any(query.label or query.average_precision is not None for query in drawn)
    heading = MEDIUM * LINE if headed else 0.0
    row_height = heading + CAPTION + tall + 2 * CAPTION + GAP + 0.06
    columns = 1 + max(len(query.matches) for query in drawn)
    width = max(columns * (CELL + GAP) + GAP, 2.6)
    sheet = Sheet(width, len(rows) * row_height, title, _notes(queries))
    for row, (query, query_image, images) in enumerate(rows):
        y = row * row_height
        sheet.text(_heading(query, width, lowest), 0, y, size=MEDIUM, align="left", bold=True)
        y += heading
        cell(sheet, 0, y, tall, query_image, "query", (INK, "-"), camera_text(query.camera), "")
        rank = 0
        for column, (match, image) in enumerate(zip(query.matches, images, strict=True), 1):
            mark, color, dashes = MARKS[match.correct]
            rank += match.correct is not None
            above = mark if match.correct is None else f"{mark} {rank}"
            shown = image if match.correct is not None else _grayed(image)
            captions = camera_text(match.camera), f"{match.distance:.3f}"
            x = column * (CELL + GAP) + GAP
            cell(sheet, x, y, tall, shown, above, (color, dashes), *captions)
    return sheet.figure


def worst_queries(
    queries: Sequence[RankedQuery], count: int = 8, title: str | None = None
) -> Figure:
    """Draw the ranked lists of the ``count`` queries with the lowest average precision.

    Args:
        queries: all queries; those whose average precision is None or NaN are omitted.
        count: how many rows, at most 20.
        title: text above the rows; "the n worst of N queries" where none is given.

    Raises:
        ValueError: no query has an average precision; count is out of range.

    >>> import torch
    >>> person = torch.rand(3, 128, 64)
    >>> wrong = [RankedImage(person, False, 0.2)]
    >>> figure = worst_queries([RankedQuery(person, wrong, average_precision=0.1)])
    >>> len(figure.axes[0].images)
    2
    """
    expect_several("worst_queries", "RankedQuery", queries)
    count = whole("worst_queries", "count", count)
    if not 1 <= count <= MAX_QUERIES:
        raise ValueError(f"worst_queries expects count from 1 to {MAX_QUERIES}, got {count}")
    scores = [math.nan if (score := _precision(q)) is None else score for q in queries]
    scored = [n for n, score in enumerate(scores) if not math.isnan(score)]
    if not scored:
        raise ValueError("worst_queries expects queries with an average precision, got none")
    worst = [queries[n] for n in sorted(scored, key=scores.__getitem__)[:count]]
    count_of = f"{len(worst)} " if len(worst) > 1 else ""
    return ranked_list(worst, title or f"The {count_of}worst of {len(scored):,} queries")


def plain_query(query: RankedQuery, max_matches: int) -> RankedQuery:
    """Return a query and its first matches with Python's own numbers and text."""
    if not isinstance(query, RankedQuery):
        raise TypeError(f"a query is a RankedQuery, got {type(query).__name__}")
    matches = [
        match._replace(
            correct=outcome("RankedImage", match.correct),
            distance=number("RankedImage", "distance", match.distance),
        )
        for match in query.matches[:max_matches]
    ]
    label = "" if query.label is None else as_text(query.label)
    return query._replace(matches=matches, label=label, average_precision=_precision(query))


def _precision(query: RankedQuery) -> float | None:
    if scalar(query.average_precision) is None:
        return None
    precision = number("RankedQuery", "average_precision", query.average_precision)
    return None if math.isnan(precision) else precision


def cell(
    sheet: Sheet,
    x: float,
    y: float,
    tall: float,
    image: Image.Image,
    above: str,
    frame: tuple[str, str],
    *captions: str,
) -> None:
    """Put an image on the sheet, framed, with a word above it and captions below."""
    middle, width = x + CELL / 2, CELL + GAP - 0.08
    sheet.text(above, middle, y, width, color=frame[0], bold=True)
    sheet.image(image, x, y + CAPTION, CELL, tall, frame)
    for n, caption in enumerate(filter(None, captions)):
        sheet.text(caption, middle, y + CAPTION + tall + 0.05 + n * CAPTION, width)


def cell_height(images: Sequence[Image.Image]) -> float:
    """Fit the cell to the usual shape of the images, between a wide and a very tall one."""
    shape = float(np.median([image.height / image.width for image in images]))
    return CELL * min(max(shape, 0.6), 2.5)


def _heading(query: RankedQuery, width: float, lowest: float | None) -> str:
    precision = query.average_precision
    score = "" if precision is None else f"AP {100 * precision:.1f}%"
    if precision is not None and precision == lowest:
        score += LOWEST
    available = width - text_width(f" · {score}", MEDIUM, bold=True)
    return " · ".join(filter(None, (shorten(query.label, available, MEDIUM, bold=True), score)))


def _grayed(image: Image.Image) -> Image.Image:
    gray = ImageOps.grayscale(image).convert("RGB")
    return Image.blend(gray, Image.new("RGB", gray.size, "white"), 0.25)


def _notes(queries: Sequence[RankedQuery]) -> list[str]:
    notes = ["✓ correct match · ✗ incorrect match · – junk, not counted · below: camera, distance"]
    if len(queries) > MAX_QUERIES:
        notes.append(f"The first {MAX_QUERIES} of {len(queries):,} queries.")
    if (longest := max(len(query.matches) for query in queries)) > MAX_MATCHES:
        notes.append(f"The first {MAX_MATCHES} of {longest:,} matches.")
    return notes
