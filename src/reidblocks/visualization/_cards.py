"""The ranked lists of a report: a card for each query, and what they are filtered by."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from PIL import Image
from torch import Tensor

from reidblocks._checks import expect_shape
from reidblocks.visualization._html import THUMBNAIL_SIDE, element, escape, picture
from reidblocks.visualization._values import camera_text, expect_named, expect_several
from reidblocks.visualization.attention import color_strip, overlays, with_all
from reidblocks.visualization.images import load_image
from reidblocks.visualization.ranked import RankedImage, RankedQuery, plain_query

MAX_QUERIES = 300
MAX_MATCHES = 20
SHOWN_FIRST = 8  # of each group, before the reader asks for more

# A word for those that see neither frame nor color, a mark for those that see no color.
MARKS = {True: ("correct", "✓"), False: ("incorrect", "✗"), None: ("junk", "–")}


class QueryCard(NamedTuple):
    """One query of a report: its ranked list, its group, and its attention maps.

    ``ranked.label`` and ``ranked.camera`` are what the reader filters by. ``maps`` are groups of
    (K, h, w), named, laid over the query's image.
    """

    ranked: RankedQuery
    group: str = ""
    maps: Mapping[str, Tensor] = {}


def card_list(cards: Sequence[QueryCard], caption: str) -> str:
    """Write the filter, and under it the cards, group by group, in the order they come."""
    expect_several("ReportQueries", "QueryCard", cards)
    if not len(cards):
        raise ValueError("ReportQueries expects at least one QueryCard, got none")
    shown = list(cards[:MAX_QUERIES])
    for card in shown:
        if not isinstance(card, QueryCard):
            raise TypeError(f"ReportQueries expects QueryCard, got {type(card).__name__}")
        expect_named("QueryCard", "maps", card.maps, "tensors (K, h, w)")
    low, high = _map_range(shown)
    parts = [element("p", escape(caption), class_="note")] if caption else []
    if len(cards) > len(shown):
        parts.append(_note(f"The first {len(shown)} of {len(cards):,} queries are here."))
    parts.append(
        _note(
            "✓ correct match · ✗ incorrect match · – junk, not counted · below: camera, distance. "
            "Images are thumbnails, at most "
            f"{THUMBNAIL_SIDE} pixels on the longer side."
        )
    )
    if high > low:
        strip = picture(color_strip(), "colors from dark to bright", class_="strip")
        scale = f"attention, from {low:.3g} {{}} to {high:.3g}"
        parts.append(element("p", escape(scale).replace("{}", strip), class_="note"))
    parts.append(_filter(shown))
    groups = list(dict.fromkeys(card.group for card in shown))
    for group in groups:
        inside = [_card(card, low, high) for card in shown if card.group == group]
        heading = element("h3", escape(group)) if group else ""
        more = element("button", "Show all", type="button", class_="more", hidden=True)
        parts.append(
            element("section", heading, *inside, more, class_="group", data_first=SHOWN_FIRST)
        )
    return element("div", *parts, class_="queries")


def _filter(cards: Sequence[QueryCard]) -> str:
    labels = sorted({plain_query(card.ranked, 0).label for card in cards} - {""}, key=_natural)
    cameras = sorted({camera_text(card.ranked.camera) for card in cards} - {""}, key=_natural)
    groups = list(dict.fromkeys(card.group for card in cards))
    choices = [
        _select("group", "Show", ["all", *groups]) if len(groups) > 1 else "",
        _select("identity", "Identity", ["all", *labels]),
        _select("camera", "Camera of the query", ["all", *cameras]),
        element(
            "label",
            element("input", type="checkbox", name="failed", autocomplete="off"),
            " first match incorrect",
        ),
        element("button", "Clear", type="reset"),
        element("output", f"{len(cards)} of {len(cards)} queries", aria_live="polite"),
    ]
    return element("form", *choices, class_="filter", aria_label="filter of the queries")


def _select(name: str, label: str, options: Sequence[str]) -> str:
    values = ["", *options[1:]]
    inside = [
        element("option", escape(option), value=value)
        for value, option in zip(values, options, strict=True)
    ]
    return element(
        "label", escape(label), " ", element("select", *inside, name=name, autocomplete="off")
    )


def _card(card: QueryCard, low: float, high: float) -> str:
    query = plain_query(card.ranked, MAX_MATCHES)
    matches = query.matches
    image = load_image(query.image, THUMBNAIL_SIDE)
    counting = [match.correct for match in matches if match.correct is not None]
    score = "" if query.average_precision is None else f"AP {100 * query.average_precision:.1f}%"
    camera = camera_text(query.camera)
    heading = " · ".join(filter(None, (query.label, camera, score)))
    cells = [_cell(image, "the query", "query", [], "query")]
    rank = 0
    for match in matches:
        rank += match.correct is not None
        cells.append(_match(match, rank))
    cut = ""
    if len(card.ranked.matches) > len(matches):
        cut = _note(f"the first {len(matches)} of {len(card.ranked.matches):,} matches")
    return element(
        "article",
        element("h4", escape(heading)),
        element("div", *cells, class_="row"),
        cut,
        *_attention(image, card.maps, low, high),
        class_="card",
        data_identity=query.label,
        data_camera=camera,
        data_group=card.group,
        data_failed="yes" if counting and not counting[0] else "no",
    )


def _match(match: RankedImage, rank: int) -> str:
    word, mark = MARKS[match.correct]
    above = mark if match.correct is None else f"{mark} {rank}"
    camera, distance = camera_text(match.camera), f"{match.distance:.3f}"
    place = "not counted" if match.correct is None else f"rank {rank}"
    alt = ", ".join(filter(None, (place, word, camera, f"distance {distance}")))
    image = load_image(match.image, THUMBNAIL_SIDE)
    return _cell(image, alt, above, [camera, distance], word)


def _attention(
    image: Image.Image, maps: Mapping[str, Tensor], low: float, high: float
) -> list[str]:
    rows = []
    for name, group in maps.items():
        expect_shape("a report", f"maps[{name!r}]", group, "K H W")
        stacked = with_all(group[None])[0]
        count = len(stacked)
        cells = []
        for n, overlay in enumerate(overlays(image, stacked, low, high)):
            part = "all" if count > 1 and n == count - 1 else f"{n + 1}"
            cells.append(_cell(overlay, f"{name}, map {part}", f"{name} {part}", [], "map"))
        rows += cells
    return [element("div", *rows, class_="row maps")] if rows else []


def _cell(image: Image.Image, alt: str, above: str, captions: Sequence[str], kind: str) -> str:
    below = "<br>".join(escape(text) for text in captions if text)
    return element(
        "figure",
        element("span", escape(above), class_="mark", aria_hidden="true"),
        picture(image, alt),
        element("figcaption", below) if below else "",
        class_=kind,
    )


def _map_range(cards: Sequence[QueryCard]) -> tuple[float, float]:
    """Return 0, or the minimum if that is below, and the maximum of all cards."""
    groups = [group.detach() for card in cards for group in card.maps.values() if group.numel()]
    for group in groups:
        if not group.isfinite().all():
            raise ValueError("a report expects finite maps, some are not")
    low = min([0.0, *(float(group.min()) for group in groups)])
    high = max([low, *(float(group.max()) for group in groups)])
    return low, high if high > low or not groups else low + 1


def _note(text: str) -> str:
    return element("p", escape(text), class_="note")


def _natural(text: str) -> tuple[tuple[int, int, str], ...]:
    """Sort "id 9" before "id 10"."""
    words = text.replace("-", " ").split()
    return tuple((0, int(word), "") if word.isdecimal() else (1, 0, word) for word in words)
