"""What there is to see of an evaluation, as sections of a report."""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from reidblocks.evaluation import (
    Evaluation,
    Features,
    Protocol,
    confidence_intervals,
    evaluate,
    verify,
)
from reidblocks.evaluation.protocol import MARKET_RULE
from reidblocks.evaluation.scores import Distance
from reidblocks.visualization._cards import QueryCard
from reidblocks.visualization.cmc import cmc_curves
from reidblocks.visualization.distances import distance_histogram, pair_distances
from reidblocks.visualization.embedding import embedding_map
from reidblocks.visualization.health import attention_health
from reidblocks.visualization.precision import precision_recall_curves
from reidblocks.visualization.report import (
    ReportFigure,
    ReportPart,
    ReportQueries,
    ReportTable,
    ReportWarning,
)
from reidblocks.visualization.search import person_of, ranked_queries

QUERIES = 50  # of the best, of those in the middle, of the worst
PAIRED = 400  # queries in the curves over pairs
MAPPED = 12  # people on the map
CAMERAS = 12  # in the tables of pairs of cameras
FALSE_MATCHES = 0.01

Maps = Callable[[list[int]], Mapping[str, Tensor]]


class _Search(NamedTuple):
    """An evaluation with all that it is of."""

    query: Features
    gallery: Features
    protocol: Protocol
    distance: Distance
    name: str
    result: Evaluation


def evaluation_sections(
    query: Features,
    gallery: Features,
    *,
    name: str = "model",
    protocol: Protocol = MARKET_RULE,
    distance: Distance = "cosine",
    maps: Maps | None = None,
) -> dict[str, list[ReportPart]]:
    """Return the sections of a report on one evaluation, for ``write_report``.

    "Metrics" with intervals and what was dropped, "Queries" with the ranked lists of the 50 worst,
    50 median and 50 best, "Cameras" with mAP and rank-1 from each camera to each other, "Curves"
    over ranks and pairs with a threshold, and a "Map" of some people's embeddings. They are a plain
    dict of lists: add or remove sections.

    Args:
        query, gallery: the features of both sides with ``paths``, as ``extract_features`` gives
            them where a loader's batches have a ``path``.
        name: of the model, in tables and legends.
        protocol: which gallery images count for which query.
        distance: "cosine" or "euclidean".
        maps: from rows of the query side to attention maps by name, each (rows, K, h, w), which
            are laid over the queries that are shown.

    Raises:
        ValueError: an image has no path; bad input, as for ``evaluate``.

    >>> from PIL import Image
    >>> for name in ("query.png", "gallery.png"):
    ...     Image.new("RGB", (8, 16)).save(name)
    >>> query = Features(torch.eye(3), [1, 2, 3], [1, 1, 1], paths=["query.png"] * 3)
    >>> gallery = Features(torch.eye(3), [1, 2, 3], [2, 2, 2], paths=["gallery.png"] * 3)
    >>> list(evaluation_sections(query, gallery))
    ['Metrics', 'Queries', 'Cameras', 'Curves', 'Map']
    """
    result = evaluate(query, gallery, protocol=protocol, distance=distance)
    search = _Search(query, gallery, protocol, distance, name, result)
    return {
        "Metrics": metrics(name, result),
        "Queries": [queries(search, maps)],
        "Cameras": by_cameras(search),
        "Curves": curves(search),
        "Map": people(search),
    }


def attention_section(maps: Mapping[str, Tensor], masks: Tensor | None = None) -> list[ReportPart]:
    """Return the section of a report that says whether attention maps do their work.

    For each group of maps a table of what `attention_health` measures, and its warnings.

    Args:
        maps: groups of maps by name, each (B, K, h, w), from a softmax over K and a background.
        masks: where the person is in each image, (B, H, W), from 0 to 1, as `read_masks` gives.

    Raises:
        ValueError: as `attention_health`.

    >>> table, told = attention_section({"A5": torch.rand(2, 3, 8, 4) / 3})
    >>> table.header
    ['', 'coverage', 'peak', 'entropy', 'most overlap with another']
    """
    parts: list[ReportPart] = []
    for name, group in maps.items():
        health = attention_health(group, masks)
        overlap = health.overlap - torch.eye(len(health.overlap), dtype=torch.float64)
        each = zip(health.coverage, health.peak, health.entropy, overlap.amax(1), strict=True)
        rows = [
            [f"map {k}", _percent(float(taken)), *(f"{value:.2f}" for value in others)]
            for k, (taken, *others) in enumerate(each, start=1)
        ]
        rows.append(["background", _percent(health.background), "", "", ""])
        header = ["", "coverage", "peak", "entropy", "most overlap with another"]
        if health.on_person is not None:
            *each_on, all_on = (f"{value:.2f}" for value in health.on_person)
            rows = [[*row, on] for row, on in zip(rows, [*each_on, ""], strict=True)]
            rows.append(["all maps", "", "", "", "", all_on])
            header.append("on the person (1: chance)")
        images, _, height, width = group.shape
        title = f"{name}, {height}×{width} places, over {images:,} images"
        parts.append(ReportTable(header, rows, title))
        parts += [ReportWarning(f"{name}: {warning}") for warning in health.warnings]
        if not health.warnings:
            parts.append(f"{name}: no map is dead or flat, no two maps are one.")
    return parts


def metrics(name: str, result: Evaluation) -> list[ReportPart]:
    """Set the metrics with their intervals in a table, and say which queries were dropped."""
    ranks = {f"rank-{k}": result.rank(k) for k in (1, 5, 10)}
    values = {"mAP": result.mAP, **ranks, "mINP": result.mINP}
    sure, note = {}, "One person alone was tested: an interval over people takes at least two."
    if len(set(result.query_ids[result.valid].tolist())) > 1:
        sure = confidence_intervals(result)
        note = "The interval is over other people, by bootstrap."
    ends = [sure[key][1:] if key in sure else None for key in values]
    between = [f"{100 * both[0]:.1f} to {100 * both[1]:.1f}" if both else "" for both in ends]
    rows = [[name, *map(_percent, values.values())], ["95% interval", *between]]
    first, *rest = (line.strip() for line in str(result.report).splitlines())
    dropped = ReportWarning(first) if result.report.num_dropped else f"{first.capitalize()}."
    return [ReportTable(["", *values], rows), note, dropped, *rest]


def queries(search: _Search, maps: Maps | None) -> ReportQueries:
    """List the queries that are found worst, those in the middle and those found best."""
    order = search.result.worst(len(search.query))
    count, size = len(order), min(QUERIES, len(order) // 3)
    caption = f"All {count:,} queries with a correct match in the gallery, by average precision."
    if count < 3:
        groups = {"Queries": order}
    elif count <= 3 * QUERIES:
        worst, middle, best = order.tensor_split(3)
        groups = {"Worst": worst, "Median": middle, "Best": best.flip(0)}
    else:
        middle = order[(count - size) // 2 :][:size]
        groups = {"Worst": order[:size], "Median": middle, "Best": order[-size:].flip(0)}
        caption = (
            f"The {size} worst, the {size} in the middle and the {size} best of the {count:,} "
            "queries with a correct match in the gallery, by average precision. The filter "
            f"searches these {3 * size}."
        )
    rows = torch.cat(list(groups.values())).tolist()
    names = [name for name, group in groups.items() for _ in group]
    ranked = ranked_queries(
        search.query,
        search.gallery,
        rows,
        protocol=search.protocol,
        distance=search.distance,
        keep_excluded=True,
        evaluation=search.result,
    )
    over = maps(rows) if maps else {}
    cards = [
        QueryCard(each, name, {group: values[n] for group, values in over.items()})
        for n, (each, name) in enumerate(zip(ranked, names, strict=True))
    ]
    return ReportQueries(cards, caption)


def by_cameras(search: _Search) -> list[ReportPart]:
    """Search from each camera in each other."""
    query, gallery = search.query, search.gallery
    if query.cameras is None or gallery.cameras is None:
        return ["The cameras are not known."]
    images = torch.cat([query.cameras, gallery.cameras])
    seen, count = torch.unique(images[images != -1], return_counts=True)
    cameras = sorted(seen[count.argsort(descending=True)[:CAMERAS]].tolist())
    sides = [*(gallery[gallery.cameras == other] for other in cameras), gallery]
    asked = [query[query.cameras == camera] for camera in cameras]
    grid = [[_mean_precision_and_rank(search, each, side) for side in sides] for each in asked]
    called = [query.camera_names.get(camera, f"camera {camera}") for camera in cameras]
    header = ["query in", *called, "all"]
    parts: list[ReportPart] = []
    if len(cameras) < len(seen):
        parts.append(f"The {CAMERAS} cameras of most images, out of {len(seen)}.")
    for place, name in enumerate(("mAP", "rank-1")):
        rows = [
            [camera, *(cell[place] for cell in cells)]
            for camera, cells in zip(called, grid, strict=True)
        ]
        caption = f"{name}; the gallery is the images of the column's camera"
        parts.append(ReportTable(header, rows, caption))
    return [*parts, "– where no query has a correct match that counts."]


def _mean_precision_and_rank(search: _Search, query: Features, gallery: Features) -> list[str]:
    try:
        result = evaluate(query, gallery, protocol=search.protocol, distance=search.distance)
    except ValueError:  # no correct match, or no image
        return ["–", "–"]
    return [_percent(result.mAP), _percent(result.rank(1))]


def curves(search: _Search) -> list[ReportPart]:
    """Draw the curves over ranks and over pairs."""
    title = "Queries with a correct match among the first"
    figure = cmc_curves({search.name: search.result.cmc[:20]}, title)
    parts: list[ReportPart] = [ReportFigure(figure, "Cumulative matching curve")]
    rows = spread(len(search.query), PAIRED)
    query, gallery = search.query[rows], search.gallery
    how = search.protocol, search.distance
    pairs = pair_distances(query, gallery, protocol=how[0], distance=how[1])
    if not pairs.positive.numel() or not pairs.negative.numel():
        return parts
    threshold = None
    try:
        found = verify(
            query, gallery, protocol=how[0], distance=how[1], max_false_match_rate=FALSE_MATCHES
        ).threshold_at(FALSE_MATCHES)
        threshold = found.distance
        chosen = f"The threshold takes {FALSE_MATCHES:.0%} of the pairs of two people for one."
    except ValueError as error:  # too few pairs
        chosen = f"No threshold: {error}."
    whole = len(search.query)
    number = f"all {whole:,}" if len(rows) == whole else f"{len(rows):,} of the {whole:,}"
    figure = distance_histogram(pairs, threshold, "Distances")
    curve = precision_recall_curves({search.name: pairs}, "Is a pair one person?")
    return [
        *parts,
        f"Pairs of {number} queries with the gallery. {chosen}",
        ReportFigure(figure, "Distances of pairs of one person and of two people"),
        ReportFigure(curve, "Precision against recall over all pairs"),
    ]


def people(search: _Search) -> list[ReportPart]:
    """Lay out the embeddings of some people in a plane."""
    ids = torch.unique(search.query.ids[search.result.valid.to(search.query.ids.device)])
    chosen = ids[spread(len(ids), MAPPED)]
    shown = [side[torch.isin(side.ids, chosen)] for side in (search.query, search.gallery)]
    values = torch.cat([side.values for side in shown]).float().cpu()
    images = [path for side in shown for path in side.paths or () if path is not None]
    labels = [person_of(side, identity) for side in shown for identity in side.ids.tolist()]
    points = F.normalize(values) if search.distance == "cosine" else values
    seen = images if len(images) == len(labels) else None
    figure = embedding_map(points, labels, seen, f"Embeddings of {len(chosen)} people")
    return [ReportFigure(figure, "Embeddings in the plane of their largest variance")]


def spread(length: int, count: int) -> list[int]:
    """Return indices from all over a sequence, the same each time."""
    return sorted({round(n * (length - 1) / max(1, count - 1)) for n in range(count)})


def _percent(value: float) -> str:
    return f"{100 * value:.1f}%"
